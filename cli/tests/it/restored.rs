//! A ledger that is older than what a witness has seen of it: a gateway over it would sign a second history.

use std::fs;
use std::path::PathBuf;

use adit_client::{Client, ConnectError};
use adit_ledger::Ledger;
use adit_protocol::{Answer, Query, SecretKey};
use adit_tlog::log_key;
use adit_transport::{load_key_file, load_or_create_key_file};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::guest;
use crate::network::{Adit, Gateway, Home, Network, WELCOME};
use crate::process::{LOOK_EVERY, PATIENCE, Process};

/// A gateway's home, with the policy that names its one witness.
pub(crate) struct Site {
    home: Home,
    policy: PathBuf,
    /// Where the witness listens.
    witness_at: String,
}

impl Site {
    /// A site whose witness runs.
    pub(crate) fn open() -> (Self, Process) {
        let home = Home::new();
        let key = load_or_create_key_file(&home.path("gateway.key")).unwrap();
        let log = log_key(&key.public()).to_string();
        let witness = Self::witness(&home, &log, "127.0.0.1:0");
        let line = witness.stdout.wait_for_line("");
        let (witness_key, url) = line.split_once(' ').unwrap();
        let text = format!("log {log}\nwitness clocktower {witness_key} {url}\nquorum clocktower\n");
        let policy = home.file("policy", text);
        let witness_at = url.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
        (Self { home, policy, witness_at }, witness)
    }

    fn witness(home: &Home, log: &str, listen: &str) -> Process {
        let command = home.adit(["witness", "--name", "witness.example/clocktower", "--data", "w", "--key", "w.key"]);
        command.args(["--listen", listen, "--log", log]).start()
    }

    /// Starts the witness again, where it was.
    fn witness_again(&self) -> Process {
        let key = load_key_file(&self.home.path("gateway.key")).unwrap();
        let witness = Self::witness(&self.home, &log_key(&key.public()).to_string(), &self.witness_at);
        witness.stdout.wait_for_line("");
        witness
    }

    fn gateway(&self, args: &[&str]) -> Adit {
        let command = Gateway::command(&self.home, "127.0.0.1:0").args(WELCOME);
        command.args(["--witness-policy".as_ref(), self.policy.as_os_str()]).args(args)
    }

    /// Starts a gateway, and a node of its own.
    pub(crate) fn start(self, args: &[&str]) -> Network {
        let process = self.gateway(args).start();
        let address = process.stdout.wait_for_line("").parse().unwrap();
        let mut network = Network { home: self.home, gateway: Gateway { process, address }, nodes: Vec::new() };
        network.add_node(&["--slots", "1"]);
        network
    }

    /// Stops a gateway in order.
    fn stop(network: Network, policy: &std::path::Path, witness_at: &str) -> Self {
        network.gateway.process.signal(Signal::TERM);
        network.gateway.process.wait().ok();
        Self { home: network.home, policy: policy.to_owned(), witness_at: witness_at.to_owned() }
    }

    fn ledger(&self) -> PathBuf {
        self.home.path("gateway/ledger.redb")
    }

    fn leaves(&self) -> u64 {
        Ledger::open_existing(&self.ledger()).unwrap().tree().size
    }
}

fn run(network: &Network, jobs: usize) {
    for _ in 0..jobs {
        network.run(&guest::echo()).args(["--input", "-"]).input("x").run().ok();
    }
}

async fn operator(network: &Network) -> Client {
    let key: SecretKey = load_key_file(&network.home.path("gateway.key")).unwrap();
    Client::connect(key, network.gateway.address.clone()).await.unwrap()
}

/// The size of the tree that the gateway last showed; nothing where it shows none.
async fn shown(client: &Client) -> Option<u64> {
    let log = match client.ask(Query::Log).await {
        Ok(Answer::Log(log)) => log,
        // It begins again.
        Err(ConnectError::Broken(_)) => return None,
        other => panic!("{other:?}"),
    };
    log.checkpoint.map(|text| text.lines().nth(1).unwrap().parse().unwrap())
}

/// A site whose ledger has, as its witness knows, `more` settlements more than the backup that is made of it. With the leaves of both.
async fn site(more: usize) -> (Site, Process, PathBuf, [u64; 2]) {
    let (site, witness) = Site::open();
    let (policy, at) = (site.policy.clone(), site.witness_at.clone());
    let network = site.start(&[]);
    run(&network, 1);
    let operator = operator(&network).await;
    let (backup, old) = match operator.ask(Query::Backup).await.unwrap() {
        Answer::BackedUp { path, leaves } => (PathBuf::from(path), leaves),
        other => panic!("{other:?}"),
    };
    run(&network, more);
    let new = old + more as u64;
    let all = async {
        while shown(&operator).await != Some(new) {
            tokio::time::sleep(LOOK_EVERY).await
        }
    };
    timeout(PATIENCE, all).await.expect("the witness cosigns all");
    let site = Site::stop(network, &policy, &at);
    assert_eq!(site.leaves(), new);
    (site, witness, backup, [old, new])
}

