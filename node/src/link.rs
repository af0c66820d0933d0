//! One connection to the gateway: greeting, leases, end.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adit_protocol::limits::CACHED_MODULES_MAX;
use adit_protocol::{
    Attempt, AttemptFailure, Digest, GatewayToNode, Greeting, JobId, JobSpec, NodeMessage, NodeOffer, NodeState, PublicKey,
    UnixMillis,
};
use adit_runtime::Gauge;
use adit_transport::{Connection, Inbox, Outbox, SendError};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::NodeEvent;
use crate::control::JobStatus;
use crate::gpu::TAKEN_BACK;
use crate::lease::{self, Lease, Stop};
use crate::node::Shared;
use crate::sign::Signer;
use crate::speed::measure_again;
use crate::times::{show_time, wall_time};

/// Leases that are held for each slot, running or waiting: twice what a dispatcher sends ahead. Each costs at most a frame of memory.
const LEASES_PER_SLOT_MAX: usize = 10;

/// What the leases of one connection share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: Rc<Shared>,
    pub(crate) connection: Connection,
    pub(crate) outbox: Outbox,
    pub(crate) signer: Signer,
    /// The leases that are held.
    leases: RefCell<HashMap<(JobId, Attempt), Held>>,
    /// Bytes of the connection that are in the day's count.
    counted: Cell<u64>,
}

/// A lease that is held.
#[derive(Debug)]
struct Held {
    client: PublicKey,
    spec: Arc<JobSpec>,
    since: UnixMillis,
    /// What stops it.
    stop: watch::Sender<Stop>,
    /// There once its guest has begun.
    gauge: Option<Gauge>,
}

impl Held {
    fn has_gpu(&self) -> bool {
        self.spec.gpu.is_some()
    }
}

impl Link {
    /// How many leases are held and not reported yet.
    pub(crate) fn leases(&self) -> usize {
        self.leases.borrow().len()
    }

    /// Notes that a lease's guest has begun.
    pub(crate) fn lease_started(&self, lease: &Lease, gauge: Gauge) {
        if let Some(held) = self.leases.borrow_mut().get_mut(&(lease.job, lease.attempt)) {
            held.gauge = Some(gauge);
        }
    }

    /// Notes that a lease is reported.
    pub(crate) fn lease_ended(&self, id: (JobId, Attempt)) {
        self.leases.borrow_mut().remove(&id);
        if self.leases() == 0 || self.gpu_leases() == 0 {
            self.node.became_idle.notify_waiters();
        }
    }

    /// Reports an attempt that comes to nothing.
    pub(crate) fn fail(&self, lease: &Lease, failure: AttemptFailure) {
        let (job, attempt) = (lease.job, lease.attempt);
        tracing::info!(%job, %failure, "attempt failed");
        // A job that its client withdrew was not refused, nor one that another node may have sooner.
        if !matches!(failure, AttemptFailure::Withdrawn | AttemptFailure::Busy) {
            self.node.note_refusal(lease, &failure);
        }
        self.node.tell(NodeEvent::JobFailed { job, failure: failure.clone() });
        if matches!(failure, AttemptFailure::GpuAway(_)) {
            // A word on its GPU first, as of an owner who takes the machine back: what others do to a GPU is no fault of the node's.
            self.send(&NodeMessage::Offer(Box::new(self.node.offer_now())));
        }
        self.send(&NodeMessage::Failed { job, attempt, failure });
    }

    /// Tells the gateway of the node's state, and where it is paused takes the machine back from every guest.
    pub(crate) fn obey(&self, state: &NodeState) {
        // First, so that no job comes back here.
        self.send(&NodeMessage::State(state.clone()));
        if let NodeState::Paused(why) = state {
            for held in self.leases.borrow().values() {
                held.stop.send_replace(Stop::Preempted(why.clone()));
            }
        }
    }

    /// Stops what the owner's rules, which have changed, do not take any more, be it running or waiting; where one client is to be alone now,
    /// all but the jobs of whoever was here first.
    pub(crate) fn keep_rules(&self, is_alone_now: bool) {
        let leases = self.leases.borrow();
        let first = leases.values().min_by_key(|held| (held.gauge.is_none(), held.since)).map(|held| held.client);
        let tenant = first.filter(|_| is_alone_now);
        let refused: Vec<_> = leases.values().filter_map(|held| Some((held, self.refusal(held, tenant)?))).collect();
        if refused.is_empty() {
            return;
        }
        // First, so that the gateway knows that it is the owner who gives them back.
        self.send(&NodeMessage::Offer(Box::new(self.node.offer_now())));
        for (held, why) in refused {
            held.stop.send_replace(Stop::Preempted(why));
        }
    }

    /// Why the rules do not let a lease go on, beside those of a tenant who is to be alone.
    fn refusal(&self, held: &Held, tenant: Option<PublicKey>) -> Option<String> {
        let admitted = self.node.owner.rules().admit(&held.client, &held.spec, &self.node.offer.price);
        let is_another = tenant.is_some_and(|tenant| tenant != held.client);
        admitted.err().or_else(|| is_another.then(|| "its owner takes one client at a time".to_owned()))
    }

    /// Takes the machine back from every guest that has the GPU.
    pub(crate) fn take_back_gpu(&self) {
        for held in self.leases.borrow().values().filter(|held| held.has_gpu()) {
            held.stop.send_replace(Stop::Preempted(TAKEN_BACK.to_owned()));
        }
    }

    /// How many of the leases that are held have the GPU.
    pub(crate) fn gpu_leases(&self) -> usize {
        self.leases.borrow().values().filter(|held| held.has_gpu()).count()
    }

