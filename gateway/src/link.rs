//! One connection: the greeting, then its control stream and its data streams until it ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use adit_protocol::limits::{
    CACHED_MODULES_MAX, GPU_CLASS_BYTES_MAX, LABEL_BYTES_MAX, LABELS_MAX, PRICE_COMPONENT_MAX, TOKEN_BYTES_MAX,
};
use adit_protocol::{
    ClientMessage, Digest, GatewayToClient, GatewayToNode, Greeting, JobEvent, JobId, JobResult, KnownRoots, NodeMessage,
    NodeOffer, NodeState, PublicKey, Rejection,
};
use adit_transport::limits::HANDSHAKE_TIMEOUT;
use adit_transport::{Connection, Inbox, Outbox, ReceiveError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use crate::admission::Admission;
use crate::arrivals::Arrivals;
use crate::core::Core;
use crate::crowd::{Crowd, Lines};
use crate::job::event_message;
use crate::peer::{Client, LinkId, Node, Path};
use crate::rates::Door;
use crate::transfer;

/// Name and version, told to peers for their logs.
const SOFTWARE: &str = concat!("adit-gateway ", env!("CARGO_PKG_VERSION"));

/// Clients connected at once. Each costs some 100 KiB of QUIC state, so this is a fraction of a small server's memory; one that takes nothing
/// of what it asked for keeps some MiB here, until it is given up ([`adit_transport::limits::SEND_STALL_TIMEOUT`]).
const CLIENTS_MAX: usize = 4_096;

/// Nodes connected at once, by the same reckoning.
const NODES_MAX: usize = 4_096;

/// Clients from one subscriber's address, and nodes: a quarter of the places, so that no one address has them all.
pub(crate) const SUBSCRIBER_MAX: usize = CLIENTS_MAX / 4;

/// Blobs that go to one subscriber's clients at once, and to its nodes; further ones wait. Each takes a file and 256 KiB.
pub(crate) const SENDS_MAX: usize = 64;

/// Blobs that come from one subscriber's clients at once, of which each takes a file: 16 clients of the library at its most. Further ones
/// are told to come again.
pub(crate) const ARRIVALS_MAX: usize = 64;

/// How often the round trip to a node is looked at, and whether it still may be here.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Slots that a node may offer: more than any machine has cores.
const SLOTS_MAX: u32 = 4_096;

type Shared = Rc<RefCell<Core>>;

/// Who may come in, and how fast.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) door: RefCell<Door>,
    pub(crate) nodes: Admission,
    pub(crate) clients_here: Crowd,
    pub(crate) nodes_here: Crowd,
    pub(crate) sends_to_clients: Lines,
    pub(crate) sends_to_nodes: Lines,
    pub(crate) arrivals: Arrivals,
}

pub(crate) async fn serve(core: Shared, entrance: Rc<Entrance>, connection: Connection) {
    let peer = connection.peer();
    let ending = CloseOnDrop(connection.clone());
    let reason = match greet(&connection).await {
        Ok((Greeting::Client { software }, outbox, inbox)) => {
            tracing::info!(client = %peer, software, "client connected");
            serve_client(core, entrance, connection.clone(), outbox, inbox).await
        }
        Ok((Greeting::Node { offer, state, cached, token }, outbox, inbox)) => {
            tracing::info!(node = %peer, software = offer.software, slots = offer.slots, "node connected");
            let arrival = Arrival { offer, state, cached, token };
            serve_node(core, entrance, connection.clone(), outbox, inbox, arrival).await
        }
        Err(reason) => reason,
    };
    tracing::info!(%peer, reason, "disconnected");
    ending.0.close(&reason);
}

/// Ends a connection whose task is dropped, as all are when a gateway begins again to only read: nobody would answer on it any more, and
/// its peer would wait for ever. One that was closed before is not closed again.
struct CloseOnDrop(Connection);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close("the gateway begins again");
    }
}

async fn greet(connection: &Connection) -> Result<(Greeting, Outbox, Inbox), String> {
    let (outbox, mut inbox) = connection.accept_control().await.map_err(|e| e.to_string())?;
    let greeting = timeout(HANDSHAKE_TIMEOUT, inbox.next()).await.map_err(|_| "no greeting in time")?;
    match greeting.map_err(|e| e.to_string())? {
        Some(greeting) => Ok((greeting, outbox, inbox)),
        None => Err("left without a greeting".into()),
    }
}

