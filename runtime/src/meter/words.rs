//! The page that the meter keeps for each instance, in a memory of its own that nothing in the guest can name.
//!
//! A rewritten module has one more memory behind the guest's own, of exactly these bytes, or in baseline code of a whole page. The guest's validated operators name
//! memories by index, and this index did not exist when they were validated. It begins as zeros: until the host has written a
//! limit, the first check stops whatever runs.

/// Where the counter is: units used so far, counting up. At a call into the host it is exact; elsewhere it lacks what
/// [`super::pending::Pending`] says. In baseline code it is a copy of what a global holds, as of the last check or call of the host, and lacks
/// what the host has charged.
pub(crate) const COUNTER: u64 = 0;
/// Where the limit is, in units: a check stops the guest once the true count is over it. The host stops a guest by writing 0.
/// In baseline code the host takes off it what it charges.
pub(crate) const LIMIT: u64 = 8;
/// Where the stack depth of the innermost caller is, in nominal bytes (32 bits); in baseline code a global has it.
pub(crate) const DEPTH: u64 = 16;
/// A word that is written and never read (32 bits).
pub(crate) const UNREAD: u64 = 20;
/// Where the most pages are that the guest's memory may have: growth that cannot succeed is not paid for.
pub(crate) const PAGES_MAX: u64 = 24;
/// Bytes of the memory.
pub(crate) const BYTES_USED: usize = 32;
