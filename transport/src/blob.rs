use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit_protocol::{BlobRef, Digest};

use crate::limits::DISK_CHUNK_BYTES;

/// A blob that was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The bytes are not those of the name they came under.
    #[error("blob {expected}: its bytes have another digest or length; the transfer was corrupted or the sender is wrong")]
    Mismatch {
        /// The name.
        expected: Digest,
    },
    /// There are more bytes than were announced or allowed.
    #[error("more than {limit} bytes")]
    TooLarge {
        /// How many were allowed.
        limit: u64,
    },
    /// It does not fit beside what is in use.
    #[error("the store is full: {bytes} more bytes do not fit in {bytes_max}")]
    Full {
        /// Bytes of the blob.
        bytes: u64,
        /// Bytes of the store.
        bytes_max: u64,
    },
    /// There are as many blobs in use as there may be.
    #[error("the store is full: {blobs_max} blobs are in use, and it holds no more")]
    Crowded {
        /// Blobs of the store.
        blobs_max: usize,
    },
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Content-addressed files in one folder, bounded in bytes and in number. The least recently used are dropped first; pinned ones are kept.
///
/// A blob's bytes are hashed as they arrive, and once more at the first use after a restart, since the machine may have lost power
/// before they reached the disk.
#[derive(Debug, Clone)]
pub struct BlobStore(Arc<Store>);

#[derive(Debug)]
struct Store {
    dir: PathBuf,
    bytes_max: u64,
    blobs_max: usize,
    index: Mutex<Index>,
    next_temporary: AtomicU64,
}

#[derive(Debug, Default)]
struct Index {
    blobs: HashMap<Digest, Entry>,
    /// By last use, so that the first is the one to drop.
    by_use: BTreeMap<u64, Digest>,
    bytes_used: u64,
    bytes_pinned: u64,
    /// Bytes of blobs on their way, which take room already.
    bytes_arriving: u64,
    /// Those of them that keep to a share, see [`BlobStore::writer_within`].
    bytes_arriving_within: u64,
    blobs_arriving: usize,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    last_use: u64,
    pins: u32,
    /// Whether this process hashed the bytes.
    checked: bool,
}

/// Keeps a blob in its store while it lives.
#[derive(Debug)]
pub struct BlobPin {
    store: BlobStore,
    blob: BlobRef,
}

/// Blobs that a store may hold: what would fill it with one block of a disk each, so that it takes no more of the disk than it may, up to
/// a quarter of a million, which are some 50 MB of memory.
fn blobs_max(bytes_max: u64) -> usize {
    (bytes_max / BLOCK_BYTES).clamp(BLOBS_MIN, BLOBS_MAX) as usize
}

const BLOCK_BYTES: u64 = 4096;
const BLOBS_MIN: u64 = 64;
const BLOBS_MAX: u64 = 1 << 18;

