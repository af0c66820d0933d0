//! GPUs: guests that use one, and guests that mean it harm, on Mesa's software adapter. Each test has a runtime of its own, so a GPU
//! that is lost is lost to nobody else.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_protocol::{ByteCount, Comparison, Fuel, GpuNeed, Outcome, TrapKind};
use adit_runtime::{GpuConfig, Run, RunError, RunEvent};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use crate::support::{Ended, Host, Job, echo, finish, first_log};

/// What a GPU is replaced within that was lost.
const LOST_TIME_MAX: Duration = Duration::from_secs(5);

/// A host that lends the software adapter, and has opened it. It gives a dispatch long: the machine may be busy with other things.
async fn host(slots: usize) -> Host {
    host_with(slots, |gpu| gpu.slice = Duration::from_secs(60)).await
}

/// The same, for work that hangs.
async fn strict_host(slots: usize) -> Host {
    host_with(slots, |_| {}).await
}

async fn host_with(slots: usize, change: impl FnOnce(&mut GpuConfig)) -> Host {
    let mut gpu =
        GpuConfig { software: true, memory: ByteCount(256 << 20), slice: Duration::from_secs(1), ..GpuConfig::default() };
    change(&mut gpu);
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let host = Host::with(folder, |config| (config.slots, config.gpu) = (slots, Some(gpu)));
    match host.runtime.gpu_settled().await {
        Ok(offer) => assert!(offer.is_some_and(|offer| offer.class.starts_with("software/"))),
        Err(error) => panic!("no Vulkan adapter to test on ({error}); `cargo xtask setup` installs one"),
    }
    host
}

/// Adds to each number twice its place.
const DOUBLES: &str = "
    @group(0) @binding(0) var<storage, read_write> numbers: array<u32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x < arrayLength(&numbers) { numbers[id.x] += 2u * id.x; }
    }";

/// The same with floats.
const HALVES: &str = "
    @group(0) @binding(0) var<storage, read_write> numbers: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x < arrayLength(&numbers) { numbers[id.x] += 0.5 * f32(id.x); }
    }";

/// Does not end by itself. Mesa's software adapter ends any loop after 65,535 rounds, so only many workgroups of it hang: see
/// [`HANGING_WORKGROUPS`].
const HANGS: &str = "
    @group(0) @binding(0) var<storage, read_write> numbers: array<u32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        var x = id.x;
        loop {
            x = x * 1664525u + 1013904223u + numbers[1];
            if numbers[0] == 77u { break; }
            numbers[2] = x;
        }
    }";
const HANGING_WORKGROUPS: u32 = 65_535;

/// Computes for a while, by how many times the first number says.
const WORKS: &str = "
    @group(0) @binding(0) var<storage, read_write> numbers: array<u32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        var x = id.x;
        for (var i = 0u; i < numbers[0]; i++) { x = x * 1664525u + 1013904223u; }
        numbers[1u + id.x % 64u] = x;
    }";

/// Where a guest has its shader, and room for data.
const SHADER_AT: usize = 65_536;
const DATA_AT: usize = 4_096;

/// A guest with a GPU, whose `_start` has this body. `$pipeline` makes one of the shader, `$bind` writes a binding, `$dispatch` and
/// `$read` and `$write` fail the guest where they fail.
fn guest(shader: &str, body: &str) -> Job {
    let shader_bytes = shader.len();
    let shader: String = shader.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "\\{byte:02x}").unwrap();
        text
    });
    let job = Job::wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "adit_1" "log" (func $log (param i32 i32 i32)))
            (import "adit_1" "gpu_limits" (func $limits (param i32) (result i32)))
            (import "adit_1" "gpu_buffer_create" (func $create (param i64) (result i32)))
            (import "adit_1" "gpu_buffer_destroy" (func $destroy (param i32) (result i32)))
            (import "adit_1" "gpu_buffer_write" (func $gpu_write (param i32 i64 i32 i32) (result i32)))
            (import "adit_1" "gpu_buffer_read" (func $gpu_read (param i32 i64 i32 i32) (result i32)))
            (import "adit_1" "gpu_buffer_copy" (func $copy (param i32 i64 i32 i64 i64) (result i32)))
            (import "adit_1" "gpu_pipeline_create" (func $gpu_pipeline (param i32 i32 i32 i32) (result i32)))
            (import "adit_1" "gpu_pipeline_destroy" (func $drop_pipeline (param i32) (result i32)))
            (import "adit_1" "gpu_dispatch" (func $gpu_dispatch (param i32 i32 i32 i32 i32 i32) (result i32)))
            (import "adit_1" "gpu_submit" (func $submit (result i32)))
            (import "adit_1" "gpu_finish" (func $finish (result i32)))
            (import "adit_1" "gpu_error" (func $error (param i32 i32) (result i32)))
            (memory (export "memory") 64)
            (data (i32.const 1024) "main")
            (data (i32.const {SHADER_AT}) "{shader}")
            (func $ok (param $code i32)
                (if (i32.ne (local.get $code) (i32.const 0)) (then (call $why) (unreachable))))
            (func $why (call $log (i32.const 1) (i32.const 1048576) (call $error (i32.const 1048576) (i32.const 65536))))
            (func $pipeline (result i32)
                (call $gpu_pipeline (i32.const {SHADER_AT}) (i32.const {shader_bytes}) (i32.const 1024) (i32.const 4)))
            (func $bind (param $at i32) (param $binding i32) (param $buffer i32)
                (i32.store (i32.add (i32.const 2048) (i32.mul (local.get $at) (i32.const 24))) (local.get $binding))
                (i32.store (i32.add (i32.const 2052) (i32.mul (local.get $at) (i32.const 24))) (local.get $buffer)))
            ;; One buffer at binding 0.
            (func $dispatch (param $pipeline i32) (param $buffer i32) (param $x i32)
                (call $bind (i32.const 0) (i32.const 0) (local.get $buffer))
                (call $ok (call $gpu_dispatch (local.get $pipeline) (i32.const 2048) (i32.const 1)
                    (local.get $x) (i32.const 1) (i32.const 1))))
            (func $write (param $buffer i32) (param $bytes i32)
                (call $ok (call $gpu_write (local.get $buffer) (i64.const 0) (i32.const {DATA_AT}) (local.get $bytes))))
            (func $read (param $buffer i32) (param $bytes i32)
                (call $ok (call $gpu_read (local.get $buffer) (i64.const 0) (i32.const {DATA_AT}) (local.get $bytes))))
            (func $output (param $pointer i32) (param $bytes i32)
                (i32.store (i32.const 0) (local.get $pointer))
                (i32.store (i32.const 4) (local.get $bytes))
                (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
            (func $ready (call $log (i32.const 3) (i32.const 1024) (i32.const 4)))
            (func (export "_start") (local $a i32) (local $b i32) (local $i i32) {body}))"#
    ));
    job.with(|spec| {
        spec.gpu = Some(GpuNeed { memory: ByteCount(64 << 20), buffer: ByteCount(32 << 20), ..GpuNeed::default() });
        spec.limits.gpu_ns = 60_000_000_000;
        spec.limits.output = ByteCount(64 << 20);
    })
}

fn need(job: Job, change: impl FnOnce(&mut GpuNeed)) -> Job {
    job.with(|spec| change(spec.gpu.as_mut().unwrap()))
}

/// Runs a shader like [`DOUBLES`] over a buffer of 64 numbers, and puts out what is in it after.
fn over_64_numbers(shader: &str) -> Job {
    guest(
        shader,
        &format!(
            "(local.set $a (call $create (i64.const 256)))
            (loop $fill
                (i32.store (i32.add (i32.const {DATA_AT}) (i32.mul (local.get $i) (i32.const 4))) (local.get $i))
                (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 64))))
            (call $write (local.get $a) (i32.const 256))
            (local.set $b (call $pipeline))
            (if (i32.lt_s (local.get $b) (i32.const 0)) (then (call $why) (unreachable)))
            (call $dispatch (local.get $b) (local.get $a) (i32.const 1))
            (call $read (local.get $a) (i32.const 256))
            (call $output (i32.const {DATA_AT}) (i32.const 256))"
        ),
    )
}

fn numbers(output: &[u8]) -> Vec<u32> {
    output.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
}

