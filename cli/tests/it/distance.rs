//! Nodes and clients far away, over lines that lose packets: a relay on this machine stands for the distance.

use std::time::Duration;

use adit_client::{Client, Job, Output, Source};
use adit_protocol::BlobRef;
use adit_relay::{Conditions, Leg};

use crate::guest;
use crate::network::{Network, nodes_until};

/// As far as the other coast, over a bad radio link.
const FAR: Leg = Leg {
    delay: Duration::from_millis(50),
    jitter: Duration::from_millis(5),
    loss_ppm: 20_000,
    bytes_per_second: None,
    queue_bytes: 0,
    keeps_order: true,
};

#[tokio::test]
async fn a_job_and_its_bytes_come_over_a_line_of_fifty_milliseconds_that_loses_packets() {
    let mut network = Network::empty();
    let mut relay = network.relay(11);
    let [to_node, to_client] = [(), ()].map(|()| relay.path(Conditions::both(FAR)).unwrap());
    network.add_node_over(&to_node, &["--slots", "1"]);
    let client = Client::connect(network.key(), network.over(&to_client)).await.unwrap();
    // Large enough that some hundreds of packets are needed for it, there and back, on both lines.
    let input: Vec<u8> = (0..50_000u32).flat_map(|n| n.to_le_bytes()).take(200_000).collect();
    let job = Job::new(Source::bytes(guest::echo()), Source::bytes(input.clone()));
    let settled = client.submit(job).settled().await.unwrap();
    let Output::Blob(blob) = settled.done.output else { panic!("it is too large for a message") };
    assert_eq!(blob, BlobRef::of(&input));
    let mut output = Vec::new();
    client.fetch(blob, &mut output).await.unwrap();
    assert_eq!(output, input);
    // The way was as long as it was made, and what was to be lost was lost.
    let nodes = nodes_until(&client, |nodes| nodes.len() == 1).await;
    assert!(nodes[0].rtt_us >= 100_000, "{nodes:?}");
    for (name, way) in [("node's", &to_node), ("client's", &to_client)] {
        let counts = way.counts();
        for (counts, loses) in [
            (counts.to_gateway, &(|n| way.loses_to_gateway(&FAR, n)) as &dyn Fn(u64) -> bool),
            (counts.to_dialer, &|n| way.loses_to_dialer(&FAR, n)),
        ] {
            assert_eq!(counts.lost, (0..counts.packets).filter(|n| loses(*n)).count() as u64, "{name} line: {counts:?}");
            assert!(counts.lost > 0, "{name} line: {counts:?}");
        }
    }
}

#[tokio::test]
async fn line_that_is_cut_and_mended_takes_up_its_connection_again() {
    let mut network = Network::empty();
    let mut relay = network.relay(12);
    let way = relay.path(Conditions::default()).unwrap();
    let node = network.add_node_over(&way, &["--slots", "1"]);
    let client = network.client().await;
    let is_there = |nodes: &[adit_protocol::NodeStatus]| nodes.iter().any(|status| status.node == node);
    nodes_until(&client, is_there).await;
    way.set(Conditions::both(Leg { loss_ppm: 1_000_000, ..Leg::default() }));
    nodes_until(&client, |nodes| !is_there(nodes)).await;
    way.set(Conditions::default());
    nodes_until(&client, is_there).await;
    let job = Job::new(Source::bytes(guest::echo()), Source::bytes(b"over a mended line".to_vec()));
    let settled = client.submit(job).settled().await.unwrap();
    assert_eq!(settled.done.output, Output::Inline(b"over a mended line".to_vec()));
}
