//! The meter's form in baseline code: what is quickly made, and quickly compiled by a compiler of one pass.
//!
//! Such a compiler computes an address at each access to a memory, keeps nothing in registers, and moves no trap. So
//!
//! - the counter and the depth are in globals of the meter's own, behind all that the guest has;
//! - each block is paid for where it begins, and the counter never lacks anything: there is no table of what it lacks, no function owes its
//!   callers anything, and nobody has to find the edges on which updates are cheapest;
//! - nothing is emitted that keeps traps where they are.
//!
//! Blocks, what they weigh, and checks are those of the other form, so the same is counted and stopped at the same places.
//!
//! No other thread can read a global. Who looks from outside finds the count in the word of the meter's memory, to which it is copied at
//! each check and before whatever may be a call of the host. Nothing is copied back: what the host charges it takes off the limit. Only the
//! host knows when the guest has ended, and reads the globals then.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use wasm_encoder::{
    ConstExpr, ExportKind, ExportSection, Function, GlobalSection, GlobalType, Instruction as I, MemArg, ValType,
};
use wasmparser::Operator;

use super::module::free_name;
use super::words::COUNTER;

/// What the global of the counter is exported as, with as many `'` behind it as the guest's own names make necessary.
const COUNTER_EXPORT: &str = "$counter";
/// The same for the depth.
const DEPTH_EXPORT: &str = "$depth";

/// The names that the meter's globals are exported as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalFacts {
    /// Units used so far (i64), but for what the host has charged.
    pub counter: String,
    /// The stack depth of the innermost caller, in nominal bytes (i32).
    pub depth: String,
}

impl GlobalFacts {
    /// Names that a module does not export.
    pub(super) fn beside(taken: &HashSet<&str>) -> Self {
        Self { counter: free_name(COUNTER_EXPORT, taken), depth: free_name(DEPTH_EXPORT, taken) }
    }
}

/// The indices of the meter's globals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Globals {
    /// The one of the counter, behind which comes that of the depth.
    first: u32,
}

impl Globals {
    /// Those behind so many of the guest's.
    pub(super) fn behind(first: u32) -> Self {
        Self { first }
    }

    pub(super) fn counter(self) -> u32 {
        self.first
    }

    pub(super) fn depth(self) -> u32 {
        self.first + 1
    }

    /// Appends them to the guest's.
    pub(super) fn define(globals: &mut GlobalSection) {
        let mutable = |val_type| GlobalType { val_type, mutable: true, shared: false };
        globals.global(mutable(ValType::I64), &ConstExpr::i64_const(0)).global(mutable(ValType::I32), &ConstExpr::i32_const(0));
    }

    pub(super) fn export(self, exports: &mut ExportSection, facts: &GlobalFacts) {
        exports.export(&facts.counter, ExportKind::Global, self.counter());
        exports.export(&facts.depth, ExportKind::Global, self.depth());
    }

    /// Shows the count to who looks from outside, in the memory number `memory`.
    pub(super) fn show(self, code: &mut Function, memory: u32) {
        let word = MemArg { offset: COUNTER, align: 3, memory_index: memory };
        code.instruction(&I::I32Const(0)).instruction(&I::GlobalGet(self.counter())).instruction(&I::I64Store(word));
    }
}

/// Whether an operator may call the host, which looks at the count. `calls_host` says whether calls through tables may.
pub(super) fn may_be_host(op: &Operator<'_>, imported_functions: u32, calls_host: bool) -> bool {
    match op {
        Operator::Call { function_index } => *function_index < imported_functions,
        Operator::CallIndirect { .. } => calls_host,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::module::BASELINE_RATIO;
    use super::super::{Options, instrument};
    use crate::engine::Tier;

    /// Of what is short in baseline code and long in the other form: traps that are kept apart, updates on taken branches, stores.
    #[test]
    fn no_function_is_so_much_longer_in_optimised_code_that_its_limit_is_missed() {
        let rows = [
            "(unreachable)",
            "(block (unreachable))",
            "(block (br_if 0 (i32.const 0)) (unreachable))",
            "(if (i32.const 1) (then (unreachable)))",
            "(br_if 0 (i32.const 0))",
            "(if (i32.const 1) (then))",
            "(i32.store (i32.const 0) (i32.const 0)) (br_if 0 (i32.const 0))",
            "(i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 0) (i32.const 0))",
            "(drop (i32.load (i32.const 0)))",
            "(drop (i32.add (i32.const 1) (i32.load (i32.const 0)))) (br_if 0 (i32.const 0))",
            "(drop (i32.load offset=99999999 (i32.const 0)))",
            "(loop (br_if 0 (i32.const 0)))",
            "(call $f)",
            "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))",
        ];
        for row in rows {
            let text = format!("(module (memory 1 1) (func $f) (func {}))", row.repeat(1_000));
            let wasm = wat::parse_str(text).unwrap();
            let bytes = |tier| instrument(&wasm, &Options { tier, ..Options::default() }).unwrap().wasm.len();
            let (baseline, optimised) = (bytes(Tier::Baseline), bytes(Tier::Optimised));
            assert!(optimised < baseline * BASELINE_RATIO, "{row}: {optimised} bytes beside {baseline}");
        }
    }
}
