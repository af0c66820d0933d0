//! Jobs whose clients cannot pay for each node: what they can pay is the driver's to say, when it is told to start one.

use adit_dispatch::{Action, Event, Request};
use adit_protocol::{Attempt, JobLimits, Microcredits, NodeOffer, Price, Refusal, UnfitReason};

use crate::world::*;

/// A node on which the default job costs this at the most.
fn priced(slots: u32, cost: u64) -> NodeOffer {
    let price = |per_compute_minute| Price { per_compute_minute, ..Price::default() };
    let of_one = price(60_000_000).cost_max(&JobLimits::default(), request(1).input_bytes()).expect("a bill can express it").0;
    assert_eq!(of_one % 1_000_000, 0);
    NodeOffer { price: price(cost * 60_000_000 / of_one), ..offer(slots) }
}

/// Past the opening grace, with these nodes as (number, slots, cost).
fn priced_nodes(nodes: &[(u8, u32, u64)]) -> World {
    let mut world = World::settled(&[]);
    nodes.iter().for_each(|(n, slots, cost)| assert_eq!(world.join_with(*n, priced(*slots, *cost)), []));
    world
}

const CHEAP: u64 = 10_000_000;
const DEAR: u64 = 50_000_000;

#[test]
fn price_is_what_it_is_called() {
    let world = priced_nodes(&[(1, 1, CHEAP), (2, 1, DEAR)]);
    assert_eq!(world.dispatcher.cost_floor(&request(1)), Some(Microcredits(CHEAP)));
}

/// It was told that its account had too little, which had plenty.
#[test]
fn job_that_allows_no_more_is_not_told_to_get_credits() {
    let mut world = priced_nodes(&[(1, 1, CHEAP)]);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    let declined = Event::Declined {
        node: node(1),
        job: job(1),
        attempt: Attempt(1),
        affordable: Microcredits(CHEAP - 1),
        is_all_it_allows: true,
    };
    assert_eq!(world.handle(declined), []);
    let refusal = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Price, 1)] };
    assert_eq!(world.pass(300 * SECOND), [refuse(1, refusal)]);
}

/// Seventeen keys with an absurd price had every job refused that waited for a cheap node, for each was asked.
#[test]
fn job_waits_for_a_node_that_its_client_can_pay_however_many_dear_ones_have_room() {
    let mut world = priced_nodes(&[(1, 1, CHEAP)]);
    assert_eq!(world.submit_for(2, 2), [start(2, 1, 1)]);
    (10..40).for_each(|n| assert_eq!(world.join_with(n, priced(1, DEAR + u64::from(n))), []));
    let started = world.submit(1);
    let [Action::Start { node, attempt, .. }] = started.as_slice() else { panic!("{started:?}") };
    assert_eq!(world.decline_with(node.0[0], 1, attempt.0, CHEAP), []);
    assert_eq!(world.wait(1).unfit, [(UnfitReason::Price, 30)]);
    assert_eq!((world.wait(1).full, world.dispatcher.is_short_of_credit(job(1))), (1, true));
    assert_eq!(world.finish(1, 2, 1), [start(1, 1, 1)]);
    assert!(!world.dispatcher.is_short_of_credit(job(1)));
    assert_eq!(world.finish(1, 1, 1), []);
    assert!(world.is_forgotten(1));
}

#[test]
fn cheaper_node_that_joins_gets_the_job_whose_client_could_not_pay() {
    let mut world = priced_nodes(&[(1, 1, DEAR)]);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.decline_with(1, 1, 1, CHEAP), []);
    assert_eq!(world.join_with(2, priced(1, CHEAP + 1_000_000)), []);
    assert_eq!(world.join_with(3, priced(1, CHEAP)), [start(1, 1, 3)]);
}

/// It was kept from the node for good, and waited in vain beside it with the credits that another job of its client's had held.
#[test]
fn job_is_tried_again_when_its_client_has_more_to_pay_with() {
    let mut world = priced_nodes(&[(1, 2, CHEAP)]);
    assert_eq!([world.submit(1), world.submit(2)].concat(), [start(1, 1, 1), start(2, 1, 1)]);
    assert_eq!(world.decline_with(1, 2, 1, 0), []);
    assert_eq!(world.pass(10 * SECOND), [], "there is no more to pay with");
    assert_eq!(world.fund(2), [], "nor has another client's credit to do with it");
    assert_eq!(world.fund(1), [start(2, 1, 1)]);
    // Too little: again it waits, and is not tried at once, nor without cause.
    assert_eq!(world.decline_with(1, 2, 1, CHEAP - 1), []);
    assert_eq!(world.fund(1), []);
    assert_eq!(world.pass(100 * MILLISECOND), [start(2, 1, 1)]);
    assert_eq!(world.decline_with(1, 2, 1, CHEAP - 1), []);
    assert_eq!(world.pass(10 * SECOND), []);
    assert_eq!(world.fund(1), [start(2, 1, 1)]);
    assert_eq!(world.finish(1, 2, 1), []);
}

