//! Where a log is read from: a URL prefix or a folder, both in the layout of tlog-tiles (<https://c2sp.org/tlog-tiles>).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use adit_protocol::limits::LEAF_BYTES_MAX;
use backon::{BackoffBuilder, ExponentialBuilder};
use tlog_tiles::HASH_SIZE;
use ureq::Agent;
use ureq::tls::{TlsConfig, TlsProvider};

use crate::tiles::{TILE_HASHES, TilePath};

/// Leaves of the largest tree that is read. No log comes near, and the arithmetic of tiles does not overflow below.
pub(crate) const LEAVES_MAX: u64 = 1 << 48;

/// Bytes of a checkpoint: its text, and a hundred signatures of witnesses.
pub(crate) const CHECKPOINT_BYTES_MAX: usize = 64 * 1024;

/// Bytes of an entry bundle: 256 of the largest leaves, each behind its length.
pub(crate) const BUNDLE_BYTES_MAX: usize = TILE_HASHES as usize * (2 + LEAF_BYTES_MAX);

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one request may take in all: a bundle is about 1 MiB at most.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a server may take to begin its answer once it has the request, and how long between two parts of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Over how long the rate of an answer is measured.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// Bytes that an answer has to bring each second, as they come over the network or decompressed. A server that brings fewer is not asked
/// again either: whoever is kept waiting on purpose would be for seven times as long.
const RATE_BYTES_MIN: u64 = 1024;

/// The first pause before a request is made again; later ones double, with jitter.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// How often a request is made again: with the pauses, a server that is started anew is waited for.
const RETRIES_MAX: usize = 6;

/// How often one is that came to nothing in its time, each of which keeps whoever reads waiting.
const LATE_MAX: usize = 2;

/// A log's bytes, which nobody vouches for: whoever reads them checks them.
pub trait Source: fmt::Debug + Send + Sync {
    /// The bytes at a path behind the log's prefix, decompressed; nothing where the log has none there.
    ///
    /// # Errors
    /// [`SourceError`]; [`SourceError::TooLarge`] where there are more than `bytes_max`.
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError>;

    /// The last checkpoint, a signed note.
    ///
    /// # Errors
    /// [`SourceError`].
    fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        const PATH: &str = "checkpoint";
        self.read(PATH, CHECKPOINT_BYTES_MAX)?.ok_or_else(|| SourceError::Missing { path: PATH.into() })
    }

    /// The first `width` hashes of a tile, 32 bytes each, one behind the other.
    ///
    /// # Errors
    /// [`SourceError`].
    ///
    /// # Panics
    /// Where the width is none of 1 to 256.
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, SourceError> {
        let hashes = |width| TilePath::Hashes { level, index, width };
        let read = |path: TilePath, width: u16| {
            let (path, due) = (path.to_path(), usize::from(width) * HASH_SIZE);
            match self.read(&path, due)? {
                Some(bytes) if bytes.len() != due => Err(SourceError::Length { path, bytes: bytes.len(), due }),
                bytes => Ok(bytes),
            }
        };
        if let Some(bytes) = read(hashes(width), width)? {
            return Ok(bytes);
        }
        // A log may drop a partial tile when the full one is there.
        let full = if is_partial(width) { read(hashes(TILE_HASHES as u16), TILE_HASHES as u16)? } else { None };
        let mut bytes = full.ok_or_else(|| SourceError::Missing { path: hashes(width).to_path() })?;
        bytes.truncate(usize::from(width) * HASH_SIZE);
        Ok(bytes)
    }

    /// The first `width` leaves of an entry bundle, each behind its length as a big-endian `u16`. Where the bytes are no such thing,
    /// [`split_bundle`] says so.
    ///
    /// # Errors
    /// [`SourceError`].
    ///
    /// # Panics
    /// Where the width is none of 1 to 256.
    fn bundle(&self, index: u64, width: u16) -> Result<Vec<u8>, SourceError> {
        let path = TilePath::Entries { index, width }.to_path();
        if let Some(bytes) = self.read(&path, BUNDLE_BYTES_MAX)? {
            return Ok(bytes);
        }
        let full = TilePath::Entries { index, width: TILE_HASHES as u16 }.to_path();
        let full = if is_partial(width) { self.read(&full, BUNDLE_BYTES_MAX)? } else { None };
        let mut bytes = full.ok_or(SourceError::Missing { path })?;
        let (_, rest) = take_leaves(&bytes, width);
        let cut = bytes.len() - rest.len();
        bytes.truncate(cut);
        Ok(bytes)
    }
}

