use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use adit_protocol::{
    BlobRef, FRAME_HEADER_BYTES, FrameError, PublicKey, StreamReply, StreamRequest, decode_frame, encode_frame, frame_length,
};
use bytes::Bytes;
use quinn::{ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, VarInt, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{DISK_CHUNK_BYTES, DISK_CHUNK_TIME, HANDSHAKE_TIMEOUT, SEND_CHUNK_BYTES, SEND_STALL_TIMEOUT, STALL_TIMEOUT};
use crate::{BlobError, BlobWriter, Inbox, Outbox};

/// The application error code (RFC 9000, section 20.2) of a connection that a newer one replaced. All others end with 0.
const REPLACED: VarInt = VarInt::from_u32(2);

/// A connection with a peer that has proved its key. A clone is the same connection.
#[derive(Debug, Clone)]
pub struct Connection {
    quic: quinn::Connection,
    peer: PublicKey,
}

/// A data stream that its opener has said the purpose of.
#[derive(Debug)]
pub struct Transfer {
    /// Towards the peer.
    pub send: SendStream,
    /// From the peer.
    pub recv: RecvStream,
}

/// A transfer that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The connection is lost.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The peer's half ended early or with an error.
    #[error("the transfer broke off: {0}")]
    Read(String),
    /// The peer sends or takes nothing more, and does not end.
    #[error("nothing moved for {} s, so the transfer was given up", .0.as_secs_f64())]
    Stalled(Duration),
    /// The peer has no room for it now.
    #[error("the peer has no room for it; try again in {} ms", .0.as_millis())]
    Full(Duration),
    /// Our half was stopped.
    #[error("the transfer was stopped: {0}")]
    Write(#[from] WriteError),
    /// The peer does not keep to the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// What arrived is not what was announced.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The file to be sent cannot be read, or became shorter.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer says no.
    #[error("refused: {0}")]
    Refused(String),
}

impl From<ReadError> for TransferError {
    fn from(error: ReadError) -> Self {
        Self::Read(error.to_string())
    }
}

impl From<ReadExactError> for TransferError {
    fn from(error: ReadExactError) -> Self {
        Self::Read(error.to_string())
    }
}

impl Connection {
    pub(crate) fn new(quic: quinn::Connection, peer: PublicKey) -> Self {
        Self { quic, peer }
    }

    /// The key that the peer proved.
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// Where the peer's packets come from now; a peer whose address changes keeps its connection.
    pub fn remote_ip(&self) -> IpAddr {
        self.quic.remote_address().ip()
    }

    /// The smoothed round trip (RFC 9002, section 5.3).
    pub fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    /// How many acknowledgements came so far: about as many as there were samples of the round trip.
    pub fn acks_received(&self) -> u64 {
        self.quic.stats().frame_rx.acks
    }

    /// Bytes that were sent and received so far, in UDP's payload: all that the connection costs but for the headers of IP and UDP.
    pub fn bytes_moved(&self) -> u64 {
        let stats = self.quic.stats();
        stats.udp_tx.bytes + stats.udp_rx.bytes
    }

    /// Opens the control stream: the first stream of a connection, by the dialer.
    ///
    /// # Errors
    /// Where the connection is lost.
    pub async fn open_control(&self) -> Result<(Outbox, Inbox), ConnectionError> {
        let (send, recv) = self.quic.open_bi().await?;
        raise_priority(&send);
        Ok((Outbox::new(send, SEND_STALL_TIMEOUT), Inbox::new(recv)))
    }

    /// Takes the control stream, on the listener's side.
    ///
    /// # Errors
    /// Where the connection is lost or the peer says nothing in [`HANDSHAKE_TIMEOUT`].
    pub async fn accept_control(&self) -> Result<(Outbox, Inbox), ConnectionError> {
        let accepted = timeout(HANDSHAKE_TIMEOUT, self.quic.accept_bi()).await;
        let (send, recv) = accepted.map_err(|_| ConnectionError::TimedOut)??;
        raise_priority(&send);
        Ok((Outbox::new(send, SEND_STALL_TIMEOUT), Inbox::new(recv)))
    }

    /// Opens a data stream and says what it is for. Waits while the peer allows no more streams.
    ///
    /// # Errors
    /// Where the connection is lost.
    pub async fn open_transfer(&self, request: &StreamRequest) -> Result<Transfer, TransferError> {
        let (mut send, recv) = self.quic.open_bi().await?;
        write_frame(&mut send, request).await?;
        Ok(Transfer { send, recv })
    }

    /// The next data stream that the peer opens. Its purpose is read by [`read_request`].
    ///
    /// # Errors
    /// Where the connection is lost.
    pub async fn accept_transfer(&self) -> Result<Transfer, ConnectionError> {
        let (send, recv) = self.quic.accept_bi().await?;
        Ok(Transfer { send, recv })
    }

    /// Ends the connection, telling the peer why.
    pub fn close(&self, reason: &str) {
        self.quic.close(VarInt::from_u32(0), reason.as_bytes());
    }

    /// Ends the connection because its peer has a newer one under the same key.
    pub fn close_replaced(&self) {
        self.quic.close(REPLACED, b"replaced by a newer connection of the same key");
    }

    /// Whether the peer ended the connection because it has a newer one under our key: somebody else uses it.
    pub fn was_replaced(&self) -> bool {
        matches!(self.quic.close_reason(), Some(ConnectionError::ApplicationClosed(close)) if close.error_code == REPLACED)
    }

    /// Waits until the connection is lost, and says why.
    pub async fn closed(&self) -> ConnectionError {
        self.quic.closed().await
    }
}

/// Control messages go out before the data that waits beside them.
fn raise_priority(send: &SendStream) {
    // A stream that is closed already has nothing to hurry.
    let _ = send.set_priority(1);
}

/// Writes one frame to a data stream.
///
/// # Errors
/// [`TransferError`].
pub async fn write_frame<M: Serialize>(send: &mut SendStream, message: &M) -> Result<(), TransferError> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame)?;
    Ok(send.write_all(&frame).await?)
}

