//! Who has what: credits are granted, held, paid and paid out, and never twice.

use adit_protocol::limits::ANSWER_ROWS_MAX;
use adit_protocol::{Answer, HoldStatus, JobId, Microcredits, PublicKey, Query, SecretKey, UnixMillis};
use serde_json::Value;

use crate::guest;
use crate::network::{Adit, Gateway, Home, Network};
use crate::process::{Ran, until};
use crate::receipts::answering;

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
    network.gateway = Gateway::start_with(&network.home, &network.gateway.address.host, &[]);
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
    // Again it would be refused again.
    let definite = |ran: Ran, why: &str| assert!(!ran.code(20).says(why).stderr.contains("give it again"));
    definite(network.adit(["credit", "grant", &user, "5"]).run(), "orders are the gateway's operator's");
    let grant = |amount: &str| operator(&network, &["grant", &user, amount, "--id", id, "--json"]).run();
    let first = grant("5").ok().json();
    assert_eq!((&first["order"], &first["amount_microcredits"]), (&id.into(), &(5 * CREDIT).into()));
    assert_eq!(grant("5").ok().json(), first);
    definite(grant("6"), "was for something else");
    assert_eq!(account(&network, &[])[0], 5 * CREDIT);

    let stranger: PublicKey = SecretKey::from_seed([7; 32]).public();
    let overdrawn = format!("owner {stranger} has 0.000000 credits, and 0.100000 credits were asked");
    definite(operator(&network, &["payout", &stranger.to_string(), "0.1"]).run(), &overdrawn);
    operator(&network, &["grant", "no key", "1"]).run().code(2);
    operator(&network, &["grant", &user, "-1"]).run().code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_without_an_answer_can_be_given_again() {
    let (home, key) = (Home::new(), SecretKey::generate());
    let address = answering(&key, |_| Answer::Unavailable("in a moment".to_owned()));
    let stranger = SecretKey::from_seed([7; 32]).public().to_string();
    let ran = home.adit(["credit", "grant", &stranger, "5", "--gateway", &address]).run().code(20);
    ran.says("give it again with --id").says("in a moment");
}

/// Of more holds than one answer has, a program was told of the first 200 and of nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn holds_are_listed_to_the_last() {
    let (home, key) = (Home::new(), SecretKey::generate());
    let hold =
        |n: usize| HoldStatus { job: JobId([n as u8; 16]), amount: Microcredits(n as u64), expires: UnixMillis(n as u64 / 8) };
    let all: Vec<HoldStatus> = (0..ANSWER_ROWS_MAX + 3).map(hold).collect();
    let honest = || {
        let all = all.clone();
        answering(&key, move |query| match query {
            Query::Holds => Answer::Holds(all[..ANSWER_ROWS_MAX].to_vec()),
            Query::HoldsAfter { expires, job } => {
                let behind = all.iter().filter(|hold| (hold.expires, hold.job) > (expires, job));
                Answer::Holds(behind.take(ANSWER_ROWS_MAX).copied().collect())
            }
            other => panic!("{other:?}"),
        })
    };
    let told = home.adit(["account", "--holds", "--json", "--gateway", &honest()]).run().ok().json_lines();
    let amounts: Vec<_> = told.iter().map(|line| line["held_microcredits"].as_u64().unwrap()).collect();
    assert_eq!(amounts, (0..ANSWER_ROWS_MAX as u64 + 3).collect::<Vec<_>>());
    let table = home.adit(["account", "--holds", "--gateway", &honest()]).run().ok();
    assert_eq!(table.text().lines().count(), 1 + ANSWER_ROWS_MAX + 3);

    let round = answering(&key, move |_| Answer::Holds((0..ANSWER_ROWS_MAX).map(hold).collect()));
    home.adit(["account", "--holds", "--json", "--gateway", &round]).run().code(23).says("told of before");
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
    network.gateway = Gateway::start_with(&network.home, &network.gateway.address.host, &["--welcome", "3"]);
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    client.block_on(async { crate::network::nodes_until(&network.client().await, |nodes| nodes.len() == 1).await });
    spent += cost(&run(&network));
    assert_eq!(account(&network, &[]), [3 * CREDIT - spent, 0, 0]);
}

/// A key whose first jobs cost nothing was no new one when it first had to pay, and got nothing.
#[test]
fn welcome_is_given_also_after_jobs_that_cost_nothing() {
    let home = Home::new();
    let gateway = Gateway::start_with(&home, "127.0.0.1:0", &["--welcome", "3"]);
    let mut network = Network { home, gateway, nodes: Vec::new() };
    let free = ["--price-per-minute", "--price-per-gib-minute", "--price-per-gib-in", "--price-per-gib-out"];
    network.add_node(&free.map(|price| [price, "0"]).concat());
    let run = |network: &Network| network.run(&guest::echo()).args(["--json"]).run().ok().json();
    assert_eq!((cost(&run(&network)), account(&network, &[])), (0, [0; 3]));
    let free = network.nodes[0].key;
    network.take_node(free).kill();
    network.add_node(&["--slots", "1"]);
    let mut spent = 0;
    for _ in 0..2 {
        spent += cost(&run(&network));
        assert!(spent > 0);
        assert_eq!(account(&network, &[]), [3 * CREDIT - spent, 0, 0]);
    }
}

