//! A runtime in a folder of its own, and jobs to run on it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adit_protocol::{BlobRef, Digest, JobSpec, Outcome, PublicKey};
use adit_runtime::{
    CompileError, CompileLimits, CompileReport, Input, Run, RunError, RunEvent, RunReport, RunRequest, Runtime, RuntimeConfig,
    WorkerProgram,
};
use tempfile::TempDir;

use crate::golden::is_long;

/// Names what starts this crate's worker binary under an emulator, as `cargo xtask cross` does.
const EMULATED_WORKER: &str = "ADIT_EMULATED_WORKER";

/// How often a runtime may start there: its workers' walls are to be told of within 10 s, which a busy machine's emulator may exceed.
const EMULATED_STARTS: usize = 5;

/// For an emulator, where compiling takes thirty times as long, and for tests that compile large modules on a slow and busy machine.
pub(crate) const PATIENT_LIMITS: CompileLimits =
    CompileLimits { wall: Duration::from_secs(300), cpu: Duration::from_secs(300), memory: 1 << 30 };

/// The worker binary of this crate.
pub(crate) fn worker_program() -> WorkerProgram {
    let emulated = std::env::var(EMULATED_WORKER).ok();
    WorkerProgram::at(emulated.as_deref().unwrap_or(env!("CARGO_BIN_EXE_adit-worker")))
}

/// Whether workers run under an emulator: it has neither seccomp nor Landlock, and what a worker holds is the emulator's too.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os(EMULATED_WORKER).is_some()
}

/// A runtime over a folder that it shares with nobody.
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) folder: Arc<TempDir>,
}

/// A job that has not started.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) wasm: Vec<u8>,
    pub(crate) spec: JobSpec,
    pub(crate) input: Vec<u8>,
    /// Contents, in the order of the names.
    pub(crate) named: Vec<Vec<u8>>,
    pub(crate) tenant: PublicKey,
}

/// All that a job said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) report: RunReport,
    pub(crate) output: Vec<u8>,
    pub(crate) log: Vec<u8>,
    pub(crate) progress: Vec<(u64, u64)>,
}

impl Host {
    pub(crate) fn new(slots: usize) -> Self {
        Self::over(Arc::new(tempfile::tempdir().unwrap()), slots)
    }

    pub(crate) fn over(folder: Arc<TempDir>, slots: usize) -> Self {
        Self::with(folder, |config| config.slots = slots)
    }

    /// A runtime of one slot in `folder`, but for what `change` does.
    pub(crate) fn with(folder: Arc<TempDir>, change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        let (worker_program, allow_weak_sandbox) = (worker_program(), is_emulated());
        let compile_limits = if is_emulated() || is_long() { PATIENT_LIMITS } else { CompileLimits::default() };
        let mut config = RuntimeConfig {
            worker_program,
            allow_weak_sandbox,
            compile_limits,
            ..RuntimeConfig::new(folder.path().join("cache"))
        };
        change(&mut config);
        let starts = if is_emulated() { EMULATED_STARTS } else { 1 };
        let runtime = (0..starts).map(|_| Runtime::new(config.clone())).find(Result::is_ok);
        Self { runtime: runtime.unwrap_or_else(|| Runtime::new(config)).unwrap(), folder }
    }

    /// Where the compiled modules are.
    pub(crate) fn compiled_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("cache")).unwrap();
        entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "cwasm")).collect()
    }

    /// Compiles bytes as they are.
    pub(crate) async fn compile(&self, wasm: &[u8]) -> Result<CompileReport, CompileError> {
        let module = Digest::of(wasm);
        let path = self.folder.path().join(format!("{module}.wasm"));
        std::fs::write(&path, wasm).unwrap();
        self.runtime.compile(module, &path).await
    }

    /// Compiles and starts a job.
    pub(crate) async fn start(&self, job: Job) -> Result<Run, RunError> {
        self.compile(&job.wasm).await.unwrap();
        self.runtime.start(job.request()).await
    }

    /// Compiles and starts a job whose input is a file.
    pub(crate) async fn start_over(&self, mut job: Job, input: &Path) -> Run {
        self.compile(&job.wasm).await.unwrap();
        let file = File::open(input).unwrap();
        job.spec.input.bytes = file.metadata().unwrap().len();
        self.runtime.start(RunRequest { input: Input::File(file), ..job.request() }).await.unwrap()
    }

    /// Runs a job to its end.
    pub(crate) async fn run(&self, job: Job) -> Ended {
        finish(self.start(job).await.unwrap()).await.unwrap()
    }
}

impl Job {
    /// A job that runs a module in text form.
    pub(crate) fn wat(text: &str) -> Self {
        Self::of(wat::parse_str(text).unwrap())
    }

