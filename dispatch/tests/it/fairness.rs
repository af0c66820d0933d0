use std::collections::VecDeque;

use adit_dispatch::{Action, Config, Event, GIVEN_BACK_MAX};
use adit_protocol::{AttemptFailure, NodeOffer, Refusal};

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

/// A node with one slot and a batch of short tasks of client 1: one runs, four wait there.
fn crowded() -> World {
    let mut world = World::settled(&[(1, 1)]);
    let mut out = world.submit_for(1, 1_000);
    for j in 1_001..1_200 {
        out.extend(world.submit_for(1, j));
    }
    world.pass(10 * MILLISECOND);
    assert_eq!((out.len(), world.finish_after(1, 1_000, 1, 10_000_000).len()), (1, 5));
    assert_eq!((world.view(1).leases, world.view(1).window), (5, 5));
    world
}

/// Where tasks are short a node has some ahead, and another's job waited until the node had room, and then for all of them.
#[test]
fn batch_of_short_tasks_does_not_delay_anothers_job_by_more_than_one_task() {
    let mut world = crowded();
    // At the node clients take turns, so this is next when what runs has ended.
    assert_eq!(world.submit_for(2, 1), [start(1, 1, 1)]);
    let told = world.decisions.last().unwrap();
    assert_eq!((told.is_next, told.is_first_free, told.full, told.others), (true, false, 0, 0));
    assert_eq!(world.submit_for(2, 2), [], "that holds for one job of a client");
    assert_eq!(world.submit_for(3, 3), [], "and for one in each slot");
    assert_eq!(world.submit_for(1, 4), [], "and for nobody who has a batch there");
    world.pass(10 * MILLISECOND);
    assert_eq!(world.finish_after(1, 1_001, 1, 10_000_000), [], "one more than the window is out still");
    world.pass(10 * MILLISECOND);
    // Who had less has the next place.
    assert_eq!(world.finish_after(1, 1, 1, 10_000_000), [start(3, 1, 1)]);
}

/// It was told before its inputs were there that it would be refused, and then it would have started at once.
#[test]
fn full_queue_of_one_client_refuses_nobody_who_comes_first_at_a_node() {
    let mut world = World::with(Config { spread: 1, queue_max: 8, ..Config::default() });
    world.join(1, 1);
    world.pass(3 * SECOND);
    for j in 1_000..1_020 {
        world.submit_for(1, j);
        let held = world.dispatcher.leases(&node(1)).next();
        if let Some((job, of)) = held {
            world.pass(MILLISECOND);
            world.finish_after(1, number(job), of.0, 1_000_000);
        }
    }
    for j in 2_000..2_020 {
        world.submit_for(1, j);
    }
    let held = world.dispatcher.leases(&node(1)).next();
    let (ended, of) = held.unwrap();
    world.pass(MILLISECOND);
    assert_eq!(world.finish_after(1, number(ended), of.0, 1_000_000).len(), 1);
    world.submit_for(1, 2_100);
    assert_eq!((world.view(1).leases, world.view(1).window, world.dispatcher.queued()), (5, 5, 8));
    let refusal = |world: &World, c| world.dispatcher.refusal(job(1), &request(c));
    assert!(matches!(refusal(&world, 1), Some(Refusal::QueueFull { queued: 8, .. })));
    assert_eq!(refusal(&world, 2), None);
    assert_eq!(world.submit_for(2, 1), [start(1, 1, 1)]);
    assert!(matches!(refusal(&world, 3), Some(Refusal::QueueFull { queued: 8, .. })));
}

#[test]
fn job_passes_what_waits_at_a_node_only_where_its_client_had_less() {
    let mut world = crowded();
    assert_eq!(world.submit_for(2, 1), [start(1, 1, 1)]);
    world.pass(10 * MILLISECOND);
    assert_eq!(world.finish_after(1, 1_001, 1, 10_000_000), []);
    world.pass(10 * MILLISECOND);
    assert_eq!(world.finish_after(1, 1_002, 1, 10_000_000), [start(1_006, 1, 1)]);
    // Client 2 has one there, so client 3 alone may pass.
    assert_eq!(world.submit_for(2, 2), []);
    assert_eq!(world.submit_for(3, 3), [], "client 2 waits and had no more than it");
}

