//! The smallest job there is, 64 bytes in and out, against the smallest exchange that its transport can make.

use std::time::{Duration, Instant};

use adit_client::{Client, Job, Output, Source};
use anyhow::{Result, ensure};
use futures_util::future::try_join_all;

use crate::figure::{Figure, Goal, Rounds, Title, median};
use crate::guest;
use crate::net::Network;
use crate::plan::Plan;
use crate::reference::Reference;

/// What every echo copies.
pub(crate) const BYTES: [u8; 64] = [0x5a; 64];
/// Jobs at once, where throughput is measured.
pub(crate) const IN_FLIGHT: usize = 64;

/// Until the output is there, with its receipt checked.
const ENDED: Title = Title { name: "echo_p50", unit: "us", reference: "bare quinn echo, 1 in flight", goal: Goal::AtMost(2.4) };
/// Until the gateway's word is there, and checked, that the receipt is on its disk. What a disk's flush costs is not for the code to
/// decide, so the goal only says that a job waits for about two of them.
const SETTLED: Title =
    Title { name: "echo_settled_p50", unit: "us", reference: "bare quinn echo, 1 in flight", goal: Goal::AtMost(24.0) };
const THROUGHPUT: Title =
    Title { name: "echo_throughput", unit: "/s", reference: "bare quinn echo, 64 in flight", goal: Goal::AtLeast(0.15) };

/// The median time of a job while nothing else runs.
pub(crate) async fn measure_p50(plan: &Plan) -> Result<Vec<Figure>> {
    let (echo, reference) = (Echo::start().await?, Reference::start().await?);
    echo.per_second(1, plan.warm_up).await?;
    let (mut ended, mut settled) = (Rounds::default(), Rounds::default());
    for _ in 0..plan.rounds {
        let ours = echo.latencies(plan.round).await?;
        let theirs = reference_latency(&reference, plan.round).await?;
        ended.push(ours.0, theirs);
        settled.push(ours.1, theirs);
    }
    Ok(vec![ended.figure(ENDED), settled.figure(SETTLED)])
}

/// Jobs per second, each counted when its receipt is stored, with 64 under way at any time.
pub(crate) async fn measure_throughput(plan: &Plan) -> Result<Vec<Figure>> {
    let (echo, reference) = (Echo::start().await?, Reference::start().await?);
    echo.per_second(IN_FLIGHT, plan.warm_up).await?;
    let mut rounds = Rounds::default();
    for _ in 0..plan.rounds {
        let ours = echo.per_second(IN_FLIGHT, plan.round).await?;
        rounds.push(ours, per_second(IN_FLIGHT, plan.round, async || reference.echo(&BYTES).await).await?);
    }
    Ok(vec![rounds.figure(THROUGHPUT)])
}

/// A network that knows the echo module, and a client of it.
pub(crate) struct Echo {
    client: Client,
    module: Source,
    _network: Network,
}

impl Echo {
    pub(crate) async fn start() -> Result<Self> {
        let mut network = Network::start().await?;
        let client = network.client().await?;
        Ok(Self { client, module: Source::bytes(guest::echo()?), _network: network })
    }

    /// Jobs settled per second with `in_flight` under way.
    pub(crate) async fn per_second(&self, in_flight: usize, time: Duration) -> Result<f64> {
        per_second(in_flight, time, async || run(&self.client, &self.module).await.map(drop)).await
    }

    /// The median microseconds until a job ended, and until it was settled, of jobs one after another.
    async fn latencies(&self, time: Duration) -> Result<(f64, f64)> {
        let (mut ended, mut settled) = (Vec::new(), Vec::new());
        let start = Instant::now();
        let mut open = Vec::new();
        while start.elapsed() < time / 2 {
            let sent = Instant::now();
            let mut job = self.client.submit(Job::new(self.module.clone(), Source::bytes(BYTES.to_vec())));
            job.ended().await?;
            ended.push(micros(sent.elapsed()));
            open.push(job);
        }
        for mut job in open {
            job.settled().await?;
        }
        while start.elapsed() < time {
            settled.push(micros(run(&self.client, &self.module).await?.settled));
        }
        Ok((median(ended), median(settled)))
    }
}

/// What a job took.
pub(crate) struct Times {
    /// Until its output was there, with its receipt checked.
    pub(crate) ended: Duration,
    /// Until its receipt was stored.
    settled: Duration,
    /// What the node spent on compiling, 0 where it knew the module.
    pub(crate) compile_us: u64,
}

/// Runs one job and checks its output.
pub(crate) async fn run(client: &Client, module: &Source) -> Result<Times> {
    let start = Instant::now();
    let mut job = client.submit(Job::new(module.clone(), Source::bytes(BYTES.to_vec())));
    let done = job.ended().await?;
    let ended = start.elapsed();
    job.settled().await?;
    let settled = start.elapsed();
    let receipt = done.receipt.receipt();
    ensure!(receipt.outcome.is_success(), "the echo {}: {}", receipt.outcome, done.reason);
    ensure!(done.output == Output::Inline(BYTES.to_vec()), "the guest did not echo");
    Ok(Times { ended, settled, compile_us: receipt.times.compile_us })
}

async fn reference_latency(reference: &Reference, time: Duration) -> Result<f64> {
    let mut latencies = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        let sent = Instant::now();
        reference.echo(&BYTES).await?;
        latencies.push(micros(sent.elapsed()));
    }
    Ok(median(latencies))
}

/// How often per second `exchange` ends, with `in_flight` of it under way until `time` is over.
async fn per_second(in_flight: usize, time: Duration, exchange: impl AsyncFn() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let lane = async || {
        let mut ended = 0u64;
        while start.elapsed() < time {
            exchange().await?;
            ended += 1;
        }
        Ok::<u64, anyhow::Error>(ended)
    };
    let ended: u64 = try_join_all((0..in_flight).map(|_| lane())).await?.into_iter().sum();
    Ok(ended as f64 / start.elapsed().as_secs_f64())
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn lanes_run_side_by_side_and_each_ends_what_it_began() {
        let (under_way, most) = (Cell::new(0), Cell::new(0));
        let exchange = async || {
            under_way.set(under_way.get() + 1);
            most.set(most.get().max(under_way.get()));
            tokio::task::yield_now().await;
            under_way.set(under_way.get() - 1);
            Ok(())
        };
        let rate = per_second(7, Duration::from_millis(5), exchange).await.unwrap();
        assert_eq!((most.get(), under_way.get()), (7, 0));
        assert!(rate > 0.0);
    }

    #[tokio::test]
    async fn failed_exchange_ends_the_measurement() {
        assert!(per_second(2, Duration::from_secs(3600), async || anyhow::bail!("lost")).await.is_err());
    }
}
