use core::time::Duration;

use crate::abi;

/// The time of day, since 1970.
///
/// For a deterministic job (the default) it is virtual: it begins at the time that the job was submitted with (1970 where none was
/// said), and goes on by a nanosecond for each unit of fuel that the job uses. So it is the same on every node and in every
/// attempt, never goes back, and says how much the job has worked; it is not the time on anybody's wall. A job of the open profile sees
/// the node's clock. `std::time` shows the same clock on a node.
///
/// On a native target it begins at the harness's time, and goes on with what [`budget`](crate::budget) counts down.
///
/// ```
/// # use std::time::Duration;
/// # use adit_guest::testing::Harness;
/// let noon = Duration::from_secs(1_700_000_000);
/// let (told, _) = Harness::new().time(noon).call(adit_guest::now);
/// assert_eq!(told.as_secs(), noon.as_secs());
/// ```
pub fn now() -> Duration {
    Duration::from_nanos(abi::wall_clock())
}