/// Serves a client until it leaves, and says why it did.
async fn serve_client(core: Shared, entrance: Rc<Entrance>, connection: Connection, outbox: Outbox, mut inbox: Inbox) -> String {
    let place = entrance.clients_here.enter(connection.remote_ip());
    if place.is_none() || core.borrow().clients_connected() >= CLIENTS_MAX {
        let rejection = Rejection::Full { retry_after_ms: 1_000 };
        return reject(&outbox, &GatewayToClient::Rejected(rejection)).await;
    }
    let link = core.borrow_mut().next_link();
    let client = Client { link, connection: connection.clone(), outbox: outbox.clone() };
    client.send(&GatewayToClient::Welcome { software: SOFTWARE.into() });
    core.borrow_mut().client_joined();
    let serving = transfer::ClientStreams::new(Rc::clone(&core), &entrance, link, connection).serve();
    let streams = tokio::task::spawn_local(serving);
    let reason = tokio::select! {
        reason = read_client(&core, &entrance, &client, &mut inbox) => reason,
        () = outbox.given_up() => TAKES_NOTHING.into(),
    };
    streams.abort();
    core.borrow_mut().client_left(&client.connection.peer(), link);
    reason
}

/// Why a connection ends whose peer took nothing of its control stream for long: what QUIC has for it goes with that.
const TAKES_NOTHING: &str = "it takes nothing of what it is told";

/// Reads what a client says until it leaves, and says why it did.
async fn read_client(core: &Shared, entrance: &Entrance, client: &Client, inbox: &mut Inbox) -> String {
    loop {
        // A client that does not read its answers is not asked for more questions.
        client.outbox.room().await;
        match next::<ClientMessage>(inbox).await {
            Ok(message) => match too_soon(&entrance.door, client, &message) {
                Some(refused) => client.send(&refused),
                None => {
                    let weight = core.borrow().weight(&message);
                    if let Some(weight) = weight {
                        turn_to_ask(&entrance.door, client, weight).await;
                    }
                    core.borrow_mut().handle_client(client, message);
                }
            },
            Err(Parting::Gone(reason) | Parting::Fault(reason)) => return reason,
        }
        // A client that sends without pause has its turn, and then the others have theirs.
        consume_budget().await;
    }
}

/// Waits until a client may ask what weighs so much. What else it sends waits behind that.
async fn turn_to_ask(door: &RefCell<Door>, client: &Client, weight: u32) {
    let (key, address) = (client.connection.peer(), client.connection.remote_ip());
    loop {
        let turn = door.borrow_mut().question(Instant::now(), key, address, weight);
        let Err(wait) = turn else { return };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = client.connection.closed() => return,
        }
    }
}

/// What to say to a submission that comes faster than its client may submit.
fn too_soon(door: &RefCell<Door>, client: &Client, message: &ClientMessage) -> Option<GatewayToClient> {
    let ClientMessage::Submit { key, .. } = message else { return None };
    let owner = client.connection.peer();
    let refusal = door.borrow_mut().submission(Instant::now(), owner, client.connection.remote_ip()).err()?;
    Some(event_message(JobId::derive(&owner, key), JobEvent::Ended(JobResult::Refused(refusal))))
}

/// How a node introduces itself.
struct Arrival {
    offer: NodeOffer,
    state: NodeState,
    cached: Vec<Digest>,
    token: Option<String>,
}

/// Checks what a node says, whether there is room, and whether the operator lets it join.
async fn let_in(core: &Shared, entrance: &Entrance, node: PublicKey, arrival: &mut Arrival) -> Result<(), Rejection> {
    arrival.check().map_err(|fault| Rejection::BadOffer(fault.into()))?;
    if core.borrow().nodes_connected() >= NODES_MAX {
        return Err(Rejection::Full { retry_after_ms: 5_000 });
    }
    // Last, since a token may be used up by it.
    entrance.nodes.admit(node, arrival.token.take()).await.map_err(Rejection::NotAdmitted)
}

/// Serves a node until it leaves, and says why it did.
async fn serve_node(
    core: Shared,
    entrance: Rc<Entrance>,
    connection: Connection,
    outbox: Outbox,
    mut inbox: Inbox,
    mut arrival: Arrival,
) -> String {
    let key = connection.peer();
    let Some(_place) = entrance.nodes_here.enter(connection.remote_ip()) else {
        return reject(&outbox, &GatewayToNode::Rejected(Rejection::Full { retry_after_ms: 5_000 })).await;
    };
    if let Err(rejection) = let_in(&core, &entrance, key, &mut arrival).await {
        return reject(&outbox, &GatewayToNode::Rejected(rejection)).await;
    }
    let link = core.borrow_mut().next_link();
    let Arrival { offer, state, cached, .. } = arrival;
    let node = Node { link, connection: connection.clone(), outbox: outbox.clone(), offer, path: Path::default() };
    node.send(&GatewayToNode::Welcome { software: SOFTWARE.into() });
    core.borrow_mut().node_joined(node, state, cached);
    let serving = transfer::NodeStreams::new(Rc::clone(&core), &entrance, connection).serve();
    let streams = tokio::task::spawn_local(serving);
    let parting = tokio::select! {
        parting = read_node(&core, &entrance, key, link, &mut inbox) => parting,
        () = outbox.given_up() => Parting::Gone(TAKES_NOTHING.into()),
    };
    let reason = match parting {
        Parting::Gone(reason) => reason,
        Parting::Fault(fault) => {
            core.borrow_mut().expel(key, link, &fault);
            fault
        }
    };
    streams.abort();
    core.borrow_mut().node_left(key, link);
    reason
}

