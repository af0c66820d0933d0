//! What must hold for any bytes at all that reach a log's readers, its server or its witness. The tests in `fuzzing.rs` and the fuzz target
//! `log` call the same functions: each takes bytes, panics where a promise is broken, and else says whether they were what they should be.

use std::sync::OnceLock;

use adit_ledger::{Ledger, Operation, Reader, TreeHead};
use adit_protocol::{SecretKey, Terms, UnixMillis};
use adit_tlog::{
    BundleError, Cosigner, LogProof, Policy, TilePath, UnixSeconds, Witness, log_key, sign_checkpoint, split_bundle,
    verify_cosignature, with_cosignatures,
};
use redb::backends::InMemoryBackend;

/// Leaves of the log, and of it when the witness cosigned it.
pub(crate) const LEAVES: u64 = 12;
pub(crate) const COSIGNED: u64 = 7;

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

pub(crate) fn log() -> SecretKey {
    SecretKey::from_seed([9; 32])
}

pub(crate) fn cosigner() -> Cosigner {
    Cosigner::new("witness.example/w1", SecretKey::from_seed([5; 32])).expect("a name without a space")
}

/// A log that stays as it is: its reader, and its heads at each size from none on.
pub(crate) fn tree() -> &'static (Reader, Vec<TreeHead>) {
    static TREE: OnceLock<(Reader, Vec<TreeHead>)> = OnceLock::new();
    TREE.get_or_init(|| {
        let gateway = log().public();
        let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).expect("a ledger in memory");
        let mut heads = vec![ledger.tree()];
        for n in 0..LEAVES as u32 {
            let terms = Terms { gateway, fee_ppm: n, time: UnixMillis(1) };
            ledger.apply(&[Operation::State(terms)]).expect("a ledger in memory");
            heads.push(ledger.tree());
        }
        (ledger.reader().clone(), heads)
    })
}

pub(crate) fn checkpoint(size: u64) -> Vec<u8> {
    sign_checkpoint(&log(), &tree().1[size as usize])
}

/// A path is that of one tile or bundle, which has no other, or of none.
pub(crate) fn path(bytes: &[u8]) -> bool {
    let Some((text, path)) = std::str::from_utf8(bytes).ok().and_then(|text| Some((text, TilePath::from_path(text)?))) else {
        return false;
    };
    assert_eq!(path.to_path(), text, "a tile with two paths");
    let (TilePath::Hashes { width, .. } | TilePath::Entries { width, .. }) = path;
    assert!((1..=256).contains(&width) && text.contains(".p/") == (width < 256), "{path:?}");
    true
}

/// Behind two bytes that say how many leaves there should be: a bundle has exactly these, or says at which it fails.
pub(crate) fn bundle(bytes: &[u8]) -> bool {
    let Some((width, bytes)) = bytes.split_first_chunk() else { return false };
    let width = u16::from_be_bytes(*width) % 257;
    match split_bundle(bytes, width) {
        Ok(leaves) => {
            let again = leaves.iter().flat_map(|leaf| [&(leaf.len() as u16).to_be_bytes(), *leaf].concat());
            assert!(leaves.len() == usize::from(width) && again.eq(bytes.iter().copied()));
            true
        }
        Err(BundleError::Short { at, width: of }) => {
            assert!(at < width && of == width);
            assert!(!matches!(split_bundle(bytes, at), Err(BundleError::Short { .. })), "it has as many as it says");
            false
        }
        Err(_) => false,
    }
}

/// A proof has one encoding, and proves a leaf of the log only where the log's own proof is the same.
pub(crate) fn proof(bytes: &[u8]) -> bool {
    let Ok(proof) = LogProof::from_bytes(bytes) else { return false };
    assert_eq!(proof.to_bytes(), bytes, "a proof with two encodings");
    let (reader, heads) = tree();
    for index in 0..LEAVES {
        let leaf = reader.leaf(index).expect("a log in memory").expect("a leaf of it");
        if let Ok(head) = proof.verify(&leaf)
            && heads.contains(&head)
        {
            let due = reader.prove_leaf(index, head.size).expect("a log in memory");
            assert_eq!((proof.index, Some(&proof.hashes)), (index, due.as_ref()), "another leaf is proved");
        }
    }
    true
}

/// A policy accepts what its logs signed and its quorum cosigned, and nothing else.
pub(crate) fn policy(bytes: &[u8]) -> bool {
    let Ok(policy) = Policy::from_bytes(bytes) else { return false };
    let note = checkpoint(COSIGNED);
    let line = cosigner().cosign(&note, NOW).expect("a checkpoint").line;
    let (knows_log, knows_witness) = (
        policy.logs().iter().any(|known| known.key == log_key(&log().public())),
        policy.witnesses().iter().any(|known| known.key == *cosigner().key()),
    );
    let bare = policy.check(&note);
    assert_eq!(bare.is_ok(), knows_log && policy.quorum() == "none", "{:?}", policy.quorum());
    if let Ok(verdict) = policy.check(&with_cosignatures(&note, [line.as_str()])) {
        assert_eq!(verdict.head, tree().1[COSIGNED as usize]);
        assert!(knows_log && (knows_witness || policy.quorum() == "none"));
        assert_eq!(verdict.witnesses.len(), usize::from(knows_witness));
    }
    true
}

/// A witness that has cosigned a tree cosigns what continues that and nothing else, whatever it is sent.
pub(crate) fn request(bytes: &[u8]) -> bool {
    let witness = Witness::open_with(InMemoryBackend::new(), cosigner(), vec![log_key(&log().public())]);
    let witness = witness.expect("a store in memory");
    let first = [b"old 0\n\n".as_slice(), &checkpoint(COSIGNED)].concat();
    assert_eq!(witness.add_checkpoint(&first, NOW).status, 200);
    let latest = || witness.latest(log_key(&log().public()).name()).expect("a store in memory").expect("it cosigned");
    let before = latest();
    let response = witness.add_checkpoint(bytes, NOW);
    assert!([200, 400, 403, 404, 409, 422].contains(&response.status), "{}", response.status);
    if response.status != 200 {
        assert_eq!(latest(), before);
        return false;
    }
    assert!(tree().1.contains(&latest()) && latest().size >= before.size, "another tree of this log was never signed");
    let text = std::str::from_utf8(&response.body).expect("a signature is text");
    let at = bytes.windows(2).position(|two| two == b"\n\n").expect("it has a checkpoint") + 2;
    verify_cosignature(&bytes[at..], text, witness.key()).expect("it cosigned what it was sent");
    true
}
