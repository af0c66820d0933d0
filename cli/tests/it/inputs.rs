//! Named inputs over a network: sent once, kept by nodes, billed, and computed again.

use std::path::{Path, PathBuf};

use adit_protocol::{Digest, Receipt, SecretKey, SignedReceipt, sign_receipts};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::guest;
use crate::network::{Home, Network};

/// Too large for a message, and not a whole number of the pieces in which it is read.
fn table() -> Vec<u8> {
    (0..200_001_u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect()
}

/// What the guest writes that has these inputs.
fn output_of(stdin: &[u8], named: &[(&str, &[u8])]) -> Vec<u8> {
    let named = named.iter().flat_map(|(name, content)| [name.as_bytes(), b"=", *content, b"\n"].concat());
    stdin.iter().copied().chain(named).collect()
}

fn with(name: &str, file: &Path) -> [String; 2] {
    ["--with".to_owned(), format!("{name}={}", file.display())]
}

fn receipt_file(network: &Network, ran: &Value) -> PathBuf {
    network.home.path(format!("data/adit/receipts/{}.receipt", ran["job"].as_str().unwrap()))
}

fn read(file: &Path) -> Receipt {
    let form: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    SignedReceipt::from_bytes(&hex::decode(form["receipt"].as_str().unwrap()).unwrap()).unwrap().receipt
}

#[test]
fn node_that_has_an_input_is_not_sent_it_again_and_bills_the_same() {
    let network = Network::with_slots(&[1]);
    let (table, question) = (table(), b"what is it?");
    let (large, small) = (network.home.file("table.bin", &table), network.home.file("q", question));
    let run = |output: &str| {
        let run = network.run(&guest::named()).args(["--input", "-", "--json", "--output", output]).input("stdin");
        // Given in another order than that of the names.
        run.args(with("table", &large)).args(with("q.txt", &small)).args(["--time", "2026-01-01T00:00:00Z"]).run().ok().json()
    };
    let want = output_of(b"stdin", &[("q.txt", question), ("table", &table)]);
    let first = run("first");
    assert!(std::fs::read(network.home.path("first")).unwrap() == want);
    // Whoever wanted a blob of the gateway now would not get it.
    let blobs = network.home.path("gateway/blobs");
    for content in [&table[..], question] {
        std::fs::remove_file(blobs.join(Digest::of(content).to_string())).unwrap();
    }
    let second = run("second");
    assert!(std::fs::read(network.home.path("second")).unwrap() == want);
    assert_eq!(first["usage"], second["usage"], "what is in a cache changes no bill");
    assert_eq!(first["usage"]["bytes_in"], 5 + question.len() + table.len());
    let local = network.run(&guest::named()).args(["--local", "--input", "-", "--json", "--output", "local"]).input("stdin");
    let local = local.args(with("q.txt", &small)).args(with("table", &large)).run().ok().json();
    assert!(std::fs::read(network.home.path("local")).unwrap() == want);
    assert_eq!(first["usage"], local["usage"]);
}

#[test]
fn bill_holds_without_the_files_and_a_swapped_input_is_found_out() {
    let network = Network::with_slots(&[1]);
    let (a, b) = (network.home.file("a", "alpha"), network.home.file("b", table()));
    let other = network.home.file("other", "omega");
    let run = |a: &Path| {
        let run = network.run(&guest::named()).args(["--json", "--output", "out", "--time", "2026-01-01T00:00:00Z"]);
        receipt_file(
            &network,
            &run.args(with("a", a)).args(with("b", &b)).args(with("empty", Path::new("/dev/null"))).run().ok().json(),
        )
    };
    let honest = run(&a);
    // A node that gave the guest another input, and says that it gave the right one; and one that says which it gave.
    let swapped = read(&run(&other));
    let forge = |name: &str, claim: &dyn Fn(&mut Receipt)| {
        let thief = SecretKey::from_seed([66; 32]);
        let mut receipt = read(&honest);
        receipt.node = thief.public();
        claim(&mut receipt);
        let signed = sign_receipts(&thief, vec![receipt]).remove(0);
        network.home.file(name, json!({ "version": 1, "receipt": hex::encode(signed.to_bytes()) }).to_string())
    };
    let silent = forge("silent.receipt", &|receipt| receipt.output = swapped.output);
    let open = forge("open.receipt", &|receipt| (receipt.input, receipt.output) = (swapped.input, swapped.output));

    network
        .adit(["verify"])
        .args([&honest])
        .args(with("a", &a))
        .args(with("b", &b))
        .args(with("empty", Path::new("/dev/null")))
        .run()
        .ok();
    network.adit(["verify"]).args([&honest]).args(with("a", &other)).args(with("b", &b)).run().code(23);
    let audit = |file: &Path, exit: i32| network.adit(["audit", "--json"]).args([file]).run().code(exit).json();
    for file in [&a, &b] {
        std::fs::remove_file(file).unwrap();
    }
    let audited = audit(&honest, 0);
    assert_eq!(audited["verdict"], "holds", "{audited}");
    let faults = |audit: &Value| -> Vec<String> {
        let fields = audit["fields"].as_array().unwrap().iter().filter(|field| field["holds"] == false);
        fields.map(|field| field["field"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(faults(&audit(&silent, 23)), ["output_digest"]);
    assert_eq!(faults(&audit(&open, 23)), ["input", "output_digest"]);

    // Without the copies it is told which input is missing, and any file with its bytes will do.
    let blobs = network.home.path("data/adit/jobs/blobs");
    std::fs::remove_file(blobs.join(Digest::of(&table()).to_string())).unwrap();
    let audited = audit(&honest, 24);
    let reason = audited["reason"].as_str().unwrap();
    assert!(reason.contains("the input `b` is missing") && reason.contains("--input FILE"), "{reason}");
    let again = network.home.file("again", table());
    network.adit(["audit"]).args([&honest]).args([Path::new("--input"), &again]).run().ok();
}

#[test]
fn sixteen_inputs_are_taken_and_a_seventeenth_is_not() {
    let network = Network::with_slots(&[1]);
    let files: Vec<PathBuf> = (0..17).map(|n| network.home.file(&format!("in/{n:02}"), format!("content {n}"))).collect();
    let run = |count: usize| {
        let named = files[..count].iter().enumerate().flat_map(|(n, file)| with(&format!("n{n:02}"), file));
        network.run(&guest::named()).args(named.collect::<Vec<_>>()).run()
    };
    let names: Vec<(String, String)> = (0..16).map(|n| (format!("n{n:02}"), format!("content {n}"))).collect();
    let named: Vec<(&str, &[u8])> = names.iter().map(|(name, content)| (name.as_str(), content.as_bytes())).collect();
    assert_eq!(format!("{}\n", run(16).ok().text()).into_bytes(), output_of(b"", &named));
    run(17).code(2).says("the number of named inputs is 17, over the limit of 16");
}

#[test]
fn what_is_wrong_with_an_input_is_told_before_anything_is_asked() {
    let home = Home::new();
    let (module, file) = (home.file("named.wasm", guest::named()), home.file("file", "content"));
    let run = |named: &[&str]| {
        let named = named.iter().flat_map(|named| ["--with", named]);
        // Nobody listens there.
        home.adit(["run"])
            .args([&module])
            .args(named)
            .env("ADIT_GATEWAY", format!("127.0.0.1:9#{}", "00".repeat(32)))
            .run()
            .code(2)
    };
    run(&["model=missing.bin"]).says("input `model`: missing.bin: No such file");
    run(&["model=in"]).says("input `model`: in: ");
    run(&["a=file", "b=file", "a=file"]).says("two inputs are named `a`");
    run(&[".a=file"]).says("`.a` is not a name of an input");
    run(&["a/b=file"]).says("`a/b` is not a name of an input");
    run(&["file"]).says("is not NAME=FILE");
    run(&["a=-"]).says("--input -");
    assert!(file.is_file());
}

#[test]
fn map_gives_every_job_the_same_inputs_and_another_one_makes_other_jobs() {
    let network = Network::with_slots(&[1, 1]);
    let (module, words) = (network.module(&guest::named()), network.home.file("words", "one"));
    let inputs: Vec<PathBuf> = (0..6).map(|n| network.home.file(&format!("in/{n}"), format!("{n}"))).collect();
    let map = || {
        let map =
            network.adit(["map"]).args([&module]).args(&inputs).args(["--out", "out", "--json"]).args(with("words", &words));
        map.run().ok().json_lines()
    };
    let check = |content: &str| {
        for n in 0..6 {
            let want = output_of(n.to_string().as_bytes(), &[("words", content.as_bytes())]);
            assert_eq!(std::fs::read(network.home.path(format!("out/{n}.out"))).unwrap(), want);
        }
    };
    let first = map();
    check("one");
    assert_eq!(map(), first, "a second run has nothing to do");
    let receipts: Vec<PathBuf> = (0..6).map(|n| network.home.path(format!("out/receipts/{n}.receipt"))).collect();
    network.adit(["audit"]).args(&receipts).run().ok();
    std::fs::write(&words, "two").unwrap();
    let second = map();
    check("two");
    assert!(first.iter().zip(&second).all(|(a, b)| a["key"] != b["key"]));
}

#[test]
fn job_that_no_store_could_hold_is_refused_with_both_sizes() {
    let home = Home::new();
    let gateway = crate::network::Gateway::start_with(&home, "127.0.0.1:0", &["--welcome", "1000000", "--store-max", "200KiB"]);
    let mut network = Network { home, gateway, nodes: Vec::new() };
    network.add_node(&["--slots", "1"]);
    let (a, b) = (network.home.file("a", vec![1; 150_000]), network.home.file("b", vec![2; 150_000]));
    network.run(&guest::echo()).args(with("a", &a)).run().ok();
    let refused = network.run(&guest::echo()).args(with("a", &a)).args(with("b", &b)).run().code(20);
    refused.says("module and inputs have 30").says("at most 153600");
    // The same bytes under two names are held once.
    network.run(&guest::echo()).args(with("a", &a)).args(with("b", &a)).run().ok();
}

/// Once a job whose inputs found the store full of others' that still ran was ended at once.
#[test]
fn job_waits_for_room_in_a_store_that_others_jobs_fill() {
    let home = Home::new();
    let gateway = crate::network::Gateway::start_with(&home, "127.0.0.1:0", &["--welcome", "1000000", "--store-max", "400KiB"]);
    let mut network = Network { home, gateway, nodes: Vec::new() };
    network.add_node(&["--slots", "1"]);
    let inputs: Vec<PathBuf> = (1..=4).map(|n| network.home.file(&format!("in/{n}"), vec![n; 120 << 10])).collect();
    let module = network.module(&guest::steady(500_000_000));
    network.adit(["map"]).args([&module]).args(&inputs).args(["--out", "out"]).run().ok();
    for n in 1..=4 {
        assert_eq!(std::fs::read(network.home.path(format!("out/{n}.out"))).unwrap()[0], n);
    }
    // A single one too, while two others are at work.
    let busy = network.run(&guest::hold()).args(["--fuel", "100T", "--input", "in/1"]).start();
    busy.stderr.wait_for_text(guest::READY);
    let second =
        network.adit(["submit"]).args([network.module(&guest::echo())]).args(["--input", "in/2"]).run().ok().text().to_owned();
    let third = network.run(&guest::echo()).args(["--output", "third", "--input", "in/3"]).start();
    third.stderr.wait_for_text("not taken yet");
    busy.signal(Signal::INT);
    third.wait().ok();
    network.adit(["output", &second, "--output", "second"]).run().ok();
}

#[test]
fn more_to_read_is_more_to_pay_at_most() {
    let mut network = Network::empty();
    network.add_node(&["--slots", "1", "--price-per-gib-in", "1"]);
    let file = network.home.file("file", vec![0; 1 << 20]);
    let quote = |named: &[String]| {
        let quote = network.adit(["quote"]).args([network.module(&guest::named())]).args(["--json", "--fuel", "1M", "--dry-run"]);
        quote.args(named).run().ok().json()
    };
    let (without, with) = (quote(&[]), quote(&with("file", &file)));
    for amount in ["at_most_microcredits", "dry_run_microcredits"] {
        let more = with[amount]["min"].as_u64().unwrap() - without[amount]["min"].as_u64().unwrap();
        assert!(more >= 1_000_000 / 1024, "{amount}: {more} microcredits for a MiB at a credit a GiB");
    }
}
