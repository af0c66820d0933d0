//! What each operator costs: one table, in units of 1/256 fuel.
//!
//! One fuel is about a nanosecond of a slow core, and 0.36 to 0.61 of a fast one of today. `cargo xtask calibrate` runs kernels of different
//! nature and fits the table so that the nanoseconds per fuel lie as close together as possible; what ships lies near to what it finds, and is no
//! one processor's own.
//! Operators are priced by [`Class`], because what they cost is decided by what the processor does and not by their name.
//!
//! Beside its cost a class has its *latency*: how long its value takes from the last one that it needs. A cycle of today's processors is some
//! 125 units, and the numbers are theirs where these agree (A. Fog, *Instruction tables*), else the kernels' within them. They cost
//! nothing but in loops that wait for themselves ([`recurrence`](super::recurrence)).

use wasmparser::{MemArg, Operator};

/// Units of the counter in one fuel.
pub const UNITS_PER_FUEL: u64 = 256;

macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident = $units:literal $(after $latency:literal)?,)*) => {
        /// Operators that cost about the same.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Class {
            $($(#[$doc])* $class,)*
        }

        impl Class {
            /// Every class, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$class),*];
            const UNITS: &'static [u32] = &[$($units),*];
            const LATENCIES: &'static [u32] = &[$(0 $(+ $latency)?),*];

            /// The class's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$class => stringify!($class),)*
                }
            }
        }
    };
}

// The units, and behind `after` the latency.
classes! {
    /// Operators that become no instruction: structure, and what is only moved on the operand stack.
    Structure = 0,
    /// The head of a loop, each time round. Never zero, so that no loop is free.
    Loop = 30,
    /// A constant, or a local that is read or written: registers, mostly.
    Register = 2,
    /// A global that is read or written.
    Global = 61,
    /// Integer addition, logic, shifts, comparisons, conversions between integers, and bits that go from integer to float registers or back.
    Integer = 26 after 125,
    /// Integer multiplication.
    IntegerMultiply = 125 after 375,
    /// 32-bit division and remainder.
    Divide32 = 342 after 1500,
    /// 64-bit division and remainder.
    Divide64 = 883 after 2000,
    /// Float addition and subtraction.
    FloatAdd = 42 after 250,
    /// Float multiplication, comparison, sign operations.
    Float = 44 after 425,
    /// Float division.
    FloatDivide = 161 after 1600,
    /// Square root.
    FloatRoot = 287 after 2250,
    /// Rounding, minimum and maximum, conversions between floats and integers and from one size of float to the other, also of vectors.
    FloatConvert = 279 after 375,
    /// A load from linear memory.
    Load = 15 after 625,
    /// A store to linear memory.
    Store = 45,
    /// An unconditional branch or return.
    Jump = 19,
    /// A conditional branch.
    Branch = 112,
    /// A branch by table.
    BranchTable = 115,
    /// A choice of two values.
    Select = 20 after 125,
    /// A direct call, with prologue and epilogue of the function called.
    Call = 496,
    /// A call through a table, with its checks.
    CallIndirect = 1450,
    /// Integer and bitwise vector operators, comparisons, moves between lanes and scalars.
    Vector = 100 after 225,
    /// Vector multiplication of integers, and what a processor does in several steps.
    VectorMultiply = 122 after 500,
    /// Vector float addition and subtraction.
    VectorFloatAdd = 27 after 300,
    /// Other vector float arithmetic.
    VectorFloat = 27 after 400,
    /// Vector float division and square root.
    VectorFloatDivide = 853 after 1600,
    /// 128-bit multiplication.
    WideMultiply = 156 after 500,
    /// 128-bit addition and subtraction.
    WideAdd = 97 after 250,
    /// `memory.size`, `table.size`, `ref.null`, `ref.is_null`: a load at most.
    Query = 80,
    /// `ref.func`: a call into the engine, which makes what stands for the function. Some 85 ns where a fuel is about 1.5, on the processor it was measured on.
    FunctionReference = 14_000,
    /// `table.get` and `table.set`.
    Table = 400,
    /// The fixed part of a bulk operation: a call into the host's `memcpy` or the like.
    Bulk = 3750,
    /// The fixed part of growing a memory or a table.
    Grow = 256_000,
}

/// A table of weights: units for each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    units: Vec<u32>,
    latencies: Vec<u32>,
}

impl Weights {
    /// The table that bills are made by.
    pub fn standard() -> Self {
        Self { units: Class::UNITS.to_vec(), latencies: Class::LATENCIES.to_vec() }
    }

