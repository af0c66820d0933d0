//! `adit ledger`: a gateway's ledger in its operator's hands.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use adit_client::Client;
use adit_ledger::{Account, DamageMark, Ledger, OpenError, RestoreError, TreeHead};
use adit_protocol::{Answer, PublicKey, Query};
use adit_transport::GatewayAddr;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::args::Common;
use crate::config::{Config, SERVE_DATA};
use crate::exit::{Exit, ProofError, RefusedError, UsageError, usage};
use crate::keys::Role;
use crate::link::{self, ask, existing_key, unexpected};
use crate::quantity::show_micros;
use crate::reactor::block_on;
use crate::screen::show_note;
use crate::table::{print_json, print_line};

/// Back up, restore or check a gateway's ledger (the gateway's operator)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit ledger backup                                  # of the gateway that runs, while it runs
  adit ledger backup --data /var/lib/adit --to today.redb    # of one that does not
  adit ledger restore today.redb --data /var/lib/adit
  adit ledger rebuild --check --data /var/lib/adit

A ledger that is older than the gateway's log must not be used: others have seen more. A gateway
asks its witnesses (--witness-policy) before it signs anything, and refuses where one of them has
seen a larger log.")]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Rebuild(RebuildArgs),
}

/// Copy a ledger as of one moment, beside a gateway that runs, or of one that does not, and check the copy
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit ledger backup                                       # into the gateway's backups/
  adit ledger backup --gateway 192.0.2.7:4433#6f1d5b… --key gateway.key
  adit ledger backup --data /var/lib/adit --to today.redb  # of one that does not run")]
