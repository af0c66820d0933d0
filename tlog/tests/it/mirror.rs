//! Copies of logs: of honest ones, of some that lie, and onto what an earlier copy left.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adit_ledger::TreeHead;
use adit_protocol::SecretKey;
use adit_tlog::{ExportError, Exported, MirrorRules, Source, SourceError, TilePath, export, sign_checkpoint};

use crate::fixture::{Log, gateway, grant, leaves};

/// What a copy may have, where the bound is not what is tested.
const BYTES_MAX: u64 = 1 << 30;

fn rules() -> MirrorRules {
    MirrorRules { gateway: Some(gateway().public()), bytes_max: BYTES_MAX }
}

fn copy(source: &dyn Source, dir: &Path) -> Result<Exported, ExportError> {
    export(source, dir, &rules(), |_, _| {})
}

/// All files below a folder, with their bytes, in the order of their names.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push((entry.clone(), fs::read(&entry).unwrap())) }
    }
    found.sort();
    found
}

/// A log of so many small leaves, whose history is another from leaf `other` on.
fn forked(size: u64, other: u64) -> Log {
    let leaf = |n| adit_protocol::Leaf::Grant(grant(n, 1 + u64::from(n >= other))).to_bytes();
    Log::of_bytes(&(0..size).map(leaf).collect::<Vec<_>>())
}

fn log_of(size: u64) -> Log {
    forked(size, size)
}

/// A log of two levels of full tiles, of small leaves.
fn two_levels() -> Log {
    log_of(66_000)
}

#[test]
fn copy_is_the_log_byte_for_byte() {
    let (dir, log) = (tempfile::tempdir().unwrap(), two_levels());
    let copied = copy(&log, dir.path()).unwrap();
    for path in log.paths() {
        assert_eq!(fs::read(dir.path().join(&path)).ok(), log.get(&path), "{path}");
    }
    assert_eq!(copied.fetched as usize, log.paths().len() - 1);
    let again = copy(&log, dir.path()).unwrap();
    // All but the last tile of each of three levels.
    assert_eq!((again.fetched, again.kept), (3, copied.fetched - 3));
}

/// A mirror took whatever it was sent, and kept a tile for good that had as many bytes as it must.
#[test]
fn nothing_is_kept_that_the_root_does_not_make() {
    let rows =
        [("tile/0/000", false), ("tile/0/001", false), ("tile/1/000", false), ("tile/entries/001", false)].into_iter().chain([
            ("tile/0/257.p/208", true),
            ("tile/1/001.p/1", true),
            ("tile/2/000.p/1", true),
            ("tile/entries/257.p/208", false),
        ]);
    let log = two_levels();
    for (path, is_edge) in rows {
        let (dir, good) = (tempfile::tempdir().unwrap(), log.get(path).unwrap());
        log.change(path, |bytes| *bytes.last_mut().unwrap() ^= 1);
        let error = copy(&log, dir.path()).unwrap_err();
        let is_named = matches!(&error, ExportError::Mismatch { path: of } if of == path);
        assert!(error.is_fault() && (is_named || is_edge && matches!(error, ExportError::Root)), "{path}: {error}");
        assert!(!dir.path().join(path).exists() && !dir.path().join("checkpoint").exists(), "{path}");
        // The server is mended; what was left by a mirror that checked nothing is too.
        let bad = log.get(path).unwrap();
        log.put(path, good.clone());
        let file = dir.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &bad).unwrap();
        copy(&log, dir.path()).unwrap();
        assert_eq!(fs::read(&file).unwrap(), good, "{path}");
        assert!(
            files(dir.path()).iter().all(|(file, bytes)| {
                log.get(file.strip_prefix(dir.path()).unwrap().to_str().unwrap()).as_ref() == Some(bytes)
            })
        );
    }
}