#[track_caller]
fn assert_doubled(ended: &Ended) {
    assert_eq!(ended.outcome(), Outcome::Finished { exit_code: 0 }, "{} {}", ended.report.reason, log(ended));
    assert_eq!(numbers(&ended.output), (0..64).map(|n| 3 * n).collect::<Vec<_>>());
}

fn log(ended: &Ended) -> String {
    String::from_utf8_lossy(&ended.log).into_owned()
}

#[tokio::test]
async fn dispatch_gives_the_right_numbers_and_the_receipt_says_what_it_took() {
    let host = host(1).await;
    let ended = host.run(over_64_numbers(DOUBLES)).await;
    assert_doubled(&ended);
    let gpu = ended.report.gpu.as_ref().unwrap();
    assert_eq!(gpu.class, host.runtime.gpu().unwrap().class);
    assert_eq!((gpu.dispatches, gpu.bytes_moved, gpu.memory_peak), (1, ByteCount(512), ByteCount(256)));
    assert_eq!(gpu.comparison, Comparison::Exact, "integers are comparable between any adapters");
    let gpu_ns = ended.report.usage.gpu_ns;
    assert!(gpu_ns > 0 && gpu_ns < 5_000_000_000, "{gpu_ns}");
    let again = host.run(over_64_numbers(DOUBLES)).await;
    assert_doubled(&again);
    assert_eq!(again.report.usage.fuel, ended.report.usage.fuel, "fuel does not go by a clock");
    assert_eq!(again.report.usage.host_calls, ended.report.usage.host_calls);
}

#[tokio::test]
async fn floats_are_compared_as_the_job_declares() {
    let host = host(1).await;
    let ended = host.run(over_64_numbers(HALVES)).await;
    ended.assert_ok();
    assert_eq!(ended.report.gpu.unwrap().comparison, Comparison::Class);
    let exact = host.run(need(over_64_numbers(HALVES), |need| need.comparison = Comparison::Exact)).await;
    assert_eq!(exact.outcome(), Outcome::Trapped(TrapKind::Unreachable));
    assert!(log(&exact).contains("floats"), "{}", log(&exact));
}

/// A row: what to do, with its result in a number, and the code that it should be.
async fn check_codes(host: &Host, shader: &str, change: impl Fn(&mut GpuNeed), rows: &[(&str, i32, &str)]) {
    for (call, code, message) in rows {
        let body = format!(
            "(local.set $a {call})
            (if (i32.ne (local.get $a) (i32.const {code})) (then (call $exit (local.get $a))))
            (if (i32.lt_s (local.get $a) (i32.const 0)) (then (call $why)))"
        );
        let ended = host.run(need(guest(shader, &body), &change)).await;
        assert_eq!(ended.outcome(), Outcome::Finished { exit_code: 0 }, "{call}: {} {}", ended.report.reason, log(&ended));
        assert!(log(&ended).contains(message), "{call}: {}", log(&ended));
        assert_names_no_adapter(&log(&ended));
    }
}

#[tokio::test]
async fn each_refusal_has_its_code_and_says_why() {
    let host = host(1).await;
    let buffer = "(drop (call $create (i64.const 256)))";
    let rows = [
        ("(call $create (i64.const 0))".to_owned(), -2, "a buffer of 0 bytes"),
        ("(call $create (i64.const 6))".to_owned(), -2, "a buffer of 6 bytes"),
        ("(call $create (i64.const 33554436))".to_owned(), -3, "GPU buffer, in bytes"),
        ("(call $destroy (i32.const 0))".to_owned(), -2, "there is no buffer 0"),
        (format!("(block (result i32) {buffer} (call $gpu_write (i32.const 0) (i64.const 254) (i32.const 0) (i32.const 4)))"), -2, "a write of 4 bytes at 254"),
        (format!("(block (result i32) {buffer} (call $gpu_read (i32.const 0) (i64.const 256) (i32.const 0) (i32.const 4)))"), -2, "a read of 4 bytes at 256"),
        (format!("(block (result i32) {buffer} (call $copy (i32.const 0) (i64.const 0) (i32.const 0) (i64.const 128) (i64.const 4)))"), -2, "to itself"),
        ("(call $drop_pipeline (i32.const 3))".to_owned(), -2, "there is no pipeline 3"),
        ("(call $gpu_dispatch (i32.const 0) (i32.const 2048) (i32.const 0) (i32.const 1) (i32.const 1) (i32.const 1))".to_owned(), -2, "there is no pipeline 0"),
        ("(block (result i32) (drop (call $pipeline)) (call $gpu_dispatch (i32.const 0) (i32.const 2048) (i32.const 0) (i32.const 1) (i32.const 1) (i32.const 1)))".to_owned(), -2, "binding 0 is used by the shader and not given"),
        (format!("(block (result i32) {buffer} (drop (call $pipeline)) (call $gpu_dispatch (i32.const 0) (i32.const 2048) (i32.const 1) (i32.const 65536) (i32.const 1) (i32.const 1)))"), -3, "65536 workgroups in one dimension"),
        ("(call $gpu_pipeline (i32.const 1024) (i32.const 4) (i32.const 1024) (i32.const 4))".to_owned(), -4, "1"),
        (format!("(call $gpu_pipeline (i32.const {SHADER_AT}) (i32.const 65537) (i32.const 1024) (i32.const 4))"), -4, "65537"),
        (format!("(call $gpu_pipeline (i32.const {SHADER_AT}) (i32.const 65536) (i32.const 1024) (i32.const 4))"), -4, ""),
        (format!("(call $gpu_pipeline (i32.const {SHADER_AT}) (i32.const {}) (i32.const 1025) (i32.const 3))", DOUBLES.len()), -4, "ain"),
        (
            format!(
                "(block (result i32) {buffer} (drop (call $pipeline)) (call $gpu_dispatch (i32.const 0) (i32.const 2048) (i32.const 1) (i32.const 65535) (i32.const 65535) (i32.const 65535)))"
            ),
            -3,
            "workgroups of a dispatch: 281462092005375",
        ),
        ("(call $error (i32.const 0) (i32.const 0))".to_owned(), 0, ""),
        ("(call $finish)".to_owned(), 0, ""),
        ("(call $submit)".to_owned(), 0, ""),
    ];
    let rows: Vec<_> = rows.iter().map(|(call, code, message)| (call.as_str(), *code, *message)).collect();
    check_codes(&host, DOUBLES, |_| {}, &rows).await;
}

/// A shader that does nothing, of so many operations: 1,024 calls of a function are ten lines that each call the one before twice. A call, a
/// block, and the return that ends a function are an operation each.
fn idles(operations: usize) -> String {
    let calls: String = (1..=10).map(|n| format!("fn f{n}() {{ f{0}(); f{0}(); }}\n", n - 1)).collect();
    let (called, own) = ("{}".repeat(165), "{}".repeat(operations - (1024 * 166 + 1023 * 3) - 2));
    format!("fn f0() {{ {called} }}\n{calls} @compute @workgroup_size(1) fn main() {{ f10(); {own} }}")
}

/// A module of SPIR-V that declares what every shader's does, and no byte in it that is no text.
fn spir_v() -> String {
    let words = [0x0723_0203_u32, 0x0001_0000, 0, 1, 0, 0x0002_0011, 1, 0x0003_000e, 0, 1];
    String::from_utf8(words.iter().flat_map(|word| word.to_le_bytes()).collect()).unwrap()
}

#[tokio::test]
async fn shader_is_wgsl_of_64_kib_and_no_more() {
    let host = host(1).await;
    let padded = |bytes: usize| format!("{DOUBLES}{}", " ".repeat(bytes - DOUBLES.len()));
    for (shader, code, message) in [
        (padded(65_536), 0, ""),
        (padded(65_537), -4, "the shader has 65537 bytes; it may have 65536"),
        (spir_v(), -4, "the shader is SPIR-V, and a guest's is WGSL"),
    ] {
        check_codes(&host, &shader, |_| {}, &[("(call $pipeline)", code, message)]).await;
    }
}

