//! Every transition of the dispatcher, with time driven by hand.

mod admission;
mod cancel;
mod credit;
mod deadline;
mod fairness;
mod gpu;
mod grace;
mod hedge;
mod looks;
mod owner;
mod placement;
mod random;
mod reputation;
mod retry;
mod score;
mod wait;
mod world;
