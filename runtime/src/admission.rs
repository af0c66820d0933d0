//! Admission: what a module must be before anything of it is compiled. Runs first in the compile worker, on bytes that a stranger chose.
//!
//! The bytes are read twice. [`shape::measure`] reads what sections declare and how code is nested, and checks it against
//! limits before a validator allocates for it or takes its time; [`validation::validate`] then checks every item in the order of the file. What is refused is refused in the
//! words of what was exceeded, asked for or broken, because they end up with the module's author.

mod format;
mod inspect;
mod interface;
mod limit;
mod proposal;
mod shape;
#[cfg(test)]
mod tests;
mod validation;

use serde::{Deserialize, Serialize};
use wasmparser::Error;

use self::inspect::Faults;
use self::limit::{MODULE_BYTES, Place};
use self::shape::Unmeasured;
use self::validation::Scope;
use crate::engine::FEATURES;

pub use self::inspect::{Fault, Inspection, OverLimit, inspect};
pub(crate) use self::interface::FUNCTIONS;
pub use self::limit::MODULE_BYTES_DEFAULT;

/// The limits that an owner may choose. The others are constants, so that a module that one node admits is refused by none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModuleLimits {
    /// Bytes of a module.
    pub(crate) module_bytes_max: u64,
}

impl ModuleLimits {
    /// Refuses a module of `bytes`.
    pub(crate) fn check_bytes(self, bytes: u64) -> Result<(), Refusal> {
        MODULE_BYTES.with_max(self.module_bytes_max).check(bytes, Place::Module)
    }
}

/// What is known of a module that was admitted: enough to price its instantiation by formula.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Functions that it defines.
    pub(crate) functions: u32,
    /// Functions that it imports.
    pub(crate) imported_functions: u32,
    /// Globals that it defines.
    pub(crate) globals: u32,
    /// Bytes of linear memory that an instance begins with.
    pub(crate) memory_bytes: u64,
    /// Elements of all tables that an instance begins with.
    pub(crate) table_elements: u64,
    /// Data segments that are copied into memory when an instance is made.
    pub(crate) active_data_segments: u32,
    /// Bytes of these.
    pub(crate) active_data_bytes: u64,
    /// Element segments that are copied into tables when an instance is made.
    pub(crate) active_element_segments: u32,
    /// Elements of these.
    pub(crate) active_elements: u64,
}

/// Why a module is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The bytes are something else.
    #[error("{0}")]
    Format(&'static str),
    /// It is larger than a module may be, in some way.
    #[error("{name}: {value} is over the limit of {max}{place}")]
    OverLimit {
        /// What is limited.
        name: &'static str,
        /// What the module has, or as much of it as was read.
        value: u64,
        /// What it may have.
        max: u64,
        /// Where in the module.
        place: Place,
    },
    /// It uses what no guest may use here.
    #[error("it needs {proposals}, which no guest may use here: {error}")]
    Proposal {
        /// The names of the proposals.
        proposals: String,
        /// What was met, and where.
        error: String,
    },
    /// It is no valid module.
    #[error("{0}")]
    Invalid(String),
    /// It is a valid module, but not a command that runs here.
    #[error("{0}")]
    Interface(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Admits a module, or says why not.
///
/// # Errors
/// [`Refusal`].
pub(crate) fn admit(wasm: &[u8], limits: &ModuleLimits) -> Result<Admitted, Refusal> {
    limits.check_bytes(wasm.len() as u64)?;
    format::check(wasm)?;
    let faults = &mut Faults::first();
    let shape = shape::measure(wasm, faults);
    if let Err(Unmeasured::Refused(refusal)) = shape {
        return Err(refusal);
    }
    let types = match validation::validate(wasm, FEATURES, Scope::All) {
        Ok(types) => types.expect("a whole module ends with its types"),
        Err(error) => return Err(proposal::explain(wasm, &error)),
    };
    match shape {
        Ok(shape) => interface::check(&shape, &types, faults).map(|()| shape.admitted),
        // The validator reads all that was measured; what could not be read would not have been valid.
        Err(Unmeasured::Unreadable(error)) => Err(error.into()),
        Err(Unmeasured::Refused(refusal)) => Err(refusal),
    }
}
