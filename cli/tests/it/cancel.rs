//! Stopping jobs: while they run, while they wait, and when it is too late.

use std::collections::BTreeSet;
use std::fs::File;

use adit_client::{Job, JobError, Output, Source, Update};
use adit_protocol::{ByteCount, Fuel, Outcome};
use rustix::process::Signal;

use crate::guest;
use crate::network::{Gateway, Home, Network, WELCOME};
use crate::process::until;

/// Submits a job that holds a slot until it is stopped, and waits until it does.
fn occupy(network: &Network) -> String {
    let job =
        network.adit(["submit"]).args([network.module(&guest::hold())]).args(["--fuel", "100T"]).run().ok().text().to_owned();
    network.adit(["logs", "-f", &job]).start().stdout.wait_for_text(guest::READY);
    job
}

#[test]
fn cancelled_job_is_billed_for_what_it_used_and_frees_its_slot() {
    let network = Network::with_slots(&[1]);
    let job = occupy(&network);
    let told = network.adit(["cancel", &job, "--json"]).run().ok().json();
    assert_eq!((&told["job"], &told["outcome"]), (&job.as_str().into(), &"cancelled".into()));

    let end = network.adit(["output", &job, "--json"]).run().code(14).json();
    assert_eq!(end["outcome"], "cancelled");
    let fuel = end["usage"]["fuel"].as_u64().unwrap();
    assert!(fuel > 0, "{end}");
    let receipts = network.adit(["receipts", "--json"]).run().ok().json_lines();
    assert_eq!(receipts.len(), 1);
    assert_eq!((&receipts[0]["job"], &receipts[0]["fuel"]), (&end["job"], &end["usage"]["fuel"]));

    assert_eq!(network.run(&guest::echo()).args(["--input", "-"]).input("next").run().ok().text(), "next");
}

/// Its node had sent what the job wrote in baseline code, and signed for less; the gateway took no such receipt, and the node was blamed.
#[tokio::test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "baseline code is made on x86-64 alone")]
async fn job_that_began_again_and_is_cancelled_before_it_has_written_all_again_is_billed() {
    let network = Network::with_slots(&[1]);
    let client = network.client().await;
    let mut told = Vec::new();
    for n in 0..5 {
        let mut job = Job::new(Source::bytes(guest::large_hold(n)), Source::bytes(b"".as_slice()));
        job.spec.limits.fuel = Fuel(100_000_000_000_000);
        let mut handle = client.submit(job);
        told.clear();
        while told != [2, 1, 2] && told != [2, 2] {
            if let Update::Progress { done, .. } = handle.next().await.unwrap().expect("it does not end by itself") {
                told.push(done);
            }
        }
        handle.cancel();
        let done = handle.settled().await.unwrap().done;
        let receipt = done.receipt.receipt();
        assert_eq!((receipt.outcome, receipt.usage.bytes_out), (Outcome::Cancelled, ByteCount(0)), "{told:?}");
        assert!(receipt.usage.fuel.0 > 0 && receipt.cost.0 > 0 && done.output == Output::Inline(Vec::new()), "{done:?}");
        if told == [2, 1, 2] {
            return;
        }
    }
    panic!("the optimised code is always there too soon: {told:?}");
}

#[test]
fn job_cancelled_in_the_queue_never_runs_and_costs_nothing() {
    let network = Network::with_slots(&[1]);
    let running = occupy(&network);
    let waiting = network.adit(["submit", "--json"]).args([network.module(&guest::echo())]).run().ok().json();
    assert_eq!(waiting["state"], "queued");
    let waiting = waiting["job"].as_str().unwrap();
    let told = network.adit(["cancel", waiting]).run().ok();
    assert!(told.text().ends_with("cancelled before it came to an outcome"), "{told:?}");
    network.adit(["cancel", &running]).run().ok();
    let receipts = network.adit(["receipts", "--json"]).run().ok().json_lines();
    assert_eq!(receipts.iter().map(|row| row["job"].as_str().unwrap()).collect::<Vec<_>>(), [running]);
}

