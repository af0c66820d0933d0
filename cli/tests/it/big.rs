//! Inputs and outputs that are far larger than the memory anyone may use for them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use adit_protocol::{BlobRef, GatewayToClient, Greeting, SecretKey, StreamReply, StreamRequest};
use adit_transport::{Dialer, read_reply};

use crate::guest::{self, Sum};
use crate::network::Network;
use crate::process::{memory_peak, until};

const MIB: u64 = 1 << 20;

/// What any one process may use. An eighth of the input, and more than twice of what the windows of all connections add up to.
const MEMORY_MAX: u64 = 128 * MIB;

/// Checks that neither gateway nor node nor worker ever took more than [`MEMORY_MAX`].
fn check_memory(network: &Network) {
    let processes = [("gateway", &network.gateway.process), ("node", &network.nodes[0].process)];
    for (name, process) in processes {
        for pid in [vec![process.pid()], process.children()].concat() {
            let peak = memory_peak(pid);
            assert!(peak < MEMORY_MAX, "{name}, process {pid}: {} MiB", peak / MIB);
        }
    }
}

#[test]
fn gibibyte_of_input_costs_nobody_a_gibibyte_of_memory() {
    let network = Network::with_slots(&[1]);
    let bytes = 1024 * MIB;
    // The guest's sum tells where each of the words was.
    let words = [(0, 0x0123_4567_89ab_cdef), (300 * MIB + 8, 7), (bytes / 2 - 8, u64::MAX), (bytes - 8, 0xfeed)];
    sparse(&network, "large", bytes, &words);
    let limits = ["--fuel", "100G", "--timeout", "10m"];
    let run = network.run(&guest::sum()).args(["--json", "--output", "sum", "--input", "large"]).args(limits).start();
    run.limit_memory(MEMORY_MAX);
    let object = run.wait().ok().json();
    assert_eq!(object["usage"]["bytes_in"], bytes);
    assert_eq!(Sum::parse(&std::fs::read(network.home.path("sum")).unwrap()), Sum::of_sparse(bytes, &words));
    check_memory(&network);
}

#[test]
fn upload_that_breaks_off_is_sent_again() {
    let mut network = Network::with_slots(&[1]);
    let bytes = 512 * MIB;
    let words = [(8 * MIB, 5), (bytes - 8, 9)];
    sparse(&network, "large", bytes, &words);
    let run =
        network.run(&guest::sum()).args(["--output", "sum", "--input", "large", "--fuel", "100G", "--timeout", "10m"]).start();
    // The gateway writes what arrives to its folder; nothing else tells how far it is.
    until("32 MiB have arrived", || network.home.folder_bytes("gateway/blobs") > 32 * MIB);
    network.restart_gateway();
    run.wait().ok();
    assert_eq!(Sum::parse(&std::fs::read(network.home.path("sum")).unwrap()), Sum::of_sparse(bytes, &words));
}

/// Once each stream that nobody read kept a file open and two MiB in the gateway's memory, and one connection could have 127 of them.
#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_are_asked_for_and_not_taken_cost_the_gateway_little() {
    let network = Network::with_slots(&[1]);
    let bytes = vec![7; 4 << 20];
    network.home.file("input", &bytes);
    network.run(&guest::sum()).args(["--output", "sum", "--input", "input"]).run().ok();
    let client = Dialer::new(SecretKey::generate()).unwrap();
    let connection = client.dial(&network.gateway.address).await.unwrap();
    let (outbox, mut inbox) = connection.open_control().await.unwrap();
    outbox.send(&Greeting::Client { software: "test".into() }).unwrap();
    assert!(matches!(inbox.next().await, Ok(Some(GatewayToClient::Welcome { .. }))));
    let mut unread = Vec::new();
    for _ in 0..120 {
        let mut transfer = connection.open_transfer(&StreamRequest::Get(BlobRef::of(&bytes).digest)).await.unwrap();
        transfer.send.finish().unwrap();
        unread.push(transfer);
    }
    // The last of those that have their turn has begun to come.
    let open_files = || std::fs::read_dir(format!("/proc/{}/fd", network.gateway.process.pid())).unwrap().count();
    until("many are on their way", || open_files() >= 64);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(open_files() < 120, "{} files are open", open_files());
    check_memory(&network);
    // They have their turns, one after the other, as they are taken.
    let mut reading = tokio::task::JoinSet::new();
    for mut transfer in unread {
        reading.spawn(async move {
            let reply = read_reply(&mut transfer.recv).await.unwrap();
            (reply, transfer.recv.read_to_end(4 << 20).await.unwrap())
        });
    }
    while let Some(read) = reading.join_next().await {
        let (reply, read) = read.unwrap();
        assert!(reply == StreamReply::Found { bytes: bytes.len() as u64 } && read == bytes);
    }
    check_memory(&network);
}

