//! What a receipt claims beside what running its job again gives, field by field.

use std::fmt::{self, Display};

use adit_protocol::{Comparison, Digest, GpuNeed, GpuRun, JobSpec, MeterId, Outcome, Receipt, Usage};
use serde::Serialize;

/// What running a job again gave.
#[derive(Debug, Clone)]
pub(crate) struct Recomputed {
    pub(crate) meter: MeterId,
    pub(crate) engine: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) usage: Usage,
    /// The digest of the output, or of as many bytes of its start as were claimed where a clock ended the job.
    pub(crate) output: Digest,
    /// Whether the numbers of the output are within the tolerance that holds for them; nothing where none does, or nobody compared.
    pub(crate) tolerated: Option<Tolerated>,
    /// What was done on a GPU.
    pub(crate) gpu: Option<GpuRun>,
    /// Why another run on the same adapter may come to something else, where it may.
    pub(crate) varies: Option<Varies>,
}

/// Why a job may come to one thing in one run, and to another in the next, on one and the same adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Varies {
    /// A shader of it makes something of what atomics return, and who comes first decides that.
    AtomicResults,
    /// It was seen to.
    Seen,
}

/// What came of comparing an output with the claimed one, number by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tolerated {
    /// Each number counts as the claimed one.
    Yes,
    /// The number at this byte does not.
    NotAt(u64),
}

/// How a bill can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// The guest came to its own end: everything must be equal.
    Equal,
    /// A clock or a person ended it, at a moment that is the node's word. The job is run again until it has used more than the claimed
    /// fuel, or has ended. It must not have ended before that, and no claim may be over what it used on the way.
    AtMost,
}

/// One field of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Field {
    pub(crate) field: &'static str,
    pub(crate) claimed: Value,
    pub(crate) recomputed: Value,
    pub(crate) equal: bool,
    /// Whether an honest receipt may claim this.
    pub(crate) holds: bool,
    /// Whether this machine can tell; else it holds as far as anyone knows.
    pub(crate) decided: bool,
}

/// A field's value. Memory-fuel needs all 128 bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Number(u128),
    Text(String),
}

impl Check {
    /// How `receipt` can be checked.
    pub(crate) fn of(receipt: &Receipt) -> Self {
        match receipt.outcome {
            // How long a GPU takes is for no other machine to say.
            Outcome::TimedOut | Outcome::Cancelled | Outcome::Preempted | Outcome::OutOfGpuTime | Outcome::GpuLost => {
                Self::AtMost
            }
            _ => Self::Equal,
        }
    }

    /// Compares all that can be computed again. What decides comes first.
    pub(crate) fn compare(self, receipt: &Receipt, spec: &JobSpec, again: &Recomputed) -> Vec<Field> {
        let (claimed, used) = (&receipt.usage, &billed(receipt, again));
        let cost = receipt.price.cost(used).map_or_else(|error| Value::Text(error.to_string()), |cost| cost.0.into());
        let mut fields = vec![
            Field::new("meter_id", receipt.meter.to_string(), again.meter.to_string()),
            // Another build of the same meter must come to the same bill.
            Field { holds: true, ..Field::new("engine", receipt.engine.clone(), again.engine.to_owned()) },
            Field::new("profile", receipt.profile.to_string(), spec.profile.to_string()),
            Field::new("module", receipt.module.to_string(), spec.module.digest.to_string()),
            Field::new("input", receipt.input.to_string(), spec.input_digest().to_string()),
            self.outcome(receipt, spec, again),
            output(receipt, again),
            self.amount("fuel", claimed.fuel.0, used.fuel.0),
            self.amount("memory_peak_bytes", claimed.memory_peak.0, used.memory_peak.0),
            self.amount("memory_fuel", claimed.memory_fuel, used.memory_fuel),
            Field::new("bytes_in", claimed.bytes_in.0, used.bytes_in.0),
            self.amount("bytes_out", claimed.bytes_out.0, used.bytes_out.0),
            self.amount("host_calls", claimed.host_calls, used.host_calls),
        ];
        fields.extend(self.gpu(receipt, spec, again));
        fields.push(self.amount("price_microcredits", receipt.cost.0, cost));
        if doubt(receipt, again).is_some() {
            let open = fields.iter_mut().filter(|field| !field.holds && is_possible(field.field, receipt, spec));
            open.for_each(Field::leave_open);
        }
        fields
    }

