//! A small network that learns to read handwritten digits, and the job that is most of that: a gradient.
//!
//! One step of learning takes a batch of pictures. It is cut into shards; for each of them a job computes the sum of its pictures'
//! gradients at the present parameters. Whoever trains adds them up, in the order of the shards, and moves the parameters.
//!
//! ```
//! use adit_example_training::{Digits, Parameters, Task};
//!
//! let digits = Digits::from_bytes(&[[16; 64].as_slice(), &[7]].concat())?; // one picture: all bright, and said to be a seven
//! let task = Task { parameters: Parameters::zero().as_slice().to_vec(), pictures: vec![0] };
//! let gradient = task.run(&digits)?;
//! assert!((gradient.loss - 10_f32.ln()).abs() < 1e-6); // who knows nothing holds each of ten digits as likely
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All arithmetic is `f32` by operations that IEEE 754 defines to the last bit, in the order in which they are written, and exponentials
//! are those of the crate `libm` everywhere. So a gradient has the same bytes on every machine, and training the same course.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod digits;
mod gradient;
mod network;
mod task;
// Nodes do not train, they are asked.
#[cfg(not(target_arch = "wasm32"))]
mod trainer;

pub use digits::{Digits, DigitsError, Picture, SIDE};
pub use gradient::Gradient;
pub use network::{Parameters, guess};
pub use task::{Answer, Task, TaskError};
#[cfg(not(target_arch = "wasm32"))]
pub use trainer::{Course, PicturesError, Plan, Point, Trainer};
