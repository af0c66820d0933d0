//! A node that lies. It speaks the protocol, has a key of its own and takes real leases; none of its wrong receipts is ever paid.

use std::time::{SystemTime, UNIX_EPOCH};

use adit_client::{Client, Job, JobError, JobHandle, Source};
use adit_protocol::{
    AccountStatus, Answer, Attempt, AttemptFailure, BatchProof, ByteCount, Comparison, Digest, Fuel, GatewayToNode, GpuRun,
    Greeting, JobId, JobSpec, MeterId, Microcredits, NodeMessage, NodeOffer, NodeState, NodeTimes, Outcome, Price, Profile,
    PublicKey, Query, Receipt, Salt, SecretKey, SignedReceipt, UnixMillis, UnpaidAttempt, Usage, prove_batch, sign_receipts,
};
use adit_transport::{Connection, Dialer, GatewayAddr, Inbox, Outbox, load_or_create_key_file};
use serde::ser::SerializeTuple;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio::time::timeout;

use crate::guest;
use crate::network::{Network, nodes_until};
use crate::process::{LOOK_EVERY, PATIENCE};

/// What each key is welcomed with: `--welcome` of the network's gateways.
pub(crate) const WELCOME: u64 = 1_000_000_000_000;
/// Attempts of a job, all of which go to the only node there is.
const ATTEMPTS: u64 = 3;
/// Bytes that a receipt's engine may have.
const ENGINE_BYTES_MAX: usize = 64;
/// Bytes that the reason beside a receipt may have.
const REASON_BYTES_MAX: usize = 2_048;
pub(crate) const INPUT: &[u8] = b"an input";
const PRICE: Price =
    Price { per_compute_minute: 500_000, per_gib_compute_minute: 100_000, per_gib_in: 9, per_gib_out: 9, per_gpu_minute: 9 };
const DAY_MS: u64 = 86_400_000;

/// The liar's connection.
struct Liar {
    key: SecretKey,
    gateway: GatewayAddr,
    link: Option<(Connection, Outbox, Inbox)>,
}

/// What it was asked for.
pub(crate) struct Lease {
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
    pub(crate) client: PublicKey,
    pub(crate) spec: JobSpec,
    /// Inline.
    pub(crate) input: Vec<u8>,
}

impl Lease {
    /// The lease that a gateway sent.
    pub(crate) fn of(message: GatewayToNode) -> Option<Self> {
        match message {
            GatewayToNode::Lease { job, attempt, client, spec, input: Some(input) } => {
                Some(Self { job, attempt, client, spec: *spec, input })
            }
            _ => None,
        }
    }
}

/// What it says.
#[derive(Clone)]
struct Word {
    receipt: SignedReceipt,
    reason: String,
    output: Option<Vec<u8>>,
}

impl Liar {
    async fn join(network: &Network) -> Self {
        let key = load_or_create_key_file(&network.home.path("liar.key")).unwrap();
        let mut liar = Self { key, gateway: network.gateway.address.clone(), link: None };
        liar.connect().await;
        liar
    }

    async fn connect(&mut self) {
        let dialer = Dialer::new(SecretKey::from_seed(*self.key.seed())).unwrap();
        let connection = dialer.dial(&self.gateway).await.unwrap();
        let (outbox, mut inbox) = connection.open_control().await.unwrap();
        outbox.send(&greeting(1)).unwrap();
        assert!(matches!(inbox.next().await, Ok(Some(GatewayToNode::Welcome { .. }))));
        self.link = Some((connection, outbox, inbox));
    }

    async fn lease(&mut self) -> Lease {
        let (_, _, inbox) = self.link.as_mut().unwrap();
        let message = timeout(PATIENCE, inbox.next()).await.expect("a lease comes");
        let message = message.expect("the connection holds").expect("the gateway is there");
        Lease::of(message).expect("the gateway sends leases alone")
    }

    /// What an honest node would say.
    fn honest(&self, lease: &Lease) -> Receipt {
        truth(&self.key, self.gateway.key, lease)
    }

    fn sign(&self, receipt: Receipt) -> Word {
        let receipt = sign_receipts(&self.key, vec![receipt]).remove(0);
        Word { receipt, reason: String::new(), output: Some(INPUT.to_vec()) }
    }

    fn say(&self, message: &impl Serialize) {
        let (_, outbox, _) = self.link.as_ref().unwrap();
        outbox.send(message).unwrap();
    }

