//! A second meter, as simple as one can be: each basic block adds its weight to a global when it is entered. Nothing of it is shared
//! with the meter that makes bills but the table of weights, so where both agree, both are right about what a block is, about where
//! it is entered, and about what is charged before a trap.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ExportKind, ExportSection, Function, GlobalSection, GlobalType, Instruction as I, Module,
    RawSection, SectionId, ValType,
};
use wasmparser::{FunctionBody, Operator, Parser, Payload, TypeRef};

use crate::oracle::subject::COUNT;

/// The export that was the start function.
pub(crate) const START: &str = "the reference's start";
/// The most elements that any table may have under the profile.
const TABLE_ELEMENTS_MAX: u64 = 100_000;

/// What things cost, in units.
pub(crate) struct Prices<'a> {
    /// What an operator costs.
    pub(crate) operator: &'a dyn Fn(&Operator<'_>) -> u64,
    /// What a round of each loop costs beyond: of each function, loop by loop, or nothing where none does.
    pub(crate) waits: &'a [Box<[u32]>],
    /// A byte that is copied within memory or into it.
    pub(crate) copied_byte: u64,
    /// A byte that is filled.
    pub(crate) filled_byte: u64,
    /// A table element that a bulk operation touches, or that a table grows by.
    pub(crate) element: u64,
    /// A page that a memory grows by.
    pub(crate) page: u64,
    /// The most pages that the memory may have.
    pub(crate) pages_max: u64,
}

/// Makes a valid module count what it does in a global of its own.
pub(crate) fn instrument(wasm: &[u8], prices: &Prices<'_>) -> Vec<u8> {
    let facts = Facts::of(wasm);
    let mut out = Module::new();
    let (mut has_globals, mut has_exports) = (false, false);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.unwrap();
        let Some((id, range)) = payload.as_section() else { continue };
        if id == SectionId::Custom as u8 {
            continue;
        }
        if id >= SectionId::Global as u8 && !has_globals {
            has_globals = true;
            let mut section = GlobalSection::new();
            if let Payload::GlobalSection(reader) = &payload {
                RoundtripReencoder.parse_global_section(&mut section, reader.clone()).unwrap();
            }
            out.section(&with_count(section));
        }
        if id >= SectionId::Export as u8 && !has_exports {
            has_exports = true;
            let mut section = ExportSection::new();
            if let Payload::ExportSection(reader) = &payload {
                RoundtripReencoder.parse_export_section(&mut section, reader.clone()).unwrap();
            }
            out.section(&with_exports(section, &facts));
        }
        match payload {
            Payload::GlobalSection(_) | Payload::ExportSection(_) | Payload::StartSection { .. } => {}
            Payload::CodeSectionStart { .. } => {
                out.section(&count_code(wasm, &facts, prices));
            }
            _ => {
                out.section(&RawSection { id, data: &wasm[range] });
            }
        }
    }
    if !has_globals {
        out.section(&with_count(GlobalSection::new()));
    }
    if !has_exports {
        out.section(&with_exports(ExportSection::new(), &facts));
    }
    out.finish()
}

fn count_code(wasm: &[u8], facts: &Facts, prices: &Prices<'_>) -> CodeSection {
    let mut code = CodeSection::new();
    for (index, (body, ty)) in bodies(wasm).iter().zip(&facts.functions).enumerate() {
        let waits = prices.waits.get(index).map_or(&[][..], |waits| waits);
        code.function(&count_function(body, facts.types[*ty as usize], facts, prices, waits));
    }
    code
}

fn bodies(wasm: &[u8]) -> Vec<FunctionBody<'_>> {
    let payloads = Parser::new(0).parse_all(wasm);
    payloads
        .filter_map(|payload| if let Payload::CodeSectionEntry(body) = payload.unwrap() { Some(body) } else { None })
        .collect()
}

/// What must be known of a module before it is rewritten.
#[derive(Default)]
struct Facts {
    globals: u32,
    start: Option<u32>,
    /// The most elements of each table.
    tables: Vec<u64>,
    /// How many parameters each type has.
    types: Vec<u32>,
    /// The type of each function that the module defines.
    functions: Vec<u32>,
}

impl Facts {
    fn of(wasm: &[u8]) -> Self {
        let mut facts = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::TypeSection(types) => {
                    facts.types.extend(types.into_iter_err_on_gc_types().map(|ty| ty.unwrap().params().len() as u32));
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import.unwrap().ty {
                            TypeRef::Global(_) => facts.globals += 1,
                            TypeRef::Table(ty) => facts.tables.push(ty.maximum.unwrap_or(u64::MAX)),
                            _ => {}
                        }
                    }
                }
                Payload::FunctionSection(types) => facts.functions.extend(types.into_iter().map(|ty| ty.unwrap())),
                Payload::TableSection(tables) => {
                    facts.tables.extend(tables.into_iter().map(|table| table.unwrap().ty.maximum.unwrap_or(u64::MAX)));
                }
                Payload::GlobalSection(globals) => facts.globals += globals.count(),
                Payload::StartSection { func, .. } => facts.start = Some(func),
                _ => {}
            }
        }
        facts
    }
}

