use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::future::Future;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use adit_protocol::{AttemptFailure, GpuOffer, NodeMessage, NodeOffer, NodeState, SecretKey};
use adit_runtime::{Runtime, RuntimeConfig};
use adit_transport::{BlobStore, DialError, Dialer};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_blocking};
use tokio::time::{Instant, timeout};

use crate::control::{ControlSocket, Refused, Status};
use crate::fetch::Fetching;
use crate::lease::Lease;
use crate::link::{Link, Parted};
use crate::owner::Owner;
use crate::room::Room;
use crate::rules::{Readings, Rules, Wanted};
use crate::sensors::{LinuxSensors, MissingSensor, Sensors};
use crate::speed::Measured;
use crate::times::{show_time, wall_time};
use crate::today::Today;
use crate::turns::Turns;
use crate::watch::Watch;
use crate::{AbsurdError, NodeConfig, NodeEvent, kept, link};

/// The first pause before a lost gateway is dialled again; later ones double, with jitter.
const RECONNECT_MIN: Duration = Duration::from_millis(100);

/// The longest pause, with its jitter, which is as long as the pause itself. A gateway that was down for long finds its nodes again within this.
const RECONNECT_MAX: Duration = Duration::from_secs(15);

/// How long a node stays away after another machine came under its key.
const REPLACED_PAUSE: Duration = Duration::from_secs(60);

/// A connection that held for so long was a good one: the next pause is a short one again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// Says whether a node's kernel gives all that the wall around workers is made of.
const SANDBOX_LABEL: &str = "sandbox";

/// Says of what class the GPU is that a node lends.
pub(crate) const GPU_LABEL: &str = "gpu";

/// Says of what kind it is: the first word of the class.
pub(crate) const GPU_KIND_LABEL: &str = "gpu-kind";

/// Says what kind of processor a node has, as Rust names it.
const ARCH_LABEL: &str = "arch";

/// Labels that a node gives itself, all that it may.
pub(crate) const OWN_LABELS: [&str; 4] = [SANDBOX_LABEL, ARCH_LABEL, GPU_LABEL, GPU_KIND_LABEL];

/// How many of the last attempts that it did not run a node remembers.
const REFUSALS_MAX: usize = 16;

/// How long a gateway may take to hear a node's last words.
const FAREWELL: Duration = Duration::from_millis(500);

