//! The tables, and what marks a database as a ledger of ours.

use std::collections::BTreeMap;

use adit_protocol::PublicKey;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableError,
    WriteTransaction,
};

use crate::books::{ACCOUNT_BYTES, Account, Balance, BooksError, check_sum};
use crate::tree::{Edge, Place};
use crate::{Corruption, OpenError, StoreError};

/// The version of the tables and of what they mean. A ledger of another version is refused.
pub const FORMAT_VERSION: u32 = 7;

/// By index, dense from 0: a leaf's bytes. Ordered keys make every append touch the same right edge of the tree.
pub(crate) const LEAVES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("leaves");
/// The hashes over the leaves, in tiles; the last of each level is rewritten as it grows.
pub(crate) const TILES: TableDefinition<'_, Place, &[u8]> = TableDefinition::new("tiles");
/// By the index of the leaf of a settlement or of another paid attempt: a row of [`crate::row`], with what the public does not see.
pub(crate) const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
/// By the same index, where there is one: the inline output. Apart from the rows, so that a scan over them does not read it.
pub(crate) const OUTPUTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outputs");
/// A settled job's index; of the newest leaves in memory first, as with statements.
pub(crate) const JOBS: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("jobs");
/// The index of each paid attempt that did not end its job, by job and attempt. Few jobs have any.
pub(crate) const ATTEMPTS: TableDefinition<'_, (&[u8; 16], u32), u64> = TableDefinition::new("attempts");
/// The indexes of the leaves that concern a customer or an owner, in order: first all that pay a receipt, then all others. Apart, because
/// what pays none may be much, and is looked at by few.
pub(crate) const STATEMENTS: TableDefinition<'_, (&[u8; ACCOUNT_BYTES], bool, u64), ()> = TableDefinition::new("statements");
/// What each account has.
pub(crate) const ACCOUNTS: TableDefinition<'_, &[u8; ACCOUNT_BYTES], &[u8; 32]> = TableDefinition::new("accounts");
/// A job's open hold: customer, what is left of it, time of its end.
pub(crate) const HOLDS: TableDefinition<'_, &[u8; 16], (&[u8; 32], u64, u64)> = TableDefinition::new("holds");
/// The index of each order's leaf.
pub(crate) const ORDERS: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("orders");
/// By node and a number that only grows: an attempt that was not paid, in postcard.
pub(crate) const UNPAID: TableDefinition<'_, (&[u8; 32], u64), &[u8]> = TableDefinition::new("unpaid");
/// Facts about the ledger itself.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// In [`META`]: [`FORMAT_VERSION`], little-endian.
const META_FORMAT: &str = "format";
/// In [`META`]: the public key of the gateway whose ledger this is.
const META_GATEWAY: &str = "gateway";
/// In [`META`], once there are any: the index of the leaf with the terms that hold, little-endian.
pub(crate) const META_TERMS: &str = "terms";
/// In [`META`], once there is any: the index below which [`JOBS`] and [`STATEMENTS`] lack no leaf's entries, little-endian. See
/// [`crate::recent`].
pub(crate) const META_INDEXED: &str = "indexed";
/// In [`META`], once there are any: the sum over [`ORDERS`]. See [`crate::sums`].
pub(crate) const META_ORDERS_SUM: &str = "orders sum";
/// In [`META`], once there are any: the sum over [`ATTEMPTS`].
pub(crate) const META_ATTEMPTS_SUM: &str = "attempts sum";
/// In [`META`], beside [`META_INDEXED`]: the sum over what [`JOBS`] has of the leaves below that.
pub(crate) const META_JOBS_SUM: &str = "jobs sum";
/// In [`META`], once there are any: the sum over [`ACCOUNTS`].
pub(crate) const META_ACCOUNTS_SUM: &str = "accounts sum";
/// In [`META`], once there were any: the sum over [`HOLDS`].
pub(crate) const META_HOLDS_SUM: &str = "holds sum";

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
    check_leaves(&transaction)?;
    check_balances(&transaction)
}

