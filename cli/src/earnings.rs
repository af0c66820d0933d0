//! `adit node earnings`: what a node's owner was paid, attempt by attempt, and why for some nothing.

use std::path::PathBuf;

use adit_client::Client;
use adit_protocol::{Answer, Leaf, Microcredits, PublicKey, Query, UnixMillis, UnpaidAttempt};
use adit_transport::GatewayAddr;
use clap::Args;
use serde::Serialize;

use crate::args::Common;
use crate::exit::Exit;
use crate::keys::Role;
use crate::link::{self, ask, existing_key, unexpected};
use crate::quantity::{parse_moment, show_time};
use crate::reactor::block_on;
use crate::report::short;
use crate::screen::Screen;
use crate::statement::{Fact, Period, earned, facts, total, unpaid};
use crate::table::{Table, print_json};

/// Show what a node earned, attempt by attempt, what was paid out, and what was not paid and why
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit node earnings
  adit node earnings --since 7d --json | jq -s 'map(.earned_microcredits // 0) | add'
  adit node earnings --key /var/lib/adit/node.key --gateway gateway.example:4433#6f1d5b…

Each payment stands in the gateway's public log with the receipt that this node signed. The last row
has the total of those that are listed, and what is not paid out yet. The newest 1,000 unpaid attempts
are kept.")]
pub(crate) struct EarningsArgs {
    /// The gateway and the key it must prove [env: ADIT_GATEWAY] [default: the running `adit up`]
    #[arg(long, value_name = "ADDR#KEY")]
    gateway: Option<GatewayAddr>,
    /// The file with the node's key [env: ADIT_NODE_KEY] [default: ~/.config/adit/node.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The first moment: a date, a time, or how long ago, as in 2026-11-01 or 7d [default: the beginning]
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<UnixMillis>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// An object of `adit node earnings --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Paid {
        time: String,
        leaf: u64,
        job: String,
        attempt: u32,
        /// Whether the job ended by it; else its owner took the machine back, or another attempt came first.
        ends_job: bool,
        outcome: &'static str,
        cost_microcredits: u64,
        fee_microcredits: u64,
        earned_microcredits: u64,
    },
    Unpaid {
        time: String,
        job: String,
        attempt: u32,
        reason: String,
    },
    PaidOut {
        time: String,
        leaf: u64,
        order: String,
        amount_microcredits: u64,
    },
}

pub(crate) fn run(args: &EarningsArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let gateway = link::gateway(&config, args.gateway.as_ref())?;
    let key = existing_key("node", &Role::Node.file(&config, args.key.as_deref()))?;
    let node = key.public();
    let (facts, unpaid, left) = block_on(async {
        let client = Client::connect(key, gateway).await?;
        let read = async { Ok((facts(&client, 0).await?, unpaid(&client).await?, left(&client).await?)) };
        let read: anyhow::Result<_> = read.await;
        client.close().await;
        read
    })?;
    let period = Period { since: args.since, until: None };
    let lines = lines(&facts, &unpaid, node, period);
    if args.json {
        lines.iter().try_for_each(print_json)?;
    } else {
        let paid = lines.iter().filter_map(|line| match line {
            Line::Paid { earned_microcredits, .. } => Some(Microcredits(*earned_microcredits)),
            Line::Unpaid { .. } | Line::PaidOut { .. } => None,
        });
        table(&lines, total(paid)?, left).print()?;
        let count = lines.iter().filter(|line| matches!(line, Line::Unpaid { .. })).count();
        Screen::new(common.quiet).note(format!("{count} attempts unpaid"));
    }
    Ok(Exit::Success)
}

/// What the key has earned and was not paid out.
async fn left(client: &Client) -> anyhow::Result<Microcredits> {
    match ask(client, Query::Account).await? {
        Answer::Account(status) => Ok(status.earned),
        other => Err(unexpected(&other)),
    }
}

