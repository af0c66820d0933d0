//! Holding a gateway to what it signed: each checkpoint must continue the one before, and two that do not are kept as evidence.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use adit_ledger::TreeHead;
use adit_protocol::{Digest, PublicKey};
use tempfile::{Builder, NamedTempFile};
use tlog_tiles::{HASH_SIZE, Tile};

use crate::checkpoint::{CheckpointError, verify_alone, verify_checkpoint};
use crate::evidence::{LogEvidence, Misbehaviour, Subtree, beginning, subtrees};
use crate::source::{LEAVES_MAX, Source, SourceError, read_file};
use crate::tiles::TILE_HASHES;

/// Bytes of a state file: a checkpoint.
const STATE_BYTES_MAX: usize = 64 * 1024;

/// Files of what proves nothing yet, of each kind, the newest: a log cannot fill the disk with what it signs.
const UNPROVEN_MAX: usize = 64;

/// Remembers the last checkpoint of a log that was accepted, and accepts no other than one that continues it.
#[derive(Debug)]
pub struct Watch {
    source: Box<dyn Source>,
    gateway: PublicKey,
    state: PathBuf,
    accepted: Option<Accepted>,
}

#[derive(Debug, Clone)]
struct Accepted {
    head: TreeHead,
    note: Vec<u8>,
    /// The note with the gateway's signature alone.
    alone: Vec<u8>,
}

/// What a file is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A [`LogEvidence`] that proves something.
    Evidence,
    /// A [`LogEvidence`] of a tree and a smaller one after it.
    WentBack,
    /// A checkpoint.
    Unproven,
}

/// What a look at a log showed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// The first checkpoint ever seen: it is taken at its word.
    First(TreeHead),
    /// The tree that was accepted before.
    Same(TreeHead),
    /// A larger tree that begins with the accepted one.
    Grown {
        /// The tree that was accepted before.
        from: TreeHead,
        /// The one that is accepted now.
        to: TreeHead,
    },
    /// A smaller tree than the accepted one. It may be an old answer from a cache, so it proves nothing by itself; a gateway that was set
    /// back to a backup shows itself in the same way, and is caught when it grows again. The accepted tree stays the one to continue.
    WentBack {
        /// The accepted tree.
        from: TreeHead,
        /// What the log says now.
        to: TreeHead,
        /// Both checkpoints with the gateway's signatures alone, for the record. Only the newest records are kept.
        record: PathBuf,
    },
    /// A proof that the gateway misbehaved. The accepted tree stays the one to continue.
    Misbehaved {
        /// What it did.
        misbehaviour: Misbehaviour,
        /// The file that proves it: [`LogEvidence`]. That it could not be written makes the proof no weaker: it is in the error.
        evidence: Result<PathBuf, UnkeptEvidence>,
    },
}

/// A proof that could not be written to its file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct UnkeptEvidence {
    /// Which file, and what failed.
    pub reason: String,
    /// The proof.
    pub evidence: Box<LogEvidence>,
}

/// A look that showed nothing that could be accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The log cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What the log has for a checkpoint is not the gateway's word.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log's checkpoint is of a tree that no log has.
    #[error("the checkpoint says {0} leaves; the limit is {LEAVES_MAX}")]
    Size(u64),
    /// The tiles are not those of the checkpoint. The gateway did not sign them, so they are no evidence.
    #[error("the log's tiles do not make the root of its checkpoint of {0} leaves")]
    Tiles(u64),
    /// The state is not a checkpoint of this gateway.
    #[error("{} is no state of a watch over this gateway: {error}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: CheckpointError,
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

impl WatchError {
    /// Whether this is the log's fault: another try, or another way to it, brings nothing better.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Source(error) => error.is_fault(),
            Self::Checkpoint(_) | Self::Size(_) | Self::Tiles(_) => true,
            Self::State { .. } | Self::Io { .. } => false,
        }
    }
}

