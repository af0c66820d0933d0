//! Registers and little else: each kernel leans on one unit of the processor. A size counts 1,000 steps.

use crate::lanes::{Floats, Words};
use crate::random::{Random, bits32, bits64, mix};

/// Steps of one unit of size.
const STEPS: u32 = 1_000;

/// Additions, shifts, rotations, logic and multiplications of 32 and 64 bits.
pub(crate) fn integer_mix(size: u32) -> u64 {
    let (mut a, mut b, mut c) = (0x0123_4567_89ab_cdefu64, 0xfeed_face_u32, 1u64);
    for n in 0..size * STEPS {
        b = (b ^ n).rotate_left(7).wrapping_add(a as u32);
        a = (a ^ (a << 13) ^ u64::from(b)).rotate_right(11);
        c = c.wrapping_mul(a | 1).wrapping_add(a >> 17);
    }
    mix(a ^ u64::from(b)) ^ c
}

/// 64-bit divisions and remainders, each waiting for the one before, with divisors of 8 to 40 bits.
pub(crate) fn division(size: u32) -> u64 {
    let (mut value, mut sum) = (u64::MAX, 0u64);
    for n in 0..size * STEPS {
        let divisor = (value >> (24 + (n & 31))) | 3;
        let quotient = value / divisor;
        sum = sum.wrapping_add(value % (quotient | 1));
        value = value.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(quotient | 1);
    }
    mix(sum) ^ value
}

/// Two recursive filters of second order in series, over a saw-tooth.
pub(crate) fn float32(size: u32) -> u64 {
    let (mut x, mut sum) = ([0f32; 4], 0f32);
    let mut saw = -1f32;
    for _ in 0..size * STEPS {
        saw += 0.013;
        if saw > 1.0 {
            saw -= 2.0;
        }
        let first = 0.2 * saw + 1.1 * x[0] - 0.4 * x[1];
        let second = 0.3 * first - 0.2 * x[0] + 0.9 * x[2] - 0.3 * x[3];
        x = [first, x[0], second, x[2]];
        sum = 0.999 * sum + second;
    }
    mix(bits32(sum))
}

/// Two chains of different shape, side by side: a sine by Horner's scheme, an exponential by Estrin's.
pub(crate) fn float64(size: u32) -> u64 {
    const SINE: [f64; 4] = [1.0, -1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0];
    const POWER: [f64; 6] = [1.0, 1.0, 1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0];
    let (mut x, mut y, mut sum) = (0.5f64, 0.25f64, 0f64);
    for n in 0..size * STEPS {
        let shift = f64::from(n & 1023) / 2048.0;
        let square = x * x;
        let sine = x * (SINE[0] + square * (SINE[1] + square * (SINE[2] + square * SINE[3])));
        let (low, middle, high) = (POWER[0] + y * POWER[1], POWER[2] + y * POWER[3], POWER[4] + y * POWER[5]);
        let power = low + (y * y) * (middle + (y * y) * high);
        sum = sum * 0.75 + sine - power;
        x = 1.5 - sine - shift;
        y = (power - shift) * 0.25;
    }
    mix(bits64(sum))
}

/// Square roots of both widths, and a division.
pub(crate) fn square_root(size: u32) -> u64 {
    let (mut x, mut y, mut sum) = (2f64, 3f32, 0f64);
    for n in 0..size * STEPS {
        x = (x + f64::from(n & 1023)).sqrt() + 1.0;
        y = (y * 2.5 + 1.0).sqrt();
        sum = sum * 0.5 + f64::from(y) / x;
    }
    mix(bits64(sum) ^ bits64(x))
}

/// Samples to bytes with the error carried on: clamping, rounding and conversions.
pub(crate) fn quantise(size: u32) -> u64 {
    let mut random = Random::new(11);
    let samples: Vec<i16> = (0..STEPS).map(|_| random.next() as i16).collect();
    let (mut error, mut sum) = (0f32, 0u64);
    for round in 0..size {
        let gain = 1.0 + (round & 15) as f32 / 32.0;
        for sample in &samples {
            let wanted = (f32::from(*sample) * gain / 256.0 + error).clamp(-128.0, 127.0);
            let rounded = (wanted + 0.5).floor();
            error = (wanted - rounded) * 0.5;
            sum = sum.wrapping_mul(31).wrapping_add(rounded as i32 as u64);
        }
    }
    mix(sum)
}

/// Products of 64 by 64 bits, both halves of which are used, and additions that carry.
pub(crate) fn wide(size: u32) -> u64 {
    let (mut low, mut high) = (0x2545_f491_4f6c_dd1du64, 0x9e37_79b9_7f4a_7c15u64);
    for n in 0..size * STEPS {
        let product = u128::from(low) * u128::from(high | 1);
        let sum = product.wrapping_add((u128::from(high) << 64) | u128::from(low)).wrapping_add(u128::from(n));
        low = sum as u64;
        high = (sum >> 64) as u64;
    }
    mix(low) ^ high
}

/// ChaCha's double round (RFC 8439) on four columns at once.
pub(crate) fn vector_mix(size: u32) -> u64 {
    let row = |n| Words::new([n, n + 1, n + 2, n + 3]);
    let mut rows = [row(1), row(5), row(9), row(13)];
    // A step of this kernel is sixteen quarter-rounds of four lanes.
    for _ in 0..size * (STEPS / 50) {
        rows = quarter_rounds(rows);
        rows = [rows[0], rows[1].turn(), rows[2].turn().turn(), rows[3].turn().turn().turn()];
        rows = quarter_rounds(rows);
        rows = [rows[0], rows[1].turn().turn().turn(), rows[2].turn().turn(), rows[3].turn()];
    }
    rows.iter().flat_map(|row| row.lanes()).fold(0, |sum, lane| mix(sum ^ u64::from(lane)))
}

fn quarter_rounds([mut a, mut b, mut c, mut d]: [Words; 4]) -> [Words; 4] {
    a = a.plus(b);
    d = d.xor(a).rotate(16);
    c = c.plus(d);
    b = b.xor(c).rotate(12);
    a = a.plus(b);
    d = d.xor(a).rotate(8);
    c = c.plus(d);
    b = b.xor(c).rotate(7);
    [a, b, c, d]
}

/// Four distances at once: products, square roots and divisions.
pub(crate) fn vector_root(size: u32) -> u64 {
    let (mut x, mut y) = (Floats::new([1.0, 2.0, 3.0, 4.0]), Floats::new([0.5, 0.25, 0.125, 2.0]));
    let one = Floats::splat(1.0);
    for n in 0..size * (STEPS / 4) {
        let distance = x.times(x).plus(y.times(y)).plus(one).root();
        x = y.plus(one).over(distance);
        y = distance.times(Floats::splat((n & 1023) as f32 / 2048.0)).plus(x);
    }
    x.lanes().iter().chain(&y.lanes()).fold(0, |sum, lane| mix(sum ^ bits32(*lane)))
}
