use adit_dispatch::{Config, Phase, Request};
use adit_protocol::{BlobRef, ByteCount, Microcredits, NodeOffer, Price, Profile, Refusal, UnfitReason};

use crate::world::*;

#[test]
fn job_starts_at_once_where_a_slot_is_free() {
    let mut world = World::settled(&[(1, 1)]);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert!(world.dispatcher.phase(job(1)) == Some(Phase::Leased) && world.dispatcher.leases_of(job(1))[0].node == node(1));
    assert_eq!(world.finish(1, 1, 1), []);
    assert!(world.is_forgotten(1));
    assert_eq!(world.view(1).jobs_done, 1);
}

#[test]
fn job_waits_while_every_fitting_node_is_busy() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    assert_eq!(world.submit(2), []);
    assert_eq!(world.dispatcher.phase(job(2)), Some(Phase::Queued { since: world.now }));
    assert_eq!(world.dispatcher.queued(), 1);
    assert_eq!(world.pass(40 * MILLISECOND), []);
    assert_eq!(world.finish(1, 1, 1), [start(2, 1, 1)]);
    assert_eq!(world.dispatcher.waited_us(job(2)), Some(40 * MILLISECOND));
    assert_eq!(world.dispatcher.queued(), 0);
}

#[test]
fn job_known_already_is_not_submitted_again() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit(2);
    assert_eq!(world.submit(1), []);
    assert_eq!(world.submit(2), []);
    assert_eq!(world.dispatcher.queued(), 1);
    assert_eq!(world.finish(1, 1, 1), [start(2, 1, 1)]);
    assert_eq!(world.finish(1, 2, 1), []);
    // An ended job is forgotten: its id may come again.
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
}

#[test]
fn lease_names_only_the_present_holder() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    let (first, second) = (adit_protocol::Attempt(1), adit_protocol::Attempt(2));
    assert_eq!(world.dispatcher.lease(job(1), first), None);
    world.submit(1);
    assert_eq!(world.dispatcher.lease(job(1), first), Some(node(1)));
    assert_eq!(world.dispatcher.lease(job(1), second), None);
    world.leave(1);
    assert_eq!(world.dispatcher.lease(job(1), first), None);
    assert_eq!(world.dispatcher.lease(job(1), second), Some(node(2)));
}

#[test]
fn reports_from_others_and_about_older_attempts_do_not_count() {
    let mut world = World::settled(&[(1, 1), (2, 1), (3, 1)]);
    world.submit(1);
    assert_eq!(world.fail(1, 1, 1, node_failure("disk full")), [start(1, 2, 2)]);
    let stale = [(3, 1, 2), (1, 1, 1), (1, 1, 2), (2, 1, 1), (2, 1, 3), (2, 9, 1), (9, 1, 2)];
    for (n, j, attempt) in stale {
        assert_eq!(world.finish(n, j, attempt), [], "node {n}, job {j}, attempt {attempt}");
        assert_eq!(world.fail(n, j, attempt, node_failure("late")), [], "node {n}, job {j}, attempt {attempt}");
    }
    assert_eq!(world.dispatcher.lease(job(1), adit_protocol::Attempt(2)), Some(node(2)));
    assert_eq!(world.view(2).slots_used, 1);
    world.finish(2, 1, 2);
    assert!(world.is_forgotten(1));
}

#[test]
fn each_node_is_counted_under_the_first_thing_that_rules_it_out() {
    let dear = Price { per_compute_minute: 1_000_000, ..Price::default() };
    let good = NodeOffer { labels: vec![label("gpu")], ..offer(1) };
    let rows = [
        (UnfitReason::Slots, NodeOffer { slots: 0, profiles: vec![], ..good.clone() }),
        (UnfitReason::Profile, NodeOffer { profiles: vec![Profile::Open], labels: vec![], ..good.clone() }),
        (UnfitReason::Label, NodeOffer { labels: vec![("gpu".into(), "no".into())], memory: ByteCount(0), ..good.clone() }),
        (UnfitReason::Memory, NodeOffer { memory: ByteCount((256 << 20) - 1), price: dear, ..good.clone() }),
        (UnfitReason::Price, NodeOffer { price: dear, ..good.clone() }),
    ];
    let request = Request { max_price: Some(Microcredits(100_000)), ..labelled(1, "gpu") };
    for (reason, offer) in rows.clone() {
        let mut world = World::new();
        world.join_with(1, offer);
        world.pass(3 * SECOND);
        let want = Refusal::NoNodeFits { nodes: vec![(reason, 1)] };
        assert_eq!(world.submit_with(1, request.clone()), [refuse(1, want)]);
    }

    let mut world = World::new();
    for (n, (_, offer)) in (1..).zip(rows.iter().chain(&rows[1..])) {
        world.join_with(n, offer.clone());
    }
    world.pass(3 * SECOND);
    let mut nodes: Vec<_> = rows.iter().map(|(reason, _)| (*reason, 1 + u32::from(*reason != UnfitReason::Slots))).collect();
    nodes.sort();
    let want = Refusal::NoNodeFits { nodes };
    assert_eq!(world.submit_with(1, request.clone()), [refuse(1, want)]);

    world.join_with(100, good);
    assert_eq!(world.submit_with(2, request), [start(2, 1, 100)]);
}

