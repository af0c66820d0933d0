//! What leads to the newest leaves, in memory: the jobs that they settle, and the accounts that they concern.
//!
//! In the tables each such entry has a place of its own, as jobs' ids are hashes and accounts take turns: to write it there together with
//! its leaf would be to write three pages for a receipt of half a kilobyte. All of it can be read from the leaves, though. So entries
//! gather in memory, and once there are many, a sweep takes them into the tables in the order of their keys, a few with each commit:
//! those that are neighbours then share a page. From which leaf on a table may lack entries is written with the sweep's end
//! ([`META_INDEXED`]), and a ledger that is opened reads these leaves again. So nothing is lost that a leaf says, whatever was swept
//! when.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use adit_protocol::{JobId, Leaf};
use redb::{ReadTransaction, ReadableTableMetadata};
use tlog_tiles::record_hash;

use crate::books::{ACCOUNT_BYTES, Account, Line};
use crate::reader::{Corruption, StoreError};
use crate::schema::{JOBS, LEAVES, META, META_INDEXED, TILES};
use crate::tree::{HASH_BYTES, TILE_HASHES, leaf_place, read_tile};

/// Leaves whose entries gather before a sweep begins, at most: some megabytes of memory, and half as many leaves more, those that come
/// while it sweeps, to be read when the ledger is opened, which takes some tenths of a second.
const GATHERED_LEAVES_MAX: u64 = 32_768;
/// Of a smaller ledger they are this part of its leaves: the sweep finds as many neighbours in its fewer pages.
const GATHERED_PART: u64 = 4;
/// However few leaves there are: a sweep for each commit would save nothing.
const GATHERED_LEAVES_MIN: u64 = 4;
/// Entries that a sweep takes for each new leaf. A leaf has three at most, a job and two accounts, so that a sweep ends before half as many
/// leaves have come as it is over.
const SWEPT_FOR_EACH: usize = 6;

/// What an entry is found by, in the order of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IndexKey {
    /// A settled job.
    Job([u8; 16]),
    /// A leaf that concerns an account: whether it is one that pays no receipt, and its index.
    Statement([u8; ACCOUNT_BYTES], bool, u64),
}

/// Entries that the tables may lack, each with its leaf's index. Some may be of a commit that is not done, or that failed: who reads takes
/// those below the number of leaves that it sees.
#[derive(Default)]
pub(crate) struct Recent {
    gathered: BTreeMap<IndexKey, u64>,
    /// From which leaf on they have gathered.
    gathered_from: u64,
    /// Those that the sweep has still to take.
    swept: BTreeMap<IndexKey, u64>,
    /// When the sweep is done, the tables lack nothing of the leaves below this index.
    swept_end: u64,
}

/// The entries as the writer and all who read share them.
#[derive(Debug, Default, Clone)]
pub(crate) struct SharedRecent(Arc<RwLock<Recent>>);

/// What one commit takes into the tables.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// Whether it is the first of its sweep: what has gathered before this commit, which had so many leaves.
    begins_at: Option<u64>,
    /// In the order of their keys.
    pub(crate) entries: Vec<(IndexKey, u64)>,
    /// Below which leaf the tables lack nothing from here on, where that changes.
    pub(crate) indexed: Option<u64>,
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gathered, swept) = (self.gathered.len(), self.swept.len());
        f.debug_struct("Recent").field("gathered", &gathered).field("swept", &swept).finish_non_exhaustive()
    }
}

impl SharedRecent {
    /// Begins a read: what is found here belongs to any transaction that is begun before the guard is dropped.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Recent> {
        // Nothing that panics leaves entries half changed: each is there or not.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Recent> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the entries of a commit that is about to be done, so that whoever sees it finds them.
    pub(crate) fn admit(&self, fresh: Vec<(IndexKey, u64)>, sweep: &Sweep) {
        let mut recent = self.write();
        if let Some(leaves) = sweep.begins_at {
            recent.swept = std::mem::take(&mut recent.gathered);
            (recent.swept_end, recent.gathered_from) = (leaves, leaves);
        }
        recent.gathered.extend(fresh);
    }

    /// Drops what a commit that is done took into the tables.
    pub(crate) fn release(&self, sweep: &Sweep) {
        let mut recent = self.write();
        for (key, _) in &sweep.entries {
            recent.swept.remove(key);
        }
    }

    /// Reads again what the tables lack.
    pub(crate) fn load(&self, transaction: &ReadTransaction) -> Result<(), StoreError> {
        *self.write() = Recent::load(transaction)?;
        Ok(())
    }
}

