//! `adit audit`: an honest bill holds wherever its job is run again, and a wrong one is told with what is wrong.

use std::path::{Path, PathBuf};

use adit_protocol::{MeterId, Outcome, Price, Receipt, SecretKey, SignedReceipt, sign_receipts};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::guest;
use crate::network::{Home, Network};
use crate::process::until;

/// Runs a job to this exit code and gives its receipt's file.
fn receipt_of(network: &Network, module: &[u8], flags: &[&str], exit: i32) -> PathBuf {
    let ran = network.run(module).args(["--json"]).args(flags).run().code(exit).json();
    network.home.path(format!("data/adit/receipts/{}.receipt", ran["job"].as_str().unwrap()))
}

/// What a receipt file says.
fn read(file: &Path) -> Receipt {
    let form: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    SignedReceipt::from_bytes(&hex::decode(form["receipt"].as_str().unwrap()).unwrap()).unwrap().receipt
}

/// A receipt file of a node that claims what it likes: the signature is right, and the cost follows from price and usage.
fn forge(home: &Home, honest: &Path, claim: impl FnOnce(&mut Receipt)) -> PathBuf {
    let thief = SecretKey::from_seed([66; 32]);
    let mut receipt = read(honest);
    receipt.node = thief.public();
    claim(&mut receipt);
    receipt.cost = receipt.price.cost(&receipt.usage).unwrap();
    let signed = sign_receipts(&thief, vec![receipt]).remove(0);
    home.file("forged.receipt", json!({ "version": 1, "receipt": hex::encode(signed.to_bytes()) }).to_string())
}

/// A microcredit for each unit of fuel, and nothing for anything else.
fn per_fuel() -> Price {
    Price { per_compute_minute: 60_000_000_000, ..Price::default() }
}

