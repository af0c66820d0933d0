//! How an owner's commands reach a running node: a Unix socket in its cache folder, which nobody but the owner may open.
//!
//! Both sides speak JSON, one object a line: a [`Request`], then a [`Reply`], and again.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, listen, send, socket_with};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::GpuStatus;
use crate::node::Shared;
use crate::today::Day;

/// The socket's name in the cache folder.
const SOCKET: &str = "control.sock";
/// The longest path of a socket: `sun_path` of unix(7) has 108 bytes, and the last is a zero.
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The longest request: many times what any takes.
const REQUEST_BYTES_MAX: u64 = 4 * 1024;
/// The longest reply that is read: a status names each lease that a node holds.
const REPLY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Commands that are answered at once.
const CONNECTIONS_MAX: usize = 16;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;
/// How long a command may take to say what it wants, and a node to answer what it need not wait for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether whoever waits for a drain is there still.
const LOOK_FOR_CLIENT: Duration = Duration::from_secs(1);

/// The longest pause that ends by itself: ten years. A longer one is a slip of the keys.
pub const PAUSE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The shortest: none at all is a slip too.
pub const PAUSE_MIN: Duration = Duration::from_millis(1);

/// What an owner wants of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// To know how it is.
    Status,
    /// That it gives back what it has and takes nothing. Answered when nothing runs any more.
    Pause {
        /// For so long, in milliseconds, from [`PAUSE_MIN`] to [`PAUSE_MAX`]; nothing for until it is told otherwise.
        for_ms: Option<u64>,
    },
    /// That it takes jobs again.
    Resume,
    /// That it ends what it has and takes no more.
    Drain {
        /// Whether to answer only when nothing runs any more, or the drain was ended.
        wait: bool,
    },
    /// That it reads its rules anew.
    Reload,
    /// That it lends its GPU, or keeps it back, also where it is started again. Answered when no job has it any more.
    Gpu {
        /// Whether it is lent.
        on: bool,
    },
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// How it is after it did what was asked.
    Status(Box<Status>),
    /// Why it did not.
    Error(String),
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its key.
    pub node: String,
    /// The gateway that it works for.
    pub gateway: String,
    /// The smoothed round trip to the gateway in milliseconds; nothing while it is not connected.
    pub rtt_ms: Option<f64>,
    /// `ready`, `draining` or `paused`.
    pub state: String,
    /// Why it is paused.
    pub reason: Option<String>,
    /// What it holds, longest first.
    pub jobs: Vec<JobStatus>,
    /// The last attempts that it did not run, newest first.
    pub refused: Vec<Refused>,
    /// What it has done since midnight.
    pub today: Day,
    /// Jobs at once.
    pub slots: u32,
    /// Memory for each job.
    pub memory_bytes: u64,
    /// What it told the gateway of its speed: fuel per second of one slot, 0 where it was not measured.
    pub fuel_per_second: u64,
    /// Sandbox workers, with and without a job.
    pub workers: u64,
    /// Bytes of modules and inputs on the disk.
    pub blob_bytes: u64,
    /// Bytes of compiled modules on the disk.
    pub code_bytes: u64,
    /// Bytes that both may take together.
    pub cache_bytes_max: u64,
    /// The owner's rules in words.
    pub rules: Vec<String>,
    /// The GPU.
    pub gpu: GpuStatus,
    /// The process.
    pub pid: u32,
    /// The program.
    pub software: String,
}

/// A job that a node holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job.
    pub job: String,
    /// Which attempt.
    pub attempt: u32,
    /// Whose it is.
    pub client: String,
    /// What runs.
    pub module: String,
    /// Whether its guest has begun; else it is fetched, compiled, or waits.
    pub is_running: bool,
    /// Since when the node has it.
    pub since: String,
    /// Whether it has the GPU.
    pub has_gpu: bool,
    /// The fuel that it has used, where its guest has begun.
    pub fuel: Option<u64>,
}

/// An attempt that a node did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When.
    pub time: String,
    /// The job.
    pub job: String,
    /// Whose it is.
    pub client: String,
    /// What was to run.
    pub module: String,
    /// Why it did not.
    pub reason: String,
}

/// A command that did not reach a node, or that the node refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody listens.
    #[error("no node runs with the cache folder {}; --cache names another", .0.display())]
    NoNode(PathBuf),
    /// The node does not answer, or not in our words.
    #[error("the node with the cache folder {} does not answer: {error}", folder.display())]
    Broken {
        /// Its cache folder.
        folder: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// The node could not do it.
    #[error("the node says: {0}")]
    Refused(String),
}

