use std::collections::VecDeque;

use adit_dispatch::{Action, Config, Event};

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
    assert_eq!(drain(&mut world, first), [10, 11, 20, 30, 12, 21, 13, 14]);
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
    assert_eq!(order[..4], [200, 101, 1, 201]);
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

#[test]
fn batch_of_a_hundred_thousand_does_not_delay_anothers_job_by_more_than_one_task() {
    let config = Config { queue_max: 200_000, queue_per_client_max: 200_000, spread: 1, ..Config::default() };
    let mut world = World::with(config);
    world.join(1, 1);
    for j in 1_000..101_000 {
        world.submit_for(1, j);
    }
    for round in 0..50 {
        world.pass(SECOND);
        let next = world.finish_after(1, 1_000 + round, 1, 1_000_000_000);
        assert_eq!(next, [start(1_001 + round, 1, 1)]);
    }
    world.submit_for(2, 1);
    world.pass(SECOND);
    assert_eq!(world.finish_after(1, 1_050, 1, 1_000_000_000), [start(1, 1, 1)]);
}

/// Where the job before was short, five tasks were started at once, and another's job waited for all of them.
#[test]
fn batch_of_long_tasks_after_a_short_one_does_not_delay_anothers_job_by_more_than_one_task() {
    let mut world = World::settled(&[(1, 1)]);
    let mut short = request(1);
    short.module.digest = adit_protocol::Digest([9; 32]);
    assert_eq!(world.submit_with(1, short), [start(1, 1, 1)]);
    for j in 1_000..1_100 {
        world.submit_for(1, j);
    }
    world.pass(2 * MILLISECOND);
    assert_eq!(world.finish_after(1, 1, 1, 1_000), [start(1_000, 1, 1)]);
    world.submit_for(2, 2);
    world.pass(60 * SECOND);
    assert_eq!(world.finish_after(1, 1_000, 1, 60_000_000_000), [start(2, 1, 1)]);
}

/// Tasks of a millisecond cost such a client nothing.
#[test]
fn client_of_the_greatest_weight_leaves_something_to_others() {
    let mut world = World::settled(&[(1, 1)]);
    world.handle(Event::ClientWeight { client: client(2), weight: u32::MAX });
    let mut running: VecDeque<_> = world.submit_for(2, 1).into();
    for j in 0..100 {
        running.extend(world.submit_for(2, 2_000 + j));
    }
    running.extend(world.submit_for(1, 1_000));
    let mut before = 0;
    while let Some(Action::Start { job, attempt, .. }) = running.pop_front() {
        if number(job) == 1_000 {
            break;
        }
        before += 1;
        world.pass(MILLISECOND);
        running.extend(world.finish_after(1, number(job), attempt.0, 1_000));
    }
    assert!(before < 50, "{before} of the other's came first");
}

