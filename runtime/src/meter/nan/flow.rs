//! Follows values through a body: operand stack, locals, labels.

use std::ops::Range;

use wasmparser::{BlockType, ModuleArity, Operator, ValType};

use super::super::body::{Body, Signatures};
use super::facts::Facts;
use super::graph::{Graph, Holder, Place, Value};
use super::operators::{Grain, Makes, Parts, Use, effect};

/// How large the graph of a body may become, per step. Real code has two to three values and uses per step; nests of blocks that all
/// set many locals could have thousands, and are treated without a graph.
pub(super) const SIZE_PER_STEP: usize = 16;
/// The same, for short bodies.
pub(super) const SIZE_MIN: usize = 1024;

/// The graph of a body; `None` if it is too large, or the body has control flow that no profile of ours allows.
pub(super) fn follow(body: &Body<'_>, signatures: &Signatures) -> Option<Graph> {
    let size_max = SIZE_MIN + SIZE_PER_STEP * body.steps.len();
    let assigned = Assigned::new(body, size_max, is_float)?;
    let mut flow = Flow {
        body,
        signatures,
        assigned,
        graph: Graph::new(),
        stack: Vec::new(),
        locals: initial_locals(body),
        frames: vec![Frame::function()],
        live: true,
        loops: 0,
    };
    for step in 0..body.steps.len() {
        flow.step(step as u32)?;
        if flow.graph.size() > size_max {
            return None;
        }
    }
    Some(flow.graph)
}

/// Parameters hold whatever the caller passed; the other locals are zero.
fn initial_locals(body: &Body<'_>) -> Vec<Value> {
    (0..body.locals.len()).map(|local| if local < body.params as usize { Value::EXACT } else { Value::PLAIN }).collect()
}

fn is_float(ty: ValType) -> bool {
    matches!(ty, ValType::F32 | ValType::F64 | ValType::V128)
}

/// How many operands operators take that are the same in every module.
pub(super) struct NoModule;

impl ModuleArity for NoModule {
    fn tag_type_arity(&self, _: u32) -> Option<(u32, u32)> {
        None
    }
    fn type_index_of_function(&self, _: u32) -> Option<u32> {
        None
    }
    fn sub_type_at(&self, _: u32) -> Option<&wasmparser::SubType> {
        None
    }
    fn func_type_of_cont_type(&self, _: &wasmparser::ContType) -> Option<&wasmparser::FuncType> {
        None
    }
    fn sub_type_of_ref_type(&self, _: &wasmparser::RefType) -> Option<&wasmparser::SubType> {
        None
    }
    fn control_stack_height(&self) -> u32 {
        0
    }
    fn label_block(&self, _: u32) -> Option<(BlockType, wasmparser::FrameKind)> {
        None
    }
}

/// An operand.
#[derive(Debug, Clone, Copy)]
struct Slot {
    value: Value,
    /// The step after which it lay on top.
    pushed: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    Block,
    Loop,
    If,
    Else,
}

/// An open block.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    ty: BlockType,
    /// Whether the code before it runs on into it.
    entered: bool,
    /// The step that opened it.
    step: u32,
    /// The operands below its parameters.
    height: usize,
    /// The locals that it assigns, in [`Assigned`].
    assigned: Range<usize>,
    /// Of an `if`: what the assigned locals held, and the parameters, for the other arm.
    entry: Option<Entry>,
    /// What arrives at the label; `None` as long as nobody branches to it.
    label: Option<Label>,
}

#[derive(Debug, Clone)]
struct Entry {
    locals: Vec<Value>,
    params: Vec<Slot>,
}

/// The values that arrive at a label.
#[derive(Debug, Clone)]
struct Label {
    operands: Vec<Value>,
    /// Parallel to the locals that the block assigns.
    locals: Vec<Value>,
}

impl Frame {
    fn function() -> Self {
        Self {
            kind: Kind::Function,
            ty: BlockType::Empty,
            entered: true,
            step: 0,
            height: 0,
            assigned: 0..0,
            entry: None,
            label: None,
        }
    }
}

