//! Guests that reach a limit, and guests that do what wasm forbids.

use std::time::{Duration, Instant};

use adit_protocol::limits::FUEL_MAX;
use adit_protocol::{ByteCount, Digest, Fuel, Outcome, Profile, TrapKind, Usage};
use adit_runtime::lab::{Lab, Options, UNITS_PER_FUEL, fuel, instrument};
use adit_runtime::{RunError, RunEvent};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::time::timeout;

use crate::golden::engines::{others, shipped};
use crate::hostile::BUSY_LATE_MAX;
use crate::support::{Host, Job, echo, finish, first_log, spin, spin_after_log};

#[tokio::test]
async fn out_of_fuel_uses_the_limit_exactly() {
    let host = Host::new(1);
    for fuel in [10_000, 12_345_678, 20_000_000] {
        let ended = host.run(spin().with(|spec| spec.limits.fuel = Fuel(fuel))).await;
        assert_eq!(ended.outcome(), Outcome::OutOfFuel);
        assert_eq!(ended.report.usage.fuel, Fuel(fuel));
        assert!(ended.report.reason.contains("in function"), "{}", ended.report.reason);
    }
}

#[tokio::test]
async fn fuel_is_the_same_every_time_and_in_every_worker() {
    let host = Host::new(1);
    let job = Job::body(
        "(loop $more
            (local.set $n (i64.add (local.get $n) (i64.const 1)))
            (br_if $more (i64.lt_u (local.get $n) (i64.const 3000000))))
         (call $write (i32.const 1) (i32.const 1024) (i32.const 12))",
    );
    let first = host.run(job.clone()).await;
    let same_worker = host.run(job.clone()).await;
    let other_worker = Host::new(1).run(job.tenant(2)).await;
    first.assert_ok();
    assert!(first.report.usage.fuel.0 > 1_000_000, "{}", first.report.usage.fuel);
    assert_eq!(first.report.usage, same_worker.report.usage);
    assert_eq!(first.report.usage, other_worker.report.usage);
}

#[tokio::test]
async fn traps_are_told_apart_and_placed() {
    let host = Host::new(1);
    let cases = [
        ("unreachable", TrapKind::Unreachable),
        ("(drop (i32.load (i32.const 10000000)))", TrapKind::MemoryOutOfBounds),
        ("(memory.fill (i32.const 0) (i32.const 0) (i32.const 10000000))", TrapKind::MemoryOutOfBounds),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", TrapKind::IntegerDivisionByZero),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", TrapKind::IntegerOverflow),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", TrapKind::BadConversionToInteger),
        ("(call_indirect (i32.const 9))", TrapKind::TableOutOfBounds),
        ("(call_indirect (i32.const 1))", TrapKind::IndirectCallToNull),
        ("(call_indirect (param i32) (i32.const 0) (i32.const 0))", TrapKind::BadSignature),
        ("(call $render)", TrapKind::StackOverflow),
    ];
    for (body, kind) in cases {
        let text = format!(
            r#"(module (memory (export "memory") 1) (table 2 funcref) (elem (i32.const 0) $start)
                (func $start (export "_start") (call $render)) (func $render {body}))"#
        );
        let ended = host.run(Job::wat(&text)).await;
        assert_eq!(ended.outcome(), Outcome::Trapped(kind), "{body}: {}", ended.report.reason);
        let want = format!("{kind} in function render");
        assert!(ended.report.reason.starts_with(&want), "{body}: {}", ended.report.reason);
    }
}

#[tokio::test]
async fn rust_names_are_readable_in_reasons() {
    let text = r#"(module (func (export "_start") (call $_ZN4tile6render17h0123456789abcdefE))
        (func $_ZN4tile6render17h0123456789abcdefE unreachable))"#;
    let ended = Host::new(1).run(Job::wat(text)).await;
    assert!(ended.report.reason.contains("in function tile::render"), "{}", ended.report.reason);
}

