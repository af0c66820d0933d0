//! Mends what LLVM gets wrong in modules with wide arithmetic.
//!
//! `i64.mul_wide_s` and its kin have two results. Where one operator takes both, LLVM 22 leaves the lower one on the stack and keeps the
//! higher one in a local, but reads that local before it is set:
//!
//! ```wat
//! local.get $high     ;; too early: whatever was there before
//! local.get $a
//! i64.const 10
//! i64.mul_wide_s
//! local.set $high
//! local.tee $low
//! i64.const 63
//! i64.shr_s
//! i64.eq              ;; whether the product fits 64 bits
//! ```
//!
//! So `a.checked_mul(10)` of an `i64` overflows by chance, and floats are printed wrongly. Register allocation gives no local to another
//! value while an operator still has to take it, so a local that is read, then set from such a result, and only then taken is this
//! mistake and nothing else. The read is moved to where its operator stands, and the operator's sides are exchanged. No other byte
//! changes.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod arity;
mod scan;

use std::ops::Range;

use wasmparser::{BinaryReaderError, Operator, Parser, Payload};

use crate::arity::Module;
use crate::scan::Misplaced;

/// Why a module cannot be mended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// It is no module.
    #[error("not a module: {0}")]
    Malformed(#[from] BinaryReaderError),
    /// The operator that takes the value has sides that cannot be exchanged.
    #[error(
        "function {function} has a value that the compiler reads before it is set, taken by `{operator}` at byte {at:#x}, where it cannot \
         be mended: a mistake of LLVM's with wide arithmetic; next: compile without the target feature wide-arithmetic"
    )]
    Operator {
        /// The function, counted from the module's first.
        function: u32,
        /// What takes the value.
        operator: String,
        /// Where that is in the module.
        at: usize,
    },
}

/// Mends a module in its place.
///
/// # Returns
/// How many reads were moved.
///
/// # Errors
/// It is no module, or has a mistake that cannot be mended. What was moved before stays moved.
pub fn repair(bytes: &mut [u8]) -> Result<usize, RepairError> {
    let (module, bodies) = survey(bytes)?;
    let mut moved = 0;
    for (number, body) in bodies.into_iter().enumerate() {
        // Each one moved shows the next.
        while let Some(misplaced) = scan::find(&module, bytes, &body)? {
            let function = module.imported_functions() + number as u32;
            put_right(bytes, &misplaced, function)?;
            moved += 1;
        }
    }
    Ok(moved)
}

/// What is known of the module, and where the operators of its functions are.
fn survey(bytes: &[u8]) -> Result<(Module, Vec<Range<usize>>), RepairError> {
    let (mut module, mut bodies) = (Module::default(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::CodeSectionEntry(body) => {
                bodies.push(body.get_operators_reader()?.original_position()..body.range().end);
            }
            other => module.learn(&other)?,
        }
    }
    Ok((module, bodies))
}

/// Moves the read to its operator, whose sides are exchanged.
fn put_right(bytes: &mut [u8], misplaced: &Misplaced, function: u32) -> Result<(), RepairError> {
    let Misplaced { read, taken_at, operator, sides } = misplaced;
    let exchanged = (*sides == 2).then(|| exchange(bytes[*taken_at])).flatten();
    let exchanged = exchanged.ok_or_else(|| RepairError::Operator { function, operator: operator.clone(), at: *taken_at })?;
    bytes[read.start..*taken_at].rotate_left(read.len());
    bytes[*taken_at] = exchanged;
    Ok(())
}

/// The operator that makes of two exchanged sides what `code` makes of them as they are.
fn exchange(code: u8) -> Option<u8> {
    match code {
        // eq and ne; add, mul, and, or and xor; of 32 and of 64 bits.
        0x46 | 0x47 | 0x51 | 0x52 | 0x6a | 0x6c | 0x71..=0x73 | 0x7c | 0x7e | 0x83..=0x85 => Some(code),
        // Less and greater, signed and unsigned, without and with equal.
        0x48 | 0x49 | 0x4c | 0x4d | 0x53 | 0x54 | 0x57 | 0x58 => Some(code + 2),
        0x4a | 0x4b | 0x4e | 0x4f | 0x55 | 0x56 | 0x59 | 0x5a => Some(code - 2),
        _ => None,
    }
}

