//! Failures: each says exactly what is wrong and what to do, and has its own exit code.

use std::net::UdpSocket;

use adit_protocol::SecretKey;

use crate::guest;
use crate::network::{Gateway, Home, Network, WELCOME};

#[test]
fn gateway_that_does_not_answer() {
    let home = Home::new();
    home.file("echo.wasm", guest::echo());
    // Taken, so that nobody else answers there.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let gateway = format!("{address}#{}", SecretKey::from_seed([1; 32]).public());
    let ran = home.adit(["run", "echo.wasm", "--json", "--gateway", &gateway]).run().code(22);
    let ran = ran.says(&format!("gateway {address}: no answer from {address}"));
    let object = ran.json();
    assert_eq!((&object["outcome"], &object["price_microcredits"]), (&"refused".into(), &0.into()));
    assert!(object["reason"].as_str().unwrap().contains("no answer"), "{object}");
    assert!(object["job"].is_null() && object["usage"].is_null() && object["receipt"].is_null(), "{object}");
}

#[test]
fn gateway_with_another_key() {
    let network = Network::with_slots(&[1]);
    network.home.file("echo.wasm", guest::echo());
    let (is, want) = (network.gateway.address.key, SecretKey::from_seed([1; 32]).public());
    let gateway = format!("{}#{want}", network.gateway.address.host);
    for command in [&["run", "echo.wasm"][..], &["nodes"], &["receipts"], &["status"]] {
        let ran = network.home.adit(command).args(["--gateway", &gateway]).run().code(22);
        ran.says(&format!("wrong key: expected {want}, it has {is}"));
    }
    // A node is as careful, and goes on trying.
    let node = network.home.adit(["node", "--gateway", &gateway, "--slots", "1"]).start();
    node.stderr.wait_for_text("wrong key: expected");
}

#[test]
fn no_gateway_or_one_that_is_no_address() {
    let home = Home::new();
    home.file("echo.wasm", guest::echo());
    home.adit(["run", "echo.wasm"]).run().code(2).says("no gateway: run `adit up` on this machine, or give --gateway");
    for text in ["127.0.0.1:1", "127.0.0.1#00", "nonsense"] {
        home.adit(["nodes", "--gateway", text]).run().code(2).says("is not a gateway address; write HOST:PORT#KEY");
        home.adit(["nodes"]).env("ADIT_GATEWAY", text).run().code(2).says("is not a gateway address; write HOST:PORT#KEY");
    }
}

