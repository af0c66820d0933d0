//! GPUs for guests.

pub(crate) mod book;
pub(crate) mod wire;
