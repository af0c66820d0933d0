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

/// All files below a folder, with their bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push((entry.clone(), fs::read(&entry).unwrap())) }
    }
    found
}

/// A log of two levels of full tiles, of small leaves.
fn two_levels() -> Log {
    Log::of_bytes(&(0..66_000).map(|n| adit_protocol::Leaf::Grant(grant(n, 1)).to_bytes()).collect::<Vec<_>>())
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
    // All but the last bundle, and the last tile of each of three levels.
    assert_eq!((again.fetched, again.kept), (4, copied.fetched - 4));
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
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::of(&leaves(600, 64)));
    copy(&log, dir.path()).unwrap();
    let (file, path) = (dir.path().join("tile/0/001"), "tile/0/001");
    for is_signed in [false, true] {
        fs::write(&file, vec![7; 8_192]).unwrap();
        log.change(path, |bytes| bytes[0] ^= 1);
        let gateway = is_signed.then(|| gateway().public());
        let error = export(&log, dir.path(), &MirrorRules { gateway, ..rules() }, |_, _| {}).unwrap_err();
        assert!(matches!(error, ExportError::Mismatch { .. }), "{error}");
        assert_eq!(file.exists(), !is_signed);
        log.change(path, |bytes| bytes[0] ^= 1);
    }
    copy(&log, dir.path()).unwrap();
    assert_eq!(fs::read(&file).ok(), log.get(path));
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
        // Two full bundles and two full tiles are there; one of them is not whole.
        assert_eq!((again.kept, again.kept + again.fetched), (3, first.fetched));
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
