//! What a ledger can be asked, so that all of its answers can be compared to those that are due.

use adit_ledger::{Account, Balance, Hold, Reader, StoreError, StoredJob, TreeHead};
use adit_protocol::{SignedReceipt, TransferId, UnpaidAttempt};

use crate::fixture::{client, job, node};

/// A question, by the numbers of the fixtures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Tree,
    Balances,
    Holds,
    Order(u8),
    Statement(Account),
    Job(u64),
    Attempts(u64),
    Receipts(u64),
    Unpaid,
    Leaf(u64),
    Tile(u8, u64, usize),
    LeafProof(u64, u64),
    GrowthProof(u64, u64),
}

/// What a ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Tree(TreeHead),
    /// Those that are not zero.
    Balances(Vec<(Account, Balance)>),
    Holds(Vec<Hold>),
    Index(Option<u64>),
    Indexes(Vec<u64>),
    Job(Option<Box<StoredJob>>),
    /// Each by its number, with its leaf.
    Attempts(Vec<(u32, u64)>),
    Receipts(Vec<(u64, SignedReceipt)>),
    Unpaid(Vec<(u64, UnpaidAttempt)>),
    Bytes(Option<Vec<u8>>),
    Proof(Option<Vec<[u8; 32]>>),
}

impl Question {
    pub(crate) fn ask(self, reader: &Reader) -> Result<Answer, StoreError> {
        Ok(match self {
            Self::Tree => Answer::Tree(reader.tree()?),
            Self::Balances => {
                let balances = reader.balances()?.into_iter().filter(|(_, balance)| *balance != Balance::default());
                Answer::Balances(balances.collect())
            }
            Self::Holds => Answer::Holds(reader.holds()?),
            Self::Order(n) => Answer::Index(reader.order(TransferId([n; 16]))?),
            Self::Statement(account) => Answer::Indexes(reader.statement(account, 0, usize::MAX)?),
            Self::Job(n) => Answer::Job(reader.job(job(n))?.map(Box::new)),
            Self::Attempts(n) => {
                let attempts = reader.attempts(job(n))?;
                Answer::Attempts(attempts.into_iter().map(|(attempt, index)| (attempt.0, index)).collect())
            }
            Self::Receipts(n) => Answer::Receipts(reader.receipts_of(&client(n), 0, usize::MAX)?.rows),
            Self::Unpaid => Answer::Unpaid(reader.unpaid(&node().public(), 0, usize::MAX)?.rows),
            Self::Leaf(index) => Answer::Bytes(reader.leaf(index)?),
            Self::Tile(level, index, width) => Answer::Bytes(reader.tile(level, index, width)?),
            Self::LeafProof(index, size) => Answer::Proof(reader.prove_leaf(index, size)?),
            Self::GrowthProof(old, new) => Answer::Proof(reader.prove_growth(old, new)?),
        })
    }
}

/// The first question that a ledger answers otherwise than it must, or with an error; nothing where there is none.
pub(crate) fn first_wrong(reader: &Reader, due: &[(Question, Answer)]) -> Option<Question> {
    due.iter().find(|(question, answer)| !question.ask(reader).is_ok_and(|given| given == *answer)).map(|(question, _)| *question)
}
