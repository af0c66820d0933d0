//! What each node is owed, from the receipts alone.

use std::collections::BTreeMap;
use std::fmt;

use adit_protocol::limits::FUEL_PER_COMPUTE_MINUTE;
use adit_protocol::{Fuel, Microcredits, PublicKey, Receipt};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::Finished;

/// One GiB of memory held for one compute minute, in byte x fuel.
const GIB_COMPUTE_MINUTE: f64 = (1u64 << 30) as f64 * FUEL_PER_COMPUTE_MINUTE as f64;

/// A bill with one line per node.
#[derive(Debug, Default, PartialEq)]
pub struct Invoice {
    lines: BTreeMap<PublicKey, Line>,
    total: Line,
}

/// What was used, and what it costs.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Line {
    tasks: usize,
    fuel: Fuel,
    /// Byte x fuel.
    memory_fuel: u128,
    cost: Microcredits,
}

impl Invoice {
    /// The invoice over what jobs used.
    ///
    /// # Errors
    /// As [`Invoice::new`].
    pub fn of(finished: &[Finished]) -> Result<Self> {
        Self::new(finished.iter().map(|finished| finished.receipt.receipt()))
    }

    /// The invoice over `receipts`.
    ///
    /// # Errors
    /// Where the lines do not add up to what the receipts' prices make of their usage, or a sum does not fit its type.
    pub fn new<'a>(receipts: impl Iterator<Item = &'a Receipt>) -> Result<Self> {
        let mut invoice = Self::default();
        let mut computed = 0u64;
        for receipt in receipts {
            invoice.lines.entry(receipt.node).or_default().add(&Line::of(receipt))?;
            let cost = receipt.price.cost(&receipt.usage)?;
            computed = computed.checked_add(cost.0).context("the receipts' sum is over 64 bits")?;
        }
        for line in invoice.lines.values() {
            invoice.total.add(line)?;
        }
        let total = invoice.total.cost;
        ensure!(total.0 == computed, "the invoice's total is {total}, the receipts' sum is {}", Microcredits(computed));
        Ok(invoice)
    }

    /// The invoice as one object.
    pub fn to_json(&self) -> Value {
        let nodes = self.lines.iter().map(|(node, line)| {
            let mut object = line.to_json();
            object["node"] = json!(node.to_string());
            object
        });
        json!({ "nodes": nodes.collect::<Vec<_>>(), "total": self.total.to_json() })
    }
}

impl Line {
    fn of(receipt: &Receipt) -> Self {
        let Receipt { usage, cost, .. } = receipt;
        Self { tasks: 1, fuel: usage.fuel, memory_fuel: usage.memory_fuel, cost: *cost }
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        let over = "the invoice's sum is over 64 bits";
        self.tasks += other.tasks;
        self.fuel = Fuel(self.fuel.0.checked_add(other.fuel.0).context(over)?);
        self.memory_fuel = self.memory_fuel.checked_add(other.memory_fuel).context("the invoice's sum is over 128 bits")?;
        self.cost = Microcredits(self.cost.0.checked_add(other.cost.0).context(over)?);
        Ok(())
    }

    fn to_json(self) -> Value {
        let Self { tasks, fuel, memory_fuel, cost } = self;
        // Over 2^53 a JSON number is not exact for every reader, and memory-fuel is soon over that.
        json!({ "tasks": tasks, "fuel": fuel.0, "memory_fuel": memory_fuel.to_string(), "microcredits": cost.0 })
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let memory = self.memory_fuel as f64 / GIB_COMPUTE_MINUTE;
        let credits = format!("{}.{:06}", self.cost.0 / 1_000_000, self.cost.0 % 1_000_000);
        writeln!(f, "{name:<16} {:>6} {:>14} {memory:>16.6} {credits:>15}", self.tasks, self.fuel.to_string())
    }
}

impl fmt::Display for Invoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16} {:>6} {:>14} {:>16} {:>15}", "node", "tasks", "fuel", "memory (GiB cm)", "credits")?;
        for (node, line) in &self.lines {
            line.write(f, &node.to_string()[..16])?;
        }
        self.total.write(f, "all")
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{Attempt, Digest, JobId, MeterId, NodeTimes, Outcome, Price, Profile, Usage};

    use super::*;

    const CM: u64 = FUEL_PER_COMPUTE_MINUTE;

    fn receipt(node: u8, fuel: u64) -> Receipt {
        let (key, digest) = (PublicKey([node; 32]), Digest([0; 32]));
        let usage = Usage { fuel: Fuel(fuel), memory_fuel: u128::from(fuel) << 20, ..Usage::default() };
        let price = Price { per_compute_minute: 1_000, per_gib_compute_minute: 1_024, ..Price::default() };
        Receipt {
            job: JobId([0; 16]),
            attempt: Attempt(1),
            client: key,
            node: key,
            gateway: key,
            spec: digest,
            module: digest,
            input: digest,
            output: digest,
            outcome: Outcome::Finished { exit_code: 0 },
            profile: Profile::Deterministic,
            meter: MeterId([0; 32]),
            engine: "test".into(),
            usage,
            gpu: None,
            times: NodeTimes::default(),
            price,
            cost: price.cost(&usage).unwrap(),
            salt: None,
        }
    }

    #[test]
    fn receipts_are_summed_per_node_and_in_all() {
        let receipts = [receipt(2, CM), receipt(1, 3 * CM), receipt(2, 2 * CM)];
        let invoice = Invoice::new(receipts.iter()).unwrap();
        let line = |tasks, minutes: u64| Line {
            tasks,
            fuel: Fuel(minutes * CM),
            memory_fuel: u128::from(minutes * CM) << 20,
            cost: Microcredits(minutes * 1_001),
        };
        let lines: Vec<_> = invoice.lines.iter().map(|(node, line)| (node.0[0], *line)).collect();
        assert_eq!(lines, [(1, line(1, 3)), (2, line(2, 3))]);
        assert_eq!(invoice.total, line(3, 6));
    }

    #[test]
    fn each_receipt_is_rounded_once_and_the_lines_still_add_up() {
        let receipts: Vec<_> = (0..7).map(|n| receipt(n % 3, 1)).collect();
        assert_eq!(Invoice::new(receipts.iter()).unwrap().total.cost, Microcredits(7));
    }

    #[test]
    fn cost_that_is_not_the_price_of_the_usage_is_found() {
        let mut dear = receipt(1, CM);
        dear.cost.0 += 1;
        let error = Invoice::new([&receipt(1, CM), &dear].into_iter()).unwrap_err().to_string();
        assert!(error.contains("0.002003 credits") && error.contains("0.002002 credits"), "{error}");
    }

    #[test]
    fn table_has_a_line_per_node_and_their_sum() {
        let table = Invoice::new([&receipt(0xab, CM), &receipt(0xcd, CM)].into_iter()).unwrap().to_string();
        let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["abababababababab", "1", "60.000", "Gfuel", "0.000977", "0.001001"]);
        assert_eq!(rows[2], ["all", "2", "120.000", "Gfuel", "0.001953", "0.002002"]);
    }

    #[test]
    fn object_keeps_every_digit() {
        let object = Invoice::new([&receipt(1, CM)].into_iter()).unwrap().to_json();
        let line = json!({ "tasks": 1, "fuel": CM, "memory_fuel": "62914560000000000", "microcredits": 1_001 });
        let mut node = line.clone();
        node["node"] = json!("01".repeat(32));
        assert_eq!(object, json!({ "nodes": [node], "total": line }));
    }
}
