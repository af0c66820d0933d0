//! From the ledger's thread back to the gateway's.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use adit_ledger::Batch;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::PublishError;
use crate::core::{Core, Halt};

/// Bytes of a receipt's engine name: free text of the node's, which must not fill the ledger.
pub(crate) const ENGINE_BYTES_MAX: usize = 64;

/// Hands receipts to the ledger's thread, after what their clients are told has left: on a small machine that thread would otherwise run
/// first, for as long as a commit takes.
pub(crate) async fn hand_over_receipts(core: Rc<RefCell<Core>>) {
    let recorder = Arc::clone(&core.borrow().recorder);
    loop {
        recorder.notified().await;
        // Each turn lets every task that is ready run: the outbox's writer, then the connection's driver.
        for _ in 0..TURNS_TO_LEAVE {
            tokio::task::yield_now().await;
        }
        core.borrow_mut().hand_over();
    }
}

/// Turns of the scheduler that a message takes from its outbox to the socket.
const TURNS_TO_LEAVE: usize = 2;

/// Hands each committed batch to the core. The channel is bounded by the ledger's own queue: what is in it was queued there before.
pub(crate) async fn take_in_commits(core: Rc<RefCell<Core>>, mut batches: UnboundedReceiver<Batch>) {
    while let Some(batch) = batches.recv().await {
        core.borrow_mut().committed(batch);
    }
    // Its thread ends before this task does only by a panic. Nobody hears then what became of the batch that it had, and who waits for that
    // would wait for ever.
    core.borrow_mut().stop_ledger("the ledger's thread panicked".to_owned());
}

/// Hands on why nothing more must be signed.
pub(crate) async fn take_in_faults(core: Rc<RefCell<Core>>, mut faults: UnboundedReceiver<PublishError>) {
    while let Some(fault) = faults.recv().await {
        let signs_nothing = matches!(fault, PublishError::Contradicted { .. });
        core.borrow_mut().stop_ledger(Halt { why: fault.to_string(), signs_nothing });
    }
    // As above.
    core.borrow_mut().stop_ledger("the thread that signs checkpoints panicked".to_owned());
}

/// Stops recording once anybody who reads the ledger has found damage in it.
pub(crate) async fn take_in_damage(core: Rc<RefCell<Core>>, found: Arc<Notify>) {
    found.notified().await;
    core.borrow_mut().stop_ledger("the ledger is damaged".to_owned());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adit_ledger::{Ledger, Operation, Writer};
    use adit_protocol::{SecretKey, Terms, UnixMillis};
    use adit_tlog::Published;
    use adit_transport::BlobStore;
    use redb::backends::InMemoryBackend;
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::task::LocalSet;

    use super::*;
    use crate::GatewayConfig;
    use crate::core::{LedgerAccess, LogAccess};

    /// Clients waited for settlements of a batch in which the ledger's thread had panicked until the next operation came, be that ten minutes.
    #[tokio::test]
    async fn panic_of_the_ledgers_thread_stops_the_ledger_though_nothing_more_comes() {
        let (folder, key) = (tempfile::tempdir().unwrap(), SecretKey::from_seed([100; 32]));
        let ledger = Ledger::open_with(InMemoryBackend::new(), key.public()).unwrap();
        let (tell, batches) = unbounded_channel();
        let writer = Writer::spawn(ledger, move |batch| {
            let _tell = &tell;
            panic!("a test of {batch:?}")
        });
        let config = GatewayConfig::new("127.0.0.1:0".parse().unwrap(), folder.path());
        let store = BlobStore::open(&folder.path().join("blobs"), 1 << 20).unwrap();
        let log = LogAccess { published: Published::default(), url: None };
        let mut core = Core::new(&config, &key, store, LedgerAccess::Write(writer.unwrap()), log);
        core.record(Operation::State(Terms { gateway: key.public(), fee_ppm: 0, time: UnixMillis(0) }));
        core.hand_over();
        let core = Rc::new(RefCell::new(core));
        let tasks = LocalSet::new();
        tasks.spawn_local(take_in_commits(Rc::clone(&core), batches));
        let stopping = Arc::clone(&core.borrow().stopping);
        let stopped = tokio::time::timeout(Duration::from_secs(60), stopping.notified());
        tasks.run_until(stopped).await.expect("the gateway is told to stop");
        assert!(core.borrow().ledger_stopped().unwrap().why.contains("panicked"));
    }
}
