//! The meter: exact, the same at every optimisation level, bounded by its limit, and hidden from the guest.

use adit_protocol::{BlobRef, ByteCount, Fuel, JobSpec, Outcome, TrapKind, Usage};
use adit_runtime::lab::{Class, Lab, OptLevel, Options, Report, Strategy, UNITS_PER_FUEL, Weights, class, config, instrument};
use wasmparser::{Parser, Payload};

use crate::oracle::modules::word;

const LEVELS: [OptLevel; 3] = [OptLevel::None, OptLevel::Speed, OptLevel::SpeedAndSize];

fn lab(level: OptLevel) -> Lab {
    Lab::new(&config(Strategy::Cranelift, level)).unwrap()
}

/// One for each of the engine's compilers: the two that nodes have come first.
fn labs() -> [Lab; 5] {
    let winch = config(Strategy::Winch, OptLevel::Speed);
    let mut pulley = config(Strategy::Cranelift, OptLevel::Speed);
    pulley.target("pulley64").unwrap().signals_based_traps(false);
    let [none, speed, size] = LEVELS.map(|level| config(Strategy::Cranelift, level));
    [speed, winch, none, size, pulley].map(|config| Lab::new(&config).unwrap())
}

fn spec() -> JobSpec {
    JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b""))
}

fn run_with(lab: &mut Lab, text: &str, spec: &JobSpec) -> Report {
    let program = lab.compile(&wat::parse_str(text).unwrap(), &Options::default()).unwrap();
    lab.run(&program, spec, b"").unwrap()
}

fn run(lab: &mut Lab, text: &str) -> Report {
    run_with(lab, text, &spec())
}

/// A module that goes round a loop `rounds` times and then does `end`.
fn rounds(rounds: u64, end: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1 2) (table 2 funcref) (elem (i32.const 0) $start)
            (data $passive "data") (global $g (mut i64) (i64.const 0))
            (func $start (export "_start") (local $n i64)
                (loop $more
                    (local.set $n (i64.add (local.get $n) (i64.const 1)))
                    (if (i64.eq (i64.and (local.get $n) (i64.const 63)) (i64.const 0))
                        (then (global.set $g (i64.add (global.get $g) (local.get $n)))))
                    (br_if $more (i64.lt_u (local.get $n) (i64.const {rounds}))))
                (call $end))
            (func $end {end})
            (func $deep (call $deep)))"#
    )
}

/// What ends a guest by itself, in twenty ways and by returning.
const ENDS: [(&str, Option<TrapKind>); 21] = [
    ("", None),
    ("unreachable", Some(TrapKind::Unreachable)),
    ("(drop (i32.load (i32.const 131072)))", Some(TrapKind::MemoryOutOfBounds)),
    ("(drop (i64.load8_u (i32.const -1)))", Some(TrapKind::MemoryOutOfBounds)),
    ("(i32.store (i32.const 131072) (i32.const 1))", Some(TrapKind::MemoryOutOfBounds)),
    ("(v128.store (i32.const -8) (v128.const i64x2 1 2))", Some(TrapKind::MemoryOutOfBounds)),
    ("(memory.fill (i32.const 1) (i32.const 0) (i32.const 65536))", Some(TrapKind::MemoryOutOfBounds)),
    ("(memory.copy (i32.const 1) (i32.const 0) (i32.const 65536))", Some(TrapKind::MemoryOutOfBounds)),
    ("(memory.init $passive (i32.const 0) (i32.const 2) (i32.const 3))", Some(TrapKind::MemoryOutOfBounds)),
    ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", Some(TrapKind::IntegerDivisionByZero)),
    ("(drop (i64.rem_u (i64.const 1) (i64.const 0)))", Some(TrapKind::IntegerDivisionByZero)),
    ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", Some(TrapKind::IntegerOverflow)),
    ("(drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))", Some(TrapKind::IntegerOverflow)),
    ("(drop (i32.trunc_f64_s (f64.const 1e10)))", Some(TrapKind::IntegerOverflow)),
    ("(drop (i64.trunc_f32_u (f32.const nan)))", Some(TrapKind::BadConversionToInteger)),
    ("(call_indirect (i32.const 9))", Some(TrapKind::TableOutOfBounds)),
    ("(call_indirect (i32.const 1))", Some(TrapKind::IndirectCallToNull)),
    ("(call_indirect (param i32) (i32.const 0) (i32.const 0))", Some(TrapKind::BadSignature)),
    ("(drop (table.get 0 (i32.const 2)))", Some(TrapKind::TableOutOfBounds)),
    ("(table.fill 0 (i32.const 1) (ref.null func) (i32.const 2))", Some(TrapKind::TableOutOfBounds)),
    ("(call $deep)", Some(TrapKind::StackOverflow)),
];

