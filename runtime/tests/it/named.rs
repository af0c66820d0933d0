//! Named inputs: numbered by name, read where a guest likes, paid for by the byte.

use std::fs::File;
use std::sync::Arc;

use adit_protocol::limits::NAMED_INPUTS_MAX;
use adit_protocol::{BlobRef, ByteCount, Fuel, Outcome, TrapKind};
use adit_runtime::{Input, Run, RunError, RunRequest};

use crate::streams::memory;
use crate::support::{Ended, Host, Job, finish, first_log};

/// Where guests have a name: `weights` at 1024, `a.txt` at 1040.
const NAMES: &str = r#"(data (i32.const 1024) "weights") (data (i32.const 1040) "a.txt") (data (i32.const 1056) "ready")"#;

/// A job whose `_start` has this body; `$say` writes a number to its output, `$show` bytes of memory.
fn guest(body: &str) -> Job {
    Job::wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "adit_1" "log" (func $log (param i32 i32 i32)))
            (import "adit_1" "input_count" (func $count (result i32)))
            (import "adit_1" "input_name" (func $name (param i32 i32 i32) (result i32)))
            (import "adit_1" "input_find" (func $find (param i32 i32) (result i32)))
            (import "adit_1" "input_bytes" (func $bytes (param i32) (result i64)))
            (import "adit_1" "input_read" (func $read (param i32 i64 i32 i32) (result i32)))
            (memory (export "memory") 2) {NAMES}
            (func $show (param $pointer i32) (param $bytes i32)
                (i32.store (i32.const 0) (local.get $pointer))
                (i32.store (i32.const 4) (local.get $bytes))
                (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
            (func $say (param i64) (i64.store (i32.const 16) (local.get 0)) (call $show (i32.const 16) (i32.const 8)))
            (func $say32 (param i32) (call $say (i64.extend_i32_s (local.get 0))))
            (func (export "_start") (local $n i64) {body}))"#
    ))
}

/// Two inputs: `a.txt` of five bytes, and `weights` of 300,000.
fn with_two(job: Job) -> Job {
    job.named("a.txt", b"alpha").named("weights", &weights())
}

