//! What a guest's work on a GPU costs beside the same shaders straight through wgpu, on the adapter that is here.

mod direct;
mod guests;

use std::path::PathBuf;
use std::sync::Arc;

use adit_protocol::{BlobRef, ByteCount, GpuNeed, JobLimits, JobSpec, PublicKey, SecretKey};
use adit_runtime::{GpuConfig, Input, RunEvent, RunRequest, Runtime, RuntimeConfig, gpu_adapters};
use anyhow::{Context, Result, ensure};

use self::direct::Direct;
use crate::figure::{Figure, Goal, Rounds, Title};
use crate::net::scratch_folder;
use crate::plan::Plan;

/// Bytes of a large copy.
const BULK_BYTES: usize = 16 << 20;
/// Bytes of a matrix of 256 x 256 `f32`.
const MATRIX_BYTES: usize = 256 * 256 * 4;

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
        let (few, many) = (self.program(work, 1)?, self.program(work, 1 + work.times())?);
        let mut direct = Direct::open(work, &self.adapter)?;
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

    fn program(&self, work: Work, times: u32) -> Result<Program> {
        let wasm = guests::guest(work, times)?;
        let file = self.folder.join(format!("{work:?}-{times}.wasm"));
        std::fs::write(&file, &wasm)?;
        let gpu = GpuNeed { memory: ByteCount(64 << 20), ..GpuNeed::default() };
        let limits = JobLimits { gpu_ns: 60_000_000_000, ..JobLimits::default() };
        let spec = JobSpec { gpu: Some(gpu), limits, ..JobSpec::new(BlobRef::of(&wasm), BlobRef::of(b"")) };
        Ok(Program { file, spec: Arc::new(spec) })
    }

    /// How long the guest ran, in microseconds.
    async fn micros(&self, program: &Program) -> Result<f64> {
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
                return Ok(report.run_us as f64);
            }
        }
    }
}
