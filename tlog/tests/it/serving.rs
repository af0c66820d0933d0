//! What a gateway serves of its log, as others see it: the headers of HTTP, the bound of the last checkpoint, and checkpoints, bundles and
//! tiles read without our code.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use adit_ledger::{Ledger, Operation, TreeHead};
use adit_protocol::Leaf;
use adit_tlog::{HttpServer, LogService, Published, PublishedCheckpoint, TilePath, log_verifier_key, sign_checkpoint};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use flate2::read::GzDecoder;
use redb::backends::InMemoryBackend;
use sha2_11::{Digest as _, Sha256};

use crate::fixture::{GRANTED, gateway, grant, terms, their_root};

/// A ledger of so many leaves.
fn ledger(size: u64) -> Ledger {
    let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway().public()).unwrap();
    let operation = |n| if n == 0 { Operation::State(terms()) } else { Operation::Grant(grant(n, GRANTED)) };
    let operations: Vec<Operation> = (0..size).map(operation).collect();
    for batch in operations.chunks(5_000) {
        assert!(ledger.apply(batch).unwrap().iter().all(Result::is_ok));
    }
    ledger
}

fn publish(head: TreeHead) -> Published {
    let published = Published::default();
    published.set(PublishedCheckpoint { head, note: sign_checkpoint(&gateway(), &head).into() });
    published
}

fn serve(ledger: &Ledger) -> HttpServer {
    let service = LogService::new(ledger.reader().clone(), publish(ledger.tree()));
    HttpServer::spawn("log", TcpListener::bind("127.0.0.1:0").unwrap(), move |request| service.answer(&request)).unwrap()
}

/// What a server answered.
struct Answered {
    status: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answered {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Asks a server by the bytes of HTTP/1.1 alone.
fn get(address: SocketAddr, path: &str, more: &str) -> Answered {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: log\r\nConnection: close\r\n{more}\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().to_owned();
    let headers = lines.map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())).unwrap());
    Answered { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
}

/// A cache that keeps what never changes gave the compressed bundle to whoever takes none.
#[test]
fn caches_are_told_how_long_and_for_whom_a_resource_is() {
    let ledger = ledger(300);
    let server = serve(&ledger);
    let (forever, never) = (Some("public, max-age=31536000, immutable"), Some("no-store"));
    let gzip = "Accept-Encoding: gzip\r\n";
    let rows = [
        ("tile/entries/000", "", forever, None, Some("accept-encoding")),
        ("tile/entries/000", gzip, forever, Some("gzip"), Some("accept-encoding")),
        ("tile/entries/001.p/44", "", forever, None, Some("accept-encoding")),
        ("tile/entries/001.p/44", gzip, forever, Some("gzip"), Some("accept-encoding")),
        ("tile/0/000", "", forever, None, None),
        ("tile/0/000", gzip, forever, None, None),
        ("tile/0/001.p/44", gzip, forever, None, None),
        ("tile/1/000.p/1", gzip, forever, None, None),
        ("checkpoint", gzip, never, None, None),
        ("tile/0/002", gzip, never, None, None),
    ];
    for (path, more, caching, encoding, vary) in rows {
        let answer = get(server.address(), path, more);
        let found = ["cache-control", "content-encoding", "vary"].map(|name| answer.header(name));
        assert_eq!(found, [caching, encoding, vary], "{path} {more:?}: {}", answer.status);
    }
    let mut plain = Vec::new();
    let packed = get(server.address(), "tile/entries/000", gzip).body;
    GzDecoder::new(packed.as_slice()).read_to_end(&mut plain).unwrap();
    assert_eq!(plain, get(server.address(), "tile/entries/000", "").body);
}

#[test]
fn nothing_is_shown_that_no_checkpoint_covers() {
    let ledger = ledger(600);
    let head = TreeHead { size: 300, root: [1; 32] };
    let service = LogService::new(ledger.reader().clone(), publish(head));
    let hashes = |level, index, width| TilePath::Hashes { level, index, width };
    let entries = |index, width| TilePath::Entries { index, width };
    let rows = [
        (hashes(0, 0, 256), true),
        (hashes(0, 1, 1), true),
        (hashes(0, 1, 44), true),
        (hashes(0, 1, 45), false),
        (hashes(0, 1, 256), false),
        (hashes(0, 2, 1), false),
        (hashes(1, 0, 1), true),
        (hashes(1, 0, 2), false),
        (hashes(2, 0, 1), false),
        (entries(0, 256), true),
        (entries(1, 44), true),
        (entries(1, 45), false),
        (entries(1, 256), false),
        (entries(2, 1), false),
        (hashes(0, u64::MAX, 256), false),
        (entries(u64::MAX, 256), false),
    ];
    for (path, is_shown) in rows {
        assert_eq!(service.read(path).unwrap().is_some(), is_shown, "{path:?}");
    }
    let silent = LogService::new(ledger.reader().clone(), Published::default());
    assert_eq!((silent.read(hashes(0, 0, 1)).unwrap(), silent.read(entries(0, 1)).unwrap()), (None, None));
}

