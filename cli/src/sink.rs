//! Where a guest's output goes.

use std::fs::{File, Permissions};
use std::io::{self, IsTerminal, Seek, Stdout, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use adit_client::{Client, Output};
use adit_protocol::BlobRef;
use adit_transport::TransferError;
use anyhow::Context;
use tempfile::NamedTempFile;

use crate::visible::VisibleWriter;

/// Where the files that this process has open have names.
const OPEN_FILES: [&str; 2] = ["/dev/fd", "/proc/self/fd"];

/// How often a large output is asked for again after its connection broke.
const FETCH_ATTEMPTS: u32 = 3;

/// Where a guest's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sink {
    /// To standard output.
    Stdout,
    /// To a file, which appears whole or not at all.
    File(PathBuf),
    /// Nowhere.
    Discard,
}

/// An output on its way.
#[derive(Debug)]
pub(crate) enum SinkWriter {
    Stdout(Stdout),
    Terminal(VisibleWriter<Stdout>),
    Device(File),
    File(AtomicFile),
    Discard,
}

impl Sink {
    /// Standard output or `output`; with `json`, standard output is taken.
    pub(crate) fn new(output: Option<&Path>, json: bool) -> Self {
        match output {
            Some(path) => Self::File(path.to_owned()),
            None if json => Self::Discard,
            None => Self::Stdout,
        }
    }

    /// Whether what was written of an output is left nowhere where it is not ended.
    pub(crate) fn is_replaced(&self) -> bool {
        match self {
            Self::File(path) => !is_device(path),
            Self::Stdout => false,
            Self::Discard => true,
        }
    }

    /// Starts an output.
    pub(crate) fn open(&self) -> anyhow::Result<SinkWriter> {
        Ok(match self {
            Self::Discard => SinkWriter::Discard,
            // Bytes of strangers: exact for a program, harmless for a terminal.
            Self::Stdout if io::stdout().is_terminal() => SinkWriter::Terminal(VisibleWriter::new(io::stdout())),
            Self::Stdout => SinkWriter::Stdout(io::stdout()),
            Self::File(path) if is_stdout(path) => Self::Stdout.open()?,
            Self::File(path) if is_device(path) => {
                let file = File::options().append(true).open(path);
                SinkWriter::Device(file.with_context(|| format!("cannot write {}", path.display()))?)
            }
            Self::File(path) => SinkWriter::File(AtomicFile::create(path)?),
        })
    }

    /// Writes a checked output, fetched from `client` where it did not come by itself. What is large waits in a file in `spool`
    /// until its digest is known to be right.
    pub(crate) async fn write(&self, output: &Output, client: &Client, spool: &Path) -> anyhow::Result<()> {
        let mut writer = self.open()?;
        match output {
            _ if *self == Self::Discard => {}
            Output::Inline(bytes) => writer.write_all(bytes)?,
            Output::Blob(blob) => match &mut writer {
                SinkWriter::File(file) => fetch(client, *blob, file.file_mut()).await?,
                _ => {
                    let mut file = spool_file(spool)?;
                    fetch(client, *blob, &mut file).await?;
                    file.rewind()?;
                    io::copy(&mut file, &mut writer)?;
                }
            },
        }
        writer.commit()
    }
}

impl SinkWriter {
    /// Ends the output; a file gets its name now.
    pub(crate) fn commit(mut self) -> anyhow::Result<()> {
        self.flush()?;
        match self {
            Self::File(file) => file.commit(),
            Self::Terminal(mut writer) => Ok(writer.finish()?),
            Self::Stdout(_) | Self::Device(_) | Self::Discard => Ok(()),
        }
    }
}

impl Write for SinkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::Terminal(writer) => writer.write(bytes),
            Self::Device(file) => file.write(bytes),
            Self::File(file) => file.file_mut().write(bytes),
            Self::Discard => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::Terminal(writer) => writer.flush(),
            Self::Device(file) => file.flush(),
            Self::File(file) => file.file_mut().flush(),
            Self::Discard => Ok(()),
        }
    }
}

