//! `cargo xtask bench dispatch`: what a decision costs with up to 100,000 nodes, what a node takes in memory, and a million jobs in one
//! process.
//!
//! `adit-sim-bench --nodes N --decisions K` makes decisions alone, for a profiler. Instructions say how the work grows where times say how
//! much of it misses the caches:
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='*decide::decide' target/release/adit-sim-bench --nodes 100000 --decisions 2000
//! ```
#![forbid(unsafe_code)]

mod decide;
// The table is that of the other figures.
#[path = "../../../bench/src/figure.rs"]
#[allow(dead_code, reason = "the other figures use more of it")]
mod figure;
mod fleet;
mod million;

use anyhow::{Result, bail};
use lexopt::{Arg, ValueExt};

use crate::figure::Figure;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Decisions at each number of nodes.
    decisions: usize,
    /// Jobs of the one large run, and its nodes.
    jobs: u64,
    nodes: usize,
}

const FULL: Plan = Plan { decisions: 50_000, jobs: 1_000_000, nodes: 100_000 };
const QUICK: Plan = Plan { decisions: 10_000, jobs: 50_000, nodes: 10_000 };

fn main() -> Result<()> {
    let (mut json, mut plan, mut nodes, mut decisions) = (false, FULL, None, FULL.decisions);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("json") => json = true,
            Arg::Long("quick") => plan = QUICK,
            Arg::Long("nodes") => nodes = Some(args.value()?.parse()?),
            Arg::Long("decisions") => decisions = args.value()?.parse()?,
            other => bail!(other.unexpected()),
        }
    }
    if !json {
        println!("{:<17} {:>16} {:>17} {:>7}  {:<15}", "figure", "ours", "reference", "ratio", "goal");
    }
    if let Some(nodes) = nodes {
        return print(&decide::measure_at(nodes, decisions)?, json);
    }
    for figure in decide::measure(plan.decisions)? {
        print(&figure, json)?;
    }
    print(&million::measure(plan.jobs, plan.nodes)?, json)
}

fn print(figure: &Figure, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(figure)?);
    } else {
        println!("{figure}");
    }
    Ok(())
}
