//! What a gateway serves of its log, as others see it: the headers of HTTP, the bound of the last checkpoint, and checkpoints, bundles and
//! tiles read without our code, which refuses changed ones.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use adit_ledger::{Ledger, Operation, TreeHead};
use adit_protocol::{Leaf, SecretKey};
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

/// Over a ledger in which damage was found before, nothing is ever signed: that none is signed *yet* kept whoever reads the log waiting.
#[test]
fn who_asks_before_the_first_checkpoint_is_told_whether_to_wait() {
    for (damage, status, text) in [
        (None, "HTTP/1.1 404", "no checkpoint is signed yet\n"),
        (Some("the ledger is damaged at index 9"), "HTTP/1.1 503", "no checkpoint is signed: the ledger is damaged at index 9\n"),
    ] {
        let ledger = ledger(600);
        damage.into_iter().for_each(|words| ledger.reader().set_damaged(words));
        let service = LogService::new(ledger.reader().clone(), Published::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = HttpServer::spawn("log", listener, move |request| service.answer(&request)).unwrap();
        for path in ["checkpoint", "tile/0/000", "tile/entries/000"] {
            let answer = get(server.address(), path, "");
            assert!(answer.status.starts_with(status), "{path}: {}", answer.status);
            assert_eq!((String::from_utf8(answer.body).unwrap().as_str(), "no-store"), (text, &*answer.headers["cache-control"]));
        }
        assert!(get(server.address(), "elsewhere", "").status.starts_with("HTTP/1.1 404"));
    }
    // What was signed before the damage was found stays.
    let ledger = ledger(600);
    let server = serve(&ledger);
    ledger.reader().set_damaged("the ledger is damaged at index 9");
    for path in ["checkpoint", "tile/0/000", "tile/entries/000"] {
        assert!(get(server.address(), path, "").status.starts_with("HTTP/1.1 200"), "{path}");
    }
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

/// The size and the root of a checkpoint whose Ed25519 signature is checked as C2SP's signed-note and tlog-checkpoint have it; what is wrong,
/// where it is none.
fn read_checkpoint(note: &[u8]) -> Result<(u64, Vec<u8>), &'static str> {
    let (text, signatures) = std::str::from_utf8(note).ok().and_then(|note| note.split_once("\n\n")).ok_or("no note")?;
    let text = format!("{text}\n");
    let [origin, size, root] = text.lines().collect::<Vec<_>>().try_into().map_err(|_| "no checkpoint")?;
    let verifier = log_verifier_key(&gateway().public());
    let (name, rest) = verifier.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    let key = BASE64_STANDARD.decode(key).unwrap();
    assert_eq!(key[0], 1, "an Ed25519 key");
    let digest = Sha256::new().chain_update(name).chain_update(b"\n").chain_update(&key).finalize();
    assert_eq!(id, hex::encode(&digest[..4]));
    if origin != name {
        return Err("another origin");
    }
    let line = signatures.strip_suffix('\n').and_then(|line| line.strip_prefix(&format!("\u{2014} {name} ")));
    let signature =
        line.and_then(|line| BASE64_STANDARD.decode(line).ok()).filter(|line| line.len() == 68).ok_or("no signature")?;
    if signature[..4] != digest[..4] {
        return Err("another key's id");
    }
    let key = VerifyingKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
    let signature = Signature::from_slice(&signature[4..]).unwrap();
    key.verify_strict(text.as_bytes(), &signature).map_err(|_| "another signature")?;
    let size = size.parse().map_err(|_| "no size")?;
    Ok((size, BASE64_STANDARD.decode(root).map_err(|_| "no root")?))
}

/// Checks all that is served with base64, ed25519-dalek, and ct-merkle over another SHA-256: none of them makes it. The size, or what is
/// wrong first.
fn read_log(fetch: impl Fn(String) -> Vec<u8>) -> Result<u64, String> {
    let (size, root) = read_checkpoint(&fetch("checkpoint".to_owned()))?;
    let mut leaves = Vec::new();
    for index in 0..size.div_ceil(256) {
        let width = (size - index * 256).min(256);
        let bundle = fetch(path_of("entries", index, width));
        let mut rest = bundle.as_slice();
        let short = || format!("bundle {index} is short");
        for _ in 0..width {
            let (length, behind) = rest.split_first_chunk().ok_or_else(short)?;
            let (leaf, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(short)?;
            leaves.push(leaf.to_vec());
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(format!("bundle {index} is long"));
        }
    }
    if their_root(&leaves) != root {
        return Err("the leaves make another root".to_owned());
    }
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
            if tile.len() as u64 != 32 * width || !tile.chunks_exact(32).eq(due) {
                return Err(format!("tile {index} of level {level} is another"));
            }
        }
    }
    assert!(leaves.iter().all(|leaf| Leaf::from_bytes(leaf).is_ok()));
    Ok(size)
}

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
        assert_eq!(read_log(fetch), Ok(size));
    }
}