/// Whether an operator has two results of 64 bits.
fn is_wide(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::I64Add128 | Operator::I64Sub128 | Operator::I64MulWideS | Operator::I64MulWideU)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(body: &str) -> Vec<u8> {
        let text = format!(
            "(module (import \"a\" \"b\" (func $take (param i64))) (memory 1)
               (func (param $a i64) (result i64) (local $high i64) (local $low i64) {body}))"
        );
        wat::parse_str(text).unwrap()
    }

    /// Mends `wrong` and wants `right` to come out.
    fn check(wrong: &str, right: &str, moved: usize) {
        let mut bytes = module(wrong);
        assert_eq!(repair(&mut bytes).unwrap(), moved);
        assert_eq!(bytes, module(right), "{wrong}");
        assert_eq!(repair(&mut bytes).unwrap(), 0, "what is mended stays");
    }

    const PRODUCT: &str = "local.get $a i64.const 10 i64.mul_wide_s local.set $high";

    #[test]
    fn a_read_that_is_too_early_is_moved_to_its_operator() {
        check(
            &format!("local.get $high {PRODUCT} local.tee $low i64.const 63 i64.shr_s i64.eq i64.extend_i32_u"),
            &format!("{PRODUCT} local.tee $low i64.const 63 i64.shr_s local.get $high i64.eq i64.extend_i32_u"),
            1,
        );
    }

    #[test]
    fn comparisons_are_turned_round_with_their_sides() {
        for (wrong, right) in [("lt_u", "gt_u"), ("gt_s", "lt_s"), ("le_s", "ge_s"), ("ge_u", "le_u")] {
            check(
                &format!("local.get $high {PRODUCT} i64.{wrong} i64.extend_i32_u"),
                &format!("{PRODUCT} local.get $high i64.{right} i64.extend_i32_u"),
                1,
            );
        }
    }

    #[test]
    fn several_in_one_another_are_all_moved() {
        check(
            &format!("local.get $low local.get $high {PRODUCT} i64.add i64.const 3 i64.mul_wide_u local.set $low i64.add"),
            &format!("{PRODUCT} local.get $high i64.add i64.const 3 i64.mul_wide_u local.set $low local.get $low i64.add"),
            2,
        );
    }

    #[test]
    fn memory_and_calls_between_do_not_hide_it() {
        check(
            &format!("local.get $high {PRODUCT} i32.const 0 i64.const 1 i64.store i64.const 2 call $take i64.add"),
            &format!("{PRODUCT} i32.const 0 i64.const 1 i64.store i64.const 2 call $take local.get $high i64.add"),
            1,
        );
    }

    #[test]
    fn what_is_right_is_left_as_it_is() {
        for body in [
            // Read after it is set.
            &format!("{PRODUCT} local.get $high i64.add")[..],
            // The old value of a local that is set from something else.
            "local.get $low i64.const 5 local.set $low i64.const 7 i64.add",
            // Taken before it is set.
            &format!("local.get $high i64.const 1 i64.add drop {PRODUCT}"),
            // Another local.
            &format!("local.get $low {PRODUCT} i64.add"),
            // Another path.
            &format!("local.get $high (block {PRODUCT} drop) drop i64.const 1"),
        ] {
            check(body, body, 0);
        }
    }

    #[test]
    fn an_operator_whose_sides_differ_is_refused_by_name() {
        let mut bytes = module(&format!("local.get $high {PRODUCT} i64.sub"));
        let error = repair(&mut bytes).unwrap_err().to_string();
        assert!(
            error.contains("function 1") && error.contains("I64Sub") && error.contains("without the target feature"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_module_is_told() {
        assert!(matches!(repair(&mut b"no module".to_vec()), Err(RepairError::Malformed(_))));
    }
}
