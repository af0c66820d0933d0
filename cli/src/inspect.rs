//! `adit inspect`: what a module is, what it may do, and all that keeps nodes from admitting it.

use std::path::PathBuf;

use adit_protocol::ByteCount;
use adit_runtime::{Fault, Inspection};
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use wasmparser::{Encoding, ExternalKind, KnownCustom, MemoryType, Parser, Payload, TableType};

use crate::args::Common;
use crate::exit::{Exit, usage};
use crate::module::{Ability, Summary, abilities};
use crate::node::module_bytes_max;
use crate::quantity::show_bytes;
use crate::table::{print_json, print_line};
use crate::visible::visible;

const PAGE_BYTES: u64 = 65_536;
/// Exports of a module that are shown to people; programs get all.
const EXPORTS_SHOWN: usize = 20;

/// Tell what a module is and may do, and all that keeps nodes from admitting it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit inspect hello.wasm
  adit inspect hello.wasm --json | jq .faults

The exit code is 0 where nodes admit the module and 20 where they do not. A node's owner may admit more bytes than others; what counts here
is node.module-max of this machine's configuration.")]
pub(crate) struct InspectArgs {
    /// The module
    module: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &InspectArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let path = &args.module;
    let wasm = std::fs::read(path).map_err(|error| usage(format!("module {}: {error}", path.display())))?;
    let report = Report::of(&wasm, adit_runtime::inspect(&wasm, module_bytes_max(&config, None)?));
    if args.json {
        print_json(&report)?;
    } else {
        report.show(&path.display().to_string()).context("standard output")?;
    }
    Ok(if report.admitted { Exit::Success } else { Exit::Refused })
}

/// The object of `--json`; its keys are described in `docs/cli.md`.
#[derive(Debug, Serialize)]
struct Report {
    admitted: bool,
    faults: Vec<FaultReport>,
    bytes: u64,
    digest: String,
    may: Vec<&'static str>,
    needs: Needs,
    features: Vec<&'static str>,
    #[serde(flatten)]
    anatomy: Anatomy,
}

#[derive(Debug, Serialize)]
struct FaultReport {
    reason: String,
    limit: Option<&'static str>,
    value: Option<u64>,
    max: Option<u64>,
    count: usize,
}

/// What a job of the module must ask for, or a node must have.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Needs {
    /// The strictest that it runs in.
    profile: &'static str,
    memory_bytes: u64,
    gpu: bool,
}

/// What a module is made of, as far as it could be read.
#[derive(Debug, Default, Serialize)]
struct Anatomy {
    imports: Vec<Import>,
    exports: Vec<Export>,
    functions: u32,
    globals: u32,
    memories: Vec<Extent>,
    tables: Vec<Extent>,
    sections: Vec<Section>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Import {
    module: String,
    name: String,
    allows: &'static str,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Export {
    name: String,
    kind: &'static str,
}

/// From how much to how much something may grow: pages, or elements.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Extent {
    initial: u64,
    maximum: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Section {
    name: String,
    bytes: u64,
}

impl Report {
    fn of(wasm: &[u8], inspection: Inspection) -> Self {
        let Inspection { faults, features } = inspection;
        let anatomy = Anatomy::of(wasm);
        let may = Summary::read(wasm).map(|summary| summary.may).unwrap_or_default();
        let uses_gpu = anatomy.imports.iter().any(|import| Ability::of(&import.module, &import.name) == Ability::Gpu);
        let pages = anatomy.memories.iter().fold(0, |sum: u64, memory| sum.saturating_add(memory.initial));
        Self {
            admitted: faults.is_empty(),
            faults: faults.into_iter().map(FaultReport::of).collect(),
            bytes: wasm.len() as u64,
            digest: adit_protocol::Digest::of(wasm).to_string(),
            may,
            // Both profiles have the same functions, so that the stricter one is enough for any module. Whether a guest means the node's
            // clock and entropy, which `open` has, its module does not say.
            needs: Needs { profile: "deterministic", memory_bytes: pages.saturating_mul(PAGE_BYTES), gpu: uses_gpu },
            features,
            anatomy,
        }
    }

