//! Operators one by one: how many nanoseconds a unit of fuel takes in a loop of nothing else. Calibration fits classes to programs as
//! people write them; this looks for the operator of which a loop is paid too little for.

use adit_protocol::{BlobRef, ByteCount, Fuel, JobSpec};
use adit_runtime::lab::{Lab, OptLevel, Options, Strategy, config};
use anyhow::{Context, Result};

use super::program::into_anyhow;
use crate::figure::median;
use crate::plan::Plan;

/// What one run may use: some ten milliseconds for most.
const FUEL: u64 = 10_000_000;
/// What the dearest may take.
const WALL_MS: u64 = 10_000;
const MEMORY_BYTES: u64 = 64 << 20;
/// How often an operator stands in its loop.
const COPIES: usize = 8;
/// An operator that takes so many times what the middle one takes is marked.
const MARKED: f64 = 10.0;

/// What each loop consists of, as text.
const LOOPS: &[(&str, &str)] = &[
    ("nothing", ""),
    ("i32.add", "(local.set $i (i32.add (local.get $i) (i32.const 3)))"),
    ("i64.add", "(local.set $n (i64.add (local.get $n) (local.get $n)))"),
    ("i64.mul", "(local.set $n (i64.mul (local.get $n) (i64.const 0x5851f42d4c957f2d)))"),
    ("i32.div_s", "(local.set $i (i32.div_s (i32.const 0x7fffffff) (i32.or (local.get $i) (i32.const 1))))"),
    ("i32.rem_u", "(local.set $i (i32.rem_u (i32.const 0x7fffffff) (i32.or (local.get $i) (i32.const 1))))"),
    ("i64.div_s", "(local.set $n (i64.div_s (i64.const 0x7fffffffffffffff) (i64.or (local.get $n) (i64.const 1))))"),
    ("i64.rem_s by -1", "(local.set $n (i64.rem_s (local.get $n) (i64.const -1)))"),
    ("i64.popcnt, i64.clz", "(local.set $n (i64.add (i64.popcnt (local.get $n)) (i64.clz (local.get $n))))"),
    ("i64.rotl", "(local.set $n (i64.rotl (local.get $n) (local.get $n)))"),
    ("i64.extend_i32_s", "(local.set $n (i64.extend_i32_s (i32.wrap_i64 (local.get $n))))"),
    ("i64.mul_wide_u", "(local.set $n (i64.xor (i64.mul_wide_u (local.get $n) (local.get $n))))"),
    ("i64.mul_wide_s", "(local.set $n (i64.xor (i64.mul_wide_s (local.get $n) (local.get $n))))"),
    ("i64.add128", "(local.set $n (i64.xor (i64.add128 (local.get $n) (local.get $n) (i64.const 1) (local.get $n))))"),
    ("select", "(local.set $n (select (local.get $n) (i64.const 5) (i32.and (local.get $i) (i32.const 1))))"),
    ("f32.add", "(local.set $y (f32.add (local.get $y) (f32.const 1)))"),
    ("f64.add", "(local.set $x (f64.add (local.get $x) (f64.const 1)))"),
    ("f64.mul", "(local.set $x (f64.mul (local.get $x) (f64.const 1.0000001)))"),
    (
        "f64.mul to a subnormal",
        "(global.set $x (f64.mul (f64.const 0x1p-1040) (f64.add (global.get $x) (f64.const 0.5))))",
    ),
    ("f64.mul of a subnormal", "(local.set $x (f64.sub (f64.mul (local.get $x) (f64.const 0.5)) (f64.const 0x1p-1070)))"),
    ("f64.div", "(local.set $x (f64.div (f64.const 3) (local.get $x)))"),
    ("f64.sqrt", "(local.set $x (f64.sqrt (f64.add (local.get $x) (f64.const 3))))"),
    ("f64.nearest", "(local.set $x (f64.nearest (local.get $x)))"),
    ("f64.min", "(local.set $x (f64.min (local.get $x) (f64.const 3)))"),
    ("f64.copysign", "(local.set $x (f64.copysign (local.get $x) (global.get $x)))"),
    ("f64.abs, f64.neg", "(local.set $x (f64.neg (f64.abs (local.get $x))))"),
    ("f64.lt", "(local.set $i (i32.add (local.get $i) (f64.lt (local.get $x) (f64.const 3))))"),
    ("i64.trunc_sat_f64_u", "(local.set $n (i64.trunc_sat_f64_u (f64.convert_i64_u (local.get $n))))"),
    ("i32.trunc_sat_f32_s", "(local.set $i (i32.trunc_sat_f32_s (f32.convert_i32_s (local.get $i))))"),
    ("i64.trunc_f64_s", "(local.set $n (i64.trunc_f64_s (f64.convert_i32_s (i32.wrap_i64 (local.get $n)))))"),
    ("f32.demote_f64", "(local.set $x (f64.promote_f32 (f32.demote_f64 (local.get $x))))"),
    ("i64.reinterpret_f64", "(local.set $n (i64.reinterpret_f64 (f64.reinterpret_i64 (local.get $n))))"),
    ("global.set", "(global.set $n (i64.add (global.get $n) (i64.const 1)))"),
    ("global.set of v128", "(global.set $v (v128.not (global.get $v)))"),
    ("i64.load", "(local.set $n (i64.load (i32.wrap_i64 (i64.and (local.get $n) (i64.const 7)))))"),
    ("i64.store", "(i64.store (i32.const 64) (local.get $n))"),
    ("i64.load after i64.store", "(i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))"),
    (
        "the same over two lines",
        "(i64.store offset=60 (i32.const 0) (i64.add (i64.load offset=60 (i32.const 0)) (i64.const 1)))",
    ),
    (
        "the same over two pages",
        "(i64.store offset=4092 (i32.const 0) (i64.add (i64.load offset=4092 (i32.const 0)) (i64.const 1)))",
    ),
    ("i64.load after i32.store8", "(i32.store8 (i32.const 9) (local.get $i)) (local.set $n (i64.load (i32.const 4)))"),
    ("f64.store of a sum", "(f64.store (i32.const 8) (f64.add (f64.load (i32.const 8)) (f64.const 1)))"),
    (
        "v128.store of f32x4.add",
        "(v128.store (i32.const 16) (f32x4.add (v128.load (i32.const 16)) (v128.const f32x4 1 2 3 4)))",
    ),
    ("v128.store of f64x2.add", "(v128.store (i32.const 16) (f64x2.add (v128.load (i32.const 16)) (v128.const f64x2 1 2)))"),
    ("br_if", "(block (br_if 0 (i32.and (local.get $i) (i32.const 1))) (local.set $n (i64.const 3)))"),
    ("if", "(if (i32.and (local.get $i) (i32.const 1)) (then (local.set $n (i64.const 3))) (else (local.set $n (i64.const 4))))"),
    (
        "br_if that no one foresees",
        "(local.set $n (i64.add (i64.mul (local.get $n) (i64.const 0x5851f42d4c957f2d)) (i64.const 1)))
         (if (i64.lt_s (local.get $n) (i64.const 0)) (then (global.set $n (local.get $n))) (else (global.set $x (local.get $x))))",
    ),
    (
        "br_table",
        "(block (block (block (br_table 0 1 2 (i32.and (local.get $i) (i32.const 1))))) (local.set $n (i64.const 3)))",
    ),
    (
        "br_table that no one foresees",
        "(local.set $n (i64.add (i64.mul (local.get $n) (i64.const 0x5851f42d4c957f2d)) (i64.const 1)))
         (block (block (block (block (block
             (br_table 0 1 2 3 4 (i32.wrap_i64 (i64.shr_u (local.get $n) (i64.const 62)))))
             (global.set $n (local.get $n))) (global.set $x (local.get $x))) (global.set $v (local.get $w)))
             (global.set $n (i64.const 1)))",
    ),
    ("call", "(call $nothing)"),
    ("call of 128 parameters", "(call $many PARAMETERS)"),
    ("call of 16 results", "(call $results) DROPS"),
    ("call_indirect", "(call_indirect $functions (i32.and (local.get $i) (i32.const 7)))"),
    (
        "call_indirect that no one foresees",
        "(local.set $n (i64.add (i64.mul (local.get $n) (i64.const 0x5851f42d4c957f2d)) (i64.const 1)))
         (call_indirect $functions (i32.wrap_i64 (i64.shr_u (local.get $n) (i64.const 54))))",
    ),
    ("ref.func", "(global.set $r (ref.func $nothing))"),
    ("ref.null", "(global.set $r (ref.null func))"),
    ("ref.is_null", "(local.set $i (i32.add (local.get $i) (ref.is_null (global.get $r))))"),
    ("select of references", "(global.set $r (select (result funcref) (global.get $r) (ref.null func) (local.get $i)))"),
    ("table.get", "(global.set $r (table.get $table (i32.and (local.get $i) (i32.const 1023))))"),
    ("table.get, never written", "(global.set $r (table.get $functions (i32.and (local.get $i) (i32.const 1023))))"),
    ("table.set of null", "(table.set $table (i32.and (local.get $i) (i32.const 1023)) (ref.null func))"),
    ("table.set", "(table.set $table (i32.and (local.get $i) (i32.const 1023)) (global.get $r))"),
    ("table.size", "(local.set $i (i32.add (local.get $i) (table.size $table)))"),
    ("table.grow by 0", "(drop (table.grow $table (ref.null func) (i32.const 0)))"),
    ("table.grow that fails", "(drop (table.grow $table (ref.null func) (i32.const 200000)))"),
    ("table.fill of 1", "(table.fill $table (i32.const 0) (ref.null func) (i32.const 1))"),
    ("table.fill of 1000", "(table.fill $table (i32.const 0) (global.get $r) (i32.const 1000))"),
    ("table.copy of 1", "(table.copy $table $table (i32.const 0) (i32.const 1) (i32.const 1))"),
    ("table.copy of 1000", "(table.copy $table $table (i32.const 0) (i32.const 1) (i32.const 1000))"),
    ("table.copy of 1000, never written", "(table.copy $table $functions (i32.const 0) (i32.const 0) (i32.const 1000))"),
    ("table.init of 1", "(table.init $table $elements (i32.const 0) (i32.const 0) (i32.const 1))"),
    ("table.init of 8", "(table.init $table $elements (i32.const 0) (i32.const 0) (i32.const 8))"),
    ("elem.drop", "(elem.drop $dropped)"),
    ("memory.size", "(local.set $i (i32.add (local.get $i) (memory.size)))"),
    ("memory.grow by 0", "(drop (memory.grow (i32.const 0)))"),
    ("memory.grow that fails", "(drop (memory.grow (i32.const 65537)))"),
    ("memory.fill of 0", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))"),
    ("memory.fill of 0, at memory's end", "(memory.fill (i32.shl (memory.size) (i32.const 16)) (i32.const 0) (i32.const 0))"),
    ("memory.fill of 1", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 1))"),
    ("memory.fill of 4000", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 4000))"),
    ("memory.copy of 1", "(memory.copy (i32.const 0) (i32.const 100) (i32.const 1))"),
    ("memory.copy of 64", "(memory.copy (i32.const 0) (i32.const 100) (i32.const 64))"),
    ("memory.copy of 4000", "(memory.copy (i32.const 0) (i32.const 8000) (i32.const 4000))"),
    ("memory.copy of 4000 backwards", "(memory.copy (i32.const 1) (i32.const 0) (i32.const 4000))"),
    ("memory.init of 8", "(memory.init $bytes (i32.const 0) (i32.const 0) (i32.const 8))"),
    ("data.drop", "(data.drop $dropped)"),
    ("i8x16.shuffle", "(local.set $w (i8x16.shuffle 1 20 3 22 5 24 7 26 9 28 11 30 13 0 15 18 (local.get $w) (global.get $v)))"),
    ("i8x16.splat", "(local.set $w (i8x16.splat (local.get $i))) (local.set $i (i8x16.extract_lane_u 3 (local.get $w)))"),
    (
        "i32x4.trunc_sat_f32x4_u, unsigned ones back",
        "(local.set $w (i32x4.trunc_sat_f32x4_u (f32x4.convert_i32x4_u (local.get $w))))",
    ),
    (
        "f32x4.mul, its NaNs seen",
        "(local.set $w (i32x4.add (local.get $w) (f32x4.mul (local.get $w) (local.get $w))))",
    ),
    ("v128.bitselect", "(local.set $w (v128.bitselect (local.get $w) (global.get $v) (local.get $w)))"),
    ("v128.any_true", "(local.set $i (i32.add (local.get $i) (v128.any_true (local.get $w))))"),
    ("v128.load8_splat", "(local.set $w (v128.xor (local.get $w) (v128.load8_splat (i32.const 5))))"),
    ("v128.load32x2_s", "(local.set $w (v128.xor (local.get $w) (v128.load32x2_s (i32.const 5))))"),
    ("v128.load16_lane", "(local.set $w (v128.load16_lane 3 (i32.const 5) (local.get $w)))"),
    ("v128.store8_lane", "(v128.store8_lane 3 (i32.const 5) (local.get $w))"),
];

