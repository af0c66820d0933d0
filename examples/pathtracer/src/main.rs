//! The job: one tile in, its pixels out.
#![forbid(unsafe_code)]

use adit_example_pathtracer::{Pixels, RenderError, Tile};

#[adit_guest::job]
fn render(tile: Tile) -> Result<Pixels, RenderError> {
    adit_example_pathtracer::render(&tile, adit_guest::progress)
}
