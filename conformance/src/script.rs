//! One script of the specification's suite: a `.wast` file
//! (<https://github.com/WebAssembly/spec/tree/main/interpreter#scripts>).

use std::collections::HashMap;
use std::rc::Rc;
use std::thread;

use adit_runtime::conformance::validate;
use adit_runtime::lab::DEPTH_AT;
use wasmtime::{Engine, Extern, Global, Instance, Memory, Module, Store, Trap, Val, WasmBacktrace};
use wast::lexer::Lexer;
use wast::parser::{ParseBuffer, parse};
use wast::token::Id;
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke};

use crate::prepare::{Meter, Prepare, Stops};
use crate::{spectest, value};

/// What a script fails with where its purpose is the text format: nodes take the binary format alone.
const TEXT_FORMAT: &str = "a test of the text format";
/// What our validator says, among other words, of a proposal that is off.
const OFF: [&str; 6] =
    ["not enabled", "to be enabled", "disallowed", "the gc feature", "function references required", " proposal"];
/// Fuel of a store whose engine counts it: no test of the suite is about running out.
const FUEL: u64 = u64::MAX;

/// What became of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its line in the script, from 1.
    pub line: usize,
    /// Why it failed, if it did. What needs a module that failed fails with the words of that module's failure at the end.
    pub failure: Option<String>,
}

/// How scripts are run.
#[derive(Debug, Clone, Copy)]
pub struct Runner<'a> {
    /// What compiles and runs.
    pub engine: &'a Engine,
    /// What changes modules before.
    pub prepare: &'a dyn Prepare,
}

/// Stack of a thread that runs a script: all that the profile gives a guest, the host's, and that of the script's recursive parser.
const STACK_BYTES: usize = 192 << 20;

impl Runner<'_> {
    /// Runs a script to its end, whatever fails, on a thread of its own.
    pub fn run(&self, text: &str) -> Vec<Verdict> {
        thread::scope(|scope| {
            let script = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || self.run_here(text));
            script.expect("a thread can be started").join().expect("a script fails by its verdicts")
        })
    }

    fn run_here(&self, text: &str) -> Vec<Verdict> {
        let mut lexer = Lexer::new(text);
        lexer.allow_confusing_unicode(true);
        let parsed = ParseBuffer::new_with_lexer(lexer);
        let parsed = parsed.and_then(|buffer| {
            let directives = parse::<Wast<'_>>(&buffer)?.directives;
            Ok(self.run_directives(text, directives))
        });
        parsed.unwrap_or_else(|error| {
            let line = error.span().linecol_in(text).0 + 1;
            vec![Verdict { line, failure: Some(format!("the script cannot be parsed: {}", error.message())) }]
        })
    }

    fn run_directives(&self, text: &str, directives: Vec<WastDirective<'_>>) -> Vec<Verdict> {
        let mut session = match Session::new(*self) {
            Ok(session) => session,
            Err(error) => return vec![Verdict { line: 1, failure: Some(format!("spectest cannot be made: {error:#}")) }],
        };
        let verdict = |directive: WastDirective<'_>| {
            let line = directive.span().linecol_in(text).0 + 1;
            Verdict { line, failure: session.run(directive).err() }
        };
        directives.into_iter().map(verdict).collect()
    }
}

/// What later directives need: it is there, or why it is not.
type Slot<T> = Result<Rc<T>, String>;

/// A module that could be compiled.
#[derive(Debug)]
struct Compiled {
    module: Module,
    meter: Option<Meter>,
}

/// A module that was instantiated.
#[derive(Debug)]
struct Live {
    instance: Instance,
    meter: Option<Meter>,
}

impl Live {
    /// What it exports under a name, as far as its metering does not hide it.
    fn export(&self, store: &mut Store<()>, name: &str) -> Option<Extern> {
        if self.meter.iter().any(|meter| meter.exports(name)) { None } else { self.instance.get_export(store, name) }
    }
}

