//! What a module declares, read section by section without an allocation that a count in the file decides.

use wasmparser::{
    BinaryReader, CompositeInnerType, ConstExpr, Data, DataKind, Element, ElementItems, ElementKind, Error, Export, FunctionBody,
    Global, Import, MemoryType, Parser, Payload, RecGroup, SectionLimited, Table, TableInit, TypeRef, ValType,
};

use super::limit::{
    CONST_EXPR_BYTES, CUSTOM_SECTIONS, DATA_SEGMENTS, ELEMENT_SEGMENTS, ELEMENTS, EXPORTS, FUNCTION_BYTES, FUNCTIONS, GLOBALS,
    IMPORTS, LOCALS, Limit, MEMORY_PAGES, NAME_BYTES, PARAMS, Place, RESULTS, TABLE_ELEMENTS, TABLES, TYPES,
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
pub(super) fn measure(wasm: &[u8]) -> Result<Shape<'_>, Unmeasured> {
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    let mut shape = Shape::default();
    for payload in parser.parse_all(wasm) {
        shape.add(wasm, payload?)?;
    }
    Ok(shape)
}

impl<'a> Shape<'a> {
    fn add(&mut self, wasm: &[u8], payload: Payload<'a>) -> Measured {
        match payload {
            Payload::TypeSection(section) => add_types(wasm, &section)?,
            Payload::ImportSection(section) => {
                check_count(IMPORTS, &section)?;
                for import in section.into_imports() {
                    self.add_import(import?)?;
                }
            }
            Payload::FunctionSection(section) => {
                check_count(FUNCTIONS, &section)?;
                self.admitted.functions = section.count();
            }
            Payload::TableSection(section) => {
                check_count(TABLES, &section)?;
                each(section, |table, at| self.add_table(&table, at))?;
            }
            Payload::MemorySection(section) => each(section, |memory, at| self.add_memory(&memory, at))?,
            Payload::GlobalSection(section) => {
                check_count(GLOBALS, &section)?;
                self.admitted.globals = section.count();
                each(section, |global: Global<'_>, _| check_const(&global.init_expr))?;
            }
            Payload::ExportSection(section) => {
                check_count(EXPORTS, &section)?;
                each(section, |export, at| self.add_export(export, at))?;
            }
            Payload::StartSection { func, .. } => self.start_section = Some(func),
            Payload::ElementSection(section) => {
                check_count(ELEMENT_SEGMENTS, &section)?;
                each(section, |segment, at| self.add_elements(segment, at))?;
            }
            Payload::DataCountSection { count, range } => {
                DATA_SEGMENTS.check(count.into(), Place::Offset(range.start))?;
            }
            Payload::DataSection(section) => {
                check_count(DATA_SEGMENTS, &section)?;
                each(section, |segment, _| self.add_data(&segment))?;
            }
            Payload::CodeSectionStart { count, range, .. } => FUNCTIONS.check(count.into(), Place::Offset(range.start))?,
            Payload::CodeSectionEntry(body) => self.add_body(&body)?,
            Payload::CustomSection(section) => {
                self.custom_sections += 1;
                CUSTOM_SECTIONS.check(self.custom_sections, Place::Offset(section.range().start))?;
                check_name(section.name(), section.range().start)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn add_import(&mut self, import: Import<'a>) -> Measured {
        // Several may share one entry of the section in some encodings.
        IMPORTS.check(self.imports.len() as u64 + 1, Place::Module)?;
        for name in [import.module, import.name] {
            NAME_BYTES.check(name.len() as u64, Place::Module)?;
        }
        self.admitted.imported_functions += u32::from(matches!(import.ty, TypeRef::Func(_)));
        self.imports.push(import);
        Ok(())
    }

    fn add_table(&mut self, table: &Table<'_>, at: usize) -> Measured {
        if let TableInit::Expr(value) = &table.init {
            check_const(value)?;
        }
        if !table.ty.table64 {
            TABLE_ELEMENTS.check(table.ty.initial, Place::Offset(at))?;
            self.admitted.table_elements += table.ty.initial;
        }
        Ok(())
    }

    fn add_memory(&mut self, memory: &MemoryType, at: usize) -> Measured {
        // Memories of other kinds are for validation to refuse, by the name of their proposal.
        if !memory.memory64 && memory.page_size_log2.is_none() {
            MEMORY_PAGES.check(memory.initial, Place::Offset(at))?;
            self.admitted.memory_bytes += memory.initial * PAGE_BYTES;
        }
        Ok(())
    }

    fn add_export(&mut self, export: Export<'a>, at: usize) -> Measured {
        check_name(export.name, at)?;
        if export.name == START {
            self.start_export = Some(export);
        }
        Ok(())
    }

    fn add_elements(&mut self, segment: Element<'_>, at: usize) -> Measured {
        let count = match &segment.items {
            ElementItems::Functions(items) => items.count(),
            ElementItems::Expressions(_, items) => items.count(),
        };
        self.elements += u64::from(count);
        ELEMENTS.check(self.elements, Place::Offset(at))?;
        if let ElementKind::Active { offset_expr, .. } = &segment.kind {
            check_const(offset_expr)?;
            self.admitted.active_element_segments += 1;
            self.admitted.active_elements += u64::from(count);
        }
        if let ElementItems::Expressions(_, items) = segment.items {
            each(items, |item, _| check_const(&item))?;
        }
        Ok(())
    }

    fn add_data(&mut self, segment: &Data<'_>) -> Measured {
        if let DataKind::Active { offset_expr, .. } = &segment.kind {
            check_const(offset_expr)?;
            self.admitted.active_data_segments += 1;
            self.admitted.active_data_bytes += segment.data.len() as u64;
        }
        Ok(())
    }

    fn add_body(&mut self, body: &FunctionBody<'_>) -> Measured {
        let range = body.range();
        let place = Place::Function { index: self.admitted.imported_functions + self.bodies, offset: range.start };
        self.bodies += 1;
        FUNCTION_BYTES.check(range.len() as u64, place)?;
        let mut reader = body.get_binary_reader();
        let mut locals = 0;
        for _ in 0..reader.read_var_u32()? {
            locals += u64::from(reader.read_var_u32()?);
            LOCALS.check(locals, place)?;
            reader.read::<ValType>()?;
        }
        Ok(())
    }
}

/// Reads the groups by hand: the library's reader allocates for a group what the group's own count says.
fn add_types(wasm: &[u8], section: &SectionLimited<'_, RecGroup>) -> Measured {
    check_count(TYPES, section)?;
    let range = section.range();
    let mut reader = BinaryReader::new_features(&wasm[range.clone()], range.start, FEATURES);
    for _ in 0..reader.read_var_u32()? {
        let at = reader.original_position();
        if wasm.get(at) == Some(&REC_GROUP) {
            return Err(proposal::recursive_types(at).into());
        }
        for ty in reader.read::<RecGroup>()?.types() {
            if let CompositeInnerType::Func(function) = &ty.composite_type.inner {
                PARAMS.check(function.params().len() as u64, Place::Offset(at))?;
                RESULTS.check(function.results().len() as u64, Place::Offset(at))?;
            }
        }
    }
    Ok(())
}

fn check_count<T>(limit: Limit, section: &SectionLimited<'_, T>) -> Result<(), Refusal> {
    limit.check(section.count().into(), Place::Offset(section.range().start))
}

fn check_name(name: &str, at: usize) -> Result<(), Refusal> {
    NAME_BYTES.check(name.len() as u64, Place::Offset(at))
}

fn check_const(expression: &ConstExpr<'_>) -> Measured {
    let range = expression.get_binary_reader().range();
    Ok(CONST_EXPR_BYTES.check(range.len() as u64, Place::Offset(range.start))?)
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