impl Watch {
    /// A watch over `gateway`'s log that goes on from the file `state`, where there is one. Evidence is put beside it.
    ///
    /// # Errors
    /// [`WatchError::State`] and [`WatchError::Io`].
    pub fn open(source: Box<dyn Source>, gateway: PublicKey, state: impl Into<PathBuf>) -> Result<Self, WatchError> {
        let state = state.into();
        let accepted = match read_file(&state, STATE_BYTES_MAX) {
            Ok(note) => match Accepted::verify(note, &gateway) {
                Ok(accepted) => Some(accepted),
                Err(error) => return Err(WatchError::State { path: state, error }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(WatchError::Io { path: state, error }),
        };
        Ok(Self { source, gateway, state, accepted })
    }

    /// The tree that was accepted last.
    pub fn head(&self) -> Option<TreeHead> {
        self.accepted.as_ref().map(|accepted| accepted.head)
    }

    /// Looks at the log once. What is accepted is on disk before this returns, and so is evidence, unless that cannot be written: then it is in
    /// what is returned.
    ///
    /// # Errors
    /// [`WatchError`]; nothing is accepted then. A checkpoint that the gateway did sign is kept in a file beside the state, `unproven-SIZE-ROOT`
    /// with the first half of the root in hex: a log that withholds its tiles cannot take its word back, and with another checkpoint, or with
    /// the tiles, the file is half of a proof. Only the newest such files are kept.
    pub fn poll(&mut self) -> Result<Seen, WatchError> {
        let new = Accepted::verify(self.source.checkpoint()?, &self.gateway)?;
        let seen = self.judge(new.clone());
        if seen.is_err() {
            self.keep_unproven(&new)?;
        }
        seen
    }

    fn judge(&mut self, new: Accepted) -> Result<Seen, WatchError> {
        let head = new.head;
        if head.size > LEAVES_MAX {
            return Err(WatchError::Size(head.size));
        }
        let Some(old) = self.accepted.clone() else {
            self.hashes(&head, head.size)?;
            self.accept(new)?;
            return Ok(Seen::First(head));
        };
        if head.size < old.head.size {
            return self.went_back(&old, &new);
        }
        if head.size == old.head.size {
            return Ok(if head.root == old.head.root { Seen::Same(head) } else { self.blame(&old, &new, Vec::new()) });
        }
        let (hashes, begins_with) = self.hashes(&head, old.head.size)?;
        if begins_with != old.head.root {
            return Ok(self.blame(&old, &new, hashes));
        }
        self.accept(new)?;
        Ok(Seen::Grown { from: old.head, to: head })
    }

    /// A smaller tree than before is a fault where the tiles of the larger one are there still, and begin with another.
    fn went_back(&self, old: &Accepted, new: &Accepted) -> Result<Seen, WatchError> {
        // Tiles that are gone, out of reach, or another tree's, say nothing.
        if let Ok((hashes, begins_with)) = self.hashes(&old.head, new.head.size)
            && begins_with != new.head.root
        {
            return Ok(self.blame(new, old, hashes));
        }
        let (smaller, larger) = (new.alone.clone(), old.alone.clone());
        let both = LogEvidence { gateway: self.gateway, smaller, larger, hashes: Vec::new() };
        Ok(Seen::WentBack { from: old.head, to: new.head, record: self.keep(Kind::WentBack, &both)? })
    }

    fn blame(&self, smaller: &Accepted, larger: &Accepted, hashes: Vec<[u8; HASH_SIZE]>) -> Seen {
        let (smaller, larger) = (smaller.note.clone(), larger.note.clone());
        let evidence = LogEvidence { gateway: self.gateway, smaller, larger, hashes };
        let misbehaviour =
            evidence.check().expect("checkpoints that were verified, and hashes that lead to two roots, are evidence");
        let kept = self.keep(Kind::Evidence, &evidence);
        let unkept = |error: WatchError| UnkeptEvidence { reason: error.to_string(), evidence: Box::new(evidence) };
        Seen::Misbehaved { misbehaviour, evidence: kept.map_err(unkept) }
    }

    /// The hashes that show the first `size` leaves of `tree`, and the root that they make. They come from tiles that nobody vouches for;
    /// that they lead to the tree's root is what they are taken for.
    fn hashes(&self, tree: &TreeHead, size: u64) -> Result<(Vec<[u8; HASH_SIZE]>, [u8; HASH_SIZE]), WatchError> {
        let mut tiles = Tiles { source: &*self.source, size: tree.size, read: HashMap::new() };
        let hashes = subtrees(size, tree.size).into_iter().map(|subtree| tiles.hash(subtree)).collect::<Result<Vec<_>, _>>()?;
        let begins_with = beginning(tree, size, &hashes).ok_or(WatchError::Tiles(tree.size))?;
        Ok((hashes, begins_with))
    }

    /// Accepts a tree, on disk first.
    fn accept(&mut self, new: Accepted) -> Result<(), WatchError> {
        let failed = |error| WatchError::Io { path: self.state.clone(), error };
        let file = write_beside(&self.state, &new.note).map_err(failed)?;
        file.persist(&self.state).map_err(|error| failed(error.error))?;
        sync_dir(&self.state).map_err(failed)?;
        self.accepted = Some(new);
        Ok(())
    }

    /// Keeps two checkpoints in a file of their own, named for what is in it.
    fn keep(&self, kind: Kind, evidence: &LogEvidence) -> Result<PathBuf, WatchError> {
        let bytes = evidence.to_bytes();
        let digest = Digest::of(&bytes).to_string();
        self.put(kind, &digest[..32], &bytes, |kept| kept == bytes)
    }

    /// Keeps a checkpoint that nothing could be made of, named for what it states.
    fn keep_unproven(&self, new: &Accepted) -> Result<PathBuf, WatchError> {
        let root = Digest(new.head.root).to_string();
        let name = format!("{}-{}", new.head.size, &root[..32]);
        // Under another of the gateway's signatures it says the same.
        let is_same = |kept: &[u8]| verify_checkpoint(kept, &self.gateway).is_ok_and(|head| head == new.head);
        self.put(Kind::Unproven, &name, &new.alone, is_same)
    }

    /// Writes a file beside the state. The same again, as `is_same` has it, is the same file, and none is ever written over.
    fn put(&self, kind: Kind, name: &str, bytes: &[u8], is_same: impl Fn(&[u8]) -> bool) -> Result<PathBuf, WatchError> {
        let (prefix, suffix) = kind.affixes();
        let path = self.state.with_file_name(format!("{prefix}{name}{suffix}"));
        let failed = |error| WatchError::Io { path: path.clone(), error };
        let file = write_beside(&path, bytes).map_err(failed)?;
        match file.persist_noclobber(&path) {
            Ok(_) => {
                sync_dir(&path).map_err(failed)?;
                if kind != Kind::Evidence {
                    self.remove_oldest(kind, &path).map_err(failed)?;
                }
            }
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                if !is_same(&read_file(&path, bytes.len().max(STATE_BYTES_MAX)).map_err(failed)?) {
                    let error = io::Error::other("there is another file of this name; move it away");
                    return Err(failed(error));
                }
            }
            Err(error) => return Err(failed(error.error)),
        }
        Ok(path)
    }

    /// Removes the oldest files of a kind where there are more than [`UNPROVEN_MAX`]; never the one that was just written.
    fn remove_oldest(&self, kind: Kind, newest: &Path) -> io::Result<()> {
        let spared = [self.state.file_name(), newest.file_name()];
        let mut files = Vec::new();
        for file in fs::read_dir(dir_of(newest))? {
            let file = file?;
            let name = file.file_name();
            if kind.is_of(&name) && !spared.contains(&Some(&name)) && file.file_type()?.is_file() {
                files.push((file.metadata()?.modified()?, file.path()));
            }
        }
        files.sort();
        let surplus = (files.len() + 1).saturating_sub(UNPROVEN_MAX);
        files[..surplus].iter().try_for_each(|(_, path)| fs::remove_file(path))
    }
}

impl Accepted {
    fn verify(note: Vec<u8>, gateway: &PublicKey) -> Result<Self, CheckpointError> {
        let (head, alone) = verify_alone(&note, gateway)?;
        Ok(Self { head, note, alone })
    }
}

impl Kind {
    /// What a file's name begins and ends with.
    fn affixes(self) -> (&'static str, &'static str) {
        match self {
            Self::Evidence => ("evidence-", ".json"),
            Self::WentBack => ("went-back-", ".json"),
            Self::Unproven => ("unproven-", ".checkpoint"),
        }
    }

