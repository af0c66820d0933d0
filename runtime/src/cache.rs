//! Compiled modules on disk. Machine code is only ever loaded from here, and only where a key of this node vouches for it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use adit_protocol::Digest;
use lru::LruCache;
use rustix::fs::{FallocateFlags, StatVfsMountFlags, fallocate, fstatvfs};
use rustix::io::{Errno, retry_on_intr};
use tempfile::NamedTempFile;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const CODE_SUFFIX: &str = ".cwasm";
const TEMP_PREFIX: &str = ".tmp-";
/// Bytes of the tag that ends every file: BLAKE3 of module, compatibility and code, under the node's key.
pub(crate) const TAG_BYTES: u64 = 32;
/// Modules whose files stay open. They need not be checked again; each holds a descriptor.
const OPEN_MAX: usize = 64;
/// How often the use of a file that is open is noted.
const NOTED_EVERY: Duration = Duration::from_secs(60);
/// How many times as many bytes as are wanted make way on a full disk: what goes may still be open in a sandbox, or the disk fills for others.
const EVICTED_PARTS_MAX: u64 = 2;
/// What a file system counts the room of a file in.
const BLOCK_BYTES: u64 = 512;
/// A temporary file older than this was left by a process that died; no compilation takes as long.
const TEMP_AGE_MAX: Duration = Duration::from_secs(3600);

/// The cache. Several processes may share its folder: files appear whole, under names that their content decides, and one that
/// is gone is compiled again.
#[derive(Debug)]
pub(crate) struct ModuleCache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    compatibility: Digest,
    bytes_max: u64,
    open: Mutex<LruCache<Digest, Open>>,
}

/// A file that stays open.
#[derive(Debug)]
struct Open {
    file: Arc<File>,
    /// When its time of last use was written.
    noted: Instant,
}

impl ModuleCache {
    /// Opens the cache in `folder`, for code of one compatibility, and evicts what is too much: the bound may be lower than it was.
    ///
    /// # Errors
    /// Where the folder or its key cannot be made or read, or what is too much stays.
    pub(crate) fn new(folder: &Path, compatibility: Digest, bytes_max: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        refuse_others(folder, 0o022)?;
        refuse_noexec(folder)?;
        let open = LruCache::new(NonZeroUsize::new(OPEN_MAX).expect("some files stay open"));
        let key = node_key(folder)?;
        let cache = Self { folder: folder.to_owned(), key, compatibility, bytes_max, open: Mutex::new(open) };
        cache.evict(None)?;
        Ok(cache)
    }

    /// The code of `module` where its file is open already.
    pub(crate) fn get(&self, module: Digest) -> Option<Arc<File>> {
        let mut open = self.open();
        let open = open.get_mut(&module)?;
        if open.noted.elapsed() >= NOTED_EVERY {
            note_use(&open.file);
            open.noted = Instant::now();
        }
        Some(Arc::clone(&open.file))
    }

