//! What a machine's owner is left with: shares of cores, and priority.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_protocol::{Outcome, Profile};
use adit_runtime::{CpuShare, Priority, Run};

use crate::support::{Host, Job, echo, finish, first_log, spin_after_log};

/// A worker is stopped when it is a few milliseconds ahead of its share. The rest is its start, which no share holds back, and
/// machines that let the supervisor wait.
const AHEAD_MAX: Duration = Duration::from_millis(300);

/// Processor time that is waited for: so much that a worker without a share would have had it long before, on a busy machine too.
const USED: Duration = Duration::from_millis(600);

fn host(percent: u8) -> Host {
    let share = CpuShare::of_percent(percent).unwrap();
    Host::with(Arc::new(tempfile::tempdir().unwrap()), |config| config.cpu_share = share)
}

/// Processor time of a worker, in the hundredths of a second that proc(5) tells.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let fields = stat_fields(&format!("/proc/{pid}/stat"));
    Duration::from_millis((fields[14 - 3].parse::<u64>().unwrap() + fields[15 - 3].parse::<u64>().unwrap()) * 10)
}

/// The fields of proc(5) from the third on: the name before them may hold anything.
fn stat_fields(path: &str) -> Vec<String> {
    let stat = std::fs::read_to_string(path).unwrap();
    stat.rsplit_once(") ").unwrap().1.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Follows a run that says nothing until its worker has taken so much processor time.
async fn until_used(run: &mut Run, want: Duration) -> Duration {
    let pid = run.worker_pid().unwrap();
    loop {
        let used = processor_time(pid);
        if used >= want {
            return used;
        }
        let silence = tokio::time::timeout(Duration::from_millis(10), run.next()).await;
        assert!(silence.is_err(), "it runs until it is stopped: {silence:?}");
    }
}

#[tokio::test]
async fn job_takes_no_more_of_a_core_than_its_slots_share() {
    let host = host(10);
    let begun = Instant::now();
    let mut run = host.start(spin_after_log()).await.unwrap();
    first_log(&mut run).await;
    let used = until_used(&mut run, USED).await;
    let elapsed = begun.elapsed();
    assert!(used <= elapsed / 10 + AHEAD_MAX, "{used:?} in {elapsed:?}");
}

/// Counts down from so many.
fn count(from: u64) -> Job {
    Job::body(&format!(
        "(local.set $n (i64.const {from}))
         (loop $count (br_if $count (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))"
    ))
}

#[tokio::test]
async fn jobs_after_each_other_have_one_share() {
    let host = host(10);
    // Some milliseconds: each by itself is over before it would be stopped.
    let job = count(4_000_000);
    host.compile(&job.wasm).await.unwrap();
    let begun = Instant::now();
    let used = loop {
        let run = host.runtime.start(job.clone().request()).await.unwrap();
        let pid = run.worker_pid().unwrap();
        finish(run).await.unwrap().assert_ok();
        let used = processor_time(pid);
        if used >= USED {
            break used;
        }
    };
    let elapsed = begun.elapsed();
    println!("{used:?} in {elapsed:?}");
    assert!(used <= elapsed / 10 + AHEAD_MAX, "{used:?} in {elapsed:?}");
}

#[tokio::test]
async fn share_changes_no_bill() {
    let job = count(50_000_000);
    let (shared, whole) = (host(20).run(job.clone()).await, Host::new(1).run(job).await);
    assert_eq!(shared.assert_ok().report.usage, whole.assert_ok().report.usage);
}

#[tokio::test]
async fn job_under_a_small_share_is_withdrawn_in_its_own_words() {
    let host = host(CpuShare::PERCENT_MIN);
    let mut run = host.start(spin_after_log()).await.unwrap();
    first_log(&mut run).await;
    until_used(&mut run, Duration::from_millis(50)).await;
    run.canceller().cancel();
    let ended = finish(run).await.unwrap();
    // The supervisor gave up on nobody: a worker that is stopped goes on in time to say how its job ended.
    assert_eq!((ended.outcome(), ended.report.reason.as_str()), (Outcome::Cancelled, "withdrawn while it ran"));
    // Whoever comes next finds a worker that runs.
    assert_eq!(host.run(echo().input(b"next")).await.assert_ok().output, b"next");
}

#[tokio::test]
async fn guest_that_waits_may_be_stopped_in_its_wait() {
    // The kernel lets a wait go on by a system call of its own, which the worker's filter must know.
    let burn_and_wait = Job::wat(
        r#"(module
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start") (local $i i32) (local $n i32)
                (i32.store (i32.const 16) (i32.const 1))
                (i64.store (i32.const 24) (i64.const 30000000))
                (local.set $i (i32.const 15))
                (loop $again
                    (local.set $n (i32.const 30000000))
                    (loop $burn (br_if $burn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                    (if (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)) (then unreachable))
                    (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))"#,
    );
    // Each burning puts it so far ahead that it is stopped in the wait that follows.
    host(10).run(burn_and_wait.with(|spec| spec.profile = Profile::Open)).await.assert_ok();
}

#[tokio::test]
async fn workers_of_low_priority_give_way_with_every_thread() {
    // In proc(5): the nice value, and the scheduler's class, 5 for what runs when nothing else does.
    let own = stat_fields("/proc/self/stat");
    let normal = (own[19 - 3].clone(), own[41 - 3].clone());
    for (priority, want) in [(Priority::Normal, normal), (Priority::Low, ("19".to_owned(), "5".to_owned()))] {
        let host = Host::with(Arc::new(tempfile::tempdir().unwrap()), |config| config.priority = priority);
        let mut run = host.start(spin_after_log()).await.unwrap();
        first_log(&mut run).await;
        let threads = std::fs::read_dir(format!("/proc/{}/task", run.worker_pid().unwrap())).unwrap();
        let seen: Vec<_> = threads.map(|thread| stat_fields(thread.unwrap().path().join("stat").to_str().unwrap())).collect();
        assert!(seen.len() > 1, "a worker has a watchdog");
        for fields in seen {
            assert_eq!((&fields[19 - 3], &fields[41 - 3]), (&want.0, &want.1), "{priority:?}");
        }
    }
}
