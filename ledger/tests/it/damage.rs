//! Bytes that are not what was written are reported, and never become an answer.

use std::borrow::Borrow;
use std::sync::{Arc, Mutex};

use adit_ledger::{Account, BooksError, CommitError, Corruption, Hold, Ledger, OpenError, Operation, StoreError};
use adit_protocol::{Digest, Grant, Microcredits, PublicKey, TransferId, UnixMillis, VoidReason};
use redb::{Database, Key, ReadableDatabase, ReadableTable, TableDefinition, Value, WriteTransaction};

use crate::disk::Disk;
use crate::fixture::{FIRST, append, client, disk_with, entry, gateway, grant, hold, job, open, rival, settle};
use crate::scrub::{grant_of, scrub};
use crate::steps::{attempt, hold_of, trying};

const LEAVES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("leaves");
const TILES: TableDefinition<'_, (u8, u64), &[u8]> = TableDefinition::new("tiles");
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
const OUTPUTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outputs");
const JOBS: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("jobs");
const ATTEMPTS: TableDefinition<'_, (&[u8; 16], u32), u64> = TableDefinition::new("attempts");
const STATEMENTS: TableDefinition<'_, (&[u8; 33], bool, u64), ()> = TableDefinition::new("statements");
const HOLDS: TableDefinition<'_, &[u8; 16], (&[u8; 32], u64, u64)> = TableDefinition::new("holds");
const ORDERS: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("orders");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const ACCOUNTS: TableDefinition<'_, &[u8; 33], &[u8; 32]> = TableDefinition::new("accounts");

fn damage(disk: &Disk, change: impl FnOnce(&WriteTransaction)) {
    let transaction = Database::builder().create_with_backend(disk.backend()).unwrap().begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

/// Replaces what is stored at a key of a table by what `change` makes of it.
fn rewrite<K: Key + 'static>(
    transaction: &WriteTransaction,
    table: TableDefinition<'_, K, &'static [u8]>,
    key: impl for<'k> Borrow<K::SelfType<'k>> + Copy,
    change: impl FnOnce(&mut Vec<u8>),
) {
    let mut table = transaction.open_table(table).unwrap();
    let mut row = table.remove(key).unwrap().unwrap().value().to_vec();
    change(&mut row);
    table.insert(key, row.as_slice()).unwrap();
}

/// Makes what is stored at `to` a copy of what is at `from`.
fn put_in_place_of(transaction: &WriteTransaction, table: TableDefinition<'_, u64, &'static [u8]>, from: u64, to: u64) {
    let mut table = transaction.open_table(table).unwrap();
    let row = table.get(from).unwrap().unwrap().value().to_vec();
    table.insert(to, row.as_slice()).unwrap();
}

/// A customer's account, as a key.
fn customer(n: u64) -> [u8; 33] {
    let mut key = [2; 33];
    key[1..].copy_from_slice(&client(n).0);
    key
}

fn fault<T: std::fmt::Debug>(result: Result<T, StoreError>) -> (u64, Corruption) {
    match result.unwrap_err() {
        StoreError::Corrupt { index, fault } => (index, fault),
        error => panic!("{error}"),
    }
}

/// A change to a ledger of the jobs 0 to 3.
type Change = fn(&WriteTransaction);

/// How many grants come behind the jobs of an [`indexed`] ledger: the jobs' tile is full, so that no start compares it to its leaves.
const GRANTS_BEHIND: u64 = 260;

/// A ledger of the jobs 0 to 3, closed, in whose tables is all that leads to them: as much came behind them that it was swept there.
fn indexed() -> Disk {
    let disk = disk_with(0..4);
    let outcomes = open(&disk).apply(&grants_behind(GRANTS_BEHIND)).unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(indexed_below(&disk), Some(FIRST + 4));
    disk
}

fn grants_behind(count: u64) -> Vec<Operation> {
    let id = |n: u64| TransferId(u128::from(1_000 + n).to_le_bytes());
    (0..count).map(|n| Operation::Grant(Grant { id: id(n), ..grant(n % 3) })).collect()
}

/// Makes the sums over the tables fit what stands there, as nobody does who only loses bits: for what is found behind the start, which
/// compares them.
fn sum_up(transaction: &WriteTransaction) {
    let mut meta = transaction.open_table(META).unwrap();
    let indexed = meta.get("indexed").unwrap().map_or(0, |index| u64::from_le_bytes(index.value().try_into().unwrap()));
    let sums = [
        ("orders sum", sum(transaction, ORDERS, |_| true)),
        ("attempts sum", sum(transaction, ATTEMPTS, |_| true)),
        ("jobs sum", sum(transaction, JOBS, |index| index < indexed)),
        ("accounts sum", sum(transaction, ACCOUNTS, |_| true)),
        ("holds sum", sum(transaction, HOLDS, |_| true)),
    ];
    for (row, sum) in sums {
        meta.insert(row, sum.to_le_bytes().as_slice()).unwrap();
    }
}

