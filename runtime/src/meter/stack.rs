//! How deep calls may nest: counted by the pass, so that exhaustion comes at the same call under every compiler and on every machine.
//!
//! A function's *nominal frame* is a number of bytes that its module alone decides. A caller notes its own depth before each call;
//! the callee adds its frame and stops where the sum is over [`DEPTH_MAX`]. Nothing is undone on return, because whoever calls next
//! notes its depth anew. Which functions need not do this, [`calls`](super::calls) says.
//!
//! The native stack is [`NATIVE_BYTES`] for each nominal byte, so that it does not end first: what a compiler keeps in a frame are
//! locals and operands, which have a slot of 8 nominal bytes each, and values that it computes once for several uses. Of those there
//! are no more than operators that make a value, each of which adds its own size over [`NATIVE_BYTES`].

use wasmparser::{BlockType, ModuleArity, Operator, SubType, ValType};

use super::body::{Body, Signatures, Step};
use super::weights::{Class, class};

/// How deep calls may nest, in nominal bytes: some ten thousand calls of ordinary functions.
pub const DEPTH_MAX: u32 = 4 << 20;
/// Bytes of native stack for each nominal byte of [`DEPTH_MAX`].
pub(crate) const NATIVE_BYTES: u32 = 32;
/// Return address, saved registers, and what compilers align to.
const FRAME_BASE: u32 = 64;
/// The most copies of operators that [`repeat`](super::repeat) makes of one loop.
const REPEATED_BYTES: u64 = 8 * super::repeat::OPERATORS_MAX as u64;

/// The nominal frame, in bytes, of a function before its loops are repeated.
pub(super) fn frame(body: &Body<'_>, signatures: &Signatures) -> u32 {
    let locals: u64 = body.locals.iter().map(|ty| u64::from(value_bytes(*ty))).sum();
    // Whether an operand is a vector is not followed; there are few.
    let operands = 8 * u64::from(operands_max(&body.steps, signatures));
    let made: u64 = body.steps.iter().map(|step| made_bytes(&step.op)).sum();
    let bytes = u64::from(FRAME_BASE) + locals + operands + made.div_ceil(u64::from(NATIVE_BYTES));
    u32::try_from(bytes).unwrap_or(u32::MAX).min(DEPTH_MAX + 1)
}

/// Bytes of the values that an operator makes and a compiler may keep for a later use. Constants are cheaper made again than kept, but
/// for those of vectors; and a float may be kept beside what makes it canonical.
fn made_bytes(op: &Operator<'_>) -> u64 {
    match class(op) {
        Class::Structure | Class::Store | Class::Jump | Class::Branch | Class::BranchTable => 0,
        Class::Loop => REPEATED_BYTES,
        Class::Register => match op {
            Operator::V128Const { .. } => 16,
            Operator::F32Const { .. } | Operator::F64Const { .. } => 8,
            _ => 0,
        },
        Class::FloatConvert if matches!(op, Operator::F32x4DemoteF64x2Zero | Operator::F64x2PromoteLowF32x4) => 64,
        Class::Float | Class::FloatAdd | Class::FloatDivide | Class::FloatRoot | Class::FloatConvert => 32,
        Class::Load | Class::Vector | Class::VectorMultiply | Class::WideMultiply | Class::WideAdd => 16,
        Class::VectorFloat | Class::VectorFloatAdd | Class::VectorFloatDivide => 64,
        _ => 8,
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
pub(super) struct NoModule;

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
