//! Recursion with frames so large that nobody would write them down.

/// The programs, as text.
pub(crate) fn programs() -> [(&'static str, String); 3] {
    [
        ("depth_many_locals", many_locals(200)),
        ("depth_vectors", many_vectors(120)),
        ("depth_live_invariants", live_invariants(300)),
    ]
}

/// Numbers, each made of the one before, that are all needed after a call.
fn many_locals(count: usize) -> String {
    let (locals, numbers) = ("i64 ".repeat(count - 1), 1..count);
    let make = |n| format!("(local.set {n} (i64.add (local.get {}) (i64.const {n})))", n - 1);
    let need = |n| format!("(local.set 0 (i64.xor (local.get 0) (local.get {n})))");
    let (made, needed): (String, String) = (numbers.clone().map(make).collect(), numbers.map(need).collect());
    format!(
        r#"(module (global $g (mut i64) (i64.const 0))
            (func $f (param i64) (local {locals}) {made} (call $f (local.get {})) {needed} (global.set $g (local.get 0)))
            (func (export "_start") (call $f (i64.const 1))))"#,
        count - 1,
    )
}

/// The same with vectors.
fn many_vectors(count: usize) -> String {
    let (locals, numbers) = ("v128 ".repeat(count - 1), 1..count);
    let make = |n| format!("(local.set {n} (i64x2.add (local.get {}) (local.get 0)))", n - 1);
    let need = |n| format!("(local.set 0 (v128.xor (local.get 0) (local.get {n})))");
    let (made, needed): (String, String) = (numbers.clone().map(make).collect(), numbers.map(need).collect());
    format!(
        r#"(module
            (func $f (param v128) (result v128) (local {locals}) {made}
                (local.set 0 (call $f (local.get {}))) {needed} (local.get 0))
            (func (export "_start") (drop (call $f (v128.const i64x2 1 2)))))"#,
        count - 1,
    )
}

/// Products that are the same in each round of a loop, which a compiler may make before it and keep on the stack.
fn live_invariants(count: usize) -> String {
    let product = |n| format!("(i64.mul (local.get $a) (i64.add (local.get $a) (i64.const {})))", 12_345 + 7_919 * n);
    let mix = |n| format!("(local.set $s (i64.add (i64.rotl (local.get $s) (i64.const 1)) {}))", product(n));
    let mixed: String = (0..count).map(mix).collect();
    format!(
        r#"(module (global $g (mut i64) (i64.const 0))
            (func $f (param $a i64) (param $n i32) (local $s i64)
                (loop $l
                    {mixed}
                    (call $f (local.get $s) (i32.const 2))
                    (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (global.set $g (local.get $s)))
            (func (export "_start") (call $f (i64.const 3) (i32.const 2))))"#
    )
}
