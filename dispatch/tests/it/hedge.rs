use adit_dispatch::{Action, Request};
use adit_protocol::{Attempt, AttemptFailure, NodeOffer, Price};

use crate::world::*;

fn hedged(c: u8) -> Request {
    let mut request = request(c);
    request.placement.hedge = true;
    request
}

/// As [`near_and_far`], with job 100 hedged on node 1.
fn overdue() -> World {
    let mut world = near_and_far();
    assert_eq!(world.submit_with(100, hedged(1)), [start(100, 1, 1)]);
    world
}

#[test]
fn attempt_that_takes_unusually_long_gets_a_second_one_elsewhere() {
    let mut world = overdue();
    assert_eq!(world.pass(90 * MILLISECOND), []);
    assert_eq!(world.pass(100 * MILLISECOND), [start(100, 2, 2)]);
    assert!(world.decisions.last().unwrap().is_hedge);
    assert_eq!(world.dispatcher.leases_of(job(100)).len(), 2);
    assert_eq!(world.pass(10 * SECOND), [], "two at most");
}

#[test]
fn job_that_did_not_ask_for_it_is_not_hedged() {
    let mut world = overdue();
    world.finish_after(1, 100, 1, 100_000_000);
    assert_eq!(world.submit(101), [start(101, 1, 1)]);
    assert_eq!(world.pass(30 * SECOND), []);
}

#[test]
fn first_result_wins_and_the_other_is_stopped_and_awaited() {
    for (winner, loser) in [((1, 1), (2, 2)), ((2, 2), (1, 1))] {
        let mut world = overdue();
        world.pass(SECOND);
        assert_eq!(world.finish(winner.0, 100, winner.1), [stop(100, loser.1, loser.0)]);
        assert!(world.is_forgotten(100));
        let is_loser = |world: &World| world.dispatcher.is_loser(&node(loser.0), job(100), Attempt(loser.1));
        assert!(is_loser(&world) && !world.dispatcher.is_loser(&node(winner.0), job(100), Attempt(winner.1)));
        assert_eq!(world.view(loser.0).leases, 1, "its slot is taken until it says so");
        assert_eq!(world.finish(loser.0, 100, loser.1), []);
        assert!(!is_loser(&world));
        assert_eq!(world.view(loser.0).leases, 0);
        assert_eq!(world.pass(30 * SECOND), []);
    }
}

#[test]
fn loser_that_does_not_report_is_abandoned_once() {
    let abandon = Action::Abandon { job: job(100), attempt: Attempt(2), node: node(2) };
    let mut world = overdue();
    world.pass(SECOND);
    world.finish(1, 100, 1);
    assert_eq!(world.pass(10 * SECOND - 1), []);
    assert_eq!(world.pass(1), std::slice::from_ref(&abandon));
    assert_eq!(world.finish(2, 100, 2), [], "too late");
    assert_eq!(world.view(2).leases, 0);

    let mut world = overdue();
    world.pass(SECOND);
    world.finish(1, 100, 1);
    assert_eq!(world.leave(2), [abandon]);
    assert_eq!(world.pass(30 * SECOND), []);
}

#[test]
fn one_of_two_attempts_that_fails_leaves_the_job_to_the_other() {
    let failures = [
        node_failure("disk full"),
        AttemptFailure::ModuleInvalid("it says".into()),
        AttemptFailure::Withdrawn,
        AttemptFailure::Declined("not for you".into()),
        AttemptFailure::Preempted("the owner is back".into()),
    ];
    for failure in failures {
        let mut world = overdue();
        world.pass(SECOND);
        assert_eq!(world.fail(1, 100, 1, failure.clone()), [], "{failure}");
        assert_eq!(world.dispatcher.leases_of(job(100)).len(), 1);
        assert_eq!(world.finish(2, 100, 2), []);
        assert!(world.is_forgotten(100));
    }
    let mut world = overdue();
    world.pass(SECOND);
    assert_eq!(world.leave(1), []);
    assert_eq!(world.leave(2), []);
    assert_eq!(world.join(3, 1), [start(100, 3, 3)], "two are lost, and a third is allowed");
}

/// It stayed without a second attempt for good.
#[test]
fn second_attempt_that_found_no_slot_is_made_again_elsewhere() {
    let mut world = World::settled(&[(1, 1)]);
    world.rtt(1, MILLISECOND);
    world.join_with(2, NodeOffer { labels: vec![label("far")], ..offer(1) });
    world.rtt(2, 20 * MILLISECOND);
    for j in 0..10 {
        assert_eq!(world.submit(j), [start(j, 1, 1)]);
        world.pass(10 * MILLISECOND);
        world.finish_after(1, j, 1, 10_000_000);
    }
    // Short jobs are sent ahead of a slot, and so is the second attempt.
    assert_eq!(world.submit_with(10, labelled(1, "far")), [start(10, 1, 2)]);
    world.pass(30 * MILLISECOND);
    world.finish_after(2, 10, 1, 10_000_000);
    for j in 11..13 {
        assert_eq!(world.submit_with(j, labelled(1, "far")), [start(j, 1, 2)]);
    }
    assert_eq!(world.submit_with(100, hedged(1)), [start(100, 1, 1)]);
    assert_eq!(world.pass(SECOND), [start(100, 2, 2)]);
    world.join(3, 1);
    world.rtt(3, 30 * MILLISECOND);
    assert_eq!(world.fail(2, 100, 2, AttemptFailure::Busy), []);
    assert_eq!(world.pass(20 * MILLISECOND), [start(100, 3, 3)]);
}

