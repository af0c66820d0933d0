//! A gateway's log as C2SP's tlog-tiles has it served (<https://c2sp.org/tlog-tiles>): the last checkpoint, the tree's hashes in tiles, and
//! the leaves in entry bundles, each at a path of its own that never changes what it holds.

use std::io::Write;
use std::sync::{Arc, PoisonError, RwLock};

use adit_ledger::{Reader, StoreError, TreeHead};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tlog_tiles::Tile;

use crate::http::{HttpMethod, HttpRequest, HttpResponse};

/// The logarithm of a tile's hashes.
const TILE_HEIGHT: u8 = 8;
/// Hashes of a full tile, and leaves of a full bundle.
pub(crate) const TILE_HASHES: u64 = 1 << TILE_HEIGHT;

const BINARY: &str = "application/octet-stream";

/// One of a log's resources that never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TilePath {
    /// Hashes of the tree.
    Hashes {
        /// 0 for the leaves' hashes, and one more for each 256 times fewer.
        level: u8,
        /// Which of its level.
        index: u64,
        /// How many hashes: 256 where it is full.
        width: u16,
    },
    /// Leaves, each behind its length as a big-endian `u16`.
    Entries {
        /// Which.
        index: u64,
        /// How many leaves: 256 where it is full.
        width: u16,
    },
}

/// What a log last said of itself: a checkpoint, and what it is of. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Published(Arc<RwLock<Option<PublishedCheckpoint>>>);

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedCheckpoint {
    /// The tree that it is of.
    pub head: TreeHead,
    /// The signed note, with whatever cosignatures it has.
    pub note: Bytes,
}

/// Answers requests for a log, as far as its last checkpoint goes: what is not under a checkpoint yet is not shown.
#[derive(Debug, Clone)]
pub struct LogService {
    reader: Reader,
    published: Published,
}

impl TilePath {
    /// The path behind the log's prefix, without a slash at its front.
    pub fn to_path(self) -> String {
        let (level, index, width) = match self {
            Self::Hashes { level, index, width } => (level.to_string(), index, width),
            Self::Entries { index, width } => ("entries".to_owned(), index, width),
        };
        let tile = Tile::new(TILE_HEIGHT, 0, index, width.into(), false).path();
        let place = tile.strip_prefix("tile/8/0/").expect("a tile's path begins with its height and level");
        format!("tile/{level}/{place}")
    }

    /// Reads what [`TilePath::to_path`] wrote; nothing where it is written in any other way.
    pub fn from_path(path: &str) -> Option<Self> {
        let (level, place) = path.strip_prefix("tile/")?.split_once('/')?;
        // The crate panics over a width of none, however it is written.
        if place.split_once(".p/").is_some_and(|(_, width)| !matches!(width.parse::<u8>(), Ok(1..))) {
            return None;
        }
        let tile = Tile::from_path(&format!("tile/{TILE_HEIGHT}/0/{place}")).ok()?;
        let (index, width) = (tile.level_index(), u16::try_from(tile.width()).ok()?);
        let path_of = match level {
            "entries" => Self::Entries { index, width },
            level => Self::Hashes { level: level.parse().ok().filter(|level| *level < 64)?, index, width },
        };
        (path_of.to_path() == path).then_some(path_of)
    }
}

impl Published {
    /// The last checkpoint; nothing before the first.
    pub fn get(&self) -> Option<PublishedCheckpoint> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says a new one.
    pub fn set(&self, checkpoint: PublishedCheckpoint) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(checkpoint);
    }
}

impl LogService {
    /// The log that `reader` reads, up to what was published.
    pub fn new(reader: Reader, published: Published) -> Self {
        Self { reader, published }
    }

