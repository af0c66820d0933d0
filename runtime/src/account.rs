//! What a run comes to: the supervisor's own count of what a worker sends, and the report made from it. A guest may have taken its
//! worker over, so nothing is believed that can be counted here, and no count is billed beyond its limit.

use std::sync::Arc;
use std::time::Duration;

use adit_protocol::limits::{INLINE_BYTES_MAX, REASON_BYTES_MAX};
use adit_protocol::{ByteCount, Digest, Fuel, GpuRun, JobSpec, Outcome, Usage};

use crate::gpu::wire::GpuUsed;
use crate::ipc::{Ending, Used};
use crate::profile::{FuelProfile, PROFILE_BYTES_MAX};
use crate::run::{Bounds, RunReport};

/// An honest worker tells of progress twenty times a second, and at the end: [`PROGRESS_INTERVAL`](crate::worker::PROGRESS_INTERVAL).
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Words of progress that may come together, where a machine was busy.
const PROGRESS_AT_ONCE: u64 = 64;
const _: () = assert!(PROGRESS_INTERVAL_MIN.as_millis() < crate::worker::PROGRESS_INTERVAL.as_millis());

/// A worker sent what an honest one cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lied {
    #[error("more log than the job's limit")]
    Log,
    #[error("more output than the job's limit")]
    Output,
    #[error("its output in two ways, or in none")]
    OutputWay,
    #[error("less output than when it began for the first time")]
    OutputAgain,
    #[error("progress more often than anybody reads it")]
    Progress,
    #[error("a piece of nothing")]
    Nothing,
    #[error("a longer reason than there is")]
    Reason,
    #[error("a profile that nobody asked for, or that is none")]
    Profile,
    #[error("a pipeline's shader before it had the answer to another's")]
    Pipelines,
    #[error("a shader from a job without a GPU")]
    NoGpu,
    #[error("that the GPU ended the job, which it did not")]
    GpuOutcome,
}

/// Honest workers send no empty pieces, which would count as nothing and cost the node a turn each.
fn something(bytes: &[u8]) -> Result<(), Lied> {
    if bytes.is_empty() { Err(Lied::Nothing) } else { Ok(()) }
}

/// The count of one run.
#[derive(Debug)]
pub(crate) struct Account {
    spec: Arc<JobSpec>,
    bounds: Bounds,
    log_bytes: u64,
    output_bytes: u64,
    output: blake3::Hasher,
    progress: u64,
    /// The bytes of the profile so far; nothing where none is to come.
    profile: Option<Vec<u8>>,
}

impl Account {
    pub(crate) fn new(spec: Arc<JobSpec>, bounds: Bounds) -> Self {
        Self { spec, bounds, log_bytes: 0, output_bytes: 0, output: blake3::Hasher::new(), progress: 0, profile: None }
    }

    /// The same, of a job that is profiled where `profile` says so.
    pub(crate) fn profiling(self, profile: bool) -> Self {
        Self { profile: profile.then(Vec::new), ..self }
    }

    /// Takes in a piece of the profile.
    pub(crate) fn add_profile(&mut self, bytes: &[u8]) -> Result<(), Lied> {
        something(bytes)?;
        let profile = self.profile.as_mut().ok_or(Lied::Profile)?;
        profile.extend_from_slice(bytes);
        if profile.len() > PROFILE_BYTES_MAX { Err(Lied::Profile) } else { Ok(()) }
    }

    /// Counts a piece of log.
    pub(crate) fn add_log(&mut self, bytes: &[u8]) -> Result<(), Lied> {
        something(bytes)?;
        self.log_bytes += bytes.len() as u64;
        if self.log_bytes > self.spec.limits.log.0 { Err(Lied::Log) } else { Ok(()) }
    }

    /// Counts a word of how far the job is, `since` it began: it goes on to the gateway, whatever it is worth.
    pub(crate) fn add_progress(&mut self, since: Duration) -> Result<(), Lied> {
        self.progress += 1;
        let due = since.as_millis() / PROGRESS_INTERVAL_MIN.as_millis();
        if u128::from(self.progress) > u128::from(PROGRESS_AT_ONCE) + due { Err(Lied::Progress) } else { Ok(()) }
    }

    /// Counts a piece of output.
    pub(crate) fn add_piece(&mut self, bytes: &[u8]) -> Result<(), Lied> {
        something(bytes)?;
        self.add_output(bytes)
    }

    fn add_output(&mut self, bytes: &[u8]) -> Result<(), Lied> {
        self.output_bytes += bytes.len() as u64;
        self.output.update(bytes);
        if self.output_bytes > self.spec.limits.output.0 { Err(Lied::Output) } else { Ok(()) }
    }

    /// Whether no output came so far.
    pub(crate) fn is_output_empty(&self) -> bool {
        self.output_bytes == 0
    }

