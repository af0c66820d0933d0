//! What an author wants to know of a module before anybody refuses it: all that is wrong with it at once, and what it is made of.

use rayon::ThreadPoolBuilder;
use wasmparser::{Validator, WasmFeatures};

use super::limit::MODULE_BYTES;
use super::shape::Unmeasured;
use super::validation::Scope;
use super::{ModuleLimits, Place, Refusal, format, interface, proposal, shape, validation};
use crate::engine::FEATURES;
use crate::meter::{Options, instrument};
use crate::worker::words;

/// The features that guests may use, by the names that people know.
const ALLOWED: [(&str, WasmFeatures); 9] = [
    ("mutable globals", WasmFeatures::MUTABLE_GLOBAL),
    ("saturating conversions", WasmFeatures::SATURATING_FLOAT_TO_INT),
    ("sign extension", WasmFeatures::SIGN_EXTENSION),
    ("multi-value", WasmFeatures::MULTI_VALUE),
    ("bulk memory", WasmFeatures::BULK_MEMORY),
    ("reference types", WasmFeatures::REFERENCE_TYPES),
    ("extended constants", WasmFeatures::EXTENDED_CONST),
    ("SIMD", WasmFeatures::SIMD),
    ("wide arithmetic", WasmFeatures::WIDE_ARITHMETIC),
];

/// What an inspection found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Why no node admits it; empty where nodes do, as far as the owner's own limit on size was known.
    pub faults: Vec<Fault>,
    /// The features of WebAssembly beyond its first version that it uses, those included that no guest may use. Empty where it is not valid.
    pub features: Vec<&'static str>,
}

/// A reason for which a module is not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// In the words of the refusal.
    pub reason: String,
    /// The limit that it is over, where it is one.
    pub limit: Option<OverLimit>,
    /// In how many places.
    pub count: usize,
}

/// A limit that a module is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverLimit {
    /// What is limited, as `docs/limits.md` names it.
    pub name: &'static str,
    /// What the module has, at its worst place.
    pub value: u64,
    /// What it may have.
    pub max: u64,
}

/// Looks a module through, of which a node admits `module_bytes_max` bytes. Takes as long as compiling it, at most.
pub fn inspect(wasm: &[u8], module_bytes_max: u64) -> Inspection {
    on_threads(|| {
        let mut faults = Faults::all();
        // With a list of all, nothing ends the inspection but what cannot be read further.
        if let Err(refusal) = look(wasm, &ModuleLimits { module_bytes_max }, &mut faults) {
            faults.add(refusal);
        }
        let faults = faults.into_found();
        Inspection { features: features(wasm), faults }
    })
}

/// Does `work` on a thread for each core, or on this one where no more can be had.
fn on_threads<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let here = |_| ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    match ThreadPoolBuilder::new().build().or_else(here) {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

fn look(wasm: &[u8], limits: &ModuleLimits, faults: &mut Faults) -> Result<(), Refusal> {
    faults.check(MODULE_BYTES.with_max(limits.module_bytes_max), wasm.len() as u64, Place::Module)?;
    format::check(wasm)?;
    let shape = match shape::measure(wasm, faults) {
        Ok(shape) => Some(shape),
        Err(Unmeasured::Refused(refusal)) => return Err(refusal),
        Err(Unmeasured::Unreadable(_)) => None,
    };
    let types = match validation::validate(wasm, FEATURES, Scope::All) {
        Ok(types) => types,
        Err(error) => return Err(proposal::explain(wasm, &error)),
    };
    if let (Some(shape), Some(types)) = (shape, types) {
        interface::check(&shape, &types, faults)?;
    }
    // What is over a limit may be too much for the meter.
    match faults.is_empty().then(|| instrument(wasm, &Options::default())) {
        Some(Err(error)) => Err(Refusal::Invalid(error.to_string())),
        _ => Ok(()),
    }
}

/// The features that a module is not valid without. Of those that stand on each other, both.
fn features(wasm: &[u8]) -> Vec<&'static str> {
    let is_valid = |features| Validator::new_with_features(features).validate_all(wasm).is_ok();
    let every = proposal::PROPOSALS.iter().fold(FEATURES, |all, (_, features)| all.union(*features));
    let whole = if is_valid(FEATURES) { FEATURES } else { every };
    if !is_valid(whole) {
        return Vec::new();
    }
    let proposals = proposal::PROPOSALS.iter().filter(|_| whole == every);
    let named = ALLOWED.iter().chain(proposals);
    // What a proposal stands on is on without it.
    let without = |features: WasmFeatures| {
        whole.difference(if ALLOWED.iter().any(|(_, one)| *one == features) { features } else { features.difference(FEATURES) })
    };
    named.filter(|(_, features)| !is_valid(without(*features))).map(|(name, _)| *name).collect()
}

/// Where what is wrong with a module goes: its first fault ends admission; an inspection hears of all.
#[derive(Debug)]
pub(super) struct Faults {
    /// There where all are wanted: each with the place or places where it is met.
    found: Option<Vec<(Refusal, usize)>>,
}

impl Faults {
    /// The first is the answer.
    pub(super) fn first() -> Self {
        Self { found: None }
    }

    fn all() -> Self {
        Self { found: Some(Vec::new()) }
    }

    /// Whether all are wanted.
    pub(super) fn are_all(&self) -> bool {
        self.found.is_some()
    }

    fn is_empty(&self) -> bool {
        self.found.as_ref().is_none_or(Vec::is_empty)
    }

    /// Refuses a module that has `value` of what is limited, unless that is only noted.
    pub(super) fn check(&mut self, limit: super::limit::Limit, value: u64, place: Place) -> Result<(), Refusal> {
        match limit.check(value, place) {
            Ok(()) => Ok(()),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Refuses a module, unless that is only noted.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        if self.found.is_none() {
            return Err(refusal);
        }
        self.add(refusal);
        Ok(())
    }

    fn add(&mut self, refusal: Refusal) {
        let found = self.found.get_or_insert_default();
        let limit = |refusal: &Refusal| match refusal {
            Refusal::OverLimit { name, value, .. } => Some((*name, *value)),
            _ => None,
        };
        let Some((name, value)) = limit(&refusal) else { return found.push((refusal, 1)) };
        // Of one limit the worst place is told.
        match found.iter_mut().find(|(known, _)| limit(known).is_some_and(|(other, _)| other == name)) {
            Some((known, count)) => {
                *count += 1;
                if limit(known).is_some_and(|(_, most)| most < value) {
                    *known = refusal;
                }
            }
            None => found.push((refusal, 1)),
        }
    }

    fn into_found(self) -> Vec<Fault> {
        self.found.unwrap_or_default().into_iter().map(|(refusal, count)| Fault::new(&refusal, count)).collect()
    }
}

impl Fault {
    fn new(refusal: &Refusal, count: usize) -> Self {
        let limit = match refusal {
            Refusal::OverLimit { name, value, max, .. } => Some(OverLimit { name, value: *value, max: *max }),
            _ => None,
        };
        Self { reason: words(&refusal.to_string()), limit, count }
    }
}
