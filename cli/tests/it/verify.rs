//! `adit verify`: accepts what was settled, and nothing else.

use std::path::{Path, PathBuf};

use adit_ledger::{Entry, Hold, Ledger, Operation};
use adit_protocol::limits::FUEL_MAX;
use adit_protocol::{
    Attempt, BatchProof, Fuel, Grant, Microcredits, Receipt, SecretKey, Settlement, SignedReceipt, SignedSettlement, Terms,
    TransferId, UnixMillis, sign_receipts, sign_settlements,
};
use adit_tlog::{Cosigner, LogProof, UnixSeconds, sign_checkpoint, with_cosignatures};
use adit_transport::load_key_file;
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};

use crate::guest;
use crate::network::{Home, Network};
use crate::restored::Site;

/// Runs a job and gives its receipt's file.
fn receipt_of(network: &Network, input: &str) -> PathBuf {
    let ran = network.run(&guest::echo()).args(["--input", "-", "--json"]).input(input).run().ok().json();
    network.home.path(format!("data/adit/receipts/{}.receipt", ran["job"].as_str().unwrap()))
}

fn read(path: &PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn stored_receipt_is_accepted_without_a_network() {
    let network = Network::with_slots(&[1]);
    let file = receipt_of(&network, "proven");
    let (gateway_key, home) = (network.gateway.address.key.to_string(), network.home);
    drop((network.gateway, network.nodes));

    let module = home.file("echo.wasm", guest::echo());
    let bytes = home.file("bytes", "proven");
    let verify = |flags: &[&str]| home.adit(["verify"]).args([&file]).args(flags).run();
    verify(&[]).ok();
    let pins = ["--gateway-key", &gateway_key, "--module", "echo.wasm", "--input", "bytes", "--output", "bytes"];
    let checked = verify(&[&pins[..], &["--json"]].concat()).ok().json();
    assert_eq!(checked["valid"], true);
    let checks: Vec<&str> = checked["checks"].as_array().unwrap().iter().map(|c| c["check"].as_str().unwrap()).collect();
    let own = ["node signature", "limits", "cost", "settlement", "log inclusion", "log checkpoint"];
    assert_eq!(checks, [&own[..], &["gateway", "module", "input", "output"]].concat());
    assert!(checked["checks"].as_array().unwrap().iter().all(|check| check["absent"] == false), "{checked}");
    // Elsewhere the job's own file is not there, which is said and is no fault.
    let away = Home::new();
    away.adit(["verify"]).args([&file]).run().ok();
    let seen = away.adit(["verify", "--json"]).args([&file]).run().ok().json();
    let absent: Vec<&Value> = seen["checks"].as_array().unwrap().iter().filter(|check| check["absent"] == true).collect();
    assert_eq!((absent.len(), absent[0]["check"].as_str()), (1, Some("limits")));

    // What it must have been is checked, not only that it was something.
    let wrong = home.file("wrong", "disproven");
    for flags in [["--output", "wrong"], ["--input", "wrong"], ["--module", "wrong"], ["--node-key", &gateway_key]] {
        verify(&flags).code(23);
    }
    drop((module, bytes, wrong));
}

#[test]
fn object_of_a_run_is_accepted_too() {
    let network = Network::with_slots(&[1]);
    let ran = network.run(&guest::echo()).args(["--input", "-", "--json", "--output", "out"]).input("x").run().ok();
    network.home.file("run.json", &ran.stdout);
    network.adit(["verify", "run.json", "--output", "out"]).run().ok();
    // The receipts that the gateway gives out hold the same.
    network.adit(["receipts", "--save", "saved"]).run().ok();
    let job = ran.json()["job"].as_str().unwrap().to_owned();
    assert_eq!(read(&network.home.path(format!("saved/{job}.receipt")))["receipt"], ran.json()["receipt"]);
}

#[test]
fn receipt_with_any_bit_flipped_is_refused() {
    let network = Network::with_slots(&[1]);
    let good = read(&receipt_of(&network, "true"));
    let mut files = Vec::new();
    for field in ["receipt", "settlement"] {
        let bytes = hex::decode(good[field].as_str().unwrap()).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            // Another bit in each byte, so that all of them have their turn.
            flipped[at] ^= 1 << (at % 8);
            let mut form = good.clone();
            form[field] = hex::encode(flipped).into();
            files.push(network.home.file(&format!("flipped/{field}-{at}"), form.to_string()));
        }
    }
    let text = good["log_proof"].as_str().unwrap();
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii()) {
        let mut flipped = text.as_bytes().to_vec();
        flipped[at] = byte ^ (1 << (at % 7));
        let mut form = good.clone();
        form["log_proof"] = String::from_utf8(flipped).unwrap().into();
        files.push(network.home.file(&format!("flipped/log-{at}"), form.to_string()));
    }
    let verdicts = network.adit(["verify", "--json"]).args(&files).run().code(23).json_lines();
    assert_eq!(verdicts.len(), files.len());
    for verdict in verdicts {
        assert_eq!(verdict["valid"], false, "{verdict}");
    }
}

