//! How deep calls may nest: counted by the pass, so that exhaustion comes at the same call under every compiler and on every machine.
//!
//! A function's *nominal frame* is a number of bytes that its module alone decides. A caller notes its own depth before each call;
//! the callee adds its frame and stops where the sum is over [`DEPTH_MAX`]. Nothing is undone on return, because whoever calls next
//! notes its depth anew. A function that calls no other and has a small frame neither counts nor is counted.
//!
//! The native stack is sixteen times [`DEPTH_MAX`], so that it does not end first. One kind of function breaks that: an optimising
//! compiler may keep hundreds of loop-invariant values in the frame of a recursive function, which locals and operands do not count.
//! Such a guest ends in the same outcome, at a depth that depends on the compiler.

use wasmparser::{BlockType, ModuleArity, Operator, SubType, ValType};

use super::body::{Body, Signatures, Step};

/// How deep calls may nest, in nominal bytes: some ten thousand calls of ordinary functions.
pub const DEPTH_MAX: u32 = 4 << 20;
/// Return address, saved registers, and what compilers align to.
const FRAME_BASE: u32 = 64;
/// A function that calls no other counts its frame only from here on. The native stack has room for one such frame beyond the limit.
const LEAF_FRAME_MAX: u32 = 64 << 10;

/// What a function needs of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Nominal bytes.
    pub(super) bytes: u32,
    /// Whether it calls a function of the guest's own.
    pub(super) calls: bool,
}

impl Frame {
    /// The frame of a function as it was written.
    pub(super) fn of(body: &Body<'_>, signatures: &Signatures) -> Self {
        let calls = body.steps.iter().any(|step| calls_guest(&step.op, signatures));
        let locals: u64 = body.locals.iter().map(|ty| u64::from(value_bytes(*ty))).sum();
        // Whether an operand is a vector is not followed; there are few.
        let operands = 8 * u64::from(operands_max(&body.steps, signatures));
        let bytes = u64::from(FRAME_BASE) + locals + operands;
        Self { bytes: u32::try_from(bytes).unwrap_or(u32::MAX).min(DEPTH_MAX + 1), calls }
    }

    /// Whether the function looks at the depth when it is entered.
    pub(super) fn is_counted(self) -> bool {
        self.calls || self.bytes > LEAF_FRAME_MAX
    }
}

/// Whether an operator calls what may be a function of the guest's own.
fn calls_guest(op: &Operator<'_>, signatures: &Signatures) -> bool {
    match op {
        Operator::Call { function_index } => *function_index >= signatures.imported_functions,
        Operator::CallIndirect { .. } => true,
        _ => false,
    }
}

fn value_bytes(ty: ValType) -> u32 {
    if ty == ValType::V128 { 16 } else { 8 }
}

/// The most operands that a function has on the stack at once.
fn operands_max(steps: &[Step<'_>], signatures: &Signatures) -> u32 {
    let mut stack = Operands { height: 0, most: 0, frames: vec![(0, BlockType::Empty)] };
    for step in steps {
        stack.step(&step.op, signatures);
    }
    stack.most
}

/// Follows the height of the operand stack. In code that is not reached it may be too high, never too low.
struct Operands {
    height: u32,
    most: u32,
    /// The height below each open block's parameters, and its type.
    frames: Vec<(u32, BlockType)>,
}

impl Operands {
    fn step(&mut self, op: &Operator<'_>, signatures: &Signatures) {
        match op {
            Operator::Block { blockty } | Operator::Loop { blockty } => self.open(*blockty, signatures),
            Operator::If { blockty } => {
                self.pop(1);
                self.open(*blockty, signatures);
            }
            Operator::Else => {
                if let Some(&(base, ty)) = self.frames.last() {
                    self.set(base + signatures.arity(ty).0 as u32);
                }
            }
            Operator::End => {
                if let Some((base, ty)) = self.frames.pop() {
                    self.set(base + signatures.arity(ty).1 as u32);
                }
            }
            Operator::Br { .. } | Operator::BrTable { .. } | Operator::Return | Operator::Unreachable => {
                self.height = self.frames.last().map_or(0, |frame| frame.0);
            }
            Operator::BrIf { .. } => self.pop(1),
            Operator::Call { function_index } => self.exchange(signatures.function(*function_index)),
            Operator::CallIndirect { type_index, .. } => {
                self.pop(1);
                self.exchange(&signatures.types[*type_index as usize]);
            }
            op => {
                let (taken, given) = op.operator_arity(&NoModule).unwrap_or((0, 1));
                self.pop(taken);
                self.set(self.height + given);
            }
        }
    }

    fn open(&mut self, ty: BlockType, signatures: &Signatures) {
        self.frames.push((self.height.saturating_sub(signatures.arity(ty).0 as u32), ty));
    }

    fn exchange(&mut self, ty: &wasmparser::FuncType) {
        self.pop(ty.params().len() as u32);
        self.set(self.height + ty.results().len() as u32);
    }

    fn pop(&mut self, count: u32) {
        self.height = self.height.saturating_sub(count);
    }

    fn set(&mut self, height: u32) {
        self.height = height;
        self.most = self.most.max(height);
    }
}

/// Stands in for a module where an operator's arity does not depend on one.
struct NoModule;

impl ModuleArity for NoModule {
    fn sub_type_at(&self, _: u32) -> Option<&SubType> {
        None
    }
    fn tag_type_arity(&self, _: u32) -> Option<(u32, u32)> {
        None
    }
    fn type_index_of_function(&self, _: u32) -> Option<u32> {
        None
    }
    fn func_type_of_cont_type(&self, _: &wasmparser::ContType) -> Option<&wasmparser::FuncType> {
        None
    }
    fn sub_type_of_ref_type(&self, _: &wasmparser::RefType) -> Option<&SubType> {
        None
    }
    fn control_stack_height(&self) -> u32 {
        0
    }
    fn label_block(&self, _: u32) -> Option<(BlockType, wasmparser::FrameKind)> {
        None
    }
}
