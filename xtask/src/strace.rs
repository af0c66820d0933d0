//! What has the system refuse calls in tests, as a failing disk would: strace.

use std::process::Command;

use anyhow::Result;

use crate::apt;
use crate::process::{self, say};

/// Finds or installs strace. Tests of failing disks are left out where it is missing, and say so; so to be without it is no failure.
pub(crate) fn set_up() -> Result<()> {
    if process::succeeds(Command::new("strace").arg("-V")) {
        say("tests have strace, to let disks fail");
        return Ok(());
    }
    if apt::is_here() && rustix::process::geteuid().is_root() {
        return apt::install(&["strace"], "tests of failing disks", "see what apt-get says");
    }
    say("tests of failing disks are left out: strace is not installed; every distribution has it in its package `strace`");
    Ok(())
}
