//! `adit log`: a gateway's public log, checked by whoever wants to.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use adit_ledger::{Account, TreeHead};
use adit_protocol::{ByteCount, Microcredits, PublicKey};
use adit_tlog::{
    ExportError, FsckError, LeafCounts, LogEvidence, MirrorRules, Misbehaviour, Report, Seen, SourceError, UnkeptEvidence, Watch,
    WatchError, export, fsck, open_source, parse_log_key,
};
use anstyle::{AnsiColor, Style};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Common;
use crate::exit::{Exit, ProofError, usage};
use crate::quantity::{parse_bytes, parse_duration, show_bytes, show_time};
use crate::screen::{describe, show_error, show_note};
use crate::table::{Table, print_json, print_line};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Check a gateway's public log: all of it, or that it only grows
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit log fsck https://log.example/adit --gateway-key 6f1d5b…   # every leaf, balance and signature
  adit log watch https://log.example/adit --gateway-key 6f1d5b…  # that it is never rewritten
  adit log mirror https://log.example/adit copy && adit log fsck copy --gateway-key 6f1d5b…
  adit log check-evidence evidence-….json

A log is everything that moved money at a gateway, as c2sp.org/tlog-tiles has it served. Nothing that
a log says is believed: `fsck` computes all of it again from the leaves.")]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    Fsck(FsckArgs),
    Watch(WatchArgs),
    Mirror(MirrorArgs),
    CheckEvidence(EvidenceArgs),
}

/// Check all of a log: its tree, its rules, its balances and every node's signature
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit log fsck https://log.example/adit --gateway-key 6f1d5b…
  adit log fsck copy --gateway-key 6f1d5b… --balances
  adit log fsck copy --gateway-key 6f1d5b… --json | jq .faults

Where its checkpoint is missing or is not the gateway's word, there is nothing to hold it to, and no
leaf is read.

Exit code 0 where the log is sound, 23 where it is not, 1 where it cannot be read to its end and
nothing is wrong before.")]
struct FsckArgs {
    /// The log: a URL prefix, or the folder of a mirror
    #[arg(value_name = "URL|DIR")]
    log: String,
    #[command(flatten)]
    gateway: GatewayKeyArgs,
    /// Show what each account has
    #[arg(long)]
    balances: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Follow a log, and keep the proof where the gateway rewrites it or shows two
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit log watch https://log.example/adit --gateway-key 6f1d5b…
  adit log watch https://log.example/adit --gateway-key 6f1d5b… --once || mail -s alarm me

Each new checkpoint must continue the last one that was accepted, which is remembered in the state
file. Two that do not agree are a proof, in a file beside it, that anybody can check with
`adit log check-evidence`; where the file cannot be written, the proof is printed. A smaller tree
than before proves nothing by itself; it is told and kept.

Exit code 23 where the gateway misbehaved, or with --once where the log proves nothing; 1 with
--once where it cannot be read or went back.")]
struct WatchArgs {
    /// The log: a URL prefix, or a folder
    #[arg(value_name = "URL|DIR")]
    log: String,
    #[command(flatten)]
    gateway: GatewayKeyArgs,
    /// Where the last accepted checkpoint is kept [default: ~/.local/state/adit/logs/KEY/checkpoint]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// How long to wait between two looks, at least 1s
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "10s")]
    interval: Duration,
    /// Look once, and end
    #[arg(long)]
    once: bool,
    /// Print one JSON object for each look that shows something new
    #[arg(long)]
    json: bool,
}

/// Copy a log to a folder, which any web server can serve
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit log mirror https://log.example/adit copy --gateway-key 6f1d5b…
  adit log mirror https://log.example/adit copy && adit log fsck copy --gateway-key 6f1d5b…
  adit log mirror https://log.example/adit copy --gateway-key 6f1d5b… --max-bytes 500GB

Each tile and bundle is checked against the root in the checkpoint before it is kept, and the
checkpoint's signature where a key is given; the rules of the leaves, only `adit log fsck` checks.
The whole copy is read and checked each time; what is there already and right is not fetched again.

With a key, a copy is only ever continued: where the log went back, or begins with other leaves than
the gateway signed before, the copy stays as it was. Without, nothing that is there and whole is
replaced by another.

