//! Jobs with a GPU, over a real gateway and real nodes. The adapter is lavapipe, Mesa's Vulkan in software, which `cargo xtask setup`
//! installs.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;

use adit_protocol::{Receipt, SecretKey, SignedReceipt, sign_receipts};
use adit_transport::limits::IDLE_TIMEOUT;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::guest;
use crate::network::{Home, Network};
use crate::process::{Process, until};

/// What a node is started with that lends the software adapter.
const LENT: [&str; 7] = ["--slots", "2", "--gpu", "--gpu-software", "--gpu-adapter", "llvmpipe", "--gpu-memory=64MiB"];
/// A job that has a GPU within that.
const ASKED: [&str; 3] = ["--gpu-memory=32MiB", "--timeout", "10m"];

/// What it is called here: the end of it depends on the version.
fn class() -> &'static str {
    static CLASS: LazyLock<String> = LazyLock::new(|| {
        let adapters = Home::new().adit(["gpu", "info", "--json"]).run().ok().json_lines();
        let classes = adapters.iter().map(|adapter| adapter["class"].as_str().unwrap());
        classes
            .filter(|class| class.starts_with("software/mesa/llvmpipe/"))
            .map(str::to_owned)
            .next()
            .expect("lavapipe is installed")
    });
    &CLASS
}

fn numbers<T: Copy, const N: usize>(numbers: impl IntoIterator<Item = T>, bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    numbers.into_iter().flat_map(bytes).collect()
}

/// A network of nodes that lend it.
fn network(nodes: usize) -> Network {
    let mut network = Network::empty();
    for _ in 0..nodes {
        network.add_node(&LENT);
    }
    network
}

/// Runs a job over `input` to this exit code, and gives its object.
fn run(network: &Network, module: &[u8], input: Vec<u8>, flags: &[&str], exit: i32) -> Value {
    let flags = if flags.contains(&"--gpu") { flags.to_vec() } else { [&["--gpu", "60s"], flags].concat() };
    network
        .run(module)
        .args(ASKED)
        .args(["--json", "--output", "out", "--input", "-"])
        .args(flags)
        .input(input)
        .run()
        .code(exit)
        .json()
}

fn receipt_file(network: &Network, object: &Value) -> PathBuf {
    network.home.path(format!("data/adit/receipts/{}.receipt", object["job"].as_str().unwrap()))
}

/// A receipt file of a node that claims what it likes: the signature is right, and the cost follows from price and usage.
fn forge(home: &Home, honest: &Path, claim: impl FnOnce(&mut Receipt)) -> PathBuf {
    let form: Value = serde_json::from_slice(&std::fs::read(honest).unwrap()).unwrap();
    let signed = SignedReceipt::from_bytes(&hex::decode(form["receipt"].as_str().unwrap()).unwrap()).unwrap();
    let (thief, mut receipt) = (SecretKey::from_seed([66; 32]), signed.receipt);
    receipt.node = thief.public();
    claim(&mut receipt);
    receipt.cost = receipt.price.cost(&receipt.usage).unwrap();
    let signed = sign_receipts(&thief, vec![receipt]).remove(0);
    home.file("forged.receipt", json!({ "version": 1, "receipt": hex::encode(signed.to_bytes()) }).to_string())
}

/// The fields of an audit that do not hold.
fn faults(audit: &Value) -> Vec<&str> {
    let fields = audit["fields"].as_array().unwrap().iter();
    fields.filter(|field| field["holds"] == false).map(|field| field["field"].as_str().unwrap()).collect()
}