impl BlobStore {
    /// Opens the store in `dir`, made if need be, and takes in what an earlier process left there.
    ///
    /// # Errors
    /// Where the folder cannot be made, read or cleaned.
    pub fn open(dir: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            match entry.file_name().to_str().map(str::parse::<Digest>) {
                Some(Ok(digest)) if metadata.is_file() => found.push((metadata.modified()?, digest, metadata.len())),
                // What a killed process left half-way.
                Some(Err(_)) if entry.path().extension().is_some_and(|e| e == "tmp") => fs::remove_file(entry.path())?,
                _ => {}
            }
        }
        found.sort();
        let mut index = Index::default();
        for (_, digest, bytes) in found {
            index.insert(digest, bytes, false);
        }
        let (dir, blobs_max, index) = (dir.to_owned(), blobs_max(bytes_max), Mutex::new(index));
        let store = Self(Arc::new(Store { dir, bytes_max, blobs_max, index, next_temporary: AtomicU64::new(0) }));
        store.0.make_room(&mut store.0.lock(), |index| index.bytes_used > bytes_max || index.blobs.len() > blobs_max)?;
        Ok(store)
    }

    /// Whether the blob is here, as far as is known without reading it.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.0.lock().blobs.contains_key(digest)
    }

    /// Bytes that it may hold.
    pub fn bytes_max(&self) -> u64 {
        self.0.bytes_max
    }

    /// Bytes held.
    pub fn bytes_used(&self) -> u64 {
        self.0.lock().bytes_used
    }

    /// Bytes of what is pinned.
    pub fn bytes_pinned(&self) -> u64 {
        self.0.lock().bytes_pinned
    }

    /// Keeps the blob until the pin is dropped; nothing where it is not here.
    pub fn pin(&self, digest: &Digest) -> Option<BlobPin> {
        let mut index = self.0.lock();
        index.touch(digest);
        let entry = index.blobs.get_mut(digest)?;
        let (bytes, is_first) = (entry.bytes, entry.pins == 0);
        entry.pins += 1;
        if is_first {
            index.bytes_pinned += bytes;
        }
        Some(BlobPin { store: self.clone(), blob: BlobRef { digest: *digest, bytes } })
    }

    /// Opens the blob for reading, with its size; nothing where it is not here or turns out damaged. May hash the whole file: not for
    /// an async thread where the blob can be large.
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn read(&self, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        let Some(pin) = self.pin(digest) else { return Ok(None) };
        let path = self.0.path(digest);
        let checked = self.0.lock().blobs.get(digest).is_some_and(|e| e.checked);
        if !checked && hash_file(&path).ok() != Some(pin.blob) {
            tracing::warn!(blob = %digest, "a stored blob is damaged; dropped");
            drop(pin);
            self.0.remove(digest)?;
            return Ok(None);
        }
        if let Some(entry) = self.0.lock().blobs.get_mut(digest) {
            entry.checked = true;
        }
        Ok(Some((File::open(path)?, pin.blob.bytes)))
    }

    /// Where a blob's file is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.0.path(digest)
    }

    /// Starts a blob of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`BlobError::Crowded`] where as many are pinned or on their way as there may be; [`BlobError::Io`].
    pub fn writer(&self, bytes_max: u64) -> Result<BlobWriter, BlobError> {
        self.start(bytes_max, None)
    }

    /// As [`BlobStore::writer`], for a blob that leaves room to others: it is [`BlobError::Full`] as soon as what is pinned and what arrives
    /// in this way would have more than `share` bytes of the store.
    ///
    /// # Errors
    /// As [`BlobStore::writer`].
    pub fn writer_within(&self, bytes_max: u64, share: u64) -> Result<BlobWriter, BlobError> {
        self.start(bytes_max, Some(share))
    }

    fn start(&self, bytes_max: u64, share: Option<u64>) -> Result<BlobWriter, BlobError> {
        let blobs_max = self.0.blobs_max;
        if !self.0.take_place()? {
            return Err(BlobError::Crowded { blobs_max });
        }
        let arriving = Arriving { store: self.clone(), bytes: 0, share };
        let n = self.0.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.0.dir.join(format!("{}-{n}.tmp", std::process::id()));
        let file =
            self.0.with_room(bytes_max.min(GIVES_WAY_BYTES), || OpenOptions::new().write(true).create_new(true).open(&path))?;
        Ok(BlobWriter { arriving, temporary: Temporary(path), file, hasher: blake3::Hasher::new(), bytes_max })
    }

    /// Stores bytes that are at hand.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn insert(&self, bytes: &[u8]) -> Result<BlobRef, BlobError> {
        let mut writer = self.writer(bytes.len() as u64)?;
        writer.write(bytes)?;
        writer.finish(None, false)
    }
}

/// How much is dropped at once for a blob that finds the disk full, as long as more of it comes.
const GIVES_WAY_BYTES: u64 = 16 << 20;

impl Store {
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    fn remove(&self, digest: &Digest) -> io::Result<()> {
        let mut index = self.lock();
        self.remove_from(&mut index, digest)
    }

