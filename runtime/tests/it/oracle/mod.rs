//! What must hold for any bytes at all. The tests in `fuzzing.rs` and the fuzz targets in `fuzz/` call the same functions: `check` of
//! each module takes bytes, makes of them what its target attacks, panics where a promise is broken, and else says how far it came.

pub(crate) mod admission;
pub(crate) mod compilers;
mod effort;
pub(crate) mod host_calls;
pub(crate) mod ipc;
pub(crate) mod meter;
pub(crate) mod modules;
pub(crate) mod subject;
