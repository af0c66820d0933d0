//! The command line: what all commands share. Each command's own arguments stand with the command.

use std::path::PathBuf;
use std::time::Duration;

use adit_protocol::{ByteCount, Fuel, IdempotencyKey, Microcredits, Preference, Profile, UnixMillis};
use adit_transport::GatewayAddr;
use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::exit::Exit;
use crate::gpu::GpuArgs;
use crate::named::NamedFile;
use crate::quantity::{parse_bytes, parse_credits, parse_duration, parse_pair, parse_time};
use crate::{
    account, adapter, audit, build, dev, gateway, inspect, invoice, jobs, keys, ledger, log, manual, map, new, node, nodes,
    profile, quote, receipts, run, settings, up, verify, why, witness,
};

/// Run WebAssembly jobs on a network of small machines, and check every bill.
#[derive(Debug, Parser)]
#[command(name = "adit", version, propagate_version = true, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

const EXAMPLES: &str = "\
Try it on this machine:
  adit up                                          # a gateway and a node; leave it running
  adit new hello && cd hello && adit build         # a guest of your own, in Rust; --lang c or zig
  adit run target/wasm32-wasip1/release/hello.wasm --input README.md

Exit codes: 0 success, 1 failure here, 2 wrong usage, 10-17 the guest failed or met a limit,
20-23 the network refused, lost or disproved it, 24 a bill cannot be re-computed, 30 a map is
incomplete, 130 left by Ctrl-C.";

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Say more of what happens; twice for debugging [env: ADIT_LOG=FILTER]
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// The config file [env: ADIT_CONFIG] [default: ~/.config/adit/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl Common {
    pub(crate) fn load_config(&self) -> anyhow::Result<Config> {
        crate::tracing_output::check()?;
        Config::load(self.config.as_deref())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::RunArgs),
    Map(map::MapArgs),
    Submit(jobs::SubmitArgs),
    Status(jobs::StatusArgs),
    Logs(jobs::LogsArgs),
    Output(jobs::OutputArgs),
    Cancel(jobs::CancelArgs),
    Nodes(nodes::NodesArgs),
    Why(why::WhyArgs),
    WhyNot(why::WhyNotArgs),
    Receipts(receipts::ReceiptsArgs),
    Account(account::AccountArgs),
    Quote(Box<quote::QuoteArgs>),
    Invoice(invoice::InvoiceArgs),
    Credit(account::CreditArgs),
    Verify(verify::VerifyArgs),
    Ledger(ledger::LedgerArgs),
    Audit(audit::AuditArgs),
    Log(log::LogArgs),
    New(new::NewArgs),
    Build(build::BuildArgs),
    Dev(Box<dev::DevArgs>),
    Inspect(inspect::InspectArgs),
    Profile(Box<profile::ProfileArgs>),
    Gpu(adapter::GpuCommandArgs),
    Up(up::UpArgs),
    Gateway(gateway::GatewayArgs),
    Node(node::NodeArgs),
    Witness(witness::WitnessArgs),
    Key(keys::KeyArgs),
    Config(settings::ConfigArgs),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
}

impl Command {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<Exit> {
        match self {
            Self::Run(args) => run::run(args, common),
            Self::Map(args) => map::run(args, common),
            Self::Submit(args) => jobs::submit(args, common),
            Self::Status(args) => jobs::status(args, common),
            Self::Logs(args) => jobs::logs(args, common),
            Self::Output(args) => jobs::output(args, common),
            Self::Cancel(args) => jobs::cancel(args, common),
            Self::Nodes(args) => nodes::run(args, common),
            Self::Why(args) => why::why(args, common),
            Self::WhyNot(args) => why::why_not(args, common),
            Self::Receipts(args) => receipts::run(args, common),
            Self::Account(args) => account::account(args, common),
            Self::Quote(args) => quote::run(args, common),
            Self::Invoice(args) => invoice::run(args, common),
            Self::Credit(args) => account::credit(args, common),
            Self::Verify(args) => verify::run(args, common),
            Self::Ledger(args) => ledger::run(args, common),
            Self::Audit(args) => audit::run(args, common),
            Self::Log(args) => log::run(args, common),
            Self::New(args) => new::run(args),
            Self::Build(args) => build::run(args),
            Self::Dev(args) => dev::run(args, common),
            Self::Inspect(args) => inspect::run(args, common),
            Self::Profile(args) => profile::run(args, common),
            Self::Gpu(args) => adapter::run(args, common),
            Self::Up(args) => up::run(args, common),
            Self::Gateway(args) => gateway::run(args, common),
            Self::Node(args) => node::run(args, common),
            Self::Witness(args) => witness::run(args, common),
            Self::Key(args) => keys::run(args, common),
            Self::Config(args) => settings::run(args, common),
            Self::Completions(args) => manual::completions(args),
            Self::Man(args) => manual::run(args),
        }
    }
}

