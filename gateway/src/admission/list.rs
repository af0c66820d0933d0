use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use adit_protocol::PublicKey;

/// Bytes of a list: a hundred thousand keys with a word about each.
const LIST_BYTES_MAX: u64 = 16 << 20;

/// A list of nodes that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeListError {
    /// It cannot be read.
    #[error("node list {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is longer than any list.
    #[error("node list {path}: more than {LIST_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line of it names no node.
    #[error("node list {path}, line {line}: `{text}` is no key of a node; write 64 hexadecimal digits, as `adit key show` does")]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

/// Reads a list of keys.
pub(crate) fn read(path: &Path) -> Result<BTreeSet<PublicKey>, NodeListError> {
    let io_error = |error| NodeListError::Io { path: path.to_owned(), error };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LIST_BYTES_MAX + 1).read_to_string(&mut text)).map_err(io_error)?;
    if text.len() as u64 > LIST_BYTES_MAX {
        return Err(NodeListError::TooLarge { path: path.to_owned() });
    }
    parse(&text).map_err(|(line, text)| NodeListError::Line { path: path.to_owned(), line, text })
}

/// The keys, or the first line that is none.
fn parse(text: &str) -> Result<BTreeSet<PublicKey>, (usize, String)> {
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.split('#').next().unwrap_or_default().trim()));
    let keys = lines.filter(|(_, key)| !key.is_empty());
    keys.map(|(line, key)| key.parse().map_err(|_| (line, key.chars().take(80).collect()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_one_a_line_among_comments_and_blank_lines() {
        let keys = [1, 2].map(|n| PublicKey([n; 32]));
        let text = format!("# ours\n\n  {}  # the first\r\n#{}\n{}\n\t\n{}", keys[0], PublicKey([3; 32]), keys[1], keys[1]);
        assert_eq!(parse(&text), Ok(BTreeSet::from(keys)));
        assert_eq!(parse(""), Ok(BTreeSet::new()));
    }

    #[test]
    fn line_that_is_no_key_is_named_by_its_number() {
        let key = PublicKey([1; 32]).to_string();
        let long = "x".repeat(1_000);
        for (text, line, word) in [
            (format!("{key}\nnobody\n"), 2, "nobody"),
            (format!("# comment\n\n{}", &key[1..]), 3, &key[1..]),
            (format!("{key} {key}"), 1, &format!("{key} {key}")[..80]),
            (long, 1, &"x".repeat(80)),
        ] {
            assert_eq!(parse(&text), Err((line, word.to_owned())), "{text}");
        }
    }

    #[test]
    fn list_that_is_not_there_is_an_error_and_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let error = read(&dir.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    }
}
