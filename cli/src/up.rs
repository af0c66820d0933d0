//! `adit up`: a network of one machine, to try things on.

use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use adit_client::Client;
use adit_gateway::{Gateway, GatewayConfig};
use adit_node::{NodeConfig, NodeEvent};
use adit_protocol::{Microcredits, Order, PublicKey, SecretKey};
use adit_transport::GatewayAddr;
use anyhow::{Context, bail};
use clap::Args;
use tokio::sync::oneshot;

use crate::account;
use crate::args::Common;
use crate::dirs::Dirs;
use crate::exit::Exit;
use crate::keys::Role;
use crate::link::{self, load_key};
use crate::node::{self, OfferArgs};
use crate::quantity::show_bytes;
use crate::reactor::{StopSignals, block_on, survive_file_limit};
use crate::screen::Screen;
use crate::service::{Service, announce};
use crate::sink::AtomicFile;

/// What the user is granted at each start: these credits buy nothing elsewhere.
const GRANTED: Microcredits = Microcredits(1_000_000_000);

/// Be a whole network: a gateway and a node in one process, on this machine only
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit up                               # then, in another terminal: adit run MODULE.wasm
  adit up --slots 4 --memory 2GiB --allow-open
  adit up --ready-file up.addr --data /tmp/adit

While it runs, commands without --gateway use it. What it prints is ADDR#KEY, for --gateway elsewhere. Each start grants the
user's key 1,000 credits, which are worth nothing outside of it.")]
pub(crate) struct UpArgs {
    /// The UDP address to listen on; port 0 for any
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Holds ledger, blobs and the node's cache [default: ~/.local/share/adit/up]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    offer: OfferArgs,
    /// Gets one line, ADDR#KEY, when everything is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(crate) fn run(args: &UpArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let data = args.data.clone().unwrap_or_else(|| config.dirs.data.join("up"));
    let gateway_key = load_key("gateway", &Role::Gateway.file(&config, None))?;
    let node_key = load_key("node", &Role::Node.file(&config, None))?;
    let mut screen = Screen::new(common.quiet);
    let registration = Registration::claim(&config.dirs)?;

    block_on(async {
        // Heard from the start, so that whoever was told of this can stop it.
        let mut signals = StopSignals::listen()?;
        survive_file_limit()?;
        let operator = SecretKey::from_seed(*gateway_key.seed());
        let mut setup = GatewayConfig::new(args.listen, data.join("gateway"));
        setup.log_listen = Some(SocketAddr::new(args.listen.ip(), 0));
        let (gateway, address, log) = start_gateway(setup, gateway_key).await?;
        let user = link::load_user_key(&config, None)?.public();
        grant(operator, &address, user).await.context("the user was not granted credits")?;
        let mut setup = args.offer.read(&config, address.clone(), data.join("node"))?;
        let notes = [args.offer.fit_memory(&config, &mut setup)?, node::fit_cache(&mut setup)];
        notes.iter().flatten().for_each(|note| screen.note(note));
        let words = format!("{} slots of {}, data in {}", setup.slots, show_bytes(setup.memory), data.display());
        let (node, connected) = start_node(setup, node_key, common.quiet)?;
        let mut network = Network { gateway, node };
        let told = async {
            // Nobody is told of a network that has no node yet. A node that fails drops its end, and its own end is seen below.
            match connected.await {
                Ok(()) => tell(&address, &log, registration.as_ref(), args, &words, &mut screen),
                Err(_) => Ok(()),
            }
        };
        tokio::select! {
            Err(error) = told => return Err(error),
            () = signals.next() => screen.note("stopping; Ctrl-C again to leave at once"),
            () = network.ended() => {}
        }
        tokio::select! {
            () = network.stop() => {}
            () = signals.next() => std::process::exit(Exit::Interrupted.code().into()),
        }
        drop(registration);
        network.result()?;
        screen.note("stopped");
        Ok(Exit::Success)
    })
}

/// Tells commands, scripts and people that the network is ready.
fn tell(
    address: &GatewayAddr,
    log: &str,
    registration: Option<&Registration>,
    args: &UpArgs,
    words: &str,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    match registration {
        Some(registration) => registration.publish(address)?,
        None => screen.note("another `adit up` is the one that commands use by default; this one needs --gateway"),
    }
    announce(address, args.ready_file.as_deref())?;
    screen.note(format!("ready: {words}"));
    screen.note("in another terminal: adit run MODULE.wasm --input FILE");
    screen.note(format!("what was paid, checked by anybody: adit log fsck {log} --gateway-key {}", address.key));
    screen.note("Ctrl-C stops it");
    Ok(())
}

/// Starts the gateway, and waits for its address and its log's.
async fn start_gateway(setup: GatewayConfig, key: SecretKey) -> anyhow::Result<(Service, GatewayAddr, String)> {
    let (tell, told) = oneshot::channel();
    let service = Service::spawn("gateway", move |stopped| async move {
        let gateway = Gateway::open(setup, key)?;
        // Whoever started this waits for it.
        let _ = tell.send((gateway.address().clone(), gateway.log_url().unwrap_or_default().to_owned()));
        gateway.run(async { drop(stopped.await) }).await?;
        Ok(())
    })?;
    match told.await {
        Ok((address, log)) => Ok((service, address, log)),
        Err(_) => {
            service.result()?;
            bail!("the gateway ended before it listened")
        }
    }
}

