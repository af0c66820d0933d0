use adit_dispatch::{Action, Request, Tick};
use adit_protocol::{AttemptFailure, JobLimits, Refusal};

use crate::world::*;

fn impatient(queue_ms: u64) -> Request {
    let request = request(1);
    Request { limits: JobLimits { queue_ms, ..request.limits }, ..request }
}

#[test]
fn job_that_waited_too_long_is_refused() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit_with(2, impatient(250));
    assert_eq!(world.dispatcher.poll_timeout(), Some(world.now.after(250 * MILLISECOND)));
    assert_eq!(world.pass(250 * MILLISECOND - 1), []);
    assert_eq!(world.pass(1), [refuse(2, Refusal::QueueTimeout { waited_ms: 250 })]);
    assert!(world.is_forgotten(2));
    assert_eq!(world.finish(1, 1, 1), []);
}

#[test]
fn job_that_will_not_wait_starts_at_once_or_not_at_all() {
    let mut world = World::settled(&[(1, 1)]);
    assert_eq!(world.submit_with(1, impatient(0)), [start(1, 1, 1)]);
    assert_eq!(world.submit_with(2, impatient(0)), []);
    assert_eq!(world.pass(0), [refuse(2, Refusal::QueueTimeout { waited_ms: 0 })]);
}

#[test]
fn started_job_has_no_queue_deadline_left() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit_with(2, impatient(250));
    world.finish(1, 1, 1);
    assert_eq!(world.pass(10 * SECOND), []);
    world.finish(1, 2, 1);
    assert_eq!(world.dispatcher.poll_timeout(), None);
}

#[test]
fn retried_job_that_finds_no_slot_is_lost_not_refused() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit_with(1, impatient(250));
    world.submit(2);
    assert_eq!(world.leave(1), []);
    let reason = "node 01010101 disconnected; then no slot became free in 250 ms; raise --queue-timeout or try again later";
    assert_eq!(world.pass(SECOND), [lost(1, 1, reason)]);
}

#[test]
fn expired_lease_is_stopped_and_reassigned_once() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    // One minute of wall time and ten of grace.
    assert_eq!(world.pass(660 * SECOND - 1), []);
    assert_eq!(world.pass(1), [stop(1, 1, 1), start(1, 2, 2)]);
    // The late outcome counts for nothing but the slot.
    assert_eq!(world.view(1).slots_used, 1);
    assert_eq!(world.finish(1, 1, 1), []);
    let view = world.view(1);
    assert_eq!((view.slots_used, view.jobs_done), (0, 0));
    world.finish(2, 1, 2);
    assert_eq!(world.dispatcher.poll_timeout(), None);
}

#[test]
fn lease_that_expires_on_the_only_node_is_tried_again_when_that_has_answered() {
    let mut world = World::settled(&[(1, 2)]);
    world.submit(1);
    assert_eq!(world.pass(660 * SECOND), [stop(1, 1, 1)]);
    assert_eq!(world.dispatcher.queued(), 1);
    assert_eq!(world.fail(1, 1, 1, AttemptFailure::Withdrawn), [start(1, 2, 1)]);
}

#[test]
fn job_whose_last_lease_expires_is_lost() {
    let mut world = World::settled(&[(1, 1), (2, 1), (3, 1)]);
    world.submit(1);
    let want = [
        stop(1, 1, 1),
        start(1, 2, 2),
        stop(1, 2, 2),
        start(1, 3, 3),
        stop(1, 3, 3),
        lost(1, 3, "node 03030303 did not report within the lease"),
    ];
    assert_eq!(world.pass(3 * 660 * SECOND), want);
}

#[test]
fn extra_timeouts_change_nothing() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit_with(2, impatient(250));
    let deadline = world.dispatcher.poll_timeout();
    for us in [0, 1, 249 * MILLISECOND] {
        let early = world.now.after(us);
        world.dispatcher.handle_timeout(early);
        assert_eq!(world.actions(), []);
        assert_eq!(world.dispatcher.poll_timeout(), deadline);
    }
    assert_eq!(world.pass(SECOND).len(), 1);
    world.dispatcher.handle_timeout(world.now);
    assert_eq!(world.actions(), []);
}

#[test]
fn timeouts_that_come_late_are_handled_together() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit_with(2, impatient(300));
    world.submit_with(3, impatient(200));
    let late = world.now.after(SECOND);
    world.dispatcher.handle_timeout(late);
    let timed_out = |j| refuse(j, Refusal::QueueTimeout { waited_ms: 1_000 });
    assert_eq!(world.actions(), [timed_out(3), timed_out(2)]);
}

#[test]
fn deadlines_at_the_end_of_time_do_not_overflow() {
    let mut world = World::settled(&[(1, 1)]);
    world.now = Tick(u64::MAX - 1);
    let mut request = impatient(u64::MAX);
    request.limits.wall_ms = u64::MAX;
    assert_eq!(world.submit_with(1, request.clone()), [start(1, 1, 1)]);
    assert_eq!(world.submit_with(2, request), []);
    assert_eq!(world.dispatcher.poll_timeout(), Some(Tick(u64::MAX)));
}

/// Its client sent all inputs first, and was then told what was known before.
#[test]
fn what_no_node_could_end_in_time_is_told_before_its_inputs_are_asked_for() {
    let mut world = knowing();
    world.join(1, 1);
    let within = |ms| {
        let mut request = request(1);
        request.placement.deadline_ms = Some(ms);
        request
    };
    let told = world.dispatcher.refusal(job(1), &within(500));
    assert!(matches!(told, Some(Refusal::DeadlineMissed { needed_ms, .. }) if needed_ms > 500), "{told:?}");
    assert_eq!(world.dispatcher.refusal(job(1), &within(60_000)), None);
    assert!(matches!(world.submit_with(1, within(500))[..], [Action::Refuse { .. }]));
}
