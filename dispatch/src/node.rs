use std::collections::{BTreeMap, BTreeSet};

use adit_protocol::{Attempt, JobId, NodeOffer, PublicKey};

use crate::job::Lease;
use crate::mean::Mean;
use crate::timer::Tick;

/// A node whose jobs take less than this, in microseconds, may hold leases ahead of its slots. Below it the round trip for the
/// next lease is a sizeable part of the job; above it, jobs are better kept here, where any node that gets free can take them.
const SHORT_JOB_US: u64 = 20_000;

/// Leases ahead of each slot of a node with short jobs. At most 4 x 20 ms of work is then committed to a node too early.
const AHEAD_PER_SLOT: u32 = 4;

/// What a round trip is taken for until it is measured, in microseconds: a usual home line's, so that an unknown node is
/// chosen neither before a near one nor after a far one.
const RTT_GUESS_US: u64 = 30_000;

/// The connected nodes, and the order in which they are offered work.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    nodes: BTreeMap<PublicKey, Node>,
    /// The nodes with room for a lease, least predicted wait first. Kept in step by `change`.
    open: BTreeSet<(Rank, PublicKey)>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) offer: NodeOffer,
    /// What it holds, and what it was told to stop and has not answered for: its slot is not free before it says so.
    leases: BTreeMap<JobId, Attempt>,
    rtt_us: Option<u64>,
    /// Time of one job in one slot, in microseconds.
    attempt_us: Mean,
    jobs_done: u64,
}

/// Where an open node stands among the others: by predicted wait in microseconds, then by leases.
type Rank = (u64, u32);

/// A connected node as the dispatcher sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeView<'a> {
    /// Its key.
    pub node: PublicKey,
    /// What it offers.
    pub offer: &'a NodeOffer,
    /// Slots that are taken.
    pub slots_used: u32,
    /// Leases that it holds, running or waiting there.
    pub leases: u32,
    /// Leases that it may hold now: its slots, or more where its jobs are short.
    pub window: u32,
    /// The smoothed round trip to it, in microseconds; nothing until it is measured.
    pub rtt_us: Option<u64>,
    /// Attempts that it brought to an outcome in this connection.
    pub jobs_done: u64,
}

impl Nodes {
    /// Registers a node that is not connected yet.
    pub(crate) fn join(&mut self, key: PublicKey, offer: NodeOffer) {
        let node = Node { offer, leases: BTreeMap::new(), rtt_us: None, attempt_us: Mean::default(), jobs_done: 0 };
        if let Some(rank) = node.rank() {
            self.open.insert((rank, key));
        }
        let replaced = self.nodes.insert(key, node);
        assert!(replaced.is_none(), "a node leaves before it joins again");
    }

    pub(crate) fn leave(&mut self, key: &PublicKey) -> Option<Node> {
        let node = self.nodes.remove(key)?;
        if let Some(rank) = node.rank() {
            self.open.remove(&(rank, *key));
        }
        Some(node)
    }

    pub(crate) fn set_rtt(&mut self, key: &PublicKey, rtt_us: u64) {
        self.change(key, |node| node.rtt_us = Some(rtt_us));
    }

    /// Notes a new lease; returns how many there were before.
    pub(crate) fn lease(&mut self, key: &PublicKey, job: JobId, attempt: Attempt) -> u32 {
        let lease = |node: &mut Node| {
            let ahead = node.leases.len() as u32;
            let held = node.leases.insert(job, attempt);
            assert!(held.is_none(), "a node holds one lease of a job at a time");
            ahead
        };
        self.change(key, lease).expect("a lease goes to a connected node")
    }

    /// Takes back a lease that the node has reported on. Says whether the node held it.
    pub(crate) fn release(&mut self, key: &PublicKey, job: JobId, attempt: Attempt) -> bool {
        let release = |node: &mut Node| {
            let held = node.leases.get(&job) == Some(&attempt);
            if held {
                node.leases.remove(&job);
            }
            held
        };
        self.change(key, release).unwrap_or(false)
    }

