use adit_protocol::Comparison;

use super::*;

fn check_as(need: GpuNeed, wgsl: &str) -> Result<Shape, String> {
    check(&ShaderOrder { wgsl: wgsl.to_owned(), entry: "main".to_owned(), need })
}

fn shape_of(wgsl: &str) -> Shape {
    check_as(GpuNeed::default(), wgsl).unwrap_or_else(|error| panic!("{error}\n{wgsl}"))
}

/// A shader that does `body`, and may use `out`.
fn shader(declared: &str, body: &str) -> String {
    format!(
        "{declared}\n@group(0) @binding(0) var<storage, read_write> out: array<u32>;\n\
         @compute @workgroup_size(1) fn main() {{ {body} }}"
    )
}

#[track_caller]
fn assert_refused(wgsl: &str, reason: &str) {
    let error = check_as(GpuNeed::default(), wgsl).expect_err(wgsl);
    assert!(error.contains(reason), "{error}\nlacks: {reason}\n{wgsl}");
}

fn binding(binding: u32, kind: BindingKind, bytes_min: u64) -> BindingShape {
    BindingShape { binding, kind, bytes_min }
}

#[test]
fn shape_is_what_the_entry_point_uses() {
    let shape = shape_of(
        "struct Settings { size: vec3u, scale: u32, more: mat4x4f }
        struct Tail { count: u32, pairs: array<vec2u> }
        @group(0) @binding(7) var<uniform> settings: Settings;
        @group(0) @binding(2) var<storage, read> input: Tail;
        @group(0) @binding(3) var<storage, read_write> output: array<vec4u, 5>;
        @group(0) @binding(4) var<storage, read_write> unused: array<u32>;
        fn scale(x: u32) -> u32 { return x * settings.scale; }
        @compute @workgroup_size(8, 4, 2) fn main() { output[0].x = scale(input.count); }
        @compute @workgroup_size(1) fn other() { unused[0] = 1u; }",
    );
    let wanted =
        [binding(2, BindingKind::Read, 16), binding(3, BindingKind::ReadWrite, 80), binding(7, BindingKind::Uniform, 80)];
    assert_eq!((shape.bindings.as_slice(), shape.workgroup), (wanted.as_slice(), [8, 4, 2]));
    assert!(shape.has_floats, "the settings have a matrix");
}

#[test]
fn floats_are_found_wherever_they_are_used() {
    for (declared, body) in [
        ("", "out[0] = u32(1.5 * f32(out[1]));"),
        ("", "out[0] = bitcast<u32>(bitcast<f32>(out[0]));"),
        ("", "var x: f32; out[0] = select(0u, 1u, x == 0);"),
        ("var<private> x: vec2f;", "out[0] = u32(x.y);"),
        ("var<workgroup> x: array<f32, 4>;", "out[0] = u32(x[out[0]]);"),
        ("struct S { a: u32, b: f32 }", "var s: S; out[0] = s.a;"),
        ("", "out[0] = u32(sin(1.0) * 1e9);"),
        ("const FOLDED = u32(exp(0.3) * 1e9);", "out[0] = FOLDED;"),
        ("fn folds() -> u32 { return u32(exp(0.3) * 1e9); }", "out[0] = folds();"),
        ("fn inner() -> u32 { return u32(sqrt(f32(out[0]))); } fn outer() -> u32 { return inner(); }", "out[0] = outer();"),
        ("", "out[0] = pack2x16float(unpack2x16float(out[0]));"),
        ("", "out[0] = pack4x8snorm(unpack4x8snorm(out[0]));"),
    ] {
        let wgsl = shader(declared, body);
        assert!(shape_of(&wgsl).has_floats, "{wgsl}");
        let exact = GpuNeed { comparison: Comparison::Exact, ..GpuNeed::default() };
        let refused = check_as(exact, &wgsl).unwrap_err();
        assert!(refused.contains("floats") && refused.contains("exact"), "{refused}");
    }
}

