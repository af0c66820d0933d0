//! `adit nodes`: who lends what.

use adit_client::Client;
use adit_protocol::limits::{ANSWER_ROWS_MAX, FRAME_BYTES_MAX, LABEL_BYTES_MAX, LABELS_MAX};
use adit_protocol::{Answer, Fuel, NodeStatus, Profile, Query, encode_frame};
use clap::Args;
use serde::Serialize;

use crate::args::{Common, LinkArgs};
use crate::exit::Exit;
use crate::gpu::{GpuOfferReport, show_offer};
use crate::link::{self, ask, unexpected};
use crate::quantity::{show_bytes, show_micros};
use crate::reactor::block_on;
use crate::report::short;
use crate::screen::show_note;
use crate::table::{Table, print_json};
use crate::why;

/// List the nodes that are connected, with what they offer and ask
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit nodes
  adit nodes --json | jq -s 'map(.slots) | add'")]
pub(crate) struct NodesArgs {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

pub(crate) fn run(args: &NodesArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let Connected { nodes, may_be_more } = connected(&client).await?;
        client.close().await;
        if may_be_more {
            show_note(format!("there may be more: the gateway tells of the first {} by their keys", nodes.len()));
        }
        if args.json {
            nodes.iter().try_for_each(|node| print_json(&NodeReport::of(node)))?;
        } else {
            table(&nodes).print()?;
        }
        Ok(Exit::Success)
    })
}

/// The nodes that a gateway tells of.
pub(crate) struct Connected {
    /// By their keys.
    pub(crate) nodes: Vec<NodeStatus>,
    /// Whether an answer has no room for one more, so that others may be connected too.
    pub(crate) may_be_more: bool,
}

/// Asks which nodes are connected.
pub(crate) async fn connected(client: &Client) -> anyhow::Result<Connected> {
    match ask(client, Query::Nodes).await? {
        Answer::Nodes(nodes) => Ok(nodes.into()),
        other => Err(unexpected(&other)),
    }
}

impl From<Vec<NodeStatus>> for Connected {
    fn from(nodes: Vec<NodeStatus>) -> Self {
        let mut rows = Vec::new();
        // What came in one frame fits one.
        let is_full =
            nodes.iter().any(|node| encode_frame(node, &mut rows).is_err()) || rows.len() + STATUS_BYTES_MAX > FRAME_BYTES_MAX;
        Self { may_be_more: is_full || nodes.len() >= ANSWER_ROWS_MAX, nodes }
    }
}

/// Bytes of a node's status at most: its labels, and room for all else that is bounded.
const STATUS_BYTES_MAX: usize = 2 * LABELS_MAX * LABEL_BYTES_MAX + 4 * 1024;

/// The object of `adit nodes --json`. Prices are in microcredits.
#[derive(Debug, Serialize)]
struct NodeReport {
    node: String,
    software: String,
    slots: u32,
    slots_used: u32,
    memory_bytes: u64,
    gpu: Option<GpuOfferReport>,
    profiles: Vec<&'static str>,
    labels: Vec<[String; 2]>,
    price_per_minute: u64,
    price_per_gib_minute: u64,
    price_per_gib_in: u64,
    price_per_gib_out: u64,
    price_per_gpu_minute: u64,
    meter_id: String,
    state: &'static str,
    state_reason: Option<String>,
    rtt_ms: f64,
    rtt_spread_ms: f64,
    claimed_fuel_per_second: Option<u64>,
    fuel_per_second: Option<u64>,
    reputation: u16,
    jobs_done: u64,
    receipts_refused: u64,
}

impl NodeReport {
    fn of(status: &NodeStatus) -> Self {
        let offer = &status.offer;
        let (state, state_reason) = why::state(&status.state);
        Self {
            node: status.node.to_string(),
            software: offer.software.clone(),
            slots: offer.slots,
            slots_used: status.slots_used,
            memory_bytes: offer.memory.0,
            gpu: offer.gpu.as_ref().map(Into::into),
            profiles: offer.profiles.iter().map(Profile::name).collect(),
            labels: offer.labels.iter().map(|(key, value)| [key.clone(), value.clone()]).collect(),
            price_per_minute: offer.price.per_compute_minute,
            price_per_gib_minute: offer.price.per_gib_compute_minute,
            price_per_gib_in: offer.price.per_gib_in,
            price_per_gib_out: offer.price.per_gib_out,
            price_per_gpu_minute: offer.price.per_gpu_minute,
            meter_id: offer.meter.to_string(),
            state,
            state_reason,
            rtt_ms: status.rtt_us as f64 / 1e3,
            rtt_spread_ms: status.rtt_spread_us as f64 / 1e3,
            claimed_fuel_per_second: Some(offer.fuel_per_second).filter(|speed| *speed > 0),
            fuel_per_second: Some(status.fuel_per_second).filter(|speed| *speed > 0),
            reputation: status.reputation,
            jobs_done: status.jobs_done,
            receipts_refused: status.receipts_refused,
        }
    }
}

fn table(nodes: &[NodeStatus]) -> Table<13> {
    let mut table = Table::new([
        "node",
        "state",
        "slots",
        "memory",
        "GPU",
        "away",
        "speed",
        "per minute",
        "done",
        "refused",
        "trust",
        "profiles",
        "labels",
    ]);
    for NodeStatus { node, offer, state, slots_used, rtt_us, fuel_per_second, reputation, jobs_done, receipts_refused, .. } in
        nodes
    {
        let profiles: Vec<&str> = offer.profiles.iter().map(Profile::name).collect();
        let labels: Vec<String> = offer.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.push([
            short(node),
            why::state(state).0.to_owned(),
            format!("{slots_used}/{}", offer.slots),
            show_bytes(offer.memory),
            offer.gpu.as_ref().map_or_else(|| "-".to_owned(), show_offer),
            show_micros(*rtt_us),
            show_speed(*fuel_per_second),
            adit_protocol::Microcredits(offer.price.per_compute_minute).to_string(),
            jobs_done.to_string(),
            receipts_refused.to_string(),
            format!("{} %", reputation / 10),
            profiles.join(","),
            labels.join(","),
        ]);
    }
    table
}

/// Fuel per second of one slot, as its jobs showed.
fn show_speed(fuel_per_second: u64) -> String {
    if fuel_per_second == 0 { "-".to_owned() } else { format!("{}/s", Fuel(fuel_per_second)) }
}
