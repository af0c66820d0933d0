//! What the simulation itself has to keep.

mod replay;
mod states;
