//! Whether what a node's clocks say of an attempt can be. Times are not billed, but they are kept for good and shown to people.

use std::time::Duration;

use adit_protocol::{NodeTimes, UnixMillis};

/// How much longer than the lease was out an attempt may have taken by its node's clock. Two clocks that are slewed apart by 500 ppm, the
/// most that NTP does, are 43 s apart after a day, the longest run; and a gateway that stood still for longer than 4.5 s has lost its nodes.
const TIMES_MARGIN: Duration = Duration::from_secs(60);

/// How far a node's wall clock may be from the gateway's: the day that a clock in another time zone's local time can be off.
const STARTED_MARGIN_MS: u64 = 24 * 60 * 60 * 1000;

/// Checks the times of an attempt whose lease was out for `leased`, and whose receipt came at `now`.
///
/// # Errors
/// What cannot be, for the node's owner to read.
pub(crate) fn check(times: &NodeTimes, leased: Duration, now: UnixMillis) -> Result<(), String> {
    let told = [times.fetch_us, times.compile_us, times.run_us].into_iter().fold(0, u64::saturating_add);
    if Duration::from_micros(told) > leased.saturating_add(TIMES_MARGIN) {
        let leased = leased.as_secs_f64();
        return Err(format!("its times add up to {:.1} s, and the lease was out for {leased:.1} s", told as f64 / 1e6));
    }
    // A run may take a day, so it is the lease's begin that counts, and not its end.
    let begun = now.0.saturating_sub(leased.as_millis() as u64);
    let apart = times.started.0.abs_diff(begun);
    if apart > STARTED_MARGIN_MS {
        return Err(format!(
            "its start is {:.1} days from the lease's by the gateway's clock; set the node's clock",
            apart as f64 / 86_400_000.0
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn holds(fetch_us: u64, compile_us: u64, run_us: u64, started: u64) -> bool {
        let times = NodeTimes { started: UnixMillis(started), fetch_us, compile_us, run_us };
        check(&times, Duration::from_secs(5), UnixMillis(NOW)).is_ok()
    }

    #[test]
    fn attempt_takes_no_longer_than_its_lease_and_a_minute() {
        let most = 65_000_000;
        let rows = [
            ([0, 0, 0], true),
            ([most, 0, 0], true),
            ([0, most, 0], true),
            ([0, 0, most], true),
            ([1, 2, most - 3], true),
            ([most + 1, 0, 0], false),
            ([1, 2, most - 2], false),
            ([u64::MAX, 0, 0], false),
            ([u64::MAX, u64::MAX, u64::MAX], false),
            ([1, u64::MAX, 1], false),
        ];
        for ([fetch_us, compile_us, run_us], want) in rows {
            assert_eq!(holds(fetch_us, compile_us, run_us, NOW), want, "{fetch_us} {compile_us} {run_us}");
        }
    }

    #[test]
    fn attempt_starts_within_a_day_of_its_lease() {
        let (day, begun) = (86_400_000, NOW - 5_000);
        let rows = [
            (begun - day, true),
            (begun + day, true),
            (begun - day - 1, false),
            (begun + day + 1, false),
            (0, false),
            (u64::MAX, false),
        ];
        for (started, want) in rows {
            assert_eq!(holds(0, 0, 1, started), want, "{started}");
        }
        // A run of a whole day by a clock that is right, or twelve hours off.
        let long = Duration::from_millis(day);
        for started in [NOW - day, NOW - day - day / 2, NOW - day / 2] {
            let times = NodeTimes { started: UnixMillis(started), run_us: day * 1_000, ..NodeTimes::default() };
            assert_eq!(check(&times, long, UnixMillis(NOW)), Ok(()));
        }
        let early = UnixMillis(5);
        assert!(check(&NodeTimes::default(), Duration::ZERO, early).is_ok(), "two clocks that both know nothing agree");
    }
}
