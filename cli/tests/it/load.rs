//! More jobs than slots.

use std::collections::BTreeSet;

use adit_client::{Client, Job, JobHandle, Output, Source, Update};
use adit_protocol::{Answer, PublicKey, Query};

use crate::guest;
use crate::network::Network;

/// Jobs at once: a hundred for each slot.
const JOBS: u32 = 200;

/// Jobs that are held in flight while something dies.
const JOBS_AT_RISK: u32 = 64;

#[tokio::test]
async fn two_hundred_jobs_on_two_slots_are_all_done_once() {
    let network = Network::with_slots(&[1, 1]);
    let client = network.client().await;
    let handles = submit(&client, &guest::echo(), JOBS);
    let mut nodes = BTreeSet::new();
    for (n, mut handle) in handles.into_iter().enumerate() {
        nodes.insert(check_end(n as u32, &mut handle).await);
    }
    assert_eq!(nodes.len(), 2, "both nodes took their part");
    check_ledger(&client, JOBS).await;
}

#[tokio::test]
async fn no_job_is_lost_or_doubled_when_a_node_dies_under_load() {
    let mut network = Network::with_slots(&[1, 1]);
    let client = network.client().await;
    let mut handles = submit(&client, &guest::steady(30_000_000), JOBS_AT_RISK);
    let first = check_end(0, &mut handles[0]).await;
    network.take_node(first).kill();
    for (n, handle) in handles.iter_mut().enumerate().skip(1) {
        check_end(n as u32, handle).await;
    }
    check_ledger(&client, JOBS_AT_RISK).await;
}

/// Among so many jobs there are some that have ended and are not settled: their clients have heard of a receipt that the gateway
/// loses. They hear of another, and the settlement is that one's.
#[tokio::test]
async fn no_job_is_lost_or_doubled_when_the_gateway_dies_under_load() {
    let mut network = Network::with_slots(&[2, 2]);
    let client = network.client().await;
    let mut handles = submit(&client, &guest::steady(40_000_000), JOBS_AT_RISK);
    check_end(0, &mut handles[0]).await;
    network.restart_gateway();
    for (n, handle) in handles.iter_mut().enumerate().skip(1) {
        check_end(n as u32, handle).await;
    }
    check_ledger(&client, JOBS_AT_RISK).await;
    drop(network);
}

fn input(n: u32) -> Vec<u8> {
    n.to_le_bytes().repeat(1 + n as usize)
}

fn submit(client: &Client, module: &[u8], count: u32) -> Vec<JobHandle> {
    let module = Source::bytes(module.to_vec());
    (0..count).map(|n| client.submit(Job::new(module.clone(), Source::bytes(input(n))))).collect()
}

/// Follows a job to its settlement, which must be that of the receipt that was told last. Returns who ran it.
async fn check_end(n: u32, handle: &mut JobHandle) -> PublicKey {
    let mut last = None;
    loop {
        match handle.next().await.unwrap().expect("the settlement comes before the end of the handle") {
            Update::Ended(done) => {
                assert_eq!(done.output, Output::Inline(input(n)), "job {n}");
                last = Some(done.receipt);
            }
            Update::Settled(settled) => {
                let receipt = last.expect("a settlement comes after its receipt");
                assert_eq!(settled.done.receipt.signed(), receipt.signed());
                settled.settlement.verify(receipt.signed()).unwrap();
                return receipt.receipt().node;
            }
            _ => {}
        }
    }
}

/// Checks that the ledger holds so many receipts, each of another job, and each good.
async fn check_ledger(client: &Client, count: u32) {
    let (mut jobs, mut indices, mut next) = (BTreeSet::new(), BTreeSet::new(), Some(0));
    while let Some(from) = next {
        let Answer::Receipts { rows, next: after } = client.ask(Query::Receipts { from, limit: 64 }).await.unwrap() else {
            panic!("receipts were asked for")
        };
        for (index, receipt) in rows {
            assert!(indices.insert(index) && jobs.insert(receipt.receipt.job), "index {index} is listed once");
            receipt.verify().unwrap();
        }
        next = after;
    }
    assert_eq!(jobs.len(), count as usize);
}
