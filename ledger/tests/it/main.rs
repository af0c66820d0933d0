//! The ledger against files, hostile entries, damage, many threads and failing disks.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod answers;
mod backup;
mod crash;
mod damage;
mod disk;
mod faults;
mod fixture;
mod flips;
mod fuzzing;
mod model;
mod open;
mod oracle;
mod paging;
mod record;
mod script;
mod scrub;
mod steps;
mod tree;
mod unpaid;
mod writer;
