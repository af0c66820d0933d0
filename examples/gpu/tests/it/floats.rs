//! Within a stated distance of what the CPU computes in `f64`.

use adit_example_gpu::Error;
use adit_example_gpu::attention::Layer;
use adit_example_gpu::matmul::Product;

use crate::{Numbers, gpu};

/// Sizes below, at and above a tile, primes, and shapes that are long in one direction only.
const SIZES: [[u32; 3]; 12] = [
    [1, 1, 1],
    [1, 300, 1],
    [16, 16, 16],
    [15, 17, 16],
    [17, 16, 15],
    [31, 33, 47],
    [64, 64, 64],
    [3, 5, 200],
    [200, 5, 3],
    [97, 101, 89],
    [1, 16, 129],
    [130, 257, 70],
];

fn product([rows, inner, columns]: [u32; 3]) -> Product {
    let mut numbers = Numbers(u64::from(rows) << 40 ^ u64::from(inner) << 20 ^ u64::from(columns));
    Product { rows, inner, columns, a: numbers.floats(rows * inner, 3.0), b: numbers.floats(inner * columns, 3.0) }
}

/// Each number of the product in `f64`, and the sum of the magnitudes that were added up to it.
fn products(product: &Product) -> Vec<(f64, f64)> {
    let (inner, columns) = (product.inner as usize, product.columns as usize);
    let number = |row: usize, column: usize| {
        let terms = (0..inner).map(|i| f64::from(product.a[row * inner + i]) * f64::from(product.b[i * columns + column]));
        terms.fold((0.0, 0.0), |(sum, magnitude), term| (sum + term, magnitude + term.abs()))
    };
    (0..product.rows as usize).flat_map(|row| (0..columns).map(move |column| number(row, column))).collect()
}

#[test]
fn product_is_within_what_rounding_allows() {
    let gpu = gpu();
    for size in SIZES {
        let product = product(size);
        let computed = product.compute(&gpu).unwrap();
        let expected = products(&product);
        assert_eq!(computed.len(), expected.len());
        let rounding = f64::from(product.inner + 2) / f64::from(1 << 23);
        for (at, (computed, (expected, magnitude))) in computed.iter().zip(expected).enumerate() {
            let error = (f64::from(*computed) - expected).abs();
            assert!(error <= rounding * magnitude, "{size:?}, number {at}: {computed} for {expected}");
        }
    }
}

#[test]
fn product_of_nothing_is_nothing_and_a_sum_of_nothing_is_zero() {
    let gpu = gpu();
    assert_eq!(product([0, 3, 5]).compute(&gpu).unwrap(), []);
    assert_eq!(product([3, 0, 2]).compute(&gpu).unwrap(), [0.0; 6]);
}

#[test]
fn matrices_of_other_sizes_than_they_say_are_refused() {
    let gpu = gpu();
    let short = Product { a: vec![0.0; 5], ..product([2, 3, 4]) };
    assert_eq!(short.compute(&gpu), Err(Error::Length { what: "the first matrix", len: 5, expected: 6 }));
    let long = Product { b: vec![0.0; 13], ..product([2, 3, 4]) };
    assert_eq!(long.compute(&gpu), Err(Error::Length { what: "the second matrix", len: 13, expected: 12 }));
    let wide = product([1 << 16, 1, 1 << 16]);
    assert_eq!(wide.compute(&gpu), Err(Error::Room { what: "the product", count: 1 << 32 }));
}

fn layer(tokens: u32, width: u32, heads: u32) -> Layer {
    let mut numbers = Numbers(u64::from(tokens * 10_000 + width * 10 + heads));
    let input = numbers.floats(tokens * width, 2.0);
    let mut weights = || numbers.floats(width * width, 2.0 / (width as f32).sqrt());
    Layer { tokens, width, heads, input, query: weights(), key: weights(), value: weights(), output: weights() }
}

