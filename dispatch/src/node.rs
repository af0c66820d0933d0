use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use adit_protocol::limits::NAMED_INPUTS_MAX;
use adit_protocol::{Attempt, Digest, JobId, Microcredits, NodeOffer, NodeState, Prediction, Profile, PublicKey, Verdict};

use crate::Report;
use crate::class::{Class, ClassId, Classes, Offered, Profiles};
use crate::history::Short;
use crate::job::{Ahead, Job, Lease};
use crate::mean::Mean;
use crate::reputation::{BARRED_BELOW, Deed, Past, Reputation};
use crate::request::Demand;
use crate::search::gpu_us;
use crate::summary::{Line, Room, Summary, run_us};
use crate::timer::Tick;
use crate::verdicts::Verdicts;

/// A node whose jobs take less than this, in microseconds, may hold leases ahead of its slots, as long as none that it holds is predicted to
/// run for more. Below it the round trip for the next lease is a sizeable part of the job; above it, jobs are better kept here, where any node that
/// gets free can take them.
const SHORT_JOB_US: u64 = 20_000;

/// The least that a lease is taken for, in microseconds: what an attempt takes beside the job itself.
const TURN_MIN_US: u64 = 1_000;

/// Leases ahead of each slot of a node with short jobs. As far as predictions hold, at most 4 x 20 ms of work is then committed to a node too
/// early; where they do not, the node hands them back.
const AHEAD_PER_SLOT: u32 = 4;

/// Leases beside those, for each slot, of clients that have nothing else there: at a node clients take turns, so such a job waits for one that
/// runs, and for none that waits.
const FIRST_PER_SLOT: u32 = 1;

/// What a round trip is taken for until it is measured, in microseconds: a usual home line's, so that an unknown node is
/// chosen neither before a near one nor after a far one.
const RTT_GUESS_US: u64 = 30_000;

/// Fuel per second of a node that neither claims a speed nor has shown one: the reference machine's.
const SPEED_GUESS: u64 = 1_000_000_000;

/// The most that a node is believed to do before it has shown it: four times the reference machine.
const SPEED_CLAIM_MAX: u64 = 4 * SPEED_GUESS;

/// The most that a node is believed to do, whatever its jobs seem to show: sixteen times the reference machine.
const SPEED_MAX: u64 = 16 * SPEED_GUESS;

/// Bytes per second of a path over which nothing was fetched: 20 Mbit/s, a usual home line's.
const BANDWIDTH_GUESS: u64 = 2_500_000;

/// Fuel below which a job says nothing of its node's speed: a hundredth of a second on the reference machine.
const SPEED_SAMPLE_FUEL: u64 = 10_000_000;

/// A run that shows a speed, and may disprove a claim: ten times as long as a worker is stopped for its owner's share of a core.
const LONG_RUN_US: u64 = 500_000;

/// Bytes below which a fetch says nothing of its path's bandwidth.
const BANDWIDTH_SAMPLE_BYTES: u64 = 64 * 1024;

/// Jobs that show a speed before a claim is held against what they show.
const CLAIM_CHECKED_AFTER: u32 = 4;

/// How long a speed that a node showed is believed after its last job: then what it claims counts again.
const SPEED_KEPT_US: u64 = 600_000_000;

/// A node's overhead loses one part in so many with each measurement of its path, which come every second.
const OVERHEAD_KEPT: u64 = 32;

/// Modules and inputs that a node is known to have, the latest ones: those of three jobs with as many inputs as one may have. What it dropped
/// since, it fetches again.
const KNOWN_MAX: usize = 54;
const _: () = assert!(KNOWN_MAX >= 3 * (2 + NAMED_INPUTS_MAX));

/// Jobs that a node's owner declined of which the like are not offered again, and for how long: owners change their lists rarely.
const DECLINES_MAX: usize = 8;
const DECLINED_FOR_US: u64 = 60_000_000;

/// Changes of what its owner allows that may explain why a node gives work back before it does a job: who comes home so often lends nothing.
const EXPLANATIONS_MAX: u8 = 8;

/// A connected node's place in the table. It is given to another one when the node has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

impl Slot {
    fn at(self) -> usize {
        self.0 as usize
    }
}

