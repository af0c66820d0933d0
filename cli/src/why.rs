//! `adit why` and `adit why-not`: why a job went where it did, waits, or was refused, and why a node got no work. Both are read from what was
//! recorded when it was decided.

use std::path::PathBuf;

use adit_client::Client;
use adit_protocol::{
    Answer, Candidate, Decision, NodeRecord, NodeState, Passed, PublicKey, Query, Step, UnfitReason, UnixMillis, Verdict, Wait,
};
use adit_transport::GatewayAddr;
use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::args::{Common, LinkArgs};
use crate::exit::{Exit, RefusedError, usage};
use crate::jobs::JobName;
use crate::keys::Role;
use crate::link::{self, ask, existing_key, unexpected};
use crate::nodes::{self, Connected};
use crate::quantity::{show_micros, show_time};
use crate::reactor::block_on;
use crate::report::short;
use crate::table::{Table, print_json, print_line};

/// Say why a job went to its node, waits or was refused: which nodes were compared, their predicted times and prices, and why each was not taken
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit why 7f3a1c2e
  adit why 7f3a1c2e --json | jq '.candidates[]? | [.node, .predicted_us, .price_microcredits, .verdict]'

Each step of the job is told as it was recorded: it waits, and what kept each node from having it;
an attempt was given to a node; it was refused. A gateway keeps the steps of jobs that wait or run,
and of the newest ones that have ended, until it restarts. A submission that came too fast for its
client's rate is not kept.")]
pub(crate) struct WhyArgs {
    /// A job's id or the start of it
    job: JobName,
    /// Print one JSON object for each step
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Say why a node got no work: how often it was compared and what came of it, and the last jobs that went elsewhere
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit why-not                                   # this machine's node
  adit why-not 5b1e90aa --key gateway.key        # any node, as the gateway's operator")]
pub(crate) struct WhyNotArgs {
    /// The node's key, or the start of it [default: the node of --key]
    node: Option<String>,
    /// The gateway and the key it must prove [env: ADIT_GATEWAY] [default: the running `adit up`]
    #[arg(long, value_name = "ADDR#KEY")]
    gateway: Option<GatewayAddr>,
    /// The file with the node's key or the gateway's [env: ADIT_NODE_KEY] [default: ~/.config/adit/node.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn why(args: &WhyArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let job = args.job.resolve(&client).await?;
        let steps = match ask(&client, Query::Why(job)).await? {
            Answer::Why(steps) => steps,
            other => return Err(unexpected(&other)),
        };
        client.close().await;
        if steps.is_empty() {
            let text = format!("nothing is known of how job {job} was placed: it is another key's, or ended too long ago");
            return Err(RefusedError(text).into());
        }
        for (time, step) in &steps {
            if args.json {
                print_json(&StepReport::of(*time, step))?;
            } else {
                show_step(*time, step)?;
            }
        }
        Ok(Exit::Success)
    })
}

pub(crate) fn why_not(args: &WhyNotArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let gateway = link::gateway(&config, args.gateway.as_ref())?;
    let key = existing_key("node", &Role::Node.file(&config, args.key.as_deref()))?;
    let own = key.public();
    block_on(async {
        let client = Client::connect(key, gateway).await?;
        let node = match &args.node {
            Some(name) => find_node(&client, name).await?,
            None => own,
        };
        let record = match ask(&client, Query::WhyNot(node)).await? {
            Answer::WhyNot(record) => record,
            other => return Err(unexpected(&other)),
        };
        client.close().await;
        let record = record.with_context(|| {
            RefusedError(format!("node {node} is not connected, or --key is neither the node's nor the gateway's"))
        })?;
        if args.json {
            print_json(&RecordReport::of(node, &record))?;
        } else {
            show_record(node, &record)?;
        }
        Ok(Exit::Success)
    })
}

/// The connected node whose key begins like this.
async fn find_node(client: &Client, name: &str) -> anyhow::Result<PublicKey> {
    let start = name.trim_end_matches('…').to_ascii_lowercase();
    if let Ok(key) = start.parse() {
        return Ok(key);
    }
    let Connected { nodes, may_be_more } = nodes::connected(client).await?;
    if may_be_more {
        return Err(usage(format!(
            "there may be more nodes than the gateway tells of; write the whole key that starts with {start}"
        )));
    }
    let mut fitting = nodes.iter().map(|status| status.node).filter(|node| node.to_string().starts_with(&start));
    match (fitting.next(), fitting.next()) {
        (Some(node), None) => Ok(node),
        (Some(_), Some(_)) => Err(usage(format!("several nodes' keys start with {start}; write more of the key"))),
        (None, _) => Err(usage(format!("no connected node's key starts with {start}; `adit nodes` lists them"))),
    }
}