#[test]
fn fuel_is_exact_whatever_ends_the_guest_and_however_it_is_compiled() {
    // So many rounds are a whole number of fuel, whatever a round and every 64th cost, so that nothing is rounded away.
    let few = 16_384;
    // 10^8 rounds where that takes a moment, and fewer in the interpreter.
    let more = [6_103, 6_103, 390, 390, 15];
    let mut spec = spec();
    spec.limits.fuel = Fuel(1_000_000_000_000);
    let mut labs = labs();
    let mut of_few = None;
    for (end, kind) in ENDS {
        let want = kind.map_or(Outcome::Finished { exit_code: 0 }, Outcome::Trapped);
        let mut shortest = None;
        for (lab, more) in labs.iter_mut().zip(more) {
            let [short, long] = [few, few * (1 + more)].map(|n| run_with(lab, &rounds(n, end), &spec).run);
            assert_eq!((short.outcome, long.outcome), (want, want), "{end}: {}", long.reason);
            assert_eq!(short.usage, *shortest.get_or_insert(short.usage), "{end}");
            let each = (long.usage.fuel.0 - short.usage.fuel.0) as f64 / more as f64;
            assert_eq!(each, *of_few.get_or_insert(each), "{end}");
        }
    }
    assert!(of_few.unwrap() >= few as f64, "a round costs at least a fuel");
}

/// An optimising compiler makes a branch to a block that does nothing but trap into one trap, and says that it is the branch that has
/// trapped; at the branch the counter lacks something else than in the block. Bills were short of the block's weight.
#[test]
fn block_that_only_traps_is_paid_for_under_every_compiler() {
    let work = "(drop (i32.mul (i32.const 2) (i32.clz (local.get $n))))".repeat(20);
    let ends = ["unreachable", "(drop (i32.load offset=65536 (i32.const 0)))", "(drop (i32.load (i32.const 65536)))"];
    let mut labs = labs();
    for end in ends {
        for branch in [
            format!("(if (local.get $n) (then {work} {end}))"),
            format!("(if (i32.eqz (local.get $n)) (then) (else {work} {end}))"),
            format!("(block (br_if 0 (i32.eqz (local.get $n))) {work} {end})"),
            format!("(block (block (br_if 0 (local.get $n)) (br 1)) {work} {end})"),
        ] {
            let text = format!(
                r#"(module (memory 1 1) (func $f (param $n i32) {branch})
                    (func (export "_start") (call $f (i32.const 0)) (call $f (i32.const 1))))"#
            );
            let reports = labs.each_mut().map(|lab| run(lab, &text).run);
            for report in &reports {
                assert!(matches!(report.outcome, Outcome::Trapped(_)), "{branch}: {}", report.reason);
                assert_eq!(report.usage, reports[0].usage, "{branch}");
            }
        }
    }
}

/// An update takes back what a way not gone would have cost, so that the word in memory may be below zero where a guest traps. It was
/// taken for zero before what it lacks was added: this guest was billed 54,688 fuel, or was out of fuel.
#[test]
fn count_below_zero_where_a_guest_traps_is_a_count() {
    let dear = "(drop (ref.func $f))".repeat(1_000);
    let text = format!(
        r#"(module (func $f) (elem declare func $f)
            (func (export "_start") (if (i32.const 0) (then {dear}) (else nop)) unreachable))"#
    );
    for limit in [20_000, 1_000_000] {
        let mut spec = spec();
        spec.limits.fuel = Fuel(limit);
        for lab in &mut labs() {
            for profile in [false, true] {
                let program = lab.compile(&wat::parse_str(&text).unwrap(), &Options { profile, ..Options::default() }).unwrap();
                let run = lab.run(&program, &spec, b"").unwrap().run;
                assert_eq!((run.outcome, run.usage.fuel), (Outcome::Trapped(TrapKind::Unreachable), Fuel(4_001)), "{limit}");
            }
        }
    }
}

