//! Matrix products. A size counts products.

use crate::lanes::Floats;
use crate::random::{Random, bits32, mix};

/// Rows and columns: three matrices of 36 KiB, so that a product runs in the second level of a small core's cache.
const EDGE: usize = 96;

/// One float at a time: a sum in a given order cannot be cut into lanes, and down a column no four floats lie together.
pub(crate) fn scalar(size: u32) -> u64 {
    chain(size, |a, b, product| {
        for (row, out) in a.chunks_exact(EDGE).zip(product.chunks_exact_mut(EDGE)) {
            for (column, out) in out.iter_mut().enumerate() {
                *out = row.iter().zip(b[column..].iter().step_by(EDGE)).fold(0.0, |sum, (x, y)| sum + x * y);
            }
        }
    })
}

/// Four columns at a time.
pub(crate) fn simd(size: u32) -> u64 {
    chain(size, |a, b, product| {
        for (row, out) in a.chunks_exact(EDGE).zip(product.chunks_exact_mut(EDGE)) {
            let (lanes, _) = out.as_chunks_mut::<4>();
            for (n, out) in lanes.iter_mut().enumerate() {
                let mut sum = Floats::splat(0.0);
                for (x, line) in row.iter().zip(b.chunks_exact(EDGE)) {
                    let (line, _) = line.as_chunks::<4>();
                    sum = sum.plus(Floats::splat(*x).times(Floats::new(line[n])));
                }
                *out = sum.lanes();
            }
        }
    })
}

/// Multiplies by the same matrix again and again. Its elements average 1 / [`EDGE`], which keeps the products about where they were.
fn chain(size: u32, multiply: impl Fn(&[f32], &[f32], &mut [f32])) -> u64 {
    let mut random = Random::new(3);
    let mut matrix = |scale: f64| -> Vec<f32> { (0..EDGE * EDGE).map(|_| (random.unit() * scale) as f32).collect() };
    let (mut a, b) = (matrix(1.0), matrix(2.0 / EDGE as f64));
    let mut product = vec![0.0; EDGE * EDGE];
    for n in 0..size {
        multiply(&a, &b, &mut product);
        std::mem::swap(&mut a, &mut product);
        // Without this the rows become equal after a few products.
        a[n as usize % EDGE * EDGE] = 1.0;
    }
    a.iter().fold(u64::from(size), |sum, value| mix(sum ^ bits32(*value)))
}
