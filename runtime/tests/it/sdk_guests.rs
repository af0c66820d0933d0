//! Guests of the SDK, compiled by `cargo xtask guests`: on a node they do what their native tests say. Without them there is nothing to test.

use std::io::{BufWriter, Write};

use adit_protocol::{ByteCount, Fuel, UnixMillis};

use crate::support::{Ended, Host, Job, finish};

fn guest(name: &str) -> Option<Job> {
    let folder = std::env::var("ADIT_GUESTS").ok()?;
    let wasm = std::fs::read(format!("{folder}/{name}.wasm")).unwrap_or_else(|error| panic!("{name}: {error}"));
    Some(Job::of(wasm))
}

fn log(ended: &Ended) -> &str {
    std::str::from_utf8(&ended.log).unwrap()
}

/// Runs a job over a file that `write` fills.
async fn run_over(job: Job, write: impl FnOnce(&mut BufWriter<std::fs::File>)) -> Ended {
    let host = Host::new(1);
    let path = host.folder.path().join("input");
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    write(&mut file);
    file.into_inner().unwrap();
    finish(host.start_over(job, &path).await).await.unwrap()
}

/// A guest of plain WASI.
#[tokio::test]
async fn text_of_many_times_its_memory_is_counted() {
    let Some(job) = guest("wordcount") else { return };
    let job = job.with(|spec| (spec.limits.memory, spec.limits.fuel) = (ByteCount(2 << 20), Fuel(100_000_000_000)));
    let ended = run_over(job, |file| (0..1 << 20).for_each(|_| file.write_all(b"Ein Stollen, zwei Stollen. ").unwrap())).await;
    assert_eq!(String::from_utf8_lossy(&ended.assert_ok().output), "2097152 stollen\n1048576 ein\n1048576 zwei\n");
    assert!(ended.report.usage.bytes_in.0 > 12 * ended.report.usage.memory_peak.0);
}

/// Varints of postcard.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[tokio::test]
async fn guest_of_the_sdk_throws_dice_as_its_test_did() {
    let Some(job) = guest("estimate") else { return };
    let host = Host::new(1);
    let run = async |seed, fuel| {
        let job =
            job.clone().with(|spec| (spec.seed, spec.time, spec.limits.fuel) = (seed, UnixMillis(1_700_000_000_123), Fuel(fuel)));
        let ended = host.run(job).await;
        ended.assert_ok();
        ended
    };
    let (one, again) = (run(7, 10_000_000).await, run(7, 10_000_000).await);
    assert_eq!((&one.output, one.report.usage), (&again.output, again.report.usage));
    // What is encoded: an f64, then varints, of which the second is the first number under seed 7, and the third the time.
    let first = [varint(1_838_859_682_750_955_131), varint(1_700_000_000_123)].concat();
    assert!(one.output.windows(first.len()).any(|bytes| bytes == first), "{:x?}", one.output);
    assert!(log(&one).starts_with("[info] estimate: ") && log(&one).ends_with(" fuel\n"), "{}", log(&one));
    // It stops by itself, with what it keeps back still there but for a round.
    let left = 10_000_000 - one.report.usage.fuel.0;
    assert!((50_000..200_000).contains(&left), "{left} fuel was left");
    assert!(log(&run(7, 20_000_000).await) > "", "another budget is another number of darts");
    assert_ne!(run(8, 10_000_000).await.output, one.output);
}
