//! `adit map`: one job for each input, in order, and a second run that does only what is left.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use crate::guest;
use crate::network::{Adit, Gateway, Home, Network, WELCOME};
use crate::process::until;

/// Inputs with a name and a content each, and one command over all of them.
struct Inputs {
    network: Network,
    module: PathBuf,
    inputs: Vec<PathBuf>,
}

impl Inputs {
    fn new(network: Network, module: &[u8], count: usize) -> Self {
        let inputs = (0..count).map(|n| network.home.file(&format!("in/{n:03}.txt"), content(n))).collect();
        let module = network.module(module);
        Self { network, module, inputs }
    }

    fn map(&self) -> Adit {
        self.network.adit(["map"]).args([&self.module]).args(&self.inputs).args(["--out", "out"])
    }

    fn manifest(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.network.home.path("out/manifest.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until the first of them is settled.
    fn wait_for_a_receipt(&self) {
        until("a receipt is kept", || self.network.home.folder_bytes("out/receipts") > 0);
    }

    /// Checks that every input has its output, its row in its place, and a receipt that holds.
    fn check_whole(&self) {
        let rows = self.manifest();
        assert_eq!(rows.len(), self.inputs.len());
        let mut receipts = Vec::new();
        for (n, row) in rows.iter().enumerate() {
            assert_eq!(row["input"], self.inputs[n].display().to_string());
            assert_eq!((&row["outcome"], &row["exit_code"]), (&"finished".into(), &0.into()), "{row}");
            let output = self.network.home.path("out").join(row["output"].as_str().unwrap());
            assert!(std::fs::read_to_string(output).unwrap() == content(n), "{row}");
            receipts.push(self.network.home.path(format!("out/receipts/{n:03}.txt.receipt")));
        }
        self.network.adit(["verify"]).args(receipts).run().ok();
    }

    /// The jobs that were billed.
    fn billed(&self) -> BTreeSet<String> {
        let rows = self.network.adit(["receipts", "--json"]).run().ok().json_lines();
        rows.iter().map(|row| row["job"].as_str().unwrap().to_owned()).collect()
    }
}

/// Some of them are too large to travel in a message, and all of them fit what [`guest::steady`] reads.
fn content(n: usize) -> String {
    format!("input {n}\n").repeat(1 + n % 20 * 200)
}

#[test]
fn every_input_gets_its_output_in_order_and_the_whole_is_paid_once() {
    let inputs = Inputs::new(Network::with_slots(&[1, 1]), &guest::echo(), 20);
    let ran = inputs.map().args(["--json"]).run().ok().says("20 of 20 finished");
    assert_eq!(ran.json_lines(), inputs.manifest());
    inputs.check_whole();
    let billed = inputs.billed();
    assert_eq!(billed.len(), 20);
    // Again: there is nothing to do, nothing to pay, and the same to see.
    assert_eq!(inputs.map().args(["--json"]).run().ok().json_lines(), ran.json_lines());
    assert_eq!(inputs.billed(), billed);
    // Outputs that were lost are fetched again, not paid again.
    std::fs::remove_file(inputs.network.home.path("out/007.txt.out")).unwrap();
    inputs.map().run().ok();
    inputs.check_whole();
    assert_eq!(inputs.billed(), billed);
}

#[test]
fn partial_failure_is_told_and_the_rest_is_done() {
    let inputs = Inputs::new(Network::with_slots(&[1]), &guest::echo(), 5);
    std::fs::remove_file(&inputs.inputs[1]).unwrap();
    // The fifth input is over the limit of what may be written.
    let largest = content(4).len() - 1;
    let limit = format!("{largest}B");
    let ran = inputs.map().args(["--json", "--output-max", &limit]).run().code(30);
    let ran = ran.says("3 of 5 finished").says("1 refused").says("1 output too large").says("001.txt");
    let rows = ran.json_lines();
    let outcomes: Vec<&str> = rows.iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["finished", "refused", "finished", "finished", "output_too_large"]);
    assert!(rows[1]["reason"].as_str().unwrap().contains("No such file"), "{}", rows[1]);
    assert!(!inputs.network.home.path("out/001.txt.out").exists() && !inputs.network.home.path("out/004.txt.out").exists());
    let billed = inputs.billed();
    assert_eq!(billed.len(), 4);

    // Mended, the same command does what is left. Another limit is another job, but what is done is not done again for it.
    inputs.network.home.file("in/001.txt", content(1));
    inputs.map().args(["--output-max", &limit]).run().code(30).says("4 of 5 finished");
    assert_eq!(inputs.billed().len(), 5);
    assert!(inputs.billed().is_superset(&billed));
    inputs.map().run().ok();
    inputs.check_whole();
}

#[test]
fn killed_map_goes_on_where_it_was() {
    let inputs = Inputs::new(Network::with_slots(&[1, 1]), &guest::steady(600_000_000), 10);
    let map = inputs.map().start();
    inputs.wait_for_a_receipt();
    map.kill();
    inputs.map().run().ok().says("10 of 10 finished");
    inputs.check_whole();
    assert_eq!(inputs.billed().len(), 10, "what ran while nobody waited was attached to");
}

/// Some jobs have ended and are not settled when the gateway dies. They run again, and the receipt that is kept must be the one that
/// was settled.
#[test]
fn map_goes_on_when_its_gateway_dies_and_every_receipt_holds() {
    let mut inputs = Inputs::new(Network::with_slots(&[2, 2]), &guest::steady(10_000_000), 60);
    let map = inputs.map().start();
    inputs.wait_for_a_receipt();
    inputs.network.restart_gateway();
    let ran = map.wait().ok().says("60 of 60 finished");
    for news in ["gateway lost (", "gateway found again"] {
        assert_eq!(ran.stderr.matches(news).count(), 1, "the jobs in flight tell it once: {ran:?}");
    }
    inputs.check_whole();
    assert_eq!(inputs.billed().len(), 60);
}

#[test]
fn interrupted_map_stops_its_jobs_and_goes_on_later() {
    let inputs = Inputs::new(Network::with_slots(&[1]), &guest::steady(1_500_000_000), 4);
    let map = inputs.map().args(["--jobs", "2"]).start();
    inputs.wait_for_a_receipt();
    map.signal(Signal::INT);
    map.wait().code(30).says("not tried");
    // Nothing is left running or waiting.
    let jobs = inputs.network.adit(["status", "--json"]).run().ok().json_lines();
    assert!(jobs.iter().all(|job| job["state"] != "running" && job["state"] != "queued"), "{jobs:?}");
    inputs.map().run().ok().says("4 of 4 finished");
    inputs.check_whole();
}

/// The next run came under the same key, attached to the job that had been cancelled, and took that for its result. A second interrupt that came
/// at once left the jobs running.
#[test]
fn map_that_was_left_by_a_second_interrupt_is_done_by_the_next_run() {
    let inputs = Inputs::new(Network::with_slots(&[1]), &guest::steady(8_000_000_000), 1);
    let status = || inputs.network.adit(["status", "--json"]).run().ok().json_lines();
    let map = inputs.map().start();
    until("the job runs", || status().iter().any(|job| job["state"] == "running"));
    // A node that does not answer: the end of the job is not known when the user leaves.
    let node = &inputs.network.nodes[0].process;
    node.signal(Signal::STOP);
    map.signal(Signal::INT);
    map.stderr.wait_for_text("cancelling what runs");
    map.signal(Signal::INT);
    map.wait().code(130).says("the same command goes on from here");
    node.signal(Signal::CONT);
    until("the job is cancelled", || status().iter().any(|job| job["outcome"] == "cancelled" && job["settled"] == true));
    inputs.map().run().ok().says("1 of 1 finished");
    inputs.check_whole();
    assert_eq!((inputs.manifest()[0]["retry"].as_u64(), inputs.billed().len()), (Some(1), 2));
    // That is its key from now on.
    inputs.map().run().ok().says("1 of 1 finished (1 of them before)");
    assert_eq!(inputs.billed().len(), 2);
}

/// Such rows said that nothing was paid.
#[test]
fn row_of_a_result_that_cannot_be_written_tells_what_its_job_cost() {
    let inputs = Inputs::new(Network::with_slots(&[1]), &guest::echo(), 1);
    let output = inputs.network.home.path("out/000.txt.out");
    std::fs::create_dir_all(output.join("in the way")).unwrap();
    let rows = inputs.map().args(["--json"]).run().code(30).says("1 refused").json_lines();
    let invoice = inputs.network.adit(["invoice", "--since", "1d", "--json"]).run().ok().json();
    let (row, job) = (&rows[0], &invoice["jobs"][0]);
    assert!(row["reason"].as_str().unwrap().contains("cannot write"), "{row}");
    assert_eq!((&row["outcome"], &row["exit_code"]), (&"refused".into(), &Value::Null));
    assert_eq!((&row["fuel"], &row["node"]), (&job["fuel"], &job["node"]));
    assert_eq!((&row["job"], &row["price_microcredits"]), (&job["job"], &invoice["total_microcredits"]));
    assert!(row["price_microcredits"].as_u64() > Some(0), "{row}");
    std::fs::remove_dir_all(output).unwrap();
    inputs.map().run().ok();
    inputs.check_whole();
    assert_eq!(inputs.billed().len(), 1, "it is not paid again");
}

/// A network of one node of one slot, whose gateway has these further arguments.
fn narrow(args: &[&str]) -> Network {
    let home = Home::new();
    let gateway = Gateway::start_with(&home, "127.0.0.1:0", &[&WELCOME, args].concat());
    let mut network = Network { home, gateway, nodes: Vec::new() };
    network.add_node(&["--slots", "1"]);
    network
}

#[test]
fn ten_times_what_the_gateway_has_room_for_is_all_done_once() {
    let inputs = Inputs::new(narrow(&["--queue-max", "5"]), &guest::echo(), 60);
    let ran = inputs.map().args(["--jobs", "60"]).run().ok().says("60 of 60 finished");
    assert_eq!(ran.stderr.matches("the queue is full (5 jobs)").count(), 1, "it is told once: {ran:?}");
    inputs.check_whole();
    assert_eq!(inputs.billed().len(), 60);
}

#[test]
fn map_that_is_faster_than_it_may_submit_is_all_done_once() {
    let inputs = Inputs::new(narrow(&["--submit-rate", "20"]), &guest::echo(), 80);
    let ran = inputs.map().args(["--jobs", "80"]).run().ok().says("80 of 80 finished");
    assert_eq!(ran.stderr.matches("too many submissions").count(), 1, "it is told once: {ran:?}");
    inputs.check_whole();
    assert_eq!(inputs.billed().len(), 80);
}

#[test]
fn interrupted_map_waits_for_no_room() {
    let inputs = Inputs::new(narrow(&["--queue-max", "1"]), &guest::steady(1_500_000_000), 20);
    let map = inputs.map().args(["--jobs", "20"]).start();
    map.stderr.wait_for_text("the queue is full (1 jobs)");
    map.signal(Signal::INT);
    map.wait().code(30);
    let jobs = inputs.network.adit(["status", "--json"]).run().ok().json_lines();
    assert!(jobs.iter().all(|job| job["state"] != "running" && job["state"] != "queued"), "{jobs:?}");
}

#[test]
fn inputs_of_the_same_name_do_not_overwrite_each_other() {
    let network = Network::with_slots(&[1]);
    let module = network.module(&guest::echo());
    for dir in ["a", "b"] {
        network.home.file(&format!("{dir}/x.txt"), format!("from {dir}"));
    }
    network.adit(["map"]).args([module]).args(["a/x.txt", "b/x.txt", "--out", "out"]).run().ok();
    for (file, want) in [("out/x.txt.out", "from a"), ("out/x.txt-2.out", "from b")] {
        assert_eq!(std::fs::read_to_string(network.home.path(file)).unwrap(), want);
    }
}
