//! `adit verify`: accepts what was settled, and nothing else.

use std::path::PathBuf;

use adit_protocol::{SecretKey, SignedReceipt, sign_receipts};
use serde_json::{Value, json};

use crate::guest;
use crate::network::Network;

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
    let away = crate::network::Home::new();
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