fn weights() -> Vec<u8> {
    (0..300_000_u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect()
}

/// The numbers that a guest said.
fn numbers(ended: &Ended) -> Vec<i64> {
    ended.assert_ok().output.chunks(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[tokio::test]
async fn inputs_are_numbered_in_the_order_of_their_names() {
    let host = Host::new(1);
    let job = guest(
        "(call $say32 (call $count))
         (call $say (call $bytes (i32.const 0))) (call $say (call $bytes (i32.const 1)))
         (call $say32 (call $find (i32.const 1024) (i32.const 7)))
         (call $say32 (call $find (i32.const 1040) (i32.const 5)))
         ;; The start of a name is no name, and neither is what goes on behind one.
         (call $say32 (call $find (i32.const 1024) (i32.const 6)))
         (call $say32 (call $find (i32.const 1024) (i32.const 8)))
         (call $say32 (call $find (i32.const 1024) (i32.const 0)))
         (call $say32 (call $find (i32.const 0) (i32.const 131072)))",
    );
    assert_eq!(numbers(&host.run(with_two(job.clone())).await), [2, 5, 300_000, 1, 0, -1, -1, -1, -1]);
    assert_eq!(numbers(&host.run(job).await), [0, -1, -1, -1, -1, -1, -1, -1, -1], "a job without any");
}

#[tokio::test]
async fn name_is_cut_where_there_is_no_room_and_its_length_is_told() {
    let host = Host::new(1);
    let job = guest(
        "(call $say32 (call $name (i32.const 1) (i32.const 2048) (i32.const 3)))
         (call $say32 (call $name (i32.const 0) (i32.const 2056) (i32.const 64)))
         (call $say32 (call $name (i32.const 0) (i32.const 131072) (i32.const 0)))
         (call $show (i32.const 2048) (i32.const 16))",
    );
    let ended = host.run(with_two(job)).await;
    let (lengths, names) = ended.assert_ok().output.split_at(24);
    assert_eq!(lengths, [7_i64, 5, 5].map(i64::to_le_bytes).as_flattened());
    assert_eq!(names, b"wei\0\0\0\0\0a.txt\0\0\0");
}

#[tokio::test]
async fn any_part_is_read_and_a_read_is_short_only_at_the_end() {
    let host = Host::new(1);
    let read = |index: i32, offset: i64, bytes: i32| {
        let job = guest(&format!(
            "(call $say32 (call $read (i32.const {index}) (i64.const {offset}) (i32.const 4096) (i32.const {bytes})))
             (call $show (i32.const 4096) (i32.const 100000))"
        ));
        let host = &host;
        async move {
            let mut output = host.run(with_two(job)).await.assert_ok().output.clone();
            let memory = output.split_off(8);
            let result = i64::from_le_bytes(output.try_into().unwrap());
            let read = usize::try_from(result).unwrap_or(0);
            assert!(memory[read..].iter().all(|byte| *byte == 0), "nothing is written beyond what was read");
            (result, memory[..read].to_vec())
        }
    };
    let weights = weights();
    for (offset, bytes, want) in [
        (0, 0, 0),
        (0, 1, 1),
        (0, 100_000, 100_000),
        (123_457, 65_537, 65_537),
        (200_000, 100_000, 100_000),
        (299_999, 100_000, 1),
        (300_000, 100, 0),
        (300_001, 100, 0),
        (i64::MAX, 100, 0),
        (-1, 100, 0),
        (i64::MIN, 100, 0),
    ] {
        let (result, content) = read(1, offset, bytes).await;
        assert_eq!(result, want, "{bytes} bytes at {offset}");
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(weights.len());
        assert!(content == weights[start..][..content.len()], "{bytes} bytes at {offset}");
    }
    assert_eq!(read(0, 1, 100).await, (4, b"lpha".to_vec()));
    for index in [2, 16, -1, i32::MIN] {
        assert_eq!(read(index, 0, 100).await, (-1, Vec::new()), "input {index}");
    }
}

#[tokio::test]
async fn pointer_outside_of_memory_traps_whatever_else_is_asked() {
    let host = Host::new(1);
    for call in [
        "(call $name (i32.const 0) (i32.const 131072) (i32.const 1))",
        "(call $name (i32.const 9) (i32.const -1) (i32.const 2))",
        "(call $find (i32.const 131071) (i32.const 2))",
        "(call $find (i32.const 0) (i32.const -1))",
        "(call $read (i32.const 0) (i64.const 0) (i32.const 131072) (i32.const 1))",
        // Of an input that is not there, or of which nothing would be read.
        "(call $read (i32.const 9) (i64.const 0) (i32.const 131072) (i32.const 1))",
        "(call $read (i32.const 0) (i64.const 5) (i32.const 131070) (i32.const 3))",
        "(call $read (i32.const 0) (i64.const 0) (i32.const 4) (i32.const -1))",
    ] {
        let ended = host.run(with_two(guest(&format!("(drop {call})")))).await;
        assert_eq!(ended.outcome(), Outcome::Trapped(TrapKind::HostCall), "{call}: {}", ended.report.reason);
    }
}

#[tokio::test]
async fn call_is_paid_and_half_a_fuel_for_each_byte() {
    let host = Host::new(1);
    let fuel = async |body: String| host.run(with_two(guest(&body))).await.assert_ok().report.usage.fuel.0;
    let read = |bytes: u32| format!("(drop (call $read (i32.const 1) (i64.const 0) (i32.const 4096) (i32.const {bytes})))");
    let none = fuel(read(0)).await;
    assert_eq!(fuel(read(2_000)).await - none, 1_000);
    assert_eq!(fuel(read(100_000)).await - none, 50_000);
    // Who asks for more than there is pays for what there is.
    let at_the_end = "(drop (call $read (i32.const 1) (i64.const 299000) (i32.const 4096) (i32.const 100000)))";
    assert_eq!(fuel(at_the_end.into()).await - none, 500);
    let name = |room: u32| format!("(drop (call $name (i32.const 1) (i32.const 4096) (i32.const {room})))");
    assert_eq!(fuel(name(6)).await - fuel(name(0)).await, 3);
    assert_eq!(fuel(name(64)).await - fuel(name(6)).await, 1, "a part of a fuel counts as one");
    let ended = host.run(with_two(guest(&format!("{} (drop (call $count))", read(0))))).await;
    assert_eq!(ended.report.usage.host_calls, 2);
    let call = ended.report.usage.fuel.0 - none;
    assert!((150..155).contains(&call), "a call of the host and what leads to it: {call}");
}

#[tokio::test]
async fn read_that_is_over_the_budget_ends_the_job_at_its_limit() {
    let host = Host::new(1);
    let read = "(drop (call $read (i32.const 1) (i64.const 0) (i32.const 4096) (i32.const 100000)))";
    let ended = host.run(with_two(guest(read)).with(|spec| spec.limits.fuel = Fuel(40_000))).await;
    assert_eq!((ended.outcome(), ended.report.usage.fuel), (Outcome::OutOfFuel, Fuel(40_000)));
}

#[tokio::test]
async fn all_that_was_given_is_billed_as_read() {
    let host = Host::new(1);
    let ended = host.run(with_two(guest("")).input(b"stdin")).await;
    assert_eq!(ended.assert_ok().report.usage.bytes_in, ByteCount(5 + 5 + 300_000));
}

/// More than a worker has places for modules, so that modules, inputs and sixteen files come with one order.
#[tokio::test]
async fn sixteen_inputs_come_with_one_order_again_and_again() {
    let host = Host::new(1);
    for round in 0..12 {
        let body = format!(
            "(call $say32 (call $count)) (call $say32 (call $read (i32.const 15) (i64.const 0) (i32.const 4096) (i32.const 9)))
             (call $show (i32.const 4096) (i32.const 8)) (call $say (i64.const {round}))"
        );
        let mut job = guest(&body).input(&[0; 100_000]);
        for n in 0..NAMED_INPUTS_MAX as u64 {
            job = job.named(&format!("{n:02}"), &(n + 100).to_le_bytes());
        }
        assert_eq!(numbers(&host.run(job).await), [16, 8, 115, round]);
    }
}

#[tokio::test]
async fn inputs_that_are_not_as_specified_start_no_job() {
    let host = Host::new(1);
    let missing = with_two(guest("")).with(|spec| drop(spec.inputs.pop()));
    let error = host.start(missing).await.unwrap_err();
    assert!(matches!(error, RunError::NamedInputs { given: 2, specified: 1 }), "{error}");
    let mut many = guest("");
    for n in 0..=NAMED_INPUTS_MAX {
        many = many.named(&format!("{n:02}"), b"");
    }
    let error = host.start(many).await.unwrap_err();
    assert!(matches!(error, RunError::NamedInputs { given: 17, specified: 17 }), "{error}");
    let short = with_two(guest("")).with(|spec| spec.inputs[1].blob.bytes += 1);
    let error = host.start(short).await.unwrap_err();
    assert_eq!(error.to_string(), "the input `weights` has 300000 bytes; the specification says 300001");
}

/// Starts a job with one named input, `big`, that is a file.
async fn start_over(host: &Host, mut job: Job, file: &File) -> Run {
    host.compile(&job.wasm).await.unwrap();
    let blob = BlobRef { bytes: file.metadata().unwrap().len(), ..BlobRef::of(b"") };
    job.spec.add_input("big".parse().unwrap(), blob);
    let named = vec![Input::File(file.try_clone().unwrap())];
    let request = RunRequest { tenant: job.tenant, spec: Arc::new(job.spec), input: Input::Inline(Vec::new()), named };
    host.runtime.start(request).await.unwrap()
}

/// Somebody at the node's own machine cuts the file while a guest reads it. On another node the guest would have had its bytes, so this is
/// no outcome.
#[tokio::test]
async fn file_that_is_cut_short_under_a_guest_is_the_nodes_failure() {
    let host = Host::new(1);
    let file = tempfile::tempfile().unwrap();
    file.set_len(100_000).unwrap();
    let job = guest(
        "(call $log (i32.const 3) (i32.const 1056) (i32.const 5))
         (loop $forever
            (if (i32.ne (call $read (i32.const 0) (i64.const 50000) (i32.const 4096) (i32.const 100)) (i32.const 100)) (then unreachable))
            (br $forever))",
    );
    let mut run = start_over(&host, job, &file).await;
    assert_eq!(first_log(&mut run).await, b"[info] ready\n");
    file.set_len(50_050).unwrap();
    match finish(run).await {
        Err(RunError::WorkerDied { usage, .. }) => assert_eq!(usage.bytes_in, ByteCount(100_000)),
        other => panic!("a guest was shown a broken input: {other:?}"),
    }
}

#[tokio::test]
async fn large_input_is_read_where_it_lies_and_costs_no_memory() {
    const BYTES: u64 = 512 << 20;
    let host = Host::new(1);
    let file = tempfile::tempfile().unwrap();
    file.set_len(BYTES).unwrap();
    let job = guest(&format!(
        "(loop $more
            (if (i32.ne (call $read (i32.const 0) (local.get $n) (i32.const 65536) (i32.const 65536)) (i32.const 65536))
                (then unreachable))
            (br_if $more (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 65536))) (i64.const {BYTES}))))
         (call $log (i32.const 3) (i32.const 1056) (i32.const 5))
         (loop $forever (br $forever))"
    ));
    let job = job.with(|spec| spec.limits.fuel = Fuel(u64::MAX >> 16));
    let mut run = start_over(&host, job, &file).await;
    let pid = run.worker_pid().unwrap();
    first_log(&mut run).await;
    let peak = memory(pid, "VmHWM");
    assert!(peak < 128 << 20, "the worker held {peak} bytes");
    run.canceller().cancel();
    let ended = finish(run).await.unwrap();
    assert_eq!((ended.outcome(), ended.report.usage.bytes_in), (Outcome::Cancelled, ByteCount(BYTES)));
}
