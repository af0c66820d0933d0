//! What is wrong by a bit, or by a rule, is refused, and the reason is named.

use std::collections::BTreeSet;
use std::mem::discriminant;

use adit_example_blockchain::{
    Batch, BatchError, Block, BlockError, Chain, Entry, Hash, Header, HeaderError, Network, OutPoint, ScriptError, Spent,
    Transaction, TransactionError,
};
use serde_bytes::ByteBuf;

use crate::blocks::{batches, entries, file};

fn refusal(batch: &Batch) -> BatchError {
    batch.check(|_, _| {}).expect_err("a spoiled batch is refused")
}

fn entry(network: Network, height: u32) -> Entry {
    entries(network).into_iter().find(|entry| entry.height == height).unwrap()
}

/// A batch of one block that is in no chain.
fn loose(network: Network, entry: Entry) -> Batch {
    let nothing = ByteBuf::new;
    Batch { network, height: 0, before: nothing(), period_start: None, headers: nothing(), blocks: vec![entry] }
}

#[test]
fn every_bit_of_a_header_counts() {
    let mut batch = batches(Network::Main, 100).remove(1);
    batch.blocks.clear();
    assert!(batch.check(|_, _| {}).is_ok());
    let mut reasons = BTreeSet::new();
    for bit in 0..640 {
        let mut spoiled = batch.clone();
        spoiled.headers[80 * 50 + bit / 8] ^= 1 << (bit % 8);
        let error = refusal(&spoiled);
        let BatchError::Header { height: 150, source } = error else { panic!("bit {bit}: {error}") };
        reasons.insert(source.to_string().split(' ').next().map(str::to_owned));
        assert!(matches!(source, HeaderError::Work { .. } | HeaderError::Bits(_)), "bit {bit}: {source}");
    }
    assert!(!reasons.is_empty());
}

#[test]
fn every_bit_of_a_block_counts() {
    // Blocks with old payments, several signatures in one, scripts behind hashes, and witnesses.
    for (network, height) in [(Network::Main, 170), (Network::Test, 49_291), (Network::Test, 926_485), (Network::Test, 1_263_442)]
    {
        let entry = entry(network, height);
        assert!(loose(network, entry.clone()).check(|_, _| {}).is_ok());
        // A prime, so that all eight bits of a byte have their turn.
        for bit in (0..8 * entry.bytes.len()).step_by(13) {
            let mut spoiled = entry.clone();
            spoiled.bytes[bit / 8] ^= 1 << (bit % 8);
            let error = refusal(&loose(network, spoiled));
            assert!(matches!(error, BatchError::Block { .. } | BatchError::Loose { .. }), "{height}, bit {bit}: {error}");
        }
    }
}

#[test]
fn other_outputs_than_those_that_were_spent_are_refused() {
    let spoil = |network, height, change: fn(&mut Entry)| {
        let mut entry = entry(network, height);
        change(&mut entry);
        match refusal(&loose(network, entry)) {
            BatchError::Block { source, .. } => source,
            other => panic!("{height}: {other}"),
        }
    };
    let bit_of_script = |entry: &mut Entry| match entry.spends.last_mut() {
        Some(Spent::Output { script, .. }) => script[10] ^= 1,
        other => panic!("{other:?}"),
    };
    let script = |error: &BlockError| matches!(error, BlockError::Script { .. });
    for (network, height) in [(Network::Test, 49_291), (Network::Test, 926_485), (Network::Test, 1_263_442)] {
        let error = spoil(network, height, bit_of_script);
        assert!(script(&error), "{height}: {error}");
    }
    // What a witness signs has the value in it.
    let error = spoil(Network::Test, 1_263_442, |entry| match &mut entry.spends[0] {
        Spent::Output { value, .. } => *value = value.map(|value| value + 1),
        other => panic!("{other:?}"),
    });
    assert!(script(&error), "{error}");
    let error = spoil(Network::Test, 1_263_442, |entry| match &mut entry.spends[0] {
        Spent::Output { value, .. } => *value = None,
        other => panic!("{other:?}"),
    });
    assert!(matches!(error, BlockError::Script { source: ScriptError::ValueUnknown, .. }), "{error}");
    // A whole transaction is known by its name.
    let error = spoil(Network::Main, 170, |entry| match &mut entry.spends[0] {
        Spent::Transaction(bytes) => bytes[120] ^= 1,
        other => panic!("{other:?}"),
    });
    assert!(matches!(error, BlockError::Missing { index: 1, .. }), "{error}");
    let error = spoil(Network::Main, 170, |entry| entry.spends.clear());
    assert!(matches!(error, BlockError::Missing { index: 1, .. }), "{error}");
}