/// Who destroyed each pipeline and made the next had the driver compile for as long as there was fuel, which is paid by the byte.
#[tokio::test]
async fn pipelines_of_a_job_have_so_many_operations_together() {
    // Where the driver saw an eleventh, it would not come back from it.
    let host = host_with(1, |gpu| (gpu.slice, gpu.stuck_in_pipeline) = (Duration::from_secs(60), 11)).await;
    let body = "(loop $more
            (local.set $a (call $pipeline))
            (if (i32.lt_s (local.get $a) (i32.const 0)) (then (call $why) (call $exit (local.get $i))))
            (call $ok (call $drop_pipeline (local.get $a)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $more))";
    let job = guest(&idles(180_000), body).with(|spec| (spec.limits.wall_ms, spec.limits.fuel) = (300_000, Fuel(10_000_000_000)));
    let ended = host.run(job).await;
    assert_eq!(ended.outcome(), Outcome::Finished { exit_code: 10 }, "{} {}", ended.report.reason, log(&ended));
    let told = "operations of all pipelines that were made: 1980000, over the job's limit of 1800000";
    assert!(log(&ended).contains(told), "{}", log(&ended));
}

/// What a driver says names the adapter, so none of it is for the guest: it is the node that failed.
#[tokio::test]
async fn what_a_driver_says_of_a_shader_is_not_for_the_guest() {
    let host = host_with(1, |gpu| (gpu.slice, gpu.refused_pipeline) = (Duration::from_secs(60), 1)).await;
    let body = "(drop (call $pipeline)) (call $why) (call $ready)";
    let mut run = host.start(guest(DOUBLES, body)).await.unwrap();
    let mut told = Vec::new();
    let error = loop {
        match run.next().await {
            Ok(RunEvent::Log(line)) => told.extend(line),
            Ok(event) => panic!("{event:?} after {}", String::from_utf8_lossy(&told)),
            Err(error) => break error,
        }
    };
    let for_the_node = error.to_string();
    assert!(matches!(error, RunError::GpuFailed { .. }) && for_the_node.contains("llvmpipe"), "{for_the_node}");
    assert_eq!(told, b"", "the guest heard nothing");
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
}

/// Fuel of a call of a guest that has done `before`: what it has more with the call. The numbers that it takes are some more.
async fn fuel_of(host: &Host, shader: &str, before: &str, call: &str) -> u64 {
    let fuel = async |body: String| {
        let ended = host.run(guest(shader, &body)).await;
        ended.assert_ok();
        ended.report.usage.fuel.0
    };
    fuel(format!("{before} (drop {call})")).await - fuel(before.to_owned()).await
}

/// What the numbers that a call takes cost at the most: its instructions, and no host's.
const OWN_FUEL_MAX: u64 = 40;

