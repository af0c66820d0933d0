//! One run: the actors, what happens to them in order, and the end.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use adit_ledger::{Ledger, Operation};
use adit_protocol::{BlobRef, Grant, Microcredits, SecretKey, Terms, TransferId, UnixMillis};

use crate::client::{self, Client, JobStage};
use crate::disk::{Disk, Survivors};
use crate::env::{Env, Happening, LinkId, Message, Peer, Side, Strike};
use crate::gateway::Gateway;
use crate::node::Node;
use crate::plan::{Fault, Plan, QUIET_MAX_US, SECOND};
use crate::points::{Point, Points};
use crate::stall::Stall;
use crate::trace::Trace;

/// Steps of one run, at most: a run that takes more goes round in circles.
const STEPS_MAX: u64 = 2_000_000;

/// The wall clock at the beginning of each run.
const WALL_BEGIN_MS: u64 = 1_700_000_000_000;

/// What became of a run.
#[derive(Debug)]
pub struct Report {
    /// What was run.
    pub plan: Plan,
    /// Happenings.
    pub steps: u64,
    /// How long it took there.
    pub virtual_us: u64,
    /// States that were reached.
    pub points: Points,
    /// Stands for all that happened.
    pub digest: [u8; 32],
    /// What went wrong.
    pub failure: Option<Failure>,
}

/// An oracle's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What does not hold.
    pub what: String,
    /// After how many happenings.
    pub step: u64,
    /// When, in microseconds of virtual time.
    pub at_us: u64,
    /// What happened last.
    pub last: Vec<String>,
}

/// The gateway's key, the same in every run.
pub(crate) fn gateway_key() -> &'static SecretKey {
    static KEY: OnceLock<SecretKey> = OnceLock::new();
    KEY.get_or_init(|| SecretKey::from_seed([9; 32]))
}

/// The wall clock of those whose clock is right.
pub(crate) fn wall_ms(now: u64) -> u64 {
    WALL_BEGIN_MS + now / 1_000
}

/// What nodes say of a module that runs nowhere.
pub(crate) fn module_invalid_text() -> &'static str {
    "no start function"
}

/// Runs a plan to its end or to the first failure. With `is_shown` every line of the trace is printed.
pub fn run(plan: Plan, is_shown: bool) -> Report {
    let Ok(mut world) = catch_unwind(AssertUnwindSafe(|| World::new(plan.clone(), is_shown))) else {
        return Report::unbuilt(plan, panicked());
    };
    let mut steps = 0;
    let failure = loop {
        match catch_unwind(AssertUnwindSafe(|| world.step(&mut steps))) {
            Ok(Next::Goes) => {}
            Ok(Next::Ends(failure)) => break failure,
            Err(_) => break Some(panicked()),
        }
    };
    let at_us = world.env.now;
    let last = || world.env.trace.last().map(str::to_owned).collect();
    Report {
        steps,
        virtual_us: at_us,
        points: world.env.points.clone(),
        digest: world.env.trace.digest(),
        failure: failure.map(|what| Failure { what, step: steps, at_us, last: last() }),
        plan: world.env.plan,
    }
}

impl Report {
    /// Of a plan whose world could not be built.
    fn unbuilt(plan: Plan, what: String) -> Self {
        let failure = Some(Failure { what, step: 0, at_us: 0, last: Vec::new() });
        Self { plan, steps: 0, virtual_us: 0, points: Points::default(), digest: Trace::default().digest(), failure }
    }
}

/// A broken invariant of the code that is simulated, or of ours: its message says where.
fn panicked() -> String {
    format!("panicked: {}", LAST_PANIC.take())
}

