use adit_dispatch::Request;
use adit_protocol::{ByteCount, Digest, Fuel, NodeOffer};

use crate::world::*;

#[test]
fn nearest_free_node_is_chosen() {
    let mut world = World::settled(&[(1, 1), (2, 1), (3, 1)]);
    world.rtt(1, 30 * MILLISECOND);
    world.rtt(2, 10 * MILLISECOND);
    world.rtt(3, 20 * MILLISECOND);
    assert_eq!(world.submit(1), [start(1, 1, 2)]);
    assert_eq!(world.submit(2), [start(2, 1, 3)]);
    // A change of distance counts from now on.
    world.finish(2, 1, 1);
    world.finish(3, 2, 1);
    world.rtt(1, MILLISECOND);
    assert_eq!(world.submit(3), [start(3, 1, 1)]);
}

#[test]
fn unmeasured_node_stands_between_near_and_far() {
    let mut world = World::settled(&[(1, 1), (2, 1), (3, 1)]);
    world.rtt(1, 80 * MILLISECOND);
    world.rtt(3, 5 * MILLISECOND);
    assert_eq!(world.view(2).rtt_us, None);
    let order: Vec<_> = (1..=3).flat_map(|j| world.submit(j)).collect();
    assert_eq!(order, [start(1, 1, 3), start(2, 1, 2), start(3, 1, 1)]);
}

#[test]
fn ties_go_to_the_node_with_fewest_leases_and_then_by_key() {
    let mut world = World::settled(&[(3, 2), (2, 2)]);
    let order: Vec<_> = (1..=4).flat_map(|j| world.submit(j)).collect();
    assert_eq!(order, [start(1, 1, 2), start(2, 1, 3), start(3, 1, 2), start(4, 1, 3)]);
}

#[test]
fn node_with_long_jobs_gets_no_more_leases_than_slots() {
    let mut world = World::settled(&[(1, 2)]);
    for round in 0..4 {
        for j in 0..5 {
            world.submit(round * 5 + j);
        }
    }
    for j in 0..18 {
        assert_eq!((world.view(1).leases, world.view(1).window), (2, 2));
        world.pass(20 * MILLISECOND);
        assert_eq!(world.finish(1, j, 1).len(), 1, "one out, one in");
        world.pass(20 * MILLISECOND);
    }
}

#[test]
fn node_with_short_jobs_holds_leases_ahead_of_its_slots() {
    let mut world = World::settled(&[(1, 2)]);
    for j in 0..20 {
        world.submit(j);
    }
    assert_eq!((world.view(1).leases, world.view(1).window), (2, 2));
    world.pass(MILLISECOND);
    // The first outcome shows that jobs are short, but one is out still of which nothing was known.
    assert_eq!(world.finish(1, 0, 1), [start(2, 1, 1)]);
    // Then 4 leases ahead per slot, all granted by the same event.
    assert_eq!(world.finish(1, 1, 1).len(), 9);
    let view = world.view(1);
    assert_eq!((view.leases, view.window, view.slots_used, view.jobs_done), (10, 10, 2, 2));
    assert_eq!(world.finish(1, 2, 1), [start(12, 1, 1)]);
}

/// A node's own backlog makes every attempt look several times as long as its job. Were that taken for the job's time, a node
/// with 8 ms jobs would swing between a full backlog and none.
#[test]
fn backlog_at_the_node_is_not_taken_for_long_jobs() {
    let mut world = World::settled(&[(1, 2)]);
    world.rtt(1, 2 * MILLISECOND);
    for j in 0..200 {
        world.submit(j);
    }
    world.pass(10 * MILLISECOND);
    for j in (0..180).step_by(2) {
        world.finish(1, j, 1);
        world.finish(1, j + 1, 1);
        assert_eq!(world.view(1).window, 10, "after job {j}");
        world.pass(8 * MILLISECOND);
    }
}

#[test]
fn window_closes_when_jobs_get_long() {
    let mut world = World::settled(&[(1, 1)]);
    for j in 0..20 {
        world.submit(j);
    }
    world.pass(MILLISECOND);
    assert_eq!(world.finish(1, 0, 1).len(), 5);
    world.pass(SECOND);
    assert_eq!(world.finish(1, 1, 1), [], "four leases are out and one is allowed");
    for j in 2..=4 {
        world.pass(SECOND);
        assert_eq!(world.finish(1, j, 1), []);
    }
    world.pass(SECOND);
    assert_eq!(world.finish(1, 5, 1), [start(6, 1, 1)]);
    assert_eq!((world.view(1).leases, world.view(1).window), (1, 1));
}

/// A node whose jobs were short got five of a minute each, while others had nothing to do.
#[test]
fn long_job_goes_to_an_idle_node_and_not_behind_another_where_jobs_were_short() {
    let mut world = knowing();
    world.join_knowing(1, 1);
    world.rtt(1, MILLISECOND);
    world.join_knowing(2, 1);
    world.rtt(2, 10 * MILLISECOND);
    let mut short = request(1);
    short.module.digest = Digest([9; 32]);
    short.limits.fuel = Fuel(1_000_000);
    assert_eq!(world.submit_with(10, short.clone()), [start(10, 1, 1)]);
    world.pass(3 * MILLISECOND);
    assert_eq!(world.finish(1, 10, 1), []);
    assert_eq!(world.view(1).window, 5);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!((world.view(1).leases, world.view(1).window), (1, 1));
    assert_eq!(world.submit(2), [start(2, 1, 2)]);
    assert_eq!(world.submit_with(11, short), [], "nothing waits where a long one runs");
    world.pass(SECOND);
    assert_eq!(world.finish_after(1, 1, 1, 1_000_000_000), [start(11, 1, 1)]);
}