/// How the execution of a function or of an instantiation ended, where the script can tell.
#[derive(Debug)]
enum End<T> {
    Finished(T),
    Trapped(Trap),
}

/// Why there is no instance.
#[derive(Debug)]
enum Unmade {
    /// It trapped on the way.
    Trapped(Trap),
    /// An import is unknown or of the wrong type: the words say which.
    Unlinkable(String),
    /// Neither is the module's doing.
    Other(String),
}

impl From<Unmade> for String {
    fn from(unmade: Unmade) -> Self {
        match unmade {
            Unmade::Trapped(trap) => format!("{trap} during instantiation"),
            Unmade::Unlinkable(words) | Unmade::Other(words) => words,
        }
    }
}

/// A script on its way. Each table is by name; without a name, the latest.
struct Session<'a> {
    runner: Runner<'a>,
    store: Store<()>,
    spectest: HashMap<&'static str, Extern>,
    definitions: HashMap<Option<String>, Slot<Compiled>>,
    instances: HashMap<Option<String>, Slot<Live>>,
    registered: HashMap<String, Slot<Live>>,
    /// Every metered module so far, to tell its own stops from the guests'.
    metered: Vec<(Module, Rc<dyn Stops>)>,
    /// The memory of every meter so far.
    meters: Vec<Depth>,
}

impl<'a> Session<'a> {
    fn new(runner: Runner<'a>) -> wasmtime::Result<Self> {
        let mut store = Store::new(runner.engine, ());
        // Where the engine counts fuel itself, a new store has none.
        let _ = store.set_fuel(FUEL);
        let spectest = spectest::exports(&mut store)?;
        let (definitions, instances, registered, metered, meters) = Default::default();
        Ok(Self { runner, store, spectest, definitions, instances, registered, metered, meters })
    }

    fn run(&mut self, directive: WastDirective<'_>) -> Result<(), String> {
        match directive {
            WastDirective::Module(mut module) => self.module(&mut module),
            WastDirective::ModuleDefinition(mut module) => self.definition(&mut module),
            WastDirective::ModuleInstance { instance, module, .. } => self.instance_of(instance, module),
            WastDirective::Register { name, module, .. } => self.register(name, module),
            WastDirective::Invoke(call) => finished(self.invoke(&call)?).map(drop),
            WastDirective::AssertReturn { exec, results, .. } => value::check(&finished(self.execute(exec)?)?, &results),
            WastDirective::AssertTrap { exec, message, .. } => trapped(&self.execute(exec)?, message),
            WastDirective::AssertExhaustion { call, message, .. } => trapped(&self.invoke(&call)?, message),
            WastDirective::AssertUnlinkable { module, message, .. } => self.unlinkable(QuoteWat::Wat(module), message),
            WastDirective::AssertInvalid { mut module, message, .. } => refused(&encode(&mut module)?, message),
            WastDirective::AssertMalformed { mut module, message, .. } => match module {
                QuoteWat::Wat(_) => refused(&encode(&mut module)?, message),
                _ => Err(TEXT_FORMAT.to_owned()),
            },
            WastDirective::AssertInvalidCustom { .. } | WastDirective::AssertMalformedCustom { .. } => {
                Err(TEXT_FORMAT.to_owned())
            }
            WastDirective::AssertException { .. } => Err("a test of exceptions".to_owned()),
            WastDirective::AssertSuspension { .. } => Err("a test of stack switching".to_owned()),
            WastDirective::Thread(_) | WastDirective::Wait { .. } => Err("a test of threads".to_owned()),
        }
    }

    fn module(&mut self, module: &mut QuoteWat<'_>) -> Result<(), String> {
        let made = self.compile(module).and_then(|compiled| Ok(self.instantiate(&compiled)?));
        put(&mut self.instances, module.name(), made)
    }

    fn definition(&mut self, module: &mut QuoteWat<'_>) -> Result<(), String> {
        let compiled = self.compile(module);
        put(&mut self.definitions, module.name(), compiled)
    }

