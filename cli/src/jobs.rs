//! `adit submit`, `status`, `logs`, `output`, `cancel`: a job that its client does not wait for.

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use adit_client::{Client, Done, JobError, JobHandle, Update};
use adit_protocol::limits::ANSWER_ROWS_MAX;
use adit_protocol::{Answer, JobId, JobState, JobStatus, Outcome, Query, UnixMillis};
use clap::Args;
use serde::Serialize;
use tokio::time::timeout;

use crate::args::{Common, JobArgs, LinkArgs, RetryArgs, SubmissionArgs};
use crate::exit::{Exit, RefusedError, usage};
use crate::kept::JobStore;
use crate::link::{self, ask, unexpected};
use crate::quantity::show_time;
use crate::reactor::block_on;
use crate::report::short;
use crate::run::{self, Ending, or_report};
use crate::screen::Screen;
use crate::sink::Sink;
use crate::spec::{Submission, Terms};
use crate::spending::Spending;
use crate::table::{Table, print_json, print_line};

/// After so long without more, a log that is not followed is taken to be at its present end: the gateway sends what it has at once.
const LOG_QUIET: Duration = Duration::from_millis(300);

/// Submit a job and leave: prints its id
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit submit render.wasm --input scene.json --fuel 100G
  JOB=$(adit submit render.wasm --input scene.json)
  adit logs -f $JOB; adit output $JOB --output picture.png")]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    submission: SubmissionArgs,
    /// Print {"job", "state"} instead
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    link: LinkArgs,
    #[command(flatten)]
    retry: RetryArgs,
}

/// Show a job, or your newest jobs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit status                    # the newest jobs
  adit status 7f3a1c2e           # one job, by the start of its id
  adit status --json | jq -r 'select(.state == \"running\") | .job'")]
pub(crate) struct StatusArgs {
    /// A job's id or the start of it
    job: Option<JobName>,
    /// Show at most so many jobs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Show what a job's guest wrote to standard error
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit logs 7f3a1c2e             # what there is now
  adit logs -f 7f3a1c2e          # and what comes, until the job ends")]
pub(crate) struct LogsArgs {
    /// A job's id or the start of it
    job: JobName,
    /// Go on until the job ends
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Wait for a job's end and fetch its output, as `adit run` would have
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit output 7f3a1c2e > counts.txt
  adit output 7f3a1c2e --output picture.png --json")]
pub(crate) struct OutputArgs {
    /// A job's id or the start of it
    job: JobName,
    /// Where the output goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the receipt goes [default: ~/.local/share/adit/receipts/JOB.receipt]
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Print the object of `adit run --json` instead of the output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Stop a job; what it used until then is billed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit cancel 7f3a1c2e
  adit status --json | jq -r 'select(.state == \"queued\") | .job' | xargs -n1 adit cancel")]
pub(crate) struct CancelArgs {
    /// A job's id or the start of it
    job: JobName,
    /// Print {"job", "outcome"} instead
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

pub(crate) fn submit(args: &SubmitArgs, common: &Common) -> anyhow::Result<Exit> {
    or_report(args.json, None, try_submit(args, common))
}

fn try_submit(args: &SubmitArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let terms = Terms::read(&args.job, &config)?;
    // It keeps what came by a pipe until that was sent.
    let submission = Submission::read(&args.submission, &terms, &config)?;
    block_on(async {
        let client = link::connect_for(&config, &args.link, args.retry.patience()).await?;
        let submission = Submission { job: client.salted(submission.job), ..submission };
        let keeping = JobStore::of_user(&config)?.keep(&submission, &args.submission.work, &args.job.guest.with);
        let mut handle = client.submit(submission.job);
        let mut screen = Screen::new(common.quiet);
        let state = first_state(&client, &mut handle, &mut screen).await.map_err(anyhow::Error::from);
        keeping.finish(state.as_ref().err()).await;
        let (state, job) = (state?, handle.id());
        client.close().await;
        if args.json {
            print_json(&serde_json::json!({ "job": job.to_string(), "state": state }))?;
        } else {
            print_line(&job.to_string())?;
            screen.note(format!("{state}; `adit output {}` waits for the end", short(job).trim_end_matches('…')));
        }
        Ok(Exit::Success)
    })
}

/// The state of a job that the gateway has taken. Of one that waits again, the attempt that it had is the first word.
async fn first_state(client: &Client, handle: &mut JobHandle, screen: &mut Screen) -> Result<&'static str, JobError> {
    let word = first_word(handle, screen).await?;
    if word != "running" {
        return Ok(word);
    }
    let status = one_status(client, handle.id()).await;
    Ok(status.map_or(word, |status| StatusReport::of(&status).state))
}

/// The first word of a job says that the gateway has taken it.
async fn first_word(handle: &mut JobHandle, screen: &mut Screen) -> Result<&'static str, JobError> {
    while let Some(update) = handle.next().await? {
        match update {
            Update::Queued => return Ok("queued"),
            Update::Started { .. } | Update::Progress { .. } | Update::Interim(_) => return Ok("running"),
            Update::Ended(_) | Update::Settled(_) => return Ok("done"),
            update => link::note(&update, screen),
        }
    }
    Err(link::closed(handle))
}

pub(crate) fn status(args: &StatusArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let rows = match &args.job {
            Some(name) => vec![one_status(&client, name.resolve(&client).await?).await?],
            None => newest(&client, args.limit).await?,
        };
        client.close().await;
        if args.json {
            rows.iter().try_for_each(|row| print_json(&StatusReport::of(row)))?;
        } else {
            table(&rows).print()?;
        }
        Ok(Exit::Success)
    })
}

