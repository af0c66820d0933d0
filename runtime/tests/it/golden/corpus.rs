//! The programs of the golden file: a table written by hand, the examples, and generated ones.

use std::sync::LazyLock;

use adit_protocol::{BlobRef, Fuel, JobSpec, Outcome, TrapKind};

use super::{deep, generate, is_long};
use crate::hostile;

/// The tables, a job each.
const TABLES: [&str; 2] = [include_str!("../../meter.wast"), include_str!("../../strange.wast")];
/// Generated jobs.
const GENERATED: usize = 60;
/// What a program may use; those that are endless use it up.
const FUEL: Fuel = Fuel(20_000_000);
/// What a large program may use that ends by itself, so that it does under any weights.
const AMPLE_FUEL: Fuel = Fuel(200_000_000);
/// How much of its work a calibration kernel does: with this, each takes a moment.
const KERNEL_SIZE: &str = "2";

/// Modules over this take seconds under each compiler.
const LARGE_BYTES: usize = 256 << 10;

/// The start of memory, its last byte, the sign and the end of what can be named.
const POINTERS: [u64; 4] = [0, 0x1_ffff, 0x8000_0000, u64::MAX];

/// A job with a name.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) wasm: Vec<u8>,
    pub(crate) input: Vec<u8>,
    /// The contents of its named inputs, in the order of their names.
    pub(crate) named: Vec<Vec<u8>>,
    pub(crate) spec: JobSpec,
    /// How it ends, where the table says so.
    pub(crate) ends: Option<String>,
    /// Whether it was built from source with the tests, so that its module depends on who built it.
    pub(crate) is_guest: bool,
    /// Whether the golden file alone is made of it: it takes long to compile, or shows the host rather than the compiler.
    is_golden_alone: bool,
}

/// Every program. Guests are among them where `ADIT_GUESTS` names the folder that they are in.
pub(crate) fn all() -> &'static [Case] {
    static ALL: LazyLock<Vec<Case>> = LazyLock::new(|| {
        TABLES
            .into_iter()
            .flat_map(table)
            .chain(deep())
            .chain([inputs()])
            .chain(pointers())
            .chain(guests())
            .chain(generated())
            .collect()
    });
    &ALL
}

/// The programs that show the compiler and are quick to compile; with `ADIT_LONG` set, every one.
pub(crate) fn programs() -> impl Iterator<Item = &'static Case> {
    all().iter().filter(|case| !case.is_golden_alone || is_long())
}

/// Whether the guests are among the programs.
pub(crate) fn has_guests() -> bool {
    all().iter().any(|case| case.is_guest)
}

impl Case {
    fn new(name: String, wasm: Vec<u8>) -> Self {
        let mut spec = JobSpec::new(BlobRef::of(&wasm), BlobRef::of(b""));
        spec.args = vec!["--size".to_owned(), "\u{fc}n\u{ef}".to_owned()];
        spec.env = vec![("KEY".to_owned(), "value".to_owned())];
        spec.limits.fuel = FUEL;
        // Who meets this has been stopped by a busy machine or an emulator, not by what is tested here.
        spec.limits.wall_ms = 600_000;
        Self { name, wasm, input: Vec::new(), named: Vec::new(), spec, ends: None, is_guest: false, is_golden_alone: false }
    }

    fn text(name: &str, text: &str, ends: &str) -> Self {
        let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { ends: Some(ends.to_owned()), ..Self::new(name.to_owned(), wasm) }
    }

    /// Adds a named input; names come in their order.
    fn named(mut self, name: &str, content: &[u8]) -> Self {
        self.spec.add_input(name.parse().unwrap(), BlobRef::of(content));
        self.named.push(content.to_vec());
        self
    }

    fn guest(name: &str, wasm: &[u8], input: &[u8], args: &[&str]) -> Self {
        let mut case = Self::new(format!("guest_{name}"), wasm.to_vec());
        (case.input, case.spec.input, case.is_guest) = (input.to_vec(), BlobRef::of(input), true);
        (case.spec.limits.fuel, case.is_golden_alone) = (AMPLE_FUEL, wasm.len() > LARGE_BYTES);
        case.spec.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        case
    }
}

/// How an outcome is written in the table and in the golden file.
pub(crate) fn word(outcome: Outcome) -> String {
    match outcome {
        Outcome::Finished { exit_code: 0 } => "finished".to_owned(),
        Outcome::Finished { exit_code } => format!("exit-{exit_code}"),
        Outcome::OutOfFuel => "out-of-fuel".to_owned(),
        Outcome::OutOfMemory => "out-of-memory".to_owned(),
        Outcome::OutputTooLarge => "output-too-large".to_owned(),
        Outcome::Trapped(TrapKind::StackOverflow) => "stack-overflow".to_owned(),
        Outcome::Trapped(_) => "trapped".to_owned(),
        other => format!("{other:?}").replace(' ', ""),
    }
}

/// What stands between lines `;; name: outcome`: a module each.
fn table(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\n;; ") {
        let (line, behind) = rest[at + 4..].split_once('\n').unwrap();
        let module = &behind[..behind.find("\n;; ").unwrap_or(behind.len())];
        let (name, ends) = line.split_once(": ").unwrap();
        cases.push(Case::text(name, module, ends));
        rest = behind;
    }
    cases
}

fn deep() -> Vec<Case> {
    let mut cases: Vec<_> = deep::programs().iter().map(|(name, text)| Case::text(name, text, "stack-overflow")).collect();
    for case in &mut cases {
        case.spec.limits.fuel = AMPLE_FUEL;
    }
    cases
}

