//! Who calls whom: which functions have to look at the limits when they are entered.
//!
//! A function whose whole tree of calls is known, and small, needs to look at nothing: it cannot nest deep, and what it costs in all
//! apart from loops, which look for themselves, is soon over. Whoever may come back to itself, or calls through a table, looks before
//! it calls another such function: the many calls that end without calling on, as the leaves of a tree, pay nothing.

use wasmparser::Operator;

use super::body::{Body, Signatures};
use super::stack::frame;

/// Nominal bytes that functions which are not counted may nest. One that is counted may be as large and call them before it looks, so the
/// native stack has room for twice as much beyond the limit of depth.
pub(crate) const UNCOUNTED_BYTES_MAX: u32 = 64 << 10;
/// What may be spent between two looks at the limit, roughly, in units: a thousand fuel, or a microsecond.
pub(super) const UNCHECKED_UNITS_MAX: u64 = 1024 * super::UNITS_PER_FUEL;

/// What is known of a function from its own body.
#[derive(Debug)]
pub(super) struct Outline {
    /// Its nominal frame in bytes.
    frame: u32,
    /// All that stands in it, in units.
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
        Self {
            frame: frame(body, signatures),
            units: body.steps.iter().map(|step| u64::from(step.weight)).sum(),
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
    /// Whether it may come back to itself.
    pub(super) may_recur: bool,
    /// Whether it looks at the limit when it is entered.
    pub(super) checks_first: bool,
    /// What it may cost before it has looked at the limit or returned, but for how often loops go round, in units.
    pub(super) unchecked: u64,
    /// What the counter lacks when it returns, in units: its callers add it.
    pub(super) owes: i64,
}

impl Entry {
    fn new(frame: u32, below: Tree, is_known: bool) -> Self {
        let bytes = below.bytes + u64::from(frame);
        let checks_first = below.units > UNCHECKED_UNITS_MAX;
        Self {
            frame,
            is_counted: !is_known || bytes > u64::from(UNCOUNTED_BYTES_MAX),
            may_recur: !is_known,
            checks_first,
            unchecked: if checks_first { 0 } else { below.units },
            owes: 0,
        }
    }
}

/// The functions that may be called, as a function that calls them must know them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Callees<'a> {
    /// Those of the guest's own.
    pub(super) entries: &'a [Entry],
    /// How many others come before them.
    pub(super) imported_functions: u32,
}

/// Stands for whatever is called through a table.
const ANY: Entry =
    Entry { frame: 0, is_counted: true, may_recur: true, checks_first: false, unchecked: UNCHECKED_UNITS_MAX, owes: 0 };

impl Callees<'_> {
    /// What an operator calls, where that is a function of the guest's own.
    pub(super) fn of(self, op: &Operator<'_>) -> Option<Entry> {
        match op {
            Operator::Call { function_index } => {
                function_index.checked_sub(self.imported_functions).map(|index| self.entries[index as usize])
            }
            Operator::CallIndirect { .. } => Some(ANY),
            _ => None,
        }
    }
}

/// A function with all that it calls, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
struct Tree {
    /// The largest of the trees below it, in nominal bytes.
    bytes: u64,
    /// All that stands in it, and in each tree below it as often as it is called, in units.
    units: u64,
}

/// What each function that a module defines does, and their order: callees come before their callers, and behind those who calls in a
/// circle.
pub(super) fn entries(outlines: &[Outline]) -> (Vec<Entry>, Vec<usize>) {
    let mut callers = vec![Vec::new(); outlines.len()];
    for (caller, outline) in outlines.iter().enumerate() {
        outline.callees.iter().for_each(|callee| callers[*callee as usize].push(caller));
    }
    let mut unknown: Vec<usize> = outlines.iter().map(|outline| outline.callees.len() + usize::from(outline.calls_any)).collect();
    let mut trees: Vec<Tree> = outlines.iter().map(|outline| Tree { bytes: 0, units: outline.units }).collect();
    let mut open: Vec<usize> = (0..outlines.len()).filter(|index| unknown[*index] == 0).collect();
    let mut order = Vec::with_capacity(outlines.len());
    while let Some(index) = open.pop() {
        order.push(index);
        let tree = trees[index];
        let bytes = tree.bytes + u64::from(outlines[index].frame);
        for &caller in &callers[index] {
            let sum = &mut trees[caller];
            *sum = Tree { bytes: sum.bytes.max(bytes), units: sum.units.saturating_add(tree.units) };
            unknown[caller] -= 1;
            if unknown[caller] == 0 {
                open.push(caller);
            }
        }
    }
    let entry = |(index, outline): (usize, &Outline)| Entry::new(outline.frame, trees[index], unknown[index] == 0);
    order.extend((0..outlines.len()).filter(|index| unknown[*index] != 0));
    (outlines.iter().enumerate().map(entry).collect(), order)
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
        assert!(found.iter().all(|entry| !entry.is_counted && !entry.may_recur && !entry.checks_first));
        assert_eq!(found.iter().map(|entry| entry.unchecked).collect::<Vec<_>>(), [26, 8, 1]);
    }

    #[test]
    fn who_may_come_back_to_itself_is_counted_and_so_is_who_calls_it() {
        let found = entries_of(&[outline(1, 1, &[1]), outline(1, 1, &[2, 3]), outline(1, 1, &[1]), outline(1, 5, &[])]);
        assert_eq!(flags(&found, |entry| entry.is_counted), [true, true, true, false]);
        assert_eq!(flags(&found, |entry| entry.may_recur), [true, true, true, false]);
        // Before it calls on it looks: so it is its own, and what it calls that cannot come back.
        assert_eq!(found.iter().map(|entry| entry.unchecked).collect::<Vec<_>>(), [1, 6, 1, 5]);
    }

    #[test]
    fn who_calls_through_a_table_may_come_back() {
        let found = entries_of(&[Outline { calls_any: true, ..outline(1, 1, &[]) }]);
        assert!(found[0].may_recur && found[0].is_counted);
    }

    #[test]
    fn trees_of_calls_that_double_at_each_level_are_dear() {
        let chain: Vec<Outline> =
            (0..200).map(|n| outline(64, 1, if n == 0 { vec![] } else { vec![n - 1, n - 1] }.as_slice())).collect();
        let found = entries_of(&chain);
        let first = found.iter().position(|entry| entry.checks_first).unwrap();
        assert_eq!(first as u32, (UNCHECKED_UNITS_MAX + 1).ilog2());
        assert!(found[199].checks_first && !found[199].is_counted);
    }

    #[test]
    fn callees_come_before_their_callers_and_circles_last() {
        let outlines = [outline(1, 1, &[1, 3]), outline(1, 1, &[2]), outline(1, 1, &[]), outline(1, 1, &[3])];
        assert_eq!(entries(&outlines).1, [2, 1, 0, 3]);
    }

    #[test]
    fn who_needs_much_stack_is_counted_though_it_calls_nobody() {
        assert!(entries_of(&[outline(UNCOUNTED_BYTES_MAX + 1, 1, &[])])[0].is_counted);
        assert!(!entries_of(&[outline(UNCOUNTED_BYTES_MAX, 1, &[])])[0].is_counted);
    }
}
