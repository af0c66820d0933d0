//! `adit run`: one job, from its module to its checked receipt.

use std::path::{Path, PathBuf};

use adit_client::Client;
use adit_protocol::{JobId, JobLimits};
use anyhow::Context;
use clap::Args;
use tokio::task::spawn_blocking;

use crate::args::{Common, JobArgs, LinkArgs, RetryArgs, SubmissionArgs};
use crate::config::Config;
use crate::exit::{self, Exit, InterruptedError, is_closed_pipe};
use crate::follow::{Follow, Followed};
use crate::kept::JobStore;
use crate::link;
use crate::local;
use crate::node;
use crate::proof::Proof;
use crate::reactor::{StopSignals, block_on};
use crate::report::{End, Report};
use crate::screen::{self, Screen};
use crate::sink::Sink;
use crate::spec::{Submission, Terms};
use crate::spending::Spending;
use crate::table::print_json;

/// Run a job: output to standard output, log and one summary line to standard error
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit run wordcount.wasm --input book.txt
  cat book.txt | adit run wordcount.wasm --input - --fuel 50G > counts.txt
  adit run tool.wasm --env MODE=fast -- --depth 3
  adit run tool.wasm --local                      # here, without a network; the same bill
  adit run tool.wasm --json --output out.bin      # one JSON object, see docs/cli.md

A gateway without room is asked again, when it says and a random time later (--retry-for).
Ctrl-C cancels the job and waits for its end; a second Ctrl-C leaves it. What `adit audit` needs
to run the job again is kept in ~/.local/share/adit/jobs, copies of module and input included; see
`adit audit --help`.")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    submission: SubmissionArgs,
    /// Where the guest's output goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the receipt goes [default: ~/.local/share/adit/receipts/JOB.receipt]
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Run here, in the same sandbox, without a network
    #[arg(long, conflicts_with_all = ["LinkArgs", "RetryArgs", "PlacementArgs", "idempotency_key", "receipt"])]
    local: bool,
    /// With --local, run even where the kernel lacks a part of the sandbox, Landlock or seccomp [env: ADIT_ALLOW_WEAK_SANDBOX]
    #[arg(long, requires = "local")]
    allow_weak_sandbox: bool,
    /// Print one JSON object instead of the guest's output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    link: LinkArgs,
    #[command(flatten)]
    retry: RetryArgs,
}

/// How a job's end is shown, and where its receipt goes.
#[derive(Debug)]
pub(crate) struct Ending<'a> {
    pub(crate) json: bool,
    pub(crate) sink: &'a Sink,
    pub(crate) limits: Option<&'a JobLimits>,
    pub(crate) receipt: Option<&'a Path>,
    pub(crate) config: &'a Config,
}

pub(crate) fn run(args: &RunArgs, common: &Common) -> anyhow::Result<Exit> {
    let mut screen = Screen::new(common.quiet);
    or_report(args.json, None, attempt(args, common, &mut screen))
}

/// With `json`, every failure is an object on standard output too.
pub(crate) fn or_report(json: bool, job: Option<JobId>, result: anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    match result {
        Err(error) if json => match print_json(&Report::of_error(&error, job.or_else(|| exit::job_of(&error)))) {
            Err(unprinted) if !is_closed_pipe(&unprinted) => Err(unprinted),
            _ => Err(error),
        },
        result => result,
    }
}

fn attempt(args: &RunArgs, common: &Common, screen: &mut Screen) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let terms = Terms::read(&args.job, &config)?;
    let submission = Submission::read(&args.submission, &terms, &config)?;
    let sink = Sink::new(args.output.as_deref(), args.json);
    let limits = Some(terms.limits());
    let ending = Ending { json: args.json, sink: &sink, limits, receipt: args.receipt.as_deref(), config: &config };
    block_on(async {
        if args.local {
            let allow_weak = node::allows_weak_sandbox(&config, args.allow_weak_sandbox)?;
            let end = local::run(&submission, &args.submission.work.module, &sink, &config, allow_weak, screen).await?;
            return ending.show(Followed { end, troubles: Vec::new() }, screen).await;
        }
        let client = link::connect_for(&config, &args.link, args.retry.patience()).await?;
        let submission = Submission { job: client.salted(submission.job), ..submission };
        let keeping = JobStore::of_user(&config)?.keep(&submission, &args.submission.work, &args.job.guest.with);
        let may_hedge = submission.job.spec.placement.hedge;
        let is_new = args.submission.idempotency_key.is_none();
        let spending = if is_new { Spending::of_new_job(may_hedge) } else { Spending::of_submission(may_hedge) };
        let handle = client.submit(submission.job);
        let exit = follow(&client, handle, ending, screen, true, spending).await;
        keeping.finish(exit.as_ref().err()).await;
        client.close().await;
        exit
    })
}