#[tokio::test]
async fn each_call_costs_what_the_table_says() {
    let table = include_str!("../../../guest-sdk/abi.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let stated = "A call of the GPU's is 2,000 fuel more, which is 2,150; a byte to or from a buffer, or of a message, is half a one, a binding of a \
                  dispatch 100, a pipeline 2,000,000 and a byte of its shader 1,000.";
    assert!(table.contains(stated), "the test's numbers are those of `guest-sdk/abi.md`");
    let host = host(1).await;
    let bytes = DOUBLES.len() as u64;
    let buffers = "(drop (call $create (i64.const 4096))) (drop (call $create (i64.const 4096)))";
    let ready = format!(
        "{buffers} (drop (call $pipeline)) (call $bind (i32.const 0) (i32.const 0) (i32.const 0))
        (call $bind (i32.const 1) (i32.const 7) (i32.const 1)) (call $bind (i32.const 2) (i32.const 8) (i32.const 1))"
    );
    let failed = format!("{buffers} (drop (call $destroy (i32.const 9)))");
    let dispatch = |bindings: u32, x: u32| {
        format!(
            "(call $gpu_dispatch (i32.const 0) (i32.const 2048) (i32.const {bindings}) (i32.const {x}) (i32.const 1) (i32.const 1))"
        )
    };
    let moved =
        |call: &str, bytes: u32| format!("(call {call} (i32.const 0) (i64.const 0) (i32.const {DATA_AT}) (i32.const {bytes}))");
    let rows = [
        ("limits", buffers, "(call $limits (i32.const 4096))".to_owned(), 0),
        ("a buffer", buffers, "(call $create (i64.const 4))".to_owned(), 0),
        ("a large one", buffers, "(call $create (i64.const 4194304))".to_owned(), 0),
        ("the end of one", buffers, "(call $destroy (i32.const 1))".to_owned(), 0),
        (
            "a copy",
            buffers,
            "(call $copy (i32.const 0) (i64.const 0) (i32.const 1) (i64.const 0) (i64.const 4096))".to_owned(),
            0,
        ),
        ("a write of nothing", buffers, moved("$gpu_write", 0), 0),
        ("a write", buffers, moved("$gpu_write", 4096), 2_048),
        ("a read", buffers, moved("$gpu_read", 4096), 2_048),
        ("a part of a message", &failed, "(call $error (i32.const 4096) (i32.const 8))".to_owned(), 4),
        ("a message of 20 bytes", &failed, "(call $error (i32.const 4096) (i32.const 4096))".to_owned(), 10),
        ("a pipeline", buffers, "(call $pipeline)".to_owned(), 2_000_000 + 1_000 * bytes),
        ("the end of it", &ready, "(call $drop_pipeline (i32.const 0))".to_owned(), 0),
        ("a dispatch", &ready, dispatch(1, 1), 100),
        ("one with two bindings more", &ready, dispatch(3, 1), 300),
        ("one that computes much", &ready, dispatch(1, 1_000), 100),
        ("a beginning", &ready, "(call $submit)".to_owned(), 0),
        ("an end", &ready, "(call $finish)".to_owned(), 0),
        ("a call that is refused", buffers, "(call $destroy (i32.const 9))".to_owned(), 0),
    ];
    for (what, before, call, more) in rows {
        let (fuel, stated) = (fuel_of(&host, DOUBLES, before, &call).await, 2_150 + more);
        println!("{what}: {fuel}, of it {} its own", fuel.saturating_sub(stated));
        assert!((stated..=stated + OWN_FUEL_MAX).contains(&fuel), "{what}: {fuel} fuel, and {stated} is stated");
    }
}

/// A guest is told of its limits and of its shader, and nothing of the adapter.
fn assert_names_no_adapter(told: &str) {
    let told = told.to_lowercase();
    for name in ["llvmpipe", "lavapipe", "mesa", "vulkan", "software", "wgpu"] {
        assert!(!told.contains(name), "{name}: {told}");
    }
}

#[tokio::test]
async fn every_limit_holds_at_n_and_not_beyond() {
    let host = host(1).await;
    let twice = |call: &str| format!("(block (result i32) (drop {call}) {call})");
    let dispatch = |x: u32| {
        format!(
            "(block (result i32) (drop (call $create (i64.const 256))) (drop (call $pipeline)) (call $gpu_dispatch (i32.const 0) \
             (i32.const 2048) (i32.const 1) (i32.const {x}) (i32.const 1) (i32.const 1)))"
        )
    };
    let create = "(call $create (i64.const 1024))";
    type Change<'a> = &'a dyn Fn(&mut GpuNeed);
    let rows: [(Change<'_>, String, i32, String, &str); 6] = [
        (
            &|n| n.buffer = ByteCount(1024),
            create.to_owned(),
            0,
            "(call $create (i64.const 1028))".to_owned(),
            "GPU buffer, in bytes",
        ),
        (
            &|n| n.memory = ByteCount(2048),
            twice(create),
            1,
            format!("(block (result i32) (drop {}) (call $create (i64.const 4)))", twice(create)),
            "GPU memory, in bytes",
        ),
        (&|n| n.buffers = 2, twice(create), 1, format!("(block (result i32) (drop {}) {create})", twice(create)), "GPU buffers"),
        (&|n| n.pipelines = 1, "(call $pipeline)".to_owned(), 0, twice("(call $pipeline)"), "GPU pipelines"),
        (&|n| n.workgroups = 7, dispatch(7), 0, dispatch(8), "workgroups of a dispatch"),
        (
            &|n| n.dispatches = 1,
            dispatch(1),
            0,
            format!(
                "(block (result i32) (drop {}) (call $gpu_dispatch (i32.const 0) (i32.const 2048) (i32.const 1) (i32.const 1) (i32.const 1) (i32.const 1)))",
                dispatch(1)
            ),
            "GPU dispatches",
        ),
    ];
    for (change, within, value, over, message) in rows {
        check_codes(&host, DOUBLES, change, &[(&within, value, ""), (&over, -3, message)]).await;
    }
    // What a shader asks for itself.
    check_codes(&host, DOUBLES, |n| n.invocations = 64, &[("(call $pipeline)", 0, "")]).await;
    check_codes(&host, DOUBLES, |n| n.invocations = 63, &[("(call $pipeline)", -4, "64")]).await;
    let shares = "var<workgroup> shared_words: array<u32, 256>; @compute @workgroup_size(64) fn main() { shared_words[3] = 1u; }";
    check_codes(&host, shares, |n| n.workgroup_memory = 1024, &[("(call $pipeline)", 0, "")]).await;
    check_codes(&host, shares, |n| n.workgroup_memory = 1023, &[("(call $pipeline)", -4, "102")]).await;
}

#[tokio::test]
async fn limits_are_told_as_the_job_has_them() {
    let host = host(1).await;
    let ended =
        host.run(guest("", "(call $ok (call $limits (i32.const 4096))) (call $output (i32.const 4096) (i32.const 56))")).await;
    ended.assert_ok();
    let wide = |at: usize| u64::from_le_bytes(ended.output[at..at + 8].try_into().unwrap());
    let narrow = |at: usize| u32::from_le_bytes(ended.output[at..at + 4].try_into().unwrap());
    let n = GpuNeed::default();
    assert_eq!([0, 8, 16, 24, 32].map(wide), [64 << 20, 32 << 20, n.dispatches, n.workgroups, 60_000_000_000]);
    assert_eq!([40, 44, 48, 52].map(narrow), [n.buffers, n.pipelines, n.invocations, n.workgroup_memory]);
}

#[tokio::test]
async fn pointers_outside_of_memory_trap() {
    let host = host(1).await;
    let end = 64 * 65_536;
    for call in [
        format!("(call $limits (i32.const {}))", end - 55),
        format!("(call $error (i32.const {end}) (i32.const 1))"),
        format!("(call $gpu_write (i32.const 0) (i64.const 0) (i32.const {}) (i32.const 8))", end - 4),
        "(call $gpu_read (i32.const 0) (i64.const 0) (i32.const 8) (i32.const -1))".to_owned(),
        format!("(call $gpu_pipeline (i32.const {}) (i32.const 8) (i32.const 0) (i32.const 0))", end - 4),
        format!("(call $gpu_pipeline (i32.const 0) (i32.const 0) (i32.const {}) (i32.const 8))", end - 4),
        format!(
            "(call $gpu_dispatch (i32.const 0) (i32.const {}) (i32.const 1) (i32.const 1) (i32.const 1) (i32.const 1))",
            end - 20
        ),
    ] {
        let ended = host.run(guest("", &format!("(drop {call})"))).await;
        assert_eq!(ended.outcome(), Outcome::Trapped(TrapKind::HostCall), "{call}");
        assert!(ended.report.reason.contains("got a pointer outside of memory"), "{}", ended.report.reason);
    }
}

#[tokio::test]
async fn job_without_a_gpu_is_told_so_by_every_call() {
    let host = Host::new(1);
    let calls = [
        "(call $limits (i32.const 4096))",
        "(call $create (i64.const 4))",
        "(call $destroy (i32.const 0))",
        "(call $gpu_write (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 4))",
        "(call $gpu_read (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 4))",
        "(call $copy (i32.const 0) (i64.const 0) (i32.const 1) (i64.const 0) (i64.const 4))",
        "(call $pipeline)",
        "(call $drop_pipeline (i32.const 0))",
        "(call $gpu_dispatch (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1) (i32.const 1))",
        "(call $submit)",
        "(call $finish)",
    ];
    for call in calls {
        let body = format!("(if (i32.ne {call} (i32.const -1)) (then unreachable)) (call $why)");
        let ended = host.run(guest(DOUBLES, &body).with(|spec| (spec.gpu, spec.limits.gpu_ns) = (None, 0))).await;
        ended.assert_ok();
        assert!(log(&ended).contains("no GPU"), "{call}: {}", log(&ended));
        assert_eq!(ended.report.gpu, None);
    }
}

#[tokio::test]
async fn job_that_needs_more_than_is_lent_is_not_started() {
    let refused = async |host: &Host, job: Job| match host.start(job).await {
        Err(RunError::NoGpu(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let none = Host::new(1);
    assert_eq!(refused(&none, over_64_numbers(DOUBLES)).await, "this node lends none");
    let host = host(1).await;
    let told = refused(&host, need(over_64_numbers(DOUBLES), |need| need.memory = ByteCount((256 << 20) + 4))).await;
    assert_eq!(told, "it needs 268435460 bytes of GPU memory, and this node's gives 268435456");
    assert_doubled(&host.run(need(over_64_numbers(DOUBLES), |need| need.memory = ByteCount(256 << 20))).await);
}

#[tokio::test]
async fn bytes_go_through_slots_and_come_back_as_they_were() {
    let host = host(1).await;
    // Three mebibytes and four bytes: four slots' worth, and the end of another.
    let bytes = (3 << 20) + 4;
    let body = format!(
        "(local.set $a (call $create (i64.const {bytes})))
        (local.set $b (call $create (i64.const {bytes})))
        (loop $fill
            (i32.store (i32.add (i32.const {DATA_AT}) (local.get $i)) (i32.mul (local.get $i) (i32.const 2654435761)))
            (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const {bytes}))))
        (call $write (local.get $a) (i32.const {bytes}))
        (memory.fill (i32.const {DATA_AT}) (i32.const 0) (i32.const {bytes}))
        (call $ok (call $copy (local.get $a) (i64.const 0) (local.get $b) (i64.const 0) (i64.const {bytes})))
        (call $read (local.get $b) (i32.const {bytes}))
        (call $output (i32.const {DATA_AT}) (i32.const {bytes}))"
    );
    let ended = host.run(guest("", &body)).await;
    ended.assert_ok();
    let want: Vec<u8> = (0..bytes as u32).step_by(4).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    assert!(ended.output == want, "the bytes differ");
    assert_eq!(ended.report.gpu.unwrap().bytes_moved, ByteCount(2 * bytes as u64));
}

/// Dispatches a shader over a buffer that begins with `first`, says that it did, and waits.
fn waits_for(shader: &str, first: u32, workgroups: u32) -> Job {
    guest(
        shader,
        &format!(
            "(local.set $a (call $create (i64.const 1024)))
            (i32.store (i32.const {DATA_AT}) (i32.const {first}))
            (call $write (local.get $a) (i32.const 256))
            (local.set $b (call $pipeline))
            (if (i32.lt_s (local.get $b) (i32.const 0)) (then (call $why) (unreachable)))
            (call $dispatch (local.get $b) (local.get $a) (i32.const {workgroups}))
            (call $ok (call $submit))
            (call $ready)
            (call $ok (call $finish))"
        ),
    )
}

/// Waits until the GPU is there again.
async fn again(host: &Host) {
    host.runtime.gpu_settled().await.unwrap();
}

/// A job without a GPU that says something every few milliseconds, for as long as there is fuel.
fn talks() -> Job {
    let body = "(loop $more
            (local.set $i (i32.const 0))
            (loop $turn (br_if $turn (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2000000))))
            (call $ready)
            (br $more))";
    guest("", body).with(|spec| (spec.gpu, spec.limits.gpu_ns, spec.limits.fuel) = (None, 0, Fuel(1_000_000_000_000)))
}

/// Waits for something, and counts how often a job says something meanwhile: the supervisor hears it all the while.
async fn while_talking<T>(job: &mut Run, over: impl Future<Output = T>) -> (T, usize) {
    let mut said = 0;
    tokio::pin!(over);
    loop {
        tokio::select! {
            over = &mut over => return (over, said),
            event = job.next() => match event.unwrap() {
                RunEvent::Log(_) => said += 1,
                event => panic!("{event:?}"),
            }
        }
    }
}

/// Times that it says something within a second, at the least, on a machine that is busy.
const SAID_MIN: usize = 5;

#[tokio::test]
async fn hung_shader_ends_its_job_and_the_next_one_works() {
    let host = strict_host(2).await;
    let mut other = host.start(talks().tenant(2)).await.unwrap();
    first_log(&mut other).await;
    let run = host.start(waits_for(HANGS, 1, HANGING_WORKGROUPS)).await.unwrap();
    let (ended, said) = while_talking(&mut other, timeout(Duration::from_secs(30), finish(run))).await;
    let ended = ended.unwrap().unwrap();
    assert_eq!(ended.outcome(), Outcome::GpuLost, "{}", ended.report.reason);
    // For as long as it held the GPU up, and no longer: a slice of a second, by two clocks.
    let billed = Duration::from_nanos(ended.report.usage.gpu_ns);
    assert!(
        billed >= Duration::from_millis(900) && billed <= Duration::from_secs(60) && ended.report.gpu.is_some(),
        "{billed:?}"
    );
    assert!(said >= SAID_MIN, "a job without a GPU goes on, and is heard: {said} times");
    let lost = Instant::now();
    assert_doubled(&host.run(over_64_numbers(DOUBLES).tenant(3)).await);
    println!("the next job was done {:?} after the loss", lost.elapsed());
    assert!(lost.elapsed() < LOST_TIME_MAX, "{:?}", lost.elapsed());
    other.canceller().cancel();
    assert_eq!(finish(other).await.unwrap().outcome(), Outcome::Cancelled);
}

#[tokio::test]
async fn who_shared_a_gpu_that_was_lost_is_not_to_blame() {
    let host = strict_host(2).await;
    // It waits for the GPU behind the one that hangs, or before it; in any case it is lost with it.
    let body = "(local.set $a (call $create (i64.const 256)))
        (local.set $b (call $pipeline))
        (call $ready)
        (loop $more (call $dispatch (local.get $b) (local.get $a) (i32.const 1)) (call $ok (call $finish)) (br $more))";
    let mut innocent = host.start(guest(DOUBLES, body).tenant(2)).await.unwrap();
    first_log(&mut innocent).await;
    let guilty = host.start(waits_for(HANGS, 1, HANGING_WORKGROUPS)).await.unwrap();
    let (guilty, innocent) = tokio::join!(finish(guilty), finish(innocent));
    assert_eq!(guilty.unwrap().outcome(), Outcome::GpuLost);
    assert!(matches!(innocent, Err(RunError::GpuLost { .. })), "{innocent:?}");
}

/// Lines that each call the one above twice double with each, as a driver puts functions in the place of their calls: some of these held
/// it for as long as it is waited for, and everybody's work was lost with it.
#[tokio::test]
async fn shader_whose_calls_double_is_refused_before_the_driver_sees_it() {
    let host = host(1).await;
    let calls: String = (1..=14).map(|at| format!("fn f{at}(a:u32)->u32{{return f{0}(f{0}(a));}}\n", at - 1)).collect();
    let doubling = format!(
        "@group(0) @binding(0) var<storage, read_write> n: array<u32>;
        fn f0(a:u32)->u32{{return a*a+n[a];}}
        {calls}
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {{ n[0] = f14(id.x); }}"
    );
    let pid = host.runtime.gpu_pid();
    check_codes(&host, &doubling, |_| {}, &[("(call $pipeline)", -4, "an entry point has at most 180000")]).await;
    assert_eq!(host.runtime.gpu_pid(), pid, "nothing is lost by it");
}

#[tokio::test]
async fn who_hangs_the_gpu_again_is_kept_away_from_it_and_takes_it_from_nobody() {
    let host = strict_host(1).await;
    // A module of its own each: the numbers differ.
    let hangs = async |first: u32, tenant: u8| {
        let ended = host.run(waits_for(HANGS, first, HANGING_WORKGROUPS).tenant(tenant)).await;
        assert_eq!(ended.outcome(), Outcome::GpuLost, "{}", ended.report.reason);
        again(&host).await;
    };
    let refused = async |job: Job| match host.start(job).await {
        Err(RunError::KeptFromGpu(reason)) => reason,
        other => panic!("{other:?}"),
    };
    hangs(1, 1).await;
    hangs(1, 1).await;
    let module = refused(waits_for(HANGS, 1, HANGING_WORKGROUPS).tenant(1)).await;
    assert!(module.starts_with("this client's work with this module hung this node's GPU 2 times"), "{module}");
    // Another client still has the module run, and what becomes of it is its own.
    hangs(1, 2).await;
    hangs(2, 2).await;
    hangs(3, 2).await;
    let client = refused(over_64_numbers(DOUBLES).tenant(2)).await;
    assert!(client.starts_with("this client's work hung this node's GPU 3 times"), "{client}");
    // Four losses in a row would have withdrawn it; these are the losses of two.
    assert_doubled(&host.run(over_64_numbers(DOUBLES).tenant(1)).await);
    // What needs no GPU is run as ever.
    host.run(echo().tenant(2)).await.assert_ok();
}

/// Has the GPU at work for a run, and sends its process a signal then.
async fn signal_at_work(host: &Host, signal: Signal) -> Result<Ended, RunError> {
    signal_at_work_of(host, signal, 1).await.0
}

/// The same for a run of this tenant's; with when the signal was sent.
async fn signal_at_work_of(host: &Host, signal: Signal, tenant: u8) -> (Result<Ended, RunError>, Instant) {
    let mut run = host.start(waits_for(HANGS, 1, HANGING_WORKGROUPS).tenant(tenant)).await.unwrap();
    first_log(&mut run).await;
    let pid = host.runtime.gpu_pid().unwrap();
    let before = ticks(pid);
    until(|| ticks(pid) >= before + 10).await;
    let sent = Instant::now();
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    (timeout(Duration::from_secs(30), finish(run)).await.unwrap(), sent)
}

/// Has the next job run, and says how long after a loss it began, with its GPU.
async fn next_begins_after(host: &Host, lost: Instant) -> Duration {
    let ended = host.run(over_64_numbers(DOUBLES).tenant(9)).await;
    let over = lost.elapsed();
    assert_doubled(&ended);
    over.saturating_sub(Duration::from_micros(ended.report.run_us))
}

/// However it was lost. Of a hang the slice is no part: the loss is known when that is over.
#[tokio::test]
async fn gpu_is_there_again_within_five_seconds_of_its_loss() {
    let patient = host(1).await;
    let (mut crashes, mut kills, mut gives_up) = (Vec::new(), Vec::new(), Vec::new());
    for tenant in 1..=3 {
        for (signal, took) in [(Signal::ABORT, &mut crashes), (Signal::KILL, &mut kills)] {
            let (ended, sent) = signal_at_work_of(&patient, signal, tenant).await;
            let is_told = match &ended {
                Ok(ended) => signal == Signal::ABORT && ended.outcome() == Outcome::GpuLost,
                Err(error) => signal == Signal::KILL && matches!(error, RunError::GpuFailed { .. }),
            };
            assert!(is_told, "{ended:?}");
            took.push(next_begins_after(&patient, sent).await);
        }
    }
    // In each of its processes with the second submission.
    let loses = host_with(1, |gpu| (gpu.slice, gpu.lost_in_submission) = (Duration::from_secs(60), 2)).await;
    assert_doubled(&loses.run(over_64_numbers(DOUBLES)).await);
    for tenant in 1..=3 {
        let begun = Instant::now();
        let lost = loses.run(over_64_numbers(DOUBLES).tenant(tenant)).await;
        assert_eq!(lost.outcome(), Outcome::GpuLost, "{}", lost.report.reason);
        gives_up.push(next_begins_after(&loses, begun).await);
    }
    println!("crashes {crashes:?}, kills {kills:?}, device lost {gives_up:?}");
    for (what, took) in [("a crash", crashes), ("a kill", kills), ("a lost device", gives_up)] {
        // The best of three: the machine may do other things.
        assert!(took.iter().min().is_some_and(|best| *best < LOST_TIME_MAX), "after {what}: {took:?}");
    }
}

#[tokio::test]
async fn driver_that_crashes_is_blamed_on_the_work_that_it_was_in_and_a_kill_is_not() {
    let host = host(1).await;
    let ended = signal_at_work(&host, Signal::ABORT).await.unwrap();
    assert_eq!(ended.outcome(), Outcome::GpuLost);
    assert_eq!(ended.report.reason, "its work lost the GPU: its process ended");
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
    let killed = signal_at_work(&host, Signal::KILL).await;
    assert!(matches!(killed, Err(RunError::GpuFailed { .. })), "{killed:?}");
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
}

/// Whoever was having a pipeline made was blamed, whatever else ran: a stranger's shader kept others away from the GPU.
#[tokio::test]
async fn crash_with_work_of_two_is_blamed_on_neither() {
    let host = host_with(2, |gpu| (gpu.slice, gpu.stuck_in_pipeline) = (Duration::from_secs(60), 2)).await;
    crash_with_work_of(&host, 1, 2).await;
    again(&host).await;
}

#[tokio::test]
async fn client_with_whose_works_a_driver_crashes_is_kept_away() {
    let host = host_with(2, |gpu| (gpu.slice, gpu.stuck_in_pipeline) = (Duration::from_secs(60), 2)).await;
    for _ in 0..3 {
        crash_with_work_of(&host, 2, 2).await;
    }
    let kept = host.start(over_64_numbers(DOUBLES).tenant(2)).await.map(drop);
    assert!(matches!(kept, Err(RunError::KeptFromGpu(_))), "{kept:?}");
    again(&host).await;
}

/// Has the GPU's process crash while one's dispatch runs and another's pipeline is made.
async fn crash_with_work_of(host: &Host, runner: u8, maker: u8) {
    let mut runs = host.start(waits_for(HANGS, 1, HANGING_WORKGROUPS).tenant(runner)).await.unwrap();
    first_log(&mut runs).await;
    let pid = host.runtime.gpu_pid().unwrap();
    let before = ticks(pid);
    let is_making = || threads(pid).iter().any(|name| name.starts_with("pipeline"));
    until(|| ticks(pid) >= before + 10 && !is_making()).await;
    let makes = host.start(over_64_numbers(DOUBLES).tenant(maker)).await.unwrap();
    let crash = async {
        until(is_making).await;
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::ABORT).unwrap();
    };
    let (runs, makes, ()) = tokio::join!(finish(runs), finish(makes), crash);
    for ended in [runs, makes] {
        assert!(matches!(ended, Err(RunError::GpuLost { .. })), "{ended:?}");
    }
}

