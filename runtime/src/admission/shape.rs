//! What a module declares, read section by section without an allocation that a count in the file decides.

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use wasmparser::{
    BinaryReader, BlockType, CompositeInnerType, ConstExpr, Data, DataKind, Element, ElementItems, ElementKind, Error, Export,
    FunctionBody, Global, Import, MemoryType, Parser, Payload, RecGroup, SectionLimited, Table, TableInit, TypeRef, ValType,
    VisitOperator, VisitSimdOperator,
};

use super::inspect::Faults;
use super::limit::{
    BR_TABLE_TARGETS, CONST_EXPR_BYTES, CUSTOM_SECTIONS, DATA_SEGMENTS, ELEMENT_SEGMENTS, ELEMENTS, EXPORTS, FUNCTION_BYTES,
    FUNCTIONS, GLOBALS, IMPORTS, LOCALS, Limit, MEMORY_PAGES, NAME_BYTES, NESTING, PARAMS, Place, RESULTS, TABLE_ELEMENTS,
    TABLES, TYPES,
};
use super::{Admitted, Refusal, proposal};
use crate::engine::FEATURES;

/// The entry point of a command.
pub(super) const START: &str = "_start";
/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 65_536;
/// Begins a group of types that refer to each other.
const REC_GROUP: u8 = 0x4e;

/// What a module declares.
#[derive(Debug, Default)]
pub(super) struct Shape<'a> {
    pub(super) admitted: Admitted,
    /// At most [`IMPORTS`].
    pub(super) imports: Vec<Import<'a>>,
    /// The function of its `start` section.
    pub(super) start_section: Option<u32>,
    /// Its export `_start`.
    pub(super) start_export: Option<Export<'a>>,
    elements: u64,
    custom_sections: u64,
    bodies: u32,
}

/// Why there is no shape.
#[derive(Debug)]
pub(super) enum Unmeasured {
    /// The module is over a limit.
    Refused(Refusal),
    /// The module cannot be read; validation says it better.
    Unreadable(Error),
}

impl From<Refusal> for Unmeasured {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Unmeasured {
    fn from(error: Error) -> Self {
        Self::Unreadable(error)
    }
}

type Measured = Result<(), Unmeasured>;

/// Measures a module.
pub(super) fn measure<'a>(wasm: &'a [u8], faults: &mut Faults) -> Result<Shape<'a>, Unmeasured> {
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    let (mut shape, mut bodies) = (Shape::default(), Vec::new());
    let mut sections = parser.parse_all(wasm);
    let measured = sections.try_for_each(|payload| shape.add(wasm, payload?, &mut bodies, faults));
    // What is wrong behind them is told if nothing is with the bodies.
    check_structures(bodies)?;
    measured.map(|()| shape)
}

