//! Worker processes as their supervisor sees them.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use adit_protocol::{FRAME_HEADER_BYTES, decode_frame};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, WaitId, WaitIdOptions, getrlimit, pidfd_open, prlimit, setpriority_process, waitid,
};
use tokio::net::UnixStream;
use tokio::process::Child;

use crate::ipc::{Receiver, Sender, connection};
use crate::unchecked::{process_time, schedule_when_idle};
use crate::walls::{Need, SandboxReport};

/// How long a worker that only tells of its walls may take on a machine that is busy with other things.
const PROBE_TIME_MAX: Duration = Duration::from_secs(10);

/// How a system says that it promises no more memory than it has: whoever else has much of it leaves others none.
const STRICT_OVERCOMMIT: &str = "2";

/// What such a worker has to say takes some dozen bytes, and an error some hundred.
const PROBE_BYTES_MAX: u64 = 16 * 1024;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs guests.
    Sandbox,
    /// Compiles one module.
    Compile,
    /// Tells what the walls of a sandbox worker are made of on this machine, and ends.
    Probe,
    /// Checks one shader.
    Shader,
    /// Holds the GPU, and does on it what sandboxes ask for.
    Gpu,
}

impl Role {
    const ALL: [Self; 5] = [Self::Sandbox, Self::Compile, Self::Probe, Self::Shader, Self::Gpu];

    /// The first argument of such a worker.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Sandbox => "__adit-sandbox-worker",
            Self::Compile => "__adit-compile-worker",
            Self::Probe => "__adit-walls-worker",
            Self::Shader => "__adit-shader-worker",
            Self::Gpu => "__adit-gpu-worker",
        }
    }

    /// The role that a process's first argument names, if it does.
    pub(crate) fn of_argument(argument: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.argument() == argument)
    }
}

/// Whom workers leave the processor to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// To nobody: they are as good as their supervisor.
    #[default]
    Normal,
    /// To whatever else this machine does: nice 19, in the class `SCHED_IDLE`. Whoever wakes up takes a core from such a worker at
    /// once, and the kernel counts a core where only such run as free. (`SCHED_BATCH` only lengthens slices; nice 19 alone keeps a
    /// five times larger share of a busy core.) On a machine that has nothing else to do they are as fast as others.
    Low,
}

/// Argument of a worker that leaves the processor to others.
const LOW_PRIORITY_ARGUMENT: &str = "--low-priority";

/// A GPU worker's environment: drivers keep nothing of one guest's shaders for another's, and nothing is loaded beside them.
const GPU_ENVIRONMENT: [(&str, &str); 5] = [
    ("MESA_SHADER_CACHE_DISABLE", "true"),
    ("__GL_SHADER_DISK_CACHE", "0"),
    ("VK_LOADER_LAYERS_DISABLE", "~implicit~"),
    // The same for Mesa's own layer, with a loader that is older than that variable.
    ("NODEVICE_SELECT", "1"),
    // Mesa asks for a desktop, and complains where it is not told where to look.
    ("XDG_RUNTIME_DIR", "/nonexistent"),
];

/// What of the supervisor's environment a GPU worker gets: which drivers the machine's owner lets programs see.
const DRIVER_VARIABLES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// The lowest there is, for those who look only at that, such as disks.
const NICE_MAX: i32 = 19;

impl Priority {
    fn argument(self) -> Option<&'static str> {
        (self == Self::Low).then_some(LOW_PRIORITY_ARGUMENT)
    }

    /// What a worker was told.
    pub(crate) fn of_argument(argument: &str) -> Option<Self> {
        (argument == LOW_PRIORITY_ARGUMENT).then_some(Self::Low)
    }

    /// Takes this priority, for this thread and every later one: to be called while there is no other.
    pub(crate) fn take(self) -> io::Result<()> {
        match self {
            Self::Normal => Ok(()),
            Self::Low => {
                setpriority_process(None, NICE_MAX)?;
                // Where a filter around this program does not let that happen, the lowest nice value is most of it.
                if let Err(error) = schedule_when_idle() {
                    eprintln!("adit: no idle scheduling: {error}");
                }
                Ok(())
            }
        }
    }
}

/// How workers are started.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSetup {
    pub(crate) program: WorkerProgram,
    pub(crate) need: Need,
    pub(crate) priority: Priority,
}

impl WorkerSetup {
    /// Starts a worker: no environment of its supervisor's, and no descriptor but its end of a socket pair.
    ///
    /// It dies with the thread that calls this. A thread of tokio's lives as long as its runtime, without which nobody can talk to
    /// the worker anyway.
    pub(crate) fn spawn(&self, role: Role) -> io::Result<WorkerProcess> {
        let (ours, command) = self.command(role)?;
        ours.set_nonblocking(true)?;
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
        let (sender, receiver) = connection(UnixStream::from_std(ours)?);
        Ok(WorkerProcess { child, sender, receiver })
    }

