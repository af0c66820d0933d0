//! The compile worker: reads one module, writes its machine code, and is gone.

use std::fs::File;
use std::io::Read;

use adit_protocol::Digest;
use adit_protocol::limits::{MODULE_BYTES_MAX, REASON_BYTES_MAX};
use wasmparser::{Parser, Validator};
use wasmtime::{Engine, ExternType, Module};

use super::ending::clip;
use super::guest;
use crate::code::CodeFile;
use crate::engine::FEATURES;
use crate::ipc::{CompileOrder, FromCompiler, Receiver, Sender};
use crate::meter;
use crate::walls::Walls;

/// Serves one order.
pub(super) async fn serve(engine: Engine, walls: Walls, sender: Sender, mut receiver: Receiver) -> wasmtime::Result<()> {
    walls.seal()?;
    let Some(order) = receiver.recv::<CompileOrder>().await? else { return Ok(()) };
    let (wasm, code) = (File::from(receiver.take_fd()?), File::from(receiver.take_fd()?));
    let answer = match compile(&engine, &order, wasm, code) {
        Ok(()) => FromCompiler::Compiled,
        Err(Failure::Invalid(reason)) => FromCompiler::Invalid(reason),
        Err(Failure::Worker(error)) => FromCompiler::Failed(clip(format!("{error:#}"), REASON_BYTES_MAX)),
    };
    sender.push(&answer)?;
    Ok(sender.drain().await?)
}

/// Why there is no code.
enum Failure {
    /// The module is not one that runs here.
    Invalid(String),
    /// This worker could not do its part.
    Worker(wasmtime::Error),
}

impl<E: Into<wasmtime::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Worker(error.into())
    }
}

fn compile(engine: &Engine, order: &CompileOrder, wasm: File, mut code: File) -> Result<(), Failure> {
    let wasm = read(order, wasm)?;
    check_format(&wasm).map_err(|reason| Failure::Invalid(reason.to_owned()))?;
    check_validity(&wasm)?;
    let metered = meter::instrument(&wasm, &meter::Options::default()).map_err(|error| Failure::Invalid(error.to_string()))?;
    let module = Module::new(engine, &metered.wasm).map_err(invalid)?;
    check_interface(engine, &module)?;
    CodeFile::write(&mut code, &module.serialize()?, &metered)?;
    Ok(())
}

fn read(order: &CompileOrder, wasm: File) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    wasm.take(MODULE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MODULE_BYTES_MAX {
        return Err(Failure::Invalid(format!("larger than {MODULE_BYTES_MAX} bytes")));
    }
    let digest = Digest::of(&bytes);
    if digest != order.module {
        return Err(Failure::Worker(wasmtime::format_err!("module {} has the bytes of {digest}", order.module)));
    }
    Ok(bytes)
}

/// Says what bytes are that are no core module, as far as the usual mistakes go.
fn check_format(bytes: &[u8]) -> Result<(), &'static str> {
    let text = bytes.trim_ascii_start();
    if bytes.is_empty() {
        Err("the file is empty")
    } else if Parser::is_component(bytes) {
        Err("this is a component; build a core module, as for the target wasm32-wasip1")
    } else if text.starts_with(b"(module") || text.starts_with(b"(component") || text.starts_with(b";;") {
        Err("this is WebAssembly text; translate it to binary first, as with `wasm-tools parse`")
    } else if bytes.starts_with(b"\x7fELF") {
        Err("this is native code (ELF); build for the target wasm32-wasip1")
    } else if !b"\0asm".starts_with(&bytes[..bytes.len().min(4)]) {
        Err("this is no WebAssembly module: it does not begin with `\\0asm` (at offset 0x0)")
    } else {
        Ok(())
    }
}

/// Checks the whole module before any of it is compiled; the words carry the offset.
fn check_validity(wasm: &[u8]) -> Result<(), Failure> {
    let mut validator = Validator::new_with_features(FEATURES);
    validator.validate_all(wasm).map_err(|error| Failure::Invalid(clip(error.to_string(), REASON_BYTES_MAX)))?;
    Ok(())
}

/// Checks that the module is a command (<https://github.com/WebAssembly/WASI/blob/main/legacy/application-abi.md>) that imports
/// nothing but what guests have here.
fn check_interface(engine: &Engine, module: &Module) -> Result<(), Failure> {
    guest::linker(engine)?.instantiate_pre(module).map_err(invalid)?;
    match module.get_export("_start") {
        Some(ExternType::Func(start)) if start.params().len() == 0 && start.results().len() == 0 => Ok(()),
        Some(_) => Err(Failure::Invalid("its export `_start` is not a function without parameters and results".to_owned())),
        None => Err(Failure::Invalid("it exports no function `_start`; build a command, not a library".to_owned())),
    }
}

/// The engine's own words: they carry the import's name.
fn invalid(error: wasmtime::Error) -> Failure {
    Failure::Invalid(clip(format!("{error:#}"), REASON_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_mistakes_are_named() {
        for (bytes, want) in [
            (&b""[..], "empty"),
            (b"\0asm\x0d\0\x01\0", "component"),
            (b"\n  (module (func))", "text"),
            (b";; a comment\n(module)", "text"),
            (b"\x7fELF\x02\x01\x01", "ELF"),
        ] {
            assert!(check_format(bytes).unwrap_err().contains(want), "{want}");
        }
        assert_eq!(check_format(b"\0asm\x01\0\0\0"), Ok(()));
    }
}
