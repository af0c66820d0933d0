//! A witness: it cosigns the checkpoints of logs, each only where that tree is the beginning of the next
//! (<https://c2sp.org/tlog-witness>).

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use adit_ledger::{TreeHead, file};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableError, WriteTransaction,
};
use signed_note::{NoteError, VerificationError, Verifier, Verifiers};
use tlog_tiles::{EMPTY_HASH, Hash, check_tree};

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::cosignature::{Cosignature, Cosigner, UnixSeconds};
use crate::http::{HttpMethod, HttpRequest, HttpResponse};
use crate::key::LogKey;
use crate::line::{PROOF_HASHES_MAX, parse_decimal, parse_hash};

/// The path of the one call, behind the submission prefix.
pub(crate) const ADD_CHECKPOINT: &str = "/add-checkpoint";

/// The media type of a tree's size.
pub(crate) const SIZE_TYPE: &str = "text/x.tlog.size";

/// Bytes of a request: 63 hashes, and a checkpoint with 16 signatures of the largest kind.
const REQUEST_BYTES_MAX: usize = 128 * 1024;

/// Memory for pages of the store, which has a row for each log.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// What is kept against one log, of each kind: the store must not grow for whoever replays what is public. Of two trees of one size one piece
/// is enough; of what came unproven, which anybody can send, the newest are kept. All of it is in the program's log.
const EVIDENCE_MAX: usize = 16;

/// The version of the tables.
const FORMAT_VERSION: u32 = 1;

const META: TableDefinition<'_, &str, u32> = TableDefinition::new("witness");
const META_FORMAT: &str = "format";

/// By origin: the size and the root of the largest tree that was cosigned, and the checkpoint with its log's signatures.
const LATEST: TableDefinition<'_, &str, (u64, &[u8; 32], &[u8])> = TableDefinition::new("latest");

/// Origin, kind, size and root.
type EvidenceKey = (&'static str, u8, u64, &'static [u8; 32]);

/// What speaks against a log, by what its checkpoint states: when it came, what was cosigned by then, and the checkpoint.
const EVIDENCE: TableDefinition<'_, EvidenceKey, (u64, &[u8], &[u8])> = TableDefinition::new("evidence");

/// A witness of certain logs.
///
/// **Invariant:** of two checkpoints that it cosigned for one log, the smaller tree is the beginning of the larger. What it will compare
/// the next one with is on the disk before a cosignature leaves, and comparing and recording are one transaction, so that neither a crash nor
/// requests at the same time can make it forget. Its store is opened by one witness at a time; a copy of the store, or a new one under an
/// old key, is what it cannot guard against.
#[derive(Debug)]
pub struct Witness {
    store: Database,
    cosigner: Cosigner,
    logs: Vec<LogKey>,
    has_failed: AtomicBool,
}

/// A witness that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// The file cannot be opened or made.
    #[error("witness store {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another witness, here or in another process, has the file open.
    #[error("witness store {path} is open already; a store has one witness at a time")]
    AlreadyOpen {
        /// Which file.
        path: PathBuf,
    },
    /// A redb database, but not a witness' store.
    #[error("the database is not the store of a witness")]
    NotAWitness,
    /// Written by another version of this software.
    #[error("the witness store has format {found}; this version reads format {FORMAT_VERSION}")]
    Format {
        /// The format that it has.
        found: u32,
    },
    /// The database, or the disk under it, failed.
    #[error("the witness store failed: {0}")]
    Store(#[from] redb::Error),
}

/// A checkpoint that a log signed and this witness did not cosign, kept for people to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The log.
    pub origin: String,
    /// What is wrong.
    pub kind: EvidenceKind,
    /// When it came first.
    pub time: UnixSeconds,
    /// The largest checkpoint that was cosigned by then, with its log's signatures; empty where there was none.
    pub cosigned: Vec<u8>,
    /// The checkpoint that does not go with it, with its log's signatures.
    pub checkpoint: Vec<u8>,
}

/// What is wrong with a checkpoint that was not cosigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceKind {
    /// It states another tree of the same size: the two checkpoints are proof that the log shows different trees.
    OtherTree,
    /// What came with it does not prove that it continues the tree that was cosigned. Whoever sent it may have made the proof up; where the
    /// log cannot prove it either, it shows different trees.
    Unproven,
}

