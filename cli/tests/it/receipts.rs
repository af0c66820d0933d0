//! `adit receipts`: lists what the user paid for and nothing else, and saves it without losing what is there.

use std::fs;

use adit_client::{Client, Job, Source};
use adit_protocol::{
    Answer, BlobRef, ClientMessage, Fuel, GatewayToClient, Greeting, JobId, JobSpec, Leaf, LeafBytes, Microcredits, PublicKey,
    Query, SecretKey, Settled, SignedReceipt, UnixMillis, sign_receipts,
};
use adit_transport::{Listener, load_or_create_key_file};
use serde_json::Value;

use crate::guest;
use crate::network::{Adit, Home, Network};
use crate::restored::Site;
use crate::twice::receipt;

/// Starts a gateway that only answers questions, as `answer` likes. Its address.
pub(crate) fn answering(key: &SecretKey, answer: impl Fn(Query) -> Answer + Send + 'static) -> String {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), key).unwrap();
    let address = format!("{}#{}", listener.local_addr(), key.public());
    tokio::spawn(async move {
        loop {
            let connection = listener.accept().await.unwrap().complete().await.unwrap();
            let (outbox, mut inbox) = connection.accept_control().await.unwrap();
            assert!(matches!(inbox.next().await, Ok(Some(Greeting::Client { .. }))));
            outbox.send(&GatewayToClient::Welcome { software: "test".into() }).unwrap();
            while let Ok(Some(ClientMessage::Ask { request, query })) = inbox.next().await {
                outbox.send(&GatewayToClient::Answer { request, answer: answer(query) }).unwrap();
            }
        }
    });
    address
}

fn user(home: &Home) -> PublicKey {
    load_or_create_key_file(&home.path("config/adit/client.key")).unwrap().public()
}

/// A receipt that holds, of the `n`th job of this client's.
fn paid(n: u8, client: PublicKey, gateway: PublicKey) -> SignedReceipt {
    let node = SecretKey::from_seed([n; 32]);
    let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(&[n]));
    let mut receipt = receipt(&spec, JobId([n; 16]), client, gateway, &[n]).receipt;
    receipt.node = node.public();
    receipt.usage.fuel = Fuel(60_000_000_000);
    receipt.price.per_compute_minute = u64::from(n);
    receipt.cost = receipt.price.cost(&receipt.usage).unwrap();
    sign_receipts(&node, vec![receipt]).remove(0)
}

fn read(home: &Home, file: &str) -> Value {
    serde_json::from_slice(&fs::read(home.path(file)).unwrap()).unwrap()
}

/// Whatever a gateway told was listed, summed and saved, over whatever was there.
#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_others_and_repeated_ones_are_told_not_summed_and_not_saved() {
    let home = Home::new();
    let (key, client) = (SecretKey::generate(), user(&home));
    let mine = paid(1, client, key.public());
    let mut forged = paid(5, client, key.public());
    forged.receipt.usage.fuel.0 += 1;
    let others = [
        (paid(2, PublicKey([7; 32]), key.public()), "another key paid for it"),
        (mine.clone(), "the same attempt was paid in another leaf"),
        (paid(4, client, PublicKey([7; 32])), "for another gateway"),
        (forged, "receipt of job"),
    ];
    let settled = Settled { receipt: mine.public(), held: mine.receipt.cost, fee: Microcredits(0), time: UnixMillis(1) };
    let leaf = Leaf::Settlement(Box::new(settled)).to_bytes();
    let rows: Vec<_> = (3..).zip([&mine].into_iter().chain(others.iter().map(|(other, _)| other)).cloned()).collect();
    let address = answering(&key, move |query| match query {
        Query::Receipts { from: 0, .. } => Answer::Receipts { rows: rows.clone(), next: None },
        Query::AttemptProof { .. } => Answer::Proof(None),
        Query::Statement { from: 3, .. } => Answer::Statement { rows: vec![(3, LeafBytes(leaf.clone()))], next: None },
        other => panic!("{other:?}"),
    });
    let kept = [2, 4, 5].map(|n| home.file(&format!("saved/{}.receipt", JobId([n; 16])), "mine"));
    let told = home.adit(["receipts", "--save", "saved"]).env("ADIT_GATEWAY", &address).run().code(23);
    for (_, want) in &others {
        assert!(told.stderr.contains(want), "{want}: {told:?}");
    }
    assert!(told.stderr.contains(&format!("5 receipts, 4 invalid, {} in all", mine.receipt.cost)), "{told:?}");
    assert_eq!(read(&home, &format!("saved/{}.receipt", mine.receipt.job))["receipt"], hex::encode(mine.to_bytes()));
    assert!(kept.iter().all(|file| fs::read(file).unwrap() == b"mine"));
    assert_eq!(fs::read_dir(home.path("saved")).unwrap().count(), 4);
}

