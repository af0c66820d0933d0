//! `adit node`: lends this machine to a gateway.

use std::fs::Metadata;
use std::io::{self, IsTerminal};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use adit_node::rules::Rules;
use adit_node::sensors::{disk_free, memory_total};
use adit_node::{JoinToken, Node, NodeConfig, NodeEvent};
use adit_protocol::limits::MODULE_BYTES_MAX;
use adit_protocol::{AttemptFailure, ByteCount, Fuel, JobLimits, Microcredits, NodeState, Price, Profile, PublicKey, SecretKey};
use adit_runtime::{CpuShare, Priority};
use adit_transport::GatewayAddr;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::adapter::LendGpuArgs;
use crate::args::Common;
use crate::config::{
    ALLOW_WEAK_SANDBOX, Config, Found, NODE_ALLOW_OPEN, NODE_CACHE, NODE_CACHE_MAX, NODE_CPU_SHARE, NODE_JOIN_TOKEN, NODE_LABELS,
    NODE_MEMORY, NODE_MODULE_MAX, NODE_PRICE, NODE_PRICE_GPU, NODE_PRICE_IN, NODE_PRICE_MEMORY, NODE_PRICE_OUT, NODE_PRIORITY,
    NODE_PROC_DIR, NODE_REGION, NODE_SLOTS, NODE_SYS_DIR, Origin, Setting,
};
use crate::exit::{Exit, usage};
use crate::gpu::{GpuOfferReport, show_offer};
use crate::keys::Role;
use crate::link::{self, load_key};
use crate::quantity::{parse_bytes, parse_credits, parse_pair, show_bytes};
use crate::reactor::{Hangups, StopSignals, block_on};
use crate::report::short;
use crate::rules::RulesArgs;
use crate::screen::{Screen, describe as describe_error, show_note};
use crate::table::{print_json, print_line};
use crate::{adapter, earnings, owner};

/// Be a node: lend slots, memory and time of this machine, and earn
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  adit node --gateway gateway.example:4433#6f1d5b…
  adit node --slots 2 --memory 2GiB --label region=eu --price-per-minute 0.002
  adit node --hours 'mon-fri 22:00-07:00, sat-sun' --load-max 25% --temperature-max 75
  adit node --gpu; adit node gpu off        # lends the GPU too, until its owner plays
  adit node pause --for 2h; adit node resume; adit node drain --wait; adit node status --watch
  adit node --check-config                  # everything that would hold; then, while it runs: adit node reload
  adit node earnings --since 7d
  adit node --json | jq -r 'select(.event == \"job_ended\") | .price_microcredits'

A node only dials out, so it works behind any NAT, and it connects again by itself. Its rules may stand in the config file:
  [node.rules]
  hours = [\"mon-fri 22:00-07:00\", \"sat-sun\"]
  mains-only = true
Where a rule is broken, guests are stopped within 200 ms; what they did is signed for.
pause, resume, drain, gpu, reload and status reach the node through CACHE/control.sock, which only its user may open."
)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    command: Option<NodeCommand>,
    /// The gateway and the key it must prove [env: ADIT_GATEWAY] [default: the running `adit up`]
    #[arg(long, value_name = "ADDR#KEY")]
    gateway: Option<GatewayAddr>,
    /// The file with the node's key, made on first use [env: ADIT_NODE_KEY] [default: ~/.config/adit/node.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// What the gateway's operator gave you to join with; ADIT_NODE_JOIN_TOKEN keeps it out of the list of processes
    #[arg(long, value_name = "TOKEN")]
    join_token: Option<JoinToken>,
    /// Holds modules, inputs and compiled modules; of one node at a time [default: ~/.cache/adit/node]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Disk that they may take: half for compiled modules, half for the others [default: 8GiB, or a quarter of what is free]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    cache_max: Option<ByteCount>,
    /// Say what the node would offer and which rules it would keep, and end
    #[arg(long, conflicts_with = "json")]
    check_config: bool,
    /// Print what happens as one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    offer: OfferArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    Pause(owner::PauseArgs),
    Resume(owner::ResumeArgs),
    Drain(owner::DrainArgs),
    Gpu(owner::GpuArgs),
    Reload(owner::ReloadArgs),
    Status(owner::StatusArgs),
    Earnings(earnings::EarningsArgs),
}

