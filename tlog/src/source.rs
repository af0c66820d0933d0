//! Where a log is read from: a URL prefix or a folder, both in the layout of tlog-tiles (<https://c2sp.org/tlog-tiles>).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, thread};

use adit_protocol::limits::LEAF_BYTES_MAX;
use backon::{BackoffBuilder, ExponentialBuilder};
use signed_note::Note;
use tlog_tiles::{Checkpoint, HASH_SIZE};
use ureq::Agent;
use ureq::tls::{TlsConfig, TlsProvider};

use crate::lanes::in_order;
use crate::tiles::{TILE_HASHES, TilePath};

/// Leaves of the largest tree that is read. No log comes near, and the arithmetic of tiles does not overflow below.
pub(crate) const LEAVES_MAX: u64 = 1 << 48;

/// Bytes of a checkpoint: its text, and a hundred signatures of witnesses.
const CHECKPOINT_BYTES_MAX: usize = 64 * 1024;

/// Bytes of an entry bundle: 256 of the largest leaves, each behind its length.
const BUNDLE_BYTES_MAX: usize = TILE_HASHES as usize * (2 + LEAF_BYTES_MAX);

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one request may take in all: a bundle is about 1 MiB at most.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The first pause before a request is made again; later ones double, with jitter.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// How often a request is made again: with the pauses, a server that is started anew is waited for.
const RETRIES_MAX: usize = 6;

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
    /// A bundle does not split into its leaves.
    #[error("{path} is no bundle of its leaves: {error}")]
    Bundle {
        /// Behind the log's prefix.
        path: String,
        /// What is wrong.
        error: BundleError,
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
}

/// A log in a folder.
#[derive(Debug, Clone)]
pub struct DirSource {
    dir: PathBuf,
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Leaves of the tree that the checkpoint is of.
    pub size: u64,
    /// Tiles and bundles that were fetched.
    pub fetched: u64,
    /// Tiles and bundles that were there, whole, and were not fetched again.
    pub kept: u64,
    /// Bytes that were written.
    pub bytes: u64,
}

impl SourceError {
    /// Whether this is the log's fault: another try, or another way to it, brings no better bytes.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Length { .. } | Self::Bundle { .. } => true,
            Self::TooLarge { .. } | Self::Compression { .. } => true,
            Self::Url { .. } | Self::Status { .. } | Self::Transport { .. } | Self::Io { .. } => false,
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
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(REQUEST_TIMEOUT))
            .build();
        Ok(Self { prefix: prefix.trim_end_matches('/').to_owned(), agent: config.new_agent() })
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
            200 => response.body_mut().with_config().limit(bytes_max as u64).read_to_vec().map(Some).map_err(failed),
            404 | 410 => Ok(None),
            status => Err(SourceError::Status { path: path.to_owned(), status }),
        }
    }
}

impl Source for HttpSource {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let policy = ExponentialBuilder::default().with_min_delay(RETRY_MIN).with_jitter().with_max_times(RETRIES_MAX);
        let mut pauses = policy.build();
        loop {
            let error = match self.try_read(path, bytes_max) {
                Err(error) if may_pass(&error) => error,
                done => return done,
            };
            thread::sleep(pauses.next().ok_or(error)?);
        }
    }
}

