//! Where a function looks at the limit.
//!
//! **What may be spent between two looks is bounded**, wherever a guest is: beyond what the last of them saw, by a million fuel and some
//! thousand. A look sees its whole block, so a block without a call is not passed beyond the limit, however dear; whoever is stopped within it
//! is stopped behind it, and its function's bytes bound that to 4.8 million. That is so because
//!
//! - every way round a loop passes a look, and so does every way from a function's entry to a call that may come back to it. So what is
//!   entered after a look and has not looked itself is a tree of calls without circles, of which each is small
//!   ([`UNCHECKED_UNITS_MAX`]), or looks first;
//! - the ways of one call, with what it calls and comes back without a look, cost [`APART_UNITS_MAX`] at most;
//! - behind a call that may come back *from a depth*, where others look, they cost [`RETURN_UNITS_PER_BYTE`] at most for each byte of
//!   the nominal frame until the next look, or the return. The frames of all calls that wait for another are [`DEPTH_MAX`] bytes
//!   together and a little ([`UNCOUNTED_BYTES_MAX`](super::calls::UNCOUNTED_BYTES_MAX)), so all of them may come back for a million fuel.
//!
//! A block is paid for when it is entered, and a look at its start sees the whole of it: whom a dear block would bring over the limit
//! does nothing of it. Where a function is asked what another costs, the copies of a repeated loop count once; such a loop looks at its head
//! or in each round, so a way without a look is through one of them at most.
//!
//! The looks that this asks for, *checks*, stand at the starts of blocks, the heads of loops among them, and before calls.

use std::collections::HashMap;

use super::blocks::Blocks;
use super::body::Step;
use super::calls::{Callee, Callees, Entry, UNCHECKED_UNITS_MAX};
use super::graph::pays_by_size;
use super::stack::DEPTH_MAX;
use super::ways::Ways;
use wasmparser::Operator;

/// What the ways of one call may cost between two looks, in units: as much again as a call of the unknown may.
const APART_UNITS_MAX: u64 = 2 * UNCHECKED_UNITS_MAX;
/// What they may cost behind a call that may come back from a depth, in units for each byte of the nominal frame: a quarter of a fuel.
const RETURN_UNITS_PER_BYTE: u64 = 64;
const _: () = assert!(RETURN_UNITS_PER_BYTE * DEPTH_MAX as u64 == (1 << 20) * super::UNITS_PER_FUEL);
/// Walks over one function, behind which the heads of all its loops look, and one walk more is the last. Three are enough for most.
const WALKS_MAX: usize = 8;

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
    /// What it costs, in units, the block that is entered included.
    units: u64,
    /// What of that lies behind a call that may have come back from a depth, where one does.
    returned: Option<u64>,
}

impl Way {
    const CHECKED: Self = Self { from: usize::MAX, units: 0, returned: None };

    fn join(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), units: self.units.max(other.units), returned: self.returned.max(other.returned) }
    }

    fn costs_more_than(self, other: Self) -> bool {
        self.units > other.units || self.returned > other.returned
    }

    fn add(&mut self, units: u64) {
        self.units = self.units.saturating_add(units);
        self.returned = self.returned.map(|returned| returned.saturating_add(units));
    }

    /// Goes on behind a call.
    fn pass(&mut self, callee: Callee) {
        match callee.unchecked() {
            Some(units) => self.add(units),
            None => *self = Self::CHECKED,
        }
        if callee.is_deep() {
            self.returned = self.returned.or(Some(0));
        }
    }
}

/// What is known of the head of a loop.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// Whether it looks, because a way round it does not.
    is_checked: bool,
    /// What ways round the loop bring back to it.
    back: Option<Way>,
    /// What the walk went on from.
    way: Way,
}

impl Head {
    fn look(&mut self) {
        self.is_checked = true;
    }
}

