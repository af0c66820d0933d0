use std::cell::RefCell;
use std::future::Future;
use std::net::TcpListener;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_ledger::{BATCH_OPERATIONS_MAX, CommitError, DamageMark, Ledger, OpenError, Operation, Reader, Writer};
use adit_protocol::{PublicKey, SecretKey, Terms, VoidReason};
use adit_tlog::{HttpServer, LogService, Published};
use adit_transport::{BlobStore, GatewayAddr, Listener};
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use crate::admission::Admission;
use crate::arrivals::Arrivals;
use crate::checker::Checker;
use crate::clock::wall_time;
use crate::core::{Core, Halt, LedgerAccess, LogAccess};
use crate::crowd::{Crowd, Lines};
use crate::link::{ARRIVALS_MAX, Entrance, SENDS_MAX, SUBSCRIBER_MAX};
use crate::publisher::{Publisher, Signer};
use crate::rates::{Door, Entry};
use crate::{GatewayConfig, JoinTokens, PublishError, RunError, StartError, link, settle};

/// A gateway that listens.
#[derive(Debug)]
pub struct Gateway {
    config: GatewayConfig,
    key: SecretKey,
    listener: Listener,
    address: GatewayAddr,
    store: BlobStore,
    entrance: Rc<Entrance>,
    /// Where the log is served.
    log_listener: Option<TcpListener>,
    log_url: Option<String>,
    published: Published,
    engine: Engine,
    /// Why the ledger recorded nothing at the start, so that the gateway only reads; nothing where it records.
    halt: Option<Halt>,
}

/// What depends on the ledger, and begins again where that fails. Dropped in this order: nobody rings for a publisher that has ended.
#[derive(Debug)]
struct Engine {
    core: Rc<RefCell<Core>>,
    commits: mpsc::UnboundedReceiver<adit_ledger::Batch>,
    /// Nothing where nothing is signed any more.
    publisher: Option<Publisher>,
    faults: mpsc::UnboundedReceiver<PublishError>,
    /// Told when anybody who reads the ledger finds damage.
    damaged: Arc<Notify>,
    /// Nothing where the gateway only reads.
    checker: Option<Checker>,
    http: Option<HttpServer>,
    /// A ledger that is only read, so that nobody else opens it.
    _idle: Option<Ledger>,
}

/// How serving ended.
enum Ending {
    Asked,
    Socket,
    /// The ledger records nothing any more, and why.
    Ledger(Halt),
}

impl Gateway {
    /// Opens the ledger and the blob store, asks the witnesses whether the ledger is the newest, and listens. To be called inside of a
    /// tokio runtime. Where the ledger cannot record what a gateway begins with, as on a full disk, this is one that only reads; and where
    /// damage was found in it before, which nobody has mended, one that signs nothing either.
    ///
    /// # Errors
    /// [`StartError`], for one where another gateway has the ledger open, or where a witness has seen more of its log.
    pub fn open(config: GatewayConfig, key: SecretKey) -> Result<Self, StartError> {
        let data = |error| StartError::Data { path: config.data_dir.clone(), error };
        std::fs::create_dir_all(&config.data_dir).map_err(data)?;
        // The ledger first: it is what keeps a second gateway out of the folder.
        check_beginning(&config.data_dir)?;
        let mut ledger = Ledger::open(&ledger_file(&config.data_dir), key.public())?;
        let published = Published::default();
        let mut signer = Signer::new(&key, ledger.reader().clone(), published.clone(), config.witnesses.clone());
        let halt = match DamageMark::of(&ledger_file(&config.data_dir)).read().map_err(data)? {
            Some(found) => Some(marked(&config.data_dir, &found)),
            None => start(&mut ledger, &mut signer, &config, &key)?,
        };
        let nodes = Admission::open(&config.nodes, JoinTokens::of_gateway(&config.data_dir))?;
        let [clients_here, nodes_here] = [(); 2].map(|()| Crowd::new(SUBSCRIBER_MAX));
        let [sends_to_clients, sends_to_nodes] = [(); 2].map(|()| Lines::new(SENDS_MAX));
        let door = RefCell::new(Door::new(&config.rates));
        let arrivals = Arrivals::new(ARRIVALS_MAX);
        let entrance = Rc::new(Entrance { door, nodes, clients_here, nodes_here, sends_to_clients, sends_to_nodes, arrivals });
        let store = BlobStore::open(&config.data_dir.join("blobs"), config.store_bytes_max).map_err(data)?;
        let listener = Listener::bind(config.listen, &key).map_err(|error| StartError::Listen { addr: config.listen, error })?;
        let address = GatewayAddr { host: listener.local_addr().to_string(), key: key.public() };
        let log_error = |addr| move |error| StartError::LogListen { addr, error };
        let log_listener = config.log_listen.map(|addr| TcpListener::bind(addr).map_err(log_error(addr))).transpose()?;
        let log_at = log_listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let log_url = config.log_url.clone().or(log_at.map(|addr| format!("http://{addr}")));
        let (log_at, url) = (log_listener.as_ref(), log_url.clone());
        let engine = match &halt {
            None => Engine::new(&config, &key, store.clone(), ledger, signer, log_at, url)?,
            Some(halt) => {
                // Both have the failed ledger open.
                drop((ledger, signer));
                let ledger = reopen_here(&ledger_file(&config.data_dir), key.public())?;
                tell_that_it_only_reads(halt);
                Engine::read_only(&config, &key, store.clone(), ledger, halt.clone(), published.clone(), log_at, url)?
            }
        };
        Ok(Self { config, key, listener, address, store, entrance, log_listener, log_url, published, engine, halt })
    }

