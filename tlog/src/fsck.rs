//! The whole check of a log by somebody who trusts nobody: from its leaves alone the tree, the balances and every signature.

use std::ops::Range;

use adit_ledger::{Account, Books, BooksError, Line, TreeHead};
use adit_protocol::{KnownRoots, Leaf, LeafError, PublicKey, UnixMillis, VerifyError};
use tlog_tiles::{EMPTY_HASH, HASH_SIZE, Hash, node_hash};

use crate::checkpoint::{CheckpointError, verify_checkpoint};
use crate::hashes::{record_hashes, subtree_hash};
use crate::lanes::in_order;
use crate::source::{BundleError, LEAVES_MAX, Source, SourceError, fetch, paths_ending_at, split_bundle};
use crate::tiles::{TILE_HASHES, TilePath};

/// Bundles that one thread reads one after another: batches of signed receipts go on from one into the next, and their signatures are
/// checked once for all of them.
const RUN_BUNDLES_MAX: u64 = 4;

/// Runs of a log at least, where it has so many bundles: enough for all threads to be at work until its end.
const RUNS_MIN: u64 = 32;

/// Faults that are told: enough to see what is wrong, and an end for a log of which everything is.
pub const FAULTS_MAX: usize = 20;

/// What was found. Whether the log is sound, [`Report::is_sound`] says.
#[derive(Debug)]
pub struct Report {
    /// What the checkpoint says, signed by the gateway.
    pub head: TreeHead,
    /// What the leaves say.
    pub leaves: LeafCounts,
    /// Every account and what it has, in order, by the leaves that were folded.
    pub balances: Vec<(Account, i128)>,
    /// Leaves that were folded into the balances: all of them, unless a fault keeps one from being read.
    pub folded: u64,
    /// Receipts whose node's signature and cost hold.
    pub receipts_verified: u64,
    /// When the first leaf was written, by the gateway's wall clock.
    pub first: Option<UnixMillis>,
    /// When the last one was.
    pub last: Option<UnixMillis>,
    /// Bytes that were read, decompressed.
    pub bytes: u64,
    /// What is wrong, in the order of the leaves; at most [`FAULTS_MAX`], behind which nothing was looked at.
    pub faults: Vec<Fault>,
    /// Why the log could not be read to its end; nothing where it was, or where there are [`FAULTS_MAX`] faults before. What was found before
    /// stands all the same.
    pub unread: Option<SourceError>,
}

/// How many leaves of each kind were read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LeafCounts {
    /// [`Leaf::Terms`].
    pub terms: u64,
    /// [`Leaf::Grant`].
    pub grants: u64,
    /// [`Leaf::Settlement`].
    pub settlements: u64,
    /// [`Leaf::Void`].
    pub voids: u64,
    /// [`Leaf::Payout`].
    pub payouts: u64,
    /// [`Leaf::Attempt`].
    pub attempts: u64,
}

/// Something that is wrong with a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A tile or bundle is missing, or has bytes that cannot be right.
    #[error("{0}")]
    Resource(SourceError),
    /// A bundle does not split into its leaves.
    #[error("{}: {error}", bundle_path(*bundle, *width))]
    Bundle {
        /// Which.
        bundle: u64,
        /// How many leaves it has.
        width: u16,
        /// What is wrong.
        error: BundleError,
    },
    /// A leaf does not decode.
    #[error("leaf {index}: {error}")]
    Leaf {
        /// Which.
        index: u64,
        /// What is wrong.
        error: LeafError,
    },
    /// The receipt of a settlement or of another paid attempt proves nothing.
    #[error("leaf {index}: {error}")]
    Receipt {
        /// The leaf's index.
        index: u64,
        /// What is wrong.
        error: VerifyError,
    },
    /// The rules do not allow a leaf.
    #[error("leaf {index}: {error}")]
    Books {
        /// Which.
        index: u64,
        /// What is wrong.
        error: BooksError,
    },
    /// The accounts do not sum to zero.
    #[error("after all leaves: {0}")]
    Sum(BooksError),
    /// A tile has another hash than the leaves make.
    #[error("{}: its hash {at}, over {}, is not what the leaves make it", tile_path(*level, *index, *width), leaves_under(*level, *index, *at))]
    Tile {
        /// The tile's level.
        level: u8,
        /// Which of its level.
        index: u64,
        /// How many hashes it has.
        width: u16,
        /// The position of the first hash that differs.
        at: usize,
    },
    /// The leaves make another root than the checkpoint has.
    #[error("the leaves make the root {}; the checkpoint has {}", hex_of(computed), hex_of(signed))]
    Root {
        /// What the leaves make.
        computed: [u8; HASH_SIZE],
        /// What the gateway signed.
        signed: [u8; HASH_SIZE],
    },
}

