//! `adit audit`: runs jobs again and says whether their bills hold.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_protocol::{BlobRef, Digest, JobSpec, Microcredits, Profile, Receipt};
use adit_runtime::{Runtime, meter_id};
use adit_transport::hash_file;
use anstyle::{AnsiColor, Style};
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::args::Common;
use crate::comparison::{Check, Field, Value, overcharge};
use crate::config::Config;
use crate::exit::{Exit, InterruptedError, ProofError, usage};
use crate::kept::{JobStore, KeptJob};
use crate::local;
use crate::node;
use crate::proof::Proof;
use crate::quantity::show_micros;
use crate::reactor::{StopSignals, block_on};
use crate::report::short;
use crate::rerun::{Bytes, Rerun, rerun};
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

What was asked, and where module and input came from, is kept by `adit run`, `submit` and `map`:
SPEC.job in ~/.local/share/adit/jobs, NAME.job beside the receipts of a map; readable by you
alone, as arguments and environment are in it. Copies of module and input up to 64 MiB each (of a
map's inputs none) are in jobs/blobs, up to 1 GiB in all, those not used for longest go first;
`keep-max` in the config file or ADIT_KEEP_MAX changes that, 0 keeps no copies.

Exit code 0 where every bill holds or is plausible, 23 where one does not hold, else 24 where one
cannot be re-computed.")]
pub(crate) struct AuditArgs {
    /// Receipt files, or objects of `adit run --json`
    #[arg(required = true, value_name = "RECEIPT")]
    files: Vec<PathBuf>,
    /// The module that ran, where it is not found by itself; repeat for more
    #[arg(long, value_name = "FILE")]
    module: Vec<PathBuf>,
    /// What it read, where it is not found by itself; repeat for more
    #[arg(long, value_name = "FILE")]
    input: Vec<PathBuf>,
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
        let mut auditor = Auditor { args, config: &config, shelves, runtime: None };
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
    /// A clock ended it, and nothing that can be computed speaks against it.
    Plausible,
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
    /// Started for the first job that can be run.
    runtime: Option<Runtime>,
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
        audit.verdict = verdict;
        Ok(audit)
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
        if self.runtime.is_none() {
            let allow_weak_sandbox = node::allows_weak_sandbox(self.config, false)?;
            self.runtime = Some(local::runtime(self.config, allow_weak_sandbox)?);
        }
        let runtime = self.runtime.as_ref().context("the runtime was just started")?;
        let again = rerun(runtime, receipt, &job.spec, &bytes).await;
        Ok(again.map(|again| (job.spec, again)).map_err(|error| format!("it does not run here: {}", describe(&error))))
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
        let module = self.find_bytes("module", job.spec.module, &self.modules, job.module.as_deref())?;
        let input = match job.spec.input {
            BlobRef { bytes: 0, .. } => None,
            blob => Some(self.find_bytes("input", blob, &self.inputs, job.input.as_deref())?),
        };
        Ok((job, Bytes { module, input }))
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

    /// A file with these bytes: given, copied, or where they came from.
    fn find_bytes(&self, what: &str, blob: BlobRef, given: &[Given], origin: Option<&Path>) -> Result<PathBuf, String> {
        if let Some(given) = given.iter().find(|given| given.blob == blob) {
            return Ok(given.path.clone());
        }
        let copy = self.store.copy_path(&blob.digest);
        if let Some(found) = [Some(&*copy), origin].into_iter().flatten().find(|path| is_still(path, blob)) {
            return Ok(found.to_owned());
        }
        let others: String = given.iter().map(|given| format!("{} is another {what}; ", given.path.display())).collect();
        let origin = match origin {
            Some(path) if path.exists() => format!("{} has changed since", path.display()),
            Some(path) => format!("{} is not there any more", path.display()),
            None => "where it came from is not known".to_owned(),
        };
        let BlobRef { digest, bytes } = blob;
        Err(format!(
            "{others}the {what} is missing: {origin}, and no copy is kept: give its {bytes} bytes, {digest}, with --{what} FILE"
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
        self.overcharge = overcharge(receipt, &again.recomputed);
        self.run_us = Some(again.run_us);
        let fault = self.fields.iter().find(|field| !field.holds);
        match (fault, spec.max_price.filter(|max| receipt.cost > *max), check) {
            (Some(_), _, _) => Verdict::DoesNotHold(self.faults()),
            (None, Some(max), _) => Verdict::DoesNotHold(format!("it costs {}, and {max} was the most allowed", receipt.cost)),
            (None, None, Check::Equal) => Verdict::Holds,
            (None, None, Check::AtMost) => Verdict::Plausible,
        }
    }

    /// What does not hold, the fuel first where it is among it, and what that comes to.
    fn faults(&self) -> String {
        let mut faults: Vec<&Field> = self.fields.iter().filter(|field| !field.holds && field.field != PRICE).collect();
        faults.sort_by_key(|field| field.field != FUEL);
        let told = match faults[..] {
            [] => "price".to_owned(),
            [only] => tell(only),
            [first, ref rest @ ..] => {
                let rest: Vec<&str> = rest.iter().map(|field| field.field).collect();
                format!("{}; nor do {}", tell(first), rest.join(", "))
            }
        };
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
        let failed = matches!(self.verdict, Verdict::DoesNotHold(_));
        if !self.fields.is_empty() && (failed || args.all) {
            self.table(args.all).print()?;
        }
        let whose = match &self.receipt {
            Some(receipt) => format!("job {}", short(receipt.job)),
            None => file.display().to_string(),
        };
        let style = self.verdict.style();
        print_line(&format!("{style}{}: {}{style:#}", visible(&whose), visible(&self.line())))
    }

    /// The fields that do not hold, or all.
    fn table(&self, all: bool) -> Table<4> {
        let mut table = Table::new(["field", "claimed", "re-computed", ""]);
        for Field { field, claimed, recomputed, holds, .. } in self.fields.iter().filter(|field| all || !field.holds) {
            let word = if *holds { "ok" } else { "FAIL" };
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
            Verdict::Plausible => format!(
                "bill is plausible: {bill}: the guest used no less until the claimed fuel, and had not ended (re-run in {took}); when \
                 it was stopped is the node's word"
            ),
            Verdict::DoesNotHold(reason) => format!("bill does not hold: {reason}"),
            Verdict::NotRecomputable(reason) => format!("bill cannot be re-computed: {reason}"),
        }
    }
}

const FUEL: &str = "fuel";
const PRICE: &str = "price_microcredits";

fn tell(field: &Field) -> String {
    let Field { field, claimed, recomputed, .. } = field;
    let short = |value: &Value| if field.ends_with("digest") { short(value) } else { value.to_string() };
    format!("{field} {} claimed, {} re-computed", short(claimed), short(recomputed))
}

impl Verdict {
    fn name(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Plausible => "plausible",
            Self::DoesNotHold(_) => "does_not_hold",
            Self::NotRecomputable(_) => "not_recomputable",
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Holds | Self::Plausible => Exit::Success,
            Self::DoesNotHold(_) => Exit::BadProof,
            Self::NotRecomputable(_) => Exit::NotRecomputable,
        }
    }

    fn style(&self) -> Style {
        match self {
            Self::Holds => GOOD,
            Self::DoesNotHold(_) => BAD,
            Self::Plausible | Self::NotRecomputable(_) => UNKNOWN,
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
                Verdict::Holds | Verdict::Plausible => "",
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
