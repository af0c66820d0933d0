use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use adit_protocol::{JobId, PublicKey, Refusal};

use crate::Config;
use crate::job::Job;
use crate::mean::Mean;
use crate::request::Demand;
use crate::timer::Tick;

/// The bounds of a refusal's retry-after, in milliseconds: not so soon that refused clients are a load of their own, not so late
/// that they miss a queue that emptied.
const RETRY_AFTER_MS: (u64, u64) = (50, 30_000);

/// The time between two jobs that leave the queue, in microseconds, until it is observed.
const PACE_GUESS_US: u64 = 100_000;

/// The least that a start is charged, in microseconds: what a slot is taken for beside the job itself.
const CHARGE_MIN_US: u64 = 1_000;

/// The most that a start is charged before it is known what it took: an unknown job's limit says little.
const CHARGE_MAX_US: u64 = 1_000_000;

/// Jobs whose attempt was lost that are looked at for a node with room, of those that it fits.
const RETRY_LOOKS: usize = 64;

/// Jobs of a lane that are asked about before the next lane.
const LANE_LOOKS: usize = 16;

/// Clients whose share is remembered while they have nothing queued.
const SHARES_MAX: usize = 65_536;

/// The jobs that wait: one line per client, served by what each had of the slots' time (P. Goyal, H. Vin, H. Cheng, "Start-time fair
/// queueing", 1996). Those whose attempt was lost go before all others of their client, and of clients that had as much.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    retries: BTreeMap<u64, JobId>,
    /// The same, by client.
    retried: BTreeMap<PublicKey, BTreeMap<u64, JobId>>,
    lines: BTreeMap<PublicKey, Line>,
    /// The clients with jobs in line, the one that had least first; among equals, who came first.
    turns: BTreeMap<Turn, PublicKey>,
    turns_given: u64,
    /// Jobs in all lines.
    lined_up: usize,
    shares: Shares,
    pace: Pace,
}

/// A place among the clients: what it had, and the order in which it came to that.
type Turn = (u64, u64);

/// One client's jobs. Those with the same demand stand in one lane, first come first served; the lanes stand in the order of
/// their priorities, and then of their first jobs.
#[derive(Debug, Default)]
struct Line {
    turn: Turn,
    len: usize,
    lanes: BTreeMap<Arc<Demand>, BTreeMap<u64, JobId>>,
    /// How many there are of each priority.
    priorities: BTreeMap<std::cmp::Reverse<u8>, usize>,
    heads: BTreeMap<Head, Arc<Demand>>,
}

/// A lane's place in its line.
type Head = (std::cmp::Reverse<u8>, u64);

/// What each client had of the slots' time, in microseconds over its weight. Who had nothing for a while begins where the others are: time
/// that is not used is not saved up.
#[derive(Debug, Default)]
struct Shares {
    /// What the client had that was served last: the least of those who wait.
    now: u64,
    /// Those who had more.
    ahead: BTreeMap<PublicKey, u64>,
    in_order: BTreeSet<(u64, PublicKey)>,
    weights: BTreeMap<PublicKey, u32>,
}

