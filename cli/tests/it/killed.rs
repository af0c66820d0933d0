//! A gateway that is killed without a word, again and again, while jobs run and settle: whatever it has told of stays true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adit_client::{Client, Job, Settled, Source};
use adit_ledger::{Account, Ledger};
use adit_protocol::{Answer, GatewayToNode, JobId, Leaf, NodeMessage, Query, SecretKey, sign_receipts};
use adit_tlog::{LogProof, verify_checkpoint};
use adit_transport::{Dialer, GatewayAddr};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::guest;
use crate::hostile::{Lease, greeting, truth};
use crate::network::{Gateway, Network, WELCOME};
use crate::process::PATIENCE;

/// How often the gateway is killed.
const KILLS: usize = 100;
/// Jobs at once.
const IN_FLIGHT: u64 = 12;
/// What decides when it is killed.
const SEED: u64 = 7;
/// How long one attempt to connect may take: a packet that a dead gateway did not get is not sent again for a second.
const DIAL_TIMEOUT: Duration = Duration::from_millis(250);

/// What all tasks of the test share.
struct Shared {
    client: Client,
    told: Mutex<Vec<Settled>>,
    ends: AtomicBool,
}

/// Submits one job after the other, each until it is settled, whatever happens meanwhile.
async fn submit(shared: Arc<Shared>, worker: u64) {
    for n in 0u64.. {
        if shared.ends.load(Ordering::Relaxed) {
            return;
        }
        let input = [worker.to_le_bytes(), n.to_le_bytes()].concat();
        let job = shared.client.salted(Job::new(Source::bytes(guest::echo()), Source::bytes(input)));
        loop {
            // The same key, so the same job.
            match timeout(PATIENCE, shared.client.submit(job.clone()).settled()).await.expect("no job hangs") {
                Ok(settled) => break shared.told.lock().unwrap().push(settled),
                Err(error) => eprintln!("submitted once more: {error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// An honest node that is back as soon as its gateway is: a process of ours would wait longer with each gateway that it loses.
async fn serve(key: SecretKey, gateway: GatewayAddr, mut restarts: watch::Receiver<u32>) {
    let dialer = Dialer::new(SecretKey::from_seed(*key.seed())).unwrap();
    let (key, mut rng) = (Arc::new(key), StdRng::seed_from_u64(SEED));
    loop {
        restarts.borrow_and_update();
        let Ok(Ok(connection)) = timeout(DIAL_TIMEOUT, dialer.dial(&gateway)).await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let Ok((outbox, mut inbox)) = connection.open_control().await else { continue };
        let _ = outbox.send(&greeting(8));
        loop {
            let message = tokio::select! {
                message = inbox.next::<GatewayToNode>() => message,
                _ = restarts.changed() => break,
            };
            let Ok(Some(message)) = message else { break };
            let Some(lease) = Lease::of(message) else { continue };
            let (outbox, key, gateway) = (outbox.clone(), Arc::clone(&key), gateway.key);
            let time = Duration::from_millis(rng.random_range(0..40));
            tokio::spawn(async move {
                sleep(time).await;
                let receipt = sign_receipts(&key, vec![truth(&key, gateway, &lease)]).remove(0);
                let receipt = Box::new(receipt);
                // A gateway that died meanwhile gives the job to somebody again.
                let _ = outbox.send(&NodeMessage::Finished { receipt, reason: String::new(), output: Some(lease.input) });
            });
        }
        connection.close("the gateway is gone");
    }
}

/// What the gateway says of its log now; nothing where it is not reached.
async fn checkpoint(client: &Client) -> Option<String> {
    match timeout(Duration::from_secs(2), client.ask(Query::Log)).await {
        Ok(Ok(Answer::Log(log))) => log.checkpoint,
        Ok(Ok(other)) => panic!("{other:?}"),
        // The question alone is of use: its packet makes the client notice that the gateway is another one.
        Ok(Err(_)) | Err(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_killed_a_hundred_times_under_load_keeps_its_word() {
    let mut network = Network::with_slots(&[2]);
    let GatewayAddr { host, key: gateway_key } = network.gateway.address.clone();
    let (restarted, restarts) = watch::channel(0);
    let node = tokio::spawn(serve(SecretKey::from_seed([80; 32]), network.gateway.address.clone(), restarts));
    let shared = Arc::new(Shared { client: network.client().await, told: Mutex::default(), ends: AtomicBool::new(false) });
    let mut workers = JoinSet::new();
    for worker in 0..IN_FLIGHT {
        workers.spawn(submit(Arc::clone(&shared), worker));
    }

    let (mut rng, mut checkpoints) = (StdRng::seed_from_u64(SEED), Vec::new());
    for kill in 0..KILLS {
        sleep(Duration::from_millis(rng.random_range(20..500))).await;
        checkpoints.extend(checkpoint(&shared.client).await);
        network.gateway.process.kill_in_place();
        if kill % 4 == 3 {
            // Also while it opens its ledger, or has just opened it.
            let mut opening = Gateway::command(&network.home, &host).args(WELCOME).start();
            sleep(Duration::from_millis(rng.random_range(0..60))).await;
            opening.kill_in_place();
        }
        network.gateway = Gateway::start(&network.home, &host);
        restarted.send_modify(|count| *count += 1);
        checkpoints.extend(checkpoint(&shared.client).await);
    }
    shared.ends.store(true, Ordering::Relaxed);
    while let Some(ended) = timeout(PATIENCE, workers.join_next()).await.expect("all jobs come to their end") {
        ended.unwrap();
    }
    node.abort();
    network.gateway.process.signal(Signal::TERM);
    network.gateway.process.wait().ok();

    let ledger = Ledger::open_existing(&network.home.path("gateway/ledger.redb")).unwrap();
    let reader = ledger.reader();
    reader.check_books().unwrap();
    assert_eq!(reader.holds().unwrap(), [], "no job is left that anything is held for");
    let told = shared.told.lock().unwrap();
    eprintln!("{} jobs settled, {} checkpoints, {} leaves", told.len(), checkpoints.len(), reader.len().unwrap());
    assert!(told.len() > KILLS, "only {} jobs were settled", told.len());
    for settled in told.iter() {
        let stored = reader.job(settled.done.receipt.receipt().job).unwrap().expect("what was told is there");
        assert_eq!(stored.index, settled.settlement.settlement.index);
        assert_eq!(&stored.receipt, settled.done.receipt.signed());
    }

    // The log by itself: each job once, and every balance the sum of its leaves.
    let (mut jobs, mut balances) = (BTreeSet::<JobId>::new(), BTreeMap::<Account, i128>::new());
    for index in 0..reader.len().unwrap() {
        match Leaf::from_bytes(&reader.leaf(index).unwrap().unwrap()).unwrap() {
            Leaf::Grant(grant) => *balances.entry(Account::Customer(grant.customer)).or_default() += i128::from(grant.amount.0),
            Leaf::Settlement(settled) => {
                let receipt = &settled.receipt.receipt;
                assert!(jobs.insert(receipt.job), "job {} is settled twice", receipt.job);
                *balances.entry(Account::Customer(receipt.client)).or_default() -= i128::from(receipt.cost.0);
                *balances.entry(Account::Owner(receipt.node)).or_default() += i128::from(receipt.cost.0);
            }
            Leaf::Terms(_) | Leaf::Void(_) | Leaf::Payout(_) | Leaf::Attempt(_) => {}
        }
    }
    assert_eq!(jobs.len(), told.len(), "each job is settled, and its client was told");
    for (account, due) in balances {
        assert_eq!(reader.balance(account).unwrap().available(), due, "{account:?}");
    }

    // Every checkpoint that was shown is one of this very log, and each continues the one before.
    let mut sizes = Vec::new();
    for note in &checkpoints {
        let head = verify_checkpoint(note.as_bytes(), &gateway_key).unwrap();
        let (index, leaf) = (head.size - 1, reader.leaf(head.size - 1).unwrap().unwrap());
        let hashes = reader.prove_leaf(index, head.size).unwrap().unwrap();
        let proof = LogProof { extra: leaf.clone(), index, hashes, checkpoint: note.clone().into_bytes() };
        assert_eq!(proof.verify(&leaf).unwrap(), head);
        sizes.push(head.size);
    }
    assert!(sizes.is_sorted() && sizes.len() > KILLS / 2, "{sizes:?}");
}
