//! Who has what: credits are granted, held, paid and paid out, and never twice.

use adit_protocol::{PublicKey, SecretKey};
use serde_json::Value;

use crate::guest;
use crate::network::{Adit, Network};
use crate::process::until;

const CREDIT: u64 = 1_000_000;

/// What a key has: available, held and earned, in microcredits.
fn account(network: &Network, args: &[&str]) -> [u64; 3] {
    let report = network.adit(["account", "--json"]).args(args).run().ok().json();
    ["available", "held", "earned"].map(|part| report[format!("{part}_microcredits")].as_u64().unwrap())
}

/// A command of the gateway's operator.
fn operator(network: &Network, args: &[&str]) -> Adit {
    network.adit(["credit"]).args(args).args(["--key", network.home.path("gateway.key").to_str().unwrap()])
}

fn user(network: &Network) -> String {
    network.key().public().to_string()
}

fn cost(job: &Value) -> u64 {
    job["price_microcredits"].as_u64().unwrap()
}

#[test]
fn job_runs_for_who_can_pay_for_it_and_its_owner_is_paid() {
    let network = Network::of_the_poor(&["--fee", "5"]);
    let run = || network.run(&guest::echo()).args(["--input", "-", "--json"]).input("paid for").run();
    let refused = run().code(20).json();
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("and the account has 0.000000 credits; lower --fuel"), "{reason}");
    assert_eq!((account(&network, &[]), cost(&refused)), ([0; 3], 0));

    operator(&network, &["grant", &user(&network), "2.5"]).run().ok();
    assert_eq!(account(&network, &[]), [2_500_000, 0, 0]);
    let job = run().ok().json();
    let cost = cost(&job);
    assert!(cost > 0);
    assert_eq!(account(&network, &[]), [2_500_000 - cost, 0, 0]);
    let node_key = network.home.path("node-0.key");
    let earned = cost - cost * 5 / 100;
    assert_eq!(account(&network, &["--key", node_key.to_str().unwrap()]), [0, 0, earned]);
    assert!(network.adit(["account"]).run().ok().text().contains("held       0.000000 credits, for jobs that have not ended"));
}

#[test]
fn what_a_running_job_can_cost_is_held_and_goes_back() {
    let mut network = Network::of_the_poor(&[]);
    operator(&network, &["grant", &user(&network), "10"]).run().ok();
    let submit = |network: &Network| {
        let ran = network.adit(["submit"]).args([network.module(&guest::hold())]).args(["--fuel", "100G"]).run().ok();
        let job = ran.text().trim().to_owned();
        network.adit(["logs", "-f", &job]).start().stdout.wait_for_text(guest::READY);
        job
    };
    let job = submit(&network);
    let [available, held, _] = account(&network, &[]);
    assert!(held > 1_000 && available + held == 10 * CREDIT, "{available} {held}");
    // Withdrawn while it runs, it costs what it used.
    network.adit(["cancel", &job]).run().ok();
    let ended = network.adit(["output", &job, "--json"]).run().json();
    until("the hold has ended", || account(&network, &[]) == [10 * CREDIT - cost(&ended), 0, 0]);

    // A gateway that dies knows nothing of what ran: what was held for it is there again.
    submit(&network);
    assert!(account(&network, &[])[1] > 1_000);
    network.gateway.process.kill_in_place();
    network.gateway = crate::network::Gateway::start_with(&network.home, &network.gateway.address.host, &[]);
    assert_eq!(account(&network, &[]), [10 * CREDIT - cost(&ended), 0, 0]);
}

