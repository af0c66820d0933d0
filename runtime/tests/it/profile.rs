//! Profiles: a job that is looked at ends as it does otherwise, and where its fuel went adds up to its bill.

use std::collections::HashMap;
use std::sync::Arc;

use adit_protocol::{Fuel, Outcome, TrapKind};
use adit_runtime::{FuelProfile, Place};
use tempfile::TempDir;

use crate::support::{Ended, Host, Job, PATIENT_LIMITS, echo, spin};

/// The same runtime twice: one that looks, and one that does not.
struct Pair {
    plain: Host,
    profiling: Host,
}

impl Pair {
    fn new() -> Self {
        let folder: Arc<TempDir> = Arc::new(tempfile::tempdir().unwrap());
        let host = |profile| {
            Host::with(Arc::clone(&folder), |config| {
                config.profile = profile;
                // The largest module here is to compile on a busy and slow machine too.
                config.compile_limits = PATIENT_LIMITS;
            })
        };
        Self { plain: host(false), profiling: host(true) }
    }

    /// Runs a job on both, and checks that they differ in nothing but the profile, which adds up to the bill.
    async fn run(&self, label: &str, job: Job) -> (Ended, FuelProfile) {
        let plain = self.plain.run(job.clone()).await;
        let mut looked_at = self.profiling.run(job).await;
        let profile = *looked_at.report.profile.take().unwrap_or_else(|| panic!("{label}: no profile"));
        assert_eq!(plain.report.profile, None, "{label}");
        looked_at.report.run_us = plain.report.run_us;
        assert_eq!(looked_at.report, plain.report, "{label}");
        assert_eq!((&looked_at.output, &looked_at.log), (&plain.output, &plain.log), "{label}");
        assert_eq!(profile.fuel(), plain.report.usage.fuel.0, "{label}");
        let mut nodes: HashMap<Place, u64> = HashMap::new();
        for node in &profile.nodes {
            *nodes.entry(node.place).or_default() += node.own_fuel;
        }
        for function in &profile.functions {
            assert_eq!(nodes[&function.place], function.own_fuel, "{label}: {function:?}");
        }
        (plain, profile)
    }
}

fn own(profile: &FuelProfile, function: u32) -> u64 {
    of(profile, function).own_fuel
}

fn of(profile: &FuelProfile, function: u32) -> adit_runtime::CalledFunction {
    let found = profile.functions.iter().find(|called| called.place == Place::Function(function));
    *found.unwrap_or_else(|| panic!("function {function} was not called: {profile:?}"))
}

/// Two functions, of which the second does three times the work of the first for each call, and is called twice as often.
const KNOWN: &str = r#"(module
    (memory (export "memory") 1)
    (func $one (param $turns i32)
        (loop $turn (br_if $turn (local.tee $turns (i32.sub (local.get $turns) (i32.const 1))))))
    (func $three (param $turns i32)
        (call $one (local.get $turns)) (call $spin (local.get $turns)) (call $spin (local.get $turns)))
    (func $spin (param $turns i32)
        (loop $turn (br_if $turn (local.tee $turns (i32.sub (local.get $turns) (i32.const 1))))))
    (func (export "_start")
        (call $one (i32.const 10000)) (call $three (i32.const 10000)) (call $three (i32.const 10000))))"#;

