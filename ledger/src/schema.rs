//! The tables, and what marks a database as a ledger of ours.

use adit_protocol::PublicKey;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTableMetadata, TableDefinition, TableError, WriteTransaction,
};

use crate::{OpenError, StoreError};

/// The version of the tables and of what they mean. A ledger of another version is refused.
pub const FORMAT_VERSION: u32 = 1;

/// By index, dense from 0: a row of [`crate::row`]. Ordered keys make every append touch the same right edge of the tree.
pub(crate) const RECEIPTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("receipts");
/// By index, where there is one: the inline output. Apart from the receipts, so that a scan over receipts does not read it.
pub(crate) const OUTPUTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outputs");
/// A job's index.
pub(crate) const JOBS: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("jobs");
/// The indexes of a client's receipts, in order.
pub(crate) const CLIENTS: TableDefinition<'_, (&[u8; 32], u64), ()> = TableDefinition::new("clients");
/// Facts about the ledger itself.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// In [`META`]: [`FORMAT_VERSION`], little-endian.
const META_FORMAT: &str = "format";
/// In [`META`]: the public key of the gateway whose ledger this is.
const META_GATEWAY: &str = "gateway";

/// Begins a transaction that is on the disk when its commit returns.
///
/// Two-phase, so that a torn or reordered write can never make an unfinished commit look finished; quick repair, so that opening
/// after a crash costs no walk over the whole file.
pub(crate) fn begin_durable(db: &Database) -> Result<WriteTransaction, StoreError> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Makes an empty database a ledger of `gateway`, or checks that it is one.
pub(crate) fn prepare(db: &Database, gateway: PublicKey) -> Result<(), OpenError> {
    let transaction = db.begin_read().map_err(StoreError::from)?;
    if transaction.list_tables().map_err(StoreError::from)?.next().is_none() {
        drop(transaction);
        return Ok(initialise(db, gateway)?);
    }
    check_identity(&transaction, gateway)?;
    check_counts(&transaction)
}

/// One transaction, so that a crash leaves either nothing or a whole empty ledger.
fn initialise(db: &Database, gateway: PublicKey) -> Result<(), StoreError> {
    let transaction = begin_durable(db)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT_VERSION.to_le_bytes().as_slice())?;
        meta.insert(META_GATEWAY, gateway.0.as_slice())?;
    }
    transaction.open_table(RECEIPTS)?;
    transaction.open_table(OUTPUTS)?;
    transaction.open_table(JOBS)?;
    transaction.open_table(CLIENTS)?;
    transaction.commit()?;
    Ok(())
}

fn check_identity(transaction: &ReadTransaction, gateway: PublicKey) -> Result<(), OpenError> {
    let meta = match transaction.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Err(OpenError::NotALedger),
        meta => meta.map_err(StoreError::from)?,
    };
    let format = meta.get(META_FORMAT).map_err(StoreError::from)?.ok_or(OpenError::NotALedger)?;
    let found = format.value().try_into().map(u32::from_le_bytes).map_err(|_| OpenError::NotALedger)?;
    if found != FORMAT_VERSION {
        return Err(OpenError::Format { found });
    }
    let owner = meta.get(META_GATEWAY).map_err(StoreError::from)?.ok_or(OpenError::NotALedger)?;
    let owner = owner.value().try_into().map(PublicKey).map_err(|_| OpenError::NotALedger)?;
    if owner != gateway {
        return Err(OpenError::ForeignGateway { owner, given: gateway });
    }
    Ok(())
}

/// Every receipt stands once in each of its indexes, and indexes are dense. What costs nothing to check is checked at every open.
fn check_counts(transaction: &ReadTransaction) -> Result<(), OpenError> {
    let counts = || -> Result<_, StoreError> {
        let receipts = transaction.open_table(RECEIPTS)?;
        let next = redb::ReadableTable::last(&receipts)?.map_or(0, |(index, _)| index.value().saturating_add(1));
        Ok((next, receipts.len()?, transaction.open_table(JOBS)?.len()?, transaction.open_table(CLIENTS)?.len()?))
    };
    let (next, receipts, jobs, clients) = counts()?;
    if [receipts, jobs, clients] != [next; 3] {
        return Err(OpenError::Inconsistent { next, receipts, jobs, clients });
    }
    Ok(())
}