    fn instance_of(&mut self, instance: Option<Id<'_>>, module: Option<Id<'_>>) -> Result<(), String> {
        let made = get(&self.definitions, module).and_then(|compiled| Ok(self.instantiate(&compiled)?));
        put(&mut self.instances, instance, made)
    }

    fn register(&mut self, name: &str, module: Option<Id<'_>>) -> Result<(), String> {
        let live = get(&self.instances, module);
        self.registered.insert(name.to_owned(), live.clone());
        live.map(drop)
    }

    /// Expects that a valid module has imports that nothing here satisfies.
    fn unlinkable(&mut self, mut module: QuoteWat<'_>, message: &str) -> Result<(), String> {
        let compiled = self.compile(&mut module)?;
        match self.instantiate(&compiled) {
            Err(Unmade::Unlinkable(words)) if words.starts_with(message) => Ok(()),
            Err(unmade) => Err(format!("{}, where `{message}` is expected", String::from(unmade))),
            Ok(_) => Err(format!("it links, where `{message}` is expected")),
        }
    }

    fn execute(&mut self, exec: WastExecute<'_>) -> Result<End<Vec<Val>>, String> {
        match exec {
            WastExecute::Invoke(call) => self.invoke(&call),
            WastExecute::Get { module, global, .. } => self.global(module, global),
            WastExecute::Wat(module) => {
                let compiled = self.compile(&mut QuoteWat::Wat(module))?;
                match self.instantiate(&compiled) {
                    Ok(_) => Ok(End::Finished(Vec::new())),
                    Err(Unmade::Trapped(trap)) => Ok(End::Trapped(trap)),
                    Err(unmade) => Err(unmade.into()),
                }
            }
        }
    }

    fn invoke(&mut self, call: &WastInvoke<'_>) -> Result<End<Vec<Val>>, String> {
        // A call from outside begins at the bottom of the stack, wherever the one before ended.
        for depth in &self.meters {
            depth.clear(&mut self.store).map_err(|error| error.to_string())?;
        }
        let live = get(&self.instances, call.module)?;
        let export = live.export(&mut self.store, call.name).and_then(Extern::into_func);
        let function = export.ok_or_else(|| format!("no function `{}` is exported", call.name))?;
        let arguments = call.args.iter().map(value::argument).collect::<Result<Vec<_>, _>>()?;
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        match function.call(&mut self.store, &arguments, &mut results) {
            Ok(()) => Ok(End::Finished(results)),
            Err(error) => self.trap(&error).map(End::Trapped).ok_or_else(|| format!("the call of `{}`: {error:#}", call.name)),
        }
    }

    fn global(&mut self, module: Option<Id<'_>>, name: &str) -> Result<End<Vec<Val>>, String> {
        let export = get(&self.instances, module)?.export(&mut self.store, name).and_then(Extern::into_global);
        let global = export.ok_or_else(|| format!("no global `{name}` is exported"))?;
        Ok(End::Finished(vec![global.get(&mut self.store)]))
    }

    /// The way of a guest's module: checked by our validation, changed, compiled.
    fn compile(&mut self, module: &mut QuoteWat<'_>) -> Slot<Compiled> {
        let wasm = encode(module)?;
        validate(&wasm).map_err(|error| format!("refused: {error}"))?;
        let prepared = self.runner.prepare.prepare(&wasm).map_err(|error| format!("not prepared: {error}"))?;
        let module =
            Module::from_binary(self.runner.engine, &prepared.wasm).map_err(|error| format!("not compiled: {error:#}"))?;
        self.metered.extend(prepared.meter.iter().map(|meter| (module.clone(), Rc::clone(&meter.stops))));
        Ok(Rc::new(Compiled { module, meter: prepared.meter }))
    }

    fn instantiate(&mut self, compiled: &Compiled) -> Result<Rc<Live>, Unmade> {
        let imports = self.imports(&compiled.module)?;
        let instance = Instance::new(&mut self.store, &compiled.module, &imports).map_err(|error| self.unmade(&error))?;
        let live = Live { instance, meter: compiled.meter.clone() };
        self.begin(&live)?;
        Ok(Rc::new(live))
    }