/// Whoever was just killed may hold the lock for an instant more.
const LOCK_TRIES: u32 = 20;
/// How long that instant is waited for, each time.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// A node that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The owner's labels say what the node finds out by itself.
    #[error("the label `{label}={said}` is not the owner's to give: a node finds that out itself; leave it out")]
    OwnLabel {
        /// Which label.
        label: String,
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
    /// Another node has the cache folder.
    #[error("another node{} runs with the cache folder {}; stop it, or give this one a folder and a key of its own (--cache, --key)", .pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default(), .path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
        /// The other node's process, as far as it said.
        pid: Option<u32>,
    },
    /// No socket for the owner's commands.
    #[error("no socket for commands can be made in {}: {error}", .path.display())]
    Control {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The owner asks for what could never be.
    #[error(transparent)]
    Absurd(#[from] AbsurdError),
    /// A rule cannot be kept.
    #[error(transparent)]
    Sensor(#[from] MissingSensor),
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
    control: ControlSocket,
    /// Held while this lives, and let go by the system however the process ends.
    _lock: File,
}

/// What all leases of a node share.
pub(crate) struct Shared {
    pub(crate) config: NodeConfig,
    pub(crate) offer: NodeOffer,
    pub(crate) measured: Measured,
    pub(crate) dialer: Dialer,
    pub(crate) runtime: Runtime,
    pub(crate) blobs: BlobStore,
    pub(crate) room: Rc<Room>,
    /// One entry for each blob on its way, so that leases that need the same one wait for one transfer.
    pub(crate) fetching: Fetching,
    pub(crate) owner: Owner,
    pub(crate) watch: Watch,
    pub(crate) today: Today,
    pub(crate) turns: Rc<Turns>,
    /// Has the machine looked at now.
    pub(crate) look_now: Notify,
    /// Tells that no lease is held any more, or that the node's state is another.
    pub(crate) became_idle: Notify,
    /// What the gateway and the owner were told last.
    state: RefCell<NodeState>,
    /// Reads the owner's rules anew, where somebody said how.
    read_rules: RefCell<Option<ReadRules>>,
    /// The GPU that the gateway and the owner were told of last.
    pub(crate) gpu_told: RefCell<Option<GpuOffer>>,
    /// Since when it is not there that is to be lent.
    pub(crate) gpu_gone_since: Cell<Option<Instant>>,
    /// The connection, while there is one.
    link: RefCell<Weak<Link>>,
    /// Newest last.
    refusals: RefCell<VecDeque<Refused>>,
    on_event: RefCell<Box<dyn FnMut(NodeEvent)>>,
}

/// Reads an owner's rules anew, or says why that cannot be done.
type ReadRules = Box<dyn FnMut() -> Result<Rules, String>>;

/// Has a running node read its owner's rules anew.
#[derive(Debug, Clone)]
pub struct Reload(Weak<Shared>);

/// Rules that were not taken. Those from before hold on.
#[derive(Debug, thiserror::Error)]
#[error("the rules stay as they were: {0}")]
pub struct ReloadError(String);

impl Reload {
    /// Reads the rules and has them hold from here on, or none of them.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub async fn now(&self) -> Result<(), ReloadError> {
        match self.0.upgrade() {
            Some(node) => node.reload().await,
            None => Ok(()),
        }
    }
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
        let sensors = LinuxSensors::new(&config.proc_dir, &config.sys_dir);
        Self::open_with(config, key, Box::new(sensors))
    }

    /// Whether this machine can keep the owner's rules, and the owner says nothing that is not an owner's to say.
    ///
    /// # Errors
    /// [`StartError`], of those that need no start to be found.
    pub fn check(config: &NodeConfig) -> Result<(), StartError> {
        check(config, &mut LinuxSensors::new(&config.proc_dir, &config.sys_dir))
    }

    /// As [`Self::open`], with other sensors.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open_with(config: NodeConfig, key: SecretKey, mut sensors: Box<dyn Sensors>) -> Result<Self, StartError> {
        check(&config, sensors.as_mut())?;
        let lock = lock(&config.cache_dir)?;
        let blob_dir = config.cache_dir.join("blobs");
        let (half, slots) = (config.cache_bytes_max / 2, config.slots as usize);
        let blobs = BlobStore::open(&blob_dir, half).map_err(|error| StartError::Cache { path: blob_dir, error })?;
        let runtime = Runtime::new(RuntimeConfig {
            slots,
            cache_bytes_max: half,
            memory_max: config.memory,
            module_bytes_max: config.module_bytes_max,
            worker_program: config.worker_program.clone(),
            allow_weak_sandbox: config.allow_weak_sandbox,
            baseline_code: config.baseline_code,
            cpu_share: config.cpu_share,
            priority: config.priority,
            gpu: config.gpu.clone(),
            ..RuntimeConfig::new(config.cache_dir.join("code"))
        })?;
        let offer = NodeOffer {
            software: concat!("adit-node ", env!("CARGO_PKG_VERSION")).into(),
            slots: config.slots,
            memory: config.memory,
            gpu: None,
            profiles: config.profiles.clone(),
            price: config.price,
            labels: labels(&config, &runtime),
            meter: adit_runtime::meter_id(),
            // What is measured comes with `offer_now`, and so does the GPU.
            fuel_per_second: 0,
            one_tenant: false,
        };
        let dialer = Dialer::new(key)?;
        let control = ControlSocket::open(&config.cache_dir)
            .map_err(|error| StartError::Control { path: config.cache_dir.clone(), error })?;
        let watch = Watch::new(sensors);
        let read = watch.read(config.rules.wanted());
        let state_dir = kept::state_folder(&config.state_dir, &config.cache_dir);
        let owner = Owner::open(&state_dir, config.rules.clone());
        let today = Today::open(state_dir.join(kept::TODAY), read.clock.date());
        owner.look(watch.elapsed(), &read, today.moved());
        if owner.is_gpu_kept_back() {
            runtime.set_gpu(false);
        }
        let shared = Shared {
            config,
            offer,
            measured: Measured::default(),
            dialer,
            runtime,
            blobs,
            room: Rc::new(Room::new(half)),
            fetching: Fetching::default(),
            state: RefCell::new(owner.state()),
            owner,
            watch,
            read_rules: RefCell::new(None),
            gpu_told: RefCell::default(),
            gpu_gone_since: Cell::default(),
            today,
            turns: Rc::new(Turns::new(slots)),
            look_now: Notify::new(),
            became_idle: Notify::new(),
            link: RefCell::default(),
            refusals: RefCell::default(),
            on_event: RefCell::new(Box::new(|_| {})),
        };
        Ok(Self { shared: Rc::new(shared), control, _lock: lock })
    }

    /// Says how the owner's rules are read anew while the node runs. What comes with it has that done; so does the owner's command.
    pub fn reloads(&self, read: impl FnMut() -> Result<Rules, String> + 'static) -> Reload {
        *self.shared.read_rules.borrow_mut() = Some(Box::new(read));
        Reload(Rc::downgrade(&self.shared))
    }

    /// Measures this machine's speed, then works for the gateway until `shutdown`, connecting again whenever it is lost. `on_event` hears
    /// what an owner may want to see.
    pub async fn run(self, on_event: impl FnMut(NodeEvent) + 'static, shutdown: impl Future<Output = ()>) {
        *self.shared.on_event.borrow_mut() = Box::new(on_event);
        if self.shared.state() != NodeState::Ready {
            self.shared.tell(NodeEvent::State(self.shared.state()));
        }
        let tasks = LocalSet::new();
        let shared = Rc::clone(&self.shared);
        let work = async {
            shared.settle_gpu().await;
            shared.look_first().await;
            shared.measure_first().await;
            keep_working(shared).await;
        };
        tasks
            .run_until(async {
                tokio::select! {
                    () = work => {}
                    () = self.shared.watch.run(&self.shared) => {}
                    () = self.control.serve(&self.shared) => {}
                    () = async { shutdown.await; self.shared.leave().await } => {}
                }
            })
            .await;
        // Ends the leases that are left, and so their workers. The gateway gives the jobs to other nodes.
        drop(tasks);
        self.shared.today.save();
        self.shared.dialer.flush().await;
    }
}

