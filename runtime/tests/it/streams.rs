//! Log, progress, and inputs and outputs that are larger than memory should hold.

use std::io::Write;
use std::time::{Duration, Instant};

use adit_protocol::{ByteCount, Outcome};
use adit_runtime::{Run, RunEvent, RunReport};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use crate::hostile::{LATE_MAX, STOP_TRIES};
use crate::support::{Host, Job, echo, finish, first_log, is_emulated, next_log, spin_after_log};

#[tokio::test]
async fn log_arrives_while_the_guest_runs() {
    let host = Host::new(1);
    let mut run = host.start(spin_after_log()).await.unwrap();
    // The guest never ends by itself, so this comes before its end.
    assert_eq!(first_log(&mut run).await, b"[info] hello\n");
    run.canceller().cancel();
    assert_eq!(finish(run).await.unwrap().outcome(), Outcome::Cancelled);
}

#[tokio::test]
async fn unfinished_line_is_not_held_back() {
    let host = Host::new(1);
    let job = Job::body(
        "(call $write (i32.const 2) (i32.const 1024) (i32.const 5))
         (loop $forever (local.set $n (i64.add (local.get $n) (i64.const 1))) (br $forever))",
    );
    let mut run = host.start(job).await.unwrap();
    assert_eq!(next_log(&mut run).await, b"hello");
    run.canceller().cancel();
    finish(run).await.unwrap();
}

#[tokio::test]
async fn log_is_kept_to_its_limit_and_the_rest_counted() {
    let job = Job::body(
        "(loop $more
            (call $write (i32.const 2) (i32.const 1024) (i32.const 12))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 10000))))",
    );
    let ended = Host::new(1).run(job.with(|spec| spec.limits.log = ByteCount(50_000))).await;
    ended.assert_ok();
    assert_eq!(ended.log, b"hello, world".repeat(10_000)[..50_000]);
    assert_eq!(ended.report.log_dropped, ByteCount(120_000 - 50_000));
}

#[tokio::test]
async fn levels_are_named_in_the_log() {
    let body: String = (0..7).map(|level| format!("(call $log (i32.const {level}) (i32.const 1024) (i32.const 1))")).collect();
    let ended = Host::new(1).run(Job::body(&body)).await;
    let want = "[error] h\n[error] h\n[warn] h\n[info] h\n[debug] h\n[trace] h\n[trace] h\n";
    assert_eq!(String::from_utf8(ended.log).unwrap(), want);
}

#[tokio::test]
async fn progress_arrives_and_ends_at_the_last() {
    let job = Job::body(
        "(loop $more
            (local.set $n (i64.add (local.get $n) (i64.const 1)))
            (call $progress (local.get $n) (i64.const 1000))
            (br_if $more (i64.lt_u (local.get $n) (i64.const 1000))))",
    );
    let ended = Host::new(1).run(job).await;
    assert_eq!(ended.progress.first(), Some(&(1, 1000)));
    assert_eq!(ended.progress.last(), Some(&(1000, 1000)));
    assert!(ended.progress.len() < 500, "{} of 1000 came through", ended.progress.len());
}

/// A line of `/proc/PID/status`, in bytes.
pub(crate) fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn input_from_a_file_costs_no_memory() {
    let host = Host::new(1);
    let path = host.folder.path().join("input");
    let mut file = std::fs::File::create(&path).unwrap();
    let (piece, pieces) = (vec![7_u8; 1 << 20], 256);
    for _ in 0..pieces {
        file.write_all(&piece).unwrap();
    }
    // Reads all of it, and writes how many mebibytes those were.
    let job = Job::body(
        "(loop $more
            (i32.store (i32.const 16) (i32.const 4096))
            (i32.store (i32.const 20) (i32.const 65536))
            (if (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)) (then unreachable))
            (local.set $n (i64.add (local.get $n) (i64.load32_u (i32.const 24))))
            (br_if $more (i32.load (i32.const 24))))
         (i64.store (i32.const 4096) (i64.shr_u (local.get $n) (i64.const 20)))
         (call $write (i32.const 1) (i32.const 4096) (i32.const 8))",
    );
    let run = host.start_over(job, &path).await;
    let pid = run.worker_pid().unwrap();
    let ended = finish(run).await.unwrap();
    assert_eq!(ended.assert_ok().output, 256_u64.to_le_bytes());
    assert_eq!(ended.report.usage.bytes_in, ByteCount(pieces << 20));
    let peak = memory(pid, "VmHWM");
    assert!(peak < 64 << 20, "the worker's peak was {peak} bytes");
}