/// Why a checkpoint is not cosigned, as its sender is told.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    #[error("the request is malformed: {0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("the log is not witnessed here")]
    UnknownLog,
    #[error("the checkpoint is not signed by its log: {0}")]
    Unsigned(NoteError),
    #[error("the old size is larger than the checkpoint's")]
    Shrunk,
    #[error("{latest}")]
    Size { latest: u64 },
    #[error("another tree of this size was cosigned")]
    OtherTree,
    #[error("the proof does not lead from the old tree to the new one")]
    Unproven,
    #[error("the store failed, and nothing was cosigned")]
    Store(#[from] redb::Error),
}

/// What is asked for.
struct Request {
    old: u64,
    proof: Vec<Hash>,
    checkpoint: SignedCheckpoint,
}

impl Witness {
    /// Opens the store of a witness in the file at `path`; makes it where there is none. It witnesses `logs`, of which several may have one
    /// origin, as after a change of keys.
    ///
    /// # Errors
    /// [`WitnessError`]; in particular [`WitnessError::AlreadyOpen`] while another witness has the file.
    pub fn open(path: &Path, cosigner: Cosigner, logs: Vec<LogKey>) -> Result<Self, WitnessError> {
        Self::open_file(path, cosigner, logs).map_err(|error| match error {
            WitnessError::Store(redb::Error::DatabaseAlreadyOpen) => WitnessError::AlreadyOpen { path: path.to_owned() },
            WitnessError::File { error, .. } if error.kind() == ErrorKind::WouldBlock => {
                WitnessError::AlreadyOpen { path: path.to_owned() }
            }
            error => error,
        })
    }

    fn open_file(path: &Path, cosigner: Cosigner, logs: Vec<LogKey>) -> Result<Self, WitnessError> {
        let at_path = |error| WitnessError::File { path: path.to_owned(), error };
        let backend = |file| FileBackend::new(file).map_err(redb::Error::from);
        if let Some(file) = file::open(path).map_err(at_path)? {
            return Self::open_with(backend(file)?, cosigner, logs);
        }
        let draft = file::draft(path).map_err(at_path)?;
        let witness = Self::open_with(backend(draft)?, cosigner, logs)?;
        file::publish(path).map_err(at_path)?;
        Ok(witness)
    }

    /// As [`Witness::open`], with a store in `backend`. For tests.
    ///
    /// # Errors
    /// As [`Witness::open`].
    pub fn open_with(backend: impl StorageBackend, cosigner: Cosigner, logs: Vec<LogKey>) -> Result<Self, WitnessError> {
        let store = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(redb::Error::from)?;
        prepare(&store)?;
        Ok(Self { store, cosigner, logs, has_failed: AtomicBool::new(false) })
    }

    /// The key that it cosigns with.
    pub fn key(&self) -> &crate::WitnessKey {
        self.cosigner.key()
    }

    /// Whether its store has failed, once and for all: after an error of the disk the database answers nothing any more until it is opened
    /// again. Nothing is cosigned from then on, so that whoever runs the witness should end it.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// The logs that it witnesses.
    pub fn logs(&self) -> &[LogKey] {
        &self.logs
    }

    /// Answers a request of [`HttpServer`](crate::HttpServer), at the path `/add-checkpoint` alone.
    pub fn handle(&self, request: &HttpRequest, now: UnixSeconds) -> HttpResponse {
        match (request.path.as_str(), request.method) {
            (ADD_CHECKPOINT, HttpMethod::Post) => self.add_checkpoint(&request.body, now),
            (ADD_CHECKPOINT, HttpMethod::Get) => HttpResponse::text(405, "checkpoints are submitted by POST\n"),
            _ => HttpResponse::text(404, "a witness serves POST /add-checkpoint alone\n"),
        }
    }

    /// Answers the body of an `add-checkpoint` call at the time `now`: with a cosignature, once what it states is durable, or with why there
    /// is none.
    pub fn add_checkpoint(&self, body: &[u8], now: UnixSeconds) -> HttpResponse {
        match self.cosign(body, now) {
            Ok(cosignature) => HttpResponse::text(200, cosignature.line),
            Err(refusal) => {
                if matches!(refusal, Refusal::Store(_)) {
                    self.has_failed.store(true, Ordering::Release);
                }
                refusal.into_response()
            }
        }
    }