/// Waits for something that is to be seen soon.
async fn until(is_so: impl Fn() -> bool) {
    let is_so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), is_so).await.expect("it takes long");
}

/// The names of a process's threads.
fn threads(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok()).collect()
}

/// A guest that has had all that it wants of the GPU, says so, and computes on for a while.
fn goes_on(end: &str) -> Job {
    let body = format!(
        "(local.set $a (call $create (i64.const 256)))
        (call $dispatch (call $pipeline) (local.get $a) (i32.const 1))
        (call $read (local.get $a) (i32.const 256))
        (call $ready)
        (loop $more (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000000000))))
        {end}
        (call $output (i32.const {DATA_AT}) (i32.const 256))"
    );
    guest(DOUBLES, &body).with(|spec| spec.limits.fuel = Fuel(100_000_000_000))
}

/// Its work was done and its output was there, and all of it was thrown away.
#[tokio::test]
async fn job_that_is_done_with_the_gpu_is_kept_where_that_dies() {
    let host = host(1).await;
    for signal in [Signal::KILL, Signal::ABORT] {
        let mut run = host.start(goes_on("")).await.unwrap();
        first_log(&mut run).await;
        kill_process(Pid::from_raw(host.runtime.gpu_pid().unwrap().cast_signed()).unwrap(), signal).unwrap();
        let ended = timeout(Duration::from_secs(60), finish(run)).await.unwrap().unwrap();
        assert_eq!(ended.outcome(), Outcome::Finished { exit_code: 0 }, "{}", ended.report.reason);
        assert_eq!(numbers(&ended.output), (0..64).map(|n| 2 * n).collect::<Vec<_>>());
        assert_eq!(ended.report.gpu.unwrap().dispatches, 1);
        again(&host).await;
    }
}

