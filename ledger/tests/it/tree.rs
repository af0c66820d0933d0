//! The log, checked by an implementation of RFC 6962 that shares no code with the one that makes it: the crate `ct-merkle`, over another
//! SHA-256.

use adit_ledger::{Ledger, Operation, Reader, TreeHead};
use adit_protocol::{Grant, Microcredits, TransferId, UnixMillis};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use redb::backends::InMemoryBackend;
use sha2_11::Sha256;

use crate::fixture::{client, gateway, terms};

/// Around the borders of tiles, and of tiles of tiles.
const SIZES: [u64; 9] = [1, 2, 3, 255, 256, 257, 65_535, 65_536, 70_000];

fn grant(n: u64) -> Operation {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_le_bytes());
    Operation::Grant(Grant { id: TransferId(id), customer: client(n), amount: Microcredits(n), time: UnixMillis(n) })
}

/// A ledger without leaves.
fn empty() -> Ledger {
    Ledger::open_with(InMemoryBackend::new(), gateway()).unwrap()
}

/// Lets a ledger grow to so many leaves, the terms first, in batches of odd sizes.
fn grow(ledger: &mut Ledger, size: u64) {
    let mut next = ledger.tree().size;
    while next < size {
        let end = (next + 1 + next % 777).min(size);
        let operations: Vec<Operation> = (next..end).map(|n| if n == 0 { Operation::State(terms()) } else { grant(n) }).collect();
        assert!(ledger.apply(&operations).unwrap().iter().all(Result::is_ok));
        next = end;
    }
}

fn root(head: TreeHead) -> RootHash<Sha256> {
    RootHash::new(head.root.into(), head.size)
}

fn inclusion(hashes: &[[u8; 32]]) -> InclusionProof<Sha256> {
    InclusionProof::try_from_bytes(hashes.concat()).unwrap()
}

fn consistency(hashes: &[[u8; 32]]) -> ConsistencyProof<Sha256> {
    ConsistencyProof::try_from_bytes(hashes.concat()).unwrap()
}

fn leaf(reader: &Reader, index: u64) -> Vec<u8> {
    reader.leaf(index).unwrap().unwrap()
}

#[test]
fn another_implementation_comes_to_the_same_roots_and_accepts_every_proof() {
    let mut ledger = empty();
    assert_eq!(ledger.tree().size, 0);
    assert_eq!(root(ledger.tree()).as_bytes(), MemoryBackedTree::<Sha256, Vec<u8>>::new().root().as_bytes());
    let (mut theirs, mut heads) = (MemoryBackedTree::<Sha256, Vec<u8>>::new(), Vec::<TreeHead>::new());
    for size in SIZES {
        grow(&mut ledger, size);
        let reader = ledger.reader();
        (theirs.len()..size).for_each(|index| theirs.push(leaf(reader, index)));
        let head = ledger.tree();
        assert_eq!((head.size, reader.tree().unwrap()), (size, head));
        assert_eq!(root(head), theirs.root(), "{size}");
        for index in [0, 1, size / 3, size / 2, size.saturating_sub(2), size - 1].into_iter().filter(|index| *index < size) {
            let proof = reader.prove_leaf(index, size).unwrap().unwrap();
            root(head).verify_inclusion(&leaf(reader, index), index, &inclusion(&proof)).unwrap();
        }
        heads.push(head);
        for old in &heads {
            let proof = reader.prove_growth(old.size, size).unwrap().unwrap();
            root(head).verify_consistency(&root(*old), &consistency(&proof)).unwrap();
        }
    }
    // And of trees that were: proofs do not depend on how far the log has grown since.
    for pair in heads.windows(2) {
        let proof = ledger.reader().prove_leaf(pair[0].size - 1, pair[0].size).unwrap().unwrap();
        root(pair[0]).verify_inclusion(&leaf(ledger.reader(), pair[0].size - 1), pair[0].size - 1, &inclusion(&proof)).unwrap();
        let proof = ledger.reader().prove_growth(pair[0].size, pair[1].size).unwrap().unwrap();
        root(pair[1]).verify_consistency(&root(pair[0]), &consistency(&proof)).unwrap();
    }
}

