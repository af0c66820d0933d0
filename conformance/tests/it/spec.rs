//! The specification's suite.

use std::rc::Rc;

use adit_conformance::prepare::{Meter, Metering, Prepare, Prepared, Stops, Unchanged};
use adit_conformance::report::SpecReport;
use adit_conformance::script::{Runner, Verdict};
use adit_conformance::skips::Skips;
use adit_conformance::suite::{self, COMPILERS};
use adit_runtime::conformance::engine;
use adit_runtime::lab::tier_of;
use wasmtime::{OptLevel, Strategy};

#[test]
fn specification_tests_pass_but_for_the_reviewed_skips() {
    let skips = Skips::load().unwrap();
    for compiler in COMPILERS {
        let engine = engine(compiler.strategy, OptLevel::Speed, suite::INSTANCES_MAX).unwrap();
        let judgement =
            skips.judge(compiler.name, &suite::run(Runner { engine: &engine, prepare: &Metering { tier: tier_of(&engine) } }));
        let report = SpecReport { skips: &skips, judgement: &judgement };
        assert!(judgement.is_clean(), "{}: {report}", compiler.name);
        // Less would be a suite that was not found.
        assert!(judgement.suites.iter().map(|suite| suite.passed).sum::<usize>() > 100_000, "{report}");
    }
}

/// What each directive of a script fails with.
fn run(script: &str) -> Vec<Verdict> {
    let engine = engine(Strategy::Cranelift, OptLevel::Speed, 16).unwrap();
    Runner { engine: &engine, prepare: &Unchanged }.run(script)
}

#[track_caller]
fn assert_failures(script: &str, want: &[Option<&str>]) {
    let verdicts = run(script);
    assert_eq!(verdicts.len(), want.len(), "{verdicts:?}");
    for (verdict, want) in verdicts.iter().zip(want) {
        match (&verdict.failure, want) {
            (None, None) => {}
            (Some(failure), Some(want)) if failure.contains(want) => {}
            _ => panic!("{want:?} is expected of {verdict:?}"),
        }
    }
}

#[test]
fn wrong_results_and_wrong_ends_fail() {
    assert_failures(
        r#"(module
            (global (export "g") i32 (i32.const 7))
            (func (export "one") (result i32) (i32.const 1))
            (func (export "nan") (result f32) (f32.const nan:0x200001))
            (func (export "stop") unreachable)
            (func $down (export "down") (call $down)))
        (assert_return (invoke "one") (i32.const 1))
        (assert_return (invoke "one") (i32.const 2))
        (assert_return (invoke "nan") (f32.const nan:canonical))
        (assert_return (get "g") (i32.const 7))
        (assert_trap (invoke "stop") "unreachable")
        (assert_trap (invoke "stop") "integer divide by zero")
        (assert_trap (invoke "one") "unreachable")
        (assert_return (invoke "stop"))
        (assert_exhaustion (invoke "down") "call stack exhausted")
        (assert_return (invoke "none"))"#,
        &[
            None,
            None,
            Some("result 0"),
            Some("result 0"),
            None,
            None,
            Some("where `integer divide by zero` is expected"),
            Some("it returns"),
            Some("unreachable"),
            None,
            Some("no function `none`"),
        ],
    );
}

#[test]
fn start_functions_run_and_their_traps_are_told() {
    assert_failures(
        r#"(module
            (global $g (mut i32) (i32.const 1))
            (func (export "g") (result i32) (global.get $g))
            (func $start (global.set $g (i32.const 2)))
            (start $start))
        (assert_return (invoke "g") (i32.const 2))
        (assert_trap (module (func $start unreachable) (start $start)) "unreachable")"#,
        &[None; 3],
    );
}

#[test]
fn valid_module_is_no_invalid_one_and_a_proposal_that_is_off_is_no_fault() {
    assert_failures(
        r#"(assert_invalid (module (func (result i32) (i32.const 1))) "type mismatch")
        (assert_invalid (module (func (result i32) (i64.const 1))) "type mismatch")
        (assert_invalid (module (func $f (result i32) (return_call $f)) (func (result i32) (i64.const 1))) "type mismatch")
        (assert_malformed (module binary "\00asm" "\01\00\00\00") "unexpected end")
        (assert_malformed (module binary "\00asm" "\01\00\00") "unexpected end")
        (assert_malformed (module quote "(func") "unexpected end")"#,
        &[
            Some("accepted"),
            None,
            Some("tail calls support is not enabled"),
            Some("accepted"),
            None,
            Some("a test of the text format"),
        ],
    );
}