    /// The code of `module` where it is in the folder and authentic. Reads the whole file; one that is not authentic is removed.
    pub(crate) fn load(&self, module: Digest) -> Option<Arc<File>> {
        if let Some(file) = self.get(module) {
            return Some(file);
        }
        let path = self.path(module);
        let file = File::open(&path).ok()?;
        match self.check(module, &file) {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(%module, "compiled module is not authentic; it will be compiled again");
                let _ = fs::remove_file(&path);
                return None;
            }
            Err(error) => {
                tracing::warn!(%module, %error, "compiled module cannot be read");
                return None;
            }
        }
        note_use(&file);
        Some(self.keep_open(module, file))
    }

    /// A file for a compile worker to write code into, which has no name yet.
    ///
    /// # Errors
    /// Where there is no such file.
    pub(crate) fn new_code(&self) -> io::Result<NamedTempFile> {
        self.with_room(|| Self::temp_file_in(&self.folder))
    }

    /// Has the disk keep room for code of so many bytes in `temp`, in place of the files that were not used for longest: of those that it
    /// finds to be in the way, whatever whoever asked says, and at most one file beyond twice as many bytes. What code does not fill is
    /// free again once it is stored.
    ///
    /// # Errors
    /// Where there is no such room.
    pub(crate) fn make_room(&self, temp: &NamedTempFile, code_bytes: u64) -> io::Result<()> {
        self.check_fits(code_bytes)?;
        let bytes = code_bytes + TAG_BYTES;
        let is_kept = || !reserve(temp.as_file(), bytes).is_err_and(|error| is_full(&error));
        self.remove_oldest(None, |_, removed| removed >= bytes.saturating_mul(EVICTED_PARTS_MAX) || is_kept())?;
        reserve(temp.as_file(), bytes).map_err(|error| match is_full(&error) {
            true => {
                let what = format!("the disk has no room for the module's code of {code_bytes} bytes");
                io::Error::new(io::ErrorKind::StorageFull, format!("{what}, nor does older code that may make way for it"))
            }
            false => error,
        })
    }

    /// Does what the disk may have no room for, be it of a block or of a name; once more where one of the files made some.
    fn with_room<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match work() {
            Err(error) if is_full(&error) && self.remove_oldest(None, |_, removed| removed > 0)? > 0 => work(),
            done => done,
        }
    }

    /// A file that will get its name in `folder`, a cache's. One that is left behind is removed by and by.
    pub(crate) fn temp_file_in(folder: &Path) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(folder)
    }

    /// Where the cache is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A key for another purpose, as good as the node's own.
    pub(crate) fn derive_key(&self, context: &str) -> [u8; KEY_BYTES] {
        blake3::derive_key(context, &self.key)
    }

    /// Authenticates the code in `temp`, puts it in the folder, and evicts what that makes too much, or what is in its way on a full disk.
    ///
    /// # Errors
    /// Where that cannot be done, or the code alone is more than the cache may hold.
    pub(crate) fn store(&self, module: Digest, mut temp: NamedTempFile) -> io::Result<Arc<File>> {
        let code_bytes = temp.as_file().metadata()?.len();
        self.check_fits(code_bytes)?;
        match self.append_tag(module, temp.as_file_mut(), code_bytes) {
            // There was room for all but the tag.
            Err(error) if is_full(&error) => {
                self.make_room(&temp, code_bytes)?;
                self.append_tag(module, temp.as_file_mut(), code_bytes)?;
            }
            tagged => tagged?,
        }
        // Of the same length: lets go of what the disk keeps beyond, for code that a worker said to be larger, or that it took itself.
        temp.as_file().set_len(code_bytes + TAG_BYTES)?;
        let path = self.path(module);
        // Opened before it has its name, so that nothing can come between.
        let file = File::open(temp.path())?;
        self.name(temp, &path)?;
        self.evict(Some(&path))?;
        Ok(self.keep_open(module, file))
    }

    fn name(&self, temp: NamedTempFile, path: &Path) -> io::Result<()> {
        let mut unnamed = Some(temp);
        self.with_room(|| {
            let temp = unnamed.take().expect("it comes back where it got no name");
            temp.persist(path).map(drop).map_err(|refused| {
                unnamed = Some(refused.file);
                refused.error
            })
        })
    }

    /// Refuses code that is more than all that may be here: nothing is evicted for it.
    fn check_fits(&self, code_bytes: u64) -> io::Result<()> {
        let (bytes, bytes_max) = (code_bytes.saturating_add(TAG_BYTES), self.bytes_max);
        if bytes <= bytes_max {
            return Ok(());
        }
        let what = format!("the module's code has {bytes} bytes, and the cache holds {bytes_max} of compiled modules");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{what}; its owner can raise cache-max")))
    }

    fn append_tag(&self, module: Digest, file: &mut File, code_bytes: u64) -> io::Result<()> {
        let tag = self.tag(module, &mut *file, code_bytes)?;
        file.seek(SeekFrom::Start(code_bytes))?;
        file.write_all(tag.as_bytes())
    }

    /// The modules whose code is here, those that were used last first; at most `most`. Reads no code, so one may yet turn out not to be
    /// authentic.
    pub(crate) fn modules(&self, most: usize) -> io::Result<Vec<Digest>> {
        // What is open was used by this process, in this order.
        let mut modules: Vec<_> = self.open().iter().map(|(module, _)| *module).collect();
        let mut files = self.files()?;
        files.sort();
        let ours = self.name_end();
        for (_, path, _) in files.into_iter().rev() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Other names are those of other engines' code.
            let module = name.strip_suffix(&ours).and_then(|module| module.parse().ok());
            modules.extend(module.filter(|module| !modules.contains(module)));
            if modules.len() >= most {
                break;
            }
        }
        modules.truncate(most);
        Ok(modules)
    }

    /// Drops the code of `module`.
    pub(crate) fn remove(&self, module: Digest) -> io::Result<()> {
        self.open().pop(&module);
        remove_if_present(&self.path(module))
    }

    fn path(&self, module: Digest) -> PathBuf {
        self.folder.join(format!("{module}{}", self.name_end()))
    }

    /// How the names end of what this engine may load.
    fn name_end(&self) -> String {
        // Half of the digest tells engines apart; the tag covers it in full.
        format!("-{}{CODE_SUFFIX}", &self.compatibility.to_string()[..32])
    }

    fn check(&self, module: Digest, mut file: &File) -> io::Result<bool> {
        let Some(code_bytes) = file.metadata()?.len().checked_sub(TAG_BYTES) else { return Ok(false) };
        let tag = self.tag(module, file, code_bytes)?;
        let mut stored = [0; TAG_BYTES as usize];
        file.read_exact(&mut stored)?;
        // `blake3::Hash` compares in constant time.
        Ok(tag == blake3::Hash::from_bytes(stored))
    }

    /// The tag of `module`'s code, the first `code_bytes` of `file`; the file's position is then behind them.
    fn tag(&self, module: Digest, mut file: impl Read + Seek, code_bytes: u64) -> io::Result<blake3::Hash> {
        file.rewind()?;
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&module.0).update(&self.compatibility.0).update_reader(file.take(code_bytes))?;
        Ok(hasher.finalize())
    }

    fn keep_open(&self, module: Digest, file: File) -> Arc<File> {
        let file = Arc::new(file);
        self.open().put(module, Open { file: Arc::clone(&file), noted: Instant::now() });
        file
    }

    /// Bytes of all compiled modules in the folder.
    pub(crate) fn bytes_used(&self) -> io::Result<u64> {
        Ok(self.files()?.iter().map(|(_, _, bytes)| bytes).sum())
    }

    /// Removes the files that were not used for longest, until the rest fit. `newest`, which fits alone, stays.
    fn evict(&self, newest: Option<&Path>) -> io::Result<()> {
        self.remove_oldest(newest, |left, _| left <= self.bytes_max)?;
        Ok(())
    }

    /// Removes the files that were not used for longest, but for `newest`, until it `is_enough`: asked with the bytes that are left, and those
    /// that were removed. Gives the latter.
    fn remove_oldest(&self, newest: Option<&Path>, is_enough: impl Fn(u64, u64) -> bool) -> io::Result<u64> {
        let mut files = self.files()?;
        files.sort();
        let bytes_used: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
        let mut removed = 0;
        for (_, path, bytes) in files {
            if is_enough(bytes_used - removed, removed) {
                break;
            }
            if Some(&*path) != newest {
                self.close(&path);
                remove_if_present(&path)?;
                removed += bytes;
            }
        }
        Ok(removed)
    }

    /// Lets go of a file that is to be removed: a disk has room for others only once nobody holds it open.
    fn close(&self, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(module) = name.strip_suffix(&self.name_end()).and_then(|module| module.parse().ok()) {
            self.open().pop(&module);
        }
    }

    /// Every compiled module with its last use and size. Removes temporary files that nobody will finish.
    fn files(&self) -> io::Result<Vec<(SystemTime, PathBuf, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (name, Ok(metadata)) = (entry.file_name(), entry.metadata()) else { continue };
            let (name, used) = (name.to_string_lossy(), metadata.modified()?);
            if name.ends_with(CODE_SUFFIX) {
                files.push((used, entry.path(), metadata.len()));
            } else if name.starts_with(TEMP_PREFIX) && used.elapsed().is_ok_and(|age| age > TEMP_AGE_MAX) {
                remove_if_present(&entry.path())?;
            }
        }
        Ok(files)
    }

    fn open(&self) -> MutexGuard<'_, LruCache<Digest, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the disk keep room for `file` to have so many bytes, as whose size it does not show.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match retry_on_intr(|| fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes)) {
        // Such a file system can only be asked what it has.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let disk = fstatvfs(file)?;
            let left = disk.f_bavail.saturating_mul(disk.f_frsize);
            let has_room = left.saturating_add(file.metadata()?.blocks() * BLOCK_BYTES) >= bytes;
            has_room.then_some(()).ok_or_else(|| io::ErrorKind::StorageFull.into())
        }
        reserved => Ok(reserved?),
    }
}

