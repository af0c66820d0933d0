//! `adit profile`: a job run here, and where its fuel went.

use std::path::{Path, PathBuf};
use std::time::Duration;

use adit_protocol::Fuel;
use adit_runtime::{FuelProfile, Place};
use anyhow::{Context, bail};
use clap::Args;
use inferno::flamegraph;
use serde::Serialize;

use crate::args::{Common, GuestArgs, JobArgs, WorkArgs};
use crate::exit::Exit;
use crate::local;
use crate::names::Names;
use crate::node;
use crate::reactor::block_on;
use crate::report::End;
use crate::run::or_report;
use crate::screen::Screen;
use crate::sink::{AtomicFile, Sink};
use crate::spec::{Start, Submission, Terms};
use crate::table::{Table, print_json};
use crate::visible::visible;

/// How long a job may run here unless `--timeout` says otherwise: one that is looked at takes some times as long as usual.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Run a job here and tell where its fuel went, function by function
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit profile wordcount.wasm --input book.txt
  adit profile wordcount.wasm --input book.txt --svg fuel.svg        # a flame graph, for a browser
  adit profile tool.wasm --folded fuel.txt -- --depth 3              # for speedscope, flamegraph.pl, inferno

The job runs in the same sandbox as with `adit run --local`, some times slower, ends in the same way and comes to the same bill. The own
fuel of all functions together is the fuel of that bill. Calls of the host are functions too (`[host] fd_write`); `[instance]` is what it
costs to begin. Names come from the module's name section.")]
pub(crate) struct ProfileArgs {
    #[command(flatten)]
    work: WorkArgs,
    /// Where the guest's output goes [default: nowhere]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a line for each stack of calls with its fuel, as flame-graph tools read it
    #[arg(long, value_name = "FILE")]
    folded: Option<PathBuf>,
    /// Draw a flame graph
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Functions in the table, those with the most fuel of their own first; 0 for all
    #[arg(long, value_name = "N", default_value_t = 30)]
    rows: usize,
    /// Run even where the kernel lacks a part of the sandbox, Landlock or seccomp [env: ADIT_ALLOW_WEAK_SANDBOX]
    #[arg(long)]
    allow_weak_sandbox: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    guest: GuestArgs,
}

pub(crate) fn run(args: &ProfileArgs, common: &Common) -> anyhow::Result<Exit> {
    let mut screen = Screen::new(common.quiet);
    or_report(args.json, None, attempt(args, common, &mut screen))
}

fn attempt(args: &ProfileArgs, common: &Common, screen: &mut Screen) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let guest = GuestArgs { timeout: args.guest.timeout.or(Some(TIMEOUT)), ..args.guest.clone() };
    let terms = Terms::read(&JobArgs::here(guest), &config)?;
    let submission = Submission::of_work(&args.work, &terms, &config, Start::Now)?;
    let module = &args.work.module;
    let sink = match &args.output {
        Some(path) => Sink::new(Some(path), false),
        None => Sink::Discard,
    };
    let allow_weak = node::allows_weak_sandbox(&config, args.allow_weak_sandbox)?;
    let (end, profile) = block_on(local::run_profiled(&submission, module, &sink, &config, allow_weak, screen))?;
    screen.summary(visible(&end.summary(Some(terms.limits()))), end.outcome.is_success());
    let Some(profile) = profile else { bail!("the job had to be killed, so that nobody knows where its fuel went") };
    let wasm = std::fs::read(module).with_context(|| module.display().to_string())?;
    let told = Told { profile: &profile, names: Names::read(&wasm) };
    if let Some(path) = &args.folded {
        AtomicFile::write(path, told.folded().as_bytes())?;
    }
    if let Some(path) = &args.svg {
        AtomicFile::write(path, &told.flame_graph(module)?)?;
    }
    if args.json {
        print_json(&told.object(&end))?
    } else {
        told.print(args.rows)?
    }
    Ok(end.exit())
}

/// A profile with names.
struct Told<'a> {
    profile: &'a FuelProfile,
    names: Names,
}

/// The object of `--json`; its keys are described in `docs/cli.md`.
#[derive(Debug, Serialize)]
struct Object {
    outcome: &'static str,
    fuel: u64,
    output_digest: String,
    functions: Vec<Function>,
}

#[derive(Debug, Serialize)]
struct Function {
    /// Its index in the module; nothing for what is no function.
    index: Option<u32>,
    name: String,
    host: bool,
    calls: u64,
    own_fuel: u64,
    total_fuel: u64,
    /// Its own part of the whole, from 0 to 1.
    share: f64,
}