#[tokio::test(flavor = "multi_thread")]
async fn older_backup_is_refused_where_a_witness_has_seen_more() {
    let (site, witness, backup, [old, new]) = site(3).await;
    let newest = site.home.path("newest");
    fs::rename(site.ledger(), &newest).unwrap();
    fs::copy(&backup, site.ledger()).unwrap();
    for args in [&[][..], &["--start-without-witnesses"]] {
        let refused = site.gateway(args).run().code(1);
        let refused = refused.says("witness clocktower: ").says("this ledger is an older backup");
        let refused =
            refused.says(&format!("cosigned a tree of {new} leaves of this log, which has {old}")).says("restore the newest");
        assert!(refused.stdout.is_empty(), "it announces nothing: {refused:?}");
    }
    assert_eq!(site.leaves(), old, "nothing was added");

    // Nor does it start where nobody can tell, unless its operator says so.
    witness.kill();
    let refused = site.gateway(&[]).run().code(1).says("too few witnesses answer").says("--start-without-witnesses");
    assert!(refused.stdout.is_empty(), "it announces nothing: {refused:?}");
    assert_eq!(site.leaves(), old, "nothing was added");

    let _witness = site.witness_again();
    fs::rename(&newest, site.ledger()).unwrap();
    let network = site.start(&[]);
    run(&network, 1);
}

/// An operator who starts an old backup without a witness is told as soon as the witness is back: nothing is signed, and nothing more is
/// recorded.
async fn grown_apart(jobs: usize, want: &str) {
    let (site, witness, backup, [old, new]) = site(3).await;
    witness.kill();
    let newest = site.home.path("newest");
    fs::rename(site.ledger(), &newest).unwrap();
    fs::copy(&backup, site.ledger()).unwrap();
    let (policy, witness_at) = (site.policy.clone(), site.witness_at.clone());
    let network = site.start(&["--start-without-witnesses"]);
    network.gateway.process.stderr.wait_for_text("the gateway starts without a quorum of witnesses");
    run(&network, jobs);
    assert_eq!(shown(&operator(&network).await).await, None, "what no witness has seen is not shown");

    let site = Site { home: network.home, policy, witness_at };
    let witness = site.witness_again();
    network.gateway.process.stderr.wait_for_text("the gateway only reads now");
    let network = Network { home: site.home, ..network };
    let refused = network.run(&guest::echo()).args(["--json"]).run().code(20).json();
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains(want) && reason.contains("clocktower"), "{reason}");
    assert_eq!(shown(&operator(&network).await).await, None);
    // Its word on a job of either history would be another one beside what the newest ledger has under that number.
    let paid = network.adit(["receipts", "--json"]).run().ok().json_lines();
    let job = paid[0]["job"].as_str().unwrap().to_owned();
    network.adit(["output", &job]).run().code(20).says("clocktower");
    network.gateway.process.signal(Signal::TERM);
    network.gateway.process.wait().code(1).says(want).says("restore the newest");
    // The next network's node takes its place.
    drop(network.nodes);
    let site = Site { home: network.home, policy: site.policy, witness_at: site.witness_at };
    assert_eq!(site.leaves(), old + jobs as u64);

    // The witness knows of the first history alone, and that goes on.
    fs::rename(&newest, site.ledger()).unwrap();
    let (policy, witness_at) = (site.policy.clone(), site.witness_at.clone());
    let network = site.start(&[]);
    run(&network, 1);
    let site = Site::stop(network, &policy, &witness_at);
    assert_eq!(site.leaves(), new + 1);
    drop(witness);
}

/// What proved the first payment was written over.
#[test]
fn receipt_of_a_job_that_is_paid_again_over_an_older_ledger_is_kept_beside_the_first() {
    let mut network = Network::with_slots(&[1]);
    run(&network, 1);
    let (ledger, backup) = (network.home.path("gateway/ledger.redb"), network.home.path("backup"));
    network.gateway.process.kill_in_place();
    fs::copy(&ledger, &backup).unwrap();
    network.restart_gateway();
    let submit = |network: &Network| {
        let run = network.run(&guest::echo()).args(["--input", "-", "--json"]).input("x");
        run.args(["--idempotency-key", "00112233445566778899aabbccddeeff"]).run().ok()
    };
    let first = submit(&network).json();
    network.gateway.process.kill_in_place();
    fs::copy(&backup, &ledger).unwrap();
    network.restart_gateway();
    let told = submit(&network).says("holds another paid receipt of this job and is left as it is");
    let second = told.json();
    assert_eq!(first["job"], second["job"]);
    assert_ne!(first["receipt"], second["receipt"]);

    let receipts = network.home.path("data/adit/receipts");
    let start = first["job"].as_str().unwrap();
    let mut files: Vec<PathBuf> = fs::read_dir(receipts).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with(start));
    files.sort();
    let [beside, own] = &files[..] else { panic!("{files:?}") };
    for (file, want) in [(own, &first), (beside, &second)] {
        let kept: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert_eq!((&kept["receipt"], &kept["settlement"]), (&want["receipt"], &want["settlement"]), "{}", file.display());
    }
    network.home.adit(["verify"]).args(&files).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn older_backup_that_went_on_without_its_witness_stops_when_that_is_back() {
    grown_apart(1, "leaves were lost").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_backup_that_outgrew_its_witness_stops_when_that_is_back() {
    grown_apart(5, "its history has changed").await;
}
