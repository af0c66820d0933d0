//! The code that makes a value canonical.
//!
//! It branches, yet all that comes after the pass takes it for a step that does nothing: both ways meet again at once, count nothing,
//! trap nowhere, and leave the operand stack as high as it was. So no update of the counter is ever put on one of them.

use wasm_encoder::{BlockType, BranchHint, Function, Instruction as I, MemArg};
use wasmparser::ValType;

use super::facts::Lanes;
use super::graph::Form;
use super::{CANONICAL_32, CANONICAL_64};

/// A piece of that code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mend {
    /// Makes what a local holds canonical.
    Local { local: u32, form: Form },
    /// Makes the operand on top of the stack canonical, in a local that nobody else uses.
    Top { scratch: u32, form: Form },
    /// Keeps the operand on top of the stack in a local.
    Keep(u32),
    /// Makes what was stored canonical, as long as the locals have addresses and values.
    Stored { form: Form, sum: u32, stores: Vec<(Stored, u32)> },
}

/// Where a value was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The local that has the address.
    pub(super) address: u32,
    /// What is added to it.
    pub(super) offset: u64,
}

impl Mend {
    /// Writes the code, and adds to `hints` where it branches and which way it hardly ever goes.
    ///
    /// Measured on x86-64: a scalar costs least where it stays as it is, and a branch that is never taken leads to the NaN. Not so with
    /// a `select`, which loads the NaN and moves the value each time; a comparison of the bits as an integer takes more instructions.
    /// A comparison `>=` is one condition of the processor, `==` is two. Vectors are compared and blended by two instructions.
    pub(crate) fn write(&self, code: &mut Function, hints: &mut Vec<BranchHint>) {
        match self {
            Self::Local { local, form } => mend_local(code, hints, *local, *form),
            Self::Top { scratch, form } => {
                code.instruction(&I::LocalSet(*scratch));
                mend_local(code, hints, *scratch, *form);
                code.instruction(&I::LocalGet(*scratch));
            }
            Self::Keep(local) => {
                code.instruction(&I::LocalTee(*local));
            }
            Self::Stored { form, sum, stores } => mend_stored(code, hints, *form, *sum, stores),
        }
    }
}

fn mend_local(code: &mut Function, hints: &mut Vec<BranchHint>, local: u32, form: Form) {
    if form.is_scalar() {
        open_cold(code, hints, local, form);
        code.instruction(&form.nan()).instruction(&I::LocalSet(local)).instruction(&I::End);
    } else {
        push_canonical(code, local, form);
        code.instruction(&I::LocalSet(local));
    }
}

/// Tests the sum of what was stored, and stores it again if that is a NaN.
fn mend_stored(code: &mut Function, hints: &mut Vec<BranchHint>, form: Form, sum: u32, stores: &[(Stored, u32)]) {
    let add = if form == Form::F32 { I::F32Add } else { I::F64Add };
    for (n, (_, value)) in stores.iter().enumerate() {
        code.instruction(&I::LocalGet(*value));
        if n > 0 {
            code.instruction(&add);
        }
    }
    code.instruction(&I::LocalSet(sum));
    open_cold(code, hints, sum, form);
    for (Stored { address, offset }, value) in stores {
        code.instruction(&I::LocalGet(*address));
        push_canonical(code, *value, form);
        let memarg = MemArg { offset: *offset, align: 0, memory_index: 0 };
        code.instruction(&if form == Form::F32 { I::F32Store(memarg) } else { I::F64Store(memarg) });
    }
    code.instruction(&I::End);
}

/// Opens what is executed if a scalar in a local is a NaN.
fn open_cold(code: &mut Function, hints: &mut Vec<BranchHint>, local: u32, form: Form) {
    let get = I::LocalGet(local);
    code.instruction(&get).instruction(&get).instruction(&form.equals_itself());
    let branch_func_offset = u32::try_from(code.byte_len()).expect("a function is far below 4 GiB");
    hints.push(BranchHint { branch_func_offset, branch_hint_value: 1 });
    code.instruction(&I::If(BlockType::Empty)).instruction(&I::Else);
}

