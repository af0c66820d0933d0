//! What compiles guests to `wasm32-wasip1`: found, or installed, and put to work.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::process::{self, say};
use crate::templates;
use crate::workspace::{Guest, Workspace};

const TARGET: &str = "wasm32-wasip1";
/// The cargo profile that guests are built with.
pub(crate) const PROFILE: &str = "guest";
/// How long rustup may take to fetch the target's 25 MB standard library, before Debian's packages are tried.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// Debian's way: a second rustc with the standard library's source, and the C library that it stands on. Their versions belong
/// together, whatever the version of the host's toolchain.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "libstd-rust-web-dev", "rust-web-src", "wasi-libc"];
/// Where Debian's wasi-libc is.
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";

/// The oldest rustc that compiles the guests.
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");

/// What compiles guests.
#[derive(Debug, PartialEq, Eq)]
enum Compiler {
    /// The workspace's own toolchain with the standard library that rustup fetched.
    Rustup,
    /// Debian's rustc, which builds the standard library from source beside the guests.
    Debian {
        /// Debian's rustc; never the one of rustup.
        rustc: PathBuf,
        /// The linker of the workspace's own toolchain, which has one for wasm; Debian's rustc looks for its own without it.
        linker: Option<PathBuf>,
    },
}

/// Which compilers may be used: `ADIT_WASM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Any,
    Rustup,
    Debian,
}

/// Finds or installs the compiler, and says which it is.
pub(crate) fn set_up(workspace: &Workspace) -> Result<()> {
    let compiler = Compiler::find_or_install(workspace)?;
    say(format!("guests are compiled with {}", compiler.describe()));
    Ok(())
}

/// Compiles every guest and returns the folder with the modules.
pub(crate) fn build_guests(workspace: &Workspace) -> Result<PathBuf> {
    if workspace.guests.is_empty() {
        bail!("no package of the workspace says `guest = true` under [package.metadata.adit]; next: `git status`");
    }
    let compiler = Compiler::find_or_install(workspace)?;
    let names: Vec<&str> = workspace.guests.iter().map(|guest| guest.package.as_str()).collect();
    say(format!("building the guests {} with {}", names.join(", "), compiler.describe()));
    for guest in &workspace.guests {
        let together: Vec<&Guest> = workspace.built_with(guest).collect();
        // Each build is made once, at the first of its guests.
        if together.first() == Some(&guest) {
            compiler.build(workspace, &together)?;
        }
    }
    collect_modules(workspace)
}

/// Compiles the templates of `adit new`, and puts their modules beside the guests.
pub(crate) fn build_templates(workspace: &Workspace) -> Result<()> {
    std::fs::create_dir_all(workspace.guest_folder()).context("cannot make the guests' folder")?;
    let folder = templates::rust_package(workspace)?;
    Compiler::find_or_install(workspace)?.build_template(workspace, &folder)?;
    templates::build(workspace)
}

impl Compiler {
    /// The compiler that is there, or else the first that can be installed.
    fn find_or_install(workspace: &Workspace) -> Result<Self> {
        let choice = Choice::from_env()?;
        if let Some(found) = Self::find(workspace, choice) {
            return Ok(found);
        }
        if choice.allows_rustup() && add_rustup_target(workspace, TARGET) {
            return Ok(Self::Rustup);
        }
        if choice.allows_debian() && apt::is_here() {
            install_debian_packages()?;
            return find_debian(workspace)
                .with_context(|| format!("Debian's packages are installed, yet incomplete or older than rustc {RUST_VERSION}; next: `apt-get update`, and reinstall them"));
        }
        bail!(
            "nothing here compiles to {TARGET}; next: run `rustup target add {TARGET}` where rustup can fetch it, or on Debian 12 \
             or later `apt-get install {}`, and then this again",
            DEBIAN_PACKAGES.join(" ")
        );
    }

    fn find(workspace: &Workspace, choice: Choice) -> Option<Self> {
        if choice.allows_rustup() && has_rustup_target(workspace, TARGET) {
            return Some(Self::Rustup);
        }
        choice.allows_debian().then(|| find_debian(workspace)).flatten()
    }

    fn describe(&self) -> String {
        match self {
            Self::Rustup => format!("the toolchain's own {TARGET}"),
            Self::Debian { rustc, .. } => format!("Debian's {}", rustc.display()),
        }
    }

    /// Builds guests that can be built together.
    fn build(&self, workspace: &Workspace, guests: &[&Guest]) -> Result<()> {
        let Some(first) = guests.first() else { return Ok(()) };
        let mut command = self.cargo_build(workspace, first);
        for guest in guests {
            command.args(["-p", &guest.package]);
        }
        process::run(&mut command, "mend what the compiler says, or `cargo xtask setup` where it misses a target or a library")
    }

