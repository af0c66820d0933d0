//! `adit run`: outcomes, exit codes, the object of `--json`, and that a run here is the run there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use adit_protocol::{Digest, Outcome, SignedReceipt};
use rustix::process::Signal;
use serde_json::Value;

use crate::guest;
use crate::network::{Home, Network};
use crate::process::until;

/// How one guest ends, wherever it runs.
struct Case {
    outcome: &'static str,
    module: Vec<u8>,
    flags: &'static [&'static str],
    input: &'static str,
    exit: i32,
    exit_code: Option<i32>,
    reason: &'static str,
}

impl Case {
    fn new(outcome: &'static str, module: Vec<u8>, exit: i32) -> Self {
        Self { outcome, module, flags: &[], input: "", exit, exit_code: None, reason: "" }
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case { exit_code: Some(0), input: "hello", ..Case::new("finished", guest::echo(), 0) },
        Case { exit_code: Some(0), ..Case::new("finished", guest::flood(1), 0) },
        Case { exit_code: Some(3), ..Case::new("finished", guest::exit(3), 10) },
        Case { exit_code: Some(255), ..Case::new("finished", guest::exit(255), 10) },
        Case { reason: "in function focal_length", ..Case::new("trapped", guest::trap(), 10) },
        Case { flags: &["--fuel", "10M"], ..Case::new("out_of_fuel", guest::spin(), 11) },
        Case { flags: &["--memory", "1MiB"], ..Case::new("out_of_memory", guest::grow(), 12) },
        Case { flags: &["--timeout", "200ms", "--fuel", "1T"], ..Case::new("timed_out", guest::spin(), 13) },
        Case { flags: &["--output-max", "1MiB"], ..Case::new("output_too_large", guest::flood(2), 15) },
        Case { flags: &["--output-max", "4B"], input: "hello", ..Case::new("output_too_large", guest::echo(), 15) },
    ]
}

#[test]
fn every_outcome_is_told_in_the_same_object_here_and_there() {
    let network = Network::with_slots(&[1]);
    for case in cases() {
        let label = format!("{} {:?}", case.outcome, case.flags);
        let run = |place: &[&str]| {
            let output = network.home.path("output");
            let ran = network
                .run(&case.module)
                .args(["--json", "--input", "-", "--output"])
                .args([&output])
                .args(case.flags)
                .args(place)
                .input(case.input)
                .run()
                .code(case.exit);
            let object = ran.json();
            check_shape(&object);
            assert_eq!(object["outcome"], case.outcome, "{label}");
            assert_eq!(object["exit_code"], Value::from(case.exit_code), "{label}");
            assert!(object["reason"].as_str().unwrap().contains(case.reason), "{label}: {object}");
            let written = std::fs::read(&output).unwrap();
            std::fs::remove_file(&output).unwrap();
            assert_eq!(object["output_digest"], Digest::of(&written).to_string(), "{label}");
            assert_eq!(object["usage"]["bytes_out"], written.len(), "{label}");
            object
        };
        let (there, here) = (run(&[]), run(&["--local"]));
        check_receipt(&there);
        assert!(here["receipt"].is_null() && here["node"].is_null(), "{label}: nobody signs what ran here");
        // How far a run gets until a clock stops it differs every time.
        if case.outcome != "timed_out" {
            for key in ["usage", "meter_id", "output_digest", "price_microcredits", "reason"] {
                assert_eq!(there[key], here[key], "{label}: {key}");
            }
        }
    }
}

