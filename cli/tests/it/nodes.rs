//! Nodes that die, leave, and come back.

use std::path::Path;

use adit_client::{Job, JobHandle, Output, Source, Update};
use adit_protocol::{Fuel, PublicKey};
use rustix::process::Signal;

use crate::guest;
use crate::network::{Gateway, Home, Network, nodes_until};
use crate::process::{until, without_landlock};

/// Waits until an attempt starts, and says where.
async fn started(handle: &mut JobHandle) -> PublicKey {
    loop {
        if let Some(Update::Started { node, .. }) = handle.next().await.unwrap() {
            return node;
        }
    }
}

#[tokio::test]
async fn job_of_a_killed_node_finishes_on_the_other() {
    let mut network = Network::with_slots(&[1, 1]);
    let client = network.client().await;
    // Long enough that the node dies in its midst.
    let mut job = Job::new(Source::bytes(guest::steady(4_000_000_000)), Source::bytes(b"survives".as_slice()));
    job.spec.limits.fuel = Fuel(20_000_000_000);
    let mut handle = client.submit(job);
    let first = started(&mut handle).await;
    let mut log = client.logs(handle.id(), 0).await.unwrap();
    assert!(log.next().await.unwrap().is_some(), "the guest runs");
    network.take_node(first).kill();

    let second = started(&mut handle).await;
    assert_ne!(second, first);
    let done = handle.ended().await.unwrap();
    handle.settled().await.unwrap();
    let receipt = done.receipt.receipt();
    assert_eq!((receipt.node, receipt.attempt.0), (second, 2));
    assert_eq!(done.output, Output::Inline(b"survives".to_vec()));
    // The lost attempt is not billed, and the log tells of it.
    assert_eq!(network.adit(["receipts", "--json"]).run().ok().json_lines().len(), 1);
    let log = network.adit(["logs", &handle.id().to_string()]).run().ok();
    assert!(log.text().contains(&format!("attempt 2 on node {second}")), "{log:?}");
}

#[test]
fn job_that_loses_its_node_twice_is_given_up_with_the_reason() {
    let mut network = Network::with_slots(&[1, 1]);
    let run = network.run(&guest::hold()).args(["--json", "--fuel", "100T"]).start();
    let busy = |network: &Network| {
        let nodes = network.adit(["nodes", "--json"]).run().ok().json_lines();
        let node = nodes.iter().find(|node| node["slots_used"] == 1).expect("one of them runs it");
        node["node"].as_str().unwrap().parse::<PublicKey>().unwrap()
    };
    run.stderr.wait_for_text(guest::READY);
    let first = busy(&network);
    network.take_node(first).kill();
    run.stderr.wait_for("second start", |log| (log.matches(guest::READY).count() == 2).then_some(()));
    let second = busy(&network);
    assert_ne!(first, second);
    network.take_node(second).kill();

    let ran = run.wait().code(21);
    let object = ran.json();
    assert_eq!(object["outcome"], "node_lost");
    assert_eq!(object["price_microcredits"], 0);
    let reason = object["reason"].as_str().unwrap();
    assert!(reason.contains("came to no outcome (attempts: 2)"), "{reason}");
    assert!(reason.contains(&format!("node {} disconnected", &second.to_string()[..8])), "{reason}");
    assert!(reason.contains("no node is connected"), "{reason}");
    assert!(network.adit(["receipts", "--json"]).run().ok().stdout.is_empty());
    // Who asks later is told the same.
    let job = object["job"].as_str().unwrap();
    network.adit(["output", job]).run().code(21).says("came to no outcome (attempts: 2)");
    assert_eq!(network.adit(["status", job, "--json"]).run().ok().json()["state"], "failed");
}

