//! More jobs than slots.

use std::collections::BTreeSet;

use adit_client::{Job, Output, Source};
use adit_protocol::{Answer, Query};

use crate::guest;
use crate::network::Network;

/// Jobs at once: a hundred for each slot.
const JOBS: u32 = 200;

#[tokio::test]
async fn two_hundred_jobs_on_two_slots_are_all_done_once() {
    let network = Network::with_slots(&[1, 1]);
    let client = network.client().await;
    let module = Source::bytes(guest::echo());
    let input = |n: u32| n.to_le_bytes().repeat(1 + n as usize);
    let handles: Vec<_> =
        (0..JOBS).map(|n| (n, client.submit(Job::new(module.clone(), Source::bytes(input(n)))))).collect();
    let mut nodes = BTreeSet::new();
    for (n, mut handle) in handles {
        let done = handle.ended().await.unwrap();
        assert_eq!(done.output, Output::Inline(input(n)), "job {n}");
        handle.settled().await.unwrap();
        nodes.insert(done.receipt.receipt().node);
    }
    assert_eq!(nodes.len(), 2, "both nodes took their part");

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
    assert_eq!(jobs.len(), JOBS as usize);
}
