//! The compile worker: reads one module, writes its machine code, and is gone.

use std::fs::File;
use std::io::{Read, Seek};

use adit_protocol::Digest;
use adit_protocol::limits::REASON_BYTES_MAX;
use wasmtime::Engine;

use super::ending::{clip, words};
use crate::admission::{ModuleLimits, admit};
use crate::cache::is_full;
use crate::code::CodeFile;
use crate::engine::Tier;
use crate::ipc::{CompileOrder, FromCompiler, Receiver, Sender, ToCompiler};
use crate::meter::{MeterError, Metered, Options, instrument};
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
    let Some(ToCompiler::Compile(order)) = receiver.recv().await? else { return Ok(()) };
    let (wasm, code) = (File::from(receiver.take_fd()?), File::from(receiver.take_fd()?));
    let answer = match compile(&engines, &order, wasm) {
        Ok(made) => hand_over(&made, code, &sender, &mut receiver).await?,
        Err(Failure::Invalid(reason)) => FromCompiler::Invalid(reason),
        Err(Failure::Unsuited(reason)) => FromCompiler::Unsuited(reason),
        Err(Failure::Worker(error)) => failed(&error),
    };
    sender.push(&answer)?;
    Ok(sender.drain().await?)
}

fn failed(error: &wasmtime::Error) -> FromCompiler {
    FromCompiler::Failed(clip(format!("{error:#}"), REASON_BYTES_MAX))
}

/// Machine code, and what belongs to its meter.
struct Made {
    code: Vec<u8>,
    metered: Metered,
}

/// Writes code to `file`; once more, where the disk had no room and the supervisor made some: it is not compiled again for that.
async fn hand_over(made: &Made, mut file: File, sender: &Sender, receiver: &mut Receiver) -> wasmtime::Result<FromCompiler> {
    let mut write = || file.rewind().and_then(|()| CodeFile::write(&mut file, &made.code, &made.metered));
    match write() {
        Ok(()) => return Ok(FromCompiler::Compiled),
        Err(error) if is_full(&error) => {}
        Err(error) => return Ok(failed(&error.into())),
    }
    sender.push(&FromCompiler::Full(CodeFile::bytes(&made.code, &made.metered)?))?;
    sender.drain().await?;
    let Some(ToCompiler::WriteAgain) = receiver.recv().await? else { wasmtime::bail!("no room for the code was found") };
    Ok(write().map_or_else(|error| failed(&error.into()), |()| FromCompiler::Compiled))
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

fn compile(engines: &Engines, order: &CompileOrder, wasm: File) -> Result<Made, Failure> {
    let wasm = read(order, wasm)?;
    let options = Options { profile: order.profile, tier: order.tier, ..Options::default() };
    let metered = prepare(&wasm, &order.limits, &options)?;
    let (engine, refused): (_, fn(String) -> Failure) = match (order.tier, &engines.baseline) {
        (Tier::Optimised, _) => (&engines.optimised, Failure::Invalid),
        (Tier::Baseline, Some(engine)) => (engine, Failure::Unsuited),
        (Tier::Baseline, None) => return Err(Failure::Unsuited("this machine has no baseline compiler".to_owned())),
    };
    // It is not loaded here: that this machine can run no code of its own making would be no fault of the module's.
    let code = engine.precompile_module(&metered.wasm).map_err(|error| refused(words(&format!("{error:#}"))))?;
    Ok(Made { code, metered })
}

/// Admits a module and makes it count; else why it is not one that runs here, or not in this tier.
fn prepare(wasm: &[u8], limits: &ModuleLimits, options: &Options) -> Result<Metered, Failure> {
    admit(wasm, limits).map_err(|refusal| Failure::Invalid(words(&refusal.to_string())))?;
    instrument(wasm, options).map_err(|error| {
        let reason = words(&error.to_string());
        match (options.tier, error) {
            // How long it becomes in its other form is for that to say.
            (Tier::Baseline, MeterError::FunctionTooLong { .. }) => Failure::Unsuited(reason),
            _ => Failure::Invalid(reason),
        }
    })
}

/// Admits a module and makes it count, for optimised code; else why it is not one that runs here.
pub(crate) fn prepare_optimised(wasm: &[u8], limits: &ModuleLimits) -> Result<Metered, String> {
    prepare(wasm, limits, &Options::default()).map_err(|failure| match failure {
        Failure::Invalid(reason) | Failure::Unsuited(reason) => reason,
        Failure::Worker(error) => format!("{error:#}"),
    })
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
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::sync::Arc;

    use adit_protocol::{BlobRef, JobSpec};
    use tokio::net::UnixStream;
    use wasmtime::{Func, Store, ValType};

    use super::super::guest::{self, Guest};
    use super::super::{Input, NamedInputs, Outbox, Supplies};
    use super::*;
    use crate::admission::FUNCTIONS;
    use crate::ipc::connection;

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
        let refused = compile(&engines, &order, file);
        assert!(matches!(refused, Err(Failure::Unsuited(_))));
    }

    /// Every function of the linker that guests are instantiated with, as admission writes them. Its host is asked by nobody.
    fn linked() -> BTreeSet<(String, String, String, String)> {
        let engine = crate::engine::engine().unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let outbox = Arc::new(Outbox::new(connection(ours).0));
        let spec = JobSpec::new(BlobRef::of(b""), BlobRef::of(b""));
        let supplies = Supplies { input: Input::memory(Vec::new()), named: NamedInputs::default(), gpu: None };
        let mut store = Store::new(&engine, Guest::new(&spec, supplies, outbox, Arc::default()));
        let functions: Vec<_> = guest::linker(&engine)
            .unwrap()
            .iter(&mut store)
            .map(|(module, name, function)| (module.to_owned(), name.to_owned(), function.into_func().unwrap()))
            .collect();
        let letter = |ty| if matches!(ty, ValType::I64) { 'I' } else { 'i' };
        let letters = |function: Func| {
            let ty = function.ty(&store);
            (ty.params().map(letter).collect(), ty.results().map(letter).collect())
        };
        let spelt = functions.into_iter().map(|(module, name, function)| {
            let (params, results) = letters(function);
            (module, name, params, results)
        });
        spelt.collect()
    }

    #[tokio::test]
    async fn guests_have_the_functions_that_admission_lets_them_import_and_no_others() {
        let admitted = FUNCTIONS.iter().map(|(module, name, params, results)| {
            (module.to_string(), name.to_string(), params.to_string(), results.to_string())
        });
        assert_eq!(linked(), admitted.collect());
    }
}
