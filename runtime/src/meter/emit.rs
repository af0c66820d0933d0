//! A metered function: its own operators, with the meter's between them.
//!
//! In a repeated loop the counter is in a local and is stored at each change, so that its chain of additions needs no load and nothing is
//! ever only in a register; elsewhere the word in memory is changed. A check compares the true count, so that where a guest stops does
//! not depend on where updates stand.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{BlockType, BranchHint, Function as Code, Instruction as I, MemArg};
use wasmparser::{FuncType, Operator, ValType};

use super::MeterError;
use super::baseline::{Globals, may_be_host};
use super::blocks::Blocks;
use super::body::{Body, Inlined, Signatures, Step};
use super::calls::{Callees, Entry};
use super::checks::Checks;
use super::debts::Debts;
use super::depths::{Depths, Enter};
use super::graph::{Function, Graph, Site, is_root, pays_by_size};
use super::pending::{Pending, Stop};
use super::pieces::{self, Pieces};
use super::place::Placement;
use super::stack::DEPTH_MAX;
use super::ways::Ways;
use super::weights::{
    BULK_ELEMENT_UNITS, COPIED_BYTE_UNITS, FILLED_BYTE_UNITS, GROW_PAGE_UNITS, accessed_bytes, may_be_merged, stored,
};
use super::words::{COUNTER, DEPTH, LIMIT, PAGES_MAX, UNREAD};
use super::wrappers::{Redirect, Wrappers};

/// What is known of the module while its functions are emitted.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) signatures: &'a Signatures,
    /// What each function that the module defines does when it is entered.
    pub(super) entries: &'a [Entry],
    /// The most elements that each table may have.
    pub(super) table_elements_max: &'a [u64],
    /// The most bytes that the guest's memory may have.
    pub(super) memory_bytes_max: u64,
    /// The index of the meter's own memory.
    pub(super) memory: u32,
    /// The meter's own functions.
    pub(super) pieces: Pieces,
    /// Which functions return what they owe.
    pub(super) debts: &'a Debts,
    /// What calls go to instead, where the module is profiled.
    pub(super) wrappers: Option<Wrappers>,
    /// The meter's globals, in baseline code.
    pub(super) globals: Option<Globals>,
    /// Whether calls through tables may be calls of the host.
    pub(super) tables_have_host: bool,
}

/// A function with what is to be known of it, by offset from its start.
#[derive(Debug)]
pub(super) struct Emitted {
    pub(super) code: Code,
    /// What the counter lacks where.
    pub(super) pending: Pending,
    /// Which way branches hardly ever go.
    pub(super) hints: Vec<BranchHint>,
}

/// Emits the function number `index` of those that the module defines.
pub(super) fn emit(index: usize, mut body: Body<'_>, results: usize, context: &Context<'_>) -> Result<Emitted, MeterError> {
    let entry = context.entries[index];
    let imported_functions = context.signatures.imported_functions;
    let callees = Callees { entries: context.entries, imported_functions, debts: context.debts };
    let (checks, plan) = if context.globals.is_some() {
        let blocks = Blocks::of(&body.steps);
        debug_assert_eq!(blocks, graph_of(&body, results, context, callees, entry).1, "the graph has other blocks");
        (Checks::of(&body.steps, &blocks, callees, entry), Plan::at_blocks(blocks))
    } else {
        let (mut graph, blocks) = graph_of(&body, results, context, callees, entry);
        let checks = Checks::of(&body.steps, &blocks, callees, entry);
        graph.pull(|at| at.map_or(entry.checks_first, |at| checks.is_behind(at)));
        (checks, Plan::new(&graph, &Placement::of(&graph), body.steps.len()))
    };
    let function = imported_functions + index as u32;
    let depths = Depths::of(&body.steps, callees, entry);
    let locals = Locals::add(&mut body, &depths, context);
    let declared = body.locals[body.params as usize..].iter().map(|ty| RoundtripReencoder.val_type(*ty));
    let declared = declared.collect::<Result<Vec<_>, _>>().map_err(MeterError::encode)?;
    let code = Code::new_with_locals_types(declared);
    let mut emitter = Emitter {
        context,
        entry,
        plan,
        checks,
        depths,
        locals,
        is_in_local: false,
        is_load_open: false,
        stores: Ways::new(Stored::Seen, Stored::join),
        code,
        pending: Pending::default(),
        hints: Vec::new(),
        lacking: 0,
        weight: 0,
        open: 0,
        is_returned: context.debts.is_returned(function),
    };

    emitter.begin_returned(context.signatures.function(function))?;
    emitter.prologue();
    let mut repeated = body.repeated.iter().peekable();
    for (at, step) in body.steps.iter().enumerate() {
        if let Some(mend) = &step.mend {
            mend.write(&mut emitter.code, &mut emitter.hints);
        }
        if step.inlined == Inlined::Begins {
            emitter.begin_inlined(function);
        }
        let constant = at.checked_sub(1).and_then(|before| constant(&body.steps[before].op));
        emitter.step(at, step, constant, repeated.peek().is_some_and(|range| range.contains(&at)))?;
        repeated.next_if(|range| *range.end() == at);
    }
    emitter.end_returned();
    let Emitter { code, pending, hints, .. } = emitter;
    Ok(Emitted { code, pending, hints })
}

