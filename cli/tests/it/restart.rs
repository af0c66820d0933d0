//! A gateway that is killed, and what it must not forget.

use std::collections::BTreeSet;

use adit_client::{Job, Output, Source, Update};
use adit_protocol::BlobRef;

use crate::guest;
use crate::network::{Gateway, Network, nodes_until};

#[tokio::test]
async fn killed_gateway_keeps_settled_receipts_and_open_jobs_come_to_their_end() {
    let mut network = Network::with_slots(&[1, 1]);
    let client = network.client().await;
    let echo = Source::bytes(guest::echo());
    let mut settled = BTreeSet::new();
    for n in 0..20u8 {
        let mut handle = client.submit(Job::new(echo.clone(), Source::bytes(vec![n; 64])));
        let done = handle.ended().await.unwrap();
        handle.settled().await.unwrap();
        settled.insert(hex::encode(done.receipt.signed().to_bytes()));
    }
    // Two run and two wait when the gateway dies.
    let steady = Source::bytes(guest::steady(2_000_000_000));
    let inputs: Vec<Vec<u8>> = (0..4u8).map(|n| vec![n; 100]).collect();
    let mut handles: Vec<_> =
        inputs.iter().map(|input| client.submit(Job::new(steady.clone(), Source::bytes(input.clone())))).collect();
    for handle in &mut handles[..2] {
        while !matches!(handle.next().await.unwrap(), Some(Update::Started { .. })) {}
    }

    network.restart_gateway();
    let rows = |network: &Network| network.adit(["receipts", "--json"]).run().ok().json_lines();
    let kept: BTreeSet<String> = rows(&network).iter().map(|row| row["receipt"].as_str().unwrap().to_owned()).collect();
    assert!(kept.is_superset(&settled), "every settled receipt is there");

    // The handles know nothing of the restart: the same keys name the same jobs.
    for (handle, input) in handles.iter_mut().zip(inputs) {
        let settled = handle.settled().await.unwrap();
        assert_eq!(settled.done.output, Output::Inline(input));
    }
    let rows = rows(&network);
    let jobs: BTreeSet<&str> = rows.iter().map(|row| row["job"].as_str().unwrap()).collect();
    assert_eq!((rows.len(), jobs.len()), (24, 24), "no job is billed twice");
    assert!(rows.iter().all(|row| row["valid"] == true));
}

#[test]
fn run_that_waits_survives_the_gateways_death() {
    let mut network = Network::with_slots(&[1]);
    let run = network.run(&guest::steady(2_000_000_000)).args(["--input", "-"]).input("still here").start();
    run.stderr.wait_for_text(guest::READY);
    network.restart_gateway();
    let ran = run.wait().ok().says("adit: gateway lost (").says("adit: gateway found again");
    assert_eq!(ran.text(), "still here");
    drop(network);
}

/// Once such a job's client sent its module again and again, and heard each time that it was there.
#[test]
fn blob_that_a_power_cut_left_short_is_sent_again() {
    let mut network = Network::with_slots(&[1]);
    let module = guest::echo();
    network.run(&module).args(["--input", "-"]).input("first").run().ok();
    let blob = network.home.path(format!("gateway/blobs/{}", BlobRef::of(&module).digest));
    std::fs::OpenOptions::new().write(true).open(&blob).unwrap().set_len(10).unwrap();
    network.restart_gateway();
    assert_eq!(network.run(&module).args(["--input", "-"]).input("second").run().ok().text(), "second");
    assert_eq!(std::fs::read(blob).unwrap(), module);
}

#[test]
fn settled_job_is_attached_to_after_a_restart() {
    let mut network = Network::with_slots(&[1]);
    let job = network.run(&guest::echo()).args(["--input", "-", "--json"]).input("remembered").run().ok().json();
    network.restart_gateway();
    let id = job["job"].as_str().unwrap();
    assert_eq!(network.adit(["output", id]).run().ok().text(), "remembered");
    let again = network.adit(["output", id, "--json"]).run().ok().json();
    assert_eq!(again["receipt"], job["receipt"]);
    let status = network.adit(["status", id, "--json"]).run().ok().json();
    assert_eq!((&status["state"], &status["settled"]), (&"done".into(), &true.into()));
}

#[test]
fn large_output_of_a_settled_job_outlives_the_gateway_too() {
    let mut network = Network::with_slots(&[1]);
    let job = network.run(&guest::flood(3)).args(["--json", "--output", "first"]).run().ok().json();
    network.restart_gateway();
    network.adit(["output", job["job"].as_str().unwrap(), "--output", "second"]).run().ok();
    let read = |name| std::fs::read(network.home.path(name)).unwrap();
    assert_eq!(read("second").len(), 3 << 20);
    assert!(read("second") == read("first"));
}

#[test]
fn job_that_nobody_waits_for_is_unknown_after_a_restart_and_says_so() {
    let mut network = Network::with_slots(&[1]);
    let job =
        network.adit(["submit"]).args([network.module(&guest::hold())]).args(["--fuel", "100T"]).run().ok().text().to_owned();
    network.adit(["logs", "-f", &job]).start().stdout.wait_for_text(guest::READY);
    network.restart_gateway();
    let ran = network.adit(["output", &job, "--json"]).run().code(20);
    let object = ran.json();
    assert_eq!((&object["job"], &object["outcome"]), (&job.as_str().into(), &"refused".into()));
    assert!(object["reason"].as_str().unwrap().contains("the gateway may have restarted before it settled"), "{object}");
}

#[test]
fn second_gateway_on_the_same_data_is_refused() {
    let network = Network::with_slots(&[1]);
    let data = network.home.path("gateway").display().to_string();
    let second = Gateway::command(&network.home, "127.0.0.1:0").run().code(1);
    let second = second.says(&format!("ledger {data}/ledger.redb is open already; a ledger has one gateway at a time"));
    assert!(second.stdout.is_empty(), "it announces nothing: {second:?}");
    // The first one works on, and its ledger is whole.
    network.run(&guest::echo()).run().ok();
}

#[test]
fn data_of_another_gateway_is_refused() {
    let Network { home, gateway, .. } = Network::empty();
    gateway.process.kill();
    home.adit(["key", "new", "--key", "other.key"]).run().ok();
    let other = home.adit(["gateway", "--listen", "127.0.0.1:0", "--data", "gateway", "--key", "other.key"]);
    other.run().code(1).says(&format!("the ledger belongs to gateway {}", gateway.address.key));
}

#[test]
fn second_gateway_on_the_same_port_is_refused() {
    let network = Network::empty();
    let host = &network.gateway.address.host;
    let other = crate::network::Home::new();
    Gateway::command(&other, host).run().code(1).says(&format!("cannot listen on {host}"));
}

#[tokio::test]
async fn stopped_gateway_says_so_and_ends_cleanly() {
    let network = Network::with_slots(&[1]);
    nodes_until(&network.client().await, |nodes| nodes.len() == 1).await;
    let Network { home, gateway, nodes } = network;
    gateway.process.signal(rustix::process::Signal::TERM);
    gateway.process.wait().ok().says("gateway stopped");
    nodes[0].process.stderr.wait_for_text("not connected: ");
    drop(home);
}
