//! A metered module: the guest's sections byte for byte, but for its code and for a memory more.
//!
//! The meter's memory comes behind all others, so nothing is renumbered: imports, exports, segments, indirect calls and the name
//! section mean what they meant. A start function becomes an export, because it must not run before the limit is written.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use wasm_encoder::reencode::Reencode;
use wasm_encoder::{
    BranchHints, CodeSection, ElementSection, ExportKind, ExportSection, FunctionSection, GlobalSection, MemorySection,
    MemoryType, Module, RawSection, SectionId, TableSection, TypeSection,
};
use wasmparser::{
    CompositeInnerType, ConstExpr, DataKind, Element, ElementItems, ElementKind, ExternalKind, FuncType, FunctionBody,
    KnownCustom, Operator, Parser, Payload, TableInit, TypeRef,
};

use super::baseline::{GlobalFacts, Globals};
use super::body::{Body, Signatures};
use super::calls::{self, Callees, Circle, Entry, UNCHECKED_UNITS_MAX};
use super::debts::Debts;
use super::emit::{Context, Emitted, emit};
use super::graph::{Function, Graph};
use super::nan::canonicalise;
use super::pending::Pending;
use super::pieces::{self, Pieces};
use super::place::cheapest_debt;
use super::recurrence::{add_waits, waits};
use super::recursion::inline_recursion;
use super::repeat::repeat_loops;
use super::wrappers::{self, Redirect, Wrappers};
use super::{MeterError, Options};
use crate::engine::Tier;

/// Bytes of the meter's memory: its words. So small a memory is cleared by writing to it, where for a larger one the kernel is asked which
/// pages were touched.
const METER_BYTES: u64 = super::words::BYTES_USED as u64;
/// What the meter's memory is exported as, with as many `'` behind it as the guest's own names make necessary.
const MEMORY_EXPORT: &str = "$meter";
/// The same for a start function.
const START_EXPORT: &str = "$start";
/// The same for the table of the host's functions that a profile is made by.
const PROFILE_EXPORT: &str = "$profile";

/// Bytes of a function that the engine's reader takes. The meter makes of one within admission's limit up to some eighty times as many: it
/// repeats short loops, and what makes a vector canonical is longer than what made it.
const FUNCTION_BYTES_MAX: usize = 7_654_321;
/// The same in baseline code. Whether a module is one that runs here is for its optimised form to say, in which a function is some times as
/// long: what comes near to that is not begun in baseline code.
const BASELINE_FUNCTION_BYTES_MAX: usize = FUNCTION_BYTES_MAX / BASELINE_RATIO;
/// No function is so many times as long in its optimised form as in baseline code.
pub(super) const BASELINE_RATIO: usize = 16;

/// A module with its meter.
#[derive(Debug, Clone)]
pub struct Metered {
    /// The rewritten module.
    pub wasm: Vec<u8>,
    /// What its counter lacks where.
    pub pending: Pending,
    /// What whoever runs it must know.
    pub facts: Facts,
}

/// What the host must know of a metered module to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The name that the meter's memory is exported as.
    pub meter_export: String,
    /// The name of what was the start function. To be called once, after the limit was written and before anything else.
    pub start_export: Option<String>,
    /// The pages that the guest's own memory begins with.
    pub memory_pages: u64,
    /// The pages that the module allows it.
    pub memory_pages_max: u64,
    /// Bytes of data that instantiation copies.
    pub data_bytes: u64,
    /// Data segments that it copies one by one: all of them, where the compiler could not make one image of the memory.
    pub copied_segments: u64,
    /// The indices of the meter's own functions that do a guest's fills and copies for it.
    pub pieces: Range<u32>,
    /// Table elements that instantiation writes as the compiler left them: those of the first active segments, as long as each lists
    /// functions and says where they go by a constant.
    pub elements: u64,
    /// Those that it computes: of passive segments, and of active ones from the first on that is not so plain; and globals that are
    /// references of functions.
    pub computed_elements: u64,
    /// Places that tables begin with.
    pub table_places: u64,
    /// There where functions tell of themselves.
    pub profile: Option<ProfileFacts>,
    /// There in baseline code: the globals that the counter and the depth are in.
    pub globals: Option<GlobalFacts>,
}

/// What the host must know of a module whose functions tell of themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileFacts {
    /// The name that the table of the host's functions is exported as.
    pub export: String,
    /// The functions that the module had, imported ones included: those behind are the meter's own.
    pub functions: u32,
}