/// The connected nodes, and the orders in which those with room are looked at.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    slots: Vec<Option<Node>>,
    /// What searches read of them, by the same places; kept in step by `change`, as the orders are.
    summaries: Vec<Summary>,
    /// How often each was compared for a job, by the same places.
    verdicts: Vec<Verdicts>,
    free: Vec<Slot>,
    by_key: BTreeMap<PublicKey, Slot>,
    classes: Classes,
    past: Past,
    /// Those with room, least predicted wait first. These and the class's own order are kept in step by `change`.
    near: BTreeSet<(u64, Slot)>,
    /// Those with room, the fastest first.
    fast: BTreeSet<(std::cmp::Reverse<u64>, Slot)>,
    /// Those with room, by what a compute minute costs.
    cheap: BTreeSet<(u64, Slot)>,
    /// Those without room that would have one of a client of which they hold none; least predicted wait first.
    crowded: BTreeSet<(u64, Slot)>,
    /// How fast those are that take jobs, with room or without: each speed with how many have it.
    speeds: BTreeMap<u64, u32>,
    /// Who knows a module, with room or without.
    knowing: BTreeSet<(Short, Slot)>,
    /// Those that get jobs when they have room.
    ready: u32,
    /// Those with room, trusted or not.
    open: u32,
    /// The jobs that nodes hold, each with how many do.
    held: BTreeMap<JobId, u32>,
    /// The clients of whom owners declined jobs, each with the nodes: few decline anybody, and of one client's jobs they are asked often.
    declining: BTreeSet<(PublicKey, Slot)>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) key: PublicKey,
    pub(crate) offer: NodeOffer,
    pub(crate) class: Arc<Class>,
    class_id: ClassId,
    profiles: Profiles,
    pub(crate) state: NodeState,
    /// What it holds, and what it was told to stop and has not answered for: its slot is not free before it says so.
    leases: BTreeMap<JobId, Held>,
    /// How many of them are predicted to run for longer than short jobs do.
    long_leases: u32,
    /// What all of them are predicted to take, in microseconds.
    leased_us: u64,
    /// The most slots that it offered since it held none.
    slots_held: u32,
    /// The job of another client than it has jobs of, whose turn it is and for which it is to get empty: its owner takes one client at a time.
    pub(crate) kept_for: Option<JobId>,
    rtt_us: Option<u64>,
    spread_us: u64,
    /// Time of one job in one slot, in microseconds.
    attempt_us: Mean,
    /// Fuel per second of one slot, as its jobs show.
    speed: Option<u64>,
    speeds_seen: u32,
    speed_seen: Tick,
    /// Bytes per second, as its fetches show.
    bandwidth: Option<u64>,
    /// Microseconds that its short jobs take beyond what everything else explains.
    overhead_us: u64,
    known: VecDeque<Short>,
    /// The sketches of all that is known: what is not in it need not be looked for.
    known_sketch: u64,
    declines: VecDeque<Declined>,
    /// When its owner last changed what it takes.
    changed: Option<Tick>,
    /// The last of these changes that explained why it gave work back.
    explained: Option<Tick>,
    /// How many did since it did a job.
    explanations: u8,
    reputation: Reputation,
    is_barred: bool,
    jobs_done: u64,
}

/// A lease that a node holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    client: PublicKey,
    attempt: Attempt,
    /// What it is predicted to take, in microseconds.
    turn_us: u64,
    /// Whether it is predicted to keep its slot for longer than what may have others behind it: fetched and compiled is before a slot is taken.
    is_long: bool,
}

/// A job that a node's owner declined, with what that may have been for: lists of clients and of modules, and the least that a job is to earn.
#[derive(Debug, Clone, Copy)]
struct Declined {
    client: PublicKey,
    module: Short,
    /// Whether it needed a GPU: a client may be kept from a node's GPU and welcome to the rest of it.
    with_gpu: bool,
    /// The most that it could earn there, but for its inputs.
    worth: Microcredits,
    /// What its node was to have room for: its module, and the inputs that are fetched.
    bytes: u64,
    until: Tick,
}

/// Where an open node stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rank {
    /// Predicted wait, in microseconds.
    wait_us: u64,
    speed: u64,
    price: u64,
}

/// A connected node as the dispatcher sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView<'a> {
    /// Its key.
    pub node: PublicKey,
    /// What it offers.
    pub offer: &'a NodeOffer,
    /// Whether it takes jobs.
    pub state: &'a NodeState,
    /// Slots that are taken.
    pub slots_used: u32,
    /// Leases that it holds, running or waiting there.
    pub leases: u32,
    /// Leases that it may hold now: its slots, or more where its jobs are short.
    pub window: u32,
    /// The smoothed round trip to it, in microseconds; nothing until it is measured.
    pub rtt_us: Option<u64>,
    /// How far round trips lie from that, smoothed, in microseconds. To be shown: no decision depends on it.
    pub spread_us: u64,
    /// Fuel per second of one slot, as its jobs showed; nothing until one did.
    pub fuel_per_second: Option<u64>,
    /// How far its claims and its work have held, in thousandths.
    pub reputation: u16,
    /// Attempts that it brought to an outcome in this connection.
    pub jobs_done: u64,
    /// How often it was compared for a job, with each verdict, in this connection.
    pub verdicts: Vec<(Verdict, u64)>,
}

/// The nodes with room that are looked at for a job, in their orders.
impl Nodes {
    /// Least predicted wait first.
    pub(crate) fn near(&self) -> impl Iterator<Item = (u64, Slot)> {
        self.near.iter().copied()
    }

    /// The fastest first, with its fuel per second.
    pub(crate) fn fast(&self) -> impl Iterator<Item = (u64, Slot)> {
        self.fast.iter().map(|(speed, slot)| (speed.0, *slot))
    }

    /// The one with the cheapest compute minute first, with what that costs.
    pub(crate) fn cheap(&self) -> impl Iterator<Item = (u64, Slot)> {
        self.cheap.iter().copied()
    }

    /// Those that know a module, beginning at any of them, and at most all of them twice.
    pub(crate) fn knowing(&self, module: Short, from: u32) -> impl Iterator<Item = Slot> {
        // A range that ends nowhere is found by one way down the tree, and the second one only where the first is too short.
        let since = move |from| self.knowing.range((module, Slot(from))..).take_while(move |(known, _)| *known == module);
        let all = std::iter::once_with(move || since(0)).flatten();
        since(from).chain(all).map(|(_, slot)| *slot)
    }

    /// Those without room where a job of a client of which they hold none comes soon, the soonest first.
    pub(crate) fn crowded(&self) -> impl Iterator<Item = Slot> {
        self.crowded.iter().map(|(_, slot)| *slot)
    }

    /// One of the table's places that a number falls on, taken or not.
    pub(crate) fn any(&self, number: u64) -> Option<Slot> {
        let at = number.checked_rem(self.slots.len() as u64)?;
        Some(Slot(at as u32))
    }

    pub(crate) fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Whether any has room, trusted or not.
    pub(crate) fn has_open(&self) -> bool {
        self.open > 0
    }