#[test]
fn jobs_that_together_cost_too_much_are_not_begun_together() {
    let network = Network::of_the_poor(&[]);
    let ask = ["--fuel", "60G", "--memory", "64MiB"];
    let submit = || network.adit(["submit"]).args([network.module(&guest::hold())]).args(ask);
    let refused = submit().run().code(20);
    // What one can cost, and half of another.
    let needed = refused.stderr.split("can cost ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let one: f64 = needed.parse().unwrap();
    operator(&network, &["grant", &user(&network), &format!("{:.6}", one * 1.5)]).run().ok();
    submit().run().ok();
    submit().run().code(20).says("the job can cost");
}

#[test]
fn order_is_the_operators_and_is_carried_out_once() {
    let network = Network::of_the_poor(&[]);
    let (user, id) = (user(&network), "00112233445566778899aabbccddeeff");
    let refused = network.adit(["credit", "grant", &user, "5"]).run().code(20).says("orders are the gateway's operator's");
    refused.says("give it again with --id");
    let grant = |amount: &str| operator(&network, &["grant", &user, amount, "--id", id, "--json"]).run();
    let first = grant("5").ok().json();
    assert_eq!((&first["order"], &first["amount_microcredits"]), (&id.into(), &(5 * CREDIT).into()));
    assert_eq!(grant("5").ok().json(), first);
    grant("6").code(20).says("was for something else");
    assert_eq!(account(&network, &[])[0], 5 * CREDIT);

    let stranger: PublicKey = SecretKey::from_seed([7; 32]).public();
    operator(&network, &["payout", &stranger.to_string(), "0.1"]).run().code(20).says("has -100000 microcredits left");
    operator(&network, &["grant", "no key", "1"]).run().code(2);
    operator(&network, &["grant", &user, "-1"]).run().code(2);
}

/// A node whose price nobody can pay takes no job from others, and no attempt.
#[test]
fn dear_node_is_passed_over() {
    let mut network = Network::of_the_poor(&["--welcome", "1"]);
    network.add_node(&["--slots", "4", "--price-per-minute", "1000000"]);
    let cheap = network.nodes[0].key;
    for _ in 0..4 {
        let job = network.run(&guest::echo()).args(["--json"]).run().ok().json();
        assert_eq!(job["node"], cheap.to_string());
    }
    // Without the other, the job is refused for what the dear one costs.
    network.take_node(cheap).kill();
    until("the gateway knows", || network.adit(["nodes", "--json"]).run().ok().json_lines().len() == 1);
    network.run(&guest::echo()).run().code(20).says("the job can cost");
}

/// A batch whose jobs can together cost more than there is goes on as they end.
#[test]
fn map_goes_on_with_what_comes_back() {
    let network = Network::of_the_poor(&[]);
    let flags = ["--fuel", "60G", "--memory", "64MiB"];
    let refused = network.run(&guest::echo()).args(flags).run().code(20);
    let needed: f64 = refused.stderr.split("can cost ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    operator(&network, &["grant", &user(&network), &format!("{:.6}", needed * 1.5)]).run().ok();
    let inputs: Vec<_> = (0..6).map(|n| network.home.file(&format!("in/{n}"), format!("input {n}"))).collect();
    let module = network.module(&guest::echo());
    let map = network.adit(["map"]).args([module]).args(&inputs).args(["--out", "out", "--jobs", "6"]).args(flags);
    map.run().ok();
    assert_eq!(std::fs::read(network.home.path("out/5.out")).unwrap(), b"input 5");
}

#[test]
fn welcome_is_given_once() {
    let mut network = Network::of_the_poor(&["--welcome", "3"]);
    assert_eq!(account(&network, &[]), [0; 3], "until it asks for a job");
    let run = |network: &Network| network.run(&guest::echo()).args(["--json"]).run().ok().json();
    let mut spent = cost(&run(&network));
    assert_eq!(account(&network, &[]), [3 * CREDIT - spent, 0, 0]);
    network.gateway.process.kill_in_place();
    network.gateway = crate::network::Gateway::start_with(&network.home, &network.gateway.address.host, &["--welcome", "3"]);
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    client.block_on(async { crate::network::nodes_until(&network.client().await, |nodes| nodes.len() == 1).await });
    spent += cost(&run(&network));
    assert_eq!(account(&network, &[]), [3 * CREDIT - spent, 0, 0]);
}
