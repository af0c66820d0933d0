//! `adit invoice`: what jobs cost, one by one and in all.

use std::collections::HashSet;
use std::io;

use adit_protocol::{Leaf, Microcredits, PublicKey, Settled, UnixMillis};
use clap::Args;
use serde::Serialize;

use crate::args::{Common, LinkArgs};
use crate::exit::Exit;
use crate::gpu::show_gpu_time;
use crate::link;
use crate::quantity::{parse_moment, show_time};
use crate::reactor::block_on;
use crate::report::short;
use crate::screen::Screen;
use crate::statement::{Fact, Period, facts, total};
use crate::table::{Table, print_json};

/// List what your jobs cost, each by its checked receipt, and the total
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit invoice --since 2026-11-01
  adit invoice --since 30d --csv > november.csv
  adit invoice --since 2026-11-01 --until 2026-12-01 --json | jq .total_microcredits

The total is the sum of the receipts, each of which is checked again. A job has one for each attempt
that was paid: one that its node's owner cut short, or that came second, does not end the job, and is
on a line of its own. The total is the last row, of the table and of the comma-separated values, with
`total` in the first column and the sum in the last; --json has it as total_microcredits. A month is told by the time of payment, in UTC. Exit code 23 where a receipt
does not hold.")]
pub(crate) struct InvoiceArgs {
    /// The first moment: a date, a time, or how long ago, as in 2026-11-01, 2026-11-01T12:00:00Z or 30d
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: UnixMillis,
    /// The first moment that is not in it any more [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<UnixMillis>,
    /// Print comma-separated values (RFC 4180), the total as the last row: leave that out of a sum over the column
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// A paid attempt of a job on an invoice.
#[derive(Clone, Debug, Serialize)]
struct Item {
    leaf: u64,
    settled: String,
    job: String,
    attempt: u32,
    /// Whether the job ended by it.
    ends_job: bool,
    node: String,
    outcome: &'static str,
    fuel: u64,
    memory_fuel: u128,
    bytes_in: u64,
    bytes_out: u64,
    gpu_ns: u64,
    gpu_class: Option<String>,
    gpu_dispatches: Option<u64>,
    gpu_bytes_moved: Option<u64>,
    gpu_comparison: Option<String>,
    cost_microcredits: u64,
}

/// The object of `adit invoice --json`.
#[derive(Debug, Serialize)]
struct Invoice {
    key: String,
    since: String,
    until: Option<String>,
    jobs: Vec<Item>,
    total_microcredits: u64,
}

pub(crate) fn run(args: &InvoiceArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let (key, facts) = block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let (key, facts) = (client.key(), facts(&client, 0).await);
        client.close().await;
        anyhow::Ok((key, facts?))
    })?;
    let period = Period { since: Some(args.since), until: args.until };
    let items = items(&facts, key, period);
    let total = total(items.iter().map(|item| Microcredits(item.cost_microcredits)))?;
    if args.json {
        let (since, until) = (show_time(args.since), args.until.map(show_time));
        print_json(&Invoice { key: key.to_string(), since, until, jobs: items, total_microcredits: total.0 })?;
    } else if args.csv {
        write_csv(io::stdout().lock(), &items, total)?;
    } else {
        table(&items, total).print()?;
        Screen::new(common.quiet).note(counts(&items));
    }
    Ok(Exit::Success)
}

/// What `key` pays for.
fn items(facts: &[Fact], key: PublicKey, period: Period) -> Vec<Item> {
    let item = |fact: &Fact| {
        let paid = fact.leaf.paid()?;
        let is_theirs = paid.receipt.receipt.client == key && period.holds(paid.time);
        is_theirs.then(|| Item::of(fact.index, paid, matches!(fact.leaf, Leaf::Settlement(_))))
    };
    facts.iter().filter_map(item).collect()
}

/// How many jobs are on an invoice, and how many attempts at them that did not end one.
fn counts(items: &[Item]) -> String {
    let jobs: HashSet<&str> = items.iter().map(|item| item.job.as_str()).collect();
    match items.iter().filter(|item| !item.ends_job).count() {
        0 => format!("{} jobs", jobs.len()),
        others => format!("{} jobs, {others} paid attempts that did not end theirs", jobs.len()),
    }
}

impl Item {
    fn of(leaf: u64, paid: &Settled, ends_job: bool) -> Self {
        let (receipt, usage) = (&paid.receipt.receipt, paid.receipt.receipt.usage);
        let gpu = receipt.gpu.as_ref();
        Self {
            leaf,
            settled: show_time(paid.time),
            job: receipt.job.to_string(),
            attempt: receipt.attempt.0,
            ends_job,
            node: receipt.node.to_string(),
            outcome: receipt.outcome.name(),
            fuel: usage.fuel.0,
            memory_fuel: usage.memory_fuel,
            bytes_in: usage.bytes_in.0,
            bytes_out: usage.bytes_out.0,
            gpu_ns: usage.gpu_ns,
            gpu_class: gpu.map(|run| run.class.clone()),
            gpu_dispatches: gpu.map(|run| run.dispatches),
            gpu_bytes_moved: gpu.map(|run| run.bytes_moved.0),
            gpu_comparison: gpu.map(|run| run.comparison.to_string()),
            cost_microcredits: receipt.cost.0,
        }
    }
}

/// What a node wrote, such that no spreadsheet takes it for a formula: it begins with an apostrophe then, which those leave out.
fn as_text(theirs: &str) -> String {
    if theirs.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{theirs}") } else { theirs.to_owned() }
}

