//! The longest circle of values in random loops without branches, by another way: R. M. Karp, *A characterization of the minimum cycle mean in
//! a digraph*, 1978.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::waits_of;

const CASES: u64 = 3_000;
/// The first of the locals that these loops use, which are left for them.
const FIRST: usize = 5;

#[test]
fn waits_of_random_loops_are_their_longest_circles() {
    for seed in 1..=CASES {
        let body = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).body();
        let text: String = body.iter().map(|(to, value)| format!("(local.set {} {})", FIRST + to, value.text())).collect();
        let found = waits_of(0, &format!("(loop $round {text} (br_if $round (local.get $i)))")).first().copied().unwrap_or(0);
        assert_eq!(found, longest_circle(&body), "seed {seed}: {text}");
    }
}

enum Value {
    Local(usize),
    Constant,
    Made { operator: &'static str, latency: u32, of: Vec<Value> },
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Local(local) => format!("(local.get {})", FIRST + local),
            Self::Constant => "(i32.const 3)".into(),
            Self::Made { operator, of, .. } => format!("({operator} {})", of.iter().map(Self::text).collect::<String>()),
        }
    }

    /// How much later than each local's value, as the round finds it, this one is ready.
    fn after(&self, now: &[Later]) -> Later {
        match self {
            Self::Local(local) => now[*local].clone(),
            Self::Constant => Later::new(),
            Self::Made { latency, of, .. } => {
                let mut later = Later::new();
                for (from, by) in of.iter().flat_map(|value| value.after(now)) {
                    let most = later.entry(from).or_default();
                    *most = by.max(*most);
                }
                later.values_mut().for_each(|by| *by += latency);
                later
            }
        }
    }
}

/// By how much something is later than the locals that it depends on.
type Later = BTreeMap<usize, u32>;

/// What the longest circle takes for a round, rounded down.
fn longest_circle(body: &[(usize, Value)]) -> u32 {
    let locals = 1 + body.iter().map(|(to, _)| *to).max().unwrap().max(LOCALS_MAX);
    let mut now: Vec<Later> = (0..locals).map(|local| Later::from([(local, 0)])).collect();
    for (to, value) in body {
        now[*to] = value.after(&now);
    }
    let mut set: Vec<usize> = body.iter().map(|(to, _)| *to).collect();
    set.sort_unstable();
    set.dedup();
    // The longest ways of each length to each local.
    let mut ways: Vec<Vec<Option<u32>>> = vec![set.iter().map(|_| Some(0)).collect()];
    for length in 0..set.len() {
        let before = &ways[length];
        let longest = |to: &usize| {
            let from = set.iter().zip(before).filter_map(|(from, way)| Some((*way)? + now[*to].get(from)?));
            from.max()
        };
        ways.push(set.iter().map(longest).collect());
    }
    let whole = set.len();
    let means = (0..whole).filter_map(|local| {
        let last = ways[whole][local]?;
        let mean = |length: usize| Some((i64::from(last) - i64::from(ways[length][local]?), (whole - length) as i64));
        (0..whole).filter_map(mean).min_by(compare)
    });
    means.max_by(compare).map_or(0, |(sum, rounds)| (sum / rounds) as u32)
}

/// Which of two fractions is less.
fn compare(one: &(i64, i64), other: &(i64, i64)) -> Ordering {
    (one.0 * other.1).cmp(&(other.0 * one.1))
}

const LOCALS_MAX: usize = 12;

/// Numbers that a seed decides (G. Marsaglia, *Xorshift RNGs*, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) % end as u64) as usize
    }

    fn body(&mut self) -> Vec<(usize, Value)> {
        let locals = [2, 3, 4, 6, 8, LOCALS_MAX][self.below(6)];
        let length = 1 + self.below(12);
        (0..length).map(|_| (self.below(locals), self.value(locals, 3))).collect()
    }

    fn value(&mut self, locals: usize, depth: usize) -> Value {
        let (operator, latency, taken) = match self.below(10) {
            kind if kind < 4 || depth == 0 => return if kind == 0 { Value::Constant } else { Value::Local(self.below(locals)) },
            4 | 5 => ("i32.add", 10, 2),
            6 | 7 => ("i32.mul", 30, 2),
            _ => ("i32.load", 50, 1),
        };
        Value::Made { operator, latency, of: (0..taken).map(|_| self.value(locals, depth - 1)).collect() }
    }
}
