//! The processes: one tenant each, replaced when they die, nothing inherited.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use adit_protocol::limits::FUEL_MAX;
use adit_protocol::{ByteCount, Fuel, Outcome};
use adit_runtime::{Input, RunError, RunEvent, RunRequest, Runtime, RuntimeConfig, WorkerProgram};
use rustix::fs::{OFlags, SealFlags, fcntl_get_seals};
use rustix::process::{Pid, Signal, kill_process};

use crate::hostile::BUSY_LATE_MAX;
use crate::support::{Ended, Host, Job, echo, finish, first_log, next_log, spin_after_log, worker_program};

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// Whether a thread of a process lives; a zombie does not.
pub(crate) fn is_running(pid: u32) -> bool {
    let lives = |thread: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(thread?.path().join("stat")).map(|stat| !stat.contains(") Z "))
    };
    std::fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|mut threads| threads.any(|thread| lives(thread).unwrap_or(false)))
}

/// The compile workers that this process has; other tests' too, where they run in it.
pub(crate) fn compile_workers() -> Vec<u32> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let pids: Vec<u32> =
        children.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect();
    let compiles = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("__adit-compile-worker"))
    };
    pids.into_iter().filter(compiles).collect()
}

/// Waits until a process has ended.
async fn gone(pid: u32) {
    while is_running(pid) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn killed_worker_fails_its_job_alone_and_is_replaced() {
    let host = Host::new(2);
    let mut doomed = host.start(spin_after_log()).await.unwrap();
    let mut other = host.start(spin_after_log().tenant(2)).await.unwrap();
    first_log(&mut doomed).await;
    first_log(&mut other).await;
    signal(doomed.worker_pid().unwrap(), Signal::KILL);
    let error = doomed.next().await.unwrap_err();
    let RunError::WorkerDied { usage, .. } = &error else { panic!("{error}") };
    let want = format!("the sandbox worker died when its job had used {}: signal: 9 (SIGKILL)", usage.fuel);
    assert_eq!(error.to_string(), want);
    assert!(matches!(doomed.next().await, Err(RunError::Over)));

    assert_eq!(host.run(echo().input(b"again")).await.assert_ok().output, b"again");
    other.canceller().cancel();
    assert_eq!(finish(other).await.unwrap().outcome(), Outcome::Cancelled);
}

#[tokio::test]
async fn worker_that_died_while_it_waited_is_not_used() {
    let host = Host::new(1);
    let run = host.start(echo()).await.unwrap();
    let pid = run.worker_pid().unwrap();
    finish(run).await.unwrap();
    signal(pid, Signal::KILL);
    gone(pid).await;
    let next = host.start(echo().input(b"next")).await.unwrap();
    assert_ne!(next.worker_pid(), Some(pid));
    assert_eq!(finish(next).await.unwrap().output, b"next");
}

/// Used workers kept up to 8 MiB of their modules' memory each, for as long as the node ran.
#[tokio::test]
async fn worker_that_has_rested_makes_way_for_a_fresh_one() {
    let host = Host::new(2);
    let run = async || {
        let run = host.start(echo()).await.unwrap();
        let pid = run.worker_pid().unwrap();
        finish(run).await.unwrap().assert_ok();
        pid
    };
    let first = run().await;
    // What the first job had started beside it.
    host.runtime.renew_worker(Duration::from_secs(3600)).unwrap();
    assert_eq!(run().await, first, "it has not rested");
    for _ in 0..2 {
        host.runtime.renew_worker(Duration::ZERO).unwrap();
        assert_eq!(host.runtime.idle_workers(), 2, "one for each slot, and those that are fresh stay");
    }
    gone(first).await;
    assert_ne!(run().await, first);
}

#[tokio::test]
async fn worker_keeps_its_tenant_and_is_never_anothers() {
    let host = Host::new(1);
    let pid = async |tenant| {
        let run = host.start(echo().tenant(tenant)).await.unwrap();
        let pid = run.worker_pid().unwrap();
        finish(run).await.unwrap().assert_ok();
        pid
    };
    let (first, again, other) = (pid(1).await, pid(1).await, pid(2).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    let mut seen = vec![first, other];
    for tenant in 3..8 {
        let pid = pid(tenant).await;
        assert!(!seen.contains(&pid));
        seen.push(pid);
    }
    // One slot keeps one used worker beside a fresh one; the others end.
    let last = seen.pop().unwrap();
    for pid in seen {
        gone(pid).await;
    }
    assert!(is_running(last));
}

/// What a worker has after it was told to stop, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn worker_that_does_not_answer_is_killed_and_billed_by_its_last_word() {
    let host = Host::new(1);
    let mut run = host.start(spin_after_log()).await.unwrap();
    let pid = run.worker_pid().unwrap();
    first_log(&mut run).await;
    // Long enough for the worker to say what it used. That is no event, so nothing comes.
    assert!(tokio::time::timeout(Duration::from_millis(300), run.next()).await.is_err());
    signal(pid, Signal::STOP);
    run.canceller().cancel();
    let told = Instant::now();
    let ended = finish(run).await.unwrap();
    assert!(told.elapsed() < GRACE + BUSY_LATE_MAX, "{:?}", told.elapsed());
    assert_eq!(ended.outcome(), Outcome::Cancelled);
    assert_eq!(ended.report.reason, "the sandbox worker did not answer and was killed");
    assert!(ended.report.usage.fuel.0 >= 10_000_000, "{}", ended.report.usage.fuel);
    assert_eq!(ended.report.usage.memory_peak, ByteCount(2 * 65536));
    assert_eq!(ended.report.usage.host_calls, 1);
    gone(pid).await;
    host.run(echo()).await.assert_ok();
}

/// A job that counts to a hundred thousand and says so, so many times.
fn ticks(times: u64) -> Job {
    let job = Job::body(&format!(
        "(loop $forever
            (local.set $i (i32.const 100000))
            (loop $count (br_if $count (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
            (call $log (i32.const 3) (i32.const 1024) (i32.const 5))
            (br_if $forever (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const {times}))))"
    ));
    job.with(|spec| (spec.limits.fuel, spec.limits.log) = (Fuel(FUEL_MAX), ByteCount(64 << 20)))
}

/// Rounds of 10^8, which is what a bill must be right to a thousandth of.
const TICKS_MIN: u64 = 1_000;

/// What ticks cost.
struct TickPrice {
    /// All but the ticks.
    base: f64,
    each: f64,
}

impl TickPrice {
    async fn learn(host: &Host) -> Self {
        let one = host.run(ticks(1)).await.assert_ok().report.usage.fuel.0 as f64;
        let many = host.run(ticks(101)).await.assert_ok().report.usage.fuel.0 as f64;
        // A bill is whole fuel: what is cut off it must not count a thousand times.
        let each = (many - one) / 100.0;
        Self { base: one - each, each }
    }

    /// How many ticks so much fuel is.
    fn ticks(&self, fuel: Fuel) -> f64 {
        (fuel.0 as f64 - self.base) / self.each
    }
}

fn lines(log: &[u8]) -> u64 {
    log.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[tokio::test]
async fn job_that_is_stopped_is_billed_for_what_it_did() {
    let host = Host::new(1);
    let price = TickPrice::learn(&host).await;
    let mut run = host.start(ticks(1 << 40)).await.unwrap();
    let mut told = 0;
    while told <= TICKS_MIN {
        told += lines(&next_log(&mut run).await);
    }
    run.canceller().cancel();
    let cancelled = finish(run).await.unwrap();
    assert_eq!(cancelled.outcome(), Outcome::Cancelled);
    assert_billed(&price, told + lines(&cancelled.log), &cancelled);

    let mut wall_ms = 500;
    let timed_out = loop {
        let ended = host.run(ticks(1 << 40).with(|spec| spec.limits.wall_ms = wall_ms)).await;
        assert_eq!(ended.outcome(), Outcome::TimedOut);
        if lines(&ended.log) >= TICKS_MIN {
            break ended;
        }
        wall_ms *= 2;
    };
    assert_billed(&price, lines(&timed_out.log), &timed_out);
}

/// A stopped job has told of each tick but the last.
fn assert_billed(price: &TickPrice, told: u64, ended: &Ended) {
    let billed = price.ticks(ended.report.usage.fuel);
    println!("{billed} billed, {told} told, {}", ended.outcome());
    assert!((told as f64 - 0.001..told as f64 + 1.001).contains(&billed), "{billed} billed, {told} told");
}

#[tokio::test]
async fn job_that_gets_no_more_memory_is_billed_for_what_it_did() {
    let host = Host::new(1);
    let ends = async |answer: &str| {
        let count = "(local.set $i (i32.const 100000000))
            (loop $count (br_if $count (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))";
        let grow = "(if (i32.eq (memory.grow (i32.const 3)) (i32.const -1))";
        let job = Job::body(&format!("{count} {grow} (then {answer}))"));
        host.run(job.with(|spec| spec.limits.memory = ByteCount(4 * 65536))).await
    };
    let (denied, content) = (ends("unreachable").await, ends("nop").await);
    assert_eq!(denied.outcome(), Outcome::OutOfMemory);
    // Whoever traps does not come to its end.
    let (billed, whole) = (denied.report.usage.fuel.0, content.assert_ok().report.usage.fuel.0);
    assert!(billed <= whole && whole - billed < 10, "{billed} of {whole}");
}

#[tokio::test]
async fn what_a_killed_worker_used_is_known_as_of_a_moment_before() {
    let host = Host::new(1);
    let price = TickPrice::learn(&host).await;
    // A busy machine may keep the worker's note waiting, and its news.
    let mut off_ms = f64::MAX;
    for _ in 0..5 {
        let mut run = host.start(ticks(1 << 40)).await.unwrap();
        first_log(&mut run).await;
        let (begun, mut told) = (Instant::now(), 1);
        while told <= TICKS_MIN {
            told += lines(&next_log(&mut run).await);
        }
        signal(run.worker_pid().unwrap(), Signal::KILL);
        let died = loop {
            match run.next().await {
                Ok(RunEvent::Log(line)) => told += lines(&line),
                Ok(other) => panic!("expected logs or the worker's death, got {other:?}"),
                Err(error) => break error,
            }
        };
        let per_ms = told as f64 / begun.elapsed().as_secs_f64() / 1e3;
        let RunError::WorkerDied { usage, .. } = died else { panic!("{died}") };
        let counted = price.ticks(usage.fuel);
        println!("{counted} ticks counted, {told} told, {per_ms} in a millisecond");
        off_ms = off_ms.min((counted - told as f64).abs() / per_ms);
    }
    assert!(off_ms <= 10.0, "{off_ms} ms");
}

#[tokio::test]
async fn worker_that_misses_the_deadline_is_killed_after_its_grace() {
    let host = Host::new(1);
    let mut run = host.start(spin_after_log().with(|spec| spec.limits.wall_ms = 1_000)).await.unwrap();
    let pid = run.worker_pid().unwrap();
    first_log(&mut run).await;
    signal(pid, Signal::STOP);
    let ended = finish(run).await.unwrap();
    assert_eq!(ended.outcome(), Outcome::TimedOut);
    assert_eq!(ended.report.reason, "the sandbox worker did not answer and was killed");
    // Its second, and twice the grace.
    let ran = Duration::from_micros(ended.report.run_us);
    let due = Duration::from_secs(1) + 2 * GRACE;
    assert!((due..due + BUSY_LATE_MAX).contains(&ran), "{ran:?}");
    gone(pid).await;
}

#[tokio::test]
async fn dropped_run_frees_its_slot() {
    let host = Host::new(1);
    let mut run = host.start(spin_after_log()).await.unwrap();
    first_log(&mut run).await;
    drop(run);
    assert_eq!(host.run(echo().input(b"x")).await.assert_ok().output, b"x");
}

#[tokio::test]
async fn two_slots_run_at_once_and_a_third_job_waits() {
    let host = Host::new(2);
    // Each says so and then spins: both have started before either is stopped.
    let mut runs = Vec::new();
    for tenant in [1, 1] {
        let mut run = host.start(spin_after_log().tenant(tenant)).await.unwrap();
        first_log(&mut run).await;
        runs.push(run);
    }
    assert_ne!(runs[0].worker_pid(), runs[1].worker_pid());
    let mut third = Box::pin(host.start(echo()));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut third).await.is_err(), "both slots are taken");
    runs[0].canceller().cancel();
    assert_eq!(finish(runs.remove(0)).await.unwrap().outcome(), Outcome::Cancelled);
    finish(third.await.unwrap()).await.unwrap().assert_ok();
}

#[tokio::test]
async fn more_modules_than_a_worker_keeps_all_run() {
    let host = Host::new(1);
    let jobs: Vec<_> = (0..12).map(|n| Job::body(&format!("(call $proc_exit (i32.const {n}))"))).collect();
    let mut pids = Vec::new();
    for round in 0..2 {
        for (n, job) in jobs.iter().enumerate() {
            let run = host.start(job.clone()).await.unwrap();
            pids.push(run.worker_pid());
            assert_eq!(finish(run).await.unwrap().outcome(), Outcome::Finished { exit_code: n as i32 }, "round {round}");
        }
    }
    assert!(pids.iter().all(|pid| *pid == pids[0]), "one worker ran them all");
}

#[tokio::test]
async fn job_over_the_nodes_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        RuntimeConfig { memory_max: ByteCount(64 << 20), worker_program: worker_program(), ..RuntimeConfig::new(folder.path()) };
    let job = Job::body("");
    let runtime = Runtime::new(config).unwrap();
    let error = runtime.start(job.request()).await.unwrap_err();
    assert_eq!(error.to_string(), "the job may use 268435456 bytes of memory; this node gives 67108864");
}

/// Marks a test that started itself again as the root of a namespace of its own.
const IN_NAMESPACE: &str = "ADIT_TEST_IN_NAMESPACE";

/// Only root may look into a worker, not even its supervisor. Anybody is root of a namespace of its own, where one is permitted: whether this
/// test was done there instead, or cannot be.
fn is_left_to_root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    assert!(std::env::var_os(IN_NAMESPACE).is_none(), "{test} is to be root of its namespace");
    let is_permitted =
        Command::new("unshare").args(["--user", "--map-root-user", "true"]).status().is_ok_and(|status| status.success());
    if !is_permitted {
        println!("not tried: no root, and no namespace to be root of");
        return true;
    }
    let itself = std::env::current_exe().unwrap();
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user"]).arg(itself).args(["--exact", test, "--nocapture"]).env(IN_NAMESPACE, "1");
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// What a worker has open.
struct Held {
    link: String,
    /// May be written to.
    writable: bool,
    /// What cannot be done to a file in memory; of another file nothing.
    seals: SealFlags,
}

fn held(pid: u32) -> Vec<Held> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    fds.map(|fd| {
        let path = fd.unwrap().path();
        let link = std::fs::read_link(&path).unwrap().to_string_lossy().into_owned();
        let number = path.file_name().unwrap().to_str().unwrap();
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let mode = OFlags::from_bits_retain(u32::from_str_radix(flags.trim(), 8).unwrap()) & OFlags::RWMODE;
        let seals =
            if link.starts_with("/memfd:") { fcntl_get_seals(File::open(&path).unwrap()).unwrap() } else { SealFlags::empty() };
        Held { link, writable: mode != OFlags::RDONLY, seals }
    })
    .collect()
}