    fn finish(&self, word: Word) {
        self.say(&word.message());
    }

    /// Comes back if it was lost: a machine that stands still for some seconds breaks connections.
    async fn stay(&mut self) {
        let (connection, ..) = self.link.as_ref().unwrap();
        if timeout(LOOK_EVERY, connection.closed()).await.is_ok() {
            self.connect().await;
        }
    }

    /// Waits until it is thrown out, and comes back.
    async fn come_back(&mut self) -> String {
        let (connection, ..) = self.link.take().unwrap();
        let reason = timeout(PATIENCE, connection.closed()).await.expect("it is thrown out").to_string();
        self.connect().await;
        reason
    }
}

impl Word {
    fn message(self) -> NodeMessage {
        NodeMessage::Finished { receipt: Box::new(self.receipt), reason: self.reason, output: self.output }
    }
}

/// What an honest node says of an echo.
pub(crate) fn truth(node: &SecretKey, gateway: PublicKey, lease: &Lease) -> Receipt {
    let (limits, bytes_out) = (lease.spec.limits, ByteCount(lease.input.len() as u64));
    let fuel = limits.fuel.min(Fuel(3_000_000_000));
    let usage = Usage {
        fuel,
        memory_peak: ByteCount(1 << 20),
        memory_fuel: (1 << 20) * u128::from(fuel.0),
        bytes_in: lease.spec.bytes_in(),
        bytes_out,
        host_calls: 4,
        gpu_ns: 0,
    };
    assert!(usage.memory_peak <= limits.memory);
    Receipt {
        job: lease.job,
        attempt: lease.attempt,
        client: lease.client,
        node: node.public(),
        gateway,
        spec: lease.spec.digest(),
        module: lease.spec.module.digest,
        input: lease.spec.input_digest(),
        output: Digest::of(&lease.input),
        outcome: Outcome::Finished { exit_code: 0 },
        profile: lease.spec.profile,
        meter: METER,
        engine: "liar".into(),
        usage,
        gpu: None,
        times: NodeTimes { started: now(), fetch_us: 1, compile_us: 2, run_us: 3 },
        price: PRICE,
        cost: PRICE.cost(&usage).unwrap(),
        salt: Some(lease.spec.salt),
    }
}

/// What a guest did with a GPU: little.
pub(crate) fn gpu_run(class: &str) -> GpuRun {
    let (bytes_moved, memory_peak) = (ByteCount(4_096), ByteCount(4_096));
    GpuRun { class: class.to_owned(), comparison: Comparison::Exact, dispatches: 1, bytes_moved, memory_peak }
}

/// How this node introduces itself.
pub(crate) fn greeting(slots: u32) -> Greeting {
    Greeting::Node { offer: offer(slots), state: NodeState::Ready, cached: Vec::new(), token: None }
}

/// What this node offers.
pub(crate) fn offer(slots: u32) -> NodeOffer {
    NodeOffer {
        software: "liar 1.0".into(),
        slots,
        memory: ByteCount(1 << 30),
        gpu: None,
        profiles: vec![Profile::Deterministic],
        price: PRICE,
        labels: Vec::new(),
        meter: METER,
        fuel_per_second: 0,
        one_tenant: false,
    }
}

pub(crate) const METER: MeterId = MeterId([0x3e; 32]);

fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

/// Makes a receipt's cost what its price and usage come to.
pub(crate) fn priced(mut receipt: Receipt) -> Receipt {
    receipt.cost = receipt.price.cost(&receipt.usage).unwrap();
    receipt
}

/// A gateway, a client and a liar.
struct Scene {
    network: Network,
    client: Client,
    liar: Liar,
    /// Asks with the liar's key.
    owner: Client,
    /// What the client must have left.
    available: u64,
    earned: u64,
    refused: u64,
    unpaid: usize,
}

impl Scene {
    async fn open() -> Self {
        let network = Network::empty();
        let (client, liar) = (network.client().await, Liar::join(&network).await);
        nodes_until(&client, |nodes| nodes.len() == 1).await;
        let owner = Client::connect(SecretKey::from_seed(*liar.key.seed()), network.gateway.address.clone()).await.unwrap();
        Self { network, client, liar, owner, available: WELCOME, earned: 0, refused: 0, unpaid: 0 }
    }

