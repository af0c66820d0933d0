//! Random traces against a model that knows only what was said: who is connected, which leases are out, which jobs are alive.

use std::collections::{BTreeMap, BTreeSet};

use adit_dispatch::{Action, Config, GIVEN_BACK_MAX, NodeView, Phase, Request};
use adit_protocol::{Attempt, AttemptFailure, Digest, GpuNeed, JobId, JobLimits, NodeOffer, Prediction, PublicKey};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::world::*;

/// Below this a node gets only jobs that no trusted one fits, in thousandths.
const BARRED_BELOW: u16 = 200;

const CONFIG: Config = Config {
    seed: 7,
    spread: 4,
    queue_max: 12,
    queue_per_client_max: 6,
    attempts_max: 3,
    preemptions_max: 2,
    join_grace_us: 3 * SECOND,
    opening_grace_us: 3 * SECOND,
    lease_grace_us: 600 * SECOND,
    cancel_grace_us: 10 * SECOND,
    vacate_grace_us: SECOND,
    hedge_min_us: 20 * MILLISECOND,
};

/// What a job may have in all: those that came to nothing, those that were given back, and then one for each node that had it not.
const ATTEMPTS_MAX: u32 = CONFIG.attempts_max + CONFIG.preemptions_max + 4;

#[derive(Debug, Clone)]
enum Step {
    Join {
        n: u8,
        slots: u32,
        gpu: bool,
        one_tenant: bool,
    },
    Leave {
        n: u8,
    },
    /// An owner switches the GPU on or off.
    Gpu {
        n: u8,
        gpu: bool,
    },
    Rtt {
        n: u8,
        rtt_us: u64,
    },
    Submit {
        c: u8,
        gpu: bool,
        queue_ms: u64,
    },
    /// Any job of the past or present, again.
    SubmitAgain {
        c: u8,
        which: Index,
    },
    Cancel {
        which: Index,
    },
    /// A report on any lease of the past or present.
    Report {
        which: Index,
        failure: Option<AttemptFailure>,
    },
    /// A report on a lease that is out.
    ReportDue {
        which: Index,
        failure: Option<AttemptFailure>,
    },
    Pass {
        us: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let failure = || {
        let failures = [
            AttemptFailure::ModuleInvalid("bad".into()),
            AttemptFailure::BlobMissing(Digest([0; 32])),
            AttemptFailure::Withdrawn,
            AttemptFailure::Preempted("the owner is back".into()),
            AttemptFailure::GpuAway("it hung".into()),
            AttemptFailure::Busy,
        ];
        prop_oneof![
            6 => Just(None),
            2 => Just(Some(node_failure("worker died"))),
            2 => select(failures.to_vec()).prop_map(Some),
        ]
    };
    prop_oneof![
        4 => (1..=4u8, 0..=3u32, any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(n, slots, gpu, one_tenant)| Step::Join { n, slots, gpu, one_tenant }),
        2 => (1..=4u8).prop_map(|n| Step::Leave { n }),
        2 => (1..=4u8, any::<bool>()).prop_map(|(n, gpu)| Step::Gpu { n, gpu }),
        1 => (1..=4u8, 0..100_000u64).prop_map(|(n, rtt_us)| Step::Rtt { n, rtt_us }),
        16 => (1..=3u8, prop::bool::weighted(0.3), select(vec![0, 50, 5_000, 300_000]))
            .prop_map(|(c, gpu, queue_ms)| Step::Submit { c, gpu, queue_ms }),
        1 => (1..=3u8, index()).prop_map(|(c, which)| Step::SubmitAgain { c, which }),
        3 => index().prop_map(|which| Step::Cancel { which }),
        2 => (index(), failure()).prop_map(|(which, failure)| Step::Report { which, failure }),
        10 => (index(), failure()).prop_map(|(which, failure)| Step::ReportDue { which, failure }),
        5 => select(vec![1, 5, 30, 1_000, 4_000, 11_000, 700_000]).prop_map(|ms| Step::Pass { us: ms * MILLISECOND }),
    ]
}

type Granted = (PublicKey, JobId, Attempt);

/// What must be true, kept apart from how the dispatcher makes it true.
#[derive(Default)]
struct Model {
    offers: BTreeMap<PublicKey, NodeOffer>,
    requests: BTreeMap<JobId, Request>,
    /// Jobs that have not ended, with their attempts so far.
    alive: BTreeMap<JobId, u32>,
    cancelled: BTreeSet<JobId>,
    leases: BTreeMap<JobId, (PublicKey, Attempt)>,
    /// Nodes that held a lease of a job that is alive.
    tried: BTreeMap<JobId, BTreeSet<PublicKey>>,
    /// Leases that ended here without a word from their node.
    owed: BTreeSet<Granted>,
    granted: Vec<Granted>,
    /// Whose each was: a job that has ended may be submitted again by another client.
    clients: BTreeMap<Granted, PublicKey>,
    /// The job that this step's report gives back, for nobody's fault.
    given_back: Option<JobId>,
    /// Nodes by whose fault an attempt came to nothing.
    failed: BTreeSet<(PublicKey, JobId)>,
    /// Jobs of which an attempt came to nothing.
    set_back: BTreeSet<JobId>,
    /// Nodes that may have a job again that they held, once they are there anew.
    may_again: BTreeSet<(PublicKey, JobId)>,
    /// How often nodes handed jobs back that waited there for slots.
    handed_back: BTreeMap<JobId, u32>,
}

impl Model {
    fn fits(&self, node: &PublicKey, job: &JobId) -> bool {
        let offer = &self.offers[node];
        offer.slots > 0 && (self.requests[job].gpu.is_none() || offer.gpu.is_some())
    }

