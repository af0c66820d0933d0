//! The edge host: dials a gateway, takes leases, runs them in the [`adit_runtime`], and signs receipts for what was used.
//!
//! The node holds the keys and the network; guests run in processes of their own that have neither. It only ever dials out, so that it
//! works behind any NAT, and connects again by itself whenever its gateway is lost.
//!
//! Everything here runs on one thread. A lease is a local task; what it has to say waits in the connection's outbox; receipts that are
//! ready at the same moment are signed as one batch.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod config;
mod event;
mod fetch;
mod lease;
mod link;
mod node;
mod sign;
mod speed;

pub use config::NodeConfig;
pub use event::NodeEvent;
pub use node::{Node, StartError};
