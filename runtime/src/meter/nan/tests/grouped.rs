//! Stores that share a test, and what keeps others from it.

use super::super::group::groups;
use super::*;

/// A function that has the address 64 in `$p` and `$q`, a NaN that it made in `$x`, infinities that it made in `$up` and `$down`, and
/// the same NaN as an `f32` in `$y`.
fn module(code: &str) -> Vec<u8> {
    let wat = format!(
        "(module
           (import \"env\" \"see\" (func $see (param f64)))
           (memory (export \"memory\") 1)
           (data (i32.const 0) \"\\40\\00\\00\\00\\f4\\ff\\00\\00\") (data (i32.const 16) \"\\00\\00\\00\\00\\00\\00\\f0\\bf\")
           (func $run (export \"run\")
             (local $p i32) (local $q i32) (local $x f64) (local $up f64) (local $down f64) (local $y f32)
             (local.set $p (i32.load (i32.const 0))) (local.set $q (i32.load (i32.const 0)))
             (local.set $x (f64.sqrt (f64.load (i32.const 16))))
             (local.set $up (f64.div (f64.const 1) (f64.load (i32.const 8))))
             (local.set $down (f64.div (f64.const -1) (f64.load (i32.const 8))))
             (local.set $y (f32.demote_f64 (f64.sqrt (f64.load (i32.const 16)))))
             {code}))"
    );
    wat::parse_str(wat).unwrap()
}

/// How many stores each group has.
fn sizes(wasm: &[u8]) -> Vec<usize> {
    let mut sizes = Vec::new();
    rewrite(wasm, |body, signatures| {
        let insertions = super::super::flow::follow(body, signatures).unwrap().solve();
        sizes.extend(groups(body, &insertions).iter().map(|group| group.stores.len()));
    });
    sizes
}

/// Arithmetic on a variable, so that a store looks at a new value.
fn twice(x: &str) -> String {
    format!("(f64.add (local.get ${x}) (local.get ${x}))")
}

fn store(offset: u32, address: &str, x: &str) -> String {
    format!("(f64.store offset={offset} {address} {})", twice(x))
}

#[test]
fn neighbours_share_a_test_where_nobody_can_see_what_is_untested() {
    let (p, q) = ("(local.get $p)", "(local.get $q)");
    let near_the_end = "(local.set $p (i32.load (i32.const 4)))";
    let reaches = |bytes: u32| format!("(drop (f64.load offset={} {p}))", bytes - 8);
    let two = [store(0, p, "x"), store(8, p, "x")].concat();
    let three = [two.as_str(), &store(16, p, "x")].concat();
    let next = "(i32.add (local.get $p) (i32.const 8))";
    let set_next = format!("(local.set $q {next}) (drop (f64.load (local.get $q)))");
    let cases: Vec<(&str, String, &[usize])> = vec![
        ("NaNs", reaches(24) + &three, &[3]),
        ("the last a NaN", reaches(24) + &store(0, p, "up") + &store(8, p, "up") + &store(16, p, "x"), &[3]),
        ("infinities of both signs", reaches(24) + &store(0, p, "up") + &store(8, p, "down") + &store(16, p, "x"), &[3]),
        ("only infinities", reaches(16) + &store(0, p, "up") + &store(8, p, "down"), &[2]),
        ("backwards", reaches(24) + &store(16, p, "x") + &store(8, p, "x") + &store(0, p, "x"), &[3]),
        (
            "more than a group may have",
            reaches(48) + &three + &store(24, p, "x") + &store(32, p, "x") + &store(40, p, "x"),
            &[4, 2],
        ),
        ("what reaches less far", reaches(16) + &three, &[2]),
        ("nothing that reaches as far", two.clone(), &[]),
        ("a trap in between", format!("{near_the_end} {two}"), &[]),
        ("the same place twice", reaches(24) + &store(0, p, "x") + &store(0, p, "down"), &[]),
        ("places that overlap", reaches(24) + &store(0, p, "x") + &store(4, p, "x"), &[]),
        (
            "places that may overlap",
            reaches(24) + "(drop (f64.load offset=8 (local.get $q)))" + &store(0, p, "x") + &store(8, q, "x"),
            &[],
        ),
        (
            "a load of what is untested",
            reaches(32) + &store(0, p, "x") + &format!("(i64.store offset=24 {p} (i64.load {p}))") + &store(8, p, "x"),
            &[],
        ),
        (
            "a load of a part of it",
            reaches(32) + &store(8, p, "x") + &format!("(i64.store offset=24 {p} (i64.load offset=4 {p}))") + &store(0, p, "x"),
            &[],
        ),
        (
            "a load beside it",
            reaches(40) + &store(8, p, "x") + &format!("(i64.store offset=32 {p} (i64.load offset=16 {p}))") + &store(0, p, "x"),
            &[2],
        ),
        (
            "a store over it",
            reaches(24) + &store(0, p, "x") + &format!("(i32.store8 offset=7 {p} (i32.const 1))") + &store(8, p, "x"),
            &[],
        ),
        ("a call", reaches(24) + &store(0, p, "x") + "(call $see (f64.load offset=64 (i32.const 0)))" + &store(8, p, "x"), &[]),
        (
            "a branch",
            reaches(24)
                + &store(0, p, "x")
                + "(if (i32.load (i32.const 0)) (then (call $see (f64.load (i32.const 64)))))"
                + &store(8, p, "x"),
            &[],
        ),
        (
            "another address in the variable",
            format!("(local.set $q {p})")
                + &reaches(16)
                + &store(0, p, "x")
                + "(local.set $p (i32.const 1024))"
                + &store(8, q, "x"),
            &[],
        ),
        (
            "the address in two variables",
            format!("(local.set $q {p})") + &reaches(16) + &store(0, p, "x") + &store(8, q, "x"),
            &[2],
        ),
        ("addresses a constant apart", reaches(8) + &set_next + &store(0, p, "x") + &store(0, "(local.get $q)", "x"), &[2]),
        ("addresses less apart", reaches(8) + &set_next + &store(4, p, "x") + &store(0, "(local.get $q)", "x"), &[]),
        ("an address in no variable", reaches(16) + &store(0, next, "x") + &store(0, p, "x"), &[]),
        ("a loop that keeps the address", reaches(16) + &format!("(loop {two})"), &[2]),
        (
            "a loop that changes it",
            reaches(16) + &format!("(loop $l {two} {near_the_end} local.get $q (local.set $q (i32.const 0)) br_if $l)"),
            &[],
        ),
        ("a block that changes it", reaches(16) + &format!("(block {near_the_end}) {two}"), &[]),
        (
            "what one arm alone accessed",
            format!("(if (i32.load (i32.const 8)) (then {}))", reaches(16)) + near_the_end + &two,
            &[],
        ),
        (
            "floats of 32 bits",
            format!(
                "{} (f32.store offset=8 {p} (f32.neg (f32.sqrt (local.get $y)))) (f32.store offset=4 {p} (f32.sqrt (local.get $y))) (f32.store {p} (f32.sqrt (local.get $y)))",
                reaches(16)
            ),
            &[2],
        ),
        (
            "floats of both sizes",
            reaches(24)
                + &two
                + &format!(
                    "(f32.store offset=16 {p} (f32.sqrt (local.get $y))) (f32.store offset=20 {p} (f32.sqrt (local.get $y)))"
                ),
            &[2, 2],
        ),
    ];
    for (what, code, expected) in cases {
        let wasm = module(&code);
        check(&wasm, what);
        assert_eq!(sizes(&wasm), expected, "{what}");
    }
}
