//! The control-flow graph of one function, made for placing counter updates.
//!
//! A *basic block* is an edge from the point where it is entered to the point where it is left, and carries the block's weight; a
//! *jump* is an edge of weight 0. The function's entry and the near side of every call meet in one point, the [`ROOT`]: there the counter
//! must be exact, because others look at it. All exits meet in another, the [`EXIT`]: there the counter may lack an amount that is the
//! same at each return, which callers add to what they add anyway.

use wasmparser::Operator;

use super::body::{Inlined, Signatures, Step};
use super::calls::{Callee, Callees};
use super::likely::Outlook;

/// Where the counter is exact.
pub(super) const ROOT: Point = 0;
/// Where the function returns.
pub(super) const EXIT: Point = 1;

/// A point of the graph.
pub(super) type Point = usize;

/// Where code that updates the counter for an edge would stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    /// At the function's start.
    Entry,
    /// Before a step.
    Before(usize),
    /// Behind a step.
    After(usize),
    /// On the way of a `br_if` that is taken.
    Taken(usize),
    /// In the arm that an `if` without `else` does not have, which ends at this step.
    NoElse(usize),
}

/// A way from one point to another.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) from: Point,
    pub(super) to: Point,
    /// What going this way costs, in units.
    pub(super) weight: i64,
    /// How often it is gone, roughly, and so what an update here would cost.
    pub(super) frequency: f64,
    /// Whether no code can stand here: the edge must be in the tree.
    pub(super) is_fixed: bool,
    pub(super) site: Site,
}

impl Edge {
    /// An edge on which no code can stand.
    const fn fixed(from: Point, to: Point, site: Site) -> Self {
        Self { from, to, weight: 0, frequency: 1.0, is_fixed: true, site }
    }
}

/// The graph.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) edges: Vec<Edge>,
    /// How many points there are.
    pub(super) points: usize,
    /// The edge of each block that is reached, in no order.
    pub(super) blocks: Vec<usize>,
    /// Points at which a check is cheaper if the counter lacks nothing there, with what that is worth.
    pub(super) pulls: Vec<(Point, f64)>,
}

/// Whether an operator leaves the function and comes back, or lets the host look at the counter.
pub(super) fn is_root(op: &Operator<'_>) -> bool {
    is_call(op) || is_growth(op)
}

/// Whether an operator calls a function.
pub(super) fn is_call(op: &Operator<'_>) -> bool {
    matches!(op, Operator::Call { .. } | Operator::CallIndirect { .. })
}

/// Whether an operator makes a memory or a table larger.
pub(super) fn is_growth(op: &Operator<'_>) -> bool {
    matches!(op, Operator::MemoryGrow { .. } | Operator::TableGrow { .. })
}

/// Whether an operator pays by the size on top of the stack, and looks at the limit then.
pub(super) fn pays_by_size(op: &Operator<'_>) -> bool {
    use Operator as O;
    is_growth(op)
        || matches!(
            op,
            O::MemoryFill { .. }
                | O::MemoryCopy { .. }
                | O::MemoryInit { .. }
                | O::TableFill { .. }
                | O::TableCopy { .. }
                | O::TableInit { .. }
        )
}

/// What a graph is built of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Function<'a> {
    pub(super) steps: &'a [Step<'a>],
    /// How many values it leaves.
    pub(super) results: usize,
    pub(super) signatures: &'a Signatures,
    pub(super) callees: Callees<'a>,
}

impl Graph {
    /// The graph of a function that leaves its callers `owes` to add, or what is cheapest. Nothing pulls as yet.
    pub(super) fn build(function: Function<'_>, owes: Option<i64>) -> Self {
        let mut builder = Builder::new(function);
        if let Some(owes) = owes {
            builder.edges.push(Edge { weight: owes, ..Edge::fixed(ROOT, EXIT, Site::Entry) });
        }
        for (at, step) in function.steps.iter().enumerate() {
            builder.step(at, step, at + 1 == function.steps.len(), function);
        }
        builder.finish()
    }