#[test]
fn job_computes_on_a_nodes_gpu_and_its_receipt_says_what_it_used() {
    let network = network(1);
    let input = numbers(0..1_000, u32::to_le_bytes);
    let object = run(&network, &guest::shader(guest::SQUARES), input, &[], 0);
    assert_eq!(std::fs::read(network.home.path("out")).unwrap(), numbers((0..1_000).map(|n| n * n + 1), u32::to_le_bytes));
    let gpu = &object["gpu"];
    // No float in it: it compares with any adapter, whatever was asked.
    let told = (&gpu["class"], &gpu["dispatches"], &gpu["bytes_moved"], &gpu["memory_peak_bytes"], &gpu["comparison"]);
    assert_eq!(told, (&class().into(), &1.into(), &8_000.into(), &4_000.into(), &"exact".into()), "{object}");
    let time = gpu["time_ns"].as_u64().unwrap();
    assert!(time > 0 && object["usage"]["gpu_ns"] == time, "{object}");

    let nodes = network.adit(["nodes", "--json"]).run().ok().json();
    assert_eq!((&nodes["gpu"]["class"], &nodes["gpu"]["memory_bytes"]), (&class().into(), &(64 << 20).into()), "{nodes}");
    let labels = nodes["labels"].as_array().unwrap();
    assert!(labels.contains(&json!(["gpu", class()])) && labels.contains(&json!(["gpu-kind", "software"])), "{nodes}");
    let receipts = network.adit(["receipts", "--json"]).run().ok().json();
    assert_eq!(&receipts["gpu"], gpu);
    let invoice = network.adit(["invoice", "--since", "1d", "--json"]).run().ok().json();
    let row = &invoice["jobs"][0];
    assert_eq!((&row["gpu_ns"], &row["gpu_class"], &row["gpu_dispatches"]), (&time.into(), &class().into(), &1.into()));
    let verified = network.adit(["verify"]).args([receipt_file(&network, &object)]).run().ok();
    assert!(verified.text().contains("results compare bit for bit on any adapter"), "{verified:?}");

    let file = receipt_file(&network, &object);
    let audit = network.adit(["audit", "--json", "--all"]).args([&file]).run().ok().json();
    assert_eq!((&audit["verdict"], faults(&audit)), (&"holds".into(), Vec::new()), "{audit}");
    let forged = forge(&network.home, &file, |receipt| receipt.gpu.as_mut().unwrap().dispatches += 1);
    let audit = network.adit(["audit", "--json"]).args([&forged]).run().code(23).json();
    assert_eq!(faults(&audit), ["gpu_dispatches"]);
    let forged = forge(&network.home, &file, |receipt| receipt.usage.gpu_ns = 61_000_000_000);
    let audit = network.adit(["audit", "--json"]).args([&forged]).run().code(23).json();
    assert_eq!(faults(&audit), ["gpu_ns"]);

    // The same here, where nobody is billed.
    let here = network
        .adit(["run", "--local", "--json", "--input", "-", "--gpu", "60s"])
        .args([network.module(&guest::shader(guest::SQUARES))]);
    let here = here.input(numbers(0..1_000, u32::to_le_bytes)).run().ok().json();
    assert_eq!((&here["output_digest"], &here["gpu"]["dispatches"]), (&object["output_digest"], &1.into()), "{here}");
}

/// In the re-run a guest was told of the auditor's day instead of its own time, and an honest node was convicted.
#[test]
fn bill_of_a_guest_that_writes_its_gpu_time_holds() {
    let network = network(1);
    let object = run(&network, &guest::gpu_limits(), Vec::new(), &["--gpu", "7s"], 0);
    let told = std::fs::read(network.home.path("out")).unwrap();
    assert_eq!(told[32..40], 7_000_000_000_u64.to_le_bytes());
    let audit = network.adit(["audit", "--json"]).args([receipt_file(&network, &object)]).run().ok().json();
    assert_eq!((&audit["verdict"], faults(&audit)), (&"holds".into(), Vec::new()), "{audit}");
}

/// An honest node was convicted of what comes out another way in each run, on its own adapter too.
#[test]
fn order_in_which_atomics_answer_convicts_nobody() {
    let network = network(1);
    let object = run(&network, &guest::shader(guest::TICKETS), vec![0; 4 * 4097], &[], 0);
    let drawn = std::fs::read(network.home.path("out")).unwrap();
    let mut drawn: Vec<_> = drawn.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    assert_eq!(drawn.remove(0), 4096);
    drawn.sort_unstable();
    assert!(drawn.into_iter().eq(0..4096), "each has drawn one");
    // Whatever its order was.
    let forged = forge(&network.home, &receipt_file(&network, &object), |receipt| {
        receipt.output = adit_protocol::Digest::of(b"another order");
    });
    let audit = network.adit(["audit", "--json"]).args([&forged]).run().code(24).json();
    let reason = audit["reason"].as_str().unwrap();
    assert!(reason.starts_with("undecided here: output_digest ") && reason.contains("uses what atomics return"), "{audit}");
    // What no order decides still does.
    let forged = forge(&network.home, &forged, |receipt| receipt.usage.gpu_ns = 61_000_000_000);
    assert!(faults(&network.adit(["audit", "--json"]).args([&forged]).run().code(23).json()).contains(&"gpu_ns"));
}