#[tokio::test]
async fn job_that_asks_more_of_a_gpu_that_died_fails_whatever_it_asks() {
    let host = host(1).await;
    let asks = [
        "(call $dispatch (i32.const 0) (local.get $a) (i32.const 1))",
        "(call $read (local.get $a) (i32.const 256))",
        "(drop (call $pipeline))",
    ];
    for ask in asks {
        let mut run = host.start(goes_on(ask)).await.unwrap();
        first_log(&mut run).await;
        kill_process(Pid::from_raw(host.runtime.gpu_pid().unwrap().cast_signed()).unwrap(), Signal::KILL).unwrap();
        let ended = timeout(Duration::from_secs(60), finish(run)).await.unwrap();
        assert!(matches!(ended, Err(RunError::GpuFailed { .. })), "{ask}: {ended:?}");
        again(&host).await;
    }
}

/// Processor time of a process, in the kernel's ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A driver may hold the whole process, so that it cannot end itself.
#[tokio::test]
async fn gpu_worker_that_does_not_answer_is_killed_by_its_notes() {
    let host = host_with(2, |gpu| gpu.slice = Duration::from_secs(2)).await;
    let mut other = host.start(talks().tenant(2)).await.unwrap();
    first_log(&mut other).await;
    let mut run = host.start(waits_for(HANGS, 1, HANGING_WORKGROUPS)).await.unwrap();
    first_log(&mut run).await;
    let pid = host.runtime.gpu_pid().unwrap();
    let before = ticks(pid);
    let works = async {
        while ticks(pid) < before + 3 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), works).await.expect("the GPU works");
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::STOP).unwrap();
    let stopped = Instant::now();
    let (ended, said) = while_talking(&mut other, timeout(Duration::from_secs(30), finish(run))).await;
    let ended = ended.unwrap().unwrap();
    assert_eq!(ended.outcome(), Outcome::GpuLost);
    assert!(said >= SAID_MIN, "the supervisor hears others meanwhile: {said} times");
    // On a machine that is busy enough its own watch was faster.
    let told = &ended.report.reason;
    assert!(told.starts_with("its work lost the GPU: a dispatch ") && told.ends_with("2000 ms"), "{told}");
    assert!(stopped.elapsed() < LOST_TIME_MAX, "{:?}", stopped.elapsed());
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
    assert_ne!(host.runtime.gpu_pid(), Some(pid));
}

/// Makes a pipeline when it is told to, by a GPU process that does not answer.
#[tokio::test]
async fn driver_that_does_not_make_a_pipeline_is_given_up_in_time() {
    let host = host(1).await;
    let body = "(local.set $a (call $create (i64.const 256)))
        (call $ok (call $finish))
        (call $ready)
        (loop $more (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000000))))
        (drop (call $pipeline))
        unreachable";
    let mut run = host.start(guest(DOUBLES, body)).await.unwrap();
    first_log(&mut run).await;
    let pid = host.runtime.gpu_pid().unwrap();
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::STOP).unwrap();
    let ended = timeout(Duration::from_secs(60), finish(run)).await.unwrap().unwrap();
    assert_eq!(ended.outcome(), Outcome::GpuLost);
    assert_eq!(ended.report.reason, "its work lost the GPU: the driver took over 4 s to make a pipeline");
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
    assert_ne!(host.runtime.gpu_pid(), Some(pid));
}

/// The driver went on with a pipeline of a session that was closed, its process was killed for that, and nobody was blamed: one client could have
/// the GPU withdrawn from all.
#[tokio::test]
async fn pipeline_that_outlives_its_session_is_blamed_on_whose_it_is() {
    let host = host_with(1, |gpu| gpu.stuck_in_pipeline = 1).await;
    // Its deadline is before the driver's.
    let stuck = || guest(DOUBLES, "(drop (call $pipeline))").with(|spec| spec.limits.wall_ms = 3_000);
    for _ in 0..2 {
        let pid = host.runtime.gpu_pid();
        assert_eq!(host.run(stuck()).await.outcome(), Outcome::TimedOut);
        let replaced = async {
            while host.runtime.gpu_pid() == pid || host.runtime.gpu().is_none() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), replaced).await.expect("the driver is not waited for");
    }
    match host.start(stuck()).await {
        Err(RunError::KeptFromGpu(told)) => assert!(told.contains("with this module hung this node's GPU 2 times"), "{told}"),
        other => panic!("{other:?}"),
    }
}

/// The device is destroyed under its process, as by a driver that gives it up.
#[tokio::test]
async fn device_lost_in_a_dispatch_ends_its_job_and_the_next_one_works() {
    let host = host_with(1, |gpu| (gpu.slice, gpu.lost_in_submission) = (Duration::from_secs(60), 2)).await;
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
    let ended = host.run(over_64_numbers(DOUBLES)).await;
    assert_eq!(ended.outcome(), Outcome::GpuLost, "{}", ended.report.reason);
    assert!(ended.report.reason.starts_with("its work lost the GPU: "), "{}", ended.report.reason);
    assert_eq!(ended.report.gpu.unwrap().dispatches, 1);
    // In another process, which counts anew.
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
}

