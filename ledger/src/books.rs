//! The accounts: what each leaf moves between them, and the fold of all leaves.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use adit_protocol::{
    Attempt, Grant, JobId, Leaf, Microcredits, Payout, PublicKey, Receipt, Settled, Terms, TransferId, UnixMillis, Voided,
};

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

/// A leaf as a line of the books: all that they need of it, without what only its receipt's signature is about. Who reads many leaves and
/// folds them elsewhere hands on no more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// [`Leaf::Terms`].
    Terms(Terms),
    /// [`Leaf::Grant`].
    Grant(Grant),
    /// [`Leaf::Settlement`].
    Settlement(Paid),
    /// [`Leaf::Void`].
    Void(Voided),
    /// [`Leaf::Payout`].
    Payout(Payout),
    /// [`Leaf::Attempt`].
    Attempt(Paid),
}

/// What the books need of a [`Settled`] receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    pub(crate) job: JobId,
    attempt: Attempt,
    pub(crate) client: PublicKey,
    pub(crate) node: PublicKey,
    gateway: PublicKey,
    cost: Microcredits,
    held: Microcredits,
    /// [`Settled::left`].
    pub(crate) left: Microcredits,
    fee: Microcredits,
    is_interim: bool,
    time: UnixMillis,
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
    #[error("{account} has {has}, and {of} were asked", has = credits(.left.saturating_add(*.asked)), of = credits(*.asked))]
    Overdrawn {
        /// Whose.
        account: Account,
        /// How much, in microcredits.
        left: i128,
        /// What was taken of it, in microcredits.
        asked: i128,
    },
    /// The job was settled before. A job is paid once, and a hold ends once.
    #[error("job {0} was settled before")]
    Settled(JobId),
    /// The attempt was paid before, and did not end its job.
    #[error("attempt {attempt} of job {job} was paid before")]
    Paid {
        /// The job.
        job: JobId,
        /// Which attempt of it.
        attempt: Attempt,
    },
    /// An attempt that its node's owner cut short is said to end its job.
    #[error("job {0}: an attempt that was cut short does not end it")]
    Interim(JobId),
    /// Less was held for the job than its paid attempts left.
    #[error("{held} microcredits held for job {job}, of whose hold {left} were left")]
    UnderHold {
        /// The job.
        job: JobId,
        /// What was held by the leaf's word.
        held: u64,
        /// What the attempt before it left.
        left: u64,
    },
    /// The order was carried out before.
    #[error("order {0} was carried out before")]
    Ordered(TransferId),
    /// The receipt is another gateway's.
    #[error("the receipt of job {0} is for another gateway")]
    ForeignGateway(JobId),
    /// More or less is held of an account than its holds say.
    #[error("{account} has {held} microcredits more held than its holds say")]
    Held {
        /// Whose.
        account: Account,
        /// How much more.
        held: i128,
    },
    /// A balance is not the fold of the leaves.
    #[error("{account} has {kept} microcredits, and by the log {due}")]
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
    /// What all accounts have together does not fit 128 bits.
    #[error("the sum over all accounts does not fit 128 bits")]
    Unsummable,
    /// A sum does not fit 128 bits.
    #[error("a sum over {account} does not fit 128 bits")]
    Overflow {
        /// Whose.
        account: Account,
    },
}

impl fmt::Display for Account {
    /// As people see it: whose it is, and the key that they know it by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer => f.write_str("the issuer"),
            Self::Fee => f.write_str("the gateway's fee account"),
            Self::Customer(key) => write!(f, "customer {key}"),
            Self::Owner(key) => write!(f, "owner {key}"),
        }
    }
}

/// An amount as people see it.
fn credits(micros: i128) -> String {
    let (sign, amount) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    format!("{sign}{}.{:06} credits", amount / 1_000_000, amount % 1_000_000)
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

    /// As [`Balance::available`], of a balance that nobody has looked at.
    pub(crate) fn checked_available(&self, account: Account) -> Result<i128, BooksError> {
        self.posted.checked_sub(self.held).ok_or(BooksError::Overflow { account })
    }

    /// The balance with so much more held of it, or less.
    ///
    /// # Errors
    /// [`BooksError`] where that is less than nothing, or more than fits.
    pub(crate) fn hold(self, account: Account, more: i128) -> Result<Self, BooksError> {
        let held = self.held.checked_add(more).ok_or(BooksError::Overflow { account })?;
        if held < 0 { Err(BooksError::Held { account, held }) } else { Ok(Self { held, ..self }) }
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
        match balance.checked_available(account)? {
            left if left < 0 && posting.amount < 0 && !account.may_owe() => {
                Err(BooksError::Overdrawn { account, left, asked: posting.amount.saturating_neg() })
            }
            _ => Ok(balance),
        }
    }
}

