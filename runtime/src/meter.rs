//! The meter: what a unit of fuel means, and the pass that makes a module count it.
//!
//! A module is rewritten before it is compiled, so that it counts its own work in a memory, or a global, that its guest cannot name. What is
//! counted depends on the module and its input alone: not on the compiler, its optimisations, the processor, or how often the guest
//! was interrupted.
//!
//! - **Exact.** Fuel is the sum of the weights of the basic blocks entered, never a longest path. What the head of a loop weighs covers
//!   what its rounds wait for ([`recurrence`]). What bulk operations and growth
//!   cost by size is added before they act.
//! - **Not lost.** Every change of the count is in memory, or in baseline code in the global at once and in memory at each check. Where the guest traps, a table of the module ([`Pending`]) tells what the
//!   word in memory lacks at that offset, and what is emitted keeps compilers from naming another.
//! - **Interruptible.** Each round of a loop and of a circle of calls compares the count to a limit word ([`checks`]); another thread
//!   stops the guest by writing 0 there. The check can only trap, so no register has to survive it. Much memory is filled and copied in
//!   [`pieces`].
//! - **Cheap.** Updates stand on few edges of the control-flow graph, chosen by a spanning tree; short loops are repeated so that
//!   several rounds share one update; functions that end soon do nothing about limits ([`calls`], [`depths`]).
//!
//! The way of a function: decoded into a [`body`], its loops' waits priced ([`recurrence`]), its calls of itself inlined ([`recursion`]), made to
//! have canonical NaNs ([`nan`]), its loops repeated ([`repeat`]), its graph built ([`graph`]), updates placed ([`place`]), and emitted ([`emit`]).
//! For baseline code the form is another ([`baseline`]): each block ([`blocks`]) pays where it begins. [`module`] puts the functions back into
//! their module.

mod baseline;
mod blocks;
mod body;
mod calls;
mod checks;
mod debts;
mod depths;
mod emit;
mod graph;
mod likely;
mod module;
mod nan;
mod pending;
mod pieces;
mod place;
mod recurrence;
mod recursion;
mod repeat;
mod stack;
mod ways;
pub(crate) mod weights;
pub(crate) mod words;
pub(crate) mod wrappers;

use adit_protocol::{Fuel, MeterId};

use crate::engine::Tier;

pub use baseline::GlobalFacts;
pub(crate) use calls::UNCOUNTED_BYTES_MAX;
pub use module::{Facts, Metered, ProfileFacts};
pub use pending::{Pending, PendingError, Stop};
pub use stack::DEPTH_MAX;
pub(crate) use stack::NATIVE_BYTES;
pub use weights::{Class, UNITS_PER_FUEL, Weights, class};

/// The engine that runs guests, as receipts name it.
pub const ENGINE: &str = "wasmtime 48.0.8";

/// The pass and the formulas beside it. Whoever changes what any program is billed changes this number.
const VERSION: u32 = 13;

/// How a module is rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What operators cost.
    pub weights: Weights,
    /// Whether short loops are repeated.
    pub repeat_loops: bool,
    /// Whether NaNs are made canonical where their bits can be seen.
    pub canonical_nan: bool,
    /// Whether each function tells the host that it begins and that it returns. Changes no bill.
    pub profile: bool,
    /// The compiler that it is rewritten for. Changes no bill.
    pub tier: Tier,
}

impl Default for Options {
    /// What bills are made by.
    fn default() -> Self {
        Self { weights: Weights::standard(), repeat_loops: true, canonical_nan: true, profile: false, tier: Tier::Optimised }
    }
}