struct Flow<'b, 'a> {
    body: &'b Body<'a>,
    signatures: &'b Signatures,
    assigned: Assigned,
    graph: Graph,
    stack: Vec<Slot>,
    /// What each local holds.
    locals: Vec<Value>,
    frames: Vec<Frame>,
    /// Whether the code can be reached.
    live: bool,
    /// How many loops are around.
    loops: u32,
}

impl<'b, 'a> Flow<'b, 'a> {
    fn step(&mut self, step: u32) -> Option<()> {
        let body = self.body;
        let op = &body.steps[step as usize].op;
        match op {
            Operator::Block { blockty } => self.open(Kind::Block, *blockty, step),
            Operator::Loop { blockty } => self.open(Kind::Loop, *blockty, step),
            Operator::If { blockty } => {
                self.pop();
                self.open(Kind::If, *blockty, step);
            }
            Operator::Else => self.turn(step),
            Operator::End => self.close(step),
            _ if !self.live => {}
            Operator::Unreachable => self.live = false,
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth, step);
                self.live = false;
            }
            Operator::BrIf { relative_depth } => {
                self.pop();
                self.branch(*relative_depth, step);
            }
            Operator::BrTable { targets } => {
                self.pop();
                self.branch_to_each(targets, step)?;
                self.live = false;
            }
            Operator::Return => {
                self.leave();
                self.live = false;
            }
            Operator::Call { function_index } => self.call(self.signatures.function(*function_index), step),
            Operator::CallIndirect { type_index, .. } => {
                self.pop();
                self.call(&self.signatures.types[*type_index as usize], step);
            }
            Operator::Drop => {
                self.pop();
            }
            Operator::Select | Operator::TypedSelect { .. } => self.select(step),
            Operator::LocalGet { local_index } => self.push(self.locals[*local_index as usize], step),
            Operator::LocalSet { local_index } => {
                let slot = self.pop();
                self.set_local(*local_index, slot.value);
            }
            Operator::LocalTee { local_index } => {
                let slot = self.pop();
                self.set_local(*local_index, slot.value);
                self.push(slot.value, step);
            }
            // Exceptions, which no profile of ours allows.
            Operator::TryTable { .. } | Operator::Try { .. } | Operator::ThrowRef | Operator::Rethrow { .. } => return None,
            _ => self.plain(op, step)?,
        }
        Some(())
    }

    fn push(&mut self, value: Value, step: u32) {
        self.stack.push(Slot { value, pushed: step });
    }

    fn pop(&mut self) -> Slot {
        let bottom = Slot { value: Value::EXACT, pushed: 0 };
        if self.live { self.stack.pop().expect("the module was validated") } else { bottom }
    }

    fn set_local(&mut self, local: u32, value: Value) {
        self.locals[local as usize] = value;
    }

    fn place(&self, step: u32, holder: Holder) -> Place {
        Place { step, holder, loops: self.loops }
    }

    /// Where an operand can be canonicalised that others may lie above.
    fn place_of(&self, slot: Slot) -> Place {
        self.place(slot.pushed + 1, Holder::Top)
    }

    /// An operator without control flow.
    fn plain(&mut self, op: &Operator<'_>, step: u32) -> Option<()> {
        let Some(effect) = effect(op) else { return self.opaque(op, step) };
        let operands = self.stack.split_off(self.stack.len() - effect.uses.len());
        let made = self.place(step + 1, Holder::Top);
        let result = match effect.makes {
            Makes::Bits => Value::EXACT,
            Makes::Fixed(facts) => Value::fixed(facts),
            Makes::Arithmetic { lanes, vector } => self.graph.add_arithmetic(lanes, vector, made),
            Makes::Parts(parts) => self.graph.add_parts(parts, Some(made)),
        };
        for (i, (slot, usage)) in operands.iter().zip(effect.uses).enumerate() {
            let is_top = i + 1 == operands.len();
            let place = if is_top { self.place(step, Holder::Top) } else { self.place_of(*slot) };
            match usage {
                Use::Bits => self.graph.use_bits(slot.value, place),
                Use::Numbers(lanes) => self.graph.use_numbers(slot.value, *lanes, place),
                Use::Part => self.graph.use_part(slot.value, result, place),
            }
        }
        self.push(result, step);
        Some(())
    }

    /// An operator that looks at the bits of all operands, and leaves results that are the same on every machine.
    fn opaque(&mut self, op: &Operator<'_>, step: u32) -> Option<()> {
        let (takes, leaves) = op.operator_arity(&NoModule)?;
        self.look_at_top(takes as usize, step);
        self.stack.truncate(self.stack.len() - takes as usize);
        for _ in 0..leaves {
            self.push(Value::EXACT, step);
        }
        Some(())
    }

    /// The bits of the uppermost operands are seen by the operator at `step`.
    fn look_at_top(&mut self, count: usize, step: u32) {
        let first = self.stack.len() - count;
        for i in first..self.stack.len() {
            let slot = self.stack[i];
            let place = if i + 1 == self.stack.len() { self.place(step, Holder::Top) } else { self.place_of(slot) };
            self.graph.use_bits(slot.value, place);
        }
    }

    fn call(&mut self, ty: &wasmparser::FuncType, step: u32) {
        // The operand on top may be the index of an indirect call, which is popped already; so places are where operands were pushed.
        let first = self.stack.len() - ty.params().len();
        for slot in self.stack.split_off(first) {
            let place = self.place_of(slot);
            self.graph.use_bits(slot.value, place);
        }
        for _ in ty.results() {
            self.push(Value::EXACT, step);
        }
    }

    fn select(&mut self, step: u32) {
        self.pop();
        let (b, a) = (self.pop(), self.pop());
        if a.value == b.value {
            return self.push(a.value, step);
        }
        let vector = self.graph.is_vector(a.value) || self.graph.is_vector(b.value);
        let made = self.place(step + 1, Holder::Top);
        let result = self.graph.add_parts(whole(vector), Some(made));
        for slot in [a, b] {
            let place = self.place_of(slot);
            self.graph.use_part(slot.value, result, place);
        }
        self.push(result, step);
    }

    /// The types that a block takes.
    fn params(&self, ty: BlockType) -> &'b [ValType] {
        match ty {
            BlockType::FuncType(index) => self.signatures.types[index as usize].params(),
            BlockType::Empty | BlockType::Type(_) => &[],
        }
    }

    /// The types that a block leaves.
    fn results(&self, ty: BlockType) -> Vec<ValType> {
        match ty {
            BlockType::Empty => Vec::new(),
            BlockType::Type(ty) => vec![ty],
            BlockType::FuncType(index) => self.signatures.types[index as usize].results().to_vec(),
        }
    }

    fn open(&mut self, kind: Kind, ty: BlockType, step: u32) {
        let assigned = self.assigned.next();
        let mut frame =
            Frame { kind, ty, entered: self.live, step, height: self.stack.len(), assigned, entry: None, label: None };
        if self.live {
            let params = self.params(ty).len();
            frame.height -= params;
            match kind {
                Kind::If => frame.entry = Some(self.entry(&frame)),
                Kind::Loop => frame.label = Some(self.enter_loop(&frame)),
                _ => {}
            }
        }
        self.loops += u32::from(kind == Kind::Loop);
        self.frames.push(frame);
    }

    fn entry(&self, frame: &Frame) -> Entry {
        let locals = self.assigned.locals(&frame.assigned).iter().map(|local| self.locals[*local as usize]).collect();
        Entry { locals, params: self.stack[frame.height..].to_vec() }
    }

    /// Whatever a loop assigns may come from before it or from its last turn.
    fn enter_loop(&mut self, frame: &Frame) -> Label {
        let label = self.label(self.params(frame.ty), &frame.assigned);
        self.arrive(&label, &frame.assigned, frame.step);
        self.loops += 1;
        self.take_over(&label, frame, frame.step);
        self.loops -= 1;
        label
    }

    /// Makes the values of a label.
    fn label(&mut self, operands: &[ValType], assigned: &Range<usize>) -> Label {
        let operands: Vec<Value> = operands.iter().map(|ty| self.arrival(*ty)).collect();
        if let Some((_, lower)) = operands.split_last() {
            lower.iter().for_each(|value| self.graph.pin(*value));
        }
        let types: Vec<ValType> = self.assigned.locals(assigned).iter().map(|local| self.body.locals[*local as usize]).collect();
        Label { operands, locals: types.into_iter().map(|ty| self.arrival(ty)).collect() }
    }

    fn arrival(&mut self, ty: ValType) -> Value {
        if is_float(ty) { self.graph.add_parts(whole(ty == ValType::V128), None) } else { Value::EXACT }
    }

    /// What the uppermost operands and the assigned locals hold now arrives at a label. `step` is the branch.
    fn arrive(&mut self, label: &Label, assigned: &Range<usize>, step: u32) {
        let first = self.stack.len() - label.operands.len();
        for (i, to) in label.operands.iter().enumerate() {
            let slot = self.stack[first + i];
            let place = self.place_of(slot);
            self.graph.use_part(slot.value, *to, place);
        }
        for (i, to) in label.locals.iter().enumerate() {
            let local = self.assigned.locals(assigned)[i];
            let place = self.place(step, Holder::Local(local));
            self.graph.use_part(self.locals[local as usize], *to, place);
        }
    }

    /// Code goes on behind the label of `frame`, which stands at `step`.
    fn take_over(&mut self, label: &Label, frame: &Frame, step: u32) {
        self.stack.truncate(frame.height);
        for value in &label.operands {
            self.push(*value, step);
        }
        if let Some(top) = label.operands.last() {
            let origin = self.place(step + 1, Holder::Top);
            self.graph.set_origin(*top, origin);
        }
        for (i, value) in label.locals.iter().enumerate() {
            let local = self.assigned.locals(&frame.assigned)[i];
            self.locals[local as usize] = *value;
            let origin = self.place(step + 1, Holder::Local(local));
            self.graph.set_origin(*value, origin);
        }
    }

    fn branch(&mut self, depth: u32, step: u32) {
        self.branch_to_frame(self.frames.len() - 1 - depth as usize, step);
    }

    fn branch_to_frame(&mut self, target: usize, step: u32) {
        let frame = &mut self.frames[target];
        if frame.kind == Kind::Function {
            return self.leave();
        }
        let (assigned, ty) = (frame.assigned.clone(), frame.ty);
        let label = match frame.label.take() {
            Some(label) => label,
            None => self.label(&self.results(ty), &assigned),
        };
        self.arrive(&label, &assigned, step);
        self.frames[target].label = Some(label);
    }

    fn branch_to_each(&mut self, targets: &wasmparser::BrTable<'_>, step: u32) -> Option<()> {
        let mut depths: Vec<u32> = targets.targets().collect::<Result<_, _>>().ok()?;
        depths.push(targets.default());
        depths.sort_unstable();
        depths.dedup();
        for depth in depths {
            self.branch(depth, step);
        }
        Some(())
    }

    /// The function's results are seen by its caller. They lie on top, and at the function's `end` there is nothing else; operands
    /// that a `return` leaves behind are rare enough to be treated like results.
    fn leave(&mut self) {
        for i in 0..self.stack.len() {
            let slot = self.stack[i];
            let place = self.place_of(slot);
            self.graph.use_bits(slot.value, place);
        }
    }

    /// An `else`.
    fn turn(&mut self, step: u32) {
        let top = self.frames.len() - 1;
        if !self.frames[top].entered {
            return;
        }
        if self.live {
            self.branch_to_frame(top, step);
        }
        let frame = &mut self.frames[top];
        frame.kind = Kind::Else;
        let entry = frame.entry.take().expect("the module was validated");
        self.stack.truncate(frame.height);
        self.stack.extend(&entry.params);
        for (local, value) in self.assigned.locals(&frame.assigned).iter().zip(&entry.locals) {
            self.locals[*local as usize] = *value;
        }
        self.live = true;
    }

    /// An `end`.
    fn close(&mut self, step: u32) {
        let mut frame = self.frames.pop().expect("the module was validated");
        self.loops -= u32::from(frame.kind == Kind::Loop);
        if !frame.entered {
            return;
        }
        match frame.kind {
            Kind::Function if self.live => return self.leave(),
            Kind::Function | Kind::Loop => return,
            Kind::If => self.skip(&mut frame),
            Kind::Block | Kind::Else => {}
        }
        if let Some(label) = frame.label.take() {
            if self.live {
                self.arrive(&label, &frame.assigned, step);
            }
            self.take_over(&label, &frame, step);
            self.live = true;
        }
    }

    /// The missing arm of an `if`: everything is as it was before.
    fn skip(&mut self, frame: &mut Frame) {
        let label = match frame.label.take() {
            Some(label) => label,
            None => self.label(&self.results(frame.ty), &frame.assigned),
        };
        let entry = frame.entry.take().expect("the module was validated");
        for (slot, to) in entry.params.iter().zip(&label.operands) {
            let place = self.place_of(*slot);
            self.graph.use_part(slot.value, *to, place);
        }
        for (i, to) in label.locals.iter().enumerate() {
            let local = self.assigned.locals(&frame.assigned)[i];
            let place = self.place(frame.step, Holder::Local(local));
            self.graph.use_part(entry.locals[i], *to, place);
        }
        frame.label = Some(label);
    }
}