/// What sizes that nobody asked for are multiples of.
const MIB: u64 = 1 << 20;

/// The label that says where a node is.
const REGION: &str = "region";

/// What an owner lends, and for how much.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Offer")]
pub(crate) struct OfferArgs {
    /// Jobs at once [default: one for each core]
    #[arg(long, value_name = "N")]
    slots: Option<NonZeroU32>,
    /// Memory for each job [default: 1GiB, or what half of the machine's comes to]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory: Option<ByteCount>,
    /// Largest module that is compiled; at most 64MiB [default: 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_module_max)]
    module_max: Option<ByteCount>,
    /// What the node says of itself; repeat for more
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    label: Vec<(String, String)>,
    /// Where the machine is: short for --label region=NAME
    #[arg(long, value_name = "NAME", value_parser = parse_region)]
    region: Option<String>,
    /// Also take jobs of the open profile, which see this machine's clock and entropy
    #[arg(long)]
    allow_open: bool,
    /// Work even where the kernel lacks a part of the sandbox, Landlock or seccomp; the node's label says so [env: ADIT_ALLOW_WEAK_SANDBOX]
    #[arg(long)]
    allow_weak_sandbox: bool,
    /// Wait for optimised code before a module's first job; else a large module that is new here begins in baseline code, which is there
    /// sooner and slower, and goes on in the optimised
    #[arg(long)]
    no_baseline: bool,
    /// Processor time for each slot, in percent of one core, from 5; a compilation may take as much [default: 100]
    #[arg(long, value_name = "PERCENT", value_parser = parse_cpu_share)]
    cpu_share: Option<CpuShare>,
    /// Whom jobs leave the processor to: `low` is to everything else that this machine does, `normal` to nobody [default: normal]
    #[arg(long, value_name = "LEVEL", value_parser = parse_priority)]
    priority: Option<Priority>,
    #[command(flatten)]
    gpu: LendGpuArgs,
    #[command(flatten)]
    price: PriceArgs,
}

/// What is asked.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Price in credits")]
pub(crate) struct PriceArgs {
    /// Per compute minute: 60 Gfuel [default: 0.001]
    #[arg(long, value_name = "CREDITS", value_parser = parse_credits)]
    price_per_minute: Option<Microcredits>,
    /// Per GiB held for a compute minute [default: 0.0001]
    #[arg(long, value_name = "CREDITS", value_parser = parse_credits)]
    price_per_gib_minute: Option<Microcredits>,
    /// Per GiB of input [default: 0.0005]
    #[arg(long, value_name = "CREDITS", value_parser = parse_credits)]
    price_per_gib_in: Option<Microcredits>,
    /// Per GiB of output [default: 0.0005]
    #[arg(long, value_name = "CREDITS", value_parser = parse_credits)]
    price_per_gib_out: Option<Microcredits>,
    /// Per minute of GPU time [default: 0.02]
    #[arg(long, value_name = "CREDITS", value_parser = parse_credits)]
    price_gpu: Option<Microcredits>,
}

