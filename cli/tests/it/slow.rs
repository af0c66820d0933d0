//! A witness that takes a request and does not answer: nobody waits for it where the others are enough.

use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use adit_client::Client;
use adit_protocol::{Answer, Query, SecretKey};
use adit_tlog::{Cosigner, log_key};
use adit_transport::{load_key_file, load_or_create_key_file};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::guest;
use crate::network::{Gateway, Home, Network, WELCOME};
use crate::process::{LOOK_EVERY, PATIENCE, Process};

/// What takes less did not wait for the witness: a request to it ends after fifteen seconds.
const PROMPT: Duration = Duration::from_secs(12);

/// Where a witness listens that answers nobody, and what tells of each connection to it.
fn listen_slowly() -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (tell, came) = channel();
    thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            held.push(stream);
            if tell.send(()).is_err() {
                break;
            }
        }
    });
    (url, came)
}

/// A home with a policy of a good witness, which runs, and of one that is slow.
fn home() -> (Home, Process, Receiver<()>) {
    let home = Home::new();
    let log = log_key(&load_or_create_key_file(&home.path("gateway.key")).unwrap().public()).to_string();
    let command = home.adit(["witness", "--name", "witness.example/good", "--data", "w", "--key", "w.key"]);
    let witness = command.args(["--listen", "127.0.0.1:0", "--log", &log]).start();
    let good = witness.stdout.wait_for_line("");
    let slow = Cosigner::new("witness.example/slow", SecretKey::from_seed([7; 32])).unwrap();
    let (url, came) = listen_slowly();
    let slow = format!("witness slow {} {url}\ngroup g any good slow", slow.key());
    home.file("policy", format!("log {log}\nwitness good {good}\n{slow}\nquorum g\n"));
    (home, witness, came)
}

/// Waits until the gateway shows a tree of so many leaves at least.
async fn shows(network: &Network, leaves: u64) {
    let key = load_key_file(&network.home.path("gateway.key")).unwrap();
    let client = Client::connect(key, network.gateway.address.clone()).await.unwrap();
    let all = async {
        loop {
            let Ok(Answer::Log(log)) = client.ask(Query::Log).await else { panic!("no answer about the log") };
            let size = |text: String| text.lines().nth(1).unwrap().parse::<u64>().unwrap();
            if log.checkpoint.map(size).is_some_and(|size| size >= leaves) {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await
        }
    };
    timeout(PATIENCE, all).await.expect("the good witness cosigns all");
}

/// A start, a checkpoint and an end each took as long as the slowest witness' timeout, whatever the quorum.
#[tokio::test(flavor = "multi_thread")]
async fn slow_witness_keeps_up_neither_the_start_nor_a_checkpoint_nor_the_end() {
    let (home, _witness, came) = home();
    let begun = Instant::now();
    let policy = home.path("policy");
    let command = Gateway::command(&home, "127.0.0.1:0").args(WELCOME);
    let process = command.args(["--witness-policy".as_ref(), policy.as_os_str()]).start();
    let address = process.stdout.wait_for_line("").parse().unwrap();
    assert!(begun.elapsed() < PROMPT, "the start took {:?}", begun.elapsed());
    came.try_recv().expect("the slow witness is asked");
    let mut network = Network { home, gateway: Gateway { process, address }, nodes: Vec::new() };
    network.add_node(&["--slots", "1"]);

    for leaves in [2, 3] {
        network.run(&guest::echo()).args(["--input", "-"]).input("x").run().ok();
        let begun = Instant::now();
        shows(&network, leaves).await;
        assert!(begun.elapsed() < PROMPT, "the checkpoint took {:?}", begun.elapsed());
    }

    let begun = Instant::now();
    network.gateway.process.signal(Signal::TERM);
    network.gateway.process.wait().ok();
    assert!(begun.elapsed() < PROMPT, "the end took {:?}", begun.elapsed());
}

#[test]
fn start_wants_a_witness_also_where_the_quorum_is_none() {
    let home = Home::new();
    let log = log_key(&load_or_create_key_file(&home.path("gateway.key")).unwrap().public());
    let witness = Cosigner::new("witness.example/gone", SecretKey::from_seed([7; 32])).unwrap();
    let url = format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let policy = home.file("policy", format!("log {log}\nwitness gone {} {url}\nquorum none\n", witness.key()));
    let gateway = || Gateway::command(&home, "127.0.0.1:0").args(["--witness-policy".as_ref(), policy.as_os_str()]);
    let refused = gateway().run().code(1).says("no witness cosigned").says("gone: ").says("--start-without-witnesses");
    assert!(refused.stdout.is_empty(), "it announces nothing: {refused:?}");
    let process = gateway().args(["--start-without-witnesses"]).start();
    process.stdout.wait_for_line("");
    process.stderr.wait_for_text("no witness cosigned");
    process.signal(Signal::TERM);
    process.wait().ok();
}