    /// Whether its owner takes one client at a time, and it has another's jobs.
    fn is_let_to_another(&self, key: &PublicKey, job: &JobId) -> bool {
        let is_another = |due: &Granted| due.0 == *key && self.clients[due] != self.requests[job].client;
        self.offers[key].one_tenant && self.due().iter().any(is_another)
    }

    /// Whether a node fits that never held the job.
    fn has_fresh(&self, job: &JobId) -> bool {
        let is_fresh = |node: &PublicKey| self.tried.get(job).is_none_or(|tried| !tried.contains(node));
        self.offers.keys().any(|node| is_fresh(node) && self.fits(node, job))
    }

    fn due(&self) -> Vec<Granted> {
        let live = self.leases.iter().map(|(job, (node, attempt))| (*node, *job, *attempt));
        live.chain(self.owed.iter().copied()).collect()
    }

    fn node_left(&mut self, key: PublicKey) {
        self.offers.remove(&key);
        let held: Vec<JobId> = self.leases.iter().filter(|(_, (node, _))| *node == key).map(|(job, _)| *job).collect();
        for job in held {
            self.leases.remove(&job);
            // A connection may break once.
            if self.set_back.insert(job) {
                self.may_again.insert((key, job));
            } else {
                self.failed.insert((key, job));
            }
        }
    }

    fn set_back(&mut self, node: PublicKey, job: JobId) {
        self.set_back.insert(job);
        self.failed.insert((node, job));
    }

    fn joined(&mut self, key: PublicKey, offer: NodeOffer) {
        self.node_left(key);
        self.offers.insert(key, offer);
        for (job, tried) in self.tried.iter_mut().filter(|(job, _)| !self.leases.contains_key(job)) {
            if self.may_again.remove(&(key, *job)) && !self.failed.contains(&(key, *job)) {
                tried.remove(&key);
            }
        }
        self.owed.retain(|(node, ..)| *node != key);
    }

    /// A report arrives; an outcome that counts ends its job without an action.
    fn reported(&mut self, granted: Granted, is_outcome: bool) {
        let (node, job, attempt) = granted;
        if self.leases.get(&job) == Some(&(node, attempt)) {
            self.leases.remove(&job);
            if is_outcome {
                self.ended(job);
            }
        } else {
            self.owed.remove(&granted);
        }
    }