    /// Whether what was recomputed refutes the claim by nothing but what a GPU computed, on an adapter of the same class, so that it has to be
    /// known whether a run comes to what another does.
    pub(crate) fn is_refuted_by_gpu_alone(self, receipt: &Receipt, spec: &JobSpec, again: &Recomputed) -> bool {
        let fields = self.compare(receipt, spec, again);
        let mut faults = fields.iter().filter(|field| !field.holds).peekable();
        let has_gpu = receipt.gpu.is_some() && again.gpu.is_some();
        has_gpu && faults.peek().is_some() && faults.all(|field| is_possible(field.field, receipt, spec))
    }

    /// What is said of a GPU. Its time is the node's word within what was asked for, and its class is of that very adapter.
    fn gpu(self, receipt: &Receipt, spec: &JobSpec, again: &Recomputed) -> Vec<Field> {
        let time = time(receipt, spec, again);
        let (claimed, used) = match (&receipt.gpu, &again.gpu) {
            (Some(claimed), Some(used)) => (claimed, used),
            (None, None) => return vec![time],
            (claimed, used) => {
                let whether = |run: &Option<GpuRun>| if run.is_some() { "used" } else { "not used" }.to_owned();
                return vec![time, Field::new("gpu", whether(claimed), whether(used))];
            }
        };
        vec![
            Field { holds: true, ..Field::new("gpu_class", claimed.class.clone(), used.class.clone()) },
            time,
            self.amount("gpu_dispatches", claimed.dispatches, used.dispatches),
            self.amount("gpu_bytes_moved", claimed.bytes_moved.0, used.bytes_moved.0),
            self.amount("gpu_memory_peak_bytes", claimed.memory_peak.0, used.memory_peak.0),
            self.rule(claimed, used),
        ]
    }

    /// By which rule results compare. A job that was cut short may not have come to the shader that computes with floats.
    fn rule(self, claimed: &GpuRun, used: &GpuRun) -> Field {
        let field = Field::new("gpu_comparison", claimed.comparison.to_string(), used.comparison.to_string());
        Field { holds: field.equal || self == Self::AtMost && claimed.comparison == Comparison::Exact, ..field }
    }

    fn outcome(self, receipt: &Receipt, spec: &JobSpec, again: &Recomputed) -> Field {
        let field = Field::new("outcome", receipt.outcome.to_string(), again.outcome.to_string());
        // What has no GPU cannot end by one.
        let is_possible = spec.gpu.is_some() || !matches!(receipt.outcome, Outcome::OutOfGpuTime | Outcome::GpuLost);
        match self {
            Self::Equal => field,
            Self::AtMost => Field { holds: is_possible && receipt.usage.fuel <= again.usage.fuel, ..field },
        }
    }

    fn amount(self, name: &'static str, claimed: impl Into<Value>, recomputed: impl Into<Value>) -> Field {
        let field = Field::new(name, claimed, recomputed);
        let below = matches!((&field.claimed, &field.recomputed), (Value::Number(c), Value::Number(r)) if c <= r);
        Field { holds: field.equal || self == Self::AtMost && below, ..field }
    }
}

