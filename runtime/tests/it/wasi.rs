//! What a guest sees of the world.

use adit_protocol::limits::FUEL_MAX;
use adit_protocol::{ByteCount, Fuel, JobLimits, Outcome, Profile, UnixMillis};

use crate::hostile::FUNCTIONS;
use crate::support::{Host, Job, echo};

#[tokio::test]
async fn guest_that_returns_has_finished() {
    let ended = Host::new(1).run(Job::body("")).await;
    ended.assert_ok();
    assert_eq!(ended.report.reason, "");
    assert!(ended.report.usage.fuel.0 > 0);
    assert_eq!(ended.report.usage.memory_peak, ByteCount(2 * 65536));
    assert_eq!(ended.report.usage.memory_fuel, u128::from(ended.report.usage.fuel.0) * 2 * 65536);
    assert_eq!(ended.report.usage.host_calls, 0);
}

#[tokio::test]
async fn every_exit_code_is_told() {
    let host = Host::new(1);
    for exit_code in [0, 1, 42, 125, 126, 255, -1] {
        let ended = host.run(Job::body(&format!("(call $proc_exit (i32.const {exit_code}))"))).await;
        assert_eq!(ended.outcome(), Outcome::Finished { exit_code });
        assert_eq!(ended.report.usage.host_calls, 1);
    }
}

#[tokio::test]
async fn input_comes_back_as_output() {
    let host = Host::new(1);
    // Empty, small, the most that travels inline, one more, and many pieces.
    for bytes in [0, 64, 16 * 1024, 16 * 1024 + 1, 1 << 20] {
        let input: Vec<u8> = (0..bytes).map(|i| (i * 31 % 251) as u8).collect();
        let ended = host.run(echo().input(&input)).await;
        ended.assert_ok();
        assert!(ended.output == input, "{bytes} bytes came back as {}", ended.output.len());
        assert_eq!(ended.report.output.is_some(), bytes <= 16 * 1024);
        assert_eq!(ended.report.usage.bytes_in, ByteCount(bytes as u64));
    }
}

#[tokio::test]
async fn host_calls_are_counted_one_by_one() {
    let ended = Host::new(1)
        .run(Job::body(
            "(call $write (i32.const 1) (i32.const 1024) (i32.const 5))
             (call $write (i32.const 2) (i32.const 1024) (i32.const 5))
             (call $log (i32.const 3) (i32.const 1024) (i32.const 5))
             (call $progress (i64.const 1) (i64.const 2))
             (call $proc_exit (i32.const 0))",
        ))
        .await;
    ended.assert_ok();
    assert_eq!(ended.report.usage.host_calls, 5);
}

#[tokio::test]
async fn arguments_and_environment_reach_the_guest() {
    // Writes the argument block (from 2048) and the environment block (from 4096), each with its length from the sizes call.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $args_sizes (i32.const 0) (i32.const 20)))
            (drop (call $args (i32.const 512) (i32.const 2048)))
            (drop (call $env_sizes (i32.const 0) (i32.const 28)))
            (drop (call $env (i32.const 512) (i32.const 4096)))
            (i32.store (i32.const 16) (i32.const 2048))
            (i32.store (i32.const 24) (i32.const 4096))
            (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 0)))
            (drop (call $fd_write (i32.const 1) (i32.const 24) (i32.const 1) (i32.const 0)))))"#;
    let job = Job::wat(text).with(|spec| {
        spec.args = vec!["--size".into(), "ünï".into()];
        spec.env = vec![("KEY".into(), "value".into()), ("EMPTY".into(), String::new())];
    });
    let ended = Host::new(1).run(job).await;
    ended.assert_ok();
    assert_eq!(String::from_utf8(ended.output).unwrap(), "job\0--size\0ünï\0KEY=value\0EMPTY=\0");
}

/// Writes 16 random bytes, then the wall clock and twice the monotonic clock.
const RANDOM_AND_TIME: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (drop (call $random (i32.const 64) (i32.const 16)))
        (drop (call $time (i32.const 0) (i64.const 0) (i32.const 80)))
        (drop (call $time (i32.const 1) (i64.const 0) (i32.const 88)))
        (drop (call $time (i32.const 1) (i64.const 0) (i32.const 96)))
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 40))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Random bytes, wall clock and the two readings of the monotonic clock.
fn split(output: &[u8]) -> (&[u8], [u64; 3]) {
    let time = |i: usize| u64::from_le_bytes(output[16 + 8 * i..24 + 8 * i].try_into().unwrap());
    (&output[..16], [time(0), time(1), time(2)])
}

