//! The check of a shader as the supervisor sees it: a process for one, whose death is the shader's refusal, unless it took too long. How
//! long it takes depends on the machine, and what a guest is told must not.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::timeout;

use super::shader::check_size;
use super::wire::{ShaderOrder, Shape};
use crate::ipc::IpcError;
use crate::process::{Role, WorkerProcess, WorkerSetup};
use crate::unchecked::process_time;
use crate::walls::SHADER_MEMORY_MAX;
use crate::worker::WORKER_FAILED;

/// Less than a driver is given for the same shader, which the GPU worker reads again before: no shader that passes may hold that up.
const CPU_TIME_MAX: Duration = Duration::from_secs(1);
const _: () = assert!(2 * CPU_TIME_MAX.as_secs() < super::keeper::PIPELINE_TIME_MAX.as_secs());

/// What the check of a shader may use. Tests shorten it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckLimits {
    /// From the start of its process.
    pub(crate) wall: Duration,
    /// Processor time; whole seconds, at least one.
    pub(crate) cpu: Duration,
    /// Bytes of memory.
    pub(crate) memory: u64,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self { wall: Duration::from_secs(10), cpu: CPU_TIME_MAX, memory: SHADER_MEMORY_MAX }
    }
}

/// Has a shader checked in a process of its own. What is wrong with the shader is in the inner result, for its author: the same on every
/// machine.
///
/// # Errors
/// Where this machine could not do its part: another may.
pub(crate) async fn check_in_worker(
    setup: &WorkerSetup,
    order: &ShaderOrder,
    limits: CheckLimits,
) -> io::Result<Result<Shape, String>> {
    if let Err(reason) = check_size(order) {
        return Ok(Err(reason));
    }
    let mut worker = setup.spawn(Role::Shader)?;
    worker.limit_processor(limits.cpu)?;
    worker.limit_memory(limits.memory)?;
    match timeout(limits.wall, ask(&mut worker, order)).await {
        Ok(Ok(Some(answer))) => Ok(answer),
        // It said nothing, or not to the end.
        Ok(_) => dead(worker.kill().await?, limits),
        // It is killed when dropped.
        Err(_) => Err(late(worker.pid().and_then(process_time), limits)),
    }
}

async fn ask(worker: &mut WorkerProcess, order: &ShaderOrder) -> Result<Option<Result<Shape, String>>, IpcError> {
    worker.sender.push(order)?;
    worker.sender.drain().await?;
    worker.receiver.recv().await
}

/// What to make of a process that ended without an answer. The shader is to blame for what it does again wherever it is checked.
fn dead(status: ExitStatus, limits: CheckLimits) -> io::Result<Result<Shape, String>> {
    match (status.signal().map(Signal::from_named_raw), status.code()) {
        (Some(Some(Signal::XCPU)), _) => Err(late(Some(limits.cpu), limits)),
        // The kernel sends `SIGKILL` when the machine is out of memory, to whom it likes; no shader makes a call that is not allowed.
        (Some(Some(Signal::KILL | Signal::SYS)), _) | (_, Some(0 | WORKER_FAILED)) => {
            Err(io::Error::other(format!("the process that checks a shader failed ({status})")))
        }
        _ => Ok(Err(format!("the shader takes too much memory to check: over {} bytes", limits.memory))),
    }
}

/// A process that did not answer in time, and had so much of the processor's.
fn late(used: Option<Duration>, limits: CheckLimits) -> io::Error {
    let used = used.map_or_else(|| "unknown".to_owned(), |used| format!("{:.1} s", used.as_secs_f64()));
    let CheckLimits { wall, cpu, .. } = limits;
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!(
            "it was not done within {} s of processor time and {} s in all (of the first: {used})",
            cpu.as_secs(),
            wall.as_secs()
        ),
    )
}

#[cfg(test)]
mod tests {
    use adit_protocol::GpuNeed;

    use super::*;
    use crate::process::{Priority, WorkerProgram};
    use crate::walls::Need;

    const LIMITS: CheckLimits = CheckLimits { wall: Duration::from_secs(60), cpu: Duration::from_secs(1), memory: 1 << 30 };

    async fn check_with(program: &str, wgsl: &str, limits: CheckLimits) -> io::Result<Result<Shape, String>> {
        let setup = WorkerSetup { program: WorkerProgram::at(program), need: Need::Strong, priority: Priority::Normal };
        let order = ShaderOrder { wgsl: wgsl.to_owned(), entry: "main".to_owned(), need: GpuNeed::default() };
        check_in_worker(&setup, &order, limits).await
    }

    /// The guest was told, and another node's guest was not, whose machine is faster: honest receipts of one job differed.
    #[tokio::test]
    async fn check_that_takes_too_long_is_the_machines_failure_and_not_the_shaders() {
        // `yes` takes no order and never rests.
        let slow = check_with("/usr/bin/yes", "", LIMITS).await.unwrap_err();
        assert_eq!(slow.kind(), io::ErrorKind::TimedOut);
        assert_eq!(slow.to_string(), "it was not done within 1 s of processor time and 60 s in all (of the first: 1.0 s)");
        let late = check_with("/usr/bin/yes", "", CheckLimits { wall: Duration::from_millis(1), ..LIMITS }).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn shader_that_is_too_long_starts_no_process() {
        let refused = check_with("/nowhere", &" ".repeat((64 << 10) + 1), LIMITS).await.unwrap().unwrap_err();
        assert!(refused.contains("65537 bytes"), "{refused}");
        assert!(check_with("/nowhere", "", LIMITS).await.is_err(), "it is started for others");
    }

    #[test]
    fn only_what_the_shader_does_again_is_its_fault() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let signal = |signal: Signal| ExitStatus::from_raw(signal.as_raw());
        for (status, of_shader) in [
            (signal(Signal::KILL), false),
            (signal(Signal::SYS), false),
            (exit(WORKER_FAILED), false),
            (exit(0), false),
            (signal(Signal::XCPU), false),
            (signal(Signal::ABORT), true),
            (signal(Signal::SEGV), true),
            // A panic.
            (exit(101), true),
        ] {
            assert_eq!(dead(status, LIMITS).is_ok(), of_shader, "{status}");
        }
    }
}
