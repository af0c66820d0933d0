//! A small HTTP/1.1 server for what is public: on a thread of its own, bounded in connections, time and bytes, so that nobody who reads a
//! log can keep a gateway from its work. TLS and names are a reverse proxy's business.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Connections at once.
const CONNECTIONS_MAX: usize = 128;

/// Connections of one address at once, of IPv6 of one /64. A reverse proxy on this machine has no such bound.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 16;

/// How long a connection may take to send a request's head, also between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection is kept: one that takes its answers slowly ends with it.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a request's body: 63 hashes, and a checkpoint with 16 signatures of the largest kind (<https://c2sp.org/signed-note>).
const BODY_BYTES_MAX: usize = 128 * 1024;

/// What is asked.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// `GET`, where [`HttpRequest::body`] is empty, or `POST`.
    pub method: HttpMethod,
    /// The path of the URL, from its first slash on, without a query.
    pub path: String,
    /// Whether the answer may be compressed with gzip.
    pub accepts_gzip: bool,
    /// What came with the request.
    pub body: Bytes,
}

/// The methods that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    /// To read.
    Get,
    /// To submit.
    Post,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code (RFC 9110, section 15).
    pub status: u16,
    /// The media type.
    pub content_type: &'static str,
    /// Whether the body never changes, so that it may be kept for a year; else it is not kept at all.
    pub is_immutable: bool,
    /// Whether the body is compressed with gzip.
    pub is_gzip: bool,
    /// Whether that depends on [`HttpRequest::accepts_gzip`]: a cache must not give whoever takes no gzip what another was sent.
    pub is_negotiated: bool,
    /// What is sent.
    pub body: Bytes,
}

/// A server that runs. Dropping it ends its thread.
pub struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpResponse {
    /// A text that is not to be kept.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let body = Bytes::from(text.into());
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            is_immutable: false,
            is_gzip: false,
            is_negotiated: false,
            body,
        }
    }
}

impl HttpServer {
    /// Serves on `listener` until it is dropped. `handle` is called on the server's one thread, for one request at a time.
    ///
    /// # Errors
    /// Where the system has no thread to give, or does not take the listener.
    pub fn spawn(
        name: &str,
        listener: TcpListener,
        handle: impl Fn(HttpRequest) -> HttpResponse + Send + Sync + 'static,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(async {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!(%error, "the HTTP listener cannot be used"),
                };
                tokio::select! {
                    () = accept(listener, Arc::new(handle)) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn accept<H>(listener: tokio::net::TcpListener, handle: Arc<H>)
where
    H: Fn(HttpRequest) -> HttpResponse + Send + Sync + 'static,
{
    let (slots, addresses) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Addresses::default());
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Such as too many open files: others have to go first.
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = addresses.enter(peer.ip(), slot) else { continue };
        let handle = Arc::clone(&handle);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&handle)));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
                tracing::debug!(%peer, %error, "a connection failed");
            }
            drop(place);
        });
    }
}

/// How many connections each network has, by [`network_of`].
#[derive(Debug, Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection's place among those of its network.
struct Place {
    addresses: Addresses,
    network: IpAddr,
    _slot: OwnedSemaphorePermit,
}

impl Addresses {
    fn enter(&self, address: IpAddr, slot: OwnedSemaphorePermit) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let network = network_of(address);
        let count = counts.entry(network).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS_MAX && !address.to_canonical().is_loopback() {
            return None;
        }
        *count += 1;
        Some(Place { addresses: self.clone(), network, _slot: slot })
    }
}

/// What the connections of an address are counted by: all of an IPv4 address, and of an IPv6 address the first 64 bits, since whoever has
/// one of these has all that share them (RFC 4291, section 2.5.4).
fn network_of(address: IpAddr) -> IpAddr {
    // A socket that listens for both shows IPv4 addresses as IPv6, all with the same first 64 bits.
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

async fn answer<H>(request: hyper::Request<Incoming>, handle: Arc<H>) -> Result<hyper::Response<Full<Bytes>>, Infallible>
where
    H: Fn(HttpRequest) -> HttpResponse + Send + Sync + 'static,
{
    let is_head = request.method() == Method::HEAD;
    let response = match read(request).await {
        Ok(request) => handle(request),
        Err(response) => response,
    };
    Ok(write(response, is_head))
}

async fn read(request: hyper::Request<Incoming>) -> Result<HttpRequest, HttpResponse> {
    let method = match *request.method() {
        Method::GET | Method::HEAD => HttpMethod::Get,
        Method::POST => HttpMethod::Post,
        _ => return Err(HttpResponse::text(StatusCode::METHOD_NOT_ALLOWED.as_u16(), "GET, HEAD and POST are served\n")),
    };
    let path = request.uri().path().to_owned();
    let accepts_gzip = request.headers().get_all(ACCEPT_ENCODING).iter().any(offers_gzip);
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), BODY_BYTES_MAX).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let text = format!("a body has at most {BODY_BYTES_MAX} bytes\n");
            return Err(HttpResponse::text(StatusCode::PAYLOAD_TOO_LARGE.as_u16(), text));
        }
        Ok(Err(_)) => return Err(HttpResponse::text(StatusCode::BAD_REQUEST.as_u16(), "the body broke off\n")),
        Err(_) => return Err(HttpResponse::text(StatusCode::REQUEST_TIMEOUT.as_u16(), "the body took too long\n")),
    };
    Ok(HttpRequest { method, path, accepts_gzip, body })
}