    fn cosign(&self, body: &[u8], now: UnixSeconds) -> Result<Cosignature, Refusal> {
        let Request { old, proof, checkpoint } = Request::from_bytes(body)?;
        let (origin, head) = (checkpoint.origin(), checkpoint.head());
        if !self.logs.iter().any(|log| log.name() == origin) {
            return Err(Refusal::UnknownLog);
        }
        let by_log = checkpoint.verify(&Known { logs: &self.logs, origin }).map_err(Refusal::Unsigned)?;
        if old > head.size {
            return Err(Refusal::Shrunk);
        }
        // Whatever else came with it is its sender's, and not kept.
        let note = checkpoint.with_signatures(&by_log);
        let transaction = begin_durable(&self.store)?;
        let latest = Latest::read(&transaction, origin)?;
        match judge(latest.head, old, head, &proof) {
            Ok(()) if latest.head != head => {
                insert_latest(&transaction, origin, head, &note)?;
                transaction.commit().map_err(redb::Error::from)?;
            }
            // The disk has it already.
            Ok(()) => transaction.abort().map_err(redb::Error::from)?,
            Err(refusal) => {
                if let Some(kind) = evidence(latest.head, old, head, &refusal) {
                    report(origin, kind, latest.head, head);
                    if keep_evidence(&transaction, origin, kind, head, (now.0, &latest.note, &note))? {
                        transaction.commit().map_err(redb::Error::from)?;
                    }
                }
                return Err(refusal);
            }
        }
        Ok(self.cosigner.cosign_parsed(&checkpoint, now))
    }

    /// The largest tree of a log that was cosigned; nothing where there is none.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn latest(&self, origin: &str) -> Result<Option<TreeHead>, WitnessError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.store.begin_read()?.open_table(LATEST)?;
            let row = table.get(origin)?;
            Ok(row.map(|row| TreeHead { size: row.value().0, root: *row.value().1 }))
        };
        Ok(read()?)
    }

    /// What speaks against its logs.
    ///
    /// # Errors
    /// Where the store fails.
    pub fn evidence(&self) -> Result<Vec<Evidence>, WitnessError> {
        let read = || -> Result<_, redb::Error> {
            let mut pieces = Vec::new();
            for row in self.store.begin_read()?.open_table(EVIDENCE)?.iter()? {
                let (key, value) = row?;
                let ((origin, kind, ..), (time, cosigned, checkpoint)) = (key.value(), value.value());
                let kind = if kind == 0 { EvidenceKind::OtherTree } else { EvidenceKind::Unproven };
                let (cosigned, checkpoint) = (cosigned.to_vec(), checkpoint.to_vec());
                pieces.push(Evidence { origin: origin.to_owned(), kind, time: UnixSeconds(time), cosigned, checkpoint });
            }
            Ok(pieces)
        };
        Ok(read()?)
    }
}

impl Request {
    fn from_bytes(body: &[u8]) -> Result<Self, Refusal> {
        if body.len() > REQUEST_BYTES_MAX {
            return Err(Refusal::Malformed("it is too large"));
        }
        let text = std::str::from_utf8(body).map_err(|_| Refusal::Malformed("it is not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(Refusal::Malformed("it has no empty line before a checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(parse_decimal);
        let old = old.ok_or(Refusal::Malformed("the first line is not `old`, and a decimal number without leading zeroes"))?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == PROOF_HASHES_MAX {
                return Err(Refusal::Malformed("the proof has more than 63 hashes"));
            }
            proof.push(parse_hash(line).ok_or(Refusal::Malformed("a line of the proof is no hash in base64"))?);
        }
        Ok(Self { old, proof, checkpoint: SignedCheckpoint::from_bytes(checkpoint.as_bytes())? })
    }
}

impl Refusal {
    fn into_response(self) -> HttpResponse {
        let status = match &self {
            Self::Malformed(_) | Self::Checkpoint(_) | Self::Shrunk => 400,
            Self::Unsigned(_) => 403,
            Self::UnknownLog => 404,
            Self::Size { .. } | Self::OtherTree => 409,
            Self::Unproven => 422,
            Self::Store(_) => 500,
        };
        if let Self::Store(error) = &self {
            tracing::error!(%error, "the witness store failed, and nothing was cosigned");
        }
        let response = HttpResponse::text(status, format!("{self}\n"));
        match self {
            Self::Size { .. } => HttpResponse { content_type: SIZE_TYPE, ..response },
            _ => response,
        }
    }
}

/// The keys whose signatures count for the checkpoints of one log.
struct Known<'w> {
    logs: &'w [LogKey],
    origin: &'w str,
}

