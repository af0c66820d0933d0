//! `adit node pause`, `resume`, `drain`, `gpu`, `reload` and `status`: an owner's word to a node that runs here.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use adit_node::GpuStatus;
use adit_node::control::{Request, Status, ask};
use adit_protocol::{ByteCount, Fuel, Microcredits};
use clap::Args;

use crate::adapter::parse_on;
use crate::args::Common;
use crate::exit::Exit;
use crate::node::cache_dir;
use crate::quantity::{parse_duration, parse_lasting, show_bytes};
use crate::report::short;
use crate::screen::Screen;
use crate::table::{Table, print_json, print_line};

/// Which node.
#[derive(Debug, Args)]
struct WhichNode {
    /// The node's cache folder [env: ADIT_NODE_CACHE] [default: ~/.cache/adit/node]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Give back what the node has, and take nothing until it is resumed, also where it is started again
///
/// Guests are stopped within 200 ms. What they did is signed for, and their jobs go to other nodes.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Resume by itself after this, as in 2h or 30m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_lasting)]
    duration: Option<Duration>,
    #[command(flatten)]
    which: WhichNode,
}

/// Take jobs again, as far as the rules let
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    which: WhichNode,
}

/// End what the node has, and take no more until it is resumed or started again
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Return when nothing runs any more
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    which: WhichNode,
}

/// Lend the GPU of a node that runs, or keep it back, also where it is started again
///
/// Kept back, jobs that have it are stopped; what they did is signed for, and they go to other nodes. Other jobs go on.
#[derive(Debug, Args)]
pub(crate) struct GpuArgs {
    /// `on` or `off`
    #[arg(value_name = "on|off", value_parser = parse_on, action = clap::ArgAction::Set)]
    on: bool,
    #[command(flatten)]
    which: WhichNode,
}

/// Have the node read the rules in its config file anew, as SIGHUP does
///
/// All of them hold from then on, or, where one cannot be kept, none: the node goes on by those from before, and says why. Flags of the
/// running node go before the file still. What is no rule, such as slots, memory and prices, is read when the node is started.
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    which: WhichNode,
}

/// Show what the node does, for whom, what it did not run and why, its speed, its way to the gateway, and what it signed for today
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit node status
  adit node status --watch                                   # again and again, until Ctrl-C
  adit node status --json | jq -r .state
  adit node status --cache ~/.local/share/adit/up/node       # that of `adit up`

What the gateway paid, `adit node earnings` asks it.")]
pub(crate) struct StatusArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Show it again every so often, until Ctrl-C; with --json one object a line
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s", value_parser = parse_interval)]
    watch: Option<Duration>,
    #[command(flatten)]
    which: WhichNode,
}

/// How often a node can be looked at. Each look costs it a little.
const WATCH_MIN: Duration = Duration::from_millis(100);

fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        interval if interval < WATCH_MIN => Err(format!("`{text}` is too often; write 100ms or more")),
        interval => Ok(interval),
    }
}

pub(crate) fn pause(args: &PauseArgs, common: &Common) -> anyhow::Result<Exit> {
    let for_ms = args.duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    told(&args.which, common, Request::Pause { for_ms })
}

pub(crate) fn resume(args: &ResumeArgs, common: &Common) -> anyhow::Result<Exit> {
    told(&args.which, common, Request::Resume)
}

pub(crate) fn drain(args: &DrainArgs, common: &Common) -> anyhow::Result<Exit> {
    told(&args.which, common, Request::Drain { wait: args.wait })
}

pub(crate) fn gpu(args: &GpuArgs, common: &Common) -> anyhow::Result<Exit> {
    let status = args.which.ask(common, Request::Gpu { on: args.on })?;
    let with_it = status.jobs.iter().filter(|job| job.has_gpu).count();
    Screen::new(common.quiet).note(format!(
        "node {}: GPU {}, {with_it} jobs have it",
        short(&status.node),
        gpu_state(&status.gpu)
    ));
    Ok(Exit::Success)
}

/// `lent: discrete/nvidia/nvidia, 1.0 GiB for each job`.
fn gpu_state(gpu: &GpuStatus) -> String {
    match (&gpu.class, gpu.memory_bytes) {
        (Some(class), Some(bytes)) => format!("lent: {class}, {} for each job", show_bytes(ByteCount(bytes))),
        _ if gpu.state == "kept_back" => "kept back by its owner".to_owned(),
        _ => gpu.state.clone(),
    }
}

