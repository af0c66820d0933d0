//! A gateway whose ledger cannot record any more. A limit on the size of files stands for the full disk: what is written over it fails.

use std::path::Path;

use adit_client::{Client, Job, JobError, JobHandle, Output, Settled, Source, Update};
use adit_ledger::{Account, Ledger};
use adit_protocol::{Fuel, JobId, Refusal};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::guest;
use crate::network::{Gateway, Network, WELCOME, nodes_until};
use crate::process::{PATIENCE, Process, until};

/// Jobs at once.
const IN_FLIGHT: usize = 4;
/// Bytes of each input, and so of each output in the ledger.
const BYTES: usize = 16 * 1024;
/// What is said to whoever wants to have something recorded.
const WHY: &str = "the gateway only reads since its ledger failed";

/// A job whose output no other has.
fn job(client: &Client, n: u64) -> Job {
    let mut input = vec![0; BYTES];
    input[..8].copy_from_slice(&n.to_le_bytes());
    client.salted(Job::new(Source::bytes(guest::echo()), Source::bytes(input)))
}

fn ledger_file(network: &Network) -> std::path::PathBuf {
    network.home.path("gateway/ledger.redb")
}

/// Runs jobs of these numbers on until one is refused. Returns those that were settled before, and what the refused one was told.
async fn fill(client: &Client, from: u64) -> (Vec<Settled>, Vec<JobError>) {
    let mut settled = Vec::new();
    for round in 0.. {
        let n = |at| from + (round * IN_FLIGHT + at) as u64;
        let handles: Vec<JobHandle> = (0..IN_FLIGHT).map(|at| client.submit(job(client, n(at)))).collect();
        let mut refused = Vec::new();
        for mut handle in handles {
            match timeout(PATIENCE, handle.settled()).await.expect("no client is kept waiting") {
                Ok(one) => settled.push(one),
                Err(error) => refused.push(error),
            }
        }
        if !refused.is_empty() {
            return (settled, refused);
        }
        assert!(round < 10_000, "the ledger never stops");
    }
    unreachable!("the rounds do not end by themselves")
}

fn is_refused_for_the_ledger(error: &JobError) -> bool {
    matches!(error, JobError::Refused { refusal: Refusal::LedgerUnavailable(why), .. } if why.contains(WHY))
}