/// A page that led on without a row was followed by the next, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn list_that_does_not_get_ahead_ends() {
    let home = Home::new();
    let (key, client) = (SecretKey::generate(), user(&home));
    let mine = paid(1, client, key.public());
    type Page = fn(u64, &SignedReceipt) -> Answer;
    let pages: [(Page, &str); 3] = [
        (|from, _| Answer::Receipts { rows: Vec::new(), next: Some(from + 1) }, "does not get ahead"),
        (|from, mine| Answer::Receipts { rows: vec![(from, mine.clone())], next: Some(from) }, "does not get ahead"),
        (|from, mine| Answer::Receipts { rows: vec![(0, mine.clone())], next: Some(from + 1) }, "out of order"),
    ];
    for (page, want) in pages {
        let mine = mine.clone();
        let address = answering(&key, move |query| match query {
            Query::Receipts { from, .. } => page(from, &mine),
            other => panic!("{other:?}"),
        });
        home.adit(["receipts"]).env("ADIT_GATEWAY", &address).run().code(23).says(want);
    }
}

fn save(network: &Network, dir: &str) -> Adit {
    network.adit(["receipts", "--save", dir])
}

/// Of a job that was settled within the second before there was no proof, and its promise was taken away.
#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_are_saved_at_once_hold_and_keep_their_promises() {
    const KEPT: &str = "data/adit/receipts";
    let (site, witness) = Site::open();
    let network = site.start(&[]);
    let client = network.client().await;
    settle(&client, &[0, 1]).await;
    let saved = save(&network, "saved").run().ok();
    assert!(!saved.stderr.contains("no proof yet"), "{saved:?}");
    let files: Vec<_> = fs::read_dir(network.home.path("saved")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    network.home.adit(["verify"]).args(&files).run().ok();
    // A run keeps one at once, though a checkpoint comes but once a second.
    for input in 2..6 {
        let ran = network.run(&guest::echo()).args(["--json", "--input", "-"]).input([input]).run().ok().json();
        assert!(ran["log_proof"].is_string(), "{ran}");
    }

    // No checkpoint comes any more.
    witness.kill();
    let ran = network.run(&guest::echo()).args(["--json"]).run().ok().json();
    let file = format!("{KEPT}/{}.receipt", ran["job"].as_str().unwrap());
    let before = read(&network.home, &file);
    assert!(before["settlement"].is_string() && before["log_proof"].is_null(), "{before}");
    save(&network, KEPT).run().ok().says(&format!("{file} has no proof yet"));
    assert_eq!(read(&network.home, &file), before);
    network.home.adit(["verify", &file]).run().ok();
}

/// Has these jobs settled, one after the other.
async fn settle(client: &Client, inputs: &[u8]) {
    for input in inputs {
        let job = Job::new(Source::bytes(guest::echo()), Source::bytes(vec![*input]));
        client.submit(client.salted(job)).settled().await.unwrap();
    }
}

#[test]
fn proof_is_put_beside_the_promise_that_a_run_kept() {
    const KEPT: &str = "data/adit/receipts";
    let network = Network::with_slots(&[1]);
    let job = network.run(&guest::echo()).args(["--json"]).run().ok().json()["job"].as_str().unwrap().to_owned();
    let file = format!("{KEPT}/{job}.receipt");
    let whole = read(&network.home, &file);
    let mut bare = whole.clone();
    bare["log_proof"] = Value::Null;
    network.home.file(&file, bare.to_string());
    save(&network, KEPT).run().ok();
    let joined = read(&network.home, &file);
    assert_eq!((&joined["receipt"], &joined["settlement"]), (&whole["receipt"], &whole["settlement"]));
    assert!(joined["log_proof"].is_string(), "{joined}");

    // What is there of another is left, and this one has a name of its own.
    network.home.file(&file, "something else");
    save(&network, KEPT).run().ok().says("holds another and is left as it is");
    assert_eq!(fs::read(network.home.path(&file)).unwrap(), b"something else");
    let names: Vec<String> = fs::read_dir(network.home.path(KEPT))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(&format!("{job}.leaf-")))
        .collect();
    let [name] = &names[..] else { panic!("{names:?}") };
    network.home.adit(["verify", &format!("{KEPT}/{name}")]).run().ok();
}
