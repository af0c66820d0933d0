//! Settlements that share a signature: a gateway signs all that one commit recorded together.

use std::collections::BTreeSet;

use adit_protocol::limits::BATCH_LEAVES_MAX;
use adit_protocol::{
    Attempt, BatchError, KnownRoots, Receipt, SecretKey, Settlement, SignedReceipt, SignedSettlement, UnixMillis, VerifyError,
    sign_receipts, sign_settlements,
};

use crate::wire;

/// How many settlements come at once, and how many of them each signature is for.
const ROWS: [(usize, &[u32]); 8] =
    [(0, &[]), (1, &[1]), (2, &[2]), (5, &[5]), (63, &[63]), (64, &[64]), (65, &[64, 1]), (130, &[64, 64, 2])];

fn gateway() -> SecretKey {
    SecretKey::from_seed([9; 32])
}

/// Receipts that differ in their attempts.
fn receipts(count: usize) -> Vec<SignedReceipt> {
    let node = SecretKey::from_seed([4; 32]);
    let gateway = gateway().public();
    let of = |n| Receipt { attempt: Attempt(n), gateway, ..wire::receipt(node.public()) };
    (0..count as u32).flat_map(|n| sign_receipts(&node, vec![of(n)])).collect()
}

/// What a gateway says of `receipts`, which stand in its log from index 100 on.
fn settlements(receipts: &[SignedReceipt]) -> Vec<SignedSettlement> {
    let of = |(receipt, index): (&SignedReceipt, u64)| Settlement {
        gateway: gateway().public(),
        job: receipt.receipt.job,
        receipt: receipt.digest(),
        index,
        time: UnixMillis(index),
    };
    sign_settlements(&gateway(), &receipts.iter().zip(100..).map(of).collect::<Vec<_>>())
}

#[test]
fn at_most_64_settlements_share_a_signature_and_one_alone_is_a_batch() {
    assert_eq!(BATCH_LEAVES_MAX, 64);
    for (count, want) in ROWS {
        let settlements = settlements(&receipts(count));
        let places = settlements.iter().map(|signed| (signed.proof.index, signed.proof.size));
        assert!(places.eq(want.iter().flat_map(|size| (0..*size).map(move |index| (index, *size)))), "{want:?}");
        let signatures: BTreeSet<_> = settlements.iter().map(|signed| signed.proof.signature.0.to_vec()).collect();
        assert_eq!(signatures.len(), want.len());
    }
}

#[test]
fn each_settlement_of_a_batch_holds_for_its_own_receipt_and_for_no_other() {
    for (count, _) in ROWS {
        let receipts = receipts(count);
        let (settlements, mut known) = (settlements(&receipts), KnownRoots::default());
        for (n, settlement) in settlements.iter().enumerate() {
            settlement.verify(&receipts[n]).unwrap();
            settlement.verify_with(&receipts[n], &mut known).unwrap();
            let other = &receipts[(n + 1) % count];
            assert!(count == 1 || settlement.verify(other).is_err(), "{n} of {count}");
            assert_eq!(settlement.settlement.index, 100 + n as u64);
        }
    }
}

/// Changes of one settlement of a batch, each with what is wrong with it then.
type Change = (&'static str, fn(&mut SignedSettlement, &SignedSettlement), BatchError);

#[test]
fn settlement_that_is_changed_amid_its_batch_is_refused() {
    const CHANGES: [Change; 11] = [
        ("its leaf's index", |one, _| one.settlement.index += 1, BatchError::Signature),
        ("its time", |one, _| one.settlement.time.0 += 1, BatchError::Signature),
        ("its place", |one, _| one.proof.index ^= 1, BatchError::Signature),
        ("a place outside", |one, _| one.proof.index = one.proof.size, BatchError::Malformed),
        ("the lowest hash of its path", |one, _| one.proof.path[0][0] ^= 1, BatchError::Signature),
        ("the highest hash of its path", |one, _| one.proof.path.last_mut().unwrap()[31] ^= 1, BatchError::Signature),
        ("a path cut short", |one, _| one.proof.path.truncate(one.proof.path.len() - 1), BatchError::Malformed),
        ("a path prolonged", |one, _| one.proof.path.push([0; 32]), BatchError::Malformed),
        ("no batch", |one, _| one.proof.size = 0, BatchError::Malformed),
        ("another's path", |one, other| one.proof = other.proof.clone(), BatchError::Signature),
        ("its signature", |one, _| one.proof.signature.0[0] ^= 1, BatchError::Signature),
    ];
    for count in [2, 5, 64] {
        let receipts = receipts(count);
        let good = settlements(&receipts);
        for (what, change, want) in &CHANGES {
            for wrong in [0, count - 2] {
                let mut changed = good[wrong].clone();
                change(&mut changed, &good[wrong + 1]);
                // Alone, and where others of its batch have shown the root before.
                let mut known = KnownRoots::default();
                good[wrong + 1].verify_with(&receipts[wrong + 1], &mut known).unwrap();
                for verdict in [changed.verify(&receipts[wrong]), changed.verify_with(&receipts[wrong], &mut known)] {
                    let error = VerifyError::Batch { job: receipts[wrong].receipt.job, error: *want };
                    assert_eq!(verdict, Err(error), "{what}: {wrong} of {count}");
                }
                good[wrong].verify_with(&receipts[wrong], &mut known).unwrap();
            }
        }
    }
}
