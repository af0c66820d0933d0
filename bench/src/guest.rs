//! What is run: guests that are written by hand, so that a measurement needs no wasm toolchain, and where size and nature of a real
//! program matter, the calibration kernels.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder};
use wasm_encoder::{CodeSection, CustomSection, Function, FunctionSection, Module, RawSection};
use wasmparser::{FunctionBody, Parser, Payload, TypeRef};

/// Where `cargo xtask` puts the guests that it builds.
const GUESTS_VARIABLE: &str = "ADIT_GUESTS";

const ECHO: &str = include_str!("../guests/echo.wat");
const HTTP: &str = include_str!("../guests/http.wat");

/// Statements of each function of a large program; some 500 bytes of machine code.
const FUNCTION_STEPS: usize = 20;

/// A job that copies its input to its output.
pub(crate) fn echo() -> Result<Vec<u8>> {
    wat::parse_str(ECHO).context("echo.wat")
}

/// A job that goes round a loop so many times, each about a nanosecond of a core's time, and has no output.
pub(crate) fn work(turns: u64) -> Result<Vec<u8>> {
    let text = format!(
        r#"(module (memory (export "memory") 1) (func (export "_start") (local $n i64)
            (loop $turn
                (local.set $n (i64.add (local.get $n) (i64.const 1)))
                (br_if $turn (i64.lt_u (local.get $n) (i64.const {turns}))))))"#
    );
    wat::parse_str(text).context("a guest that works")
}

/// The echo inside of a program of an ordinary size: `functions` functions that are loaded and never called.
pub(crate) fn large_echo(functions: usize) -> Result<Vec<u8>> {
    let (echo, end) = ECHO.trim_end().split_at(ECHO.trim_end().len() - 1);
    let mut text = echo.to_owned();
    for n in 0..functions {
        write!(text, "(func (param i32) (result i32)")?;
        for k in 0..FUNCTION_STEPS {
            write!(text, " (i32.store (local.get 0) (i32.mul (i32.load offset={k} (local.get 0)) (i32.const {})))", n + k)?;
        }
        writeln!(text, " (i32.load (local.get 0)))")?;
    }
    wat::parse_str(text + end).context("echo.wat with functions")
}

/// A component that answers HTTP requests.
pub(crate) fn http() -> Result<Vec<u8>> {
    wat::parse_str(HTTP).context("http.wat")
}

/// The kernels' module, as the compiler wrote it: a Rust program of a megabyte, which lists its kernels where it gets no argument.
pub(crate) fn kernels() -> Result<Vec<u8>> {
    let path = built("kernels.wasm")?;
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Where a module is that `cargo xtask` built.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os(GUESTS_VARIABLE).map(PathBuf::from);
    let folder = folder.with_context(|| format!("{GUESTS_VARIABLE} is not set; run this as `cargo xtask bench`"))?;
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is missing; next: `cargo xtask guests`", path.display());
    Ok(path)
}

/// The same program, but its `_start` returns at once.
pub(crate) fn idle(wasm: &[u8]) -> Result<Vec<u8>> {
    let parts = Parts::of(wasm)?;
    let (start, end) = (parts.start, parts.imported + parts.types.len() as u32);
    let start_type = start.checked_sub(parts.imported).and_then(|defined| parts.types.get(defined as usize));
    let mut types = parts.types.clone();
    types.push(*start_type.context("`_start` is imported")?);
    let mut code = CodeSection::new();
    Shifted { imported: parts.imported, by: 0 }.append(&parts.bodies, &mut code)?;
    let mut returns = Function::new([]);
    returns.instructions().end();
    code.function(&returns);
    parts.write(wasm, &types, &code, &mut Renamed { from: start, to: end })
}

/// The same program `copies` times over: each copy's functions call those of their own copy, and what is called from outside is the
/// first. As large as a large application, and of the nature of a real one.
pub(crate) fn repeated(wasm: &[u8], copies: u32) -> Result<Vec<u8>> {
    let parts = Parts::of(wasm)?;
    let mut code = CodeSection::new();
    for copy in 0..copies {
        let by = copy * parts.types.len() as u32;
        Shifted { imported: parts.imported, by }.append(&parts.bodies, &mut code)?;
    }
    parts.write(wasm, &parts.types.repeat(copies as usize), &code, &mut RoundtripReencoder)
}

/// The same program under another digest.
pub(crate) fn marked(wasm: &[u8], mark: u64) -> Vec<u8> {
    let (mut marked, mark) = (wasm.to_vec(), mark.to_le_bytes());
    let section = CustomSection { name: "mark".into(), data: mark.as_slice().into() };
    wasm_encoder::Section::append_to(&section, &mut marked);
    marked
}

/// What a module's functions are made of.
struct Parts<'a> {
    /// Functions that are imported.
    imported: u32,
    /// The type of each function that is not.
    types: Vec<u32>,
    bodies: Vec<FunctionBody<'a>>,
    /// The function that is exported as `_start`.
    start: u32,
}

