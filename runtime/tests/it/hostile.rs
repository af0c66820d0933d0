//! Guests that mean harm. Each ends with the outcome that its tenant pays for, in bounded time, in a worker of bounded memory that
//! goes on to serve; the worker's death would be a `RunError`, on which every helper here panics.
//!
//! Other tests of such guests are beside what these attack:
//! - one more than a limit of admission (a giant function, many functions, many locals, a bomb of `br_table`, deep nesting), every form of
//!   a proposal that is off, native code, components and text: `runtime/src/admission/tests.rs`;
//! - as many of these as are admitted, in what order is worst for a compiler: `heavy.rs`;
//! - modules within the limits that are slow to compile, or take their compiler's memory, and compiled code by its name: `admission.rs`;
//! - every kind of trap, refused growth, and what is billed after them: `limits.rs`, `workers.rs`, `meter.rs`;
//! - NaNs wherever a guest can see their bits: `runtime/src/meter/nan/tests/`;
//! - a million bytes of escapes in one line, before a terminal: `terminal_is_shown_all_escapes_and_obeys_none` (`cli/tests/it/logs.rs`);
//! - what a guest can do that has taken over its worker: `walls.rs`, `workers.rs`;
//! - modules, pointers and messages that nobody thought of: `fuzzing.rs` and the targets in `fuzz/`;
//! - shaders, and memory of a GPU after another tenant: `gpu.rs`.

use std::fmt::Write;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use adit_protocol::limits::{FUEL_MAX, LOG_CHUNK_BYTES_MAX};
use adit_protocol::{ByteCount, Fuel, JobLimits, Outcome, Profile, TrapKind};
use adit_runtime::lab::{Lab, OptLevel, Options, Strategy, config, fuel, host_functions, instrument};
use adit_runtime::{Canceller, CompileError, Run, RunError, RunEvent};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Ended, Host, Job, echo, finish, first_log, is_emulated, spin_after_log};

/// What a worker may hold beside its guest's memory: its program, the engine, one module's code, its queues. A supervisor holds less.
const WORKER_BYTES_MAX: u64 = 96 << 20;

/// What a stop may come late on an idle machine.
pub(crate) const LATE_MAX: Duration = Duration::from_millis(100);
/// The same for a guest that fills much memory, of which a piece is filled at a time.
const FILL_LATE_MAX: Duration = Duration::from_millis(500);
/// What a stop may come late in any case, where tests share a machine that others use too. Short of the 2 s after which a supervisor
/// kills, so that who stopped the guest is not in doubt.
pub(crate) const BUSY_LATE_MAX: Duration = Duration::from_millis(1_500);
/// What a hostile guest may take for a unit of fuel, beside [`BUSY_LATE_MAX`]: on an idle machine less than half of it in baseline code.
const NANOS_PER_FUEL_MAX: u64 = 20;
/// What the refusal of a small module may take: a process is started for it, which takes a tenth of this.
const REFUSAL_TIME_MAX: Duration = Duration::from_millis(250);
/// How often a stop is tried until one is not late: what is asserted is the best of them, because other tests run at the same time, and of each
/// that it is not later than above.
pub(crate) const STOP_TRIES: usize = 5;

/// The most memory that a process ever held, in bytes; none where it has ended.
pub(crate) fn peak_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10)
}

/// Checks the most that a process ever held, and prints it. Under an emulator the figure is not the worker's.
fn assert_holds_at_most(pid: u32, bytes: u64) {
    let peak = peak_bytes(pid).unwrap();
    println!("process {pid} held {peak} bytes at most");
    assert!(peak < bytes || is_emulated(), "process {pid} held {peak} bytes, and may {bytes}");
}

/// Whether no other test runs in this process: nextest says so.
pub(crate) fn is_alone() -> bool {
    std::env::var_os("NEXTEST").is_some()
}

/// Checks the most that this process held, which keeps nothing of what guests send.
fn assert_host_holds_little() {
    if is_alone() {
        assert_holds_at_most(std::process::id(), WORKER_BYTES_MAX);
    }
}

/// Runs a job, and checks what its worker held and how long it took.
async fn run(host: &Host, job: Job) -> Ended {
    let memory = job.spec.limits.memory;
    judged(host.start(job).await.unwrap(), memory).await
}

/// Follows a run of a job that may have so much memory to its end, with the same checks.
async fn judged(started: Run, memory: ByteCount) -> Ended {
    let (pid, begun) = (started.worker_pid().unwrap(), Instant::now());
    let ended = finish(started).await.unwrap();
    let (took, fuel) = (begun.elapsed(), ended.report.usage.fuel);
    assert!(took < time_paid_for(fuel) || is_emulated(), "{took:?} for {fuel}: {}", ended.report.reason);
    assert_holds_at_most(pid, memory.0 + WORKER_BYTES_MAX);
    assert_ne!(ended.report.reason, "the sandbox worker did not answer and was killed");
    ended
}

/// What a guest may take that was billed so much.
fn time_paid_for(fuel: Fuel) -> Duration {
    BUSY_LATE_MAX + Duration::from_nanos(NANOS_PER_FUEL_MAX * fuel.0)
}

/// What the stack of a compiler's thread counts as, used or not.
const STACK_BYTES: u64 = 2 << 20;

/// A host whose compile workers may have as little memory as a sandbox worker has beside its guest, and a stack for each core. An
/// emulator needs more for itself.
fn sparing_host() -> Host {
    let stacks = STACK_BYTES * available_parallelism().unwrap().get() as u64;
    Host::with(Arc::new(tempfile::tempdir().unwrap()), |config| {
        if !is_emulated() {
            config.compile_limits.memory = WORKER_BYTES_MAX + stacks;
        }
    })
}

/// Has a module refused, soon and not for what it costs, and says why.
async fn refusal(host: &Host, wasm: &[u8]) -> String {
    let mut least = Duration::MAX;
    for _ in 0..STOP_TRIES {
        let begun = Instant::now();
        let refused = host.compile(wasm).await;
        least = least.min(begun.elapsed());
        let Err(CompileError::Invalid(reason)) = refused else { panic!("{}: {refused:?}", wasm.escape_ascii()) };
        assert!(!reason.starts_with("the compiler died of it"), "{}: {reason}", wasm.escape_ascii());
        if least < REFUSAL_TIME_MAX || is_emulated() {
            println!("refused after {least:?}: {reason}");
            return reason;
        }
    }
    panic!("{} was refused after {least:?}", wasm.escape_ascii());
}

/// What a job pays before its guest does anything: much memory is dear.
fn fuel_to_begin(job: &Job) -> u64 {
    let metered = instrument(&job.wasm, &Options::default()).unwrap();
    fuel(metered.facts.instantiation_units()).0
}

/// Has an endless guest end by its fuel, which it uses up exactly, and with fuel for days by its deadline, by being cancelled and because
/// the owner takes the machine back, none of them late.
async fn assert_stops(what: &str, job: Job) {
    assert_stops_within(LATE_MAX, what, job).await;
}

