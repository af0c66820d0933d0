//! Checks Bitcoin's headers and blocks: links, proof of work, the work's course, times, Merkle roots, witness commitments, scripts and
//! signatures. A batch of them is a job, and the job is a pure function of its batch.
#![forbid(unsafe_code)]

mod batch;
mod block;
pub mod collection;
mod hash;
mod header;
mod interpreter;
mod network;
mod read;
mod script;
mod sighash;
mod signature;
mod transaction;

pub use batch::{Batch, BatchError, Entry, Report, Spent, Verdict, period_start};
pub use block::{Block, BlockError};
pub use hash::Hash;
pub use header::{Chain, HEADER_BYTES, Header, HeaderError, PERIOD};
pub use network::Network;
pub use read::ReadError;
pub use script::{Flags, ScriptError, Verdict as ScriptVerdict};
pub use signature::{verify_ecdsa, verify_schnorr};
pub use transaction::{Input, MONEY_MAX, OutPoint, Output, Transaction, TransactionError};

/// Checks that input `index` of `transaction` may spend the output of that place in `spent`.
///
/// # Errors
/// Its scripts do not let it.
///
/// # Panics
/// Where `spent` has not as many outputs as the transaction has inputs, or there is no such input.
pub fn verify_input(
    transaction: &Transaction,
    index: usize,
    spent: &[Output],
    flags: Flags,
) -> Result<ScriptVerdict, ScriptError> {
    assert_eq!(transaction.inputs.len(), spent.len(), "one spent output for each input");
    let signed = sighash::Signed::new(transaction, Some(spent));
    let output = &spent[index];
    script::verify(&signed, index, &output.script, Some(output.value), flags, &mut 0)
}

/// What the first program's signatures sign in input `index`, under a script and a kind of signature.
pub fn legacy_digest(transaction: &Transaction, index: usize, script: &[u8], kind: u32) -> Hash {
    Hash(sighash::Signed::new(transaction, None).legacy(index, script, kind))
}
