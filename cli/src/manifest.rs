//! What `adit map` did with each input: `manifest.jsonl` in its folder, one object a line, in the order of the inputs.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::sink::AtomicFile;
use crate::table::json_line;

/// One input's row. Its keys are described in `docs/cli.md`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The input as it was named.
    pub(crate) input: String,
    /// The output's file in the folder; whether it exists is another matter.
    pub(crate) output: String,
    pub(crate) job: String,
    /// The idempotency key: the same while module, arguments, limits and input are the same.
    pub(crate) key: String,
    /// Counts from 0: how often an end that may differ the next time (a timeout, a cancellation) was tried anew.
    pub(crate) retry: u32,
    pub(crate) outcome: String,
    pub(crate) exit_code: Option<i32>,
    pub(crate) reason: String,
    pub(crate) fuel: u64,
    /// What the job cost in all; nothing where that is not known.
    pub(crate) price_microcredits: Option<u64>,
    pub(crate) node: Option<String>,
    pub(crate) output_digest: Option<String>,
}

impl Row {
    /// Whether the guest ended by itself with exit code 0.
    pub(crate) fn is_success(&self) -> bool {
        self.outcome == "finished" && self.exit_code == Some(0)
    }
}

/// The file. While a map runs, rows are added as they come; at its end they are put in order.
#[derive(Debug)]
pub(crate) struct Manifest {
    path: PathBuf,
    journal: File,
    /// The last row of each output, those of earlier runs included.
    rows: HashMap<String, Row>,
}

impl Manifest {
    /// Opens the manifest in `dir`, with what earlier runs left there.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let path = dir.join("manifest.jsonl");
        let cannot = || format!("cannot use {}", path.display());
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.with_context(cannot)?,
        };
        let mut journal = OpenOptions::new().create(true).append(true).open(&path).with_context(cannot)?;
        if !text.is_empty() && !text.ends_with('\n') {
            // An earlier run was killed in the middle of a row.
            journal.write_all(b"\n").with_context(cannot)?;
        }
        let rows = text.lines().filter_map(|line| serde_json::from_str::<Row>(line).ok());
        let rows = rows.map(|row| (row.output.clone(), row)).collect();
        Ok(Self { path, journal, rows })
    }

    /// What was recorded last of an output.
    pub(crate) fn row(&self, output: &str) -> Option<&Row> {
        self.rows.get(output)
    }

    /// Records a row.
    pub(crate) fn record(&mut self, row: Row) -> anyhow::Result<()> {
        let line = json_line(&row).context("a row always encodes")?;
        self.journal.write_all(&line).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.rows.insert(row.output.clone(), row);
        Ok(())
    }

    /// Puts the rows of `outputs` in this order; rows of other inputs, from earlier runs, come after them. Returns the former.
    pub(crate) fn finish(mut self, outputs: &[String]) -> anyhow::Result<Vec<Row>> {
        let ordered: Vec<Row> = outputs.iter().filter_map(|output| self.rows.remove(output)).collect();
        let mut others: Vec<Row> = self.rows.into_values().collect();
        others.sort_by(|a, b| a.output.cmp(&b.output));
        let mut text = Vec::new();
        for row in ordered.iter().chain(&others) {
            text.extend(json_line(row).context("a row always encodes")?);
        }
        AtomicFile::write(&self.path, &text)?;
        Ok(ordered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(output: &str, outcome: &str) -> Row {
        Row { output: output.into(), outcome: outcome.into(), ..Row::default() }
    }

    #[test]
    fn rows_are_ordered_at_the_end_and_survive_a_kill_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(dir.path()).unwrap();
        for name in ["c", "a"] {
            manifest.record(row(name, "finished")).unwrap();
        }
        drop(manifest);
        // Killed in the middle of a row.
        let path = dir.path().join("manifest.jsonl");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"input\":\"x").unwrap();

        let mut manifest = Manifest::open(dir.path()).unwrap();
        assert_eq!(manifest.row("a"), Some(&row("a", "finished")));
        assert_eq!(manifest.row("b"), None);
        manifest.record(row("b", "trapped")).unwrap();
        manifest.record(row("a", "out_of_fuel")).unwrap();
        let rows = manifest.finish(&["a".into(), "b".into()]).unwrap();
        assert_eq!(rows, [row("a", "out_of_fuel"), row("b", "trapped")]);
        let text = std::fs::read_to_string(&path).unwrap();
        let outputs: Vec<String> = text.lines().map(|l| serde_json::from_str::<Row>(l).unwrap().output).collect();
        assert_eq!(outputs, ["a", "b", "c"]);
    }
}