pub(crate) fn run(args: &NodeArgs, common: &Common) -> anyhow::Result<Exit> {
    match &args.command {
        Some(NodeCommand::Pause(args)) => return owner::pause(args, common),
        Some(NodeCommand::Resume(args)) => return owner::resume(args, common),
        Some(NodeCommand::Drain(args)) => return owner::drain(args, common),
        Some(NodeCommand::Gpu(args)) => return owner::gpu(args, common),
        Some(NodeCommand::Reload(args)) => return owner::reload(args, common),
        Some(NodeCommand::Status(args)) => return owner::status(args, common),
        Some(NodeCommand::Earnings(args)) => return earnings::run(args, common),
        None => {}
    }
    let config = common.load_config()?;
    let setup = args.read(&config, common.quiet)?;
    if args.check_config {
        return describe_setup(&setup, args.key_file(&config).as_path(), link::find_gateway(&config, args.gateway.as_ref())?);
    }
    let setup = NodeConfig { gateway: link::gateway(&config, args.gateway.as_ref())?, ..setup };
    let key = load_key("node", &args.key_file(&config))?;
    let rules = RereadRules { config: common.config.clone(), args: args.rules.clone(), setup: setup.clone() };
    let (json, quiet) = (args.json, common.quiet);
    block_on(async {
        let mut signals = StopSignals::listen()?;
        let (mut hangups, has_terminal) = (Hangups::listen()?, io::stderr().is_terminal());
        let node = open(setup, key)?;
        let reload = node.reloads(move || rules.read().map_err(|error| describe_error(&error)));
        let shutdown = async move {
            loop {
                tokio::select! {
                    () = signals.next() => return,
                    () = hangups.next() => {
                        // A terminal that is closed takes along what runs in it.
                        if has_terminal && !io::stderr().is_terminal() {
                            return;
                        }
                        // What came of it the node tells itself.
                        let _ = reload.now().await;
                    }
                }
            }
        };
        node.run(move |event| show(&event, json, quiet), shutdown).await;
        Screen::new(quiet).note("node stopped");
        Ok(Exit::Success)
    })
}

/// The folder beside a node's key in which its owner's word is kept: of another name for each key.
fn state_dir(key_file: &Path) -> PathBuf {
    let is_key = key_file.extension().is_some_and(|extension| extension == "key");
    let mut name = if is_key { key_file.with_extension("") } else { key_file.to_owned() }.into_os_string();
    name.push(".state");
    name.into()
}

impl NodeArgs {
    /// The set-up that flags, environment and config file describe. The gateway is named last, so that what is wrong with the rest is
    /// told also where there is none yet.
    fn read(&self, config: &Config, quiet: bool) -> anyhow::Result<NodeConfig> {
        let gateway = GatewayAddr { host: String::new(), key: PublicKey([0; 32]) };
        let mut setup = self.offer.read(config, gateway, cache_dir(config, self.cache.as_deref()))?;
        setup.state_dir = state_dir(&self.key_file(config));
        setup.cache_bytes_max = config.value(&NODE_CACHE_MAX, self.cache_max, parse_bytes)?.0;
        setup.join_token = config.find(&NODE_JOIN_TOKEN, self.join_token.clone(), str::parse::<JoinToken>)?.map(|f| f.value);
        setup.rules = self.rules.read(config)?;
        let mut notes: Vec<String> = self.offer.fit_memory(config, &mut setup)?.into_iter().collect();
        if is_default(config, &NODE_CACHE_MAX, self.cache_max.is_some()) {
            notes.extend(fit_cache(&mut setup));
        }
        let are_slots_given = self.offer.slots(config)?.is_some();
        notes.extend(self.rules.fit_memory(config, &mut setup, are_slots_given)?);
        notes.iter().for_each(|note| Screen::new(quiet).note(note));
        Node::check(&setup)?;
        Ok(setup)
    }

    fn key_file(&self, config: &Config) -> PathBuf {
        Role::Node.file(config, self.key.as_deref())
    }
}

/// What a running node's rules are read from again.
struct RereadRules {
    config: Option<PathBuf>,
    args: RulesArgs,
    /// What the node runs with.
    setup: NodeConfig,
}

impl RereadRules {
    fn read(&self) -> anyhow::Result<Rules> {
        let config = Config::load(self.config.as_deref())?;
        let rules = self.args.read(&config)?;
        // Slots stay as they are, so that a bound on the memory of all of them must hold for these.
        self.args.fit_memory(&config, &mut self.setup.clone(), true)?;
        Ok(rules)
    }
}

