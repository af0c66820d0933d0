//! Writes inputs for the jobs, of numbers that only look random:
//! `cargo run -p adit-example-gpu --example input -- matmul SIDE > product.bin`, or `attention TOKENS WIDTH HEADS > layer.bin`.

use std::env;
use std::io::{self, Write};

use adit_example_gpu::attention::Layer;
use adit_example_gpu::matmul::Product;
use adit_guest::Encode;
use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let what = arguments.next().context("which input? usage: input matmul SIDE, or input attention TOKENS WIDTH HEADS")?;
    let sizes = arguments.map(|size| size.parse()).collect::<Result<Vec<u32>, _>>().context("sizes are numbers")?;
    let bytes = match (what.as_str(), &sizes[..]) {
        ("matmul", &[side]) => product(side).encode()?,
        ("attention", &[tokens, width, heads]) => layer(tokens, width, heads).encode()?,
        _ => bail!("usage: input matmul SIDE, or input attention TOKENS WIDTH HEADS"),
    };
    Ok(io::stdout().write_all(&bytes)?)
}

fn product(side: u32) -> Product {
    Product { rows: side, inner: side, columns: side, a: numbers(1, side, side, 1.0), b: numbers(2, side, side, 1.0) }
}

fn layer(tokens: u32, width: u32, heads: u32) -> Layer {
    let weights = |seed| numbers(seed, width, width, 1.0 / (width as f32).sqrt());
    Layer {
        tokens,
        width,
        heads,
        input: numbers(1, tokens, width, 1.0),
        query: weights(2),
        key: weights(3),
        value: weights(4),
        output: weights(5),
    }
}

/// Numbers from `-scale` to `scale`.
fn numbers(seed: u32, rows: u32, columns: u32, scale: f32) -> Vec<f32> {
    let count = rows as usize * columns as usize;
    (0..count).map(|at| (((at as u32 ^ seed << 24).wrapping_mul(0x9e37_79b9) >> 8) as f32 / 8_388_608.0 - 1.0) * scale).collect()
}