/// Has the node with this cache folder do something, and waits for its answer.
///
/// # Errors
/// [`AskError`].
pub fn ask(cache_dir: &Path, request: Request) -> Result<Status, AskError> {
    let stream = StdUnixStream::connect(socket_path(cache_dir)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NoNode(cache_dir.to_owned()),
        _ => AskError::Broken { folder: cache_dir.to_owned(), error },
    })?;
    match exchange(stream, request) {
        Ok(Reply::Status(status)) => Ok(*status),
        Ok(Reply::Error(reason)) => Err(AskError::Refused(reason)),
        Err(error) => Err(AskError::Broken { folder: cache_dir.to_owned(), error }),
    }
}

fn exchange(mut stream: StdUnixStream, request: Request) -> io::Result<Reply> {
    let waits = request == Request::Drain { wait: true };
    stream.set_read_timeout((!waits).then_some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(io::Read::take(stream, REPLY_BYTES_MAX)).read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended"));
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// Where a node with this cache folder has its socket.
pub(crate) fn socket_path(cache_dir: &Path) -> PathBuf {
    cache_dir.join(SOCKET)
}

/// The socket, removed when dropped.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ControlSocket {
    /// Listens in the cache folder. Whoever calls holds the folder's lock, so that a socket that is there is nobody's.
    pub(crate) fn open(cache_dir: &Path) -> io::Result<Self> {
        let path = socket_path(cache_dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = StdUnixListener::from(bind_private(&path)?);
        listener.set_nonblocking(true)?;
        Ok(Self { path, listener: UnixListener::from_std(listener)? })
    }

    /// Answers commands for ever.
    pub(crate) async fn serve(&self, node: &Rc<Shared>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let permit = Arc::clone(&room).acquire_owned().await;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let node = Rc::clone(node);
                    tokio::task::spawn_local(async move {
                        // Whoever does not stay for the answer does not want it.
                        let _ = answer(&node, stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a command could not connect");
                    // Such as when there are no more descriptors: those of jobs come back.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // It may be gone with its folder.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A socket that its user alone may open from the first moment: Linux gives a socket's mode to the file that it is bound to.
fn bind_private(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

async fn answer(node: &Rc<Shared>, mut stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = tokio::io::BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut lines).take(REQUEST_BYTES_MAX);
        timeout(PATIENCE, bounded.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n");
        let reply = match serde_json::from_slice(&line) {
            Ok(request) if is_whole => tokio::select! {
                reply = carry_out(node, request) => reply,
                // That may take days, and those who gave up waiting would have all places.
                () = left(write.as_ref()), if request == (Request::Drain { wait: true }) => return Ok(()),
            },
            Err(error) if is_whole => Reply::Error(format!("not a command: {error}")),
            _ => Reply::Error(format!("a command is one line of at most {REQUEST_BYTES_MAX} bytes")),
        };
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        write.write_all(&line).await?;
        if !is_whole {
            return Ok(());
        }
    }
}

/// Waits until nobody is at the other end any more. Who has only said all that it wants, and closed that half, may read the answer still:
/// to nobody, not even nothing can be sent.
async fn left(stream: &UnixStream) {
    while send(stream, &[], SendFlags::NOSIGNAL).is_ok() {
        tokio::time::sleep(LOOK_FOR_CLIENT).await;
    }
}

async fn carry_out(node: &Rc<Shared>, request: Request) -> Reply {
    let done = match request {
        Request::Status => Ok(()),
        Request::Pause { for_ms: Some(ms) } if !(PAUSE_MIN..=PAUSE_MAX).contains(&Duration::from_millis(ms)) => {
            return Reply::Error("a pause that ends by itself lasts from 1 millisecond to 10 years".to_owned());
        }
        Request::Gpu { on } => {
            if let Err(reason) = node.lend_gpu(on).await {
                return Reply::Error(reason);
            }
            if !on {
                let _ = timeout(PATIENCE / 2, node.without_gpu_jobs()).await;
            }
            Ok(())
        }
        Request::Reload => match node.reload().await {
            Ok(()) => Ok(()),
            Err(error) => return Reply::Error(error.to_string()),
        },
        Request::Pause { for_ms } => {
            node.owner.pause(for_ms.map(Duration::from_millis));
            node.refresh();
            // A guest that does not stop is killed soon; a result that is on its way to the gateway may take longer.
            let (kept, _) = tokio::join!(node.owner.keep_pause(), timeout(PATIENCE / 2, node.idle()));
            kept
        }
        Request::Resume => {
            node.owner.resume();
            node.refresh();
            node.owner.keep_pause().await
        }
        Request::Drain { wait } => {
            node.owner.drain();
            node.refresh();
            if wait {
                node.drained().await;
            }
            Ok(())
        }
    };
    match done {
        Ok(()) => Reply::Status(Box::new(node.status().await)),
        Err(error) => Reply::Error(format!("it is done, but the node will not remember it when it is started again: {error}")),
    }
}