/// The fields of an audit that do not hold.
fn faults(audit: &Value) -> Vec<&str> {
    let fields = audit["fields"].as_array().unwrap().iter();
    fields.filter(|field| field["holds"] == false).map(|field| field["field"].as_str().unwrap()).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn every_bill_of_a_guests_own_end_holds_from_a_copy_of_the_data_alone() {
    let network = Network::with_slots(&[1]);
    let input = network.home.file("input", "to be computed again");
    let flags = ["--seed", "7", "--arg", "x", "--env", "A=b", "--input", input.to_str().unwrap()];
    let cases: [(Vec<u8>, &[&str], i32); 10] = [
        (guest::echo(), &flags, 0),
        (guest::random(), &flags, 0),
        (guest::surroundings(), &flags, 0),
        (guest::flood(1), &[], 0),
        (guest::exit(3), &[], 10),
        (guest::trap(), &[], 10),
        (guest::spin(), &["--fuel", "20M"], 11),
        (guest::grow(), &["--memory", "1MiB"], 12),
        (guest::flood(2), &["--output-max", "1MiB"], 15),
        (guest::steady(30_000_000), &flags, 0),
    ];
    let outcomes: Vec<String> =
        cases.iter().map(|(module, flags, exit)| read(&receipt_of(&network, module, flags, *exit)).outcome.to_string()).collect();

    let elsewhere = Home::new();
    copy_folder(&network.home.path("data"), &elsewhere.path("data"));
    drop(network);
    let entries = std::fs::read_dir(elsewhere.path("data/adit/receipts")).unwrap();
    let receipts: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(receipts.len(), cases.len());

    let audits = elsewhere.adit(["audit", "--json"]).args(&receipts).run().ok().json_lines();
    let mut audited = Vec::new();
    for audit in &audits {
        assert_eq!((&audit["verdict"], &audit["overcharged_microcredits"]), (&"holds".into(), &0.into()), "{audit}");
        let fields = audit["fields"].as_array().unwrap();
        assert_eq!(fields.len(), 15);
        for field in fields {
            assert_eq!((&field["equal"], &field["claimed"]), (&true.into(), &field["recomputed"]), "{field}");
        }
        let outcome = fields.iter().find(|field| field["field"] == "outcome").unwrap();
        audited.push(outcome["claimed"].as_str().unwrap().to_owned());
    }
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(sorted(audited), sorted(outcomes));

    // For people: one line each, and nothing else.
    let told = elsewhere.adit(["audit"]).args(&receipts).run().ok();
    let lines: Vec<&str> = told.text().lines().collect();
    assert_eq!(lines.len(), receipts.len(), "{told:?}");
    for line in lines {
        assert!(line.starts_with("job ") && line.contains("…: bill holds: ") && line.contains("(re-run in "), "{line}");
    }
}

#[test]
fn node_that_overcharges_is_found_out_and_by_how_much() {
    let network = Network::with_slots(&[1]);
    let honest = receipt_of(&network, &guest::steady(1_000_000), &[], 0);
    let fuel = read(&honest).usage.fuel.0;
    let forged = forge(&network.home, &honest, |receipt| {
        receipt.price = per_fuel();
        receipt.usage.fuel.0 += 5;
    });
    // By its own words the receipt is right.
    let checks = network.adit(["verify", "--json"]).args([&forged]).run().code(23).json()["checks"].clone();
    let wrong: Vec<&Value> = checks.as_array().unwrap().iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(wrong.iter().map(|check| &check["check"]).collect::<Vec<_>>(), ["settlement"]);

    let audit = network.adit(["audit", "--json"]).args([&forged]).run().code(23).json();
    assert_eq!((&audit["verdict"], &audit["overcharged_microcredits"]), (&"does_not_hold".into(), &5.into()), "{audit}");
    assert_eq!(faults(&audit), ["fuel", "price_microcredits"]);
    let told = network.adit(["audit"]).args([&forged]).run().code(23);
    let want = format!("bill does not hold: fuel {} claimed, {fuel} re-computed; overcharged by 0.000005 credits", fuel + 5);
    assert!(told.text().lines().last().unwrap().ends_with(&want), "{told:?}");
    assert!(told.text().lines().any(|line| line.starts_with("fuel ") && line.ends_with("FAIL")), "{told:?}");
    assert!(!told.text().contains("bytes_in"), "only what does not hold is shown: {told:?}");
    let all = network.adit(["audit", "--all"]).args([&forged]).run().code(23);
    assert!(all.text().lines().any(|line| line.starts_with("bytes_in ") && line.ends_with("ok")), "{all:?}");
}

#[test]
fn every_wrong_claim_is_named() {
    let network = Network::with_slots(&[1]);
    let honest = receipt_of(&network, &guest::steady(1_000_000), &["--max-price", "0.01"], 0);
    type Claim = fn(&mut Receipt);
    let rows: [(Claim, &[&str]); 14] = [
        (|r| r.outcome = Outcome::OutOfFuel, &["outcome"]),
        // It had no GPU.
        (|r| r.usage.gpu_ns = 1, &["gpu_ns"]),
        (|r| r.outcome = Outcome::OutOfGpuTime, &["outcome"]),
        (|r| r.outcome = Outcome::GpuLost, &["outcome"]),
        // What is run again is what was asked for, whatever the receipt calls it.
        (|r| r.module.0[0] ^= 1, &["module"]),
        (|r| r.input.0[0] ^= 1, &["input"]),
        (|r| r.output.0[0] ^= 1, &["output_digest"]),
        (|r| r.usage.memory_peak.0 += 65_536, &["memory_peak_bytes"]),
        (|r| r.usage.memory_fuel += 1, &["memory_fuel"]),
        (|r| r.usage.bytes_in.0 += 1, &["bytes_in"]),
        (|r| r.usage.bytes_out.0 += 1, &["bytes_out"]),
        (|r| r.usage.host_calls += 1, &["host_calls"]),
        // To the client's good, and still a lie.
        (|r| r.usage.fuel.0 -= 1, &["fuel"]),
        // A node may not get out of it by calling the run irreproducible.
        (|r| r.profile = adit_protocol::Profile::Open, &["profile"]),
    ];
    for (claim, want) in rows {
        let forged = forge(&network.home, &honest, |receipt| {
            receipt.price = Price::default();
            claim(receipt);
        });
        let audit = network.adit(["audit", "--json"]).args([&forged]).run().code(23).json();
        assert_eq!(faults(&audit), want, "{audit}");
        assert!(audit["reason"].as_str().unwrap().contains(want[0]), "{audit}");
    }
    // All is as it ran, but the price is not what was agreed to.
    let dear = forge(&network.home, &honest, |receipt| receipt.price = per_fuel());
    let told = network.adit(["audit"]).args([&dear]).run().code(23);
    assert!(told.text().contains("and 0.010000 credits was the most allowed"), "{told:?}");
    // The engine's name is no claim about the bill.
    let renamed = forge(&network.home, &honest, |receipt| receipt.engine = "another".into());
    network.adit(["audit"]).args([renamed]).run().ok();
}

#[test]
fn bill_of_a_clock_is_plausible_unless_the_guest_had_ended_or_used_less() {
    let network = Network::with_slots(&[1]);
    let timed_out = receipt_of(&network, &guest::spin(), &["--timeout", "100ms", "--fuel", "1T"], 13);
    let run = network.run(&guest::hold()).args(["--fuel", "100T", "--json"]).start();
    run.stderr.wait_for_text(guest::READY);
    run.signal(Signal::INT);
    let job = run.wait().code(14).json()["job"].as_str().unwrap().to_owned();
    let cancelled = network.home.path(format!("data/adit/receipts/{job}.receipt"));
    let told = network.adit(["audit"]).args([&timed_out, &cancelled]).run().ok();
    assert_eq!(told.text().matches("bill is plausible: ").count(), 2, "{told:?}");
    assert_eq!(told.text().matches("is the node's word").count(), 2, "{told:?}");

    // A guest that had long ended, billed for all the time that it was allowed.
    let finished = receipt_of(&network, &guest::steady(1_000_000), &[], 0);
    let used = read(&finished).usage.fuel.0;
    let idle = forge(&network.home, &finished, |receipt| {
        receipt.outcome = Outcome::TimedOut;
        receipt.price = per_fuel();
        receipt.usage.fuel.0 += 1_000_000_000;
    });
    let audit = network.adit(["audit", "--json"]).args([&idle]).run().code(23).json();
    assert_eq!(faults(&audit), ["outcome", "fuel", "price_microcredits"], "{audit}");
    assert_eq!(audit["overcharged_microcredits"], 1_000_000_000);
    let want = format!("fuel {} claimed, {used} re-computed", used + 1_000_000_000);
    assert!(audit["reason"].as_str().unwrap().starts_with(&want), "{audit}");

    // One that still ran, billed for memory that it never had, and for output that it did not write.
    type Claim = fn(&mut Receipt);
    let rows: [(Claim, &[&str]); 2] =
        [(|r| r.usage.memory_peak.0 += 65_536, &["memory_peak_bytes"]), (|r| r.usage.bytes_out.0 += 1, &["bytes_out"])];
    for (claim, want) in rows {
        let forged = forge(&network.home, &timed_out, |receipt| {
            receipt.price = Price::default();
            claim(receipt);
        });
        let audit = network.adit(["audit", "--json"]).args([&forged]).run().code(23).json();
        assert_eq!(faults(&audit), want, "{audit}");
    }
}

/// What the re-run may use was told to the guest as its budget: it ended before it had used what was claimed, and an honest node was convicted.
#[test]
fn bill_of_a_guest_that_looks_at_its_budget_is_plausible_where_it_was_stopped() {
    let network = Network::with_slots(&[1]);
    let run = network.run(&guest::anytime()).args(["--fuel", "100T", "--json"]).start();
    run.stderr.wait_for_text(guest::READY);
    run.signal(Signal::INT);
    let job = run.wait().code(14).json()["job"].as_str().unwrap().to_owned();
    let cancelled = network.home.path(format!("data/adit/receipts/{job}.receipt"));
    let timed_out = receipt_of(&network, &guest::anytime(), &["--timeout", "50ms", "--fuel", "100T"], 13);
    let told = network.adit(["audit"]).args([&cancelled, &timed_out]).run().ok();
    assert_eq!(told.text().matches("bill is plausible: ").count(), 2, "{told:?}");
    let finished = receipt_of(&network, &guest::anytime(), &["--fuel", "1010M"], 0);
    let told = network.adit(["audit"]).args([&finished]).run().ok();
    assert!(told.text().contains("bill holds"), "{told:?}");
}

/// What was written before a clock struck is the start of what the guest writes.
#[test]
fn output_before_a_cancellation_is_checked() {
    let network = Network::with_slots(&[1]);
    let honest = receipt_of(&network, &guest::flood(1), &[], 0);
    let piece = |n: u32| [&n.to_le_bytes()[..], &[0; 65_532]].concat();
    let whole: Vec<u8> = (0..16).flat_map(piece).collect();
    let cancelled = |output: &[u8]| {
        forge(&network.home, &honest, |receipt| {
            receipt.outcome = Outcome::Cancelled;
            receipt.usage.bytes_out.0 = output.len() as u64;
            receipt.output = adit_protocol::Digest::of(output);
        })
    };
    for bytes in [0, 1, 100_000, whole.len()] {
        let told = network.adit(["audit"]).args([cancelled(&whole[..bytes])]).run().ok();
        assert!(told.text().contains("plausible"), "{told:?}");
    }
    let other = vec![1; 100_000];
    let audit = network.adit(["audit", "--json"]).args([cancelled(&other)]).run().code(23).json();
    assert_eq!(faults(&audit), ["output_digest"]);
}

#[test]
fn what_nobody_can_compute_again_is_no_verdict() {
    let mut network = Network::empty();
    network.add_node(&["--slots", "1", "--allow-open"]);
    let open = receipt_of(&network, &guest::random(), &["--profile", "open"], 0);
    let told = network.adit(["audit"]).args([&open]).run().code(24);
    assert!(told.text().contains("bill cannot be re-computed: profile open: "), "{told:?}");

    let good = receipt_of(&network, &guest::echo(), &[], 0);
    let foreign = forge(&network.home, &good, |receipt| receipt.meter = MeterId([7; 32]));
    let audit = network.adit(["audit", "--json"]).args([&foreign]).run().code(24).json();
    assert_eq!((&audit["verdict"], &audit["fields"]), (&"not_recomputable".into(), &json!([])), "{audit}");
    assert!(audit["reason"].as_str().unwrap().starts_with("another meter: it was counted by 07070707…"), "{audit}");

    // The worst of several is the exit code, and each has its line.
    let bad = network.home.file("bad.receipt", "hello");
    let audits = network.adit(["audit", "--json"]).args([&good, &open, &good]).run().code(24).json_lines();
    let verdicts: Vec<&str> = audits.iter().map(|audit| audit["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["holds", "not_recomputable", "holds"]);
    let audits = network.adit(["audit", "--json"]).args([&bad, &open, &good]).run().code(23).json_lines();
    assert_eq!((audits.len(), &audits[0]["job"]), (3, &Value::Null));
    network.adit(["audit", "nothing-here"]).run().code(2).says("nothing-here: No such file");
}

#[test]
fn receipt_that_proves_nothing_is_not_run() {
    let network = Network::with_slots(&[1]);
    let good = receipt_of(&network, &guest::echo(), &[], 0);
    let mut form: Value = serde_json::from_slice(&std::fs::read(&good).unwrap()).unwrap();
    let settlement = form["settlement"].take();
    let mut signed = SignedReceipt::from_bytes(&hex::decode(form["receipt"].as_str().unwrap()).unwrap()).unwrap();
    signed.receipt.usage.host_calls += 1;
    form["receipt"] = hex::encode(signed.to_bytes()).into();
    let altered = network.home.file("altered.receipt", form.to_string());
    form["receipt"] = hex::encode(SignedReceipt { receipt: read(&good), ..signed }.to_bytes()).into();
    form["settlement"] = format!("{}00", settlement.as_str().unwrap().split_at(2).0).into();
    let unsettled = network.home.file("unsettled.receipt", form.to_string());
    for (file, want) in [(altered, "node signature"), (unsettled, "not a settlement")] {
        let audit = network.adit(["audit", "--json"]).args([file]).run().code(23).json();
        assert_eq!((&audit["verdict"], &audit["run_ms"]), (&"does_not_hold".into(), &Value::Null));
        assert!(audit["reason"].as_str().unwrap().contains(want), "{audit}");
    }
}

#[test]
fn missing_bytes_are_named_with_the_way_to_give_them() {
    let network = Network::with_slots(&[1]);
    let module = network.home.file("tool.wasm", guest::echo());
    let input = network.home.file("book.txt", "once upon a time");
    let run = |input: &str| {
        let run = network.adit(["run", "tool.wasm", "--json", "--input", input]).env("ADIT_KEEP_MAX", "0");
        let job = run.input("by a pipe").run().ok().json()["job"].as_str().unwrap().to_owned();
        network.home.path(format!("data/adit/receipts/{job}.receipt"))
    };
    let (receipt, piped) = (run("book.txt"), run("-"));
    assert!(!network.home.path("data/adit/jobs/blobs").exists(), "no copies were to be kept");
    let audit = |flags: &[&str]| network.adit(["audit"]).args([&receipt]).args(flags).run();
    audit(&[]).ok();

    std::fs::remove_file(&input).unwrap();
    let told = audit(&[]).code(24);
    let want = format!("the input is missing: {} is not there any more", input.display());
    assert!(told.text().contains(&want) && told.text().contains("with --input FILE"), "{told:?}");
    let told = network.adit(["audit"]).args([&piped]).run().code(24);
    assert!(told.text().contains("the input is missing: where it came from is not known"), "{told:?}");
    network.home.file("pipe", "by a pipe");
    network.home.file("again.txt", "once upon a time");
    audit(&["--input", "again.txt"]).ok();
    // Several receipts, several inputs: each finds its own.
    network.adit(["audit"]).args([&receipt, &piped]).args(["--input", "pipe", "--input", "again.txt"]).run().ok();

    network.home.file("tool.wasm", guest::random());
    let told = audit(&["--input", "again.txt"]).code(24);
    let want = format!("the module is missing: {} has changed since", module.display());
    assert!(told.text().contains(&want) && told.text().contains("with --module FILE"), "{told:?}");
    let told = audit(&["--input", "again.txt", "--module", "tool.wasm"]).code(24);
    assert!(told.text().contains("tool.wasm is another module; "), "{told:?}");
    network.home.file("kept.wasm", guest::echo());
    audit(&["--input", "again.txt", "--module", "kept.wasm"]).ok();
    audit(&["--module", "nothing-here"]).code(2).says("module nothing-here: No such file");
}

#[test]
fn copies_stand_in_for_files_that_changed() {
    let network = Network::with_slots(&[1]);
    network.home.file("tool.wasm", guest::echo());
    let ran = network.adit(["run", "tool.wasm", "--json", "--input", "-"]).input("by a pipe").run().ok();
    network.home.file("tool.wasm", "no module any more");
    network.home.file("run.json", &ran.stdout);
    // The object of a run is as good as its receipt.
    let told = network.adit(["audit", "run.json"]).run().ok();
    assert!(told.text().contains("bill holds"), "{told:?}");
    // A copy that was altered is not believed, nor is a file of the right size.
    for entry in std::fs::read_dir(network.home.path("data/adit/jobs/blobs")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(path, vec![0; bytes.len()]).unwrap();
    }
    let told = network.adit(["audit", "run.json"]).run().code(24);
    assert!(told.text().contains("the module is missing"), "{told:?}");
    network.home.file("tool.wasm", vec![0; guest::echo().len()]);
    let told = network.adit(["audit", "run.json"]).run().code(24);
    assert!(told.text().contains("tool.wasm has changed since"), "{told:?}");
    network.home.file("tool.wasm", guest::echo());
    let told = network.adit(["audit", "run.json"]).run().code(24);
    assert!(told.text().contains("the input is missing"), "{told:?}");
}

#[test]
fn job_of_somebody_else_is_audited_with_its_job_file() {
    let network = Network::with_slots(&[1]);
    let receipt = receipt_of(&network, &guest::echo(), &[], 0);
    let job = network.home.path(format!("data/adit/jobs/{}.job", read(&receipt).spec));
    let other = receipt_of(&network, &guest::random(), &[], 0);
    let other_job = network.home.path(format!("data/adit/jobs/{}.job", read(&other).spec));
    let auditor = Home::new();
    let module = auditor.file("echo.wasm", guest::echo());
    let audit = |flags: &[&Path]| {
        let flags = flags.iter().flat_map(|path| [Path::new("--job"), path]);
        auditor.adit(["audit"]).args([&receipt]).args([Path::new("--module"), &module]).args(flags).run()
    };
    let told = audit(&[]).code(24);
    assert!(told.text().contains(&format!("give the job file {}.job", read(&receipt).spec)), "{told:?}");
    let told = audit(&[&other_job]).code(24);
    assert!(told.text().contains("is another job's; "), "{told:?}");
    audit(&[&other_job, &job]).ok();
}

#[test]
fn jobs_that_nobody_waited_for_and_maps_can_be_audited_too() {
    let network = Network::with_slots(&[1]);
    let module = network.module(&guest::echo());
    let job = network.adit(["submit"]).args([&module]).args(["--input", "-"]).input("later").run().ok().text().to_owned();
    assert_eq!(network.adit(["output", &job, "--receipt", "mine"]).run().ok().text(), "later");
    network.adit(["audit", "mine"]).run().ok();
    // What the gateway gives out has no settlement, and is audited all the same.
    network.adit(["receipts", "--save", "saved"]).run().ok();
    let audit = network.adit(["audit", "--json", &format!("saved/{job}.receipt")]).run().ok().json();
    assert_eq!((&audit["verdict"], &audit["settled"]), (&"holds".into(), &false.into()));

    let inputs = ["a", "b"].map(|name| network.home.file(name, name.repeat(100)));
    network.adit(["map"]).args([&module]).args(&inputs).args(["--out", "out"]).run().ok();
    std::fs::remove_file(&module).unwrap();
    let audits = network.adit(["audit", "--json", "out/receipts/a.receipt", "out/receipts/b.receipt"]).run().ok().json_lines();
    assert!(audits.iter().all(|audit| audit["verdict"] == "holds" && audit["settled"] == true), "{audits:?}");
}

#[test]
fn refused_job_leaves_no_job_file() {
    let network = Network::with_slots(&[1]);
    network.run(&guest::invalid().0).run().code(20);
    let left = std::fs::read_dir(network.home.path("data/adit/jobs")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(left.filter(|path| path.extension().is_some_and(|e| e == "job")).count(), 0);
}

#[test]
fn interrupted_audit_ends_at_once_with_its_workers() {
    let network = Network::with_slots(&[1]);
    let honest = receipt_of(&network, &guest::spin(), &["--timeout", "50ms", "--fuel", "100T"], 13);
    // A day's work to compute again.
    let endless = forge(&network.home, &honest, |receipt| receipt.usage.fuel.0 = 90_000_000_000_000);
    let audit = network.adit(["audit"]).args([&endless]).start();
    until("a worker was started", || !audit.children().is_empty());
    let workers = audit.children();
    audit.signal(Signal::INT);
    let ran = audit.wait().code(130).says("nothing was decided");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    until("its workers are gone", || workers.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
}