    /// Ends the count; with what the job used of a GPU, by the class of that, where it was given one.
    pub(crate) fn close(&mut self, ending: Ending, gpu: Option<(&str, GpuUsed)>) -> Result<RunReport, Lied> {
        // It goes on in a message of the node's, which has room for no more.
        if ending.reason.len() > REASON_BYTES_MAX {
            return Err(Lied::Reason);
        }
        // The whole output comes at the end, or it came in pieces and is larger than what would.
        match &ending.output {
            Some(output) if self.is_output_empty() && output.len() <= INLINE_BYTES_MAX => self.add_output(output)?,
            None if !self.is_output_empty() => {}
            _ => return Err(Lied::OutputWay),
        }
        Ok(RunReport {
            outcome: ending.outcome,
            reason: ending.reason,
            usage: Usage { gpu_ns: self.gpu_ns(gpu), ..self.usage(ending.used) },
            gpu: gpu.and_then(|(class, used)| self.gpu_run(class, used)),
            uses_atomic_results: false,
            run_us: ending.run_us,
            output_digest: Digest(*self.output.finalize().as_bytes()),
            output: ending.output,
            log_dropped: ByteCount(ending.log_dropped),
            profile: self
                .profile
                .take()
                .filter(|bytes| !bytes.is_empty())
                .map(|bytes| FuelProfile::from_bytes(&bytes))
                .transpose()?
                .map(Box::new),
        })
    }

    /// What a job is billed that has used so much, whatever a worker says: nothing beyond its limits.
    pub(crate) fn usage(&self, used: Used) -> Usage {
        let limits = &self.spec.limits;
        let fuel = Fuel(used.fuel.min(self.bounds.fuel.0));
        let memory_peak = used.memory_peak.min(limits.memory.0);
        Usage {
            fuel,
            memory_peak: ByteCount(memory_peak),
            memory_fuel: used.memory_fuel.min(u128::from(fuel.0) * u128::from(memory_peak)),
            bytes_in: self.spec.bytes_in(),
            bytes_out: ByteCount(self.output_bytes),
            host_calls: used.host_calls,
            // The GPU's worker counts that.
            gpu_ns: 0,
        }
    }

    fn gpu_ns(&self, gpu: Option<(&str, GpuUsed)>) -> u64 {
        gpu.map_or(0, |(_, used)| used.ns.min(self.bounds.gpu_ns))
    }

    fn gpu_run(&self, class: &str, used: GpuUsed) -> Option<GpuRun> {
        let need = self.spec.gpu?;
        Some(GpuRun {
            class: class.to_owned(),
            comparison: need.comparison.held(used.has_floats),
            dispatches: used.dispatches.min(need.dispatches),
            bytes_moved: ByteCount(used.bytes_moved),
            memory_peak: ByteCount(used.memory_peak.min(need.memory.0)),
        })
    }
}

