//! One product of matrices, over and over: by this guest's own code, or by a library. As a guest and natively.
//!
//! `adit-inference-kernels KERNEL ROWS DEPTH WIDTH TIMES` prints a digest of the product.
#![deny(unsafe_code)]

use std::hint::black_box;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensorView;

#[path = "../../src/matrix.rs"]
#[expect(dead_code, reason = "the guest needs more of it than is compared here")]
mod matrix;
#[cfg(target_os = "wasi")]
mod no_threads;

use matrix::{Panels, Rows, add_product};

const USAGE: &str = "usage: adit-inference-kernels ours|ours-anew|ndarray|rten|rten-anew|candle ROWS DEPTH WIDTH TIMES";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A product's size: `rows` x `depth` by `depth` x `width`.
struct Shape {
    rows: usize,
    depth: usize,
    width: usize,
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kernel, sizes @ ..] = args.as_slice() else { return Err(USAGE.into()) };
    let sizes = sizes.iter().map(|size| size.parse()).collect::<Result<Vec<usize>, _>>()?;
    let [rows, depth, width, times] = sizes[..] else { return Err(USAGE.into()) };
    let shape = Shape { rows, depth, width };
    // As a linear layer has it: `weights` are the transpose of the right side.
    let (left, weights) = (numbers(rows * depth, 1), numbers(width * depth, 2));
    let product = match kernel.as_str() {
        "ours" => ours(&shape, &left, &weights, times),
        "ours-anew" => ours_anew(&shape, &left, &weights, times),
        "ndarray" => by_ndarray(&shape, &left, &weights, times)?,
        "rten" => by_rten(&shape, &left, &weights, times, true)?,
        "rten-anew" => by_rten(&shape, &left, &weights, times, false)?,
        "candle" => by_candle(&shape, left, weights, times)?,
        _ => return Err(USAGE.into()),
    };
    println!("{:016x}", digest(&product));
    Ok(())
}

/// Numbers from -1 to 1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// FNV-1a over the bytes.
fn digest(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// With the weights laid out once, as the model does.
fn ours(shape: &Shape, left: &[f32], weights: &[f32], times: usize) -> Vec<f32> {
    let mut sums = vec![0.0; shape.rows * shape.width];
    let panels = Panels::transposed(Rows::new(weights, shape.depth));
    for _ in 0..times {
        sums.fill(0.0);
        add_product(Rows::new(black_box(left), shape.depth), black_box(&panels), &mut sums, shape.width, 0);
    }
    sums
}

/// With the weights laid out for each product.
fn ours_anew(shape: &Shape, left: &[f32], weights: &[f32], times: usize) -> Vec<f32> {
    let mut sums = vec![0.0; shape.rows * shape.width];
    for _ in 0..times {
        sums.fill(0.0);
        let panels = Panels::transposed(Rows::new(black_box(weights), shape.depth));
        add_product(Rows::new(black_box(left), shape.depth), &panels, &mut sums, shape.width, 0);
    }
    sums
}

/// `matrixmultiply`, which `ndarray` multiplies with.
fn by_ndarray(shape: &Shape, left: &[f32], weights: &[f32], times: usize) -> Outcome<Vec<f32>> {
    let mut sums = vec![0.0; shape.rows * shape.width];
    for _ in 0..times {
        let left = ArrayView2::from_shape((shape.rows, shape.depth), black_box(left))?;
        let weights = ArrayView2::from_shape((shape.width, shape.depth), black_box(weights))?;
        let mut sums = ArrayViewMut2::from_shape((shape.rows, shape.width), &mut sums)?;
        general_mat_mul(1.0, &left, &weights.t(), 0.0, &mut sums);
    }
    Ok(sums)
}

fn by_rten(shape: &Shape, left: &[f32], weights: &[f32], times: usize, once: bool) -> Outcome<Vec<f32>> {
    let executor = GemmExecutor::<f32>::new();
    let mut sums = vec![0.0; shape.rows * shape.width];
    let weights = NdTensorView::from_data([shape.width, shape.depth], weights);
    let right = weights.transposed();
    let packed = once.then(|| executor.prepack_b(right));
    for _ in 0..times {
        let left = NdTensorView::from_data([shape.rows, shape.depth], black_box(left));
        let right = packed.as_ref().map_or(GemmInputB::Unpacked(black_box(right)), GemmInputB::Packed);
        executor.gemm(&mut sums, GemmInputA::Unpacked(left), right, GemmOptions::default())?;
    }
    Ok(sums)
}

/// `gemm`, which `candle` multiplies with.
fn by_candle(shape: &Shape, left: Vec<f32>, weights: Vec<f32>, times: usize) -> Outcome<Vec<f32>> {
    use candle_core::{Device, Tensor};
    let left = Tensor::from_vec(left, (shape.rows, shape.depth), &Device::Cpu)?;
    let right = Tensor::from_vec(weights, (shape.width, shape.depth), &Device::Cpu)?.t()?;
    let mut sums = None;
    for _ in 0..times {
        sums = Some(black_box(&left).matmul(black_box(&right))?);
    }
    Ok(sums.ok_or(USAGE)?.flatten_all()?.to_vec1()?)
}
