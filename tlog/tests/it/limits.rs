//! What is exactly at a leaf's limit goes all the way, from the ledger into the log and past its checks, and what is over it goes nowhere.

use adit_ledger::{Entry, Hold, Ledger, Operation};
use adit_protocol::{Grant, Microcredits, Receipt, UnixMillis, sign_receipts};
use adit_tlog::fsck;
use redb::backends::InMemoryBackend;

use crate::fixture::{self, HELD, Log, gateway, grant, node, settlement, signed};

const TIME: UnixMillis = UnixMillis(1_700_000_000_000);

/// A receipt whose engine has so long a name.
fn receipt(engine: usize) -> Receipt {
    Receipt { engine: "e".repeat(engine), ..fixture::receipt(0) }
}

/// The engine of which a settlement has 4,096 bytes.
fn longest() -> usize {
    let bytes = |engine| settlement(signed(receipt(engine))).to_bytes().len();
    let engine = 4_096 - bytes(2_000) + 2_000;
    assert_eq!((bytes(engine), bytes(engine + 1)), (4_096, 4_097));
    engine
}

/// What a ledger says of a settlement by this receipt, and the leaves that it has then.
fn settle(receipt: Receipt) -> (Result<(), String>, Vec<Vec<u8>>) {
    let (job, customer) = (receipt.job, receipt.client);
    let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway().public()).unwrap();
    let receipt = sign_receipts(&node(), vec![receipt]).remove(0).verify().unwrap();
    let entry = Entry { receipt, settled: TIME, reason: String::new(), output: None, queue_us: 0, rtt_us: 0 };
    let operations = [
        Operation::State(fixture::terms()),
        Operation::Grant(Grant { customer, ..grant(0, fixture::GRANTED) }),
        Operation::Hold(Hold { job, customer, amount: Microcredits(HELD), expires: TIME }),
        Operation::Settle(Box::new(entry)),
    ];
    let mut done = ledger.apply(&operations).unwrap();
    let verdict = done.pop().unwrap().map(drop).map_err(|refused| refused.to_string());
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    (verdict, ledger.reader().leaves(0, 8).unwrap())
}

#[test]
fn leaf_of_4096_bytes_is_recorded_and_checked_and_one_of_4097_is_refused() {
    let (taken, leaves) = settle(receipt(longest()));
    assert_eq!((taken, leaves.len(), leaves[2].len()), (Ok(()), 3, 4_096));
    assert_eq!(leaves[2], settlement(signed(receipt(longest()))).to_bytes());
    let report = fsck(&Log::of_bytes(&leaves), &gateway().public(), |_, _| {}).unwrap();
    assert!(report.is_sound() && report.receipts_verified == 1, "{report:?}");

    let (refused, leaves) = settle(receipt(longest() + 1));
    let job = receipt(0).job;
    let why = format!("job {job}: a receipt of 4097 bytes; at most 4096 are recorded");
    assert_eq!((refused, leaves.len()), (Err(why), 2), "and it leaves nothing behind");
    // A gateway that records it all the same is told.
    let over = settlement(signed(receipt(longest() + 1))).to_bytes();
    let all = [&leaves[..], &[over]].concat();
    let report = fsck(&Log::of_bytes(&all), &gateway().public(), |_, _| {}).unwrap();
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults, ["leaf 2: a leaf of 4097 bytes; the limit is 4096"]);
}