impl RunReport {
    /// The end of a run that began again, and has written less than was given out before. Only who is stopped has: whatever else ends a
    /// guest ends it each time at the same place.
    pub(crate) fn short_of_output(self) -> Result<Self, Lied> {
        match self.outcome {
            Outcome::Cancelled | Outcome::TimedOut => Ok(self.without_output()),
            _ => Err(Lied::OutputAgain),
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{BlobRef, Comparison, GpuNeed, JobLimits};

    use super::*;

    fn account() -> Account {
        let limits = JobLimits {
            fuel: Fuel(1_000),
            memory: ByteCount(100),
            output: ByteCount(50),
            log: ByteCount(10),
            ..JobLimits::default()
        };
        let spec = JobSpec { limits, ..JobSpec::new(BlobRef::of(b"m"), BlobRef::of(b"input")) };
        Account::new(Arc::new(spec), Bounds::of(&limits))
    }

    fn ending(output: Option<&[u8]>) -> Ending {
        let used = Used { fuel: 500, memory_peak: 60, memory_fuel: 29_000, host_calls: 3 };
        let output = output.map(<[u8]>::to_vec);
        Ending { outcome: Outcome::Finished { exit_code: 0 }, reason: String::new(), used, run_us: 7, output, log_dropped: 0 }
    }

    #[test]
    fn honest_worker_is_billed_what_it_says() {
        let mut account = account();
        account.add_log(&[0; 10]).unwrap();
        let report = account.close(ending(Some(b"out")), None).unwrap();
        let usage = Usage {
            fuel: Fuel(500),
            memory_peak: ByteCount(60),
            memory_fuel: 29_000,
            bytes_in: ByteCount(5),
            bytes_out: ByteCount(3),
            host_calls: 3,
            gpu_ns: 0,
        };
        assert_eq!(report.usage, usage);
        assert_eq!(report.output_digest, Digest::of(b"out"));
    }

    #[test]
    fn output_in_pieces_is_counted_and_hashed() {
        let mut account = account();
        account.add_output(b"large ").unwrap();
        account.add_output(b"output").unwrap();
        let report = account.close(ending(None), None).unwrap();
        assert_eq!((report.output_digest, report.usage.bytes_out), (Digest::of(b"large output"), ByteCount(12)));
    }

    #[test]
    fn no_bill_is_over_a_limit() {
        let used = Used { fuel: u64::MAX, memory_peak: u64::MAX, memory_fuel: u128::MAX, host_calls: 0 };
        let usage = account().close(Ending { used, ..ending(Some(b"")) }, None).unwrap().usage;
        assert_eq!((usage.fuel, usage.memory_peak, usage.memory_fuel), (Fuel(1_000), ByteCount(100), 100_000));
    }

    #[test]
    fn gpu_is_billed_within_its_limits_and_named_by_what_was_lent() {
        let need = GpuNeed { dispatches: 5, memory: ByteCount(100), comparison: Comparison::Class, ..GpuNeed::default() };
        let mut spec = JobSpec { gpu: Some(need), ..JobSpec::new(BlobRef::of(b"m"), BlobRef::of(b"")) };
        spec.limits.gpu_ns = 1_000;
        let used = GpuUsed { ns: 999, dispatches: 4, bytes_moved: 77, memory_peak: 60, has_floats: true };
        let over = GpuUsed { ns: 1_001, dispatches: 6, memory_peak: 101, has_floats: false, ..used };
        let bounds = Bounds::of(&spec.limits);
        let close = |used| Account::new(Arc::new(spec.clone()), bounds).close(ending(Some(b"")), Some(("class", used))).unwrap();
        let told = |report: RunReport| {
            let gpu = report.gpu.unwrap();
            assert!(gpu.is_within(&need));
            (report.usage.gpu_ns, gpu.comparison, gpu.dispatches, gpu.bytes_moved.0, gpu.memory_peak.0)
        };
        assert_eq!(told(close(used)), (999, Comparison::Class, 4, 77, 60));
        assert_eq!(told(close(over)), (1_000, Comparison::Exact, 5, 77, 100));
    }

    #[test]
    fn who_is_stopped_may_have_written_less_than_before_and_nobody_else() {
        let short = |outcome, written: Option<&[u8]>| {
            let mut account = account();
            account.add_output(if written.is_none() { b"in pieces" } else { b"" }).unwrap();
            account.close(Ending { outcome, ..ending(written) }, None).unwrap().short_of_output()
        };
        for outcome in [Outcome::Cancelled, Outcome::TimedOut] {
            for written in [None, Some(&b"at the end"[..]), Some(b"")] {
                let report = short(outcome, written).unwrap();
                assert_eq!((report.outcome, report.usage.fuel), (outcome, Fuel(500)));
                assert_eq!((report.output_digest, report.usage.bytes_out), (Digest::of(b""), ByteCount(0)));
                assert_eq!(report.output, Some(Vec::new()));
            }
        }
        for outcome in [Outcome::Finished { exit_code: 0 }, Outcome::OutOfFuel, Outcome::OutputTooLarge] {
            assert_eq!(short(outcome, Some(b"at the end")), Err(Lied::OutputAgain));
        }
    }

    /// Each word goes on to the gateway, and the outbox of a node has an end: a flood of them cut the node off.
    #[test]
    fn progress_is_told_as_often_as_an_honest_worker_tells_it() {
        let mut account = account();
        for n in 0..1_000 {
            account.add_progress(n * crate::worker::PROGRESS_INTERVAL).unwrap();
        }
        let mut hasty = self::account();
        let told = (0..1_000).take_while(|_| hasty.add_progress(Duration::from_secs(1)) == Ok(())).count();
        assert_eq!(told, 64 + 50);
        assert_eq!(hasty.add_progress(Duration::from_secs(1)), Err(Lied::Progress));
    }

    #[test]
    fn what_no_honest_worker_sends_is_refused() {
        assert_eq!(account().add_log(&[0; 11]), Err(Lied::Log));
        assert_eq!(account().add_output(&[0; 51]), Err(Lied::Output));
        let mut pieces = account().profiling(true);
        assert_eq!([pieces.add_log(b""), pieces.add_piece(b""), pieces.add_profile(b"")], [Err(Lied::Nothing); 3]);
        assert_eq!(account().close(ending(Some(&[0; 51])), None), Err(Lied::Output));
        assert_eq!(account().close(ending(Some(&[0; INLINE_BYTES_MAX + 1])), None), Err(Lied::OutputWay));
        assert_eq!(account().close(ending(None), None), Err(Lied::OutputWay));
        let reason = "x".repeat(REASON_BYTES_MAX + 1);
        assert_eq!(account().close(Ending { reason, ..ending(Some(b"")) }, None), Err(Lied::Reason));
        let mut twice = account();
        twice.add_output(b"a").unwrap();
        assert_eq!(twice.close(ending(Some(b"a")), None), Err(Lied::OutputWay));
    }
}
