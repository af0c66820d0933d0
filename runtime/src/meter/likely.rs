//! Which way a branch goes, for all that its code says: the heuristics of Ball and Larus (*Branch prediction for free*, 1993) that wasm
//! leaves something to go by. They decide where updates stand and so what these cost, never what they come to.

use wasmparser::Operator;

use super::body::Step;
use super::graph::is_call;

/// The odds that code is entered which ends in a trap.
const TRAPS: f64 = 0.01;
/// The odds of code that calls, where the other way does not: what is rare is more often left to a function.
const CALLS: f64 = 0.33;
/// The odds of code that leads to a loop, where the other way does not.
const LOOPS: f64 = 3.0;

/// What code leads to before it branches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ahead {
    traps: bool,
    calls: bool,
    loops: bool,
}

/// What the branches of one function lead to.
#[derive(Debug)]
pub(super) struct Outlook {
    /// By step: what the code from there leads to.
    ahead: Vec<Ahead>,
    /// By step: of what opens a block the `else` or `end`, and of an `else` the `end`; of others 0.
    closes: Vec<usize>,
}

impl Outlook {
    pub(super) fn of(steps: &[Step<'_>]) -> Self {
        let mut ahead = vec![Ahead::default(); steps.len() + 1];
        let mut closes = vec![0; steps.len()];
        let mut open = Vec::new();
        for (at, step) in steps.iter().enumerate().rev() {
            let next = ahead[at + 1];
            ahead[at] = match &step.op {
                Operator::Unreachable => Ahead { traps: true, ..Ahead::default() },
                Operator::Loop { .. } => Ahead { loops: true, ..Ahead::default() },
                op if is_call(op) => Ahead { calls: true, ..next },
                op if branches(op) => Ahead::default(),
                _ => next,
            };
            match &step.op {
                Operator::End => open.push(at),
                Operator::Else => closes[at] = open.last_mut().map_or(0, |close| std::mem::replace(close, at)),
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => closes[at] = open.pop().unwrap_or(0),
                _ => {}
            }
        }
        Self { ahead, closes }
    }

    /// Behind which step the code stands that a branch to the label of the block leads to which opens at step `at`; not of a loop.
    pub(super) fn end_of(&self, at: usize) -> usize {
        match self.closes[at] {
            close if self.closes[close] != 0 => self.closes[close],
            close => close,
        }
    }

    /// How likely the `if` at step `at` enters its first arm.
    pub(super) fn first_arm(&self, at: usize) -> f64 {
        self.likely(at, self.closes[at])
    }

    /// How likely the `br_if` at step `at` goes on behind step `to`.
    pub(super) fn taken(&self, at: usize, to: usize) -> f64 {
        self.likely(to, at)
    }

    /// How likely the code behind step `way` is entered, and not the code behind `other`.
    fn likely(&self, way: usize, other: usize) -> f64 {
        let (way, other) = (self.ahead[way + 1], self.ahead[other + 1]);
        let odds =
            odds(way.traps, other.traps, TRAPS) * odds(way.calls, other.calls, CALLS) * odds(way.loops, other.loops, LOOPS);
        odds / (1.0 + odds)
    }

    /// Whether the code traps that a `br_if` at step `at` passes on to.
    pub(super) fn traps_behind(&self, at: usize) -> bool {
        self.ahead[at + 1].traps
    }
}

/// Whether code that comes to an operator goes on elsewhere, or others come to what is behind it.
fn branches(op: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(op, O::If { .. } | O::Else | O::End | O::Br { .. } | O::BrIf { .. } | O::BrTable { .. } | O::Return)
}

/// The odds of one of two ways, of which each may have what makes a way go `so` often.
fn odds(way: bool, other: bool, so: f64) -> f64 {
    match (way, other) {
        (true, false) => so,
        (false, true) => so.recip(),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::{FunctionBody, Parser, Payload};

    use super::*;
    use crate::meter::body::Body;

    /// How likely the first `br_if` or `if` of a function's text goes on where it leads, or enters its first arm.
    fn likely_of(text: &str) -> f64 {
        let wasm = wat::parse_str(format!("(module (func (param i32) {text}) (func $f))")).unwrap();
        let function: FunctionBody<'_> = Parser::new(0)
            .parse_all(&wasm)
            .find_map(|payload| match payload.unwrap() {
                Payload::CodeSectionEntry(body) => Some(body),
                _ => None,
            })
            .unwrap();
        let ty = wasmparser::FuncType::new([wasmparser::ValType::I32], []);
        let body = Body::decode(&ty, &function, |_| 1).unwrap();
        let outlook = Outlook::of(&body.steps);
        let mut open = Vec::new();
        for (at, step) in body.steps.iter().enumerate() {
            match step.op {
                Operator::Block { .. } | Operator::Loop { .. } => open.push(at),
                Operator::If { .. } => return outlook.first_arm(at),
                Operator::BrIf { relative_depth } => {
                    let label = open[open.len() - 1 - relative_depth as usize];
                    return outlook.taken(at, outlook.end_of(label));
                }
                _ => {}
            }
        }
        panic!("no branch in {text}");
    }

    #[test]
    fn ways_that_trap_or_call_are_rare_and_those_to_loops_are_not() {
        let test = "(local.get 0)";
        let rows = [
            (format!("(if {test} (then nop))"), 0.5),
            (format!("(if {test} (then unreachable))"), 0.0099),
            (format!("(if {test} (then nop) (else unreachable))"), 0.99),
            // What calls and then traps is told by the trap; it calls, too.
            (format!("(if {test} (then (call $f) unreachable) (else (call $f)))"), 0.0099),
            (format!("(if {test} (then (call $f)))"), 0.25),
            (format!("(if {test} (then nop) (else (call $f)))"), 0.75),
            (format!("(if {test} (then (call $f)) (else (call $f)))"), 0.5),
            (format!("(if {test} (then (loop nop)))"), 0.75),
            // Behind the `end`, where there is no `else`.
            (format!("(if {test} (then nop)) (call $f)"), 0.75),
            (format!("(block (br_if 0 {test}) (call $f))"), 0.75),
            (format!("(block (block (br_if 1 {test}) nop) (call $f)) unreachable"), 0.0099),
            (format!("(block (block (br_if 0 {test}) unreachable) nop)"), 0.99),
            // A call behind another branch says nothing of this one.
            (format!("(block (br_if 0 {test}) (br_if 0 {test}) (call $f))"), 0.5),
        ];
        for (text, want) in rows {
            let found = likely_of(&text);
            assert!((found - want).abs() < 0.01, "{text}: {found}, not {want}");
        }
    }
}
