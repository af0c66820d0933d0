//! What the clients of the examples share: the gateway that they submit to, many jobs under way at once with their progress, and the
//! bill at the end.
//!
//! ```no_run
//! use adit_client::{Job, Source};
//! use adit_example_network::{Invoice, Network, NetworkArgs};
//!
//! # async fn example(args: NetworkArgs, module: Source, inputs: Vec<Vec<u8>>) -> anyhow::Result<()> {
//! let network = Network::connect(&args).await?;
//! let jobs = inputs.into_iter().map(|input| Job::new(module.clone(), Source::bytes(input)));
//! let finished = network.run_all("parts", jobs).await?; // in the order of the jobs, whichever ended first
//! println!("{}", Invoice::of(&finished)?);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod invoice;
mod network;
mod progress;

pub use invoice::Invoice;
pub use network::{Finished, Network, NetworkArgs};
pub use progress::Progress;
