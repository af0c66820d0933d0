//! The golden file: a line for the meter, and one for each program.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use adit_protocol::{Digest, MeterId};
use adit_runtime::lab::Report;

use super::corpus::{Case, word};

/// The file's name.
pub(crate) const FILE: &str = "golden.txt";

/// What the columns are.
const COLUMNS: &str = "# program, module (the digest's first 16 digits), outcome, fuel, peak bytes of memory, memory-fuel, host calls, output, and the \
     fuel where a unit costs a whole one";

/// Rows by the name of their program.
pub(crate) struct Rows {
    is_this_meters: bool,
    rows: BTreeMap<String, String>,
    text: String,
}

/// How a row differs from the file's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Differs {
    /// The file has none of that name, or is another meter's.
    New,
    /// The file's is of another module.
    Module,
    /// The same module ended or was billed otherwise: the file's row.
    Billed(String),
}

/// What the file holds of a run, and of the same where a bill hides no part of a fuel.
pub(crate) fn row(case: &Case, report: &Report, unrounded: &Report) -> String {
    let usage = report.run.usage;
    let module = case.spec.module.digest.to_string();
    format!(
        "{} {} {} {} {} {} {} {}",
        &module[..16],
        word(report.run.outcome),
        usage.fuel.0,
        usage.memory_peak.0,
        usage.memory_fuel,
        usage.host_calls,
        Digest::of(&report.output),
        unrounded.run.usage.fuel.0,
    )
}

impl Rows {
    /// No rows, of a meter.
    pub(crate) fn of(meter: MeterId) -> Self {
        Self { is_this_meters: true, rows: BTreeMap::new(), text: format!("meter {meter}\n{COLUMNS}\n") }
    }

    /// A file's rows. None where there is no file.
    pub(crate) fn read(path: &Path, meter: MeterId) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let is_this_meters = text.lines().next() == Some(&format!("meter {meter}"));
        let rows = text.lines().skip(2).filter_map(|line| line.split_once(' '));
        Self { is_this_meters, rows: rows.map(|(name, row)| (name.to_owned(), row.to_owned())).collect(), text }
    }

    /// Whether they are of the meter that they were read for.
    pub(crate) fn is_this_meters(&self) -> bool {
        self.is_this_meters
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether a program's row is that of the file.
    pub(crate) fn check(&self, name: &str, row: &str) -> Result<(), Differs> {
        let module = |row: &str| row.split(' ').next().map(str::to_owned);
        match self.rows.get(name).filter(|_| self.is_this_meters) {
            None => Err(Differs::New),
            Some(old) if old == row => Ok(()),
            Some(old) if module(old) != module(row) => Err(Differs::Module),
            Some(old) => Err(Differs::Billed(old.clone())),
        }
    }

    pub(crate) fn push(&mut self, name: &str, row: &str) {
        writeln!(self.text, "{name} {row}").unwrap();
        self.rows.insert(name.to_owned(), row.to_owned());
    }

    /// Replaces the file, where it differs.
    pub(crate) fn write(&self, path: &Path) {
        if std::fs::read_to_string(path).ok().as_ref() != Some(&self.text) {
            std::fs::write(path, &self.text).unwrap();
        }
    }
}

#[test]
fn only_a_bill_that_changed_under_one_meter_needs_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let mut rows = Rows::of(MeterId([1; 32]));
    rows.push("program", "m1 finished 5");
    rows.write(&path);
    let same = Rows::read(&path, MeterId([1; 32]));
    let other = Rows::read(&path, MeterId([2; 32]));
    assert!(same.is_this_meters() && !other.is_this_meters());
    assert_eq!(same.check("program", "m1 finished 5"), Ok(()));
    assert_eq!(same.check("program", "m2 finished 6"), Err(Differs::Module));
    assert_eq!(same.check("program", "m1 finished 6"), Err(Differs::Billed("m1 finished 5".to_owned())));
    assert_eq!(same.check("other", "m1 finished 5"), Err(Differs::New));
    assert_eq!(other.check("program", "m1 finished 6"), Err(Differs::New));
}