#[test]
fn credit_is_offered_to_some_jobs_at_a_time_and_to_each_once() {
    let mut world = priced_nodes(&[(1, 100, CHEAP)]);
    for j in 1..=40 {
        assert_eq!(world.submit(j), [start(j, 1, 1)]);
        assert_eq!(world.decline_with(1, j, 1, 0), []);
    }
    let starts = |world: &mut World, actions: Vec<Action>| {
        let started = |action: &Action| match action {
            Action::Start { job, .. } => number(*job),
            other => panic!("{other:?}"),
        };
        let jobs: Vec<u32> = actions.iter().map(started).collect();
        jobs.iter().for_each(|j| assert_eq!(world.decline_with(1, *j, 1, 0), []));
        jobs
    };
    let actions = world.fund(1);
    assert_eq!(starts(&mut world, actions), (1..=16).collect::<Vec<_>>());
    assert_eq!(world.fund(1), [], "a moment ago");
    let mut rest = Vec::new();
    for _ in 0..10 {
        let actions = world.pass(100 * MILLISECOND);
        rest.extend(starts(&mut world, actions));
    }
    // All that waited when credits came last: also those that were tried before.
    assert_eq!(rest, (17..=40).chain(1..=16).collect::<Vec<_>>());
    assert_eq!(world.dispatcher.queued(), 40);
}

#[test]
fn wait_lasts_no_longer_however_often_the_client_cannot_pay() {
    let mut world = priced_nodes(&[(1, 1, CHEAP)]);
    world.submit_for(2, 2);
    assert_eq!(world.submit(1), []);
    world.pass(100 * SECOND);
    assert_eq!(world.finish(1, 2, 1), [start(1, 1, 1)]);
    assert_eq!(world.dispatcher.waited_us(job(1)), Some(100 * SECOND));
    assert_eq!(world.decline_with(1, 1, 1, 0), []);
    for _ in 0..199 {
        world.pass(SECOND);
        assert_eq!(world.fund(1), [start(1, 1, 1)]);
        assert_eq!(world.decline_with(1, 1, 1, 0), []);
    }
    assert_eq!(world.dispatcher.waited_us(job(1)), Some(0), "it waits still");
    assert_eq!(world.waits.iter().filter(|(waiting, _)| *waiting == job(1)).count(), 2, "for room, and then for credits");
    let refusal = Refusal::InsufficientCredit { available: Microcredits(0), needed: Microcredits(CHEAP) };
    assert_eq!(world.pass(SECOND), [refuse(1, refusal)]);
    assert_eq!((world.pass(SECOND), world.dispatcher.poll_timeout()), (vec![], None));
}

#[test]
fn job_that_waits_for_credits_is_refused_when_no_node_is_left_that_it_fits() {
    let mut world = priced_nodes(&[(1, 1, CHEAP), (2, 1, CHEAP)]);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.decline_with(1, 1, 1, 0), []);
    assert_eq!(world.leave(1), []);
    assert_eq!(world.pass(10 * SECOND), [], "the other one is there");
    assert_eq!(world.leave(2), []);
    assert_eq!(world.pass(10 * SECOND), [refuse(1, Refusal::NoNodeFits { nodes: vec![] })]);
    assert_eq!(world.fund(1), []);
}

#[test]
fn cancelled_job_that_waited_for_credits_is_forgotten() {
    let mut world = priced_nodes(&[(1, 1, CHEAP)]);
    world.submit(1);
    world.decline_with(1, 1, 1, 0);
    assert_eq!(world.cancel(1), [cancelled(1)]);
    assert_eq!((world.fund(1), world.dispatcher.queued()), (vec![], 0));
}

/// Whoever had more of the slots' time waits longer; a start that nobody heard of took none.
#[test]
fn start_that_the_client_cannot_pay_is_charged_nothing() {
    let mut world = priced_nodes(&[(1, 1, CHEAP)]);
    world.submit_for(9, 90);
    for (c, j) in [(1, 1), (2, 2)] {
        assert_eq!(world.submit_for(c, j), []);
    }
    world.pass(10 * SECOND);
    assert_eq!(world.finish_after(1, 90, 1, 10_000_000_000), [start(1, 1, 1)]);
    assert_eq!(world.decline_with(1, 1, 1, 0), [start(2, 1, 1)]);
    world.submit_for(2, 4);
    world.submit_for(1, 3);
    assert_eq!(world.finish(1, 2, 1), [start(3, 1, 1)]);
}

#[test]
fn what_was_paid_for_a_job_is_gone_from_its_limit_where_its_client_could_not_pay_before() {
    let mut world = priced_nodes(&[(1, 1, DEAR), (2, 1, CHEAP)]);
    let limited = Request { max_price: Some(Microcredits(DEAR)), ..request(1) };
    world.rtt(1, MILLISECOND);
    assert_eq!(world.submit_with(1, limited), [start(1, 1, 1)]);
    assert_eq!(world.decline_with(1, 1, 1, CHEAP), [start(1, 1, 2)]);
    // Ten are paid; the rest is enough for the cheap one, and not for the dear.
    assert_eq!(world.preempt(2, 1, 1), [start(1, 2, 2)]);
    assert_eq!(world.preempt(2, 1, 2), [start(1, 3, 2)]);
}
