//! The job: a layer and its input in, what it makes of it out, as little-endian `f32` by rows.
#![forbid(unsafe_code)]

use adit_example_gpu::attention::Layer;
use adit_example_gpu::{Error, little_endian};
use adit_guest::Raw;
use adit_guest::gpu::Gpu;

#[adit_guest::job]
fn attention(layer: Layer) -> Result<Raw, Error> {
    Ok(little_endian(&layer.compute(&Gpu::open()?)?).into())
}
