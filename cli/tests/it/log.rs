//! `adit log`: a gateway's log as anybody checks it, and what becomes of one that is not honest.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use adit_ledger::{Hold, Ledger, Operation, TreeHead};
use adit_protocol::{Grant, JobId, Microcredits, PublicKey, SecretKey, Terms, TransferId, UnixMillis, VoidReason};
use adit_tlog::{HttpServer, LogService, Published, PublishedCheckpoint, sign_checkpoint};
use adit_transport::load_key_file;
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};

use crate::guest;
use crate::network::{Home, Network};
use crate::process::{Ran, until};

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

fn log_key() -> SecretKey {
    SecretKey::from_seed([9; 32])
}

/// A ledger of 600 leaves, in three bundles: terms, grants to two customers, and a hold that was given back.
fn ledger() -> Ledger {
    let gateway = log_key().public();
    let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).unwrap();
    let customer = |n: u64| PublicKey([n as u8 % 2 + 1; 32]);
    let grant = |n: u64| {
        let (id, amount, time) = ([n.to_be_bytes(); 2].concat().try_into().unwrap(), Microcredits(n), UnixMillis(n * 1_000));
        Operation::Grant(Grant { id: TransferId(id), customer: customer(n), amount, time })
    };
    let (job, customer, time) = (JobId([7; 16]), customer(1), UnixMillis(599_000));
    let mut operations = vec![Operation::State(Terms { gateway, fee_ppm: 50_000, time: UnixMillis(0) })];
    operations.extend((1..599).map(grant));
    operations.push(Operation::Hold(Hold { job, customer, amount: Microcredits(5), expires: time }));
    operations.push(Operation::Void { job, customer, reason: VoidReason::Expired, time });
    assert!(ledger.apply(&operations).unwrap().iter().all(Result::is_ok));
    assert_eq!(ledger.tree().size, 600);
    ledger
}

/// Serves a ledger's log. With its address.
fn serve(ledger: &Ledger) -> (HttpServer, String) {
    let (head, published) = (ledger.tree(), Published::default());
    published.set(PublishedCheckpoint { head, note: sign_checkpoint(&log_key(), &head).into() });
    let service = LogService::new(ledger.reader().clone(), published);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = HttpServer::spawn("log", listener, move |request| service.answer(&request)).unwrap();
    let url = format!("http://{}", server.address());
    (server, url)
}

#[test]
fn fsck_tells_how_far_it_is_on_a_terminal_and_nowhere_else() {
    let (home, ledger) = (Home::new(), ledger());
    let (_server, url) = serve(&ledger);
    home.adit(["log", "mirror", &url, "copy"]).run().ok();
    let fsck = |flags: &[&str]| home.adit(["log", "fsck", "copy", "--gateway-key", &log_key().public().to_string()]).args(flags);
    // The last bundle comes when the test writes it, and not before the others are told of.
    let last = home.path("copy/tile/entries/002.p/88");
    let bytes = fs::read(&last).unwrap();
    fs::remove_file(&last).unwrap();
    assert!(Command::new("mkfifo").arg(&last).status().unwrap().success());
    let shown = fsck(&[]).start_on_terminal();
    shown.stdout.wait_for_text("512/600 leaves");
    fs::write(&last, &bytes).unwrap();
    let shown = shown.wait().ok();
    let report = shown.text().split("log        600 leaves").nth(1).unwrap();
    assert!(report.contains("sound") && !report.contains("/600 leaves"), "the bar is gone: {shown:?}");

    fs::remove_file(&last).unwrap();
    fs::write(&last, &bytes).unwrap();
    let piped = fsck(&[]).run().ok();
    assert!(piped.stderr.is_empty() && piped.text().starts_with("log        600 leaves, root "), "{piped:?}");
    let quiet = fsck(&["-q"]).run_on_terminal().ok();
    assert!(quiet.text().contains("sound") && !quiet.text().contains("/600 leaves"), "{quiet:?}");
    let is_coloured = |ran: Ran| ran.text().contains("\u{1b}[32m");
    assert!(is_coloured(fsck(&[]).run_on_terminal()) && !is_coloured(fsck(&[]).env("NO_COLOR", "1").run_on_terminal()));
}

/// What scripts read of a check: every field, as it is of a log that is always the same.
#[test]
fn fsck_has_all_that_it_says_in_its_object_too() {
    let (home, ledger) = (Home::new(), ledger());
    let (_server, url) = serve(&ledger);
    let key = log_key().public().to_string();
    let fsck = |flag: &str| home.adit(["log", "fsck", &url, "--gateway-key", &key, flag]).run().ok();
    let mut report = fsck("--json").json();
    let bytes = report.as_object_mut().unwrap().remove("bytes").unwrap();
    assert!(bytes.as_u64().is_some_and(|bytes| bytes > 600 * 32), "{bytes}");
    let root = hex::encode(ledger.tree().root);
    let (even, odd) = ((1..599).filter(|n| n % 2 == 0).sum::<i64>(), (1..599).filter(|n| n % 2 == 1).sum::<i64>());
    let want = json!({
        "sound": true,
        "size": 600,
        "root": root,
        "leaves": { "terms": 1, "grants": 598, "settlements": 0, "attempts": 0, "voids": 1, "payouts": 0 },
        "receipts_verified": 0,
        "first": "1970-01-01T00:00:00Z",
        "last": "1970-01-01T00:09:59Z",
        "balances": [
            { "account": "issuer", "key": null, "microcredits": -even - odd },
            { "account": "customer", "key": "01".repeat(32), "microcredits": even },
            { "account": "customer", "key": "02".repeat(32), "microcredits": odd },
        ],
        "balances_until": 600,
        "faults": [],
        "unread": null,
    });
    assert_eq!(report, want);
    let text = fsck("--balances").text().to_owned();
    let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        format!("log 600 leaves, root {root}"),
        "leaves 1 terms, 598 grants, 0 settlements, 0 attempts, 1 voids, 0 payouts".to_owned(),
        "written 1970-01-01T00:00:00Z to 1970-01-01T00:09:59Z".to_owned(),
        "receipts 0 verified: signature and cost".to_owned(),
        format!("issuer - -{}", Microcredits((even + odd) as u64)),
        format!("customer {} {}", "01".repeat(32), Microcredits(even as u64)),
        "sound".to_owned(),
    ] {
        assert!(lines.contains(&line), "{line}: {text}");
    }
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
