//! Guests, written as text and assembled in the test: what each of them does is to be seen in a few lines, and no tools are needed.

use std::fmt::Write;

/// What the log and the output of [`steady`] and [`hold`] say.
pub(crate) const READY: &str = "ready";

/// Copies its input to its output.
pub(crate) fn echo() -> Vec<u8> {
    body(ECHO)
}

/// As [`echo`], among so many functions that it begins in baseline code.
pub(crate) fn large_echo() -> Vec<u8> {
    module(&many_functions(), ECHO)
}

/// What an optimising compiler takes a second or so for.
fn many_functions() -> String {
    let step = "(local.set 0 (i32.rotl (i32.xor (local.get 0) (i32.const 7919)) (i32.const 5)))";
    let function = format!("(func (param i32) (result i32) {} (local.get 0))", step.repeat(100));
    function.repeat(500)
}

/// Says that 2 is done, computes for a tenth of a second or so, writes 128 KiB, says that 1 is done, and computes until it is stopped; among
/// so many functions that it begins in baseline code, and begins again: then 2 is told a second time.
///
/// Another module for each `n`.
pub(crate) fn large_hold(n: u64) -> Vec<u8> {
    let turns = 100_000_000 + n;
    let start = format!(
        "(call $progress (i64.const 2) (i64.const 0))
        (loop $turn (br_if $turn (i64.lt_u (local.tee $total (i64.add (local.get $total) (i64.const 1))) (i64.const {turns}))))
        (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))
        (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))
        (call $progress (i64.const 1) (i64.const 0))
        (loop $forever (local.set $total (i64.add (local.get $total) (i64.const 1))) (br $forever))"
    );
    module(&many_functions(), &start)
}

/// Reads all of its input; its output is [`Sum`]'s bytes. Takes one step for eight bytes, so that a gibibyte is quickly read.
pub(crate) fn sum() -> Vec<u8> {
    body(
        r"(loop $more
            (local.set $n (call $read))
            (if (local.get $n) (then
                (local.set $total (i64.add (local.get $total) (i64.extend_i32_u (local.get $n))))
                (local.set $i (i32.const 65536))
                (loop $word
                    (local.set $sum (i64.xor (i64.rotl (local.get $sum) (i64.const 1)) (i64.load (local.get $i))))
                    (local.set $i (i32.add (local.get $i) (i32.const 8)))
                    (br_if $word (i32.lt_u (local.get $i) (i32.add (i32.const 65536) (local.get $n)))))
                (br $more))))
          (i64.store (i32.const 64) (local.get $total))
          (i64.store (i32.const 72) (local.get $sum))
          (call $write (i32.const 1) (i32.const 64) (i32.const 16))",
    )
}

/// Copies its input to its output, and behind that each named input: its name, `=`, its content, a line's end.
pub(crate) fn named() -> Vec<u8> {
    let imports = r#"
        (import "adit_1" "input_count" (func $count (result i32)))
        (import "adit_1" "input_name" (func $name (param i32 i32 i32) (result i32)))
        (import "adit_1" "input_read" (func $part (param i32 i64 i32 i32) (result i32)))
        (data (i32.const 2048) "=\n")"#;
    let start = format!(
        r"{ECHO}
        (loop $next (if (i32.lt_u (local.get $i) (call $count)) (then
            (call $write (i32.const 1) (i32.const 4096) (call $name (local.get $i) (i32.const 4096) (i32.const 64)))
            (call $write (i32.const 1) (i32.const 2048) (i32.const 1))
            (local.set $total (i64.const 0))
            (loop $more
                (local.set $n (call $part (local.get $i) (local.get $total) (i32.const 65536) (i32.const 65536)))
                (local.set $total (i64.add (local.get $total) (i64.extend_i32_u (local.get $n))))
                (if (local.get $n) (then (call $write (i32.const 1) (i32.const 65536) (local.get $n)) (br $more))))
            (call $write (i32.const 1) (i32.const 2049) (i32.const 1))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next))))"
    );
    module_with(imports, "", &start)
}

/// Computes until it is stopped.
pub(crate) fn spin() -> Vec<u8> {
    body("(loop $forever (local.set $total (i64.add (local.get $total) (i64.const 1))) (br $forever))")
}

/// Logs [`READY`], then computes until it is stopped.
pub(crate) fn hold() -> Vec<u8> {
    body(&format!("{SAY_READY} (loop $forever (local.set $total (i64.add (local.get $total) (i64.const 1))) (br $forever))"))
}

