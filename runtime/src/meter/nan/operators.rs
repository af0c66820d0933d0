//! What each operator does with the NaN bits of its operands and its result.

use wasmparser::Operator;

use super::facts::{Facts, Lanes};

/// How an operator looks at an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// At its bits.
    Bits,
    /// At its lanes as numbers: a NaN is a NaN, whatever its bits.
    Numbers(Lanes),
    /// Not at all: it is moved into the result.
    Part,
}

/// What an operator leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Makes {
    /// Nothing, or bits that are the same on every machine, a NaN with any payload among them.
    Bits,
    /// Bits that are the same on every machine, with these facts.
    Fixed(Facts),
    /// Lanes that hold a NaN of any bits where the operator made one.
    Arithmetic { lanes: Lanes, vector: bool },
    /// What its parts hold.
    Parts(Parts),
}

/// How a value is put together from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    /// The pieces that are moved.
    pub(super) grain: Grain,
    /// The facts that survive the move, if every part has them.
    pub(super) kept: Facts,
    /// Whether the operator also compares the parts as numbers.
    pub(super) compared: bool,
    /// Whether the result is a vector.
    pub(super) vector: bool,
}

/// The size of pieces that an operator moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    /// Whole values, or pieces that hold whole 64-bit lanes.
    Whole,
    /// Lanes of this size.
    Lanes(Lanes),
    /// Less than a lane of a float.
    Bits,
}

/// What an operator does with NaN bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Effect {
    /// How it looks at each operand, the deepest first.
    pub(super) uses: &'static [Use],
    /// What it leaves.
    pub(super) makes: Makes,
}

impl Effect {
    const fn new(uses: &'static [Use], makes: Makes) -> Self {
        Self { uses, makes }
    }
}

const NUMBER_32: &[Use] = &[Use::Numbers(Lanes::Of32)];
const NUMBER_64: &[Use] = &[Use::Numbers(Lanes::Of64)];
const NUMBERS_32: &[Use] = &[Use::Numbers(Lanes::Of32); 2];
const NUMBERS_64: &[Use] = &[Use::Numbers(Lanes::Of64); 2];

/// The effect of an operator that has one on floats; `None` means that it looks at the bits of whatever it takes, and leaves bits that
/// are the same on every machine. Control flow, variables and `select` are not asked for.
///
/// An operator that makes NaNs and stands not here would be a hole: relaxed SIMD would be one, and the profile refuses it.
pub(super) fn effect(op: &Operator<'_>) -> Option<Effect> {
    scalar(op).or_else(|| vector(op))
}

