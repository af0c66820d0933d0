//! `adit witness`: cosigns the checkpoints of logs, so that a gateway cannot show two histories.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use adit_tlog::{Cosigner, Evidence, EvidenceKind, HttpServer, LogKey, Policy, UnixSeconds, Witness, WitnessError};
use anyhow::{Context, bail};
use clap::Args;
use tokio::sync::Notify;

use crate::args::Common;
use crate::exit::{Exit, usage};
use crate::link::load_key;
use crate::reactor::{StopSignals, block_on, survive_file_limit};
use crate::screen::Screen;
use crate::sink::AtomicFile;
use crate::table::print_line;

/// Be a witness: cosign the checkpoints of gateways' logs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit witness --name example.org/w1 --log 'adit/3f..+1c9e0a77+AT8..'      # a gateway's log key
  adit witness --name example.org/w1 --policy policy.txt --listen 127.0.0.1:7800
  adit witness --name example.org/w1 --show-key      # NAME+ID+KEY, for others' policies

A witness cosigns a checkpoint where it continues all that it cosigned of that log before, and so never two histories. What it
needs for that is in --data: never copy it, restore it or begin it anew under the same key. It speaks C2SP's tlog-witness over
HTTP, POST URL/add-checkpoint; for TLS, put a reverse proxy in front of it.")]
pub(crate) struct WitnessArgs {
    /// What the witness is called, for good: a URL without its scheme
    #[arg(long, value_name = "NAME")]
    name: String,
    /// A log to witness, by its key NAME+ID+KEY; repeat for more
    #[arg(long, value_name = "LOGKEY", required_unless_present_any = ["policy", "show_key", "show_evidence"])]
    log: Vec<LogKey>,
    /// A file whose `log` lines name logs to witness (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The TCP address to listen on; port 0 for any
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7800")]
    listen: SocketAddr,
    /// Holds what was cosigned [default: ~/.local/share/adit/witness]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The file with the witness' key, made on first use; a key of its own, under one name [default: ~/.config/adit/witness.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Gets one line, the URL, when the witness listens
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Print the witness' key and leave
    #[arg(long)]
    show_key: bool,
    /// Print the checkpoints that logs signed and that were not cosigned, and leave; not while the witness runs
    #[arg(long, conflicts_with = "show_key")]
    show_evidence: bool,
}

pub(crate) fn run(args: &WitnessArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let key = args.key.clone().unwrap_or_else(|| config.dirs.config.join("witness.key"));
    let cosigner = Cosigner::new(&args.name, load_key("witness", &key)?).map_err(|error| usage(format!("--name: {error}")))?;
    if args.show_key {
        print_line(&cosigner.key().to_string())?;
        return Ok(Exit::Success);
    }
    let data = args.data.clone().unwrap_or_else(|| config.dirs.data.join("witness"));
    let witness = open(&data, cosigner, logs(args)?)?;
    let evidence = witness.evidence()?;
    if args.show_evidence {
        return evidence.iter().try_for_each(show_evidence).map(|()| Exit::Success);
    }
    let mut screen = Screen::new(common.quiet);
    if !evidence.is_empty() {
        screen.note(format!("{} checkpoints speak against a log: see adit witness --show-evidence", evidence.len()));
    }
    block_on(async {
        // Heard from the start, so that a signal during the opening is not lost.
        let mut signals = StopSignals::listen()?;
        survive_file_limit()?;
        serve(witness, args, &data, &mut screen, &mut signals).await
    })
}

async fn serve(
    witness: Witness,
    args: &WitnessArgs,
    data: &Path,
    screen: &mut Screen,
    signals: &mut StopSignals,
) -> anyhow::Result<Exit> {
    let (key, logs) = (witness.key().clone(), witness.logs().len());
    let listener = TcpListener::bind(args.listen).with_context(|| format!("cannot listen on {}", args.listen))?;
    let failed = Arc::new(Notify::new());
    let fail = Arc::clone(&failed);
    let server = HttpServer::spawn("witness", listener, move |request| {
        let response = witness.handle(&request, now());
        if witness.has_failed() {
            fail.notify_one();
        }
        response
    });
    let server = server.context("cannot serve")?;
    let url = format!("http://{}", server.address());
    if let Some(path) = &args.ready_file {
        AtomicFile::write(path, format!("{url}\n").as_bytes())?;
    }
    print_line(&format!("{key} {url}"))?;
    screen.note(format!("witness of {logs} logs ready, data in {}; Ctrl-C stops it", data.display()));
    let is_over = tokio::select! {
        _ = signals.next() => true,
        () = failed.notified() => false,
    };
    drop(server);
    if !is_over {
        bail!(
            "the store in {} failed, and nothing is cosigned any more; mend the disk and start the witness again",
            data.display()
        );
    }
    screen.note("witness stopped");
    Ok(Exit::Success)
}

/// The logs that flags and policy name, each once.
fn logs(args: &WitnessArgs) -> anyhow::Result<Vec<LogKey>> {
    let mut logs = args.log.clone();
    if let Some(path) = &args.policy {
        let text = std::fs::read(path).map_err(|error| usage(format!("policy {}: {error}", path.display())))?;
        let policy = Policy::from_bytes(&text).map_err(|error| usage(format!("policy {}: {error}", path.display())))?;
        if policy.logs().is_empty() && logs.is_empty() {
            return Err(usage(format!("policy {} has no log line: there is nothing to witness", path.display())));
        }
        logs.extend(policy.logs().iter().map(|log| log.key.clone()));
    }
    let mut known = std::collections::HashSet::new();
    logs.retain(|log| known.insert(log.clone()));
    Ok(logs)
}

fn open(data: &Path, cosigner: Cosigner, logs: Vec<LogKey>) -> anyhow::Result<Witness> {
    std::fs::create_dir_all(data).with_context(|| format!("cannot make the folder {}", data.display()))?;
    let path = data.join("witness.redb");
    Witness::open(&path, cosigner, logs).map_err(|error| match error {
        WitnessError::NotAWitness | WitnessError::Format { .. } => anyhow::Error::from(error).context(path.display().to_string()),
        error => error.into(),
    })
}

fn show_evidence(piece: &Evidence) -> anyhow::Result<()> {
    let kind = match piece.kind {
        EvidenceKind::OtherTree => "two trees of one size",
        EvidenceKind::Unproven => "no proof that it continues what was cosigned",
    };
    let text = |note: &[u8]| String::from_utf8_lossy(note).into_owned();
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + std::time::Duration::from_secs(piece.time.0));
    print_line(&format!(
        "{kind}, at {time}; cosigned:\n\n{}\nnot cosigned:\n\n{}",
        text(&piece.cosigned),
        text(&piece.checkpoint)
    ))
}

fn now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
