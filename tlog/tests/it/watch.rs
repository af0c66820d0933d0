use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use adit_ledger::TreeHead;
use adit_protocol::{Leaf, SecretKey};
use adit_tlog::{
    CheckpointError, LogEvidence, LogEvidenceError, Misbehaviour, Seen, Source, SourceError, Watch, WatchError, sign_checkpoint,
    verify_checkpoint,
};
use tlog_tiles::{Hash, record_hash};

use crate::fixture::{Log, gateway, grant, leaves, tree_hash};

fn bytes(leaves: &[Leaf]) -> Vec<Vec<u8>> {
    leaves.iter().map(Leaf::to_bytes).collect()
}

fn head(leaves: &[Leaf]) -> TreeHead {
    let hashes: Vec<_> = leaves.iter().map(|leaf| record_hash(&leaf.to_bytes())).collect();
    TreeHead { size: leaves.len() as u64, root: tree_hash(&hashes).0 }
}

fn open(log: &Log, dir: &Path) -> Watch {
    Watch::open(Box::new(log.clone()), gateway().public(), dir.join("state/checkpoint")).unwrap()
}

/// The leaves with another at one place.
fn rewritten(leaves: &[Leaf], at: usize) -> Vec<Leaf> {
    let mut leaves = leaves.to_vec();
    leaves[at] = Leaf::Grant(grant(77, 77));
    leaves
}

fn evidence_in(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("state")).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some()).collect()
}

/// A log whose server has its checkpoint alone.
#[derive(Debug)]
struct Withheld(Log);

impl Source for Withheld {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
        if path == "checkpoint" {
            self.0.read(path, bytes_max)
        } else {
            Err(SourceError::Status { path: path.into(), status: 500 })
        }
    }
}

fn open_withheld(log: &Log, dir: &Path) -> Watch {
    Watch::open(Box::new(Withheld(log.clone())), gateway().public(), dir.join("state/checkpoint")).unwrap()
}

/// A look that shows misbehaviour: what it was, and the file that proves it.
#[track_caller]
fn caught(watch: &mut Watch) -> (Misbehaviour, PathBuf) {
    match watch.poll().unwrap() {
        Seen::Misbehaved { misbehaviour, evidence } => (misbehaviour, evidence.unwrap()),
        other => panic!("not caught: {other:?}"),
    }
}

/// Where a checkpoint is kept that nothing could be made of.
fn unproven(dir: &Path, head: &TreeHead) -> PathBuf {
    dir.join(format!("state/unproven-{}-{}.checkpoint", head.size, hex::encode(&head.root[..16])))
}

/// Signs a tree, and adds a line that is no signature.
fn sign_with_junk(log: &Log, head: &TreeHead, junk: u8) {
    log.sign(head);
    log.change("checkpoint", |note| note.extend(format!("\u{2014} junk {}\n", Hash([junk; 32])).bytes()));
}

#[test]
fn log_that_grows_is_followed_and_remembered() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::default());
    let all = leaves(1_100, 64);
    let mut before: Option<TreeHead> = None;
    for size in [0, 1, 2, 3, 4, 7, 8, 100, 255, 256, 257, 300, 511, 512, 513, 1_024, 1_100] {
        log.grow(&bytes(&all[..size]));
        // Each time anew, from the file.
        let mut watch = open(&log, dir.path());
        assert_eq!(watch.head(), before);
        let head = head(&all[..size]);
        let want = before.map_or(Seen::First(head), |from| Seen::Grown { from, to: head });
        assert_eq!(watch.poll().unwrap(), want, "{size}");
        assert_eq!(watch.poll().unwrap(), Seen::Same(head), "{size}");
        before = Some(head);
    }
    assert_eq!(evidence_in(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn split_view_is_caught_and_its_evidence_holds_offline() {
    let all = leaves(300, 64);
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&all));
    let mut watch = open(&log, dir.path());
    watch.poll().unwrap();
    // Somebody else is shown another log of the same size.
    let other = rewritten(&all, 17);
    log.grow(&bytes(&other));
    let (misbehaviour, evidence) = caught(&mut watch);
    assert_eq!(misbehaviour, Misbehaviour::Forked { size: 300, roots: [head(&all).root, head(&other).root] });
    let kept = LogEvidence::from_bytes(&fs::read(&evidence).unwrap()).unwrap();
    assert_eq!((kept.gateway, kept.check().unwrap()), (gateway().public(), misbehaviour));
    // What was accepted stays, and the same again is no second file.
    assert_eq!(watch.head(), Some(head(&all)));
    assert!(matches!(watch.poll().unwrap(), Seen::Misbehaved { .. }));
    assert_eq!(evidence_in(dir.path()), [evidence]);
}

