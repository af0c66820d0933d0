//! A module as its author sees it: how large it is, what it asks of its host, and what that lets it do.

use adit_protocol::{ByteCount, Digest};
use serde::Serialize;
use wasmparser::{Parser, Payload};

use crate::quantity::show_bytes;
use crate::table::print_line;
use crate::visible::visible;

const WASI: &str = "wasi_snapshot_preview1";
const ADIT: &str = "adit_1";

/// What is told of a module.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) bytes: u64,
    pub(crate) digest: String,
    /// Each as module and name, sorted.
    pub(crate) imports: Vec<[String; 2]>,
    /// What these let it do, in words.
    pub(crate) may: Vec<&'static str>,
}

impl Summary {
    /// Reads a module.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub(crate) fn read(wasm: &[u8]) -> wasmparser::Result<Self> {
        let imports = imports(wasm)?;
        let may = lets(&imports).into_iter().map(Ability::words).collect();
        Ok(Self { bytes: wasm.len() as u64, digest: Digest::of(wasm).to_string(), imports, may })
    }

    /// Prints it: path and size, imports by their modules, and what the module may do.
    pub(crate) fn show(&self, path: &str) -> anyhow::Result<()> {
        print_line(&format!("{path} ({})", show_bytes(ByteCount(self.bytes))))?;
        for group in self.imports.chunk_by(|[a, _], [b, _]| a == b) {
            let names: Vec<&str> = group.iter().map(|[_, name]| name.as_str()).collect();
            print_line(&visible(&format!("  imports {}: {}", group[0][0], names.join(", "))))?;
        }
        print_line(&format!("  may: {}", abilities(&self.may)))
    }
}

/// What a module may do, in one line.
pub(crate) fn abilities(may: &[&str]) -> String {
    if may.is_empty() { "compute, and nothing else".to_owned() } else { may.join("; ") }
}

/// What an import lets a module do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ability {
    Input,
    NamedInputs,
    Arguments,
    Environment,
    Output,
    Log,
    Progress,
    Clock,
    Wait,
    Random,
    Fuel,
    Gpu,
    Exit,
    Files,
    Sockets,
    Streams,
    Unknown,
}

impl Ability {
    /// What a function lets a module do.
    pub(crate) fn of(module: &str, name: &str) -> Self {
        match (module, name) {
            (WASI, "fd_read" | "fd_pread") => Self::Input,
            (WASI, "fd_write" | "fd_pwrite") => Self::Output,
            (WASI, "args_get" | "args_sizes_get") => Self::Arguments,
            (WASI, "environ_get" | "environ_sizes_get") => Self::Environment,
            (WASI, "clock_res_get" | "clock_time_get") => Self::Clock,
            (WASI, "poll_oneoff" | "sched_yield") => Self::Wait,
            (WASI, "random_get") => Self::Random,
            (WASI, "proc_exit" | "proc_raise") => Self::Exit,
            (WASI, "fd_prestat_get" | "fd_prestat_dir_name" | "fd_readdir") => Self::Files,
            (WASI, name) if name.starts_with("path_") => Self::Files,
            (WASI, name) if name.starts_with("sock_") => Self::Sockets,
            (WASI, name) if name.starts_with("fd_") => Self::Streams,
            (ADIT, "log") => Self::Log,
            (ADIT, "progress") => Self::Progress,
            (ADIT, "fuel_left") => Self::Fuel,
            (ADIT, name) if name.starts_with("input_") => Self::NamedInputs,
            (ADIT, name) if name.starts_with("gpu_") => Self::Gpu,
            _ => Self::Unknown,
        }
    }