/// A node that freezes is not gone: it wakes up with a result in its hands that nobody waits for any more.
#[tokio::test]
async fn frozen_node_loses_its_job_and_its_late_result_counts_for_nothing() {
    let network = Network::with_slots(&[1, 1]);
    let client = network.client().await;
    let mut handle = client.submit(Job::new(Source::bytes(guest::steady(1_000_000_000)), Source::bytes(b"thawed".as_slice())));
    let first = started(&mut handle).await;
    let frozen = network.node_of(first);
    frozen.signal(Signal::STOP);
    let second = started(&mut handle).await;
    assert_ne!(second, first);
    let done = handle.ended().await.unwrap();
    assert_eq!((done.receipt.receipt().node, done.output), (second, Output::Inline(b"thawed".to_vec())));
    handle.settled().await.unwrap();

    frozen.signal(Signal::CONT);
    nodes_until(&client, |nodes| nodes.len() == 2 && nodes.iter().all(|node| node.slots_used == 0)).await;
    assert_eq!(network.adit(["receipts", "--json"]).run().ok().json_lines().len(), 1);
    // It is as good as any other again.
    let (a, b) = (client.submit(echo_job()), client.submit(echo_job()));
    for mut handle in [a, b] {
        handle.ended().await.unwrap();
    }
}

fn echo_job() -> Job {
    Job::new(Source::bytes(guest::echo()), Source::bytes(b"hi".as_slice()))
}

#[test]
fn workers_of_a_killed_node_die_with_it() {
    let mut network = Network::with_slots(&[2]);
    let run = network.run(&guest::hold()).args(["--fuel", "100T"]).start();
    run.stderr.wait_for_text(guest::READY);
    let node = network.nodes.remove(0).process;
    let workers = node.children();
    assert!(!workers.is_empty(), "guests run in processes of their own");
    node.kill();
    until("its workers are gone", || workers.iter().all(|worker| !is_running(*worker)));
}

/// Whether a process is there and not only waiting to be reaped.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    // The state stands after the name, which stands in parentheses.
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']))
}

#[test]
fn node_that_is_told_to_stop_leaves_at_once_and_its_job_goes_on_elsewhere() {
    let mut network = Network::with_slots(&[1]);
    let job =
        network.adit(["submit"]).args([network.module(&guest::hold())]).args(["--fuel", "100T"]).run().ok().text().to_owned();
    let log = network.adit(["logs", "-f", &job]).start();
    log.stdout.wait_for_text(guest::READY);
    network.add_node(&["--slots", "1"]);
    let node = network.nodes.remove(0).process;
    node.signal(Signal::TERM);
    node.wait().ok().says("node stopped");
    log.stdout.wait_for("second start", |log| (log.matches(guest::READY).count() == 2).then_some(()));
    network.adit(["cancel", &job]).run().ok();
    // What it did until then is paid.
    let first = network.home.path("node-0.key");
    let earnings = network.adit(["node", "earnings", "--json", "--key"]).args([&first]).run().ok().json_lines();
    let [line] = &earnings[..] else { panic!("{earnings:?}") };
    assert_eq!((&line["kind"], &line["outcome"]), (&"paid".into(), &"preempted".into()));
}

#[tokio::test]
async fn nodes_come_back_after_the_gateway_does() {
    let mut network = Network::with_slots(&[1, 1]);
    let before = nodes_until(&network.client().await, |nodes| nodes.len() == 2).await;
    network.restart_gateway();
    let client = network.client().await;
    let after = nodes_until(&client, |nodes| nodes.len() == 2).await;
    let keys = |nodes: &[adit_protocol::NodeStatus]| nodes.iter().map(|node| node.node).collect::<Vec<_>>();
    assert_eq!(keys(&before), keys(&after));
    let done = client.submit(echo_job()).ended().await.unwrap();
    assert_eq!(done.output, Output::Inline(b"hi".to_vec()));
}

#[test]
fn node_that_is_there_before_its_gateway_waits_for_it() {
    let home = Home::new();
    let gateway = Gateway::start(&home, "127.0.0.1:0");
    let address = gateway.address.clone();
    gateway.process.kill();
    let node = home.adit(["node", "--slots", "1", "--gateway", &address.to_string()]).start();
    node.stderr.wait_for_text("not connected: ");
    let _gateway = Gateway::start(&home, &address.host);
    node.stderr.wait_for_text("connected to");
}

