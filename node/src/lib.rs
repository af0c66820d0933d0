//! The edge host: dials a gateway, takes leases, runs them in the [`adit_runtime`], and signs receipts for what was used.
//!
//! The node holds the keys and the network; guests run in processes of their own that have neither. It only ever dials out, so that it
//! works behind any NAT, and connects again by itself whenever its gateway is lost.
//!
//! What an owner allows is kept by the node alone: rules over what the machine says of itself ([`rules`], [`sensors`]), and commands
//! through a socket that nobody else may open ([`control`]). Where a rule is broken, guests are stopped within 200 ms, and what they did
//! is signed for.
//!
//! Everything here runs on one thread. A lease is a local task; what it has to say waits in the connection's outbox; receipts that are
//! ready at the same moment are signed as one batch.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod config;
mod event;
mod node;

mod fetch;
mod gpu;
mod lease;
mod link;
mod room;
mod sign;
mod speed;
mod turns;

mod owner;
pub mod rules;
pub mod sensors;
mod watch;

pub mod control;
mod kept;
mod times;
mod today;

pub use config::{AbsurdError, JoinToken, NodeConfig, ParseTokenError, check_gpu};
pub use event::NodeEvent;
pub use gpu::GpuStatus;
pub use node::{Node, Reload, ReloadError, StartError};
pub use today::Day;
