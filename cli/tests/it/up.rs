//! `adit up`: a network in one process, found by itself.

use std::io::Write;

use rustix::process::Signal;

use crate::guest;
use crate::network::Home;
use crate::process::{Process, until};

/// What a pipe holds on Linux.
const PIPE_BYTES: usize = 64 * 1024;

fn up(home: &Home, args: &[&str]) -> (Process, String) {
    let process = home.adit(["up"]).args(args).start();
    let address = process.stdout.wait_for_line("");
    process.stderr.wait_for_text("Ctrl-C stops it");
    (process, address)
}

#[test]
fn everything_works_without_a_word_about_where() {
    let home = Home::new();
    let (process, address) = up(&home, &["--slots", "1"]);
    let module = home.file("echo.wasm", guest::echo());
    let run = || home.adit(["run", "echo.wasm", "--input", "-"]).input("at home");
    assert_eq!(run().run().ok().text(), "at home");
    assert_eq!(home.adit(["nodes", "--json"]).run().ok().json_lines().len(), 1);
    assert_eq!(home.adit(["receipts", "--json"]).run().ok().json_lines().len(), 1);
    let shown = home.adit(["config", "show", "--json"]).run().ok().json_lines();
    let gateway = shown.iter().find(|row| row["setting"] == "gateway").unwrap();
    assert_eq!((&gateway["value"], &gateway["origin"]), (&address.as_str().into(), &"running `adit up`".into()));
    assert_eq!(std::fs::read_to_string(home.path("state/adit/up.addr")).unwrap(), format!("{address}\n"));

    process.signal(Signal::INT);
    process.wait().ok().says("stopped");
    assert!(!home.path("state/adit/up.addr").exists());
    run().run().code(2).says("no gateway: run `adit up`");
    drop(module);
}

/// As its help says: 1,000 credits at each start, of which jobs are paid.
#[test]
fn user_has_a_thousand_credits_more_with_each_start() {
    let home = Home::new();
    home.file("echo.wasm", guest::echo());
    let mut spent = 0;
    for start in 1..=2 {
        let (process, _) = up(&home, &["--slots", "1"]);
        let account = || home.adit(["account", "--json"]).run().ok().json();
        assert_eq!(account()["available_microcredits"], start * 1_000_000_000 - spent, "start {start}");
        let job = home.adit(["run", "echo.wasm", "--input", "-", "--json"]).input("at home").run().ok().json();
        spent += job["price_microcredits"].as_u64().unwrap();
        let due = start * 1_000_000_000 - spent;
        until("what was held is given back", || {
            let account = account();
            account["held_microcredits"] == 0 && account["available_microcredits"] == due
        });
        process.signal(Signal::INT);
        process.wait().ok();
    }
    assert!(spent > 0);
}

#[test]
fn address_of_a_killed_one_is_not_believed_and_its_receipts_are_kept() {
    let home = Home::new();
    home.file("echo.wasm", guest::echo());
    let (process, address) = up(&home, &[]);
    home.adit(["run", "echo.wasm"]).run().ok();
    process.kill();
    assert!(home.path("state/adit/up.addr").exists(), "nobody took it away");
    home.adit(["run", "echo.wasm"]).run().code(2).says("no gateway: run `adit up`");

    let (process, again) = up(&home, &[]);
    assert_eq!(key_of(&again), key_of(&address), "the gateway is the same one");
    home.adit(["run", "echo.wasm"]).run().ok();
    assert_eq!(home.adit(["receipts", "--json"]).run().ok().json_lines().len(), 2);
    drop(process);
}

fn key_of(address: &str) -> &str {
    address.split_once('#').unwrap().1
}

#[test]
fn flag_and_environment_beat_the_running_one() {
    let home = Home::new();
    let (_process, address) = up(&home, &["--slots", "1"]);
    let nobody = format!("127.0.0.1:9#{}", key_of(&address));
    let origin = |shown: crate::process::Ran| {
        let rows = shown.ok().json_lines();
        rows.iter().find(|row| row["setting"] == "gateway").unwrap()["value"].as_str().unwrap().to_owned()
    };
    let show = || home.adit(["config", "show", "--json"]);
    assert_eq!(origin(show().run()), address);
    home.file("config/adit/config.toml", format!("gateway = \"127.0.0.1:7#{}\"", key_of(&address)));
    assert_eq!(origin(show().run()), format!("127.0.0.1:7#{}", key_of(&address)));
    assert_eq!(origin(show().env("ADIT_GATEWAY", &nobody).run()), nobody);
    assert_eq!(origin(show().env("ADIT_GATEWAY", &nobody).args(["--gateway", &address]).run()), address);
}

#[test]
fn ready_file_holds_the_address_when_jobs_can_come() {
    let home = Home::new();
    let (_process, address) = up(&home, &["--ready-file", "ready"]);
    assert_eq!(std::fs::read_to_string(home.path("ready")).unwrap(), format!("{address}\n"));
}

/// Whoever was told the address once met a process that did not listen to signals yet, and killed it.
#[test]
fn signal_right_after_the_announcement_is_heard() {
    let home = Home::new();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // A full pipe holds the process where it announces itself: the file is there, and nothing after it has happened.
    writer.write_all(&[b'\n'; PIPE_BYTES]).unwrap();
    let process = home.adit(["up", "--ready-file", "ready"]).start_into(writer);
    until("it is announced", || home.path("ready").exists());
    process.signal(Signal::INT);
    std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    process.wait().ok().says("stopped");
    assert!(!home.path("state/adit/up.addr").exists());
}

/// The end of a part was once waited for twice, which panicked.
#[test]
fn part_that_fails_ends_the_whole_and_says_why() {
    let home = Home::new();
    home.file("data/node", "not a folder");
    let ran = home.adit(["up", "--data", "data"]).run().code(1).says("the node ended: ");
    assert!(ran.stdout.is_empty(), "it announces nothing: {ran:?}");
}

#[test]
fn stopping_does_not_wait_for_jobs() {
    let home = Home::new();
    home.file("hold.wasm", guest::hold());
    let (process, _) = up(&home, &["--slots", "1"]);
    let run = home.adit(["run", "hold.wasm", "--fuel", "100T"]).start();
    run.stderr.wait_for_text(guest::READY);
    process.signal(Signal::TERM);
    process.wait().ok().says("stopped");
    drop(run);
}

#[test]
fn second_one_in_the_same_home_is_refused_and_the_first_works_on() {
    let home = Home::new();
    home.file("echo.wasm", guest::echo());
    let (_process, address) = up(&home, &["--slots", "1"]);
    home.adit(["up"]).run().code(1).says("is open already");
    home.adit(["run", "echo.wasm"]).run().ok();
    // With data of its own it is a network of its own, which one must name to use it.
    let (_other, second) = up(&home, &["--slots", "2", "--data", "other"]);
    let slots = |flags: &[&str]| home.adit(["nodes", "--json"]).args(flags).run().ok().json()["slots"].clone();
    assert_eq!((slots(&[]), slots(&["--gateway", &second])), (1.into(), 2.into()));
    assert_eq!(std::fs::read_to_string(home.path("state/adit/up.addr")).unwrap(), format!("{address}\n"));
}
