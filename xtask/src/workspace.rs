//! What cargo knows of this workspace.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// The workspace that xtask works on.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Where the root `Cargo.toml` is.
    pub(crate) root: PathBuf,
    /// Where cargo builds; everything that xtask makes goes below it too.
    pub(crate) target: PathBuf,
    /// What is compiled to wasm.
    pub(crate) guests: Vec<Guest>,
}

/// A package that says `guest = true` under `[package.metadata.adit]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    /// The package's name.
    pub(crate) package: String,
    /// Its binaries, each of which becomes a module.
    pub(crate) bins: Vec<String>,
    /// What it wants of the compiler beside what every guest gets: `rustflags` beside `guest`.
    pub(crate) rustflags: Vec<String>,
    /// Whether it does without the standard library: `no-std` beside `guest`.
    pub(crate) is_no_std: bool,
}

impl Guest {
    /// Whether it is built apart from those that ask for nothing: flags are for a whole build, and so are the features of what guests
    /// share.
    pub(crate) fn is_special(&self) -> bool {
        self.is_no_std || !self.rustflags.is_empty()
    }
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        let mut command = Self::cargo_metadata();
        let output = command.output().context("cargo does not start; run this as `cargo xtask`")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed; next: mend what it says\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Self::from_metadata(&serde_json::from_slice(&output.stdout).context("`cargo metadata` wrote no JSON")?)
    }

    fn cargo_metadata() -> Command {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut command = process::cargo();
        command.current_dir(root).args(["metadata", "--no-deps", "--format-version", "1"]);
        command
    }

    fn from_metadata(metadata: &Value) -> Result<Self> {
        let path = |key: &str| metadata[key].as_str().map(PathBuf::from).with_context(|| format!("no {key} in cargo's metadata"));
        let packages = metadata["packages"].as_array().context("no packages in cargo's metadata")?;
        let guests = packages.iter().filter(|package| package["metadata"]["adit"]["guest"] == true).map(Guest::from_package);
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")?, guests: guests.collect() })
    }

    /// `cargo` in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = process::cargo();
        command.current_dir(&self.root);
        command
    }

    /// The guests that ask for the same as `guest`: one build makes them all, with one standard library.
    pub(crate) fn built_with(&self, guest: &Guest) -> impl Iterator<Item = &Guest> {
        self.guests.iter().filter(|other| (&other.rustflags, other.is_no_std) == (&guest.rustflags, guest.is_no_std))
    }

    /// Where the compiled guests are.
    pub(crate) fn guest_folder(&self) -> PathBuf {
        self.target.join("guests")
    }
}

impl Guest {
    fn from_package(package: &Value) -> Self {
        let targets = package["targets"].as_array().into_iter().flatten();
        let bins = targets.filter(|target| target["kind"][0] == "bin").map(|target| text(&target["name"]));
        let rustflags = package["metadata"]["adit"]["rustflags"].as_array().into_iter().flatten();
        let is_no_std = package["metadata"]["adit"]["no-std"] == true;
        Self { package: text(&package["name"]), bins: bins.collect(), rustflags: rustflags.map(text).collect(), is_no_std }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_marked_packages_are_guests_and_only_their_binaries_modules() {
        let package = |name: &str, metadata: Value| {
            let targets =
                json!([{"kind": ["lib"], "name": "x"}, {"kind": ["bin"], "name": name}, {"kind": ["test"], "name": "it"}]);
            json!({"name": format!("adit-{name}"), "metadata": metadata, "targets": targets})
        };
        let metadata = json!({
            "workspace_root": "/src", "target_directory": "/src/target",
            "packages": [
                package("tracer", json!({"adit": {"guest": true}})),
                package("wide", json!({"adit": {"guest": true, "rustflags": ["-Ca=b", "-Cc=d"]}})),
                package("tiny", json!({"adit": {"guest": true, "no-std": true}})),
                package("host", json!(null)),
                package("other", json!({"adit": {"guest": false}})),
            ],
        });
        let workspace = Workspace::from_metadata(&metadata).unwrap();
        let guest = |name: &str, rustflags: &[&str], is_no_std| Guest {
            package: format!("adit-{name}"),
            bins: vec![name.to_owned()],
            rustflags: rustflags.iter().map(|flag| (*flag).to_owned()).collect(),
            is_no_std,
        };
        let guests = [guest("tracer", &[], false), guest("wide", &["-Ca=b", "-Cc=d"], false), guest("tiny", &[], true)];
        assert_eq!(workspace.guests, guests);
        assert_eq!(guests.map(|guest| guest.is_special()), [false, true, true]);
        let together = |n: usize| workspace.built_with(&workspace.guests[n]).map(|guest| &*guest.package).collect::<Vec<_>>();
        assert_eq!((together(0), together(1)), (vec!["adit-tracer"], vec!["adit-wide"]));
        assert_eq!(workspace.guest_folder(), PathBuf::from("/src/target/guests"));
    }
}
