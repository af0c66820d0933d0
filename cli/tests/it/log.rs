//! `adit log`: a gateway's log as anybody checks it, and what becomes of one that is not honest.

use std::fs;
use std::path::PathBuf;

use adit_ledger::TreeHead;
use adit_protocol::SecretKey;
use adit_tlog::sign_checkpoint;
use adit_transport::load_key_file;
use serde_json::{Value, json};

use crate::guest;
use crate::network::{Home, Network};
use crate::process::until;

/// Where the gateway serves its log, and the log's verifier key.
fn log_of(network: &Network) -> (String, String) {
    let line = network.gateway.process.stderr.wait_for_line("adit: log at ");
    let (url, key) = line.split_once("; its key is ").unwrap();
    (url.to_owned(), key.to_owned())
}

/// Lets the gateway settle a job, and waits until its log shows it.
fn settle(network: &Network, url: &str, key: &str) {
    network.run(&guest::echo()).args(["--input", "-"]).input("x").run().ok();
    until("a checkpoint with the settlement", || {
        let fsck = network.home.adit(["log", "fsck", url, "--gateway-key", key, "--json"]).run();
        fsck.json_lines().first().is_some_and(|report| report["leaves"]["settlements"] == 1)
    });
}

#[test]
fn log_is_sound_and_a_changed_copy_is_not() {
    let network = Network::with_slots(&[1]);
    let (url, verifier_key) = log_of(&network);
    let key = network.gateway.address.key.to_string();
    settle(&network, &url, &verifier_key);
    let report = network.home.adit(["log", "fsck", &url, "--gateway-key", &key, "--json"]).run().ok().json();
    assert_eq!((&report["sound"], &report["receipts_verified"]), (&true.into(), &1.into()));
    let sum: i64 = report["balances"].as_array().unwrap().iter().map(|account| account["microcredits"].as_i64().unwrap()).sum();
    assert_eq!(sum, 0);
    let table = network.home.adit(["log", "fsck", &url, "--gateway-key", &key, "--balances"]).run().ok();
    assert!(table.text().contains("customer") && table.text().ends_with("sound"), "{}", table.text());

    let mirror = |args: &[&str]| network.home.adit(["log", "mirror", &url, "copy"]).args(args).run();
    mirror(&["--gateway-key", &"11".repeat(32)]).code(23);
    mirror(&["--gateway-key", &key, "--max-bytes", "10"]).code(1).says("give more with --max-bytes");
    assert!(!network.home.path("copy").exists());
    let copied = mirror(&["--gateway-key", &verifier_key]).ok();
    assert!(copied.text().ends_with("signed by the gateway"), "{}", copied.text());
    let Network { home, gateway, nodes } = network;
    drop((gateway, nodes));
    let fsck = |key: &str| home.adit(["log", "fsck", "copy", "--gateway-key", key]).run();
    fsck(&key).ok();
    fsck(&"11".repeat(32)).code(23);
    fsck("no key").code(2);
    let size = report["size"].as_u64().unwrap();
    let bundle = home.path(format!("copy/tile/entries/000.p/{size}"));
    let good = fs::read(&bundle).unwrap();
    let mut bytes = good.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let told = fsck(&key).code(23);
    assert!(told.stderr.contains(&format!("tile/0/000.p/{size}: its hash {}", size - 1)), "{}", told.stderr);
    // What was found before a file cannot be read counts.
    let tile = home.path(format!("copy/tile/0/000.p/{size}"));
    fs::remove_file(&tile).unwrap();
    fs::create_dir(&tile).unwrap();
    let cut = |code| {
        let ran = home.adit(["log", "fsck", "copy", "--gateway-key", &key, "--json"]).run().code(code);
        let report = ran.says("000.p").json();
        assert!(report["unread"].is_string(), "{report}");
        (report["sound"].clone(), report["faults"].as_array().unwrap().len())
    };
    fs::write(&bundle, good).unwrap();
    assert_eq!(cut(1), (Value::Null, 0));
    fs::write(&bundle, b"").unwrap();
    assert_eq!(cut(23), (false.into(), 1));
    home.adit(["log", "fsck", "nowhere", "--gateway-key", &key]).run().code(1);
    home.adit(["log", "fsck", "ftp://log.example", "--gateway-key", &key]).run().code(2);
}

