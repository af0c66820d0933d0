//! The accounts: what each leaf moves between them, and the fold of all leaves.

use std::collections::{BTreeMap, HashSet};

use adit_protocol::{Grant, JobId, Leaf, Microcredits, Payout, PublicKey, Terms, TransferId};

/// Bytes of an account as a key: a tag, and a public key or zeros.
pub(crate) const ACCOUNT_BYTES: usize = 33;

/// Whose balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Account {
    /// Where credits come from and go to: the one account that owes what all others have.
    Issuer,
    /// What the gateway kept.
    Fee,
    /// A customer, who pays for jobs.
    Customer(PublicKey),
    /// A node's owner, who is paid for them.
    Owner(PublicKey),
}

/// What an account has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// The sum of all that was moved to it and from it, in microcredits: the fold of the leaves.
    pub posted: i128,
    /// What is held of it for jobs that have not ended: in escrow, neither spent nor there to be held again.
    pub held: i128,
}

/// One account's part of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    /// Whose.
    pub account: Account,
    /// What is added, in microcredits; below zero where it is taken.
    pub amount: i128,
}

/// A leaf that the rules do not allow, or a sum that they exclude.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BooksError {
    /// The first leaf is not the gateway's statement of its terms.
    #[error("the log does not begin with its gateway's terms")]
    NoTerms,
    /// The terms are another gateway's, or keep more than the whole.
    #[error("terms that are none of this gateway's, or keep more than the whole")]
    Terms,
    /// The fee is not what the terms say.
    #[error("a fee of {claimed} microcredits; the terms make it {due}")]
    Fee {
        /// What the leaf says.
        claimed: u64,
        /// What the terms say.
        due: u64,
    },
    /// More was paid than was held.
    #[error("a cost of {cost} microcredits, of which {held} were held")]
    OverHold {
        /// What was paid.
        cost: u64,
        /// What was held.
        held: u64,
    },
    /// An account has less than nothing.
    #[error("{account:?} has {left} microcredits left")]
    Overdrawn {
        /// Whose.
        account: Account,
        /// How much.
        left: i128,
    },
    /// The job was settled before. A job is paid once, and a hold ends once.
    #[error("job {0} was settled before")]
    Settled(JobId),
    /// The order was carried out before.
    #[error("order {0} was carried out before")]
    Ordered(TransferId),
    /// The receipt is another gateway's.
    #[error("the receipt of job {0} is for another gateway")]
    ForeignGateway(JobId),
    /// More or less is held of an account than its holds say.
    #[error("{account:?} has {held} microcredits more held than its holds say")]
    Held {
        /// Whose.
        account: Account,
        /// How much more.
        held: i128,
    },
    /// A balance is not the fold of the leaves.
    #[error("{account:?} has {kept} microcredits, and by the log {due}")]
    Kept {
        /// Whose.
        account: Account,
        /// What is kept.
        kept: i128,
        /// What the leaves make it.
        due: i128,
    },
    /// The accounts do not sum to zero.
    #[error("the sum over all accounts is {0} microcredits, not zero")]
    Unbalanced(i128),
    /// A sum does not fit 128 bits.
    #[error("a sum over {account:?} does not fit 128 bits")]
    Overflow {
        /// Whose.
        account: Account,
    },
}

impl Account {
    pub(crate) fn to_key(self) -> [u8; ACCOUNT_BYTES] {
        let (tag, key) = match self {
            Self::Issuer => (0, [0; 32]),
            Self::Fee => (1, [0; 32]),
            Self::Customer(key) => (2, key.0),
            Self::Owner(key) => (3, key.0),
        };
        let mut bytes = [tag; ACCOUNT_BYTES];
        bytes[1..].copy_from_slice(&key);
        bytes
    }

    /// Reads what [`Account::to_key`] wrote; nothing where it did not.
    pub(crate) fn from_key(bytes: &[u8; ACCOUNT_BYTES]) -> Option<Self> {
        let key = PublicKey(*bytes[1..].first_chunk()?);
        let account = match bytes[0] {
            0 => Self::Issuer,
            1 => Self::Fee,
            2 => Self::Customer(key),
            3 => Self::Owner(key),
            _ => return None,
        };
        (account.to_key() == *bytes).then_some(account)
    }

    /// Whether it may have less than nothing.
    fn may_owe(self) -> bool {
        self == Self::Issuer
    }
}

impl Balance {
    /// What can be held or paid out.
    pub fn available(&self) -> i128 {
        self.posted - self.held
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.posted.to_le_bytes());
        bytes[16..].copy_from_slice(&self.held.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let half = |at| i128::from_le_bytes(*bytes[at..].first_chunk().expect("sixteen bytes of thirty-two"));
        Self { posted: half(0), held: half(16) }
    }

