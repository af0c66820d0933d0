//! The list of kernels.

use crate::{arithmetic, control, crypto, data, matrix, memory, science, text};

/// A program to measure.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// How it is asked for.
    pub(crate) name: &'static str,
    /// How much work takes some 100 to 300 ms as a guest.
    pub(crate) size: u32,
    /// Does so much work, and returns a number that depends on all of it.
    pub(crate) run: fn(u32) -> u64,
}

macro_rules! kernels {
    ($($name:literal, $size:literal, $run:path;)*) => {
        /// Every kernel, in the order of the tables.
        pub(crate) const KERNELS: &[Kernel] = &[$(Kernel { name: $name, size: $size, run: $run },)*];
    };
}

kernels! {
    "integer_mix", 80_000, arithmetic::integer_mix;
    "division", 20_000, arithmetic::division;
    "float32", 45_000, arithmetic::float32;
    "float64", 15_000, arithmetic::float64;
    "square_root", 16_000, arithmetic::square_root;
    "quantise", 30_000, arithmetic::quantise;
    "wide", 70_000, arithmetic::wide;
    "vector_mix", 600_000, arithmetic::vector_mix;
    "vector_root", 48_000, arithmetic::vector_root;
    "matrix_scalar", 180, matrix::scalar;
    "matrix_simd", 750, matrix::simd;
    "mandelbrot", 2_400, science::mandelbrot;
    "nbody", 2_500, science::nbody;
    "sha256", 700, crypto::sha256;
    "curve25519", 2_200, crypto::curve25519;
    "sort", 100, data::sort;
    "hash_map", 80, data::hash_map;
    "binary_tree", 600, data::binary_tree;
    "edit_distance", 32, data::edit_distance;
    "words", 80, text::words;
    "json", 80, text::json;
    "regex", 90, text::regex;
    "pointer_chase", 4_000, memory::pointer_chase;
    "memory_copy", 6_000, memory::copy;
    "memory_fill", 12_000, memory::fill;
    "fib", 560, control::fib;
    "indirect", 7_500, control::indirect;
    "interpreter", 8_000, control::interpreter;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each kernel prints for size 2. A kernel that comes to compute something else is another kernel: figures of before and
    /// after do not compare, and guests in golden files change.
    const CHECKSUMS: &[(&str, u64)] = &[
        ("integer_mix", 0x261b_9ebb_440b_e1f5),
        ("division", 0x92b9_a48c_df50_015e),
        ("float32", 0xba71_d37a_84f4_c81d),
        ("float64", 0x2327_44f3_5abe_5098),
        ("square_root", 0x1b00_3b2d_7cae_59bf),
        ("quantise", 0x27b7_8ee1_5af2_db9e),
        ("wide", 0x52ec_68de_c40c_acef),
        ("vector_mix", 0x4bc8_0f46_5f9e_362e),
        ("vector_root", 0xb18c_1f27_9e58_5345),
        ("matrix_scalar", 0xaba8_0b5f_0b0a_946b),
        ("matrix_simd", 0xaba8_0b5f_0b0a_946b),
        ("mandelbrot", 0x276a_549e_7b6c_ecc2),
        ("nbody", 0xab1c_05e9_a273_7d19),
        ("sha256", 0xd2e3_8391_6c1d_63b2),
        ("curve25519", 0xf276_fc83_d046_00df),
        ("sort", 0xab00_12c6_ac07_a159),
        ("hash_map", 0xe73d_4e9b_dfeb_849c),
        ("binary_tree", 0x97e6_63ef_d3b1_f07c),
        ("edit_distance", 0xdde4_fb8d_3909_4b14),
        ("words", 0x99fe_7916_70e0_225c),
        ("json", 0x3838_af84_f48e_5e16),
        ("regex", 0x46e6_c3b7_2297_7acc),
        ("pointer_chase", 0x5ea4_4794_7632_8c41),
        ("memory_copy", 0x2dfe_b8b9_fccb_ac1e),
        ("memory_fill", 0xd7fe_b8d6_5429_9e4a),
        ("fib", 0x421f_c1af_df4b_c921),
        ("indirect", 0xf6d1_c129_82db_c3aa),
        ("interpreter", 0xae5d_9d09_5281_07f0),
    ];

    #[test]
    fn kernels_compute_what_they_always_did() {
        let computed: Vec<(&str, u64)> = KERNELS.iter().map(|kernel| (kernel.name, (kernel.run)(2))).collect();
        assert_eq!(computed, CHECKSUMS);
    }

    #[test]
    fn every_kernel_does_more_for_a_larger_size() {
        for kernel in KERNELS {
            assert_ne!((kernel.run)(1), (kernel.run)(2), "{}", kernel.name);
        }
    }

    #[test]
    fn names_are_distinct() {
        for (n, kernel) in KERNELS.iter().enumerate() {
            assert!(KERNELS[..n].iter().all(|other| other.name != kernel.name), "{}", kernel.name);
        }
    }
}
