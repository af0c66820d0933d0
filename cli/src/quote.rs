//! `adit quote`: what a job would cost on the nodes that are connected.

use adit_dispatch::{Config as DispatchConfig, Dispatcher, Event, Request, Tick};
use adit_protocol::{Fuel, JobLimits, JobSpec, Microcredits, NodeStatus, PublicKey, Usage};
use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::args::{Common, JobArgs, LinkArgs, SubmissionArgs};
use crate::exit::{Exit, RefusedError};
use crate::gpu::show_gpu_time;
use crate::link;
use crate::local;
use crate::node;
use crate::nodes::{self, Connected};
use crate::reactor::block_on;
use crate::report::short;
use crate::screen::Screen;
use crate::sink::Sink;
use crate::spec::{Submission, Terms};
use crate::table::{Table, print_json, print_line};

/// Say what a job would cost on the nodes that are connected now
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit quote render.wasm --fuel 200G --memory 512MiB       # at most, by its limits
  adit quote render.wasm --input scene.json --dry-run      # and what it really takes, run once here
  adit quote render.wasm --json | jq .at_most_microcredits

That is of one attempt, for which the account needs the most that it can cost: so much is held, and
what it did not cost goes back. Attempts that owners cut short and a --hedge are paid too: all of a
job's attempts cost three times that at the most, or --max-price. A dry run is `adit run --local`: the same meter, so that the same bytes
have the same bill on any node. Nothing is submitted.")]
pub(crate) struct QuoteArgs {
    #[command(flatten)]
    submission: SubmissionArgs,
    /// Run the job once on this machine, for nothing, to see what it uses
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run, run even where the kernel lacks a part of the sandbox, Landlock or seccomp [env: ADIT_ALLOW_WEAK_SANDBOX]
    #[arg(long, requires = "dry_run")]
    allow_weak_sandbox: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    link: LinkArgs,
}

/// From the cheapest node to the dearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Range {
    min: u64,
    max: u64,
}

/// What one node would ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct NodeQuote {
    node: String,
    at_most_microcredits: u64,
    dry_run_microcredits: Option<u64>,
}

/// The object of `adit quote --json`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Quote {
    at_most_microcredits: Range,
    dry_run_microcredits: Option<Range>,
    dry_run_fuel: Option<u64>,
    dry_run_gpu_ns: Option<u64>,
    dry_run_outcome: Option<String>,
    nodes: Vec<NodeQuote>,
    nodes_unfit: usize,
    /// Whether other nodes may be connected too, of which the gateway does not tell.
    nodes_may_be_more: bool,
}

pub(crate) fn run(args: &QuoteArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let terms = Terms::read(&args.job, &config)?;
    let submission = Submission::read(&args.submission, &terms, &config)?;
    let screen = &mut Screen::new(common.quiet);
    block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let connected = nodes::connected(&client).await;
        let key = client.key();
        client.close().await;
        let connected = connected?;
        let tried = if args.dry_run {
            let allow_weak = node::allows_weak_sandbox(&config, args.allow_weak_sandbox)?;
            let (module, sink) = (&args.submission.work.module, Sink::Discard);
            let end = local::run(&submission, module, &sink, &config, allow_weak, screen).await.context("the dry run")?;
            Some((end.usage, end.outcome.to_string()))
        } else {
            None
        };
        let quote = quote(key, &submission.job.spec, &connected, tried)?;
        if args.json {
            print_json(&quote)?;
        } else {
            show(&quote, terms.limits())?;
            if quote.nodes_may_be_more {
                let told = connected.nodes.len();
                screen.note(format!(
                    "there may be more nodes, cheaper and dearer: the gateway tells of the first {told} by their keys"
                ));
            }
        }
        Ok(Exit::Success)
    })
}

/// The nodes that the dispatcher of a gateway would take for the job, each with what it asks.
fn quote(key: PublicKey, spec: &JobSpec, connected: &Connected, tried: Option<(Usage, String)>) -> anyhow::Result<Quote> {
    let nodes = &connected.nodes;
    let request = Request::new(&key, spec, true);
    let mut quotes = Vec::new();
    for NodeStatus { node, offer, state, .. } in nodes {
        let mut dispatcher = Dispatcher::new(DispatchConfig::default());
        let joined = Event::NodeJoined { node: *node, offer: offer.clone(), state: state.clone(), cached: Vec::new() };
        dispatcher.handle(Tick::default(), joined);
        if dispatcher.prices(&request).is_empty() {
            continue;
        }
        let at_most = offer.price.cost_max(&spec.limits, spec.bytes_in().0).with_context(|| format!("node {node}"))?;
        let tried = tried.as_ref().map(|(usage, _)| offer.price.cost(usage)).transpose()?;
        quotes.push(NodeQuote {
            node: node.to_string(),
            at_most_microcredits: at_most.0,
            dry_run_microcredits: tried.map(|cost| cost.0),
        });
    }
    quotes.sort_by(|a, b| (a.at_most_microcredits, &a.node).cmp(&(b.at_most_microcredits, &b.node)));
    let nodes_unfit = nodes.len() - quotes.len();
    let at_most = Range::over(quotes.iter().map(|quote| quote.at_most_microcredits));
    let Some(at_most_microcredits) = at_most else {
        let why = match connected {
            Connected { may_be_more: true, .. } => {
                "none of the nodes that the gateway tells of fits the job, and there may be more"
            }
            Connected { nodes, .. } if nodes.is_empty() => "no node is connected",
            Connected { .. } => "none of the connected nodes fits the job",
        };
        return Err(RefusedError(format!("{why}; `adit nodes` shows what they offer")).into());
    };
    Ok(Quote {
        at_most_microcredits,
        dry_run_microcredits: Range::over(quotes.iter().filter_map(|quote| quote.dry_run_microcredits)),
        dry_run_fuel: tried.as_ref().map(|(usage, _)| usage.fuel.0),
        dry_run_gpu_ns: tried.as_ref().map(|(usage, _)| usage.gpu_ns),
        dry_run_outcome: tried.map(|(_, outcome)| outcome),
        nodes: quotes,
        nodes_unfit,
        nodes_may_be_more: connected.may_be_more,
    })
}

