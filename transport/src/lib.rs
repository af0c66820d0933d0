//! How it *travels*: key files, mutually authenticated QUIC, framed control streams, and content-addressed blobs.
//!
//! Both ends of a connection prove an Ed25519 key in TLS 1.3 by raw public keys (RFC 7250); there is no X.509 on the wire and no
//! authority to trust. A dialer knows which key it expects; a listener learns who came.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use adit_transport::{Dialer, GatewayAddr};
//! use adit_protocol::{Greeting, SecretKey};
//!
//! let gateway: GatewayAddr = "203.0.113.7:4433#6f1d…".parse()?;
//! let dialer = Dialer::new(SecretKey::generate())?;
//! let connection = dialer.dial(&gateway).await?;
//! let (outbox, _inbox) = connection.open_control().await?;
//! outbox.send(&Greeting::Client { software: "example 1.0".into() })?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod blob;
mod connection;
mod control;
mod endpoint;
mod keyfile;
pub mod limits;
mod tls;

pub use address::{GatewayAddr, ParseAddrError};
pub use blob::{BlobError, BlobPin, BlobStore, BlobWriter, hash_file};
pub use connection::{
    Connection, Transfer, TransferError, read_reply, read_request, receive_blob, receive_blob_while, send_file, send_file_while,
    write_frame,
};
pub use control::{Inbox, Outbox, ReceiveError, SendError};
pub use endpoint::{DialError, Dialer, Handshake, Listener};
pub use keyfile::{KeyFileError, create_key_file, load_key_file, load_or_create_key_file};
pub use quinn::{RecvStream, SendStream};
