//! `adit gateway`: places jobs on nodes and records their receipts.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use adit_gateway::{Gateway, GatewayConfig, NodePolicy, RateLimits, StartError};
use adit_protocol::{ByteCount, Microcredits, PublicKey};
use adit_tlog::{Policy, log_verifier_key};
use clap::{Args, Subcommand, ValueEnum};

use crate::args::Common;
use crate::config::{SERVE_DATA, SERVE_LISTEN};
use crate::exit::{Exit, usage};
use crate::keys::Role;
use crate::link::load_key;
use crate::quantity::{parse_bytes, parse_credits, parse_percent};
use crate::reactor::{StopSignals, block_on, survive_file_limit};
use crate::screen::Screen;
use crate::service::announce;
use crate::tokens;

/// Be a gateway: place jobs on nodes, record receipts
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  adit gateway --listen 0.0.0.0:4433 --data /var/lib/adit
  adit gateway --listen 127.0.0.1:0 --ready-file gateway.addr  # any free port; ADDR#KEY in a file
  adit gateway --fee 5 --welcome 0.5    # keeps 5 % of each cost; new keys can try it
  adit gateway --submit-rate 50         # each key 50 jobs a second, and 100 at once
  adit gateway --witness-policy witnesses.policy --log-url https://log.example/adit
  adit gateway --nodes listed --node-list nodes.txt    # a key a line; read again when it changes
  adit gateway token new --uses 20 --expires 24h && adit gateway --nodes token

Nodes and clients need ADDR#KEY, which is printed; where the address is 0.0.0.0, with a name or an
address of this machine instead. The key is the gateway's name: keep its file, and its data (`adit
ledger backup`). UDP must be open on the port, and TCP on that of the log. Where the ledger cannot
record any more, as on a full disk, the gateway goes on reading only, and says so; start it anew
when the cause is mended."
)]
pub(crate) struct GatewayArgs {
    #[command(subcommand)]
    command: Option<GatewayCommand>,
    /// The UDP address to listen on; port 0 for any [env: ADIT_SERVE_LISTEN] [default: 0.0.0.0:4433]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Holds the ledger and the blobs [env: ADIT_SERVE_DATA] [default: ~/.local/share/adit/gateway]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The file with the gateway's key, made on first use [default: ~/.config/adit/gateway.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Modules, inputs and outputs that are kept; the least recently used go first
    #[arg(long, value_name = "SIZE", default_value = "16GiB", value_parser = parse_bytes)]
    store_max: ByteCount,
    /// Jobs that may wait at once [default: 16384]
    #[arg(long, value_name = "N")]
    queue_max: Option<usize>,
    /// Jobs that one key may submit in a second, and twice as many at once; or `off`. Who comes faster is told when to come back
    #[arg(long, value_name = "N|off", default_value = "20000", value_parser = parse_rate, help_heading = "Peaks")]
    submit_rate: PerSecond,
    /// The same for one address, whatever the keys; an IPv6 address counts by its first 64 bits
    #[arg(long, value_name = "N|off", default_value = "40000", value_parser = parse_rate, help_heading = "Peaks")]
    address_rate: PerSecond,
    /// Connections that one address may make in a second, and twice as many at once; or `off`
    #[arg(long, value_name = "N|off", default_value = "1000", value_parser = parse_rate, help_heading = "Peaks")]
    connect_rate: PerSecond,
    /// A client's weight where many jobs wait: it gets N parts of the nodes' time where each other client gets one; repeat for more
    #[arg(long, value_name = "KEY=N", value_parser = parse_weight, help_heading = "Peaks")]
    client_weight: Vec<(PublicKey, u32)>,
    /// Which nodes may join: all (`open`), those of --node-list (`listed`), or those with a join token (`token`)
    #[arg(long, value_name = "WHICH", value_enum, default_value = "open", help_heading = "Nodes")]
    nodes: Nodes,
    /// The keys of the nodes that may join, one a line; # begins a comment. It is read again when it changes
    #[arg(long, value_name = "FILE", help_heading = "Nodes")]
    node_list: Option<PathBuf>,
    /// What the gateway keeps of a job's cost, in percent; the node's owner gets the rest
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_percent)]
    fee: u32,
    /// Credits that each key gets that never had any. Keys cost nothing to make, so whoever likes can have this again and again
    #[arg(long, value_name = "CREDITS", default_value = "0", value_parser = parse_credits)]
    welcome: Microcredits,
    /// The TCP address at which the public log is served over HTTP, for auditors; or `off` [default: the address of --listen, port 4480]
    #[arg(long, value_name = "ADDR|off", value_parser = parse_log_listen, help_heading = "Log")]
    log_listen: Option<LogListen>,
    /// Where others find the log, such as the URL of a proxy that stands before it [default: `http://ADDR`]
    #[arg(long, value_name = "URL", help_heading = "Log")]
    log_url: Option<String>,
    /// A C2SP tlog-policy file: the witnesses to ask, each with its URL, and the quorum without which no checkpoint is shown
    #[arg(long, value_name = "FILE", help_heading = "Log")]
    witness_policy: Option<PathBuf>,
    /// Start also where too few witnesses answer. Then nobody may notice that the ledger is an older backup
    #[arg(long, requires = "witness_policy", help_heading = "Log")]
    start_without_witnesses: bool,
    /// Gets one line, ADDR#KEY, when the gateway listens
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    Token(tokens::TokenArgs),
}

/// Which nodes may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Nodes {
    /// All
    Open,
    /// Those whose keys stand in --node-list
    Listed,
    /// Those with a token of `adit gateway token new`, and those that had one before
    Token,
}