/// What a leaf moves, under the terms that hold when it is written. The sum is zero.
///
/// # Errors
/// [`BooksError`] for a leaf that those terms do not allow.
pub fn postings(leaf: &Leaf, terms: Option<&Terms>) -> Result<Vec<Posting>, BooksError> {
    Ok(Line::of(leaf).postings(terms)?.into_iter().flatten().collect())
}

impl Line {
    /// The line of a leaf.
    pub fn of(leaf: &Leaf) -> Self {
        match leaf {
            Leaf::Terms(terms) => Self::Terms(*terms),
            Leaf::Grant(grant) => Self::Grant(*grant),
            Leaf::Settlement(settled) => Self::Settlement(Paid::of(settled)),
            Leaf::Void(voided) => Self::Void(*voided),
            Leaf::Payout(payout) => Self::Payout(*payout),
            Leaf::Attempt(settled) => Self::Attempt(Paid::of(settled)),
        }
    }

    /// What it pays, of a settlement, or of an attempt that did not end its job.
    pub(crate) fn paid(&self) -> Option<&Paid> {
        match self {
            Self::Settlement(paid) | Self::Attempt(paid) => Some(paid),
            Self::Terms(_) | Self::Grant(_) | Self::Void(_) | Self::Payout(_) => None,
        }
    }

    /// When, by the gateway's wall clock.
    pub fn time(&self) -> UnixMillis {
        match self {
            Self::Terms(terms) => terms.time,
            Self::Grant(grant) => grant.time,
            Self::Settlement(paid) | Self::Attempt(paid) => paid.time,
            Self::Void(voided) => voided.time,
            Self::Payout(payout) => payout.time,
        }
    }

    /// What it moves: no line has more than three postings.
    pub(crate) fn postings(&self, terms: Option<&Terms>) -> Result<[Option<Posting>; 3], BooksError> {
        let post = |account, amount: Microcredits, sign: i128| Some(Posting { account, amount: sign * i128::from(amount.0) });
        if let Self::Terms(new) = self {
            let is_ours = terms.is_none_or(|terms| terms.gateway == new.gateway);
            return if is_ours && new.is_sound() { Ok([None; 3]) } else { Err(BooksError::Terms) };
        }
        let terms = terms.ok_or(BooksError::NoTerms)?;
        Ok(match self {
            Self::Grant(Grant { customer, amount, .. }) => {
                [post(Account::Issuer, *amount, -1), post(Account::Customer(*customer), *amount, 1), None]
            }
            Self::Payout(Payout { owner, amount, .. }) => {
                [post(Account::Owner(*owner), *amount, -1), post(Account::Issuer, *amount, 1), None]
            }
            Self::Settlement(paid) if paid.is_interim => return Err(BooksError::Interim(paid.job)),
            Self::Settlement(paid) | Self::Attempt(paid) => {
                paid.check(terms)?;
                [
                    post(Account::Customer(paid.client), paid.cost, -1),
                    post(Account::Owner(paid.node), Microcredits(paid.cost.0 - paid.fee.0), 1),
                    post(Account::Fee, paid.fee, 1),
                ]
            }
            Self::Void(_) | Self::Terms(_) => [None; 3],
        })
    }
}

impl Paid {
    fn of(settled: &Settled) -> Self {
        let Settled { receipt, held, fee, time } = settled;
        Self::new(&receipt.receipt, *held, *fee, *time)
    }

    /// What the books need of a receipt, in its public form or not.
    pub(crate) fn new(receipt: &Receipt, held: Microcredits, fee: Microcredits, time: UnixMillis) -> Self {
        Self {
            job: receipt.job,
            attempt: receipt.attempt,
            client: receipt.client,
            node: receipt.node,
            gateway: receipt.gateway,
            cost: receipt.cost,
            held,
            left: Microcredits(held.0.saturating_sub(receipt.cost.0)),
            fee,
            is_interim: receipt.outcome.is_interim(),
            time,
        }
    }

