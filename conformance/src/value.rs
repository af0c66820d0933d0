//! Values as scripts write them.

use wasmtime::Val;
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// The magnitude of the canonical NaN: every exponent bit and the first bit of the payload.
const CANONICAL_NAN_32: u32 = 0x7fc0_0000;
const CANONICAL_NAN_64: u64 = 0x7ff8_0000_0000_0000;

/// The value that an argument stands for.
pub(crate) fn argument(arg: &WastArg<'_>) -> Result<Val, String> {
    let WastArg::Core(arg) = arg else { return Err(format!("an argument of a component: {arg:?}")) };
    Ok(match arg {
        WastArgCore::I32(v) => Val::I32(*v),
        WastArgCore::I64(v) => Val::I64(*v),
        WastArgCore::F32(v) => Val::F32(v.bits),
        WastArgCore::F64(v) => Val::F64(v.bits),
        WastArgCore::V128(v) => Val::V128(u128::from_le_bytes(v.to_le_bytes()).into()),
        WastArgCore::RefNull(HeapType::Abstract { shared: false, ty: AbstractHeapType::Func }) => Val::FuncRef(None),
        WastArgCore::RefNull(_) | WastArgCore::RefExtern(_) | WastArgCore::RefHost(_) => {
            return Err(format!("an argument of a type that the profile lacks: {arg:?}"));
        }
    })
}