/// A log whose checkpoint, tiles and bundles are changed one by one, each in its ways.
#[test]
fn others_code_refuses_each_resource_that_is_changed() {
    const SIZE: u64 = 600;
    let ledger = ledger(SIZE);
    let server = serve(&ledger);
    let served = |path: &str| get(server.address(), path, "").body;
    let read = |changed: &str, bytes: &[u8]| {
        read_log(|path| if path == changed { bytes.to_vec() } else { served(&path) }).err().unwrap_or_default()
    };
    assert_eq!(read("nothing", &[]), "");

    let (head, key, other) = (ledger.tree(), gateway(), SecretKey::from_seed([8; 32]));
    let note = served("checkpoint");
    let text = String::from_utf8(note.clone()).unwrap();
    let (name, alien) = (format!("adit/{}", key.public()), format!("adit/{}", other.public()));
    let line = text.rsplit(' ').next().unwrap().trim_end();
    let signature = BASE64_STANDARD.decode(line).unwrap();
    let signed_by = |id: &[u8], signature: &[u8]| text.replace(line, &BASE64_STANDARD.encode([id, signature].concat()));
    let flipped = |at: usize| {
        let mut signature = signature.clone();
        signature[at] ^= 1;
        text.replace(line, &BASE64_STANDARD.encode(signature))
    };
    let by_other = String::from_utf8(sign_checkpoint(&other, &head)).unwrap();
    let theirs = BASE64_STANDARD.decode(by_other.rsplit(' ').next().unwrap().trim_end()).unwrap();
    let root = BASE64_STANDARD.encode(head.root);
    let rows = [
        ("the signature's first bit", flipped(4), "another signature"),
        ("the signature's last byte", flipped(67), "another signature"),
        ("no signature", text.split_once("\n\n").unwrap().0.to_owned() + "\n\n", "no signature"),
        ("a signature cut short", text.replace(line, &line[..40]), "no signature"),
        ("another key's signature", signed_by(&signature[..4], &theirs[4..]), "another signature"),
        ("another key's id", signed_by(&theirs[..4], &signature[4..]), "another key's id"),
        ("the key id flipped", flipped(0), "another key's id"),
        ("a smaller size", text.replace("\n600\n", "\n599\n"), "another signature"),
        ("a larger size", text.replace("\n600\n", "\n601\n"), "another signature"),
        ("another root", text.replace(&root, &BASE64_STANDARD.encode([7; 32])), "another signature"),
        ("another origin", text.replacen(&name, &alien, 1), "another origin"),
        ("another log's checkpoint", by_other, "another origin"),
        ("another line", text.replacen("\n\n", "\nmore\n\n", 1), "no checkpoint"),
        ("nothing", String::new(), "no note"),
        // The gateway signed it; its leaves do not make it.
        (
            "a signed size",
            String::from_utf8(sign_checkpoint(&key, &TreeHead { size: 599, ..head })).unwrap(),
            "the leaves make another root",
        ),
        (
            "a signed root",
            String::from_utf8(sign_checkpoint(&key, &TreeHead { root: [7; 32], ..head })).unwrap(),
            "the leaves make another root",
        ),
    ];
    for (what, note, due) in rows {
        assert_ne!(note, text, "{what}");
        assert_eq!(read("checkpoint", note.as_bytes()), due, "{what}");
    }

    let change = |bytes: &[u8], change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.to_vec();
        change(&mut bytes);
        bytes
    };
    for (level, index, width) in [(0, 0, 256), (0, 1, 256), (0, 2, 88), (1, 0, 2)] {
        let path = path_of(&level.to_string(), index, width);
        let tile = served(&path);
        let elsewhere = if level == 0 { served(&path_of("0", (index + 1) % 2, 256)) } else { served("tile/0/000") };
        let rows = [
            ("a bit of its first hash", change(&tile, &|tile| tile[0] ^= 1)),
            ("a bit of its last hash", change(&tile, &|tile| *tile.last_mut().unwrap() ^= 128)),
            ("two hashes swapped", change(&tile, &|tile| tile[..64].rotate_left(32))),
            ("a hash less", change(&tile, &|tile| tile.truncate(tile.len() - 32))),
            ("a byte less", change(&tile, &|tile| _ = tile.pop())),
            ("a hash more", change(&tile, &|tile| tile.extend([0; 32]))),
            ("another tile", elsewhere[..tile.len()].to_vec()),
            ("a tile of another level", served(if level == 0 { "tile/1/000.p/2" } else { "tile/0/002.p/2" })),
            ("nothing", Vec::new()),
        ];
        for (what, bytes) in rows {
            assert_ne!(bytes, tile, "{path}: {what}");
            assert_eq!(read(&path, &bytes), format!("tile {index} of level {level} is another"), "{path}: {what}");
        }
    }

    for (index, width) in [(0, 256), (1, 256), (2, 88)] {
        let path = path_of("entries", index, width);
        let bundle = served(&path);
        let first = 2 + usize::from(u16::from_be_bytes([bundle[0], bundle[1]]));
        let second = first + 2 + usize::from(u16::from_be_bytes([bundle[first], bundle[first + 1]]));
        let (root, short, long) =
            ("the leaves make another root", format!("bundle {index} is short"), format!("bundle {index} is long"));
        let rows = [
            ("a bit of a leaf", change(&bundle, &|bundle| bundle[first - 1] ^= 1), root),
            ("a bit of the last leaf", change(&bundle, &|bundle| *bundle.last_mut().unwrap() ^= 1), root),
            ("two leaves swapped", change(&bundle, &|bundle| bundle[..second].rotate_left(first)), root),
            (
                "a leaf twice",
                change(&bundle, &|bundle| {
                    let again = bundle[..first].to_vec();
                    bundle.splice(first..second, again);
                }),
                root,
            ),
            ("a byte less", change(&bundle, &|bundle| _ = bundle.pop()), &short),
            ("a leaf less", bundle[first..].to_vec(), &short),
            ("a byte more", change(&bundle, &|bundle| bundle.push(0)), &long),
            ("a leaf more", [&bundle[..first], &bundle].concat(), &long),
            ("a length too large", change(&bundle, &|bundle| bundle[0] = 255), &short),
            ("nothing", Vec::new(), &short),
        ];
        for (what, bytes, due) in rows {
            assert_ne!(bytes, bundle, "{path}: {what}");
            assert_eq!(read(&path, &bytes), due, "{path}: {what}");
        }
    }
    // Of one width, and so not told apart by their shape.
    assert_eq!(read("tile/entries/000", &served("tile/entries/001")), "the leaves make another root");
}
