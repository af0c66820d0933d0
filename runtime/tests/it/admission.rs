//! Admission in a real compile worker, and what becomes of modules that kill theirs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use adit_protocol::Digest;
use adit_runtime::{CompileError, CompileLimits, CompileReport, Runtime, RuntimeConfig};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::hostile::is_alone;
use crate::support::{Host, Job, worker_program};
use crate::workers::compile_workers;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// An empty command.
const START: &str = "(func (export \"_start\"))";
/// Ample for any module of these tests.
const AMPLE: CompileLimits = CompileLimits { wall: Duration::from_secs(120), cpu: Duration::from_secs(120), memory: 1 << 30 };

/// A host with these limits for compilations, over a folder that may have been another's.
/// Without baseline code, so that whoever compiles a module hears what came of it.
fn host(folder: &Arc<TempDir>, compile_limits: CompileLimits, wall_clock: fn() -> SystemTime) -> Host {
    let config = RuntimeConfig {
        worker_program: worker_program(),
        compile_limits,
        wall_clock,
        baseline_code: false,
        ..RuntimeConfig::new(folder.path().join("cache"))
    };
    Host { runtime: Runtime::new(config).unwrap(), folder: Arc::clone(folder) }
}

fn folder() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}

#[track_caller]
fn invalid(result: Result<CompileReport, CompileError>) -> String {
    match result {
        Err(CompileError::Invalid(reason)) => reason,
        other => panic!("expected an invalid module, got {other:?}"),
    }
}

/// A module within all limits that compiles for seconds: `functions` of about 200 KiB of arithmetic each, over values that live long.
pub(crate) fn slow_module(functions: usize) -> Vec<u8> {
    let step = "(local.set 0 (i64.add (i64.mul (local.get 1) (local.get 2)) (local.get 3)))
                (local.set 1 (i64.xor (i64.rotl (local.get 0) (local.get 3)) (local.get 2)))
                (if (i64.eqz (local.get 1)) (then (local.set 2 (i64.sub (local.get 0) (local.get 3)))))
                (local.set 3 (i64.load (i32.wrap_i64 (local.get 2))))";
    let function = format!("(func (param i64 i64 i64 i64) {})", step.repeat(4_500));
    wat::parse_str(format!("(module (memory 1) {} (func (export \"_start\")))", function.repeat(functions))).unwrap()
}

#[tokio::test]
async fn compile_worker_refuses_what_admission_refuses() {
    let host = Host::new(1);
    let cases = [
        (format!("(module (memory 1 1 shared) {START})"), "it needs the proposal threads, which no guest may use here"),
        (format!("(module {} {START})", "(global i32 (i32.const 0))".repeat(1001)), "globals: 1001 is over the limit of 1000"),
        (format!("(module (func $f) (start $f) {START})"), "it has a `start` section (function 0)"),
    ];
    for (text, want) in cases {
        let reason = invalid(host.compile(&wat::parse_str(text).unwrap()).await);
        assert!(reason.contains(want), "{reason}");
    }
    // Names come from strangers, and reasons end on terminals.
    let hostile = format!("(module (import \"env\" \"\\1b[2J\" (func)) {START})");
    let reason = invalid(host.compile(&wat::parse_str(hostile).unwrap()).await);
    assert!(reason.starts_with("unknown import: `env::\u{fffd}[2J`"), "{reason}");
}

#[tokio::test]
async fn module_over_the_owners_limit_is_refused_and_one_within_it_is_not() {
    let folder = folder();
    let wasm = Job::body("").wasm;
    let bytes = wasm.len() as u64;
    for (module_bytes_max, fits) in [(bytes, true), (bytes - 1, false)] {
        let cache = folder.path().join(module_bytes_max.to_string());
        let config = RuntimeConfig { worker_program: worker_program(), module_bytes_max, ..RuntimeConfig::new(cache) };
        let host = Host { runtime: Runtime::new(config).unwrap(), folder: Arc::clone(&folder) };
        let result = host.compile(&wasm).await;
        if fits {
            assert!(result.is_ok(), "{result:?}");
        } else {
            assert_eq!(invalid(result), format!("module bytes: {bytes} is over the limit of {module_bytes_max}"));
        }
    }
}

#[tokio::test]
async fn compiled_code_sent_as_a_module_is_refused_by_name() {
    let host = Host::new(1);
    host.compile(&Job::body("").wasm).await.unwrap();
    let [compiled] = &host.compiled_files()[..] else { panic!("one module, one file") };
    let reason = invalid(host.compile(&fs::read(compiled).unwrap()).await);
    assert_eq!(reason, "this is code that wasmtime compiled (.cwasm); send the module that it was compiled from");
}

/// The clock of `module_over_its_processor_time_is_refused_for_a_day`, in seconds.
static CLOCK: AtomicU64 = AtomicU64::new(1_800_000_000);

fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(CLOCK.load(Ordering::Relaxed))
}