/// Checks results against their patterns.
pub(crate) fn check(actual: &[Val], expected: &[WastRet<'_>]) -> Result<(), String> {
    if actual.len() != expected.len() {
        return Err(format!("{} results, where {} are expected", actual.len(), expected.len()));
    }
    let wrong = actual.iter().zip(expected).enumerate().find(|(_, (actual, expected))| match expected {
        WastRet::Core(expected) => !matches(actual, expected),
        _ => true,
    });
    match wrong {
        None => Ok(()),
        Some((index, (actual, expected))) => Err(format!("result {index} is {actual:x?}, where {expected:x?} is expected")),
    }
}

fn matches(actual: &Val, expected: &WastRetCore<'_>) -> bool {
    match (actual, expected) {
        (_, WastRetCore::Either(patterns)) => patterns.iter().any(|pattern| matches(actual, pattern)),
        (Val::I32(a), WastRetCore::I32(e)) => a == e,
        (Val::I64(a), WastRetCore::I64(e)) => a == e,
        (Val::F32(a), WastRetCore::F32(e)) => matches_f32(*a, e),
        (Val::F64(a), WastRetCore::F64(e)) => matches_f64(*a, e),
        (Val::V128(a), WastRetCore::V128(e)) => matches_v128(a.as_u128().to_le_bytes(), e),
        (Val::FuncRef(None), WastRetCore::RefNull(ty)) => {
            matches!(ty, None | Some(HeapType::Abstract { shared: false, ty: AbstractHeapType::Func | AbstractHeapType::NoFunc }))
        }
        // Which function it is, a host cannot see.
        (Val::FuncRef(Some(_)), WastRetCore::RefFunc(_)) => true,
        _ => false,
    }
}

/// Floats are compared by their bits; of a NaN that the specification leaves open, the sign does not count
/// (<https://webassembly.github.io/spec/core/syntax/values.html#floating-point>).
fn matches_f32(actual: u32, expected: &NanPattern<F32>) -> bool {
    match expected {
        NanPattern::CanonicalNan => actual & !(1 << 31) == CANONICAL_NAN_32,
        NanPattern::ArithmeticNan => actual & CANONICAL_NAN_32 == CANONICAL_NAN_32,
        NanPattern::Value(value) => actual == value.bits,
    }
}

fn matches_f64(actual: u64, expected: &NanPattern<F64>) -> bool {
    match expected {
        NanPattern::CanonicalNan => actual & !(1 << 63) == CANONICAL_NAN_64,
        NanPattern::ArithmeticNan => actual & CANONICAL_NAN_64 == CANONICAL_NAN_64,
        NanPattern::Value(value) => actual == value.bits,
    }
}

fn matches_v128(actual: [u8; 16], expected: &V128Pattern) -> bool {
    match expected {
        V128Pattern::I8x16(lanes) => lanes_equal(actual, lanes.map(i8::to_le_bytes)),
        V128Pattern::I16x8(lanes) => lanes_equal(actual, lanes.map(i16::to_le_bytes)),
        V128Pattern::I32x4(lanes) => lanes_equal(actual, lanes.map(i32::to_le_bytes)),
        V128Pattern::I64x2(lanes) => lanes_equal(actual, lanes.map(i64::to_le_bytes)),
        V128Pattern::F32x4(patterns) => {
            let lanes = actual.as_chunks::<4>().0.iter().map(|lane| u32::from_le_bytes(*lane));
            lanes.zip(patterns).all(|(lane, pattern)| matches_f32(lane, pattern))
        }
        V128Pattern::F64x2(patterns) => {
            let lanes = actual.as_chunks::<8>().0.iter().map(|lane| u64::from_le_bytes(*lane));
            lanes.zip(patterns).all(|(lane, pattern)| matches_f64(lane, pattern))
        }
    }
}

fn lanes_equal<const BYTES: usize, const LANES: usize>(actual: [u8; 16], expected: [[u8; BYTES]; LANES]) -> bool {
    actual == expected.as_flattened()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_nan_has_either_sign_and_no_other_payload() {
        for (bits, canonical, arithmetic) in [
            (0x7fc0_0000, true, true),
            (0xffc0_0000, true, true),
            (0x7fc0_0001, false, true),
            (0xffff_ffff, false, true),
            (0x7fa0_0000, false, false),
            (0x7f80_0000, false, false),
            (0x0000_0000, false, false),
        ] {
            assert_eq!(matches_f32(bits, &NanPattern::CanonicalNan), canonical, "{bits:x}");
            assert_eq!(matches_f32(bits, &NanPattern::ArithmeticNan), arithmetic, "{bits:x}");
            // The same value as an f64: sign and exponent in place, the payload shifted.
            let wide = f64::from(f32::from_bits(bits & 0x8000_0000 | 0x7f80_0000)).to_bits() | u64::from(bits & 0x7f_ffff) << 29;
            assert_eq!(matches_f64(wide, &NanPattern::CanonicalNan), canonical && bits != 0, "{wide:x}");
        }
    }

    #[test]
    fn zeros_of_different_sign_differ() {
        let zero = |bits| NanPattern::Value(F32 { bits });
        assert!(matches_f32(0, &zero(0)));
        assert!(!matches_f32(1 << 31, &zero(0)));
    }

    #[test]
    fn lanes_begin_at_the_lowest_byte() {
        let mut bytes = [0; 16];
        bytes[0] = 1;
        assert!(matches_v128(bytes, &V128Pattern::I64x2([1, 0])));
        assert!(matches_v128(bytes, &V128Pattern::I32x4([1, 0, 0, 0])));
        assert!(!matches_v128(bytes, &V128Pattern::I16x8([0, 0, 0, 0, 0, 0, 0, 1])));
        let mut nan = [0; 16];
        nan[12..].copy_from_slice(&CANONICAL_NAN_32.to_le_bytes());
        let zero = NanPattern::Value(F32 { bits: 0 });
        assert!(matches_v128(nan, &V128Pattern::F32x4([zero, zero, zero, NanPattern::CanonicalNan])));
        assert!(!matches_v128(nan, &V128Pattern::F32x4([NanPattern::CanonicalNan, zero, zero, zero])));
    }

    #[test]
    fn wrong_number_and_wrong_type_of_results_are_told() {
        let one = || WastRet::Core(WastRetCore::I32(1));
        assert_eq!(check(&[Val::I32(1)], &[one()]), Ok(()));
        assert!(check(&[], &[one()]).unwrap_err().contains("0 results"));
        assert!(check(&[Val::I64(1)], &[one()]).unwrap_err().contains("result 0"));
    }
}