    fn show(&self, path: &str) -> anyhow::Result<()> {
        let line = |text: String| print_line(&visible(&text));
        line(format!(
            "{path} ({}): {}",
            show_bytes(ByteCount(self.bytes)),
            if self.admitted { "admitted" } else { "not admitted" }
        ))?;
        for fault in &self.faults {
            let places = if fault.count > 1 { format!("; {} places in all", fault.count) } else { String::new() };
            line(format!("  refused: {}{places}", fault.reason))?;
        }
        line(format!("  digest: {}", self.digest))?;
        let Anatomy { imports, exports, functions, globals, memories, tables, sections } = &self.anatomy;
        if sections.is_empty() {
            return Ok(());
        }
        line(format!("  may: {}", abilities(&self.may)))?;
        line(format!("  needs: {}", self.needs.words()))?;
        let features = if self.features.is_empty() { "none".to_owned() } else { self.features.join(", ") };
        line(format!("  features: {features}"))?;
        let (pages, elements) = (extents(memories, "pages"), extents(tables, "elements"));
        line(format!("  has: {functions} functions, {globals} globals, memory {pages}, table {elements}"))?;
        for Import { module, name, allows } in imports {
            line(format!("  imports {module}.{name}: {allows}"))?;
        }
        for Export { name, kind } in exports.iter().take(EXPORTS_SHOWN) {
            line(format!("  exports {name}: {kind}"))?;
        }
        if exports.len() > EXPORTS_SHOWN {
            line(format!("  exports {} others", exports.len() - EXPORTS_SHOWN))?;
        }
        for Section { name, bytes } in sections {
            line(format!("  section {name}: {}", show_bytes(ByteCount(*bytes))))?;
        }
        Ok(())
    }
}

impl FaultReport {
    fn of(fault: Fault) -> Self {
        let Fault { reason, limit, count } = fault;
        Self { reason, limit: limit.map(|l| l.name), value: limit.map(|l| l.value), max: limit.map(|l| l.max), count }
    }
}

impl Needs {
    fn words(&self) -> String {
        let gpu = if self.gpu { ", a GPU where it is to use one (--gpu)" } else { "" };
        format!(
            "no profile but {}, the default; {} of memory to begin with{gpu}",
            self.profile,
            show_bytes(ByteCount(self.memory_bytes))
        )
    }
}

impl Anatomy {
    fn of(wasm: &[u8]) -> Self {
        let mut anatomy = Self::default();
        // What cannot be read further is for the faults to say.
        for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
            if matches!(payload, Payload::Version { encoding: Encoding::Component, .. }) {
                break;
            }
            anatomy.add(&payload);
        }
        anatomy
    }

    fn add(&mut self, payload: &Payload<'_>) {
        match payload {
            Payload::ImportSection(section) => {
                let imports = section.clone().into_imports().flatten();
                self.imports.extend(imports.map(|import| Import {
                    module: import.module.to_owned(),
                    name: import.name.to_owned(),
                    allows: Ability::of(import.module, import.name).words(),
                }));
            }
            Payload::FunctionSection(section) => self.functions = section.count(),
            Payload::GlobalSection(section) => self.globals = section.count(),
            Payload::MemorySection(section) => self.memories.extend(section.clone().into_iter().flatten().map(Extent::of_memory)),
            Payload::TableSection(section) => {
                self.tables.extend(section.clone().into_iter().flatten().map(|table| Extent::of_table(table.ty)));
            }
            Payload::ExportSection(section) => {
                let exports = section.clone().into_iter().flatten();
                self.exports.extend(exports.map(|export| Export { name: export.name.to_owned(), kind: kind(export.kind) }));
            }
            _ => {}
        }
        if let Some(name) = section_name(payload)
            && let Some((_, range)) = payload.as_section()
        {
            self.sections.push(Section { name, bytes: range.len() as u64 });
        }
    }
}

impl Extent {
    fn of_memory(memory: MemoryType) -> Self {
        Self { initial: memory.initial, maximum: memory.maximum }
    }