#[test]
fn forged_receipts_are_refused_and_the_fault_is_named() {
    let network = Network::with_slots(&[1]);
    let (good, other) = (read(&receipt_of(&network, "a")), read(&receipt_of(&network, "b")));
    let receipt = SignedReceipt::from_bytes(&hex::decode(good["receipt"].as_str().unwrap()).unwrap()).unwrap().receipt;
    // A thief who signs a receipt that is right but for who ran the job, and one who bills a credit more.
    let thief = SecretKey::from_seed([66; 32]);
    let mut stolen = receipt.clone();
    stolen.node = thief.public();
    let mut dear = stolen.clone();
    dear.cost.0 += 1_000_000;
    let signed = |receipt| Value::from(hex::encode(sign_receipts(&thief, vec![receipt]).remove(0).to_bytes()));
    let rows: [(&str, Value, Value, &[&str]); 8] = [
        ("stolen", signed(stolen.clone()), good["settlement"].clone(), &["settlement", "log inclusion"]),
        ("dear", signed(dear), good["settlement"].clone(), &["cost", "settlement", "log inclusion"]),
        ("borrowed name", signed(receipt), good["settlement"].clone(), &["node signature", "settlement"]),
        ("another's settlement", good["receipt"].clone(), other["settlement"].clone(), &["settlement", "log inclusion"]),
        ("another's receipt", other["receipt"].clone(), good["settlement"].clone(), &["settlement", "log inclusion"]),
        ("no settlement", good["receipt"].clone(), Value::Null, &["settlement"]),
        ("another's proof", good["receipt"].clone(), good["settlement"].clone(), &["log inclusion"]),
        ("no proof but the log's", good["receipt"].clone(), Value::Null, &[]),
    ];
    for (name, receipt, settlement, want) in rows {
        let log = match name {
            "no settlement" => &Value::Null,
            "another's proof" => &other["log_proof"],
            _ => &good["log_proof"],
        };
        let form = json!({ "version": 1, "receipt": receipt, "settlement": settlement, "log_proof": log });
        let file = network.home.file("forged", form.to_string());
        let code = if want.is_empty() { 0 } else { 23 };
        let verdict = network.adit(["verify", "--json"]).args([file]).run().code(code).json();
        let checks = verdict["checks"].as_array().unwrap().iter();
        let failed: Vec<&str> = checks.filter(|c| c["ok"] == false).map(|c| c["check"].as_str().unwrap()).collect();
        assert_eq!(failed, want, "{name}: {verdict}");
    }
}

