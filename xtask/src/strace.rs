//! What has the system refuse calls in tests, as a failing disk would: strace.

use std::process::Command;

use anyhow::Result;

use crate::apt;
use crate::process::{self, say};

/// The variable by which tests know that there is strace, so that they fail where they cannot use it. What it is set to already holds.
const VARIABLE: &str = "ADIT_STRACE";

/// Finds or installs strace, and says whether it is here. Tests of failing disks are left out where it is missing; so to be without it is
/// no failure, unless the variable asks for it.
pub(crate) fn set_up() -> Result<bool> {
    if process::succeeds(Command::new("strace").arg("-V")) {
        say("tests have strace, to let disks fail");
        return Ok(true);
    }
    if apt::is_here() && rustix::process::geteuid().is_root() {
        apt::install(&["strace"], "tests of failing disks", "see what apt-get says")?;
        return Ok(true);
    }
    say("tests of failing disks are left out: strace is not installed; every distribution has it in its package `strace`");
    Ok(false)
}

/// Has tests that cannot use strace fail, where it is here and nobody said otherwise.
pub(crate) fn promise(command: &mut Command, is_here: bool) {
    if is_here && std::env::var_os(VARIABLE).is_none() {
        command.env(VARIABLE, "1");
    }
}