/// Grants the user of this machine what it takes to try it.
async fn grant(operator: SecretKey, address: &GatewayAddr, customer: PublicKey) -> anyhow::Result<()> {
    let client = Client::connect(operator, address.clone()).await?;
    let order = Order::Grant { id: account::new_order(), customer, amount: GRANTED };
    let given = account::give(&client, order).await;
    client.close().await;
    given.map(drop)
}

/// Starts the node. What comes with it tells when it is connected, and fails where the node ends before.
fn start_node(setup: NodeConfig, key: SecretKey, quiet: bool) -> anyhow::Result<(Service, oneshot::Receiver<()>)> {
    let (tell, connected) = oneshot::channel();
    let mut tell = Some(tell);
    let service = Service::spawn("node", move |stopped| {
        let on_event = move |event| {
            if let NodeEvent::Connected { .. } = event
                && let Some(tell) = tell.take()
            {
                // Whoever waited may have been told to stop.
                let _ = tell.send(());
            }
            node::show(&event, false, quiet);
        };
        node::serve(setup, key, on_event, async { drop(stopped.await) })
    })?;
    Ok((service, connected))
}

/// The two parts.
#[derive(Debug)]
struct Network {
    gateway: Service,
    node: Service,
}

impl Network {
    /// Waits until one of them ends by itself.
    async fn ended(&mut self) {
        tokio::select! {
            () = self.gateway.ended() => {}
            () = self.node.ended() => {}
        }
    }

    /// Stops both, the node first, so that its last word is heard.
    async fn stop(&mut self) {
        self.node.stop();
        self.node.ended().await;
        self.gateway.stop();
        self.gateway.ended().await;
    }

    /// What they ended with.
    fn result(self) -> anyhow::Result<()> {
        self.node.result().context("the node ended")?;
        self.gateway.result().context("the gateway ended")
    }
}

/// The claim to be the `adit up` that commands use by default. The lock says that it runs; the file beside it says where.
#[derive(Debug)]
struct Registration {
    /// Held while this lives, and let go by the system however the process ends.
    _lock: File,
    address_file: PathBuf,
}

/// Whoever looks for a running `adit up` holds the lock for an instant; a claim that meets it comes again after this.
const LOCK_RETRY: Duration = Duration::from_millis(50);

impl Registration {
    /// Nothing where another one holds the claim.
    fn claim(dirs: &Dirs) -> anyhow::Result<Option<Self>> {
        let path = lock_file(dirs);
        let lock = || -> std::io::Result<Option<File>> {
            fs::create_dir_all(&dirs.state)?;
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(file)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        let mut held = lock().with_context(|| path.display().to_string())?;
        if held.is_none() {
            std::thread::sleep(LOCK_RETRY);
            held = lock().with_context(|| path.display().to_string())?;
        }
        let claimed = held.map(|lock| Self { _lock: lock, address_file: address_file(dirs) });
        if let Some(claimed) = &claimed {
            claimed.withdraw();
        }
        Ok(claimed)
    }

    /// Removes an address, that of an earlier process too. It may not be there.
    fn withdraw(&self) {
        let _ = fs::remove_file(&self.address_file);
    }

    fn publish(&self, address: &GatewayAddr) -> anyhow::Result<()> {
        AtomicFile::write(&self.address_file, format!("{address}\n").as_bytes())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// The address of the `adit up` that runs now.
pub(crate) fn running(dirs: &Dirs) -> Option<GatewayAddr> {
    let lock = File::open(lock_file(dirs)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => fs::read_to_string(address_file(dirs)).ok()?.trim_end().parse().ok(),
        // Nobody holds it: what the address file says, if it is there, is of a process that was killed.
        _ => None,
    }
}

fn lock_file(dirs: &Dirs) -> PathBuf {
    dirs.state.join("up.lock")
}

fn address_file(dirs: &Dirs) -> PathBuf {
    dirs.state.join("up.addr")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_believed_only_while_its_process_lives() {
        let dir = tempfile::tempdir().unwrap();
        let [config, cache, data, state] = ["c", "h", "d", "s"].map(|d| dir.path().join(d));
        let dirs = Dirs { config, cache, data, state };
        let address: GatewayAddr = format!("127.0.0.1:7#{}", PublicKey([7; 32])).parse().unwrap();
        assert_eq!(running(&dirs), None);

        let registration = Registration::claim(&dirs).unwrap().unwrap();
        assert_eq!(running(&dirs), None);
        registration.publish(&address).unwrap();
        assert_eq!(running(&dirs), Some(address.clone()));
        assert!(Registration::claim(&dirs).unwrap().is_none());
        drop(registration);
        assert!(!address_file(&dirs).exists());

        // Left over by a process that was killed.
        fs::write(address_file(&dirs), format!("{address}\n")).unwrap();
        assert_eq!(running(&dirs), None);
        let again = Registration::claim(&dirs).unwrap();
        assert!(again.is_some());
        assert_eq!(running(&dirs), None);
    }
}
