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

  adit new hello --lang c && adit build hello    # hello/target/hello.wasm; by zig: `pip install ziglang==0.17.1`
  adit new hello --lang zig && adit build hello

A guest in Rust stands on the crate adit-guest, which is no registry's: it is named by its folder, that of the source which this program was
built from, or --sdk.")]
pub(crate) struct NewArgs {
    /// The package's name
    name: String,
    /// The language that it is written in
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    lang: Language,
    /// The folder, which is new or empty [default: NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The folder of the crate adit-guest, for a guest in Rust: `guest-sdk` of Adit's source [default: where this program was built]
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
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
    ("src/adit.zig", include_str!("../../guest-sdk/adit.zig")),
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
    if !is_free(&dir) {
        return Err(usage(format!("{} exists and is no empty folder; choose another name or --path", dir.display())));
    }
    let sdk = match args.lang {
        Language::Rust => sdk(args.sdk.as_deref(), Path::new(SDK))?,
        Language::C | Language::Zig => PathBuf::new(),
    };
    for (file, text) in filled(args.lang, &args.name, &sdk) {
        let path = dir.join(file);
        let parent = path.parent().expect("every file is in the folder");
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    print_line(&format!("made {}; next: cd {0} && adit build", dir.display()))?;
    Ok(Exit::Success)
}

/// Whether nothing of anybody's is there.
fn is_free(dir: &Path) -> bool {
    !dir.exists() || std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// The folder of the guest SDK: the one that was asked for, or else where it was when this program was built.
fn sdk(asked: Option<&Path>, built: &Path) -> anyhow::Result<PathBuf> {
    let folder = asked.unwrap_or(built);
    let is_sdk = |manifest: String| {
        let manifest = manifest.parse::<toml::Table>().ok()?;
        (manifest.get("package")?.get("name")?.as_str()? == "adit-guest").then_some(())
    };
    std::fs::read_to_string(folder.join("Cargo.toml")).ok().and_then(is_sdk).ok_or_else(|| match asked {
        Some(asked) => usage(format!("{} is not the crate adit-guest; --sdk takes the folder `guest-sdk` of Adit's source", asked.display())),
        None => usage(format!(
            "Adit's source is no longer at {}, where this program was built, and a guest in Rust needs its `guest-sdk`; name that folder with \
             --sdk, or take --lang c or zig",
            built.display()
        )),
    })?;
    std::fs::canonicalize(folder).with_context(|| folder.display().to_string())
}

fn filled(language: Language, name: &str, sdk: &Path) -> Vec<(&'static str, String)> {
    // A TOML string, which debug formatting writes for any path that cargo takes.
    let dependency = format!("adit-guest = {{ path = {:?} }}", sdk.display().to_string());
    let fill = |template: &str| template.replace("{{name}}", name).replace("{{sdk}}", &dependency);
    language.files().iter().map(|(file, text)| (*file, fill(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in_whole() {
        let sdk = Path::new("/opt/adit/guest-sdk");
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
        assert_eq!(dependency.get("path").and_then(toml::Value::as_str), sdk.to_str());
    }

    /// A guest that named a version of a registry, which has none, could not be built.
    #[test]
    fn an_sdk_that_is_not_there_is_told_with_what_to_do() {
        let gone = tempfile::tempdir().unwrap();
        let said = |asked, built| sdk(asked, built).unwrap_err().to_string();
        let built = gone.path().join("guest-sdk");
        let error = said(None, &built);
        assert!(error.contains(built.to_str().unwrap()) && error.contains("--sdk"), "{error}");
        assert!(said(Some(gone.path()), Path::new(SDK)).contains("not the crate adit-guest"));
        let found = std::fs::canonicalize(SDK).unwrap();
        assert_eq!(sdk(None, Path::new(SDK)).unwrap(), found);
        assert_eq!(sdk(Some(Path::new(SDK)), &built).unwrap(), found);
    }

    #[test]
    fn a_folder_is_free_while_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_free(dir.path()) && is_free(&dir.path().join("new")));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(!is_free(dir.path()) && !is_free(&dir.path().join("file")));
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
