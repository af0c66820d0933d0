//! Modules with as much of everything as admission lets through, which are run and not only compiled, also where they are profiled.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use adit_protocol::{Digest, Outcome};
use adit_runtime::CompileLimits;
use adit_runtime::lab::admit;
use wasmparser::{Validator, WasmFeatures};

use crate::golden::is_long;
use crate::hostile::FUNCTIONS;
use crate::support::{Host, Job};

/// Compilers are tried in development code, on a machine that other tests use.
const AMPLE: CompileLimits = CompileLimits { wall: Duration::from_secs(300), cpu: Duration::from_secs(300), memory: 1 << 30 };

/// The functions that a module may have.
const FUNCTIONS_MAX: usize = 20_000;
/// So many compile in a moment; with `ADIT_LONG` set, there are as many as may be.
const FUNCTIONS_SOME: usize = 2_000;

/// What the engine reads of a function.
const FUNCTION_BYTES_MAX: usize = 7_654_321;

/// Runs a job in what code there is first and in what there is in the end, plain and profiled.
async fn check(name: &str, job: Job, outcome: Outcome) {
    let mut usage = None;
    for profile in [false, true] {
        let host = Host::with(Arc::new(tempfile::tempdir().unwrap()), |config| {
            (config.profile, config.compile_limits) = (profile, AMPLE);
        });
        for _ in 0..2 {
            match host.compile(&job.wasm).await {
                Ok(report) => println!("{name}, {profile}: compiled in {} ms", report.compile_us / 1000),
                Err(error) => panic!("{name}, {profile}: {error}"),
            }
            let ended = host.run(job.clone()).await;
            assert_eq!(ended.outcome(), outcome, "{name}, {profile}: {}", ended.report.reason);
            assert_eq!(ended.report.usage, *usage.get_or_insert(ended.report.usage), "{name}, {profile}");
            host.runtime.optimised(Digest::of(&job.wasm)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn most_functions_are_all_in_the_table() {
    let count = if is_long() { FUNCTIONS_MAX - 1 } else { FUNCTIONS_SOME };
    let functions: String = (0..count).map(|n| format!("(func $f{n} (result i32) (i32.const {n}))")).collect();
    let elements: String = (0..count).map(|n| format!("$f{n} ")).collect();
    let text = format!(
        r#"(module {functions} (table 100000 funcref) {} (memory (export "memory") 1)
            (func (export "_start") (local $i i32)
                (loop $l
                    (if (i32.ne (call_indirect (result i32) (local.get $i)) (i32.rem_u (local.get $i) (i32.const {count}))) (then unreachable))
                    (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 7))) (i32.const {end}))))))"#,
        (0..5).map(|n| format!("(elem (i32.const {}) func {elements})", n * count)).collect::<String>(),
        end = 5 * count - 6,
    );
    check("all functions in the table", Job::wat(&text), Outcome::Finished { exit_code: 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_much_of_everything_as_may_be() {
    let spell = |letters: &str| letters.chars().map(|letter| if letter == 'i' { "i32 " } else { "i64 " }).collect::<String>();
    let mut text = String::from("(module ");
    for (n, (module, name, params, results)) in FUNCTIONS.iter().cycle().take(128).enumerate() {
        let (params, results) = (spell(params), spell(results));
        write!(text, r#"(import "{module}" "{name}" (func $i{n} (param {params}) (result {results})))"#).unwrap();
    }
    text.push_str(r#"(memory (export "memory") 100) (func $nothing)"#);
    for n in 0..4 {
        write!(text, "(table $t{n} 100000 funcref)").unwrap();
    }
    for n in 0..1_000 {
        write!(text, r#"(global $g{n} (mut v128) (v128.const i64x2 {n} 1)) (data (i32.const {}) "{n:06}")"#, n * 6_000).unwrap();
        write!(text, "(elem (table $t{}) (i32.const {n}) func $nothing $i{} $nothing)", n % 4, n % 128).unwrap();
    }
    for n in 0..254 {
        write!(text, r#"(export "{}" (func $i{}))"#, "n".repeat(1_020) + &format!("{n:03}"), n % 128).unwrap();
    }
    text.push_str(
        r#"(func (export "_start") (local $i i32)
            (loop $l
                (call_indirect $t3 (i32.add (i32.mul (local.get $i) (i32.const 4)) (i32.const 3)))
                (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 249))))
            (if (i64.ne (i64x2.extract_lane 0 (global.get $g999)) (i64.const 999)) (then unreachable))
            (if (i32.ne (i32.load (i32.const 5994000)) (i32.const 0x39303030)) (then unreachable))))"#,
    );
    check("everything", Job::wat(&text), Outcome::Finished { exit_code: 0 }).await;
}

/// A module of a function with so many loops of the kind that the meter makes longest: each is repeated eight times, and each of its roots
/// is made canonical in each copy, because the next one reads its bits in other lanes.
fn loops_that_grow(loops: usize) -> Vec<u8> {
    let roots = "f64x2.sqrt f32x4.sqrt ".repeat(6);
    let piece = format!("loop local.get 1 {roots} local.set 1 local.get 0 br_if 0 end ");
    let text = format!(
        r#"(module (memory (export "memory") 1) (func $f (param i32 v128) {})
            (func (export "_start") (call $f (i32.const 0) (v128.const i64x2 1 2))))"#,
        piece.repeat(loops)
    );
    wat::parse_str(text).unwrap()
}

/// Such a module was admitted, and then refused in the words of the engine's reader, of a bound that nobody was told of.
#[test]
fn function_that_grows_beyond_what_the_engine_reads_is_refused_by_name() {
    let bytes = |loops: usize| admit(&loops_that_grow(loops)).map(|metered| metered.wasm.len());
    let (few, more) = (bytes(100).unwrap(), bytes(200).unwrap());
    let loops = (FUNCTION_BYTES_MAX - few) * 100 / (more - few) + 100;
    println!("{} bytes become {more}; {loops} loops fit", loops_that_grow(200).len());
    let fits = admit(&loops_that_grow(loops)).unwrap();
    Validator::new_with_features(WasmFeatures::all()).validate_all(&fits.wasm).unwrap();
    let refusal = admit(&loops_that_grow(loops + 1)).unwrap_err();
    assert!(refusal.starts_with("bytes of a function body with its meter: 76"), "{refusal}");
    assert!(refusal.ends_with(" is over the limit of 7654321 (function 0)"), "{refusal}");
}
