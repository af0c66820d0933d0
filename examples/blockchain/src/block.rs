//! Blocks: what they are made of, and what holds of one that is seen with the headers around it but without what it spends.

use crate::hash::Hash;
use crate::header::Header;
use crate::network::Network;
use crate::read::{ReadError, Reader};
use crate::script::ScriptError;
use crate::transaction::{OutPoint, Transaction, TransactionError};

/// The weight that a block may have (BIP141).
const WEIGHT_MAX: usize = 4_000_000;
/// How an output begins that commits to the witnesses (BIP141).
const COMMITMENT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What the chain is made of.
    pub header: Header,
    /// First the one that makes new money, then the others.
    pub transactions: Vec<Transaction>,
    /// The transactions' names, in the same order.
    pub ids: Vec<Hash>,
}

/// Why a block is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// Its bytes are no block.
    #[error("its bytes are no block: {0}")]
    Malformed(#[from] ReadError),
    /// The chain has another block at this height.
    #[error("the chain has {wanted} at this height")]
    Elsewhere {
        /// The hash of the chain's header.
        wanted: Hash,
    },
    /// Too heavy.
    #[error("its weight {0} is over {WEIGHT_MAX}")]
    Weight(usize),
    /// No coinbase in front.
    #[error("its first transaction is no coinbase")]
    NoCoinbase,
    /// A coinbase that is not in front.
    #[error("its transaction {0} is a second coinbase")]
    SecondCoinbase(usize),
    /// The transactions are not those that the header commits to.
    #[error("its transactions come to the Merkle root {found}, and its header says {wanted}")]
    MerkleRoot {
        /// What they come to.
        found: Hash,
        /// What the header says.
        wanted: Hash,
    },
    /// Some transactions stand there twice, in a way that does not change the root (CVE-2012-2459).
    #[error("transactions stand in it twice, which its Merkle root does not show")]
    Duplicates,
    /// The witnesses are not those that the coinbase commits to.
    #[error("its witnesses are not those that its coinbase commits to")]
    Witnesses,
    /// Witnesses in a block that commits to none.
    #[error("it has witnesses, and its coinbase commits to none")]
    WitnessUnexpected,
    /// The coinbase does not begin with the height.
    #[error("its coinbase does not begin with its height")]
    CoinbaseHeight,
    /// A transaction that is invalid wherever it stands.
    #[error("transaction {index}: {source}")]
    Transaction {
        /// Which.
        index: usize,
        /// Why.
        source: TransactionError,
    },
    /// A lock time that is not over.
    #[error("transaction {0} is locked until later")]
    Locked(usize),
    /// What is spent is neither in the batch nor stated by it.
    #[error("transaction {index} spends output {} of {}, which the batch does not have", .spends.index, .spends.transaction)]
    Missing {
        /// Which.
        index: usize,
        /// What it spends.
        spends: OutPoint,
    },
    /// A transaction of the block is stated as one that was on the chain before it.
    #[error("transaction {0} is stated as one from before the block that makes it")]
    StatedBefore(Hash),
    /// What is spent was spent before.
    #[error("transaction {index} spends output {} of {}, which is spent already", .spends.index, .spends.transaction)]
    SpentTwice {
        /// Which.
        index: usize,
        /// What it spends.
        spends: OutPoint,
    },
    /// New money is spent before a hundred blocks are over it.
    #[error("transaction {0} spends new money before it is a hundred blocks old")]
    Immature(usize),
    /// An input may not spend what it spends.
    #[error("transaction {index}, input {input}: {source}")]
    Script {
        /// Which.
        index: usize,
        /// Its input.
        input: usize,
        /// Why.
        source: ScriptError,
    },
    /// More comes out than goes in.
    #[error("transaction {0} makes more than it spends")]
    Overspent(usize),
    /// The coinbase takes more than the new money and the fees.
    #[error("its coinbase takes {taken} satoshi, and there are {allowed}")]
    Reward {
        /// What it takes.
        taken: u64,
        /// New money and fees.
        allowed: u64,
    },
}

