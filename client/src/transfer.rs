use std::fs::File;
use std::io::Write;
use std::time::Duration;

use adit_protocol::{BlobRef, Digest, JobId, StreamReply, StreamRequest};
use adit_transport::{BlobError, Connection, RecvStream, TransferError, read_reply, send_file};
use bytes::Bytes;

use crate::job::{Place, Source};

/// A job's log, as it is written.
#[derive(Debug)]
pub struct LogStream(RecvStream);

impl LogStream {
    /// More of the log; nothing once the job has ended and all was read.
    ///
    /// # Errors
    /// Where the connection is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, TransferError> {
        Ok(self.0.read_chunk(64 * 1024, true).await?.map(|chunk| chunk.bytes))
    }
}

/// Sends the bytes of `source` to the gateway's store, telling `sent` how many have left.
pub(crate) async fn upload(connection: &Connection, source: &Source) -> Result<(), TransferError> {
    let blob = source.blob();
    let mut transfer = connection.open_transfer(&StreamRequest::Put(blob)).await?;
    let sending = async {
        match source.place() {
            Place::Bytes(bytes) => transfer.send.write_chunk(bytes.clone()).await?,
            Place::File(path) => send_file(&mut transfer.send, File::open(path)?, blob.bytes).await?,
        }
        // The answer tells whether all arrived.
        let _ = transfer.send.finish();
        Ok::<(), TransferError>(())
    };
    // A gateway that does not want the blob says so and stops the stream; its word explains more than the stopped stream.
    let sent = sending.await;
    match read_reply(&mut transfer.recv).await {
        Ok(StreamReply::Stored(stored)) if stored == blob => Ok(()),
        Ok(StreamReply::Refused(reason)) => Err(TransferError::Refused(reason)),
        Ok(StreamReply::Full { retry_after_ms }) => Err(TransferError::Full(Duration::from_millis(retry_after_ms))),
        Ok(_) => Err(TransferError::Refused("the gateway stored something else".into())),
        Err(error) => Err(sent.err().unwrap_or(error)),
    }
}

/// Writes the blob `expected` to `sink`, checking it on the way.
pub(crate) async fn fetch(connection: &Connection, expected: BlobRef, sink: &mut dyn Write) -> Result<(), TransferError> {
    let mut transfer = connection.open_transfer(&StreamRequest::Get(expected.digest)).await?;
    let _ = transfer.send.finish();
    match read_reply(&mut transfer.recv).await? {
        StreamReply::Found { bytes } if bytes == expected.bytes => {}
        StreamReply::Found { .. } => return Err(BlobError::Mismatch { expected: expected.digest }.into()),
        StreamReply::Refused(reason) => return Err(TransferError::Refused(reason)),
        _ => return Err(TransferError::Refused(format!("the gateway has no blob {}", expected.digest))),
    }
    let mut hasher = blake3::Hasher::new();
    let mut received = 0;
    while let Some(chunk) = transfer.recv.read_chunk(1024 * 1024, true).await? {
        received += chunk.bytes.len() as u64;
        if received > expected.bytes {
            return Err(BlobError::TooLarge { limit: expected.bytes }.into());
        }
        hasher.update(&chunk.bytes);
        sink.write_all(&chunk.bytes)?;
    }
    if received != expected.bytes || Digest(*hasher.finalize().as_bytes()) != expected.digest {
        return Err(BlobError::Mismatch { expected: expected.digest }.into());
    }
    Ok(())
}

pub(crate) async fn follow_log(connection: &Connection, job: JobId, offset: u64) -> Result<LogStream, TransferError> {
    let mut transfer = connection.open_transfer(&StreamRequest::Logs { job, offset }).await?;
    let _ = transfer.send.finish();
    match read_reply(&mut transfer.recv).await? {
        StreamReply::Following => Ok(LogStream(transfer.recv)),
        StreamReply::Refused(reason) => Err(TransferError::Refused(reason)),
        _ => Err(TransferError::Refused(format!("the gateway has no log of job {job}"))),
    }
}
