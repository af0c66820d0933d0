//! What has the system refuse calls in tests, as a failing disk would: strace.

use std::process::Command;

use anyhow::{Context, Result};

use crate::apt;
use crate::process::{self, say};

/// The variable by which tests know that there is strace, so that they fail where they cannot use it. What it is set to already holds.
const VARIABLE: &str = "ADIT_STRACE";

/// Finds or installs strace, and says whether it is here. Tests of failing disks are left out where it is missing; so to be without it is
/// no failure, unless the variable asks for it.
pub(crate) fn set_up() -> Result<bool> {
    let is_installed = || process::succeeds(Command::new("strace").arg("-V"));
    if !is_installed() && apt::is_here() && rustix::process::geteuid().is_root() {
        apt::install(&["strace"], "tests of failing disks", "see what apt-get says")?;
    }
    let lacks = match is_installed() {
        false => "strace is not installed; every distribution has it in its package `strace`",
        true if !attaches()? => {
            "strace may not look at other processes; see /proc/sys/kernel/yama/ptrace_scope, or the container's rules"
        }
        true => {
            say("tests have strace, to let disks fail");
            return Ok(true);
        }
    };
    say(format!("tests of failing disks are left out: {lacks}"));
    Ok(false)
}

/// Whether strace may look at a process that it did not start: it ends well with one that it looks at.
fn attaches() -> Result<bool> {
    let mut looked_at = Command::new("sleep").arg("0.5").spawn().context("sleep cannot be started")?;
    let looks =
        process::succeeds(Command::new("strace").args(["--output", "/dev/null", "--attach"]).arg(looked_at.id().to_string()));
    looked_at.wait().context("sleep cannot be waited for")?;
    Ok(looks)
}

/// Has tests that cannot use strace fail, where it is here and nobody said otherwise.
pub(crate) fn promise(command: &mut Command, is_here: bool) {
    if is_here && std::env::var_os(VARIABLE).is_none() {
        command.env(VARIABLE, "1");
    }
}
