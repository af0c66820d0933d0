//! `adit gateway token`: the tokens that nodes join with.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_gateway::{JoinToken, JoinTokens, JoinedNode, NewToken, Revoked, TokenError};
use adit_protocol::UnixMillis;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::args::Common;
use crate::config::{Config, SERVE_DATA};
use crate::exit::{Exit, usage};
use crate::quantity::{parse_lasting, show_time};
use crate::screen::show_note;
use crate::table::{Table, print_json, print_line};

/// Make, list and revoke the tokens that nodes join with (the gateway's operator)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit gateway token new                            # for one node
  adit gateway token new --uses 20 --expires 24h
  adit gateway token list
  adit gateway token revoke 1f2e3d4c                # nobody joins by it any more; who did, stays
  adit gateway token revoke NODE_KEY                # this node must leave

The gateway need not be stopped for it. A node that has joined once is let in by its key. Only a
hash of each token is kept, beside the ledger: a token that is lost is revoked, and another made.")]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    New(NewArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

/// Make a token and print it; it is shown this once
#[derive(Debug, Args)]
struct NewArgs {
    /// How many nodes may join by it
    #[arg(long, value_name = "N", default_value = "1")]
    uses: NonZeroU32,
    /// How long it is good for [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = parse_lasting)]
    expires: Option<Duration>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// List tokens, and the nodes that joined by them
#[derive(Debug, Args)]
struct ListArgs {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Take a token back, or a node's leave to join
#[derive(Debug, Args)]
struct RevokeArgs {
    /// The name of a token, 8 hexadecimal digits, or the key of a node
    #[arg(value_name = "TOKEN|NODE")]
    what: String,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// The gateway's data [env: ADIT_SERVE_DATA] [default: ~/.local/share/adit/gateway]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl PlaceArgs {
    fn tokens(&self, config: &Config) -> JoinTokens {
        JoinTokens::of_gateway(&config.path_or(&SERVE_DATA, self.data.as_deref(), config.dirs.data.join("gateway")).value)
    }
}

/// A line of `adit gateway token list --json`.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Token { token: String, uses: u32, used: u32, made: String, expires: Option<String>, good: bool },
    Node { node: String, token: String, joined: String },
}

pub(crate) fn run(args: &TokenArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    match &args.command {
        TokenCommand::New(args) => new(args, &args.place.tokens(&config)),
        TokenCommand::List(args) => list(args, &args.place.tokens(&config)),
        TokenCommand::Revoke(args) => revoke(&args.what, &args.place.tokens(&config), common.quiet),
    }
}

fn new(args: &NewArgs, tokens: &JoinTokens) -> anyhow::Result<Exit> {
    print_line(&tokens.make(&NewToken { uses: args.uses.get(), expires_in: args.expires }, now())?)?;
    Ok(Exit::Success)
}

fn list(args: &ListArgs, tokens: &JoinTokens) -> anyhow::Result<Exit> {
    let (file, now) = (tokens.list()?, now());
    if args.json {
        for line in file.tokens.iter().map(|token| Line::of_token(token, now)).chain(file.nodes.iter().map(Line::of_node)) {
            print_json(&line)?;
        }
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["TOKEN", "USED", "MADE", "EXPIRES"]);
    for token in &file.tokens {
        table.push([token.id.clone(), show_uses(token), shown(token.made), show_expiry(token, now)]);
    }
    table.print()?;
    if !file.nodes.is_empty() {
        print_line("")?;
        let mut table = Table::new(["NODE", "TOKEN", "JOINED"]);
        for joined in &file.nodes {
            table.push([joined.node.to_string(), joined.token.clone(), shown(joined.joined)]);
        }
        table.print()?;
    }
    Ok(Exit::Success)
}

fn show_uses(token: &JoinToken) -> String {
    let mark = if token.used >= token.uses { " (used up)" } else { "" };
    format!("{} of {}{mark}", token.used, token.uses)
}

fn show_expiry(token: &JoinToken, now: UnixMillis) -> String {
    match token.expires {
        None => "never".to_owned(),
        Some(time) if now.0 >= time => format!("{} (expired)", shown(time)),
        Some(time) => shown(time),
    }
}

fn revoke(what: &str, tokens: &JoinTokens, quiet: bool) -> anyhow::Result<Exit> {
    let revoked = match tokens.revoke(what) {
        Err(TokenError::Unknown) => return Err(usage(format!("`{what}` names no join token and no node that joined by one"))),
        revoked => revoked?,
    };
    if !quiet {
        show_note(match revoked {
            Revoked::Token => "revoked; nodes that joined by it stay: `adit gateway token list`",
            Revoked::Node => "revoked; the node has to leave, and needs another token to come back",
        });
    }
    Ok(Exit::Success)
}

impl Line {
    fn of_token(token: &JoinToken, now: UnixMillis) -> Self {
        Self::Token {
            token: token.id.clone(),
            uses: token.uses,
            used: token.used,
            made: shown(token.made),
            expires: token.expires.map(shown),
            good: !token.is_over(now),
        }
    }

    fn of_node(joined: &JoinedNode) -> Self {
        Self::Node { node: joined.node.to_string(), token: joined.token.clone(), joined: shown(joined.joined) }
    }
}

fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}

fn shown(millis: u64) -> String {
    show_time(UnixMillis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_that_nobody_can_join_by_any_more_is_marked() {
        let token = |used: u32, expires: Option<u64>| -> JoinToken {
            let kept = serde_json::json!({
                "id": "1f2e3d4c", "hash": "", "uses": 2, "used": used, "made": 0, "expires": expires,
            });
            serde_json::from_value(kept).unwrap()
        };
        let row = |token: JoinToken| (show_uses(&token), show_expiry(&token, UnixMillis(5_000)));
        let want = |uses: &str, expires: &str| (uses.to_owned(), expires.to_owned());
        assert_eq!(row(token(1, None)), want("1 of 2", "never"));
        assert_eq!(row(token(2, Some(6_000))), want("2 of 2 (used up)", "1970-01-01T00:00:06Z"));
        assert_eq!(row(token(0, Some(5_000))), want("0 of 2", "1970-01-01T00:00:05Z (expired)"));
    }
}
