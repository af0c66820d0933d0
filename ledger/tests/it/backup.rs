//! Copies of a ledger, and what is made of them.

use std::fs;
use std::path::Path;

use adit_ledger::{BackupError, DamageMark, Ledger, OpenError, Operation, RestoreError};
use adit_protocol::{Grant, SecretKey, TransferId};

use crate::fixture::{FIRST, append, begun, entries, entry, gateway, grant};

fn ledger(path: &Path, numbers: std::ops::Range<u64>) -> Ledger {
    let mut ledger = begun(Ledger::open(path, gateway()).unwrap());
    append(&mut ledger, &entries(numbers)).unwrap();
    ledger
}

#[test]
fn copy_of_a_ledger_that_goes_on_is_the_ledger_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let [path, copy, restored] = ["ledger", "copy", "restored"].map(|name| dir.path().join(name));
    let mut ledger = ledger(&path, 0..300);
    let head = ledger.tree();
    let reader = ledger.reader().clone();
    let copying = std::thread::spawn({
        let copy = copy.clone();
        move || reader.backup(&copy).unwrap()
    });
    for n in 300..340 {
        append(&mut ledger, &[entry(n)]).unwrap();
    }
    let copied = copying.join().unwrap();
    assert!((head.size..=head.size + 40).contains(&copied.size));
    assert!(matches!(ledger.reader().backup(&copy), Err(BackupError::File { .. })), "a copy replaces nothing");

    assert_eq!(Ledger::restore(&copy, &restored, gateway(), None).unwrap(), copied);
    let again = Ledger::open(&restored, gateway()).unwrap();
    assert_eq!(again.tree(), copied);
    again.reader().check_books().unwrap();
    for n in 0..copied.size - FIRST {
        assert_eq!(again.reader().job(entry(n).job()).unwrap(), ledger.reader().job(entry(n).job()).unwrap());
    }
    #[cfg(unix)]
    for file in [&copy, &restored] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "outputs are their client's secret");
    }
}

#[test]
fn what_is_no_whole_backup_is_not_put_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let [path, copy, place] = ["ledger", "copy", "place"].map(|name| dir.path().join(name));
    ledger(&path, 0..50).reader().backup(&copy).unwrap();
    let whole = fs::read(&copy).unwrap();
    let stranger = SecretKey::from_seed([7; 32]).public();
    assert!(matches!(Ledger::restore(&copy, &place, stranger, None), Err(RestoreError::Open(OpenError::ForeignGateway { .. }))));
    assert!(matches!(Ledger::restore(&dir.path().join("nothing"), &place, gateway(), None), Err(RestoreError::Backup { .. })));
    for bad in [&b""[..], b"no database", &whole[..whole.len() / 2]] {
        fs::write(&copy, bad).unwrap();
        assert!(Ledger::restore(&copy, &place, gateway(), None).is_err(), "{} bytes", bad.len());
    }
    // A page in the middle, whatever it holds.
    let mut flipped = whole.clone();
    let at = flipped.windows(13).position(|bytes| bytes == b"wasmtime 48.0").unwrap();
    flipped[at] ^= 1;
    fs::write(&copy, &flipped).unwrap();
    assert!(Ledger::restore(&copy, &place, gateway(), None).is_err());
    assert!(!place.exists() && !dir.path().join("place.new").exists());

    fs::write(&copy, &whole).unwrap();
    Ledger::restore(&copy, &place, gateway(), None).unwrap();
    assert!(
        matches!(Ledger::restore(&copy, &place, gateway(), None), Err(RestoreError::Place { .. })),
        "a ledger is not replaced"
    );
    assert_eq!(fs::read(&copy).unwrap(), whole, "a backup is only read");

    // With a name for the one that is there, it takes its place in one step, unless somebody has it open.
    let aside = dir.path().join("aside");
    let before = fs::read(&place).unwrap();
    let opened = Ledger::open(&place, gateway()).unwrap();
    assert!(matches!(Ledger::restore(&copy, &place, gateway(), Some(&aside)), Err(RestoreError::Place { .. })));
    drop(opened);
    let before = if fs::read(&place).unwrap() == before { before } else { fs::read(&place).unwrap() };
    fs::write(&copy, b"no database").unwrap();
    assert!(Ledger::restore(&copy, &place, gateway(), Some(&aside)).is_err());
    assert!(fs::read(&place).unwrap() == before && !aside.exists(), "nothing changed");
    fs::write(&copy, &whole).unwrap();
    Ledger::restore(&copy, &place, gateway(), Some(&aside)).unwrap();
    assert_eq!(fs::read(&aside).unwrap(), before);
    Ledger::open(&place, gateway()).unwrap();
}