/// A log that cannot be read, or not in this place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It is no URL of a log.
    #[error("no URL of a log: `{url}`; it begins with https:// or http://")]
    Url {
        /// What was given.
        url: String,
    },
    /// The log has nothing at a path that it must have.
    #[error("{path} is missing")]
    Missing {
        /// Behind the log's prefix.
        path: String,
    },
    /// A tile has another length than its hashes.
    #[error("{path} has {bytes} bytes; its hashes have {due}")]
    Length {
        /// Behind the log's prefix.
        path: String,
        /// How many there are.
        bytes: usize,
        /// How many there must be.
        due: usize,
    },
    /// There is more than can be right.
    #[error("{path} has more than {bytes_max} bytes")]
    TooLarge {
        /// Behind the log's prefix.
        path: String,
        /// How many it may have.
        bytes_max: usize,
    },
    /// The server says that it is compressed, and it is not.
    #[error("{path} does not decompress: {error}")]
    Compression {
        /// Behind the log's prefix.
        path: String,
        /// What is wrong.
        error: io::Error,
    },
    /// The server does not serve it, and does not say that it is not there.
    #[error("the server answers {status} for {path}")]
    Status {
        /// Behind the log's prefix.
        path: String,
        /// The status code (RFC 9110, section 15).
        status: u16,
    },
    /// The server names another place. Whoever reads a log says where it is.
    #[error("the server answers {status} for {path} and sends on to {location}; give the URL that the log is at")]
    Redirect {
        /// Behind the log's prefix.
        path: String,
        /// The status code.
        status: u16,
        /// Where to, by the server's word.
        location: String,
    },
    /// The server sends next to nothing.
    #[error("the server sent {bytes} bytes of {path} in {} s; it must send {RATE_BYTES_MIN} each second", .time.as_secs())]
    Slow {
        /// Behind the log's prefix.
        path: String,
        /// How many in the last stretch.
        bytes: u64,
        /// How long that was.
        time: Duration,
    },
    /// The server cannot be reached, or does not answer to the end.
    #[error("{path} cannot be fetched: {error}")]
    Transport {
        /// Behind the log's prefix.
        path: String,
        /// What failed.
        error: Box<ureq::Error>,
    },
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
}

/// A bundle that does not split into its leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It ends within a leaf, or before the last.
    #[error("it is cut short within its leaf {at} of {width}")]
    Short {
        /// The leaf's position in the bundle.
        at: u16,
        /// How many leaves the bundle has.
        width: u16,
    },
    /// It goes on behind its last leaf.
    #[error("it has {0} bytes behind its last leaf")]
    Trailing(usize),
}

/// A log behind a URL prefix.
#[derive(Debug, Clone)]
pub struct HttpSource {
    prefix: String,
    agent: Agent,
    /// [`RATE_WINDOW`], but in tests.
    window: Duration,
}

/// A log in a folder.
#[derive(Debug, Clone)]
pub struct DirSource {
    dir: PathBuf,
}

impl SourceError {
    /// Whether this is the log's fault: another try, or another way to it, brings no better bytes.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Length { .. } | Self::TooLarge { .. } | Self::Compression { .. } => true,
            Self::Url { .. } | Self::Status { .. } | Self::Redirect { .. } | Self::Slow { .. } => false,
            Self::Transport { .. } | Self::Io { .. } => false,
        }
    }
}

/// The log at `place`: a URL prefix, or else a folder.
///
/// # Errors
/// [`SourceError::Url`].
pub fn open_source(place: &str) -> Result<Box<dyn Source>, SourceError> {
    let is_url = place.contains("://");
    Ok(if is_url { Box::new(HttpSource::new(place)?) } else { Box::new(DirSource::new(place)) })
}