    /// Where it listens and who it is.
    pub fn address(&self) -> &GatewayAddr {
        &self.address
    }

    /// Where the log is served over HTTP; nothing where it is not.
    pub fn log_url(&self) -> Option<&str> {
        self.log_url.as_deref()
    }

    /// Serves until `shutdown`. Then every connection is told, and what was queued for the ledger is recorded before this returns.
    ///
    /// Where the ledger fails, or whoever reads it finds it damaged, it begins again as a gateway that only reads: accounts, receipts and the
    /// log are served, and no job is taken. It ends with the error then, at `shutdown`, and at once where the ledger cannot even be opened.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { config, key, listener, store, entrance, log_listener, log_url, published, engine, halt, .. } = self;
        let (listener, mut shutdown) = (Rc::new(listener), std::pin::pin!(shutdown));
        let halt = match engine.serve(&listener, &entrance, shutdown.as_mut()).await {
            Ending::Asked => return halt.map_or(Ok(()), |halt| Err(RunError::Ledger(halt.why))),
            Ending::Socket => return Err(RunError::Socket),
            Ending::Ledger(halt) => halt,
        };
        let stopped = || RunError::Ledger(halt.why.clone());
        let reader = reopen(&ledger_file(&config.data_dir), key.public()).await.map_err(|error| {
            tracing::error!(%error, "the ledger cannot be opened again; the gateway stops");
            stopped()
        })?;
        tell_that_it_only_reads(&halt);
        let engine = Engine::read_only(&config, &key, store, reader, halt.clone(), published, log_listener.as_ref(), log_url);
        let ending = engine.map_err(|_| stopped())?.serve(&listener, &entrance, shutdown).await;
        debug_assert!(!matches!(ending, Ending::Ledger(_)), "what is only read does not fail to record");
        Err(stopped())
    }
}

fn tell_that_it_only_reads(halt: &Halt) {
    tracing::error!(
        reason = halt.why,
        "the gateway only reads now: accounts, receipts and the log; it takes no jobs until the cause is mended and it is started anew"
    );
}

/// Opens a ledger that was open until now. Whoever still reads it, such as a backup, ends soon: its reads fail.
async fn reopen(path: &Path, gateway: PublicKey) -> Result<Ledger, OpenError> {
    let begun = Instant::now();
    loop {
        match Ledger::open(path, gateway) {
            Err(OpenError::AlreadyOpen { .. }) if begun.elapsed() < REOPEN_PATIENCE => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            opened => return opened,
        }
    }
}

/// As [`reopen`], at the start, when nobody is served yet who would be kept waiting.
fn reopen_here(path: &Path, gateway: PublicKey) -> Result<Ledger, OpenError> {
    let begun = Instant::now();
    loop {
        match Ledger::open(path, gateway) {
            Err(OpenError::AlreadyOpen { .. }) if begun.elapsed() < REOPEN_PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            opened => return opened,
        }
    }
}

