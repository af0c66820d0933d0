//! An instance under test, whose functions are called one by one, and all of it that can be seen.

use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use adit_protocol::Digest;
use adit_runtime::lab::{COUNTER_AT, DEPTH_AT, LIMIT_AT, Metered, PAGES_MAX_AT, Pending, Stop};
use wasmtime::{
    Engine, Extern, ExternType, FrameInfo, Global, Instance, Memory, Module, Ref, Store, StoreLimits, StoreLimitsBuilder, Trap,
    Val, ValType, WasmBacktrace,
};

use super::modules::word;

/// The most pages that a memory may have here: what a loop fills again and again must not take long.
pub(crate) const PAGES_MAX: u64 = 4;
/// The export of the global in which a reference, which has no meter, counts units.
pub(crate) const COUNT: &str = "the reference's count";
/// Elements of a table that are looked at.
const ELEMENTS_MAX: u64 = 64;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With these results, as bits.
    Returned(Vec<String>),
    /// With a trap of its own.
    Trapped(Trap),
    /// The meter stopped it, because calls were nested too deep.
    TooDeep,
    /// The meter stopped it, because it was over its budget.
    OverBudget,
    /// The native stack ended, which depends on the compiler.
    StackEnded,
    /// The engine's own fuel ended.
    EngineOutOfFuel,
}

/// An instance, with or without a meter.
pub(crate) struct Subject {
    store: Store<StoreLimits>,
    instance: Instance,
    meter: Option<Meter>,
}

struct Meter {
    memory: Memory,
    /// The counter and the depth, in baseline code.
    globals: Option<[Global; 2]>,
    exports: Vec<String>,
    pending: Pending,
    /// The functions of the meter's own that fill and copy for who calls them.
    pieces: Range<u32>,
    budget: u64,
}

impl Meter {
    /// The global in which a word is, where it is in one.
    fn global(&self, at: u64) -> Option<Global> {
        let [counter, depth] = self.globals?;
        [(COUNTER_AT, counter), (DEPTH_AT, depth)].into_iter().find(|(word, _)| *word == at).map(|(_, global)| global)
    }
}

impl Subject {
    /// A module as it is, in an engine that counts fuel of its own. Nothing where it cannot be instantiated.
    pub(crate) fn plain(engine: &Engine, wasm: &[u8], fuel: u64) -> Option<Self> {
        Self::new(engine, wasm, Some(fuel))
    }

    /// A metered module with so many units to use; its start function was called. Else how that function ended, or nothing where the
    /// module needs more than it is given, or its segments do not fit.
    pub(crate) fn metered(engine: &Engine, metered: &Metered, budget: u64) -> Result<Self, Option<End>> {
        let mut subject = Self::new(engine, &metered.wasm, None).ok_or(None)?;
        let export = metered.facts.meter_export.clone();
        let memory = subject.instance.get_memory(&mut subject.store, &export).expect("a metered module exports its meter");
        let names = metered.facts.globals.as_ref().map(|names| [names.counter.clone(), names.depth.clone()]);
        let mut global = |name: &String| subject.instance.get_global(&mut subject.store, name).expect("the meter's global");
        let globals = names.as_ref().map(|names| names.each_ref().map(&mut global));
        let exports = names.into_iter().flatten().chain([export]).collect();
        let (pending, pieces) = (metered.pending.clone(), metered.facts.pieces.clone());
        subject.meter = Some(Meter { memory, globals, exports, pending, pieces, budget });
        subject.write_word(LIMIT_AT, budget);
        subject.write_word(PAGES_MAX_AT, metered.facts.memory_pages_max.min(PAGES_MAX));
        match metered.facts.start_export.as_ref().map(|start| subject.call(start, 0)) {
            None | Some(End::Returned(_)) => Ok(subject),
            Some(end) => Err(Some(end)),
        }
    }

    fn new(engine: &Engine, wasm: &[u8], fuel: Option<u64>) -> Option<Self> {
        let limits = StoreLimitsBuilder::new().memory_size(PAGES_MAX as usize * 65536).table_elements(10_000).build();
        let mut store = Store::new(engine, limits);
        store.limiter(|limits| limits);
        if let Some(fuel) = fuel {
            store.set_fuel(fuel).expect("the engine counts fuel");
        }
        let module = Module::new(engine, wasm).expect("a valid module of the profile compiles");
        let instance = at_once(Instance::new_async(&mut store, &module, &[])).ok()?;
        Some(Self { store, instance, meter: None })
    }

    /// The names of the exported functions.
    pub(crate) fn functions(&mut self) -> Vec<String> {
        let module = self.instance.module(&self.store);
        let functions = module.exports().filter(|export| matches!(export.ty(), ExternType::Func(_)));
        functions.map(|export| export.name().to_owned()).collect()
    }

    /// Gives the engine's own count this much.
    pub(crate) fn refuel(&mut self, fuel: u64) {
        self.store.set_fuel(fuel).expect("the engine counts fuel");
    }

    /// Calls a function with arguments that `seed` decides.
    pub(crate) fn call(&mut self, name: &str, seed: u64) -> End {
        let function = self.instance.get_func(&mut self.store, name).expect("the export is a function");
        self.write_word(DEPTH_AT, 0);
        let ty = function.ty(&self.store);
        let params: Vec<Val> = ty.params().enumerate().map(|(at, ty)| argument(&ty, word(seed, at as u64))).collect();
        let mut results = vec![Val::I32(0); ty.results().len()];
        match at_once(function.call_async(&mut self.store, &params, &mut results)) {
            Ok(()) => End::Returned(results.iter().map(bits).collect()),
            Err(error) => self.stopped(&error),
        }
    }