    /// A table of anyone's making, to compare with: for each class what it costs and how long its value takes, in units.
    pub fn by_class(units: impl Fn(Class) -> u32, latency: impl Fn(Class) -> u32) -> Self {
        let each = |of: &dyn Fn(Class) -> u32| Class::ALL.iter().map(|class| of(*class)).collect();
        Self { units: each(&units), latencies: each(&latency) }
    }

    /// What an operator of `class` costs, in units.
    pub fn units(&self, class: Class) -> u32 {
        self.units[class as usize]
    }

    /// How long the value of an operator of `class` takes from the last value that it needs, in units.
    pub fn latency(&self, class: Class) -> u32 {
        self.latencies[class as usize]
    }

    /// What an operator costs, in units; for those that pay by size, the fixed part.
    pub(crate) fn of(&self, op: &Operator<'_>) -> u32 {
        self.units(class(op))
    }
}

/// Units for each byte that is copied within memory or into it: what is read is rarely in a cache.
pub(crate) const COPIED_BYTE_UNITS: i64 = 14;
/// Units for each byte that is filled.
pub(crate) const FILLED_BYTE_UNITS: i64 = 5;
/// Units for each element that a bulk operation on a table touches.
pub(crate) const BULK_ELEMENT_UNITS: i64 = 2 * UNITS_PER_FUEL as i64;
/// Units for each page of 64 KiB that a memory grows by, or begins with beyond the first ones: sixteen page faults, which come when the guest
/// touches it. Paid before, so it lies between what a page costs that is touched (some 30 microseconds on a virtual machine, to map, zero
/// and give back) and one that is not (0.1).
pub(crate) const GROW_PAGE_UNITS: i64 = 4_000 * UNITS_PER_FUEL as i64;

/// The class that an operator belongs to.
pub fn class(op: &Operator<'_>) -> Class {
    use Operator as O;
    match op {
        O::Nop | O::Drop | O::Block { .. } | O::Else | O::End | O::Unreachable => Class::Structure,
        O::Loop { .. } => Class::Loop,
        O::LocalGet { .. }
        | O::LocalSet { .. }
        | O::LocalTee { .. }
        | O::I32Const { .. }
        | O::I64Const { .. }
        | O::F32Const { .. }
        | O::F64Const { .. }
        | O::V128Const { .. }
        | O::I32WrapI64
        | O::I64ExtendI32U => Class::Register,
        O::GlobalGet { .. } | O::GlobalSet { .. } => Class::Global,
        O::I32Mul | O::I64Mul => Class::IntegerMultiply,
        O::I32DivS | O::I32DivU | O::I32RemS | O::I32RemU => Class::Divide32,
        O::I64DivS | O::I64DivU | O::I64RemS | O::I64RemU => Class::Divide64,
        O::F32Add | O::F32Sub | O::F64Add | O::F64Sub => Class::FloatAdd,
        O::F32Mul | O::F64Mul => Class::Float,
        O::F32Neg | O::F32Abs | O::F32Copysign | O::F64Neg | O::F64Abs | O::F64Copysign => Class::Float,
        O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le | O::F32Ge => Class::Float,
        O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le | O::F64Ge => Class::Float,
        O::F32Div | O::F64Div => Class::FloatDivide,
        O::F32Sqrt | O::F64Sqrt => Class::FloatRoot,
        O::Br { .. } | O::Return => Class::Jump,
        O::BrIf { .. } | O::If { .. } => Class::Branch,
        O::BrTable { .. } => Class::BranchTable,
        O::Select | O::TypedSelect { .. } => Class::Select,
        O::Call { .. } => Class::Call,
        O::CallIndirect { .. } => Class::CallIndirect,
        O::I64MulWideS | O::I64MulWideU => Class::WideMultiply,
        O::I64Add128 | O::I64Sub128 => Class::WideAdd,
        O::MemorySize { .. } | O::TableSize { .. } | O::RefNull { .. } | O::RefIsNull => Class::Query,
        O::RefFunc { .. } => Class::FunctionReference,
        O::TableGet { .. } | O::TableSet { .. } => Class::Table,
        O::MemoryFill { .. } | O::MemoryCopy { .. } | O::MemoryInit { .. } => Class::Bulk,
        O::TableFill { .. } | O::TableCopy { .. } | O::TableInit { .. } => Class::Bulk,
        O::DataDrop { .. } | O::ElemDrop { .. } => Class::Bulk,
        O::MemoryGrow { .. } | O::TableGrow { .. } => Class::Grow,
        _ if loaded(op).is_some() => Class::Load,
        _ if stored(op).is_some() => Class::Store,
        _ if is_float_conversion(op) => Class::FloatConvert,
        _ => vector_class(op).unwrap_or(Class::Integer),
    }
}

