//! The GPU's calls, on this machine's GPU or its software one.

use adit_guest::gpu::{Error, Gpu, Limits, Pipeline, bytemuck};

const SQUARE: &str = "
@group(0) @binding(0) var<storage, read_write> numbers: array<u32>;

@compute @workgroup_size(64)
fn square(@builtin(global_invocation_id) id: vec3u) {
    if id.x < arrayLength(&numbers) {
        numbers[id.x] *= numbers[id.x];
    }
}
";

/// Adds what two buffers hold into a third, and a number to each sum.
const ADD: &str = "
struct Plus { number: u32 }

@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read> b: array<u32>;
@group(0) @binding(2) var<storage, read_write> sums: array<u32>;
@group(0) @binding(3) var<uniform> plus: Plus;

@compute @workgroup_size(1)
fn add(@builtin(workgroup_id) id: vec3u) {
    sums[id.x] = a[id.x] + b[id.x] + plus.number;
}
";

fn gpu() -> Gpu {
    Gpu::open().expect("`cargo xtask setup` installs a software GPU where there is no other")
}

fn limited(limits: Limits) -> Gpu {
    Gpu::open_with(limits).expect("these are no more than the defaults")
}

#[track_caller]
fn is_invalid<T: std::fmt::Debug>(result: Result<T, Error>, with: &str) {
    let error = result.expect_err("this is not what the call takes");
    assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(with), "{error:?}");
    assert_eq!(error.code(), -2);
}

#[track_caller]
fn is_over_limit<T: std::fmt::Debug>(result: Result<T, Error>, with: &str) {
    let error = result.expect_err("a limit is exceeded");
    assert!(matches!(error, Error::Limit(_)) && error.to_string().contains(with), "{error:?}");
    assert_eq!(error.code(), -3);
}

#[track_caller]
fn is_refused(result: Result<Pipeline, Error>, with: &str) {
    let error = result.expect_err("this shader is refused");
    assert!(matches!(error, Error::Shader(_)) && error.to_string().contains(with), "{error}");
    assert_eq!(error.code(), -4);
}

#[test]
fn dispatches_follow_one_another_with_nothing_read_between() {
    let gpu = gpu();
    let buffer = gpu.buffer_from(&[0u32, 1, 2, 3, 10]).unwrap();
    let square = gpu.pipeline(SQUARE, "square").unwrap();
    for _ in 0..3 {
        gpu.dispatch(&square, &[buffer.at(0)], [1, 1, 1]).unwrap();
    }
    assert_eq!(buffer.read().unwrap(), [0, 1, 256, 6561, 100_000_000]);
}

#[test]
fn writes_copies_and_dispatches_take_effect_in_their_order() {
    let gpu = gpu();
    let (a, b) = (gpu.buffer_from(&[2u32, 3, 4]).unwrap(), gpu.buffer::<u32>(5).unwrap());
    let square = gpu.pipeline(SQUARE, "square").unwrap();
    gpu.dispatch(&square, &[a.at(0)], [1, 1, 1]).unwrap();
    a.copy_to(1.., &b, 3).unwrap();
    a.write(1, &[7]).unwrap();
    gpu.dispatch(&square, &[a.at(0)], [1, 1, 1]).unwrap();
    gpu.submit().unwrap();
    a.copy_to(..2, &b, 0).unwrap();
    gpu.finish().unwrap();
    assert_eq!(b.read().unwrap(), [16, 49, 0, 9, 16]);
    assert_eq!(a.read_range(2..).unwrap(), [256]);
}

#[test]
fn new_buffer_is_zero_also_where_another_was() {
    let gpu = gpu();
    for _ in 0..20 {
        let buffer = gpu.buffer::<u64>(1000).unwrap();
        assert!(buffer.read().unwrap().iter().all(|number| *number == 0));
        buffer.write(0, &[u64::MAX; 1000]).unwrap();
    }
}

#[test]
fn values_of_every_size_survive_the_round_trip() {
    #[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
    #[bytemuck(crate = "adit_guest::gpu::bytemuck")]
    #[repr(C)]
    struct Odd([u8; 3]);

    let gpu = gpu();
    for len in [0, 1, 2, 3, 4, 5, 257] {
        let bytes: Vec<u8> = (0..len).map(|n| (n % 250) as u8 + 1).collect();
        assert_eq!(gpu.buffer_from(&bytes).unwrap().read().unwrap(), bytes);
        let odd: Vec<Odd> = bytes.iter().map(|n| Odd([*n, 0, n / 2])).collect();
        assert_eq!(gpu.buffer_from(&odd).unwrap().read().unwrap(), odd);
        let wide: Vec<[f64; 2]> = bytes.iter().map(|n| [f64::from(*n), -0.5]).collect();
        let buffer = gpu.buffer_from(&wide).unwrap();
        assert_eq!((buffer.len(), buffer.is_empty()), (len, len == 0));
        assert_eq!(buffer.read().unwrap(), wide);
    }
}