/// Where a node has its cache, and its owner's commands find it.
pub(crate) fn cache_dir(config: &Config, flag: Option<&Path>) -> PathBuf {
    config.path_or(&NODE_CACHE, flag, config.dirs.cache.join("node")).value
}

/// Says what a node would do, all of it: whoever asks wants to find the line that is not as it was meant.
fn describe_setup(setup: &NodeConfig, key: &Path, gateway: Option<Found<GatewayAddr>>) -> anyhow::Result<Exit> {
    let lines = [describe_way(setup, key, gateway), describe_offer(setup), describe_price(&setup.price), setup.rules.describe()];
    lines.concat().iter().try_for_each(|line| print_line(line))?;
    Ok(Exit::Success)
}

fn describe_way(setup: &NodeConfig, key: &Path, gateway: Option<Found<GatewayAddr>>) -> Vec<String> {
    let gateway = match gateway {
        Some(Found { value, origin }) => format!("works for {value} ({origin})"),
        None => "works for no gateway yet: give --gateway ADDR#KEY or ADIT_GATEWAY".to_owned(),
    };
    let key_state = if key.exists() { "" } else { ", made at the first start" };
    // A token is told of, and never told.
    let token = if setup.join_token.is_some() { "joins by a token (not shown)" } else { "joins without a token" };
    let state = format!("keeps in {} whether it is paused, and what it moved", setup.state_dir.display());
    vec![gateway, format!("has its key in {}{key_state}", key.display()), state, token.to_owned()]
}

fn describe_offer(setup: &NodeConfig) -> Vec<String> {
    let profiles: Vec<&str> = setup.profiles.iter().map(Profile::name).collect();
    let labels: Vec<String> = setup.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let priority = match setup.priority {
        Priority::Low => "low: jobs leave the processor to everything else",
        Priority::Normal => "normal",
    };
    let code = if setup.baseline_code { "begins large modules in baseline code" } else { "waits for optimised code" };
    let mut lines = vec![
        format!("offers {} slots of {}", setup.slots, show_bytes(setup.memory)),
        format!("gives each slot {} % of a core at most", setup.cpu_share.percent()),
        format!("runs jobs at priority {priority}"),
        format!("takes modules of up to {}; {code}", show_bytes(ByteCount(setup.module_bytes_max))),
        format!("takes jobs of the profiles {}", profiles.join(", ")),
        format!(
            "carries the labels {}",
            if labels.is_empty() { "sandbox and arch alone, and gpu where it lends one".to_owned() } else { labels.join(", ") }
        ),
        format!("keeps up to {} in {}", show_bytes(ByteCount(setup.cache_bytes_max)), setup.cache_dir.display()),
    ];
    lines.extend(setup.gpu.as_ref().map(adapter::describe));
    lines.extend(setup.allow_weak_sandbox.then(|| "works with a weak sandbox too".to_owned()));
    lines
}

fn describe_price(price: &Price) -> Vec<String> {
    let [minute, gib_minute, gib_in, gib_out, gpu_minute] = price.components().map(Microcredits);
    vec![
        format!("asks {minute} per minute, {gib_minute} per GiB and minute, {gib_in} per GiB in, {gib_out} per GiB out"),
        format!("asks {gpu_minute} per minute of its GPU, where it lends one"),
    ]
}

/// Works until `shutdown`.
pub(crate) async fn serve(
    setup: NodeConfig,
    key: SecretKey,
    on_event: impl FnMut(NodeEvent) + 'static,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    open(setup, key)?.run(on_event, shutdown).await;
    Ok(())
}

fn open(setup: NodeConfig, key: SecretKey) -> anyhow::Result<Node> {
    let (public, slots, memory) = (key.public(), setup.slots, setup.memory);
    let node = Node::open(setup, key)?;
    tracing::info!(node = %public, slots, memory = %show_bytes(memory), "node started");
    Ok(node)
}

