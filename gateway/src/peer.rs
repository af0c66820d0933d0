use adit_protocol::{GatewayToClient, GatewayToNode, NodeOffer};
use adit_transport::{Connection, Outbox, SendError};

/// Tells the connections of this process apart, also two of the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// A connected client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) link: LinkId,
    pub(crate) connection: Connection,
    pub(crate) outbox: Outbox,
}

/// A connected node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) link: LinkId,
    pub(crate) connection: Connection,
    pub(crate) outbox: Outbox,
    pub(crate) offer: NodeOffer,
    pub(crate) path: Path,
}

/// How the round trips to a node were until now.
#[derive(Debug, Default)]
pub(crate) struct Path {
    last_us: Option<u64>,
    spread_us: u64,
}

impl Path {
    /// Takes in the smoothed round trip as it is now. Returns how far it moves: the mean of its changes, in which a new one weighs a
    /// quarter, as in RFC 6298.
    pub(crate) fn add(&mut self, rtt_us: u64) -> u64 {
        let change = self.last_us.map_or(0, |last| last.abs_diff(rtt_us));
        self.last_us = Some(rtt_us);
        self.spread_us = (self.spread_us.saturating_mul(3).saturating_add(change)) / 4;
        self.spread_us
    }
}

impl Client {
    pub(crate) fn send(&self, message: &GatewayToClient) {
        check(&self.connection, self.outbox.send(message));
    }

    /// Sends what nobody waits for.
    pub(crate) fn send_soon(&self, message: &GatewayToClient) {
        check(&self.connection, self.outbox.send_soon(message));
    }
}

impl Node {
    pub(crate) fn send(&self, message: &GatewayToNode) {
        check(&self.connection, self.outbox.send(message));
    }
}

/// A peer that lets messages pile up is disconnected: its own link then sees the end and cleans up.
fn check(connection: &Connection, sent: Result<(), SendError>) {
    if let Err(error) = sent {
        tracing::debug!(peer = %connection.peer(), %error, "message not sent");
        connection.close("the control stream is stuck");
    }
}
