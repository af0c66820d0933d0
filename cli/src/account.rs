//! `adit account` and `adit credit`: who has what.

use adit_client::Client;
use adit_protocol::limits::ANSWER_ROWS_MAX;
use adit_protocol::{
    AccountStatus, Answer, HoldStatus, Leaf, Microcredits, Order, PublicKey, Query, TransferId, UnixMillis, VoidReason,
};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::args::{Common, LinkArgs};
use crate::exit::{Exit, ProofError, RefusedError};
use crate::link::{self, ask, unexpected};
use crate::quantity::{parse_credits, parse_moment, show_time};
use crate::reactor::block_on;
use crate::report::short;
use crate::statement::{Fact, Period, earned, facts};
use crate::table::{Table, print_json, print_line};

/// Show what this key has with the gateway
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit account
  adit account --key ~/.config/adit/node.key      # what a node has earned
  adit account --json | jq .available_microcredits
  adit account --statement --since 30d            # every leaf of the gateway's log about this key
  adit account --holds                            # what is held, for which jobs

What a job can cost at most is held while a node has it, and what it did not cost goes back when
it ends.")]
pub(crate) struct AccountArgs {
    /// Show all that was moved instead: grants, settled jobs, holds that came back, payouts
    #[arg(long)]
    statement: bool,
    /// Show what is held instead, by job
    #[arg(long, conflicts_with = "statement")]
    holds: bool,
    /// With --statement, the first moment: a date, a time, or how long ago, as in 2026-11-01 or 30d [default: the beginning]
    #[arg(long, value_name = "TIME", requires = "statement", value_parser = parse_moment)]
    since: Option<UnixMillis>,
    /// Print one JSON object; with --statement or --holds one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Make credits, or pay them out (the gateway's operator)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit credit grant CUSTOMER_KEY 25 --key ~/.config/adit/gateway.key
  adit credit payout NODE_KEY 3.5 --key ~/.config/adit/gateway.key --id 00112233445566778899aabbccddeeff

These are orders to the gateway, which takes them from whoever has its own key. An order has an
id: the same id again is the same order, and has no second effect, so that an order whose answer
was lost can be given again.")]
pub(crate) struct CreditArgs {
    #[command(subcommand)]
    command: CreditCommand,
}

#[derive(Debug, Subcommand)]
enum CreditCommand {
    /// Make credits for a customer
    #[command(after_help = "\
Examples:
  adit credit grant CUSTOMER_KEY 25 --key ~/.config/adit/gateway.key
  adit credit grant CUSTOMER_KEY 25 --key gateway.key --id 00112233445566778899aabbccddeeff

The same id again moves nothing more.")]
    Grant(OrderArgs),
    /// Take credits from a node's owner, to whom they are paid elsewhere
    #[command(after_help = "\
Examples:
  adit credit payout NODE_KEY 3.5 --key ~/.config/adit/gateway.key
  adit credit payout NODE_KEY 3.5 --key gateway.key --id 00112233445566778899aabbccddeeff

The same id again moves nothing more.")]
    Payout(OrderArgs),
}

#[derive(Debug, Args)]
struct OrderArgs {
    /// The public key, as `adit key show` prints it
    #[arg(value_name = "KEY")]
    whose: PublicKey,
    /// How many credits, with at most six decimals
    #[arg(value_name = "CREDITS", value_parser = parse_credits)]
    amount: Microcredits,
    /// The order's id [default: a fresh one, which is printed, also where the order fails]
    #[arg(long, value_name = "ID")]
    id: Option<TransferId>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// The object of `adit account --json`.
#[derive(Debug, Serialize)]
struct AccountReport {
    key: String,
    available_microcredits: u64,
    held_microcredits: u64,
    earned_microcredits: u64,
}

/// An object of `adit account --statement --json`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct StatementLine {
    leaf: u64,
    time: String,
    what: &'static str,
    /// A job or an order.
    of: String,
    /// What it did to the credits that can be spent, or to those that were earned.
    spendable_microcredits: i128,
    earned_microcredits: i128,
}

/// An object of `adit account --holds --json`.
#[derive(Debug, Serialize)]
struct HoldLine {
    job: String,
    held_microcredits: u64,
    expires: String,
}

pub(crate) fn account(args: &AccountArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    if args.statement || args.holds {
        return block_on(async {
            let client = link::connect(&config, &args.link).await?;
            let shown = if args.statement { statement(&client, args).await } else { holds(&client, args).await };
            client.close().await;
            shown.map(|()| Exit::Success)
        });
    }
    block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let status = match ask(&client, Query::Account).await? {
            Answer::Account(status) => status,
            other => return Err(unexpected(&other)),
        };
        let key = client.key();
        client.close().await;
        show(&status, key, args.json)?;
        Ok(Exit::Success)
    })
}