/// The least bytes that a memory must have for an access by this operator; nothing for what is none.
pub(super) fn accessed_bytes(op: &Operator<'_>) -> Option<u64> {
    loaded(op).or_else(|| stored(op)).map(|memarg| memarg.offset + (1 << memarg.max_align))
}

/// Whether a load is one that a compiler can make part of the instruction that uses its value.
pub(super) fn may_be_merged(op: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        op,
        O::I32Load { .. }
            | O::I64Load { .. }
            | O::F32Load { .. }
            | O::F64Load { .. }
            | O::V128Load { .. }
            | O::V128Load8Splat { .. }
            | O::V128Load16Splat { .. }
            | O::V128Load32Splat { .. }
            | O::V128Load64Splat { .. }
            | O::V128Load32Zero { .. }
            | O::V128Load64Zero { .. }
            | O::V128Load8Lane { .. }
            | O::V128Load16Lane { .. }
            | O::V128Load32Lane { .. }
            | O::V128Load64Lane { .. }
    )
}

/// Where a load from linear memory reads; nothing for what is none.
pub(super) fn loaded<'o>(op: &'o Operator<'_>) -> Option<&'o MemArg> {
    use Operator as O;
    match op {
        O::I32Load { memarg, .. }
        | O::I64Load { memarg, .. }
        | O::F32Load { memarg, .. }
        | O::F64Load { memarg, .. }
        | O::I32Load8S { memarg, .. }
        | O::I32Load8U { memarg, .. }
        | O::I32Load16S { memarg, .. }
        | O::I32Load16U { memarg, .. }
        | O::I64Load8S { memarg, .. }
        | O::I64Load8U { memarg, .. }
        | O::I64Load16S { memarg, .. }
        | O::I64Load16U { memarg, .. }
        | O::I64Load32S { memarg, .. }
        | O::I64Load32U { memarg, .. }
        | O::V128Load { memarg, .. }
        | O::V128Load8x8S { memarg, .. }
        | O::V128Load8x8U { memarg, .. }
        | O::V128Load16x4S { memarg, .. }
        | O::V128Load16x4U { memarg, .. }
        | O::V128Load32x2S { memarg, .. }
        | O::V128Load32x2U { memarg, .. }
        | O::V128Load8Splat { memarg, .. }
        | O::V128Load16Splat { memarg, .. }
        | O::V128Load32Splat { memarg, .. }
        | O::V128Load64Splat { memarg, .. }
        | O::V128Load32Zero { memarg, .. }
        | O::V128Load64Zero { memarg, .. }
        | O::V128Load8Lane { memarg, .. }
        | O::V128Load16Lane { memarg, .. }
        | O::V128Load32Lane { memarg, .. }
        | O::V128Load64Lane { memarg, .. } => Some(memarg),
        _ => None,
    }
}

/// Where a store to linear memory writes; nothing for what is none.
pub(super) fn stored<'o>(op: &'o Operator<'_>) -> Option<&'o MemArg> {
    use Operator as O;
    match op {
        O::I32Store { memarg, .. }
        | O::I64Store { memarg, .. }
        | O::F32Store { memarg, .. }
        | O::F64Store { memarg, .. }
        | O::I32Store8 { memarg, .. }
        | O::I32Store16 { memarg, .. }
        | O::I64Store8 { memarg, .. }
        | O::I64Store16 { memarg, .. }
        | O::I64Store32 { memarg, .. }
        | O::V128Store { memarg, .. }
        | O::V128Store8Lane { memarg, .. }
        | O::V128Store16Lane { memarg, .. }
        | O::V128Store32Lane { memarg, .. }
        | O::V128Store64Lane { memarg, .. } => Some(memarg),
        _ => None,
    }
}