#[test]
fn rewritten_log_is_caught_wherever_the_change_is() {
    let all = leaves(700, 64);
    for (old, new, at) in
        [(1, 2, 0), (3, 700, 2), (256, 257, 255), (300, 700, 0), (300, 700, 299), (512, 700, 300), (600, 601, 599)]
    {
        let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&all[..old]));
        open(&log, dir.path()).poll().unwrap();
        let other = rewritten(&all[..new], at);
        log.grow(&bytes(&other));
        let (misbehaviour, evidence) = caught(&mut open(&log, dir.path()));
        let (smaller, larger, beginning) = (head(&all[..old]), head(&other), head(&other[..old]).root);
        assert_eq!(misbehaviour, Misbehaviour::Rewritten { smaller, beginning, larger });
        assert_eq!(LogEvidence::from_bytes(&fs::read(evidence).unwrap()).unwrap().check().unwrap(), misbehaviour);
    }
}

#[test]
fn tampered_evidence_shows_nothing() {
    let all = leaves(300, 64);
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&all[..200]));
    let mut watch = open(&log, dir.path());
    watch.poll().unwrap();
    log.grow(&bytes(&rewritten(&all, 17)));
    let file = fs::read(caught(&mut watch).1).unwrap();
    let good = LogEvidence::from_bytes(&file).unwrap();
    assert_eq!(good.to_bytes(), file);

    for at in 0..good.hashes.len() {
        let mut bad = good.clone();
        bad.hashes[at][0] ^= 1;
        assert!(matches!(bad.check(), Err(LogEvidenceError::Hashes)), "hash {at}");
        bad.hashes.remove(at);
        assert!(bad.check().is_err(), "without hash {at}");
    }
    let more = LogEvidence { hashes: [good.hashes.clone(), vec![[0; 32]]].concat(), ..good.clone() };
    assert!(matches!(more.check(), Err(LogEvidenceError::Hashes)));
    let none = LogEvidence { hashes: Vec::new(), ..good.clone() };
    assert!(matches!(none.check(), Err(LogEvidenceError::Agrees { smaller: 200, larger: 300 })));
    // Hashes that show that the log grew as it must.
    let honest = LogEvidence { larger: good.smaller.clone(), ..good.clone() };
    assert!(matches!(honest.check(), Err(LogEvidenceError::Agrees { .. })));
    let turned = LogEvidence { smaller: good.larger.clone(), larger: good.smaller.clone(), ..good.clone() };
    assert!(turned.check().is_err());
    // Nobody but the gateway can have signed either.
    let forged = sign_checkpoint(&SecretKey::from_seed([8; 32]), &head(&all));
    for bad in [LogEvidence { smaller: forged.clone(), ..good.clone() }, LogEvidence { larger: forged, ..good.clone() }] {
        assert!(matches!(bad.check(), Err(LogEvidenceError::Checkpoint(CheckpointError::Note(_)))));
    }
    let other = LogEvidence { gateway: SecretKey::from_seed([8; 32]).public(), ..good.clone() };
    assert!(matches!(other.check(), Err(LogEvidenceError::Checkpoint(_))));
    // No byte of the file can be changed to show anything else.
    let shown = good.check().unwrap();
    for at in 0..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1;
        let verdict = LogEvidence::from_bytes(&bad).and_then(|evidence| evidence.check());
        assert!(verdict.is_err() || verdict.is_ok_and(|still| still == shown), "byte {at}");
    }
    for cut in 0..file.len() - 1 {
        assert!(LogEvidence::from_bytes(&file[..cut]).is_err(), "{cut} bytes");
    }
}

#[test]
fn honest_growth_is_no_evidence() {
    let all = leaves(300, 64);
    let smaller = Log::of(&all[..200]).checkpoint().unwrap();
    let log = Log::of(&all);
    let mut evidence =
        LogEvidence { gateway: gateway().public(), smaller, larger: log.checkpoint().unwrap(), hashes: Vec::new() };
    // The first of a rewritten log's hashes are of the other tree; an honest log's lead to what was signed.
    let hashes: Vec<_> = all.iter().map(|leaf| record_hash(&leaf.to_bytes())).collect();
    let parts = [0..128, 128..192, 192..200, 200..208, 208..224, 224..256, 256..288, 288..296, 296..300];
    evidence.hashes = parts.into_iter().map(|part| tree_hash(&hashes[part]).0).collect();
    assert!(matches!(evidence.check(), Err(LogEvidenceError::Agrees { smaller: 200, larger: 300 })), "{:?}", evidence.check());
}

