//! What a decision costs, counted in nodes that were looked at: a clock would tell of the machine, and of what else it does.

use adit_dispatch::{Action, Config, Dispatcher, Event, Report, Request, Tick};
use adit_protocol::{BlobRef, Digest, JobId, JobSpec, NodeOffer, NodeState, Preference, Price, PublicKey};

use crate::world::{client, job, offer};

/// Five in each of three orders, five that know the module, and two for no reason.
const LOOKS_MAX: u32 = 22;

/// Where none of these will do, as many more in the classes that fit.
const CLASS_LOOKS_MAX: u32 = 256;

const JOBS: u32 = 600;
const MODULES: u64 = 50;
const REGIONS: u64 = 8;

/// Nodes that differ in all that is weighed, half of them busy.
struct Fleet {
    dispatcher: Dispatcher,
    nodes: u32,
    jobs: u32,
}

/// What jobs without a demand were looked at for, and those that only some classes fit.
#[derive(Debug, Default)]
struct Looks {
    easy: Vec<u32>,
    picky: Vec<u32>,
}

/// A number below another that looks like chance and is the same in each run.
fn draw(n: u32, what: u64, below: u64) -> u64 {
    let hash = Digest::of(&[u64::from(n), what].map(u64::to_be_bytes).concat());
    u64::from_be_bytes(*hash.0.first_chunk().expect("a hash has eight bytes")) % below
}

fn module(n: u64) -> BlobRef {
    BlobRef::of(&n.to_be_bytes())
}

fn region(n: u64) -> (String, String) {
    ("region".to_owned(), n.to_string())
}

impl Fleet {
    fn new(nodes: u32) -> Self {
        let mut fleet = Self { dispatcher: Dispatcher::new(Config::default()), nodes, jobs: 0 };
        for n in 0..nodes {
            let node = PublicKey(Digest::of(&n.to_be_bytes()).0);
            let price = Price { per_compute_minute: 100 * (1 + draw(n, 0, 40)), ..Price::default() };
            let (labels, fuel_per_second) = (vec![region(draw(n, 1, REGIONS))], 200_000_000 + draw(n, 2, 3_800_000_000));
            let offer = NodeOffer { price, labels, fuel_per_second, ..offer(1) };
            let cached = (0..draw(n, 3, 8)).map(|at| module(draw(n, 4 + at, MODULES)).digest).collect();
            fleet.dispatcher.handle(Tick(0), Event::NodeJoined { node, offer, state: NodeState::Ready, cached });
            fleet.dispatcher.handle(Tick(0), Event::NodePath { node, rtt_us: 500 + draw(n, 12, 250_000), spread_us: 0 });
        }
        while fleet.start(false).0 < nodes / 2 {}
        fleet
    }

    /// Starts a job, and says how many nodes had no room, and how many with room were looked at. Ends the job where it is told to.
    fn start(&mut self, ends: bool) -> (u32, u32, bool) {
        self.jobs += 1;
        let (n, now) = (self.jobs, Tick(u64::from(self.jobs)));
        let mut spec = JobSpec::new(module(draw(n, 20, MODULES)), BlobRef::of(b"input"));
        spec.placement.prefer = [Preference::Fast, Preference::Balanced, Preference::Cheap][draw(n, 21, 3) as usize];
        let is_picky = draw(n, 22, 5) == 0;
        spec.placement.labels = if is_picky { vec![region(draw(n, 23, REGIONS))] } else { vec![] };
        let request = Box::new(Request::new(&client(1), &spec, true));
        self.dispatcher.handle(now, Event::Submitted { job: job(n), request });
        let Some(Action::Start { job, attempt, node, decision }) = self.dispatcher.poll_action() else {
            panic!("half of them have room")
        };
        if ends {
            self.finish(now, job, attempt, node);
        }
        // All are ready, so who is not full has room.
        (decision.full, self.nodes - decision.full - decision.others, is_picky)
    }

    fn finish(&mut self, now: Tick, job: JobId, attempt: adit_protocol::Attempt, node: PublicKey) {
        self.dispatcher.handle(now, Event::AttemptFinished { node, job, attempt, report: Report::default() });
        assert!(self.dispatcher.poll_action().is_none());
    }

    fn looks(&mut self) -> Looks {
        let mut looks = Looks::default();
        for _ in 0..JOBS {
            let (_, looked, is_picky) = self.start(true);
            if is_picky { looks.picky.push(looked) } else { looks.easy.push(looked) }
        }
        looks
    }
}

fn mean(counts: &[u32]) -> f64 {
    f64::from(counts.iter().sum::<u32>()) / counts.len() as f64
}

fn most(counts: &[u32]) -> u32 {
    *counts.iter().max().expect("jobs were placed")
}

#[test]
fn a_decision_among_a_hundred_times_as_many_nodes_looks_at_no_more_of_them() {
    let [few, many] = [1_000, 100_000].map(|nodes| Fleet::new(nodes).looks());
    for Looks { easy, picky } in [&few, &many] {
        assert!(most(easy) <= LOOKS_MAX, "{}", most(easy));
        assert!(most(picky) <= LOOKS_MAX + CLASS_LOOKS_MAX, "{}", most(picky));
        assert!(mean(easy) > 3.0, "what is counted are looks: {}", mean(easy));
    }
    let growth = mean(&many.easy) / mean(&few.easy);
    assert!(growth < 1.1, "{} and {}", mean(&few.easy), mean(&many.easy));
}