fn scalar(op: &Operator<'_>) -> Option<Effect> {
    use Operator as O;

    let made = |lanes| Makes::Arithmetic { lanes, vector: false };
    let moved = |lanes, kept| Makes::Parts(Parts { grain: Grain::Lanes(lanes), kept, compared: false, vector: false });
    let (uses, makes) = match op {
        O::F32Const { value } => (&[][..], constant(is_plain_32(value.bits()), Facts::PLAIN_32)),
        O::F64Const { value } => (&[][..], constant(is_plain_64(value.bits()), Facts::PLAIN_64)),

        O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest | O::F32Sqrt => (NUMBER_32, made(Lanes::Of32)),
        O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest | O::F64Sqrt => (NUMBER_64, made(Lanes::Of64)),
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div | O::F32Min | O::F32Max => (NUMBERS_32, made(Lanes::Of32)),
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Div | O::F64Min | O::F64Max => (NUMBERS_64, made(Lanes::Of64)),
        O::F32DemoteF64 => (NUMBER_64, made(Lanes::Of32)),
        O::F64PromoteF32 => (NUMBER_32, made(Lanes::Of64)),

        O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le | O::F32Ge => (NUMBERS_32, Makes::Bits),
        O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le | O::F64Ge => (NUMBERS_64, Makes::Bits),
        O::I32TruncF32S
        | O::I32TruncF32U
        | O::I64TruncF32S
        | O::I64TruncF32U
        | O::I32TruncSatF32S
        | O::I32TruncSatF32U
        | O::I64TruncSatF32S
        | O::I64TruncSatF32U => (NUMBER_32, Makes::Bits),
        O::I32TruncF64S
        | O::I32TruncF64U
        | O::I64TruncF64S
        | O::I64TruncF64U
        | O::I32TruncSatF64S
        | O::I32TruncSatF64U
        | O::I64TruncSatF64S
        | O::I64TruncSatF64U => (NUMBER_64, Makes::Bits),

        O::F32ConvertI32S | O::F32ConvertI32U | O::F32ConvertI64S | O::F32ConvertI64U => {
            (&[Use::Bits][..], Makes::Fixed(Facts::PLAIN_32))
        }
        O::F64ConvertI32S | O::F64ConvertI32U | O::F64ConvertI64S | O::F64ConvertI64U => {
            (&[Use::Bits][..], Makes::Fixed(Facts::PLAIN_64))
        }

        // The sign of a canonical NaN flips, and with it the NaN is no longer the canonical one.
        O::F32Neg => (&[Use::Part][..], moved(Lanes::Of32, Facts::NOT_RAW)),
        O::F64Neg => (&[Use::Part][..], moved(Lanes::Of64, Facts::NOT_RAW)),
        O::F32Copysign => (&[Use::Part, Use::Bits][..], moved(Lanes::Of32, Facts::NOT_RAW)),
        O::F64Copysign => (&[Use::Part, Use::Bits][..], moved(Lanes::Of64, Facts::NOT_RAW)),
        // The canonical NaN is positive.
        O::F32Abs => (&[Use::Part][..], moved(Lanes::Of32, Facts::ALL)),
        O::F64Abs => (&[Use::Part][..], moved(Lanes::Of64, Facts::ALL)),

        O::F32x4ExtractLane { .. } => (&[Use::Part][..], moved(Lanes::Of32, Facts::ALL)),
        O::F64x2ExtractLane { .. } => (&[Use::Part][..], moved(Lanes::Of64, Facts::ALL)),
        _ => return None,
    };
    Some(Effect::new(uses, makes))
}

