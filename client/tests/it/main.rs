//! The client library against a gateway that a test plays by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod uploads;
