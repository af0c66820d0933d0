//! What a network does to numbers between its products: eight at a time, by operations that IEEE 754 defines to the last bit, so that
//! every machine gets the same. `wide` and C libraries have their own exponential, which is not the same on each.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use wide::{f32x8, i32x8};

/// Where `exp` of it is the smallest normal number, about.
const EXPONENT_MIN: f32 = -87.0;

/// Makes `values` what `function` makes of them.
pub(crate) fn map(values: &mut [f32], function: impl Fn(f32x8) -> f32x8) {
    let (whole, rest) = values.as_chunks_mut::<8>();
    for lanes in whole {
        *lanes = function(f32x8::from(*lanes)).to_array();
    }
    let mut lanes = [0.0; 8];
    lanes[..rest.len()].copy_from_slice(rest);
    let lanes = function(f32x8::from(lanes)).to_array();
    rest.copy_from_slice(&lanes[..rest.len()]);
}

/// The sum of what `term` makes of the values: eight sums of every eighth, and then their sum.
pub(crate) fn sum(values: &[f32], term: impl Fn(f32x8) -> f32x8) -> f32 {
    let (whole, rest) = values.as_chunks::<8>();
    let sums = whole.iter().fold(f32x8::ZERO, |sums, lanes| sums + term(f32x8::from(*lanes)));
    let first: f32 = sums.to_array().iter().sum();
    rest.iter().fold(first, |sum, value| sum + term(f32x8::splat(*value)).to_array()[0])
}

/// Makes scores weights: positive, with the sum one, and the larger for a larger score.
pub(crate) fn softmax(scores: &mut [f32]) {
    let largest = f32x8::splat(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    map(scores, |score| exp(score - largest));
    let scale = f32x8::splat(1.0 / sum(scores, |weight| weight));
    map(scores, |weight| weight * scale);
}

/// Moves and scales each row of `rows` to mean 0 and variance 1, then by `weight` and `bias`.
pub(crate) fn normalise_rows(rows: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let width = weight.len();
    for row in rows.chunks_exact_mut(width) {
        let mean = f32x8::splat(sum(row, |value| value) / width as f32);
        let variance = sum(row, |value| (value - mean) * (value - mean)) / width as f32;
        let scale = f32x8::splat(1.0 / (variance + epsilon).sqrt());
        map(row, |value| (value - mean) * scale);
        for ((value, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            *value = *value * weight + bias;
        }
    }
}

/// Hendrycks and Gimpel's Gaussian error linear unit (arXiv:1606.08415), by the error function itself.
pub(crate) fn gelu(x: f32x8) -> f32x8 {
    x * 0.5 * (f32x8::ONE + erf(x * FRAC_1_SQRT_2))
}

/// The error function, to 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
fn erf(x: f32x8) -> f32x8 {
    let abs = x.abs();
    let t = f32x8::ONE / (f32x8::ONE + abs * 0.327_591_1);
    let polynomial = ((((t * 1.061_405_4 - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    let y = f32x8::ONE - polynomial * exp(-(abs * abs));
    y.copysign(x)
}

/// The exponential of numbers up to 0, to about two units in the last place. Under [`EXPONENT_MIN`] it stays what it is there.
fn exp(x: f32x8) -> f32x8 {
    // Cephes: x = n ln 2 + r, and a polynomial for r, which is at most half of ln 2.
    let x = x.max(f32x8::splat(EXPONENT_MIN));
    let n = (x * LOG2_E).round();
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let polynomial =
        ((((r * 1.987_569_1e-4 + 1.398_199_9e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 0.166_666_66) * r + 0.5;
    let two_to_n: f32x8 = bytemuck::cast((n.round_int() + i32x8::splat(127)) << 23);
    (polynomial * r * r + r + 1.0) * two_to_n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(function: impl Fn(f32x8) -> f32x8, x: f32) -> f64 {
        f64::from(function(f32x8::splat(x)).to_array()[7])
    }

    #[test]
    fn exponential_is_that_of_the_library() {
        for n in 0..=80_000 {
            let x = -f32::from(u16::try_from(n % 50_000).unwrap()) * 0.0017;
            let (got, want) = (at(exp, x), f64::from(x).exp());
            assert!((got / want - 1.0).abs() < 2.5e-7, "exp({x}) is {want}, not {got}");
        }
        assert_eq!(at(exp, 0.0), 1.0);
        assert_eq!(at(exp, -1e30), at(exp, EXPONENT_MIN));
        assert!(at(exp, f32::NEG_INFINITY) < 1.7e-38);
    }

    #[test]
    fn gelu_is_that_of_the_definition() {
        // By scipy: x * scipy.stats.norm.cdf(x).
        let rows = [
            (0.0, 0.0),
            (1.0, 0.841_344_746_068_542_9),
            (-1.0, -0.158_655_253_931_457_05),
            (0.1, 0.053_982_783_727_702_9),
            (-3.0, -0.004_049_694_095_0),
            (2.5, 2.484_475_834_0),
            (6.0, 5.999_999_994_1),
            (-12.0, 0.0),
        ];
        for (x, want) in rows {
            let got = at(gelu, x);
            assert!((got - want).abs() < 4e-7, "gelu({x}) is {want}, not {got}");
        }
    }

    #[test]
    fn weights_of_scores_sum_to_one_whatever_their_size_and_number() {
        for count in [1, 7, 8, 9, 200] {
            let mut scores: Vec<f32> = (0..count).map(|n| 1000.0 + n as f32 * 0.1).collect();
            softmax(&mut scores);
            assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            let want = f64::from(0.1f32).exp();
            assert!(scores.windows(2).all(|two| (f64::from(two[1] / two[0]) / want - 1.0).abs() < 1e-3), "{scores:?}");
        }
    }

    #[test]
    fn rows_are_normalised_each_on_its_own() {
        let mut rows = [vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], vec![5.0; 9]].concat();
        normalise_rows(&mut rows, &[2.0; 9], &[1.0; 9], 0.0001);
        let mean = rows[..9].iter().sum::<f32>() / 9.0;
        let variance = rows[..9].iter().map(|value| (value - mean).powi(2)).sum::<f32>() / 9.0;
        assert!((mean - 1.0).abs() < 1e-6 && (variance - 4.0).abs() < 1e-3, "{mean} {variance}");
        assert_eq!(rows[9..], [1.0; 9]);
    }
}