#[test]
fn job_may_use_all_that_a_node_offers() {
    let mut world = World::new();
    world.join_with(1, NodeOffer { memory: request(1).limits.memory, labels: vec![label("gpu"), label("near")], ..offer(1) });
    assert_eq!(world.submit_with(1, labelled(1, "near")), [start(1, 1, 1)]);
}

#[test]
fn price_limit_is_held_against_the_most_that_the_job_can_cost() {
    // 10 Gfuel are a sixth of a compute minute.
    let price = Price { per_compute_minute: 600, per_gib_in: 1 << 30, ..Price::default() };
    let rows = [(Some(100), 0, true), (Some(99), 0, false), (Some(100), 1, false), (Some(101), 1, true), (None, 1 << 40, true)];
    for (max_price, input_bytes, fits) in rows {
        let mut world = World::new();
        world.join_with(1, NodeOffer { price, ..offer(1) });
        world.pass(3 * SECOND);
        let request = Request {
            max_price: max_price.map(Microcredits),
            input: BlobRef { bytes: input_bytes, ..request(1).input },
            ..request(1)
        };
        let want = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Price, 1)] };
        let want = if fits { start(1, 1, 1) } else { refuse(1, want) };
        assert_eq!(world.submit_with(1, request), [want], "{max_price:?} for {input_bytes} bytes");
    }
}

#[test]
fn price_that_no_bill_can_express_is_over_any_limit() {
    let mut world = World::new();
    world.join_with(1, NodeOffer { price: Price { per_gib_out: u64::MAX, ..Price::default() }, ..offer(1) });
    world.pass(3 * SECOND);
    let request = Request { max_price: Some(Microcredits(u64::MAX)), ..request(1) };
    let want = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Price, 1)] };
    assert_eq!(world.submit_with(1, request), [refuse(1, want)]);
}

#[test]
fn full_queue_refuses_and_takes_again_when_a_job_left() {
    let mut world = World::with(Config { queue_max: 2, ..Config::default() });
    world.join(1, 1);
    for j in 1..=3 {
        world.submit(j);
    }
    let full = Refusal::QueueFull { queued: 2, retry_after_ms: 100 };
    assert_eq!(world.submit_for(2, 4), [refuse(4, full)]);
    assert!(world.is_forgotten(4));
    world.pass(SECOND);
    assert_eq!(world.finish(1, 1, 1), [start(2, 1, 1)]);
    assert_eq!(world.submit_for(2, 4), []);
    assert_eq!(world.dispatcher.queued(), 2);
}

#[test]
fn job_that_fits_a_free_node_passes_a_full_queue() {
    let mut world = World::with(Config { queue_max: 1, ..Config::default() });
    world.join(1, 1);
    world.submit_with(1, labelled(1, "gpu"));
    assert_eq!(world.dispatcher.queued(), 1);
    assert_eq!(world.submit(2), [start(2, 1, 1)]);
}

#[test]
fn one_client_fills_only_its_share_of_the_queue() {
    let mut world = World::with(Config { queue_per_client_max: 2, ..Config::default() });
    world.join(1, 1);
    for j in 1..=3 {
        world.submit_for(1, j);
    }
    assert_eq!(world.submit_for(2, 10), []);
    // Its own two jobs, each behind one of the other client.
    let full = Refusal::QueueFull { queued: 2, retry_after_ms: 200 };
    assert_eq!(world.submit_for(1, 4), [refuse(4, full)]);
    assert_eq!(world.submit_for(2, 11), []);
}

#[test]
fn time_with_an_empty_queue_does_not_slow_its_observed_pace() {
    let mut world = World::with(Config { queue_max: 10, ..Config::default() });
    world.join(1, 1);
    world.submit(0);
    world.pass(SECOND);
    for j in 1..10 {
        world.submit(j);
        world.pass(60 * SECOND);
        assert_eq!(world.finish(1, j - 1, 1), [start(j, 1, 1)]);
    }
    for j in 10..20 {
        world.submit(j);
    }
    let guess = Refusal::QueueFull { queued: 10, retry_after_ms: 500 };
    assert_eq!(world.submit(20), [refuse(20, guess)]);
}

#[test]
fn retry_after_is_half_of_the_queue_at_its_observed_pace() {
    let retry_after = |pace_us: u64, queued: u32| {
        let mut world = World::with(Config { queue_max: queued as usize, ..Config::default() });
        world.join(1, 1);
        for j in 0..=queued {
            world.submit(j);
        }
        for done in 0..40 {
            world.pass(pace_us);
            world.finish(1, done, 1);
            world.submit(queued + 1 + done);
        }
        match &world.submit(1_000)[..] {
            [adit_dispatch::Action::Refuse { refusal: Refusal::QueueFull { retry_after_ms, .. }, .. }] => *retry_after_ms,
            other => panic!("{other:?}"),
        }
    };
    // Long jobs, so that the node holds one at a time and the queue moves at its pace.
    assert_eq!(retry_after(100 * MILLISECOND, 50), 2_500);
    assert_eq!(retry_after(200 * MILLISECOND, 50), 5_000);
    // Clamped at both ends.
    assert_eq!(retry_after(20 * MILLISECOND, 2), 50);
    assert_eq!(retry_after(2 * SECOND, 50), 30_000);
}