/// How fast the queue moves.
#[derive(Debug, Default)]
struct Pace {
    /// When the last job left, if others stayed. From an empty queue nobody leaves, which says nothing of its pace.
    last: Option<Tick>,
    interval_us: Mean,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.lined_up + self.retries.len()
    }

    pub(crate) fn set_weight(&mut self, client: PublicKey, weight: u32) {
        match weight {
            0 | 1 => self.shares.weights.remove(&client),
            _ => self.shares.weights.insert(client, weight),
        };
    }

    /// Whether another job of `client` may wait. A job that is queued again is not asked, as it was admitted before; but it counts.
    ///
    /// # Errors
    /// [`Refusal::QueueFull`], with the time after which about half of the jobs that stand before this one will have been served. Whoever
    /// came back when all are would find nodes that had nothing to do since; who comes back too soon is told again.
    pub(crate) fn admit(&self, client: &PublicKey, config: &Config) -> Result<(), Refusal> {
        let own = self.lines.get(client).map_or(0, |line| line.len) + self.retried.get(client).map_or(0, BTreeMap::len);
        let (queued, ahead) = if self.len() >= config.queue_max {
            (self.len(), self.len())
        } else if own >= config.queue_per_client_max {
            // Its line moves once per round.
            (own, own * self.lines.len().max(1))
        } else {
            return Ok(());
        };
        Err(Refusal::QueueFull { queued: queued as u32, retry_after_ms: self.pace.time_for_ms(ahead.div_ceil(2)) })
    }

    /// What stands before a queued job: all that wait, of these the ones of its own client that go before it, and the other clients.
    pub(crate) fn before(&self, job: &Job) -> (usize, usize, usize) {
        let line = self.lines.get(&job.client);
        let clients = self.lines.len() - usize::from(line.is_some());
        let ahead = line.filter(|_| !job.is_retry()).map_or(0, |line| line.before(job));
        (self.len().saturating_sub(1), ahead, clients)
    }

    /// Whether a job of `client` that came now would be the first of all in turn, as it had less than everybody who waits.
    pub(crate) fn is_first(&self, client: &PublicKey) -> bool {
        let own = self.shares.of(client);
        self.retried.keys().all(|other| self.shares.of(other) > own)
            && self.turns.first_key_value().is_none_or(|((share, _), _)| *share > own)
    }

    /// The first job of the same client with the same demand that waits.
    pub(crate) fn first_like(&self, job: &Job) -> Option<JobId> {
        let lane = self.lines.get(&job.client)?.lanes.get(&job.demand)?;
        lane.first_key_value().map(|(_, id)| *id)
    }

    pub(crate) fn push(&mut self, id: JobId, job: &Job) {
        if job.is_retry() {
            self.retries.insert(job.seq, id);
            self.retried.entry(job.client).or_default().insert(job.seq, id);
            return;
        }
        let line = self.lines.entry(job.client).or_default();
        if line.len == 0 {
            line.turn = (self.shares.of(&job.client), next_turn(&mut self.turns_given));
            self.turns.insert(line.turn, job.client);
        }
        line.push(id, job);
        self.lined_up += 1;
    }

    /// Takes out a job because it is started.
    pub(crate) fn serve(&mut self, job: &Job, now: Tick) {
        self.shares.advance(self.shares.of(&job.client));
        self.remove(job);
        self.pace.note(now, self.len());
    }

    /// Charges a client for a start that is predicted to take `us`. Returns what it was charged: nothing where nobody waits, and then nobody
    /// had more than another.
    pub(crate) fn charge(&mut self, client: &PublicKey, us: u64) -> u64 {
        if self.len() == 0 {
            self.shares.forget();
            return 0;
        }
        let charged = us.clamp(CHARGE_MIN_US, CHARGE_MAX_US);
        self.shares.add(client, charged);
        self.move_turn(client);
        charged
    }

    /// Sets a charge right when it is known what the job took.
    pub(crate) fn settle(&mut self, client: &PublicKey, charged: u64, us: u64) {
        if charged > 0 {
            self.shares.correct(client, charged, us.max(CHARGE_MIN_US));
            self.move_turn(client);
        }
    }

    /// Takes back a charge for a start that was none.
    pub(crate) fn refund(&mut self, client: &PublicKey, charged: u64) {
        if charged > 0 {
            self.shares.correct(client, charged, 0);
            self.move_turn(client);
        }
    }

    /// Gives a client the turn that its share gives it.
    fn move_turn(&mut self, client: &PublicKey) {
        let share = self.shares.of(client);
        let Some(line) = self.lines.get_mut(client).filter(|line| line.turn.0 != share) else { return };
        self.turns.remove(&line.turn);
        line.turn = (share, next_turn(&mut self.turns_given));
        self.turns.insert(line.turn, *client);
    }

    /// Takes out a job that ended in the queue.
    pub(crate) fn remove(&mut self, job: &Job) {
        if job.is_retry() {
            self.retries.remove(&job.seq);
            let own = self.retried.get_mut(&job.client).expect("a queued job is among its client's");
            own.remove(&job.seq);
            if own.is_empty() {
                self.retried.remove(&job.client);
            }
            return;
        }
        let line = self.lines.get_mut(&job.client).expect("a queued job stands in its client's line");
        line.remove(job);
        self.lined_up -= 1;
        if line.len == 0 {
            self.turns.remove(&line.turn);
            self.lines.remove(&job.client);
        }
    }

    /// The jobs whose attempt was lost, oldest first.
    pub(crate) fn retries(&self) -> impl Iterator<Item = JobId> {
        self.retries.values().copied()
    }

    /// The same of one client.
    pub(crate) fn retries_of(&self, client: &PublicKey) -> impl Iterator<Item = JobId> {
        self.retried.get(client).into_iter().flat_map(BTreeMap::values).copied()
    }

    /// A client's other jobs, by their demands.
    pub(crate) fn lanes_of(&self, client: &PublicKey) -> impl Iterator<Item = (&Demand, impl Iterator<Item = JobId> + Clone)> {
        let lanes = self.lines.get(client).into_iter().flat_map(|line| &line.lanes);
        lanes.map(|(demand, jobs)| (&**demand, jobs.values().copied()))
    }

    pub(crate) fn has_any_of(&self, client: &PublicKey) -> bool {
        self.lines.contains_key(client) || self.retried.contains_key(client)
    }

    /// The clients with jobs that wait.
    pub(crate) fn clients(&self) -> BTreeSet<PublicKey> {
        self.lines.keys().chain(self.retried.keys()).copied().collect()
    }

    /// The first job of the first client in turn that may be started. Each lane is asked about once, by its demand, and where that fits, a
    /// few of its jobs: the first one alone would hold up the others for a reason of its own, such as its deadline. Jobs whose attempt was
    /// lost are asked about before, up to so many of those that `fits_retry`, and give way to whoever had less.
    pub(crate) fn next(
        &self,
        fits_retry: impl Fn(&JobId) -> bool,
        fits: impl Fn(&Demand) -> bool,
        may: impl Fn(JobId) -> bool,
    ) -> Option<JobId> {
        let mut had: Vec<(u64, &PublicKey)> = self.retried.keys().map(|client| (self.shares.of(client), client)).collect();
        had.sort_unstable();
        let of_client = |(share, client): (u64, &PublicKey)| self.retried[client].values().map(move |id| (share, *id));
        let mut fitting = had.into_iter().flat_map(of_client).filter(|(_, id)| fits_retry(id)).take(RETRY_LOOKS);
        let retry = fitting.find(|(_, id)| may(*id));
        let most = retry.map_or(u64::MAX, |(share, _)| share);
        let mut before = self.turns.iter().take_while(|((share, _), _)| *share < most).map(|(_, client)| client);
        before.find_map(|client| self.lines[client].next(&fits, &may)).or(retry.map(|(_, id)| id))
    }

    /// The jobs in lanes whose demand satisfies `is_stranded`.
    pub(crate) fn stranded(&self, is_stranded: impl Fn(&Demand) -> bool) -> Vec<JobId> {
        let lanes = self.lines.values().flat_map(|line| &line.lanes);
        lanes.filter(|(demand, _)| is_stranded(demand)).flat_map(|(_, jobs)| jobs.values().copied()).collect()
    }
}