/// Where Cranelift optimises, it makes new instructions of several, which come from nowhere in the module; and on x86-64 a load would
/// become part of such a one. If that trapped, the engine could not say where.
#[test]
fn load_that_the_compiler_merged_is_paid_for() {
    let work = "(drop (f64.sqrt (f64.const 2)))".repeat(20);
    let mut labs = labs();
    let load = "(i32.load (i32.const 65536))";
    let merged = [
        format!("(i32.rem_u {load} (i32.const 8))"),
        format!("(i32.add (i32.add {load} (i32.const 1)) (i32.const 2))"),
        format!("(i32.sub (global.get $g) (i32.sub (i32.const 0) {load}))"),
        "(i32x4.extract_lane 0 (i16x8.extend_low_i8x16_u (v128.load8_splat (i32.const 65536))))".to_owned(),
    ];
    for merged in merged {
        let text = format!(
            r#"(module (memory 1 1) (global $g (mut i32) (i32.const 5)) (func $f {work} (block (global.set $g {merged})))
                (func (export "_start") (call $f)))"#
        );
        let reports = labs.each_mut().map(|lab| run(lab, &text).run);
        for report in &reports {
            assert_eq!(report.outcome, Outcome::Trapped(TrapKind::MemoryOutOfBounds), "{}", report.reason);
            assert_eq!(report.usage, reports[0].usage, "{merged}");
        }
    }
}

/// Cranelift moves arithmetic out of loops, and says that it stands in them. A load before a loop must not become part of it.
#[test]
fn load_before_a_loop_is_paid_for_where_it_stands() {
    let work = "(drop (f64.sqrt (f64.const 2)))".repeat(70);
    let mut labs = labs();
    for [before, within] in [[work.as_str(), ""], ["", work.as_str()], [work.as_str(), work.as_str()]] {
        let text = format!(
            r#"(module (memory 1 1) (global $g (mut i32) (i32.const 5))
                (func $f (param $at i32) (local $x i32) (local $n i32)
                    {before} (local.set $x (i32.load (local.get $at)))
                    (loop $more {within}
                        (global.set $g (i32.mul (global.get $g) (i32.sub (local.get $at) (local.get $x))))
                        (local.set $n (i32.add (local.get $n) (i32.const 1)))
                        (br_if $more (i32.lt_u (local.get $n) (global.get $g)))))
                (func (export "_start") (call $f (i32.const 65536))))"#
        );
        let reports = labs.each_mut().map(|lab| run(lab, &text).run);
        for report in &reports {
            assert_eq!(report.outcome, Outcome::Trapped(TrapKind::MemoryOutOfBounds), "{}", report.reason);
            assert_eq!(report.usage, reports[0].usage);
        }
    }
}

/// Cranelift would take out a store that a later one makes useless, and then it would be the later one that traps.
#[test]
fn store_that_another_overwrites_is_paid_for_where_it_stands() {
    let work = "(drop (f64.sqrt (f64.const 2)))".repeat(20);
    let mut labs = labs();
    let bodies = [
        format!(
            "(block (i32.store (local.get $at) (i32.const 1)) (br_if 0 (local.get $at))) {work} (i32.store (local.get $at) (i32.const 2))"
        ),
        "(loop (i64.store16 (local.get $at) (i64.const -3)) (br 0))".to_owned(),
    ];
    for body in bodies {
        let text = format!(
            r#"(module (memory 1 1) (func $f (param $at i32) {body}) (func (export "_start") (call $f (i32.const 65536))))"#
        );
        let reports = labs.each_mut().map(|lab| run(lab, &text).run);
        for report in &reports {
            assert_eq!(report.outcome, Outcome::Trapped(TrapKind::MemoryOutOfBounds), "{}", report.reason);
            assert_eq!(report.usage, reports[0].usage, "{body}");
        }
    }
}