/// Who had dispatched last was blamed, though that was over long ago.
#[tokio::test]
async fn device_lost_while_nothing_runs_is_blamed_on_whose_pipeline_is_made() {
    let host = host_with(2, |gpu| (gpu.slice, gpu.lost_in_pipeline) = (Duration::from_secs(60), 2)).await;
    let mut innocent =
        host.start(goes_on("(call $dispatch (i32.const 0) (local.get $a) (i32.const 1))").tenant(2)).await.unwrap();
    first_log(&mut innocent).await;
    let guilty = host.run(over_64_numbers(DOUBLES)).await;
    assert_eq!(guilty.outcome(), Outcome::GpuLost, "{}", guilty.report.reason);
    let innocent = timeout(Duration::from_secs(60), finish(innocent)).await.unwrap();
    assert!(matches!(innocent, Err(RunError::GpuLost { .. })), "{innocent:?}");
}

#[tokio::test]
async fn killed_sandbox_leaves_the_gpu_to_others() {
    let host = host(1).await;
    let body = "(local.set $a (call $create (i64.const 33554432)))
        (call $ready)
        (loop $more (call $write (local.get $a) (i32.const 65536)) (call $ok (call $finish)) (br $more))";
    let pid = host.runtime.gpu_pid();
    for _ in 0..3 {
        let mut run = host.start(guest("", body)).await.unwrap();
        first_log(&mut run).await;
        kill_process(Pid::from_raw(run.worker_pid().unwrap().cast_signed()).unwrap(), Signal::KILL).unwrap();
        let error = finish(run).await.unwrap_err();
        assert!(matches!(error, RunError::WorkerDied { .. }), "{error}");
        assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
    }
    assert_eq!(host.runtime.gpu_pid(), pid, "it is the same process");
}

#[tokio::test]
async fn gpu_time_over_the_limit_ends_the_job_and_is_billed_to_the_limit() {
    let host = host(1).await;
    // Some milliseconds each, over and over.
    let body = format!(
        "(local.set $a (call $create (i64.const 1024)))
        (i32.store (i32.const {DATA_AT}) (i32.const 20000))
        (call $write (local.get $a) (i32.const 256))
        (local.set $b (call $pipeline))
        (loop $more (call $dispatch (local.get $b) (local.get $a) (i32.const 16)) (call $ok (call $submit)) (br $more))"
    );
    let job = guest(WORKS, &body).with(|spec| spec.limits.gpu_ns = 50_000_000);
    let ended = host.run(job).await;
    assert_eq!(ended.outcome(), Outcome::OutOfGpuTime, "{}", ended.report.reason);
    assert_eq!(ended.report.usage.gpu_ns, 50_000_000);
    assert_eq!(ended.report.reason, "the limit of 50000000 ns of GPU time was used up");
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
}

/// What was on the device when a session's time was reckoned up landed meanwhile, counted by the clock, copies to buffers and all. That was over
/// the limit, and what was billed after was not: a receipt that every gateway refuses.
#[tokio::test]
async fn who_writes_much_and_never_reads_is_out_of_gpu_time_at_exactly_the_limit() {
    let host = host(1).await;
    let body = format!(
        "(local.set $a (call $create (i64.const 3145728)))
        (i32.store (i32.const {DATA_AT}) (i32.const 2000))
        (local.set $b (call $pipeline))
        (loop $more (call $write (local.get $a) (i32.const 3145728)) (call $dispatch (local.get $b) (local.get $a) (i32.const 1)) (br $more))"
    );
    // The last dispatches have to be those between clock and limit, which is so at one of some ten limits.
    for limit in (45_000_000..125_000_000).step_by(2_000_000) {
        let ended = host.run(guest(WORKS, &body).with(|spec| spec.limits.gpu_ns = limit)).await;
        assert_eq!((ended.outcome(), ended.report.usage.gpu_ns), (Outcome::OutOfGpuTime, limit), "{}", ended.report.reason);
    }
}

#[tokio::test]
async fn deadline_and_withdrawal_end_a_guest_that_waits_for_the_gpu() {
    let host = strict_host(1).await;
    let slow = || waits_for(WORKS, 400_000, 64);
    let late = host.run(slow().with(|spec| spec.limits.wall_ms = 100)).await;
    assert!(matches!(late.outcome(), Outcome::TimedOut | Outcome::GpuLost), "{:?}", late.outcome());
    again(&host).await;
    let mut run = host.start(slow()).await.unwrap();
    first_log(&mut run).await;
    run.canceller().preempt();
    let begun = Instant::now();
    let ended = finish(run).await.unwrap();
    assert_eq!(ended.outcome(), Outcome::Preempted);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(ended.report.gpu.is_some());
}

#[tokio::test]
async fn owner_takes_the_gpu_back_and_lends_it_again() {
    let host = host(1).await;
    let body = "(local.set $a (call $create (i64.const 256)))
        (call $ready)
        (loop $more (call $write (local.get $a) (i32.const 256)) (call $ok (call $finish)) (br $more))";
    let mut run = host.start(guest("", body)).await.unwrap();
    first_log(&mut run).await;
    host.runtime.set_gpu(false);
    assert_eq!(finish(run).await.unwrap().outcome(), Outcome::Preempted);
    assert_eq!(host.runtime.gpu(), None);
    let refused = host.start(over_64_numbers(DOUBLES)).await;
    assert!(matches!(refused, Err(RunError::NoGpu(_))), "{refused:?}");
    host.run(echo()).await.assert_ok();
    host.runtime.set_gpu(true);
    let lent = async {
        while host.runtime.gpu().is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), lent).await.unwrap();
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
}

#[tokio::test]
async fn gpu_that_is_lost_again_and_again_is_not_offered_for_a_while() {
    let host = host_with(1, |gpu| gpu.withdrawn_for = Duration::from_millis(500)).await;
    let mut losses = 0;
    while host.runtime.gpu_settled().await.is_ok() {
        assert!(losses < 10, "it is offered all the same");
        let pid = Pid::from_raw(host.runtime.gpu_pid().unwrap().cast_signed()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        losses += 1;
        while host.runtime.gpu().is_some() {
            tokio::task::yield_now().await;
        }
    }
    assert!(losses > 1, "once is not again and again");
    assert_eq!(host.runtime.gpu(), None);
    let back = async {
        while host.runtime.gpu().is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), back).await.expect("it is offered again");
}

/// From when the guest began: a check that takes longer is given up, and fails the node.
const BOMB_TIME_MAX: Duration = Duration::from_secs(10);

#[tokio::test]
async fn parser_bombs_are_refused_in_time() {
    let host = host(1).await;
    let deep = |open: &str, close: &str| {
        let times = 60_000 / (open.len() + close.len());
        format!(
            "fn f() -> u32 {{ return {}1u{}; }} @compute @workgroup_size(1) fn main() {{ let x = f(); }}",
            open.repeat(times),
            close.repeat(times)
        )
    };
    let wide: String = (0..1_500).fold(String::from("struct S0 { a: u32 }\n"), |mut text, n| {
        writeln!(text, "struct S{} {{ a: array<S{n}, 2> }}", n + 1).unwrap();
        text
    });
    for bomb in [deep("(", ")"), deep("-", ""), deep("!", ""), deep("1u+(", ")"), wide, "/*".repeat(32_000), "a".repeat(65_536)] {
        let body = "(if (i32.ne (call $pipeline) (i32.const -4)) (then unreachable)) (call $why)";
        let ended = host.run(guest(&bomb, body)).await;
        ended.assert_ok();
        let took = Duration::from_micros(ended.report.run_us);
        println!("{took:?} for {:.20}", bomb);
        assert!(took < BOMB_TIME_MAX, "{took:?}");
    }
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
}

/// What the check of a shader gets through, the process that holds the device gets through too: it reads the shader again.
#[tokio::test]
async fn shader_that_nests_deep_is_refused_or_made_and_ends_nobody_elses_work() {
    let host = host(1).await;
    let pid = host.runtime.gpu_pid();
    for terms in [500, 6_000, 10_000, 20_000] {
        let shader = format!("@compute @workgroup_size(1) fn main() {{ let x = 1u{}; }}", "+1u".repeat(terms));
        let body = "(local.set $a (call $pipeline))
            (if (i32.and (i32.lt_s (local.get $a) (i32.const 0)) (i32.ne (local.get $a) (i32.const -4))) (then unreachable))";
        host.run(guest(&shader, body)).await.assert_ok();
        assert_eq!(host.runtime.gpu_pid(), pid, "{terms} terms");
    }
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
}

