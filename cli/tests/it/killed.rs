//! A gateway that is killed without a word, again and again, while jobs run and settle: whatever it has told of stays true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adit_client::{Client, Job, Settled, Source};
use adit_ledger::{Account, Ledger};
use adit_protocol::{
    Answer, GatewayToNode, Grant, JobId, Leaf, Microcredits, NodeMessage, Order, Payout, PublicKey, Query, SecretKey, TransferId,
    sign_receipts,
};
use adit_tlog::{LogProof, verify_checkpoint};
use adit_transport::{Dialer, GatewayAddr, load_key_file};
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

/// Orders at once: grants, and payouts to the node's owner.
const GRANTS: u8 = 4;
const PAYOUTS: u8 = 2;

/// What all tasks of the test share.
struct Shared {
    client: Client,
    operator: Client,
    told: Mutex<Vec<Settled>>,
    /// Each order that was acknowledged, and the leaf that it was said to have.
    ordered: Mutex<BTreeMap<TransferId, (Order, u64)>>,
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

/// Gives one order after the other, each until it is acknowledged, and now and then once more.
async fn give(shared: Arc<Shared>, worker: u8, order: fn(TransferId, u64) -> Order) {
    for n in 0u64.. {
        if shared.ends.load(Ordering::Relaxed) {
            return;
        }
        let mut id = TransferId([worker; 16]);
        id.0[..8].copy_from_slice(&n.to_le_bytes());
        let order = order(id, n);
        let leaf = loop {
            match timeout(PATIENCE, shared.operator.ask(Query::Order(order))).await.expect("no order hangs") {
                Ok(Answer::Ordered(leaf)) if n.is_multiple_of(3) => {
                    // Whoever asks again, such as one who was not told, moves nothing more.
                    match timeout(PATIENCE, shared.operator.ask(Query::Order(order))).await.expect("no order hangs") {
                        Ok(Answer::Ordered(again)) => assert_eq!(again, leaf, "an order has one leaf"),
                        Ok(other) => panic!("{other:?}"),
                        Err(error) => eprintln!("not ordered a second time: {error}"),
                    }
                    break Some(leaf);
                }
                Ok(Answer::Ordered(leaf)) => break Some(leaf),
                // The owner has not earned so much yet.
                Ok(Answer::OrderRefused(_)) if matches!(order, Order::Payout { .. }) => break None,
                Ok(other) => panic!("{other:?}"),
                Err(error) => eprintln!("ordered once more: {error}"),
            }
            sleep(Duration::from_millis(20)).await;
        };
        if let Some(leaf) = leaf {
            shared.ordered.lock().unwrap().insert(id, (order, leaf));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn owner() -> SecretKey {
    SecretKey::from_seed([80; 32])
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
    let node = tokio::spawn(serve(owner(), network.gateway.address.clone(), restarts));
    let operator = load_key_file(&network.home.path("gateway.key")).unwrap();
    let shared = Arc::new(Shared {
        client: network.client().await,
        operator: Client::connect(operator, network.gateway.address.clone()).await.unwrap(),
        told: Mutex::default(),
        ordered: Mutex::default(),
        ends: AtomicBool::new(false),
    });
    let mut workers = JoinSet::new();
    for worker in 0..IN_FLIGHT {
        workers.spawn(submit(Arc::clone(&shared), worker));
    }
    let grant = |id, n| Order::Grant { id, customer: PublicKey([n as u8 % 5; 32]), amount: Microcredits(1 + n) };
    let payout = |id, n| Order::Payout { id, owner: owner().public(), amount: Microcredits(1 + n % 3) };
    for worker in 0..GRANTS + PAYOUTS {
        workers.spawn(give(Arc::clone(&shared), worker, if worker < GRANTS { grant } else { payout }));
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
    let ordered = shared.ordered.lock().unwrap();
    let (mut jobs, mut balances) = (BTreeSet::<JobId>::new(), BTreeMap::<Account, i128>::new());
    let mut orders = BTreeMap::<TransferId, (Order, u64)>::new();
    for index in 0..reader.len().unwrap() {
        match Leaf::from_bytes(&reader.leaf(index).unwrap().unwrap()).unwrap() {
            Leaf::Grant(Grant { id, customer, amount, .. }) => {
                *balances.entry(Account::Customer(customer)).or_default() += i128::from(amount.0);
                // Others are the welcome of a key that came.
                if customer != shared.client.key() {
                    let before = orders.insert(id, (Order::Grant { id, customer, amount }, index));
                    assert_eq!(before, None, "order {id} is carried out twice");
                }
            }
            Leaf::Payout(Payout { id, owner, amount, .. }) => {
                *balances.entry(Account::Owner(owner)).or_default() -= i128::from(amount.0);
                let before = orders.insert(id, (Order::Payout { id, owner, amount }, index));
                assert_eq!(before, None, "order {id} is carried out twice");
            }
            Leaf::Settlement(settled) => {
                let receipt = &settled.receipt.receipt;
                assert!(jobs.insert(receipt.job), "job {} is settled twice", receipt.job);
                *balances.entry(Account::Customer(receipt.client)).or_default() -= i128::from(receipt.cost.0);
                *balances.entry(Account::Owner(receipt.node)).or_default() += i128::from(receipt.cost.0);
            }
            Leaf::Terms(_) | Leaf::Void(_) | Leaf::Attempt(_) => {}
        }
    }
    assert_eq!(jobs.len(), told.len(), "each job is settled, and its client was told");
    assert_eq!(orders, *ordered, "each order is carried out, and its operator was told of its leaf");
    let payouts = orders.values().filter(|(order, _)| matches!(order, Order::Payout { .. })).count();
    eprintln!("{} grants, {payouts} payouts", orders.len() - payouts);
    assert!(orders.len() - payouts > KILLS && payouts > KILLS / 2, "{} orders, {payouts} payouts", orders.len());
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
