//! A path tracer whose picture is rendered in tiles, on as many machines as there are tiles.
//!
//! [`tiles`] cuts a picture of a [`Subject`], [`render`] makes one tile's pixels, [`assemble`] puts them together:
//!
//! ```
//! use adit_example_pathtracer::{Picture, Subject, assemble, render, tiles};
//!
//! let picture = Picture::still(16, 9, 1, 7);
//! let pixels: Result<Vec<_>, _> = tiles(picture, 8).map(|tile| render(&tile, &Subject::Adit, |_, _| ())).collect();
//! let rgb = assemble(picture, pixels?)?;
//! assert_eq!(rgb.len(), 16 * 9 * 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A pixel depends on the subject, the picture, its place and nothing else: not on its tile, and not on the machine. All arithmetic is `f32` by
//! the operations that IEEE 754 defines to the last bit (the four, square root, rounding, comparison), in the order in which they are
//! written; sines, powers and logarithms, which every C library rounds in its own way, are not called. So wasm and native code give
//! the same bytes, and a test may compare a picture by its hash.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod gpu;
mod load;
mod subject;
mod tile;

mod pixel;
mod radiance;
mod scene;

mod camera;
mod environment;
mod geometry;
mod light;
mod material;
mod mesh;
mod model;
mod sky;
mod texture;

mod bvh;
mod sampler;
mod vec3;

pub use environment::{ENVIRONMENT_SIDE_MAX, Environment};
pub use gpu::render_on;
pub use load::LoadError;
pub use model::{Mesh, TRIANGLES_MAX};
pub use subject::{Model, Subject, SubjectError};
pub use texture::{IMAGE_SIDE_MAX, Image};
pub use tile::{
    AssembleError, FRAMES_MAX, Frame, NOISE_MAX, PICTURE_SIDE_MAX, Picture, Pixels, RenderError, SAMPLES_MAX, TILE_PIXELS_MAX,
    Tile, Work, assemble, render, tiles,
};
