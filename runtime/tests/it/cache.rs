//! Compiled code where the disk has no room for it: what is old makes way, and a job runs all the same.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

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
            assert_exits(&host, code).await;
            assert!(!compiled(disk).is_empty(), "{code} is on the disk");
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

#[test]
fn job_runs_whose_code_has_no_room_on_the_disk() {
    on_small_disk("cache::job_runs_whose_code_has_no_room_on_the_disk", 1_024, async |disk| {
        // Large enough for baseline code to come first.
        let large = wat::parse_str(format!(
            r#"(module (@custom "x" "{}") (memory (export "memory") 1) (func (export "_start")))"#,
            "x".repeat(200 << 10)
        ));
        let (small, large) = (exiting(7), Job::of(large.unwrap()));
        let elsewhere = Host::new(1);
        let host = host(disk);
        fill(disk);
        for (what, job) in [("small", small), ("large", large)] {
            let wanted = elsewhere.run(job.clone()).await;
            for tenant in [1, 2] {
                let ended = host.run(job.clone().tenant(tenant)).await;
                assert_eq!((ended.outcome(), ended.report.usage), (wanted.outcome(), wanted.report.usage), "{what} {tenant}");
            }
            host.runtime.optimised(job.spec.module.digest).await;
            assert_eq!(host.run(job.clone()).await.report.usage, wanted.report.usage, "{what}");
            assert!(host.compile(&job.wasm).await.unwrap().cached, "{what}");
            assert!(compiled(disk).is_empty(), "{what}");
        }
        // Once there is room again, the next process has it on the disk.
        fs::remove_file(disk.join("ballast")).unwrap();
        let restarted = self::host(disk);
        assert!(!restarted.compile(&exiting(7).wasm).await.unwrap().cached);
        assert_eq!(compiled(disk).len(), 1);
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