/// How long a failed ledger's last readers are waited for.
const REOPEN_PATIENCE: Duration = Duration::from_secs(10);

/// A folder without a ledger has nothing of an earlier one either: a ledger that was moved aside, the mark of a damaged one, a backup.
fn check_beginning(data_dir: &Path) -> Result<(), StartError> {
    let ledger = ledger_file(data_dir);
    if ledger.exists() {
        return Ok(());
    }
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let starts = ["ledger.redb.replaced-", "ledger.redb.damaged"];
    let is_start = |name: &str| starts.iter().any(|start| name.starts_with(start));
    let is_left = |path: &Path| path.file_name().is_some_and(|name| is_start(&name.to_string_lossy()));
    let found = entries(data_dir).find(|path| is_left(path)).or_else(|| entries(&data_dir.join("backups")).next());
    found.map_or(Ok(()), |found| Err(StartError::LedgerGone { ledger, found }))
}

fn ledger_file(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("ledger.redb")
}

/// Serves what a ledger's reader reads.
fn serve_log(listener: Option<&TcpListener>, reader: &Reader, published: &Published) -> Result<Option<HttpServer>, StartError> {
    let Some(listener) = listener else { return Ok(None) };
    let service = LogService::new(reader.clone(), published.clone());
    let answer = move |request| service.answer(&request);
    let server = listener.try_clone().and_then(|listener| HttpServer::spawn("log-http", listener, answer));
    server.map(Some).map_err(StartError::Thread)
}

impl Engine {
    fn new(
        config: &GatewayConfig,
        key: &SecretKey,
        store: BlobStore,
        ledger: Ledger,
        signer: Signer,
        log_listener: Option<&TcpListener>,
        log_url: Option<String>,
    ) -> Result<Self, StartError> {
        let published = signer.published().clone();
        let damaged = watch_damage(ledger.reader(), &config.data_dir);
        let http = serve_log(log_listener, ledger.reader(), &published)?;
        let (tell_fault, faults) = mpsc::unbounded_channel();
        // The receiver is gone only when the gateway stops.
        let publisher = Publisher::spawn(signer, move |error| _ = tell_fault.send(error)).map_err(StartError::Thread)?;
        let (sender, commits) = mpsc::unbounded_channel();
        let ring = publisher.bell();
        let on_commit = move |batch: adit_ledger::Batch| {
            if batch.result.is_ok() {
                ring();
            }
            // As above; what was committed is found at the next start.
            let _ = sender.send(batch);
        };
        let checker = Checker::spawn(ledger.reader().clone(), config.check_delay).map_err(StartError::Thread)?;
        let writer = Writer::spawn(ledger, on_commit).map_err(StartError::Thread)?;
        let log = LogAccess { published, url: log_url };
        let core = Rc::new(RefCell::new(Core::new(config, key, store, LedgerAccess::Write(writer), log)));
        Ok(Self { core, commits, publisher: Some(publisher), faults, damaged, checker: Some(checker), http, _idle: None })
    }

