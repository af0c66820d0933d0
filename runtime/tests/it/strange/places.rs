//! Everything that traps, in every place: what a compiler knows of a trap beforehand must not change what was counted before it.

use std::fmt::Write;

use super::everywhere::{Compared, Everywhere};
use crate::golden::is_long;
use crate::oracle::modules::word;

/// Modules in a test run; with `ADIT_LONG` set, every one.
const MODULES: usize = 10;

/// Memories and tables, which decide what is known before.
const SHAPES: [&str; 4] = [
    r#"(memory (export "memory") 1 1) (table $t (export "table") 3 3 funcref)"#,
    r#"(memory (export "memory") 1) (table $t (export "table") 3 funcref)"#,
    r#"(memory (export "memory") 1 65536) (table $t (export "table") 3 100000 funcref)"#,
    r#"(memory (export "memory") 0 0) (table $t (export "table") 0 0 funcref)"#,
];

/// What traps and would make an i32.
const VALUES: &[&str] = &[
    "(i32.div_s (i32.const 7) (i32.const 0))",
    "(i32.div_u (local.get $n) (i32.const 0))",
    "(i32.rem_s (local.get $n) (global.get $zero))",
    "(i32.wrap_i64 (i64.rem_u (i64.const 7) (i64.const 0)))",
    "(i32.div_s (i32.const 0x80000000) (i32.const -1))",
    "(i32.wrap_i64 (i64.div_s (i64.const 0x8000000000000000) (i64.extend_i32_s (i32.sub (global.get $zero) (i32.const 1)))))",
    "(i32.trunc_f32_s (f32.const nan))",
    "(i32.trunc_f64_u (f64.const -1))",
    "(i32.wrap_i64 (i64.trunc_f64_s (f64.const 1e30)))",
    "(i32.trunc_f64_s (f64.div (f64.convert_i32_s (global.get $zero)) (f64.const 0)))",
    "(i32.wrap_i64 (i64.trunc_f32_u (f32.sqrt (f32.const -1))))",
    "(i32.load (i32.const 65536))",
    "(i32.load8_s offset=65536 (i32.const 0))",
    "(i32.load8_u (i32.const -1))",
    "(i32.load16_u offset=1 (i32.const 65535))",
    "(i32.load offset=0x7fffffff (i32.const -1))",
    "(i32.load offset=0x7ffffff0 (i32.const 0x80000000))",
    "(i32.load offset=0x80000000 (i32.const 0))",
    "(i32.load offset=0x80000000 (i32.const 0x7fffffff))",
    "(i32.load offset=0xc0000000 (i32.const 0xc0000000))",
    "(i32.load offset=0xfffffffc (i32.const 0))",
    "(i32.load offset=0xffffffff (i32.const -1))",
    "(i32.load offset=0xffffffff (global.get $zero))",
    "(i32.load offset=0x2000000 (i32.const -1))",
    "(i32.load offset=0x1fffffe (i32.const -1))",
    "(i32.load offset=65533 (global.get $zero))",
    "(i32.load (i32.sub (global.get $zero) (i32.const 4)))",
    "(i32.wrap_i64 (i64.load32_u offset=65533 (i32.const 0)))",
    "(i32.wrap_i64 (i64.load (i32.const 65529)))",
    "(i32x4.extract_lane 2 (v128.load (i32.const 65521)))",
    "(i32x4.extract_lane 0 (v128.load32_splat (i32.const 65536)))",
    "(i16x8.extract_lane_s 0 (v128.load8x8_u offset=65536 (i32.const 1)))",
    "(i8x16.extract_lane_s 1 (v128.load16_lane offset=65535 1 (i32.const 0) (v128.const i64x2 1 2)))",
    "(i32.reinterpret_f32 (f32.load (i32.const 65535)))",
    "(i32.trunc_sat_f64_s (f64.load offset=65535 (global.get $zero)))",
    "(ref.is_null (table.get $t (i32.const 3)))",
    "(ref.is_null (table.get $t (i32.const -1)))",
    "(ref.is_null (table.get $t (i32.sub (global.get $zero) (i32.const 1))))",
    "(call_indirect $t (result i32) (i32.const 3))",
    "(call_indirect $t (result i32) (i32.const 0))",
    "(call_indirect $t (result i32) (i32.const 1))",
    "(call_indirect $t (result i32) (i32.add (global.get $zero) (i32.const 3)))",
    "(call $traps (local.get $n))",
    "(block (result i32) (unreachable))",
    "(if (result i32) (local.get $n) (then (unreachable)) (else (unreachable)))",
    "(loop (result i32) (unreachable))",
];

