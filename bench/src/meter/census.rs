//! How often a guest executes each class of operators: an instrument of its own, which shares nothing with the meter but the classes, so
//! that one can be checked against the other.

use std::collections::BTreeMap;

use adit_runtime::lab::{Class, class};
use anyhow::{Result, anyhow, ensure};
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, Function, GlobalSection, GlobalType, Instruction, Module, ValType,
};
use wasmparser::{FunctionBody, Operator, Parser, Payload, TypeRef};

/// What the counters' exports begin with.
pub(crate) const PREFIX: &str = "census:";

/// What is counted: executions of a class, what an operator that pays by size was told, or what rounds of loops wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// Operators of a class.
    Class(Class),
    /// Bytes that were copied within memory or into it.
    CopiedByte,
    /// Bytes that were filled.
    FilledByte,
    /// Pages that memories were asked to grow by.
    GrowPage,
    /// Units that the heads of loops cost because their rounds wait.
    Wait,
}

impl Item {
    /// Every item: classes in the order of their table, then sizes. Counters are exported in this order.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let others = [Self::CopiedByte, Self::FilledByte, Self::GrowPage, Self::Wait];
        Class::ALL.iter().map(|class| Self::Class(*class)).chain(others)
    }

    /// How tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Class(class) => class.name(),
            Self::CopiedByte => "copied byte",
            Self::FilledByte => "filled byte",
            Self::GrowPage => "grown page",
            Self::Wait => "waited unit",
        }
    }
}

/// Adds a counter for each item to a module whose loops wait for `waits`, function by function and loop by loop. The result counts and is
/// otherwise the same program, many times slower.
///
/// Only for modules that have globals and exports of their own and no imported global, as the kernels' has.
pub(crate) fn instrument(wasm: &[u8], waits: &[Box<[u32]>]) -> Result<Vec<u8>> {
    let mut instrument = Instrument::of(wasm, waits)?;
    let mut module = Module::new();
    instrument.parse_core_module(&mut module, Parser::new(0), wasm).map_err(|error| anyhow!("cannot instrument: {error}"))?;
    ensure!(instrument.exported, "the module exports nothing");
    Ok(module.finish())
}

/// What is rewritten, and how far it is.
struct Instrument<'w> {
    waits: &'w [Box<[u32]>],
    /// The index of the first counter.
    first_counter: u32,
    /// Parameters of each function that the module defines.
    params: Vec<u32>,
    /// Functions already rewritten.
    functions: usize,
    exported: bool,
}

impl<'w> Instrument<'w> {
    fn of(wasm: &[u8], waits: &'w [Box<[u32]>]) -> Result<Self> {
        let (mut types, mut params, mut first_counter) = (Vec::new(), Vec::new(), 0);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        types.push(ty?.params().len() as u32);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        ensure!(!matches!(import?.ty, TypeRef::Global(_)), "an imported global");
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        params.push(types[ty? as usize]);
                    }
                }
                Payload::GlobalSection(section) => first_counter = section.count(),
                _ => {}
            }
        }
        ensure!(first_counter > 0, "the module has no global");
        Ok(Self { waits, first_counter, params, functions: 0, exported: false })
    }

    fn counter(&self, item: Item) -> u32 {
        self.first_counter + Item::all().take_while(|other| *other != item).count() as u32
    }

    /// Charges what was collected since the last time.
    fn flush(&self, pending: &mut BTreeMap<Item, i64>, function: &mut Function) {
        for (item, count) in std::mem::take(pending) {
            let counter = self.counter(item);
            for instruction in [
                Instruction::GlobalGet(counter),
                Instruction::I64Const(count),
                Instruction::I64Add,
                Instruction::GlobalSet(counter),
            ] {
                function.instruction(&instruction);
            }
        }
    }

    /// Adds the size on top of the stack, 32 bits, to the counter of `item`, and leaves it there.
    fn count_size(&self, item: Item, scratch: u32, function: &mut Function) {
        let counter = self.counter(item);
        for instruction in [
            Instruction::LocalTee(scratch),
            Instruction::I64ExtendI32U,
            Instruction::GlobalGet(counter),
            Instruction::I64Add,
            Instruction::GlobalSet(counter),
            Instruction::LocalGet(scratch),
        ] {
            function.instruction(&instruction);
        }
    }
}