/// Which gateway, and as whom.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct LinkArgs {
    /// The gateway and the key it must prove [env: ADIT_GATEWAY] [default: the running `adit up`]
    #[arg(long, value_name = "ADDR#KEY")]
    pub(crate) gateway: Option<GatewayAddr>,
    /// The file with your key, made on first use [env: ADIT_KEY] [default: ~/.config/adit/client.key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

/// What to do where the gateway has no room.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct RetryArgs {
    /// How long a job is submitted again that a full gateway refuses; 0s for not at all [default: 60s; map: 1h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) retry_for: Option<Duration>,
}

impl RetryArgs {
    /// How long one job is tried.
    pub(crate) fn patience(&self) -> Duration {
        self.retry_for.unwrap_or(Duration::from_secs(60))
    }
}

/// What a job is given and may use, and which nodes may have it.
#[derive(Debug, Clone, Args)]
pub(crate) struct JobArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    #[command(flatten)]
    pub(crate) placement: PlacementArgs,
}

impl JobArgs {
    /// A job that runs on this machine, whichever nodes there are.
    pub(crate) fn here(guest: GuestArgs) -> Self {
        Self { guest, placement: PlacementArgs::default() }
    }
}

/// What a job is given and may use, wherever it runs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Job")]
pub(crate) struct GuestArgs {
    /// An input that the guest reads by its name, beside --input; repeat for up to 16
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) with: Vec<NamedFile>,
    /// An argument of the guest; repeat for more
    #[arg(long, value_name = "A", allow_hyphen_values = true)]
    pub(crate) arg: Vec<String>,
    /// A variable of the guest's environment; repeat for more
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Work that the guest may do: about 1G a second; k, M, G, T [default: 10G]
    #[arg(long, value_name = "FUEL")]
    pub(crate) fuel: Option<Fuel>,
    /// Memory that the guest may hold [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory: Option<ByteCount>,
    /// How long the guest may run [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Output that the guest may write [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) output_max: Option<ByteCount>,
    /// Log that is kept; what is over is dropped and counted [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) log_max: Option<ByteCount>,
    /// Seeds the guest's randomness
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where the guest's clock starts [default: now; 1970 where a job may be submitted again: map, --idempotency-key]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) time: Option<UnixMillis>,
    /// `deterministic`: the same everywhere and checkable by re-running; `open`: real clock and entropy [default: deterministic]
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<Profile>,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
}

/// Which nodes may have a job, and when.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Placement of the job")]
pub(crate) struct PlacementArgs {
    /// Credits that the job may cost at most, such as 0.05; nodes that could cost more are not used
    #[arg(long, value_name = "CREDITS", value_parser = parse_credits)]
    pub(crate) max_price: Option<Microcredits>,
    /// How long the job may wait for a node [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) queue_timeout: Option<Duration>,
    /// A label that the node must carry; repeat for more
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub(crate) label: Vec<(String, String)>,
    /// The region that the node must name as its own: short for --label region=NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// What counts among the nodes that fit: fast, cheap or balanced [default: balanced]
    #[arg(long, value_name = "WHAT")]
    pub(crate) prefer: Option<Preference>,
    /// How long from now the result is of use, waits for the gateway included; a job that could not end by then is refused
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// Among your own jobs that wait, those of a higher priority go first: 0 to 255
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) priority: u8,
    /// Start a second attempt elsewhere where the first takes unusually long; both are paid for what they did, within --max-price
    #[arg(long)]
    pub(crate) hedge: bool,
}

/// One job: its module, what it reads, and what makes it this job and no other.
#[derive(Debug, Clone, Args)]
pub(crate) struct SubmissionArgs {
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    /// 32 hex digits of your choice; the same again attaches to the same job instead of running it twice
    #[arg(long, alias = "idem", value_name = "HEX")]
    pub(crate) idempotency_key: Option<IdempotencyKey>,
}

/// A module, and what it reads.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkArgs {
    /// The WebAssembly module
    pub(crate) module: PathBuf,
    /// Arguments of the guest, after those of --arg
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) trailing: Vec<String>,
    /// What the guest reads: a file, or - for standard input [default: nothing]
    #[arg(long, value_name = "FILE|-")]
    pub(crate) input: Option<PathBuf>,
}
