//! What a guest's work on a GPU costs beside the same shaders straight through wgpu, on the adapter that is here.

mod direct;
mod guests;

use std::path::PathBuf;
use std::sync::Arc;

use adit_protocol::{BlobRef, ByteCount, Digest, GpuNeed, JobLimits, JobSpec, PublicKey, SecretKey};
use adit_runtime::{GpuConfig, Input, RunEvent, RunReport, RunRequest, Runtime, RuntimeConfig, gpu_adapters};
use anyhow::{Context, Result, ensure};

use self::direct::Direct;
use crate::figure::{Figure, Goal, Rounds, Title};
use crate::net::scratch_folder;
use crate::plan::Plan;

/// Bytes of a large copy.
const BULK_BYTES: usize = 16 << 20;
/// Bytes of a matrix of 256 x 256 `f32`.
const MATRIX_BYTES: usize = 256 * 256 * 4;
/// How often each work is done before its results are compared: more than once, as one step may hide another.
const COMPARED_TIMES: u32 = 3;
/// What buffers hold before that: `f32` from 0 up to this, over and over. All their products, and the sums of them, are whole and exact.
const NUMBERS: usize = 17;

/// One workgroup, and four bytes read back: out to the GPU and home.
const STEP: Title = Title { name: "gpu_step", unit: "us", reference: "wgpu itself", goal: Goal::MoreByAtMost(100.0) };
/// From the guest's memory into a buffer.
const BULK_IN: Title = Title { name: "gpu_bulk_in", unit: "MiB/s", reference: "wgpu itself", goal: Goal::AtLeast(0.8) };
/// And back.
const BULK_OUT: Title = Title { name: "gpu_bulk_out", unit: "MiB/s", reference: "wgpu itself", goal: Goal::AtLeast(0.8) };
/// Two matrices of 256 x 256 multiplied, per second.
const MATMUL: Title = Title { name: "gpu_matmul", unit: "/s", reference: "wgpu itself", goal: Goal::AtLeast(0.98) };

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Step,
    BulkIn,
    BulkOut,
    Matmul,
}

impl Work {
    const ALL: [Self; 4] = [Self::Step, Self::BulkIn, Self::BulkOut, Self::Matmul];

    fn shader(self) -> Option<&'static str> {
        match self {
            Self::Step => Some(include_str!("../guests/gpu_step.wgsl")),
            Self::Matmul => Some(include_str!("../guests/gpu_matmul.wgsl")),
            Self::BulkIn | Self::BulkOut => None,
        }
    }

    fn title(self) -> Title {
        match self {
            Self::Step => STEP,
            Self::BulkIn => BULK_IN,
            Self::BulkOut => BULK_OUT,
            Self::Matmul => MATMUL,
        }
    }

    /// Bytes of each buffer; all of them are bound, the first to binding 0.
    fn buffers(self) -> Vec<usize> {
        match self {
            Self::Step => vec![256],
            Self::Matmul => vec![MATRIX_BYTES; 3],
            Self::BulkIn | Self::BulkOut => vec![BULK_BYTES],
        }
    }

    /// Which of them has what it comes to.
    fn result(self) -> usize {
        self.buffers().len() - 1
    }

    /// How often it is done in a round: tens of milliseconds on a slow adapter.
    fn times(self) -> u32 {
        match self {
            Self::Step => 200,
            Self::BulkIn | Self::BulkOut => 8,
            Self::Matmul => 6,
        }
    }

    /// The figure of one time that takes so many microseconds.
    fn value(self, micros: f64) -> f64 {
        match self {
            Self::Step => micros,
            Self::BulkIn | Self::BulkOut => BULK_BYTES as f64 / f64::from(1 << 20) / micros * 1e6,
            Self::Matmul => 1e6 / micros,
        }
    }
}

