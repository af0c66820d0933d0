//! Leaves with real receipts, and logs made of whatever leaves a test wants, by code that shares nothing with the ledger's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use adit_ledger::TreeHead;
use adit_protocol::{
    Attempt, BlobRef, ByteCount, Digest, Fuel, Grant, IdempotencyKey, JobId, JobSpec, Leaf, MeterId, Microcredits, NodeTimes,
    Outcome, Payout, Price, Profile, PublicKey, Receipt, SecretKey, Settled, SignedReceipt, Terms, TransferId, UnixMillis, Usage,
    sign_receipts,
};
use adit_tlog::{Source, SourceError, TilePath, sign_checkpoint};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2_11::Sha256;
use tlog_tiles::{EMPTY_HASH, Hash, node_hash, record_hash};

const FEE_PPM: u32 = 50_000;
pub(crate) const HELD: u64 = 1_500;
pub(crate) const GRANTED: u64 = 1_000_000_000;

pub(crate) fn gateway() -> SecretKey {
    SecretKey::from_seed([9; 32])
}

pub(crate) fn node() -> SecretKey {
    SecretKey::from_seed([4; 32])
}

/// One of three clients takes turns.
pub(crate) fn client(n: u64) -> PublicKey {
    PublicKey([n as u8 % 3; 32])
}

pub(crate) fn terms() -> Terms {
    Terms { gateway: gateway().public(), fee_ppm: FEE_PPM, time: UnixMillis(1) }
}

/// The `n`th order, to the client whose turn it is.
pub(crate) fn grant(n: u64, amount: u64) -> Grant {
    Grant { id: order(n), customer: client(n), amount: Microcredits(amount), time: UnixMillis(2 + n) }
}

pub(crate) fn payout(n: u64, amount: u64) -> Payout {
    Payout { id: order(n), owner: node().public(), amount: Microcredits(amount), time: UnixMillis(2 + n) }
}

fn order(n: u64) -> TransferId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_le_bytes());
    TransferId(id)
}

pub(crate) fn receipt(n: u64) -> Receipt {
    let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(&n.to_le_bytes()));
    let usage = Usage { fuel: Fuel(60_000_000 + n), memory_peak: ByteCount(65_536), ..Usage::default() };
    let price = Price { per_compute_minute: 1_000, ..Price::default() };
    Receipt {
        job: JobId::derive(&client(n), &IdempotencyKey(order(n).0)),
        attempt: Attempt(1),
        client: client(n),
        node: node().public(),
        gateway: gateway().public(),
        spec: spec.digest(),
        module: spec.module.digest,
        input: spec.input_digest(),
        output: Digest::of(&n.to_le_bytes()),
        outcome: Outcome::Finished { exit_code: 0 },
        profile: Profile::Deterministic,
        meter: MeterId([3; 32]),
        engine: "wasmtime 48.0.8".into(),
        usage,
        gpu: None,
        times: NodeTimes { started: UnixMillis(n), fetch_us: 1, compile_us: 2, run_us: 3 },
        price,
        cost: price.cost(&usage).unwrap(),
        salt: Some(spec.salt),
    }
}

/// A receipt that its node signed alone.
pub(crate) fn signed(receipt: Receipt) -> SignedReceipt {
    sign_receipts(&node(), vec![receipt]).remove(0).public()
}

pub(crate) fn settled(receipt: SignedReceipt) -> Settled {
    let fee = terms().fee(receipt.receipt.cost);
    Settled { receipt, held: Microcredits(HELD), fee, time: UnixMillis(1_700_000_000_000) }
}

pub(crate) fn settlement(receipt: SignedReceipt) -> Leaf {
    Leaf::Settlement(Box::new(settled(receipt)))
}

/// A leaf of a receipt that was paid and did not end its job, for which so much was held.
pub(crate) fn attempt(receipt: SignedReceipt, held: u64) -> Leaf {
    Leaf::Attempt(Box::new(Settled { held: Microcredits(held), ..settled(receipt) }))
}

/// So many leaves: terms, a grant for each client, and settlements of receipts that were signed in batches.
pub(crate) fn leaves(size: u64, batch: u64) -> Vec<Leaf> {
    let mut leaves = vec![Leaf::Terms(terms())];
    leaves.extend((0..3).map(|n| Leaf::Grant(grant(n, GRANTED))));
    let mut next = leaves.len() as u64;
    while next < size {
        let end = size.min(next + batch);
        let receipts = sign_receipts(&node(), (next..end).map(receipt).collect());
        leaves.extend(receipts.iter().map(|receipt| settlement(receipt.public())));
        next = end;
    }
    leaves.truncate(size as usize);
    leaves
}

/// A log as its files, by their paths. Clones share them, as two who look at one server do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Log {
    /// A log of these leaves, with the checkpoint that belongs to it.
    pub(crate) fn of(leaves: &[Leaf]) -> Self {
        Self::of_bytes(&leaves.iter().map(Leaf::to_bytes).collect::<Vec<_>>())
    }

    pub(crate) fn of_bytes(leaves: &[Vec<u8>]) -> Self {
        let log = Self::default();
        log.grow(leaves);
        log
    }

    /// Writes what a log of these leaves has to the log, beside what is there.
    pub(crate) fn grow(&self, leaves: &[Vec<u8>]) {
        let mut hashes: Vec<Hash> = leaves.iter().map(|leaf| record_hash(leaf)).collect();
        for (index, bundle) in leaves.chunks(256).enumerate() {
            let bytes = bundle.iter().flat_map(|leaf| [&(leaf.len() as u16).to_be_bytes(), leaf.as_slice()].concat()).collect();
            self.put(&TilePath::Entries { index: index as u64, width: bundle.len() as u16 }.to_path(), bytes);
        }
        let root = tree_hash(&hashes);
        let mut level = 0;
        while !hashes.is_empty() {
            for (index, tile) in hashes.chunks(256).enumerate() {
                let path = TilePath::Hashes { level, index: index as u64, width: tile.len() as u16 };
                self.put(&path.to_path(), tile.iter().flat_map(|hash| hash.0).collect());
            }
            hashes = hashes.chunks_exact(256).map(tree_hash).collect();
            level += 1;
        }
        self.sign(&TreeHead { size: leaves.len() as u64, root: root.0 });
    }

    /// Has the gateway sign a tree.
    pub(crate) fn sign(&self, head: &TreeHead) {
        self.put("checkpoint", sign_checkpoint(&gateway(), head));
    }

    pub(crate) fn put(&self, path: &str, bytes: Vec<u8>) {
        self.0.lock().unwrap().insert(path.to_owned(), bytes);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(path).cloned()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().unwrap().remove(path).unwrap();
    }

    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.lock().unwrap().get_mut(path).unwrap());
    }

    pub(crate) fn write(&self, dir: &Path) {
        for (path, bytes) in self.0.lock().unwrap().iter() {
            let file = dir.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
    }
}

impl Source for Log {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
        match self.get(path) {
            Some(bytes) if bytes.len() > bytes_max => Err(SourceError::TooLarge { path: path.into(), bytes_max }),
            bytes => Ok(bytes),
        }
    }
}

/// The root by its definition (RFC 6962, section 2.1).
pub(crate) fn tree_hash(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => EMPTY_HASH,
        [hash] => *hash,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            node_hash(tree_hash(left), tree_hash(right))
        }
    }
}

/// The root by an implementation of RFC 6962 that shares no code with ours.
pub(crate) fn their_root(leaves: &[Vec<u8>]) -> Vec<u8> {
    let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    leaves.iter().for_each(|leaf| theirs.push(leaf.clone()));
    theirs.root().as_bytes().to_vec()
}