impl<'a> Parts<'a> {
    fn of(wasm: &'a [u8]) -> Result<Self> {
        let (mut imported, mut types, mut bodies, mut start) = (0, Vec::new(), Vec::new(), None);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::FunctionSection(section) => types = section.into_iter().collect::<Result<_, _>>()?,
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        start = (export.name == "_start").then_some(export.index).or(start);
                    }
                }
                Payload::CodeSectionEntry(body) => bodies.push(body),
                _ => {}
            }
        }
        Ok(Self { imported, types, bodies, start: start.context("the module has no `_start`")? })
    }

    /// The module with other functions, and its exports as `exports` names functions. Names and other custom sections are left out.
    fn write(
        &self,
        wasm: &[u8],
        types: &[u32],
        code: &CodeSection,
        exports: &mut impl Reencode<Error = Infallible>,
    ) -> Result<Vec<u8>> {
        let mut module = Module::new();
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            match &payload {
                Payload::CustomSection(_) => {}
                Payload::FunctionSection(_) => {
                    let mut functions = FunctionSection::new();
                    types.iter().for_each(|&ty| {
                        functions.function(ty);
                    });
                    module.section(&functions);
                }
                Payload::ExportSection(section) => {
                    let mut section_out = wasm_encoder::ExportSection::new();
                    exports.parse_export_section(&mut section_out, section.clone()).map_err(in_words)?;
                    module.section(&section_out);
                }
                Payload::CodeSectionStart { .. } => {
                    module.section(code);
                }
                Payload::StartSection { .. } => anyhow::bail!("the module has a start section"),
                other => {
                    if let Some((id, range)) = other.as_section() {
                        module.section(&RawSection { id, data: &wasm[range] });
                    }
                }
            }
        }
        let module = module.finish();
        ensure!(module.len() > 8, "the module is empty");
        Ok(module)
    }
}

/// Functions that call others at an index so much higher.
struct Shifted {
    imported: u32,
    by: u32,
}

impl Shifted {
    fn append(&mut self, bodies: &[FunctionBody<'_>], code: &mut CodeSection) -> Result<()> {
        bodies.iter().try_for_each(|body| self.parse_function_body(code, body.clone()).map_err(in_words))
    }
}

impl Reencode for Shifted {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Infallible>> {
        Ok(if function < self.imported { function } else { function + self.by })
    }
}

/// One function in another's place.
struct Renamed {
    from: u32,
    to: u32,
}

impl Reencode for Renamed {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Infallible>> {
        Ok(if function == self.from { self.to } else { function })
    }
}

fn in_words(error: Error<Infallible>) -> anyhow::Error {
    anyhow::anyhow!("cannot rewrite the module: {error}")
}

#[cfg(test)]
mod tests {
    use wasmparser::{Validator, WasmFeatures};

    use super::*;

    #[test]
    fn guests_are_valid() {
        for module in [echo().unwrap(), large_echo(3).unwrap()] {
            Validator::new_with_features(WasmFeatures::WASM1).validate_all(&module).unwrap();
        }
        Validator::new().validate_all(&http().unwrap()).unwrap();
    }

    #[test]
    fn large_echo_grows_with_its_functions() {
        let [small, large] = [10, 20].map(|functions| large_echo(functions).unwrap().len() - echo().unwrap().len());
        assert!(large > small * 19 / 10 && small > 10 * FUNCTION_STEPS * 8, "{small}, {large}");
    }

    /// Two functions that call each other, one exported.
    const PAIR: &str = r#"(module (import "m" "f" (func (param i32)))
        (func $start (export "_start") (call $other)) (func $other (call 0 (i32.const 1))) (export "other" (func $other)))"#;

    fn text(wasm: &[u8]) -> String {
        Validator::new().validate_all(wasm).unwrap();
        let kinds = |payload: Payload<'_>| match payload {
            Payload::ExportSection(section) => {
                section.into_iter().map(|export| export.unwrap()).map(|e| format!("{}={} ", e.name, e.index)).collect()
            }
            Payload::CodeSectionEntry(body) => {
                let calls = body.get_operators_reader().unwrap().into_iter().filter_map(|op| match op.unwrap() {
                    wasmparser::Operator::Call { function_index } => Some(format!("call {function_index}")),
                    _ => None,
                });
                format!("[{}] ", calls.collect::<String>())
            }
            _ => String::new(),
        };
        Parser::new(0).parse_all(wasm).map(|payload| kinds(payload.unwrap())).collect()
    }

    #[test]
    fn rewritten_programs_are_what_they_are_called() {
        let pair = wat::parse_str(PAIR).unwrap();
        assert_eq!(text(&pair), "_start=1 other=2 [call 2] [call 0] ");
        assert_eq!(text(&idle(&pair).unwrap()), "_start=3 other=2 [call 2] [call 0] [] ");
        assert_eq!(text(&repeated(&pair, 2).unwrap()), "_start=1 other=2 [call 2] [call 0] [call 4] [call 0] ");
        assert_eq!(text(&marked(&pair, 1)), text(&pair));
        assert_ne!(marked(&pair, 1), marked(&pair, 2));
    }
}