    fn ended(&mut self, job: JobId) {
        assert!(self.alive.remove(&job).is_some(), "{job} ends once");
        self.cancelled.remove(&job);
        self.tried.remove(&job);
        self.handed_back.remove(&job);
        self.set_back.remove(&job);
        self.may_again.retain(|(_, other)| *other != job);
        self.failed.retain(|(_, other)| *other != job);
        if let Some((node, attempt)) = self.leases.remove(&job) {
            self.owed.insert((node, job, attempt));
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Start { job, attempt, node, .. } => self.started(job, attempt, node),
            Action::Stop { job, attempt, node } => {
                assert_eq!(self.leases.get(&job), Some(&(node, attempt)), "only a lease that is out is stopped");
                if !self.cancelled.contains(&job) {
                    self.set_back(node, job);
                    self.leases.remove(&job);
                    self.owed.insert((node, job, attempt));
                }
            }
            Action::Abandon { .. } => unreachable!("nothing is hedged here"),
            Action::Waits { .. } => unreachable!("the world keeps these apart"),
            Action::Refuse { job, .. } | Action::CancelledInQueue { job } => self.ended(job),
            Action::Lost { job, attempts, ref reason } => {
                let handed_back = self.handed_back.get(&job).copied().unwrap_or(0);
                assert_eq!(self.alive.get(&job), Some(&(attempts + handed_back)));
                let is_given_back = self.given_back == Some(job) && !reason.contains("; then ");
                let is_last = !is_given_back || !self.has_fresh(&job);
                assert!(is_last, "{job} is lost because it was given back, and a node is left that had it not");
                self.ended(job);
            }
        }
    }

    fn started(&mut self, job: JobId, attempt: Attempt, node: PublicKey) {
        assert!(self.offers.contains_key(&node), "{job} starts on a connected node");
        assert!(self.fits(&node, &job), "{job} starts on a node that fits");
        assert!(!self.is_let_to_another(&node, &job), "{job} comes beside another client's");
        assert!(!self.cancelled.contains(&job), "{job} is cancelled");
        let is_fresh = self.tried.get(&job).is_none_or(|tried| !tried.contains(&node));
        // Who handed it back may have it again, and so may all where there is none but that one that had it not.
        let may_again = !self.has_fresh(&job) || self.handed_back.contains_key(&job);
        assert!(is_fresh || may_again, "{job} goes back to a node only where no other fits");
        self.tried.entry(job).or_default().insert(node);
        let attempts = self.alive.get_mut(&job).expect("only a job that is alive starts");
        *attempts += 1;
        assert_eq!(attempt.0, *attempts, "attempts count from 1");
        assert!(*attempts - self.handed_back.get(&job).unwrap_or(&0) <= ATTEMPTS_MAX);
        assert_eq!(self.leases.insert(job, (node, attempt)), None, "{job} has one attempt at a time");
        self.granted.push((node, job, attempt));
        self.clients.insert((node, job, attempt), self.requests[&job].client);
    }

