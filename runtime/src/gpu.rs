//! GPUs for guests.

pub(crate) mod adapter;
pub(crate) mod book;
pub(crate) mod check;
pub(crate) mod hangs;
pub(crate) mod keeper;
pub(crate) mod lent;
pub(crate) mod live;
pub(crate) mod session;
pub(crate) mod shader;
pub(crate) mod shaders;
pub(crate) mod wire;