/// Logs [`READY`], computes until less than a billion is left of its fuel, and writes how much is.
pub(crate) fn anytime() -> Vec<u8> {
    let start = format!(
        "{SAY_READY} (loop $more (br_if $more (i64.ge_u (local.tee $total (call $fuel_left)) (i64.const 1000000000))))
        (i64.store (i32.const 64) (local.get $total)) (call $write (i32.const 1) (i32.const 64) (i32.const 8))"
    );
    module_with(r#"(import "adit_1" "fuel_left" (func $fuel_left (result i64)))"#, "", &start)
}

/// Logs [`READY`], works for about `fuel`, and writes its input back.
pub(crate) fn steady(fuel: u64) -> Vec<u8> {
    // A turn of the loop costs about 7.
    let turns = fuel / 7;
    body(&format!(
        r"{SAY_READY} (local.set $n (call $read))
          (loop $turn
            (local.set $total (i64.add (local.get $total) (i64.const 1)))
            (br_if $turn (i64.lt_u (local.get $total) (i64.const {turns}))))
          (call $write (i32.const 1) (i32.const 65536) (local.get $n))"
    ))
}

/// Writes a line to its log and reports progress before each of `steps` steps, each of about a fifth of a second's work.
pub(crate) fn tick(steps: u32) -> Vec<u8> {
    body(&format!(
        r"(loop $step
            (call $progress (i64.extend_i32_u (local.get $i)) (i64.const {steps}))
            (call $write (i32.const 2) (i32.const 1024) (i32.const 5))
            (local.set $total (i64.const 0))
            (loop $turn
                (local.set $total (i64.add (local.get $total) (i64.const 1)))
                (br_if $turn (i64.lt_u (local.get $total) (i64.const 30000000))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $step (i32.lt_u (local.get $i) (i32.const {steps}))))"
    ))
}

/// Clears the screen, and rings.
pub(crate) const ESCAPES: &str = "\x1b[2J\x07";

/// Tells of its progress; then writes [`ESCAPES`] 200,000 times, a million bytes, to its log and to its output, each without a line's end.
pub(crate) fn escapes() -> Vec<u8> {
    body(
        r"(call $progress (i64.const 1) (i64.const 2))
        (loop $more
            (i32.store (i32.add (i32.const 65536) (local.get $i)) (i32.const 0x4a325b1b))
            (i32.store8 (i32.add (i32.const 65540) (local.get $i)) (i32.const 7))
            (local.set $i (i32.add (local.get $i) (i32.const 5)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 50000))))
        (loop $more
            (call $write (i32.const 2) (i32.const 65536) (i32.const 50000))
            (call $write (i32.const 1) (i32.const 65536) (i32.const 50000))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const 20))))",
    )
}

/// Takes memory until it gets no more, then stops as a program does whose allocation failed.
pub(crate) fn grow() -> Vec<u8> {
    body("(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable")
}

/// Divides by zero in a function named `focal_length`.
pub(crate) fn trap() -> Vec<u8> {
    module(
        r"(func $focal_length (param $aperture i32) (result i32) (i32.div_u (i32.const 50) (local.get $aperture)))",
        "(drop (call $focal_length (i32.const 0)))",
    )
}

/// Ends with an exit code.
pub(crate) fn exit(code: i32) -> Vec<u8> {
    body(&format!("(call $proc_exit (i32.const {code}))"))
}

/// Writes `mebibytes` MiB, each 64 KiB of them starting with its number.
pub(crate) fn flood(mebibytes: u32) -> Vec<u8> {
    let pieces = mebibytes * 16;
    body(&format!(
        r"(loop $piece
            (i32.store (i32.const 65536) (local.get $i))
            (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $piece (i32.lt_u (local.get $i) (i32.const {pieces}))))"
    ))
}

/// Writes its arguments and then its environment, each string with its closing zero byte.
pub(crate) fn surroundings() -> Vec<u8> {
    module(
        r#"(func $show (param $count i32) (param $bytes i32)
            (if (local.get $bytes) (then (call $write (i32.const 1) (i32.const 65536) (local.get $bytes)))))"#,
        r"(drop (call $args_sizes (i32.const 64) (i32.const 68)))
          (drop (call $args_get (i32.const 2048) (i32.const 65536)))
          (call $show (i32.load (i32.const 64)) (i32.load (i32.const 68)))
          (drop (call $env_sizes (i32.const 64) (i32.const 68)))
          (drop (call $env_get (i32.const 2048) (i32.const 65536)))
          (call $show (i32.load (i32.const 64)) (i32.load (i32.const 68)))",
    )
}

/// Writes eight random bytes.
pub(crate) fn random() -> Vec<u8> {
    body("(drop (call $random (i32.const 64) (i32.const 8))) (call $write (i32.const 1) (i32.const 64) (i32.const 8))")
}

