//! Who calls whom, and which functions must look at the limits for it.
//!
//! A function whose whole tree of calls is known, and small, needs to look at nothing: it cannot nest deep, and what it costs in all
//! apart from loops, which look for themselves, is soon over. Every circle of calls has a call through a table, or only direct calls
//! between functions that can come back to each other: before such a call the limit is looked at, and before no other; behind it only
//! where much is done there ([`checks`](super::checks)). So the many calls that end without calling on, as the leaves of a tree, pay nothing.

use wasmparser::Operator;

use super::body::{Body, Signatures, Step};
use super::debts::Debts;
use super::stack::frame;
use crate::worker::CALL_UNITS;

/// Nominal bytes that functions which are not counted may nest. One that is counted may be as large and call them before it looks, so the
/// native stack has room for twice as much beyond the limit of depth.
pub(crate) const UNCOUNTED_BYTES_MAX: u32 = 64 << 10;
/// What a function may cost, with all that it calls, that does not look at the limit when it is entered, in units: a thousand fuel, or a
/// microsecond. How often loops go round does not count: they look for themselves.
pub(super) const UNCHECKED_UNITS_MAX: u64 = 1024 * super::UNITS_PER_FUEL;

/// What is known of a function from its own body.
#[derive(Debug)]
pub(super) struct Outline {
    /// Its nominal frame in bytes.
    frame: u32,
    /// All that stands in it, and what the host takes for the calls of it, in units.
    units: u64,
    /// The functions of the guest's own that it calls, by their number among those: one for each call that stands in it.
    callees: Vec<u32>,
    /// Whether it calls through a table.
    calls_any: bool,
}

impl Outline {
    pub(super) fn of(body: &Body<'_>, signatures: &Signatures) -> Self {
        let callee = |op: &Operator<'_>| match op {
            Operator::Call { function_index } => function_index.checked_sub(signatures.imported_functions),
            _ => None,
        };
        let is_host = |op: &Operator<'_>| matches!(op, Operator::Call { function_index } if *function_index < signatures.imported_functions);
        let units = |step: &Step<'_>| u64::from(step.weight) + if is_host(&step.op) { CALL_UNITS } else { 0 };
        Self {
            frame: frame(body, signatures),
            units: body.steps.iter().map(units).sum(),
            callees: body.steps.iter().filter_map(|step| callee(&step.op)).collect(),
            calls_any: body.steps.iter().any(|step| matches!(step.op, Operator::CallIndirect { .. })),
        }
    }
}

/// What a function does about the limits, and what its callers must know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its nominal frame in bytes.
    pub(super) frame: u32,
    /// Whether its callers tell it the depth, and it looks at it before it tells others.
    pub(super) is_counted: bool,
    /// Those that may come back to each other by direct calls have one number; those that may come back only through a table, none.
    pub(super) circle: Option<u32>,
    /// Whether it may come back from a depth: it looks first, or calls through a table, or what may come back to it, or another that is
    /// so. What was spent since the last look is not known where such a call comes back, for others may have come back below it.
    pub(super) is_deep: bool,
    /// Whether it looks at the limit when it is entered.
    pub(super) checks_first: bool,
    /// What it may cost before it has looked at the limit or returned, but for how often loops go round, in units.
    pub(super) unchecked: u64,
    /// What the counter lacks when it returns, in units: its callers add it.
    pub(super) owes: i64,
}

/// The functions that may be called, as a function that calls them must know them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Callees<'a> {
    /// Those of the guest's own.
    pub(super) entries: &'a [Entry],
    /// How many others come before them.
    pub(super) imported_functions: u32,
    /// Which of them return what they owe.
    pub(super) debts: &'a Debts,
}

/// A function that may be called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Callee {
    /// This one.
    Known(Entry),
    /// Whatever a table holds.
    Any {
        /// Whether it returns what it owes.
        is_debt_returned: bool,
    },
    /// One of the host's. Some do not look at the limit.
    Host,
}

impl Callee {
    /// Whether it is to be told the depth.
    pub(super) fn is_counted(self) -> bool {
        match self {
            Self::Known(entry) => entry.is_counted,
            Self::Any { .. } => true,
            Self::Host => false,
        }
    }

    /// What the counter lacks when it returns, beside what it may return.
    pub(super) fn owes(self) -> i64 {
        match self {
            Self::Known(entry) => entry.owes,
            Self::Any { .. } | Self::Host => 0,
        }
    }

    /// Whether a call of it by `caller` may be the one of a circle of calls before which the limit is looked at.
    pub(super) fn comes_back_to(self, caller: Entry) -> bool {
        match self {
            Self::Known(entry) => entry.circle.is_some() && entry.circle == caller.circle,
            Self::Any { .. } => true,
            Self::Host => false,
        }
    }

    /// Whether it may come back from a depth.
    pub(super) fn is_deep(self) -> bool {
        match self {
            Self::Known(entry) => entry.is_deep,
            Self::Any { .. } => true,
            Self::Host => false,
        }
    }

