//! What is *recorded* in Adit: settled receipts, durably, in one [`redb`] database.
//!
//! A [`Ledger`] is the one writer. [`Ledger::append`] stores a batch of receipts in one durable transaction, all or nothing, and
//! gives each its index; the same job again has no second effect. A [`Reader`] answers questions beside it, from any thread. A
//! [`Writer`] is the gateway's way in: a thread that turns whatever is queued into the next batch, so that under load a hundred
//! receipts share one sync and a lone receipt waits for nobody.
//!
//! This crate has no clock and no async: times come in as arguments, and the only thread is the [`Writer`]'s.
//!
//! ```
//! use adit_ledger::Ledger;
//! use adit_protocol::SecretKey;
//! use redb::backends::InMemoryBackend;
//!
//! let gateway = SecretKey::from_seed([1; 32]).public();
//! let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).unwrap();
//! assert_eq!(ledger.append(&[]).unwrap(), []);
//! assert_eq!(ledger.reader().len().unwrap(), 0);
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod entry;
mod file;
mod ledger;
mod reader;
mod row;
mod schema;
mod writer;

pub use entry::{Appended, Entry, EntryError, RECEIPT_BYTES_MAX, StoredJob};
pub use ledger::{CommitError, Ledger, OpenError};
pub use reader::{Corruption, Reader, ReceiptPage, StoreError};
pub use schema::FORMAT_VERSION;
pub use writer::{BATCH_ENTRIES_MAX, Batch, QUEUE_ENTRIES_MAX, SubmitError, Writer};