#[tokio::test]
async fn module_over_its_processor_time_is_refused_for_a_day() {
    let folder = folder();
    let short = CompileLimits { cpu: Duration::from_secs(1), ..AMPLE };
    let wasm = slow_module(6);
    let strict = host(&folder, short, clock);
    assert_eq!(invalid(strict.compile(&wasm).await), "compilation took over 1 s of processor time");
    assert!(folder.path().join("cache/strikes").exists());
    // A restart forgets nothing.
    drop(strict);
    let strict = host(&folder, short, clock);
    let refused = "refused until 2027-01-16T08:00:00Z: it killed the compile worker twice";
    let second = invalid(strict.compile(&wasm).await);
    assert_eq!(second, format!("compilation took over 1 s of processor time; {refused}"));
    // From now on no worker is started for it, whatever the limits are.
    let ample = host(&folder, AMPLE, clock);
    assert_eq!(invalid(strict.compile(&wasm).await), refused);
    assert_eq!(invalid(ample.compile(&wasm).await), refused);
    // Others are not held to account for it.
    assert!(strict.compile(&Job::body("").wasm).await.is_ok());

    CLOCK.fetch_add(DAY.as_secs() - 1, Ordering::Relaxed);
    assert_eq!(invalid(ample.compile(&wasm).await), refused);
    CLOCK.fetch_add(1, Ordering::Relaxed);
    assert!(!ample.compile(&wasm).await.unwrap().cached);
}

#[tokio::test]
async fn module_whose_optimised_code_is_too_dear_is_refused_though_it_has_run() {
    let folder = folder();
    let config = RuntimeConfig {
        worker_program: worker_program(),
        compile_limits: CompileLimits { cpu: Duration::from_secs(1), ..AMPLE },
        ..RuntimeConfig::new(folder.path().join("cache"))
    };
    let host = Host { runtime: Runtime::new(config).unwrap(), folder };
    let wasm = slow_module(6);
    for _ in 0..2 {
        match host.compile(&wasm).await {
            Ok(_) => {}
            // On a machine without a baseline compiler, or too busy for it.
            other => assert!(invalid(other).starts_with("compilation took over 1 s")),
        }
        host.runtime.optimised(Digest::of(&wasm)).await;
    }
    let refused = invalid(host.compile(&wasm).await);
    assert!(refused.starts_with("refused until 2") && refused.ends_with("Z: it killed the compile worker twice"), "{refused}");
}

/// How often a module is compiled until it was over its wall time twice: a machine that is too busy says so instead.
const WALL_TRIES: usize = 30;

/// How long a process may be on its way out that was killed.
const GONE_TIME_MAX: Duration = Duration::from_secs(10);

/// Compiles a module, and says which processes did that.
async fn compile_watched(host: &Host, wasm: &[u8]) -> (Result<CompileReport, CompileError>, BTreeSet<u32>) {
    let mut seen = BTreeSet::new();
    let mut compiled = pin!(host.compile(wasm));
    loop {
        tokio::select! {
            result = &mut compiled => return (result, seen),
            () = sleep(Duration::from_millis(10)) => seen.extend(compile_workers()),
        }
    }
}

/// Waits until nothing is left of a process, not even its number.
async fn assert_gone(pid: u32) {
    let begun = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(begun.elapsed() < GONE_TIME_MAX, "process {pid} is there after {:?}", begun.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn module_over_its_wall_time_gets_a_strike() {
    let folder = folder();
    let short = CompileLimits { wall: Duration::from_millis(800), ..AMPLE };
    let host = host(&folder, short, SystemTime::now);
    let wasm = slow_module(30);
    let strikes = folder.path().join("cache/strikes");
    let mut reasons = Vec::new();
    for _ in 0..WALL_TRIES {
        let (result, workers) = compile_watched(&host, &wasm).await;
        match result {
            Err(CompileError::Invalid(reason)) => reasons.push(reason),
            // On a machine that is too busy to give the worker half of its time. That costs the module nothing.
            Err(CompileError::Node(reason)) => assert!(reason.starts_with("the compile worker got 0."), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(strikes.exists(), !reasons.is_empty(), "{reasons:?}");
        if reasons.len() == 3 {
            assert!(workers.is_empty() || !is_alone(), "{workers:?}, for a module that is struck out");
            break;
        }
        assert!(!workers.is_empty());
        // Other tests' workers, where they run in this process too, go on.
        for worker in workers.into_iter().filter(|_| is_alone()) {
            assert_gone(worker).await;
        }
    }
    let [first, second, third] = &reasons[..] else { panic!("this machine is busy all the time: {reasons:?}") };
    assert_eq!(first, "compilation took over 0.8 s");
    assert_eq!(second, &format!("{first}; {third}"));
    assert!(third.starts_with("refused until 2") && third.ends_with("Z: it killed the compile worker twice"), "{third}");
}

#[tokio::test]
async fn module_over_its_memory_is_refused_for_a_day() {
    let folder = folder();
    let small = CompileLimits { memory: 48 << 20, ..AMPLE };
    let host = host(&folder, small, SystemTime::now);
    // Within what a small module takes.
    assert!(host.compile(&Job::body("").wasm).await.is_ok());
    let wasm = slow_module(30);
    let first = invalid(host.compile(&wasm).await);
    assert_eq!(first, format!("the compiler died of it, probably over its limit of {} bytes of memory", 48 << 20));
    assert!(invalid(host.compile(&wasm).await).starts_with(&format!("{first}; refused until 2")));
    let third = invalid(host.compile(&wasm).await);
    assert!(third.starts_with("refused until 2") && third.ends_with("Z: it killed the compile worker twice"), "{third}");
}

#[tokio::test]
async fn strikes_that_no_key_vouches_for_are_ignored() {
    let folder = folder();
    let short = CompileLimits { cpu: Duration::from_secs(1), ..AMPLE };
    let wasm = slow_module(6);
    let first = host(&folder, short, SystemTime::now);
    invalid(first.compile(&wasm).await);
    invalid(first.compile(&wasm).await);
    let file = folder.path().join("cache/strikes");
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 1;
    fs::write(&file, bytes).unwrap();
    let restarted = host(&folder, short, SystemTime::now);
    assert_eq!(invalid(restarted.compile(&wasm).await), "compilation took over 1 s of processor time");
}