#[test]
fn floats_compare_on_one_class_or_within_a_tolerance() {
    let network = network(1);
    let input = || numbers((0..500).map(|n| n as f32), f32::to_le_bytes);
    let module = guest::shader(guest::ROOTS);
    let audit = |file: &Path, flags: &[&str]| network.adit(["audit", "--json"]).args(flags).args([file]).run();

    let by_class = run(&network, &module, input(), &[], 0);
    assert_eq!(by_class["gpu"]["comparison"], "class");
    let by_class = receipt_file(&network, &by_class);
    assert_eq!(audit(&by_class, &[]).ok().json()["verdict"], "holds");
    // What runs here can confirm a claim of another class, and not refute it.
    let elsewhere = |claim: fn(&mut Receipt)| {
        forge(&network.home, &by_class, |receipt| {
            receipt.gpu.as_mut().unwrap().class = "discrete/other/x".into();
            claim(receipt);
        })
    };
    assert_eq!(audit(&elsewhere(|_| {}), &[]).ok().json()["verdict"], "holds");
    let told = audit(&elsewhere(|receipt| receipt.usage.fuel.0 += 1), &[]).code(24).json();
    assert!(faults(&told).is_empty() && told["reason"].as_str().unwrap().starts_with("undecided here: fuel "), "{told}");
    let want = format!("it ran on discrete/other/x, on which alone its results compare, and here on {}", class());
    assert!(told["reason"].as_str().unwrap().ends_with(&want), "{told}");
    let over = audit(&elsewhere(|receipt| receipt.usage.gpu_ns = 61_000_000_000), &[]).code(23).json();
    assert_eq!(faults(&over), ["gpu_ns"]);

    let near = run(&network, &module, input(), &["--gpu-compare", "1e-6,1e-5"], 0);
    assert_eq!(near["gpu"]["comparison"], "0.000001,0.00001");
    let near = receipt_file(&network, &near);
    assert_eq!(audit(&near, &[]).ok().json()["verdict"], "holds");
    // Another adapter's last bit.
    let output = std::fs::read(network.home.path("out")).unwrap();
    let claim = |change: fn(f32) -> f32| {
        let numbers_of = output.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        let claimed = numbers(numbers_of.map(change), f32::to_le_bytes);
        let digest = adit_protocol::Digest::of(&claimed);
        let file = network.home.file("claimed.out", claimed);
        (file, forge(&network.home, &near, |receipt| receipt.output = digest))
    };
    let (file, claimed) = claim(|n| f32::from_bits(n.to_bits() + u32::from(n > 0.0)));
    let missing = audit(&claimed, &[]).code(24).json();
    assert!(missing["reason"].as_str().unwrap().contains("with --output FILE"), "{missing}");
    assert_eq!(audit(&claimed, &["--output", file.to_str().unwrap()]).ok().json()["verdict"], "holds");
    let (file, claimed) = claim(|n| n * 1.01);
    let far = audit(&claimed, &["--output", file.to_str().unwrap()]).code(23).json();
    assert_eq!(faults(&far), ["output_digest"]);
}

#[test]
fn job_is_refused_where_no_node_lends_a_gpu() {
    let network = Network::with_slots(&[1]);
    let refused = network.run(&guest::shader(guest::SQUARES)).args(ASKED).args(["--gpu", "1s"]).run().code(20);
    assert!(refused.stderr.contains("no node fits: 1 without a GPU for jobs (--gpu)"), "{refused:?}");
    // Without one the guest is told so, and says what it was told.
    network.run(&guest::shader(guest::SQUARES)).args(["--input", "-"]).input([0; 4]).run().code(10).says("trapped");
}

