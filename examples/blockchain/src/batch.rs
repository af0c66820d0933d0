//! The job: some headers that follow one another, and some blocks with what they spend.

use std::collections::{HashMap, HashSet};
use std::fmt;

use k256::elliptic_curve::bigint::U256;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::block::{Block, BlockError};
use crate::hash::Hash;
use crate::header::{Chain, HEADER_BYTES, Header, HeaderError, PERIOD};
use crate::network::Network;
use crate::read::ReadError;
use crate::script::{Flags, Verdict as ScriptVerdict, verify};
use crate::sighash::Signed;
use crate::transaction::{OutPoint, Output, Transaction};

/// New money must be so many blocks old to be spent.
const MATURITY: u32 = 100;

/// What a job checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Whose rules hold.
    pub network: Network,
    /// The height of the first of `headers`.
    pub height: u32,
    /// Trusted, but for their links and work: the headers right before, 80 bytes each, as many as rules look back. Eleven do on the main
    /// network; none are needed at height 0.
    pub before: ByteBuf,
    /// Trusted, but for its work: the header that began the period of 2016 which ends next, where it is not among the others.
    pub period_start: Option<ByteBuf>,
    /// The headers to check, 80 bytes each.
    pub headers: ByteBuf,
    /// The blocks to check, in the order of the chain.
    pub blocks: Vec<Entry>,
}

/// A block and what it spends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its height. A block that is none of the batch's headers is at the height that is said here, and only its own work is checked.
    pub height: u32,
    /// The block.
    pub bytes: ByteBuf,
    /// What it spends and what no earlier block of the batch makes.
    pub spends: Vec<Spent>,
}

/// An output that is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spent {
    /// The whole transaction that made it. Its name is checked, so nothing about the output is trusted but that it is on the chain and
    /// not spent yet.
    Transaction(ByteBuf),
    /// Only the output, which is trusted.
    Output {
        /// Which.
        point: OutPoint,
        /// In satoshi; none where it is not known.
        value: Option<u64>,
        /// Its script.
        script: ByteBuf,
    },
}

/// What the job says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Everything holds.
    Valid(Report),
    /// Something does not.
    Refused(String),
}

/// What was checked, and between which ends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// The height of the first header.
    pub height: u32,
    /// How many headers.
    pub headers: u32,
    /// What the first header stands on.
    pub previous: Hash,
    /// The last header's name.
    pub last: Hash,
    /// The work of the headers: tries on average, the big end first.
    pub work: [u8; 32],
    /// How many blocks.
    pub blocks: u64,
    /// How many transactions.
    pub transactions: u64,
    /// How many inputs that spend something.
    pub inputs: u64,
    /// How many signatures were verified, good or bad.
    pub signatures: u64,
    /// Inputs whose output is proven: made in the batch, or by a transaction whose name was checked.
    pub proven: u64,
    /// Inputs that were let through unchecked: scripts of taproot.
    pub unchecked: u64,
    /// Blocks in which the value of some input is not known, so that sums were not checked.
    pub without_values: u64,
}

/// Why a batch is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// What stands before the headers does not hold.
    #[error("the headers before height {height}: {source}")]
    Before {
        /// The height of the first header.
        height: u32,
        /// Why.
        source: HeaderError,
    },
    /// A header.
    #[error("header {height}: {source}")]
    Header {
        /// Its height.
        height: u32,
        /// Why.
        source: HeaderError,
    },
    /// A block.
    #[error("block {height}: {source}")]
    Block {
        /// Its height.
        height: u32,
        /// Why.
        source: BlockError,
    },
    /// The header of a block that is none of the headers.
    #[error("block {height}: {source}")]
    Loose {
        /// Its height, as it is said.
        height: u32,
        /// Why.
        source: HeaderError,
    },
    /// What a block is said to spend is no transaction.
    #[error("a transaction that block {height} is said to spend from: {source}")]
    Spent {
        /// The block's height.
        height: u32,
        /// Why.
        source: ReadError,
    },
}

