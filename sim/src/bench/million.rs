//! A million jobs over a hundred thousand nodes in virtual time, with nodes that leave and come back.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use adit_dispatch::{Action, Config, Dispatcher, Event, Report, Tick};
use adit_protocol::{Attempt, Fuel, JobId, PublicKey, Usage};
use anyhow::{Result, ensure};

use crate::figure::{Figure, Goal, Rounds, Title};
use crate::fleet::{Fleet, Machine};

/// An hour, in microseconds: all jobs come within it.
const HOUR: u64 = 3_600_000_000;

/// Nodes that leave within an hour, of a thousand.
const CHURN_PERMILLE: u64 = 50;

/// How long a node stays away.
const AWAY_US: (u64, u64) = (1_000_000, 1_200_000_000);

/// How often each path is measured.
const PATHS_EVERY_US: u64 = 60_000_000;

enum Happening {
    Submit,
    Ends {
        node: usize,
        life: u32,
        job: JobId,
        attempt: Attempt,
    },
    Leaves {
        node: usize,
    },
    Returns {
        node: usize,
    },
    /// The path of a node is measured.
    Path {
        node: usize,
    },
}

struct Place {
    key: PublicKey,
    machine: Machine,
    /// Times that it left.
    life: u32,
    is_here: bool,
}

/// What became of the jobs.
#[derive(Debug, Default)]
struct Ends {
    finished: u64,
    refused: u64,
    lost: u64,
    again: u64,
}

struct Run {
    fleet: Fleet,
    dispatcher: Dispatcher,
    nodes: Vec<Place>,
    by_key: HashMap<PublicKey, usize>,
    /// The fuel of each job that has not ended.
    fuel: HashMap<JobId, u64>,
    agenda: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
    now: u64,
    ends: Ends,
}

