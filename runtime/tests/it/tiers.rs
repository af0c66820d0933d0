//! Baseline code first and optimised code behind it: sooner answers, and the same bills.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_protocol::limits::FUEL_MAX;
use adit_protocol::{BlobRef, ByteCount, Fuel, Outcome, Profile};
use adit_runtime::{Canceller, CompileReport, RunError, RunEvent, RunReport, Runtime, RuntimeConfig};
use rustix::process::Signal;

use crate::support::{Host, Job, finish, first_log, is_emulated, worker_program};
use crate::workers::signal;

const READY: CompileReport = CompileReport { cached: true, compile_us: 0 };

/// Functions that take an optimising compiler a second or so.
fn many_functions() -> String {
    let step = "(local.set 0 (i32.rotl (i32.xor (local.get 0) (i32.mul (local.get 1) (i32.const 7919))) (i32.const 5)))
        (local.set 1 (i32.add (local.get 1) (i32.popcnt (local.get 0))))";
    let function =
        |n: u32| format!("(func (param i32 i32) (result i32) {} (i32.add (local.get 0) (i32.const {n})))", step.repeat(40));
    (0..500).map(function).collect()
}

/// A job whose `_start` has this body, in a module that is large enough to begin in baseline code and slow to be optimised.
fn large(body: &str) -> Job {
    Job::wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
            (import "adit_1" "log" (func $log (param i32 i32 i32)))
            (import "adit_1" "progress" (func $progress (param i64 i64)))
            (type $io (func (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2) (data (i32.const 1024) "hello, world")
            (table funcref (elem $fd_write $div $clock))
            (func $div (param i32) (result i32) (i32.div_u (i32.const 7) (local.get 0)))
            (func $deep (param i32) (result i32) (call $div (call $deep (i32.add (local.get 0) (i32.const 1)))))
            (func $write
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (i32.const 12))
                (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
            (func $read
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (i32.const 12))
                (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
            (func (export "_start") (local $n i64) {body}) {})"#,
        many_functions()
    ))
}

const HELLO: &[u8] = b"[info] hello\n";

const SPIN: &str = "(loop $forever (local.set $n (i64.add (local.get $n) (i64.const 1))) (br $forever))";

fn rounds(count: u64) -> String {
    format!("(loop $more (br_if $more (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const {count}))))")
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_bills_are_the_same_in_both_tiers() {
    let host = Host::new(1);
    let endings = [
        "(call $write)",
        "unreachable",
        "(drop (i32.load (i32.const 131072)))",
        SPIN,
        // In a loop, in a callee, and through a table.
        "(loop $again (local.set $n (i64.sub (local.get $n) (i64.const 1))) (drop (i64.div_u (i64.const 1) (local.get $n))) (br $again))",
        "(drop (call $div (i32.const 0)))",
        "(drop (call_indirect (param i32) (result i32) (i32.const 0) (i32.const 1)))",
        "(drop (call $deep (i32.const 0)))",
        // In what pays by its size, and past a limit.
        "(memory.fill (i32.const 131000) (i32.const 1) (i32.const 100000))",
        "(memory.copy (i32.const 131000) (i32.const 0) (i32.wrap_i64 (local.get $n)))",
        "(drop (memory.grow (i32.const 3))) unreachable",
        "(loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 100000)) (br $again))",
        // In the host, which a call through a table finds, too, and which charges until there is no more.
        "(drop (call $fd_write (i32.const 1) (i32.const -8) (i32.const 1) (i32.const 8)))",
        "(call $write) (drop (call_indirect (type $io) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 0)))",
        "(loop $again (drop (call_indirect (type $io) (i32.const 9) (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 0))) (br $again))",
        "(loop $again (call $log (i32.const 3) (i32.const 0) (i32.const 4096)) (br $again))",
    ];
    // The host's clock is the count.
    let dear = "(local.set $n (i64.rem_u (i64.const 977) (i64.const 13)))".repeat(8);
    let times = ["call $clock", "call_indirect (param i32 i64 i32) (result i32)"].map(|call| {
        let place = if call == "call $clock" { "" } else { "(i32.const 2)" };
        format!("{dear} (drop ({call} (i32.const 1) (i64.const 1) (i32.const 1024) {place})) (call $write)")
    });
    let log = "(call $log (i32.const 3) (i32.const 1024) (i32.const 5))";
    let endings = endings.into_iter().chain(times.each_ref().map(String::as_str));
    let mut jobs: Vec<_> = endings.map(|ending| (ending, large(&format!("{} {log} {ending}", rounds(10_000))))).collect();
    let unfit = "(data (i32.const 131071) \"ab\")";
    jobs.push((unfit, Job::wat(&format!(r#"(module (memory 2) {unfit} (func (export "_start")) {})"#, many_functions()))));
    for (ending, job) in jobs {
        let job = job.with(|spec| spec.limits.fuel = Fuel(1_000_000));
        let module = job.spec.module.digest;
        let run = host.start(job.clone()).await.unwrap();
        let begun = run.is_optimised();
        let first = finish(run).await.unwrap();
        host.runtime.optimised(module).await;
        assert_eq!(host.compile(&job.wasm).await, Ok(READY));
        let run = host.start(job).await.unwrap();
        assert!(run.is_optimised());
        let second = finish(run).await.unwrap();
        assert_eq!(begun, !cfg!(target_arch = "x86_64"));
        assert_eq!(first.report.usage, second.report.usage, "{ending}");
        let grown = if ending.contains("memory.grow") { 3 } else { 0 };
        assert_eq!(first.report.usage.memory_peak, ByteCount((2 + grown) * 65536), "{ending}");
        assert_eq!((first.outcome(), &first.report.reason), (second.outcome(), &second.report.reason), "{ending}");
        assert_eq!((first.output, first.log), (second.output, second.log), "{ending}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_job_goes_on_in_optimised_code_and_says_nothing_twice() {
    let host = Host::new(1);
    let hello =
        "(call $log (i32.const 3) (i32.const 1024) (i32.const 5)) (call $progress (i64.const 1) (i64.const 2)) (call $read)";
    let body = format!("{hello} {} (call $progress (i64.const 2) (i64.const 2)) (call $write)", rounds(4_000_000_000));
    let job = large(&body).with(|spec| spec.limits.fuel = Fuel(100_000_000_000));
    let input = host.folder.path().join("input");
    std::fs::write(&input, b"read from it").unwrap();
    let mut run = host.start_over(job.clone(), &input).await;
    let began_optimised = run.is_optimised();
    let (mut log, mut progress) = (Vec::new(), Vec::new());
    let first = loop {
        match run.next().await.unwrap() {
            RunEvent::Log(bytes) => log.extend(bytes),
            RunEvent::Progress { done, .. } => progress.push(done),
            RunEvent::Output(_) => panic!("so little comes at the end"),
            RunEvent::Ended(report) => break report,
        }
    };
    assert!(run.is_optimised() && began_optimised != cfg!(target_arch = "x86_64"));
    assert_eq!(first.outcome, Outcome::Finished { exit_code: 0 }, "{}", first.reason);
    assert_eq!((log.as_slice(), first.output.as_deref()), (HELLO, Some(b"read from it".as_slice())));
    assert!(progress.is_sorted(), "{progress:?}");

    let again = host.start_over(job, &input).await;
    assert!(again.is_optimised());
    assert_eq!(finish(again).await.unwrap().report.usage, first.usage);
}

#[tokio::test(flavor = "multi_thread")]
async fn slower_code_is_not_why_a_jobs_time_is_over() {
    let host = Host::new(1);
    let job = large(SPIN).with(|spec| (spec.limits.wall_ms, spec.limits.fuel) = (50, Fuel(FUEL_MAX)));
    let run = host.start(job.clone()).await.unwrap();
    let ended = finish(run).await.unwrap();
    assert_eq!(ended.outcome(), Outcome::TimedOut);
    // It ended in optimised code, which was there only then.
    assert_eq!(host.compiled_files().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_over_no_later_than_if_it_had_waited_for_optimised_code() {
    let (mut late, limit) = (Duration::MAX, Duration::from_millis(200));
    for _ in 0..5 {
        let host = Host::new(1);
        let job = large(SPIN).with(|spec| (spec.limits.wall_ms, spec.limits.fuel) = (limit.as_millis() as u64, Fuel(FUEL_MAX)));
        let module = job.spec.module.digest;
        let run = host.start(job).await.unwrap();
        let ready = async {
            host.runtime.optimised(module).await;
            Instant::now()
        };
        let (ended, ready) = tokio::join!(finish(run), ready);
        assert_eq!(ended.unwrap().outcome(), Outcome::TimedOut);
        late = late.min(ready.elapsed().saturating_sub(limit));
        if late < Duration::from_millis(100) {
            return;
        }
    }
    panic!("{late:?} late");
}

/// A job that tells of each ten thousand rounds, for ever.
fn counting() -> Job {
    let tick = "(local.set $round (i64.const 0))
        (loop $more (br_if $more (i64.lt_u (local.tee $round (i64.add (local.get $round) (i64.const 1))) (i64.const 10000))))
        (call $log (i32.const 3) (i32.const 1024) (i32.const 5))";
    let body = format!("(local $round i64) (loop $forever {tick} (br $forever))");
    large(&body).with(|spec| (spec.limits.fuel, spec.limits.log) = (Fuel(FUEL_MAX), ByteCount(64 << 20)))
}

/// How often a job said its line.
fn lines(log: &[u8]) -> u64 {
    log.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Stops a counting job that waits for its optimised code, its time in baseline code being over; how it ended, and its whole log.
/// Nothing where the code was there first.
async fn stop_while_it_waits(stop: fn(&Canceller)) -> Option<(RunReport, Vec<u8>)> {
    let host = Host::new(1);
    let mut run = host.start(counting().with(|spec| spec.limits.wall_ms = 60)).await.unwrap();
    let canceller = run.canceller();
    let mut log = first_log(&mut run).await;
    // Nothing comes any more of one whose time is over.
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(150), run.next()).await {
        match event.unwrap() {
            RunEvent::Log(more) => log.extend(more),
            _ => return None,
        }
    }
    let is_early = !run.is_optimised();
    let stopped = Instant::now();
    stop(&canceller);
    let ended = finish(run).await.unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
    log.extend(&ended.log);
    is_early.then_some((ended.report, log))
}

/// A run that waits was given up like one whose worker hangs: killed, told so, and billed by the worker's last note.
#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread")]
async fn job_that_waits_for_optimised_code_is_withdrawn_with_its_exact_bill() {
    let host = Host::new(1);
    let by_fuel = |fuel| counting().with(move |spec| spec.limits.fuel = Fuel(fuel));
    let [few, many] = [2_000_000, 102_000_000];
    let [before, after] = [host.run(by_fuel(few)).await, host.run(by_fuel(many)).await];
    let each = (many - few) as f64 / (lines(&after.log) - lines(&before.log)) as f64;
    let stops: [(fn(&Canceller), _, _); 2] = [
        (Canceller::cancel, Outcome::Cancelled, "withdrawn while it ran"),
        (Canceller::preempt, Outcome::Preempted, "the node's owner took the machine back"),
    ];
    for (stop, outcome, reason) in stops {
        let mut tries = 0;
        let (report, log) = loop {
            match stop_while_it_waits(stop).await {
                Some(ended) => break ended,
                None => tries += 1,
            }
            assert!(tries < 5, "the optimised code is always there first");
        };
        assert_eq!((report.outcome, report.reason.as_str()), (outcome, reason));
        // One tick more was begun, and a fixed price and the rounding are less than one.
        let (billed, told) = (report.usage.fuel.0 as f64 / each, lines(&log) as f64);
        assert!((told..told + 2.0).contains(&billed), "{billed} billed, {told} told");
    }
}

/// Writes so many pages of 4 KiB.
fn pages(count: u64) -> String {
    format!(
        "(local.set $n (i64.const 0)) (i32.store (i32.const 0) (i32.const 2048)) (i32.store (i32.const 4) (i32.const 4096))
        (loop $more
            (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
            (br_if $more (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const {count}))))
        (local.set $n (i64.const 0))"
    )
}

/// The output that a receipt of this run names.
fn written(report: &RunReport) -> BlobRef {
    BlobRef { digest: report.output_digest, bytes: report.usage.bytes_out.0 }
}

/// Stops a job that began again before it has written again what it had; its report, and what was given out. It writes `first`, and a
/// hundred milliseconds or so later 128 KiB. Nothing where the optimised code was there too soon, or the second run was too fast.
async fn stop_before_it_has_written_all_again(first: &str, stop: fn(&Canceller)) -> Option<(RunReport, Vec<u8>)> {
    let host = Host::new(1);
    // That it has written the rest is less than before, so that the first is news again when it begins again.
    let tell = |done: u64| format!("(call $progress (i64.const {done}) (i64.const 0))");
    let body = format!("{first} {} {} {} {} {SPIN}", tell(2), rounds(50_000_000), pages(32), tell(1));
    let mut run = host.start(large(&body).with(|spec| spec.limits.fuel = Fuel(FUEL_MAX))).await.unwrap();
    let (canceller, mut given, mut is_all_given) = (run.canceller(), Vec::new(), false);
    loop {
        match run.next().await.unwrap() {
            RunEvent::Output(bytes) => given.extend(bytes),
            RunEvent::Progress { done: 1, .. } if !run.is_optimised() => is_all_given = true,
            RunEvent::Progress { .. } if !run.is_optimised() => {}
            RunEvent::Progress { done: 2, .. } if is_all_given => stop(&canceller),
            RunEvent::Progress { .. } => return None,
            RunEvent::Log(_) => panic!("it logs nothing"),
            RunEvent::Ended(report) => return Some((*report, given)),
        }
    }
}

/// Its report told the digest of what the second run had written, of which nothing was given out, and its node sent what the first had: no
/// gateway takes such a receipt, so whoever withdrew a job in time had computed for nothing.
#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread")]
async fn job_that_is_stopped_before_it_has_written_all_again_has_no_output() {
    // What travels in one message, and what comes in pieces.
    let firsts = ["(call $write)".to_owned(), pages(16)];
    let stops: [(fn(&Canceller), _); 2] = [(Canceller::cancel, Outcome::Cancelled), (Canceller::preempt, Outcome::Preempted)];
    for (first, (stop, outcome)) in firsts.iter().flat_map(|first| stops.map(|stop| (first, stop))) {
        let mut tries = 0;
        let (report, given) = loop {
            match stop_before_it_has_written_all_again(first, stop).await {
                Some(ended) => break ended,
                None => tries += 1,
            }
            assert!(tries < 5, "the optimised code is always there too soon, or its run too fast");
        };
        assert_eq!(report.outcome, outcome);
        assert!(given.len() >= 128 << 10 && report.usage.fuel.0 > 0, "{} given, {report:?}", given.len());
        assert_eq!((written(&report), report.output), (BlobRef::of(b""), Some(Vec::new())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_job_that_has_said_something_goes_on_as_it_is() {
    let host = Host::new(1);
    let body = format!("(call $log (i32.const 3) (i32.const 1024) (i32.const 5)) {SPIN}");
    let job = large(&body).with(|spec| (spec.profile, spec.limits.fuel) = (Profile::Open, Fuel(FUEL_MAX)));
    let module = job.spec.module.digest;
    let mut run = host.start(job).await.unwrap();
    assert_eq!(first_log(&mut run).await, HELLO);
    // It may have begun again before it said so much.
    let is_optimised = run.is_optimised();
    host.runtime.optimised(module).await;
    let canceller = run.canceller();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        canceller.cancel();
    });
    match run.next().await.unwrap() {
        RunEvent::Ended(report) => assert_eq!(report.outcome, Outcome::Cancelled),
        other => panic!("{other:?}"),
    }
    assert_eq!(run.is_optimised(), is_optimised);
}

#[tokio::test(flavor = "multi_thread")]
async fn baseline_code_is_kept_until_the_optimised_code_is_there() {
    let host = Host::new(1);
    let job = large("(call $write)");
    assert!(!host.compile(&job.wasm).await.unwrap().cached);
    // A node that ends while its compiler works.
    let folder = Arc::clone(&host.folder);
    drop(host);
    let host = Host::over(folder, 1);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(host.compile(&job.wasm).await, Ok(READY));
    }
    let module = job.spec.module.digest;
    finish(host.start(job).await.unwrap()).await.unwrap().assert_ok();
    host.runtime.optimised(module).await;
    assert_eq!(host.compiled_files().len(), 1);
}

#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread")]
async fn compilation_that_the_owner_ends_is_made_up_for_later() {
    let host = Host::new(1);
    let job = large("(call $write)");
    let module = job.spec.module.digest;
    assert!(!host.compile(&job.wasm).await.unwrap().cached);
    host.runtime.stop_compiling();
    host.runtime.optimised(module).await;
    let started = host.runtime.start(job.clone().request()).await;
    assert!(matches!(started, Err(RunError::NotCompiled(missing)) if missing == module));

    assert_eq!(host.compile(&job.wasm).await, Ok(READY), "the baseline code is still there");
    host.runtime.optimised(module).await;
    let run = host.start(job).await.unwrap();
    assert!(run.is_optimised());
    finish(run).await.unwrap().assert_ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_who_wants_no_baseline_code_gets_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = RuntimeConfig {
        worker_program: worker_program(),
        allow_weak_sandbox: is_emulated(),
        baseline_code: false,
        ..RuntimeConfig::new(folder.path().join("cache"))
    };
    let runtime = Runtime::new(config).unwrap();
    let job = large("(call $write)");
    let path = folder.path().join("module.wasm");
    std::fs::write(&path, &job.wasm).unwrap();
    runtime.compile(job.spec.module.digest, &path).await.unwrap();
    let run = runtime.start(job.request()).await.unwrap();
    assert!(run.is_optimised());
    finish(run).await.unwrap().assert_ok();
}

/// Baseline code has its count in a global, which nobody else can read: it is shown in each round of a loop.
#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_used_in_baseline_code_is_known_as_of_a_moment_before() {
    const FUEL_MIN: u64 = 1_000_000;
    let host = Host::new(1);
    let mut tries = 0;
    let usage = loop {
        // Another module each time, which has no optimised code.
        let body = format!("(local.set $n (i64.const {tries})) (call $log (i32.const 3) (i32.const 1024) (i32.const 5)) {SPIN}");
        let mut run = host.start(large(&body).with(|spec| spec.limits.fuel = Fuel(FUEL_MAX))).await.unwrap();
        first_log(&mut run).await;
        // For some hundred million fuel in optimised code.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let is_baseline = !run.is_optimised();
        signal(run.worker_pid().unwrap(), Signal::KILL);
        let died = run.next().await.unwrap_err();
        let RunError::WorkerDied { usage, .. } = died else { panic!("{died}") };
        tries += 1;
        if is_baseline && (usage.fuel.0 > FUEL_MIN || tries >= 5) {
            break usage;
        }
        assert!(tries < 20, "the optimised code is always there first");
    };
    assert!(usage.fuel.0 > FUEL_MIN, "{} after a tenth of a second", usage.fuel);
}
