//! Nodes of the test's own that compute nothing: they take real leases, are at each for as long as the test says, and hand in an honest
//! receipt. A whole network of them costs a machine little more than its packets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use adit_protocol::{
    Attempt, AttemptFailure, Digest, Fuel, GatewayToNode, Greeting, JobId, NodeMessage, NodeOffer, NodeState, NodeTimes,
    PublicKey, Receipt, SecretKey, sign_receipts,
};
use adit_transport::{Connection, Dialer, GatewayAddr, Inbox, Outbox};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::hostile::{Lease, offer, priced, truth};
use crate::process::{LOOK_EVERY, PATIENCE};

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) struct StandIn {
    /// Its key is made of it, and it stands on its label `name`.
    pub(crate) name: String,
    /// Perhaps at the end of a relay's way.
    pub(crate) gateway: GatewayAddr,
    /// How long each of its jobs takes.
    pub(crate) service: Duration,
    /// What each of its jobs uses.
    pub(crate) fuel: u64,
    /// Modules that it says it knows.
    pub(crate) cached: Vec<Digest>,
}

/// Its connection, in the hands of a test.
pub(crate) struct Joined {
    key: Arc<SecretKey>,
    is: StandIn,
    _dialer: Dialer,
    _connection: Connection,
    outbox: Outbox,
    inbox: Inbox,
}

impl StandIn {
    pub(crate) fn key(&self) -> PublicKey {
        self.secret().public()
    }

    fn secret(&self) -> SecretKey {
        SecretKey::from_seed(Digest::of(self.name.as_bytes()).0)
    }

    /// One slot, of a speed that it says truly.
    fn offer(&self) -> NodeOffer {
        let fuel_per_second = (self.fuel as f64 / self.service.as_secs_f64().max(1e-3)) as u64;
        NodeOffer { labels: vec![("name".into(), self.name.clone())], fuel_per_second, ..offer(1) }
    }

    /// Joins its gateway.
    pub(crate) async fn join(&self) -> Joined {
        timeout(PATIENCE, self.try_until_joined()).await.expect("the gateway takes it")
    }

    async fn try_until_joined(&self) -> Joined {
        loop {
            // A machine that stands still for some seconds breaks connections.
            if let Some(joined) = self.try_to_join().await {
                return joined;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn try_to_join(&self) -> Option<Joined> {
        let dialer = Dialer::new(self.secret()).unwrap();
        let connection = dialer.dial(&self.gateway).await.ok()?;
        let (outbox, mut inbox) = connection.open_control().await.ok()?;
        let greeting = Greeting::Node { offer: self.offer(), state: NodeState::Ready, cached: self.cached.clone(), token: None };
        outbox.send(&greeting).ok()?;
        let Ok(Some(GatewayToNode::Welcome { .. })) = inbox.next().await else { return None };
        let key = Arc::new(self.secret());
        Some(Joined { key, is: self.clone(), _dialer: dialer, _connection: connection, outbox, inbox })
    }

    /// Joins, and works until the task is aborted.
    pub(crate) async fn work(self) {
        loop {
            self.try_until_joined().await.work().await;
        }
    }
}

impl Joined {
    /// The next lease. Words about others are not awaited.
    pub(crate) async fn lease(&mut self) -> Lease {
        let next = async {
            loop {
                let message = self.inbox.next().await.expect("the connection holds").expect("the gateway is there");
                if let Some(lease) = Lease::of(message) {
                    return lease;
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a lease comes")
    }

    /// The next lease, where one comes within that time.
    pub(crate) async fn lease_within(&mut self, time: Duration) -> Option<Lease> {
        loop {
            let message =
                timeout(time, self.inbox.next()).await.ok()?.expect("the connection holds").expect("the gateway is there");
            if let Some(lease) = Lease::of(message) {
                return Some(lease);
            }
        }
    }

    /// Hands in an honest receipt.
    pub(crate) fn finish(&self, lease: &Lease) {
        finish(&self.key, &self.is, &self.outbox, lease);
    }

    /// Takes each lease as it comes, one after the other, until its connection breaks.
    async fn work(mut self) {
        let slot = Arc::new(Mutex::new(()));
        let (mut tasks, mut under_way) = (JoinSet::new(), HashMap::<(JobId, Attempt), AbortHandle>::new());
        while let Ok(Some(message)) = self.inbox.next().await {
            under_way.retain(|_, task| !task.is_finished());
            if let GatewayToNode::Cancel { job, attempt } = message {
                if let Some(task) = under_way.remove(&(job, attempt)) {
                    task.abort();
                    let _ = self.outbox.send(&NodeMessage::Failed { job, attempt, failure: AttemptFailure::Withdrawn });
                }
                continue;
            }
            let Some(lease) = Lease::of(message) else { continue };
            let (key, is, outbox, slot) = (Arc::clone(&self.key), self.is.clone(), self.outbox.clone(), Arc::clone(&slot));
            let id = (lease.job, lease.attempt);
            let task = tasks.spawn(async move {
                let _mine = slot.lock().await;
                // This is its work.
                sleep(is.service).await;
                finish(&key, &is, &outbox, &lease);
            });
            under_way.insert(id, task);
        }
    }
}

fn finish(key: &SecretKey, is: &StandIn, outbox: &Outbox, lease: &Lease) {
    let mut receipt = truth(key, is.gateway.key, lease);
    receipt.usage.fuel = Fuel(is.fuel);
    receipt.usage.memory_fuel = (1 << 20) * u128::from(is.fuel);
    let times = NodeTimes { run_us: is.service.as_micros() as u64, ..receipt.times };
    let receipt = priced(Receipt { times, engine: "stand-in".into(), ..receipt });
    let receipt = Box::new(sign_receipts(key, vec![receipt]).remove(0));
    let output = Some(lease.input.clone());
    // Of a connection that broke meanwhile nothing is owed.
    let _ = outbox.send(&NodeMessage::Finished { receipt, reason: String::new(), output });
}