impl Shared {
    pub(crate) fn tell(&self, event: NodeEvent) {
        (self.on_event.borrow_mut())(event);
    }

    /// Whether this node takes jobs.
    pub(crate) fn state(&self) -> NodeState {
        self.state.borrow().clone()
    }

    pub(crate) fn set_link(&self, link: &Rc<Link>) {
        *self.link.borrow_mut() = Rc::downgrade(link);
    }

    /// Gives back what runs, which is paid for what it did, and waits until the gateway has all that was said to it.
    async fn leave(&self) {
        self.owner.leave();
        self.refresh();
        // Guests are stopped within a fifth of that.
        let _ = timeout(FAREWELL, self.idle()).await;
        if let Some(link) = self.link() {
            // A gateway that is gone is not waited for.
            let _ = timeout(FAREWELL, link.outbox.close()).await;
        }
    }

    /// Waits until what the rules need of the machine is known, where it tells so soon: a node that rested for want of a first reading
    /// would join without having measured its speed.
    async fn look_first(&self) {
        let wanted = self.owner.rules().wanted();
        if wanted == Wanted::default() {
            return;
        }
        // What cannot be read any more the look finds.
        let _ = self.watch.prepare(wanted).await;
        self.look_for(wanted).await;
    }

    /// Reads what is wanted, and takes it in.
    pub(crate) async fn look_for(&self, wanted: Wanted) {
        let read = self.watch.read_aside(wanted).await;
        // Rules that came meanwhile want something else of the machine, which was not looked at.
        if self.owner.rules().wanted() == wanted {
            self.look(self.watch.elapsed(), &read);
        }
    }

    /// Takes in what was read of the machine.
    pub(crate) fn look(&self, now: Duration, read: &Readings) {
        self.today.turn(read.clock.date());
        if let Some(link) = self.link() {
            link.count_traffic();
        }
        self.today.save_soon();
        self.owner.look(now, read, self.today.moved());
        self.refresh();
        self.look_at_gpu();
    }

    /// Acts on what the owner and the rules say, where that is something new.
    pub(crate) fn refresh(&self) {
        let state = self.owner.state();
        if *self.state.borrow() == state {
            return;
        }
        tracing::info!(?state, "state");
        *self.state.borrow_mut() = state.clone();
        if let Some(link) = self.link() {
            link.obey(&state);
        }
        if matches!(state, NodeState::Paused(_)) {
            self.runtime.stop_compiling();
        }
        self.tell(NodeEvent::State(state));
        self.became_idle.notify_waiters();
    }

