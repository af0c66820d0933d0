//! Every transition of the dispatcher, with time driven by hand.

mod admission;
mod cancel;
mod deadline;
mod fairness;
mod grace;
mod placement;
mod random;
mod retry;
mod world;
