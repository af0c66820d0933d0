//! What must hold for any valid module: with its meter it does what it did without, and its count is what the reference counts.
//! A generator of modules in front of it makes a fuzz target.

use wasmparser::Validator;
use wasmtime::{Engine, Extern, FrameInfo, Instance, Module, Store, StoreLimits, StoreLimitsBuilder, Trap, Val, WasmBacktrace};

use adit_runtime::lab::{COUNTER_AT, DEPTH_AT, LIMIT_AT, Metered, Options, PAGES_MAX_AT, Stop, class, features};

use super::reference::{self, Prices};
use crate::oracle::subject::COUNT;

/// The most pages that a memory may have here.
const PAGES_MAX: u64 = 256;

/// What was compared.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Compared {
    /// Calls.
    pub(crate) calls: u32,
    /// Those of them that trapped.
    pub(crate) traps: u32,
    /// Units that the meter counted.
    pub(crate) units: u64,
}

/// Prices that the reference counts by, from the text that names the meter.
pub(crate) fn prices<'a>(
    operator: &'a dyn Fn(&wasmparser::Operator<'_>) -> u64,
    waits: &'a [Box<[u32]>],
    pages_max: u64,
) -> Prices<'a> {
    let text = adit_runtime::lab::description();
    let number = |key: &str| {
        let rest = &text[text.find(key).unwrap() + key.len()..];
        rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()].parse::<u64>().unwrap()
    };
    let (copied_byte, filled_byte) = (number("; copy "), number(", fill "));
    Prices { operator, waits, copied_byte, filled_byte, element: number(", elements "), page: number(", grow "), pages_max }
}

/// Runs a module's exported functions, in turn, without a meter, with the reference and with the meter, and panics where they differ.
/// Modules that the profile refuses are none of its business.
pub(crate) fn check(engine: &Engine, wasm: &[u8], options: &Options) -> Compared {
    if Validator::new_with_features(features()).validate_all(wasm).is_err() {
        return Compared::default();
    }
    let metered = adit_runtime::lab::instrument(wasm, options).unwrap();
    let weight = |op: &wasmparser::Operator<'_>| u64::from(options.weights.units(class(op)));
    let waits = adit_runtime::lab::loop_waits(wasm, options).unwrap();
    let pages_max = metered.facts.memory_pages_max.min(PAGES_MAX);
    let counted = reference::instrument(wasm, &prices(&weight, &waits, pages_max));
    let Some(mut original) = Subject::new(engine, &without_start(wasm), None) else { return Compared::default() };
    let mut reference = Subject::new(engine, &counted, None).expect("the reference instantiates as the original does");
    let mut ours = Subject::new(engine, &metered.wasm, Some((&metered, pages_max)))
        .expect("the metered module instantiates as the original does");

    let mut compared = Compared::default();
    let start = metered.facts.start_export.as_deref().map(|name| (reference::START, reference::START, name));
    let exports = original.functions();
    let names =
        exports.iter().map(|name| (name.as_str(), name.as_str(), name.as_str())).filter(|(name, ..)| *name != reference::START);
    for (without, counting, with) in start.into_iter().chain(names) {
        let (wanted, counting, got) = (original.call(without), reference.call(counting), ours.call(with));
        // Where the native stack ends depends on frames; where the meter ends it does not, but it is elsewhere.
        if [&wanted, &counting, &got].iter().any(|end| matches!(end, Ended::TooDeep)) {
            return compared;
        }
        assert_eq!(got, wanted, "{without}: with its meter against without");
        assert_eq!(counting, wanted, "{without}: the reference against the original");
        assert_eq!(ours.state(), original.state(), "{without}: what is left in memory and globals");
        assert_eq!(ours.units(), reference.units(), "{without}: the meter's units against the reference's");
        compared.calls += 1;
        compared.traps += u32::from(matches!(got, Ended::Trapped(_)));
    }
    compared.units = ours.units();
    compared
}

/// A module without its start function's being called; it is exported instead.
fn without_start(wasm: &[u8]) -> Vec<u8> {
    reference::instrument(
        wasm,
        &Prices { operator: &|_| 0, waits: &[], copied_byte: 0, filled_byte: 0, element: 0, page: 0, pages_max: 0 },
    )
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With these results, as bits.
    Returned(Vec<String>),
    /// With a trap.
    Trapped(Trap),
    /// Because calls were nested too deep.
    TooDeep,
}

struct Subject<'a> {
    store: Store<StoreLimits>,
    instance: Instance,
    meter: Option<&'a Metered>,
}