    /// What holds between any two steps. `actions` are the last step's.
    fn check(&self, world: &World, actions: &[Action]) {
        for view in world.dispatcher.nodes() {
            let out = self.due().iter().filter(|(node, ..)| *node == view.node).count();
            assert_eq!(view.leases as usize, out, "leases at {}", view.node);
            assert!(view.leases <= 6 * view.offer.slots);
            let started = actions.iter().filter_map(|action| match action {
                Action::Start { job, node, .. } if *node == view.node => Some(self.requests[job].client),
                _ => None,
            });
            let of_client = |client| self.due().iter().filter(|due| due.0 == view.node && self.clients[*due] == client).count();
            let is_over =
                |client| view.leases > view.window && of_client(client) > 1 || view.leases > view.window + view.offer.slots;
            assert!(!started.into_iter().any(is_over), "{} got more than its window", view.node);
        }
        let queued: Vec<_> = self.alive.keys().filter(|job| self.is_queued(world, job)).collect();
        assert_eq!(world.dispatcher.queued(), queued.len());
        for (job, (node, attempt)) in &self.leases {
            assert_eq!(world.dispatcher.lease(*job, *attempt), Some(*node));
        }
        for job in &queued {
            let wait = world.waits.iter().rev().find(|(waiting, _)| waiting == *job);
            assert!(wait.is_some_and(|(_, wait)| wait.queued < 32), "why {job} waits is told");
        }
        // With nothing owed, no fresh job waits beside a node with room for it: beside a barred one only for a trusted one.
        for job in queued.iter().filter(|job| self.owed.is_empty() && self.alive[**job] == 0) {
            let is_trusted = |view: &NodeView<'_>| view.reputation >= BARRED_BELOW && self.fits(&view.node, job);
            let has_trusted = world.dispatcher.nodes().any(|view| is_trusted(&view));
            let takes = |view: &NodeView<'_>| is_trusted(view) || (!has_trusted && self.fits(&view.node, job));
            let is_let = |view: &NodeView<'_>| self.is_let_to_another(&view.node, job);
            let is_idle = |view: &NodeView<'_>| view.leases < view.window && takes(view) && !is_let(view);
            let idle = world.dispatcher.nodes().find(is_idle);
            assert_eq!(idle, None, "{job} could start");
        }
    }

