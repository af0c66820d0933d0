//! What does a job again and again, in a process of its own: a sandbox worker without its supervisor, or bare Wasmtime.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use adit_runtime::lab;
use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

use super::bare::Bare;
use super::{into_anyhow, spec};

/// The hidden flag that makes this program a cell.
pub(crate) const FLAG: &str = "--cell";

/// What a cell does jobs with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// All that a sandbox worker does for a job, behind its walls.
    Worker,
    /// Wasmtime as it is.
    Bare,
}

impl Kind {
    const WORKER: &str = "worker";

    fn argument(self) -> &'static str {
        match self {
            Self::Worker => Self::WORKER,
            Self::Bare => "bare",
        }
    }
}

/// How fast a cell was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Jobs per second of the clock on the wall.
    pub(super) per_second: f64,
    /// Processor time of a job, all threads together: another process that got the processor in between does not count.
    pub(super) cpu_us: f64,
}

/// A cell's process, killed when dropped.
#[derive(Debug)]
pub(super) struct Cell {
    child: Child,
    orders: UnixStream,
    answers: ChildStdout,
}

impl Cell {
    /// Starts one, with the module `wasm` ready, whose code as a worker has it is in `code`.
    pub(super) fn start(kind: Kind, wasm: &Path, code: &Path) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let program = std::env::current_exe().context("this program's own path is unknown")?;
        let mut command = Command::new(program);
        command
            .arg(FLAG)
            .arg(kind.argument())
            .arg(wasm)
            .arg(code)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("a cell does not start")?;
        let answers = child.stdout.take().context("a piped standard output is there")?;
        let mut cell = Self { child, orders: ours, answers };
        // The first jobs touch what later ones find.
        cell.work(Duration::from_millis(100))?;
        Ok(cell)
    }

    /// Has it work for so long, alone.
    pub(super) fn work(&mut self, time: Duration) -> Result<Pace> {
        self.order(time)?;
        self.answer()
    }

    /// Has it work for so long. [`Self::answer`] waits for the end.
    pub(super) fn order(&mut self, time: Duration) -> Result<()> {
        Ok(self.orders.write_all(&u64::try_from(time.as_nanos())?.to_le_bytes())?)
    }

    /// How fast it was.
    pub(super) fn answer(&mut self) -> Result<Pace> {
        let mut words = [[0; 8]; 3];
        self.answers.read_exact(words.as_flattened_mut()).context("a cell ended before its time")?;
        let [jobs, wall, cpu] = words.map(|word| u64::from_le_bytes(word) as f64);
        Ok(Pace { per_second: jobs * 1e9 / wall, cpu_us: cpu / 1e3 / jobs })
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is a cell, where this process was started as one; returns at once where not. To be called first in `main`, like
/// [`adit_runtime::run_if_worker`], because a cell puts up walls around itself.
pub(crate) fn run_if_cell() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(FLAG)) {
        return;
    }
    let kind = arguments.next().unwrap_or_default();
    let [wasm, code] = [(); 2].map(|()| PathBuf::from(arguments.next().unwrap_or_default()));
    if let Err(error) = serve(&kind, &wasm, &code) {
        eprintln!("cell: {error:#}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

fn serve(kind: &OsStr, wasm: &Path, code: &Path) -> Result<()> {
    let wasm = std::fs::read(wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
    let spec = spec(&wasm);
    // The first look at that clock makes a call that nobody may behind the walls.
    processor_time();
    if kind == Kind::WORKER {
        let code = File::open(code).with_context(|| format!("cannot read {}", code.display()))?;
        let mut cell = lab::Cell::enter(code).map_err(into_anyhow)?;
        converse(|time| cell.work(&spec, &[], time))
    } else {
        let bare = Bare::pooling(&wasm).map_err(into_anyhow)?;
        converse(|time| bare.work(time))
    }
}

/// Answers orders until there are no more.
fn converse(mut work: impl FnMut(Duration) -> wasmtime::Result<(u64, Duration)>) -> Result<()> {
    let mut order = [0; 8];
    while std::io::stdin().read_exact(&mut order).is_ok() {
        let before = processor_time();
        let (jobs, took) = work(Duration::from_nanos(u64::from_le_bytes(order))).map_err(into_anyhow)?;
        let [took, worked] = [took, processor_time().saturating_sub(before)].map(|time| time.as_nanos() as u64);
        let words = [jobs, took, worked].map(u64::to_le_bytes);
        std::io::stdout().write_all(words.as_flattened())?;
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Processor time of this process so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