thread_local! {
    /// What the last panic on this thread said.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Has panics recorded and not printed: a run that panics is a failure with a seed.
pub fn record_panics() {
    std::panic::set_hook(Box::new(|info| LAST_PANIC.set(info.to_string().replace('\n', " "))));
}

/// Whether a run goes on.
enum Next {
    Goes,
    Ends(Option<String>),
}

struct World {
    env: Env,
    gateway: Option<Gateway>,
    lives: u64,
    disk: Disk,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    stall: Stall,
    quiet_since: u64,
}

impl World {
    fn new(plan: Plan, is_shown: bool) -> Self {
        let mut env = Env::new(plan, is_shown);
        let mut modules = Vec::new();
        for n in 0..env.plan.modules {
            let bytes = env.chance.within_orders(1_000, 2_000_000);
            let module = BlobRef { digest: adit_protocol::Digest::of(&n.to_le_bytes()), bytes };
            if n > 0 && env.plan.has(Fault::BadModules) && env.chance.permille(300) {
                env.bad_modules.push(module.digest);
            }
            modules.push(module);
        }
        let (clients, jobs) = (env.plan.clients, env.plan.jobs);
        let even = |n: u32| jobs / clients + u32::from(n < jobs % clients);
        // Or nearly all are one's.
        let few = (jobs / 16).min(jobs / clients);
        let of_first = |n: u32| if n == 0 { jobs - few * (clients - 1) } else { few };
        let share = |n: u32| if client::has_short_tasks(&env.plan) { of_first(n) } else { even(n) };
        let shares = (0..clients).map(|n| (n as usize, share(n))).collect::<Vec<_>>();
        let clients: Vec<Client> = shares.into_iter().map(|(n, jobs)| Client::new(&mut env, n, &modules, jobs)).collect();
        let keys: Vec<_> = clients.iter().map(|client| client.public).collect();
        let nodes = (0..env.plan.nodes as usize).map(|n| Node::new(&mut env, n, &keys)).collect();
        let mut world = Self {
            env,
            gateway: None,
            lives: 0,
            disk: Disk::default(),
            nodes,
            clients,
            stall: Stall::default(),
            quiet_since: u64::MAX,
        };
        world.open_accounts();
        world.plan_strikes();
        world.start_gateway();
        world.env.at(world.env.plan.active_us, Happening::Quiet);
        world
    }

    /// What an operator does before the gateway starts: every client gets its credits.
    fn open_accounts(&mut self) {
        let (gateway, time) = (gateway_key().public(), UnixMillis(WALL_BEGIN_MS));
        let mut operations = vec![Operation::State(Terms { gateway, fee_ppm: self.env.plan.fee_ppm, time })];
        for (n, client) in self.clients.iter().enumerate() {
            let is_poor = self.env.plan.has(Fault::Poverty) && self.env.chance.permille(600);
            let amount = if is_poor { self.env.chance.within_orders(1, 100_000) } else { 1_000_000_000_000 };
            let grant = Grant { id: TransferId([n as u8; 16]), customer: client.public, amount: Microcredits(amount), time };
            operations.push(Operation::Grant(grant));
        }
        let opened = Ledger::open_with(self.disk.backend(), gateway).map_err(|error| error.to_string());
        let applied = opened.and_then(|mut ledger| ledger.apply(&operations).map_err(|error| error.to_string()));
        if let Err(error) = applied {
            self.env.shadow.fault(format!("the ledger cannot be made: {error}"));
        }
    }

    /// Strews the faults that strike at a moment over the active time.
    fn plan_strikes(&mut self) {
        let rows = [
            (Fault::Breaks, Strike::Break, 12),
            (Fault::Partitions, Strike::Partition, 5),
            (Fault::NodeCrashes, Strike::NodeCrash, 6),
            (Fault::GatewayCrashes, Strike::GatewayCrash, 2),
            (Fault::Stalls, Strike::Stall, 4),
            (Fault::Clocks, Strike::WallClock, 3),
            (Fault::DiskErrors, Strike::DiskError, 1),
            (Fault::Rogues, Strike::Rogue, 6),
        ];
        for (fault, strike, most) in rows {
            if !self.env.plan.has(fault) {
                continue;
            }
            for _ in 0..self.env.chance.within(1, most) {
                let at = self.env.chance.below(self.env.plan.active_us);
                self.env.at(at, Happening::Strikes(strike));
            }
        }
    }

    fn start_gateway(&mut self) {
        let weights: Vec<_> = self.clients.iter().map(|client| (client.public, client.weight)).collect();
        match Gateway::start(&mut self.env, self.lives, &self.disk, &weights) {
            Ok(gateway) => {
                self.gateway = Some(gateway);
                self.lives += 1;
            }
            Err(_) if self.disk.is_failing() => {
                self.disk = self.disk.after_power_cut(Survivors::Nothing);
                self.env.after(SECOND, Happening::GatewayStarts);
            }
            Err(error) => self.env.shadow.fault(format!("the ledger does not open after a crash: {error}")),
        }
    }

    fn step(&mut self, steps: &mut u64) -> Next {
        *steps += 1;
        if let Some(happening) = self.stall.next() {
            self.handle(happening);
        } else if let Some(happening) = self.env.next() {
            self.take(happening);
        } else {
            return Next::Ends(Some("nothing happens any more".to_owned()));
        }
        if let Some(fault) = self.env.shadow.take_fault() {
            return Next::Ends(Some(fault));
        }
        if self.env.is_quiet && self.is_over() {
            self.check_end();
            return Next::Ends(self.env.shadow.take_fault());
        }
        if self.is_late() {
            return Next::Ends(Some(self.what_is_left()));
        }
        match *steps {
            STEPS_MAX => Next::Ends(Some(format!("{STEPS_MAX} steps and no end"))),
            _ => Next::Goes,
        }
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { link, .. } if !self.env.is_up(link) => {}
            _ if self.stall.is_on() && is_for_gateway(&happening) => {
                self.env.hit(Point::Stalled);
                // Each connection is read by itself: one that begins may be heard before the rest of the one that it replaces.
                let is_heard_first = self.env.chance.permille(500);
                self.stall.hold(happening, |held| is_heard_first && matches!(held, Happening::Greets { .. }));
            }
            _ => self.handle(happening),
        }
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Greets { link, greeting } => match &mut self.gateway {
                Some(gateway) if self.env.is_heard(link) => gateway.greeted(&mut self.env, link, greeting),
                _ => self.env.break_link(link, Some(Side::Gateway)),
            },
            Happening::Arrives { link, message } => self.arrives(link, message),
            Happening::Ends { link, side } => self.ends(link, side),
            Happening::Node { node, life, alarm } => self.nodes[node].handle_alarm(&mut self.env, life, alarm),
            Happening::Client { client, alarm } => self.clients[client].handle_alarm(&mut self.env, alarm),
            Happening::Gateway { life, alarm } => {
                if let Some(gateway) = self.gateway.as_mut().filter(|gateway| gateway.life == life) {
                    gateway.handle_alarm(&mut self.env, alarm);
                }
            }
            Happening::GatewayStarts => self.start_gateway(),
            Happening::GatewayGoesOn => {
                let stood_us = self.stall.end(self.env.now);
                self.goes_on(stood_us);
            }
            Happening::Strikes(strike) => self.strike(strike),
            Happening::Quiet => self.calm(),
        }
        if let Some(why) = self.gateway.as_mut().and_then(|gateway| gateway.failed.take()) {
            self.env.note(format_args!("gateway ends: {why}"));
            self.crash_gateway();
        }
    }

    fn arrives(&mut self, link: LinkId, message: Message) {
        let env = &mut self.env;
        match (message, env.peer_of(link)) {
            (Message::OfNode(message), _) => {
                if let Some(gateway) = &mut self.gateway {
                    gateway.handle_node(env, link, message);
                }
            }
            (Message::OfClient(message), _) => {
                if let Some(gateway) = &mut self.gateway {
                    gateway.handle_client(env, link, message);
                }
            }
            (Message::ToNode(message), Peer::Node(node)) => self.nodes[node].handle(env, link, message),
            (Message::ToClient(message), Peer::Client(client)) => self.clients[client].handle(env, link, message),
            (Message::Welcome, Peer::Client(client)) => self.clients[client].welcomed(env, link),
            (Message::Welcome, Peer::Node(_)) => {}
            (message, peer) => env.shadow.fault(format!("{message:?} went to {peer:?}")),
        }
    }

    fn ends(&mut self, link: LinkId, side: Side) {
        match (side, self.env.peer_of(link)) {
            (Side::Gateway, _) => {
                if let Some(gateway) = &mut self.gateway {
                    gateway.link_ended(&mut self.env, link);
                }
            }
            (Side::Peer, Peer::Node(node)) => self.nodes[node].link_ended(&mut self.env, link),
            (Side::Peer, Peer::Client(client)) => self.clients[client].link_ended(&mut self.env, link),
        }
    }

    fn is_over(&self) -> bool {
        let is_resolved = |client: &Client| client.jobs.iter().all(client::ClientJob::is_resolved);
        self.gateway.as_ref().is_some_and(Gateway::is_idle) && self.clients.iter().all(is_resolved)
    }

    fn is_late(&self) -> bool {
        self.env.now.saturating_sub(self.quiet_since) > QUIET_MAX_US
    }

    /// Which jobs have no answer.
    fn what_is_left(&self) -> String {
        let jobs = self.clients.iter().flat_map(|client| &client.jobs).filter(|job| !job.is_resolved());
        let left: Vec<String> = jobs.map(|job| format!("{} ({})", job.id, stage_name(&job.stage))).collect();
        let live = self.gateway.as_ref().is_some_and(Gateway::has_live_jobs);
        let seconds = QUIET_MAX_US / SECOND;
        format!(
            "{seconds} s after the last fault {} jobs have not ended: {}; gateway at work: {live}",
            left.len(),
            left.join(", ")
        )
    }

    /// All have their answer: nobody may have anything left.
    fn check_end(&mut self) {
        let Some(gateway) = &self.gateway else { return };
        let shadow = &mut self.env.shadow;
        shadow.check_ledger(&gateway.reader);
        if shadow.jobs_left() > 0 || gateway.dispatcher.queued() > 0 {
            shadow.fault(format!("all have their answer, and the dispatcher has {} jobs", shadow.jobs_left()));
        }
        match gateway.reader.holds() {
            Ok(holds) if holds.is_empty() => {}
            left => shadow.fault(format!("all jobs have ended, and there are holds: {left:?}")),
        }
        if gateway.purses_in_use() > 0 {
            shadow.fault(format!("all jobs have ended, and {} purses are in use", gateway.purses_in_use()));
        }
    }
}

