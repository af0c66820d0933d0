//! Distance, for tests and measurements alone: a UDP relay on this machine that delays, loses and queues what goes through it.
//!
//! A [`Relay`] stands before one gateway. Each [`Path`] of it is an address to dial in the gateway's place, with conditions of its own in
//! each direction. What becomes of a packet is decided by [`Line`], which has no clock and no socket.
//!
//! ```
//! # use std::time::Duration;
//! use adit_relay::{Conditions, Leg, Relay};
//!
//! # let gateway = std::net::SocketAddr::from(([127, 0, 0, 1], 4433));
//! let mut relay = Relay::new(gateway, 7)?;
//! let far = relay.path(Conditions::both(Leg { delay: Duration::from_millis(50), loss_ppm: 20_000, ..Leg::default() }))?;
//! println!("dial {} instead", far.addr());
//! far.set(Conditions::both(Leg { bytes_per_second: Some(125_000), ..Leg::default() }));
//! assert_eq!(far.counts().to_gateway.packets, 0);
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod flows;
mod line;
mod relay;

pub use line::{Counts, Leg, Line};
pub use relay::{Conditions, Path, PathCounts, Relay};
