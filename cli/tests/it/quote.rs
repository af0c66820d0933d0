//! `adit quote` over nodes that ask different prices.

use adit_protocol::Microcredits;
use serde_json::Value;

use crate::guest;
use crate::network::Network;

/// The cheapest and the dearest of the nodes that fit are told, and the job costs on either what was quoted for it.
#[test]
fn quote_is_from_the_cheapest_to_the_dearest_node_that_fits() {
    let mut network = Network::empty();
    for (price, memory) in [("0.001", "1GiB"), ("0.004", "1GiB"), ("0.0001", "64MiB")] {
        network.add_node(&["--slots", "1", "--price-per-minute", price, "--memory", memory]);
    }
    let quote = |args: &[&str]| {
        let quote = network.adit(["quote"]).args([network.module(&guest::echo())]).args(["--input", "-"]).args(args);
        quote.args(["--fuel", "60G", "--memory", "128MiB"]).input("input").run().ok()
    };
    let quoted = quote(&["--dry-run", "--json"]).json();
    let range = |part: &str| ["min", "max"].map(|end| quoted[part][end].as_u64().unwrap());
    let [at_least, at_most] = range("at_most_microcredits");
    // A compute minute more or less; what else is asked for is the same.
    assert_eq!(at_most - at_least, 3_000, "{quoted}");
    let nodes = quoted["nodes"].as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap());
    assert!(nodes.eq(network.nodes[..2].iter().map(|node| node.key.to_string())), "the cheapest first: {quoted}");
    assert_eq!(quoted["nodes_unfit"], 1);
    let row = format!("at most     {} to {}, where", Microcredits(at_least), Microcredits(at_most));
    let told = quote(&[]);
    assert!(told.text().contains(&row), "{row}: {told:?}");

    // Whichever runs it, and there is nothing else between the two.
    let run = network.run(&guest::echo()).args(["--input", "-", "--json", "--fuel", "60G", "--memory", "128MiB"]).input("input");
    let ran = run.run().ok().json();
    let of = |node: &&Value| node["node"] == ran["node"];
    let node = quoted["nodes"].as_array().unwrap().iter().find(of).unwrap();
    assert_eq!(ran["price_microcredits"], node["dry_run_microcredits"]);
}
