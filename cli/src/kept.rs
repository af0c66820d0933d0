//! What is kept of a job beside its receipt, so that its bill can be computed again: what was asked, where module and inputs came from,
//! and copies of them as far as room is given.

use std::collections::BTreeMap;
use std::fs::{DirEntry, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf, absolute};
use std::time::SystemTime;

use adit_protocol::{BlobRef, Digest, InputName, JobSpec, decode_exact};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::args::WorkArgs;
use crate::config::{Config, KEEP_MAX};
use crate::exit::Exit;
use crate::named::NamedFile;
use crate::quantity::parse_bytes;
use crate::sink::AtomicFile;
use crate::spec::{Input, Submission};

/// The version of job files. The specification in them has the form of the wire's versions 6 and 7.
const VERSION: u32 = 2;

/// The largest job file that is read: arguments and environment are at most 128 KiB, twice that in hexadecimal, and some paths.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The largest module or input that is copied. What is larger is worth more than the copy, and its user knows where it is.
const COPY_BYTES_MAX: u64 = 64 << 20;

/// Copies that are kept at most, so that looking through them all takes some milliseconds.
const COPIES_MAX: usize = 4096;

/// What a small file takes on disk, and so what it counts.
const DISK_BLOCK_BYTES: u64 = 4096;

/// What is copied at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// A job as it was asked, and where its bytes came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptJob {
    pub(crate) spec: JobSpec,
    /// The module's file at that time. It may have changed since.
    pub(crate) module: Option<PathBuf>,
    /// The input's file at that time; nothing where it came by a pipe.
    pub(crate) input: Option<PathBuf>,
    /// The same of each named input that was in a file.
    pub(crate) named: BTreeMap<InputName, PathBuf>,
}

/// A job file's form.
#[derive(Debug, Serialize, Deserialize)]
struct Form {
    version: u32,
    /// The specification's postcard bytes, in hexadecimal.
    spec: String,
    module: Option<String>,
    input: Option<String>,
    /// The files of the named inputs.
    named: BTreeMap<InputName, String>,
}

/// What job files of every version have.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

impl KeptJob {
    /// A job whose module and inputs are in these files.
    pub(crate) fn new(spec: &JobSpec, module: &Path, input: Option<&Path>, named: &[NamedFile]) -> Self {
        let place = |path: &Path| path.is_file().then(|| absolute(path).ok()).flatten();
        let named = named.iter().filter_map(|file| Some((file.name.clone(), place(&file.path)?))).collect();
        Self { spec: spec.clone(), module: place(module), input: input.and_then(place), named }
    }

    /// Writes a job file, for nobody else to read: arguments and environment may be secrets.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        // A path that is no text is a hint less.
        let text = |path: &Option<PathBuf>| path.as_ref().and_then(|p| p.to_str()).map(str::to_owned);
        let spec = hex::encode(postcard::to_allocvec(&self.spec).context("a specification always encodes")?);
        let named = self.named.iter().filter_map(|(name, path)| Some((name.clone(), path.to_str()?.to_owned()))).collect();
        let form = Form { version: VERSION, spec, module: text(&self.module), input: text(&self.input), named };
        let mut file = AtomicFile::create_private(path)?;
        let mut bytes = serde_json::to_vec(&form).context("a job file always encodes")?;
        bytes.push(b'\n');
        file.file_mut().write_all(&bytes).with_context(|| format!("cannot write {}", path.display()))?;
        file.commit()
    }

    /// Reads a job file. Whose job it is only the specification's digest tells.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        let mut text = Vec::new();
        if file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)? as u64 > FILE_BYTES_MAX {
            bail!("over {FILE_BYTES_MAX} bytes are too many for a job file");
        }
        let Versioned { version } = serde_json::from_slice(&text).context("not a job file")?;
        if version != VERSION {
            bail!("version {version} of job files is not known here; version {VERSION} is");
        }
        let form: Form = serde_json::from_slice(&text).context("not a job file")?;
        let spec = decode_exact(&hex::decode(&form.spec).context("not hexadecimal")?).context("not a specification")?;
        let named = form.named.into_iter().map(|(name, path)| (name, path.into())).collect();
        Ok(Self { spec, module: form.module.map(PathBuf::from), input: form.input.map(PathBuf::from), named })
    }
}

/// The folder of the jobs: `SPEC.job`, named by the digest that receipts carry, and the copies in `blobs/DIGEST`.
#[derive(Debug, Clone)]
pub(crate) struct JobStore {
    dir: PathBuf,
    /// Bytes of copies that are kept; 0 where none are to be.
    copies_bytes_max: u64,
}

