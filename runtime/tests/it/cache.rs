//! Compiled code where the disk has no room for it: what is old makes way, and where that is no help the job is for another node.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use adit_protocol::Digest;
use adit_runtime::{CompileError, CompileReport};

use crate::support::{Host, Job};

/// Where the small disk is, in the process of a test that has one.
const DISK: &str = "ADIT_TEST_DISK";

/// Mounts a disk of so many KiB that nobody else sees, and becomes the test.
const ON_DISK: &str =
    r#"mount -t tmpfs -o mode=700,size="$1"k adit-test "$ADIT_TEST_DISK" && shift && exec "$0" --exact "$@" --nocapture"#;

/// Runs a test where there is a disk of so many KiB, in a process of its own that may mount one; nowhere where that is not permitted.
fn on_small_disk(name: &str, kib: u32, test: impl AsyncFnOnce(&Path)) {
    if let Some(disk) = std::env::var_os(DISK) {
        let reactor = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return reactor.block_on(test(Path::new(&disk)));
    }
    if !Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        return println!("not tried: this process may mount no disk");
    }
    let disk = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", ON_DISK]).arg(std::env::current_exe().unwrap()).arg(kib.to_string()).arg(name);
    let output = command.env(DISK, disk.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// A node whose cache is there; its modules are elsewhere.
fn host(disk: &Path) -> Host {
    Host::with(Arc::new(tempfile::tempdir().unwrap()), |config| config.cache_dir = disk.join("cache"))
}

/// The modules that are on the disk in compiled form, as files.
fn compiled(disk: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(disk.join("cache")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "cwasm")).collect()
}

/// Takes what room is left.
fn fill(disk: &Path) {
    let mut file = File::options().append(true).create(true).open(disk.join("ballast")).unwrap();
    let full = std::iter::repeat_with(|| file.write_all(&[7; 512])).find_map(Result::err).unwrap();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
}

/// A job that ends with this code; the modules differ.
fn exiting(code: u8) -> Job {
    Job::body(&format!("(call $proc_exit (i32.const {code}))"))
}

async fn assert_exits(host: &Host, code: u8) {
    let ended = host.run(exiting(code)).await;
    assert_eq!(ended.outcome(), adit_protocol::Outcome::Finished { exit_code: code.into() }, "{}", ended.report.reason);
}

#[test]
fn new_code_takes_the_place_of_old_on_a_full_disk() {
    on_small_disk("cache::new_code_takes_the_place_of_old_on_a_full_disk", 400, async |disk| {
        let host = host(disk);
        for code in 0..40 {
            let before = compiled(disk).len();
            assert_exits(&host, code).await;
            // As many make way as are in it.
            assert!(compiled(disk).len() + 2 >= before.max(3), "{code}: {before} were on the disk");
        }
        let files = compiled(disk);
        println!("{} of 40 modules are left", files.len());
        assert!(files.len() < 30, "the disk has no room for so many");
        // The last one is there, also for the next process. One that had it open would keep its room.
        drop(host);
        let restarted = self::host(disk);
        assert!(restarted.compile(&exiting(39).wasm).await.unwrap().cached);
        // Each that makes room for itself is stored, though somebody else has filled the disk.
        fill(disk);
        assert_exits(&restarted, 40).await;
        assert!(compiled(disk).len() <= files.len());
        assert!(self::host(disk).compile(&exiting(40).wasm).await.unwrap().cached);
    });
}

/// A module that is large enough for baseline code to come first, and does this.
fn large(body: &str) -> Vec<u8> {
    let custom = "x".repeat(200 << 10);
    let text = format!(r#"(module (@custom "x" "{custom}") (memory (export "memory") 1) (func (export "_start") {body}))"#);
    wat::parse_str(text).unwrap()
}

#[track_caller]
fn failed(result: Result<CompileReport, CompileError>) -> String {
    match result {
        // It is not the owner's word, by which like jobs would not come here either.
        Err(CompileError::Node(reason)) => reason,
        other => panic!("expected that the node failed, got {other:?}"),
    }
}

#[test]
fn code_that_has_no_room_on_the_disk_is_for_another_node() {
    on_small_disk("cache::code_that_has_no_room_on_the_disk_is_for_another_node", 1_024, async |disk| {
        let host = host(disk);
        fill(disk);
        for wasm in [exiting(7).wasm, large("")] {
            let reason = failed(host.compile(&wasm).await);
            assert!(reason.starts_with("the disk has no room for the module's code of "), "{reason}");
            assert!(compiled(disk).is_empty());
        }
        // It is tried again as soon as there is room, and has no strike.
        fs::remove_file(disk.join("ballast")).unwrap();
        assert_exits(&host, 7).await;
        assert!(host.compile(&large("")).await.is_ok());
        assert!(!disk.join("cache/strikes").exists());
    });
}

/// Such a job was for another node, though there was room for the code that it would have gone on in.
#[test]
fn module_without_room_for_baseline_code_begins_in_optimised_code() {
    on_small_disk("cache::module_without_room_for_baseline_code_begins_in_optimised_code", 4_096, async |disk| {
        // Nobody looks at the products, so that the optimising compiler leaves them out.
        let wasm = large(&"(drop (i32.mul (i32.const 3) (i32.const 7)))".repeat(20_000));
        let elsewhere = Host::new(1);
        elsewhere.compile(&wasm).await.unwrap();
        elsewhere.runtime.optimised(Digest::of(&wasm)).await;
        let [optimised] = &elsewhere.compiled_files()[..] else { panic!("one module, one file") };
        let host = host(disk);
        fill(disk);
        let ballast = File::options().write(true).open(disk.join("ballast")).unwrap();
        let (filled, room) = (ballast.metadata().unwrap().len(), fs::metadata(optimised).unwrap().len() + (16 << 10));
        ballast.set_len(filled - room).unwrap();
        assert!(!host.compile(&wasm).await.unwrap().cached);
        let names = |files: &[PathBuf]| files.iter().map(|file| file.file_name().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&compiled(disk)), names(&elsewhere.compiled_files()));
    });
}

/// Calls that run whatever bytes say.
const LOADERS: [&str; 5] =
    ["::deserialize(", "::deserialize_file(", "::deserialize_open_file(", "::deserialize_raw(", "::from_trusted_file("];
/// Where they may be: on files of this cache, and on what the benches of the bare engine have just compiled.
const LOADING: [&str; 3] = ["bench/src/cold.rs", "bench/src/worker/bare.rs", "runtime/src/unchecked.rs"];

/// Each line of a source file of ours that loads compiled code.
fn lines_that_load(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true if name != "target" && !name.to_string_lossy().starts_with('.') => lines_that_load(&path, found),
            false if path.extension().is_some_and(|end| end == "rs") => {
                let text = fs::read_to_string(&path).unwrap();
                let loads = |line: &&str| {
                    let is_of_engine = ["Module::", "Component::"].iter().any(|of| line.contains(of));
                    is_of_engine && LOADERS.iter().any(|call| line.contains(call)) && !line.trim_start().starts_with("//")
                };
                found.extend(text.lines().filter(loads).map(|_| path.clone()));
            }
            _ => {}
        }
    }
}

/// Beside the lint, which holds for one crate: bytes from outside are never loaded as compiled code.
#[test]
fn compiled_code_is_loaded_in_one_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    lines_that_load(root, &mut found);
    found.sort();
    assert_eq!(found, LOADING.map(|path| root.join(path)));
}
