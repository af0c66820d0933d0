//! Modules without end, of two generators: one that weaves control and values closely, and wasm-smith with larger modules, more tables and
//! more memory than the fuzz targets have.
//!
//! With `ADIT_FUZZ_SECONDS` each goes on for so long, from seed `ADIT_FUZZ_FROM`.

use std::cell::Cell;
use std::time::{Duration, Instant};

use adit_runtime::lab::{Options, features, instrument};
use arbitrary::Unstructured;
use wasm_smith::{Config, Module};
use wasmparser::{Operator, Parser, Payload, Validator};

use super::everywhere::{Compared, Everywhere};
use super::weave;
use crate::oracle::modules::{entropy, word};

/// Modules in a test run, where there is time for them.
const MODULES: u64 = 300;
/// What a test may take; a slow machine tries less.
const TIME_MAX: Duration = Duration::from_secs(4);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Checks what `make` makes of seeds until there are enough, or time is up.
fn storm(make: impl Fn(u64) -> Option<Vec<u8>>) {
    let everywhere = Everywhere::few();
    let (modules_max, time_max) = match number("ADIT_FUZZ_SECONDS") {
        Some(seconds) => (u64::MAX, Duration::from_secs(seconds)),
        None => (MODULES, TIME_MAX),
    };
    let (first, started) = (number("ADIT_FUZZ_FROM").unwrap_or(0), Instant::now());
    let (mut seen, mut modules, mut seeds) = (Compared::default(), 0_u64, 0);
    while seeds < modules_max && started.elapsed() < time_max {
        let seed = first + seeds;
        seeds += 1;
        let Some(wasm) = make(seed) else { continue };
        modules += 1;
        let compared = everywhere.check(&format!("seed {seed}"), &wasm);
        seen.calls += compared.calls;
        seen.traps += compared.traps;
        seen.deep += compared.deep;
    }
    println!("{modules} modules of {seeds} seeds: {seen:?}");
    assert!(u64::from(seen.calls) > modules / 4 && seen.traps > 0, "{seen:?} of {modules} modules shows little");
}

#[test]
fn woven_modules_count_what_the_reference_counts_under_every_compiler() {
    storm(|seed| valid(seed, weave::module(seed)));
}

/// Whose calls of themselves are inlined, most of them.
#[test]
fn woven_recursions_count_what_the_reference_counts_under_every_compiler() {
    let (made, inlined) = (Cell::new(0), Cell::new(0));
    storm(|seed| {
        let wasm = weave::recursive(seed);
        // Each body counts its calls down in a global, and nothing of the meter's own writes one.
        let metered = instrument(&wasm, &Options::default()).unwrap().wasm;
        made.set(made.get() + 1);
        inlined.set(inlined.get() + u32::from(writes(&metered) > writes(&wasm)));
        valid(seed, wasm)
    });
    println!("{} of {} with inlined calls", inlined.get(), made.get());
    assert!(2 * inlined.get() > made.get(), "{} of {} show little", inlined.get(), made.get());
}

/// Of which most are called through a table and return what they owe.
#[test]
fn woven_tables_count_what_the_reference_counts_under_every_compiler() {
    let (made, returning) = (Cell::new(0), Cell::new(0));
    storm(|seed| {
        let wasm = weave::hidden(seed);
        // No other type of the meter's own is asked for by calls.
        let metered = instrument(&wasm, &Options::default()).unwrap().wasm;
        made.set(made.get() + 1);
        returning.set(returning.get() + u32::from(called_types(&metered).iter().any(|ty| *ty >= types(&wasm))));
        valid(seed, wasm)
    });
    println!("{} of {} with calls that return what is owed", returning.get(), made.get());
    assert!(2 * returning.get() > made.get(), "{} of {} show little", returning.get(), made.get());
}

/// How many types a module has.
fn types(wasm: &[u8]) -> u32 {
    let count = |payload: Payload<'_>| match payload {
        Payload::TypeSection(section) => Some(section.count()),
        _ => None,
    };
    Parser::new(0).parse_all(wasm).find_map(|payload| count(payload.unwrap())).unwrap_or(0)
}

/// The types that calls through tables ask for.
fn called_types(wasm: &[u8]) -> Vec<u32> {
    operators(wasm, |op| match op {
        Operator::CallIndirect { type_index, .. } => Some(*type_index),
        _ => None,
    })
}

/// How often globals are written in a module's text.
fn writes(wasm: &[u8]) -> usize {
    operators(wasm, |op| matches!(op, Operator::GlobalSet { .. }).then_some(())).len()
}

/// What `of` says of the operators of a module's text.
fn operators<T>(wasm: &[u8], of: impl Fn(&Operator<'_>) -> Option<T>) -> Vec<T> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            found.extend(body.get_operators_reader().unwrap().into_iter().filter_map(|op| of(&op.unwrap())));
        }
    }
    found
}

fn valid(seed: u64, wasm: Vec<u8>) -> Option<Vec<u8>> {
    if let Err(error) = Validator::new_with_features(features()).validate_all(&wasm) {
        panic!("seed {seed}: {error}\n{}", hex(&wasm));
    }
    Some(wasm)
}

fn hex(wasm: &[u8]) -> String {
    wasm.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn large_generated_modules_count_what_the_reference_counts_under_every_compiler() {
    storm(|seed| {
        let bytes = entropy(seed ^ 0x5354_4f52_4d00_0000, 2_000 + (word(seed, 1) % 30_000) as usize);
        let ends = !word(seed, 2).is_multiple_of(4);
        let mut module = Module::new(config(seed), &mut Unstructured::new(&bytes)).ok()?;
        if ends {
            module.ensure_termination(400).ok()?;
        }
        let wasm = module.to_bytes();
        Validator::new_with_features(features()).validate_all(&wasm).ok().map(|_| wasm)
    });
}

fn config(seed: u64) -> Config {
    let choose = |at: u64, of: &[usize]| of[(word(seed, 10 + at) % of.len() as u64) as usize];
    Config {
        allow_start_export: word(seed, 3).is_multiple_of(8),
        export_everything: true,
        max_imports: 0,
        min_memories: 1,
        max_memories: 1,
        min_tables: 1,
        max_tables: 4,
        min_globals: choose(0, &[0, 4, 40]),
        max_globals: 60,
        min_funcs: choose(1, &[2, 10, 30]),
        max_funcs: 60,
        min_types: 4,
        max_types: 40,
        min_data_segments: choose(2, &[0, 5]),
        max_data_segments: 20,
        min_element_segments: choose(3, &[0, 5]),
        max_element_segments: 20,
        max_elements: 50,
        max_instructions: choose(4, &[100, 400, 1_500, 4_000]),
        max_memory32_bytes: 4 << 16,
        max_table_elements: 1_000,
        memory_max_size_required: word(seed, 4).is_multiple_of(2),
        table_max_size_required: word(seed, 5).is_multiple_of(2),
        memory_offset_choices: wasm_smith::MemoryOffsetChoices(40, 40, 20),
        const_expr_fuel: 30,
        disallow_traps: word(seed, 6).is_multiple_of(8),
        bulk_memory_enabled: true,
        // References of the host's come with the others, and the profile has not those; then there is no module.
        reference_types_enabled: word(seed, 7).is_multiple_of(3),
        simd_enabled: !word(seed, 8).is_multiple_of(4),
        multi_value_enabled: true,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        extended_const_enabled: true,
        wide_arithmetic_enabled: true,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        ..Config::default()
    }
}
