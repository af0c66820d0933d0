//! `adit verify`: checks receipts with nothing but arithmetic.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use adit_ledger::TreeHead;
use adit_protocol::{BlobRef, Digest, GpuRun, JobSpec, Leaf, PublicKey, Receipt, VerifyError};
use adit_tlog::{LogProof, Policy, log_key, verify_checkpoint};
use adit_transport::hash_file;
use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;

use crate::args::Common;
use crate::exit::{Exit, ProofError, usage};
use crate::gateway::read_policy;
use crate::gpu::{show_comparison, show_run};
use crate::kept::{JobStore, KeptJob};
use crate::named::NamedFile;
use crate::proof::Proof;
use crate::quantity::show_time;
use crate::report::short;
use crate::screen::{describe, show_error};
use crate::table::{print_json, print_line};
use crate::visible::visible;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const ABSENT: Style = AnsiColor::Yellow.on_default();

/// Check receipts offline: who signed them, what they cost, that they are in the gateway's log
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit verify ~/.local/share/adit/receipts/*.receipt
  adit run job.wasm --json --output out.bin > run.json && adit verify run.json --output out.bin
  adit verify job.receipt --gateway-key 6f1d5b…    # and that it is this gateway that says so

  adit verify job.receipt --policy witnesses.policy  # and that so many witnesses saw it

Nothing is asked of anybody. What cannot be checked is said, such as limits where the job's own
file is not here; with --policy the log's proof must be there. A partial receipt is of an attempt
that its node's owner cut short: it is paid, another attempt ends the job. Exit code 0 where every
check of every file holds, 23 where one does not, 2 where a file that is named is not there.")]
pub(crate) struct VerifyArgs {
    /// Receipt files, or objects of `adit run --json`
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The gateway that must have settled it
    #[arg(long, value_name = "KEY")]
    gateway_key: Option<PublicKey>,
    /// A C2SP tlog-policy file: the witnesses of which a quorum must have cosigned the log's checkpoint
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The job's file, SPEC.job, for its limits [default: the one in ~/.local/share/adit/jobs]
    #[arg(long, value_name = "FILE")]
    job: Option<PathBuf>,
    /// The node that must have run it
    #[arg(long, value_name = "KEY")]
    node_key: Option<PublicKey>,
    /// The module that must have run
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// What it must have read
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A named input that it must have had, beside --input; give all of them
    #[arg(long, value_name = "NAME=FILE")]
    with: Vec<NamedFile>,
    /// What it must have written
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON object a file
    #[arg(long)]
    json: bool,
}

/// What must be so beyond what a receipt says of itself.
#[derive(Debug, Default)]
struct Pins {
    gateway: Option<PublicKey>,
    node: Option<PublicKey>,
    module: Option<Digest>,
    input: Option<Digest>,
    output: Option<Digest>,
    policy: Option<Policy>,
    /// Where the files of jobs are, or the one file.
    jobs: Option<Jobs>,
}

/// Where the job of a receipt is looked for.
#[derive(Debug)]
enum Jobs {
    Store(JobStore),
    File(PathBuf),
}

/// One thing that was checked.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    check: &'static str,
    ok: bool,
    /// Whether there was nothing to check.
    absent: bool,
    detail: String,
}

pub(crate) fn run(args: &VerifyArgs, common: &Common) -> anyhow::Result<Exit> {
    let pins = Pins::read(args, common)?;
    let mut valid = true;
    for file in &args.files {
        valid &= verify_file(file, &pins, args.json)?;
    }
    Ok(if valid { Exit::Success } else { Exit::BadProof })
}

fn verify_file(file: &Path, pins: &Pins, json: bool) -> anyhow::Result<bool> {
    let proof = match Proof::load(file) {
        Ok(proof) => proof,
        // A file that is no receipt fails like a bad one, and the next is still looked at; one that cannot be read is another matter.
        Err(error) if error.is::<ProofError>() => {
            if json {
                print_json(
                    &serde_json::json!({ "file": file.display().to_string(), "valid": false, "reason": describe(&error) }),
                )?;
            }
            show_error(&error);
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let checks = check(&proof, pins);
    let valid = checks.iter().all(|check| check.ok);
    let receipt = &proof.receipt.receipt;
    if json {
        let job = receipt.job.to_string();
        print_json(&serde_json::json!({ "file": file.display().to_string(), "job": job, "valid": valid, "checks": checks }))?;
    } else {
        show(file, receipt, &checks)?;
    }
    Ok(valid)
}

fn show(file: &Path, receipt: &Receipt, checks: &[Check]) -> anyhow::Result<()> {
    let kind = if receipt.outcome.is_interim() { ", a partial receipt" } else { "" };
    let head = format!("{}: job {}, {}, {}{kind}", file.display(), short(receipt.job), receipt.outcome, receipt.cost);
    print_line(&visible(&head))?;
    for Check { check, ok, absent, detail } in checks {
        let (style, word) = match (ok, absent) {
            (true, false) => (GOOD, "ok  "),
            (true, true) => (ABSENT, "none"),
            (false, _) => (BAD, "FAIL"),
        };
        print_line(&format!("  {style}{word}{style:#}  {check}: {}", visible(detail)))?;
    }
    Ok(())
}

/// What is wrong with a receipt by its own words: its signature, its cost, and its settlement and its proof in the log where these are there.
pub(crate) fn fault(proof: &Proof) -> Option<String> {
    let settled = proof.settlement.as_ref().map(|_| check_settlement(proof));
    let checks = [Some(check_signature(proof)), Some(check_cost(&proof.receipt.receipt)), settled].into_iter().flatten();
    checks.chain(check_log(proof, &Pins::default())).find_map(Check::fault)
}

/// What of a receipt is beyond what was asked for.
pub(crate) fn fault_by_spec(proof: &Proof, spec: &JobSpec) -> Option<String> {
    check_spec(proof, spec).fault()
}

/// All checks of a receipt, each with what was found.
fn check(proof: &Proof, pins: &Pins) -> Vec<Check> {
    let receipt = &proof.receipt.receipt;
    let mut checks = vec![check_signature(proof), check_limits(proof, pins), check_cost(receipt), check_settlement(proof)];
    checks.extend(receipt.gpu.as_ref().map(|run| tell_gpu(run, receipt)));
    checks.extend(receipt.outcome.is_interim().then(|| tell_partial(receipt)));
    checks.extend(check_log(proof, pins));
    checks.extend(pins.gateway.map(|want| pinned("gateway", want, receipt.gateway)));
    checks.extend(pins.node.map(|want| pinned("node", want, receipt.node)));
    checks.extend(pins.module.map(|want| pinned("module", want, receipt.module)));
    checks.extend(pins.input.map(|want| pinned("input", want, receipt.input)));
    checks.extend(pins.output.map(|want| pinned("output", want, receipt.output)));
    checks
}

fn check_signature(proof: &Proof) -> Check {
    let node = short(proof.receipt.receipt.node);
    // A wrong cost is found only under a right signature.
    match proof.receipt.clone().verify() {
        Ok(_) | Err(VerifyError::Cost { .. }) => Check::new("node signature", true, format!("{node} signed it")),
        Err(error) => Check::new("node signature", false, error),
    }
}

fn check_cost(receipt: &Receipt) -> Check {
    match receipt.price.cost(&receipt.usage) {
        Ok(cost) if cost == receipt.cost => Check::new("cost", true, format!("{cost} is what price and usage give")),
        Ok(cost) => Check::new("cost", false, format!("it says {}, price and usage give {cost}", receipt.cost)),
        Err(error) => Check::new("cost", false, error),
    }
}

fn check_settlement(proof: &Proof) -> Check {
    let Some(signed) = &proof.settlement else {
        let vouches = "the gateway's promise is not with it";
        return match &proof.log {
            _ if proof.receipt.receipt.outcome.is_interim() => {
                Check::absent("settlement", "a partial receipt is paid without one: it settles no job")
            }
            Some(_) => Check::absent("settlement", format!("{vouches}; the log's proof is better")),
            None => Check::new("settlement", false, "there is none: only the node vouches for this receipt"),
        };
    };
    let told = &signed.settlement;
    match signed.verify(&proof.receipt) {
        Ok(()) => {
            let detail = format!("gateway {} stored it at index {}, {}", short(told.gateway), told.index, show_time(told.time));
            Check::new("settlement", true, detail)
        }
        Err(error) => Check::new("settlement", false, error),
    }
}

/// What a partial receipt is, so that nobody takes it for the job's end.
fn tell_partial(receipt: &Receipt) -> Check {
    let detail =
        format!("attempt {} was cut short by its node's owner: paid for what it did, and not the job's end", receipt.attempt);
    Check::new("partial receipt", true, detail)
}

/// What the node says of a GPU. Whether it is so, its time apart, `adit audit` finds.
fn tell_gpu(run: &GpuRun, receipt: &Receipt) -> Check {
    let rule = show_comparison(&run.comparison, &run.class);
    Check::new("GPU", true, format!("{}; results compare {rule}", show_run(run, &receipt.usage)))
}

/// What was used is within what was asked for. The receipt names the specification's digest, so no other file will do.
fn check_limits(proof: &Proof, pins: &Pins) -> Check {
    let wanted = proof.receipt.receipt.spec;
    let job = match &pins.jobs {
        Some(Jobs::Store(store)) => KeptJob::load(&store.job_path(&wanted)),
        Some(Jobs::File(path)) => KeptJob::load(path),
        None => return Check::absent("limits", "the job's own file is not looked for"),
    };
    let spec = match (job, &pins.jobs) {
        (Ok(job), _) => job.spec,
        (Err(error), Some(Jobs::Store(_))) if is_missing(&error) => {
            return Check::absent("limits", "the job's own file is not here; --job FILE names it");
        }
        // What became of the user's own file is no fault of the receipt's.
        (Err(error), Some(Jobs::Store(store))) => {
            let (path, why) = (store.job_path(&wanted), describe(&error));
            return Check::absent("limits", format!("the job's own file, {}, is of no use: {why}", path.display()));
        }
        (Err(error), _) => return Check::new("limits", false, describe(&error)),
    };
    check_spec(proof, &spec)
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn check_spec(proof: &Proof, spec: &JobSpec) -> Check {
    match proof.receipt.clone().verify() {
        Ok(receipt) => match receipt.check_spec(spec) {
            Ok(()) => Check::new("limits", true, "all that was used is within what was asked for"),
            Err(error) => Check::new("limits", false, error),
        },
        Err(_) => Check::absent("limits", "the receipt itself does not hold"),
    }
}

/// The receipt stands in the gateway's log, the log's checkpoint is the gateway's, and the witnesses that are asked for saw it.
fn check_log(proof: &Proof, pins: &Pins) -> Vec<Check> {
    const NAMES: [&str; 3] = ["log inclusion", "log checkpoint", "log witnesses"];
    let Some(text) = &proof.log else {
        let why = "no proof is with it; `adit receipts --save DIR` asks the gateway for it";
        return match &pins.policy {
            Some(_) => vec![Check::new(NAMES[0], false, why)],
            None => vec![Check::absent(NAMES[0], why)],
        };
    };
    let log = match LogProof::from_bytes(text.as_bytes()) {
        Ok(log) => log,
        Err(error) => return vec![Check::new(NAMES[0], false, error)],
    };
    let mut checks = vec![match check_leaf(proof, &log) {
        Ok((head, ends_job)) => {
            let role = if ends_job { "" } else { ", as an attempt that did not end its job" };
            let detail = format!("leaf {} of {}, by {} hashes{role}", log.index, head.size, log.hashes.len());
            Check::new(NAMES[0], true, detail)
        }
        Err(error) => Check::new(NAMES[0], false, error),
    }];
    let gateway = proof.receipt.receipt.gateway;
    checks.push(match verify_checkpoint(&log.checkpoint, &gateway) {
        Ok(head) => Check::new(NAMES[1], true, format!("gateway {} signed the tree of {} leaves", short(gateway), head.size)),
        Err(error) => Check::new(NAMES[1], false, error),
    });
    if let Some(policy) = &pins.policy {
        let policy = if policy.logs().is_empty() { policy.clone().for_log(log_key(&gateway)) } else { policy.clone() };
        checks.push(match policy.check(&log.checkpoint) {
            Ok(verdict) => {
                let names: Vec<&str> = verdict.witnesses.iter().map(|witness| witness.name.as_str()).collect();
                let seen = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
                Check::new(NAMES[2], true, format!("{seen} cosigned it; asked for: {}", verdict.quorum))
            }
            Err(error) => Check::new(NAMES[2], false, error),
        });
    }
    checks
}

/// The leaf is this receipt's, at the index that was promised, and leads to the checkpoint's root. Says whether it settles the job.
fn check_leaf(proof: &Proof, log: &LogProof) -> Result<(TreeHead, bool), String> {
    let leaf = Leaf::from_bytes(&log.extra).map_err(|error| error.to_string())?;
    let ends_job = matches!(leaf, Leaf::Settlement(_));
    let settled = leaf.paid().ok_or("the leaf pays no receipt")?;
    if settled.receipt.receipt != proof.receipt.receipt.public() {
        return Err("the leaf is another receipt's".to_owned());
    }
    if ends_job && proof.receipt.receipt.outcome.is_interim() {
        return Err("the leaf says that a partial receipt ended the job".to_owned());
    }
    if settled.receipt.receipt.cost > settled.held || settled.fee > settled.receipt.receipt.cost {
        return Err("the leaf pays more than was held, or keeps more than was paid".to_owned());
    }
    if let Some(promised) = proof.settlement.as_ref().map(|signed| signed.settlement.index).filter(|index| *index != log.index) {
        return Err(format!("it is leaf {}, and the gateway promised {promised}: keep both as evidence", log.index));
    }
    let head = log.verify(&log.extra).map_err(|error| error.to_string())?;
    Ok((head, ends_job))
}

fn pinned<T: PartialEq + ToString>(name: &'static str, want: T, is: T) -> Check {
    let ok = want == is;
    let detail =
        if ok { format!("{} as expected", short(is)) } else { format!("{} instead of {}", is.to_string(), want.to_string()) };
    Check::new(name, ok, detail)
}

impl Check {
    fn new(check: &'static str, ok: bool, detail: impl ToString) -> Self {
        Self { check, ok, absent: false, detail: detail.to_string() }
    }

    /// Nothing to check, which is no fault.
    fn absent(check: &'static str, detail: impl ToString) -> Self {
        Self { check, ok: true, absent: true, detail: detail.to_string() }
    }

    fn fault(self) -> Option<String> {
        (!self.ok).then(|| format!("{}: {}", self.check, self.detail))
    }
}

impl Pins {
    fn read(args: &VerifyArgs, common: &Common) -> anyhow::Result<Self> {
        let jobs = match &args.job {
            Some(path) => {
                File::open(path).map_err(|error| unreadable(path, &error))?;
                Jobs::File(path.clone())
            }
            None => Jobs::Store(JobStore::of_user(&common.load_config()?)?),
        };
        let digest = |path: &Option<PathBuf>| path.as_deref().map(|path| hash(path).map(|blob| blob.digest)).transpose();
        Ok(Self {
            gateway: args.gateway_key,
            node: args.node_key,
            module: digest(&args.module)?,
            input: input_digest(args)?,
            output: digest(&args.output)?,
            policy: args.policy.as_deref().map(read_policy).transpose()?,
            jobs: Some(jobs),
        })
    }
}

/// The digest of all inputs that the command line names; nothing where it names none.
fn input_digest(args: &VerifyArgs) -> anyhow::Result<Option<Digest>> {
    if args.input.is_none() && args.with.is_empty() {
        return Ok(None);
    }
    let nothing = BlobRef::of(b"");
    let stdin = args.input.as_deref().map_or(Ok(nothing), hash)?;
    let mut spec = JobSpec::new(nothing, stdin);
    for file in &args.with {
        spec.add_input(file.name.clone(), hash(&file.path)?);
    }
    Ok(Some(spec.input_digest()))
}

fn hash(path: &Path) -> anyhow::Result<BlobRef> {
    hash_file(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> anyhow::Error {
    usage(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use adit_ledger::Operation;
    use adit_protocol::{BlobRef, JobSpec, Microcredits, SecretKey, Settled, UnixMillis, sign_receipts};
    use adit_tlog::{Cosigner, UnixSeconds, sign_checkpoint, with_cosignatures};

    use super::*;
    use crate::proof::tests::{gateway, good, log_proof, log_proof_by, partial};

    /// The names of the checks that fail.
    fn failed(proof: &Proof, pins: &Pins) -> Vec<&'static str> {
        check(proof, pins).into_iter().filter(|c| !c.ok).map(|c| c.check).collect()
    }

    #[test]
    fn good_receipt_passes_every_check() {
        let pins = Pins {
            gateway: Some(gateway().public()),
            output: Some(BlobRef::of(b"output").digest),
            module: Some(BlobRef::of(b"module").digest),
            ..Pins::default()
        };
        assert!(failed(&good(), &pins).is_empty());
        assert_eq!(check(&good(), &pins).len(), 9);
    }

    #[test]
    fn each_lie_fails_its_own_check() {
        let mut dear = good();
        dear.receipt.receipt.cost.0 += 1;
        let dear_signed = sign_receipts(&SecretKey::from_seed([4; 32]), vec![dear.receipt.receipt.clone()]).remove(0);
        let mut moved = good();
        if let Some(settlement) = &mut moved.settlement {
            settlement.settlement.index += 1;
        }
        let mut forged = LogProof::from_bytes(good().log.unwrap().as_bytes()).unwrap();
        let head = verify_checkpoint(&forged.checkpoint, &gateway().public()).unwrap();
        forged.checkpoint = sign_checkpoint(&SecretKey::from_seed([8; 32]), &head);
        let forged = String::from_utf8(forged.to_bytes()).unwrap();
        let rows: [(Proof, &[&str]); 7] = [
            // Whoever changes a receipt breaks the node's signature, and the settlement names another receipt.
            (dear.clone(), &["node signature", "cost", "settlement", "log inclusion"]),
            (Proof { receipt: dear_signed, ..dear }, &["cost", "settlement", "log inclusion"]),
            (moved, &["settlement", "log inclusion"]),
            (Proof { settlement: None, log: None, ..good() }, &["settlement"]),
            (Proof { log: Some(forged), ..good() }, &["log checkpoint"]),
            (Proof { log: Some(log_proof(&good().receipt, 8)), ..good() }, &["log inclusion"]),
            (Proof { log: Some(String::new()), ..good() }, &["log inclusion"]),
        ];
        for (proof, want) in rows {
            assert_eq!(failed(&proof, &Pins::default()), want);
        }
    }

    /// An audit took a receipt for good whose proof in the log was not.
    #[test]
    fn proof_in_the_log_that_does_not_hold_is_a_fault_and_none_is_not() {
        for log in [String::new(), log_proof(&good().receipt, 8)] {
            let fault = fault(&Proof { log: Some(log), ..good() }).unwrap();
            assert!(fault.starts_with("log inclusion: "), "{fault}");
        }
        for proof in [good(), Proof { log: None, ..good() }, Proof { settlement: None, log: None, ..good() }] {
            assert_eq!(fault(&proof), None);
        }
    }

    #[test]
    fn proof_in_the_log_is_enough_without_a_promise_and_a_policy_wants_it() {
        let unpromised = Proof { settlement: None, ..good() };
        assert!(failed(&unpromised, &Pins::default()).is_empty());
        let policy = |text: &str| Pins { policy: Some(Policy::from_bytes(text.as_bytes()).unwrap()), ..Pins::default() };
        assert!(failed(&good(), &policy("quorum none\n")).is_empty());
        assert_eq!(failed(&Proof { log: None, ..good() }, &policy("quorum none\n")), ["log inclusion"]);
        let witness = Cosigner::new("witness.example", SecretKey::from_seed([5; 32])).unwrap();
        let wanted = policy(&format!("witness w {}\nquorum w\n", witness.key()));
        assert_eq!(failed(&good(), &wanted), ["log witnesses"]);
        let mut log = LogProof::from_bytes(good().log.unwrap().as_bytes()).unwrap();
        let cosignature = witness.cosign(&log.checkpoint, UnixSeconds(1)).unwrap();
        log.checkpoint = with_cosignatures(&log.checkpoint, [cosignature.line.as_str()]);
        let cosigned = Proof { log: Some(String::from_utf8(log.to_bytes()).unwrap()), ..good() };
        assert!(failed(&cosigned, &wanted).is_empty());
        let other_log = policy(&format!("log {}\nquorum none\n", log_key(&PublicKey([1; 32]))));
        assert_eq!(failed(&cosigned, &other_log), ["log witnesses"]);
    }

    #[test]
    fn partial_receipt_holds_without_a_promise_and_is_called_one() {
        let told = |proof: &Proof| check(proof, &Pins::default()).into_iter().map(|c| (c.check, c.detail)).collect::<Vec<_>>();
        assert!(failed(&partial(), &Pins::default()).is_empty());
        assert!(told(&partial()).iter().any(|(name, detail)| *name == "partial receipt" && detail.contains("attempt 2")));
        assert!(told(&good()).iter().all(|(name, _)| *name != "partial receipt"));
        let mut dear = partial();
        dear.receipt.receipt.cost.0 += 1;
        assert_eq!(failed(&dear, &Pins::default()), ["node signature", "cost"]);
        // A policy wants the log's proof, of this receipt too.
        let policy = Pins { policy: Some(Policy::from_bytes(b"quorum none\n").unwrap()), ..Pins::default() };
        assert_eq!(failed(&partial(), &policy), ["log inclusion"]);
        let logged = |proof: Proof, pay| Proof { log: Some(log_proof_by(&proof.receipt, 5, pay)), ..proof };
        let cut = logged(partial(), Operation::Attempt);
        assert!(failed(&cut, &policy).is_empty());
        assert!(told(&cut).iter().any(|(_, detail)| detail.contains("leaf 5 of 6") && detail.contains("did not end its job")));
        // A hedge's loser may have ended like any other.
        let lost = logged(Proof { settlement: None, ..good() }, Operation::Attempt);
        assert!(failed(&lost, &Pins::default()).is_empty());
    }

    #[test]
    fn leaf_that_ends_a_job_by_a_partial_receipt_is_told() {
        let (key, receipt) = (gateway(), partial().receipt);
        let paid = Settled { receipt: receipt.public(), held: receipt.receipt.cost, fee: Microcredits(0), time: UnixMillis(1) };
        let extra = Leaf::Settlement(Box::new(paid)).to_bytes();
        // A gateway that signs whatever it likes.
        let head = TreeHead { size: 1, root: [0; 32] };
        let log = LogProof { extra, index: 0, hashes: Vec::new(), checkpoint: sign_checkpoint(&key, &head) };
        let proof = Proof { log: Some(String::from_utf8(log.to_bytes()).unwrap()), ..partial() };
        let faults = check(&proof, &Pins::default()).into_iter().filter(|c| !c.ok);
        let faults: Vec<_> = faults.map(|c| (c.check, c.detail)).collect();
        assert_eq!(faults, [("log inclusion", "the leaf says that a partial receipt ended the job".to_owned())]);
    }

    #[test]
    fn usage_over_the_jobs_limits_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job");
        let mut spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
        KeptJob::new(&spec, Path::new("module"), None, &[]).save(&path).unwrap();
        let pins = Pins { jobs: Some(Jobs::File(path.clone())), ..Pins::default() };
        assert!(failed(&good(), &pins).is_empty());
        spec.limits.fuel.0 = 1;
        KeptJob::new(&spec, Path::new("module"), None, &[]).save(&path).unwrap();
        assert_eq!(failed(&good(), &pins), ["limits"]);
        std::fs::write(&path, "no job").unwrap();
        assert_eq!(failed(&good(), &pins), ["limits"]);
    }

    #[test]
    fn kept_job_that_is_damaged_is_told_apart_from_none_and_is_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        let store = JobStore::in_dir(dir.path());
        let path = store.job_path(&good().receipt.receipt.spec);
        let pins = Pins { jobs: Some(Jobs::Store(store)), ..Pins::default() };
        let told = || check_limits(&good(), &pins);
        assert!(told().absent && told().detail.contains("is not here"), "{:?}", told());
        std::fs::write(&path, "no job").unwrap();
        assert!(told().absent && told().ok, "{:?}", told());
        assert!(told().detail.contains(path.to_str().unwrap()) && told().detail.contains("not a job file"), "{:?}", told());
    }

    #[test]
    fn receipt_of_another_gateway_or_output_is_told() {
        let pins = Pins { gateway: Some(PublicKey([1; 32])), output: Some(Digest([0; 32])), ..Pins::default() };
        assert_eq!(failed(&good(), &pins), ["gateway", "output"]);
    }
}
