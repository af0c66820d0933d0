//! A function for each of a module's, which tells the host before and after it, for profiles of where fuel goes.
//!
//! Wrappers stand behind all other functions, and whatever names a function (a call, a table, an export) names its wrapper instead; the
//! functions themselves stay what and where they were. A wrapper weighs nothing, is no call that the meter sees, and has no nominal frame:
//! what a guest is billed, where it is stopped and how deep it may call do not change. On the native stack it takes a frame of its own, as
//! large as its parameters are twice; a function's nominal frame has more native room than that for each parameter.
//!
//! The host's two functions are in a table of the meter's own, because an import would give every function another index. At both calls
//! the counter is exact but for what the wrapped function owes, which is told beside. A call that was inlined has no wrapper: its function tells
//! the same from where the call stood ([`emit`](super::emit)).

use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{Function, Instruction as I, RefType, TableType, ValType};

use super::baseline::Globals;
use super::body::Signatures;
use super::calls::Entry;
use super::pending::Pending;

/// Where the host's function is in the table that hears that a function begins: its argument is the function's index.
pub(crate) const ENTER: u32 = 0;
/// The one that hears that it returns: its argument is what the counter lacks, in units.
pub(crate) const LEAVE: u32 = 1;
/// The elements of the table.
const ELEMENTS: u64 = 2;
/// The type of both.
pub(super) const TYPE: ([ValType; 1], [ValType; 0]) = ([ValType::I32], []);

/// Where the wrappers of a module are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrappers {
    /// The index of the first function's.
    pub(super) first: u32,
    /// The index of the table.
    pub(super) table: u32,
    /// The index of the type of the table's functions.
    pub(super) ty: u32,
    /// Where the host looks at the count, in baseline code: the counter, and the meter's memory.
    pub(super) shown: Option<(Globals, u32)>,
}

impl Wrappers {
    /// The wrappers of all functions, imported ones first, in the order of their indices.
    pub(super) fn functions(self, signatures: &Signatures, entries: &[Entry]) -> Vec<(Function, Pending)> {
        let wrap = |function: u32| {
            let own = function.checked_sub(signatures.imported_functions);
            let owes = own.map_or(0, |index| entries[index as usize].owes);
            self.function(function, signatures.function(function).params().len() as u32, owes)
        };
        (0..signatures.functions.len() as u32).map(wrap).collect()
    }

    fn function(self, function: u32, params: u32, owes: i64) -> (Function, Pending) {
        let (mut code, mut pending) = (Function::new([]), Pending::default());
        // The host's functions cannot trap, and where the wrapped one does the amount is its own.
        pending.set(0, 0);
        self.tell_begin(&mut code, function);
        for param in 0..params {
            code.instruction(&I::LocalGet(param));
        }
        code.instruction(&I::Call(function));
        self.tell_end(&mut code, owes);
        code.instruction(&I::End);
        (code, pending)
    }

    /// Tells that a function begins.
    pub(super) fn tell_begin(self, code: &mut Function, function: u32) {
        self.tell(code, ENTER, function.cast_signed());
    }

    /// Tells that it returns, while the counter lacks what it `owes`.
    pub(super) fn tell_end(self, code: &mut Function, owes: i64) {
        self.tell(code, LEAVE, i32::try_from(owes).expect("a function owes what little it does before it looks at a limit"));
    }

    fn tell(self, code: &mut Function, element: u32, argument: i32) {
        if let Some((globals, memory)) = self.shown {
            globals.show(code, memory);
        }
        code.instruction(&I::I32Const(argument)).instruction(&I::I32Const(element.cast_signed()));
        code.instruction(&I::CallIndirect { type_index: self.ty, table_index: self.table });
    }
}

/// The table of the host's functions, before they are in it.
pub(super) fn table() -> TableType {
    TableType { element_type: RefType::FUNCREF, table64: false, minimum: ELEMENTS, maximum: Some(ELEMENTS), shared: false }
}

/// Copies a module's parts, with wrappers in the place of functions where there are any.
#[derive(Debug, Clone, Copy)]
pub(super) struct Redirect(pub(super) Option<Wrappers>);

impl Reencode for Redirect {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.0.map_or(0, |wrappers| wrappers.first) + function)
    }
}
