//! Blocks that are on their chains, and so must hold.

use std::path::Path;

use adit_example_blockchain::{Batch, Block, Entry, Network, Report, collection};

pub(crate) fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)).unwrap()
}

pub(crate) fn entries(network: Network) -> Vec<Entry> {
    let all = collection::blocks(&file("blocks.json")).unwrap();
    all.into_iter().filter(|(of, _)| *of == network).map(|(_, entry)| entry).collect()
}

pub(crate) fn batches(network: Network, size: usize) -> Vec<Batch> {
    let headers = match network {
        Network::Main => file("main-headers.bin"),
        Network::Regtest => file("regtest-headers.bin"),
        _ => Vec::new(),
    };
    collection::batches(network, &headers, entries(network), size).unwrap()
}

/// Checks all batches and adds up what they say.
fn check(network: Network, size: usize) -> Report {
    let mut sum = Report::default();
    for batch in batches(network, size) {
        let report = batch.check(|_, _| {}).unwrap_or_else(|error| panic!("{network:?} from {}: {error}", batch.height));
        assert!(report.headers == 0 || sum.headers == 0 || report.previous == sum.last, "batches join");
        sum.headers += report.headers;
        sum.blocks += report.blocks;
        sum.transactions += report.transactions;
        sum.inputs += report.inputs;
        sum.signatures += report.signatures;
        sum.proven += report.proven;
        sum.unchecked += report.unchecked;
        sum.without_values += report.without_values;
        if report.headers > 0 {
            sum.last = report.last;
        }
    }
    sum
}

#[test]
fn main_chain_holds_from_its_first_block() {
    let report = check(Network::Main, 2000);
    // The genesis block, block 9, and block 170 with the first payment, whose input is proven by what it spends.
    assert_eq!((report.headers, report.blocks, report.transactions), (1112, 3, 1 + 1 + 2));
    assert_eq!((report.inputs, report.signatures, report.proven, report.unchecked, report.without_values), (1, 1, 1, 0, 0));
    let payment = Block::parse(&entries(Network::Main)[2].bytes).unwrap().ids[1];
    assert_eq!(payment.to_string(), "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16");
}

#[test]
fn test_chains_blocks_hold() {
    let report = check(Network::Test, 100);
    assert_eq!((report.blocks, report.transactions, report.unchecked), (10, 20, 0));
    // One multisignature of two keys tries more keys than it has signatures.
    assert_eq!((report.inputs, report.signatures, report.proven), (25, 29, 2));
}

#[test]
fn whole_chain_with_witnesses_holds_and_nothing_of_it_is_trusted() {
    let report = check(Network::Regtest, 1000);
    assert_eq!((report.headers, report.blocks, report.transactions), (207, 206, 206 + 2 + 20 + 3));
    assert_eq!((report.proven, report.unchecked, report.without_values), (report.inputs, 0, 0));
}

#[test]
fn how_a_chain_is_cut_does_not_matter() {
    for network in [Network::Main, Network::Regtest] {
        let whole = check(network, 10_000);
        for size in [1, 7, 100] {
            let cut = check(network, size);
            assert_eq!(cut, Report { height: 0, ..whole.clone() }, "{network:?} by {size}");
        }
    }
}
