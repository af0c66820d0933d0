//! Neighbouring stores that share one test.
//!
//! A sum is a NaN if one of its terms is, so several values are tested by one comparison. Seldom are they known before the first is
//! stored: between the stores stand loads. So they are stored as they are, tested behind the last store, and stored again, canonical,
//! where the sum is a NaN, which may also be because infinities met. That is sound if nobody sees what was stored meanwhile:
//!
//! - nothing branches, calls, or is called between the first store and the test;
//! - what is loaded or stored between overlaps none of the stores, by addresses that differ by a constant;
//! - nothing between traps: another access at the same address was fine that reached as far. Memory does not shrink.
//!
//! So code is followed in straight lines, with addresses as the sum of an unknown and a constant.

use std::collections::HashMap;
use std::ops::Range;

use wasmparser::{MemArg, Operator, ValType};

use super::super::body::Body;
use super::super::weights::{Class, class, loaded, stored};
use super::flow::{Assigned, NoModule, SIZE_MIN, SIZE_PER_STEP};
use super::graph::{Form, Holder, Insertion};
use super::mend::Stored;

/// Stores that share a test, at most: as many more values stay in registers until then.
pub(super) const STORES_MAX: usize = 4;

/// Deeper blocks know nothing of what is around them, which bounds what is kept of it.
const FRAMES_MAX: usize = 64;
/// The most that a block knows of what is around it.
const KNOWN_MAX: usize = 64;

/// Stores that share a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) form: Form,
    /// The steps that store, with what the test has to know of them.
    pub(super) stores: Vec<(u32, Stored)>,
    /// The step before which the test stands.
    pub(super) test: u32,
}

/// The groups of a body, in its order, among its canonicalisations, which are sorted by step.
pub(super) fn groups(body: &Body<'_>, insertions: &[Insertion]) -> Vec<Group> {
    let size_max = SIZE_MIN + SIZE_PER_STEP * body.steps.len();
    let Some(assigned) = Assigned::new(body, size_max, |ty| ty == ValType::I32) else { return Vec::new() };
    let mut line = Line::new(&body.locals, assigned);
    let mut insertions = insertions.iter().filter(|insertion| insertion.holder == Holder::Top).peekable();
    for (at, step) in body.steps.iter().enumerate() {
        while insertions.next_if(|insertion| (insertion.step as usize) < at).is_some() {}
        let form = insertions.peek().filter(|insertion| insertion.step as usize == at).map(|insertion| insertion.form);
        line.step(at as u32, &step.op, form);
    }
    line.groups
}

/// An integer: an unknown, by number, and what is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Sum {
    unknown: u32,
    constant: u32,
}

/// An operand.
#[derive(Debug, Clone, Copy)]
struct Slot {
    value: Sum,
    /// The local that it was read from or written to.
    local: Option<u32>,
}

/// An access to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Access {
    address: Sum,
    offset: u64,
    bytes: u64,
}

impl Access {
    fn end(self) -> u64 {
        self.offset + self.bytes
    }

    /// Whether two accesses that do not trap surely touch different bytes. They end within 4 GiB, so where they begin may be compared
    /// modulo 4 GiB.
    fn is_apart(self, other: Self) -> bool {
        let start = |access: Self| u64::from(access.address.constant) + access.offset;
        let distance = start(other).wrapping_sub(start(self)) & u64::from(u32::MAX);
        self.address.unknown == other.address.unknown && distance >= self.bytes && distance + other.bytes <= 1 << 32
    }
}

/// A store whose value was not tested yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    step: u32,
    access: Access,
    stored: Stored,
}

/// What is known on all ways to here.
#[derive(Debug, Default, Clone)]
struct Known {
    /// What locals hold.
    locals: HashMap<u32, Sum>,
    /// How far an access reached from an address without a trap.
    ends: HashMap<Sum, u64>,
}

/// A block that is open.
#[derive(Debug)]
struct Frame {
    /// What was known before it.
    before: Known,
    /// The locals that it assigns, in [`Assigned`].
    assigned: Range<usize>,
}

/// A walk along the code.
#[derive(Debug)]
struct Line<'b> {
    /// The type of each local.
    types: &'b [ValType],
    assigned: Assigned,
    frames: Vec<Frame>,
    unknowns: u32,
    /// The uppermost operands.
    stack: Vec<Slot>,
    known: Known,
    open: Vec<Open>,
    form: Option<Form>,
    groups: Vec<Group>,
}

impl<'b> Line<'b> {
    fn new(types: &'b [ValType], assigned: Assigned) -> Self {
        Self {
            types,
            assigned,
            frames: Vec::new(),
            unknowns: 0,
            stack: Vec::new(),
            known: Known::default(),
            open: Vec::new(),
            form: None,
            groups: Vec::new(),
        }
    }