impl Batch {
    /// Checks the batch, and calls `progress` with what is done and what there is to do.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self, mut progress: impl FnMut(u64, u64)) -> Result<Report, BatchError> {
        let mut chain = self.chain()?;
        let mut report = Report { height: self.height, ..Report::default() };
        let mut work = U256::ZERO;
        let headers = self.headers.chunks(HEADER_BYTES);
        for bytes in headers {
            let height = chain.height();
            let header = Header::parse(bytes).and_then(|header| chain.push(header).map(|()| header));
            let header = header.map_err(|source| BatchError::Header { height, source })?;
            work = work.saturating_add(&header.work());
            if report.headers == 0 {
                report.previous = header.previous;
            }
            report.headers += 1;
            report.last = header.hash();
        }
        report.work.copy_from_slice(&work.to_be_bytes());
        let mut outputs = Outputs::default();
        for (done, entry) in self.blocks.iter().enumerate() {
            progress(done as u64, self.blocks.len() as u64);
            self.check_block(&chain, entry, &mut outputs, &mut report)?;
        }
        Ok(report)
    }

    fn chain(&self) -> Result<Chain, BatchError> {
        let height = self.height;
        let before = |source| BatchError::Before { height, source };
        let headers = self.before.chunks(HEADER_BYTES).map(Header::parse).collect::<Result<Vec<_>, _>>().map_err(before)?;
        let start = self.period_start.as_ref().map(|bytes| Header::parse(bytes)).transpose().map_err(before)?;
        Chain::new(self.network, height, headers, start).map_err(before)
    }

    fn check_block(&self, chain: &Chain, entry: &Entry, outputs: &mut Outputs, report: &mut Report) -> Result<(), BatchError> {
        let height = entry.height;
        let refused = |source| BatchError::Block { height, source };
        let block = Block::parse(&entry.bytes).map_err(|source| refused(source.into()))?;
        self.place(chain, height, &block)?;
        // Where the times before are not known, locks by time are not looked at.
        let median = || chain.median_time(height).unwrap_or(u32::MAX);
        let time = if height >= self.network.heights().sequence { median() } else { block.header.time };
        block.check(self.network, height, time).map_err(refused)?;
        outputs.state(&entry.spends).map_err(|source| BatchError::Spent { height, source })?;
        outputs.check_order(&block).map_err(refused)?;
        let flags = self.network.flags(height, &block.header.hash());
        BlockCheck { block: &block, height, flags, outputs, report }.run(self.network).map_err(refused)
    }

    /// That the block is the chain's at this height, or at least has the work that it says.
    fn place(&self, chain: &Chain, height: u32, block: &Block) -> Result<(), BatchError> {
        match chain.at(height).map(Header::hash) {
            Some(wanted) if wanted != block.header.hash() => {
                Err(BatchError::Block { height, source: BlockError::Elsewhere { wanted } })
            }
            Some(_) => Ok(()),
            None => block.header.check_work(self.network).map_err(|source| BatchError::Loose { height, source }),
        }
    }
}

/// The height whose header a batch that begins at `height` needs as its `period_start`, unless it is among the headers before or there
/// is none.
pub fn period_start(height: u32) -> Option<u32> {
    height.checked_sub(1).map(|last| last / PERIOD * PERIOD)
}

/// What may be spent.
#[derive(Debug, Default)]
struct Outputs {
    /// Made in the batch, or by a transaction whose name was checked.
    proven: HashMap<OutPoint, Made>,
    /// What the batch says.
    stated: HashMap<OutPoint, (Option<u64>, Vec<u8>)>,
    /// The transactions that the batch says are on the chain already.
    before: HashSet<Hash>,
    spent: HashSet<OutPoint>,
}

#[derive(Debug)]
struct Made {
    output: Output,
    /// The height, where it is new money.
    coinbase: Option<u32>,
}

/// An output on its way to be spent.
struct Coin {
    value: Option<u64>,
    script: Vec<u8>,
    proven: bool,
    coinbase: Option<u32>,
}

impl Outputs {
    fn state(&mut self, spends: &[Spent]) -> Result<(), ReadError> {
        for spent in spends {
            match spent {
                Spent::Transaction(bytes) => {
                    let transaction = Transaction::parse(bytes)?;
                    let id = transaction.id();
                    self.before.insert(id);
                    for (index, output) in (0..).zip(transaction.outputs) {
                        // What the batch made itself it knows more of: which of it is new money.
                        let made = self.proven.entry(OutPoint { transaction: id, index });
                        made.or_insert(Made { output, coinbase: None });
                    }
                }
                Spent::Output { point, value, script } => {
                    self.before.insert(point.transaction);
                    self.stated.insert(*point, (*value, script.to_vec()));
                }
            }
        }
        Ok(())
    }

    /// That the block makes nothing of what was stated: nothing is spent before it is there.
    fn check_order(&self, block: &Block) -> Result<(), BlockError> {
        block.ids.iter().find(|id| self.before.contains(id)).map_or(Ok(()), |id| Err(BlockError::StatedBefore(*id)))
    }

