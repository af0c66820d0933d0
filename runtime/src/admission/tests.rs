//! Admission alone, without processes: each limit at its height and one above, each proposal, each format.

use std::time::{Duration, Instant};

use super::limit::*;
use super::*;

const LIMITS: ModuleLimits = ModuleLimits { module_bytes_max: MODULE_BYTES_DEFAULT };
/// An optimised build takes at most 50 ms (`cargo xtask golden` runs this there); another is told only from one that hangs.
const REFUSAL_TIME_MAX: Duration = if cfg!(debug_assertions) { Duration::from_secs(60) } else { Duration::from_millis(50) };
/// How often time is taken, of which the least counts: other tests run at the same time.
const TRIES: usize = if cfg!(debug_assertions) { 1 } else { 5 };

/// A module with these fields and an empty command.
fn module(fields: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {fields} (func (export \"_start\")))")).unwrap()
}

/// A module whose `_start` has this body.
fn body(code: &str) -> Vec<u8> {
    wat::parse_str(format!("(module (memory 1) (func (export \"_start\") {code}))")).unwrap()
}

/// A module of raw sections.
fn raw(sections: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    for (id, content) in sections {
        bytes.push(*id);
        bytes.extend(leb(content.len() as u32));
        bytes.extend(*content);
    }
    bytes
}

