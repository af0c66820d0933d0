//! A dispatcher with a clock that tests move by hand. Every call returns the actions that it led to.

use std::sync::Arc;

use adit_dispatch::{Action, Config, Dispatcher, Event, NodeView, Report, Request, Tick};
use adit_protocol::{
    Attempt, AttemptFailure, BlobRef, ByteCount, Decision, Fuel, GpuNeed, GpuOffer, JobId, JobSpec, MeterId, Microcredits,
    NodeOffer, NodeState, Preference, Price, Profile, PublicKey, Refusal, Usage, Wait,
};

pub(crate) const MILLISECOND: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;

pub(crate) struct World {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) now: Tick,
    /// Why each attempt came to its node, in order.
    pub(crate) decisions: Vec<Arc<Decision>>,
    /// Why jobs waited, in order.
    pub(crate) waits: Vec<(JobId, Wait)>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Config { spread: 1, ..Config::default() })
    }

    pub(crate) fn with(config: Config) -> Self {
        Self { dispatcher: Dispatcher::new(config), now: Tick(7), decisions: Vec::new(), waits: Vec::new() }
    }

    /// With these nodes as (number, slots), past the opening grace.
    pub(crate) fn settled(nodes: &[(u8, u32)]) -> Self {
        let mut world = Self::new();
        for (n, slots) in nodes {
            assert_eq!(world.join(*n, *slots), []);
        }
        assert_eq!(world.pass(3 * SECOND), []);
        world
    }

    pub(crate) fn handle(&mut self, event: Event) -> Vec<Action> {
        self.dispatcher.handle(self.now, event);
        self.actions()
    }

    /// The actions, without why a node was chosen, as [`start`] does not say it either, and without why a job waits.
    pub(crate) fn actions(&mut self) -> Vec<Action> {
        let bare = |action| match action {
            Action::Start { job, attempt, node, decision } => {
                assert_eq!(decision.attempt, attempt);
                self.decisions.push(decision);
                Some(start_of(job, attempt, node))
            }
            Action::Waits { job, wait } => {
                self.waits.push((job, *wait));
                None
            }
            other => Some(other),
        };
        let actions: Vec<Action> = std::iter::from_fn(|| self.dispatcher.poll_action()).collect();
        actions.into_iter().filter_map(bare).collect()
    }

    /// Lets time go by, from deadline to deadline as a driver does.
    pub(crate) fn pass(&mut self, us: u64) -> Vec<Action> {
        let end = self.now.after(us);
        let mut actions = Vec::new();
        while let Some(deadline) = self.dispatcher.poll_timeout().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.dispatcher.handle_timeout(self.now);
            actions.extend(self.actions());
        }
        self.now = end;
        actions
    }

    pub(crate) fn join(&mut self, n: u8, slots: u32) -> Vec<Action> {
        self.join_with(n, offer(slots))
    }

    pub(crate) fn join_with(&mut self, n: u8, offer: NodeOffer) -> Vec<Action> {
        self.handle(Event::NodeJoined { node: node(n), offer, state: NodeState::Ready, cached: vec![] })
    }

    /// A node joins that knows the module of [`request`].
    pub(crate) fn join_knowing(&mut self, n: u8, slots: u32) -> Vec<Action> {
        let cached = vec![request(1).module.digest];
        self.handle(Event::NodeJoined { node: node(n), offer: offer(slots), state: NodeState::Ready, cached })
    }

    pub(crate) fn leave(&mut self, n: u8) -> Vec<Action> {
        self.handle(Event::NodeLeft { node: node(n) })
    }

    pub(crate) fn offer(&mut self, n: u8, offer: NodeOffer) -> Vec<Action> {
        self.handle(Event::NodeOffers { node: node(n), offer })
    }

    /// Why a job waited last.
    pub(crate) fn wait(&self, j: u32) -> &Wait {
        &self.waits.iter().rev().find(|(waiting, _)| *waiting == job(j)).expect("the job waited").1
    }

    pub(crate) fn rtt(&mut self, n: u8, rtt_us: u64) {
        assert_eq!(self.handle(Event::NodePath { node: node(n), rtt_us, spread_us: 0 }), []);
    }

    pub(crate) fn submit(&mut self, j: u32) -> Vec<Action> {
        self.submit_with(j, request(1))
    }

    pub(crate) fn submit_for(&mut self, c: u8, j: u32) -> Vec<Action> {
        self.submit_with(j, request(c))
    }

    pub(crate) fn submit_with(&mut self, j: u32, request: Request) -> Vec<Action> {
        self.handle(Event::Submitted { job: job(j), request: Box::new(request) })
    }

    pub(crate) fn cancel(&mut self, j: u32) -> Vec<Action> {
        self.handle(Event::Cancelled { job: job(j) })
    }

    pub(crate) fn finish(&mut self, n: u8, j: u32, attempt: u32) -> Vec<Action> {
        self.finish_with(n, j, attempt, Report::default())
    }

    /// Reports an outcome after so much fuel.
    pub(crate) fn finish_after(&mut self, n: u8, j: u32, attempt: u32, fuel: u64) -> Vec<Action> {
        let usage = Usage { fuel: Fuel(fuel), ..Usage::default() };
        self.finish_with(n, j, attempt, Report { usage, ..Report::default() })
    }

    pub(crate) fn finish_with(&mut self, n: u8, j: u32, attempt: u32, report: Report) -> Vec<Action> {
        self.handle(Event::AttemptFinished { node: node(n), job: job(j), attempt: Attempt(attempt), report })
    }

    pub(crate) fn preempt(&mut self, n: u8, j: u32, attempt: u32) -> Vec<Action> {
        self.preempt_after(n, j, attempt, 0)
    }

    /// An owner cuts an attempt short after so much fuel.
    pub(crate) fn preempt_after(&mut self, n: u8, j: u32, attempt: u32, fuel: u64) -> Vec<Action> {
        let report = Report { usage: Usage { fuel: Fuel(fuel), ..Usage::default() }, ..Report::default() };
        let (node, job, attempt) = (node(n), job(j), Attempt(attempt));
        self.handle(Event::AttemptPreempted { node, job, attempt, spent: Microcredits(10), report })
    }

    pub(crate) fn state(&mut self, n: u8, state: NodeState) -> Vec<Action> {
        self.handle(Event::NodeIs { node: node(n), state })
    }

    pub(crate) fn fail(&mut self, n: u8, j: u32, attempt: u32, failure: AttemptFailure) -> Vec<Action> {
        self.handle(Event::AttemptFailed { node: node(n), job: job(j), attempt: Attempt(attempt), failure })
    }

    /// The client can pay nothing.
    pub(crate) fn decline(&mut self, n: u8, j: u32, attempt: u32) -> Vec<Action> {
        self.decline_with(n, j, attempt, 0)
    }

    pub(crate) fn decline_with(&mut self, n: u8, j: u32, attempt: u32, affordable: u64) -> Vec<Action> {
        let (node, job, attempt, affordable) = (node(n), job(j), Attempt(attempt), Microcredits(affordable));
        self.handle(Event::Declined { node, job, attempt, affordable, is_all_it_allows: false })
    }

    pub(crate) fn fund(&mut self, c: u8) -> Vec<Action> {
        self.handle(Event::Funded { client: client(c) })
    }

    pub(crate) fn view(&self, n: u8) -> NodeView<'_> {
        self.dispatcher.nodes().find(|view| view.node == node(n)).expect("the node is connected")
    }

    /// Whether the job is over or was never submitted.
    pub(crate) fn is_forgotten(&self, j: u32) -> bool {
        self.dispatcher.phase(job(j)).is_none()
    }
}

