use adit_protocol::{NodeOffer, Refusal, UnfitReason};

use crate::world::*;

fn no_node() -> Refusal {
    Refusal::NoNodeFits { nodes: vec![] }
}

#[test]
fn job_waits_for_nodes_in_the_opening_grace() {
    let mut world = World::new();
    assert_eq!(world.submit(1), []);
    assert_eq!(world.pass(2 * SECOND), []);
    assert_eq!(world.join(1, 1), [start(1, 1, 1)]);
}

#[test]
fn job_without_a_node_is_refused_when_the_opening_grace_ends() {
    let mut world = World::new();
    world.join(1, 1);
    assert_eq!(world.pass(SECOND), []);
    assert_eq!(world.submit_with(1, labelled(1, "gpu")), []);
    assert_eq!(world.submit_with(2, labelled(2, "gpu")), []);
    assert_eq!(world.submit(3), [start(3, 1, 1)]);
    assert_eq!(world.submit(4), []);
    assert_eq!(world.pass(2 * SECOND - 1), []);
    let no_label = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Label, 1)] };
    assert_eq!(world.pass(1), [refuse(1, no_label.clone()), refuse(2, no_label)]);
    assert!(world.is_forgotten(1));
    assert_eq!(world.dispatcher.queued(), 1, "job 4 has a node that fits, and waits on");
}

#[test]
fn job_without_a_node_is_refused_at_once_after_the_opening_grace() {
    let mut world = World::new();
    world.submit(1);
    assert_eq!(world.pass(3 * SECOND), [refuse(1, no_node())]);
    assert_eq!(world.submit(2), [refuse(2, no_node())]);
    assert!(world.is_forgotten(2));
}

#[test]
fn job_waits_for_the_return_of_a_fitting_node() {
    let mut world = World::settled(&[(1, 1)]);
    world.leave(1);
    assert_eq!(world.pass(SECOND), []);
    assert_eq!(world.submit(1), []);
    let no_one = Refusal::NoNodeFits { nodes: vec![] };
    assert_eq!(world.submit_with(2, labelled(1, "gpu")), [refuse(2, no_one)], "that node would not fit this job");
    assert_eq!(world.pass(SECOND), []);
    assert_eq!(world.join(1, 1), [start(1, 1, 1)]);
}

#[test]
fn waiting_jobs_are_refused_and_running_ones_lost_when_the_node_stays_away() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit(2);
    assert_eq!(world.leave(1), []);
    assert_eq!(world.pass(3 * SECOND - 1), []);
    let reason = "node 01010101 disconnected; then no node fits: no node is connected";
    assert_eq!(world.pass(1), [lost(1, 1, reason), refuse(2, no_node())]);
    assert_eq!(world.dispatcher.queued(), 0);
    assert_eq!(world.dispatcher.poll_timeout(), None);
}

#[test]
fn grace_counts_from_the_last_departure() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.leave(1);
    world.pass(2 * SECOND);
    world.leave(2);
    world.submit(1);
    assert_eq!(world.pass(3 * SECOND - 1), []);
    assert_eq!(world.pass(1), [refuse(1, no_node())]);

    // Of the same node, too.
    let mut world = World::settled(&[(1, 1)]);
    world.leave(1);
    world.pass(2 * SECOND);
    world.join(1, 1);
    world.leave(1);
    world.submit(1);
    assert_eq!(world.pass(3 * SECOND - 1), []);
    assert_eq!(world.pass(1), [refuse(1, no_node())]);
}

#[test]
fn job_that_only_the_former_offer_fits_is_not_left_waiting() {
    let mut world = World::new();
    world.join_with(1, NodeOffer { labels: vec![label("gpu")], ..offer(1) });
    world.pass(3 * SECOND);
    world.submit(1);
    assert_eq!(world.submit_with(2, labelled(1, "gpu")), []);
    assert_eq!(world.join(1, 1), [start(1, 2, 1)]);
    let no_label = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Label, 1)] };
    assert_eq!(world.pass(3 * SECOND), [refuse(2, no_label)]);
}

#[test]
fn nodes_that_leave_together_are_given_up_together() {
    let mut world = World::settled(&[(1, 1), (2, 1), (3, 1)]);
    for j in 1..=4 {
        world.submit(j);
    }
    for n in 1..=3 {
        world.leave(n);
    }
    let ends = world.pass(3 * SECOND);
    assert_eq!(ends.len(), 4, "{ends:?}");
    assert_eq!(ends[3], refuse(4, no_node()));
}