    fn is_of(self, name: &OsStr) -> bool {
        let (prefix, suffix) = self.affixes();
        name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix))
    }
}

/// The bytes, durably, in a file beside `path` that is to get its name.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let dir = dir_of(path);
    fs::create_dir_all(dir)?;
    // For everybody to read, as far as the umask allows: there is nothing secret in a log.
    let mut file = Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(dir_of(path))?.sync_all()
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The tiles of a tree, each read once.
struct Tiles<'s> {
    source: &'s dyn Source,
    size: u64,
    read: HashMap<(u8, u64), Vec<u8>>,
}

impl Tiles<'_> {
    /// The hash of a perfect subtree that lies in the tree.
    fn hash(&mut self, subtree: Subtree) -> Result<[u8; HASH_SIZE], SourceError> {
        let (level, height) = (subtree.height / 8, subtree.height % 8);
        // The first of the tile's hashes that are under the subtree's.
        let first = subtree.index << height;
        let (index, at) = (first / TILE_HASHES, (first % TILE_HASHES) as usize * HASH_SIZE);
        let tile = match self.read.entry((level, index)) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(place) => {
                let hashes = self.size >> (8 * level);
                let width = TILE_HASHES.min(hashes - index * TILE_HASHES) as u16;
                place.insert(self.source.tile(level, index, width)?)
            }
        };
        Ok(Tile::subtree_hash(&tile[at..at + (HASH_SIZE << height)]).0)
    }
}
