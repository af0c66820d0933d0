//! Modules that nobody wrote, the same ones for the same seed.

use arbitrary::Unstructured;
use wasm_smith::{Config, Module};

/// Bytes that a module is made of.
const ENTROPY_BYTES: usize = 4096;

/// Bytes that look random, of a seed (splitmix64).
pub(crate) fn entropy(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(ENTROPY_BYTES);
    while bytes.len() < ENTROPY_BYTES {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((word ^ (word >> 31)).to_le_bytes());
    }
    bytes
}

/// A module of the profile, made of `entropy`, all of whose items are exported and whose calls end; nothing where the bytes do not
/// suffice for one.
pub(crate) fn module(entropy: &[u8]) -> Option<Vec<u8>> {
    terminating(Config { export_everything: true, ..profile() }, entropy, 2_000)
}

/// A job made of `entropy`: a module with a `_start`.
pub(crate) fn job(entropy: &[u8]) -> Option<Vec<u8>> {
    let shape = r#"(module (func (export "_start") unreachable) (memory (export "memory") 1 8))"#;
    terminating(Config { exports: Some(wat::parse_str(shape).unwrap()), ..profile() }, entropy, 2_000)
}

fn terminating(config: Config, entropy: &[u8], rounds: u32) -> Option<Vec<u8>> {
    let mut module = Module::new(config, &mut Unstructured::new(entropy)).ok()?;
    module.ensure_termination(rounds).ok()?;
    Some(module.to_bytes())
}

/// What the profile `core-1` lets a module be made of. NaNs are canonical, because the engine alone does not say which they are.
fn profile() -> Config {
    Config {
        max_imports: 0,
        max_memories: 1,
        max_tables: 1,
        max_memory32_bytes: 8 << 16,
        max_table_elements: 1_000,
        max_instructions: 400,
        min_funcs: 1,
        max_funcs: 12,
        max_globals: 8,
        canonicalize_nans: true,
        wide_arithmetic_enabled: true,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        // It would mean references of the host's, too, which the profile has not.
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        ..Config::default()
    }
}