/// The active data segments of a module.
#[derive(Debug, Default)]
struct ActiveData {
    segments: u64,
    bytes: u64,
    /// From the first byte that one writes to behind the last.
    span: Option<Range<u64>>,
    /// The least bytes that a memory must have for all to fit.
    end: u64,
    /// Whether one goes where no constant says.
    is_computed: bool,
}

impl ActiveData {
    /// Adds a segment of so many bytes; with its offset, where that is a constant.
    fn add(&mut self, offset: Option<u32>, bytes: u64) {
        self.segments += 1;
        self.bytes += bytes;
        let Some(offset) = offset.map(u64::from) else {
            self.is_computed = true;
            return;
        };
        self.end = self.end.max(offset + bytes);
        if bytes > 0 {
            let Range { start, end } = self.span.take().unwrap_or(offset..offset);
            self.span = Some(start.min(offset)..end.max(offset + bytes));
        }
    }

    /// Those that are copied one by one into a memory of so many pages, as wasmtime decides it (`try_static_init`): all or none.
    fn copied_segments(&self, pages: u64) -> u64 {
        let image = self.span.as_ref().map_or(0, |span| span.end - span.start);
        let is_dense = image < (self.bytes * 2).max(crate::engine::SPARSE_IMAGE_BYTES);
        let is_image = !self.is_computed && self.end <= pages << 16 && is_dense;
        if is_image { 0 } else { self.segments }
    }
}

/// What the loops of each function of a module wait for.
pub(super) fn loop_waits(wasm: &[u8], options: &Options) -> Result<Vec<Box<[u32]>>, MeterError> {
    Ok(Outline::read(wasm, options)?.waits)
}

/// Rewrites a module that has been validated.
pub(super) fn rewrite(wasm: &[u8], options: &Options) -> Result<Metered, MeterError> {
    let outline = Outline::read(wasm, options)?;
    let meter_export = free_name(MEMORY_EXPORT, &outline.exports);
    let start_export = outline.start.map(|_| free_name(START_EXPORT, &outline.exports));
    let (code, hints, functions) = outline.code(options)?;
    let facts = Facts {
        meter_export,
        start_export,
        memory_pages: outline.memory_pages,
        memory_pages_max: outline.memory_pages_max,
        data_bytes: outline.data.bytes,
        copied_segments: outline.data.copied_segments(outline.memory_pages),
        pieces: outline.piece_indices(),
        elements: outline.elements,
        computed_elements: outline.computed_elements,
        table_places: outline.table_places,
        profile: outline.is_profiled().then(|| ProfileFacts {
            export: free_name(PROFILE_EXPORT, &outline.exports),
            functions: outline.signatures.functions.len() as u32,
        }),
        globals: outline.globals().map(|_| GlobalFacts::beside(&outline.exports)),
    };
    let wasm = assemble(wasm, &outline, &code, &hints, &facts)?;
    let mut pending = Pending::default();
    for (base, function) in code_offsets(&wasm)?.into_iter().zip(&functions) {
        pending.append(base, function);
    }
    Ok(Metered { wasm, pending, facts })
}

pub(super) fn free_name(name: &str, taken: &HashSet<&str>) -> String {
    let mut name = name.to_owned();
    while taken.contains(name.as_str()) {
        name.push('\'');
    }
    name
}

/// What is learned of a function before any is rewritten.
struct Seen {
    function: calls::Outline,
    fills: bool,
    copies: bool,
    references: Vec<u32>,
    waits: Box<[u32]>,
}

/// What is learned of a module before any of it is rewritten.
#[derive(Default)]
struct Outline<'a> {
    signatures: Signatures,
    /// The most elements that each table may have.
    table_elements_max: Vec<u64>,
    memories: u32,
    memory_pages: u64,
    memory_pages_max: u64,
    exports: HashSet<&'a str>,
    start: Option<u32>,
    bodies: Vec<FunctionBody<'a>>,
    /// What the loops of each function wait for.
    waits: Vec<Box<[u32]>>,
    entries: Vec<Entry>,
    /// The functions that are known outside of the module: those that are exported, and the start function.
    known: HashSet<u32>,
    /// Whether references may come in or go out.
    shares_references: bool,
    /// Those of which there may be references.
    referenced: HashSet<u32>,
    debts: Debts,
    data: ActiveData,
    elements: u64,
    computed_elements: u64,
    /// Whether an active segment was not plain.
    is_past_plain: bool,
    table_places: u64,
    fills: bool,
    copies: bool,
    /// Whether a profile is asked for.
    profile: bool,
    /// Whether it is for baseline code.
    is_baseline: bool,
}