/// A comment that spoke of a tan line, or a variable of that name, made a shader of integers one of floats.
#[test]
fn functions_of_floats_count_only_where_they_are_called() {
    for kept in [
        "/* sin(1.0) /* nested exp(2.0) */ cos(3.0) */ out[0] = 1u;",
        "// tan(1.0)\u{2028} out[0] = 2u; // pow(\n",
        "var tan = out[0]; out[0] = tan * (tan + 1u);",
        "let expanded = out[0] / 2u; out[0] = expanded;",
    ] {
        assert!(!shape_of(&shader("", kept)).has_floats, "{kept}");
    }
    let exact = GpuNeed { comparison: Comparison::Exact, ..GpuNeed::default() };
    for called in ["exp(0.3)", "exp (0.3)", "exp/* ( */(0.3)", "exp// (\n(0.3)", "exp\u{200e}(0.3)", "(1.0 / 2.0 * (exp(0.3)))"] {
        let folded = shader(&format!("const FOLDED = u32({called} * 1e9);"), "out[0] = FOLDED;");
        let refused = check_as(exact, &folded).unwrap_err();
        assert!(refused.starts_with("the shader computes with floats by `exp`, and"), "{called}: {refused}");
    }
}

#[test]
fn what_atomics_return_is_found_where_something_is_made_of_it() {
    const DECLARED: &str = "@group(0) @binding(1) var<storage, read_write> n: atomic<u32>;
        fn ticket() -> u32 { return atomicAdd(&n, 1u); } fn counts() { atomicAdd(&n, 1u); }";
    for (body, is_used) in [
        ("let at = atomicAdd(&n, 1u); out[at] = 1u;", true),
        ("out[ticket()] = 1u;", true),
        ("if atomicMax(&n, 7u) == 7u { out[0] = 1u; }", true),
        ("let old = atomicCompareExchangeWeak(&n, 1u, 2u); if old.exchanged { out[0] = old.old_value; }", true),
        ("atomicAdd(&n, 1u);", false),
        ("let at = atomicAdd(&n, 1u); out[0] = 1u;", false),
        ("counts(); atomicStore(&n, 3u); out[0] = atomicLoad(&n);", false),
        ("out[0] = 1u;", false),
    ] {
        assert_eq!(shape_of(&shader(DECLARED, body)).uses_atomic_results, is_used, "{body}");
    }
}

#[test]
fn shader_of_integers_has_no_floats() {
    for (declared, body) in [
        ("", "out[0] = out[1] * 3u;"),
        ("fn unused() -> f32 { return 1.0; } var<private> y: f32;", "out[0] = 1u;"),
        ("var<workgroup> sums: array<atomic<u32>, 64>;", "atomicAdd(&sums[out[0] % 64u], 1u); workgroupBarrier();"),
        ("const A = array(1, 2, 3);", "var i = i32(out[0]); out[0] = u32(A[i % 3]) + dot(vec3u(1), vec3u(2));"),
        ("", "out[0] = pack4xU8(unpack4xU8(out[0]) + 1u); if countOneBits(out[1]) > 3u { out[1] = reverseBits(out[0]); }"),
    ] {
        let wgsl = shader(declared, body);
        assert!(!shape_of(&wgsl).has_floats, "{wgsl}");
        assert!(check_as(GpuNeed { comparison: Comparison::Exact, ..GpuNeed::default() }, &wgsl).is_ok());
    }
    let beside = "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
        @compute @workgroup_size(1) fn main() { out[0] = 1u; }
        @compute @workgroup_size(1) fn other() { out[0] = u32(sqrt(f32(out[1]))); }";
    assert!(!shape_of(beside).has_floats, "what another entry point does is not this one's");
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let error = check_as(GpuNeed::default(), "\n\nfn main() { let x = ; }").unwrap_err();
    assert!(error.starts_with("line 3, column 21: expected expression"), "{error}");
    assert!(error.ends_with("\n  fn main() { let x = ; }"), "{error}");
    assert_refused(&shader("", "let x = nothing;"), "no definition in scope for identifier: `nothing`");
    assert_refused(&shader("", "var x: u32 = 1i;"), "line 3");
    assert_refused(&shader("", "out[0] = out[-1];"), "line 3");
    let long = format!("fn main() {{ let x = ; /* {} */ }}", "é".repeat(20_000));
    assert!(check_as(GpuNeed::default(), &long).unwrap_err().len() <= MESSAGE_BYTES_MAX);
}