    /// The barred ones that have room.
    pub(crate) fn barred_open(&self) -> Vec<PublicKey> {
        if self.open as usize == self.near.len() {
            return Vec::new();
        }
        self.classes.barred_open().map(|slot| self.at(slot).key).collect()
    }

    /// How many are connected.
    pub(crate) fn count(&self) -> usize {
        self.by_key.len()
    }

    /// The fuel per second of the fastest that takes jobs, with room or without.
    pub(crate) fn fastest(&self) -> Option<u64> {
        self.speeds.last_key_value().map(|(speed, _)| *speed)
    }

    /// How many of the trusted have room.
    pub(crate) fn open_count(&self) -> u32 {
        self.near.len() as u32
    }

    /// How many would take jobs if they had room.
    pub(crate) fn full_count(&self) -> u32 {
        self.ready - self.open_count()
    }

    /// All nodes where no more than so many are connected; else none.
    pub(crate) fn few(&self, at_most: usize) -> impl Iterator<Item = Slot> {
        let count = if self.by_key.len() <= at_most { at_most } else { 0 };
        self.by_key.values().copied().take(count)
    }

    /// As many numbers as there are places: what [`Nodes::knowing`] may begin at.
    pub(crate) fn places(&self) -> u32 {
        self.slots.len() as u32
    }
}

impl Nodes {
    /// Registers a node that is not connected yet.
    pub(crate) fn join(&mut self, now: Tick, key: PublicKey, offer: NodeOffer, state: NodeState, cached: &[Digest]) {
        let (class_id, class) = self.classes.join(&offer);
        let node = Node {
            key,
            class,
            class_id,
            profiles: Profiles::of(&offer.profiles),
            offer,
            state,
            leases: BTreeMap::new(),
            long_leases: 0,
            leased_us: 0,
            slots_held: 0,
            kept_for: None,
            rtt_us: None,
            spread_us: 0,
            attempt_us: Mean::default(),
            speed: None,
            speeds_seen: 0,
            speed_seen: now,
            bandwidth: None,
            overhead_us: 0,
            known: VecDeque::new(),
            known_sketch: 0,
            declines: VecDeque::new(),
            changed: None,
            explained: None,
            explanations: 0,
            reputation: self.past.recall(&key, now),
            is_barred: false,
            jobs_done: 0,
        };
        let slot = self.free.pop().unwrap_or(Slot(self.slots.len() as u32));
        if slot.at() == self.slots.len() {
            self.slots.push(None);
            self.summaries.push(Summary::VACANT);
            self.verdicts.push(Verdicts::default());
        }
        self.slots[slot.at()] = Some(node);
        self.verdicts[slot.at()] = Verdicts::default();
        let replaced = self.by_key.insert(key, slot);
        assert!(replaced.is_none(), "a node leaves before it joins again");
        self.enter(slot);
        self.judge(now, &key);
        for module in cached.iter().take(KNOWN_MAX).rev() {
            self.learn(slot, Short::of(module));
        }
    }

    pub(crate) fn leave(&mut self, now: Tick, key: &PublicKey) -> Option<Node> {
        let slot = self.by_key.remove(key)?;
        self.withdraw(slot);
        let node = self.slots[slot.at()].take().expect("a connected node has its place");
        self.summaries[slot.at()] = Summary::VACANT;
        self.free.push(slot);
        for known in &node.known {
            self.knowing.remove(&(*known, slot));
        }
        for (job, _) in node.leases() {
            self.let_go(job);
        }
        for client in node.declined_clients() {
            self.declining.remove(&(client, slot));
        }
        self.classes.leave(node.class_id);
        self.past.remember(*key, node.reputation, now);
        Some(node)
    }

    pub(crate) fn set_path(&mut self, now: Tick, key: &PublicKey, rtt_us: u64, spread_us: u64) {
        self.change(key, |node| {
            node.rtt_us = Some(rtt_us);
            node.spread_us = spread_us;
            node.forget_old(now);
        });
    }

    pub(crate) fn set_offer(&mut self, key: &PublicKey, offer: NodeOffer) {
        let Some(slot) = self.by_key.get(key).copied() else { return };
        self.withdraw(slot);
        let (class_id, class) = self.classes.join(&offer);
        let node = self.slots[slot.at()].as_mut().expect("a connected node has its place");
        node.profiles = Profiles::of(&offer.profiles);
        node.slots_held = node.slots_held.max(offer.slots);
        node.offer = offer;
        node.class = class;
        let before = std::mem::replace(&mut node.class_id, class_id);
        self.classes.leave(before);
        self.enter(slot);
    }

    pub(crate) fn set_state(&mut self, key: &PublicKey, state: NodeState) {
        self.change(key, |node| node.state = state);
    }

    /// Notes what a node did. Says whether it is barred because of it, and when it will not be any more.
    pub(crate) fn note(&mut self, now: Tick, key: &PublicKey, deed: Deed) -> Option<Tick> {
        self.change(key, |node| node.reputation = node.reputation.after(deed, now))?;
        self.judge(now, key)
    }

    /// Bars a node or trusts it again, by its reputation. Says when to look again at one that is barred.
    pub(crate) fn judge(&mut self, now: Tick, key: &PublicKey) -> Option<Tick> {
        self.change(key, |node| {
            node.is_barred = node.reputation.at(now) < BARRED_BELOW;
            node.is_barred.then(|| node.reputation.unbarred_at())
        })?
    }

