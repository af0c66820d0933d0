//! The driver around [`adit_dispatch`] and [`adit_ledger`]: takes connections, keeps blobs, carries out what the dispatcher decides,
//! and records what it settled.
//!
//! Everything runs on one thread: connections are local tasks, and the `Core` they share is a plain value that is borrowed for
//! one message at a time and never across an await. A message that arrives is handled, the dispatcher's actions are carried out, and
//! the frames that follow from it wait in their connections' outboxes when the borrow ends: between two sockets there is no channel and
//! no thread to wake. Only the ledger's durable commits and the blob store's files have threads of their own.
//!
//! The gateway runs no guest code and does not know the runtime.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod account;
mod admission;
mod arrivals;
mod checker;
mod clock;
mod config;
mod core;
mod crowd;
mod error;
mod gateway;
mod job;
mod jobs;
mod link;
mod log;
mod peer;
mod publisher;
mod purse;
mod rates;
mod room;
mod settle;
mod times;
mod transfer;

pub use admission::{JoinToken, JoinTokens, JoinedNode, NewToken, NodeListError, NodePolicy, Revoked, TokenError, TokenFile};
pub use config::GatewayConfig;
pub use error::{RunError, StartError};
pub use gateway::Gateway;
pub use publisher::PublishError;
pub use rates::RateLimits;
