//! Leaving a job, coming back to it, and submitting it twice.

use adit_client::{Client, Job, JobError, Output, Source, Update, new_key};
use adit_protocol::{Answer, Fuel, Query, Refusal, SignedReceipt};

use crate::guest;
use crate::network::Network;

/// A job that works for about a second and then says what it was given.
fn second(input: &[u8]) -> Job {
    Job::new(Source::bytes(guest::steady(1_000_000_000)), Source::bytes(input.to_vec()))
}

async fn receipts(client: &Client) -> Vec<SignedReceipt> {
    match client.ask(Query::Receipts { from: 0, limit: 200 }).await.unwrap() {
        Answer::Receipts { rows, next: None } => rows.into_iter().map(|(_, receipt)| receipt).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn client_that_left_attaches_again_and_gets_the_output() {
    let network = Network::with_slots(&[1]);
    let first = network.client().await;
    let mut handle = first.submit(second(b"kept for later"));
    while !matches!(handle.next().await.unwrap(), Some(Update::Started { .. })) {}
    let job = handle.id();
    drop(handle);
    first.close().await;

    let second = network.client().await;
    let mut handle = second.attach(job);
    let done = handle.ended().await.unwrap();
    assert_eq!(done.output, Output::Inline(b"kept for later".to_vec()));
    handle.settled().await.unwrap();

    // Once more when all is over: the ledger remembers.
    let mut again = second.attach(job);
    let told = again.ended().await.unwrap();
    assert_eq!((told.receipt.signed(), told.output), (done.receipt.signed(), done.output));
    again.settled().await.unwrap();
    assert_eq!(receipts(&second).await.len(), 1);
}

#[tokio::test]
async fn same_key_runs_once_from_however_many_places() {
    let network = Network::with_slots(&[2]);
    let job = second(b"once");
    // Three clients of one user at once, two of them while the job runs.
    let mut ends = Vec::new();
    for client in [network.client().await, network.client().await, network.client().await] {
        let mut handle = client.submit(job.clone());
        ends.push(async move {
            let done = handle.ended().await.unwrap();
            let settled = handle.settled().await.unwrap();
            assert_eq!(done.output, Output::Inline(b"once".to_vec()));
            (done.receipt.signed().clone(), settled.settlement.settlement)
        });
    }
    let ends = futures_util::future::join_all(ends).await;
    // And one when it has settled.
    let client = network.client().await;
    let mut late = client.submit(job);
    let late = (late.ended().await.unwrap().receipt.signed().clone(), late.settled().await.unwrap().settlement.settlement);
    for end in &ends {
        assert_eq!(*end, late);
    }
    assert_eq!(receipts(&client).await, [late.0]);
}

/// Two handles of one job in one client once took each other's news away, and a handle that was dropped took the other's.
#[tokio::test]
async fn handles_of_the_same_job_do_not_disturb_each_other() {
    let network = Network::with_slots(&[1]);
    let client = network.client().await;
    let job = second(b"both");
    let mut older = client.submit(job.clone());
    let dropped = client.submit(job.clone());
    let mut newer = client.submit(job);
    drop(dropped);
    let (older, newer) = tokio::join!(older.ended(), newer.ended());
    let (older, newer) = (older.unwrap(), newer.unwrap());
    assert_eq!(older.receipt.signed(), newer.receipt.signed());
}

#[tokio::test]
async fn key_of_another_job_is_refused() {
    let network = Network::with_slots(&[1]);
    let client = network.client().await;
    let job = second(b"mine");
    let mut other = job.clone();
    other.spec.limits.fuel = Fuel(other.spec.limits.fuel.0 + 1);
    let mut first = client.submit(job.clone());
    while !matches!(first.next().await.unwrap(), Some(Update::Started { .. })) {}

    let elsewhere = network.client().await;
    let refused = |result| matches!(result, Err(JobError::Refused { refusal: Refusal::KeyConflict, .. }));
    assert!(refused(elsewhere.submit(other.clone()).ended().await), "while the job runs");
    first.ended().await.unwrap();
    first.settled().await.unwrap();
    assert!(refused(elsewhere.submit(other.clone()).ended().await), "when it has settled");
    // Under a key of its own it runs.
    other.key = new_key();
    elsewhere.submit(other).ended().await.unwrap();
}

#[test]
fn submitted_job_is_fetched_as_a_run_would_have_shown_it() {
    let network = Network::with_slots(&[1]);
    let module = network.module(&guest::steady(500_000_000));
    let input = network.home.file("input", "from a file");
    let submit = || {
        let submit = network.adit(["submit", "--json", "--idempotency-key", "00112233445566778899aabbccddeeff"]);
        submit.args([&module]).args(["--input"]).args([&input]).run().ok().json()
    };
    let job = submit()["job"].as_str().unwrap().to_owned();
    assert_eq!(submit()["job"], job);
    assert_eq!(network.adit(["output", &job]).run().ok().text(), "from a file");
    let object = network.adit(["output", &job, "--json"]).run().ok().json();
    assert_eq!((&object["job"], &object["outcome"], &object["exit_code"]), (&job.as_str().into(), &"finished".into(), &0.into()));
    assert_eq!(submit(), serde_json::json!({ "job": job, "state": "done" }));
    assert_eq!(network.adit(["receipts", "--json"]).run().ok().json()["job"], job);

    let other = network.adit(["run", "--json", "--idempotency-key", "00112233445566778899aabbccddeeff"]).args([&module]).run();
    let refused = other.code(20).says("this key already names another job");
    assert_eq!(refused.json()["outcome"], "refused");
}
