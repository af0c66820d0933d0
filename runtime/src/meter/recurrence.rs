//! What a round of a loop waits for.
//!
//! A processor works at many operators at once, and what each takes of it is in the table of weights. But a loop whose round needs values of
//! the round before is slower than that: a round takes no less than the longest circle of values each of which needs the one before takes for
//! a round (the recurrence-constrained initiation interval of modulo scheduling; B. R. Rau, *Iterative modulo scheduling*, 1994). So
//! the head of an innermost loop costs, each time round, what its operators lack to that.
//!
//! ```text
//! loop
//!   x = x * a + b     ; 86 units of work, and the next round cannot begin before 675 have passed: the head pays for what lacks
//!   br 0
//! ```
//!
//! The circle is found by following, for some rounds, when each value is ready on a processor that lacks nothing but values. A value that
//! goes through many locals, one in each round, is no circle: rounds are followed until such ways are full. Where ways meet,
//! the value is ready that is ready first, and of what operators cost the dearer way counts: no loop pays for a wait that it may not have.
//! What waits for memory is not known, beyond what a load takes that finds its value near by: who follows pointers through much memory waits
//! longer, and who goes through the table of an automaton goes the same circle and does not.

use std::cmp::Ordering;

use wasmparser::{BlockType, Operator};

use super::body::{Body, Step};
use super::stack::NoModule;
use super::weights::{Weights, class};

/// Steps of a loop that is looked at. What waits is short, and what is long has enough to do.
const STEPS_MAX: usize = 512;
/// Branches in such a loop.
const BRANCHES_MAX: usize = 32;
/// Rounds until the longest circle is all that tells: as many as there are locals to go through, at least and at most these.
const SETTLING: (usize, usize) = (4, 32);
/// Rounds that are measured then. Circles of two, three, four and six rounds come out even.
const MEASURED: u32 = 12;

/// What a round of each loop of a function waits beyond what it costs, in units, in the order of their heads. None where no loop waits.
pub(super) fn waits(body: &Body<'_>, weights: &Weights) -> Box<[u32]> {
    let mut places = Places::default();
    let heads = body.steps.iter().enumerate().filter(|(_, step)| is_loop(step));
    let waits: Vec<u32> = heads
        .map(|(at, head)| {
            let inside = innermost(head, &body.steps[at + 1..]);
            inside.map_or(0, |inside| Rounds::of(inside, head.weight, weights, &mut places).wait())
        })
        .collect();
    if waits.iter().all(|wait| *wait == 0) { Box::default() } else { waits.into() }
}

/// Has the heads of loops pay for what [`waits`] has found.
pub(super) fn add_waits(body: &mut Body<'_>, waits: &[u32]) {
    let heads = body.steps.iter_mut().filter(|step| is_loop(step));
    heads.zip(waits).for_each(|(head, wait)| head.weight += wait);
}

fn is_loop(step: &Step<'_>) -> bool {
    matches!(step.op, Operator::Loop { .. })
}

