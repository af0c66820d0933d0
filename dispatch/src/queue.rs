use std::collections::BTreeMap;
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

/// The jobs that wait: first those whose attempt was lost, then one line per client, served in turn.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    retries: BTreeMap<u64, JobId>,
    lines: BTreeMap<PublicKey, Line>,
    /// The clients in the order of their turns. A client that is served, or comes new, goes to the end.
    turns: BTreeMap<u64, PublicKey>,
    turns_given: u64,
    /// Jobs in all lines.
    lined_up: usize,
    pace: Pace,
}

/// One client's jobs. Those with the same demand stand in one lane, first come first served; the lanes stand in the order of
/// their first jobs.
#[derive(Debug, Default)]
struct Line {
    turn: u64,
    len: usize,
    lanes: BTreeMap<Arc<Demand>, BTreeMap<u64, JobId>>,
    heads: BTreeMap<u64, Arc<Demand>>,
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

    /// Whether another job of `client` may wait. A job that is queued again is not asked: it was admitted before.
    ///
    /// # Errors
    /// [`Refusal::QueueFull`], with the time after which about as many jobs will have been served as stand before this one.
    pub(crate) fn admit(&self, client: &PublicKey, config: &Config) -> Result<(), Refusal> {
        let own = self.lines.get(client).map_or(0, |line| line.len);
        let (queued, ahead) = if self.len() >= config.queue_max {
            (self.len(), self.len())
        } else if own >= config.queue_per_client_max {
            // Its line moves once per round.
            (own, own * self.lines.len())
        } else {
            return Ok(());
        };
        Err(Refusal::QueueFull { queued: queued as u32, retry_after_ms: self.pace.time_for_ms(ahead) })
    }

    pub(crate) fn push(&mut self, id: JobId, job: &Job) {
        if job.is_retry() {
            self.retries.insert(job.seq, id);
            return;
        }
        let line = self.lines.entry(job.client).or_default();
        if line.len == 0 {
            line.turn = next_turn(&mut self.turns_given);
            self.turns.insert(line.turn, job.client);
        }
        line.push(id, job);
        self.lined_up += 1;
    }

    /// Takes out a job because it is started: its client's turn is over.
    pub(crate) fn serve(&mut self, job: &Job, now: Tick) {
        self.remove(job);
        self.pace.note(now, self.len());
        if job.is_retry() {
            return;
        }
        if let Some(line) = self.lines.get_mut(&job.client) {
            self.turns.remove(&line.turn);
            line.turn = next_turn(&mut self.turns_given);
            self.turns.insert(line.turn, job.client);
        }
    }

    /// Takes out a job that ended in the queue.
    pub(crate) fn remove(&mut self, job: &Job) {
        if job.is_retry() {
            self.retries.remove(&job.seq);
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

    /// The first job of the first client in turn that may be started. Only the heads of lanes are asked about, each with its demand:
    /// behind them stand jobs of the same demand.
    pub(crate) fn next(&self, may: impl Fn(&Demand, JobId) -> bool) -> Option<JobId> {
        self.turns.values().find_map(|client| self.lines[client].next(&may))
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
            self.heads.insert(job.seq, job.demand.clone());
        }
        lane.insert(job.seq, id);
        self.len += 1;
    }

    fn remove(&mut self, job: &Job) {
        let lane = self.lanes.get_mut(&job.demand).expect("a queued job stands in the lane of its demand");
        let removed = lane.remove(&job.seq);
        assert!(removed.is_some(), "a queued job stands in its lane");
        self.len -= 1;
        let head = self.heads.remove(&job.seq);
        match (head, lane.first_key_value()) {
            (Some(demand), Some((seq, _))) => _ = self.heads.insert(*seq, demand),
            (Some(demand), None) => _ = self.lanes.remove(&demand),
            (None, _) => {}
        }
    }

    fn next(&self, may: &impl Fn(&Demand, JobId) -> bool) -> Option<JobId> {
        self.heads.iter().find_map(|(seq, demand)| {
            let id = self.lanes[demand][seq];
            may(demand, id).then_some(id)
        })
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
