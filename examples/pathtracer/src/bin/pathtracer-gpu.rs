//! The job for nodes with a GPU: one tile in, its pixels out.
#![forbid(unsafe_code)]

use adit_example_pathtracer::{Pixels, RenderError, Tile};
use adit_guest::gpu::Gpu;

#[adit_guest::job]
fn render(tile: Tile) -> Result<Pixels, RenderError> {
    adit_example_pathtracer::render_on(&Gpu::open()?, &tile, adit_guest::progress)
}