/// What is done with such a value.
const USES: &[&str] = &[
    "(drop {v})",
    "(global.set $g {v})",
    "(global.set $g (i32.add (i32.add {v} (i32.const 1)) (i32.const 2)))",
    "(global.set $g (i32.rem_u {v} (i32.const 8)))",
    "(global.set $g (i32.sub (global.get $g) (i32.sub (i32.const 0) {v})))",
    "(if {v} (then {w} (global.set $g (i32.const 5))))",
    "(if (i32.eqz {v}) (then (global.set $g (i32.const 6)) {w}) (else {w} (unreachable)))",
    "(block $x {w} (br_if $x {v}) {w} (global.set $g (i32.const 7)))",
    "(block $x (block $y {w} (br_table $x $y $x {v})) {w} (unreachable))",
    "(global.set $g (select (i32.const 8) (local.get $n) {v}))",
    "(global.set $g (i32.load8_u offset=9 {v}))",
    "(i32.store offset=10 (i32.and {v} (i32.const 255)) (local.get $n))",
    "(i32.store offset=16 (i32.const 0) {v})",
    "(global.set $g (call $id {v}))",
    "(local.set $m {v}) {w} (global.set $g (local.get $m))",
    "(local.set $m {v}) (loop $x {w} (local.set $n (i32.add (local.get $n) (i32.mul (local.get $m) (i32.const 3)))) (br_if $x (i32.lt_u (local.get $n) (i32.const 9))))",
    "(global.set $g (i32x4.extract_lane 1 (i32x4.add (i32x4.splat {v}) (i32x4.splat (local.get $n)))))",
    "(global.set $g (i32.trunc_sat_f64_s (f64.sqrt (f64.convert_i32_u {v}))))",
    "(drop (memory.grow (i32.and {v} (i32.const 0))))",
    "(memory.fill (i32.const 0) {v} (i32.const 0))",
    "(global.set $g (i32.add {v} {v}))",
    "(return (drop {v}))",
];

/// What traps and makes nothing.
const STATEMENTS: &[&str] = &[
    "(unreachable)",
    "(i32.store (i32.const 65536) (local.get $n))",
    "(i32.store8 offset=65536 (i32.const 0) (i32.const 1))",
    "(i64.store offset=65533 (global.get $zero) (i64.const 1))",
    "(i32.store offset=0xffffffff (i32.const -1) (i32.const 1))",
    "(i32.store16 offset=0x80000000 (i32.const 0x7fffffff) (i32.const 1))",
    "(i32.store offset=0xfffffff0 (global.get $zero) (i32.const 1))",
    "(f64.store (i32.const 65535) (f64.sqrt (f64.const -2)))",
    "(v128.store (i32.const 65535) (f32x4.sqrt (v128.const f32x4 -1 0 1 2)))",
    "(v128.store64_lane 1 (i32.const 65529) (v128.const i64x2 1 2))",
    "(i32.store (i32.const 65536) (i32.const 1)) (i32.store (i32.const 65536) (i32.const 2))",
    "(i32.store (i32.const 65536) (i32.const 1)) {w} (i32.store (i32.const 65536) (i32.const 2))",
    "(memory.fill (i32.const 1) (i32.const 0) (i32.const 65536))",
    "(memory.copy (i32.const 0) (i32.const 1) (i32.const 65536))",
    "(memory.init $d (i32.const 0) (i32.const 1) (i32.const 3))",
    "(table.set $t (i32.const 3) (ref.null func))",
    "(table.set $t (i32.sub (global.get $zero) (i32.const 1)) (ref.func $none))",
    "(table.fill $t (i32.const 1) (ref.null func) (i32.const 3))",
    "(table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 3))",
    "(table.init $t $e (i32.const 0) (i32.const 1) (i32.const 3))",
    "(call_indirect $t (i32.const 1))",
    "(call_indirect $t (param i32) (local.get $n) (i32.const 0))",
    "(call $none) (unreachable)",
    "(loop (call $none) (unreachable))",
    "(block $x (loop $l (br_if $x (i32.eqz (i32.const 1))) (br $l (unreachable))))",
];

/// Where it is: `{t}` is the trap, `{w}` is work.
const PLACES: &[&str] = &[
    "{t}",
    "{w} {t} {w}",
    "(if (local.get $n) (then {w} {t}))",
    "(if (i32.eqz (local.get $n)) (then) (else {w} {t}))",
    "(if (local.get $n) (then {w} {t}) (else {w} {w} {t}))",
    "(if (local.get $n) (then {w} {t}) (else {w} {w} (unreachable)))",
    "(block $p {w} (br_if $p (i32.eqz (local.get $n))) {t})",
    "(block $p (block $q (br_if $q (local.get $n)) (br $p)) {w} {t})",
    "(block $p (block $q (block $r (br_table $q $r $p (local.get $n))) {w} {t}) {w} {w} {t})",
    "(block $p (block $q (br_table $q $p (i32.const 0))) {w} {t})",
    "(loop $p (if (i32.eq (local.get $n) (i32.const 5)) (then {w} {t})) (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $p (i32.lt_u (local.get $n) (i32.const 9))))",
    "(loop $p (br_if $p (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 11))) {w} {t})",
    "(loop $p {w} {t} (br_if $p (i32.lt_u (local.tee $m (i32.add (local.get $m) (i32.const 1))) (i32.const 5))))",
    "(loop $p {w} (loop $q (br_if $q (i32.and (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3))) {t} (br_if $p (i32.lt_u (local.get $n) (i32.const 40)))))",
    "(call $none) {t} (call $none)",
    "(if (local.get $n) (then (call $none) {w} {t})) {w}",
    "(if (local.get $n) (then (drop (memory.grow (i32.const 0))) {w} {t})) {w}",
    "(global.set $g (block $p (result i32) {w} (drop (br_if $p (i32.const 3) (i32.eqz (local.get $n)))) {t} (i32.const 4)))",
    "(block $p (loop $q (br_if $p (i32.eqz (local.get $n))) (if (i32.gt_u (local.get $n) (i32.const 3)) (then {w} {t}) (else (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $q)))) )",
    "(if (i32.const 1) (then {w} {t}))",
    "(if (i32.const 0) (then {w} {t}))",
    "(block $p (br_if $p (i32.const 0)) {w} {t})",
    "(if (local.get $n) (then (return))) {w} {t}",
    "(if (local.get $n) (then {t})) {w} (if (i32.eqz (local.get $n)) (then {t}))",
    "(block $p (block $q (br_if $q (i32.eqz (local.get $n))) {w} (br_if $p (i32.gt_u (local.get $n) (i32.const 1))) {t}) {w} {t})",
];