    /// Checks a payment by itself: to this gateway, the terms' fee, and no more than was held.
    fn check(&self, terms: &Terms) -> Result<(), BooksError> {
        let (cost, fee, due) = (self.cost, self.fee, terms.fee(self.cost));
        if self.gateway != terms.gateway {
            return Err(BooksError::ForeignGateway(self.job));
        }
        if fee != due {
            return Err(BooksError::Fee { claimed: fee.0, due: due.0 });
        }
        if cost > self.held {
            return Err(BooksError::OverHold { cost: cost.0, held: self.held.0 });
        }
        Ok(())
    }
}

/// All balances, made from the leaves alone: what an auditor computes, and what a ledger must agree with. It knows that a job is settled
/// once, each attempt paid once and none behind its job's settlement, what paid attempts have left of a hold, and that an order is carried
/// out once. Signatures of receipts are not its business: whoever does not trust the log verifies each
/// ([`SignedReceipt::verify`](adit_protocol::SignedReceipt::verify)).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Books {
    terms: Option<Terms>,
    accounts: BTreeMap<Account, i128>,
    settled: HashSet<JobId>,
    ordered: HashSet<TransferId>,
    /// Jobs that have paid attempts and are not settled.
    tried: HashMap<JobId, Tried>,
}

/// What the leaves say of a job that has paid attempts and is not settled.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Tried {
    attempts: BTreeSet<Attempt>,
    /// What the last of them left of the job's hold, which may have been raised since; nothing where that went back.
    left: Option<Microcredits>,
}

impl Books {
    /// Takes in the next leaf. A leaf that is not allowed changes nothing.
    ///
    /// # Errors
    /// [`BooksError`] for a leaf that the rules do not allow.
    pub fn apply(&mut self, leaf: &Leaf) -> Result<(), BooksError> {
        self.apply_line(&Line::of(leaf))
    }

    /// Takes in the next leaf by its line, as [`Books::apply`] does.
    ///
    /// # Errors
    /// As [`Books::apply`].
    pub fn apply_line(&mut self, line: &Line) -> Result<(), BooksError> {
        let postings = line.postings(self.terms.as_ref())?;
        self.check_once(line)?;
        let mut changed = [None; 3];
        for (changed, posting) in changed.iter_mut().zip(postings.into_iter().flatten()) {
            let before = Balance { posted: self.posted(posting.account), held: 0 };
            *changed = Some((posting.account, before.post(posting)?.posted));
        }
        self.accounts.extend(changed.into_iter().flatten());
        match line {
            Line::Terms(terms) => self.terms = Some(*terms),
            Line::Grant(grant) => _ = self.ordered.insert(grant.id),
            Line::Payout(payout) => _ = self.ordered.insert(payout.id),
            Line::Settlement(paid) => {
                self.settled.insert(paid.job);
                // Of nearly all jobs one attempt is paid, and to look for it here is to hash its job once more.
                if !self.tried.is_empty() {
                    self.tried.remove(&paid.job);
                }
            }
            Line::Attempt(paid) => {
                let tried = self.tried.entry(paid.job).or_default();
                tried.attempts.insert(paid.attempt);
                tried.left = Some(paid.left);
            }
            Line::Void(voided) => {
                if let Some(tried) = self.tried.get_mut(&voided.job) {
                    tried.left = None;
                }
            }
        }
        Ok(())
    }

    /// Checks that a leaf does nothing a second time.
    fn check_once(&self, line: &Line) -> Result<(), BooksError> {
        match line {
            Line::Grant(Grant { id, .. }) | Line::Payout(Payout { id, .. }) if self.ordered.contains(id) => {
                Err(BooksError::Ordered(*id))
            }
            Line::Terms(_) | Line::Grant(_) | Line::Payout(_) => Ok(()),
            Line::Settlement(paid) | Line::Attempt(paid) => self.check_job(paid.job, paid.held, Some(paid.attempt)),
            Line::Void(Voided { job, held, .. }) => self.check_job(*job, *held, None),
        }
    }