Exit code 23 where the log is not what its checkpoint says or does not continue the copy, 1 where it
cannot be read or copied.")]
struct MirrorArgs {
    /// The log: a URL prefix, or a folder
    #[arg(value_name = "URL|DIR")]
    log: String,
    /// The copy
    dir: PathBuf,
    /// The gateway whose log it must be: its key, or its log's verifier key
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    gateway_key: Option<PublicKey>,
    /// How many bytes the copy may have, with what is there of it already
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "64GiB")]
    max_bytes: ByteCount,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Check, offline, what `adit log watch` kept as a proof
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit log check-evidence evidence-….json
  adit log check-evidence evidence-….json --gateway-key 6f1d5b…

Exit code 0 where it proves that the gateway misbehaved, 23 where it proves nothing, 1 where the file
cannot be read.")]
struct EvidenceArgs {
    /// The evidence
    file: PathBuf,
    /// The gateway that it must be about: its key, or its log's verifier key
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    gateway_key: Option<PublicKey>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct GatewayKeyArgs {
    /// The gateway whose log it must be: its key, or its log's verifier key (adit/KEY+ID+…)
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    gateway_key: PublicKey,
}

fn parse_key(text: &str) -> Result<PublicKey, String> {
    parse_log_key(text).ok_or_else(|| "neither a public key, 64 hex digits, nor a log's verifier key".to_owned())
}

/// Least pause between two looks: a log's server is not ours to keep busy.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        interval if interval < INTERVAL_MIN => Err("a log is looked at once a second at most: give 1s or more".to_owned()),
        interval => Ok(interval),
    }
}

pub(crate) fn run(args: &LogArgs, common: &Common) -> anyhow::Result<Exit> {
    match &args.command {
        LogCommand::Fsck(args) => run_fsck(args, common),
        LogCommand::Watch(args) => run_watch(args, common),
        LogCommand::Mirror(args) => run_mirror(args, common),
        LogCommand::CheckEvidence(args) => run_check_evidence(args),
    }
}