/// Why what came out here, where it differs, says nothing of the claim, in words; nothing where it does.
///
/// What a GPU computes can depend on the adapter even where no shader computes with floats: access out of bounds, races, the order in
/// which atomics answer, and loops that lavapipe ends after 65,535 rounds. Races and that order differ on one adapter, too. What the guest
/// does next can depend on what it read.
pub(crate) fn doubt(receipt: &Receipt, again: &Recomputed) -> Option<String> {
    let (claimed, used) = (receipt.gpu.as_ref()?, again.gpu.as_ref()?);
    let (there, here) = (&claimed.class, &used.class);
    match again.outcome {
        Outcome::GpuLost => Some(format!("its work hung this machine's GPU ({here}), and it ran on {there}")),
        Outcome::OutOfGpuTime => {
            Some(format!("a day of this machine's GPU ({here}) is not enough for it, and it ran on {there}"))
        }
        _ if there == here => again.varies.map(|varies| match varies {
            Varies::AtomicResults => {
                format!("a shader of it uses what atomics return, which may differ from run to run on one adapter ({here})")
            }
            Varies::Seen => format!("it came to different things when it ran several times on one adapter ({here})"),
        }),
        _ if claimed.comparison == Comparison::Class => {
            Some(format!("it ran on {there}, on which alone its results compare, and here on {here}"))
        }
        _ => Some(format!("it ran on {there}, and here on {here}, which may honestly differ")),
    }
}

/// Whether some adapter may lead an honest node to claim what it does in this field. None leads beyond what was asked, and none to a cost
/// that does not follow from the usage.
fn is_possible(field: &str, receipt: &Receipt, spec: &JobSpec) -> bool {
    let (usage, limits) = (&receipt.usage, &spec.limits);
    let is_within =
        |may: fn(&GpuRun, &GpuNeed) -> bool| receipt.gpu.as_ref().zip(spec.gpu.as_ref()).is_some_and(|(r, n)| may(r, n));
    match field {
        "output_digest" | "host_calls" | "gpu_bytes_moved" => true,
        "outcome" => receipt.outcome != Outcome::OutOfGpuTime || usage.gpu_ns == limits.gpu_ns,
        "fuel" => usage.fuel <= limits.fuel,
        "memory_peak_bytes" => usage.memory_peak <= limits.memory,
        "memory_fuel" => usage.memory_fuel <= u128::from(usage.fuel.0) * u128::from(usage.memory_peak.0),
        "bytes_out" => usage.bytes_out <= limits.output,
        "gpu_dispatches" => is_within(|run, need| run.dispatches <= need.dispatches),
        "gpu_memory_peak_bytes" => is_within(|run, need| run.memory_peak <= need.memory),
        "gpu_comparison" => is_within(|run, need| [need.comparison, Comparison::Exact].contains(&run.comparison)),
        "price_microcredits" => receipt.price.cost(usage).is_ok_and(|cost| cost == receipt.cost),
        _ => false,
    }
}

/// GPU time: within what was asked for, and none where there was no GPU.
fn time(receipt: &Receipt, spec: &JobSpec, again: &Recomputed) -> Field {
    let most = if spec.gpu.is_some() && receipt.gpu.is_some() { spec.limits.gpu_ns } else { 0 };
    let field = Field::new("gpu_ns", receipt.usage.gpu_ns, again.usage.gpu_ns);
    Field { holds: receipt.usage.gpu_ns <= most, ..field }
}

/// What the claim of an honest node would be: GPU time is taken as it was claimed, because no other adapter takes as long. Where either had no
/// GPU it is not.
fn billed(receipt: &Receipt, again: &Recomputed) -> Usage {
    match (&receipt.gpu, &again.gpu) {
        (Some(_), Some(_)) => Usage { gpu_ns: receipt.usage.gpu_ns, ..again.usage },
        _ => again.usage,
    }
}

/// Whether the output is the claimed one, bit for bit or within the tolerance that holds.
fn output(receipt: &Receipt, again: &Recomputed) -> Field {
    let field = Field::new("output_digest", receipt.output.to_string(), again.output.to_string());
    match again.tolerated {
        _ if field.equal => field,
        Some(Tolerated::Yes) => {
            Field { recomputed: format!("{} (within the tolerance)", again.output).into(), holds: true, ..field }
        }
        Some(Tolerated::NotAt(byte)) => {
            Field { recomputed: format!("{} (differs at byte {byte})", again.output).into(), ..field }
        }
        None => field,
    }
}

/// What was billed beyond the re-computed price, in microcredits; below zero where it was less.
pub(crate) fn overcharge(receipt: &Receipt, again: &Recomputed) -> Option<i128> {
    let cost = receipt.price.cost(&billed(receipt, again)).ok()?;
    Some(i128::from(receipt.cost.0) - i128::from(cost.0))
}

