//! What is *recorded* in Adit: accounts, holds and the public log of everything that moves money, durably, in one [`redb`] database.
//!
//! A [`Ledger`] is the one writer. [`Ledger::apply`] carries out a batch of operations in one durable transaction, all or nothing, and
//! says what each came to; what came before has no second effect. What moves money becomes a [leaf](adit_protocol::Leaf) of the
//! log, a Merkle tree (RFC 6962) in tiles; the [`Books`] are the fold of the leaves, and the balances that the ledger keeps are theirs.
//! A [`Reader`] answers questions beside it, from any thread. A [`Writer`] is the gateway's way in: a thread that turns whatever is
//! queued into the next batch, so that under load a hundred receipts share one sync and a lone receipt waits for nobody.
//!
//! This crate has no clock and no async: times come in as arguments, and the only thread is the [`Writer`]'s.
//!
//! ```
//! use adit_ledger::{Account, Applied, Ledger, Operation};
//! use adit_protocol::{Grant, Microcredits, PublicKey, SecretKey, Terms, TransferId, UnixMillis};
//! use redb::backends::InMemoryBackend;
//!
//! let (gateway, time) = (SecretKey::from_seed([1; 32]).public(), UnixMillis(0));
//! let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).unwrap();
//! let customer = PublicKey([2; 32]);
//! let grant = Grant { id: TransferId([3; 16]), customer, amount: Microcredits(500), time };
//! let done = ledger.apply(&[Operation::State(Terms { gateway, fee_ppm: 0, time }), Operation::Grant(grant)]).unwrap();
//! assert_eq!(done[1], Ok(Applied::Recorded { index: 1 }));
//! assert_eq!(ledger.reader().balance(Account::Customer(customer)).unwrap().available(), 500);
//! // Granted again, it is the same grant.
//! assert_eq!(ledger.apply(&[Operation::Grant(grant)]).unwrap(), [Ok(Applied::Before { index: Some(1) })]);
//! assert_eq!(ledger.tree().size, 2);
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod backup;
mod books;
mod change;
mod check;
mod damage;
mod entry;
pub mod file;
mod ledger;
mod operation;
mod read_only;
mod reader;
mod recent;
mod row;
mod schema;
mod sums;
mod tree;
mod writer;

pub use backup::{BackupError, RestoreError};
pub use books::{Account, Balance, Books, BooksError, Line, Paid, Posting, postings};
pub use check::Scrub;
pub use damage::DamageMark;
pub use entry::{Appended, Entry, EntryError, StoredJob};
pub use ledger::{CommitError, Ledger, OpenError};
pub use operation::{Applied, EXPIRED_MAX, Hold, Operation, Refused, UNPAID_MAX};
pub use reader::{Corruption, Reader, ReceiptPage, StoreError, UnpaidPage};
pub use schema::FORMAT_VERSION;
pub use tree::TreeHead;
pub use writer::{BATCH_OPERATIONS_MAX, Batch, QUEUE_OPERATIONS_MAX, SubmitError, Writer};