/// As [`assert_stops`], with what is late.
async fn assert_stops_within(late_max: Duration, what: &str, job: Job) {
    let host = Host::new(1);
    for fuel in [200_000, 5_432_101].map(|fuel| fuel_to_begin(&job) + fuel) {
        let ended = run(&host, job.clone().with(|spec| spec.limits.fuel = Fuel(fuel))).await;
        assert_eq!((ended.outcome(), ended.report.usage.fuel), (Outcome::OutOfFuel, Fuel(fuel)), "{what}");
    }
    assert_in_time(late_max, what, &host, job).await;
}

/// Under an emulator nothing is in time.
async fn assert_in_time(late_max: Duration, what: &str, host: &Host, job: Job) {
    if is_emulated() {
        return;
    }
    let endless = job.with(|spec| spec.limits.fuel = Fuel(FUEL_MAX));
    let mut least = [Duration::MAX; 3];
    for _ in 0..STOP_TRIES {
        let late = [
            late_after_deadline(what, host, &endless).await,
            late_after(Canceller::cancel, Outcome::Cancelled, what, host, &endless).await,
            late_after(Canceller::preempt, Outcome::Preempted, what, host, &endless).await,
        ];
        assert!(late.iter().all(|late| *late < BUSY_LATE_MAX), "{what}: {late:?}");
        least = [0, 1, 2].map(|stop| least[stop].min(late[stop]));
        if least.iter().all(|late| *late <= late_max) {
            break;
        }
    }
    println!("{what}: {:?} after its deadline, {:?} after a cancel, {:?} after the owner's word", least[0], least[1], least[2]);
    assert!(least.iter().all(|late| *late <= late_max), "{what}: {least:?}");
    host.run(echo().input(b"next")).await.assert_ok();
}

async fn late_after_deadline(what: &str, host: &Host, endless: &Job) -> Duration {
    let limit = Duration::from_millis(300);
    let job = endless.clone().with(|spec| spec.limits.wall_ms = limit.as_millis() as u64);
    // Compiled before: the time of a job begins when its code is there.
    host.compile(&job.wasm).await.unwrap();
    host.runtime.optimised(job.spec.module.digest).await;
    let begun = Instant::now();
    let ended = run(host, job).await;
    assert_eq!(ended.outcome(), Outcome::TimedOut, "{what}: {}", ended.report.reason);
    begun.elapsed().saturating_sub(limit)
}

async fn late_after(stop: fn(&Canceller), outcome: Outcome, what: &str, host: &Host, endless: &Job) -> Duration {
    let started = host.start(endless.clone().with(|spec| spec.limits.wall_ms = 20_000)).await.unwrap();
    let canceller = started.canceller();
    let stopped = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop(&canceller);
        Instant::now()
    };
    let (ended, stopped) = tokio::join!(finish(started), stopped);
    let (ended, late) = (ended.unwrap(), stopped.elapsed());
    assert_eq!(ended.outcome(), outcome, "{what}: {}", ended.report.reason);
    assert_ne!(ended.report.reason, "the sandbox worker did not answer and was killed", "{what}");
    late
}

/// A job with so many pages of memory.
fn over(pages: u32, declarations: &str, body: &str) -> Job {
    Job::wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "adit_1" "log" (func $log (param i32 i32 i32)))
            (memory (export "memory") {pages}) {declarations}
            (func $start (export "_start") (local $i i32) {body}))"#
    ))
}

const MIB_256: u32 = 256 << 20;

#[tokio::test]
async fn loops_stop_whatever_is_in_them() {
    let loops =
        ["(br $f)", "(nop) (block (block)) (br $f)", "(br_if $f (i32.const 1))", "(block (br_table $f 0 (i32.const 0))) (br $f)"];
    for body in loops {
        let job = over(1, "", &format!("(loop $f {body})"));
        assert_stops(body, job).await;
    }
}

#[tokio::test]
async fn guest_that_burns_and_traps_pays_for_all_that_it_burnt() {
    let host = Host::new(1);
    let burn = async |rounds: u32| {
        let body = format!(
            "(local.set $i (i32.const {rounds})) (loop $f (br_if $f (local.tee $i (i32.sub (local.get $i) (i32.const 1))))) unreachable"
        );
        let ended = run(&host, over(1, "", &body)).await;
        assert_eq!(ended.outcome(), Outcome::Trapped(TrapKind::Unreachable));
        ended.report.usage.fuel.0
    };
    // A multiple of the units in one fuel, so that nothing is rounded.
    let rounds = 1_024_000;
    let (one, two, three) = (burn(rounds).await, burn(2 * rounds).await, burn(3 * rounds).await);
    assert!(one >= u64::from(rounds) / 2, "{one}");
    assert_eq!((two - one, burn(rounds).await), (three - two, one));
}

#[tokio::test]
async fn storms_of_filling_and_copying_stop() {
    let fill = format!("(loop $f (memory.fill (i32.const 0) (i32.const 7) (i32.const {MIB_256})) (br $f))");
    assert_stops_within(FILL_LATE_MAX, "memory.fill of 256 MiB", over(4096, "", &fill)).await;
    let copy = format!("(loop $f (memory.copy (i32.const 0) (i32.const 1) (i32.const {})) (br $f))", MIB_256 - 1);
    assert_stops_within(FILL_LATE_MAX, "memory.copy of 256 MiB", over(4096, "", &copy)).await;
    let small = "(loop $f (memory.fill (i32.const 0) (i32.const 7) (i32.const 1)) (br $f))";
    assert_stops("memory.fill of a byte", over(1, "", small)).await;
    let table = "(loop $f (table.fill $t (i32.const 0) (ref.func $start) (i32.const 100000)) (br $f))";
    assert_stops("table.fill", over(1, "(table $t 100000 funcref)", table)).await;
    let table = "(loop $f (table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 99999)) (br $f))";
    assert_stops("table.copy", over(1, "(table $t 100000 funcref)", table)).await;
}

#[tokio::test]
async fn storms_of_growing_stop() {
    assert_stops("memory.grow", over(1, "", "(loop $f (drop (memory.grow (i32.const 1))) (br $f))")).await;
    assert_stops("memory.grow by nothing", over(1, "", "(loop $f (drop (memory.grow (i32.const 0))) (br $f))")).await;
    let table = "(loop $f (drop (table.grow $t (ref.null func) (i32.const 1))) (br $f))";
    assert_stops("table.grow", over(1, "(table $t 1 funcref)", table)).await;
}

#[tokio::test]
async fn huge_memory_and_tables_take_nothing() {
    let host = sparing_host();
    let ended = run(&host, over(65_536, "", "").with(|spec| spec.limits.memory = ByteCount(1 << 20))).await;
    assert_eq!((ended.outcome(), ended.report.usage.memory_peak), (Outcome::OutOfMemory, ByteCount(0)));
    for declarations in ["(table 100001 funcref)", "(table 4294967295 funcref)"] {
        let reason = refusal(&host, &over(1, declarations, "").wasm).await;
        assert!(reason.contains("table"), "{reason}");
    }
}

