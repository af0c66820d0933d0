//! How fast this machine is, as a customer gets it: fuel per second of one slot, with every slot at work.
//!
//! A small kernel goes the way of every job: admission, meter, compile worker, cache, sandbox worker. All slots run it at once, because
//! that is what a customer of a busy node gets: cores that share a cache, a clock that goes down under load and slots that are more
//! than the cores are in the figure. Of several short rounds the fastest counts; what slows a round is the machine's other work.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use adit_protocol::{BlobRef, ByteCount, Fuel, JobSpec, Outcome, PublicKey};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cache::ModuleCache;
use crate::compiler::CompileError;
use crate::inputs::Input;
use crate::run::{RunError, RunEvent, RunReport, RunRequest};
use crate::runtime::Runtime;
use crate::unchecked::process_time;

/// `speed/kernel.wat`, assembled.
const KERNEL: &[u8] = include_bytes!("speed/kernel.wasm");

/// Its memory.
const KERNEL_MEMORY: ByteCount = ByteCount(256 << 10);

/// More than the kernel uses.
const KERNEL_FUEL: Fuel = Fuel(1_000_000_000);

/// A run that takes longer ends here, and what it did by then is the measure: a slow machine takes no longer than others.
const RUN_MAX: Duration = Duration::from_millis(1_000);

/// How long each slot works in a round, run after run.
const ROUND: Duration = Duration::from_millis(60);

/// The same where a slot may not take all of a core, so that there are many stops in it.
const SHARED_ROUND: Duration = Duration::from_millis(1_000);

/// Rounds, of which the first one also starts workers and loads code.
const ROUNDS: usize = 4;

/// No round begins after this.
const ROUNDS_TIME_MAX: Duration = Duration::from_millis(1_000);

/// The most that all of it may take: on a machine so busy that it would take longer, nobody should wait for a figure that says nothing.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Under which the kernel runs; its workers serve nobody else.
const TENANT: PublicKey = PublicKey([0; 32]);

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// Fuel per second of one slot.
    pub fuel_per_second: u64,
    /// How long measuring took.
    pub took: Duration,
    /// Whether the machine had other things to do, so that slots got less of it than they are due: at another time they may be faster.
    pub was_busy: bool,
}

/// Who got less than this part of the processor time that it is due had to wait for others.
const BUSY_PART: f64 = 0.8;

/// What slots did in a round.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    /// Fuel per second of one slot.
    speed: f64,
    /// The part of a core that one slot had.
    core: f64,
}