impl<'a> Outline<'a> {
    fn read(wasm: &'a [u8], options: &Options) -> Result<Self, MeterError> {
        let is_baseline = options.tier == Tier::Baseline;
        let mut outline = Self { profile: options.profile, is_baseline, ..Self::default() };
        for payload in Parser::new(0).parse_all(wasm) {
            outline.take(payload?)?;
        }
        let look = |(index, body)| {
            let mut body = outline.decode(index, body, options)?;
            let waits = waits(&body, &options.weights);
            outline.prepare(index, &mut body, &waits);
            let fills = body.steps.iter().any(|step| matches!(step.op, Operator::MemoryFill { .. }));
            let copies = body.steps.iter().any(|step| matches!(step.op, Operator::MemoryCopy { .. }));
            let references = body.steps.iter().filter_map(|step| match step.op {
                Operator::RefFunc { function_index } => Some(function_index),
                _ => None,
            });
            let references = references.collect::<Vec<_>>();
            Ok(Seen { function: calls::Outline::of(&body, &outline.signatures), fills, copies, references, waits })
        };
        let seen: Vec<Seen> = outline.bodies.par_iter().enumerate().map(look).collect::<Result<_, MeterError>>()?;
        outline.fills = seen.iter().any(|seen| seen.fills);
        outline.copies = seen.iter().any(|seen| seen.copies);
        outline.referenced.extend(seen.iter().flat_map(|seen| &seen.references));
        if !is_baseline && !outline.is_profiled() && !outline.shares_references {
            let first = outline.pieces().ty + outline.pieces().types_count();
            outline.debts = Debts::find(&outline.signatures, &outline.referenced, &outline.known, first);
        }
        let (functions, waits): (Vec<_>, Vec<_>) = seen.into_iter().map(|seen| (seen.function, seen.waits)).unzip();
        outline.waits = waits;
        let (entries, levels) = calls::entries(&functions);
        outline.entries = entries;
        // In baseline code nobody owes anything.
        for circles in levels.into_iter().filter(|_| !is_baseline) {
            outline.owe(&circles, options)?;
        }
        Ok(outline)
    }

    fn take(&mut self, payload: Payload<'a>) -> Result<(), MeterError> {
        match payload {
            Payload::TypeSection(types) => {
                for group in types {
                    for ty in group?.into_types() {
                        self.signatures.types.push(match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => ty,
                            _ => return Err(MeterError::Unsupported("a type that is no function")),
                        });
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    self.import(import?.ty)?;
                }
            }
            Payload::FunctionSection(functions) => {
                for function in functions {
                    self.signatures.functions.push(function?);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let table = table?;
                    self.table(table.ty);
                    if let TableInit::Expr(elements) = &table.init {
                        self.take_references(elements)?;
                    }
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.memory(memory?);
                }
            }
            Payload::GlobalSection(globals) => {
                for global in globals {
                    let global = global?;
                    self.signatures.globals.push(global.ty.content_type);
                    self.computed_elements += u64::from(self.take_references(&global.init_expr)?);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    self.exports.insert(export.name);
                    if export.kind == ExternalKind::Func {
                        self.known.insert(export.index);
                    }
                    self.shares_references |= self.is_of_references(export.kind, export.index);
                }
            }
            Payload::StartSection { func, .. } => {
                self.start = Some(func);
                self.known.insert(func);
            }
            Payload::ElementSection(elements) => {
                for element in elements {
                    let element = element?;
                    self.take_elements(&element.items)?;
                    self.count_elements(&element)?;
                }
            }
            Payload::DataSection(segments) => {
                for segment in segments {
                    let segment = segment?;
                    if let DataKind::Active { offset_expr, .. } = &segment.kind {
                        self.data.add(constant(offset_expr)?, segment.data.len() as u64);
                    }
                }
            }
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            _ => {}
        }
        Ok(())
    }