    /// The same in words, behind "it may".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Input => "read its input",
            Self::NamedInputs => "read its named inputs",
            Self::Arguments => "read its arguments",
            Self::Environment => "read the variables that its job sets",
            Self::Output => "write its output and its log",
            Self::Log => "log lines with levels",
            Self::Progress => "report progress",
            Self::Clock => "read a clock (its own, or with --profile open the node's)",
            Self::Wait => "wait",
            Self::Random => "draw random numbers (from its seed, or with --profile open the node's)",
            Self::Fuel => "ask how much fuel is left",
            Self::Gpu => "use a GPU, where its job asks for one with --gpu",
            Self::Exit => "end with an exit code",
            Self::Files => "ask for files, of which it has none",
            Self::Sockets => "ask for sockets, of which it has none",
            Self::Streams => "ask about its standard streams",
            Self::Unknown => "nothing here: no guest has this function",
        }
    }
}

/// What imports let a module do: each once, what matters most first.
fn lets(imports: &[[String; 2]]) -> Vec<Ability> {
    let mut abilities: Vec<Ability> = imports.iter().map(|[module, name]| Ability::of(module, name)).collect();
    abilities.sort_unstable();
    abilities.dedup();
    abilities
}

/// What a module asks of its host, sorted.
fn imports(wasm: &[u8]) -> wasmparser::Result<Vec<[String; 2]>> {
    let mut imports = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::ImportSection(section) = payload? {
            for import in section.into_imports() {
                let import = import?;
                imports.push([import.module.to_owned(), import.name.to_owned()]);
            }
        }
    }
    imports.sort();
    Ok(imports)
}

/// The module without the sections that only a debugger reads.
///
/// # Errors
/// Where the bytes are no module.
pub(crate) fn without_debug_information(wasm: &[u8]) -> wasmparser::Result<Vec<u8>> {
    let mut lean = Vec::with_capacity(wasm.len());
    let mut kept = 0;
    let mut at = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        let end = match &payload {
            Payload::Version { range, .. } => range.end,
            // Behind the start of the code section come its functions, which end where it ends.
            Payload::CodeSectionStart { range, .. } => range.end,
            _ => payload.as_section().map_or(at, |(_, range)| range.end.max(at)),
        };
        if let Payload::CustomSection(section) = &payload
            && section.name().starts_with(".debug_")
        {
            lean.extend_from_slice(&wasm[kept..at]);
            kept = end;
        }
        at = end.max(at);
    }
    lean.extend_from_slice(&wasm[kept..]);
    Ok(lean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_read_from_the_module() {
        // Header; type section with one `() -> ()`; import section with `a.f` and `b.g` of that type.
        let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0d\x02\x01b\x01g\0\0\x01a\x01f\0\0";
        assert_eq!(imports(module).unwrap(), [["a", "f"], ["b", "g"]].map(|i| i.map(str::to_owned)));
        assert!(imports(b"not wasm").is_err());
    }

    #[test]
    fn all_that_a_guest_may_import_is_told_in_words() {
        for (module, name, ..) in adit_runtime::lab::host_functions() {
            assert_ne!(Ability::of(module, name), Ability::Unknown, "{module} {name}");
        }
        assert_eq!(Ability::of("env", "puts"), Ability::Unknown);
    }

    #[test]
    fn words_are_said_once_each() {
        let wat = r#"(module
            (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open" (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_rename" (func (param i32 i32 i32 i32 i32 i32) (result i32)))
            (import "adit_1" "progress" (func (param i64 i64))))"#;
        let summary = Summary::read(&wat::parse_str(wat).unwrap()).unwrap();
        assert_eq!(summary.may, ["read its input", "report progress", "ask for files, of which it has none"]);
        assert_eq!(abilities(&Summary::read(&wat::parse_str("(module)").unwrap()).unwrap().may), "compute, and nothing else");
    }

    #[test]
    fn debug_information_goes_and_all_else_stays() {
        let section = |name: &str| format!("(@custom \"{name}\" (after last) \"content of {name}\")");
        let module = |sections: &[&str]| {
            let sections: String = sections.iter().map(|name| section(name)).collect();
            wat::parse_str(format!("(module (func $work (export \"f\")) {sections})")).unwrap()
        };
        let lean = without_debug_information(&module(&[".debug_info", "producers", ".debug_line"])).unwrap();
        assert_eq!(lean, module(&["producers"]));
        assert!(String::from_utf8_lossy(&lean).contains("work"), "names are for profiles");
    }
}
