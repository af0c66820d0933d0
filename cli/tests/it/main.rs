//! Whole networks on this machine: real processes of `adit`, talking over loopback, each test with folders and ports of its own.
//!
//! What a test starts ends with it, whatever becomes of the test. Nothing sleeps: a test waits for what a process says, or for its
//! end, and where neither exists it asks the gateway again until the answer is the one that must come.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and the panic says where")]

mod guest;
mod guide;
mod network;
mod process;
mod stand_in;

mod account;
mod admission;
mod applications;
mod attach;
mod attempts;
mod audit;
mod big;
mod cancel;
mod choice;
mod distance;
mod door;
mod gpu;
mod hedge;
mod hostile;
mod inputs;
mod keys;
mod killed;
mod ledger;
mod lent;
mod load;
mod log;
mod logs;
mod map;
mod nodes;
mod owner;
mod peaks;
mod placement;
mod quote;
mod readonly;
mod reasons;
mod receipts;
mod restart;
mod restored;
mod run;
mod shortage;
mod slow;
mod tools;
mod twice;
mod units;
mod up;
mod verify;
mod witness;
