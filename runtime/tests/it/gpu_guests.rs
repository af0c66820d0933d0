//! Guests of the SDK on Mesa's software adapter, compiled by `cargo xtask guests`; without them there is nothing to test.

use std::sync::Arc;
use std::time::Duration;

use adit_protocol::{ByteCount, Comparison, GpuNeed, Outcome};
use adit_runtime::GpuConfig;

use crate::support::{Ended, Host, Job};

/// A guest of this name, with a GPU.
fn guest(name: &str) -> Option<Job> {
    let wasm = wasm(name)?;
    Some(Job::of(wasm).with(|spec| {
        spec.gpu = Some(GpuNeed::default());
        spec.limits.gpu_ns = 60_000_000_000;
    }))
}

fn wasm(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var("ADIT_GUESTS").ok()?;
    Some(std::fs::read(format!("{folder}/{name}.wasm")).unwrap_or_else(|error| panic!("{name}: {error}")))
}

async fn host() -> Host {
    let gpu = GpuConfig { software: true, memory: ByteCount(256 << 20), slice: Duration::from_secs(120), ..GpuConfig::default() };
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let host = Host::with(folder, |config| (config.slots, config.gpu) = (1, Some(gpu)));
    host.runtime
        .gpu_settled()
        .await
        .unwrap_or_else(|error| panic!("no Vulkan adapter to test on ({error}); `cargo xtask setup` installs one"));
    host
}

#[track_caller]
fn output(ended: &Ended) -> &[u8] {
    assert!(ended.outcome().is_success(), "{} {}", ended.report.reason, String::from_utf8_lossy(&ended.log));
    &ended.output
}

#[tokio::test]
async fn node_keeps_the_rules_that_native_tests_of_guests_keep() {
    let Some(job) = guest("gpu-rules") else { return };
    let ended = host().await.run(job).await;
    let said = String::from_utf8_lossy(output(&ended)).into_owned();
    assert!(said.ends_with(" rules hold\n"), "{said}");
}

#[tokio::test]
async fn integers_are_those_of_the_cpu() {
    let (Some(scan), Some(histogram)) = (guest("scan"), guest("histogram")) else { return };
    let host = host().await;
    let input: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8 & (n >> 9) as u8).collect();
    let mut sum = 0u32;
    let sums = input.as_chunks().0.iter().flat_map(|word| {
        sum = sum.wrapping_add(u32::from_le_bytes(*word));
        sum.to_le_bytes()
    });
    let scanned = host.run(scan.input(&input)).await;
    assert!(output(&scanned).iter().copied().eq(sums));
    assert_eq!(scanned.report.gpu.as_ref().unwrap().comparison, Comparison::Exact);
    let mut bins = [0; 256];
    input.iter().for_each(|byte| bins[usize::from(*byte)] += 1);
    let lines: String = (0..256).filter(|byte| bins[*byte] > 0).map(|byte| format!("{byte:02x} {}\n", bins[byte])).collect();
    let counted = host.run(histogram.input(&input)).await;
    assert_eq!(String::from_utf8_lossy(output(&counted)), lines);
}

#[tokio::test]
async fn guest_in_c_computes_through_adit_h() {
    let Some(job) = guest("doubles-c") else { return };
    let numbers = |factor: u32| (0..1_000).flat_map(|n: u32| (factor * n).to_le_bytes()).collect::<Vec<_>>();
    let host = host().await;
    let ended = host.run(job.input(&numbers(1))).await;
    assert!(output(&ended) == numbers(2));
    assert_eq!(ended.report.gpu.as_ref().unwrap().dispatches, 1);
    // Without one it says why it has none.
    let none = Host::new(1).run(guest("doubles-c").unwrap().with(|spec| (spec.gpu, spec.limits.gpu_ns) = (None, 0))).await;
    assert_eq!(none.outcome(), Outcome::Finished { exit_code: 1 });
    assert!(String::from_utf8_lossy(&none.log).contains("no GPU"), "{}", String::from_utf8_lossy(&none.log));
}

/// A job of the path tracer in postcard: a picture of 64x36 with four paths for each pixel and seed 1, the only frame of its film; a part
/// of it, and of the scene that is built in.
const TILE: [u8; 12] = [64, 36, 4, 1, 0, 0, 1, 24, 8, 32, 24, 0];

