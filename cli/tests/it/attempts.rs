//! Jobs with several attempts: owners who take their machines back, and hedges. Every attempt is paid once, for what it did, and all of them
//! together cost no more than was held.

use adit_client::{Client, Job, JobHandle, Source, Update};
use adit_protocol::limits::PRICE_COMPONENT_MAX;
use adit_protocol::{
    AttemptFailure, Fuel, GatewayToNode, Greeting, Microcredits, NodeMessage, NodeOffer, NodeState, Outcome, Price, Receipt,
    Rejection, SecretKey, SignedReceipt, sign_receipts,
};
use adit_transport::{Connection, Dialer, GatewayAddr, Inbox, Outbox, load_or_create_key_file};
use serde_json::Value;
use tokio::time::timeout;

use crate::guest;
use crate::hostile::{INPUT, Lease, WELCOME, account, offer, priced, truth, unpaid};
use crate::network::{Adit, Gateway, Home, Network, nodes_until};
use crate::process::{LOOK_EVERY, PATIENCE};

/// A node by hand, which does what a test says.
pub(crate) struct Hand {
    pub(crate) key: SecretKey,
    gateway: GatewayAddr,
    connection: Connection,
    outbox: Outbox,
    inbox: Inbox,
}

impl Hand {
    async fn join(network: &Network, name: &str) -> Self {
        Self::join_with(network, name, offer(1)).await.expect("it is let in")
    }

    /// Joins with this offer; else what the gateway says to it.
    pub(crate) async fn join_with(network: &Network, name: &str, offer: NodeOffer) -> Result<Self, Rejection> {
        let key = load_or_create_key_file(&network.home.path(format!("{name}.key"))).unwrap();
        let gateway = network.gateway.address.clone();
        let dialer = Dialer::new(SecretKey::from_seed(*key.seed())).unwrap();
        let connection = dialer.dial(&gateway).await.unwrap();
        let (outbox, mut inbox) = connection.open_control().await.unwrap();
        let greeting = Greeting::Node { offer, state: NodeState::Ready, cached: Vec::new(), token: None };
        outbox.send(&greeting).unwrap();
        match inbox.next().await {
            Ok(Some(GatewayToNode::Welcome { .. })) => Ok(Self { key, gateway, connection, outbox, inbox }),
            Ok(Some(GatewayToNode::Rejected(rejection))) => Err(rejection),
            other => panic!("{other:?}"),
        }
    }

    async fn next(&mut self) -> GatewayToNode {
        let message = timeout(PATIENCE, self.inbox.next()).await.expect("something comes");
        message.expect("the connection holds").expect("the gateway is there")
    }

    pub(crate) async fn lease(&mut self) -> Lease {
        Lease::of(self.next().await).expect("a lease")
    }

    pub(crate) async fn cancelled(&mut self, lease: &Lease) {
        let (job, attempt) = (lease.job, lease.attempt);
        assert_eq!(self.next().await, GatewayToNode::Cancel { job, attempt });
    }

    /// A true receipt for so much fuel.
    pub(crate) fn receipt(&self, lease: &Lease, outcome: Outcome, fuel: u64) -> SignedReceipt {
        let mut receipt = Receipt { outcome, ..truth(&self.key, self.gateway.key, lease) };
        receipt.usage.fuel = Fuel(fuel);
        receipt.usage.memory_fuel = (1 << 20) * u128::from(fuel);
        sign_receipts(&self.key, vec![priced(receipt)]).remove(0)
    }

    /// Says how an attempt ended. Returns what it costs.
    pub(crate) fn finish(&self, lease: &Lease, outcome: Outcome, fuel: u64) -> u64 {
        let receipt = self.receipt(lease, outcome, fuel);
        let cost = receipt.receipt.cost.0;
        assert!(cost > 0);
        let message = NodeMessage::Finished { receipt: Box::new(receipt), reason: String::new(), output: Some(INPUT.to_vec()) };
        self.say(&message);
        cost
    }

