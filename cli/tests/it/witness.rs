use std::io::{Read, Write};
use std::net::TcpStream;

use adit_ledger::{Ledger, Operation, TreeHead};
use adit_protocol::{SecretKey, Terms, UnixMillis};
use adit_tlog::{
    Policy, PolicyError, WitnessKey, log_key, request_cosignature, sign_checkpoint, with_cosignatures, witness_agent,
};
use redb::backends::InMemoryBackend;
use rustix::process::Signal;

use crate::network::{Adit, Home};
use crate::process::Process;

fn log() -> SecretKey {
    SecretKey::from_seed([100; 32])
}

/// A running witness.
struct Witness {
    process: Process,
    key: WitnessKey,
    url: String,
}

impl Witness {
    fn command(home: &Home) -> Adit {
        home.adit(["witness", "--name", "witness.example/w1", "--listen", "127.0.0.1:0", "--data", "w", "--key", "w.key"])
    }

    #[track_caller]
    fn start(home: &Home) -> Self {
        let log = log_key(&log().public()).to_string();
        let process = Self::command(home).args(["--log", &log, "--ready-file", "ready"]).start();
        let line = process.stdout.wait_for_line("");
        let (key, url) = line.split_once(' ').unwrap();
        assert_eq!(std::fs::read_to_string(home.path("ready")).unwrap(), format!("{url}\n"));
        Self { key: key.parse().unwrap(), url: url.to_owned(), process }
    }

    /// Posts a checkpoint without a proof; the answer's status, and its body.
    #[track_caller]
    fn post(&self, old: u64, checkpoint: &[u8]) -> (u16, String) {
        let body = [format!("old {old}\n\n").as_bytes(), checkpoint].concat();
        let mut stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
        let head =
            format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(head.contains("content-type: text/x.tlog.size"), head.contains(" 409 ") && body.trim().parse::<u64>().is_ok());
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

/// A ledger of so many leaves.
fn ledger(leaves: u64) -> Ledger {
    let gateway = log().public();
    let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).unwrap();
    for n in 0..leaves {
        ledger.apply(&[Operation::State(Terms { gateway, fee_ppm: n as u32, time: UnixMillis(n) })]).unwrap().remove(0).unwrap();
    }
    ledger
}

#[test]
fn witness_remembers_what_it_cosigned_when_it_is_killed() {
    let home = Home::new();
    let (five, nine) = (ledger(5), ledger(9));
    assert_eq!((five.tree().size, nine.tree().size), (5, 9));
    let (first, second) = (sign_checkpoint(&log(), &five.tree()), sign_checkpoint(&log(), &nine.tree()));

    let witness = Witness::start(&home);
    assert_eq!(witness.post(0, &first).0, 200);
    let shown = home.adit(["witness", "--name", "witness.example/w1", "--key", "w.key", "--show-key"]).run().ok();
    assert_eq!(shown.text().trim(), witness.key.to_string());
    witness.process.kill();

    let witness = Witness::start(&home);
    assert_eq!(witness.post(0, &second), (409, "5\n".to_owned()));
    assert_eq!(witness.post(5, &second).0, 422);
    assert_eq!(witness.post(6, &first).0, 400);
    assert_eq!(witness.post(0, b"no checkpoint").0, 400);
    let other = SecretKey::from_seed([8; 32]);
    assert_eq!(witness.post(0, &sign_checkpoint(&other, &nine.tree())).0, 404);
    let forged = String::from_utf8(second.clone()).unwrap().replace("\n9\n", "\n8\n");
    assert_eq!(witness.post(5, forged.as_bytes()).0, 403);
    assert_eq!(witness.post(5, &sign_checkpoint(&log(), &TreeHead { size: 5, root: [1; 32] })).0, 409);

    let reader = nine.reader().clone();
    let prove = |old, new| reader.prove_growth(old, new);
    let cosigned = request_cosignature(&witness_agent(), &witness.url, &witness.key, 0, &second, prove).unwrap();
    let policy = format!("log {}\nwitness w {} {}\nquorum w\n", log_key(&log().public()), witness.key, witness.url);
    let policy: Policy = policy.parse().unwrap();
    let verdict = policy.check(&with_cosignatures(&second, [cosigned.cosignature.line.as_str()])).unwrap();
    assert_eq!((verdict.head, verdict.witnesses[0].time), (nine.tree(), cosigned.cosignature.time));
    assert!(matches!(policy.check(&second), Err(PolicyError::Quorum { .. })));

    // The store has one witness, and an end in order loses nothing either.
    Witness::command(&home).args(["--log", &log_key(&log().public()).to_string()]).run().code(1).says("is open already");
    witness.process.signal(Signal::INT);
    witness.process.wait().ok().says("witness stopped");
    let evidence = Witness::command(&home).args(["--show-evidence"]).run().ok();
    assert!(evidence.text().contains("two trees of one size, at 20"), "{}", evidence.text());
    let policy = home.file("policy", format!("log {}\nquorum none\n", log_key(&log().public())));
    let witness = Witness::command(&home).args(["--policy".as_ref(), policy.as_os_str()]).start();
    let line = witness.stdout.wait_for_line("");
    assert!(line.starts_with("witness.example/w1+"), "{line}");
}

/// It answered 500 until somebody looked: after one error of the disk its database answers nothing any more.
#[test]
fn witness_whose_disk_failed_ends_and_goes_on_when_it_is_started_again() {
    let home = Home::new();
    let checkpoint = sign_checkpoint(&log(), &ledger(5).tree());
    let witness = Witness::start(&home);
    witness.process.limit_files(Some(1));
    assert_eq!(witness.post(0, &checkpoint), (500, "the store failed, and nothing was cosigned\n".to_owned()));
    witness.process.wait().code(1).says("nothing is cosigned any more; mend the disk");
    let witness = Witness::start(&home);
    assert_eq!(witness.post(0, &checkpoint).0, 200);
}

#[test]
fn witness_without_a_log_or_a_name_is_wrong_usage() {
    let home = Home::new();
    Witness::command(&home).run().code(2).says("--log");
    home.adit(["witness", "--log", &log_key(&log().public()).to_string()]).run().code(2).says("--name");
    home.adit(["witness", "--name", "a b", "--show-key"]).run().code(2).says("has a space");
    Witness::command(&home).args(["--log", "nonsense"]).run().code(2).says("no key of the form NAME+ID+KEY");
    let policy = home.file("policy", "# nothing\nwitness x y\n");
    let args = ["--policy".as_ref(), policy.as_os_str()];
    Witness::command(&home).args(args).run().code(2).says("line 2 of the policy");
    std::fs::write(&policy, "quorum none\n").unwrap();
    Witness::command(&home).args(args).run().code(2).says("nothing to witness");
}
