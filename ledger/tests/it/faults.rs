//! Disks that go on after they failed: full, read-only, or with one error. Nothing is acknowledged that is not durable, a ledger that
//! has stopped leaves the disk alone, and once the disk is mended the script can be finished.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use adit_ledger::{CommitError, Ledger, OpenError, StoreError};
use redb::{Database, Error, ReadableDatabase, TableDefinition};

use crate::crash::script;
use crate::disk::{Disk, Fault, Survivors};
use crate::fixture::gateway;
use crate::script::{Script, empty};

/// Each fault is tried at one operation of so many.
const STEP: usize = 4;

/// Lets the disk fail at operations of the script. `then` has the disk with the fault in it and all handles gone, and how many batches
/// are acknowledged, which it may change. After that the disk is mended, and the script is run to its end. Returns how often it was stopped.
fn fail_and_mend(script: &Script, fault: Fault, then: impl Fn(&Disk, &mut usize)) -> usize {
    let image = empty().image();
    let whole = Disk::with_image(image.clone());
    assert_eq!(script.run(&whole, 0), script.len());
    let mut stopped = 0;
    for n in (1..=whole.operations()).step_by(STEP) {
        let disk = Disk::with_image(image.clone());
        disk.fail_at(n, fault);
        let mut acknowledged = script.run(&disk, 0);
        stopped += usize::from(acknowledged < script.len());
        then(&disk, &mut acknowledged);
        disk.mend();
        let batches = script.check(&disk, acknowledged);
        script.check_end(&disk, batches);
        assert_eq!(script.check(&disk.after_power_cut(Survivors::Nothing), script.len()), script.len());
    }
    stopped
}

/// What the system says, where a ledger stops for an error of the disk.
fn failure(error: &CommitError) -> Option<ErrorKind> {
    match error {
        CommitError::Failed { cause } => match &**cause {
            StoreError::Database(Error::Io(error)) => Some(error.kind()),
            _ => None,
        },
        _ => None,
    }
}

/// A ledger can be opened on a full disk, and read; it stops when it needs room.
#[test]
fn full_disk_is_read_and_goes_on_once_there_is_room() {
    let script = script();
    for fault in [Fault::Full, Fault::NoBlocks] {
        let stopped = fail_and_mend(&script, fault, |disk, acknowledged| {
            let mut ledger = Ledger::open_with(disk.backend(), gateway()).unwrap();
            *acknowledged = script.check_answers(ledger.reader(), *acknowledged);
            let Some(batch) = script.batches().get(*acknowledged) else { return };
            match ledger.apply(&batch.operations) {
                Ok(outcomes) => {
                    assert_eq!(outcomes, batch.outcomes);
                    *acknowledged += 1;
                }
                Err(error) => {
                    assert_eq!(failure(&error), Some(ErrorKind::StorageFull), "{error}");
                    assert_eq!(script.check_answers(ledger.reader(), *acknowledged), *acknowledged);
                }
            }
        });
        assert!(stopped > 20, "{fault:?} stopped only {stopped} scripts");
    }
}

/// It cannot be opened, since redb marks a file as in use.
#[test]
fn read_only_disk_is_refused_and_goes_on_once_it_is_mended() {
    let script = script();
    let stopped = fail_and_mend(&script, Fault::ReadOnly, |disk, _| {
        let error = Ledger::open_with(disk.backend(), gateway()).unwrap_err();
        let OpenError::Store(StoreError::Database(Error::Io(error))) = error else { panic!("{error}") };
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    });
    assert!(stopped > 60, "stopped only {stopped} scripts");
}

/// Opened again with and without what a failed sync has lost: where the system's cache still shows that, redb writes the header anew, and
/// all that this leads to was synced before it.
#[test]
fn one_error_stops_the_ledger_and_the_next_open_goes_on() {
    let script = script();
    for forgets in [false, true] {
        let stopped = fail_and_mend(&script, Fault::Once, |disk, _| {
            if forgets {
                disk.forget_cache();
            }
        });
        assert!(stopped > 50, "stopped only {stopped} scripts");
    }
}

