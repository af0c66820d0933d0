//! Data streams: blobs in and out, outputs from nodes, logs to clients.

use std::cell::RefCell;
use std::rc::Rc;

use adit_protocol::limits::BLOB_BYTES_MAX;
use adit_protocol::{Attempt, BlobRef, Digest, JobId, StreamReply, StreamRequest};
use adit_transport::limits::{SEND_STALL_TIMEOUT, STALL_TIMEOUT};
use adit_transport::{
    BlobError, BlobStore, Connection, RecvStream, SendStream, Transfer, TransferError, read_request, receive_blob_while,
    send_file, write_frame,
};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use crate::arrivals::{Arrivals, Newest};
use crate::core::{Core, FULL_RETRY_MS, inputs_max};
use crate::crowd::Lines;
use crate::link::Entrance;
use crate::peer::LinkId;

type Shared = Rc<RefCell<Core>>;

/// A client's data streams.
#[derive(Debug, Clone)]
pub(crate) struct ClientStreams {
    core: Shared,
    sends: Lines,
    arrivals: Arrivals,
    link: LinkId,
    connection: Connection,
    /// Blobs that it sends.
    puts: Newest<Digest>,
}

/// A node's.
#[derive(Debug, Clone)]
pub(crate) struct NodeStreams {
    core: Shared,
    sends: Lines,
    connection: Connection,
    /// Attempts whose output it sends.
    outputs: Newest<(JobId, Attempt)>,
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

/// Ends a stream that failed. Merely dropped, it would look like one that is whole, and what the peer does not take would be kept for it.
fn end(mut transfer: Transfer, served: Result<(), TransferError>) {
    if let Err(error) = served {
        tracing::debug!(%error, "a transfer failed");
        // One that the peer stopped is reset already.
        let _ = transfer.send.reset(0u32.into());
    }
}

impl ClientStreams {
    pub(crate) fn new(core: Shared, entrance: &Entrance, link: LinkId, connection: Connection) -> Self {
        let (sends, arrivals) = (entrance.sends_to_clients.clone(), entrance.arrivals.clone());
        Self { core, sends, arrivals, link, connection, puts: Newest::default() }
    }

    /// Serves them, each in a task of its own; QUIC bounds how many there are. Aborted with the connection.
    pub(crate) async fn serve(self) {
        let mut streams = JoinSet::new();
        while let Some(mut transfer) = next(&mut streams, &self.connection).await {
            let this = self.clone();
            streams.spawn_local(async move {
                let served = this.serve_one(&mut transfer).await;
                end(transfer, served);
            });
        }
    }

    async fn serve_one(&self, transfer: &mut Transfer) -> Result<(), TransferError> {
        match read_request(&mut transfer.recv).await? {
            StreamRequest::Put(blob) => self.put(transfer, blob).await,
            StreamRequest::Get(digest) => {
                hear_no_more(transfer);
                let store = self.core.borrow().store.clone();
                get(store, &self.sends, &self.connection, &mut transfer.send, digest).await
            }
            StreamRequest::Logs { job, offset } => {
                hear_no_more(transfer);
                self.follow_log(&mut transfer.send, job, offset).await
            }
            StreamRequest::Output { .. } => {
                answer(&mut transfer.send, StreamReply::Refused("only nodes send outputs".into())).await
            }
        }
    }

    async fn follow_log(&self, send: &mut SendStream, job: JobId, offset: u64) -> Result<(), TransferError> {
        let log = self.core.borrow().log_of(&self.connection.peer(), job);
        let Some(log) = log else { return answer(send, StreamReply::NotFound).await };
        write_frame(send, &StreamReply::Following).await?;
        let mut offset = usize::try_from(offset).unwrap_or(usize::MAX);
        while let Some(bytes) = log.read(offset).await {
            offset += bytes.len();
            send.write_chunk(bytes).await?;
        }
        finish(send)
    }

    /// Takes a blob. A stream is read at once or refused: what waits unread would use up what the whole connection may have on its way.
    async fn put(&self, transfer: &mut Transfer, blob: BlobRef) -> Result<(), TransferError> {
        let (store, is_asked_for) = {
            let core = self.core.borrow();
            (core.store.clone(), core.is_asked_for(self.link, &blob))
        };
        // What is here under the name and has another length was cut short by a power cut, and is replaced.
        let reply = if store.pin(&blob.digest).is_some_and(|pin| pin.blob() == blob) {
            StreamReply::Stored(blob)
        } else if !is_asked_for {
            let digest = blob.digest;
            StreamReply::Refused(format!(
                "blob {digest} was not asked for: submit a job that needs it, and send what the answer asks for"
            ))
        } else if blob.bytes > BLOB_BYTES_MAX {
            StreamReply::Refused(format!("blob {} has {} bytes; at most {BLOB_BYTES_MAX} are taken", blob.digest, blob.bytes))
        } else {
            let taken = self.puts.only(blob.digest, self.take(&mut transfer.recv, &store, blob)).await;
            let replaced = || StreamReply::Refused(format!("blob {} comes on a newer stream of this connection", blob.digest));
            taken.unwrap_or_else(|| Ok(replaced()))?
        };
        if matches!(reply, StreamReply::Stored(_)) {
            self.core.borrow_mut().blob_arrived(self.link, &blob);
        }
        hear_no_more(transfer);
        answer(&mut transfer.send, reply).await
    }

