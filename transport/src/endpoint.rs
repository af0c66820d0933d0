use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use adit_protocol::{PublicKey, SecretKey};
use aws_lc_rs::hmac;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TransportConfig,
    TransportErrorCode, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use tokio::time::timeout;

use crate::limits;
use crate::tls::{self, SeenKey};
use crate::{Connection, GatewayAddr};

/// A connection that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The host name has no address.
    #[error("gateway {host}: its name does not resolve: {error}")]
    Resolve {
        /// Host and port as given.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// Nobody answered.
    #[error("gateway {host}: no answer from {addr} in {} s; is it running, and is UDP open?", limits::DIAL_TIMEOUT.as_secs())]
    NoAnswer {
        /// Host and port as given.
        host: String,
        /// The address that was tried.
        addr: SocketAddr,
    },
    /// Somebody answered with another key.
    #[error("gateway {host}: wrong key: expected {expected}, it has {found}; check the address, or somebody is in between")]
    WrongKey {
        /// Host and port as given.
        host: String,
        /// The key that was asked for.
        expected: PublicKey,
        /// The key that was shown.
        found: PublicKey,
    },
    /// The gateway takes no connection from this address at the moment.
    #[error("gateway {host}: too many connections from here; try again in some seconds")]
    Busy {
        /// Host and port as given.
        host: String,
    },
    /// The handshake failed otherwise.
    #[error("gateway {host}: {error}")]
    Handshake {
        /// Host and port as given.
        host: String,
        /// What failed.
        error: ConnectionError,
    },
    /// This side has no socket or no usable key.
    #[error("no local endpoint: {0}")]
    Local(String),
}

/// Makes connections under one key. Nodes and clients only dial.
#[derive(Debug)]
pub struct Dialer {
    key: SecretKey,
    /// One endpoint for each address family, opened when first needed.
    endpoints: Mutex<Endpoints>,
}

#[derive(Debug, Default)]
struct Endpoints {
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Dialer {
    /// A dialer that proves `key`. Opens no socket yet.
    ///
    /// # Errors
    /// [`DialError::Local`] where TLS does not take the key.
    pub fn new(key: SecretKey) -> Result<Self, DialError> {
        tls::client_config(&key, key.public(), SeenKey::default()).map_err(|e| DialError::Local(e.to_string()))?;
        Ok(Self { key, endpoints: Mutex::default() })
    }

    /// The key that this side proves.
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// Connects to `gateway`, trying each of its addresses in the resolver's order.
    ///
    /// # Errors
    /// [`DialError`] of the last address.
    pub async fn dial(&self, gateway: &GatewayAddr) -> Result<Connection, DialError> {
        let host = &gateway.host;
        let resolve = |error| DialError::Resolve { host: host.clone(), error };
        let mut last = resolve(io::Error::from(io::ErrorKind::NotFound));
        for addr in tokio::net::lookup_host(host).await.map_err(resolve)? {
            match self.dial_address(gateway, addr).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn dial_address(&self, gateway: &GatewayAddr, addr: SocketAddr) -> Result<Connection, DialError> {
        let local = |e: String| DialError::Local(e);
        let seen = SeenKey::default();
        let tls = tls::client_config(&self.key, gateway.key, Arc::clone(&seen)).map_err(|e| local(e.to_string()))?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|e| local(e.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport_config()));
        let endpoint = self.endpoint(addr).map_err(|e| local(e.to_string()))?;
        // Raw keys are checked as keys; the name in the handshake carries no meaning.
        let connecting = endpoint.connect_with(config, addr, "adit").map_err(|e| local(e.to_string()))?;
        let host = gateway.host.clone();
        match timeout(limits::DIAL_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(Connection::new(connection, gateway.key)),
            Err(_) | Ok(Err(ConnectionError::TimedOut)) => Err(DialError::NoAnswer { host, addr }),
            Ok(Err(ConnectionError::ConnectionClosed(close))) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                Err(DialError::Busy { host })
            }
            Ok(Err(error)) => match *seen.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(found) if found != gateway.key => Err(DialError::WrongKey { host, expected: gateway.key, found }),
                _ => Err(DialError::Handshake { host, error }),
            },
        }
    }

    /// Moves every connection to a new local port, as when the machine's address changes: QUIC's migration carries them over.
    ///
    /// # Errors
    /// Where no new socket can be had; the old one is then kept.
    pub fn rebind(&self) -> io::Result<()> {
        let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        for (endpoint, local) in [(&endpoints.v4, any_v4()), (&endpoints.v6, any_v6())] {
            if let Some(endpoint) = endpoint {
                endpoint.rebind(UdpSocket::bind(local)?)?;
            }
        }
        Ok(())
    }

    /// Waits for a moment, so that what was said last, closing words included, leaves. An endpoint is idle only once it has waited some
    /// round trips for packets that are late, which nobody who ends needs: each command would take half a second more.
    pub async fn flush(&self) {
        let endpoints = {
            let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            [endpoints.v4.clone(), endpoints.v6.clone()]
        };
        for endpoint in endpoints.into_iter().flatten() {
            let _ = timeout(FAREWELL, endpoint.wait_idle()).await;
        }
    }

