//! Adit's decisions and its books under seeded faults, in virtual time: the real [`adit_dispatch`] and [`adit_ledger`] code, with models of
//! everything around them.
//!
//! A run is one thread and one seed. Time is a number that jumps to whatever happens next; chance is one stream of ChaCha8; every collection
//! is ordered. So a seed gives the same [trace](Report::digest) on every machine, and a failure is replayed by its seed
//! (FoundationDB: J. Zhou et al., "FoundationDB: a distributed unbundled transactional key value store", 2021, section 4; TigerBeetle's
//! VOPR is in the same manner).
//!
//! - **Actors**: a gateway that drives the dispatcher and the ledger as the product's does, and crashes; nodes with their owners; clients
//!   with idempotency keys; the network between them; the disk under the ledger.
//! - **Faults** ([`Fault`]): about half of them in each [`Plan`], for some seconds. Then they stop, and within a minute of virtual time every
//!   job has to end. Messages of one connection keep their order, as those of a QUIC stream do; those of different connections overtake one
//!   another, and those of a connection that broke are gone.
//! - **Oracles**: a shadow of the dispatcher that only sees what goes in and what comes out, and knows what its page promises; a
//!   vault that has every leaf that was ever durable, and every receipt that a client was promised.
//! - **Points** ([`Point`]): the states that some seed must reach. An oracle that never sees a state proves nothing about it.
#![forbid(unsafe_code)]

mod campaign;
mod chance;
mod client;
mod disk;
mod env;
mod gateway;
mod node;
mod plan;
mod points;
mod shadow;
mod stall;
mod trace;
mod vault;
mod world;

pub use campaign::{Campaign, Progress, Summary, run_many, shrink};
pub use chance::Chance;
pub use plan::{Fault, Plan, Reduction};
pub use points::{Point, Points};
pub use world::{Failure, Report, record_panics, run};
