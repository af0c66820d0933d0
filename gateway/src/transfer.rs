//! Data streams: blobs in and out, outputs from nodes, logs to clients.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use adit_protocol::limits::BLOB_BYTES_MAX;
use adit_protocol::{Attempt, BlobRef, Digest, JobId, PublicKey, StreamReply, StreamRequest};
use adit_transport::limits::STALL_TIMEOUT;
use adit_transport::{
    BlobError, BlobStore, BlobWriter, Connection, RecvStream, SendStream, Transfer, TransferError, read_request,
    receive_blob_while, send_file, write_frame,
};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use crate::core::{Core, FULL_RETRY_MS};
use crate::crowd::Lines;
use crate::peer::LinkId;

/// How fast a blob must come, on the whole: what has come of it keeps others' out of the store. 8 KiB/s: of 64 that a slow line sends at once
/// each has more.
const BYTES_PER_SECOND: u64 = 8 << 10;

/// The part of the store over which that is [`LARGE_BYTES_PER_SECOND`].
const LARGE_PART: u64 = 4;

/// The same of a blob that large: who sends such has a line that can do more, and the largest is there or gone in five hours.
const LARGE_BYTES_PER_SECOND: u64 = 1 << 20;

type Shared = Rc<RefCell<Core>>;

/// Serves a client's data streams, each in a task of its own; QUIC bounds how many there are. Aborted with the connection.
pub(crate) async fn serve_client_streams(core: Shared, sends: Lines, link: LinkId, connection: Connection) {
    let mut streams = JoinSet::new();
    while let Some(transfer) = next(&mut streams, &connection).await {
        let (core, sends, peer) = (Rc::clone(&core), sends.clone(), connection.clone());
        streams.spawn_local(async move { report(serve_client_stream(core, sends, link, peer, transfer).await) });
    }
}

/// As [`serve_client_streams`], for a node.
pub(crate) async fn serve_node_streams(core: Shared, sends: Lines, connection: Connection) {
    let mut streams = JoinSet::new();
    while let Some(transfer) = next(&mut streams, &connection).await {
        let (core, sends, peer) = (Rc::clone(&core), sends.clone(), connection.clone());
        streams.spawn_local(async move { report(serve_node_stream(core, sends, peer, transfer).await) });
    }
}

/// The next stream; finished ones are cleared away meanwhile.
async fn next(streams: &mut JoinSet<()>, connection: &Connection) -> Option<Transfer> {
    loop {
        tokio::select! {
            transfer = connection.accept_transfer() => return transfer.ok(),
            Some(_) = streams.join_next() => {}
        }
    }
}

fn report(result: Result<(), TransferError>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a transfer failed");
    }
}

async fn serve_client_stream(
    core: Shared,
    sends: Lines,
    link: LinkId,
    connection: Connection,
    mut transfer: Transfer,
) -> Result<(), TransferError> {
    match read_request(&mut transfer.recv).await? {
        StreamRequest::Put(blob) => {
            let store = core.borrow().store.clone();
            let is_asked_for = core.borrow().is_asked_for(link, &blob);
            let is_stored = put(store, transfer, blob, is_asked_for).await?;
            if is_stored {
                core.borrow_mut().blob_arrived(link, &blob);
            }
            Ok(())
        }
        StreamRequest::Get(digest) => {
            hear_no_more(&mut transfer);
            let store = core.borrow().store.clone();
            get(store, &sends, &connection, &mut transfer.send, digest).await
        }
        StreamRequest::Logs { job, offset } => {
            hear_no_more(&mut transfer);
            let log = core.borrow().log_of(&connection.peer(), job);
            let Some(log) = log else { return answer(&mut transfer.send, StreamReply::NotFound).await };
            write_frame(&mut transfer.send, &StreamReply::Following).await?;
            let mut offset = usize::try_from(offset).unwrap_or(usize::MAX);
            while let Some(bytes) = log.read(offset).await {
                offset += bytes.len();
                transfer.send.write_chunk(bytes).await?;
            }
            finish(&mut transfer.send)
        }
        StreamRequest::Output { .. } => answer(&mut transfer.send, StreamReply::Refused("only nodes send outputs".into())).await,
    }
}

async fn serve_node_stream(
    core: Shared,
    sends: Lines,
    connection: Connection,
    mut transfer: Transfer,
) -> Result<(), TransferError> {
    match read_request(&mut transfer.recv).await? {
        StreamRequest::Get(digest) => {
            hear_no_more(&mut transfer);
            let store = core.borrow().store.clone();
            get(store, &sends, &connection, &mut transfer.send, digest).await
        }
        StreamRequest::Output { job, attempt } => take_output(core, connection.peer(), transfer, job, attempt).await,
        StreamRequest::Put(_) | StreamRequest::Logs { .. } => {
            answer(&mut transfer.send, StreamReply::Refused("not for nodes".into())).await
        }
    }
}

/// Takes nothing more of what a peer sends behind a request that is all it has to say, and would be kept until the answer is out.
fn hear_no_more(transfer: &mut Transfer) {
    // Where it has ended already there is nothing to stop.
    let _ = transfer.recv.stop(0u32.into());
}