/// What a process holds now, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn allocation_storm_stays_within_the_limit_and_nothing_is_left_of_it() {
    let host = host(1).await;
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
    let pid = host.runtime.gpu_pid().unwrap();
    let before = resident(pid);
    // Makes buffers until there are no more, fills each, and leaves them.
    let storm = "(loop $more
            (local.set $a (call $create (i64.const 2097152)))
            (if (i32.ge_s (local.get $a) (i32.const 0)) (then (call $write (local.get $a) (i32.const 2097152)) (br $more))))
        (if (i32.ne (local.get $a) (i32.const -3)) (then unreachable))
        (call $ok (call $finish))";
    for _ in 0..8 {
        let ended = host.run(guest("", storm)).await;
        ended.assert_ok();
        assert_eq!(ended.report.gpu.unwrap().memory_peak, ByteCount(64 << 20));
    }
    // Makes and frees for ever, within the limit.
    let churn = "(loop $more
            (local.set $a (call $create (i64.const 33554432)))
            (call $ok (call $destroy (local.get $a)))
            (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 200))))";
    host.run(guest("", churn).with(|spec| spec.limits.wall_ms = 300_000)).await.assert_ok();
    let settled = async {
        while resident(pid) > before + (100 << 20) {
            tokio::task::yield_now().await;
        }
    };
    let settled = timeout(Duration::from_secs(20), settled).await;
    println!("the GPU's process held {before} bytes before, and {} after", resident(pid));
    settled.expect("what eight guests left is given back");
    assert_eq!(host.runtime.gpu_pid(), Some(pid), "it is the same process");
}

#[tokio::test]
async fn new_memory_is_zero_after_other_tenants() {
    let host = host(1).await;
    let canary = format!(
        "(memory.fill (i32.const {DATA_AT}) (i32.const 170) (i32.const 1048576))
        (loop $more
            (local.set $a (call $create (i64.const 1048576)))
            (if (i32.ge_s (local.get $a) (i32.const 0)) (then (call $write (local.get $a) (i32.const 1048576)) (br $more))))
        (call $ok (call $finish))"
    );
    let looks = format!(
        "(loop $more
            (local.set $a (call $create (i64.const 1048576)))
            (if (i32.ge_s (local.get $a) (i32.const 0)) (then
                (call $read (local.get $a) (i32.const 1048576))
                (local.set $i (i32.const 0))
                (loop $look
                    (if (i32.load (i32.add (i32.const {DATA_AT}) (local.get $i))) (then unreachable))
                    (br_if $look (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 1048576))))
                (br $more))))"
    );
    host.run(guest("", &canary)).await.assert_ok();
    host.run(guest("", &looks).tenant(2)).await.assert_ok();
}

#[tokio::test]
async fn two_tenants_share_the_gpu_and_each_gets_its_own() {
    let host = host(2).await;
    let (one, other) =
        (host.start(over_64_numbers(DOUBLES)).await.unwrap(), host.start(over_64_numbers(DOUBLES).tenant(2)).await.unwrap());
    let (one, other) = tokio::join!(finish(one), finish(other));
    for ended in [one.unwrap(), other.unwrap()] {
        assert_doubled(&ended);
        assert_eq!(ended.report.gpu.unwrap().dispatches, 1);
    }
}

#[tokio::test]
async fn guest_that_ends_without_waiting_is_over_when_its_gpu_is() {
    let host = strict_host(1).await;
    let body = format!(
        "(local.set $a (call $create (i64.const 1024)))
        (i32.store (i32.const {DATA_AT}) (i32.const 1000))
        (call $write (local.get $a) (i32.const 256))
        (local.set $b (call $pipeline))
        (call $dispatch (local.get $b) (local.get $a) (i32.const 1))
        (call $exit (i32.const 3))"
    );
    let ended = host.run(guest(WORKS, &body)).await;
    assert_eq!(ended.outcome(), Outcome::Finished { exit_code: 3 });
    assert_eq!(ended.report.gpu.unwrap().dispatches, 1);
    assert!(ended.report.usage.gpu_ns > 0);
    let hangs =
        body.replace("(i32.const 1))\n        (call $exit", &format!("(i32.const {HANGING_WORKGROUPS}))\n        (call $exit"));
    assert_ne!(hangs, body);
    let ended = host.run(guest(HANGS, &hangs)).await;
    assert_eq!(ended.outcome(), Outcome::GpuLost);
}

/// What a guest that ended in another way than by itself had recorded was done as far as the GPU's process had come, so that its receipt told
/// other numbers from run to run, and an audit convicted its node of them.
#[tokio::test]
async fn what_a_guest_recorded_is_done_and_counted_whatever_its_own_end() {
    let host = host(1).await;
    let ends = [
        ("unreachable", Outcome::Trapped(TrapKind::Unreachable)),
        ("(loop $more (br $more))", Outcome::OutOfFuel),
        ("(drop (memory.grow (i32.const 65000))) unreachable", Outcome::OutOfMemory),
        ("(call $output (i32.const 4096) (i32.const 4096))", Outcome::OutputTooLarge),
        ("(drop (call $limits (i32.const -1)))", Outcome::Trapped(TrapKind::HostCall)),
    ];
    for (end, outcome) in ends {
        let body = format!(
            "(local.set $a (call $create (i64.const 256)))
            (local.set $b (call $pipeline))
            (loop $more
                (call $write (local.get $a) (i32.const 256))
                (call $dispatch (local.get $b) (local.get $a) (i32.const 1))
                (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))
            {end}"
        );
        let job = guest(DOUBLES, &body).with(|spec| (spec.limits.fuel, spec.limits.output) = (Fuel(50_000_000), ByteCount(1024)));
        let ended = host.run(job).await;
        assert_eq!(ended.outcome(), outcome, "{}", ended.report.reason);
        let gpu = ended.report.gpu.unwrap();
        assert_eq!((gpu.dispatches, gpu.bytes_moved, gpu.memory_peak), (100, ByteCount(25_600), ByteCount(256)), "{outcome}");
    }
}

#[tokio::test]
async fn trapped_guest_waits_for_its_gpu_until_its_deadline_and_no_longer() {
    let host = host(1).await;
    let body = format!(
        "(local.set $a (call $create (i64.const 1024)))
        (i32.store (i32.const {DATA_AT}) (i32.const 60000))
        (call $write (local.get $a) (i32.const 256))
        (local.set $b (call $pipeline))
        (loop $more
            (call $dispatch (local.get $b) (local.get $a) (i32.const 16))
            (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3000))))
        unreachable"
    );
    // That takes many times as long on any device that a test has, which goes on with no more than it has.
    let ended = host.run(guest(WORKS, &body).with(|spec| spec.limits.wall_ms = 2_000)).await;
    assert_eq!(ended.outcome(), Outcome::TimedOut, "{}", ended.report.reason);
    assert!(ended.report.run_us < 10_000_000, "{} us", ended.report.run_us);
}

/// That was a failure of the node, which paid for it with its good name.
#[tokio::test]
async fn gpu_that_others_fill_is_away_and_no_fault_of_the_nodes() {
    let host = host_with(2, |gpu| (gpu.slice, gpu.memory_of_all) = (Duration::from_secs(60), 64 << 20)).await;
    let fills = "(drop (call $create (i64.const 33554432)))
        (drop (call $create (i64.const 33554432)))
        (call $ok (call $finish))
        (call $ready)
        (loop $more (br $more))";
    let mut first = host.start(guest("", fills).with(|spec| spec.limits.fuel = Fuel(1_000_000_000_000))).await.unwrap();
    first_log(&mut first).await;
    let second = host.start(over_64_numbers(DOUBLES).tenant(2)).await.unwrap();
    let second = finish(second).await;
    assert!(matches!(second, Err(RunError::GpuFull { .. })), "{second:?}");
    first.canceller().cancel();
    assert_eq!(finish(first).await.unwrap().outcome(), Outcome::Cancelled);
    assert_doubled(&host.run(over_64_numbers(DOUBLES)).await);
}