#[test]
fn what_needs_a_refused_module_fails_with_its_words() {
    let refused = Some("multiple memories");
    assert_failures(
        r#"(module $a (memory 1) (memory 1) (func (export "f")))
        (register "a" $a)
        (assert_return (invoke $a "f"))
        (module $b (import "a" "f" (func)))
        (assert_unlinkable (module (import "a" "g" (func))) "unknown import")
        (assert_return (invoke $b "f"))"#,
        &[refused; 6],
    );
}

#[test]
fn unlinkable_modules_are_told_from_linkable_ones() {
    assert_failures(
        r#"(module (func (export "f")))
        (register "a")
        (assert_unlinkable (module (import "a" "g" (func))) "unknown import")
        (assert_unlinkable (module (import "a" "f" (func (param i32)))) "incompatible import type")
        (assert_unlinkable (module (import "a" "f" (func (param i32)))) "unknown import")
        (assert_unlinkable (module (import "a" "f" (func))) "unknown import")"#,
        &[None, None, None, None, Some("incompatible import type"), Some("it links")],
    );
}

/// Puts this module, metered by hand, in the place of one whose start function sets a global: nothing in it runs before the word at
/// 8 is set, and `down` stops with an `unreachable` of the meter's.
const METERED: &str = r#"(module
    (memory (export "$meter") 1 1)
    (global $g (mut i32) (i32.const 1))
    (func (export "g") (result i32) (call $check) (global.get $g))
    (func (export "down") unreachable)
    (func (export "stop") unreachable)
    (func (export "$start") (call $check) (global.set $g (i32.const 2)))
    (func $check (if (i64.eqz (i64.load (i32.const 8))) (then unreachable))))"#;

#[derive(Debug)]
struct ByHand {
    /// Whether the host is told of the word at 8.
    limited: bool,
}

/// The offset of the first `unreachable`, which is the one in `down`.
#[derive(Debug)]
struct First(u32);

impl Stops for First {
    fn is_depth(&self, offset: u32, _depth: u32) -> bool {
        offset == self.0
    }
}

impl Prepare for ByHand {
    fn name(&self) -> &'static str {
        "metered by hand"
    }

    fn prepare(&self, wasm: &[u8]) -> Result<Prepared, String> {
        if !wasm.windows(2).any(|bytes| bytes == b"\x01g") {
            return Unchanged.prepare(wasm);
        }
        let wasm = wat::parse_str(METERED).unwrap();
        // A body of two bytes and no locals: `unreachable`, `end`.
        let body = wasm.windows(4).position(|bytes| bytes == [3, 0, 0, 0x0b]).unwrap();
        let words = if self.limited { vec![(8, u64::MAX)] } else { Vec::new() };
        let stops = Rc::new(First(body as u32 + 2));
        let meter = Meter { memory: "$meter".to_owned(), globals: None, words, start: Some("$start".to_owned()), stops };
        Ok(Prepared { wasm, meter: Some(meter) })
    }
}

const STARTS: &str = r#"
    (module
        (global $g (mut i32) (i32.const 1))
        (func (export "g") (result i32) (global.get $g))
        (func $start (global.set $g (i32.const 2)))
        (start $start))
    (assert_return (invoke "g") (i32.const 2))
    (assert_exhaustion (invoke "down") "call stack exhausted")
    (assert_trap (invoke "stop") "unreachable")
    (register "m")
    (assert_unlinkable (module (import "m" "$meter" (memory 1))) "unknown import")
    (assert_unlinkable (module (import "m" "$start" (func))) "unknown import")
    (assert_return (invoke "$start"))"#;

fn run_metered(limited: bool) -> Vec<Option<String>> {
    let engine = engine(Strategy::Cranelift, OptLevel::Speed, 16).unwrap();
    let runner = Runner { engine: &engine, prepare: &ByHand { limited } };
    runner.run(STARTS).into_iter().map(|verdict| verdict.failure).collect()
}

#[test]
fn metered_module_gets_its_words_before_its_start_and_hides_what_was_added() {
    let mut failures = run_metered(true);
    assert!(failures.pop().unwrap().unwrap().contains("no function `$start`"));
    assert_eq!(failures, vec![None; 7]);
}

#[test]
fn metered_module_without_its_words_does_not_start() {
    assert!(run_metered(false)[0].as_ref().unwrap().contains("`unreachable` instruction executed during instantiation"));
}