fn show(status: &AccountStatus, key: PublicKey, json: bool) -> anyhow::Result<()> {
    let AccountStatus { available, held, earned } = *status;
    if json {
        return print_json(&AccountReport {
            key: key.to_string(),
            available_microcredits: available.0,
            held_microcredits: held.0,
            earned_microcredits: earned.0,
        });
    }
    print_line(&format!("key        {key}"))?;
    print_line(&format!("available  {available}"))?;
    print_line(&format!("held       {held}, for jobs that have not ended"))?;
    print_line(&format!("earned     {earned}, as a node"))
}

async fn statement(client: &Client, args: &AccountArgs) -> anyhow::Result<()> {
    let period = Period { since: args.since, until: None };
    let facts = facts(client, 0).await?;
    let lines =
        facts.iter().filter(|fact| period.holds(fact.leaf.time())).filter_map(|fact| StatementLine::of(fact, client.key()));
    if args.json {
        return lines.into_iter().try_for_each(|line| print_json(&line));
    }
    let mut table = Table::new(["leaf", "time", "what", "of", "spendable", "earned"]);
    for line in lines {
        let StatementLine { leaf, time, what, of, spendable_microcredits, earned_microcredits } = line;
        let (spendable, earned) = (signed(spendable_microcredits), signed(earned_microcredits));
        table.push([leaf.to_string(), time, what.to_owned(), short(of), spendable, earned]);
    }
    Ok(table.print()?)
}

impl StatementLine {
    /// What a leaf is to `key`; nothing where it is nothing to it.
    fn of(fact: &Fact, key: PublicKey) -> Option<Self> {
        let amount = |amount: Microcredits| i128::from(amount.0);
        let (what, of, spendable_microcredits, earned_microcredits) = match &fact.leaf {
            Leaf::Grant(grant) => ("granted", grant.id.to_string(), amount(grant.amount), 0),
            Leaf::Payout(payout) => ("paid out", payout.id.to_string(), 0, -amount(payout.amount)),
            Leaf::Void(voided) => (void_word(voided.reason), voided.job.to_string(), 0, 0),
            Leaf::Settlement(settled) | Leaf::Attempt(settled) => {
                let receipt = &settled.receipt.receipt;
                let spent = if receipt.client == key { -amount(receipt.cost) } else { 0 };
                let earned = if receipt.node == key { amount(earned(settled)) } else { 0 };
                let what = if matches!(fact.leaf, Leaf::Settlement(_)) { "settled" } else { "attempt paid" };
                (what, receipt.job.to_string(), spent, earned)
            }
            Leaf::Terms(_) => return None,
        };
        let time = show_time(fact.leaf.time());
        Some(Self { leaf: fact.index, time, what, of, spendable_microcredits, earned_microcredits })
    }
}

fn void_word(reason: VoidReason) -> &'static str {
    match reason {
        VoidReason::Refused => "given back: refused",
        VoidReason::Cancelled => "given back: cancelled",
        VoidReason::NodesLost => "given back: nodes lost",
        VoidReason::Expired => "given back: expired",
        VoidReason::Restarted => "given back: the gateway was restarted",
    }
}

