//! The job: one tile in, its pixels out.
#![forbid(unsafe_code)]

use adit_example_pathtracer::{Pixels, RenderError, Work};

#[adit_guest::job]
fn render(work: Work) -> Result<Pixels, RenderError> {
    adit_example_pathtracer::render(&work.tile, &work.subject, adit_guest::progress)
}