/// Why a peer is not listened to any more.
enum Parting {
    /// It left, or its connection broke.
    Gone(String),
    /// It did what an honest one does not.
    Fault(String),
}

async fn read_node(core: &Shared, entrance: &Entrance, key: PublicKey, link: LinkId, inbox: &mut Inbox) -> Parting {
    let mut known = KnownRoots::default();
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            message = next::<NodeMessage>(inbox) => match message {
                Ok(message) => {
                    let handled = core.borrow_mut().handle_node(key, link, &mut known, message);
                    if let Err(fault) = handled {
                        return Parting::Fault(fault);
                    }
                }
                Err(parting) => {
                    if matches!(parting, Parting::Fault(_)) {
                        core.borrow_mut().unreadable(key, link);
                    }
                    return parting;
                }
            },
            _ = look.tick() => {
                if !entrance.nodes.holds(&key) {
                    return Parting::Gone("the gateway's operator does not let this node join any more".into());
                }
                core.borrow_mut().node_path(key);
            }
        }
        consume_budget().await;
    }
}

async fn next<M: Serialize + DeserializeOwned>(inbox: &mut Inbox) -> Result<M, Parting> {
    match inbox.next().await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Parting::Gone("left".into())),
        Err(ReceiveError::Frame(error)) => Err(Parting::Fault(format!("it broke the protocol: {error}"))),
        Err(error) => Err(Parting::Gone(error.to_string())),
    }
}

/// Says no, and waits until it is said.
async fn reject<M: Serialize>(outbox: &Outbox, message: &M) -> String {
    if outbox.send(message).is_ok() {
        // A peer that takes no byte is not waited for.
        let _ = timeout(HANDSHAKE_TIMEOUT, outbox.close()).await;
        // The peer reads the message and hangs up; the pause keeps our own closing from overtaking it.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    "rejected".into()
}

impl Arrival {
    fn check(&self) -> Result<(), &'static str> {
        check_offer(&self.offer)?;
        check_state(&self.state)?;
        if self.cached.len() > CACHED_MODULES_MAX {
            Err("too many cached modules")
        } else if self.token.as_ref().is_some_and(|token| token.len() > TOKEN_BYTES_MAX) {
            Err("too long a token")
        } else {
            Ok(())
        }
    }
}

pub(crate) fn check_state(state: &NodeState) -> Result<(), &'static str> {
    match state {
        NodeState::Paused(why) if why.len() > LABEL_BYTES_MAX => Err("too long a reason for its pause"),
        NodeState::Paused(_) | NodeState::Ready | NodeState::Draining => Ok(()),
    }
}

/// Whether an adapter's class is one that receipts, tables and terminals can carry. One that begins with a sign would be a formula where
/// a spreadsheet opens a customer's invoice.
fn is_class(class: &str) -> bool {
    let is_short = (1..=GPU_CLASS_BYTES_MAX).contains(&class.len());
    let is_shown = class.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    is_short && is_shown && class.starts_with(|first: char| first.is_ascii_alphanumeric())
}

pub(crate) fn check_offer(offer: &NodeOffer) -> Result<(), &'static str> {
    let labels = &offer.labels;
    if offer.slots > SLOTS_MAX {
        Err("too many slots")
    } else if offer.price.components().iter().any(|component| *component > PRICE_COMPONENT_MAX) {
        Err("a component of the price is too large")
    } else if labels.len() > LABELS_MAX || labels.iter().any(|(k, v)| k.len().max(v.len()) > LABEL_BYTES_MAX) {
        Err("too many or too long labels")
    } else if offer.software.len() > LABEL_BYTES_MAX || offer.profiles.len() > 16 {
        Err("too long a name or too many profiles")
    } else if offer.gpu.as_ref().is_some_and(|gpu| !is_class(&gpu.class)) {
        Err("its GPU's class is empty, too long, not printable ASCII, or begins with neither letter nor digit")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_of_an_adapter_is_short_and_printable() {
        let longest = "x".repeat(GPU_CLASS_BYTES_MAX);
        for class in ["software/mesa/llvmpipe", "discrete/maker/driver 1.2", &longest] {
            assert!(is_class(class), "{class}");
        }
        for class in ["", &format!("{longest}x"), "a\nb", "\x1b[2J", "\x7f", "gl/ä", "=1+1", "-1", "@x", " x"] {
            assert!(!is_class(class), "{class:?}");
        }
    }
}