impl OfferArgs {
    /// The set-up that flags, environment and config file describe.
    pub(crate) fn read(&self, config: &Config, gateway: GatewayAddr, cache: PathBuf) -> anyhow::Result<NodeConfig> {
        let mut setup = NodeConfig::new(gateway, cache);
        setup.slots = self.slots(config)?.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u32));
        setup.memory = config.value(&NODE_MEMORY, self.memory, parse_bytes)?;
        setup.proc_dir = config.path_or(&NODE_PROC_DIR, None, "/proc".into()).value;
        setup.sys_dir = config.path_or(&NODE_SYS_DIR, None, "/sys".into()).value;
        setup.module_bytes_max = module_bytes_max(config, self.module_max)?;
        setup.price = self.price.read(config)?;
        if config.value(&NODE_ALLOW_OPEN, self.allow_open.then_some(true), str::parse::<bool>)? {
            setup.profiles.push(Profile::Open);
        }
        setup.allow_weak_sandbox = allows_weak_sandbox(config, self.allow_weak_sandbox)?;
        setup.baseline_code = !self.no_baseline;
        setup.cpu_share = config.value(&NODE_CPU_SHARE, self.cpu_share, parse_cpu_share)?;
        setup.priority = config.value(&NODE_PRIORITY, self.priority, parse_priority)?;
        setup.gpu = self.gpu.read(config)?;
        setup.labels = self.labels(config)?;
        Ok(setup)
    }

    /// Makes what nobody asked for fit this machine: all jobs together have at most half of its memory, and fewer slots go before jobs that
    /// have less than most ask for. Returns what is to be said, also where what was asked for does not fit.
    pub(crate) fn fit_memory(&self, config: &Config, setup: &mut NodeConfig) -> anyhow::Result<Option<String>> {
        let Some(total) = memory_total(&setup.proc_dir, &setup.sys_dir) else { return Ok(None) };
        let (slots, memory) = (setup.slots, setup.memory);
        if is_default(config, &NODE_MEMORY, self.memory.is_some()) {
            let half = total.0 / 2;
            if self.slots(config)?.is_none() {
                let fitting = half / JobLimits::default().memory.0;
                setup.slots = slots.min(u32::try_from(fitting).unwrap_or(u32::MAX)).max(1);
            }
            let each = half / u64::from(setup.slots) / MIB * MIB;
            setup.memory = memory.min(ByteCount(each.max(JobLimits::default().memory.0)));
        }
        let (is_less, [each, before, total_words]) =
            ((setup.slots, setup.memory) != (slots, memory), [setup.memory, memory, total].map(show_bytes));
        if is_less {
            let now = format!("{} slots of {each} instead of {slots} of {before}", setup.slots);
            let all = u64::from(setup.slots).saturating_mul(setup.memory.0);
            let why = match all {
                all if all <= total.0 / 2 => "so that all jobs together have at most half",
                all if all <= total.0 => "the least that most jobs ask for; all together are more than half",
                _ => "the least that most jobs ask for; all together are more than all",
            };
            let why = format!("{why} of this machine's memory ({total_words})");
            return Ok(Some(format!("{now}, {why}; --slots and --memory say otherwise")));
        }
        let is_over = u64::from(slots).saturating_mul(memory.0) > total.0;
        Ok(is_over.then(|| {
            format!(
                "{slots} slots of {each} are more than this machine's memory ({total_words}): jobs that need it all fail here"
            )
        }))
    }

    /// What the node says of itself. Flags beat the environment and the file, as everywhere: all labels of theirs.
    fn labels(&self, config: &Config) -> anyhow::Result<Vec<(String, String)>> {
        let flags = (!self.label.is_empty()).then(|| self.label.clone());
        let mut labels = config.find_list(&NODE_LABELS, flags, parse_pair)?.map(|found| found.value).unwrap_or_default();
        if let Some(Found { value, .. }) = config.find(&NODE_REGION, self.region.clone(), parse_region)? {
            if let Some((_, other)) = labels.iter().find(|(key, other)| key == REGION && *other != value) {
                return Err(usage(format!("a node is in one region: `{value}` and `{other}` are two")));
            }
            labels.retain(|(key, _)| key != REGION);
            labels.push((REGION.to_owned(), value));
        }
        Ok(labels)
    }

    /// How many slots the owner asked for.
    fn slots(&self, config: &Config) -> anyhow::Result<Option<u32>> {
        Ok(config.find(&NODE_SLOTS, self.slots, str::parse::<NonZeroU32>)?.map(|found| found.value.get()))
    }
}

