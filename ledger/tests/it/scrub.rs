//! The check of a whole ledger in steps, between which others write.

use adit_ledger::{Ledger, Operation, StoreError};
use adit_protocol::{Grant, TransferId, UnixMillis, VoidReason};

use crate::disk::Disk;
use crate::fixture::{Rng, entry, grant, hold, open, settle};
use crate::steps::{attempt, hold_of, trying, unpaid, void};

/// A grant that no other number has.
pub(crate) fn grant_of(n: u64) -> Operation {
    Operation::Grant(Grant { id: TransferId(u128::from(1_000_000 + n).to_le_bytes()), ..grant(n % 3) })
}

/// Checks a ledger in steps, with `between` after each but the last. How many leaves it has then, or what is wrong.
pub(crate) fn scrub(ledger: &mut Ledger, mut between: impl FnMut(&mut Ledger)) -> Result<u64, StoreError> {
    let mut scrub = ledger.reader().scrub();
    for _ in 0..10_000 {
        if let Some(leaves) = scrub.step()? {
            return Ok(leaves);
        }
        between(ledger);
    }
    panic!("the check never ends");
}

/// The next job by its number, in one of the ways that jobs go.
fn job_of(n: u64) -> Vec<Operation> {
    let tried = || [Operation::Hold(hold_of(n, 400, 9)), attempt(trying(n, 1, 0))];
    match n % 6 {
        0 => vec![Operation::Hold(hold_of(n, 50, 9))],
        1 => vec![Operation::Hold(hold_of(n, 50, 9)), void(n, VoidReason::Restarted)],
        2 => tried().into(),
        3 => tried().into_iter().chain([void(n, VoidReason::Restarted)]).collect(),
        4 => vec![Operation::Unpaid { node: crate::fixture::node().public(), attempt: Box::new(unpaid(n, 9)) }],
        _ => vec![hold(&entry(n)), settle(entry(n))],
    }
}

fn apply(ledger: &mut Ledger, operations: &[Operation]) {
    let outcomes = ledger.apply(operations).unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

/// Every step sees another ledger: what one was compared to is not what the next one reads.
#[test]
fn sound_ledger_is_found_sound_whatever_is_written_meanwhile() {
    for seed in 0..6 {
        let disk = Disk::default();
        let mut ledger = open(&disk);
        apply(&mut ledger, &(0..60).flat_map(job_of).collect::<Vec<_>>());
        // More orders and statements than a step goes through.
        apply(&mut ledger, &(0..2_500).map(grant_of).collect::<Vec<_>>());
        apply(&mut ledger, &(60..120).flat_map(job_of).collect::<Vec<_>>());
        let (mut rng, mut jobs, mut grants) = (Rng(seed), 120, 2_500);
        let before = ledger.tree().size;
        let leaves = scrub(&mut ledger, |ledger| {
            let count = rng.below(12);
            let mut operations: Vec<Operation> = (jobs..jobs + count).flat_map(job_of).collect();
            jobs += count;
            let count = rng.below(40);
            operations.extend((grants..grants + count).map(grant_of));
            grants += count;
            if rng.below(9) == 0 {
                operations.push(Operation::Expire { now: UnixMillis(10) });
            }
            apply(ledger, &operations);
        });
        let leaves = leaves.unwrap();
        assert!(leaves == ledger.tree().size && leaves > before + 200, "{leaves} after {before}");
        assert_eq!(scrub(&mut ledger, |_| {}).unwrap(), leaves);
        ledger.reader().check_books().unwrap();
    }
}

#[test]
fn empty_ledger_is_sound() {
    let mut ledger = Ledger::open_with(Disk::default().backend(), crate::fixture::gateway()).unwrap();
    assert_eq!(scrub(&mut ledger, |_| {}).unwrap(), 0);
}