    /// Reads the owner's rules anew, and keeps those from before where the new ones cannot be kept.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub(crate) async fn reload(&self) -> Result<(), ReloadError> {
        let read = match self.read_rules.borrow_mut().as_mut() {
            Some(read) => read(),
            None => Err("nobody said where they are".to_owned()),
        };
        let reloaded = match read {
            Ok(rules) => self.take_rules(rules).await.map_err(ReloadError),
            Err(reason) => Err(ReloadError(reason)),
        };
        self.tell(match &reloaded {
            Ok(()) => NodeEvent::RulesRead { rules: self.owner.rules().describe() },
            Err(error) => NodeEvent::RulesNotRead { reason: error.to_string() },
        });
        reloaded
    }

    async fn take_rules(&self, rules: Rules) -> Result<(), String> {
        rules.check().map_err(|error| error.to_string())?;
        self.watch.prepare(rules.wanted()).await.map_err(|error| error.to_string())?;
        let is_alone_now = rules.one_tenant && !self.owner.rules().one_tenant;
        let before = self.offer_now();
        self.owner.set_rules(rules);
        if let Some(link) = self.link() {
            let offer = self.offer_now();
            if offer != before {
                link.send(&NodeMessage::Offer(Box::new(offer)));
            }
            link.keep_rules(is_alone_now);
        }
        self.turns.look_again();
        let wanted = self.owner.rules().wanted();
        self.look(self.watch.elapsed(), &self.watch.read(wanted));
        // A guest that runs may not have been watched until now.
        self.look_now.notify_one();
        Ok(())
    }

    /// Whether a rule could be broken while a guest runs.
    pub(crate) fn must_be_watched(&self) -> bool {
        self.owner.rules().depend_on_the_moment() && self.leases() > 0
    }

    /// Waits until no lease is held.
    pub(crate) async fn idle(&self) {
        self.idle_or(|| false).await;
    }

    /// Waits until no lease is held, or the node takes jobs again.
    pub(crate) async fn drained(&self) {
        self.idle_or(|| *self.state.borrow() == NodeState::Ready).await;
    }

    /// Waits until the node takes no jobs, or no more.
    pub(crate) async fn unready(&self) {
        loop {
            let changed = self.became_idle.notified();
            if *self.state.borrow() != NodeState::Ready {
                return;
            }
            changed.await;
        }
    }

    /// Waits until no lease is held that has the GPU.
    pub(crate) async fn without_gpu_jobs(&self) {
        self.idle_or(|| self.link().is_none_or(|link| link.gpu_leases() == 0)).await;
    }

    async fn idle_or(&self, is_over: impl Fn() -> bool) {
        loop {
            let changed = self.became_idle.notified();
            if self.leases() == 0 || is_over() {
                return;
            }
            changed.await;
        }
    }

    /// Remembers an attempt that was not run, for the owner to see.
    pub(crate) fn note_refusal(&self, lease: &Lease, failure: &AttemptFailure) {
        let mut refusals = self.refusals.borrow_mut();
        if refusals.len() == REFUSALS_MAX {
            refusals.pop_front();
        }
        refusals.push_back(Refused {
            time: show_time(wall_time()),
            job: lease.job.to_string(),
            client: lease.client.to_string(),
            module: lease.spec.module.digest.to_string(),
            reason: failure.to_string(),
        });
    }

    /// What an owner may want to know.
    pub(crate) async fn status(&self) -> Status {
        let link = self.link();
        let jobs = link.as_ref().map(|link| link.jobs()).unwrap_or_default();
        if let Some(link) = &link {
            link.count_traffic();
        }
        let (state, reason) = match self.state() {
            NodeState::Ready => ("ready", None),
            NodeState::Draining => ("draining", None),
            NodeState::Paused(reason) => ("paused", Some(reason)),
        };
        let runtime = self.runtime.clone();
        let code_bytes = spawn_blocking(move || runtime.cache_bytes_used()).await;
        Status {
            node: self.dialer.key().public().to_string(),
            gateway: self.config.gateway.to_string(),
            rtt_ms: link.map(|link| (link.rtt().as_secs_f64() * 1e6).round() / 1e3),
            state: state.to_owned(),
            reason,
            workers: (self.runtime.idle_workers() + jobs.iter().filter(|job| job.is_running).count()) as u64,
            jobs,
            refused: self.refusals.borrow().iter().rev().cloned().collect(),
            today: self.today.day(),
            slots: self.config.slots,
            memory_bytes: self.config.memory.0,
            fuel_per_second: self.offer_now().fuel_per_second,
            blob_bytes: self.blobs.bytes_used(),
            // A folder that cannot be read holds nothing that could be used.
            code_bytes: code_bytes.ok().and_then(Result::ok).unwrap_or(0),
            cache_bytes_max: self.config.cache_bytes_max,
            rules: self.owner.rules().describe(),
            gpu: self.gpu_status(),
            pid: std::process::id(),
            software: self.offer.software.clone(),
        }
    }

    pub(crate) fn link(&self) -> Option<Rc<Link>> {
        self.link.borrow().upgrade()
    }

    fn leases(&self) -> usize {
        self.link().map_or(0, |link| link.leases())
    }
}

