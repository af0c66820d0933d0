//! A metered function: its own operators, with the meter's between them.
//!
//! A function with a loop keeps the counter in a local and stores it at each change, so that its chain of additions needs no load
//! and nothing is ever only in a register; other functions change the word in memory. A check compares the true count, so that
//! where a guest stops does not depend on where updates stand.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{BlockType, Function, Instruction as I, MemArg};
use wasmparser::{Operator, ValType};

use super::MeterError;
use super::body::{Body, Signatures};
use super::graph::{Graph, Site, is_growth, is_root};
use super::pending::{Pending, Stop};
use super::place::Placement;
use super::stack::{DEPTH_MAX, Frame};
use super::weights::{BULK_BYTE_UNITS, BULK_ELEMENT_UNITS, GROW_PAGE_UNITS};
use super::words::{COUNTER, DEPTH, LIMIT, PAGES_MAX};

/// A function that calls no other and costs no more than this in all, loops aside, needs no check at its entry: sixteen fuel.
const LIGHT_UNITS_MAX: u64 = 1024;

/// What is known of the module while its functions are emitted.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) signatures: &'a Signatures,
    /// The frame of each function that the module defines.
    pub(super) frames: &'a [Frame],
    /// The most elements that each table may have.
    pub(super) table_elements_max: &'a [u64],
    /// The index of the meter's own memory.
    pub(super) memory: u32,
}

/// Emits the function number `index` of those that the module defines, with its table of pending amounts by offset from its start.
pub(super) fn emit(
    index: usize,
    mut body: Body<'_>,
    results: usize,
    context: &Context<'_>,
) -> Result<(Function, Pending), MeterError> {
    let graph = Graph::build(&body.steps, results, context.signatures);
    let plan = Plan::new(&graph, &Placement::of(&graph), body.steps.len());
    let frame = context.frames[index];
    let locals = Locals::add(&mut body, graph.has_loop, frame);
    let declared = body.locals[body.params as usize..].iter().map(|ty| RoundtripReencoder.val_type(*ty));
    let declared = declared.collect::<Result<Vec<_>, _>>().map_err(MeterError::encode)?;
    let code = Function::new_with_locals_types(declared);
    let mut emitter = Emitter { context, plan, locals, code, pending: Pending::default(), lacking: 0, weight: 0 };

    let weight: u64 = body.steps.iter().map(|step| u64::from(step.weight)).sum();
    emitter.prologue(frame, frame.calls || weight > LIGHT_UNITS_MAX);
    for (at, step) in body.steps.iter().enumerate() {
        emitter.step(at, &step.op)?;
    }
    Ok((emitter.code, emitter.pending))
}

/// The updates of one function by where they stand, in units.
struct Plan {
    entry: i64,
    /// What the counter lacks in the function's first block.
    entry_lacking: i64,
    /// What that block weighs.
    entry_weight: i64,
    steps: Vec<Updates>,
}

/// The updates around one step.
#[derive(Debug, Default, Clone, Copy)]
struct Updates {
    before: i64,
    after: i64,
    taken: i64,
    no_else: i64,
    /// What the counter lacks in the block that begins behind this step, and what that block weighs, where one does.
    begins: Option<(i64, i64)>,
}

impl Plan {
    fn new(graph: &Graph, placement: &Placement, steps: usize) -> Self {
        let mut plan = Self { entry: 0, entry_lacking: 0, entry_weight: 0, steps: vec![Updates::default(); steps] };
        for (edge, update) in graph.edges.iter().zip(&placement.updates) {
            match edge.site {
                Site::Entry => plan.entry += update,
                Site::Before(at) => plan.steps[at].before += update,
                Site::After(at) => plan.steps[at].after += update,
                Site::Taken(at) => plan.steps[at].taken += update,
                Site::NoElse(at) => plan.steps[at].no_else += update,
            }
        }
        for edge in graph.blocks.iter().map(|block| &graph.edges[*block]) {
            let lacking = placement.potentials[edge.to];
            match edge.site {
                Site::After(at) => plan.steps[at].begins = Some((lacking, edge.weight)),
                _ => (plan.entry_lacking, plan.entry_weight) = (lacking, edge.weight),
            }
        }
        plan
    }
}

/// The meter's own locals.
#[derive(Debug, Clone, Copy)]
struct Locals {
    /// The counter (i64), in functions with a loop.
    counter: Option<u32>,
    /// The depth of this call (i32), in functions that call others.
    depth: Option<u32>,
    /// A size that is paid for (i32), where there is one.
    size: Option<u32>,
}