fn vector(op: &Operator<'_>) -> Option<Effect> {
    use Operator as O;

    let made = |lanes| Makes::Arithmetic { lanes, vector: true };
    let parts = |grain, kept, compared| Makes::Parts(Parts { grain, kept, compared, vector: true });
    let moved = |lanes, kept| parts(Grain::Lanes(lanes), kept, false);
    let compared = |lanes| parts(Grain::Lanes(lanes), Facts::ALL, true);
    let (uses, makes) = match op {
        O::V128Const { value } => (&[][..], vector_constant(value.bytes())),

        O::F32x4Ceil | O::F32x4Floor | O::F32x4Trunc | O::F32x4Nearest | O::F32x4Sqrt => (NUMBER_32, made(Lanes::Of32)),
        O::F64x2Ceil | O::F64x2Floor | O::F64x2Trunc | O::F64x2Nearest | O::F64x2Sqrt => (NUMBER_64, made(Lanes::Of64)),
        O::F32x4Add | O::F32x4Sub | O::F32x4Mul | O::F32x4Div | O::F32x4Min | O::F32x4Max => (NUMBERS_32, made(Lanes::Of32)),
        O::F64x2Add | O::F64x2Sub | O::F64x2Mul | O::F64x2Div | O::F64x2Min | O::F64x2Max => (NUMBERS_64, made(Lanes::Of64)),
        // The two lanes without a source are zero.
        O::F32x4DemoteF64x2Zero => (NUMBER_64, made(Lanes::Of32)),
        O::F64x2PromoteLowF32x4 => (NUMBER_32, made(Lanes::Of64)),

        O::F32x4Eq | O::F32x4Ne | O::F32x4Lt | O::F32x4Gt | O::F32x4Le | O::F32x4Ge => (NUMBERS_32, Makes::Bits),
        O::F64x2Eq | O::F64x2Ne | O::F64x2Lt | O::F64x2Gt | O::F64x2Le | O::F64x2Ge => (NUMBERS_64, Makes::Bits),
        O::I32x4TruncSatF32x4S | O::I32x4TruncSatF32x4U => (NUMBER_32, Makes::Bits),
        O::I32x4TruncSatF64x2SZero | O::I32x4TruncSatF64x2UZero => (NUMBER_64, Makes::Bits),

        O::F32x4ConvertI32x4S | O::F32x4ConvertI32x4U => (&[Use::Bits][..], Makes::Fixed(Facts::PLAIN_32)),
        O::F64x2ConvertLowI32x4S | O::F64x2ConvertLowI32x4U => (&[Use::Bits][..], Makes::Fixed(Facts::PLAIN_64)),

        O::F32x4Neg => (&[Use::Part][..], moved(Lanes::Of32, Facts::NOT_RAW)),
        O::F64x2Neg => (&[Use::Part][..], moved(Lanes::Of64, Facts::NOT_RAW)),
        O::F32x4Abs | O::F32x4Splat => (&[Use::Part][..], moved(Lanes::Of32, Facts::ALL)),
        O::F64x2Abs | O::F64x2Splat => (&[Use::Part][..], moved(Lanes::Of64, Facts::ALL)),
        O::F32x4PMin | O::F32x4PMax => (&[Use::Part; 2][..], compared(Lanes::Of32)),
        O::F64x2PMin | O::F64x2PMax => (&[Use::Part; 2][..], compared(Lanes::Of64)),
        O::F32x4ReplaceLane { .. } => (&[Use::Part; 2][..], moved(Lanes::Of32, Facts::ALL)),
        O::F64x2ReplaceLane { .. } => (&[Use::Part; 2][..], moved(Lanes::Of64, Facts::ALL)),
        O::V128Load32Lane { .. } => (&[Use::Bits, Use::Part][..], moved(Lanes::Of32, Facts::NOT_RAW)),
        O::V128Load64Lane { .. } => (&[Use::Bits, Use::Part][..], moved(Lanes::Of64, Facts::NOT_RAW)),
        O::I8x16Shuffle { lanes } => (&[Use::Part; 2][..], parts(shuffle_grain(lanes), Facts::ALL, false)),
        _ => return None,
    };
    Some(Effect::new(uses, makes))
}

/// The largest pieces that a shuffle keeps together.
fn shuffle_grain(lanes: &[u8; 16]) -> Grain {
    let moves_whole = |size: usize| {
        lanes.chunks_exact(size).all(|piece| {
            let first = usize::from(piece[0]);
            first % size == 0 && piece.iter().enumerate().all(|(i, lane)| usize::from(*lane) == first + i)
        })
    };
    match () {
        () if moves_whole(8) => Grain::Whole,
        () if moves_whole(4) => Grain::Lanes(Lanes::Of32),
        () => Grain::Bits,
    }
}

fn constant(plain: bool, facts: Facts) -> Makes {
    if plain { Makes::Fixed(facts) } else { Makes::Bits }
}

fn vector_constant(bytes: &[u8; 16]) -> Makes {
    let lanes_32 = bytes.chunks_exact(4).map(|lane| u32::from_le_bytes(lane.try_into().expect("four bytes")));
    let lanes_64 = bytes.chunks_exact(8).map(|lane| u64::from_le_bytes(lane.try_into().expect("eight bytes")));
    match (lanes_32.into_iter().all(is_plain_32), lanes_64.into_iter().all(is_plain_64)) {
        (true, true) => Makes::Fixed(Facts::ALL),
        (true, false) => Makes::Fixed(Facts::PLAIN_32),
        (false, true) => Makes::Fixed(Facts::PLAIN_64),
        (false, false) => Makes::Bits,
    }
}

/// Whether canonicalising these bits changes nothing.
fn is_plain_32(bits: u32) -> bool {
    !f32::from_bits(bits).is_nan() || bits == super::CANONICAL_32
}

fn is_plain_64(bits: u64) -> bool {
    !f64::from_bits(bits).is_nan() || bits == super::CANONICAL_64
}