impl Field {
    fn new(field: &'static str, claimed: impl Into<Value>, recomputed: impl Into<Value>) -> Self {
        let (claimed, recomputed) = (claimed.into(), recomputed.into());
        let equal = claimed == recomputed;
        Self { field, claimed, recomputed, equal, holds: equal, decided: true }
    }

    fn leave_open(&mut self) {
        (self.holds, self.decided) = (true, false);
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl From<u128> for Value {
    fn from(number: u128) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{BlobRef, ByteCount, Fuel, Tolerance, TrapKind};

    use super::*;
    use crate::proof::tests::good;

    fn spec() -> JobSpec {
        JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"))
    }

    /// What an honest node's receipt comes to.
    fn again(receipt: &Receipt) -> Recomputed {
        let Receipt { meter, outcome, usage, output, .. } = *receipt;
        let gpu = receipt.gpu.clone();
        Recomputed { meter, engine: "another", outcome, usage, output, tolerated: None, gpu, varies: None }
    }

    /// The fields in which a receipt does not hold.
    fn faults(receipt: &Receipt, again: &Recomputed) -> Vec<&'static str> {
        let fields = Check::of(receipt).compare(receipt, &spec(), again);
        fields.into_iter().filter(|field| !field.holds).map(|field| field.field).collect()
    }

    #[test]
    fn every_claim_of_a_guests_own_end_must_be_equal() {
        type Change = fn(&mut Receipt);
        let rows: [(Change, &[&str]); 9] = [
            (|_| {}, &[]),
            (|r| r.engine = "yet another".into(), &[]),
            (|r| r.usage.fuel.0 += 1, &["fuel"]),
            // To the payer's good, and still not what was used.
            (|r| r.usage.fuel.0 -= 1, &["fuel"]),
            (|r| r.usage.memory_peak = ByteCount(1), &["memory_peak_bytes"]),
            (|r| r.usage.memory_fuel = 1 << 100, &["memory_fuel"]),
            (|r| r.outcome = Outcome::Finished { exit_code: 1 }, &["outcome"]),
            (|r| r.outcome = Outcome::Trapped(TrapKind::Unreachable), &["outcome"]),
            (|r| r.cost.0 += 1, &["price_microcredits"]),
        ];
        let honest = good().receipt.receipt;
        for (change, want) in rows {
            let mut claim = honest.clone();
            change(&mut claim);
            assert_eq!(faults(&claim, &again(&honest)), want);
        }
    }

    /// The fields of which nobody can tell here.
    fn open(receipt: &Receipt, spec: &JobSpec, again: &Recomputed) -> Vec<&'static str> {
        let fields = Check::of(receipt).compare(receipt, spec, again);
        assert!(fields.iter().all(|field| field.holds), "{fields:?}");
        fields.into_iter().filter(|field| !field.decided).map(|field| field.field).collect()
    }

    const ELSEWHERE: &str = "software/mesa/llvmpipe";

    fn with_gpu() -> Receipt {
        let mut receipt = good().receipt.receipt;
        receipt.usage.gpu_ns = 5_000_000;
        receipt.price.per_gpu_minute = 60_000_000_000;
        receipt.cost = receipt.price.cost(&receipt.usage).unwrap();
        receipt.gpu = Some(GpuRun {
            class: "discrete/nvidia/nvidia".into(),
            comparison: Comparison::Class,
            dispatches: 3,
            bytes_moved: ByteCount(4096),
            memory_peak: ByteCount(2048),
        });
        receipt
    }

