//! `cargo xtask cross`: the golden corpus and the hostile guests on another processor, under an emulator.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, say};
use crate::wasm;
use crate::workspace::Workspace;

/// A processor that is not this machine's.
#[derive(Debug)]
struct Target {
    /// As it is asked for.
    name: &'static str,
    /// As rustc calls it.
    triple: &'static str,
    /// As cargo's variables spell the triple.
    variable: &'static str,
    linker: &'static str,
    /// Where Debian puts its C library.
    root: &'static str,
    /// The emulator, by each of its names.
    emulators: [&'static str; 2],
    /// Debian's packages with all of that.
    packages: &'static str,
}

const TARGETS: [Target; 1] = [Target {
    name: "aarch64",
    triple: "aarch64-unknown-linux-gnu",
    variable: "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU",
    linker: "aarch64-linux-gnu-gcc",
    root: "/usr/aarch64-linux-gnu",
    emulators: ["qemu-aarch64-static", "qemu-aarch64"],
    packages: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static",
}];

/// What is run: the modules of the runtime's tests.
const TESTS: [&str; 3] = ["golden::", "engine::", "hostile::"];

/// Tests that are left out under the emulator, each with the reason.
const SKIPPED: &[(&str, &str)] = &[
    (
        "hostile::a_gibibyte_of_output_goes_through_a_small_worker",
        "the emulator takes minutes for it, and the worker's size is its own",
    ),
    ("hostile::calls_of_the_host_leave_nothing_behind", "what an emulated worker holds is the emulator's own"),
    ("hostile::death_of_a_worker_harms_nobody_else", "an emulated worker does not die of a SIGSYS that is sent to it"),
];

/// What does not hold for the tests that run there.
const LIMITS: &[&str] = &[
    "workers have neither seccomp nor Landlock, which QEMU does not emulate, so they run as with --allow-weak-sandbox",
    "how much memory a worker holds is not judged, because QEMU's own counts with it",
    "how soon a guest stops is not judged, because nothing is in time there; that it stops at its fuel is",
    "compiling has 300 s instead of 10 s, and jobs that are not about time have 300 s instead of 30 s",
];

/// Builds the runtime's tests and its worker for `target`, and runs them.
pub(crate) fn run(workspace: &Workspace, target: &str) -> Result<()> {
    let target = Target::named(target)?;
    let emulator = target.check_tools(workspace)?;
    let guests = wasm::build_guests(workspace)?;
    say(format!("building the runtime's tests for {}: some ten minutes, the first time", target.triple));
    process::run(target.cargo_test(workspace).arg("--no-run"), "mend what the compiler says")?;
    for limit in LIMITS {
        say(format!("under the emulator: {limit}"));
    }
    for (test, reason) in SKIPPED {
        say(format!("skipped: {test}: {reason}"));
    }
    let start = format!("{} -L {}", emulator.display(), target.root);
    let worker = target.write_worker(workspace, &start)?;
    let mut command = target.cargo_test(workspace);
    command
        .env(format!("{}_RUNNER", target.variable), start)
        .env("ADIT_GUESTS", guests)
        .env("ADIT_EMULATED_WORKER", worker)
        .arg("--")
        .args(TESTS)
        .args(SKIPPED.iter().flat_map(|(test, _)| ["--skip", test]));
    process::run(&mut command, "where a row of runtime/tests/golden.txt differs, find which of the two processors is right")
}

impl Target {
    fn named(name: &str) -> Result<&'static Self> {
        let known = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        let found = TARGETS.iter().find(|target| target.name == name);
        found.with_context(|| format!("`{name}` is not a processor that xtask knows; it knows {known}"))
    }

    /// Says in one line what to install where something is missing; returns the emulator.
    fn check_tools(&self, workspace: &Workspace) -> Result<PathBuf> {
        let mut steps = Vec::new();
        if !wasm::has_rustup_target(workspace, self.triple) && !wasm::add_rustup_target(workspace, self.triple) {
            steps.push(format!("rustup target add {}", self.triple));
        }
        let emulator = self.emulators.iter().find_map(|name| on_path(name));
        if on_path(self.linker).is_none() || !Path::new(self.root).is_dir() || emulator.is_none() {
            steps.push(format!("apt-get install -y {}", self.packages));
        }
        match emulator {
            Some(emulator) if steps.is_empty() => Ok(emulator),
            _ => bail!("tests for {} need a compiler and an emulator; next: {}", self.triple, steps.join(" && ")),
        }
    }

    /// The tests of the runtime, and of nothing else.
    fn cargo_test(&self, workspace: &Workspace) -> Command {
        let mut command = workspace.cargo();
        command.args(["test", "--target", self.triple, "--package", "adit-runtime", "--test", "it"]);
        command.env(format!("{}_LINKER", self.variable), self.linker);
        command
    }

    /// Writes the program that is started as a worker: the kernel alone would not start another processor's.
    fn write_worker(&self, workspace: &Workspace, start: &str) -> Result<PathBuf> {
        let folder = workspace.target.join(self.triple).join("debug");
        let path = folder.join("emulated-worker");
        let text = format!("#!/bin/sh\nexec {start} '{}' \"$@\"\n", folder.join("adit-worker").display());
        let written = fs::write(&path, text).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// A program of this name in a folder of PATH.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_exists() {
        let text = include_str!("../../runtime/tests/it/hostile.rs");
        for (test, _) in SKIPPED {
            let name = test.strip_prefix("hostile::").unwrap();
            assert!(text.contains(&format!("async fn {name}(")), "{test}");
        }
    }

    #[test]
    fn processors_are_known_by_name() {
        assert_eq!(Target::named("aarch64").unwrap().triple, "aarch64-unknown-linux-gnu");
        assert!(Target::named("riscv64").err().unwrap().to_string().contains("it knows aarch64"));
    }
}
