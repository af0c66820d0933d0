use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use adit_ledger::{Account, Entry, Hold, Ledger, Operation, TreeHead};
use adit_protocol::{Attempt, Leaf, Microcredits, Outcome, Receipt, SecretKey, SignedReceipt, Terms, UnixMillis, sign_receipts};
use adit_tlog::{
    DirSource, FAULTS_MAX, Fault, FsckError, HttpServer, HttpSource, LogService, MirrorRules, Published, PublishedCheckpoint,
    Report, Source, SourceError, export, fsck, sign_checkpoint,
};
use redb::backends::InMemoryBackend;

use crate::fixture::{
    GRANTED, HELD, Log, attempt, client, gateway, grant, leaves, node, payout, receipt, settled, settlement, signed, terms,
    their_root,
};

fn read(source: &dyn Source) -> Report {
    fsck(source, &gateway().public(), |_, _| {}).unwrap()
}

/// Checks a log that can be read to its end.
fn check(source: &dyn Source) -> Report {
    let report = read(source);
    assert!(report.unread.is_none(), "{report:?}");
    report
}

fn faults(source: &dyn Source) -> Vec<String> {
    check(source).faults.iter().map(Fault::to_string).collect()
}

/// A ledger of so many leaves: terms, grants, and some receipts at the end, as many as there is room for.
fn ledger(size: u64) -> Ledger {
    let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway().public()).unwrap();
    let receipts = size.saturating_sub(4).min(200);
    let plain = (0..size - receipts).map(|n| match n {
        0 => Operation::State(terms()),
        n => Operation::Grant(grant(n, GRANTED)),
    });
    let plain: Vec<Operation> = plain.collect();
    for batch in plain.chunks(5_000) {
        assert!(ledger.apply(batch).unwrap().iter().all(Result::is_ok));
    }
    let receipts: Vec<Receipt> = (0..receipts).map(receipt).collect();
    for signed in receipts.chunks(64).flat_map(|batch| sign_receipts(&node(), batch.to_vec())) {
        let (job, customer) = (signed.receipt.job, signed.receipt.client);
        let hold = Hold { job, customer, amount: Microcredits(HELD), expires: UnixMillis(u64::MAX) };
        let (receipt, settled) = (signed.verify().unwrap(), UnixMillis(7));
        let entry = Entry { receipt, settled, reason: String::new(), output: None, queue_us: 0, rtt_us: 0 };
        let outcomes = ledger.apply(&[Operation::Hold(hold), Operation::Settle(Box::new(entry))]).unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    assert_eq!(ledger.tree().size, size);
    ledger
}

fn serve(ledger: &Ledger) -> HttpServer {
    let published = Published::default();
    let head = ledger.tree();
    published.set(PublishedCheckpoint { head, note: sign_checkpoint(&gateway(), &head).into() });
    let service = LogService::new(ledger.reader().clone(), published);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    HttpServer::spawn("log", listener, move |request| service.answer(&request)).unwrap()
}

#[test]
fn log_of_a_ledger_is_sound_over_http_and_in_a_mirror_and_others_come_to_its_root() {
    for size in [0, 1, 2, 255, 256, 257, 65_536, 70_000] {
        let ledger = ledger(size);
        let server = serve(&ledger);
        let source = HttpSource::new(&format!("http://{}/", server.address())).unwrap();
        let mut told = Vec::new();
        let report = fsck(&source, &gateway().public(), |done, of| told.push((done, of))).unwrap();
        assert!(report.faults.is_empty(), "{size}: {:?}", report.faults);
        assert_eq!((report.head, report.folded), (ledger.tree(), size));
        assert_eq!(told.last().copied(), (size > 0).then_some((size, size)));

        let counts = report.leaves;
        let receipts = size.saturating_sub(4).min(200);
        assert_eq!((counts.settlements, report.receipts_verified), (receipts, receipts));
        assert_eq!(counts.terms + counts.grants + counts.settlements, size);
        assert_eq!(counts.attempts, 0);
        let balances: Vec<(Account, i128)> =
            ledger.reader().balances().unwrap().into_iter().map(|(account, balance)| (account, balance.posted)).collect();
        assert_eq!(report.balances, balances);
        assert_eq!(report.first, (size > 0).then_some(UnixMillis(1)));

        let all = ledger.reader().leaves(0, size as usize).unwrap();
        assert_eq!(report.head.root.to_vec(), their_root(&all), "{size}");

        let dir = tempfile::tempdir().unwrap();
        let rules = MirrorRules { gateway: Some(gateway().public()), bytes_max: u64::MAX };
        let exported = export(&source, dir.path(), &rules, |_, _| {}).unwrap();
        assert_eq!((exported.size, exported.kept), (size, 0));
        let mirror = check(&DirSource::new(dir.path()));
        assert!(mirror.faults.is_empty(), "{size}: {:?}", mirror.faults);
        assert_eq!((mirror.head, mirror.bytes), (report.head, report.bytes));
        // Again, only what may have changed is fetched.
        let again = export(&source, dir.path(), &rules, |_, _| {}).unwrap();
        assert_eq!(again.kept + again.fetched, exported.fetched);
        assert!(again.fetched <= 4, "{again:?}");
    }
}

