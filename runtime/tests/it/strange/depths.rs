//! Deep calls of functions with frames of every make: the meter's limit comes before the end of the native stack, under every compiler.

use super::everywhere::Everywhere;
use crate::golden::is_long;

/// Values of one kind that are all alive across a call.
const ALIVE: usize = 240;

/// What makes a value of a kind of `$a: i64`, `$x: f64` and `$v: v128`; `#` is a number, another one each time.
const MAKERS: &[(&str, &str)] = &[
    ("i64", "(i64.add (local.get $a) (i64.const #))"),
    ("i64", "(i64.mul (local.get $a) (i64.const #))"),
    ("i64", "(i64.rotl (local.get $a) (i64.const #))"),
    ("i64", "(i64.div_u (local.get $a) (i64.const #))"),
    ("i64", "(i64.rem_s (i64.const #) (local.get $a))"),
    ("i64", "(i64.popcnt (i64.xor (local.get $a) (i64.const #)))"),
    ("i64", "(i64.load offset=# (i32.const 0))"),
    ("i64", "(i64.load32_s offset=# (i32.wrap_i64 (local.get $a)))"),
    ("i64", "(i64.add (i64.mul_wide_u (local.get $a) (i64.const #)))"),
    ("i64", "(i64.xor (i64.add128 (local.get $a) (i64.const #) (i64.const 1) (local.get $a)))"),
    ("i64", "(i64.extend_i32_u (i64.lt_s (local.get $a) (i64.const #)))"),
    ("i64", "(select (local.get $a) (i64.const #) (i64.eq (local.get $a) (i64.const #)))"),
    ("i64", "(i64.trunc_sat_f64_s (f64.mul (local.get $x) (f64.const #)))"),
    ("i64", "(i64.reinterpret_f64 (f64.add (local.get $x) (f64.const #)))"),
    ("i64", "(i64x2.extract_lane 1 (i64x2.mul (local.get $v) (i64x2.splat (i64.const #))))"),
    ("i64", "(i64.extend_i32_u (i8x16.bitmask (i8x16.eq (local.get $v) (i8x16.splat (i32.const #)))))"),
    ("i64", "(i64.add (global.get $g) (i64.const #))"),
    ("i64", "(i64.extend_i32_u (i32.add (memory.size) (i32.const #)))"),
    ("i64", "(i64.extend_i32_u (i32.add (ref.is_null (table.get $t (i32.const 1))) (i32.const #)))"),
    ("i64", "(call $leaf (i64.const #))"),
    ("i64", "(if (result i64) (i64.eq (local.get $a) (i64.const #)) (then (i64.const #)) (else (local.get $a)))"),
    ("i64", "(block (result i64) (br_if 0 (local.get $a) (i64.eqz (local.get $a))) (drop) (i64.const #))"),
    ("f64", "(f64.add (local.get $x) (f64.const #))"),
    ("f64", "(f64.sqrt (f64.mul (local.get $x) (f64.const #)))"),
    ("f64", "(f64.min (local.get $x) (f64.const #))"),
    ("f64", "(f64.nearest (f64.div (local.get $x) (f64.const #)))"),
    ("f64", "(f64.promote_f32 (f32.demote_f64 (f64.sub (local.get $x) (f64.const #))))"),
    ("f64", "(f64.convert_i64_u (i64.add (local.get $a) (i64.const #)))"),
    ("f64", "(f64.copysign (f64.const #) (local.get $x))"),
    ("f64", "(f64.load offset=# (i32.const 0))"),
    ("f64", "(f64.const #)"),
    ("f32", "(f32.mul (f32.demote_f64 (local.get $x)) (f32.const #))"),
    ("f32", "(f32.trunc (f32.convert_i64_u (i64.add (local.get $a) (i64.const #))))"),
    ("v128", "(i64x2.add (local.get $v) (i64x2.splat (i64.const #)))"),
    ("v128", "(i8x16.shuffle 0 31 2 29 4 27 6 25 8 23 10 21 12 19 14 17 (local.get $v) (v128.load offset=# (i32.const 0)))"),
    ("v128", "(i8x16.swizzle (local.get $v) (v128.load offset=# (i32.const 0)))"),
    ("v128", "(v128.const i64x2 # #)"),
    ("v128", "(f64x2.add (local.get $v) (f64x2.splat (f64.const #)))"),
    ("v128", "(f32x4.sqrt (f32x4.mul (local.get $v) (f32x4.splat (f32.const #))))"),
    ("v128", "(f64x2.pmin (local.get $v) (f64x2.splat (f64.const #)))"),
    ("v128", "(i32x4.trunc_sat_f64x2_u_zero (f64x2.mul (local.get $v) (f64x2.splat (f64.const #))))"),
    ("v128", "(i64x2.mul (local.get $v) (v128.const i64x2 # 7))"),
    ("v128", "(i8x16.shr_s (local.get $v) (i32.const #))"),
    ("v128", "(v128.load32_lane offset=# 2 (i32.const 0) (local.get $v))"),
    ("v128", "(v128.bitselect (local.get $v) (v128.const i64x2 # 1) (v128.load (i32.const 0)))"),
    ("v128", "(i32x4.replace_lane 3 (local.get $v) (i32.const #))"),
    ("v128", "(i16x8.extmul_high_i8x16_u (local.get $v) (v128.load offset=# (i32.const 8)))"),
    ("v128", "(f32x4.convert_i32x4_u (v128.load8x8_s offset=# (i32.const 0)))"),
    ("funcref", "(table.get $t (i32.and (i32.wrap_i64 (local.get $a)) (i32.const 0)))"),
    ("funcref", "(ref.func $leaf)"),
];

