use adit_dispatch::{Action, Event};
use adit_protocol::{Attempt, AttemptFailure, Digest, Refusal};

use crate::world::*;

#[test]
fn job_of_a_node_that_left_goes_to_another() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.leave(1), [start(1, 2, 2)]);
    assert_eq!(world.finish(2, 1, 2), []);
    assert!(world.is_forgotten(1));
}

#[test]
fn job_of_a_node_that_was_expelled_goes_to_another_and_what_it_did_is_told() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    let expel = |world: &mut World, n| world.handle(Event::NodeExpelled { node: node(n), fault: "it lied".into() });
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(expel(&mut world, 1), [start(1, 2, 2)]);
    assert_eq!(expel(&mut world, 1), [], "it is gone");
    assert_eq!(expel(&mut world, 2), []);
    assert_eq!(world.join(2, 1), [start(1, 3, 2)]);
    assert_eq!(expel(&mut world, 2), [lost(1, 3, "node 02020202 failed: it lied")]);
}

#[test]
fn unknown_node_may_leave_and_be_measured_without_effect() {
    let mut world = World::settled(&[(1, 1)]);
    world.rtt(9, 1);
    assert_eq!(world.leave(9), []);
    assert_eq!(world.dispatcher.nodes().count(), 1);
}

#[test]
fn lost_jobs_are_queued_before_their_clients_others_in_their_old_order() {
    let mut world = World::settled(&[(1, 2), (2, 1)]);
    world.rtt(1, MILLISECOND);
    for j in [9, 8, 7, 6] {
        world.submit(j);
    }
    // 9 and 8 run on node 1, 7 on node 2, 6 waits.
    assert_eq!(world.leave(1), []);
    assert_eq!(world.dispatcher.queued(), 3);
    world.pass(SECOND);
    assert_eq!(world.finish(2, 7, 1), [start(9, 2, 2)]);
    world.pass(SECOND);
    assert_eq!(world.finish(2, 9, 2), [start(8, 2, 2)]);
    world.pass(SECOND);
    assert_eq!(world.finish(2, 8, 2), [start(6, 1, 2)]);
}

#[test]
fn node_that_failed_a_job_does_not_get_it_again_while_another_fits() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    world.submit(2);
    // Job 1 waits for node 2, though node 1 is free; job 3 takes node 1.
    assert_eq!(world.fail(1, 1, 1, node_failure("disk full")), []);
    assert_eq!(world.view(1).leases, 0);
    assert_eq!(world.submit(3), [start(3, 1, 1)]);
    assert_eq!(world.finish(2, 2, 1), [start(1, 2, 2)]);
}

#[test]
fn node_that_failed_a_job_gets_it_again_where_no_other_fits() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    world.submit(2);
    world.fail(1, 1, 1, node_failure("disk full"));
    // The one other node leaves, with job 2: both are tried on the node that is left, the older one first.
    assert_eq!(world.leave(2), [start(1, 2, 1)]);
    assert_eq!(world.finish(1, 1, 2), [start(2, 2, 1)]);
}

#[test]
fn only_node_is_tried_again_until_the_attempts_are_used_up() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    assert_eq!(world.fail(1, 1, 1, node_failure("a")), [start(1, 2, 1)]);
    assert_eq!(world.fail(1, 1, 2, node_failure("b")), [start(1, 3, 1)]);
    assert_eq!(world.fail(1, 1, 3, node_failure("disk full")), [lost(1, 3, "node 01010101 failed: disk full")]);
    assert!(world.is_forgotten(1));
    assert_eq!(world.view(1).leases, 0);
    assert_eq!(world.view(1).jobs_done, 0);
}

