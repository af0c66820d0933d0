//! Every setting of the engine, in a file: a change is made on purpose or not at all.

use adit_protocol::{BlobRef, ByteCount, Digest, Fuel, JobSpec, Price, Usage};
use adit_runtime::lab::{
    BACKTRACE_FRAMES_MAX, OptLevel, Strategy, baseline_engine, compiling_engine, config, description, features, small_config,
    store_limits,
};
use object::{Object, ObjectSection};
use wasmtime::{Engine, WasmFeatures};
use wasmtime_environ::{FlagValue, Tunables};

use crate::golden::{blesses, path};
use crate::oracle::modules::word;

/// The file.
const FILE: &str = "engine.txt";
/// The section of a compiled module in which the engine says how it was made.
const SECTION: &str = ".wasmtime.engine";

/// What compiled code says of the engine that made it, as wasmtime's `engine/serialization.rs` writes it: the target, the settings of
/// the compiler, those of the processor, those of the engine, and the features by their bits.
type Told<'a> = (String, Flags<'a>, Flags<'a>, Tunables, u64);
type Flags<'a> = Vec<(&'a str, FlagValue<'a>)>;

/// What guests' code is read and made by.
const CRATES: [&str; 5] = ["wasmtime", "wasmtime-wasi", "cranelift-codegen", "regalloc2", "winch-codegen"];

/// The meter, what code is made by, and the settings, one a line; those of the other engines of a node where they differ.
fn settings() -> Vec<String> {
    let mut lines = vec![format!("meter {}", adit_runtime::meter_id())];
    lines.push(format!("price {} {}", price_formula(), prices()));
    lines.extend(CRATES.map(|name| format!("crate {name} {}", locked(name))));
    let standard = settings_of(&Engine::new(&config(Strategy::Cranelift, OptLevel::Speed)).unwrap());
    lines.extend_from_slice(&standard);
    lines.push(format!("guest features: {}", names(features())));
    let limits = store_limits(JobSpec::new(BlobRef::of(b""), BlobRef::of(b"")).limits.memory);
    lines.extend(limits.map(|(name, limit)| format!("store {name}: {limit}")));
    let others = [
        ("baseline", baseline_engine().unwrap()),
        ("compiling", compiling_engine().unwrap()),
        ("small", Engine::new(&small_config()).unwrap()),
    ];
    for (name, engine) in others {
        let own = settings_of(&engine).into_iter().filter(|line| !standard.contains(line));
        lines.extend(own.map(|line| format!("{name} {line}")));
    }
    lines
}

/// What the meter calls the formula by which usage is priced.
fn price_formula() -> String {
    let text = description();
    let (_, rest) = text.split_once("price formula ").expect("the meter names the formula");
    rest.split(';').next().unwrap_or(rest).to_owned()
}

/// A digest of what a thousand usages cost, small ones and such as no job has.
fn prices() -> Digest {
    let mut costs = String::new();
    for seed in 0..1_000 {
        let draw = |at: u64, bits: u64| word(seed, at) >> (64 - 1 - word(seed, at + 100) % bits);
        let usage = Usage {
            fuel: Fuel(draw(0, 62)),
            memory_peak: ByteCount(draw(1, 40)),
            memory_fuel: u128::from(draw(2, 60)) << 20,
            bytes_in: ByteCount(draw(3, 60)),
            bytes_out: ByteCount(draw(4, 60)),
            host_calls: draw(5, 60),
            gpu_ns: draw(6, 60),
        };
        let price = Price {
            per_compute_minute: draw(7, 33),
            per_gib_compute_minute: draw(8, 33),
            per_gib_in: draw(9, 33),
            per_gib_out: draw(10, 33),
            per_gpu_minute: draw(11, 33),
        };
        costs.push_str(&format!("{:?}\n", price.cost(&usage)));
    }
    Digest::of(costs.as_bytes())
}

/// The version of a crate that this workspace is built with.
fn locked(name: &str) -> &'static str {
    let mut packages = include_str!("../../../Cargo.lock").split("[[package]]");
    let version = |package: &'static str| package.strip_prefix(&format!("\nname = \"{name}\"\nversion = \""))?.split('"').next();
    packages.find_map(version).unwrap_or_else(|| panic!("{name} is not in the lock file"))
}