#[test]
fn work_that_hangs_the_gpu_ends_as_gpu_lost_and_the_next_job_works() {
    let mut network = Network::empty();
    network.add_node(&[&LENT[..], &["--gpu-slice", "1s"]].concat());
    let lost = run(&network, &guest::workgroups(guest::ENDLESS), vec![0; 256], &[], 17);
    assert_eq!(lost["outcome"], "gpu_lost", "{lost}");
    assert!(!lost["reason"].as_str().unwrap().is_empty(), "{lost}");
    // Here it hangs too, which is all that can be said. An auditor who had hung the GPU twice was kept away from it for the rest.
    let file = receipt_file(&network, &lost);
    let audits = network.adit(["audit", "--json"]).args([&file, &file, &file]).env("ADIT_NODE_GPU_SLICE", "1s").run().ok();
    let verdicts: Vec<_> = audits.json_lines().into_iter().map(|audit| audit["verdict"].clone()).collect();
    assert_eq!(verdicts, ["plausible"; 3], "{audits:?}");
    let next = run(&network, &guest::shader(guest::SQUARES), numbers([7], u32::to_le_bytes), &[], 0);
    assert_eq!(next["gpu"]["class"], class());
}

/// It was told only that an owner declines it, and nothing of what its own work had done.
#[test]
fn client_that_is_kept_from_a_gpu_is_told_why() {
    let mut network = Network::empty();
    network.add_node(&[&LENT[..], &["--gpu-slice", "500ms"]].concat());
    let hangs = guest::workgroups(guest::ENDLESS);
    for _ in 0..2 {
        run(&network, &hangs, vec![0; 256], &[], 17);
    }
    let kept = network.run(&hangs).args(ASKED).args(["--gpu", "60s", "--input", "-"]).input(vec![0; 256]).run().code(20);
    let why = "declined: this client's work with this module hung this node's GPU 2 times within an hour";
    let kept = kept.says("no node fits: 1 whose owner declines this client or module");
    assert!(kept.stderr.contains(&format!("[adit] node {} {why}", network.nodes[0].key)), "{kept:?}");
    // Another module of its is none of that.
    run(&network, &guest::shader(guest::SQUARES), numbers([7], u32::to_le_bytes), &[], 0);
}

/// The GPU's process of a node.
fn gpu_process(node: &Process) -> u32 {
    let is_it =
        |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0__adit-gpu-worker\0"));
    node.children().into_iter().find(is_it).expect("the node lends a GPU")
}

/// Processor time of a process, in the kernel's ticks of 10 ms: lavapipe computes in the GPU's.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A gateway takes its jobs from a node that is silent for so long, so whoever waits for a GPU must not be who answers it.
#[test]
fn node_answers_its_gateway_while_its_gpu_hangs_for_longer_than_a_silent_connection_lives() {
    let mut network = Network::empty();
    // Ten seconds longer than the others run beside it: the last of them, and a question, may take a busy machine long.
    network.add_node(&[&LENT[..], &["--gpu-slice", "16s"]].concat());
    let module = network.module(&guest::workgroups(guest::ENDLESS));
    // A shader that does not end, and a driver that holds its whole process.
    for stopped in [false, true] {
        let job = network.adit(["submit", "--gpu", "60s", "--input", "-"]).args(ASKED).args([&module]);
        let job = job.input(vec![u8::from(stopped); 256]).run().ok().text().to_owned();
        let pid = gpu_process(&network.nodes[0].process);
        let before = ticks(pid);
        until("the GPU is at work", || ticks(pid) >= before + 20);
        if stopped {
            kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::STOP).unwrap();
        }
        let hangs_since = Instant::now();
        let mut others = 0_u32;
        while hangs_since.elapsed() < IDLE_TIMEOUT * 5 / 4 {
            network.run(&guest::echo()).args(["--input", "-"]).input(others.to_le_bytes()).run().ok();
            others += 1;
        }
        let status = network.adit(["status", "--json", &job]).run().ok().json();
        assert_eq!((&status["state"], others > 1), (&"running".into(), true), "{others} others ended meanwhile: {status}");
        let lost = network.adit(["output", "--json", &job]).run().code(17).json();
        assert_eq!(lost["outcome"], "gpu_lost", "{lost}");
    }
    let said = network.nodes[0].process.stderr.text();
    assert_eq!(said.matches("connected to").count(), 1, "it is connected all the while: {said}");
}

