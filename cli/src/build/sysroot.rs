//! Rust's standard library for guests, where the compiler comes without one: built from its source once, and kept for all packages.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use rustc_build_sysroot::SysrootBuilder;
use rustc_version::VersionMeta;

use super::rust::{TARGET, remap_cargo};
use crate::dirs::Dirs;
use crate::screen::show_note;

/// What the compiler takes for its own library, of `rustc`'s source and with `features`; made in a minute where it is not there yet.
pub(super) fn sysroot(rustc: &Path, features: Option<&str>) -> anyhow::Result<PathBuf> {
    let folder = Dirs::of_user()?.cache.join("rust").join(if features.is_some() { "fast" } else { "portable" });
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut cargo = Command::new("cargo");
    // The library is made of what is unstable outside of it; this opens that on a stable compiler, for this command alone.
    cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env_remove("LD_LIBRARY_PATH").arg("--quiet");
    let source = rustc_build_sysroot::rustc_sysroot_src(plain(rustc))?;
    let builder = SysrootBuilder::new(&folder, TARGET)
        .cargo(cargo)
        .rustc_version(VersionMeta::for_command(plain(rustc))?)
        // Modules are optimised as a whole, for which cargo leaves no bitcode here by itself.
        .rustflags(features.into_iter().chain(["-Cembed-bitcode=yes"]).map(OsString::from).chain(remap_cargo()))
        .when_build_required(|| {
            show_note("building Rust's standard library for guests, once for this compiler; it takes a minute")
        });
    builder.build_from_source(&source)?;
    Ok(folder)
}

/// The compiler as it is, whatever library path runs another toolchain.
fn plain(rustc: &Path) -> Command {
    let mut command = Command::new(rustc);
    command.env_remove("LD_LIBRARY_PATH");
    command
}