/// Reads what a data stream is for.
///
/// # Errors
/// [`TransferError`].
pub async fn read_request(recv: &mut RecvStream) -> Result<StreamRequest, TransferError> {
    let read = timeout(HANDSHAKE_TIMEOUT, read_frame(recv)).await;
    read.map_err(|_| TransferError::Read("the stream's first frame did not come in time".into()))?
}

/// Reads the peer's answer on a data stream.
///
/// # Errors
/// [`TransferError`].
pub async fn read_reply(recv: &mut RecvStream) -> Result<StreamReply, TransferError> {
    read_frame(recv).await
}

async fn read_frame<M: Serialize + DeserializeOwned>(recv: &mut RecvStream) -> Result<M, TransferError> {
    let mut header = [0; FRAME_HEADER_BYTES];
    recv.read_exact(&mut header).await?;
    let mut body = vec![0; frame_length(header)?];
    recv.read_exact(&mut body).await?;
    Ok(decode_frame(&body)?)
}

/// Sends the next `bytes` bytes of `file`, reading the next piece while the last one leaves. Where that fails the stream is reset: its end
/// would look like the file's, and what the peer does not take would be kept for it.
///
/// # Errors
/// [`TransferError::Io`] where the file ends before, [`TransferError::Stalled`] where the peer takes nothing, and where the connection is lost.
pub async fn send_file(send: &mut SendStream, file: File, bytes: u64) -> Result<(), TransferError> {
    send_file_while(send, file, bytes, SEND_STALL_TIMEOUT).await
}

/// As [`send_file`], to a peer that may take nothing for so long.
///
/// # Errors
/// As [`send_file`].
pub async fn send_file_while(send: &mut SendStream, file: File, bytes: u64, stall: Duration) -> Result<(), TransferError> {
    let sent = send_pieces(send, file, bytes, stall).await;
    if sent.is_err() {
        // One that the peer stopped is reset already.
        let _ = send.reset(VarInt::from_u32(0));
    }
    sent
}

async fn send_pieces(send: &mut SendStream, file: File, bytes: u64, stall: Duration) -> Result<(), TransferError> {
    let mut rest = bytes;
    let mut next = read_piece(file, rest).await?;
    while rest > 0 {
        let (file, piece) = next;
        rest -= piece.len() as u64;
        let (read, written) = tokio::join!(read_piece(file, rest), timeout(stall, send.write_chunk(piece)));
        written.map_err(|_| TransferError::Stalled(stall))??;
        next = read?;
    }
    Ok(())
}

async fn read_piece(mut file: File, rest: u64) -> Result<(File, Bytes), TransferError> {
    let want = rest.min(SEND_CHUNK_BYTES as u64) as usize;
    if want == 0 {
        return Ok((file, Bytes::new()));
    }
    let read = spawn_blocking(move || {
        let mut piece = vec![0; want];
        file.read_exact(&mut piece)?;
        Ok((file, Bytes::from(piece)))
    });
    read.await.unwrap_or_else(join_error).map_err(TransferError::Io)
}