    fn of_table(table: TableType) -> Self {
        Self { initial: table.initial, maximum: table.maximum }
    }
}

fn extents(extents: &[Extent], of: &str) -> String {
    let show = |extent: &Extent| match extent.maximum {
        Some(maximum) => format!("{} to {maximum} {of}", extent.initial),
        None => format!("{} {of}", extent.initial),
    };
    if extents.is_empty() { "none".to_owned() } else { extents.iter().map(show).collect::<Vec<_>>().join(" and ") }
}

fn kind(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => "function",
        ExternalKind::Table => "table",
        ExternalKind::Memory => "memory",
        ExternalKind::Global => "global",
        ExternalKind::Tag => "tag",
    }
}

/// What a section is called; nothing where the payload is none.
fn section_name(payload: &Payload<'_>) -> Option<String> {
    let name = match payload {
        Payload::TypeSection(_) => "types",
        Payload::ImportSection(_) => "imports",
        Payload::FunctionSection(_) => "functions",
        Payload::TableSection(_) => "tables",
        Payload::MemorySection(_) => "memories",
        Payload::TagSection(_) => "tags",
        Payload::GlobalSection(_) => "globals",
        Payload::ExportSection(_) => "exports",
        Payload::StartSection { .. } => "start",
        Payload::ElementSection(_) => "elements",
        Payload::DataCountSection { .. } => "data count",
        Payload::CodeSectionStart { .. } => "code",
        Payload::DataSection(_) => "data",
        Payload::CustomSection(section) => {
            let what = if matches!(section.as_known(), KnownCustom::Name(_)) { "names" } else { section.name() };
            return Some(format!("custom `{what}`"));
        }
        _ => return None,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(wasm: &[u8]) -> Report {
        Report::of(wasm, adit_runtime::inspect(wasm, 8 << 20))
    }

    #[test]
    fn module_is_taken_apart() {
        let wat = r#"(module
            (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
            (import "adit_1" "gpu_submit" (func (result i32)))
            (table 3 9 funcref) (memory (export "memory") 2) (global i32 (i32.const 1)) (func (export "_start")))"#;
        let Report { admitted, faults, anatomy, needs, may, .. } = report(&wat::parse_str(wat).unwrap());
        assert!(admitted && faults.is_empty());
        let imports: Vec<&str> = anatomy.imports.iter().map(|import| import.allows).collect();
        assert_eq!(imports, ["read its input", "use a GPU, where its job asks for one with --gpu"]);
        assert_eq!(imports, may);
        let exports: Vec<(&str, &str)> = anatomy.exports.iter().map(|export| (export.name.as_str(), export.kind)).collect();
        assert_eq!(exports, [("memory", "memory"), ("_start", "function")]);
        assert_eq!((anatomy.functions, anatomy.globals), (1, 1));
        assert_eq!(anatomy.memories, [Extent { initial: 2, maximum: None }]);
        assert_eq!(anatomy.tables, [Extent { initial: 3, maximum: Some(9) }]);
        assert_eq!(needs, Needs { profile: "deterministic", memory_bytes: 2 * PAGE_BYTES, gpu: true });
        let sections: Vec<&str> = anatomy.sections.iter().map(|section| section.name.as_str()).collect();
        assert_eq!(sections, ["types", "imports", "functions", "tables", "memories", "globals", "exports", "code"]);
    }

    #[test]
    fn what_is_no_module_gets_its_reason_and_nothing_else() {
        for (bytes, reason) in [
            (&b"\x7fELF\x02\x01\x01\0"[..], "native code"),
            (b"(module)", "WebAssembly text"),
            (b"\0asm\x0d\0\x01\0", "component"),
            (b"", "empty"),
        ] {
            let Report { admitted, faults, anatomy, .. } = report(bytes);
            assert!(!admitted && anatomy.sections.is_empty());
            assert!(matches!(&faults[..], [fault] if fault.reason.contains(reason) && fault.limit.is_none()), "{faults:?}");
        }
    }
}
