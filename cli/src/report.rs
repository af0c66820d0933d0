//! How a job ended: as the object of `--json`, and as one line for people.

use adit_client::{Done, JobError, Settled};
use adit_protocol::{Digest, GpuRun, JobId, JobLimits, MeterId, Microcredits, Outcome, PublicKey, Usage};
use serde::Serialize;

use crate::exit::{Exit, InterruptedError};
use crate::gpu::{GpuRunReport, show_gpu_time, show_run};
use crate::proof::Proof;
use crate::quantity::{show_bytes, show_micros};
use crate::screen;
use crate::spending::{NoOutcomeError, OtherAttempts};

/// Hexadecimal digits of an id that people are shown. Eight tell any two of a day's jobs apart.
const SHORT_DIGITS: usize = 8;

/// A job that ran to an outcome.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) job: JobId,
    pub(crate) outcome: Outcome,
    /// What a human should know of the outcome beyond its name.
    pub(crate) reason: String,
    pub(crate) usage: Usage,
    /// What it did on a GPU, where it had one.
    pub(crate) gpu: Option<GpuRun>,
    pub(crate) measured: Measured,
    pub(crate) meter: MeterId,
    /// What the attempt that ended it costs.
    pub(crate) cost: Microcredits,
    /// The attempts that are paid beside it.
    pub(crate) others: OtherAttempts,
    pub(crate) output: Digest,
    /// Where it ran; nothing where that was here.
    pub(crate) node: Option<PublicKey>,
    /// Its receipt; nothing where it ran here.
    pub(crate) proof: Option<Proof>,
}

/// What clocks saw, in microseconds. Not billed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) queue_us: u64,
    pub(crate) fetch_us: u64,
    pub(crate) compile_us: u64,
    pub(crate) run_us: u64,
    pub(crate) rtt_us: u64,
}

/// The object of `adit run --json`. Its keys are a promise; they are described in `docs/cli.md`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) job: Option<String>,
    pub(crate) outcome: &'static str,
    pub(crate) exit_code: Option<i32>,
    pub(crate) reason: String,
    usage: Option<UsageReport>,
    gpu: Option<GpuRunReport>,
    measured: Option<MeasuredReport>,
    meter_id: Option<String>,
    pub(crate) price_microcredits: Option<u64>,
    node: Option<String>,
    output_digest: Option<String>,
    receipt: Option<String>,
    settlement: Option<String>,
    log_proof: Option<String>,
}

#[derive(Debug, Serialize)]
struct UsageReport {
    fuel: u64,
    memory_peak_bytes: u64,
    memory_fuel: u128,
    bytes_in: u64,
    bytes_out: u64,
    host_calls: u64,
    gpu_ns: u64,
}

#[derive(Debug, Serialize)]
struct MeasuredReport {
    queue_ms: f64,
    fetch_ms: f64,
    compile_ms: f64,
    run_ms: f64,
    rtt_ms: f64,
}

impl End {
    /// A job that ran on the network.
    pub(crate) fn of_done(done: &Done) -> Self {
        let receipt = done.receipt.receipt();
        let times = receipt.times;
        Self {
            job: receipt.job,
            outcome: receipt.outcome,
            reason: done.reason.clone(),
            usage: receipt.usage,
            gpu: receipt.gpu.clone(),
            measured: Measured {
                queue_us: done.queue_us,
                fetch_us: times.fetch_us,
                compile_us: times.compile_us,
                run_us: times.run_us,
                rtt_us: done.rtt_us,
            },
            meter: receipt.meter,
            cost: receipt.cost,
            others: OtherAttempts::default(),
            output: receipt.output,
            node: Some(receipt.node),
            proof: Some(Proof { receipt: done.receipt.signed().clone(), settlement: None, log: None }),
        }
    }

    /// A job that ran on the network, and whose receipt is stored.
    pub(crate) fn of_settled(settled: &Settled) -> Self {
        let receipt = settled.done.receipt.signed().clone();
        let proof = Proof { receipt, settlement: Some(settled.settlement.clone()), log: None };
        Self { proof: Some(proof), ..Self::of_done(&settled.done) }
    }

    /// What the job cost in all; nothing where that is not known.
    pub(crate) fn price(&self) -> Option<Microcredits> {
        self.others.total_with(self.cost)
    }

    /// What the end means to the shell.
    pub(crate) fn exit(&self) -> Exit {
        Exit::of_outcome(&self.outcome)
    }

