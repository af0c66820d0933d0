//! The process that checks a shader: what it is made to choke on ends there.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use adit_protocol::GpuNeed;
use rustix::process::Signal;

use crate::gpu_client::check;
use crate::gpu_client::wire::{ShaderOrder, Shape};

/// Of the processor's time that the check may take 5 s; more where the machine does other things.
const BOMB_TIME_MAX: Duration = Duration::from_secs(60);

fn ask(wgsl: &str) -> Result<Result<Shape, String>, ExitStatus> {
    check(&ShaderOrder { wgsl: wgsl.to_owned(), entry: "main".to_owned(), need: GpuNeed::default() })
}

fn shader(declared: &str, body: &str) -> String {
    format!("{declared}\n@compute @workgroup_size(1) fn main() {{ {body} }}")
}

#[test]
fn shader_is_checked_behind_walls() {
    let shape = ask(&shader("", "")).unwrap().unwrap();
    assert_eq!((shape.workgroup, shape.bindings.len(), shape.has_floats), ([1, 1, 1], 0, false));
    let error = ask("nonsense").unwrap().unwrap_err();
    assert!(error.starts_with("line 1, column 1: "), "{error}");
}

/// How long a chain may be was decided by the machine's stack, and the guest was told: honest receipts of one job could differ.
#[test]
fn chains_are_as_long_as_a_source_has_room_for() {
    let chain = |declared: &str, before: &str, link: &str, count: usize| {
        shader("", &format!("{declared} {before}{};", link.repeat(count)))
    };
    for (what, wgsl) in [
        ("a long sum", chain("let a = 1u;", "let x = a", "+a", 20_000)),
        ("members", chain("var v: vec2u;", "let x = v", ".xy", 20_000)),
        ("else ifs", chain("let a = true;", "if a{}", "else if a{}", 5_900)),
    ] {
        assert!(wgsl.len() <= 64 << 10, "{what}: {}", wgsl.len());
        let answer = ask(&wgsl);
        assert!(matches!(answer, Ok(Ok(_))), "{what}: {answer:.300?}");
    }
    // The longest is checked too, or its time is over.
    let answer = ask(&chain("let a = 1u;", "let x = a", "+a", 32_700));
    let is_late = |status: &ExitStatus| status.signal() == Some(Signal::XCPU.as_raw());
    assert!(matches!(&answer, Ok(Ok(_))) || answer.as_ref().is_err_and(is_late), "{answer:.300?}");
}

#[test]
fn parser_bombs_end_in_the_process_that_checks() {
    let doubling = (1..40).map(|at| format!("const a{at} = array(a{}, a{});\n", at - 1, at - 1)).collect::<String>();
    let structs = (1..60).map(|at| format!("struct S{at} {{ a: S{0}, b: S{0} }}\n", at - 1)).collect::<String>();
    let calls = (1..600).map(|at| format!("fn f{at}() {{ f{0}(); f{0}(); }}\n", at - 1)).collect::<String>();
    let bombs = [
        ("brackets", "(".repeat(64 << 10)),
        ("brackets in an expression", shader("", &format!("let x = {}1;", "(".repeat(30_000)))),
        ("blocks", shader("", &format!("{}{}", "{".repeat(30_000), "}".repeat(30_000)))),
        ("negations", shader("", &format!("let x = {}1;", "- ".repeat(30_000)))),
        ("references", shader("", &format!("var v = 1; let x = {}v;", "&".repeat(60_000)))),
        ("types", shader("", &format!("var x: {}u32{};", "array<".repeat(8_000), ",2>".repeat(5_000)))),
        ("doubling constants", shader(&format!("const a0 = array(1, 2);\n{doubling}"), "let x = a39;")),
        ("doubling structs", shader(&format!("struct S0 {{ a: u32 }}\n{structs}"), "var x: S59;")),
        ("doubling calls", shader(&format!("fn f0() {{}}\n{calls}"), "f599();")),
        ("a giant array", shader("const a = array<u32, 1000000000>();", "let x = a[3];")),
        ("many giant arrays", shader("", &"{ let a = array<u32, 100000000>(); }".repeat(1000))),
        ("a long sum", shader("", &format!("let x = 1{};", "+1".repeat(32_000)))),
        ("comments", "/*".repeat(32 << 10)),
        ("members", shader("", &format!("var v: vec4u; let x = v{};", ".xyzw".repeat(13_000)))),
        ("else ifs", shader("", &format!("if true {{}} {}", "else if true {}".repeat(4_300)))),
        ("attributes", format!("{} fn main() {{}}", "@must_use ".repeat(6_500))),
        ("nothing", String::new()),
        ("no characters", "\0".repeat(64 << 10)),
    ];
    for (what, wgsl) in bombs {
        let wgsl = &wgsl[..wgsl.len().min(64 << 10)];
        let began = Instant::now();
        let answer = ask(wgsl);
        let (took, said) = (began.elapsed(), format!("{answer:.300?}"));
        assert!(took < BOMB_TIME_MAX, "{what}: {took:?}");
        eprintln!("{what}: {took:?} {said:.200}");
        if let Ok(Ok(shape)) = answer {
            assert_eq!(shape.workgroup, [1, 1, 1], "{what} is a shader after all");
        }
    }
    assert!(ask(&shader("", "")).unwrap().is_ok(), "the next is checked as ever");
}