#[test]
fn bad_file_among_good_ones_is_found() {
    let network = Network::with_slots(&[1]);
    let good = receipt_of(&network, "good");
    let bad = network.home.file("not-a-receipt", "hello");
    let ran = network.adit(["verify", "--json"]).args([&good, &bad, &good]).run().code(23);
    let valid: Vec<bool> = ran.json_lines().iter().map(|row| row["valid"].as_bool().unwrap()).collect();
    assert_eq!(valid, [true, false, true]);
    network.adit(["verify", "nothing-here"]).run().code(2).says("nothing-here: No such file");
    // What it is to be compared to is named wrongly, which says nothing of the receipt.
    for flag in ["--job", "--module", "--input", "--output", "--policy"] {
        network.adit(["verify", flag, "nothing-here"]).args([&good]).run().code(2).says("nothing-here: No such file");
    }
    network.adit(["verify", "--with", "a=nothing-here"]).args([&good]).run().code(2).says("nothing-here: No such file");
}

/// Every check of a receipt that has all that can be checked, in the order of their lines.
const CHECKS: [&str; 7] = ["node signature", "limits", "cost", "settlement", "log inclusion", "log checkpoint", "log witnesses"];

/// What a receipt's file has.
struct Parts {
    receipt: SignedReceipt,
    settlement: SignedSettlement,
    log: LogProof,
}

/// The keys of all who sign something of a receipt, to sign what they never would.
struct Keys {
    node: SecretKey,
    gateway: SecretKey,
    witness: Cosigner,
}

impl Keys {
    fn of(home: &Home) -> Self {
        let key = |name: &str| load_key_file(&home.path(name)).unwrap();
        let witness = Cosigner::new("witness.example/clocktower", key("w.key")).unwrap();
        Self { node: key("node-0.key"), gateway: key("gateway.key"), witness }
    }

    /// A receipt that is settled, logged and witnessed as any other, whatever it says of what was used. Its node signed it with another one.
    fn settle(&self, receipt: Receipt) -> Parts {
        let receipt = Receipt { cost: receipt.price.cost(&receipt.usage).unwrap(), ..receipt };
        let twin = Receipt { attempt: Attempt(99), ..receipt.clone() };
        let receipt = sign_receipts(&self.node, vec![receipt, twin]).remove(0);
        let (gateway, time, held) = (self.gateway.public(), UnixMillis(1), receipt.receipt.cost);
        let (job, customer) = (receipt.receipt.job, receipt.receipt.client);
        let verified = receipt.clone().verify().unwrap();
        let entry = Entry { receipt: verified, settled: time, reason: String::new(), output: None, queue_us: 0, rtt_us: 0 };
        let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).unwrap();
        let operations = [
            Operation::State(Terms { gateway, fee_ppm: 0, time }),
            Operation::Grant(Grant { id: TransferId([1; 16]), customer, amount: held, time }),
            Operation::Hold(Hold { job, customer, amount: held, expires: time }),
            Operation::Settle(Box::new(entry)),
        ];
        assert!(ledger.apply(&operations).unwrap().iter().all(Result::is_ok));
        let (reader, head) = (ledger.reader(), ledger.tree());
        let checkpoint = sign_checkpoint(&self.gateway, &head);
        let log = LogProof {
            extra: reader.leaf(2).unwrap().unwrap(),
            index: 2,
            hashes: reader.prove_leaf(2, head.size).unwrap().unwrap(),
            checkpoint: self.cosigned(&checkpoint, &self.witness),
        };
        Parts { settlement: self.promise(&receipt), receipt, log }
    }

    /// The gateway's word that a receipt is stored at this index.
    fn promise(&self, receipt: &SignedReceipt) -> SignedSettlement {
        let (gateway, job, time) = (self.gateway.public(), receipt.receipt.job, UnixMillis(1));
        let settlement = Settlement { gateway, job, receipt: receipt.digest(), index: 2, time };
        sign_settlements(&self.gateway, &[settlement]).remove(0)
    }

    fn cosigned(&self, checkpoint: &[u8], witness: &Cosigner) -> Vec<u8> {
        let cosignature = witness.cosign(checkpoint, UnixSeconds(1_800_000_000)).unwrap();
        with_cosignatures(checkpoint, [cosignature.line.as_str()])
    }
}