#[test]
fn a_block_whose_last_transaction_stands_there_twice_is_refused() {
    // Five transactions come to the same root as six, where the last is there twice: CVE-2012-2459.
    let mut entry = entry(Network::Test, 180_480);
    let block = Block::parse(&entry.bytes).unwrap();
    let last = block.transactions.last().unwrap().to_bytes();
    assert_eq!((block.transactions.len(), entry.bytes[80]), (5, 5));
    entry.bytes[80] = 6;
    entry.bytes.extend(last);
    assert_eq!(refusal(&loose(Network::Test, entry)), BatchError::Block { height: 180_480, source: BlockError::Duplicates });
}

/// The whole chain that Bitcoin Core made, in one batch, whose work is so little that other blocks can be made for it.
fn chain() -> Batch {
    batches(Network::Regtest, 1000).remove(0)
}

/// The height of the first block that pays.
fn paying(batch: &Batch) -> usize {
    batch.blocks.iter().position(|entry| entry.bytes[80] > 1).unwrap()
}

/// Changes one transaction of a block, and then whatever must fit it: the Merkle root, the work, and the chain's header. Nothing may be
/// built on the block.
fn remake(batch: &mut Batch, at: usize, change: impl FnOnce(&mut Block)) {
    batch.blocks.truncate(at + 1);
    let height = batch.blocks[at].height as usize;
    batch.headers.truncate(80 * (height + 1));
    let mut block = Block::parse(&batch.blocks[at].bytes).unwrap();
    change(&mut block);
    let mut root: Vec<Hash> = block.transactions.iter().map(|transaction| transaction.id()).collect();
    while root.len() > 1 {
        root = root.chunks(2).map(|pair| Hash::of(&[pair[0].0, pair.last().unwrap().0].concat())).collect();
    }
    let mut header = batch.headers[80 * height..].to_vec();
    header[36..68].copy_from_slice(&root[0].0);
    let header = mine(header, Network::Regtest);
    batch.headers[80 * height..].copy_from_slice(&header);
    let mut bytes = header;
    bytes.push(block.transactions.len() as u8);
    block.transactions.iter().for_each(|transaction| bytes.extend(transaction.to_bytes()));
    batch.blocks[at].bytes = ByteBuf::from(bytes);
}

/// The header with the first nonce that has the work.
fn mine(mut header: Vec<u8>, network: Network) -> Vec<u8> {
    for nonce in 0u32.. {
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        if Header::parse(&header).unwrap().check_work(network).is_ok() {
            break;
        }
    }
    header
}