    /// What a segment costs: a compiler writes a table's first contents beforehand up to the first segment of which it cannot know all.
    fn count_elements(&mut self, segment: &Element<'_>) -> Result<(), MeterError> {
        let (count, are_functions) = match &segment.items {
            ElementItems::Functions(items) => (items.count(), true),
            ElementItems::Expressions(_, items) => (items.count(), false),
        };
        let is_plain = match &segment.kind {
            ElementKind::Declared => return Ok(()),
            ElementKind::Passive => false,
            ElementKind::Active { offset_expr, .. } => {
                self.is_past_plain |= !are_functions || constant(offset_expr)?.is_none();
                !self.is_past_plain
            }
        };
        let counted = if is_plain { &mut self.elements } else { &mut self.computed_elements };
        *counted += u64::from(count);
        Ok(())
    }

    fn take_elements(&mut self, items: &ElementItems<'_>) -> Result<(), MeterError> {
        match items {
            ElementItems::Functions(functions) => {
                for function in functions.clone() {
                    self.referenced.insert(function?);
                }
            }
            ElementItems::Expressions(_, expressions) => {
                for expression in expressions.clone() {
                    self.take_references(&expression?)?;
                }
            }
        }
        Ok(())
    }

    /// Whether an expression is a reference of a function.
    fn take_references(&mut self, expression: &ConstExpr<'_>) -> Result<bool, MeterError> {
        let mut is_reference = false;
        for op in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = op? {
                self.referenced.insert(function_index);
                is_reference = true;
            }
        }
        Ok(is_reference)
    }

    fn import(&mut self, ty: TypeRef) -> Result<(), MeterError> {
        let (kind, index) = match ty {
            TypeRef::Func(ty) => {
                self.signatures.functions.push(ty);
                self.signatures.imported_functions += 1;
                (ExternalKind::Func, self.signatures.functions.len() - 1)
            }
            TypeRef::Table(ty) => {
                self.table(ty);
                (ExternalKind::Table, 0)
            }
            TypeRef::Memory(ty) => {
                self.memory(ty);
                (ExternalKind::Memory, 0)
            }
            TypeRef::Global(ty) => {
                self.signatures.globals.push(ty.content_type);
                (ExternalKind::Global, self.signatures.globals.len() - 1)
            }
            _ => return Err(MeterError::Unsupported("an import of a kind that no profile has")),
        };
        self.shares_references |= self.is_of_references(kind, index as u32);
        Ok(())
    }

    /// Whether what is imported or exported can hold a reference, or take or give one.
    fn is_of_references(&self, kind: ExternalKind, index: u32) -> bool {
        match kind {
            ExternalKind::Func => {
                let ty = self.signatures.function(index);
                ty.params().iter().chain(ty.results()).any(|ty| ty.is_reference_type())
            }
            ExternalKind::Global => self.signatures.globals[index as usize].is_reference_type(),
            kind => kind == ExternalKind::Table,
        }
    }

    fn table(&mut self, ty: wasmparser::TableType) {
        let most = ty.maximum.unwrap_or(u64::MAX).min(crate::engine::TABLE_ELEMENTS_MAX as u64);
        self.table_elements_max.push(most);
        self.table_places += ty.initial;
    }

    fn memory(&mut self, ty: wasmparser::MemoryType) {
        self.memories += 1;
        self.memory_pages = ty.initial;
        self.memory_pages_max = ty.maximum.unwrap_or(1 << 16);
    }

    /// The type of the function number `index` of those that the module defines.
    fn defined(&self, index: usize) -> &FuncType {
        self.signatures.function(self.signatures.imported_functions + index as u32)
    }

    /// The body of the function number `index` of those that the module defines, with what it costs.
    fn body(&self, index: usize, function: &FunctionBody<'a>, options: &Options) -> Result<Body<'a>, MeterError> {
        let mut body = self.decode(index, function, options)?;
        self.prepare(index, &mut body, &self.waits[index]);
        Ok(body)
    }

    fn decode(&self, index: usize, function: &FunctionBody<'a>, options: &Options) -> Result<Body<'a>, MeterError> {
        Ok(Body::decode(self.defined(index), function, |op| options.weights.of(op))?)
    }

    fn prepare(&self, index: usize, body: &mut Body<'_>, waits: &[u32]) {
        add_waits(body, waits);
        inline_recursion(body, self.signatures.imported_functions + index as u32, self.defined(index));
    }

    /// The functions of the meter's own, which come behind all others.
    fn pieces(&self) -> Pieces {
        let mut next = (self.signatures.functions.len() as u32..).step_by(pieces::TYPES.len());
        Pieces {
            ty: self.signatures.types.len() as u32,
            fill: self.fills.then(|| next.next()).flatten(),
            copy: self.copies.then(|| next.next()).flatten(),
        }
    }

    /// Whether its functions get wrappers. One without functions has nothing to tell.
    fn is_profiled(&self) -> bool {
        self.profile && !self.bodies.is_empty()
    }

    /// The indices of [`Self::pieces`].
    fn piece_indices(&self) -> Range<u32> {
        let first = self.signatures.functions.len() as u32;
        first..first + self.pieces().types().count() as u32
    }

    /// The wrappers, which come behind the pieces.
    fn wrappers(&self) -> Option<Wrappers> {
        self.is_profiled().then(|| Wrappers {
            first: self.piece_indices().end,
            table: self.table_elements_max.len() as u32,
            ty: self.signatures.types.len() as u32 + self.pieces().types_count(),
            shown: self.globals().map(|globals| (globals, self.memories)),
        })
    }

    /// The meter's globals, in baseline code.
    fn globals(&self) -> Option<Globals> {
        self.is_baseline.then(|| Globals::behind(self.signatures.globals.len() as u32))
    }

    /// Whether a call through a table may be one of the host's.
    fn tables_have_host(&self) -> bool {
        self.shares_references || self.referenced.iter().any(|function| *function < self.signatures.imported_functions)
    }

    /// The types of the functions that the module defines, as they become.
    fn defined_types(&self) -> impl Iterator<Item = u32> {
        let defined = self.signatures.functions.iter().zip(0..).skip(self.signatures.imported_functions as usize);
        let other = |function, ty| self.debts.of_type(ty).filter(|_| self.debts.is_returned(function));
        defined.map(move |(ty, function)| other(function, *ty).unwrap_or(*ty))
    }

    /// The types of the functions that are the meter's own, in the order of their indices.
    fn own_types(&self) -> Vec<u32> {
        let wrapped = if self.is_profiled() { &self.signatures.functions[..] } else { &[] };
        self.pieces().types().chain(wrapped.iter().copied()).collect()
    }

    /// Decides what the functions of circles that do not call each other leave their callers to add.
    fn owe(&mut self, circles: &[Circle], options: &Options) -> Result<(), MeterError> {
        let (alone, others): (Vec<_>, Vec<_>) = circles.iter().partition(|circle| circle.len() == 1);
        let debt = |circle: &&Circle| Ok((circle[0], self.debt(circle[0], options)?));
        let debts: Vec<_> = alone.par_iter().map(debt).collect::<Result<_, MeterError>>()?;
        for (index, units) in debts {
            self.entries[index].owes = units;
        }
        // Within a circle each knows of those before it.
        for index in others.into_iter().flatten() {
            self.entries[*index].owes = self.debt(*index, options)?;
        }
        Ok(())
    }

    /// What a function leaves its callers to add. Nothing where a caller may not know which function it calls.
    fn debt(&self, index: usize, options: &Options) -> Result<i64, MeterError> {
        let function = self.signatures.imported_functions + index as u32;
        let is_unknown = self.referenced.contains(&function) && !self.debts.is_returned(function);
        if is_unknown || self.known.contains(&function) {
            return Ok(0);
        }
        let body = self.body(index, &self.bodies[index], options)?;
        let callees = self.callees();
        let function =
            Function { steps: &body.steps, results: self.defined(index).results().len(), signatures: &self.signatures, callees };
        let graph = Graph::build(function, None);
        Ok(cheapest_debt(&graph).clamp(0, UNCHECKED_UNITS_MAX as i64))
    }

    fn callees(&self) -> Callees<'_> {
        Callees { entries: &self.entries, imported_functions: self.signatures.imported_functions, debts: &self.debts }
    }

    fn code(&self, options: &Options) -> Result<(CodeSection, BranchHints, Vec<Pending>), MeterError> {
        let context = Context {
            signatures: &self.signatures,
            entries: &self.entries,
            table_elements_max: &self.table_elements_max,
            memory_bytes_max: self.memory_pages_max << 16,
            memory: self.memories,
            pieces: self.pieces(),
            debts: &self.debts,
            wrappers: self.wrappers(),
            globals: self.globals(),
            tables_have_host: self.tables_have_host(),
        };
        let max = if self.is_baseline { BASELINE_FUNCTION_BYTES_MAX } else { FUNCTION_BYTES_MAX };
        let count = |(index, body)| {
            let mut body = self.body(index, body, options)?;
            if options.canonical_nan {
                canonicalise(&mut body, &self.signatures);
            }
            if options.repeat_loops {
                repeat_loops(&mut body);
            }
            emit(index, body, self.defined(index).results().len(), &context)
        };
        let counted: Vec<Emitted> = self.bodies.par_iter().enumerate().map(count).collect::<Result<_, MeterError>>()?;
        let mut code = CodeSection::new();
        let mut hints = BranchHints::new();
        let mut tables = Vec::with_capacity(self.bodies.len());
        for (index, emitted) in counted.into_iter().enumerate() {
            let bytes = emitted.code.byte_len();
            if bytes > max {
                let function = self.signatures.imported_functions + index as u32;
                return Err(MeterError::FunctionTooLong { function, bytes, max });
            }
            if !emitted.hints.is_empty() {
                hints.function_hints(self.signatures.imported_functions + index as u32, emitted.hints);
            }
            code.function(&emitted.code);
            tables.push(emitted.pending);
        }
        let wrappers = context.wrappers.map(|wrappers| wrappers.functions(&self.signatures, &self.entries));
        for (function, pending) in
            context.pieces.functions(context.memory, context.globals).into_iter().chain(wrappers.into_iter().flatten())
        {
            code.function(&function);
            tables.push(pending);
        }
        Ok((code, hints, tables))
    }
}