/// The writer's thread was gone then: nothing was marked, and nobody who waited was told what had failed.
#[test]
fn panic_in_a_commit_stops_the_ledger_as_damage_does() {
    let script = script();
    let image = empty().image();
    let whole = Disk::with_image(image.clone());
    assert_eq!(script.run(&whole, 0), script.len());
    let mut stopped = 0;
    for n in (1..=whole.operations()).step_by(STEP) {
        let disk = Disk::with_image(image.clone());
        let mut ledger = Ledger::open_with(disk.backend(), gateway()).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        ledger.reader().on_damage(move |words| tell.lock().unwrap().push(words.to_owned()));
        disk.fail_at(n, Fault::Panic);
        let mut acknowledged = 0;
        let failed = script.batches().iter().find_map(|batch| match ledger.apply(&batch.operations) {
            Ok(_) => {
                acknowledged += 1;
                None
            }
            Err(error) => Some(error),
        });
        let Some(CommitError::Failed { cause }) = failed else { continue };
        assert!(cause.is_damage() && cause.to_string().contains("a page is not what it was"), "{cause}");
        assert_eq!(*told.lock().unwrap(), [cause.to_string()]);
        let operations = disk.operations();
        let error = ledger.apply(&script.batches()[acknowledged].operations).unwrap_err();
        assert!(matches!(error, CommitError::Stopped { .. }) && disk.operations() == operations, "{error}");
        drop(ledger);
        let batches = script.check(&disk, acknowledged);
        script.check_end(&disk, batches);
        stopped += 1;
    }
    assert!(stopped > 50, "stopped only {stopped} scripts");
}

/// What redb has in memory it still reads after the disk has failed, and what a gateway's clients ask for is mostly there.
#[test]
fn reader_of_a_stopped_ledger_answers_from_memory() {
    let script = script();
    let image = empty().image();
    for (fault, batches) in [(Fault::Dead, 5), (Fault::Once, 8), (Fault::ReadOnly, 12)] {
        let disk = Disk::with_image(image.clone());
        let mut ledger = Ledger::open_with(disk.backend(), gateway()).unwrap();
        for batch in &script.batches()[..batches] {
            ledger.apply(&batch.operations).unwrap();
        }
        let reader = ledger.reader().clone();
        assert_eq!(script.check_answers(&reader, batches), batches);
        disk.fail_at(1, fault);
        ledger.apply(&script.batches()[batches].operations).unwrap_err();
        assert_eq!(script.check_answers(&reader, batches), batches, "{fault:?}");
        drop(ledger);
        assert_eq!(script.check_answers(&reader, batches), batches, "{fault:?}, the ledger dropped");
    }
}

/// As a publisher and clients do: whoever reads while the disk fails gets an answer or an error, and none keeps the ledger from its end.
#[test]
fn readers_beside_a_ledger_whose_disk_fails_end_with_it() {
    let script = script();
    let image = empty().image();
    let whole = Disk::with_image(image.clone());
    assert_eq!(script.run(&whole, 0), script.len());
    let mut failed = 0;
    for (n, fault) in (1..=whole.operations()).step_by(STEP).flat_map(|n| [(n, Fault::Full), (n + 1, Fault::Once)]) {
        let disk = Disk::with_image(image.clone());
        let mut ledger = Ledger::open_with(disk.backend(), gateway()).unwrap();
        disk.fail_at(n, fault);
        let (reader, is_over) = (ledger.reader().clone(), AtomicBool::new(false));
        thread::scope(|scope| {
            let read = || {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = reader.tree().and_then(|head| reader.leaves(head.size.saturating_sub(3), 3));
                }
            };
            scope.spawn(read);
            scope.spawn(read);
            failed += usize::from(script.batches().iter().any(|batch| ledger.apply(&batch.operations).is_err()));
            drop(ledger);
            is_over.store(true, Ordering::Relaxed);
        });
        drop(reader);
        disk.mend();
        Ledger::open_with(disk.backend(), gateway()).unwrap();
    }
    assert!(failed > 50, "{failed}");
}

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("table");

/// A database on a disk that it has to read again for everything.
fn without_memory(disk: &Disk) -> Database {
    Database::builder().set_cache_size(0).create_with_backend(disk.backend()).unwrap()
}

fn write(database: &Database) -> Result<(), Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?.insert(1, b"one".as_slice())?;
    Ok(transaction.commit()?)
}

fn read(database: &Database) -> Result<(), Error> {
    let table = database.begin_read()?.open_table(TABLE)?;
    table.get(1)?.map(|value| value.value().len());
    Ok(())
}

/// What is not in memory cannot be read any more, although the disk could, and one error of a read stops all writes; until the database
/// is opened again.
#[test]
fn redb_reads_no_page_after_an_error_of_the_disk() {
    let disk = Disk::default();
    let database = without_memory(&disk);
    write(&database).unwrap();
    read(&database).unwrap();
    disk.fail_at(1, Fault::Once);
    assert!(matches!(write(&database), Err(Error::Io(_))));
    assert!(matches!(read(&database), Err(Error::PreviousIo)));
    assert!(matches!(write(&database), Err(Error::PreviousIo)));
    drop(database);

    let database = without_memory(&disk);
    read(&database).unwrap();
    disk.fail_next_read();
    assert!(matches!(read(&database), Err(Error::Io(_))));
    assert!(matches!(read(&database), Err(Error::PreviousIo)));
    assert!(matches!(write(&database), Err(Error::PreviousIo)));
    drop(database);
    write(&without_memory(&disk)).unwrap();
}