impl HttpSource {
    /// The log whose paths stand behind `prefix`, with or without a slash at its end.
    ///
    /// # Errors
    /// [`SourceError::Url`].
    pub fn new(prefix: &str) -> Result<Self, SourceError> {
        let wrong = || SourceError::Url { url: prefix.to_owned() };
        let uri: ureq::http::Uri = prefix.parse().map_err(|_| wrong())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
            return Err(wrong());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder().provider(TlsProvider::Rustls).unversioned_rustls_crypto_provider(provider).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .user_agent(concat!("adit/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("gzip, identity")
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(ANSWER_TIMEOUT))
            .timeout_global(Some(REQUEST_TIMEOUT))
            .build();
        Ok(Self { prefix: prefix.trim_end_matches('/').to_owned(), agent: config.new_agent(), window: RATE_WINDOW })
    }

    fn try_read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let failed = |error| match error {
            ureq::Error::BodyExceedsLimit(_) => SourceError::TooLarge { path: path.to_owned(), bytes_max },
            // A connection that ends early is none of the log's faults.
            ureq::Error::Decompress(_, error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                SourceError::Compression { path: path.to_owned(), error }
            }
            error => SourceError::Transport { path: path.to_owned(), error: Box::new(error) },
        };
        let mut response = self.agent.get(format!("{}/{path}", self.prefix)).call().map_err(failed)?;
        match response.status().as_u16() {
            200 => {
                let body = response.body_mut().with_config().limit(bytes_max as u64).reader();
                self.read_body(body, path, failed).map(Some)
            }
            404 | 410 => Ok(None),
            status @ 300..400 => {
                let location = response.headers().get("location").and_then(|location| location.to_str().ok());
                let location = location.unwrap_or("nowhere").to_owned();
                Err(SourceError::Redirect { path: path.to_owned(), status, location })
            }
            status => Err(SourceError::Status { path: path.to_owned(), status }),
        }
    }

    /// Reads an answer to its end, as long as enough of it comes.
    fn read_body(
        &self,
        mut body: impl Read,
        path: &str,
        failed: impl Fn(ureq::Error) -> SourceError,
    ) -> Result<Vec<u8>, SourceError> {
        let (mut bytes, mut part) = (Vec::new(), [0; 16 * 1024]);
        let (mut begun, mut before) = (Instant::now(), 0);
        // What is wrong with the rate, which does not matter of an answer that is at its end.
        let mut slow = None;
        loop {
            match (body.read(&mut part), slow.take()) {
                (Ok(0), _) => return Ok(bytes),
                (Err(error), still) if error.kind() == io::ErrorKind::Interrupted => slow = still,
                (_, Some(slow)) => return Err(slow),
                (Ok(read), None) => bytes.extend_from_slice(&part[..read]),
                (Err(error), None) => return Err(failed(error.into())),
            }
            let time = begun.elapsed();
            if time < self.window || slow.is_some() {
                continue;
            }
            let came = bytes.len() as u64 - before;
            if u128::from(came) * 1_000 < u128::from(RATE_BYTES_MIN) * time.as_millis() {
                slow = Some(SourceError::Slow { path: path.to_owned(), bytes: came, time });
            }
            (begun, before) = (Instant::now(), bytes.len() as u64);
        }
    }
}

impl Source for HttpSource {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let policy = ExponentialBuilder::default().with_min_delay(RETRY_MIN).with_jitter().with_max_times(RETRIES_MAX);
        let (mut pauses, mut late) = (policy.build(), 0);
        loop {
            let error = match self.try_read(path, bytes_max) {
                Err(error) if may_pass(&error) => error,
                done => return done,
            };
            late +=
                usize::from(matches!(&error, SourceError::Transport { error, .. } if matches!(**error, ureq::Error::Timeout(_))));
            if late > LATE_MAX {
                return Err(error);
            }
            thread::sleep(pauses.next().ok_or(error)?);
        }
    }
}

/// Whether another try may go better.
fn may_pass(error: &SourceError) -> bool {
    match error {
        SourceError::Status { status, .. } => *status == 429 || *status >= 500,
        SourceError::Transport { error, .. } => !matches!(**error, ureq::Error::BadUri(_)),
        _ => false,
    }
}

