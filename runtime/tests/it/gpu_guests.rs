//! Guests of the SDK on Mesa's software adapter, compiled by `cargo xtask guests`; without them there is nothing to test.

use std::sync::Arc;
use std::time::Duration;

use adit_protocol::{ByteCount, Comparison, GpuNeed};
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