    /// Builds the package of the template in Rust, beside the guests, whose standard library it shares.
    fn build_template(&self, workspace: &Workspace, folder: &Path) -> Result<()> {
        let name = "template-rust".to_owned();
        let guest = Guest { package: name.clone(), bins: vec![name.clone()], rustflags: Vec::new(), is_no_std: false };
        let mut command = self.cargo_build(workspace, &guest);
        // The workspace's own profile of that name, which a package outside of it does not have.
        for setting in ["inherits='release'", "debug=false", "strip='debuginfo'"] {
            command.arg("--config").arg(format!("profile.{PROFILE}.{setting}"));
        }
        process::run(command.current_dir(folder), "mend the template in cli/templates/rust")?;
        let file = format!("{name}.wasm");
        let built = build_folder(workspace, &guest).join(TARGET).join(PROFILE).join(&file);
        std::fs::copy(&built, workspace.guest_folder().join(&file))
            .with_context(|| format!("{} was not built", built.display()))?;
        Ok(())
    }

    /// The command that builds for wasm, with the flags of `guest`; the caller adds the packages.
    fn cargo_build(&self, workspace: &Workspace, guest: &Guest) -> Command {
        let mut command = workspace.cargo();
        command
            .args(["build", "--profile", PROFILE, "--target", TARGET])
            // A folder of its own: the flags differ from the host's, and neither build waits for the other's lock.
            .env("CARGO_TARGET_DIR", build_folder(workspace, guest))
            .env("CARGO_ENCODED_RUSTFLAGS", join_flags(self.rustflags(workspace, guest)))
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "");
        if let Self::Debian { rustc, linker } = self {
            command
                .arg(if guest.is_no_std { "-Zbuild-std=core,alloc" } else { "-Zbuild-std=std,panic_abort" })
                // `-Z` is for nightly compilers; this opens it on a stable one, for this command alone.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", rustc)
                // Set by `cargo run` for the host's toolchain, and wrong for another.
                .env_remove("LD_LIBRARY_PATH");
            if let Some(linker) = linker {
                command.env("CARGO_TARGET_WASM32_WASIP1_LINKER", linker);
            }
        }
        command
    }

    fn rustflags(&self, workspace: &Workspace, guest: &Guest) -> Vec<OsString> {
        let mut flags: Vec<OsString> = vec!["-Ctarget-feature=+simd128".into()];
        flags.extend(guest.rustflags.iter().map(OsString::from));
        // Paths end up in panic messages, and so in the module's digest, which should not depend on who built it where.
        flags.push(remap(&workspace.root, "/adit"));
        if let Some(home) = cargo_home() {
            flags.push(remap(&home, "/cargo"));
        }
        if matches!(self, Self::Debian { .. }) {
            // Debian's rustc ships neither start files nor a C library for wasm.
            flags.extend(
                [
                    "-Clink-self-contained=no",
                    &format!("-Clink-arg=-L{WASI_LIBC}"),
                    &format!("-Clink-arg={WASI_LIBC}/crt1-command.o"),
                ]
                .map(OsString::from),
            );
            flags.push("-Clink-arg=-lc".into());
        }
        flags
    }
}

impl Choice {
    fn from_env() -> Result<Self> {
        match std::env::var("ADIT_WASM").as_deref() {
            Err(_) | Ok("") => Ok(Self::Any),
            Ok("rustup") => Ok(Self::Rustup),
            Ok("debian") => Ok(Self::Debian),
            Ok(other) => bail!("ADIT_WASM is `{other}`; next: set it to `rustup` or `debian`, or unset it"),
        }
    }

    fn allows_rustup(self) -> bool {
        self != Self::Debian
    }

    fn allows_debian(self) -> bool {
        self != Self::Rustup
    }
}

