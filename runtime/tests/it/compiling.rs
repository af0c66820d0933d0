//! Modules on their way to machine code: refused, cached, shared, restored.

use std::fs;
use std::sync::Arc;

use adit_protocol::Digest;
use adit_runtime::{CompileError, CompileReport, RunError, Runtime, RuntimeConfig, WorkerProgram};

use crate::support::{Host, Job};

const CACHED: CompileReport = CompileReport { cached: true, compile_us: 0 };

#[track_caller]
fn invalid(result: Result<CompileReport, CompileError>) -> String {
    match result {
        Err(CompileError::Invalid(reason)) => reason,
        other => panic!("expected an invalid module, got {other:?}"),
    }
}

#[tokio::test]
async fn modules_that_cannot_run_are_refused_with_the_reason() {
    let host = Host::new(1);
    let cases = [
        (r#"(module (import "env" "mystery" (func)) (func (export "_start")))"#, "unknown import: `env::mystery`"),
        (
            r#"(module (import "adit_1" "log" (func (param i64))) (func (export "_start")))"#,
            "incompatible import type for `adit_1::log`",
        ),
        (
            r#"(module (import "adit_2" "log" (func (param i32 i32 i32))) (func (export "_start")))"#,
            "unknown import: `adit_2::log`",
        ),
        (r#"(module (func (export "main")))"#, "exports no function `_start`"),
        (r#"(module (func (export "_start") (param i32)))"#, "`_start` is not a function without parameters"),
        (r#"(module (memory (export "_start") 1))"#, "`_start` is not a function without parameters"),
        (r#"(module (memory 1) (memory 1) (func (export "_start")))"#, "multiple memories"),
        (r#"(module (memory i64 1) (func (export "_start")))"#, "memory64"),
        (r#"(module (memory 1 1 shared) (func (export "_start")))"#, "threads"),
        (r#"(module (func (export "_start") (return_call 0)))"#, "tail calls"),
        (r#"(component)"#, "component"),
    ];
    for (text, want) in cases {
        let reason = invalid(host.compile(&wat::parse_str(text).unwrap()).await);
        assert!(reason.contains(want), "{text}: {reason}");
    }
    assert!(invalid(host.compile(b"(module)").await).contains("text"));
    assert!(invalid(host.compile(&fs::read("/proc/self/exe").unwrap()[..4096]).await).contains("ELF"));
    assert!(invalid(host.compile(b"").await).contains("empty"));
    assert!(invalid(host.compile(&[7; 100]).await).contains("at offset 0x0"));
    assert_eq!(host.compiled_files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn truncated_modules_are_refused_with_the_offset() {
    let host = Host::new(1);
    let wasm = Job::body("").wasm;
    for cut in [9, wasm.len() / 2, wasm.len() - 1] {
        let reason = invalid(host.compile(&wasm[..cut]).await);
        assert!(reason.contains("at offset 0x"), "{cut}: {reason}");
    }
}

#[tokio::test]
async fn module_with_a_bad_body_is_refused_with_the_offset() {
    let text = r#"(module (func (export "_start") (drop (i32.add (i32.const 1) (i64.const 2)))))"#;
    let reason = invalid(Host::new(1).compile(&wat::parse_str(text).unwrap()).await);
    assert!(reason.contains("type mismatch: expected i32, found i64 (at offset 0x27)"), "{reason}");
}

#[tokio::test]
async fn second_compilation_is_cached_and_a_restart_keeps_it() {
    let host = Host::new(1);
    let job = Job::body("");
    let first = host.compile(&job.wasm).await.unwrap();
    assert!(!first.cached && first.compile_us > 0);
    assert_eq!(host.compile(&job.wasm).await, Ok(CACHED));
    let restarted = Host::over(Arc::clone(&host.folder), 1);
    drop(host);
    assert_eq!(restarted.compile(&job.wasm).await, Ok(CACHED));
    restarted.run(job).await.assert_ok();
}

#[tokio::test]
async fn altered_code_is_compiled_again() {
    let host = Host::new(1);
    let job = Job::body("");
    host.compile(&job.wasm).await.unwrap();
    let [file] = &host.compiled_files()[..] else { panic!("one module, one file") };
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
    let restarted = Host::over(Arc::clone(&host.folder), 1);
    assert!(!restarted.compile(&job.wasm).await.unwrap().cached);
    restarted.run(job).await.assert_ok();
}

#[tokio::test]
async fn compilations_of_one_module_at_once_are_one() {
    let host = Host::new(1);
    let wasm = Job::body("").wasm;
    let (a, b, c) = tokio::join!(host.compile(&wasm), host.compile(&wasm), host.compile(&wasm));
    let first = a.unwrap();
    assert!(!first.cached);
    // The same measured time, so the same compilation.
    assert_eq!((b.unwrap(), c.unwrap()), (first, first));
}

#[tokio::test]
async fn dropped_compilation_is_taken_over() {
    let host = Host::new(1);
    let wasm = Job::body("").wasm;
    {
        let mut first = Box::pin(host.compile(&wasm));
        let mut second = Box::pin(host.compile(&wasm));
        // Both have begun: the first drives, the second waits for it.
        assert!(futures_poll(&mut first).await.is_none());
        assert!(futures_poll(&mut second).await.is_none());
        drop(first);
        assert!(!second.await.unwrap().cached);
    }
    assert_eq!(host.compile(&wasm).await, Ok(CACHED));
}

/// Polls a future once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn file_with_other_bytes_than_its_name_is_this_nodes_fault() {
    let host = Host::new(1);
    let path = host.folder.path().join("module");
    fs::write(&path, Job::body("").wasm).unwrap();
    let result = host.runtime.compile(Digest::of(b"another"), &path).await;
    assert!(matches!(&result, Err(CompileError::Node(reason)) if reason.contains("has the bytes of")), "{result:?}");
    let missing = host.runtime.compile(Digest::of(b"another"), &host.folder.path().join("missing")).await;
    assert!(matches!(missing, Err(CompileError::Node(_))), "{missing:?}");
}

#[tokio::test]
async fn module_that_was_never_compiled_does_not_run() {
    let host = Host::new(1);
    let job = Job::body("");
    let module = job.spec.module.digest;
    let error = host.runtime.start(job.request()).await.unwrap_err();
    assert!(matches!(error, RunError::NotCompiled(digest) if digest == module), "{error}");
}

fn host_with_cache(cache_bytes_max: u64) -> Host {
    Host::with(Arc::new(tempfile::tempdir().unwrap()), |config| config.cache_bytes_max = cache_bytes_max)
}

#[tokio::test]
async fn code_that_the_cache_never_holds_is_for_another_node() {
    let host = host_with_cache(1_000);
    let error = host.compile(&Job::body("").wasm).await.unwrap_err();
    assert!(matches!(&error, CompileError::TooLarge(reason) if reason.contains("the cache holds 1000")), "{error}");
    assert!(host.compiled_files().is_empty());
}

#[tokio::test]
async fn cache_is_bounded() {
    let host = host_with_cache(100_000);
    for n in 0..8 {
        host.compile(&Job::body(&format!("(local.set $i (i32.const {n}))")).wasm).await.unwrap();
    }
    let bytes: u64 = host.compiled_files().iter().map(|f| f.metadata().unwrap().len()).sum();
    assert!(bytes > 0 && bytes <= 100_000, "{bytes}");
}

#[tokio::test]
async fn program_that_is_no_worker_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = RuntimeConfig { worker_program: WorkerProgram::at("/nowhere"), ..RuntimeConfig::new(folder.path()) };
    assert!(Runtime::new(missing).unwrap_err().to_string().starts_with("a sandbox worker cannot be started"));
}
