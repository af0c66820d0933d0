//! What is known of a ledger's damage: by all who read it and by its writer, and, in a mark beside its file, by the next start.

use std::any::Any;
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Result, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use redb::StorageError;

use crate::StoreError;
use crate::file::sync_folder;

/// The most of a mark that is read, in bytes. What is said of damage is a line.
const MARK_BYTES_MAX: usize = 4096;

/// The first damage that anybody found, shared by a ledger's writer and all of its readers: who reads finds what the writer never looks at.
#[derive(Clone, Default)]
pub(crate) struct Damage(Arc<State>);

/// What the first damage is told to, in words.
type Tell = Box<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct State {
    found: OnceLock<Arc<str>>,
    tell: OnceLock<Tell>,
}

impl Damage {
    /// Reads or writes, and keeps in mind where what is read is damaged. redb asserts some of what it takes a file to be: that is damage too.
    pub(crate) fn watch<T>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, StoreError>,
    ) -> std::result::Result<T, StoreError> {
        // Who only reads leaves nothing half-way, and who writes writes nothing more.
        let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(asserted(&*panic)));
        if let Err(error) = &done {
            self.take_in(error);
        }
        done
    }

    /// Keeps an error in mind where it is damage, and tells of the first.
    pub(crate) fn take_in(&self, error: &StoreError) {
        if error.is_damage() && self.0.found.set(error.to_string().into()).is_ok() {
            self.tell();
        }
    }

    /// The first damage that was found; nothing where none was.
    pub(crate) fn found(&self) -> Option<StoreError> {
        self.0.found.get().map(|words| StoreError::Found(Arc::clone(words)))
    }

    /// Has `tell` told of the first damage: when it is found, or now where it was.
    pub(crate) fn on_damage(&self, tell: Tell) {
        assert!(self.0.tell.set(tell).is_ok(), "one is told of a ledger's damage");
        self.tell();
    }

    /// Tells, once there are both. In a race it may be told twice.
    fn tell(&self) {
        if let (Some(words), Some(tell)) = (self.0.found.get(), self.0.tell.get()) {
            tell(words);
        }
    }
}

/// The damage that a panic may show, with what was asserted: by redb, of the file, or by us, of what we made of it. A check says which.
pub(crate) fn asserted(panic: &(dyn Any + Send)) -> StoreError {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let what = words.map_or(String::new(), |words| format!(" ({words})"));
    StorageError::Corrupted(format!(
        "something that must hold did not{what}; adit ledger rebuild --check says whether the file is whole"
    ))
    .into()
}

impl fmt::Debug for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Damage").field("found", &self.0.found.get()).finish_non_exhaustive()
    }
}

/// The mark beside a ledger in which damage was found while it was open, as a start reads too little to find it again.
///
/// [`Ledger::restore`](crate::Ledger::restore) takes it away, and whoever has checked the whole ledger may.
#[derive(Debug, Clone)]
pub struct DamageMark(PathBuf);

impl DamageMark {
    /// The mark of the ledger at `path`, be it there or not.
    pub fn of(path: &Path) -> Self {
        Self(path.with_added_extension("damaged"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was found; nothing where there is no mark.
    ///
    /// # Errors
    /// Where it cannot be read. It may say anything then.
    pub fn read(&self) -> Result<Option<String>> {
        let mut words = match fs::read(&self.0) {
            Ok(words) => words,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        words.truncate(MARK_BYTES_MAX);
        Ok(Some(String::from_utf8_lossy(&words).trim().to_owned()))
    }

    /// Makes it, durably. One that is there stays: the first damage is what there is to know.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn set(&self, words: &str) -> Result<()> {
        match File::create_new(&self.0) {
            Ok(mut mark) => {
                mark.write_all(format!("{words}\n").as_bytes())?;
                mark.sync_all()?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        sync_folder(&self.0)
    }

    /// Takes it away, durably. Whether it was there.
    ///
    /// # Errors
    /// Where it cannot be taken away.
    pub fn clear(&self) -> Result<bool> {
        match fs::remove_file(&self.0) {
            Ok(()) => sync_folder(&self.0).map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