#[tokio::test]
async fn deterministic_guest_sees_seeded_randomness_and_virtual_time() {
    let host = Host::new(1);
    let run = async |seed, time| {
        let job = Job::wat(RANDOM_AND_TIME).with(|spec| (spec.seed, spec.time) = (seed, UnixMillis(time)));
        host.run(job).await.assert_ok().output.clone()
    };
    let (one, again, other) = (run(1, 1_000).await, run(1, 1_000).await, run(2, 5_000).await);
    assert_eq!(one, again);
    assert_ne!(split(&one).0, split(&other).0);
    // Both clocks go with the fuel used: each reading is later than the one before by what lies between, and the same for every job.
    let ([wall, early, late], [other_wall, other_early, other_late]) = (split(&one).1, split(&other).1);
    let began = wall - 1_000_000_000;
    assert!(0 < began && began < early && early < late && late < 100_000, "{began} {early} {late}");
    assert_eq!((early, late), (other_early, other_late));
    assert_eq!(other_wall, 5_000_000_000 + began);
    // The seed's first bytes: another generator would be another meter of what a seed means.
    assert_eq!(hex(split(&one).0), "de37f918897f01a8f8d0cef9a4eb7bbb");
}

#[tokio::test]
async fn open_guest_sees_the_hosts_randomness_and_time() {
    let host = Host::new(1);
    let job = Job::wat(RANDOM_AND_TIME).with(|spec| spec.profile = Profile::Open);
    let (one, other) = (host.run(job.clone()).await, host.run(job).await);
    let ((random, [wall, early, late]), (other_random, [other_wall, ..])) = (split(&one.output), split(&other.output));
    assert_ne!(random, other_random);
    assert!(wall > 1_700_000_000_000_000_000, "in 2023 or later");
    assert!(other_wall > wall && late > early);
}

/// Asks how much fuel is left, tells it as progress, and returns.
const TELLS_ITS_FUEL: &str = r#"(module
    (import "adit_1" "fuel_left" (func $fuel_left (result i64)))
    (import "adit_1" "progress" (func $progress (param i64 i64)))
    (memory (export "memory") 1)
    (func (export "_start") (call $progress (call $fuel_left) (i64.const 0))))"#;

#[tokio::test]
async fn fuel_left_is_the_limit_without_the_bill_up_to_there() {
    let host = Host::new(1);
    let run = async |fuel| host.run(Job::wat(TELLS_ITS_FUEL).with(|spec| spec.limits.fuel = Fuel(fuel))).await;
    let mut bills = Vec::new();
    for limit in [10_000, 123_456_789, JobLimits::default().fuel.0, FUEL_MAX] {
        let ended = run(limit).await;
        let [(left, 0)] = ended.assert_ok().progress[..] else { panic!("{:?}", ended.progress) };
        // After the question come the call of `progress`, 150 fuel, and a handful of instructions.
        let (before, bill) = (limit - left, ended.report.usage.fuel.0);
        assert!((150..=152).contains(&(bill - before)), "{before} before, {bill} in all");
        bills.push((before, bill));
    }
    assert!(bills.iter().all(|told| *told == bills[0]), "the limit changes nothing: {bills:?}");
    // Down to the last unit, and not below: who cannot pay for the question gets no answer.
    let (before, bill) = bills[0];
    let ended = run(bill).await;
    assert_eq!(ended.assert_ok().progress, [(bill - before, 0)]);
    for limit in [bill - 1, before] {
        let ended = run(limit).await;
        assert_eq!((ended.outcome(), ended.progress), (Outcome::OutOfFuel, vec![]), "{limit}");
    }
    let ended = run(before - 1).await;
    assert_eq!((ended.outcome(), ended.report.usage.host_calls), (Outcome::OutOfFuel, 1));
}

