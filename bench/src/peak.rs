//! Ten times the work that there is room for: what is still done of it, and how soon the rest is refused.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use adit_client::{Client, Config, Job, JobError, Source, Update};
use adit_protocol::{Query, Refusal, SecretKey};
use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::figure::{Figure, Goal, Rounds, Title};
use crate::guest;
use crate::net::Wide;
use crate::plan::Plan;

/// What a job does: some 5 ms of a core.
const TURNS: u64 = 5_000_000;

/// Jobs that may wait: some tenths of a second of work.
const QUEUE: &str = "64";

/// Keys that the load comes from.
const KEYS: usize = 32;

/// Jobs at once where it is measured how much can be done: the queue is never empty and never full.
const IN_FLIGHT: usize = 32;

/// How much more is offered than can be done.
const TIMES: f64 = 10.0;

/// Jobs that come at once and are all to be done, with the library's patience.
const PATIENT_JOBS: usize = 512;

const GOODPUT: Title =
    Title { name: "peak_goodput", unit: "/s", reference: "32 in flight, none refused", goal: Goal::AtLeast(0.8) };
const REFUSAL_P50: Title =
    Title { name: "peak_refusal_p50", unit: "ms", reference: "a question, nothing else to do", goal: Goal::Within(50.0) };
const REFUSAL_P99: Title = Title { name: "peak_refusal_p99", ..REFUSAL_P50 };
const PATIENT: Title = Title { name: "peak_patient", unit: "/s", reference: "32 in flight, none refused", goal: Goal::None };

/// One node of one slot behind a small queue.
struct Scene {
    /// Each has a key of its own, and takes a refusal for an answer.
    clients: Vec<Client>,
    /// As many that come back.
    patient: Vec<Client>,
    module: Source,
    _network: Wide,
}

/// What came of an open load.
#[derive(Default)]
struct Flood {
    /// Ended per second, while it came.
    done: f64,
    /// Milliseconds from submission to refusal, in order.
    refusals: Vec<f64>,
}

pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let scene = Scene::start().await?;
    scene.peak(plan.warm_up).await?;
    let [mut goodput, mut p50, mut p99, mut patient] = [(); 4].map(|()| Rounds::default());
    for _ in 0..plan.rounds {
        let peak = scene.peak(plan.round).await?;
        let question = scene.question().await?;
        let flood = scene.flood(peak * TIMES, 2 * plan.round).await?;
        goodput.push(flood.done, peak);
        p50.push(part(&flood.refusals, 50), question);
        p99.push(part(&flood.refusals, 99), question);
        patient.push(scene.all_done().await?, peak);
    }
    Ok(vec![goodput.figure(GOODPUT), p50.figure(REFUSAL_P50), p99.figure(REFUSAL_P99), patient.figure(PATIENT)])
}

/// The value that so many of a hundred are not over.
fn part(sorted: &[f64], hundredths: usize) -> f64 {
    sorted[(sorted.len() * hundredths).div_ceil(100) - 1]
}

impl Scene {
    async fn start() -> Result<Self> {
        let mut network = Wide::start(&["--queue-max", QUEUE]).await?;
        let gateway = network.gateway().clone();
        let connect = async |patience: Duration| {
            let config = || Config { patience, ..Config::default() };
            try_join_all((0..KEYS).map(|_| Client::connect_with(SecretKey::generate(), gateway.clone(), config()))).await
        };
        let (clients, patient) = (connect(Duration::ZERO).await?, connect(Config::default().patience).await?);
        network.add_node(&clients[0], &gateway, &["--slots", "1"]).await?;
        Ok(Self { clients, patient, module: Source::bytes(guest::work(TURNS)?), _network: network })
    }

    fn job(&self) -> Job {
        Job::new(self.module.clone(), Source::bytes(Vec::new()))
    }

    /// Jobs that end per second where as many are under way as have room.
    async fn peak(&self, time: Duration) -> Result<f64> {
        let begun = Instant::now();
        let lane = async |n: usize| {
            let mut ended = 0u32;
            while begun.elapsed() < time {
                self.clients[n % KEYS].submit(self.job()).ended().await?;
                ended += 1;
            }
            Ok::<u32, anyhow::Error>(ended)
        };
        let ended: u32 = try_join_all((0..IN_FLIGHT).map(lane)).await?.into_iter().sum();
        Ok(f64::from(ended) / begun.elapsed().as_secs_f64())
    }

    /// The milliseconds of a question while nothing else is asked.
    async fn question(&self) -> Result<f64> {
        let mut times = Vec::new();
        for client in &self.clients {
            let begun = Instant::now();
            client.ask(Query::Account).await?;
            times.push(millis(begun.elapsed()));
        }
        Ok(crate::figure::median(times))
    }

    /// Submits so many jobs per second, whatever becomes of them, and waits until each has ended or was refused.
    async fn flood(&self, per_second: f64, time: Duration) -> Result<Flood> {
        let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (begun, mut under_way, mut offered) = (Instant::now(), JoinSet::new(), 0u32);
        while begun.elapsed() < time {
            ticks.tick().await;
            let mut handle = self.clients[offered as usize % KEYS].submit(self.job());
            offered += 1;
            let submitted = Instant::now();
            under_way.spawn(async move {
                let ended = handle.ended().await;
                (submitted.elapsed(), begun.elapsed() < time, ended.map(drop))
            });
        }
        let reached = f64::from(offered) / begun.elapsed().as_secs_f64();
        ensure!(reached > 0.9 * per_second, "{reached:.0} of {per_second:.0} submissions per second were made");
        let (mut done, mut flood) = (0u32, Flood::default());
        while let Some(ended) = under_way.join_next().await {
            let (took, in_time, ended) = ended?;
            match ended {
                Ok(()) => done += u32::from(in_time),
                Err(JobError::Refused { refusal: Refusal::QueueFull { retry_after_ms: 1.., .. }, .. }) => {
                    flood.refusals.push(millis(took));
                }
                Err(error) => bail!("under load: {error}"),
            }
        }
        ensure!(!flood.refusals.is_empty(), "nothing was refused");
        flood.refusals.sort_unstable_by(f64::total_cmp);
        flood.done = f64::from(done) / time.as_secs_f64();
        Ok(flood)
    }

    /// Submits many jobs at once with the library's patience. Each is settled, once. How many per second.
    async fn all_done(&self) -> Result<f64> {
        let (begun, mut jobs, mut postponed) = (Instant::now(), BTreeSet::new(), 0u32);
        let handles = (0..PATIENT_JOBS).map(|n| self.patient[n % KEYS].submit(self.job()));
        for mut handle in handles.collect::<Vec<_>>() {
            loop {
                match handle.next().await?.context("a job ends with its settlement")? {
                    Update::Postponed { .. } => postponed += 1,
                    Update::Settled(settled) => {
                        ensure!(jobs.insert(settled.done.receipt.receipt().job), "a job was settled twice");
                        break;
                    }
                    _ => {}
                }
            }
        }
        ensure!(postponed > 0, "all had room");
        Ok(PATIENT_JOBS as f64 / begun.elapsed().as_secs_f64())
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_hundred_is_the_least_value_that_so_many_are_not_over() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!([part(&values, 50), part(&values, 99), part(&values, 100)], [100.0, 198.0, 200.0]);
        assert_eq!(part(&[7.0], 50), 7.0);
    }
}