impl Block {
    /// The block that `bytes` are, all of them.
    ///
    /// # Errors
    /// They are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader)?;
        let transactions = reader.list(Transaction::read)?;
        reader.end()?;
        let ids = transactions.iter().map(Transaction::id).collect();
        Ok(Self { header, transactions, ids })
    }

    /// Checks all that needs neither the blocks before nor what is spent: that the transactions are those of the header, the witnesses
    /// those of the coinbase, and each transaction is one. `time` is what lock times are compared with.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self, network: Network, height: u32, time: u32) -> Result<(), BlockError> {
        if !self.transactions.first().is_some_and(Transaction::is_coinbase) {
            return Err(BlockError::NoCoinbase);
        }
        if let Some(index) = self.transactions.iter().skip(1).position(Transaction::is_coinbase) {
            return Err(BlockError::SecondCoinbase(index + 1));
        }
        self.check_merkle_root()?;
        self.check_witnesses(network, height)?;
        self.check_coinbase_height(network, height)?;
        for (index, transaction) in self.transactions.iter().enumerate() {
            transaction.check().map_err(|source| BlockError::Transaction { index, source })?;
            if !transaction.is_final(height, time) {
                return Err(BlockError::Locked(index));
            }
        }
        let weight = 4 * (80 + 9) + self.transactions.iter().map(Transaction::weight).sum::<usize>();
        if weight > WEIGHT_MAX { Err(BlockError::Weight(weight)) } else { Ok(()) }
    }

    fn check_merkle_root(&self) -> Result<(), BlockError> {
        let (found, wanted) = (merkle_root(self.ids.clone())?, self.header.merkle_root);
        if found == wanted { Ok(()) } else { Err(BlockError::MerkleRoot { found, wanted }) }
    }

    /// That the coinbase commits to the witnesses, where there are any or it says that it does.
    fn check_witnesses(&self, network: Network, height: u32) -> Result<(), BlockError> {
        let coinbase = &self.transactions[0];
        let commits = |script: &&[u8]| script.len() >= 38 && script.starts_with(&COMMITMENT);
        // The last one counts.
        let commitment = coinbase.outputs.iter().rev().map(|output| &output.script[..]).find(commits);
        let commitment = commitment.filter(|_| height >= network.heights().witness);
        let Some(script) = commitment else {
            let none = !self.transactions.iter().any(Transaction::has_witness);
            return if none { Ok(()) } else { Err(BlockError::WitnessUnexpected) };
        };
        let [nonce] = &coinbase.inputs[0].witness[..] else { return Err(BlockError::Witnesses) };
        let nonce: [u8; 32] = nonce[..].try_into().map_err(|_| BlockError::Witnesses)?;
        let others = self.transactions.iter().skip(1).map(Transaction::witness_id);
        let root = merkle_root(std::iter::once(Hash::ZERO).chain(others).collect())?;
        if Hash::of_pair(&root, &Hash(nonce)).0 == script[6..38] { Ok(()) } else { Err(BlockError::Witnesses) }
    }

    fn check_coinbase_height(&self, network: Network, height: u32) -> Result<(), BlockError> {
        let says = || self.transactions[0].inputs[0].script.starts_with(&push_of_height(height));
        if height < network.heights().coinbase_height || says() { Ok(()) } else { Err(BlockError::CoinbaseHeight) }
    }
}

/// What a list of transactions comes to. A level of odd length ends with its last one twice, so a list that really ends with some of its
/// transactions twice would come to the same; such a list is refused.
fn merkle_root(mut level: Vec<Hash>) -> Result<Hash, BlockError> {
    while level.len() > 1 {
        if level.chunks_exact(2).any(|pair| pair[0] == pair[1]) {
            return Err(BlockError::Duplicates);
        }
        level = level.chunks(2).map(|pair| Hash::of_pair(&pair[0], pair.last().unwrap_or(&pair[0]))).collect();
    }
    level.pop().ok_or(BlockError::NoCoinbase)
}

/// How a script pushes a height (BIP34).
fn push_of_height(height: u32) -> Vec<u8> {
    match height {
        0 => vec![0],
        1..=16 => vec![0x50 + height as u8],
        _ => {
            let mut digits = height.to_le_bytes().to_vec();
            while digits.last() == Some(&0) {
                digits.pop();
            }
            // The top bit would be a sign.
            if digits.last().is_some_and(|last| last & 0x80 != 0) {
                digits.push(0);
            }
            digits.insert(0, digits.len() as u8);
            digits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_pushed_as_numbers_are() {
        for (height, push) in
            [(0, &[0][..]), (1, &[0x51]), (16, &[0x60]), (17, &[1, 17]), (128, &[2, 0x80, 0]), (227_931, &[3, 0x5b, 0x7a, 3])]
        {
            assert_eq!(push_of_height(height), push, "{height}");
        }
    }

    #[test]
    fn a_list_that_ends_twice_is_not_taken_for_the_one_that_ends_once() {
        let leaf = |n| Hash([n; 32]);
        let six: Vec<Hash> = (1..=6).map(leaf).collect();
        let eight = [&six[..], &six[4..]].concat();
        let root = merkle_root(six).unwrap();
        assert_eq!(merkle_root(vec![leaf(1), leaf(2), leaf(2)]), merkle_root(vec![leaf(1), leaf(2), leaf(2)]));
        assert_eq!(merkle_root(vec![leaf(1), leaf(1)]), Err(BlockError::Duplicates));
        // Without the check it is the same root.
        let pair = |a: &Hash, b: &Hash| Hash::of_pair(a, b);
        let (a, b, c) = (pair(&leaf(1), &leaf(2)), pair(&leaf(3), &leaf(4)), pair(&leaf(5), &leaf(6)));
        assert_eq!(root, pair(&pair(&a, &b), &pair(&c, &c)));
        assert_eq!(merkle_root(eight), Err(BlockError::Duplicates));
    }
}