    fn submit(&self) -> JobHandle {
        self.client.submit(self.client.salted(Job::new(Source::bytes(guest::echo()), Source::bytes(INPUT))))
    }

    /// Has the liar answer every attempt of a job with what `lie` makes of a true receipt. None of it is paid, and all who should know it
    /// do: `want` is what they are told.
    async fn refuses(&mut self, what: &str, want: &str, lie: impl Fn(&Self, &Lease, Receipt) -> Word) {
        let mut handle = self.submit();
        for _ in 0..ATTEMPTS {
            let lease = self.liar.lease().await;
            let word = lie(self, &lease, self.liar.honest(&lease));
            self.liar.finish(word);
        }
        self.lost(&mut handle, what, want).await;
        self.refused += ATTEMPTS;
        self.look(what, want).await;
    }

    /// As [`Scene::refuses`], where the liar is thrown out each time, and says whatever it likes.
    async fn expels(&mut self, what: &str, want: &str, lie: impl Fn(&Self, &Lease, Receipt)) {
        self.refused += ATTEMPTS;
        self.throws_out(what, want, lie).await;
    }

    /// As [`Scene::expels`], for what is no receipt.
    async fn throws_out(&mut self, what: &str, want: &str, lie: impl Fn(&Self, &Lease, Receipt)) {
        let mut handle = self.submit();
        for _ in 0..ATTEMPTS {
            let lease = self.liar.lease().await;
            lie(self, &lease, self.liar.honest(&lease));
            let reason = self.liar.come_back().await;
            assert!(reason.contains(want), "{what}: {reason}");
        }
        self.lost(&mut handle, what, want).await;
        self.look(what, want).await;
    }

    async fn lost(&mut self, handle: &mut JobHandle, what: &str, want: &str) {
        match handle.ended().await {
            Err(JobError::NodeLost { attempts, reason, .. }) => {
                assert_eq!(u64::from(attempts), ATTEMPTS, "{what}");
                assert!(reason.contains(want), "{what}: {reason}");
            }
            other => panic!("{what}: {other:?}"),
        }
        self.unpaid += ATTEMPTS as usize;
    }

    /// Has the liar tell the truth for once.
    async fn pays(&mut self, what: &str, word: impl Fn(&Self, &Lease, Receipt) -> Word) -> Word {
        let mut handle = self.submit();
        let lease = self.liar.lease().await;
        let word = word(self, &lease, self.liar.honest(&lease));
        self.liar.finish(word.clone());
        let settled = handle.settled().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(settled.done.receipt.signed(), &word.receipt, "{what}");
        let cost = word.receipt.receipt.cost.0;
        assert!(cost > 0, "{what}");
        self.available -= cost;
        self.earned += cost;
        self.look(what, "").await;
        word
    }

