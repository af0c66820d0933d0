//! What a run comes to: the supervisor's own count of what a worker sends, and the report made from it. A guest may have taken its
//! worker over, so nothing is believed that can be counted here, and no count is billed beyond its limit.

use std::sync::Arc;

use adit_protocol::limits::{INLINE_BYTES_MAX, REASON_BYTES_MAX};
use adit_protocol::{ByteCount, Digest, Fuel, JobSpec, Usage};

use crate::ipc::{Ending, Used};
use crate::run::RunReport;

/// A worker sent what an honest one cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lied {
    #[error("more log than the job's limit")]
    Log,
    #[error("more output than the job's limit")]
    Output,
    #[error("its output in two ways, or in none")]
    OutputWay,
    #[error("a longer reason than there is")]
    Reason,
}

/// The count of one run.
#[derive(Debug)]
pub(crate) struct Account {
    spec: Arc<JobSpec>,
    log_bytes: u64,
    output_bytes: u64,
    output: blake3::Hasher,
}

impl Account {
    pub(crate) fn new(spec: Arc<JobSpec>) -> Self {
        Self { spec, log_bytes: 0, output_bytes: 0, output: blake3::Hasher::new() }
    }

    /// Counts a piece of log.
    pub(crate) fn add_log(&mut self, bytes: &[u8]) -> Result<(), Lied> {
        self.log_bytes += bytes.len() as u64;
        if self.log_bytes > self.spec.limits.log.0 { Err(Lied::Log) } else { Ok(()) }
    }

    /// Counts a piece of output.
    pub(crate) fn add_output(&mut self, bytes: &[u8]) -> Result<(), Lied> {
        self.output_bytes += bytes.len() as u64;
        self.output.update(bytes);
        if self.output_bytes > self.spec.limits.output.0 { Err(Lied::Output) } else { Ok(()) }
    }

    /// Whether no output came so far.
    pub(crate) fn is_output_empty(&self) -> bool {
        self.output_bytes == 0
    }

    /// Ends the count.
    pub(crate) fn close(&mut self, ending: Ending) -> Result<RunReport, Lied> {
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
            usage: self.usage(ending.used),
            gpu: None,
            run_us: ending.run_us,
            output_digest: Digest(*self.output.finalize().as_bytes()),
            output: ending.output,
            log_dropped: ByteCount(ending.log_dropped),
        })
    }

    /// What a job is billed that has used so much, whatever a worker says: nothing beyond its limits.
    pub(crate) fn usage(&self, used: Used) -> Usage {
        let limits = &self.spec.limits;
        let fuel = Fuel(used.fuel.min(limits.fuel.0));
        let memory_peak = used.memory_peak.min(limits.memory.0);
        Usage {
            fuel,
            memory_peak: ByteCount(memory_peak),
            memory_fuel: used.memory_fuel.min(u128::from(fuel.0) * u128::from(memory_peak)),
            bytes_in: ByteCount(self.spec.input.bytes),
            bytes_out: ByteCount(self.output_bytes),
            host_calls: used.host_calls,
            // No guest has a GPU.
            gpu_ns: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{BlobRef, JobLimits, Outcome};

    use super::*;

    fn account() -> Account {
        let limits = JobLimits {
            fuel: Fuel(1_000),
            memory: ByteCount(100),
            output: ByteCount(50),
            log: ByteCount(10),
            ..JobLimits::default()
        };
        Account::new(Arc::new(JobSpec { limits, ..JobSpec::new(BlobRef::of(b"m"), BlobRef::of(b"input")) }))
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
        let report = account.close(ending(Some(b"out"))).unwrap();
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
        let report = account.close(ending(None)).unwrap();
        assert_eq!((report.output_digest, report.usage.bytes_out), (Digest::of(b"large output"), ByteCount(12)));
    }

    #[test]
    fn no_bill_is_over_a_limit() {
        let used = Used { fuel: u64::MAX, memory_peak: u64::MAX, memory_fuel: u128::MAX, host_calls: 0 };
        let usage = account().close(Ending { used, ..ending(Some(b"")) }).unwrap().usage;
        assert_eq!((usage.fuel, usage.memory_peak, usage.memory_fuel), (Fuel(1_000), ByteCount(100), 100_000));
    }

    #[test]
    fn what_no_honest_worker_sends_is_refused() {
        assert_eq!(account().add_log(&[0; 11]), Err(Lied::Log));
        assert_eq!(account().add_output(&[0; 51]), Err(Lied::Output));
        assert_eq!(account().close(ending(Some(&[0; 51]))), Err(Lied::Output));
        assert_eq!(account().close(ending(Some(&[0; INLINE_BYTES_MAX + 1]))), Err(Lied::OutputWay));
        assert_eq!(account().close(ending(None)), Err(Lied::OutputWay));
        let reason = "x".repeat(REASON_BYTES_MAX + 1);
        assert_eq!(account().close(Ending { reason, ..ending(Some(b"")) }), Err(Lied::Reason));
        let mut twice = account();
        twice.add_output(b"a").unwrap();
        assert_eq!(twice.close(ending(Some(b"a"))), Err(Lied::OutputWay));
    }
}
