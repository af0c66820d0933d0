//! Named inputs as the command line gives them: `--with NAME=FILE`.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use adit_client::Job;
use adit_protocol::{InputName, InputNameError};

use crate::exit::usage;
use crate::spec::Input;

/// A named input, and the file that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedFile {
    pub(crate) name: InputName,
    pub(crate) path: PathBuf,
}

impl FromStr for NamedFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, "-")) => Err(format!(
                "`{name}` needs a file; standard input is read by `--input -`, and `{name}=/dev/stdin` reads it under a name"
            )),
            Some((name, path)) if !path.is_empty() => {
                Ok(Self { name: name.parse().map_err(|error: InputNameError| error.to_string())?, path: path.into() })
            }
            _ => Err(format!("`{text}` is not NAME=FILE")),
        }
    }
}

/// The named inputs of a job, or of many, with what keeps them.
#[derive(Debug, Default)]
pub(crate) struct NamedInputs(Vec<(InputName, Input)>);

impl NamedInputs {
    /// Reads and hashes each. What comes by a pipe and is too large for memory waits in a file in `spool`.
    pub(crate) fn open(files: &[NamedFile], spool: &Path) -> anyhow::Result<Self> {
        let mut files: Vec<_> = files.iter().collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some([file, _]) = files.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(usage(format!("two inputs are named `{}`: each --with NAME=FILE needs a name of its own", file.name)));
        }
        let open =
            |file: &NamedFile| Ok((file.name.clone(), Input::open_as(&format!("input `{}`:", file.name), &file.path, spool)?));
        files.into_iter().map(open).collect::<anyhow::Result<_>>().map(Self)
    }

    /// The job with these inputs.
    pub(crate) fn given_to(&self, job: Job) -> Job {
        self.0.iter().fold(job, |job, (name, input)| job.with_named(name.clone(), input.source.clone()))
    }

    /// The bytes as the runtime takes them, in the order of their names.
    pub(crate) fn for_runtime(&self) -> io::Result<Vec<adit_runtime::Input>> {
        self.inputs().map(Input::for_runtime).collect()
    }

    /// Each input, in the order of their names.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.0.iter().map(|(_, input)| input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn name_and_file_are_read_and_what_is_wrong_is_told() {
        let file: NamedFile = "weights=models/a=b.bin".parse().unwrap();
        assert_eq!((file.name.as_str(), file.path), ("weights", PathBuf::from("models/a=b.bin")));
        for (text, word) in [
            ("weights", "NAME=FILE"),
            ("weights=", "NAME=FILE"),
            ("=file", "not a name"),
            (".a=file", "no `.` in front"),
            ("a b=file", "letters, digits"),
            ("a=-", "--input -"),
        ] {
            let told = text.parse::<NamedFile>().unwrap_err();
            assert!(told.contains(word), "{told}");
        }
    }

    #[test]
    fn missing_file_and_a_name_that_comes_twice_are_the_users_to_mend() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("here");
        std::fs::write(&path, "content").unwrap();
        let file = |name: &str, path: PathBuf| NamedFile { name: name.parse().unwrap(), path };
        let open = |files: &[NamedFile]| NamedInputs::open(files, dir.path());
        let missing = dir.path().join("missing");
        for (files, words) in [
            (vec![file("a", path.clone()), file("b", missing.clone())], ["`b`", missing.to_str().unwrap()]),
            (vec![file("a", path.clone()), file("c", path.clone()), file("a", path.clone())], ["two inputs", "`a`"]),
        ] {
            let error = open(&files).unwrap_err();
            assert_eq!(Exit::of_error(&error), Exit::Usage);
            assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
        }
        let named = open(&[file("z", path.clone()), file("a", path)]).unwrap();
        assert_eq!(named.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "z"]);
    }
}