/// Whether nobody gave a setting a value.
fn is_default(config: &Config, setting: &Setting, is_flag_given: bool) -> bool {
    !is_flag_given && config.text(setting).is_none_or(|found| found.origin == Origin::Default)
}

/// Makes a cache whose size nobody asked for take at most a quarter of what the disk has free, itself not counted, but no less than a node must
/// have. Returns what is to be said.
pub(crate) fn fit_cache(setup: &mut NodeConfig) -> Option<String> {
    let free = disk_free(&setup.cache_dir)?;
    let held: u64 = ["blobs", "code"].into_iter().map(|part| bytes_in(&setup.cache_dir.join(part))).sum();
    let quarter = free.0.saturating_add(held) / 4;
    let fitting = quarter.max(2 * setup.module_bytes_max) / MIB * MIB;
    if fitting >= setup.cache_bytes_max {
        return None;
    }
    let [now, before, free] = [fitting, setup.cache_bytes_max, free.0].map(|bytes| show_bytes(ByteCount(bytes)));
    setup.cache_bytes_max = fitting;
    Some(format!("a cache of {now} instead of {before}, as the disk has {free} free; --cache-max says otherwise"))
}

/// Bytes of a folder's files; none where it cannot be read.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.metadata().ok()).filter(Metadata::is_file).map(|metadata| metadata.len()).sum()
}

/// Whether whoever owns this machine puts up with a weak sandbox: what flag, environment and config file say.
pub(crate) fn allows_weak_sandbox(config: &Config, flag: bool) -> anyhow::Result<bool> {
    config.value(&ALLOW_WEAK_SANDBOX, flag.then_some(true), str::parse::<bool>)
}

/// The largest module that this machine compiles, for others and for its owner.
pub(crate) fn module_bytes_max(config: &Config, flag: Option<ByteCount>) -> anyhow::Result<u64> {
    Ok(config.value(&NODE_MODULE_MAX, flag, parse_module_max)?.0)
}

fn parse_cpu_share(text: &str) -> Result<CpuShare, String> {
    let percent = text.trim_end_matches('%').trim_end().parse().ok().and_then(CpuShare::of_percent);
    percent.ok_or_else(|| format!("`{text}` is no share; write a percentage from {} to 100, such as 50", CpuShare::PERCENT_MIN))
}

fn parse_region(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a region has a name, such as eu".to_owned()) } else { Ok(text.to_owned()) }
}

fn parse_priority(text: &str) -> Result<Priority, String> {
    match text {
        "low" => Ok(Priority::Low),
        "normal" => Ok(Priority::Normal),
        _ => Err(format!("`{text}` is no priority; write `low` or `normal`")),
    }
}

fn parse_module_max(text: &str) -> Result<ByteCount, String> {
    match parse_bytes(text) {
        Ok(ByteCount(bytes)) if bytes > MODULE_BYTES_MAX => {
            Err(format!("no module is larger than {}", show_bytes(ByteCount(MODULE_BYTES_MAX))))
        }
        other => other,
    }
}