/// A log that cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsckError {
    /// Its checkpoint cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its checkpoint is not the gateway's word, so that there is nothing to hold it to.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its checkpoint is of a tree that no log has.
    #[error("the checkpoint says {0} leaves; the limit is {LEAVES_MAX}")]
    Size(u64),
}

/// Checks all of a log: that the gateway signed its checkpoint, that its leaves make the checkpoint's root and every tile, that each
/// leaf is one and is allowed by those before it, that the node of each paid attempt, whether it settled its job or not, signed its receipt
/// and that the receipt's cost is what price and usage make it. It goes on behind a fault, so that more than the first is seen. `progress` is told leaves done, and of how many.
///
/// Memory: a few bundles, and what [`Books`] keep: the ids of all jobs and orders, the paid attempts of jobs that are not settled,
/// and the balances.
///
/// # Errors
/// [`FsckError`] where there is nothing to check. What is wrong with a log is no error: it is in the [`Report`], and so is what keeps the rest
/// of it from being read.
pub fn fsck(source: &dyn Source, gateway: &PublicKey, mut progress: impl FnMut(u64, u64)) -> Result<Report, FsckError> {
    let note = source.checkpoint()?;
    let head = verify_checkpoint(&note, gateway)?;
    if head.size > LEAVES_MAX {
        return Err(FsckError::Size(head.size));
    }
    let mut audit = Audit::new(head, *gateway, note.len() as u64);
    let bundles = head.size.div_ceil(TILE_HASHES);
    let run_bundles = (bundles / RUNS_MIN).clamp(1, RUN_BUNDLES_MAX);
    let ended = in_order(
        bundles.div_ceil(run_bundles),
        |run| Piece::read_run(source, run * run_bundles..bundles.min((run + 1) * run_bundles), head.size),
        |pieces: Vec<Piece>| {
            pieces.into_iter().try_for_each(|piece| {
                audit.take(piece)?;
                progress(audit.done, head.size);
                Ok(())
            })
        },
    );
    match ended {
        Ok(()) => audit.finish(),
        Err(Stop::Enough) => {}
        Err(Stop::Source(error)) => audit.report.unread = Some(error),
    }
    Ok(audit.into_report())
}

impl Report {
    /// Whether all of the log was read, and nothing is wrong with it.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.unread.is_none()
    }
}

/// Why a check ends before the log does.
enum Stop {
    /// There are [`FAULTS_MAX`] faults.
    Enough,
    /// The log cannot be read any further.
    Source(SourceError),
}

/// A bundle with all that can be checked of it without those before it.
struct Piece {
    bundle: u64,
    width: u16,
    /// The leaves by what the books need of them, with their indexes, as far as they decode.
    lines: Vec<(u64, Line)>,
    receipts_verified: u64,
    /// The leaves' hashes; nothing where the bundle does not split.
    hashes: Option<Vec<u8>>,
    /// The tiles that end with this bundle, from the leaves' level up; nothing where one is missing.
    tiles: Vec<(TilePath, Option<Vec<u8>>)>,
    bytes: u64,
    faults: Vec<Fault>,
    /// Why the rest of it could not be read.
    unread: Option<SourceError>,
}