impl JobStore {
    /// The user's own.
    pub(crate) fn of_user(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { dir: config.dirs.jobs(), copies_bytes_max: config.value(&KEEP_MAX, None, parse_bytes)?.0 })
    }

    /// Where the job with this specification is, or would be.
    pub(crate) fn job_path(&self, spec: &Digest) -> PathBuf {
        self.dir.join(format!("{spec}.job"))
    }

    /// Where the copy of these bytes is, or would be.
    pub(crate) fn copy_path(&self, digest: &Digest) -> PathBuf {
        self.copies().join(digest.to_string())
    }

    /// Starts to keep the job that the command line describes, while it runs.
    pub(crate) fn keep(self, submission: &Submission, args: &WorkArgs, with: &[NamedFile]) -> Keeping {
        let Submission { job, input, named } = submission;
        let kept = KeptJob::new(&job.spec, &args.module, args.input.as_deref(), with);
        let path = self.job_path(&job.spec.digest());
        let (module, input) = (File::open(&args.module), input.reader());
        let named: Vec<_> = named.inputs().map(Input::reader).collect();
        let job_file = path.clone();
        let task = spawn_blocking(move || {
            let fresh = !job_file.exists();
            kept.save(&job_file)?;
            self.copy(kept.spec.module, module.context("the module")?)?;
            self.copy(kept.spec.input, input.context("the input")?)?;
            for (input, bytes) in kept.spec.inputs.iter().zip(named) {
                self.copy(input.blob, bytes.with_context(|| format!("the input `{}`", input.name))?)?;
            }
            Ok(fresh)
        });
        Keeping { task, path }
    }

    /// Keeps a copy of `blob`, unless it is large or there is one. Bytes that are not those any more are left alone.
    pub(crate) fn copy(&self, blob: BlobRef, from: impl Read) -> anyhow::Result<()> {
        if blob.bytes == 0 || blob.bytes > COPY_BYTES_MAX.min(self.copies_bytes_max) {
            return Ok(());
        }
        let path = self.copy_path(&blob.digest);
        if is_there(&path, blob.bytes) {
            return Ok(());
        }
        let mut file = AtomicFile::create_private(&path)?;
        let cannot = || format!("cannot copy to {}", path.display());
        let copied = copy_hashing(from.take(blob.bytes + 1), file.file_mut()).with_context(cannot)?;
        if copied != blob {
            tracing::info!(digest = %blob.digest, "it has changed meanwhile, so no copy is kept");
            return Ok(());
        }
        file.commit()?;
        self.trim().with_context(cannot)
    }

    /// Takes the copies away that were not used for longest, until the rest fits.
    fn trim(&self) -> io::Result<()> {
        let mut copies = Vec::new();
        for entry in std::fs::read_dir(self.copies())? {
            // What goes away meanwhile is trimmed by somebody else.
            copies.extend(Copy::of(&entry?).ok());
        }
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.used));
        let mut bytes = 0;
        for (n, copy) in copies.iter().enumerate() {
            bytes += copy.bytes;
            if bytes > self.copies_bytes_max || n >= COPIES_MAX {
                let _ = std::fs::remove_file(&copy.path);
            }
        }
        Ok(())
    }

    fn copies(&self) -> PathBuf {
        self.dir.join("blobs")
    }
}

/// A job that is being kept while it runs.
#[derive(Debug)]
pub(crate) struct Keeping {
    /// Tells whether the job file was not there before.
    task: JoinHandle<anyhow::Result<bool>>,
    path: PathBuf,
}

impl Keeping {
    /// Waits until all is kept. A job that was refused has no bill, and leaves nothing but copies that the next may use. What could not
    /// be kept is told and does no other harm.
    pub(crate) async fn finish(self, error: Option<&anyhow::Error>) {
        let kept = self.task.await.context("the job was not kept").flatten();
        let refused = error.is_some_and(|error| Exit::of_error(error) == Exit::Refused);
        match kept {
            Ok(true) if refused => drop(std::fs::remove_file(&self.path)),
            Ok(_) => {}
            Err(error) => tracing::warn!("not all of the job is kept for `adit audit`: {error:#}"),
        }
    }
}

/// A file among the copies, one that a killed process left half written included.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Copy {
    fn of(entry: &DirEntry) -> io::Result<Self> {
        let metadata = entry.metadata()?;
        Ok(Self { path: entry.path(), bytes: metadata.len().max(DISK_BLOCK_BYTES), used: metadata.modified()? })
    }
}