impl Recent {
    fn load(transaction: &ReadTransaction) -> Result<Self, StoreError> {
        let jobs = transaction.open_table(JOBS)?;
        let from = indexed(transaction)?;
        let mut recent = Self { gathered_from: from, ..Self::default() };
        each_leaf(transaction, from, |index, leaf| {
            for key in keys(&Line::of(leaf), index) {
                // Of jobs it must be known how many there are; a statement that is swept again stays as it is.
                let known = match key {
                    IndexKey::Job(job) => jobs.get(&job)?.map(|index| index.value()),
                    IndexKey::Statement(..) => None,
                };
                match known {
                    None => _ = recent.gathered.insert(key, index),
                    Some(known) if known == index => {}
                    Some(_) => return Err(StoreError::Corrupt { index, fault: Corruption::Index }),
                }
            }
            Ok(())
        })?;
        Ok(recent)
    }

    /// The index of a job's settlement.
    pub(crate) fn job(&self, job: JobId) -> Option<u64> {
        let key = IndexKey::Job(job.0);
        self.gathered.get(&key).or_else(|| self.swept.get(&key)).copied()
    }

    /// How many jobs there are.
    pub(crate) fn jobs(&self) -> u64 {
        let behind = IndexKey::Job([u8::MAX; 16]);
        [&self.gathered, &self.swept].map(|entries| entries.range(..=behind).count() as u64).into_iter().sum()
    }

    /// The leaves that concern an account, from `from` on and below `leaves`, in no order.
    pub(crate) fn statement(&self, account: &[u8; ACCOUNT_BYTES], is_other: bool, from: u64, leaves: u64) -> Vec<u64> {
        if from >= leaves {
            return Vec::new();
        }
        let range = IndexKey::Statement(*account, is_other, from)..IndexKey::Statement(*account, is_other, leaves);
        [&self.gathered, &self.swept]
            .into_iter()
            .flat_map(|entries| entries.range(range.clone()).map(|(_, index)| *index))
            .collect()
    }

    /// What is to be swept with a commit that adds so many leaves to so many.
    pub(crate) fn sweep(&self, fresh: u64, leaves: u64) -> Sweep {
        let are_many = leaves + fresh - self.gathered_from > gathered_max(leaves);
        let begins_at = (self.swept.is_empty() && are_many).then_some(leaves);
        let (source, end) = match begins_at {
            Some(leaves) => (&self.gathered, leaves),
            None => (&self.swept, self.swept_end),
        };
        let entries: Vec<_> = source.iter().take(SWEPT_FOR_EACH * fresh as usize).map(|(key, index)| (*key, *index)).collect();
        let is_last = entries.len() == source.len() && (begins_at.is_some() || !source.is_empty());
        Sweep { begins_at, entries, indexed: is_last.then_some(end) }
    }
}

/// Of how many leaves entries gather at most.
fn gathered_max(leaves: u64) -> u64 {
    (leaves / GATHERED_PART + GATHERED_LEAVES_MIN).min(GATHERED_LEAVES_MAX)
}

/// What leads to a leaf, but for orders and attempts, which are few and stand in their tables at once.
pub(crate) fn keys(line: &Line, index: u64) -> impl Iterator<Item = IndexKey> + use<> {
    let job = match line {
        Line::Settlement(paid) => Some(IndexKey::Job(paid.job.0)),
        _ => None,
    };
    let is_other = line.paid().is_none();
    job.into_iter().chain(parties(line).map(move |account| IndexKey::Statement(account.to_key(), is_other, index)))
}

/// Whether an entry is one of those that lead to this leaf.
pub(crate) fn leads_here(leaf: &Leaf, index: u64, key: IndexKey) -> bool {
    keys(&Line::of(leaf), index).any(|due| due == key)
}

/// Whom a leaf concerns.
fn parties(line: &Line) -> impl Iterator<Item = Account> + use<> {
    let (customer, owner) = match line {
        Line::Terms(_) => (None, None),
        Line::Grant(grant) => (Some(grant.customer), None),
        Line::Void(voided) => (Some(voided.customer), None),
        Line::Payout(payout) => (None, Some(payout.owner)),
        Line::Settlement(paid) | Line::Attempt(paid) => (Some(paid.client), Some(paid.node)),
    };
    customer.map(Account::Customer).into_iter().chain(owner.map(Account::Owner))
}

/// Reads the leaves from `from` on. Each is compared to the tree: a job that is not recognised could be paid for twice.
fn each_leaf(
    transaction: &ReadTransaction,
    from: u64,
    mut read: impl FnMut(u64, &Leaf) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (leaves, tiles) = (transaction.open_table(LEAVES)?, transaction.open_table(TILES)?);
    let end = leaves.len()?;
    let (mut next, mut tile) = (from, Vec::new());
    for entry in leaves.range(from..)? {
        let (index, bytes) = entry?;
        let damaged = |fault| StoreError::Corrupt { index: next, fault };
        if index.value() != next {
            return Err(damaged(Corruption::Missing));
        }
        let (place, at) = leaf_place(next);
        if next == from || at == 0 {
            tile = read_tile(&tiles, place, TILE_HASHES.min(at + (end - next) as usize))?;
        }
        if tile[at * HASH_BYTES..][..HASH_BYTES] != record_hash(bytes.value()).0 {
            return Err(damaged(Corruption::Leaf));
        }
        read(next, &Leaf::from_bytes(bytes.value()).map_err(|_| damaged(Corruption::LeafEncoding))?)?;
        next += 1;
    }
    if next == end { Ok(()) } else { Err(StoreError::Corrupt { index: next, fault: Corruption::Missing }) }
}

