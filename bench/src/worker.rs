//! What a job costs on its node beside bare Wasmtime: inside of a sandbox worker, through the supervisor, after a restart, and where the
//! module was never seen.

mod bare;
mod cell;
mod supervised;

use std::thread;
use std::time::{Duration, Instant};

use adit_protocol::{BlobRef, JobSpec};
use anyhow::{Context, Result, ensure};

use self::bare::{Bare, FromFile};
use self::cell::{Cell, Kind};
use self::supervised::{Program, Supervised};
use crate::echo::micros;
use crate::figure::{Figure, Goal, Rounds, Title};
use crate::guest;
use crate::net::scratch_folder;
use crate::plan::Plan;

pub(crate) use self::cell::run_if_cell;

/// A no-op guest of a megabyte: instance, call and end, with all else that a worker does for a job behind its walls, from the bytes of the
/// order to the bytes of the answer. What is left out is the socket. Processor time, all threads of the process together.
const INSIDE: Title = Title { name: "worker_job", unit: "us", reference: "bare wasmtime, pooling", goal: Goal::AtMost(1.5) };
/// Two such workers at once.
const TWO: Title = Title { name: "worker_two", unit: "/s", reference: "one worker", goal: Goal::AtLeast(1.25) };
/// The same guest, from the runtime's caller and back, by the median.
const SUPERVISED: Title =
    Title { name: "worker_call", unit: "us", reference: "bare wasmtime, pooling", goal: Goal::MoreByAtMost(40.0) };
/// A program of a megabyte that is in the cache of a node that started anew: from the request to the answer. That the supervisor and its
/// worker have begun, which the module has no part in, a smaller job has shown before.
const RESTARTED: Title =
    Title { name: "worker_restart", unit: "us", reference: "bare wasmtime from a .cwasm", goal: Goal::Within(5_000.0) };
/// A program of four megabytes that nobody has seen: from the request to the answer.
const FIRST: Title =
    Title { name: "worker_first", unit: "ms", reference: "wasmtime's default, no cache", goal: Goal::AtMost(0.25) };

/// How long cells and the supervisor work in each round.
const SLICE: Duration = Duration::from_millis(40);
/// Rounds of the cells for each of the plan's: what else the machine does takes a processor away for as long as one.
const CELL_ROUNDS: usize = 3;
/// Bytes of a module that nobody has seen.
const FIRST_BYTES: usize = 4_000_000;

/// All figures.
pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let mut figures = inside(plan).await?;
    figures.push(supervised(plan).await?);
    figures.push(restarted(plan).await?);
    figures.push(first(plan).await?);
    Ok(figures)
}

async fn inside(plan: &Plan) -> Result<Vec<Figure>> {
    let folder = scratch_folder()?;
    let program = Program::write(&guest::idle(&guest::kernels()?)?, folder.path(), "idle.wasm")?;
    let code = Supervised::start(folder.path())?.compile(&program).await?;
    let start = |kind| Cell::start(kind, program.file(), &code);
    let (mut one, mut other, mut bare) = (start(Kind::Worker)?, start(Kind::Worker)?, start(Kind::Bare)?);
    let (mut inside, mut two) = (Rounds::default(), Rounds::default());
    for _ in 0..plan.kernel_rounds * CELL_ROUNDS {
        let (ours, theirs) = (one.work(SLICE)?, bare.work(SLICE)?);
        inside.push(ours.cpu_us, theirs.cpu_us);
        one.order(SLICE)?;
        other.order(SLICE)?;
        two.push(one.answer()?.per_second + other.answer()?.per_second, ours.per_second);
    }
    Ok(vec![inside.figure(INSIDE), two.figure(TWO)])
}

async fn supervised(plan: &Plan) -> Result<Figure> {
    let folder = scratch_folder()?;
    let wasm = guest::idle(&guest::kernels()?)?;
    let program = Program::write(&wasm, folder.path(), "idle.wasm")?;
    let bare = Bare::pooling(&wasm).map_err(into_anyhow)?;
    let node = Supervised::start(folder.path())?;
    node.compile(&program).await?;
    node.latency(&program, plan.warm_up).await?;
    let mut rounds = Rounds::default();
    for _ in 0..plan.kernel_rounds {
        let ours = node.latency(&program, SLICE).await?;
        rounds.push(ours, bare.latency(SLICE).map_err(into_anyhow)?);
    }
    Ok(rounds.figure(SUPERVISED))
}

async fn restarted(plan: &Plan) -> Result<Figure> {
    let folder = scratch_folder()?;
    let wasm = guest::kernels()?;
    let known = Program::write(&wasm, folder.path(), "known.wasm")?;
    let small = Program::write(&guest::echo()?, folder.path(), "small.wasm")?;
    let bare = FromFile::prepare(&wasm, folder.path()).map_err(into_anyhow)?;
    Supervised::start(folder.path())?.compile(&known).await?;
    let mut rounds = Rounds::default();
    for _ in 0..plan.kernel_rounds {
        let node = Supervised::start(folder.path())?;
        node.run(&small).await?;
        let asked = Instant::now();
        let (output, compiled) = node.run(&known).await?;
        let ours = micros(asked.elapsed());
        ensure!(compiled.is_zero(), "the module was compiled again");
        rounds.push(ours, micros(answer_of(&output, || bare.run())?));
    }
    Ok(rounds.figure(RESTARTED))
}

async fn first(plan: &Plan) -> Result<Figure> {
    let folder = scratch_folder()?;
    let kernels = guest::kernels()?;
    let larger =
        (1..).map(|copies| guest::repeated(&kernels, copies)).find(|wasm| wasm.as_ref().is_ok_and(|w| w.len() >= FIRST_BYTES));
    let large = larger.context("no number is the last")??;
    let node = Supervised::start(folder.path())?;
    let mut rounds = Rounds::default();
    for round in 0..plan.rounds {
        let wasm = guest::marked(&large, round as u64);
        let program = Program::write(&wasm, folder.path(), "large.wasm")?;
        let asked = Instant::now();
        let (output, _) = node.run(&program).await?;
        let ours = micros(asked.elapsed()) / 1e3;
        node.settle(&program).await;
        let theirs = answer_of(&output, || Bare::by_default(&wasm)?.run())?;
        rounds.push(ours, micros(theirs) / 1e3);
    }
    Ok(rounds.figure(FIRST))
}

/// How long bare Wasmtime takes to come to the same output. On a thread of its own, because its calls of WASI drive an event loop of
/// their own.
fn answer_of(output: &[u8], answer: impl FnOnce() -> wasmtime::Result<Vec<u8>> + Send) -> Result<Duration> {
    let answered = thread::scope(|scope| {
        let timed = scope.spawn(|| {
            let asked = Instant::now();
            answer().map(|answer| (answer, asked.elapsed()))
        });
        timed.join()
    });
    let (answer, took) = answered.map_err(|_| anyhow::anyhow!("the reference panicked"))?.map_err(into_anyhow)?;
    ensure!(answer == output, "two answers");
    Ok(took)
}

/// A job without input.
fn spec(wasm: &[u8]) -> JobSpec {
    JobSpec::new(BlobRef::of(wasm), BlobRef::of(b""))
}

fn into_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow::Error::from_boxed(error.into_boxed_dyn_error())
}
