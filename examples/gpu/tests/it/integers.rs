//! Bit for bit, whatever the adapter.

use adit_example_gpu::{histogram, scan};

use crate::{Numbers, gpu};

#[test]
fn prefix_sums_are_those_of_the_cpu() {
    let gpu = gpu();
    let mut numbers = Numbers(1);
    // Around a block of 1024, around 1024 blocks, and what takes three levels.
    for count in [0, 1, 2, 3, 4, 5, 255, 1023, 1024, 1025, 4097, 1_048_575, 1_048_576, 1_048_577, 1_200_007] {
        let numbers = numbers.integers(count);
        let mut sum = 0u32;
        let expected: Vec<u32> = numbers
            .iter()
            .map(|number| {
                sum = sum.wrapping_add(*number);
                sum
            })
            .collect();
        assert!(scan::prefix_sums(&gpu, &numbers).unwrap() == expected, "{count} numbers");
    }
}

#[test]
fn prefix_sums_of_ones_count() {
    let counted = scan::prefix_sums(&gpu(), &[1; 70_001]).unwrap();
    assert!(counted.iter().copied().eq(1..=70_001));
}

#[test]
fn histogram_is_that_of_the_cpu() {
    let gpu = gpu();
    let mut numbers = Numbers(2);
    // Around a word, around what a workgroup takes, and around a piece of 16 MiB.
    for count in [0, 1, 2, 3, 4, 5, 1023, 65_535, 65_536, 65_537, 200_003, (16 << 20) - 1, (16 << 20) + 1, (16 << 20) + 6] {
        let words = numbers.integers(count / 4 + 1);
        // The and makes some bytes more frequent than others.
        let bytes: Vec<u8> = words.iter().flat_map(|word| (word & word.rotate_left(9)).to_le_bytes()).take(count).collect();
        let mut expected = vec![0; 256];
        bytes.iter().for_each(|byte| expected[usize::from(*byte)] += 1);
        assert_eq!(histogram::histogram(&gpu, &bytes).unwrap(), expected, "{count} bytes");
    }
}

#[test]
fn bytes_of_one_kind_are_all_counted() {
    let bins = histogram::histogram(&gpu(), &[7; 300_001]).unwrap();
    assert_eq!(histogram::lines(&bins), "07 300001\n");
}