/// Runs all jobs to their ends. The figure is events per second of real time.
pub(crate) fn measure(jobs: u64, nodes: usize) -> Result<Figure> {
    let begun = Instant::now();
    let mut run = Run::new(nodes);
    run.plan(jobs, nodes);
    let mut events = 0u64;
    while let Some(((at, _), happening)) = run.agenda.pop_first() {
        run.catch_up(at);
        run.now = at;
        run.handle(happening);
        events += 1;
        if run.ends.all() == jobs {
            break;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let Ends { finished, refused, lost, again } = run.ends;
    eprintln!("{jobs} jobs over {nodes} nodes: {finished} finished, {refused} refused, {lost} lost, {again} begun again");
    eprintln!("{events} events and {:.2} h of virtual time in {seconds:.1} s", run.now as f64 / HOUR as f64);
    ensure!(run.ends.all() == jobs && run.fuel.is_empty() && run.dispatcher.queued() == 0, "some jobs did not end");
    ensure!(
        finished == jobs,
        "{refused} jobs were refused and {lost} lost: the nodes have room for all, and no job loses three of them"
    );
    let title = Title { name: "million_jobs", unit: "s", reference: "virtual time", goal: Goal::None };
    let mut rounds = Rounds::default();
    rounds.push(seconds, run.now as f64 / 1e6);
    Ok(rounds.figure(title))
}

impl Ends {
    fn all(&self) -> u64 {
        self.finished + self.refused + self.lost
    }
}

impl Run {
    fn new(nodes: usize) -> Self {
        let mut run = Self {
            fleet: Fleet::new(),
            dispatcher: Dispatcher::new(Config::default()),
            nodes: Vec::with_capacity(nodes),
            by_key: HashMap::new(),
            fuel: HashMap::new(),
            agenda: BTreeMap::new(),
            scheduled: 0,
            now: 0,
            ends: Ends::default(),
        };
        for node in 0..nodes {
            let key = run.fleet.key();
            run.by_key.insert(key, node);
            run.nodes.push(Place { key, machine: Machine { speed: 1, rtt_us: 1 }, life: 0, is_here: false });
            run.join(node);
        }
        run
    }

    /// Strews jobs, departures and measurements over the hour.
    fn plan(&mut self, jobs: u64, nodes: usize) {
        for n in 0..jobs {
            self.at(n * HOUR / jobs, Happening::Submit);
        }
        for _ in 0..nodes as u64 * CHURN_PERMILLE / 1_000 {
            let (at, node) = (self.fleet.chance().below(HOUR), self.fleet.chance().below(nodes as u64) as usize);
            self.at(at, Happening::Leaves { node });
        }
        for node in 0..nodes {
            self.at(node as u64 * PATHS_EVERY_US / nodes as u64, Happening::Path { node });
        }
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.scheduled += 1;
        self.agenda.insert((at, self.scheduled), happening);
    }

    /// Lets the dispatcher's deadlines come that lie before the next happening.
    fn catch_up(&mut self, until: u64) {
        while let Some(next) = self.dispatcher.poll_timeout().filter(|next| next.0 <= until) {
            self.now = next.0;
            self.dispatcher.handle_timeout(next);
            self.act();
        }
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Submit => {
                let (job, request, fuel) = self.fleet.job();
                self.fuel.insert(job, fuel);
                self.tell(Event::Submitted { job, request: Box::new(request) });
            }
            Happening::Ends { node, life, job, attempt } if self.nodes[node].life == life => self.report(node, job, attempt),
            Happening::Ends { .. } => {}
            Happening::Leaves { node } if self.nodes[node].is_here => {
                let place = &mut self.nodes[node];
                (place.is_here, place.life) = (false, place.life + 1);
                let key = place.key;
                let away_us = self.fleet.chance().within(AWAY_US.0, AWAY_US.1);
                self.at(self.now + away_us, Happening::Returns { node });
                self.tell(Event::NodeLeft { node: key });
            }
            Happening::Leaves { .. } => {}
            Happening::Returns { node } => self.join(node),
            Happening::Path { node } => {
                let Place { key, machine, is_here, .. } = self.nodes[node];
                let rtt_us = machine.rtt_us + self.fleet.chance().below(machine.rtt_us / 8 + 1);
                if is_here {
                    self.tell(Event::NodePath { node: key, rtt_us, spread_us: machine.rtt_us / 16 });
                }
                self.at(self.now + PATHS_EVERY_US, Happening::Path { node });
            }
        }
    }

    fn join(&mut self, node: usize) {
        let key = self.nodes[node].key;
        let (event, machine) = self.fleet.node(key);
        let place = &mut self.nodes[node];
        (place.machine, place.is_here) = (machine, true);
        self.tell(event);
        self.tell(Event::NodePath { node: key, rtt_us: machine.rtt_us, spread_us: machine.rtt_us / 16 });
    }

    fn report(&mut self, node: usize, job: JobId, attempt: Attempt) {
        let key = self.nodes[node].key;
        if self.dispatcher.lease(job, attempt) == Some(key)
            && let Some(fuel) = self.fuel.remove(&job)
        {
            self.ends.finished += 1;
            let report = Report { usage: Usage { fuel: Fuel(fuel), ..Usage::default() }, ..Report::default() };
            return self.tell(Event::AttemptFinished { node: key, job, attempt, report });
        }
        self.tell(Event::AttemptFinished { node: key, job, attempt, report: Report::default() });
    }

    fn tell(&mut self, event: Event) {
        self.dispatcher.handle(Tick(self.now), event);
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.dispatcher.poll_action() {
            match action {
                Action::Start { job, attempt, node, .. } => self.start(job, attempt, node),
                Action::Refuse { job, .. } => {
                    self.fuel.remove(&job);
                    self.ends.refused += 1;
                }
                Action::Lost { job, .. } => {
                    self.fuel.remove(&job);
                    self.ends.lost += 1;
                }
                Action::Waits { .. } | Action::Stop { .. } | Action::Abandon { .. } | Action::CancelledInQueue { .. } => {}
            }
        }
    }

    fn start(&mut self, job: JobId, attempt: Attempt, key: PublicKey) {
        self.ends.again += u64::from(attempt.0 > 1);
        let node = self.by_key[&key];
        let Place { machine, life, .. } = self.nodes[node];
        let fuel = self.fuel.get(&job).copied().unwrap_or(0);
        let us = machine.rtt_us + (u128::from(fuel) * 1_000_000 / u128::from(machine.speed)) as u64;
        self.at(self.now + us, Happening::Ends { node, life, job, attempt });
    }
}
