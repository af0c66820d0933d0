//! `adit run --local`: the runtime that nodes use, without a network.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use adit_protocol::{Digest, JobId, PublicKey};
use adit_runtime::{
    CompileError, CompileReport, FuelProfile, GpuConfig, Run, RunEvent, RunReport, RunRequest, Runtime, RuntimeConfig, meter_id,
};
use anyhow::Context;

use crate::adapter::lent_here;
use crate::config::Config;
use crate::exit::{InterruptedError, RefusedError, is_closed_pipe};
use crate::node::{PriceArgs, module_bytes_max};
use crate::reactor::StopSignals;
use crate::report::{End, Measured, short};
use crate::screen::Screen;
use crate::sink::{Sink, SinkWriter};
use crate::spec::Submission;
use crate::spending::OtherAttempts;

/// Who asks for local jobs. Nobody is billed, so no key is needed.
pub(crate) const TENANT: PublicKey = PublicKey([0; 32]);

/// What did not work where it did not start.
const START: &str = "the runtime does not start";

/// Runs `job` here, with the usage that a node would bill, at the price that a node here would ask.
pub(crate) async fn run(
    submission: &Submission,
    module: &Path,
    sink: &Sink,
    config: &Config,
    allow_weak_sandbox: bool,
    screen: &mut Screen,
) -> anyhow::Result<End> {
    let place = Here { config, allow_weak_sandbox, profile: false };
    place.run(submission, module, sink, screen).await.map(|(end, _)| end)
}

/// As [`run`], and where the fuel went; nothing of that where the worker had to be killed.
pub(crate) async fn run_profiled(
    submission: &Submission,
    module: &Path,
    sink: &Sink,
    config: &Config,
    allow_weak_sandbox: bool,
    screen: &mut Screen,
) -> anyhow::Result<(End, Option<Box<FuelProfile>>)> {
    let place = Here { config, allow_weak_sandbox, profile: true };
    place.run(submission, module, sink, screen).await
}

/// This machine, as a place for jobs.
#[derive(Debug)]
struct Here<'a> {
    config: &'a Config,
    allow_weak_sandbox: bool,
    /// Whether it is told where fuel goes.
    profile: bool,
}

impl Here<'_> {
    async fn run(
        &self,
        Submission { job, input, named }: &Submission,
        module: &Path,
        sink: &Sink,
        screen: &mut Screen,
    ) -> anyhow::Result<(End, Option<Box<FuelProfile>>)> {
        let config = self.config;
        let price = PriceArgs::default().read(config)?;
        let gpu = match job.spec.gpu {
            Some(_) => Some(lent_here(config)?),
            None => None,
        };
        let runtime = RuntimeConfig { profile: self.profile, ..setup(config, self.allow_weak_sandbox, gpu)? };
        let runtime = Runtime::new(runtime).context(START)?;
        if let Err(reason) = runtime.gpu_settled().await {
            return Err(RefusedError(format!("this machine has no GPU for the job: {reason}")).into());
        }
        let compiled = compile(&runtime, job.spec.module.digest, module).await?;
        let (input, named) = (input.for_runtime().context("input")?, named.for_runtime().context("a named input")?);
        let request = RunRequest { tenant: TENANT, spec: Arc::new(job.spec.clone()), input, named };
        let id = JobId::derive(&TENANT, &job.key);
        let begun = Instant::now();
        let mut run = runtime.start(request).await?;
        let start_us = begun.elapsed().as_micros() as u64;
        let report = drive(&mut run, id, sink, screen).await?;
        if report.log_dropped.0 > 0 {
            screen.note(format!("{} bytes of the log are over --log-max and were dropped", report.log_dropped.0));
        }
        let end = End {
            job: id,
            outcome: report.outcome,
            reason: report.reason,
            usage: report.usage,
            gpu: report.gpu,
            measured: Measured {
                queue_us: start_us,
                compile_us: compiled.compile_us,
                run_us: report.run_us,
                ..Measured::default()
            },
            meter: meter_id(),
            cost: price.cost(&report.usage).context("the price of this run")?,
            others: OtherAttempts::default(),
            output: report.output_digest,
            node: None,
            proof: None,
        };
        Ok((end, report.profile))
    }
}