fn write_csv(out: impl io::Write, items: &[Item], total: Microcredits) -> anyhow::Result<()> {
    const HEAD: [&str; 17] = [
        "leaf",
        "settled",
        "job",
        "attempt",
        "ends_job",
        "node",
        "outcome",
        "fuel",
        "memory_fuel",
        "bytes_in",
        "bytes_out",
        "gpu_ns",
        "gpu_class",
        "gpu_dispatches",
        "gpu_bytes_moved",
        "gpu_comparison",
        "cost_microcredits",
    ];
    let mut csv = csv::WriterBuilder::new().has_headers(false).terminator(csv::Terminator::CRLF).from_writer(out);
    csv.write_record(HEAD)?;
    for item in items {
        csv.serialize(Item { gpu_class: item.gpu_class.as_deref().map(as_text), ..item.clone() })?;
    }
    let mut last = [const { String::new() }; HEAD.len()];
    last[0] = "total".to_owned();
    last[HEAD.len() - 1] = total.0.to_string();
    csv.write_record(last)?;
    csv.flush()?;
    Ok(())
}

fn table(items: &[Item], total: Microcredits) -> Table<7> {
    let mut table = Table::new(["settled", "job", "node", "outcome", "fuel", "GPU", "cost"]);
    for item in items {
        table.push([
            item.settled.clone(),
            short(&item.job),
            short(&item.node),
            if item.ends_job { item.outcome.to_owned() } else { format!("{}, attempt {}", item.outcome, item.attempt) },
            adit_protocol::Fuel(item.fuel).to_string(),
            item.gpu_class.as_ref().map_or_else(|| "-".to_owned(), |_| show_gpu_time(item.gpu_ns)),
            Microcredits(item.cost_microcredits).to_string(),
        ]);
    }
    let [label, sum] = ["total".to_owned(), total.to_string()];
    let [job, node, outcome, fuel, gpu] = [const { String::new() }; 5];
    table.push([label, job, node, outcome, fuel, gpu, sum]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::tests::{good, partial};

    fn fact(index: u64, time: u64) -> Fact {
        let receipt = good().receipt.public();
        let held = receipt.receipt.cost;
        Fact { index, leaf: Leaf::Settlement(Box::new(Settled { receipt, held, fee: Microcredits(0), time: UnixMillis(time) })) }
    }

    #[test]
    fn invoice_has_the_jobs_of_its_time_and_its_payer() {
        let facts = [fact(4, 1_000), fact(5, 2_000), fact(6, 3_000)];
        let payer = good().receipt.receipt.client;
        let period = Period { since: Some(UnixMillis(2_000)), until: Some(UnixMillis(3_000)) };
        let leaves = |key| items(&facts, key, period).iter().map(|item| item.leaf).collect::<Vec<_>>();
        assert_eq!(leaves(payer), [5]);
        // What a node earned is no cost of its owner's.
        assert!(leaves(good().receipt.receipt.node).is_empty());
    }

    #[test]
    fn invoice_has_each_paid_attempt_and_the_sum_of_their_receipts() {
        let partial = partial().receipt.public();
        let (payer, cost) = (partial.receipt.client, good().receipt.receipt.cost.0 + partial.receipt.cost.0);
        let cut = Settled { held: partial.receipt.cost, receipt: partial, fee: Microcredits(0), time: UnixMillis(500) };
        let facts = [Fact { index: 3, leaf: Leaf::Attempt(Box::new(cut)) }, fact(4, 1_000)];
        let items = items(&facts, payer, Period::default());
        let lines: Vec<_> = items.iter().map(|item| (item.leaf, item.attempt, item.ends_job, item.outcome)).collect();
        assert_eq!(lines, [(3, 2, false, "preempted"), (4, 1, true, "finished")]);
        assert_eq!(total(items.iter().map(|item| Microcredits(item.cost_microcredits))).unwrap().0, cost);
        assert_eq!(counts(&items), "1 jobs, 1 paid attempts that did not end theirs");
        assert_eq!(counts(&items[1..]), "1 jobs");
    }

    #[test]
    fn csv_ends_in_the_total() {
        let facts = [fact(4, 1_000), fact(5, 2_000)];
        let items = items(&facts, good().receipt.receipt.client, Period::default());
        let cost = good().receipt.receipt.cost.0;
        let mut out = Vec::new();
        write_csv(&mut out, &items, Microcredits(2 * cost)).unwrap();
        let text = String::from_utf8(out).unwrap();
        // RFC 4180, section 2: each row, also the last, ends in CR and LF.
        let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
        assert!(lines.len() == 4 && lines.iter().all(|line| !line.contains(['\r', '\n'])), "{text:?}");
        assert!(lines[0].starts_with("leaf,settled,job,") && lines[0].ends_with(",cost_microcredits"));
        assert!(lines[1].starts_with("4,1970-01-01T00:00:01Z,") && lines[1].ends_with(&format!(",{cost}")));
        assert_eq!(lines[3], format!("total,,,,,,,,,,,,,,,,{}", 2 * cost));
    }

    #[test]
    fn csv_has_no_formula_that_a_node_wrote() {
        let facts = [fact(4, 1_000)];
        let mut items = items(&facts, good().receipt.receipt.client, Period::default());
        items[0].gpu_class = Some("=1+1".to_owned());
        let mut out = Vec::new();
        write_csv(&mut out, &items, Microcredits(0)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(",'=1+1,") && !text.contains(",=1+1"), "{text}");
        assert_eq!(as_text("discrete/maker/driver"), "discrete/maker/driver");
    }
}