/// An object of `adit why --json`.
#[derive(Debug, Serialize)]
struct StepReport {
    time: String,
    #[serde(flatten)]
    what: WhatReport,
}

#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "lowercase")]
enum WhatReport {
    Started(DecisionReport),
    Waits { unfit: Vec<(&'static str, u32)>, full: u32, queued: u32, ahead: u32, clients: u32 },
    Refused { reason: String },
    Lost { attempts: u32, reason: String },
}

impl StepReport {
    fn of(time: UnixMillis, step: &Step) -> Self {
        let what = match step {
            Step::Started(decision) => WhatReport::Started(DecisionReport::of(decision)),
            Step::Waits(Wait { unfit, full, queued, ahead, clients }) => {
                WhatReport::Waits { unfit: named(unfit), full: *full, queued: *queued, ahead: *ahead, clients: *clients }
            }
            Step::Refused(refusal) => WhatReport::Refused { reason: refusal.to_string() },
            Step::Lost { attempts, reason } => WhatReport::Lost { attempts: *attempts, reason: reason.clone() },
        };
        Self { time: show_time(time), what }
    }
}

#[derive(Debug, Serialize)]
struct DecisionReport {
    attempt: u32,
    hedge: bool,
    waited_us: u64,
    prefer: &'static str,
    fuel: u64,
    fuel_known: bool,
    first_free: bool,
    next: bool,
    candidates: Vec<CandidateReport>,
    unfit: Vec<(&'static str, u32)>,
    full: u32,
    others: u32,
}

#[derive(Debug, Serialize)]
struct CandidateReport {
    node: String,
    verdict: &'static str,
    unfit: Option<&'static str>,
    predicted_us: u64,
    rtt_us: u64,
    queue_us: u64,
    fetch_us: u64,
    compile_us: u64,
    run_us: u64,
    price_microcredits: u64,
    score: Option<u64>,
}

impl DecisionReport {
    fn of(decision: &Decision) -> Self {
        Self {
            attempt: decision.attempt.0,
            hedge: decision.is_hedge,
            waited_us: decision.waited_us,
            prefer: decision.prefer.name(),
            fuel: decision.fuel.0,
            fuel_known: decision.is_fuel_known,
            first_free: decision.is_first_free,
            next: decision.is_next,
            candidates: decision.candidates.iter().map(CandidateReport::of).collect(),
            unfit: named(&decision.unfit),
            full: decision.full,
            others: decision.others,
        }
    }
}

impl CandidateReport {
    fn of(candidate: &Candidate) -> Self {
        let predicted = candidate.predicted;
        let unfit = match candidate.verdict {
            Verdict::Unfit(reason) => Some(unfit_name(reason)),
            _ => None,
        };
        Self {
            node: candidate.node.to_string(),
            verdict: verdict_name(candidate.verdict),
            unfit,
            predicted_us: predicted.total_us(),
            rtt_us: predicted.rtt_us,
            queue_us: predicted.queue_us,
            fetch_us: predicted.fetch_us,
            compile_us: predicted.compile_us,
            run_us: predicted.run_us,
            price_microcredits: candidate.price.0,
            score: unfit.is_none().then_some(candidate.score),
        }
    }
}

/// The object of `adit why-not --json`.
#[derive(Debug, Serialize)]
struct RecordReport {
    node: String,
    state: &'static str,
    state_reason: Option<String>,
    reputation: u16,
    verdicts: Vec<VerdictReport>,
    passed: Vec<PassedReport>,
}

#[derive(Debug, Serialize)]
struct VerdictReport {
    verdict: &'static str,
    unfit: Option<&'static str>,
    count: u64,
}

#[derive(Debug, Serialize)]
struct PassedReport {
    time: String,
    job: String,
    candidate: CandidateReport,
    chosen: CandidateReport,
}

impl RecordReport {
    fn of(node: PublicKey, record: &NodeRecord) -> Self {
        let verdict = |(verdict, count): &(Verdict, u64)| VerdictReport {
            verdict: verdict_name(*verdict),
            unfit: match verdict {
                Verdict::Unfit(reason) => Some(unfit_name(*reason)),
                _ => None,
            },
            count: *count,
        };
        let passed = |Passed { job, time, candidate, chosen }: &Passed| PassedReport {
            time: show_time(*time),
            job: job.to_string(),
            candidate: CandidateReport::of(candidate),
            chosen: CandidateReport::of(chosen),
        };
        let (state, state_reason) = state(&record.state);
        Self {
            node: node.to_string(),
            state,
            state_reason,
            reputation: record.reputation,
            verdicts: record.verdicts.iter().map(verdict).collect(),
            passed: record.passed.iter().map(passed).collect(),
        }
    }
}

fn show_step(time: UnixMillis, step: &Step) -> anyhow::Result<()> {
    match step {
        Step::Started(decision) => show_decision(time, decision),
        Step::Waits(wait) => show_wait(time, wait),
        Step::Refused(refusal) => print_line(&format!("refused at {}: {refusal}", show_time(time))),
        Step::Lost { attempts, reason } => {
            print_line(&format!("lost at {} after {attempts} {}: {reason}", show_time(time), plural(*attempts, "attempt")))
        }
    }
}

fn show_wait(time: UnixMillis, wait: &Wait) -> anyhow::Result<()> {
    let Wait { unfit, full, queued, ahead, clients } = wait;
    print_line(&format!("waits since {}: no node could have it then", show_time(time)))?;
    let mut table = Table::new(["nodes", "and"]);
    if *full > 0 {
        table.push([full.to_string(), verdict_words(Verdict::Full).to_owned()]);
    }
    for (reason, count) in unfit {
        table.push([count.to_string(), verdict_words(Verdict::Unfit(*reason)).to_owned()]);
    }
    if *full == 0 && unfit.is_empty() {
        print_line("no node was connected")?;
    } else {
        table.print()?;
    }
    print_line(&match (queued, clients) {
        (0, _) => "no other job waited".to_owned(),
        (queued, 0) => format!("{queued} other {} waited, {ahead} of them before it", plural(*queued, "job")),
        (queued, clients) => format!(
            "{queued} other {} waited: {ahead} of this client's before it, and those of {clients} other {}, who are served in turn",
            plural(*queued, "job"),
            plural(*clients, "client")
        ),
    })
}

fn plural(count: u32, what: &str) -> String {
    if count == 1 { what.to_owned() } else { format!("{what}s") }
}

fn show_decision(time: UnixMillis, decision: &Decision) -> anyhow::Result<()> {
    let Decision { attempt, candidates, full, others, .. } = decision;
    let how = match (decision.is_hedge, decision.is_first_free) {
        _ if decision.is_next => "none had room; at this node it comes before all that waits there".to_owned(),
        (true, _) => "beside the attempt that took unusually long, the best of the nodes with room".to_owned(),
        (false, true) => {
            format!("after {} in the queue, the first node with room for it", show_micros(decision.waited_us))
        }
        (false, false) => "the best of the nodes with room".to_owned(),
    };
    print_line(&format!("attempt {attempt} at {}: {how}", show_time(time)))?;
    let known =
        if decision.is_fuel_known { "as jobs of this module took before" } else { "its limit: no job of this module is known" };
    print_line(&format!("preference {}; taken to need {} of fuel, {known}", decision.prefer, decision.fuel))?;
    let mut table = Table::new(["node", "predicted", "away", "queue", "fetch", "compile", "run", "price", "verdict"]);
    for candidate in candidates {
        let parts = candidate.predicted;
        table.push([
            short(candidate.node),
            show_micros(parts.total_us()),
            show_micros(parts.rtt_us),
            show_micros(parts.queue_us),
            show_micros(parts.fetch_us),
            show_micros(parts.compile_us),
            show_micros(parts.run_us),
            candidate.price.to_string(),
            verdict_words(candidate.verdict).to_owned(),
        ]);
    }
    table.print()?;
    let told = candidates.iter().filter(|candidate| candidate.verdict == Verdict::Full).count();
    let full = full.saturating_sub(told as u32);
    if full > 0 {
        print_line(&format!("{full} more had no room"))?;
    }
    if *others > 0 {
        print_line(&format!("{others} more had room and were neither nearer, faster nor cheaper than those above"))?;
    }
    Ok(())
}

fn show_record(node: PublicKey, record: &NodeRecord) -> anyhow::Result<()> {
    let state = match &record.state {
        NodeState::Ready => "takes jobs".to_owned(),
        NodeState::Draining => "drains: it takes no more jobs".to_owned(),
        NodeState::Paused(why) => format!("is paused: {why}"),
    };
    print_line(&format!("node {} {state}; reputation {} of 1000", short(node), record.reputation))?;
    if record.verdicts.is_empty() {
        return print_line(
            "it was compared for no job since it connected: none came, it had no room, or others were nearer, faster or cheaper",
        );
    }
    let mut table = Table::new(["compared", "and"]);
    for (verdict, count) in &record.verdicts {
        table.push([format!("{count} times"), verdict_words(*verdict).to_owned()]);
    }
    table.print()?;
    if record.passed.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["job", "at", "predicted", "price", "taken instead", "predicted", "price", "as it was"]);
    for Passed { job, time, candidate, chosen } in &record.passed {
        table.push([
            short(job),
            show_time(*time),
            show_micros(candidate.predicted.total_us()),
            candidate.price.to_string(),
            short(chosen.node),
            show_micros(chosen.predicted.total_us()),
            chosen.price.to_string(),
            verdict_words(candidate.verdict).to_owned(),
        ]);
    }
    print_line("")?;
    table.print()?;
    Ok(())
}

/// A node's state as scripts read it, and its reason.
pub(crate) fn state(state: &NodeState) -> (&'static str, Option<String>) {
    match state {
        NodeState::Ready => ("ready", None),
        NodeState::Draining => ("draining", None),
        NodeState::Paused(why) => ("paused", Some(why.clone())),
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Chosen => "chosen",
        Verdict::NotDrawn => "not_drawn",
        Verdict::Worse => "worse",
        Verdict::Full => "full",
        Verdict::Unfit(_) => "unfit",
    }
}

fn verdict_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Chosen => "taken",
        Verdict::NotDrawn => "as good; the lot fell on another",
        Verdict::Worse => "another was better",
        Verdict::Full => "had no room",
        Verdict::Unfit(UnfitReason::Profile) => "does not take the job's profile",
        Verdict::Unfit(UnfitReason::Label) => "lacks a label that the job demands",
        Verdict::Unfit(UnfitReason::Memory) => "has too little memory per job",
        Verdict::Unfit(UnfitReason::Slots) => "offers no slots",
        Verdict::Unfit(UnfitReason::Price) => "over the job's price limit, or what its client can pay",
        Verdict::Unfit(UnfitReason::FailedBefore) => "failed this job before",
        Verdict::Unfit(UnfitReason::NotReady) => "takes no jobs",
        Verdict::Unfit(UnfitReason::Declined) => "its owner declines the client or the module",
        Verdict::Unfit(UnfitReason::Reputation) => "its work did not hold too often",
        Verdict::Unfit(UnfitReason::Deadline) => "too slow for the job's deadline",
        Verdict::Unfit(UnfitReason::Gpu) => "has no GPU for jobs",
        Verdict::Unfit(UnfitReason::GpuMemory) => "has too little GPU memory per job",
        Verdict::Unfit(UnfitReason::GpuBuffer) => "its largest GPU buffer is too small",
        Verdict::Unfit(UnfitReason::GpuInvocations) => "its GPU has smaller workgroups",
        Verdict::Unfit(UnfitReason::GpuWorkgroupMemory) => "its GPU has less workgroup memory",
    }
}

fn named(unfit: &[(UnfitReason, u32)]) -> Vec<(&'static str, u32)> {
    unfit.iter().map(|(reason, count)| (unfit_name(*reason), *count)).collect()
}

fn unfit_name(reason: UnfitReason) -> &'static str {
    match reason {
        UnfitReason::Profile => "profile",
        UnfitReason::Label => "label",
        UnfitReason::Memory => "memory",
        UnfitReason::Slots => "slots",
        UnfitReason::Price => "price",
        UnfitReason::FailedBefore => "failed_before",
        UnfitReason::NotReady => "not_ready",
        UnfitReason::Declined => "declined",
        UnfitReason::Reputation => "reputation",
        UnfitReason::Deadline => "deadline",
        UnfitReason::Gpu => "gpu",
        UnfitReason::GpuMemory => "gpu_memory",
        UnfitReason::GpuBuffer => "gpu_buffer",
        UnfitReason::GpuInvocations => "gpu_invocations",
        UnfitReason::GpuWorkgroupMemory => "gpu_workgroup_memory",
    }
}
