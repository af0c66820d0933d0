//! Keeps account of where a guest's fuel goes, while its functions tell when they begin and return.

use std::collections::HashMap;

use wasmtime::{Caller, Func, Instance, Ref};

use super::guest::Guest;
use crate::meter::ProfileFacts;
use crate::meter::fuel;
use crate::meter::wrappers::{ENTER, LEAVE};
use crate::profile::{CallNode, CalledFunction, FuelProfile, LEVELS_MAX, NODES_MAX, Place, shares};
use crate::unchecked::MeteredStore;

/// The root of the tree of calls.
const ROOT: u32 = 0;
/// What stands for calls without nodes of their own.
const DEEPER: u32 = 1;

/// The account of one run. Counts are in units of the meter, and never go down or beyond the budget.
#[derive(Debug)]
pub(super) struct Profiler {
    /// Of each function, imported ones first.
    functions: Vec<Tally>,
    nodes: Vec<Node>,
    children: HashMap<(u32, u32), u32>,
    /// The calls that have not returned.
    open: Vec<Call>,
    /// Up to where is accounted for.
    last: u64,
    /// What a count cannot exceed: nothing beyond is billed.
    budget: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    calls: u64,
    own: u64,
    total: u64,
    /// Calls of it that have not returned.
    open: u32,
    /// The count at the outermost of these.
    since: u64,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    parent: u32,
    place: Place,
    level: u32,
    calls: u64,
    own: u64,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    function: u32,
    node: u32,
}

/// Begins the account of an instance that has cost `fixed` units so far.
///
/// # Errors
/// Where the module has no table for the host's functions.
pub(super) fn attach(
    store: &mut MeteredStore<Guest>,
    instance: Instance,
    facts: &ProfileFacts,
    fixed: u64,
    budget: u64,
) -> wasmtime::Result<()> {
    store.data_mut().profiler = Some(Profiler::new(facts.functions, fixed, budget));
    let enter = Func::wrap(&mut **store, |mut caller: Caller<'_, Guest>, function: i32| {
        let count = caller.data().counters().page.counter();
        if let Some(profiler) = &mut caller.data_mut().profiler {
            profiler.enter(function.cast_unsigned(), count);
        }
    });
    let leave = Func::wrap(&mut **store, |mut caller: Caller<'_, Guest>, lacking: i32| {
        let count = caller.data().counters().page.counted(lacking.into());
        if let Some(profiler) = &mut caller.data_mut().profiler {
            profiler.leave(count);
        }
    });
    let table = instance.get_table(&mut **store, &facts.export);
    let table = table.ok_or_else(|| wasmtime::format_err!("the module has no table for a profile"))?;
    table.set(&mut **store, ENTER.into(), Ref::Func(Some(enter)))?;
    table.set(&mut **store, LEAVE.into(), Ref::Func(Some(leave)))
}

impl Profiler {
    fn new(functions: u32, fixed: u64, budget: u64) -> Self {
        let node = |place, own| Node { parent: ROOT, place, level: 0, calls: 0, own };
        Self {
            functions: vec![Tally::default(); functions as usize],
            nodes: vec![Node { calls: 1, ..node(Place::Instance, fixed) }, node(Place::Deeper, 0)],
            children: HashMap::new(),
            open: Vec::new(),
            last: fixed,
            budget,
        }
    }

    /// A function is called where so much is counted.
    fn enter(&mut self, function: u32, count: u64) {
        self.account(count);
        let node = self.child(self.open.last().map_or(ROOT, |call| call.node), function);
        self.nodes[node as usize].calls += 1;
        let tally = &mut self.functions[function as usize];
        tally.calls += 1;
        if tally.open == 0 {
            tally.since = self.last;
        }
        tally.open += 1;
        self.open.push(Call { function, node });
    }

    /// The function that was called last returns.
    fn leave(&mut self, count: u64) {
        self.account(count);
        self.close();
    }

    /// Accounts for what was used since the last time, by whoever runs.
    fn account(&mut self, count: u64) {
        let count = count.min(self.budget).max(self.last);
        let used = count - self.last;
        self.last = count;
        match self.open.last() {
            Some(call) => {
                self.functions[call.function as usize].own += used;
                self.nodes[call.node as usize].own += used;
            }
            None => self.nodes[ROOT as usize].own += used,
        }
    }

    fn close(&mut self) {
        let Some(call) = self.open.pop() else { return };
        let tally = &mut self.functions[call.function as usize];
        tally.open -= 1;
        if tally.open == 0 {
            tally.total += self.last - tally.since;
        }
    }

    /// The node of `function` as `parent` calls it.
    fn child(&mut self, parent: u32, function: u32) -> u32 {
        if let Some(child) = self.children.get(&(parent, function)) {
            return *child;
        }
        let level = self.nodes[parent as usize].level + 1;
        let is_deeper = parent == DEEPER || self.nodes[parent as usize].parent == DEEPER;
        let has_room = self.nodes.len() < NODES_MAX && level <= LEVELS_MAX;
        // Below that nothing nests: a function has one node there, whoever calls it.
        let under = match parent {
            DEEPER => DEEPER,
            _ if is_deeper || !has_room => return self.child(DEEPER, function),
            parent => parent,
        };
        let node = u32::try_from(self.nodes.len()).expect("the tree is bounded");
        self.nodes.push(Node { parent: under, place: Place::Function(function), level, calls: 0, own: 0 });
        self.children.insert((under, function), node);
        node
    }