/// Neither can be trusted any more, and only one of them can be served.
#[test]
fn what_is_there_goes_where_the_server_has_nothing_better() {
    let (dir, log) = (tempfile::tempdir().unwrap(), log_of(600));
    copy(&log, dir.path()).unwrap();
    for path in ["tile/0/001", "tile/entries/001", "tile/entries/002.p/88"] {
        let (file, good) = (dir.path().join(path), log.get(path).unwrap());
        for is_signed in [false, true] {
            fs::write(&file, vec![7; 8_192]).unwrap();
            log.change(path, |bytes| *bytes.last_mut().unwrap() ^= 1);
            let gateway = is_signed.then(|| gateway().public());
            let error = export(&log, dir.path(), &MirrorRules { gateway, ..rules() }, |_, _| {}).unwrap_err();
            assert!(matches!(&error, ExportError::Mismatch { path: of } if of == path), "{error}");
            assert_eq!(file.exists(), !is_signed, "{path}");
            log.put(path, good.clone());
        }
        copy(&log, dir.path()).unwrap();
        assert_eq!(fs::read(&file).unwrap(), good, "{path}");
    }
}

/// A last bundle that was right was never looked at, and went when the server's was wrong.
#[test]
fn what_is_there_and_right_stays_whatever_the_server_has() {
    let (dir, log) = (tempfile::tempdir().unwrap(), log_of(600));
    copy(&log, dir.path()).unwrap();
    let before = files(dir.path());
    for path in ["tile/0/001", "tile/entries/001", "tile/entries/002.p/88"] {
        let good = log.get(path).unwrap();
        log.change(path, |bytes| *bytes.last_mut().unwrap() ^= 1);
        for gateway in [None, Some(gateway().public())] {
            export(&log, dir.path(), &MirrorRules { gateway, ..rules() }, |_, _| {}).unwrap();
            assert_eq!(files(dir.path()), before, "{path}");
        }
        log.put(path, good);
    }
}

/// A gateway that was set back to a backup, and went on, had the history in its mirrors overwritten.
#[test]
fn copy_is_only_ever_continued() {
    for (copied, size) in [(1, 1), (1, 700), (255, 256), (256, 257), (300, 700), (600, 600), (600, 65_700), (65_600, 65_800)] {
        let dir = tempfile::tempdir().unwrap();
        copy(&log_of(copied), dir.path()).unwrap();
        let before = files(dir.path());
        for other in [0, copied / 2, copied - 1] {
            let error = copy(&forked(size, other), dir.path()).unwrap_err();
            let is_told = matches!(error, ExportError::Rewritten { copied: of, size: now } if (of, now) == (copied, size));
            assert!(is_told && error.is_fault(), "{copied} to {size}: {error}");
            let text = format!("the log's {size} leaves do not begin with the {copied} that the copy has");
            assert!(error.to_string().starts_with(&text), "{error}");
            assert!(files(dir.path()) == before, "{copied} to {size}");
        }
        for (smaller, other) in [(0, 0), (copied / 2, copied), (copied - 1, 0)] {
            let error = copy(&forked(smaller, other), dir.path()).unwrap_err();
            let is_told = matches!(error, ExportError::WentBack { copied: of, size: now } if (of, now) == (copied, smaller));
            assert!(is_told && error.is_fault(), "{copied} to {smaller}: {error}");
            assert!(files(dir.path()) == before, "{copied} to {smaller}");
        }
        // What belongs to no other history is continued, also where this one has been copied already.
        for other in [size, copied] {
            let again = tempfile::tempdir().unwrap();
            copy(&log_of(copied), again.path()).unwrap();
            let log = forked(size, other);
            copy(&log, again.path()).unwrap();
            assert!(log.paths().iter().all(|path| fs::read(again.path().join(path)).ok() == log.get(path)), "{copied} to {size}");
        }
    }
}

/// As long as it is not known whose history is in the copy, nothing of it goes; what another gateway signed holds nobody to anything.
#[test]
fn copy_is_held_to_the_gateways_own_checkpoint() {
    let (dir, path) = (tempfile::tempdir().unwrap(), "tile/0/001");
    copy(&log_of(300), dir.path()).unwrap();
    // As a copy that was broken off leaves it.
    fs::write(dir.path().join(path), vec![7; 8_192]).unwrap();
    let before = files(dir.path());
    let fork = forked(700, 290);
    let good = fork.get(path).unwrap();
    fork.change(path, |bytes| bytes[0] ^= 1);
    assert!(matches!(copy(&fork, dir.path()), Err(ExportError::Mismatch { path: of }) if of == path));
    assert!(files(dir.path()) == before);
    fork.put(path, good);
    let others = sign_checkpoint(&SecretKey::from_seed([8; 32]), &TreeHead { size: 800, root: [1; 32] });
    for checkpoint in [others, b"none".to_vec()] {
        fs::write(dir.path().join("checkpoint"), checkpoint).unwrap();
        copy(&fork, dir.path()).unwrap();
    }
    assert_eq!(fs::read(dir.path().join(path)).ok(), fork.get(path));
    // A checkpoint that cannot be read may be anything.
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    fs::create_dir(dir.path().join("checkpoint")).unwrap();
    assert!(matches!(copy(&fork, dir.path()), Err(ExportError::Source(SourceError::Io { .. }))));
}

