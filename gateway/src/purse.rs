//! What customers can spend, as the ledger will have it when it has done all that was handed to it.

use std::collections::HashMap;

use adit_ledger::{Account, Reader, StoreError};
use adit_protocol::{Microcredits, PublicKey};

/// The purses of customers with jobs that have not ended, or with operations that are on their way into the ledger. Of all others the
/// ledger itself knows.
#[derive(Debug, Default)]
pub(crate) struct Purses(HashMap<PublicKey, Purse>);

#[derive(Debug)]
struct Purse {
    /// What is neither spent nor reserved.
    available: i128,
    /// Jobs and operations that keep this purse from being forgotten.
    users: usize,
}

impl Purses {
    /// What `customer` can spend.
    pub(crate) fn available(&self, customer: &PublicKey, ledger: &Reader) -> Result<i128, StoreError> {
        match self.0.get(customer) {
            Some(purse) => Ok(purse.available),
            None => Ok(ledger.balance(Account::Customer(*customer))?.available()),
        }
    }

    /// Begins to use the purse of `customer`, which has so much now; ended by [`Self::release`].
    pub(crate) fn take(&mut self, customer: PublicKey, available: i128) {
        self.0.entry(customer).or_insert(Purse { available, users: 0 }).users += 1;
    }

    /// Adds to a purse that is used, or takes from it.
    pub(crate) fn add(&mut self, customer: &PublicKey, amount: i128) {
        if let Some(purse) = self.0.get_mut(customer) {
            purse.available += amount;
        }
    }

    /// Ends one use of a purse. All that was done with it is in the ledger.
    pub(crate) fn release(&mut self, customer: &PublicKey) {
        if let Some(purse) = self.0.get_mut(customer) {
            purse.users -= 1;
            if purse.users == 0 {
                self.0.remove(customer);
            }
        }
    }
}

/// As an amount that is told: nothing where it is below zero, and the most there is where it is more.
pub(crate) fn shown(amount: i128) -> Microcredits {
    Microcredits(amount.clamp(0, u64::MAX.into()) as u64)
}

#[cfg(test)]
mod tests {
    use adit_ledger::Ledger;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn purse_is_kept_while_anybody_uses_it() {
        let ledger = Ledger::open_with(InMemoryBackend::new(), PublicKey([9; 32])).unwrap();
        let (mut purses, customer) = (Purses::default(), PublicKey([1; 32]));
        purses.take(customer, 100);
        purses.take(customer, 7);
        purses.add(&customer, -30);
        assert_eq!(purses.available(&customer, ledger.reader()).unwrap(), 70);
        purses.release(&customer);
        assert_eq!(purses.available(&customer, ledger.reader()).unwrap(), 70);
        purses.release(&customer);
        assert_eq!(purses.available(&customer, ledger.reader()).unwrap(), 0, "the ledger knows");
    }

    #[test]
    fn amounts_are_shown_within_their_type() {
        for (amount, want) in [(-1, 0), (0, 0), (7, 7), (i128::MAX, u64::MAX)] {
            assert_eq!(shown(amount), Microcredits(want));
        }
    }
}