/// Scripts that read the object had none to read where the checkpoint itself was at fault.
#[test]
fn log_without_a_checkpoint_that_holds_is_told_as_json_too() {
    let home = Home::new();
    let secret = SecretKey::from_seed([9; 32]);
    let key = secret.public().to_string();
    fs::create_dir(home.path("log")).unwrap();
    let head = TreeHead { size: 1 << 50, root: [1; 32] };
    let good = String::from_utf8(sign_checkpoint(&secret, &TreeHead { size: 0, root: [1; 32] })).unwrap();
    let rows = [
        (None, "checkpoint is missing"),
        (Some(good.replace("\n0\n", "\n1\n").into_bytes()), "the checkpoint is not signed by the gateway"),
        (Some(sign_checkpoint(&SecretKey::from_seed([8; 32]), &head)), "the checkpoint is not signed by the gateway"),
        (Some(b"nothing".to_vec()), "the checkpoint is not signed by the gateway"),
        (Some(sign_checkpoint(&secret, &head)), "the checkpoint says 1125899906842624 leaves"),
        (Some(vec![b'x'; 1 << 20]), "checkpoint has more than 65536 bytes"),
    ];
    for (checkpoint, fault) in rows {
        if let Some(checkpoint) = checkpoint {
            fs::write(home.path("log/checkpoint"), checkpoint).unwrap();
        }
        let ran = home.adit(["log", "fsck", "log", "--gateway-key", &key, "--json"]).run().code(23).says(fault).json();
        assert_eq!((&ran["sound"], &ran["unread"]), (&false.into(), &Value::Null), "{ran}");
        let faults = ran["faults"].as_array().unwrap();
        assert!(faults.len() == 1 && faults[0].as_str().unwrap().starts_with(fault), "{ran}");
        home.adit(["log", "mirror", "log", "copy", "--gateway-key", &key]).run().code(23).says(fault);
        assert!(!home.path("copy").exists());
    }
    let ran = home.adit(["log", "fsck", "nowhere", "--gateway-key", &key, "--json"]).run().code(1).json();
    assert_eq!((&ran["sound"], &ran["faults"]), (&Value::Null, &json!([])));
    assert!(ran["unread"].as_str().unwrap().contains("nowhere"), "{ran}");

    let check = |file: &str, code| home.adit(["log", "check-evidence", file, "--json"]).run().code(code).json();
    home.file("evidence.json", "{}");
    let ran = check("evidence.json", 23);
    assert!(ran["valid"] == false && ran["file"] == "evidence.json" && ran["reason"].is_string(), "{ran}");
    let ran = check("nothing-here", 1);
    assert!(ran["valid"].is_null() && ran["reason"].is_string(), "{ran}");
}

#[test]
fn log_is_looked_at_once_a_second_at_most() {
    let home = Home::new();
    let key = "11".repeat(32);
    for interval in ["0s", "1ms", "999ms"] {
        let ran = home.adit(["log", "watch", "log", "--gateway-key", &key, "--interval", interval, "--once"]).run();
        ran.code(2).says("give 1s or more");
    }
}

#[test]
fn gateway_that_shows_two_logs_is_caught_and_anybody_can_check_the_proof() {
    let network = Network::with_slots(&[1]);
    let (url, key) = log_of(&network);
    settle(&network, &url, &key);
    let watch = |home: &Home, log: &str| home.adit(["log", "watch", log, "--gateway-key", &key, "--once", "--json"]).run();
    assert_eq!(watch(&network.home, &url).ok().json()["event"], "first");
    assert_eq!(watch(&network.home, &url).ok().json()["event"], "same");
    network.home.adit(["log", "mirror", &url, "copy"]).run().ok();
    let secret = load_key_file(&network.home.path("gateway.key")).unwrap();
    let report = network.home.adit(["log", "fsck", "copy", "--gateway-key", &key, "--json"]).run().ok().json();
    let size = report["size"].as_u64().unwrap();
    let Network { home, gateway, nodes } = network;
    drop((gateway, nodes));

    fs::write(home.path("copy/checkpoint"), sign_checkpoint(&secret, &TreeHead { size, root: [7; 32] })).unwrap();
    let caught = watch(&home, "copy").code(23).json();
    assert_eq!(caught["event"], "misbehaved");
    let evidence = PathBuf::from(caught["evidence"].as_str().unwrap());
    let check = |flags: &[&str]| home.adit(["log", "check-evidence"]).args([&evidence]).args(flags).run();
    let shown = check(&[]).ok();
    assert!(shown.text().contains("it signed two logs"), "{}", shown.text());
    check(&["--gateway-key", &key]).ok();
    check(&["--gateway-key", &"11".repeat(32)]).code(23);
    let mut bytes = fs::read(&evidence).unwrap();
    let at = bytes.iter().rposition(|byte| *byte == b'B').unwrap();
    bytes[at] = b'C';
    fs::write(&evidence, bytes).unwrap();
    check(&[]).code(23);
    // Where its file is taken, the proof is printed, and it is no less one.
    let unkept = watch(&home, "copy").code(23).says("could not be kept").json();
    assert!(unkept["evidence"].is_null() && unkept["what"] == caught["what"], "{unkept}");
    let printed = home.file("printed.json", unkept["proof"].as_str().unwrap());
    home.adit(["log", "check-evidence"]).args([printed]).run().ok();
    home.adit(["log", "check-evidence", "nothing-here"]).run().code(1).says("nothing-here");
    // An old answer is no proof.
    fs::write(home.path("copy/checkpoint"), sign_checkpoint(&secret, &TreeHead { size: size - 1, root: [7; 32] })).unwrap();
    fs::remove_dir_all(home.path("copy/tile")).unwrap();
    assert_eq!(watch(&home, "copy").code(1).json()["event"], "went_back");
}
