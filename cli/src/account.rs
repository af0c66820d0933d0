//! `adit account` and `adit credit`: who has what.

use adit_client::Client;
use adit_protocol::{AccountStatus, Answer, Microcredits, Order, PublicKey, Query, TransferId};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::args::{Common, LinkArgs};
use crate::exit::{Exit, RefusedError};
use crate::link::{self, ask, unexpected};
use crate::quantity::parse_credits;
use crate::reactor::block_on;
use crate::table::{print_json, print_line};

/// Show what this key has with the gateway
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit account
  adit account --key ~/.config/adit/node.key      # what a node has earned
  adit account --json | jq .available_microcredits

What a job can cost at most is held while a node has it, and what it did not cost goes back when it ends.")]
pub(crate) struct AccountArgs {
    /// Print one JSON object
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

These are orders to the gateway, which takes them from whoever has its own key. An order has an id: the same id again is the same
order, and has no second effect, so that an order whose answer was lost can be given again.")]
pub(crate) struct CreditArgs {
    #[command(subcommand)]
    command: CreditCommand,
}

#[derive(Debug, Subcommand)]
enum CreditCommand {
    /// Make credits for a customer
    Grant(OrderArgs),
    /// Take credits from a node's owner, to whom they are paid elsewhere
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

pub(crate) fn account(args: &AccountArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
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
        let given = give(&client, order).await;
        client.close().await;
        // Whoever loses the answer must be able to give the same order again.
        let index = given.with_context(|| format!("order {id}; give it again with --id {id}"))?;
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
    match ask(client, Query::Order(order)).await? {
        Answer::Ordered(index) => Ok(index),
        Answer::OrderRefused(why) => Err(RefusedError(format!("the gateway does not carry out the order: {why}")).into()),
        other => Err(unexpected(&other)),
    }
}

/// A fresh order's id.
pub(crate) fn new_order() -> TransferId {
    TransferId(rand::random())
}