/// Whether a copy is there; if so, it counts as used now.
fn is_there(path: &Path, bytes: u64) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let whole = file.metadata().is_ok_and(|metadata| metadata.len() == bytes);
    // Only the order in which copies go depends on it.
    let _ = file.set_modified(SystemTime::now());
    whole
}

fn copy_hashing(mut from: impl Read, to: &mut File) -> io::Result<BlobRef> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let n = from.read(&mut piece)?;
        if n == 0 {
            return Ok(BlobRef { digest: Digest(*hasher.finalize().as_bytes()), bytes: hasher.count() });
        }
        hasher.update(&piece[..n]);
        to.write_all(&piece[..n])?;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    impl JobStore {
        /// One that keeps no copies.
        pub(crate) fn in_dir(dir: &Path) -> Self {
            store(dir, 0)
        }
    }

    fn store(dir: &Path, copies_bytes_max: u64) -> JobStore {
        JobStore { dir: dir.to_owned(), copies_bytes_max }
    }

    fn is_kept(store: &JobStore, bytes: &[u8]) -> bool {
        store.copy_path(&Digest::of(bytes)).exists()
    }

    #[test]
    fn job_file_is_read_as_it_was_written_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("m.wasm");
        std::fs::write(&module, b"module").unwrap();
        let mut spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
        spec.env.push(("TOKEN".into(), "secret".into()));
        spec.add_input("m".parse().unwrap(), BlobRef::of(b"module"));
        spec.add_input("pipe".parse().unwrap(), BlobRef::of(b"piped"));
        let with = ["m=".to_owned() + module.to_str().unwrap(), "pipe=/dev/null".to_owned()].map(|text| text.parse().unwrap());
        // What is no file, such as a pipe, cannot be read again.
        let job = KeptJob::new(&spec, &module, Some(Path::new("-")), &with);
        assert_eq!((job.module.as_deref(), job.input.as_deref()), (Some(&*module), None));
        assert_eq!(job.named.keys().map(InputName::as_str).collect::<Vec<_>>(), ["m"]);
        let path = dir.path().join("jobs/x.job");
        job.save(&path).unwrap();
        assert_eq!(KeptJob::load(&path).unwrap(), job);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn anything_but_a_job_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.job");
        for text in ["", "{}", r#"{"version":2,"spec":"zz","named":{}}"#, r#"{"version":2,"spec":"00","named":{}}"#] {
            std::fs::write(&path, text).unwrap();
            assert!(KeptJob::load(&path).is_err(), "{text}");
        }
        for version in [1, 3] {
            std::fs::write(&path, format!(r#"{{"version":{version},"spec":""}}"#)).unwrap();
            let told = KeptJob::load(&path).unwrap_err().to_string();
            assert!(told.contains(&format!("version {version} of job files is not known")), "{told}");
        }
    }

    #[test]
    fn oldest_copies_make_room_and_what_is_used_again_is_young() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), 3 * DISK_BLOCK_BYTES);
        let contents: [&[u8]; 4] = [b"first", b"second", b"third", b"fourth"];
        for (age, content) in (1..4).rev().zip(contents) {
            store.copy(BlobRef::of(content), content).unwrap();
            let copy = File::open(store.copy_path(&Digest::of(content))).unwrap();
            copy.set_modified(SystemTime::now() - Duration::from_secs(age * 60)).unwrap();
        }
        store.copy(BlobRef::of(contents[0]), contents[0]).unwrap();
        store.copy(BlobRef::of(contents[3]), contents[3]).unwrap();
        assert_eq!(contents.map(|content| is_kept(&store, content)), [true, false, true, true]);
    }

    #[test]
    fn what_is_large_or_has_changed_or_is_not_wanted_is_not_copied() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = vec![7; 10_000];
        let blob = BlobRef::of(&bytes);
        for (copies_bytes_max, content) in [(0, &bytes[..]), (9_999, &bytes[..]), (1 << 30, &bytes[1..]), (1 << 30, b"else")] {
            let store = store(dir.path(), copies_bytes_max);
            store.copy(blob, content).unwrap();
            assert!(!is_kept(&store, &bytes), "{copies_bytes_max} {}", content.len());
        }
        let store = store(dir.path(), 1 << 30);
        store.copy(blob, &bytes[..]).unwrap();
        assert_eq!(std::fs::read(store.copy_path(&blob.digest)).unwrap(), bytes);
        // Nothing half done is left.
        assert_eq!(std::fs::read_dir(store.copies()).unwrap().count(), 1);
    }
}