fn check(config: &NodeConfig, sensors: &mut dyn Sensors) -> Result<(), StartError> {
    if let Some((label, said)) = config.labels.iter().find(|(key, _)| OWN_LABELS.contains(&key.as_str())) {
        return Err(StartError::OwnLabel { label: label.clone(), said: said.clone() });
    }
    config.check(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))?;
    Ok(sensors.check(config.rules.wanted())?)
}

/// Makes sure that no other node uses the folder: each would remove what the other is fetching, and answer the other's commands.
fn lock(cache_dir: &Path) -> Result<File, StartError> {
    let path = cache_dir.join("node.lock");
    let failed = |error| StartError::Cache { path: cache_dir.to_owned(), error };
    fs::create_dir_all(cache_dir).map_err(failed)?;
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => {
                // It is for words alone, and a disk that is full keeps no node from starting: that makes room.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    let mut pid = String::new();
    // Without it the message says a little less.
    let _ = file.read_to_string(&mut pid);
    Err(StartError::Taken { path: cache_dir.to_owned(), pid: pid.trim().parse().ok() })
}

/// What the node says of itself: the owner's words, and its own about its walls and its processor.
fn labels(config: &NodeConfig, runtime: &Runtime) -> Vec<(String, String)> {
    let own = [(SANDBOX_LABEL, runtime.sandbox().strength()), (ARCH_LABEL, std::env::consts::ARCH)];
    config.labels.iter().cloned().chain(own.map(|(label, said)| (label.to_owned(), said.to_owned()))).collect()
}

/// Never returns: a node whose gateway rejects it today may be welcome tomorrow.
async fn keep_working(shared: Rc<Shared>) {
    let mut pauses = pauses_between_dials();
    loop {
        let started = Instant::now();
        let Parted { reason, replaced } = link::work(&shared).await;
        if started.elapsed() >= GOOD_CONNECTION {
            pauses = pauses_between_dials();
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

fn pauses_between_dials() -> ExponentialBackoff {
    let policy = ExponentialBuilder::default().with_min_delay(RECONNECT_MIN).with_max_delay(RECONNECT_MAX / 2);
    policy.with_jitter().without_max_times().build()
}

#[cfg(test)]
mod tests {
    use adit_transport::GatewayAddr;

    use super::*;

    /// The jitter came on top of the longest pause, and made it twice as long.
    #[test]
    fn gateway_is_dialled_again_within_what_is_promised() {
        let pauses: Vec<Duration> = pauses_between_dials().take(1_000).collect();
        assert!(pauses.iter().all(|pause| *pause <= RECONNECT_MAX), "{pauses:?}");
        assert!(pauses[10..].iter().all(|pause| *pause >= RECONNECT_MAX / 2), "{pauses:?}");
    }

    #[test]
    fn owner_cannot_say_what_the_node_finds_out_itself() {
        // The node replaced the label by its own, and told the owner nothing.
        let gateway = GatewayAddr { host: "127.0.0.1:1".to_owned(), key: SecretKey::generate().public() };
        let mut config = NodeConfig::new(gateway, "/no/such/folder");
        let own = [("sandbox", "strong"), ("arch", "riscv64"), ("gpu", "discrete/best/ever"), ("gpu-kind", "discrete")];
        for (label, said) in own {
            config.labels = vec![("zone".to_owned(), "eu".to_owned()), (label.to_owned(), said.to_owned())];
            let error = Node::open(config.clone(), SecretKey::generate()).unwrap_err();
            assert!(error.to_string().contains(&format!("`{label}={said}`")), "{error}");
        }
    }
}
