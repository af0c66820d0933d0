//! Bytes that are not what was written are reported, and never become an answer.

use adit_ledger::{CommitError, Corruption, Ledger, OpenError, StoreError};
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use crate::disk::Disk;
use crate::fixture::{client, disk_with, entry, gateway, job, open, rival};

const RECEIPTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("receipts");
const OUTPUTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outputs");
const JOBS: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("jobs");
const CLIENTS: TableDefinition<'_, (&[u8; 32], u64), ()> = TableDefinition::new("clients");

fn damage(disk: &Disk, change: impl FnOnce(&WriteTransaction)) {
    let transaction = Database::builder().create_with_backend(disk.backend()).unwrap().begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

/// Replaces the row at `index` by what `change` makes of it.
fn rewrite(transaction: &WriteTransaction, index: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let mut receipts = transaction.open_table(RECEIPTS).unwrap();
    let mut row = receipts.remove(index).unwrap().unwrap().value().to_vec();
    change(&mut row);
    receipts.insert(index, row.as_slice()).unwrap();
}

/// Makes the row at `to` a copy of the one at `from`.
fn put_in_place_of(transaction: &WriteTransaction, from: u64, to: u64) {
    let mut receipts = transaction.open_table(RECEIPTS).unwrap();
    let row = receipts.get(from).unwrap().unwrap().value().to_vec();
    receipts.insert(to, row.as_slice()).unwrap();
}

fn fault<T: std::fmt::Debug>(result: Result<T, StoreError>) -> (u64, Corruption) {
    match result.unwrap_err() {
        StoreError::Corrupt { index, fault } => (index, fault),
        error => panic!("{error}"),
    }
}

/// A change to a ledger of the jobs 0 to 3.
type Change = fn(&WriteTransaction);

#[test]
fn damaged_row_is_reported_and_its_neighbours_are_read() {
    // How it shows when job 2 is asked for.
    let rows: [(&str, Change, Corruption); 9] = [
        ("empty", |t| rewrite(t, 2, Vec::clear), Corruption::Truncated),
        ("head only", |t| rewrite(t, 2, |row| row.truncate(5)), Corruption::Truncated),
        ("version", |t| rewrite(t, 2, |row| row[0] = 9), Corruption::RowVersion(9)),
        ("checksum", |t| rewrite(t, 2, |row| row[1] ^= 1), Corruption::Checksum),
        ("first byte", |t| rewrite(t, 2, |row| row[9] ^= 1), Corruption::Checksum),
        ("last byte", |t| rewrite(t, 2, |row| *row.last_mut().unwrap() ^= 1), Corruption::Checksum),
        ("cut", |t| rewrite(t, 2, |row| row.truncate(row.len() - 1)), Corruption::Checksum),
        ("prolonged", |t| rewrite(t, 2, |row| row.push(0)), Corruption::Checksum),
        ("another's", |t| put_in_place_of(t, 3, 2), Corruption::Checksum),
    ];
    for (name, change, want) in rows {
        let disk = disk_with(0..4);
        damage(&disk, change);
        let ledger = open(&disk);
        let reader = ledger.reader();
        assert_eq!(fault(reader.job(job(2))), (2, want), "{name}");
        assert_eq!(fault(reader.receipts_of(&client(2), 0, 10)), (2, want), "{name}");
        assert!(reader.job(job(1)).unwrap().is_some(), "{name}");
        assert_eq!(reader.receipts_of(&client(0), 0, 10).unwrap().rows.len(), 2, "{name}");
    }
}

#[test]
fn index_that_leads_astray_is_reported() {
    let disk = disk_with(0..4);
    damage(&disk, |t| {
        let mut jobs = t.open_table(JOBS).unwrap();
        jobs.insert(&job(2).0, 1).unwrap();
        jobs.insert(&job(3).0, 99).unwrap();
        let mut clients = t.open_table(CLIENTS).unwrap();
        clients.remove((&client(1).0, 1)).unwrap();
        clients.insert((&client(1).0, 0), ()).unwrap();
        t.open_table(OUTPUTS).unwrap().insert(0, b"another output".as_slice()).unwrap();
    });
    let ledger = open(&disk);
    assert_eq!(fault(ledger.reader().job(job(2))), (1, Corruption::Index));
    assert_eq!(fault(ledger.reader().job(job(3))), (99, Corruption::Missing));
    assert_eq!(fault(ledger.reader().receipts_of(&client(1), 0, 10)), (0, Corruption::Index));
    assert_eq!(fault(ledger.reader().job(job(0))), (0, Corruption::Output));
}

#[test]
fn tables_that_disagree_are_found_at_open() {
    let changes: [(&str, Change); 4] = [
        ("last receipt", |t| drop(t.open_table(RECEIPTS).unwrap().remove(3).unwrap())),
        ("first receipt", |t| drop(t.open_table(RECEIPTS).unwrap().remove(0).unwrap())),
        ("job", |t| drop(t.open_table(JOBS).unwrap().remove(&job(1).0).unwrap())),
        ("client row", |t| drop(t.open_table(CLIENTS).unwrap().remove((&client(1).0, 1)).unwrap())),
    ];
    for (missing, change) in changes {
        let disk = disk_with(0..4);
        damage(&disk, change);
        let error = Ledger::open_with(disk.backend(), gateway()).unwrap_err();
        assert!(matches!(error, OpenError::Inconsistent { .. }), "{missing}: {error}");
    }
}

/// The ledger cannot say whether a receipt is the recorded one when it cannot read that, so it does not go on.
#[test]
fn damage_met_while_appending_stops_the_ledger() {
    let disk = disk_with(0..4);
    damage(&disk, |t| rewrite(t, 2, |row| row[20] ^= 1));
    let mut ledger = open(&disk);
    let corrupt = |cause: &StoreError| matches!(cause, StoreError::Corrupt { index: 2, fault: Corruption::Checksum });

    let error = ledger.append(&[entry(4), rival(2), entry(5)]).unwrap_err();
    assert!(matches!(&error, CommitError::Failed { cause } if corrupt(cause)), "{error}");
    let error = ledger.append(&[entry(6)]).unwrap_err();
    assert!(matches!(&error, CommitError::Stopped { cause } if corrupt(cause)), "{error}");

    assert_eq!(ledger.reader().len().unwrap(), 4);
    assert_eq!(ledger.reader().job(job(4)).unwrap(), None);
    assert!(ledger.reader().job(job(1)).unwrap().is_some());
}

/// Under the database too: redb trusts a file that was closed cleanly.
#[test]
fn every_flipped_byte_of_a_stored_receipt_is_found() {
    let receipt = entry(1).receipt.signed().to_bytes();
    let image = disk_with([1]).image();
    let at = image.windows(receipt.len()).position(|bytes| bytes == receipt).unwrap();
    for i in 0..receipt.len() {
        let mut image = image.clone();
        image[at + i] ^= 0x10;
        let ledger = open(&Disk::with_image(image));
        assert_eq!(fault(ledger.reader().job(job(1))), (0, Corruption::Checksum), "byte {i}");
    }
}