    /// The object for programs.
    pub(crate) fn report(&self) -> Report {
        Report {
            job: Some(self.job.to_string()),
            outcome: self.outcome.name(),
            exit_code: match self.outcome {
                Outcome::Finished { exit_code } => Some(exit_code),
                _ => None,
            },
            reason: self.reason.clone(),
            usage: Some(UsageReport::of(&self.usage)),
            gpu: self.gpu.as_ref().map(|run| GpuRunReport::of(run, &self.usage)),
            measured: Some(MeasuredReport::of(&self.measured)),
            meter_id: Some(self.meter.to_string()),
            price_microcredits: self.price().map(|price| price.0),
            node: self.node.map(|n| n.to_string()),
            output_digest: Some(self.output.to_string()),
            receipt: self.proof.as_ref().map(Proof::receipt_hex),
            settlement: self.proof.as_ref().and_then(Proof::settlement_hex),
            log_proof: self.proof.as_ref().and_then(|proof| proof.log.clone()),
        }
    }

    /// The line for people. `limits` are those that were asked for, where they are known.
    pub(crate) fn summary(&self, limits: Option<&JobLimits>) -> String {
        let place = match self.node {
            Some(node) => format!("node {}, {} away", short(node), show_micros(self.measured.rtt_us)),
            None => "here".to_owned(),
        };
        let gpu = self.gpu.as_ref().map(|run| format!("{} · ", show_run(run, &self.usage))).unwrap_or_default();
        format!(
            "job {}: {} · {place} · {} · peak {} · ran {} · {gpu}{}",
            short(self.job),
            self.verdict(limits),
            self.usage.fuel,
            show_bytes(self.usage.memory_peak),
            show_micros(self.measured.run_us),
            self.others.describe_total_with(self.cost),
        )
    }

    /// How it ended, with the limit that was met and what to do about it.
    fn verdict(&self, limits: Option<&JobLimits>) -> String {
        let limit = |show: &dyn Fn(&JobLimits) -> String| limits.map(|l| format!(" (limit {})", show(l))).unwrap_or_default();
        let with_reason = |text: String| if self.reason.is_empty() { text } else { format!("{text}: {}", self.reason) };
        match self.outcome {
            Outcome::Finished { exit_code: 0 } => "finished".to_owned(),
            Outcome::Finished { exit_code } => with_reason(format!("the guest ended with exit code {exit_code}")),
            Outcome::OutOfFuel => {
                format!("out of fuel at {}{}; raise --fuel", self.usage.fuel, limit(&|l| l.fuel.to_string()))
            }
            Outcome::OutOfMemory => {
                let peak = show_bytes(self.usage.memory_peak);
                format!("out of memory at {peak}{}; raise --memory", limit(&|l| show_bytes(l.memory)))
            }
            Outcome::TimedOut => {
                let ran = show_micros(self.measured.run_us);
                format!("timed out after {ran}{}; raise --timeout", limit(&|l| show_micros(l.wall_ms.saturating_mul(1000))))
            }
            Outcome::OutputTooLarge => {
                format!("output too large{}; raise --output-max", limit(&|l| show_bytes(l.output)))
            }
            Outcome::OutOfGpuTime => {
                let most = limit(&|l| show_gpu_time(l.gpu_ns));
                format!("out of GPU time at {}{most}; raise --gpu", show_gpu_time(self.usage.gpu_ns))
            }
            Outcome::GpuLost => with_reason("its work hung the GPU".to_owned()),
            Outcome::Cancelled => "cancelled".to_owned(),
            Outcome::Preempted => "cut short by the node's owner".to_owned(),
            // The reason names the trap itself, and the function.
            Outcome::Trapped(kind) if self.reason.is_empty() => format!("trapped: {kind}"),
            Outcome::Trapped(_) => format!("trapped: {}", self.reason),
        }
    }
}

impl Report {
    /// A job that came to no outcome. `job` is its id where it got one.
    pub(crate) fn of_error(error: &anyhow::Error, job: Option<JobId>) -> Self {
        let (outcome, price_microcredits) = classify(error);
        let job = job.map(|j| j.to_string());
        Self { job, outcome, reason: screen::describe(error), price_microcredits, ..Self::default() }
    }
}