/// A module that cannot be metered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeterError {
    /// It is not valid.
    #[error("the module is not valid: {0}")]
    Invalid(#[from] wasmparser::BinaryReaderError),
    /// It has what no profile allows.
    #[error("the meter does not know {0}")]
    Unsupported(&'static str),
    /// One of its functions becomes longer than the engine reads.
    #[error("bytes of a function body with its meter: {bytes} is over the limit of {max} (function {function})")]
    FunctionTooLong {
        /// Counts the imported ones too.
        function: u32,
        /// Bytes of its code as it is compiled.
        bytes: usize,
        /// How many they may be.
        max: usize,
    },
    /// It could not be written again.
    #[error("the module cannot be rewritten: {0}")]
    Encode(String),
}

impl MeterError {
    fn encode(error: impl std::fmt::Display) -> Self {
        Self::Encode(error.to_string())
    }
}

/// Makes a module count its own work. The module must be valid under the features of the profile.
///
/// # Errors
/// [`MeterError`] where it is not, or has what no profile allows.
pub fn instrument(wasm: &[u8], options: &Options) -> Result<Metered, MeterError> {
    module::rewrite(wasm, options)
}

/// What a round of each loop costs beyond its operators because it waits, in units: for each function that a module defines, in the order of
/// its loops' heads. A function none of whose loops waits has none. The module must be valid under the features of the profile.
///
/// # Errors
/// [`MeterError`] where it is not, or has what no profile allows.
pub fn loop_waits(wasm: &[u8], options: &Options) -> Result<Vec<Box<[u32]>>, MeterError> {
    module::loop_waits(wasm, options)
}

/// Units that every instantiation costs: a fresh instance of a small module.
const INSTANCE_UNITS: u64 = 4_000 * UNITS_PER_FUEL;
/// Units for each KiB of data that instantiation puts into memory, part of it included. The data is mapped, and copied when touched.
const DATA_KIB_UNITS: u64 = 60 * UNITS_PER_FUEL;
/// Units for each table element that instantiation writes as the compiler left it.
const ELEMENT_UNITS: u64 = 2 * UNITS_PER_FUEL;
/// Units for each reference that instantiation computes, one by one, for a segment or a global: what `ref.func` costs.
const COMPUTED_ELEMENT_UNITS: u64 = 14_000;
/// Units for each data segment that instantiation copies by itself: the fixed part of a `memory.init`.
const COPIED_SEGMENT_UNITS: u64 = 3_750;
/// Units for each place that a table begins with: whoever first reads it has the engine make a reference of what belongs there.
const TABLE_PLACE_UNITS: u64 = 10 * UNITS_PER_FUEL;
/// Units for each of the first pages of 64 KiB that a memory begins with; a worker has them mapped from the job before, and zeroes them.
const PAGE_UNITS: u64 = 25 * UNITS_PER_FUEL;
/// How many those are; compilers begin with seventeen or fewer. A page beyond costs what it would if the memory grew by it, for the kernel
/// gives it when it is touched, in either case.
const RESIDENT_PAGES: u64 = 32;

impl Facts {
    /// What instantiation costs, in units.
    pub fn instantiation_units(&self) -> u64 {
        let terms = [
            self.data_bytes.div_ceil(1024).saturating_mul(DATA_KIB_UNITS),
            self.copied_segments.saturating_mul(COPIED_SEGMENT_UNITS),
            self.elements.saturating_mul(ELEMENT_UNITS),
            self.computed_elements.saturating_mul(COMPUTED_ELEMENT_UNITS),
            self.table_places.saturating_mul(TABLE_PLACE_UNITS),
            self.memory_pages.min(RESIDENT_PAGES) * PAGE_UNITS,
            self.memory_pages.saturating_sub(RESIDENT_PAGES).saturating_mul(weights::GROW_PAGE_UNITS as u64),
        ];
        terms.into_iter().fold(INSTANCE_UNITS, u64::saturating_add)
    }
}

/// The fuel that so many units are: whole ones, a part counting as one.
pub fn fuel(units: u64) -> Fuel {
    Fuel(units.div_ceil(UNITS_PER_FUEL))
}

/// The units in so much fuel.
pub fn units(fuel: Fuel) -> u64 {
    fuel.0.saturating_mul(UNITS_PER_FUEL)
}

/// The meter that this runtime counts by: a digest of every choice that can change a bill.
pub fn meter_id() -> MeterId {
    MeterId(*blake3::hash(description().as_bytes()).as_bytes())
}

/// Every choice that can change a bill, as text. Another text is another meter.
pub fn description() -> String {
    let mut text = format!(
        "adit meter {VERSION}; profile core-1; engine {ENGINE}; {UNITS_PER_FUEL} units per fuel; depth {DEPTH_MAX}; instance {INSTANCE_UNITS}; \
         data {DATA_KIB_UNITS}, segment {COPIED_SEGMENT_UNITS}; element {ELEMENT_UNITS}, computed {COMPUTED_ELEMENT_UNITS}, place {TABLE_PLACE_UNITS}; page {PAGE_UNITS} for {RESIDENT_PAGES}; copy {}, fill {}, elements {}, grow {}; price formula v2; weights",
        weights::COPIED_BYTE_UNITS,
        weights::FILLED_BYTE_UNITS,
        weights::BULK_ELEMENT_UNITS,
        weights::GROW_PAGE_UNITS,
    );
    let weights = Weights::standard();
    for class in Class::ALL {
        text.push_str(&format!(" {}={}/{}", class.name(), weights.units(*class), weights.latency(*class)));
    }
    text.push_str(&format!("; host {}", crate::worker::host_prices()));
    text
}

// The price is that of pages which a worker keeps.
const _: () = assert!(RESIDENT_PAGES as usize * 65_536 <= crate::engine::KEEP_RESIDENT_BYTES);

// The largest budget is far below where the counter's sign or a sum in a check could overflow.
const _: () = assert!(adit_protocol::limits::FUEL_MAX.checked_mul(UNITS_PER_FUEL * 64).is_some());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_fuel_count_as_one() {
        for (counted, want) in [(0, 0), (1, 1), (UNITS_PER_FUEL, 1), (UNITS_PER_FUEL + 1, 2)] {
            assert_eq!(fuel(counted), Fuel(want), "{counted}");
        }
        assert_eq!(units(Fuel(3)), 3 * UNITS_PER_FUEL);
    }

    #[test]
    fn meter_is_named_by_all_that_it_charges() {
        let text = description();
        for class in Class::ALL {
            assert!(text.contains(&format!(" {}=", class.name())), "{class:?}");
        }
        assert!(text.contains(&format!("depth {DEPTH_MAX};")) && text.contains("; host "));
    }

    #[test]
    fn baseline_code_has_its_globals_behind_the_guests_and_a_whole_page() {
        let own = [
            ("", "$counter", "$depth"),
            ("(global (mut i32) (i32.const 7)) (global i64 (i64.const 9))", "$counter", "$depth"),
            ("(memory (export \"$depth\") 1 7) (global (export \"$counter\") i32 (i32.const 1))", "$counter'", "$depth'"),
        ];
        let engine = crate::engine::baseline_engine().unwrap();
        for (own, counter, depth) in own {
            let wasm = wat::parse_str(format!("(module {own} (func (export \"_start\")))")).unwrap();
            let Metered { wasm, pending, facts } =
                instrument(&wasm, &Options { tier: Tier::Baseline, ..Options::default() }).unwrap();
            let globals = GlobalFacts { counter: counter.to_owned(), depth: depth.to_owned() };
            assert_eq!((facts.globals, pending.len()), (Some(globals), 0), "{own}");
            let module = wasmtime::Module::new(&engine, &wasm).unwrap();
            let ty = |name: &str| module.get_export(name).unwrap();
            let meter = ty(&facts.meter_export).unwrap_memory().clone();
            assert_eq!((meter.page_size(), meter.minimum(), meter.maximum()), (65_536, 1, Some(1)), "{own}");
            assert!(ty(counter).unwrap_global().content().is_i64() && ty(depth).unwrap_global().content().is_i32(), "{own}");
        }
    }
}