#[test]
fn log_of_batches_at_every_border_is_sound() {
    let all = leaves(1_000, 64);
    for size in [4, 5, 254, 255, 256, 257, 511, 512, 513, 1_000] {
        let log = Log::of(&all[..size]);
        let report = check(&log);
        assert!(report.faults.is_empty(), "{size}: {:?}", report.faults);
        assert_eq!(report.receipts_verified, size as u64 - 4);
        let bytes: Vec<Vec<u8>> = all[..size].iter().map(Leaf::to_bytes).collect();
        assert_eq!(report.head.root.to_vec(), their_root(&bytes));
    }
}

/// Checks that a log has these faults and no others, each by how it begins.
fn expect(what: &str, source: &dyn Source, want: &[&str]) {
    let faults = faults(source);
    let matches = faults.len() == want.len() && faults.iter().zip(want).all(|(fault, want)| fault.starts_with(want));
    assert!(matches, "{what}: {faults:#?}");
}

const ROOT: &str = "the leaves make the root ";

/// What somebody changes who has the server but not the gateway's key.
#[test]
fn each_change_of_what_is_served_is_found_where_it_is() {
    const BUNDLE: &str = "tile/entries/000";
    const LAST_BUNDLE: &str = "tile/entries/001.p/44";
    const TILE: &str = "tile/0/000";
    const LAST_TILE: &str = "tile/0/001.p/44";
    let leaves = leaves(300, 64);
    // Where leaf 100 begins in its bundle, behind its length.
    let at = leaves[..100].iter().map(|leaf| 2 + leaf.to_bytes().len()).sum::<usize>() + 2;
    let (tenth, eleventh) = (leaves[10].to_bytes(), leaves[11].to_bytes());
    let from = leaves[..10].iter().map(|leaf| 2 + leaf.to_bytes().len()).sum::<usize>();
    type Change<'a> = Box<dyn Fn(&Log) + 'a>;
    let rows: Vec<(&str, Change<'_>, &[&str])> = vec![
        ("nothing", Box::new(|_| {}), &[]),
        (
            "a bit of a leaf's receipt",
            Box::new(|log| log.change(BUNDLE, |bytes| bytes[at + 160] ^= 1)),
            &[
                "leaf 100: receipt of job ",
                "tile/0/000: its hash 100, over leaf 100, is not what the leaves make it",
                "tile/1/000.p/1: its hash 0, over leaves 0 to 255, is",
                ROOT,
            ],
        ),
        (
            "a leaf's version",
            Box::new(|log| log.change(BUNDLE, |bytes| bytes[at] ^= 2)),
            &["leaf 100: a leaf of version 3", "tile/0/000: its hash 100", "tile/1/000.p/1: its hash 0", ROOT],
        ),
        (
            "two leaves swapped",
            Box::new(|log| {
                let swapped = [
                    &(eleventh.len() as u16).to_be_bytes(),
                    eleventh.as_slice(),
                    &(tenth.len() as u16).to_be_bytes(),
                    tenth.as_slice(),
                ]
                .concat();
                log.change(BUNDLE, |bytes| bytes[from..from + swapped.len()].copy_from_slice(&swapped));
            }),
            &["tile/0/000: its hash 10, over leaf 10,", "tile/1/000.p/1: its hash 0", ROOT],
        ),
        (
            "a bundle cut short",
            Box::new(|log| log.change(LAST_BUNDLE, |bytes| bytes.truncate(bytes.len() - 1))),
            &["tile/entries/001.p/44: it is cut short within its leaf 43 of 44"],
        ),
        (
            "a byte behind a bundle",
            Box::new(|log| log.change(BUNDLE, |bytes| bytes.push(0))),
            &["tile/entries/000: it has 1 bytes behind its last leaf"],
        ),
        (
            "an empty bundle",
            Box::new(|log| log.put(BUNDLE, Vec::new())),
            &["tile/entries/000: it is cut short within its leaf 0"],
        ),
        (
            "a bundle that is too large",
            Box::new(|log| log.put(BUNDLE, vec![0; 2 << 20])),
            &["tile/entries/000 has more than 1049088 bytes"],
        ),
        ("a bundle missing", Box::new(|log| log.remove(LAST_BUNDLE)), &["tile/entries/001.p/44 is missing"]),
        (
            "a bit of a tile",
            Box::new(|log| log.change(LAST_TILE, |bytes| bytes[3 * 32 + 7] ^= 1)),
            &["tile/0/001.p/44: its hash 3, over leaf 259, is"],
        ),
        (
            "a bit of the tile above",
            Box::new(|log| log.change("tile/1/000.p/1", |bytes| bytes[31] ^= 128)),
            &["tile/1/000.p/1: its hash 0, over leaves 0 to 255, is"],
        ),
        (
            "a tile cut short",
            Box::new(|log| log.change(TILE, |bytes| bytes.truncate(8_191))),
            &["tile/0/000 has 8191 bytes; its hashes have 8192"],
        ),
        ("a tile with more", Box::new(|log| log.change(TILE, |bytes| bytes.push(0))), &["tile/0/000 has more than 8192 bytes"]),
        ("a partial tile missing", Box::new(|log| log.remove(LAST_TILE)), &["tile/0/001.p/44 is missing"]),
        ("the tile above missing", Box::new(|log| log.remove("tile/1/000.p/1")), &["tile/1/000.p/1 is missing"]),
        (
            "a bundle and its tile missing",
            Box::new(|log| {
                log.remove(BUNDLE);
                log.remove(TILE);
            }),
            &["tile/entries/000 is missing", "tile/0/000 is missing"],
        ),
    ];
    for (what, change, want) in rows {
        let log = Log::of(&leaves);
        change(&log);
        expect(what, &log, want);
        let dir = tempfile::tempdir().unwrap();
        log.write(dir.path());
        expect(what, &DirSource::new(dir.path()), want);
    }
}

