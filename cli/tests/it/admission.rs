//! Which nodes may join: those on a list, or those with a token.

use adit_protocol::{GatewayToNode, Greeting, NodeState, PublicKey, Rejection, SecretKey};
use adit_transport::{Connection, Dialer, GatewayAddr, Inbox, Outbox};
use serde_json::Value;
use tokio::time::timeout;

use crate::guest;
use crate::hostile::offer;
use crate::network::{Gateway, Home, Network, WELCOME};
use crate::process::{LOOK_EVERY, PATIENCE};

/// A node, as far as its greeting.
struct Joiner {
    key: u8,
    gateway: GatewayAddr,
}

/// The connection of one that was let in.
struct Joined {
    connection: Connection,
    _kept: (Outbox, Inbox, Dialer),
}

impl Joiner {
    fn key(&self) -> PublicKey {
        SecretKey::from_seed([self.key; 32]).public()
    }

    async fn join(&self, token: Option<&str>) -> Result<Joined, Rejection> {
        let dialer = Dialer::new(SecretKey::from_seed([self.key; 32])).unwrap();
        let connection = dialer.dial(&self.gateway).await.unwrap();
        let (outbox, mut inbox) = connection.open_control().await.unwrap();
        let token = token.map(str::to_owned);
        outbox.send(&Greeting::Node { offer: offer(1), state: NodeState::Ready, cached: Vec::new(), token }).unwrap();
        match timeout(PATIENCE, inbox.next()).await.expect("an answer comes").unwrap() {
            Some(GatewayToNode::Welcome { .. }) => Ok(Joined { connection, _kept: (outbox, inbox, dialer) }),
            Some(GatewayToNode::Rejected(rejection)) => Err(rejection),
            other => panic!("{other:?}"),
        }
    }

