//! The limits of a module. `docs/limits.md` lists them for people; a test compares.

use std::fmt;

use adit_protocol::limits::MODULE_BYTES_MAX;

use super::Refusal;
use crate::engine::{TABLE_ELEMENTS_MAX, TABLES_PER_MODULE_MAX};

/// Bytes of a module that a node takes unless its owner says otherwise: a large application; what is larger carries its data as
/// an input.
pub const MODULE_BYTES_DEFAULT: u64 = 8 << 20;
const _: () = assert!(MODULE_BYTES_DEFAULT <= MODULE_BYTES_MAX);

/// The owner's limit, of which this is the default. Reading, checking and compiling all take time and memory by it.
pub(super) const MODULE_BYTES: Limit = Limit { name: "module bytes", max: MODULE_BYTES_DEFAULT };
/// Types are kept apart by comparing them, and looked up by every call. A C++ program of 50 MB has some thousand.
pub(super) const TYPES: Limit = Limit { name: "types", max: 10_000 };
/// A few bytes of code (a call, a block, a branch) handle all parameters of their type at once, in the validator and in the compiler.
pub(super) const PARAMS: Limit = Limit { name: "parameters of a type", max: 128 };
/// As parameters; two bytes of code that call push this many values. Toolchains return more than one value through memory.
pub(super) const RESULTS: Limit = Limit { name: "results of a type", max: 16 };
/// A guest has two modules of functions to import, with some seventy functions.
pub(super) const IMPORTS: Limit = Limit { name: "imports", max: 128 };
/// Each costs a compilation, an entry in tables and a symbol; the count stands in a header, before any function does.
pub(super) const FUNCTIONS: Limit = Limit { name: "functions", max: 20_000 };
/// As many as the engine's pool has places for; compilers emit one.
pub(super) const TABLES: Limit = Limit { name: "tables", max: TABLES_PER_MODULE_MAX as u64 };
/// What the engine's pool has room for.
pub(super) const TABLE_ELEMENTS: Limit = Limit { name: "elements of a table", max: TABLE_ELEMENTS_MAX as u64 };
/// All that a 32-bit index reaches.
pub(super) const MEMORY_PAGES: Limit = Limit { name: "pages of memory", max: 65_536 };
/// Each is set when an instance is made, and lies in the instance. Compilers emit a handful.
pub(super) const GLOBALS: Limit = Limit { name: "globals", max: 1_000 };
/// A host looks for `_start` and `memory`.
pub(super) const EXPORTS: Limit = Limit { name: "exports", max: 256 };
/// Each is a piece of work when an instance is made. Linkers merge them.
pub(super) const ELEMENT_SEGMENTS: Limit = Limit { name: "element segments", max: 1_000 };
/// Fills the largest table once. Each costs a pointer in the compiled module and may cost a copy for each instance.
pub(super) const ELEMENTS: Limit = Limit { name: "elements of all segments", max: TABLE_ELEMENTS_MAX as u64 };
/// As element segments.
pub(super) const DATA_SEGMENTS: Limit = Limit { name: "data segments", max: 1_000 };
/// The initial value of a global, a segment's offset: interpreted whenever an instance is made. The longest useful one, a vector
/// constant, takes 19 bytes.
pub(super) const CONST_EXPR_BYTES: Limit = Limit { name: "bytes of a constant expression", max: 64 };
/// Names of imports, exports and custom sections, which errors may repeat.
pub(super) const NAME_BYTES: Limit = Limit { name: "bytes of a name", max: 1_024 };
/// Tools look through them one by one. Their bytes are bounded by the module's: debug information is most of an honest debug build.
pub(super) const CUSTOM_SECTIONS: Limit = Limit { name: "custom sections", max: 256 };
/// The compiler's time and memory grow faster than a function. Toolchains' largest are interpreters' loops and regular expressions.
pub(super) const FUNCTION_BYTES: Limit = Limit { name: "bytes of a function body", max: 256 << 10 };
/// Three bytes declare four billion of them; each is zeroed when the function is entered, and tracked by the compiler.
pub(super) const LOCALS: Limit = Limit { name: "locals of a function", max: 1_000 };
/// Each is an edge of the control-flow graph for one byte of code; several tables with the same targets multiply.
pub(super) const BR_TABLE_TARGETS: Limit = Limit { name: "targets of a br_table", max: 4_000 };
/// Passes over the code recurse or keep a stack by it.
pub(super) const NESTING: Limit = Limit { name: "nested blocks", max: 256 };

/// Every limit, in the order of `docs/limits.md`.
#[cfg(test)]
pub(super) const ALL: [Limit; 21] = [
    MODULE_BYTES,
    FUNCTIONS,
    FUNCTION_BYTES,
    LOCALS,
    NESTING,
    BR_TABLE_TARGETS,
    TYPES,
    PARAMS,
    RESULTS,
    IMPORTS,
    EXPORTS,
    GLOBALS,
    MEMORY_PAGES,
    TABLES,
    TABLE_ELEMENTS,
    DATA_SEGMENTS,
    ELEMENT_SEGMENTS,
    ELEMENTS,
    CONST_EXPR_BYTES,
    NAME_BYTES,
    CUSTOM_SECTIONS,
];

/// A limit, by the name that refusals give it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) name: &'static str,
    pub(super) max: u64,
}

impl Limit {
    /// The same limit at another height.
    pub(super) fn with_max(self, max: u64) -> Self {
        Self { max, ..self }
    }

    /// Refuses a module that has `value` of what is limited.
    pub(super) fn check(self, value: u64, place: Place) -> Result<(), Refusal> {
        let Self { name, max } = self;
        if value <= max { Ok(()) } else { Err(Refusal::OverLimit { name, value, max, place }) }
    }
}

/// Where in a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The module as a whole.
    Module,
    /// At a byte of the file.
    Offset(usize),
    /// In a function, at a byte of the file.
    Function {
        /// Counts the imported ones too.
        index: u32,
        /// Where in the file.
        offset: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module => Ok(()),
            Self::Offset(offset) => write!(f, " (at offset {offset:#x})"),
            Self::Function { index, offset } => write!(f, " (function {index}, at offset {offset:#x})"),
        }
    }
}