    fn stopped(&mut self, error: &wasmtime::Error) -> End {
        let trap = *error.downcast_ref::<Trap>().unwrap_or_else(|| panic!("{error:?}"));
        let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], |trace| trace.frames());
        let offset = |frame: Option<&FrameInfo>| frame.and_then(|frame| frame.module_offset()).map(|offset| offset as u32);
        let Some(meter) = &self.meter else {
            return match trap {
                Trap::StackOverflow => End::StackEnded,
                Trap::OutOfFuel => End::EngineOutOfFuel,
                trap => End::Trapped(trap),
            };
        };
        // A load without a place stands where nothing is lacking.
        let lacks = frames.iter().find(|frame| !meter.pieces.contains(&frame.func_index()));
        let stop = offset(frames.first()).and_then(|at| meter.pending.stop_at(at));
        let lacking = offset(lacks).map_or(0, |at| meter.pending.at(at));
        let budget = meter.budget;
        let counted = self.units().wrapping_add_signed(lacking);
        let depth = self.word(DEPTH_AT) as u32;
        self.write_word(COUNTER_AT, counted);
        match stop {
            Some(Stop::Limit) if counted > budget => End::OverBudget,
            Some(stop) if stop.is_too_deep(depth) => End::TooDeep,
            _ if trap == Trap::StackOverflow => End::StackEnded,
            _ => End::Trapped(trap),
        }
    }

    /// The units that are counted.
    pub(crate) fn units(&mut self) -> u64 {
        self.word(COUNTER_AT)
    }

    /// The units that a reference's own global counts.
    pub(crate) fn count(&mut self) -> u64 {
        let count = self.instance.get_global(&mut self.store, COUNT).expect("the module is a reference");
        count.get(&mut self.store).unwrap_i64().cast_unsigned()
    }

    fn word(&mut self, at: u64) -> u64 {
        let meter = self.meter.as_ref().expect("only a metered module is asked for its words");
        if let Some(global) = meter.global(at) {
            return match global.get(&mut self.store) {
                Val::I64(word) => word.cast_unsigned(),
                Val::I32(word) => word.cast_unsigned().into(),
                other => panic!("{other:?}"),
            };
        }
        u64::from_le_bytes(meter.memory.data(&self.store)[at as usize..][..8].try_into().expect("eight bytes"))
    }

    fn write_word(&mut self, at: u64, word: u64) {
        let Some(meter) = &self.meter else { return };
        if let Some(global) = meter.global(at) {
            let val = if at == DEPTH_AT { Val::I32(word as i32) } else { Val::I64(word.cast_signed()) };
            global.set(&mut self.store, val).expect("the meter's global can be written");
        } else {
            meter.memory.write(&mut self.store, at as usize, &word.to_le_bytes()).expect("the meter's memory has its words");
        }
    }

    /// What the module's own exports show: memories by size and digest, globals by their bits, tables by size and what is null.
    pub(crate) fn state(&mut self) -> Vec<(String, String)> {
        let names: Vec<String> = self.instance.module(&self.store).exports().map(|export| export.name().to_owned()).collect();
        let names = names
            .into_iter()
            .filter(|name| *name != COUNT && self.meter.as_ref().is_none_or(|meter| !meter.exports.contains(name)));
        let mut state = Vec::new();
        for name in names.collect::<Vec<_>>() {
            let shown = match self.instance.get_export(&mut self.store, &name).expect("the module has its exports") {
                Extern::Memory(memory) => {
                    let data = memory.data(&self.store);
                    format!("{} bytes, {}", data.len(), Digest::of(data))
                }
                Extern::Global(global) => bits(&global.get(&mut self.store)),
                Extern::Table(table) => {
                    let size = table.size(&self.store);
                    let mut is_null = |at| table.get(&mut self.store, at).is_none_or(|element| is_null(&element));
                    format!("{size}: {:?}", (0..size.min(ELEMENTS_MAX)).map(&mut is_null).collect::<Vec<_>>())
                }
                _ => continue,
            };
            state.push((name, shown));
        }
        state
    }
}

/// The end of what never waits: there is no host to wait for.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("a call without a host waits"),
    }
}

/// An argument: small, at a border, or anything.
fn argument(ty: &ValType, word: u64) -> Val {
    let (kind, rest) = (word % 4, word >> 2);
    let integer = match kind {
        0 => rest % 17,
        1 => [0, 1, u64::MAX, 1 << 31, 1 << 63, 65_535, 65_536, 0x7fff_ffff][rest as usize % 8],
        2 => (rest % 9).wrapping_sub(4).wrapping_add(65_536),
        _ => word,
    };
    match ty {
        ValType::I32 => Val::I32(integer as i32),
        ValType::I64 => Val::I64(integer as i64),
        ValType::F32 => {
            Val::F32([0, 1 << 31, 0x7f80_0000, 0x7fc0_0001, 0xffa0_0000, 0x4f80_0000, word as u32][rest as usize % 7])
        }
        ValType::F64 => {
            Val::F64([0, 1 << 63, 0x7ff0 << 48, (0x7ff8 << 48) | 1, 0xfff4 << 48, 0x43f0 << 48, word][rest as usize % 7])
        }
        ValType::V128 => Val::V128((u128::from(word) << 64 | u128::from(integer)).into()),
        ValType::Ref(ty) => Val::null_ref(ty.heap_type()),
    }
}

fn is_null(element: &Ref) -> bool {
    element.is_null()
}

fn bits(value: &Val) -> String {
    match value {
        Val::FuncRef(reference) => format!("function: {}", reference.is_some()),
        Val::ExternRef(reference) => format!("external: {}", reference.is_some()),
        value => format!("{value:?}"),
    }
}