    #[test]
    fn gpu_time_is_the_nodes_word_within_the_limit_and_all_else_is_compared() {
        let receipt = with_gpu();
        let mut spec = spec_of_gpu();
        spec.limits.gpu_ns = 5_000_000;
        let mut here = again(&receipt);
        // A slower adapter of its class.
        here.usage.gpu_ns = 900_000_000;
        let faults = |receipt: &Receipt, spec: &JobSpec| {
            let fields = Check::Equal.compare(receipt, spec, &here);
            fields.into_iter().filter(|field| !field.holds).map(|field| field.field).collect::<Vec<_>>()
        };
        assert!(faults(&receipt, &spec).is_empty());
        assert_eq!(overcharge(&receipt, &here), Some(0));
        spec.limits.gpu_ns -= 1;
        assert_eq!(faults(&receipt, &spec), ["gpu_ns"]);
        spec.limits.gpu_ns += 1;
        type Change = fn(&mut GpuRun);
        let rows: [(Change, &str); 4] = [
            (|run| run.dispatches += 1, "gpu_dispatches"),
            (|run| run.bytes_moved.0 += 4, "gpu_bytes_moved"),
            (|run| run.memory_peak.0 += 4, "gpu_memory_peak_bytes"),
            // Who says so would be believed by every other adapter.
            (|run| run.comparison = Comparison::Exact, "gpu_comparison"),
        ];
        for (change, want) in rows {
            let mut claim = receipt.clone();
            change(claim.gpu.as_mut().unwrap());
            assert_eq!(faults(&claim, &spec), [want]);
        }
        let none = Receipt { gpu: None, ..receipt };
        assert_eq!(faults(&none, &spec), ["gpu_ns", "gpu", "price_microcredits"]);
    }

    /// What a node claimed of GPU time was taken over into what the job should have cost, though it had no GPU: the bill held.
    #[test]
    fn gpu_time_of_a_job_without_a_gpu_is_told_with_all_that_it_costs() {
        let honest = Receipt { gpu: None, ..with_gpu() };
        let here = Recomputed { usage: Usage { gpu_ns: 0, ..honest.usage }, ..again(&honest) };
        assert_eq!(faults(&honest, &here), ["gpu_ns", "price_microcredits"]);
        assert_eq!(overcharge(&honest, &here), Some(5_000_000));
    }

    /// Such a bill came out as plausible.
    #[test]
    fn job_without_a_gpu_cannot_end_by_one() {
        for outcome in [Outcome::OutOfGpuTime, Outcome::GpuLost] {
            let receipt = Receipt { outcome, ..good().receipt.receipt };
            let mut still_running = again(&receipt);
            still_running.usage.fuel.0 += 1;
            assert_eq!(faults(&receipt, &still_running), ["outcome"], "{outcome}");
        }
    }

    /// Lavapipe ends a loop after 65,535 rounds, so a guest that reads what it counted goes on in another way there: an honest node with
    /// hardware was convicted by whoever had none.
    #[test]
    fn adapter_of_another_class_convicts_nobody_of_what_depends_on_it() {
        type Change = fn(&mut Receipt);
        let rows: [(Change, &str); 11] = [
            (|r| r.output = Digest::of(b"another"), "output_digest"),
            (|r| r.outcome = Outcome::Finished { exit_code: 1 }, "outcome"),
            (|r| r.usage.fuel.0 += 1, "fuel"),
            (|r| r.usage.memory_peak.0 += 65_536, "memory_peak_bytes"),
            (|r| r.usage.memory_fuel += 1, "memory_fuel"),
            (|r| r.usage.bytes_out.0 += 1, "bytes_out"),
            (|r| r.usage.host_calls += 1, "host_calls"),
            (|r| r.gpu.as_mut().unwrap().dispatches += 1, "gpu_dispatches"),
            (|r| r.gpu.as_mut().unwrap().bytes_moved.0 += 4, "gpu_bytes_moved"),
            (|r| r.gpu.as_mut().unwrap().memory_peak.0 += 4, "gpu_memory_peak_bytes"),
            (|r| r.gpu.as_mut().unwrap().comparison = Comparison::Exact, "gpu_comparison"),
        ];
        let (honest, spec) = (with_gpu(), spec_of_gpu());
        let same = again(&honest);
        let mut other = same.clone();
        other.gpu.as_mut().unwrap().class = ELSEWHERE.into();
        assert!(open(&honest, &spec, &same).is_empty() && open(&honest, &spec, &other).is_empty());
        for (change, field) in rows {
            let mut claim = honest.clone();
            change(&mut claim);
            assert_eq!(open(&claim, &spec, &other), [field]);
            let fields = Check::Equal.compare(&claim, &spec, &same);
            let faults = fields.iter().filter(|field| !field.holds && field.decided).map(|field| field.field);
            assert_eq!(faults.collect::<Vec<_>>(), [field]);
            assert!(Check::Equal.is_refuted_by_gpu_alone(&claim, &spec, &same));
            // An adapter of that very class says nothing either of what differs on it from run to run.
            for varies in [Varies::AtomicResults, Varies::Seen] {
                assert_eq!(open(&claim, &spec, &Recomputed { varies: Some(varies), ..same.clone() }), [field]);
            }
        }
        assert!(!Check::Equal.is_refuted_by_gpu_alone(&honest, &spec, &same), "nothing is refuted");
        let mut greedy = Receipt { output: Digest::of(b"another"), ..honest };
        greedy.usage.bytes_in.0 += 1;
        assert!(!Check::Equal.is_refuted_by_gpu_alone(&greedy, &spec, &same), "that is no adapter's to decide");
        let without = Receipt { gpu: None, ..greedy };
        assert!(!Check::Equal.is_refuted_by_gpu_alone(&without, &spec, &Recomputed { gpu: None, ..same }));
    }