#[tokio::test]
async fn recursion_ends_at_the_same_depth_everywhere() {
    let bombs = [
        "(func $deep (call $deep))",
        "(func $deep (local i64 i64 i64 i64 i64 i64 i64 i64) (call $deep) (call $deep))",
        "(table funcref (elem $deep)) (func $deep (call_indirect (i32.const 0)))",
        "(func $deep (call $other)) (func $other (call $deep))",
    ];
    for bomb in bombs {
        let job = over(1, bomb, "(call $deep)");
        let (one, other) = (run(&Host::new(1), job.clone()).await, run(&Host::new(1), job.tenant(2)).await);
        assert_eq!(one.outcome(), Outcome::Trapped(TrapKind::StackOverflow), "{bomb}: {}", one.report.reason);
        assert_eq!(one.report.usage, other.report.usage, "{bomb}");
    }
}

/// The most that a guest may do beyond its limit, in fuel.
const BEYOND_MAX: u64 = 1_200_000;

/// A guest of functions and an entry, which may call `$yield`: the host counts it, at 150 fuel, and stops nobody there.
fn yielder(declarations: &str, body: &str) -> Job {
    Job::wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
            (memory (export "memory") 1)
            (func $yield (drop (call $sched_yield)))
            {declarations}
            (func (export "_start") {body}))"#
    ))
}

/// A check stood before each call that goes down, and none where it came back: what tens of thousands of calls did then was neither paid nor
/// stopped. A limit of 130,000 fuel bought 290 million.
#[tokio::test]
async fn recursion_that_comes_back_is_stopped() {
    let stores: String = (0..28_000).map(|at| format!("(i32.store offset={at} (i32.const 0) (i32.const 1))")).collect();
    let function =
        format!("(func $f (param i32) (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1))))) {stores})");
    let job = over(32, &function, "(call $f (i32.const 47000))");
    let host = Host::new(1);
    host.compile(&job.wasm).await.unwrap();
    host.runtime.optimised(job.spec.module.digest).await;
    let ended = run(&host, job.clone().with(|spec| spec.limits.fuel = Fuel(130_000))).await;
    assert_eq!((ended.outcome(), ended.report.usage.fuel), (Outcome::OutOfFuel, Fuel(130_000)));
    let late = Duration::from_micros(ended.report.run_us);
    println!("out of fuel after {late:?}");
    assert!(late < 2 * LATE_MAX || is_emulated(), "{late:?}");
    // Nobody looked at the deadline either: the guest finished.
    let ended = run(&host, job.with(|spec| (spec.limits.fuel, spec.limits.wall_ms) = (Fuel(FUEL_MAX), 50))).await;
    println!("at its deadline of 50 ms after {} us", ended.report.run_us);
    assert_eq!(ended.outcome(), Outcome::TimedOut, "{}", ended.report.reason);
}

/// What is done on the way back from a depth, whatever the way is, ends soon after the limit.
#[tokio::test]
async fn no_way_back_from_a_depth_goes_far_beyond_the_limit() {
    let down = "(i32.sub (local.get 0) (i32.const 1))";
    let yields = "(call $yield)".repeat(3);
    // Too dear to go without a look when it is entered, and never done.
    let large = format!("(if (i32.eqz (local.get 0)) (then {}))", "(drop (memory.grow (i32.const 0)))".repeat(2));
    let link = |n: u32| format!("(func $c{n} (param i32) {large} (call $c{} (local.get 0)) {yields})", n + 1);
    let chain: String = (0..6_000).map(link).collect();
    let rows = [
        (30_000, "itself", format!("(func $f (param i32) (if (local.get 0) (then (call $f {down}))) {yields})")),
        (30_000, "a little", format!("(func $f (param i32) (if (local.get 0) (then (call $f {down}))) (call $yield))")),
        (
            30_000,
            "twice",
            format!("(func $f (param i32) (if (local.get 0) (then (call $f {down}) (call $f (i32.const 0)))) (call $yield))"),
        ),
        (
            30_000,
            "a table",
            format!(
                "(table funcref (elem $f))
                (func $f (param i32) (if (local.get 0) (then (call_indirect (param i32) {down} (i32.const 0)))) {yields})"
            ),
        ),
        (
            15_000,
            "a table and a call",
            format!(
                "(table funcref (elem $f)) (func $f (param i32) (if (local.get 0) (then (call $g {down}))) {yields})
                (func $g (param i32) (call_indirect (param i32) (local.get 0) (i32.const 0)))"
            ),
        ),
        (
            10_000,
            "a circle",
            format!(
                "(func $f (param i32) (if (local.get 0) (then (call $g {down}))) {yields})
                (func $g (param i32) (call $h (local.get 0)) (call $yield)) (func $h (param i32) (call $f (local.get 0)) (call $yield))"
            ),
        ),
        (
            20_000,
            "a loop",
            format!(
                "(func $f (param i32) (local i32)
                    (loop $again
                        (if (local.get 0) (then (call $f {down})))
                        {yields} (local.set 0 (i32.const 0))
                        (br_if $again (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 2)))))"
            ),
        ),
        (
            20_000,
            "the next round of a loop",
            format!(
                "(func $f (param i32) (local i32)
                    (loop $again
                        (if (local.get 1) (then {yields} (return)))
                        (if (local.get 0) (then (call $f {down})))
                        (local.set 1 (i32.const 1))
                        (br $again)))"
            ),
        ),
        (1, "a chain", format!("{chain} (func $c6000 (param i32)) (func $f (param i32) (call $c0 (local.get 0)))")),
    ];
    let host = Host::new(1);
    for (depth, what, functions) in rows {
        let job = yielder(&functions, &format!("(call $f (i32.const {depth}))"));
        let whole = run(&host, job.clone()).await.assert_ok().report.usage;
        // Nearly all that is not spent in `$yield` is spent on the way down.
        let limit = fuel_to_begin(&job) + (whole.fuel.0 - fuel_to_begin(&job) - 150 * whole.host_calls) + 1_000;
        let ended = run(&host, job.clone().with(|spec| spec.limits.fuel = Fuel(limit))).await;
        assert_eq!((ended.outcome(), ended.report.usage.fuel), (Outcome::OutOfFuel, Fuel(limit)), "{what}");
        let (beyond, all) = (150 * ended.report.usage.host_calls, 150 * whole.host_calls);
        println!("{what}: {beyond} fuel of {all} in calls of the host at a limit of {limit}");
        assert!(all > 2 * BEYOND_MAX && beyond < BEYOND_MAX, "{what}: {beyond} of {all}");
    }
}

/// A block that costs more than is left is not begun.
#[tokio::test]
async fn a_dear_block_without_a_call_is_looked_at_before_it_is_done() {
    let dear = "(drop (ref.func $f))".repeat(87_000);
    let job = yielder("(func $f) (elem declare func $f)", &format!("(block) {dear} (call $yield)"));
    for beyond in [1, 4_700_000] {
        let limit = fuel_to_begin(&job) + beyond;
        let ended = run(&Host::new(1), job.clone().with(|spec| spec.limits.fuel = Fuel(limit))).await;
        assert_eq!((ended.outcome(), ended.report.usage.fuel), (Outcome::OutOfFuel, Fuel(limit)));
        assert_eq!(ended.report.usage.host_calls, 0, "{}", ended.report.run_us);
    }
}