/// A client's key and its weight, `KEY=N`.
fn parse_weight(text: &str) -> Result<(PublicKey, u32), String> {
    let fault = || format!("`{text}` is not a client's weight; write its key and a number from 1 on, KEY=N");
    let (key, weight) = text.split_once('=').ok_or_else(fault)?;
    let weight = weight.parse().ok().filter(|weight| *weight > 0).ok_or_else(fault)?;
    Ok((key.parse().map_err(|_| fault())?, weight))
}

impl GatewayArgs {
    fn node_policy(&self) -> anyhow::Result<NodePolicy> {
        match (self.nodes, &self.node_list) {
            (Nodes::Open, None) => Ok(NodePolicy::Open),
            (Nodes::Token, None) => Ok(NodePolicy::Token),
            (Nodes::Listed, Some(list)) => Ok(NodePolicy::Listed(list.clone())),
            (Nodes::Listed, None) => Err(usage("--nodes listed wants --node-list FILE, a key of a node a line")),
            (_, Some(_)) => Err(usage("--node-list is for --nodes listed")),
        }
    }
}

/// Where to serve the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogListen {
    At(SocketAddr),
    Off,
}

/// The port of the log's HTTP where nobody says.
const LOG_PORT: u16 = 4480;

fn parse_log_listen(text: &str) -> Result<LogListen, String> {
    match text {
        "off" => Ok(LogListen::Off),
        addr => addr.parse().map(LogListen::At).map_err(|_| format!("`{addr}` is no address with a port, and not `off`")),
    }
}

/// How many a second; nothing for as many as like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PerSecond(Option<NonZeroU32>);

fn parse_rate(text: &str) -> Result<PerSecond, String> {
    match (text, text.parse()) {
        ("off", _) => Ok(PerSecond(None)),
        // More than a million would be a clock's error, and divides its nanoseconds badly.
        (_, Ok(count @ 1..=1_000_000)) => Ok(PerSecond(NonZeroU32::new(count))),
        _ => Err("write a number from 1 to 1000000, or `off`".to_owned()),
    }
}

/// Where the log of a gateway at `listen` is served; on any port where the gateway is on any.
fn log_address(listen: SocketAddr, asked: Option<LogListen>) -> Option<SocketAddr> {
    match asked {
        Some(LogListen::Off) => None,
        Some(LogListen::At(addr)) => Some(addr),
        None => Some(SocketAddr::new(listen.ip(), if listen.port() == 0 { 0 } else { LOG_PORT })),
    }
}

/// Reads a policy file.
pub(crate) fn read_policy(path: &Path) -> anyhow::Result<Policy> {
    let text = std::fs::read(path).map_err(|error| usage(format!("policy {}: {error}", path.display())))?;
    Policy::from_bytes(&text).map_err(|error| usage(format!("policy {}: {error}", path.display())))
}

pub(crate) fn run(args: &GatewayArgs, common: &Common) -> anyhow::Result<Exit> {
    if let Some(GatewayCommand::Token(args)) = &args.command {
        return tokens::run(args, common);
    }
    let config = common.load_config()?;
    let listen = config.value(&SERVE_LISTEN, args.listen, str::parse::<SocketAddr>)?;
    let data = config.path_or(&SERVE_DATA, args.data.as_deref(), config.dirs.data.join("gateway")).value;
    let key = load_key("gateway", &Role::Gateway.file(&config, args.key.as_deref()))?;
    let mut setup = GatewayConfig::new(listen, &data);
    setup.store_bytes_max = args.store_max.0;
    setup.queue_max = args.queue_max.unwrap_or(setup.queue_max);
    setup.nodes = args.node_policy()?;
    setup.client_weights = args.client_weight.clone();
    setup.rates = RateLimits {
        submissions_per_key: args.submit_rate.0,
        submissions_per_address: args.address_rate.0,
        connections_per_address: args.connect_rate.0,
    };
    (setup.fee_ppm, setup.welcome) = (args.fee, args.welcome);
    setup.log_listen = log_address(listen, args.log_listen);
    setup.log_url = args.log_url.clone();
    setup.witnesses = args.witness_policy.as_deref().map(read_policy).transpose()?;
    setup.starts_without_witnesses = args.start_without_witnesses;
    let mut screen = Screen::new(common.quiet);
    block_on(async {
        // Heard from the start, so that a signal during the opening is not lost.
        let mut signals = StopSignals::listen()?;
        survive_file_limit()?;
        let gateway = Gateway::open(setup, key).map_err(|error| match error {
            StartError::Witnesses(error) if error.is_passing() => {
                anyhow::Error::from(error).context("too few witnesses answer; --start-without-witnesses starts all the same")
            }
            error => error.into(),
        })?;
        let log = gateway.log_url().map_or_else(|| "not served".to_owned(), |url| format!("at {url}"));
        announce(gateway.address(), args.ready_file.as_deref())?;
        screen.note(format!("log {log}; its key is {}", log_verifier_key(&gateway.address().key)));
        screen.note(format!("gateway ready, data in {}; Ctrl-C stops it", data.display()));
        gateway.run(signals.next()).await?;
        screen.note("gateway stopped");
        Ok(Exit::Success)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_is_a_key_and_a_number() {
        let key = PublicKey([7; 32]);
        assert_eq!(parse_weight(&format!("{key}=3")), Ok((key, 3)));
        for text in [format!("{key}"), format!("{key}=0"), format!("{key}=x"), "7=3".to_owned(), String::new()] {
            assert!(parse_weight(&text).is_err_and(|error| error.contains("KEY=N")), "{text}");
        }
    }
}
