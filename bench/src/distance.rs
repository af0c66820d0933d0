//! Which of twenty nodes at 2 to 200 ms gets a job, and how soon one loses its work whose path gets worse. A relay on this machine stands
//! for the distance, and each node is a process of its own.

use std::time::{Duration, Instant};

use adit_client::{Client, Job, Source};
use adit_protocol::{PublicKey, SecretKey};
use adit_relay::{Conditions, Leg, Path, Relay};
use adit_transport::GatewayAddr;
use anyhow::{Context, Result, ensure};

use crate::figure::{Figure, Goal, Rounds, Title, median};
use crate::guest;
use crate::net::Wide;
use crate::plan::Plan;

/// Nodes, evenly spread over these round trips.
const NODES: u32 = 20;
const NEAREST: Duration = Duration::from_millis(2);
const FARTHEST: Duration = Duration::from_millis(200);

/// What a job does: some 40 ms of a core.
const TURNS: u64 = 50_000_000;

/// Laps of a round: in each two jobs where the gateway chooses, and one on each node that may be the best.
const LAPS: usize = 7;

/// The round trip of the node whose path gets worse.
const WORSE: Duration = Duration::from_millis(300);

/// Jobs in a row that another node gets before a node is taken to have lost its work.
const LOST_AFTER: u32 = 20;

const CHOSEN: Title =
    Title { name: "distance_p50", unit: "ms", reference: "the best of 20 nodes at 2 to 200 ms, forced", goal: Goal::AtMost(1.1) };
const LEAVES: Title = Title {
    name: "distance_leaves_s",
    unit: "s",
    reference: "one round trip on a path of 2 ms that became 300",
    goal: Goal::Within(10.0),
};

/// A node at the end of a way.
struct Far {
    name: String,
    key: PublicKey,
    way: Path,
}

struct Scene {
    client: Client,
    module: Source,
    nodes: Vec<Far>,
    _relay: Relay,
    _network: Wide,
}

/// How long jobs take where the gateway chooses, and how long a node keeps its work whose path gets worse.
pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let scene = Scene::start().await?;
    let chosen = scene.chosen(plan).await?;
    let mut leaves = Rounds::default();
    for _ in 0..plan.rounds.div_ceil(2) {
        leaves.push(scene.leaves().await?, WORSE.as_secs_f64());
    }
    Ok(vec![chosen.figure(CHOSEN), leaves.figure(LEAVES)])
}

impl Scene {
    async fn start() -> Result<Self> {
        let mut network = Wide::start(&[]).await?;
        let gateway = network.gateway().clone();
        let client = Client::connect(SecretKey::generate(), gateway.clone()).await?;
        let mut relay = Relay::new(gateway.host.parse().context("the gateway's address")?, 7)?;
        let mut nodes = Vec::new();
        for n in 0..NODES {
            let way = relay.path(apart(NEAREST + (FARTHEST - NEAREST) * n / (NODES - 1)))?;
            let name = format!("node-{n}");
            let over = GatewayAddr { host: way.addr().to_string(), key: gateway.key };
            let label = format!("name={name}");
            let key = network.add_node(&client, &over, &["--slots", "1", "--label", &label]).await?;
            nodes.push(Far { name, key, way });
        }
        Ok(Self { client, module: Source::bytes(guest::work(TURNS)?), nodes, _relay: relay, _network: network })
    }

    /// Runs a job, on one node alone or on whichever the gateway takes. Says where it ran, and how many milliseconds it took.
    async fn run(&self, only: Option<&Far>) -> Result<(PublicKey, f64)> {
        let mut job = Job::new(self.module.clone(), Source::bytes(Vec::new()));
        job.spec.placement.labels = only.map(|node| ("name".into(), node.name.clone())).into_iter().collect();
        let begun = Instant::now();
        let done = self.client.submit(job).ended().await?;
        let took = begun.elapsed();
        let receipt = done.receipt.receipt();
        ensure!(receipt.outcome.is_success(), "the job {}: {}", receipt.outcome, done.reason);
        Ok((receipt.node, took.as_secs_f64() * 1e3))
    }

    /// Milliseconds of a job where the gateway chooses, against the same on the node that is the best in all rounds together.
    async fn chosen(&self, plan: &Plan) -> Result<Rounds> {
        // Each node has compiled the module, and each was seen at work, as in a network that is in use.
        let mut first = Vec::new();
        for node in &self.nodes {
            self.run(Some(node)).await?;
            first.push(self.run(Some(node)).await?.1);
        }
        let least = first.iter().copied().fold(f64::INFINITY, f64::min);
        let near: Vec<&Far> =
            self.nodes.iter().zip(&first).filter(|(_, time)| **time <= least * 1.5).map(|(node, _)| node).collect();
        let (mut chosen, mut forced) = (Vec::new(), vec![Vec::new(); near.len()]);
        for _ in 0..plan.rounds {
            let (mut free, mut bound) = (Vec::new(), vec![Vec::new(); near.len()]);
            for _ in 0..LAPS {
                free.extend([self.run(None).await?.1, self.run(None).await?.1]);
                for (node, times) in near.iter().zip(&mut bound) {
                    times.push(self.run(Some(node)).await?.1);
                }
            }
            chosen.push(median(free));
            forced.iter_mut().zip(bound).for_each(|(medians, times)| medians.push(median(times)));
        }
        let best = forced.into_iter().min_by(|a, b| median(a.clone()).total_cmp(&median(b.clone())));
        let mut rounds = Rounds::default();
        for (ours, theirs) in chosen.into_iter().zip(best.context("a node is the best")?) {
            rounds.push(ours, theirs);
        }
        Ok(rounds)
    }

    /// Seconds after its path got worse at which the node with the work has ended its last job.
    async fn leaves(&self) -> Result<f64> {
        let favourite = self.run(None).await?.0;
        let node = self.nodes.iter().find(|node| node.key == favourite).context("it is one of ours")?;
        node.way.set(apart(WORSE));
        let (begun, mut last, mut elsewhere) = (Instant::now(), Duration::ZERO, 0);
        while elsewhere < LOST_AFTER {
            (last, elsewhere) = if self.run(None).await?.0 == favourite { (begun.elapsed(), 0) } else { (last, elsewhere + 1) };
        }
        // Its path stays as it is: the next round is another node's.
        Ok(last.as_secs_f64())
    }
}

/// Half a round trip each way, with a tenth of it as jitter.
fn apart(round_trip: Duration) -> Conditions {
    Conditions::both(Leg { delay: round_trip / 2, jitter: round_trip / 20, ..Leg::default() })
}
