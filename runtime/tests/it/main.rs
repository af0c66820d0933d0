//! The runtime with real worker processes: guests written as text, one module per topic.

mod compiling;
mod limits;
mod streams;
mod support;
mod wasi;
mod workers;
mod zz_perf;