    #[test]
    fn what_no_adapter_decides_convicts_on_every_class() {
        type Change = fn(&mut Receipt);
        let rows: [(Change, &str); 13] = [
            (|r| r.meter = MeterId([9; 32]), "meter_id"),
            (|r| r.module = Digest::of(b"another"), "module"),
            (|r| r.input = Digest::of(b"another"), "input"),
            (|r| r.usage.bytes_in.0 += 1, "bytes_in"),
            (|r| r.usage.gpu_ns = 60_000_000_001, "gpu_ns"),
            (|r| r.usage.fuel.0 = 10_000_000_001, "fuel"),
            (|r| r.usage.memory_peak.0 = (256 << 20) + 1, "memory_peak_bytes"),
            (|r| r.usage.memory_fuel = 1 << 100, "memory_fuel"),
            (|r| r.usage.bytes_out.0 = (64 << 20) + 1, "bytes_out"),
            (|r| r.gpu.as_mut().unwrap().dispatches = (1 << 20) + 1, "gpu_dispatches"),
            (|r| r.gpu.as_mut().unwrap().memory_peak.0 = (256 << 20) + 1, "gpu_memory_peak_bytes"),
            (|r| r.gpu.as_mut().unwrap().comparison = Comparison::Tolerance(NEAR), "gpu_comparison"),
            (|r| r.cost.0 += 1, "price_microcredits"),
        ];
        let (honest, spec) = (with_gpu(), spec_of_gpu());
        let mut other = again(&honest);
        other.gpu.as_mut().unwrap().class = ELSEWHERE.into();
        // Nor is a GPU that hangs here an excuse.
        let hung = Recomputed { outcome: Outcome::GpuLost, ..other.clone() };
        let varies = Recomputed { varies: Some(Varies::Seen), ..again(&honest) };
        for (change, field) in rows {
            let mut claim = honest.clone();
            change(&mut claim);
            if field != "price_microcredits" {
                claim.cost = claim.price.cost(&claim.usage).unwrap();
            }
            for here in [&other, &hung, &varies] {
                let fields = Check::of(&claim).compare(&claim, &spec, here);
                let faults: Vec<_> = fields.iter().filter(|field| !field.holds).map(|field| field.field).collect();
                assert_eq!(faults, [field]);
            }
        }
        // It is over only when all of its time is used.
        let mut early = Receipt { outcome: Outcome::OutOfGpuTime, ..honest };
        other.usage.fuel.0 -= 1;
        let told = |claim: &Receipt| Check::AtMost.compare(claim, &spec, &other).iter().any(|f| f.field == "outcome" && !f.holds);
        assert!(told(&early));
        early.usage.gpu_ns = spec.limits.gpu_ns;
        assert!(!told(&early));
    }

