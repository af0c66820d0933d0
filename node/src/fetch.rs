use std::fs::File;
use std::rc::Rc;

use adit_protocol::{AttemptFailure, BlobRef, StreamReply, StreamRequest};
use adit_transport::{BlobPin, TransferError, read_reply, receive_blob};
use tokio::task::spawn_blocking;

use crate::link::Link;

/// Has `blob` in the node's cache, fetched from the gateway if need be and checked as it arrives, and keeps it there while the pin lives.
pub(crate) async fn fetch(link: &Link, blob: BlobRef) -> Result<BlobPin, AttemptFailure> {
    if let Some(pin) = link.node.blobs.pin(&blob.digest) {
        return Ok(pin);
    }
    let turn = Rc::clone(link.node.fetching.borrow_mut().entry(blob.digest).or_default());
    let fetched = {
        let _mine = turn.lock().await;
        // Whoever had the turn before may have brought it.
        if link.node.blobs.contains(&blob.digest) { Ok(()) } else { transfer(link, blob).await }
    };
    // The last one that waited clears the entry away.
    let mut fetching = link.node.fetching.borrow_mut();
    if Rc::strong_count(&turn) <= 2 {
        fetching.remove(&blob.digest);
    }
    drop(fetching);
    fetched?;
    link.node.blobs.pin(&blob.digest).ok_or_else(|| AttemptFailure::Node("the blob cache is too small for this job".into()))
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
    let failed = |error: TransferError| AttemptFailure::Node(format!("fetching blob {}: {error}", blob.digest));
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