/// The weights of a function without branches, added up by another reader than the pass.
fn straight_weight(wasm: &[u8]) -> u64 {
    let weights = Weights::standard();
    let mut units = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            units += body
                .get_operators_reader()
                .unwrap()
                .into_iter()
                .map(|op| u64::from(weights.units(class(&op.unwrap()))))
                .sum::<u64>();
        }
    }
    units
}

#[test]
fn fuel_is_the_sum_of_the_weights_of_what_was_entered() {
    let body = "(drop (i32.add (i32.const 1) (i32.mul (i32.const 2) (i32.const 3))))".repeat(50);
    let text = format!(r#"(module (memory 1) (func (export "_start") {body}))"#);
    let wasm = wat::parse_str(&text).unwrap();
    let fixed = instrument(&wasm, &Options::default()).unwrap().facts.instantiation_units();
    let want = (fixed + straight_weight(&wasm)).div_ceil(UNITS_PER_FUEL);
    assert_eq!(run(&mut lab(OptLevel::Speed), &text).run.usage.fuel, Fuel(want));
    assert!(straight_weight(&wasm) > 50 * u64::from(Weights::standard().units(Class::IntegerMultiply)));
}

/// What a guest pays beside its operators, which are free here.
fn beside_operators(fields: &str, body: &str, input: &[u8]) -> u64 {
    let options = Options { weights: Weights::by_class(|_| 0, |_| 0), ..Options::default() };
    let mut lab = lab(OptLevel::Speed);
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "adit_1" "log" (func $log (param i32 i32 i32)))
            (import "adit_1" "progress" (func $progress (param i64 i64)))
            {fields} (func $start (export "_start") {body}))"#
    );
    let program = lab.compile(&wat::parse_str(text).unwrap(), &options).unwrap();
    let mut spec = spec();
    spec.limits.memory = ByteCount(4 << 30);
    let run = lab.run(&program, &spec, input).unwrap().run;
    assert_eq!(run.outcome, Outcome::Finished { exit_code: 0 }, "{fields} {body}: {}", run.reason);
    run.usage.fuel.0
}

#[test]
fn instances_cost_what_they_begin_with() {
    let data = |bytes: usize| format!("(memory 1) (data (i32.const 8) \"{}\")", "x".repeat(bytes));
    let elements = |count: usize| format!("(table 100 funcref) (elem (i32.const 0) func{})", " $start".repeat(count));
    // What the engine has to compute costs what `ref.func` does, 54.7 each.
    let after = |segment: &str| format!("(table 100 funcref) {segment} (elem (i32.const 0) func $start)");
    let computed = |count: u64| (14_000 * count).div_ceil(UNITS_PER_FUEL);
    let copied = |count: u64| (3_750 * count).div_ceil(UNITS_PER_FUEL);
    let apart = |first: usize, other: usize, bytes: usize| {
        format!("(memory 1024) (data (i32.const {first}) \"x\") (data (i32.const {other}) \"{}\")", "y".repeat(bytes))
    };
    let rows = [
        (String::new(), 4_000),
        ("(memory 1)".into(), 4_025),
        ("(memory 2 100)".into(), 4_050),
        ("(memory 32)".into(), 4_000 + 32 * 25),
        // What a worker does not keep mapped, as if the memory grew by it.
        ("(memory 33)".into(), 4_000 + 32 * 25 + 4_000),
        ("(memory 65536)".into(), 4_000 + 32 * 25 + 65_504 * 4_000),
        // By the KiB, of all segments together.
        (data(1), 4_025 + 60),
        (data(1_024), 4_025 + 60),
        (data(1_025), 4_025 + 2 * 60),
        (format!("{} (data (i32.const 9) \"{}\")", data(512), "y".repeat(512)), 4_025 + 60),
        (data(60 << 10), 4_025 + 60 * 60),
        ("(table 100 funcref)".into(), 5_000),
        ("(table 100 funcref) (table 7 funcref)".into(), 5_070),
        (elements(1), 5_002),
        (elements(100), 5_200),
        (after("(elem (i32.const 5) func $start $start)"), 5_006),
        (after("(elem (i32.const 5) funcref (ref.func $start) (ref.null func))"), 5_000 + computed(3)),
        (after("(elem (offset (i32.add (i32.const 1) (i32.const 2))) func $start)"), 5_000 + computed(2)),
        (after("(elem func $start $start)"), 5_002 + computed(2)),
        // Data that is put nowhere yet is paid for when it is put; references are made all the same.
        ("(memory 1) (data \"passive\")".into(), 4_025),
        ("(memory 1) (elem func $start)".into(), 4_025 + computed(1)),
        ("(elem declare func $start) (global v128 (v128.const i64x2 1 2))".into(), 4_000),
        // So are globals that are references of functions.
        ("(global funcref (ref.func $start))".repeat(3), 4_000 + computed(3)),
        ("(global funcref (ref.null func)) (global i64 (i64.add (i64.const 1) (i64.const 2)))".into(), 4_000),
        // Segments of which the compiler cannot make one image are copied one by one.
        (format!("{} (data (offset (i32.add (i32.const 1) (i32.const 2))) \"y\")", data(1)), 4_025 + 60 + copied(2)),
        (
            format!("{} (data (i32.const 9) \"\") (data (offset (i32.add (i32.const 1) (i32.const 2))))", data(1)),
            4_025 + 60 + copied(3),
        ),
        (apart(8, 16 << 20, 1), 4_000 + 32 * 25 + 4_000 * (1_024 - 32) + 60),
        (apart(8, (16 << 20) + 7, 1), 4_000 + 32 * 25 + 4_000 * (1_024 - 32) + 60 + copied(2)),
        (apart(0, 60 << 20, 1), 4_000 + 32 * 25 + 4_000 * (1_024 - 32) + 60 + copied(2)),
    ];
    for (fields, want) in rows {
        assert_eq!(beside_operators(&fields, "", b""), want, "{fields}");
    }
}

