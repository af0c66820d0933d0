//! A large input on its way into the gateway's store, against the same bytes on their way to nowhere.

use std::time::Instant;

use adit_client::{Client, Job, JobError, Source};
use adit_protocol::ByteCount;
use anyhow::{Result, bail};
use bytes::Bytes;
use rand::RngCore;

use crate::figure::{Figure, Goal, Rounds, Title};
use crate::guest;
use crate::net::Network;
use crate::plan::Plan;
use crate::reference::Reference;

const IN: Title = Title { name: "bulk_in", unit: "MB/s", reference: "bare quinn stream to a sink", goal: Goal::AtLeast(0.4) };

/// Bytes per second from the client's memory until the gateway has them stored, hashed on the way. The client's own hashing is left out: it
/// gives the input its name, before anything is sent.
pub(crate) async fn measure_in(plan: &Plan) -> Result<Vec<Figure>> {
    let mut network = Network::start().await?;
    let client = network.client().await?;
    let reference = Reference::start().await?;
    let module = Source::bytes(guest::echo()?);
    // Once, so that the module is there.
    store(&client, &module, &Source::bytes(random(1))).await?;
    let mut rounds = Rounds::default();
    for _ in 0..plan.rounds {
        let bytes = random(plan.bulk_bytes);
        let source = Source::bytes(bytes.clone());
        let start = Instant::now();
        store(&client, &module, &source).await?;
        let ours = rate(plan.bulk_bytes, start);
        let start = Instant::now();
        reference.sink(bytes).await?;
        rounds.push(ours, rate(plan.bulk_bytes, start));
    }
    Ok(vec![rounds.figure(IN)])
}

/// Submits a job for which no node has memory: the gateway asks for what it needs, takes it, and refuses.
async fn store(client: &Client, module: &Source, input: &Source) -> Result<()> {
    let mut job = Job::new(module.clone(), input.clone());
    job.spec.limits.memory = ByteCount(4 << 30);
    let mut handle = client.submit(job);
    loop {
        match handle.next().await {
            Err(JobError::Refused { .. }) => return Ok(()),
            Ok(Some(_)) => {}
            other => bail!("a job for which there is no node: {other:?}"),
        }
    }
}

/// New bytes each time: the gateway takes no blob twice.
fn random(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    bytes.into()
}

fn rate(bytes: usize, start: Instant) -> f64 {
    bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
}