    /// The account of a run that came to `count` units; one that did not begin used them before its first function.
    pub(super) fn finish(profiler: Option<Self>, count: u64) -> FuelProfile {
        let mut this = profiler.unwrap_or_else(|| Self::new(0, 0, count));
        this.account(count);
        while !this.open.is_empty() {
            this.close();
        }
        this.tell()
    }

    fn tell(self) -> FuelProfile {
        let root = Tally { calls: 1, own: self.nodes[ROOT as usize].own, total: self.last, ..Tally::default() };
        let called = self.functions.iter().zip(0..).filter(|(tally, _)| tally.calls > 0);
        let called = called.map(|(tally, index)| (Place::Function(index), *tally));
        let tallies: Vec<(Place, Tally)> = std::iter::once((Place::Instance, root)).chain(called).collect();
        let own = shares(tallies.iter().map(|(_, tally)| tally.own));
        let functions: Vec<CalledFunction> = tallies
            .iter()
            .zip(own)
            .map(|((place, tally), own_fuel)| CalledFunction {
                place: *place,
                calls: tally.calls,
                own_fuel,
                // What is rounded up on its own may be rounded otherwise in the sum.
                total_fuel: fuel(tally.total).0.max(own_fuel),
            })
            .collect();
        // A function's nodes share what the function has.
        let mut parts: HashMap<Place, Parts> = HashMap::new();
        for (function, (place, tally)) in functions.iter().zip(&tallies) {
            parts.insert(*place, Parts { fuel: function.own_fuel, units: tally.own, given: 0 });
        }
        let nodes = self.nodes.iter().map(|node| CallNode {
            parent: node.parent,
            place: node.place,
            calls: node.calls,
            own_fuel: parts.get_mut(&node.place).map_or(0, |parts| parts.give(node.own)),
        });
        FuelProfile { nodes: nodes.collect(), functions }
    }
}

/// A function's fuel, given to its nodes by their units, so that it is all given out.
#[derive(Debug, Clone, Copy)]
struct Parts {
    fuel: u64,
    units: u64,
    /// Units of the nodes so far.
    given: u64,
}

impl Parts {
    fn give(&mut self, units: u64) -> u64 {
        let until = |given: u64| u128::from(self.fuel) * u128::from(given) / u128::from(self.units.max(1));
        let before = until(self.given);
        let part = until(self.given + units) - before;
        self.given += units;
        u64::try_from(part).expect("a part is no more than the whole")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::UNITS_PER_FUEL;

    fn own(profile: &FuelProfile) -> Vec<(Place, u64, u64, u64)> {
        profile.functions.iter().map(|f| (f.place, f.calls, f.own_fuel, f.total_fuel)).collect()
    }

    /// Counts in whole fuel.
    fn at(fuel: u64) -> u64 {
        fuel * UNITS_PER_FUEL
    }

    #[test]
    fn each_function_has_what_was_used_while_it_ran() {
        let mut profiler = Profiler::new(3, at(10), at(1_000));
        profiler.enter(1, at(10));
        profiler.enter(0, at(15));
        profiler.leave(at(40));
        profiler.enter(0, at(41));
        profiler.leave(at(42));
        profiler.leave(at(50));
        let profile = Profiler::finish(Some(profiler), at(53));
        let want = [(Place::Instance, 1, 13, 53), (Place::Function(0), 2, 26, 26), (Place::Function(1), 1, 14, 40)];
        assert_eq!(own(&profile), want);
        assert_eq!(profile.fuel(), 53);
    }

    #[test]
    fn of_a_recursion_the_outermost_call_is_the_total() {
        let mut profiler = Profiler::new(1, 0, at(1_000));
        for level in 0..10 {
            profiler.enter(0, at(level));
        }
        for level in 10..20 {
            profiler.leave(at(level));
        }
        let profile = Profiler::finish(Some(profiler), at(19));
        assert_eq!(own(&profile), [(Place::Instance, 1, 0, 19), (Place::Function(0), 10, 19, 19)]);
    }

    #[test]
    fn nothing_is_told_beyond_the_budget_and_what_was_open_counts() {
        let mut profiler = Profiler::new(2, 0, at(100));
        profiler.enter(0, at(0));
        profiler.enter(1, at(90));
        profiler.leave(at(105));
        let profile = Profiler::finish(Some(profiler), at(100));
        let want = [(Place::Instance, 1, 0, 100), (Place::Function(0), 1, 90, 100), (Place::Function(1), 1, 10, 10)];
        assert_eq!(own(&profile), want);
        assert_eq!(Profiler::finish(None, at(7)).fuel(), 7);
    }

    #[test]
    fn deep_and_wide_trees_are_bounded_and_lose_nothing() {
        let mut profiler = Profiler::new(1_000, 0, u64::MAX);
        for step in 0..200_000 {
            profiler.enter(step as u32 % 1_000, at(step));
        }
        for step in 200_000..400_000 {
            profiler.leave(at(step));
        }
        // And as wide as it is deep.
        for function in 0..1_000 {
            profiler.enter(function, at(400_000));
            for inner in 0..1_000 {
                profiler.enter(inner, at(400_000));
                profiler.leave(at(400_000 + u64::from(function)));
            }
            profiler.leave(at(400_000 + u64::from(function)));
        }
        let profile = Profiler::finish(Some(profiler), at(401_000));
        assert!(profile.nodes.len() <= NODES_MAX + 1_000, "{}", profile.nodes.len());
        assert_eq!((profile.fuel(), profile.nodes.iter().map(|node| node.own_fuel).sum::<u64>()), (401_000, 401_000));
        assert!(profile.nodes.iter().any(|node| node.place == Place::Deeper));
    }
}