#[test]
fn gpu_time_over_the_limit_ends_the_job_and_its_bill_is_plausible() {
    let network = network(1);
    let input = numbers(0..1_000, u32::to_le_bytes);
    let object = run(&network, &guest::shader_forever(guest::SQUARES), input, &["--gpu", "5ms", "--fuel", "100T"], 16);
    assert_eq!(object["outcome"], "out_of_gpu_time", "{object}");
    let audit = network.adit(["audit", "--json"]).args([receipt_file(&network, &object)]).run().ok().json();
    assert_eq!(audit["verdict"], "plausible", "{audit}");
}

#[test]
fn gpu_that_its_owner_takes_back_is_paid_for_and_the_job_goes_elsewhere() {
    let network = network(2);
    let input = network.home.file("numbers", numbers(0..1_000, u32::to_le_bytes));
    let submit = network.adit(["submit"]).args([network.module(&guest::shader_forever(guest::SQUARES))]);
    let submit =
        submit.args(["--gpu", "1h", "--gpu-memory=32MiB", "--fuel", "100T", "--timeout", "1h", "--input"]).args([&input]);
    let job = submit.run().ok().text().to_owned();
    network.adit(["logs", "-f", &job]).start().stdout.wait_for_text(guest::READY);
    let node_of = || network.adit(["status", "--json", &job]).run().ok().json()["node"].clone();
    let first = network.nodes.iter().position(|node| node_of() == node.key.to_string()).unwrap();
    let command = |args: &[&str]| {
        network.home.adit(["node"]).args(args).args(["--cache"]).args([network.home.path(format!("node-{first}"))])
    };
    command(&["gpu", "off"]).run().ok().says("GPU kept back by its owner, 0 jobs have it");

    // An attempt that was cut short is paid, and the other node has the job.
    let second = network.nodes[1 - first].key.to_string();
    until("the other node has it", || node_of() == second.as_str());
    let paid = network.adit(["receipts", "--json"]).run().ok().json_lines();
    assert_eq!((paid.len(), &paid[0]["outcome"], &paid[0]["gpu"]["class"]), (1, &"preempted".into(), &class().into()));
    let status = command(&["status", "--json"]).run().ok().json();
    assert_eq!((&status["state"], &status["gpu"]["state"]), (&"ready".into(), &"kept_back".into()), "jobs without a GPU go on");
    let offers = || network.adit(["nodes", "--json"]).run().ok().json_lines();
    let with_gpu = || offers().iter().filter(|node| !node["gpu"].is_null()).count();
    assert_eq!(with_gpu(), 1);
    command(&["gpu", "on"]).run().ok().says(&format!("GPU lent: {}, 64.0 MiB for each job", class()));
    until("it is offered again", || with_gpu() == 2);
    network.adit(["cancel", &job]).run().ok();
    network.adit(["output", &job]).run().code(14);
}

#[test]
fn gpu_is_not_lent_by_a_node_that_was_not_told_to() {
    let mut network = Network::empty();
    network.add_node(&["--slots", "1"]);
    assert!(network.adit(["nodes", "--json"]).run().ok().json()["gpu"].is_null());
    let command = |args: &[&str]| network.home.adit(["node"]).args(args).args(["--cache"]).args([network.home.path("node-0")]);
    command(&["gpu", "on"]).run().code(1).says("was started without a GPU");
    assert_eq!(command(&["status", "--json"]).run().ok().json()["gpu"]["state"], "off");
    let missing = network.home.adit(["node", "--gpu", "--gpu-adapter", "no such thing", "--slots", "1"]);
    let gateway = network.gateway.address.to_string();
    let missing = missing.args(["--gateway", &gateway, "--cache", "other", "--key", "other.key"]).start();
    missing.stderr.wait_for_text("lends no GPU: ");
    missing.stderr.wait_for_text("connected to");
    drop(missing);
    // Nor one whose driver its owner hides.
    let hidden = network.home.adit(["node", "--gpu", "--gpu-software", "--slots", "1"]).env("VK_DRIVER_FILES", "/nowhere");
    let hidden =
        hidden.env("VK_ICD_FILENAMES", "/nowhere").args(["--gateway", &gateway, "--cache", "third", "--key", "third.key"]);
    hidden.start().stderr.wait_for_text("there is no GPU with a Vulkan driver");
}

