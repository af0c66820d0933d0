//! `adit build`: a guest's source to a module.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use adit_protocol::ByteCount;
use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use wasmparser::{Parser, Payload};

use crate::exit::{Exit, usage};
use crate::quantity::show_bytes;
use crate::screen::show_note;
use crate::table::{print_json, print_line};
use crate::visible::visible;

const TARGET: &str = "wasm32-wasip1";
/// Debian's second rustc, whose standard library it builds from source, and the C library below that.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "libstd-rust-web-dev", "rust-web-src", "wasi-libc"];
/// Where Debian's wasi-libc is.
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";

/// Compile a guest in Rust for wasm32-wasip1; prints the modules' paths, sizes and imports
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit build                     # the package in this folder
  adit build hello -- --features fast
  adit run $(adit build --json | jq -r .path) --local

It uses the toolchain's own target, which it adds by `rustup target add` where that is possible, or else Debian's rustc-web.")]
pub(crate) struct BuildArgs {
    /// The package's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Arguments for cargo
    #[arg(last = true, value_name = "CARGO ARGS")]
    cargo: Vec<String>,
    /// Print one JSON object a module
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &BuildArgs) -> anyhow::Result<Exit> {
    let manifest = args.dir.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(usage(format!(
            "{} is not there; name the folder of a package, or start one with `adit new`",
            manifest.display()
        )));
    }
    let paths = build(&Compiler::find(&args.dir)?, args)?;
    if paths.is_empty() {
        bail!("{} has no binary; a guest needs a src/main.rs", args.dir.display());
    }
    for path in paths {
        let module = Module::read(path)?;
        if args.json {
            print_json(&module)?;
        } else {
            module.show()?;
        }
    }
    Ok(Exit::Success)
}

/// Runs cargo and returns the modules that it made.
fn build(compiler: &Compiler, args: &BuildArgs) -> anyhow::Result<Vec<PathBuf>> {
    let mut command = Command::new("cargo");
    command.current_dir(&args.dir).args(["build", "--release", "--target", TARGET]);
    command.args(["--message-format", "json-render-diagnostics"]);
    compiler.prepare(&mut command);
    let output =
        command.args(&args.cargo).stderr(Stdio::inherit()).output().context("cargo does not start; is Rust installed?")?;
    if !output.status.success() {
        bail!("cargo did not build it; mend what it says above");
    }
    Ok(modules_of(&String::from_utf8_lossy(&output.stdout)))
}

/// The modules that cargo's messages name, one JSON object a line.
fn modules_of(messages: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let made = messages.filter(|m| m["reason"] == "compiler-artifact" && m["target"]["kind"][0] == "bin");
    made.filter_map(|m| {
        m["filenames"].as_array()?.iter().filter_map(|f| f.as_str()).find(|f| f.ends_with(".wasm")).map(PathBuf::from)
    })
    .collect()
}

/// What compiles guests.
#[derive(Debug)]
enum Compiler {
    /// The toolchain's own target.
    Rustup,
    /// Debian's rustc, and the linker of the toolchain where it has one.
    Debian { rustc: PathBuf, linker: Option<PathBuf> },
}

impl Compiler {
    fn find(dir: &Path) -> anyhow::Result<Self> {
        if has_target(dir) {
            return Ok(Self::Rustup);
        }
        if let Some(debian) = Self::debian(dir) {
            return Ok(debian);
        }
        show_note(format!("$ rustup target add {TARGET}"));
        let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(dir).stdin(Stdio::null()).status();
        if added.is_ok_and(|status| status.success()) && has_target(dir) {
            return Ok(Self::Rustup);
        }
        bail!(
            "nothing here compiles to {TARGET}; run `rustup target add {TARGET}`, or on Debian 12 or later `apt-get install {}`",
            DEBIAN_PACKAGES.join(" ")
        )
    }