#[tokio::test]
async fn large_output_is_streamed_and_held_back_by_its_reader() {
    let host = Host::new(1);
    // 32 MiB in writes of 64 KiB.
    let job = Job::body(
        "(loop $more
            (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 512))))",
    );
    let mut run = host.start(job).await.unwrap();
    let pid = run.worker_pid().unwrap();
    assert!(matches!(run.next().await.unwrap(), RunEvent::Output(_)));
    let mut bytes = 64 * 1024;
    loop {
        match run.next().await.unwrap() {
            RunEvent::Output(piece) => {
                assert!(piece.len() <= 64 * 1024);
                bytes += piece.len();
            }
            RunEvent::Ended(report) => {
                assert_eq!(report.outcome, Outcome::Finished { exit_code: 0 });
                assert_eq!(report.output, None);
                break assert_eq!(report.usage.bytes_out, ByteCount(bytes as u64));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(bytes, 32 << 20);
    let peak = memory(pid, "VmHWM");
    assert!(peak < 64 << 20, "the worker's peak was {peak} bytes");
}

/// Writes until it is stopped.
fn flood() -> Job {
    Job::body("(loop $more (call $write (i32.const 1) (i32.const 65536) (i32.const 65536)) (br $more))")
}

/// How long a reader is busy elsewhere: longer than a stop may come late, but not as long as a worker may be silent.
const UNREAD: Duration = Duration::from_millis(700);

/// Reads nothing for a while, by when the job must have ended, and then its end.
async fn end_of_unread(run: &mut Run) -> Box<RunReport> {
    tokio::time::sleep(UNREAD).await;
    loop {
        if let RunEvent::Ended(report) = run.next().await.unwrap() {
            break report;
        }
    }
}

/// Tries a stop until it is in time, as those of other hostile guests: each says how late it was.
async fn assert_in_time(what: &str, stop: impl AsyncFn() -> Duration) {
    let mut least = Duration::MAX;
    for _ in 0..STOP_TRIES {
        least = least.min(stop().await);
        if least <= LATE_MAX {
            break;
        }
    }
    println!("{what}: {least:?} late");
    assert!(least <= LATE_MAX || is_emulated(), "{what}: {least:?} late");
}

#[tokio::test]
async fn guest_that_nobody_reads_from_still_keeps_its_deadline() {
    let (host, wall) = (Host::new(1), Duration::from_millis(200));
    assert_in_time("its deadline", async || {
        let mut run = host.start(flood().with(|spec| spec.limits.wall_ms = 200)).await.unwrap();
        assert!(matches!(run.next().await.unwrap(), RunEvent::Output(_)));
        let report = end_of_unread(&mut run).await;
        assert_eq!(report.outcome, Outcome::TimedOut);
        let ran = Duration::from_micros(report.run_us);
        assert!((wall..UNREAD).contains(&ran), "stopped after {ran:?}");
        ran - wall
    })
    .await;
}

/// A slow line between a node and its gateway is the reason. Such a job was killed two seconds after its time, with its end in the socket.
#[tokio::test]
async fn job_that_ended_in_time_has_ended_whenever_it_is_read() {
    let host = Host::new(1);
    let write = "(call $write (i32.const 1) (i32.const 65536) (i32.const 50000))";
    for (writes, name) in [(2, "what the socket holds"), (6, "what the worker still holds")] {
        let job = Job::body(&write.repeat(writes)).with(|spec| spec.limits.wall_ms = 200);
        let mut run = host.start(job).await.unwrap();
        let mut bytes = 0;
        tokio::time::sleep(Duration::from_millis(2_700)).await;
        let report = loop {
            match run.next().await.unwrap() {
                RunEvent::Output(piece) => bytes += piece.len(),
                RunEvent::Ended(report) => break report,
                _ => {}
            }
        };
        assert_eq!(report.outcome, Outcome::Finished { exit_code: 0 }, "{name}: {}", report.reason);
        assert_eq!((bytes, report.usage.bytes_out.0), (writes * 50_000, writes as u64 * 50_000), "{name}");
    }
}

/// What is still read of a worker that is late gave it more time, also where its owner had taken the machine back since.
#[tokio::test]
async fn late_worker_that_is_heard_still_ends_when_its_owner_says_so() {
    let host = Host::new(1);
    let job = Job::body("(loop $more (call $write (i32.const 1) (i32.const 65536) (i32.const 50000)) (br $more))");
    let mut run = host.start(job.with(|spec| spec.limits.wall_ms = 200)).await.unwrap();
    assert!(matches!(run.next().await.unwrap(), RunEvent::Output(_)));
    // It stands in a write by then, its socket is full, and it will not end by itself.
    tokio::time::sleep(Duration::from_millis(100)).await;
    kill_process(Pid::from_raw(run.worker_pid().unwrap() as i32).unwrap(), Signal::STOP).unwrap();
    tokio::time::sleep(Duration::from_millis(2_700)).await;
    // It is late, and is heard.
    assert!(matches!(run.next().await.unwrap(), RunEvent::Output(_)));
    run.canceller().preempt();
    let begun = Instant::now();
    let mut heard = 0;
    let report = loop {
        match run.next().await.unwrap() {
            RunEvent::Ended(report) => break report,
            _ => heard += 1,
        }
    };
    assert_eq!(report.outcome, Outcome::Preempted, "{}", report.reason);
    assert!(heard > 0, "nothing was read after the owner's word");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn guest_that_nobody_reads_from_is_still_cancelled() {
    let host = Host::new(1);
    assert_in_time("a cancel", async || {
        let mut run = host.start(flood()).await.unwrap();
        let begun = Instant::now();
        assert!(matches!(run.next().await.unwrap(), RunEvent::Output(_)));
        // It stands in a write when its count does.
        let gauge = run.gauge();
        timeout(Duration::from_secs(20), async {
            loop {
                let before = gauge.fuel();
                tokio::time::sleep(Duration::from_millis(30)).await;
                if before.is_some() && gauge.fuel() == before {
                    break;
                }
            }
        })
        .await
        .unwrap();
        run.canceller().cancel();
        let cancelled = begun.elapsed();
        assert!(matches!(run.next().await.unwrap(), RunEvent::Output(_)), "what it wrote before is there");
        let report = end_of_unread(&mut run).await;
        assert_eq!((report.outcome, report.reason.as_str()), (Outcome::Cancelled, "withdrawn while it ran"));
        let ran = Duration::from_micros(report.run_us);
        assert!(ran < cancelled + UNREAD, "ran {ran:?}, and was cancelled after {cancelled:?}");
        ran.saturating_sub(cancelled)
    })
    .await;
}

#[tokio::test]
async fn inline_input_of_another_size_is_refused() {
    let host = Host::new(1);
    let job = echo().input(b"four").with(|spec| spec.input.bytes = 5);
    let error = host.start(job).await.unwrap_err();
    assert_eq!(error.to_string(), "the input has 4 bytes; the specification says 5");
}