/// Below which leaf the tables lack nothing.
pub(crate) fn indexed(transaction: &ReadTransaction) -> Result<u64, StoreError> {
    let meta = transaction.open_table(META)?;
    let Some(indexed) = meta.get(META_INDEXED)? else { return Ok(0) };
    let damaged = StoreError::Corrupt { index: 0, fault: Corruption::Encoding };
    indexed.value().try_into().map(u64::from_le_bytes).map_err(|_| damaged)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A ledger's index as it is meant: what stands in the tables, and from where on they may lack some.
    #[derive(Default)]
    struct Index {
        recent: SharedRecent,
        tables: BTreeMap<IndexKey, u64>,
        indexed: u64,
        leaves: u64,
    }

    impl Index {
        /// A commit of so many receipts of a few accounts, as [`crate::change`] does it.
        fn commit(&mut self, receipts: u64) {
            let fresh: Vec<_> = (self.leaves..self.leaves + receipts).flat_map(entries).collect();
            let sweep = self.recent.read().sweep(receipts, self.leaves);
            assert!(sweep.entries.len() <= 2 * fresh.len(), "no commit has more to do for others' leaves than for its own twice");
            assert!(sweep.entries.is_sorted(), "neighbours are taken together");
            self.recent.admit(fresh, &sweep);
            self.tables.extend(sweep.entries.iter().copied());
            self.indexed = sweep.indexed.unwrap_or(self.indexed);
            self.recent.release(&sweep);
            self.leaves += receipts;
        }

        fn check(&self) {
            let recent = self.recent.read();
            let unwritten = recent.gathered.iter().chain(&recent.swept).map(|(key, index)| (*key, *index));
            let found: BTreeSet<_> = self.tables.iter().map(|(key, index)| (*key, *index)).chain(unwritten).collect();
            let due: BTreeSet<_> = (0..self.leaves).flat_map(entries).collect();
            assert_eq!(found, due);
            let lacking = due.iter().filter(|(key, _)| !self.tables.contains_key(key)).map(|(_, index)| *index).min();
            assert!(lacking.is_none_or(|lacking| lacking >= self.indexed), "{lacking:?} {}", self.indexed);
        }
    }

    /// The entries of a leaf, whose job is found anywhere.
    fn entries(index: u64) -> Vec<(IndexKey, u64)> {
        let mut job = [0; 16];
        job[..8].copy_from_slice(&index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let account =
            |tag, n: u64| IndexKey::Statement([[tag].as_slice(), &[n as u8; 32]].concat().try_into().unwrap(), false, index);
        [IndexKey::Job(job), account(2, index % 5), account(3, 0)].into_iter().map(|key| (key, index)).collect()
    }

    #[test]
    fn every_entry_is_found_and_those_that_are_read_again_at_a_start_are_few() {
        let mut index = Index::default();
        for commit in 0..1_000u64 {
            index.commit(1 + commit * 7 % 13);
            let max = gathered_max(index.leaves);
            let recent = index.recent.read();
            let (gathered, swept) = (recent.gathered.len() as u64, recent.swept.len() as u64);
            assert!(gathered + swept <= 3 * (max + max / 2 + 13), "{gathered} and {swept} of {max} leaves");
            let unindexed = index.leaves - index.indexed;
            assert!(unindexed <= max + max / 2 + 26, "{unindexed} of {}, {max}", index.leaves);
            drop(recent);
            if commit.is_multiple_of(97) {
                index.check();
            }
        }
        assert!(index.leaves > 6_000 && index.indexed > index.leaves / 3);
    }

    /// Entries of one account are always behind those before. A sweep that took them as they come would never end.
    #[test]
    fn sweep_ends_though_all_that_is_new_is_ahead_of_it() {
        let mut index = Index::default();
        let mut ends = BTreeSet::new();
        for _ in 0..4_000 {
            let fresh = vec![(IndexKey::Statement([2; ACCOUNT_BYTES], true, index.leaves), index.leaves)];
            let sweep = index.recent.read().sweep(1, index.leaves);
            index.recent.admit(fresh, &sweep);
            index.recent.release(&sweep);
            ends.extend(sweep.indexed);
            index.leaves += 1;
        }
        assert!(ends.len() > 3 && ends.last().is_some_and(|last| *last > 700), "{ends:?}");
    }

    #[test]
    fn batch_larger_than_all_that_gathers_is_swept_with_the_next() {
        let mut index = Index::default();
        index.commit(1_000);
        index.check();
        index.commit(1_000);
        assert_eq!(index.indexed, 1_000);
        index.check();
    }
}
