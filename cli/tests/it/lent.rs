//! What an owner lends: how fast it is, how much of it, and what is left for others.

use adit_protocol::{Digest, Greeting, SecretKey};
use adit_transport::{GatewayAddr, Listener};
use rustix::process::Signal;

use crate::guest;
use crate::network::{Network, nodes_until};
use crate::process::{Process, until};

/// What a node may take of its owner's memory while it waits for work, as the sum of what its processes have in memory. What they share,
/// which is most of the program, counts for each of them.
const IDLE_BYTES_MAX: u64 = 60 << 20;

/// The fields of a thread's `stat` of proc(5) from the third on: the name before them may hold anything.
fn stat_fields(path: &str) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(path).ok()?;
    Some(stat.rsplit_once(") ")?.1.split_ascii_whitespace().map(str::to_owned).collect())
}

/// The nice value and the scheduler's class of each thread of a process.
fn priorities(pid: u32) -> Vec<(String, String)> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = threads.filter_map(|thread| stat_fields(thread.unwrap().path().join("stat").to_str().unwrap()));
    stats.map(|fields| (fields[19 - 3].clone(), fields[41 - 3].clone())).collect()
}

#[tokio::test]
async fn node_tells_how_fast_it_is_and_what_it_has_compiled() {
    let mut network = Network::with_slots(&[1]);
    let module = guest::echo();
    network.run(&module).args(["--input", "-"]).input("hi").run().ok();
    let node = network.nodes.remove(0).process;
    node.stderr.wait_for_text("adit: measured: ");
    let client = network.client().await;
    let known = nodes_until(&client, |nodes| nodes.len() == 1).await;
    assert!(known[0].offer.fuel_per_second > 0, "{known:?}");
    node.signal(Signal::TERM);
    node.wait().ok();

    // What it says to a gateway that knows nothing of it.
    let key = SecretKey::generate();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &key).unwrap();
    let gateway = GatewayAddr { host: listener.local_addr().to_string(), key: key.public() };
    let (cache, node_key) = (network.home.path("node-0"), network.home.path("node-0.key"));
    let node = network.home.adit(["node", "--slots", "1", "--json", "--gateway", &gateway.to_string()]);
    let node = node.args(["--cache".as_ref(), cache.as_os_str(), "--key".as_ref(), node_key.as_os_str()]).start();
    let measured = node.stdout.wait_for("measurement", |text| text.lines().next().map(str::to_owned));
    let measured: serde_json::Value = serde_json::from_str(&measured).unwrap();
    let connection = listener.accept().await.unwrap().complete().await.unwrap();
    let (_outbox, mut inbox) = connection.accept_control().await.unwrap();
    let Some(Greeting::Node { offer, cached, .. }) = inbox.next().await.unwrap() else { panic!("it is a node") };
    assert_eq!(cached, [Digest::of(&module)]);
    assert_eq!((&measured["event"], &measured["slots"]), (&"measured".into(), &1.into()));
    assert_eq!(measured["fuel_per_second"], offer.fuel_per_second);
}

#[test]
fn jobs_give_way_to_what_the_owner_does_unless_the_owner_says_otherwise() {
    let mut network = Network::empty();
    network.add_node(&["--slots", "1", "--priority", "low"]);
    let node = &network.nodes[0].process;
    let of_workers = |node: &Process| node.children().into_iter().map(priorities).collect::<Vec<_>>();
    // A worker that has its second thread has been through all that decides its priority, and a machine that is busy may let it wait.
    let are_ready = |workers: &[Vec<(String, String)>]| !workers.is_empty() && workers.iter().all(|threads| threads.len() > 1);
    until("a worker of low priority waits", || are_ready(&of_workers(node)));
    let low = of_workers(node).concat();
    assert!(low.iter().all(|(nice, class)| (nice.as_str(), class.as_str()) == ("19", "5")), "{low:?}");
    // The node itself must hear its gateway and its owner.
    let own = priorities(node.pid());
    assert!(own.iter().all(|(_, class)| class == "0"), "{own:?}");

    network.nodes.clear();
    network.add_node(&["--slots", "1", "--priority", "normal"]);
    let node = &network.nodes[0].process;
    until("a worker waits", || are_ready(&of_workers(node)));
    let normal = of_workers(node).concat();
    assert!(normal.iter().all(|(_, class)| class == "0"), "{normal:?}");
    network.home.adit(["node", "--priority", "high"]).run().code(2).says("write `low` or `normal`");
}

/// They were no more likely to go than the node, whose end ends all of them.
#[test]
fn workers_go_first_where_the_machine_is_out_of_memory() {
    let network = Network::with_slots(&[1]);
    let node = &network.nodes[0].process;
    let score = |pid: u32| {
        let said = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default();
        said.trim().parse::<i32>().ok()
    };
    until("workers go first", || {
        let workers = node.children();
        !workers.is_empty() && workers.into_iter().all(|pid| score(pid) == Some(1000))
    });
    assert_eq!(score(node.pid()), score(std::process::id()), "the node is as its owner started it");
}

#[test]
fn worker_whose_slot_has_a_share_is_stopped_now_and_then() {
    let mut network = Network::empty();
    network.add_node(&["--slots", "1", "--cpu-share", "20"]);
    let run = network.run(&guest::spin()).args(["--fuel", "100T", "--timeout", "1h"]).start();
    let states = || {
        let workers = network.nodes[0].process.children();
        workers.iter().filter_map(|pid| Some(stat_fields(&format!("/proc/{pid}/stat"))?[0].clone())).collect::<Vec<_>>()
    };
    for round in 0..3 {
        until(&format!("stopped, {round}"), || states().iter().any(|state| state == "T"));
        until(&format!("running, {round}"), || states().iter().all(|state| state != "T"));
    }
    run.signal(Signal::INT);
    run.wait();
    let refused = network.home.adit(["node", "--cpu-share", "4"]).run().code(2);
    refused.says("write a percentage from 5 to 100");
}

#[test]
fn node_without_work_takes_little_memory() {
    let network = Network::with_slots(&[1]);
    let node = &network.nodes[0].process;
    // It has measured itself; the worker that did is gone, and a fresh one waits.
    until("one worker waits", || node.children().len() == 1);
    let family = |node: &Process| [node.pid()].into_iter().chain(node.children()).collect::<Vec<_>>();
    let bytes: u64 = family(node).into_iter().map(resident_bytes).sum();
    println!("{bytes} bytes");
    assert!(bytes <= IDLE_BYTES_MAX, "{bytes}");
}

/// What a process has in memory.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a living process has a VmRSS");
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}
