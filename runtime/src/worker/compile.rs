//! The compile worker: reads one module, writes its machine code, and is gone.

use std::fs::File;
use std::io::Read;

use adit_protocol::Digest;
use adit_protocol::limits::REASON_BYTES_MAX;
use wasmtime::{Engine, Module};

use super::ending::{clip, words};
use crate::admission::{ModuleLimits, admit};
use crate::code::CodeFile;
use crate::engine::Tier;
use crate::ipc::{CompileOrder, FromCompiler, Receiver, Sender};
use crate::meter::{Metered, Options, instrument};
use crate::walls::Walls;

/// The compilers.
pub(crate) struct Engines {
    /// Not on every machine.
    pub(crate) baseline: Option<Engine>,
    pub(crate) optimised: Engine,
}

/// Serves one order.
pub(super) async fn serve(engines: Engines, walls: Walls, sender: Sender, mut receiver: Receiver) -> wasmtime::Result<()> {
    walls.seal()?;
    let Some(order) = receiver.recv::<CompileOrder>().await? else { return Ok(()) };
    let (wasm, code) = (File::from(receiver.take_fd()?), File::from(receiver.take_fd()?));
    let answer = match compile(&engines, &order, wasm, code) {
        Ok(()) => FromCompiler::Compiled,
        Err(Failure::Invalid(reason)) => FromCompiler::Invalid(reason),
        Err(Failure::Unsuited(reason)) => FromCompiler::Unsuited(reason),
        Err(Failure::Worker(error)) => FromCompiler::Failed(clip(format!("{error:#}"), REASON_BYTES_MAX)),
    };
    sender.push(&answer)?;
    Ok(sender.drain().await?)
}

/// Why there is no code.
enum Failure {
    /// The module is not one that runs here.
    Invalid(String),
    /// The compiler does not know all that is in the module.
    Unsuited(String),
    /// This worker could not do its part.
    Worker(wasmtime::Error),
}

impl<E: Into<wasmtime::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Worker(error.into())
    }
}

fn compile(engines: &Engines, order: &CompileOrder, wasm: File, mut code: File) -> Result<(), Failure> {
    let wasm = read(order, wasm)?;
    let metered =
        prepare(&wasm, &order.limits, &Options { profile: order.profile, ..Options::default() }).map_err(Failure::Invalid)?;
    let (engine, refused): (_, fn(String) -> Failure) = match (order.tier, &engines.baseline) {
        (Tier::Optimised, _) => (&engines.optimised, Failure::Invalid),
        (Tier::Baseline, Some(engine)) => (engine, Failure::Unsuited),
        (Tier::Baseline, None) => return Err(Failure::Unsuited("this machine has no baseline compiler".to_owned())),
    };
    let module = Module::new(engine, &metered.wasm).map_err(|error| refused(words(&format!("{error:#}"))))?;
    CodeFile::write(&mut code, &module.serialize()?, &metered)?;
    Ok(())
}

/// Admits a module and makes it count; else why it is not one that runs here.
pub(crate) fn prepare(wasm: &[u8], limits: &ModuleLimits, options: &Options) -> Result<Metered, String> {
    admit(wasm, limits).map_err(|refusal| words(&refusal.to_string()))?;
    instrument(wasm, options).map_err(|error| words(&error.to_string()))
}

fn read(order: &CompileOrder, wasm: File) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    wasm.take(order.limits.module_bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    order.limits.check_bytes(bytes.len() as u64).map_err(|refusal| Failure::Invalid(refusal.to_string()))?;
    let digest = Digest::of(&bytes);
    if digest != order.module {
        return Err(Failure::Worker(wasmtime::format_err!("module {} has the bytes of {digest}", order.module)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::super::guest;
    use super::*;
    use crate::admission::FUNCTIONS;

    #[test]
    fn order_for_a_compiler_that_is_not_here_is_not_the_modules_fault() {
        let wasm = wat::parse_str("(module (memory (export \"memory\") 1) (func (export \"_start\")))").unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&wasm).unwrap();
        file.rewind().unwrap();
        let engines = Engines { baseline: None, optimised: crate::engine::compiling_engine().unwrap() };
        let order = CompileOrder {
            module: Digest::of(&wasm),
            tier: Tier::Baseline,
            limits: ModuleLimits { module_bytes_max: 1 << 20 },
            profile: false,
        };
        let refused = compile(&engines, &order, file, tempfile::tempfile().unwrap());
        assert!(matches!(refused, Err(Failure::Unsuited(_))));
    }

    #[test]
    fn guests_have_every_function_that_admission_lets_them_import() {
        let spell = |letters: &str| letters.replace('i', " i32").replace('I', " i64");
        let import = |(module, name, params, results): &(&str, &str, &str, &str)| {
            format!("(import \"{module}\" \"{name}\" (func (param{}) (result{})))", spell(params), spell(results))
        };
        let text = format!("(module {})", FUNCTIONS.iter().map(import).collect::<String>());
        let engine = crate::engine::engine().unwrap();
        let module = Module::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        guest::linker(&engine).unwrap().instantiate_pre(&module).unwrap();
        assert_eq!(FUNCTIONS.len(), 60);
    }
}
