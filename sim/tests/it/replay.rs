use std::process::{Command, Output, Stdio};

use adit_sim::{Fault, Plan, Reduction, run};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adit-sim")).args(args).output().unwrap()
}

/// What a process of its own says of a seed's trace.
fn digest_elsewhere(seed: u64) -> String {
    let output = sim(&["--seed", &seed.to_string()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, rest) = text.split_once(", trace ").unwrap();
    rest.lines().next().unwrap().to_owned()
}

fn digest_here(seed: u64) -> String {
    let report = run(Plan::draw(seed, &Reduction::default()), false);
    report.digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn seed_gives_the_same_trace_in_every_process() {
    let digests: Vec<String> = (0..24).map(digest_here).collect();
    for (seed, digest) in digests.iter().enumerate() {
        assert_eq!(digest_here(seed as u64), *digest, "seed {seed}, here");
        assert_eq!(digest_elsewhere(seed as u64), *digest, "seed {seed}, in another process");
    }
    let mut distinct = digests.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), digests.len(), "another seed is another run");
}

#[test]
fn fault_that_is_left_out_leaves_the_rest_of_the_plan() {
    let whole = Plan::draw(7, &Reduction::default());
    let without = Reduction { without: vec![whole.faults[0]], jobs_max: Some(3), nodes_max: None };
    let part = Plan::draw(7, &without);
    assert_eq!(part.faults, whole.faults[1..]);
    assert_eq!((part.nodes, part.clients, part.active_us, part.jobs), (whole.nodes, whole.clients, whole.active_us, 3));
    let half = (0..400).map(|seed| Plan::draw(seed, &Reduction::default()).faults.len()).sum::<usize>() as f64;
    let mean = half / 400.0 / Fault::ALL.len() as f64;
    assert!((0.45..0.55).contains(&mean), "a fault is in {mean} of the plans");
}

#[test]
fn command_line_is_checked() {
    let rows: [(&[&str], &str); 14] = [
        (&["--sede", "1"], "--sede"),
        (&["--seed"], "--seed"),
        (&["--seed", "x"], "--seed"),
        (&["--seeds", "-1"], "--seeds"),
        (&["--without", "rain"], "`rain` is not a fault"),
        (&["--seeds", "0"], "--seeds"),
        (&["--nodes", "0"], "--nodes"),
        (&["--jobs", "0", "--seed", "1"], "--jobs"),
        (&["--seed", "1", "--seeds", "2"], "--seed is for one run"),
        (&["--from", "1", "--seed", "1"], "--seed is for one run"),
        (&["--seeds", "2", "--from", "1", "--seed", "1"], "--seed is for one run"),
        (&["--trace"], "--trace shows one run"),
        (&["--trace", "--seeds", "5"], "--trace shows one run"),
        (&["--from", "18446744073709551615"], "there are no 1000 seeds"),
    ];
    for (args, want) in rows {
        let output = sim(args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}");
        assert!(told.starts_with("sim: ") && told.contains(want), "{args:?}: {told}");
    }
    let output = sim(&["--seed", "3", "--trace", "--without", "loss", "--jobs", "5"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("faults stop"));
}

#[test]
fn states_that_are_never_reached_are_not_taken_for_a_seed_that_failed() {
    let output = sim(&["--seeds", "1000", "--jobs", "1", "--nodes", "1"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stdout).unwrap().contains("states were never reached"));
}

#[test]
fn trace_that_nobody_reads_to_its_end_is_no_failure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit-sim"));
    let mut child = command.args(["--seed", "3", "--trace"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn world_that_cannot_be_built_is_a_failure_with_its_seed() {
    let report = run(Plan { modules: 0, ..Plan::draw(11, &Reduction::default()) }, false);
    let failure = report.failure.unwrap();
    assert!(failure.what.starts_with("panicked"), "{}", failure.what);
    assert_eq!((report.plan.seed, report.steps, failure.step), (11, 0, 0));
}
