//! A path tracer whose picture is rendered in tiles, on as many machines as there are tiles.
//!
//! [`tiles`] cuts a picture, [`render`] makes one tile's pixels, [`assemble`] puts them together:
//!
//! ```
//! use adit_example_pathtracer::{Picture, assemble, render, tiles};
//!
//! let picture = Picture { width: 16, height: 9, samples: 1, seed: 7 };
//! let pixels: Result<Vec<_>, _> = tiles(picture, 8).map(|tile| render(&tile, |_, _| ())).collect();
//! let rgb = assemble(picture, pixels?)?;
//! assert_eq!(rgb.len(), 16 * 9 * 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A pixel depends on the picture, its place and nothing else: not on its tile, and not on the machine. All arithmetic is `f32` by
//! the operations that IEEE 754 defines to the last bit (the four, square root, rounding, comparison), in the order in which they are
//! written; sines, powers and logarithms, which every C library rounds in its own way, are not called. So wasm and native code give
//! the same bytes, and a test may compare a picture by its hash.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod gpu;
mod tile;

mod radiance;
mod scene;

mod camera;
mod geometry;
mod light;
mod material;
mod mesh;
mod sky;

mod bvh;
mod sampler;
mod vec3;

pub use gpu::render_on;
pub use tile::{
    AssembleError, PICTURE_SIDE_MAX, Picture, Pixels, RenderError, SAMPLES_MAX, TILE_PIXELS_MAX, Tile, assemble, render, tiles,
};