/// The gateway believes a killed node to live until its connection times out; the node itself may be back before.
#[tokio::test]
async fn node_that_is_back_at_once_takes_its_own_place() {
    let mut network = Network::with_slots(&[1]);
    let client = network.client().await;
    let mut job = Job::new(Source::bytes(guest::steady(4_000_000_000)), Source::bytes(b"back".as_slice()));
    job.spec.limits.fuel = Fuel(20_000_000_000);
    let mut handle = client.submit(job);
    let first = started(&mut handle).await;
    network.take_node(first).kill();
    network.start_node("node-0", &["--slots", "3"]);
    assert_eq!(started(&mut handle).await, first, "it gets its job again");
    let nodes = nodes_until(&client, |nodes| nodes.iter().all(|node| node.offer.slots == 3)).await;
    assert_eq!(nodes.iter().map(|node| node.node).collect::<Vec<_>>(), [first]);
    assert_eq!(handle.ended().await.unwrap().output, Output::Inline(b"back".to_vec()));
}

#[test]
fn nodes_are_listed_with_what_they_offer() {
    let mut network = Network::with_slots(&[2]);
    network.add_node(&[
        "--slots",
        "1",
        "--memory",
        "512MiB",
        "--label",
        "region=eu",
        "--allow-open",
        "--price-per-minute",
        "0.002",
    ]);
    let nodes = network.adit(["nodes", "--json"]).run().ok().json_lines();
    let slots = |n: u64| nodes.iter().find(|node| node["slots"] == n).unwrap();
    let (plain, other) = (slots(2), slots(1));
    assert_eq!((&plain["memory_bytes"], &plain["profiles"]), (&(1u64 << 30).into(), &serde_json::json!(["deterministic"])));
    assert_eq!(
        (&other["memory_bytes"], &other["labels"]),
        (&(1u64 << 29).into(), &serde_json::json!([["region", "eu"], ["sandbox", "strong"], ["arch", std::env::consts::ARCH]]))
    );
    assert_eq!((&other["profiles"], &other["price_per_minute"]), (&serde_json::json!(["deterministic", "open"]), &2000.into()));

    // A job that only one of them fits goes there.
    let run = |flags: &[&str]| network.run(&guest::echo()).args(["--json"]).args(flags).run().ok().json();
    assert_eq!(run(&["--label", "region=eu"])["node"], other["node"]);
    assert_eq!(run(&["--profile", "open"])["node"], other["node"]);
    assert_eq!(run(&["--memory", "1GiB"])["node"], plain["node"]);
    let table = network.adit(["nodes"]).run().ok();
    assert!(table.text().contains("region=eu") && table.text().lines().count() == 3, "{table:?}");
}

#[test]
fn without_landlock_a_node_starts_only_where_its_owner_allows_a_weak_sandbox_and_says_so() {
    without_landlock(|| {
        let mut network = Network::empty();
        let want = "the sandbox would be weak, because this kernel lacks Landlock";
        let gateway = network.gateway.address.to_string();
        let refused = network.home.adit(["node", "--gateway", &gateway]).run().code(1);
        refused.says(want).says("--allow-weak-sandbox");
        network.add_node(&["--slots", "1", "--allow-weak-sandbox"]);
        let [node] = &network.adit(["nodes", "--json"]).run().ok().json_lines()[..] else { panic!("one node came") };
        assert_eq!(node["labels"], serde_json::json!([["sandbox", "weak"], ["arch", std::env::consts::ARCH]]));

        let echo = || network.run(&guest::echo()).args(["--input", "-"]).input("weak");
        assert_eq!(echo().run().ok().text(), "weak");
        assert_eq!(echo().args(["--label", "sandbox=weak"]).run().ok().text(), "weak");
        echo().args(["--local"]).run().code(1).says(want).says("--allow-weak-sandbox");
        assert_eq!(echo().args(["--local", "--allow-weak-sandbox"]).run().ok().text(), "weak");
    });
}

#[test]
fn node_in_a_small_address_space_says_so_when_it_starts_and_bills_alike() {
    let mut network = Network::with_slots(&[1]);
    let usage = |network: &Network| network.run(&guest::echo()).args(["--json"]).run().ok().json()["usage"].clone();
    let roomy = usage(&network);
    network.nodes.clear();
    let args = ["node", "--slots", "1", "--gateway", &network.gateway.address.to_string()];
    let small = network.home.adit_within(12, args).start();
    small.stderr.wait_for_text("the address space is limited: one place for memories at once and 32 MiB of guard behind each");
    small.stderr.wait_for_text("connected to");
    assert_eq!(usage(&network), roomy);
    small.kill();
    network.home.adit_within(9, args).run().code(1).says("address space").says("`ulimit -v`");
}