#[test]
fn log_that_goes_back_is_told_and_only_proved_where_it_can_be() {
    let all = leaves(300, 64);
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&all));
    let mut watch = open(&log, dir.path());
    watch.poll().unwrap();
    // An old answer.
    log.sign(&head(&all[..200]));
    let seen = watch.poll().unwrap();
    let Seen::WentBack { from, to, record } = &seen else { panic!("{seen:?}") };
    assert_eq!((*from, *to, watch.head()), (head(&all), head(&all[..200]), Some(head(&all))));
    let kept = LogEvidence::from_bytes(&fs::read(record).unwrap()).unwrap();
    assert!(matches!(kept.check(), Err(LogEvidenceError::Agrees { smaller: 200, larger: 300 })));
    assert_eq!(watch.poll().unwrap(), seen);
    assert_eq!(evidence_in(dir.path()).len(), 1);
    // A smaller tree that the larger one does not begin with.
    let other = head(&rewritten(&all[..200], 5));
    log.sign(&other);
    let (misbehaviour, evidence) = caught(&mut watch);
    let beginning = head(&all[..200]).root;
    assert_eq!(misbehaviour, Misbehaviour::Rewritten { smaller: other, beginning, larger: head(&all) });
    assert_eq!(LogEvidence::from_bytes(&fs::read(evidence).unwrap()).unwrap().check().unwrap(), misbehaviour);
    // Without the larger tree's tiles it is not proved, and is caught when the log grows again.
    let set_back = Log::of(&rewritten(&all[..200], 5));
    let mut watch = open(&set_back, dir.path());
    assert!(matches!(watch.poll().unwrap(), Seen::WentBack { .. }));
    set_back.grow(&bytes(&rewritten(&leaves(400, 64), 5)));
    assert!(matches!(watch.poll().unwrap(), Seen::Misbehaved { .. }));
}

#[test]
fn tiles_that_nobody_signed_are_no_evidence() {
    let all = leaves(300, 64);
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&all[..200]));
    let mut watch = open(&log, dir.path());
    watch.poll().unwrap();
    log.grow(&bytes(&all));
    for path in ["tile/0/000", "tile/0/001.p/44"] {
        let good = log.get(path).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            log.change(path, |bytes| bytes[at] ^= 1);
            match watch.poll() {
                Err(error @ WatchError::Tiles(300)) => assert!(error.is_fault()),
                other => panic!("{path}: {other:?}"),
            }
            log.put(path, good.clone());
        }
        if path == "tile/0/000" {
            log.change(path, |bytes| bytes.truncate(100));
            assert!(matches!(watch.poll(), Err(WatchError::Source(error)) if error.is_fault()));
            log.put(path, good);
        }
    }
    log.put("checkpoint", sign_checkpoint(&SecretKey::from_seed([8; 32]), &head(&all)));
    assert!(matches!(watch.poll(), Err(WatchError::Checkpoint(_))));
    // What the gateway did sign is kept, once.
    assert_eq!((watch.head(), evidence_in(dir.path())), (Some(head(&all[..200])), vec![unproven(dir.path(), &head(&all))]));
}

#[test]
fn files_that_are_in_the_way_are_left_alone() {
    let all = leaves(10, 64);
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&all));
    let mut watch = open(&log, dir.path());
    watch.poll().unwrap();
    log.grow(&bytes(&rewritten(&all, 5)));
    watch.poll().unwrap();
    let [evidence] = evidence_in(dir.path()).try_into().unwrap();
    fs::write(&evidence, b"something else").unwrap();
    let Seen::Misbehaved { evidence: Err(unkept), .. } = watch.poll().unwrap() else { panic!("not caught") };
    assert!(unkept.to_string().contains(evidence.to_str().unwrap()), "{unkept}");
    assert_eq!(fs::read(&evidence).unwrap(), b"something else");

    let state = dir.path().join("state/checkpoint");
    fs::write(&state, b"no checkpoint").unwrap();
    let error = Watch::open(Box::new(log), gateway().public(), &state).unwrap_err();
    assert!(matches!(error, WatchError::State { .. }), "{error}");
}

/// A full disk made of a gateway that was caught a file that cannot be written, and the proof was gone.
#[test]
fn misbehaviour_is_told_with_its_proof_where_that_cannot_be_written() {
    let all = leaves(300, 64);
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&all[..200]));
    let mut watch = open(&log, dir.path());
    watch.poll().unwrap();
    log.grow(&bytes(&rewritten(&all, 17)));
    // Nothing can be written below what is no folder, whoever tries.
    let (state, away) = (dir.path().join("state"), dir.path().join("away"));
    fs::rename(&state, &away).unwrap();
    fs::write(&state, b"").unwrap();
    let Seen::Misbehaved { misbehaviour, evidence: Err(unkept) } = watch.poll().unwrap() else { panic!("not caught") };
    assert_eq!(unkept.evidence.check().unwrap(), misbehaviour);
    assert!(unkept.to_string().contains("state/evidence-"), "{unkept}");
    // Once there is room, it is kept.
    fs::remove_file(&state).unwrap();
    fs::rename(&away, &state).unwrap();
    let (again, evidence) = caught(&mut watch);
    assert_eq!((again, fs::read(evidence).unwrap()), (misbehaviour, unkept.evidence.to_bytes()));
}

