//! `adit verify`: checks receipts with nothing but arithmetic.

use std::path::{Path, PathBuf};

use adit_protocol::{Digest, PublicKey, Receipt, VerifyError};
use adit_transport::hash_file;
use anstyle::{AnsiColor, Style};
use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::exit::{Exit, ProofError};
use crate::proof::Proof;
use crate::quantity::show_time;
use crate::report::short;
use crate::screen::{describe, show_error};
use crate::table::{print_json, print_line};
use crate::visible::visible;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Check receipts offline: who signed them, what they cost, that they are stored
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit verify ~/.local/share/adit/receipts/*.receipt
  adit run job.wasm --json --output out.bin > run.json && adit verify run.json --output out.bin
  adit verify job.receipt --gateway-key 6f1d5b…    # and that it is this gateway that says so

Exit code 0 where every check of every file holds, else 23.")]
pub(crate) struct VerifyArgs {
    /// Receipt files, or objects of `adit run --json`
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The gateway that must have settled it
    #[arg(long, value_name = "KEY")]
    gateway_key: Option<PublicKey>,
    /// The node that must have run it
    #[arg(long, value_name = "KEY")]
    node_key: Option<PublicKey>,
    /// The module that must have run
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// What it must have read
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
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
}

/// One thing that was checked.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    check: &'static str,
    ok: bool,
    detail: String,
}

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let pins = Pins::read(args)?;
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
    let head = format!("{}: job {}, {}, {}", file.display(), short(receipt.job), receipt.outcome, receipt.cost);
    print_line(&visible(&head))?;
    for Check { check, ok, detail } in checks {
        let (style, word) = if *ok { (GOOD, "ok  ") } else { (BAD, "FAIL") };
        print_line(&format!("  {style}{word}{style:#}  {check}: {}", visible(detail)))?;
    }
    Ok(())
}

/// What is wrong with a receipt by its own words: its signature, its cost, and its settlement where there is one.
pub(crate) fn fault(proof: &Proof) -> Option<String> {
    let settled = proof.settlement.as_ref().map(|_| check_settlement(proof));
    let checks = [Some(check_signature(proof)), Some(check_cost(&proof.receipt.receipt)), settled];
    checks.into_iter().flatten().find(|check| !check.ok).map(|Check { check, detail, .. }| format!("{check}: {detail}"))
}

/// All checks of a receipt, each with what was found.
fn check(proof: &Proof, pins: &Pins) -> Vec<Check> {
    let receipt = &proof.receipt.receipt;
    let mut checks = vec![check_signature(proof), check_cost(receipt), check_settlement(proof)];
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
        return Check::new("settlement", false, "there is none: only the node vouches for this receipt");
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

fn pinned<T: PartialEq + ToString>(name: &'static str, want: T, is: T) -> Check {
    let ok = want == is;
    let detail =
        if ok { format!("{} as expected", short(is)) } else { format!("{} instead of {}", is.to_string(), want.to_string()) };
    Check::new(name, ok, detail)
}

impl Check {
    fn new(check: &'static str, ok: bool, detail: impl ToString) -> Self {
        Self { check, ok, detail: detail.to_string() }
    }
}

impl Pins {
    fn read(args: &VerifyArgs) -> anyhow::Result<Self> {
        let digest = |path: &Option<PathBuf>| {
            let hash = |path: &PathBuf| hash_file(path).map(|blob| blob.digest).with_context(|| path.display().to_string());
            path.as_ref().map(hash).transpose()
        };
        Ok(Self {
            gateway: args.gateway_key,
            node: args.node_key,
            module: digest(&args.module)?,
            input: digest(&args.input)?,
            output: digest(&args.output)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{BlobRef, SecretKey, sign_receipts};

    use super::*;
    use crate::proof::tests::{gateway, good};

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
        assert_eq!(check(&good(), &pins).len(), 6);
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
        let rows: [(Proof, &[&str]); 4] = [
            // Whoever changes a receipt breaks the node's signature, and the settlement names another receipt.
            (dear.clone(), &["node signature", "cost", "settlement"]),
            (Proof { receipt: dear_signed, ..dear }, &["cost", "settlement"]),
            (moved, &["settlement"]),
            (Proof { settlement: None, ..good() }, &["settlement"]),
        ];
        for (proof, want) in rows {
            assert_eq!(failed(&proof, &Pins::default()), want);
        }
    }

    #[test]
    fn receipt_of_another_gateway_or_output_is_told() {
        let pins = Pins { gateway: Some(PublicKey([1; 32])), output: Some(Digest([0; 32])), ..Pins::default() };
        assert_eq!(failed(&good(), &pins), ["gateway", "output"]);
    }
}
