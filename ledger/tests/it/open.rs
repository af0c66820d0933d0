//! What is a ledger, whose it is, and who may have it open.

use std::fs;
use std::path::PathBuf;

use adit_ledger::{Appended, FORMAT_VERSION, Ledger, OpenError, StoreError};
use adit_protocol::PublicKey;
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use crate::disk::{Disk, Fault, Survivors};
use crate::fixture::{FIRST, append, begun, disk_with, entries, entry, gateway, job, open, stored};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

fn file() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger.redb");
    (dir, path)
}

fn raw(disk: &Disk) -> Database {
    Database::builder().create_with_backend(disk.backend()).unwrap()
}

fn set_meta(disk: &Disk, key: &str, value: &[u8]) {
    let transaction = raw(disk).begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(key, value).unwrap();
    transaction.commit().unwrap();
}

fn refusal(disk: &Disk) -> OpenError {
    Ledger::open_with(disk.backend(), gateway()).unwrap_err()
}

#[test]
fn reopened_ledger_goes_on_where_it_ended() {
    let (_dir, path) = file();
    for round in 0..4 {
        let mut ledger = begun(Ledger::open(&path, gateway()).unwrap());
        assert_eq!(ledger.reader().len().unwrap(), FIRST + round * 3);
        let outcomes = append(&mut ledger, &entries(round * 3..round * 3 + 3)).unwrap();
        assert_eq!(outcomes[0], Ok(Appended::New { index: FIRST + round * 3 }));
    }
    let ledger = Ledger::open(&path, gateway()).unwrap();
    for n in 0..12 {
        assert_eq!(ledger.reader().job(job(n)).unwrap(), Some(stored(n, &entry(n))));
    }
}

/// Which a plain start does not see: it is read when somebody asks.
#[test]
fn checked_open_reads_the_whole_file() {
    let (_dir, path) = file();
    append(&mut begun(Ledger::open_checked(&path, gateway()).unwrap()), &entries(0..3)).unwrap();
    assert_eq!(Ledger::open_checked(&path, gateway()).unwrap().reader().len().unwrap(), FIRST + 3);
    let mut bytes = fs::read(&path).unwrap();
    let reason = entry(1).reason.into_bytes();
    let at = bytes.windows(reason.len()).position(|window| window == reason).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    Ledger::open(&path, gateway()).unwrap();
    let error = Ledger::open_checked(&path, gateway()).unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError::Database(redb::Error::Corrupted(_)))), "{error}");
}

#[test]
fn second_opener_is_refused_until_the_last_handle_is_gone() {
    let (_dir, path) = file();
    let refused = || match Ledger::open(&path, gateway()) {
        Err(OpenError::AlreadyOpen { path: named }) => named == path,
        _ => false,
    };
    let ledger = Ledger::open(&path, gateway()).unwrap();
    assert!(refused());
    let reader = ledger.reader().clone();
    drop(ledger);
    assert!(refused());
    drop(reader);
    Ledger::open(&path, gateway()).unwrap();
}

#[test]
fn ledger_of_another_gateway_is_refused() {
    let disk = disk_with(0..1);
    let other = PublicKey([8; 32]);
    let error = Ledger::open_with(disk.backend(), other).unwrap_err();
    assert!(matches!(error, OpenError::ForeignGateway { owner, given } if owner == gateway() && given == other), "{error}");
    assert_eq!(open(&disk).reader().len().unwrap(), FIRST + 1);
}

#[test]
fn unknown_format_is_refused() {
    let disk = disk_with(0..1);
    set_meta(&disk, "format", &(FORMAT_VERSION + 1).to_le_bytes());
    assert!(matches!(refusal(&disk), OpenError::Format { found } if found == FORMAT_VERSION + 1));
}

#[test]
fn what_is_no_ledger_is_refused() {
    let stranger = Disk::default();
    let transaction = raw(&stranger).begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("leaves")).unwrap();
    transaction.commit().unwrap();
    assert!(matches!(refusal(&stranger), OpenError::NotALedger));

    for key in ["format", "gateway"] {
        let odd = disk_with(0..1);
        set_meta(&odd, key, b"odd");
        assert!(matches!(refusal(&odd), OpenError::NotALedger), "{key}");
    }

    let (_dir, path) = file();
    fs::write(&path, "not a database at all").unwrap();
    let error = Ledger::open(&path, gateway()).unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError::Database(_))), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"not a database at all");
}

/// A machine that lost power while its first ledger was made has one after its next start, without anyone's help.
#[test]
fn ledger_whose_making_was_cut_short_is_made_again() {
    let whole = disk_with([]);
    for n in 1..=whole.operations() {
        let disk = Disk::default();
        disk.fail_at(n, Fault::Dead);
        let _ = Ledger::open_with(disk.backend(), gateway());
        for survivors in [Survivors::Nothing, Survivors::Everything, Survivors::Torn(n)] {
            let (_dir, path) = file();
            let draft = path.with_added_extension("new");
            fs::write(&draft, disk.after_power_cut(survivors).image()).unwrap();
            let mut ledger = begun(Ledger::open(&path, gateway()).unwrap());
            append(&mut ledger, &[entry(0)]).unwrap();
            drop(ledger);
            assert_eq!(Ledger::open(&path, gateway()).unwrap().reader().len().unwrap(), FIRST + 1);
            assert!(!draft.exists());
        }
    }
}

#[test]
fn ledger_that_another_is_making_is_refused_and_left_alone() {
    let (_dir, path) = file();
    let draft_path = path.with_added_extension("new");
    fs::write(&draft_path, "another's work").unwrap();
    let draft = fs::File::open(&draft_path).unwrap();
    draft.lock().unwrap();
    assert!(matches!(Ledger::open(&path, gateway()), Err(OpenError::AlreadyOpen { .. })));
    assert_eq!(fs::read(&draft_path).unwrap(), b"another's work");
    drop(draft);
    Ledger::open(&path, gateway()).unwrap();
}

#[test]
fn empty_file_is_refused_and_left_alone() {
    let (_dir, path) = file();
    fs::write(&path, "").unwrap();
    let error = Ledger::open(&path, gateway()).unwrap_err();
    assert!(matches!(&error, OpenError::File { .. }) && error.to_string().contains("the file is empty"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn missing_directory_is_named() {
    let (_dir, path) = file();
    let path = path.join("deeper");
    let error = Ledger::open(&path, gateway()).unwrap_err();
    assert!(matches!(&error, OpenError::File { path: named, .. } if *named == path), "{error}");
    assert!(error.to_string().contains("ledger.redb/deeper"), "{error}");
}

#[cfg(unix)]
#[test]
fn file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = file();
    Ledger::open(&path, gateway()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