impl PriceArgs {
    /// The price that flags, environment and config file describe.
    pub(crate) fn read(&self, config: &Config) -> anyhow::Result<Price> {
        let read = |setting, flag| config.value(setting, flag, parse_credits).map(|Microcredits(n)| n);
        Ok(Price {
            per_compute_minute: read(&NODE_PRICE, self.price_per_minute)?,
            per_gib_compute_minute: read(&NODE_PRICE_MEMORY, self.price_per_gib_minute)?,
            per_gib_in: read(&NODE_PRICE_IN, self.price_per_gib_in)?,
            per_gib_out: read(&NODE_PRICE_OUT, self.price_per_gib_out)?,
            per_gpu_minute: read(&NODE_PRICE_GPU, self.price_gpu)?,
        })
    }
}

/// Tells the owner. What cannot be shown is lost; a node does not stop for it.
pub(crate) fn show(event: &NodeEvent, json: bool, quiet: bool) {
    if json {
        if let Err(error) = print_json(&to_json(event)) {
            tracing::debug!(%error, "not shown");
        }
    } else if !quiet && (io::stderr().is_terminal() || !is_routine(event)) {
        show_note(describe(event));
    }
}

/// Whether an owner who watches wants to see it, but nobody wants thousands of it a second in a log file, as clients can bring about.
fn is_routine(event: &NodeEvent) -> bool {
    match event {
        NodeEvent::JobStarted { .. } | NodeEvent::JobEnded { .. } => true,
        NodeEvent::JobFailed { failure, .. } => {
            use AttemptFailure::{Busy, Declined, ModuleInvalid, Withdrawn};
            matches!(failure, Withdrawn | Busy | Declined(_) | ModuleInvalid(_))
        }
        _ => false,
    }
}

fn describe(event: &NodeEvent) -> String {
    match event {
        NodeEvent::Measured { speed, slots } => {
            let fuel = Fuel(speed.fuel_per_second);
            let each = if *slots == 1 { "one slot".to_owned() } else { format!("each of {slots} slots") };
            let busy = if speed.was_busy { "; this machine was busy, so it will be measured again" } else { "" };
            format!("measured: {fuel} a second in {each} (took {:.1} s){busy}", speed.took.as_secs_f64())
        }
        NodeEvent::NotMeasured { reason } => format!("speed not measured: {reason}"),
        NodeEvent::Connected { gateway } => format!("connected to {}", gateway.host),
        NodeEvent::Disconnected { reason, retry_in } => {
            format!("not connected: {reason}; trying again in {:.1} s", retry_in.as_secs_f64())
        }
        NodeEvent::State(NodeState::Ready) => "takes jobs".to_owned(),
        NodeEvent::State(NodeState::Draining) => "ends what it has, and takes no more".to_owned(),
        NodeEvent::State(NodeState::Paused(reason)) => format!("paused: {reason}"),
        NodeEvent::GpuLent { offer } => format!("lends its GPU: {}", show_offer(offer)),
        NodeEvent::GpuNotLent => "lends no GPU any more".to_owned(),
        NodeEvent::GpuMissing { reason } => format!("lends no GPU: {reason}"),
        NodeEvent::RulesRead { rules } if rules.is_empty() => "rules read anew: everything is allowed".to_owned(),
        NodeEvent::RulesRead { rules } => format!("rules read anew: {}", rules.join("; ")),
        NodeEvent::RulesNotRead { reason } => reason.clone(),
        NodeEvent::JobStarted { job, client } => format!("job {}: for client {}", short(job), short(client)),
        NodeEvent::JobEnded { job, outcome, usage, cost } => {
            format!("job {}: {outcome} · {} · earned {cost}", short(job), usage.fuel)
        }
        NodeEvent::JobFailed { job, failure } => format!("job {}: not run: {failure}", short(job)),
        // Whatever a later node library tells is told in its own words.
        other => format!("{other:?}"),
    }
}