/// Tasks that were short and are long now: what waits behind one at its node goes elsewhere as if it had not been there.
#[test]
fn what_a_node_hands_back_has_its_turn_elsewhere_and_costs_nobody_anything() {
    let mut world = crowded();
    assert_eq!(world.join(2, 1), [start(1_006, 1, 2)]);
    let reputation = world.view(1).reputation;
    world.pass(50 * MILLISECOND);
    for j in 1_002..=1_005 {
        assert_eq!(world.fail(1, j, 1, AttemptFailure::Busy), [], "both nodes are full");
    }
    let view = world.view(1);
    assert_eq!((view.leases, view.window), (1, 1), "nothing waits behind a long one");
    // Another's job comes first, and then the batch's first ones.
    assert_eq!(world.submit_for(2, 1), []);
    world.pass(SECOND);
    assert_eq!(world.finish_after(2, 1_006, 1, 1_000_000_000), [start(1, 1, 2)]);
    world.pass(SECOND);
    assert_eq!(world.finish_after(2, 1, 1, 1_000_000_000), [start(1_002, 2, 2)]);
    world.pass(SECOND);
    assert_eq!(world.finish_after(1, 1_001, 1, 3_000_000_000), [start(1_003, 2, 1)], "and this node may have it again");
    assert_eq!(world.view(1).reputation, reputation);
}

/// That is no attempt of those that a job has; and no way to keep one from ending either.
#[test]
fn job_that_is_handed_back_is_not_lost_and_a_node_that_does_nothing_else_gives_it_back_unasked() {
    let mut world = crowded();
    let whole = world.view(1).reputation;
    world.pass(50 * MILLISECOND);
    for attempt in 1..=GIVEN_BACK_MAX {
        assert_eq!(world.fail(1, 1_002, attempt, AttemptFailure::Busy), []);
        // What runs ends, and so does all that waits, so that leases are sent ahead anew.
        let mut started = Vec::new();
        let held: Vec<_> = world.dispatcher.leases(&node(1)).collect();
        for (job, of) in held {
            world.pass(MILLISECOND);
            started.extend(world.finish_after(1, number(job), of.0, 1_000_000));
        }
        assert!(started.contains(&start(1_002, attempt + 1, 1)), "after {attempt}: {started:?}");
        world.pass(50 * MILLISECOND);
    }
    world.pass(2 * SECOND);
    assert_eq!(world.view(1).reputation, whole);
    world.fail(1, 1_002, GIVEN_BACK_MAX + 1, AttemptFailure::Busy);
    world.pass(2 * SECOND);
    assert!(world.view(1).reputation < whole);
}

/// Whoever offers no slots for a moment could hand back all that it has, again and again.
#[test]
fn node_that_takes_its_slots_away_hands_back_nothing() {
    let mut world = World::settled(&[(1, 2)]);
    let whole = world.view(1).reputation;
    assert_eq!([world.submit(1), world.submit(2)], [[start(1, 1, 1)], [start(2, 1, 1)]]);
    for _ in 0..20 {
        world.offer(1, offer(0));
        let held: Vec<_> = world.dispatcher.leases(&node(1)).collect();
        for (job, attempt) in held {
            world.fail(1, number(job), attempt.0, AttemptFailure::Busy);
        }
        world.offer(1, offer(2));
        world.pass(2 * SECOND);
    }
    assert!(world.is_forgotten(1) && world.is_forgotten(2), "they end");
    assert!(world.view(1).reputation < whole);
}

/// A node that holds fewer leases than it has slots cannot have one wait for a slot.
#[test]
fn node_that_hands_back_beside_a_free_slot_gives_back_unasked() {
    let mut world = World::settled(&[(1, 2), (2, 2)]);
    let before = world.view(1).reputation;
    world.rtt(1, MILLISECOND);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.fail(1, 1, 1, AttemptFailure::Busy), [start(1, 2, 2)]);
    world.pass(2 * SECOND);
    assert!(world.view(1).reputation < before, "its owner said nothing that explains it");
}