/// Writes a file of zeros but for these words at these offsets. It takes hardly any space here.
fn sparse(network: &Network, name: &str, bytes: u64, words: &[(u64, u64)]) {
    let file = File::create(network.home.path(name)).unwrap();
    file.set_len(bytes).unwrap();
    for (offset, word) in words {
        file.write_all_at(&word.to_le_bytes(), *offset).unwrap();
    }
}

#[test]
fn large_output_arrives_whole_and_in_order() {
    let network = Network::with_slots(&[1]);
    let bytes = 256 * MIB;
    let run = network.run(&guest::flood(256)).args(["--json", "--output", "flood", "--output-max", "256MiB"]).start();
    run.limit_memory(MEMORY_MAX);
    let object = run.wait().ok().json();
    assert_eq!(object["usage"]["bytes_out"], bytes);
    let output = File::open(network.home.path("flood")).unwrap();
    assert_eq!(output.metadata().unwrap().len(), bytes);
    let mut number = [0; 4];
    for piece in 0..bytes / 65_536 {
        output.read_exact_at(&mut number, piece * 65_536).unwrap();
        assert_eq!(u64::from(u32::from_le_bytes(number)), piece);
    }
    let digest = adit_transport::hash_file(network.home.path("flood").as_path()).unwrap().digest;
    assert_eq!(object["output_digest"], digest.to_string());
    check_memory(&network);
}

/// Once the end of a stored file that had become shorter looked like the blob's, and its reader said that its sender was wrong.
#[test]
fn output_whose_file_became_shorter_breaks_off_and_proves_nothing() {
    let network = Network::with_slots(&[1]);
    let submitted = network.adit(["submit"]).args([network.module(&guest::flood(4))]).run().ok();
    let output = || network.adit(["output", submitted.text(), "--output", "flood"]).run();
    output().ok();
    let files = std::fs::read_dir(network.home.path("gateway/blobs")).unwrap().map(|file| file.unwrap().path());
    let stored = files.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    File::options().write(true).open(stored).unwrap().set_len(MIB).unwrap();
    output().code(22).says("broke off");
}

#[test]
fn inputs_of_every_size_around_a_message_come_through_by_file_and_by_pipe() {
    let network = Network::with_slots(&[1]);
    let module = network.module(&guest::echo());
    for bytes in [0, 1, 16 * 1024, 16 * 1024 + 1, 65_536, 1_000_003] {
        let content: Vec<u8> = (0..bytes).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let path = network.home.file("input", &content);
        let run = || network.adit(["run"]).args([&module]).args(["--input"]);
        assert_eq!(run().args([&path]).run().ok().stdout, content, "{bytes} bytes from a file");
        let object = run().args(["-", "--json", "--output", "out"]).input(content.clone()).run().ok().json();
        assert_eq!(std::fs::read(network.home.path("out")).unwrap(), content, "{bytes} bytes from a pipe");
        assert_eq!(object["output_digest"], BlobRef::of(&content).digest.to_string());
    }
}