impl<'a> Subject<'a> {
    /// An instance; nothing where it needs more than it is given, or its segments do not fit.
    fn new(engine: &Engine, wasm: &[u8], meter: Option<(&'a Metered, u64)>) -> Option<Self> {
        let limits = StoreLimitsBuilder::new().memory_size(PAGES_MAX as usize * 65536).table_elements(100_000).build();
        let mut store = Store::new(engine, limits);
        store.limiter(|limits| limits);
        let module = Module::new(engine, wasm).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).ok()?;
        if let Some((metered, pages_max)) = meter {
            let memory = instance.get_memory(&mut store, &metered.facts.meter_export).unwrap();
            memory.write(&mut store, LIMIT_AT as usize, &(u64::MAX / 4).to_le_bytes()).unwrap();
            memory.write(&mut store, PAGES_MAX_AT as usize, &pages_max.to_le_bytes()).unwrap();
        }
        Some(Self { store, instance, meter: meter.map(|(metered, _)| metered) })
    }

    /// The names of the exported functions.
    fn functions(&mut self) -> Vec<String> {
        let exports: Vec<_> = self.instance.exports(&mut self.store).map(|e| (e.name().to_owned(), e.into_extern())).collect();
        exports.into_iter().filter(|(_, export)| matches!(export, Extern::Func(_))).map(|(name, _)| name).collect()
    }

    fn call(&mut self, name: &str) -> Ended {
        let function = self.instance.get_func(&mut self.store, name).unwrap();
        let ty = function.ty(&self.store);
        let params: Vec<Val> = ty.params().map(|ty| Val::default_for_ty(&ty).unwrap()).collect();
        let mut results: Vec<Val> = ty.results().map(|ty| Val::default_for_ty(&ty).unwrap()).collect();
        match function.call(&mut self.store, &params, &mut results) {
            Ok(()) => {
                self.write_word(DEPTH_AT, 0);
                Ended::Returned(results.iter().map(bits).collect())
            }
            Err(error) => self.trapped(&error),
        }
    }

    fn trapped(&mut self, error: &wasmtime::Error) -> Ended {
        let trap = *error.downcast_ref::<Trap>().unwrap_or_else(|| panic!("{error:?}"));
        if trap == Trap::StackOverflow {
            return Ended::TooDeep;
        }
        if let Some(Metered { pending, facts, .. }) = self.meter {
            let frames = error.downcast_ref::<WasmBacktrace>().unwrap().frames();
            // A load that was merged into an operator without a place has none. It is one where the counter lacks nothing.
            let offset = |frame: &FrameInfo| frame.module_offset().map(|offset| offset as u32);
            match offset(&frames[0]).and_then(|offset| pending.stop_at(offset)) {
                Some(Stop::Depth { .. }) => return Ended::TooDeep,
                Some(Stop::Limit) => panic!("the limit is ample"),
                None => {}
            }
            let lacks = frames.iter().find(|frame| !facts.pieces.contains(&frame.func_index())).unwrap();
            let lacking = offset(lacks).map_or(0, |offset| pending.at(offset));
            let counted = self.units().wrapping_add_signed(lacking);
            self.write_word(COUNTER_AT, counted);
            self.write_word(DEPTH_AT, 0);
        }
        Ended::Trapped(trap)
    }

    /// Writes a word of the meter's, where there is one.
    fn write_word(&mut self, at: u64, word: u64) {
        if let Some(metered) = self.meter {
            let memory = self.instance.get_memory(&mut self.store, &metered.facts.meter_export).unwrap();
            memory.write(&mut self.store, at as usize, &word.to_le_bytes()).unwrap();
        }
    }

    fn units(&mut self) -> u64 {
        match self.meter {
            Some(metered) => {
                let memory = self.instance.get_memory(&mut self.store, &metered.facts.meter_export).unwrap();
                u64::from_le_bytes(memory.data(&self.store)[..8].try_into().unwrap())
            }
            None => {
                let count = self.instance.get_global(&mut self.store, COUNT).unwrap();
                count.get(&mut self.store).unwrap_i64() as u64
            }
        }
    }

    /// What the module's own exports show: memories by digest and size, globals by their bits, tables by their size.
    fn state(&mut self) -> Vec<(String, String)> {
        let exports: Vec<_> = self.instance.exports(&mut self.store).map(|e| (e.name().to_owned(), e.into_extern())).collect();
        let mut state = Vec::new();
        for (name, export) in exports {
            let shown = match export {
                _ if name == COUNT || self.meter.is_some_and(|metered| metered.facts.meter_export == name) => continue,
                Extern::Memory(memory) => {
                    let data = memory.data(&self.store);
                    format!("{} bytes, {}", data.len(), adit_protocol::Digest::of(data))
                }
                Extern::Global(global) => bits(&global.get(&mut self.store)),
                Extern::Table(table) => table.size(&self.store).to_string(),
                _ => continue,
            };
            state.push((name, shown));
        }
        state
    }
}

fn bits(value: &Val) -> String {
    match value {
        Val::FuncRef(reference) => format!("function {}", reference.is_some()),
        Val::ExternRef(reference) => format!("external {}", reference.is_some()),
        value => format!("{value:?}"),
    }
}