impl Piece {
    /// Bundles one after another, up to one that cannot be read.
    fn read_run(source: &dyn Source, bundles: Range<u64>, size: u64) -> Vec<Self> {
        let (mut pieces, mut known) = (Vec::new(), KnownRoots::default());
        for bundle in bundles {
            pieces.push(Self::read(source, bundle, size, &mut known));
            if pieces.last().is_some_and(|piece| piece.unread.is_some()) {
                break;
            }
        }
        pieces
    }

    fn read(source: &dyn Source, bundle: u64, size: u64, known: &mut KnownRoots) -> Self {
        let width = TILE_HASHES.min(size - bundle * TILE_HASHES) as u16;
        let (lines, tiles, faults) = (Vec::with_capacity(width.into()), Vec::new(), Vec::new());
        let mut piece = Self { bundle, width, lines, receipts_verified: 0, hashes: None, tiles, bytes: 0, faults, unread: None };
        for path in paths_ending_at(bundle, size) {
            let bytes = match fetch(source, path) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.is_fault() => {
                    piece.faults.push(Fault::Resource(error));
                    None
                }
                Err(error) => {
                    piece.unread = Some(error);
                    break;
                }
            };
            piece.bytes += bytes.as_ref().map_or(0, Vec::len) as u64;
            match (path, bytes) {
                (TilePath::Hashes { .. }, bytes) => piece.tiles.push((path, bytes)),
                (TilePath::Entries { .. }, Some(bytes)) => piece.check_bundle(&bytes, known),
                (TilePath::Entries { .. }, None) => {}
            }
        }
        piece
    }

    fn check_bundle(&mut self, bytes: &[u8], known: &mut KnownRoots) {
        let leaves = match split_bundle(bytes, self.width) {
            Ok(leaves) => leaves,
            Err(error) => return self.faults.push(Fault::Bundle { bundle: self.bundle, width: self.width, error }),
        };
        self.hashes = Some(record_hashes(&leaves));
        for (index, bytes) in (self.bundle * TILE_HASHES..).zip(leaves) {
            match Leaf::from_bytes_checked(bytes, known) {
                Ok((leaf, receipt)) => self.take_leaf(index, &leaf, receipt),
                Err(error) => self.faults.push(Fault::Leaf { index, error }),
            }
        }
    }

    fn take_leaf(&mut self, index: u64, leaf: &Leaf, receipt: Result<(), VerifyError>) {
        match receipt {
            Ok(()) => self.receipts_verified += u64::from(leaf.paid().is_some()),
            Err(error) => self.faults.push(Fault::Receipt { index, error }),
        }
        self.lines.push((index, Line::of(leaf)));
    }
}

/// What is known of a log so far, from its first leaf on.
struct Audit {
    gateway: PublicKey,
    done: u64,
    books: Books,
    /// The tree over the leaves; nothing where the hash of one cannot be known.
    tree: Option<Tree>,
    report: Report,
}

impl Audit {
    fn new(head: TreeHead, gateway: PublicKey, bytes: u64) -> Self {
        let report = Report {
            head,
            leaves: LeafCounts::default(),
            balances: Vec::new(),
            folded: 0,
            receipts_verified: 0,
            first: None,
            last: None,
            bytes,
            faults: Vec::new(),
            unread: None,
        };
        Self { gateway, done: 0, books: Books::default(), tree: Some(Tree::default()), report }
    }

    /// Takes in the next bundle.
    fn take(&mut self, piece: Piece) -> Result<(), Stop> {
        self.report.bytes += piece.bytes;
        self.report.receipts_verified += piece.receipts_verified;
        let mut faults = piece.faults;
        for (index, line) in piece.lines {
            self.count(&line);
            // Behind a leaf that is not known the balances are not either, and each fault would make more.
            if self.report.folded == index {
                self.report.folded += 1;
                faults.extend(self.fold(&line).err().map(|error| Fault::Books { index, error }));
            }
        }
        if piece.unread.is_none() {
            self.done += u64::from(piece.width);
            faults.extend(self.grow(piece.hashes, piece.tiles));
        }
        faults.sort_by_key(Fault::leaf);
        faults.into_iter().try_for_each(|fault| self.blame(fault))?;
        piece.unread.map_or(Ok(()), |error| Err(Stop::Source(error)))
    }

