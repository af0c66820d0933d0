//! Why a job waits: what the driver is told to remember.

use adit_dispatch::{Config, Request};
use adit_protocol::{AttemptFailure, NodeState, UnfitReason, Verdict, Wait};

use crate::world::*;

fn with_priority(c: u8, priority: u8) -> Request {
    let mut request = request(c);
    request.placement.priority = priority;
    request
}

fn waits(unfit: &[(UnfitReason, u32)], full: u32, [queued, ahead, clients]: [u32; 3]) -> Wait {
    Wait { unfit: unfit.to_vec(), full, queued, ahead, clients }
}

#[test]
fn what_rules_nodes_out_and_what_is_full_is_told_when_a_wait_begins() {
    let mut world = World::settled(&[(1, 1), (2, 1), (3, 0)]);
    world.state(2, NodeState::Draining);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.waits, [], "what starts at once does not wait");
    assert_eq!(world.submit(2), []);
    assert_eq!(*world.wait(2), waits(&[(UnfitReason::Slots, 1), (UnfitReason::NotReady, 1)], 1, [0, 0, 0]));
    world.submit_with(3, labelled(1, "disk"));
    assert_eq!(world.waits.len(), 1, "what is refused does not wait");
}

#[test]
fn place_in_the_queue_is_behind_those_that_go_before() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(0);
    world.submit_with(1, with_priority(1, 5));
    world.submit_with(2, with_priority(1, 0));
    world.submit_with(3, with_priority(2, 0));
    world.submit_with(4, with_priority(1, 5));
    world.submit_with(5, with_priority(1, 9));
    let places: Vec<_> = (1..=5).map(|j| (world.wait(j).queued, world.wait(j).ahead, world.wait(j).clients)).collect();
    assert_eq!(places, [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 1, 1), (4, 0, 1)]);
}

#[test]
fn job_whose_attempt_was_lost_goes_before_all_others_and_its_node_is_told_of() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    for j in 1..=4 {
        world.submit(j);
    }
    assert_eq!(world.fail(1, 1, 1, node_failure("worker died")), [start(3, 1, 1)]);
    assert_eq!(*world.wait(1), waits(&[(UnfitReason::FailedBefore, 1)], 1, [1, 0, 0]));
}

#[test]
fn owners_who_decline_a_client_are_counted() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.rtt(1, MILLISECOND);
    world.submit_for(2, 1);
    world.submit_for(2, 2);
    world.pass(SECOND);
    world.finish(1, 1, 1);
    assert_eq!(world.submit_for(1, 3), [start(3, 1, 1)]);
    assert_eq!(world.fail(1, 3, 1, AttemptFailure::Declined("not you".into())), []);
    assert_eq!(*world.wait(3), waits(&[(UnfitReason::Declined, 1)], 1, [0, 0, 0]));
    // The node's owner sees that as well, for this job and for the next.
    let declined = |world: &World| {
        let verdicts = world.view(1).verdicts;
        verdicts.iter().find(|(verdict, _)| *verdict == Verdict::Unfit(UnfitReason::Declined)).map_or(0, |(_, count)| *count)
    };
    assert_eq!(declined(&world), 1);
    world.submit_for(1, 4);
    assert_eq!((declined(&world), world.wait(4).unfit.as_slice()), (2, [(UnfitReason::Declined, 1)].as_slice()));
    // When another node gets free, its decision counts the one that declines.
    world.pass(SECOND);
    assert_eq!(world.finish(2, 2, 1), [start(3, 2, 2)]);
    let started = world.decisions.last().unwrap();
    let verdict = started.candidates.iter().find(|candidate| candidate.node == node(1)).unwrap().verdict;
    assert_eq!((verdict, declined(&world)), (Verdict::Unfit(UnfitReason::Declined), 3));
}

#[test]
fn node_that_failed_a_job_is_told_of_where_another_takes_it() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.rtt(1, MILLISECOND);
    world.submit(1);
    assert_eq!(world.fail(1, 1, 1, node_failure("worker died")), [start(1, 2, 2)]);
    let failed = Verdict::Unfit(UnfitReason::FailedBefore);
    assert_eq!(world.decisions[1].candidates.iter().filter(|candidate| candidate.verdict == failed).count(), 1);
    assert_eq!(world.decisions[1].unfit, [(UnfitReason::FailedBefore, 1)]);
    assert!(world.view(1).verdicts.contains(&(failed, 1)));
}

#[test]
fn jobs_like_those_of_a_crowd_are_told_what_the_first_of_it_was() {
    let mut world = World::settled(&[(1, 1), (2, 0)]);
    for j in 0..200 {
        world.submit(j);
    }
    let of = |j: u32| (world.wait(j).unfit.clone(), world.wait(j).full);
    assert_eq!((of(1), of(199)), ((vec![(UnfitReason::Slots, 1)], 1), (vec![(UnfitReason::Slots, 1)], 1)));
    assert_eq!((world.wait(199).queued, world.wait(199).ahead), (198, 198));
}

#[test]
fn jobs_whose_attempt_was_lost_count_in_their_clients_share_and_are_not_refused() {
    let mut world = World::with(Config { queue_per_client_max: 2, spread: 1, ..Config::default() });
    world.join(1, 2);
    world.pass(3 * SECOND);
    for j in 1..=4 {
        world.submit_for(1, j);
    }
    assert_eq!(world.dispatcher.queued(), 2);
    world.leave(1);
    assert_eq!(world.dispatcher.queued(), 4, "none of them is lost");
    // All wait for a node to come back. One of another client is taken, a fifth of this one is not.
    assert_eq!(world.submit_for(2, 10), []);
    assert!(matches!(&world.submit_for(1, 5)[..], [adit_dispatch::Action::Refuse { .. }]));
    assert_eq!(world.join(1, 2), [start(1, 2, 1), start(10, 1, 1)], "the other client had nothing yet");
    assert!(matches!(&world.submit_for(1, 5)[..], [adit_dispatch::Action::Refuse { .. }]), "three of its wait still");
    world.pass(SECOND);
    assert_eq!(world.finish(1, 1, 2), [start(2, 2, 1)]);
    assert_eq!(world.finish(1, 10, 1), [start(3, 1, 1)]);
    assert_eq!(world.submit_for(1, 5), []);
}