    /// A gateway over a ledger that is only read, because of `reason`.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of them are parts of the gateway, which does not exist any more as a whole"
    )]
    fn read_only(
        config: &GatewayConfig,
        key: &SecretKey,
        store: BlobStore,
        ledger: Ledger,
        halt: Halt,
        published: Published,
        log_listener: Option<&TcpListener>,
        log_url: Option<String>,
    ) -> Result<Self, StartError> {
        let damaged = watch_damage(ledger.reader(), &config.data_dir);
        if let Ok(Some(found)) = DamageMark::of(&ledger_file(&config.data_dir)).read() {
            // Whoever reads the log is told why nothing is signed.
            ledger.reader().set_damaged(&found);
        }
        let http = serve_log(log_listener, ledger.reader(), &published)?;
        let log = LogAccess { published, url: log_url };
        let why = format!("the gateway only reads since its ledger failed: {}", halt.why);
        let access = LedgerAccess::Read(ledger.reader().clone(), Halt { why, ..halt });
        let core = Rc::new(RefCell::new(Core::new(config, key, store, access, log)));
        let (commits, faults) = (mpsc::unbounded_channel().1, mpsc::unbounded_channel().1);
        Ok(Self { core, commits, publisher: None, faults, damaged, checker: None, http, _idle: Some(ledger) })
    }

    /// Serves until `shutdown` or until the ledger fails. All connections are gone then, and all that was read is let go.
    async fn serve(self, listener: &Rc<Listener>, entrance: &Rc<Entrance>, shutdown: impl Future<Output = ()>) -> Ending {
        // Dropped from the last to the first, also where this is cancelled: the writer, which rings for the publisher, before that.
        let Self { _idle, http, checker, damaged, faults, publisher, commits, core } = self;
        let tasks = LocalSet::new();
        if _idle.is_none() {
            tasks.spawn_local(settle::take_in_commits(Rc::clone(&core), commits));
            tasks.spawn_local(settle::take_in_faults(Rc::clone(&core), faults));
            tasks.spawn_local(settle::take_in_damage(Rc::clone(&core), damaged));
            tasks.spawn_local(settle::hand_over_receipts(Rc::clone(&core)));
            tasks.spawn_local(expire_holds(Rc::clone(&core)));
            tasks.spawn_local(record_holds(Rc::clone(&core)));
        }
        tasks.spawn_local(keep_time(Rc::clone(&core)));
        let accepting = accept(Rc::clone(listener), Rc::clone(&core), Rc::clone(entrance));
        let stopping = Arc::clone(&core.borrow().stopping);
        let ending = tasks
            .run_until(async {
                tokio::select! {
                    () = accepting => Ending::Socket,
                    () = stopping.notified() => Ending::Ledger(core.borrow().ledger_stopped().expect("the ledger stopped")),
                    () = shutdown => Ending::Asked,
                }
            })
            .await;
        drop(checker);
        if !matches!(ending, Ending::Ledger(_)) {
            listener.close("the gateway stops");
            tasks.run_until(listener.flush()).await;
        }
        core.borrow_mut().settle_winners();
        core.borrow_mut().hand_over();
        while !core.borrow().is_handed_over() {
            // The ledger's queue is full; the next commit makes room, and its report hands over more.
            tasks.run_until(tokio::time::sleep(Duration::from_millis(5))).await;
        }
        // Ends the tasks, which hold the core; the ledger's writer then records what is queued and joins its thread, and only then does the
        // publisher hear that nothing more comes.
        drop(tasks);
        drop(core);
        drop(publisher);
        drop(http);
        ending
    }
}

/// Signs what was recorded before, and records what a gateway begins with. Why the ledger records nothing, where that is no reason not to start.
fn start(ledger: &mut Ledger, signer: &mut Signer, config: &GatewayConfig, key: &SecretKey) -> Result<Option<Halt>, StartError> {
    // Before anything is added: what was signed before is signed again, and shows whether it is all there.
    match signer.publish_first() {
        Err(error) if error.is_passing() && config.starts_without_witnesses => {
            tracing::warn!(%error, "the gateway starts without a quorum of witnesses");
        }
        signed => signed?,
    }
    match begin(ledger, config, key) {
        // Without any terms there is no log to be read, and one that is damaged is not to be shown.
        Err(StartError::Commit(CommitError::Failed { cause } | CommitError::Stopped { cause }))
            if cause.is_of_the_disk() && ledger.tree().size > 0 =>
        {
            tracing::error!(reason = %cause, "the ledger records nothing any more");
            Ok(Some(Halt::from(cause.to_string())))
        }
        begun => begun.map(|()| None),
    }
}

/// Why a gateway only reads in whose ledger damage was found before: the start looks at too little to find it again, or to find it gone.
fn marked(data_dir: &Path, found: &str) -> Halt {
    let (data, mark) = (data_dir.display(), DamageMark::of(&ledger_file(data_dir)));
    let why = format!(
        "damage was found before ({}: {found}); restore a backup (adit ledger restore), or see whether it was the machine's \
         (adit ledger rebuild --check --data {data}), which takes the mark away where the ledger is whole",
        mark.path().display()
    );
    tracing::error!(reason = why, "the ledger records nothing any more");
    Halt { why, signs_nothing: true }
}

