//! What a connection may hold, each bound with its reason.

use std::time::Duration;

/// Bytes in flight on one connection, both directions: 100 Mbit/s over 300 ms is 3.75 MB; a home box has no more.
pub const RECEIVE_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Bytes in flight on one stream. Under half of the connection's window, so that a stalled transfer cannot stop the control stream.
pub const STREAM_WINDOW_BYTES: u32 = 3 * 1024 * 1024;

/// Bytes sent and not yet acknowledged on one connection, as for the other direction. Half of what the peer may have sent: what a peer
/// never acknowledges is kept here.
pub const SEND_WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// Streams that a peer may have open at once: one control stream and transfers. The bound on transfers, and so on open files.
pub const STREAMS_MAX: u32 = 128;

/// How long a silent peer is believed to live. A lost node is noticed after this, so it is short; it is three times the keep-alive,
/// so that two lost packets in a row change nothing.
pub const IDLE_TIMEOUT: Duration = Duration::from_millis(4_500);

/// How often a quiet connection says that it lives. Also keeps a NAT's mapping, which lasts 30 s or more for UDP (RFC 4787).
pub const KEEP_ALIVE: Duration = Duration::from_millis(1_500);

/// Handshakes that may wait for an answer. Over it, new ones are dropped by the endpoint.
pub const INCOMING_MAX: usize = 1_024;

/// Bytes buffered for each handshake that waits: a client's first flight with its key and transport parameters.
pub const INCOMING_BUFFER_BYTES: u64 = 16 * 1024;

/// Connections above which a dialer must prove its address by a Retry (RFC 9000, section 8.1.2) before we keep any state for it.
pub const CONNECTIONS_BEFORE_RETRY: usize = 512;

/// The least time between two stateless resets: after a restart a thousand peers hear of it in a second, and nobody can make us send
/// more than a thousand small packets a second.
pub const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// How long a dialer waits for a handshake: one round trip and two retransmissions of its first packet (RFC 9002, section 6.2).
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a listener waits for a handshake, and for the first frame after it.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a transfer may bring nothing. What has come of it takes room in a store; a line that lives brings something in 30 s, though it
/// be shared by all streams that there may be.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a peer may take nothing of what is sent to it. Longer than the other way round: a slow line that many streams share tells of
/// a stream's room in steps of some hundred kilobytes.
pub const SEND_STALL_TIMEOUT: Duration = Duration::from_mins(10);

/// Bytes of a file that are read at once to be sent. Two pieces of each are in memory, whether the peer takes them or not.
pub const SEND_CHUNK_BYTES: usize = 128 * 1024;

/// Bytes waiting on a control stream for a peer that does not read. Over it the connection is closed.
pub const OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes gathered before they go to the disk: large enough that the hand-over to a blocking thread costs nothing beside the write.
pub const DISK_CHUNK_BYTES: usize = 1024 * 1024;

/// How long they are gathered. What a slow peer sends is then counted by the store within a second, and takes no memory.
pub const DISK_CHUNK_TIME: Duration = Duration::from_secs(1);

const _: () = assert!(STREAM_WINDOW_BYTES < RECEIVE_WINDOW_BYTES / 2);
const _: () = assert!(KEEP_ALIVE.as_millis() * 3 <= IDLE_TIMEOUT.as_millis());
const _: () = assert!(OUTBOX_BYTES_MAX > 2 * adit_protocol::limits::FRAME_BYTES_MAX);
