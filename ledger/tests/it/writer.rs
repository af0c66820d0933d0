//! Group commit: how batches form, what is told of them, and how the writer ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;

use adit_ledger::{
    Account, Appended, Applied, BATCH_OPERATIONS_MAX, Batch, CommitError, EntryError, Hold, Ledger, Operation,
    QUEUE_OPERATIONS_MAX, Refused, SubmitError, Writer,
};
use adit_protocol::{JobId, UnixMillis, VoidReason};

use crate::disk::{Disk, Fault};
use crate::fixture::{FIRST, append, client, entries, entry, hold, job, open, rival, settle, stored};

/// A ledger with holds for so many jobs.
fn held(disk: &Disk, jobs: u64) -> Ledger {
    let mut ledger = open(disk);
    let holds: Vec<Operation> = entries(0..jobs).iter().map(hold).collect();
    ledger.apply(&holds).unwrap();
    ledger
}

/// A writer that tells of its batches, and waits after each until it is let go on. Once the gate is gone it never waits.
fn gated(disk: &Disk) -> (Writer, Receiver<Batch>, Sender<()>) {
    let (told, batches) = channel();
    let (gate, go) = channel();
    let writer = Writer::spawn(held(disk, 50), move |batch| {
        told.send(batch).unwrap();
        let _ = go.recv();
    });
    (writer.unwrap(), batches, gate)
}

/// The writer's next batch is committed, and the writer held, when this returns.
fn occupy(writer: &Writer, batches: &Receiver<Batch>, n: u64) {
    writer.submit(settle(entry(n))).unwrap();
    assert_eq!(batches.recv().unwrap().operations, [settle(entry(n))]);
}

#[test]
fn lone_entry_waits_for_nobody() {
    let (writer, batches, gate) = gated(&Disk::default());
    for n in 0..3 {
        writer.submit(settle(entry(n))).unwrap();
        let batch = batches.recv().unwrap();
        assert_eq!(batch.operations, [settle(entry(n))]);
        assert_eq!(batch.result.unwrap(), [Ok(Applied::Settled(Appended::New { index: FIRST + n }))]);
        gate.send(()).unwrap();
    }
}

#[test]
fn what_comes_during_a_commit_is_the_next_batch() {
    let (writer, batches, gate) = gated(&Disk::default());
    occupy(&writer, &batches, 0);
    for entry in [entry(1), rival(0), entry(2), entry(1)] {
        writer.submit(settle(entry)).unwrap();
    }
    drop(gate);
    let batch = batches.recv().unwrap();
    assert_eq!(batch.operations, [entry(1), rival(0), entry(2), entry(1)].map(settle));
    assert_eq!(
        batch.result.unwrap(),
        [
            Ok(Applied::Settled(Appended::New { index: FIRST + 1 })),
            Err(Refused::Entry(EntryError::Conflict { job: job(0), index: FIRST })),
            Ok(Applied::Settled(Appended::New { index: FIRST + 2 })),
            Ok(Applied::Settled(Appended::Existing(Box::new(stored(1, &entry(1)))))),
        ]
    );
}

#[test]
fn full_queue_refuses_at_once_and_drains_in_whole_batches() {
    let (writer, batches, gate) = gated(&Disk::default());
    occupy(&writer, &batches, 0);
    let one = settle(entry(1));
    for _ in 0..QUEUE_OPERATIONS_MAX {
        writer.submit(one.clone()).unwrap();
    }
    assert_eq!(writer.submit(settle(entry(2))), Err(SubmitError::Full(Box::new(settle(entry(2))))));

    drop(gate);
    for _ in 0..QUEUE_OPERATIONS_MAX / BATCH_OPERATIONS_MAX {
        assert_eq!(batches.recv().unwrap().operations.len(), BATCH_OPERATIONS_MAX);
    }
    writer.submit(settle(entry(2))).unwrap();
    assert_eq!(batches.recv().unwrap().result.unwrap(), [Ok(Applied::Settled(Appended::New { index: FIRST + 2 }))]);
}

#[test]
fn entry_is_readable_when_it_is_told_of() {
    let ledger = held(&Disk::default(), 20);
    let reader = ledger.reader().clone();
    let (told, seen) = channel();
    let writer = Writer::spawn(ledger, move |batch: Batch| {
        for operation in batch.operations {
            let Operation::Settle(entry) = operation else { panic!("{operation:?}") };
            told.send(reader.job(entry.job()).unwrap()).unwrap();
        }
    })
    .unwrap();
    for n in 0..20 {
        writer.submit(settle(entry(n))).unwrap();
    }
    for n in 0..20 {
        assert_eq!(seen.recv().unwrap(), Some(stored(n, &entry(n))));
    }
    assert_eq!(writer.reader().len().unwrap(), FIRST + 20);
}