/// Puts the sections together, in their order.
fn assemble(
    wasm: &[u8],
    outline: &Outline<'_>,
    code: &CodeSection,
    hints: &BranchHints,
    facts: &Facts,
) -> Result<Vec<u8>, MeterError> {
    let mut module = Module::new();
    let wrappers = outline.wrappers();
    let mut redirect = Redirect(wrappers);
    let own_types = outline.own_types();
    let mut tables = wrappers.map(|_| ());
    let mut memories = Some(());
    let mut globals = outline.globals().map(|_| ());
    let mut exports = Some(());
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if let Payload::CustomSection(custom) = &payload {
            // Only names say something to us; what speaks of code offsets would be wrong now.
            if matches!(custom.as_known(), KnownCustom::Name(_)) {
                let data = Cow::Borrowed(custom.data());
                module.section(&wasm_encoder::CustomSection { name: custom.name().into(), data });
            }
            continue;
        }
        let Some((id, range)) = payload.as_section() else { continue };
        if id != SectionId::Table as u8 && is_behind(id, SectionId::Table) && tables.take().is_some() {
            module.section(&with_profile_table(TableSection::new()));
        }
        if id != SectionId::Memory as u8 && is_behind(id, SectionId::Memory) && memories.take().is_some() {
            module.section(&with_meter_memory(MemorySection::new(), outline));
        }
        if id != SectionId::Global as u8 && is_behind(id, SectionId::Global) && globals.take().is_some() {
            module.section(&with_meter_globals(GlobalSection::new(), outline));
        }
        if id != SectionId::Export as u8 && is_behind(id, SectionId::Export) && exports.take().is_some() {
            module.section(&with_meter_exports(ExportSection::new(), outline, facts));
        }
        match payload {
            Payload::TypeSection(reader) if !own_types.is_empty() || !outline.debts.added.is_empty() => {
                let mut section = TypeSection::new();
                redirect.parse_type_section(&mut section, reader).map_err(MeterError::encode)?;
                for params in pieces::TYPES.iter().take(outline.pieces().types_count() as usize) {
                    section.ty().function(params.iter().copied(), []);
                }
                if wrappers.is_some() {
                    let (params, results) = wrappers::TYPE;
                    section.ty().function(params, results);
                }
                for ty in &outline.debts.added {
                    section.ty().func_type(&redirect.func_type(ty.clone()).map_err(MeterError::encode)?);
                }
                module.section(&section);
            }
            Payload::FunctionSection(_) if !own_types.is_empty() || !outline.debts.added.is_empty() => {
                let mut section = FunctionSection::new();
                for ty in outline.defined_types().chain(own_types.iter().copied()) {
                    section.function(ty);
                }
                module.section(&section);
            }
            Payload::TableSection(reader) if wrappers.is_some() => {
                let mut section = TableSection::new();
                redirect.parse_table_section(&mut section, reader).map_err(MeterError::encode)?;
                tables = None;
                module.section(&with_profile_table(section));
            }
            Payload::GlobalSection(reader) if wrappers.is_some() || outline.is_baseline => {
                let mut section = GlobalSection::new();
                redirect.parse_global_section(&mut section, reader).map_err(MeterError::encode)?;
                globals = None;
                module.section(&with_meter_globals(section, outline));
            }
            Payload::ElementSection(reader) if wrappers.is_some() => {
                let mut section = ElementSection::new();
                redirect.parse_element_section(&mut section, reader).map_err(MeterError::encode)?;
                module.section(&section);
            }
            Payload::MemorySection(reader) => {
                let mut section = MemorySection::new();
                redirect.parse_memory_section(&mut section, reader).map_err(MeterError::encode)?;
                memories = None;
                module.section(&with_meter_memory(section, outline));
            }
            Payload::ExportSection(reader) => {
                let mut section = ExportSection::new();
                redirect.parse_export_section(&mut section, reader).map_err(MeterError::encode)?;
                exports = None;
                module.section(&with_meter_exports(section, outline, facts));
            }
            Payload::StartSection { .. } => {}
            Payload::CodeSectionStart { .. } => {
                module.section(hints);
                module.section(code);
            }
            _ => {
                module.section(&RawSection { id, data: &wasm[range] });
            }
        }
    }
    if tables.is_some() {
        module.section(&with_profile_table(TableSection::new()));
    }
    if memories.is_some() {
        module.section(&with_meter_memory(MemorySection::new(), outline));
    }
    if globals.is_some() {
        module.section(&with_meter_globals(GlobalSection::new(), outline));
    }
    if exports.is_some() {
        module.section(&with_meter_exports(ExportSection::new(), outline, facts));
    }
    Ok(module.finish())
}

