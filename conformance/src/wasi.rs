//! Programs in the layout of wasi-testsuite
//! (<https://github.com/WebAssembly/wasi-testsuite/blob/main/doc/specification.md>): a folder with a `manifest.json`, in it programs,
//! and beside a program a `.json` of its name with what it is given and what it should answer. Each is run as a job, in the
//! deterministic profile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_protocol::{BlobRef, JobSpec, Outcome, PublicKey};
use adit_runtime::{Input, RunEvent, RunRequest, Runtime, RuntimeConfig, WorkerProgram};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::skips::WasiSkip;

/// What a manifest of tests for preview 1 says, where it says anything: older ones did not.
const PREVIEW_1: &str = "wasm32-wasip1";
/// Folders between a checkout's root and its deepest suite, with room to spare.
const DEPTH_MAX: usize = 8;
/// Whose jobs they are; nobody's key.
const TENANT: PublicKey = PublicKey([0x57; 32]);

/// What became of every program.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WasiReport {
    /// By suite, in the order in which they ran.
    pub suites: Vec<WasiCounts>,
    /// Each program that was not run or may fail, with the reason.
    pub skipped: Vec<String>,
    /// Each program that should have answered otherwise.
    pub failures: Vec<String>,
}

/// Numbers of one suite.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct WasiCounts {
    /// As its manifest names it.
    pub name: String,
    /// Programs that did what they should.
    pub passed: usize,
    /// Programs that the reviewed list excuses.
    pub skipped: usize,
    /// All others.
    pub failed: usize,
}

/// Runs every suite for preview 1 below `root`.
///
/// # Errors
/// Where there is none, a file cannot be read, or the runtime does not start.
pub async fn run(root: &Path, worker_program: WorkerProgram, skips: &[WasiSkip]) -> Result<WasiReport> {
    let host = Host::new(worker_program)?;
    let mut report = WasiReport::default();
    for suite in suites(root)? {
        let mut counts = WasiCounts { name: suite.name, ..WasiCounts::default() };
        for program in programs(&suite.folder)? {
            let name = format!("{}/{}", counts.name, file_name(&program));
            let Err(error) = host.check(&program).await else {
                counts.passed += 1;
                continue;
            };
            let words = format!("{error:#}");
            if let Some(skip) = skips.iter().find(|skip| skip.errors.iter().any(|error| words.contains(error))) {
                counts.skipped += 1;
                report.skipped.push(format!("{name}: {words}: {}", skip.reason));
            } else {
                counts.failed += 1;
                report.failures.push(format!("{name}: {words}"));
            }
        }
        report.suites.push(counts);
    }
    ensure!(!report.suites.is_empty(), "no manifest.json of tests for preview 1 lies below {}", root.display());
    Ok(report)
}

#[derive(Debug)]
struct Suite {
    name: String,
    folder: PathBuf,
}

/// The suites at and below a folder, by path.
fn suites(root: &Path) -> Result<Vec<Suite>> {
    let mut found = Vec::new();
    collect_suites(root, DEPTH_MAX, &mut found)?;
    found.sort_by(|a: &Suite, b: &Suite| a.folder.cmp(&b.folder));
    Ok(found)
}

fn collect_suites(folder: &Path, depth: usize, found: &mut Vec<Suite>) -> Result<()> {
    let manifest = folder.join("manifest.json");
    if manifest.is_file() {
        let manifest: Value = serde_json::from_slice(&read(&manifest)?).with_context(|| manifest.display().to_string())?;
        if manifest["version"].as_str().is_none_or(|version| version == PREVIEW_1) {
            let name = manifest["name"].as_str().unwrap_or("without a name").to_owned();
            found.push(Suite { name, folder: folder.to_owned() });
        }
    }
    for entry in entries(folder)? {
        // A link is no folder here, so the walk ends.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && depth > 0 && !file_name(&entry.path()).starts_with('.') {
            collect_suites(&entry.path(), depth - 1, found)?;
        }
    }
    Ok(())
}