fn run_fsck(args: &FsckArgs, common: &Common) -> anyhow::Result<Exit> {
    let source = open_source(&args.log).map_err(usage)?;
    let bar = progress_bar(common.quiet);
    let checked = fsck(&*source, &args.gateway.gateway_key, |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = match checked {
        Ok(report) => report,
        Err(error) => return Err(uncheckable(args, error)?),
    };
    if args.json {
        print_json(&FsckReport::of(&report))?;
    } else {
        show_report(&report, args)?;
    }
    if let Some(error) = report.unread {
        show_error(&unread(args, error));
        return Ok(if report.faults.is_empty() { Exit::Failed } else { Exit::BadProof });
    }
    Ok(if report.faults.is_empty() { Exit::Success } else { Exit::BadProof })
}

/// Why nothing of a log could be checked, which is the log's fault unless its checkpoint cannot be reached.
fn uncheckable(args: &FsckArgs, error: FsckError) -> anyhow::Result<anyhow::Error> {
    let (faults, missed) = match &error {
        FsckError::Source(missed) if !missed.is_fault() => (vec![], Some(missed.to_string())),
        fault => (vec![fault.to_string()], None),
    };
    if args.json {
        print_json(&json!({ "sound": missed.is_none().then_some(false), "faults": faults, "unread": missed }))?;
    }
    Ok(match error {
        FsckError::Source(missed) if !missed.is_fault() => unread(args, missed),
        fault => ProofError(format!("log {}: {fault}", args.log)).into(),
    })
}

fn unread(args: &FsckArgs, error: SourceError) -> anyhow::Error {
    anyhow::Error::from(error).context(format!("log {}", args.log))
}

fn show_report(report: &Report, args: &FsckArgs) -> anyhow::Result<()> {
    let LeafCounts { terms, grants, settlements, voids, payouts, attempts } = report.leaves;
    print_line(&format!("log        {} leaves, root {}", report.head.size, hex::encode(report.head.root)))?;
    print_line(&format!(
        "leaves     {terms} terms, {grants} grants, {settlements} settlements, {attempts} attempts, {voids} voids, {payouts} payouts"
    ))?;
    if let (Some(first), Some(last)) = (report.first, report.last) {
        print_line(&format!("written    {} to {}", show_time(first), show_time(last)))?;
    }
    print_line(&format!("receipts   {} verified: signature and cost", report.receipts_verified))?;
    let posted = |account| report.balances.iter().find(|(of, _)| *of == account).map_or(0, |(_, posted)| *posted);
    let (circulating, fee) = (-posted(Account::Issuer), posted(Account::Fee));
    print_line(&format!(
        "balances   {} accounts; {} in circulation, {} kept as fees",
        report.balances.len(),
        credits(circulating),
        credits(fee)
    ))?;
    if report.folded < report.head.size {
        print_line(&format!("           as of leaf {}: what follows could not be counted", report.folded))?;
    }
    print_line(&format!("read       {}", show_bytes(ByteCount(report.bytes))))?;
    if args.balances {
        let mut table = Table::new(["account", "key", "balance"]);
        for (account, posted) in &report.balances {
            let (kind, key) = name(*account);
            table.push([kind.to_owned(), key.map_or_else(|| "-".to_owned(), |key| key.to_string()), credits(*posted)]);
        }
        table.print()?;
    }
    for fault in &report.faults {
        show_error(&ProofError(fault.to_string()).into());
    }
    match report.faults.len() {
        0 if report.unread.is_some() => {
            print_line(&format!("{BAD}NOT READ TO ITS END{BAD:#}: nothing is wrong as far as it was"))
        }
        0 => print_line(&format!("{GOOD}sound{GOOD:#}")),
        adit_tlog::FAULTS_MAX => {
            print_line(&format!("{BAD}NOT SOUND{BAD:#}: {} faults, and nothing behind them", report.faults.len()))
        }
        faults if report.unread.is_some() => {
            print_line(&format!("{BAD}NOT SOUND{BAD:#}: {faults} faults, and it was not read to its end"))
        }
        faults => print_line(&format!("{BAD}NOT SOUND{BAD:#}: {faults} faults")),
    }
}

/// The object of `adit log fsck --json`.
#[derive(Debug, Serialize)]
struct FsckReport {
    /// Nothing where no fault was found in a log that was not read to its end.
    sound: Option<bool>,
    size: u64,
    root: String,
    leaves: Value,
    receipts_verified: u64,
    first: Option<String>,
    last: Option<String>,
    balances: Vec<BalanceReport>,
    balances_until: u64,
    bytes: u64,
    faults: Vec<String>,
    unread: Option<String>,
}

#[derive(Debug, Serialize)]
struct BalanceReport {
    account: &'static str,
    key: Option<String>,
    microcredits: i128,
}

impl FsckReport {
    fn of(report: &Report) -> Self {
        let LeafCounts { terms, grants, settlements, voids, payouts, attempts } = report.leaves;
        let balance = |(account, microcredits): &(Account, i128)| {
            let (account, key) = name(*account);
            BalanceReport { account, key: key.map(|key| key.to_string()), microcredits: *microcredits }
        };
        Self {
            sound: (report.unread.is_none() || !report.faults.is_empty()).then(|| report.is_sound()),
            size: report.head.size,
            root: hex::encode(report.head.root),
            leaves: json!({
                "terms": terms, "grants": grants, "settlements": settlements, "attempts": attempts, "voids": voids, "payouts": payouts,
            }),
            receipts_verified: report.receipts_verified,
            first: report.first.map(show_time),
            last: report.last.map(show_time),
            balances: report.balances.iter().map(balance).collect(),
            balances_until: report.folded,
            bytes: report.bytes,
            faults: report.faults.iter().map(ToString::to_string).collect(),
            unread: report.unread.as_ref().map(ToString::to_string),
        }
    }
}

fn name(account: Account) -> (&'static str, Option<PublicKey>) {
    match account {
        Account::Issuer => ("issuer", None),
        Account::Fee => ("fee", None),
        Account::Customer(key) => ("customer", Some(key)),
        Account::Owner(key) => ("owner", Some(key)),
    }
}

/// An amount that may be below zero, or over what one account can have.
fn credits(microcredits: i128) -> String {
    let sign = if microcredits < 0 { "-" } else { "" };
    match u64::try_from(microcredits.unsigned_abs()) {
        Ok(amount) => format!("{sign}{}", Microcredits(amount)),
        Err(_) => format!("{microcredits} microcredits"),
    }
}

fn run_watch(args: &WatchArgs, common: &Common) -> anyhow::Result<Exit> {
    let gateway = args.gateway.gateway_key;
    let state = match &args.state {
        Some(state) => state.clone(),
        None => common.load_config()?.dirs.state.join(format!("logs/{gateway}/checkpoint")),
    };
    let source = open_source(&args.log).map_err(usage)?;
    let mut watch = Watch::open(source, gateway, state)?;
    loop {
        let seen = watch.poll();
        let exit = match seen {
            Ok(Seen::Misbehaved { .. }) => Exit::BadProof,
            Ok(Seen::WentBack { .. }) => Exit::Failed,
            Ok(_) => Exit::Success,
            Err(ref error) if error.is_fault() => Exit::BadProof,
            Err(_) => Exit::Failed,
        };
        let is_proof = matches!(seen, Ok(Seen::Misbehaved { .. }));
        match tell(seen, args) {
            // That nobody reads it, or that there is no room for it either, changes nothing.
            Err(error) if is_proof => show_error(&error),
            told => told?,
        }
        if args.once || is_proof {
            return Ok(exit);
        }
        thread::sleep(args.interval);
    }
}

/// Tells what a look showed; where it is one of many, only what is new. What is wrong goes to standard error.
fn tell(seen: Result<Seen, WatchError>, args: &WatchArgs) -> anyhow::Result<()> {
    let (event, text) = match seen {
        Ok(Seen::First(head)) => (json!({ "event": "first", "tree": tree(&head) }), format!("first seen: {}", show(&head))),
        Ok(Seen::Same(_)) if !args.once => return Ok(()),
        Ok(Seen::Same(head)) => (json!({ "event": "same", "tree": tree(&head) }), format!("unchanged: {}", show(&head))),
        Ok(Seen::Grown { from, to }) => {
            let event = json!({ "event": "grown", "from": tree(&from), "tree": tree(&to) });
            (event, format!("grown by {}: {}", to.size - from.size, show(&to)))
        }
        Ok(Seen::WentBack { from, to, record }) => {
            let record = record.display().to_string();
            let text = format!(
                "went back from {} to {} leaves: an old answer, or leaves are lost; kept as {record}",
                from.size, to.size
            );
            show_note(&text);
            (json!({ "event": "went_back", "from": tree(&from), "tree": tree(&to), "record": record }), String::new())
        }
        Ok(Seen::Misbehaved { misbehaviour, evidence }) => {
            let what = misbehaviour_text(&misbehaviour);
            let (place, evidence, proof) = match evidence {
                Ok(path) => (format!("the proof is {}", path.display()), Some(path.display().to_string()), None),
                Err(UnkeptEvidence { reason, evidence, .. }) => {
                    (format!("the proof could not be kept ({reason}) and is printed"), None, Some(evidence))
                }
            };
            show_error(&ProofError(format!("the gateway misbehaved: {what}; {place}")).into());
            let proof = proof.map(|proof| String::from_utf8_lossy(&proof.to_bytes()).trim_end().to_owned());
            let event = json!({ "event": "misbehaved", "what": what, "evidence": evidence, "proof": proof });
            (event, proof.unwrap_or_default())
        }
        Ok(other) => (json!({ "event": "other" }), format!("{other:?}")),
        Err(error) => {
            let (is_fault, error) = (error.is_fault(), anyhow::Error::from(error));
            show_error(&error);
            (json!({ "event": "error", "bad_proof": is_fault, "reason": describe(&error) }), String::new())
        }
    };
    match (args.json, text.is_empty()) {
        (true, _) => print_json(&event),
        (false, false) => print_line(&text),
        (false, true) => Ok(()),
    }
}

fn tree(head: &TreeHead) -> Value {
    json!({ "size": head.size, "root": hex::encode(head.root) })
}

fn show(head: &TreeHead) -> String {
    format!("{} leaves, root {}", head.size, hex::encode(head.root))
}

fn misbehaviour_text(misbehaviour: &Misbehaviour) -> String {
    match misbehaviour {
        Misbehaviour::Forked { size, roots: [one, other] } => {
            format!("it signed two logs of {size} leaves, with the roots {} and {}", hex::encode(one), hex::encode(other))
        }
        Misbehaviour::Rewritten { smaller, beginning, larger } => {
            let (size, root, beginning) = (smaller.size, hex::encode(smaller.root), hex::encode(beginning));
            format!("it signed {size} leaves with the root {root}, and then {} that begin with {beginning}", larger.size)
        }
    }
}

fn run_mirror(args: &MirrorArgs, common: &Common) -> anyhow::Result<Exit> {
    let source = open_source(&args.log).map_err(usage)?;
    let bar = progress_bar(common.quiet);
    let rules = MirrorRules { gateway: args.gateway_key, bytes_max: args.max_bytes.0 };
    let exported = export(&*source, &args.dir, &rules, |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let exported = exported.map_err(|error| match error {
        ExportError::TooLarge { .. } => anyhow::anyhow!("log {}: {error}; give more with --max-bytes", args.log),
        ExportError::Differs { .. } => {
            anyhow::anyhow!("log {}: {error}; give --gateway-key, or another folder", args.log)
        }
        fault if fault.is_fault() => ProofError(format!("log {}: {fault}", args.log)).into(),
        error => anyhow::Error::from(error).context(format!("log {}", args.log)),
    })?;
    if args.json {
        let report = json!({
            "size": exported.size, "fetched": exported.fetched, "kept": exported.kept, "bytes": exported.bytes,
        });
        print_json(&report)?;
    } else {
        let bytes = show_bytes(ByteCount(exported.bytes));
        print_line(&format!(
            "{} leaves: {} files fetched ({bytes}), {} there already; {}",
            exported.size,
            exported.fetched,
            exported.kept,
            if args.gateway_key.is_some() { "signed by the gateway" } else { "not checked by whom" }
        ))?;
    }
    Ok(Exit::Success)
}

fn run_check_evidence(args: &EvidenceArgs) -> anyhow::Result<Exit> {
    let name = args.file.display().to_string();
    // A file that cannot be read is neither.
    let tell = |valid: Option<bool>, reason: String| match args.json {
        true => print_json(&json!({ "file": name, "valid": valid, "reason": reason })),
        false => Ok(()),
    };
    let bytes = match fs::read(&args.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            tell(None, error.to_string())?;
            return Err(anyhow::Error::from(error).context(name));
        }
    };
    let shown = LogEvidence::from_bytes(&bytes).and_then(|evidence| Ok((evidence.gateway, evidence.check()?)));
    let shown = match shown {
        Ok((gateway, _)) if args.gateway_key.is_some_and(|want| want != gateway) => Err(format!("it is about gateway {gateway}")),
        shown => shown.map_err(|error| error.to_string()),
    };
    match shown {
        Ok((gateway, misbehaviour)) => {
            let what = misbehaviour_text(&misbehaviour);
            if args.json {
                print_json(&json!({ "file": name, "valid": true, "gateway": gateway.to_string(), "what": what }))?;
            } else {
                print_line(&format!("gateway {gateway} misbehaved: {what}"))?;
            }
            Ok(Exit::Success)
        }
        Err(reason) => {
            tell(Some(false), reason.clone())?;
            Err(ProofError(format!("{name}: {reason}")).into())
        }
    }
}

fn progress_bar(quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let template = "{bar:30} {pos}/{len} leaves, {per_sec}, {eta} left";
    ProgressBar::new(0).with_style(ProgressStyle::with_template(template).expect("the template is well-formed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_with_their_sign_whatever_their_size() {
        assert_eq!(credits(0), Microcredits(0).to_string());
        assert_eq!(credits(-1_500_000), format!("-{}", Microcredits(1_500_000)));
        assert_eq!(credits(1 << 70), format!("{} microcredits", 1u128 << 70));
    }
}