/// Operators from one vector to another.
const OF_ONE_VECTOR: &[&str] = &[
    "v128.not",
    "i8x16.abs",
    "i8x16.neg",
    "i8x16.popcnt",
    "i16x8.abs",
    "i16x8.neg",
    "i32x4.abs",
    "i32x4.neg",
    "i64x2.abs",
    "i64x2.neg",
    "i16x8.extadd_pairwise_i8x16_s",
    "i16x8.extadd_pairwise_i8x16_u",
    "i32x4.extadd_pairwise_i16x8_s",
    "i32x4.extadd_pairwise_i16x8_u",
    "i16x8.extend_low_i8x16_s",
    "i16x8.extend_high_i8x16_u",
    "i32x4.extend_high_i16x8_s",
    "i64x2.extend_low_i32x4_u",
    "i32x4.trunc_sat_f32x4_s",
    "i32x4.trunc_sat_f32x4_u",
    "f32x4.convert_i32x4_s",
    "f32x4.convert_i32x4_u",
    "i32x4.trunc_sat_f64x2_s_zero",
    "i32x4.trunc_sat_f64x2_u_zero",
    "f64x2.convert_low_i32x4_s",
    "f64x2.convert_low_i32x4_u",
    "f32x4.demote_f64x2_zero",
    "f64x2.promote_low_f32x4",
    "f32x4.ceil",
    "f32x4.nearest",
    "f64x2.floor",
    "f64x2.trunc",
    "f32x4.abs",
    "f64x2.neg",
    "f32x4.sqrt",
    "f64x2.sqrt",
];
/// Operators from two vectors to one.
const OF_TWO_VECTORS: &[&str] = &[
    "v128.and",
    "v128.andnot",
    "i8x16.add",
    "i8x16.add_sat_s",
    "i8x16.sub_sat_u",
    "i8x16.min_s",
    "i8x16.max_u",
    "i8x16.avgr_u",
    "i8x16.eq",
    "i8x16.lt_u",
    "i8x16.swizzle",
    "i8x16.narrow_i16x8_s",
    "i16x8.narrow_i32x4_u",
    "i16x8.mul",
    "i16x8.q15mulr_sat_s",
    "i16x8.extmul_low_i8x16_s",
    "i16x8.extmul_high_i8x16_u",
    "i16x8.ge_u",
    "i32x4.mul",
    "i32x4.dot_i16x8_s",
    "i32x4.extmul_low_i16x8_s",
    "i32x4.max_u",
    "i32x4.gt_u",
    "i64x2.add",
    "i64x2.mul",
    "i64x2.extmul_low_i32x4_s",
    "i64x2.extmul_high_i32x4_u",
    "i64x2.eq",
    "i64x2.lt_s",
    "f32x4.add",
    "f32x4.mul",
    "f32x4.div",
    "f32x4.min",
    "f32x4.pmax",
    "f32x4.lt",
    "f64x2.sub",
    "f64x2.mul",
    "f64x2.div",
    "f64x2.max",
    "f64x2.pmin",
    "f64x2.ne",
];
/// Shifts of vectors.
const SHIFTS: &[&str] = &[
    "i8x16.shl",
    "i8x16.shr_s",
    "i8x16.shr_u",
    "i16x8.shl",
    "i16x8.shr_s",
    "i32x4.shr_u",
    "i32x4.shr_s",
    "i64x2.shl",
    "i64x2.shr_s",
    "i64x2.shr_u",
];
/// Operators from a vector to a number.
const OF_A_VECTOR: &[&str] = &[
    "i8x16.bitmask",
    "i16x8.bitmask",
    "i32x4.bitmask",
    "i64x2.bitmask",
    "i8x16.all_true",
    "i16x8.all_true",
    "i32x4.all_true",
    "i64x2.all_true",
    "i8x16.extract_lane_s 7",
    "i16x8.extract_lane_u 3",
    "i32x4.extract_lane 1",
];

