//! What a module imports and exports: a command (<https://github.com/WebAssembly/WASI/blob/main/legacy/application-abi.md>) that
//! imports nothing but what guests have here.

use std::sync::LazyLock;

use wasmparser::types::Types;
use wasmparser::{ExternalKind, FuncType, Import, TypeRef, ValType};

use super::Refusal;
use super::inspect::Faults;
use super::shape::{START, Shape};

/// The modules of functions that guests have.
const WASI: &str = "wasi_snapshot_preview1";
const ADIT: &str = adit_abi::MODULE;

/// A function that a guest may import: its module, its name, and its parameters and results, `i` for i32 and `I` for i64.
type Function = (&'static str, &'static str, &'static str, &'static str);

/// All that a guest may import. A test compares with what the sandbox worker gives.
pub(crate) static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| {
    let adit = adit_abi::FUNCTIONS.iter().map(|function| (ADIT, function.name, function.params, function.result));
    WASI_FUNCTIONS.iter().copied().chain(adit).collect()
});

/// Those of WASI preview 1.
#[rustfmt::skip]
const WASI_FUNCTIONS: &[Function] = &[
    (WASI, "args_get", "ii", "i"),
    (WASI, "args_sizes_get", "ii", "i"),
    (WASI, "environ_get", "ii", "i"),
    (WASI, "environ_sizes_get", "ii", "i"),
    (WASI, "clock_res_get", "ii", "i"),
    (WASI, "clock_time_get", "iIi", "i"),
    (WASI, "fd_advise", "iIIi", "i"),
    (WASI, "fd_allocate", "iII", "i"),
    (WASI, "fd_close", "i", "i"),
    (WASI, "fd_datasync", "i", "i"),
    (WASI, "fd_fdstat_get", "ii", "i"),
    (WASI, "fd_fdstat_set_flags", "ii", "i"),
    (WASI, "fd_fdstat_set_rights", "iII", "i"),
    (WASI, "fd_filestat_get", "ii", "i"),
    (WASI, "fd_filestat_set_size", "iI", "i"),
    (WASI, "fd_filestat_set_times", "iIIi", "i"),
    (WASI, "fd_pread", "iiiIi", "i"),
    (WASI, "fd_prestat_get", "ii", "i"),
    (WASI, "fd_prestat_dir_name", "iii", "i"),
    (WASI, "fd_pwrite", "iiiIi", "i"),
    (WASI, "fd_read", "iiii", "i"),
    (WASI, "fd_readdir", "iiiIi", "i"),
    (WASI, "fd_renumber", "ii", "i"),
    (WASI, "fd_seek", "iIii", "i"),
    (WASI, "fd_sync", "i", "i"),
    (WASI, "fd_tell", "ii", "i"),
    (WASI, "fd_write", "iiii", "i"),
    (WASI, "path_create_directory", "iii", "i"),
    (WASI, "path_filestat_get", "iiiii", "i"),
    (WASI, "path_filestat_set_times", "iiiiIIi", "i"),
    (WASI, "path_link", "iiiiiii", "i"),
    (WASI, "path_open", "iiiiiIIii", "i"),
    (WASI, "path_readlink", "iiiiii", "i"),
    (WASI, "path_remove_directory", "iii", "i"),
    (WASI, "path_rename", "iiiiii", "i"),
    (WASI, "path_symlink", "iiiii", "i"),
    (WASI, "path_unlink_file", "iii", "i"),
    (WASI, "poll_oneoff", "iiii", "i"),
    (WASI, "proc_exit", "i", ""),
    (WASI, "proc_raise", "i", "i"),
    (WASI, "sched_yield", "", "i"),
    (WASI, "random_get", "ii", "i"),
    (WASI, "sock_accept", "iii", "i"),
    (WASI, "sock_recv", "iiiiii", "i"),
    (WASI, "sock_send", "iiiii", "i"),
    (WASI, "sock_shutdown", "ii", "i"),
];

/// Checks the module's interface.
pub(super) fn check(shape: &Shape<'_>, types: &Types, faults: &mut Faults) -> Result<(), Refusal> {
    let mut note = |fault: Result<(), String>| fault.or_else(|words| faults.refuse(Refusal::Interface(words)));
    for import in &shape.imports {
        note(check_import(import, types))?;
    }
    if let Some(function) = shape.start_section {
        note(Err(format!("it has a `start` section (function {function}); do that work in `{START}`")))?;
    }
    note(check_start(shape, types))
}

fn check_import(import: &Import<'_>, types: &Types) -> Result<(), String> {
    let Import { module, name, ty } = import;
    let kind = match ty {
        TypeRef::Func(index) => return check_function(module, name, types, *index),
        TypeRef::FuncExact(_) => "a function of an exact type",
        TypeRef::Table(_) => "a table",
        TypeRef::Memory(_) => "a memory",
        TypeRef::Global(_) => "a global",
        TypeRef::Tag(_) => "a tag",
    };
    Err(format!("it imports {kind}, `{module}::{name}`; a guest may import functions only"))
}

fn check_function(module: &str, name: &str, types: &Types, index: u32) -> Result<(), String> {
    let Some((.., params, results)) = FUNCTIONS.iter().find(|(m, n, ..)| (*m, *n) == (module, name)) else {
        return Err(format!("unknown import: `{module}::{name}`; a guest has the functions of {WASI} and {ADIT} and no others"));
    };
    let asked = types[types.as_ref().core_type_at_in_module(index)].unwrap_func();
    if letters(asked) == (String::from(*params), String::from(*results)) {
        return Ok(());
    }
    let [want, got] = [signature(params, results), spell(asked)];
    Err(format!("incompatible import type for `{module}::{name}`: it is {want}, not {got}"))
}

fn check_start(shape: &Shape<'_>, types: &Types) -> Result<(), String> {
    let Some(export) = shape.start_export else {
        return Err(format!("it exports no function `{START}`; build a command, not a library"));
    };
    let is_command = export.kind == ExternalKind::Func && {
        let function = types[types.as_ref().core_function_at(export.index)].unwrap_func();
        function.params().is_empty() && function.results().is_empty()
    };
    if is_command { Ok(()) } else { Err(format!("its export `{START}` is not a function without parameters and results")) }
}

/// A function's type as [`FUNCTIONS`] writes it.
fn letters(function: &FuncType) -> (String, String) {
    let letter = |ty: &ValType| match ty {
        ValType::I32 => 'i',
        ValType::I64 => 'I',
        // No function that a guest may import has another.
        _ => '?',
    };
    (function.params().iter().map(letter).collect(), function.results().iter().map(letter).collect())
}

/// `(i32, i64) -> (i32)`, from letters.
fn signature(params: &str, results: &str) -> String {
    let words = |letters: &str| letters.chars().map(|c| if c == 'I' { "i64" } else { "i32" }).collect::<Vec<_>>().join(", ");
    format!("({}) -> ({})", words(params), words(results))
}

/// The same from a type.
fn spell(function: &FuncType) -> String {
    let words = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("({}) -> ({})", words(function.params()), words(function.results()))
}