    fn is_queued(&self, world: &World, job: &JobId) -> bool {
        let is_queued = matches!(world.dispatcher.phase(*job), Some(Phase::Queued { .. }));
        assert_eq!(is_queued, !self.leases.contains_key(job), "{job} waits or is out");
        is_queued
    }
}

/// Runs a trace and then lets all nodes go and all deadlines pass. With `nudges`, every step is followed by needless timeouts.
fn run(steps: &[Step], nudges: usize) -> Vec<Action> {
    let mut world = World::with(CONFIG);
    let mut model = Model::default();
    let mut trace = Vec::new();
    let drain = (1..=4).map(|n| Step::Leave { n }).chain([Step::Pass { us: 1_000 * SECOND }]);
    for step in steps.iter().cloned().chain(drain) {
        model.given_back = None;
        let waits = world.waits.len();
        let mut actions = take(&mut world, &mut model, step);
        actions.extend(world.pass(0));
        for _ in 0..nudges {
            world.dispatcher.handle_timeout(world.now);
            assert_eq!(world.actions(), []);
        }
        actions.iter().for_each(|action| model.act(action));
        // Each node is counted once.
        for (job, wait) in &world.waits[waits..] {
            let counted = wait.unfit.iter().map(|(_, count)| *count).sum::<u32>() + wait.full;
            assert_eq!(counted as usize, world.dispatcher.nodes().count(), "{job}: {wait:?}");
        }
        model.check(&world, &actions);
        trace.extend(actions);
    }
    assert_eq!(model.alive, BTreeMap::new(), "every job ends");
    assert_eq!(world.dispatcher.queued(), 0);
    assert_eq!(world.dispatcher.poll_timeout(), None);
    trace
}

/// Tells world and model of a step; the world's answer.
fn take(world: &mut World, model: &mut Model, step: Step) -> Vec<Action> {
    match step {
        Step::Join { n, slots, gpu, one_tenant } => {
            let offer = NodeOffer { gpu: gpu.then(gpu_offer), one_tenant, ..offer(slots) };
            model.joined(node(n), offer.clone());
            world.join_with(n, offer)
        }
        Step::Leave { n } => {
            model.node_left(node(n));
            world.leave(n)
        }
        Step::Gpu { n, gpu } if model.offers.contains_key(&node(n)) => {
            let offer = NodeOffer { gpu: gpu.then(gpu_offer), ..model.offers[&node(n)].clone() };
            model.offers.insert(node(n), offer.clone());
            world.offer(n, offer)
        }
        Step::Gpu { .. } => vec![],
        Step::Rtt { n, rtt_us } => {
            world.rtt(n, rtt_us);
            vec![]
        }
        Step::Submit { c, gpu, queue_ms } => {
            let limits = JobLimits { queue_ms, ..JobLimits::default() };
            let request = Request { limits, gpu: gpu.then(GpuNeed::default), ..request(c) };
            let j = model.requests.len() as u32;
            model.requests.insert(job(j), request.clone());
            model.alive.insert(job(j), 0);
            world.submit_with(j, request)
        }
        Step::SubmitAgain { c, which } if !model.requests.is_empty() => {
            let j = which.index(model.requests.len()) as u32;
            let is_known = model.alive.contains_key(&job(j));
            if !is_known {
                model.requests.insert(job(j), request(c));
                model.alive.insert(job(j), 0);
            }
            let actions = world.submit_for(c, j);
            assert!(!is_known || actions.is_empty(), "a known job is not submitted again");
            actions
        }
        Step::Cancel { which } if !model.requests.is_empty() => {
            let j = which.index(model.requests.len()) as u32;
            if model.alive.contains_key(&job(j)) {
                model.cancelled.insert(job(j));
            }
            world.cancel(j)
        }
        Step::Report { which, failure } if !model.granted.is_empty() => report(world, model, *which.get(&model.granted), failure),
        Step::ReportDue { which, failure } if !model.due().is_empty() => {
            let due = *which.get(&model.due());
            report(world, model, due, failure)
        }
        Step::SubmitAgain { .. } | Step::Cancel { .. } | Step::Report { .. } | Step::ReportDue { .. } => vec![],
        Step::Pass { us } => world.pass(us),
    }
}

fn report(world: &mut World, model: &mut Model, granted: Granted, failure: Option<AttemptFailure>) -> Vec<Action> {
    let (node, job, attempt) = granted;
    let is_given_back = matches!(failure, Some(AttemptFailure::Preempted(_) | AttemptFailure::GpuAway(_)));
    model.given_back = (is_given_back && model.leases.get(&job) == Some(&(node, attempt))).then_some(job);
    let is_setback =
        matches!(failure, Some(AttemptFailure::Node(_) | AttemptFailure::Withdrawn | AttemptFailure::ModuleInvalid(_)));
    if is_setback && model.leases.get(&job) == Some(&(node, attempt)) {
        model.set_back(node, job);
    }
    let slots = model.offers.get(&node).map_or(0, |offer| offer.slots as usize);
    let is_late = world.dispatcher.lease_of(job, attempt).is_some_and(|lease| {
        let Prediction { rtt_us, fetch_us, compile_us, .. } = lease.predicted;
        let compile_us = (8 * compile_us).max(if compile_us > 0 { 250 * MILLISECOND } else { 20 * MILLISECOND });
        world.now > lease.since.after(rtt_us + (8 * fetch_us).max(20 * MILLISECOND) + compile_us + 10 * SECOND)
    });
    let is_often = model.handed_back.get(&job).is_some_and(|times| *times >= GIVEN_BACK_MAX);
    let is_busy = !is_late && !is_often && model.due().iter().filter(|due| due.0 == node).count() > slots;
    if is_busy && failure == Some(AttemptFailure::Busy) && model.leases.get(&job) == Some(&(node, attempt)) {
        *model.handed_back.entry(job).or_insert(0) += 1;
    }
    if (is_given_back || failure == Some(AttemptFailure::Busy) && !is_busy) && model.leases.get(&job) == Some(&(node, attempt)) {
        model.may_again.insert((node, job));
    }
    model.reported(granted, failure.is_none());
    let (n, j) = (node.0[0], number(job));
    match failure {
        None => world.finish(n, j, attempt.0),
        Some(failure) => world.fail(n, j, attempt.0, failure),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_job_ends_once_and_every_rule_holds_on_the_way(steps in prop::collection::vec(step(), 1..150)) {
        run(&steps, 0);
    }

    #[test]
    fn same_trace_gives_the_same_actions_whatever_needless_timeouts_come(steps in prop::collection::vec(step(), 1..80)) {
        prop_assert_eq!(run(&steps, 0), run(&steps, 2));
    }
}
