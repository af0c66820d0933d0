//! What a batch records, and what it refuses.

use adit_ledger::{Appended, Entry, EntryError};
use adit_protocol::limits::{INLINE_BYTES_MAX, LEAF_BYTES_MAX, REASON_BYTES_MAX};
use adit_protocol::{Digest, Leaf, Microcredits, PublicKey, Receipt, Settled, sign_receipts};

use crate::disk::Disk;
use crate::fixture::{
    FIRST, HELD, append, client, disk_with, entries, entry, entry_of, job, node, open, output, receipt, rival, stored, terms,
};

#[test]
fn what_is_appended_is_read_back() {
    let mut ledger = open(&Disk::default());
    assert_eq!(ledger.reader().job(job(0)).unwrap(), None);

    let outcomes = append(&mut ledger, &entries(0..5)).unwrap();
    assert_eq!(outcomes, (0..5).map(|n| Ok(Appended::New { index: FIRST + n })).collect::<Vec<_>>());
    assert_eq!(append(&mut ledger, &[entry(5)]).unwrap(), [Ok(Appended::New { index: FIRST + 5 })]);

    assert_eq!(ledger.reader().len().unwrap(), FIRST + 6);
    for n in 0..6 {
        assert_eq!(ledger.reader().job(job(n)).unwrap(), Some(stored(n, &entry(n))));
    }
    assert_eq!(ledger.reader().job(job(6)).unwrap(), None);
}

#[test]
fn reader_sees_what_was_appended_after_it_was_made() {
    let mut ledger = open(&Disk::default());
    let reader = ledger.reader().clone();
    append(&mut ledger, &[entry(0)]).unwrap();
    assert_eq!(reader.job(job(0)).unwrap(), Some(stored(0, &entry(0))));
    drop(ledger);
    assert_eq!(reader.len().unwrap(), FIRST + 1);
}

#[test]
fn same_receipt_again_has_no_second_effect() {
    let disk = disk_with(0..3);
    let existing = |n| Ok(Appended::Existing(Box::new(stored(n, &entry(n)))));

    let mut ledger = open(&disk);
    let outcomes = append(&mut ledger, &entries([1, 3, 3, 0])).unwrap();
    assert_eq!(outcomes, [existing(1), Ok(Appended::New { index: FIRST + 3 }), existing(3), existing(0)]);
    assert_eq!(ledger.reader().len().unwrap(), FIRST + 4);
    assert_eq!(ledger.reader().receipts_of(&client(0), 0, 10).unwrap().rows.len(), 2);
}

/// A receipt that was signed again is the same receipt, and what was recorded first stands: proof, time and words.
#[test]
fn same_receipt_in_another_batch_is_the_recorded_one() {
    let mut ledger = open(&disk_with(0..1));
    let mut again = entry(0);
    again.receipt = sign_receipts(&node(), vec![receipt(7), receipt(0)]).remove(1).verify().unwrap();
    again.settled.0 += 1;
    again.reason = "another reason".into();
    assert_ne!(again.receipt.signed().digest(), entry(0).receipt.signed().digest());
    assert_eq!(append(&mut ledger, &[again]).unwrap(), [Ok(Appended::Existing(Box::new(stored(0, &entry(0)))))]);
    assert_eq!(ledger.reader().job(job(0)).unwrap(), Some(stored(0, &entry(0))));
}

#[test]
fn nothing_new_costs_no_sync() {
    let disk = disk_with(0..3);
    let mut ledger = open(&disk);
    let before = disk.operations();
    append(&mut ledger, &entries(0..3)).unwrap();
    append(&mut ledger, &[rival(1)]).unwrap();
    append(&mut ledger, &[]).unwrap();
    assert_eq!(disk.operations(), before);
}