/// A guest that asks all there is to ask of its named inputs, and writes down the answers and what it read.
fn inputs() -> Case {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "adit_1" "input_count" (func $count (result i32)))
        (import "adit_1" "input_name" (func $name (param i32 i32 i32) (result i32)))
        (import "adit_1" "input_find" (func $find (param i32 i32) (result i32)))
        (import "adit_1" "input_bytes" (func $bytes (param i32) (result i64)))
        (import "adit_1" "input_read" (func $read (param i32 i64 i32 i32) (result i32)))
        (memory (export "memory") 8)
        (global $at (mut i32) (i32.const 4096))
        (func $note (param i64)
            (i64.store (global.get $at) (local.get 0))
            (global.set $at (i32.add (global.get $at) (i32.const 8))))
        (func $look (param $index i32) (local $i i32)
            (call $note (i64.extend_i32_s (call $name (local.get $index) (i32.const 64) (i32.const 3))))
            (call $note (i64.extend_i32_s (call $name (local.get $index) (i32.const 128) (i32.const 64))))
            (call $note (i64.extend_i32_s (call $find (i32.const 64) (i32.const 3))))
            (call $note (i64.extend_i32_s (call $find (i32.const 128) (i32.const 5))))
            (call $note (call $bytes (local.get $index)))
            (loop $pieces
                (call $note (i64.extend_i32_s (call $read
                    (local.get $index)
                    (i64.extend_i32_u (i32.mul (local.get $i) (i32.const 70000)))
                    (i32.const 131072)
                    (i32.mul (local.get $i) (i32.const 65535)))))
                (br_if $pieces (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))
            (call $note (i64.extend_i32_s (call $read
                (local.get $index) (i64.const -1) (i32.const 131072) (i32.const 10)))))
        (func (export "_start")
            (call $note (i64.extend_i32_s (call $count)))
            (call $look (i32.const 0)) (call $look (i32.const 1)) (call $look (i32.const 2)) (call $look (i32.const -1))
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 500000))
            (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))))"#;
    let weights: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
    Case::text("named_inputs", text, "finished").named("a.txt", b"").named("table", &weights)
}

/// Every function of the host, with pointers and lengths that mean harm.
fn pointers() -> Vec<Case> {
    let mut cases = Vec::new();
    for function in hostile::FUNCTIONS {
        let job = hostile::caller(*function, false);
        for value in POINTERS {
            let mut case = Case::new(format!("pointer_{}_{value:x}", function.1), job.wasm.clone());
            case.input = [&value.to_le_bytes().repeat(function.2.len())[..], b"."].concat();
            (case.spec.input, case.is_golden_alone) = (BlobRef::of(&case.input), true);
            cases.push(case.named("n", b"named"));
        }
    }
    cases
}

/// The guests of the workspace, where they have been built: `cargo xtask test` does, and names their folder.
fn guests() -> Vec<Case> {
    let Ok(folder) = std::env::var("ADIT_GUESTS") else { return Vec::new() };
    let read = |name: &str| std::fs::read(format!("{folder}/{name}.wasm")).unwrap_or_else(|error| panic!("{name}: {error}"));
    let kernels = read("kernels");
    let mut guests = vec![
        Case::guest("wordcount", &read("wordcount"), b"the quick brown fox jumps over the lazy dog the end", &[]),
        Case::guest("pathtracer", &read("pathtracer"), &TILE, &[]),
        Case::guest("pathtracer_model", &read("pathtracer"), MODEL_TILE, &[]),
        Case::guest("kernels", &kernels, b"", &[]),
        Case::guest(
            "blockchain",
            &read("blockchain"),
            include_bytes!("../../../../examples/blockchain/tests/data/payment.batch"),
            &[],
        ),
        Case::guest(
            "analytics",
            &read("analytics"),
            include_bytes!("../../../../examples/analytics/tests/data/csv.request"),
            &[],
        )
        .named("table", include_bytes!("../../../../examples/analytics/data/sample.csv")),
    ];
    guests.extend(KERNELS.iter().map(|name| Case::guest(name, &kernels, b"", &[name, KERNEL_SIZE])));
    guests
}

/// A job of the path tracer in postcard: a picture of 16x9 with a path for each pixel and seed 7, the only frame of its film; all of it,
/// and of the scene that is built in.
const TILE: [u8; 12] = [16, 9, 1, 7, 0, 0, 1, 0, 0, 16, 9, 0];

/// The same of a small model, with a mesh, textures and light of its own. Written by a test of the path tracer.
const MODEL_TILE: &[u8] = include_bytes!("../../../../examples/pathtracer/tests/small-model.bin");

/// Kernels that take a moment for [`KERNEL_SIZE`].
const KERNELS: &[&str] = &[
    "integer_mix",
    "division",
    "float32",
    "float64",
    "square_root",
    "quantise",
    "wide",
    "vector_mix",
    "vector_root",
    "matrix_scalar",
    "matrix_simd",
    "mandelbrot",
    "nbody",
    "sha256",
    "curve25519",
    "sort",
    "hash_map",
    "binary_tree",
    "edit_distance",
    "words",
    "json",
    "regex",
    "pointer_chase",
    "memory_copy",
    "memory_fill",
    "fib",
    "indirect",
    "interpreter",
];

fn generated() -> Vec<Case> {
    let jobs = (0..).filter_map(|seed| Some((seed, generate::job(&generate::entropy(seed))?)));
    let valid = jobs
        .filter(|(_, wasm)| wasmparser::Validator::new_with_features(adit_runtime::lab::features()).validate_all(wasm).is_ok());
    valid.take(GENERATED).map(|(seed, wasm)| Case::new(format!("generated_{seed}"), wasm)).collect()
}