impl Parts {
    /// Has its gateway promise it with another proof than its node's.
    fn prove(&mut self, keys: &Keys, change: fn(&mut BatchProof)) {
        change(&mut self.receipt.proof);
        self.settlement = keys.promise(&self.receipt);
    }

    fn write(&self, home: &Home, name: &str) -> PathBuf {
        let settlement = hex::encode(postcard::to_allocvec(&self.settlement).unwrap());
        let log = String::from_utf8(self.log.to_bytes()).unwrap();
        let receipt = hex::encode(self.receipt.to_bytes());
        home.file(name, json!({ "version": 1, "receipt": receipt, "settlement": settlement, "log_proof": log }).to_string())
    }
}

/// What is wrong with a receipt, how it comes to be, and the checks that fail for it.
type Fault = (&'static str, fn(&mut Parts, &Keys), &'static [&'static str]);

/// One line for each check, in order, that says whether it holds; an exit code that says whether all do.
#[test]
fn each_check_has_one_line_and_a_broken_receipt_fails_those_that_it_breaks() {
    const FAULTS: [Fault; 12] = [
        ("nothing", |_, _| {}, &[]),
        ("its node's signature", |parts, keys| parts.prove(keys, |proof| proof.signature.0[0] ^= 1), &["node signature"]),
        ("its path in the batch", |parts, keys| parts.prove(keys, |proof| proof.path[0][0] ^= 1), &["node signature"]),
        ("its place in the batch", |parts, keys| parts.prove(keys, |proof| proof.index = 1), &["node signature"]),
        ("another's word", |parts, _| parts.receipt.proof.index = 1, &["node signature", "settlement"]),
        ("fuel over the limit", |parts, keys| *parts = keys.settle(over_its_fuel(&parts.receipt.receipt)), &["limits"]),
        ("a microcredit more", dearer, &["cost", "log inclusion"]),
        ("when it was stored", |parts, _| parts.settlement.settlement.time.0 += 1, &["settlement"]),
        ("a hash of its proof", |parts, _| parts.log.hashes[0][0] ^= 1, &["log inclusion"]),
        ("its checkpoint's signature", checkpoint_of_another, &["log checkpoint", "log witnesses"]),
        ("no witness", |parts, keys| parts.log.checkpoint = bare(&parts.log, keys), &["log witnesses"]),
        ("a witness of no policy's", strange_witness, &["log witnesses"]),
    ];
    let (site, _witness) = Site::open();
    let network = site.start(&[]);
    let file = receipt_of(&network, "checked");
    let kept = read(&file);
    let receipt = SignedReceipt::from_bytes(&hex::decode(kept["receipt"].as_str().unwrap()).unwrap()).unwrap().receipt;
    let Network { home, gateway, nodes } = network;
    drop((gateway, nodes));
    let keys = Keys::of(&home);

    let verify = |file: &Path| home.adit(["verify", "--policy", "policy"]).args([file]).run();
    assert_eq!(failing(verify(&file).ok().text()), Vec::<String>::new(), "as it was kept");
    for (what, breaks, want) in FAULTS {
        let mut parts = keys.settle(receipt.clone());
        breaks(&mut parts, &keys);
        let ran = verify(&parts.write(&home, what)).code(if want.is_empty() { 0 } else { 23 });
        assert_eq!(failing(ran.text()), want, "{what}: {}", ran.text());
    }
}

/// The checks that fail, by the lines of a receipt, of which each check has one.
fn failing(text: &str) -> Vec<String> {
    let (head, lines) = text.split_once('\n').unwrap();
    assert!(head.contains(": job ") && head.contains(" credits"), "{head}");
    let lines: Vec<(&str, &str)> = lines.lines().map(|line| line.trim_start().split_once("  ").unwrap()).collect();
    let names = lines.iter().map(|(_, line)| line.trim_start().split_once(": ").unwrap().0);
    assert!(names.clone().eq(CHECKS), "{text}");
    // Of a receipt that is not its node's word no limit holds, and none is broken.
    assert!(lines.iter().all(|(word, _)| ["ok", "FAIL", "none"].contains(word)), "{text}");
    lines.iter().zip(names).filter(|((word, _), _)| *word == "FAIL").map(|(_, name)| name.to_owned()).collect()
}

/// As much as any job may use.
fn over_its_fuel(receipt: &Receipt) -> Receipt {
    let mut receipt = receipt.clone();
    receipt.usage.fuel = Fuel(FUEL_MAX);
    receipt
}

fn dearer(parts: &mut Parts, keys: &Keys) {
    let receipt = &parts.receipt.receipt;
    let dear = Receipt { cost: Microcredits(receipt.cost.0 + 1), ..receipt.clone() };
    parts.receipt = sign_receipts(&keys.node, vec![dear]).remove(0);
    parts.settlement = keys.promise(&parts.receipt);
}

/// The checkpoint as its gateway alone signed it.
fn bare(log: &LogProof, keys: &Keys) -> Vec<u8> {
    sign_checkpoint(&keys.gateway, &log.verify(&log.extra).unwrap())
}

/// Cosigned by the right witness, signed by a gateway that is another's.
fn checkpoint_of_another(parts: &mut Parts, keys: &Keys) {
    let head = parts.log.verify(&parts.log.extra).unwrap();
    parts.log.checkpoint = keys.cosigned(&sign_checkpoint(&SecretKey::from_seed([8; 32]), &head), &keys.witness);
}

fn strange_witness(parts: &mut Parts, keys: &Keys) {
    let witness = Cosigner::new("witness.example/clocktower", SecretKey::from_seed([5; 32])).unwrap();
    parts.log.checkpoint = keys.cosigned(&bare(&parts.log, keys), &witness);
}

/// That it asks nobody shows in the system's calls, and so does that it is no more work than reading three files.
#[test]
fn receipt_is_checked_without_a_socket_and_from_its_own_files_alone() {
    let network = Network::with_slots(&[1]);
    let file = receipt_of(&network, "alone");
    let Network { home, gateway, nodes } = network;
    drop((gateway, nodes));
    let policy = home.file("policy", "quorum none\n");
    let jobs: Vec<_> = std::fs::read_dir(home.path("data/adit/jobs")).unwrap().map(|job| job.unwrap().path()).collect();
    let job = jobs.iter().find(|path| path.extension().is_some_and(|is| is == "job")).unwrap();
    let trace = home.path("trace");
    let verify = home.adit(["verify"]).args(["--policy".as_ref(), policy.as_os_str(), file.as_os_str()]);
    let Some(traced) = verify.traced("%network,%process,%file", &trace) else { return };
    traced.run().ok();
    let calls = std::fs::read_to_string(&trace).unwrap();
    assert!(calls.contains("execve("), "{calls}");
    for line in calls.lines() {
        let (name, arguments) = line.split_once('(').unwrap_or((line, ""));
        let name = name.rsplit(' ').next().unwrap_or(name);
        let never = ["socket", "connect", "clone", "fork", "vfork", "mkdir", "rename", "unlink"];
        assert!(!never.iter().any(|never| name.starts_with(never)), "{line}");
        // Behind the path, which may say anything.
        let flags = arguments.rsplit('"').next().unwrap_or(arguments);
        assert!(!["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|never| flags.contains(never)), "{line}");
    }
    let opened = calls.lines().filter(|line| line.contains("open") && !line.contains(" = -1 "));
    let own: Vec<&str> =
        opened.filter_map(|line| line.split('"').nth(1)).filter(|path| Path::new(path).starts_with(home.path(""))).collect();
    assert_eq!(own, [&policy, &file, job].map(|path| path.to_str().unwrap()), "{calls}");
}