/// A file that takes its name only when it is whole. Dropped before, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Starts a file beside `path`, in a folder that is made if need be.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        // As any new file: readable by whom the umask lets.
        Self::create_with(path, 0o666)
    }

    /// As [`AtomicFile::create`], for what nobody but the user is to read.
    pub(crate) fn create_private(path: &Path) -> anyhow::Result<Self> {
        Self::create_with(path, 0o600)
    }

    fn create_with(path: &Path, mode: u32) -> anyhow::Result<Self> {
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let cannot = || format!("cannot write {}", path.display());
        std::fs::create_dir_all(dir).with_context(cannot)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".adit-").permissions(Permissions::from_mode(mode));
        Ok(Self { temporary: builder.tempfile_in(dir).with_context(cannot)?, path: path.to_owned() })
    }

    /// Writes `bytes` to `path` at once.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
        let mut file = Self::create(path)?;
        file.file_mut().write_all(bytes).with_context(|| format!("cannot write {}", path.display()))?;
        file.commit()
    }

    /// The file to write to.
    pub(crate) fn file_mut(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Gives the file its name.
    pub(crate) fn commit(self) -> anyhow::Result<()> {
        let path = self.path;
        self.temporary.persist(&path).map_err(|e| e.error).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}

/// A nameless file in `dir` for what is too large for memory and not yet to be trusted.
pub(crate) fn spool_file(dir: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(dir)
        .and_then(|()| tempfile::tempfile_in(dir))
        .with_context(|| format!("cannot make a temporary file in {}", dir.display()))
}

/// Writes `blob` to `file`, from the start again where the connection broke on the way.
async fn fetch(client: &Client, blob: BlobRef, file: &mut File) -> anyhow::Result<()> {
    let mut attempt = 1;
    loop {
        match client.fetch(blob, file).await {
            Err(TransferError::Connection(_) | TransferError::Read(_)) if attempt < FETCH_ATTEMPTS => attempt += 1,
            fetched => return fetched.with_context(|| format!("cannot fetch the output {}", blob.digest)),
        }
        file.set_len(0)?;
        file.rewind()?;
    }
}

/// Whether `path` is something that must be written to and not replaced, such as `/dev/null`, a pipe, or a file that is open here already.
pub(crate) fn is_device(path: &Path) -> bool {
    // The link to an open file is the system's, also where that file is a regular one.
    let is_open = is_stdout(path) || path == Path::new("/dev/stderr") || OPEN_FILES.iter().any(|dir| path.starts_with(dir));
    is_open || path.metadata().is_ok_and(|m| !m.is_file() && !m.is_dir())
}

/// Standard output by a name. Opened again, a file would be written from its start, over what is there.
fn is_stdout(path: &Path) -> bool {
    path == Path::new("/dev/stdout") || OPEN_FILES.iter().any(|dir| path == Path::new(dir).join("1"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/out");
        let sink = Sink::File(path.clone());
        let mut writer = sink.open().unwrap();
        writer.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(writer);
        assert_eq!(std::fs::read_dir(dir.path().join("deep")).unwrap().count(), 0);

        let mut writer = sink.open().unwrap();
        writer.write_all(b"whole").unwrap();
        writer.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn device_is_written_to_and_not_replaced() {
        let mut writer = Sink::File("/dev/null".into()).open().unwrap();
        writer.write_all(b"gone").unwrap();
        writer.commit().unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }

    /// With `> file`, as root, the file took the place of `/dev/stderr`.
    #[test]
    fn file_that_is_open_here_is_written_to_behind_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"before ").unwrap();
        let mut writer = Sink::File(format!("/proc/self/fd/{}", file.as_raw_fd()).into()).open().unwrap();
        writer.write_all(b"behind").unwrap();
        writer.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before behind");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        for name in ["/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/63"] {
            assert!(is_device(Path::new(name)), "{name}");
        }
        assert!(!is_device(&path));
    }

    #[test]
    fn json_takes_standard_output() {
        assert_eq!(Sink::new(None, true), Sink::Discard);
        assert_eq!(Sink::new(None, false), Sink::Stdout);
        assert_eq!(Sink::new(Some(Path::new("x")), true), Sink::File("x".into()));
    }
}