#[test]
fn ranges_of_small_values_are_read_anywhere_and_written_by_the_word_or_to_the_end() {
    let gpu = gpu();
    let buffer = gpu.buffer_from(b"0123456789").unwrap();
    for start in 0..10 {
        for end in start..=10 {
            assert_eq!(buffer.read_range(start..end).unwrap(), b"0123456789"[start..end]);
        }
    }
    buffer.write(4, b"abcdef").unwrap();
    buffer.write(0, b"ABCD").unwrap();
    assert_eq!(buffer.read().unwrap(), b"ABCDabcdef");
    is_invalid(buffer.write(4, b"abc"), "a write of 3 bytes at 4 of a buffer of 12");
    is_invalid(buffer.write(9, b"f"), "at 9");
    let other = gpu.buffer::<u8>(6).unwrap();
    buffer.copy_to(4.., &other, 0).unwrap();
    assert_eq!(other.read().unwrap(), b"abcdef");
    is_invalid(buffer.copy_to(0..3, &other, 0), "a copy's source of 3 bytes");
}

#[test]
fn ranges_beyond_the_values_are_refused() {
    let gpu = gpu();
    let buffer = gpu.buffer_from(&[1u8, 2, 3]).unwrap();
    is_invalid(buffer.write(0, &[0; 4]), "the values 0..4 of a buffer of 3");
    is_invalid(buffer.write(usize::MAX, &[0; 4]), "of a buffer of 3");
    is_invalid(buffer.read_range(2..5), "the values 2..5");
    is_invalid(buffer.read_range(..=usize::MAX), "of a buffer of 3");
    #[expect(clippy::reversed_empty_ranges, reason = "a range that no slice has")]
    let reversed = buffer.read_range(2..1);
    is_invalid(reversed, "the values 2..1");
    is_invalid(buffer.copy_to(.., &gpu.buffer(2).unwrap(), 0), "the values 0..3 of a buffer of 2");
    is_invalid(buffer.range_at(0, 1..1).map(drop), "at least one");
    assert_eq!(buffer.read().unwrap(), [1, 2, 3]);
}

#[test]
fn bindings_are_whole_buffers_or_parts_of_them() {
    let gpu = gpu();
    let add = gpu.pipeline(ADD, "add").unwrap();
    let numbers: Vec<u32> = (0..128).collect();
    let (numbers, sums) = (gpu.buffer_from(&numbers).unwrap(), gpu.buffer::<u32>(128).unwrap());
    let plus = gpu.buffer_from(&[1000u32]).unwrap();
    // Bound twice, because it is only read.
    let bindings = [numbers.at(0), numbers.range_at(1, 64..).unwrap(), sums.range_at(2, 64..66).unwrap(), plus.at(3)];
    gpu.dispatch(&add, &bindings, [2, 1, 1]).unwrap();
    let sums = sums.read().unwrap();
    assert_eq!(sums[64..66], [1064, 1066]);
    assert_eq!(sums.iter().filter(|sum| **sum != 0).count(), 2);
}

#[test]
fn dispatch_needs_what_its_shader_uses() {
    let gpu = gpu();
    let add = gpu.pipeline(ADD, "add").unwrap();
    let (a, sums, large) = (gpu.buffer::<u32>(256).unwrap(), gpu.buffer::<u32>(256).unwrap(), gpu.buffer::<u32>(17_000).unwrap());
    let dispatch = |bindings: &[_]| gpu.dispatch(&add, bindings, [1, 1, 1]);
    assert_eq!(dispatch(&[a.at(3), sums.at(2), a.at(1), a.at(0), a.at(9)]), Ok(()), "in any order, and one that is not used");
    is_invalid(dispatch(&[a.at(0), a.at(1), sums.at(2)]), "binding 3 is used by the shader and not given");
    is_invalid(dispatch(&[a.at(0), a.at(0), a.at(1), sums.at(2), a.at(3)]), "binding 0 is given twice");
    is_invalid(dispatch(&[a.at(0), sums.at(1), sums.at(2), a.at(3)]), "bound for writing, and bound twice");
    is_invalid(dispatch(&[a.at(0), a.at(1), sums.at(2), large.at(3)]), "a uniform has at most 65536");
    is_invalid(dispatch(&[a.range_at(0, 1..2).unwrap(), a.at(1), sums.at(2), a.at(3)]), "no multiple of 256");
    is_invalid(dispatch(&vec![a.at(0); 33]), "at most 32");
    let other = self::gpu();
    is_invalid(other.dispatch(&add, &[], [1, 1, 1]), "another GPU");
    is_invalid(dispatch(&[other.buffer::<u32>(1).unwrap().at(0)]), "another GPU");
}