/// A world in which jobs of the module are known to take a second on the reference machine, on a node that has left since.
pub(crate) fn knowing() -> World {
    let mut world = World::settled(&[(99, 1)]);
    world.submit(9_999);
    world.pass(SECOND);
    world.finish_after(99, 9_999, 1, 1_000_000_000);
    world.leave(99);
    world.pass(3 * SECOND);
    world
}

/// Node 1 near, node 2 further away, and ten jobs of a tenth of a second each are known.
pub(crate) fn near_and_far() -> World {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.rtt(1, MILLISECOND);
    world.rtt(2, 20 * MILLISECOND);
    for j in 0..10 {
        assert_eq!(world.submit(j), [start(j, 1, 1)]);
        world.pass(100 * MILLISECOND);
        world.finish_after(1, j, 1, 100_000_000);
    }
    world
}

pub(crate) fn node(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

/// The number that `job` was made of.
pub(crate) fn number(job: JobId) -> u32 {
    u32::from_be_bytes([job.0[0], job.0[1], job.0[2], job.0[3]])
}

pub(crate) fn job(j: u32) -> JobId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&j.to_be_bytes());
    JobId(id)
}

/// 1 GiB, the deterministic profile, free of charge.
pub(crate) fn offer(slots: u32) -> NodeOffer {
    NodeOffer {
        software: "test".into(),
        slots,
        memory: ByteCount(1 << 30),
        gpu: None,
        profiles: vec![Profile::Deterministic],
        price: Price::default(),
        labels: vec![],
        meter: MeterId([0; 32]),
        fuel_per_second: 0,
        one_tenant: false,
    }
}

