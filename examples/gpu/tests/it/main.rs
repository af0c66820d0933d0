//! The GPU's results against those of this machine's CPU, over sizes that fill no tile, one, and more than one.

mod floats;
mod integers;
mod jobs;

use adit_guest::gpu::Gpu;

fn gpu() -> Gpu {
    Gpu::open().expect("`cargo xtask setup` installs a software GPU where there is no other")
}

/// Numbers that only look random (SplitMix64, Steele et al. 2014).
struct Numbers(u64);

impl Numbers {
    fn integer(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    }

    fn integers(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.integer()).collect()
    }

    /// From `-scale` to `scale`.
    fn floats(&mut self, count: u32, scale: f32) -> Vec<f32> {
        (0..count).map(|_| (self.integer() as f32 / (1u64 << 31) as f32 - 1.0) * scale).collect()
    }
}