#[test]
fn another_receipt_of_a_settled_job_is_refused_alone() {
    let mut ledger = open(&disk_with(0..1));
    let outcomes = append(&mut ledger, &[entry(1), rival(0), rival(1), entry(2)]).unwrap();
    assert_eq!(
        outcomes,
        [
            Ok(Appended::New { index: FIRST + 1 }),
            Err(EntryError::Conflict { job: job(0), index: FIRST }),
            Err(EntryError::Conflict { job: job(1), index: FIRST + 1 }),
            Ok(Appended::New { index: FIRST + 2 }),
        ]
    );
    for n in 0..3 {
        assert_eq!(ledger.reader().job(job(n)).unwrap(), Some(stored(n, &entry(n))));
    }
    assert_eq!(ledger.reader().len().unwrap(), FIRST + 3);
}

#[test]
fn entry_that_cannot_be_recorded_is_refused_alone() {
    let job = job(1);
    let other = PublicKey([7; 32]);
    let foreign = entry_of(1, Receipt { gateway: other, ..receipt(1) });
    let mut swapped = entry(1);
    swapped.output = Some(output(2));
    let mut talkative = entry(1);
    talkative.reason = "r".repeat(REASON_BYTES_MAX + 1);
    let large = vec![0; INLINE_BYTES_MAX + 1];
    let mut voluminous = entry_of(1, Receipt { output: Digest::of(&large), ..receipt(1) });
    voluminous.output = Some(large);
    let padded = entry_of(1, Receipt { engine: "w".repeat(LEAF_BYTES_MAX), ..receipt(1) });
    let held = Microcredits(HELD);
    let fee = terms().fee(padded.receipt.receipt().cost);
    let settled = Settled { receipt: padded.receipt.signed().public(), held, fee, time: padded.settled };
    let padded_bytes = Leaf::Settlement(Box::new(settled)).to_bytes().len();

    let too_large = |part, bytes, bytes_max| EntryError::TooLarge { job, part, bytes, bytes_max };
    let rows = [
        (foreign, EntryError::ForeignGateway { job, gateway: other }),
        (swapped, EntryError::Output { job }),
        (talkative, too_large("reason", REASON_BYTES_MAX + 1, REASON_BYTES_MAX)),
        (voluminous, too_large("output", INLINE_BYTES_MAX + 1, INLINE_BYTES_MAX)),
        (padded, too_large("receipt", padded_bytes, LEAF_BYTES_MAX)),
    ];
    for (bad, error) in rows {
        let mut ledger = open(&Disk::default());
        let outcomes = append(&mut ledger, &[entry(0), bad, entry(2)]).unwrap();
        assert_eq!(outcomes, [Ok(Appended::New { index: FIRST }), Err(error), Ok(Appended::New { index: FIRST + 1 })]);
        assert_eq!(ledger.reader().job(job).unwrap(), None);
    }
}

#[test]
fn entry_at_its_limits_is_recorded() {
    let large = vec![1; INLINE_BYTES_MAX];
    let mut entry = entry_of(1, Receipt { output: Digest::of(&large), ..receipt(1) });
    entry.output = Some(large);
    entry.reason = "r".repeat(REASON_BYTES_MAX);
    let mut ledger = open(&Disk::default());
    assert_eq!(append(&mut ledger, std::slice::from_ref(&entry)).unwrap(), [Ok(Appended::New { index: FIRST })]);
    assert_eq!(ledger.reader().job(job(1)).unwrap(), Some(stored(0, &entry)));
}

/// An empty output is an output; nothing is a blob elsewhere.
#[test]
fn empty_output_is_told_from_none() {
    let empty = Entry { output: Some(Vec::new()), ..entry_of(1, Receipt { output: Digest::of(b""), ..receipt(1) }) };
    let mut ledger = open(&Disk::default());
    append(&mut ledger, &[empty, entry(3)]).unwrap();
    let output = |n| ledger.reader().job(job(n)).unwrap().unwrap().output;
    assert_eq!((output(1), output(3)), (Some(Vec::new()), None));
}