/// A backup on a medium that cannot be written to could not be checked, and one that could was changed by that.
#[test]
fn ledger_that_is_only_read_is_checked_and_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let [path, copy] = ["ledger", "copy"].map(|name| dir.path().join(name));
    let mut made = ledger(&path, 0..40);
    assert!(matches!(Ledger::open_read_only(&path), Err(OpenError::AlreadyOpen { .. })));
    // As a crash leaves it, and as a backup is.
    fs::copy(&path, dir.path().join("crashed")).unwrap();
    made.reader().backup(&copy).unwrap();
    let head = made.tree();
    append(&mut made, &entries(40..41)).unwrap();
    for name in ["copy", "crashed"] {
        let file = dir.path().join(name);
        let before = fs::read(&file).unwrap();
        let mut permissions = fs::metadata(&file).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&file, permissions).unwrap();
        let [mut first, second] = [(); 2].map(|()| Ledger::open_read_only(&file).unwrap());
        assert!(matches!(Ledger::open(&file, gateway()), Err(OpenError::AlreadyOpen { .. } | OpenError::File { .. })));
        assert_eq!((first.gateway(), first.tree()), (gateway(), head));
        first.reader().check_books().unwrap();
        // What it is given is gone with it.
        append(&mut first, &entries(40..60)).unwrap();
        assert_eq!(second.tree(), head);
        drop((first, second));
        assert!(fs::read(&file).unwrap() == before, "{name}");
    }

    let mut flipped = fs::read(&copy).unwrap();
    let at = flipped.windows(13).position(|bytes| bytes == b"wasmtime 48.0").unwrap();
    flipped[at] ^= 1;
    for bad in [&b""[..], b"no database", &flipped[..flipped.len() / 2], &flipped] {
        let file = dir.path().join("bad");
        fs::write(&file, bad).unwrap();
        assert!(Ledger::open_read_only(&file).is_err(), "{} bytes", bad.len());
        assert!(fs::read(&file).unwrap() == bad);
    }
    assert!(matches!(Ledger::open_read_only(&dir.path().join("nothing")), Err(OpenError::File { .. })));
}

#[test]
fn ledger_is_opened_whoevers_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let made = ledger(&path, 0..3);
    assert!(matches!(Ledger::open_existing(&path), Err(OpenError::AlreadyOpen { .. })));
    let head = made.tree();
    drop(made);
    let opened = Ledger::open_existing(&path).unwrap();
    assert_eq!((opened.gateway(), opened.tree()), (gateway(), head));
    assert!(matches!(Ledger::open_existing(&dir.path().join("nothing")), Err(OpenError::File { .. })));
}

/// A copy was opened and no more, and so a damaged ledger had backups that no `restore` took, until the last good one was gone.
#[test]
fn copy_of_a_damaged_ledger_gets_no_name_and_stops_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let [path, copy] = ["ledger", "copy"].map(|name| dir.path().join(name));
    let mut made = ledger(&path, 0..4);
    let grants = |from: u64| {
        let id = |n: u64| TransferId(u128::from(from + n).to_le_bytes());
        (0..300).map(|n| Operation::Grant(Grant { id: id(n), ..grant(n % 3) })).collect::<Vec<_>>()
    };
    for from in [1_000, 2_000] {
        made.apply(&grants(from)).unwrap();
    }
    let leaf = made.reader().leaf(FIRST + 20).unwrap().unwrap();
    drop(made);
    let mut bytes = fs::read(&path).unwrap();
    while let Some(at) = bytes.windows(leaf.len()).position(|window| window == leaf) {
        bytes[at + 5] ^= 4;
    }
    fs::write(&path, &bytes).unwrap();
    let mut opened = Ledger::open(&path, gateway()).unwrap();
    let error = opened.reader().backup(&copy).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains(&format!("damaged at index {}", FIRST + 20)), "{error}");
    assert!(!copy.exists() && !dir.path().join("copy.new").exists());
    assert!(opened.reader().found_damage().is_some() && opened.apply(&grants(3_000)).is_err());
}

#[test]
fn mark_of_damage_stays_until_a_whole_ledger_is_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let [path, copy] = ["ledger", "copy"].map(|name| dir.path().join(name));
    let mark = DamageMark::of(&path);
    assert_eq!(mark.read().unwrap(), None);
    ledger(&path, 0..9).reader().backup(&copy).unwrap();
    mark.set("first").unwrap();
    mark.set("second").unwrap();
    assert_eq!(mark.read().unwrap().as_deref(), Some("first"));
    let aside = dir.path().join("aside");
    assert!(Ledger::restore(&dir.path().join("nothing"), &path, gateway(), Some(&aside)).is_err());
    assert!(mark.read().unwrap().is_some());
    Ledger::restore(&copy, &path, gateway(), Some(&aside)).unwrap();
    assert_eq!((mark.read().unwrap(), mark.clear().unwrap()), (None, false));
}