#[test]
fn blocks_that_are_made_anew_are_refused_for_what_is_wrong_in_them() {
    type Change = fn(&mut Block);
    let rows: [(&str, Change); 9] = [
        ("witnesses are not those", |block| block.transactions[1].inputs[0].witness[0][10] ^= 1),
        ("commits to none", |block| block.transactions[0].outputs.retain(|output| output.script[0] != 0x6a)),
        ("takes 5000000001", |block| block.transactions[0].outputs[0].value = 5_000_000_001),
        ("no coinbase", |block| {
            block.transactions.remove(0);
        }),
        ("begin with its height", |block| block.transactions[0].inputs[0].script[1] ^= 1),
        ("outputs are more", |block| block.transactions[1].outputs[0].value = 22_000_000 * 100_000_000),
        ("has no outputs", |block| block.transactions[1].outputs.clear()),
        ("is spent already", |block| {
            let twice = block.transactions[1].clone();
            block.transactions.push(Transaction { lock_time: twice.lock_time ^ 1, ..twice });
        }),
        ("second coinbase", |block| block.transactions.push(block.transactions[0].clone())),
    ];
    let at = paying(&chain());
    for (reason, change) in rows {
        let mut batch = chain();
        // Only what is signed has to be as it was in all but the first two; so the witnesses' commitment goes where it would tell first.
        remake(&mut batch, at, |block| {
            change(block);
            if !reason.starts_with("witnesses") && !reason.starts_with("commits") {
                recommit(block);
            }
        });
        let error = refusal(&batch).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

/// Writes the commitment to the witnesses anew.
fn recommit(block: &mut Block) {
    let ids = block.transactions.iter().enumerate();
    let mut root: Vec<Hash> = ids.map(|(at, transaction)| if at == 0 { Hash::ZERO } else { transaction.witness_id() }).collect();
    while root.len() > 1 {
        root = root.chunks(2).map(|pair| Hash::of(&[pair[0].0, pair.last().unwrap().0].concat())).collect();
    }
    let Some(coinbase) = block.transactions.first_mut().filter(|first| first.is_coinbase()) else { return };
    let commitment = Hash::of(&[root[0].0, [0; 32]].concat());
    let output = coinbase.outputs.iter_mut().find(|output| output.script[0] == 0x6a).unwrap();
    output.script[6..38].copy_from_slice(&commitment.0);
}

#[test]
fn a_false_signature_is_refused_where_all_else_fits() {
    let mut batch = chain();
    let at = paying(&batch);
    remake(&mut batch, at, |block| {
        let signature = &mut block.transactions[1].inputs[0].witness[0];
        let middle = signature.len() / 2;
        signature[middle] ^= 1;
        recommit(block);
    });
    let error = refusal(&batch);
    assert!(matches!(error, BatchError::Block { source: BlockError::Script { index: 1, input: 0, .. }, .. }), "{error}");
}

#[test]
fn headers_that_break_a_rule_are_refused_by_it() {
    let mut chain = Chain::new(Network::Regtest, 0, Vec::new(), None).unwrap();
    let headers = file("regtest-headers.bin");
    let (last, before) = headers.as_chunks::<80>().0[..100].split_last().unwrap();
    before.iter().for_each(|header| chain.push(Header::parse(header).unwrap()).unwrap());
    let median = chain.median_time(99).unwrap();

    let field = |at: usize, value: u32| {
        let mut header = last.to_vec();
        header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        header
    };
    let work = |mut header: Vec<u8>| {
        // The first nonce that has not the work.
        let has_work = |header: &[u8]| Header::parse(header).unwrap().check_work(Network::Regtest).is_ok();
        (0u32..).find(|nonce| {
            header[76..].copy_from_slice(&nonce.to_le_bytes());
            !has_work(&header)
        });
        header
    };
    let mined = |header| mine(header, Network::Regtest);
    let zero = Hash::ZERO;
    let rows = [
        (mined(field(68, median)), HeaderError::Time { time: median, median }),
        (mined(field(0, 3)), HeaderError::Version(3)),
        (mined(field(72, 0x207f_fffe)), HeaderError::Difficulty { found: 0x207f_fffe, wanted: 0x207f_ffff }),
        (mined(field(4, 7)), HeaderError::Link { found: zero, wanted: zero }),
        (field(72, 0x2100_8000), HeaderError::Bits(0x2100_8000)),
        (field(72, 0), HeaderError::Bits(0)),
        (work(last.to_vec()), HeaderError::Work { hash: zero, bits: 0 }),
    ];
    for (header, wanted) in rows {
        let error = chain.clone().push(Header::parse(&header).unwrap()).unwrap_err();
        let same = match wanted {
            HeaderError::Link { .. } | HeaderError::Work { .. } => discriminant(&error) == discriminant(&wanted),
            _ => error == wanted,
        };
        assert!(same, "{wanted}: {error}");
    }
    // One second after the median is enough.
    assert_eq!(chain.clone().push(Header::parse(&mined(field(68, median + 1))).unwrap()), Ok(()));
}

#[test]
fn another_networks_first_block_is_refused() {
    let mut batch = batches(Network::Main, 10).remove(0);
    batch.network = Network::Test;
    assert!(matches!(refusal(&batch), BatchError::Header { height: 0, source: HeaderError::Genesis { .. } }));
}

#[test]
fn a_batch_without_the_headers_before_it_is_refused() {
    let batch = batches(Network::Main, 100).remove(3);
    let mut short = batch.clone();
    short.before = ByteBuf::from(batch.before[80..].to_vec());
    assert_eq!(refusal(&short), BatchError::Header { height: 300, source: HeaderError::Missing(289) });
    let mut torn = batch.clone();
    torn.before[80 * 5 + 40] ^= 1;
    assert!(matches!(refusal(&torn), BatchError::Before { height: 300, .. }));
    let mut cut = batch;
    cut.headers.truncate(80 * 3 + 79);
    assert!(matches!(refusal(&cut), BatchError::Header { height: 303, source: HeaderError::Malformed(_) }));
}

#[test]
fn a_block_that_is_not_the_chains_is_refused() {
    let mut batch = chain();
    batch.blocks.truncate(2);
    batch.blocks[1].height = 1;
    assert!(matches!(refusal(&batch), BatchError::Block { height: 1, source: BlockError::Elsewhere { .. } }));
}

#[test]
fn new_money_that_is_spent_too_early_is_refused() {
    let error = refusal(&too_early().0);
    assert!(matches!(error, BatchError::Block { source: BlockError::Immature(1), .. }), "{error}");
}

/// What was stated once replaced what the batch had made, and with it how old it is.
#[test]
fn new_money_does_not_age_by_being_stated() {
    let (mut batch, made) = too_early();
    let last = batch.blocks.last_mut().unwrap();
    last.spends.push(Spent::Transaction(ByteBuf::from(made.to_bytes())));
    let error = refusal(&batch);
    assert!(matches!(error, BatchError::Block { source: BlockError::Immature(1), .. }), "{error}");
}

#[test]
fn what_a_block_makes_later_cannot_be_spent_by_stating_it() {
    let at = paying(&chain());
    let source = Block::parse(&chain().blocks[at].bytes).unwrap().transactions[1].clone();
    let (id, first) = (source.id(), source.outputs[0].clone());
    let point = OutPoint { transaction: id, index: 0 };
    let spent_early = |stated: Option<Spent>| {
        let mut batch = chain();
        remake(&mut batch, at, |block| {
            let mut early = source.clone();
            early.inputs.truncate(1);
            early.inputs[0].spends = point;
            block.transactions.insert(1, early);
            recommit(block);
        });
        batch.blocks[at].spends.extend(stated);
        match refusal(&batch) {
            BatchError::Block { source, .. } => source,
            other => panic!("{other}"),
        }
    };
    assert_eq!(spent_early(None), BlockError::Missing { index: 1, spends: point });
    let bytes = ByteBuf::from(source.to_bytes());
    assert_eq!(spent_early(Some(Spent::Transaction(bytes.clone()))), BlockError::StatedBefore(id));
    let (value, script) = (Some(first.value), ByteBuf::from(first.script));
    assert_eq!(spent_early(Some(Spent::Output { point, value, script })), BlockError::StatedBefore(id));
    // Nor by stating it in a block before.
    let mut batch = chain();
    batch.blocks[at - 1].spends.push(Spent::Transaction(bytes));
    assert_eq!(refusal(&batch), BatchError::Block { height: batch.blocks[at].height, source: BlockError::StatedBefore(id) });
}

/// A chain whose last block spends new money when it is not old enough, and the transaction that made that.
fn too_early() -> (Batch, Transaction) {
    let batch = chain();
    let at = paying(&batch);
    // The same payment, as far down as a block may not have it yet.
    let block = Block::parse(&batch.blocks[at].bytes).unwrap();
    let payment = Transaction { lock_time: 0, ..block.transactions[1].clone() };
    let made = batch.blocks.iter().find(|entry| {
        let block = Block::parse(&entry.bytes).unwrap();
        payment.inputs.iter().any(|input| block.ids[0] == input.spends.transaction)
    });
    let early = made.unwrap().height as usize + 98;
    let mut spending = batch.clone();
    remake(&mut spending, early, |block| {
        block.transactions.push(payment);
        recommit(block);
    });
    let made = Block::parse(&made.unwrap().bytes).unwrap().transactions[0].clone();
    (spending, made)
}

#[test]
fn a_transaction_is_wrong_by_itself_for_a_named_reason() {
    let block = Block::parse(&entry(Network::Main, 170).bytes).unwrap();
    let twice = {
        let mut transaction = block.transactions[1].clone();
        transaction.inputs.push(transaction.inputs[0].clone());
        transaction
    };
    assert_eq!(twice.check(), Err(TransactionError::SpentTwice(twice.inputs[0].spends)));
    let mut long = block.transactions[0].clone();
    long.inputs[0].script = vec![0; 101];
    assert_eq!(long.check(), Err(TransactionError::CoinbaseScript(101)));
}
