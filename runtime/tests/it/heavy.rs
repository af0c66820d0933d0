//! Modules full up to the limits of admission: they are compiled within what a compile worker may use, or refused for it; and what is
//! compiled runs.

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use adit_protocol::{Digest, Outcome, TrapKind, Usage};
use adit_runtime::{Runtime, RuntimeConfig};
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, Instruction, Module, TypeSection, ValType,
};

use crate::hostile::{is_alone, peak_bytes};
use crate::support::{Host, Job, worker_program};

const FUNCTIONS_MAX: usize = 20_000;
const FUNCTION_BYTES_MAX: usize = 256 << 10;
const FINISHED: Outcome = Outcome::Finished { exit_code: 0 };

/// Ten seconds for baseline code and ten for optimised code, and what a machine may take that others use too.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(25);

/// What a compile worker may hold: its limit, and what does not count to that, which is what it maps of files.
const COMPILE_MIB_MAX: u64 = 1_024 + 96;

/// What a module is refused with that is too dear. On a busy machine a worker may be told that it had too little of a processor.
const TOO_DEAR: [&str; 4] = [
    "compilation took over 10 s of processor time",
    "compilation took over 10.0 s",
    "the compiler died of it, probably over its limit of 1073741824 bytes of memory",
    "compilation failed on this node: the compile worker got ",
];

/// Has a module compiled as on any node, in fewer MiB than these, which are two to four times what it takes; where it is not too dear,
/// runs it in what code there is first and in what there is in the end.
async fn check(job: Job, outcome: Outcome, mib_max: u64) {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = RuntimeConfig { worker_program: worker_program(), ..RuntimeConfig::new(folder.path().join("cache")) };
    let host = Host { runtime: Runtime::new(config).unwrap(), folder };
    let (begun, compilers) = (Instant::now(), Compilers::watch());
    let first = run_unless_too_dear(&host, &job, outcome).await;
    host.runtime.optimised(Digest::of(&job.wasm)).await;
    let took = begun.elapsed();
    let mib = compilers.peak() >> 20;
    println!("{} bytes: {first:?}, and all that came of it after {took:?} and in {mib} MiB", job.wasm.len());
    assert!(took < COMPILE_TIME_MAX, "{took:?}");
    // Other tests in this process have compilers too.
    let mib_max = if is_alone() { mib_max } else { COMPILE_MIB_MAX };
    assert!((1..mib_max).contains(&mib), "{mib} MiB of {mib_max}");
    let Some(first) = first else { return };
    let again = run_unless_too_dear(&host, &job, outcome).await;
    assert!(again.is_none_or(|again| again == first), "{first:?} {again:?}");
}

/// What the job used, if its module is not refused for what it costs.
async fn run_unless_too_dear(host: &Host, job: &Job, outcome: Outcome) -> Option<Usage> {
    if let Err(error) = host.compile(&job.wasm).await {
        let reason = error.to_string();
        assert!(TOO_DEAR.iter().any(|known| reason.starts_with(known)), "{reason}");
        return None;
    }
    let ended = host.run(job.clone()).await;
    assert_eq!(ended.outcome(), outcome, "{}", ended.report.reason);
    Some(ended.report.usage)
}

/// How often compile workers are looked at. The machine knows the peak of each that lives: only what the last moment adds is missed.
const LOOK_EACH: Duration = Duration::from_millis(5);

/// Looks at the compile workers of this process, of which no caller of the runtime is told.
struct Compilers {
    stop: mpsc::Sender<()>,
    watcher: JoinHandle<u64>,
}

impl Compilers {
    fn watch() -> Self {
        let (stop, stopped) = mpsc::channel();
        let watcher = thread::spawn(move || {
            let mut peak = 0;
            while stopped.recv_timeout(LOOK_EACH) == Err(RecvTimeoutError::Timeout) {
                peak = peak.max(largest_compiler());
            }
            peak
        });
        Self { stop, watcher }
    }

    /// The most that any of them held, in bytes.
    fn peak(self) -> u64 {
        drop(self.stop);
        self.watcher.join().unwrap()
    }
}

/// The peak of the largest compile worker of this process that lives, or 0.
fn largest_compiler() -> u64 {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_our_compiler(*pid)).filter_map(peak_bytes).max().unwrap_or(0)
}

fn is_our_compiler(pid: u32) -> bool {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    // By its arguments: until it has these it is a double of this process, of this one's size.
    let is_compiler = read("cmdline").split('\0').any(|argument| argument == "__adit-compile-worker");
    is_compiler && read("status").lines().any(|line| line == format!("PPid:\t{}", std::process::id()))
}

