//! The rules of the host interface that a safe program can meet, each as a call and what it returns. Run natively and on a node, they
//! hold the two to one set of rules.

use adit_guest::gpu::{Buffer, Error, Gpu, Pipeline};

type Outcome = Result<(), Error>;

/// What a call does, the code that it returns (0 where it succeeds), and the call.
type Rule = (&'static str, i32, fn(&Gpu) -> Outcome);

const INVALID: i32 = -2;
const LIMIT: i32 = -3;
const SHADER: i32 = -4;

const RULES: &[Rule] = &[
    ("a buffer of 4 bytes", 0, |gpu| gpu.buffer::<u32>(1).map(drop)),
    ("a buffer as large as any", 0, |gpu| gpu.buffer::<u8>(gpu.limits().buffer as usize).map(drop)),
    ("a buffer of 4 bytes more", LIMIT, |gpu| gpu.buffer::<u8>(gpu.limits().buffer as usize + 4).map(drop)),
    ("buffers of all memory", 0, |gpu| fill_memory(gpu).map(drop)),
    ("a buffer beyond all memory", LIMIT, |gpu| {
        let _full = fill_memory(gpu)?;
        gpu.buffer::<u32>(1).map(drop)
    }),
    ("as many buffers as there may be", 0, |gpu| many(gpu.limits().buffers, || gpu.buffer::<u32>(1)).map(drop)),
    ("a buffer more", LIMIT, |gpu| many(gpu.limits().buffers + 1, || gpu.buffer::<u32>(1)).map(drop)),
    ("as many pipelines as there may be", 0, |gpu| many(gpu.limits().pipelines, || gpu.pipeline(EMPTY, "main")).map(drop)),
    ("a pipeline more", LIMIT, |gpu| many(gpu.limits().pipelines + 1, || gpu.pipeline(EMPTY, "main")).map(drop)),
    ("a write of 3 bytes", INVALID, |gpu| gpu.buffer::<u8>(8)?.write(0, &[1; 3])),
    ("a write at byte 2", INVALID, |gpu| gpu.buffer::<u8>(8)?.write(2, &[1; 4])),
    ("a write of nothing at the end", 0, |gpu| gpu.buffer::<u32>(2)?.write(2, &[])),
    ("a copy to another buffer", 0, |gpu| gpu.buffer::<u32>(2)?.copy_to(1.., &gpu.buffer(1)?, 0)),
    ("a copy to itself", INVALID, |gpu| {
        let buffer = gpu.buffer::<u32>(2)?;
        buffer.copy_to(..1, &buffer, 1)
    }),
    ("a copy of 2 bytes", INVALID, |gpu| gpu.buffer::<u8>(8)?.copy_to(..2, &gpu.buffer(8)?, 0)),
    ("no workgroups", 0, |gpu| empty(gpu, [0, 1, 1])),
    ("a dimension of workgroups", 0, |gpu| empty(gpu, [65_535, 1, 1])),
    ("a workgroup more", LIMIT, |gpu| empty(gpu, [1, 65_536, 1])),
    ("more workgroups than a dispatch has", LIMIT, |gpu| empty(gpu, [65_535, 65_535, 1])),
    ("bindings in any order, and one that is not used", 0, |gpu| {
        let (a, b) = (gpu.buffer::<u32>(64)?, gpu.buffer::<u32>(64)?);
        gpu.dispatch(&bound(gpu)?, &[b.at(9), a.at(2), b.at(1), b.at(0)], [1, 1, 1])
    }),
    ("a binding that is missing", INVALID, |gpu| {
        let (a, b) = (gpu.buffer::<u32>(64)?, gpu.buffer::<u32>(64)?);
        gpu.dispatch(&bound(gpu)?, &[a.at(2), b.at(1)], [1, 1, 1])
    }),
    ("a binding given twice", INVALID, |gpu| {
        let (a, b) = (gpu.buffer::<u32>(64)?, gpu.buffer::<u32>(64)?);
        gpu.dispatch(&bound(gpu)?, &[a.at(2), b.at(1), b.at(0), b.at(0)], [1, 1, 1])
    }),
    ("more bindings than a dispatch lists", INVALID, |gpu| {
        let (a, b) = (gpu.buffer::<u32>(64)?, gpu.buffer::<u32>(64)?);
        let unused = (10..40).map(|binding| b.at(binding));
        let bindings: Vec<_> = [a.at(2), b.at(1), b.at(0)].into_iter().chain(unused).collect();
        gpu.dispatch(&bound(gpu)?, &bindings, [1, 1, 1])
    }),
    ("a buffer written and read in one dispatch", INVALID, |gpu| {
        let a = gpu.buffer::<u32>(64)?;
        gpu.dispatch(&bound(gpu)?, &[a.at(2), gpu.buffer::<u32>(64)?.at(1), a.at(0)], [1, 1, 1])
    }),
    ("a binding at byte 256", 0, |gpu| bind_part(gpu, 64, 68)),
    ("a binding at byte 260", INVALID, |gpu| bind_part(gpu, 65, 69)),
    ("a binding that is shorter than its type", INVALID, |gpu| bind_part(gpu, 64, 67)),
    ("a uniform as large as any", 0, |gpu| bind_uniform(gpu, 16_384)),
    ("a uniform that is larger", INVALID, |gpu| bind_uniform(gpu, 16_385)),
    ("no WGSL", SHADER, |gpu| gpu.pipeline("fn main() { let x = ; }", "main").map(drop)),
    ("a wrong type", SHADER, |gpu| shader(gpu, "", "let x: u32 = 1.5;")),
    ("no such entry point", SHADER, |gpu| gpu.pipeline(EMPTY, "other").map(drop)),
    ("a name as long as any, of no entry point", SHADER, |gpu| gpu.pipeline(EMPTY, &"x".repeat(1024)).map(drop)),
    ("a name that is longer", INVALID, |gpu| gpu.pipeline(EMPTY, &"x".repeat(1025)).map(drop)),
    ("a shader as long as any", 0, |gpu| long(gpu, 65_536)),
    ("a shader that is longer", SHADER, |gpu| long(gpu, 65_537)),
    ("as many operations as any", 0, |gpu| doubling(gpu, 180_000)),
    ("an operation more", SHADER, |gpu| doubling(gpu, 180_001)),
    ("an extension", SHADER, |gpu| shader(gpu, "enable f16;", "")),
    ("a texture", SHADER, |gpu| shader(gpu, "@group(0) @binding(0) var t: texture_2d<f32>;", "")),
    ("a buffer of group 1", SHADER, |gpu| shader(gpu, "@group(1) @binding(0) var<uniform> a: u32;", "_ = a;")),
    ("the last binding", 0, |gpu| shader(gpu, "@group(0) @binding(999) var<uniform> a: u32;", "_ = a;")),
    ("a binding beyond", SHADER, |gpu| shader(gpu, "@group(0) @binding(1000) var<uniform> a: u32;", "_ = a;")),
    ("eight storage buffers", 0, |gpu| buffers(gpu, "storage", 8)),
    ("nine storage buffers", SHADER, |gpu| buffers(gpu, "storage", 9)),
    ("twelve uniforms", 0, |gpu| buffers(gpu, "uniform", 12)),
    ("thirteen uniforms", SHADER, |gpu| buffers(gpu, "uniform", 13)),
    ("as many invocations as there may be", 0, |gpu| workgroup(gpu, &gpu.limits().invocations.to_string())),
    ("an invocation more", SHADER, |gpu| workgroup(gpu, &(gpu.limits().invocations + 1).to_string())),
    ("64 layers of invocations", 0, |gpu| workgroup(gpu, "1, 1, 64")),
    ("65 layers of invocations", SHADER, |gpu| workgroup(gpu, "1, 1, 65")),
    ("all workgroup memory", 0, |gpu| array(gpu, "workgroup", gpu.limits().workgroup_memory / 4)),
    ("a word more", SHADER, |gpu| array(gpu, "workgroup", gpu.limits().workgroup_memory / 4 + 1)),
    ("all private memory", 0, |gpu| array(gpu, "private", 2048)),
    ("a word more than that", SHADER, |gpu| array(gpu, "private", 2049)),
    ("all of a function's memory", 0, |gpu| shader(gpu, "", "var a: array<u32, 2048>; a[1] = 1;")),
    ("a word more than that", SHADER, |gpu| shader(gpu, "", "var a: array<u32, 2049>; a[1] = 1;")),
    ("a constant with a default", 0, |gpu| shader(gpu, "override n: u32 = 3;", "var x = n;")),
    ("a constant without one", SHADER, |gpu| shader(gpu, "override n: u32;", "var x = n;")),
    ("SPIR-V", SHADER, |gpu| gpu.pipeline(SPIR_V, "main").map(drop)),
    // The last two: no pipeline is made behind them. Those before have a third of what there may be.
    ("half of all operations of a job", 0, |gpu| many(5, || doubling(gpu, 180_000)).map(drop)),
    ("and another half", LIMIT, |gpu| many(5, || doubling(gpu, 180_000)).map(drop)),
];

/// How many rules there are, or those that are broken, a line for each. The job is to have the limits that it gets when it asks for a
/// GPU and says no more.
///
/// # Errors
/// What is broken.
pub fn check(gpu: &Gpu) -> Result<usize, String> {
    let broken: String = RULES.iter().filter_map(|rule| violation(gpu, rule)).collect();
    if broken.is_empty() { Ok(RULES.len()) } else { Err(broken) }
}

fn violation(gpu: &Gpu, (name, code, call): &Rule) -> Option<String> {
    let outcome = call(gpu);
    let returned = outcome.as_ref().map_or_else(Error::code, |()| 0);
    (returned != *code).then(|| format!("{name}: {returned} and not {code} ({outcome:?})\n"))
}

/// What a module begins with that does nothing: text, as it happens.
const SPIR_V: &str = "\u{3}\u{2}\u{23}\u{7}\0\0\u{1}\0\0\0\0\0\u{1}\0\0\0\0\0\0\0";

const EMPTY: &str = "@compute @workgroup_size(1) fn main() {}";

/// Buffers of the largest size, and one of what they leave.
fn fill_memory(gpu: &Gpu) -> Result<Vec<Buffer<u8>>, Error> {
    let limits = gpu.limits();
    let whole = limits.memory / limits.buffer;
    let rest = limits.memory % limits.buffer;
    let sizes = (0..whole).map(|_| limits.buffer).chain((rest > 0).then_some(rest));
    sizes.map(|bytes| gpu.buffer(bytes as usize)).collect()
}

fn many<T>(count: u32, make: impl Fn() -> Result<T, Error>) -> Result<Vec<T>, Error> {
    (0..count).map(|_| make()).collect()
}

fn empty(gpu: &Gpu, workgroups: [u32; 3]) -> Outcome {
    gpu.dispatch(&gpu.pipeline(EMPTY, "main")?, &[], workgroups)?;
    gpu.finish()
}

/// A pipeline that reads bindings 0 and 1, the second with a type of 16 bytes, and writes binding 2.
fn bound(gpu: &Gpu) -> Result<Pipeline, Error> {
    let wgsl = "
        @group(0) @binding(0) var<storage> a: array<u32>;
        @group(0) @binding(1) var<storage> b: vec4u;
        @group(0) @binding(2) var<storage, read_write> c: array<u32>;
        @compute @workgroup_size(1) fn main() { c[0] = a[0] + b.x; }
    ";
    gpu.pipeline(wgsl, "main")
}

/// A dispatch with a part of a buffer, counted in words, for the binding of 16 bytes.
fn bind_part(gpu: &Gpu, start: usize, end: usize) -> Outcome {
    let (a, b, c) = (gpu.buffer::<u32>(1)?, gpu.buffer::<u32>(128)?, gpu.buffer::<u32>(1)?);
    gpu.dispatch(&bound(gpu)?, &[a.at(0), b.range_at(1, start..end)?, c.at(2)], [1, 1, 1])
}

fn bind_uniform(gpu: &Gpu, words: usize) -> Outcome {
    let wgsl = "@group(0) @binding(0) var<uniform> a: vec4u; @compute @workgroup_size(1) fn main() { _ = a; }";
    gpu.dispatch(&gpu.pipeline(wgsl, "main")?, &[gpu.buffer::<u32>(words)?.at(0)], [1, 1, 1])
}

fn shader(gpu: &Gpu, declared: &str, used: &str) -> Outcome {
    gpu.pipeline(&format!("{declared}\n@compute @workgroup_size(1) fn main() {{ {used} }}"), "main").map(drop)
}

/// A shader of so many operations, once for each call: of most there are 1,024 calls, by ten functions that call the one before twice.
fn doubling(gpu: &Gpu, operations: usize) -> Outcome {
    let calls: String = (1..=10).map(|n| format!("fn f{n}() {{ f{0}(); f{0}(); }}", n - 1)).collect();
    // A call, a block and the return that ends a function are an operation each.
    let own = operations - (1024 * 166 + 1023 * 3) - 2;
    let blocks = |count: usize| "{}".repeat(count);
    let main = format!("@compute @workgroup_size(1) fn main() {{ f10(); {} }}", blocks(own));
    gpu.pipeline(&format!("fn f0() {{ {} }} {calls} {main}", blocks(165)), "main").map(drop)
}

/// A shader of so many bytes.
fn long(gpu: &Gpu, bytes: usize) -> Outcome {
    gpu.pipeline(&format!("{EMPTY}{}", " ".repeat(bytes - EMPTY.len())), "main").map(drop)
}

fn buffers(gpu: &Gpu, space: &str, count: usize) -> Outcome {
    let declared: String = (0..count).map(|n| format!("@group(0) @binding({n}) var<{space}> b_{n}: vec4u;")).collect();
    let used: String = (0..count).map(|n| format!("sum += b_{n};")).collect();
    shader(gpu, &declared, &format!("var sum = vec4u(); {used}"))
}

fn workgroup(gpu: &Gpu, size: &str) -> Outcome {
    gpu.pipeline(&format!("@compute @workgroup_size({size}) fn main() {{}}"), "main").map(drop)
}

fn array(gpu: &Gpu, space: &str, words: u32) -> Outcome {
    shader(gpu, &format!("var<{space}> words: array<u32, {words}>;"), "words[1] = 1;")
}
