//! The flags that say where a job may run, and when: from the command line, through a gateway, to the node that gets it.

use adit_protocol::{Attempt, Outcome};

use crate::attempts::{FINISHED, Hand};
use crate::guest;
use crate::hostile::{INPUT, offer};
use crate::network::Network;

/// What a job of an unknown module is taken to need.
const FUEL: f64 = 200e9;

#[test]
fn region_preference_and_deadline_lead_a_job_to_its_node() {
    let mut network = Network::empty();
    // Dear and fast; cheap and slow.
    network.add_node(&["--slots", "1", "--region", "eu", "--price-per-minute", "0.5"]);
    network.add_node(&["--slots", "1", "--region", "us", "--price-per-minute", "0.0001", "--cpu-share", "10"]);
    let [fast, slow] = [0, 1].map(|n| network.nodes[n].key.to_string());
    let nodes = network.adit(["nodes", "--json"]).run().ok().json_lines();
    let seconds_on = |key: &str| {
        let node = nodes.iter().find(|node| node["node"] == key).unwrap();
        FUEL / node["claimed_fuel_per_second"].as_f64().unwrap()
    };
    let (sooner, later) = (seconds_on(&fast), seconds_on(&slow));
    assert!(2.0 * sooner < later, "a tenth of a core: {sooner} and {later}");
    let between = format!("{}s", (sooner * later).sqrt() as u64);

    // A module of its own each time, so that nothing is known of what it takes.
    let run = |n: usize, flags: &[&str]| {
        network.run(&guest::steady(7_000 + 7 * n as u64)).args(["--fuel", "200G", "--json"]).args(flags).run()
    };
    let cases: [(&[&str], &str); 6] = [
        (&["--region", "us"], &slow),
        (&["--label", "region=eu"], &fast),
        (&["--region", "eu", "--prefer", "cheap"], &fast),
        (&["--prefer", "fast"], &fast),
        (&["--prefer", "cheap"], &slow),
        (&["--prefer", "cheap", "--deadline", &between], &fast),
    ];
    for (n, (flags, node)) in cases.into_iter().enumerate() {
        assert_eq!(run(n, flags).ok().json()["node"], node, "{flags:?}");
    }
    let refused = |n, flags: &[&str]| run(n, flags).code(20).json()["reason"].as_str().unwrap().to_owned();
    let late = refused(cases.len(), &["--deadline", "1s"]);
    assert!(late.contains("the deadline is in") && late.contains("the job would take"), "{late}");
    let nowhere = refused(cases.len(), &["--region", "mars"]);
    assert!(nowhere.ends_with("no node fits: 2 without a label (--label)"), "{nowhere}");
}

#[test]
fn job_of_a_higher_priority_goes_before_one_that_came_first() {
    let network = Network::with_slots(&[1]);
    let submit = |priority: &str| {
        let submit = network.adit(["submit", "--json", "--fuel", "100T", "--priority", priority]);
        submit.args([network.module(&guest::hold())]).run().ok().json()["job"].as_str().unwrap().to_owned()
    };
    // Each holds the slot until it is stopped.
    let works = |job: &str| network.adit(["logs", "-f", job]).start().stdout.wait_for_text(guest::READY);
    let first = submit("0");
    works(&first);
    let [low, high] = ["0", "7"].map(submit);
    network.adit(["cancel", &first]).run().ok();
    works(&high);
    let jobs = network.adit(["status", "--json"]).run().ok().json_lines();
    let state = |job: &str| jobs.iter().find(|row| row["job"] == job).unwrap()["state"].clone();
    assert_eq!((state(&low), state(&high)), ("queued".into(), "running".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn job_that_may_be_hedged_gets_a_second_attempt_where_the_first_takes_long() {
    let network = Network::empty();
    let mut first = Hand::join_with(&network, "first", offer(1)).await.unwrap_or_else(|no| panic!("{no}"));
    let run = network.run(&guest::echo()).args(["--input", "-", "--fuel", "10M", "--hedge"]).input(INPUT).start();
    let lease = first.lease().await;
    let mut second = Hand::join_with(&network, "second", offer(1)).await.unwrap_or_else(|no| panic!("{no}"));
    let again = second.lease().await;
    assert_eq!((again.job, again.attempt), (lease.job, Attempt(2)));
    second.finish(&again, FINISHED, 9_000_000);
    first.cancelled(&lease).await;
    first.finish(&lease, Outcome::Cancelled, 5_000_000);
    assert_eq!(run.wait().ok().stdout, INPUT);
}