/// Credits that were added, or taken.
fn signed(amount: i128) -> String {
    let sign = match amount.signum() {
        1 => "+",
        -1 => "-",
        _ => return "0".to_owned(),
    };
    let credits = amount.unsigned_abs();
    format!("{sign}{}.{:06}", credits / 1_000_000, credits % 1_000_000)
}

async fn holds(client: &Client, args: &AccountArgs) -> anyhow::Result<()> {
    let mut page = hold_page(client, Query::Holds).await?;
    let mut table = Table::new(["job", "held", "given back at the latest"]);
    loop {
        for HoldStatus { job, amount, expires } in &page {
            let (job, expires) = (job.to_string(), show_time(*expires));
            if args.json {
                print_json(&HoldLine { job, held_microcredits: amount.0, expires })?;
            } else {
                table.push([job, amount.to_string(), expires]);
            }
        }
        let Some(HoldStatus { expires, job, .. }) = page.last().copied().filter(|_| page.len() >= ANSWER_ROWS_MAX) else { break };
        page = hold_page(client, Query::HoldsAfter { expires, job }).await?;
        // One that is told again would be told for ever.
        if page.first().is_some_and(|next| (next.expires, next.job) <= (expires, job)) {
            bail!(ProofError("the gateway tells of holds that it told of before".to_owned()));
        }
    }
    if !args.json {
        table.print()?;
    }
    Ok(())
}

/// A page of holds, in order.
async fn hold_page(client: &Client, query: Query) -> anyhow::Result<Vec<HoldStatus>> {
    match ask(client, query).await? {
        Answer::Holds(holds) if holds.is_sorted_by_key(|hold| (hold.expires, hold.job)) => Ok(holds),
        Answer::Holds(_) => Err(ProofError("the gateway tells of holds out of order".to_owned()).into()),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn credit(args: &CreditArgs, common: &Common) -> anyhow::Result<Exit> {
    let (args, is_grant) = match &args.command {
        CreditCommand::Grant(args) => (args, true),
        CreditCommand::Payout(args) => (args, false),
    };
    let config = common.load_config()?;
    let (id, amount) = (args.id.unwrap_or_else(new_order), args.amount);
    let order = match is_grant {
        true => Order::Grant { id, customer: args.whose, amount },
        false => Order::Payout { id, owner: args.whose, amount },
    };
    block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let outcome = outcome(&client, order).await;
        client.close().await;
        // Whoever loses the answer must be able to give the same order again; one that was refused would be refused again.
        let outcome = outcome.with_context(|| format!("order {id}; give it again with --id {id}"))?;
        let index = outcome.with_context(|| format!("order {id}"))?;
        if args.json {
            let report = serde_json::json!({ "order": id.to_string(), "leaf": index, "amount_microcredits": amount.0 });
            print_json(&report)?;
        } else {
            let what = if is_grant { "granted to" } else { "paid out of" };
            print_line(&format!("{amount} {what} {}: order {id}, leaf {index} of the gateway's log", args.whose))?;
        }
        Ok(Exit::Success)
    })
}

/// Gives an order, and waits until it is durable. The index of its leaf.
pub(crate) async fn give(client: &Client, order: Order) -> anyhow::Result<u64> {
    Ok(outcome(client, order).await??)
}

/// The index of an order's leaf, or why it is not carried out. An error where the gateway does not say which.
async fn outcome(client: &Client, order: Order) -> anyhow::Result<Result<u64, RefusedError>> {
    match ask(client, Query::Order(order)).await? {
        Answer::Ordered(index) => Ok(Ok(index)),
        Answer::OrderRefused(why) => Ok(Err(RefusedError(format!("the gateway does not carry out the order: {why}")))),
        other => Err(unexpected(&other)),
    }
}

/// A fresh order's id.
pub(crate) fn new_order() -> TransferId {
    TransferId(rand::random())
}