/// A module that is whole but for one byte, and the offset of that byte: an instruction that does not exist.
pub(crate) fn invalid() -> (Vec<u8>, usize) {
    let mut bytes = wat::parse_str(r#"(module (func (export "_start") i32.const 77 drop nop))"#).unwrap();
    let at = bytes.windows(2).rposition(|pair| pair == [0x01, 0x0b]).expect("the nop stands before the end of the body");
    bytes[at] = 0x27;
    (bytes, at)
}

/// What [`sum`] makes of an input of whole words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Its length.
    bytes: u64,
    /// The exclusive or of its words, each rotated by its distance from the end, so that a word in another place gives another sum.
    rotated: u64,
}

impl Sum {
    /// Reads the guest's output.
    pub(crate) fn parse(output: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(output[at..at + 8].try_into().unwrap());
        assert_eq!(output.len(), 16);
        Self { bytes: word(0), rotated: word(8) }
    }

    /// The sum of `bytes` zeros but for these words at these offsets.
    pub(crate) fn of_sparse(bytes: u64, words: &[(u64, u64)]) -> Self {
        let rotate = |(offset, word): &(u64, u64)| word.rotate_left(((bytes - 8 - offset) / 8 % 64) as u32);
        Self { bytes, rotated: words.iter().map(rotate).fold(0, |sum, word| sum ^ word) }
    }
}

/// Squares each number of an array of `u32` and adds one.
pub(crate) const SQUARES: &str = "@group(0) @binding(0) var<storage, read_write> data: array<u32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&data)) { data[id.x] = data[id.x] * data[id.x] + 1u; }
    }";

/// Has each invocation draw a ticket, by which it writes its own number: the first number counts the tickets.
pub(crate) const TICKETS: &str = "struct Drawn { count: atomic<u32>, by: array<u32> }
    @group(0) @binding(0) var<storage, read_write> data: Drawn;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&data.by)) { data.by[atomicAdd(&data.count, 1u)] = id.x; }
    }";

/// Takes the root of each number of an array of `f32`.
pub(crate) const ROOTS: &str = "@group(0) @binding(0) var<storage, read_write> data: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&data)) { data[id.x] = sqrt(data[id.x]); }
    }";

/// Takes for ever in [`workgroups`] of it: Mesa's software adapter ends any loop after 65,535 rounds, and so each by itself.
pub(crate) const ENDLESS: &str = "@group(0) @binding(0) var<storage, read_write> data: array<u32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        var x = id.x;
        loop { x = x * 1664525u + data[1]; if (data[0] == 77u) { break; } data[2] = x; }
    }";

/// Writes what it may use of a GPU, as it is told.
pub(crate) fn gpu_limits() -> Vec<u8> {
    let start = "(drop (call $limits (i32.const 64))) (call $write (i32.const 1) (i32.const 64) (i32.const 56))";
    module_with(r#"(import "adit_1" "gpu_limits" (func $limits (param i32) (result i32)))"#, "", start)
}

/// Runs a shader over its input, an array of numbers, and writes what that becomes.
pub(crate) fn shader(wgsl: &str) -> Vec<u8> {
    on_gpu(
        wgsl,
        "(call $turn) (drop (call $ok (call $buffer_read (local.get $i) (i64.const 0) (i32.const 65536) (local.get $n))))
                  (call $write (i32.const 1) (i32.const 65536) (local.get $n))",
    )
}

/// As [`shader`], in as many workgroups as a dispatch can have.
pub(crate) fn workgroups(wgsl: &str) -> Vec<u8> {
    on_gpu(wgsl, "(global.set $groups (i32.const 65535)) (call $turn)")
}

/// As [`shader`], again and again over the same numbers until it is stopped; logs [`READY`] after the first time.
pub(crate) fn shader_forever(wgsl: &str) -> Vec<u8> {
    on_gpu(wgsl, &format!("(call $turn) {SAY_READY} (loop $forever (call $turn) (br $forever))"))
}

/// A module whose input is in a buffer, `$i`, of `$n` bytes, and in which `$turn` runs a shader over it and waits for that.
fn on_gpu(wgsl: &str, then: &str) -> Vec<u8> {
    let imports = r#"
        (import "adit_1" "gpu_buffer_create" (func $buffer_create (param i64) (result i32)))
        (import "adit_1" "gpu_buffer_write" (func $buffer_write (param i32 i64 i32 i32) (result i32)))
        (import "adit_1" "gpu_buffer_read" (func $buffer_read (param i32 i64 i32 i32) (result i32)))
        (import "adit_1" "gpu_pipeline_create" (func $pipeline_create (param i32 i32 i32 i32) (result i32)))
        (import "adit_1" "gpu_dispatch" (func $dispatch (param i32 i32 i32 i32 i32 i32) (result i32)))
        (import "adit_1" "gpu_finish" (func $finish (result i32)))
        (import "adit_1" "gpu_error" (func $error (param i32 i32) (result i32)))"#;
    let (escaped, bytes) = (wgsl.replace('\n', "\\n"), wgsl.len());
    let functions = format!(
        r#"(data (i32.const 8192) "{escaped}") (data (i32.const 1100) "main")
        (global $pipeline (mut i32) (i32.const 0)) (global $groups (mut i32) (i32.const 0))
        (func $ok (param $code i32) (result i32) (local $said i32)
            (if (i32.lt_s (local.get $code) (i32.const 0)) (then
                (local.set $said (call $error (i32.const 4096) (i32.const 1024)))
                (call $log (i32.const 5) (i32.const 4096) (local.get $said))
                unreachable))
            (local.get $code))
        (func $turn
            (drop (call $ok (call $dispatch
                (global.get $pipeline) (i32.const 2048) (i32.const 1) (global.get $groups) (i32.const 1) (i32.const 1))))
            (drop (call $ok (call $finish))))"#
    );
    let start = format!(
        r"(local.set $n (call $read))
          (local.set $i (call $ok (call $buffer_create (i64.extend_i32_u (local.get $n)))))
          (drop (call $ok (call $buffer_write (local.get $i) (i64.const 0) (i32.const 65536) (local.get $n))))
          (global.set $pipeline (call $ok (call $pipeline_create (i32.const 8192) (i32.const {bytes}) (i32.const 1100) (i32.const 4))))
          (global.set $groups (i32.div_u (i32.add (local.get $n) (i32.const 255)) (i32.const 256)))
          (i32.store (i32.const 2048) (i32.const 0))
          (i32.store (i32.const 2052) (local.get $i))
          (i64.store (i32.const 2056) (i64.const 0))
          (i64.store (i32.const 2064) (i64.const 0))
          {then}"
    );
    module_with(imports, &functions, &start)
}

const ECHO: &str = r"(loop $more
    (local.set $n (call $read))
    (if (local.get $n) (then (call $write (i32.const 1) (i32.const 65536) (local.get $n)) (br $more))))";