    /// What it hears that is not let in.
    async fn refused(&self, token: Option<&str>) -> String {
        match self.join(token).await {
            Err(Rejection::NotAdmitted(why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it was let in"),
        }
    }

    /// Comes until it is let in.
    async fn join_at_last(&self) -> Joined {
        let coming = async {
            loop {
                match self.join(None).await {
                    Ok(joined) => return joined,
                    Err(_) => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        timeout(PATIENCE, coming).await.expect("it is let in")
    }
}

impl Joined {
    /// Why it had to leave.
    async fn leaves(self) -> String {
        timeout(PATIENCE, self.connection.closed()).await.expect("it has to leave").to_string()
    }
}

fn joiners(gateway: &Gateway) -> [Joiner; 3] {
    [1, 2, 3].map(|key| Joiner { key, gateway: gateway.address.clone() })
}

/// On threads of its own, since waiting for processes must not keep connections from being answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_of_nodes_is_kept_to_and_read_again() {
    let home = Home::new();
    let keys = [1, 2, 3].map(|n| SecretKey::from_seed([n; 32]).public());
    let write = |lines: &[String]| home.file("nodes.txt", lines.join("\n"));
    write(&["# ours".into(), String::new(), format!("{} # the first", keys[0])]);
    let gateway = Gateway::start_with(&home, "127.0.0.1:0", &["--nodes", "listed", "--node-list", "nodes.txt"]);
    let [first, second, _] = joiners(&gateway);
    let there = first.join(None).await.unwrap();
    assert_eq!(second.refused(None).await, "its key is not on the operator's list");

    // A file that makes no sense changes nothing, and is told of.
    write(&[keys[0].to_string(), "nobody".into()]);
    gateway.process.stderr.wait_for_text("line 2: `nobody` is no key of a node");
    second.refused(None).await;

    // Another list: who stands there no more has to leave.
    write(&[keys[1].to_string()]);
    let _second = second.join_at_last().await;
    assert!(there.leaves().await.contains("does not let this node join any more"));
    first.refused(None).await;
}

#[test]
fn list_that_cannot_be_read_or_has_no_use_is_said_at_the_start() {
    let home = Home::new();
    home.file("nodes.txt", "\nnobody\n");
    let start = |args: &[&str]| Gateway::command(&home, "127.0.0.1:0").args(args).run();
    start(&["--nodes", "listed", "--node-list", "nodes.txt"]).code(1).says("nodes.txt, line 2: `nobody` is no key of a node");
    start(&["--nodes", "listed", "--node-list", "none.txt"]).code(1).says("none.txt: No such file");
    start(&["--nodes", "listed"]).code(2).says("--node-list FILE");
    start(&["--node-list", "nodes.txt"]).code(2).says("--nodes listed");
}

/// On threads of its own, since waiting for processes must not keep connections from being answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_lets_its_nodes_in_once_and_for_all() {
    let home = Home::new();
    let token = |args: &[&str]| home.adit(["gateway", "token"]).args(args).args(["--data", "gateway"]).run();
    // Before the gateway has ever run.
    let once = token(&["new"]).ok().text().trim().to_owned();
    let start = || Gateway::start_with(&home, "127.0.0.1:0", &["--nodes", "token"]);
    let gateway = start();
    let [first, second, third] = joiners(&gateway);
    assert!(first.refused(None).await.contains("needs a join token"));
    assert_eq!(first.refused(Some("adit-join-00000000-00")).await, "the join token is unknown, or was revoked");
    drop(first.join(Some(&once)).await.unwrap());
    assert!(second.refused(Some(&once)).await.contains("is used up: 1 of 1"));
    // And while it runs, as another process.
    let twice = token(&["new", "--uses", "2", "--expires", "1h"]).ok().text().trim().to_owned();
    drop(second.join(Some(&twice)).await.unwrap());

    // Over a restart: who joined needs no token.
    drop(gateway);
    let gateway = start();
    let [first, second, third] = [first, second, third].map(|joiner| Joiner { gateway: gateway.address.clone(), ..joiner });
    let there = first.join(None).await.unwrap();
    let stays = second.join(None).await.unwrap();

    let lines = token(&["list", "--json"]).ok().json_lines();
    let of_kind = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<&Value>>();
    let (tokens, nodes) = (of_kind("token"), of_kind("node"));
    let used: Vec<_> = tokens.iter().map(|row| (row["used"].as_u64(), row["uses"].as_u64(), row["good"].as_bool())).collect();
    assert_eq!(used, [(Some(1), Some(1), Some(false)), (Some(1), Some(2), Some(true))]);
    let joined: Vec<_> = nodes.iter().map(|row| row["node"].as_str().unwrap().to_owned()).collect();
    assert_eq!(joined, [first.key().to_string(), second.key().to_string()]);
    let table = token(&["list"]).ok();
    assert!(table.text().contains("1 of 2") && table.text().contains(&first.key().to_string()), "{table:?}");

    // Revoked: the token for those who come, the node at once.
    token(&["revoke", tokens[1]["token"].as_str().unwrap()]).ok().says("nodes that joined by it stay");
    assert_eq!(third.refused(Some(&twice)).await, "the join token is unknown, or was revoked");
    token(&["revoke", &first.key().to_string()]).ok().says("has to leave");
    assert!(there.leaves().await.contains("does not let this node join any more"));
    assert!(first.refused(Some(&once)).await.contains("is used up"));
    token(&["revoke", "nobody"]).code(2).says("`nobody` names no join token");
    assert!(timeout(LOOK_EVERY, stays.connection.closed()).await.is_err());
}

#[test]
fn node_joins_with_a_token_works_and_comes_back_without_it() {
    let home = Home::new();
    let token = home.adit(["gateway", "token", "new", "--data", "gateway"]).run().ok().text().trim().to_owned();
    let gateway = Gateway::start_with(&home, "127.0.0.1:0", &["--nodes", "token", WELCOME[0], WELCOME[1]]);
    let mut network = Network { home, gateway, nodes: Vec::new() };
    let stranger = network.adit(["node", "--slots", "1", "--cache", "stranger", "--key", "stranger.key"]).start();
    stranger.stderr.wait_for_text("it needs a join token");
    network.add_node(&["--slots", "1", "--join-token", &token]);
    assert_eq!(network.run(&guest::echo()).args(["--input", "-"]).input("joined").run().ok().text(), "joined");
    let joined = network.nodes[0].key;
    network.take_node(joined).kill();
    network.start_node("node-0", &["--slots", "1"]);
    assert_eq!(network.run(&guest::echo()).args(["--input", "-"]).input("again").run().ok().text(), "again");
}
