//! What nodes are not paid for: noted for their owners, the newest of each, beside the log.

use adit_ledger::{Applied, EntryError, Ledger, Operation, Reader, Refused, StoreError, UNPAID_MAX, UnpaidPage};
use adit_protocol::limits::REASON_BYTES_MAX;
use adit_protocol::{PublicKey, UnpaidAttempt};
use redb::{Database, TableDefinition};

use crate::disk::Disk;
use crate::fixture::open;
use crate::steps::unpaid;

const UNPAID: TableDefinition<'_, (&[u8; 32], u64), &[u8]> = TableDefinition::new("unpaid");

/// Neighbours by their keys, so that one's rows end where the other's begin.
const NODES: [PublicKey; 3] = [PublicKey([4; 32]), PublicKey([5; 32]), PublicKey([6; 32])];

fn note(ledger: &mut Ledger, node: PublicKey, numbers: std::ops::Range<u64>) {
    let attempts: Vec<_> = numbers.map(|n| Operation::Unpaid { node, attempt: Box::new(unpaid(n, 3)) }).collect();
    for outcome in ledger.apply(&attempts).unwrap() {
        assert_eq!(outcome, Ok(Applied::Noted));
    }
}

/// What a node's owner sees, asked for in pages of `limit`.
fn walk(reader: &Reader, node: &PublicKey, limit: usize) -> Vec<(u64, UnpaidAttempt)> {
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(number) = from {
        let UnpaidPage { rows, next } = reader.unpaid(node, number, limit).unwrap();
        assert!(rows.len() == limit || next.is_none(), "only the last page is short");
        all.extend(rows);
        from = next;
    }
    all
}

fn numbered(numbers: std::ops::Range<u64>) -> Vec<(u64, UnpaidAttempt)> {
    numbers.map(|n| (n, unpaid(n, 3))).collect()
}

#[test]
fn attempts_are_read_in_pages_of_any_size_and_each_node_has_its_own() {
    let mut ledger = open(&Disk::default());
    let leaves = ledger.tree();
    note(&mut ledger, NODES[0], 0..7);
    note(&mut ledger, NODES[2], 0..2);
    for limit in [1, 2, 3, 6, 7, 8, usize::MAX] {
        assert_eq!(walk(ledger.reader(), &NODES[0], limit), numbered(0..7), "pages of {limit}");
        assert_eq!(walk(ledger.reader(), &NODES[1], limit), []);
        assert_eq!(walk(ledger.reader(), &NODES[2], limit), numbered(0..2), "pages of {limit}");
    }
    let page = ledger.reader().unpaid(&NODES[0], 5, 1).unwrap();
    assert_eq!(page, UnpaidPage { rows: numbered(5..6), next: Some(6) });
    assert_eq!(ledger.reader().unpaid(&NODES[0], 7, 1).unwrap(), UnpaidPage { rows: Vec::new(), next: None });
    assert_eq!(ledger.reader().unpaid(&NODES[0], 0, 0).unwrap(), UnpaidPage { rows: Vec::new(), next: Some(0) });
    assert_eq!(ledger.tree(), leaves, "none is a leaf");
}

#[test]
fn oldest_go_and_numbers_only_grow_also_over_a_reopening() {
    let disk = Disk::default();
    let mut ledger = open(&disk);
    note(&mut ledger, NODES[1], 0..3);
    note(&mut ledger, NODES[0], 0..UNPAID_MAX);
    assert_eq!(walk(ledger.reader(), &NODES[0], 300), numbered(0..UNPAID_MAX));
    note(&mut ledger, NODES[0], UNPAID_MAX..UNPAID_MAX + 1);
    assert_eq!(walk(ledger.reader(), &NODES[0], 300), numbered(1..UNPAID_MAX + 1));
    drop(ledger);

    let mut ledger = open(&disk);
    note(&mut ledger, NODES[0], UNPAID_MAX + 1..2 * UNPAID_MAX + 7);
    let newest = numbered(UNPAID_MAX + 7..2 * UNPAID_MAX + 7);
    assert_eq!(walk(ledger.reader(), &NODES[0], usize::MAX), newest);
    drop(ledger);
    let ledger = open(&disk);
    assert_eq!(walk(ledger.reader(), &NODES[0], 999), newest);
    assert_eq!(walk(ledger.reader(), &NODES[1], 999), numbered(0..3), "another node's are its own");
    ledger.reader().check_books().unwrap();
}

#[test]
fn reason_has_a_limit() {
    let mut ledger = open(&Disk::default());
    let note = |bytes| Operation::Unpaid { node: NODES[0], attempt: Box::new(unpaid(0, bytes)) };
    let outcomes = ledger.apply(&[note(REASON_BYTES_MAX), note(REASON_BYTES_MAX + 1), note(0)]).unwrap();
    assert_eq!((&outcomes[0], &outcomes[2]), (&Ok(Applied::Noted), &Ok(Applied::Noted)));
    let is_told = |refused: &Refused| matches!(refused, Refused::Entry(EntryError::TooLarge { bytes: 2_049, .. }));
    assert!(outcomes[1].as_ref().is_err_and(is_told), "{outcomes:?}");
    assert_eq!(walk(ledger.reader(), &NODES[0], 9).len(), 2);
}

#[test]
fn damaged_row_is_found_by_the_check_and_is_no_answer() {
    /// Changes the row 2 of 5.
    type Change = fn(&mut Vec<u8>);
    let rows: [(&str, Change); 3] =
        [("empty", Vec::clear), ("cut", |row| row.truncate(row.len() - 1)), ("prolonged", |row| row.push(0))];
    for (name, change) in rows {
        let disk = disk_with_five();
        damage(&disk, |table| {
            let mut row = table.remove((&NODES[0].0, 2)).unwrap().unwrap().value().to_vec();
            change(&mut row);
            table.insert((&NODES[0].0, 2), row.as_slice()).unwrap();
        });
        let ledger = open(&disk);
        assert!(matches!(ledger.reader().check_books(), Err(StoreError::Corrupt { index: 2, .. })), "{name}");
        assert!(matches!(ledger.reader().unpaid(&NODES[0], 0, 9), Err(StoreError::Corrupt { index: 2, .. })), "{name}");
        assert_eq!(ledger.reader().unpaid(&NODES[0], 3, 9).unwrap().rows, numbered(3..5), "{name}");
    }
    let disk = disk_with_five();
    damage(&disk, |table| drop(table.remove((&NODES[0].0, 2)).unwrap()));
    let error = open(&disk).reader().check_books().unwrap_err();
    assert!(matches!(error, StoreError::Inconsistent { what: "unpaid attempts", found: 3, due: 4 }), "{error}");
}

fn disk_with_five() -> Disk {
    let disk = Disk::default();
    note(&mut open(&disk), NODES[0], 0..5);
    disk
}

fn damage(disk: &Disk, change: impl FnOnce(&mut redb::Table<'_, (&'static [u8; 32], u64), &'static [u8]>)) {
    let transaction = Database::builder().create_with_backend(disk.backend()).unwrap().begin_write().unwrap();
    change(&mut transaction.open_table(UNPAID).unwrap());
    transaction.commit().unwrap();
}
