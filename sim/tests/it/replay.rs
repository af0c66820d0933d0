use std::process::{Command, Output};

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
    for args in [&["--sede", "1"][..], &["--seed"], &["--seed", "x"], &["--without", "rain"]] {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    let output = sim(&["--seed", "3", "--trace", "--without", "loss", "--jobs", "5"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("faults stop"));
}

#[test]
fn world_that_cannot_be_built_is_a_failure_with_its_seed() {
    let report = run(Plan { modules: 0, ..Plan::draw(11, &Reduction::default()) }, false);
    let failure = report.failure.unwrap();
    assert!(failure.what.starts_with("panicked"), "{}", failure.what);
    assert_eq!((report.plan.seed, report.steps, failure.step), (11, 0, 0));
}