/// The runtime of whoever runs this.
pub(crate) fn runtime(config: &Config, allow_weak_sandbox: bool, gpu: Option<GpuConfig>) -> anyhow::Result<Runtime> {
    Runtime::new(setup(config, allow_weak_sandbox, gpu)?).context(START)
}

fn setup(config: &Config, allow_weak_sandbox: bool, gpu: Option<GpuConfig>) -> anyhow::Result<RuntimeConfig> {
    let module_bytes_max = module_bytes_max(config, None)?;
    Ok(RuntimeConfig { allow_weak_sandbox, module_bytes_max, gpu, ..RuntimeConfig::new(config.dirs.cache.join("code")) })
}

/// Makes the module in the file `wasm` ready.
pub(crate) async fn compile(runtime: &Runtime, module: Digest, wasm: &Path) -> anyhow::Result<CompileReport> {
    runtime.compile(module, wasm).await.map_err(|error| match error {
        CompileError::Invalid(reason) => RefusedError(format!("module {} is invalid: {reason}", wasm.display())).into(),
        error => error.into(),
    })
}

/// A writer that has a whole output, and of the pieces that may have come before it nothing, where they can be taken back.
fn with_whole(mut writer: SinkWriter, sink: &Sink, is_begun: bool, output: &[u8]) -> anyhow::Result<SinkWriter> {
    if is_begun {
        writer = sink.open()?;
    }
    write(&mut writer, output)?;
    Ok(writer)
}

/// Writes a piece. Once its reader has seen enough, as in `adit run --local job.wasm | head`, what comes goes nowhere: the job comes to its end
/// and its bill all the same, as in a network.
fn write(writer: &mut SinkWriter, piece: &[u8]) -> anyhow::Result<()> {
    match writer.write_all(piece) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => *writer = SinkWriter::Discard,
        written => written.context("the guest's output")?,
    }
    Ok(())
}

/// Drives a run to its end. The first Ctrl-C cancels it, the second leaves it, which kills its worker.
async fn drive(run: &mut Run, job: JobId, sink: &Sink, screen: &mut Screen) -> anyhow::Result<RunReport> {
    let mut writer = sink.open()?;
    let mut signals = StopSignals::listen()?;
    let (mut asked, mut is_begun) = (false, false);
    let report = loop {
        tokio::select! {
            event = run.next() => match event? {
                RunEvent::Log(bytes) => screen.log(&bytes),
                RunEvent::Progress { done, total } => screen.progress(done, total),
                RunEvent::Output(bytes) => {
                    is_begun = true;
                    write(&mut writer, &bytes)?;
                }
                RunEvent::Ended(report) => break *report,
            },
            () = signals.next() => {
                if asked {
                    return Err(InterruptedError(format!("left job {}", short(job))).into());
                }
                asked = true;
                run.canceller().cancel();
                screen.note("cancelling; Ctrl-C again to leave");
            }
        }
    };
    screen.finish();
    if let Some(bytes) = &report.output {
        debug_assert_eq!(Digest::of(bytes), report.output_digest, "the runtime tells the digest of what it gives");
        if is_begun && !sink.is_replaced() {
            screen.note(
                "what was written of the output is void: the job began again, and was stopped before it had written as much",
            );
        }
        writer = with_whole(writer, sink, is_begun, bytes)?;
    }
    // What was written last may be on its way yet.
    match writer.commit() {
        Err(error) if !is_closed_pipe(&error) => Err(error),
        _ => Ok(report),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job that began again and was stopped too soon has no output; what it had written before was in the file all the same.
    #[test]
    fn pieces_that_came_before_a_whole_output_are_void() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let sink = Sink::File(path.clone());
        for (is_begun, output, want) in [(true, &b""[..], &b""[..]), (true, b"new", b"new"), (false, b"all", b"all")] {
            let mut writer = sink.open().unwrap();
            if is_begun {
                writer.write_all(b"old pieces").unwrap();
            }
            with_whole(writer, &sink, is_begun, output).unwrap().commit().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), want);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
