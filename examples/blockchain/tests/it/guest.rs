//! What the guest is given by tests that run it, and what it must say: `tests/data/`, which `ADIT_BLESS=1` writes anew.

use std::path::Path;

use adit_example_blockchain::{Batch, Network, Verdict};
use adit_guest::{Decode, Encode};

use crate::blocks::{batches, entries};

fn check(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    if std::env::var_os("ADIT_BLESS").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(std::fs::read(&path).unwrap() == bytes, "{name} is another; ADIT_BLESS=1 writes it anew");
}

fn verdict(batch: &[u8]) -> Verdict {
    match Batch::decode(batch.to_vec()).unwrap().check(|_, _| {}) {
        Ok(report) => Verdict::Valid(report),
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

#[test]
fn ten_headers_and_the_first_payment_hold_until_one_bit_is_another() {
    let bytes = batches(Network::Main, 10).remove(17).encode().unwrap();
    check("payment.batch", &bytes);
    let valid = verdict(&bytes);
    assert!(
        matches!(&valid, Verdict::Valid(report) if (report.headers, report.signatures, report.proven) == (10, 1, 1)),
        "{valid:?}"
    );
    check("payment.verdict", &valid.encode().unwrap());

    // A bit of the payment, behind the coinbase.
    let block = &entries(Network::Main)[2].bytes;
    let at = bytes.windows(block.len()).position(|part| part == &block[..]).expect("the batch has the block");
    let mut spoiled = bytes;
    spoiled[at + block.len() - 20] ^= 1;
    check("spoiled.batch", &spoiled);
    let refused = verdict(&spoiled);
    assert!(
        matches!(&refused, Verdict::Refused(reason) if reason.contains("block 170") && reason.contains("Merkle")),
        "{refused:?}"
    );
    check("spoiled.verdict", &refused.encode().unwrap());
}
