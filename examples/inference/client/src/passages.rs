//! From a folder to passages of its files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A passage that has fewer words says too little to be an answer: a heading, a line of code.
const WORDS_MIN: usize = 6;
/// Characters of a passage that are shown.
const EXCERPT_CHARS: usize = 160;

/// Lines of a file between two empty ones, as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passage {
    /// `FILE:LINE`, the file from the folder on.
    pub(crate) place: String,
    pub(crate) text: String,
}

/// The passages of all files `*.md` and `*.txt` below `folder`, in the order of their names.
pub(crate) fn read(folder: &Path) -> Result<Vec<Passage>> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let mut passages = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
        passages.extend(cut(&name, &text));
    }
    ensure!(!passages.is_empty(), "no file *.md or *.txt below {} has a passage of {WORDS_MIN} words", folder.display());
    Ok(passages)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            list(&path, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "md" || extension == "txt") {
            files.push(path);
        }
    }
    Ok(())
}

/// A file's passages.
fn cut(name: &str, text: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    let mut from = 0;
    for part in lines.split(|line| line.trim().is_empty()) {
        let words: Vec<&str> = part.iter().flat_map(|line| line.split_whitespace()).collect();
        if words.len() >= WORDS_MIN {
            passages.push(Passage { place: format!("{name}:{}", from + 1), text: words.join(" ") });
        }
        from += part.len() + 1;
    }
    passages
}

/// The beginning of a passage, as a terminal may be shown it.
pub(crate) fn excerpt(text: &str) -> String {
    let plain = text.replace(char::is_control, " ");
    match plain.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_stand_between_empty_lines_and_know_their_place() {
        let text = "# heading\n\none two three\nfour  five six\n \n\nthis is a passage of seven words\n";
        let want = [("a.md:3", "one two three four five six"), ("a.md:7", "this is a passage of seven words")];
        let passages = cut("a.md", text);
        assert_eq!(passages.iter().map(|passage| (passage.place.as_str(), passage.text.as_str())).collect::<Vec<_>>(), want);
    }

    #[test]
    fn texts_are_found_in_folders_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for (name, text) in [("c.txt", "c"), ("b/a.md", "b"), ("a.md", "a"), ("a.rs", "no text")] {
            fs::write(folder.path().join(name), format!("{text} one two three four five")).unwrap();
        }
        let places: Vec<String> = read(folder.path()).unwrap().into_iter().map(|passage| passage.place).collect();
        assert_eq!(places, ["a.md:1", "b/a.md:1", "c.txt:1"]);
        assert!(read(&folder.path().join("no")).is_err());
        fs::write(folder.path().join("b/a.md"), "few words").unwrap();
        assert!(read(&folder.path().join("b")).unwrap_err().to_string().contains("no file"));
    }

    #[test]
    fn excerpts_are_short_and_plain() {
        assert_eq!(excerpt("a\u{1b}[31mb"), "a [31mb");
        let long = excerpt(&"é".repeat(200));
        assert_eq!((long.chars().count(), long.chars().last()), (161, Some('…')));
    }
}
