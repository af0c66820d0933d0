//! Modules that nobody wrote, the same ones for the same bytes.

use adit_runtime::lab::{features, host_functions};
use arbitrary::{Arbitrary, Unstructured};
use wasm_encoder::{EntityType, ImportSection, TypeSection, ValType};
use wasm_smith::{Config, Module};
use wasmparser::Validator;

/// Calls and rounds of loops after which a module that ends by construction ends.
const ROUNDS_MAX: u32 = 500;

/// Functions of the host that a command may import, of which it takes about half.
const IMPORTS: u64 = 8;

/// Bytes that look random, of a seed (splitmix64).
pub(crate) fn entropy(seed: u64, bytes: usize) -> Vec<u8> {
    let words = (0..bytes.div_ceil(8) as u64).flat_map(|at| word(seed, at).to_le_bytes());
    words.take(bytes).collect()
}

/// The word at a place of what a seed makes.
pub(crate) fn word(seed: u64, at: u64) -> u64 {
    let mut word = seed.wrapping_add((at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A module of any proposal that the generator knows.
pub(crate) fn any(entropy: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Unstructured::new(entropy);
    let config = Config::arbitrary(&mut bytes).ok()?;
    Some(Module::new(config, &mut bytes).ok()?.to_bytes())
}

/// A command that imports what guests have.
pub(crate) fn command(entropy: &[u8]) -> Option<Vec<u8>> {
    let shape = r#"(module (func (export "_start") unreachable) (memory (export "memory") 1 4))"#;
    let exports = Some(wat::parse_str(shape).expect("the shape is a module"));
    let (&how, rest) = entropy.split_first()?;
    let config = Config { exports, available_imports: Some(imports(how)), max_memories: 0, ..profile() };
    Some(Module::new(config, &mut Unstructured::new(rest)).ok()?.to_bytes())
}

/// A module of the profile without imports: the bytes as they are, or what is made of them with all its items exported, which may end
/// by construction. The first byte says which. Nothing where that is no module of the profile.
pub(crate) fn library(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&how, rest) = bytes.split_first()?;
    match how % 4 {
        0 => valid(rest.to_vec()),
        1 => made(rest, false, profile()),
        // It traps where its rounds are over, and nowhere else.
        2 => made(rest, true, Config { disallow_traps: true, ..profile() }),
        // References of the host's come with the others, and the profile has not those.
        _ => made(rest, true, Config { reference_types_enabled: true, ..profile() }).or_else(|| made(rest, true, profile())),
    }
}

fn made(entropy: &[u8], ends: bool, config: Config) -> Option<Vec<u8>> {
    let config = Config { export_everything: true, max_imports: 0, min_memories: 1, min_globals: 1, ..config };
    let mut module = Module::new(config, &mut Unstructured::new(entropy)).ok()?;
    if ends {
        module.ensure_termination(ROUNDS_MAX).ok()?;
    }
    valid(module.to_bytes())
}

fn valid(wasm: Vec<u8>) -> Option<Vec<u8>> {
    Validator::new_with_features(features()).validate_all(&wasm).ok().map(|_| wasm)
}

/// What the profile `core-1` lets a module be made of, in sizes that compile in milliseconds.
fn profile() -> Config {
    Config {
        allow_start_export: false,
        max_memories: 1,
        max_tables: 2,
        max_memory32_bytes: 4 << 16,
        const_expr_fuel: 8,
        max_table_elements: 1_000,
        max_instructions: 300,
        min_funcs: 3,
        max_funcs: 10,
        max_globals: 8,
        wide_arithmetic_enabled: true,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        ..Config::default()
    }
}

/// A module that imports some of what guests have: the generator counts imports as functions, and should make some of its own.
fn imports(some: u8) -> Vec<u8> {
    let (types, _) = import_sections();
    let mut imports = ImportSection::new();
    for at in 0..IMPORTS {
        let index = word(some.into(), at) as usize % host_functions().len();
        let (module, name, ..) = host_functions()[index];
        imports.import(module, name, EntityType::Function(index as u32));
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports);
    module.finish()
}

/// Types and imports of all that guests have; the type of each is as its index.
pub(crate) fn import_sections() -> (TypeSection, ImportSection) {
    let (mut types, mut imports) = (TypeSection::new(), ImportSection::new());
    for (index, (module, name, params, results)) in host_functions().iter().enumerate() {
        types.ty().function(letters(params), letters(results));
        imports.import(module, name, EntityType::Function(index as u32));
    }
    (types, imports)
}

/// The types that letters of [`host_functions`] stand for.
pub(crate) fn letters(letters: &str) -> Vec<ValType> {
    letters.chars().map(|letter| if letter == 'I' { ValType::I64 } else { ValType::I32 }).collect()
}