    /// Counts an attempt that came to an outcome. `lease` is nothing where its time says little about other jobs' times.
    pub(crate) fn count_done(&mut self, key: &PublicKey, now: Tick, lease: Option<&Lease>) {
        self.change(key, |node| {
            node.jobs_done += 1;
            if let Some(lease) = lease {
                node.attempt_us.add(node.time_in_slot(lease.ahead, now.since(lease.since)));
            }
        });
    }

    pub(crate) fn get(&self, key: &PublicKey) -> Option<&Node> {
        self.nodes.get(key)
    }

    pub(crate) fn is_open(&self, key: &PublicKey) -> bool {
        self.get(key).is_some_and(|node| node.rank().is_some())
    }

    /// The nodes with room, least predicted wait first.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&PublicKey, &Node)> {
        self.open.iter().map(|(_, key)| (key, self.get(key).expect("an open node is connected")))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PublicKey, &Node)> {
        self.nodes.iter()
    }

    /// The only way to change a node, so that its place among the open ones never lags behind.
    fn change<T>(&mut self, key: &PublicKey, change: impl FnOnce(&mut Node) -> T) -> Option<T> {
        let node = self.nodes.get_mut(key)?;
        let before = node.rank();
        let result = change(node);
        let after = node.rank();
        if before != after {
            before.map(|rank| self.open.remove(&(rank, *key)));
            after.map(|rank| self.open.insert((rank, *key)));
        }
        Some(result)
    }
}

impl Node {
    pub(crate) fn holds(&self, job: JobId) -> bool {
        self.leases.contains_key(&job)
    }

    /// Its leases in a fixed order.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (JobId, Attempt)> {
        self.leases.iter().map(|(job, attempt)| (*job, *attempt))
    }

    pub(crate) fn view(&self, node: PublicKey) -> NodeView<'_> {
        let leases = self.leases.len() as u32;
        NodeView {
            node,
            offer: &self.offer,
            slots_used: leases.min(self.offer.slots),
            leases,
            window: self.window(),
            rtt_us: self.rtt_us,
            jobs_done: self.jobs_done,
        }
    }

    /// Leases that it may hold now. A node that has finished nothing yet is taken for one with long jobs.
    fn window(&self) -> u32 {
        let is_short = self.attempt_us.value().is_some_and(|us| us < SHORT_JOB_US);
        let ahead = if is_short { AHEAD_PER_SLOT } else { 0 };
        self.offer.slots.saturating_mul(1 + ahead)
    }

    /// Nothing where it has no room.
    fn rank(&self) -> Option<Rank> {
        let leases = self.leases.len() as u32;
        (leases < self.window()).then(|| (self.wait_us(leases), leases))
    }

    /// Predicted time until a lease that is sent now starts: one round trip, and where all slots are taken, the turns until
    /// the first one past its slots comes.
    fn wait_us(&self, leases: u32) -> u64 {
        let ahead = u64::from((leases + 1).saturating_sub(self.offer.slots));
        let turns_us = ahead.saturating_mul(self.attempt_us.value().unwrap_or(0)) / u64::from(self.offer.slots);
        self.rtt_us.unwrap_or(RTT_GUESS_US).saturating_add(turns_us)
    }

    /// What of an attempt's time was spent in its slot. The rest is the round trip, and the turns of those ahead of it: with s
    /// slots, the lease after a ahead of it takes (a + 1) / s turns, and at least its own.
    fn time_in_slot(&self, ahead: u32, elapsed_us: u64) -> u64 {
        let slots = u64::from(self.offer.slots);
        let there_us = elapsed_us.saturating_sub(self.rtt_us.unwrap_or(0));
        there_us.saturating_mul(slots) / slots.max(u64::from(ahead) + 1)
    }
}
