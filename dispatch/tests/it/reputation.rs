use adit_dispatch::Event;
use adit_protocol::{Refusal, UnfitReason};

use crate::world::*;

fn cheat(world: &mut World, n: u8) {
    assert_eq!(world.handle(Event::ReceiptRefused { node: node(n) }), []);
}

#[test]
fn node_whose_receipts_do_not_hold_gets_no_jobs_for_a_while() {
    let mut world = World::settled(&[(1, 1)]);
    for want in [750, 500, 250, 0] {
        cheat(&mut world, 1);
        assert_eq!(world.view(1).reputation, want);
    }
    let refusal = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Reputation, 1)] };
    assert_eq!(world.submit(1), [refuse(1, refusal)]);
    assert_eq!(world.pass(400 * SECOND), []);
    assert_eq!(world.submit(2), [start(2, 1, 1)], "what broke may be mended");
}

#[test]
fn reputation_outlasts_the_connection() {
    let mut world = World::settled(&[(1, 1)]);
    for _ in 0..4 {
        cheat(&mut world, 1);
    }
    world.leave(1);
    world.join(1, 1);
    assert_eq!(world.view(1).reputation, 0);
    world.pass(3 * SECOND);
    let refusal = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Reputation, 1)] };
    assert_eq!(world.submit(1), [refuse(1, refusal)]);
}

#[test]
fn job_that_waits_for_a_barred_node_starts_when_that_is_trusted_again() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    let request = |j: u32| {
        (j, {
            let mut request = request(1);
            request.limits.queue_ms = 1_000_000;
            request
        })
    };
    for _ in 0..4 {
        cheat(&mut world, 1);
    }
    let (j, busy) = request(1);
    assert_eq!(world.submit_with(j, busy), [start(1, 1, 2)]);
    let (j, waiting) = request(2);
    assert_eq!(world.submit_with(j, waiting), []);
    assert_eq!(world.pass(401 * SECOND), [start(2, 1, 1)]);
}

/// A guest can crash whatever runs it. If that cost each node that was given it, a hostile client could have all nodes barred.
#[test]
fn job_that_fails_everywhere_costs_no_node_its_reputation() {
    let mut world = World::settled(&[(1, 1), (2, 1), (3, 1)]);
    for j in 1..=20 {
        world.submit(j);
        for attempt in 1..=3 {
            let holder = world.dispatcher.lease(job(j), adit_protocol::Attempt(attempt)).expect("it is out");
            world.fail(holder.0[0], j, attempt, node_failure("the worker died"));
        }
        assert!(world.is_forgotten(j));
    }
    for n in 1..=3 {
        assert_eq!(world.view(n).reputation, 1_000);
    }
}

#[test]
fn node_that_fails_what_another_can_do_loses_by_it() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.rtt(1, MILLISECOND);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.fail(1, 1, 1, node_failure("disk full")), [start(1, 2, 2)]);
    assert_eq!(world.view(1).reputation, 1_000, "it may be the job's fault");
    world.finish(2, 1, 2);
    assert_eq!(world.view(1).reputation, 900);
    // Its word counts for less: it is taken for slower than a sound node a little further away.
    world.rtt(2, MILLISECOND + 50);
    assert_eq!(world.submit(2), [start(2, 1, 2)]);
}

#[test]
fn leaving_with_work_costs_and_leaving_without_does_not() {
    let mut world = World::settled(&[(1, 1)]);
    world.leave(1);
    world.join(1, 1);
    assert_eq!(world.view(1).reputation, 1_000);
    world.submit(1);
    world.leave(1);
    world.join(1, 1);
    assert_eq!(world.view(1).reputation, 940);
}
