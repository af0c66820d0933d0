//! Running a job again for its bill alone.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_protocol::limits::{GPU_NS_MAX, WALL_MS_MAX};
use adit_protocol::{ByteCount, Digest, Fuel, JobLimits, JobSpec, Receipt};
use adit_runtime::{Bounds, ENGINE, Input, RunEvent, RunReport, RunRequest, Runtime, meter_id};
use anyhow::Context;
use tempfile::NamedTempFile;

use crate::comparison::{Check, Recomputed};
use crate::local::{TENANT, compile};

/// A job's bytes, found and checked.
#[derive(Debug)]
pub(crate) struct Bytes {
    pub(crate) module: PathBuf,
    /// Nothing where the input is empty.
    pub(crate) input: Option<PathBuf>,
    /// Those of the named inputs, in their order; nothing where one is empty.
    pub(crate) named: Vec<Option<PathBuf>>,
}

/// Where a job's output goes while it runs again.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    /// A folder for it.
    pub(crate) spool: &'a Path,
    /// Whether it is kept beyond its digest, to be compared number by number.
    pub(crate) is_wanted: bool,
}

/// What a job came to when it ran again.
#[derive(Debug)]
pub(crate) struct Rerun {
    pub(crate) recomputed: Recomputed,
    /// Microseconds that the guest ran.
    pub(crate) run_us: u64,
    /// The output, as many bytes of it as count, where it was wanted.
    pub(crate) output: Option<NamedTempFile>,
    /// Whether a shader of it makes something of what atomics return.
    pub(crate) uses_atomic_results: bool,
}

/// Runs the job of `receipt` again, as `adit run --local` runs it.
///
/// # Errors
/// Where it does not run here.
pub(crate) async fn rerun(
    runtime: &Runtime,
    receipt: &Receipt,
    spec: &JobSpec,
    bytes: &Bytes,
    kept: Kept<'_>,
) -> anyhow::Result<Rerun> {
    compile(runtime, spec.module.digest, &bytes.module).await?;
    let check = Check::of(receipt);
    let input = input_of(bytes.input.as_deref()).context("input")?;
    let named = bytes.named.iter().map(|path| input_of(path.as_deref())).collect::<Result<_, _>>().context("a named input")?;
    let request = RunRequest { tenant: TENANT, spec: Arc::new(spec.clone()), input, named };
    let most = match check {
        Check::Equal => ByteCount(u64::MAX),
        Check::AtMost => receipt.usage.bytes_out,
    };
    let mut output = Start::of(most, kept.file().context("a place for the output")?);
    let mut run = runtime.start_within(request, bounds(check, receipt, &spec.limits)).await?;
    let report = loop {
        match run.next().await? {
            RunEvent::Output(bytes) => output.add(&bytes)?,
            RunEvent::Ended(report) => break report,
            RunEvent::Log(_) | RunEvent::Progress { .. } => {}
        }
    };
    let RunReport { outcome, usage, run_us, output_digest, output: last, gpu, uses_atomic_results, .. } = *report;
    output.add(&last.unwrap_or_default())?;
    let digest = match check {
        Check::Equal => output_digest,
        Check::AtMost => output.digest(),
    };
    let (meter, tolerated, varies) = (meter_id(), None, None);
    let recomputed = Recomputed { meter, engine: ENGINE, outcome, usage, output: digest, tolerated, gpu, varies };
    Ok(Rerun { recomputed, run_us, output: output.file, uses_atomic_results })
}

impl Kept<'_> {
    fn file(&self) -> io::Result<Option<NamedTempFile>> {
        if !self.is_wanted {
            return Ok(None);
        }
        std::fs::create_dir_all(self.spool)?;
        NamedTempFile::new_in(self.spool).map(Some)
    }
}

/// What ends the run: neither this machine's clock nor its GPU's, which may be slower than the node's and must not decide; and where a clock
/// ended the job there, fuel just over what was claimed, which shows that it uses more. The guest is told what was asked, as it was there.
fn bounds(check: Check, receipt: &Receipt, limits: &JobLimits) -> Bounds {
    let fuel = match check {
        Check::Equal => limits.fuel,
        Check::AtMost => Fuel(receipt.usage.fuel.0.saturating_add(1).min(limits.fuel.0)),
    };
    Bounds { fuel, wall_ms: WALL_MS_MAX, gpu_ns: GPU_NS_MAX }
}

fn input_of(path: Option<&Path>) -> io::Result<Input> {
    Ok(match path {
        Some(path) => Input::File(File::open(path)?),
        None => Input::Inline(Vec::new()),
    })
}

/// The start of an output.
#[derive(Debug)]
struct Start {
    /// Bytes that still belong to it.
    left: u64,
    hasher: blake3::Hasher,
    /// Holds it, where it is wanted.
    file: Option<NamedTempFile>,
}

impl Start {
    fn of(bytes: ByteCount, file: Option<NamedTempFile>) -> Self {
        Self { left: bytes.0, hasher: blake3::Hasher::new(), file }
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.hasher.update(&bytes[..taken]);
        self.left -= taken as u64;
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(&bytes[..taken]))
    }

    fn digest(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::Outcome;

    use super::*;
    use crate::proof::tests::good;

    #[test]
    fn start_of_an_output_is_hashed_whatever_its_pieces() {
        for (claimed, want) in [(0, &b""[..]), (3, b"out"), (6, b"output"), (9, b"output"), (u64::MAX, b"output")] {
            let mut start = Start::of(ByteCount(claimed), None);
            for piece in [&b"o"[..], b"utp", b"", b"ut"] {
                start.add(piece).unwrap();
            }
            assert_eq!(start.digest(), Digest::of(want), "{claimed}");
        }
    }

    #[test]
    fn no_clock_ends_the_run_and_fuel_over_the_claim_does_where_one_ended_the_job() {
        let mut receipt = good().receipt.receipt;
        let limits = JobLimits::default();
        let most = limits.fuel.0;
        let bounds_of = |receipt: &Receipt| bounds(Check::of(receipt), receipt, &limits);
        let want = |fuel| Bounds { fuel: Fuel(fuel), wall_ms: WALL_MS_MAX, gpu_ns: GPU_NS_MAX };
        assert_eq!(bounds_of(&receipt), want(most));
        receipt.outcome = Outcome::Cancelled;
        for (claimed, fuel) in [(5, 6), (most - 1, most), (most, most), (u64::MAX, most)] {
            receipt.usage.fuel = Fuel(claimed);
            assert_eq!(bounds_of(&receipt), want(fuel));
        }
    }
}