#[tokio::test]
async fn fuel_left_is_the_same_in_the_open_profile() {
    let host = Host::new(1);
    let job = Job::wat(TELLS_ITS_FUEL);
    let open = job.clone().with(|spec| spec.profile = Profile::Open);
    assert_eq!(host.run(job).await.assert_ok().progress, host.run(open).await.assert_ok().progress);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A subscription to a stream that the guest had closed was told that it is ready, where `fd_read` says that it is a bad descriptor.
#[tokio::test]
async fn closed_stream_is_a_bad_descriptor_to_who_waits_for_it() {
    // Subscribes to reading 0, and writing 0, 1 and 2, as 0 to 3; writes the events to standard error.
    let wait = "(call $subscribe (i32.const 0) (i32.const 1) (i32.const 0))
        (call $subscribe (i32.const 1) (i32.const 2) (i32.const 0))
        (call $subscribe (i32.const 2) (i32.const 2) (i32.const 1))
        (call $subscribe (i32.const 3) (i32.const 2) (i32.const 2))
        (if (call $poll (i32.const 1024) (i32.const 2048) (i32.const 4) (i32.const 512)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 512)) (i32.const 4)) (then unreachable))
        (i32.store (i32.const 0) (i32.const 2048))
        (i32.store (i32.const 4) (i32.const 128))
        (if (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 512)) (then unreachable))";
    let job = |before: &str| {
        Job::wat(&format!(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
                (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1)
                (func $subscribe (param $n i32) (param $event i32) (param $fd i32) (local $at i32)
                    (local.set $at (i32.add (i32.const 1024) (i32.mul (local.get $n) (i32.const 48))))
                    (i64.store (local.get $at) (i64.extend_i32_u (local.get $n)))
                    (i32.store8 offset=8 (local.get $at) (local.get $event))
                    (i32.store offset=16 (local.get $at) (local.get $fd)))
                (func (export "_start") {before} {wait}))"#
        ))
    };
    const BAD: u16 = 8;
    let host = Host::new(1);
    for (before, errors) in [
        ("", [0, BAD, 0, 0]),
        ("(drop (call $fd_close (i32.const 0)))", [BAD, BAD, 0, 0]),
        ("(drop (call $fd_close (i32.const 1)))", [0, BAD, BAD, 0]),
        // Output in the place of the input, and none where it was.
        ("(drop (call $fd_renumber (i32.const 1) (i32.const 0)))", [BAD, 0, BAD, 0]),
    ] {
        let ended = host.run(job(before)).await;
        let events = ended.assert_ok().log.as_chunks::<32>().0;
        let told: Vec<_> = events.iter().map(|event| u16::from_le_bytes([event[8], event[9]])).collect();
        assert_eq!(told, errors, "{before}");
        // At least one byte can be read or written where nothing is wrong.
        let bytes = events.iter().map(|event| event[16]);
        assert!(bytes.eq(errors.map(|error| u8::from(error == 0))), "{before}");
    }
}

/// Descriptors that a guest may name: its three streams, the first that it has not, and the last that there is.
const DESCRIPTORS: [i32; 5] = [0, 1, 2, 3, -1];

#[tokio::test]
async fn paths_and_sockets_have_these_error_numbers() {
    const BAD_FD: u8 = 8;
    const NO_SOCKET: u8 = 57;
    let no_file = [BAD_FD; 5];
    let no_socket = [NO_SOCKET, NO_SOCKET, NO_SOCKET, BAD_FD, BAD_FD];
    // Which of its parameters is the descriptor, and what each of them gets.
    let rows = [
        ("path_create_directory", 0, no_file),
        ("path_filestat_get", 0, no_file),
        ("path_filestat_set_times", 0, no_file),
        ("path_link", 0, no_file),
        ("path_open", 0, no_file),
        ("path_readlink", 0, no_file),
        ("path_remove_directory", 0, no_file),
        ("path_rename", 0, no_file),
        ("path_symlink", 2, no_file),
        ("path_unlink_file", 0, no_file),
        ("sock_accept", 0, no_socket),
        ("sock_recv", 0, no_socket),
        ("sock_send", 0, no_socket),
        ("sock_shutdown", 0, no_socket),
    ];
    let named = FUNCTIONS.iter().filter(|function| function.1.starts_with("path_") || function.1.starts_with("sock_"));
    assert_eq!(named.map(|function| function.1).collect::<Vec<_>>(), rows.map(|row| row.0));
    let host = Host::new(1);
    for (name, at, want) in rows {
        let parameters = FUNCTIONS.iter().find(|function| function.1 == name).unwrap().2;
        let spell = |letter: char| if letter == 'i' { "i32" } else { "i64" };
        let types: String = parameters.chars().map(|letter| format!(" {}", spell(letter))).collect();
        let call = |fd: i32| -> String {
            let value = |n: usize| if n == at { fd } else { 0 };
            parameters.chars().enumerate().map(|(n, letter)| format!(" ({}.const {})", spell(letter), value(n))).collect()
        };
        let calls: String =
            (0..).zip(DESCRIPTORS).map(|(n, fd)| format!("(i32.store8 (i32.const {}) (call $it{}))", 64 + n, call(fd))).collect();
        let text = format!(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "{name}" (func $it (param{types}) (result i32)))
                (memory (export "memory") 1)
                (func (export "_start")
                    {calls}
                    (i32.store (i32.const 0) (i32.const 64))
                    (i32.store (i32.const 4) (i32.const 5))
                    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
        );
        let ended = host.run(Job::wat(&text)).await;
        assert_eq!(ended.assert_ok().output, want, "{name} of {DESCRIPTORS:?}");
    }
}