/// `_start` that does nothing, as bytes: its code section's size in these.
fn empty_module(code_size: &[u8], name: &[u8; 6]) -> Vec<u8> {
    let head = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06";
    [&head[..], name, b"\0\0\x0a", code_size, b"\x01\x02\0\x0b"].concat()
}

#[tokio::test]
async fn odd_encodings_are_refused_or_mean_the_same() {
    let host = sparing_host();
    let minimal = empty_module(b"\x04", b"_start");
    let plain = run(&host, Job::of(minimal.clone())).await;
    // Longer than need be, yet within what the format allows: another module with the same bill.
    let padded = run(&host, Job::of(empty_module(b"\x84\x80\x80\x80\0", b"_start"))).await;
    assert_eq!((plain.assert_ok().report.usage, padded.outcome()), (padded.report.usage, plain.outcome()));

    let mut refused = vec![empty_module(b"\x84\x80\x80\x80\x80\0", b"_start"), empty_module(b"\x04", b"_\xff\xfeart")];
    refused.extend((1..minimal.len()).map(|cut| minimal[..cut].to_vec()).filter(|cut| cut.len() != 8));
    refused.extend([&b"\0"[..], b"\x0b\x01", b"trailing"].map(|tail| [&minimal, tail].concat()));
    refused.push(b"\x7fELF\x02\x01\x01".to_vec());
    refused.push(std::fs::read(&host.compiled_files()[0]).unwrap());
    for wasm in refused {
        refusal(&host, &wasm).await;
    }
}