    /// Goes over an operator, on whose topmost operand a canonicalisation of `form` is to be.
    fn step(&mut self, at: u32, op: &Operator<'_>, form: Option<Form>) {
        match op {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                self.end(at);
                self.enter(matches!(op, Operator::Loop { .. }));
            }
            Operator::Else => {
                self.end(at);
                self.known = self.frames.last().expect("an else has its if").before.clone();
            }
            Operator::End => {
                self.end(at);
                self.leave();
            }
            Operator::LocalGet { local_index } => {
                let value = self.local(*local_index);
                self.stack.push(Slot { value, local: Some(*local_index) });
            }
            Operator::LocalSet { local_index } => self.set_local(at, *local_index),
            Operator::LocalTee { local_index } => {
                self.set_local(at, *local_index);
                let value = self.local(*local_index);
                self.stack.push(Slot { value, local: Some(*local_index) });
            }
            Operator::I32Const { value } => self.push(Sum { unknown: 0, constant: *value as u32 }),
            Operator::I32Add => self.add(),
            op => {
                let arity = op.operator_arity(&NoModule);
                match (stored(op), loaded(op), arity) {
                    (Some(memarg), ..) => self.store(at, memarg, form),
                    (_, Some(memarg), Some((takes, _))) => self.load(at, memarg, takes),
                    (None, None, Some((takes, leaves))) if is_plain(op) => {
                        (0..takes).for_each(|_| {
                            self.pop();
                        });
                        (0..leaves).for_each(|_| self.push_unknown());
                    }
                    _ => self.end(at),
                }
            }
        }
    }

    fn unknown(&mut self) -> Sum {
        // The number 0 is that of constants.
        self.unknowns += 1;
        Sum { unknown: self.unknowns, constant: 0 }
    }

    fn push(&mut self, value: Sum) {
        self.stack.push(Slot { value, local: None });
    }

    fn push_unknown(&mut self) {
        let value = self.unknown();
        self.push(value);
    }

    fn pop(&mut self) -> Slot {
        self.stack.pop().unwrap_or_else(|| Slot { value: self.unknown(), local: None })
    }

    fn local(&mut self, local: u32) -> Sum {
        if self.types[local as usize] != ValType::I32 {
            return self.unknown();
        }
        if let Some(value) = self.known.locals.get(&local) {
            return *value;
        }
        let value = self.unknown();
        self.known.locals.insert(local, value);
        value
    }

    fn set_local(&mut self, at: u32, local: u32) {
        if self.open.iter().any(|open| open.stored.address == local) {
            self.test(at);
        }
        let value = self.pop().value;
        if self.types[local as usize] == ValType::I32 {
            self.known.locals.insert(local, value);
        }
    }

    fn add(&mut self) {
        let (b, a) = (self.pop().value, self.pop().value);
        match (a.unknown, b.unknown) {
            (0, _) | (_, 0) => self.push(Sum { unknown: a.unknown | b.unknown, constant: a.constant.wrapping_add(b.constant) }),
            _ => self.push_unknown(),
        }
    }

    fn load(&mut self, at: u32, memarg: &MemArg, takes: u32) {
        // A lane is loaded into a vector that lies above the address.
        let addresses = (0..takes).map(|_| self.pop()).last();
        if let Some(Slot { value, .. }) = addresses {
            self.access(at, access(value, memarg));
        }
        self.push_unknown();
    }

    fn store(&mut self, at: u32, memarg: &MemArg, form: Option<Form>) {
        self.pop();
        let Slot { value, local } = self.pop();
        let access = access(value, memarg);
        let local = local.filter(|local| self.known.locals.get(local) == Some(&value));
        let Some((form, local)) = form.filter(|form| form.is_scalar()).zip(local) else { return self.access(at, access) };
        if self.open.len() == STORES_MAX || self.form != Some(form) {
            self.test(at);
        }
        self.access(at, access);
        self.form = Some(form);
        self.open.push(Open { step: at, access, stored: Stored { address: local, offset: memarg.offset } });
    }

    /// Goes over an access, behind the test if it could see what is untested or trap.
    fn access(&mut self, at: u32, access: Access) {
        let is_fine = self.known.ends.get(&access.address).is_some_and(|end| access.end() <= *end);
        if !is_fine || !self.open.iter().all(|open| open.access.is_apart(access)) {
            self.test(at);
        }
        let end = self.known.ends.entry(access.address).or_default();
        *end = access.end().max(*end);
    }

    /// Has what is open tested before a step.
    fn test(&mut self, at: u32) {
        let open = std::mem::take(&mut self.open);
        if let (Some(form), true) = (self.form.take(), open.len() > 1) {
            let stores = open.into_iter().map(|open| (open.step, open.stored)).collect();
            self.groups.push(Group { form, stores, test: at });
        }
    }

    /// Ends the straight line before a step. What is known does not end: it is true wherever this step leads, until it is left.
    fn end(&mut self, at: u32) {
        self.test(at);
        self.stack.clear();
    }

    fn enter(&mut self, is_loop: bool) {
        let assigned = self.assigned.next();
        if self.frames.len() >= FRAMES_MAX || self.known.locals.len() + self.known.ends.len() > KNOWN_MAX {
            self.known = Known::default();
        }
        if is_loop {
            self.forget(&assigned);
        }
        self.frames.push(Frame { before: self.known.clone(), assigned });
    }

    /// Whoever comes to the end of a block came by its beginning.
    fn leave(&mut self) {
        let Some(Frame { before, assigned }) = self.frames.pop() else { return };
        self.known = before;
        self.forget(&assigned);
    }

    fn forget(&mut self, assigned: &Range<usize>) {
        for local in self.assigned.locals(assigned) {
            self.known.locals.remove(local);
        }
    }
}

fn access(address: Sum, memarg: &MemArg) -> Access {
    Access { address, offset: memarg.offset, bytes: 1 << memarg.max_align }
}

/// Whether an operator only makes values of its operands, and does not trap.
fn is_plain(op: &Operator<'_>) -> bool {
    use Class as C;
    matches!(op, Operator::Drop)
        || matches!(
            class(op),
            C::Register | C::Integer | C::IntegerMultiply | C::FloatAdd | C::Float | C::FloatDivide | C::FloatRoot | C::Select
        )
}
