//! What a run has to say, as text.

use std::fmt::{self, Display, Formatter};

use crate::skips::{Judgement, Skips, SuiteCounts};
use crate::wasi::WasiReport;

/// A run of the specification's suite: a table of counts, every reason for a skip, and what is wrong.
#[derive(Debug, Clone, Copy)]
pub struct SpecReport<'a> {
    /// What was expected.
    pub skips: &'a Skips,
    /// What came.
    pub judgement: &'a Judgement,
}

impl Display for SpecReport<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<40} {:>6} {:>8} {:>8} {:>7}", "suite", "files", "passed", "skipped", "failed")?;
        let mut total = SuiteCounts { name: "all".to_owned(), ..SuiteCounts::default() };
        for counts in &self.judgement.suites {
            total.add(counts);
            row(f, counts)?;
        }
        row(f, &total)?;
        writeln!(f, "\nskipped, by reason:")?;
        for (skip, count) in self.skips.skip.iter().zip(&self.judgement.skipped).filter(|(_, count)| **count > 0) {
            writeln!(f, "{count:>8}  {}", skip.reason)?;
        }
        list(f, "failed", &self.judgement.failures)?;
        list(f, "not as skips.toml says", &self.judgement.stale)
    }
}

impl Display for WasiReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<40} {:>6} {:>8} {:>8} {:>7}", "wasi suite", "tests", "passed", "skipped", "failed")?;
        for suite in &self.suites {
            let tests = suite.passed + suite.skipped + suite.failed;
            writeln!(f, "{:<40} {tests:>6} {:>8} {:>8} {:>7}", suite.name, suite.passed, suite.skipped, suite.failed)?;
        }
        list(f, "skipped", &self.skipped)?;
        list(f, "failed", &self.failures)
    }
}

fn row(f: &mut Formatter<'_>, counts: &SuiteCounts) -> fmt::Result {
    let SuiteCounts { name, files, passed, skipped, failed } = counts;
    writeln!(f, "{name:<40} {files:>6} {passed:>8} {skipped:>8} {failed:>7}")
}

fn list(f: &mut Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    if !lines.is_empty() {
        writeln!(f, "\n{title}:")?;
    }
    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
}