#[tokio::test]
async fn pointers_outside_of_memory_trap_in_our_functions() {
    let host = Host::new(1);
    for (pointer, bytes) in [(131_072, 1), (131_071, 2), (-1, 1), (0, -1), (-1, -1)] {
        let ended = host.run(Job::body(&format!("(call $log (i32.const 1) (i32.const {pointer}) (i32.const {bytes}))"))).await;
        assert_eq!(ended.outcome(), Outcome::Trapped(TrapKind::HostCall), "{pointer} {bytes}");
        assert!(
            ended.report.reason.starts_with("adit_1.log got a pointer outside of memory in function"),
            "{}",
            ended.report.reason
        );
        assert_eq!(ended.log, b"");
    }
    let edge = host.run(Job::body("(call $log (i32.const 1) (i32.const 131071) (i32.const 1))")).await;
    assert_eq!(edge.assert_ok().log, b"[error] \0\n");
}

#[tokio::test]
async fn memory_over_its_limit_is_out_of_memory() {
    let host = Host::new(1);
    let small = |job: Job| job.with(|spec| spec.limits.memory = ByteCount(4 * 65536));
    let grow = "(memory.grow (i32.const 3)) (i32.const -1) (i32.eq)";

    // Refused, and the guest minds: by a trap, or by an exit code.
    for answer in ["(if (then unreachable))", "(if (then (call $proc_exit (i32.const 1))))"] {
        let ended = host.run(small(Job::body(&format!("{grow} {answer}")))).await;
        assert_eq!(ended.outcome(), Outcome::OutOfMemory, "{answer}");
        assert_eq!(ended.report.usage.memory_peak, ByteCount(2 * 65536));
        assert!(ended.report.reason.contains("262144 bytes"), "{}", ended.report.reason);
    }
    // Refused, and the guest does with what it has.
    host.run(small(Job::body(&format!("{grow} (if (then (return))) unreachable")))).await.assert_ok();
    // Within the limit.
    let ended = host.run(small(Job::body("(drop (memory.grow (i32.const 2)))"))).await;
    assert_eq!(ended.assert_ok().report.usage.memory_peak, ByteCount(4 * 65536));
    // Over it from the start.
    let ended = host.run(small(Job::wat(r#"(module (memory 5) (func (export "_start")))"#))).await;
    assert_eq!(ended.outcome(), Outcome::OutOfMemory);
    assert_eq!(ended.report.usage.memory_peak, ByteCount(0));
}

/// Its memory was made by then and its pages were in its fuel, and its bill told of no memory.
#[test]
fn guest_whose_segments_do_not_fit_is_billed_for_the_memory_that_it_began_with() {
    let rows = [
        (r#"(memory 1) (data (i32.const 65535) "ab")"#, 1, TrapKind::MemoryOutOfBounds),
        // One of two, and of pages not all of which are kept from job to job.
        (r#"(memory 40 50) (data (i32.const 0) "ab") (data (i32.const -1) "ab")"#, 40, TrapKind::MemoryOutOfBounds),
        ("(memory 3) (table 1 funcref) (elem (i32.const 1) $start)", 3, TrapKind::TableOutOfBounds),
        ("(table 1 funcref) (elem (i32.const 1) $start)", 0, TrapKind::TableOutOfBounds),
    ];
    let engines = others().into_iter().map(|engine| (engine.name, engine.config));
    for (name, config) in engines.chain([("shipped", shipped())]) {
        let mut lab = Lab::new(&config).unwrap();
        for (declarations, pages, kind) in rows {
            let job = Job::wat(&format!(r#"(module {declarations} (func $start (export "_start")))"#));
            let units = instrument(&job.wasm, &Options::default()).unwrap().facts.instantiation_units();
            let program = lab.compile(&job.wasm, &Options::default()).unwrap();
            let report = lab.run(&program, &job.spec, b"").unwrap().run;
            let want = Usage {
                fuel: fuel(units),
                memory_peak: ByteCount(pages * 65536),
                memory_fuel: u128::from(pages * 65536) * u128::from(units) / u128::from(UNITS_PER_FUEL),
                ..Usage::default()
            };
            assert_eq!((report.outcome, report.usage), (Outcome::Trapped(kind), want), "{declarations} under {name}");
        }
    }
}

/// A module whose own maximum refuses it a growth was told that its job's limit did, and its exit code or trap was lost.
#[tokio::test]
async fn growth_is_out_of_memory_only_where_the_jobs_limit_refused_it() {
    let host = Host::new(1);
    let pages = |pages: u64| ByteCount(pages * 65536);
    let (exit, trap) = ("(call $proc_exit (i32.const 3))", "unreachable");
    let (exited, trapped) = (Outcome::Finished { exit_code: 3 }, Outcome::Trapped(TrapKind::Unreachable));
    for (memory, grow, limit, answer, want) in [
        // Over the module's own maximum, whatever the limit.
        ("1 2", 9, pages(4_096), exit, exited),
        ("1 2", 9, pages(4_096), trap, trapped),
        ("1 2", 9, pages(4), exit, exited),
        ("1 2", -1, pages(4), trap, trapped),
        // Over the limit alone.
        ("1 8", 4, pages(4), exit, Outcome::OutOfMemory),
        ("1 8", 4, pages(4), trap, Outcome::OutOfMemory),
        // No maximum, and the most that there can be.
        ("1", 9, pages(4), exit, Outcome::OutOfMemory),
        ("1", 65_536, pages(4), exit, Outcome::OutOfMemory),
        ("1", 65_536, pages(65_536), exit, Outcome::OutOfMemory),
        ("1 65536", 65_536, pages(4), exit, Outcome::OutOfMemory),
    ] {
        let job = Job::wat(&format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
                (memory (export "memory") {memory})
                (func (export "_start") (if (i32.eq (memory.grow (i32.const {grow})) (i32.const -1)) (then {answer}))))"#
        ));
        let ended = host.run(job.with(|spec| spec.limits.memory = limit)).await;
        assert_eq!(
            ended.outcome(),
            want,
            "(memory {memory}) grown by {grow}, of {limit:?}, then {answer}: {}",
            ended.report.reason
        );
    }
    // A table's maximum is nobody's limit of memory.
    let table = Job::wat(
        r#"(module (table 1 2 funcref)
            (func (export "_start") (if (i32.eq (table.grow (ref.null func) (i32.const 9)) (i32.const -1)) (then unreachable))))"#,
    );
    assert_eq!(host.run(table).await.outcome(), trapped);
}

#[tokio::test]
async fn all_of_the_address_space_can_be_had() {
    let job = Job::body(
        "(if (i32.eq (memory.grow (i32.const 65534)) (i32.const -1)) (then unreachable))
         (i32.store8 (i32.const -1) (i32.const 7))",
    );
    let ended = Host::new(1).run(job.with(|spec| spec.limits.memory = ByteCount(4 << 30))).await;
    assert_eq!(ended.assert_ok().report.usage.memory_peak, ByteCount(4 << 30));
}

/// What a machine cannot give is no answer to a guest: on another machine it would have got it.
#[tokio::test]
async fn growth_that_the_machine_refuses_is_never_seen_by_the_guest() {
    let host = Host::new(1);
    let rounds =
        "(loop $more (br_if $more (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const 500000000))))";
    let job = Job::body(&format!(
        "(call $log (i32.const 3) (i32.const 1024) (i32.const 5)) {rounds}
         (drop (memory.grow (i32.const 16384)))
         (call $write (i32.const 1) (i32.const 1024) (i32.const 12))"
    ));
    let job = job.with(|spec| (spec.limits.memory, spec.limits.fuel) = (ByteCount(2 << 30), Fuel(FUEL_MAX)));
    let mut run = host.start(job.clone()).await.unwrap();
    first_log(&mut run).await;
    let pid = Pid::from_raw(run.worker_pid().unwrap() as i32);
    let nothing_more = Rlimit { current: Some(64 << 20), maximum: Some(64 << 20) };
    prlimit(pid, Resource::Data, nothing_more).unwrap();
    let error = loop {
        match run.next().await {
            Ok(RunEvent::Ended(report)) => panic!("{report:?}"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, RunError::WorkerDied { .. }), "{error}");
    host.run(job).await.assert_ok();
}

#[tokio::test]
async fn table_grows_to_its_bound_only() {
    let text = r#"(module (table $t 1 funcref) (func (export "_start")
        (if (i32.ne (table.grow $t (ref.null func) (i32.const 99999)) (i32.const 1)) (then unreachable))
        (if (i32.ne (table.grow $t (ref.null func) (i32.const 1)) (i32.const -1)) (then unreachable))))"#;
    Host::new(1).run(Job::wat(text)).await.assert_ok();
}

#[tokio::test]
async fn endless_guest_times_out_with_its_fuel() {
    let started = Instant::now();
    let ended = Host::new(1).run(spin().with(|spec| spec.limits.wall_ms = 300)).await;
    assert_eq!(ended.outcome(), Outcome::TimedOut);
    assert_eq!(ended.report.reason, "the limit of 300 ms was reached");
    assert!(ended.report.usage.fuel.0 >= 10_000_000, "{}", ended.report.usage.fuel);
    assert!((300_000..2_000_000).contains(&ended.report.run_us), "{}", ended.report.run_us);
    assert!(started.elapsed().as_secs() < 10);
}

/// Sleeps for an hour, then writes how much later it is by the monotonic clock.
const SLEEP: &str = r#"(module
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (drop (call $time (i32.const 1) (i64.const 0) (i32.const 1024)))
        (i64.store (i32.const 0) (i64.const 77))
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 3600000000000))
        (if (call $poll (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 512)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 512)) (i32.const 1)) (then unreachable))
        (if (i64.ne (i64.load (i32.const 256)) (i64.const 77)) (then unreachable))
        (drop (call $time (i32.const 1) (i64.const 0) (i32.const 1032)))
        (i64.store (i32.const 1024) (i64.sub (i64.load (i32.const 1032)) (i64.load (i32.const 1024))))
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.const 8))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[tokio::test]
async fn virtual_sleep_is_over_at_once_and_paid_for_by_the_nanosecond() {
    let host = Host::new(1);
    let job = Job::wat(SLEEP).with(|spec| spec.limits.fuel = Fuel(FUEL_MAX));
    let begun = Instant::now();
    let ended = host.run(job.clone()).await;
    assert!(begun.elapsed().as_secs() < 60);
    // The hour, and the nanoseconds of fuel between the two readings.
    let output = ended.assert_ok().output.clone();
    let passed = u64::from_le_bytes(output.try_into().unwrap());
    let (hour, fuel) = (3_600_000_000_000, ended.report.usage.fuel.0);
    assert!((hour + 1..fuel).contains(&passed) && fuel < hour + 10_000, "{passed} {fuel}");
    assert_eq!(ended.report.usage.host_calls, 4);

    let short = host.run(job.with(|spec| spec.limits.fuel = Fuel(hour))).await;
    assert_eq!((short.outcome(), short.report.usage.fuel), (Outcome::OutOfFuel, Fuel(hour)));
}