#[test]
fn job_that_loses_three_nodes_is_lost() {
    let mut world = World::settled(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    world.submit(1);
    assert_eq!(world.leave(1), [start(1, 2, 2)]);
    assert_eq!(world.leave(2), [start(1, 3, 3)]);
    assert_eq!(world.leave(3), [lost(1, 3, "node 03030303 disconnected")]);
    assert!(world.is_forgotten(1));
}

#[test]
fn joining_again_replaces_the_registration_and_loses_its_leases() {
    let mut world = World::settled(&[(1, 2)]);
    world.submit(1);
    world.submit(2);
    world.rtt(1, 5);
    assert_eq!(world.join(1, 1), [start(1, 2, 1)]);
    let view = world.view(1);
    assert_eq!((view.leases, view.offer.slots, view.rtt_us, view.jobs_done), (1, 1, None, 0));
    // What the older connection had is void.
    assert_eq!(world.dispatcher.lease(job(1), Attempt(1)), None);
    assert_eq!(world.finish(1, 2, 1), []);
    assert_eq!(world.dispatcher.queued(), 1);
    assert_eq!(world.finish(1, 1, 2), [start(2, 2, 1)]);
}

#[test]
fn node_whose_connection_broke_gets_its_job_again_once_while_others_are_busy() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    world.submit(2);
    // It may not be the job's fault. Once it waited for the other node, which may be busy for hours, beside this one without work.
    assert_eq!(world.join(1, 1), [start(1, 2, 1)]);
    assert_eq!(world.join(1, 1), []);
    assert_eq!(world.finish(2, 2, 1), [start(1, 3, 2)]);
}

/// While a node's connection is being replaced, the node is one that fits.
#[test]
fn replaced_connection_does_not_send_jobs_back_to_nodes_that_failed_them() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    world.submit(2);
    assert_eq!(world.fail(1, 1, 1, node_failure("disk full")), []);
    assert_eq!(world.join(2, 1), [start(1, 2, 2), start(2, 2, 1)]);
}

fn invalid(why: &str) -> AttemptFailure {
    AttemptFailure::ModuleInvalid(why.into())
}

#[test]
fn invalid_module_ends_the_job_at_the_second_nodes_word() {
    let mut world = World::settled(&[(1, 1), (2, 1), (3, 1)]);
    world.submit(1);
    assert_eq!(world.fail(1, 1, 1, invalid("unknown import at offset 0x2a")), [start(1, 2, 2)]);
    let want = refuse(1, Refusal::ModuleInvalid("unknown import `x`".into()));
    assert_eq!(world.fail(2, 1, 2, invalid("unknown import `x`")), [want]);
    assert!(world.is_forgotten(1));
    assert_eq!((world.view(1).leases, world.view(2).leases), (0, 0));
    assert_eq!((world.view(1).reputation, world.view(2).reputation), (1_000, 1_000), "it may be the job's fault");
}

/// One node could end every job that it was given by saying so, and lost nothing by it.
#[test]
fn node_that_calls_a_module_invalid_which_another_runs_loses_by_it() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    assert_eq!(world.fail(1, 1, 1, invalid("it says")), [start(1, 2, 2)]);
    assert_eq!(world.finish(2, 1, 2), []);
    assert_eq!(world.view(1).reputation, 900);
}

#[test]
fn invalid_module_ends_the_job_at_once_where_no_other_node_can_be_asked() {
    // The only node; the only one that takes jobs; the last of three attempts.
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    assert_eq!(world.fail(1, 1, 1, invalid("bad")), [refuse(1, Refusal::ModuleInvalid("bad".into()))]);

    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.state(2, adit_protocol::NodeState::Draining);
    world.submit(1);
    assert_eq!(world.fail(1, 1, 1, invalid("bad")), [refuse(1, Refusal::ModuleInvalid("bad".into()))]);

    let mut world = World::settled(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    world.submit(1);
    world.fail(1, 1, 1, node_failure("disk full"));
    world.fail(2, 1, 2, node_failure("disk full"));
    assert_eq!(world.fail(3, 1, 3, invalid("bad")), [refuse(1, Refusal::ModuleInvalid("bad".into()))]);

    // It waits for a busy one to be asked, and that leaves.
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    world.submit(2);
    assert_eq!(world.fail(1, 1, 1, invalid("bad")), []);
    assert_eq!(world.leave(2), [start(1, 2, 1)]);
    assert!(world.fail(1, 1, 2, invalid("bad")).contains(&refuse(1, Refusal::ModuleInvalid("bad".into()))));
}

#[test]
fn missing_blob_ends_the_job_at_once_and_frees_the_slot() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit(2);
    let digest = Digest::of(b"gone");
    let want = [refuse(1, Refusal::InputMissing(digest)), start(2, 1, 1)];
    assert_eq!(world.fail(1, 1, 1, AttemptFailure::BlobMissing(digest)), want);
}