impl Told<'_> {
    /// All that used fuel, those with the most of their own first.
    fn functions(&self) -> Vec<Function> {
        let whole = self.profile.fuel().max(1) as f64;
        let function = |called: &adit_runtime::CalledFunction| Function {
            index: match called.place {
                Place::Function(index) => Some(index),
                Place::Instance | Place::Deeper => None,
            },
            name: self.names.of(called.place),
            host: self.names.is_host(called.place),
            calls: called.calls,
            own_fuel: called.own_fuel,
            total_fuel: called.total_fuel,
            share: called.own_fuel as f64 / whole,
        };
        let mut functions: Vec<Function> = self.profile.functions.iter().map(function).collect();
        functions.sort_by_key(|function| std::cmp::Reverse(function.own_fuel));
        functions
    }

    fn object(&self, end: &End) -> Object {
        Object {
            outcome: end.outcome.name(),
            fuel: self.profile.fuel(),
            output_digest: end.output.to_string(),
            functions: self.functions(),
        }
    }

    fn print(&self, rows: usize) -> anyhow::Result<()> {
        let functions = self.functions();
        let shown = if rows == 0 { functions.len() } else { rows.min(functions.len()) };
        let mut table = Table::new(["own", "own fuel", "total fuel", "calls", "function"]);
        for function in &functions[..shown] {
            let share = format!("{:.2} %", function.share * 100.0);
            let [own, total] = [function.own_fuel, function.total_fuel].map(show_fuel);
            table.push([share, own, total, function.calls.to_string(), function.name.clone()]);
        }
        if shown < functions.len() {
            let rest: u64 = functions[shown..].iter().map(|function| function.own_fuel).sum();
            let share = format!("{:.2} %", rest as f64 * 100.0 / self.profile.fuel().max(1) as f64);
            let others = format!("{} others; --rows 0 shows them", functions.len() - shown);
            table.push([share, show_fuel(rest), String::new(), String::new(), others]);
        }
        Ok(table.print()?)
    }

    /// A line for each stack that used fuel: names from the outside in, a semicolon between two, and behind a space the fuel.
    fn folded(&self) -> String {
        let nodes = &self.profile.nodes;
        // A node comes behind its parent, whose stack is known by then.
        let mut stacks: Vec<String> = Vec::with_capacity(nodes.len());
        let mut text = String::new();
        for (index, node) in nodes.iter().enumerate() {
            let name = frame(&self.names.of(node.place));
            let stack = match index {
                0 => name,
                _ if node.parent == 0 => name,
                _ => format!("{};{name}", stacks[node.parent as usize]),
            };
            if node.own_fuel > 0 {
                text.push_str(&format!("{stack} {}\n", node.own_fuel));
            }
            stacks.push(stack);
        }
        text
    }

    fn flame_graph(&self, module: &Path) -> anyhow::Result<Vec<u8>> {
        let mut options = flamegraph::Options::default();
        options.title = format!("Fuel of {}", module.file_name().unwrap_or_default().to_string_lossy());
        options.count_name = "fuel".to_owned();
        let mut svg = Vec::new();
        let folded = self.folded();
        flamegraph::from_lines(&mut options, folded.lines(), &mut svg).context("the flame graph")?;
        Ok(svg)
    }
}

/// A name as a frame: the format has its own use for semicolons and line feeds.
fn frame(name: &str) -> String {
    visible(name).chars().map(|c| if c == ';' || c.is_control() { ',' } else { c }).collect()
}

fn show_fuel(fuel: u64) -> String {
    Fuel(fuel).to_string()
}

#[cfg(test)]
mod tests {
    use adit_runtime::CallNode;

    use super::*;

    fn node(parent: u32, place: Place, own_fuel: u64) -> CallNode {
        CallNode { parent, place, calls: 1, own_fuel }
    }

    #[test]
    fn stacks_are_folded_from_the_outside_in_and_add_up() {
        let wat = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (func $main) (func $"a;b"))"#;
        let nodes = vec![
            node(0, Place::Instance, 40),
            node(0, Place::Deeper, 0),
            node(0, Place::Function(1), 7),
            node(2, Place::Function(2), 5),
            node(3, Place::Function(0), 150),
            node(1, Place::Function(2), 3),
        ];
        let profile = FuelProfile { functions: Vec::new(), nodes };
        let told = Told { profile: &profile, names: Names::read(&wat::parse_str(wat).unwrap()) };
        let want = "[instance] 40\nmain 7\nmain;a,b 5\nmain;a,b;[host] fd_write 150\n[deeper calls];a,b 3\n";
        assert_eq!(told.folded(), want);
        let svg = String::from_utf8(told.flame_graph(Path::new("job.wasm")).unwrap()).unwrap();
        assert!(svg.contains("[host] fd_write (150 fuel") && svg.contains("Fuel of job.wasm"), "{svg}");
    }
}