/// Checks that the object has every key that `docs/cli.md` promises of a job that ran, and each of its type.
fn check_shape(object: &Value) {
    let is_hex =
        |value: &Value, digits: usize| value.as_str().is_some_and(|text| text.len() == digits && hex::decode(text).is_ok());
    let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    let mut want = [
        "job",
        "outcome",
        "exit_code",
        "gpu",
        "reason",
        "usage",
        "measured",
        "meter_id",
        "price_microcredits",
        "node",
        "output_digest",
        "receipt",
        "settlement",
        "log_proof",
    ];
    want.sort_unstable();
    assert_eq!(keys, want);
    assert!(is_hex(&object["job"], 32) && is_hex(&object["meter_id"], 64) && is_hex(&object["output_digest"], 64), "{object}");
    assert!(object["price_microcredits"].is_u64() && object["reason"].is_string(), "{object}");
    for key in ["fuel", "memory_peak_bytes", "memory_fuel", "bytes_in", "bytes_out", "host_calls", "gpu_ns"] {
        assert!(object["usage"][key].is_u64(), "usage.{key}: {object}");
    }
    assert_eq!(object["usage"].as_object().unwrap().len(), 7);
    for key in ["queue_ms", "fetch_ms", "compile_ms", "run_ms", "rtt_ms"] {
        assert!(object["measured"][key].as_f64().is_some_and(|ms| ms >= 0.0), "measured.{key}: {object}");
    }
    assert_eq!(object["measured"].as_object().unwrap().len(), 5);
}

/// Checks that what the object says is what the node signed.
fn check_receipt(object: &Value) {
    let bytes = hex::decode(object["receipt"].as_str().unwrap()).unwrap();
    let verified = SignedReceipt::from_bytes(&bytes).unwrap().verify().unwrap();
    let receipt = verified.receipt();
    assert_eq!(object["job"], receipt.job.to_string());
    assert_eq!(object["node"], receipt.node.to_string());
    assert_eq!(object["meter_id"], receipt.meter.to_string());
    assert_eq!(object["outcome"], receipt.outcome.name());
    assert_eq!(object["output_digest"], receipt.output.to_string());
    assert_eq!(object["price_microcredits"], receipt.cost.0);
    assert_eq!(object["usage"]["fuel"], receipt.usage.fuel.0);
    assert_eq!(object["usage"]["memory_peak_bytes"], receipt.usage.memory_peak.0);
    assert_eq!(object["usage"]["bytes_in"], receipt.usage.bytes_in.0);
    assert_eq!(object["usage"]["host_calls"], receipt.usage.host_calls);
    assert!(object["settlement"].is_string(), "a run waits for its settlement");
    if let Outcome::Finished { exit_code } = receipt.outcome {
        assert_eq!(object["exit_code"], exit_code);
    }
}

#[test]
fn output_goes_to_standard_output_and_one_line_of_summary_to_standard_error() {
    let network = Network::with_slots(&[1]);
    let ran = network.run(&guest::echo()).args(["--input", "-"]).input("pass it on").run().ok();
    assert_eq!(ran.text(), "pass it on");
    let summary: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("job ")).collect();
    let [line] = summary[..] else { panic!("one summary line: {ran:?}") };
    for part in ["finished", "node ", " away", "fuel", "peak 192.0 KiB", "ran ", "credits"] {
        assert!(line.contains(part), "`{part}` in {line}");
    }
}

/// The receipts that the user keeps, as they are in their files.
fn kept_receipts(network: &Network) -> Vec<Value> {
    let files = std::fs::read_dir(network.home.path("data/adit/receipts")).unwrap();
    files.map(|file| serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap()).collect()
}

/// The settlement was not waited for, and the receipt was kept without it: what was paid for could not be proven.
#[test]
fn receipt_of_a_run_whose_output_cannot_be_written_is_kept_with_its_settlement() {
    let network = Network::with_slots(&[1]);
    let run = || network.run(&guest::echo()).args(["--input", "-", "--output", "/dev/full"]).input("lost");
    run().run().code(1).says("No space left on device").says("finished");
    let [receipt] = &kept_receipts(&network)[..] else { panic!("one receipt") };
    assert!(receipt["settlement"].is_string() && receipt["log_proof"].is_string(), "{receipt}");
    let object = run().args(["--json"]).run().code(1).json();
    assert!(object["settlement"].is_string(), "{object}");
}

