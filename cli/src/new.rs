//! `adit new`: the start of a guest.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::exit::{Exit, usage};
use crate::table::print_line;

const CARGO_TOML: &str = include_str!("../templates/rust/Cargo.toml.in");
const MAIN: &str = include_str!("../templates/rust/src/main.rs");
const README: &str = include_str!("../templates/rust/README.md.in");
/// Where the guest SDK was when this program was built.
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk");

/// Start a guest in Rust, in a new folder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit new hello && cd hello
  cargo test                                     # the job natively
  adit build                                     # the module
  echo hi | adit run --local target/wasm32-wasip1/release/hello.wasm --input -")]
pub(crate) struct NewArgs {
    /// The package's name
    name: String,
    /// The folder [default: NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

pub(crate) fn run(args: &NewArgs) -> anyhow::Result<Exit> {
    check_name(&args.name)?;
    let dir = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if dir.exists() {
        return Err(usage(format!("{} exists; choose another name or --path", dir.display())));
    }
    let sdk = std::fs::canonicalize(SDK).ok();
    for (file, text) in files(&args.name, sdk.as_deref()) {
        let path = dir.join(file);
        let parent = path.parent().expect("every file is in the folder");
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    print_line(&format!("made {}; next: cd {0} && adit build", dir.display()))?;
    Ok(Exit::Success)
}

fn files(name: &str, sdk: Option<&Path>) -> [(&'static str, String); 4] {
    let dependency = match sdk {
        // A TOML string, which debug formatting writes for any path that cargo takes.
        Some(path) => format!("adit-guest = {{ path = {:?} }}", path.display().to_string()),
        None => format!("adit-guest = \"{}\"", env!("CARGO_PKG_VERSION")),
    };
    let fill = |template: &str| template.replace("{{name}}", name).replace("{{sdk}}", &dependency);
    [
        ("Cargo.toml", fill(CARGO_TOML)),
        ("src/main.rs", fill(MAIN)),
        ("README.md", fill(README)),
        (".gitignore", "/target\n".to_owned()),
    ]
}

/// What cargo takes as the name of a package with a binary.
fn check_name(name: &str) -> anyhow::Result<()> {
    let letter_first = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let known = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    // What cargo itself refuses for a binary, as it would clash with the folders that it makes or the test harness.
    let reserved = ["test", "core", "std", "alloc", "proc-macro", "build", "deps", "examples", "incremental"].contains(&name);
    if letter_first && known && !reserved {
        return Ok(());
    }
    Err(usage(format!("`{name}` is no name for a package; write letters, digits, - and _, a letter first")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_is_filled_in_whole() {
        for sdk in [Some(Path::new("/opt/adit/guest-sdk")), None] {
            for (file, text) in files("hello", sdk) {
                assert!(!text.contains("{{"), "{file}: {text}");
            }
            let [(_, manifest), ..] = files("hello", sdk);
            let table: toml::Table = manifest.parse().unwrap();
            assert_eq!(table["package"]["name"].as_str(), Some("hello"));
            let dependency = &table["dependencies"]["adit-guest"];
            assert_eq!(dependency.get("path").and_then(toml::Value::as_str), sdk.and_then(Path::to_str));
        }
    }

    #[test]
    fn names_that_cargo_refuses_are_refused() {
        for name in ["hello", "a1", "two-words", "snake_case"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "1a", "-x", "a/b", "ü", "..", "test", "a b"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
