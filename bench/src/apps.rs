//! What an application costs as a metered guest beside the same code built for this machine: the five of `examples/`, in processor time.
//!
//! Both sides get the same bytes and have to write the same, in each round anew. The guest runs through the runtime that nodes use, in a
//! sandbox worker; what it takes to compile it and to start the worker is not counted. The native program is built with the guests' own
//! settings (the cargo profile `guest`), and is a process for each run, whose start counts.

mod case;
mod guest;
mod native;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::case::Case;
use self::guest::Guest;
use crate::figure::{Figure, Goal, Rounds, Title, geometric_mean, spread};
use crate::net::scratch_folder;
use crate::on_thread;
use crate::plan::Plan;

/// Over the five applications; one that is measured twice counts once, by the mean of both.
const MEAN: Title = Title { name: "apps_mean", unit: "x", reference: case::NATIVE, goal: Goal::AtMost(1.6) };

/// All figures.
pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let folder = scratch_folder()?;
    let at = folder.path().to_owned();
    let mut contests = Vec::new();
    for case in on_thread(move || case::prepare(&at)).await? {
        let name = case.title.name;
        contests.push(Contest::open(case, folder.path().join(name)).await.context(name)?);
    }
    // Round by round over all of them, so that what else the machine does hits each application alike.
    for round in 0..plan.rounds {
        for contest in &mut contests {
            contest.round(round).await.with_context(|| contest.case.title.name)?;
        }
    }
    Ok(figures(contests.into_iter().map(|contest| (contest.case.application, contest.case.title, contest.rounds)).collect()))
}

/// A guest and its native program, with what they took so far.
struct Contest {
    case: Arc<Case>,
    /// Where the native program's output goes.
    folder: PathBuf,
    guest: Guest,
    rounds: Rounds,
}

/// What either side came to.
#[derive(Debug)]
struct Run {
    output: Vec<u8>,
    /// Processor time, of all threads.
    cpu: Duration,
}

impl Contest {
    /// Compiles the guest, and has both sides run once: the first run finds nothing where later ones do.
    async fn open(case: Case, folder: PathBuf) -> Result<Self> {
        std::fs::create_dir(&folder)?;
        let guest = Guest::open(&case, &folder).await?;
        let mut contest = Self { case: Arc::new(case), folder, guest, rounds: Rounds::default() };
        contest.round(0).await?;
        contest.rounds = Rounds::default();
        Ok(contest)
    }

    /// Runs both, in an order that turns.
    async fn round(&mut self, round: usize) -> Result<()> {
        let (ours, theirs) = if round.is_multiple_of(2) {
            let ours = self.guest.run().await?;
            (ours, self.run_native().await?)
        } else {
            let theirs = self.run_native().await?;
            (self.guest.run().await?, theirs)
        };
        check_same(&ours.output, &theirs.output)?;
        self.rounds.push(millis(ours.cpu), millis(theirs.cpu));
        Ok(())
    }

    async fn run_native(&self) -> Result<Run> {
        let (case, folder) = (Arc::clone(&self.case), self.folder.clone());
        on_thread(move || native::run(&case.program, &case.native_args, &case.input, &folder)).await
    }
}

/// A ratio of two programs that do not do the same would say nothing.
fn check_same(guest: &[u8], native: &[u8]) -> Result<()> {
    ensure!(!guest.is_empty(), "the guest wrote nothing");
    ensure!(guest == native, "the guest wrote {} bytes, the native program {} others", guest.len(), native.len());
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The figure of each measurement, and their mean.
fn figures(measured: Vec<(&'static str, Title, Rounds)>) -> Vec<Figure> {
    let by_application: Vec<_> = measured.iter().map(|(application, _, rounds)| (*application, rounds.ratios())).collect();
    let rounds = by_application.iter().map(|(_, ratios)| ratios.len()).min().unwrap_or(0);
    let in_round = |round| mean(by_application.iter().map(|(application, ratios)| (*application, ratios[round])));
    let means: Vec<f64> = (0..rounds).map(in_round).collect();
    let (applications, mut figures): (Vec<_>, Vec<_>) =
        measured.into_iter().map(|(application, title, rounds)| (application, rounds.figure(title))).unzip();
    let ratio = mean(applications.into_iter().zip(figures.iter().map(|figure| figure.ratio)));
    figures.push(Figure { spread: spread(&means), ..MEAN.ratio(ratio) });
    figures
}

/// The geometric mean of the applications' ratios, each of which is that of its own.
fn mean<'a>(ratios: impl Iterator<Item = (&'a str, f64)>) -> f64 {
    let mut applications = BTreeMap::<&str, Vec<f64>>::new();
    ratios.for_each(|(application, ratio)| applications.entry(application).or_default().push(ratio));
    geometric_mean(&applications.values().map(|ratios| geometric_mean(ratios)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(pairs: [(f64, f64); 3]) -> Rounds {
        let mut rounds = Rounds::default();
        pairs.into_iter().for_each(|(ours, theirs)| rounds.push(ours, theirs));
        rounds
    }

    #[test]
    fn application_that_is_measured_twice_counts_once() {
        let measured = vec![
            ("tables", MEAN, rounds([(2.0, 1.0), (2.0, 1.0), (4.0, 1.0)])),
            ("light", MEAN, rounds([(3.0, 1.0), (6.0, 2.0), (3.0, 1.0)])),
            ("tables", MEAN, rounds([(8.0, 1.0), (8.0, 1.0), (16.0, 1.0)])),
        ];
        let figures = figures(measured);
        assert_eq!(figures.iter().map(|figure| figure.ratio).collect::<Vec<_>>()[..3], [2.0, 3.0, 8.0]);
        let [least, most] = figures[3].spread.unwrap();
        let near = |value: f64, square: f64| (value * value - square).abs() < 1e-9;
        assert!(near(figures[3].ratio, 4.0 * 3.0) && near(least, 4.0 * 3.0) && near(most, 8.0 * 3.0), "{:?}", figures[3]);
    }

    #[test]
    fn outputs_that_differ_or_are_none_make_no_figure() {
        assert!(check_same(b"12", b"12").is_ok());
        for (guest, native) in [(&b""[..], &b""[..]), (b"12", b"13"), (b"12", b"1"), (b"", b"1")] {
            assert!(check_same(guest, native).is_err(), "{guest:?} {native:?}");
        }
    }
}