fn leb(mut n: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

/// The section that exports function 0 as `_start`.
const EXPORT_START: (u8, &[u8]) = (7, b"\x01\x06_start\0\0");

#[track_caller]
fn reason(wasm: &[u8]) -> String {
    admit(wasm, &LIMITS).unwrap_err().to_string()
}

/// Why a module is refused, and how soon.
#[track_caller]
fn refusal(wasm: &[u8]) -> (Refusal, Duration) {
    let tries = (0..TRIES).map(|_| {
        let begun = Instant::now();
        (admit(wasm, &LIMITS).unwrap_err(), begun.elapsed())
    });
    tries.min_by_key(|(_, took)| *took).expect("one try is made")
}

/// Modules with `n` of what `limit` limits.
fn sample(limit: Limit, n: u64) -> Vec<u8> {
    let n = n as usize;
    let numbered = |item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<String>();
    match limit.name {
        "module bytes" => {
            let rest = module("").len() + 1 + leb(n as u32).len() + 2;
            module(&format!("(@custom \"x\" \"{}\")", "x".repeat(n - rest)))
        }
        "functions" => module(&"(func)".repeat(n - 1)),
        // A count of locals, and the end.
        "bytes of a function body" => body(&"nop ".repeat(n - 2)),
        "locals of a function" => body(&format!("(local {})", "i32 i64 ".repeat(n / 2) + &"f32".repeat(n % 2))),
        "nested blocks" => body(&("(block ".repeat(n) + &")".repeat(n))),
        "targets of a br_table" => body(&format!("(br_table {} 0 (i32.const 0))", "0 ".repeat(n))),
        // One is the command's own.
        "types" => module(&numbered(&|i| {
            let bits = |i: usize| (0..14).map(|bit| if i >> bit & 1 == 1 { " i64" } else { " i32" }).collect::<String>();
            if i == 0 { String::new() } else { format!("(type (func (param{})))", bits(i)) }
        })),
        "parameters of a type" => module(&format!("(type (func (param {})))", "i32 ".repeat(n))),
        "results of a type" => module(&format!("(type (func (result {})))", "i32 ".repeat(n))),
        "imports" => module(&r#"(import "adit_1" "progress" (func (param i64 i64)))"#.repeat(n)),
        "exports" => module(&format!("(func $f) {}", (1..n).map(|i| format!("(export \"e{i}\" (func $f))")).collect::<String>())),
        "globals" => module(&"(global i32 (i32.const 0))".repeat(n)),
        "pages of memory" => module(&format!("(memory {n})")),
        "tables" => module(&"(table 1 funcref)".repeat(n)),
        "elements of a table" => module(&format!("(table {n} funcref)")),
        "data segments" => module(&format!("(memory 1) {}", "(data (i32.const 0) \"x\")".repeat(n))),
        "element segments" => module(&format!("(table 1 funcref) {}", "(elem (i32.const 0) func)".repeat(n))),
        "elements of all segments" => module(&format!("(func $f) (elem func {}) (elem func $f)", "$f ".repeat(n - 1))),
        "bytes of a constant expression" => {
            // 5 bytes each but for the first and the end; one constant of three bytes makes up for the rest.
            let (adds, rest) = ((n - 3) / 3, (n - 3) % 3);
            let first = [0, 64, 8192][rest];
            module(&format!("(global i32 i32.const {first} {})", "i32.const 0 i32.add ".repeat(adds)))
        }
        "bytes of a name" => module(&format!("(func (export \"{}\"))", "e".repeat(n))),
        "custom sections" => module(&"(@custom \"x\" \"\")".repeat(n)),
        other => panic!("no sample for {other}"),
    }
}

#[test]
fn each_limit_admits_its_number_and_refuses_one_more() {
    for limit in ALL {
        let Limit { name, max } = limit;
        if let Err(refusal) = admit(&sample(limit, max), &LIMITS) {
            panic!("{name}: {refusal}");
        }
        let wasm = sample(limit, max + 1);
        let (refusal, took) = refusal(&wasm);
        println!("{name}: {} bytes refused in {took:?}: {refusal}", wasm.len());
        assert!(
            matches!(refusal, Refusal::OverLimit { name: n, value, max: m, .. } if (n, value, m) == (name, max + 1, max)),
            "{refusal}"
        );
        let words = refusal.to_string();
        assert!(words.starts_with(&format!("{name}: {} is over the limit of {max}", max + 1)), "{words}");
        assert!(took <= REFUSAL_TIME_MAX, "{name} took {took:?}");
    }
}

#[test]
fn owner_may_admit_larger_modules() {
    let wasm = sample(MODULE_BYTES, MODULE_BYTES_DEFAULT + 1);
    assert!(admit(&wasm, &ModuleLimits { module_bytes_max: MODULE_BYTES_DEFAULT + 1 }).is_ok());
}

#[test]
fn violation_at_the_end_of_a_full_module_is_refused() {
    let plain = format!("(func {})", "(drop (i32.add (i32.const 1) (i32.const 2))) ".repeat(28_000)).repeat(43);
    // A validator looks at each type that a branch takes along, for each target: some thousand million of them here.
    let targets = format!("(br_table {} {})", "0 ".repeat(4_000), "(i32.const 0)".repeat(129));
    let takes = format!("(loop (param {}) {} unreachable)", "i32 ".repeat(128), "drop ".repeat(128));
    let takes = takes.replace(" unreachable", &format!(" {}", targets.repeat(40)));
    let tables = format!("(func {} {takes})", "(i32.const 0)".repeat(128)).repeat(43);
    for (what, filler, last) in [
        ("locals", &plain, format!("(func (local {}))", "i32 ".repeat(1001))),
        ("nesting", &plain, format!("(func {}{})", "(block ".repeat(257), ")".repeat(257))),
        ("nesting behind tables", &tables, format!("(func {}{})", "(block ".repeat(257), ")".repeat(257))),
        ("targets behind tables", &tables, format!("(func (block (br_table {} (i32.const 0))))", "0 ".repeat(4_002))),
    ] {
        let wasm = module(&(filler.clone() + &last));
        assert!(wasm.len() > 7_000_000 && wasm.len() < 8 << 20, "{}", wasm.len());
        let (refusal, took) = refusal(&wasm);
        println!("{what}: {} bytes refused in {took:?}", wasm.len());
        assert!(matches!(refusal, Refusal::OverLimit { .. }), "{refusal}");
        assert!(took <= REFUSAL_TIME_MAX, "{what} took {took:?}");
    }
}

#[test]
fn declared_counts_are_refused_before_anything_is_allocated_for_them() {
    let huge = leb(u32::MAX);
    for (id, name) in [
        (1, "types"),
        (2, "imports"),
        (3, "functions"),
        (4, "tables"),
        (6, "globals"),
        (7, "exports"),
        (9, "element segments"),
        (11, "data segments"),
        (12, "data segments"),
    ] {
        let words = reason(&raw(&[(id, &huge)]));
        assert!(words.starts_with(&format!("{name}: 4294967295 is over the limit of")), "{words}");
    }
    // Bodies without functions are refused for that.
    assert!(reason(&raw(&[(10, &huge)])).contains("function section is absent"));
    // Three bytes that declare four billion locals, in one group and in two.
    for groups in [[&b"\x01"[..], &huge, b"\x7f\x0b"].concat(), [&b"\x02"[..], &huge, b"\x7f", &huge, b"\x7f\x0b"].concat()] {
        let code = [&b"\x01"[..], &leb(groups.len() as u32), &groups].concat();
        let words = reason(&raw(&[(1, b"\x01\x60\0\0"), (3, b"\x01\0"), EXPORT_START, (10, &code)]));
        assert!(words.starts_with("locals of a function: 4294967295 is over the limit of 1000 (function 0, at"), "{words}");
    }
}

#[test]
fn each_proposal_that_is_off_is_refused_by_its_name() {
    let array = "(type $a (array i8))";
    for (name, wasm) in [
        ("threads", module("(memory 1 1 shared)")),
        ("threads", body("(drop (i32.atomic.load (i32.const 0)))")),
        ("threads", body("atomic.fence")),
        ("threads", module(r#"(import "env" "memory" (memory 1 1 shared))"#)),
        ("shared-everything threads", module("(global (shared i32) (i32.const 0))")),
        ("relaxed SIMD", body("(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))")),
        ("memory64", module("(memory i64 1)")),
        ("memory64", module("(table i64 1 funcref)")),
        ("multi-memory", module("(memory 1) (memory 1)")),
        ("multi-memory", module("(memory 1) (memory $m 1) (func (drop (i32.load $m (i32.const 0))))")),
        ("custom page sizes", module("(memory 1 (pagesize 1))")),
        ("tail calls", body("(return_call 0)")),
        ("tail calls", module("(table 1 funcref) (func (return_call_indirect (i32.const 0)))")),
        // An index that does not exist changes nothing about what was asked for.
        ("tail calls", body("(return_call 99)")),
        ("exceptions", module("(tag)")),
        ("exceptions", module("(tag $t) (func (throw $t))")),
        ("exceptions", body("(block $h (try_table (catch_all $h)))")),
        ("exceptions", module("(func (param exnref))")),
        ("legacy exceptions", body("try catch_all end")),
        ("function references", module("(type $t (func)) (func (param (ref null $t)))")),
        ("function references", module("(type $t (func)) (func (param (ref $t)))")),
        ("function references", module("(type $t (func)) (func (call_ref $t (unreachable)))")),
        ("externref", module("(func (param externref))")),
        ("GC", module(array)),
        ("GC", module("(type (struct (field i32)))")),
        ("GC", module("(rec (type (func)) (type (func)))")),
        ("GC", module("(type (sub (func)))")),
        ("GC", body("(drop (ref.i31 (i32.const 1)))")),
        ("GC", module("(func (param anyref))")),
        ("GC", module(&format!("{array} (func (drop (array.new_default $a (i32.const 1))))"))),
        ("stack switching", module("(type $f (func)) (type $c (cont $f))")),
        ("custom descriptors", module("(type $t (func)) (func (param (ref null (exact $t))))")),
        ("component model", wat::parse_str("(component)").unwrap()),
    ] {
        let words = reason(&wasm);
        let want = [format!("the proposal {name}, which"), format!("the proposal {name};")];
        assert!(want.iter().any(|want| words.contains(want)), "{name}: {words}");
    }
}

#[test]
fn two_proposals_at_once_are_both_named_where_neither_helps_alone() {
    let words = reason(&module("(memory i64 1 1 shared)"));
    assert!(words.contains("the proposals threads and memory64, which"), "{words}");
}

#[test]
fn what_is_wrong_under_any_proposal_is_blamed_on_none() {
    for code in ["(drop (i32.add (i32.const 1) (i64.const 2)))", "(local.get 7)", "(call 9)", "(br 3)", "i32.add drop"] {
        let refusal = admit(&body(code), &LIMITS).unwrap_err();
        assert!(matches!(&refusal, Refusal::Invalid(words) if words.contains("at offset 0x")), "{code}: {refusal:?}");
    }
}

#[test]
fn profile_is_what_toolchains_emit() {
    for code in [
        "(drop (i32.extend8_s (i32.const 1)))",
        "(drop (i32.trunc_sat_f32_s (f32.const 1)))",
        "(memory.fill (i32.const 0) (i32.const 0) (i32.const 1))",
        "(block (result i32 i32) (i32.const 1) (i32.const 2)) drop drop",
        "(drop (i8x16.add (v128.const i64x2 0 0) (v128.const i64x2 0 0)))",
        "(i64.mul_wide_u (i64.const 1) (i64.const 2)) drop drop",
        "(drop (ref.null func))",
    ] {
        assert!(admit(&body(code), &LIMITS).is_ok(), "{code}");
    }
}

#[test]
fn bytes_that_are_no_module_are_named() {
    for (bytes, want) in [
        (&b""[..], "empty"),
        (b"\0asm\x0d\0\x01\0", "component"),
        (b"\n  (module (func))", "text"),
        (b"(component)", "text"),
        (b";; a comment\n(module)", "text"),
        (b"\x7fELF\x02\x01\x01\0", "native code (ELF)"),
        (b"\x7fELF\x02\x01\x01\xc8", "wasmtime compiled (.cwasm)"),
        (b"\xcf\xfa\xed\xfe\x07\0\0\x01", "Mach-O"),
        (b"\xca\xfe\xba\xbe\0\0\0\x02", "Mach-O"),
        (b"MZ\x90\0", "PE"),
        (b"!<arch>\n", "static library"),
        (b"BC\xc0\xde", "bitcode"),
        (b"\x1f\x8b\x08", "compressed"),
        (b"\0as", "unexpected end"),
        (b"\0asm\x01\0", "unexpected end"),
        (b"\0asm\x02\0\0\0", "unknown binary version"),
        (b"#!/bin/sh", "does not begin with"),
        (b"\0", "unexpected end"),
    ] {
        let words = reason(bytes);
        assert!(words.contains(want), "{bytes:?}: {words}");
    }
}

#[test]
fn broken_encodings_are_refused() {
    let types: (u8, &[u8]) = (1, b"\x01\x60\0\0");
    let code: (u8, &[u8]) = (10, b"\x01\x02\0\x0b");
    let good = raw(&[types, (3, b"\x01\0"), EXPORT_START, code]);
    assert!(admit(&good, &LIMITS).is_ok());
    // An index of five bytes where one would do is what linkers write; six, or bits beyond the 32nd, is nothing.
    let five: (u8, &[u8]) = (3, b"\x01\x80\x80\x80\x80\0");
    assert!(admit(&raw(&[types, five, EXPORT_START, code]), &LIMITS).is_ok());
    for (wasm, want) in [
        (raw(&[types, (3, b"\x01\x80\x80\x80\x80\x80\0"), EXPORT_START, code]), "integer representation too long"),
        (raw(&[types, (3, b"\x01\x80\x80\x80\x80\x10"), EXPORT_START, code]), "integer too large"),
        (raw(&[types, (3, b"\x01\0\0"), EXPORT_START, code]), "unexpected"),
        (raw(&[types, (3, b"\x02\0\0"), EXPORT_START, code]), "inconsistent"),
        (raw(&[types, (3, b"\x01\0"), EXPORT_START]), "code section is absent"),
        (raw(&[types, (3, b"\x01\0"), EXPORT_START, (10, b"\x01\x03\0\x0b\x0b")]), "operators remaining"),
        (raw(&[types, (3, b"\x01\0"), EXPORT_START, (10, b"\x01\x02\0\x01")]), "end"),
        (raw(&[types, (3, b"\x01\0"), (7, b"\x01\x06_sta\xff\xfe\0\0"), code]), "malformed UTF-8"),
        (raw(&[(2, b"\x01\x02\xc3\x28\x01x\0\0"), types]), "malformed UTF-8"),
        (raw(&[(0, b"\x02\xc3\x28")]), "malformed UTF-8"),
        (raw(&[types, types]), "out of order"),
        (raw(&[(14, b"")]), "malformed section id"),
        ([good.clone(), good.clone()].concat(), "expected section, got wasm magic number"),
        ([&good[..], b"\x0c"].concat(), "unexpected end"),
    ] {
        let words = reason(&wasm);
        assert!(words.contains(want) && words.contains("at offset 0x"), "{want}: {words}");
    }
}

#[test]
fn only_commands_over_known_functions_are_admitted() {
    for (fields, want) in [
        (r#"(import "env" "mystery" (func))"#, "unknown import: `env::mystery`"),
        (r#"(import "adit_2" "log" (func (param i32 i32 i32)))"#, "unknown import: `adit_2::log`"),
        (
            r#"(import "adit_1" "log" (func (param i64)))"#,
            "incompatible import type for `adit_1::log`: it is (i32, i32, i32) -> (), not (i64) -> ()",
        ),
        (r#"(import "env" "memory" (memory 1))"#, "it imports a memory, `env::memory`"),
        (r#"(import "env" "table" (table 1 funcref))"#, "it imports a table, `env::table`"),
        (r#"(import "env" "base" (global i32))"#, "it imports a global, `env::base`"),
        ("(func $f) (start $f)", "it has a `start` section (function 0)"),
    ] {
        let words = reason(&module(fields));
        assert!(words.contains(want), "{words}");
    }
    for (text, want) in [
        (r#"(module (func (export "main")))"#, "exports no function `_start`"),
        (r#"(module (func (export "_start") (param i32)))"#, "`_start` is not a function without"),
        (r#"(module (func (export "_start") (result i32) (i32.const 0)))"#, "`_start` is not a function without"),
        (r#"(module (memory (export "_start") 1))"#, "`_start` is not a function without"),
    ] {
        let words = reason(&wat::parse_str(text).unwrap());
        assert!(words.contains(want), "{words}");
    }
}

/// Uses what it can of the profile.
fn rich() -> Vec<u8> {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "adit_1" "progress" (func $progress (param i64 i64)))
        (memory (export "memory") 2 10)
        (table 10 funcref) (table 5 20 funcref)
        (global $g (mut i32) (i32.const 7)) (global i64 (i64.const -1))
        (elem (i32.const 1) func $f $f) (elem func $f) (elem (table 1) (i32.const 0) funcref (ref.func $f) (ref.null func))
        (data (i32.const 8) "hello") (data "passive") (data (i32.const 1000) "more data")
        (func $f (param i32 i64) (result i32) (local f64 v128 i32 i32)
            (block $b (loop $l (br_if $b (local.get 0)) (br_table $l $b (i32.const 0))))
            (memory.init 1 (i32.const 0) (i32.const 0) (i32.const 3)) (data.drop 1)
            (call_indirect (param i32 i64) (result i32) (i32.const 1) (i64.const 2) (i32.const 3)))
        (func (export "_start")
            (call $progress (i64.const 1) (i64.const 2))
            (drop (call $fd_write (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4)))
            (drop (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (v128.const i64x2 0 1) (v128.const f32x4 1 2 3 4)))
            (if (global.get $g) (then (unreachable)) (else (drop (call $f (i32.const 1) (i64.const 2))))))
        (@custom "note" "some bytes"))"#;
    wat::parse_str(text).unwrap()
}

#[test]
fn what_instantiation_costs_is_known() {
    let want = Admitted {
        functions: 2,
        imported_functions: 2,
        globals: 2,
        memory_bytes: 2 * 65_536,
        table_elements: 15,
        active_data_segments: 2,
        active_data_bytes: 14,
        active_element_segments: 2,
        active_elements: 4,
    };
    assert_eq!(admit(&rich(), &LIMITS), Ok(want));
}

#[test]
fn every_truncation_is_refused_but_of_custom_sections() {
    let wasm = rich();
    let admitted: Vec<usize> = (0..wasm.len()).filter(|&cut| admit(&wasm[..cut], &LIMITS).is_ok()).collect();
    // Nothing is missing where what is left out is a custom section: its id is 0.
    assert_eq!(admitted.len(), 2, "{admitted:?}");
    assert!(admitted.iter().all(|&cut| wasm[cut] == 0), "{admitted:?}");
}

#[test]
fn altered_bytes_are_answered_and_never_panic() {
    let wasm = rich();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let mut refused = 0;
    for _ in 0..2_000 {
        let mut altered = wasm.clone();
        for _ in 0..=next() % 3 {
            let at = next() % altered.len();
            altered[at] = next() as u8;
        }
        refused += usize::from(admit(&altered, &LIMITS).is_err());
    }
    assert!((500..2_000).contains(&refused), "{refused}");
}

#[test]
fn document_lists_every_limit() {
    let document = include_str!("../../../docs/limits.md");
    let rows: Vec<Vec<&str>> = document.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    for Limit { name, max } in ALL {
        let is_listed = rows.iter().any(|row| row.len() > 4 && row[1] == name && row[2].replace(' ', "") == max.to_string());
        assert!(is_listed, "docs/limits.md has no row for {name}, {max}");
    }
}

#[test]
fn inspection_finds_every_fault_at_once_where_admission_stops_at_the_first() {
    let wide = format!("(type (func (param {})))", "i32 ".repeat(129));
    let exports: String = (0..300).map(|i| format!("(export \"e{i}\" (func $f))")).collect();
    let deep = "(block ".repeat(300) + &")".repeat(300);
    let wasm = wat::parse_str(format!(
        r#"(module {wide}{wide} (import "env" "puts" (func (param i32))) (import "env" "memory" (memory 1))
            (func $f {deep}) (func {deep}{deep}) {exports})"#
    ))
    .unwrap();
    let Inspection { faults, .. } = inspect(&wasm, 100);
    let limits: Vec<(&str, u64, u64, usize)> =
        faults.iter().filter_map(|fault| fault.limit.map(|limit| (limit.name, limit.value, limit.max, fault.count))).collect();
    let bytes = wasm.len() as u64;
    let want = [
        ("module bytes", bytes, 100, 1),
        ("parameters of a type", 129, 128, 2),
        ("exports", 300, 256, 1),
        // Each block beyond is a place.
        ("nested blocks", 300, 256, 3 * 44),
    ];
    assert_eq!(limits, want);
    let others: Vec<&str> = faults.iter().filter(|fault| fault.limit.is_none()).map(|fault| fault.reason.as_str()).collect();
    let [puts, memory, start] = others[..] else { panic!("{others:?}") };
    assert!(puts.contains("env::puts") && memory.contains("env::memory") && start.contains("_start"), "{others:?}");
}

#[test]
fn inspection_and_admission_agree() {
    let over = |limit: Limit| (limit.name, sample(limit, limit.max + 1));
    let fits = |limit: Limit| (limit.name, sample(limit, limit.max));
    let others = [
        ("plain", module("(memory (export \"memory\") 1)")),
        ("text", b"(module)".to_vec()),
        ("nothing", Vec::new()),
        ("component", b"\0asm\x0d\0\x01\0".to_vec()),
        ("a library", wat::parse_str("(module)").unwrap()),
        ("memory64", module("(memory i64 1)")),
        ("an invalid body", wat::parse_str("(module (func (export \"_start\") i32.add))").unwrap()),
        ("a cut file", module("(memory 1)")[..20].to_vec()),
    ];
    // Those that are quick to make; the rest go the same way.
    let quick = ALL.into_iter().filter(|limit| !["module bytes", "functions", "elements of all segments"].contains(&limit.name));
    for (name, wasm) in quick.clone().map(over).chain(quick.map(fits)).chain(others) {
        let Inspection { faults, .. } = inspect(&wasm, MODULE_BYTES_DEFAULT);
        match admit(&wasm, &LIMITS) {
            Ok(_) => assert_eq!(faults, [], "{name}"),
            Err(refusal) => {
                let first = crate::worker::words(&refusal.to_string());
                assert!(faults.iter().any(|fault| fault.reason == first), "{name}: {first} is not in {faults:?}");
            }
        }
    }
}

#[test]
fn features_are_named_that_a_module_is_not_valid_without() {
    let features = |wasm: &[u8]| inspect(wasm, MODULE_BYTES_DEFAULT).features;
    assert_eq!(features(&module("")), [""; 0]);
    assert_eq!(features(&body("(drop (i32.extend8_s (i32.const 1)))")), ["sign extension"]);
    assert_eq!(features(&body("(v128.store (i32.const 0) (v128.const i64x2 1 2))")), ["SIMD"]);
    assert_eq!(features(&body("(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))")), ["bulk memory"]);
    assert_eq!(features(&body("(i64.mul_wide_u (i64.const 1) (i64.const 2)) drop drop")), ["wide arithmetic"]);
    assert_eq!(features(&body("(return_call 0)")), ["tail calls"]);
    assert_eq!(features(&wat::parse_str("(module (func i32.add))").unwrap()), [""; 0]);
}