/// The programs of a folder, by name.
fn programs(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = entries(folder)?.into_iter().map(|entry| entry.path());
    let mut programs: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "wasm" || end == "wat")).collect();
    programs.sort();
    Ok(programs)
}

fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect);
    entries.with_context(|| format!("{} cannot be read", folder.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What lies beside a program, as it is written: flat, or as a list of operations.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    args: Vec<String>,
    env: BTreeMap<String, String>,
    dirs: Vec<String>,
    stdin: String,
    stdout: Option<String>,
    stderr: Option<String>,
    exit_code: i32,
    /// Functions that the program is about; for people.
    wasi_functions: Vec<String>,
    /// What the program needs beyond the usual.
    proposals: Vec<String>,
    operations: Vec<Operation>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Operation {
    Run {
        #[serde(default)]
        args: Vec<String>,
        #[serde(default)]
        env: BTreeMap<String, String>,
        #[serde(default)]
        dirs: Vec<String>,
    },
    Write {
        id: String,
        payload: String,
    },
    Read {
        id: String,
        payload: String,
    },
    Wait {
        #[serde(default)]
        exit_code: i32,
    },
    /// Requests, connections and signals.
    #[serde(other)]
    Other,
}

/// What a program is given and what it should answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Case {
    args: Vec<String>,
    env: BTreeMap<String, String>,
    stdin: String,
    stdout: Option<String>,
    stderr: Option<String>,
    exit_code: i32,
}

impl Case {
    /// Of the program at `path`; without a file beside it, the case that the suite's specification sets.
    fn of(path: &Path) -> Result<Self> {
        let json = path.with_extension("json");
        if json.is_file() { Self::from_json(&read(&json)?).with_context(|| file_name(&json)) } else { Ok(Self::default()) }
    }

    fn from_json(json: &[u8]) -> Result<Self> {
        let Written { args, env, dirs, stdin, stdout, stderr, exit_code, wasi_functions: _, proposals, operations } =
            serde_json::from_slice(json)?;
        ensure!(dirs.is_empty(), "it needs directories: {}", dirs.join(", "));
        ensure!(proposals.is_empty(), "it needs a network or more: {}", proposals.join(", "));
        let case = Self { args, env, stdin, stdout, stderr, exit_code };
        operations.into_iter().try_fold(case, Self::with)
    }

    fn with(mut self, operation: Operation) -> Result<Self> {
        match operation {
            Operation::Run { args, env, dirs } => {
                ensure!(dirs.is_empty(), "it needs directories: {}", dirs.join(", "));
                (self.args, self.env) = (args, env);
            }
            Operation::Write { id, payload } if id == "stdin" => self.stdin.push_str(&payload),
            Operation::Read { id, payload } if id == "stdout" => self.stdout.get_or_insert_default().push_str(&payload),
            Operation::Read { id, payload } if id == "stderr" => self.stderr.get_or_insert_default().push_str(&payload),
            Operation::Wait { exit_code } => self.exit_code = exit_code,
            Operation::Write { .. } | Operation::Read { .. } | Operation::Other => bail!("it needs a network or more"),
        }
        Ok(self)
    }
}

/// A runtime with a folder of its own.
#[derive(Debug)]
struct Host {
    runtime: Runtime,
    folder: TempDir,
}

/// What a program answered.
#[derive(Debug)]
struct Answer {
    outcome: Outcome,
    reason: String,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Host {
    fn new(worker_program: WorkerProgram) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = RuntimeConfig { worker_program, ..RuntimeConfig::new(folder.path().join("cache")) };
        Ok(Self { runtime: Runtime::new(config)?, folder })
    }

    /// Runs a program and compares its answer with what is expected.
    async fn check(&self, program: &Path) -> Result<()> {
        let case = Case::of(program)?;
        let wasm = wat::parse_bytes(&read(program)?)?.into_owned();
        let answer = self.run(&wasm, &case).await?;
        let expected = Outcome::Finished { exit_code: case.exit_code };
        ensure!(answer.outcome == expected, "it ended as {:?} {}, where {expected:?} is expected", answer.outcome, answer.reason);
        same("output", &answer.stdout, case.stdout.as_deref())?;
        same("error", &answer.stderr, case.stderr.as_deref())
    }

    async fn run(&self, wasm: &[u8], case: &Case) -> Result<Answer> {
        let module = BlobRef::of(wasm);
        let file = self.folder.path().join("program.wasm");
        fs::write(&file, wasm)?;
        self.runtime.compile(module.digest, &file).await?;
        let input = case.stdin.clone().into_bytes();
        let mut spec = JobSpec::new(module, BlobRef::of(&input));
        spec.args.clone_from(&case.args);
        spec.env = case.env.clone().into_iter().collect();
        let request = RunRequest { tenant: TENANT, spec: Arc::new(spec), input: Input::Inline(input), named: Vec::new() };
        let mut run = self.runtime.start(request).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match run.next().await? {
                RunEvent::Log(bytes) => stderr.extend(bytes),
                RunEvent::Output(bytes) => stdout.extend(bytes),
                RunEvent::Progress { .. } => {}
                RunEvent::Ended(report) => {
                    stdout.extend(report.output.unwrap_or_default());
                    return Ok(Answer { outcome: report.outcome, reason: report.reason, stdout, stderr });
                }
            }
        }
    }
}