    fn imports(&mut self, module: &Module) -> Result<Vec<Extern>, Unmade> {
        let find = |import: wasmtime::ImportType<'_>| {
            let (module, name) = (import.module(), import.name());
            let found = match self.registered.get(module) {
                Some(Ok(live)) => live.export(&mut self.store, name),
                Some(Err(words)) => return Err(Unmade::Other(words.clone())),
                None if module == "spectest" => self.spectest.get(name).cloned(),
                None => None,
            };
            found.ok_or_else(|| Unmade::Unlinkable(format!("unknown import: `{module}::{name}`")))
        };
        module.imports().map(find).collect()
    }

    /// Sets a metered instance's words, and runs what was its start function.
    fn begin(&mut self, live: &Live) -> Result<(), Unmade> {
        let Some(meter) = &live.meter else { return Ok(()) };
        let memory = live.instance.get_memory(&mut self.store, &meter.memory);
        let memory = memory.ok_or_else(|| Unmade::Other(format!("no memory `{}` is exported", meter.memory)))?;
        let depth = meter.globals.as_ref().map(|globals| live.instance.get_global(&mut self.store, &globals.depth));
        self.meters.push(match depth {
            Some(depth) => Depth::Global(depth.ok_or_else(|| Unmade::Other("no depth is exported".to_owned()))?),
            None => Depth::Word(memory),
        });
        for (offset, word) in &meter.words {
            let written = memory.write(&mut self.store, *offset, &word.to_le_bytes());
            written.map_err(|error| Unmade::Other(format!("word {offset} of its meter: {error}")))?;
        }
        let Some(start) = &meter.start else { return Ok(()) };
        let start = live.instance.get_typed_func::<(), ()>(&mut self.store, start);
        let ran = start.and_then(|start| start.call(&mut self.store, ()));
        ran.map_err(|error| self.unmade(&error))
    }

    fn unmade(&mut self, error: &wasmtime::Error) -> Unmade {
        let words = format!("{error:#}");
        match self.trap(error) {
            Some(trap) => Unmade::Trapped(trap),
            None if words.starts_with("incompatible import type") => Unmade::Unlinkable(words),
            None => Unmade::Other(format!("not instantiated: {words}")),
        }
    }

    /// The trap that an error is, if it is one. A meter's own stop is the trap that it stands for.
    fn trap(&mut self, error: &wasmtime::Error) -> Option<Trap> {
        let trap = *error.downcast_ref::<Trap>()?;
        let is_depth = trap == Trap::UnreachableCodeReached && self.is_depth_stop(error).unwrap_or(false);
        Some(if is_depth { Trap::StackOverflow } else { trap })
    }

    fn is_depth_stop(&mut self, error: &wasmtime::Error) -> Option<bool> {
        let frame = error.downcast_ref::<WasmBacktrace>()?.frames().first()?;
        let (_, stops) = self.metered.iter().find(|(module, _)| Module::same(module, frame.module()))?;
        let offset = u32::try_from(frame.module_offset()?).ok()?;
        // Which instance trapped is not told; none but it has gone deep.
        let depth = self.meters.iter().filter_map(|depth| depth.read(&mut self.store)).max()?;
        Some(stops.is_depth(offset, depth))
    }
}

/// Where a meter notes how deep calls are nested.
#[derive(Debug, Clone, Copy)]
enum Depth {
    Word(Memory),
    Global(Global),
}

impl Depth {
    fn clear(self, store: &mut Store<()>) -> wasmtime::Result<()> {
        match self {
            Self::Word(memory) => Ok(memory.write(store, DEPTH_AT as usize, &0_u64.to_le_bytes())?),
            Self::Global(global) => global.set(store, Val::I32(0)),
        }
    }

    fn read(self, store: &mut Store<()>) -> Option<u32> {
        match self {
            Self::Word(memory) => memory.data(store).get(DEPTH_AT as usize..)?.first_chunk().copied().map(u32::from_le_bytes),
            Self::Global(global) => global.get(store).i32().map(i32::cast_unsigned),
        }
    }
}

