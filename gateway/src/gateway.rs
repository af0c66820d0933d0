use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adit_ledger::{BATCH_OPERATIONS_MAX, Ledger, OpenError, Operation, Writer};
use adit_protocol::{SecretKey, Terms, VoidReason};
use adit_transport::{BlobStore, GatewayAddr, Listener};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::clock::wall_time;
use crate::core::Core;
use crate::{GatewayConfig, RunError, StartError, link, settle};

/// A gateway that listens.
#[derive(Debug)]
pub struct Gateway {
    listener: Listener,
    address: GatewayAddr,
    core: Rc<RefCell<Core>>,
    commits: mpsc::UnboundedReceiver<adit_ledger::Batch>,
}

impl Gateway {
    /// Opens the ledger and the blob store, and listens. To be called inside of a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`], for one where another gateway has the ledger open.
    pub fn open(config: GatewayConfig, key: SecretKey) -> Result<Self, StartError> {
        let data = |error| StartError::Data { path: config.data_dir.clone(), error };
        std::fs::create_dir_all(&config.data_dir).map_err(data)?;
        // The ledger first: it is what keeps a second gateway out of the folder.
        let mut ledger = Ledger::open(&config.data_dir.join("ledger.redb"), key.public())?;
        begin(&mut ledger, &config, &key)?;
        let store = BlobStore::open(&config.data_dir.join("blobs"), config.store_bytes_max).map_err(data)?;
        let listener = Listener::bind(config.listen, &key).map_err(|error| StartError::Listen { addr: config.listen, error })?;
        let address = GatewayAddr { host: listener.local_addr().to_string(), key: key.public() };
        let (sender, commits) = mpsc::unbounded_channel();
        let on_commit = move |batch| {
            // The receiver is gone only when the gateway stops; what was committed is found at the next start.
            let _ = sender.send(batch);
        };
        let ledger = Writer::spawn(ledger, on_commit).map_err(StartError::Thread)?;
        let core = Rc::new(RefCell::new(Core::new(&config, key, store, ledger)));
        Ok(Self { listener, address, core, commits })
    }

    /// Where it listens and who it is.
    pub fn address(&self) -> &GatewayAddr {
        &self.address
    }

    /// Serves until `shutdown`. Then every connection is told, and what was queued for the ledger is recorded before this returns.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { listener, core, commits, .. } = self;
        let tasks = LocalSet::new();
        tasks.spawn_local(settle::take_in_commits(Rc::clone(&core), commits));
        tasks.spawn_local(settle::hand_over_receipts(Rc::clone(&core)));
        tasks.spawn_local(keep_time(Rc::clone(&core)));
        tasks.spawn_local(expire_holds(Rc::clone(&core)));
        tasks.spawn_local(record_holds(Rc::clone(&core)));
        let listener = Rc::new(listener);
        let accepting = accept(Rc::clone(&listener), Rc::clone(&core));
        let stopping = Arc::clone(&core.borrow().stopping);
        let served = tasks
            .run_until(async {
                tokio::select! {
                    () = accepting => Err(RunError::Socket),
                    () = stopping.notified() => Err(RunError::Ledger(core.borrow().ledger_stopped().unwrap_or_default())),
                    () = shutdown => Ok(()),
                }
            })
            .await;
        listener.close("the gateway stops");
        tasks.run_until(listener.flush()).await;
        // Ends the tasks, which hold the core; the ledger's writer then records what is queued and joins its thread.
        core.borrow_mut().hand_over();
        while !core.borrow().is_handed_over() {
            // The ledger's queue is full; the next commit makes room, and its report hands over more.
            tasks.run_until(tokio::time::sleep(Duration::from_millis(5))).await;
        }
        drop(tasks);
        served
    }
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

async fn accept(listener: Rc<Listener>, core: Rc<RefCell<Core>>) {
    while let Some(handshake) = listener.accept().await {
        let core = Rc::clone(&core);
        tokio::task::spawn_local(async move {
            match handshake.complete().await {
                Ok(connection) => link::serve(core, connection).await,
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