impl Verifiers for Known<'_> {
    fn verifier(&self, name: &str, id: u32) -> Result<&dyn Verifier, VerificationError> {
        match self.logs.iter().find(|log| log.name() == self.origin && log.name() == name && log.id() == id) {
            Some(log) => Ok(log),
            None => Err(VerificationError::UnknownKey { name: name.to_owned(), id }),
        }
    }
}

/// Whether `new` may be cosigned after `latest`, where its sender says that `proof` leads to it from the tree of `old` leaves.
fn judge(latest: TreeHead, old: u64, new: TreeHead, proof: &[Hash]) -> Result<(), Refusal> {
    if old != latest.size {
        return Err(Refusal::Size { latest: latest.size });
    }
    if new.size == latest.size && new.root != latest.root {
        return Err(Refusal::OtherTree);
    }
    let is_proven = if old == 0 {
        proof.is_empty()
    } else {
        check_tree(&proof.to_vec(), new.size, Hash(new.root), old, Hash(latest.root)).is_ok()
    };
    if is_proven { Ok(()) } else { Err(Refusal::Unproven) }
}

/// What a checkpoint that its log signed says about that log, where it was refused.
fn evidence(latest: TreeHead, old: u64, new: TreeHead, refusal: &Refusal) -> Option<EvidenceKind> {
    match refusal {
        _ if new.size == latest.size && new.root != latest.root => Some(EvidenceKind::OtherTree),
        Refusal::Unproven if old > 0 && new.size > old => Some(EvidenceKind::Unproven),
        _ => None,
    }
}

fn report(origin: &str, kind: EvidenceKind, cosigned: TreeHead, refused: TreeHead) {
    let (cosigned, refused) = (cosigned.size, refused.size);
    match kind {
        EvidenceKind::OtherTree => tracing::error!(origin, size = refused, "the log signed two different trees of one size"),
        EvidenceKind::Unproven => tracing::warn!(origin, cosigned, refused, "a checkpoint came without a proof that holds"),
    }
}

/// The largest tree that was cosigned; that of no leaves at first.
struct Latest {
    head: TreeHead,
    note: Vec<u8>,
}

impl Latest {
    fn read(transaction: &WriteTransaction, origin: &str) -> Result<Self, redb::Error> {
        let table = transaction.open_table(LATEST)?;
        let row = table.get(origin)?;
        Ok(match row.as_ref().map(|row| row.value()) {
            Some((size, root, note)) => Self { head: TreeHead { size, root: *root }, note: note.to_vec() },
            None => Self { head: TreeHead { size: 0, root: EMPTY_HASH.0 }, note: Vec::new() },
        })
    }
}

fn insert_latest(transaction: &WriteTransaction, origin: &str, head: TreeHead, note: &[u8]) -> Result<(), redb::Error> {
    transaction.open_table(LATEST)?.insert(origin, (head.size, &head.root, note))?;
    Ok(())
}

/// Keeps a piece that is not kept yet; says whether it did. Where there is no room, the oldest unproven one makes room for the next, and proof
/// stays.
fn keep_evidence(
    transaction: &WriteTransaction,
    origin: &str,
    kind: EvidenceKind,
    head: TreeHead,
    piece: (u64, &[u8], &[u8]),
) -> Result<bool, redb::Error> {
    let mut table = transaction.open_table(EVIDENCE)?;
    let mut kept = Vec::new();
    for row in table.range((origin, kind as u8, 0, &[0; 32])..=(origin, kind as u8, u64::MAX, &[u8::MAX; 32]))? {
        let (key, value) = row?;
        let (_, _, size, root) = key.value();
        kept.push((value.value().0, TreeHead { size, root: *root }));
    }
    if kept.iter().any(|(_, kept)| *kept == head) {
        return Ok(false);
    }
    if kept.len() >= EVIDENCE_MAX {
        let oldest = kept.iter().min_by_key(|(time, _)| *time).map(|(_, head)| *head);
        match (kind, oldest) {
            (EvidenceKind::Unproven, Some(oldest)) => table.remove((origin, kind as u8, oldest.size, &oldest.root))?,
            _ => return Ok(false),
        };
    }
    table.insert((origin, kind as u8, head.size, &head.root), piece)?;
    Ok(true)
}

