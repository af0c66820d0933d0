//! Packages of Python's index, each of one version, in a folder of its own under `target/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::apt;
use crate::process::{self, say};
use crate::workspace::Workspace;

/// A package of one version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Where it goes, under `target/`.
    pub(crate) folder: &'static str,
}

impl Package {
    /// Installs it, where it is not there already; the folder.
    ///
    /// # Errors
    /// Where pip cannot; nothing else is touched then.
    pub(crate) fn install(self, workspace: &Workspace) -> Result<PathBuf> {
        let Self { name, version, folder } = self;
        let folder = workspace.target.join(folder);
        let mark = folder.join(format!(".{name}-{version}"));
        if mark.is_file() {
            return Ok(folder);
        }
        if !has_pip() && apt::is_here() {
            apt::install(&["python3-pip"], name, "install pip for python3 in another way")?;
        }
        say(format!("installing {name} {version} from Python's package index to {}", folder.display()));
        let _ = std::fs::remove_dir_all(&folder);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]);
        pip.args(["--only-binary", ":all:", "--target"]).arg(&folder).arg(format!("{name}=={version}"));
        process::run(&mut pip, "see what pip says; it needs the network once")?;
        touch(&mark)?;
        Ok(folder)
    }
}

fn has_pip() -> bool {
    process::succeeds(Command::new("python3").args(["-m", "pip", "--version"]))
}

/// Says that all of a folder is there.
fn touch(mark: &Path) -> Result<()> {
    Ok(std::fs::write(mark, "")?)
}
