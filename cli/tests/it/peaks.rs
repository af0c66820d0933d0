//! More work than there is room for: who is refused, who waits, and for how long.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use adit_client::{Client, Config, Job, JobError, JobHandle, Source, Update};
use adit_protocol::{Answer, Digest, Fuel, JobId, PublicKey, Query, Refusal, SecretKey};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::guest;
use crate::hostile::Lease;
use crate::network::Network;
use crate::process::PATIENCE;
use crate::stand_in::{Joined, StandIn};

/// Jobs that may wait at the gateway of the peaks.
const QUEUE: usize = 16;

/// Keys that submit at once, and jobs of each: far more than the queue and one slot take.
const KEYS: usize = 8;
const JOBS: usize = 50;

/// The longest time that anybody is told to come back after, in milliseconds.
const RETRY_AFTER_MAX_MS: u64 = 30_000;

/// A gateway with a small queue and a node of one slot.
fn small_network() -> Network {
    Network::of_the_poor(&["--queue-max", &QUEUE.to_string(), "--welcome", "1000000"])
}

async fn clients(network: &Network, patience: Duration) -> Vec<Client> {
    let connecting = (0..KEYS).map(|_| {
        let config = Config { patience, ..Config::default() };
        Client::connect_with(SecretKey::generate(), network.gateway.address.clone(), config)
    });
    join_all(connecting).await.into_iter().map(Result::unwrap).collect()
}

/// So many jobs of some milliseconds of each client, all at once.
fn submit(clients: &[Client], jobs: usize) -> Vec<JobHandle> {
    let module = Source::bytes(guest::steady(3_000_000));
    let job = |n: usize| Job::new(module.clone(), Source::bytes(n.to_le_bytes().to_vec()));
    (0..jobs).flat_map(|n| clients.iter().map(move |client| (client, n))).map(|(client, n)| client.submit(job(n))).collect()
}

/// The jobs of a client that the ledger has, each once.
async fn receipts(client: &Client) -> BTreeSet<JobId> {
    let (mut jobs, mut next) = (BTreeSet::new(), Some(0));
    while let Some(from) = next {
        let Ok(Answer::Receipts { rows, next: after }) = client.ask(Query::Receipts { from, limit: 64 }).await else {
            panic!("receipts were asked for")
        };
        for (_, receipt) in rows {
            assert!(jobs.insert(receipt.receipt.job), "a job is settled once");
        }
        next = after;
    }
    jobs
}