/// Has the first damage that is found in a ledger marked beside it, for the next start, and told.
fn watch_damage(reader: &Reader, data_dir: &Path) -> Arc<Notify> {
    let (damaged, mark) = (Arc::new(Notify::new()), DamageMark::of(&ledger_file(data_dir)));
    let tell = Arc::clone(&damaged);
    reader.on_damage(move |words| {
        if let Err(error) = mark.set(words) {
            tracing::error!(%error, path = %mark.path().display(), "the damage cannot be marked; the next start will not know of it");
        }
        tell.notify_one();
    });
    damaged
}

/// States the gateway's terms, and gives back what is held for jobs of which this process knows nothing: their clients submit them again.
fn begin(ledger: &mut Ledger, config: &GatewayConfig, key: &SecretKey) -> Result<(), StartError> {
    let time = wall_time();
    let terms = Operation::State(Terms { gateway: key.public(), fee_ppm: config.fee_ppm, time });
    let holds = ledger.reader().holds().map_err(OpenError::from)?;
    let voids =
        holds.iter().map(|hold| Operation::Void { job: hold.job, customer: hold.customer, reason: VoidReason::Restarted, time });
    let operations: Vec<Operation> = std::iter::once(terms).chain(voids).collect();
    for batch in operations.chunks(BATCH_OPERATIONS_MAX) {
        for outcome in ledger.apply(batch)? {
            outcome?;
        }
    }
    Ok(())
}

async fn accept(listener: Rc<Listener>, core: Rc<RefCell<Core>>, entrance: Rc<Entrance>) {
    while let Some(handshake) = listener.accept().await {
        let entry = entrance.door.borrow_mut().connection(Instant::now(), handshake.remote_ip(), handshake.is_proven());
        match entry {
            Entry::Enter => {}
            Entry::Prove => {
                handshake.send_away();
                continue;
            }
            Entry::Refuse => {
                handshake.refuse();
                continue;
            }
        }
        let (core, entrance) = (Rc::clone(&core), Rc::clone(&entrance));
        tokio::task::spawn_local(async move {
            match handshake.complete().await {
                Ok(connection) => link::serve(core, entrance, connection).await,
                Err(error) => tracing::debug!(%error, "a handshake failed"),
            }
        });
    }
}

/// How long a hold may wait for an operation that it can go to the ledger with.
const HOLD_DELAY: Duration = Duration::from_millis(250);

/// Hands over holds of jobs that take longer.
async fn record_holds(core: Rc<RefCell<Core>>) {
    loop {
        tokio::time::sleep(HOLD_DELAY).await;
        core.borrow_mut().hand_over();
    }
}

/// How often holds are looked for that nobody ended.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Lets holds expire.
async fn expire_holds(core: Rc<RefCell<Core>>) {
    loop {
        tokio::time::sleep(EXPIRY_INTERVAL).await;
        core.borrow_mut().expire();
    }
}