/// Whether the workspace's toolchain has a target's standard library.
pub(crate) fn has_rustup_target(workspace: &Workspace, target: &str) -> bool {
    let Some(folder) = rustc_prints(workspace, &["target-libdir", "--target", target]) else { return false };
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// Has rustup fetch a target's standard library, and says whether it is there.
pub(crate) fn add_rustup_target(workspace: &Workspace, target: &str) -> bool {
    say(format!("$ rustup target add {target}   (at most {} s)", RUSTUP_LIMIT.as_secs()));
    let mut command = Command::new("rustup");
    let output = process::output_within(command.args(["target", "add", target]).current_dir(&workspace.root), RUSTUP_LIMIT);
    if output.as_ref().is_some_and(|output| output.status.success()) && has_rustup_target(workspace, target) {
        return true;
    }
    let stderr = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    let why = stderr.lines().rfind(|line| line.starts_with("error")).unwrap_or("no rustup, or no answer in time").to_owned();
    say(format!("rustup cannot add it ({why})"));
    false
}

fn find_debian(workspace: &Workspace) -> Option<Compiler> {
    let rustc = debian_rustc()?;
    let sysroot =
        PathBuf::from(process::stdout(Command::new(&rustc).args(["--print", "sysroot"]).env_remove("LD_LIBRARY_PATH"))?);
    let needed = [sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml"), Path::new(WASI_LIBC).join("crt1-command.o")];
    let complete = missing_debian_packages().is_empty() && needed.iter().all(|path| path.is_file());
    complete.then(|| Compiler::Debian { rustc, linker: toolchain_linker(workspace) })
}

/// Debian's rustc for wasm, unless it is too old for the guests.
fn debian_rustc() -> Option<PathBuf> {
    let files = process::stdout(Command::new("dpkg-query").args(["-L", DEBIAN_PACKAGES[0]]))?;
    let rustc = files.lines().map(PathBuf::from).find(|path| path.ends_with("bin/rustc") && path.is_file())?;
    let version = process::stdout(Command::new(&rustc).arg("--version").env_remove("LD_LIBRARY_PATH"))?;
    is_recent(version.strip_prefix("rustc ")?, RUST_VERSION).then_some(rustc)
}

/// Whether a version is `least` or later, by its first two numbers.
fn is_recent(version: &str, least: &str) -> bool {
    let numbers = |version: &str| version.split('.').take(2).map(|number| number.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
    numbers(version) >= numbers(least)
}

/// `rust-lld` of the workspace's own toolchain.
fn toolchain_linker(workspace: &Workspace) -> Option<PathBuf> {
    let sysroot = PathBuf::from(rustc_prints(workspace, &["sysroot"])?);
    let host = rustc_prints(workspace, &["host-tuple"])?;
    let linker = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
    linker.is_file().then_some(linker)
}

fn missing_debian_packages() -> Vec<&'static str> {
    // Their versions belong together, so where the compiler is too old all of them are asked for anew.
    let is_old = debian_rustc().is_none();
    DEBIAN_PACKAGES.into_iter().filter(|package| is_old || !apt::has(package)).collect()
}

fn install_debian_packages() -> Result<()> {
    let next = "see what apt-get says; rustc-web takes the place of the package rustc, which has to be removed first";
    apt::install(&missing_debian_packages(), "guests", next)
}

/// Copies each module to its place, where it is not there already, and says how large it is.
fn collect_modules(workspace: &Workspace) -> Result<PathBuf> {
    let to = workspace.guest_folder();
    std::fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    for (guest, bin) in workspace.guests.iter().flat_map(|guest| guest.bins.iter().map(move |bin| (guest, bin))) {
        let file = format!("{bin}.wasm");
        let from = build_folder(workspace, guest).join(TARGET).join(PROFILE);
        let mut built = std::fs::read(from.join(&file)).with_context(|| format!("{file} was not built"))?;
        // As `adit build` does: LLVM's code for wide arithmetic is wrong in places.
        let mended = adit_repair::repair(&mut built).with_context(|| file.clone())?;
        let place = to.join(&file);
        if std::fs::read(&place).ok().as_ref() != Some(&built) {
            std::fs::write(&place, &built).with_context(|| format!("cannot write {}", place.display()))?;
        }
        let mended = if mended > 0 { format!(", mended in {mended} places") } else { String::new() };
        say(format!("{} ({:.1} KiB{mended})", place.display(), built.len() as f64 / 1024.0));
    }
    Ok(to)
}

/// Where `guest` is built. One that is built alone has a folder of its own, so that no build undoes another's.
fn build_folder(workspace: &Workspace, guest: &Guest) -> PathBuf {
    let folder = workspace.target.join("guests-build");
    match workspace.built_with(guest).next() {
        Some(first) if guest.is_special() => folder.join(&first.package),
        _ => folder,
    }
}

fn rustc_prints(workspace: &Workspace, what: &[&str]) -> Option<String> {
    process::stdout(Command::new("rustc").current_dir(&workspace.root).arg("--print").args(what))
}

fn cargo_home() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

/// One string of flags as cargo reads it: unlike `RUSTFLAGS`, this holds paths with spaces.
fn join_flags(flags: Vec<OsString>) -> OsString {
    flags.join("\u{1f}".as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_told_apart_by_their_age() {
        let recent = ["1.95.0 (59807616e 2026-04-14)", "1.100.0", "2.0.1"];
        let old = ["1.85.0", "0.99.1", "?"];
        assert!(recent.iter().all(|version| is_recent(version, "1.95")));
        assert!(!old.iter().any(|version| is_recent(version, "1.95")));
        assert!(is_recent(RUST_VERSION, RUST_VERSION));
    }
}