    /// What the first block weighs, and what the one does that begins behind each of `steps` steps, where one does.
    pub(super) fn block_units(&self, steps: usize) -> (u64, Vec<Option<u64>>) {
        let (mut first, mut behind) = (0, vec![None; steps]);
        for block in self.blocks.iter().map(|block| &self.edges[*block]) {
            let units = u64::try_from(block.weight).expect("no block weighs less than nothing");
            match block.site {
                Site::After(at) => behind[at] = Some(units),
                _ => first = units,
            }
        }
        (first, behind)
    }

    /// Pulls where the function looks at the limit, as `is_checked` says: behind a step, or at its start.
    pub(super) fn pull(&mut self, is_checked: impl Fn(Option<usize>) -> bool) {
        for block in self.blocks.iter().map(|block| &self.edges[*block]) {
            let begins = match block.site {
                Site::After(at) => Some(at),
                _ => None,
            };
            if is_checked(begins) {
                self.pulls.push((block.to, block.frequency * PULL));
            }
        }
    }
}

/// How often a loop goes round, for all that is known.
const ROUNDS: f64 = 10.0;
/// How often a branch back to a loop's head is taken.
const BACK: f64 = 0.9;
/// How often a branch out of the innermost loop is taken, where it does not pass by a trap.
const OUT: f64 = 0.1;
/// What an update on a taken `br_if` costs beyond others: the branch becomes two.
const TAKEN_DEARER: f64 = 1.3;
/// What a check that need not add what the counter lacks saves, in updates.
const PULL: f64 = 0.03;
/// Nesting multiplies frequencies; from here on they are all the same.
const FREQUENCY_MAX: f64 = 1e30;

/// A block as it is found.
#[derive(Debug, Clone, Copy)]
struct Block {
    weight: i64,
    frequency: f64,
    /// Whether an update where it begins costs nothing, because the counter is changed there in any case.
    is_updated: bool,
    /// Where it begins; nothing where it is not reached.
    start: Option<Site>,
}

impl Block {
    const fn entered(id: usize) -> Point {
        2 + 2 * id
    }

    const fn left(id: usize) -> Point {
        3 + 2 * id
    }
}

/// A structured operator that is open.
#[derive(Debug)]
struct Frame {
    is_loop: bool,
    /// The block that a branch to this label enters; the function's own label has none.
    target: Option<usize>,
    /// The step behind which that block begins; of the function's own label its last. Of a loop nothing.
    leads: Option<usize>,
    /// What enters the block behind the `end`.
    frequency: f64,
    is_entered: bool,
    /// How many values a branch to the label takes along.
    arity: usize,
    /// The block that ended in an `if` whose `else` has not come yet.
    no_else: Option<(usize, f64)>,
}

struct Builder {
    blocks: Vec<Block>,
    edges: Vec<Edge>,
    frames: Vec<Frame>,
    /// Where the open loops are among the frames.
    loops: Vec<usize>,
    /// The block that the next step belongs to; nothing where it cannot be reached.
    current: Option<usize>,
    /// The block that pays for it.
    payer: usize,
    outlook: Outlook,
    frequency: f64,
}

impl Builder {
    fn new(Function { results, steps, .. }: Function<'_>) -> Self {
        let function = Frame {
            is_loop: false,
            target: None,
            leads: steps.len().checked_sub(1),
            frequency: 0.0,
            is_entered: false,
            arity: results,
            no_else: None,
        };
        let mut builder = Self {
            blocks: Vec::new(),
            edges: Vec::new(),
            frames: vec![function],
            loops: Vec::new(),
            current: None,
            payer: 0,
            outlook: Outlook::of(steps),
            frequency: 1.0,
        };
        let entry = builder.begin(Site::Entry);
        builder.edge(ROOT, Block::entered(entry), 1.0, true, Site::Entry);
        builder
    }