/// Wakes the core at its deadlines.
async fn keep_time(core: Rc<RefCell<Core>>) {
    let (timer, clock) = {
        let core = core.borrow();
        (Arc::clone(&core.timer), core.clock)
    };
    loop {
        let next = core.borrow_mut().handle_timeout();
        let asleep = async {
            match next {
                Some(tick) => tokio::time::sleep_until(clock.at(tick).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = asleep => {}
            () = timer.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{Digest, Grant, Microcredits, TransferId, UnixMillis};

    use super::*;

    fn key() -> SecretKey {
        SecretKey::from_seed([100; 32])
    }

    fn order(n: u64) -> TransferId {
        TransferId(*Digest::of(&n.to_le_bytes()).0.first_chunk().unwrap())
    }

    /// The gateway's terms as operation 0, and grants.
    fn operations(numbers: impl Iterator<Item = u64>) -> Vec<Operation> {
        let operation = |n: u64| match n {
            0 => Operation::State(Terms { gateway: key().public(), fee_ppm: 0, time: UnixMillis(1) }),
            n => {
                let (customer, amount) = (PublicKey([(n % 3) as u8; 32]), Microcredits(5));
                Operation::Grant(Grant { id: order(n), customer, amount, time: UnixMillis(2) })
            }
        };
        numbers.map(operation).collect()
    }

    /// Flips a bit wherever a file has these bytes.
    fn flip(path: &Path, part: &[u8]) {
        let mut bytes = std::fs::read(path).unwrap();
        let copies: Vec<usize> = (0..bytes.len() - part.len()).filter(|at| bytes[*at..].starts_with(part)).collect();
        assert!(!copies.is_empty());
        copies.into_iter().for_each(|at| bytes[at + 5] ^= 4);
        std::fs::write(path, bytes).unwrap();
    }

    /// A gateway signed another root for the tree that it had signed before, and carried out an order again that it did not find.
    #[tokio::test]
    async fn ledger_with_a_flipped_bit_is_neither_signed_nor_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let (config, path) = (GatewayConfig::new("127.0.0.1:0".parse().unwrap(), folder.path()), ledger_file(folder.path()));
        let mut ledger = Ledger::open(&path, key().public()).unwrap();
        assert!(ledger.apply(&operations(0..600)).unwrap().iter().all(Result::is_ok));
        let tile = ledger.reader().tile(1, 0, 2).unwrap().unwrap();
        let leaf = ledger.reader().leaf(590).unwrap().unwrap();
        drop(ledger);
        drop(Gateway::open(config.clone(), key()).unwrap());
        let image = std::fs::read(&path).unwrap();
        for (what, part) in [("a hash over a tile", tile.as_slice()), ("the newest leaves", &leaf), ("an order", &order(3).0)] {
            std::fs::write(&path, &image).unwrap();
            flip(&path, part);
            let error = Gateway::open(config.clone(), key()).unwrap_err().to_string();
            assert!(error.contains("the ledger is damaged") && error.contains("adit ledger restore"), "{what}: {error}");
        }
        std::fs::write(&path, &image).unwrap();
        drop(Gateway::open(config, key()).unwrap());
    }

    /// Damage that nobody came upon stayed, and what was recorded and signed meanwhile was lost with the ledger it was in. A start compares
    /// the newest leaves and the tiles under the tree's edge, which is above the first 65,536 leaves here.
    #[tokio::test]
    async fn damage_that_nobody_reads_is_found_by_the_gateway_itself() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = GatewayConfig::new("127.0.0.1:0".parse().unwrap(), folder.path());
        let path = ledger_file(folder.path());
        let mut ledger = Ledger::open(&path, key().public()).unwrap();
        for batch in (0..66_000).collect::<Vec<u64>>().chunks(6_000) {
            assert!(ledger.apply(&operations(batch.iter().copied())).unwrap().iter().all(Result::is_ok));
        }
        let leaf = ledger.reader().leaf(900).unwrap().unwrap();
        let hash = ledger.reader().tile(0, 5, 1).unwrap().unwrap();
        drop(ledger);
        // Whose leaf that is: a customer, that it pays no receipt, and its index.
        let line = [[2].as_slice(), &[1; 32], &[1], &1_000u64.to_le_bytes()].concat();
        config.check_delay = Duration::from_secs(24 * 60 * 60);
        drop(Gateway::open(config.clone(), key()).unwrap());
        let image = std::fs::read(&path).unwrap();
        config.check_delay = Duration::ZERO;
        for (what, part, want) in [
            ("a leaf", leaf, "index 900: the leaf is not the one in the tree"),
            ("a hash of a full tile", hash, "index 1280: the leaf is not the one in the tree"),
            ("a statement's line", line, "an index leads to another's"),
        ] {
            std::fs::write(&path, &image).unwrap();
            flip(&path, &part);
            let Gateway { engine, listener, entrance, .. } = Gateway::open(config.clone(), key()).expect(what);
            let listener = Rc::new(listener);
            let ending = engine.serve(&listener, &entrance, std::future::pending());
            let ending = tokio::time::timeout(Duration::from_secs(120), ending).await.expect(what);
            let Ending::Ledger(halt) = ending else { panic!("{what}: asked by nobody") };
            assert!(
                halt.signs_nothing && halt.why.contains(want) && halt.why.contains("adit ledger restore"),
                "{what}: {}",
                halt.why
            );
            let mark = DamageMark::of(&path);
            assert_eq!(mark.read().unwrap().unwrap(), halt.why, "{what}");
            mark.clear().unwrap();
        }
    }
}