/// The mean of the differences of bytes that `examples/pathtracer` allows.
const DIFFERENCE_MAX: f64 = 0.05;

#[tokio::test]
async fn path_tracer_gives_the_cpus_picture() {
    let (Some(job), Some(cpu)) = (guest("pathtracer-gpu"), wasm("pathtracer")) else { return };
    let host = host().await;
    let by_gpu = host.run(job.input(&TILE)).await;
    let by_cpu = host.run(Job::of(cpu).input(&TILE)).await;
    assert_eq!(output(&by_gpu).len(), output(&by_cpu).len());
    let differences = output(&by_gpu).iter().zip(output(&by_cpu)).map(|(a, b)| f64::from(a.abs_diff(*b)));
    assert!(differences.sum::<f64>() / output(&by_cpu).len() as f64 <= DIFFERENCE_MAX);
    assert_eq!(by_gpu.report.gpu.as_ref().unwrap().comparison, Comparison::Class, "it computes with floats");
}

/// Numbers from -1 to 1 that look like chance.
fn floats(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from((state >> 16) as u16) / 32_768.0 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn floats_of(output: &[u8]) -> Vec<f64> {
    output.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
}

/// The product of two matrices by rows, of which the first has rows of this length, in `f64`.
fn multiply(a: &[f64], b: &[f32], inner: usize) -> Vec<f64> {
    let columns = b.len() / inner;
    let number = |row: usize, column: usize| (0..inner).map(|i| a[row * inner + i] * f64::from(b[i * columns + column])).sum();
    (0..a.len() / inner).flat_map(|row| (0..columns).map(move |column| number(row, column))).collect()
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

#[track_caller]
fn assert_near(ended: &Ended, expected: &[f64], tolerance: f64) {
    let computed = floats_of(output(ended));
    assert_eq!(computed.len(), expected.len());
    for (at, (computed, expected)) in computed.iter().zip(expected).enumerate() {
        assert!((computed - expected).abs() <= tolerance, "number {at}: {computed} for {expected}");
    }
    assert_eq!(ended.report.gpu.as_ref().unwrap().comparison, Comparison::Class, "they are floats");
}

#[tokio::test]
async fn matrix_product_on_a_node_is_that_of_the_cpu_within_what_rounding_allows() {
    let Some(job) = guest("matmul") else { return };
    let (rows, inner, columns) = (33, 47, 20);
    let (a, b) = (floats(1, rows * inner), floats(2, inner * columns));
    let input = postcard::to_allocvec(&(rows as u32, inner as u32, columns as u32, &a, &b)).unwrap();
    let ended = host().await.run(job.input(&input)).await;
    // Each term is at most 1.
    assert_near(&ended, &multiply(&wide(&a), &b, inner), (inner + 2) as f64 / f64::from(1 << 23) * inner as f64);
}

#[tokio::test]
async fn attention_on_a_node_is_that_of_the_cpu_within_its_tolerance() {
    let Some(job) = guest("attention") else { return };
    let (tokens, width, heads) = (7, 12, 3);
    let input = floats(1, tokens * width);
    let [query, key, value, out] = [2, 3, 4, 5].map(|seed| floats(seed, width * width));
    let layer = (tokens as u32, width as u32, heads as u32, &input, &query, &key, &value, &out);
    let ended = host().await.run(job.input(&postcard::to_allocvec(&layer).unwrap())).await;
    let [q, k, v] = [&query, &key, &value].map(|weights| multiply(&wide(&input), weights, width));
    let head = width / heads;
    let mut mixed = vec![0.0; tokens * width];
    for first in (0..width).step_by(head) {
        for token in 0..tokens {
            let score = |other: usize| -> f64 {
                (first..first + head).map(|i| q[token * width + i] * k[other * width + i]).sum::<f64>() / (head as f64).sqrt()
            };
            let raised: Vec<f64> = (0..tokens).map(|other| score(other).exp()).collect();
            let sum: f64 = raised.iter().sum();
            for i in first..first + head {
                mixed[token * width + i] = (0..tokens).map(|other| raised[other] / sum * v[other * width + i]).sum();
            }
        }
    }
    // As `examples/gpu/tests/it/floats.rs` states it.
    assert_near(&ended, &multiply(&mixed, &out, width), 2e-5);
}