    /// Notes a new lease; returns what comes before it there.
    pub(crate) fn lease(&mut self, slot: Slot, job: JobId, client: PublicKey, attempt: Attempt, predicted: &Prediction) -> Ahead {
        let lease = |node: &mut Node| {
            let ahead = node.ahead_of(&client);
            node.take(job, Held { client, attempt, turn_us: turn_us(predicted), is_long: predicted.run_us >= SHORT_JOB_US });
            ahead
        };
        *self.held.entry(job).or_insert(0) += 1;
        self.change_at(slot, lease)
    }

    /// Takes back a lease that the node has reported on. Says whether the node held it.
    pub(crate) fn release(&mut self, key: &PublicKey, job: JobId, attempt: Attempt) -> bool {
        let release = |node: &mut Node| {
            let held = node.leases.get(&job).is_some_and(|held| held.attempt == attempt);
            if held {
                node.give_back(job);
            }
            held
        };
        let was_held = self.change(key, release).unwrap_or(false);
        if was_held {
            self.let_go(job);
        }
        was_held
    }

    /// Has a node get empty for a job of a client that it cannot have beside what it has, or ends that.
    pub(crate) fn keep_for(&mut self, key: &PublicKey, job: Option<JobId>) {
        self.change(key, |node| node.kept_for = job);
    }

    /// Takes in that what a node holds takes longer than was thought. Says whether it holds enough for that to be so.
    pub(crate) fn note_busy(&mut self, key: &PublicKey) -> bool {
        self.change(key, Node::note_busy).unwrap_or(false)
    }

