use adit_dispatch::Action;

use crate::world::*;

/// Finishes what runs on node 1, one slot, until nothing does; the jobs in the order of their starts.
fn drain(world: &mut World, first: Vec<Action>) -> Vec<u32> {
    let mut order = Vec::new();
    let mut actions = first;
    while let Some(Action::Start { job, attempt, .. }) = actions.pop() {
        assert!(actions.is_empty(), "one slot");
        let j = number(job);
        order.push(j);
        world.pass(SECOND);
        actions = world.finish(1, j, attempt.0);
    }
    order
}

#[test]
fn inside_a_client_first_come_is_first_served() {
    let mut world = World::settled(&[(1, 1)]);
    let first = world.submit(50);
    for j in [9, 3, 7, 1] {
        world.submit(j);
    }
    assert_eq!(drain(&mut world, first), [50, 9, 3, 7, 1]);
}

#[test]
fn clients_are_served_in_turn() {
    let mut world = World::settled(&[(1, 1)]);
    let first = world.submit_for(1, 10);
    for j in 11..=14 {
        world.submit_for(1, j);
    }
    for j in 20..=21 {
        world.submit_for(2, j);
    }
    world.submit_for(3, 30);
    // Client 1 had a start already.
    assert_eq!(drain(&mut world, first), [10, 20, 30, 11, 21, 12, 13, 14]);
}

#[test]
fn client_that_comes_late_waits_one_round_at_most() {
    let mut world = World::settled(&[(1, 1)]);
    for j in 100..200 {
        world.submit_for(1, j);
        world.submit_for(2, 100 + j);
    }
    world.pass(SECOND);
    world.submit_for(3, 1);
    let first = world.finish(1, 100, 1);
    let order = drain(&mut world, first);
    assert_eq!(order[..4], [200, 1, 101, 201]);
    assert_eq!(order.len(), 200);
}

#[test]
fn client_whose_job_does_not_fit_keeps_its_turn() {
    let mut world = World::new();
    world.join(1, 1);
    let first = world.submit_for(1, 10);
    // Admitted in the opening grace, without a node that fits.
    world.submit_with(20, labelled(2, "gpu"));
    world.submit_for(3, 30);
    world.submit_for(2, 21);
    // Client 2's older job cannot run here, its younger one can, and its turn is before client 3's.
    assert_eq!(drain(&mut world, first)[..3], [10, 21, 30]);
}

#[test]
fn leaving_the_queue_in_another_way_costs_no_turn() {
    let mut world = World::settled(&[(1, 1)]);
    let first = world.submit_for(1, 10);
    world.submit_for(2, 20);
    world.submit_for(2, 21);
    world.submit_for(3, 30);
    assert_eq!(world.cancel(20), [cancelled(20)]);
    assert_eq!(drain(&mut world, first), [10, 21, 30]);
}