async fn all_receipts(clients: &[Client]) -> BTreeSet<JobId> {
    join_all(clients.iter().map(receipts)).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn excess_is_refused_with_a_time_to_come_back_and_all_else_ends_once() {
    let network = small_network();
    let clients = clients(&network, Duration::ZERO).await;
    let (mut settled, mut refused) = (BTreeSet::new(), 0);
    for mut handle in submit(&clients, JOBS) {
        match timeout(PATIENCE, handle.settled()).await.expect("it ends") {
            Ok(done) => assert!(settled.insert(done.done.receipt.receipt().job)),
            Err(JobError::Refused { refusal: Refusal::QueueFull { queued, retry_after_ms }, .. }) => {
                assert_eq!(queued as usize, QUEUE);
                assert!((1..=RETRY_AFTER_MAX_MS).contains(&retry_after_ms), "{retry_after_ms} ms");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(settled.len() + refused, KEYS * JOBS);
    assert!(settled.len() > QUEUE, "what had room is done, and more as room came: {}", settled.len());
    assert!(refused > 0);
    assert_eq!(all_receipts(&clients).await, settled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_comes_back_when_it_was_told_and_not_all_at_once_until_each_job_is_done() {
    let network = small_network();
    let clients = clients(&network, PATIENCE).await;
    let (mut settled, mut added) = (BTreeSet::new(), BTreeSet::new());
    for mut handle in submit(&clients, JOBS / 2) {
        let ending = async {
            loop {
                match handle.next().await.unwrap() {
                    Some(Update::Postponed { refusal: Refusal::QueueFull { retry_after_ms, .. }, wait, .. }) => {
                        let told = Duration::from_millis(retry_after_ms);
                        assert!(wait > told, "{wait:?} where {told:?} was told");
                        added.insert(wait - told);
                    }
                    Some(Update::Settled(done)) => break done,
                    Some(Update::Postponed { refusal, .. }) => panic!("{refusal}"),
                    Some(_) => {}
                    None => panic!("it ends with its settlement"),
                }
            }
        };
        let done = timeout(PATIENCE, ending).await.expect("it ends");
        assert!(settled.insert(done.done.receipt.receipt().job));
    }
    assert_eq!(settled.len(), KEYS * JOBS / 2);
    assert_eq!(all_receipts(&clients).await, settled);
    assert!(added.len() > QUEUE, "each adds another time: {added:?}");
}

/// How long the result of a job is of use that finds no room.
const DEADLINE: Duration = Duration::from_secs(3);

/// Once the deadline began anew with each submission: a job that waited for room ran whenever there was some, and was billed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_that_finds_no_room_before_its_deadline_is_refused_for_that_and_neither_runs_nor_is_billed() {
    let network = Network::of_the_poor(&["--queue-max", "1", "--welcome", "1000000"]);
    let mut clients = clients(&network, PATIENCE).await;
    let (late, busy) = (clients.remove(0), clients.remove(0));
    // One runs and one waits until they are cancelled.
    let mut holds = Vec::new();
    for n in 0..2_u8 {
        let mut job = Job::new(Source::bytes(guest::hold()), Source::bytes(vec![n]));
        job.spec.limits.fuel = Fuel(100_000_000_000_000);
        holds.push(busy.submit(job));
        accepted(&mut holds[usize::from(n)]).await;
    }

    let echo = |deadline: Option<Duration>| {
        let mut job = Job::new(Source::bytes(guest::echo()), Source::bytes(b"in".to_vec()));
        job.spec.limits.fuel = Fuel(10_000_000);
        job.spec.placement.deadline_ms = deadline.map(|deadline| deadline.as_millis() as u64);
        job
    };
    let submitted = Instant::now();
    let mut handle = late.submit(echo(Some(DEADLINE)));
    let mut postponed = 0;
    let refusal = loop {
        match timeout(PATIENCE, handle.next()).await.expect("it ends") {
            Ok(Some(Update::Postponed { refusal: Refusal::QueueFull { .. }, .. })) => postponed += 1,
            Ok(Some(Update::Reconnecting { .. } | Update::Reconnected)) => {}
            Err(JobError::Refused { refusal, .. }) => break refusal,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(refusal, Refusal::DeadlineMissed { .. }) && postponed > 0, "{refusal} after {postponed} times");
    assert!(submitted.elapsed() < PATIENCE / 2, "{:?}", submitted.elapsed());

    // So do the jobs of a map, which comes again by itself.
    let (module, input) = (network.module(&guest::echo()), network.home.file("in.txt", "in"));
    let map = network.adit(["map"]).args([&module, &input]).args(["--out", "out", "--fuel", "10M", "--json"]);
    let deadline = format!("{}s", DEADLINE.as_secs());
    let rows = map.args(["--deadline", &deadline, "--retry-for", "1h"]).run().code(30).json_lines();
    let told = |row: &Value| row["reason"].as_str().unwrap().to_owned();
    assert!(rows[0]["outcome"] == "refused" && told(&rows[0]).contains("the deadline is"), "{rows:?}");

    for hold in holds {
        hold.cancel();
    }
    let mut handle = late.submit(echo(None));
    let done = timeout(PATIENCE, handle.settled()).await.expect("it ends").unwrap();
    assert_eq!(receipts(&late).await, BTreeSet::from([done.done.receipt.receipt().job]));
}

/// Jobs of the customer that has many.
const BATCH: usize = 2_000;

/// Moments of the batch at which another customer comes with one job, while each task takes longer than a node's leases reach ahead.
const MOMENTS: usize = 20;

/// What a task of those moments takes: far over the 20 ms below which nodes get leases ahead.
const TASK: Duration = Duration::from_millis(40);

/// Leases that a node of one slot may hold where its jobs are short: one that runs, and four ahead.
const WINDOW: usize = 5;

/// Waits until the gateway has a job.
async fn accepted(handle: &mut JobHandle) {
    let listening = async { while !matches!(handle.next().await.unwrap(), Some(Update::Queued | Update::Started { .. })) {} };
    timeout(PATIENCE, listening).await.expect("it is accepted");
}

/// A batch of one customer's on a node of one slot, which does what the test says.
struct Batch {
    node: Joined,
    other: Client,
    /// The batch's own customer.
    customer: PublicKey,
    module: Source,
    /// Its tasks that ended.
    ended: usize,
}

impl Batch {
    fn job(&self, n: usize) -> Job {
        Job::new(self.module.clone(), Source::bytes(n.to_le_bytes().to_vec()))
    }

    /// How many tasks of the batch have ended when the node gets to the other customer's job: of those that ended after it was accepted, two at
    /// most.
    async fn tasks_ahead(&mut self, task: Duration) -> (usize, JobHandle) {
        let mut running = self.node.lease().await;
        assert_eq!(running.client, self.customer);
        let mut handle = self.other.submit(self.job(0));
        accepted(&mut handle).await;
        let mut ended = 0;
        while running.client == self.customer {
            sleep(task).await;
            self.node.finish(&running);
            ended += 1;
            running = self.node.lease().await;
        }
        sleep(task).await;
        self.node.finish(&running);
        self.ended += ended;
        (self.ended, handle)
    }

    /// Ends short tasks until the node has as many more as wait there; what it has then, the one that runs first.
    async fn crowded(&mut self) -> VecDeque<Lease> {
        let mut held = VecDeque::from([self.node.lease().await]);
        while held.len() < WINDOW {
            let ended = held.pop_front().expect("it has one at least");
            self.node.finish(&ended);
            held.push_back(self.node.lease().await);
            self.ended += 1;
            // Those that are sent ahead come with it.
            while let Some(more) = self.node.lease_within(Duration::from_millis(3)).await {
                held.push_back(more);
            }
        }
        held
    }

    /// The other customer's job comes to a node that has as many of the batch as it may, and is next there.
    async fn passes_what_waits(&mut self, held: &mut VecDeque<Lease>) -> JobHandle {
        let mut handle = self.other.submit(self.job(0));
        let own = loop {
            match self.node.lease().await {
                lease if lease.client == self.customer => held.push_back(lease),
                lease => break lease,
            }
        };
        // What runs, and then the other customer's, as clients take turns at a node.
        self.node.finish(&held.pop_front().expect("one runs"));
        self.ended += 1;
        accepted(&mut handle).await;
        self.node.finish(&own);
        handle
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_job_waits_for_one_task_of_another_customers_batch_of_two_thousand() {
    let network = Network::empty();
    let module = guest::echo();
    let node = StandIn {
        name: "node".into(),
        gateway: network.gateway.address.clone(),
        service: TASK,
        fuel: 40_000_000,
        cached: vec![Digest::of(&module)],
    };
    let node = node.join().await;
    let [many, other] = [network.client().await, clients(&network, PATIENCE).await.remove(0)];
    let mut batch = Batch { node, other, customer: many.key(), module: Source::bytes(module), ended: 0 };
    // The first one brings the module; else they would wait for it, and come in another order.
    let mut handles = vec![many.submit(batch.job(0))];
    accepted(&mut handles[0]).await;
    handles.extend((1..BATCH).map(|n| many.submit(batch.job(n))));
    // All of it is accepted, while the node is at its first task.
    for handle in &mut handles[1..] {
        accepted(handle).await;
    }

    let (mut before, mut singles) = (Vec::new(), Vec::new());
    for _ in 0..MOMENTS {
        let ended_before = batch.ended;
        let (ended, single) = batch.tasks_ahead(TASK).await;
        // The one that ran when it was accepted, and one more.
        assert!(ended - ended_before <= 2, "{ended} after {ended_before}");
        before.push(ended);
        singles.push(single);
    }
    // Of tasks that are short a node has some waiting, and it passes those.
    let mut held = VecDeque::new();
    for _ in 0..MOMENTS {
        while let Some(lease) = held.pop_front() {
            batch.node.finish(&lease);
            batch.ended += 1;
        }
        held = batch.crowded().await;
        singles.push(batch.passes_what_waits(&mut held).await);
        before.push(batch.ended);
    }

    // All of the batch ends, and the ledger has everything in the order in which it ended.
    let rest = async {
        held.iter().for_each(|lease| batch.node.finish(lease));
        let mut left = BATCH - batch.ended - held.len();
        while left > 0 {
            let lease = batch.node.lease().await;
            batch.node.finish(&lease);
            left -= 1;
        }
    };
    timeout(PATIENCE, rest).await.expect("all of the batch comes to the node");
    let indices = async |handles: Vec<JobHandle>| {
        let mut indices = Vec::new();
        for mut handle in handles {
            let settled = timeout(PATIENCE, handle.settled()).await.expect("it ends").unwrap();
            indices.push(settled.settlement.settlement.index);
        }
        indices
    };
    let (batch, singles) = (indices(handles).await, indices(singles).await);
    assert!(batch.is_sorted() && singles.is_sorted(), "each customer's jobs end in their order");
    for (single, ended) in singles.iter().zip(before) {
        assert_eq!(batch.partition_point(|index| index < single), ended);
    }
}