pub(crate) fn logs(args: &LogsArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let job = args.job.resolve(&client).await?;
        let mut stream = client.logs(job, 0).await?;
        let mut out = Sink::Stdout.open()?;
        loop {
            let piece = match timeout(LOG_QUIET, stream.next()).await {
                Err(_) if args.follow => stream.next().await,
                Err(_) => break,
                Ok(piece) => piece,
            };
            let Some(bytes) = piece? else { break };
            out.write_all(&bytes)?;
            out.flush()?;
        }
        out.commit()?;
        client.close().await;
        Ok(Exit::Success)
    })
}

pub(crate) fn output(args: &OutputArgs, common: &Common) -> anyhow::Result<Exit> {
    or_report(args.json, args.job.0.parse().ok(), try_output(args, common))
}

fn try_output(args: &OutputArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let sink = Sink::new(args.output.as_deref(), args.json);
    let ending = Ending { json: args.json, sink: &sink, limits: None, receipt: args.receipt.as_deref(), config: &config };
    block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let handle = client.attach(args.job.resolve(&client).await?);
        let spending = Spending::of_attached(JobStore::of_user(&config)?);
        let exit = run::follow(&client, handle, ending, &mut Screen::new(common.quiet), false, spending).await;
        client.close().await;
        exit
    })
}

pub(crate) fn cancel(args: &CancelArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    block_on(async {
        let client = link::connect(&config, &args.link).await?;
        let job = args.job.resolve(&client).await?;
        let mut handle = client.attach(job);
        handle.cancel();
        let (outcome, words) = match end(&mut handle, &mut Screen::new(common.quiet)).await {
            Ok(done) => {
                let outcome = done.receipt.receipt().outcome;
                let words = if outcome == Outcome::Cancelled { "cancelled".to_owned() } else { format!("had ended: {outcome}") };
                (outcome.name(), words)
            }
            Err(JobError::CancelledInQueue { .. }) => ("cancelled", "cancelled before it came to an outcome".to_owned()),
            Err(error) => return Err(error.into()),
        };
        client.close().await;
        if args.json {
            print_json(&serde_json::json!({ "job": job.to_string(), "outcome": outcome }))?;
        } else {
            print_line(&format!("job {}: {words}", short(job)))?;
        }
        Ok(Exit::Success)
    })
}