/// What a gateway may sign that does not keep to the rules: the tree is right, and what is in it is not.
#[test]
fn each_leaf_that_the_rules_exclude_is_named() {
    let good = leaves(20, 64);
    let with = |leaf: Leaf| Log::of(&[good.as_slice(), &[leaf]].concat());
    let twice = match &good[10] {
        Leaf::Settlement(settled) => settled.clone(),
        _ => unreachable!("a settlement"),
    };
    let other_node = SecretKey::from_seed([5; 32]);
    let by_another = sign_receipts(&other_node, vec![receipt(900)]).remove(0).public();
    let dear = Receipt { cost: Microcredits(3), ..receipt(901) };
    let foreign = Receipt { gateway: other_node.public(), ..receipt(902) };
    let mut vast = receipt(903);
    vast.usage.memory_fuel = u128::MAX;
    vast.price.per_gib_compute_minute = 2;
    let of_bytes = |leaf: Vec<u8>| {
        let mut bytes: Vec<Vec<u8>> = good.iter().map(Leaf::to_bytes).collect();
        bytes.push(leaf);
        Log::of_bytes(&bytes)
    };
    let grant_bytes = Leaf::Grant(grant(700, 300)).to_bytes();
    // The amount, 300, in three bytes where two are enough.
    let amount = grant_bytes.windows(2).rposition(|two| two == [0xac, 0x02]).unwrap();
    let padded = [&grant_bytes[..amount], &[0xac, 0x82, 0x00], &grant_bytes[amount + 2..]].concat();
    let secret = SignedReceipt { receipt: receipt(904), ..signed(receipt(904)) };
    let rows: Vec<(&str, Log, &str)> = vec![
        ("a payout of more than there is", with(Leaf::Payout(payout(700, 1 << 40))), "leaf 20: owner "),
        ("a job settled twice", with(Leaf::Settlement(twice)), "leaf 20: job "),
        ("an order carried out twice", with(Leaf::Grant(grant(1, 5))), "leaf 20: order "),
        ("a receipt that another node signed", with(settlement(by_another)), "leaf 20: receipt of job "),
        ("a cost that the price does not make", with(settlement(signed(dear))), "leaf 20: receipt of job "),
        ("a usage that no cost fits", with(settlement(signed(vast))), "leaf 20: receipt of job "),
        ("another gateway's receipt", with(settlement(signed(foreign))), "leaf 20: the receipt of job "),
        (
            "a fee that the terms do not make",
            with(Leaf::Settlement(Box::new(adit_protocol::Settled { fee: Microcredits(1), ..settled(signed(receipt(905))) }))),
            "leaf 20: a fee of 1 microcredits; the terms make it 0",
        ),
        (
            "more paid than was held",
            with(Leaf::Settlement(Box::new(adit_protocol::Settled { held: Microcredits(0), ..settled(signed(receipt(906))) }))),
            "leaf 20: a cost of 2 microcredits, of which 0 were held",
        ),
        (
            "terms of another gateway",
            with(Leaf::Terms(Terms { gateway: other_node.public(), ..terms() })),
            "leaf 20: terms that are none of this gateway's",
        ),
        ("terms over the whole", with(Leaf::Terms(Terms { fee_ppm: 1_000_001, ..terms() })), "leaf 20: terms that are none"),
        ("a leaf that is not canonical", of_bytes(padded), "leaf 20: not a leaf: "),
        ("a leaf of a later version", of_bytes(vec![2, 0]), "leaf 20: a leaf of version 2"),
        ("an empty leaf", of_bytes(Vec::new()), "leaf 20: not a leaf: "),
        ("a leaf that is too large", of_bytes(vec![1; 5_000]), "leaf 20: a leaf of 5000 bytes"),
        ("a receipt that names its input", with(settlement(secret)), "leaf 20: the leaf's receipt is not in its public form"),
    ];
    for (what, log, want) in rows {
        expect(what, &log, &[want]);
    }
}