    /// Checks that a job, for which so much was held, goes on. It may have had holds that were void before it was settled, and none behind;
    /// and a hold may have been raised since an attempt was paid out of it, and was not lowered.
    fn check_job(&self, job: JobId, held: Microcredits, attempt: Option<Attempt>) -> Result<(), BooksError> {
        if self.settled.contains(&job) {
            return Err(BooksError::Settled(job));
        }
        let Some(tried) = self.tried.get(&job) else { return Ok(()) };
        if let Some(attempt) = attempt.filter(|attempt| tried.attempts.contains(attempt)) {
            return Err(BooksError::Paid { job, attempt });
        }
        match tried.left {
            Some(left) if held < left => Err(BooksError::UnderHold { job, held: held.0, left: left.0 }),
            _ => Ok(()),
        }
    }

    /// The terms that hold now; nothing before the first leaf.
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Whether a job was settled.
    pub fn has_settled(&self, job: JobId) -> bool {
        self.settled.contains(&job)
    }

    /// Forgets which jobs were settled and which orders carried out: whoever finds each leaf by its job or order knows that it is the only one.
    pub(crate) fn forget_ended(&mut self) {
        self.settled.clear();
        self.ordered.clear();
    }

    /// Jobs with a hold out of which attempts were paid, and what those left of it.
    pub(crate) fn left(&self) -> impl Iterator<Item = (JobId, Microcredits)> + '_ {
        self.tried.iter().filter_map(|(job, tried)| Some((*job, tried.left?)))
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
pub(crate) fn check_sum(mut posted: impl Iterator<Item = i128>) -> Result<(), BooksError> {
    match posted.try_fold(0i128, i128::checked_add).ok_or(BooksError::Unsummable)? {
        0 => Ok(()),
        sum => Err(BooksError::Unbalanced(sum)),
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{Digest, MeterId, NodeTimes, Outcome, Price, Profile, SecretKey, Usage, VoidReason, sign_receipts};

    use super::*;

    const JOB: JobId = JobId([6; 16]);
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
        let overdrawn = BooksError::Overdrawn { account: Account::Owner(OWNER), left: -1, asked: 1 };
        assert_eq!(books.apply(&payout(1)), Err(overdrawn.clone()));
        let text = format!("owner {OWNER} has 0.000000 credits, and 0.000001 credits were asked");
        assert_eq!(overdrawn.to_string(), text);
        assert_eq!(books, before);
        books.check().unwrap();
    }

    /// A receipt of one job that costs so much, for so much that was held. Who signed it is not the books' business.
    fn paid(attempt: u32, cost: u64, held: u64, outcome: Outcome) -> Box<Settled> {
        let node = SecretKey::from_seed([3; 32]);
        let receipt = Receipt {
            job: JOB,
            attempt: Attempt(attempt),
            client: CUSTOMER,
            node: node.public(),
            gateway: PublicKey([9; 32]),
            spec: Digest([0; 32]),
            module: Digest([0; 32]),
            input: Digest([0; 32]),
            output: Digest([0; 32]),
            outcome,
            profile: Profile::Deterministic,
            meter: MeterId([0; 32]),
            engine: String::new(),
            usage: Usage::default(),
            gpu: None,
            times: NodeTimes::default(),
            price: Price::default(),
            cost: Microcredits(cost),
            salt: None,
        };
        let receipt = sign_receipts(&node, vec![receipt]).remove(0);
        Box::new(Settled { receipt, held: Microcredits(held), fee: Microcredits(0), time: TIME })
    }

    fn attempt(number: u32, cost: u64, held: u64) -> Leaf {
        Leaf::Attempt(paid(number, cost, held, Outcome::Preempted))
    }

    fn settlement(number: u32, cost: u64, held: u64) -> Leaf {
        Leaf::Settlement(paid(number, cost, held, Outcome::Finished { exit_code: 0 }))
    }

    fn void(held: u64) -> Leaf {
        Leaf::Void(Voided { job: JOB, customer: CUSTOMER, held: Microcredits(held), reason: VoidReason::Restarted, time: TIME })
    }

    /// Checks what a leaf comes to behind others.
    fn check(leaves: &[Leaf], next: &Leaf, due: Result<(), BooksError>) {
        let mut books = Books::default();
        [&[terms(9, 0), grant(1_000)], leaves].concat().iter().for_each(|leaf| books.apply(leaf).unwrap());
        let before = books.clone();
        assert_eq!(books.apply(next), due, "{next:?} behind {leaves:?}");
        assert!(due.is_ok() || books == before);
        books.check().unwrap();
    }

    #[test]
    fn log_is_held_to_what_paid_attempts_leave_of_a_hold() {
        let under = |held, left| Err(BooksError::UnderHold { job: JOB, held, left });
        let tried = [attempt(1, 30, 100), attempt(2, 20, 70)];
        let raised = [attempt(1, 30, 100), attempt(2, 20, 90)];
        let voided = [attempt(1, 30, 100), void(70)];
        let settled = [attempt(1, 30, 100), settlement(2, 60, 70)];
        let paid = |number| Err(BooksError::Paid { job: JOB, attempt: Attempt(number) });
        let over = |cost, held| Err(BooksError::OverHold { cost, held });
        let rows = [
            (&[][..], attempt(1, 100, 100), Ok(())),
            (&[], attempt(1, 101, 100), over(101, 100)),
            (&tried, settlement(3, 50, 50), Ok(())),
            (&tried, settlement(3, 50, 49), over(50, 49)),
            (&tried, settlement(3, 5, 49), under(49, 50)),
            (&tried, attempt(3, 5, 49), under(49, 50)),
            (&tried, void(49), under(49, 50)),
            (&tried, void(50), Ok(())),
            (&raised, settlement(3, 70, 70), Ok(())),
            (&raised, settlement(3, 70, 500), Ok(())),
            (&tried, settlement(2, 5, 50), paid(2)),
            (&tried, attempt(1, 5, 50), paid(1)),
            // What went back whole is followed by a new hold, and an attempt stays paid.
            (&voided, settlement(2, 5, 5), Ok(())),
            (&voided, attempt(2, 5, 5), Ok(())),
            (&voided, attempt(1, 5, 5), paid(1)),
            (&settled, attempt(3, 1, 10), Err(BooksError::Settled(JOB))),
            (&settled, attempt(1, 30, 100), Err(BooksError::Settled(JOB))),
            (&settled, void(10), Err(BooksError::Settled(JOB))),
        ];
        for (leaves, next, due) in rows {
            check(leaves, &next, due);
        }
    }

    #[test]
    fn attempt_that_was_cut_short_ends_no_job() {
        check(&[], &Leaf::Settlement(paid(1, 1, 5, Outcome::Preempted)), Err(BooksError::Interim(JOB)));
        // The books do not judge how an attempt ended that does not end its job.
        for outcome in [Outcome::Preempted, Outcome::Cancelled, Outcome::Finished { exit_code: 0 }] {
            check(&[], &Leaf::Attempt(paid(1, 1, 5, outcome)), Ok(()));
        }
    }

    #[test]
    fn balance_survives_its_bytes() {
        let balance = Balance { posted: -7, held: i128::MAX };
        assert_eq!(Balance::from_bytes(&balance.to_bytes()), balance);
        let rich = Balance { posted: i128::MAX, held: 0 };
        let more = Posting { account: Account::Fee, amount: 1 };
        assert_eq!(rich.post(more), Err(BooksError::Overflow { account: Account::Fee }));
    }

    #[test]
    fn what_is_held_is_neither_less_than_nothing_nor_more_than_fits() {
        let (account, balance) = (Account::Customer(CUSTOMER), Balance { posted: 9, held: 5 });
        assert_eq!(balance.hold(account, -5), Ok(Balance { posted: 9, held: 0 }));
        assert_eq!(balance.hold(account, -6), Err(BooksError::Held { account, held: -1 }));
        assert_eq!(balance.hold(account, i128::MAX), Err(BooksError::Overflow { account }));
        let odd = Balance { posted: i128::MIN, held: 1 };
        assert_eq!(odd.post(Posting { account, amount: 0 }), Err(BooksError::Overflow { account }));
    }

    #[test]
    fn sum_that_does_not_fit_is_no_sum() {
        assert_eq!(check_sum([i128::MAX, 1].into_iter()), Err(BooksError::Unsummable));
        assert_eq!(check_sum([i128::MAX, -i128::MAX].into_iter()), Ok(()));
        assert_eq!(check_sum([3, -1].into_iter()), Err(BooksError::Unbalanced(2)));
    }
}