    fn make(&mut self, id: Hash, transaction: &Transaction, coinbase: Option<u32>) {
        for (index, output) in (0..).zip(&transaction.outputs) {
            self.proven.insert(OutPoint { transaction: id, index }, Made { output: output.clone(), coinbase });
        }
    }

    fn spend(&mut self, index: usize, spends: OutPoint) -> Result<Coin, BlockError> {
        if !self.spent.insert(spends) {
            return Err(BlockError::SpentTwice { index, spends });
        }
        if let Some(Made { output, coinbase }) = self.proven.remove(&spends) {
            return Ok(Coin { value: Some(output.value), script: output.script, proven: true, coinbase });
        }
        let (value, script) = self.stated.remove(&spends).ok_or(BlockError::Missing { index, spends })?;
        Ok(Coin { value, script, proven: false, coinbase: None })
    }
}

/// A block's transactions against what they spend.
struct BlockCheck<'a> {
    block: &'a Block,
    height: u32,
    flags: Flags,
    outputs: &'a mut Outputs,
    report: &'a mut Report,
}

impl BlockCheck<'_> {
    fn run(mut self, network: Network) -> Result<(), BlockError> {
        // None as soon as the value of one input is not known.
        let mut fees = Some(0u64);
        for (index, transaction) in self.block.transactions.iter().enumerate() {
            let is_coinbase = index == 0;
            if !is_coinbase {
                let fee = self.spend(index, transaction)?;
                fees = fees.zip(fee).map(|(fees, fee)| fees.saturating_add(fee));
            }
            self.outputs.make(self.block.ids[index], transaction, is_coinbase.then_some(self.height));
        }
        self.report.blocks += 1;
        self.report.transactions += self.block.transactions.len() as u64;
        let Some(fees) = fees else {
            self.report.without_values += 1;
            return Ok(());
        };
        let taken = value(&self.block.transactions[0]);
        let allowed = network.subsidy(self.height).saturating_add(fees);
        if taken > allowed { Err(BlockError::Reward { taken, allowed }) } else { Ok(()) }
    }

    /// Checks all inputs of a transaction, and returns its fee where all their values are known.
    fn spend(&mut self, index: usize, transaction: &Transaction) -> Result<Option<u64>, BlockError> {
        let mut coins = Vec::with_capacity(transaction.inputs.len());
        for input in &transaction.inputs {
            let coin = self.outputs.spend(index, input.spends)?;
            if coin.coinbase.is_some_and(|made| self.height < made.saturating_add(MATURITY)) {
                return Err(BlockError::Immature(index));
            }
            coins.push(coin);
        }
        self.verify_scripts(index, transaction, &coins)?;
        let spent = coins.iter().try_fold(0u64, |sum, coin| Some(sum.saturating_add(coin.value?)));
        let Some(spent) = spent else { return Ok(None) };
        spent.checked_sub(value(transaction)).map(Some).ok_or(BlockError::Overspent(index))
    }

    fn verify_scripts(&mut self, index: usize, transaction: &Transaction, coins: &[Coin]) -> Result<(), BlockError> {
        let output = |coin: &Coin| Some(Output { value: coin.value?, script: coin.script.clone() });
        let spent: Option<Vec<Output>> = coins.iter().map(output).collect();
        let signed = Signed::new(transaction, spent.as_deref());
        for (input, coin) in coins.iter().enumerate() {
            let verdict = verify(&signed, input, &coin.script, coin.value, self.flags, &mut self.report.signatures);
            let verdict = verdict.map_err(|source| BlockError::Script { index, input, source })?;
            self.report.inputs += 1;
            self.report.proven += u64::from(coin.proven);
            self.report.unchecked += u64::from(verdict == ScriptVerdict::Unchecked);
        }
        Ok(())
    }
}

/// What a checked transaction makes.
fn value(transaction: &Transaction) -> u64 {
    transaction.outputs.iter().map(|output| output.value).sum()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { height, headers, blocks, transactions, inputs, signatures, proven, unchecked, .. } = self;
        if *headers > 0 {
            write!(f, "headers {height} to {} up to {}; ", height + headers - 1, self.last)?;
        }
        write!(f, "{blocks} blocks, {transactions} transactions, {inputs} inputs ({proven} proven), {signatures} signatures")?;
        if *unchecked > 0 {
            write!(f, "; {unchecked} inputs by scripts of taproot were not checked")?;
        }
        if self.without_values > 0 {
            write!(f, "; sums were not checked in {} blocks, where values are not stated", self.without_values)?;
        }
        Ok(())
    }
}
