//! The second wall: what a worker process takes from itself, so that a guest that breaks out of WebAssembly still has nothing.
//!
//! Two steps, because of threads. [`Walls::enter`] comes first in a worker, while it has one thread: what it sets is inherited by
//! every later one. [`Walls::seal`] comes last, when everything is open and every thread runs, and closes the system-call filter
//! over all of them. No byte of a guest may be read before.
//!
//! The layers overlap on purpose: a file is refused by Landlock and by the filter, the network by a namespace of its own, by
//! Landlock and by the filter. `docs/security.md` has the whole list.

mod filter;
mod gpu;
mod rights;

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use rustix::net::sockopt::socket_peercred;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, getrlimit, set_dumpable_behavior, set_parent_process_death_signal,
    setrlimit,
};
use rustix::thread::set_no_new_privs;
use serde::{Deserialize, Serialize};

pub(crate) use gpu::{GPU_MEMORY_MAX, GPU_OWN_MEMORY_MAX, GpuWalls, NETWORK};

use crate::gpu::wire::SHARED_BYTES;
use crate::live::LIVE_BYTES;
use crate::process::Role;

/// Argument of a worker that may work behind whatever walls the kernel gives.
const WEAK_ARGUMENT: &str = "--weak-sandbox";

/// What the walls around this machine's workers are made of.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxReport {
    /// Whether an allow-list of system calls is enforced on every thread.
    pub seccomp: bool,
    /// The version of Landlock's interface that refuses files, network and signals; nothing where the kernel has none of it.
    pub landlock_abi: Option<u32>,
    /// Whether a worker is in a network namespace of its own, without an interface. Where seccomp holds, this is one layer more:
    /// no socket can be made in any case.
    pub network_namespace: bool,
}

impl SandboxReport {
    /// Whether nothing is missing that a stranger's job should have around it.
    pub fn is_strong(&self) -> bool {
        self.missing().is_empty()
    }

    /// What is missing, and what would bring it.
    pub fn missing(&self) -> Vec<&'static str> {
        let seccomp = (!self.seccomp).then_some("seccomp filters (CONFIG_SECCOMP_FILTER)");
        let landlock =
            self.landlock_abi.is_none().then_some("Landlock (Linux 5.13 or newer, with `landlock` among its security modules)");
        [seccomp, landlock].into_iter().flatten().collect()
    }

    /// One word for a node's label.
    pub fn strength(&self) -> &'static str {
        if self.is_strong() { "strong" } else { "weak" }
    }
}

/// What a worker insists on before it touches a guest.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// [`SandboxReport::is_strong`], or the worker ends.
    #[default]
    Strong,
    /// Whatever the kernel has: the owner said so.
    Weak,
}

impl Need {
    /// How a supervisor tells a worker.
    pub(crate) fn argument(self) -> Option<&'static str> {
        (self == Self::Weak).then_some(WEAK_ARGUMENT)
    }

    /// What a worker was told; nothing where it was something else.
    pub(crate) fn of_argument(argument: &str) -> Option<Self> {
        (argument == WEAK_ARGUMENT).then_some(Self::Weak)
    }
}

/// Which layers are put up. Workers put up all of them; tests also show that each holds alone.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layers {
    pub seccomp: bool,
    pub landlock: bool,
    /// Namespaces, an empty root, no capabilities, limits, no dumps, death with the parent.
    pub process: bool,
}

impl Layers {
    pub const ALL: Self = Self { seccomp: true, landlock: true, process: true };
    pub const NONE: Self = Self { seccomp: false, landlock: false, process: false };
}

/// A worker that has not the walls it needs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WallError {
    #[error("{step}: {error}")]
    System { step: &'static str, error: io::Error },
    #[error("the sandbox would be weak: {0}")]
    Weak(Missing),
    #[error("the supervisor ended before its worker began")]
    Orphan,
}