/// A deadline that comes while the meter fills for a guest finds what the guest's own function lacks, and not what the last one does.
#[test]
fn stop_within_a_fill_counts_for_whoever_fills() {
    let text = |rounds: &str, others: &str| {
        format!(
            r#"(module (memory (export "memory") 2048) (func $e) (elem declare func $e)
            (func (export "_start") (local $n i32)
                (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 134217728)) {rounds}))
            {others})"#
        )
    };
    let fills = |count: u32| {
        format!("(local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if 0 (i32.lt_u (local.get $n) (i32.const {count})))")
    };
    let dear = format!(
        "(func $last (param i32) (if (local.get 0) (then (return))) {} unreachable)",
        "(drop (ref.func $e))".repeat(20_000)
    );
    let mut lab = lab(OptLevel::Speed);
    let mut fuel = |text: String, wall_ms: u64| {
        let program = lab.compile(&wat::parse_str(text).unwrap(), &Options::default()).unwrap();
        let mut spec = spec();
        (spec.limits.memory, spec.limits.wall_ms) = (ByteCount(1 << 30), wall_ms);
        let run = lab.run(&program, &spec, b"").unwrap().run;
        (run.outcome, run.usage.fuel.0)
    };
    let [(_, once), (_, twice)] = [1, 2].map(|count| fuel(text(&fills(count), ""), 60_000));
    let round = twice - once;
    for others in ["", &dear] {
        let (outcome, used) = fuel(text(&fills(1_000_000), others), 200);
        assert_eq!(outcome, Outcome::TimedOut, "{used}");
        let beyond = (used - once) % round;
        assert!(beyond.min(round - beyond) <= 1_000, "{beyond} of {round}");
    }
}

