//! The reviewed list of what does not pass, each with its reason: `skips.toml`.

use std::collections::BTreeMap;
use std::num::NonZero;

use serde::Deserialize;

use crate::suite::ScriptReport;

/// The list that this crate is built with.
const LIST: &str = include_str!("../skips.toml");

/// What does not pass, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skips {
    /// In the specification's suite.
    pub skip: Vec<Skip>,
    /// In wasi-testsuite.
    pub wasi: Vec<WasiSkip>,
}

/// Directives that fail for one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// Why it is right that they fail, or why it is borne.
    pub reason: String,
    /// What they fail with: part of the words of the failure, one of these. What fails otherwise is not skipped.
    pub errors: Vec<String>,
    /// The compiler that it is so under; every one where it is left out.
    pub compiler: Option<String>,
    /// How many they are, by suite or by suite and file (`wasm-v2/elem.wast`). Another number is an error, a smaller one too.
    pub directives: BTreeMap<String, NonZero<usize>>,
}

/// Programs that need what no guest has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WasiSkip {
    /// Why they are not run, or may fail.
    pub reason: String,
    /// What they need or fail with: part of the words, one of these.
    pub errors: Vec<String>,
}

/// What the list says of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// By suite, in the order in which they ran.
    pub suites: Vec<SuiteCounts>,
    /// How many directives each entry of the list took, in its order.
    pub skipped: Vec<usize>,
    /// What failed and is not in the list.
    pub failures: Vec<String>,
    /// Entries of the list that are not so.
    pub stale: Vec<String>,
}

/// Numbers of one suite.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SuiteCounts {
    /// Its name.
    pub name: String,
    /// Its scripts.
    pub files: usize,
    /// Directives that did what they should.
    pub passed: usize,
    /// Directives that failed as the list says.
    pub skipped: usize,
    /// Directives that failed otherwise.
    pub failed: usize,
}

impl Skips {
    /// The reviewed list.
    ///
    /// # Errors
    /// Where it cannot be read; the words say where.
    pub fn load() -> Result<Self, toml::de::Error> {
        toml::from_str(LIST)
    }

    /// Sorts what happened into what should and what should not.
    pub fn judge(&self, compiler: &str, reports: &[ScriptReport]) -> Judgement {
        let mut tally = Tally { skips: self, compiler, counts: BTreeMap::new(), judgement: Judgement::default() };
        tally.judgement.skipped = vec![0; self.skip.len()];
        reports.iter().for_each(|report| tally.add(report));
        tally.find_stale();
        tally.judgement
    }
}

impl Judgement {
    /// Whether everything is as the list says.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.stale.is_empty()
    }
}

struct Tally<'a> {
    skips: &'a Skips,
    compiler: &'a str,
    /// By entry of the list and its key.
    counts: BTreeMap<(usize, &'a str), usize>,
    judgement: Judgement,
}

impl<'a> Tally<'a> {
    fn add(&mut self, report: &ScriptReport) {
        let mut counts = SuiteCounts { name: report.suite.clone(), files: 1, ..SuiteCounts::default() };
        for verdict in &report.verdicts {
            let Some(failure) = &verdict.failure else {
                counts.passed += 1;
                continue;
            };
            if let Some((index, key)) = self.entry(report, failure) {
                *self.counts.entry((index, key)).or_default() += 1;
                self.judgement.skipped[index] += 1;
                counts.skipped += 1;
            } else {
                self.judgement.failures.push(format!("{}/{}:{}: {failure}", report.suite, report.file, verdict.line));
                counts.failed += 1;
            }
        }
        match self.judgement.suites.last_mut() {
            Some(last) if last.name == counts.name => last.add(&counts),
            _ => self.judgement.suites.push(counts),
        }
    }

    /// The entry of the list that a failure is in, and its key there.
    fn entry(&self, report: &ScriptReport, failure: &str) -> Option<(usize, &'a str)> {
        let file = format!("{}/{}", report.suite, report.file);
        let entries = self.skips.skip.iter().enumerate();
        entries.filter(|(_, skip)| skip.applies(self.compiler, failure)).find_map(|(index, skip)| {
            let found = skip.directives.get_key_value(&file).or_else(|| skip.directives.get_key_value(&report.suite));
            found.map(|(key, _)| (index, key.as_str()))
        })
    }