const SAY_READY: &str = "(call $log (i32.const 3) (i32.const 1030) (i32.const 5))";

fn body(start: &str) -> Vec<u8> {
    module("", start)
}

/// A module with the imports that our guests use, `$write` and `$read` over them, and `_start` with this body. `$read` fills the 64 KiB
/// at 65536 unless the input ends before.
fn module(functions: &str, start: &str) -> Vec<u8> {
    module_with("", functions, start)
}

/// As [`module`], with further imports.
fn module_with(imports: &str, functions: &str, start: &str) -> Vec<u8> {
    let mut text = String::from("(module\n");
    for (name, import, signature) in [
        ("$fd_write", "fd_write", "(param i32 i32 i32 i32) (result i32)"),
        ("$fd_read", "fd_read", "(param i32 i32 i32 i32) (result i32)"),
        ("$proc_exit", "proc_exit", "(param i32)"),
        ("$args_sizes", "args_sizes_get", "(param i32 i32) (result i32)"),
        ("$args_get", "args_get", "(param i32 i32) (result i32)"),
        ("$env_sizes", "environ_sizes_get", "(param i32 i32) (result i32)"),
        ("$env_get", "environ_get", "(param i32 i32) (result i32)"),
        ("$random", "random_get", "(param i32 i32) (result i32)"),
    ] {
        writeln!(text, r#"(import "wasi_snapshot_preview1" "{import}" (func {name} {signature}))"#).unwrap();
    }
    write!(
        text,
        r#"(import "adit_1" "log" (func $log (param i32 i32 i32)))
        (import "adit_1" "progress" (func $progress (param i64 i64)))
        {imports}
        (memory (export "memory") 3)
        (data (i32.const 1024) "tick\n\00ready")
        (func $write (param $fd i32) (param $at i32) (param $bytes i32)
            (loop $more
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $bytes))
                (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
                (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
                (local.set $bytes (i32.sub (local.get $bytes) (i32.load (i32.const 8))))
                (br_if $more (local.get $bytes))))
        (func $read (result i32) (local $filled i32)
            (loop $more
                (i32.store (i32.const 0) (i32.add (i32.const 65536) (local.get $filled)))
                (i32.store (i32.const 4) (i32.sub (i32.const 65536) (local.get $filled)))
                (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
                (local.set $filled (i32.add (local.get $filled) (i32.load (i32.const 8))))
                (br_if $more (i32.and
                    (i32.ne (i32.load (i32.const 8)) (i32.const 0))
                    (i32.lt_u (local.get $filled) (i32.const 65536)))))
            (local.get $filled))
        {functions}
        (func (export "_start") (local $i i32) (local $n i32) (local $total i64) (local $sum i64) {start}))"#
    )
    .unwrap();
    wat::parse_str(&text).unwrap()
}