/// A job whose first attempt was cut short and whose second one lost to the third; what was held, and what the leaves say that it left.
#[test]
fn attempts_that_did_not_end_their_job_are_checked_and_counted() {
    let good = leaves(20, 64);
    let of = |number, outcome| signed(Receipt { attempt: Attempt(number), outcome, ..receipt(910) });
    let cut = || of(1, Outcome::Preempted);
    let lost = || of(2, Outcome::Cancelled);
    let won = || of(3, Outcome::Finished { exit_code: 0 });
    // Each costs 2.
    let ended = |held| Leaf::Settlement(Box::new(adit_protocol::Settled { held: Microcredits(held), ..settled(won()) }));
    let log = |more: &[Leaf]| Log::of(&[good.as_slice(), more].concat());
    let report = check(&log(&[attempt(cut(), 10), attempt(lost(), 8), ended(6)]));
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!((report.leaves.attempts, report.leaves.settlements, report.receipts_verified), (2, 17, 19));
    let before = check(&log(&[]));
    let spent = |report: &Report| report.balances.iter().find(|(of, _)| *of == Account::Customer(client(910))).unwrap().1;
    assert_eq!(spent(&before) - spent(&report), 6);

    let foreign = sign_receipts(&SecretKey::from_seed([5; 32]), vec![cut().receipt]).remove(0);
    let rows: [(&str, Vec<Leaf>, &str); 7] = [
        ("a receipt that another node signed", vec![attempt(foreign, 10)], "leaf 20: receipt of job "),
        ("an attempt paid twice", vec![attempt(cut(), 10), attempt(cut(), 8)], "leaf 21: attempt 1 of job "),
        ("an attempt paid, and by it the job", vec![attempt(won(), 10), ended(8)], "leaf 21: attempt 3 of job "),
        ("an attempt behind the end", vec![ended(10), attempt(cut(), 8)], "leaf 21: job "),
        ("more held than paid attempts left", vec![attempt(cut(), 10), ended(9)], ""),
        ("less held than paid attempts left", vec![attempt(cut(), 10), ended(7)], "leaf 21: 7 microcredits held for job "),
        ("a job ended by what was cut short", vec![settlement(cut())], "leaf 20: job "),
    ];
    for (what, more, want) in rows {
        let want: &[&str] = if want.is_empty() { &[] } else { &[want] };
        expect(what, &log(&more), want);
    }
}