#[test]
fn what_is_asked_of_a_gpu_and_makes_no_sense_is_said_in_its_own_words() {
    let home = Home::new();
    let asked = |flags: &[&str]| home.adit(["run", "--gpu", "1s", "x.wasm"]).args(flags).run().code(2);
    asked(&["--gpu-compare", "-1"]).says("`-1` is not how GPU results compare");
    let short = home.adit(["run", "--gpu", "1ns", "x.wasm"]).run().code(2);
    short.says("--gpu 1ns: no GPU does anything in that");
}

fn memory_of_machine_kib() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    total.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn every_adapter_is_shown_with_what_would_be_lent() {
    let home = Home::new();
    let adapters = home.adit(["gpu", "info", "--json", "--gpu-software", "--gpu-adapter", "llvmpipe"]).run().ok().json_lines();
    let lavapipe = adapters.iter().find(|adapter| adapter["class"] == class()).expect("lavapipe is installed");
    assert_eq!(
        (&lavapipe["kind"], &lavapipe["refused"], &lavapipe["withheld"]),
        (&"software".into(), &Value::Null, &Value::Null)
    );
    assert_eq!((&lavapipe["offer"]["memory_bytes"], &lavapipe["slice_ms"]), (&(1_u64 << 30).into(), &2_000.into()), "{lavapipe}");
    // Never more than half of this machine's memory, which is what its buffers are.
    let info = |flags: &[&str]| home.adit(["gpu", "info", "--gpu-software", "--gpu-adapter", "llvmpipe"]).args(flags).run();
    let most = info(&["--json", "--gpu-memory", "64GiB", "--gpu-slice", "5s"]).ok().json_lines();
    let most = most.iter().find(|adapter| adapter["class"] == class()).unwrap();
    let half = 1024 * memory_of_machine_kib() / 2;
    assert_eq!((&most["offer"]["memory_bytes"], &most["slice_ms"]), (&half.min(64 << 30).into(), &5_000.into()), "{most}");
    info(&["--gpu-memory", "0B"]).code(2).says("a job has 1.0 MiB to 64.0 GiB of a GPU, and not 0 B");
    info(&["--gpu-slice", "0s"]).code(2).says("a dispatch may take 10ms to 60s, and not 0ns");
    let told = info(&["--gpu-memory", "64MiB", "--gpu-slice", "5s"]).ok();
    for line in [
        "driver      llvmpipe ",
        "limits      buffers of ",
        "timestamps  yes",
        "lent        64.0 MiB for each job, 5s for a dispatch, by `adit node --gpu`",
    ] {
        assert!(told.text().contains(line), "{line}: {told:?}");
    }
    // Mesa speaks of a desktop that no server has.
    let told = home.adit(["gpu", "info"]).env("XDG_RUNTIME_DIR", "").run().ok();
    assert!(!told.stderr.contains("XDG_RUNTIME_DIR"), "{told:?}");
    assert!(told.text().contains("class       software/mesa/llvmpipe"), "{told:?}");
    assert!(told.text().contains("not lent    it is software, which is for tests: --gpu-software lends it"), "{told:?}");
    // Where the loader finds no driver.
    let none = home.adit(["gpu", "info"]).env("VK_DRIVER_FILES", "/nowhere").env("VK_ICD_FILENAMES", "/nowhere").run().code(1);
    none.says("no GPU: Vulkan shows none on this machine");
    let json = home.adit(["gpu", "info", "--json"]).env("VK_DRIVER_FILES", "/nowhere").env("VK_ICD_FILENAMES", "/nowhere");
    let json = json.run().code(1);
    let [object] = &json.json_lines()[..] else { panic!("{json:?}") };
    assert!(object["error"].as_str().is_some_and(|error| error.starts_with("no GPU: ")), "{object}");
}