#[test]
fn calls_of_the_host_cost_what_they_do() {
    // A list of two buffers, of 1,000 bytes and of 24.
    let fields = r#"(memory (export "memory") 1)
        (data (i32.const 0) "\00\10\00\00\e8\03\00\00" "\00\20\00\00\18\00\00\00")"#;
    let rows = [
        ("(call $progress (i64.const 1) (i64.const 2))", 150),
        ("(call $progress (i64.const 1) (i64.const 2)) (call $progress (i64.const 2) (i64.const 2))", 2 * 150),
        ("(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 64)))", 150),
        ("(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))", 150 + 4 + 1_000),
        ("(drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 64)))", 150 + 4 + 1_000),
        // No more than the first is taken, but the list is looked through.
        ("(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 64)))", 150 + 2 * 4 + 1_000),
        ("(drop (call $fd_write (i32.const 7) (i32.const 0) (i32.const 1) (i32.const 64)))", 150 + 4),
        // There are 600 bytes of input.
        ("(drop (call $fd_read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 64)))", 150 + 4 + 24),
        ("(drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)))", 150 + 4 + 600),
        ("(call $log (i32.const 3) (i32.const 0) (i32.const 0))", 150),
        ("(call $log (i32.const 3) (i32.const 0) (i32.const 65536))", 150 + 65_536),
        ("(drop (call $random (i32.const 64) (i32.const 1000)))", 150 + 1_000),
        // The program's name, with a zero behind: a quarter for each byte.
        ("(drop (call $args (i32.const 64) (i32.const 128)))", 150 + 60 + 1),
        ("(drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 64)))", 150 + 30),
    ];
    let nothing = beside_operators(fields, "", b"");
    for (body, want) in rows {
        assert_eq!(beside_operators(fields, body, &[7; 600]) - nothing, want, "{body}");
    }
}

#[test]
fn no_bill_is_over_its_limit_and_each_limit_ends_at_itself() {
    let mut labs = labs();
    let text = rounds(1 << 40, "");
    for limit in [5_000, 5_001, 77_777, 1_000_000, 30_000_000] {
        let mut spec = spec();
        spec.limits.fuel = Fuel(limit);
        let reports = labs.each_mut().map(|lab| run_with(lab, &text, &spec).run);
        for report in &reports {
            assert_eq!((report.outcome, report.usage.fuel), (Outcome::OutOfFuel, Fuel(limit)));
            assert_eq!(report.usage, reports[0].usage);
        }
    }
}

/// A function that calls itself between uses of three hundred values each of which an optimising compiler computes once and keeps in the
/// frame meanwhile.
fn computed_once(before: &str, behind: &str) -> String {
    let value = |n: i64| format!("(i64.mul (local.get $x) (i64.add (local.get $x) (i64.const {})))", 7_919 * n + 12_345);
    let add = |n| format!("(local.set $s (i64.add (i64.rotl (local.get $s) (i64.const 1)) {}))", value(n));
    let all: String = (0..300).map(add).collect();
    format!(
        r#"(global $seed (mut i64) (i64.const 3)) (global $sum (mut i64) (i64.const 0))
        (func $f (local $x i64) (local $s i64)
            (local.set $x (global.get $seed))
            {before} {all} (global.set $sum (local.get $s)) (call $f) {all} (global.set $sum (local.get $s)) {behind})"#
    )
}