#[test]
fn nothing_else_is_proved() {
    let mut ledger = empty();
    grow(&mut ledger, 257);
    let old = ledger.tree();
    grow(&mut ledger, 1_000);
    let (reader, head) = (ledger.reader(), ledger.tree());
    let (index, bytes) = (300, leaf(reader, 300));
    let proof = reader.prove_leaf(index, head.size).unwrap().unwrap();
    let includes = |head: TreeHead, leaf: &Vec<u8>, index, proof: &[[u8; 32]]| {
        root(head).verify_inclusion(leaf, index, &inclusion(proof)).is_ok()
    };
    assert!(includes(head, &bytes, index, &proof));
    let other_root = TreeHead { root: old.root, ..head };
    let flipped = |at: usize, bit: u8| {
        let mut proof = proof.clone();
        proof[at][usize::from(bit)] ^= 1;
        proof
    };
    let mut swapped = proof.clone();
    swapped.swap(0, 1);
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    let refused = [
        ("another leaf", includes(head, &leaf(reader, 301), index, &proof)),
        ("a changed leaf", includes(head, &changed, index, &proof)),
        ("a leaf cut short", includes(head, &bytes[..bytes.len() - 1].to_vec(), index, &proof)),
        ("another index", includes(head, &bytes, index + 1, &proof)),
        ("an index outside", includes(head, &bytes, head.size, &proof)),
        ("another root", includes(other_root, &bytes, index, &proof)),
        ("a smaller tree", includes(TreeHead { size: index + 1, ..head }, &bytes, index, &proof)),
        ("a path cut short", includes(head, &bytes, index, &proof[1..])),
        ("a path prolonged", includes(head, &bytes, index, &[proof.as_slice(), &[[0; 32]]].concat())),
        ("a path in another order", includes(head, &bytes, index, &swapped)),
        ("a bit of the path", (0..proof.len()).any(|at| includes(head, &bytes, index, &flipped(at, 31)))),
        ("another leaf's path", includes(head, &bytes, index, &reader.prove_leaf(302, head.size).unwrap().unwrap())),
    ];
    for (what, is_proved) in refused {
        assert!(!is_proved, "{what}");
    }

    let growth = reader.prove_growth(old.size, head.size).unwrap().unwrap();
    let grew =
        |from: TreeHead, to: TreeHead, proof: &[[u8; 32]]| root(to).verify_consistency(&root(from), &consistency(proof)).is_ok();
    assert!(grew(old, head, &growth));
    let rewritten = TreeHead { root: head.root, ..old };
    assert!(!grew(rewritten, head, &growth) && !grew(old, other_root, &growth) && !grew(old, head, &growth[1..]));
    assert!(!grew(TreeHead { size: 258, ..old }, head, &growth));
}

#[test]
fn what_is_not_there_is_not_proved() {
    let mut ledger = empty();
    grow(&mut ledger, 300);
    let reader = ledger.reader();
    assert_eq!((reader.prove_leaf(300, 300).unwrap(), reader.prove_leaf(0, 301).unwrap()), (None, None));
    assert_eq!((reader.prove_growth(0, 300).unwrap(), reader.prove_growth(300, 301).unwrap()), (None, None));
    assert_eq!(reader.prove_growth(301, 300).unwrap(), None);
    assert_eq!((reader.leaf(300).unwrap(), reader.tile(0, 1, 45).unwrap()), (None, None));
    assert_eq!(
        (reader.tile(1, 0, 2).unwrap(), reader.tile(9, u64::MAX, 1).unwrap(), reader.tile(0, 0, 257).unwrap()),
        (None, None, None)
    );
    let lengths = [(0, 0, 256), (0, 1, 44), (0, 1, 7), (1, 0, 1)]
        .map(|(level, index, width)| reader.tile(level, index, width).unwrap().unwrap().len() / 32 == width);
    assert_eq!(lengths, [true; 4]);
}