/// Checks a closed ledger, and that each receipt that was told is where it was said to be. How many jobs it has in all.
fn check_ledger(path: &Path, told: &[Settled]) -> u64 {
    let ledger = Ledger::open_existing(path).unwrap();
    ledger.reader().check_books().unwrap();
    for settled in told {
        let stored = ledger.reader().job(settled.done.receipt.receipt().job).unwrap().expect("what was told is there");
        assert_eq!(stored.index, settled.settlement.settlement.index);
        assert_eq!(&stored.receipt, settled.done.receipt.signed());
    }
    let client = told[0].done.receipt.receipt().client;
    let spent: u64 = ledger.reader().statement(Account::Customer(client), 0, usize::MAX).unwrap().len() as u64;
    spent
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_whose_ledger_cannot_grow_only_reads_and_loses_nothing() {
    let mut network = Network::with_slots(&[2, 1]);
    let client = network.client().await;
    nodes_until(&client, |nodes| nodes.len() == 2).await;
    // One job is there before, runs all the while, and is still at it when the ledger fails.
    let mut early = client.submit(job(&client, u64::MAX));
    let early = early.settled().await.unwrap();
    let mut held = Job::new(Source::bytes(guest::hold()), Source::bytes(b"".as_slice()));
    held.spec.limits.fuel = Fuel(1_000_000_000_000);
    held.spec.limits.wall_ms = 600_000;
    let mut held = client.submit(client.salted(held));
    while !matches!(held.next().await.unwrap(), Some(Update::Started { .. })) {}
    let log = network.gateway.process.stderr.wait_for_line("adit: log at ");
    let (url, _) = log.split_once("; its key is ").unwrap();

    let bytes = std::fs::metadata(ledger_file(&network)).unwrap().len();
    network.gateway.process.limit_files(Some(bytes));
    let (mut told, refused) = fill(&client, 0).await;
    assert!(refused.iter().all(is_refused_for_the_ledger), "{refused:?}");
    network.gateway.process.stderr.wait_for_text("the gateway only reads now: accounts, receipts and the log");
    let lost = timeout(PATIENCE, held.settled()).await.expect("who waits for a running job gets an answer").unwrap_err();
    assert!(is_refused_for_the_ledger(&lost), "{lost}");
    told.push(early);

    // It answers, and takes nothing.
    let settled = told.last().unwrap().done.receipt.receipt().job;
    let account = network.adit(["account", "--json"]).run().ok().json();
    let before = account["available_microcredits"].as_u64().unwrap() + account["held_microcredits"].as_u64().unwrap();
    let receipts = network.adit(["receipts", "--json"]).run().ok().json_lines();
    let listed: Vec<JobId> = receipts.iter().map(|row| row["job"].as_str().unwrap().parse().unwrap()).collect();
    assert!(told.iter().all(|one| listed.contains(&one.done.receipt.receipt().job)));
    assert_eq!(network.adit(["output", &settled.to_string()]).run().ok().stdout.len(), BYTES);
    let key = network.gateway.address.key.to_string();
    let fsck = network.home.adit(["log", "fsck", url, "--gateway-key", &key, "--json"]).run().ok().json();
    assert_eq!(fsck["sound"], true);
    let refused = network.run(&guest::echo()).args(["--json"]).run().code(20);
    assert!(refused.json()["reason"].as_str().unwrap().contains(WHY), "{refused:?}");
    let operator = network.home.path("gateway.key");
    let grant = network.adit(["credit", "grant", &network.key().public().to_string(), "5", "--key"]).args([&operator]);
    grant.run().code(20).says(WHY);
    assert_eq!(network.adit(["account", "--json"]).run().ok().json(), account);

    Gateway::command(&network.home, "127.0.0.1:0").run().code(1).says("is open already");
    network.gateway.process.signal(Signal::TERM);
    let host = network.gateway.address.host.clone();
    let Network { home, gateway, nodes } = network;
    gateway.process.wait().code(1).says("mend the cause and start the gateway again");
    let jobs = check_ledger(&home.path("gateway/ledger.redb"), &told);

    // With the limit gone it goes on where it was.
    network = Network { gateway: Gateway::start(&home, &host), home, nodes };
    let client = network.client().await;
    nodes_until(&client, |nodes| nodes.len() == 2).await;
    let account = network.adit(["account", "--json"]).run().ok().json();
    assert_eq!((account["available_microcredits"].as_u64(), account["held_microcredits"].as_u64()), (Some(before), Some(0)));
    let again = client.submit(job(&client, 1_000_000)).settled().await.unwrap();
    assert!(matches!(again.done.output, Output::Inline(bytes) if bytes.len() == BYTES));
    network.gateway.process.signal(Signal::TERM);
    let file = ledger_file(&network);
    network.gateway.process.wait().ok();
    // What was held for the job that was lost went back in one leaf more.
    let after = check_ledger(&file, &told);
    assert!(after > jobs, "{after} {jobs}");
}

/// It has to give back what was held for the jobs that it lost, could not, and did not start: whoever starts it again when it ends did so for
/// ever, and nobody could read the log meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn gateway_that_is_started_while_the_disk_is_full_only_reads() {
    let mut network = Network::with_slots(&[2]);
    let client = network.client().await;
    nodes_until(&client, |nodes| nodes.len() == 1).await;
    let told = client.submit(job(&client, 0)).settled().await.unwrap();
    let mut held = Job::new(Source::bytes(guest::hold()), Source::bytes(b"".as_slice()));
    held.spec.limits.fuel = Fuel(1_000_000_000_000);
    held.spec.limits.wall_ms = 600_000;
    let mut held = client.submit(client.salted(held));
    while !matches!(held.next().await.unwrap(), Some(Update::Started { .. })) {}
    until("a hold in the ledger", || network.adit(["account", "--holds", "--json"]).run().ok().json_lines().len() == 1);
    let account = network.adit(["account", "--json"]).run().ok().json();
    network.gateway.process.kill_in_place();
    drop((held, client));

    // The system takes what is written to the file's first page, and what is written behind it fails.
    let host = network.gateway.address.host.clone();
    let process = Gateway::command(&network.home, &host).args(WELCOME).with_files_of(8).start();
    let address = process.stdout.wait_for_line("").parse().unwrap();
    network.gateway = Gateway { process, address };
    network.gateway.process.stderr.wait_for_text("the gateway only reads now: accounts, receipts and the log");
    assert_eq!(network.adit(["account", "--json"]).run().ok().json(), account);
    let job_id = told.done.receipt.receipt().job.to_string();
    assert_eq!(network.adit(["output", &job_id]).run().ok().stdout.len(), BYTES);
    let log = network.gateway.process.stderr.wait_for_line("adit: log at ");
    let (url, _) = log.split_once("; its key is ").unwrap();
    let key = network.gateway.address.key.to_string();
    let fsck = network.home.adit(["log", "fsck", url, "--gateway-key", &key, "--json"]).run().ok().json();
    assert_eq!((&fsck["sound"], &fsck["leaves"]["voids"]), (&true.into(), &0.into()));
    let refused = network.run(&guest::echo()).args(["--json"]).run().code(20);
    assert!(refused.json()["reason"].as_str().unwrap().contains(WHY), "{refused:?}");
    network.gateway.process.signal(Signal::TERM);
    let Network { home, gateway, nodes } = network;
    gateway.process.wait().code(1).says("mend the cause and start the gateway again");

    network = Network { gateway: Gateway::start(&home, &host), home, nodes };
    let client = network.client().await;
    nodes_until(&client, |nodes| nodes.len() == 1).await;
    let account = network.adit(["account", "--json"]).run().ok().json();
    assert_eq!(account["held_microcredits"], 0);
    client.submit(job(&client, 1)).settled().await.unwrap();
    network.gateway.process.signal(Signal::TERM);
    let file = ledger_file(&network);
    network.gateway.process.wait().ok();
    check_ledger(&file, &[told]);
}