#[test]
fn invoice_is_the_sum_of_the_receipts_and_the_owner_sees_what_was_paid() {
    let mut network = Network::of_the_poor(&["--fee", "10"]);
    operator(&network, &["grant", &user(&network), "10"]).run().ok();
    let jobs: Vec<Value> = (0..3)
        .map(|n| network.run(&guest::echo()).args(["--input", "-", "--json"]).input(vec![b'x'; 1 << (10 + n)]).run().ok().json())
        .collect();
    let costs: Vec<u64> = jobs.iter().map(cost).collect();
    let sum: u64 = costs.iter().sum();

    let invoice = network.adit(["invoice", "--since", "1h", "--json"]).run().ok().json();
    assert_eq!(invoice["total_microcredits"].as_u64(), Some(sum));
    let listed: Vec<&Value> = invoice["jobs"].as_array().unwrap().iter().map(|job| &job["job"]).collect();
    assert_eq!(listed, jobs.iter().map(|job| &job["job"]).collect::<Vec<_>>());
    let csv = network.adit(["invoice", "--since", "1h", "--csv"]).run().ok();
    assert_eq!(csv.text().lines().count(), 5);
    assert_eq!(csv.text().trim_end().lines().last().unwrap(), format!("total,,,,,,,,,,,,,,,,{sum}"));
    assert_eq!(csv.stdout.windows(2).filter(|end| end == b"\r\n").count(), 5, "RFC 4180");
    // The totals are with what they are of, also where nothing else is said.
    let last =
        |network: &Network, args: &[&str]| network.adit(args).args(["-q"]).run().ok().text().lines().last().unwrap().to_owned();
    let total = last(&network, &["invoice", "--since", "1h"]);
    assert!(total.starts_with("total ") && total.ends_with(&Microcredits(sum).to_string()), "{total}");
    let before = network.adit(["invoice", "--since", "2000-01-01", "--until", "2001-01-01", "--json"]).run().ok().json();
    assert_eq!((before["total_microcredits"].as_u64(), before["jobs"].as_array().unwrap().len()), (Some(0), 0));

    let statement = network.adit(["account", "--statement", "--json"]).run().ok().json_lines();
    let moved: i64 = statement.iter().map(|line| line["spendable_microcredits"].as_i64().unwrap()).sum();
    assert_eq!(moved, 10 * CREDIT as i64 - sum as i64);
    assert_eq!(statement[0]["what"], "granted");

    // An attempt whose node is lost is not paid, and its owner is told why.
    let ran = network.adit(["submit"]).args([network.module(&guest::hold())]).args(["--fuel", "100G"]).run().ok();
    let job = ran.text().trim().to_owned();
    network.adit(["logs", "-f", &job]).start().stdout.wait_for_text(guest::READY);
    // It may be some hundred milliseconds on its way to the ledger.
    let holds = || network.adit(["account", "--holds", "--json"]).run().ok().json_lines();
    until("the hold is recorded", || !holds().is_empty());
    let holds = holds();
    assert_eq!((holds.len(), holds[0]["job"].as_str()), (1, Some(job.as_str())));
    assert!(holds[0]["held_microcredits"].as_u64().unwrap() > 0);
    let key = network.nodes[0].key;
    network.take_node(key).kill();
    network.start_node("node-0", &["--slots", "1"]);
    network.adit(["cancel", &job]).run();
    let node_key = network.home.path("node-0.key");
    let earnings = || network.adit(["node", "earnings", "--json", "--key"]).args([&node_key]).run().ok().json_lines();
    until("the unpaid attempt is noted", || earnings().iter().any(|line| line["kind"] == "unpaid"));
    let earnings = earnings();
    let finished = earnings.iter().filter(|line| line["outcome"] == "finished");
    let earned: u64 = finished.filter_map(|line| line["earned_microcredits"].as_u64()).sum();
    assert_eq!(earned, costs.iter().map(|cost| cost - cost / 10).sum::<u64>());
    let total = last(&network, &["node", "earnings", "--key", node_key.to_str().unwrap()]);
    let earned = Microcredits(account(&network, &["--key", node_key.to_str().unwrap()])[2]);
    let row: Vec<_> = total.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(row, ["total", "-", &earned.to_string(), &format!("{earned} not paid out yet")]);
    let unpaid = earnings.iter().find(|line| line["kind"] == "unpaid").unwrap();
    assert_eq!(
        (unpaid["job"].as_str(), unpaid["reason"].as_str()),
        (Some(job.as_str()), Some("its connection to the gateway was lost"))
    );
}

#[test]
fn quote_is_what_a_job_then_costs() {
    let network = Network::of_the_poor(&[]);
    let quote = |args: &[&str]| {
        network.adit(["quote"]).args([network.module(&guest::echo())]).args(["--input", "-", "--json"]).args(args).input("input")
    };
    let by_limits = quote(&[]).run().ok().json();
    assert_eq!(by_limits["dry_run_microcredits"], Value::Null);
    let quoted = quote(&["--dry-run"]).run().ok().json();
    let at_most = quoted["at_most_microcredits"]["max"].as_u64().unwrap();
    assert_eq!(by_limits["at_most_microcredits"], quoted["at_most_microcredits"]);

    // Nothing was submitted, and what is held for the job is what was quoted: a microcredit less does not do.
    operator(&network, &["grant", &user(&network), &format!("{}.{:06}", at_most / CREDIT, at_most % CREDIT - 1)]).run().ok();
    let run = || network.run(&guest::echo()).args(["--input", "-", "--json"]).input("input").run();
    run().code(20);
    operator(&network, &["grant", &user(&network), "0.000001"]).run().ok();
    assert_eq!(Some(cost(&run().ok().json())), quoted["dry_run_microcredits"]["max"].as_u64());
    quote(&["--memory", "4GiB"]).run().code(20);
}
