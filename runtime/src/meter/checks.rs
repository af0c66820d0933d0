//! Where a function looks at the limit.
//!
//! Every way round a loop must pass a check, and so must every way from a function's entry to a call that may come back to it; and no way
//! without a check may be dear. The checks that this asks for stand at the heads of loops, before calls, and behind calls.

use super::body::Step;
use super::calls::{Callee, Callees, Entry, UNCHECKED_UNITS_MAX};
use super::graph::pays_by_size;
use super::ways::Ways;
use wasmparser::Operator;

/// The checks of one function, but for that at its entry.
#[derive(Debug)]
pub(super) struct Checks(Vec<Site>);

/// Whether checks stand around a step.
#[derive(Debug, Clone, Copy, Default)]
struct Site {
    before: bool,
    behind: bool,
}

/// The worst of the ways without a check on which a step is reached.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Where it begins: at 0 that is the function's entry, at n the head of the nth open loop, or else a check.
    from: usize,
    /// What it costs, in units.
    units: u64,
}

impl Way {
    const CHECKED: Self = Self { from: usize::MAX, units: 0 };

    fn join(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), units: self.units.max(other.units) }
    }
}

impl Checks {
    /// Where the function `entry` of these steps needs checks.
    pub(super) fn of(steps: &[Step<'_>], callees: Callees<'_>, entry: Entry) -> Self {
        let mut sites = vec![Site::default(); steps.len()];
        let mut ways = Ways::new(Way { from: 0, units: 0 }, Way::join);
        let mut loops = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            ways.step(&step.op, |index, way: Way| {
                let head: &mut Site = &mut sites[loops[index]];
                head.behind |= way.from <= index + 1;
            });
            loops.truncate(ways.loops());
            let is_loop = matches!(step.op, Operator::Loop { .. });
            if is_loop {
                loops.push(at);
            }
            let Some(way) = &mut ways.here else { continue };
            way.units += u64::from(step.weight);
            if is_loop {
                way.from = way.from.min(loops.len());
            } else if pays_by_size(&step.op) {
                *way = Way::CHECKED;
            } else if let Some(callee) = callees.of(&step.op) {
                sites[at] = pass(way, callee, entry);
            }
        }
        Self(sites)
    }

    /// Whether a check stands before a step.
    pub(super) fn is_before(&self, at: usize) -> bool {
        self.0[at].before
    }

    /// Whether a check stands behind a step.
    pub(super) fn is_behind(&self, at: usize) -> bool {
        self.0[at].behind
    }
}

/// Passes a call that `caller` makes, with the checks that it asks for.
fn pass(way: &mut Way, callee: Callee, caller: Entry) -> Site {
    let mut site = Site { before: way.from == 0 && callee.comes_back_to(caller), behind: false };
    let Some(units) = callee.unchecked() else {
        *way = Way::CHECKED;
        return Site::default();
    };
    if site.before {
        *way = Way::CHECKED;
    }
    way.units = way.units.saturating_add(units);
    if way.units > UNCHECKED_UNITS_MAX {
        site.behind = true;
        *way = Way::CHECKED;
    }
    site
}