fn same(stream: &str, actual: &[u8], expected: Option<&str>) -> Result<()> {
    let Some(expected) = expected.filter(|expected| expected.as_bytes() != actual) else { return Ok(()) };
    bail!("its standard {stream} is {:?}, where {expected:?} is expected", String::from_utf8_lossy(actual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_a_case_say_the_same() {
        let flat = r#"{"args": ["a"], "env": {"K": "v"}, "stdin": "in", "stdout": "out", "stderr": "err", "exit_code": 3}"#;
        let operations = r#"{"operations": [
            {"type": "run", "args": ["a"], "env": {"K": "v"}},
            {"type": "write", "id": "stdin", "payload": "i"},
            {"type": "write", "id": "stdin", "payload": "n"},
            {"type": "read", "id": "stdout", "payload": "out"},
            {"type": "read", "id": "stderr", "payload": "err"},
            {"type": "wait", "exit_code": 3}]}"#;
        let case = Case::from_json(flat.as_bytes()).unwrap();
        assert_eq!(case, Case::from_json(operations.as_bytes()).unwrap());
        assert_eq!((case.stdin.as_str(), case.stdout.as_deref(), case.exit_code), ("in", Some("out"), 3));
    }

    #[test]
    fn what_a_guest_lacks_is_told() {
        for (json, want) in [
            (r#"{"dirs": ["fs-tests.dir"]}"#, "it needs directories: fs-tests.dir"),
            (r#"{"operations": [{"type": "run", "dirs": ["a", "b"]}]}"#, "it needs directories: a, b"),
            (r#"{"operations": [{"type": "connect", "id": "server"}]}"#, "it needs a network"),
            (r#"{"proposals": ["http"]}"#, "it needs a network or more: http"),
            (r#"{"exitcode": 1}"#, "unknown field `exitcode`"),
        ] {
            let error = format!("{:#}", Case::from_json(json.as_bytes()).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn only_suites_for_preview_1_are_found() {
        let root = tempfile::tempdir().unwrap();
        for (folder, manifest) in [
            ("c", r#"{"name": "old"}"#),
            ("rust/wasm32-wasip1", r#"{"name": "one", "version": "wasm32-wasip1"}"#),
            ("rust/wasm32-wasip3", r#"{"name": "three", "version": "wasm32-wasip3"}"#),
            (".git", r#"{"name": "hidden"}"#),
        ] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("manifest.json"), manifest).unwrap();
        }
        let names: Vec<_> = suites(root.path()).unwrap().into_iter().map(|suite| suite.name).collect();
        assert_eq!(names, ["old", "one"]);
    }
}