    /// Forgets a blob and its file in one step, so that nobody stores it anew in between.
    fn remove_from(&self, index: &mut Index, digest: &Digest) -> io::Result<()> {
        index.remove(digest);
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes room for `bytes` that arrive; says whether there was enough, in the store and in their share of it.
    fn take_room(&self, bytes: u64, share: Option<u64>) -> io::Result<bool> {
        let mut index = self.lock();
        let shared = index.bytes_pinned.saturating_add(index.bytes_arriving_within).saturating_add(bytes);
        if share.is_some_and(|share| shared > share) {
            return Ok(false);
        }
        let is_over =
            |index: &Index| index.bytes_used.saturating_add(index.bytes_arriving).saturating_add(bytes) > self.bytes_max;
        let has_room = self.make_room(&mut index, is_over)?;
        if has_room {
            index.bytes_arriving += bytes;
            index.bytes_arriving_within += if share.is_some() { bytes } else { 0 };
        }
        Ok(has_room)
    }

    /// Takes a place for a blob that arrives; says whether there was one.
    fn take_place(&self) -> io::Result<bool> {
        let mut index = self.lock();
        let has_place = self.make_room(&mut index, |index| index.blobs.len() + index.blobs_arriving >= self.blobs_max)?;
        if has_place {
            index.blobs_arriving += 1;
        }
        Ok(has_place)
    }

    /// Does `what`; once more where the disk was full, which others fill too, and blobs that nobody uses made room on it: `bytes`, as far as
    /// there are so many.
    fn with_room<T>(&self, bytes: u64, what: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match what() {
            Err(error) if is_full(&error) && self.give_way(bytes)? => what(),
            done => done,
        }
    }

    /// Drops the least recently used blobs that are not pinned until so many bytes are free that were not; says whether any were there.
    fn give_way(&self, bytes: u64) -> io::Result<bool> {
        let mut index = self.lock();
        let before = index.bytes_used;
        self.make_room(&mut index, |index| index.bytes_used > before.saturating_sub(bytes.max(1)))?;
        Ok(index.bytes_used < before)
    }

    /// Drops the least recently used blobs that are not pinned while there `is_over` much; says whether that is over then.
    fn make_room(&self, index: &mut Index, is_over: impl Fn(&Index) -> bool) -> io::Result<bool> {
        while is_over(index) {
            let victim = index.by_use.values().find(|d| index.blobs.get(d).is_some_and(|e| e.pins == 0)).copied();
            match victim {
                Some(digest) => self.remove_from(index, &digest)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl Index {
    fn insert(&mut self, digest: Digest, bytes: u64, checked: bool) {
        // Whoever pinned the blob that this one takes the place of has pinned this one: they are the same bytes.
        let pins = self.blobs.get(&digest).map_or(0, |entry| entry.pins);
        self.remove(&digest);
        self.clock += 1;
        self.by_use.insert(self.clock, digest);
        self.blobs.insert(digest, Entry { bytes, last_use: self.clock, pins, checked });
        self.bytes_used += bytes;
        self.bytes_pinned += if pins > 0 { bytes } else { 0 };
    }

    fn remove(&mut self, digest: &Digest) {
        if let Some(entry) = self.blobs.remove(digest) {
            self.by_use.remove(&entry.last_use);
            self.bytes_used -= entry.bytes;
            self.bytes_pinned -= if entry.pins > 0 { entry.bytes } else { 0 };
        }
    }

    fn touch(&mut self, digest: &Digest) {
        if let Some(entry) = self.blobs.get_mut(digest) {
            self.clock += 1;
            self.by_use.remove(&entry.last_use);
            entry.last_use = self.clock;
            self.by_use.insert(self.clock, *digest);
        }
    }
}

impl BlobPin {
    /// The blob that is kept.
    pub fn blob(&self) -> BlobRef {
        self.blob
    }
}

impl Drop for BlobPin {
    fn drop(&mut self) {
        let mut index = self.store.0.lock();
        let Some(entry) = index.blobs.get_mut(&self.blob.digest).filter(|entry| entry.pins > 0) else { return };
        entry.pins -= 1;
        if entry.pins == 0 {
            let bytes = entry.bytes;
            index.bytes_pinned -= bytes;
        }
    }
}

/// A blob on its way into a store. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    arriving: Arriving,
    temporary: Temporary,
    file: File,
    hasher: blake3::Hasher,
    bytes_max: u64,
}

/// Room and place that a blob on its way has taken; given back when the blob has its own entry, or never gets one.
#[derive(Debug)]
struct Arriving {
    store: BlobStore,
    bytes: u64,
    /// What it leaves room beside.
    share: Option<u64>,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut index = self.store.0.lock();
        index.bytes_arriving -= self.bytes;
        index.bytes_arriving_within -= if self.share.is_some() { self.bytes } else { 0 };
        index.blobs_arriving -= 1;
    }
}

/// A file that goes away with its guard; renamed away, there is nothing left to remove.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is gone already where the blob was finished.
        let _ = fs::remove_file(&self.0);
    }
}

impl BlobWriter {
    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] where there are more than were announced, [`BlobError::Full`] where they do not fit beside what is pinned
    /// and what else arrives; [`BlobError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let more = bytes.len() as u64;
        let sum = self.arriving.bytes.saturating_add(more);
        if sum > self.bytes_max {
            return Err(BlobError::TooLarge { limit: self.bytes_max });
        }
        let (store, share) = (&self.arriving.store.0, self.arriving.share);
        if !store.take_room(more, share)? {
            return Err(BlobError::Full { bytes: sum, bytes_max: share.unwrap_or(store.bytes_max) });
        }
        let written = std::mem::replace(&mut self.arriving.bytes, sum);
        self.hasher.update(bytes);
        // What is still to come wants room too, which may be much less than the limit. By its place, because a part may be written before the
        // disk is full.
        let to_come = (self.bytes_max - written).min(more.max(GIVES_WAY_BYTES));
        store.with_room(to_come, || self.file.write_all_at(bytes, written))?;
        Ok(())
    }

    /// Puts the blob into the store under its digest. With `durable` its bytes are on the disk before this returns.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] where it is not the `expected` one.
    pub fn finish(self, expected: Option<BlobRef>, durable: bool) -> Result<BlobRef, BlobError> {
        let blob = BlobRef { digest: Digest(*self.hasher.finalize().as_bytes()), bytes: self.arriving.bytes };
        if let Some(expected) = expected.filter(|e| *e != blob) {
            return Err(BlobError::Mismatch { expected: expected.digest });
        }
        let store = &self.arriving.store.0;
        if durable {
            self.file.sync_all()?;
        }
        {
            // The new bytes take the place of the same ones that may be there, which may never have been synced.
            let mut index = store.lock();
            fs::rename(&self.temporary.0, store.path(&blob.digest))?;
            index.insert(blob.digest, blob.bytes, true);
        }
        if durable {
            File::open(&store.dir)?.sync_all()?;
        }
        Ok(blob)
    }
}

