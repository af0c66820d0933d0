//! `adit new`: the start of a guest, in one of three languages.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::exit::{Exit, usage};
use crate::table::print_line;

/// Where the guest SDK was when this program was built.
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk");

/// Start a guest in Rust, C or Zig, in a new folder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit new hello && cd hello
  cargo test                                     # the job natively
  adit build                                     # the module
  echo hi | adit run --local target/wasm32-wasip1/release/hello.wasm --input -

  adit new hello --lang c && adit build hello    # target/hello.wasm; needs zig: `pip install ziglang`
  adit new hello --lang zig && adit build hello")]
pub(crate) struct NewArgs {
    /// The package's name
    name: String,
    /// The language that it is written in
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    lang: Language,
    /// The folder [default: NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// The languages that there are templates for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    C,
    Zig,
}

/// A template's files: where each goes, and its text with places to be filled in.
type Files = &'static [(&'static str, &'static str)];

const RUST: Files = &[
    ("Cargo.toml", include_str!("../templates/rust/Cargo.toml.in")),
    ("src/main.rs", include_str!("../templates/rust/src/main.rs")),
    ("README.md", include_str!("../templates/rust/README.md.in")),
    (".gitignore", "/target\n"),
];
const C: Files = &[
    ("src/adit.h", include_str!("../../guest-sdk/adit.h")),
    ("src/shout.h", include_str!("../templates/c/src/shout.h")),
    ("src/shout.c", include_str!("../templates/c/src/shout.c")),
    ("src/main.c", include_str!("../templates/c/src/main.c")),
    ("test/shout.c", include_str!("../templates/c/test/shout.c")),
    ("README.md", include_str!("../templates/c/README.md.in")),
    (".gitignore", "/target\n"),
];
const ZIG: Files = &[
    ("src/adit.zig", include_str!("../templates/zig/src/adit.zig")),
    ("src/main.zig", include_str!("../templates/zig/src/main.zig")),
    ("README.md", include_str!("../templates/zig/README.md.in")),
    (".gitignore", "/target\n"),
];

impl Language {
    fn files(self) -> Files {
        match self {
            Self::Rust => RUST,
            Self::C => C,
            Self::Zig => ZIG,
        }
    }

    /// Checks that its tools take `name`.
    fn check_name(self, name: &str) -> anyhow::Result<()> {
        let letter_first = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let known = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        // What cargo itself refuses for a binary, as it would clash with the folders that it makes or the test harness.
        let reserved = ["test", "core", "std", "alloc", "proc-macro", "build", "deps", "examples", "incremental"].contains(&name);
        if letter_first && known && !(reserved && self == Self::Rust) {
            return Ok(());
        }
        Err(usage(format!("`{name}` is no name for a package; write letters, digits, - and _, a letter first")))
    }
}

pub(crate) fn run(args: &NewArgs) -> anyhow::Result<Exit> {
    args.lang.check_name(&args.name)?;
    let dir = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if dir.exists() {
        return Err(usage(format!("{} exists; choose another name or --path", dir.display())));
    }
    let sdk = std::fs::canonicalize(SDK).ok();
    for (file, text) in filled(args.lang, &args.name, sdk.as_deref()) {
        let path = dir.join(file);
        let parent = path.parent().expect("every file is in the folder");
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    print_line(&format!("made {}; next: cd {0} && adit build", dir.display()))?;
    Ok(Exit::Success)
}

fn filled(language: Language, name: &str, sdk: Option<&Path>) -> Vec<(&'static str, String)> {
    let dependency = match sdk {
        // A TOML string, which debug formatting writes for any path that cargo takes.
        Some(path) => format!("adit-guest = {{ path = {:?} }}", path.display().to_string()),
        None => format!("adit-guest = \"{}\"", env!("CARGO_PKG_VERSION")),
    };
    let fill = |template: &str| template.replace("{{name}}", name).replace("{{sdk}}", &dependency);
    language.files().iter().map(|(file, text)| (*file, fill(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in_whole() {
        for sdk in [Some(Path::new("/opt/adit/guest-sdk")), None] {
            for language in Language::value_variants() {
                let files = filled(*language, "hello", sdk);
                for (file, text) in &files {
                    assert!(!text.contains("{{"), "{file}: {text}");
                }
                assert!(files.iter().any(|(file, text)| *file == "README.md" && text.contains("# hello")), "{language:?}");
            }
            let manifest = &filled(Language::Rust, "hello", sdk)[0].1;
            let table: toml::Table = manifest.parse().unwrap();
            assert_eq!(table["package"]["name"].as_str(), Some("hello"));
            let dependency = &table["dependencies"]["adit-guest"];
            assert_eq!(dependency.get("path").and_then(toml::Value::as_str), sdk.and_then(Path::to_str));
        }
    }

    #[test]
    fn names_that_cargo_refuses_are_refused() {
        for name in ["hello", "a1", "two-words", "snake_case"] {
            assert!(Language::Rust.check_name(name).is_ok(), "{name}");
        }
        for name in ["", "1a", "-x", "a/b", "ü", "..", "test", "a b"] {
            assert!(Language::Rust.check_name(name).is_err(), "{name}");
        }
        assert!(Language::C.check_name("test").is_ok());
        assert!(Language::Zig.check_name("a/b").is_err());
    }
}