impl DirSource {
    /// The log whose paths stand below `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }
}

impl Source for DirSource {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let file = self.dir.join(path);
        match read_file(&file, bytes_max) {
            Ok(bytes) if bytes.len() > bytes_max => Err(SourceError::TooLarge { path: path.to_owned(), bytes_max }),
            Ok(bytes) => Ok(Some(bytes)),
            // A folder that is not there is no log with everything missing.
            Err(error) if is_absent(&error) && self.dir.is_dir() => Ok(None),
            Err(error) => Err(SourceError::Io { path: file, error }),
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads a file, and one byte more than `bytes_max` at most.
pub(crate) fn read_file(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // What is to come in one piece, and a byte in which its end is found: what a file says of its length is no more than a hint.
    let due = file.metadata()?.len().min(bytes_max as u64);
    let mut bytes = Vec::with_capacity(due as usize + 1);
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The leaves of a bundle of `width`.
///
/// # Errors
/// [`BundleError`] where it has more or fewer.
pub fn split_bundle(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    let (leaves, rest) = take_leaves(bytes, width);
    match leaves.len() as u16 {
        at if at < width => Err(BundleError::Short { at, width }),
        _ if !rest.is_empty() => Err(BundleError::Trailing(rest.len())),
        _ => Ok(leaves),
    }
}

/// Leaves from the front of a bundle, `width` where it has so many, and what is behind them.
fn take_leaves(mut bytes: &[u8], width: u16) -> (Vec<&[u8]>, &[u8]) {
    let mut leaves = Vec::with_capacity(width.into());
    while leaves.len() < usize::from(width) {
        let Some((length, rest)) = bytes.split_first_chunk() else { break };
        let Some((leaf, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into()) else { break };
        leaves.push(leaf);
        bytes = rest;
    }
    (leaves, bytes)
}

pub(crate) fn is_partial(width: u16) -> bool {
    u64::from(width) < TILE_HASHES
}

pub(crate) fn fetch(source: &dyn Source, path: TilePath) -> Result<Vec<u8>, SourceError> {
    match path {
        TilePath::Hashes { level, index, width } => source.tile(level, index, width),
        TilePath::Entries { index, width } => source.bundle(index, width),
    }
}

/// The resources of a tree of `size` leaves that end with its bundle `bundle`: the bundle, its tile, the full tiles above it that it
/// completes, and at the end of the tree each level's partial tile. All bundles together have all resources, each once.
pub(crate) fn paths_ending_at(bundle: u64, size: u64) -> Vec<TilePath> {
    let width = TILE_HASHES.min(size - bundle * TILE_HASHES) as u16;
    let mut paths = vec![TilePath::Entries { index: bundle, width }, TilePath::Hashes { level: 0, index: bundle, width }];
    let end = bundle * TILE_HASHES + u64::from(width);
    let is_last = end == size;
    let mut level = 1;
    while end >> (8 * level) > 0 {
        let hashes = end >> (8 * level);
        let is_completed = end.is_multiple_of(1 << (8 * (level + 1)));
        if is_completed || (is_last && !hashes.is_multiple_of(TILE_HASHES)) {
            let width = (hashes - 1) % TILE_HASHES + 1;
            paths.push(TilePath::Hashes { level: level as u8, index: (hashes - 1) / TILE_HASHES, width: width as u16 });
        }
        level += 1;
    }
    paths
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn bundles_have_all_resources_of_a_tree_between_them() {
        for size in [1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000, 1 << 17] {
            let all: Vec<TilePath> = (0u64..).take_while(|n| n * 256 < size).flat_map(|n| paths_ending_at(n, size)).collect();
            let mut due = HashSet::new();
            for level in 0..3 {
                let hashes = size >> (8 * level);
                for index in 0..hashes.div_ceil(256) {
                    let width = (hashes - index * 256).min(256) as u16;
                    due.insert(TilePath::Hashes { level, index, width });
                    if level == 0 {
                        due.insert(TilePath::Entries { index, width });
                    }
                }
            }
            assert_eq!((all.len(), all.into_iter().collect::<HashSet<_>>()), (due.len(), due), "{size}");
        }
    }

    #[test]
    fn bundle_splits_into_as_many_leaves_as_it_must_have() {
        let bytes = [0, 1, 7, 0, 0, 0, 2, 8, 9];
        assert_eq!(split_bundle(&bytes, 3), Ok(vec![&bytes[2..3], &[], &bytes[7..]]));
        assert_eq!(split_bundle(&bytes, 2), Err(BundleError::Trailing(4)));
        assert_eq!(split_bundle(&bytes, 4), Err(BundleError::Short { at: 3, width: 4 }));
        for cut in 0..bytes.len() {
            assert!(split_bundle(&bytes[..cut], 3).is_err(), "{cut} bytes");
        }
    }

    /// Answers every request by these means, and says how often it was asked.
    fn serve(answer: impl Fn(TcpStream) + Clone + Send + 'static) -> (HttpSource, Arc<AtomicUsize>) {
        let (listener, asked) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(AtomicUsize::new(0)));
        let (url, count) = (format!("http://{}", listener.local_addr().unwrap()), Arc::clone(&asked));
        thread::spawn(move || {
            for mut stream in listener.incoming().map(Result::unwrap) {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = answer.clone();
                thread::spawn(move || {
                    let _ = stream.read(&mut [0; 4_096]);
                    answer(stream);
                });
            }
        });
        (HttpSource { window: Duration::from_millis(400), ..HttpSource::new(&url).unwrap() }, asked)
    }

    /// Brings a byte after each pause, until the client has enough of it.
    fn dribble(pause: Duration) -> (HttpSource, Arc<AtomicUsize>) {
        serve(move |mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n");
            while stream.write_all(b"x").is_ok() {
                thread::sleep(pause);
            }
        })
    }

    /// A server that brought a byte now and then was waited for, seven times a minute for each path.
    #[test]
    fn server_that_dribbles_is_given_up_at_once() {
        let (source, asked) = dribble(Duration::from_millis(20));
        let begun = Instant::now();
        let error = source.read("tile/0/000", 8_192).unwrap_err();
        assert!(matches!(&error, SourceError::Slow { bytes: 1..200, .. }) && !error.is_fault(), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5) && asked.load(Ordering::Relaxed) == 1);
        assert!(error.to_string().contains("it must send 1024 each second"), "{error}");
        // One that brings enough is heard to its end.
        let (source, _) = dribble(Duration::ZERO);
        let source = HttpSource { window: RATE_WINDOW, ..source };
        assert_eq!(source.read("tile/0/000", 8_192).unwrap(), Some(vec![b'x'; 8_192]));
    }

    /// All of it was there, and was thrown away for the time that it had taken.
    #[test]
    fn short_answer_that_comes_late_is_taken() {
        for (head, body) in [
            ("Content-Length: 8", "checksum"),
            ("Connection: close", "checksum"),
            ("Transfer-Encoding: chunked", "8\r\nchecksum\r\n0\r\n\r\n"),
        ] {
            let (source, asked) = serve(move |mut stream| {
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(600));
                stream.write_all(body.as_bytes()).unwrap();
            });
            assert_eq!(source.read("checkpoint", 8_192).unwrap().as_deref(), Some(b"checksum".as_slice()), "{head}");
            assert_eq!(asked.load(Ordering::Relaxed), 1, "{head}");
        }
        // One that breaks off then is slow all the same, and not asked again.
        let (source, asked) = serve(|mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").unwrap();
            thread::sleep(Duration::from_millis(600));
            stream.write_all(b"checksum").unwrap();
            thread::sleep(Duration::from_millis(200));
        });
        let error = source.read("checkpoint", 8_192).unwrap_err();
        assert!(matches!(error, SourceError::Slow { bytes: 8, .. }) && asked.load(Ordering::Relaxed) == 1, "{error}");
    }

    #[test]
    fn what_is_no_url_of_a_log_is_refused() {
        for url in ["ftp://log.example", "log.example", "http://", "https://log.example/?q", "file:///log"] {
            assert!(matches!(HttpSource::new(url), Err(SourceError::Url { .. })), "{url}");
        }
        assert_eq!(HttpSource::new("https://log.example/adit//").unwrap().prefix, "https://log.example/adit");
    }
}