#[test]
fn binding_is_at_least_what_the_type_needs() {
    let gpu = gpu();
    let wgsl = "
        struct Head { count: u32, values: array<vec4f> }
        @group(0) @binding(0) var<storage, read_write> head: Head;
        @compute @workgroup_size(1) fn main() { head.count = arrayLength(&head.values); }
    ";
    let main = gpu.pipeline(wgsl, "main").unwrap();
    is_invalid(
        gpu.dispatch(&main, &[gpu.buffer::<u32>(7).unwrap().at(0)], [1, 1, 1]),
        "has 28 bytes; the shader's type has at least 32",
    );
    let enough = gpu.buffer::<u32>(16).unwrap();
    gpu.dispatch(&main, &[enough.at(0)], [1, 1, 1]).unwrap();
    assert_eq!(enough.read().unwrap()[0], 3);
}

#[test]
fn entry_point_needs_its_own_bindings_alone() {
    let gpu = gpu();
    let wgsl = "
        @group(0) @binding(0) var<storage, read_write> a: array<u32>;
        @group(0) @binding(1) var<storage, read_write> b: array<u32>;
        var<workgroup> shared_number: u32;
        @compute @workgroup_size(1) fn one() { shared_number += 1; a[0] += shared_number; }
        @compute @workgroup_size(1) fn two() { b[0] += 2; }
        @compute @workgroup_size(1) fn none() {}
    ";
    let numbers = gpu.buffer::<u32>(1).unwrap();
    for (entry, binding) in [("one", 0), ("one", 0), ("two", 1)] {
        gpu.dispatch(&gpu.pipeline(wgsl, entry).unwrap(), &[numbers.at(binding)], [1, 1, 1]).unwrap();
    }
    gpu.dispatch(&gpu.pipeline(wgsl, "none").unwrap(), &[], [1, 1, 1]).unwrap();
    assert_eq!(numbers.read().unwrap(), [4], "workgroup memory is zero at each dispatch");
}

#[test]
fn accesses_beyond_a_binding_touch_no_other_buffer() {
    let gpu = gpu();
    let wgsl = "
        @group(0) @binding(0) var<storage, read_write> small: array<u32>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3u) { small[4 + id.x * 16] = small[id.x * 64 + 9] + 7; }
    ";
    let main = gpu.pipeline(wgsl, "main").unwrap();
    let around: Vec<_> = (0..20).map(|_| gpu.buffer_from(&[5u32; 64]).unwrap()).collect();
    gpu.dispatch(&main, &[around[10].range_at(0, ..4).unwrap()], [4, 1, 1]).unwrap();
    for (at, buffer) in around.iter().enumerate() {
        assert!(at == 10 || buffer.read().unwrap() == [5; 64], "buffer {at}");
    }
}

#[test]
fn bad_shader_is_told_with_its_line() {
    let gpu = gpu();
    is_refused(
        gpu.pipeline("fn main() {\n  let x = ;\n}", "main"),
        "line 2, column 11: expected expression, found \";\"\n  let x = ;",
    );
    is_refused(gpu.pipeline("\n\n@compute @workgroup_size(1)\nfn main() { let x: u32 = 1.5; }", "main"), "line 4, column ");
    is_refused(gpu.pipeline(SQUARE, "cube"), "no compute entry point `cube`");
    assert_eq!(gpu.pipeline(SQUARE, "square").map(drop), Ok(()), "the GPU is none the worse for it");
}