fn sum<K: Key + 'static, V: Value + 'static>(
    transaction: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
    is_summed: impl Fn(V::SelfType<'_>) -> bool,
) -> u128 {
    let table = transaction.open_table(table).unwrap();
    let entries = table.iter().unwrap().map(Result::unwrap).filter(|(_, value)| is_summed(value.value()));
    entries.fold(0, |sum: u128, (key, value)| {
        let digest = Digest::of(&[K::as_bytes(&key.value()).as_ref(), V::as_bytes(&value.value()).as_ref()].concat());
        sum.wrapping_add(u128::from_le_bytes(digest.0[..16].try_into().unwrap()))
    })
}

/// Below which leaf the tables of a closed ledger lack nothing, by its own word.
fn indexed_below(disk: &Disk) -> Option<u64> {
    let database = Database::builder().create_with_backend(disk.backend()).unwrap();
    let meta = database.begin_read().unwrap().open_table(META).unwrap();
    meta.get("indexed").unwrap().map(|index| u64::from_le_bytes(index.value().try_into().unwrap()))
}

#[test]
fn damaged_row_is_reported_and_its_neighbours_are_read() {
    const AT: u64 = FIRST + 2;
    // How it shows when job 2 is asked for.
    let rows: [(&str, Change, Corruption); 14] = [
        ("row: empty", |t| rewrite(t, ROWS, AT, Vec::clear), Corruption::Truncated),
        ("row: head only", |t| rewrite(t, ROWS, AT, |row| row.truncate(5)), Corruption::Truncated),
        ("row: version", |t| rewrite(t, ROWS, AT, |row| row[0] = 9), Corruption::RowVersion(9)),
        ("row: checksum", |t| rewrite(t, ROWS, AT, |row| row[1] ^= 1), Corruption::Checksum),
        ("row: first byte", |t| rewrite(t, ROWS, AT, |row| row[9] ^= 1), Corruption::Checksum),
        ("row: last byte", |t| rewrite(t, ROWS, AT, |row| *row.last_mut().unwrap() ^= 1), Corruption::Checksum),
        ("row: cut", |t| rewrite(t, ROWS, AT, |row| row.truncate(row.len() - 1)), Corruption::Checksum),
        ("row: prolonged", |t| rewrite(t, ROWS, AT, |row| row.push(0)), Corruption::Checksum),
        ("row: another's", |t| put_in_place_of(t, ROWS, AT + 1, AT), Corruption::Checksum),
        ("leaf: empty", |t| rewrite(t, LEAVES, AT, Vec::clear), Corruption::Leaf),
        ("leaf: first byte", |t| rewrite(t, LEAVES, AT, |leaf| leaf[0] ^= 1), Corruption::Leaf),
        ("leaf: prolonged", |t| rewrite(t, LEAVES, AT, |leaf| leaf.push(0)), Corruption::Leaf),
        ("leaf: another's", |t| put_in_place_of(t, LEAVES, AT + 1, AT), Corruption::Leaf),
        ("leaf: a grant", |t| put_in_place_of(t, LEAVES, 1, AT), Corruption::Leaf),
    ];
    for (name, change, want) in rows {
        let disk = indexed();
        damage(&disk, change);
        let ledger = open(&disk);
        let reader = ledger.reader();
        assert_eq!(fault(reader.job(job(2))), (AT, want), "{name}");
        assert_eq!(fault(reader.receipts_of(&client(2), 0, 10)), (AT, want), "{name}");
        assert!(reader.job(job(1)).unwrap().is_some(), "{name}");
        assert_eq!(reader.receipts_of(&client(0), 0, 10).unwrap().rows.len(), 2, "{name}");
    }
}

#[test]
fn index_that_leads_astray_is_reported() {
    let disk = indexed();
    damage(&disk, |t| {
        let mut jobs = t.open_table(JOBS).unwrap();
        jobs.insert(&job(2).0, FIRST + 1).unwrap();
        jobs.insert(&job(3).0, 999).unwrap();
        let mut statements = t.open_table(STATEMENTS).unwrap();
        statements.insert((&customer(1), false, FIRST), ()).unwrap();
        t.open_table(OUTPUTS).unwrap().insert(FIRST, b"another output".as_slice()).unwrap();
        drop((jobs, statements));
        sum_up(t);
    });
    let ledger = open(&disk);
    assert_eq!(fault(ledger.reader().job(job(2))), (FIRST + 1, Corruption::Index));
    assert_eq!(fault(ledger.reader().job(job(3))), (999, Corruption::Missing));
    assert_eq!(fault(ledger.reader().receipts_of(&client(1), 0, 10)), (FIRST, Corruption::Index));
    assert_eq!(fault(ledger.reader().job(job(0))), (FIRST, Corruption::Output));
}

#[test]
fn tables_that_disagree_are_found_at_open() {
    let changes: [(&str, Change); 5] = [
        ("first leaf", |t| drop(t.open_table(LEAVES).unwrap().remove(0).unwrap())),
        ("job", |t| drop(t.open_table(JOBS).unwrap().remove(&job(1).0).unwrap())),
        ("attempt", |t| drop(t.open_table(ATTEMPTS).unwrap().remove((&job(5).0, 1)).unwrap())),
        ("row", |t| drop(t.open_table(ROWS).unwrap().remove(FIRST).unwrap())),
        // As if all were in the tables.
        ("recent job", |t| drop(t.open_table(META).unwrap().insert("indexed", 270u64.to_le_bytes().as_slice()).unwrap())),
    ];
    for (missing, change) in changes {
        let disk = disk_with_an_attempt();
        let size = open(&disk).tree().size;
        assert_eq!((size, indexed_below(&disk)), (270, Some(FIRST + 4)));
        damage(&disk, change);
        let error = Ledger::open_with(disk.backend(), gateway()).unwrap_err();
        assert!(matches!(error, OpenError::Inconsistent { .. }), "{missing}: {error}");
    }
}

#[test]
fn money_from_nowhere_is_found_at_open() {
    let disk = disk_with(0..4);
    damage(&disk, |t| {
        let mut accounts = t.open_table(ACCOUNTS).unwrap();
        let mut balance = *accounts.get(&customer(1)).unwrap().unwrap().value();
        balance[0] ^= 1;
        accounts.insert(&customer(1), &balance).unwrap();
    });
    let error = Ledger::open_with(disk.backend(), gateway()).unwrap_err();
    assert!(matches!(error, OpenError::Books(BooksError::Unbalanced(1 | -1))), "{error}");
}

/// Also by one who makes the sums fit.
#[test]
fn money_that_changed_hands_is_found_by_the_log() {
    let disk = disk_with(0..4);
    open(&disk).reader().check_books().unwrap();
    damage(&disk, |t| {
        let mut accounts = t.open_table(ACCOUNTS).unwrap();
        for (n, more) in [(0, 7), (1, -7)] {
            let mut balance = *accounts.get(&customer(n)).unwrap().unwrap().value();
            let posted = i128::from_le_bytes(*balance.first_chunk().unwrap()) + more;
            balance[..16].copy_from_slice(&posted.to_le_bytes());
            accounts.insert(&customer(n), &balance).unwrap();
        }
    });
    assert_eq!(altered(&disk), "accounts");
    damage(&disk, sum_up);
    let error = open(&disk).reader().check_books().unwrap_err();
    assert!(matches!(error, StoreError::Books(BooksError::Kept { .. })), "{error}");
}

/// What a start lets pass, the full check finds, whatever redb's own checksums say.
#[test]
fn what_a_table_lacks_or_has_too_much_is_found_by_the_log() {
    let changes: [(&str, Change, &str); 17] = [
        ("a row", |t| rewrite(t, ROWS, FIRST + 2, |row| row[20] ^= 1), "at index 6: the row's checksum"),
        ("another's row", |t| put_in_place_of(t, ROWS, FIRST + 1, FIRST), "at index 4: the row's checksum"),
        ("a leaf", |t| rewrite(t, LEAVES, FIRST, |leaf| leaf[9] ^= 1), "at index 4: the leaf is not the one in the tree"),
        (
            "a tile of no tree",
            |t| drop(t.open_table(TILES).unwrap().insert((0, 9), b"".as_slice())),
            "4 tiles where there should be 3",
        ),
        ("a job's index", |t| drop(t.open_table(JOBS).unwrap().insert(&job(2).0, 5)), "at index 6: an index leads to another's"),
        ("a job's name", |t| rename(t, JOBS, job(2).0, [7; 16]), "at index 6: it is missing"),
        (
            "an order's index",
            |t| drop(t.open_table(ORDERS).unwrap().insert(&[1; 16], 5)),
            "at index 2: an index leads to another's",
        ),
        ("an order's name", |t| rename(t, ORDERS, [1; 16], [7; 16]), "at index 2: it is missing"),
        (
            "an order too many",
            |t| drop(t.open_table(ORDERS).unwrap().insert(&[7; 16], 2)),
            "264 orders where there should be 263",
        ),
        ("an output", |t| rewrite(t, OUTPUTS, FIRST, |output| output[0] ^= 1), "at index 4: the output is not the one"),
        (
            "an output of no job",
            |t| drop(t.open_table(OUTPUTS).unwrap().insert(1, b"".as_slice())),
            "3 outputs where there should be 2",
        ),
        (
            "a statement",
            |t| drop(t.open_table(STATEMENTS).unwrap().remove((&customer(1), false, FIRST + 1))),
            "at index 5: an index",
        ),
        (
            "a statement too many",
            |t| drop(t.open_table(STATEMENTS).unwrap().insert((&customer(1), true, 0), ())),
            "12 statements where",
        ),
        ("no terms", |t| drop(t.open_table(META).unwrap().remove("terms")), "at index 0: an index leads to another's"),
        ("an account", |t| drop(t.open_table(ACCOUNTS).unwrap().insert(&[9; 33], &[0; 32])), "does not decode"),
        (
            "an account too many",
            |t| drop(t.open_table(ACCOUNTS).unwrap().insert(&[3; 33], &[0; 32])),
            "7 accounts where there should be 6",
        ),
        (
            "a settled job's hold",
            |t| drop(t.open_table(HOLDS).unwrap().insert(&job(1).0, (&client(1).0, 0, 6))),
            "was settled before",
        ),
    ];
    for (what, change, want) in changes {
        let disk = indexed();
        damage(&disk, change);
        damage(&disk, sum_up);
        let error = open(&disk).reader().check_books().unwrap_err().to_string();
        assert!(error.contains(want), "{what}: {error}");
    }
}

/// An account that was never granted anything has a row once something was held for it, be it nothing: each row is accounted for.
#[test]
fn account_that_is_empty_is_missed_where_it_is_missing() {
    let granted = |n: u8| {
        Operation::Grant(Grant {
            id: TransferId([n; 16]),
            customer: PublicKey([n; 32]),
            amount: Microcredits(0),
            time: UnixMillis(5),
        })
    };
    let held =
        |n: u8| Hold { job: job(u64::from(n)), customer: PublicKey([n; 32]), amount: Microcredits(0), expires: UnixMillis(9) };
    let void = |n: u8| Operation::Void {
        job: job(u64::from(n)),
        customer: PublicKey([n; 32]),
        reason: VoidReason::Restarted,
        time: UnixMillis(6),
    };
    let disk = indexed();
    let operations = [granted(101), Operation::Hold(held(102)), Operation::Hold(held(103)), void(103)];
    assert!(open(&disk).apply(&operations).unwrap().iter().all(Result::is_ok));
    open(&disk).reader().check_books().unwrap();
    let image = disk.image();
    for n in 101..104 {
        let disk = Disk::with_image(image.clone());
        let mut key = [n; 33];
        key[0] = 2;
        damage(&disk, |t| drop(t.open_table(ACCOUNTS).unwrap().remove(&key).unwrap().unwrap()));
        damage(&disk, sum_up);
        let error = open(&disk).reader().check_books().unwrap_err().to_string();
        assert!(error.contains("8 accounts where there should be 9"), "{n}: {error}");
    }
}

/// As [`indexed`], and behind that an attempt at job 5 that was paid and has left a hold, and job 8.
fn disk_with_an_attempt() -> Disk {
    let disk = indexed();
    let operations = [Operation::Hold(hold_of(5, 400, 90)), attempt(trying(5, 1, 0)), hold(&entry(8)), settle(entry(8))];
    let outcomes = open(&disk).apply(&operations).unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    disk
}

#[test]
fn what_is_wrong_about_a_paid_attempt_is_found_by_the_log() {
    const AT: u64 = FIRST + 4 + GRANTS_BEHIND;
    let changes: [(&str, Change, &str); 5] = [
        (
            "its index",
            |t| drop(t.open_table(ATTEMPTS).unwrap().insert((&job(5).0, 1), FIRST)),
            "at index 268: an index leads to another's",
        ),
        (
            "its number",
            |t| {
                let mut attempts = t.open_table(ATTEMPTS).unwrap();
                attempts.remove((&job(5).0, 1)).unwrap();
                attempts.insert((&job(5).0, 2), AT).unwrap();
            },
            "at index 268: it is missing",
        ),
        ("its row", |t| rewrite(t, ROWS, AT, |row| row[20] ^= 1), "at index 268: the row's checksum"),
        ("its job's hold", |t| change_hold(t, None), "microcredits held for job"),
        ("what it left of that", |t| change_hold(t, Some(7)), "7 microcredits held for job"),
    ];
    open(&disk_with_an_attempt()).reader().check_books().unwrap();
    for (what, change, want) in changes {
        let disk = disk_with_an_attempt();
        damage(&disk, change);
        damage(&disk, sum_up);
        let error = open(&disk).reader().check_books().unwrap_err().to_string();
        assert!(error.contains(want), "{what}: {error}");
    }
}

/// Takes the hold of job 5 away, or makes it another, and its customer's balance fit that.
fn change_hold(transaction: &WriteTransaction, amount: Option<u64>) {
    let mut holds = transaction.open_table(HOLDS).unwrap();
    let before = holds.remove(&job(5).0).unwrap().unwrap().value().1;
    if let Some(amount) = amount {
        holds.insert(&job(5).0, (&client(5).0, amount, 90)).unwrap();
    }
    let mut accounts = transaction.open_table(ACCOUNTS).unwrap();
    let mut balance = *accounts.get(&customer(5)).unwrap().unwrap().value();
    let held = i128::from_le_bytes(*balance.last_chunk().unwrap()) - i128::from(before) + i128::from(amount.unwrap_or(0));
    balance[16..].copy_from_slice(&held.to_le_bytes());
    accounts.insert(&customer(5), &balance).unwrap();
}

fn change_sum(transaction: &WriteTransaction, row: &str) {
    let mut meta = transaction.open_table(META).unwrap();
    let mut sum = meta.get(row).unwrap().unwrap().value().to_vec();
    sum[15] ^= 1;
    meta.insert(row, sum.as_slice()).unwrap();
}

/// Gives an entry another key.
fn rename(transaction: &WriteTransaction, table: TableDefinition<'_, &'static [u8; 16], u64>, from: [u8; 16], to: [u8; 16]) {
    let mut table = transaction.open_table(table).unwrap();
    let index = table.remove(&from).unwrap().unwrap().value();
    table.insert(&to, index).unwrap();
}

/// Which table a start says is not the one that was written.
#[track_caller]
fn altered(disk: &Disk) -> &'static str {
    match Ledger::open_with(disk.backend(), gateway()).unwrap_err() {
        OpenError::Store(StoreError::Altered { what }) => what,
        error => panic!("{error}"),
    }
}