/// With a long time to come back after, the end must not wait for it.
#[test]
fn run_that_is_interrupted_while_the_gateway_has_no_room_ends_at_once_and_leaves_nothing() {
    let home = Home::new();
    let gateway = Gateway::start_with(&home, "127.0.0.1:0", &["--queue-max", "1", WELCOME[0], WELCOME[1]]);
    let mut network = Network { home, gateway, nodes: Vec::new() };
    network.add_node(&["--slots", "1"]);
    let occupying = occupy(&network);
    let waiting = network.adit(["submit"]).args([network.module(&guest::echo())]).run().ok().text().to_owned();

    let run = network.run(&guest::echo()).args(["--retry-for", "1h", "--json"]).start();
    run.stderr.wait_for_text("the queue is full (1 jobs)");
    run.signal(Signal::INT);
    let ran = run.wait().code(14);
    let end = ran.json();
    assert!(end["reason"].as_str().unwrap().ends_with("cancelled before it came to an outcome"), "{end}");
    // The gateway may remember that it refused the job, but has only the others to do.
    let jobs = network.adit(["status", "--json"]).run().ok().json_lines();
    let undone = jobs.iter().filter(|job| job["state"] == "running" || job["state"] == "queued");
    let undone: BTreeSet<&str> = undone.map(|job| job["job"].as_str().unwrap()).collect();
    assert_eq!(undone, BTreeSet::from([occupying.as_str(), &waiting]), "{jobs:?}");

    // Once there is room, a job that waits comes in by itself.
    let run = network.run(&guest::echo()).args(["--retry-for", "1h", "--input", "-"]).input("at last").start();
    run.stderr.wait_for_text("the queue is full (1 jobs)");
    network.adit(["cancel", &occupying]).run().ok();
    assert_eq!(run.wait().ok().text(), "at last");
}

#[test]
fn interrupted_run_cancels_its_job_and_says_so() {
    let network = Network::with_slots(&[1]);
    let run = network.run(&guest::hold()).args(["--fuel", "100T", "--json"]).start();
    run.stderr.wait_for_text(guest::READY);
    run.signal(Signal::INT);
    let ran = run.wait().code(14);
    assert_eq!(ran.json()["outcome"], "cancelled");
    assert_eq!(network.adit(["receipts", "--json"]).run().ok().json()["outcome"], "cancelled");
}

#[test]
fn second_interrupt_leaves_at_once_and_the_job_to_its_fate() {
    let network = Network::with_slots(&[1]);
    let run = network.run(&guest::hold()).args(["--fuel", "100T", "--json"]).start();
    run.stderr.wait_for_text(guest::READY);
    // A node that does not answer: nothing confirms the cancellation.
    network.nodes[0].process.signal(Signal::STOP);
    run.signal(Signal::INT);
    run.stderr.wait_for_text("cancelling job");
    run.signal(Signal::INT);
    let ran = run.wait().code(130).says("tells what becomes of it");
    // What cannot be known is not guessed.
    let object = ran.json();
    assert_eq!((&object["outcome"], &object["price_microcredits"]), (&"cancelled".into(), &serde_json::Value::Null));
}

#[test]
fn interrupt_during_the_upload_ends_the_run_and_nothing_is_billed() {
    let network = Network::with_slots(&[1]);
    let input = File::create(network.home.path("large")).unwrap();
    input.set_len(1 << 29).unwrap();
    let run = network.run(&guest::sum()).args(["--json", "--input", "large", "--fuel", "100G"]).start();
    until("an upload has begun", || network.home.folder_bytes("gateway/blobs") > 1 << 22);
    run.signal(Signal::INT);
    let object = run.wait().code(14).json();
    assert_eq!((&object["outcome"], &object["price_microcredits"]), (&"cancelled".into(), &0.into()));
    assert!(network.adit(["receipts", "--json"]).run().ok().stdout.is_empty());
}