#[test]
fn calls_are_as_deep_under_every_compiler() {
    let locals = |count: usize| "(local v128)".repeat(count);
    let bombs = [
        "(func $f (call $f))".to_owned(),
        format!("(func $f {} (call $f))", locals(300)),
        "(func $f (call $g)) (func $g (call $f))".to_owned(),
        "(table 1 funcref) (elem (i32.const 0) $f) (func $f (call_indirect (i32.const 0)))".to_owned(),
        computed_once("(loop $again", "(br $again))"),
        computed_once("", ""),
        // Only a call that is rarely made comes back.
        "(func $f (param i32) (if (local.get 0) (then (call $f (local.get 0)))) (call $f (i32.const 1)))".to_owned(),
        "(func $f (call $g) (call $g) (call $f)) (func $g (local v128) (drop (i32.popcnt (i32.const 7))))".to_owned(),
    ];
    let mut labs = labs();
    for bomb in bombs {
        let arguments = if bomb.contains("(func $f (param i32)") { "(i32.const 1)" } else { "" };
        let text = format!(r#"(module {bomb} (func (export "_start") (call $f {arguments})))"#);
        let reports = labs.each_mut().map(|lab| run(lab, &text).run);
        for report in &reports {
            assert_eq!(report.outcome, Outcome::Trapped(TrapKind::StackOverflow), "{bomb}: {}", report.reason);
            assert_eq!(report.usage, reports[0].usage, "{bomb}");
        }
    }
}

/// Functions that call each other in a circle for ever, with so many locals, values on the stack, and locals that are used after the
/// call, as the numbers say.
fn circle(mut next: impl FnMut(u64) -> u64) -> String {
    const TYPES: [(&str, &str, &str); 5] = [
        ("i32", "(i32.const 7)", "(global.set $i32 (i32.xor (global.get $i32)"),
        ("i64", "(i64.const 7)", "(global.set $i64 (i64.xor (global.get $i64)"),
        ("f32", "(f32.const 7)", "(global.set $f32 (f32.add (global.get $f32)"),
        ("f64", "(f64.const 7)", "(global.set $f64 (f64.add (global.get $f64)"),
        ("v128", "(v128.const i64x2 7 7)", "(global.set $v128 (v128.xor (global.get $v128)"),
    ];
    let functions = 1 + next(3);
    let mut text = format!("(type $f (func (param i32))) (table {functions} funcref)");
    for (ty, value, _) in TYPES {
        text += &format!(" (global ${ty} (mut {ty}) {value})");
    }
    for f in 0..functions {
        text += &format!(" (elem (i32.const {f}) $f{f}) (func $f{f} (type $f)");
        let most = [4, 40, 999][next(3) as usize];
        let locals: Vec<usize> = (0..next(most)).map(|_| next(5) as usize).collect();
        text.extend(locals.iter().map(|ty| format!(" (local {})", TYPES[*ty].0)));
        let live = |(at, ty): (usize, &usize)| (at % (1 + f as usize) == 0).then_some((at + 1, TYPES[*ty]));
        let live: Vec<_> = locals.iter().enumerate().filter_map(live).collect();
        text.extend(live.iter().map(|(at, (ty, ..))| format!(" (local.set {at} (global.get ${ty}))")));
        let operands = next(40);
        text += &" (local.get 0)".repeat(operands as usize);
        text += " (i32.add (local.get 0) (i32.const 1))";
        let callee = (f + 1) % functions;
        text += &if next(2) == 0 {
            format!(" (call $f{callee})")
        } else {
            format!(" (call_indirect (type $f) (i32.const {callee}))")
        };
        text += &" (global.set $i32 (i32.xor (global.get $i32)))".repeat(operands as usize);
        text.extend(live.iter().map(|(at, (.., used))| format!(" {used} (local.get {at})))")));
        text += ")";
    }
    format!(r#"(module {text} (func (export "_start") (call $f0 (i32.const 0))))"#)
}

#[test]
fn calls_of_any_shape_are_as_deep_under_every_compiler() {
    let mut labs = labs();
    let mut depths = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let mut at = 0;
        let text = circle(|below| {
            at += 1;
            word(seed, at) % below
        });
        let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let reports = labs.each_mut().map(|lab| {
            let program = lab.compile(&wasm, &Options::default()).unwrap();
            lab.run(&program, &spec(), b"").unwrap().run
        });
        for report in &reports {
            assert_eq!(report.outcome, Outcome::Trapped(TrapKind::StackOverflow), "seed {seed}: {}", report.reason);
            assert_eq!((report.usage, &report.reason), (reports[0].usage, &reports[0].reason), "seed {seed}");
        }
        depths.insert(reports[0].usage.fuel);
    }
    assert!(depths.len() > 20, "{depths:?}");
}

/// A guest that fills memory with a pattern, moves a part of it in one operator, and exits with 3 where a byte is not where it belongs.
fn mover(target: u32, source: u32, size: u32) -> String {
    format!(
        r#"(module (memory 80)
        (func (export "_start") (local $at i32)
            (loop $more
                (i32.store (local.get $at) (i32.mul (local.get $at) (i32.const 2654435761)))
                (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const 5242880))))
            (memory.copy (i32.const {target}) (i32.const {source}) (i32.const {size}))
            (local.set $at (i32.const 0))
            (loop $more
                (if (i32.ne (i32.load (i32.add (i32.const {target}) (local.get $at)))
                    (i32.mul (i32.add (i32.const {source}) (local.get $at)) (i32.const 2654435761)))
                    (then (unreachable)))
                (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const {})))))) "#,
        size & !3
    )
}