/// A bit of the tree's edge made a gateway sign another root for leaves that it had signed before: proof of a misbehaviour that was none.
#[test]
fn edge_that_is_not_over_its_leaves_is_found_at_open() {
    const LAST: u64 = FIRST + 4 + GRANTS_BEHIND - 1;
    let grown = || {
        let disk = indexed();
        // What came last is read again by a start. Here it is not, as where much more has come.
        damage(&disk, |t| {
            let all = (FIRST + 4 + GRANTS_BEHIND).to_le_bytes();
            drop(t.open_table(META).unwrap().insert("indexed", all.as_slice()).unwrap());
        });
        disk
    };
    open(&grown());
    let changes: [(&str, Change, u64, Corruption); 5] = [
        ("a hash of a leaf", |t| rewrite(t, TILES, (0, 1), |tile| tile[100] ^= 4), 256 + 3, Corruption::Leaf),
        ("the last leaf", |t| rewrite(t, LEAVES, LAST, |leaf| leaf[9] ^= 1), LAST, Corruption::Leaf),
        ("a hash of a tile", |t| rewrite(t, TILES, (1, 0), |tile| tile[31] ^= 128), 0, Corruption::Hashes { level: 0 }),
        ("the tile under it", |t| rewrite(t, TILES, (0, 0), |tile| tile[8_191] ^= 1), 0, Corruption::Hashes { level: 0 }),
        ("a tile cut short", |t| rewrite(t, TILES, (0, 0), |tile| tile.truncate(8_191)), 0, Corruption::Tile { level: 0 }),
    ];
    for (what, change, at, want) in changes {
        let disk = grown();
        damage(&disk, change);
        match Ledger::open_with(disk.backend(), gateway()).unwrap_err() {
            OpenError::Store(error @ StoreError::Corrupt { index, fault }) => {
                assert_eq!((index, fault), (at, want), "{what}");
                assert!(error.to_string().contains("adit ledger restore"), "{error}");
            }
            error => panic!("{what}: {error}"),
        }
    }
}

