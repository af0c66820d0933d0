//! The templates of `adit new`, built as guests: `target/guests/template-LANGUAGE.wasm`. What `adit build` itself makes of them, the tests
//! of `adit-cli` try. Beside them the example in C that computes on a GPU.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{self, say};
use crate::python::Package;
use crate::workspace::Workspace;

/// The compiler for C and Zig.
const ZIG: Package = Package { name: "ziglang", version: "0.17.1", folder: "ziglang" };
/// Where it keeps the C library that it builds once. Tests use it too.
const ZIG_CACHE: &str = "zig-cache";
/// As `adit build` has it.
const CPU: &str = "-mcpu=generic+simd128+wide_arithmetic";

/// Builds those in C and Zig, with their tests, which run natively.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let zig = Zig { library: ZIG.install(workspace)?, cache: workspace.target.join(ZIG_CACHE) };
    let c = workspace.root.join("cli/templates/c");
    let main_zig = zig_source(workspace)?;
    let module = |language: &str| workspace.guest_folder().join(format!("template-{language}.wasm"));
    say("building the templates in C and Zig, and their tests");
    let native = workspace.target.join("template-c-test");
    let next = "mend the template in cli/templates";
    let mut test = zig.command();
    test.args(["cc", "-Werror", "-Wall", "-Wextra", "-o"]).arg(&native);
    process::run(test.args([c.join("test/shout.c"), c.join("src/shout.c")]), next)?;
    process::run(&mut Command::new(native), next)?;
    process::run(zig.command().arg("test").arg(&main_zig), next)?;
    let guest = |module: &Path, sources: Vec<PathBuf>| {
        let mut cc = zig.command();
        cc.args(["cc", "--target=wasm32-wasi", "-O3", "-flto", "-DNDEBUG", "-Werror", "-Wall", "-Wextra", CPU, "-o"]);
        cc.arg(module).arg(format!("-I{}", workspace.root.join("guest-sdk").display())).args(sources);
        process::run(&mut cc, "mend it, or `guest-sdk/adit.h`")
    };
    guest(&module("c"), sources(&c.join("src"))?)?;
    guest(&workspace.guest_folder().join("doubles-c.wasm"), vec![workspace.root.join("examples/gpu/c/doubles.c")])?;
    let mut exe = zig.command();
    exe.arg("build-exe").arg(&main_zig).args(["-target", "wasm32-wasi", "-O", "ReleaseFast", CPU]);
    process::run(exe.arg(format!("-femit-bin={}", module("zig").display())), next)
}

/// The package that the template in Rust makes, in a folder of its own; it is a guest like others.
pub(crate) fn rust_package(workspace: &Workspace) -> Result<PathBuf> {
    let template = workspace.root.join("cli/templates/rust");
    let folder = workspace.target.join("template-rust");
    let manifest = std::fs::read_to_string(template.join("Cargo.toml.in")).context("the template's Cargo.toml.in")?;
    let sdk = format!("adit-guest = {{ path = {:?} }}", workspace.root.join("guest-sdk").display().to_string());
    let manifest = manifest.replace("{{name}}", "template-rust").replace("{{sdk}}", &sdk);
    write(&folder.join("Cargo.toml"), manifest.as_bytes())?;
    write(&folder.join("src/main.rs"), &std::fs::read(template.join("src/main.rs"))?)?;
    if !folder.join("Cargo.lock").is_file() {
        std::fs::copy(workspace.root.join("Cargo.lock"), folder.join("Cargo.lock")).context("the lock file")?;
    }
    Ok(folder)
}

/// `main.zig` of the template in Zig, beside the interface that it imports, which is the SDK's.
fn zig_source(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("template-zig");
    for (from, to) in [("cli/templates/zig/src/main.zig", "main.zig"), ("guest-sdk/adit.zig", "adit.zig")] {
        let from = workspace.root.join(from);
        write(&folder.join(to), &std::fs::read(&from).with_context(|| from.display().to_string())?)?;
    }
    Ok(folder.join("main.zig"))
}

/// Writes a file. One that is the same is left alone, so that nothing is built twice.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::create_dir_all(path.parent().context("every file is in a folder")?)?;
    if std::fs::read(path).ok().as_deref() != Some(bytes) {
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

struct Zig {
    library: PathBuf,
    cache: PathBuf,
}

impl Zig {
    fn command(&self) -> Command {
        let mut command = Command::new("python3");
        command.args(["-m", "ziglang"]).env("PYTHONPATH", &self.library).env("ZIG_GLOBAL_CACHE_DIR", &self.cache);
        command.env("ZIG_LOCAL_CACHE_DIR", self.cache.join("local"));
        command
    }
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "c"));
    files.sort();
    Ok(files)
}
