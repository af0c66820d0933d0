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

/// A reading as a record: sensor, seconds and value, with its length before it.
fn reading(sensor: u64, at: u64, value: f32) -> Vec<u8> {
    let encoding = [varint(sensor), varint(at), value.to_le_bytes().to_vec()].concat();
    [varint(encoding.len() as u64), encoding].concat()
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
    assert_ne!(run(7, 20_000_000).await.output, one.output, "more darts for more fuel");
    assert_ne!(run(8, 10_000_000).await.output, one.output);
}

/// Ranges in postcard: a map from a sensor to two f32.
fn ranges(ranges: &[(u64, f32, f32)]) -> Vec<u8> {
    let mut bytes = varint(ranges.len() as u64);
    for (sensor, least, most) in ranges {
        bytes.extend(varint(*sensor));
        bytes.extend(least.to_le_bytes());
        bytes.extend(most.to_le_bytes());
    }
    bytes
}

#[tokio::test]
async fn readings_of_many_times_its_memory_are_streamed_past_a_named_input() {
    let Some(job) = guest("readings") else { return };
    let rounds = 1_u64 << 20;
    let job = job.named("ranges", &ranges(&[(1, 0.0, 10.0), (2, -5.0, 5.0)])).with(|spec| {
        (spec.limits.memory, spec.limits.output, spec.limits.fuel) =
            (ByteCount(2 << 20), ByteCount(64 << 20), Fuel(100_000_000_000));
    });
    // Sensor 1 is in range in each round, and sensor 2 in every other.
    let readings = |at: u64| [reading(1, at, 7.5), reading(2, at, if at.is_multiple_of(2) { -5.0 } else { 7.5 })];
    let ended = run_over(job, |file| (0..rounds).flat_map(readings).for_each(|bytes| file.write_all(&bytes).unwrap())).await;
    ended.assert_ok();
    let kept = (0..rounds).flat_map(|at| readings(at).into_iter().take(if at.is_multiple_of(2) { 2 } else { 1 }));
    assert!(ended.output == kept.flatten().collect::<Vec<u8>>(), "{} bytes", ended.output.len());
    assert_eq!(log(&ended), format!("[info] kept {} of {} readings\n", rounds * 3 / 2, rounds * 2));
    assert_eq!(ended.progress.last(), Some(&(rounds * 2, rounds * 2)));
    let (read, peak) = (ended.report.usage.bytes_in.0, ended.report.usage.memory_peak.0);
    assert!(read > 8 * peak && ended.output.len() as u64 > 6 * peak, "{read} read, {} written, {peak} held", ended.output.len());
}

#[tokio::test]
async fn guest_without_a_standard_library_reads_input_and_named_inputs() {
    let Some(job) = guest("tiny") else { return };
    let ended = Host::new(1).run(job.input(b"aab").named("more", b"bc").named("most", &[b'c'; 100_000])).await;
    let mut counts = vec![0; 256];
    (counts[97], counts[98], counts[99]) = (2, 2, 100_001);
    let encoded: Vec<u8> = [varint(256)].into_iter().chain(counts.into_iter().map(varint)).flatten().collect();
    assert_eq!(ended.assert_ok().output, encoded);
    assert_eq!((log(&ended), &ended.progress[..]), ("[info] 100005 bytes\n", &[(1, 1)][..]));
}

#[tokio::test]
async fn job_without_its_named_input_ends_with_what_to_do() {
    let Some(job) = guest("readings") else { return };
    let ended = Host::new(1).run(job).await;
    assert_eq!(ended.outcome(), adit_protocol::Outcome::Finished { exit_code: 1 });
    let told = "[error] this job has no input named `ranges`; submit it with `--with ranges=FILE` (it has none)\n";
    assert_eq!(log(&ended), told);
}