#[test]
fn only_buffers_of_group_0_are_bound() {
    let uses = |declared: &str, body: &str| format!("{declared}\n@compute @workgroup_size(1) fn main() {{ {body} }}");
    assert_refused(&uses("@group(0) @binding(0) var t: texture_2d<f32>;", "_ = textureDimensions(t);"), "`t` is no buffer");
    assert_refused(&uses("@group(0) @binding(0) var s: sampler;", ""), "`s` is no buffer");
    assert_refused(&uses("@group(0) @binding(0) var t: texture_storage_2d<r32uint, write>;", ""), "`t` is no buffer");
    assert_refused(&uses("@group(1) @binding(0) var<storage, read_write> x: u32;", "x = 1u;"), "group 1");
    assert_refused(&uses("@group(0) @binding(1000) var<storage, read_write> x: u32;", "x = 1u;"), "binding 1000");
    let twice = "@group(0) @binding(0) var<storage> a: u32; @group(0) @binding(0) var<storage, read_write> b: u32;";
    assert!(check_as(GpuNeed::default(), &uses(twice, "b = a;")).is_err());
}

#[test]
fn bindings_have_their_number() {
    let many = |kind: &str, count: usize| {
        let declared = (0..count).map(|at| format!("@group(0) @binding({at}) var<{kind}> b{at}: vec4u;\n"));
        let sum = (0..count).map(|at| format!("b{at}.x")).collect::<Vec<_>>().join(" + ");
        format!("{}@compute @workgroup_size(1) fn main() {{ let x = {sum}; }}", declared.collect::<String>())
    };
    for (kind, most) in [("storage", STORAGE_BINDINGS_MAX), ("uniform", UNIFORM_BINDINGS_MAX)] {
        assert_eq!(shape_of(&many(kind, most)).bindings.len(), most);
        assert_refused(&many(kind, most + 1), "at most 8 and 12");
    }
}

#[test]
fn workgroups_are_within_the_jobs_limits() {
    let sized = |size: &str| format!("@compute @workgroup_size({size}) fn main() {{}}");
    let need = |invocations| GpuNeed { invocations, ..GpuNeed::default() };
    for (size, invocations, fits) in [
        ("256", 256, true),
        ("257", 256, false),
        ("16, 16", 256, true),
        ("16, 16, 2", 256, false),
        ("1, 1, 64", 256, true),
        ("1, 1, 65", 256, false),
        ("1024", 1024, true),
        ("1, 1024", 1024, true),
        ("1025", 1024, false),
        ("1, 1, 65", 1024, false),
        ("65", 64, false),
        ("4294967295, 4294967295, 64", 256, false),
    ] {
        assert_eq!(check_as(need(invocations), &sized(size)).is_ok(), fits, "{size} of {invocations}");
    }
}

#[test]
fn memory_of_a_shader_is_bounded() {
    let shared = |words: u32| shader(&format!("var<workgroup> w: array<u32, {words}>;"), "out[0] = w[out[0]];");
    assert_refused(&shared(4097), "bytes of workgroup memory; the job's limit is 16384");
    shape_of(&shared(4096));
    let unused = shader("var<workgroup> w: array<u32, 5000>;", "out[0] = 1u;");
    assert!(check_as(GpuNeed::default(), &unused).is_ok(), "what is not used is not there");
    let private = |words: u32| shader(&format!("var<private> p: array<u32, {words}>;"), "p[out[1]] = 1u; out[0] = p[out[0]];");
    assert_refused(&private(2049), "bytes of private variables");
    shape_of(&private(2048));
    let local = |words: u32| shader("", &format!("var v: array<u32, {words}>; v[out[1]] = 1u; out[0] = v[out[0]];"));
    assert_refused(&local(2049), "bytes of variables in a function");
    shape_of(&local(2048));
}

