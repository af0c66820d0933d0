//! The GPU worker, spoken to over its sockets, on the software adapter.

use adit_protocol::{ByteCount, GpuNeed};

use crate::gpu_client::Gpu;
use crate::gpu_client::wire::Command;

fn need() -> GpuNeed {
    GpuNeed { memory: ByteCount(512 << 20), ..GpuNeed::default() }
}

/// Adds one to each word of a buffer.
const INCREMENT: &str = "
    @group(0) @binding(0) var<storage, read_write> words: array<u32>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3u) {
        if id.x < arrayLength(&words) { words[id.x] += 1u; }
    }";

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn dispatch_computes_what_the_shader_says() {
    let mut gpu = Gpu::start();
    let mut sandbox = gpu.open(1, need());
    gpu.pipeline(&sandbox, 0, INCREMENT);
    let words: Vec<u32> = (0..1000).collect();
    sandbox.create(0, 4000);
    sandbox.write(0, &bytes_of(&words));
    sandbox.dispatch(0, &[0], [16, 1, 1], &[4000]);
    assert_eq!(sandbox.read_words(0, 1000), (1..=1000).collect::<Vec<_>>());
    let used = gpu.close(&sandbox);
    assert_eq!((used.dispatches, used.bytes_moved, used.memory_peak), (1, 8000, 4000));
    assert!(used.ns > 0 && !used.has_floats, "{used:?}");
}

#[test]
fn chain_of_dispatches_needs_no_reading_back() {
    let mut gpu = Gpu::start();
    let mut sandbox = gpu.open(1, need());
    gpu.pipeline(&sandbox, 0, INCREMENT);
    sandbox.create(0, 4096);
    sandbox.create(1, 4096);
    for _ in 0..100 {
        sandbox.dispatch(0, &[0], [16, 1, 1], &[4096]);
    }
    sandbox.tell(&Command::Copy { from: 0, from_offset: 0, to: 1, to_offset: 0, bytes: 2048 });
    sandbox.dispatch(0, &[1], [16, 1, 1], &[4096]);
    sandbox.finish();
    let words = sandbox.read_words(1, 1024);
    assert!(words[..512].iter().all(|word| *word == 101) && words[512..].iter().all(|word| *word == 1), "{words:?}");
    assert_eq!(gpu.close(&sandbox).dispatches, 101);
}

#[test]
fn bulk_data_comes_back_as_it_went() {
    let mut gpu = Gpu::start();
    let mut sandbox = gpu.open(1, need());
    let words: Vec<u32> = (0..16_u32 << 20).map(|at| at.wrapping_mul(0x9e37_79b9)).collect();
    let data = bytes_of(&words);
    sandbox.create(0, 64 << 20);
    sandbox.write(0, &data);
    assert!(sandbox.read(0, 0, 64 << 20) == data, "64 MiB, bit for bit");
    assert!(sandbox.read(0, (1 << 20) - 4, 8 << 20) == data[(1 << 20) - 4..][..8 << 20]);
    assert_eq!(sandbox.read(0, 64 << 20, 0), []);
    assert_eq!(gpu.close(&sandbox).bytes_moved, (64 + 64 + 8) << 20);
}