/// Tasks that fail were tried again before anybody else's job, three times each, in all slots.
#[test]
fn tasks_of_a_batch_that_are_tried_again_do_not_delay_anothers_job_by_more_than_one_task() {
    let config = Config { queue_max: 200_000, queue_per_client_max: 200_000, spread: 1, ..Config::default() };
    let mut world = World::with(config);
    world.join(1, 4);
    for j in 1_000..101_000 {
        world.submit_for(1, j);
    }
    let fail_all = |world: &mut World, running: &mut Vec<(u32, u32)>| {
        world.pass(SECOND);
        let mut started = Vec::new();
        for (j, attempt) in std::mem::take(running) {
            for action in world.fail(1, j, attempt, node_failure("the worker died")) {
                match action {
                    Action::Start { job, attempt, .. } => started.push((number(job), attempt.0)),
                    Action::Lost { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        *running = started.clone();
        started
    };
    let mut running: Vec<_> = (1_000..1_004).map(|j| (j, 1)).collect();
    for _ in 0..19 {
        assert_eq!(fail_all(&mut world, &mut running).len(), 4);
    }
    assert!(running.iter().all(|(_, attempt)| *attempt == 2), "each is to be tried once more");
    world.submit_for(2, 1);
    world.submit_for(2, 2);
    let started = fail_all(&mut world, &mut running);
    assert!(started.contains(&(1, 1)) && started.contains(&(2, 1)), "{started:?}");
}

#[test]
fn client_with_several_slots_taken_leaves_the_next_one_to_another() {
    let mut world = World::settled(&[(1, 8)]);
    let mut running = VecDeque::new();
    for j in 0..200 {
        running.extend(world.submit_for(1, 1_000 + j));
    }
    for j in 0..20 {
        assert_eq!(world.submit_for(2, 2_000 + j), []);
    }
    assert_eq!(running.len(), 8);
    // Each has half of what gets free, until the second one has as much as the first, and then goes on so.
    let mut of_two = 0;
    for _ in 0..16 {
        let Some(Action::Start { job, attempt, .. }) = running.pop_front() else { panic!("work for the slot") };
        world.pass(SECOND / 8);
        let next = world.finish_after(1, number(job), attempt.0, 1_000_000_000);
        assert_eq!(next.len(), 1);
        of_two += next.iter().filter(|start| matches!(start, Action::Start { job, .. } if number(*job) >= 2_000)).count();
        running.extend(next);
    }
    assert!((7..=12).contains(&of_two), "{of_two} of 16");
}

#[test]
fn clients_get_slots_by_their_weights() {
    let mut world = World::settled(&[(1, 1)]);
    world.handle(Event::ClientWeight { client: client(2), weight: 3 });
    let first = world.submit_for(1, 1);
    for j in 0..300 {
        world.submit_for(1, 1_000 + j);
        world.submit_for(2, 2_000 + j);
    }
    let order = drain(&mut world, first);
    let of_two = order[1..201].iter().filter(|j| **j >= 2_000).count();
    assert!((145..=155).contains(&of_two), "{of_two} of 200 starts");
    world.handle(Event::ClientWeight { client: client(2), weight: 0 });
}

/// Turns alone would give a client with jobs of ten seconds ten times as much as one with jobs of one second.
#[test]
fn fairness_is_of_time_and_not_of_jobs() {
    let mut world = World::settled(&[(1, 1)]);
    let mut of_other_module = request(2);
    of_other_module.module.digest = adit_protocol::Digest([9; 32]);
    // The slot's jobs, in the order in which the node has them: it may have some ahead.
    let (mut running, mut us) = (VecDeque::new(), [0u64; 2]);
    for j in 0..200 {
        running.extend(world.submit_for(1, 1_000 + j));
        running.extend(world.submit_with(2_000 + j, of_other_module.clone()));
    }
    for _ in 0..150 {
        let Some(Action::Start { job, attempt, .. }) = running.pop_front() else { panic!("work for the slot") };
        let j = number(job);
        let (who, fuel, time) = if j < 2_000 { (0, 10_000_000, 10 * MILLISECOND) } else { (1, 100_000_000, 100 * MILLISECOND) };
        world.pass(time);
        us[who] += time;
        running.extend(world.finish_after(1, j, attempt.0, fuel));
    }
    let share = us[0] * 100 / (us[0] + us[1]);
    assert!((40..=60).contains(&share), "{share} % of the time for the client with short jobs: {us:?}");
}

#[test]
fn priority_orders_the_jobs_of_one_client_and_of_no_other() {
    let mut world = World::settled(&[(1, 1)]);
    let with = |c, priority| {
        let mut request = request(c);
        request.placement.priority = priority;
        request
    };
    let first = world.submit_for(1, 1);
    world.submit_with(10, with(1, 0));
    world.submit_with(11, with(1, 0));
    world.submit_with(12, with(1, 200));
    world.submit_with(13, with(1, 7));
    world.submit_with(20, with(2, 0));
    assert_eq!(drain(&mut world, first), [1, 12, 20, 13, 10, 11]);
}

#[test]
fn client_that_was_alone_does_not_pay_for_it_when_others_come() {
    let mut world = World::settled(&[(1, 1)]);
    for j in 0..1_000 {
        world.submit_for(1, j);
        world.pass(SECOND);
        world.finish_after(1, j, 1, 1_000_000_000);
    }
    let first = world.submit_for(1, 5_000);
    for j in 0..4 {
        world.submit_for(2, 2_000 + j);
        world.submit_for(1, 5_001 + j);
    }
    assert_eq!(drain(&mut world, first)[..5], [5_000, 2_000, 5_001, 2_001, 5_002]);
}
