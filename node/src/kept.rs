//! Small files of the node's own, which are there whole or as they were.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

/// A pause that holds.
pub(crate) const PAUSE: &str = "paused.json";
/// There where the GPU is not lent.
pub(crate) const GPU_OFF: &str = "gpu-off.json";
/// What was moved and earned on the last days.
pub(crate) const TODAY: &str = "today.json";

/// The folder for all of these: `state`, with what an earlier version kept in the cache's folder; that one where there can be none.
pub(crate) fn state_folder(state: &Path, cache: &Path) -> PathBuf {
    match move_in(state, cache) {
        Ok(()) => state.to_owned(),
        Err(error) => {
            let (folder, cache_folder) = (state.display(), cache.display());
            tracing::warn!(%folder, %error, "an owner's word and the day's count are kept in {cache_folder}");
            cache.to_owned()
        }
    }
}

fn move_in(state: &Path, cache: &Path) -> io::Result<()> {
    std::fs::create_dir_all(state)?;
    if std::fs::canonicalize(state)? == std::fs::canonicalize(cache)? {
        return Ok(());
    }
    let left: Vec<&str> = [PAUSE, GPU_OFF, TODAY].into_iter().filter(|name| cache.join(name).exists()).collect();
    for name in left.iter().filter(|name| is_newer(&cache.join(name), &state.join(name))) {
        // The folders may be on two disks. There is never half a file under the name.
        let whole = state.join(format!("{name}.new"));
        std::fs::copy(cache.join(name), &whole)?;
        File::open(&whole)?.sync_all()?;
        std::fs::rename(&whole, state.join(name))?;
    }
    if !left.is_empty() {
        sync_folder(state, Durable::Yes)?;
    }
    left.iter().try_for_each(|name| remove(&cache.join(name)))
}

/// Whether the one was written after the other, or there is no other. A node that could not write where it should has kept its owner's word in the
/// cache.
fn is_newer(one: &Path, other: &Path) -> bool {
    let time = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified());
    match (time(one), time(other)) {
        (Ok(one), Ok(other)) => one > other,
        (_, other) => other.is_err(),
    }
}

/// Whether a file must be there after a power cut too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    Yes,
    No,
}

/// Writes `value` in the place of what was at `path`.
pub(crate) fn write(path: &Path, value: &impl Serialize, durable: Durable) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, value)?;
    file.write_all(b"\n")?;
    if durable == Durable::Yes {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder, durable)
}

/// Removes the file at `path`, which need not be there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_folder(path.parent().unwrap_or(Path::new(".")), Durable::Yes),
    }
}

/// What is at `path`; nothing where no file is.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn sync_folder(folder: &Path, durable: Durable) -> io::Result<()> {
    match durable {
        Durable::Yes => File::open(folder)?.sync_all(),
        Durable::No => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// They were in the cache's folder, which is there to be thrown away, and a pause with it.
    #[test]
    fn what_an_earlier_version_kept_in_the_cache_moves_once() {
        let dir = tempfile::tempdir().unwrap();
        let (state, cache) = (dir.path().join("node.state"), dir.path().join("cache"));
        std::fs::create_dir(&cache).unwrap();
        std::fs::write(cache.join(PAUSE), "old").unwrap();
        assert_eq!(state_folder(&state, &cache), state);
        assert_eq!(std::fs::read_to_string(state.join(PAUSE)).unwrap(), "old");
        assert!(!cache.join(PAUSE).exists() && !state.join(TODAY).exists());
        // What is there already stays, but where a newer word was kept here because there it could not be.
        let write = |text: &str, age: Duration| {
            std::fs::write(cache.join(PAUSE), text).unwrap();
            let file = File::options().write(true).open(cache.join(PAUSE)).unwrap();
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        };
        for (text, age, want) in [("older", 3_600, "old"), ("newer", 0, "newer")] {
            std::thread::sleep(Duration::from_millis(20));
            write(text, Duration::from_secs(age));
            assert_eq!(state_folder(&state, &cache), state);
            assert_eq!(std::fs::read_to_string(state.join(PAUSE)).unwrap(), want);
            assert!(!cache.join(PAUSE).exists(), "it would hold again when the other one is gone");
        }

        std::fs::write(cache.join(PAUSE), "older").unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(state_folder(&file.join("node.state"), &cache), cache, "a node starts all the same");
        assert_eq!(state_folder(&cache, &cache), cache);
        assert_eq!(std::fs::read_to_string(cache.join(PAUSE)).unwrap(), "older");
    }
}