#[tokio::test]
async fn sleeping_guest_times_out() {
    let job = Job::wat(SLEEP).with(|spec| (spec.limits.wall_ms, spec.profile) = (200, Profile::Open));
    let ended = Host::new(1).run(job).await;
    assert_eq!(ended.outcome(), Outcome::TimedOut);
    assert!(ended.report.usage.fuel.0 < 10_000, "sleep costs no fuel: {}", ended.report.usage.fuel);
}

#[tokio::test]
async fn cancelled_guest_stops_with_its_fuel_and_its_worker_goes_on() {
    let host = Host::new(1);
    let mut run = host.start(spin_after_log()).await.unwrap();
    let pid = run.worker_pid();
    first_log(&mut run).await;
    let canceller = run.canceller();
    canceller.cancel();
    canceller.cancel();
    let started = Instant::now();
    let ended = finish(run).await.unwrap();
    assert_eq!(ended.outcome(), Outcome::Cancelled);
    assert!(ended.report.usage.fuel.0 > 0);
    assert!(started.elapsed().as_secs() < 2);

    let next = host.start(echo().input(b"next")).await.unwrap();
    assert_eq!(next.worker_pid(), pid);
    assert_eq!(finish(next).await.unwrap().assert_ok().output, b"next");
}

#[tokio::test]
async fn preempted_guest_is_billed_for_its_work_and_not_for_its_output() {
    let host = Host::new(1);
    // More output than one message holds, so that some of it was given out before.
    let body = "(loop $more
            (call $write (i32.const 1) (i32.const 1024) (i32.const 1000))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 200))))
        (call $log (i32.const 3) (i32.const 1024) (i32.const 5))
        (loop $forever (br $forever))";
    let mut run = host.start(Job::body(body)).await.unwrap();
    let (pid, gauge) = (run.worker_pid(), run.gauge());
    let mut output_bytes = 0;
    loop {
        match run.next().await.unwrap() {
            RunEvent::Output(bytes) => output_bytes += bytes.len(),
            RunEvent::Log(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(output_bytes > 0);
    run.canceller().cancel();
    // The owner's word counts, whatever the client said.
    run.canceller().preempt();
    let report = loop {
        match run.next().await.unwrap() {
            RunEvent::Ended(report) => break report,
            RunEvent::Output(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(report.outcome, Outcome::Preempted);
    assert_eq!(report.reason, "the node's owner took the machine back");
    assert!(report.usage.fuel.0 > 0 && report.usage.host_calls > 200);
    assert!(gauge.fuel().is_some_and(|fuel| fuel <= report.usage.fuel));
    assert_eq!((report.usage.bytes_out, report.output.as_deref()), (ByteCount(0), Some(&b""[..])));
    assert_eq!(report.output_digest, Digest::of(b""));

    let next = host.start(echo().input(b"next")).await.unwrap();
    assert_eq!(next.worker_pid(), pid);
    assert_eq!(finish(next).await.unwrap().assert_ok().output, b"next");
}

/// A guest may have taken over its worker, which then does not stop when it is told to.
#[tokio::test]
async fn worker_that_does_not_give_way_to_the_owner_is_killed_and_its_work_billed() {
    let host = Host::new(1);
    let mut run = host.start(spin_after_log()).await.unwrap();
    let pid = Pid::from_raw(run.worker_pid().unwrap().cast_signed()).unwrap();
    first_log(&mut run).await;
    let gauge = run.gauge();
    let noted = async {
        while gauge.fuel().is_none_or(|fuel| fuel.0 == 0) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), noted).await.expect("the worker notes what is used");
    kill_process(pid, Signal::STOP).unwrap();
    run.canceller().preempt();
    let told = Instant::now();
    let report = finish(run).await.unwrap().report;
    assert!(told.elapsed() < BUSY_LATE_MAX, "{:?}", told.elapsed());
    assert_eq!(report.outcome, Outcome::Preempted);
    assert_eq!(report.usage.fuel, gauge.fuel().unwrap(), "what the worker noted last");
    assert_ne!(host.start(echo().input(b"next")).await.unwrap().worker_pid(), Some(pid.as_raw_nonzero().get().cast_unsigned()));
}

#[tokio::test]
async fn guest_that_ends_before_it_is_preempted_has_ended() {
    let host = Host::new(1);
    let mut run = host.start(echo().input(b"whole")).await.unwrap();
    let canceller = run.canceller();
    let RunEvent::Ended(report) = run.next().await.unwrap() else { panic!("an echo says nothing else") };
    canceller.preempt();
    assert_eq!((report.outcome, report.output.as_deref()), (Outcome::Finished { exit_code: 0 }, Some(&b"whole"[..])));
    assert!(matches!(run.next().await, Err(RunError::Over)));
}

#[tokio::test]
async fn output_over_its_limit_ends_the_guest_there() {
    let host = Host::new(1);
    for limit in [100, 40_000, 1 << 20] {
        let job = Job::body("(loop $more (call $write (i32.const 1) (i32.const 1024) (i32.const 1000)) (br $more))");
        let ended = host.run(job.with(|spec| spec.limits.output = ByteCount(limit))).await;
        assert_eq!(ended.outcome(), Outcome::OutputTooLarge);
        assert_eq!(ended.output.len() as u64, limit);
        assert_eq!(ended.report.reason, format!("it wrote more than its limit of {limit} bytes of output"));
    }
    // Exactly the limit is within it.
    let full = echo().input(&[7; 100]).with(|spec| spec.limits.output = ByteCount(100));
    host.run(full).await.assert_ok();
}
