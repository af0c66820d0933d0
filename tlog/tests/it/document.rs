//! The numbers in the text of `docs/receipt-format.md`, beside its vectors: each worked example is read there and computed again.

use adit_ledger::Ledger;
use adit_protocol::limits::{BATCH_LEAVES_MAX, FUEL_PER_COMPUTE_MINUTE, LEAF_BYTES_MAX};
use adit_protocol::{
    ByteCount, Fuel, JobId, Leaf, Microcredits, Price, PublicKey, Receipt, Settled, UnixMillis, Usage, VoidReason, Voided,
    prove_batch,
};

use crate::vectors;

const DOCUMENT: &str = include_str!("../../../docs/receipt-format.md");
const GIB: u128 = 1 << 30;

/// A number as the document writes it: `1,500`.
fn grouped(n: impl Into<u128>) -> String {
    let digits = n.into().to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// What stands between the first of these two and the next other one.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let behind = text.split_once(from).unwrap_or_else(|| panic!("no `{from}`")).1;
    behind.split_once(to).unwrap_or_else(|| panic!("no `{to}` behind `{from}`")).0
}

/// Text with its lines joined, so that a sentence is found wherever it is broken.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn says(sentence: &str) {
    assert!(joined(DOCUMENT).contains(sentence), "docs/receipt-format.md does not say: {sentence}");
}

/// A sum of products of powers: `60 x 10^9 + 1`.
fn number(text: &str) -> u128 {
    let whole = |text: &str| text.replace(',', "").parse::<u128>().unwrap_or_else(|_| panic!("`{text}` is no number"));
    let power = |text: &str| match text.split_once('^') {
        Some((base, exponent)) => whole(base).pow(whole(exponent) as u32),
        None => whole(text),
    };
    text.split(" + ").map(|product| product.split(" x ").map(power).product::<u128>()).sum()
}

/// `30 x 10^6 fuel and 10,737,418 bytes in`.
fn usage(text: &str) -> Usage {
    let mut usage = Usage::default();
    for part in text.split(" and ") {
        let of = |unit: &str| part.strip_suffix(unit).map(number);
        if let Some(amount) = of(" byte x fuel") {
            usage.memory_fuel = amount;
        } else if let Some(amount) = of(" fuel") {
            usage.fuel = Fuel(amount as u64);
        } else if let Some(amount) = of(" bytes in") {
            usage.bytes_in = ByteCount(amount as u64);
        } else if let Some(amount) = of(" bytes out") {
            usage.bytes_out = ByteCount(amount as u64);
        } else if let Some(amount) = of(" s of GPU time") {
            usage.gpu_ns = amount as u64 * 1_000_000_000;
        } else {
            panic!("`{part}` is of no resource");
        }
    }
    usage
}

/// `1,000 a compute minute and 50 a GiB`; a GiB costs the same in and out.
fn price(text: &str) -> Price {
    let (mut price, mut rest) = (Price::default(), text);
    loop {
        let (amount, behind) = rest.split_once(" a ").unwrap_or_else(|| panic!("`{rest}` is no price"));
        let amount = number(amount) as u64;
        // The longest first.
        rest = if let Some(rest) = behind.strip_prefix("GiB and compute minute") {
            price.per_gib_compute_minute = amount;
            rest
        } else if let Some(rest) = behind.strip_prefix("GiB") {
            (price.per_gib_in, price.per_gib_out) = (amount, amount);
            rest
        } else if let Some(rest) = behind.strip_prefix("compute minute") {
            price.per_compute_minute = amount;
            rest
        } else if let Some(rest) = behind.strip_prefix("GPU minute") {
            price.per_gpu_minute = amount;
            rest
        } else {
            panic!("`{behind}` is of no resource");
        };
        match rest.strip_prefix(" and ") {
            Some(next) => rest = next,
            None if rest.is_empty() => return price,
            None => panic!("`{rest}` behind a price"),
        }
    }
}

#[test]
fn every_row_of_the_table_of_prices_is_what_the_formula_gives() {
    let table = between(DOCUMENT, "| used | at | costs |\n|---|---|---|\n", "\n\n");
    let rows: Vec<[&str; 3]> = table
        .lines()
        .map(|line| line.trim_matches(|c| c == '|' || c == ' ').split(" | ").collect::<Vec<_>>().try_into().unwrap())
        .collect();
    assert_eq!(rows.len(), 7);
    for [used, at, costs] in rows {
        let told = number(costs.split(':').next().unwrap());
        assert_eq!(price(at).cost(&usage(used)).map(|cost| cost.0.into()), Ok(told), "{used} at {at}");
    }
}

/// So many digits behind the point of a number of microcredits, given in the formula's parts: cut off, with a mark where more follow.
fn decimals(parts: u128, digits: u32) -> String {
    let whole = GIB * u128::from(FUEL_PER_COMPUTE_MINUTE);
    let scale = 10_u128.pow(digits);
    let (integer, rest) = (grouped(parts / whole), parts % whole);
    if rest == 0 { integer } else { format!("{integer}.{:0digits$}…", rest * scale / whole, digits = digits as usize) }
}

