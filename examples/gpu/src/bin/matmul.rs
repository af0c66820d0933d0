//! The job: two matrices in, their product out, as little-endian `f32` by rows.
#![forbid(unsafe_code)]

use adit_example_gpu::matmul::Product;
use adit_example_gpu::{Error, little_endian};
use adit_guest::Raw;
use adit_guest::gpu::Gpu;

#[adit_guest::job]
fn matmul(product: Product) -> Result<Raw, Error> {
    Ok(little_endian(&product.compute(&Gpu::open()?)?).into())
}