/// What concerns the owner of `node`, in order of time.
fn lines(facts: &[Fact], unpaid: &[UnpaidAttempt], node: PublicKey, period: Period) -> Vec<Line> {
    let paid = facts.iter().filter_map(|Fact { index, leaf }| {
        let line = match leaf {
            Leaf::Settlement(settled) | Leaf::Attempt(settled) if settled.receipt.receipt.node == node => Line::Paid {
                time: show_time(settled.time),
                leaf: *index,
                job: settled.receipt.receipt.job.to_string(),
                attempt: settled.receipt.receipt.attempt.0,
                ends_job: matches!(leaf, Leaf::Settlement(_)),
                outcome: settled.receipt.receipt.outcome.name(),
                cost_microcredits: settled.receipt.receipt.cost.0,
                fee_microcredits: settled.fee.0,
                earned_microcredits: earned(settled).0,
            },
            Leaf::Payout(payout) => Line::PaidOut {
                time: show_time(payout.time),
                leaf: *index,
                order: payout.id.to_string(),
                amount_microcredits: payout.amount.0,
            },
            _ => return None,
        };
        Some((leaf.time(), line))
    });
    let unpaid = unpaid.iter().map(|UnpaidAttempt { job, attempt, time, reason }| {
        let line = Line::Unpaid { time: show_time(*time), job: job.to_string(), attempt: attempt.0, reason: reason.clone() };
        (*time, line)
    });
    let mut lines: Vec<(UnixMillis, Line)> = paid.chain(unpaid).filter(|(time, _)| period.holds(*time)).collect();
    lines.sort_by_key(|(time, _)| *time);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The lines, and the total: what was earned by these, and what of all that was ever earned is `left` to be paid out.
fn table(lines: &[Line], earned: Microcredits, left: Microcredits) -> Table<4> {
    let mut table = Table::new(["time", "job", "earned", "what"]);
    for line in lines {
        table.push(match line {
            Line::Paid { time, job, attempt, ends_job, outcome, earned_microcredits, fee_microcredits, .. } => {
                let fee = Microcredits(*fee_microcredits);
                let how = if *ends_job { (*outcome).to_owned() } else { format!("{outcome}, attempt {attempt}") };
                [
                    time.clone(),
                    short(job),
                    Microcredits(*earned_microcredits).to_string(),
                    format!("{how}; the gateway kept {fee}"),
                ]
            }
            Line::Unpaid { time, job, attempt, reason } => {
                [time.clone(), short(job), "-".to_owned(), format!("not paid: attempt {attempt}: {reason}")]
            }
            Line::PaidOut { time, order, amount_microcredits, .. } => {
                let amount = Microcredits(*amount_microcredits);
                [time.clone(), "-".to_owned(), "-".to_owned(), format!("{amount} paid out by order {}", short(order))]
            }
        });
    }
    table.push(["total".to_owned(), "-".to_owned(), earned.to_string(), format!("{left} not paid out yet")]);
    table
}

#[cfg(test)]
mod tests {
    use adit_protocol::{Attempt, JobId, Payout, Settled, TransferId};

    use super::*;
    use crate::proof::tests::{good, partial};

    #[test]
    fn owner_sees_what_was_paid_and_why_not_in_order_of_time() {
        let receipt = good().receipt.public();
        let (node, held) = (receipt.receipt.node, receipt.receipt.cost);
        let settled = Settled { receipt, held, fee: Microcredits(1), time: UnixMillis(2_000) };
        let payout = Payout { id: TransferId([1; 16]), owner: node, amount: Microcredits(5), time: UnixMillis(4_000) };
        let cut = Settled { receipt: partial().receipt.public(), time: UnixMillis(1_600), ..settled.clone() };
        let facts = [
            Fact { index: 3, leaf: Leaf::Attempt(Box::new(cut)) },
            Fact { index: 4, leaf: Leaf::Settlement(Box::new(settled)) },
            Fact { index: 5, leaf: Leaf::Payout(payout) },
        ];
        let attempt = |time, reason: &str| UnpaidAttempt {
            job: JobId([7; 16]),
            attempt: Attempt(1),
            time: UnixMillis(time),
            reason: reason.to_owned(),
        };
        let unpaid = [attempt(1_000, "too early"), attempt(3_000, "lost")];
        let lines = lines(&facts, &unpaid, node, Period { since: Some(UnixMillis(1_500)), until: None });
        assert!(matches!(&lines[0], Line::Paid { leaf: 3, attempt: 2, ends_job: false, outcome: "preempted", .. }));
        let is_paid = |line: &Line| matches!(line, Line::Paid { earned_microcredits, .. } if *earned_microcredits == held.0 - 1);
        assert!(is_paid(&lines[0]) && is_paid(&lines[1]));
        assert!(matches!(&lines[1], Line::Paid { leaf: 4, attempt: 1, ends_job: true, .. }));
        assert!(matches!(&lines[2], Line::Unpaid { reason, .. } if reason == "lost"));
        assert!(matches!(&lines[3], Line::PaidOut { leaf: 5, amount_microcredits: 5, .. }));
        assert_eq!(lines.len(), 4);
    }
}