#[test]
fn log_of_another_gateway_or_without_terms_is_no_log_of_this_one() {
    let other = Terms { gateway: client(1), ..terms() };
    let log = Log::of(&[Leaf::Terms(other)]);
    expect("another gateway's terms", &log, &["leaf 0: terms that are none of this gateway's"]);
    expect("no terms", &Log::of(&[Leaf::Grant(grant(1, 5))]), &["leaf 0: the log does not begin with its gateway's terms"]);
}

#[test]
fn checkpoint_is_what_a_log_is_held_to() {
    let log = Log::of(&leaves(300, 64));
    let head = check(&log).head;
    log.sign(&TreeHead { root: [1; 32], ..head });
    expect("another root", &log, &[ROOT]);
    log.sign(&TreeHead { size: 301, ..head });
    expect("a leaf more", &log, &["tile/entries/001.p/45 is missing", "tile/0/001.p/45 is missing"]);
    // Cut from what is there, as a log may do it, the smaller tree has another root.
    log.sign(&TreeHead { size: 256, ..head });
    expect("leaves fewer", &log, &[ROOT]);
    log.sign(&TreeHead { size: 0, ..head });
    expect("no leaves", &log, &[ROOT]);
    log.sign(&TreeHead { size: u64::MAX, ..head });
    let error = fsck(&log, &gateway().public(), |_, _| {}).unwrap_err();
    assert!(matches!(error, FsckError::Size(u64::MAX)), "{error}");
    log.sign(&TreeHead { size: 1 << 48, ..head });
    assert_eq!(faults(&log).len(), FAULTS_MAX);

    log.put("checkpoint", sign_checkpoint(&SecretKey::from_seed([8; 32]), &head));
    assert!(matches!(fsck(&log, &gateway().public(), |_, _| {}), Err(FsckError::Checkpoint(_))));
    log.remove("checkpoint");
    let error = fsck(&log, &gateway().public(), |_, _| {}).unwrap_err();
    assert!(matches!(&error, FsckError::Source(error) if error.is_fault()), "{error}");
}

/// Whatever a server does to whatever file.
#[test]
fn no_byte_can_be_changed_cut_or_added_unseen() {
    let grants = (1..259).map(|n| Leaf::Grant(grant(n, GRANTED)));
    let log = Log::of(&std::iter::once(Leaf::Terms(terms())).chain(grants).chain(leaves(20, 8).split_off(4)).collect::<Vec<_>>());
    assert_eq!(faults(&log), Vec::<String>::new());
    let is_seen = || fsck(&log, &gateway().public(), |_, _| {}).map_or(true, |report| !report.is_sound());
    let mut seed = 1u64;
    for path in log.paths() {
        let good = log.get(&path).unwrap();
        for _ in 0..60 {
            // Knuth's constants; the high bits are the random ones.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (at, how) = ((seed >> 33) as usize % good.len(), (seed >> 30) % 8);
            let mut bad = good.clone();
            match how {
                0 => bad.truncate(at),
                1 => bad.insert(at, !good[at]),
                2 => drop(bad.drain(at..good.len().min(at + 5))),
                how => bad[at] ^= 1 << how,
            }
            log.put(&path, bad);
            assert!(is_seen(), "{path}: {how} at {at}");
        }
        log.remove(&path);
        assert!(is_seen(), "{path} is missing");
        log.put(&path, good);
    }
}

/// A log from which one path cannot be read.
#[derive(Debug)]
struct Failing(Log, &'static str);

impl Source for Failing {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
        if path == self.1 { Err(SourceError::Status { path: path.into(), status: 403 }) } else { self.0.read(path, bytes_max) }
    }
}

