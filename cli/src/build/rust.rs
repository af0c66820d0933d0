//! Guests in Rust: cargo, and a compiler with the standard library of the target.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::sysroot::sysroot;
use super::{Order, is_recent, stdout};
use crate::screen::show_note;

pub(super) const TARGET: &str = "wasm32-wasip1";
/// Debian's second rustc, whose standard library it builds from source, and the C library below that.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "libstd-rust-web-dev", "rust-web-src", "wasi-libc"];
/// The oldest Rust that the guest SDK compiles with.
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");
/// Where Debian's wasi-libc is.
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";
/// The features that make guests fast: SIMD a matrix product 3.6 times, wide arithmetic a signature's check 6.6 times.
const FEATURES: &str = "-Ctarget-feature=+simd128,+wide-arithmetic";

/// How a module is optimised where its package does not say otherwise: the keys of `[profile.release]`. Fuel is what a job costs, and a
/// guest has nothing to unwind to.
const PROFILE: [(&str, &str); 4] = [("opt-level", "3"), ("lto", "true"), ("codegen-units", "1"), ("panic", "abort")];

/// What compiles guests.
#[derive(Debug)]
pub(super) enum Compiler {
    /// The toolchain's own target.
    Rustup,
    /// Debian's rustc, and the linker of the toolchain where it has one.
    Debian { rustc: PathBuf, linker: Option<PathBuf> },
}

impl Compiler {
    pub(super) fn find(dir: &Path) -> anyhow::Result<Self> {
        if stdout(Command::new("cargo").arg("--version")).is_none() {
            bail!("cargo does not start; install Rust, as https://rustup.rs says, and then `rustup target add {TARGET}`");
        }
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
            "nothing here compiles to {TARGET}; run `rustup target add {TARGET}`, or on Debian 12 or later `apt-get install {}`, of version \
             {RUST_VERSION} or later",
            DEBIAN_PACKAGES.join(" ")
        )
    }

    fn debian(dir: &Path) -> Option<Self> {
        let files = stdout(Command::new("dpkg-query").args(["-L", DEBIAN_PACKAGES[0]]))?;
        let rustc = files.lines().map(PathBuf::from).find(|path| path.ends_with("bin/rustc") && path.is_file())?;
        let version = stdout(Command::new(&rustc).arg("--version").env_remove("LD_LIBRARY_PATH"))?;
        if !is_recent(version.strip_prefix("rustc ")?, RUST_VERSION) {
            return None;
        }
        let sysroot = PathBuf::from(stdout(Command::new(&rustc).args(["--print", "sysroot"]).env_remove("LD_LIBRARY_PATH"))?);
        let needed = [sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml"), Path::new(WASI_LIBC).join("crt1-command.o")];
        needed.iter().all(|path| path.is_file()).then(|| Self::Debian { rustc, linker: toolchain_linker(dir) })
    }

    /// Runs cargo and returns the modules that it made.
    pub(super) fn build(&self, order: Order<'_>) -> anyhow::Result<Vec<PathBuf>> {
        let package = Package::of(order.dir)?;
        let mut command = Command::new("cargo");
        command.current_dir(order.dir).args(["build", "--release", "--target", TARGET]);
        command.args(["--message-format", "json-render-diagnostics"]);
        for (key, value) in PROFILE.iter().filter(|(key, _)| !package.release_keys.iter().any(|said| said == key)) {
            command.env(format!("CARGO_PROFILE_RELEASE_{}", key.to_uppercase().replace('-', "_")), value);
        }
        let library = self.library(order)?;
        let flags = self.rustflags(order, &package, library.as_deref());
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}".as_ref()));
        self.prepare(&mut command);
        let output = command.args(order.compiler).stderr(Stdio::inherit()).output().context("cargo does not start")?;
        if !output.status.success() {
            bail!("cargo did not build it; mend what it says above");
        }
        Ok(modules_of(&String::from_utf8_lossy(&output.stdout)))
    }

    /// The folder with the target's standard library, where the compiler has none.
    fn library(&self, order: Order<'_>) -> anyhow::Result<Option<PathBuf>> {
        match self {
            Self::Rustup => Ok(None),
            Self::Debian { rustc, .. } => sysroot(rustc, order.features()).map(Some),
        }
    }

    fn rustflags(&self, order: Order<'_>, package: &Package, library: Option<&Path>) -> Vec<OsString> {
        let mut flags: Vec<OsString> = order.features().map(OsString::from).into_iter().collect();
        // Paths end up in panic messages, and so in the module's digest, by which nodes know it; it should not depend on who built it where.
        flags.extend(package.workspace.iter().map(|folder| remap(folder, "/guest")));
        flags.extend(remap_cargo());
        if let Some(library) = library {
            let mut sysroot = OsString::from("--sysroot=");
            sysroot.push(library);
            flags.push(sysroot);
            // Debian's rustc ships neither start files nor a C library for wasm.
            let (library, start) = (format!("-Clink-arg=-L{WASI_LIBC}"), format!("-Clink-arg={WASI_LIBC}/crt1-command.o"));
            flags.extend(["-Clink-self-contained=no", &library, &start, "-Clink-arg=-lc"].map(OsString::from));
        }
        // What the user asks of every build comes last, and so has the last word.
        let asked = std::env::var("RUSTFLAGS").unwrap_or_default();
        flags.extend(asked.split_whitespace().map(OsString::from));
        flags
    }

    /// Sets up cargo.
    fn prepare(&self, command: &mut Command) {
        let Self::Debian { rustc, linker } = self else { return };
        command.env("RUSTC", rustc).env_remove("LD_LIBRARY_PATH");
        if let Some(linker) = linker {
            command.env("CARGO_TARGET_WASM32_WASIP1_LINKER", linker);
        }
    }
}