    fn let_go(&mut self, job: JobId) {
        if let Some(count) = self.held.get_mut(&job) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&job);
            }
        }
    }

    /// Whether any node holds an attempt of a job.
    pub(crate) fn is_held(&self, job: JobId) -> bool {
        self.held.contains_key(&job)
    }

    /// Takes in an attempt that its node's owner cut short, and how fast it was until then.
    pub(crate) fn count_preempted(&mut self, key: &PublicKey, now: Tick, lease: &Lease, report: &Report) {
        self.change(key, |node| node.learn_cut_short(now, lease, report));
    }

    /// Takes in an attempt that came to an outcome by itself, and what it shows of its node. Says whether the node's claim of its speed
    /// does not hold.
    pub(crate) fn count_done(&mut self, key: &PublicKey, now: Tick, lease: &Lease, report: &Report) -> bool {
        let learn = |node: &mut Node| {
            node.explanations = 0;
            node.learn_times(now, lease, report)
        };
        self.change(key, learn).unwrap_or(false)
    }

    /// Notes that a node's owner changed what it takes.
    pub(crate) fn note_changed(&mut self, now: Tick, key: &PublicKey) {
        self.change(key, |node| node.changed = Some(now));
    }

    /// Whether what a node's owner said explains that it gives back what it had since then.
    pub(crate) fn explain(&mut self, key: &PublicKey, since: Tick) -> bool {
        self.change(key, |node| node.explain(since)).unwrap_or(false)
    }

    pub(crate) fn count_cut_short(&mut self, key: &PublicKey) {
        self.change(key, |node| node.jobs_done += 1);
    }

    /// Notes that a node has a blob.
    pub(crate) fn learn_blob(&mut self, key: &PublicKey, blob: &Digest) {
        if let Some(slot) = self.by_key.get(key) {
            self.learn(*slot, Short::of(blob));
        }
    }

    fn learn(&mut self, slot: Slot, blob: Short) {
        let node = self.slots[slot.at()].as_mut().expect("a connected node has its place");
        if let Some(at) = node.known.iter().position(|known| *known == blob) {
            node.known.remove(at);
        } else if node.known.len() >= KNOWN_MAX
            && let Some(oldest) = node.known.pop_back()
        {
            self.knowing.remove(&(oldest, slot));
        }
        node.known.push_front(blob);
        node.known_sketch = node.known.iter().fold(0, |sketch, known| sketch | known.sketch());
        self.summaries[slot.at()].known_sketch = node.known_sketch;
        self.knowing.insert((blob, slot));
    }

    /// Notes that a node's owner declined a job.
    pub(crate) fn note_declined(&mut self, now: Tick, key: &PublicKey, job: &Job) {
        let Some(slot) = self.slot(key) else { return };
        let (before, after) = self.change_at(slot, |node| {
            let before = node.declined_clients();
            let declined = node.as_declined(now.after(DECLINED_FOR_US), job);
            // What was declined for its size says nothing of what is worth too little, and the other way round.
            let covers = |other: &Declined| declined.worth >= other.worth && declined.bytes <= other.bytes;
            node.declines.retain(|other| other.until > now && !(other.is_of_same(&declined) && covers(other)));
            node.declines.truncate(DECLINES_MAX - 1);
            node.declines.push_front(declined);
            (before, node.declined_clients())
        });
        for client in before {
            self.declining.remove(&(client, slot));
        }
        self.declining.extend(after.into_iter().map(|client| (client, slot)));
    }

    /// The nodes whose owners declined a job of a client not long ago.
    pub(crate) fn decliners(&self, now: Tick, client: &PublicKey) -> impl Iterator<Item = &Node> {
        let of_client = (*client, Slot(0))..=(*client, Slot(u32::MAX));
        let nodes = self.declining.range(of_client).map(|(_, slot)| self.at(*slot));
        nodes.filter(move |node| node.recent_declines(now, client).next().is_some())
    }

    pub(crate) fn count_verdict(&mut self, slot: Slot, verdict: Verdict) {
        self.verdicts[slot.at()].count(verdict);
    }

    pub(crate) fn get(&self, key: &PublicKey) -> Option<&Node> {
        self.by_key.get(key).map(|slot| self.at(*slot))
    }

    pub(crate) fn slot(&self, key: &PublicKey) -> Option<Slot> {
        self.by_key.get(key).copied()
    }

    /// The node at a place that is taken.
    pub(crate) fn at(&self, slot: Slot) -> &Node {
        self.slots[slot.at()].as_ref().expect("a place in an order is taken")
    }

    /// The same, as far as a search needs it of every node.
    pub(crate) fn summary(&self, slot: Slot) -> &Summary {
        &self.summaries[slot.at()]
    }

    /// How often a node was compared for a job, with each verdict.
    pub(crate) fn verdicts(&self, key: &PublicKey) -> Vec<(Verdict, u64)> {
        self.slot(key).map_or_else(Vec::new, |slot| self.verdicts[slot.at()].iter().collect())
    }

    pub(crate) fn is_open(&self, key: &PublicKey) -> bool {
        self.slot(key).is_some_and(|slot| self.summary(slot).is_open())
    }

    /// Whether a node is known to have a blob.
    pub(crate) fn knows(&self, slot: Slot, blob: Short) -> bool {
        let sketch = blob.sketch();
        self.summary(slot).known_sketch & sketch == sketch && self.at(slot).known.contains(&blob)
    }

    /// All of them, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.in_order().map(|slot| self.at(slot))
    }

    /// Their places, by key.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = Slot> {
        self.by_key.values().copied()
    }

    /// The only way to change a node's own state, so that its places in the orders never lag behind.
    fn change<T>(&mut self, key: &PublicKey, change: impl FnOnce(&mut Node) -> T) -> Option<T> {
        let slot = *self.by_key.get(key)?;
        Some(self.change_at(slot, change))
    }

    fn change_at<T>(&mut self, slot: Slot, change: impl FnOnce(&mut Node) -> T) -> T {
        let node = self.slots[slot.at()].as_mut().expect("a connected node has its place");
        let before = node.standing();
        let result = change(node);
        let (after, class) = (node.standing(), node.class_id);
        self.summaries[slot.at()] = node.summary();
        if before != after {
            self.replace(slot, class, Some(before), Some(after));
        }
        result
    }

    /// Puts a node into the orders.
    fn enter(&mut self, slot: Slot) {
        let node = self.at(slot);
        let (class, standing, summary) = (node.class_id, node.standing(), node.summary());
        self.summaries[slot.at()] = summary;
        self.replace(slot, class, None, Some(standing));
    }

    /// Takes a node out of the orders.
    fn withdraw(&mut self, slot: Slot) {
        let (class, standing) = (self.at(slot).class_id, self.at(slot).standing());
        self.replace(slot, class, Some(standing), None);
    }

    fn replace(&mut self, slot: Slot, class: ClassId, before: Option<Standing>, after: Option<Standing>) {
        let trusted = |standing: Standing| standing.rank.filter(|_| !standing.is_barred);
        let (old, new) = (before.and_then(trusted), after.and_then(trusted));
        if let Some(rank) = old.filter(|_| old != new) {
            self.near.remove(&(rank.wait_us, slot));
            self.fast.remove(&(std::cmp::Reverse(rank.speed), slot));
            self.cheap.remove(&(rank.price, slot));
        }
        if let Some(rank) = new.filter(|_| old != new) {
            self.near.insert((rank.wait_us, slot));
            self.fast.insert((std::cmp::Reverse(rank.speed), slot));
            self.cheap.insert((rank.price, slot));
        }
        let crowded = |standing: Standing| standing.crowded_us.filter(|_| !standing.is_barred);
        let (old, new) = (before.and_then(crowded), after.and_then(crowded));
        if old != new {
            old.map(|wait_us| self.crowded.remove(&(wait_us, slot)));
            self.crowded.extend(new.map(|wait_us| (wait_us, slot)));
        }
        let speed = |standing: Standing| (standing.has_slots && standing.is_ready).then_some(standing.speed);
        let (old, new) = (before.and_then(speed), after.and_then(speed));
        if old != new {
            self.count_speed(old, new);
        }
        for (standing, is_added) in [(before, false), (after, true)] {
            let Some(standing) = standing else { continue };
            let count = |n: &mut u32, holds: bool| {
                if holds {
                    *n = if is_added { *n + 1 } else { *n - 1 };
                }
            };
            count(&mut self.open, standing.rank.is_some());
            count(&mut self.ready, standing.has_slots && standing.is_ready && !standing.is_barred);
            let members = self.classes.members_mut(class);
            count(&mut members.not_ready, !standing.is_ready);
            count(&mut members.barred, standing.is_ready && standing.is_barred);
            let Some(rank) = standing.rank else { continue };
            let open = if standing.is_barred { &mut members.barred_open } else { &mut members.open };
            if is_added {
                open.insert((rank.wait_us, slot))
            } else {
                open.remove(&(rank.wait_us, slot))
            };
        }
    }

    fn count_speed(&mut self, old: Option<u64>, new: Option<u64>) {
        if let Some(speed) = new {
            *self.speeds.entry(speed).or_insert(0) += 1;
        }
        if let Some(speed) = old
            && let Some(count) = self.speeds.get_mut(&speed)
        {
            *count -= 1;
            if *count == 0 {
                self.speeds.remove(&speed);
            }
        }
    }
}

/// What of a node the orders depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    has_slots: bool,
    is_ready: bool,
    is_barred: bool,
    speed: u64,
    rank: Option<Rank>,
    /// Where it has no room, and would have a lease of a client of which it holds none: its predicted wait, in microseconds.
    crowded_us: Option<u64>,
}

impl Node {
    pub(crate) fn fits(&self, demand: &Demand) -> bool {
        let NodeOffer { slots, memory, price, .. } = self.offer;
        let offered = Offered { has_slots: slots > 0, profiles: self.profiles, memory, price };
        demand.unfit(&offered, || &self.class).is_none()
    }