/// The outcome that stands for an error, and its price: what was paid for attempts that were cut short. Nothing is billed where nothing ran, and
/// what cannot be known is not guessed.
fn classify(error: &anyhow::Error) -> (&'static str, Option<u64>) {
    if error.chain().any(|cause| cause.is::<InterruptedError>()) {
        return ("cancelled", None);
    }
    let others = error.chain().find_map(|cause| cause.downcast_ref::<NoOutcomeError>()).map(|error| error.others);
    let paid = others.and_then(|others| others.total_with(Microcredits(0))).map(|paid| paid.0);
    match error.chain().find_map(|cause| cause.downcast_ref::<JobError>()) {
        Some(JobError::CancelledInQueue { .. }) => ("cancelled", paid),
        Some(JobError::NodeLost { .. }) => ("node_lost", paid),
        // It may have run; only the same key can tell.
        Some(JobError::GatewayLost { .. }) => ("node_lost", None),
        Some(JobError::Unproven { .. } | JobError::Mismatch(_) | JobError::WrongOutput { .. }) => ("refused", None),
        Some(_) if others.is_some() => ("refused", paid),
        _ => ("refused", Some(0)),
    }
}

impl UsageReport {
    fn of(usage: &Usage) -> Self {
        Self {
            fuel: usage.fuel.0,
            memory_peak_bytes: usage.memory_peak.0,
            memory_fuel: usage.memory_fuel,
            bytes_in: usage.bytes_in.0,
            bytes_out: usage.bytes_out.0,
            host_calls: usage.host_calls,
            gpu_ns: usage.gpu_ns,
        }
    }
}

impl MeasuredReport {
    fn of(measured: &Measured) -> Self {
        let ms = |us: u64| us as f64 / 1e3;
        Self {
            queue_ms: ms(measured.queue_us),
            fetch_ms: ms(measured.fetch_us),
            compile_ms: ms(measured.compile_us),
            run_ms: ms(measured.run_us),
            rtt_ms: ms(measured.rtt_us),
        }
    }
}