/// Whether another try may go better.
fn may_pass(error: &SourceError) -> bool {
    match error {
        SourceError::Status { status, .. } => *status == 429 || *status >= 500,
        SourceError::Transport { error, .. } => !matches!(**error, ureq::Error::BadUri(_) | ureq::Error::TooManyRedirects),
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
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
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

fn is_partial(width: u16) -> bool {
    u64::from(width) < TILE_HASHES
}

/// Copies a log to a folder, in the same layout: for a mirror, which any web server can serve. Nothing is verified but that tiles and bundles
/// are whole, so check the copy. Full ones that are there and whole are not fetched again, and the checkpoint is written last, when all that
/// it covers is durable: a copy that was broken off is as good as the one before, and goes on where it was. `progress` is told leaves done,
/// and of how many.
///
/// # Errors
/// [`SourceError`]; [`SourceError::TooLarge`] also for a checkpoint that is none.
pub fn export(source: &dyn Source, dir: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Exported, SourceError> {
    let note = source.checkpoint()?;
    let size = claimed_size(&note).ok_or(SourceError::TooLarge { path: "checkpoint".into(), bytes_max: CHECKPOINT_BYTES_MAX })?;
    let mut exported = Exported { size, fetched: 0, kept: 0, bytes: 0 };
    let dirs = Mutex::new(BTreeSet::new());
    let copy = |bundle: u64| -> Result<Exported, SourceError> {
        let mut copied = Exported { size: 0, fetched: 0, kept: 0, bytes: 0 };
        for path in paths_ending_at(bundle, size) {
            let file = dir.join(path.to_path());
            // Of what an earlier copy left, too: it may have been broken off before they were made durable.
            dirs.lock().unwrap_or_else(PoisonError::into_inner).extend(file.parent().map(Path::to_owned));
            if is_whole(path, &file) {
                copied.kept += 1;
                continue;
            }
            let bytes = fetch_whole(source, path)?;
            write_file(&file, &bytes).map_err(|error| SourceError::Io { path: file, error })?;
            copied.fetched += 1;
            copied.bytes += bytes.len() as u64;
        }
        Ok(copied)
    };
    let mut done = 0;
    in_order(size.div_ceil(TILE_HASHES), copy, |copied| {
        let copied = copied?;
        exported.fetched += copied.fetched;
        exported.kept += copied.kept;
        exported.bytes += copied.bytes;
        done = size.min(done + TILE_HASHES);
        progress(done, size);
        Ok::<(), SourceError>(())
    })?;
    sync_dirs(dir, dirs.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    let file = dir.join("checkpoint");
    write_file(&file, &note).map_err(|error| SourceError::Io { path: file, error })?;
    sync_dir(dir)?;
    Ok(exported)
}

/// Makes the names durable that are in these folders, which lie below `root`, and their own.
fn sync_dirs(root: &Path, dirs: BTreeSet<PathBuf>) -> Result<(), SourceError> {
    let with_parents =
        |dir: &PathBuf| dir.ancestors().take_while(|dir| dir.starts_with(root)).map(Path::to_owned).collect::<Vec<_>>();
    let all: BTreeSet<PathBuf> = dirs.iter().flat_map(with_parents).collect();
    all.iter().try_for_each(|dir| sync_dir(dir))
}

fn sync_dir(dir: &Path) -> Result<(), SourceError> {
    // A relative path of one part has an empty folder.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| SourceError::Io { path: dir.to_owned(), error })
}

/// What a checkpoint says of its tree's size, by nobody's word; nothing where it is no checkpoint, or of no log that is read.
fn claimed_size(note: &[u8]) -> Option<u64> {
    let note = Note::from_bytes(note).ok()?;
    let size = Checkpoint::from_bytes(note.text()).ok()?.size();
    (size <= LEAVES_MAX).then_some(size)
}

pub(crate) fn fetch(source: &dyn Source, path: TilePath) -> Result<Vec<u8>, SourceError> {
    match path {
        TilePath::Hashes { level, index, width } => source.tile(level, index, width),
        TilePath::Entries { index, width } => source.bundle(index, width),
    }
}

/// As [`fetch`], where a bundle must be one of as many leaves.
fn fetch_whole(source: &dyn Source, path: TilePath) -> Result<Vec<u8>, SourceError> {
    let bytes = fetch(source, path)?;
    if let TilePath::Entries { width, .. } = path {
        split_bundle(&bytes, width).map_err(|error| SourceError::Bundle { path: path.to_path(), error })?;
    }
    Ok(bytes)
}

/// Whether a full tile or bundle is there already: a tile by its length, a bundle by those of its leaves.
fn is_whole(path: TilePath, file: &Path) -> bool {
    match path {
        TilePath::Hashes { width, .. } => {
            let bytes = fs::metadata(file).map_or(0, |file| file.len());
            !is_partial(width) && bytes == TILE_HASHES * HASH_SIZE as u64
        }
        TilePath::Entries { width, .. } => {
            !is_partial(width) && read_file(file, BUNDLE_BYTES_MAX).is_ok_and(|bytes| split_bundle(&bytes, width).is_ok())
        }
    }
}

/// Writes a file that appears whole or not at all, also where the system goes down: its bytes are durable before its name is.
fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let part = path.with_file_name(format!(".{}.part", path.file_name().unwrap_or_default().to_string_lossy()));
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)
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

    #[test]
    fn what_is_no_url_of_a_log_is_refused() {
        for url in ["ftp://log.example", "log.example", "http://", "https://log.example/?q", "file:///log"] {
            assert!(matches!(HttpSource::new(url), Err(SourceError::Url { .. })), "{url}");
        }
        assert_eq!(HttpSource::new("https://log.example/adit//").unwrap().prefix, "https://log.example/adit");
    }
}