/// Prints what a unit of fuel takes in each loop, the dearest first; with `json` an object for each.
pub(crate) fn scan(plan: &Plan, json: bool) -> Result<()> {
    let mut lab = Lab::new(&config(Strategy::Cranelift, OptLevel::Speed)).map_err(into_anyhow)?;
    let mut found = Vec::new();
    for (name, code) in loops() {
        found.push((measure(&mut lab, &code, plan.rounds).with_context(|| name.clone())?, name));
    }
    let middle = median(found.iter().map(|(ns, _)| *ns).collect());
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (ns, name) in found {
        if json {
            println!("{}", serde_json::json!({ "loop": name, "ns_per_fuel": ns, "of_the_middle": ns / middle }));
        } else {
            let mark = if ns > MARKED * middle { "  (!)" } else { "" };
            println!("{ns:>9.2} ns per fuel {:>7.2} x  {name}{mark}", ns / middle);
        }
    }
    Ok(())
}

fn loops() -> impl Iterator<Item = (String, String)> {
    let written = LOOPS.iter().map(|(name, code)| ((*name).to_owned(), (*code).to_owned()));
    let of = |names: &'static [&'static str], code: fn(&str) -> String| names.iter().map(move |op| ((*op).to_owned(), code(op)));
    written
        .chain(of(OF_ONE_VECTOR, |op| format!("(local.set $w ({op} (local.get $w)))")))
        .chain(of(OF_TWO_VECTORS, |op| format!("(local.set $w ({op} (local.get $w) (global.get $v)))")))
        .chain(of(SHIFTS, |op| format!("(local.set $w ({op} (local.get $w) (local.get $i)))")))
        .chain(of(OF_A_VECTOR, |op| format!("(local.set $i (i32.add (local.get $i) ({op} (local.get $w))))")))
}