    /// The command that starts a worker, and the supervisor's end of the worker's socket.
    fn command(&self, role: Role) -> io::Result<(StdUnixStream, Command)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let mut command = Command::new(&self.program.path);
        command
            .arg0("adit")
            .arg(role.argument())
            .args(self.need.argument())
            .args(self.priority.argument())
            .env_clear()
            .current_dir("/")
            // A Ctrl-C in the terminal is for the supervisor, which ends its workers in its own way.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(stderr());
        if role == Role::Gpu {
            command.envs(GPU_ENVIRONMENT);
            command.envs(DRIVER_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        }
        Ok((ours, command))
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
    /// Limits the processor time that all threads of the worker may take together, from its start.
    pub(crate) fn limit_processor(&self, cpu: Duration) -> io::Result<()> {
        // At the first the kernel says `SIGXCPU`, which tells the death from others; at the second it just kills.
        self.limit(Resource::Cpu, cpu.as_secs(), cpu.as_secs() + 1)
    }

    /// Limits what the worker may have writable at once, rather than its address space, of which the engine reserves much.
    pub(crate) fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        self.limit(Resource::Data, bytes, bytes)
    }

    fn limit(&self, resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
        // One that is gone already needs none.
        let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) else { return Ok(()) };
        // What a worker inherits, nobody can raise but root.
        let inherited = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let [current, maximum] = [current, maximum].map(|limit| Some(limit.min(inherited)));
        prlimit(Some(pid), resource, Rlimit { current, maximum })?;
        Ok(())
    }

    /// The process's id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether the process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills the worker. What it has sent before can still be read, up to the end.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.child.start_kill()
    }

    /// Makes sure that the worker is gone, and says how much processor time all its threads had. Its status can still be asked for.
    pub(crate) async fn cpu_until_end(&mut self) -> io::Result<Option<Duration>> {
        self.child.start_kill()?;
        let pid = self.pid().ok_or(io::ErrorKind::NotFound)?;
        let process = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
        // The number may be another's once this future is dropped; what was opened stays this child.
        let process = pidfd_open(process, PidfdFlags::empty())?;
        let ended = move || waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        // It takes a moment to give back a gibibyte.
        tokio::task::spawn_blocking(ended).await??;
        Ok(process_time(pid))
    }

    /// Makes sure that the worker is gone, and says what it died of. One that ended by itself keeps its own status. Cancel-safe.
    pub(crate) async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.child.wait().await
    }
}

/// Asks what the walls around this machine's sandbox workers are made of: a worker enters them and tells. Blocks for some
/// milliseconds.
///
/// # Errors
/// Where `program` is no worker, or no walls can be built at all.
pub(crate) fn probe_walls(program: &WorkerProgram) -> io::Result<SandboxReport> {
    let setup = WorkerSetup { program: program.clone(), need: Need::Weak, priority: Priority::Normal };
    let (ours, mut command) = setup.command(Role::Probe)?;
    let mut child = command.spawn()?;
    // The child's end of the socket is the command's too.
    drop(command);
    let told = read_report(ours);
    // It has ended, unless it is something else than a worker.
    child.kill()?;
    child.wait()?;
    told
}

fn read_report(ours: StdUnixStream) -> io::Result<SandboxReport> {
    ours.set_read_timeout(Some(PROBE_TIME_MAX))?;
    let mut told = Vec::new();
    let read = ours.take(PROBE_BYTES_MAX).read_to_end(&mut told);
    let answer = told.get(FRAME_HEADER_BYTES..).and_then(|body| decode_frame::<Result<SandboxReport, String>>(body).ok());
    match (answer, read) {
        (Some(answer), Ok(_)) => answer.map_err(io::Error::other),
        (_, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::Error::other("the program does not behave like a worker; its `main` must call `run_if_worker` first")),
    }
}

/// Whether a worker to which memory is denied is over the limit of so many bytes that it was given: this process passes on no lower one, and
/// the system denies no other.
pub(crate) fn memory_limit_is_the_least(bytes: u64) -> bool {
    let data_is_ours = getrlimit(Resource::Data).maximum.is_none_or(|most| most >= bytes);
    let is_counted = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() == STRICT_OVERCOMMIT);
    data_is_ours && getrlimit(Resource::As).current.is_none() && !is_counted
}

/// Where a worker's complaints go: to whoever debugs, else nowhere, since a guest could fill any file.
fn stderr() -> Stdio {
    if tracing::enabled!(tracing::Level::DEBUG) { Stdio::inherit() } else { Stdio::null() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process with limits is asked, by the test that started it.
    const ASKED: &str = "ADIT_TEST_MEMORY_LIMIT";
    const ITSELF: &str = "process::tests::memory_limit_is_the_least_where_no_other_is_passed_on";
    const GIB: u64 = 1 << 30;

    #[test]
    fn memory_limit_is_the_least_where_no_other_is_passed_on() {
        if let Ok(bytes) = std::env::var(ASKED) {
            return println!("told: {}", memory_limit_is_the_least(bytes.parse().unwrap()));
        }
        if !memory_limit_is_the_least(GIB) {
            return println!("not tried: this machine has limits of its own");
        }
        for (limits, bytes, told) in [
            (":", GIB, true),
            ("ulimit -d 1048576", GIB, true),
            ("ulimit -d 1048575", GIB, false),
            ("ulimit -d 1048575", GIB / 2, true),
            // The soft one is replaced by a worker's own.
            ("ulimit -Sd 1048575", GIB, true),
            ("ulimit -v 67108864", GIB, false),
        ] {
            let mut command = Command::new("sh");
            command
                .args(["-c", &format!(r#"{limits}; exec "$0" --exact {ITSELF} --nocapture"#)])
                .arg(std::env::current_exe().unwrap());
            let output = command.env(ASKED, bytes.to_string()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains(&format!("told: {told}")), "{limits} {bytes}: {said}");
        }
    }
}