/// Faults.
impl World {
    fn strike(&mut self, strike: Strike) {
        if self.env.is_quiet {
            return;
        }
        match strike {
            Strike::Break => self.break_one(),
            Strike::Partition => self.cut_some(),
            Strike::NodeCrash => {
                let node = self.env.chance.below(self.nodes.len() as u64) as usize;
                self.nodes[node].crash(&mut self.env);
            }
            Strike::GatewayCrash => self.crash_gateway(),
            Strike::Stall if self.gateway.is_none() => {}
            Strike::Stall => {
                let us = self.env.chance.within_orders(10_000, 4 * SECOND);
                self.env.note(format_args!("gateway stands still for {us} us"));
                if self.env.plan.has(Fault::Breaks) {
                    // Whoever connects anew meanwhile finds it with what the old connection brought.
                    self.env.after(us / 2, Happening::Strikes(Strike::Break));
                }
                let until = self.stall.begin(self.env.now, us);
                self.env.at(until, Happening::GatewayGoesOn);
            }
            Strike::WallClock => {
                let is_held = self.gateway.as_ref().is_some_and(Gateway::has_holds);
                self.env.jump_wall_clock(is_held);
            }
            Strike::DiskError => {
                let syncs = self.env.chance.below(8);
                self.env.note(format_args!("disk fails after {syncs} syncs"));
                self.disk.fail_after(syncs);
            }
            Strike::Rogue => {
                let known = self.gateway.as_ref().map(Gateway::job_ids).unwrap_or_default();
                let node = self.env.chance.below(self.nodes.len() as u64) as usize;
                self.nodes[node].misbehave(&mut self.env, &known);
            }
        }
    }

