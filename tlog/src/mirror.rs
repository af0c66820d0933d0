//! A copy of a log in a folder, of which everything is what the checkpoint's root makes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use adit_ledger::TreeHead;
use adit_protocol::PublicKey;
use tlog_tiles::{HASH_SIZE, Tile};

use crate::checkpoint::{CheckpointError, SignedCheckpoint, verify_checkpoint};
use crate::evidence::{Subtree, beginning, subtrees};
use crate::fsck::edge_root;
use crate::hashes::record_hashes;
use crate::lanes::in_order;
use crate::source::{
    BUNDLE_BYTES_MAX, BundleError, CHECKPOINT_BYTES_MAX, LEAVES_MAX, Source, SourceError, fetch, is_partial, paths_ending_at,
    read_file, split_bundle,
};
use crate::tiles::{TILE_HASHES, TilePath};

/// Bytes that a leaf takes in a copy at the least: its hash, and its length in its bundle.
const LEAF_BYTES_MIN: u64 = HASH_SIZE as u64 + 2;

/// Tiles that are remembered of each level above the leaves': each is needed for 256 others that follow one another.
const REMEMBERED_MAX: usize = 64;

/// What is copied.
#[derive(Debug, Clone)]
pub struct MirrorRules {
    /// Whose log it must be, which continues the copy that is there. Without, the root that all of the copy is checked against is nobody's
    /// word, and nothing that is there and whole is replaced.
    pub gateway: Option<PublicKey>,
    /// Bytes that the copy may have, with what is there of this tree already.
    pub bytes_max: u64,
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Leaves of the tree that the checkpoint is of.
    pub size: u64,
    /// Tiles and bundles that were fetched.
    pub fetched: u64,
    /// Tiles and bundles that were there, as they must be, and were not fetched again.
    pub kept: u64,
    /// Bytes that were written.
    pub bytes: u64,
}

/// A log that is not copied to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It cannot be read, or the copy cannot be written.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its checkpoint is none, or not the gateway's word.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its checkpoint is of a tree that no log has.
    #[error("the checkpoint says {0} leaves; the limit is {LEAVES_MAX}")]
    Size(u64),
    /// A bundle does not split into its leaves.
    #[error("{path} is no bundle of its leaves: {error}")]
    Bundle {
        /// Behind the log's prefix.
        path: String,
        /// What is wrong.
        error: BundleError,
    },
    /// A tile or a bundle is not what the tiles above it make it.
    #[error("{path} does not belong to the log: the checkpoint's root makes it another")]
    Mismatch {
        /// Behind the log's prefix.
        path: String,
    },
    /// The last tiles of all levels do not make the root.
    #[error("the last tiles of the levels do not make the checkpoint's root")]
    Root,
    /// The copy is of a larger tree that the gateway signed. The log may be an old answer from a cache.
    #[error(
        "the log went back from {copied} leaves, which the copy has, to {size}: an old answer, or leaves are lost; the copy stays as it was"
    )]
    WentBack {
        /// Leaves of the copy, by its checkpoint.
        copied: u64,
        /// Leaves of the log, by its checkpoint.
        size: u64,
    },
    /// The copy is of a tree that the gateway signed, and with which the log does not begin.
    #[error(
        "the log's {size} leaves do not begin with the {copied} that the copy has, and the gateway signed both; the copy stays as it was"
    )]
    Rewritten {
        /// Leaves of the copy, by its checkpoint.
        copied: u64,
        /// Leaves of the log, by its checkpoint.
        size: u64,
    },
    /// The copy has a whole tile or bundle that is another, and that the log's root is the gateway's word was not checked.
    #[error("the copy has another {path}, which is whole, and nothing says that the log's is the gateway's")]
    Differs {
        /// Behind the log's prefix.
        path: String,
    },
    /// The copy would be too large.
    #[error("the copy of {size} leaves has over {bytes_max} bytes, which is the limit")]
    TooLarge {
        /// Leaves of the log, by its checkpoint.
        size: u64,
        /// How many bytes it may have.
        bytes_max: u64,
    },
}

impl ExportError {
    /// Whether this is the log's fault: another try, or another way to it, brings no better bytes.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Source(error) => error.is_fault(),
            Self::TooLarge { .. } | Self::Differs { .. } => false,
            Self::Checkpoint(_) | Self::Size(_) | Self::Bundle { .. } | Self::Mismatch { .. } | Self::Root => true,
            Self::WentBack { .. } | Self::Rewritten { .. } => true,
        }
    }
}