/// A function of as many such pieces as a body may have bytes for.
fn full(piece: &str) -> String {
    let function = |pieces| format!("(func (param i32 i32) {})", piece.repeat(pieces));
    let bytes = |pieces| wat::parse_str(format!("(module (memory 1) {})", function(pieces))).unwrap().len();
    function(FUNCTION_BYTES_MAX / (bytes(2) - bytes(1)) - 1)
}

/// A job that calls the first of these functions.
fn calling(functions: &str) -> Job {
    Job::wat(&format!(
        r#"(module (memory (export "memory") 1) {functions} (func (export "_start") (call 0 (i32.const 0) (i32.const 8))))"#
    ))
}

/// So many blocks in each other.
fn nest(depth: usize, open: &str, within: &str, close: &str) -> String {
    format!("{}{within}{}", open.repeat(depth), close.repeat(depth))
}

#[tokio::test(flavor = "multi_thread")]
async fn function_of_branch_tables_costs_what_a_compiler_may_use() {
    let targets: String = (0..4_000).map(|n| format!("{} ", n % 100)).collect();
    let table = nest(100, "(block ", &format!("(br_table {targets} 0 (local.get 0))"), ")");
    check(calling(&full(&table)), FINISHED, 512).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn most_functions_with_most_locals_cost_what_a_compiler_may_use() {
    let mut function = Function::new([(1_000, ValType::V128)]);
    for instruction in [Instruction::LocalGet(999), Instruction::LocalSet(0), Instruction::End] {
        function.instruction(&instruction);
    }
    let (mut types, mut functions, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    types.ty().function([], []);
    exports.export("_start", ExportKind::Func, 0);
    for _ in 0..FUNCTIONS_MAX {
        functions.function(0);
        code.function(&function);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    check(Job::of(module.finish()), FINISHED, COMPILE_MIB_MAX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn longest_chain_of_calls_costs_what_a_compiler_may_use() {
    let last = FUNCTIONS_MAX - 2;
    let chain = |link: fn(usize, usize) -> String| {
        let links: String = (0..last).map(|n| format!("(func {})", link(n, last))).collect();
        Job::wat(&format!(r#"(module {links} (func) (func (export "_start") (call 0)))"#))
    };
    check(chain(|n, _| format!("(call {})", n + 1)), FINISHED, 512).await;
    // One that is a circle too, of which no order of the functions is a good one.
    let circle = chain(|n, last| format!("(call {}) (call {})", n + 1, last - n));
    check(circle, Outcome::Trapped(TrapKind::StackOverflow), 512).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn function_of_float_stores_costs_what_a_compiler_may_use() {
    let store = |ty: &str, shape: &str| {
        format!("({ty}.store (local.get 0) ({shape}.div ({ty}.load (local.get 0)) ({ty}.load (local.get 1))))")
    };
    check(calling(&full(&store("f64", "f64"))), FINISHED, 512).await;
    check(calling(&full(&store("v128", "f32x4"))), FINISHED, 512).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn function_of_loops_costs_what_a_compiler_may_use() {
    check(calling(&full(LOOP)), FINISHED, 900).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn module_of_loops_costs_what_a_compiler_may_use() {
    check(calling(&full(LOOP).repeat(31)), FINISHED, COMPILE_MIB_MAX).await;
}

/// A loop that the meter repeats.
const LOOP: &str = "(local.set 0 (i32.const 3)) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))";

#[tokio::test(flavor = "multi_thread")]
async fn deepest_nests_cost_what_a_compiler_may_use() {
    let count = "(i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 2000))";
    for (open, close) in [
        ("(block ", "(br_if 0 (local.get 0)))".to_owned()),
        ("(if (local.get 1) (then ", "))".to_owned()),
        ("(loop ", format!("(br_if 0 {count}))")),
    ] {
        check(calling(&full(&nest(256, open, "", &close))), FINISHED, 600).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn most_segments_and_globals_cost_what_a_compiler_may_use() {
    let segments = format!(
        "(table 100000 funcref) {} {} {}",
        "(data (i32.const 65528) \"12345678\")".repeat(1_000),
        format!("(elem (i32.const 0) func {})", "$last ".repeat(100)).repeat(1_000),
        "(global (mut v128) (v128.const i64x2 1 2))".repeat(1_000)
    );
    check(calling(&format!("(func (param i32 i32) (call_indirect (i32.const 99))) (func $last) {segments}")), FINISHED, 96).await;
}