fn to_json(event: &NodeEvent) -> Value {
    match event {
        NodeEvent::Measured { speed, slots } => json!({
            "event": "measured", "fuel_per_second": speed.fuel_per_second, "slots": slots, "took_ms": speed.took.as_millis() as u64,
            "was_busy": speed.was_busy,
        }),
        NodeEvent::NotMeasured { reason } => json!({ "event": "not_measured", "reason": reason }),
        NodeEvent::Connected { gateway } => json!({ "event": "connected", "gateway": gateway.to_string() }),
        NodeEvent::Disconnected { reason, retry_in } => {
            json!({ "event": "disconnected", "reason": reason, "retry_ms": retry_in.as_millis() as u64 })
        }
        NodeEvent::State(state) => {
            let (state, reason) = match state {
                NodeState::Ready => ("ready", None),
                NodeState::Draining => ("draining", None),
                NodeState::Paused(reason) => ("paused", Some(reason)),
            };
            json!({ "event": "state", "state": state, "reason": reason })
        }
        NodeEvent::GpuLent { offer } => json!({ "event": "gpu_lent", "gpu": GpuOfferReport::from(offer) }),
        NodeEvent::GpuNotLent => json!({ "event": "gpu_not_lent" }),
        NodeEvent::GpuMissing { reason } => json!({ "event": "gpu_missing", "reason": reason }),
        NodeEvent::RulesRead { rules } => json!({ "event": "rules_read", "rules": rules }),
        NodeEvent::RulesNotRead { reason } => json!({ "event": "rules_not_read", "reason": reason }),
        NodeEvent::JobStarted { job, client } => {
            json!({ "event": "job_started", "job": job.to_string(), "client": client.to_string() })
        }
        NodeEvent::JobEnded { job, outcome, usage, cost } => json!({
            "event": "job_ended", "job": job.to_string(), "outcome": outcome.name(), "fuel": usage.fuel.0, "price_microcredits": cost.0,
        }),
        NodeEvent::JobFailed { job, failure } => {
            json!({ "event": "job_failed", "job": job.to_string(), "reason": failure.to_string() })
        }
        other => json!({ "event": "other", "text": format!("{other:?}") }),
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::JobId;

    use super::*;

    #[test]
    fn share_is_a_percentage_with_bounds() {
        for (text, want) in [("50", Some(50)), ("50%", Some(50)), ("5 %", Some(5)), ("100", Some(100))] {
            assert_eq!(parse_cpu_share(text).ok(), want.and_then(CpuShare::of_percent), "{text}");
        }
        for text in ["", "4", "0", "101", "-5", "0.5", "half", "300"] {
            assert!(parse_cpu_share(text).unwrap_err().contains("from 5 to 100"), "{text}");
        }
    }

    /// A client who withdraws jobs as fast as it submits them filled the owner's journal.
    #[test]
    fn log_file_has_no_line_for_what_clients_bring_about_at_will() {
        let job = JobId([1; 16]);
        let failed = |failure| is_routine(&NodeEvent::JobFailed { job, failure });
        let why = || "why".to_owned();
        assert!(failed(AttemptFailure::Withdrawn) && failed(AttemptFailure::Busy));
        assert!(failed(AttemptFailure::Declined(why())));
        assert!(failed(AttemptFailure::ModuleInvalid(why())));
        assert!(is_routine(&NodeEvent::JobStarted { job, client: PublicKey([1; 32]) }));
        assert!(!failed(AttemptFailure::Node(why())) && !failed(AttemptFailure::Preempted(why())));
        assert!(!is_routine(&NodeEvent::State(NodeState::Ready)));
    }

    #[test]
    fn module_limit_is_bounded_by_the_networks() {
        assert_eq!(parse_module_max("64MiB"), Ok(ByteCount(MODULE_BYTES_MAX)));
        assert_eq!(parse_module_max("65MiB"), Err("no module is larger than 64.0 MiB".to_owned()));
        assert!(parse_module_max("large").is_err());
    }
}
