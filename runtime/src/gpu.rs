//! GPUs for guests.

pub(crate) mod adapter;
pub(crate) mod book;
pub(crate) mod check;
pub(crate) mod live;
pub(crate) mod shader;
pub(crate) mod wire;