/// Pushes what a local holds, with the canonical NaN in place of others.
fn push_canonical(code: &mut Function, local: u32, form: Form) {
    let get = I::LocalGet(local);
    code.instruction(&get).instruction(&form.nan());
    code.instruction(&get).instruction(&get).instruction(&form.equals_itself());
    code.instruction(&if form.is_scalar() { I::Select } else { I::V128Bitselect });
}

impl Form {
    pub(super) fn new(lanes: Lanes, vector: bool) -> Self {
        match (lanes, vector) {
            (Lanes::Of32, false) => Self::F32,
            (Lanes::Of64, false) => Self::F64,
            (Lanes::Of32, true) => Self::F32x4,
            (Lanes::Of64, true) => Self::F64x2,
        }
    }

    pub(super) fn ty(self) -> ValType {
        match self {
            Self::F32 => ValType::F32,
            Self::F64 => ValType::F64,
            Self::F32x4 | Self::F64x2 => ValType::V128,
        }
    }

    pub(super) fn is_scalar(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// A comparison that holds between a value and itself unless it is a NaN.
    fn equals_itself(self) -> I<'static> {
        match self {
            Self::F32 => I::F32Ge,
            Self::F64 => I::F64Ge,
            Self::F32x4 => I::F32x4Eq,
            Self::F64x2 => I::F64x2Eq,
        }
    }

    /// The canonical NaN, in every lane.
    fn nan(self) -> I<'static> {
        match self {
            Self::F32 => I::F32Const(f32::from_bits(CANONICAL_32).into()),
            Self::F64 => I::F64Const(f64::from_bits(CANONICAL_64).into()),
            Self::F32x4 => I::V128Const(repeated(&CANONICAL_32.to_le_bytes())),
            Self::F64x2 => I::V128Const(repeated(&CANONICAL_64.to_le_bytes())),
        }
    }
}

fn repeated(lane: &[u8]) -> i128 {
    let mut bytes = [0; 16];
    bytes.chunks_exact_mut(lane.len()).for_each(|chunk| chunk.copy_from_slice(lane));
    i128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use wasmparser::{KnownCustom, Parser, Payload};

    use crate::meter::{Options, instrument};

    const IF: u8 = 0x04;

    /// A hint elsewhere than at a branch would say nothing, and cost would tell nobody but a clock.
    #[test]
    fn hints_stand_at_branches_of_functions_behind_the_imported_ones() {
        let store =
            "(func (param i32 f64) (loop $l (f64.store (local.get 0) (f64.sqrt (local.get 1))) (br_if $l (local.get 0))))";
        let wat = format!("(module (import \"env\" \"see\" (func (param f64))) (memory 1) (func nop) {store} {store})");
        let wasm = instrument(&wat::parse_str(wat).unwrap(), &Options::default()).unwrap().wasm;
        let (mut hinted, mut functions) = (HashMap::new(), 1..);
        for payload in Parser::new(0).parse_all(&wasm) {
            match payload.unwrap() {
                Payload::CustomSection(custom) => {
                    let KnownCustom::BranchHints(reader) = custom.as_known() else { continue };
                    let hints = reader.into_iter().map(|function| function.unwrap());
                    hinted.extend(
                        hints.map(|function| (function.func, function.hints.into_iter().map(|hint| hint.unwrap()).collect())),
                    );
                }
                Payload::CodeSectionEntry(body) => {
                    let hints: Vec<wasmparser::BranchHint> = hinted.remove(&functions.next().unwrap()).unwrap_or_default();
                    hints
                        .iter()
                        .for_each(|hint| assert_eq!((body.as_bytes()[hint.func_offset as usize], hint.taken), (IF, true)));
                    assert_eq!(hints.is_empty(), functions.start == 2, "the first function looks at no float");
                }
                _ => {}
            }
        }
        assert_eq!(functions.start, 4);
    }
}