    /// Receives a blob that was asked for, which must not take for ever.
    async fn take(&self, recv: &mut RecvStream, store: &BlobStore, blob: BlobRef) -> Result<StreamReply, TransferError> {
        let share = inputs_max(store);
        let Some(arrival) = self.arrivals.begin(self.connection.remote_ip(), blob.bytes) else {
            return Ok(StreamReply::Full { retry_after_ms: FULL_RETRY_MS });
        };
        let most = arrival.time_max(store.bytes_max(), share);
        let receiving = async {
            let writer = store.writer_within(blob.bytes, share)?;
            receive_blob_while(recv, writer, Some(blob), false, (STALL_TIMEOUT, || false)).await
        };
        match timeout(most, receiving).await {
            Ok(received) => reply_to(received),
            Err(_) => {
                let (digest, seconds) = (blob.digest, most.as_secs());
                Ok(StreamReply::Refused(format!("blob {digest} did not come in {seconds} s, and may take no longer")))
            }
        }
    }
}

impl NodeStreams {
    pub(crate) fn new(core: Shared, entrance: &Entrance, connection: Connection) -> Self {
        Self { core, sends: entrance.sends_to_nodes.clone(), connection, outputs: Newest::default() }
    }

    /// As [`ClientStreams::serve`].
    pub(crate) async fn serve(self) {
        let mut streams = JoinSet::new();
        while let Some(mut transfer) = next(&mut streams, &self.connection).await {
            let this = self.clone();
            streams.spawn_local(async move {
                let served = this.serve_one(&mut transfer).await;
                end(transfer, served);
            });
        }
    }

    async fn serve_one(&self, transfer: &mut Transfer) -> Result<(), TransferError> {
        match read_request(&mut transfer.recv).await? {
            StreamRequest::Get(digest) => {
                hear_no_more(transfer);
                let store = self.core.borrow().store.clone();
                get(store, &self.sends, &self.connection, &mut transfer.send, digest).await
            }
            StreamRequest::Output { job, attempt } => self.take_output(transfer, job, attempt).await,
            StreamRequest::Put(_) | StreamRequest::Logs { .. } => {
                answer(&mut transfer.send, StreamReply::Refused("not for nodes".into())).await
            }
        }
    }

    async fn take_output(&self, transfer: &mut Transfer, job: JobId, attempt: Attempt) -> Result<(), TransferError> {
        let node = self.connection.peer();
        let bytes_max = || self.core.borrow().output_bytes_max(node, job, attempt);
        let Some(limit) = bytes_max() else { return answer(&mut transfer.send, StreamReply::NotFound).await };
        let store = self.core.borrow().store.clone();
        let receiving = async {
            let writer = store.writer(limit)?;
            // Durable: the receipt that names it will be. A guest may say nothing for long, while its attempt is waited for.
            let waits_on = || bytes_max().is_some();
            receive_blob_while(&mut transfer.recv, writer, None, true, (STALL_TIMEOUT, waits_on)).await
        };
        let received = self.outputs.only((job, attempt), receiving).await;
        let reply = match received {
            None => StreamReply::Refused(format!("the output of job {job}'s attempt {attempt} comes on a newer stream")),
            Some(Ok(blob)) if !self.core.borrow_mut().output_arrived(node, job, attempt, blob) => StreamReply::NotFound,
            // A node that finds no room has worked for nothing, so it is told why.
            Some(Err(TransferError::Blob(error))) => StreamReply::Refused(error.to_string()),
            Some(received) => reply_to(received)?,
        };
        hear_no_more(transfer);
        answer(&mut transfer.send, reply).await
    }
}

/// Takes nothing more of what a peer sends behind a request that is all it has to say, and would be kept until the answer is out.
fn hear_no_more(transfer: &mut Transfer) {
    // Where it has ended already there is nothing to stop.
    let _ = transfer.recv.stop(0u32.into());
}

/// What to say of a blob to who sent it.
///
/// # Errors
/// Where its stream broke off: there is nobody to be told.
fn reply_to(received: Result<BlobRef, TransferError>) -> Result<StreamReply, TransferError> {
    match received {
        Ok(blob) => Ok(StreamReply::Stored(blob)),
        Err(TransferError::Blob(BlobError::Full { .. } | BlobError::Crowded { .. })) => {
            Ok(StreamReply::Full { retry_after_ms: FULL_RETRY_MS })
        }
        Err(error @ (TransferError::Read(_) | TransferError::Connection(_))) => Err(error),
        Err(error) => {
            tracing::debug!(%error, "a blob was not taken");
            Ok(StreamReply::Refused(error.to_string()))
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
            say(send, &StreamReply::Found { bytes }).await?;
            send_file(send, file, bytes).await?;
            finish(send)
        }
        None => answer(send, StreamReply::NotFound).await,
    }
}

async fn answer(send: &mut SendStream, reply: StreamReply) -> Result<(), TransferError> {
    say(send, &reply).await?;
    finish(send)
}

/// Says a word that waits where the peer takes nothing on other streams, for as long as any blob does.
async fn say(send: &mut SendStream, reply: &StreamReply) -> Result<(), TransferError> {
    let said = timeout(SEND_STALL_TIMEOUT, write_frame(send, reply)).await;
    said.map_err(|_| TransferError::Stalled(SEND_STALL_TIMEOUT))?
}

/// Ends our half. A peer that stopped it needs no ending.
fn finish(send: &mut SendStream) -> Result<(), TransferError> {
    let _ = send.finish();
    Ok(())
}