    #[test]
    fn doubt_names_both_classes_where_there_is_one() {
        let receipt = with_gpu();
        let class = receipt.gpu.as_ref().unwrap().class.clone();
        let mut here = again(&receipt);
        assert_eq!(doubt(&receipt, &here), None);
        assert_eq!(doubt(&Receipt { gpu: None, ..receipt.clone() }, &here), None);
        here.gpu.as_mut().unwrap().class = ELSEWHERE.into();
        for outcome in [Outcome::Finished { exit_code: 0 }, Outcome::GpuLost, Outcome::OutOfGpuTime] {
            here.outcome = outcome;
            let told = doubt(&receipt, &here).unwrap();
            assert!(told.contains(&class) && told.contains(ELSEWHERE), "{told}");
        }
        let seen = doubt(&receipt, &Recomputed { varies: Some(Varies::Seen), ..again(&receipt) }).unwrap();
        assert_eq!(seen, format!("it came to different things when it ran several times on one adapter ({class})"));
    }

    const NEAR: Tolerance = Tolerance { absolute_e9: 1, relative_e9: 0 };

    fn spec_of_gpu() -> JobSpec {
        let mut spec = JobSpec { gpu: Some(GpuNeed::default()), ..spec() };
        spec.limits.gpu_ns = 60_000_000_000;
        spec
    }

    #[test]
    fn output_may_differ_within_the_tolerance_that_holds() {
        let receipt = with_gpu();
        let mut here = again(&receipt);
        here.output = Digest::of(b"nearly the same");
        let holds = |here: &Recomputed| output(&receipt, here).holds;
        assert!(!holds(&here));
        here.tolerated = Some(Tolerated::NotAt(8));
        assert!(!holds(&here) && output(&receipt, &here).recomputed.to_string().ends_with("(differs at byte 8)"));
        here.tolerated = Some(Tolerated::Yes);
        assert!(holds(&here) && !output(&receipt, &here).equal);
    }

    #[test]
    fn claims_of_an_end_from_outside_may_not_be_over_what_was_used() {
        for outcome in [Outcome::TimedOut, Outcome::Cancelled, Outcome::Preempted] {
            check_claims_of_an_end_from_outside(outcome, good().receipt.receipt, &spec());
        }
        for outcome in [Outcome::OutOfGpuTime, Outcome::GpuLost] {
            check_claims_of_an_end_from_outside(outcome, with_gpu(), &spec_of_gpu());
        }
    }

    fn check_claims_of_an_end_from_outside(outcome: Outcome, mut receipt: Receipt, spec: &JobSpec) {
        let faults = |receipt: &Receipt, again: &Recomputed| {
            let fields = Check::of(receipt).compare(receipt, spec, again);
            fields.into_iter().filter(|field| !field.holds).map(|field| field.field).collect::<Vec<_>>()
        };
        receipt.outcome = outcome;
        assert!(matches!(Check::of(&receipt), Check::AtMost), "{outcome}");
        // A microcredit for each unit of fuel.
        receipt.price.per_compute_minute = 60_000_000_000;
        receipt.cost = receipt.price.cost(&receipt.usage).unwrap();
        let mut still_running = again(&receipt);
        still_running.outcome = Outcome::OutOfFuel;
        still_running.usage.fuel.0 += 1;
        still_running.usage.memory_peak.0 += 65_536;
        assert!(faults(&receipt, &still_running).is_empty());

        let mut ended_before = again(&receipt);
        ended_before.outcome = Outcome::Finished { exit_code: 0 };
        ended_before.usage.fuel = Fuel(receipt.usage.fuel.0 / 100);
        assert_eq!(faults(&receipt, &ended_before), ["outcome", "fuel", "price_microcredits"]);
        assert_eq!(overcharge(&receipt, &ended_before), Some(59_400_000));

        let mut greedy = receipt.clone();
        greedy.usage.memory_peak.0 += 1 << 20;
        assert_eq!(faults(&greedy, &still_running), ["memory_peak_bytes"]);
    }
}
