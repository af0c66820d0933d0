//! The host module `spectest`, which scripts import from
//! (<https://github.com/WebAssembly/spec/tree/main/interpreter#spectest-host-module>).

use std::collections::HashMap;

use wasmtime::{
    Extern, Func, Global, GlobalType, Memory, MemoryType, Mutability, Ref, RefType, Store, Table, TableType, Val, ValType,
};

/// What it exports. Its functions print nothing: no test looks at what they print.
pub(crate) fn exports(store: &mut Store<()>) -> wasmtime::Result<HashMap<&'static str, Extern>> {
    let mut exports: HashMap<&'static str, Extern> = HashMap::from([
        ("print", Func::wrap(&mut *store, || {}).into()),
        ("print_i32", Func::wrap(&mut *store, |_: i32| {}).into()),
        ("print_i64", Func::wrap(&mut *store, |_: i64| {}).into()),
        ("print_f32", Func::wrap(&mut *store, |_: f32| {}).into()),
        ("print_f64", Func::wrap(&mut *store, |_: f64| {}).into()),
        ("print_i32_f32", Func::wrap(&mut *store, |_: i32, _: f32| {}).into()),
        ("print_f64_f64", Func::wrap(&mut *store, |_: f64, _: f64| {}).into()),
    ]);
    for (name, ty, value) in [
        ("global_i32", ValType::I32, Val::I32(666)),
        ("global_i64", ValType::I64, Val::I64(666)),
        ("global_f32", ValType::F32, Val::F32(666.6_f32.to_bits())),
        ("global_f64", ValType::F64, Val::F64(666.6_f64.to_bits())),
    ] {
        exports.insert(name, Global::new(&mut *store, GlobalType::new(ty, Mutability::Const), value)?.into());
    }
    let table = Table::new(&mut *store, TableType::new(RefType::FUNCREF, 10, Some(20)), Ref::Func(None))?;
    exports.insert("table", table.into());
    exports.insert("memory", Memory::new(&mut *store, MemoryType::new(1, Some(2)))?.into());
    Ok(exports)
}