/// A gateway that shows another tree, and no tiles of it, was told of and forgotten: nothing was left to hold it to.
#[test]
fn checkpoint_whose_tiles_are_withheld_is_kept_for_a_later_proof() {
    let all = leaves(300, 64);
    let other = head(&rewritten(&all, 17));
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&all[..200]));
    // The very first, too.
    open_withheld(&log, dir.path()).poll().unwrap_err();
    assert_eq!(evidence_in(dir.path()), [unproven(dir.path(), &head(&all[..200]))]);
    open(&log, dir.path()).poll().unwrap();
    // Whether they are missing or the server fails; and lines that anybody can add make no other file.
    for junk in 0..4 {
        sign_with_junk(&log, &other, junk);
        assert!(matches!(open(&log, dir.path()).poll(), Err(WatchError::Source(SourceError::Missing { .. }))));
        assert!(matches!(open_withheld(&log, dir.path()).poll(), Err(WatchError::Source(SourceError::Status { .. }))));
    }
    assert_eq!(evidence_in(dir.path()).len(), 2);
    let kept = fs::read(unproven(dir.path(), &other)).unwrap();
    assert_eq!(kept, sign_checkpoint(&gateway(), &other));
    // With what others were shown it is a proof.
    log.grow(&bytes(&all));
    let larger = log.checkpoint().unwrap();
    let evidence = LogEvidence { gateway: gateway().public(), smaller: kept, larger, hashes: Vec::new() };
    assert!(matches!(evidence.check().unwrap(), Misbehaviour::Forked { size: 300, .. }));
    // A tree that no log has is signed all the same.
    let endless = TreeHead { size: u64::MAX, root: [7; 32] };
    log.sign(&endless);
    assert!(matches!(open(&log, dir.path()).poll(), Err(WatchError::Size(u64::MAX))));
    assert_eq!(verify_checkpoint(&fs::read(unproven(dir.path(), &endless)).unwrap(), &gateway().public()).unwrap(), endless);
    // Another file of that name is left alone, and said.
    fs::write(unproven(dir.path(), &endless), b"something else").unwrap();
    assert!(matches!(open(&log, dir.path()).poll(), Err(WatchError::Io { path, .. }) if path == unproven(dir.path(), &endless)));
}

/// A server whose tiles could not be had was only told of as one that fails, and that it went back was lost.
#[test]
fn log_that_goes_back_is_recorded_without_its_tiles() {
    let all = leaves(300, 64);
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&all));
    sign_with_junk(&log, &head(&all), 99);
    open(&log, dir.path()).poll().unwrap();
    let mut records = Vec::new();
    for junk in 0..4 {
        sign_with_junk(&log, &head(&all[..200]), junk);
        let Seen::WentBack { record, .. } = open_withheld(&log, dir.path()).poll().unwrap() else { panic!("not told") };
        records.push(record);
    }
    records.dedup();
    assert_eq!(evidence_in(dir.path()), records);
    let kept = LogEvidence::from_bytes(&fs::read(&records[0]).unwrap()).unwrap();
    let signed = |head| sign_checkpoint(&gateway(), &head);
    assert_eq!((kept.smaller, kept.larger), (signed(head(&all[..200])), signed(head(&all))));
}

#[test]
fn files_that_prove_nothing_are_bounded() {
    let all = leaves(300, 64);
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&all));
    open(&log, dir.path()).poll().unwrap();
    let mine = dir.path().join("state/my.checkpoint");
    fs::write(&mine, b"mine").unwrap();
    let old = |path: &Path| fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    old(&mine);
    let mut first = Vec::new();
    for n in 0..70 {
        log.sign(&TreeHead { size: 400 + n, root: [7; 32] });
        open_withheld(&log, dir.path()).poll().unwrap_err();
        log.sign(&TreeHead { size: 100 + n, root: [7; 32] });
        let Seen::WentBack { record, .. } = open_withheld(&log, dir.path()).poll().unwrap() else { panic!("not told") };
        if n < 6 {
            first.extend([unproven(dir.path(), &TreeHead { size: 400 + n, root: [7; 32] }), record]);
            first.iter().for_each(|path| old(path));
        }
    }
    let files = evidence_in(dir.path());
    let count = |kind: &str| files.iter().filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(kind)).count();
    assert_eq!((count("unproven-"), count("went-back-"), files.len()), (64, 64, 129));
    assert!(first.iter().all(|path| !path.exists()) && mine.exists());
    assert_eq!(open(&log, dir.path()).head(), Some(head(&all)));
}
