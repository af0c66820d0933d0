//! What must hold for any bytes at all. The tests in `fuzzing.rs` and the fuzz targets in `fuzz/` call the same functions: each takes
//! bytes, panics where a promise is broken, and else says whether it got past the decoder.

use std::sync::OnceLock;

use adit_ledger::{Account, Books, Ledger, Operation, Reader, TreeHead, postings};
use adit_protocol::limits::LEAF_BYTES_MAX;
use adit_protocol::{Grant, Leaf, Microcredits, PublicKey, SecretKey, Terms, TransferId, UnixMillis};
use adit_tlog::{log_origin, log_verifier_key, sign_checkpoint, verify_checkpoint};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use redb::backends::InMemoryBackend;

/// Leaves of the log whose tiles are asked for: tiles of two levels.
const LEAVES: u64 = 600;

pub(crate) fn gateway() -> SecretKey {
    SecretKey::from_seed([9; 32])
}

/// The bytes of a leaf are a leaf or an error. A leaf has exactly one encoding, says nothing that the public must not see, and moves as
/// much to accounts as from them, or is refused.
pub(crate) fn leaf(bytes: &[u8]) -> bool {
    let Ok(leaf) = Leaf::from_bytes(bytes) else { return false };
    assert!(bytes.len() <= LEAF_BYTES_MAX);
    assert_eq!(leaf.to_bytes(), bytes, "a leaf with two encodings has two hashes");
    let mut gateways = vec![gateway().public()];
    if let Some(settled) = leaf.paid() {
        let receipt = &settled.receipt.receipt;
        assert_eq!(receipt.public(), *receipt, "a leaf that says what was read or written");
        gateways.push(receipt.gateway);
    }
    for gateway in gateways {
        moves_nothing_away(&leaf, None);
        for fee_ppm in [0, 1, 50_000, 1_000_000] {
            moves_nothing_away(&leaf, Some(Terms { gateway, fee_ppm, time: leaf.time() }));
        }
    }
    true
}

/// Under these terms a leaf is refused, or its postings sum to zero, and the books take it in or are as they were.
fn moves_nothing_away(leaf: &Leaf, terms: Option<Terms>) {
    let sum = postings(leaf, terms.as_ref()).map(|all| all.iter().map(|posting| posting.amount).sum::<i128>());
    assert_eq!(sum.clone().unwrap_or(0), 0, "{leaf:?}");
    let mut books = Books::default();
    terms.into_iter().for_each(|terms| books.apply(&Leaf::Terms(terms)).expect("sound terms"));
    let before = books.clone();
    match books.apply(leaf) {
        Ok(()) => assert!(sum.is_ok()),
        Err(_) => assert_eq!(books, before, "a leaf that is refused changes nothing"),
    }
    books.check().unwrap();
    assert!(books.accounts().all(|(account, posted)| account == Account::Issuer || posted >= 0));
}

/// The bytes of a checkpoint are the gateway's word or an error; and where the gateway signs them as the text of a note, they are a
/// checkpoint of its log, in the one encoding of that, or an error.
pub(crate) fn checkpoint(bytes: &[u8]) -> bool {
    let (key, other) = (gateway(), SecretKey::from_seed([8; 32]).public());
    let is_ours = verify_checkpoint(bytes, &key.public()).is_ok_and(|head| {
        let ours = sign_checkpoint(&key, &head);
        let text = ours.split_inclusive(|byte| *byte == b'\n').take(3).flatten();
        assert!(bytes.iter().take(text.clone().count()).eq(text), "another text of {head:?}");
        true
    });
    if let Ok(head) = verify_checkpoint(bytes, &other) {
        panic!("a signature by a key that never signs: {head:?}");
    }
    is_ours | signed_text(bytes, &key)
}

fn signed_text(text: &[u8], key: &SecretKey) -> bool {
    if text.contains(&0) {
        return false;
    }
    let gateway = key.public();
    let Ok(head) = verify_checkpoint(&note(text, key), &gateway) else { return false };
    let due = format!("{}\n{}\n{}\n", log_origin(&gateway), head.size, BASE64_STANDARD.encode(head.root));
    assert!(text.starts_with(due.as_bytes()), "a checkpoint with two encodings: {:?}", String::from_utf8_lossy(text));
    assert_eq!(verify_checkpoint(&sign_checkpoint(key, &head), &gateway).ok(), Some(head));
    true
}

/// A note with the gateway's signature, made by hand (<https://c2sp.org/signed-note>).
pub(crate) fn note(text: &[u8], key: &SecretKey) -> Vec<u8> {
    let (name, verifier) = (log_origin(&key.public()), log_verifier_key(&key.public()));
    let id = u32::from_str_radix(&verifier[name.len() + 1..name.len() + 9], 16).expect("an id in hex");
    let signature = BASE64_STANDARD.encode([id.to_be_bytes().as_slice(), key.sign_note(text).0.as_slice()].concat());
    [text, format!("\n\u{2014} {name} {signature}\n").as_bytes()].concat()
}

/// Whatever part of the tree is asked for, it is what the tree has, or there is none.
pub(crate) fn tiles(bytes: &[u8]) -> bool {
    let mut numbers = bytes.chunks(8).map(|chunk| {
        let mut number = [0; 8];
        number[..chunk.len()].copy_from_slice(chunk);
        // Around where trees and tiles end, and anything.
        match u64::from_le_bytes(number) {
            number if number % 3 == 0 => number / 3 % (LEAVES + 40),
            number if number % 3 == 1 => number / 3 % 4,
            number => number,
        }
    });
    let mut next = || numbers.next().unwrap_or(0);
    let (reader, head) = tree();
    let (a, b) = (next(), next());
    let (level, width) = (next() as u8, next() as usize);
    let tile = reader.tile(level, a, width).unwrap();
    let hashes = LEAVES.checked_shr(8 * u32::from(level)).unwrap_or(0);
    let end = u128::from(a) * 256 + width as u128;
    assert_eq!(tile.is_some(), (1..=256).contains(&width) && end <= u128::from(hashes), "{level} {a} {width}");
    assert!(tile.as_ref().is_none_or(|tile| tile.len() == 32 * width));
    assert_eq!(reader.leaf(a).unwrap().is_some(), a < head.size);
    assert_eq!(reader.prove_leaf(a, b).unwrap().is_some(), a < b && b <= head.size, "leaf {a} of {b}");
    assert_eq!(reader.prove_growth(a, b).unwrap().is_some(), 0 < a && a <= b && b <= head.size, "from {a} to {b}");
    tile.is_some()
}

/// A log that stays as it is.
fn tree() -> &'static (Reader, TreeHead) {
    static TREE: OnceLock<(Reader, TreeHead)> = OnceLock::new();
    TREE.get_or_init(|| {
        let (gateway, time) = (gateway().public(), UnixMillis(1));
        let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).expect("a ledger in memory");
        let grant = |n: u64| {
            let id = TransferId(u128::from(n).to_le_bytes());
            Operation::Grant(Grant { id, customer: PublicKey([n as u8; 32]), amount: Microcredits(n), time })
        };
        let operations: Vec<_> =
            (0..LEAVES).map(|n| if n == 0 { Operation::State(Terms { gateway, fee_ppm: 0, time }) } else { grant(n) }).collect();
        ledger.apply(&operations).expect("a ledger in memory");
        (ledger.reader().clone(), ledger.tree())
    })
}