    fn fold(&mut self, line: &Line) -> Result<(), BooksError> {
        match line {
            // The books hold the gateway to its first terms; who it must be is known here alone.
            Line::Terms(terms) if terms.gateway != self.gateway => Err(BooksError::Terms),
            line => self.books.apply_line(line),
        }
    }

    fn count(&mut self, line: &Line) {
        let leaves = &mut self.report.leaves;
        *match line {
            Line::Terms(_) => &mut leaves.terms,
            Line::Grant(_) => &mut leaves.grants,
            Line::Settlement(_) => &mut leaves.settlements,
            Line::Void(_) => &mut leaves.voids,
            Line::Payout(_) => &mut leaves.payouts,
            Line::Attempt(_) => &mut leaves.attempts,
        } += 1;
        self.report.first.get_or_insert(line.time());
        self.report.last = Some(line.time());
    }

    /// Lets the tree grow by a bundle, and compares what comes of it to the tiles.
    fn grow(&mut self, hashes: Option<Vec<u8>>, tiles: Vec<(TilePath, Option<Vec<u8>>)>) -> Vec<Fault> {
        // Where there are no leaves, the tile's word is taken, so that the rest can still be told apart.
        let hashes = hashes.or_else(|| tiles.first().and_then(|(_, bytes)| bytes.clone()));
        let Some((tree, hashes)) = self.tree.as_mut().zip(hashes) else {
            self.tree = None;
            return Vec::new();
        };
        let computed = tree.push(&hashes, self.done == self.report.head.size);
        debug_assert_eq!(computed.len(), tiles.len(), "the tree completes the tiles that its size says");
        let served =
            tiles.iter().zip(&computed).filter_map(|((path, served), computed)| Some((path, served.as_ref()?, computed)));
        served.filter_map(|(path, served, computed)| first_difference(*path, served, computed)).collect()
    }

    /// Adds a fault.
    fn blame(&mut self, fault: Fault) -> Result<(), Stop> {
        self.report.faults.push(fault);
        if self.report.faults.len() < FAULTS_MAX { Ok(()) } else { Err(Stop::Enough) }
    }

    /// Checks what only the end of the log shows.
    fn finish(&mut self) {
        let sum = self.books.check().err().map(Fault::Sum);
        let (computed, signed) = (self.tree.as_ref().map(Tree::root), self.report.head.root);
        let root = computed.filter(|computed| *computed != signed).map(|computed| Fault::Root { computed, signed });
        self.report.faults.extend([sum, root].into_iter().flatten());
        self.report.faults.truncate(FAULTS_MAX);
    }

    fn into_report(self) -> Report {
        Report { balances: self.books.accounts().collect(), ..self.report }
    }
}

impl Fault {
    /// The first leaf that it concerns, as far as it names one, so that faults of one bundle are told in order.
    fn leaf(&self) -> u64 {
        match self {
            Self::Leaf { index, .. } | Self::Receipt { index, .. } | Self::Books { index, .. } => *index,
            Self::Bundle { bundle, .. } => bundle * TILE_HASHES,
            Self::Resource(_) => 0,
            _ => u64::MAX,
        }
    }
}

/// The right edge of the tree over the leaves: the last tile of each level, never full, from the leaves' level up.
#[derive(Default)]
struct Tree {
    edge: Vec<Vec<u8>>,
}