/// The graph of a function that leaves its callers what `entry` says, and its blocks.
fn graph_of(body: &Body<'_>, results: usize, context: &Context<'_>, callees: Callees<'_>, entry: Entry) -> (Graph, Blocks) {
    let function = Function { steps: &body.steps, results, signatures: context.signatures, callees };
    let graph = Graph::build(function, Some(entry.owes));
    let (first, behind) = graph.block_units(body.steps.len());
    (graph, Blocks { first, behind })
}

/// The updates of one function by where they stand, in units.
struct Plan {
    entry: i64,
    /// What the counter lacks in the function's first block.
    entry_lacking: i64,
    /// What that block weighs.
    entry_weight: i64,
    updates: Planned,
}

/// The updates around the steps of a function.
enum Planned {
    /// Around each step.
    Anywhere(Vec<Updates>),
    /// Where a block begins, what that weighs, so that the counter never lacks anything.
    AtBlocks(Vec<Option<u64>>),
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
        let mut plan = Self { entry: 0, entry_lacking: 0, entry_weight: 0, updates: Planned::AtBlocks(Vec::new()) };
        let mut steps = vec![Updates::default(); steps];
        for (edge, update) in graph.edges.iter().zip(&placement.updates) {
            match edge.site {
                Site::Entry => plan.entry += update,
                Site::Before(at) => steps[at].before += update,
                Site::After(at) => steps[at].after += update,
                Site::Taken(at) => steps[at].taken += update,
                Site::NoElse(at) => steps[at].no_else += update,
            }
        }
        for edge in graph.blocks.iter().map(|block| &graph.edges[*block]) {
            let lacking = placement.potentials[edge.to];
            match edge.site {
                Site::After(at) => steps[at].begins = Some((lacking, edge.weight)),
                _ => (plan.entry_lacking, plan.entry_weight) = (lacking, edge.weight),
            }
        }
        Self { updates: Planned::Anywhere(steps), ..plan }
    }

    /// That of baseline code: each block is paid for where it begins.
    fn at_blocks(Blocks { first, behind }: Blocks) -> Self {
        let first = first.cast_signed();
        Self { entry: first, entry_lacking: 0, entry_weight: first, updates: Planned::AtBlocks(behind) }
    }

    fn around(&self, at: usize) -> Updates {
        match &self.updates {
            Planned::Anywhere(steps) => steps[at],
            Planned::AtBlocks(behind) => behind[at].map_or(Updates::default(), |units| {
                let units = units.cast_signed();
                Updates { after: units, begins: Some((0, units)), ..Updates::default() }
            }),
        }
    }
}

/// The meter's own locals.
#[derive(Debug, Clone, Copy)]
struct Locals {
    /// The counter (i64), in functions with repeated loops.
    counter: Option<u32>,
    /// The depth of this call (i32), in functions that call others which look at it.
    depth: Option<u32>,
    /// A size that is paid for (i32), where the function does that itself.
    size: Option<u32>,
    /// What a called function returned that it owes (i64), where one does.
    debt: Option<u32>,
}