/// Whether a section stands behind another: ids ascend, but for the data count, which comes before the code.
fn is_behind(id: u8, section: SectionId) -> bool {
    id > section as u8
}

fn with_profile_table(mut tables: TableSection) -> TableSection {
    tables.table(wrappers::table());
    tables
}

/// In baseline code it is one page of the usual size. The engine leaves the bounds of such a memory to the address space behind it; those of a
/// smaller one Winch writes out at each access, twice, as code that is longer than the access.
fn with_meter_memory(mut memories: MemorySection, outline: &Outline<'_>) -> MemorySection {
    let (size, page_size_log2) = if outline.is_baseline { (1, None) } else { (METER_BYTES, Some(0)) };
    memories.memory(MemoryType { minimum: size, maximum: Some(size), memory64: false, shared: false, page_size_log2 });
    memories
}

fn with_meter_globals(mut globals: GlobalSection, outline: &Outline<'_>) -> GlobalSection {
    if outline.is_baseline {
        Globals::define(&mut globals);
    }
    globals
}

fn with_meter_exports(mut exports: ExportSection, outline: &Outline<'_>, facts: &Facts) -> ExportSection {
    exports.export(&facts.meter_export, ExportKind::Memory, outline.memories);
    if let (Some(name), Some(start)) = (&facts.start_export, outline.start) {
        exports.export(name, ExportKind::Func, outline.wrappers().map_or(0, |wrappers| wrappers.first) + start);
    }
    if let (Some(names), Some(globals)) = (&facts.globals, outline.globals()) {
        globals.export(&mut exports, names);
    }
    if let (Some(profile), Some(wrappers)) = (&facts.profile, outline.wrappers()) {
        exports.export(&profile.export, ExportKind::Table, wrappers.table);
    }
    exports
}

/// The value of an expression that is one constant and nothing else.
fn constant(expression: &ConstExpr<'_>) -> Result<Option<u32>, MeterError> {
    let mut operators = expression.get_operators_reader();
    let Operator::I32Const { value } = operators.read()? else { return Ok(None) };
    Ok(matches!(operators.read()?, Operator::End).then_some(value.cast_unsigned()))
}

/// Where the body of each function begins.
fn code_offsets(wasm: &[u8]) -> Result<Vec<u32>, MeterError> {
    let mut offsets = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload? {
            offsets.push(body.range().start as u32);
        }
    }
    Ok(offsets)
}