    /// The leases that are held, longest first.
    pub(crate) fn jobs(&self) -> Vec<JobStatus> {
        let leases = self.leases.borrow();
        let mut held: Vec<_> = leases.iter().collect();
        held.sort_by_key(|((job, attempt), held)| (held.since, *job, *attempt));
        let status = |((job, attempt), held): (&(JobId, Attempt), &Held)| JobStatus {
            job: job.to_string(),
            attempt: attempt.0,
            client: held.client.to_string(),
            module: held.spec.module.digest.to_string(),
            is_running: held.gauge.is_some(),
            since: show_time(held.since),
            has_gpu: held.has_gpu(),
            fuel: held.gauge.as_ref().and_then(Gauge::fuel).map(|fuel| fuel.0),
        };
        held.into_iter().map(status).collect()
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Adds what the connection moved since the last call to the day's count.
    pub(crate) fn count_traffic(&self) {
        let moved = self.connection.bytes_moved();
        self.node.today.add_moved(moved.saturating_sub(self.counted.replace(moved)));
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
        match sent {
            // The reader sees that too, or this node is about to leave.
            Ok(()) | Err(SendError::Closed) => {}
            Err(error) => {
                tracing::debug!(%error, "message not sent");
                self.connection.close("the control stream is stuck");
            }
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
    let told = node.state();
    let connection = match node.dialer.dial(&node.config.gateway).await {
        Ok(connection) => connection,
        Err(error) => return Parted { reason: error.to_string(), replaced: false },
    };
    let (offered, outbox, inbox) = match greet(node, &connection, told.clone()).await {
        Ok(greeted) => greeted,
        Err(reason) => {
            node.today.add_moved(connection.bytes_moved());
            return Parted { reason, replaced: false };
        }
    };
    let (signer, leases, counted) = (Signer::default(), RefCell::default(), Cell::new(0));
    let link = Rc::new(Link { node: Rc::clone(node), connection: connection.clone(), outbox, signer, leases, counted });
    node.set_link(&link);
    // Both may have changed while the gateway was greeted. The offer first: jobs come by it as soon as the state lets them.
    let offer = node.offer_now();
    if offer != offered {
        link.send(&NodeMessage::Offer(Box::new(offer)));
    }
    if node.state() != told {
        link.obey(&node.state());
    }
    node.tell(NodeEvent::Connected { gateway: node.config.gateway.clone() });
    let closing = CloseOnDrop(Rc::clone(&link));
    let mut reason = serve(link, inbox).await;
    let replaced = connection.was_replaced();
    if replaced {
        reason = "another node uses this node's key; give each machine its own".into();
    }
    drop(closing);
    Parted { reason, replaced }
}

/// Tells the gateway that this node leaves, also where the whole task is dropped.
struct CloseOnDrop(Rc<Link>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.connection.close("the node leaves");
        self.0.count_traffic();
        self.0.leases.borrow_mut().clear();
        self.0.node.became_idle.notify_waiters();
    }
}

async fn greet(node: &Shared, connection: &Connection, state: NodeState) -> Result<(NodeOffer, Outbox, Inbox), String> {
    let cached = cached(node).await;
    let (outbox, mut inbox) = connection.open_control().await.map_err(|e| e.to_string())?;
    let token = node.config.join_token.as_ref().map(|token| token.reveal().to_owned());
    let offer = node.offer_now();
    outbox.send(&Greeting::Node { offer: offer.clone(), state, cached, token }).map_err(|e| e.to_string())?;
    match inbox.next().await.map_err(|e| e.to_string())? {
        Some(GatewayToNode::Welcome { .. }) => Ok((offer, outbox, inbox)),
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
                    if let Some(held) = link.leases.borrow().get(&(job, attempt)) {
                        // One that the owner has stopped is stopped.
                        held.stop.send_if_modified(|stop| *stop == Stop::Not && { *stop = Stop::Withdrawn; true });
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
    if let Err(failure) = admit(link, &lease) {
        return link.fail(&lease, failure);
    }
    let (stop, stopped) = watch::channel(Stop::Not);
    match link.leases.borrow_mut().entry((lease.job, lease.attempt)) {
        Entry::Vacant(free) => {
            let (client, spec) = (lease.client, Arc::clone(&lease.spec));
            free.insert(Held { client, spec, since: wall_time(), stop, gauge: None });
        }
        Entry::Occupied(_) => {
            tracing::warn!(job = %lease.job, "the gateway sent a lease twice; the first one stands");
            return;
        }
    }
    // The machine was not watched so closely while it had nothing to do.
    if link.leases() == 1 && link.node.must_be_watched() {
        link.node.look_now.notify_one();
    }
    link.node.tell(NodeEvent::JobStarted { job: lease.job, client: lease.client });
    let link = Rc::clone(link);
    tasks.spawn_local(async move { lease::run(&link, lease, stopped).await });
}

/// Whether a lease is taken at all.
fn admit(link: &Link, lease: &Lease) -> Result<(), AttemptFailure> {
    let node = &link.node;
    match node.state() {
        NodeState::Ready => {}
        NodeState::Draining => return Err(AttemptFailure::Preempted("it ends what it has and takes no more".into())),
        NodeState::Paused(why) => return Err(AttemptFailure::Preempted(why)),
    }
    // It may have been on its way when the offer changed.
    if lease.spec.gpu.is_some() && node.owner.is_gpu_kept_back() {
        return Err(AttemptFailure::Preempted(TAKEN_BACK.to_owned()));
    }
    node.owner.rules().admit(&lease.client, &lease.spec, &node.offer.price).map_err(AttemptFailure::Declined)?;
    if link.leases() >= LEASES_PER_SLOT_MAX * node.config.slots as usize {
        return Err(AttemptFailure::Node("it holds as many leases as it takes".into()));
    }
    Ok(())
}