impl Tree {
    /// Adds the leaves of a bundle by their hashes. The tiles that end with it: the leaves', the full ones above that it completes, and
    /// where it `is_last`, each level's partial one.
    fn push(&mut self, hashes: &[u8], is_last: bool) -> Vec<Vec<u8>> {
        const FULL: usize = TILE_HASHES as usize * HASH_SIZE;
        let (mut ended, mut pushed, mut level) = (Vec::new(), Some(hashes.to_vec()), 0);
        while pushed.is_some() || (is_last && level < self.edge.len()) {
            if level == self.edge.len() {
                self.edge.push(Vec::new());
            }
            let tile = &mut self.edge[level];
            tile.extend(pushed.take().into_iter().flatten());
            if tile.len() == FULL {
                pushed = Some(subtree_hash(tile).0.to_vec());
                ended.push(std::mem::take(tile));
            } else if level == 0 || (is_last && !tile.is_empty()) {
                ended.push(tile.clone());
            }
            level += 1;
        }
        ended
    }

    fn root(&self) -> [u8; HASH_SIZE] {
        edge_root(&self.edge)
    }
}

/// The root (RFC 6962, section 2.1) by a tree's right edge: of each level, its last tile's hashes, where that is not full, and behind them
/// what is left of the level below.
pub(crate) fn edge_root(edge: &[Vec<u8>]) -> [u8; HASH_SIZE] {
    let mut below = None;
    for tile in edge {
        let (hashes, _) = tile.as_chunks::<HASH_SIZE>();
        let hashes: Vec<Hash> = hashes.iter().copied().map(Hash).chain(below).collect();
        below = tree_hash(&hashes);
    }
    below.unwrap_or(EMPTY_HASH).0
}

/// The root over hashes; nothing over none.
fn tree_hash(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [hash] => Some(*hash),
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            tree_hash(left).zip(tree_hash(right)).map(|(left, right)| node_hash(left, right))
        }
    }
}

/// Where a served tile differs from the computed one, if it does.
fn first_difference(path: TilePath, served: &[u8], computed: &[u8]) -> Option<Fault> {
    let TilePath::Hashes { level, index, width } = path else { return None };
    let pairs = served.chunks(HASH_SIZE).zip(computed.chunks(HASH_SIZE));
    let at = pairs.take_while(|(served, computed)| served == computed).count();
    (served != computed).then_some(Fault::Tile { level, index, width, at })
}

/// As reports and tools for the log show a root.
fn hex_of(root: &[u8; HASH_SIZE]) -> String {
    root.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bundle_path(index: u64, width: u16) -> String {
    TilePath::Entries { index, width }.to_path()
}

fn tile_path(level: u8, index: u64, width: u16) -> String {
    TilePath::Hashes { level, index, width }.to_path()
}

/// The leaves under a hash of a tile, for people.
fn leaves_under(level: u8, index: u64, at: usize) -> String {
    let height = 8 * u32::from(level);
    let first = (index * TILE_HASHES + at as u64) << height;
    match height {
        0 => format!("leaf {first}"),
        _ => format!("leaves {first} to {}", first + (1 << height) - 1),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A log of which one bundle cannot be read, and how often it was asked for anything.
    #[derive(Debug)]
    struct Broken {
        bundle: u64,
        reads: AtomicUsize,
    }

    impl Source for Broken {
        fn read(&self, path: &str, _: usize) -> Result<Option<Vec<u8>>, SourceError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let is_broken = path == bundle_path(self.bundle, TILE_HASHES as u16);
            if is_broken { Err(SourceError::Status { path: path.into(), status: 500 }) } else { Ok(None) }
        }
    }

    #[test]
    fn run_of_bundles_ends_at_the_one_that_cannot_be_read() {
        let source = Broken { bundle: 6, reads: AtomicUsize::default() };
        let pieces = Piece::read_run(&source, 4..8, 100 * TILE_HASHES);
        let ends: Vec<_> = pieces.iter().map(|piece| (piece.bundle, piece.faults.len(), piece.unread.is_some())).collect();
        // What is missing is a fault of the log, behind which the next is read.
        assert_eq!(ends, [(4, 2, false), (5, 2, false), (6, 0, true)]);
        assert_eq!(source.reads.load(Ordering::Relaxed), 5);
    }
}