    pub(crate) fn say(&self, message: &NodeMessage) {
        self.outbox.send(message).unwrap();
    }

    fn pause(&self) {
        self.say(&NodeMessage::State(NodeState::Paused("the owner is back".into())));
    }

    pub(crate) async fn owner(&self) -> Client {
        Client::connect(SecretKey::from_seed(*self.key.seed()), self.gateway.clone()).await.unwrap()
    }

    /// Waits until its owner has earned so much.
    async fn earns(&self, want: u64) {
        let owner = self.owner().await;
        let looking = async {
            while account(&owner).await.earned.0 != want {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("it never earned {want}"));
    }
}

pub(crate) const FINISHED: Outcome = Outcome::Finished { exit_code: 0 };

/// An echo that may use so much fuel.
pub(crate) fn echo(client: &Client, fuel: u64) -> Job {
    let mut job = Job::new(Source::bytes(guest::echo()), Source::bytes(INPUT));
    job.spec.limits.fuel = Fuel(fuel);
    client.salted(job)
}

/// The updates of a job until it is settled, but for those about its progress and its connection.
async fn told(handle: &mut JobHandle) -> Vec<String> {
    let mut told = Vec::new();
    let listening = async {
        while let Some(update) = handle.next().await.unwrap() {
            match update {
                Update::Started { attempt, .. } => told.push(format!("started {attempt}")),
                Update::Interim(receipt) => {
                    let receipt = receipt.receipt();
                    told.push(format!("{} {}", receipt.outcome.name(), receipt.attempt));
                }
                Update::Ended(done) => told.push(format!("ended {}", done.receipt.receipt().attempt)),
                Update::Settled(settled) => told.push(format!("settled {}", settled.done.receipt.receipt().attempt)),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, listening).await.expect("the job is settled");
    told
}

/// Waits until nothing is held of the client's, and says what it spent.
async fn spent(client: &Client) -> u64 {
    let looking = async {
        loop {
            let status = account(client).await;
            if status.held.0 == 0 && status.available.0 < WELCOME {
                return WELCOME - status.available.0;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    timeout(PATIENCE, looking).await.expect("a hold is left")
}

#[tokio::test(flavor = "multi_thread")]
async fn preempted_attempt_is_paid_and_the_job_goes_elsewhere() {
    let network = Network::empty();
    let client = network.client().await;
    let mut first = Hand::join(&network, "first").await;
    let mut handle = client.submit(echo(&client, 10_000_000_000));
    let lease = first.lease().await;
    let mut second = Hand::join(&network, "second").await;
    nodes_until(&client, |nodes| nodes.len() == 2).await;
    first.pause();
    let partial = first.finish(&lease, Outcome::Preempted, 1_000_000_000);
    let again = second.lease().await;
    assert_eq!((again.job, again.attempt.0), (lease.job, 2));
    let whole = second.finish(&again, FINISHED, 3_000_000_000);
    assert_eq!(told(&mut handle).await, ["started 1", "preempted 1", "started 2", "ended 2", "settled 2"]);

    assert_eq!(spent(&client).await, partial + whole);
    first.earns(partial).await;
    second.earns(whole).await;
    assert_eq!(unpaid(&first.owner().await).await, []);
    let states = nodes_until(&client, |nodes| nodes.len() == 2).await;
    let state = states.iter().find(|node| node.node == first.key.public()).unwrap();
    assert_eq!((&state.state, state.reputation), (&NodeState::Paused("the owner is back".into()), 1_000));

    // What people see: a line for each attempt, and a total that is their sum.
    let invoice = network.adit(["invoice", "--since", "1d", "--json"]).run().ok().json();
    let costs: Vec<_> =
        invoice["jobs"].as_array().unwrap().iter().map(|job| job["cost_microcredits"].as_u64().unwrap()).collect();
    assert_eq!(costs, [partial, whole]);
    assert_eq!(invoice["total_microcredits"].as_u64(), Some(partial + whole));
    let why = network.adit(["why", "--json", &lease.job.to_string()]).run().ok().json_lines();
    let chosen = |at: usize| {
        let candidates = why[at]["candidates"].as_array().unwrap();
        candidates.iter().find(|candidate| candidate["verdict"] == "chosen").unwrap()["node"].clone()
    };
    assert_eq!(
        (why.len(), chosen(0), chosen(1)),
        (2, first.key.public().to_string().into(), second.key.public().to_string().into())
    );
    for candidate in why.iter().flat_map(|step| step["candidates"].as_array().unwrap()) {
        assert!(
            candidate["predicted_us"].as_u64() >= Some(1) && candidate["price_microcredits"].as_u64() >= Some(1),
            "{candidate}"
        );
        let parts = ["rtt_us", "queue_us", "fetch_us", "compile_us", "run_us"].map(|part| candidate[part].as_u64().unwrap());
        assert_eq!(candidate["predicted_us"].as_u64(), Some(parts.iter().sum()), "{candidate}");
    }

    // It is told as it was recorded: with neither node to be had it is the same.
    second.pause();
    nodes_until(&client, |nodes| nodes.iter().all(|node| matches!(node.state, NodeState::Paused(_)))).await;
    assert_eq!(network.adit(["why", "--json", &lease.job.to_string()]).run().ok().json_lines(), why);
}

/// What the client's invoice comes to.
fn invoiced(network: &Network) -> Value {
    network.adit(["invoice", "--since", "1d", "--json"]).run().ok().json()["total_microcredits"].clone()
}

/// A run of an echo by hand that may use so much fuel.
fn run(network: &Network, fuel: &str) -> Adit {
    network.run(&guest::echo()).args(["--json", "--output", "output", "--input", "-", "--fuel", fuel]).input(INPUT)
}

/// `adit run --json` told the price of the last attempt alone.
#[tokio::test(flavor = "multi_thread")]
async fn run_tells_what_all_attempts_cost() {
    let network = Network::empty();
    let client = network.client().await;
    let mut first = Hand::join(&network, "first").await;
    let ran = run(&network, "10G").start();
    let lease = first.lease().await;
    let mut second = Hand::join(&network, "second").await;
    nodes_until(&client, |nodes| nodes.len() == 2).await;
    first.pause();
    let partial = first.finish(&lease, Outcome::Preempted, 1_000_000_000);
    let again = second.lease().await;
    let whole = second.finish(&again, FINISHED, 3_000_000_000);
    let ran = ran.wait().ok().says(&format!("{} of them for an attempt that was cut short", Microcredits(partial)));
    assert_eq!(ran.json()["price_microcredits"], partial + whole);
    assert_eq!(invoiced(&network), partial + whole);

    // Whoever comes later was not told of the first.
    let late = network.adit(["output", "--json", &lease.job.to_string()]).run().ok();
    let late = late.says(&format!("{} for its last attempt; `adit invoice` lists each", Microcredits(whole)));
    assert_eq!(late.json()["price_microcredits"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_tells_what_the_loser_of_a_hedge_cost() {
    let network = Network::empty();
    let mut first = Hand::join(&network, "first").await;
    let ran = run(&network, "10M").args(["--hedge"]).start();
    let lease = first.lease().await;
    let mut second = Hand::join(&network, "second").await;
    let again = second.lease().await;
    let whole = second.finish(&again, FINISHED, 9_000_000);
    first.cancelled(&lease).await;
    let partial = first.finish(&lease, Outcome::Cancelled, 5_000_000);
    assert_eq!(ran.wait().ok().json()["price_microcredits"], partial + whole);
    assert_eq!(invoiced(&network), partial + whole);
}

/// It was told to have cost nothing.
#[tokio::test(flavor = "multi_thread")]
async fn run_that_is_lost_after_an_attempt_that_was_paid_tells_what_that_cost() {
    let network = Network::empty();
    let client = network.client().await;
    let mut first = Hand::join(&network, "first").await;
    let job = echo(&client, 10_000_000_000);
    let most = Microcredits(price(&job) + 10).to_string();
    let ran = run(&network, "10G").args(["--max-price", most.trim_end_matches(" credits")]).start();
    let lease = first.lease().await;
    let _second = Hand::join(&network, "second").await;
    nodes_until(&client, |nodes| nodes.len() == 2).await;
    let partial = first.finish(&lease, Outcome::Preempted, 1_000_000_000);
    let ran = ran.wait().code(21).says(&format!("{} paid for an attempt that was cut short; job ", Microcredits(partial)));
    let object = ran.json();
    assert_eq!((&object["outcome"], &object["price_microcredits"]), (&"node_lost".into(), &partial.into()));
    assert_eq!(invoiced(&network), partial);
}

#[tokio::test(flavor = "multi_thread")]
async fn map_tells_what_all_attempts_cost() {
    let network = Network::empty();
    let client = network.client().await;
    let mut first = Hand::join(&network, "first").await;
    let (module, input) = (network.module(&guest::echo()), network.home.file("input", INPUT));
    let map = network.adit(["map"]).args([module, input]).args(["--out", "out", "--json"]).start();
    let lease = first.lease().await;
    let mut second = Hand::join(&network, "second").await;
    nodes_until(&client, |nodes| nodes.len() == 2).await;
    first.pause();
    let partial = first.finish(&lease, Outcome::Preempted, 1_000_000_000);
    let again = second.lease().await;
    let whole = second.finish(&again, FINISHED, 3_000_000_000);
    let ran = map.wait().ok().says(&format!(" · {} · ", Microcredits(partial + whole)));
    assert_eq!(ran.json()["price_microcredits"], partial + whole);
    assert_eq!(invoiced(&network), partial + whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempt_that_was_paid_is_not_numbered_again_by_a_gateway_that_was_killed() {
    let mut network = Network::empty();
    let client = network.client().await;
    let mut first = Hand::join(&network, "first").await;
    let mut handle = client.submit(echo(&client, 10_000_000_000));
    let lease = first.lease().await;
    let partial = first.finish(&lease, Outcome::Preempted, 1_000_000_000);
    let again = first.lease().await;
    assert_eq!(again.attempt.0, 2);
    // On the disk before the gateway dies.
    first.earns(partial).await;
    network.restart_gateway();
    let mut second = Hand::join(&network, "second").await;
    let third = second.lease().await;
    assert_eq!((third.job, third.attempt.0), (lease.job, 2), "one that was not paid has no claim to its number");
    let whole = second.finish(&third, FINISHED, 2_000_000_000);
    assert_eq!(told(&mut handle).await.last().map(String::as_str), Some("settled 2"));
    assert_eq!(spent(&client).await, partial + whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_together_cost_no_more_than_the_price_limit() {
    let network = Network::empty();
    let client = network.client().await;
    let mut first = Hand::join(&network, "first").await;
    let mut job = echo(&client, 10_000_000_000);
    let most = price(&job);
    job.spec.max_price = Some(Microcredits(most + 10));
    let mut handle = client.submit(client.salted(job));
    let lease = first.lease().await;
    let mut second = Hand::join(&network, "second").await;
    nodes_until(&client, |nodes| nodes.len() == 2).await;
    let partial = first.finish(&lease, Outcome::Preempted, 1_000_000_000);
    assert!(partial > 10);
    let lost = timeout(PATIENCE, handle.settled()).await.expect("it ends").unwrap_err().to_string();
    assert!(lost.contains("took the machine back") && lost.contains("over the price limit"), "{lost}");
    assert_eq!(spent(&client).await, partial);
    second.say(&NodeMessage::State(NodeState::Ready));
    assert!(timeout(LOOK_EVERY, second.next()).await.is_err(), "it was not asked");
}

/// The most that a job can cost on a node by hand.
fn price(job: &Job) -> u64 {
    offer(1).price.cost_max(&job.spec.limits, job.spec.bytes_in().0).unwrap().0
}

/// A hedged job on the first of two nodes, with the second attempt on the other.
async fn hedged(network: &Network, client: &Client) -> (Hand, Lease, Hand, Lease, JobHandle) {
    let mut first = Hand::join(network, "first").await;
    // Of a module that nobody knows, ten times what it is predicted to take is not long.
    let mut job = echo(client, 10_000_000);
    job.spec.placement.hedge = true;
    let handle = client.submit(client.salted(job));
    let lease = first.lease().await;
    let mut second = Hand::join(network, "second").await;
    let again = second.lease().await;
    assert_eq!((again.job, again.attempt.0), (lease.job, 2));
    (first, lease, second, again, handle)
}

#[tokio::test(flavor = "multi_thread")]
async fn first_result_of_a_hedge_wins_and_the_other_is_paid_for_what_it_did() {
    let network = Network::empty();
    let client = network.client().await;
    let (mut first, lease, second, again, mut handle) = hedged(&network, &client).await;
    let whole = second.finish(&again, FINISHED, 9_000_000);
    first.cancelled(&lease).await;
    // The gateway waits for it before the job is settled.
    let partial = first.finish(&lease, Outcome::Cancelled, 5_000_000);
    assert_eq!(told(&mut handle).await, ["started 1", "started 2", "ended 2", "cancelled 1", "settled 2"]);
    assert_eq!(spent(&client).await, partial + whole);
    first.earns(partial).await;
    second.earns(whole).await;
    let why = network.adit(["why", "--json", &lease.job.to_string()]).run().ok().json_lines();
    assert_eq!(why.iter().map(|line| line["hedge"].as_bool().unwrap()).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn loser_that_leaves_or_did_nothing_does_not_keep_the_winner_from_its_pay() {
    for leaves in [true, false] {
        let network = Network::empty();
        let client = network.client().await;
        let (mut first, lease, second, again, mut handle) = hedged(&network, &client).await;
        let whole = second.finish(&again, FINISHED, 9_000_000);
        first.cancelled(&lease).await;
        if leaves {
            first.connection.close("it breaks");
        } else {
            first.say(&NodeMessage::Failed { job: lease.job, attempt: lease.attempt, failure: AttemptFailure::Withdrawn });
        }
        assert_eq!(told(&mut handle).await, ["started 1", "started 2", "ended 2", "settled 2"]);
        assert_eq!(spent(&client).await, whole);
        first.earns(0).await;
        second.earns(whole).await;
        let told: Vec<String> = unpaid(&first.owner().await).await.into_iter().map(|attempt| attempt.reason).collect();
        assert_eq!(told.is_empty(), !leaves, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loser_that_lies_is_not_paid() {
    let network = Network::empty();
    let client = network.client().await;
    let (mut first, lease, second, again, mut handle) = hedged(&network, &client).await;
    let whole = second.finish(&again, FINISHED, 9_000_000);
    first.cancelled(&lease).await;
    // More than it may have used.
    first.finish(&lease, Outcome::Cancelled, 11_000_000);
    assert_eq!(told(&mut handle).await, ["started 1", "started 2", "ended 2", "settled 2"]);
    assert_eq!(spent(&client).await, whole);
    let told: Vec<String> = unpaid(&first.owner().await).await.into_iter().map(|attempt| attempt.reason).collect();
    assert!(told.len() == 1 && told[0].contains("its fuel is not"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn preempted_job_whose_client_had_withdrawn_it_costs_what_was_done() {
    let network = Network::empty();
    let client = network.client().await;
    let mut first = Hand::join(&network, "first").await;
    let mut handle = client.submit(echo(&client, 10_000_000_000));
    let lease = first.lease().await;
    handle.cancel();
    first.cancelled(&lease).await;
    let partial = first.finish(&lease, Outcome::Preempted, 1_000_000_000);
    assert!(timeout(PATIENCE, handle.settled()).await.expect("it ends").is_err());
    assert_eq!(spent(&client).await, partial);
    first.earns(partial).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_declines_costs_the_job_nothing() {
    let network = Network::empty();
    let client = network.client().await;
    let mut first = Hand::join(&network, "first").await;
    let mut handle = client.submit(echo(&client, 10_000_000_000));
    let lease = first.lease().await;
    let mut second = Hand::join(&network, "second").await;
    nodes_until(&client, |nodes| nodes.len() == 2).await;
    let failure = AttemptFailure::Declined("not from this client".into());
    first.say(&NodeMessage::Failed { job: lease.job, attempt: lease.attempt, failure });
    let again = second.lease().await;
    let whole = second.finish(&again, FINISHED, 3_000_000_000);
    assert_eq!(told(&mut handle).await.last().map(String::as_str), Some("settled 2"));
    assert_eq!(spent(&client).await, whole);
    assert_eq!(unpaid(&first.owner().await).await, []);
    let record = network.adit(["why-not", "--json", "--key"]).args([network.home.path("first.key")]).run().ok().json();
    assert_eq!((&record["state"], record["reputation"].as_u64()), (&"ready".into(), Some(1_000)));
    let declined = record["verdicts"].as_array().unwrap().iter().find(|row| row["unfit"] == "declined");
    assert_eq!(declined.and_then(|row| row["count"].as_u64()), Some(1), "{record}");
}

/// Nodes at a price that nobody can pay had each such job refused as the seventeenth of them was asked, though the only cheap one was just busy.
#[tokio::test(flavor = "multi_thread")]
async fn job_waits_for_the_node_that_its_client_can_pay_beside_many_that_it_cannot() {
    let network = Network::empty();
    let client = network.client().await;
    let mut cheap = Hand::join(&network, "cheap").await;
    // Two compute minutes of the dear ones cost more than there is.
    let fuel = 120_000_000_000;
    let mut before = client.submit(echo(&client, fuel));
    let lease = cheap.lease().await;
    let absurd = NodeOffer { price: Price { per_compute_minute: PRICE_COMPONENT_MAX, ..Price::default() }, ..offer(1) };
    let mut dear = Vec::new();
    for n in 0..17 {
        dear.push(Hand::join_with(&network, &format!("dear-{n}"), absurd.clone()).await.expect("it is let in"));
    }
    nodes_until(&client, |nodes| nodes.len() == 18).await;
    let mut handle = client.submit(echo(&client, fuel));
    assert!(matches!(timeout(PATIENCE, handle.next()).await, Ok(Ok(Some(Update::Queued)))));
    let mut paid = cheap.finish(&lease, FINISHED, 1_000_000_000);
    let next = cheap.lease().await;
    assert_ne!(next.job, lease.job);
    paid += cheap.finish(&next, FINISHED, 1_000_000_000);
    for handle in [&mut before, &mut handle] {
        timeout(PATIENCE, handle.settled()).await.expect("it ends").unwrap();
    }
    assert_eq!(spent(&client).await, paid);
}

/// Both were accepted while no node said what they cost. The second one was then kept from the node for good, as the first had all the credits,
/// and waited in vain beside it when that had ended.
#[tokio::test(flavor = "multi_thread")]
async fn job_that_could_not_be_paid_beside_another_runs_when_that_has_ended() {
    for slots in [1, 2] {
        let home = Home::new();
        let gateway = Gateway::start_with(&home, "127.0.0.1:0", &["--welcome", "1"]);
        let network = Network { home, gateway, nodes: Vec::new() };
        let client = network.client().await;
        let mut hand = Hand::join_with(&network, "node", offer(slots)).await.expect("it is let in");
        let mut job = echo(&client, 10_000_000_000);
        // One costs two thirds of what there is.
        job.spec.limits.fuel = Fuel(10_000_000_000 * 666_666 / price(&job));
        assert!((500_001..=1_000_000).contains(&price(&job)), "{}", price(&job));
        hand.pause();
        nodes_until(&client, |nodes| nodes.iter().all(|node| matches!(node.state, NodeState::Paused(_)))).await;
        let mut handles = Vec::new();
        for _ in 0..2 {
            job.key = adit_client::new_key();
            let mut handle = client.submit(client.salted(job.clone()));
            assert!(matches!(timeout(PATIENCE, handle.next()).await, Ok(Ok(Some(Update::Queued)))));
            handles.push(handle);
        }
        hand.say(&NodeMessage::State(NodeState::Ready));
        for _ in 0..2 {
            let lease = hand.lease().await;
            hand.finish(&lease, FINISHED, 1_000_000_000);
        }
        for mut handle in handles {
            timeout(PATIENCE, handle.settled()).await.expect("it ends").unwrap();
        }
    }
}

/// The second submission had no attempt, and the third one began to count anew: at a number that was paid, which stopped the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn job_that_is_submitted_again_and_again_goes_on_counting_attempts_and_costs() {
    let network = Network::empty();
    let client = network.client().await;
    let mut first = Hand::join(&network, "first").await;
    let mut job = echo(&client, 10_000_000_000);
    job.spec.max_price = Some(Microcredits(price(&job) + 10));
    let job = client.salted(job);
    let mut handle = client.submit(job.clone());
    let lease = first.lease().await;
    first.pause();
    let partial = first.finish(&lease, Outcome::Preempted, 10_000_000);
    assert!(partial > 10);
    // Nobody takes it, then nobody does from the start.
    for _ in 0..2 {
        assert!(timeout(PATIENCE, handle.settled()).await.expect("it ends").is_err());
        handle = client.submit(job.clone());
    }
    first.say(&NodeMessage::State(NodeState::Ready));
    nodes_until(&client, |nodes| nodes.iter().any(|node| node.state == NodeState::Ready)).await;
    let mut again = client.submit(job.clone());
    let refused = timeout(PATIENCE, again.settled()).await.expect("it ends").unwrap_err().to_string();
    assert!(refused.contains("over the price limit"), "what it cost before counts: {refused}");
    // Without the limit it is another specification, and so another key.
    let mut other = echo(&client, 10_000_000_000);
    other.key = adit_client::new_key();
    let mut handle = client.submit(other);
    let lease = first.lease().await;
    let whole = first.finish(&lease, FINISHED, 1_000_000_000);
    timeout(PATIENCE, handle.settled()).await.expect("it ends").unwrap();
    assert_eq!(spent(&client).await, partial + whole);
}

/// What its attempts had cost before was held against three times what the next could: of a node that asks nothing that is nothing, and the job was
/// kept from it until its wait was over.
#[tokio::test(flavor = "multi_thread")]
async fn job_that_cost_something_before_runs_on_a_node_that_asks_nothing() {
    let network = Network::empty();
    let client = network.client().await;
    let mut dear = Hand::join(&network, "dear").await;
    let job = echo(&client, 10_000_000_000);
    let mut handle = client.submit(job.clone());
    let lease = dear.lease().await;
    dear.pause();
    let partial = dear.finish(&lease, Outcome::Preempted, 1_000_000_000);
    assert!(timeout(PATIENCE, handle.settled()).await.expect("it ends").is_err(), "no other node is there");
    let free = NodeOffer { price: Price::default(), ..offer(1) };
    let mut free = Hand::join_with(&network, "free", free).await.expect("it is let in");
    nodes_until(&client, |nodes| nodes.len() == 2).await;
    let mut handle = client.submit(job);
    let lease = free.lease().await;
    let receipt = Receipt { outcome: FINISHED, price: Price::default(), ..truth(&free.key, free.gateway.key, &lease) };
    let receipt = sign_receipts(&free.key, vec![priced(receipt)]).remove(0);
    free.say(&NodeMessage::Finished { receipt: Box::new(receipt), reason: String::new(), output: Some(INPUT.to_vec()) });
    timeout(PATIENCE, handle.settled()).await.expect("it ends").unwrap();
    assert_eq!(spent(&client).await, partial);
}