/// Copies a log to a folder, in the same layout: for a mirror, which any web server can serve. Each tile and bundle is checked against the
/// checkpoint's root before it is written, from the top down, so that a server that lies is found before it fills a disk; the leaves' rules are
/// not checked, as [`fsck`](crate::fsck) does. What is there is read and checked too. What is right is not fetched again, but for the last
/// tile of each level, and what is wrong is replaced: with the gateway's key where the log continues the copy's checkpoint, or the gateway signed
/// none there, and without where it is not whole. The checkpoint is written last, when all that it covers is durable: a copy that was broken
/// off is as good as the one before, and goes on where it was. `progress` is told leaves done, and of how many.
///
/// # Errors
/// [`ExportError`].
pub fn export(
    source: &dyn Source,
    dir: &Path,
    rules: &MirrorRules,
    mut progress: impl FnMut(u64, u64),
) -> Result<Exported, ExportError> {
    let note = source.checkpoint()?;
    let head = match &rules.gateway {
        Some(gateway) => verify_checkpoint(&note, gateway)?,
        None => SignedCheckpoint::from_bytes(&note)?.head(),
    };
    let size = head.size;
    if size > LEAVES_MAX {
        return Err(ExportError::Size(size));
    }
    if size * LEAF_BYTES_MIN > rules.bytes_max {
        return Err(ExportError::TooLarge { size, bytes_max: rules.bytes_max });
    }
    let mut copier = Copier::new(source, dir, head, rules.bytes_max)?;
    if let Some(gateway) = &rules.gateway {
        copier.check_continues(gateway, &head)?;
        copier.may_replace = true;
    }
    // First, as what is reached last counts as well.
    copier.bytes = copier.there()?.into();
    let mut exported = Exported { size, fetched: 0, kept: 0, bytes: 0 };
    let mut done = 0;
    in_order(
        size.div_ceil(TILE_HASHES),
        |bundle| copier.copy(bundle),
        |copied: Result<Exported, ExportError>| {
            let copied = copied?;
            exported.fetched += copied.fetched;
            exported.kept += copied.kept;
            exported.bytes += copied.bytes;
            done = size.min(done + TILE_HASHES);
            progress(done, size);
            Ok::<(), ExportError>(())
        },
    )?;
    sync_dirs(dir, copier.dirs.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    let file = dir.join("checkpoint");
    write_file(&file, &note).map_err(|error| SourceError::Io { path: file, error })?;
    sync_dir(dir)?;
    Ok(exported)
}

type Bytes = Arc<Vec<u8>>;

/// Full tiles above the leaves' level that were checked, by level and index.
type Remembered = BTreeMap<(u8, u64), Bytes>;

/// What all threads that copy share.
struct Copier<'s> {
    source: &'s dyn Source,
    dir: &'s Path,
    size: u64,
    /// Whether what is there may go: the gateway signed the root, and that continues the copy.
    may_replace: bool,
    /// The last tile of each level, where it is not full: together they make the root.
    edge: Vec<Vec<u8>>,
    checked: Mutex<Remembered>,
    /// Folders that have something of the log.
    dirs: Mutex<BTreeSet<PathBuf>>,
    bytes_max: u64,
    /// Bytes of what the folder has of this tree, and of what is being written to it.
    bytes: AtomicU64,
}

impl<'s> Copier<'s> {
    fn new(source: &'s dyn Source, dir: &'s Path, head: TreeHead, bytes_max: u64) -> Result<Self, ExportError> {
        let mut edge = Vec::new();
        for level in (0u8..).take_while(|level| head.size >> (8 * level) > 0) {
            let hashes = head.size >> (8 * level);
            let (index, width) = (hashes / TILE_HASHES, (hashes % TILE_HASHES) as u16);
            edge.push(if width == 0 { Vec::new() } else { source.tile(level, index, width)? });
        }
        if edge_root(&edge) != head.root {
            return Err(ExportError::Root);
        }
        let (checked, dirs, bytes) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        Ok(Self { source, dir, size: head.size, may_replace: false, edge, checked, dirs, bytes_max, bytes })
    }