/// It did not start, so that nobody saw accounts or the log of a disk that the system, or a careful operator, had made read-only.
#[tokio::test(flavor = "multi_thread")]
async fn gateway_that_is_started_on_a_read_only_file_system_only_reads() {
    let mut network = Network::with_slots(&[1]);
    let client = network.client().await;
    nodes_until(&client, |nodes| nodes.len() == 1).await;
    let told = client.submit(job(&client, 0)).settled().await.unwrap();
    drop(client);
    network.gateway.process.kill_in_place();
    let (file, host) = (ledger_file(&network), network.gateway.address.host.clone());
    let before = std::fs::read(&file).unwrap();
    let command = Gateway::command(&network.home, &host).args(WELCOME).with_read_only(&network.home.path("gateway"));
    let Some(command) = command else { return };
    let process = command.start();
    let address = process.stdout.wait_for_line("").parse().unwrap();
    network.gateway = Gateway { process, address };
    network.gateway.process.stderr.wait_for_text("the gateway only reads now: accounts, receipts and the log");
    let job_id = told.done.receipt.receipt().job.to_string();
    assert_eq!(network.adit(["output", &job_id]).run().ok().stdout.len(), BYTES);
    assert_eq!(network.adit(["receipts", "--json"]).run().ok().json_lines().len(), 1);
    let log = network.gateway.process.stderr.wait_for_line("adit: log at ");
    let (url, _) = log.split_once("; its key is ").unwrap();
    let key = network.gateway.address.key.to_string();
    let fsck = network.home.adit(["log", "fsck", url, "--gateway-key", &key, "--json"]).run().ok().json();
    assert_eq!(fsck["sound"], true);
    let refused = network.run(&guest::echo()).args(["--json"]).run().code(20).json();
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains(WHY) && reason.contains("Read-only file system"), "{reason}");
    network.gateway.process.signal(Signal::TERM);
    let Network { home, gateway, nodes } = network;
    gateway.process.wait().code(1).says("mend the cause and start the gateway again");
    assert!(std::fs::read(&file).unwrap() == before, "nothing is written");

    network = Network { gateway: Gateway::start(&home, &host), home, nodes };
    let client = network.client().await;
    nodes_until(&client, |nodes| nodes.len() == 1).await;
    client.submit(job(&client, 1)).settled().await.unwrap();
    network.gateway.process.signal(Signal::TERM);
    network.gateway.process.wait().ok();
    check_ledger(&file, &[told]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_whose_ledger_cannot_even_be_opened_again_ends_and_says_so() {
    let network = Network::with_slots(&[1]);
    let client = network.client().await;
    let told = client.submit(job(&client, 0)).settled().await.unwrap();
    network.gateway.process.limit_files(Some(0));
    // Its connection ends with the gateway.
    let mut handle = client.submit(job(&client, 1));
    let Network { gateway, home, nodes } = network;
    let host = gateway.address.host.clone();
    gateway.process.wait().code(1).says("the ledger cannot be opened again; the gateway stops").says("the ledger stopped: ");
    drop(nodes);
    check_ledger(&home.path("gateway/ledger.redb"), &[told]);
    let gateway = Gateway::start(&home, &host);
    let mut network = Network { gateway, home, nodes: Vec::new() };
    network.add_node(&["--slots", "1"]);
    timeout(PATIENCE, handle.settled()).await.unwrap().unwrap();
}

/// What the system refuses about the ledger's file, and whether to the ledger's thread alone, so that the file can be opened again.
const DISK_ERRORS: [(&str, bool); 6] = [
    ("fdatasync:error=EIO:when=1", true),
    ("fdatasync:error=EIO:when=2", true),
    ("pwrite64:error=EIO:when=1", true),
    ("pwrite64:error=EIO:when=3", true),
    ("fdatasync,fsync,pwrite64,ftruncate:error=EIO", false),
    ("fdatasync,fsync,pwrite64,ftruncate,openat:error=EROFS", false),
];

/// A disk that is broken, and one that the system made read-only after an error: what was told is there once it works again.
#[tokio::test(flavor = "multi_thread")]
async fn gateway_whose_disk_has_errors_tells_of_nothing_that_is_not_recorded() {
    let mut network = Network::with_slots(&[2]);
    let file = ledger_file(&network);
    let mut told = Vec::new();
    for (n, (refusal, opens_again)) in DISK_ERRORS.into_iter().enumerate() {
        let client = network.client().await;
        nodes_until(&client, |nodes| nodes.len() == 1).await;
        told.push(client.submit(job(&client, n as u64 * 1_000_000)).settled().await.unwrap());
        let thread = opens_again.then_some("ledger");
        let Some(strace) = network.gateway.process.refuse_calls(thread, &file, refusal) else { return };
        let Network { home, gateway, nodes } = network;
        let host = gateway.address.host.clone();
        if opens_again {
            let (settled, refused) = fill(&client, n as u64 * 1_000_000 + 1).await;
            assert!(refused.iter().all(is_refused_for_the_ledger), "{refusal}: {refused:?}");
            told.extend(settled);
            gateway.process.stderr.wait_for_text("the gateway only reads now: accounts, receipts and the log");
            drop(strace);
            gateway.process.signal(Signal::TERM);
            gateway.process.wait().code(1).says("Input/output error").says("mend the cause and start the gateway again");
        } else {
            let unsettled = client.submit(job(&client, n as u64 * 1_000_000 + 1));
            gateway.process.wait().code(1).says("the ledger cannot be opened again; the gateway stops");
            drop((strace, unsettled));
        }
        check_ledger(&file, &told);
        network = Network { gateway: Gateway::start(&home, &host), home, nodes };
    }
    let client = network.client().await;
    nodes_until(&client, |nodes| nodes.len() == 1).await;
    client.submit(job(&client, u64::MAX)).settled().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn network_of_one_machine_only_reads_too() {
    let home = crate::network::Home::new();
    let up: Process = home.adit(["up", "--slots", "1"]).start();
    up.stdout.wait_for_line("");
    let run = || home.adit(["run"]).args([home.file("echo.wasm", guest::echo())]).args(["--input", "-"]).input(vec![b'x'; BYTES]);
    let first = run().args(["--json"]).run().ok().json();
    let file = home.path("data/adit/up/gateway/ledger.redb");
    up.limit_files(Some(std::fs::metadata(&file).unwrap().len()));
    let mut runs = 0;
    let refused = loop {
        let ran = run().args(["--json"]).run();
        if ran.json()["outcome"] != "finished" {
            break ran.code(20);
        }
        runs += 1;
        assert!(runs < 1_000, "the ledger never stops");
    };
    assert!(refused.json()["reason"].as_str().unwrap().contains(WHY));
    home.adit(["output", first["job"].as_str().unwrap()]).run().ok();
    up.signal(Signal::TERM);
    up.wait().code(1).says("the ledger stopped: ");
    let ledger = Ledger::open_existing(&file).unwrap();
    ledger.reader().check_books().unwrap();
    drop(ledger);
    let up = home.adit(["up", "--slots", "1"]).start();
    up.stdout.wait_for_line("");
    run().run().ok();
}