#[test]
fn output_that_cannot_be_written_takes_no_proof_away() {
    let network = Network::with_slots(&[1]);
    network.run(&guest::echo()).args(["--input", "-"]).input("kept").run().ok();
    let before = kept_receipts(&network);
    let [receipt] = &before[..] else { panic!("one receipt") };
    assert!(receipt["settlement"].is_string() && receipt["log_proof"].is_string(), "{receipt}");
    let job = network.adit(["status", "--json"]).run().ok().json()["job"].as_str().unwrap().to_owned();
    network.adit(["output", &job, "--output", "/dev/full"]).run().code(1).says("No space left on device");
    assert_eq!(kept_receipts(&network), before);
}

/// Of two causes the first was told alone, and its exit code was that of a full disk.
#[test]
fn output_and_receipt_that_cannot_be_kept_are_both_told() {
    let network = Network::with_slots(&[1]);
    network.home.file("file", "");
    let run = |receipt: &str| network.run(&guest::echo()).args(["--input", "-", "--receipt", receipt]).input("lost");
    run("file/receipt").args(["--output", "/dev/full"]).run().code(1).says("No space left").says("cannot write file/receipt");

    let job = run("kept").args(["--json"]).run().ok().json()["job"].as_str().unwrap().to_owned();
    let mut kept: Value = serde_json::from_slice(&std::fs::read(network.home.path("kept")).unwrap()).unwrap();
    let mut settlement = hex::decode(kept["settlement"].as_str().unwrap()).unwrap();
    // Behind gateway, job and receipt stands the index.
    settlement[32 + 16 + 32] = 99;
    kept["settlement"] = hex::encode(settlement).into();
    let kept = kept.to_string();
    network.home.file("kept", &kept);
    let output = network.adit(["output", &job, "--output", "/dev/full", "--receipt", "kept"]).run();
    output.code(23).says("No space left").says("another word of the gateway's");
    assert_eq!(std::fs::read_to_string(network.home.path("kept")).unwrap(), kept);
    let files = std::fs::read_dir(network.home.path("")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let [second] = &files.filter(|name| name.starts_with(&format!("{job}.leaf-"))).collect::<Vec<_>>()[..] else {
        panic!("the other word is kept too")
    };
    network.adit(["verify", second]).run().ok();
}

/// The receipt's file was read first, which of a pipe never ended, and Ctrl-C did nothing.
#[test]
fn receipt_goes_into_a_pipe_and_one_that_nobody_reads_can_be_left() {
    let network = Network::with_slots(&[1]);
    let fifo = network.home.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let run = |receipt: &str| network.run(&guest::echo()).args(["--input", "-", "--receipt", receipt]).input("x\n");
    let left = run("fifo").start();
    left.stdout.wait_for_text("x");
    until("it is left", || {
        left.signal(Signal::INT);
        left.stderr.text().contains("left before fifo took the receipt")
    });
    left.wait().code(130);

    let read = run("fifo").start();
    network.home.file("piped", std::fs::read(&fifo).unwrap());
    read.wait().ok();
    network.adit(["verify", "piped"]).run().ok();

    // Standard output has it behind the output, also where that is a file.
    let piped = run("/dev/fd/1").run().ok();
    let out = network.home.path("out");
    run("/dev/fd/1").start_into(std::fs::File::create(&out).unwrap()).wait().ok();
    for told in [piped.text().to_owned(), std::fs::read_to_string(out).unwrap()] {
        let receipt = told.strip_prefix("x\n").unwrap();
        network.home.file("told", receipt);
        network.adit(["verify", "told"]).run().ok();
    }
}

#[test]
fn reader_that_has_seen_enough_is_no_failure() {
    let network = Network::with_slots(&[1]);
    let job = network.adit(["submit", "--input", "-"]).args([network.module(&guest::echo())]).input("unread").run().ok();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = network.adit(["output", job.text()]).start_into(writer).wait().ok().says("finished");
    assert!(!ran.stderr.contains("pipe"), "{ran:?}");
    assert_eq!(kept_receipts(&network).len(), 1);
}

/// Where a run here found its output unread it was killed, and told neither its outcome nor its bill: the exit code was 0 whatever the guest did.
#[test]
fn outcome_is_told_also_where_the_reader_of_the_output_has_gone() {
    let home = Home::new();
    let (invalid, _) = guest::invalid();
    for (module, flags, exit, says) in [
        (guest::echo(), &[][..], 0, "finished"),
        (guest::flood(1), &[], 0, "finished"),
        (guest::flood(2), &["--output-max", "1MiB"], 15, "output too large"),
        (invalid, &["--json"], 20, "is invalid"),
    ] {
        let module = home.file("job.wasm", module);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = home.adit(["run", "--local", "--input", "-"]).args([&module]).args(flags).input("unread");
        let ran = run.start_into(writer).wait().code(exit).says(says);
        assert!(!ran.stderr.contains("pipe"), "{ran:?}");
    }
}

#[test]
fn log_is_what_flags_ask_for_before_the_environment() {
    let network = Network::with_slots(&[1]);
    let run = |flags: &[&str], filter: &str| {
        let run = network.run(&guest::echo()).args(["--output", "output"]).args(flags).env("ADIT_LOG", filter);
        run.run().ok().stderr
    };
    assert!(run(&[], "debug").contains("receipt stored"));
    assert_eq!(run(&["-q"], "debug"), "");
    assert!(run(&["-vv"], "off").contains("receipt stored"));
    // An empty one counts as unset, which is for warnings.
    std::fs::remove_dir_all(network.home.path("data/adit/jobs")).unwrap();
    network.home.file("data/adit/jobs", "no folder");
    assert!(!run(&[], "off").contains("not all of the job is kept"));
    assert!(run(&[], "").contains("not all of the job is kept"));
    network.run(&guest::echo()).env("ADIT_LOG", "=,=").run().code(2).says("ADIT_LOG: `=,=`: ");
    let object = network.run(&guest::echo()).args(["--json"]).env("ADIT_LOG", "=,=").run().code(2).json();
    assert_eq!(object["outcome"], "refused");
}

/// Commands that read no configuration ran on.
#[test]
fn filter_of_the_log_that_is_none_is_refused_by_every_command() {
    let home = Home::new();
    let fsck = format!("log fsck http://127.0.0.1:1 --gateway-key {}", "0".repeat(64));
    let commands = [
        "run module --json",
        "status",
        &fsck,
        "log check-evidence file",
        "verify file --job file",
        "new guest",
        "build",
        "inspect module",
        "man --out man",
        "completions bash",
    ];
    for command in commands {
        let ran = home.adit(command.split(' ')).env("ADIT_LOG", "=,=").run().code(2);
        assert!(ran.says("ADIT_LOG: `=,=`: ").stdout.is_empty() != command.contains("--json"), "{command}");
    }
    assert_eq!(std::fs::read_dir(home.path("")).unwrap().count(), 0, "nothing was made");
}

#[test]
fn variable_that_is_no_text_is_refused() {
    let home = Home::new();
    for name in ["ADIT_CONFIG", "ADIT_KEY", "ADIT_NODE_LABELS", "ADIT_LOG"] {
        let ran = home.adit(["config", "show"]).env(name, OsStr::from_bytes(b"client-\xff.key")).run();
        ran.code(2).says(&format!("the variable {name} is not UTF-8"));
    }
}

#[test]
fn summary_names_the_limit_its_value_and_the_next_step() {
    let network = Network::with_slots(&[1]);
    let rows: [(&[u8], &[&str], i32, &str); 6] = [
        (&guest::spin(), &["--fuel", "20M"], 11, "out of fuel at 20.000 Mfuel (limit 20.000 Mfuel); raise --fuel"),
        (&guest::grow(), &["--memory", "1MiB"], 12, "(limit 1.0 MiB); raise --memory"),
        (&guest::spin(), &["--timeout", "100ms", "--fuel", "1T"], 13, "(limit 100.0 ms); raise --timeout"),
        (&guest::flood(2), &["--output-max", "1MiB"], 15, "output too large (limit 1.0 MiB); raise --output-max"),
        (&guest::trap(), &[], 10, "trapped: integer division by zero in function focal_length"),
        (&guest::exit(42), &[], 10, "the guest ended with exit code 42"),
    ];
    for (module, flags, exit, want) in rows {
        for place in [&[][..], &["--local"]] {
            network.run(module).args(["--output", "/dev/null"]).args(flags).args(place).run().code(exit).says(want);
        }
    }
}

#[test]
fn guest_sees_its_arguments_its_environment_and_nothing_else() {
    let network = Network::with_slots(&[1]);
    for place in [&[][..], &["--local"]] {
        let ran = network
            .run(&guest::surroundings())
            .args(["--arg", "one", "--arg", "--two=2", "--env", "A=1", "--env", "EMPTY=", "--env", "B=x=y"])
            .args(place)
            .args(["--", "three and", "--four"])
            .env("SECRET", "of the host")
            .run()
            .ok();
        let strings: Vec<&str> = ran.text().trim_end_matches('\0').split('\0').collect();
        let (program, rest) = strings.split_first().unwrap();
        assert!(!program.contains('/'), "the guest learns no path of the host: {program}");
        assert_eq!(rest, ["one", "--two=2", "three and", "--four", "A=1", "EMPTY=", "B=x=y"]);
    }
}

#[test]
fn randomness_follows_the_seed_alone() {
    let network = Network::with_slots(&[1]);
    let draw = |flags: &[&str]| network.run(&guest::random()).args(flags).run().ok().stdout;
    let first = draw(&["--seed", "1"]);
    assert_eq!(first.len(), 8);
    assert_eq!(draw(&["--seed", "1"]), first);
    assert_eq!(draw(&["--seed", "1", "--local"]), first);
    assert_ne!(draw(&["--seed", "2"]), first);
}

#[test]
fn measured_times_tell_a_known_module_from_a_new_one() {
    let network = Network::with_slots(&[1]);
    let run = || network.run(&guest::echo()).args(["--json", "--output", "/dev/null"]).run().ok().json();
    let compile_ms = |object: &Value| object["measured"]["compile_ms"].as_f64().unwrap();
    let (first, second) = (run(), run());
    assert!(compile_ms(&first) > 0.0, "{first}");
    // Compiling is not billed and not repeated.
    assert_eq!(compile_ms(&second), 0.0, "{second}");
    assert_eq!(first["price_microcredits"], second["price_microcredits"]);
}

/// From 51 to 67 GiB a worker gave the engine's places all that there was, and a guest in baseline code, whose memory lies beside them,
/// was told to have trapped.
#[test]
fn job_in_a_small_address_space_is_billed_alike_and_the_limit_is_told() {
    let network = Network::empty();
    let module = network.module(&guest::large_echo());
    let run = |gibibytes| {
        let run = network.home.adit_within(gibibytes, ["run", "--local", "--json", "--input", "-"]);
        // Compiled anew each time, for who has no room for baseline code begins with the other.
        run.args([&module]).env("XDG_CACHE_HOME", network.home.path(gibibytes.to_string())).input("hello").run()
    };
    let told =
        |place: &str, guard: u64| format!("the address space is limited: {place} for memories at once and {guard} MiB of guard");
    let roomy = run(1 << 20).ok();
    assert_eq!(roomy.stderr.matches("address space").count(), 0, "{roomy:?}");
    for (gibibytes, remark) in [
        (68, String::new()),
        (60, if cfg!(target_arch = "x86_64") { told("one place", 2_048) } else { String::new() }),
        (51, told("one place", 2_048)),
        (40, told("one place", 2_048)),
        (16, told("one place", 2_048)),
        (14, told("one place", 32)),
        (11, told("one place", 32)),
    ] {
        let small = run(gibibytes).ok().says(&remark);
        assert_eq!(small.json()["usage"], roomy.json()["usage"], "{gibibytes} GiB");
    }
    run(10).code(1).says("a worker needs 11 GiB of address space and may have 10 (`ulimit -v`)");
    run(1).code(1).says("`ulimit -v`");
}