#[test]
fn no_node_fits_and_why() {
    let mut network = Network::empty();
    let run = |network: &Network, flags: &[&str]| {
        let ran = network.run(&guest::echo()).args(["--json"]).args(flags).run().code(20);
        let object = ran.json();
        assert_eq!((&object["outcome"], &object["price_microcredits"]), (&"refused".into(), &0.into()));
        object["reason"].as_str().unwrap().to_owned()
    };
    let says = |reason: String, want: &str| assert!(reason.ends_with(want), "{reason}");
    says(run(&network, &[]), "no node fits: no node is connected");

    network.add_node(&["--slots", "1", "--memory", "64MiB"]);
    let small = ["--memory", "64MiB"];
    let with = |flags: &[&'static str]| [&small[..], flags].concat();
    says(run(&network, &["--memory", "65MiB"]), "no node fits: 1 with too little memory per job (--memory)");
    says(run(&network, &with(&["--profile", "open"])), "no node fits: 1 without the profile (--profile)");
    says(run(&network, &with(&["--label", "disk=fast"])), "no node fits: 1 without a label (--label)");
    let dear = run(&network, &with(&["--max-price", "0.000001", "--fuel", "100G"]));
    says(dear, "no node fits: 1 over the price limit (--max-price, --fuel, --memory)");

    network.add_node(&["--slots", "1", "--memory", "128MiB", "--label", "disk=fast"]);
    let neither = run(&network, &["--memory", "512MiB", "--label", "disk=fast"]);
    assert!(neither.contains("1 without a label (--label)") && neither.contains("1 with too little memory"), "{neither}");
    network.run(&guest::echo()).args(["--memory", "128MiB", "--label", "disk=fast"]).run().ok();
}

#[test]
fn module_that_is_none() {
    let network = Network::with_slots(&[1]);
    let (broken, at) = guest::invalid();
    let cases = [
        ("unknown operator", broken, format!("(at offset {at:#x})")),
        ("no wasm", b"#!/bin/sh\n".to_vec(), "this is no WebAssembly module".to_owned()),
        ("nothing", Vec::new(), "the file is empty".to_owned()),
        ("no start", wat::parse_str("(module (memory 1))").unwrap(), "_start".to_owned()),
        (
            "unknown import",
            wat::parse_str(r#"(module (import "env" "launch" (func)) (func (export "_start")))"#).unwrap(),
            "env::launch".to_owned(),
        ),
    ];
    for (name, module, want) in cases {
        for place in [&[][..], &["--local"]] {
            let ran = network.run(&module).args(["--json"]).args(place).run();
            let ran = ran.code(20).says("invalid").says(&want);
            let object = ran.json();
            assert_eq!(object["outcome"], "refused", "{name}");
            assert!(object["reason"].as_str().unwrap().contains(&want), "{name}: {object}");
        }
    }
    // What is refused is not billed, and hurts nobody else.
    assert!(network.adit(["receipts", "--json"]).run().ok().stdout.is_empty());
    network.run(&guest::echo()).run().ok();
}

#[test]
fn files_that_are_missing() {
    let network = Network::with_slots(&[1]);
    network.home.file("echo.wasm", guest::echo());
    std::fs::create_dir(network.home.path("folder")).unwrap();
    for place in [&[][..], &["--local"]] {
        let run = |args: &[&str]| network.adit(["run"]).args(args).args(place).run();
        run(&["absent.wasm"]).code(2).says("module absent.wasm: No such file");
        run(&["folder"]).code(2).says("module folder: not a file");
        run(&["echo.wasm", "--input", "absent"]).code(2).says("input absent: No such file");
        run(&["echo.wasm", "--input", "folder"]).code(2).says("input folder: ");
        run(&["echo.wasm", "--output", "echo.wasm/under"]).code(1).says("cannot write echo.wasm/under");
    }
    network.adit(["nodes", "--config", "absent.toml"]).run().code(2).says("config file absent.toml");
}

#[test]
fn limits_that_nobody_may_ask_for() {
    let home = Home::new();
    home.file("echo.wasm", guest::echo());
    for (flags, want) in [
        (["--fuel", "601T"], "fuel"),
        (["--memory", "5GiB"], "memory"),
        (["--timeout", "25h"], "timeout"),
        (["--log-max", "65MiB"], "log"),
        (["--output-max", "17GiB"], "output"),
    ] {
        home.adit(["run", "echo.wasm", "--local"]).args(flags).run().code(2).says(want);
    }
    for flags in [["--fuel", "lots"], ["--memory", "big"], ["--timeout", "60"], ["--env", "novalue"], ["--profile", "closed"]] {
        home.adit(["run", "echo.wasm", "--local"]).args(flags).run().code(2).says(flags[1]);
    }
}

#[test]
fn queue_that_is_full_or_too_slow() {
    let home = Home::new();
    let gateway = Gateway::start_with(&home, "127.0.0.1:0", &["--queue-max", "1", WELCOME[0], WELCOME[1]]);
    let mut network = Network { home, gateway, nodes: Vec::new() };
    network.add_node(&["--slots", "1"]);
    let running = network.run(&guest::hold()).args(["--fuel", "100T"]).start();
    running.stderr.wait_for_text(guest::READY);

    let slow = network.run(&guest::echo()).args(["--queue-timeout", "300ms"]).run().code(20);
    slow.says("no slot became free in 3").says("raise --queue-timeout");

    let waiting = network.adit(["submit", "--json"]).args([network.module(&guest::echo())]).run().ok().json();
    assert_eq!(waiting["state"], "queued");
    let full = network.run(&guest::echo()).args(["--retry-for", "0s"]).run().code(20);
    full.says("the queue is full (1 jobs); try again in ");
}

#[test]
fn store_that_is_too_small() {
    let home = Home::new();
    let gateway = Gateway::start_with(&home, "127.0.0.1:0", &["--store-max", "64KiB", WELCOME[0], WELCOME[1]]);
    let mut network = Network { home, gateway, nodes: Vec::new() };
    network.add_node(&["--slots", "1"]);
    let ran = network.run(&guest::echo()).args(["--input", "-"]).input(vec![1; 100_000]).run();
    ran.code(20).says("the job's module and inputs have 1").says("and this gateway holds at most 49152 of such");
    assert_eq!(network.run(&guest::echo()).args(["--input", "-"]).input("small").run().ok().text(), "small");
}