/// One fetch that failed made a log that cannot be read of one that was known to be unsound.
#[test]
fn faults_that_were_found_are_told_where_the_rest_cannot_be_read() {
    let mut all = leaves(600, 64);
    if let Leaf::Settlement(settled) = &mut all[100] {
        settled.receipt.receipt.times.run_us += 1;
    }
    let log = Log::of(&all);
    let rows: [(&str, u64, &[&str]); 4] = [
        ("tile/entries/000", 0, &[]),
        // What was read of the same bundle counts too.
        ("tile/0/000", 256, &["leaf 100: receipt of job "]),
        ("tile/entries/001", 256, &["leaf 100: receipt of job "]),
        ("tile/0/002.p/88", 600, &["leaf 100: receipt of job "]),
    ];
    for (path, folded, want) in rows {
        let report = read(&Failing(log.clone(), path));
        assert!(matches!(&report.unread, Some(SourceError::Status { path: of, .. }) if of == path), "{path}: {report:?}");
        assert_eq!((report.is_sound(), report.folded), (false, folded), "{path}");
        let faults: Vec<String> = report.faults.iter().map(Fault::to_string).collect();
        assert!(faults.len() == want.len() && faults.iter().zip(want).all(|(fault, want)| fault.starts_with(want)), "{faults:?}");
    }
    // What is not read to its end is not sound, whatever was read.
    let good = Log::of(&leaves(600, 64));
    let cut = read(&Failing(good.clone(), "tile/entries/001"));
    assert!(cut.faults.is_empty() && !cut.is_sound() && check(&good).is_sound() && !check(&log).is_sound());
    let error = fsck(&Failing(log, "checkpoint"), &gateway().public(), |_, _| {}).unwrap_err();
    assert!(matches!(error, FsckError::Source(SourceError::Status { .. })), "{error}");
}

#[test]
fn many_faults_are_told_up_to_a_bound() {
    let mut all = leaves(300, 64);
    for leaf in all.iter_mut().skip(50) {
        if let Leaf::Settlement(settled) = leaf {
            settled.receipt.receipt.times.run_us += 1;
        }
    }
    let report = check(&Log::of(&all));
    assert_eq!(report.faults.len(), FAULTS_MAX);
    assert!(report.faults[0].to_string().starts_with("leaf 50: receipt of job "), "{}", report.faults[0]);
}

#[test]
fn balances_end_where_a_leaf_cannot_be_read() {
    let log = Log::of(&leaves(600, 64));
    log.remove("tile/entries/001");
    let report = check(&log);
    assert_eq!((report.faults.len(), report.folded), (1, 256));
    assert_eq!(report.leaves.settlements, 600 - 256 - 4);
}

#[test]
fn folder_that_is_not_there_is_no_fault_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let error = fsck(&DirSource::new(dir.path().join("nowhere")), &gateway().public(), |_, _| {}).unwrap_err();
    assert!(matches!(&error, FsckError::Source(error) if !error.is_fault()), "{error}");
    // A file where a folder must be is a resource that is missing.
    let log = Log::of(&leaves(5, 64));
    log.write(dir.path());
    fs::remove_dir_all(dir.path().join("tile")).unwrap();
    fs::write(dir.path().join("tile"), b"").unwrap();
    assert_eq!(faults(&DirSource::new(dir.path())).len(), 2);
}

/// A measurement: how many settlements a second are checked in whole, and how many receipts by a loop over each one's signature.
#[test]
#[ignore = "takes a minute and asserts nothing that a busy machine keeps; run it optimised"]
fn rate_of_batches_against_a_loop_of_single_checks() {
    const SIZE: u64 = 70_000;
    let dir = tempfile::tempdir().unwrap();
    Log::of(&leaves(SIZE, 64)).write(dir.path());
    let started = Instant::now();
    let report = check(&DirSource::new(dir.path()));
    let whole = SIZE as f64 / started.elapsed().as_secs_f64();
    assert_eq!((report.faults.len(), report.receipts_verified), (0, SIZE - 4));
    let single: Vec<SignedReceipt> = (0..5_000).map(|n| signed(receipt(n))).collect();
    let started = Instant::now();
    for receipt in &single {
        receipt.clone().verify().unwrap();
    }
    let loops = single.len() as f64 / started.elapsed().as_secs_f64();
    println!("fsck: {whole:.0} leaves/s; single checks: {loops:.0}/s; {:.1} times", whole / loops);
}

/// The report had it in hex and the fault in base64, so that neither was found where the other was looked for.
#[test]
fn root_that_differs_is_shown_as_the_report_shows_it() {
    let log = Log::of(&leaves(20, 64));
    log.sign(&TreeHead { size: 20, root: [0xab; 32] });
    let report = fsck(&log, &gateway().public(), |_, _| {}).unwrap();
    let [fault @ Fault::Root { computed, .. }] = report.faults.as_slice() else { panic!("{:?}", report.faults) };
    let due = format!("the leaves make the root {}; the checkpoint has {}", hex::encode(computed), "ab".repeat(32));
    assert_eq!(fault.to_string(), due);
}