/// Whether there is no more room on the disk, or none that this user may have.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The name and size of a file's bytes, read in pieces.
///
/// # Errors
/// Where the file cannot be read.
pub fn hash_file(path: &Path) -> io::Result<BlobRef> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; DISK_CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            return Ok(BlobRef { digest: Digest(*hasher.finalize().as_bytes()), bytes });
        }
        hasher.update(&piece[..n]);
        bytes += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, bytes_max: u64) -> BlobStore {
        BlobStore::open(dir, bytes_max).unwrap()
    }

    fn content(store: &BlobStore, digest: &Digest) -> Option<Vec<u8>> {
        let (mut file, bytes) = store.read(digest).unwrap()?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content.len() as u64, bytes);
        Some(content)
    }

    #[test]
    fn blob_is_found_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let blob = open(dir.path(), 100).insert(b"hello").unwrap();
        assert_eq!(blob, BlobRef::of(b"hello"));
        fs::write(dir.path().join("1-2.tmp"), "left over").unwrap();
        let again = open(dir.path(), 100);
        assert_eq!(content(&again, &blob.digest).unwrap(), b"hello");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn least_recently_used_goes_first_and_pinned_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 10);
        let [a, b, c] = [b"aaaa", b"bbbb", b"cccc"].map(|x| BlobRef::of(x).digest);
        store.insert(b"aaaa").unwrap();
        store.insert(b"bbbb").unwrap();
        drop(store.pin(&a));
        store.insert(b"cccc").unwrap();
        assert!(store.contains(&a) && !store.contains(&b) && store.contains(&c));

        let pins = (store.pin(&a).unwrap(), store.pin(&c).unwrap());
        assert!(matches!(store.insert(b"bbbb"), Err(BlobError::Full { .. })));
        // The same bytes again do not loosen a pin.
        store.0.lock().insert(a, 4, true);
        assert!(matches!(store.insert(b"bbbb"), Err(BlobError::Full { .. })));
        assert_eq!(store.bytes_pinned(), 8);
        let again = store.pin(&a).unwrap();
        drop(pins);
        assert_eq!(store.bytes_pinned(), 4);
        drop(again);
        store.insert(b"bbbb").unwrap();
        assert_eq!((store.bytes_used(), store.bytes_pinned()), (8, 0));
    }

    /// A disk that others had filled failed every job, beside gigabytes of blobs that nobody used.
    #[test]
    fn disk_that_is_full_has_room_where_nobody_uses_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 100);
        let names = [b"aaaa", b"bbbb", b"cccc", b"dddd"].map(|bytes| store.insert(bytes).unwrap().digest);
        let pin = store.pin(&names[0]);
        let tries = std::cell::Cell::new(0);
        let fails = |times: u32, kind: io::ErrorKind| {
            tries.set(0);
            store.0.with_room(5, || {
                tries.set(tries.get() + 1);
                if tries.get() <= times { Err(io::Error::from(kind)) } else { Ok(()) }
            })
        };
        fails(1, io::ErrorKind::PermissionDenied).unwrap_err();
        assert_eq!((tries.get(), store.bytes_used()), (1, 16));
        fails(1, io::ErrorKind::StorageFull).unwrap();
        assert_eq!(
            names.map(|name| store.contains(&name)),
            [true, false, false, true],
            "the oldest go, and no more than it takes"
        );
        fails(2, io::ErrorKind::QuotaExceeded).unwrap_err();
        assert_eq!((tries.get(), store.bytes_used()), (2, 4), "what is pinned stays");
        fails(1, io::ErrorKind::StorageFull).unwrap_err();
        assert_eq!(tries.get(), 1);
        drop(pin);
    }

    #[test]
    fn wrong_or_oversized_bytes_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 100);
        let mut writer = store.writer(5).unwrap();
        writer.write(b"hello").unwrap();
        assert!(matches!(writer.finish(Some(BlobRef::of(b"hallo")), false), Err(BlobError::Mismatch { .. })));
        let mut writer = store.writer(5).unwrap();
        assert!(matches!(writer.write(b"hello!"), Err(BlobError::TooLarge { limit: 5 })));
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn bytes_on_their_way_take_room_and_give_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 10);
        let (mut a, mut b) = (store.writer(100).unwrap(), store.writer(100).unwrap());
        a.write(b"aaaaaa").unwrap();
        assert!(matches!(b.write(b"bbbbbb"), Err(BlobError::Full { .. })));
        drop(a);
        b.write(b"bbbbbb").unwrap();
        b.finish(None, true).unwrap();
        assert_eq!((store.bytes_used(), store.0.lock().bytes_arriving), (6, 0));
        store.insert(b"cccc").unwrap();
        assert_eq!(store.bytes_used(), 10);
    }

    /// Once inputs that came slowly filled what was left for outputs, so that nodes' work was lost for want of room.
    #[test]
    fn bytes_that_keep_to_a_share_leave_the_rest_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 12);
        let pin = store.pin(&store.insert(b"pin").unwrap().digest).unwrap();
        store.insert(b"old").unwrap();
        let (mut a, mut b) = (store.writer_within(100, 9).unwrap(), store.writer_within(100, 9).unwrap());
        a.write(b"aaaa").unwrap();
        assert!(matches!(b.write(b"bbb"), Err(BlobError::Full { bytes: 3, bytes_max: 9 })));
        b.write(b"bb").unwrap();
        // What is not pinned makes room.
        store.insert(b"out").unwrap();
        assert_eq!((store.bytes_used(), store.bytes_pinned()), (6, 3));
        // What is pinned later takes it from those on their way.
        let later = store.pin(&BlobRef::of(b"out").digest).unwrap();
        assert!(matches!(a.write(b"a"), Err(BlobError::Full { .. })));
        drop((a, later));
        b.write(b"bbbb").unwrap();
        b.finish(None, false).unwrap();
        drop(pin);
        let index = store.0.lock();
        assert_eq!((index.bytes_arriving, index.bytes_arriving_within), (0, 0));
    }

    /// Once a store of 16 GiB took two billion files of eight bytes, each a block of the disk and an entry in memory.
    #[test]
    fn small_blobs_are_bounded_by_their_number() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 20);
        let files = || fs::read_dir(dir.path()).unwrap().count();
        let kept = store.insert(&0u64.to_le_bytes()).unwrap();
        let pin = store.pin(&kept.digest).unwrap();
        for n in 1..1_000u64 {
            store.insert(&n.to_le_bytes()).unwrap();
        }
        assert_eq!((files(), store.0.blobs_max), (256, 256));
        assert!(store.contains(&kept.digest), "pinned ones stay");
        // Those on their way have places too.
        let arriving: Vec<_> = (0..255).map(|_| store.writer(8).unwrap()).collect();
        assert!(matches!(store.writer(8), Err(BlobError::Crowded { blobs_max: 256 })));
        assert_eq!(files(), 256);
        drop(arriving);
        store.insert(b"another").unwrap();
        drop(pin);
        // A process before may have left more.
        for n in 0..300u64 {
            fs::write(dir.path().join(BlobRef::of(&n.to_be_bytes()).digest.to_string()), n.to_be_bytes()).unwrap();
        }
        open(dir.path(), 1 << 20);
        assert_eq!(files(), 256);
    }

    #[test]
    fn damaged_blob_of_an_earlier_process_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let blob = open(dir.path(), 100).insert(b"hello").unwrap();
        fs::write(dir.path().join(blob.digest.to_string()), b"hallo").unwrap();
        let store = open(dir.path(), 100);
        assert_eq!(content(&store, &blob.digest), None);
        assert!(!store.contains(&blob.digest));
        // And it can be stored anew.
        store.insert(b"hello").unwrap();
        assert_eq!(content(&store, &blob.digest).unwrap(), b"hello");
    }
}