impl Locals {
    fn add(body: &mut Body<'_>, depths: &Depths, context: &Context<'_>) -> Self {
        let debts = context.debts;
        let keeps_counter = context.globals.is_none() && !body.repeated.is_empty();
        let is_own = |op: &Operator<'_>| matches!(op, Operator::MemoryFill { .. } | Operator::MemoryCopy { .. });
        let pays_here = body.steps.iter().any(|step| pays_by_size(&step.op) && !is_own(&step.op));
        let is_told =
            |step: &Step<'_>| matches!(step.op, Operator::CallIndirect { type_index, .. } if debts.of_type(type_index).is_some());
        let is_told = body.steps.iter().any(is_told);
        Self {
            counter: keeps_counter.then(|| body.add_local(ValType::I64)),
            depth: depths.is_noted().then(|| body.add_local(ValType::I32)),
            size: pays_here.then(|| body.add_local(ValType::I32)),
            debt: is_told.then(|| body.add_local(ValType::I64)),
        }
    }
}

/// What an operator costs for each unit of the size on top of the stack; nothing where it pays by no size.
fn size_units(op: &Operator<'_>) -> Option<i64> {
    match op {
        Operator::MemoryFill { .. } => Some(FILLED_BYTE_UNITS),
        Operator::MemoryCopy { .. } | Operator::MemoryInit { .. } => Some(COPIED_BYTE_UNITS),
        Operator::TableFill { .. } | Operator::TableCopy { .. } | Operator::TableInit { .. } => Some(BULK_ELEMENT_UNITS),
        _ => None,
    }
}

/// What an operator pushes, where that is a constant size.
fn constant(op: &Operator<'_>) -> Option<u32> {
    match op {
        Operator::I32Const { value } => Some(value.cast_unsigned()),
        _ => None,
    }
}

/// Writes one of the operators that most of a module is made of, and says whether it was one. The way on which others go copies each and
/// looks at it three times.
fn copy_frequent(code: &mut Code, op: &Operator<'_>) -> bool {
    let memarg =
        |memarg: &wasmparser::MemArg| MemArg { offset: memarg.offset, align: memarg.align.into(), memory_index: memarg.memory };
    let mut sink = code.instructions();
    match op {
        Operator::LocalGet { local_index } => sink.local_get(*local_index),
        Operator::LocalSet { local_index } => sink.local_set(*local_index),
        Operator::LocalTee { local_index } => sink.local_tee(*local_index),
        Operator::I32Const { value } => sink.i32_const(*value),
        Operator::I64Const { value } => sink.i64_const(*value),
        Operator::I32Add => sink.i32_add(),
        Operator::I32Load { memarg: at } => sink.i32_load(memarg(at)),
        Operator::I64Load { memarg: at } => sink.i64_load(memarg(at)),
        Operator::I32Store { memarg: at } => sink.i32_store(memarg(at)),
        Operator::I64Store { memarg: at } => sink.i64_store(memarg(at)),
        Operator::Br { relative_depth } => sink.br(*relative_depth),
        Operator::BrIf { relative_depth } => sink.br_if(*relative_depth),
        _ => return false,
    };
    true
}

/// What was stored last on the ways to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// Nothing, or what something has read since or would be seen after a trap.
    Seen,
    /// What nothing has looked at.
    Unseen {
        /// The step that stored it.
        at: usize,
        /// What the counter lacked there.
        lacking: i64,
    },
}

impl Stored {
    fn join(self, other: Self) -> Self {
        if self == other { self } else { Self::Seen }
    }
}

struct Emitter<'c> {
    context: &'c Context<'c>,
    entry: Entry,
    plan: Plan,
    checks: Checks,
    depths: Depths,
    locals: Locals,
    /// Whether the local has the counter, in a repeated loop.
    is_in_local: bool,
    /// Whether a load stands before in the basic block that could become part of an instruction behind it.
    is_load_open: bool,
    /// The store that the next one could overwrite.
    stores: Ways<Stored>,
    code: Code,
    pending: Pending,
    hints: Vec<BranchHint>,
    /// What the counter lacks where code is emitted now.
    lacking: i64,
    /// What the block weighs that is emitted now.
    weight: i64,
    /// The guest's structured operators that are open.
    open: u32,
    /// Whether the function returns what it owes, and so stands in a block.
    is_returned: bool,
}