struct BackupArgs {
    /// The gateway and the key it must prove; it puts the copy into backups/ of its data [env: ADIT_GATEWAY] [default: the running `adit up`]
    #[arg(long, value_name = "ADDR#KEY", conflicts_with_all = ["data", "to"])]
    gateway: Option<GatewayAddr>,
    /// The file with the gateway's own key [default: ~/.config/adit/gateway.key]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "to"])]
    key: Option<PathBuf>,
    /// The data of a gateway that does not run
    #[arg(long, value_name = "DIR", requires = "to")]
    data: Option<PathBuf>,
    /// The copy, a file that must not exist
    #[arg(long, value_name = "FILE", requires = "data")]
    to: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Put a backup in the place of a ledger, after all of it was checked. The gateway must not run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit ledger restore today.redb --data /var/lib/adit
  adit ledger restore today.redb --data /var/lib/adit --replace  # keeps what is there beside it

A gateway with witnesses that have seen more of its log than the backup has does not start.")]
struct RestoreArgs {
    /// The backup, which is only read
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// The gateway's data [env: ADIT_SERVE_DATA] [default: ~/.local/share/adit/gateway]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The file with the gateway's key [default: ~/.config/adit/gateway.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Move a ledger that is there aside, to ledger.redb.replaced-TIME
    #[arg(long)]
    replace: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Compute all balances and indexes again from the log alone, and compare them byte for byte. The gateway must not run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit ledger rebuild --check --data /var/lib/adit
  adit ledger rebuild --check --file today.redb --json

Exit code 0 where all is as the log makes it, 23 where it is not. A gateway that found damage before
starts reading only, for a file ledger.redb.damaged; a check that finds none takes that away.")]
struct RebuildArgs {
    /// Compare, and change nothing in it: the file is only read. One that fails is restored from a backup, so this must be given
    #[arg(long, required = true)]
    check: bool,
    /// The gateway's data [env: ADIT_SERVE_DATA] [default: ~/.local/share/adit/gateway]
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    data: Option<PathBuf>,
    /// A ledger's own file, such as a backup
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &LedgerArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    match &args.command {
        LedgerCommand::Backup(args) => backup(args, &config),
        LedgerCommand::Restore(args) => restore(args, &config),
        LedgerCommand::Rebuild(args) => rebuild(args, &config),
    }
}

fn backup(args: &BackupArgs, config: &Config) -> anyhow::Result<Exit> {
    let (path, leaves) = match (&args.data, &args.to) {
        (Some(data), Some(to)) => {
            let ledger = open(&ledger_file(data))?;
            let head = ledger.reader().backup(to).map_err(|error| match error.is_damage() {
                true => ProofError(error.to_string()).into(),
                false => anyhow::Error::from(error),
            })?;
            (to.display().to_string(), head.size)
        }
        _ => backup_of_running(args, config)?,
    };
    if args.json {
        print_json(&json!({ "file": path, "leaves": leaves }))?;
    } else {
        print_line(&format!("{path}: {leaves} leaves"))?;
    }
    Ok(Exit::Success)
}

/// Has the gateway make the copy, beside its ledger.
fn backup_of_running(args: &BackupArgs, config: &Config) -> anyhow::Result<(String, u64)> {
    let gateway = link::gateway(config, args.gateway.as_ref())?;
    let key = existing_key("gateway", &Role::Gateway.file(config, args.key.as_deref()))?;
    block_on(async {
        let client = Client::connect(key, gateway).await?;
        let answer = ask(&client, Query::Backup).await;
        client.close().await;
        match answer? {
            Answer::BackedUp { path, leaves } => Ok((path, leaves)),
            // What is damaged says so with what to do, and nothing else does.
            Answer::OrderRefused(why) if why.contains("restore a backup (adit ledger restore)") => bail!(ProofError(why)),
            Answer::OrderRefused(why) => bail!(RefusedError(why)),
            other => Err(unexpected(&other)),
        }
    })
}

fn restore(args: &RestoreArgs, config: &Config) -> anyhow::Result<Exit> {
    let gateway = existing_key("gateway", &Role::Gateway.file(config, args.key.as_deref()))?.public();
    let data = data(config, args.data.as_deref());
    fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
    let path = ledger_file(&data);
    if path.exists() && !args.replace {
        bail!(usage(format!("{} is there already; --replace moves it aside", path.display())));
    }
    let time = jiff::Timestamp::now().as_millisecond();
    let aside = path.exists().then(|| path.with_added_extension(format!("replaced-{time}")));
    let head = Ledger::restore(&args.backup, &path, gateway, aside.as_deref()).map_err(|error| match error {
        RestoreError::Backup { error: ref cause, .. } if cause.kind() == ErrorKind::NotFound => usage(error),
        RestoreError::Place { error: ref cause, .. } if cause.kind() == ErrorKind::WouldBlock => {
            usage(format!("ledger {} is open; stop the gateway first", path.display()))
        }
        RestoreError::Open(OpenError::ForeignGateway { .. }) => usage(format!("{error}; --key names the gateway's own key file")),
        RestoreError::Backup { .. } | RestoreError::Place { .. } => error.into(),
        error => ProofError(error.to_string()).into(),
    })?;
    let aside = aside.map(|aside| aside.display().to_string());
    if args.json {
        let (file, root) = (path.display().to_string(), hex::encode(head.root));
        print_json(&json!({ "file": file, "leaves": head.size, "root": root, "replaced": aside }))?;
    } else {
        print_line(&format!("{}: {} leaves, checked", path.display(), head.size))?;
        if let Some(aside) = aside {
            show_note(format!("the ledger that was there is {aside}"));
        }
        show_note("is it the newest? a gateway with --witness-policy asks its witnesses before it signs anything");
    }
    Ok(Exit::Success)
}

fn rebuild(args: &RebuildArgs, config: &Config) -> anyhow::Result<Exit> {
    let path = args.file.clone().unwrap_or_else(|| ledger_file(&data(config, args.data.as_deref())));
    let begun = Instant::now();
    let (gateway, head, accounts) = match check(&path) {
        Ok(checked) => checked,
        // A ledger that another process has, or that is not there, is no bad ledger.
        Err(error) if error.downcast_ref::<OpenError>().is_some_and(|error| !is_damage(error)) => return Err(error),
        Err(error) if error.is::<UsageError>() => return Err(error),
        Err(error) => {
            if args.json {
                print_json(&json!({ "file": path.display().to_string(), "sound": false, "reason": error.to_string() }))?;
            }
            return Err(ProofError(format!("{}: {error}", path.display())).into());
        }
    };
    let took = show_micros(begun.elapsed().as_micros() as u64);
    let mark = DamageMark::of(&path);
    if mark.clear().with_context(|| mark.path().display().to_string())? {
        show_note(format!("{} is gone: the gateway records again once it is started anew", mark.path().display()));
    }
    if args.json {
        let (file, root) = (path.display().to_string(), hex::encode(head.root));
        let gateway = gateway.to_string();
        print_json(
            &json!({ "file": file, "sound": true, "gateway": gateway, "leaves": head.size, "root": root, "accounts": accounts }),
        )?;
    } else {
        print_line(&format!(
            "{}: {} leaves, {accounts} accounts; what is kept is what the log says ({took})",
            path.display(),
            head.size
        ))?;
    }
    Ok(Exit::Success)
}

/// Reads every page of the ledger, folds its log, and compares. The last is how many accounts there are.
fn check(path: &Path) -> anyhow::Result<(PublicKey, TreeHead, usize)> {
    let ledger = Ledger::open_read_only(path).map_err(opening)?;
    let books = ledger.reader().check_books()?;
    let accounts = books.accounts().filter(|(account, _)| *account != Account::Issuer).count();
    Ok((ledger.gateway(), ledger.tree(), accounts))
}

fn is_damage(error: &OpenError) -> bool {
    match error {
        OpenError::AlreadyOpen { .. } | OpenError::Format { .. } => false,
        // What is there and is no database, is cut short, or is empty.
        OpenError::File { error, .. } => {
            matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof)
        }
        _ => true,
    }
}

fn open(path: &Path) -> anyhow::Result<Ledger> {
    Ledger::open_existing(path)
        .map_err(|error| if is_damage(&error) { ProofError(error.to_string()).into() } else { opening(error) })
}

fn opening(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::AlreadyOpen { .. } => usage(format!("{error}; stop the gateway first")),
        error => error.into(),
    }
}

fn data(config: &Config, asked: Option<&Path>) -> PathBuf {
    config.path_or(&SERVE_DATA, asked, config.dirs.data.join("gateway")).value
}

fn ledger_file(data: &Path) -> PathBuf {
    data.join("ledger.redb")
}