/// What stands in a loop, if it is one that is looked at: without another loop or a call in it, and short.
fn innermost<'s, 'a>(head: &Step<'_>, behind: &'s [Step<'a>]) -> Option<&'s [Step<'a>]> {
    use Operator as O;
    let (mut nest, mut branches) = (0, 0);
    for (at, step) in behind.iter().enumerate().take(STEPS_MAX) {
        match &step.op {
            O::End if nest == 0 => return is_plain(&head.op).then_some(&behind[..at]),
            O::End => nest -= 1,
            O::Block { .. } => nest += 1,
            O::If { .. } => {
                nest += 1;
                branches += 1;
            }
            O::Br { .. } | O::BrIf { .. } => branches += 1,
            O::Loop { .. } | O::BrTable { .. } | O::Call { .. } | O::CallIndirect { .. } => return None,
            O::MemoryGrow { .. } | O::TableGrow { .. } => return None,
            _ => {}
        }
        if branches > BRANCHES_MAX || !is_plain(&step.op) {
            return None;
        }
    }
    None
}

/// Whether no values are taken into a block, and one comes out at most.
fn is_plain(op: &Operator<'_>) -> bool {
    match op {
        Operator::Loop { blockty } => *blockty == BlockType::Empty,
        Operator::Block { blockty } | Operator::If { blockty } => !matches!(blockty, BlockType::FuncType(_)),
        _ => true,
    }
}

/// Which of the locals that a loop sets a local is.
#[derive(Debug, Default)]
struct Places {
    /// Which loop it is: a function has many locals, and most of its loops set few.
    now: usize,
    /// Of each local the last loop that sets it, and its place there.
    of_locals: Vec<(usize, usize)>,
}

impl Places {
    /// Goes on to a loop, and says how many locals it sets.
    fn fill(&mut self, inside: &[Step<'_>]) -> usize {
        self.now += 1;
        let mut count = 0;
        for step in inside {
            if let Operator::LocalSet { local_index } | Operator::LocalTee { local_index } = step.op {
                let at = local_index as usize;
                if self.of_locals.len() <= at {
                    self.of_locals.resize(at + 1, (0, 0));
                }
                if self.of_locals[at].0 != self.now {
                    self.of_locals[at] = (self.now, count);
                    count += 1;
                }
            }
        }
        count
    }

    fn of(&self, local: u32) -> Option<usize> {
        let place = self.of_locals.get(local as usize).filter(|(last, _)| *last == self.now);
        place.map(|(_, place)| *place)
    }
}

/// What a step does to the times of values.
#[derive(Debug, Clone, Copy)]
enum Act {
    Get(Option<usize>),
    Set(usize),
    Tee(usize),
    /// Takes so many values, leaves so many, and needs so long.
    Make {
        taken: u32,
        given: u32,
        latency: u32,
    },
    Block {
        has_result: bool,
    },
    If {
        has_result: bool,
    },
    Else,
    End,
    Branch(usize),
    BranchIf(usize),
    Leave,
}

impl Act {
    fn of(op: &Operator<'_>, weights: &Weights, places: &Places) -> Self {
        use Operator as O;
        let set = |local: u32| places.of(local).expect("a local that is set has its place");
        let has_result = |ty: &BlockType| *ty != BlockType::Empty;
        match op {
            O::LocalGet { local_index } => Self::Get(places.of(*local_index)),
            O::LocalSet { local_index } => Self::Set(set(*local_index)),
            O::LocalTee { local_index } => Self::Tee(set(*local_index)),
            O::Block { blockty } => Self::Block { has_result: has_result(blockty) },
            O::If { blockty } => Self::If { has_result: has_result(blockty) },
            O::Else => Self::Else,
            O::End => Self::End,
            O::Br { relative_depth } => Self::Branch(*relative_depth as usize),
            O::BrIf { relative_depth } => Self::BranchIf(*relative_depth as usize),
            O::Return | O::Unreachable => Self::Leave,
            op => {
                let (taken, given) = op.operator_arity(&NoModule).unwrap_or((0, 1));
                Self::Make { taken, given, latency: weights.latency(class(op)) }
            }
        }
    }
}

/// One way through a round.
#[derive(Debug, Clone)]
struct Way {
    /// When each local is ready that the loop sets.
    ready: Vec<u32>,
    /// What the operators have cost.
    spent: u32,
    /// When the value is ready that a branch takes along.
    result: Option<u32>,
}

/// Another way comes to where this one is.
fn meet(met: &mut Option<Way>, way: Way) {
    let Some(met) = met else {
        *met = Some(way);
        return;
    };
    met.ready.iter_mut().zip(&way.ready).for_each(|(met, other)| *met = (*met).min(*other));
    met.spent = met.spent.max(way.spent);
    met.result = met.result.zip(way.result).map(|(met, other)| met.min(other));
}

/// A block that is open.
#[derive(Debug)]
struct Frame {
    height: usize,
    has_result: bool,
    /// Who is at its end.
    ended: Option<Way>,
    /// Who is at its `else`.
    otherwise: Option<Way>,
}

/// The rounds of a loop.
#[derive(Debug)]
struct Rounds {
    acts: Vec<(Act, u32)>,
    head: u32,
    locals: usize,
}

impl Rounds {
    fn of(inside: &[Step<'_>], head: u32, weights: &Weights, places: &mut Places) -> Self {
        let locals = places.fill(inside);
        let acts = inside.iter().map(|step| (Act::of(&step.op, weights, places), step.weight)).collect();
        Self { acts, head, locals }
    }

    /// What a round waits beyond what it costs.
    fn wait(&self) -> u32 {
        let settling = self.locals.clamp(SETTLING.0, SETTLING.1);
        let mut way = Way { ready: vec![0; self.locals], spent: 0, result: None };
        let (mut settled, mut grown) = (Vec::new(), Vec::new());
        for round in 0..settling + MEASURED as usize {
            let before = way.ready.clone();
            if round == settling {
                settled.clone_from(&before);
            }
            // What never goes back goes round once.
            let Some(next) = Round::begin(Way { spent: self.head, ..way }).go(&self.acts) else { return 0 };
            way = next;
            let grows = way.later_than(&before);
            if grows == grown {
                // Each is as much later as it was a round ago, and so it goes on.
                return longest(&grows).saturating_sub(way.spent);
            }
            grown = grows;
        }
        (longest(&way.later_than(&settled)) / MEASURED).saturating_sub(way.spent)
    }
}

impl Way {
    /// By how much each local is ready later than it was. None is ready earlier than a round before: all begin at zero, and no value comes the
    /// sooner for a later one.
    fn later_than(&self, before: &[u32]) -> Vec<u32> {
        self.ready.iter().zip(before).map(|(now, before)| now - before).collect()
    }
}

fn longest(times: &[u32]) -> u32 {
    times.iter().copied().max().unwrap_or(0)
}

/// A round on its way.
#[derive(Debug)]
struct Round {
    /// Nothing where the code is not reached.
    way: Option<Way>,
    stack: Vec<u32>,
    frames: Vec<Frame>,
    /// Who has come back to the loop's head.
    back: Option<Way>,
}

impl Round {
    fn begin(way: Way) -> Self {
        Self { way: Some(way), stack: Vec::new(), frames: Vec::new(), back: None }
    }

    /// Goes all ways; nothing where none leads back.
    fn go(mut self, acts: &[(Act, u32)]) -> Option<Way> {
        for (act, weight) in acts {
            if let Some(way) = &mut self.way {
                way.spent += weight;
            }
            self.act(*act);
        }
        self.back
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Block { has_result } => self.open(has_result, None),
            Act::If { has_result } => {
                self.stack.pop();
                self.open(has_result, self.way.clone());
            }
            Act::Else => {
                self.end();
                let frame = self.frames.last_mut().expect("an else has its if");
                self.way = frame.otherwise.take();
                self.stack.truncate(frame.height);
            }
            Act::End => self.close(),
            Act::Branch(depth) => {
                if let Some(way) = self.way.take() {
                    self.branch(depth, way);
                }
            }
            Act::BranchIf(depth) => {
                self.stack.pop();
                if let Some(way) = self.way.clone() {
                    self.branch(depth, way);
                }
            }
            Act::Leave => self.way = None,
            Act::Make { taken, given, latency } => {
                let from = self.stack.len().saturating_sub(taken as usize);
                let ready = self.stack.drain(from..).max().unwrap_or(0) + latency;
                self.stack.extend((0..given).map(|_| ready));
            }
            Act::Get(place) => {
                let ready = self.way.as_ref().zip(place).map_or(0, |(way, place)| way.ready[place]);
                self.stack.push(ready);
            }
            Act::Set(place) => {
                let ready = self.stack.pop();
                self.set(place, ready);
            }
            Act::Tee(place) => self.set(place, self.stack.last().copied()),
        }
    }

    /// In what is not reached the stack may be empty.
    fn set(&mut self, place: usize, ready: Option<u32>) {
        if let Some((way, ready)) = self.way.as_mut().zip(ready) {
            way.ready[place] = ready;
        }
    }

    fn open(&mut self, has_result: bool, otherwise: Option<Way>) {
        self.frames.push(Frame { height: self.stack.len(), has_result, ended: None, otherwise });
    }

    /// An arm comes to its end.
    fn end(&mut self) {
        if let Some(way) = self.way.take() {
            self.branch(0, way);
        }
    }

    fn close(&mut self) {
        self.end();
        let Frame { height, has_result, mut ended, otherwise } = self.frames.pop().expect("an end has its beginning");
        if let Some(way) = otherwise {
            meet(&mut ended, way);
        }
        self.stack.truncate(height);
        if has_result {
            self.stack.push(ended.as_ref().and_then(|way| way.result).unwrap_or(0));
        }
        self.way = ended;
    }

    fn branch(&mut self, depth: usize, mut way: Way) {
        match depth.cmp(&self.frames.len()) {
            Ordering::Less => {
                let at = self.frames.len() - 1 - depth;
                let frame = &mut self.frames[at];
                way.result = self.stack.last().copied().filter(|_| frame.has_result);
                meet(&mut frame.ended, way);
            }
            Ordering::Equal => meet(&mut self.back, way),
            // It leaves the loop.
            Ordering::Greater => {}
        }
    }
}

#[cfg(test)]
mod tests {
    mod circles;

    use super::super::weights::Class;
    use super::super::{Options, loop_waits};
    use super::*;

    /// What the loops of a function wait for where an operator costs `units`: an integer operator takes 10, a product 30, a float addition
    /// 40, a load 50, and all else nothing.
    fn waits_of(units: u32, body: &str) -> Vec<u32> {
        let spare = "(local i32)".repeat(40);
        let text = format!(
            "(module (memory 1) (table 1 funcref) (func $other)
               (func (local $i i32) (local $x i32) (local $y i32) (local $z i32) (local $f f64) {spare} {body}))"
        );
        let latency = |class| match class {
            Class::Integer => 10,
            Class::IntegerMultiply => 30,
            Class::FloatAdd => 40,
            Class::Load => 50,
            _ => 0,
        };
        let options = Options { weights: Weights::by_class(|_| units, latency), ..Options::default() };
        loop_waits(&wat::parse_str(text).unwrap(), &options).unwrap().swap_remove(1).into()
    }

    /// A loop that ends by its counter.
    fn counted(body: &str) -> String {
        format!(
            "(loop $round {body} (br_if $round (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 9))))"
        )
    }

    #[test]
    fn round_waits_for_the_longest_circle_of_values() {
        let plus = |to: &str, from: &str| format!("(local.set ${to} (i32.add (local.get ${from}) (i32.const 1)))");
        let times = |to: &str, from: &str| format!("(local.set ${to} (i32.mul (local.get ${from}) (i32.const 3)))");
        let either = |arm: &str, other: &str| format!("(if (local.get $z) (then {arm}) (else {other}))");
        // The last stage first: what a stage makes is the next one's a round later, and no value comes round again.
        let stages = |count: usize| {
            let stage = |to: usize| format!("(local.set {to} (i32.load (local.get {})))", to - 1);
            counted(&(6..6 + count).rev().map(stage).collect::<String>())
        };
        let late = format!("(local.set $z {}(i32.const 0){})", "(i32.load ".repeat(40), ")".repeat(40));
        let turned = |count: usize| {
            let moves: String = (6..5 + count).map(|to| format!("(local.set {to} (local.get {}))", to + 1)).collect();
            let product = "(i32.const 3) i32.mul ".repeat(count);
            counted(&format!("local.get 6 {product} local.set 1 {moves} (local.set {} (local.get 1))", 5 + count))
        };
        let rows = [
            ("its counter", counted(""), 10),
            ("two stages", stages(2), 10),
            ("eight stages", stages(8), 10),
            ("as many stages as are followed", stages(SETTLING.1 - 1), 10),
            ("a circle of three rounds", turned(3), 30),
            ("a circle of six rounds", turned(6), 30),
            (
                "one of three rounds before what is ready last each time",
                turned(3).replace("(br_if", &format!("{late} (br_if")),
                30,
            ),
            ("a product", counted(&times("x", "x")), 30),
            ("two in a row", counted(&(plus("x", "x") + &times("x", "x"))), 40),
            ("two side by side", counted(&(plus("x", "x") + &times("y", "y"))), 30),
            ("what no round needs again", counted(&(times("x", "i") + &times("y", "x"))), 10),
            ("a sum of loads", counted("(local.set $x (i32.add (local.get $x) (i32.load (local.get $i))))"), 10),
            ("pointers", counted("(local.set $x (i32.load (local.get $x)))"), 50),
            ("a store, which makes no value", counted("(i32.store (local.get $x) (local.get $y))"), 10),
            (
                "a circle of two rounds",
                counted(&(times("z", "x") + "(local.set $x (local.get $y)) (local.set $y (local.get $z))")),
                15,
            ),
            ("floats", counted("(local.set $f (f64.add (f64.add (local.get $f) (local.get $f)) (f64.const 1)))"), 80),
            ("the quicker arm", counted(&either(&times("x", "x"), &plus("x", "x"))), 10),
            ("both arms", counted(&either(&times("x", "x"), &(plus("x", "x") + &times("x", "x")))), 30),
            ("an arm that is not there", counted(&format!("(if (local.get $z) (then {}))", times("x", "x"))), 10),
            ("an arm that leaves", counted(&either(&times("x", "x"), "(return)")), 30),
            ("an arm that traps", counted(&either("(unreachable)", &times("x", "x"))), 30),
            (
                "a value of either arm",
                counted(
                    "(local.set $x (if (result i32) (local.get $z) (then (i32.mul (local.get $x) (local.get $x))) (else (i32.add (local.get $x) (local.get $x)))))",
                ),
                10,
            ),
            ("a way past", counted(&format!("(block $past (br_if $past (local.get $z)) {})", times("x", "x"))), 10),
            (
                "a way past what is not left out",
                counted(&format!("(block $past (br_if $past (local.get $z)) (return)) {}", times("x", "x"))),
                30,
            ),
            ("a way out", format!("(block $out {})", counted(&format!("(br_if $out (local.get $z)) {}", times("x", "x")))), 30),
            ("a way back before", counted(&format!("(br_if $round (local.get $z)) {}", times("x", "x"))), 0),
            (
                "a branch with a value",
                counted(
                    "(local.set $x (block $b (result i32) (br_if $b (i32.mul (local.get $x) (local.get $x)) (local.get $z))))",
                ),
                30,
            ),
            (
                "code that is not reached",
                counted(&format!(
                    "(block $b (br $b) {} (block (if (local.get $z) (then {}))))",
                    times("x", "x"),
                    times("x", "x")
                )),
                10,
            ),
            ("no way back", format!("(loop {})", times("x", "x")), 0),
            ("a function's end", format!("(loop $round {} (br $round))", times("x", "x")), 30),
        ];
        for (what, body, want) in rows {
            let want = if want == 0 { vec![] } else { vec![want] };
            assert_eq!(waits_of(0, &body), want, "{what}");
        }
    }

    #[test]
    fn round_pays_for_what_it_waits_beyond_what_it_costs() {
        // The head, two that read locals, two constants, an addition, a comparison, a branch, and one that sets a local: nine operators; then four more.
        let product = counted("(local.set $x (i32.mul (local.get $x) (i32.const 3)))");
        for (units, want) in [(0, vec![30]), (1, vec![30 - 12]), (2, vec![30 - 24]), (3, vec![])] {
            assert_eq!(waits_of(units, &product), want, "{units}");
        }
        // The dearer way counts.
        let arms = counted("(local.set $x (i32.mul (local.get $x) (i32.const 3))) (if (local.get $z) (then (nop) (nop) (nop)))");
        assert_eq!(waits_of(1, &arms), [30 - 12 - 6]);
    }

    #[test]
    fn only_innermost_loops_of_known_work_are_looked_at() {
        let product = "(local.set $x (i32.mul (local.get $x) (i32.const 3)))";
        let nops = |count: usize| "(nop)".repeat(count);
        let inside = 4 + 7;
        let longest = STEPS_MAX - 1 - inside;
        let ways = |count: usize| format!("{product} {}", "(block $b (br_if $b (local.get $z)))".repeat(count));
        let rows = [
            ("within another", counted(&counted(product)), vec![0, 30]),
            ("one behind the other", counted("") + &counted(product), vec![10, 30]),
            ("a call", counted(&format!("{product} (call $other)")), vec![]),
            ("a call through a table", counted(&format!("{product} (call_indirect (i32.const 0))")), vec![]),
            ("growth", counted(&format!("{product} (drop (memory.grow (i32.const 0)))")), vec![]),
            ("a table of branches", counted(&format!("{product} (block $b (br_table $b $b (local.get $z)))")), vec![]),
            ("values into a block", counted(&format!("{product} (i32.const 1) (block (param i32) (drop))")), vec![]),
            ("as long as may be", counted(&format!("{product} {}", nops(longest))), vec![30]),
            ("longer", counted(&format!("{product} {}", nops(longest + 1))), vec![]),
            ("as many branches as may be", counted(&ways(BRANCHES_MAX - 1)), vec![30]),
            ("one more", counted(&ways(BRANCHES_MAX)), vec![]),
        ];
        for (what, body, want) in rows {
            assert_eq!(waits_of(0, &body), want, "{what}");
        }
    }
}