    /// Looks at what everybody sees: the client, whose credits are spent for what was settled and nothing else; the list of nodes; and the
    /// liar's owner, who is told of the last attempts what is wrong with them.
    async fn look(&mut self, what: &str, want: &str) {
        self.liar.stay().await;
        let accounts = async {
            loop {
                let (client, owner) = (account(&self.client).await, account(&self.owner).await);
                // What was held goes back in a moment.
                if client.held.0 == 0 && owner.earned.0 == self.earned {
                    return client.available.0;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let available =
            timeout(PATIENCE, accounts).await.unwrap_or_else(|_| panic!("{what}: a hold is left, or a payment wrong"));
        assert_eq!(available, self.available, "{what}");
        let liar = self.liar.key.public();
        let nodes = nodes_until(&self.client, |nodes| nodes.iter().any(|node| node.node == liar)).await;
        let refused = nodes.iter().find(|node| node.node == liar).map(|node| node.receipts_refused);
        assert_eq!(refused, Some(self.refused), "{what}");
        let told = async {
            loop {
                let unpaid = unpaid(&self.owner).await;
                if unpaid.len() == self.unpaid {
                    return unpaid;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let unpaid = timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{what}: the owner is not told"));
        let last = &unpaid[self.unpaid.saturating_sub(ATTEMPTS as usize)..];
        assert!(want.is_empty() || last.iter().all(|attempt| attempt.reason.contains(want)), "{what}: {last:?}");
    }

    /// Looks at the same by the commands that people have.
    fn close(self) {
        let key = self.network.home.path("liar.key");
        let account = |args: &[&str], part: &str| {
            let report = self.network.adit(["account", "--json"]).args(args).run().ok().json();
            report[format!("{part}_microcredits")].as_u64().unwrap()
        };
        assert_eq!((account(&[], "available"), account(&[], "held")), (self.available, 0));
        assert_eq!(account(&["--key", key.to_str().unwrap()], "earned"), self.earned);
        let nodes = self.network.adit(["nodes", "--json"]).run().ok().json_lines();
        let liar = nodes.iter().find(|node| node["node"] == self.liar.key.public().to_string()).unwrap();
        assert_eq!(liar["receipts_refused"].as_u64(), Some(self.refused));
        let earnings = self.network.adit(["node", "earnings", "--json", "--key"]).args([&key]).run().ok().json_lines();
        let (unpaid, paid): (Vec<_>, Vec<_>) = earnings.iter().partition(|line| line["kind"] == "unpaid");
        let is_told = |line: &&Value| line["reason"].as_str().is_some_and(|reason| !reason.is_empty());
        assert_eq!(unpaid.iter().filter(|line| is_told(line)).count(), self.unpaid);
        assert_eq!(paid.iter().map(|line| line["earned_microcredits"].as_u64().unwrap()).sum::<u64>(), self.earned);
    }
}

pub(crate) async fn account(client: &Client) -> AccountStatus {
    match ask(client, Query::Account).await {
        Answer::Account(status) => status,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn unpaid(owner: &Client) -> Vec<UnpaidAttempt> {
    match ask(owner, Query::Unpaid { from: 0, limit: 200 }).await {
        Answer::Unpaid { rows, next: None } => rows.into_iter().map(|(_, attempt)| attempt).collect(),
        other => panic!("{other:?}"),
    }
}

/// Asks until there is an answer: on a machine that stands still for some seconds, connections break, and are made again.
async fn ask(client: &Client, query: Query) -> Answer {
    let asking = async {
        loop {
            match client.ask(query.clone()).await {
                Ok(answer) => return answer,
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    };
    timeout(PATIENCE, asking).await.expect("the gateway answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_that_claims_more_than_was_asked_is_not_paid() {
    let mut scene = Scene::open().await;
    type Change = fn(&Lease, &mut Usage);
    let rows: [(&str, Change); 7] = [
        ("its fuel is not", |lease, usage| usage.fuel.0 = lease.spec.limits.fuel.0 + 1),
        ("its peak memory is not", |lease, usage| usage.memory_peak.0 = lease.spec.limits.memory.0 + 1),
        ("its memory-fuel is not", |lease, usage| {
            usage.memory_fuel = u128::from(lease.spec.limits.memory.0) * u128::from(usage.fuel.0) + 1;
        }),
        ("its input bytes is not", |lease, usage| usage.bytes_in.0 = lease.spec.bytes_in().0 + 1),
        ("its output bytes is not", |lease, usage| usage.bytes_out.0 = lease.spec.limits.output.0 + 1),
        ("its GPU time is not", |lease, usage| usage.gpu_ns = lease.spec.limits.gpu_ns + 1),
        // More than is held for the job, and so over its limits.
        ("its fuel is not", |lease, usage| usage.fuel.0 = lease.spec.limits.fuel.0 * 1_000),
    ];
    for (want, change) in rows {
        let lie = |scene: &Scene, lease: &Lease, mut receipt: Receipt| {
            change(lease, &mut receipt.usage);
            scene.liar.sign(priced(receipt))
        };
        scene.refuses(want, want, lie).await;
    }
    let no_cost = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
        receipt.usage.memory_fuel = u128::MAX;
        scene.liar.sign(receipt)
    };
    scene.refuses("a usage that has no cost", "costs Microcredits", no_cost).await;
    for (what, cost) in [("dearer", 1), ("cheaper", -1), ("all there is", i64::MAX)] {
        let lie = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
            receipt.cost = Microcredits(receipt.cost.0.saturating_add_signed(cost));
            scene.liar.sign(receipt)
        };
        scene.refuses(what, "by its own word", lie).await;
    }
    let a_gpu = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
        receipt.gpu = Some(gpu_run("software/mesa/llvmpipe"));
        scene.liar.sign(receipt)
    };
    scene.refuses("a GPU that the job had not", "its GPU is not", a_gpu).await;
    let out_of_gpu_time =
        |scene: &Scene, _: &Lease, receipt: Receipt| scene.liar.sign(Receipt { outcome: Outcome::OutOfGpuTime, ..receipt });
    scene.refuses("the end of a GPU that the job had not", "its outcome is not", out_of_gpu_time).await;
    let other_price = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
        receipt.price.per_compute_minute += 1;
        scene.liar.sign(priced(receipt))
    };
    scene.refuses("another price", "its price is not what was leased", other_price).await;

    // Whatever is exactly at its limit is paid.
    let most = |scene: &Scene, lease: &Lease, mut receipt: Receipt| {
        let limits = lease.spec.limits;
        receipt.usage.fuel = limits.fuel;
        receipt.usage.memory_peak = limits.memory;
        receipt.usage.memory_fuel = u128::from(limits.memory.0) * u128::from(limits.fuel.0);
        scene.liar.sign(priced(receipt))
    };
    scene.pays("all that was asked", most).await;
    scene.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_about_something_else_is_not_paid() {
    let mut scene = Scene::open().await;
    let other = SecretKey::from_seed([77; 32]).public();
    type Change = fn(&mut Receipt, PublicKey);
    let rows: [(&str, Change); 11] = [
        ("its specification digest is not", |receipt, _| receipt.spec.0[0] ^= 1),
        ("its module is not", |receipt, _| receipt.module.0[0] ^= 1),
        ("its input is not", |receipt, _| receipt.input.0[0] ^= 1),
        ("its output is not the one that arrived", |receipt, _| receipt.output.0[0] ^= 1),
        ("its profile is not", |receipt, _| receipt.profile = Profile::Open),
        ("its salt is not", |receipt, _| receipt.salt = Some(Salt([1; 32]))),
        ("its salt is not", |receipt, _| *receipt = Receipt { salt: None, ..receipt.clone() }),
        ("its client is not", |receipt, other| receipt.client = other),
        ("its gateway is not", |receipt, other| receipt.gateway = other),
        ("its meter is not", |receipt, _| receipt.meter = MeterId([9; 32])),
        ("its input is not", |receipt, _| *receipt = receipt.public()),
    ];
    for (want, change) in rows {
        let lie = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
            change(&mut receipt, other);
            scene.liar.sign(receipt)
        };
        scene.refuses(want, want, lie).await;
    }
    // What another job of the same client would have got, under this job's name.
    let swapped = |scene: &Scene, lease: &Lease, receipt: Receipt| {
        let mut spec = lease.spec.clone();
        spec.args.push("another".into());
        scene.liar.sign(Receipt { spec: spec.digest(), ..receipt })
    };
    scene.refuses("another job's contents", "its specification digest is not", swapped).await;

    let bytes =
        |scene: &Scene, _: &Lease, receipt: Receipt| Word { output: Some(b"xxxxxxxx".to_vec()), ..scene.liar.sign(receipt) };
    scene.refuses("other bytes", "its output is not the one that arrived", bytes).await;
    let none = |scene: &Scene, _: &Lease, receipt: Receipt| Word { output: None, ..scene.liar.sign(receipt) };
    scene.refuses("no bytes", "its output is not the one that arrived", none).await;
    let longer = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
        receipt.usage.bytes_out.0 += 1;
        scene.liar.sign(priced(receipt))
    };
    scene.refuses("a length that is not the output's", "its output is not the one that arrived", longer).await;
    scene.pays("the truth", |scene, _, receipt| scene.liar.sign(receipt)).await;
    scene.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_with_a_wrong_signature_is_not_paid() {
    let mut scene = Scene::open().await;
    let want = "the batch root's signature does not match";
    for domain in ["adit settlement v1", "adit receipt v2", ""] {
        let lie = |scene: &Scene, _: &Lease, receipt: Receipt| {
            let proof = prove_batch(&scene.liar.key, domain, &[receipt.public().to_bytes()]).remove(0);
            Word { receipt: SignedReceipt { receipt, proof }, reason: String::new(), output: Some(INPUT.to_vec()) }
        };
        scene.refuses(domain, want, lie).await;
    }
    let thief = SecretKey::from_seed([78; 32]);
    let signed_by = |scene: &Scene, receipt: Receipt| Word {
        receipt: sign_receipts(&thief, vec![receipt.clone()]).remove(0),
        ..scene.liar.sign(receipt)
    };
    scene.refuses("signed by another key", want, |scene, _, receipt| signed_by(scene, receipt)).await;
    let other_node = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
        receipt.node = thief.public();
        signed_by(scene, receipt)
    };
    scene.refuses("a whole receipt of another node", "its node is not what was leased", other_node).await;
    let whole_form = |scene: &Scene, _: &Lease, receipt: Receipt| {
        let proof = prove_batch(&scene.liar.key, "adit receipt v5", &[receipt.to_bytes()]).remove(0);
        Word { receipt: SignedReceipt { receipt: receipt.clone(), proof }, ..scene.liar.sign(receipt) }
    };
    scene.refuses("signed as it is, and not in its public form", want, whole_form).await;
    let outside = |scene: &Scene, _: &Lease, receipt: Receipt| {
        let mut word = scene.liar.sign(receipt);
        word.receipt.proof = BatchProof { index: 1, ..word.receipt.proof };
        word
    };
    scene.refuses("outside of its batch", "the batch proof is malformed", outside).await;
    // One of a batch whose root was vouched for, with the signature of another batch.
    let two = |scene: &Scene, lease: &Lease, receipt: Receipt| {
        let twin = Receipt { attempt: Attempt(99), ..scene.liar.honest(lease) };
        let mut pair = sign_receipts(&scene.liar.key, vec![receipt.clone(), twin]);
        pair[0].proof.signature = scene.liar.sign(receipt.clone()).receipt.proof.signature;
        Word { receipt: pair.remove(0), ..scene.liar.sign(receipt) }
    };
    scene.refuses("another batch's signature", want, two).await;
    let one_of_two = |scene: &Scene, lease: &Lease, receipt: Receipt| {
        let twin = Receipt { attempt: Attempt(99), ..scene.liar.honest(lease) };
        let mut pair = sign_receipts(&scene.liar.key, vec![twin, receipt.clone()]);
        Word { receipt: pair.remove(1), ..scene.liar.sign(receipt) }
    };
    scene.pays("one of a batch", one_of_two).await;
    scene.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_with_times_that_cannot_be_or_too_long_a_text_is_not_paid() {
    let mut scene = Scene::open().await;
    type Change = fn(&mut NodeTimes);
    let rows: [(&str, Change); 7] = [
        ("its times add up to", |times| times.run_us = u64::MAX),
        ("its times add up to", |times| (times.fetch_us, times.compile_us) = (u64::MAX, u64::MAX)),
        ("its times add up to", |times| times.compile_us = 3_600_000_000),
        ("set the node's clock", |times| times.started = UnixMillis(0)),
        ("set the node's clock", |times| times.started = UnixMillis(u64::MAX)),
        ("set the node's clock", |times| times.started.0 -= DAY_MS + 60_000),
        ("set the node's clock", |times| times.started.0 += DAY_MS + 60_000),
    ];
    for (want, change) in rows {
        let lie = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
            change(&mut receipt.times);
            scene.liar.sign(receipt)
        };
        scene.refuses(want, want, lie).await;
    }
    let engine = |bytes: usize| {
        move |scene: &Scene, _: &Lease, receipt: Receipt| scene.liar.sign(Receipt { engine: "e".repeat(bytes), ..receipt })
    };
    let reason = |bytes: usize| {
        move |scene: &Scene, _: &Lease, receipt: Receipt| Word { reason: "r".repeat(bytes), ..scene.liar.sign(receipt) }
    };
    let want = "its engine's name has 65 bytes, over the limit of 64";
    scene.refuses("a long engine", want, engine(ENGINE_BYTES_MAX + 1)).await;
    let want = "its reason has 2049 bytes, over the limit of 2048";
    scene.refuses("a long reason", want, reason(REASON_BYTES_MAX + 1)).await;
    scene.pays("the longest engine", engine(ENGINE_BYTES_MAX)).await;
    scene.pays("the longest reason", reason(REASON_BYTES_MAX)).await;
    // A clock that is a little off is nobody's fault.
    let late = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
        receipt.times =
            NodeTimes { started: UnixMillis(now().0 - DAY_MS + 600_000), fetch_us: 0, compile_us: 0, run_us: 60_000_000 };
        scene.liar.sign(receipt)
    };
    scene.pays("another clock", late).await;
    scene.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_reports_what_it_was_not_given_is_thrown_out() {
    let mut scene = Scene::open().await;
    let want = "it has no lease of attempt";
    let old = scene.pays("the truth", |scene, _, receipt| scene.liar.sign(receipt)).await;
    let replayed = |scene: &Scene, _: &Lease, _: Receipt| scene.liar.finish(old.clone());
    scene.expels("a receipt that was settled", want, replayed).await;
    let next = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
        receipt.attempt.0 += 1;
        scene.liar.finish(scene.liar.sign(receipt));
    };
    scene.expels("another attempt", want, next).await;
    let other = |scene: &Scene, _: &Lease, mut receipt: Receipt| {
        receipt.job = JobId([5; 16]);
        scene.liar.finish(scene.liar.sign(receipt));
    };
    scene.expels("another job", want, other).await;

    // Once a failure that was another's made the gateway forget that attempt, and refuse the receipt of who had it.
    let failed = |scene: &Scene, lease: &Lease, _: Receipt| {
        let failure = AttemptFailure::Node("no".into());
        scene.liar.say(&NodeMessage::Failed { job: lease.job, attempt: Attempt(lease.attempt.0 + 1), failure });
    };
    scene.throws_out("a failure of another attempt", "it reported a failure and has no lease of attempt", failed).await;

    // The second of two equal ones finds no lease, and has no effect.
    let word = scene.pays("the truth again", |scene, _, receipt| scene.liar.sign(receipt)).await;
    scene.liar.finish(word);
    assert!(scene.liar.come_back().await.contains(want));
    scene.refused += 1;
    nodes_until(&scene.client, |nodes| nodes.len() == 1).await;
    scene.look("the same once more", "").await;

    // Bytes that mean a true receipt, but are not how it is written.
    let padded = |scene: &Scene, _: &Lease, receipt: Receipt| {
        let mut bytes = postcard::to_allocvec(&scene.liar.sign(receipt).message()).unwrap();
        // The variant, the job's 16 bytes, and the attempt in one byte, which becomes two that are read as the same number.
        assert!(bytes[17] < 0x80);
        bytes[17] |= 0x80;
        bytes.insert(18, 0);
        assert!(postcard::from_bytes::<NodeMessage>(&bytes).is_ok());
        scene.liar.say(&Raw(bytes));
    };
    scene.expels("a padded number", "it broke the protocol: the encoding is not canonical", padded).await;
    let longer = |scene: &Scene, _: &Lease, receipt: Receipt| {
        let mut bytes = postcard::to_allocvec(&scene.liar.sign(receipt).message()).unwrap();
        bytes.push(0);
        scene.liar.say(&Raw(bytes));
    };
    scene.expels("a byte too many", "it broke the protocol: 1 bytes follow the message", longer).await;
    scene.pays("the truth once more", |scene, _, receipt| scene.liar.sign(receipt)).await;
    scene.close();
}

/// A message's bytes, as they are.
struct Raw(Vec<u8>);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }
}

/// The client does not notice: its job goes on where it is done.
#[tokio::test(flavor = "multi_thread")]
async fn job_of_a_liar_is_done_by_another_node() {
    let mut scene = Scene::open().await;
    for thrown_out in [false, true] {
        let mut handle = scene.submit();
        let lease = scene.liar.lease().await;
        if scene.network.nodes.is_empty() {
            scene.network.add_node(&["--slots", "1"]);
        }
        let mut receipt = scene.liar.honest(&lease);
        if thrown_out {
            receipt.attempt.0 = 7
        } else {
            receipt.meter = MeterId([1; 32])
        }
        scene.liar.finish(scene.liar.sign(receipt));
        let settled = handle.settled().await.unwrap();
        let receipt = settled.done.receipt.receipt();
        assert_eq!((receipt.node, receipt.attempt), (scene.network.nodes[0].key, Attempt(2)));
        scene.available -= receipt.cost.0;
        (scene.refused, scene.unpaid) = (scene.refused + 1, scene.unpaid + 1);
        if thrown_out {
            scene.liar.come_back().await;
        } else {
            // The next job is the liar's again.
            let real = scene.network.nodes.remove(0);
            real.process.kill();
        }
        scene.look("a liar beside an honest node", "").await;
        if !thrown_out {
            nodes_until(&scene.client, |nodes| nodes.len() == 1).await;
        }
    }
    scene.close();
}
