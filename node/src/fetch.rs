use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::rc::Rc;

use adit_protocol::{AttemptFailure, BlobRef, Digest, StreamReply, StreamRequest};
use adit_transport::{BlobError, BlobPin, TransferError, read_reply, receive_blob};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::link::Link;

/// Blobs that are on their way: each comes once, however many jobs want it.
#[derive(Debug, Default)]
pub(crate) struct Fetching(RefCell<HashMap<Digest, Rc<Mutex<()>>>>);

/// A place among those who want a blob. The last that is given up clears the entry away, also where a job is withdrawn in the middle.
struct Turn<'a> {
    fetching: &'a Fetching,
    blob: Digest,
    lock: Rc<Mutex<()>>,
}

impl Fetching {
    fn turn(&self, blob: Digest) -> Turn<'_> {
        let lock = Rc::clone(self.0.borrow_mut().entry(blob).or_default());
        Turn { fetching: self, blob, lock }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The entry's and this one.
        if Rc::strong_count(&self.lock) <= 2 {
            self.fetching.0.borrow_mut().remove(&self.blob);
        }
    }
}

/// Has `blob` in the node's cache, fetched from the gateway if need be and checked as it arrives, and keeps it there while the pin lives.
pub(crate) async fn fetch(link: &Link, blob: BlobRef) -> Result<BlobPin, AttemptFailure> {
    if let Some(pin) = link.node.blobs.pin(&blob.digest) {
        return Ok(pin);
    }
    let turn = link.node.fetching.turn(blob.digest);
    let mine = turn.lock.lock().await;
    // Whoever had the turn before may have brought it.
    if !link.node.blobs.contains(&blob.digest) {
        transfer(link, blob).await?;
    }
    drop(mine);
    // Others' blobs came before it could be pinned.
    link.node.blobs.pin(&blob.digest).ok_or_else(|| no_room(link, "the blob cache is too small for all jobs that are here"))
}

/// Whether the other leases may take all slots.
pub(crate) fn is_busy(link: &Link) -> bool {
    link.leases() > link.node.config.slots as usize
}

/// A job's blobs find no room beside those that are in use, though they would alone: that is the other jobs' doing, and over with them. A node
/// with a slot free is not believed to be busy.
pub(crate) fn no_room(link: &Link, why: impl Display) -> AttemptFailure {
    if is_busy(link) { AttemptFailure::Busy } else { AttemptFailure::Declined(format!("{why}; its owner can raise cache-max")) }
}

/// Opens a cached blob for reading.
pub(crate) async fn open(link: &Link, blob: BlobRef) -> Result<File, AttemptFailure> {
    let blobs = link.node.blobs.clone();
    let opened = spawn_blocking(move || blobs.read(&blob.digest)).await;
    match opened.map_err(std::io::Error::other).and_then(|read| read) {
        Ok(Some((file, bytes))) if bytes == blob.bytes => Ok(file),
        Ok(_) => Err(AttemptFailure::Node(format!("blob {} was damaged in the cache", blob.digest))),
        Err(error) => Err(AttemptFailure::Node(format!("blob {}: {error}", blob.digest))),
    }
}

async fn transfer(link: &Link, blob: BlobRef) -> Result<(), AttemptFailure> {
    let failed = |error: TransferError| match error {
        TransferError::Blob(full @ (BlobError::Full { .. } | BlobError::Crowded { .. })) => no_room(link, full),
        error => AttemptFailure::Node(format!("fetching blob {}: {error}", blob.digest)),
    };
    let mut transfer = link.connection.open_transfer(&StreamRequest::Get(blob.digest)).await.map_err(failed)?;
    // The request is all we say on it.
    let _ = transfer.send.finish();
    match read_reply(&mut transfer.recv).await.map_err(failed)? {
        StreamReply::Found { bytes } if bytes == blob.bytes => {}
        StreamReply::Found { .. } | StreamReply::NotFound => return Err(AttemptFailure::BlobMissing(blob.digest)),
        reply => return Err(AttemptFailure::Node(format!("fetching blob {}: the gateway says {reply:?}", blob.digest))),
    }
    let writer = link.node.blobs.writer(blob.bytes).map_err(|error| failed(error.into()))?;
    receive_blob(&mut transfer.recv, writer, Some(blob), false).await.map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    /// An entry stayed for ever where a job was withdrawn while its blob came.
    #[tokio::test]
    async fn blob_that_nobody_waits_for_any_more_leaves_no_entry() {
        let (fetching, blob) = (Fetching::default(), Digest::of(b"blob"));
        let fetch = async || {
            let turn = fetching.turn(blob);
            let _mine = turn.lock.lock().await;
            std::future::pending::<()>().await;
        };
        let mut first = Box::pin(fetch());
        let mut second = Box::pin(fetch());
        for fetch in [&mut first, &mut second] {
            assert!(poll_fn(|context| Poll::Ready(fetch.as_mut().poll(context).is_pending())).await);
        }
        drop(first);
        assert_eq!(fetching.0.borrow().len(), 1, "another one waits");
        drop(second);
        assert!(fetching.0.borrow().is_empty());
    }
}