impl Line {
    fn push(&mut self, id: JobId, job: &Job) {
        let lane = self.lanes.entry(job.demand.clone()).or_default();
        if lane.is_empty() {
            self.heads.insert((job.demand.priority, job.seq), job.demand.clone());
        }
        lane.insert(job.seq, id);
        *self.priorities.entry(job.demand.priority).or_insert(0) += 1;
        self.len += 1;
    }

    fn remove(&mut self, job: &Job) {
        let lane = self.lanes.get_mut(&job.demand).expect("a queued job stands in the lane of its demand");
        let removed = lane.remove(&job.seq);
        assert!(removed.is_some(), "a queued job stands in its lane");
        let count = self.priorities.get_mut(&job.demand.priority).expect("a queued job is counted");
        *count -= 1;
        if *count == 0 {
            self.priorities.remove(&job.demand.priority);
        }
        self.len -= 1;
        let head = self.heads.remove(&(job.demand.priority, job.seq));
        match (head, lane.first_key_value()) {
            (Some(demand), Some((seq, _))) => _ = self.heads.insert((demand.priority, *seq), demand),
            (Some(demand), None) => _ = self.lanes.remove(&demand),
            (None, _) => {}
        }
    }

    /// How many go before the one that came last.
    fn before(&self, last: &Job) -> usize {
        self.priorities.range(..=last.demand.priority).map(|(_, count)| count).sum::<usize>() - 1
    }