/// What an inlined call costs is told as that of a call: a function that is too long to be inlined into itself has the same tree.
#[tokio::test]
async fn inlined_calls_have_the_tree_of_calls() {
    let module = |long: &str| {
        Job::wat(&format!(
            r#"(module (memory (export "memory") 1) (elem declare func $f) (global $g (mut i32) (i32.const 0))
                (func $f (param $n i32) (result i32) (local $i i32)
                    {long}
                    (if (i32.eqz (local.get $n)) (then (return (i32.const 1))))
                    (global.set $g (i32.add (global.get $g) (call $f (i32.sub (local.get $n) (i32.const 1)))))
                    (drop (ref.func $f))
                    (loop $l
                        (global.set $g (i32.div_u (global.get $g) (i32.const 3)))
                        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4))))
                    (if (i32.and (local.get $n) (i32.const 1)) (then (drop (call $f (i32.const 0)))))
                    (global.get $g))
                (func (export "_start") (drop (call $f (i32.const 5))) (drop (call $f (i32.const 2)))))"#
        ))
    };
    let pair = Pair::new();
    let (inlined, profile) = pair.run("inlined", module("")).await;
    let (called, calls) = pair.run("called", module(&"nop ".repeat(128))).await;
    assert_eq!(inlined.report.usage.fuel, called.report.usage.fuel);
    assert_eq!(profile, calls);
    assert!(profile.nodes.len() > 8, "{profile:?}");
}

#[tokio::test]
async fn known_work_has_the_known_share() {
    let (ended, profile) = Pair::new().run("known", Job::wat(KNOWN)).await;
    ended.assert_ok();
    let [one, three, spin, start] = [0, 1, 2, 3].map(|function| of(&profile, function));
    assert_eq!([one.calls, three.calls, spin.calls, start.calls], [3, 2, 4, 1]);
    // Both do the same work for each call, to the unit: three calls against four.
    assert!((one.own_fuel * 4).abs_diff(spin.own_fuel * 3) <= 4, "{one:?} {spin:?}");
    assert!(one.own_fuel > 10_000, "{one:?}");
    // What a function calls is in its total and not in its own.
    assert!(three.own_fuel < 100, "{three:?}");
    assert!((three.own_fuel + spin.own_fuel + one.own_fuel * 2 / 3).abs_diff(three.total_fuel) <= 2, "{three:?}");
    let instance = profile.functions[0];
    assert_eq!((instance.place, instance.total_fuel), (Place::Instance, ended.report.usage.fuel.0));
    assert_eq!(instance.own_fuel + start.total_fuel, instance.total_fuel);
    // In the tree `one` has a node for each who calls it.
    let nodes: Vec<(u64, Place)> = profile
        .nodes
        .iter()
        .filter(|node| node.place == Place::Function(0))
        .map(|node| (node.calls, profile.nodes[node.parent as usize].place))
        .collect();
    assert_eq!(nodes, [(1, Place::Function(3)), (2, Place::Function(1))]);
}

/// Calls itself, directly and through a table, and the host; ends as told: 0 returns, 1 traps, 2 recurses without end, 3 spins.
fn busy(ending: u32) -> Job {
    Job::wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
            (type $fib (func (param i32) (result i32)))
            (memory (export "memory") 2 8)
            (table 3 funcref)
            (elem (i32.const 0) $fib $twice $proc_exit)
            (global $f funcref (ref.func $twice))
            (func $fib (param $n i32) (result i32)
                (if (result i32) (i32.lt_u (local.get $n) (i32.const 2)) (then (local.get $n)) (else (i32.add
                    (call $fib (i32.sub (local.get $n) (i32.const 1)))
                    (call_indirect (type $fib) (i32.sub (local.get $n) (i32.const 2)) (i32.const 0))))))
            (func $twice (type $fib) (i32.mul (local.get 0) (i32.const 2)))
            (func $many (param i32 i64 f32 f64 v128) (result i32 v128 f64)
                (local.get 0) (local.get 4) (local.get 3))
            (func $endless (param i32) (result i32) (i32.add (call $endless (local.get 0)) (i32.const 1)))
            (func (export "_start") (local $at i32)
                (memory.fill (i32.const 4096) (i32.const 7) (i32.const 60000))
                (memory.copy (i32.const 70000) (i32.const 4096) (i32.const 50000))
                (drop (memory.grow (i32.const 1)))
                (i32.store (i32.const 64) (call $fib (i32.const 17)))
                (drop (call_indirect (type $fib) (i32.const 4) (i32.const 1)))
                (call $many (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4) (v128.const i64x2 5 6)) drop drop drop
                (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 4))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (if (i32.eq (i32.const {ending}) (i32.const 1)) (then (drop (i32.div_u (i32.const 1) (local.get $at)))))
                (if (i32.eq (i32.const {ending}) (i32.const 2)) (then (drop (call $endless (i32.const 0)))))
                (if (i32.eq (i32.const {ending}) (i32.const 3)) (then (loop $forever (drop (call $fib (i32.const 3))) (br $forever))))
                (call_indirect (param i32) (i32.const 5) (i32.const 2))))"#
    ))
}