    /// What it may cost before it has looked at the limit or returned; nothing where it looks first.
    pub(super) fn unchecked(self) -> Option<u64> {
        match self {
            Self::Known(entry) => (!entry.checks_first).then_some(entry.unchecked),
            Self::Any { .. } => Some(UNCHECKED_UNITS_MAX),
            Self::Host => Some(CALL_UNITS),
        }
    }
}

impl Callees<'_> {
    /// What an operator calls, where it does.
    pub(super) fn of(self, op: &Operator<'_>) -> Option<Callee> {
        match op {
            Operator::Call { function_index } => Some(match function_index.checked_sub(self.imported_functions) {
                Some(index) => Callee::Known(self.entries[index as usize]),
                None => Callee::Host,
            }),
            Operator::CallIndirect { type_index, .. } => {
                Some(Callee::Any { is_debt_returned: self.debts.of_type(*type_index).is_some() })
            }
            _ => None,
        }
    }
}

/// Functions that may come back to each other by direct calls; or one alone.
pub(super) type Circle = Vec<usize>;

/// What each function that a module defines does; and its circles by levels, those that are called before those that call them. Circles of
/// one level do not call each other.
pub(super) fn entries(outlines: &[Outline]) -> (Vec<Entry>, Vec<Vec<Circle>>) {
    let mut entries: Vec<Option<Entry>> = vec![None; outlines.len()];
    // Nominal bytes of each function's tree of calls; nothing where that has no end.
    let mut trees: Vec<Option<u64>> = vec![None; outlines.len()];
    let mut heights = vec![0; outlines.len()];
    let mut levels: Vec<Vec<Circle>> = Vec::new();
    for (number, circle) in circles(outlines).into_iter().enumerate() {
        let comes_back = circle.len() > 1 || outlines[circle[0]].callees.contains(&(circle[0] as u32));
        for &index in &circle {
            let outline = &outlines[index];
            let below = outline.callees.iter().map(|callee| trees[*callee as usize]);
            let is_known = !comes_back && !outline.calls_any;
            trees[index] = below.fold(is_known.then_some(0), |most: Option<u64>, tree| Some(most?.max(tree?)));
            trees[index] = trees[index].map(|below| below + u64::from(outline.frame));
            // A call of its own circle comes behind a look.
            let is_lower = |entry: &Entry| entry.circle != Some(number as u32);
            let lower = |callee: &u32| entries[*callee as usize].filter(is_lower);
            let unchecked = outline.callees.iter().filter_map(lower).map(|entry| entry.unchecked);
            let unchecked = unchecked.fold(outline.units, u64::saturating_add);
            let own =
                outline.callees.iter().filter(|callee| lower(callee).is_none()).map(|callee| outlines[*callee as usize].units);
            let checks_first = own.fold(unchecked, u64::saturating_add) > UNCHECKED_UNITS_MAX;
            let calls_deep = outline.callees.iter().any(|callee| entries[*callee as usize].is_some_and(|entry| entry.is_deep));
            entries[index] = Some(Entry {
                frame: outline.frame,
                is_counted: trees[index].is_none_or(|bytes| bytes > u64::from(UNCOUNTED_BYTES_MAX)),
                circle: comes_back.then_some(number as u32),
                is_deep: checks_first || comes_back || outline.calls_any || calls_deep,
                checks_first,
                unchecked: if checks_first { 0 } else { unchecked },
                owes: 0,
            });
        }
        // Those of the circle itself are at 0 as yet.
        let below = circle.iter().flat_map(|index| &outlines[*index].callees).map(|callee| heights[*callee as usize]);
        let height = below.max().unwrap_or(0);
        circle.iter().for_each(|index| heights[*index] = height + 1);
        levels.resize_with(levels.len().max(height + 1), Vec::new);
        levels[height].push(circle);
    }
    (entries.into_iter().map(|entry| entry.expect("every function is in a circle")).collect(), levels)
}