fn with_count(mut globals: GlobalSection) -> GlobalSection {
    globals.global(GlobalType { val_type: ValType::I64, mutable: true, shared: false }, &ConstExpr::i64_const(0));
    globals
}

fn with_exports(mut exports: ExportSection, facts: &Facts) -> ExportSection {
    exports.export(COUNT, ExportKind::Global, facts.globals);
    if let Some(start) = facts.start {
        exports.export(START, ExportKind::Func, start);
    }
    exports
}

/// A function of so many parameters whose blocks add their weight when they are entered.
fn count_function(body: &FunctionBody<'_>, params: u32, facts: &Facts, prices: &Prices<'_>, waits: &[u32]) -> Function {
    let ops: Vec<Operator<'_>> = body.get_operators_reader().unwrap().into_iter().map(|op| op.unwrap()).collect();
    let locals = body.get_locals_reader().unwrap().into_iter().map(|group| group.unwrap());
    let mut locals: Vec<_> = locals.map(|(count, ty)| (count, RoundtripReencoder.val_type(ty).unwrap())).collect();
    let size = params + locals.iter().map(|(count, _)| count).sum::<u32>();
    locals.push((1, ValType::I32));
    let mut function = Function::new(locals);
    for (op, weight) in ops.iter().zip(block_weights(&ops, prices.operator, waits)) {
        if weight > 0 {
            function.instruction(&I::I64Const(weight as i64));
            add(&mut function, facts);
        }
        pay_for_size(&mut function, op, size, facts, prices);
        function.instruction(&RoundtripReencoder.instruction(op.clone()).unwrap());
    }
    function
}

/// What is to be added before each operator: the weight of the block that begins there, else nothing. Code that cannot be reached may
/// get a weight; it is never added.
fn block_weights(ops: &[Operator<'_>], weight: &dyn Fn(&Operator<'_>) -> u64, waits: &[u32]) -> Vec<u64> {
    let mut weights = vec![0; ops.len() + 1];
    let (mut block, mut is_loop) = (0, Vec::new());
    let mut waits = waits.iter();
    for (at, op) in ops.iter().enumerate() {
        // The head of a loop is paid for each time round, so by the block behind it.
        let paid_in = if matches!(op, Operator::Loop { .. }) { at + 1 } else { block };
        weights[paid_in] += weight(op);
        if matches!(op, Operator::Loop { .. }) {
            weights[paid_in] += waits.next().map_or(0, |wait| u64::from(*wait));
        }
        let ends_block = match op {
            Operator::Block { .. } => {
                is_loop.push(false);
                false
            }
            Operator::If { .. } => {
                is_loop.push(false);
                true
            }
            Operator::Loop { .. } => {
                is_loop.push(true);
                true
            }
            // Nothing but the code before it comes to the end of a loop.
            Operator::End => !is_loop.pop().unwrap_or(false),
            Operator::Else | Operator::Br { .. } | Operator::BrIf { .. } | Operator::BrTable { .. } => true,
            Operator::Return | Operator::Unreachable | Operator::Call { .. } | Operator::CallIndirect { .. } => true,
            Operator::MemoryGrow { .. } | Operator::TableGrow { .. } => true,
            _ => false,
        };
        if ends_block {
            block = at + 1;
        }
    }
    weights.truncate(ops.len());
    weights
}

/// Adds the value on top of the stack to the count.
fn add(function: &mut Function, facts: &Facts) {
    function.instruction(&I::GlobalGet(facts.globals)).instruction(&I::I64Add).instruction(&I::GlobalSet(facts.globals));
}

/// Pays for the size on top of the stack, where an operator costs by it.
fn pay_for_size(function: &mut Function, op: &Operator<'_>, size: u32, facts: &Facts, prices: &Prices<'_>) {
    let (price, grows) = match op {
        Operator::MemoryFill { .. } => (prices.filled_byte, None),
        Operator::MemoryCopy { .. } | Operator::MemoryInit { .. } => (prices.copied_byte, None),
        Operator::TableFill { .. } | Operator::TableCopy { .. } | Operator::TableInit { .. } => (prices.element, None),
        Operator::MemoryGrow { mem } => (prices.page, Some((I::MemorySize(*mem), prices.pages_max))),
        Operator::TableGrow { table } => {
            (prices.element, Some((I::TableSize(*table), facts.tables[*table as usize].min(TABLE_ELEMENTS_MAX))))
        }
        _ => return,
    };
    function.instruction(&I::LocalSet(size));
    if let Some((now, most)) = &grows {
        function.instruction(now).instruction(&I::I64ExtendI32U).instruction(&I::LocalGet(size)).instruction(&I::I64ExtendI32U);
        function.instruction(&I::I64Add).instruction(&I::I64Const(*most as i64)).instruction(&I::I64LeU);
        function.instruction(&I::If(BlockType::Empty));
    }
    function.instruction(&I::LocalGet(size)).instruction(&I::I64ExtendI32U).instruction(&I::I64Const(price as i64));
    function.instruction(&I::I64Mul);
    add(function, facts);
    if grows.is_some() {
        function.instruction(&I::End);
    }
    function.instruction(&I::LocalGet(size));
}
