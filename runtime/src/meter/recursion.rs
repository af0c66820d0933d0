//! Short functions that call themselves are inlined into themselves, once: half of their calls are none then, and pay nothing for the look at
//! the limit, the depth and the registers that a call costs.
//!
//! ```text
//! call $f            local.set $x'    ; its parameters, last first
//!                    i32.const 0      ; its other locals begin at zero
//!                    local.set $y'
//!                    block (result)   ; the function's own label
//!                      B'             ; the body, with locals of its own; `return` leaves the block
//!                    end
//! ```
//!
//! What stands in the copy costs what it costs in the function, and the call's own weight stands before it, so totals do not change. The calls
//! within the copy stay calls. Such a function nests half as often, with a frame that is that of the whole: how deep it comes does change, and
//! where it looks at the limit, so that what is inlined belongs to the meter's version.

use wasmparser::{BlockType, FuncType, Operator, ValType};

use super::body::{Body, Inlined, Step};

/// Operators of a function and of all its copies together, structure and what each copy begins with included; each target of a table counts as one.
/// Longer ones do enough beside their calls, and a hostile module of nothing but such functions becomes at most some ten times as long.
const OPERATORS_MAX: usize = 128;

/// Inlines the calls of itself into the function of this index and type.
pub(super) fn inline_recursion(body: &mut Body<'_>, function: u32, ty: &FuncType) {
    let is_own = |step: &Step<'_>| matches!(step.op, Operator::Call { function_index } if function_index == function);
    let calls = body.steps.iter().filter(|step| is_own(step)).count();
    let begins = body.params as usize + 2 * (body.locals.len() - body.params as usize);
    let operators = begins + body.steps.iter().map(operators).sum::<usize>();
    if calls == 0 || operators * (calls + 1) > OPERATORS_MAX {
        return;
    }
    let block = match ty.results() {
        [] => BlockType::Empty,
        [result] => BlockType::Type(*result),
        // Few modules have the type of a block that takes nothing and leaves so much.
        _ => return,
    };
    let begin = begin(body);
    let copy = copy(&body.steps, body.locals.len() as u32);
    body.locals.extend_from_within(..);
    let mut out = Vec::with_capacity(OPERATORS_MAX);
    for step in std::mem::take(&mut body.steps) {
        if !is_own(&step) {
            out.push(step);
            continue;
        }
        out.push(Step::new(step.weight, Operator::Nop));
        out.extend(begin.iter().cloned());
        out.push(Step { inlined: Inlined::Begins, ..Step::free(Operator::Block { blockty: block }) });
        out.extend(copy.iter().cloned());
    }
    body.steps = out;
}

fn operators(step: &Step<'_>) -> usize {
    match &step.op {
        Operator::BrTable { targets } => 1 + targets.len() as usize,
        _ => 1,
    }
}

/// What a call does before the body: it takes its parameters off the stack and clears its other locals, which the copies have in turn.
fn begin<'a>(body: &Body<'_>) -> Vec<Step<'a>> {
    let (first, params) = (body.locals.len() as u32, body.params as usize);
    let set = |local: usize| Step::free(Operator::LocalSet { local_index: first + local as u32 });
    let mut steps: Vec<_> = (0..params).rev().map(set).collect();
    for (local, ty) in body.locals.iter().enumerate().skip(params) {
        steps.push(Step::free(match ty {
            ValType::I32 => Operator::I32Const { value: 0 },
            ValType::I64 => Operator::I64Const { value: 0 },
            ValType::F32 => Operator::F32Const { value: 0.0.into() },
            ValType::F64 => Operator::F64Const { value: 0.0.into() },
            ValType::V128 => Operator::V128Const { value: 0_i128.into() },
            ValType::Ref(ty) => Operator::RefNull { hty: ty.heap_type() },
        }));
        steps.push(set(local));
    }
    steps
}