/// Checks the structure of function bodies on all cores that check, of which the first fault is the answer.
fn check_structures(bodies: Vec<(FunctionBody<'_>, Place)>) -> Measured {
    let checked = bodies.into_par_iter().map(|(body, place)| check_structure(&body, place, &mut Faults::first()));
    checked.find_first(Result::is_err).unwrap_or(Ok(()))
}

impl<'a> Shape<'a> {
    /// Measures a part of the module; the structure of the `bodies` is yet to be checked, where the first fault is the answer.
    fn add(
        &mut self,
        wasm: &[u8],
        payload: Payload<'a>,
        bodies: &mut Vec<(FunctionBody<'a>, Place)>,
        faults: &mut Faults,
    ) -> Measured {
        match payload {
            Payload::TypeSection(section) => add_types(wasm, &section, faults)?,
            Payload::ImportSection(section) => {
                check_count(IMPORTS, &section, faults)?;
                for import in section.into_imports() {
                    self.add_import(import?, faults)?;
                }
            }
            Payload::FunctionSection(section) => {
                check_count(FUNCTIONS, &section, faults)?;
                self.admitted.functions = section.count();
            }
            Payload::TableSection(section) => {
                check_count(TABLES, &section, faults)?;
                each(section, |table, at| self.add_table(&table, at, faults))?;
            }
            Payload::MemorySection(section) => each(section, |memory, at| self.add_memory(&memory, at, faults))?,
            Payload::GlobalSection(section) => {
                check_count(GLOBALS, &section, faults)?;
                self.admitted.globals = section.count();
                each(section, |global: Global<'_>, _| check_const(&global.init_expr, faults))?;
            }
            Payload::ExportSection(section) => {
                check_count(EXPORTS, &section, faults)?;
                each(section, |export, at| self.add_export(export, at, faults))?;
            }
            Payload::StartSection { func, .. } => self.start_section = Some(func),
            Payload::ElementSection(section) => {
                check_count(ELEMENT_SEGMENTS, &section, faults)?;
                each(section, |segment, at| self.add_elements(segment, at, faults))?;
            }
            Payload::DataCountSection { count, range } => {
                faults.check(DATA_SEGMENTS, count.into(), Place::Offset(range.start))?;
            }
            Payload::DataSection(section) => {
                check_count(DATA_SEGMENTS, &section, faults)?;
                each(section, |segment, _| self.add_data(&segment, faults))?;
            }
            Payload::CodeSectionStart { count, range, .. } => {
                faults.check(FUNCTIONS, count.into(), Place::Offset(range.start))?
            }
            Payload::CodeSectionEntry(body) => {
                let place = self.add_body(&body, faults)?;
                match faults.are_all() {
                    true => check_structure(&body, place, faults)?,
                    false => bodies.push((body, place)),
                }
            }
            Payload::CustomSection(section) => {
                self.custom_sections += 1;
                faults.check(CUSTOM_SECTIONS, self.custom_sections, Place::Offset(section.range().start))?;
                check_name(section.name(), section.range().start, faults)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn add_import(&mut self, import: Import<'a>, faults: &mut Faults) -> Measured {
        // Several may share one entry of the section in some encodings.
        faults.check(IMPORTS, self.imports.len() as u64 + 1, Place::Module)?;
        for name in [import.module, import.name] {
            faults.check(NAME_BYTES, name.len() as u64, Place::Module)?;
        }
        self.admitted.imported_functions += u32::from(matches!(import.ty, TypeRef::Func(_)));
        self.imports.push(import);
        Ok(())
    }

    fn add_table(&mut self, table: &Table<'_>, at: usize, faults: &mut Faults) -> Measured {
        if let TableInit::Expr(value) = &table.init {
            check_const(value, faults)?;
        }
        if !table.ty.table64 {
            faults.check(TABLE_ELEMENTS, table.ty.initial, Place::Offset(at))?;
            self.admitted.table_elements += table.ty.initial;
        }
        Ok(())
    }

    fn add_memory(&mut self, memory: &MemoryType, at: usize, faults: &mut Faults) -> Measured {
        // Memories of other kinds are for validation to refuse, by the name of their proposal.
        if !memory.memory64 && memory.page_size_log2.is_none() {
            faults.check(MEMORY_PAGES, memory.initial, Place::Offset(at))?;
            self.admitted.memory_bytes += memory.initial * PAGE_BYTES;
        }
        Ok(())
    }

    fn add_export(&mut self, export: Export<'a>, at: usize, faults: &mut Faults) -> Measured {
        check_name(export.name, at, faults)?;
        if export.name == START {
            self.start_export = Some(export);
        }
        Ok(())
    }

    fn add_elements(&mut self, segment: Element<'_>, at: usize, faults: &mut Faults) -> Measured {
        let count = match &segment.items {
            ElementItems::Functions(items) => items.count(),
            ElementItems::Expressions(_, items) => items.count(),
        };
        self.elements += u64::from(count);
        faults.check(ELEMENTS, self.elements, Place::Offset(at))?;
        if let ElementKind::Active { offset_expr, .. } = &segment.kind {
            check_const(offset_expr, faults)?;
            self.admitted.active_element_segments += 1;
            self.admitted.active_elements += u64::from(count);
        }
        if let ElementItems::Expressions(_, items) = segment.items {
            each(items, |item, _| check_const(&item, faults))?;
        }
        Ok(())
    }

    fn add_data(&mut self, segment: &Data<'_>, faults: &mut Faults) -> Measured {
        if let DataKind::Active { offset_expr, .. } = &segment.kind {
            check_const(offset_expr, faults)?;
            self.admitted.active_data_segments += 1;
            self.admitted.active_data_bytes += segment.data.len() as u64;
        }
        Ok(())
    }

    /// Measures a body, but for its structure, and says where it is.
    fn add_body(&mut self, body: &FunctionBody<'_>, faults: &mut Faults) -> Result<Place, Unmeasured> {
        let range = body.range();
        let place = Place::Function { index: self.admitted.imported_functions + self.bodies, offset: range.start };
        self.bodies += 1;
        faults.check(FUNCTION_BYTES, range.len() as u64, place)?;
        let mut reader = body.get_binary_reader();
        let mut locals = 0;
        for _ in 0..reader.read_var_u32()? {
            locals += u64::from(reader.read_var_u32()?);
            faults.check(LOCALS, locals, place)?;
            reader.read::<ValType>()?;
        }
        Ok(place)
    }
}

/// Checks how deep blocks nest and how many targets branches have: what a validator does for each target grows with both. What cannot be read
/// is the validator's to tell.
fn check_structure(body: &FunctionBody<'_>, place: Place, faults: &mut Faults) -> Measured {
    let at = |offset| match place {
        Place::Function { index, .. } => Place::Function { index, offset },
        other => other,
    };
    let Ok(mut reader) = body.get_operators_reader() else { return Ok(()) };
    let mut structure = Structure::default();
    while !reader.eof() {
        let offset = reader.original_position();
        if reader.visit_operator(&mut structure).is_err() {
            return Ok(());
        }
        faults.check(BR_TABLE_TARGETS, std::mem::take(&mut structure.targets), at(offset))?;
        if std::mem::take(&mut structure.is_opened) {
            faults.check(NESTING, structure.nesting, at(offset))?;
        }
    }
    Ok(())
}

/// What a function's operators were seen to nest. A visitor, which is four times as fast as to look at each as a value.
#[derive(Debug, Default)]
struct Structure {
    nesting: u64,
    /// Whether the last operator opened a block.
    is_opened: bool,
    /// Those of the last operator.
    targets: u64,
}

impl Structure {
    fn open(&mut self, _: BlockType) {
        self.nesting += 1;
        self.is_opened = true;
    }

    /// The last end is the function's.
    fn end(&mut self) {
        self.nesting = self.nesting.saturating_sub(1);
    }
}

macro_rules! note {
    ($structure:ident, Block { $ty:ident }) => {
        $structure.open($ty)
    };
    ($structure:ident, Loop { $ty:ident }) => {
        $structure.open($ty)
    };
    ($structure:ident, If { $ty:ident }) => {
        $structure.open($ty)
    };
    ($structure:ident, End) => { $structure.end() };
    ($structure:ident, BrTable { $targets:ident }) => { $structure.targets = $targets.len().into() };
    ($structure:ident, $op:ident $({ $($operand:ident),* })?) => { { $($(let _ = $operand;)*)? } };
}

macro_rules! visit_each {
    ($(@$proposal:ident $op:ident $({ $($operand:ident: $ty:ty),* })? => $visit:ident ($($_:tt)*))*) => {
        $(
            fn $visit(&mut self $($(, $operand: $ty)*)?) {
                note!(self, $op $({ $($operand),* })?)
            }
        )*
    };
}

impl<'a> VisitOperator<'a> for Structure {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(visit_each);
}

impl VisitSimdOperator<'_> for Structure {
    wasmparser::for_each_visit_simd_operator!(visit_each);
}

/// Reads the groups by hand: the library's reader allocates for a group what the group's own count says.
fn add_types(wasm: &[u8], section: &SectionLimited<'_, RecGroup>, faults: &mut Faults) -> Measured {
    check_count(TYPES, section, faults)?;
    let range = section.range();
    let mut reader = BinaryReader::new_features(&wasm[range.clone()], range.start, FEATURES);
    for _ in 0..reader.read_var_u32()? {
        let at = reader.original_position();
        if wasm.get(at) == Some(&REC_GROUP) {
            return Err(proposal::recursive_types(at).into());
        }
        for ty in reader.read::<RecGroup>()?.types() {
            if let CompositeInnerType::Func(function) = &ty.composite_type.inner {
                faults.check(PARAMS, function.params().len() as u64, Place::Offset(at))?;
                faults.check(RESULTS, function.results().len() as u64, Place::Offset(at))?;
            }
        }
    }
    Ok(())
}

fn check_count<T>(limit: Limit, section: &SectionLimited<'_, T>, faults: &mut Faults) -> Result<(), Refusal> {
    faults.check(limit, section.count().into(), Place::Offset(section.range().start))
}

fn check_name(name: &str, at: usize, faults: &mut Faults) -> Result<(), Refusal> {
    faults.check(NAME_BYTES, name.len() as u64, Place::Offset(at))
}

fn check_const(expression: &ConstExpr<'_>, faults: &mut Faults) -> Measured {
    let range = expression.get_binary_reader().range();
    Ok(faults.check(CONST_EXPR_BYTES, range.len() as u64, Place::Offset(range.start))?)
}

/// Hands each item of a section to `add`, with the offset at which it begins.
fn each<'a, T: wasmparser::FromReader<'a>>(
    section: SectionLimited<'a, T>,
    mut add: impl FnMut(T, usize) -> Measured,
) -> Measured {
    for item in section.into_iter_with_offsets() {
        let (at, item) = item?;
        add(item, at)?;
    }
    Ok(())
}