/// Takes a blob; says whether it is in the store then. A stream is read at once or refused: what waits unread would use up what the whole
/// connection may have on its way.
async fn put(store: BlobStore, mut transfer: Transfer, blob: BlobRef, is_asked_for: bool) -> Result<bool, TransferError> {
    // What is here under the name and has another length was cut short by a power cut, and is replaced.
    if store.pin(&blob.digest).is_some_and(|pin| pin.blob() == blob) {
        transfer.recv.stop(0u32.into()).ok();
        return answer(&mut transfer.send, StreamReply::Stored(blob)).await.map(|()| true);
    }
    let refused = if !is_asked_for {
        Some(format!("blob {} was not asked for: submit a job that needs it, and send what the answer asks for", blob.digest))
    } else if blob.bytes > BLOB_BYTES_MAX {
        Some(format!("blob {} has {} bytes; at most {BLOB_BYTES_MAX} are taken", blob.digest, blob.bytes))
    } else {
        None
    };
    if let Some(reason) = refused {
        return answer(&mut transfer.send, StreamReply::Refused(reason)).await.map(|()| false);
    }
    let bytes_max = store.bytes_max();
    let received = match store.writer(blob.bytes) {
        Ok(writer) => receive_in_time(&mut transfer.recv, writer, blob, bytes_max).await,
        Err(error) => Err(error.into()),
    };
    if let Err(TransferError::Blob(BlobError::Full { .. } | BlobError::Crowded { .. })) = received {
        transfer.recv.stop(0u32.into()).ok();
        return answer(&mut transfer.send, StreamReply::Full { retry_after_ms: FULL_RETRY_MS }).await.map(|()| false);
    }
    let is_stored = received.is_ok();
    reply_stored(&mut transfer.send, received).await.map(|()| is_stored)
}

/// Receives a blob, which must not take for ever.
async fn receive_in_time(
    recv: &mut RecvStream,
    writer: BlobWriter,
    blob: BlobRef,
    store_bytes_max: u64,
) -> Result<BlobRef, TransferError> {
    let is_large = blob.bytes > store_bytes_max / LARGE_PART;
    let per_second = if is_large { LARGE_BYTES_PER_SECOND } else { BYTES_PER_SECOND };
    let most = STALL_TIMEOUT + Duration::from_secs(blob.bytes / per_second);
    let receiving = receive_blob_while(recv, writer, Some(blob), false, (STALL_TIMEOUT, || false));
    timeout(most, receiving).await.unwrap_or_else(|_| {
        let why = format!("blob {} did not come in {} s, at {per_second} bytes a second", blob.digest, most.as_secs());
        Err(TransferError::Read(why))
    })
}

async fn take_output(
    core: Shared,
    node: PublicKey,
    mut transfer: Transfer,
    job: JobId,
    attempt: Attempt,
) -> Result<(), TransferError> {
    let Some(bytes_max) = core.borrow().output_bytes_max(node, job, attempt) else {
        return answer(&mut transfer.send, StreamReply::NotFound).await;
    };
    let store = core.borrow().store.clone();
    let received = match store.writer(bytes_max) {
        // Durable: the receipt that names it will be. A guest may say nothing for long, while its attempt is waited for.
        Ok(writer) => {
            let waits_on = || core.borrow().output_bytes_max(node, job, attempt).is_some();
            receive_blob_while(&mut transfer.recv, writer, None, true, (STALL_TIMEOUT, waits_on)).await
        }
        Err(error) => Err(error.into()),
    };
    if let Ok(blob) = &received
        && !core.borrow_mut().output_arrived(node, job, attempt, *blob)
    {
        return answer(&mut transfer.send, StreamReply::NotFound).await;
    }
    reply_stored(&mut transfer.send, received).await
}

async fn reply_stored(send: &mut SendStream, received: Result<BlobRef, TransferError>) -> Result<(), TransferError> {
    match received {
        Ok(blob) => answer(send, StreamReply::Stored(blob)).await,
        Err(error) => {
            answer(send, StreamReply::Refused(error.to_string())).await?;
            Err(error)
        }
    }
}

/// Whoever knows a blob's digest may read it: the digest is as hard to guess as a key. So many go to one subscriber at once, since a peer
/// need not take what it asks for.
async fn get(
    store: BlobStore,
    sends: &Lines,
    connection: &Connection,
    send: &mut SendStream,
    digest: Digest,
) -> Result<(), TransferError> {
    let _turn = sends.wait(connection.remote_ip()).await;
    let read = spawn_blocking(move || store.read(&digest)).await;
    match read.map_err(std::io::Error::other)?? {
        Some((file, bytes)) => {
            write_frame(send, &StreamReply::Found { bytes }).await?;
            send_file(send, file, bytes).await?;
            finish(send)
        }
        None => answer(send, StreamReply::NotFound).await,
    }
}

async fn answer(send: &mut SendStream, reply: StreamReply) -> Result<(), TransferError> {
    write_frame(send, &reply).await?;
    finish(send)
}

/// Ends our half. A peer that stopped it needs no ending.
fn finish(send: &mut SendStream) -> Result<(), TransferError> {
    let _ = send.finish();
    Ok(())
}
