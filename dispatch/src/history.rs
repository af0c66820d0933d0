use std::collections::BTreeMap;

use adit_protocol::{Digest, Fuel, JobLimits, Prediction, Usage};

use crate::Report;
use crate::mean::Mean;

/// Modules of which something is remembered: twice as many at most, some 200 bytes each.
const MODULES_MAX: usize = 8_192;

/// How long jobs took against their prediction is kept of the last so many jobs of a module.
const RATIOS: usize = 32;

/// Jobs of a module before their times say what is unusual.
const RATIOS_MIN: usize = 8;

/// What is taken for unusual before that: three times the prediction.
const RATIO_GUESS: u64 = 3 * RATIO_ONE;

/// A ratio of one, as it is kept.
const RATIO_ONE: u64 = 64;

/// A digest's first eight bytes. Two that are equal in those are taken for one another, which costs a wrong prediction and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Short(u64);

impl Short {
    pub(crate) fn of(digest: &Digest) -> Self {
        Self(u64::from_be_bytes(*digest.0.first_chunk().expect("a digest is longer than eight bytes")))
    }

    /// Two of 64 bits: a sketch of a set of these (B. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970).
    pub(crate) fn sketch(self) -> u64 {
        1 << (self.0 & 63) | 1 << (self.0 >> 6 & 63)
    }
}

/// What jobs of each module took. When the young half is full, it becomes the old one, and what nobody asked for since is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    young: BTreeMap<Short, History>,
    old: BTreeMap<Short, History>,
}

/// What the jobs of a module took.
#[derive(Debug, Default, Clone)]
pub(crate) struct History {
    fuel: Mean,
    /// Linear memory, in bytes: memory-fuel over fuel.
    memory: Mean,
    bytes_out: Mean,
    /// Nanoseconds of GPU time.
    gpu_ns: Mean,
    /// Microseconds of compilation, where there was any.
    compile_us: Mean,
    /// Time against prediction, in parts of [`RATIO_ONE`], in no order.
    ratios: Vec<u16>,
    next: usize,
}

/// What a job is taken to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) usage: Usage,
    /// Whether it comes from other jobs of the module.
    pub(crate) is_known: bool,
    /// Microseconds of compilation, where a node ever told.
    pub(crate) compile_us: Option<u64>,
}

impl Histories {
    pub(crate) fn get(&self, module: Short) -> Option<&History> {
        self.young.get(&module).or_else(|| self.old.get(&module))
    }

    pub(crate) fn get_mut(&mut self, module: Short) -> &mut History {
        if self.young.len() >= MODULES_MAX && !self.young.contains_key(&module) {
            self.old = std::mem::take(&mut self.young);
        }
        let before = self.old.remove(&module);
        self.young.entry(module).or_insert_with(|| before.unwrap_or_default())
    }

    /// What a job under `limits` is taken to use: what others of its module did, else all that it may.
    pub(crate) fn estimate(&self, module: Short, limits: &JobLimits, input_bytes: u64) -> Estimate {
        let history = self.get(module);
        let known = history.and_then(|history| Some((history.fuel.value()?, history)));
        let (fuel, memory, bytes_out, gpu_ns) = match known {
            Some((fuel, history)) => {
                let [memory, bytes_out, gpu_ns] =
                    [&history.memory, &history.bytes_out, &history.gpu_ns].map(|mean| mean.value().unwrap_or(0));
                (fuel.min(limits.fuel.0), memory, bytes_out, gpu_ns.min(limits.gpu_ns))
            }
            None => (limits.fuel.0, limits.memory.0, limits.output.0, limits.gpu_ns),
        };
        let usage = Usage {
            fuel: Fuel(fuel),
            memory_fuel: u128::from(memory) * u128::from(fuel),
            bytes_in: adit_protocol::ByteCount(input_bytes),
            bytes_out: adit_protocol::ByteCount(bytes_out),
            gpu_ns,
            ..Usage::default()
        };
        Estimate { usage, is_known: known.is_some(), compile_us: history.and_then(|history| history.compile_us.value()) }
    }

    /// The time after which a job of the module that was predicted to take `predicted_us` is slower than nineteen in twenty.
    pub(crate) fn unusual_us(&self, module: Short, predicted_us: u64) -> u64 {
        let ratio = self.get(module).and_then(History::ratio_p95).unwrap_or(RATIO_GUESS);
        predicted_us.saturating_mul(ratio) / RATIO_ONE
    }
}