/// All figures.
pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let folder = scratch_folder()?;
    // The best one, for both.
    let adapter = gpu_adapters().into_iter().find(|adapter| adapter.refused.is_none());
    let adapter = adapter.context("no GPU that jobs could run on: `cargo xtask setup` installs one in software")?;
    eprintln!("adapter {}, driver {} {}", adapter.name, adapter.driver, adapter.driver_info);
    let config = RuntimeConfig {
        gpu: Some(GpuConfig { adapter: Some(adapter.name.clone()), software: true, ..GpuConfig::default() }),
        ..RuntimeConfig::new(folder.path().join("cache"))
    };
    let bench = Bench {
        runtime: Runtime::new(config)?,
        adapter: adapter.name,
        folder: folder.path().to_owned(),
        tenant: SecretKey::generate().public(),
    };
    let mut figures = Vec::new();
    for work in Work::ALL {
        figures.push(bench.figure(work, plan).await.with_context(|| work.title().name)?);
    }
    Ok(figures)
}

struct Bench {
    runtime: Runtime,
    /// The name of the adapter.
    adapter: String,
    folder: PathBuf,
    tenant: PublicKey,
}

/// A guest on disk, and the job that it is for.
struct Program {
    file: PathBuf,
    spec: Arc<JobSpec>,
}

impl Bench {
    async fn figure(&self, work: Work, plan: &Plan) -> Result<Figure> {
        let (few, many) = (self.program(work, 1, false)?, self.program(work, 1 + work.times(), false)?);
        let mut direct = Direct::open(work, &self.adapter)?;
        self.compare(work, &mut direct).await?;
        let mut rounds = Rounds::default();
        // The first of each compiles and fills caches.
        self.micros(&few).await?;
        self.micros(&many).await?;
        direct.time(1)?;
        for _ in 0..plan.kernel_rounds {
            let ours = (self.micros(&many).await? - self.micros(&few).await?) / f64::from(work.times());
            rounds.push(work.value(ours), work.value(direct.time(work.times())?));
        }
        Ok(rounds.figure(work.title()))
    }

    /// Checks that both sides come to the same: else they are not measured doing the same.
    async fn compare(&self, work: Work, direct: &mut Direct) -> Result<()> {
        let ours = self.run(&self.program(work, COMPARED_TIMES, true)?).await?.output_digest;
        direct.fill();
        direct.time(COMPARED_TIMES)?;
        let result = direct.result()?;
        ensure!(result.iter().any(|byte| *byte != 0), "{work:?} comes to nothing at all");
        ensure!(ours == Digest::of(&result), "{work:?} comes to one thing in a guest and to another straight through wgpu");
        Ok(())
    }

    /// A guest that does `work` so many times, and tells where that is asked what it comes to.
    fn program(&self, work: Work, times: u32, tells: bool) -> Result<Program> {
        let wasm = guests::guest(work, times, tells)?;
        let file = self.folder.join(format!("{work:?}-{times}-{tells}.wasm"));
        std::fs::write(&file, &wasm)?;
        let gpu = GpuNeed { memory: ByteCount(64 << 20), ..GpuNeed::default() };
        let limits = JobLimits { gpu_ns: 60_000_000_000, output: ByteCount(BULK_BYTES as u64), ..JobLimits::default() };
        let spec = JobSpec { gpu: Some(gpu), limits, ..JobSpec::new(BlobRef::of(&wasm), BlobRef::of(b"")) };
        Ok(Program { file, spec: Arc::new(spec) })
    }

    /// How long the guest ran, in microseconds.
    async fn micros(&self, program: &Program) -> Result<f64> {
        Ok(self.run(program).await?.run_us as f64)
    }

    async fn run(&self, program: &Program) -> Result<Box<RunReport>> {
        self.runtime.compile(program.spec.module.digest, &program.file).await?;
        let request = RunRequest {
            tenant: self.tenant,
            spec: Arc::clone(&program.spec),
            input: Input::Inline(Vec::new()),
            named: Vec::new(),
        };
        let mut run = self.runtime.start(request).await?;
        loop {
            if let RunEvent::Ended(report) = run.next().await? {
                ensure!(report.outcome.is_success(), "the guest {}: {}", report.outcome, report.reason);
                return Ok(report);
            }
        }
    }
}
