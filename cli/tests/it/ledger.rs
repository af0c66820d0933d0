//! `adit ledger`: copies of a ledger that is written to, what is made of them, and what is no ledger.

use std::fs;

use crate::guest;
use crate::network::{Gateway, Network};

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
