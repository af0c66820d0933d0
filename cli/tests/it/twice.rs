//! A job that runs twice because its gateway dies between the end and the settlement: the second receipt is the settled one. The gateway
//! here is the test's own, which dies at that very moment.

use adit_protocol::{
    Attempt, BlobRef, ClientMessage, GatewayToClient, Greeting, JobEvent, JobId, JobResult, JobSpec, MeterId, NodeTimes, Outcome,
    Price, PublicKey, Receipt, SecretKey, Settlement, SignedReceipt, UnixMillis, Usage, sign_receipts, sign_settlements,
};
use adit_transport::{Connection, Inbox, Listener, Outbox};
use serde_json::Value;

use crate::guest;
use crate::network::{Adit, Home};
use crate::process::{Process, until};

/// A gateway that knows one job.
struct Script {
    key: SecretKey,
    listener: Listener,
}

/// A client that has submitted it.
struct Submitted {
    connection: Connection,
    outbox: Outbox,
    inbox: Inbox,
    job: JobId,
    spec: JobSpec,
}

impl Script {
    fn new() -> Self {
        let key = SecretKey::generate();
        Self { listener: Listener::bind("127.0.0.1:0".parse().unwrap(), &key).unwrap(), key }
    }

    fn run(&self, home: &Home, args: &[&str]) -> Adit {
        home.file("echo.wasm", guest::echo());
        let address = format!("{}#{}", self.listener.local_addr(), self.key.public());
        home.adit(["run", "echo.wasm"]).args(args).env("ADIT_GATEWAY", address)
    }

    /// Takes the next connection, and the submission on it.
    async fn next(&self) -> Submitted {
        let connection = self.listener.accept().await.unwrap().complete().await.unwrap();
        let (outbox, mut inbox) = connection.accept_control().await.unwrap();
        let Ok(Some(Greeting::Client { .. })) = inbox.next().await else { panic!("a greeting comes first") };
        outbox.send(&GatewayToClient::Welcome { software: "script".into() }).unwrap();
        let Ok(Some(ClientMessage::Submit { key, spec, .. })) = inbox.next().await else { panic!("then the submission") };
        let job = JobId::derive(&connection.peer(), &key);
        Submitted { connection, outbox, inbox, job, spec: *spec }
    }

    /// Tells of an end with this output, on a node that is never the same one.
    fn end(&self, client: &Submitted, output: &[u8]) -> SignedReceipt {
        let receipt = receipt(&client.spec, client.job, client.connection.peer(), self.key.public(), output);
        let result = JobResult::Done {
            receipt: Box::new(receipt.clone()),
            reason: String::new(),
            output: Some(output.to_vec()),
            queue_us: 0,
            rtt_us: 0,
        };
        client.tell(JobEvent::Ended(result));
        receipt
    }

    /// Settles a receipt, and waits until the client has left.
    async fn settle(&self, mut client: Submitted, receipt: &SignedReceipt) {
        let (gateway, job, receipt) = (self.key.public(), client.job, receipt.digest());
        let settlement = Settlement { gateway, job, receipt, index: 0, time: UnixMillis(0) };
        client.tell(JobEvent::Settled(sign_settlements(&self.key, &[settlement]).remove(0)));
        while let Ok(Some(_)) = client.inbox.next::<ClientMessage>().await {}
    }

    /// Has `run` see an end with `outputs[0]`, die before its settlement once `seen`, and an end with `outputs[1]` that is settled.
    async fn play(&self, outputs: [&str; 2], seen: impl FnOnce()) -> SignedReceipt {
        let first = self.next().await;
        self.end(&first, outputs[0].as_bytes());
        seen();
        first.connection.close("died");
        let second = self.next().await;
        assert_eq!(second.job, first.job);
        let receipt = self.end(&second, outputs[1].as_bytes());
        self.settle(second, &receipt).await;
        receipt
    }
}

impl Submitted {
    fn tell(&self, event: JobEvent) {
        self.outbox.send(&GatewayToClient::Event { job: self.job, event: Box::new(event) }).unwrap();
    }
}

/// What a node that nobody knows says of a job.
pub(crate) fn receipt(spec: &JobSpec, job: JobId, client: PublicKey, gateway: PublicKey, output: &[u8]) -> SignedReceipt {
    let node = SecretKey::generate();
    let output = BlobRef::of(output);
    let mut usage = Usage::default();
    usage.bytes_out.0 = output.bytes;
    let receipt = Receipt {
        job,
        attempt: Attempt(1),
        client,
        node: node.public(),
        gateway,
        spec: spec.digest(),
        module: spec.module.digest,
        input: spec.input_digest(),
        output: output.digest,
        outcome: Outcome::Finished { exit_code: 0 },
        profile: spec.profile,
        meter: MeterId([0; 32]),
        engine: "script".into(),
        usage,
        gpu: None,
        times: NodeTimes::default(),
        price: Price::default(),
        cost: Price::default().cost(&usage).unwrap(),
        salt: Some(spec.salt),
    };
    sign_receipts(&node, vec![receipt]).remove(0)
}

/// The output appears as soon as the job has ended, before its settlement.
fn appears(process: &Process, output: &'static str) {
    process.stdout.wait_for_text(output);
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_receipt_is_kept_and_shown_not_the_first_one() {
    let (home, script) = (Home::new(), Script::new());
    let run = script.run(&home, &["--receipt", "kept"]).start();
    let settled = script.play(["same", "same"], || appears(&run, "same")).await;
    let ran = run.wait().ok().says(&settled.receipt.node.to_string()[..8]);
    assert_eq!(ran.text(), "same", "it is shown once");
    let kept: Value = serde_json::from_slice(&std::fs::read(home.path("kept")).unwrap()).unwrap();
    assert_eq!(kept["receipt"], hex::encode(settled.to_bytes()));
    home.adit(["verify", "kept"]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_output_takes_the_place_of_another_one() {
    let (home, script) = (Home::new(), Script::new());
    let run = script.run(&home, &["--output", "out", "--json"]).start();
    let written = || std::fs::read_to_string(home.path("out")).unwrap_or_default();
    let settled = script.play(["first", "second"], || until("the output is written", || written() == "first")).await;
    let object = run.wait().ok().json();
    assert_eq!((written().as_str(), &object["output_digest"]), ("second", &settled.receipt.output.to_string().into()));
    assert_eq!(object["receipt"], hex::encode(settled.to_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_was_shown_and_is_not_settled_is_told() {
    let (home, script) = (Home::new(), Script::new());
    let run = script.run(&home, &["--receipt", "kept"]).start();
    let settled = script.play(["first", "second"], || appears(&run, "first")).await;
    let ran = run.wait().code(23).says(&format!("`adit output {}` is", settled.receipt.job));
    assert_eq!(ran.text(), "first");
    home.adit(["verify", "kept"]).run().ok();
}

/// The full disk alone was told.
#[tokio::test(flavor = "multi_thread")]
async fn settlement_that_proves_nothing_is_told_also_where_the_output_cannot_be_written() {
    let (home, script) = (Home::new(), Script::new());
    let run = script.run(&home, &["--output", "/dev/full"]).start();
    let submitted = script.next().await;
    script.end(&submitted, b"lost");
    let (job, client) = (submitted.job, submitted.connection.peer());
    let other = receipt(&submitted.spec, job, client, script.key.public(), b"other");
    script.settle(submitted, &other).await;
    run.wait().code(23).says("No space left on device").says("signature does not match");
}