/// One of several whole values.
fn whole(vector: bool) -> Parts {
    Parts { grain: Grain::Whole, kept: Facts::ALL, compared: false, vector }
}

/// The locals of some types that each block assigns, in the order in which blocks open. Others hold at its end what they held at its
/// start.
#[derive(Debug)]
pub(super) struct Assigned {
    blocks: Vec<Range<usize>>,
    locals: Vec<u32>,
    opened: usize,
}

impl Assigned {
    /// `None` if the lists would be longer than `size_max` together.
    pub(super) fn new(body: &Body<'_>, size_max: usize, is_of_type: fn(ValType) -> bool) -> Option<Self> {
        let (mut blocks, mut locals) = (Vec::new(), Vec::new());
        // The blocks that are open, each with what it assigns so far; the first is the function.
        let mut open: Vec<(usize, Vec<u32>)> = vec![(usize::MAX, Vec::new())];
        for step in &body.steps {
            match &step.op {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    open.push((blocks.len(), Vec::new()));
                    blocks.push(0..0);
                }
                Operator::End => {
                    let (block, mut assigned) = open.pop().expect("the module was validated");
                    let Some((_, around)) = open.last_mut() else { break };
                    assigned.sort_unstable();
                    assigned.dedup();
                    around.extend(&assigned);
                    blocks[block] = locals.len()..locals.len() + assigned.len();
                    locals.append(&mut assigned);
                    if locals.len() > size_max {
                        return None;
                    }
                }
                Operator::LocalSet { local_index } | Operator::LocalTee { local_index }
                    if is_of_type(body.locals[*local_index as usize]) =>
                {
                    open.last_mut().expect("the module was validated").1.push(*local_index);
                }
                _ => {}
            }
        }
        Some(Self { blocks, locals, opened: 0 })
    }

    /// What the block assigns that opens next.
    pub(super) fn next(&mut self) -> Range<usize> {
        self.opened += 1;
        self.blocks[self.opened - 1].clone()
    }

    pub(super) fn locals(&self, block: &Range<usize>) -> &[u32] {
        &self.locals[block.clone()]
    }
}