    fn find_stale(&mut self) {
        for (index, skip) in self.skips.skip.iter().enumerate().filter(|(_, skip)| skip.is_for(self.compiler)) {
            for (key, listed) in &skip.directives {
                let seen = self.counts.get(&(index, key.as_str())).copied().unwrap_or(0);
                if seen != listed.get() {
                    let errors = skip.errors.join("` or `");
                    self.judgement
                        .stale
                        .push(format!("{key}: {listed} directives are listed that fail with `{errors}`, {seen} do"));
                }
            }
        }
    }
}

impl Skip {
    fn is_for(&self, compiler: &str) -> bool {
        self.compiler.as_deref().is_none_or(|only| only == compiler)
    }

    fn applies(&self, compiler: &str, failure: &str) -> bool {
        self.is_for(compiler) && self.errors.iter().any(|error| failure.contains(error))
    }
}

impl SuiteCounts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.passed += other.passed;
        self.skipped += other.skipped;
        self.failed += other.failed;
    }
}

#[cfg(test)]
mod tests {
    use crate::script::Verdict;

    use super::*;

    const ONE: &str = r#"
        wasi = []
        [[skip]]
        reason = "off"
        errors = ["tail calls"]
        directives = { "v2/a.wast" = 2, "v1" = 1 }
        [[skip]]
        reason = "unfinished"
        errors = ["unimplemented"]
        compiler = "winch"
        directives = { "v2" = 1 }"#;

    fn report(suite: &str, file: &str, failures: &[&str]) -> ScriptReport {
        let verdict = |failure: &&str| Verdict { line: 7, failure: (!failure.is_empty()).then(|| (*failure).to_owned()) };
        ScriptReport { suite: suite.to_owned(), file: file.to_owned(), verdicts: failures.iter().map(verdict).collect() }
    }

    #[test]
    fn listed_failures_are_skipped_and_all_others_told() {
        let skips: Skips = toml::from_str(ONE).unwrap();
        let reports = [
            report("v1", "x.wast", &["", "no tail calls"]),
            report("v2", "a.wast", &["no tail calls", "no tail calls", "another"]),
            report("v2", "b.wast", &["no tail calls", ""]),
        ];
        let judgement = skips.judge("cranelift", &reports);
        assert_eq!(judgement.failures, ["v2/a.wast:7: another", "v2/b.wast:7: no tail calls"]);
        assert_eq!(judgement.stale, <[String; 0]>::default());
        assert_eq!(judgement.skipped, [3, 0]);
        let v2 = SuiteCounts { name: "v2".to_owned(), files: 2, passed: 1, skipped: 2, failed: 2 };
        assert_eq!(judgement.suites[1], v2);
    }

    #[test]
    fn entries_that_are_not_so_are_told() {
        let skips: Skips = toml::from_str(ONE).unwrap();
        let reports = [report("v1", "x.wast", &["no tail calls"; 2]), report("v2", "a.wast", &["no tail calls", ""])];
        let judgement = skips.judge("cranelift", &reports);
        assert_eq!(judgement.stale.len(), 2, "{:?}", judgement.stale);
        assert!(judgement.stale[0].starts_with("v1: 1 directives") && judgement.stale[0].ends_with("2 do"));
        assert!(judgement.stale[1].starts_with("v2/a.wast: 2 directives") && judgement.stale[1].ends_with("1 do"));
    }

    #[test]
    fn entry_of_one_compiler_says_nothing_of_the_other() {
        let skips: Skips = toml::from_str(ONE).unwrap();
        let reports = [
            report("v1", "x.wast", &["no tail calls"]),
            report("v2", "a.wast", &["no tail calls", "no tail calls", "unimplemented"]),
        ];
        assert_eq!(skips.judge("cranelift", &reports).failures.len(), 1);
        assert!(skips.judge("winch", &reports).is_clean());
    }

    #[test]
    fn reviewed_list_can_be_read_and_gives_reasons() {
        let skips = Skips::load().unwrap();
        assert!(
            skips.skip.iter().map(|skip| &skip.reason).chain(skips.wasi.iter().map(|skip| &skip.reason)).all(|r| r.len() > 20)
        );
    }
}
