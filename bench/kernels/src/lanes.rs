//! Vectors of four lanes: the processor's own in a guest, an array on the host, with the same results.

#[cfg(target_arch = "wasm32")]
mod imp {
    use core::arch::wasm32::*;

    /// Four floats.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Floats(v128);

    /// Four words.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Words(v128);

    impl Floats {
        pub(crate) fn new([a, b, c, d]: [f32; 4]) -> Self {
            Self(f32x4(a, b, c, d))
        }

        pub(crate) fn splat(value: f32) -> Self {
            Self(f32x4_splat(value))
        }

        pub(crate) fn plus(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0))
        }

        pub(crate) fn times(self, other: Self) -> Self {
            Self(f32x4_mul(self.0, other.0))
        }

        pub(crate) fn over(self, other: Self) -> Self {
            Self(f32x4_div(self.0, other.0))
        }

        pub(crate) fn root(self) -> Self {
            Self(f32x4_sqrt(self.0))
        }

        pub(crate) fn lanes(self) -> [f32; 4] {
            [
                f32x4_extract_lane::<0>(self.0),
                f32x4_extract_lane::<1>(self.0),
                f32x4_extract_lane::<2>(self.0),
                f32x4_extract_lane::<3>(self.0),
            ]
        }
    }

    impl Words {
        pub(crate) fn new([a, b, c, d]: [u32; 4]) -> Self {
            Self(u32x4(a, b, c, d))
        }

        pub(crate) fn plus(self, other: Self) -> Self {
            Self(u32x4_add(self.0, other.0))
        }

        pub(crate) fn xor(self, other: Self) -> Self {
            Self(v128_xor(self.0, other.0))
        }

        pub(crate) fn rotate(self, bits: u32) -> Self {
            Self(v128_or(u32x4_shl(self.0, bits), u32x4_shr(self.0, 32 - bits)))
        }

        pub(crate) fn turn(self) -> Self {
            Self(u32x4_shuffle::<1, 2, 3, 0>(self.0, self.0))
        }

        pub(crate) fn lanes(self) -> [u32; 4] {
            [
                u32x4_extract_lane::<0>(self.0),
                u32x4_extract_lane::<1>(self.0),
                u32x4_extract_lane::<2>(self.0),
                u32x4_extract_lane::<3>(self.0),
            ]
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod imp {
    use std::array;

    /// Four floats.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Floats([f32; 4]);

    /// Four words.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Words([u32; 4]);

    impl Floats {
        pub(crate) fn new(lanes: [f32; 4]) -> Self {
            Self(lanes)
        }

        pub(crate) fn splat(value: f32) -> Self {
            Self([value; 4])
        }

        pub(crate) fn plus(self, other: Self) -> Self {
            Self(array::from_fn(|lane| self.0[lane] + other.0[lane]))
        }

        pub(crate) fn times(self, other: Self) -> Self {
            Self(array::from_fn(|lane| self.0[lane] * other.0[lane]))
        }

        pub(crate) fn over(self, other: Self) -> Self {
            Self(array::from_fn(|lane| self.0[lane] / other.0[lane]))
        }

        pub(crate) fn root(self) -> Self {
            Self(self.0.map(f32::sqrt))
        }

        pub(crate) fn lanes(self) -> [f32; 4] {
            self.0
        }
    }

    impl Words {
        pub(crate) fn new(lanes: [u32; 4]) -> Self {
            Self(lanes)
        }

        pub(crate) fn plus(self, other: Self) -> Self {
            Self(array::from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
        }

        pub(crate) fn xor(self, other: Self) -> Self {
            Self(array::from_fn(|lane| self.0[lane] ^ other.0[lane]))
        }

        pub(crate) fn rotate(self, bits: u32) -> Self {
            Self(self.0.map(|lane| lane.rotate_left(bits)))
        }

        pub(crate) fn turn(self) -> Self {
            Self(array::from_fn(|lane| self.0[(lane + 1) % 4]))
        }

        pub(crate) fn lanes(self) -> [u32; 4] {
            self.0
        }
    }
}

pub(crate) use imp::{Floats, Words};