pub(crate) fn reload(args: &ReloadArgs, common: &Common) -> anyhow::Result<Exit> {
    let status = args.which.ask(common, Request::Reload)?;
    status.rules.iter().try_for_each(|rule| print_line(rule))?;
    Screen::new(common.quiet).note(format!("node {}: {} rules hold", short(&status.node), status.rules.len()));
    Ok(Exit::Success)
}

pub(crate) fn status(args: &StatusArgs, common: &Common) -> anyhow::Result<Exit> {
    loop {
        let status = args.which.ask(common, Request::Status)?;
        match (args.json, args.watch) {
            (true, _) => print_json(&status)?,
            (false, Some(_)) if io::stdout().is_terminal() => {
                // From the top of a clear screen, so that each look stands where the last one did.
                print!("\x1b[H\x1b[2J");
                show(&status)?;
            }
            (false, _) => show(&status)?,
        }
        // Ctrl-C ends the process: nothing is held that would have to be given back.
        match args.watch {
            Some(interval) => std::thread::sleep(interval),
            None => return Ok(Exit::Success),
        }
        if !args.json && !io::stdout().is_terminal() {
            print_line("")?;
        }
    }
}

/// Has the node do something, and says how it is then.
fn told(which: &WhichNode, common: &Common, request: Request) -> anyhow::Result<Exit> {
    let status = which.ask(common, request)?;
    let held = match status.jobs.len() {
        0 => "no jobs".to_owned(),
        1 => "1 job".to_owned(),
        n => format!("{n} jobs"),
    };
    Screen::new(common.quiet).note(format!("node {}: {}, {held}", short(&status.node), state(&status)));
    Ok(Exit::Success)
}

impl WhichNode {
    fn ask(&self, common: &Common, request: Request) -> anyhow::Result<Status> {
        let config = common.load_config()?;
        Ok(ask(&cache_dir(&config, self.cache.as_deref()), request)?)
    }
}

fn state(status: &Status) -> String {
    match &status.reason {
        Some(reason) => format!("{}: {reason}", status.state),
        None => status.state.clone(),
    }
}

fn show(status: &Status) -> anyhow::Result<()> {
    let host = status.gateway.split('#').next().unwrap_or_default();
    let way = status.rtt_ms.map_or_else(|| "not connected".to_owned(), |ms| format!("{ms:.1} ms away"));
    let speed = match status.fuel_per_second {
        0 => "speed not measured".to_owned(),
        fuel => format!("{} a second each", Fuel(fuel)),
    };
    let today = &status.today;
    let [moved, blobs, code, most, memory] =
        [today.moved_bytes, status.blob_bytes, status.code_bytes, status.cache_bytes_max, status.memory_bytes]
            .map(|bytes| show_bytes(ByteCount(bytes)));
    let earned = Microcredits(today.signed_microcredits);
    print_line(&format!("node      {} (process {})", status.node, status.pid))?;
    print_line(&format!("gateway   {host}, {way}"))?;
    print_line(&format!("state     {}", state(status)))?;
    print_line(&format!("today     {} receipts signed, for {earned}; {moved} moved", today.receipts))?;
    print_line(&format!("offer     {} slots of {memory}, {speed}; {} workers", status.slots, status.workers))?;
    print_line(&format!("cache     {blobs} of modules and inputs, {code} of compiled modules, {most} at most"))?;
    print_line(&format!("GPU       {}", gpu_state(&status.gpu)))?;
    for rule in &status.rules {
        print_line(&format!("rule      {rule}"))?;
    }
    if !status.jobs.is_empty() {
        print_line("")?;
        jobs(status).print()?;
    }
    if !status.refused.is_empty() {
        print_line("")?;
        refused(status).print()?;
    }
    Ok(())
}

fn jobs(status: &Status) -> Table<6> {
    let mut table = Table::new(["job", "client", "module", "is", "since", "fuel"]);
    for job in &status.jobs {
        let phase = if job.is_running { "running" } else { "waiting" };
        let fuel = job.fuel.map_or_else(|| "-".to_owned(), |fuel| Fuel(fuel).to_string());
        table.push([short(&job.job), short(&job.client), short(&job.module), phase.to_owned(), job.since.clone(), fuel]);
    }
    table
}

fn refused(status: &Status) -> Table<5> {
    let mut table = Table::new(["not run", "job", "client", "module", "because"]);
    for refused in &status.refused {
        let [job, client, module] = [&refused.job, &refused.client, &refused.module].map(short);
        table.push([refused.time.clone(), job, client, module, refused.reason.clone()]);
    }
    table
}