/// What else each of them may be asked for with is in `runtime/src/admission/tests.rs`, without a worker.
#[tokio::test]
async fn proposals_that_are_off_are_refused_by_name_at_once() {
    let host = sparing_host();
    for (name, module) in [
        ("threads", "(memory 1 1 shared)"),
        ("shared-everything threads", "(global (shared i32) (i32.const 0))"),
        ("relaxed SIMD", "(func (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))"),
        ("memory64", "(memory i64 1)"),
        ("multi-memory", "(memory 1) (memory 1)"),
        ("custom page sizes", "(memory 1 (pagesize 1))"),
        ("tail calls", "(func $f (return_call $f))"),
        ("exceptions", "(tag $t) (func (throw $t))"),
        ("legacy exceptions", "(func try catch_all end)"),
        ("function references", "(type $t (func)) (func (param (ref null $t)))"),
        ("externref", "(func (param externref))"),
        ("GC", "(type (struct (field i32)))"),
        ("stack switching", "(type $f (func)) (type $c (cont $f))"),
        ("custom descriptors", "(type $t (func)) (func (param (ref null (exact $t))))"),
    ] {
        let wasm = wat::parse_str(format!(r#"(module {module} (func (export "_start")))"#)).unwrap();
        let reason = refusal(&host, &wasm).await;
        assert!(reason.contains(&format!("the proposal {name}, which")), "{name}: {reason}");
    }
    let reason = refusal(&host, &wat::parse_str("(component)").unwrap()).await;
    assert!(reason.contains("the proposal component model;"), "{reason}");
}

#[tokio::test]
async fn names_that_are_no_text_do_no_harm() {
    let plain = wat::parse_str(r#"(module (func (export "_start") unreachable))"#).unwrap();
    // A section of names: one function, whose name is no UTF-8; and one that ends in the middle of itself.
    for section in [&b"\0\x0c\x04name\x01\x05\x01\0\x02\xff\xfe"[..], b"\0\x09\x04name\x01\xff\xff\x03"] {
        let wasm = [&plain[..], section].concat();
        let ended = run(&Host::new(1), Job::of(wasm)).await;
        assert_eq!(ended.outcome(), Outcome::Trapped(TrapKind::Unreachable));
        assert!(!ended.report.reason.contains(char::is_control), "{:?}", ended.report.reason);
    }
}

/// A gibibyte takes 7 s beside other tests, and 20 where the machine is full of them.
const GIBIBYTE_TIME_MAX: Duration = Duration::from_secs(100);

#[tokio::test]
async fn a_gibibyte_of_output_goes_through_a_small_worker() {
    let write = "(i32.store (i32.const 4) (i32.const 1048576))
        (loop $f (br_if $f (i32.eqz (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))";
    let job = over(17, "", write).with(|spec| {
        (spec.limits.output, spec.limits.memory, spec.limits.wall_ms) = (ByteCount(1 << 30), ByteCount(2 << 20), 120_000);
    });
    let mut started = Host::new(1).start(job).await.unwrap();
    let (pid, mut bytes, begun) = (started.worker_pid().unwrap(), 0, Instant::now());
    let report = loop {
        match started.next().await.unwrap() {
            RunEvent::Output(piece) => bytes += piece.len(),
            RunEvent::Ended(report) => break report,
            _ => {}
        }
    };
    let took = begun.elapsed();
    println!("a gibibyte after {took:?}");
    assert_eq!((report.outcome, bytes), (Outcome::OutputTooLarge, 1 << 30));
    assert!(took < GIBIBYTE_TIME_MAX, "{took:?}");
    assert_holds_at_most(pid, WORKER_BYTES_MAX);
    assert_host_holds_little();
}

#[tokio::test]
async fn endless_lines_of_escapes_arrive_cut_and_bounded() {
    let body = "(memory.fill (i32.const 64) (i32.const 0x1b) (i32.const 16000000)) (call $log (i32.const 3) (i32.const 64) (i32.const 16000000))";
    let job = over(256, "", body).with(|spec| (spec.limits.log, spec.limits.memory) = (ByteCount(4 << 20), ByteCount(16 << 20)));
    let mut started = Host::new(1).start(job).await.unwrap();
    let (pid, mut log, begun) = (started.worker_pid().unwrap(), Vec::new(), Instant::now());
    let report = loop {
        match started.next().await.unwrap() {
            RunEvent::Log(piece) => {
                assert!(piece.len() <= LOG_CHUNK_BYTES_MAX);
                log.extend(piece);
            }
            RunEvent::Ended(report) => break report,
            _ => {}
        }
    };
    assert_eq!((report.outcome, log.len()), (Outcome::Finished { exit_code: 0 }, 4 << 20));
    assert_eq!(report.log_dropped.0 as usize + log.len(), "[info] ".len() + 16_000_000 + 1);
    // Bytes are the guest's own, whatever a terminal would do with them: who shows them makes them visible.
    assert!(log.ends_with(b"\x1b\x1b"));
    let (took, paid_for) = (begun.elapsed(), time_paid_for(report.usage.fuel));
    println!("{} bytes of log after {took:?}", log.len());
    assert!(took < paid_for || is_emulated(), "{took:?} for {}", report.usage.fuel);
    assert_holds_at_most(pid, (16 << 20) + WORKER_BYTES_MAX);
    assert_host_holds_little();
}

#[tokio::test]
async fn randomness_is_paid_by_the_byte_and_bounded() {
    let host = Host::new(1);
    let random =
        |pointer: i64, bytes: i64| over(4096, "", &format!("(drop (call $random (i32.const {pointer}) (i32.const {bytes})))"));
    let begun = fuel_to_begin(&random(0, 0));
    for (pointer, bytes) in [(0, 0xffff_ffff_i64), (1, 0xffff_ffff), (0xffff_ffff, 2), (i64::from(MIB_256), 1)] {
        let ended = run(&host, random(pointer, bytes)).await;
        assert_eq!(ended.outcome(), Outcome::Trapped(TrapKind::HostCall), "{pointer} {bytes}");
        assert!(ended.report.usage.fuel.0 < begun + 10_000, "{}", ended.report.usage.fuel);
    }
    // The generator is slow where nothing is optimised.
    let ended = run(&host, random(0, 16 << 20)).await;
    assert!(ended.assert_ok().report.usage.fuel.0 >= begun + (16 << 20));
    let short = random(0, i64::from(MIB_256)).with(|spec| spec.limits.fuel = Fuel(begun + 10_000_000));
    let ended = run(&host, short).await;
    assert_eq!((ended.outcome(), ended.report.usage.fuel), (Outcome::OutOfFuel, Fuel(begun + 10_000_000)));

    let gibibytes = over(49_152, "", "(loop $f (drop (call $random (i32.const 0) (i32.const 3221225472))) (br $f))");
    let gibibytes = gibibytes.with(|spec| spec.limits.memory = ByteCount(3 << 30));
    assert_stops("random_get of 3 GiB", gibibytes.clone()).await;
    assert_stops("random_get of 3 GiB from the host", gibibytes.with(|spec| spec.profile = Profile::Open)).await;
}

#[tokio::test]
async fn long_writes_stop_within_a_call() {
    let write = |fd: u32| {
        over(
            4096,
            "",
            &format!(
                "(i32.store (i32.const 4) (i32.const 250000000))
             (loop $f (drop (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8))) (br $f))"
            ),
        )
    };
    assert_stops("fd_write of 250 MB to the log", write(2)).await;
    let log = over(4096, "", "(loop $f (call $log (i32.const 1) (i32.const 0) (i32.const 250000000)) (br $f))");
    assert_stops("adit_1.log of 250 MB", log).await;
    let limit = Fuel(fuel_to_begin(&write(2)) + 1_000_000);
    let ended = run(&Host::new(1), write(2).with(|spec| spec.limits.fuel = limit)).await;
    assert_eq!((ended.outcome(), ended.report.usage.fuel), (Outcome::OutOfFuel, limit));
}

#[tokio::test]
async fn lists_of_buffers_are_bounded_and_paid() {
    let host = Host::new(1);
    let write = |buffers: u32| {
        over(1024, "", &format!("(call $exit (call $fd_write (i32.const 1) (i32.const 0) (i32.const {buffers}) (i32.const 0)))"))
    };
    for (buffers, errno) in [(0, 0), (1024, 0), (1025, 28), (8_000_000, 28), (u32::MAX, 28)] {
        let ended = run(&host, write(buffers)).await;
        assert_eq!(ended.outcome(), Outcome::Finished { exit_code: errno }, "{buffers}: {}", ended.report.reason);
    }
    let (none, most) = (run(&host, write(0)).await, run(&host, write(1024)).await);
    assert_eq!(most.report.usage.fuel.0 - none.report.usage.fuel.0, 4 * 1024);
}

#[tokio::test]
async fn arguments_are_paid_by_the_byte_each_time() {
    let text = r#"(module (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
        (memory (export "memory") 4)
        (func (export "_start") (drop (call $sizes (i32.const 0) (i32.const 4))) (drop (call $environ (i32.const 0) (i32.const 64)))))"#;
    let fuel = async |args: usize, env: usize| {
        let job =
            Job::wat(text).with(|spec| (spec.args, spec.env) = (vec!["a".repeat(args)], vec![("K".into(), "v".repeat(env))]));
        run(&Host::new(1), job).await.assert_ok().report.usage.fuel.0
    };
    let small = fuel(0, 0).await;
    assert_eq!((fuel(40_000, 0).await - small, fuel(0, 40_000).await - small), (10_000, 10_000));
}

/// Many small ones cost the host more than a long one: each is copied into memory of its own.
#[tokio::test]
async fn arguments_are_paid_one_by_one_too() {
    let text = r#"(module (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start") (drop (call $sizes (i32.const 0) (i32.const 4))) (drop (call $environ (i32.const 0) (i32.const 4)))))"#;
    let fuel = async |args: usize, env: usize| {
        let pair = |n| (format!("{n:03}"), String::new());
        let job = Job::wat(text).with(|spec| (spec.args, spec.env) = (vec![String::new(); args], (0..env).map(pair).collect()));
        run(&Host::new(1), job).await.assert_ok().report.usage.fuel.0
    };
    let none = fuel(0, 0).await;
    // A zero each, and of a variable its name, `=` and a zero.
    assert_eq!(fuel(256, 0).await - none, 256 * 60 + 64);
    assert_eq!(fuel(0, 256).await - none, 256 * 2 * 60 + 256 * 5 / 4);
}

#[tokio::test]
async fn millions_of_subscriptions_are_refused_at_their_price() {
    let body = "(call $exit (call $poll (i32.const 0) (i32.const 48000000) (i32.const 1000000) (i32.const 0)))";
    let job = over(1300, "", body);
    let begun = fuel_to_begin(&job);
    let ended = run(&Host::new(1), job).await;
    assert_eq!(ended.outcome(), Outcome::Finished { exit_code: 1 }, "{}", ended.report.reason);
    assert!(ended.report.usage.fuel.0 >= begun + 30_000_000, "{}", ended.report.usage.fuel);
}

#[tokio::test]
async fn a_sleep_of_a_billion_seconds_uses_up_the_fuel_or_the_time() {
    let body = "(i32.store (i32.const 16) (i32.const 1)) (i64.store (i32.const 24) (i64.const 1000000000000000000))
        (call $exit (call $poll (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 512)))";
    let host = Host::new(1);
    let ended = run(&host, over(1, "", body)).await;
    assert_eq!((ended.outcome(), ended.report.usage.fuel), (Outcome::OutOfFuel, JobLimits::default().fuel));
    assert!(ended.report.run_us < 1_000_000 || is_emulated(), "{}", ended.report.run_us);
    let open = over(1, "", body).with(|spec| spec.profile = Profile::Open);
    assert_in_time(LATE_MAX, "a sleep of a billion seconds", &host, open).await;
}

/// Every function of the host, with a letter per parameter: `i` of 32 bits, `I` of 64; and one for what it returns.
pub(crate) const FUNCTIONS: &[(&str, &str, &str, &str)] = &[
    (WASI, "args_get", "ii", "i"),
    (WASI, "args_sizes_get", "ii", "i"),
    (WASI, "environ_get", "ii", "i"),
    (WASI, "environ_sizes_get", "ii", "i"),
    (WASI, "clock_res_get", "ii", "i"),
    (WASI, "clock_time_get", "iIi", "i"),
    (WASI, "fd_advise", "iIIi", "i"),
    (WASI, "fd_allocate", "iII", "i"),
    (WASI, "fd_close", "i", "i"),
    (WASI, "fd_datasync", "i", "i"),
    (WASI, "fd_fdstat_get", "ii", "i"),
    (WASI, "fd_fdstat_set_flags", "ii", "i"),
    (WASI, "fd_fdstat_set_rights", "iII", "i"),
    (WASI, "fd_filestat_get", "ii", "i"),
    (WASI, "fd_filestat_set_size", "iI", "i"),
    (WASI, "fd_filestat_set_times", "iIIi", "i"),
    (WASI, "fd_pread", "iiiIi", "i"),
    (WASI, "fd_prestat_get", "ii", "i"),
    (WASI, "fd_prestat_dir_name", "iii", "i"),
    (WASI, "fd_pwrite", "iiiIi", "i"),
    (WASI, "fd_read", "iiii", "i"),
    (WASI, "fd_readdir", "iiiIi", "i"),
    (WASI, "fd_renumber", "ii", "i"),
    (WASI, "fd_seek", "iIii", "i"),
    (WASI, "fd_sync", "i", "i"),
    (WASI, "fd_tell", "ii", "i"),
    (WASI, "fd_write", "iiii", "i"),
    (WASI, "path_create_directory", "iii", "i"),
    (WASI, "path_filestat_get", "iiiii", "i"),
    (WASI, "path_filestat_set_times", "iiiiIIi", "i"),
    (WASI, "path_link", "iiiiiii", "i"),
    (WASI, "path_open", "iiiiiIIii", "i"),
    (WASI, "path_readlink", "iiiiii", "i"),
    (WASI, "path_remove_directory", "iii", "i"),
    (WASI, "path_rename", "iiiiii", "i"),
    (WASI, "path_symlink", "iiiii", "i"),
    (WASI, "path_unlink_file", "iii", "i"),
    (WASI, "poll_oneoff", "iiii", "i"),
    (WASI, "proc_exit", "i", ""),
    (WASI, "proc_raise", "i", "i"),
    (WASI, "sched_yield", "", "i"),
    (WASI, "random_get", "ii", "i"),
    (WASI, "sock_accept", "iii", "i"),
    (WASI, "sock_recv", "iiiiii", "i"),
    (WASI, "sock_send", "iiiii", "i"),
    (WASI, "sock_shutdown", "ii", "i"),
    ("adit_1", "log", "iii", ""),
    ("adit_1", "progress", "II", ""),
    ("adit_1", "fuel_left", "", "I"),
    ("adit_1", "input_count", "", "i"),
    ("adit_1", "input_name", "iii", "i"),
    ("adit_1", "input_find", "ii", "i"),
    ("adit_1", "input_bytes", "i", "I"),
    ("adit_1", "input_read", "iIii", "i"),
    ("adit_1", "gpu_limits", "i", "i"),
    ("adit_1", "gpu_buffer_create", "I", "i"),
    ("adit_1", "gpu_buffer_destroy", "i", "i"),
    ("adit_1", "gpu_buffer_write", "iIii", "i"),
    ("adit_1", "gpu_buffer_read", "iIii", "i"),
    ("adit_1", "gpu_buffer_copy", "iIiII", "i"),
    ("adit_1", "gpu_pipeline_create", "iiii", "i"),
    ("adit_1", "gpu_pipeline_destroy", "i", "i"),
    ("adit_1", "gpu_dispatch", "iiiiii", "i"),
    ("adit_1", "gpu_submit", "", "i"),
    ("adit_1", "gpu_finish", "", "i"),
    ("adit_1", "gpu_error", "ii", "i"),
];
const WASI: &str = "wasi_snapshot_preview1";

/// A guest that calls a function of the host with arguments from its input, eight bytes each: once, or until it is stopped.
pub(crate) fn caller((module, name, parameters, result): (&str, &str, &str, &str), is_endless: bool) -> Job {
    let (mut types, mut arguments) = (String::new(), String::new());
    let spell = |letter: char| if letter == 'i' { "i32" } else { "i64" };
    for (n, parameter) in parameters.chars().enumerate() {
        let of = spell(parameter);
        write!(types, " {of}").unwrap();
        write!(arguments, " ({of}.load (i32.const {}))", 1024 + 8 * n).unwrap();
    }
    let call = format!("(call $it{arguments})");
    let call = if result.is_empty() { call } else { format!("(drop {call})") };
    let result = result.chars().next().map(|letter| format!("(result {})", spell(letter))).unwrap_or_default();
    let again = if is_endless { "(br $f)" } else { "" };
    Job::wat(&format!(
        r#"(module (import "{WASI}" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "{module}" "{name}" (func $it (param{types}) {result}))
            (memory (export "memory") 2)
            (func (export "_start")
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (i32.const 128))
                (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
                (loop $f {call} {again})))"#
    ))
    .named("n", b"named")
}

/// Ends of memory, signs, wraps, and the descriptors that there are.
const NASTY: [u64; 14] =
    [0, 1, 2, 3, 4, 0xffff, 0x1_0000, 0x1_ffff, 0x2_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, 0xffff_ffff, u64::MAX];

#[tokio::test]
async fn no_pointer_harms_the_host() {
    let host = Host::new(1);
    assert_eq!(FUNCTIONS.len(), host_functions().len(), "a function of the host is not among those that are tried");
    let mut random = 7_u64;
    for function in FUNCTIONS {
        let job = caller(*function, false).with(|spec| spec.limits.fuel = Fuel(100_000_000));
        let same = NASTY.map(|value| vec![value; function.2.len()]);
        let mixed = (0..24).map(|_| {
            let mut pick = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                NASTY[(random >> 33) as usize % NASTY.len()]
            };
            function.2.chars().map(|_| pick()).collect()
        });
        for arguments in same.into_iter().chain(mixed.collect::<Vec<_>>()) {
            let input: Vec<u8> = arguments.iter().flat_map(|value: &u64| value.to_le_bytes()).collect();
            // At least a byte, or the guest would find its input at an end.
            let ended = run(&host, job.clone().input(&[&input[..], b"."].concat())).await;
            let is_right = matches!(
                ended.outcome(),
                Outcome::Finished { exit_code: 0 }
                    | Outcome::Trapped(TrapKind::HostCall | TrapKind::Other | TrapKind::MemoryOutOfBounds)
            );
            // Of what it did not pay for, a guest gets nothing: two billion subscriptions are over any budget.
            let is_right = is_right || (function.1 == "poll_oneoff" && ended.outcome() == Outcome::OutOfFuel);
            assert!(is_right || function.1 == "proc_exit", "{function:?} {arguments:x?}: {:?}", ended.outcome());
        }
    }
}

#[tokio::test]
async fn endless_calls_of_the_host_end_at_their_limits() {
    let host = Host::new(1);
    for function in FUNCTIONS.iter().filter(|function| function.1 != "proc_exit") {
        let job = caller(*function, true).input(&[0; 128]);
        let ended = run(&host, job.clone().with(|spec| spec.limits.fuel = Fuel(1_000_000))).await;
        assert_eq!(
            (ended.outcome(), ended.report.usage.fuel),
            (Outcome::OutOfFuel, Fuel(1_000_000)),
            "{function:?}: {}",
            ended.report.reason
        );
        // 150 fuel for any call: who calls the host cannot do so for nothing.
        assert!(ended.report.usage.host_calls <= 1_000_000 / 150 + 2, "{function:?}: {}", ended.report.usage.host_calls);
        let endless = job.with(|spec| (spec.limits.fuel, spec.limits.wall_ms) = (Fuel(FUEL_MAX), 30));
        let ended = run(&host, endless).await;
        assert_eq!(ended.outcome(), Outcome::TimedOut, "{function:?}");
        let ran = Duration::from_micros(ended.report.run_us);
        assert!(ran < BUSY_LATE_MAX || is_emulated(), "{function:?}: {} us", ended.report.run_us);
    }
}

/// Fuel of a short and of a long run of calls: some 6,000 and 120,000; of calls for a GPU, which cost more, 465 and 9,300 at most.
const FEW_CALLS: Fuel = Fuel(1_000_000);
const MANY_CALLS: Fuel = Fuel(20_000_000);
/// What a worker's peak may grow by between them: less than five bytes for each call more. Allocators and the kernel's count take up to 64 KiB.
const SPAM_BYTES_MAX: u64 = 512 << 10;

/// Beside what a worker may hold in any case, 14 KB that stayed behind each of those calls would pass.
#[tokio::test]
async fn calls_of_the_host_leave_nothing_behind() {
    let host = Host::new(1);
    let functions = FUNCTIONS.iter().filter(|function| function.1 != "proc_exit");
    for (tenant, function) in (0..).zip(functions) {
        // Each in a worker of its own: where one held much, another would have room for what it keeps.
        let job = caller(*function, true).tenant(tenant).input(&[0; 128]);
        let peak = async |fuel| {
            let started = host.start(job.clone().with(|spec| spec.limits.fuel = fuel)).await.unwrap();
            let pid = started.worker_pid().unwrap();
            let ended = finish(started).await.unwrap();
            assert_eq!(ended.outcome(), Outcome::OutOfFuel, "{function:?}: {}", ended.report.reason);
            (pid, peak_bytes(pid).unwrap(), ended.report.usage.host_calls)
        };
        let (few, many) = (peak(FEW_CALLS).await, peak(MANY_CALLS).await);
        assert_eq!(few.0, many.0, "{function:?}");
        let (more, calls) = (many.1 - few.1, many.2 - few.2);
        println!("{}: {more} bytes more for {calls} calls", function.1);
        assert!(more <= SPAM_BYTES_MAX, "{function:?}: {more} bytes more for {calls} calls");
    }
}

/// What a job may take where tenants take turns, of which every second one has a process started: five times as long as it does.
const TURN_TIME_MAX: Duration = Duration::from_millis(25);

#[tokio::test]
async fn nobody_reads_what_another_wrote() {
    // An emulator takes a second for each worker.
    let turns: u32 = if is_emulated() { 120 } else { 10_000 };
    // Looks through memory that it began with and memory that it grew, then leaves a canary all over it.
    let body = "(drop (memory.grow (i32.const 15)))
        (loop $look
            (if (i64.ne (i64.load (local.get $i)) (i64.const 0)) (then unreachable))
            (local.set $i (i32.add (local.get $i) (i32.const 8)))
            (br_if $look (i32.lt_u (local.get $i) (i32.const 2097152))))
        (memory.fill (i32.const 0) (i32.const 0xca) (i32.const 2097152))";
    let (host, job, mut pids, begun) = (Host::new(1), over(17, "", body), [None; 2], Instant::now());
    for n in 0..turns {
        // Twice each: in a worker that is new, and in one that has served the same tenant.
        let (tenant, is_again) = (n / 2 % 2, n % 2 == 1);
        let started = host.start(job.clone().tenant(tenant as u8)).await.unwrap();
        let (pid, [own, others]) = (started.worker_pid(), [tenant, 1 - tenant].map(|tenant| pids[tenant as usize]));
        assert_eq!((pid == own, pid == others), (is_again, false), "job {n}: {pid:?} of {pids:?}");
        pids[tenant as usize] = pid;
        finish(started).await.unwrap().assert_ok();
        let peak = peak_bytes(pid.unwrap()).unwrap();
        assert!(peak < (2 << 20) + WORKER_BYTES_MAX || is_emulated(), "job {n}: its worker held {peak} bytes");
    }
    let took = begun.elapsed();
    println!("{turns} jobs in {took:?}");
    assert!(took < turns * TURN_TIME_MAX || is_emulated(), "{took:?}");
    assert_host_holds_little();
}

/// Modules that take turns in one process: more than its engine has places for, so that each place goes from one to another.
const STRANGERS: u64 = 9;

/// What one of their jobs may take: ten times as long as it does, a tenth of which it takes on an idle machine.
const LAB_JOB_TIME_MAX: Duration = Duration::from_millis(10);

/// A guest that looks at all that it begins with and all that it grows by, and then leaves a canary everywhere.
fn canary(stranger: u64) -> String {
    // The first one's memory is over what an engine zeroes by hand.
    let pages = if stranger == 0 { 33 } else { stranger };
    let (data, begins) = if stranger.is_multiple_of(2) { ("", 0) } else { ("own data", u64::from_le_bytes(*b"own data")) };
    format!(
        r#"(module
            (memory (export "memory") {pages}) (data (i32.const 0) "{data}")
            (table $table 100 funcref) (global $global (mut i64) (i64.const {stranger}))
            (func $look_at_global (if (i64.ne (global.get $global) (i64.const {stranger})) (then unreachable)))
            (func $look_at_table (local $slot i32)
                (loop $look
                    (if (i32.eqz (ref.is_null (table.get $table (local.get $slot)))) (then unreachable))
                    (local.set $slot (i32.add (local.get $slot) (i32.const 1)))
                    (br_if $look (i32.lt_u (local.get $slot) (i32.const 100)))))
            (func $look_at_data (if (i64.ne (i64.load (i32.const 0)) (i64.const {begins})) (then unreachable)))
            (func $look_at_memory (param $at i32)
                (loop $look
                    (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
                    (local.set $at (i32.add (local.get $at) (i32.const 8)))
                    (br_if $look (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536))))))
            (func $start (export "_start") (local $grown i32)
                (call $look_at_global) (call $look_at_table) (call $look_at_data) (call $look_at_memory (i32.const 8))
                (local.set $grown (memory.grow (i32.const {pages})))
                (call $look_at_memory (i32.mul (local.get $grown) (i32.const 65536)))
                (global.set $global (i64.const -1))
                (table.fill $table (i32.const 0) (ref.func $start) (i32.const 100))
                (memory.fill (i32.const 0) (i32.const 0xca) (i32.mul (memory.size) (i32.const 65536)))))"#
    )
}