/// A GPU that gives a job just what the default need asks.
pub(crate) fn gpu_offer() -> GpuOffer {
    let GpuNeed { memory, buffer, invocations, workgroup_memory, .. } = GpuNeed::default();
    GpuOffer { class: "software/mesa/llvmpipe".into(), memory, buffer, invocations, workgroup_memory }
}

/// What client `c` asks with everything at its default: one minute of run, five of waiting. The fastest node is preferred, so that time
/// alone decides.
pub(crate) fn request(c: u8) -> Request {
    let mut spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
    spec.placement.prefer = Preference::Fast;
    Request::new(&client(c), &spec, true)
}

pub(crate) fn client(c: u8) -> PublicKey {
    PublicKey([c; 32])
}

pub(crate) fn labelled(c: u8, key: &str) -> Request {
    let mut request = request(c);
    request.placement.labels = vec![label(key)];
    request
}

pub(crate) fn label(key: &str) -> (String, String) {
    (key.to_owned(), "yes".to_owned())
}

pub(crate) fn start(j: u32, attempt: u32, n: u8) -> Action {
    start_of(job(j), Attempt(attempt), node(n))
}

fn start_of(job: JobId, attempt: Attempt, node: PublicKey) -> Action {
    let decision = Decision {
        attempt,
        is_hedge: false,
        waited_us: 0,
        prefer: Preference::Fast,
        fuel: Fuel(0),
        is_fuel_known: false,
        is_first_free: false,
        is_next: false,
        candidates: vec![],
        unfit: vec![],
        full: 0,
        others: 0,
    };
    Action::Start { job, attempt, node, decision: Arc::new(decision) }
}

pub(crate) fn stop(j: u32, attempt: u32, n: u8) -> Action {
    Action::Stop { job: job(j), attempt: Attempt(attempt), node: node(n) }
}

pub(crate) fn refuse(j: u32, refusal: Refusal) -> Action {
    Action::Refuse { job: job(j), refusal }
}

pub(crate) fn cancelled(j: u32) -> Action {
    Action::CancelledInQueue { job: job(j) }
}

pub(crate) fn lost(j: u32, attempts: u32, reason: &str) -> Action {
    Action::Lost { job: job(j), attempts, reason: reason.to_owned() }
}

pub(crate) fn node_failure(reason: &str) -> AttemptFailure {
    AttemptFailure::Node(reason.to_owned())
}