/// Such an array takes as much of each invocation as a variable does, and was not counted.
#[test]
fn array_that_is_no_variable_counts_where_places_are_looked_up_in_it() {
    const TOLD: &str = "bytes of variables in a function, with the arrays";
    let value = |words: u32| shader("", &format!("let t = array<u32, {words}>(); out[0] = t[out[1]] + t[out[2]];"));
    assert_refused(&value(2049), &format!("8196 {TOLD}"));
    shape_of(&value(2048));
    let table = |words: u32| shader(&format!("const T = array<u32, {words}>();"), "out[0] = T[out[1]];");
    assert_refused(&table(2049), TOLD);
    shape_of(&table(2048));
    let passed = |words: u32| {
        let f = format!("fn f(t: array<u32, {words}>) -> u32 {{ return t[out[1]]; }}");
        shader(&format!("{f} @group(0) @binding(1) var<storage> all: array<u32, {words}>;"), "out[0] = f(all);")
    };
    assert_refused(&passed(2049), TOLD);
    shape_of(&passed(2048));
    let rows = |rows: u32| shader("", &format!("let t = array<array<u32, 64>, {rows}>(); out[0] = t[out[1]][out[2]];"));
    assert_refused(&rows(33), TOLD);
    shape_of(&rows(32));
    assert_refused(&shader("", "var v: array<u32, 1025>; let t = v; v[out[2]] = 1; out[0] = t[out[1]];"), TOLD);
    // A place that is known needs no copy, and in a buffer it is looked up as it is.
    shape_of(&shader("", "let t = array<u32, 4096>(); out[0] = t[7];"));
    shape_of(&shader("@group(0) @binding(1) var<storage> all: array<u32, 4096>;", "out[0] = all[out[1]];"));
}

fn operations_of(declared: &str, body: &str) -> u64 {
    let module = parse(&shader(declared, body)).unwrap();
    inlined::operations(&module, &validate(&module, "").unwrap(), 0)
}

/// Functions that each call the one before twice.
fn doubling(first: &str, levels: usize) -> String {
    let calls = (1..=levels).map(|at| format!("fn f{at}(a: u32) -> u32 {{ return f{0}(f{0}(a)); }}\n", at - 1));
    format!("fn f0(a: u32) -> u32 {{ {first} }}\n{}", calls.collect::<String>())
}

/// A driver puts each function in the place of its calls: one shader of 755 bytes held the GPU's process for as long as it is waited for.
#[test]
fn operations_of_an_entry_point_with_all_its_calls_are_bounded() {
    let first = format!("fn f0() {{ {} }}\n", "{}".repeat(165));
    let calls = (1..=10).fold(first, |calls, at| format!("{calls}fn f{at}() {{ f{0}(); f{0}(); }}\n", at - 1));
    let body = |more: u64| format!("f10(); {}", "{}".repeat(more as usize));
    let more = OPERATIONS_MAX - operations_of(&calls, &body(0));
    shape_of(&shader(&calls, &body(more)));
    let told = "180001 operations, with those of each function once per call of it; an entry point has at most 180000";
    assert_refused(&shader(&calls, &body(more + 1)), told);
    for levels in [13, 14, 63, 64, 500] {
        assert_refused(&shader(&doubling("return a * a + out[a];", levels), &format!("out[0] = f{levels}(1);")), "operations");
    }
    let above = "fn last(a: u32) -> u32 { return f14(a); }\n".to_owned() + &doubling("return a * a + out[a];", 14);
    assert_refused(&shader(&above, "out[0] = last(1);"), "operations");
    let other = "@compute @workgroup_size(1) fn other() { out[0] = f30(1); }";
    shape_of(&shader(&format!("{}{other}", doubling("return a + out[a];", 30)), "out[0] = f3(1);"));
}