/// Begins a transaction that is on the disk when its commit returns.
fn begin_durable(store: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = store.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // A torn or reordered write must never make an unfinished commit look finished.
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Makes an empty database the store of a witness, or checks that it is one.
fn prepare(store: &Database) -> Result<(), WitnessError> {
    let transaction = store.begin_read().map_err(redb::Error::from)?;
    if transaction.list_tables().map_err(redb::Error::from)?.next().is_none() {
        drop(transaction);
        return Ok(initialise(store)?);
    }
    let meta = match transaction.open_table(META) {
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => return Err(WitnessError::NotAWitness),
        meta => meta.map_err(redb::Error::from)?,
    };
    let found = meta.get(META_FORMAT).map_err(redb::Error::from)?.ok_or(WitnessError::NotAWitness)?.value();
    if found == FORMAT_VERSION { Ok(()) } else { Err(WitnessError::Format { found }) }
}

fn initialise(store: &Database) -> Result<(), redb::Error> {
    let transaction = begin_durable(store)?;
    transaction.open_table(META)?.insert(META_FORMAT, FORMAT_VERSION)?;
    transaction.open_table(LATEST)?;
    transaction.open_table(EVIDENCE)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use adit_protocol::SecretKey;
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::tree::Tree;
    use crate::{log_key, sign_checkpoint, verify_cosignature, with_cosignatures};

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    fn log() -> SecretKey {
        SecretKey::from_seed([100; 32])
    }

    fn cosigner() -> Cosigner {
        Cosigner::new("witness.example/w1", SecretKey::from_seed([5; 32])).unwrap()
    }

    fn witness() -> Witness {
        Witness::open_with(InMemoryBackend::new(), cosigner(), vec![log_key(&log().public())]).unwrap()
    }

    /// A log's tree of so many leaves, all of them `of` and their index.
    fn tree(of: &str, size: u64) -> Tree {
        Tree::of((0..size).map(|index| format!("{of} {index}").into_bytes()))
    }

    fn body(old: u64, proof: &[[u8; 32]], checkpoint: &[u8]) -> Vec<u8> {
        crate::submit::request_body(old, proof, checkpoint)
    }

    fn signed(tree: &Tree) -> Vec<u8> {
        sign_checkpoint(&log(), &tree.head())
    }

    fn growth(old: u64, tree: &Tree) -> Vec<u8> {
        body(old, &tree.prove_growth(old), &signed(tree))
    }

    #[track_caller]
    fn check(witness: &Witness, body: &[u8], want: &str) {
        let response = witness.add_checkpoint(body, NOW);
        let text = String::from_utf8(response.body.to_vec()).unwrap();
        let answer = format!("{} {} {text}", response.status, response.content_type.split(';').next().unwrap());
        assert!(answer.starts_with(want), "{answer:?} instead of {want:?}");
        if response.status == 200 {
            let checkpoint = &body[body.windows(2).position(|two| two == b"\n\n").unwrap() + 2..];
            assert_eq!(verify_cosignature(checkpoint, &text, witness.key()).unwrap().time, NOW);
        }
    }

    #[test]
    fn log_is_cosigned_as_it_grows() {
        let witness = witness();
        let mut old = 0;
        for size in [0, 1, 1, 2, 3, 7, 8, 9, 64, 64, 300] {
            check(&witness, &growth(old, &tree("a", size)), "200 text/plain \u{2014} witness.example/w1 ");
            old = size;
            let latest = witness.latest(log_key(&log().public()).name()).unwrap();
            assert_eq!(latest.unwrap_or(tree("a", 0).head()), tree("a", size).head());
        }
        assert_eq!(witness.evidence().unwrap(), []);
    }

    /// As the specification puts them, in its order.
    #[test]
    fn refusals_are_the_specifications() {
        let witness = witness();
        let (seven, nine) = (tree("a", 7), tree("a", 9));
        let proof = nine.prove_growth(7);
        let nothing = [0; 32];
        let stranger = sign_checkpoint(&SecretKey::from_seed([8; 32]), &nine.head());
        let unsigned = String::from_utf8(signed(&nine)).unwrap();
        let unsigned = unsigned.replace("\n\n\u{2014} ", "\n\n\u{2014} x");
        check(&witness, &body(7, &proof, &signed(&nine)), "409 text/x.tlog.size 0\n");
        check(&witness, &body(0, &[nothing], &signed(&seven)), "422");
        check(&witness, &body(0, &[], &signed(&seven)), "200");
        check(&witness, &body(0, &[], &stranger), "404");
        check(&witness, &body(0, &[], unsigned.as_bytes()), "403");
        check(&witness, &body(10, &proof, &signed(&nine)), "400");
        check(&witness, &body(8, &proof, &signed(&nine)), "409 text/x.tlog.size 7\n");
        check(&witness, &body(0, &[], &signed(&nine)), "409 text/x.tlog.size 7\n");
        check(&witness, &body(0, &[], &signed(&tree("b", 7))), "409 text/x.tlog.size 7\n");
        check(&witness, &body(7, &[], &signed(&tree("b", 7))), "409 text/plain another tree");
        check(&witness, &body(7, &[nothing], &signed(&seven)), "422");
        check(&witness, &body(7, &[], &signed(&nine)), "422");
        check(&witness, &body(7, &[proof.clone(), vec![nothing]].concat(), &signed(&nine)), "422");
        check(&witness, &body(7, &tree("b", 9).prove_growth(7), &signed(&tree("b", 9))), "422");
        check(&witness, &body(7, &proof, &signed(&nine)), "200");
        check(&witness, &body(7, &proof, &signed(&nine)), "409 text/x.tlog.size 9\n");
        check(&witness, &growth(9, &nine), "200");
        check(&witness, &body(7, &[], &signed(&seven)), "409 text/x.tlog.size 9\n");
    }

    #[test]
    fn malformed_requests_are_told_so() {
        let (witness, good) = (witness(), String::from_utf8(growth(0, &tree("a", 7))).unwrap());
        let hash = crate::line::to_base64(&[1; 32]);
        let rows = [
            String::new(),
            "\n\n".to_owned(),
            good.replace("old 0", "old"),
            good.replace("old 0", "old 00"),
            good.replace("old 0", "old -0"),
            good.replace("old 0", "old  0"),
            good.replace("old 0", "old 18446744073709551616"),
            good.replace("old 0", "new 0"),
            good.replace("old 0\n", "old 0\r\n"),
            good.replace("old 0\n", "old 0\nAAAA\n"),
            good.replace("old 0\n", &format!("old 0\n{hash}")),
            good.replace("old 0\n", &format!("old 0\n{}", format!("{hash}\n").repeat(64))),
            good.trim_end().to_owned(),
            good.replace("\n7\n", "\n07\n"),
            good.split_inclusive("\n\n").take(2).collect(),
            format!("{good}{}", "x".repeat(REQUEST_BYTES_MAX)),
        ];
        for bad in rows {
            check(&witness, bad.as_bytes(), "400");
        }
        check(&witness, b"old 0\n\n\xff\n", "400");
        check(&witness, good.replace("old 0\n", &format!("old 0\n{}", format!("{hash}\n").repeat(63))).as_bytes(), "422");
        check(&witness, good.as_bytes(), "200");
    }

    #[test]
    fn signatures_of_strangers_are_left_alone() {
        let (witness, note) = (witness(), signed(&tree("a", 7)));
        let mine = cosigner().cosign(&note, NOW).unwrap().line;
        let stranger = Cosigner::new("x", SecretKey::from_seed([6; 32])).unwrap().cosign(&note, NOW).unwrap().line;
        let many: Vec<&str> = std::iter::repeat_n(stranger.as_str(), 20).chain([mine.as_str()]).collect();
        check(&witness, &body(0, &[], &with_cosignatures(&note, many)), "200");
        // What is kept is the log's own.
        check(&witness, &body(7, &[], &signed(&tree("b", 7))), "409");
        assert_eq!(witness.evidence().unwrap()[0].cosigned, note);
    }

    #[test]
    fn several_keys_of_one_log_are_known() {
        let (mine, other) = (log_key(&log().public()), SecretKey::from_seed([8; 32]));
        let both = vec![LogKey::new(mine.name(), other.public()).unwrap(), mine];
        let witness = Witness::open_with(InMemoryBackend::new(), cosigner(), both).unwrap();
        check(&witness, &growth(0, &tree("a", 7)), "200");
    }

    #[test]
    fn misbehaviour_is_kept_and_bounded() {
        let witness = witness();
        check(&witness, &growth(0, &tree("a", 7)), "200");
        // Another tree of that size is proof whatever its sender says of the old one.
        check(&witness, &growth(0, &tree("b", 7)), "409 text/x.tlog.size 7");
        check(&witness, &growth(7, &tree("b", 7)), "409 text/plain");
        let found = witness.evidence().unwrap();
        let want = Evidence {
            origin: log_key(&log().public()).name().to_owned(),
            kind: EvidenceKind::OtherTree,
            time: NOW,
            cosigned: signed(&tree("a", 7)),
            checkpoint: signed(&tree("b", 7)),
        };
        assert_eq!(found, [want]);
        for n in 0..40 {
            check(&witness, &growth(7, &tree("b", 8 + n)), "422");
            check(&witness, &growth(7, &tree(&format!("c{n}"), 7)), "409");
        }
        let count = |kind| witness.evidence().unwrap().iter().filter(|piece| piece.kind == kind).count();
        assert_eq!((count(EvidenceKind::OtherTree), count(EvidenceKind::Unproven)), (EVIDENCE_MAX, EVIDENCE_MAX));
        // Proof stays: the first ones are there.
        let kept = witness.evidence().unwrap();
        let has = |tree: Tree| kept.iter().any(|piece| piece.checkpoint == signed(&tree));
        assert!(has(tree("b", 7)) && (0..EVIDENCE_MAX - 1).all(|n| has(tree(&format!("c{n}"), 7))));
        check(&witness, &growth(7, &tree("a", 8)), "200");
    }

    /// Counts what is logged as a warning or worse.
    struct Counter(Arc<AtomicUsize>);

    impl tracing::Subscriber for Counter {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() <= tracing::Level::WARN
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    /// Anybody can send a log's own checkpoints with proofs that are none. Sixteen of them filled the room, and a real fork behind them was
    /// neither kept nor told.
    #[test]
    fn replays_do_not_hide_a_fork() {
        let (witness, told) = (witness(), Arc::new(AtomicUsize::new(0)));
        let _guard = tracing::subscriber::set_default(Counter(Arc::clone(&told)));
        check(&witness, &growth(0, &tree("a", 7)), "200");
        check(&witness, &growth(7, &tree("b", 7)), "409");
        let send = |second: u64, tree: &Tree, proof: &[[u8; 32]]| {
            let time = UnixSeconds(NOW.0 + second);
            assert_eq!(witness.add_checkpoint(&body(7, proof, &signed(tree)), time).status, 422);
        };
        // The largest came first, so that neither the order of the keys nor what it states makes it the oldest.
        let replayed: Vec<Tree> = (0..EVIDENCE_MAX as u64).map(|n| tree("a", 40 - n)).collect();
        for (second, tree) in replayed.iter().enumerate() {
            send(second as u64, tree, &[[0; 32]]);
        }
        let fork = tree("b", 20);
        send(100, &fork, &fork.prove_growth(7));
        let kept = witness.evidence().unwrap();
        let unproven: Vec<&Evidence> = kept.iter().filter(|piece| piece.kind == EvidenceKind::Unproven).collect();
        assert_eq!((kept.len(), unproven.len()), (EVIDENCE_MAX + 1, EVIDENCE_MAX));
        let has = |tree: &Tree| unproven.iter().any(|piece| piece.checkpoint == signed(tree));
        assert!(has(&fork) && !has(&replayed[0]) && replayed[1..].iter().all(has));
        // The same again changes nothing, and is told again.
        send(200, &fork, &fork.prove_growth(7));
        assert_eq!(witness.evidence().unwrap(), kept);
        assert_eq!(told.load(Ordering::Relaxed), 1 + EVIDENCE_MAX + 2);
    }

    #[test]
    fn empty_tree_has_one_root() {
        let witness = witness();
        let bad = sign_checkpoint(&log(), &TreeHead { size: 0, root: [1; 32] });
        check(&witness, &body(0, &[], &bad), "409 text/plain");
        assert_eq!(witness.evidence().unwrap().len(), 1);
        check(&witness, &growth(0, &tree("a", 0)), "200");
    }

    #[test]
    fn store_is_found_again_and_has_one_witness() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness.redb");
        let open = || Witness::open(&path, cosigner(), vec![log_key(&log().public())]);
        let first = open().unwrap();
        check(&first, &growth(0, &tree("a", 7)), "200");
        assert!(matches!(open(), Err(WitnessError::AlreadyOpen { .. })));
        drop(first);
        let second = open().unwrap();
        check(&second, &growth(0, &tree("a", 9)), "409 text/x.tlog.size 7\n");
        check(&second, &growth(7, &tree("a", 9)), "200");
        drop(second);
        assert!(matches!(adit_ledger::Ledger::open(&path, log().public()), Err(adit_ledger::OpenError::NotALedger)));
        let ledger = folder.path().join("ledger.redb");
        drop(adit_ledger::Ledger::open(&ledger, log().public()).unwrap());
        assert!(matches!(Witness::open(&ledger, cosigner(), Vec::new()), Err(WitnessError::NotAWitness)));
    }

    /// A disk that fails one sync, and is well again.
    #[derive(Debug)]
    struct Failing(InMemoryBackend, Arc<AtomicBool>);

    impl StorageBackend for Failing {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            if self.1.swap(false, Ordering::Relaxed) { Err(io::Error::other("a test's")) } else { self.0.sync_data() }
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    /// It answered 500 for ever, whatever became of the disk, and nobody was told.
    #[test]
    fn store_that_failed_is_told_to_whoever_runs_the_witness() {
        let fails = Arc::new(AtomicBool::new(false));
        let disk = Failing(InMemoryBackend::new(), Arc::clone(&fails));
        let witness = Witness::open_with(disk, cosigner(), vec![log_key(&log().public())]).unwrap();
        check(&witness, &growth(0, &tree("a", 7)), "200");
        check(&witness, &growth(0, &tree("b", 9)), "409");
        check(&witness, b"nothing", "400");
        assert!(!witness.has_failed());
        fails.store(true, Ordering::Relaxed);
        check(&witness, &growth(7, &tree("a", 9)), "500");
        assert!(witness.has_failed());
        check(&witness, &growth(7, &tree("a", 9)), "500");
    }

    /// The race of the specification: of requests at the same time, each is checked against what the one before it left.
    #[test]
    fn requests_at_once_do_not_roll_back() {
        let witness = Arc::new(witness());
        check(&witness, &growth(0, &tree("a", 1)), "200");
        let threads: Vec<_> = (2..18)
            .map(|size| {
                let witness = Arc::clone(&witness);
                std::thread::spawn(move || witness.add_checkpoint(&growth(1, &tree("a", size)), NOW).status)
            })
            .collect();
        let statuses: Vec<u16> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let cosigned: Vec<usize> = (0..16).filter(|n| statuses[*n] == 200).collect();
        assert_eq!((cosigned.len(), statuses.iter().filter(|status| **status == 409).count()), (1, 15), "{statuses:?}");
        let latest = witness.latest(log_key(&log().public()).name()).unwrap().unwrap();
        assert_eq!(latest.size, cosigned[0] as u64 + 2);
    }

    #[test]
    fn hostile_requests_are_answered() {
        let witness = witness();
        check(&witness, &growth(0, &tree("a", 7)), "200");
        let good = growth(7, &tree("a", 12));
        for seed in 0..4000 {
            let response = witness.add_checkpoint(&crate::hostile::mutate(&good, seed), NOW);
            assert!([200, 400, 403, 404, 409, 422].contains(&response.status), "{}", response.status);
            let size = witness.latest(log_key(&log().public()).name()).unwrap().unwrap().size;
            assert!(size == 7 || size == 12);
        }
    }

    #[test]
    fn only_the_one_call_is_served() {
        let witness = witness();
        let request = |method, path: &str| HttpRequest {
            method,
            path: path.to_owned(),
            accepts_gzip: false,
            body: growth(0, &tree("a", 7)).into(),
        };
        assert_eq!(witness.handle(&request(HttpMethod::Post, "/"), NOW).status, 404);
        assert_eq!(witness.handle(&request(HttpMethod::Get, ADD_CHECKPOINT), NOW).status, 405);
        assert_eq!(witness.handle(&request(HttpMethod::Post, ADD_CHECKPOINT), NOW).status, 200);
    }
}