/// The layer in `f64`, by the formula.
fn attend(layer: &Layer) -> Vec<f64> {
    let (tokens, width, head) = (layer.tokens as usize, layer.width as usize, (layer.width / layer.heads) as usize);
    let multiply = |rows: &[f64], weights: &[f32]| -> Vec<f64> {
        let number = |row: usize, column: usize| -> f64 {
            (0..width).map(|i| rows[row * width + i] * f64::from(weights[i * width + column])).sum()
        };
        (0..tokens * width).map(|at| number(at / width, at % width)).collect()
    };
    let input: Vec<f64> = layer.input.iter().copied().map(f64::from).collect();
    let (q, k, v) = (multiply(&input, &layer.query), multiply(&input, &layer.key), multiply(&input, &layer.value));
    let mut mixed = vec![0.0; tokens * width];
    for first in (0..width).step_by(head) {
        for token in 0..tokens {
            let score = |other: usize| -> f64 {
                let products = (first..first + head).map(|i| q[token * width + i] * k[other * width + i]);
                products.sum::<f64>() / (head as f64).sqrt()
            };
            let raised: Vec<f64> = (0..tokens).map(|other| score(other).exp()).collect();
            let sum: f64 = raised.iter().sum();
            for i in first..first + head {
                mixed[token * width + i] = (0..tokens).map(|other| raised[other] / sum * v[other * width + i]).sum();
            }
        }
    }
    multiply(&mixed, &layer.output)
}

/// How far a number of the layer's output may be from that of the CPU. The numbers are up to about 5.
const ATTENTION_TOLERANCE: f64 = 2e-5;

#[test]
fn attention_is_that_of_the_cpu_within_the_tolerance() {
    let gpu = gpu();
    for (tokens, width, heads) in [
        (1, 1, 1),
        (1, 8, 2),
        (2, 6, 3),
        (7, 12, 1),
        (16, 16, 4),
        (17, 48, 3),
        (63, 40, 5),
        (64, 32, 8),
        (65, 34, 17),
        (130, 64, 4),
    ] {
        let layer = layer(tokens, width, heads);
        let computed = layer.compute(&gpu).unwrap();
        let expected = attend(&layer);
        assert_eq!(computed.len(), expected.len());
        let errors = computed.iter().zip(&expected).map(|(computed, expected)| (f64::from(*computed) - expected).abs());
        let error = errors.fold(0.0, f64::max);
        assert!(error <= ATTENTION_TOLERANCE, "{tokens} tokens of {width}, {heads} heads: {error:e}");
    }
}

/// Scores beyond the range of `exp` in `f32`, were the greatest not taken off.
#[test]
fn attention_to_one_token_alone_is_its_value() {
    let eye = vec![1.0, 0.0, 0.0, 1.0];
    let layer = Layer {
        tokens: 2,
        width: 2,
        heads: 1,
        input: vec![100.0, 0.0, 0.0, 100.0],
        query: eye.clone(),
        key: eye.clone(),
        value: eye.clone(),
        output: eye,
    };
    assert_eq!(layer.compute(&gpu()).unwrap(), layer.input);
}

#[test]
fn layers_that_do_not_fit_together_are_refused() {
    let gpu = gpu();
    assert_eq!(Layer { heads: 3, ..layer(2, 8, 2) }.compute(&gpu), Err(Error::Heads { heads: 3, width: 8 }));
    assert_eq!(Layer { heads: 0, ..layer(2, 8, 2) }.compute(&gpu), Err(Error::Heads { heads: 0, width: 8 }));
    let short = Layer { key: vec![0.0; 63], ..layer(2, 8, 2) };
    assert_eq!(short.compute(&gpu), Err(Error::Length { what: "the weights of keys", len: 63, expected: 64 }));
    assert_eq!(layer(0, 8, 2).compute(&gpu).unwrap(), []);
    let many = layer(40_000, 1, 1);
    assert_eq!(many.compute(&gpu), Err(Error::Room { what: "all heads' comparisons", count: 1_600_000_000 }));
}