/// Groups the functions that may come back to each other by direct calls, callees before callers: the strongly connected components
/// of the graph of calls (Tarjan 1972), without recursion of our own.
fn circles(outlines: &[Outline]) -> Vec<Circle> {
    const UNSEEN: u32 = u32::MAX;
    let mut search = Circles { numbers: vec![UNSEEN; outlines.len()], lowest: vec![0; outlines.len()], ..Circles::default() };
    for root in 0..outlines.len() {
        if search.numbers[root] != UNSEEN {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some((index, next)) = path.pop() {
            if next == 0 {
                search.enter(index);
            } else {
                let callee = outlines[index].callees[next - 1] as usize;
                search.lowest[index] = search.lowest[index].min(search.lowest[callee]);
            }
            match (next..outlines[index].callees.len())
                .find(|next| search.leads_on(index, outlines[index].callees[*next] as usize))
            {
                Some(found) => path.extend([(index, found + 1), (outlines[index].callees[found] as usize, 0)]),
                None => search.leave(index),
            }
        }
    }
    search.found
}

/// The state of the search for circles.
#[derive(Debug, Default)]
struct Circles {
    /// When each function was come to.
    numbers: Vec<u32>,
    /// The earliest of those that it leads back to.
    lowest: Vec<u32>,
    /// Functions whose circle is not complete.
    open: Vec<usize>,
    is_open: Vec<bool>,
    count: u32,
    found: Vec<Vec<usize>>,
}

impl Circles {
    fn enter(&mut self, index: usize) {
        self.is_open.resize(self.numbers.len(), false);
        (self.numbers[index], self.lowest[index]) = (self.count, self.count);
        self.count += 1;
        self.open.push(index);
        self.is_open[index] = true;
    }

    /// Whether a call leads to a function not come to before.
    fn leads_on(&mut self, index: usize, callee: usize) -> bool {
        if self.numbers[callee] == u32::MAX {
            return true;
        }
        if self.is_open[callee] {
            self.lowest[index] = self.lowest[index].min(self.numbers[callee]);
        }
        false
    }

    fn leave(&mut self, index: usize) {
        if self.lowest[index] == self.numbers[index] {
            let first = self.open.iter().rposition(|open| *open == index).expect("who is left was entered");
            let circle = self.open.split_off(first);
            circle.iter().for_each(|member| self.is_open[*member] = false);
            self.found.push(circle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(frame: u32, units: u64, callees: &[u32]) -> Outline {
        Outline { frame, units, callees: callees.to_vec(), calls_any: false }
    }

    fn entries_of(outlines: &[Outline]) -> Vec<Entry> {
        entries(outlines).0
    }

    fn flags(entries: &[Entry], flag: impl Fn(&Entry) -> bool) -> Vec<bool> {
        entries.iter().map(flag).collect()
    }

    #[test]
    fn who_is_small_with_all_that_it_calls_looks_at_nothing() {
        let found = entries_of(&[outline(100, 10, &[1, 1]), outline(50, 7, &[2]), outline(30, 1, &[])]);
        assert!(found.iter().all(|entry| !entry.is_counted && entry.circle.is_none() && !entry.checks_first));
        assert_eq!(found.iter().map(|entry| entry.unchecked).collect::<Vec<_>>(), [26, 8, 1]);
    }

    #[test]
    fn who_may_come_back_to_itself_is_counted_and_so_is_who_calls_it() {
        let found = entries_of(&[outline(1, 1, &[1]), outline(1, 1, &[2, 3]), outline(1, 1, &[1]), outline(1, 5, &[])]);
        assert_eq!(flags(&found, |entry| entry.is_counted), [true, true, true, false]);
        assert_eq!(flags(&found, |entry| entry.circle.is_some()), [false, true, true, false]);
        assert_eq!(found[1].circle, found[2].circle);
    }

    #[test]
    fn who_calls_through_a_table_may_come_back() {
        let found = entries_of(&[Outline { calls_any: true, ..outline(1, 1, &[]) }]);
        assert!(found[0].is_counted && found[0].circle.is_none());
    }

    #[test]
    fn trees_of_calls_that_double_at_each_level_are_dear() {
        let chain: Vec<Outline> =
            (0..200).map(|n| outline(64, 1, if n == 0 { vec![] } else { vec![n - 1, n - 1] }.as_slice())).collect();
        let found = entries_of(&chain);
        // Who looks first is free for its callers, so that they look no more often than is needed.
        let every = (UNCHECKED_UNITS_MAX + 1).ilog2() as usize;
        let look = flags(&found, |entry| entry.checks_first);
        assert_eq!(look.iter().position(|looks| *looks), Some(every));
        assert!(look[every..].chunks(every + 1).all(|levels| levels.iter().filter(|looks| **looks).count() == 1), "{look:?}");
    }

    #[test]
    fn callees_come_before_their_callers() {
        let outlines = [outline(1, 1, &[1, 3]), outline(1, 1, &[2]), outline(1, 1, &[]), outline(1, 1, &[3])];
        assert_eq!(entries(&outlines).1, [vec![vec![2], vec![3]], vec![vec![1]], vec![vec![0]]]);
    }

    #[test]
    fn circles_are_found_whatever_hangs_on_them() {
        // 0 -> 1 -> 2 -> 3 -> 1, and 3 -> 4 -> 5 -> 4, and 6 alone.
        let outlines = [&[1][..], &[2], &[3], &[1, 4], &[5], &[4], &[]].map(|callees: &[u32]| outline(1, 1, callees));
        let mut found = circles(&outlines);
        found.iter_mut().for_each(|circle| circle.sort_unstable());
        assert_eq!(found, [vec![4, 5], vec![1, 2, 3], vec![0], vec![6]]);
    }

    #[test]
    fn a_chain_as_long_as_a_module_can_hold_takes_no_stack_of_ours() {
        let chain: Vec<Outline> = (0..20_000).map(|n| outline(1, 1, &[(n + 1) % 20_000])).collect();
        assert_eq!(circles(&chain).len(), 1);
    }

    #[test]
    fn who_needs_much_stack_is_counted_though_it_calls_nobody() {
        assert!(entries_of(&[outline(UNCOUNTED_BYTES_MAX + 1, 1, &[])])[0].is_counted);
        assert!(!entries_of(&[outline(UNCOUNTED_BYTES_MAX, 1, &[])])[0].is_counted);
    }
}