/// Found by simulation: setbacks that came while another attempt was out did not count when that one was cut short.
#[test]
fn job_that_had_all_its_setbacks_gets_no_further_attempt_when_the_last_one_out_is_cut_short() {
    let mut world = overdue();
    world.pass(SECOND);
    assert_eq!(world.fail(2, 100, 2, node_failure("disk full")), []);
    assert_eq!(world.fail(1, 100, 1, node_failure("disk full")), [start(100, 3, 1)]);
    assert_eq!(world.pass(30 * SECOND), [start(100, 4, 2)]);
    assert_eq!(world.fail(1, 100, 3, node_failure("disk full")), []);
    assert_eq!(world.preempt(2, 100, 4), [lost(100, 4, "the owner of node 02020202 took the machine back")]);
}

/// The guest of the attempt that was lost may have run, so the job is not one that was refused.
#[test]
fn setback_beside_another_attempt_is_not_forgotten() {
    let mut world = overdue();
    world.pass(SECOND);
    assert_eq!(world.leave(2), []);
    assert_eq!(world.fail(1, 100, 1, AttemptFailure::Declined("not for you".into())), []);
    // The other node might have come back.
    let reason = "node 02020202 disconnected; then no node fits: 1 whose owner declines this client or module";
    assert_eq!(world.pass(3 * SECOND), [lost(100, 2, reason)]);
}

#[test]
fn cancelled_job_with_two_attempts_ends_with_the_first_word_of_either() {
    let mut world = overdue();
    world.pass(SECOND);
    assert_eq!(world.cancel(100), [stop(100, 1, 1), stop(100, 2, 2)]);
    assert_eq!(world.fail(1, 100, 1, AttemptFailure::Withdrawn), []);
    assert_eq!(world.fail(2, 100, 2, AttemptFailure::Withdrawn), [cancelled(100)]);

    let mut world = overdue();
    world.pass(SECOND);
    world.cancel(100);
    assert_eq!(world.finish(2, 100, 2), [], "the other was told to stop");
    assert!(world.is_forgotten(100));
    assert!(world.dispatcher.is_loser(&node(1), job(100), Attempt(1)));
}

#[test]
fn second_attempt_that_the_client_cannot_pay_is_none() {
    let mut world = overdue();
    assert_eq!(world.pass(SECOND), [start(100, 2, 2)]);
    assert_eq!(world.decline(2, 100, 2), []);
    assert_eq!(world.dispatcher.leases_of(job(100)).len(), 1);
    assert_eq!(world.pass(10 * SECOND), []);
    assert_eq!(world.finish(1, 100, 1), []);
    assert!(world.is_forgotten(100));
}

/// That there were no credits for two attempts kept the second one's node from the job for good, also when it was left alone.
#[test]
fn job_goes_to_the_node_of_a_second_attempt_that_could_not_be_paid() {
    let mut world = overdue();
    assert_eq!(world.pass(SECOND), [start(100, 2, 2)]);
    assert_eq!(world.decline(2, 100, 2), []);
    assert_eq!(world.leave(1), [start(100, 2, 2)]);
}

/// What was told of its wait was what it had waited for before.
#[test]
fn job_whose_attempts_both_came_to_nothing_is_told_what_it_waits_for_now() {
    let mut world = World::settled(&[]);
    for n in [1, 2] {
        world.join_with(n, NodeOffer { price: Price { per_compute_minute: 600, ..Price::default() }, ..offer(1) });
    }
    assert_eq!(world.submit_with(100, hedged(1)), [start(100, 1, 1)]);
    assert_eq!(world.decline(1, 100, 1), []);
    assert_eq!(world.waits.len(), 1);
    assert_eq!(world.fund(1), [start(100, 1, 1)]);
    assert_eq!(world.pass(60 * SECOND), [start(100, 2, 2)]);
    assert_eq!(world.leave(1), []);
    assert_eq!(world.decline(2, 100, 2), []);
    assert_eq!(world.waits.len(), 2, "{:?}", world.waits);
}

#[test]
fn hedge_waits_for_a_node_with_room() {
    let mut world = overdue();
    assert_eq!(world.submit(101), [start(101, 1, 2)]);
    assert_eq!(world.pass(SECOND), []);
    // Short jobs: node 2 is known to have room for more only when it is free.
    world.pass(SECOND);
    assert_eq!(world.finish_after(2, 101, 1, 100_000_000), []);
    assert_eq!(world.pass(SECOND), [start(100, 2, 2)]);
}
