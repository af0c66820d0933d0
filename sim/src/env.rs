//! What the actors see of each other: time, chance, and connections that lose, delay and break.

use std::collections::BTreeMap;
use std::fmt;

use adit_protocol::{ClientMessage, Digest, GatewayToClient, GatewayToNode, NodeMessage, NodeOffer, NodeState, PublicKey};

use crate::chance::Chance;
use crate::plan::{Fault, Plan, SECOND};
use crate::points::{Point, Points};
use crate::shadow::Shadow;
use crate::trace::Trace;
use crate::world::wall_ms;

/// How far a clock is off at most: days, which holds and receipts have to outlast.
pub(crate) const CLOCK_OFF_MAX_MS: u64 = 10 * 24 * 60 * 60 * 1_000;

/// A connection that sends nothing for so long is given up, by each end in its own time.
const IDLE_TIMEOUT_US: u64 = 4_500_000;

/// Who connects to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Peer {
    Node(usize),
    Client(usize),
}

/// One connection; a later one has a larger number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) usize);

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Gateway,
    Peer,
}

/// How a peer introduces itself.
#[derive(Debug, Clone)]
pub(crate) enum Greeting {
    Node { key: PublicKey, offer: Box<NodeOffer>, state: NodeState, cached: Vec<Digest> },
    Client { key: PublicKey },
}

/// What goes over a connection.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    OfNode(NodeMessage),
    OfClient(ClientMessage),
    ToNode(GatewayToNode),
    ToClient(GatewayToClient),
    /// The gateway takes the peer.
    Welcome,
}