    /// A job that runs a module.
    pub(crate) fn of(wasm: Vec<u8>) -> Self {
        let mut spec = JobSpec::new(BlobRef::of(&wasm), BlobRef::of(b""));
        spec.limits.wall_ms = if is_emulated() { 300_000 } else { 30_000 };
        Self { wasm, spec, input: Vec::new(), named: Vec::new(), tenant: PublicKey([1; 32]) }
    }

    /// A job whose `_start` has this body; with a memory, WASI's `fd_write`, `fd_read` and `proc_exit`, and the functions of `adit_1`.
    pub(crate) fn body(body: &str) -> Self {
        Self::wat(&format!(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
                (import "adit_1" "log" (func $log (param i32 i32 i32)))
                (import "adit_1" "progress" (func $progress (param i64 i64)))
                (memory (export "memory") 2)
                (data (i32.const 1024) "hello, world")
                (func $write (param $fd i32) (param $pointer i32) (param $bytes i32)
                    (i32.store (i32.const 0) (local.get $pointer))
                    (i32.store (i32.const 4) (local.get $bytes))
                    (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
                (func (export "_start") (local $i i32) (local $n i64) {body}))"#
        ))
    }

    pub(crate) fn input(mut self, input: &[u8]) -> Self {
        self.spec.input = BlobRef::of(input);
        self.input = input.to_vec();
        self
    }

    /// Adds a named input; names come in their order.
    pub(crate) fn named(mut self, name: &str, content: &[u8]) -> Self {
        self.spec.add_input(name.parse().unwrap(), BlobRef::of(content));
        assert_eq!(self.spec.inputs.last().unwrap().name.as_str(), name);
        self.named.push(content.to_vec());
        self
    }

    /// What the runtime is asked.
    pub(crate) fn request(self) -> RunRequest {
        let named = self.named.into_iter().map(Input::Inline).collect();
        RunRequest { tenant: self.tenant, spec: Arc::new(self.spec), input: Input::Inline(self.input), named }
    }

    /// Changes the specification.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut JobSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    pub(crate) fn tenant(mut self, n: u8) -> Self {
        self.tenant = PublicKey([n; 32]);
        self
    }
}

/// Follows a run to its end.
pub(crate) async fn finish(mut run: Run) -> Result<Ended, RunError> {
    let (mut output, mut log, mut progress) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        match run.next().await? {
            RunEvent::Log(bytes) => log.extend(bytes),
            RunEvent::Progress { done, total } => progress.push((done, total)),
            RunEvent::Output(bytes) => output.extend(bytes),
            RunEvent::Ended(report) => {
                if let Some(inline) = &report.output {
                    assert!(output.is_empty(), "an output comes one way");
                    output.clone_from(inline);
                }
                assert_eq!(report.output_digest, Digest::of(&output));
                assert_eq!(report.usage.bytes_out.0, output.len() as u64);
                assert!(matches!(run.next().await, Err(RunError::Over)));
                return Ok(Ended { report: *report, output, log, progress });
            }
        }
    }
}

impl Ended {
    pub(crate) fn outcome(&self) -> Outcome {
        self.report.outcome
    }

    #[track_caller]
    pub(crate) fn assert_ok(&self) -> &Self {
        assert_eq!(self.outcome(), Outcome::Finished { exit_code: 0 }, "{}", self.report.reason);
        self
    }
}

/// Copies standard input to standard output.
pub(crate) fn echo() -> Job {
    Job::body(
        r#"(loop $more
            (i32.store (i32.const 16) (i32.const 65536))
            (i32.store (i32.const 20) (i32.const 65536))
            (if (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)) (then unreachable))
            (if (i32.load (i32.const 24)) (then
                (call $write (i32.const 1) (i32.const 65536) (i32.load (i32.const 24)))
                (br $more))))"#,
    )
}

/// Computes until it is stopped.
pub(crate) fn spin() -> Job {
    Job::body("(loop $forever (local.set $n (i64.add (local.get $n) (i64.const 1))) (br $forever))")
}

/// Says `ready` in its log, then computes until it is stopped.
pub(crate) fn spin_after_log() -> Job {
    Job::body(
        "(call $log (i32.const 3) (i32.const 1024) (i32.const 5))
         (loop $forever (local.set $n (i64.add (local.get $n) (i64.const 1))) (br $forever))",
    )
}

/// Waits until the job said something.
pub(crate) async fn next_log(run: &mut Run) -> Vec<u8> {
    match run.next().await.unwrap() {
        RunEvent::Log(bytes) => bytes,
        other => panic!("expected a log, got {other:?}"),
    }
}

/// Waits until the job said a line, so that it certainly runs. A line comes in one piece or in several.
pub(crate) async fn first_log(run: &mut Run) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.extend(next_log(run).await);
    }
    line
}
