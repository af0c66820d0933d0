//! All that talks to the gateway: waiting for nodes, and a job's way to its settled receipt.

use std::path::PathBuf;
use std::time::Duration;

use adit_client::{Client, Config, Done, Job, Output};
use adit_protocol::{Answer, JobId, Query, Receipt, SecretKey, VerifiedReceipt};
use adit_transport::{GatewayAddr, load_or_create_key_file};
use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{sleep, timeout};

use crate::Progress;

/// Jobs under way at once: enough to keep some dozens of nodes busy, few enough to leave the gateway's queue to others.
const WINDOW: usize = 64;
/// How long nodes are waited for: more than a node's slowest attempt to reconnect.
const NODES_LIMIT: Duration = Duration::from_secs(60);
/// How often the gateway is asked for its nodes.
const NODES_POLL: Duration = Duration::from_millis(50);
/// How long a job is submitted again that a full gateway refuses.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Lines of a failed job's log that are shown.
const LOG_LINES: usize = 10;

/// What every example's client is told of the network.
#[derive(Debug, Clone, Args)]
pub struct NetworkArgs {
    /// The gateway to submit to.
    #[arg(long, env = "ADIT_GATEWAY", value_name = "HOST:PORT#KEY")]
    pub gateway: GatewayAddr,
    /// How many nodes must be connected before the first job is submitted.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub wait_nodes: usize,
    /// Whose jobs these are; made where the file does not exist. Without it, a key that is forgotten afterwards.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Print one JSON object, and no progress.
    #[arg(long)]
    pub json: bool,
}

/// A connection to a gateway with nodes.
#[derive(Debug, Clone)]
pub struct Network {
    client: Client,
    quiet: bool,
}

/// A job that succeeded, and whose receipt is stored for good.
#[derive(Debug)]
pub struct Finished {
    /// What the guest wrote.
    pub output: Vec<u8>,
    /// What it used and costs; both signatures are checked.
    pub receipt: VerifiedReceipt,
}

impl Network {
    /// Connects, and waits until as many nodes are there as `args` say.
    ///
    /// # Errors
    /// Where the key cannot be read, the gateway cannot be reached or does not prove its key, or nodes are missing after a minute.
    pub async fn connect(args: &NetworkArgs) -> Result<Self> {
        let key = args.key.as_deref().map_or_else(|| Ok(SecretKey::generate()), load_or_create_key_file)?;
        let config = Config { patience: PATIENCE, ..Config::default() };
        let client = Client::connect_with(key, args.gateway.clone(), config).await?;
        wait_for_nodes(&client, args.wait_nodes).await?;
        Ok(Self { client, quiet: args.json })
    }

    /// Runs one job, until the gateway says that its receipt is stored. A gateway without room is asked again later.
    ///
    /// # Errors
    /// Where the job is refused or lost, and where its guest fails; the end of its log is in the error then. A job that nobody waits
    /// for any more is cancelled.
    pub async fn run(&self, job: Job) -> Result<Finished> {
        let mut handle = self.client.submit(job);
        let abandoned = CancelOnDrop { client: &self.client, job: Some(handle.id()) };
        let Done { receipt, output, reason, .. } = handle.settled().await?.done;
        abandoned.disarm();
        let Receipt { job, outcome, .. } = receipt.receipt();
        if !outcome.is_success() {
            bail!("job {job} {outcome}: {reason}\n{}", self.log(*job).await.unwrap_or_default());
        }
        Ok(Finished { output: self.fetch(output).await?, receipt })
    }

    /// Runs many jobs, some dozens at once, and shows how many of `what` are done.
    ///
    /// # Returns
    /// What they made, in the order of `jobs` whichever ended first.
    ///
    /// # Errors
    /// The first that [`Network::run`] gives; its place among the jobs is in the error, and what still runs is cancelled.
    pub async fn run_all(&self, what: &str, jobs: impl IntoIterator<Item = Job>) -> Result<Vec<Finished>> {
        let jobs: Vec<Job> = jobs.into_iter().collect();
        let mut progress = Progress::new(what, jobs.len() as u64, self.quiet);
        let running = jobs.into_iter().enumerate().map(|(at, job)| async move {
            let finished = self.run(job).await;
            finished.map(|finished| (at, finished)).with_context(|| format!("job {at} of the {what}"))
        });
        let ended = stream::iter(running).buffer_unordered(WINDOW).inspect_ok(|_| progress.step());
        let mut finished: Vec<(usize, Finished)> = ended.try_collect().await?;
        finished.sort_unstable_by_key(|(at, _)| *at);
        Ok(finished.into_iter().map(|(_, finished)| finished).collect())
    }

    /// Says goodbye to the gateway.
    pub async fn close(self) {
        self.client.close().await;
    }

    /// The end of what the guest logged.
    async fn log(&self, job: JobId) -> Result<String> {
        let (mut stream, mut log) = (self.client.logs(job, 0).await?, Vec::new());
        while let Some(bytes) = stream.next().await? {
            log.extend_from_slice(&bytes);
        }
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES)..].iter();
        // What a guest wrote must not steer the terminal.
        Ok(end.map(|line| format!("  | {}\n", line.replace(char::is_control, " "))).collect())
    }

    /// What the guest wrote; the gateway sends it along where it is short, and keeps it otherwise.
    async fn fetch(&self, output: Output) -> Result<Vec<u8>> {
        match output {
            Output::Inline(bytes) => Ok(bytes),
            Output::Blob(blob) => {
                let mut bytes = Vec::new();
                self.client.fetch(blob, &mut bytes).await?;
                Ok(bytes)
            }
        }
    }
}

/// Cancels its job when dropped before [`CancelOnDrop::disarm`].
struct CancelOnDrop<'a> {
    client: &'a Client,
    job: Option<JobId>,
}

impl CancelOnDrop<'_> {
    fn disarm(mut self) {
        self.job = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.job {
            // Without a connection there is nobody to tell; the job ends by its limits then.
            let _ = self.client.cancel(job);
        }
    }
}

async fn wait_for_nodes(client: &Client, wanted: usize) -> Result<()> {
    let waiting = async {
        while nodes(client).await? < wanted {
            sleep(NODES_POLL).await;
        }
        Ok(())
    };
    let waited = timeout(NODES_LIMIT, waiting).await;
    waited.with_context(|| format!("fewer than {wanted} nodes are connected after {} s", NODES_LIMIT.as_secs()))?
}

async fn nodes(client: &Client) -> Result<usize> {
    match client.ask(Query::Nodes).await? {
        Answer::Nodes(nodes) => Ok(nodes.len()),
        other => bail!("asked for its nodes, the gateway answered {other:?}"),
    }
}