    /// The gateway stood still for so long, and reads next what came meanwhile.
    fn goes_on(&mut self, stood_us: Option<u64>) {
        if let Some(us) = stood_us {
            self.env.note(format_args!("gateway goes on"));
            self.env.shadow.stood_still(us);
        }
    }

    fn break_one(&mut self) {
        let links = self.env.links_up();
        if links.is_empty() {
            return;
        }
        let link = self.env.chance.pick(&links);
        let peer = self.env.peer_of(link);
        self.env.note(format_args!("connection of {peer:?} breaks"));
        match peer {
            // It connects anew before anybody has noticed.
            Peer::Node(node) if self.env.chance.permille(400) => self.nodes[node].reconnect(&mut self.env),
            _ => self.env.break_link(link, None),
        }
    }

    fn cut_some(&mut self) {
        let us = self.env.chance.within_orders(100_000, 10 * SECOND);
        let share = self.env.chance.pick(&[100, 500, 1_000]);
        self.env.note(format_args!("{share} of 1000 peers are cut off for {us} us"));
        let peers = (0..self.nodes.len()).map(Peer::Node).chain((0..self.clients.len()).map(Peer::Client));
        for peer in peers.collect::<Vec<_>>() {
            if self.env.chance.permille(share) {
                self.env.cut(peer, us);
            }
        }
    }

