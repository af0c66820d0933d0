//! Worker processes as their supervisor sees them.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::ipc::{Receiver, Sender, connection};
use crate::worker::{COMPILE_WORKER, SANDBOX_WORKER};

/// The program that is started as a worker. Its `main` calls [`crate::run_if_worker`] first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerProgram {
    path: PathBuf,
}

impl WorkerProgram {
    /// The very program that runs now, even where its file was replaced by an upgrade since.
    pub fn this_binary() -> Self {
        Self::at("/proc/self/exe")
    }

    /// Another program.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl Default for WorkerProgram {
    fn default() -> Self {
        Self::this_binary()
    }
}

/// What a worker process is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    Sandbox,
    Compile,
}

impl Role {
    fn argument(self) -> &'static str {
        match self {
            Self::Sandbox => SANDBOX_WORKER,
            Self::Compile => COMPILE_WORKER,
        }
    }
}

/// A running worker, killed when dropped. It also ends by itself when its socket closes.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    child: Child,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
}

impl WorkerProcess {
    /// Starts a worker: no environment, and no descriptor but its end of a socket pair.
    pub(crate) fn spawn(program: &WorkerProgram, role: Role) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(&program.path)
            .arg0("adit")
            .arg(role.argument())
            .env_clear()
            .current_dir("/")
            // A Ctrl-C in the terminal is for the supervisor, which ends its workers in its own way.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(stderr())
            .kill_on_drop(true)
            .spawn()?;
        let (sender, receiver) = connection(UnixStream::from_std(ours)?);
        Ok(Self { child, sender, receiver })
    }

    /// The process's id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether the process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Makes sure that the worker is gone, and says what it died of. One that ended by itself keeps its own status.
    pub(crate) async fn kill(mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.child.wait().await
    }
}

/// Where a worker's complaints go: to whoever debugs, else nowhere, since a guest could fill any file.
fn stderr() -> Stdio {
    if tracing::enabled!(tracing::Level::DEBUG) { Stdio::inherit() } else { Stdio::null() }
}
