//! Programs that nobody would write, and that are valid all the same: with the meter, under every compiler, they do what they do without,
//! and count what the reference counts.

mod crowded;
mod depths;
mod everywhere;
mod moves;
mod places;
mod sizes;
mod storm;
mod weave;

use crate::golden::programs;
use everywhere::Everywhere;

#[test]
fn programs_without_a_host_count_what_the_reference_counts_everywhere() {
    let everywhere = Everywhere::as_long_as_may_be();
    let (mut calls, mut traps) = (0, 0);
    for case in programs().filter(|case| !everywhere::imports(&case.wasm)) {
        let compared = everywhere.check(&case.name, &case.wasm);
        (calls, traps) = (calls + compared.calls, traps + compared.traps);
    }
    println!("{calls} calls, {traps} traps");
    assert!(calls > 150 && traps > 30, "{calls} calls and {traps} traps show little");
}
