//! `adit build`: a guest's source to a module, in the language that its folder is written in.

mod rust;
mod sysroot;
mod zig;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use self::rust::Compiler;
use self::zig::{Source, Zig};
use crate::exit::{Exit, usage};
use crate::module::Summary;
use crate::table::print_json;

/// Compile a guest in Rust, C or Zig for speed; prints the modules' paths, sizes, imports and what they may do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit build                     # the package in this folder
  adit build hello -- --features fast
  adit run $(adit build --json | jq -r .path) --local

A folder with a Cargo.toml is Rust: it takes the toolchain's own target, which it adds by `rustup target add` where that is possible, or else
Debian's rustc-web. One with a build.zig, or a main.zig or main.c in it or in its src/, is Zig or C: it takes `zig`, or PyPI's `ziglang`.
Modules are optimised for speed: opt-level 3, link-time optimisation, one codegen unit, no unwinding, and the target features simd128 and
wide-arithmetic; a `[profile.release]` in the package's Cargo.toml that says otherwise is kept.")]
pub(crate) struct BuildArgs {
    /// The package's folder
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Leave out the target features simd128 and wide-arithmetic, for engines elsewhere that lack them
    #[arg(long)]
    pub(crate) portable: bool,
    /// Arguments for the compiler: cargo, `zig cc`, `zig build-exe` or `zig build`
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) compiler: Vec<String>,
    /// Print one JSON object a module
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &BuildArgs) -> anyhow::Result<Exit> {
    let order = Order { dir: &args.dir, portable: args.portable, compiler: &args.compiler };
    for path in build(order)? {
        let module = Built::read(&path)?;
        if args.json {
            print_json(&module)?;
        } else {
            module.summary.show(&module.path)?;
        }
    }
    Ok(Exit::Success)
}

/// What is to be built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) dir: &'a Path,
    /// Whether to do without target features that not every engine has.
    pub(crate) portable: bool,
    /// What the compiler is told beside.
    pub(crate) compiler: &'a [String],
}

/// Builds what is in a folder; the modules that came of it, one at least.
///
/// # Errors
/// Where the folder holds nothing that is known here, where the toolchain is missing, with how to install it, and where it fails, which it
/// has said itself by then.
pub(crate) fn build(order: Order<'_>) -> anyhow::Result<Vec<PathBuf>> {
    let dir = order.dir;
    let modules = if dir.join("Cargo.toml").is_file() {
        Compiler::find(dir)?.build(order)?
    } else {
        let source = Source::find(dir).ok_or_else(|| {
            usage(format!(
                "{} has no Cargo.toml, build.zig, main.zig or main.c, nor a src/ with one; name a guest's folder, or start one with `adit new`",
                dir.display()
            ))
        })?;
        Zig::find()?.build(&source, order)?
    };
    if modules.is_empty() {
        bail!("{} has no binary; a guest is a command, with a main function", dir.display());
    }
    modules.iter().try_for_each(|module| mend(module))?;
    Ok(modules)
}

/// Mends in a module what compilers get wrong under wide arithmetic.
fn mend(module: &Path) -> anyhow::Result<()> {
    let place = || module.display().to_string();
    let mut bytes = std::fs::read(module).with_context(place)?;
    if adit_repair::repair(&mut bytes).with_context(place)? > 0 {
        std::fs::write(module, bytes).with_context(place)?;
    }
    Ok(())
}

/// A module that was built.
#[derive(Debug, Serialize)]
struct Built {
    path: String,
    #[serde(flatten)]
    summary: Summary,
}

impl Built {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let summary = Summary::read(&bytes).with_context(|| format!("{} is no module", path.display()))?;
        Ok(Self { path: path.display().to_string(), summary })
    }
}

/// Whether a version is `least` or later, by its first two numbers.
fn is_recent(version: &str, least: &str) -> bool {
    let numbers = |version: &str| version.split('.').take(2).map(|number| number.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
    numbers(version) >= numbers(least)
}

/// What `command` writes, where it runs and succeeds.
fn stdout(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, least, recent) in [
            ("0.17.1", "0.17", true),
            ("0.17.0-dev.12+ab", "0.17", true),
            ("1.0.0", "0.17", true),
            ("0.9.1", "0.17", false),
            ("0.16.2", "0.17", false),
            ("1.96.0 (59807616e 2026-04-14) (built from a source tarball)", "1.95", true),
            ("1.63.0", "1.95", false),
            ("unknown", "0.17", false),
        ] {
            assert_eq!(is_recent(version, least), recent, "{version}");
        }
    }
}