const WORK: &str = "(drop (i64.mul (i64.const 2) (i64.clz (i64.extend_i32_u (local.get $n))))) (drop (f64.sqrt (f64.convert_i32_s (local.get $n))))";

/// What traps, each once with each use.
fn traps() -> Vec<String> {
    let values = VALUES.iter().flat_map(|value| USES.iter().map(|used| used.replace("{v}", value)));
    values.chain(STATEMENTS.iter().map(|statement| (*statement).to_owned())).collect()
}

/// A module of functions in which a trap is in each place; and in places within places, as `seed` decides.
fn module(shape: &str, trap: &str, seed: u64) -> String {
    let mut functions = String::new();
    let nested = (0..12).map(|at| {
        let [outer, inner] = [2 * at, 2 * at + 1].map(|at| PLACES[(word(seed, at) % PLACES.len() as u64) as usize]);
        // Labels of the inner one are others.
        let inner = ["$p", "$q", "$r"].iter().fold(inner.to_owned(), |text, label| text.replace(label, &format!("{label}_in")));
        outer.replace("{t}", &inner)
    });
    for (at, place) in PLACES.iter().map(|place| (*place).to_owned()).chain(nested).enumerate() {
        let body = place.replace("{t}", trap).replace("{w}", WORK);
        write!(
            functions,
            r#"(func $f{at} (param $n i32) (local $m i32) {body})
               (func (export "f{at} 0") (call $f{at} (i32.const 0))) (func (export "f{at} 1") (call $f{at} (i32.const 1)))
               (func (export "f{at} 2") (call $f{at} (i32.const 2)))"#
        )
        .unwrap();
    }
    format!(
        r#"(module {shape} (data $d "xyz") (elem $e func $none $none $none)
            (global $zero (export "zero") (mut i32) (i32.const 0)) (global $g (export "g") (mut i32) (i32.const 0))
            (func $none) (func $id (param i32) (result i32) (local.get 0))
            (func $traps (param i32) (result i32) {} (i32.div_u (local.get 0) (i32.const 0)))
            (func (export "begin") (if (table.size $t) (then (table.set $t (i32.const 0) (ref.func $none)))))
            {functions})"#,
        WORK.replace("$n", "0")
    )
}

fn check(everywhere: &Everywhere, index: usize, traps: &[String]) -> Compared {
    let (trap, shape) = (&traps[index / SHAPES.len()], SHAPES[index % SHAPES.len()]);
    everywhere.check_text(&format!("{index}: {trap} in {shape}"), &module(shape, trap, index as u64))
}

#[test]
fn traps_are_paid_for_exactly_in_every_place() {
    let (everywhere, traps) = (Everywhere::as_long_as_may_be(), traps());
    let all = traps.len() * SHAPES.len();
    let step = if is_long() { 1 } else { all.div_ceil(MODULES) };
    let mut seen = Compared::default();
    for index in (0..all).step_by(step) {
        let compared = check(&everywhere, index, &traps);
        (seen.calls, seen.traps) = (seen.calls + compared.calls, seen.traps + compared.traps);
    }
    println!("{seen:?} of {all} modules");
    assert!(seen.traps > seen.calls / 4, "{seen:?}");
}

/// The block that ends a round and does not go on to the next goes on behind the loop, also where a repeated loop is left from each of its
/// copies.
#[test]
fn trap_at_the_end_of_a_repeated_loop_costs_what_stands_behind_the_loop() {
    let text = r#"(module (memory (export "memory") 1)
        (func (export "f") (local $n i32)
            (loop $l
                (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 5)))
                (drop (i32.load (i32.const 65536))))
            (drop (i32.const 4))))"#;
    let compared = Everywhere::few().check_text("behind a loop", text);
    assert_eq!(compared.traps, 1);
}