/// What an operation is took up to a second for as little as a fortieth of the bound, where it was dear to compile.
#[test]
fn operations_are_counted_by_what_they_are_to_a_driver() {
    let more = |declared: &str, body: &str| {
        operations_of(declared, &format!("let a = out[0]; {body}")) - operations_of(declared, "let a = out[0];")
    };
    for (declared, body, least) in [
        ("", "let b = a / a;", inlined::DIVISION),
        ("", "let b = vec4u(a) % vec4u(a);", 4 * inlined::DIVISION),
        ("", "let b = out[a];", inlined::LOAD),
        ("", "loop { break; }", inlined::LOOP),
        ("", "let b = acos(f32(a));", inlined::FUNCTION),
        ("", "let b = atan2(vec4f(f32(a)), vec4f());", 4 * inlined::ARC),
        ("", "var v: array<u32, 1000>;", 1000 * inlined::VARIABLE),
        ("var<private> v: array<u32, 1000>;", "v = v;", 2 * 1000 * inlined::WHOLE),
        ("", "let v = array<u32, 1000>(); let b = v[a];", 1000 * inlined::COPY),
        ("", "let m = mat4x4f(); let b = m * m;", 64),
    ] {
        let counted = more(declared, body);
        assert!(
            (least..least + least / 2 + 64).contains(&counted) || body.contains("COPY"),
            "{body}: {counted}, of {least} at least"
        );
    }
    assert_eq!(more("", "let b = a + a;"), 2, "and a sum is one, with the statement that makes it");
}

#[test]
fn overridable_constants_have_their_defaults() {
    let sized = shader("override N: u32 = 4u; var<workgroup> w: array<u32, N>;", "out[0] = w[out[0]] + N;");
    shape_of(&sized);
    assert_refused(&sized.replace("4u", "5000u"), "bytes of workgroup memory");
    assert_refused(&shader("override N: u32;", "out[0] = N;"), "`override` constants have their defaults");
    let workgroup = "override X: u32 = 32u; @compute @workgroup_size(X, 2) fn main() {}";
    assert_eq!(shape_of(workgroup).workgroup, [32, 2, 1]);
}

#[test]
fn nothing_beyond_the_core_language_is_there() {
    for extension in ["f16", "subgroups", "dual_source_blending", "clip_distances", "wgpu_ray_query", "primitive_index"] {
        let error = check_as(GpuNeed::default(), &format!("enable {extension};\n{}", shader("", ""))).unwrap_err();
        assert!(error.starts_with("line 1"), "{extension}: {error}");
    }
    for body in ["var x: f64 = 1.0lf;", "var x: i64 = 1li;", "out[0] = subgroupAdd(out[1]);", "var x: f16;"] {
        assert!(check_as(GpuNeed::default(), &shader("", body)).is_err(), "{body}");
    }
    assert!(check_as(GpuNeed::default(), &shader("var<immediate> p: u32;", "out[0] = p;")).is_err());
    assert!(check_as(GpuNeed::default(), &shader("var<push_constant> p: u32;", "out[0] = p;")).is_err());
}

#[test]
fn entry_point_is_there_and_computes() {
    assert_refused("@compute @workgroup_size(1) fn other() {}", "no compute entry point `main`; it has `other`");
    assert_refused("@fragment fn main() {}", "no compute entry point `main`; it has none");
    assert_refused("", "no compute entry point");
}

#[test]
fn source_has_64_kib_at_most() {
    let shader = "@compute @workgroup_size(1) fn main() {}";
    let padded = |bytes: usize| format!("{shader}{}", " ".repeat(bytes - shader.len()));
    shape_of(&padded(SHADER_BYTES_MAX));
    assert_refused(&padded(SHADER_BYTES_MAX + 1), "a shader of 65537 bytes");
    let entry = "m".repeat(ENTRY_BYTES_MAX + 1);
    assert!(check(&ShaderOrder { wgsl: String::new(), entry, need: GpuNeed::default() }).is_err());
}

#[test]
fn shader_that_nests_too_deep_is_told_so() {
    let parentheses = format!("out[0] = {}1u{};", "(".repeat(31_000), ")".repeat(31_000));
    assert_refused(&shader("", &parentheses), "the shader nests too deep");
    shape_of(&shader("", &format!("out[0] = {}1u{};", "(".repeat(50), ")".repeat(50))));
}

/// A guest's own tests on a machine without a node count by the same text, as the two crates have no other in which it could stand.
#[test]
fn operations_are_counted_as_guests_tests_count_them() {
    let counting = |text: &str| {
        let (_, counting) = text.split_once("/// What is dear to compile").expect("the weights come first");
        counting.replace("pub(super) const", "const")
    };
    let ours = counting(include_str!("inlined.rs"));
    assert_eq!(ours, counting(include_str!("../../../../guest-sdk/src/gpu/native/shader/inlined.rs")));
}