/// Whether a disk has no room, or its user may have no more of it.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A file's time of modification is that of its last use. Where it cannot be set, the file is evicted sooner than it should be.
fn note_use(file: &File) {
    let _ = file.set_modified(SystemTime::now());
}

/// Refuses a folder or a file that another user owns, or may do what `mode` says with: whoever can change it can run code in this node's
/// sandboxes.
fn refuse_others(path: &Path, mode: u32) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let (owner, found) = (metadata.uid(), metadata.mode() & 0o7777);
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display())));
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return refused(format!("belongs to another user (uid {owner}), who could run code in this node's sandboxes"));
    }
    if found & mode != 0 {
        let remedy = format!("chmod {:o} {}", found & !mode, path.display());
        return refused(format!("has mode {found:04o}, so others could run code in this node's sandboxes; run: {remedy}"));
    }
    Ok(())
}

/// Refuses a folder that no code can be run from: a node would join, and fail every job.
fn refuse_noexec(folder: &Path) -> io::Result<()> {
    if rustix::fs::statvfs(folder)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        let what = format!("{} is on a file system that is mounted noexec", folder.display());
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{what}, so compiled modules cannot run from it; choose another cache"),
        ));
    }
    Ok(())
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The key that vouches for this folder's files; made at the first use. Whoever can read it can run code in this node's sandboxes.
fn node_key(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = folder.join(KEY_FILE);
    if !path.exists() {
        let mut key = [0; KEY_BYTES];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        let mut temp = tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(folder)?; // its mode is 0600
        temp.write_all(&key)?;
        temp.as_file().sync_all()?;
        // Where another process was first, its key holds.
        match temp.persist_noclobber(&path) {
            Err(e) if e.error.kind() != io::ErrorKind::AlreadyExists => return Err(e.error),
            _ => {}
        }
    }
    refuse_others(&path, 0o077)?;
    let key = fs::read(&path)?;
    key.try_into().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{} is not {KEY_BYTES} bytes", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn cache(folder: &Path, bytes_max: u64) -> ModuleCache {
        ModuleCache::new(folder, Digest::of(b"engine"), bytes_max).unwrap()
    }

    fn store(cache: &ModuleCache, module: Digest, code: &[u8]) {
        cache.store(module, written(cache, code)).unwrap();
    }

    /// Code as a compile worker wrote it.
    fn written(cache: &ModuleCache, code: &[u8]) -> NamedTempFile {
        let mut new = cache.new_code().unwrap();
        new.write_all(code).unwrap();
        new
    }

    #[test]
    fn code_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let module = Digest::of(b"m");
        store(&cache(folder.path(), 1 << 20), module, b"machine code");
        let mut bytes = Vec::new();
        let file = cache(folder.path(), 1 << 20).load(module).unwrap();
        (&*file).rewind().unwrap();
        (&*file).take(12).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"machine code");
    }

    #[test]
    fn altered_and_foreign_code_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (module, other) = (Digest::of(b"m"), Digest::of(b"n"));
        let first = cache(folder.path(), 1 << 20);
        store(&first, module, b"machine code");
        let path = first.path(module);
        let good = fs::read(&path).unwrap();

        for at in [0, good.len() - 1] {
            let mut altered = good.clone();
            altered[at] ^= 1;
            fs::write(&path, altered).unwrap();
            assert!(cache(folder.path(), 1 << 20).load(module).is_none());
            assert!(!path.exists());
        }
        fs::write(&path, &good[..10]).unwrap();
        assert!(cache(folder.path(), 1 << 20).load(module).is_none());
        // The file of one module under another's name.
        fs::write(first.path(other), &good).unwrap();
        assert!(cache(folder.path(), 1 << 20).load(other).is_none());
        // The same under another node's key.
        fs::write(&path, &good).unwrap();
        assert!(cache(folder.path(), 1 << 20).load(module).is_some());
        fs::write(folder.path().join(KEY_FILE), [9; KEY_BYTES]).unwrap();
        assert!(cache(folder.path(), 1 << 20).load(module).is_none());
    }

    #[test]
    fn code_of_another_engine_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let module = Digest::of(b"m");
        store(&cache(folder.path(), 1 << 20), module, b"machine code");
        let other = ModuleCache::new(folder.path(), Digest::of(b"other engine"), 1 << 20).unwrap();
        assert!(other.load(module).is_none());
    }

    #[test]
    fn code_that_is_removed_is_gone_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 1 << 20);
        let [a, b] = [b"a", b"b"].map(|name| Digest::of(name));
        store(&cache, a, b"code");
        store(&cache, b, b"code");
        cache.remove(a).unwrap();
        cache.remove(a).unwrap();
        assert!(cache.load(a).is_none() && cache.load(b).is_some());
    }

    #[test]
    fn least_recently_used_code_is_evicted() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 250);
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        store(&cache, a, &[1; 80]);
        store(&cache, b, &[2; 80]);
        let past = SystemTime::now() - Duration::from_secs(60);
        File::open(cache.path(b)).unwrap().set_modified(past).unwrap();
        store(&cache, c, &[3; 80]);
        let kept = [a, b, c].map(|module| cache.path(module).exists());
        assert_eq!(kept, [true, false, true]);
        // Nor is it held open, as its room on the disk would not be free.
        assert_eq!([a, b, c].map(|module| cache.get(module).is_some()), [true, false, true]);
    }

    /// A module that was always open kept the time of its first use, and went before one that hardly anybody asked for.
    #[test]
    fn code_that_stays_open_is_noted_as_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 250);
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        for module in [a, b] {
            store(&cache, module, &[1; 80]);
            File::open(cache.path(module)).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3_600)).unwrap();
        }
        File::open(cache.path(b)).unwrap().set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        // A machine that began a moment ago has no such time.
        let Some(long_ago) = Instant::now().checked_sub(NOTED_EVERY) else { return };
        cache.open().get_mut(&a).unwrap().noted = long_ago;
        assert!(cache.get(a).is_some());
        store(&cache, c, &[3; 80]);
        assert_eq!([a, b, c].map(|module| cache.path(module).exists()), [true, false, true]);
    }

    #[test]
    fn folder_from_which_no_code_can_run_is_refused() {
        let Some(noexec) = ["/proc", "/sys"].iter().map(Path::new).find(|path| refuse_noexec(path).is_err()) else {
            // A machine may have no such mount.
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            return assert!(
                !mounts.lines().any(|mount| mount.starts_with("proc /proc ") && mount.contains("noexec")),
                "{mounts}"
            );
        };
        let error = refuse_noexec(noexec).unwrap_err().to_string();
        assert!(error.contains("noexec") && error.contains("choose another cache"), "{error}");
        refuse_noexec(tempfile::tempdir().unwrap().path()).unwrap();
    }

    #[test]
    fn folder_or_key_that_others_can_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let code = folder.path().join("code");
        let open = || ModuleCache::new(&code, Digest::of(b"engine"), 1 << 20);
        open().unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for (path, open_to_others, safe) in [(code.clone(), 0o770, 0o755), (code.join(KEY_FILE), 0o640, 0o600)] {
            set(&path, open_to_others);
            let error = open().unwrap_err().to_string();
            assert!(error.contains("others could run code") && error.contains("chmod"), "{error}");
            set(&path, safe);
            open().unwrap();
        }
        // Only root may give it away, and only to whom its namespace knows.
        if std::os::unix::fs::chown(&code, Some(12_345), None).is_ok() {
            assert!(open().unwrap_err().to_string().contains("belongs to another user (uid 12345)"));
        }
    }

    /// Nothing was evicted before the first compilation, which has no room where the disk is full.
    #[test]
    fn bound_that_is_lower_holds_from_the_next_opening() {
        let folder = tempfile::tempdir().unwrap();
        let first = cache(folder.path(), 1 << 20);
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        for (age_s, module) in [(0, a), (60, b), (30, c)] {
            store(&first, module, &[0; 80]);
            File::open(first.path(module)).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
        }
        for (bytes_max, kept) in [(336, 3), (335, 2), (112, 1), (0, 0)] {
            let again = cache(folder.path(), bytes_max);
            assert_eq!(again.modules(9).unwrap(), [a, c, b][..kept], "{bytes_max}");
        }
    }

    #[test]
    fn code_over_the_bound_is_refused_and_evicts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 112);
        let [a, b] = [b"a", b"b"].map(|name| Digest::of(name));
        store(&cache, a, &[1; 80]);
        let error = cache.store(b, written(&cache, &[2; 81])).unwrap_err().to_string();
        assert!(error.contains("has 113 bytes, and the cache holds 112") && error.contains("cache-max"), "{error}");
        assert_eq!(cache.modules(9).unwrap(), [a]);
        assert_eq!(cache.bytes_used().unwrap(), 112);
        let temporary = fs::read_dir(folder.path()).unwrap();
        assert!(temporary.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX)));
    }

    /// A worker that said a large number had the whole cache evicted for it.
    #[test]
    fn nothing_makes_room_that_is_there_already() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 1 << 20);
        let [a, b] = [b"a", b"b"].map(|name| Digest::of(name));
        store(&cache, a, &[1; 80]);
        let new = written(&cache, &[2; 80]);
        let most = (1 << 20) - TAG_BYTES;
        cache.make_room(&new, most).unwrap();
        assert_eq!(cache.make_room(&new, most + 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(cache.modules(9).unwrap(), [a]);
        assert!(new.as_file().metadata().unwrap().blocks() * BLOCK_BYTES >= most, "the disk keeps it");
        // What is kept is no part of the code, nor is it kept for longer.
        let stored = cache.store(b, new).unwrap().metadata().unwrap();
        assert_eq!(stored.len(), 80 + TAG_BYTES);
        assert!(stored.blocks() * BLOCK_BYTES <= 64 << 10, "{} blocks", stored.blocks());
        assert!(self::cache(folder.path(), 1 << 20).load(b).is_some());
    }

    #[test]
    fn one_file_makes_room_for_a_name_and_only_where_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 1 << 20);
        for (age_s, name) in [(0, b"a"), (60, b"b"), (30, b"c")] {
            store(&cache, Digest::of(name), &[1; 80]);
            File::open(cache.path(Digest::of(name)))
                .unwrap()
                .set_modified(SystemTime::now() - Duration::from_secs(age_s))
                .unwrap();
        }
        let (denied, full) = (io::ErrorKind::PermissionDenied, io::ErrorKind::StorageFull);
        // What fails first, whether it then succeeds, and how many modules are left.
        for (kind, succeeds, left) in [(denied, false, 3), (full, true, 2), (full, true, 1), (full, true, 0)] {
            let mut first = Some(kind);
            let done = cache.with_room(|| first.take().map_or(Ok(()), |kind| Err(kind.into())));
            assert_eq!((done.is_ok(), cache.modules(9).unwrap().len()), (succeeds, left), "{kind}");
            assert!(left == 0 || cache.load(Digest::of(b"a")).is_some(), "the last one used");
        }
        let mut asked = 0;
        let done: io::Result<()> = cache.with_room(|| {
            asked += 1;
            Err(full.into())
        });
        assert!(done.is_err() && asked == 1, "nothing is left that could make room: {asked}");
    }

    #[test]
    fn modules_are_listed_with_the_latest_used_first() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c, d] = [b"a", b"b", b"c", b"d"].map(|name| Digest::of(name));
        let first = cache(folder.path(), 1 << 20);
        for (age_s, module) in [(0, a), (60, b), (30, c)] {
            store(&first, module, b"code");
            File::open(first.path(module)).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
        }
        // Code of another engine is none that this one has.
        store(&ModuleCache::new(folder.path(), Digest::of(b"other engine"), 1 << 20).unwrap(), d, b"code");
        fs::write(folder.path().join(format!("nothing{}", first.name_end())), b"code").unwrap();
        assert_eq!(first.modules(9).unwrap(), [c, b, a], "the order in which they were stored");

        // A node that starts again knows them by their files, and what it uses comes first.
        let again = cache(folder.path(), 1 << 20);
        assert_eq!(again.modules(9).unwrap(), [a, c, b]);
        again.load(b).unwrap();
        assert_eq!(again.modules(9).unwrap(), [b, a, c]);
        assert_eq!(again.modules(2).unwrap(), [b, a]);
    }

    #[test]
    fn key_is_private_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache_folder = folder.path().join("cache");
        let first = cache(&cache_folder, 0).key;
        assert_eq!(cache(&cache_folder, 0).key, first);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&cache_folder.join(KEY_FILE)), 0o600);
        assert_eq!(mode(&cache_folder), 0o700);
    }
}
