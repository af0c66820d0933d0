//! `adit audit`: runs jobs again and says whether their bills hold.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_client::Client;
use adit_protocol::{
    BlobRef, Comparison, Digest, JobSpec, Microcredits, NamedInput, Outcome, Profile, Receipt, Tolerance, Usage,
};
use adit_runtime::{Runtime, meter_id};
use adit_transport::hash_file;
use anstyle::{AnsiColor, Style};
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::adapter::LocalAdapter;
use crate::args::Common;
use crate::comparison::{Check, Field, Recomputed, Tolerated, Value, Varies, doubt, overcharge};
use crate::config::Config;
use crate::exit::{Exit, InterruptedError, ProofError, usage};
use crate::kept::{JobStore, KeptJob};
use crate::link;
use crate::local;
use crate::node;
use crate::proof::Proof;
use crate::quantity::show_micros;
use crate::reactor::{StopSignals, block_on};
use crate::report::short;
use crate::rerun::{Bytes, Kept, Rerun, rerun};
use crate::screen::describe;
use crate::table::{Table, print_json, print_line};
use crate::verify;
use crate::visible::visible;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const UNKNOWN: Style = AnsiColor::Yellow.on_default();

/// Run jobs again, here, and say of each receipt whether its bill holds
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit audit ~/.local/share/adit/receipts/*.receipt
  adit audit out/receipts/*.receipt --json | jq -r 'select(.verdict != \"holds\") | .file'
  adit audit job.receipt --job job.job --module tool.wasm --input data.bin     # another's job

A receipt is checked as `adit verify` does, then its job is run in the same sandbox as `adit run
--local` and every field that can be computed again is compared. A job that a clock or a
cancellation ended is run until it has used what was claimed: its bill is plausible if the guest
was still running then and used as much of everything.

What was asked, and where module and inputs came from, is kept by `adit run`, `submit` and `map`:
SPEC.job in ~/.local/share/adit/jobs, NAME.job beside the receipts of a map; readable by you
alone, as arguments and environment are in it. Copies of module and inputs up to 64 MiB each (of
the files that a map goes through none) are in jobs/blobs, up to 1 GiB in all, those not used for longest go first;
`keep-max` in the config file or ADIT_KEEP_MAX changes that, 0 keeps no copies.

A job with a GPU runs on this machine's, of the same class where there is one, software included.
Its receipt says how results compare: bit for bit, or number by number within a tolerance; then
what it wrote is needed: --output FILE, or the gateway has it still. An adapter of another class
can confirm a bill and not refute it: a difference that may come of the adapter is undecided. How
long a GPU took is never compared, only held against the job's limit.

Exit code 0 where every bill holds or is plausible, 23 where one does not hold, else 24 where one
cannot be re-computed.")]
pub(crate) struct AuditArgs {
    /// Receipt files, or objects of `adit run --json`
    #[arg(required = true, value_name = "RECEIPT")]
    files: Vec<PathBuf>,
    /// The module that ran, where it is not found by itself; repeat for more
    #[arg(long, value_name = "FILE")]
    module: Vec<PathBuf>,
    /// What it read, its named inputs too, where it is not found by itself; repeat for more
    #[arg(long, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// What it wrote, where that is compared within a tolerance; repeat for more
    #[arg(long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// What was asked: the job file, where it is not found by itself; repeat for more
    #[arg(long, value_name = "FILE")]
    job: Vec<PathBuf>,
    /// Show every field, not only where one does not hold
    #[arg(long)]
    all: bool,
    /// Print one JSON object a receipt
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &AuditArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    block_on(async {
        let mut signals = StopSignals::listen()?;
        let shelves = Arc::new(Shelves::open(args, &config)?);
        let mut auditor = Auditor { args, config: &config, shelves, runtimes: HashMap::new() };
        tokio::select! {
            exit = auditor.audit_all() => exit,
            // What runs is dropped, and its worker with it.
            () = signals.next() => Err(InterruptedError("left before the end; nothing was decided of what is not told".into()).into()),
        }
    })
}

/// What became of one receipt.
#[derive(Debug)]
struct Audit {
    /// Nothing where the file holds none.
    receipt: Option<Receipt>,
    settled: bool,
    verdict: Verdict,
    /// Nothing was compared where the job did not run.
    fields: Vec<Field>,
    overcharge: Option<i128>,
    run_us: Option<u64>,
}

/// Whether a bill holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// All is as it was claimed.
    Holds,
    /// A clock ended it, and nothing that can be computed speaks against it; why it is no more than that.
    Plausible(&'static str),
    /// Something is not as it was claimed.
    DoesNotHold(String),
    /// Nobody can tell, or not with what is here.
    NotRecomputable(String),
}

/// Audits receipts one after another.
#[derive(Debug)]
struct Auditor<'a> {
    args: &'a AuditArgs,
    config: &'a Config,
    shelves: Arc<Shelves>,
    /// Started for the first job that can be run, by the adapter that they have.
    runtimes: HashMap<Option<LocalAdapter>, Runtime>,
}

impl Auditor<'_> {
    async fn audit_all(&mut self) -> anyhow::Result<Exit> {
        let mut worst = Exit::Success;
        for file in &self.args.files {
            let audit = self.audit(file).await?;
            audit.show(file, self.args)?;
            worst = match (worst, audit.verdict.exit()) {
                (Exit::BadProof, _) | (_, Exit::BadProof) => Exit::BadProof,
                (Exit::Success, exit) => exit,
                (worst, _) => worst,
            };
        }
        Ok(worst)
    }

    async fn audit(&mut self, file: &Path) -> anyhow::Result<Audit> {
        let proof = match Proof::load(file) {
            Ok(proof) => proof,
            // A file that is no receipt proves nothing, and the next is still looked at; one that cannot be read is another matter.
            Err(error) if error.is::<ProofError>() => return Ok(Audit::of_nothing(describe(&error))),
            Err(error) => return Err(error),
        };
        let mut audit = Audit::new(&proof);
        let verdict = match verify::fault(&proof) {
            Some(fault) => Verdict::DoesNotHold(fault),
            None => match self.recompute(file, &proof.receipt.receipt).await? {
                Ok((spec, again)) => audit.compare(&proof.receipt.receipt, &spec, &again),
                Err(reason) => Verdict::NotRecomputable(reason),
            },
        };
        audit.verdict = match verdict {
            // Which says more.
            Verdict::DoesNotHold(_) => verdict,
            _ => self.fault_by_spec(file, &proof).map_or(verdict, Verdict::DoesNotHold),
        };
        Ok(audit)
    }

    /// What of a receipt is beyond what was asked for, where that is known, whether or not its job runs here.
    fn fault_by_spec(&self, file: &Path, proof: &Proof) -> Option<String> {
        let asked = self.shelves.find_job(file, &proof.receipt.receipt.spec).ok()?;
        verify::fault_by_spec(proof, &asked.spec)
    }

    /// Runs the job of a verified receipt again; says why where that is not possible.
    async fn recompute(&mut self, file: &Path, receipt: &Receipt) -> anyhow::Result<Result<(JobSpec, Rerun), String>> {
        if receipt.meter != meter_id() {
            let (there, here) = (short(receipt.meter), short(meter_id()));
            return Ok(Err(format!("another meter: it was counted by {there}, and this build counts by {here}")));
        }
        let (shelves, of, receipt_file) = (Arc::clone(&self.shelves), receipt.clone(), file.to_owned());
        let found = spawn_blocking(move || shelves.find(&receipt_file, &of)).await.context("the job was not looked for")?;
        let (job, bytes) = match found {
            Ok(found) => found,
            Err(reason) => return Ok(Err(reason)),
        };
        let adapter = match receipt.gpu.clone() {
            None => None,
            Some(run) => match spawn_blocking(move || LocalAdapter::to_audit(&run)).await.context("no GPU was looked for")? {
                Ok(adapter) => Some(adapter),
                Err(reason) => return Ok(Err(reason)),
            },
        };
        let runtime = match self.runtime(adapter.clone()).await? {
            Ok(runtime) => runtime,
            Err(reason) => return Ok(Err(reason)),
        };
        let run = async || self.run_once(&runtime, receipt, &job.spec, &bytes).await;
        let again = match run().await? {
            Ok(again) => settle(receipt, &job.spec, again, run).await?,
            Err(reason) => Err(reason),
        };
        if matches!(&again, Ok(again) if again.recomputed.outcome == Outcome::GpuLost) {
            // It keeps who hangs its GPU again away from that, as it would a stranger, and all receipts are one client's here.
            self.runtimes.remove(&adapter);
        }
        Ok(again.map(|again| (job.spec, again)))
    }

    /// Runs a job once more; says why where that is not possible.
    async fn run_once(
        &self,
        runtime: &Runtime,
        receipt: &Receipt,
        spec: &JobSpec,
        bytes: &Bytes,
    ) -> anyhow::Result<Result<Rerun, String>> {
        let kept = Kept { spool: &self.config.dirs.cache, is_wanted: tolerance(receipt).is_some() };
        let mut again = match rerun(runtime, receipt, spec, bytes, kept).await {
            Ok(again) => again,
            Err(error) => return Ok(Err(format!("it does not run here: {}", describe(&error)))),
        };
        if let Some(tolerance) = tolerance(receipt).filter(|_| again.recomputed.output != receipt.output) {
            match self.tolerate(tolerance, receipt, &mut again).await? {
                Ok(tolerated) => again.recomputed.tolerated = Some(tolerated),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(again))
    }

    /// A runtime with this adapter, or without one; or why this machine's GPU cannot be used.
    async fn runtime(&mut self, adapter: Option<LocalAdapter>) -> anyhow::Result<Result<Runtime, String>> {
        if !self.runtimes.contains_key(&adapter) {
            let allow_weak_sandbox = node::allows_weak_sandbox(self.config, false)?;
            let gpu = adapter.as_ref().map(|adapter| adapter.lent(self.config)).transpose()?;
            let runtime = local::runtime(self.config, allow_weak_sandbox, gpu)?;
            if let Err(reason) = runtime.gpu_settled().await {
                return Ok(Err(format!("this machine's GPU cannot be used: {reason}")));
            }
            self.runtimes.insert(adapter.clone(), runtime);
        }
        Ok(Ok(self.runtimes.get(&adapter).cloned().context("the runtime was just started")?))
    }

    /// Compares the output with the one that was paid for, number by number; says what is missing for that.
    async fn tolerate(
        &self,
        tolerance: Tolerance,
        receipt: &Receipt,
        again: &mut Rerun,
    ) -> anyhow::Result<Result<Tolerated, String>> {
        let claimed = match self.shelves.outputs.iter().find(|given| given.blob.digest == receipt.output) {
            Some(given) => File::open(&given.path).with_context(|| given.path.display().to_string())?,
            None => match self.fetch(receipt).await {
                Ok(file) => file,
                Err(error) => return Ok(Err(self.missing_output(receipt, &error))),
            },
        };
        let again = again.output.as_mut().context("the output was to be kept")?.reopen().context("the output")?;
        let compared = spawn_blocking(move || compare_numbers(tolerance, claimed, again)).await.context("the output")?;
        Ok(Ok(compared.context("the output")?))
    }

    /// What the job wrote, from its gateway, which may have it still.
    async fn fetch(&self, receipt: &Receipt) -> anyhow::Result<File> {
        let gateway = link::gateway(self.config, None)?;
        let client = Client::connect(link::load_user_key(self.config, None)?, gateway).await?;
        let blob = BlobRef { digest: receipt.output, bytes: receipt.usage.bytes_out.0 };
        let mut file = tempfile::tempfile().context("a place for the output")?;
        let fetched = client.fetch(blob, &mut file).await;
        client.close().await;
        fetched?;
        file.rewind()?;
        Ok(file)
    }

    fn missing_output(&self, receipt: &Receipt, error: &anyhow::Error) -> String {
        let others: String =
            self.shelves.outputs.iter().map(|given| format!("{} is another output; ", given.path.display())).collect();
        let (bytes, digest) = (receipt.usage.bytes_out.0, receipt.output);
        format!(
            "{others}its numbers hold within a tolerance, and what it wrote is not to be had ({}): give its {bytes} bytes, {digest}, with \
             --output FILE",
            describe(error)
        )
    }
}

/// How often a job runs once more whose claim one run on an adapter of its class does not come to.
const MORE_RUNS: usize = 3;

/// What a job comes to, of which `first` is one run: where that refutes its receipt by nothing but what a GPU computed, whether that is the
/// same in each run. A run that comes to what was claimed is the one that counts.
async fn settle(
    receipt: &Receipt,
    spec: &JobSpec,
    mut first: Rerun,
    run: impl AsyncFn() -> anyhow::Result<Result<Rerun, String>>,
) -> anyhow::Result<Result<Rerun, String>> {
    let is_refuted = |again: &Rerun| Check::of(receipt).is_refuted_by_gpu_alone(receipt, spec, &again.recomputed);
    if !is_refuted(&first) {
        return Ok(Ok(first));
    }
    if first.uses_atomic_results {
        first.recomputed.varies = Some(Varies::AtomicResults);
        return Ok(Ok(first));
    }
    for _ in 0..MORE_RUNS {
        let next = match run().await? {
            Ok(next) => next,
            Err(reason) => return Ok(Err(reason)),
        };
        if !is_refuted(&next) {
            return Ok(Ok(next));
        }
        if !is_same(receipt, &first, &next)? {
            first.recomputed.varies = Some(Varies::Seen);
            break;
        }
    }
    Ok(Ok(first))
}

/// Whether two runs of a job came to the same, but for the time on the GPU.
fn is_same(receipt: &Receipt, one: &Rerun, other: &Rerun) -> anyhow::Result<bool> {
    let counted = |run: &Recomputed| (run.outcome, Usage { gpu_ns: 0, ..run.usage }, run.gpu.clone());
    let is_counted_same = counted(&one.recomputed) == counted(&other.recomputed);
    if !is_counted_same || one.recomputed.output == other.recomputed.output {
        return Ok(is_counted_same);
    }
    match (tolerance(receipt), &one.output, &other.output) {
        (Some(tolerance), Some(one), Some(other)) => {
            let compared = compare_numbers(tolerance, one.reopen().context("the output")?, other.reopen().context("the output")?);
            Ok(compared.context("the output")? == Tolerated::Yes)
        }
        _ => Ok(false),
    }
}

/// The tolerance by which results compare, where one is.
fn tolerance(receipt: &Receipt) -> Option<Tolerance> {
    match receipt.gpu.as_ref()?.comparison {
        Comparison::Tolerance(tolerance) => Some(tolerance),
        Comparison::Exact | Comparison::Class => None,
    }
}

/// How many bytes are compared at a time: whole numbers.
const COMPARED_BYTES: usize = 1 << 20;

/// Compares two outputs, number by number.
fn compare_numbers(tolerance: Tolerance, claimed: impl Read, again: impl Read) -> io::Result<Tolerated> {
    let (mut claimed, mut again) = (BufReader::new(claimed), BufReader::new(again));
    let mut at = 0;
    loop {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        claimed.by_ref().take(COMPARED_BYTES as u64).read_to_end(&mut a)?;
        again.by_ref().take(COMPARED_BYTES as u64).read_to_end(&mut b)?;
        if let Err(byte) = tolerance.compare(&a, &b) {
            return Ok(Tolerated::NotAt(at + byte as u64));
        }
        if a.is_empty() {
            return Ok(Tolerated::Yes);
        }
        at += a.len() as u64;
    }
}

/// Where jobs and their bytes are looked for.
#[derive(Debug)]
struct Shelves {
    store: JobStore,
    /// What the command line names.
    jobs: Vec<(PathBuf, KeptJob)>,
    modules: Vec<Given>,
    inputs: Vec<Given>,
    outputs: Vec<Given>,
}

/// A file that the command line names, with what is in it.
#[derive(Debug)]
struct Given {
    path: PathBuf,
    blob: BlobRef,
}

impl Shelves {
    fn open(args: &AuditArgs, config: &Config) -> anyhow::Result<Self> {
        let job = |path: &PathBuf| match KeptJob::load(path) {
            Ok(job) => Ok((path.clone(), job)),
            Err(error) => Err(usage(format!("job {}: {}", path.display(), describe(&error)))),
        };
        Ok(Self {
            store: JobStore::of_user(config)?,
            jobs: args.job.iter().map(job).collect::<Result<_, _>>()?,
            modules: Given::all("module", &args.module)?,
            inputs: Given::all("input", &args.input)?,
            outputs: Given::all("output", &args.output)?,
        })
    }

    /// Finds what must be run; says what is missing and how to give it.
    fn find(&self, file: &Path, receipt: &Receipt) -> Result<(KeptJob, Bytes), String> {
        let job = match self.find_job(file, &receipt.spec) {
            Ok(job) => job,
            Err(_) if receipt.profile == Profile::Open => return Err(OPEN.to_owned()),
            Err(reason) => return Err(reason),
        };
        if job.spec.profile == Profile::Open {
            return Err(OPEN.to_owned());
        }
        job.spec.check().map_err(|error| error.to_string())?;
        let module = self.find_bytes("module", "module", job.spec.module, &self.modules, job.module.as_deref())?;
        let input = self.find_input("input", job.spec.input, job.input.as_deref())?;
        let find = |NamedInput { name, blob }: &NamedInput| {
            self.find_input(&format!("input `{name}`"), *blob, job.named.get(name).map(PathBuf::as_path))
        };
        let named = job.spec.inputs.iter().map(find).collect::<Result<_, _>>()?;
        Ok((job, Bytes { module, input, named }))
    }

    /// A file with these bytes; nothing where there are none.
    fn find_input(&self, what: &str, blob: BlobRef, origin: Option<&Path>) -> Result<Option<PathBuf>, String> {
        if blob.bytes == 0 {
            return Ok(None);
        }
        self.find_bytes(what, "input", blob, &self.inputs, origin).map(Some)
    }

    /// The job with the specification that a receipt names: given, beside the receipt, or kept.
    fn find_job(&self, file: &Path, spec: &Digest) -> Result<KeptJob, String> {
        let given = self.jobs.iter().map(|(_, job)| job).find(|job| job.spec.digest() == *spec);
        let places = [file.with_extension("job"), self.store.job_path(spec)];
        let kept = || places.iter().filter_map(|path| KeptJob::load(path).ok()).find(|job| job.spec.digest() == *spec);
        given.cloned().or_else(kept).ok_or_else(|| {
            let others: String = self.jobs.iter().map(|(path, _)| format!("{} is another job's; ", path.display())).collect();
            format!("{others}what was asked is not kept here: give the job file {spec}.job of who submitted it with --job FILE")
        })
    }

    /// A file with these bytes: given with `--{flag}`, copied, or where they came from.
    fn find_bytes(
        &self,
        what: &str,
        flag: &str,
        blob: BlobRef,
        given: &[Given],
        origin: Option<&Path>,
    ) -> Result<PathBuf, String> {
        if let Some(given) = given.iter().find(|given| given.blob == blob) {
            return Ok(given.path.clone());
        }
        let copy = self.store.copy_path(&blob.digest);
        if let Some(found) = [Some(&*copy), origin].into_iter().flatten().find(|path| is_still(path, blob)) {
            return Ok(found.to_owned());
        }
        let others: String = given.iter().map(|given| format!("{} is another {flag}; ", given.path.display())).collect();
        let origin = match origin {
            Some(path) if path.exists() => format!("{} has changed since", path.display()),
            Some(path) => format!("{} is not there any more", path.display()),
            None => "where it came from is not known".to_owned(),
        };
        let BlobRef { digest, bytes } = blob;
        Err(format!(
            "{others}the {what} is missing: {origin}, and no copy is kept: give its {bytes} bytes, {digest}, with --{flag} FILE"
        ))
    }
}

/// Why nothing of a run in the open profile can be computed again.
const OPEN: &str = "profile open: the guest saw its node's clock and entropy";

impl Given {
    fn all(what: &str, paths: &[PathBuf]) -> anyhow::Result<Vec<Self>> {
        let read = |path: &PathBuf| match hash_file(path) {
            Ok(blob) => Ok(Self { path: path.clone(), blob }),
            Err(error) => Err(usage(format!("{what} {}: {error}", path.display()))),
        };
        paths.iter().map(read).collect()
    }
}

/// Whether the file at `path` holds `blob`. The size is looked at first, as most files that have changed have another.
fn is_still(path: &Path, blob: BlobRef) -> bool {
    let sized = path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == blob.bytes);
    sized && hash_file(path).is_ok_and(|found| found == blob)
}

impl Audit {
    fn new(proof: &Proof) -> Self {
        let receipt = Some(proof.receipt.receipt.clone());
        Self { receipt, settled: proof.settlement.is_some(), ..Self::of_nothing(String::new()) }
    }

    fn of_nothing(reason: String) -> Self {
        let verdict = Verdict::DoesNotHold(reason);
        Self { receipt: None, settled: false, verdict, fields: Vec::new(), overcharge: None, run_us: None }
    }

    fn compare(&mut self, receipt: &Receipt, spec: &JobSpec, again: &Rerun) -> Verdict {
        let check = Check::of(receipt);
        self.fields = check.compare(receipt, spec, &again.recomputed);
        self.run_us = Some(again.run_us);
        let is_decided = self.fields.iter().all(|field| field.decided);
        // What it should have cost is then not known either.
        self.overcharge = overcharge(receipt, &again.recomputed).filter(|_| is_decided);
        let fault = self.fields.iter().find(|field| !field.holds);
        match (fault, spec.max_price.filter(|max| receipt.cost > *max), check) {
            (Some(_), _, _) => Verdict::DoesNotHold(self.faults()),
            (None, Some(max), _) => Verdict::DoesNotHold(format!("it costs {}, and {max} was the most allowed", receipt.cost)),
            // When it was seen to hang is a clock's word, here as there.
            _ if [receipt.outcome, again.recomputed.outcome] == [Outcome::GpuLost; 2] => Verdict::Plausible(HANGS),
            _ if !is_decided => Verdict::NotRecomputable(self.undecided(receipt, again)),
            (None, None, Check::Equal) => Verdict::Holds,
            (None, None, Check::AtMost) => Verdict::Plausible(STOPPED),
        }
    }

    /// What differs without speaking against the bill, and why it does not.
    fn undecided(&self, receipt: &Receipt, again: &Rerun) -> String {
        let told = tell_all("so do ", self.fields.iter().filter(|field| !field.decided));
        let is_rule = |field: &&Field| field.field == RULE && !field.decided;
        let rule = match self.fields.iter().find(is_rule).map(|field| field.recomputed.to_string()) {
            // What hangs here may not have come to the shader that does.
            Some(exact) if exact == Comparison::Exact.name() && again.recomputed.outcome != Outcome::GpuLost => {
                "; no shader that it made here computes with floats, and then the node's rule is wrong: it should be exact"
            }
            _ => "",
        };
        let doubt = doubt(receipt, &again.recomputed).unwrap_or_default();
        format!("undecided here: {told}{rule}; {doubt}")
    }

    /// What does not hold, the fuel first where it is among it, and what that comes to.
    fn faults(&self) -> String {
        let told = tell_all("nor do ", self.fields.iter().filter(|field| !field.holds));
        format!("{told}; {}", self.tell_overcharge())
    }

    fn tell_overcharge(&self) -> String {
        let amount = |n: i128| Microcredits(u64::try_from(n.unsigned_abs()).unwrap_or(u64::MAX));
        match self.overcharge {
            Some(0) => "the price is the same".to_owned(),
            Some(n) if n > 0 => format!("overcharged by {}", amount(n)),
            Some(n) => format!("undercharged by {}", amount(n)),
            None => "no price can be computed".to_owned(),
        }
    }

    fn show(&self, file: &Path, args: &AuditArgs) -> anyhow::Result<()> {
        if args.json {
            return print_json(&AuditReport::of(file, self));
        }
        let differs = matches!(self.verdict, Verdict::DoesNotHold(_) | Verdict::NotRecomputable(_));
        if !self.fields.is_empty() && (differs || args.all) {
            self.table(args.all).print()?;
        }
        let whose = match &self.receipt {
            Some(receipt) => format!("job {}", short(receipt.job)),
            None => file.display().to_string(),
        };
        let style = self.verdict.style();
        print_line(&format!("{style}{}: {}{style:#}", visible(&whose), visible(&self.line())))
    }

    /// The fields that do not hold or are not decided, or all.
    fn table(&self, all: bool) -> Table<4> {
        let mut table = Table::new(["field", "claimed", "re-computed", ""]);
        let shown = self.fields.iter().filter(|field| all || !field.holds || !field.decided);
        for Field { field, claimed, recomputed, holds, decided, .. } in shown {
            let word = match (holds, decided) {
                (false, _) => "FAIL",
                (true, false) => "undecided",
                (true, true) => "ok",
            };
            table.push([(*field).to_owned(), claimed.to_string(), recomputed.to_string(), word.to_owned()]);
        }
        table
    }

    /// The verdict in one line.
    fn line(&self) -> String {
        let bill = self.receipt.as_ref().map(|r| format!("{}, {}", r.usage.fuel, r.cost)).unwrap_or_default();
        let took = show_micros(self.run_us.unwrap_or_default());
        match &self.verdict {
            Verdict::Holds => format!("bill holds: {bill} (re-run in {took})"),
            Verdict::Plausible(why) => format!("bill is plausible: {bill}: {why} (re-run in {took})"),
            Verdict::DoesNotHold(reason) => format!("bill does not hold: {reason}"),
            Verdict::NotRecomputable(reason) => format!("bill cannot be re-computed: {reason}"),
        }
    }
}

/// Why a bill of a job that a clock ended is no more than plausible.
const STOPPED: &str = "the guest used no less until the claimed fuel, and had not ended; when it was stopped is the node's word";
/// Why a bill of work that hangs GPUs is no more than plausible.
const HANGS: &str = "its work hangs this machine's GPU too; when it was ended is the node's word";
const RULE: &str = "gpu_comparison";
const FUEL: &str = "fuel";
const PRICE: &str = "price_microcredits";

/// Fields in words, the fuel first where it is among them; the price only where it is alone.
fn tell_all<'a>(others: &str, fields: impl Iterator<Item = &'a Field>) -> String {
    let mut fields: Vec<&Field> = fields.filter(|field| field.field != PRICE).collect();
    fields.sort_by_key(|field| field.field != FUEL);
    match fields[..] {
        [] => "price".to_owned(),
        [only] => tell(only),
        [first, ref rest @ ..] => {
            let rest: Vec<&str> = rest.iter().map(|field| field.field).collect();
            format!("{}; {others}{}", tell(first), rest.join(", "))
        }
    }
}

fn tell(field: &Field) -> String {
    let Field { field, claimed, recomputed, .. } = field;
    let short = |value: &Value| if field.ends_with("digest") { short(value) } else { value.to_string() };
    format!("{field} {} claimed, {} re-computed", short(claimed), short(recomputed))
}

impl Verdict {
    fn name(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Plausible(_) => "plausible",
            Self::DoesNotHold(_) => "does_not_hold",
            Self::NotRecomputable(_) => "not_recomputable",
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Holds | Self::Plausible(_) => Exit::Success,
            Self::DoesNotHold(_) => Exit::BadProof,
            Self::NotRecomputable(_) => Exit::NotRecomputable,
        }
    }

    fn style(&self) -> Style {
        match self {
            Self::Holds => GOOD,
            Self::DoesNotHold(_) => BAD,
            Self::Plausible(_) | Self::NotRecomputable(_) => UNKNOWN,
        }
    }
}

/// The object of `adit audit --json`.
#[derive(Debug, Serialize)]
struct AuditReport<'a> {
    file: String,
    job: Option<String>,
    verdict: &'static str,
    reason: &'a str,
    settled: bool,
    fields: &'a [Field],
    overcharged_microcredits: Option<i128>,
    run_ms: Option<f64>,
}

impl<'a> AuditReport<'a> {
    fn of(file: &Path, audit: &'a Audit) -> Self {
        Self {
            file: display(file.display()),
            job: audit.receipt.as_ref().map(|receipt| display(receipt.job)),
            verdict: audit.verdict.name(),
            reason: match &audit.verdict {
                Verdict::DoesNotHold(reason) | Verdict::NotRecomputable(reason) => reason,
                Verdict::Holds | Verdict::Plausible(_) => "",
            },
            settled: audit.settled,
            fields: &audit.fields,
            overcharged_microcredits: audit.overcharge,
            run_ms: audit.run_us.map(|us| us as f64 / 1e3),
        }
    }
}

fn display(value: impl Display) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use adit_protocol::{ByteCount, GpuNeed, GpuRun};

    use super::*;
    use crate::proof::tests::good;

    const NEAR: Tolerance = Tolerance { absolute_e9: 1_000, relative_e9: 0 };

    /// A receipt of a job with a GPU by this rule, and what was asked.
    fn claim(comparison: Comparison) -> (Receipt, JobSpec) {
        let mut spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
        spec.gpu = Some(GpuNeed { comparison, ..GpuNeed::default() });
        spec.limits.gpu_ns = 60_000_000_000;
        let (class, memory) = ("discrete/nvidia/nvidia".to_owned(), ByteCount(4));
        let run = GpuRun { class, comparison, dispatches: 1, bytes_moved: memory, memory_peak: memory };
        (Receipt { gpu: Some(run), ..good().receipt.receipt }, spec)
    }

    /// What `adit audit` says of `receipt` where an adapter of `class` comes to what `change` makes of it.
    fn audit(receipt: &Receipt, spec: &JobSpec, class: &str, change: impl FnOnce(&mut Recomputed)) -> Audit {
        let Receipt { meter, outcome, usage, output, .. } = *receipt;
        let gpu = receipt.gpu.clone().map(|run| GpuRun { class: class.into(), ..run });
        let mut recomputed = Recomputed { meter, engine: "another", outcome, usage, output, tolerated: None, gpu, varies: None };
        change(&mut recomputed);
        verdict(receipt, spec, &Rerun { recomputed, run_us: 1, output: None, uses_atomic_results: false })
    }

    fn verdict(receipt: &Receipt, spec: &JobSpec, again: &Rerun) -> Audit {
        let mut audit = Audit { receipt: Some(receipt.clone()), ..Audit::of_nothing(String::new()) };
        audit.verdict = audit.compare(receipt, spec, again);
        audit
    }

    /// What runs of a job come to whose outputs are these, one after the other, and how many it took.
    async fn settled(receipt: &Receipt, spec: &JobSpec, outputs: &[&[u8]], uses_atomic_results: bool) -> (Audit, usize) {
        let runs = std::cell::Cell::new(0);
        let run = || {
            let output = outputs[runs.replace(runs.get() + 1).min(outputs.len() - 1)];
            let Receipt { meter, outcome, usage, gpu, .. } = receipt.clone();
            let (output, tolerated, varies) = (Digest::of(output), None, None);
            let recomputed = Recomputed { meter, engine: "another", outcome, usage, output, tolerated, gpu, varies };
            Rerun { recomputed, run_us: 1, output: None, uses_atomic_results }
        };
        let first = run();
        let again = settle(receipt, spec, first, async || Ok(Ok(run()))).await.unwrap().unwrap();
        (verdict(receipt, spec, &again), runs.get())
    }

    /// `let at = atomicAdd(&n, 1u); out[at] = id.x;` comes out another way in each run, and an honest node was convicted of it.
    #[tokio::test]
    async fn what_differs_from_run_to_run_on_one_adapter_convicts_nobody() {
        let (mut receipt, spec) = claim(Comparison::Exact);
        receipt.output = Digest::of(b"claimed");
        let rows: [(&[&[u8]], bool, Exit, usize); 6] = [
            (&[b"claimed"], false, Exit::Success, 1),
            // The same thing, each time, and not what was claimed.
            (&[b"a"], false, Exit::BadProof, 1 + MORE_RUNS),
            (&[b"a", b"b"], false, Exit::NotRecomputable, 2),
            (&[b"a", b"a", b"a", b"b"], false, Exit::NotRecomputable, 1 + MORE_RUNS),
            // A run came to it after all.
            (&[b"a", b"claimed"], false, Exit::Success, 2),
            // Few runs are no proof of an order that is not even stated.
            (&[b"a"], true, Exit::NotRecomputable, 1),
        ];
        for (outputs, uses_atomic_results, exit, runs) in rows {
            let (audit, took) = settled(&receipt, &spec, outputs, uses_atomic_results).await;
            assert_eq!((audit.verdict.exit(), took), (exit, runs), "{outputs:?}: {}", audit.line());
        }
        // What no adapter decides convicts at once.
        receipt.usage.gpu_ns = spec.limits.gpu_ns + 1;
        let (audit, took) = settled(&receipt, &spec, &[b"a", b"b"], true).await;
        assert_eq!((audit.verdict.exit(), took), (Exit::BadProof, 1));
    }

    #[test]
    fn two_runs_within_the_tolerance_are_the_same() {
        let (receipt, _) = claim(Comparison::Tolerance(NEAR));
        let run = |number: f32| {
            let Receipt { meter, outcome, usage, gpu, .. } = receipt.clone();
            let bytes = number.to_le_bytes();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            io::Write::write_all(&mut file, &bytes).unwrap();
            let (output, tolerated, varies) = (Digest::of(&bytes), None, None);
            let recomputed = Recomputed { meter, engine: "another", outcome, usage, output, tolerated, gpu, varies };
            Rerun { recomputed, run_us: 1, output: Some(file), uses_atomic_results: false }
        };
        assert!(is_same(&receipt, &run(1.0), &run(1.0 + 5e-7)).unwrap());
        assert!(!is_same(&receipt, &run(1.0), &run(1.1)).unwrap());
        let mut longer = run(1.0);
        longer.recomputed.usage.fuel.0 += 1;
        assert!(!is_same(&receipt, &run(1.0), &longer).unwrap());
        let mut slower = run(1.0);
        slower.recomputed.usage.gpu_ns += 1;
        assert!(is_same(&receipt, &run(1.0), &slower).unwrap(), "no adapter takes the same time twice");
    }

    #[test]
    fn another_class_confirms_and_does_not_refute_and_the_same_class_does_both() {
        type Change = fn(&mut Recomputed);
        let changes: [(Change, &str); 3] = [
            (|r| r.output = Digest::of(b"another"), "output_digest"),
            (|r| r.usage.fuel.0 -= 1, "fuel"),
            (|r| (r.output, r.tolerated) = (Digest::of(b"another"), Some(Tolerated::NotAt(8))), "output_digest"),
        ];
        const OTHER: &str = "software/mesa/llvmpipe";
        for rule in [Comparison::Exact, Comparison::Class, Comparison::Tolerance(NEAR)] {
            let (receipt, spec) = claim(rule);
            let same = receipt.gpu.as_ref().unwrap().class.clone();
            for class in [&same, OTHER] {
                assert_eq!(audit(&receipt, &spec, class, |_| {}).verdict, Verdict::Holds);
            }
            for (change, field) in changes {
                assert_eq!(audit(&receipt, &spec, &same, change).verdict.exit(), Exit::BadProof);
                let other = audit(&receipt, &spec, OTHER, change);
                assert_eq!((other.verdict.exit(), other.overcharge), (Exit::NotRecomputable, None));
                let report = serde_json::to_value(AuditReport::of(Path::new("a.receipt"), &other)).unwrap();
                let reason = report["reason"].as_str().unwrap();
                assert!([field, &same, OTHER].iter().all(|part| reason.contains(part)), "{reason}");
                assert!(reason.starts_with("undecided here: ") && report["verdict"] == "not_recomputable", "{report}");
                let fields = report["fields"].as_array().unwrap();
                let open = |name: &str| fields.iter().any(|f| f["field"] == name && f["decided"] == false && f["holds"] == true);
                assert!(open(field) && !open("gpu_ns"), "{report}");
                // The limits are no adapter's to decide.
                let mut greedy = receipt.clone();
                greedy.usage.gpu_ns = spec.limits.gpu_ns + 1;
                assert_eq!(audit(&greedy, &spec, OTHER, change).verdict.exit(), Exit::BadProof);
                let dear = JobSpec { max_price: Some(Microcredits(0)), ..spec.clone() };
                assert_eq!(audit(&receipt, &dear, OTHER, change).verdict.exit(), Exit::BadProof);
            }
        }
    }

    #[test]
    fn rule_that_is_wrong_by_what_ran_here_is_told() {
        let (receipt, spec) = claim(Comparison::Class);
        let no_floats = |again: &mut Recomputed| again.gpu.as_mut().unwrap().comparison = Comparison::Exact;
        let told = audit(&receipt, &spec, "software/mesa/llvmpipe", no_floats).line();
        assert!(told.contains("undecided") && told.contains("the node's rule is wrong: it should be exact"), "{told}");
        let same = receipt.gpu.as_ref().unwrap().class.clone();
        assert_eq!(audit(&receipt, &spec, &same, no_floats).verdict.exit(), Exit::BadProof);
        let hangs_before = |again: &mut Recomputed| {
            no_floats(again);
            again.outcome = Outcome::GpuLost;
        };
        let told = audit(&receipt, &spec, &same, hangs_before).line();
        assert!(told.contains("undecided") && !told.contains("wrong"), "{told}");
    }

    #[test]
    fn work_that_hangs_here_says_nothing_of_a_node_on_which_it_did_not() {
        let (mut receipt, spec) = claim(Comparison::Exact);
        let same = receipt.gpu.as_ref().unwrap().class.clone();
        let hangs = |again: &mut Recomputed| (again.outcome, again.usage.fuel.0) = (Outcome::GpuLost, 1);
        assert_eq!(audit(&receipt, &spec, &same, hangs).verdict.exit(), Exit::NotRecomputable);
        receipt.outcome = Outcome::GpuLost;
        assert_eq!(audit(&receipt, &spec, &same, hangs).verdict, Verdict::Plausible(HANGS));
        receipt.usage.gpu_ns = spec.limits.gpu_ns + 1;
        assert_eq!(audit(&receipt, &spec, &same, hangs).verdict.exit(), Exit::BadProof);
    }

    #[test]
    fn outputs_are_compared_number_by_number_whatever_their_size() {
        let tolerance = Tolerance { absolute_e9: 1_000, relative_e9: 0 };
        let bytes = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let compare = |a: &[u8], b: &[u8]| compare_numbers(tolerance, a, b).unwrap();
        let many = vec![1.0_f32; COMPARED_BYTES / 4 + 10];
        let mut near = many.clone();
        near.iter_mut().for_each(|number| *number += 0.5e-6);
        assert_eq!(compare(&bytes(&many), &bytes(&near)), Tolerated::Yes);
        near[COMPARED_BYTES / 4 + 3] = 2.0;
        assert_eq!(compare(&bytes(&many), &bytes(&near)), Tolerated::NotAt(COMPARED_BYTES as u64 + 12));
        assert_eq!(compare(&bytes(&many), &bytes(&many[1..])), Tolerated::NotAt(COMPARED_BYTES as u64 + 36));
        assert_eq!(compare(b"", b""), Tolerated::Yes);
    }
}