#[tokio::test]
async fn worker_inherits_nothing_but_its_socket() {
    if is_left_to_root("workers::worker_inherits_nothing_but_its_socket") {
        return;
    }
    // What a library opened that does not know of `O_CLOEXEC`.
    let left_open = tempfile::NamedTempFile::new().unwrap();
    rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty()).unwrap();
    let host = Host::new(1);
    // All ways that an input has to a worker but for the message.
    let written = host.folder.path().join("written");
    std::fs::write(&written, b"written").unwrap();
    let written = File::options().read(true).write(true).open(written).unwrap();
    let job = spin_after_log().input(&[7; 100_000]).named("a", b"inline").named("b", b"written");
    host.compile(&job.wasm).await.unwrap();
    let named = vec![Input::Inline(b"inline".to_vec()), Input::File(written)];
    let mut run = host.runtime.start(RunRequest { named, ..job.request() }).await.unwrap();
    first_log(&mut run).await;
    let pid = run.worker_pid().unwrap();
    assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    let held = held(pid);
    let links: Vec<_> = held.iter().map(|held| held.link.as_str()).collect();
    // What is a worker's own, its module's code, and what its job reads.
    let known = |link: &&&str| {
        let own = ["socket:[", "/dev/null", "anon_inode:[event", "/memfd:adit-live ", "/memfd:adit-input ", "/proc/"];
        own.iter().any(|own| link.starts_with(own)) || link.ends_with(".cwasm") || link.ends_with("/written")
    };
    let strange: Vec<_> = links.iter().filter(|link| !known(link)).collect();
    assert!(strange.is_empty(), "{strange:?} in {links:?}");
    let sockets: std::collections::HashSet<_> = links.iter().filter(|link| link.starts_with("socket:[")).collect();
    // The way to the supervisor, and the pair by which tokio hears of signals.
    assert!(sockets.len() <= 3, "{sockets:?}");

    let inputs = links.iter().filter(|link| link.starts_with("/memfd:adit-input ") || link.ends_with("/written"));
    assert_eq!(inputs.count(), 3, "{links:?}");
    let fixed = SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    for Held { link, writable, seals } in held.iter().filter(|held| held.link.starts_with('/') && held.link != "/dev/null") {
        let needed = if link.starts_with("/memfd:adit-live ") { fixed } else { fixed | SealFlags::WRITE };
        assert!(!writable || seals.contains(needed), "{link} may be written to, sealed for {seals:?}");
    }
}

#[test]
fn worker_ends_when_its_supervisor_does() {
    let program = env!("CARGO_BIN_EXE_adit-worker");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut worker = Command::new(program)
        .arg("__adit-sandbox-worker")
        .env_clear()
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    drop(ours);
    let status = worker.wait().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(status.signal(), None);
}

#[test]
fn worker_program_by_itself_says_what_it_is() {
    let output = Command::new(env!("CARGO_BIN_EXE_adit-worker")).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by an Adit node"));
}

#[tokio::test]
async fn program_that_never_answers_is_no_worker() {
    // `true` ends at once and closes its socket.
    let folder = tempfile::tempdir().unwrap();
    let config = RuntimeConfig { worker_program: WorkerProgram::at("/bin/true"), ..RuntimeConfig::new(folder.path()) };
    let error = Runtime::new(config).unwrap_err().to_string();
    assert!(error.contains("`main` must call `run_if_worker` first"), "{error}");
}
