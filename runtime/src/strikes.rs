//! Modules that killed their compile worker: after the second time one is refused for a day.
//!
//! What counts is decided by whoever waits for the worker; here it is remembered, over restarts too, in a file that the node's key
//! vouches for. A strike is not kept by the time at which it ends but by the time that is left of it, which shrinks by what the
//! clock was seen to advance. A clock that is set back thus neither keeps a strike for years nor drops it: it stops until the clock
//! advances again. One that is set forward by a day drops strikes early, which costs two more workers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use adit_protocol::Digest;

use crate::cache::ModuleCache;

/// Strikes at which a module is refused. One may be this node's bad day, two are the module.
pub(crate) const STRIKES_MAX: u32 = 2;
/// How long a strike counts, and a module is refused, from its last strike on.
pub(crate) const STRIKE_TIME: Duration = Duration::from_secs(24 * 3600);
/// Modules that are remembered; of more, the one whose strike is oldest is forgotten. To push one out takes longer than an hour of
/// compiling, at 10 s for each.
const ENTRIES_MAX: usize = 512;

const STRIKE_FILE: &str = "strikes";
/// Held by the process that changes that file.
const LOCK_FILE: &str = "strikes.lock";
const KEY_CONTEXT: &str = "adit compile strikes v1";
/// A digest, a count, and two times in seconds.
const ENTRY_BYTES: usize = 32 + 4 + 8 + 8;
const TAG_BYTES: usize = 32;

/// The strikes of a node. Several processes may share their file: each knows of the others' when it looks, and changes it alone.
#[derive(Debug)]
pub(crate) struct Strikes {
    path: PathBuf,
    key: [u8; 32],
    clock: fn() -> SystemTime,
    entries: Mutex<Vec<Entry>>,
}

/// The strikes of one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    module: Digest,
    strikes: u32,
    /// Seconds for which it still counts.
    left: u64,
    /// When that was so, in seconds since 1970.
    seen: u64,
}

impl Strikes {
    /// The strikes that are kept in the folder of `cache`, under its key.
    pub(crate) fn new(cache: &ModuleCache, clock: fn() -> SystemTime) -> Self {
        Self::at(cache.folder(), cache.derive_key(KEY_CONTEXT), clock)
    }

    fn at(folder: &Path, key: [u8; 32], clock: fn() -> SystemTime) -> Self {
        Self { path: folder.join(STRIKE_FILE), key, clock, entries: Mutex::default() }
    }

    /// Until when `module` is refused, where it is. Reads the file.
    pub(crate) fn refused_until(&self, module: Digest) -> Option<SystemTime> {
        let mut entries = self.lock();
        let _held = self.hold();
        let now = self.catch_up(&mut entries);
        entries.iter().find(|e| e.module == module && e.strikes >= STRIKES_MAX).map(|e| until(e, now))
    }

    /// Counts a strike against `module`. Says until when it is refused, where it is from now on. Writes the file.
    pub(crate) fn add(&self, module: Digest) -> Option<SystemTime> {
        let mut entries = self.lock();
        let _held = self.hold();
        let now = self.catch_up(&mut entries);
        let before = entries.iter().position(|e| e.module == module).map_or(0, |at| entries.swap_remove(at).strikes);
        let entry = Entry { module, strikes: before.saturating_add(1), left: STRIKE_TIME.as_secs(), seen: now };
        if entries.len() >= ENTRIES_MAX
            && let Some(oldest) = (0..entries.len()).min_by_key(|&at| entries[at].left)
        {
            entries.swap_remove(oldest);
        }
        entries.push(entry);
        self.save(&entries);
        (entry.strikes >= STRIKES_MAX).then(|| until(&entry, now))
    }

    /// Takes in what other processes wrote, and lets time pass. Gives the time.
    fn catch_up(&self, entries: &mut Vec<Entry>) -> u64 {
        let now = seconds((self.clock)());
        for stored in self.load() {
            match entries.iter_mut().find(|e| e.module == stored.module) {
                Some(known) if known.strikes < stored.strikes => *known = stored,
                Some(_) => {}
                None => entries.push(stored),
            }
        }
        // What was seen in a future that the clock has left counts from now on, after a restart too.
        let was_set_back = entries.iter().any(|e| e.seen > now);
        entries.iter_mut().for_each(|e| e.advance(now));
        entries.retain(|e| e.left > 0);
        if was_set_back {
            self.save(entries);
        }
        now
    }

