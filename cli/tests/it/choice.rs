//! Which node gets a job where they are at all distances: a relay before a real gateway stands for the distance.

use std::time::{Duration, Instant};

use adit_client::{Client, Job, Output, Source};
use adit_protocol::{Digest, Fuel, PublicKey};
use adit_relay::{Conditions, Leg, Path, Relay};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::guest;
use crate::network::{Network, nodes_until};
use crate::process::PATIENCE;
use crate::stand_in::StandIn;

/// What each job of these tests uses.
const FUEL: u64 = 50_000_000;

/// What a job may use: its estimate until the first one has ended.
const FUEL_MAX: u64 = 60_000_000;

/// How often a measurement is taken, of which most must hold: a machine that stood still during one spoils that one.
const TRIES: usize = 5;

/// A gateway, and nodes at the ends of ways of their own.
struct Scene {
    client: Client,
    nodes: Vec<Far>,
    _network: Network,
    _relay: Relay,
    _working: JoinSet<()>,
}

/// A node at the end of a way.
struct Far {
    name: String,
    key: PublicKey,
    way: Path,
}

/// A job that ended.
struct Ran {
    node: PublicKey,
    took: Duration,
}

/// Half a round trip each way, with a tenth of it as jitter.
fn apart(round_trip: Duration) -> Conditions {
    Conditions::both(Leg { delay: round_trip / 2, jitter: round_trip / 20, ..Leg::default() })
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Scene {
    /// Nodes by their round trips and by how long their jobs take, all of which know the module.
    async fn open(nodes: &[(Duration, Duration)]) -> Self {
        let network = Network::empty();
        let client = network.client().await;
        let mut relay = network.relay(21);
        let mut working = JoinSet::new();
        let nodes: Vec<Far> = nodes
            .iter()
            .enumerate()
            .map(|(n, (round_trip, service))| {
                let way = relay.path(apart(*round_trip)).unwrap();
                let (name, cached) = (format!("node-{n}"), vec![Digest::of(&guest::echo())]);
                let node = StandIn { name: name.clone(), gateway: network.over(&way), service: *service, fuel: FUEL, cached };
                let key = node.key();
                working.spawn(node.work());
                Far { name, key, way }
            })
            .collect();
        nodes_until(&client, |seen| seen.len() == nodes.len()).await;
        let scene = Self { client, nodes, _network: network, _relay: relay, _working: working };
        // The module has a history from here on.
        for _ in 0..3 {
            scene.run(None).await;
        }
        scene
    }

    /// Runs a job, on one node alone or on whichever the gateway takes.
    async fn run(&self, only: Option<&Far>) -> Ran {
        let mut job = Job::new(Source::bytes(guest::echo()), Source::bytes(b"an input".to_vec()));
        job.spec.limits.fuel = Fuel(FUEL_MAX);
        job.spec.placement.labels = only.map(|node| ("name".into(), node.name.clone())).into_iter().collect();
        let begun = Instant::now();
        let mut handle = self.client.submit(job);
        let done = timeout(PATIENCE, handle.ended()).await.expect("it ends").unwrap();
        Ran { node: done.receipt.receipt().node, took: begun.elapsed() }
    }

    /// The round trip to a node as the gateway has it.
    async fn round_trip(&self, key: PublicKey) -> Duration {
        let seen = nodes_until(&self.client, |nodes| nodes.iter().any(|node| node.node == key)).await;
        Duration::from_micros(seen.iter().find(|node| node.node == key).unwrap().rtt_us)
    }

    /// Runs jobs where the gateway chooses, and the same on each of the nodes, side by side.
    async fn compare(&self) -> Compared {
        let (mut chosen, mut forced) = (Vec::new(), vec![Vec::new(); self.nodes.len()]);
        for round in 0..ROUNDS {
            for _ in 0..JOBS_PER_ROUND {
                chosen.push(self.run(None).await);
            }
            // Those that were far behind are not asked each time.
            let best = forced.iter().map(|times: &Vec<_>| median(times)).min().unwrap_or_default();
            for (node, times) in self.nodes.iter().zip(&mut forced) {
                if round == 0 || median(times) <= best * 3 / 2 {
                    times.push(self.run(Some(node)).await.took);
                }
            }
        }
        let best = forced.iter().map(|times| median(times)).min().unwrap();
        let over_best = |time: Duration| time.as_secs_f64() / best.as_secs_f64();
        let times: Vec<_> = chosen.iter().map(|ran| ran.took).collect();
        let node_of = |ran: &Ran| self.nodes.iter().position(|node| node.key == ran.node).unwrap();
        let choices: Vec<_> = chosen.iter().map(|ran| median(&forced[node_of(ran)])).collect();
        let compared = Compared { times: over_best(median(&times)), choices: over_best(median(&choices)) };
        eprintln!("chosen {:?}, best {best:?}: {compared:.3?}", median(&times));
        compared
    }
}

/// Over what the same jobs take on the node that is the best for them, all at the median.
#[derive(Debug)]
struct Compared {
    /// What jobs took where the gateway chose.
    times: f64,
    /// What they take on the nodes that it chose. Of these each was asked often, so that no single job that was held up counts.
    choices: f64,
}

const ROUNDS: usize = 5;
const JOBS_PER_ROUND: usize = 12;

/// The middle; nothing of none.
fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Twenty nodes at 2 to 200 ms, whose jobs take 20 to 96 ms: neither the nearest nor the fastest is the best.
fn twenty() -> Vec<(Duration, Duration)> {
    (0..20).map(|n| (Duration::from_micros(2_000 + n * 198_000 / 19), ms(20 + 4 * ((n * 13 + 12) % 20)))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_takes_a_tenth_longer_at_most_than_on_the_best_of_twenty_nodes_at_2_to_200_ms() {
    let (mut good, mut tries) = (0, Vec::new());
    while good <= TRIES / 2 {
        // Anew, so that nothing is known of any node but what it says.
        let compared = Scene::open(&twenty()).await.compare().await;
        good += usize::from(compared.choices <= 1.1 && compared.times <= 1.1);
        tries.push(compared);
        assert!(tries.len() - good <= TRIES / 2, "chosen over best: {tries:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_whose_path_gets_worse_loses_its_work_within_seconds() {
    let scene = Scene::open(&[(ms(2), ms(30)), (ms(60), ms(30)), (ms(80), ms(30)), (ms(100), ms(30))]).await;
    let near = &scene.nodes[0];
    let mut got_all = 0;
    while got_all < 5 {
        got_all = if scene.run(None).await.node == near.key { got_all + 1 } else { 0 };
    }
    near.way.set(apart(ms(300)));
    let (begun, mut left, mut more, mut elsewhere) = (Instant::now(), Duration::ZERO, 0, 0);
    // Twice as many seconds without a job as it may have kept its work.
    while elsewhere < 10 || begun.elapsed() < left + ms(5_000) {
        let since = begun.elapsed();
        if scene.run(None).await.node == near.key {
            (left, more, elsewhere) = (since, more + 1, 0);
        } else {
            elsewhere += 1;
        }
        assert!(left < ms(10_000), "it got {more} jobs in {left:?}");
    }
    eprintln!("it got {more} more jobs, the last {left:?} after its path got worse");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn path_of_a_node_without_work_that_gets_worse_is_known_within_seconds() {
    let scene = Scene::open(&[(ms(2), ms(30)), (ms(60), ms(30))]).await;
    let idle = &scene.nodes[1];
    idle.way.set(apart(ms(400)));
    let begun = Instant::now();
    // Its connection says something each 1.5 s, and nothing else goes this way.
    while scene.round_trip(idle.key).await < ms(200) {
        scene.run(Some(&scene.nodes[0])).await;
        assert!(begun.elapsed() < ms(15_000), "it is still thought to be {:?} away", scene.round_trip(idle.key).await);
    }
    eprintln!("known after {:?}", begun.elapsed());
}

/// 1 Mbit/s, near.
const SLOW: Leg = Leg {
    delay: Duration::from_millis(2),
    jitter: Duration::ZERO,
    loss_ppm: 0,
    bytes_per_second: Some(125_000),
    queue_bytes: 64 * 1024,
    keeps_order: true,
};

/// Forty times as far, and as fast as the machine is.
const FAST: Leg = Leg { delay: Duration::from_millis(80), bytes_per_second: None, ..SLOW };

/// Runs a job with an input that nobody has seen, perhaps on one node alone. Which node ran it.
async fn sum(client: &Client, bytes: usize, seed: u8, only: Option<&str>) -> PublicKey {
    let input: Vec<u8> = (0..bytes).map(|n| seed ^ (n % 251) as u8).collect();
    let mut job = Job::new(Source::bytes(guest::sum()), Source::bytes(input.clone()));
    job.spec.placement.labels = only.map(|name| ("line".into(), name.into())).into_iter().collect();
    let settled = timeout(PATIENCE, client.submit(job).settled()).await.expect("it ends").unwrap();
    let receipt = settled.done.receipt.receipt();
    assert_eq!((receipt.input, receipt.usage.bytes_in.0), (Digest::of(&input), bytes as u64));
    receipt.node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_input_goes_to_the_far_node_with_the_fast_line_once_fetches_were_seen() {
    let mut network = Network::empty();
    let mut relay = network.relay(22);
    let [slow, fast] = [SLOW, FAST].map(|leg| relay.path(Conditions::both(leg)).unwrap());
    let near = network.add_node_over(&slow, &["--slots", "1", "--label", "line=slow"]);
    let far = network.add_node_over(&fast, &["--slots", "1", "--label", "line=fast"]);
    let client = network.client().await;
    nodes_until(&client, |nodes| nodes.len() == 2).await;
    // A fetch on each: 1.6 s of the slow line.
    for (n, (name, node)) in [("slow", near), ("fast", far)].into_iter().enumerate() {
        assert_eq!(sum(&client, 200_000, n as u8, Some(name)).await, node);
    }
    for n in 2..5 {
        let before = slow.counts().to_dialer.bytes;
        let begun = Instant::now();
        assert_eq!(sum(&client, 4 << 20, n, None).await, far);
        assert!(slow.counts().to_dialer.bytes - before < 100_000, "nothing of it went over the slow line");
        eprintln!("4 MiB in {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_end_once_each_over_a_line_that_loses_one_packet_in_twenty() {
    const JOBS: usize = 80;
    let lossy = Leg { delay: ms(10), loss_ppm: 50_000, ..Leg::default() };
    let mut network = Network::empty();
    let mut relay = network.relay(23);
    let way = relay.path(Conditions::both(lossy)).unwrap();
    let node = network.add_node_over(&way, &["--slots", "2"]);
    let client = network.client().await;
    let module = Source::bytes(guest::echo());
    let handles: Vec<_> =
        (0..JOBS).map(|n| client.submit(Job::new(module.clone(), Source::bytes(n.to_le_bytes().to_vec())))).collect();
    let mut indices = std::collections::BTreeSet::new();
    for (n, mut handle) in handles.into_iter().enumerate() {
        let settled = timeout(PATIENCE, handle.settled()).await.expect("it ends").unwrap();
        assert_eq!(
            (settled.done.receipt.receipt().node, &settled.done.output),
            (node, &Output::Inline(n.to_le_bytes().to_vec()))
        );
        assert!(indices.insert(settled.settlement.settlement.index));
    }
    let counts = way.counts();
    assert!(counts.to_gateway.lost > 0 && counts.to_dialer.lost > 0, "{counts:?}");
}