/// A tile's or a bundle's path, by the text of C2SP's tlog-tiles.
fn path_of(level: &str, index: u64, width: u64) -> String {
    let mut place = format!("{:03}", index % 1_000);
    let mut rest = index / 1_000;
    while rest > 0 {
        place = format!("x{:03}/{place}", rest % 1_000);
        rest /= 1_000;
    }
    let partial = if width == 256 { String::new() } else { format!(".p/{width}") };
    format!("tile/{level}/{place}{partial}")
}

/// The size and the root of a checkpoint whose Ed25519 signature is checked as C2SP's signed-note and tlog-checkpoint have it.
fn read_checkpoint(note: &[u8]) -> (u64, Vec<u8>) {
    let (text, signatures) = std::str::from_utf8(note).unwrap().split_once("\n\n").unwrap();
    let text = format!("{text}\n");
    let [origin, size, root] = text.lines().collect::<Vec<_>>().try_into().unwrap();
    let verifier = log_verifier_key(&gateway().public());
    let (name, rest) = verifier.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    let key = BASE64_STANDARD.decode(key).unwrap();
    assert_eq!((name, key[0]), (origin, 1), "an Ed25519 key of this log");
    let digest = Sha256::new().chain_update(name).chain_update(b"\n").chain_update(&key).finalize();
    assert_eq!(id, hex::encode(&digest[..4]));
    let line = signatures.strip_suffix('\n').unwrap().strip_prefix(&format!("\u{2014} {name} ")).unwrap();
    let signature = BASE64_STANDARD.decode(line).unwrap();
    assert_eq!(signature[..4], digest[..4]);
    let key = VerifyingKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
    key.verify_strict(text.as_bytes(), &Signature::from_slice(&signature[4..]).unwrap()).unwrap();
    (size.parse().unwrap(), BASE64_STANDARD.decode(root).unwrap())
}

/// All that is served, checked with base64, ed25519-dalek, and ct-merkle over another SHA-256: none of them makes it.
#[test]
fn others_code_reads_the_checkpoint_the_bundles_and_every_tile() {
    for size in [0, 1, 2, 255, 256, 257, 65_536, 70_000] {
        let ledger = ledger(size);
        let server = serve(&ledger);
        let fetch = |path: String| {
            let answer = get(server.address(), &path, "");
            assert!(answer.status.contains(" 200 "), "{path} of {size}: {}", answer.status);
            answer.body
        };
        let (told, root) = read_checkpoint(&fetch("checkpoint".to_owned()));
        assert_eq!(told, size);

        let mut leaves = Vec::new();
        for index in 0..size.div_ceil(256) {
            let width = (size - index * 256).min(256);
            let bundle = fetch(path_of("entries", index, width));
            let mut rest = bundle.as_slice();
            for _ in 0..width {
                let (length, behind) = rest.split_first_chunk().unwrap();
                let (leaf, behind) = behind.split_at(u16::from_be_bytes(*length).into());
                leaves.push(leaf.to_vec());
                rest = behind;
            }
            assert!(rest.is_empty());
        }
        assert!(leaves.iter().all(|leaf| Leaf::from_bytes(leaf).is_ok()));
        assert_eq!(their_root(&leaves), root, "{size}");

        // Each hash of a tile is the root of the subtree under it; of the leaves' level, of one leaf.
        for level in 0.. {
            let (under, hashes) = (256usize.pow(level), size >> (8 * level));
            if hashes == 0 {
                break;
            }
            for index in 0..hashes.div_ceil(256) {
                let width = (hashes - index * 256).min(256);
                let tile = fetch(path_of(&level.to_string(), index, width));
                let first = index as usize * 256;
                let due = (first..first + width as usize).map(|hash| their_root(&leaves[hash * under..(hash + 1) * under]));
                assert!(tile.chunks_exact(32).eq(due), "tile {index} of level {level} of {size}");
                assert_eq!(tile.len() as u64, 32 * width);
            }
        }
    }
}