    /// The process and its machine die. What was not synced is lost, or kept in part.
    fn crash_gateway(&mut self) {
        let Some(mut gateway) = self.gateway.take() else { return };
        // What it had not read yet nobody hears.
        self.stall.cut(self.env.now);
        self.env.note(format_args!("gateway crashes in its life {}", gateway.life));
        if gateway.has_live_jobs() {
            self.env.hit(Point::GatewayCrashed);
        }
        let links = gateway.peer_links();
        let leaves = gateway.reader.len().unwrap_or(0);
        if self.env.chance.permille(700) {
            // The power goes in the middle of the batch that is being written: after so many of its syncs.
            let syncs = self.env.chance.below(4);
            self.disk.fail_after(syncs);
        }
        let was_writing = gateway.die_writing();
        drop(gateway);
        let lot = self.env.chance.number();
        let survivors = match self.env.chance.below(3) {
            _ if !self.env.plan.has(Fault::TornWrites) => Survivors::Nothing,
            0 => Survivors::Everything,
            _ => Survivors::Torn(lot),
        };
        if matches!(survivors, Survivors::Torn(_)) {
            self.env.hit(Point::TornDisk);
        }
        self.disk = self.disk.after_power_cut(survivors);
        self.note_batch(was_writing, leaves);
        links.into_iter().for_each(|link| self.env.break_link(link, Some(Side::Gateway)));
        let down_us = if self.env.is_quiet { 0 } else { self.env.chance.within_orders(10_000, 4 * SECOND) };
        self.env.after(down_us, Happening::GatewayStarts);
    }

    /// Notes what the disk has of a batch that was being written.
    fn note_batch(&mut self, was_writing: bool, leaves: u64) {
        if !was_writing {
            return;
        }
        let kept = Ledger::open_with(self.disk.backend(), gateway_key().public());
        match kept.map(|ledger| ledger.tree().size) {
            Ok(size) => self.env.hit(if size > leaves { Point::BatchKeptInCrash } else { Point::BatchLostInCrash }),
            Err(error) => self.env.shadow.fault(format!("the ledger does not open after a crash: {error}")),
        }
    }

    /// Faults stop: paths are whole, the gateway's clock is right, nodes come back, the disk works.
    fn calm(&mut self) {
        self.env.note(format_args!("faults stop"));
        self.env.is_quiet = true;
        self.quiet_since = self.env.now;
        let stood_us = self.stall.cut(self.env.now);
        self.goes_on(stood_us);
        self.env.mend_paths();
        if self.env.gateway_wall_off_ms() != 0 {
            self.env.set_wall_clock(0);
        }
        if self.disk.is_failing() {
            self.crash_gateway();
        }
        self.nodes.iter_mut().for_each(|node| node.calm(&mut self.env));
        self.clients.iter_mut().for_each(|client| client.calm(&mut self.env));
    }
}

/// Whether a gateway that stands still has to wait for it.
fn is_for_gateway(happening: &Happening) -> bool {
    match happening {
        Happening::Greets { .. } | Happening::Gateway { .. } => true,
        Happening::Arrives { message, .. } => matches!(message, Message::OfNode(_) | Message::OfClient(_)),
        Happening::Ends { side, .. } => *side == Side::Gateway,
        _ => false,
    }
}

fn stage_name(stage: &JobStage) -> &'static str {
    match stage {
        JobStage::Open => "open",
        JobStage::Ran { .. } => "ran",
        JobStage::Settled => "settled",
        JobStage::Failed => "failed",
    }
}