impl Locals {
    fn add(body: &mut Body<'_>, has_loop: bool, frame: Frame) -> Self {
        let pays_by_size = body.steps.iter().any(|step| size_units(&step.op).is_some() || is_growth(&step.op));
        Self {
            counter: has_loop.then(|| body.add_local(ValType::I64)),
            depth: frame.calls.then(|| body.add_local(ValType::I32)),
            size: pays_by_size.then(|| body.add_local(ValType::I32)),
        }
    }
}

/// What an operator costs for each unit of the size on top of the stack; nothing where it pays by no size.
fn size_units(op: &Operator<'_>) -> Option<i64> {
    match op {
        Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } | Operator::MemoryInit { .. } => Some(BULK_BYTE_UNITS),
        Operator::TableFill { .. } | Operator::TableCopy { .. } | Operator::TableInit { .. } => Some(BULK_ELEMENT_UNITS),
        _ => None,
    }
}

struct Emitter<'c> {
    context: &'c Context<'c>,
    plan: Plan,
    locals: Locals,
    code: Function,
    pending: Pending,
    /// What the counter lacks where code is emitted now.
    lacking: i64,
    /// What the block weighs that is emitted now.
    weight: i64,
}

impl Emitter<'_> {
    fn prologue(&mut self, frame: Frame, is_checked: bool) {
        self.lacks(0);
        self.reload();
        self.add(self.plan.entry);
        self.lacks(self.plan.entry_lacking);
        self.weight = self.plan.entry_weight;
        if is_checked {
            self.check();
        }
        if frame.is_counted() {
            self.count_frame(frame.bytes);
        }
    }

    fn step(&mut self, at: usize, op: &Operator<'_>) -> Result<(), MeterError> {
        let updates = self.plan.steps[at];
        if updates.before != 0 && !matches!(op, Operator::Unreachable) {
            self.add(updates.before);
            self.lacks(self.lacking - updates.before);
        }
        if matches!(op, Operator::Unreachable) && self.weight != 0 {
            self.settle();
        }
        if updates.no_else != 0 {
            self.code.instruction(&I::Else);
            self.add(updates.no_else);
        }
        match op {
            Operator::BrIf { relative_depth } if updates.taken != 0 => {
                self.code.instruction(&I::If(BlockType::Empty));
                self.add(updates.taken);
                self.code.instruction(&I::Br(relative_depth + 1)).instruction(&I::End);
            }
            _ => {
                self.pay_by_size(op)?;
                self.note_depth(op);
                self.code.instruction(&RoundtripReencoder.instruction(op.clone()).map_err(MeterError::encode)?);
            }
        }
        if is_root(op) {
            self.reload();
        }
        self.add(updates.after);
        if let Some((lacking, weight)) = updates.begins {
            self.lacks(lacking);
            self.weight = weight;
            if matches!(op, Operator::Loop { .. }) {
                self.check();
            }
        }
        Ok(())
    }

    /// From here on the counter lacks `units`.
    fn lacks(&mut self, units: i64) {
        self.lacking = units;
        self.pending.set(self.code.byte_len(), units);
    }

    fn word(&self, offset: u64) -> MemArg {
        MemArg { offset, align: 3, memory_index: self.context.memory }
    }

    fn half_word(&self, offset: u64) -> MemArg {
        MemArg { align: 2, ..self.word(offset) }
    }

    /// Pushes the counter.
    fn push_counter(&mut self) {
        match self.locals.counter {
            Some(local) => self.code.instruction(&I::LocalGet(local)),
            None => {
                let word = self.word(COUNTER);
                self.code.instruction(&I::I32Const(0)).instruction(&I::I64Load(word))
            }
        };
    }

    /// Stores the value on top of the stack, above an address of 0, as the counter.
    fn pop_counter(&mut self) {
        if let Some(local) = self.locals.counter {
            self.code.instruction(&I::LocalTee(local));
        }
        let word = self.word(COUNTER);
        self.code.instruction(&I::I64Store(word));
    }

    /// Takes over what others counted.
    fn reload(&mut self) {
        if let Some(local) = self.locals.counter {
            let word = self.word(COUNTER);
            self.code.instruction(&I::I32Const(0)).instruction(&I::I64Load(word)).instruction(&I::LocalSet(local));
        }
    }

    fn add(&mut self, units: i64) {
        if units == 0 {
            return;
        }
        self.code.instruction(&I::I32Const(0));
        self.push_counter();
        self.code.instruction(&I::I64Const(units)).instruction(&I::I64Add);
        self.pop_counter();
    }

    /// Stores the true count before the guest's own `unreachable`. An optimising compiler makes a branch to a block that does nothing
    /// but trap into a trap where the branch is, and there the counter lacks something else, unless the block weighs nothing. A store
    /// is something that the block does.
    fn settle(&mut self) {
        self.code.instruction(&I::I32Const(0));
        self.push_counter();
        if self.lacking != 0 {
            self.code.instruction(&I::I64Const(self.lacking)).instruction(&I::I64Add);
        }
        self.pop_counter();
        self.lacks(0);
    }

    /// Stops where the true count is over the limit. Nothing comes back from here, so no register need survive it.
    fn check(&mut self) {
        self.push_counter();
        if self.lacking != 0 {
            self.code.instruction(&I::I64Const(self.lacking)).instruction(&I::I64Add);
        }
        let limit = self.word(LIMIT);
        self.code.instruction(&I::I32Const(0)).instruction(&I::I64Load(limit)).instruction(&I::I64GtU);
        self.stop(Stop::Limit);
    }

    /// Stops where the value on top of the stack is true.
    fn stop(&mut self, stop: Stop) {
        // Some compilers make one trapping instruction of the two operators and say that the first has trapped.
        self.pending.add_stop(self.code.byte_len(), stop);
        self.code.instruction(&I::If(BlockType::Empty));
        self.pending.add_stop(self.code.byte_len(), stop);
        self.code.instruction(&I::Unreachable).instruction(&I::End);
    }

    fn count_frame(&mut self, bytes: u32) {
        let depth = self.half_word(DEPTH);
        self.code.instruction(&I::I32Const(0)).instruction(&I::I32Load(depth));
        self.code.instruction(&I::I32Const(bytes as i32)).instruction(&I::I32Add);
        if let Some(local) = self.locals.depth {
            self.code.instruction(&I::LocalTee(local));
        }
        self.code.instruction(&I::I32Const(DEPTH_MAX as i32)).instruction(&I::I32GtU);
        self.stop(Stop::Depth { frame: bytes });
    }

    /// Tells a function that is about to be called how deep it is called, where it looks.
    fn note_depth(&mut self, op: &Operator<'_>) {
        let imported = self.context.signatures.imported_functions;
        let looks = match op {
            Operator::Call { function_index } => {
                function_index.checked_sub(imported).is_some_and(|index| self.context.frames[index as usize].is_counted())
            }
            Operator::CallIndirect { .. } => true,
            _ => false,
        };
        if let (true, Some(local)) = (looks, self.locals.depth) {
            let depth = self.half_word(DEPTH);
            self.code.instruction(&I::I32Const(0)).instruction(&I::LocalGet(local)).instruction(&I::I32Store(depth));
        }
    }

    /// Charges, before an operator acts, for the size on top of the stack, and stops where that is too much.
    fn pay_by_size(&mut self, op: &Operator<'_>) -> Result<(), MeterError> {
        let Some(size) = self.locals.size else { return Ok(()) };
        let (units, fits) = match op {
            Operator::MemoryGrow { .. } => (GROW_PAGE_UNITS, Some(I::I64Load(self.word(PAGES_MAX)))),
            Operator::TableGrow { table } => {
                let most = self.context.table_elements_max[*table as usize];
                (BULK_ELEMENT_UNITS, Some(I::I64Const(most as i64)))
            }
            op => match size_units(op) {
                Some(units) => (units, None),
                None => return Ok(()),
            },
        };
        self.code.instruction(&I::LocalSet(size)).instruction(&I::I32Const(0));
        self.push_counter();
        self.push_wide(size);
        self.code.instruction(&I::I64Const(units)).instruction(&I::I64Mul);
        if let Some(most) = fits {
            self.push_whether_growth_fits(op, size, &most);
            self.code.instruction(&I::I64Mul);
        }
        self.code.instruction(&I::I64Add);
        self.pop_counter();
        self.check();
        self.code.instruction(&I::LocalGet(size));
        Ok(())
    }

    /// Pushes an i32 local as an i64.
    fn push_wide(&mut self, local: u32) {
        self.code.instruction(&I::LocalGet(local)).instruction(&I::I64ExtendI32U);
    }

    /// Pushes 1 where what grows would stay within the most it may have, else 0: growth that is refused costs its fixed part.
    fn push_whether_growth_fits(&mut self, op: &Operator<'_>, size: u32, most: &I<'_>) {
        self.push_wide(size);
        match op {
            Operator::MemoryGrow { mem } => self.code.instruction(&I::MemorySize(*mem)),
            Operator::TableGrow { table } => self.code.instruction(&I::TableSize(*table)),
            _ => unreachable!("only growth is asked about"),
        };
        self.code.instruction(&I::I64ExtendI32U).instruction(&I::I64Add);
        if matches!(most, I::I64Load(_)) {
            self.code.instruction(&I::I32Const(0));
        }
        self.code.instruction(most).instruction(&I::I64LeU).instruction(&I::I64ExtendI32U);
    }
}
