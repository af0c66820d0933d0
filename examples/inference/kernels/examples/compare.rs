//! Runs each kernel as a metered guest and natively, on the products of all-MiniLM-L6-v2, and prints what they take as a table in Markdown.
//!
//! `compare ADIT [GFLOP [ROUNDS]]`: ADIT is the program, GFLOP how much each run computes. Time is processor time, of the best of ROUNDS;
//! that of a run with a single product is taken off, and with it start and compilation.
#![forbid(unsafe_code)]

use std::fs;
use std::process::{Command, Output};

const KERNELS: [&str; 6] = ["ours", "ours-anew", "rten", "rten-anew", "ndarray", "candle"];
/// Depth and width: of attention's layers, and of the two behind it.
const LAYERS: [[usize; 2]; 3] = [[384, 384], [384, 1536], [1536, 384]];
/// Pieces of a batch: a line, a paragraph, a long one.
const ROWS: [usize; 3] = [8, 64, 256];

const GUEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/wasm32-wasip1/release/adit-inference-kernels.wasm");
const NATIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/release/adit-inference-kernels");
/// More than any run takes.
const LIMITS: [&str; 4] = ["--fuel", "1000G", "--timeout", "10m"];
/// In which Linux counts a process's time.
const TICKS_A_SECOND: f64 = 100.0;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let adit = args.first().ok_or("usage: compare ADIT [GFLOP [ROUNDS]]")?;
    let giga = args.get(1).map_or(Ok(10.0), |giga| giga.parse::<f64>())?;
    let rounds = args.get(2).map_or(Ok(3), |rounds| rounds.parse::<usize>())?;
    println!("| product | kernel | guest, GFLOP/s | native, GFLOP/s | Mfuel | same bytes |\n|---|---|---|---|---|---|");
    for [depth, width] in LAYERS {
        for rows in ROWS {
            for kernel in KERNELS {
                let contest = Contest { adit, kernel, shape: [rows, depth, width] };
                println!("{}", contest.row(giga, rounds)?);
            }
        }
    }
    Ok(())
}

/// A kernel on one product.
struct Contest<'a> {
    adit: &'a str,
    kernel: &'a str,
    shape: [usize; 3],
}

impl Contest<'_> {
    /// A line of the table.
    fn row(&self, giga: f64, rounds: usize) -> Outcome<String> {
        let [rows, depth, width] = self.shape;
        let work = 2.0 * (rows * depth * width) as f64 / 1e9;
        let times = (giga / work).ceil() as usize;
        let guest = seconds(rounds, times, |times| self.guest(&["--json"], times))?;
        let native = seconds(rounds, times, |times| self.native(times))?;
        let fuel = |times| fuel(&run(&mut self.guest(&["--json"], times))?.1);
        let mega_fuel = (fuel(times + 1)? - fuel(1)?) as f64 / times as f64 / 1e6;
        let same = run(&mut self.guest(&[], 1))?.1.stdout == run(&mut self.native(1))?.1.stdout;
        let [guest, native] = [guest, native].map(|seconds| work * times as f64 / seconds);
        let (kernel, same) = (self.kernel, if same { "yes" } else { "no" });
        Ok(format!("| {rows}x{depth}x{width} | {kernel} | {guest:.1} | {native:.1} | {mega_fuel:.2} | {same} |"))
    }

    fn guest(&self, flags: &[&str], times: usize) -> Command {
        let mut command = Command::new(self.adit);
        command.args(["run", "--local", GUEST]).args(LIMITS).args(flags).arg("--").args(self.args(times));
        command
    }

    /// On one thread, as guests are.
    fn native(&self, times: usize) -> Command {
        let mut command = Command::new(NATIVE);
        command.args(self.args(times)).env("RAYON_NUM_THREADS", "1");
        command
    }

    fn args(&self, times: usize) -> impl Iterator<Item = String> {
        let [rows, depth, width] = self.shape;
        [self.kernel.to_owned()].into_iter().chain([rows, depth, width, times].map(|number| number.to_string()))
    }
}

/// Processor time of so many products.
fn seconds(rounds: usize, times: usize, command: impl Fn(usize) -> Command) -> Outcome<f64> {
    // The first run compiles.
    run(&mut command(1))?;
    let (mut one, mut many) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        one = run(&mut command(1))?.0.min(one);
        many = run(&mut command(times + 1))?.0.min(many);
    }
    Ok(many - one)
}

/// Runs a command to its end, and says what processor time it took with all that it started.
fn run(command: &mut Command) -> Outcome<(f64, Output)> {
    let before = children_seconds()?;
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok((children_seconds()? - before, output))
}

/// Processor time of all children that have ended, and of theirs; see `proc_pid_stat(5)`.
fn children_seconds() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, behind_the_name) = stat.rsplit_once(')').ok_or("/proc/self/stat is other than expected")?;
    let fields = behind_the_name.split_whitespace().skip(13).take(2);
    Ok(fields.map(str::parse::<u64>).sum::<Result<u64, _>>()? as f64 / TICKS_A_SECOND)
}

fn fuel(run: &Output) -> Outcome<u64> {
    let object: serde_json::Value = serde_json::from_slice(&run.stdout)?;
    Ok(object["usage"]["fuel"].as_u64().ok_or("the run tells no fuel")?)
}