/// Its root may be anybody's.
#[test]
fn log_that_nobody_vouches_for_replaces_nothing_that_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    copy(&log_of(600), dir.path()).unwrap();
    let before = files(dir.path());
    let unsigned = |log: &Log| export(log, dir.path(), &MirrorRules { gateway: None, ..rules() }, |_, _| {});
    for (size, other) in [(600, 100), (700, 100), (1_000, 300), (65_700, 511), (600, 599), (512, 511)] {
        let error = unsigned(&forked(size, other)).unwrap_err();
        assert!(matches!(error, ExportError::Differs { .. }) && !error.is_fault(), "{size} from {other}: {error}");
        assert!(before.iter().all(|(file, bytes)| fs::read(file).unwrap() == *bytes), "{size} from {other}");
    }
    for path in ["tile/0/001", "tile/entries/001", "tile/entries/002.p/88"] {
        let file = dir.path().join(path);
        let good = fs::read(&file).unwrap();
        fs::write(&file, &good[..good.len() - 1]).unwrap();
        unsigned(&log_of(600)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), good, "{path}");
    }
}

#[test]
fn checkpoint_that_the_gateway_did_not_sign_is_not_mirrored() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&leaves(300, 64)));
    let good = log.checkpoint().unwrap();
    let other = SecretKey::from_seed([8; 32]);
    let checkpoints = [
        sign_checkpoint(&other, &TreeHead { size: 300, root: [1; 32] }),
        String::from_utf8(good.clone()).unwrap().replace("\n300\n", "\n299\n").into_bytes(),
        b"none".to_vec(),
    ];
    for checkpoint in checkpoints {
        log.put("checkpoint", checkpoint);
        let error = copy(&log, dir.path()).unwrap_err();
        assert!(matches!(error, ExportError::Checkpoint(_)), "{error}");
    }
    // Signed, and of another tree.
    log.sign(&TreeHead { size: 300, root: [1; 32] });
    assert!(matches!(copy(&log, dir.path()), Err(ExportError::Root)));
    assert!(files(dir.path()).is_empty());
    // Whoever gives no key gets what belongs together, by whomever it is signed.
    let root = adit_tlog::verify_checkpoint(&good, &gateway().public()).unwrap().root;
    log.put("checkpoint", sign_checkpoint(&other, &TreeHead { size: 300, root }));
    export(&log, dir.path(), &MirrorRules { gateway: None, ..rules() }, |_, _| {}).unwrap();
}

/// A log without an end: each tile and bundle is made up when it is asked for.
#[derive(Debug, Clone)]
struct Endless {
    size: u64,
    served: Arc<AtomicU64>,
}

impl Source for Endless {
    fn read(&self, path: &str, _: usize) -> Result<Option<Vec<u8>>, SourceError> {
        if path == "checkpoint" {
            return Ok(Some(sign_checkpoint(&SecretKey::from_seed([1; 32]), &TreeHead { size: self.size, root: [3; 32] })));
        }
        let bytes = match TilePath::from_path(path).unwrap() {
            TilePath::Hashes { width, .. } => vec![7; 32 * usize::from(width)],
            TilePath::Entries { width, .. } => vec![0; 2 * usize::from(width)],
        };
        self.served.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(Some(bytes))
    }
}

/// Its checkpoint is signed by nobody that matters, and said as many leaves as it liked.
#[test]
fn disk_is_not_filled_by_a_log_that_never_ends() {
    let dir = tempfile::tempdir().unwrap();
    let sizes =
        [(1 << 48, BYTES_MAX), ((1 << 48) - 1, u64::MAX), ((1 << 48) + 1, u64::MAX), (1 << 20, u64::MAX), (40_000, BYTES_MAX)];
    for (size, bytes_max) in sizes {
        let log = Endless { size, served: Arc::default() };
        let error = export(&log, dir.path(), &MirrorRules { gateway: None, bytes_max }, |_, _| {}).unwrap_err();
        assert!(
            matches!(
                error,
                ExportError::TooLarge { .. } | ExportError::Root | ExportError::Size(_) | ExportError::Mismatch { .. }
            ),
            "{error}"
        );
        assert!(log.served.load(Ordering::Relaxed) < 1 << 16 && files(dir.path()).is_empty(), "{size}: {error}");
    }
}