/// Hashes that the root is not made of, as they are under a full tile of full tiles.
#[test]
fn hash_inside_the_tree_that_is_not_its_leafs_is_found_when_it_is_read() {
    let disk = Disk::default();
    let mut ledger = open(&disk);
    assert!(ledger.apply(&grants_behind(65_600)).unwrap().iter().all(Result::is_ok));
    let head = ledger.tree();
    drop(ledger);
    damage(&disk, |t| {
        rewrite(t, TILES, (0, 3), |tile| tile[33] ^= 1);
        // As where much more has come since.
        drop(t.open_table(META).unwrap().insert("indexed", 65_604u64.to_le_bytes().as_slice()).unwrap());
    });
    let ledger = open(&disk);
    assert_eq!(ledger.tree(), head);
    assert_eq!(fault(ledger.reader().leaf(769)), (769, Corruption::Leaf));
    drop(ledger);
    damage(&disk, |t| {
        rewrite(t, TILES, (0, 3), |tile| tile[33] ^= 1);
        rewrite(t, TILES, (1, 0), |tile| tile[33] ^= 1);
    });
    let error = Ledger::open_with(disk.backend(), gateway()).unwrap_err();
    let OpenError::Store(StoreError::Corrupt { index: 0, fault }) = error else { panic!("{error}") };
    assert_eq!(fault, Corruption::Hashes { level: 1 });
}

