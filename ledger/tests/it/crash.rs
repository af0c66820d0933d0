//! A script of batches on a disk that fails at each of its operations in turn. Whatever survives the power cut, the ledger opens,
//! no acknowledged receipt is missing, no batch is half there, nothing is recorded twice, and the script can be finished.

use adit_ledger::{CommitError, Entry, Ledger, Reader};
use redb::Database;

use crate::disk::{Disk, Fault, Survivors};
use crate::fixture::{FIRST, append, client, disk_with, entries, entry, gateway, open, rival, stored};

/// Batches of many sizes, so that trees split and the file grows; some entries come again or conflict. Each batch records something,
/// so that the ledger's length tells how many batches it has.
struct Script {
    batches: Vec<Vec<Entry>>,
    /// What is recorded in the end, in order.
    recorded: Vec<Entry>,
    /// How many are recorded after each number of batches.
    lengths: Vec<usize>,
}

impl Script {
    fn new() -> Self {
        let sizes = [1, 3, 1, 24, 2, 1, 40, 1, 7, 30, 1, 1, 10];
        let mut script = Self { batches: Vec::new(), recorded: Vec::new(), lengths: vec![0] };
        for size in sizes {
            let next = script.recorded.len() as u64;
            let mut batch = entries(next..next + size);
            script.recorded.extend_from_slice(&batch);
            script.lengths.push(script.recorded.len());
            batch.push(entry(next / 2));
            batch.push(rival(next));
            script.batches.push(batch);
        }
        script
    }

    /// Runs until the disk fails. Returns how many batches were acknowledged.
    fn run(&self, disk: &Disk) -> usize {
        let Ok(mut ledger) = Ledger::open_with(disk.backend(), gateway()) else { return 0 };
        for (acknowledged, batch) in self.batches.iter().enumerate() {
            let Err(error) = append(&mut ledger, batch) else { continue };
            assert!(matches!(error, CommitError::Failed { .. }), "{error}");
            let operations = disk.operations();
            let error = append(&mut ledger, batch).unwrap_err();
            assert!(matches!(error, CommitError::Stopped { .. }), "{error}");
            assert_eq!(disk.operations(), operations, "a stopped ledger leaves the disk alone");
            self.check_answers_if_any(ledger.reader(), acknowledged);
            return acknowledged;
        }
        self.batches.len()
    }

    /// A reader of a failed store may have no answer; it has no wrong one.
    fn check_answers_if_any(&self, reader: &Reader, acknowledged: usize) {
        for (index, entry) in self.recorded[..self.lengths[acknowledged]].iter().enumerate() {
            if let Ok(job) = reader.job(entry.job()) {
                assert_eq!(job, Some(stored(index as u64, entry)));
            }
        }
    }

    /// Checks that the disk holds the acknowledged batches, or one more, and nothing else, and that the database is whole.
    fn check(&self, disk: &Disk, acknowledged: usize) {
        let ledger = open(disk);
        let length = (ledger.reader().len().unwrap() - FIRST) as usize;
        let batches = self.lengths.binary_search(&length).expect("no batch is half there");
        assert!((acknowledged..=acknowledged + 1).contains(&batches), "{batches} batches, {acknowledged} acknowledged");
        self.check_records(ledger.reader(), length);
        drop(ledger);

        let mut database = Database::builder().create_with_backend(disk.backend()).unwrap();
        assert!(database.check_integrity().unwrap());
    }

    /// Checks that the script can be run again, to its end, and that what was recorded is not recorded twice.
    fn check_again(&self, disk: &Disk) {
        assert_eq!(self.run(disk), self.batches.len());
        self.check_records(open(disk).reader(), self.recorded.len());
    }

    fn check_records(&self, reader: &Reader, length: usize) {
        assert_eq!(reader.len().unwrap(), FIRST + length as u64);
        for (index, entry) in self.recorded.iter().enumerate() {
            let want = (index < length).then(|| stored(index as u64, entry));
            assert_eq!(reader.job(entry.job()).unwrap(), want);
        }
        for c in 0..3 {
            let indexes = reader.receipts_of(&client(c), 0, usize::MAX).unwrap().rows.into_iter().map(|(index, _)| index);
            assert!(indexes.eq((c..length as u64).step_by(3).map(|n| FIRST + n)));
        }
    }
}

/// The script begins on an empty ledger; a crash while that is made is the file's business.
fn check_every_crash_point(fault: Fault) {
    let script = Script::new();
    let empty = disk_with([]).image();
    let whole = Disk::with_image(empty.clone());
    assert_eq!(script.run(&whole), script.batches.len());
    for n in 1..=whole.operations() {
        let disk = Disk::with_image(empty.clone());
        disk.fail_at(n, fault);
        let acknowledged = script.run(&disk);
        let all = [Survivors::Nothing, Survivors::Everything, Survivors::Torn(n), Survivors::Torn(!n)];
        for (i, survivors) in all.into_iter().enumerate() {
            let after = disk.after_power_cut(survivors);
            script.check(&after, acknowledged);
            if i as u64 == n % 4 {
                script.check_again(&after);
            }
        }
    }
}

#[test]
fn disk_that_dies_at_any_operation_loses_nothing_acknowledged() {
    check_every_crash_point(Fault::Dead);
}

#[test]
fn disk_that_fails_once_at_any_operation_loses_nothing_acknowledged() {
    check_every_crash_point(Fault::Once);
}

/// A second power cut, while the ledger is opened after the first one.
#[test]
fn disk_that_dies_again_during_recovery_loses_nothing_acknowledged() {
    let script = Script::new();
    let empty = disk_with([]).image();
    let whole = Disk::with_image(empty.clone());
    script.run(&whole);
    for n in (1..=whole.operations()).step_by(17) {
        let first = Disk::with_image(empty.clone());
        first.fail_at(n, Fault::Dead);
        let acknowledged = script.run(&first);
        let image = first.after_power_cut(Survivors::Torn(n)).image();
        for m in 1.. {
            let second = Disk::with_image(image.clone());
            second.fail_at(m, Fault::Dead);
            drop(Ledger::open_with(second.backend(), gateway()));
            if second.operations() < m {
                break;
            }
            script.check(&second.after_power_cut(Survivors::Torn(m)), acknowledged);
        }
    }
}
