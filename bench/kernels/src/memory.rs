//! Memory itself: its latency and its bandwidth.

use crate::random::{Random, mix};

/// Follows pointers through 64 MiB, a cache line each and in an order that no prefetcher guesses; a size counts 1,000 pointers.
pub(crate) fn pointer_chase(size: u32) -> u64 {
    const LINES: u32 = 1 << 20;
    const WORDS_PER_LINE: u32 = 16;
    let mut memory = vec![0u32; (LINES * WORDS_PER_LINE) as usize];
    // x -> a x + c modulo a power of two visits every line once, as a - 1 is a multiple of 4 and c is odd (Hull and Dobell 1962).
    for line in 0..LINES {
        let next = line.wrapping_mul(0x0a3b_1f35).wrapping_add(0x3c6f) % LINES;
        memory[(line * WORDS_PER_LINE) as usize] = next * WORDS_PER_LINE;
    }
    let mut at = 0;
    for _ in 0..size * 1_000 {
        at = memory[at as usize];
    }
    mix(u64::from(at) ^ u64::from(size) << 32)
}

/// Bytes of a buffer that is copied and filled: more than the second level of a core's cache holds.
const BUFFER: usize = 8 << 20;
/// What is copied and filled at a time, in turn: most often a little, as programs do, most bytes in large pieces.
const PIECES: [usize; 8] = [256 << 10, 1 << 10, 64 << 10, 4 << 10, 1 << 10, 16 << 10, 4 << 10, 1 << 10];

/// Copies 347 KiB in [`PIECES`] between two buffers and back; a size counts these.
pub(crate) fn copy(size: u32) -> u64 {
    let mut from: Vec<u8> = (0..BUFFER as u32).map(|n| (n ^ n >> 8) as u8).collect();
    let mut to = vec![0; BUFFER];
    let mut random = Random::new(29);
    for _ in 0..size {
        for piece in PIECES {
            let [source, target] = [(); 2].map(|()| random.below((BUFFER - piece) as u32) as usize);
            to[target..target + piece].copy_from_slice(&from[source..source + piece]);
        }
        std::mem::swap(&mut from, &mut to);
    }
    from.iter().chain(&to).step_by(4099).fold(u64::from(size), |sum, byte| mix(sum ^ u64::from(*byte)))
}

/// Fills 347 KiB in [`PIECES`]; a size counts these.
pub(crate) fn fill(size: u32) -> u64 {
    let mut buffer = vec![0u8; BUFFER];
    let mut random = Random::new(31);
    for n in 0..size {
        for piece in PIECES {
            let target = random.below((BUFFER - piece) as u32) as usize;
            buffer[target..target + piece].fill(n as u8);
        }
    }
    buffer.iter().step_by(4099).fold(u64::from(size), |sum, byte| mix(sum ^ u64::from(*byte)))
}