/// Waits for the outcome.
async fn end(handle: &mut JobHandle, screen: &mut Screen) -> Result<Done, JobError> {
    while let Some(update) = handle.next().await? {
        match update {
            Update::Ended(done) => return Ok(*done),
            update => link::note(&update, screen),
        }
    }
    Err(link::closed(handle))
}

/// A job as people name it: its id, or enough of its start.
#[derive(Debug, Clone)]
pub(crate) struct JobName(String);

/// Digits that a job's name has at least, so that it is not one job's by chance.
const NAME_DIGITS_MIN: usize = 4;

impl FromStr for JobName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // As it is shown, so it may be pasted.
        let digits = text.trim_end_matches('…').to_ascii_lowercase();
        let hexadecimal = digits.bytes().all(|b| b.is_ascii_hexdigit());
        if hexadecimal && (NAME_DIGITS_MIN..=32).contains(&digits.len()) {
            return Ok(Self(digits));
        }
        Err(format!("`{text}` is not a job; write its id, or at least its first {NAME_DIGITS_MIN} digits"))
    }
}

impl JobName {
    /// The job, asked of the gateway where only the start is given.
    pub(crate) async fn resolve(&self, client: &Client) -> anyhow::Result<JobId> {
        if let Ok(job) = self.0.parse() {
            return Ok(job);
        }
        let rows = newest(client, ANSWER_ROWS_MAX as u32).await?;
        self.pick(rows.iter().map(|row| row.job))
    }

    fn pick(&self, jobs: impl Iterator<Item = JobId>) -> anyhow::Result<JobId> {
        let mut fitting = jobs.filter(|job| job.to_string().starts_with(&self.0));
        match (fitting.next(), fitting.next()) {
            (Some(job), None) => Ok(job),
            (Some(_), Some(_)) => Err(usage(format!("several jobs start with {}; write more of the id", self.0))),
            (None, _) => {
                let text =
                    format!("no job of yours among the newest {ANSWER_ROWS_MAX} starts with {}; write the whole id", self.0);
                Err(RefusedError(text).into())
            }
        }
    }
}

async fn newest(client: &Client, limit: u32) -> anyhow::Result<Vec<JobStatus>> {
    match ask(client, Query::Jobs { limit }).await? {
        Answer::Jobs(rows) => Ok(rows),
        other => Err(unexpected(&other)),
    }
}

async fn one_status(client: &Client, job: JobId) -> anyhow::Result<JobStatus> {
    match ask(client, Query::Job(job)).await? {
        Answer::Job(Some(status)) => Ok(*status),
        Answer::Job(None) => {
            Err(RefusedError(format!("no job {job} under this key; is --key the one it was submitted with? A gateway that restarted knows of jobs that came to an outcome")).into())
        }
        other => Err(unexpected(&other)),
    }
}

/// The object of `adit status --json`.
#[derive(Debug, Default, Serialize)]
struct StatusReport {
    job: String,
    module: String,
    /// Nothing where the gateway knows only the job's receipt.
    submitted: Option<String>,
    state: &'static str,
    attempt: Option<u32>,
    progress: Option<[u64; 2]>,
    outcome: Option<&'static str>,
    exit_code: Option<i32>,
    reason: Option<String>,
    price_microcredits: Option<u64>,
    node: Option<String>,
    settled: Option<bool>,
}