    /// What a search reads of it.
    fn summary(&self) -> Summary {
        let room = match self.rank() {
            Some(_) => Room::Open,
            None if self.offer.slots > 0 => Room::NotNow,
            None => Room::Never,
        };
        Summary {
            leases: self.lease_count(),
            room,
            profiles: self.profiles,
            is_barred: self.is_barred,
            has_record: !self.reputation.is_whole() || !self.declines.is_empty() || self.offer.one_tenant,
            memory: self.offer.memory,
            queue_us: self.queue_us(),
            speed: self.fuel_per_second(),
            line: self.line(),
            known_sketch: self.known_sketch,
            price: self.offer.price,
            key: self.key,
        }
    }

    pub(crate) fn holds(&self, job: JobId) -> bool {
        self.leases.contains_key(&job)
    }

    /// Its leases in a fixed order.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (JobId, Attempt)> {
        self.leases.iter().map(|(job, held)| (*job, held.attempt))
    }

    fn take(&mut self, job: JobId, held: Held) {
        if self.leases.is_empty() {
            self.slots_held = self.offer.slots;
        }
        self.long_leases += u32::from(held.is_long);
        self.leased_us = self.leased_us.saturating_add(held.turn_us);
        let before = self.leases.insert(job, held);
        assert!(before.is_none(), "a node holds one lease of a job at a time");
    }

    /// What comes before a new lease of a client: where clients take turns, as many of each other's as of its own, and one more.
    fn ahead_of(&self, client: &PublicKey) -> Ahead {
        let (all, slots) = (self.lease_count(), self.offer.slots);
        if all < slots {
            return Ahead { leases: all, us: self.leased_us };
        }
        let mut by_client: BTreeMap<PublicKey, u32> = BTreeMap::new();
        self.leases.values().for_each(|held| *by_client.entry(held.client).or_insert(0) += 1);
        let own = by_client.get(client).copied().unwrap_or(0);
        let leases = by_client.values().map(|count| (*count).min(own + 1)).sum::<u32>().clamp(slots.min(all), all);
        let us = u128::from(self.leased_us) * u128::from(leases) / u128::from(all.max(1));
        Ahead { leases, us: us as u64 }
    }

    pub(crate) fn has_of(&self, client: &PublicKey) -> bool {
        self.leases.values().any(|held| held.client == *client)
    }

    /// Whether its owner takes one client at a time, and it has another one's jobs.
    pub(crate) fn is_let_to_another(&self, client: &PublicKey) -> bool {
        self.offer.one_tenant && self.leases.values().any(|held| held.client != *client)
    }

    fn note_busy(&mut self) -> bool {
        let is_full = self.lease_count() >= self.slots_held.max(1);
        if is_full {
            self.leases.values_mut().for_each(|held| held.is_long = true);
            self.long_leases = self.lease_count();
        }
        is_full
    }

    fn give_back(&mut self, job: JobId) {
        if let Some(held) = self.leases.remove(&job) {
            self.long_leases -= u32::from(held.is_long);
            self.leased_us = self.leased_us.saturating_sub(held.turn_us);
        }
    }

    pub(crate) fn lease_count(&self) -> u32 {
        self.leases.len() as u32
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state == NodeState::Ready
    }

    pub(crate) fn is_barred(&self) -> bool {
        self.is_barred
    }

    pub(crate) fn reputation(&self, now: Tick) -> u16 {
        self.reputation.at(now)
    }

    fn explain(&mut self, since: Tick) -> bool {
        let Some(changed) = self.changed.filter(|changed| *changed >= since) else { return false };
        if self.explained.replace(changed) != Some(changed) {
            self.explanations = self.explanations.saturating_add(1);
        }
        self.explanations <= EXPLANATIONS_MAX
    }

    /// Whether its owner declined a job like this one of its client not long ago: with the same module, worth as much, and no larger than this one.
    pub(crate) fn declines(&self, now: Tick, job: &Job) -> bool {
        // Most nodes declined nothing, and of most jobs it is asked many times.
        let mut recent = self.recent_declines(now, &job.client).peekable();
        if recent.peek().is_none() {
            return false;
        }
        let asked = self.as_declined(now, job);
        let is_like = |declined: &Declined| {
            let is_of_kind = declined.module == asked.module && (asked.with_gpu || !declined.with_gpu);
            is_of_kind && declined.worth >= asked.worth && declined.bytes <= asked.bytes
        };
        recent.any(is_like)
    }

    fn recent_declines(&self, now: Tick, client: &PublicKey) -> impl Iterator<Item = &Declined> {
        self.declines.iter().filter(move |declined| declined.client == *client && declined.until > now)
    }

    fn declined_clients(&self) -> Vec<PublicKey> {
        self.declines.iter().map(|declined| declined.client).collect()
    }

    fn as_declined(&self, until: Tick, job: &Job) -> Declined {
        let (client, module, with_gpu) = (job.client, Short::of(&job.ask.module.digest), job.demand.needs_gpu());
        // Without its inputs, whose size is apart: else what is larger would be worth more, and nothing said of one would hold for another.
        let worth = self.offer.price.cost_max(&job.ask.limits, 0).unwrap_or_default();
        let bytes = job.ask.fetched.iter().fold(job.ask.module.bytes, |sum, blob| sum.saturating_add(blob.bytes));
        Declined { client, module, with_gpu, worth, bytes, until }
    }

    pub(crate) fn view(&self, now: Tick, verdicts: Vec<(Verdict, u64)>) -> NodeView<'_> {
        let leases = self.lease_count();
        NodeView {
            node: self.key,
            offer: &self.offer,
            state: &self.state,
            slots_used: leases.min(self.offer.slots),
            leases,
            window: self.window(),
            rtt_us: self.rtt_us,
            spread_us: self.spread_us,
            fuel_per_second: self.speed,
            reputation: self.reputation(now),
            jobs_done: self.jobs_done,
            verdicts,
        }
    }

    /// Leases that it may hold now. A node that has finished nothing yet is taken for one with long jobs. Behind a long one nothing waits there,
    /// however short the others were; and one that is to get empty gets nothing.
    fn window(&self) -> u32 {
        if self.kept_for.is_some() && !self.leases.is_empty() {
            return self.lease_count();
        }
        let is_short = self.long_leases == 0 && self.attempt_us.value().is_some_and(|us| us < SHORT_JOB_US);
        let ahead = if is_short { AHEAD_PER_SLOT } else { 0 };
        self.offer.slots.saturating_mul(1 + ahead)
    }

    fn standing(&self) -> Standing {
        Standing {
            has_slots: self.offer.slots > 0,
            is_ready: self.is_ready(),
            is_barred: self.is_barred,
            speed: self.fuel_per_second(),
            rank: self.rank(),
            crowded_us: self.crowded_us(),
        }
    }

    fn crowded_us(&self) -> Option<u64> {
        let (leases, window, slots) = (self.lease_count(), self.window(), self.offer.slots);
        let most = window.saturating_add(slots.saturating_mul(FIRST_PER_SLOT));
        let is_crowded = window > slots && (window..most).contains(&leases) && !self.offer.one_tenant && self.kept_for.is_none();
        (is_crowded && self.is_ready()).then(|| self.rtt_us().saturating_add(self.queue_us()))
    }

    /// Nothing where it has no room, or takes no jobs.
    fn rank(&self) -> Option<Rank> {
        let has_room = self.lease_count() < self.window();
        (has_room && self.is_ready()).then(|| Rank {
            wait_us: self.rtt_us().saturating_add(self.queue_us()),
            speed: self.fuel_per_second(),
            price: self.offer.price.per_compute_minute,
        })
    }

    /// One round trip, in microseconds.
    fn rtt_us(&self) -> u64 {
        self.rtt_us.unwrap_or(RTT_GUESS_US)
    }

    /// The way to it, as round trips and fetches showed.
    fn line(&self) -> Line {
        Line { rtt_us: self.rtt_us(), bytes_per_second: self.bandwidth.unwrap_or(BANDWIDTH_GUESS).max(1) }
    }

    /// Predicted time that a lease which is sent now waits there, and what jobs take there beyond all that is explained: where all slots
    /// are taken, the turns until the first one past its slots comes.
    fn queue_us(&self) -> u64 {
        let slots = u64::from(self.offer.slots);
        let ahead = u64::from((self.lease_count() + 1).saturating_sub(self.offer.slots));
        let turns_us = ahead.saturating_mul(self.attempt_us.value().unwrap_or(0)).checked_div(slots).unwrap_or(0);
        turns_us.saturating_add(self.overhead_us)
    }

    /// Fuel per second of one slot: what its jobs showed, else what it claims, within reason.
    fn fuel_per_second(&self) -> u64 {
        let claimed = Some(self.offer.fuel_per_second).filter(|claimed| *claimed > 0);
        self.speed.or(claimed.map(|claimed| claimed.min(SPEED_CLAIM_MAX))).unwrap_or(SPEED_GUESS).max(1)
    }

    fn learn_times(&mut self, now: Tick, lease: &Lease, report: &Report) -> bool {
        let elapsed_us = now.since(lease.since);
        self.jobs_done += 1;
        // A round trip that was over before it could have been is not what it was taken for, and nothing else is then.
        if elapsed_us <= self.rtt_us.unwrap_or(0) {
            return false;
        }
        let here_us = self.time_in_slot(lease, elapsed_us);
        let believed = lease.believed(report, elapsed_us);
        let before_us = believed.report.fetch_us.saturating_add(believed.report.compile_us).min(here_us);
        self.attempt_us.add(here_us);
        // A fetch that took longer than any that was expected makes its path no better.
        self.learn_bandwidth(lease, report.fetch_us);
        // What a guest computes and what it waits for its GPU are not told apart.
        if report.usage.gpu_ns > 0 {
            return false;
        }
        let (fuel, run_us) = (report.usage.fuel.0, here_us - before_us);
        if fuel < SPEED_SAMPLE_FUEL {
            self.learn_overhead(run_us.saturating_sub(self.run_us(fuel)));
            return false;
        }
        // What waited there may have been passed by others, so its part of the time is not sure.
        let is_sure = believed.is_whole && lease.ahead.leases < self.offer.slots;
        // Where the way is long against the run, an error in the one is a large one in the other.
        run_us >= self.rtt_us() / 4 && self.learn_speed(now, fuel, run_us.saturating_sub(self.overhead_us), is_sure)
    }

    /// What was done until it was cut short was done at the node's speed, also where jobs so long never end there. The time until it was
    /// stopped counts, and that of its turn: so it shows the node as no faster than it is. How long jobs take there it does not show.
    fn learn_cut_short(&mut self, now: Tick, lease: &Lease, report: &Report) {
        let elapsed_us = now.since(lease.since);
        if elapsed_us <= self.rtt_us.unwrap_or(0) || lease.ahead.leases >= self.offer.slots || report.usage.gpu_ns > 0 {
            return;
        }
        let believed = lease.believed(report, elapsed_us);
        let before_us = believed.report.fetch_us.saturating_add(believed.report.compile_us);
        let run_us = self.time_in_slot(lease, elapsed_us).saturating_sub(before_us);
        if report.usage.fuel.0 >= SPEED_SAMPLE_FUEL && run_us >= LONG_RUN_US {
            self.learn_speed(now, report.usage.fuel.0, run_us.saturating_sub(self.overhead_us), believed.is_whole);
        }
    }

    /// Slowly up, for one hiccup says little, and quickly down: a node that is taken for slow gets few jobs to show otherwise.
    fn learn_overhead(&mut self, seen_us: u64) {
        let parts = if seen_us > self.overhead_us { 8 } else { 2 };
        self.overhead_us = self.overhead_us.saturating_mul(parts - 1).saturating_add(seen_us) / parts;
    }

    /// What is bad of a node and long ago counts less: it gets no jobs to show otherwise, and may have changed.
    fn forget_old(&mut self, now: Tick) {
        self.overhead_us -= self.overhead_us.div_ceil(OVERHEAD_KEPT);
        if now.since(self.speed_seen) > SPEED_KEPT_US {
            (self.speed, self.speeds_seen) = (None, 0);
        }
    }

    /// The rest of a fetch's time after its round trips. Where those were most of it, it says little of the line's rate.
    fn learn_bandwidth(&mut self, lease: &Lease, fetch_us: u64) {
        let bytes = lease.fetched_bytes;
        if bytes < BANDWIDTH_SAMPLE_BYTES || fetch_us == 0 {
            return;
        }
        let trips_us = self.line().fetch_trips_us(bytes);
        let sending_us = fetch_us.saturating_sub(trips_us).max(fetch_us / 4).max(1);
        let seen = u64::try_from(u128::from(bytes) * 1_000_000 / u128::from(sending_us)).unwrap_or(u64::MAX);
        let (before, is_certain) = (self.line().bytes_per_second, sending_us >= trips_us.saturating_mul(2));
        self.bandwidth = Some(match self.bandwidth {
            None if is_certain => seen,
            _ if is_certain || seen > before => before / 2 + seen / 2,
            _ => before / 8 * 7 + seen / 8,
        });
    }

    /// Takes in how long some fuel took. A short run says little: its worker was stopped for a share, or the machine did something else. So does
    /// one of whose time not all is believed that the node says of it, for it may be true. Says whether the node claims twice as much as long runs show.
    fn learn_speed(&mut self, now: Tick, fuel: u64, run_us: u64, is_sure: bool) -> bool {
        self.speed_seen = now;
        let is_long = run_us >= LONG_RUN_US && is_sure;
        let seen = u128::from(fuel) * 1_000_000 / u128::from(run_us.max(1));
        // No one sample makes a machine more than twice as fast as it was, nor faster than it is believed to be.
        let most = self.speed.map_or(SPEED_CLAIM_MAX, |speed| speed.saturating_mul(2).min(SPEED_MAX));
        let seen = u64::try_from(seen).unwrap_or(u64::MAX).min(most);
        let before = self.fuel_per_second();
        let parts = match (self.speed, is_long) {
            (None, true) => 1,
            (Some(_), true) => 2,
            (_, false) => 16,
        };
        self.speed = Some(before / parts * (parts - 1) + seen / parts);
        self.speeds_seen += u32::from(is_long);
        is_long && self.speeds_seen >= CLAIM_CHECKED_AFTER && self.offer.fuel_per_second / 2 > self.fuel_per_second()
    }

    /// For how long an attempt took a slot: a deterministic guest's time is its fuel, whatever else the node was at; another one may have
    /// waited for something else. What was fetched over a slow path took nothing that others could have used. No node can say that it was
    /// longer than it was.
    pub(crate) fn slot_us(&self, lease: &Lease, profile: Profile, report: &Report, elapsed_us: u64) -> u64 {
        match profile {
            Profile::Deterministic => {
                let run_us = self.run_us(report.usage.fuel.0).saturating_add(gpu_us(&report.usage));
                run_us.saturating_add(report.compile_us).min(elapsed_us)
            }
            Profile::Open => self.time_in_slot(lease, elapsed_us).saturating_sub(report.fetch_us),
        }
    }

    /// Microseconds that some fuel takes there.
    fn run_us(&self, fuel: u64) -> u64 {
        run_us(fuel, self.fuel_per_second())
    }

    /// What of an attempt's time was spent in its slot. The rest is the round trip, and the turns of those ahead of it. Where all slots were
    /// taken it is split as the predictions are: with s slots, all that came before it took an s-th of its turns together, and it at least its own.
    fn time_in_slot(&self, lease: &Lease, elapsed_us: u64) -> u64 {
        let slots = self.offer.slots.max(1);
        let there_us = elapsed_us.saturating_sub(self.rtt_us.unwrap_or(0));
        if lease.ahead.leases < slots {
            return there_us;
        }
        let own_us = turn_us(&lease.predicted);
        let (own_us, all_us) = (u128::from(own_us) * u128::from(slots), u128::from(own_us) + u128::from(lease.ahead.us));
        (u128::from(there_us) * own_us / own_us.max(all_us)) as u64
    }
}

impl Declined {
    /// Whether they differ in what they could earn alone.
    fn is_of_same(&self, other: &Self) -> bool {
        (self.client, self.module, self.with_gpu) == (other.client, other.module, other.with_gpu)
    }
}

/// What a lease is predicted to take at its node, in microseconds.
fn turn_us(predicted: &Prediction) -> u64 {
    let Prediction { fetch_us, compile_us, run_us, .. } = *predicted;
    fetch_us.saturating_add(compile_us).saturating_add(run_us).max(TURN_MIN_US)
}
