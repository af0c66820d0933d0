//! How fast a machine is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adit_protocol::ByteCount;
use adit_runtime::{CpuShare, MeasureError, Priority, RunError};
use tokio::runtime::Handle;

use crate::share::processor_time;
use crate::support::{Host, Job, echo, finish};

const KERNEL: &[u8] = include_bytes!("../../src/speed/kernel.wasm");

/// No machine that runs this test is slower, or faster. A unit of fuel is about a nanosecond.
const FUEL_PER_SECOND: std::ops::Range<u64> = 1_000_000..100_000_000_000;

#[tokio::test]
async fn kernel_costs_the_same_each_time() {
    let host = Host::new(1);
    let (first, second) = (host.run(Job::of(KERNEL.to_vec())).await, host.run(Job::of(KERNEL.to_vec())).await);
    let usage = first.assert_ok().report.usage;
    assert_eq!(usage, second.assert_ok().report.usage);
    // A few tens of milliseconds, where a second has a thousand million.
    assert!((10_000_000..100_000_000).contains(&usage.fuel.0), "{}", usage.fuel);
}

#[tokio::test]
async fn speed_is_measured_over_all_slots_and_leaves_no_trace() {
    let host = Host::new(2);
    let speed = host.runtime.measure_speed().await.unwrap();
    println!("{speed:?}");
    assert!(FUEL_PER_SECOND.contains(&speed.fuel_per_second), "{speed:?}");
    assert_eq!(host.runtime.cached_modules(9).await.unwrap(), []);
    let job = echo().input(b"x");
    let module = job.spec.module.digest;
    assert_eq!(host.run(job).await.assert_ok().output, b"x");
    assert_eq!(host.runtime.cached_modules(9).await.unwrap(), [module]);
    // A node that starts again has the kernel's code; nothing else is different.
    let again = Host::over(Arc::clone(&host.folder), 1);
    let speed = again.runtime.measure_speed().await.unwrap();
    assert!(FUEL_PER_SECOND.contains(&speed.fuel_per_second), "{speed:?}");
    assert_eq!(again.runtime.cached_modules(9).await.unwrap(), [module]);
    assert_eq!(again.runtime.cached_modules(0).await.unwrap(), []);
}

#[tokio::test]
async fn share_of_a_core_is_that_share_of_its_speed() {
    let share = CpuShare::of_percent(20).unwrap();
    let shared = Host::with(Arc::new(tempfile::tempdir().unwrap()), |config| config.cpu_share = share);
    let shared = shared.runtime.measure_speed().await.unwrap();
    // A machine with other work makes what is measured slower, but not by what a processor does in its own time.
    let host = Host::new(1);
    let (mut fuel, mut used) = (0, Duration::ZERO);
    while used < Duration::from_secs(1) {
        let run = host.start(Job::of(KERNEL.to_vec())).await.unwrap();
        let pid = run.worker_pid().unwrap();
        fuel += finish(run).await.unwrap().assert_ok().report.usage.fuel.0;
        used = processor_time(pid);
    }
    let whole = fuel as f64 / used.as_secs_f64();
    println!("{shared:?} of {whole}");
    assert!((shared.fuel_per_second as f64) < whole / 2.0, "{shared:?} of {whole}");
}

/// An owner who paused the node had the machine at work until the measure was over.
#[tokio::test]
async fn measure_that_is_stopped_ends_with_its_workers() {
    let host = Host::with(Arc::new(tempfile::tempdir().unwrap()), |config| config.cpu_share = CpuShare::of_percent(20).unwrap());
    // By itself it takes a second, and what it takes to compile.
    let stop = tokio::time::sleep(Duration::from_millis(300));
    assert!(matches!(host.runtime.measure_speed_until(stop).await, Err(MeasureError::Stopped)));
    assert_eq!(host.runtime.idle_workers(), 1);
    host.run(echo().input(b"x")).await.assert_ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machine_that_does_other_things_is_told_to_be_busy() {
    let host = Host::new(1);
    let alone = host.runtime.measure_speed().await.unwrap();
    let polite = Host::with(Arc::clone(&host.folder), |config| config.priority = Priority::Low);
    let is_over = AtomicBool::new(false);
    let cores = std::thread::available_parallelism().unwrap().get();
    let measured = std::thread::scope(|scope| {
        for _ in 0..4 * cores {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop()
                }
            });
        }
        let measured = tokio::task::block_in_place(|| Handle::current().block_on(polite.runtime.measure_speed()));
        is_over.store(true, Ordering::Relaxed);
        measured
    });
    println!("{alone:?} {measured:?}");
    match measured {
        Ok(speed) => assert!(speed.was_busy, "{speed:?}"),
        Err(error) => assert!(error.is_passing(), "{error}"),
    }
}

#[tokio::test]
async fn machine_that_cannot_be_measured_works_all_the_same() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let host = Host::with(folder, |config| config.memory_max = ByteCount(3 * 65536));
    let error = host.runtime.measure_speed().await.unwrap_err();
    assert!(matches!(error, MeasureError::Run(RunError::MemoryOverOffer { .. })), "{error}");
    assert!(!error.is_passing());
    let job = Job::body("").with(|spec| spec.limits.memory = ByteCount(3 * 65536));
    host.run(job).await.assert_ok();
}
