//! `adit ledger`: copies of a ledger that is written to, what is made of them, and what is no ledger.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use adit_ledger::{Ledger, Operation};
use adit_protocol::{Digest, Grant, Microcredits, Terms, TransferId, UnixMillis};
use adit_transport::load_or_create_key_file;
use rustix::process::Signal;

use crate::guest;
use crate::network::{Gateway, Home, Network};

#[test]
fn backup_of_a_running_gateway_is_checked_and_takes_a_damaged_ledgers_place() {
    let mut network = Network::with_slots(&[1]);
    let run = |network: &Network, input: &str| network.run(&guest::echo()).args(["--input", "-"]).input(input).run().ok();
    let key = network.home.path("gateway.key").to_str().unwrap().to_owned();
    run(&network, "before");
    network.adit(["ledger", "backup"]).run().code(2).says("gateway.key is not there");
    let user = ["ledger", "backup", "--key", "config/adit/client.key"];
    network.adit(user).run().code(20).says("connect with the gateway's own key");
    let made = network.adit(["ledger", "backup", "--key", &key, "--json"]).run().ok().json();
    let (backup, leaves) = (made["file"].as_str().unwrap().to_owned(), made["leaves"].as_u64().unwrap());
    run(&network, "after");
    let data = network.home.path("gateway");
    let data = data.to_str().unwrap();
    network.adit(["ledger", "rebuild", "--check", "--data", data]).run().code(2).says("is open already");
    let host = network.gateway.address.host.clone();
    network.gateway.process.kill_in_place();

    let check = |args: &[&str]| network.home.adit(["ledger", "rebuild", "--check", "--json"]).args(args).run();
    let whole = check(&["--data", data]).ok().json();
    assert!(whole["sound"] == true && whole["leaves"].as_u64().unwrap() > leaves, "{whole}");
    let bytes = fs::read(&backup).unwrap();
    assert_eq!(check(&["--file", &backup]).ok().json()["leaves"], leaves);
    assert!(fs::read(&backup).unwrap() == bytes, "a check only reads");

    // A bit of a receipt flips on the disk, also in pages that were left behind: which is in use, the file alone does not show.
    let file = network.home.path("gateway/ledger.redb");
    let mut bytes = fs::read(&file).unwrap();
    while let Some(at) = bytes.windows(9).position(|window| window == b"wasmtime ") {
        bytes[at] ^= 1;
    }
    fs::write(&file, &bytes).unwrap();
    let bad = check(&["--data", data]).code(23).json();
    assert!(bad["sound"] == false && bad["reason"].is_string(), "{bad}");

    let restore = |args: &[&str]| {
        network.home.adit(["ledger", "restore", &backup, "--data", data, "--key", &key, "--json"]).args(args).run()
    };
    restore(&[]).code(2).says("--replace moves it aside");
    let bytes = fs::read(&file).unwrap();
    let restored = restore(&["--replace"]).ok().json();
    assert_eq!(restored["leaves"], leaves);
    assert!(fs::read(restored["replaced"].as_str().unwrap()).unwrap() == bytes, "what was there is kept");
    check(&["--data", data]).ok();

    // What is no backup changes nothing.
    network.home.file("nothing", "no ledger");
    let args = ["ledger", "restore", "nothing", "--data", data, "--key", &key, "--replace"];
    network.home.adit(args).run().code(23);
    let elsewhere = ["ledger", "restore", "nothing", "--data", data, "--key", "no.key", "--replace"];
    network.home.adit(elsewhere).run().code(2).says("is not there");
    let missing = ["ledger", "restore", "nowhere", "--data", data, "--key", &key, "--replace"];
    network.home.adit(missing).run().code(2).says("backup nowhere: No such file");
    check(&["--file", "nothing"]).code(23);
    assert_eq!(check(&["--data", data]).ok().json()["leaves"], leaves);

    // Without its ledger a gateway does not begin anew beside what is left of it.
    let away = network.home.path("away");
    fs::rename(&file, &away).unwrap();
    Gateway::command(&network.home, "127.0.0.1:0").run().code(1).says("but there is");
    fs::rename(&away, &file).unwrap();

    network.gateway = Gateway::start(&network.home, &host);
    let receipts = network.adit(["receipts", "--json"]).run().ok().json_lines();
    assert_eq!(receipts.len(), 1, "the job after the backup is not in it");
    run(&network, "again");
}