/// The body as it stands in a block, with locals from `first` on. Branches to the function's label are such to the block's.
fn copy<'a>(steps: &[Step<'a>], first: u32) -> Vec<Step<'a>> {
    let mut nest = 0;
    let copied = steps.iter().map(|step| {
        let op = match &step.op {
            Operator::LocalGet { local_index } => Operator::LocalGet { local_index: first + local_index },
            Operator::LocalSet { local_index } => Operator::LocalSet { local_index: first + local_index },
            Operator::LocalTee { local_index } => Operator::LocalTee { local_index: first + local_index },
            Operator::Return => Operator::Br { relative_depth: nest },
            op => {
                match op {
                    Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => nest += 1,
                    // The last one is the block's.
                    Operator::End => nest = nest.saturating_sub(1),
                    _ => {}
                }
                op.clone()
            }
        };
        Step { op, ..step.clone() }
    });
    let mut copied: Vec<_> = copied.collect();
    copied.last_mut().expect("a body has an end").inlined = Inlined::Ends;
    copied
}

#[cfg(test)]
mod tests {
    use wasmparser::{Parser, Payload};

    use super::*;
    use crate::meter::{Options, instrument};

    /// The calls of functions that stand in the first function of a module.
    fn calls(functions: &str) -> usize {
        let wasm = wat::parse_str(format!("(module {functions})")).unwrap();
        let metered = instrument(&wasm, &Options::default()).unwrap();
        let mut bodies = Parser::new(0).parse_all(&metered.wasm).filter_map(|payload| match payload.unwrap() {
            Payload::CodeSectionEntry(body) => Some(body),
            _ => None,
        });
        let operators = bodies.next().unwrap().get_operators_reader().unwrap();
        operators.into_iter().filter(|op| matches!(op, Ok(Operator::Call { .. }))).count()
    }

    #[test]
    fn short_functions_that_call_themselves_are_inlined_once() {
        let of_length = |steps: usize| format!("(func $f {} (call $f))", "nop ".repeat(steps - 2));
        let most = OPERATORS_MAX / 2;
        let rows = [
            ("no call", "(func $f)".to_owned(), 0),
            // One in the function, and one in the copy, of which the first is none any more.
            ("one call", "(func $f (call $f))".to_owned(), 1),
            ("two calls", "(func $f (call $f) (call $f))".to_owned(), 4),
            ("calls of others", "(func $f (call $g) (call $f)) (func $g)".to_owned(), 3),
            ("a circle of two", "(func $f (call $g)) (func $g (call $f))".to_owned(), 1),
            ("a result", "(func $f (result i32) (i32.add (call $f) (call $f)))".to_owned(), 4),
            ("several results", "(func $f (result i32 i32) (call $f) (drop) (drop) (call $f))".to_owned(), 2),
            ("as long as may be", of_length(most), 1),
            (
                "as long as may be, called twice",
                format!("(func $f {} (call $f) (call $f))", "nop ".repeat(OPERATORS_MAX / 3 - 3)),
                4,
            ),
            (
                "many locals",
                "(func $f (local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (call $f) (call $f))"
                    .to_owned(),
                4,
            ),
            ("more locals than are worth it", format!("(func $f (local {}) (call $f) (call $f))", "v128 ".repeat(64)), 2),
            ("a table of many targets", format!("(func $f (call $f) (call $f) (br_table {} (i32.const 0)))", "0 ".repeat(64)), 2),
            ("too long, called twice", format!("(func $f {} (call $f) (call $f))", "nop ".repeat(OPERATORS_MAX / 3 - 2)), 2),
        ];
        for (what, functions, want) in rows {
            assert_eq!(calls(&functions), want, "{what}");
        }
        // One call either way: what tells is whether the body stands there twice.
        let nops = |steps| {
            let wasm = wat::parse_str(format!("(module {})", of_length(steps))).unwrap();
            let mut body = Parser::new(0).parse_all(&wasm).find_map(|payload| match payload.unwrap() {
                Payload::CodeSectionEntry(body) => Some(Body::decode(&FuncType::new([], []), &body, |_| 1).unwrap()),
                _ => None,
            });
            let body = body.as_mut().unwrap();
            inline_recursion(body, 0, &FuncType::new([], []));
            (body.steps.len() > steps, body.steps.iter().map(|step| step.weight as usize).sum::<usize>())
        };
        assert_eq!(nops(most), (true, 2 * most));
        assert_eq!(nops(most + 1), (false, most + 1));
    }
}