/// The least of some rounds, in nanoseconds for each fuel.
fn measure(lab: &mut Lab, code: &str, rounds: usize) -> Result<f64> {
    let wasm = wat::parse_str(module(code))?;
    let program = lab.compile(&wasm, &Options::default()).map_err(into_anyhow)?;
    let mut spec = JobSpec::new(BlobRef::of(&wasm), BlobRef::of(b""));
    spec.limits.fuel = Fuel(FUEL);
    spec.limits.wall_ms = WALL_MS;
    spec.limits.memory = ByteCount(MEMORY_BYTES);
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let run = lab.run(&program, &spec, b"").map_err(into_anyhow)?.run;
        best = best.min(run.run_us as f64 * 1_000.0 / run.usage.fuel.0 as f64);
    }
    Ok(best)
}

/// A module that runs `code` until its fuel ends.
fn module(code: &str) -> String {
    let code = code.replace("PARAMETERS", &"(local.get $n)".repeat(128)).replace("DROPS", &"(drop)".repeat(16));
    let (entries, body) = ("$nothing ".repeat(1024), code.repeat(COPIES));
    let (parameters, results, values) = ("i64 ".repeat(128), "i64 ".repeat(16), "(i64.const 1)".repeat(16));
    format!(
        r#"(module (memory (export "memory") 2)
            (table $table 2048 3000 funcref) (table $functions 1024 funcref) (elem (table $functions) (i32.const 0) func {entries})
            (data $dropped "abc") (data $bytes "abcdefghijkl")
            (elem $dropped func $nothing) (elem $elements func $nothing $nothing $nothing $nothing $nothing $nothing $nothing $nothing)
            (global $r (mut funcref) (ref.null func)) (global $v (mut v128) (v128.const f64x2 1.5 2))
            (global $x (mut f64) (f64.const 1)) (global $n (mut i64) (i64.const 0))
            (func $nothing) (func $many (param {parameters})) (func $results (result {results}) {values})
            (func (export "_start") (local $i i32) (local $n i64) (local $x f64) (local $y f32) (local $w v128)
                (local.set $n (i64.const 123456789)) (local.set $x (f64.const 1.25)) (local.set $w (v128.const f32x4 1 2 3 4))
                (loop $again {body} (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $again))))"#
    )
}

#[cfg(test)]
mod tests {
    use adit_protocol::Outcome;

    use super::*;

    #[test]
    fn every_loop_is_a_guest_that_ends_by_its_fuel() {
        let mut lab = Lab::new(&config(Strategy::Cranelift, OptLevel::None)).unwrap();
        for (name, code) in loops() {
            let wasm = wat::parse_str(module(&code)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let program = lab.compile(&wasm, &Options::default()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let mut spec = JobSpec::new(BlobRef::of(&wasm), BlobRef::of(b""));
            spec.limits.fuel = Fuel(20_000);
            let run = lab.run(&program, &spec, b"").unwrap().run;
            assert_eq!(run.outcome, Outcome::OutOfFuel, "{name}: {}", run.reason);
        }
    }
}