/// Makes a gateway's ledger of a thousand grants to one customer, in which a bit of an old one is flipped. Returns its file as it was before.
fn damaged(home: &Home) -> Vec<u8> {
    let gateway = load_or_create_key_file(&home.path("gateway.key")).unwrap().public();
    let customer = load_or_create_key_file(&home.path("customer.key")).unwrap().public();
    let file = home.path("gateway/ledger.redb");
    fs::create_dir_all(home.path("gateway")).unwrap();
    let mut ledger = Ledger::open(&file, gateway).unwrap();
    ledger.apply(&[Operation::State(Terms { gateway, fee_ppm: 0, time: UnixMillis(1) })]).unwrap();
    let grant = |n: u16| {
        let id = TransferId(*Digest::of(&n.to_le_bytes()).0.first_chunk().unwrap());
        Operation::Grant(Grant { id, customer, amount: Microcredits(5), time: UnixMillis(2) })
    };
    // In many batches, as only the newest leaves are read at a start.
    for batch in 0..20 {
        let operations: Vec<Operation> = (0..50).map(|n| grant(50 * batch + n)).collect();
        assert!(ledger.apply(&operations).unwrap().iter().all(Result::is_ok));
    }
    let leaf = ledger.reader().leaf(134).unwrap().unwrap();
    drop(ledger);
    let whole = fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    while let Some(at) = bytes.windows(leaf.len()).position(|window| window == leaf) {
        bytes[at + 5] ^= 4;
    }
    assert!(bytes != whole);
    fs::write(&file, &bytes).unwrap();
    whole
}

/// The status of a log's answer, and the answer.
fn get(url: &str, path: &str) -> (u16, String) {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

/// Who read a damaged ledger was told so, and the gateway went on granting credits and signing checkpoints over it, and did so again when it
/// was started anew; and a backup of it succeeded.
#[test]
fn damage_that_a_reader_finds_ends_all_recording_and_signing() {
    for is_log in [true, false] {
        let home = Home::new();
        let whole = damaged(&home);
        let (key, file) = (home.path("gateway.key"), home.path("gateway/ledger.redb"));
        let mut network = Network { gateway: Gateway::start(&home, "127.0.0.1:0"), home, nodes: Vec::new() };
        let log_at = |network: &Network| {
            let line = network.gateway.process.stderr.wait_for_line("adit: log at ");
            line.split_once("; its key is ").unwrap().0.to_owned()
        };
        let user = network.key().public().to_string();
        let grant = |network: &Network| network.adit(["credit", "grant", &user, "5", "--key"]).args([&key]).run();
        let url = log_at(&network);
        let (status, before) = get(&url, "checkpoint");
        assert_eq!(status, 200);
        if is_log {
            let (status, answer) = get(&url, "tile/entries/000");
            assert!(status == 500 && answer.contains("the ledger is damaged at index 134"), "{answer}");
        } else {
            let statement = network.adit(["account", "--statement", "--key", "customer.key"]).run().code(20);
            statement.says("the ledger is damaged at index 134").says("restore a backup (adit ledger restore)");
        }
        grant(&network).code(20).says("the ledger is damaged at index 134");
        network.gateway.process.stderr.wait_for_text("the gateway only reads now");
        // What the last checkpoint says it said before; what stands there tells nothing of the moment.
        let checkpoint = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        assert_eq!(checkpoint(&get(&url, "checkpoint").1), checkpoint(&before));
        assert_eq!(get(&url, "tile/0/001").0, 200, "the rest of the log is served");
        network.adit(["account", "--json"]).run().ok();
        let backup = |network: &Network| network.adit(["ledger", "backup", "--key"]).args([&key]).run();
        backup(&network).code(23).says("the ledger is damaged at index 134");
        network.gateway.process.signal(Signal::TERM);
        let Network { home, gateway, nodes } = network;
        let host = gateway.address.host.clone();
        gateway.process.wait().code(1).says("the ledger is damaged at index 134");

        // The next start knows of it.
        network = Network { gateway: Gateway::start(&home, &host), home, nodes };
        network.gateway.process.stderr.wait_for_text("the gateway only reads now");
        grant(&network).code(20).says("the ledger is damaged at index 134").says("adit ledger restore");
        let (status, answer) = get(&log_at(&network), "checkpoint");
        assert!(status == 503 && answer.contains("no checkpoint is signed: the ledger is damaged at index 134"), "{answer}");
        network.adit(["account", "--json"]).run().ok();
        network.gateway.process.signal(Signal::TERM);
        let Network { home, gateway, nodes } = network;
        gateway.process.wait().code(1);
        assert!(fs::read_dir(home.path("gateway/backups")).unwrap().next().is_none(), "no copy has a name");
        let copy = home.path("copy.redb");
        let data = ["--data", "gateway"];
        home.adit(["ledger", "backup", "--to", "copy.redb"]).args(data).run().code(23).says("index 134");
        assert!(!copy.exists());
        home.adit(["ledger", "rebuild", "--check"]).args(data).run().code(23).says("restore a backup");

        // It ends with the damage, be it that the machine did not read what was there, or that a backup takes its place.
        if is_log {
            fs::write(&file, &whole).unwrap();
            home.adit(["ledger", "rebuild", "--check"]).args(data).run().ok();
        } else {
            fs::write(&copy, &whole).unwrap();
            let restore = ["ledger", "restore", "copy.redb", "--replace", "--key", "gateway.key"];
            home.adit(restore).args(data).run().ok();
        }
        network = Network { gateway: Gateway::start(&home, &host), home, nodes };
        grant(&network).ok();
        assert_eq!(get(&log_at(&network), "tile/entries/000").0, 200);
    }
}
