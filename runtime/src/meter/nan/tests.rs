//! The rewritten module under the plain engine against the original under the engine's own canonicalisation.

mod grouped;
mod observed;
mod random;

use std::sync::LazyLock;

use wasmparser::Validator;
use wasmtime::{Config, Engine, Instance, Linker, Module, OptLevel, Store, Val};

use super::rewrite::rewrite;
use super::{after_arithmetic, canonicalise, insert};
use crate::engine::FEATURES;

/// The engine that says what is right.
static REFERENCE: LazyLock<Engine> = LazyLock::new(|| engine(true, OptLevel::Speed));
/// The engine that runs what was rewritten.
static PLAIN: LazyLock<Engine> = LazyLock::new(|| engine(false, OptLevel::Speed));
/// The same, with other code: other choices of registers and operand orders.
static UNOPTIMISED: LazyLock<Engine> = LazyLock::new(|| engine(false, OptLevel::None));

fn engine(canonical: bool, level: OptLevel) -> Engine {
    let mut config = Config::new();
    config.cranelift_nan_canonicalization(canonical).cranelift_opt_level(level);
    config.wasm_features(FEATURES.complement(), false).wasm_features(FEATURES, true);
    Engine::new(&config).unwrap()
}

/// All that can be seen of a run: what each exported function returned or that it trapped, what the host was passed, then each
/// exported global and the memory.
#[derive(Debug, PartialEq, Eq, Default)]
struct Observations {
    seen: Vec<String>,
    memory: Vec<u8>,
}

/// Calls each exported function without parameters once, in order.
fn observe(engine: &Engine, wasm: &[u8]) -> Observations {
    let module = Module::new(engine, wasm).unwrap();
    let mut store = Store::new(engine, Observations::default());
    let instance = linker(engine, &module).instantiate(&mut store, &module).unwrap();
    for export in module.exports() {
        match export.ty() {
            wasmtime::ExternType::Func(ty) if ty.params().len() == 0 => {
                let mut results = vec![Val::I32(0); ty.results().len()];
                let function = instance.get_func(&mut store, export.name()).unwrap();
                let outcome = function.call(&mut store, &[], &mut results);
                let seen = match outcome {
                    Ok(()) => format!("{} {results:?}", export.name()),
                    Err(_) => format!("{} trapped", export.name()),
                };
                store.data_mut().seen.push(seen);
            }
            _ => {}
        }
    }
    see_state(&module, instance, &mut store);
    store.into_data()
}

/// A host whose functions `env.see*` record what they are passed.
fn linker(engine: &Engine, module: &Module) -> Linker<Observations> {
    let mut linker = Linker::new(engine);
    for import in module.imports() {
        let wasmtime::ExternType::Func(ty) = import.ty() else { panic!("tests import functions only") };
        let name = import.name().to_owned();
        let see = move |mut caller: wasmtime::Caller<'_, Observations>, params: &[Val], _: &mut [Val]| {
            caller.data_mut().seen.push(format!("{name} {params:?}"));
            Ok(())
        };
        linker.func_new(import.module(), import.name(), ty, see).unwrap();
    }
    linker
}

fn see_state(module: &Module, instance: Instance, store: &mut Store<Observations>) {
    for export in module.exports() {
        if let Some(global) = instance.get_global(&mut *store, export.name()) {
            let seen = format!("{} {:?}", export.name(), global.get(&mut *store));
            store.data_mut().seen.push(seen);
        }
        if let Some(memory) = instance.get_memory(&mut *store, export.name()) {
            let bytes = memory.data(&*store).to_vec();
            store.data_mut().memory = bytes;
        }
    }
}

/// The module as the pass rewrites it.
fn rewritten(wasm: &[u8]) -> Vec<u8> {
    valid(rewrite(wasm, canonicalise))
}

/// The module as the pass rewrites bodies that are too large for it.
fn rewritten_coarsely(wasm: &[u8]) -> Vec<u8> {
    valid(rewrite(wasm, |body, _| {
        let insertions = after_arithmetic(body);
        insert(body, &insertions);
    }))
}

fn valid(wasm: Vec<u8>) -> Vec<u8> {
    Validator::new_with_features(FEATURES).validate_all(&wasm).unwrap();
    wasm
}

/// The first difference, for people.
fn difference(expected: &Observations, actual: &Observations) -> Option<String> {
    if expected == actual {
        return None;
    }
    let seen = expected.seen.iter().zip(&actual.seen).find(|(a, b)| a != b);
    let byte = expected.memory.iter().zip(&actual.memory).position(|(a, b)| a != b);
    Some(format!("expected and seen {seen:?}, first byte of memory that differs {byte:?}"))
}

fn check(wasm: &[u8], what: &str) {
    let expected = observe(&REFERENCE, wasm);
    for (engine, rewritten, how) in [
        (&PLAIN, rewritten(wasm), "optimised"),
        (&UNOPTIMISED, rewritten(wasm), "unoptimised"),
        (&PLAIN, rewritten_coarsely(wasm), "coarse"),
    ] {
        if let Some(difference) = difference(&expected, &observe(engine, &rewritten)) {
            panic!("{what}, {how}: {difference}");
        }
    }
}
