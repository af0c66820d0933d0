//! Bytes as nobody should send them, for tests: a good text with a few of its bytes or parts changed.

/// The same bytes for the same seed.
pub(crate) fn mutate(good: &[u8], seed: u64) -> Vec<u8> {
    // Splitmix64.
    let mut state = seed;
    let mut next = move |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % below.max(1)
    };
    let mut bytes = good.to_vec();
    for _ in 0..=next(4) {
        let (at, length) = (next(bytes.len() + 1), next(40));
        let end = (at + length).min(bytes.len());
        match next(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let part = bytes[at..end].to_vec();
                let to = next(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            3 => bytes.insert(at, b"\n \t0+=\0\xff"[next(8)]),
            4 if at < bytes.len() => bytes[at] = next(256) as u8,
            5 if at < bytes.len() => bytes[at] ^= 1 << next(8),
            _ => {
                let digits = next(24);
                bytes.splice(at..at, std::iter::repeat_n(b'9', digits));
            }
        }
    }
    bytes
}