#[test]
fn ten_thousand_jobs_in_one_process_find_nothing_of_each_other() {
    let mut lab = Lab::new(&config(Strategy::Cranelift, OptLevel::Speed)).unwrap();
    let programs: Vec<_> = (0..STRANGERS)
        .map(|stranger| lab.compile(&wat::parse_str(canary(stranger)).unwrap(), &Options::default()).unwrap())
        .collect();
    let spec = Job::wat("(module)").spec;
    let (mut first, begun) = (vec![None; programs.len()], Instant::now());
    for n in 0..10_000 {
        // Twice each: where another was, and where it has been itself.
        let stranger = n / 2 % programs.len();
        let run = lab.run(&programs[stranger], &spec, b"").unwrap().run;
        assert_eq!(run.outcome, Outcome::Finished { exit_code: 0 }, "job {n}: {}", run.reason);
        // The meter's own memory is a place like others.
        assert_eq!(*first[stranger].get_or_insert(run.usage), run.usage, "job {n}");
    }
    let took = begun.elapsed();
    println!("10,000 jobs in {took:?}");
    assert!(took < 10_000 * LAB_JOB_TIME_MAX || is_emulated(), "{took:?}");
    assert_host_holds_little();
}

/// NaNs of this processor's choice would tell two machines apart: what arithmetic makes of any NaN is the canonical one, however it is
/// looked at, and what only moves keeps its bits.
#[tokio::test]
async fn nan_payloads_cannot_be_laundered() {
    const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
    const CANONICAL_32: u64 = 0x7fc0_0000;
    const NEGATIVE: u64 = 0xfff8_0000_0000_0000;
    // Loaded, so that no compiler computes with them.
    let operands = r#"(data (i32.const 1024)
        "\ef\be\ad\de\00\00\f8\7f" "\01\00\00\00\00\00\f0\7f" "\ef\be\c0\7f\00\00\00\00" "\00\00\00\00\00\00\f0\bf")
        (global $global (mut f64) (f64.const 0))
        (func $pass (param f64) (result f64) (local.get 0))
        (func $keep (param f64) (result f64) (global.set $global (local.get 0)) (global.get $global))"#;
    let rows = [
        ("f64.store", "$payload", 0x7ff8_0000_dead_beef),
        ("f64.store", "$signalling", 0x7ff0_0000_0000_0001),
        ("f64.store", "(f64.neg $payload)", 0xfff8_0000_dead_beef),
        ("f64.store", "(call $keep (call $pass $signalling))", 0x7ff0_0000_0000_0001),
        ("f64.store", "(f64x2.extract_lane 1 (f64x2.splat $payload))", 0x7ff8_0000_dead_beef),
        ("f64.store", "(f64.add $payload (f64.const 1))", CANONICAL),
        ("f64.store", "(f64.sub (f64.const 1) $signalling)", CANONICAL),
        ("f64.store", "(f64.sqrt $minus_one)", CANONICAL),
        ("f64.store", "(f64.min $payload $signalling)", CANONICAL),
        ("f64.store", "(f64.nearest $signalling)", CANONICAL),
        ("f64.store", "(f64.promote_f32 $payload_32)", CANONICAL),
        ("f64.store", "(f64.neg (f64.sqrt $minus_one))", NEGATIVE),
        ("f64.store", "(f64.abs (f64.neg (f64.sqrt $minus_one)))", CANONICAL),
        ("f64.store", "(f64.copysign (f64.mul $payload $payload) $minus_one)", NEGATIVE),
        ("f64.store", "(select (f64.div $payload $minus_one) $minus_one (i32.const 1))", CANONICAL),
        ("f64.store", "(call $keep (call $pass (f64.max $payload $minus_one)))", CANONICAL),
        ("f64.store", "(f64x2.extract_lane 1 (f64x2.mul (f64x2.splat $payload) (f64x2.splat $minus_one)))", CANONICAL),
        ("i64.store", "(i64.reinterpret_f64 (f64.floor $payload))", CANONICAL),
        ("i64.store", "(i64x2.extract_lane 0 (f64x2.ceil (f64x2.splat $signalling)))", CANONICAL),
        ("f32.store", "(f32.demote_f64 $payload)", CANONICAL_32),
        ("f32.store", "(f32.trunc $payload_32)", CANONICAL_32),
        ("i32.store", "(i32.reinterpret_f32 (f32.div $payload_32 (f32.const 2)))", CANONICAL_32),
        ("i32.store", "(i32x4.extract_lane 3 (f32x4.add (f32x4.splat $payload_32) (f32x4.splat $payload_32)))", CANONICAL_32),
    ];
    let (at, bytes) = (2048, 8 * rows.len());
    let mut body = format!("(i32.store (i32.const 0) (i32.const {at})) (i32.store (i32.const 4) (i32.const {bytes}))");
    for (n, (store, expression, _)) in rows.iter().enumerate() {
        write!(body, "({store} (i32.const {}) {expression})", at + 8 * n).unwrap();
    }
    body.push_str("(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))");
    for (name, load) in [
        ("$payload_32", "(f32.load (i32.const 1040))"),
        ("$payload", "(f64.load (i32.const 1024))"),
        ("$signalling", "(f64.load (i32.const 1032))"),
        ("$minus_one", "(f64.load (i32.const 1048))"),
    ] {
        body = body.replace(name, load);
    }
    let ended = run(&Host::new(1), over(1, operands, &body)).await;
    ended.assert_ok();
    assert_eq!(ended.output.len(), bytes);
    for ((store, expression, want), seen) in rows.iter().zip(ended.output.chunks(8)) {
        let seen = u64::from_le_bytes(seen.try_into().unwrap());
        assert_eq!(seen, *want, "{store} of {expression}: {seen:x}");
    }
}