/// A list in words.
#[derive(Debug)]
pub(crate) struct Missing(Vec<String>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

/// Walls that are up but for the last: a worker that has them calls [`Self::seal`] before it reads what comes from a guest.
#[derive(Debug)]
#[must_use = "a worker that is not sealed may make any system call"]
pub(crate) struct Walls {
    role: Role,
    need: Need,
    layers: Layers,
    report: SandboxReport,
    /// What went wrong where a weak sandbox is allowed, for whoever debugs.
    trouble: Vec<String>,
}

impl Walls {
    /// Puts up what holds from now on for this thread and every later one. To be called first in a worker, while it has one
    /// thread; what the worker needs from the file system must be open already, but for its socket, which is standard input.
    pub(crate) fn enter(role: Role, need: Need, layers: Layers) -> Result<Self, WallError> {
        let mut walls = Self { role, need, layers, report: SandboxReport::default(), trouble: Vec::new() };
        step("no new privileges", set_no_new_privs(true))?;
        if layers.process {
            walls.report.network_namespace = rights::leave_namespaces();
        }
        if layers.landlock {
            match rights::restrict() {
                Ok(abi) => walls.report.landlock_abi = Some(abi),
                Err(trouble) => walls.lacks("Landlock", &trouble)?,
            }
        }
        if layers.process {
            step("giving up capabilities", rights::drop_capabilities())?;
            limit_resources(role)?;
            // Nobody of the same user reads this process's memory or attaches to it, and no core is written.
            step("dumpable", set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
            die_with_parent()?;
        }
        Ok(walls)
    }

    /// Puts up the last wall, over every thread, and says what the walls are made of. From here on no thread, process, file or
    /// socket can be made, and a call that is not on the list ends the process.
    ///
    /// Every thread must have begun its own work (and said so): a thread's start needs calls that a sealed process does not have.
    pub(crate) fn seal(mut self) -> Result<SandboxReport, WallError> {
        if self.layers.process {
            // One layer more against new processes and threads, for all but the machine's root.
            lower(Resource::Nproc, 0)?;
        }
        if self.layers.seccomp {
            match filter::install(self.role) {
                Ok(()) => self.report.seccomp = true,
                Err(error) => self.lacks("seccomp", &error)?,
            }
        }
        for trouble in &self.trouble {
            eprintln!("adit: weak sandbox: {trouble}");
        }
        Ok(self.report)
    }

    fn lacks(&mut self, what: &str, why: &dyn fmt::Display) -> Result<(), WallError> {
        self.trouble.push(format!("no {what}: {why}"));
        match self.need {
            Need::Weak => Ok(()),
            Need::Strong => Err(WallError::Weak(Missing(std::mem::take(&mut self.trouble)))),
        }
    }
}

fn step<E: Into<io::Error>>(step: &'static str, result: Result<(), E>) -> Result<(), WallError> {
    result.map_err(|error| WallError::System { step, error: error.into() })
}

/// Descriptors of a worker: its socket, the event loop's, the note of what was used, three per module, an input, the sixteen named ones, the
/// socket and the file of a GPU session, and room to spare.
const DESCRIPTORS_MAX: u64 = 80;

// The limit on a file's size is that of the larger one.
const _: () = assert!(LIVE_BYTES <= SHARED_BYTES);

/// A stack that does not depend on how the supervisor was started.
const STACK_BYTES_MAX: u64 = 8 << 20;

/// The stack of a process that checks a shader: how deep a chain of operators may be must not depend on the machine. The longest that a
/// source has room for takes 17 MiB of it, some 520 bytes for an operator; 6,000 times `else if` take 9 MiB.
pub(crate) const SHADER_STACK_BYTES_MAX: u64 = 64 << 20;

/// Memory that a compile worker may hold. Limits what is writable rather than address space, of which the engine reserves much.
const COMPILE_MEMORY_MAX: u64 = 1 << 30;

/// Memory that a process may hold that checks a shader.
pub(crate) const SHADER_MEMORY_MAX: u64 = 512 << 20;

/// Sets every limit of this process that holds from the start. The time of a compile worker depends on its module, so its
/// supervisor sets that one.
fn limit_resources(role: Role) -> Result<(), WallError> {
    let common = [
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Nofile, DESCRIPTORS_MAX),
        (Resource::Stack, if role == Role::Shader { SHADER_STACK_BYTES_MAX } else { STACK_BYTES_MAX }),
    ];
    let own: &[_] = match role {
        // The note of what a job used, and the file that is shared with the GPU worker. The sizes of both are sealed.
        Role::Sandbox | Role::Probe => &[(Resource::Fsize, SHARED_BYTES)],
        // Code is made in memory before it is written.
        Role::Compile => &[(Resource::Fsize, COMPILE_MEMORY_MAX), (Resource::Data, COMPILE_MEMORY_MAX)],
        Role::Shader => &[(Resource::Fsize, 0), (Resource::Data, SHADER_MEMORY_MAX)],
        // It has walls of its own.
        Role::Gpu => &[],
    };
    common.iter().chain(own).try_for_each(|&(resource, most)| lower(resource, most))
}

/// Lowers a limit of this process for good; one that is lower already stays.
fn lower(resource: Resource, most: u64) -> Result<(), WallError> {
    let most = Some(getrlimit(resource).maximum.map_or(most, |now| now.min(most)));
    step("a resource limit", setrlimit(resource, Rlimit { current: most, maximum: most }))
}

/// Makes the kernel kill this process when the thread of the supervisor that started it ends, however it ends.
fn die_with_parent() -> Result<(), WallError> {
    step("dying with the supervisor", set_parent_process_death_signal(Some(Signal::KILL)))?;
    // One that died before this line has left us to another parent. The socket remembers who made it.
    let supervisor = socket_peercred(io::stdin().as_fd());
    let supervisor = supervisor.map_err(|error| WallError::System { step: "the supervisor's socket", error: error.into() })?;
    if getppid() == Some(supervisor.pid) { Ok(()) } else { Err(WallError::Orphan) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_seccomp_and_landlock_decide_strength() {
        let strong = SandboxReport { seccomp: true, landlock_abi: Some(1), network_namespace: false };
        assert!(strong.is_strong());
        assert_eq!(strong.strength(), "strong");
        for (weak, word) in [
            (SandboxReport { seccomp: false, network_namespace: true, ..strong.clone() }, "seccomp"),
            (SandboxReport { landlock_abi: None, network_namespace: true, ..strong.clone() }, "Landlock"),
        ] {
            assert_eq!(weak.strength(), "weak");
            let [missing] = weak.missing()[..] else { panic!("one thing is missing: {weak:?}") };
            assert!(missing.contains(word), "{missing}");
        }
    }

    #[test]
    fn worker_is_strict_unless_it_is_told_otherwise() {
        assert_eq!(Need::default(), Need::Strong);
        assert_eq!(Need::of_argument("--weak"), None);
        for need in [Need::Strong, Need::Weak] {
            assert_eq!(need.argument().and_then(Need::of_argument).unwrap_or_default(), need);
        }
    }
}
