//! What functions owe that are called through tables: they return it.
//!
//! Who calls a function by name knows what it leaves its callers to add. Who calls through a table does not know which function it calls,
//! so there each returns what it owes, as one value more behind its results, and its callers add that to what they add anyway: the called
//! function of a few operators touches no memory for its meter. The value is a constant in a register.
//!
//! A function has another type for that, and a call through a table asks for the other type. Both change together: of one type, either all
//! functions that have a reference do so, or none does. So a call finds a function exactly where it found one before, as no type of the
//! guest's own is like one of the others, and what tables hold is the same functions. Nobody else may look at them: there are no such types
//! where references can come in or go out, as by a table that is exported; and a type is left alone where one of its functions that have a
//! reference is imported, exported or the start function, where it has more than one result, and where its other would be like another of
//! the guest's own.

use std::collections::{HashMap, HashSet};

use wasmparser::{FuncType, ValType};

use super::body::Signatures;

/// The most results of a function that returns what it owes. Its body becomes a block, whose type is none of the module's then.
const RESULTS_MAX: usize = 1;

/// The functions of a module that return what they owe.
#[derive(Debug, Default)]
pub(super) struct Debts {
    /// By type of the guest's own: the one that stands for it.
    types: Vec<Option<u32>>,
    /// The types that are added, in the order of their indices.
    pub(super) added: Vec<FuncType>,
    /// By function, imported ones first: whether it returns what it owes.
    is_returned: Vec<bool>,
}

impl Debts {
    /// Those of a module of whose functions some have a `referenced`, and some are `known` outside. The first type that is added gets the
    /// index `first`.
    pub(super) fn find(signatures: &Signatures, referenced: &HashSet<u32>, known: &HashSet<u32>, first: u32) -> Self {
        let types: HashSet<&FuncType> = signatures.types.iter().collect();
        let mut candidates: HashMap<&FuncType, Option<FuncType>> = HashMap::new();
        for &function in referenced {
            let ty = signatures.function(function);
            let other = candidates.entry(ty).or_insert_with(|| with_debt(ty).filter(|other| !types.contains(other)));
            if function < signatures.imported_functions || known.contains(&function) {
                *other = None;
            }
        }
        let mut debts = Self::default();
        let mut indices: HashMap<&FuncType, u32> = HashMap::new();
        for ty in &signatures.types {
            let other = candidates.get(ty).and_then(Option::as_ref);
            debts.types.push(other.map(|other| {
                *indices.entry(ty).or_insert_with(|| {
                    debts.added.push(other.clone());
                    first + debts.added.len() as u32 - 1
                })
            }));
        }
        let functions = 0..signatures.functions.len() as u32;
        let returns =
            |function| referenced.contains(&function) && debts.of_type(signatures.functions[function as usize]).is_some();
        debts.is_returned = functions.map(returns).collect();
        debts
    }

    /// The type that stands for one of the guest's own in calls through tables.
    pub(super) fn of_type(&self, ty: u32) -> Option<u32> {
        self.types.get(ty as usize).copied().flatten()
    }

    /// Whether a function returns what it owes.
    pub(super) fn is_returned(&self, function: u32) -> bool {
        self.is_returned.get(function as usize).copied().unwrap_or(false)
    }
}

/// A function's type with what it owes behind its results.
fn with_debt(ty: &FuncType) -> Option<FuncType> {
    let results = ty.results().iter().copied().chain([ValType::I64]);
    (ty.results().len() <= RESULTS_MAX).then(|| FuncType::new(ty.params().iter().copied(), results))
}

#[cfg(test)]
mod tests {
    use wasmparser::{Parser, Payload};

    use crate::meter::{Options, instrument};

    /// Of each function that a text defines, whether it returns what it owes: its type is none that the text has.
    fn returning(text: &str, options: &Options) -> Vec<bool> {
        let wasm = wat::parse_str(format!("(module {text})")).unwrap();
        let metered = instrument(&wasm, options).unwrap();
        let own = sections(&wasm).0;
        let defined = sections(&wasm).1.len();
        sections(&metered.wasm).1.into_iter().take(defined).map(|ty| ty >= own).collect()
    }

    /// How many types a module has, and those of the functions that it defines.
    fn sections(wasm: &[u8]) -> (u32, Vec<u32>) {
        let (mut types, mut functions) = (0, Vec::new());
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::TypeSection(section) => types = section.count(),
                Payload::FunctionSection(section) => functions = section.into_iter().map(Result::unwrap).collect(),
                _ => {}
            }
        }
        (types, functions)
    }

    #[test]
    fn functions_of_a_type_return_what_they_owe_where_only_the_module_has_references_of_them() {
        let table = "(table 4 funcref) (elem (i32.const 0) $f $g)";
        let rows: [(&str, String, &[bool]); 15] = [
            ("in a table", format!("{table} (func $f) (func $g) (func $h)"), &[true, true, false]),
            ("in a global", "(global funcref (ref.func $f)) (func $f) (func $g)".to_owned(), &[true, false]),
            ("in a body", "(elem declare func $f) (func $f (drop (ref.func $f)))".to_owned(), &[true]),
            ("called by name alone", "(func $f) (func $g (call $f))".to_owned(), &[false, false]),
            ("an export of one", format!("{table} (func $f (export \"f\")) (func $g) (func $h)"), &[false, false, false]),
            (
                "an export that a body has a reference of",
                "(func $f (export \"f\") (drop (ref.func $f))) (func $g) (table funcref (elem $g))".to_owned(),
                &[false, false],
            ),
            (
                "an export that nothing has a reference of",
                format!("{table} (func $f) (func $g) (func (export \"h\"))"),
                &[true, true, false],
            ),
            ("a start function", format!("{table} (func $f) (func $g) (start $g)"), &[false, false]),
            ("another type", format!("{table} (func $f (export \"f\")) (func $g (param i32))"), &[false, true]),
            (
                "an imported one",
                format!(
                    "(import \"wasi_snapshot_preview1\" \"sched_yield\" (func $f (result i32))) {table} (func $g (result i32) (i32.const 0))"
                ),
                &[false],
            ),
            // It would answer to calls that ask for the type of the guest's.
            ("a type like the other", format!("{table} (func $f) (func $g (result i64) (i64.const 0))"), &[false, true]),
            ("a table that is exported", format!("(export \"t\" (table 0)) {table} (func $f) (func $g)"), &[false, false]),
            (
                "a global that is exported",
                format!("(global (export \"g\") funcref (ref.func $f)) {table} (func $f) (func $g)"),
                &[false, false],
            ),
            (
                "a reference that is given away",
                format!("{table} (func $f) (func $g) (func (export \"h\") (result funcref) (ref.func $f))"),
                &[false, false, false],
            ),
            ("two results", format!("{table} (func $f (result i32 i32) (i32.const 0) (i32.const 0)) (func $g)"), &[false, true]),
        ];
        for (what, text, want) in rows {
            assert_eq!(returning(&text, &Options::default()), want, "{what}");
        }
        let profiled = Options { profile: true, ..Options::default() };
        assert_eq!(returning(&format!("{table} (func $f) (func $g)"), &profiled), [false, false]);
    }
}
