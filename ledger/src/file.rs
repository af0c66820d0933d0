//! A database's file, made in one step: a crash while it is made leaves nothing that cannot be opened.
//!
//! redb fills a new file in several steps and refuses one that was left half-way. So a database is made in a draft beside its place,
//! and renamed into it once it is a whole, durable, empty one. A draft that a crash left behind is begun again.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// The file at `path`, where there is one.
///
/// # Errors
/// Where it cannot be opened, or is empty: no crash leaves it so, and to begin anew would be to forget what was signed.
pub fn open(path: &Path) -> Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => not_empty(file).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file at `path`, to read alone, and locked against whoever writes to it.
///
/// # Errors
/// As [`open`], also where there is none; [`ErrorKind::WouldBlock`] where a ledger has it open.
pub(crate) fn open_read_only(path: &Path) -> Result<File> {
    let file = not_empty(File::open(path)?)?;
    file.try_lock_shared()?;
    Ok(file)
}

fn not_empty(file: File) -> Result<File> {
    if file.metadata()?.len() == 0 {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the file is empty; restore a backup, or remove it to begin anew"));
    }
    Ok(file)
}

/// An empty draft of the file at `path`, locked, and readable by its owner only: outputs are their client's secret.
///
/// # Errors
/// [`ErrorKind::WouldBlock`] where another process is at it, or was a moment ago.
pub fn draft(path: &Path) -> Result<File> {
    let draft = locked_draft(path)?;
    // Only now: before the lock, the draft could be another's, or be renamed already.
    if open(path)?.is_some() {
        return Err(ErrorKind::WouldBlock.into());
    }
    draft.set_len(0)?;
    Ok(draft)
}

/// As [`draft`], beside a file that is there and that the caller keeps locked.
pub(crate) fn draft_beside(path: &Path) -> Result<File> {
    let draft = locked_draft(path)?;
    draft.set_len(0)?;
    Ok(draft)
}

fn locked_draft(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let draft = options.open(draft_path(path))?;
    draft.try_lock()?;
    Ok(draft)
}

/// Moves the draft, open and locked as it is, to its place, and makes its new name durable.
///
/// # Errors
/// Where it cannot be moved.
pub fn publish(path: &Path) -> Result<()> {
    fs::rename(draft_path(path), path)?;
    sync_folder(path)
}

/// Makes durable what names are in the folder in which `path` is.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

pub(crate) fn draft_path(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}