#[test]
fn copy_ends_at_the_bytes_that_it_may_have() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&leaves(600, 64)));
    let all: u64 = log.paths().iter().filter(|path| *path != "checkpoint").map(|path| log.get(path).unwrap().len() as u64).sum();
    for bytes_max in [0, 1, all / 2, all - 1] {
        let error = export(&log, dir.path(), &MirrorRules { bytes_max, ..rules() }, |_, _| {}).unwrap_err();
        assert!(matches!(error, ExportError::TooLarge { size: 600, .. }) && !error.is_fault(), "{error}");
        assert!(files(dir.path()).iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() <= bytes_max);
    }
    for _ in 0..2 {
        // What is there already counts, and once.
        export(&log, dir.path(), &MirrorRules { bytes_max: all, ..rules() }, |_, _| {}).unwrap();
    }
}

/// What was there was counted only when it was reached, after what comes before it was written.
#[test]
fn what_is_there_counts_before_anything_is_written() {
    let log = Log::of(&leaves(600, 64));
    let all: u64 = log.paths().iter().filter(|path| *path != "checkpoint").map(|path| log.get(path).unwrap().len() as u64).sum();
    for missing in ["tile/entries/000", "tile/0/000", "tile/entries/002.p/88"] {
        let dir = tempfile::tempdir().unwrap();
        copy(&log, dir.path()).unwrap();
        for gone in [missing, "checkpoint"] {
            fs::remove_file(dir.path().join(gone)).unwrap();
        }
        let before = files(dir.path());
        let bytes = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        for bytes_max in [bytes(&before) - 1, bytes(&before), all - 1] {
            let error = export(&log, dir.path(), &MirrorRules { bytes_max, ..rules() }, |_, _| {}).unwrap_err();
            assert!(matches!(error, ExportError::TooLarge { size: 600, .. }), "{missing}, {bytes_max}: {error}");
            assert!(files(dir.path()) == before, "{missing}, {bytes_max}");
        }
        // What is wrong there is replaced, and not counted twice.
        let (wrong, good) = (dir.path().join("tile/entries/001"), log.get("tile/entries/001").unwrap());
        fs::write(&wrong, &good[1..]).unwrap();
        export(&log, dir.path(), &MirrorRules { bytes_max: all, ..rules() }, |_, _| {}).unwrap();
        assert_eq!(fs::read(&wrong).unwrap(), good, "{missing}");
    }
}

/// A file that a power cut left empty or cut short was taken for a whole bundle as soon as it had one byte, and a mirror served it for good.
#[test]
fn mirror_fetches_a_full_bundle_again_that_is_not_whole() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&leaves(600, 64)));
    let first = copy(&log, dir.path()).unwrap();
    let file = dir.path().join("tile/entries/001");
    let good = fs::read(&file).unwrap();
    for bad in [Vec::new(), vec![0; good.len()], good[..good.len() - 1].to_vec(), [good.as_slice(), &[0]].concat()] {
        fs::write(&file, &bad).unwrap();
        let again = copy(&log, dir.path()).unwrap();
        assert_eq!(fs::read(&file).unwrap(), good);
        // Three bundles and two full tiles are there; one of them is not whole.
        assert_eq!((again.kept, again.kept + again.fetched), (4, first.fetched));
    }
}

#[test]
fn mirror_takes_no_bundle_that_is_not_whole() {
    for path in ["tile/entries/001", "tile/entries/002.p/88"] {
        let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&leaves(600, 64)));
        log.change(path, |bytes| bytes.truncate(bytes.len() - 1));
        let error = copy(&log, dir.path()).unwrap_err();
        assert!(matches!(&error, ExportError::Bundle { path: of, .. } if of == path) && error.is_fault(), "{error}");
        assert!(!dir.path().join(path).exists() && !dir.path().join("checkpoint").exists());
    }
}