impl Reencode for Instrument<'_> {
    type Error = std::convert::Infallible;

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_global_section(self, globals, section)?;
        for _ in Item::all() {
            globals.global(GlobalType { val_type: ValType::I64, mutable: true, shared: false }, &ConstExpr::i64_const(0));
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_export_section(self, exports, section)?;
        for item in Item::all() {
            exports.export(&format!("{PREFIX}{}", item.name()), ExportKind::Global, self.counter(item));
        }
        self.exported = true;
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), Error<Self::Error>> {
        let mut locals = Vec::new();
        let mut scratch = self.params[self.functions];
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            scratch += count;
            locals.push((count, self.val_type(ty)?));
        }
        locals.push((1, ValType::I32));
        let mut waits = self.waits[self.functions].iter();
        self.functions += 1;
        let mut function = Function::new(locals);
        let mut pending = BTreeMap::new();
        for op in body.get_operators_reader()? {
            let op = op?;
            let is_loop = matches!(op, Operator::Loop { .. });
            // The head of a loop is charged each time round, so it belongs to what follows it.
            if is_loop {
                self.flush(&mut pending, &mut function);
                pending.extend(waits.next().map(|wait| (Item::Wait, i64::from(*wait))));
            }
            *pending.entry(Item::Class(class(&op))).or_default() += 1;
            if leaves(&op) {
                self.flush(&mut pending, &mut function);
            }
            if let Some(item) = sized(&op) {
                self.count_size(item, scratch, &mut function);
            }
            function.instruction(&self.instruction(op)?);
        }
        code.function(&function);
        Ok(())
    }
}

/// Whether what stands after `op` may be reached by another way than through it, or not at all.
fn leaves(op: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        op,
        O::If { .. }
            | O::Else
            | O::End
            | O::Br { .. }
            | O::BrIf { .. }
            | O::BrTable { .. }
            | O::Return
            | O::Unreachable
            | O::Call { .. }
            | O::CallIndirect { .. }
    )
}

/// What the size on top of the stack counts.
fn sized(op: &Operator<'_>) -> Option<Item> {
    match op {
        Operator::MemoryCopy { .. } | Operator::MemoryInit { .. } => Some(Item::CopiedByte),
        Operator::MemoryFill { .. } => Some(Item::FilledByte),
        Operator::MemoryGrow { .. } => Some(Item::GrowPage),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    /// What `_start` counts of `items`.
    fn counts(body: &str, items: &[Item]) -> Vec<i64> {
        counts_with_waits(body, &[], items)
    }

    /// The same where its loops wait for `waits`.
    fn counts_with_waits(body: &str, waits: &[u32], items: &[Item]) -> Vec<i64> {
        let text = format!(
            "(module (memory 1) (global $g (mut i32) (i32.const 0)) (func $f (param i32) nop)
               (func (export \"_start\") (local i32) {body}))"
        );
        let engine = Engine::default();
        let module =
            Module::new(&engine, instrument(&wat::parse_str(text).unwrap(), &[[].into(), waits.into()]).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let _ = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap().call(&mut store, ());
        let mut read = |item: &Item| {
            let global = instance.get_global(&mut store, &format!("{PREFIX}{}", item.name())).unwrap();
            global.get(&mut store).unwrap_i64()
        };
        items.iter().map(&mut read).collect()
    }

    #[test]
    fn operators_are_counted_as_often_as_they_are_executed() {
        let class = Item::Class;
        let round = "(local.set 0 (i32.const 5)) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))";
        assert_eq!(counts(round, &[class(Class::Loop), class(Class::Branch), class(Class::Integer)]), [5, 5, 5]);
        let arms = "(if (i32.const 0) (then (f32.sqrt (f32.const 1)) drop) (else (i32.mul (i32.const 2) (i32.const 2)) drop))";
        assert_eq!(counts(arms, &[class(Class::FloatRoot), class(Class::IntegerMultiply), class(Class::Branch)]), [0, 1, 1]);
        let left = "(block (br 0) (call $f (i32.const 1))) (call $f (i32.const 1))";
        assert_eq!(counts(left, &[class(Class::Jump), class(Class::Call), class(Class::Register)]), [1, 1, 1]);
        let table = "(block (block (br_table 0 1 (i32.const 0))) (global.set $g (i32.const 1)))";
        assert_eq!(counts(table, &[class(Class::BranchTable), class(Class::Global)]), [1, 1]);
    }

    #[test]
    fn heads_of_loops_count_what_their_rounds_wait_for() {
        let round = |inside: &str| {
            format!("(local.set 0 (i32.const 5)) (loop {inside} (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))")
        };
        let body = round("") + &round("(loop)");
        assert_eq!(counts_with_waits(&body, &[7, 1, 100], &[Item::Wait]), [5 * 7 + 5 + 5 * 100]);
        assert_eq!(counts_with_waits(&body, &[], &[Item::Wait]), [0]);
    }

    #[test]
    fn sizes_are_counted_as_they_are_told() {
        let body = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 100))
            (memory.copy (i32.const 0) (i32.const 50) (i32.const 7)) (drop (memory.grow (i32.const 3)))";
        let sizes = [Item::FilledByte, Item::CopiedByte, Item::GrowPage];
        assert_eq!(counts(body, &sizes), [100, 7, 3]);
        assert_eq!(counts(body, &[Item::Class(Class::Bulk), Item::Class(Class::Grow)]), [2, 1]);
    }
}