#[test]
fn lease_given_back_unasked_is_a_lost_attempt() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    assert_eq!(world.fail(1, 1, 1, AttemptFailure::Withdrawn), [start(1, 2, 2)]);
    assert_eq!(world.fail(2, 1, 2, AttemptFailure::Withdrawn), [start(1, 3, 1)]);
    assert_eq!(world.fail(1, 1, 3, AttemptFailure::Withdrawn), [lost(1, 3, "node 01010101 gave the job back")]);
}

#[test]
fn waits_before_all_attempts_are_added_up() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit(2);
    world.pass(40 * MILLISECOND);
    world.finish(1, 1, 1);
    world.pass(SECOND);
    world.leave(1);
    world.pass(2 * MILLISECOND);
    assert_eq!(world.join(1, 1), [start(2, 2, 1)]);
    assert_eq!(world.dispatcher.waited_us(job(2)), Some(42 * MILLISECOND));
    assert_eq!(world.dispatcher.waited_us(job(1)), None);
}

#[test]
fn full_queue_takes_a_lost_job_back() {
    let mut world = World::with(adit_dispatch::Config { queue_max: 1, queue_per_client_max: 1, ..Default::default() });
    world.join(1, 1);
    world.submit(1);
    world.submit(2);
    assert_eq!(world.leave(1), []);
    assert_eq!(world.dispatcher.queued(), 2);
    assert_eq!(world.join(2, 2), [start(1, 2, 2), start(2, 1, 2)]);
}

#[test]
fn declined_node_is_not_asked_again_and_counts_for_nothing() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    // Elsewhere at once, as the first attempt still.
    assert_eq!(world.decline(1, 1, 1), [start(1, 1, 2)]);
    assert_eq!(world.view(1).leases, 0);
    // Nowhere, until somebody comes who was not asked.
    assert_eq!(world.decline(2, 1, 1), []);
    assert_eq!((world.dispatcher.queued(), world.pass(SECOND)), (1, vec![]));
    assert_eq!(world.join(3, 1), [start(1, 1, 3)]);
    assert_eq!(world.finish(3, 1, 1), []);
    assert!(world.is_forgotten(1));
}

#[test]
fn declined_job_lets_others_pass_and_times_out_where_nobody_else_comes() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit_for(2, 2);
    assert_eq!(world.decline(1, 1, 1), [start(2, 1, 1)]);
    assert_eq!(world.finish(1, 2, 1), []);
    let refused = world.pass(600 * SECOND);
    assert!(matches!(refused.as_slice(), [Action::Refuse { refusal: Refusal::QueueTimeout { .. }, .. }]), "{refused:?}");
}

#[test]
fn job_that_is_declined_everywhere_is_refused_in_the_end() {
    let mut world = World::settled(&[]);
    let mut started = world.submit(1);
    for n in 1..40 {
        started.extend(world.join(n, 1));
        match started.pop() {
            Some(Action::Start { node, attempt, .. }) => {
                assert_eq!(attempt, Attempt(1));
                started.extend(world.decline(node.0[0], 1, attempt.0));
            }
            Some(Action::Refuse { refusal: Refusal::NoNodeFits { .. }, .. }) => return,
            other => panic!("{other:?}"),
        }
    }
    panic!("nobody refuses it");
}

/// Seventeen owners ended everybody's jobs by declining them, while those who would run them were busy.
#[test]
fn job_that_many_decline_waits_for_a_busy_node_that_did_not() {
    let declined = AttemptFailure::Declined("not for you".into());
    for (owners, is_kept) in [(30, true), (32, false)] {
        let mut world = World::settled(&[(100, 1)]);
        assert_eq!(world.submit_for(2, 2), [start(2, 1, 100)]);
        assert_eq!(world.submit(1), []);
        let mut last = Vec::new();
        for n in 1..=owners {
            assert_eq!(world.join(n, 1), [start(1, n.into(), n)]);
            last = world.fail(n, 1, n.into(), declined.clone());
        }
        assert_eq!(last.is_empty(), is_kept, "{last:?}");
        let want = if is_kept { vec![start(1, u32::from(owners) + 1, 100)] } else { vec![] };
        assert_eq!(world.finish(100, 2, 1), want);
    }
}

#[test]
fn late_word_of_a_declined_attempt_is_ignored() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    world.decline(1, 1, 1);
    assert_eq!(world.decline(1, 1, 1), []);
    assert_eq!(world.finish(1, 1, 1), []);
    assert_eq!(world.finish(2, 1, 1), []);
    assert!(world.is_forgotten(1));
}
