//! Blocks in files, and how batches are cut from them: what a program that submits jobs does. A job has no use for it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_bytes::ByteBuf;

use crate::batch::{Batch, Entry, Spent, period_start};
use crate::block::Block;
use crate::hash::Hash;
use crate::header::HEADER_BYTES;
use crate::network::Network;
use crate::read::ReadError;
use crate::transaction::{OutPoint, Transaction};

/// Headers that a batch is given of before its own: as many as a median is taken over.
const BEFORE: usize = 11;

/// Why there are no batches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectionError {
    /// A file that cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no list of blocks in JSON.
    #[error("not a list of blocks in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Digits that are none.
    #[error("block {height}: {source}")]
    Hex {
        /// The block's height.
        height: u32,
        /// Why.
        source: hex::FromHexError,
    },
    /// A block that is none.
    #[error("block {height}: {source}")]
    Block {
        /// The block's height.
        height: u32,
        /// Why.
        source: ReadError,
    },
    /// Headers that are cut off.
    #[error("headers of {HEADER_BYTES} bytes do not come to {0} bytes")]
    Headers(usize),
}

/// The batches of a folder with `blocks.json`, and the headers of the main chain and of the regtest chain from their first blocks on.
///
/// # Errors
/// A file is missing, or is not what it should be.
pub fn read(folder: &Path, size: usize) -> Result<Vec<Batch>, CollectionError> {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|source| CollectionError::Read { path, source })
    };
    let blocks = blocks(&file("blocks.json")?)?;
    let chains = [
        (Network::Main, file("main-headers.bin")?),
        (Network::Regtest, file("regtest-headers.bin")?),
        (Network::Test, Vec::new()),
    ];
    let mut all = Vec::new();
    for (network, headers) in chains {
        let blocks = blocks.iter().filter(|(of, _)| *of == network).map(|(_, entry)| entry.clone()).collect();
        all.extend(batches(network, &headers, blocks, size)?);
    }
    Ok(all)
}

/// A block as the file has it.
#[derive(Debug, Deserialize)]
struct Row {
    network: Network,
    height: u32,
    block: String,
    /// Outputs that are spent, in `id` and `script` as hex.
    spends: Vec<RowSpend>,
    /// Whole transactions that made what is spent.
    transactions: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct RowSpend {
    id: String,
    index: u32,
    value: Option<u64>,
    script: String,
}

/// The blocks of a file, with their networks, in its order.
///
/// # Errors
/// The text is no such file.
pub fn blocks(json: &[u8]) -> Result<Vec<(Network, Entry)>, CollectionError> {
    let rows: Vec<Row> = serde_json::from_slice(json)?;
    rows.into_iter()
        .map(|row| {
            let (network, height) = (row.network, row.height);
            row.into_entry().map(|entry| (network, entry)).map_err(|source| CollectionError::Hex { height, source })
        })
        .collect()
}

impl Row {
    fn into_entry(self) -> Result<Entry, hex::FromHexError> {
        let transactions = self.transactions.iter().map(|text| Ok(Spent::Transaction(ByteBuf::from(hex::decode(text)?))));
        let outputs = self.spends.iter().map(|spend| {
            let mut id = [0; 32];
            hex::decode_to_slice(&spend.id, &mut id)?;
            id.reverse();
            let point = OutPoint { transaction: Hash(id), index: spend.index };
            Ok(Spent::Output { point, value: spend.value, script: ByteBuf::from(hex::decode(&spend.script)?) })
        });
        let spends = transactions.chain(outputs).collect::<Result<_, _>>()?;
        Ok(Entry { height: self.height, bytes: ByteBuf::from(hex::decode(&self.block)?), spends })
    }
}

/// Cuts a chain into batches of at most `size` headers. The headers begin with the first block; the blocks stand in the chain's order, and
/// what they spend of earlier blocks is handed over with them. Blocks that are none of the headers come last, `size` a batch.
///
/// # Errors
/// A block or the headers cannot be read.
pub fn batches(network: Network, headers: &[u8], blocks: Vec<Entry>, size: usize) -> Result<Vec<Batch>, CollectionError> {
    let (headers, []) = headers.as_chunks::<HEADER_BYTES>() else { return Err(CollectionError::Headers(headers.len())) };
    let size = size.max(1);
    let (chained, loose): (Vec<Entry>, Vec<Entry>) =
        blocks.into_iter().partition(|entry| (entry.height as usize) < headers.len());
    let mut chained = chained.into_iter().peekable();
    let mut seen = Seen::default();
    let mut batches = Vec::new();
    for (number, chunk) in headers.chunks(size).enumerate() {
        let start = number * size;
        let mut blocks = Vec::new();
        while let Some(entry) = chained.next_if(|entry| (entry.height as usize) < start + chunk.len()) {
            blocks.push(entry);
        }
        let first = period_start(start as u32).map(|height| ByteBuf::from(headers[height as usize]));
        let before = headers[start.saturating_sub(BEFORE)..start].concat();
        batches.push(Batch {
            network,
            height: start as u32,
            before: ByteBuf::from(before),
            period_start: first,
            headers: ByteBuf::from(chunk.concat()),
            blocks: seen.hand_over(blocks)?,
        });
    }
    for blocks in loose.chunks(size) {
        let nothing = ByteBuf::new;
        let blocks = blocks.to_vec();
        batches.push(Batch { network, height: 0, before: nothing(), period_start: None, headers: nothing(), blocks });
    }
    Ok(batches)
}

/// The transactions of batches that are cut already.
#[derive(Debug, Default)]
struct Seen(HashMap<Hash, Vec<u8>>);

impl Seen {
    /// Adds to the blocks of a batch what they spend of earlier batches.
    fn hand_over(&mut self, mut blocks: Vec<Entry>) -> Result<Vec<Entry>, CollectionError> {
        let mut own: HashMap<Hash, Vec<u8>> = HashMap::new();
        let mut handed: HashSet<Hash> = HashSet::new();
        for entry in &mut blocks {
            let height = entry.height;
            let block = Block::parse(&entry.bytes).map_err(|source| CollectionError::Block { height, source })?;
            for input in block.transactions.iter().flat_map(|transaction| &transaction.inputs) {
                let id = input.spends.transaction;
                if let Some(bytes) = self.0.get(&id).filter(|_| handed.insert(id)) {
                    entry.spends.push(Spent::Transaction(ByteBuf::from(bytes.clone())));
                }
            }
            own.extend(block.ids.iter().copied().zip(block.transactions.iter().map(Transaction::to_bytes)));
        }
        self.0.extend(own);
        Ok(blocks)
    }
}