#[tokio::test]
async fn profile_adds_up_however_the_job_ends() {
    let pair = Pair::new();
    let write = "(call $write (i32.const 1) (i32.const 1024) (i32.const 12))";
    let start =
        r#"(module (memory (export "memory") 1) (func $begin (drop (memory.grow (i32.const 0)))) (func (export "_start")))"#;
    for (label, job, outcome) in [
        ("exit through a table", busy(0), Outcome::Finished { exit_code: 5 }),
        ("trap", busy(1), Outcome::Trapped(TrapKind::IntegerDivisionByZero)),
        ("endless recursion", busy(2), Outcome::Trapped(TrapKind::StackOverflow)),
        ("out of fuel in many calls", busy(3).with(|spec| spec.limits.fuel = Fuel(2_000_003)), Outcome::OutOfFuel),
        ("out of fuel in one loop", spin().with(|spec| spec.limits.fuel = Fuel(1_000_003)), Outcome::OutOfFuel),
        ("out of fuel at once", spin().with(|spec| spec.limits.fuel = Fuel(1)), Outcome::OutOfFuel),
        ("echo", echo().input(&[7; 300_000]), Outcome::Finished { exit_code: 0 }),
        (
            "a pointer outside of memory",
            Job::body("(call $log (i32.const 1) (i32.const -1) (i32.const 9))"),
            Outcome::Trapped(TrapKind::HostCall),
        ),
        ("exit", Job::body(&format!("{write} (call $proc_exit (i32.const 3))")), Outcome::Finished { exit_code: 3 }),
        ("nothing to call", Job::wat(start), Outcome::Finished { exit_code: 0 }),
    ] {
        let (ended, _) = pair.run(label, job).await;
        assert_eq!(ended.outcome(), outcome, "{label}: {}", ended.report.reason);
    }
}

#[tokio::test]
async fn calls_of_the_host_are_functions_too() {
    let (_, profile) = Pair::new().run("exit", busy(0)).await;
    let [write, exit] = [0, 1].map(|function| of(&profile, function));
    assert_eq!([write.calls, exit.calls], [1, 1]);
    // The price of a call, and a little for each byte and buffer.
    assert!((150..200).contains(&write.own_fuel) && (150..160).contains(&exit.own_fuel), "{write:?} {exit:?}");
    // `fib(17)` takes 2 * fib(18) - 1 calls.
    assert_eq!(of(&profile, 2).calls, 2 * 2584 - 1);
    assert!(own(&profile, 2) > own(&profile, 3));
}

#[tokio::test]
async fn as_many_functions_as_a_module_may_have_are_profiled() {
    let functions = 20_000;
    let each: String = (1..functions).map(|n| format!("(func $f{n} (global.set 0 (i32.const {n})))")).collect();
    let calls: String = (1..functions).map(|n| format!("(call $f{n})")).collect();
    let module = format!(
        r#"(module (global (mut i32) (i32.const 0)) (memory (export "memory") 1) {each} (func (export "_start") {calls}))"#
    );
    let (ended, profile) = Pair::new().run("many functions", Job::wat(&module)).await;
    ended.assert_ok();
    assert_eq!(profile.functions.len(), functions + 1);
    assert!(profile.functions[1..functions].iter().all(|called| called.calls == 1));
}
