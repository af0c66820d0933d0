//! What third-party test suites need of this crate: how modules are validated, and the engine as it is configured for guests. It
//! is no part of the interface: `adit-conformance` alone uses it.

use wasmparser::Validator;
use wasmtime::{Engine, OptLevel, Strategy};

use crate::engine::{FEATURES, variant};

/// Checks a module as a compile worker does before it compiles.
///
/// # Errors
/// The validator's words, with the offset.
pub fn validate(wasm: &[u8]) -> Result<(), String> {
    Validator::new_with_features(FEATURES).validate_all(wasm).map(drop).map_err(|error| error.to_string())
}

/// The guests' engine, under another compiler and with room for `slots` instances at once.
///
/// # Errors
/// Where the compiler is not built in, or the machine lacks the address space.
pub fn engine(strategy: Strategy, level: OptLevel, slots: u32) -> wasmtime::Result<Engine> {
    Engine::new(&variant(strategy, level, slots))
}