/// An order, a job or an attempt whose entry cannot be found any more was carried out, or paid, once more when it came again.
#[test]
fn what_was_done_is_known_or_the_ledger_is_not_opened() {
    let disk = disk_with_an_attempt();
    let due: Vec<Operation> = [
        grants_behind(GRANTS_BEHIND),
        vec![
            Operation::Grant(grant(1)),
            hold(&entry(2)),
            settle(entry(2)),
            hold(&rival(3)),
            settle(rival(3)),
            attempt(trying(5, 1, 0)),
        ],
    ]
    .concat();
    let nothing_new = |image: Vec<u8>| match Ledger::open_with(Disk::with_image(image).backend(), gateway()) {
        Err(error) => {
            assert!(error.to_string().contains("adit ledger restore"), "{error}");
            false
        }
        Ok(mut ledger) => {
            let size = ledger.tree().size;
            if ledger.apply(&due).is_ok() {
                assert_eq!(ledger.tree().size, size, "something was done again");
            }
            true
        }
    };
    let image = disk.image();
    assert!(nothing_new(image.clone()));
    let orders = (0..GRANTS_BEHIND).step_by(17).map(|n| u128::from(1_000 + n).to_le_bytes().to_vec());
    let jobs = [2, 3, 5].map(|n| job(n).0.to_vec());
    let mut refused = 0;
    for (n, key) in orders.chain([vec![1; 16]]).chain(jobs).enumerate() {
        // In its table, over its table's pages, in its leaf, and in pages that were left.
        let copies: Vec<_> = (0..image.len() - key.len()).filter(|at| image[*at..].starts_with(&key)).collect();
        assert!(!copies.is_empty());
        for at in copies {
            let mut image = image.clone();
            image[at + n % 16] ^= 1 << (n % 8);
            refused += u64::from(!nothing_new(image));
        }
    }
    assert!(refused > GRANTS_BEHIND / 17, "{refused}");
}

/// Each table by itself, and what its sum is kept in.
#[test]
fn table_of_what_was_done_that_changed_is_named_at_open() {
    let changes: [(&str, Change); 17] = [
        ("orders", |t| rename(t, ORDERS, [1; 16], [9; 16])),
        ("orders", |t| drop(t.open_table(ORDERS).unwrap().insert(&[1; 16], 3).unwrap())),
        ("orders", |t| drop(t.open_table(ORDERS).unwrap().insert(&[9; 16], 3).unwrap())),
        ("orders", |t| drop(t.open_table(META).unwrap().remove("orders sum").unwrap())),
        ("settled jobs", |t| rename(t, JOBS, job(2).0, [9; 16])),
        ("settled jobs", |t| drop(t.open_table(JOBS).unwrap().insert(&job(2).0, 5).unwrap())),
        ("settled jobs", |t| change_sum(t, "jobs sum")),
        ("paid attempts", |t| {
            let mut attempts = t.open_table(ATTEMPTS).unwrap();
            let index = attempts.remove((&job(5).0, 1)).unwrap().unwrap().value();
            attempts.insert((&job(5).0, 2), index).unwrap();
        }),
        ("paid attempts", |t| change_sum(t, "attempts sum")),
        ("accounts", |t| {
            let mut accounts = t.open_table(ACCOUNTS).unwrap();
            let balance = *accounts.remove(&customer(1)).unwrap().unwrap().value();
            accounts.insert(&[9; 33], &balance).unwrap();
        }),
        ("accounts", |t| drop(t.open_table(ACCOUNTS).unwrap().insert(&[9; 33], &[0; 32]).unwrap())),
        ("accounts", |t| change_sum(t, "accounts sum")),
        ("accounts", |t| drop(t.open_table(META).unwrap().remove("accounts sum").unwrap())),
        ("holds", |t| change_job_of_hold(t, [9; 16], 90)),
        ("holds", |t| change_job_of_hold(t, job(5).0, 91)),
        ("holds", |t| drop(t.open_table(HOLDS).unwrap().insert(&[9; 16], (&client(1).0, 0, 6)).unwrap())),
        ("holds", |t| change_sum(t, "holds sum")),
    ];
    for (table, change) in changes {
        let disk = disk_with_an_attempt();
        damage(&disk, change);
        assert_eq!(altered(&disk), table);
    }
}

/// Makes the hold of job 5 another job's, or one that ends at another time.
fn change_job_of_hold(transaction: &WriteTransaction, to: [u8; 16], expires: u64) {
    let mut holds = transaction.open_table(HOLDS).unwrap();
    let amount = holds.remove(&job(5).0).unwrap().unwrap().value().1;
    holds.insert(&to, (&client(5).0, amount, expires)).unwrap();
}

/// A balance under another key was another's money, and a hold under another a job's that nobody had asked for.
#[test]
fn every_flipped_byte_of_an_account_or_a_hold_is_found_at_open() {
    let disk = disk_with_an_attempt();
    let image = disk.image();
    let mut flips = flips_of(&disk, ACCOUNTS);
    flips.extend(flips_of(&disk, HOLDS));
    assert_eq!(flips.len(), 6 * (33 + 32) + 16 + 48);
    for (what, flipped) in flips {
        let error = Ledger::open_with(flipped.backend(), gateway()).expect_err(&what).to_string();
        assert!(error.contains("adit ledger restore"), "{what}: {error}");
    }
    assert_eq!(disk.image(), image);
}