impl Order<'_> {
    fn features(&self) -> Option<&'static str> {
        (!self.portable).then_some(FEATURES)
    }
}

/// What matters here of a package.
#[derive(Debug, Default, PartialEq, Eq)]
struct Package {
    /// The folder of its workspace, which is its own where it stands alone.
    workspace: Option<PathBuf>,
    /// The keys of `[profile.release]` there.
    release_keys: Vec<String>,
}

impl Package {
    fn of(dir: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("cargo");
        command.current_dir(dir).args(["metadata", "--no-deps", "--format-version", "1"]);
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cargo does not start")?;
        if !output.status.success() {
            bail!("cargo cannot read {}; mend what it says above", dir.join("Cargo.toml").display());
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).context("`cargo metadata` wrote no JSON")?;
        let Some(workspace) = metadata["workspace_root"].as_str().map(PathBuf::from) else { return Ok(Self::default()) };
        let manifest = std::fs::read_to_string(workspace.join("Cargo.toml")).unwrap_or_default();
        Ok(Self { workspace: Some(workspace), release_keys: release_keys(&manifest) })
    }
}

/// The keys of a manifest's `[profile.release]`.
fn release_keys(manifest: &str) -> Vec<String> {
    let Ok(manifest) = manifest.parse::<toml::Table>() else { return Vec::new() };
    let release = manifest.get("profile").and_then(|profile| profile.get("release")).and_then(toml::Value::as_table);
    release.map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

/// The modules that cargo's messages name, one JSON object a line.
fn modules_of(messages: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let made = messages.filter(|m| m["reason"] == "compiler-artifact" && m["target"]["kind"][0] == "bin");
    made.filter_map(|m| {
        m["filenames"].as_array()?.iter().filter_map(|f| f.as_str()).find(|f| f.ends_with(".wasm")).map(PathBuf::from)
    })
    .collect()
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

fn cargo_home() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

/// Has no path of this machine's packages stand in what is built.
pub(super) fn remap_cargo() -> Option<OsString> {
    cargo_home().map(|folder| remap(&folder, "/cargo"))
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
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
    fn what_a_package_says_of_its_release_profile_is_known() {
        assert_eq!(release_keys("[profile.release]\nlto = \"thin\"\nopt-level = \"s\""), ["lto", "opt-level"]);
        assert!(release_keys("[package]\nname = \"x\"\n[profile.dev]\nlto = true").is_empty());
        assert!(release_keys("no = [").is_empty());
    }

    #[test]
    fn features_come_first_and_what_the_user_asks_for_may_take_them_back() {
        let order = |portable| Order { dir: Path::new("."), portable, compiler: &[] };
        let package = Package { workspace: Some("/home/me/job".into()), release_keys: Vec::new() };
        let flags = Compiler::Rustup.rustflags(order(false), &package, None);
        assert_eq!(flags[0], FEATURES);
        assert!(flags.contains(&"--remap-path-prefix=/home/me/job=/guest".into()), "{flags:?}");
        assert!(!Compiler::Rustup.rustflags(order(true), &package, None).iter().any(|flag| flag == FEATURES));
    }
}