#[test]
fn receipts_and_bills_name_the_engine_that_is_built_in() {
    assert_eq!(adit_runtime::ENGINE, format!("wasmtime {}", locked("wasmtime")));
    assert!(description().contains(&format!("; engine {};", adit_runtime::ENGINE)));
}

/// The settings of an engine. Those of the processor are not among them: they are each machine's own.
fn settings_of(engine: &Engine) -> Vec<String> {
    let code = engine.precompile_module(b"\0asm\x01\0\0\0").unwrap();
    let file = object::File::parse(&code[..]).unwrap();
    let section = file.section_by_name(SECTION).unwrap();
    // A byte for the format, one for the length of the version, the version.
    let [0, bytes, rest @ ..] = section.data().unwrap() else { panic!("another format") };
    let (version, told) = rest.split_at(usize::from(*bytes));
    let (_target, compiler, _processor, tunables, bits): Told<'_> = postcard::from_bytes(told).unwrap();

    let mut lines = vec![format!("wasmtime {}", String::from_utf8_lossy(version))];
    lines.extend(compiler.iter().map(|(name, value)| format!("compiler {name}: {value}")));
    lines.extend(fields("engine", &tunables));
    lines.push(format!("engine strategy: {:?}", engine.get_strategy()));
    lines.push(format!("engine max_wasm_stack: {}", engine.get_max_wasm_stack()));
    lines.push(format!("engine async_stack_size: {}", engine.get_async_stack_size()));
    lines.push(format!("engine async_stack_zeroing: {}", engine.get_async_stack_zeroing()));
    lines.push(format!("engine memory_guaranteed_dense_image_size: {}", engine.get_memory_guaranteed_dense_image_size()));
    lines.push(format!("engine parallel_compilation: {}", engine.get_parallel_compilation()));
    lines.push(format!("engine shared_memory: {}", engine.get_shared_memory()));
    lines.push(format!("engine wasm_backtrace_max_frames: {BACKTRACE_FRAMES_MAX}"));
    let pool = engine.get_pooling_config();
    lines.push(format!("engine allocation: {}", if pool.is_some() { "pooling" } else { "on demand" }));
    lines.extend(pool.into_iter().flat_map(|pool| fields("pool", pool)));
    lines.push(format!("engine features: {}", names(WasmFeatures::from_bits_retain(bits))));
    lines
}

/// A structure's fields as its `Debug` tells them, one a line.
fn fields(what: &str, of: &impl std::fmt::Debug) -> Vec<String> {
    let text = format!("{of:#?}");
    let lines: Vec<&str> = text.lines().collect();
    lines[1..lines.len() - 1].iter().map(|line| format!("{what} {}", line.trim().trim_end_matches(','))).collect()
}

fn names(features: WasmFeatures) -> String {
    features.iter_names().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>().join(" ")
}

#[test]
fn settings_of_the_engine_are_those_of_the_file() {
    let new = settings();
    if blesses() {
        // The formula is part of what names the meter: it does not change under its name.
        let old = std::fs::read_to_string(path(FILE)).unwrap();
        let formula = format!("price {} ", price_formula());
        let is_other = |line: &str| line.starts_with(&formula) && !new.iter().any(|new| new == line);
        assert!(
            !old.lines().any(is_other),
            "what usage costs has changed: its formula needs another version in runtime/src/meter.rs"
        );
        std::fs::write(path(FILE), new.join("\n") + "\n").unwrap();
    }
    let text = std::fs::read_to_string(path(FILE)).unwrap();
    let old: Vec<&str> = text.lines().collect();
    let gone = old.iter().filter(|line| !new.iter().any(|new| new == *line)).map(|line| format!("- {line}"));
    let come = new.iter().filter(|line| !old.contains(&line.as_str())).map(|line| format!("+ {line}"));
    let changed: Vec<String> = gone.chain(come).collect();
    assert!(
        changed.is_empty(),
        "the engine's settings are not those of runtime/tests/{FILE}:\n{}\nWhere that is meant, ask whether a guest can see it, which needs \
         a new meter version (VERSION in runtime/src/meter.rs), and record it: `ADIT_BLESS=1 cargo test -p adit-runtime --test it engine`",
        changed.join("\n")
    );
}