#[test]
fn bill_of_the_receipt_is_worked_out_as_it_stands_there() {
    let Receipt { usage, price, cost, .. } = vectors::receipts().remove(0).receipt;
    let minute = u128::from(FUEL_PER_COMPUTE_MINUTE);
    let fuel = u128::from(usage.fuel.0 * price.per_compute_minute) * GIB;
    let memory = usage.memory_fuel * u128::from(price.per_gib_compute_minute);
    assert_eq!(price.per_gib_in, price.per_gib_out);
    let bytes = u128::from((usage.bytes_in.0 + usage.bytes_out.0) * price.per_gib_in) * minute;
    assert_eq!(usage.memory_fuel, u128::from(usage.memory_peak.0) * u128::from(usage.fuel.0), "held over all of it");
    let (giga, mib) = (usage.fuel.0 / 1_000_000_000, usage.memory_peak.0 >> 20);
    says(&format!(
        "used {giga} x 10^9 fuel at {} a compute minute, which is {}; {mib} MiB over all of it at {} a GiB and compute minute, \
         which is {giga}/{} x {mib}/1024 x {} = {}; {} bytes in and {} bytes out at {} a GiB, which is {}. Together {}, so it costs",
        grouped(price.per_compute_minute),
        decimals(fuel, 3),
        price.per_gib_compute_minute,
        FUEL_PER_COMPUTE_MINUTE / 1_000_000_000,
        price.per_gib_compute_minute,
        decimals(memory, 3),
        usage.bytes_in.0,
        usage.bytes_out.0,
        price.per_gib_in,
        decimals(bytes, 6),
        decimals(fuel + memory + bytes, 3),
    ));
    assert_eq!(u128::from(cost.0), (fuel + memory + bytes).div_ceil(GIB * minute));
}

/// It stands in one place in the code, and as it stands there an auditor reads it.
#[test]
fn formula_is_the_one_in_the_code() {
    let formula = |text: &str| joined(&between(text, "cost = ceil(", "```").replace("///", ""));
    let code = include_str!("../../../protocol/src/price.rs");
    assert_eq!(formula(DOCUMENT), formula(code));
    assert!(formula(code).ends_with("/ (2^30 x 60e9) )"));
}

/// What the leaves of the job with two paid attempts tell.
fn attempts(ledger: &Ledger) -> [Settled; 2] {
    [5, 6].map(|index| {
        let leaf = Leaf::from_bytes(&ledger.reader().leaf(index).unwrap().unwrap()).unwrap();
        leaf.paid().unwrap().clone()
    })
}

#[test]
fn job_with_two_paid_attempts_costs_what_stands_there() {
    let receipts = vectors::receipts();
    let [cut, next] = attempts(&vectors::ledger(&receipts));
    let (first, again) = (&cut.receipt.receipt, &next.receipt.receipt);
    assert_eq!(first.usage.fuel.0 * 3, receipts[0].receipt.usage.fuel.0, "a third");
    let [held, cost, fee, left] = [cut.held, first.cost, cut.fee, cut.left()].map(|amount| grouped(amount.0));
    says(&format!(
        "This job had {held} held. Its first attempt used a third of what the receipt above did, which costs {cost}; the gateway \
         keeps {fee} of that, and {left} stay held:"
    ));
    let more = Microcredits(next.held.0 - cut.left().0);
    let [held, more, cost, fee, left] = [next.held, more, again.cost, next.fee, next.left()].map(|amount| grouped(amount.0));
    says(&format!(
        "The next attempt could cost {held}, so {more} more were held. It cost {cost}, of which the gateway kept {fee}; the other \
         {left} went back. The client paid {} for this job:",
        grouped(first.cost.0 + again.cost.0)
    ));
}

#[test]
fn every_kind_of_leaf_is_described() {
    let ledger = vectors::ledger(&vectors::receipts());
    let table = between(DOCUMENT, "| # | Leaf | Fields | Moves |\n", "\n\n");
    assert_eq!(table.lines().count(), 1 + 6);
    for bytes in ledger.reader().leaves(0, 16).unwrap() {
        let leaf = format!("{:?}", Leaf::from_bytes(&bytes).unwrap());
        let row = format!("| {} | `{}` |", bytes[1], leaf.split('(').next().unwrap());
        assert!(bytes[0] == 1 && table.contains(&row), "no row `{row}`");
    }
    let reasons = [
        (VoidReason::Refused, "refused"),
        (VoidReason::Cancelled, "cancelled"),
        (VoidReason::NodesLost, "nodes lost"),
        (VoidReason::Expired, "expired"),
        (VoidReason::Restarted, "gateway restarted"),
    ];
    let told = reasons.map(|(reason, name)| {
        let (job, customer, held, time) = (JobId([0; 16]), PublicKey([0; 32]), Microcredits(0), UnixMillis(0));
        let bytes = Leaf::Void(Voided { job, customer, held, reason, time }).to_bytes();
        // Version, variant, job, key and amount stand before it.
        format!("{} {name}", bytes[2 + 16 + 32 + 1])
    });
    says(&format!("`Void`'s reasons are {}.", told.join(", ")));
}

#[test]
fn limits_and_the_domain_are_those_of_the_code() {
    says(&format!("A leaf is `01`, the variant, and its fields; at most {} bytes.", grouped(LEAF_BYTES_MAX as u64)));
    says(&format!("A node signs the receipts that finished in one moment, 1 to {BATCH_LEAVES_MAX} of them, together"));
    let text = joined(DOCUMENT);
    let domain = between(&text, "Ed25519 over `", "`");
    let receipts = vectors::receipts();
    let statements: Vec<Vec<u8>> = receipts[..2].iter().map(|receipt| receipt.receipt.public().to_bytes()).collect();
    let proofs = prove_batch(&vectors::key(4), domain, &statements);
    assert!(proofs.iter().eq(receipts[..2].iter().map(|receipt| &receipt.proof)), "{domain}");
}