/// What happens next, to whom.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Greets {
        link: LinkId,
        greeting: Greeting,
    },
    Arrives {
        link: LinkId,
        message: Message,
    },
    /// One end notices that a connection is broken.
    Ends {
        link: LinkId,
        side: Side,
    },
    Node {
        node: usize,
        life: u64,
        alarm: NodeAlarm,
    },
    Client {
        client: usize,
        alarm: ClientAlarm,
    },
    Gateway {
        life: u64,
        alarm: GatewayAlarm,
    },
    /// The gateway starts anew.
    GatewayStarts,
    /// The gateway stands still no more.
    GatewayGoesOn,
    Strikes(Strike),
    /// Faults stop.
    Quiet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeAlarm {
    Connect,
    /// The attempt in this place is due.
    Due(u64),
    /// The attempt in this place may have waited for a slot for long.
    Waits(u64),
    /// The owner does something.
    Owner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAlarm {
    Connect,
    Submit(usize),
    Cancel(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GatewayAlarm {
    /// The dispatcher's deadline.
    Timeout,
    /// The paths are measured.
    Paths,
    /// What was noted goes to the ledger.
    HandOver,
    /// The batch is written.
    Commit,
    /// Holds expire.
    Expire,
}

/// A fault that strikes at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    Break,
    Partition,
    NodeCrash,
    GatewayCrash,
    Stall,
    WallClock,
    DiskError,
    Rogue,
}

/// What everybody shares.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    pub(crate) chance: Chance,
    pub(crate) points: Points,
    pub(crate) trace: Trace,
    pub(crate) shadow: Shadow,
    /// Modules that run nowhere.
    pub(crate) bad_modules: Vec<Digest>,
    /// Faults happen no more.
    pub(crate) is_quiet: bool,
    /// By how much the gateway's wall clock is wrong.
    wall_off_ms: i64,
    agenda: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
    links: Vec<Link>,
    paths: BTreeMap<Peer, Path>,
}

#[derive(Debug)]
struct Link {
    peer: Peer,
    is_up: bool,
    /// When the last message arrives, each way: a stream keeps its order.
    last: [u64; 2],
}

#[derive(Debug, Clone, Copy)]
struct Path {
    one_way_us: u64,
    jitter_us: u64,
    loss_permille: u32,
    /// Nothing gets through before.
    cut_until: u64,
}

impl Env {
    pub(crate) fn new(plan: Plan, is_shown: bool) -> Self {
        Self {
            now: 0,
            chance: Chance::new(plan.seed, "world"),
            points: Points::default(),
            trace: Trace::new(is_shown),
            shadow: Shadow::default(),
            bad_modules: Vec::new(),
            is_quiet: false,
            wall_off_ms: 0,
            agenda: BTreeMap::new(),
            scheduled: 0,
            links: Vec::new(),
            paths: BTreeMap::new(),
            plan,
        }
    }

    /// Whether a fault of the plan happens now, in so many of a thousand cases.
    pub(crate) fn strikes(&mut self, fault: Fault, permille: u32) -> bool {
        !self.is_quiet && self.plan.has(fault) && self.chance.permille(permille)
    }

    pub(crate) fn hit(&mut self, point: Point) {
        self.points.hit(point);
    }

    pub(crate) fn note(&mut self, what: fmt::Arguments<'_>) {
        self.trace.note(self.now, what);
    }

    /// The gateway's wall clock.
    pub(crate) fn gateway_wall_ms(&self) -> u64 {
        wall_ms(self.now).saturating_add_signed(self.wall_off_ms)
    }

    /// By how much it is wrong.
    pub(crate) fn gateway_wall_off_ms(&self) -> i64 {
        self.wall_off_ms
    }

    /// Somebody sets the gateway's wall clock, by hours or by days. A jump counts where a job `is_held` meanwhile.
    pub(crate) fn jump_wall_clock(&mut self, is_held: bool) {
        let most_ms = self.chance.pick(&[8_000_000, CLOCK_OFF_MAX_MS]);
        let off_ms = self.chance.off_by(most_ms);
        self.set_wall_clock(off_ms);
        if is_held {
            self.hit(Point::WallClockJumped);
        }
    }

    pub(crate) fn set_wall_clock(&mut self, off_ms: i64) {
        self.wall_off_ms = off_ms;
        self.note(format_args!("the gateway's wall clock is off by {off_ms} ms"));
    }

    pub(crate) fn after(&mut self, us: u64, happening: Happening) {
        self.at(self.now + us, happening);
    }

    pub(crate) fn at(&mut self, at: u64, happening: Happening) {
        self.scheduled += 1;
        self.agenda.insert((at.max(self.now), self.scheduled), happening);
    }

    /// Takes out what happens next, and sets the time.
    pub(crate) fn next(&mut self) -> Option<Happening> {
        let ((at, _), happening) = self.agenda.pop_first()?;
        self.now = at;
        Some(happening)
    }
}

/// Connections.
impl Env {
    /// Draws the path of a peer.
    pub(crate) fn lay_path(&mut self, peer: Peer) {
        let is_far = self.plan.has(Fault::Delay);
        let one_way_us = self.chance.within_orders(100, if is_far { 150_000 } else { 20_000 });
        let jitter_us = if is_far { self.chance.within_orders(10, 100_000) } else { one_way_us / 8 };
        let loss_permille = if self.plan.has(Fault::Loss) { self.chance.within(1, 150) as u32 } else { 0 };
        self.paths.insert(peer, Path { one_way_us, jitter_us, loss_permille, cut_until: 0 });
    }

    /// The round trip to a peer as it is measured now.
    pub(crate) fn rtt_us(&mut self, peer: Peer) -> u64 {
        let path = self.paths[&peer];
        2 * path.one_way_us + self.chance.below(path.jitter_us + 1)
    }

    /// Begins a connection. The peer hears of a welcome, or of the end.
    pub(crate) fn connect(&mut self, peer: Peer, greeting: Greeting) -> LinkId {
        let link = LinkId(self.links.len());
        self.links.push(Link { peer, is_up: true, last: [0; 2] });
        let handshake_us = 2 * self.paths[&peer].one_way_us;
        let at = self.arrival(link, Side::Gateway, handshake_us);
        self.at(at, Happening::Greets { link, greeting });
        link
    }

    /// Whether a greeting that arrives is heard: nobody answers on a path that is cut.
    pub(crate) fn is_heard(&self, link: LinkId) -> bool {
        let link = &self.links[link.0];
        link.is_up && self.paths[&link.peer].cut_until <= self.now
    }

    pub(crate) fn peer_of(&self, link: LinkId) -> Peer {
        self.links[link.0].peer
    }

    pub(crate) fn is_up(&self, link: LinkId) -> bool {
        self.links[link.0].is_up
    }

    /// Sends a message, which is lost where the connection breaks before it arrives.
    pub(crate) fn send(&mut self, link: LinkId, message: Message) {
        if !self.is_up(link) {
            return;
        }
        let to = match message {
            Message::OfNode(_) | Message::OfClient(_) => Side::Gateway,
            Message::ToNode(_) | Message::ToClient(_) | Message::Welcome => Side::Peer,
        };
        let at = self.arrival(link, to, 0);
        self.at(at, Happening::Arrives { link, message });
    }

    /// When a message that is sent now arrives. A lost packet is sent again, and what is behind it waits.
    fn arrival(&mut self, link: LinkId, to: Side, more_us: u64) -> u64 {
        let path = self.paths[&self.links[link.0].peer];
        let mut delay_us = path.one_way_us + more_us + self.chance.below(path.jitter_us + 1);
        let loss_permille = if self.is_quiet { 0 } else { path.loss_permille };
        while self.chance.permille(loss_permille) {
            delay_us += 3 * path.one_way_us + 25_000;
        }
        let last = &mut self.links[link.0].last[usize::from(to == Side::Peer)];
        *last = (self.now.max(path.cut_until) + delay_us).max(*last);
        *last
    }

    /// Breaks a connection. Each end notices in its own time; who broke it knows at once and is not told.
    pub(crate) fn break_link(&mut self, link: LinkId, knows: Option<Side>) {
        if !std::mem::replace(&mut self.links[link.0].is_up, false) {
            return;
        }
        for side in [Side::Gateway, Side::Peer] {
            if knows != Some(side) {
                let us = self.chance.within_orders(1_000, IDLE_TIMEOUT_US);
                self.after(us, Happening::Ends { link, side });
            }
        }
    }

    /// The connections that are up.
    pub(crate) fn links_up(&self) -> Vec<LinkId> {
        (0..self.links.len()).map(LinkId).filter(|link| self.is_up(*link)).collect()
    }

    /// Cuts a peer's path for a while. A connection outlives a short cut.
    pub(crate) fn cut(&mut self, peer: Peer, us: u64) {
        let until = self.now + us;
        if let Some(path) = self.paths.get_mut(&peer) {
            path.cut_until = path.cut_until.max(until);
        }
        if us >= IDLE_TIMEOUT_US {
            let mut links = self.links_up();
            links.retain(|link| self.peer_of(*link) == peer);
            links.into_iter().for_each(|link| self.break_link(link, None));
        }
    }

    /// Ends all cuts.
    pub(crate) fn mend_paths(&mut self) {
        self.paths.values_mut().for_each(|path| path.cut_until = 0);
    }

    /// How long until a peer tries again to connect.
    pub(crate) fn backoff_us(&mut self) -> u64 {
        self.chance.within(20_000, SECOND)
    }
}