/// The gateway asks for the blobs of a job that it then is not to know any more.
#[tokio::test]
async fn job_cancelled_before_its_upload_is_never_submitted() {
    let network = Network::with_slots(&[1]);
    let client = network.client().await;
    let mut handle = client.submit(Job::new(Source::bytes(guest::echo()), Source::bytes(b"never sent".to_vec())));
    // Nothing was read yet: the gateway's answer to the submission is on its way.
    handle.cancel();
    assert!(matches!(handle.settled().await, Err(JobError::CancelledInQueue { job }) if job == handle.id()));
    assert!(network.adit(["status", "--json"]).run().ok().stdout.is_empty(), "the gateway knows no job");
    assert_eq!(network.home.folder_bytes("gateway/blobs"), 0, "nothing was sent");
}

/// It took a second Ctrl-C, or until the gateway was given up.
#[test]
fn interrupt_while_the_gateway_is_lost_ends_the_run_at_once_and_the_next_gateway_has_nothing_of_it() {
    let mut network = Network::with_slots(&[1]);
    let run = network.run(&guest::hold()).args(["--fuel", "100T", "--json"]).start();
    run.stderr.wait_for_text(guest::READY);
    network.gateway.process.kill_in_place();
    run.stderr.wait_for_text("gateway lost");
    run.signal(Signal::INT);
    let object = run.wait().code(130).says("the gateway does not answer; `adit cancel").json();
    assert_eq!((&object["outcome"], &object["price_microcredits"]), (&"cancelled".into(), &serde_json::Value::Null));
    network.restart_gateway();
    assert!(network.adit(["status", "--json"]).run().ok().stdout.is_empty());
}

/// A machine that is gone says no goodbye: its connection lives until it times out.
#[test]
fn interrupt_at_a_gateway_that_says_nothing_ends_the_run_before_the_connection_is_given_up() {
    let network = Network::with_slots(&[1]);
    let run = network.run(&guest::hold()).args(["--fuel", "100T"]).start();
    run.stderr.wait_for_text(guest::READY);
    network.gateway.process.signal(Signal::STOP);
    run.signal(Signal::INT);
    let ran = run.wait().code(130).says("the gateway does not answer");
    assert!(!ran.stderr.contains("gateway lost"), "{ran:?}");
}

#[test]
fn interrupted_local_run_ends_as_cancelled_too() {
    let home = Home::new();
    let module = home.file("hold.wasm", guest::hold());
    let run = home.adit(["run", "--local", "--json", "--fuel", "100T"]).args([&module]).start();
    run.stderr.wait_for_text(guest::READY);
    run.signal(Signal::INT);
    assert_eq!(run.wait().code(14).json()["outcome"], "cancelled");
}

#[test]
fn what_has_ended_cannot_be_cancelled_any_more() {
    let network = Network::with_slots(&[1]);
    let job = network.adit(["submit"]).args([network.module(&guest::exit(7))]).run().ok().text().to_owned();
    network.adit(["output", &job]).run().code(10);
    let told = network.adit(["cancel", &job, "--json"]).run().ok().json();
    assert_eq!(told["outcome"], "finished");
}

#[test]
fn nobody_else_can_cancel_or_read_a_job() {
    let network = Network::with_slots(&[1]);
    let job = occupy(&network);
    let stranger = Home::new();
    let gateway = network.gateway.address.to_string();
    for command in [&["cancel"][..], &["output"], &["status"], &["logs"]] {
        let ran = stranger.adit(command).args([&job]).env("ADIT_GATEWAY", &gateway).run().code(20);
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
    assert_eq!(network.adit(["status", &job, "--json"]).run().ok().json()["state"], "running");
    assert!(stranger.adit(["receipts", "--json"]).env("ADIT_GATEWAY", &gateway).run().ok().stdout.is_empty());
}