fn is_float_conversion(op: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        op,
        O::F32Ceil
            | O::F32Floor
            | O::F32Trunc
            | O::F32Nearest
            | O::F32Min
            | O::F32Max
            | O::F64Ceil
            | O::F64Floor
            | O::F64Trunc
            | O::F64Nearest
            | O::F64Min
            | O::F64Max
            | O::I32TruncF32S
            | O::I32TruncF32U
            | O::I32TruncF64S
            | O::I32TruncF64U
            | O::I64TruncF32S
            | O::I64TruncF32U
            | O::I64TruncF64S
            | O::I64TruncF64U
            | O::I32TruncSatF32S
            | O::I32TruncSatF32U
            | O::I32TruncSatF64S
            | O::I32TruncSatF64U
            | O::I64TruncSatF32S
            | O::I64TruncSatF32U
            | O::I64TruncSatF64S
            | O::I64TruncSatF64U
            | O::F32ConvertI32S
            | O::F32ConvertI32U
            | O::F32ConvertI64S
            | O::F32ConvertI64U
            | O::F64ConvertI32S
            | O::F64ConvertI32U
            | O::F64ConvertI64S
            | O::F64ConvertI64U
            | O::F32DemoteF64
            | O::F64PromoteF32
    )
}

/// The class of a vector operator that is no load or store; nothing for a scalar one.
fn vector_class(op: &Operator<'_>) -> Option<Class> {
    macro_rules! is_vector {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
            matches!(op, $(Operator::$op { .. })|*)
        };
    }
    if !wasmparser::for_each_visit_simd_operator!(is_vector) {
        return None;
    }
    use Operator as O;
    Some(match op {
        O::F32x4Div | O::F64x2Div | O::F32x4Sqrt | O::F64x2Sqrt => Class::VectorFloatDivide,
        O::F32x4Add | O::F32x4Sub | O::F64x2Add | O::F64x2Sub => Class::VectorFloatAdd,
        O::F32x4Mul | O::F64x2Mul => Class::VectorFloat,
        O::F32x4Min | O::F32x4Max | O::F64x2Min | O::F64x2Max => Class::VectorFloat,
        O::F32x4Ceil | O::F32x4Floor | O::F32x4Trunc | O::F32x4Nearest => Class::VectorFloat,
        O::F64x2Ceil | O::F64x2Floor | O::F64x2Trunc | O::F64x2Nearest => Class::VectorFloat,
        O::F32x4ConvertI32x4S | O::F64x2ConvertLowI32x4S | O::F64x2ConvertLowI32x4U => Class::VectorFloat,
        O::I32x4TruncSatF32x4S | O::I32x4TruncSatF32x4U | O::F32x4ConvertI32x4U => Class::VectorMultiply,
        O::I32x4TruncSatF64x2SZero | O::I32x4TruncSatF64x2UZero => Class::VectorMultiply,
        O::F32x4DemoteF64x2Zero | O::F64x2PromoteLowF32x4 => Class::FloatConvert,
        O::I16x8Mul | O::I32x4Mul | O::I64x2Mul | O::I32x4DotI16x8S | O::I16x8Q15MulrSatS => Class::VectorMultiply,
        O::I8x16Shl | O::I8x16ShrS | O::I8x16ShrU | O::I64x2ShrS | O::I8x16Popcnt => Class::VectorMultiply,
        _ => Class::Vector,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_belong_to_the_class_of_what_they_do() {
        let memarg = MemArg { align: 0, max_align: 0, offset: 0, memory: 0 };
        let rows = [
            (Operator::Nop, Class::Structure),
            (Operator::Loop { blockty: wasmparser::BlockType::Empty }, Class::Loop),
            (Operator::I32Add, Class::Integer),
            (Operator::I64Clz, Class::Integer),
            (Operator::I64Mul, Class::IntegerMultiply),
            (Operator::I64RemU, Class::Divide64),
            (Operator::F64Sqrt, Class::FloatRoot),
            (Operator::I32TruncSatF64U, Class::FloatConvert),
            (Operator::V128Load { memarg }, Class::Load),
            (Operator::V128Store8Lane { memarg, lane: 0 }, Class::Store),
            (Operator::I8x16Shuffle { lanes: [0; 16] }, Class::Vector),
            (Operator::F64x2Div, Class::VectorFloatDivide),
            (Operator::I64ReinterpretF64, Class::Integer),
            (Operator::F32x4ConvertI32x4U, Class::VectorMultiply),
            (Operator::RefNull { hty: wasmparser::HeapType::FUNC }, Class::Query),
            (Operator::RefFunc { function_index: 0 }, Class::FunctionReference),
            (Operator::I64MulWideU, Class::WideMultiply),
            (Operator::MemoryFill { mem: 0 }, Class::Bulk),
        ];
        for (op, want) in rows {
            assert_eq!(class(&op), want, "{op:?}");
        }
    }

    #[test]
    fn no_loop_and_no_call_is_free() {
        for class in [Class::Loop, Class::Call, Class::CallIndirect, Class::Bulk, Class::Grow] {
            assert!(Weights::standard().units(class) > 0, "{class:?}");
        }
    }
}
