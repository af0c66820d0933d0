//! The job for nodes with a GPU: one tile in, its pixels out.
#![forbid(unsafe_code)]

use adit_example_pathtracer::{Pixels, RenderError, Work};
use adit_guest::gpu::Gpu;

#[adit_guest::job]
fn render(work: Work) -> Result<Pixels, RenderError> {
    adit_example_pathtracer::render_on(&Gpu::open()?, &work.tile, &work.subject, adit_guest::progress)
}
