//! The harness for wasi-testsuite, over programs of ours.

use std::fs;
use std::path::Path;

use adit_conformance::skips::Skips;
use adit_conformance::wasi::{WasiCounts, WasiReport, run};
use adit_runtime::WorkerProgram;

async fn report(root: &Path) -> WasiReport {
    let worker = WorkerProgram::at(env!("CARGO_BIN_EXE_adit-conformance"));
    run(root, worker, &Skips::load().unwrap().wasi).await.unwrap()
}

#[tokio::test]
async fn our_programs_pass_and_what_needs_directories_is_skipped() {
    let report = report(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/wasi"))).await;
    assert_eq!(report.failures, <[String; 0]>::default());
    let counts = WasiCounts { name: "Adit WASI tests".to_owned(), passed: 3, skipped: 1, failed: 0 };
    assert_eq!(report.suites, [counts]);
    assert!(report.skipped[0].contains("directory.wat: directory.json: it needs directories: fs-tests.dir"), "{report}");
}

#[tokio::test]
async fn wrong_answers_are_told() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
    write("manifest.json", r#"{"name": "wrong"}"#);
    write("code.wat", r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    write("code.json", r#"{"exit_code": 1}"#);
    write("silent.wat", r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    write("silent.json", r#"{"stdout": "hello"}"#);
    write("stop.wat", r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#);
    write("import.wat", r#"(module (import "wasi" "thread-spawn" (func (param i32) (result i32))) (func (export "_start")))"#);
    let report = report(root.path()).await;
    assert_eq!(report.suites, [WasiCounts { name: "wrong".to_owned(), passed: 0, skipped: 0, failed: 4 }]);
    for (failure, want) in report.failures.iter().zip(["exit_code: 0", "thread-spawn", "\"\", where \"hello\"", "Trap"]) {
        assert!(failure.contains(want), "{want}: {failure}");
    }
}