/// The start of an id, enough for people: `7f3a1c2e…`.
pub(crate) fn short(id: impl ToString) -> String {
    let text = id.to_string();
    format!("{}…", text.get(..SHORT_DIGITS).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use adit_protocol::{ByteCount, Comparison, Fuel, Refusal, TrapKind};
    use serde_json::Value;

    use super::*;
    use crate::proof;
    use crate::spending::Spending;

    fn end(outcome: Outcome) -> End {
        let proof = proof::tests::good();
        let receipt = &proof.receipt.receipt;
        End {
            job: receipt.job,
            outcome,
            reason: String::new(),
            usage: Usage {
                fuel: Fuel(2_000_000_000),
                memory_peak: ByteCount(256 << 20),
                memory_fuel: 1 << 70,
                ..Usage::default()
            },
            gpu: None,
            measured: Measured { queue_us: 412, run_us: 1_240_000, rtt_us: 400, ..Measured::default() },
            meter: receipt.meter,
            cost: Microcredits(42),
            others: OtherAttempts::default(),
            output: receipt.output,
            node: Some(receipt.node),
            proof: Some(proof),
        }
    }

    fn json(report: &Report) -> Value {
        serde_json::from_str(&serde_json::to_string(report).unwrap()).unwrap()
    }

    /// Scripts rely on these keys, in every case.
    const KEYS: [&str; 14] = [
        "exit_code",
        "gpu",
        "job",
        "log_proof",
        "measured",
        "meter_id",
        "node",
        "outcome",
        "output_digest",
        "price_microcredits",
        "reason",
        "receipt",
        "settlement",
        "usage",
    ];

    #[test]
    fn object_has_the_same_keys_whatever_happens() {
        let refused = anyhow::Error::from(JobError::Refused { job: JobId([1; 16]), refusal: Refusal::KeyConflict });
        for report in [end(Outcome::OutOfFuel).report(), Report::of_error(&refused, None)] {
            let object = json(&report);
            let mut keys: Vec<&String> = object.as_object().unwrap().keys().collect();
            keys.sort();
            assert_eq!(keys, KEYS);
        }
    }

    #[test]
    fn finished_job_is_told_in_full() {
        let end = end(Outcome::Finished { exit_code: 3 });
        let text = serde_json::to_string(&end.report()).unwrap();
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["outcome"], "finished");
        assert_eq!(object["exit_code"], 3);
        assert_eq!(object["measured"]["queue_ms"], 0.412);
        assert_eq!(object["usage"]["memory_peak_bytes"], 256 << 20);
        // Larger than 64 bits, and still a plain integer.
        assert!(text.contains(&format!("\"memory_fuel\":{}", 1u128 << 70)), "{text}");
        assert_eq!(object["receipt"], end.proof.unwrap().receipt_hex());
    }

    #[test]
    fn errors_stand_for_outcomes_and_are_not_billed() {
        let job = JobId([1; 16]);
        let followed = |error: JobError| Spending::of_new_job(false).with_others(error.into());
        let lost = || JobError::NodeLost { job, attempts: 2, reason: "gone".into() };
        let gateway_lost = JobError::GatewayLost { job, reason: "gone".into() };
        let rows: [(anyhow::Error, &str, Option<u64>); 9] = [
            (JobError::Refused { job, refusal: Refusal::KeyConflict }.into(), "refused", Some(0)),
            (followed(JobError::Refused { job, refusal: Refusal::KeyConflict }), "refused", Some(0)),
            (followed(lost()), "node_lost", Some(0)),
            // Nobody heard what became of its attempts.
            (lost().into(), "node_lost", None),
            (followed(gateway_lost), "node_lost", None),
            (followed(JobError::CancelledInQueue { job }), "cancelled", Some(0)),
            (JobError::CancelledInQueue { job }.into(), "cancelled", None),
            (JobError::WrongOutput { job }.into(), "refused", None),
            (anyhow::anyhow!("no such file"), "refused", Some(0)),
        ];
        for (error, outcome, price) in rows {
            let report = Report::of_error(&error, Some(job));
            assert_eq!((report.outcome, report.price_microcredits), (outcome, price), "{error}");
            assert!(!report.reason.is_empty());
            assert!(json(&report)["receipt"].is_null());
        }
    }

    #[test]
    fn verdict_names_limit_value_and_next_step() {
        let limits = JobLimits { fuel: Fuel(2_000_000_000), ..JobLimits::default() };
        let verdict = |outcome| end(outcome).verdict(Some(&limits));
        assert_eq!(verdict(Outcome::OutOfFuel), "out of fuel at 2.000 Gfuel (limit 2.000 Gfuel); raise --fuel");
        assert_eq!(verdict(Outcome::OutOfMemory), "out of memory at 256.0 MiB (limit 256.0 MiB); raise --memory");
        assert_eq!(verdict(Outcome::TimedOut), "timed out after 1.24 s (limit 1m); raise --timeout");
        assert_eq!(verdict(Outcome::OutputTooLarge), "output too large (limit 64.0 MiB); raise --output-max");
        assert_eq!(verdict(Outcome::Trapped(TrapKind::Unreachable)), "trapped: unreachable code was reached");
        assert_eq!(end(Outcome::OutOfFuel).verdict(None), "out of fuel at 2.000 Gfuel; raise --fuel");
    }

    #[test]
    fn gpu_of_a_job_is_told_in_object_and_summary() {
        let run = GpuRun {
            class: "software/mesa/llvmpipe".into(),
            comparison: Comparison::Exact,
            dispatches: 3,
            bytes_moved: ByteCount(2 << 20),
            memory_peak: ByteCount(1 << 20),
        };
        let mut end = end(Outcome::OutOfGpuTime);
        end.usage.gpu_ns = 1_500_000;
        end.gpu = Some(run);
        let want = serde_json::json!({
            "class": "software/mesa/llvmpipe", "time_ns": 1_500_000, "dispatches": 3, "bytes_moved": 2 << 20,
            "memory_peak_bytes": 1 << 20, "comparison": "exact",
        });
        assert_eq!(json(&end.report())["gpu"], want);
        let limits = JobLimits { gpu_ns: 1_000_000, ..JobLimits::default() };
        let line = end.summary(Some(&limits));
        assert!(line.contains("out of GPU time at 1.5 ms (limit 1.0 ms); raise --gpu"), "{line}");
        assert!(line.contains(" · 1.5 ms of software/mesa/llvmpipe in 3 dispatches, 2.0 MiB moved · "), "{line}");
    }

    #[test]
    fn summary_tells_node_distance_use_and_price() {
        let line = end(Outcome::Finished { exit_code: 0 }).summary(None);
        for part in ["job 01010101…: finished", "400 us away", "2.000 Gfuel", "peak 256.0 MiB", "ran 1.24 s", "0.000042 credits"]
        {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn price_is_that_of_all_attempts_or_none() {
        let others = OtherAttempts { count: 1, cost: Microcredits(8), may_be_more: false };
        let cut = End { others, ..end(Outcome::Finished { exit_code: 0 }) };
        assert_eq!(json(&cut.report())["price_microcredits"], 50);
        let line = cut.summary(None);
        assert!(line.ends_with("0.000050 credits, 0.000008 credits of them for an attempt that was cut short"), "{line}");
        let unknown = End { others: OtherAttempts { may_be_more: true, ..others }, ..cut };
        assert!(json(&unknown.report())["price_microcredits"].is_null());
    }
}