impl Range {
    fn over(costs: impl Iterator<Item = u64> + Clone) -> Option<Self> {
        Some(Self { min: costs.clone().min()?, max: costs.max()? })
    }

    fn show(&self) -> String {
        let (min, max) = (Microcredits(self.min), Microcredits(self.max));
        if min == max { min.to_string() } else { format!("{min} to {max}") }
    }
}

fn show(quote: &Quote, limits: &JobLimits) -> anyhow::Result<()> {
    let mut table = Table::new(["node", "at most", "by the dry run"]);
    for NodeQuote { node, at_most_microcredits, dry_run_microcredits } in &quote.nodes {
        let tried = dry_run_microcredits.map_or_else(|| "-".to_owned(), |cost| Microcredits(cost).to_string());
        table.push([short(node), Microcredits(*at_most_microcredits).to_string(), tried]);
    }
    table.print()?;
    let gpu = if limits.gpu_ns > 0 { format!(", {} of a GPU", show_gpu_time(limits.gpu_ns)) } else { String::new() };
    print_line(&format!(
        "at most     {}, where it uses all of its limits ({}{gpu})",
        quote.at_most_microcredits.show(),
        limits.fuel
    ))?;
    if let (Some(range), Some(fuel), Some(outcome)) = (&quote.dry_run_microcredits, quote.dry_run_fuel, &quote.dry_run_outcome) {
        print_line(&format!("by dry run  {}, for {}; the job {outcome}", range.show(), Fuel(fuel)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use adit_protocol::limits::{LABEL_BYTES_MAX, LABELS_MAX};
    use adit_protocol::{BlobRef, ByteCount, MeterId, NodeOffer, NodeState, Price, Profile};

    use super::*;

    fn node(n: u8, per_compute_minute: u64, memory: u64) -> NodeStatus {
        let price = Price { per_compute_minute, ..Price::default() };
        let offer = NodeOffer {
            software: String::new(),
            slots: 1,
            memory: ByteCount(memory),
            gpu: None,
            profiles: vec![Profile::Deterministic],
            price,
            labels: Vec::new(),
            meter: MeterId([0; 32]),
            fuel_per_second: 0,
            one_tenant: false,
        };
        NodeStatus {
            node: PublicKey([n; 32]),
            offer,
            state: NodeState::Ready,
            slots_used: 1,
            rtt_us: 0,
            rtt_spread_us: 0,
            fuel_per_second: 0,
            reputation: 1_000,
            jobs_done: 0,
            receipts_refused: 0,
        }
    }

    #[test]
    fn quote_is_over_the_nodes_that_fit() {
        let mut spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b""));
        spec.limits.fuel = Fuel(60_000_000_000);
        let nodes = [node(1, 3_000, 1 << 30), node(2, 1_000, 1 << 30), node(3, 1, 1 << 20)];
        let usage = Usage { fuel: Fuel(6_000_000_000), ..Usage::default() };
        let quote = quote(PublicKey([9; 32]), &spec, &nodes.to_vec().into(), Some((usage, "finished".into()))).unwrap();
        assert!(!quote.nodes_may_be_more);
        assert_eq!(quote.at_most_microcredits, Range { min: 1_000, max: 3_000 });
        assert_eq!(quote.dry_run_microcredits, Some(Range { min: 100, max: 300 }));
        assert_eq!((quote.nodes.len(), quote.nodes_unfit), (2, 1));
        assert_eq!(quote.nodes[0].node, PublicKey([2; 32]).to_string());
    }

    #[test]
    fn job_that_fits_nowhere_has_no_quote() {
        let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b""));
        let of = |nodes: &[NodeStatus]| quote(PublicKey([9; 32]), &spec, &nodes.to_vec().into(), None).unwrap_err().to_string();
        assert!(of(&[]).contains("no node is connected"));
        assert!(of(&[node(1, 1, 1)]).contains("none of the connected nodes fits"));
    }

    /// An answer has room for so many rows, and for so many bytes.
    #[test]
    fn quote_over_as_many_nodes_as_an_answer_holds_says_that_there_may_be_more() {
        let labelled = |n: u8| {
            let mut node = node(n, 1_000, 1 << 30);
            let long = "x".repeat(LABEL_BYTES_MAX);
            node.offer.labels = vec![(long.clone(), long); LABELS_MAX];
            node
        };
        let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b""));
        let cut = |nodes: Vec<NodeStatus>| quote(PublicKey([9; 32]), &spec, &nodes.into(), None).unwrap().nodes_may_be_more;
        assert!(!cut((0..199).map(|n| node(n, 1_000, 1 << 30)).collect()));
        assert!(cut((0..200).map(|n| node(n, 1_000, 1 << 30)).collect()));
        // 13 of these are 211 KiB, and a frame has 256.
        assert!(!cut((0..13).map(labelled).collect()));
        assert!(cut((0..15).map(labelled).collect()));
    }
}
