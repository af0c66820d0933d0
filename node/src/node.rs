use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use adit_protocol::{Digest, NodeOffer, SecretKey};
use adit_runtime::{Runtime, RuntimeConfig};
use adit_transport::{BlobStore, DialError, Dialer};
use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::link::Parted;
use crate::speed::Measured;
use crate::{NodeConfig, NodeEvent, link};

/// The first pause before a lost gateway is dialled again; later ones double, with jitter.
const RECONNECT_MIN: Duration = Duration::from_millis(100);

/// The longest pause. A gateway that was down for long finds its nodes again within this.
const RECONNECT_MAX: Duration = Duration::from_secs(15);

/// How long a node stays away after another machine came under its key.
const REPLACED_PAUSE: Duration = Duration::from_secs(60);

/// A connection that held for so long was a good one: the next pause is a short one again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// Says whether a node's kernel gives all that the wall around workers is made of.
const SANDBOX_LABEL: &str = "sandbox";

/// A node that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The owner's labels say what the node finds out by itself.
    #[error(
        "the label `sandbox={said}` is not the owner's to give: a node finds out itself how strong its sandbox is; leave it out"
    )]
    SandboxLabel {
        /// What the owner gave.
        said: String,
    },
    /// The cache folder cannot be used.
    #[error("cache folder {path}: {error}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The runtime does not start.
    #[error(transparent)]
    Runtime(#[from] adit_runtime::StartError),
    /// There is no usable endpoint.
    #[error(transparent)]
    Endpoint(#[from] DialError),
}

/// A node that is ready to work.
#[derive(Debug)]
pub struct Node {
    shared: Rc<Shared>,
}

/// What all leases of a node share.
pub(crate) struct Shared {
    pub(crate) config: NodeConfig,
    pub(crate) offer: NodeOffer,
    pub(crate) measured: Measured,
    pub(crate) dialer: Dialer,
    pub(crate) runtime: Runtime,
    pub(crate) blobs: BlobStore,
    /// One entry for each blob on its way, so that leases that need the same one wait for one transfer.
    pub(crate) fetching: RefCell<HashMap<Digest, Rc<tokio::sync::Mutex<()>>>>,
    on_event: RefCell<Box<dyn FnMut(NodeEvent)>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the caches and starts the workers. To be called inside of a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open(config: NodeConfig, key: SecretKey) -> Result<Self, StartError> {
        if let Some((_, said)) = config.labels.iter().find(|(key, _)| key == SANDBOX_LABEL) {
            return Err(StartError::SandboxLabel { said: said.clone() });
        }
        let blob_dir = config.cache_dir.join("blobs");
        let blobs =
            BlobStore::open(&blob_dir, config.cache_bytes_max).map_err(|error| StartError::Cache { path: blob_dir, error })?;
        let runtime = Runtime::new(RuntimeConfig {
            slots: config.slots as usize,
            cache_bytes_max: config.cache_bytes_max,
            memory_max: config.memory,
            module_bytes_max: config.module_bytes_max,
            worker_program: config.worker_program.clone(),
            allow_weak_sandbox: config.allow_weak_sandbox,
            baseline_code: config.baseline_code,
            cpu_share: config.cpu_share,
            priority: config.priority,
            ..RuntimeConfig::new(config.cache_dir.join("code"))
        })?;
        let offer = NodeOffer {
            software: concat!("adit-node ", env!("CARGO_PKG_VERSION")).into(),
            slots: config.slots,
            memory: config.memory,
            profiles: config.profiles.clone(),
            price: config.price,
            labels: labels(&config, &runtime),
            meter: adit_runtime::meter_id(),
            // What is measured comes with `offer_now`.
            fuel_per_second: 0,
        };
        let shared = Shared {
            config,
            offer,
            measured: Measured::default(),
            dialer: Dialer::new(key)?,
            runtime,
            blobs,
            fetching: RefCell::default(),
            on_event: RefCell::new(Box::new(|_| {})),
        };
        Ok(Self { shared: Rc::new(shared) })
    }

    /// Measures this machine's speed, then works for the gateway until `shutdown`, connecting again whenever it is lost. `on_event` hears
    /// what an owner may want to see.
    pub async fn run(self, on_event: impl FnMut(NodeEvent) + 'static, shutdown: impl Future<Output = ()>) {
        *self.shared.on_event.borrow_mut() = Box::new(on_event);
        let tasks = LocalSet::new();
        let shared = Rc::clone(&self.shared);
        let work = async {
            shared.measure().await;
            keep_working(shared).await;
        };
        tasks
            .run_until(async {
                tokio::select! {
                    () = work => {}
                    () = shutdown => {}
                }
            })
            .await;
        // Ends the leases, and so their workers. The gateway gives the jobs to other nodes.
        drop(tasks);
        self.shared.dialer.flush().await;
    }
}

impl Shared {
    pub(crate) fn tell(&self, event: NodeEvent) {
        (self.on_event.borrow_mut())(event);
    }
}

/// What the node says of itself: the owner's words, and its own about its walls.
fn labels(config: &NodeConfig, runtime: &Runtime) -> Vec<(String, String)> {
    config.labels.iter().cloned().chain([(SANDBOX_LABEL.to_owned(), runtime.sandbox().strength().to_owned())]).collect()
}

/// Never returns: a node whose gateway rejects it today may be welcome tomorrow.
async fn keep_working(shared: Rc<Shared>) {
    let policy = || {
        ExponentialBuilder::default()
            .with_min_delay(RECONNECT_MIN)
            .with_max_delay(RECONNECT_MAX)
            .with_jitter()
            .without_max_times()
    };
    let mut pauses = policy().build();
    loop {
        let started = Instant::now();
        let Parted { reason, replaced } = link::work(&shared).await;
        if started.elapsed() >= GOOD_CONNECTION {
            pauses = policy().build();
        }
        let mut retry_in = pauses.next().unwrap_or(RECONNECT_MAX);
        if replaced {
            // Two machines with one key would throw each other out all the time, and every job with them.
            retry_in = REPLACED_PAUSE;
        }
        tracing::info!(reason, ?retry_in, "not connected");
        shared.tell(NodeEvent::Disconnected { reason, retry_in });
        tokio::time::sleep(retry_in).await;
    }
}

#[cfg(test)]
mod tests {
    use adit_transport::GatewayAddr;

    use super::*;

    #[test]
    fn owner_cannot_say_how_strong_the_sandbox_is() {
        // The node replaced the label by its own, and told the owner nothing.
        let gateway = GatewayAddr { host: "127.0.0.1:1".to_owned(), key: SecretKey::generate().public() };
        let mut config = NodeConfig::new(gateway, "/no/such/folder");
        config.labels = vec![("zone".to_owned(), "eu".to_owned()), ("sandbox".to_owned(), "strong".to_owned())];
        let error = Node::open(config, SecretKey::generate()).unwrap_err();
        assert!(error.to_string().contains("`sandbox=strong`"), "{error}");
    }
}