/// One transaction, so that a crash leaves either nothing or a whole empty ledger.
fn initialise(db: &Database, gateway: PublicKey) -> Result<(), StoreError> {
    let transaction = begin_durable(db)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT_VERSION.to_le_bytes().as_slice())?;
        meta.insert(META_GATEWAY, gateway.0.as_slice())?;
    }
    transaction.open_table(LEAVES)?;
    transaction.open_table(TILES)?;
    transaction.open_table(ROWS)?;
    transaction.open_table(OUTPUTS)?;
    transaction.open_table(JOBS)?;
    transaction.open_table(ATTEMPTS)?;
    transaction.open_table(STATEMENTS)?;
    transaction.open_table(ACCOUNTS)?;
    transaction.open_table(HOLDS)?;
    transaction.open_table(ORDERS)?;
    transaction.open_table(UNPAID)?;
    transaction.commit()?;
    Ok(())
}

/// Whose ledger it is.
pub(crate) fn owner(transaction: &ReadTransaction) -> Result<PublicKey, StoreError> {
    let meta = transaction.open_table(META)?;
    let owner = meta.get(META_GATEWAY)?.and_then(|owner| owner.value().try_into().ok());
    owner.map(PublicKey).ok_or(StoreError::Corrupt { index: 0, fault: Corruption::Missing })
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

/// Every leaf has its index. What costs nothing to check is checked at every open.
fn check_leaves(transaction: &ReadTransaction) -> Result<(), OpenError> {
    let count = || -> Result<_, StoreError> {
        let leaves = transaction.open_table(LEAVES)?;
        Ok((leaves.len()?, leaves.last()?.map_or(0, |(index, _)| index.value() + 1)))
    };
    match count()? {
        (found, due) if found == due => Ok(()),
        (found, due) => Err(OpenError::Inconsistent { what: "leaves", found, due }),
    }
}

/// The tree's edge is that over the leaves.
pub(crate) fn check_edge(transaction: &ReadTransaction, edge: &Edge) -> Result<(), StoreError> {
    edge.check(&transaction.open_table(LEAVES)?, &transaction.open_table(TILES)?)
}

/// Every receipt has its row and its job or attempt, where so many jobs are not in their table yet.
pub(crate) fn check_receipts(transaction: &ReadTransaction, recent_jobs: u64) -> Result<(), OpenError> {
    let count = || -> Result<_, StoreError> {
        let paid = transaction.open_table(JOBS)?.len()? + transaction.open_table(ATTEMPTS)?.len()?;
        Ok((paid + recent_jobs, transaction.open_table(ROWS)?.len()?))
    };
    match count()? {
        (found, due) if found == due => Ok(()),
        (found, due) => Err(OpenError::Inconsistent { what: "paid attempts", found, due }),
    }
}

/// Nothing was made or lost, and what is held is what the holds say.
pub(crate) fn check_balances<E: From<StoreError> + From<BooksError>>(transaction: &ReadTransaction) -> Result<(), E> {
    let read = || -> Result<_, StoreError> {
        let (mut posted, mut held) = (Vec::new(), BTreeMap::<_, i128>::new());
        for row in transaction.open_table(ACCOUNTS)?.iter()? {
            let (key, balance) = row?;
            let balance = Balance::from_bytes(balance.value());
            posted.push(balance.posted);
            held.insert(*key.value(), balance.held);
        }
        for row in transaction.open_table(HOLDS)?.iter()? {
            let (_, hold) = row?;
            let (customer, amount, _) = hold.value();
            let account = Account::Customer(PublicKey(*customer));
            let held = held.entry(account.to_key()).or_default();
            *held = held.checked_sub(amount.into()).ok_or(BooksError::Overflow { account })?;
        }
        Ok((posted, held))
    };
    let (posted, unexplained) = read()?;
    check_sum(posted.into_iter())?;
    match unexplained.into_iter().find(|(_, held)| *held != 0) {
        Some((key, held)) => Err(BooksError::Held { account: Account::from_key(&key).unwrap_or(Account::Issuer), held }.into()),
        None => Ok(()),
    }
}