/// The disk once for each byte of each key and each value of a table, with a bit of that flipped, and redb's checksums right.
fn flips_of<K: Key + 'static, V: Value + 'static>(disk: &Disk, definition: TableDefinition<'_, K, V>) -> Vec<(String, Disk)> {
    let image = disk.image();
    let rows: Vec<(Vec<u8>, Vec<u8>)> = {
        let copy = Disk::with_image(image.clone());
        let database = Database::builder().create_with_backend(copy.backend()).unwrap();
        let table = database.begin_read().unwrap().open_table(definition).unwrap();
        let bytes = |row: (redb::AccessGuard<'_, K>, redb::AccessGuard<'_, V>)| {
            (K::as_bytes(&row.0.value()).as_ref().to_vec(), V::as_bytes(&row.1.value()).as_ref().to_vec())
        };
        table.iter().unwrap().map(|row| bytes(row.unwrap())).collect()
    };
    let mut flips = Vec::new();
    for (key, value) in rows {
        for at in 0..key.len() + value.len() {
            let (mut new_key, mut new_value) = (key.clone(), value.clone());
            let byte = if at < key.len() { &mut new_key[at] } else { &mut new_value[at - key.len()] };
            *byte ^= 1 << (at % 8);
            let flipped = Disk::with_image(image.clone());
            damage(&flipped, |t| {
                let mut table = t.open_table(definition).unwrap();
                table.remove(K::from_bytes(&key)).unwrap();
                table.insert(K::from_bytes(&new_key), V::from_bytes(&new_value)).unwrap();
            });
            flips.push((format!("byte {at} of {key:02x?}"), flipped));
        }
    }
    flips
}

/// Sums that damage made too large are damage, and neither wrap around to zero nor end the process.
#[test]
fn balances_whose_sum_does_not_fit_are_found_at_open() {
    for (half, want) in [(0, "the sum over all accounts does not fit 128 bits"), (16, "does not fit 128 bits")] {
        let disk = disk_with(0..4);
        damage(&disk, |t| {
            let mut accounts = t.open_table(ACCOUNTS).unwrap();
            for (n, value) in [(0, i128::MAX), (1, i128::MAX), (2, 2)] {
                let mut balance = *accounts.get(&customer(n)).unwrap().unwrap().value();
                let value = if half == 0 { value } else { i128::MIN };
                balance[half..half + 16].copy_from_slice(&value.to_le_bytes());
                accounts.insert(&customer(n), &balance).unwrap();
            }
            t.open_table(HOLDS).unwrap().insert(&[1; 16], (&client(1).0, 5, 6)).unwrap();
        });
        let error = Ledger::open_with(disk.backend(), gateway()).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
}

#[test]
fn hold_that_no_balance_knows_of_is_found_at_open() {
    let disk = disk_with(0..4);
    damage(&disk, |t| {
        t.open_table(HOLDS).unwrap().insert(&[1; 16], (&client(1).0, 5, 6)).unwrap();
    });
    let error = Ledger::open_with(disk.backend(), gateway()).unwrap_err();
    assert!(matches!(error, OpenError::Books(BooksError::Held { held: -5, .. })), "{error}");
}

#[test]
fn tile_that_is_not_over_all_leaves_is_found_at_open() {
    let changes: [Change; 4] = [
        |t| rewrite(t, TILES, (0, 0), |tile| tile.truncate(tile.len() - 31)),
        |t| rewrite(t, TILES, (0, 0), |tile| tile.extend([0; 32])),
        |t| drop(t.open_table(TILES).unwrap().remove((0, 0)).unwrap()),
        |t| drop(t.open_table(LEAVES).unwrap().remove(FIRST + 3).unwrap()),
    ];
    for change in changes {
        let disk = disk_with(0..4);
        damage(&disk, change);
        let error = Ledger::open_with(disk.backend(), gateway()).unwrap_err();
        let OpenError::Store(StoreError::Corrupt { index: 0, fault }) = error else { panic!("{error}") };
        assert_eq!(fault, Corruption::Tile { level: 0 });
    }
}

/// The ledger cannot say whether a receipt is the recorded one when it cannot read that, so it does not go on.
#[test]
fn damage_met_while_appending_stops_the_ledger() {
    let disk = disk_with(0..4);
    damage(&disk, |t| rewrite(t, ROWS, FIRST + 2, |row| row[20] ^= 1));
    let mut ledger = open(&disk);
    let corrupt =
        |cause: &StoreError| matches!(cause, StoreError::Corrupt { index, fault: Corruption::Checksum } if *index == FIRST + 2);

    let error = append(&mut ledger, &[entry(4), rival(2), entry(5)]).unwrap_err();
    assert!(matches!(&error, CommitError::Failed { cause } if corrupt(cause)), "{error}");
    let error = append(&mut ledger, &[entry(6)]).unwrap_err();
    assert!(matches!(&error, CommitError::Stopped { cause } if corrupt(cause)), "{error}");

    assert_eq!(ledger.reader().len().unwrap(), FIRST + 4);
    assert_eq!(ledger.reader().job(job(4)).unwrap(), None);
    assert!(ledger.reader().job(job(1)).unwrap().is_some());
}

/// Under the database too: redb trusts a file that was closed cleanly.
#[test]
fn every_flipped_byte_of_a_stored_receipt_is_found() {
    let receipt = entry(1).receipt.signed().public().to_bytes();
    // Where the leaf is new, its ledger is not opened: what leads to it is read from it.
    for (disk, index, is_new) in [(disk_with([1]), FIRST, true), (indexed(), FIRST + 1, false)] {
        let image = disk.image();
        // Pages that were written anew are there in their former state too.
        let copies: Vec<_> = (0..image.len() - receipt.len()).filter(|at| image[*at..].starts_with(&receipt)).collect();
        assert!(!copies.is_empty());
        for i in 0..receipt.len() {
            let mut image = image.clone();
            copies.iter().for_each(|at| image[at + i] ^= 0x10);
            let found = match Ledger::open_with(Disk::with_image(image).backend(), gateway()) {
                Err(OpenError::Store(StoreError::Corrupt { index, fault })) if is_new => (index, fault),
                Err(error) => panic!("{error}"),
                Ok(ledger) => fault(ledger.reader().job(job(1))),
            };
            assert_eq!(found, (index, Corruption::Leaf), "byte {i}");
        }
    }
}

/// Of the newest leaves, what leads to them is in memory alone; a ledger that is opened reads it from them.
#[test]
fn newest_leaf_that_is_damaged_is_found_at_open() {
    let changes: [(&str, Change, Corruption); 3] = [
        ("a leaf", |t| rewrite(t, LEAVES, FIRST + 4, |leaf| leaf[9] ^= 1), Corruption::Leaf),
        ("its hash", |t| rewrite(t, TILES, (0, 0), |tile| tile[8 * 32] ^= 1), Corruption::Leaf),
        ("another's index", |t| drop(t.open_table(JOBS).unwrap().insert(&job(8).0, FIRST).unwrap()), Corruption::Index),
    ];
    for (what, change, want) in changes {
        let disk = disk_with_an_attempt();
        damage(&disk, change);
        match Ledger::open_with(disk.backend(), gateway()).unwrap_err() {
            OpenError::Store(StoreError::Corrupt { fault, .. }) => assert_eq!(fault, want, "{what}"),
            error => panic!("{what}: {error}"),
        }
    }
}

/// The tables may say that they lack more than they do, as while a sweep is on, and that is all; where a sweep never said it, that is found.
#[test]
fn leaves_that_are_read_again_though_they_are_in_the_tables_change_nothing() {
    let due = |disk: &Disk| {
        let ledger = open(disk);
        let reader = ledger.reader();
        let jobs: Vec<_> = (0..9).map(|n| reader.job(job(n)).unwrap()).collect();
        let receipts: Vec<_> = (0..3).map(|n| reader.receipts_of(&client(n), 0, 9).unwrap()).collect();
        let statements: Vec<_> = (0..3).map(|n| reader.statement(Account::Customer(client(n)), 3, 9).unwrap()).collect();
        (jobs, receipts, statements, reader.check_books().unwrap())
    };
    let disk = disk_with_an_attempt();
    let before = due(&disk);
    assert_eq!(before.0.iter().flatten().count(), 5);
    let image = disk.image();
    for from in [0, 1, FIRST + 3] {
        let disk = Disk::with_image(image.clone());
        damage(&disk, |t| drop(t.open_table(META).unwrap().insert("indexed", from.to_le_bytes().as_slice()).unwrap()));
        let error = Ledger::open_with(disk.backend(), gateway()).unwrap_err();
        assert!(matches!(error, OpenError::Store(StoreError::Altered { what: "settled jobs" })), "{from}: {error}");
        damage(&disk, sum_up);
        assert_eq!(due(&disk), before, "{from}");
    }
    damage(&disk, |t| drop(t.open_table(META).unwrap().insert("indexed", 271u64.to_le_bytes().as_slice()).unwrap()));
    let error = Ledger::open_with(disk.backend(), gateway()).unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError::Corrupt { index: 271, .. })), "{error}");
}