/// Keeps what was made under its name and as the latest, or why it was not.
fn put<T>(table: &mut HashMap<Option<String>, Slot<T>>, name: Option<Id<'_>>, made: Slot<T>) -> Result<(), String> {
    if let Some(name) = name {
        table.insert(Some(name.name().to_owned()), made.clone());
    }
    table.insert(None, made.clone());
    made.map(drop)
}

fn get<T>(table: &HashMap<Option<String>, Slot<T>>, name: Option<Id<'_>>) -> Slot<T> {
    let key = name.map(|name| name.name().to_owned());
    table.get(&key).cloned().unwrap_or_else(|| Err(format!("nothing is named {key:?}")))
}

fn encode(module: &mut QuoteWat<'_>) -> Result<Vec<u8>, String> {
    module.encode().map_err(|error| format!("its text cannot be encoded: {}", error.message()))
}

/// Expects our validation to refuse a module. Validators word their reasons as they like; but where ours only says that a proposal is
/// off, then the fault that the test is about was not looked at.
fn refused(wasm: &[u8], message: &str) -> Result<(), String> {
    match validate(wasm) {
        Err(words) if words.starts_with(message) || !OFF.iter().any(|off| words.contains(off)) => Ok(()),
        Err(words) => Err(format!("refused: {words}, where `{message}` is expected")),
        Ok(()) => Err(format!("accepted, where `{message}` is expected")),
    }
}

fn finished<T>(end: End<T>) -> Result<T, String> {
    match end {
        End::Finished(value) => Ok(value),
        End::Trapped(trap) => Err(trap.to_string()),
    }
}

/// Expects a trap of the kind that `message` names.
fn trapped<T>(end: &End<T>, message: &str) -> Result<(), String> {
    match end {
        End::Trapped(trap) if names(*trap).iter().any(|name| is_named(name, message)) => Ok(()),
        End::Trapped(trap) => Err(format!("{trap}, where `{message}` is expected")),
        End::Finished(_) => Err(format!("it returns, where `{message}` is expected")),
    }
}

/// The suite names a kind with details behind it (`uninitialized element 2`), or with its first words alone (`out of bounds`).
fn is_named(name: &str, message: &str) -> bool {
    message.starts_with(name) || (!message.is_empty() && name.starts_with(message))
}

/// What the suite calls a kind of trap.
fn names(trap: Trap) -> &'static [&'static str] {
    match trap {
        Trap::StackOverflow => &["call stack exhausted"],
        Trap::MemoryOutOfBounds => &["out of bounds memory access"],
        Trap::TableOutOfBounds => &["out of bounds table access", "undefined element"],
        Trap::IndirectCallToNull => &["uninitialized element"],
        Trap::BadSignature => &["indirect call type mismatch"],
        Trap::IntegerOverflow => &["integer overflow"],
        Trap::IntegerDivisionByZero => &["integer divide by zero"],
        Trap::BadConversionToInteger => &["invalid conversion to integer"],
        Trap::UnreachableCodeReached => &["unreachable"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_are_told_apart_by_the_suites_words() {
        for (trap, message, want) in [
            (Trap::IndirectCallToNull, "uninitialized element 2", true),
            (Trap::IndirectCallToNull, "undefined element", false),
            (Trap::TableOutOfBounds, "undefined element", true),
            (Trap::TableOutOfBounds, "out of bounds table access", true),
            (Trap::TableOutOfBounds, "out of bounds memory access", false),
            (Trap::MemoryOutOfBounds, "out of bounds", true),
            (Trap::UnreachableCodeReached, "", false),
            (Trap::OutOfFuel, "unreachable", false),
        ] {
            assert_eq!(trapped(&End::Trapped::<()>(trap), message).is_ok(), want, "{trap} as {message}");
        }
        assert!(trapped(&End::Finished(()), "unreachable").is_err());
    }
}