#[test]
fn many_submitters_and_readers_agree_on_one_order() {
    const SUBMITTERS: u64 = 8;
    const EACH: u64 = 50;
    let disk = Disk::default();
    let (told, batches) = channel();
    let writer = Arc::new(Writer::spawn(held(&disk, SUBMITTERS * EACH), move |batch| told.send(batch).unwrap()).unwrap());
    let threads: Vec<_> = (0..SUBMITTERS)
        .map(|t| {
            let writer = Arc::clone(&writer);
            thread::spawn(move || {
                let mut len = 0;
                for n in t * EACH..(t + 1) * EACH {
                    writer.submit(settle(entry(n))).unwrap();
                    let now = writer.reader().len().unwrap();
                    assert!(now >= len, "a ledger never shrinks");
                    len = now;
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    drop(writer);

    let mut jobs = BTreeSet::new();
    let mut next = 0;
    let ledger = open(&disk);
    for batch in batches {
        for (operation, outcome) in batch.operations.iter().zip(batch.result.unwrap()) {
            let Operation::Settle(entry) = operation else { panic!("{operation:?}") };
            assert_eq!(outcome, Ok(Applied::Settled(Appended::New { index: FIRST + next })));
            assert_eq!(ledger.reader().job(entry.job()).unwrap(), Some(stored(next, entry)));
            jobs.insert(entry.job());
            next += 1;
        }
    }
    assert_eq!((next, jobs.len() as u64), (SUBMITTERS * EACH, SUBMITTERS * EACH));
    let of_clients: usize = (0..3).map(|c| ledger.reader().receipts_of(&client(c), 0, usize::MAX).unwrap().rows.len()).sum();
    assert_eq!(of_clients as u64, next);
}

/// What leads to the newest receipts is in memory until it is swept into the tables. Whoever reads meanwhile sees every receipt of the
/// commit that it sees, once.
#[test]
fn reader_finds_every_receipt_while_they_are_swept_into_the_tables() {
    const JOBS: u64 = 252;
    let writer = Writer::spawn(held(&Disk::default(), JOBS), |_| {}).unwrap();
    let (reader, is_over) = (writer.reader().clone(), Arc::new(AtomicBool::new(false)));
    let ends = Arc::clone(&is_over);
    let looker = thread::spawn(move || {
        let (mut seen, mut pages, mut is_last) = (0, 0, false);
        while !is_last {
            is_last = ends.load(Ordering::Acquire);
            let rows = reader.receipts_of(&client(0), 0, usize::MAX).unwrap().rows;
            let indexes: Vec<u64> = rows.iter().map(|(index, _)| *index - FIRST).collect();
            let due: Vec<u64> = (0..rows.len() as u64).map(|n| 3 * n).collect();
            assert_eq!(indexes, due);
            let newest = rows.last().map(|(_, receipt)| receipt.receipt.job);
            assert!(newest.is_none_or(|job| reader.job(job).unwrap().is_some()));
            assert!(rows.len() as u64 >= seen, "a ledger never shrinks");
            seen = rows.len() as u64;
            pages += 1;
        }
        (seen, pages)
    });
    for n in 0..JOBS {
        writer.submit(settle(entry(n))).unwrap();
    }
    let ledger = writer.close();
    is_over.store(true, Ordering::Release);
    let (seen, pages): (u64, u32) = looker.join().unwrap();
    println!("{pages} pages were read meanwhile");
    assert_eq!(seen, JOBS / 3);
    ledger.reader().check_books().unwrap();
}

#[test]
fn dropped_writer_records_what_is_queued() {
    let disk = Disk::default();
    let (writer, batches, gate) = gated(&disk);
    occupy(&writer, &batches, 0);
    entries(1..11).into_iter().for_each(|entry| writer.submit(settle(entry)).unwrap());
    drop(gate);
    drop(writer);
    assert_eq!(batches.try_recv().unwrap().operations.len(), 10, "told before the drop returned");
    assert_eq!(open(&disk).reader().len().unwrap(), FIRST + 11);
}

/// A receipt, a withdrawal and the clock come for the same holds at once, each from a thread of its own.
#[test]
fn hold_ends_once_whoever_comes_first() {
    const JOBS: u64 = 300;
    let mut ledger = open(&Disk::default());
    let holds = entries(0..JOBS).into_iter().enumerate().map(|(n, entry)| match hold(&entry) {
        Operation::Hold(hold) => Operation::Hold(Hold { expires: UnixMillis(n as u64), ..hold }),
        other => other,
    });
    assert!(ledger.apply(&holds.collect::<Vec<_>>()).unwrap().iter().all(Result::is_ok));
    let (told, batches) = channel();
    let writer = Writer::spawn(ledger, move |batch| told.send(batch).unwrap()).unwrap();
    let start = Barrier::new(3);
    let void = |n| {
        let (job, customer) = (job(n), client(n));
        Operation::Void { job, customer, reason: VoidReason::Cancelled, time: UnixMillis(1) }
    };
    thread::scope(|scope| {
        let submit = |operations: Vec<Operation>| {
            let (writer, start) = (&writer, &start);
            scope.spawn(move || {
                start.wait();
                for operation in operations {
                    writer.submit(operation).unwrap();
                    thread::yield_now();
                }
            });
        };
        submit((0..JOBS).map(|n| settle(entry(n))).collect());
        submit((0..JOBS).rev().map(void).collect());
        submit((0..JOBS).step_by(3).map(|now| Operation::Expire { now: UnixMillis(now) }).collect());
    });
    let ledger = writer.close();
    let mut ended = BTreeMap::<JobId, u64>::new();
    for batch in batches {
        for (operation, outcome) in batch.operations.iter().zip(batch.result.unwrap()) {
            match (operation, outcome) {
                (Operation::Settle(entry), Ok(Applied::Settled(Appended::New { .. }))) => {
                    *ended.entry(entry.job()).or_default() += 1
                }
                (Operation::Void { job, .. }, Ok(Applied::Recorded { .. })) => *ended.entry(*job).or_default() += 1,
                (_, Ok(Applied::Expired(jobs))) => jobs.iter().for_each(|(job, _)| *ended.entry(*job).or_default() += 1),
                (_, Err(Refused::NoHold { .. } | Refused::AlreadySettled { .. })) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(ended, (0..JOBS).map(|n| (job(n), 1)).collect());
    assert_eq!(ledger.reader().len().unwrap(), FIRST + JOBS);
    assert!(ledger.reader().holds().unwrap().is_empty());
    let held = (0..3).map(|n| ledger.reader().balance(Account::Customer(client(n))).unwrap().held);
    assert_eq!(held.sum::<i128>(), 0);
    ledger.reader().check_books().unwrap();
}

#[test]
fn closed_writer_gives_the_ledger_back() {
    let (writer, batches, gate) = gated(&Disk::default());
    occupy(&writer, &batches, 0);
    writer.submit(settle(entry(1))).unwrap();
    drop(gate);
    let mut ledger = writer.close();
    assert_eq!(append(&mut ledger, &[entry(2)]).unwrap(), [Ok(Appended::New { index: FIRST + 2 })]);
}

#[test]
fn failed_commit_is_told_for_its_batch_and_for_every_later_one() {
    let disk = Disk::default();
    let (writer, batches, gate) = gated(&disk);
    occupy(&writer, &batches, 0);
    disk.fail_at(1, Fault::Once);
    drop(gate);
    writer.submit(settle(entry(1))).unwrap();
    let batch = batches.recv().unwrap();
    assert_eq!(batch.operations, [settle(entry(1))]);
    assert!(matches!(batch.result, Err(CommitError::Failed { .. })), "{:?}", batch.result);
    for n in 2..4 {
        writer.submit(settle(entry(n))).unwrap();
        let batch = batches.recv().unwrap();
        assert_eq!(batch.operations, [settle(entry(n))]);
        assert!(matches!(batch.result, Err(CommitError::Stopped { .. })), "{:?}", batch.result);
    }
    drop(writer);
    assert!(open(&disk).reader().job(job(0)).unwrap().is_some());
}

#[test]
fn writer_whose_thread_panicked_says_so() {
    let (told, batches) = channel();
    let writer = Writer::spawn(held(&Disk::default(), 2), move |_| {
        told.send(()).unwrap();
        panic!("part of the test: the callback panics");
    })
    .unwrap();
    writer.submit(settle(entry(0))).unwrap();
    batches.recv().unwrap();
    // The sender goes with the thread's stack, and the queue before or after it: the first refusal ends the wait.
    assert!(batches.recv().is_err());
    let refused = loop {
        match writer.submit(settle(entry(1))) {
            Ok(()) => thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SubmitError::Gone(Box::new(settle(entry(1)))));
}