    /// What the file holds: nothing where it is not there, and where it is not this node's.
    fn load(&self) -> Vec<Entry> {
        match fs::read(&self.path) {
            Ok(bytes) => decode(&bytes, &self.key).unwrap_or_else(|| {
                tracing::warn!(file = %self.path.display(), "the file of strikes is not authentic and is ignored");
                Vec::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "the file of strikes cannot be read");
                Vec::new()
            }
        }
    }

    /// Has other processes wait until what is given is dropped. Where the file cannot be locked, a strike may be lost that two add at once.
    fn hold(&self) -> Option<File> {
        let held = File::create(self.path.with_file_name(LOCK_FILE)).and_then(|file| file.lock().map(|()| file));
        held.inspect_err(|error| tracing::warn!(file = %self.path.display(), %error, "the file of strikes cannot be locked")).ok()
    }

    /// A file that cannot be written costs what it would have told the next process.
    fn save(&self, entries: &[Entry]) {
        if let Err(error) = self.replace(&encode(entries, &self.key)) {
            tracing::warn!(file = %self.path.display(), %error, "the file of strikes cannot be written");
        }
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let mut temp = ModuleCache::temp_file_in(self.path.parent().expect("the file is in a folder"))?;
        temp.write_all(bytes)?;
        temp.persist(&self.path).map_err(|e| e.error)?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn advance(&mut self, now: u64) {
        self.left = self.left.saturating_sub(now.saturating_sub(self.seen));
        self.seen = now;
    }
}

fn until(entry: &Entry, now: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(now.saturating_add(entry.left).min(u64::from(u32::MAX)))
}

/// A clock from before 1970 is one that was not set yet.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The entries one after the other, little-endian, and a tag over them.
fn encode(entries: &[Entry], key: &[u8; 32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES + TAG_BYTES);
    for Entry { module, strikes, left, seen } in entries {
        bytes.extend(module.0);
        bytes.extend(strikes.to_le_bytes());
        bytes.extend(left.to_le_bytes());
        bytes.extend(seen.to_le_bytes());
    }
    let tag = blake3::keyed_hash(key, &bytes);
    bytes.extend(tag.as_bytes());
    bytes
}

/// The entries of an authentic file.
fn decode(bytes: &[u8], key: &[u8; 32]) -> Option<Vec<Entry>> {
    let (body, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
    // `blake3::Hash` compares in constant time.
    if blake3::keyed_hash(key, body) != blake3::Hash::from_bytes(*tag) {
        return None;
    }
    let entries = body.chunks_exact(ENTRY_BYTES).take(ENTRIES_MAX);
    entries.map(decode_entry).collect()
}

fn decode_entry(bytes: &[u8]) -> Option<Entry> {
    let (module, rest) = bytes.split_first_chunk()?;
    let (strikes, rest) = rest.split_first_chunk()?;
    let (left, rest) = rest.split_first_chunk()?;
    let (seen, _) = rest.split_first_chunk()?;
    let left = u64::from_le_bytes(*left).min(STRIKE_TIME.as_secs());
    Some(Entry { module: Digest(*module), strikes: u32::from_le_bytes(*strikes), left, seen: u64::from_le_bytes(*seen) })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tempfile::TempDir;

    use super::*;

    const DAY: u64 = 24 * 3600;
    const TODAY: u64 = 1_800_000_000;
    const BAD: Digest = Digest([7; 32]);

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(TODAY) };
    }

    fn clock() -> SystemTime {
        time(NOW.get())
    }