impl History {
    /// Takes in what a job took: by what of its receipt is believed, and against what it was predicted to take.
    pub(crate) fn add(&mut self, report: &Report, elapsed_us: u64, predicted: &Prediction) {
        let (predicted_us, is_compiled) = (predicted.total_us(), predicted.compile_us > 0);
        let usage = &report.usage;
        self.fuel.add(usage.fuel.0);
        self.bytes_out.add(usage.bytes_out.0);
        self.gpu_ns.add(usage.gpu_ns);
        let memory = usage.memory_fuel.checked_div(usage.fuel.0.into()).unwrap_or(0);
        self.memory.add(u64::try_from(memory).unwrap_or(u64::MAX));
        // What nobody expected is one node's word, and would make all others look slow.
        if report.compile_us > 0 && is_compiled {
            self.compile_us.add(report.compile_us);
        }
        let ratio = elapsed_us.saturating_mul(RATIO_ONE) / predicted_us.max(1);
        let ratio = u16::try_from(ratio).unwrap_or(u16::MAX);
        match self.ratios.get_mut(self.next) {
            Some(oldest) => *oldest = ratio,
            None => self.ratios.push(ratio),
        }
        self.next = (self.next + 1) % RATIOS;
    }

    fn ratio_p95(&self) -> Option<u64> {
        if self.ratios.len() < RATIOS_MIN {
            return None;
        }
        let mut sorted = self.ratios.clone();
        sorted.sort_unstable();
        Some(u64::from(sorted[(sorted.len() * 95).div_ceil(100) - 1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(fuel: u64) -> Report {
        Report { usage: Usage { fuel: Fuel(fuel), memory_fuel: u128::from(fuel) * 300, ..Usage::default() }, ..Report::default() }
    }

    fn running(run_us: u64) -> Prediction {
        Prediction { run_us, ..Prediction::default() }
    }

    #[test]
    fn compilation_that_was_not_to_be_expected_says_nothing_of_its_module() {
        let (mut histories, module) = (Histories::default(), Short(7));
        let compiled = |compile_us| Report { compile_us, ..report(1_000) };
        histories.get_mut(module).add(&compiled(5_000), 10, &running(10));
        assert_eq!(histories.estimate(module, &JobLimits::default(), 5).compile_us, None);
        histories.get_mut(module).add(&compiled(4_000), 10, &Prediction { compile_us: 1, ..running(10) });
        assert_eq!(histories.estimate(module, &JobLimits::default(), 5).compile_us, Some(4_000));
    }

    #[test]
    fn estimate_is_the_limit_until_a_job_of_the_module_ended() {
        let (mut histories, limits) = (Histories::default(), JobLimits::default());
        let module = Short(7);
        let estimate = histories.estimate(module, &limits, 5);
        assert_eq!((estimate.usage.fuel, estimate.is_known), (limits.fuel, false));
        histories.get_mut(module).add(&report(1_000), 10, &running(10));
        let estimate = histories.estimate(module, &limits, 5);
        assert_eq!((estimate.usage.fuel, estimate.usage.memory_fuel, estimate.is_known), (Fuel(1_000), 300_000, true));
        let small = JobLimits { fuel: Fuel(10), ..limits };
        assert_eq!(histories.estimate(module, &small, 5).usage.fuel, Fuel(10), "more than its limit it cannot use");
    }

    #[test]
    fn gpu_time_is_taken_for_what_others_of_the_module_used() {
        let (mut histories, module) = (Histories::default(), Short(7));
        let limits = JobLimits { gpu_ns: 9_000, ..JobLimits::default() };
        assert_eq!(histories.estimate(module, &limits, 5).usage.gpu_ns, 9_000, "all that it may");
        let usage = Usage { gpu_ns: 4_000, ..report(1_000).usage };
        histories.get_mut(module).add(&Report { usage, ..Report::default() }, 10, &running(10));
        assert_eq!(histories.estimate(module, &limits, 5).usage.gpu_ns, 4_000);
        let without = JobLimits { gpu_ns: 0, ..limits };
        assert_eq!(histories.estimate(module, &without, 5).usage.gpu_ns, 0, "more than its limit it cannot use");
    }

    #[test]
    fn unusual_is_what_one_job_in_twenty_takes() {
        let (mut histories, module) = (Histories::default(), Short(7));
        assert_eq!(histories.unusual_us(module, 100), 300, "a guess");
        for n in 1..=20 {
            histories.get_mut(module).add(&report(1), if n == 7 { 9_000 } else { 100 + n }, &running(100));
        }
        // One of twenty took ninety times as long: the nineteenth is what is usual.
        assert_eq!(histories.unusual_us(module, 1_000), 1_187);
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let mut histories = Histories::default();
        for n in 0..3 * MODULES_MAX as u64 {
            histories.get_mut(Short(n)).add(&report(n), 1, &running(1));
            histories.get_mut(Short(0)).add(&report(5), 1, &running(1));
        }
        assert!(histories.young.len() <= MODULES_MAX && histories.old.len() <= MODULES_MAX);
        assert!(histories.get(Short(0)).is_some() && histories.get(Short(1)).is_none());
    }
}