    /// The balance of `account` after a posting to it.
    ///
    /// # Errors
    /// [`BooksError`] where it would have less than nothing, or more than fits.
    pub(crate) fn post(self, posting: Posting) -> Result<Self, BooksError> {
        let account = posting.account;
        let posted = self.posted.checked_add(posting.amount).ok_or(BooksError::Overflow { account })?;
        let balance = Self { posted, ..self };
        match balance.available() {
            left if left < 0 && posting.amount < 0 && !account.may_owe() => Err(BooksError::Overdrawn { account, left }),
            _ => Ok(balance),
        }
    }
}

/// What a leaf moves, under the terms that hold when it is written. The sum is zero.
///
/// # Errors
/// [`BooksError`] for a leaf that those terms do not allow.
pub fn postings(leaf: &Leaf, terms: Option<&Terms>) -> Result<Vec<Posting>, BooksError> {
    let post = |account, amount: Microcredits, sign: i128| Posting { account, amount: sign * i128::from(amount.0) };
    if let Leaf::Terms(new) = leaf {
        let is_ours = terms.is_none_or(|terms| terms.gateway == new.gateway);
        return if is_ours && new.is_sound() { Ok(Vec::new()) } else { Err(BooksError::Terms) };
    }
    let terms = terms.ok_or(BooksError::NoTerms)?;
    Ok(match leaf {
        Leaf::Grant(grant) => {
            vec![post(Account::Issuer, grant.amount, -1), post(Account::Customer(grant.customer), grant.amount, 1)]
        }
        Leaf::Payout(payout) => {
            vec![post(Account::Owner(payout.owner), payout.amount, -1), post(Account::Issuer, payout.amount, 1)]
        }
        Leaf::Settlement(settled) => {
            let receipt = &settled.receipt.receipt;
            let (cost, fee, due) = (receipt.cost, settled.fee, terms.fee(receipt.cost));
            if receipt.gateway != terms.gateway {
                return Err(BooksError::ForeignGateway(receipt.job));
            }
            if fee != due {
                return Err(BooksError::Fee { claimed: fee.0, due: due.0 });
            }
            if cost > settled.held {
                return Err(BooksError::OverHold { cost: cost.0, held: settled.held.0 });
            }
            vec![
                post(Account::Customer(receipt.client), cost, -1),
                post(Account::Owner(receipt.node), Microcredits(cost.0 - fee.0), 1),
                post(Account::Fee, fee, 1),
            ]
        }
        Leaf::Void(_) | Leaf::Terms(_) => Vec::new(),
    })
}

/// All balances, made from the leaves alone: what an auditor computes, and what a ledger must agree with. It knows that a job is settled
/// once and an order carried out once. Signatures of receipts are not its business: whoever does not trust the log verifies each
/// ([`SignedReceipt::verify`](adit_protocol::SignedReceipt::verify)).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Books {
    terms: Option<Terms>,
    accounts: BTreeMap<Account, i128>,
    settled: HashSet<JobId>,
    ordered: HashSet<TransferId>,
}

impl Books {
    /// Takes in the next leaf. A leaf that is not allowed changes nothing.
    ///
    /// # Errors
    /// [`BooksError`] for a leaf that the rules do not allow.
    pub fn apply(&mut self, leaf: &Leaf) -> Result<(), BooksError> {
        let postings = postings(leaf, self.terms.as_ref())?;
        self.check_once(leaf)?;
        let mut changed = Vec::with_capacity(postings.len());
        for posting in postings {
            let before = Balance { posted: self.posted(posting.account), held: 0 };
            changed.push((posting.account, before.post(posting)?.posted));
        }
        self.accounts.extend(changed);
        match leaf {
            Leaf::Terms(terms) => self.terms = Some(*terms),
            Leaf::Grant(grant) => _ = self.ordered.insert(grant.id),
            Leaf::Payout(payout) => _ = self.ordered.insert(payout.id),
            Leaf::Settlement(settled) => _ = self.settled.insert(settled.receipt.receipt.job),
            Leaf::Void(_) => {}
        }
        Ok(())
    }

    /// Checks that a leaf does nothing a second time. A job may have had holds that were void before it was settled, and none behind.
    fn check_once(&self, leaf: &Leaf) -> Result<(), BooksError> {
        let job = match leaf {
            Leaf::Grant(Grant { id, .. }) | Leaf::Payout(Payout { id, .. }) => {
                return if self.ordered.contains(id) { Err(BooksError::Ordered(*id)) } else { Ok(()) };
            }
            Leaf::Terms(_) => return Ok(()),
            Leaf::Settlement(settled) => settled.receipt.receipt.job,
            Leaf::Void(voided) => voided.job,
        };
        if self.settled.contains(&job) { Err(BooksError::Settled(job)) } else { Ok(()) }
    }