/// Leaves and rows that only readers look at: a gateway went on recording while it told them that its ledger is damaged.
#[test]
fn damage_that_a_reader_finds_stops_the_writer() {
    type Read = fn(&Ledger) -> bool;
    let rows: [(Change, Read); 5] = [
        (|transaction| rewrite(transaction, LEAVES, FIRST, |leaf| leaf[9] ^= 1), |ledger| ledger.reader().leaf(FIRST).is_err()),
        (
            |transaction| rewrite(transaction, LEAVES, FIRST, |leaf| leaf[9] ^= 1),
            |ledger| ledger.reader().leaves(0, 256).is_err(),
        ),
        (|transaction| rewrite(transaction, ROWS, FIRST, |row| row[9] ^= 1), |ledger| ledger.reader().job(job(0)).is_err()),
        (
            |transaction| rewrite(transaction, ROWS, FIRST, |row| row[9] ^= 1),
            |ledger| ledger.reader().receipts_of(&client(0), 0, 9).is_err(),
        ),
        (|transaction| rewrite(transaction, LEAVES, FIRST, |leaf| leaf[9] ^= 1), |ledger| ledger.reader().check_books().is_err()),
    ];
    for (n, (change, finds)) in rows.into_iter().enumerate() {
        let disk = indexed();
        damage(&disk, change);
        let mut ledger = open(&disk);
        let told = Arc::new(Mutex::new(Vec::new()));
        ledger.reader().on_damage({
            let told = Arc::clone(&told);
            move |words| told.lock().unwrap().push(words.to_owned())
        });
        let more = |n| [Operation::Grant(Grant { id: TransferId([n; 16]), ..grant(1) })];
        assert!(ledger.apply(&more(201)).unwrap()[0].is_ok(), "row {n}: nobody has found it");
        // What is asked for and is not there is no damage.
        assert!(ledger.reader().leaf(u64::MAX).unwrap().is_none() && ledger.reader().prove_leaf(5, 4).unwrap().is_none());
        assert!(ledger.reader().found_damage().is_none());

        assert!(finds(&ledger) && finds(&ledger), "row {n}");
        let size = ledger.tree().size;
        let error = ledger.apply(&more(202)).unwrap_err();
        assert!(matches!(&error, CommitError::Stopped { cause } if cause.is_damage()), "row {n}: {error}");
        assert_eq!((ledger.tree().size, ledger.reader().len().unwrap()), (size, size));
        let [words] = told.lock().unwrap().clone().try_into().unwrap();
        assert!(words.contains("the ledger is damaged") && words.ends_with("restore a backup (adit ledger restore)"), "{words}");
        assert_eq!(ledger.reader().found_damage().unwrap().to_string(), words);
    }
}

