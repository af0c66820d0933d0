//! One connection to the gateway: greeting, leases, end.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use adit_protocol::limits::CACHED_MODULES_MAX;
use adit_protocol::{Attempt, AttemptFailure, Digest, GatewayToNode, Greeting, JobId, NodeMessage, NodeState};
use adit_transport::{Connection, Inbox, Outbox, SendError};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::NodeEvent;
use crate::lease::{self, Lease};
use crate::node::Shared;
use crate::sign::Signer;
use crate::speed::measure_again;

/// Leases that are held for each slot, running or waiting: twice what a dispatcher sends ahead. Each costs at most a frame of memory.
const LEASES_PER_SLOT_MAX: usize = 10;

/// What the leases of one connection share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: Rc<Shared>,
    pub(crate) connection: Connection,
    pub(crate) outbox: Outbox,
    pub(crate) signer: Signer,
    /// The leases that are held, with what cancels each.
    leases: RefCell<HashMap<(JobId, Attempt), watch::Sender<bool>>>,
}

impl Link {
    /// How many leases are held and not reported yet.
    pub(crate) fn leases(&self) -> usize {
        self.leases.borrow().len()
    }

    /// Notes that a lease is reported.
    pub(crate) fn lease_ended(&self, job: JobId, attempt: Attempt) {
        self.leases.borrow_mut().remove(&(job, attempt));
    }

    /// Queues a message. A gateway that lets messages pile up is disconnected; its reader then sees the end.
    pub(crate) fn send(&self, message: &NodeMessage) {
        self.check(self.outbox.send(message));
    }

    /// Queues what nobody waits for.
    pub(crate) fn send_soon(&self, message: &NodeMessage) {
        self.check(self.outbox.send_soon(message));
    }

    fn check(&self, sent: Result<(), SendError>) {
        if let Err(error) = sent {
            tracing::debug!(%error, "message not sent");
            self.connection.close("the control stream is stuck");
        }
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) struct Parted {
    pub(crate) reason: String,
    /// Another machine connected under this node's key.
    pub(crate) replaced: bool,
}

/// Connects and works until the connection ends. All leases end with it: the gateway gives their jobs to other nodes.
pub(crate) async fn work(node: &Rc<Shared>) -> Parted {
    let (connection, outbox, inbox) = match greet(node).await {
        Ok(greeted) => greeted,
        Err(reason) => return Parted { reason, replaced: false },
    };
    node.tell(NodeEvent::Connected { gateway: node.config.gateway.clone() });
    let signer = Signer::default();
    let leases = RefCell::default();
    let link = Rc::new(Link { node: Rc::clone(node), connection: connection.clone(), outbox, signer, leases });
    let closing = CloseOnDrop(connection);
    let mut reason = serve(link, inbox).await;
    let replaced = closing.0.was_replaced();
    if replaced {
        reason = "another node uses this node's key; give each machine its own".into();
    }
    drop(closing);
    Parted { reason, replaced }
}

/// Tells the gateway that this node leaves, also where the whole task is dropped.
struct CloseOnDrop(Connection);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close("the node leaves");
    }
}

async fn greet(node: &Shared) -> Result<(Connection, Outbox, Inbox), String> {
    let connection = node.dialer.dial(&node.config.gateway).await.map_err(|e| e.to_string())?;
    let cached = cached(node).await;
    let (outbox, mut inbox) = connection.open_control().await.map_err(|e| e.to_string())?;
    outbox
        .send(&Greeting::Node { offer: node.offer_now(), state: NodeState::Ready, cached, token: None })
        .map_err(|e| e.to_string())?;
    match inbox.next().await.map_err(|e| e.to_string())? {
        Some(GatewayToNode::Welcome { .. }) => Ok((connection, outbox, inbox)),
        Some(GatewayToNode::Rejected(rejection)) => Err(rejection.to_string()),
        Some(_) => Err("the gateway spoke before its welcome".into()),
        None => Err("the gateway ended the connection".into()),
    }
}

/// The modules that need not be compiled here. A node that cannot list them can still run them.
async fn cached(node: &Shared) -> Vec<Digest> {
    node.runtime.cached_modules(CACHED_MODULES_MAX).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the cache of compiled modules cannot be listed");
        Vec::new()
    })
}

async fn serve(link: Rc<Link>, mut inbox: Inbox) -> String {
    // Dropped at the end of this function, the set aborts every lease.
    let mut tasks = JoinSet::new();
    let signing = tasks.spawn_local({
        let link = Rc::clone(&link);
        async move { link.signer.sign_for(&link).await }
    });
    tasks.spawn_local({
        let link = Rc::clone(&link);
        async move { measure_again(&link).await }
    });
    loop {
        tokio::select! {
            message = inbox.next() => match message {
                Ok(Some(GatewayToNode::Lease { job, attempt, client, spec, input })) => {
                    let lease = Lease { job, attempt, client, spec: spec.into(), input };
                    take(&link, &mut tasks, lease);
                }
                Ok(Some(GatewayToNode::Cancel { job, attempt })) => {
                    if let Some(cancel) = link.leases.borrow().get(&(job, attempt)) {
                        cancel.send_replace(true);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return "the gateway ended the connection".into(),
                Err(error) => return error.to_string(),
            },
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    // The lease said nothing, so the gateway must hear it from here: by losing the connection.
                    return stop(&signing, "a lease task panicked");
                }
            }
        }
    }
}

fn stop(signing: &AbortHandle, reason: &str) -> String {
    signing.abort();
    reason.into()
}

fn take(link: &Rc<Link>, tasks: &mut JoinSet<()>, lease: Lease) {
    let id = (lease.job, lease.attempt);
    let (cancel, cancelled) = watch::channel(false);
    if link.leases() >= LEASES_PER_SLOT_MAX * link.node.config.slots as usize {
        let failure = AttemptFailure::Node("it holds as many leases as it takes".into());
        return link.send(&NodeMessage::Failed { job: lease.job, attempt: lease.attempt, failure });
    }
    match link.leases.borrow_mut().entry(id) {
        Entry::Vacant(free) => free.insert(cancel),
        Entry::Occupied(_) => {
            tracing::warn!(job = %lease.job, "the gateway sent a lease twice; the first one stands");
            return;
        }
    };
    link.node.tell(NodeEvent::JobStarted { job: lease.job, client: lease.client });
    let link = Rc::clone(link);
    tasks.spawn_local(async move { lease::run(&link, lease, cancelled).await });
}
