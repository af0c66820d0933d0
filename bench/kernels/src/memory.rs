//! Memory itself: its latency and its bandwidth.

use crate::random::mix;

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

/// Copies between and within buffers: 64 KiB eight times, then 4 KiB sixteen times; a size counts these 576 KiB.
pub(crate) fn copy(size: u32) -> u64 {
    const BUFFER: usize = 1 << 20;
    let mut from: Vec<u8> = (0..BUFFER as u32).map(|n| (n ^ n >> 8) as u8).collect();
    let mut to = vec![0; BUFFER];
    for n in 0..size as usize {
        for part in 0..8 {
            let at = (n * 13 + part * (96 << 10)) % (BUFFER - (64 << 10));
            to[at..at + (64 << 10)].copy_from_slice(&from[part << 16..(part + 1) << 16]);
        }
        for part in 0..16 {
            let at = (n * 29 + part * (5 << 10)) % (BUFFER - (8 << 10));
            from.copy_within(at..at + (4 << 10), at + (3 << 10));
        }
    }
    from.iter().chain(&to).step_by(61).fold(u64::from(size), |sum, byte| mix(sum ^ u64::from(*byte)))
}

/// Fills 64 KiB eight times, then 4 KiB sixteen times; a size counts these 576 KiB.
pub(crate) fn fill(size: u32) -> u64 {
    const BUFFER: usize = 1 << 20;
    let mut buffer = vec![0u8; BUFFER];
    for n in 0..size as usize {
        for part in 0..8 {
            let at = (n * 13 + part * (96 << 10)) % (BUFFER - (64 << 10));
            buffer[at..at + (64 << 10)].fill((n + part) as u8);
        }
        for part in 0..16 {
            let at = (n * 29 + part * (5 << 10)) % (BUFFER - (4 << 10));
            buffer[at..at + (4 << 10)].fill((n ^ part) as u8);
        }
    }
    buffer.iter().step_by(61).fold(u64::from(size), |sum, byte| mix(sum ^ u64::from(*byte)))
}
