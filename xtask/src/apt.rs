//! Debian's packages: which are there, and how the others come.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{self, say};

/// Whether this system takes them.
pub(crate) fn is_here() -> bool {
    process::succeeds(Command::new("apt-get").arg("--version"))
}

/// Whether a package is installed.
pub(crate) fn has(package: &str) -> bool {
    let state = process::stdout(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    state.as_deref() == Some("installed")
}

/// Installs packages, as root alone. `what` says who needs them, `next` what to do where apt-get does not install them.
///
/// # Errors
/// Where they cannot be installed, with the command that would.
pub(crate) fn install(packages: &[&str], what: &str, next: &str) -> Result<()> {
    // What an owner installed is refused to be taken away rather than replaced.
    let install = ["install", "-y", "-q", "--no-install-recommends", "--no-remove"];
    let line = format!("apt-get {} {}", install.join(" "), packages.join(" "));
    if !rustix::process::geteuid().is_root() {
        bail!("{what} need Debian's {}; next: `sudo apt-get update && sudo {line}`, then this again", packages.join(", "));
    }
    say(format!("{what} need Debian's {}: installing", packages.join(", ")));
    process::run(Command::new("apt-get").args(["update", "-q"]), "mend the package sources, then run this again")?;
    process::run(Command::new("apt-get").args(install).args(packages).env("DEBIAN_FRONTEND", "noninteractive"), next)
}