    /// Holds the gateway to the copy's checkpoint, where it signed that: what a copy has may be all that is left of it.
    fn check_continues(&self, gateway: &PublicKey, head: &TreeHead) -> Result<(), ExportError> {
        let file = self.dir.join("checkpoint");
        let note = match read_file(&file, CHECKPOINT_BYTES_MAX) {
            Ok(note) => note,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(SourceError::Io { path: file, error }.into()),
        };
        let Ok(old) = verify_checkpoint(&note, gateway) else { return Ok(()) };
        let (copied, size) = (old.size, head.size);
        if size < copied {
            return Err(ExportError::WentBack { copied, size });
        }
        let hashes = subtrees(copied, size).into_iter().map(|subtree| self.hash(subtree)).collect::<Result<Vec<_>, _>>()?;
        match beginning(head, copied, &hashes) {
            Some(root) if root == old.root => Ok(()),
            Some(_) => Err(ExportError::Rewritten { copied, size }),
            None => Err(ExportError::Root),
        }
    }

    /// The hash of a perfect subtree that lies in the tree.
    fn hash(&self, subtree: Subtree) -> Result<[u8; HASH_SIZE], ExportError> {
        let (level, height) = (subtree.height / 8, subtree.height % 8);
        // The first of the tile's hashes that are under the subtree's.
        let first = subtree.index << height;
        let (index, at) = (first / TILE_HASHES, (first % TILE_HASHES) as usize * HASH_SIZE);
        let tile = self.hashes(level, index, self.width(level, index))?;
        Ok(Tile::subtree_hash(&tile.bytes[at..at + (HASH_SIZE << height)]).0)
    }

    /// How many hashes the tree has of a tile.
    fn width(&self, level: u8, index: u64) -> u16 {
        TILE_HASHES.min((self.size >> (8 * u32::from(level))) - index * TILE_HASHES) as u16
    }

    /// Bytes that the folder has of this tree already.
    fn there(&self) -> Result<u64, ExportError> {
        if !self.dir.join("tile").exists() {
            return Ok(0);
        }
        let paths = (0..self.size.div_ceil(TILE_HASHES)).flat_map(|bundle| paths_ending_at(bundle, self.size));
        let there = paths.map(|path| file_bytes(&self.dir.join(path.to_path()))).sum();
        if there > self.bytes_max { Err(self.too_large()) } else { Ok(there) }
    }

    fn too_large(&self) -> ExportError {
        ExportError::TooLarge { size: self.size, bytes_max: self.bytes_max }
    }

    /// Copies what ends with a bundle.
    fn copy(&self, bundle: u64) -> Result<Exported, ExportError> {
        let mut copied = Exported { size: 0, fetched: 0, kept: 0, bytes: 0 };
        let paths = paths_ending_at(bundle, self.size);
        let leaves = match paths.iter().find(|path| matches!(path, TilePath::Hashes { level: 0, .. })) {
            Some(TilePath::Hashes { level, index, width }) => self.hashes(*level, *index, *width)?,
            _ => unreachable!("each bundle has its tile"),
        };
        for path in paths {
            let file = self.dir.join(path.to_path());
            // Of what an earlier copy left, too: it may have been broken off before they were made durable.
            self.dirs.lock().unwrap_or_else(PoisonError::into_inner).extend(file.parent().map(Path::to_owned));
            let (bytes, is_there) = match path {
                TilePath::Hashes { level: 0, .. } => (leaves.bytes.as_ref().clone(), leaves.is_there),
                TilePath::Hashes { level, index, width } => {
                    let hashes = self.hashes(level, index, width)?;
                    (hashes.bytes.as_ref().clone(), self.is_there(path, &hashes.bytes))
                }
                TilePath::Entries { width, .. } => self.bundle(path, width, &leaves.bytes)?,
            };
            if is_there {
                copied.kept += 1;
                continue;
            }
            if !self.may_replace && read_file(&file, BUNDLE_BYTES_MAX).is_ok_and(|there| there != bytes && is_whole(path, &there))
            {
                return Err(ExportError::Differs { path: path.to_path() });
            }
            // What it replaces goes only when it is there.
            let (new, old) = (bytes.len() as u64, file_bytes(&file));
            if self.bytes.fetch_add(new.saturating_sub(old), Ordering::Relaxed) + new.saturating_sub(old) > self.bytes_max {
                return Err(self.too_large());
            }
            write_file(&file, &bytes).map_err(|error| SourceError::Io { path: file, error })?;
            self.bytes.fetch_sub(old.saturating_sub(new), Ordering::Relaxed);
            copied.fetched += 1;
            copied.bytes += bytes.len() as u64;
        }
        Ok(copied)
    }

