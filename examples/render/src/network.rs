//! All that talks to the network: waiting for nodes, and a tile's way from its job to its settled receipt.

use std::time::Duration;

use adit_client::{Client, Done, Job, JobError, Output, Source};
use adit_example_pathtracer::{Pixels, Tile};
use adit_guest::{Decode, Encode};
use adit_protocol::{Answer, Fuel, GpuNeed, Query, Refusal, VerifiedReceipt};
use anyhow::{Context, Result, bail, ensure};
use tokio::time::{sleep, timeout};

/// How long nodes are waited for: more than a node's slowest attempt to reconnect.
const NODES_LIMIT: Duration = Duration::from_secs(60);
/// How often the gateway is asked for its nodes.
const NODES_POLL: Duration = Duration::from_millis(50);

/// Waits until at least `wanted` nodes are connected to the gateway.
pub(crate) async fn wait_for_nodes(client: &Client, wanted: usize) -> Result<()> {
    let waiting = async {
        while nodes(client).await? < wanted {
            sleep(NODES_POLL).await;
        }
        Ok(())
    };
    let waited = timeout(NODES_LIMIT, waiting).await;
    waited.with_context(|| format!("fewer than {wanted} nodes are connected after {} s", NODES_LIMIT.as_secs()))?
}

async fn nodes(client: &Client) -> Result<usize> {
    match client.ask(Query::Nodes).await? {
        Answer::Nodes(nodes) => Ok(nodes.len()),
        other => bail!("asked for its nodes, the gateway answered {other:?}"),
    }
}

/// The most that one tile may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) fuel: Fuel,
    /// GPU time, where tiles are rendered on GPUs.
    pub(crate) gpu: Option<Duration>,
}

/// Has one tile rendered, and waits until the gateway has stored its receipt for good.
pub(crate) async fn render(client: &Client, module: &Source, budget: Budget, tile: Tile) -> Result<(Pixels, VerifiedReceipt)> {
    let job = job(module, budget, tile)?;
    let place = || format!("the tile at {}, {}", tile.x, tile.y);
    let done = run(client, job).await.with_context(place)?;
    let pixels = Pixels::decode(output(client, done.output).await.with_context(place)?).with_context(place)?;
    ensure!(pixels.tile == tile, "{}: the job made another one", place());
    Ok((pixels, done.receipt))
}

/// The job that renders a tile. What a job asks of a GPU when it says no more has room for the largest tile.
fn job(module: &Source, budget: Budget, tile: Tile) -> Result<Job> {
    let mut job = Job::new(module.clone(), Source::bytes(tile.encode()?));
    job.spec.limits.fuel = budget.fuel;
    if let Some(time) = budget.gpu {
        job.spec.gpu = Some(GpuNeed::default());
        job.spec.limits.gpu_ns = time.as_nanos().try_into().context("so much GPU time has no number")?;
    }
    Ok(job)
}

/// Runs a job that must succeed, until the gateway says that its receipt is stored; the library checks both signatures. Comes back later
/// where the queue is full.
async fn run(client: &Client, job: Job) -> Result<Done> {
    let done = loop {
        // However often it is submitted, under one key it is one job.
        match client.submit(job.clone()).settled().await {
            Err(JobError::Refused { refusal: Refusal::QueueFull { retry_after_ms, .. }, .. }) => {
                sleep(Duration::from_millis(retry_after_ms)).await;
            }
            settled => break settled?.done,
        }
    };
    let receipt = done.receipt.receipt();
    ensure!(receipt.outcome.is_success(), "job {} {}: {}", receipt.job, receipt.outcome, done.reason);
    Ok(done)
}

/// What the guest wrote; the gateway sends it along where it is short, and keeps it otherwise.
async fn output(client: &Client, output: Output) -> Result<Vec<u8>> {
    match output {
        Output::Inline(bytes) => Ok(bytes),
        Output::Blob(blob) => {
            let mut bytes = Vec::new();
            client.fetch(blob, &mut bytes).await?;
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_asks_for_a_gpu_where_it_has_time_on_one_and_not_else() {
        let tile = Tile { width: 8, height: 8, x: 0, y: 0, w: 8, h: 8, samples: 1, seed: 1 };
        let module = Source::bytes(&b"module"[..]);
        let of = |gpu| job(&module, Budget { fuel: Fuel(5), gpu }, tile).unwrap().spec;
        let (cpu, gpu) = (of(None), of(Some(Duration::from_secs(20))));
        assert_eq!((cpu.gpu, cpu.limits.gpu_ns, cpu.limits.fuel), (None, 0, Fuel(5)));
        assert_eq!((gpu.gpu, gpu.limits.gpu_ns, gpu.limits.fuel), (Some(GpuNeed::default()), 20_000_000_000, Fuel(5)));
    }
}
