use adit_dispatch::Phase;
use adit_protocol::{Attempt, AttemptFailure, Digest, Refusal};

use crate::world::*;

/// One node with one slot, which runs job 1 and was told to stop it.
fn stopping() -> World {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    assert_eq!(world.cancel(1), [stop(1, 1, 1)]);
    assert!(matches!(world.dispatcher.phase(job(1)), Some(Phase::Stopping)));
    world
}

#[test]
fn queued_job_is_cancelled_at_once() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit(2);
    assert_eq!(world.cancel(2), [cancelled(2)]);
    assert!(world.is_forgotten(2));
    assert_eq!(world.dispatcher.queued(), 0);
    assert_eq!(world.finish(1, 1, 1), []);
}

#[test]
fn unknown_job_is_cancelled_without_effect() {
    let mut world = World::settled(&[(1, 1)]);
    assert_eq!(world.cancel(1), []);
    world.submit(1);
    world.finish(1, 1, 1);
    assert_eq!(world.cancel(1), []);
}

#[test]
fn running_job_is_stopped_and_its_outcome_still_counts() {
    let mut world = stopping();
    assert_eq!(world.dispatcher.lease(job(1), Attempt(1)), Some(node(1)));
    assert_eq!(world.finish(1, 1, 1), []);
    assert!(world.is_forgotten(1));
    assert_eq!(world.view(1).jobs_done, 1);
    assert_eq!(world.dispatcher.poll_timeout(), None);
}

/// Else a client that cancels long jobs at once would make its node look like one with short jobs.
#[test]
fn run_that_was_cut_short_says_nothing_of_how_long_others_take() {
    let mut world = stopping();
    world.submit(2);
    world.submit(3);
    world.pass(MILLISECOND);
    assert_eq!(world.finish(1, 1, 1), [start(2, 1, 1)]);
    assert_eq!(world.view(1).window, 1);
}

#[test]
fn second_cancel_sends_no_second_stop() {
    let mut world = stopping();
    assert_eq!(world.pass(6 * SECOND), []);
    assert_eq!(world.cancel(1), []);
    // Nor does it prolong the wait for the node.
    assert_eq!(world.pass(4 * SECOND).len(), 1);
}

#[test]
fn job_withdrawn_before_its_guest_started_is_cancelled_in_the_queue() {
    let mut world = stopping();
    world.submit(2);
    assert_eq!(world.fail(1, 1, 1, AttemptFailure::Withdrawn), [cancelled(1), start(2, 1, 1)]);
    assert!(world.is_forgotten(1));
}

#[test]
fn cancelled_job_is_never_tried_again() {
    let reason = "node 01010101 failed: worker died, while the job was being cancelled";
    let mut world = stopping();
    world.join(2, 1);
    assert_eq!(world.fail(1, 1, 1, node_failure("worker died")), [lost(1, 1, reason)]);

    let reason = "node 01010101 disconnected, while the job was being cancelled";
    let mut world = stopping();
    world.join(2, 1);
    assert_eq!(world.leave(1), [lost(1, 1, reason)]);

    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    assert_eq!(world.leave(1), []);
    assert_eq!(world.cancel(1), [cancelled(1)]);
    assert_eq!(world.join(2, 1), []);
}

#[test]
fn what_ends_a_job_for_good_ends_a_cancelled_one_too() {
    let mut world = stopping();
    let want = refuse(1, Refusal::ModuleInvalid("bad magic".into()));
    assert_eq!(world.fail(1, 1, 1, AttemptFailure::ModuleInvalid("bad magic".into())), [want]);

    let mut world = stopping();
    let digest = Digest::of(b"gone");
    assert_eq!(world.fail(1, 1, 1, AttemptFailure::BlobMissing(digest)), [refuse(1, Refusal::InputMissing(digest))]);
}

#[test]
fn job_is_lost_where_its_node_does_not_answer_in_time() {
    let mut world = stopping();
    world.submit(2);
    assert_eq!(world.pass(10 * SECOND - 1), []);
    assert_eq!(world.pass(1), [lost(1, 1, "node 01010101 did not confirm the cancellation")]);
    assert!(world.is_forgotten(1));
    // The node may be busy with it still: its slot is free when it says so.
    assert_eq!(world.view(1).slots_used, 1);
    assert_eq!(world.dispatcher.queued(), 1);
    assert_eq!(world.fail(1, 1, 1, AttemptFailure::Withdrawn), [start(2, 1, 1)]);
}

/// A job's id comes again when its client submits it again. A node's late report on the earlier life would look like one on the
/// later life if both were on that node, since attempts count from 1 in each.
#[test]
fn node_that_owes_a_report_on_a_job_does_not_get_that_job_again() {
    let mut world = World::settled(&[(1, 2)]);
    world.submit(1);
    world.cancel(1);
    world.pass(10 * SECOND);
    assert_eq!(world.submit(1), [], "a slot is free, but the node owes an answer");
    assert_eq!(world.submit_for(2, 2), [start(2, 1, 1)]);
    assert_eq!(world.finish(1, 1, 1), [start(1, 1, 1)]);
    assert_eq!(world.dispatcher.lease(job(1), Attempt(1)), Some(node(1)));
}
