use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often a file is looked at, however many nodes ask.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A file that was written so short a time before it was read may be written again without its time showing that.
const TIME_RESOLUTION: Duration = Duration::from_secs(2);

/// What a file says, read again when it has changed. One that cannot be read then is told of, and what it said before stands.
#[derive(Debug)]
pub(crate) struct Watched<T, E> {
    path: PathBuf,
    read: fn(&Path) -> Result<T, E>,
    value: T,
    /// The file that `value` was read from; nothing before the first, and where it could have changed unnoticed.
    stamp: Option<Stamp>,
    looked: Option<Instant>,
    /// What was told last, so that it is not told again and again.
    told: Option<String>,
}

/// What tells a file from one that was put in its place or written anew.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl<T, E: Display> Watched<T, E> {
    /// Reads the file now.
    ///
    /// # Errors
    /// What `read` says.
    pub(crate) fn open(path: PathBuf, read: fn(&Path) -> Result<T, E>) -> Result<Self, E> {
        let value = read(&path)?;
        Ok(Self::new(path, value, read))
    }

    /// Reads the file when it is asked for; until then it says `value`.
    pub(crate) fn new(path: PathBuf, value: T, read: fn(&Path) -> Result<T, E>) -> Self {
        Self { path, read, value, stamp: None, looked: None, told: None }
    }

    /// What it says now, or said a moment ago.
    pub(crate) fn now(&mut self) -> &T {
        let now = Instant::now();
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY) {
            self.looked = Some(now);
            self.look();
        }
        &self.value
    }

    /// Reads it again if it has changed, however short a time ago it was looked at.
    pub(crate) fn look(&mut self) {
        // Before it is read: what is written meanwhile is seen the next time.
        let found = Stamp::of(&self.path);
        if found.is_some() && found == self.stamp {
            return;
        }
        match (self.read)(&self.path) {
            Ok(value) => {
                self.value = value;
                self.told = None;
            }
            Err(error) => {
                let error = error.to_string();
                if self.told.as_ref() != Some(&error) {
                    tracing::error!(error, "what was read before stands");
                    self.told = Some(error);
                }
            }
        }
        self.stamp = found.filter(Stamp::is_old);
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        let modified = (file.mtime(), file.mtime_nsec());
        Some(Self { device: file.dev(), inode: file.ino(), bytes: file.size(), modified })
    }

    fn is_old(&self) -> bool {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        seconds.saturating_sub(self.modified.0) > TIME_RESOLUTION.as_secs() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Result<String, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        if text.contains("wrong") { Err(text) } else { Ok(text) }
    }

    /// What it says once it looks again, without waiting for that.
    fn says(watched: &mut Watched<String, String>) -> String {
        watched.looked = None;
        watched.now().clone()
    }

    #[test]
    fn changed_file_is_read_again_also_where_its_size_and_time_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(Watched::open(path.clone(), read).is_err(), "there is no file");
        fs::write(&path, "one").unwrap();
        let mut watched = Watched::open(path.clone(), read).unwrap();
        assert_eq!(says(&mut watched), "one");
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(says(&mut watched), "two");
        fs::write(dir.path().join("new"), "ten").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(says(&mut watched), "ten");
    }

    #[test]
    fn file_that_cannot_be_understood_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "right").unwrap();
        let mut watched = Watched::open(path.clone(), read).unwrap();
        fs::write(&path, "wrong").unwrap();
        assert_eq!(says(&mut watched), "right");
        assert_eq!(watched.told.as_deref(), Some("wrong"));
        fs::remove_file(&path).unwrap();
        assert_eq!(says(&mut watched), "right");
        fs::write(&path, "right again").unwrap();
        assert_eq!(says(&mut watched), "right again");
        assert_eq!(watched.told, None);
    }

    #[test]
    fn file_that_stays_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one").unwrap();
        let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
        let set_time = || fs::File::options().write(true).open(&path).unwrap().set_modified(hour_ago).unwrap();
        set_time();
        let mut watched = Watched::open(path.clone(), read).unwrap();
        assert_eq!(says(&mut watched), "one");
        // Nobody but a test can write so.
        fs::write(&path, "two").unwrap();
        set_time();
        assert_eq!(says(&mut watched), "one");
    }
}