/// What nobody read was not found until somebody did. Each row is one that a start lets pass, and that is written on top of.
#[test]
fn what_nobody_reads_is_found_by_a_scrub() {
    let rows: [(&str, Change, &str); 10] = [
        ("a leaf", |t| rewrite(t, LEAVES, FIRST, |leaf| leaf[9] ^= 1), "at index 4: the leaf is not the one in the tree"),
        ("a row", |t| rewrite(t, ROWS, FIRST + 2, |row| row[20] ^= 1), "at index 6: the row's checksum"),
        ("an output", |t| rewrite(t, OUTPUTS, FIRST, |output| output[0] ^= 1), "at index 4: the output is not the one"),
        (
            "an output of no job",
            |t| drop(t.open_table(OUTPUTS).unwrap().insert(1, b"".as_slice())),
            "3 outputs where there should be 2",
        ),
        (
            "whose a statement's line is",
            |t| move_statement(t, (&customer(1), false, FIRST + 1), (&customer(2), false, FIRST + 1)),
            "at index 5: an index leads to another's",
        ),
        (
            "where a statement's line is",
            |t| move_statement(t, (&customer(1), false, FIRST + 1), (&customer(1), false, FIRST + 1 + (1 << 40))),
            "at index 5: an index leads to another's",
        ),
        (
            "a line too many",
            |t| drop(t.open_table(STATEMENTS).unwrap().insert((&customer(1), true, 0), ())),
            "12 statements where there should be 11",
        ),
        (
            "a line of a new leaf too many",
            |t| drop(t.open_table(STATEMENTS).unwrap().insert((&customer(1), false, 200), ())),
            "at index 200: an index leads to another's",
        ),
        (
            "a job's name",
            |t| {
                rename(t, JOBS, job(2).0, [7; 16]);
                sum_up(t);
            },
            "at index 6: it is missing",
        ),
        (
            "an order too many",
            |t| {
                t.open_table(ORDERS).unwrap().insert(&[7; 16], 2).unwrap();
                sum_up(t);
            },
            "264 orders where there should be 263",
        ),
    ];
    for (what, change, want) in rows {
        for writes in [false, true] {
            let disk = indexed();
            assert_eq!(scrub(&mut open(&disk), |_| {}).unwrap(), FIRST + 4 + GRANTS_BEHIND);
            damage(&disk, change);
            let mut ledger = open(&disk);
            let mut next = 0;
            let error = scrub(&mut ledger, |ledger| {
                if writes {
                    ledger.apply(&[grant_of(next)]).unwrap()[0].as_ref().unwrap();
                    next += 1;
                }
            });
            let error = error.unwrap_err().to_string();
            assert!(error.contains(want) || writes && what == "an order too many", "{what}: {error}");
            let stopped = ledger.apply(&[grant_of(900)]).unwrap_err();
            assert!(matches!(&stopped, CommitError::Stopped { cause } if cause.to_string() == error), "{what}: {stopped}");
        }
    }
}

fn move_statement(transaction: &WriteTransaction, from: (&[u8; 33], bool, u64), to: (&[u8; 33], bool, u64)) {
    let mut statements = transaction.open_table(STATEMENTS).unwrap();
    statements.remove(from).unwrap().unwrap();
    statements.insert(to, ()).unwrap();
}

/// A line of another's leaf, or of none, was part of a statement.
#[test]
fn statement_with_a_line_that_is_not_the_accounts_is_damage() {
    let rows: [(&str, Change, Corruption, u64); 4] = [
        (
            "another's",
            |t| drop(t.open_table(STATEMENTS).unwrap().insert((&customer(1), false, FIRST), ())),
            Corruption::Index,
            FIRST,
        ),
        (
            "of another kind",
            |t| drop(t.open_table(STATEMENTS).unwrap().insert((&customer(1), true, FIRST + 1), ())),
            Corruption::Index,
            FIRST + 1,
        ),
        ("of nobody", |t| drop(t.open_table(STATEMENTS).unwrap().insert((&customer(1), true, 0), ())), Corruption::Index, 0),
        (
            "of no leaf",
            |t| drop(t.open_table(STATEMENTS).unwrap().insert((&customer(1), false, 999), ())),
            Corruption::Missing,
            999,
        ),
    ];
    for (what, change, want, at) in rows {
        let disk = indexed();
        damage(&disk, change);
        let ledger = open(&disk);
        let reader = ledger.reader();
        assert!(!reader.statement(Account::Customer(client(0)), 0, 999).unwrap().is_empty(), "{what}");
        assert_eq!(fault(reader.statement(Account::Customer(client(1)), 0, 999)), (at, want), "{what}");
        assert!(reader.found_damage().is_some(), "{what}");
    }
}

/// A hash that had flipped in a full tile was served, and whoever checked the log took the gateway for a liar. A start compares only the
/// tiles under the edge, which is above the first 65,536 leaves here.
#[test]
fn full_tile_that_is_not_the_one_under_the_level_above_is_no_answer_and_found_by_a_scrub() {
    let disk = Disk::default();
    let mut ledger = open(&disk);
    let operations: Vec<Operation> = (0..66_000).map(grant_of).collect();
    operations.chunks(6_000).for_each(|batch| assert!(ledger.apply(batch).unwrap().iter().all(Result::is_ok)));
    assert_eq!(ledger.reader().tile(0, 5, 256).unwrap().unwrap().len(), 32 * 256);
    drop(ledger);
    let image = disk.image();
    for (at, width) in [(0, 256), (255, 256), (200, 9)] {
        let disk = Disk::with_image(image.clone());
        damage(&disk, |t| rewrite(t, TILES, (0, 5), |tile| tile[32 * at + 3] ^= 4));
        let reader = open(&disk).reader().clone();
        assert!(
            [(0, 4, 256), (0, 6, 3), (1, 0, 256), (1, 1, 1)].iter().all(|(l, n, w)| reader.tile(*l, *n, *w).unwrap().is_some())
        );
        assert!(reader.found_damage().is_none());
        assert_eq!(fault(reader.tile(0, 5, width)), (5, Corruption::Hashes { level: 0 }), "hash {at}, {width} asked for");
        assert!(reader.found_damage().is_some());
        drop(reader);
        let found = fault(scrub(&mut open(&disk), |_| {}));
        assert_eq!(found, (5 * 256 + at as u64, Corruption::Leaf));
    }
}