impl Checks {
    /// Where the function `entry` of these steps and these blocks needs checks.
    pub(super) fn of(steps: &[Step<'_>], blocks: &Blocks, callees: Callees<'_>, entry: Entry) -> Self {
        let Blocks { first, behind: blocks } = blocks;
        let returned_max = RETURN_UNITS_PER_BYTE * u64::from(entry.frame);
        let mut heads = HashMap::new();
        let mut walks = 0;
        loop {
            walks += 1;
            let mut walk = Walk {
                blocks,
                returned_max,
                heads: &mut heads,
                sites: vec![Site::default(); steps.len()],
                finds: Finds::default(),
            };
            walk.go(steps, *first, callees, entry);
            match walk.finds {
                Finds { checks: false, ways: false } => return Self(walk.sites),
                _ if walks >= WALKS_MAX => heads.values_mut().for_each(Head::look),
                // What came back before a head looked came from farther than it does now.
                Finds { checks: true, .. } => heads.values_mut().for_each(|head| head.back = None),
                Finds { .. } => {}
            }
        }
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

/// What a walk found about heads of loops that was not known before it.
#[derive(Debug, Default, Clone, Copy)]
struct Finds {
    /// One must look.
    checks: bool,
    /// More comes back to one.
    ways: bool,
}

/// A walk over a function.
struct Walk<'w> {
    /// What the block weighs that begins behind each step, where one does.
    blocks: &'w [Option<u64>],
    returned_max: u64,
    /// By the step of the loop.
    heads: &'w mut HashMap<usize, Head>,
    sites: Vec<Site>,
    finds: Finds,
}

impl Walk<'_> {
    fn go(&mut self, steps: &[Step<'_>], first: u64, callees: Callees<'_>, entry: Entry) {
        let start = if entry.checks_first { Way::CHECKED } else { Way { from: 0, units: first, returned: None } };
        let mut ways = Ways::new(start, Way::join);
        let mut loops = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            ways.step(&step.op, |index, way| self.go_back(loops[index], index + 1, way));
            loops.truncate(ways.loops());
            let is_loop = matches!(step.op, Operator::Loop { .. });
            if is_loop {
                loops.push(at);
            }
            let Some(way) = &mut ways.here else { continue };
            if is_loop {
                self.enter_loop(at, loops.len(), way);
            } else if pays_by_size(&step.op) {
                *way = Way::CHECKED;
            } else if let Some(callee) = callees.of(&step.op) {
                if way.from == 0 && callee.comes_back_to(entry) && callee.unchecked().is_some() {
                    self.sites[at].before = true;
                    *way = Way::CHECKED;
                }
                way.pass(callee);
            }
            self.enter_block(at, way);
        }
    }

    /// Follows a way back to the head of the loop at step `at`, the `number`th that is open.
    fn go_back(&mut self, at: usize, number: usize, way: Way) {
        let Some(head) = self.heads.get_mut(&at).filter(|head| !head.is_checked) else { return };
        let brings_more = way.costs_more_than(head.way);
        if way.from <= number {
            head.is_checked = true;
            self.finds.checks = true;
        } else if brings_more {
            head.back = Some(head.back.map_or(way, |back| back.join(way)));
            self.finds.ways = true;
        }
    }

    fn enter_loop(&mut self, at: usize, number: usize, way: &mut Way) {
        way.from = way.from.min(number);
        let head = self.heads.entry(at).or_insert(Head { is_checked: false, back: None, way: *way });
        if head.is_checked {
            self.look_behind(at, way);
            return;
        }
        if let Some(back) = head.back {
            *way = Way { from: way.from, ..way.join(back) };
        }
        head.way = *way;
    }

    /// Enters the block that begins behind a step, where one does.
    fn enter_block(&mut self, at: usize, way: &mut Way) {
        let Some(units) = self.blocks[at].filter(|_| !self.sites[at].behind) else { return };
        let mut entered = *way;
        entered.add(units);
        if entered.units > APART_UNITS_MAX || entered.returned.is_some_and(|units| units > self.returned_max) {
            self.look_behind(at, way);
        } else {
            *way = entered;
        }
    }

    /// Looks behind a step, at the start of a block.
    fn look_behind(&mut self, at: usize, way: &mut Way) {
        self.sites[at].behind = true;
        *way = Way::CHECKED;
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::{Parser, Payload};

    use super::*;
    use crate::meter::words::LIMIT;
    use crate::meter::{Options, instrument};

    /// How often each function looks at the limit, in its text.
    fn looks(functions: &str) -> Vec<usize> {
        let text = format!(
            r#"(module
                (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
                (memory 1) (table 1 funcref) (elem declare func $e) (func $e) {functions})"#
        );
        let metered = instrument(&wat::parse_str(text).unwrap(), &Options::default()).unwrap();
        let bodies = Parser::new(0).parse_all(&metered.wasm).filter_map(|payload| match payload.unwrap() {
            Payload::CodeSectionEntry(body) => Some(body),
            _ => None,
        });
        let is_look =
            |op: &Operator<'_>| matches!(op, Operator::I64Load { memarg } if memarg.memory == 1 && memarg.offset == LIMIT);
        let count = |body: wasmparser::FunctionBody<'_>| {
            body.get_operators_reader().unwrap().into_iter().filter(|op| is_look(op.as_ref().unwrap())).count()
        };
        bodies.map(count).skip(1).collect()
    }

    /// Heads that come to look one after the other asked for a walk each: a function within the limits took thousands.
    #[test]
    fn walks_over_a_function_are_bounded_whatever_its_loops() {
        let chain =
            "(block (loop (br_if 1 (local.get 0)) (block (memory.copy (i32.const 0) (i32.const 0) (i32.const 0)) (br 0))))";
        let chain = |n: usize| chain.replace("(br 0)", "(br 1)").repeat(n);
        let dear = "(drop (i32.div_u (local.get 0) (i32.const 3)))".repeat(60);
        let nest = (0..12).fold(format!("{dear} (br_if 1 (local.get 0))"), |inner, _| {
            format!("(loop (memory.copy (i32.const 0) (i32.const 0) (i32.const 0)) (block {inner}) (br_if 1 (local.get 0)))")
        });
        let function = |n| format!("(func (param i32) {} (block {nest}))", chain(n));
        let begun = std::time::Instant::now();
        let few = looks(&function(10));
        let once = begun.elapsed();
        let many = looks(&function(1_000));
        assert!(begun.elapsed() < 400 * once + std::time::Duration::from_secs(1), "{:?} after {once:?}", begun.elapsed());
        assert!(few[0] > 10 && many[0] > 1_000, "{few:?} {many:?}");
    }

    #[test]
    fn looks_are_as_few_as_their_bound_asks_for() {
        let down = "(i32.sub (local.get 0) (i32.const 1))";
        // So long that it is not inlined into itself.
        let long = "nop ".repeat(64);
        let f = |body: &str| format!("(func $f (param i32) (result i32) {long} (if (local.get 0) (then {body})) (i32.const 0))");
        let dear = "(drop (ref.func $e))";
        let half = dear.repeat(12);
        // A call, and what comes behind it.
        let rows: [(&str, String, &[usize]); 15] = [
            ("a leaf", "(func (param i32) (drop (i32.mul (local.get 0) (i32.const 3))))".to_owned(), &[0]),
            // Who calls itself looks before, and not behind where little is done.
            ("fib", f(&format!("(return (i32.add (call $f {down}) (call $f {down})))")), &[1]),
            // In each body that stands in the place of a call, too.
            ("fib, inlined", f(&format!("(return (i32.add (call $f {down}) (call $f {down})))")).replace(&long, ""), &[2]),
            ("much behind a call", f(&format!("(drop (call $f {down})) {dear}")), &[2]),
            ("the host behind a call", f(&format!("(drop (call $f {down})) (drop (call $yield))")), &[2]),
            ("much before a call", f(&format!("{dear} (drop (call $f {down}))")), &[1]),
            // A large frame has few calls of its kind below it.
            (
                "much behind a call with a large frame",
                f(&format!("(drop (call $f {down})) {dear}"))
                    .replace("(result i32)", &format!("(result i32) {}", "(local i64)".repeat(40))),
                &[1],
            ),
            ("a loop", "(func (param i32) (loop (br_if 0 (local.get 0))))".to_owned(), &[1]),
            // Where each round calls, the look before the call is that of the loop; where one may not, the loop's is that of the call.
            ("a loop that calls", f(&format!("(loop (drop (call $f {down})) (br_if 0 (local.get 0)))")), &[1]),
            (
                "a loop that may call",
                f(&format!("(loop (if (local.get 0) (then (drop (call $f {down})))) (br_if 0 (local.get 0)))")),
                &[1],
            ),
            (
                "a loop that calls and does much",
                f(&format!("(loop (drop (call $f {down})) {dear} (br_if 0 (local.get 0)))")),
                &[2],
            ),
            // What comes back to the head of a loop goes on there.
            (
                "a loop that does much and may return",
                f(&format!(
                    "(loop {dear} (if (i32.eq (local.get 0) (i32.const 9)) (then (return (i32.const 1)))) (drop (call $f {down})) (br 0))"
                )),
                &[1],
            ),
            ("a dear block", format!("(func (block) {} (block))", dear.repeat(40)), &[2]),
            (
                "blocks that are dear together",
                format!("(func (param i32) {})", format!("{half} (if (local.get 0) (then))").repeat(6)),
                &[1 + 1],
            ),
            // Who looks first may have spent much since, where it returns.
            (
                "calls of who looks first",
                format!("(func $g {} ) (func (call $g) {dear}) (func (call $g))", dear.repeat(19)),
                &[1, 1, 0],
            ),
        ];
        for (what, functions, want) in rows {
            assert_eq!(looks(&functions), want, "{what}");
        }
    }
}