impl Emitter<'_> {
    fn prologue(&mut self) {
        self.lacks(0);
        self.add(self.plan.entry);
        self.lacks(self.plan.entry_lacking);
        self.weight = self.plan.entry_weight;
        if self.entry.checks_first {
            self.check();
        }
        if self.depths.is_entered_first() {
            self.enter();
        }
    }

    /// Writes the step number `at`, before which the stack has `constant` on top where that is known.
    fn step(&mut self, at: usize, step: &Step<'_>, constant: Option<u32>, is_repeated: bool) -> Result<(), MeterError> {
        let (op, updates) = (&step.op, self.plan.around(at));
        if updates.before != 0 && !matches!(op, Operator::Unreachable) && !pays_by_size(op) {
            self.add(updates.before);
            self.lacks(self.lacking - updates.before);
        }
        if is_repeated && !self.is_in_local {
            self.load_counter();
        }
        if self.weight != 0 && self.is_moved() && self.surely_traps(op) {
            self.keep_apart();
        }
        if self.is_load_open && matches!(op, Operator::Loop { .. }) {
            self.end_block();
        }
        if updates.no_else != 0 {
            self.code.instruction(&I::Else);
            self.add(updates.no_else);
        }
        match op {
            Operator::BrIf { relative_depth } if updates.taken != 0 => {
                let stored = self.stores.here;
                self.code.instruction(&I::If(BlockType::Empty));
                self.add(updates.taken);
                self.code.instruction(&I::Br(relative_depth + 1)).instruction(&I::End);
                self.stores.here = stored;
            }
            _ => {
                self.keep_store(op);
                let is_done = self.pay_by_size(op, constant, updates.before);
                if self.checks.is_before(at) {
                    self.check();
                } else if may_be_host(op, self.context.signatures.imported_functions, self.context.tables_have_host) {
                    self.show_counter();
                }
                self.nest(at);
                if !is_done {
                    self.operator(op)?;
                }
            }
        }
        if self.is_moved() {
            self.note_access(at, op);
        }
        self.is_in_local = is_repeated;
        if step.inlined == Inlined::Ends {
            self.end_inlined(updates);
        }
        match self.locals.debt.filter(|_| self.returns_debt(op)) {
            Some(debt) => self.add_debt(debt, updates.after),
            None => self.add(updates.after),
        }
        if let Some((lacking, weight)) = updates.begins {
            self.lacks(lacking);
            self.weight = weight;
            if self.checks.is_behind(at) {
                self.check();
            }
        }
        Ok(())
    }

    /// Notes what an operator stores or loads, for what a compiler may make of it.
    fn note_access(&mut self, at: usize, op: &Operator<'_>) {
        if stored(op).is_some() {
            self.stores.here = self.stores.here.map(|_| Stored::Unseen { at, lacking: self.lacking });
        } else if accessed_bytes(op).is_some() || is_root(op) {
            self.sees_stores();
        }
        self.stores.step(op, |_, _| {});
        if may_be_merged(op) {
            self.is_load_open = true;
            if self.lacking != 0 {
                self.end_block();
            }
        }
    }

    /// Writes an operator of the guest's.
    fn operator(&mut self, op: &Operator<'_>) -> Result<(), MeterError> {
        let debts = self.context.debts;
        if copy_frequent(&mut self.code, op) {
            return Ok(());
        }
        match op {
            // The block in which the function stands ends there.
            Operator::Return if self.is_returned => {
                self.code.instruction(&I::Br(self.open));
            }
            Operator::CallIndirect { type_index, table_index } if let Some(ty) = debts.of_type(*type_index) => {
                let debt = self.locals.debt.expect("who calls what returns a debt has a local for it");
                self.code.instruction(&I::CallIndirect { type_index: ty, table_index: *table_index });
                self.code.instruction(&I::LocalSet(debt));
            }
            op => {
                let mut redirect = Redirect(self.context.wrappers);
                self.code.instruction(&redirect.instruction(op.clone()).map_err(MeterError::encode)?);
            }
        }
        match op {
            // Who calls it by name knows what it owes.
            Operator::Call { function_index } if debts.is_returned(*function_index) => {
                self.code.instruction(&I::Drop);
            }
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => self.open += 1,
            Operator::End => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        Ok(())
    }

    /// Begins the block in which a function stands that returns what it owes.
    fn begin_returned(&mut self, ty: &FuncType) -> Result<(), MeterError> {
        if self.is_returned {
            let ty = match ty.results() {
                [] => BlockType::Empty,
                [result, ..] => BlockType::Result(RoundtripReencoder.val_type(*result).map_err(MeterError::encode)?),
            };
            self.code.instruction(&I::Block(ty));
        }
        Ok(())
    }

    /// Returns, behind the block, what the function owes.
    fn end_returned(&mut self) {
        if self.is_returned {
            self.code.instruction(&I::I64Const(self.entry.owes)).instruction(&I::End);
        }
    }

    /// Whether what an operator calls returns what it owes and its callers cannot know.
    fn returns_debt(&self, op: &Operator<'_>) -> bool {
        matches!(op, Operator::CallIndirect { type_index, .. } if self.context.debts.of_type(*type_index).is_some())
    }

    /// From here on the counter lacks `units`.
    fn lacks(&mut self, units: i64) {
        self.lacking = units;
        if self.context.globals.is_some() {
            assert_eq!(units, 0, "baseline code pays for each block where it begins");
            return;
        }
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
        match (self.context.globals, self.locals.counter.filter(|_| self.is_in_local)) {
            (Some(globals), _) => self.code.instruction(&I::GlobalGet(globals.counter())),
            (None, Some(local)) => self.code.instruction(&I::LocalGet(local)),
            (None, None) => {
                let word = self.word(COUNTER);
                self.code.instruction(&I::I32Const(0)).instruction(&I::I64Load(word))
            }
        };
    }

    /// Pushes what [`Self::pop_counter`] needs below the value.
    fn begin_counter(&mut self) {
        if self.context.globals.is_none() {
            self.code.instruction(&I::I32Const(0));
        }
    }

    /// Stores the value on top of the stack as the counter.
    fn pop_counter(&mut self) {
        if let Some(globals) = self.context.globals {
            self.code.instruction(&I::GlobalSet(globals.counter()));
            return;
        }
        if let Some(local) = self.locals.counter.filter(|_| self.is_in_local) {
            self.code.instruction(&I::LocalTee(local));
        }
        let word = self.word(COUNTER);
        self.code.instruction(&I::I64Store(word));
    }

    /// Shows the count to who looks from outside, where it is in a global.
    fn show_counter(&mut self) {
        if let Some(globals) = self.context.globals {
            globals.show(&mut self.code, self.context.memory);
        }
    }

    /// Takes the counter into its local, before a repeated loop.
    fn load_counter(&mut self) {
        if let Some(local) = self.locals.counter {
            let word = self.word(COUNTER);
            self.code.instruction(&I::I32Const(0)).instruction(&I::I64Load(word)).instruction(&I::LocalSet(local));
        }
    }

    fn add(&mut self, units: i64) {
        if units == 0 {
            return;
        }
        self.begin_counter();
        self.push_counter();
        self.code.instructions().i64_const(units).i64_add();
        self.pop_counter();
        self.sees_stores();
    }

    /// Adds what a called function returned that it owes, and `units`.
    fn add_debt(&mut self, debt: u32, units: i64) {
        self.begin_counter();
        self.push_counter();
        self.code.instruction(&I::LocalGet(debt)).instruction(&I::I64Add);
        if units != 0 {
            self.code.instruction(&I::I64Const(units)).instruction(&I::I64Add);
        }
        self.pop_counter();
        self.sees_stores();
    }

    /// Comes to what stands in the place of a call of `function`. The host is told as by a wrapper, with the exact count, where there is one.
    fn begin_inlined(&mut self, function: u32) {
        if self.is_load_open {
            self.end_block();
        }
        if let Some(wrappers) = self.context.wrappers {
            self.add(self.lacking);
            wrappers.tell_begin(&mut self.code, function);
            self.add(-self.lacking);
        }
    }

    /// Leaves it: what the block behind costs is not paid as yet.
    fn end_inlined(&mut self, updates: Updates) {
        if let (Some(wrappers), Some((lacking, weight))) = (self.context.wrappers, updates.begins) {
            wrappers.tell_end(&mut self.code, lacking + updates.after - weight);
        }
    }

    /// Whether a compiler may move traps, take out stores or merge loads.
    fn is_moved(&self) -> bool {
        self.context.globals.is_none()
    }

    /// Whether an operator traps whatever its operands are, and compilers know.
    fn surely_traps(&self, op: &Operator<'_>) -> bool {
        matches!(op, Operator::Unreachable) || accessed_bytes(op).is_some_and(|bytes| bytes > self.context.memory_bytes_max)
    }

    /// Writes a word that nobody reads, before an operator of the guest's that surely traps. An optimising compiler makes a branch to a
    /// block that does nothing but trap into a trap where the branch is, and there the counter lacks something else, unless the block
    /// weighs nothing. A store is something that the block does.
    fn keep_apart(&mut self) {
        let word = self.half_word(UNREAD);
        self.code.instruction(&I::I32Const(0)).instruction(&I::I32Const(1)).instruction(&I::I32Store(word));
    }

    /// Ends the compiler's basic block, which costs no instruction.
    ///
    /// On x86-64 Cranelift makes a load part of the instruction that uses its value, where both are in one block and nothing but
    /// arithmetic stands between them; and then it is that instruction which traps. One that was made of several by a simplification
    /// has no place. So a load ends its block where the counter lacks anything, and is never merged. Where it lacks nothing no place is
    /// needed, but one that says another block would be wrong: arithmetic that is moved out of a loop says that it stands in the loop,
    /// so loads before a loop end their block too.
    fn end_block(&mut self) {
        self.code.instruction(&I::Block(BlockType::Empty)).instruction(&I::End);
        self.is_load_open = false;
    }

    /// Stops where the true count is over the limit. Nothing comes back from here, so no register need survive it.
    fn check(&mut self) {
        self.show_counter();
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
        self.sees_stores();
    }

    /// Something reads what was stored, or shows it by a trap.
    fn sees_stores(&mut self) {
        self.stores.here = self.stores.here.map(|_| Stored::Seen);
    }

    /// Keeps the last store where it is, before a store for which the counter lacks something else.
    ///
    /// Cranelift takes out a store that another to the same place makes useless, where nothing could see it in between. If the place is
    /// bad, it is the other one that traps then. A trap would show what was stored: one that is never reached, and is no code in the
    /// end, is enough.
    fn keep_store(&mut self, op: &Operator<'_>) {
        let is_kept = self.is_moved() && stored(op).is_some();
        let Some(Stored::Unseen { lacking, .. }) = self.stores.here.filter(|_| is_kept) else { return };
        if lacking != self.lacking {
            self.code.instruction(&I::I32Const(0)).instruction(&I::If(BlockType::Empty));
            self.code.instruction(&I::Unreachable).instruction(&I::End);
        }
    }

    /// Learns how deep this call is, and stops where that is too deep.
    fn enter(&mut self) {
        let (depth, frame) = (self.half_word(DEPTH), self.entry.frame);
        match self.context.globals {
            Some(globals) => self.code.instruction(&I::GlobalGet(globals.depth())),
            None => self.code.instruction(&I::I32Const(0)).instruction(&I::I32Load(depth)),
        };
        self.code.instruction(&I::I32Const(frame as i32)).instruction(&I::I32Add);
        if let Some(local) = self.locals.depth {
            self.code.instruction(&I::LocalTee(local));
        }
        self.code.instruction(&I::I32Const(DEPTH_MAX as i32)).instruction(&I::I32GtU);
        self.stop(Stop::Depth { frame });
    }

    /// Does before a step what nesting calls asks for.
    fn nest(&mut self, at: usize) {
        let (Some(local), nesting) = (self.locals.depth, self.depths.before(at)) else { return };
        match nesting.enter {
            Enter::Not => {}
            Enter::Always => self.enter(),
            Enter::Unless => {
                self.code.instruction(&I::LocalGet(local)).instruction(&I::I32Eqz).instruction(&I::If(BlockType::Empty));
                self.enter();
                self.code.instruction(&I::End);
            }
        }
        if nesting.is_noted {
            let depth = self.half_word(DEPTH);
            match self.context.globals {
                Some(globals) => self.code.instruction(&I::LocalGet(local)).instruction(&I::GlobalSet(globals.depth())),
                None => self.code.instruction(&I::I32Const(0)).instruction(&I::LocalGet(local)).instruction(&I::I32Store(depth)),
            };
        }
    }

    /// Charges, before an operator acts, for the size on top of the stack and what else is to be added there, and stops where that is too
    /// much. Says whether the operator is done with that.
    fn pay_by_size(&mut self, op: &Operator<'_>, constant: Option<u32>, update: i64) -> bool {
        let is_inline = matches!(op, Operator::MemoryCopy { .. });
        let constant = constant.filter(|size| is_inline && *size <= pieces::INLINE_BYTES);
        match (op, size_units(op), self.context.pieces.function(op)) {
            (Operator::MemoryGrow { .. }, ..) => {
                let most = I::I64Load(self.word(PAGES_MAX));
                self.pay_for_growth(op, GROW_PAGE_UNITS, &most, update);
            }
            (Operator::TableGrow { table }, ..) => {
                let most = I::I64Const(self.context.table_elements_max[*table as usize] as i64);
                self.pay_for_growth(op, BULK_ELEMENT_UNITS, &most, update);
            }
            // The engine copies so little without a call where it knows the size, so that stays a constant.
            (_, Some(units), Some(_)) if let Some(size) = constant => {
                self.add(update + i64::from(size) * units);
                self.lacks(self.lacking - update);
                self.check();
            }
            (_, Some(_), Some(function)) => {
                self.call_piece(function, update);
                return true;
            }
            (_, Some(units), None) => {
                let size = self.begin_paying(units);
                self.end_paying(size, update);
            }
            _ => {}
        }
        false
    }

    /// Has a function of the meter's own fill or copy, which pays for that and `update`.
    fn call_piece(&mut self, function: u32, update: i64) {
        let units = i32::try_from(update).unwrap_or_else(|_| {
            self.add(update);
            0
        });
        self.lacks(self.lacking - update);
        self.code.instruction(&I::I64Const(pieces::due(units, self.lacking))).instruction(&I::Call(function));
        self.sees_stores();
        if self.is_in_local {
            self.load_counter();
        }
    }

    fn pay_for_growth(&mut self, op: &Operator<'_>, units: i64, most: &I<'_>, update: i64) {
        let size = self.begin_paying(units);
        self.push_whether_growth_fits(op, size, most);
        self.code.instruction(&I::I64Mul);
        self.end_paying(size, update);
    }

    /// Takes the size off the stack, and pushes an address of 0, the counter, and `units` for each of the size.
    fn begin_paying(&mut self, units: i64) -> u32 {
        let size = self.locals.size.expect("who pays by a size has a local for it");
        self.code.instruction(&I::LocalSet(size));
        self.begin_counter();
        self.push_counter();
        self.push_wide(size);
        self.code.instruction(&I::I64Const(units)).instruction(&I::I64Mul);
        size
    }

    /// Pays what is on top of the stack, with `update`, looks at the limit, and pushes the size again.
    fn end_paying(&mut self, size: u32, update: i64) {
        self.code.instruction(&I::I64Add);
        if update != 0 {
            self.code.instruction(&I::I64Const(update)).instruction(&I::I64Add);
        }
        self.pop_counter();
        self.lacks(self.lacking - update);
        self.check();
        self.code.instruction(&I::LocalGet(size));
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
