use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use adit_protocol::{BlobRef, IdempotencyKey, InputName, JobSpec, Salt, UnixMillis};
use adit_transport::hash_file;
use bytes::Bytes;

/// A job to be submitted: its specification, where its bytes are, and the key that makes it this job and no other.
#[derive(Debug, Clone)]
pub struct Job {
    /// What to run.
    pub spec: JobSpec,
    /// The module's bytes, sent only if the gateway lacks them.
    pub module: Source,
    /// The input's bytes, sent with the job where they are few, else only if the gateway lacks them.
    pub input: Source,
    /// The named inputs' bytes, sent only if the gateway lacks them.
    pub named: Vec<Source>,
    /// Submitting again under this key attaches to this job.
    pub key: IdempotencyKey,
    /// From when on its deadline counts, for who comes again with the job or had to wait before; nothing where that is its submission.
    pub since: Option<Instant>,
}

/// Bytes with their name, at hand or in a file.
#[derive(Debug, Clone)]
pub struct Source {
    blob: BlobRef,
    place: Place,
}

#[derive(Debug, Clone)]
pub(crate) enum Place {
    Bytes(Bytes),
    File(PathBuf),
}

impl Source {
    /// Bytes at hand.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { blob: BlobRef::of(&bytes), place: Place::Bytes(bytes) }
    }

    /// A file, hashed now in one pass of constant memory and read again when it is sent. It must not change in between.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Ok(Self { blob: hash_file(path)?, place: Place::File(path.to_owned()) })
    }

    /// The name and size of the bytes.
    pub fn blob(&self) -> BlobRef {
        self.blob
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

impl Job {
    /// A job with a fresh key and a fresh salt, started at the present time, and everything else at its default.
    pub fn new(module: Source, input: Source) -> Self {
        let mut spec = JobSpec::new(module.blob(), input.blob());
        // A clock before 1970 is as good a start for the guest's virtual clock as any other.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        spec.time = UnixMillis(now.as_millis() as u64);
        spec.salt = Salt(rand::random());
        Self { spec, module, input, named: Vec::new(), key: new_key(), since: None }
    }

    /// The same job with another named input. A gateway refuses a job with two of one name, or with more than
    /// [`NAMED_INPUTS_MAX`](adit_protocol::limits::NAMED_INPUTS_MAX).
    pub fn with_named(mut self, name: InputName, source: Source) -> Self {
        self.spec.add_input(name, source.blob());
        self.named.push(source);
        self
    }
}

/// A random idempotency key.
pub fn new_key() -> IdempotencyKey {
    IdempotencyKey(rand::random())
}