#[test]
fn long_job_that_had_short_ones_before_it_shows_its_nodes_speed() {
    let mut world = knowing();
    world.join_knowing(1, 1);
    let mut short = request(1);
    short.module.digest = Digest([9; 32]);
    for j in 10..=14 {
        short.limits.fuel = Fuel(1_000_000);
        world.submit_with(j, short.clone());
        if j == 10 {
            world.pass(2 * MILLISECOND);
            world.finish(1, 10, 1);
        }
    }
    assert_eq!(world.submit(1), [start(1, 1, 1)], "a fifth one, behind four that are short");
    for j in 11..=14 {
        world.pass(2 * MILLISECOND);
        world.finish(1, j, 1);
    }
    world.pass(SECOND);
    world.finish_after(1, 1, 1, 1_000_000_000);
    let speed = world.view(1).fuel_per_second.unwrap();
    assert!((900_000_000..=1_000_000_000).contains(&speed), "{speed}");
}

#[test]
fn short_backlog_nearby_beats_a_free_slot_far_away() {
    let mut world = World::settled(&[(1, 1)]);
    world.rtt(1, MILLISECOND);
    world.submit(1);
    world.pass(5 * MILLISECOND);
    world.finish(1, 1, 1); // 4 ms in its slot
    world.join_knowing(2, 8);
    world.rtt(2, 11 * MILLISECOND);
    let order: Vec<_> = (2..=6).flat_map(|j| world.submit(j)).collect();
    // Predicted at node 1: 1, 5, 9, 13 ms; at node 2: 11 ms.
    assert_eq!(order, [start(2, 1, 1), start(3, 1, 1), start(4, 1, 1), start(5, 1, 2), start(6, 1, 2)]);
}

#[test]
fn slots_that_are_told_to_stop_are_taken_until_the_node_answers() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.cancel(1);
    assert_eq!(world.submit(2), []);
    assert_eq!(world.finish(1, 1, 1), [start(2, 1, 1)]);
}

#[test]
fn job_that_fits_no_free_node_does_not_hold_up_others() {
    let mut world = World::new();
    world.join_with(1, NodeOffer { labels: vec![label("gpu")], ..offer(1) });
    world.rtt(1, MILLISECOND);
    world.submit_with(1, labelled(1, "gpu"));
    assert_eq!(world.submit_with(2, labelled(1, "gpu")), []);
    assert_eq!(world.submit(3), []);
    // The same client's later job goes where its older one cannot.
    assert_eq!(world.join(2, 1), [start(3, 1, 2)]);
    assert_eq!(world.submit(4), []);
    world.pass(SECOND);
    assert_eq!(world.finish(1, 1, 1), [start(2, 1, 1)]);
    assert_eq!(world.finish(2, 3, 1), [start(4, 1, 2)]);
}

#[test]
fn first_job_of_a_client_is_the_oldest_over_all_its_demands() {
    let mut world = World::settled(&[(1, 1)]);
    let with_memory = |mib: u64| {
        let mut request = request(1);
        request.limits.memory = ByteCount(mib << 20);
        request
    };
    world.submit(0);
    for (j, mib) in [(1, 64), (2, 16), (3, 64), (4, 32), (5, 16)] {
        world.submit_with(j, with_memory(mib));
    }
    let order: Vec<_> = (0..5)
        .flat_map(|j| {
            world.pass(SECOND);
            world.finish(1, j, 1)
        })
        .collect();
    assert_eq!(order, (1..=5).map(|j| start(j, 1, 1)).collect::<Vec<_>>());
}

#[test]
fn joining_node_is_filled_from_the_queue() {
    let mut world = World::settled(&[(1, 1)]);
    for j in 1..=5 {
        world.submit(j);
    }
    assert_eq!(world.join(2, 2), [start(2, 1, 2), start(3, 1, 2)]);
    assert_eq!(world.join(3, 9), [start(4, 1, 3), start(5, 1, 3)]);
}

#[test]
fn request_is_the_part_of_the_specification_that_places_a_job() {
    let mut spec = adit_protocol::JobSpec::new(adit_protocol::BlobRef::of(b"m"), adit_protocol::BlobRef::of(b"four"));
    spec.add_input("n".parse().unwrap(), adit_protocol::BlobRef::of(b"named"));
    spec.placement.labels = vec![label("gpu")];
    spec.max_price = Some(adit_protocol::Microcredits(5));
    spec.profile = adit_protocol::Profile::Open;
    spec.gpu = Some(adit_protocol::GpuNeed::default());
    let want = Request {
        client: node(1),
        module: spec.module,
        input: spec.input,
        is_inline: false,
        named: vec![adit_protocol::BlobRef::of(b"named")],
        limits: spec.limits,
        gpu: spec.gpu,
        profile: spec.profile,
        max_price: spec.max_price,
        placement: spec.placement.clone(),
        last_attempt: 0,
    };
    assert_eq!(want.input_bytes(), 4 + 5);
    assert_eq!(Request::new(&node(1), &spec, false), want);
}