impl StatusReport {
    fn of(status: &JobStatus) -> Self {
        let base = Self {
            job: status.job.to_string(),
            module: status.module.to_string(),
            submitted: known_time(status.submitted),
            ..Self::default()
        };
        match &status.state {
            JobState::Queued => Self { state: "queued", ..base },
            JobState::Running { node, attempt, progress } => Self {
                state: "running",
                attempt: Some(attempt.0),
                progress: progress.map(|(done, total)| [done, total]),
                node: Some(node.to_string()),
                ..base
            },
            JobState::Done { outcome, cost, node, settled } => Self {
                state: "done",
                outcome: Some(outcome.name()),
                exit_code: match outcome {
                    Outcome::Finished { exit_code } => Some(*exit_code),
                    _ => None,
                },
                price_microcredits: Some(cost.0),
                node: Some(node.to_string()),
                settled: Some(*settled),
                ..base
            },
            JobState::Failed(reason) => Self { state: "failed", reason: Some(reason.clone()), ..base },
        }
    }
}

fn table(rows: &[JobStatus]) -> Table<6> {
    let mut table = Table::new(["job", "submitted", "module", "node", "price", "state"]);
    for row in rows {
        let (node, price, state) = match &row.state {
            JobState::Queued => (String::new(), String::new(), "queued".to_owned()),
            JobState::Running { node, attempt, progress } => {
                let far = progress.map(|(done, total)| format!(", {}", show_progress(done, total))).unwrap_or_default();
                (short(node), String::new(), format!("running, attempt {attempt}{far}"))
            }
            JobState::Done { outcome, cost, node, settled } => {
                let note = if *settled { "" } else { ", not settled yet" };
                (short(node), cost.to_string(), format!("{outcome}{note}"))
            }
            JobState::Failed(reason) => (String::new(), String::new(), format!("failed: {reason}")),
        };
        table.push([short(row.job), known_time(row.submitted).unwrap_or_default(), short(row.module), node, price, state]);
    }
    table
}

fn known_time(time: UnixMillis) -> Option<String> {
    (time != UnixMillis(0)).then(|| show_time(time))
}

fn show_progress(done: u64, total: u64) -> String {
    if total == 0 { format!("{done} done") } else { format!("{done} of {total}") }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{Attempt, Digest, Microcredits, PublicKey, TrapKind, UnixMillis};

    use super::*;

    fn status(state: JobState) -> JobStatus {
        JobStatus { job: JobId([0x7f; 16]), module: Digest([1; 32]), submitted: UnixMillis(0), state }
    }

    #[test]
    fn job_is_named_by_enough_of_its_start() {
        let jobs = [JobId([0x11; 16]), JobId([0x22; 16]), {
            let mut b = [0x22; 16];
            b[15] = 0;
            JobId(b)
        }];
        let pick = |name: &str| name.parse::<JobName>().unwrap().pick(jobs.into_iter());
        assert_eq!(pick("1111").unwrap(), jobs[0]);
        assert_eq!(pick("11111111…").unwrap(), jobs[0]);
        assert_eq!(Exit::of_error(&pick("2222").unwrap_err()), Exit::Usage);
        assert_eq!(pick(&jobs[1].to_string()).unwrap(), jobs[1]);
        assert_eq!(Exit::of_error(&pick("3333").unwrap_err()), Exit::Refused);
        for text in ["", "11", "xyzw", "11111111111111111111111111111111ff"] {
            assert!(text.parse::<JobName>().is_err(), "{text}");
        }
    }

    #[test]
    fn states_are_told_to_programs() {
        let node = PublicKey([5; 32]);
        let rows = [
            (JobState::Queued, "queued", ""),
            (JobState::Running { node, attempt: Attempt(2), progress: Some((1, 4)) }, "running", ""),
            (
                JobState::Done { outcome: Outcome::Trapped(TrapKind::Unreachable), cost: Microcredits(7), node, settled: true },
                "done",
                "trapped",
            ),
            (JobState::Failed("lost".into()), "failed", ""),
        ];
        for (state, name, outcome) in rows {
            let report = StatusReport::of(&status(state));
            assert_eq!((report.state, report.outcome.unwrap_or_default()), (name, outcome));
        }
    }
}
