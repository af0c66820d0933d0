//! What happens to a module between our validation and the compiler.

use std::fmt::Debug;
use std::rc::Rc;

use adit_runtime::lab::{GlobalFacts, LIMIT_AT, Options, PAGES_MAX_AT, Pending, Tier, instrument};

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

/// What the host of a metered module must know and do. Its exports of these names are for nobody else.
#[derive(Debug, Clone)]
pub struct Meter {
    /// The name of the memory that the meter's words are in.
    pub memory: String,
    /// The globals that two of those words are in, where they are not in the memory.
    pub globals: Option<GlobalFacts>,
    /// The words that the host sets before anything of a new instance runs, by offset: the limit, and what else there is.
    pub words: Vec<(usize, u64)>,
    /// The name of what was the module's start function, called once the words are set.
    pub start: Option<String>,
    /// Where the meter itself stops the guest.
    pub stops: Rc<dyn Stops>,
}

/// The `unreachable`s of a changed module that are not the guest's own.
pub trait Stops: Debug {
    /// Whether the one at `offset`, in bytes from the changed module's start, ends calls that are nested too deep, where the depth
    /// noted last is `depth`. The suite knows this as an exhausted stack.
    fn is_depth(&self, offset: u32, depth: u32) -> bool;
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

impl Meter {
    /// Whether an export is the meter's.
    pub(crate) fn exports(&self, name: &str) -> bool {
        let globals = self.globals.iter().flat_map(|globals| [&globals.counter, &globals.depth]);
        self.memory == name || self.start.as_deref() == Some(name) || globals.into_iter().any(|global| global == name)
    }
}

/// Puts the meter in, as a compile worker does for the compiler, with a budget that no test uses up.
#[derive(Debug, Clone, Copy)]
pub struct Metering {
    /// Whose code is made of it.
    pub tier: Tier,
}

impl Prepare for Metering {
    fn name(&self) -> &'static str {
        "modules metered"
    }

    fn prepare(&self, wasm: &[u8]) -> Result<Prepared, String> {
        let metered = instrument(wasm, &Options { tier: self.tier, ..Options::default() }).map_err(|error| error.to_string())?;
        let meter = Meter {
            memory: metered.facts.meter_export,
            globals: metered.facts.globals,
            words: vec![(LIMIT_AT as usize, u64::MAX >> 1), (PAGES_MAX_AT as usize, u64::MAX >> 1)],
            start: metered.facts.start_export,
            stops: Rc::new(metered.pending),
        };
        Ok(Prepared { wasm: metered.wasm, meter: Some(meter) })
    }
}

impl Stops for Pending {
    fn is_depth(&self, offset: u32, depth: u32) -> bool {
        self.stop_at(offset).is_some_and(|stop| stop.is_too_deep(depth))
    }
}