    /// A tile that is what the tiles above it make it.
    fn hashes(&self, level: u8, index: u64, width: u16) -> Result<Checked, ExportError> {
        if is_partial(width) {
            return Ok(Checked { bytes: Arc::new(self.edge[usize::from(level)].clone()), is_there: false });
        }
        if let Some(bytes) = self.checked.lock().unwrap_or_else(PoisonError::into_inner).get(&(level, index)) {
            return Ok(Checked { bytes: Arc::clone(bytes), is_there: false });
        }
        let (above, at) = (index / TILE_HASHES, (index % TILE_HASHES) as usize);
        let parent = self.hashes(level + 1, above, self.width(level + 1, above))?;
        let due = &parent.bytes[at * HASH_SIZE..(at + 1) * HASH_SIZE];
        let path = TilePath::Hashes { level, index, width };
        let is_right =
            |bytes: &Vec<u8>| bytes.len() == usize::from(width) * HASH_SIZE && Tile::subtree_hash(bytes).0.as_slice() == due;
        let (bytes, is_there) = self.take(path, is_right)?;
        let bytes = Arc::new(bytes);
        if level > 0 {
            remember(&mut self.checked.lock().unwrap_or_else(PoisonError::into_inner), (level, index), Arc::clone(&bytes));
        }
        Ok(Checked { bytes, is_there })
    }

    /// A bundle whose leaves have these hashes, and whether it is there already.
    fn bundle(&self, path: TilePath, width: u16, hashes: &[u8]) -> Result<(Vec<u8>, bool), ExportError> {
        let is_right = |bytes: &Vec<u8>| split_bundle(bytes, width).is_ok_and(|leaves| record_hashes(&leaves) == hashes);
        self.take(path, is_right)
    }

    /// What stands at a path, from the folder or else from the log, and whether it is in the folder.
    fn take(&self, path: TilePath, is_right: impl Fn(&Vec<u8>) -> bool) -> Result<(Vec<u8>, bool), ExportError> {
        let file = self.dir.join(path.to_path());
        if let Ok(bytes) = read_file(&file, BUNDLE_BYTES_MAX)
            && is_right(&bytes)
        {
            return Ok((bytes, true));
        }
        let bytes = fetch(self.source, path)?;
        if is_right(&bytes) {
            return Ok((bytes, false));
        }
        // What is there is wrong too, and would be served. By a root that nobody signed, that cannot be said of it, nor by another history's.
        if self.may_replace {
            let _ = fs::remove_file(&file);
        }
        if let TilePath::Entries { width, .. } = path {
            split_bundle(&bytes, width).map_err(|error| ExportError::Bundle { path: path.to_path(), error })?;
        }
        Err(ExportError::Mismatch { path: path.to_path() })
    }

    /// Whether a file has these bytes; of a partial one it does not matter, as it is small and soon replaced.
    fn is_there(&self, path: TilePath, bytes: &[u8]) -> bool {
        let (TilePath::Hashes { width, .. } | TilePath::Entries { width, .. }) = path;
        !is_partial(width) && read_file(&self.dir.join(path.to_path()), BUNDLE_BYTES_MAX).is_ok_and(|there| there == bytes)
    }
}

/// A tile that belongs to the log.
struct Checked {
    bytes: Bytes,
    /// Whether it was read from the folder.
    is_there: bool,
}

/// Remembers a tile, and forgets the first of its level where that has too many: bundles are copied in their order.
fn remember(checked: &mut Remembered, (level, index): (u8, u64), bytes: Bytes) {
    checked.insert((level, index), bytes);
    let mut of_level = checked.range((level, 0)..=(level, u64::MAX)).map(|(place, _)| *place);
    let first = of_level.next();
    if let Some(first) = first.filter(|_| of_level.count() >= REMEMBERED_MAX) {
        checked.remove(&first);
    }
}

/// Bytes of a file; none where it is not there.
fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Whether bytes may be what stands at a path of some log.
fn is_whole(path: TilePath, bytes: &[u8]) -> bool {
    match path {
        TilePath::Hashes { width, .. } => bytes.len() == usize::from(width) * HASH_SIZE,
        TilePath::Entries { width, .. } => split_bundle(bytes, width).is_ok(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Behind 64 full tiles of higher levels, those of level 1 were forgotten at once, and read anew for each bundle below.
    #[test]
    fn each_level_has_its_newest_tiles_remembered() {
        let mut checked = Remembered::new();
        for level in [2, 3, 1] {
            (0..200).for_each(|index| remember(&mut checked, (level, index), Bytes::default()));
        }
        let due = (1..=3).flat_map(|level| (200 - REMEMBERED_MAX as u64..200).map(move |index| (level, index)));
        assert!(checked.into_keys().eq(due));
    }
}
