//! How often each byte occurs. A workgroup counts in memory of its own, by atomic additions, and adds what it has to the whole; integers,
//! so the order in which that happens cannot be seen.

use adit_guest::gpu::{self, Gpu};

const WGSL: &str = include_str!("histogram.wgsl");
/// Bytes that are on the GPU at one time.
const PIECE_BYTES: usize = 16 << 20;
/// Words that one invocation counts, about: fewer, and adding up is what takes the time.
const WORDS_PER_INVOCATION: u32 = 64;
const INVOCATIONS: u32 = 256;

/// How often each of the 256 bytes occurs in `bytes`.
///
/// # Errors
/// The job may not have a few MiB on the GPU.
pub fn histogram(gpu: &Gpu, bytes: &[u8]) -> Result<Vec<u32>, gpu::Error> {
    let count = gpu.pipeline(WGSL, "count")?;
    let bins = gpu.buffer::<u32>(256)?;
    let piece = gpu.buffer::<u8>(bytes.len().min(PIECE_BYTES).next_multiple_of(4))?;
    let length = gpu.buffer::<u32>(1)?;
    for part in bytes.chunks(PIECE_BYTES) {
        // What is over the last word was counted, or is zero, and is not looked at.
        let (words, rest) = part.split_at(part.len() - part.len() % 4);
        piece.write(0, words)?;
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            piece.write(words.len(), &last)?;
        }
        length.write(0, &[part.len() as u32])?;
        let workgroups = (part.len() as u32).div_ceil(4 * INVOCATIONS * WORDS_PER_INVOCATION);
        gpu.dispatch(&count, &[piece.at(0), length.at(1), bins.at(2)], [workgroups, 1, 1])?;
    }
    bins.read()
}

/// The bytes that occur and how often, a line for each.
pub fn lines(bins: &[u32]) -> String {
    let occur = bins.iter().enumerate().filter(|(_, count)| **count > 0);
    occur.map(|(byte, count)| format!("{byte:02x} {count}\n")).collect()
}