#[tokio::test]
async fn exit_codes_out_of_any_range_are_told_as_they_are() {
    let host = Host::new(1);
    for exit_code in [126, 127, 128, 255, 256, 65_536, i32::MAX, i32::MIN, -1] {
        let ended = run(&host, over(1, "", &format!("(call $exit (i32.const {exit_code}))"))).await;
        assert_eq!(ended.outcome(), Outcome::Finished { exit_code });
    }
}

/// No guest is known that kills its worker, so something else does it here in its name. Not by SIGSEGV: the engine takes a fault that is
/// not a guest's for one that comes again, and a signal sent from outside does not.
#[tokio::test]
async fn death_of_a_worker_harms_nobody_else() {
    let mut least = Duration::MAX;
    for signal in [Signal::ABORT, Signal::SYS, Signal::KILL] {
        let host = Host::new(2);
        let mut doomed = host.start(spin_after_log()).await.unwrap();
        let mut other = host.start(spin_after_log().tenant(2)).await.unwrap();
        first_log(&mut doomed).await;
        first_log(&mut other).await;
        let (pid, others) = (doomed.worker_pid().unwrap(), other.worker_pid().unwrap());
        assert_holds_at_most(pid, WORKER_BYTES_MAX);
        kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
        let killed = Instant::now();
        let said = doomed.next().await;
        let late = killed.elapsed();
        assert!(matches!(said, Err(RunError::WorkerDied { .. })), "{signal:?}: {said:?}");
        assert!(late < BUSY_LATE_MAX, "{signal:?}: {late:?}");
        least = least.min(late);
        let next = host.start(echo().input(b"again")).await.unwrap();
        assert_ne!(next.worker_pid(), Some(pid));
        assert_eq!(judged(next, ByteCount(2 * 65536)).await.assert_ok().output, b"again");
        assert_holds_at_most(others, WORKER_BYTES_MAX);
        other.canceller().cancel();
        assert_eq!(finish(other).await.unwrap().outcome(), Outcome::Cancelled);
    }
    println!("a worker's death is told after {least:?}");
    assert!(least <= LATE_MAX, "{least:?}");
    assert_host_holds_little();
}