/// How values are kept across a call.
#[derive(Debug, Clone, Copy)]
enum Kept {
    /// Each in a local.
    Locals,
    /// On the operand stack.
    Stack,
    /// Not by the guest: they are made anew behind the call, so that a compiler may keep them.
    Anew,
    /// As before, and within a loop, before which a compiler may make them.
    Loop,
}

const WAYS: [Kept; 4] = [Kept::Locals, Kept::Stack, Kept::Anew, Kept::Loop];

fn module(ty: &str, maker: &str, kept: Kept) -> String {
    let made = |n: usize| maker.replace('#', &(1_001 + 8 * n).to_string());
    let used = match ty {
        "i64" => "(global.set $g (i64.xor (global.get $g)))",
        "f64" => "(global.set $h)",
        "f32" => "(global.set $k)",
        "v128" => "(global.set $w)",
        _ => "(global.set $r)",
    };
    // What is used so is on the stack; `i64.xor` wants its other operand first.
    let used = used.replace("(i64.xor (global.get $g))", "(i64.xor (i64.rotl (global.get $g) (i64.const 1)))");
    let call = "(call $f (local.get $a) (local.get $x) (local.get $v))";
    let each = |each: &dyn Fn(usize) -> String| (0..ALIVE).map(each).collect::<String>();
    let (locals, body) = match kept {
        Kept::Locals => (
            format!("(local {})", format!("{ty} ").repeat(ALIVE)),
            format!(
                "{} {call} {}",
                each(&|n| format!("(local.set {} {})", n + 3, made(n))),
                each(&|n| format!("(local.get {}) {used}", n + 3))
            ),
        ),
        Kept::Stack => (String::new(), format!("{} {call} {}", each(&made), used.repeat(ALIVE))),
        Kept::Anew => {
            let all = each(&|n| format!("{} {used}", made(n)));
            (String::new(), format!("{all} {call} {all}"))
        }
        Kept::Loop => {
            let all = each(&|n| format!("{} {used}", made(n)));
            (
                "(local $i i32)".to_owned(),
                format!(
                    "(loop $l {all} {call} {all} (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2))))"
                ),
            )
        }
    };
    format!(
        r#"(module (memory (export "memory") 1) (table $t 2 funcref) (elem declare func $leaf)
            (global $g (export "g") (mut i64) (i64.const 0)) (global $h (export "h") (mut f64) (f64.const 0))
            (global $k (export "k") (mut f32) (f32.const 0)) (global $w (export "w") (mut v128) (v128.const i64x2 0 0))
            (global $r (mut funcref) (ref.null func))
            (func $leaf (param i64) (result i64) (i64.add (local.get 0) (global.get $g)))
            (func $f (param $a i64) (param $x f64) (param $v v128) {locals} {body})
            (func (export "go") (call $f (i64.const 5) (f64.const 3) (v128.const i64x2 9 8))))"#
    )
}

#[test]
fn native_stack_holds_whatever_is_alive_across_a_call() {
    let everywhere = Everywhere::as_long_as_may_be();
    let all = MAKERS.iter().flat_map(|maker| WAYS.map(|kept| (maker, kept))).enumerate();
    for (_, ((ty, maker), kept)) in all.filter(|(at, _)| is_long() || at % 17 == 0) {
        everywhere.check_depth(&format!("{maker} kept in {kept:?}"), &module(ty, maker, kept), "go");
    }
}