    /// The terms that hold now; nothing before the first leaf.
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Whether a job was settled.
    pub fn has_settled(&self, job: JobId) -> bool {
        self.settled.contains(&job)
    }

    /// What an account has.
    pub fn posted(&self, account: Account) -> i128 {
        self.accounts.get(&account).copied().unwrap_or(0)
    }

    /// Every account that was ever posted to, in order.
    pub fn accounts(&self) -> impl Iterator<Item = (Account, i128)> + '_ {
        self.accounts.iter().map(|(account, posted)| (*account, *posted))
    }

    /// Checks that nothing was made or lost.
    ///
    /// # Errors
    /// [`BooksError::Unbalanced`].
    pub fn check(&self) -> Result<(), BooksError> {
        check_sum(self.accounts().map(|(_, posted)| posted))
    }
}

/// Checks that balances sum to zero.
pub(crate) fn check_sum(posted: impl Iterator<Item = i128>) -> Result<(), BooksError> {
    match posted.fold(0i128, i128::wrapping_add) {
        0 => Ok(()),
        sum => Err(BooksError::Unbalanced(sum)),
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::UnixMillis;

    use super::*;

    const TIME: UnixMillis = UnixMillis(7);
    const CUSTOMER: PublicKey = PublicKey([2; 32]);
    const OWNER: PublicKey = PublicKey([3; 32]);

    fn terms(gateway: u8, fee_ppm: u32) -> Leaf {
        Leaf::Terms(Terms { gateway: PublicKey([gateway; 32]), fee_ppm, time: TIME })
    }

    #[test]
    fn order_that_stands_twice_in_a_log_is_refused() {
        let mut books = Books::default();
        books.apply(&terms(9, 0)).unwrap();
        books.apply(&grant(5)).unwrap();
        assert_eq!(books.apply(&grant(5)), Err(BooksError::Ordered(TransferId([1; 16]))));
        assert_eq!(books.posted(Account::Customer(CUSTOMER)), 5);
    }

    fn grant(amount: u64) -> Leaf {
        Leaf::Grant(Grant { id: TransferId([1; 16]), customer: CUSTOMER, amount: Microcredits(amount), time: TIME })
    }

    fn payout(amount: u64) -> Leaf {
        Leaf::Payout(Payout { id: TransferId([2; 16]), owner: OWNER, amount: Microcredits(amount), time: TIME })
    }

    #[test]
    fn accounts_have_one_key_each() {
        let all = [Account::Issuer, Account::Fee, Account::Customer(OWNER), Account::Owner(OWNER), Account::Owner(CUSTOMER)];
        for account in all {
            assert_eq!(Account::from_key(&account.to_key()), Some(account));
        }
        let mut odd = Account::Issuer.to_key();
        odd[5] = 1;
        assert_eq!((Account::from_key(&odd), Account::from_key(&[9; ACCOUNT_BYTES])), (None, None));
    }

    #[test]
    fn first_leaf_is_the_terms_and_later_ones_are_the_same_gateways() {
        let mut books = Books::default();
        assert_eq!(books.apply(&grant(5)), Err(BooksError::NoTerms));
        assert_eq!(books.apply(&terms(9, 1_000_001)), Err(BooksError::Terms));
        books.apply(&terms(9, 50_000)).unwrap();
        assert_eq!(books.apply(&terms(8, 50_000)), Err(BooksError::Terms));
        books.apply(&terms(9, 0)).unwrap();
        assert_eq!(books.terms().map(|terms| terms.fee_ppm), Some(0));
    }

    #[test]
    fn nobody_but_the_issuer_owes() {
        let mut books = Books::default();
        books.apply(&terms(9, 0)).unwrap();
        books.apply(&grant(5)).unwrap();
        assert_eq!((books.posted(Account::Issuer), books.posted(Account::Customer(CUSTOMER))), (-5, 5));
        let before = books.clone();
        assert_eq!(books.apply(&payout(1)), Err(BooksError::Overdrawn { account: Account::Owner(OWNER), left: -1 }));
        assert_eq!(books, before);
        books.check().unwrap();
    }

    #[test]
    fn balance_survives_its_bytes() {
        let balance = Balance { posted: -7, held: i128::MAX };
        assert_eq!(Balance::from_bytes(&balance.to_bytes()), balance);
        let rich = Balance { posted: i128::MAX, held: 0 };
        let more = Posting { account: Account::Fee, amount: 1 };
        assert_eq!(rich.post(more), Err(BooksError::Overflow { account: Account::Fee }));
    }
}