    /// Answers one request.
    pub fn answer(&self, request: &HttpRequest) -> HttpResponse {
        if request.method != HttpMethod::Get {
            return HttpResponse::text(405, "a log is only read\n");
        }
        let Some(path) = request.path.strip_prefix('/') else { return not_found() };
        if path == "checkpoint" {
            return match self.published.get() {
                Some(published) => HttpResponse { body: published.note, ..HttpResponse::text(200, "") },
                None => self.unsigned(),
            };
        }
        let Some(path) = TilePath::from_path(path) else { return not_found() };
        match self.read(path) {
            Ok(Some(bytes)) if matches!(path, TilePath::Hashes { .. }) => immutable(bytes),
            Ok(Some(bytes)) => {
                let compressed = request.accepts_gzip;
                let bytes = if compressed { gzip(&bytes) } else { bytes };
                HttpResponse { is_gzip: compressed, is_negotiated: true, ..immutable(bytes) }
            }
            Ok(None) if self.published.get().is_none() => self.unsigned(),
            Ok(None) => not_found(),
            Err(error) => {
                tracing::error!(%error, "the log cannot be served");
                HttpResponse::text(500, format!("{error}\n"))
            }
        }
    }

    /// What is told before anything is signed, which may never be.
    fn unsigned(&self) -> HttpResponse {
        match self.reader.found_damage() {
            Some(damage) => HttpResponse::text(503, format!("no checkpoint is signed: {damage}\n")),
            None => HttpResponse::text(404, "no checkpoint is signed yet\n"),
        }
    }

    /// What stands at a path; nothing where the last checkpoint has not so much.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self, path: TilePath) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(size) = self.published.get().map(|published| published.head.size) else { return Ok(None) };
        let (level, index, width) = match path {
            TilePath::Hashes { level, index, width } => (level, index, width),
            TilePath::Entries { index, width } => (0, index, width),
        };
        let hashes = size.checked_shr(u32::from(TILE_HEIGHT) * u32::from(level)).unwrap_or(0);
        let first = index.checked_mul(TILE_HASHES);
        let end = first.and_then(|first| first.checked_add(width.into()));
        if end.is_none_or(|end| end > hashes) {
            return Ok(None);
        }
        match path {
            TilePath::Hashes { .. } => self.reader.tile(level, index, width.into()),
            TilePath::Entries { .. } => {
                let leaves = self.reader.leaves(index * TILE_HASHES, width.into())?;
                Ok((leaves.len() == usize::from(width)).then(|| bundle(&leaves)))
            }
        }
    }
}

/// Leaves, each behind its length.
fn bundle(leaves: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(leaves.iter().map(|leaf| 2 + leaf.len()).sum());
    for leaf in leaves {
        let length = u16::try_from(leaf.len()).expect("a leaf is far below 64 KiB");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(leaf);
    }
    bytes
}

fn immutable(bytes: Vec<u8>) -> HttpResponse {
    HttpResponse { content_type: BINARY, is_immutable: true, body: bytes.into(), ..HttpResponse::text(200, "") }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes what is written to it")
}

fn not_found() -> HttpResponse {
    HttpResponse::text(404, "not here: checkpoint, tile/LEVEL/INDEX and tile/entries/INDEX are (c2sp.org/tlog-tiles)\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        let rows = [
            (TilePath::Hashes { level: 0, index: 0, width: 256 }, "tile/0/000"),
            (TilePath::Hashes { level: 1, index: 1_234_067, width: 17 }, "tile/1/x001/x234/067.p/17"),
            (TilePath::Hashes { level: 63, index: u64::MAX, width: 256 }, "tile/63/x018/x446/x744/x073/x709/x551/615"),
            (TilePath::Entries { index: 273, width: 112 }, "tile/entries/273.p/112"),
            (TilePath::Entries { index: 1_000, width: 256 }, "tile/entries/x001/000"),
        ];
        for (path, text) in rows {
            assert_eq!((path.to_path().as_str(), TilePath::from_path(text)), (text, Some(path)));
        }
        for text in [
            "tile/0/000.p/00",
            "tile/0/000.p/+0",
            "tile/0/000.p/-0",
            "",
            "tile",
            "tile/0",
            "tile/0/0",
            "tile/00/000",
            "tile/64/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/x000/000",
            "tile/0/000/",
            "tile/+1/000",
            "tile/data/000",
            "tile/8/0/000",
            "tile/entries/1",
            "tile/0/-01",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/000.p/",
            "/tile/0/000",
        ] {
            assert_eq!(TilePath::from_path(text), None, "{text}");
        }
    }
}