#[test]
fn much_memory_is_copied_in_pieces_as_if_at_once() {
    let mut lab = lab(OptLevel::Speed);
    let mib = 1 << 20;
    for (target, source) in [(0, mib), (mib, 0), (4, 0), (0, 4), (mib + 4, mib), (3 * mib, 3 * mib)] {
        for size in [mib - 4, mib, mib + 1, 2 * mib - 8] {
            let report = run(&mut lab, &mover(target, source, size));
            assert_eq!(report.run.outcome, Outcome::Finished { exit_code: 0 }, "{target} {source} {size}: {}", report.run.reason);
        }
    }
    let mut fuel = |size: u32| run(&mut lab, &mover(0, 8, size)).run.usage.fuel.0;
    let per_mib = fuel(3 * mib) - fuel(2 * mib);
    assert!(fuel(2 * mib).abs_diff(fuel(mib) + per_mib) <= 1, "pieces cost nothing of their own");
}

#[test]
fn much_memory_that_does_not_fit_traps() {
    let mut lab = lab(OptLevel::Speed);
    let traps = [
        "(memory.fill (i32.const 1) (i32.const 7) (i32.const 5242880))",
        "(memory.copy (i32.const 1) (i32.const 0) (i32.const 5242880))",
        "(memory.copy (i32.const 0) (i32.const 1) (i32.const 5242880))",
        "(memory.copy (i32.const 0) (i32.const 4294967295) (i32.const 4294967295))",
    ];
    for trap in traps {
        let text = format!(r#"(module (memory 80) (func (export "_start") {trap}))"#);
        let report = run(&mut lab, &text);
        assert_eq!(report.run.outcome, Outcome::Trapped(TrapKind::MemoryOutOfBounds), "{trap}: {}", report.run.reason);
    }
}

#[test]
fn guests_may_use_the_meters_names_and_have_a_start_function() {
    let text = r#"(module
        (memory (export "$meter") 1 1)
        (global $started (export "$start") (mut i32) (i32.const 0))
        (func $begin (global.set $started (i32.const 7)))
        (start $begin)
        (func (export "_start")
            (if (i32.ne (global.get $started) (i32.const 7)) (then unreachable))
            (if (i32.ne (memory.size) (i32.const 1)) (then unreachable))
            (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
            (if (i64.ne (i64.load (i32.const 0)) (i64.const 0)) (then unreachable))))"#;
    let report = run(&mut lab(OptLevel::Speed), text);
    assert_eq!(report.run.outcome, Outcome::Finished { exit_code: 0 }, "{}", report.run.reason);
}

#[test]
fn memory_fuel_is_what_was_held_while_it_was_held() {
    let mut lab = lab(OptLevel::Speed);
    let grow = "(drop (memory.grow (i32.const 1)))";
    let grown_early = rounds(640_000, "").replace("(loop $more", &format!("{grow} (loop $more"));
    let [late, early] = [rounds(640_000, grow), grown_early].map(|text| run(&mut lab, &text).run.usage);
    assert_eq!(late.memory_peak, early.memory_peak);
    let pages_held = |usage: &Usage| usage.memory_fuel as f64 / usage.fuel.0 as f64 / 65_536.0;
    assert!(pages_held(&late) < 1.2 && pages_held(&early) > 1.8, "{late:?} {early:?}");
}

/// Pages that a module begins with cost next to nothing, and those that it grows by 160 times as much, though both are mapped when they are
/// touched: `(memory 4096)` and a store to each 4 KiB had 65,536 page faults for 0.2 million fuel.
#[test]
fn much_memory_costs_the_same_whether_it_is_there_or_grown() {
    let mut lab = lab(OptLevel::Speed);
    let mut fuel_of = |begins: u64, grows: u64| {
        let text = format!(r#"(module (memory {begins}) (func (export "_start") (drop (memory.grow (i32.const {grows})))))"#);
        run(&mut lab, &text).run.usage.fuel.0
    };
    let (there, grown) = (fuel_of(4096, 0), fuel_of(0, 4096));
    assert!((0.98..=1.0).contains(&(there as f64 / grown as f64)), "{there} where it is there, {grown} where it grows");
    // What a worker keeps mapped from job to job, more than compilers begin with by themselves, stays cheap.
    assert!(fuel_of(32, 0) - fuel_of(0, 0) < 1_000);
    let (few, more) = (fuel_of(32, 0), fuel_of(33, 0));
    assert_eq!(more - few, fuel_of(0, 1) - fuel_of(0, 0));
}
