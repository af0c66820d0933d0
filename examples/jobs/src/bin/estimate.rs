//! Estimates pi by throwing darts for as long as its budget lasts: what a job does with fuel, chance and time.
#![forbid(unsafe_code)]

use adit_guest::{budget, now, random};
use rand_core::Rng;
use serde::{Deserialize, Serialize};

/// What is kept back for the end.
const RESERVE: u64 = 200_000;
/// Darts between two looks at the budget.
const ROUND: u64 = 1_000;

/// An estimate, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Estimate {
    pi: f64,
    darts: u64,
    /// The first number that was thrown: the seed's.
    first: u64,
    /// The time at which it began, in milliseconds since 1970.
    began_ms: u64,
    /// Nanoseconds that it took, by the job's own clock.
    took_ns: u64,
    /// Fuel that it used, by its budget.
    used: u64,
}

#[adit_guest::job]
fn estimate() -> Estimate {
    let (began, budget_then) = (now(), budget());
    let mut dice = random();
    let first = dice.next_u64();
    let (mut darts, mut hits) = (0, 0);
    while budget() > RESERVE {
        hits += (0..ROUND).filter(|_| is_hit(&mut dice)).count() as u64;
        darts += ROUND;
    }
    let used = budget_then - budget();
    // By the crate `log`, as libraries do.
    log::info!("{darts} darts for {used} fuel");
    let pi = 4.0 * hits as f64 / darts as f64;
    Estimate { pi, darts, first, began_ms: began.as_millis() as u64, took_ns: (now() - began).as_nanos() as u64, used }
}

/// Throws a dart at a square, and says whether it is in the circle. Any generator of the crate `rand` does.
fn is_hit(dice: &mut impl Rng) -> bool {
    let [x, y] = [(); 2].map(|()| f64::from(dice.next_u32()) / f64::from(u32::MAX));
    x * x + y * y <= 1.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adit_guest::testing::Harness;

    use super::*;

    fn run(seed: u64) -> Estimate {
        let noon = Duration::from_millis(1_700_000_000_123);
        let told = Harness::new().seed(seed).time(noon).budget(400_000).budget_step(10_000).run(main);
        assert!(told.log_text().starts_with("[info] estimate: "), "{}", told.log_text());
        told.value().unwrap()
    }

    #[test]
    fn darts_are_thrown_while_the_budget_lasts() {
        let estimate = run(7);
        assert_eq!((estimate.darts, estimate.began_ms), (17_000, 1_700_000_000_123));
        assert!((3.1..3.2).contains(&estimate.pi), "{estimate:?}");
        assert_eq!(estimate.used, 190_000);
        assert!(estimate.took_ns > estimate.used);
    }

    #[test]
    fn seed_decides_alone() {
        // The first number of a node under this seed: `guest_of_the_sdk_throws_dice_as_its_test_did` in the runtime's tests.
        assert_eq!(run(7).first, 1_838_859_682_750_955_131);
        assert_eq!(run(7), run(7));
        assert_ne!(run(7).first, run(8).first);
    }
}