    fn time(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// As after a restart.
    fn strikes(folder: &TempDir) -> Strikes {
        Strikes::at(folder.path(), [1; 32], clock)
    }

    fn folder() -> TempDir {
        NOW.set(TODAY);
        tempfile::tempdir().unwrap()
    }

    /// Each had read the file before the other replaced it, and wrote it without the other's.
    #[test]
    fn no_strike_is_lost_where_several_write_at_once() {
        const EACH: u8 = 40;
        let folder = folder();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let folder = &folder;
                scope.spawn(move || {
                    // Each as another process has it.
                    let strikes = Strikes::at(folder.path(), [1; 32], || time(TODAY));
                    for n in 0..EACH {
                        let _ = strikes.add(Digest([writer * EACH + n; 32]));
                    }
                });
            }
        });
        assert_eq!(strikes(&folder).load().len(), 4 * usize::from(EACH));
    }

    #[test]
    fn module_is_refused_from_its_second_strike_on_for_a_day() {
        let folder = folder();
        let strikes = strikes(&folder);
        assert_eq!(strikes.refused_until(BAD), None);
        assert_eq!(strikes.add(BAD), None);
        assert_eq!(strikes.refused_until(BAD), None);
        NOW.set(TODAY + 100);
        assert_eq!(strikes.add(BAD), Some(time(TODAY + 100 + DAY)));
        NOW.set(TODAY + 99 + DAY);
        assert_eq!(strikes.refused_until(BAD), Some(time(TODAY + 100 + DAY)));
        assert_eq!(strikes.refused_until(Digest([8; 32])), None);
        NOW.set(TODAY + 100 + DAY);
        assert_eq!(strikes.refused_until(BAD), None);
        // And it begins anew.
        assert_eq!(strikes.add(BAD), None);
    }

    #[test]
    fn strikes_a_day_apart_do_not_add_up() {
        let folder = folder();
        let strikes = strikes(&folder);
        strikes.add(BAD);
        NOW.set(TODAY + DAY);
        assert_eq!(strikes.add(BAD), None);
    }

    #[test]
    fn strikes_survive_a_restart_and_reach_other_processes() {
        let folder = folder();
        let other = strikes(&folder);
        assert_eq!(other.refused_until(BAD), None);
        strikes(&folder).add(BAD);
        assert!(strikes(&folder).add(BAD).is_some());
        assert!(strikes(&folder).refused_until(BAD).is_some());
        assert!(other.refused_until(BAD).is_some());
    }

    #[test]
    fn clock_set_back_neither_keeps_a_strike_nor_drops_it() {
        let folder = folder();
        let before = strikes(&folder);
        before.add(BAD);
        before.add(BAD);
        for restart in [false, true] {
            let restarted = strikes(&folder);
            let strikes = if restart { &restarted } else { &before };
            // Ten years back: still refused, for what was left and no longer.
            NOW.set(TODAY - 3650 * DAY);
            assert_eq!(strikes.refused_until(BAD), Some(time(TODAY - 3649 * DAY)));
            NOW.set(TODAY - 3649 * DAY - 1);
            assert!(strikes.refused_until(BAD).is_some());
        }
        NOW.set(TODAY - 3649 * DAY);
        assert_eq!(strikes(&folder).refused_until(BAD), None);
        assert_eq!(before.refused_until(BAD), None);
    }

    #[test]
    fn altered_and_foreign_files_are_ignored() {
        let folder = folder();
        strikes(&folder).add(BAD);
        strikes(&folder).add(BAD);
        let path = folder.path().join(STRIKE_FILE);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut altered = good.clone();
            altered[at] ^= 1;
            fs::write(&path, altered).unwrap();
            assert_eq!(strikes(&folder).refused_until(BAD), None, "{at}");
        }
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).unwrap();
            assert_eq!(strikes(&folder).refused_until(BAD), None, "{cut}");
        }
        fs::write(&path, &good).unwrap();
        assert!(strikes(&folder).refused_until(BAD).is_some());
        assert_eq!(Strikes::at(folder.path(), [2; 32], clock).refused_until(BAD), None);
    }

    #[test]
    fn oldest_strike_is_forgotten_first() {
        let folder = folder();
        let strikes = strikes(&folder);
        strikes.add(BAD);
        strikes.add(BAD);
        for n in 0..ENTRIES_MAX as u64 {
            NOW.set(TODAY + 1 + n);
            assert!(strikes.refused_until(BAD).is_some(), "{n}");
            strikes.add(Digest::of(&n.to_le_bytes()));
        }
        assert_eq!(strikes.refused_until(BAD), None);
        let file_bytes = fs::metadata(folder.path().join(STRIKE_FILE)).unwrap().len();
        assert_eq!(file_bytes, (ENTRIES_MAX * ENTRY_BYTES + TAG_BYTES) as u64);
    }
}
