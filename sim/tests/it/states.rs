use adit_sim::{Campaign, Point, Reduction, run_many};

#[test]
fn seeds_hold_and_reach_nearly_every_state() {
    let campaign = Campaign { from: 5_000, seeds: 150, reduction: Reduction::default() };
    let summary = run_many(&campaign, |_| {});
    assert_eq!((summary.runs, summary.failures), (150, Default::default()));
    // All of them are for the thousand seeds of `cargo xtask sim`.
    let missed = summary.points.missed();
    assert!(missed.len() <= Point::ALL.len() / 10, "{missed:?}");
    assert!(Point::ALL.len() >= 40);
}
