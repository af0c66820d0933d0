//! Names the proposal that a module was refused for. The validator's errors often do not: what a proposal adds is to it an unknown
//! byte or a wrong type. So the item that failed is judged again with more features, and the proposal that helps is the one to name.

use wasmparser::{Error, WasmFeatures};

use super::Refusal;
use super::validation::{Scope, validate};
use crate::engine::FEATURES;

/// The garbage collector's types, and the typed references on which they stand.
const GC: WasmFeatures =
    WasmFeatures::GC.union(WasmFeatures::GC_TYPES).union(WasmFeatures::FUNCTION_REFERENCES).union(WasmFeatures::REFERENCE_TYPES);

/// What is off, by the names that people know, each with what it stands on; the simplest first. Where several would help, the
/// first is named.
pub(super) const PROPOSALS: [(&str, WasmFeatures); 16] = [
    ("threads", WasmFeatures::THREADS),
    ("relaxed SIMD", WasmFeatures::RELAXED_SIMD),
    ("memory64", WasmFeatures::MEMORY64),
    ("multi-memory", WasmFeatures::MULTI_MEMORY),
    ("custom page sizes", WasmFeatures::CUSTOM_PAGE_SIZES),
    ("tail calls", WasmFeatures::TAIL_CALL),
    ("exceptions", WasmFeatures::EXCEPTIONS),
    ("legacy exceptions", WasmFeatures::LEGACY_EXCEPTIONS.union(WasmFeatures::EXCEPTIONS)),
    ("function references", WasmFeatures::FUNCTION_REFERENCES),
    ("externref", WasmFeatures::GC_TYPES),
    ("GC", GC),
    ("memory control", WasmFeatures::MEMORY_CONTROL),
    ("compact imports", WasmFeatures::COMPACT_IMPORTS),
    ("stack switching", WasmFeatures::STACK_SWITCHING.union(WasmFeatures::EXCEPTIONS).union(GC)),
    ("shared-everything threads", WasmFeatures::SHARED_EVERYTHING_THREADS.union(WasmFeatures::THREADS).union(GC)),
    ("custom descriptors", WasmFeatures::CUSTOM_DESCRIPTORS.union(GC)),
];

/// The refusal of a module that is not valid for this reason.
pub(super) fn explain(wasm: &[u8], error: &Error) -> Refusal {
    let proposals = helpful(wasm, error);
    match proposals.as_slice() {
        [] => Refusal::Invalid(error.to_string()),
        names => {
            let noun = if names.len() == 1 { "the proposal" } else { "the proposals" };
            Refusal::Proposal { proposals: format!("{noun} {}", names.join(" and ")), error: error.to_string() }
        }
    }
}

/// The refusal of a group of types that refer to each other.
pub(super) fn recursive_types(at: usize) -> Refusal {
    Refusal::Proposal { proposals: "the proposal GC".to_owned(), error: format!("a recursion group (at offset {at:#x})") }
}

/// The names of what must be on for the module to be valid up to where it failed, and a little further.
fn helpful(wasm: &[u8], error: &Error) -> Vec<&'static str> {
    let helps = |features| moves_on(wasm, features, error);
    let every = PROPOSALS.iter().fold(WasmFeatures::empty(), |all, (_, features)| all.union(*features));
    // Most modules that are refused would be refused under any features.
    let every_helps = helps(every);
    if (every_helps || error.missing_wasm_feature().is_some())
        && let Some((name, _)) = PROPOSALS.iter().find(|(_, features)| helps(*features))
    {
        return vec![name];
    }
    if every_helps {
        return smallest_set(helps);
    }
    // Wrong even so, but the proposal is what the validator met first.
    let missing = error.missing_wasm_feature();
    let named = PROPOSALS.iter().find(|(_, features)| missing.is_some_and(|missing| features.intersects(missing)));
    named.iter().map(|(name, _)| *name).collect()
}

/// Leaves out one proposal after the other, the largest first, as long as the rest helps.
fn smallest_set(helps: impl Fn(WasmFeatures) -> bool) -> Vec<&'static str> {
    let mut kept = PROPOSALS.to_vec();
    for (name, _) in PROPOSALS.iter().rev() {
        let rest = kept.iter().filter(|(other, _)| other != name);
        if helps(rest.clone().fold(WasmFeatures::empty(), |all, (_, features)| all.union(*features))) {
            kept = rest.copied().collect();
        }
    }
    kept.into_iter().map(|(name, _)| name).collect()
}

/// Whether the item that failed is valid with `features` in addition, or fails later.
fn moves_on(wasm: &[u8], features: WasmFeatures, error: &Error) -> bool {
    match validate(wasm, FEATURES.union(features), Scope::Item(error.offset())) {
        Ok(_) => true,
        Err(other) => other.offset() > error.offset(),
    }
}