/// Whoever sat on what waits until its time was over, and then said that there was no slot, lost nothing by it.
#[test]
fn node_that_hands_back_late_gives_back_unasked() {
    for (late_us, is_believed) in [(10 * SECOND, true), (11 * SECOND, false)] {
        let mut world = crowded();
        let whole = world.view(1).reputation;
        world.pass(late_us);
        world.fail(1, 1_002, 1, AttemptFailure::Busy);
        world.pass(2 * SECOND);
        assert_eq!(world.view(1).reputation == whole, is_believed, "after {late_us} us");
    }
}

#[test]
fn job_that_is_handed_back_while_its_client_withdraws_it_has_not_run() {
    let mut world = crowded();
    assert_eq!(world.cancel(1_002), [stop(1_002, 1, 1)]);
    assert_eq!(world.fail(1, 1_002, 1, AttemptFailure::Busy), [cancelled(1_002)]);
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

/// Once nothing was counted where all that waited had had a turn: the client whose key is less had all of its jobs tried first.
#[test]
fn what_is_tried_again_is_shared_fairly_too() {
    let mut world = World::settled(&[(1, 64)]);
    for j in 0..63 {
        world.submit_for(1, 1_000 + j);
    }
    world.submit_for(2, 1);
    world.join(2, 1);
    let mut running = world.leave(1);
    let mut before = 0;
    while let [Action::Start { job, attempt, .. }] = running[..] {
        if number(job) == 1 {
            break;
        }
        before += 1;
        world.pass(SECOND);
        running = world.finish_after(2, number(job), attempt.0, 1_000_000_000);
    }
    let has_started = matches!(running[..], [Action::Start { job, .. }] if number(job) == 1);
    assert!(has_started && before <= 1, "{before} of the other's came first");
}

/// Where all that waited had had a turn, who came late began at nothing, and went before the others for as long as those had had before.
#[test]
fn who_comes_late_begins_where_those_are_who_are_tried_again() {
    let mut world = World::settled(&[(1, 64)]);
    for j in 0..64 {
        world.submit_for(1, 1_000 + j);
    }
    world.join(2, 1);
    let mut running = world.leave(1);
    let mut end_one = |world: &mut World| {
        let [Action::Start { job, attempt, .. }] = running[..] else { panic!("{running:?}") };
        world.pass(SECOND);
        running = world.finish_after(2, number(job), attempt.0, 1_000_000_000);
        number(job)
    };
    for _ in 0..32 {
        end_one(&mut world);
    }
    for j in 0..32 {
        world.submit_for(2, 1 + j);
    }
    end_one(&mut world);
    let of_late = (0..20).filter(|_| end_one(&mut world) < 1_000).count();
    assert!((9..=11).contains(&of_late), "{of_late} of 20");
}

/// What the attempt took that lost was nobody's.
#[test]
fn both_of_two_attempts_count_as_their_clients() {
    let mut world = near_and_far();
    for (n, key) in [(3, "x"), (4, "y")] {
        world.join_with(n, NodeOffer { labels: vec![label(key)], ..offer(1) });
        world.rtt(n, 50 * MILLISECOND);
    }
    // Two clients wait for one node, and have others meanwhile: one of them two at once.
    assert_eq!(world.submit_with(300, labelled(3, "x")), [start(300, 1, 3)]);
    assert_eq!([world.submit_with(11, labelled(1, "x")), world.submit_with(21, labelled(2, "x"))].concat(), []);
    assert_eq!(world.submit_with(22, labelled(2, "y")), [start(22, 1, 4)]);
    let mut hedged = request(1);
    hedged.placement.hedge = true;
    assert_eq!(world.submit_with(100, hedged), [start(100, 1, 1)]);
    assert_eq!(world.pass(1_500 * MILLISECOND), [start(100, 2, 2)]);
    assert_eq!(world.finish_after(4, 22, 1, 1_500_000_000), []);
    assert_eq!(world.finish_after(1, 100, 1, 1_000_000_000), [stop(100, 2, 2)]);
    assert_eq!(world.finish_after(2, 100, 2, 1_000_000_000), []);
    assert_eq!(world.finish(3, 300, 1), [start(21, 1, 3)]);
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
