//! Transactions, and what can be said of one that is seen alone.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::read::{ReadError, Reader, write_bytes, write_length};

/// All the money that there will ever be, in satoshi.
pub const MONEY_MAX: u64 = 21_000_000 * 100_000_000;

/// An output by the transaction that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OutPoint {
    /// The transaction.
    pub transaction: Hash,
    /// Which of its outputs.
    pub index: u32,
}

impl OutPoint {
    /// What a coinbase spends: nothing.
    pub(crate) const NONE: Self = Self { transaction: Hash::ZERO, index: u32::MAX };
}

/// What a transaction spends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The output that is spent.
    pub spends: OutPoint,
    /// The script that runs before the output's.
    pub script: Vec<u8>,
    /// When it may be spent (BIP68), and whether the lock time counts.
    pub sequence: u32,
    /// What a segregated witness says.
    pub witness: Vec<Vec<u8>>,
}

/// Money, and what it takes to spend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// In satoshi.
    pub value: u64,
    /// The script.
    pub script: Vec<u8>,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Since 2 the sequence numbers mean something.
    pub version: i32,
    /// What it spends.
    pub inputs: Vec<Input>,
    /// What it makes.
    pub outputs: Vec<Output>,
    /// The height or time before which no block may have it.
    pub lock_time: u32,
}

/// Why a transaction is invalid wherever it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// It spends nothing.
    #[error("it has no inputs")]
    NoInputs,
    /// It makes nothing.
    #[error("it has no outputs")]
    NoOutputs,
    /// An output, or all of them, come to more than there is.
    #[error("its outputs are more than all the money that there is")]
    TooMuch,
    /// One output is spent twice.
    #[error("it spends output {} of {} twice", .0.index, .0.transaction)]
    SpentTwice(OutPoint),
    /// Only a coinbase spends nothing.
    #[error("input {0} spends nothing, and it is no coinbase")]
    SpendsNothing(usize),
    /// A coinbase's script is too short or too long.
    #[error("its coinbase script has {0} bytes, not 2 to 100")]
    CoinbaseScript(usize),
}

impl Transaction {
    /// The transaction that `bytes` are, all of them.
    ///
    /// # Errors
    /// They are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let transaction = Self::read(&mut reader)?;
        reader.end()?;
        Ok(transaction)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let version = reader.u32()? as i32;
        let mut inputs = reader.list(Input::read)?;
        // No inputs means that there is a flag instead, and the inputs come then (BIP144).
        let has_witness = inputs.is_empty() && {
            match reader.u8()? {
                0 => return Ok(Self { version, inputs, outputs: Vec::new(), lock_time: reader.u32()? }),
                1 => inputs = reader.list(Input::read)?,
                other => return Err(ReadError::Flag(other)),
            }
            true
        };
        let outputs = reader.list(Output::read)?;
        if has_witness {
            for input in &mut inputs {
                input.witness = reader.list(|reader| reader.bytes().map(<[u8]>::to_vec))?;
            }
            if inputs.iter().all(|input| input.witness.is_empty()) {
                return Err(ReadError::NoWitness);
            }
        }
        Ok(Self { version, inputs, outputs, lock_time: reader.u32()? })
    }

    /// Whether it makes new money, by its form.
    pub fn is_coinbase(&self) -> bool {
        matches!(&self.inputs[..], [input] if input.spends == OutPoint::NONE)
    }

    /// Whether any input has a witness.
    pub fn has_witness(&self) -> bool {
        self.inputs.iter().any(|input| !input.witness.is_empty())
    }

    /// The name of the transaction, which leaves the witnesses out.
    pub fn id(&self) -> Hash {
        Hash::of(&self.encode(false))
    }

    /// The name with the witnesses.
    pub fn witness_id(&self) -> Hash {
        Hash::of(&self.to_bytes())
    }

    /// Four for each byte outside of witnesses and one for each inside (BIP141).
    pub(crate) fn weight(&self) -> usize {
        3 * self.encode(false).len() + self.to_bytes().len()
    }

    /// Checks all that needs no other transaction.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), TransactionError> {
        if self.inputs.is_empty() {
            return Err(TransactionError::NoInputs);
        }
        if self.outputs.is_empty() {
            return Err(TransactionError::NoOutputs);
        }
        let sum = self.outputs.iter().try_fold(0u64, |sum, output| sum.checked_add(output.value));
        if sum.is_none_or(|sum| sum > MONEY_MAX) {
            return Err(TransactionError::TooMuch);
        }
        let mut spent = HashSet::new();
        if let Some(twice) = self.inputs.iter().find(|input| !spent.insert(input.spends)) {
            return Err(TransactionError::SpentTwice(twice.spends));
        }
        if self.is_coinbase() {
            let length = self.inputs[0].script.len();
            return if (2..=100).contains(&length) { Ok(()) } else { Err(TransactionError::CoinbaseScript(length)) };
        }
        let nothing = self.inputs.iter().position(|input| input.spends == OutPoint::NONE);
        nothing.map_or(Ok(()), |index| Err(TransactionError::SpendsNothing(index)))
    }

    /// Whether a block of this height may have it, whose lock times are compared with `time` (BIP113).
    pub(crate) fn is_final(&self, height: u32, time: u32) -> bool {
        /// From here on a lock time is a time, before it a height.
        const TIMES: u32 = 500_000_000;
        let now = if self.lock_time < TIMES { height } else { time };
        self.lock_time == 0 || self.lock_time < now || self.inputs.iter().all(|input| input.sequence == u32::MAX)
    }

    /// The bytes of the transaction, as they are on the network.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode(self.has_witness())
    }

    fn encode(&self, with_witness: bool) -> Vec<u8> {
        let mut bytes = self.version.to_le_bytes().to_vec();
        if with_witness {
            bytes.extend([0, 1]);
        }
        write_length(self.inputs.len(), &mut bytes);
        for input in &self.inputs {
            input.spends.write(&mut bytes);
            write_bytes(&input.script, &mut bytes);
            bytes.extend(input.sequence.to_le_bytes());
        }
        write_length(self.outputs.len(), &mut bytes);
        self.outputs.iter().for_each(|output| output.write(&mut bytes));
        if with_witness {
            for input in &self.inputs {
                write_length(input.witness.len(), &mut bytes);
                input.witness.iter().for_each(|item| write_bytes(item, &mut bytes));
            }
        }
        bytes.extend(self.lock_time.to_le_bytes());
        bytes
    }
}

impl Input {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let spends = OutPoint { transaction: Hash(reader.array()?), index: reader.u32()? };
        let script = reader.bytes()?.to_vec();
        Ok(Self { spends, script, sequence: reader.u32()?, witness: Vec::new() })
    }
}

impl Output {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { value: reader.u64()?, script: reader.bytes()?.to_vec() })
    }

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.value.to_le_bytes());
        write_bytes(&self.script, to);
    }
}

impl OutPoint {
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.transaction.0);
        to.extend(self.index.to_le_bytes());
    }
}