#[test]
fn shader_has_nothing_but_buffers_of_group_0_and_core_wgsl() {
    let gpu = gpu();
    let main = |declared: &str, used: &str| {
        gpu.pipeline(&format!("{declared}\n@compute @workgroup_size(1) fn main() {{ {used} }}"), "main")
    };
    let other_group = "\n@group(1) @binding(0) var<storage, read_write> far: array<u32>;";
    is_refused(main(other_group, "far[0] = 1;"), "line 2, column 23: `far` is in group 1");
    let texture = "@group(0) @binding(0) var picture: texture_2d<f32>;";
    is_refused(main(texture, ""), "line 1, column 23: `picture` is no buffer");
    is_refused(main("enable f16;", "let x = 1h;"), "line 1, column 8");
    is_refused(main("enable subgroups;", ""), "line 1, column 8");
    is_refused(main("", "var x: i64 = 0;"), "i64");
    is_refused(main("", "let x: f64 = 0;"), "f64");
    is_refused(main(&format!("//{}", "x".repeat(64 * 1024)), ""), "at most 65536");
    is_refused(gpu.pipeline(SQUARE, &"x".repeat(1024)), "no compute entry point");
    is_invalid(gpu.pipeline(SQUARE, &"x".repeat(1025)), "at most 1024");
    assert_eq!(main("override n: u32 = 3;", "var x = n;").map(drop), Ok(()));
    is_refused(main("override n: u32;", "var x = n;"), "`override`");
    // Its words are text, too.
    let spir_v: Vec<u8> = [0x0723_0203_u32, 0x0001_0000, 0, 1, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    is_refused(gpu.pipeline(str::from_utf8(&spir_v).unwrap(), "main"), "the shader is SPIR-V, and a guest's is WGSL");
    is_refused(main("", "var x: array<u32, 2049>;"), "8196 bytes of variables in a function");
    let looked_up = |words: u32| main("var<private> i: u32;", &format!("let x = array<u32, {words}>(); i = x[i];"));
    is_refused(looked_up(2049), "8196 bytes of variables in a function, with the arrays of others'");
    assert_eq!(looked_up(2048).map(drop), Ok(()));
    is_refused(main("var<private> x: array<u32, 2049>;", "x[0] = 1;"), "8196 bytes of private variables");
    let twice = "@group(0) @binding(0) var<uniform> a: u32; @group(0) @binding(0) var<uniform> b: u32;";
    is_refused(main(twice, "_ = a + b;"), "inding");
    is_refused(main("@group(0) @binding(1000) var<uniform> a: u32;", "_ = a;"), "below 1000");
    assert_eq!(main(other_group, "").map(drop), Ok(()), "what is not used is not bound");
}

/// A few lines that each call the one above twice double with each: a driver puts every function in the place of each of its calls, and
/// one shader of 755 bytes held it for seconds.
#[test]
fn entry_point_has_180000_operations_with_its_calls_and_no_more() {
    let gpu = gpu();
    assert_eq!(gpu.pipeline(&idles(180_000), "main").map(drop), Ok(()));
    is_refused(
        gpu.pipeline(&idles(180_001), "main"),
        "180001 operations, with those of each function once per call of it; an entry point has at most 180000",
    );
}

/// A shader that does nothing, of so many operations: most are calls, by ten functions that call the one before twice.
fn idles(operations: usize) -> String {
    let calls: String = (1..=10).map(|n| format!("fn f{n}() {{ f{0}(); f{0}(); }}", n - 1)).collect();
    // A call, a block and the return that ends a function are an operation each.
    let (called, own) = ("{}".repeat(165), "{}".repeat(operations - (1024 * 166 + 1023 * 3) - 2));
    format!("fn f0() {{ {called} }} {calls} @compute @workgroup_size(1) fn main() {{ f10(); {own} }}")
}

/// What was dropped counts, what was refused does not, and each counts for a thousand at the least.
#[test]
fn pipelines_of_a_job_have_1800000_operations_together() {
    let gpu = gpu();
    let make = |operations: usize| gpu.pipeline(&idles(operations), "main").map(drop);
    for _ in 0..9 {
        assert_eq!(make(180_000), Ok(()));
        is_refused(gpu.pipeline("nonsense", "main"), "line 1");
    }
    assert_eq!(gpu.pipeline(SQUARE, "square").map(drop), Ok(()));
    is_over_limit(make(179_001), "operations of all pipelines that were made: 1800001, over the job's limit of 1800000");
    assert_eq!(make(179_000), Ok(()));
    is_over_limit(gpu.pipeline(SQUARE, "square"), "operations of all pipelines that were made: 1801000");
}

#[test]
fn entry_point_uses_eight_storage_buffers_and_no_more() {
    let gpu = gpu();
    let main = |count: usize| {
        let declared: String = (0..count).map(|n| format!("@group(0) @binding({n}) var<storage> in_{n}: array<u32>;")).collect();
        let sum: String = (0..count).map(|n| format!("sum += in_{n}[0];")).collect();
        gpu.pipeline(&format!("{declared} @compute @workgroup_size(1) fn main() {{ var sum = 0u; {sum} }}"), "main")
    };
    assert_eq!(main(8).map(drop), Ok(()));
    is_refused(main(9), "9");
}

#[test]
fn workgroup_is_within_the_limits() {
    let gpu = limited(Limits { invocations: 128, workgroup_memory: 1024, ..Limits::default() });
    let main = |size: &str, words: u32| {
        let wgsl = format!(
            "var<workgroup> words: array<u32, {words}>;
            @compute @workgroup_size({size}) fn main(@builtin(local_invocation_index) i: u32) {{ words[i % {words}] = i; }}"
        );
        gpu.pipeline(&wgsl, "main")
    };
    assert_eq!(main("128", 256).map(drop), Ok(()));
    is_refused(main("129", 256), "129");
    is_refused(main("16, 16", 256), "256");
    is_refused(main("1, 1, 65", 256), "65");
    is_refused(main("1", 257), "1040 bytes of workgroup memory; the job's limit is 1024");
}

#[test]
fn limits_hold_at_n_and_not_at_one_more() {
    let small =
        Limits { memory: 4096, buffer: 2048, buffers: 3, pipelines: 2, dispatches: 3, workgroups: 100, ..Limits::default() };
    let gpu = limited(small);
    assert_eq!(gpu.limits(), small);
    is_over_limit(gpu.buffer::<u8>(2049), "GPU buffer, in bytes: 2052, over the job's limit of 2048");
    is_over_limit(gpu.buffer::<u64>(usize::MAX), "GPU buffer");
    let buffers = [2048, 2044, 1].map(|bytes| gpu.buffer::<u8>(bytes).unwrap());
    is_over_limit(gpu.buffer::<u8>(1), "GPU memory, in bytes: 4100");
    drop(buffers);
    let _buffers = [1, 1, 1].map(|bytes| gpu.buffer::<u8>(bytes).unwrap());
    is_over_limit(gpu.buffer::<u8>(1), "GPU buffers: 4");
    let none = "@compute @workgroup_size(1) fn none() {}";
    let pipelines = [gpu.pipeline(none, "none").unwrap(), gpu.pipeline(none, "none").unwrap()];
    is_over_limit(gpu.pipeline(none, "none"), "GPU pipelines: 3");
    is_over_limit(gpu.dispatch(&pipelines[0], &[], [101, 1, 1]), "workgroups of a dispatch: 101");
    is_over_limit(gpu.dispatch(&pipelines[0], &[], [65_536, 0, 1]), "65536 workgroups in one dimension");
    for workgroups in [[100, 1, 1], [5, 4, 5], [0, 9, 1]] {
        gpu.dispatch(&pipelines[0], &[], workgroups).unwrap();
    }
    is_over_limit(gpu.dispatch(&pipelines[0], &[], [1, 1, 1]), "GPU dispatches: 4");
    drop(pipelines);
    assert_eq!(gpu.pipeline(none, "none").map(drop), Ok(()));
}

#[test]
fn dropped_buffer_is_free_and_what_was_recorded_with_it_still_runs() {
    let gpu = limited(Limits { memory: 1 << 20, ..Limits::default() });
    let square = gpu.pipeline(SQUARE, "square").unwrap();
    let kept = gpu.buffer::<u32>(4).unwrap();
    for round in 1..50 {
        let large = gpu.buffer_from(&vec![round; 200_000]).unwrap();
        gpu.dispatch(&square, &[large.at(0)], [200_000u32.div_ceil(64), 1, 1]).unwrap();
        large.copy_to(199_998.., &kept, 2).unwrap();
        drop(large);
        assert_eq!(kept.read().unwrap(), [0, 0, round * round, round * round]);
    }
}

#[test]
fn gpu_that_cannot_do_enough_is_unavailable() {
    let error = Gpu::open_with(Limits { invocations: 1 << 30, ..Limits::default() }).expect_err("no GPU has so many");
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert_eq!(error.code(), -1);
}

/// The job in docs/gpu.md.
mod documented {
    use adit_guest::gpu::{Error, Gpu};

    #[adit_guest::job]
    fn double(numbers: Vec<u32>) -> Result<Vec<u32>, Error> {
        let gpu = Gpu::open()?;
        let buffer = gpu.buffer_from(&numbers)?;
        let double = gpu.pipeline(
            "@group(0) @binding(0) var<storage, read_write> numbers: array<u32>;

             @compute @workgroup_size(64)
             fn double(@builtin(global_invocation_id) id: vec3u) {
                 if id.x < arrayLength(&numbers) { numbers[id.x] *= 2; }
             }",
            "double",
        )?;
        gpu.dispatch(&double, &[buffer.at(0)], [numbers.len().div_ceil(64) as u32, 1, 1])?;
        buffer.read()
    }

    #[test]
    fn numbers_are_doubled() {
        assert_eq!(double(vec![1, 2, 3]), Ok(vec![2, 4, 6]));
    }
}
