//! What happens to a module between our validation and the compiler.

use std::fmt::Debug;

/// A step that changes modules.
pub trait Prepare: Debug + Sync {
    /// What it is called in a report.
    fn name(&self) -> &'static str;

    /// The module to compile in place of `wasm`, which is valid.
    ///
    /// # Errors
    /// Why there is none.
    fn prepare(&self, wasm: &[u8]) -> Result<Prepared, String>;
}

/// A module that is ready for the compiler.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its bytes.
    pub wasm: Vec<u8>,
    /// What was added to it, if anything.
    pub meter: Option<Meter>,
}

/// What a metered module exports to its host and to nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// The memory with the counter at byte 0 and the limit at byte 8, each an `u64`. A new instance's limit is 0.
    pub memory: String,
    /// The function that was the module's start function, called once the limit is written.
    pub start: Option<String>,
}

/// Changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unchanged;

impl Prepare for Unchanged {
    fn name(&self) -> &'static str {
        "modules unchanged"
    }

    fn prepare(&self, wasm: &[u8]) -> Result<Prepared, String> {
        Ok(Prepared { wasm: wasm.to_vec(), meter: None })
    }
}