    fn step(&mut self, at: usize, step: &Step<'_>, is_last: bool, function: Function<'_>) {
        let Function { signatures, callees, .. } = function;
        // The head of a loop is paid for each time round, so by the block that begins there.
        if self.current.is_some() && !matches!(step.op, Operator::Loop { .. }) {
            self.blocks[self.payer].weight += i64::from(step.weight);
        }
        match &step.op {
            Operator::Block { blockty } => {
                self.open(at, signatures.arity(*blockty).1);
                // What was a call ends a block as calls do.
                if step.inlined == Inlined::Begins {
                    self.split(at);
                }
            }
            Operator::Loop { blockty } => self.open_loop(at, signatures.arity(*blockty).0, step.weight),
            Operator::If { blockty } => self.open_if(at, signatures.arity(*blockty).1),
            Operator::Else => self.swap_arm(at),
            Operator::End if is_last => self.leave(self.frequency, Site::Before(at)),
            Operator::End => self.close(at),
            Operator::Br { relative_depth } => self.branch(at, *relative_depth),
            Operator::BrIf { relative_depth } => self.branch_if(at, *relative_depth),
            Operator::BrTable { targets } => {
                let depths: Vec<u32> = targets.targets().chain([Ok(targets.default())]).flatten().collect();
                self.branch_table(at, &depths);
            }
            Operator::Return => self.leave(self.frequency, Site::Before(at)),
            // Nothing is updated before it: after a trap the potential tells what the counter lacks.
            Operator::Unreachable => self.leave(0.0, Site::Before(at)),
            op if is_root(op) => self.call(at, op, callees.of(op)),
            op if pays_by_size(op) => self.pay(at),
            _ => {}
        }
    }

    fn finish(self) -> Graph {
        let Self { blocks, mut edges, .. } = self;
        let points = Block::left(blocks.len());
        let first = edges.len();
        for (id, block) in blocks.iter().enumerate() {
            if let Some(site) = block.start {
                let (from, to) = (Block::entered(id), Block::left(id));
                let frequency = if block.is_updated { 0.0 } else { block.frequency };
                edges.push(Edge { from, to, weight: block.weight, frequency, is_fixed: false, site });
            }
        }
        Graph { blocks: (first..edges.len()).collect(), edges, points, pulls: Vec::new() }
    }

    /// A block that nothing enters yet.
    fn make_block(&mut self) -> usize {
        self.blocks.push(Block { weight: 0, frequency: 0.0, is_updated: false, start: None });
        self.blocks.len() - 1
    }

    /// Begins a block that is reached; what follows belongs to it.
    fn begin(&mut self, start: Site) -> usize {
        let id = self.make_block();
        self.enter(id, start);
        id
    }

    fn enter(&mut self, id: usize, start: Site) {
        self.blocks[id].start = Some(start);
        self.blocks[id].frequency = self.frequency;
        self.current = Some(id);
        self.payer = id;
    }

    fn edge(&mut self, from: Point, to: Point, frequency: f64, is_fixed: bool, site: Site) {
        let frequency = frequency.min(FREQUENCY_MAX);
        self.edges.push(Edge { from, to, weight: 0, frequency, is_fixed, site });
    }

    fn open(&mut self, at: usize, arity: usize) {
        let target = Some(self.make_block());
        let leads = Some(self.outlook.end_of(at));
        self.frames.push(Frame { is_loop: false, target, leads, frequency: 0.0, is_entered: false, arity, no_else: None });
    }

    fn open_loop(&mut self, at: usize, arity: usize, weight: u32) {
        let outside = self.frequency;
        let before = self.current;
        let head = self.make_block();
        if let Some(before) = before {
            self.edge(Block::left(before), Block::entered(head), outside, false, Site::Before(at));
            self.frequency = (outside * ROUNDS).min(FREQUENCY_MAX);
            self.blocks[head].weight = i64::from(weight);
            self.enter(head, Site::After(at));
        }
        self.loops.push(self.frames.len());
        let target = Some(head);
        self.frames.push(Frame { is_loop: true, target, leads: None, frequency: 0.0, is_entered: true, arity, no_else: None });
    }

    fn open_if(&mut self, at: usize, arity: usize) {
        self.open(at, arity);
        let Some(before) = self.current else { return };
        let first = self.outlook.first_arm(at);
        self.frames.last_mut().expect("a frame was opened").no_else = Some((before, self.frequency * (1.0 - first)));
        self.frequency *= first;
        let arm = self.begin(Site::After(at));
        self.edge(Block::left(before), Block::entered(arm), self.frequency, false, Site::After(at));
    }

    fn swap_arm(&mut self, at: usize) {
        self.fall_into_end(at);
        let frame = self.frames.last_mut().expect("an else has its if");
        if let Some((before, frequency)) = frame.no_else.take() {
            self.frequency = frequency;
            let arm = self.begin(Site::After(at));
            self.edge(Block::left(before), Block::entered(arm), frequency, false, Site::After(at));
        }
    }