/// Whether an `Accept-Encoding` names gzip and does not rule it out by a weight of zero (RFC 9110, section 12.5.3).
fn offers_gzip(value: &HeaderValue) -> bool {
    let offers = |text: &str| {
        let mut parts = text.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        let is_zero = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>() == Ok(0.0));
        is_gzip && !parts.any(is_zero)
    };
    value.to_str().is_ok_and(|text| text.split(',').any(offers))
}

fn write(response: HttpResponse, is_head: bool) -> hyper::Response<Full<Bytes>> {
    let HttpResponse { status, content_type, is_immutable, is_gzip, is_negotiated, body } = response;
    let length = body.len();
    let mut answer = hyper::Response::new(Full::new(if is_head { Bytes::new() } else { body }));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let caching = if is_immutable { "public, max-age=31536000, immutable" } else { "no-store" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    if is_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if is_negotiated {
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED.as_u16() {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    if is_head {
        headers.insert(hyper::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn server() -> HttpServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        HttpServer::spawn("test-http", listener, |request| {
            let HttpRequest { method, path, accepts_gzip, body } = request;
            HttpResponse::text(200, format!("{method:?} {path} {accepts_gzip} {}", body.len()))
        })
        .unwrap()
    }

    /// What comes back for raw bytes, until the server closes.
    fn talk(server: &HttpServer, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A server that closes early may reset what it did not read.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[test]
    fn requests_reach_the_handler() {
        let server = server();
        let answer = talk(&server, b"GET /a/b?c HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br, gzip\r\nConnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("Get /a/b true 0"), "{answer}");
        assert!(answer.contains("cache-control: no-store"), "{answer}");
        let answer = talk(&server, b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
        assert!(answer.ends_with("Post /p false 3"), "{answer}");
        let answer = talk(&server, b"HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(answer.contains("content-length: 14") && answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[test]
    fn what_is_no_request_ends_in_an_error() {
        let server = server();
        let large = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", BODY_BYTES_MAX + 1);
        let rows: [(&[u8], &str); 4] = [
            (b"\x16\x03\x01\x02\x00 not HTTP\r\n\r\n", "HTTP/1.1 400"),
            (b"DELETE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 405"),
            (&[large.as_bytes(), &vec![0; BODY_BYTES_MAX + 1]].concat(), "HTTP/1.1 413"),
            (&[b"GET /".as_slice(), &vec![b'a'; 2 * HEAD_BYTES_MAX], b" HTTP/1.1\r\n\r\n"].concat(), "HTTP/1.1 4"),
        ];
        for (bytes, want) in rows {
            let answer = talk(&server, bytes);
            assert!(answer.starts_with(want), "{want}: {answer}");
        }
        assert!(talk(&server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn gzip_is_offered_by_name_and_weight() {
        for (text, want) in
            [("gzip", true), ("br;q=1.0, GZIP;q=0.5", true), ("gzip;q=0", false), ("identity", false), ("", false)]
        {
            assert_eq!(offers_gzip(&HeaderValue::from_static(text)), want, "{text}");
        }
    }

    #[test]
    fn one_address_has_a_bounded_number_of_places() {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let slot = || Arc::clone(&slots).try_acquire_owned().unwrap();
        let (addresses, peer) = (Addresses::default(), IpAddr::from([192, 0, 2, 1]));
        let places: Vec<_> = (0..CONNECTIONS_PER_ADDRESS_MAX).map(|_| addresses.enter(peer, slot()).unwrap()).collect();
        assert!(addresses.enter(peer, slot()).is_none());
        assert!(addresses.enter(IpAddr::from([192, 0, 2, 2]), slot()).is_some());
        drop(places);
        assert!(addresses.enter(peer, slot()).is_some());
        assert_eq!(slots.available_permits(), CONNECTIONS_MAX);
    }

    /// Each host has 2^64 addresses of IPv6: counted one by one, a single host took all the places that there are.
    #[test]
    fn ipv6_addresses_are_counted_by_their_network() {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let addresses = Addresses::default();
        let enter = |address: String| addresses.enter(address.parse().unwrap(), Arc::clone(&slots).try_acquire_owned().unwrap());
        let places: Vec<_> = (0..CONNECTIONS_PER_ADDRESS_MAX).map(|n| enter(format!("2001:db8:0:1:{n:x}::1")).unwrap()).collect();
        assert!(enter("2001:db8:0:1:ffff::2".into()).is_none());
        assert!(enter("2001:db8:0:2::1".into()).is_some());
        let mapped: Vec<_> = (0..=CONNECTIONS_PER_ADDRESS_MAX).map(|n| enter(format!("::ffff:192.0.2.{n}")).unwrap()).collect();
        let same: Vec<_> = (1..CONNECTIONS_PER_ADDRESS_MAX).map(|_| enter("192.0.2.7".into()).unwrap()).collect();
        assert!(enter("::ffff:192.0.2.7".into()).is_none());
        drop((mapped, same));
        for proxy in ["::1", "::ffff:127.0.0.1"] {
            let all: Vec<_> = (0..2 * CONNECTIONS_PER_ADDRESS_MAX).map(|_| enter(proxy.into())).collect();
            assert!(all.iter().all(Option::is_some), "{proxy}");
        }
        drop(places);
        assert!(addresses.0.lock().unwrap().is_empty());
    }
}