/// A machine whose speed is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The kernel could not be written.
    #[error("the kernel cannot be written to the module cache: {0}")]
    Io(#[from] io::Error),
    /// The kernel could not be compiled.
    #[error("the kernel cannot be compiled: {0}")]
    Compile(#[from] CompileError),
    /// The kernel could not be run.
    #[error("the kernel cannot be run: {0}")]
    Run(#[from] RunError),
    /// The kernel did not run to its end, nor until its time was over.
    #[error("the kernel ended otherwise than it should: {outcome} {reason}")]
    Outcome {
        /// How.
        outcome: Outcome,
        /// And why.
        reason: String,
    },
    /// It was not over in time.
    #[error("the machine is too busy: {} s were not enough", TIME_MAX.as_secs())]
    Busy,
    /// Somebody wanted the machine before it was over.
    #[error("the machine was wanted for something else")]
    Stopped,
    /// It did nothing in its time.
    #[error("the kernel came to no fuel in its time")]
    Nothing,
}

impl MeasureError {
    /// Whether it may go another way at another time.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy | Self::Stopped | Self::Nothing)
    }
}

/// The kernel's name.
pub(crate) fn kernel() -> BlobRef {
    BlobRef::of(KERNEL)
}

impl Runtime {
    /// Measures how fast a slot is while every slot works, under whatever share of a core it may take. Takes all slots, for some tenths
    /// of a second; for a second or two on a slow machine, and where slots have a share only; for five at most. Workers that wait afterwards are fresh.
    ///
    /// # Errors
    /// [`MeasureError`]; the runtime is as good as before.
    pub async fn measure_speed(&self) -> Result<Speed, MeasureError> {
        self.measure_speed_until(std::future::pending()).await
    }

    /// As [`Self::measure_speed`], and ends with its workers as soon as `stop` does.
    ///
    /// # Errors
    /// [`MeasureError`]; the runtime is as good as before.
    pub async fn measure_speed_until(&self, stop: impl Future<Output = ()>) -> Result<Speed, MeasureError> {
        let begun = Instant::now();
        let measuring = async {
            self.compile_kernel().await?;
            self.rounds().await
        };
        // What is not over in time is dropped, and its workers end.
        let measured = tokio::select! {
            measured = timeout(TIME_MAX, measuring) => measured.unwrap_or(Err(MeasureError::Busy)),
            () = stop => Err(MeasureError::Stopped),
        };
        if let Err(error) = self.shared.pool.dismiss(TENANT) {
            tracing::warn!(%error, "no fresh sandbox worker could be started");
        }
        let best = measured?;
        let fuel_per_second = best.speed as u64;
        if fuel_per_second == 0 {
            return Err(MeasureError::Nothing);
        }
        Ok(Speed { fuel_per_second, took: begun.elapsed(), was_busy: best.core < BUSY_PART * self.core_due() })
    }

    async fn compile_kernel(&self) -> Result<(), MeasureError> {
        // Gone when it is compiled.
        let mut file = ModuleCache::temp_file_in(self.shared.cache.folder())?;
        file.write_all(KERNEL)?;
        self.compile(kernel().digest, file.path()).await?;
        Ok(())
    }

    /// The part of a core that a slot is due while every slot works and nothing else does.
    fn core_due(&self) -> f64 {
        let cores = available_parallelism().map_or(1, usize::from);
        self.shared.cpu_share.part().min(cores as f64 / self.shared.slots_max as f64)
    }

    /// The fastest round.
    async fn rounds(&self) -> Result<Work, MeasureError> {
        let is_shared = !self.shared.cpu_share.is_whole();
        let (length, rounds) = if is_shared { (SHARED_ROUND, 1) } else { (ROUND, ROUNDS) };
        let begun = Instant::now();
        let mut best = Work::default();
        for round in 0..rounds {
            if round > 0 && begun.elapsed() >= ROUNDS_TIME_MAX {
                break;
            }
            let work = self.round(length).await?;
            best = if work.speed > best.speed { work } else { best };
        }
        Ok(best)
    }

    /// What slots did on average.
    async fn round(&self, length: Duration) -> Result<Work, MeasureError> {
        let slots = self.shared.slots_max;
        let begun = Instant::now();
        let mut working = JoinSet::new();
        for _ in 0..slots {
            let runtime = self.clone();
            working.spawn(async move { runtime.work(begun, length).await });
        }
        let mut all = Work::default();
        while let Some(worked) = working.join_next().await {
            let Work { speed, core } = worked.map_err(io::Error::other)??;
            all = Work { speed: all.speed + speed, core: all.core + core };
        }
        Ok(Work { speed: all.speed / slots as f64, core: all.core / slots as f64 })
    }

    /// What one slot does. What is between two runs counts as time, as it does for customers.
    async fn work(&self, begun: Instant, length: Duration) -> Result<Work, MeasureError> {
        let (mut fuel, mut cpu) = (0, Duration::ZERO);
        loop {
            let (report, used) = self.run_kernel().await?;
            fuel += report.usage.fuel.0;
            cpu += used;
            let elapsed = begun.elapsed();
            if elapsed >= length {
                let seconds = elapsed.as_secs_f64();
                return Ok(Work { speed: fuel as f64 / seconds, core: cpu.as_secs_f64() / seconds });
            }
        }
    }

    /// Runs the kernel once; with the processor time that its worker took for it.
    async fn run_kernel(&self) -> Result<(RunReport, Duration), MeasureError> {
        let mut spec = JobSpec::new(kernel(), BlobRef::of(b""));
        (spec.limits.fuel, spec.limits.memory) = (KERNEL_FUEL, KERNEL_MEMORY);
        spec.limits.wall_ms = RUN_MAX.as_millis() as u64;
        let request = RunRequest { tenant: TENANT, spec: Arc::new(spec), input: Input::Inline(Vec::new()), named: Vec::new() };
        let mut run = self.start(request).await?;
        let pid = run.worker_pid();
        let clock = || pid.and_then(process_time).unwrap_or_default();
        let before = clock();
        loop {
            if let RunEvent::Ended(report) = run.next().await? {
                return match report.outcome {
                    Outcome::Finished { exit_code: 0 } | Outcome::TimedOut => Ok((*report, clock().saturating_sub(before))),
                    outcome => Err(MeasureError::Outcome { outcome, reason: report.reason }),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_is_what_its_text_says() {
        let wasm = wat::parse_str(include_str!("speed/kernel.wat")).unwrap();
        if std::env::var_os("ADIT_BLESS").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/speed/kernel.wasm"), &wasm).unwrap();
        } else {
            assert!(wasm == KERNEL, "run `ADIT_BLESS=1 cargo test -p adit-runtime --lib kernel`");
        }
    }
}