    /// Goes on, from the end of an arm or a block, to what follows its `end`.
    fn fall_into_end(&mut self, at: usize) {
        let Some(current) = self.current.take() else { return };
        self.go(current, self.frames.len() - 1, self.frequency, self.frequency, false, Site::Before(at));
    }

    /// An edge from the end of `from` to a frame's label.
    fn go(&mut self, from: usize, frame: usize, cost: f64, frequency: f64, is_fixed: bool, site: Site) {
        let frame = &mut self.frames[frame];
        frame.is_entered = true;
        frame.frequency += frequency;
        let to = frame.target.map_or(EXIT, Block::entered);
        self.edge(Block::left(from), to, cost, is_fixed, site);
    }

    fn close(&mut self, at: usize) {
        if self.frames.last().expect("an end has its beginning").is_loop {
            // Whoever falls out of a loop goes on in the same block.
            self.frames.pop();
            self.loops.pop();
            return;
        }
        self.fall_into_end(at);
        let top = self.frames.len() - 1;
        if let Some((before, frequency)) = self.frames[top].no_else.take() {
            self.go(before, top, frequency, frequency, false, Site::NoElse(at));
        }
        let frame = self.frames.pop().expect("an end has its beginning");
        if frame.is_entered {
            self.frequency = frame.frequency.min(FREQUENCY_MAX);
            self.enter(frame.target.expect("only the function's label has no block"), Site::After(at));
        }
    }

    fn branch(&mut self, at: usize, depth: u32) {
        let Some(current) = self.current.take() else { return };
        self.go(current, self.label(depth), self.frequency, self.frequency, false, Site::Before(at));
    }

    fn branch_if(&mut self, at: usize, depth: u32) {
        let Some(current) = self.current else { return };
        let label = self.label(depth);
        let frame = &self.frames[label];
        let innermost = self.loops.last().copied().unwrap_or(0);
        let share = match frame.leads {
            _ if frame.is_loop => BACK,
            Some(leads) if label >= innermost || self.outlook.traps_behind(at) => self.outlook.taken(at, leads),
            _ => OUT,
        };
        let taken = self.frequency * share;
        let carries_values = frame.arity > 0;
        self.go(current, label, taken * TAKEN_DEARER, taken, carries_values, Site::Taken(at));
        self.frequency -= taken;
        self.split(at);
    }

    /// Ends the block and goes on in another.
    fn split(&mut self, at: usize) {
        let Some(current) = self.current else { return };
        let next = self.begin(Site::After(at));
        self.edge(Block::left(current), Block::entered(next), self.frequency, false, Site::After(at));
    }

    fn branch_table(&mut self, at: usize, depths: &[u32]) {
        let Some(current) = self.current.take() else { return };
        let each = self.frequency / depths.len() as f64;
        for &depth in depths {
            self.go(current, self.label(depth), each, each, true, Site::Before(at));
        }
    }

    /// Leaves the function.
    fn leave(&mut self, frequency: f64, site: Site) {
        if let Some(current) = self.current.take() {
            self.edge(Block::left(current), EXIT, frequency, false, site);
        }
    }

    /// Calls `callee`, or grows something.
    fn call(&mut self, at: usize, op: &Operator<'_>, callee: Option<Callee>) {
        let Some(current) = self.current else { return };
        let cost = if pays_by_size(op) { 0.0 } else { self.frequency };
        self.edge(Block::left(current), ROOT, cost, false, Site::Before(at));
        let next = self.begin(Site::After(at));
        self.blocks[next].is_updated = matches!(callee, Some(Callee::Any { is_debt_returned: true }));
        let owes = callee.map_or(0, Callee::owes);
        self.edges.push(Edge { weight: owes, ..Edge::fixed(ROOT, Block::entered(next), Site::After(at)) });
    }

    /// Pays by a size: there an update costs nothing. What the block weighs was paid where it was entered.
    fn pay(&mut self, at: usize) {
        let Some(current) = self.current else { return };
        let next = self.make_block();
        self.edge(Block::left(current), Block::left(next), 0.0, false, Site::Before(at));
        self.current = Some(next);
    }

    fn label(&self, depth: u32) -> usize {
        self.frames.len() - 1 - depth as usize
    }
}
