//! `adit gateway`: places jobs on nodes and records their receipts.

use std::net::SocketAddr;
use std::path::PathBuf;

use adit_gateway::{Gateway, GatewayConfig};
use adit_protocol::{ByteCount, Microcredits};
use clap::Args;

use crate::args::Common;
use crate::config::{SERVE_DATA, SERVE_LISTEN};
use crate::exit::Exit;
use crate::keys::Role;
use crate::link::load_key;
use crate::quantity::{parse_bytes, parse_credits, parse_percent};
use crate::reactor::{StopSignals, block_on};
use crate::screen::Screen;
use crate::service::announce;

/// Be a gateway: place jobs on nodes, record receipts
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit gateway --listen 0.0.0.0:4433 --data /var/lib/adit
  adit gateway --listen 127.0.0.1:0 --ready-file gateway.addr   # any free port; ADDR#KEY in the file
  adit gateway --fee 5 --welcome 0.5    # keeps 5 % of each cost; new keys can try it

Nodes and clients need ADDR#KEY, which is printed; where the address is 0.0.0.0, with a name or an address of this machine
instead. The key is the gateway's name: keep its file, and its data. UDP must be open on the port.")]
pub(crate) struct GatewayArgs {
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
    /// What the gateway keeps of a job's cost, in percent; the node's owner gets the rest
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_percent)]
    fee: u32,
    /// Credits that each key gets that never had any. Keys cost nothing to make, so whoever likes can have this again and again
    #[arg(long, value_name = "CREDITS", default_value = "0", value_parser = parse_credits)]
    welcome: Microcredits,
    /// Gets one line, ADDR#KEY, when the gateway listens
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(crate) fn run(args: &GatewayArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let listen = config.value(&SERVE_LISTEN, args.listen, str::parse::<SocketAddr>)?;
    let data = config.path_or(&SERVE_DATA, args.data.as_deref(), config.dirs.data.join("gateway")).value;
    let key = load_key("gateway", &Role::Gateway.file(&config, args.key.as_deref()))?;
    let mut setup = GatewayConfig::new(listen, &data);
    setup.store_bytes_max = args.store_max.0;
    setup.queue_max = args.queue_max.unwrap_or(setup.queue_max);
    (setup.fee_ppm, setup.welcome) = (args.fee, args.welcome);
    let mut screen = Screen::new(common.quiet);
    block_on(async {
        // Heard from the start, so that a signal during the opening is not lost.
        let mut signals = StopSignals::listen()?;
        let gateway = Gateway::open(setup, key)?;
        announce(gateway.address(), args.ready_file.as_deref())?;
        screen.note(format!("gateway ready, data in {}; Ctrl-C stops it", data.display()));
        gateway.run(signals.next()).await?;
        screen.note("gateway stopped");
        Ok(Exit::Success)
    })
}