    fn endpoint(&self, peer: SocketAddr) -> io::Result<Endpoint> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let (slot, local) = if peer.is_ipv4() { (&mut endpoints.v4, any_v4()) } else { (&mut endpoints.v6, any_v6()) };
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let endpoint = Endpoint::client(local)?;
        Ok(slot.insert(endpoint).clone())
    }
}

/// How long a dialer's last packets may take to the socket: its driver has to be run, and the peer is not waited for.
const FAREWELL: std::time::Duration = std::time::Duration::from_millis(30);

fn any_v4() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}

fn any_v6() -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, 0).into()
}

/// Takes connections under one key. Only gateways listen.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    addr: SocketAddr,
}

/// A connection that is being made.
#[derive(Debug)]
pub struct Handshake(Incoming);

impl Listener {
    /// Listens on `addr`, port 0 for any, and proves `key` to whoever comes.
    ///
    /// # Errors
    /// Where the socket cannot be had or TLS does not take the key.
    pub fn bind(addr: SocketAddr, key: &SecretKey) -> io::Result<Self> {
        let tls = tls::server_config(key).map_err(io::Error::other)?;
        let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config
            .transport_config(Arc::new(transport_config()))
            .max_incoming(limits::INCOMING_MAX)
            .incoming_buffer_size(limits::INCOMING_BUFFER_BYTES)
            .incoming_buffer_size_total(limits::INCOMING_BUFFER_BYTES * limits::INCOMING_MAX as u64)
            // A home box's address changes under its feet; its jobs should not.
            .migration(true);
        let endpoint = Endpoint::new(endpoint_config(key), Some(config), UdpSocket::bind(addr)?, Arc::new(quinn::TokioRuntime))?;
        let addr = endpoint.local_addr()?;
        Ok(Self { endpoint, addr })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection, or nothing after [`Listener::close`]. Under pressure a dialer is first sent away to prove its address.
    pub async fn accept(&self) -> Option<Handshake> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let pressed = self.endpoint.open_connections() >= limits::CONNECTIONS_BEFORE_RETRY;
            if pressed && incoming.may_retry() {
                if let Err(error) = incoming.retry() {
                    tracing::debug!(%error, "retry not sent");
                }
                continue;
            }
            return Some(Handshake(incoming));
        }
    }

    /// Ends every connection with `reason` and takes no more.
    pub fn close(&self, reason: &str) {
        self.endpoint.close(VarInt::from_u32(0), reason.as_bytes());
    }

    /// Waits, for a moment at most, until the closing words have left.
    pub async fn flush(&self) {
        let _ = timeout(std::time::Duration::from_millis(500), self.endpoint.wait_idle()).await;
    }
}

impl Handshake {
    /// Where it comes from, as its packets say.
    pub fn remote_ip(&self) -> IpAddr {
        self.0.remote_address().ip()
    }

    /// Whether it does come from there.
    pub fn is_proven(&self) -> bool {
        self.0.remote_address_validated()
    }

    /// Has the dialer prove its address by a Retry (RFC 9000, section 8.1.2) and come again; nothing is kept of it. One that has proved it
    /// is refused.
    pub fn send_away(self) {
        if let Err(error) = self.0.retry() {
            error.into_incoming().refuse();
        }
    }

    /// Ends it without a handshake. The dialer hears of it at once, as [`DialError::Busy`].
    pub fn refuse(self) {
        self.0.refuse();
    }

    /// Completes the handshake and learns the peer's key.
    ///
    /// # Errors
    /// Where the peer does not finish in [`limits::HANDSHAKE_TIMEOUT`] or proves no Ed25519 key.
    pub async fn complete(self) -> Result<Connection, ConnectionError> {
        let connecting = self.0.accept()?;
        let connection = timeout(limits::HANDSHAKE_TIMEOUT, connecting).await.map_err(|_| ConnectionError::TimedOut)??;
        let key = connection
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok())
            .and_then(|certificates| certificates.first().and_then(tls::peer_key));
        match key {
            Some(key) => Ok(Connection::new(connection, key)),
            None => {
                connection.close(VarInt::from_u32(1), b"no key");
                Err(ConnectionError::LocallyClosed)
            }
        }
    }
}

/// Connection ids and reset tokens come from the listener's key, so that a listener that was killed and started again can tell its
/// peers at their next packet that their connections are gone (stateless reset: RFC 9000, section 10.3), instead of leaving them
/// to wait for the idle timeout.
fn endpoint_config(key: &SecretKey) -> EndpointConfig {
    let reset_key = blake3::derive_key("adit quic stateless reset v1", key.seed());
    let cid_key = blake3::derive_key("adit quic connection id v1", key.seed());
    let cid_key = u64::from_le_bytes(cid_key[..8].try_into().expect("8 of 32 bytes"));
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset_key)));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)))
        .min_reset_interval(limits::RESET_INTERVAL);
    config
}

fn transport_config() -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle = IdleTimeout::try_from(limits::IDLE_TIMEOUT).expect("the idle timeout fits a QUIC variable-length integer");
    config
        .receive_window(VarInt::from_u32(limits::RECEIVE_WINDOW_BYTES))
        .stream_receive_window(VarInt::from_u32(limits::STREAM_WINDOW_BYTES))
        .send_window(limits::SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::STREAMS_MAX))
        // Every stream of ours is answered, so none is unidirectional.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(limits::KEEP_ALIVE));
    config
}