    fn next(&self, fits: &impl Fn(&Demand) -> bool, may: &impl Fn(JobId) -> bool) -> Option<JobId> {
        let fitting = self.heads.values().filter(|demand| fits(demand));
        fitting.flat_map(|demand| self.lanes[demand].values().take(LANE_LOOKS)).copied().find(|id| may(*id))
    }
}

impl Shares {
    /// What a client had, or what it begins with.
    fn of(&self, client: &PublicKey) -> u64 {
        self.ahead.get(client).copied().unwrap_or(self.now).max(self.now)
    }

    /// Takes in that a client was served that had so much. Those that had no more are forgotten: they begin there.
    fn advance(&mut self, share: u64) {
        self.now = self.now.max(share);
        while let Some((_, client)) = self.in_order.first().copied().filter(|(had, _)| *had <= self.now) {
            self.in_order.pop_first();
            self.ahead.remove(&client);
        }
    }

    fn forget(&mut self) {
        self.now = 0;
        self.ahead.clear();
        self.in_order.clear();
    }

    fn add(&mut self, client: &PublicKey, us: u64) {
        let share = self.of(client).saturating_add(self.weighed(client, us));
        self.set(client, share);
    }

    fn correct(&mut self, client: &PublicKey, charged: u64, us: u64) {
        let (charged, us) = (self.weighed(client, charged), self.weighed(client, us));
        let share = self.of(client).saturating_sub(charged).saturating_add(us);
        self.set(client, share);
    }

    fn weighed(&self, client: &PublicKey, us: u64) -> u64 {
        us.div_ceil(self.weights.get(client).copied().unwrap_or(1).into())
    }

    fn set(&mut self, client: &PublicKey, share: u64) {
        if let Some(before) = self.ahead.remove(client) {
            self.in_order.remove(&(before, *client));
        }
        if share <= self.now {
            return;
        }
        self.ahead.insert(*client, share);
        self.in_order.insert((share, *client));
        // Who had the least of them gains the least by being forgotten; whoever had the most would begin anew.
        if self.ahead.len() > SHARES_MAX
            && let Some((_, least)) = self.in_order.pop_first()
        {
            self.ahead.remove(&least);
        }
    }
}

impl Pace {
    /// Notes that a job left and how many stayed.
    fn note(&mut self, now: Tick, stayed: usize) {
        if let Some(last) = self.last {
            self.interval_us.add(now.since(last));
        }
        self.last = (stayed > 0).then_some(now);
    }

    fn time_for_ms(&self, jobs: usize) -> u64 {
        let interval_us = self.interval_us.value().unwrap_or(PACE_GUESS_US);
        let (soonest, latest) = RETRY_AFTER_MS;
        (interval_us.saturating_mul(jobs as u64) / 1_000).clamp(soonest, latest)
    }
}

fn next_turn(given: &mut u64) -> u64 {
    *given += 1;
    *given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u32) -> PublicKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        PublicKey(key)
    }

    /// Once as many keys had a share as are remembered, who came later was charged nothing, and went before everybody.
    #[test]
    fn whoever_had_much_is_remembered_however_many_had_a_little() {
        let mut shares = Shares::default();
        let many = SHARES_MAX as u32;
        for n in 0..many {
            shares.add(&client(n), 10 + u64::from(n));
        }
        shares.add(&client(many), 1_000_000);
        assert_eq!(shares.of(&client(many)), 1_000_000);
        assert_eq!((shares.of(&client(0)), shares.of(&client(1))), (0, 11), "who had the least is forgotten");
        shares.add(&client(many + 1), 1);
        assert_eq!((shares.of(&client(many + 1)), shares.of(&client(1))), (0, 11), "also where it came last");
        assert_eq!((shares.ahead.len(), shares.in_order.len()), (SHARES_MAX, SHARES_MAX));
    }
}