/// Follows a job to its end and shows it.
pub(crate) async fn follow(
    client: &Client,
    handle: adit_client::JobHandle,
    ending: Ending<'_>,
    screen: &mut Screen,
    show_log: bool,
    spending: Spending,
) -> anyhow::Result<Exit> {
    let spool = ending.config.dirs.cache.clone();
    let follow = Follow { client, screen, sink: ending.sink, spool, show_log, spending };
    let mut followed = follow.run(handle).await?;
    if let Some(proof) = followed.end.proof.as_mut().filter(|proof| proof.settlement.is_some()) {
        proof.log = link::log_proof(client, proof.receipt.receipt.job).await;
    }
    ending.show(followed, screen).await
}

impl Ending<'_> {
    /// Shows how the job ended and keeps its receipt.
    pub(crate) async fn show(&self, followed: Followed, screen: &mut Screen) -> anyhow::Result<Exit> {
        let Followed { end, mut troubles } = followed;
        // First of all, as what follows may fail.
        troubles.extend(self.keep_receipt(&end).await.err());
        if *self.sink == Sink::Discard && end.usage.bytes_out.0 > 0 {
            screen.note(format!("the output, {} bytes, is discarded; --output FILE keeps it", end.usage.bytes_out.0));
        }
        if self.json {
            let printed = print_json(&end.report());
            troubles.extend(printed.err().filter(|error| !is_closed_pipe(error)));
        }
        screen.summary(crate::visible::visible(&end.summary(self.limits)), end.outcome.is_success());
        // The object, with its outcome, is out already; what is left is to say what is missing.
        troubles.iter().for_each(screen::show_error);
        Ok(Exit::of_errors(&troubles).unwrap_or_else(|| end.exit()))
    }

    async fn keep_receipt(&self, end: &End) -> anyhow::Result<()> {
        let Some(proof) = &end.proof else { return Ok(()) };
        let Some(path) = self.receipt else { return keep(proof, self.config) };
        let mut stop = StopSignals::listen()?;
        let (job, proof, file) = (proof.receipt.receipt.job, proof.clone(), path.to_owned());
        tokio::select! {
            // A pipe that nobody reads is waited for.
            saved = spawn_blocking(move || proof.save(&file)) => saved.context("the receipt's writer")?,
            () = stop.next() => {
                let what = format!("left before {} took the receipt", path.display());
                Err(InterruptedError(format!("{what}; `adit output {job}` has it again")).into())
            }
        }
    }
}

/// Stores a receipt among the user's.
pub(crate) fn keep(proof: &Proof, config: &Config) -> anyhow::Result<()> {
    let path = config.dirs.receipts().join(format!("{}.receipt", proof.receipt.receipt.job));
    proof.save(&path)?;
    tracing::debug!(path = %path.display(), "receipt stored");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use crate::args::Cli;

    #[test]
    fn weak_sandbox_is_allowed_for_runs_on_this_machine_alone() {
        // Without `--local` the flag said nothing to anybody, and whoever gave it could believe that it did.
        let parse = |line: &str| Cli::try_parse_from(line.split_whitespace());
        let refused = parse("adit run tool.wasm --allow-weak-sandbox").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::MissingRequiredArgument, "{refused}");
        assert!(refused.to_string().contains("--local"), "{refused}");
        parse("adit run tool.wasm --allow-weak-sandbox --local").unwrap();
        parse("adit run tool.wasm").unwrap();
    }

    #[test]
    fn what_only_a_network_heeds_is_refused_where_there_is_none() {
        let network = [
            "--gateway 127.0.0.1:1#0000000000000000000000000000000000000000000000000000000000000000",
            "--key client.key",
            "--retry-for 1s",
            "--receipt job.receipt",
            "--idempotency-key 00000000000000000000000000000000",
            "--max-price 1",
            "--queue-timeout 1s",
            "--label a=b",
            "--region home",
            "--prefer fast",
            "--deadline 1h",
            "--priority 0",
            "--hedge",
        ];
        let parse = |line: String| Cli::try_parse_from(line.split_whitespace());
        for flags in network {
            parse(format!("adit run tool.wasm {flags}")).unwrap();
            let refused = parse(format!("adit run tool.wasm --local {flags}")).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ArgumentConflict, "{flags}: {refused}");
            // Of these, one that the command does not have is one that it does not show either.
            for command in ["dev .", "profile tool.wasm"] {
                let refused = parse(format!("adit {command} {flags}")).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::UnknownArgument, "{command} {flags}: {refused}");
            }
        }
        let fuel = "--fuel 1G --timeout 1s --seed 1 --time 1970-01-01T00:00:00Z --env A=B --arg x";
        for command in ["run tool.wasm --local", "dev .", "profile tool.wasm"] {
            parse(format!("adit {command} {fuel}")).unwrap();
        }
    }
}
