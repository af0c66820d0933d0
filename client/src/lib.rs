//! The client library: submits jobs to a gateway over QUIC, follows them, and checks what comes back.
//!
//! A connection that breaks is made again, with jittered backoff, and every job that has not ended is submitted again under its own key:
//! to the gateway that is the same job, so nothing runs twice that was settled, and nothing is lost. A job that the gateway has no room
//! for is submitted again in the same way, when the gateway said and a random time later, for as long as [`Config::patience`] allows.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use adit_client::{Client, Job, Source};
//! use adit_protocol::SecretKey;
//!
//! let client = Client::connect(SecretKey::generate(), "127.0.0.1:4433#6f1d…".parse()?).await?;
//! let job = Job::new(Source::file("wordcount.wasm")?, Source::bytes(b"to be or not to be".to_vec()));
//! let mut running = client.submit(job);
//! let done = running.ended().await?;
//! println!("{}: {}", done.receipt.receipt().outcome, done.receipt.receipt().usage.fuel);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
mod handle;
mod job;
mod link;
mod postponed;
mod transfer;

pub use error::{ConnectError, JobError};
pub use handle::{Done, JobHandle, Output, Settled, Update};
pub use job::{Job, Source, new_key};
pub use link::{Client, Config};
pub use postponed::Pauses;
pub use transfer::LogStream;