/// Receives a stream to its end into `writer`, hashing and storing one piece while the next arrives.
///
/// # Errors
/// [`TransferError::Blob`] where it is not the `expected` blob; where the connection is lost.
pub async fn receive_blob(
    recv: &mut RecvStream,
    writer: BlobWriter,
    expected: Option<BlobRef>,
    durable: bool,
) -> Result<BlobRef, TransferError> {
    receive_blob_while(recv, writer, expected, durable, (STALL_TIMEOUT, || true)).await
}

/// As [`receive_blob`], from a peer that may not keep us waiting: whenever nothing has come for so long, it is asked whether to wait on.
///
/// # Errors
/// As [`receive_blob`], and [`TransferError::Stalled`].
pub async fn receive_blob_while(
    recv: &mut RecvStream,
    mut writer: BlobWriter,
    expected: Option<BlobRef>,
    durable: bool,
    (stall, waits_on): (Duration, impl Fn() -> bool),
) -> Result<BlobRef, TransferError> {
    let mut piece = next_piece(recv, stall, &waits_on).await?;
    while !piece.is_empty() {
        let writing = spawn_blocking(move || {
            piece.iter().try_for_each(|bytes| writer.write(bytes))?;
            Ok(writer)
        });
        let (written, next) = tokio::join!(writing, next_piece(recv, stall, &waits_on));
        writer = written.unwrap_or_else(join_blob_error)?;
        piece = next?;
    }
    let finished = spawn_blocking(move || writer.finish(expected, durable)).await;
    Ok(finished.unwrap_or_else(join_blob_error)?)
}

/// What arrives until there is enough for the disk, or until that is late; nothing at the end of the stream.
async fn next_piece(recv: &mut RecvStream, stall: Duration, waits_on: &impl Fn() -> bool) -> Result<Vec<Bytes>, TransferError> {
    let mut piece = Vec::new();
    let mut bytes = 0;
    let mut late = Instant::now() + stall;
    while bytes < DISK_CHUNK_BYTES {
        let chunk = match timeout_at(late, recv.read_chunk(DISK_CHUNK_BYTES, true)).await {
            Ok(chunk) => chunk?,
            Err(_) if !piece.is_empty() => break,
            Err(_) if waits_on() => {
                late = Instant::now() + stall;
                continue;
            }
            Err(_) => return Err(TransferError::Stalled(stall)),
        };
        let Some(chunk) = chunk else { break };
        if piece.is_empty() {
            late = Instant::now() + DISK_CHUNK_TIME;
        }
        bytes += chunk.bytes.len();
        piece.push(chunk.bytes);
    }
    Ok(piece)
}

/// A blocking task is never cancelled here, so it can only have panicked or met the runtime's end.
fn join_error<T>(error: JoinError) -> Result<T, io::Error> {
    Err(io::Error::other(error))
}

fn join_blob_error<T>(error: JoinError) -> Result<T, BlobError> {
    Err(BlobError::Io(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use adit_protocol::SecretKey;

    use super::*;
    use crate::{Dialer, GatewayAddr, Listener, SendError};

    /// Once what a peer did not take of its control stream was kept for as long as it was there.
    #[tokio::test]
    async fn control_stream_of_which_nothing_is_taken_is_given_up() {
        let [listens, dials] = [1, 2].map(|n| SecretKey::from_seed([n; 32]));
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &listens).unwrap();
        let addr = GatewayAddr { host: listener.local_addr().to_string(), key: listens.public() };
        let dialer = Dialer::new(dials).unwrap();
        let (near, far) = tokio::join!(dialer.dial(&addr), async { listener.accept().await.unwrap().complete().await });
        let (near, far) = (near.unwrap(), far.unwrap());
        let (send, _recv) = near.quic.open_bi().await.unwrap();
        let outbox = Outbox::new(send, Duration::from_millis(50));
        outbox.send(&0u8).unwrap();
        let (_send, mut recv) = far.quic.accept_bi().await.unwrap();
        let moment = Duration::from_millis(200);
        assert!(timeout(moment, outbox.given_up()).await.is_err(), "it has taken all that there was");
        while outbox.send(&vec![7u8; 100_000]).is_ok() {}
        timeout(Duration::from_secs(20), outbox.given_up()).await.unwrap();
        assert_eq!(outbox.send(&0u8), Err(SendError::Closed));
        let read = timeout(Duration::from_secs(20), recv.read_to_end(usize::MAX)).await.unwrap();
        assert!(format!("{read:?}").contains("Reset"), "{read:?}");
    }
}