    fn debian(dir: &Path) -> Option<Self> {
        let files = stdout(Command::new("dpkg-query").args(["-L", DEBIAN_PACKAGES[0]]))?;
        let rustc = files.lines().map(PathBuf::from).find(|path| path.ends_with("bin/rustc") && path.is_file())?;
        let sysroot = PathBuf::from(stdout(Command::new(&rustc).args(["--print", "sysroot"]).env_remove("LD_LIBRARY_PATH"))?);
        let needed = [sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml"), Path::new(WASI_LIBC).join("crt1-command.o")];
        needed.iter().all(|path| path.is_file()).then(|| Self::Debian { rustc, linker: toolchain_linker(dir) })
    }

    /// Sets up cargo.
    fn prepare(&self, command: &mut Command) {
        let Self::Debian { rustc, linker } = self else { return };
        // Debian's rustc ships neither start files nor a C library for wasm.
        let flags = [
            "-Clink-self-contained=no",
            &format!("-Clink-arg=-L{WASI_LIBC}"),
            &format!("-Clink-arg={WASI_LIBC}/crt1-command.o"),
            "-Clink-arg=-lc",
        ];
        command
            .arg("-Zbuild-std=std,panic_abort")
            // `-Z` is for nightly compilers; this opens it on a stable one, for this command alone.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", rustc)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env_remove("LD_LIBRARY_PATH");
        if let Some(linker) = linker {
            command.env("CARGO_TARGET_WASM32_WASIP1_LINKER", linker);
        }
    }
}

/// Whether the toolchain that is used in `dir` has the target's standard library.
fn has_target(dir: &Path) -> bool {
    let folder = stdout(Command::new("rustc").current_dir(dir).args(["--print", "target-libdir", "--target", TARGET]));
    let Some(entries) = folder.and_then(|folder| std::fs::read_dir(folder).ok()) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

/// `rust-lld` of the toolchain that is used in `dir`, which has one for wasm; Debian's rustc looks for its own without it.
fn toolchain_linker(dir: &Path) -> Option<PathBuf> {
    let print = |what| stdout(Command::new("rustc").current_dir(dir).args(["--print", what]));
    let linker = PathBuf::from(print("sysroot")?).join("lib/rustlib").join(print("host-tuple")?).join("bin/rust-lld");
    linker.is_file().then_some(linker)
}

/// What `command` writes, where it runs and succeeds.
fn stdout(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// A module that was built.
#[derive(Debug, Serialize)]
struct Module {
    path: String,
    bytes: u64,
    digest: String,
    /// Each as module and name.
    imports: Vec<[String; 2]>,
}

impl Module {
    fn read(path: PathBuf) -> anyhow::Result<Self> {
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let imports = imports(&bytes).with_context(|| format!("{} is no module", path.display()))?;
        let digest = adit_protocol::Digest::of(&bytes).to_string();
        Ok(Self { path: path.display().to_string(), bytes: bytes.len() as u64, digest, imports })
    }

    fn show(&self) -> anyhow::Result<()> {
        print_line(&format!("{} ({})", self.path, show_bytes(ByteCount(self.bytes))))?;
        let mut rest = &self.imports[..];
        while let Some([module, _]) = rest.first() {
            let group = rest.iter().take_while(|[m, _]| m == module).count();
            let names: Vec<&str> = rest[..group].iter().map(|[_, name]| name.as_str()).collect();
            print_line(&visible(&format!("  imports {module}: {}", names.join(", "))))?;
            rest = &rest[group..];
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_read_from_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"kind":["lib"]},"filenames":["/t/libx.rlib"]}
{"reason":"compiler-artifact","target":{"kind":["bin"]},"filenames":["/t/hello.wasm"]}
{"reason":"build-finished","success":true}
not json"#;
        assert_eq!(modules_of(messages), [PathBuf::from("/t/hello.wasm")]);
    }

    #[test]
    fn imports_are_read_from_the_module() {
        // Header; type section with one `() -> ()`; import section with `a.f` and `b.g` of that type.
        let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0d\x02\x01b\x01g\0\0\x01a\x01f\0\0";
        assert_eq!(imports(module).unwrap(), [["a", "f"], ["b", "g"]].map(|i| i.map(str::to_owned)));
        assert!(imports(b"not wasm").is_err());
    }
}
