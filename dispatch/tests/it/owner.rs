//! Owners take their machines back.

use adit_dispatch::{Action, Event, Report, Request};
use adit_protocol::{
    Attempt, AttemptFailure, ByteCount, Digest, Fuel, Microcredits, NodeOffer, NodeState, Price, PublicKey, Refusal, UnfitReason,
    Verdict,
};

use crate::world::*;

fn paused() -> NodeState {
    NodeState::Paused("the owner is back".into())
}

#[test]
fn preempted_job_goes_elsewhere_at_once_and_it_counts_against_nobody() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.rtt(1, MILLISECOND);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.state(1, paused()), []);
    assert_eq!(world.preempt(1, 1, 1), [start(1, 2, 2)]);
    assert_eq!(world.view(1).reputation, 1_000);
    // The owner leaves again, and the node is as good as before.
    assert_eq!(world.state(1, NodeState::Ready), []);
    assert_eq!(world.submit(2), [start(2, 1, 1)]);
}

#[test]
fn job_may_be_preempted_more_often_than_it_may_fail_but_not_for_ever() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    for attempt in 1..=8 {
        assert_eq!(world.preempt(1, 1, attempt), [start(1, attempt + 1, 1)]);
    }
    assert_eq!(world.preempt(1, 1, 9), [lost(1, 9, "the owner of node 01010101 took the machine back")]);
}

#[test]
fn what_a_preempted_attempt_cost_counts_against_the_price_limit() {
    // 10 Gfuel are a sixth of a compute minute: at most 100 on each node.
    let price = Price { per_compute_minute: 600, ..Price::default() };
    let with_limit = |max| Request { max_price: Some(Microcredits(max)), ..request(1) };
    for (max, goes_on) in [(110, true), (109, false)] {
        let mut world = World::settled(&[]);
        world.join_with(1, NodeOffer { price, ..offer(1) });
        world.join_with(2, NodeOffer { price, ..offer(1) });
        world.pass(3 * SECOND);
        assert_eq!(world.submit_with(1, with_limit(max)), [start(1, 1, 1)]);
        world.state(1, paused());
        world.pass(3 * SECOND / 4);
        let actions = world.preempt(1, 1, 1);
        let reason = "the owner of node 01010101 took the machine back; then no node fits: 2 over the price limit (--max-price, \
                      --fuel, --memory)";
        assert_eq!(actions, [if goes_on { start(1, 2, 2) } else { lost(1, 1, reason) }], "{max}");
    }
}

#[test]
fn attempts_that_were_paid_before_are_not_numbered_again() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    let request = Request { last_attempt: 3, ..request(1) };
    assert_eq!(world.submit_with(1, request), [start(1, 4, 1)]);
    assert_eq!(world.leave(1), [start(1, 5, 2)]);
    assert_eq!(world.decline(2, 1, 5), []);
    assert_eq!(world.leave(2), []);
    assert_eq!(world.join(3, 1), [start(1, 5, 3)]);
}

#[test]
fn paused_node_that_does_not_hand_in_its_jobs_loses_them_within_a_second() {
    let mut world = World::settled(&[(1, 2), (2, 2)]);
    world.rtt(1, MILLISECOND);
    world.submit(1);
    world.state(1, paused());
    assert_eq!(world.pass(SECOND - 1), []);
    assert_eq!(world.pass(1), [stop(1, 1, 1), start(1, 2, 2)]);
    assert_eq!(world.preempt(1, 1, 1), [], "too late");
    assert_eq!(world.finish(2, 1, 2), []);
    assert!(world.is_forgotten(1));
}

#[test]
fn draining_node_ends_what_it_has_and_gets_no_more() {
    let mut world = World::settled(&[(1, 2), (2, 1)]);
    world.rtt(1, MILLISECOND);
    world.submit(1);
    assert_eq!(world.state(1, NodeState::Draining), []);
    assert_eq!(world.submit(2), [start(2, 1, 2)]);
    assert_eq!(world.submit(3), []);
    assert_eq!(world.pass(10 * SECOND), []);
    assert_eq!(world.finish(1, 1, 1), [], "it drains still");
    assert_eq!(world.state(1, NodeState::Ready), [start(3, 1, 1)]);
}

#[test]
fn job_that_only_paused_nodes_fit_waits_for_a_moment_and_is_refused() {
    let mut world = World::settled(&[(1, 1)]);
    world.state(1, paused());
    assert_eq!(world.submit(1), []);
    let refusal = Refusal::NoNodeFits { nodes: vec![(UnfitReason::NotReady, 1)] };
    assert_eq!(world.pass(3 * SECOND), [refuse(1, refusal.clone())]);
    assert_eq!(world.submit(2), [refuse(2, refusal)]);

    let mut world = World::settled(&[(1, 1)]);
    world.state(1, paused());
    world.submit(1);
    assert_eq!(world.state(1, NodeState::Ready), [start(1, 1, 1)]);
    assert_eq!(world.pass(10 * SECOND), []);
}

#[test]
fn node_that_joins_paused_gets_nothing_until_it_is_ready() {
    let mut world = World::settled(&[]);
    world.leave(9);
    world.pass(3 * SECOND);
    let joined = Event::NodeJoined { node: node(1), offer: offer(1), state: paused(), cached: vec![] };
    assert_eq!(world.handle(joined), []);
    let refusal = Refusal::NoNodeFits { nodes: vec![(UnfitReason::NotReady, 1)] };
    assert_eq!(world.submit(1), [refuse(1, refusal)]);
    world.state(1, NodeState::Ready);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
}

#[test]
fn job_preempted_before_its_guest_started_goes_elsewhere() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    let failure = AttemptFailure::Preempted("the owner is back".into());
    world.state(1, paused());
    assert_eq!(world.fail(1, 1, 1, failure), [start(1, 2, 2)]);
}

#[test]
fn node_that_is_ready_again_may_have_what_it_gave_back() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.rtt(1, MILLISECOND);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.submit(2), [start(2, 1, 2)]);
    world.state(1, paused());
    assert_eq!(world.fail(1, 1, 1, AttemptFailure::Preempted("the owner is back".into())), []);
    assert_eq!(world.state(1, NodeState::Ready), [start(1, 2, 1)]);
}

/// Found by simulation: a node that says that it is ready and gives everything back had its jobs for ever.
#[test]
fn node_that_gives_back_all_it_gets_does_not_get_it_for_ever() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.rtt(1, MILLISECOND);
    let give_back =
        |world: &mut World, n, attempt| world.fail(n, 1, attempt, AttemptFailure::Preempted("the owner is back".into()));
    world.submit(1);
    assert_eq!(give_back(&mut world, 1, 1), [start(1, 2, 2)], "elsewhere, though the first is nearer and ready");
    assert_eq!(give_back(&mut world, 2, 2), [start(1, 3, 1)], "and back, as no other is left");
    for attempt in 3..=8 {
        assert_eq!(give_back(&mut world, 1, attempt), [start(1, attempt + 1, 1)]);
    }
    assert_eq!(give_back(&mut world, 1, 9), [lost(1, 9, "the owner of node 01010101 took the machine back")]);
    assert_eq!((world.view(1).reputation, world.view(2).reputation), (1_000, 1_000));
    world.pass(SECOND);
    assert_eq!((world.view(1).reputation, world.view(2).reputation), (960, 960), "their owners said nothing");
}

fn give_back(world: &mut World, n: u8, j: u32, attempt: u32) -> Vec<Action> {
    world.fail(n, j, attempt, AttemptFailure::Preempted("the owner is back".into()))
}

/// Nine near nodes that answered each lease so ended every job, at no cost to them, while others had nothing to do.
#[test]
fn job_that_many_give_back_goes_to_one_that_has_not_had_it() {
    let mut world = World::settled(&[(40, 1)]);
    world.rtt(40, 300 * MILLISECOND);
    for n in 1..=30 {
        world.join(n, 1);
        world.rtt(n, MILLISECOND);
    }
    let mut actions = world.submit(1);
    let mut given_back = 0;
    while let [Action::Start { node, attempt: Attempt(attempt), .. }] = actions[..]
        && node != PublicKey([40; 32])
    {
        given_back += 1;
        actions = give_back(&mut world, node.0[0], 1, attempt);
    }
    assert!(given_back > 8, "some are looked at for no reason");
    assert_eq!(actions, [start(1, given_back + 1, 40)]);
}

#[test]
fn node_that_gives_back_again_and_again_without_its_owners_word_is_barred() {
    let mut world = World::settled(&[(1, 4), (2, 4)]);
    world.rtt(1, MILLISECOND);
    // All within a second counts once, and each time more that no job was done since counts double.
    for (j, left) in [(1, 960), (2, 880), (3, 720), (4, 400), (5, 0)] {
        for j in [j, 10 + j] {
            assert_eq!(world.submit(j), [start(j, 1, 1)]);
            assert_eq!(give_back(&mut world, 1, j, 1), [start(j, 2, 2)]);
            world.finish(2, j, 2);
        }
        world.pass(SECOND);
        assert_eq!(world.view(1).reputation, left);
    }
    assert_eq!(world.submit(6), [start(6, 1, 2)]);
}

#[test]
fn owners_word_explains_what_is_given_back_before_it_and_just_after() {
    let away = || AttemptFailure::GpuAway("it hung".into());
    let with_gpu = || NodeOffer { gpu: Some(gpu_offer()), ..offer(4) };
    let mut world = World::settled(&[(2, 4)]);
    world.join_with(1, with_gpu());
    world.rtt(1, MILLISECOND);
    // What was on its way to a node that is ready again by now.
    world.submit(1);
    world.state(1, paused());
    world.state(1, NodeState::Ready);
    give_back(&mut world, 1, 1, 1);
    // Word that comes after its time, and then an offer without the GPU.
    world.submit(2);
    give_back(&mut world, 1, 2, 1);
    world.pass(SECOND / 2);
    world.state(1, NodeState::Draining);
    world.state(1, NodeState::Ready);
    world.submit(3);
    world.fail(1, 3, 1, away());
    world.offer(1, offer(4));
    world.pass(SECOND);
    assert_eq!(world.view(1).reputation, 1_000);
    // What it was given after that word is not explained by it.
    world.submit(4);
    give_back(&mut world, 1, 4, 1);
    world.pass(SECOND);
    assert_eq!(world.view(1).reputation, 960);
}

#[test]
fn owner_who_comes_home_at_every_job_lends_nothing() {
    let mut world = World::settled(&[(1, 4), (2, 4)]);
    world.rtt(1, MILLISECOND);
    let come_home = |world: &mut World, j| {
        assert_eq!(world.submit(j), [start(j, 1, 1)]);
        world.state(1, paused());
        give_back(world, 1, j, 1);
        world.finish(2, j, 2);
        world.pass(SECOND);
        world.state(1, NodeState::Ready);
        world.view(1).reputation
    };
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 8].map(|j| come_home(&mut world, j)), [1_000; 8]);
    assert_eq!(come_home(&mut world, 9), 960);
    world.submit(10);
    world.finish(1, 10, 1);
    assert_eq!(come_home(&mut world, 11), 965, "it did a job");
}

#[test]
fn node_that_leaves_after_it_gave_work_back_has_explained_nothing() {
    let mut world = World::settled(&[(1, 4), (2, 4)]);
    world.rtt(1, MILLISECOND);
    world.submit(1);
    give_back(&mut world, 1, 1, 1);
    world.leave(1);
    world.join(1, 4);
    assert_eq!(world.view(1).reputation, 960);
}

#[test]
fn preempted_job_that_was_being_cancelled_is_cancelled() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.submit(1);
    world.cancel(1);
    assert_eq!(world.preempt(1, 1, 1), [cancelled(1)]);
}

#[test]
fn owner_who_declines_a_client_is_not_asked_for_it_for_a_while() {
    let mut world = World::settled(&[(1, 2), (2, 2)]);
    world.rtt(1, MILLISECOND);
    assert_eq!(world.submit_for(1, 1), [start(1, 1, 1)]);
    let declined = AttemptFailure::Declined("client 0101 is on the deny list".into());
    assert_eq!(world.fail(1, 1, 1, declined), [start(1, 2, 2)]);
    assert_eq!(world.submit_for(1, 2), [start(2, 1, 2)], "not even the next job");
    assert_eq!(world.submit_for(2, 3), [start(3, 1, 1)], "others are welcome");
    world.finish(2, 1, 2);
    world.pass(60 * SECOND);
    assert_eq!(world.submit_for(1, 4), [start(4, 1, 1)], "the list may have changed");
    assert_eq!(world.view(1).reputation, 1_000);
}

/// Another node might have come, so it waited; when none came, it waited on.
#[test]
fn job_that_all_have_declined_is_refused_once_no_other_node_may_come() {
    let mut world = World::new();
    world.join(1, 2);
    assert_eq!(world.submit_for(1, 1), [start(1, 1, 1)]);
    assert_eq!(world.fail(1, 1, 1, AttemptFailure::Declined("not for you".into())), []);
    let refusal = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Declined, 1)] };
    assert_eq!(world.pass(3 * SECOND), [refuse(1, refusal)]);
}

fn not_for_you() -> AttemptFailure {
    AttemptFailure::Declined("not for you".into())
}

fn is_refused(actions: &[Action], j: u32) -> bool {
    actions.iter().any(|action| matches!(action, Action::Refuse { job: id, .. } if *id == job(j)))
}

fn declined_by(owners: u32) -> Refusal {
    Refusal::NoNodeFits { nodes: vec![(UnfitReason::Declined, owners)] }
}

/// One was refused at once, and those behind it waited for as long as they might, though none that came after them did.
#[test]
fn jobs_behind_one_that_all_decline_are_refused_with_it() {
    let mut world = World::settled(&[(1, 1)]);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    for j in [2, 3] {
        assert_eq!(world.submit(j), []);
    }
    assert_eq!(world.submit_for(2, 4), []);
    let refused = [1, 2, 3].map(|j| refuse(j, declined_by(1)));
    assert_eq!(world.fail(1, 1, 1, not_for_you()), [&refused[..], &[start(4, 1, 1)]].concat());
}

/// Those that came while another node might still have come were not looked at again, as none of them had been declined itself.
#[test]
fn jobs_behind_one_that_all_decline_are_refused_once_no_other_node_may_come() {
    let mut world = World::new();
    world.join(1, 1);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.submit(2), []);
    assert_eq!(world.submit_for(2, 3), []);
    assert_eq!(world.fail(1, 1, 1, not_for_you()), [start(3, 1, 1)]);
    assert_eq!(world.submit(4), [], "nor does it wait for less");
    assert_eq!(world.submit_for(2, 5), []);
    assert_eq!(world.pass(3 * SECOND), [1, 2, 4].map(|j| refuse(j, declined_by(1))));
    assert_eq!(world.finish(1, 3, 1), [start(5, 1, 1)]);
}

#[test]
fn jobs_that_not_all_decline_wait_on_behind_one_that_they_do() {
    let wide = NodeOffer { memory: ByteCount(4 << 30), labels: vec![label("wide")], ..offer(1) };
    let mut world = World::settled(&[(1, 1)]);
    world.join_with(2, wide);
    world.rtt(1, MILLISECOND);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.submit_for(2, 2), [start(2, 1, 2)]);
    let module = |module: u8| {
        let mut request = labelled(1, "wide");
        request.module.digest = Digest([module; 32]);
        request
    };
    let requests = [request(1), module(9), module(8), module(9), request(2)];
    for (j, request) in (3..).zip(requests) {
        assert_eq!(world.submit_with(j, request), []);
    }
    assert_eq!(world.fail(1, 1, 1, not_for_you()), [start(7, 1, 1)], "the other node is not asked yet");
    assert_eq!(world.finish(2, 2, 1), [start(1, 2, 2)]);
    let refused = [1, 3].map(|j| refuse(j, declined_by(2)));
    assert_eq!(
        world.fail(2, 1, 2, not_for_you()),
        [&refused[..], &[start(4, 1, 2)]].concat(),
        "of other modules it says nothing"
    );
    let other = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Label, 1), (UnfitReason::Declined, 1)] };
    let refused = [4, 6].map(|j| refuse(j, other.clone()));
    assert_eq!(world.fail(2, 4, 1, not_for_you()), [&refused[..], &[start(5, 1, 2)]].concat(), "nor that of their like");
}

/// A network of node 100, which has one slot, and a hundred others that are each of a class of its own and too small for any job.
fn one_that_fits_among_a_hundred() -> World {
    let mut world = World::settled(&[]);
    world.join_with(100, NodeOffer { memory: ByteCount(4 << 30), ..offer(1) });
    for n in 0..100 {
        world.join_with(n, NodeOffer { memory: ByteCount(1 << 20), labels: vec![label(&n.to_string())], ..offer(1) });
    }
    world.pass(3 * SECOND);
    world
}

/// A job with a module and a demand of its own.
fn request_for(module: u8, fuel: u64) -> Request {
    let mut request = request(1);
    (request.module.digest, request.limits.fuel) = (Digest([module; 32]), Fuel(fuel));
    request.max_price = Some(Microcredits(1_000_000));
    request
}

/// What is looked at in vain has a bound, so that no event is dear; what is refused is no part of it.
#[test]
fn all_that_an_owner_declines_is_refused_however_many_and_little_is_asked_in_vain() {
    for (module, refused) in [(9, 1_001), (8, 1)] {
        let mut world = one_that_fits_among_a_hundred();
        // Each in a lane of its own, the last one behind all others.
        assert_eq!(world.submit_with(0, request_for(9, 1)), [start(0, 1, 100)]);
        for j in 1..1_000 {
            assert_eq!(world.submit_with(j, request_for(module, j.into())), []);
        }
        assert_eq!(world.submit_with(1_000, request_for(9, 1_000)), []);
        let actions = world.fail(100, 0, 1, not_for_you());
        assert_eq!(actions.iter().filter(|action| matches!(action, Action::Refuse { .. })).count(), refused);
    }
}

/// Each word began with the same jobs, so that those behind them waited for as long as they may.
#[test]
fn job_that_is_left_as_much_was_asked_in_vain_is_refused_with_the_next_words() {
    let mut world = one_that_fits_among_a_hundred();
    assert_eq!(world.submit_with(0, request_for(9, 1)), [start(0, 1, 100)]);
    for j in 1..1_000 {
        assert_eq!(world.submit_with(j, request_for(10 + (j % 200) as u8, j.into())), []);
    }
    assert_eq!(world.submit_with(1_000, request_for(9, 1_000)), []);
    let mut running = 0;
    let words = (1..=8).find(|_| {
        let actions = world.fail(100, running, 1, not_for_you());
        running = (0..1_000).find(|j| actions.contains(&start(*j, 1, 100))).expect("the node gets the next job");
        is_refused(&actions, 1_000)
    });
    // A third of them each.
    assert_eq!(words, Some(4));
}

/// Nodes whose words are over were looked at for each demand, and left no look for the last one.
#[test]
fn word_of_long_ago_takes_nothing_of_what_may_be_asked() {
    let mut world = World::settled(&[]);
    for n in 0..100 {
        world.join_with(n, offer(1));
        world.pass(3 * SECOND);
        assert_eq!(world.submit_with(n.into(), request_for(9, 1)), [start(n.into(), 1, n)]);
        assert!(is_refused(&world.fail(n, n.into(), 1, not_for_you()), n.into()));
        world.state(n, paused());
    }
    world.join_with(100, offer(1));
    world.pass(61 * SECOND);
    assert_eq!(world.submit_with(100, request_for(9, 1)), [start(100, 1, 100)]);
    for j in 101..1_100 {
        assert_eq!(world.submit_with(j, request_for(8, j.into())), []);
    }
    assert_eq!(world.submit_with(1_100, request_for(9, 1_100)), []);
    assert!(is_refused(&world.fail(100, 100, 1, not_for_you()), 1_100));
}

/// Behind so many, one is not tried on any node, and so it was not seen that all decline it.
#[test]
fn job_that_all_decline_is_refused_also_behind_a_crowd() {
    let mut world = World::settled(&[(1, 1)]);
    let of = |module: u8| {
        let mut request = request(1);
        request.module.digest = Digest([module; 32]);
        request
    };
    assert_eq!(world.submit_with(1, of(9)), [start(1, 1, 1)]);
    assert_eq!(world.fail(1, 1, 1, not_for_you()), [refuse(1, declined_by(1))]);
    assert_eq!(world.submit_with(2, of(8)), [start(2, 1, 1)]);
    for j in 3..103 {
        assert_eq!(world.submit_with(j, of(8)), []);
    }
    assert_eq!(world.submit_with(103, of(9)), [refuse(103, declined_by(1))]);
}

/// An owner's word on such jobs is forgotten after a minute, or when its node is there anew, and that on this one never: it waited for nothing.
#[test]
fn job_that_all_have_declined_is_refused_however_long_another_node_was_awaited() {
    for is_anew in [false, true] {
        let mut world = World::settled(&[(1, 1), (2, 1)]);
        world.rtt(1, MILLISECOND);
        assert_eq!(world.state(2, paused()), []);
        assert_eq!(world.submit(1), [start(1, 1, 1)]);
        assert_eq!(world.fail(1, 1, 1, not_for_you()), []);
        if is_anew {
            world.leave(1);
            assert_eq!(world.join(1, 1), []);
        }
        for _ in 0..31 {
            assert_eq!(world.pass(2 * SECOND), []);
            assert_eq!(world.offer(2, offer(1)), [], "it may take jobs in a moment");
        }
        let refusal = Refusal::NoNodeFits { nodes: vec![(UnfitReason::NotReady, 1), (UnfitReason::Declined, 1)] };
        assert_eq!(world.pass(3 * SECOND), [refuse(1, refusal)]);
    }
}

/// One module that an owner does not take kept its client's other jobs away for a minute, and had them refused.
#[test]
fn owner_who_declines_a_module_or_a_small_job_is_asked_for_others_of_the_client() {
    let paid = NodeOffer { price: Price { per_compute_minute: 60_000, ..Price::default() }, ..offer(2) };
    let with = |module: u8, fuel: u64| {
        let mut request = request(1);
        request.module.digest = Digest([module; 32]);
        request.limits.fuel = Fuel(fuel);
        request
    };
    let declined = || AttemptFailure::Declined("not this one".into());
    let refusal = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Declined, 1)] };
    let mut world = World::settled(&[]);
    world.join_with(1, paid);
    world.pass(3 * SECOND);
    let small = 1_000_000_000;
    assert_eq!(world.submit_with(1, with(9, small)), [start(1, 1, 1)]);
    assert_eq!(world.fail(1, 1, 1, declined()), [refuse(1, refusal.clone())]);
    assert_eq!(world.submit_with(2, with(8, small)), [start(2, 1, 1)], "another module");
    assert_eq!(world.finish(1, 2, 1), []);
    for fuel in [small, small / 2] {
        assert_eq!(world.submit_with(3, with(9, fuel)), [refuse(3, refusal.clone())], "worth no more");
    }
    assert_eq!(world.submit_with(4, with(9, 10 * small)), [start(4, 1, 1)], "worth more");
    assert_eq!(world.fail(1, 4, 1, declined()), [refuse(4, refusal.clone())]);
    assert_eq!(world.submit_with(5, with(9, 2 * small)), [refuse(5, refusal)], "nor is that enough");
}

/// One task with a large input had all of its client's tasks kept away from the nodes whose caches that does not fit.
#[test]
fn node_that_declines_a_large_job_is_asked_for_smaller_ones() {
    let mut world = World::settled(&[(1, 4)]);
    let of = |bytes| {
        let mut request = request(1);
        (request.is_inline, request.input.bytes) = (false, bytes);
        request
    };
    assert_eq!(world.submit_with(1, of(1_000_000)), [start(1, 1, 1)]);
    let declined = AttemptFailure::Declined("the cache holds less".into());
    assert!(matches!(world.fail(1, 1, 1, declined)[..], [Action::Refuse { .. }]));
    assert!(matches!(world.submit_with(2, of(1_000_000))[..], [Action::Refuse { .. }]));
    assert_eq!(world.submit_with(3, of(999_999)), [start(3, 1, 1)]);
}

/// A minute later it was listed as over the job's price limit, though there was none.
#[test]
fn node_that_declined_a_job_is_listed_as_that_also_after_a_while() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.rtt(1, MILLISECOND);
    world.submit_for(2, 1);
    world.submit_for(2, 2);
    world.submit_for(1, 3);
    let declined = AttemptFailure::Declined("not for you".into());
    world.pass(SECOND);
    assert_eq!(world.finish(1, 1, 1), [start(3, 1, 1)]);
    assert_eq!(world.fail(1, 3, 1, declined), []);
    world.pass(61 * SECOND);
    assert_eq!(world.finish(2, 2, 1), [start(3, 2, 2)]);
    let started = world.decisions.last().unwrap();
    let verdict = started.candidates.iter().find(|candidate| candidate.node == node(1)).unwrap().verdict;
    assert_eq!(verdict, Verdict::Unfit(UnfitReason::Declined));
}

/// It waited for five minutes, and was told that no slot became free.
#[test]
fn job_whose_client_every_owner_declines_is_refused_and_told_why() {
    let mut world = World::settled(&[(1, 2), (2, 2)]);
    let declined = || AttemptFailure::Declined("client 0101 is on the deny list".into());
    let refusal = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Declined, 2)] };
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.fail(1, 1, 1, declined()), [start(1, 2, 2)]);
    assert_eq!(world.fail(2, 1, 2, declined()), [refuse(1, refusal.clone())]);
    assert_eq!(world.submit(2), [refuse(2, refusal)], "and the next one at once");
    assert_eq!(world.submit_for(2, 3), [start(3, 1, 1)]);
}

#[test]
fn changed_offer_counts_from_then_on() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.submit(2);
    assert_eq!(
        world.submit_with(3, labelled(1, "gpu")),
        [refuse(3, Refusal::NoNodeFits { nodes: vec![(UnfitReason::Label, 1)] })]
    );
    let wider = NodeOffer { labels: vec![label("gpu")], ..offer(3) };
    assert_eq!(world.handle(Event::NodeOffers { node: node(1), offer: wider }), [start(2, 1, 1)]);
    assert_eq!(world.submit_with(3, labelled(1, "gpu")), [start(3, 1, 1)]);
    assert_eq!(world.handle(Event::NodeOffers { node: node(1), offer: offer(1) }), []);
    assert_eq!((world.view(1).leases, world.view(1).window), (3, 1), "what it has is not touched");
    assert_eq!(world.handle(Event::NodeOffers { node: node(9), offer: offer(1) }), [], "nobody");
    // A job that only the old offer fitted does not wait for ever.
    assert_eq!(world.submit_with(4, labelled(1, "gpu")), [], "it may be back in a moment");
    assert_eq!(world.pass(3 * SECOND), [refuse(4, Refusal::NoNodeFits { nodes: vec![(UnfitReason::Label, 1)] })]);
}

/// A node whose owner takes one client at a time.
fn one_tenant(slots: u32) -> NodeOffer {
    NodeOffer { one_tenant: true, ..offer(slots) }
}

/// Others' jobs were sent there all the same: each waited for all of the first one's, was taken for running, and expired.
#[test]
fn node_that_takes_one_client_at_a_time_gets_nothing_of_another() {
    let mut world = World::settled(&[(2, 1)]);
    world.join_with(1, one_tenant(2));
    world.rtt(1, MILLISECOND);
    assert_eq!(world.submit_for(1, 1), [start(1, 1, 1)]);
    assert_eq!(world.submit_for(2, 2), [start(2, 1, 2)], "the other node is farther, and has it at once");
    let verdicts: Vec<_> = world.decisions.last().unwrap().candidates.iter().map(|of| (of.node, of.verdict)).collect();
    assert_eq!(verdicts, [(node(2), Verdict::Chosen), (node(1), Verdict::Full)]);
    let told = world.decisions.last().unwrap();
    assert_eq!((told.full, told.others), (1, 0));
    assert_eq!(world.submit_for(1, 3), [start(3, 1, 1)], "one of the same client comes beside it");
    assert_eq!(world.submit_for(2, 4), []);
    assert_eq!((world.wait(4).full, &*world.wait(4).unfit), (2, &[][..]), "none has room for it");
    world.pass(SECOND);
    assert_eq!(world.finish(1, 1, 1), [], "one of the first client's is there still");
    assert_eq!(world.finish(1, 3, 1), [start(4, 1, 1)]);
    assert_eq!(world.submit_for(1, 5), []);
    world.offer(1, offer(2));
    assert_eq!(world.view(1).leases, 2, "once its owner wants it no more, others may come");
}

/// Such a node with two slots, which has a job of the first client and is to get empty for one of the second.
fn getting_empty() -> World {
    let mut world = World::settled(&[]);
    world.join_with(1, one_tenant(2));
    for j in 10..20 {
        world.submit_for(1, j);
    }
    assert_eq!(world.submit_for(2, 1), []);
    world.pass(SECOND);
    assert_eq!(world.finish(1, 10, 1), [start(12, 1, 1)], "both had as much, and the first came first");
    world.pass(SECOND);
    assert_eq!(world.finish(1, 11, 1), [], "it gets empty");
    world
}

/// A client with many jobs kept such a node for as long as there were any.
#[test]
fn node_of_one_client_at_a_time_gets_empty_for_whose_turn_it_is() {
    let mut world = getting_empty();
    assert_eq!((world.view(1).leases, world.view(1).window), (1, 1));
    assert_eq!(world.submit_for(1, 20), [], "it takes nothing that comes later");
    world.pass(SECOND);
    assert_eq!(world.finish(1, 12, 1), [start(1, 1, 1)]);
    world.pass(SECOND);
    assert_eq!(world.finish(1, 1, 1), [start(13, 1, 1), start(14, 1, 1)]);
}

#[test]
fn node_that_gets_empty_for_a_job_which_is_withdrawn_or_goes_elsewhere_takes_the_others() {
    let mut world = getting_empty();
    assert_eq!(world.cancel(1), [cancelled(1), start(13, 1, 1)]);
    assert_eq!(world.submit_for(2, 2), []);
    world.pass(SECOND);
    assert_eq!(world.finish(1, 12, 1), []);
    assert_eq!(world.join(2, 1), [start(2, 1, 2), start(14, 1, 1)]);
    // It may leave while it gets empty.
    assert_eq!(world.submit_for(2, 3), []);
    world.pass(SECOND);
    assert_eq!(world.finish(1, 13, 1), []);
    world.leave(1);
    world.pass(SECOND);
    assert_eq!(world.finish(2, 2, 1), [start(3, 1, 2)]);
}

/// Its slots that were free then went to the first client's later jobs until one of those before had ended.
#[test]
fn node_of_one_client_at_a_time_gets_empty_from_when_another_comes() {
    let mut world = World::settled(&[]);
    world.join_with(1, one_tenant(4));
    world.submit_for(1, 10);
    world.submit_for(1, 11);
    assert_eq!(world.submit_for(2, 1), []);
    assert_eq!(world.submit_for(1, 12), []);
    world.pass(SECOND);
    assert_eq!(world.finish(1, 10, 1), []);
    assert_eq!(world.finish(1, 11, 1), [start(1, 1, 1)]);
    world.pass(SECOND);
    assert_eq!(world.finish(1, 1, 1), [start(12, 1, 1)]);
}

/// No more than 256 are looked at, and those that have another client's jobs were among them.
#[test]
fn idle_node_is_found_behind_many_that_have_another_client() {
    let mut world = World::settled(&[]);
    let many = 300_u32;
    let key = |n: u32| PublicKey([&n.to_be_bytes()[..], &[7; 28]].concat().try_into().unwrap());
    for n in 0..many {
        let offer = one_tenant(2);
        world.handle(Event::NodeJoined { node: key(n), offer, state: NodeState::Ready, cached: vec![] });
        world.handle(Event::NodePath { node: key(n), rtt_us: MILLISECOND, spread_us: 0 });
    }
    for j in 0..2 * many {
        assert_eq!(world.submit_for(1, j).len(), 1);
    }
    world.pass(SECOND);
    let held: Vec<_> = (0..many).map(|n| world.dispatcher.leases(&key(n)).next().unwrap()).collect();
    for (n, (job, attempt)) in held.into_iter().enumerate() {
        let report = Report::default();
        world.handle(Event::AttemptFinished { node: key(n as u32), job, attempt, report });
    }
    world.join(1, 1);
    world.rtt(1, 50 * MILLISECOND);
    assert_eq!(world.submit_for(2, 10_000), [start(10_000, 1, 1)]);
}

/// The one that was met first may have a job of hours.
#[test]
fn job_goes_to_whichever_node_of_another_client_gets_empty_first() {
    let mut world = World::settled(&[]);
    world.join_with(1, one_tenant(2));
    world.rtt(1, MILLISECOND);
    world.join_with(2, one_tenant(2));
    world.rtt(2, 50 * MILLISECOND);
    for (j, n) in [(10, 1), (11, 1), (12, 2), (13, 2)] {
        assert_eq!(world.submit_for(1, j), [start(j, 1, n)]);
    }
    world.pass(SECOND);
    assert_eq!([world.finish(1, 11, 1), world.finish(2, 13, 1)], [[], []]);
    assert_eq!(world.submit_for(2, 1), [], "the near one is to get empty");
    assert_eq!(world.submit_for(1, 14), [start(14, 1, 2)]);
    assert_eq!(world.submit_for(1, 15), []);
    world.pass(SECOND);
    assert_eq!(world.finish(2, 12, 1), [], "and so is this one, as it is the same job's turn");
    world.pass(SECOND);
    assert_eq!(world.finish(2, 14, 1), [start(1, 1, 2), start(15, 1, 1)], "the near one takes its client's again");
}

#[test]
fn deadline_that_a_node_with_another_client_could_keep_is_waited_for() {
    let mut world = knowing();
    let labels = || vec![("disk".to_owned(), "ssd".to_owned())];
    for n in 10..30 {
        world.join_knowing(n, 1);
        world.rtt(n, MILLISECOND);
    }
    world.join_with(1, NodeOffer { labels: labels(), ..offer(1) });
    world.rtt(1, 10 * SECOND);
    world.join_with(2, NodeOffer { labels: labels(), ..one_tenant(2) });
    world.rtt(2, 30 * MILLISECOND);
    let with = |c, deadline_ms| {
        let mut request = request(c);
        request.placement.labels = labels();
        request.placement.deadline_ms = deadline_ms;
        request
    };
    assert_eq!(world.submit_with(1, with(1, None)), [start(1, 1, 2)]);
    for j in 100..110 {
        assert_eq!(world.submit_with(j, with(2, Some(5_000))), []);
        assert_eq!(world.cancel(j), [cancelled(j)]);
    }
}

/// A node was to get empty for a job that it could not have done in time.
#[test]
fn node_gets_empty_for_no_job_that_it_cannot_do_in_time() {
    let mut world = knowing();
    world.join_knowing(2, 1);
    world.rtt(2, MILLISECOND);
    world.join_with(1, one_tenant(4));
    world.rtt(1, 10 * SECOND);
    assert_eq!([world.submit_for(1, 10), world.submit_for(1, 11)], [[start(10, 1, 2)], [start(11, 1, 1)]]);
    let mut urgent = request(2);
    urgent.placement.deadline_ms = Some(5_000);
    assert_eq!(world.submit_with(1, urgent), []);
    assert_eq!(world.submit_for(1, 12), [start(12, 1, 1)]);
}

/// Nodes that have another client's took the looks at the nearest ones.
#[test]
fn near_idle_node_is_taken_and_not_a_far_one_where_many_nearer_have_another_client() {
    let mut world = knowing();
    for n in 10..40 {
        world.join_with(n, one_tenant(2));
        world.rtt(n, MILLISECOND);
    }
    for j in 0..60 {
        assert_eq!(world.submit_for(1, j).len(), 1);
    }
    world.pass(SECOND);
    for n in 10..40 {
        let held = world.dispatcher.leases(&node(n)).next();
        let (job, attempt) = held.unwrap();
        world.finish_after(n, number(job), attempt.0, 1_000_000_000);
    }
    world.join_with(1, NodeOffer { price: Price { per_compute_minute: 1, ..Price::default() }, ..offer(1) });
    world.rtt(1, 2 * SECOND);
    world.join_with(2, NodeOffer { price: Price { per_compute_minute: 10, ..Price::default() }, ..offer(1) });
    world.rtt(2, 5 * MILLISECOND);
    assert_eq!(world.submit_for(2, 1_000), [start(1_000, 1, 2)]);
}

/// No job empties a whole network.
#[test]
fn few_nodes_get_empty_for_a_job() {
    let mut world = World::settled(&[]);
    for n in 1..=6 {
        world.join_with(n, one_tenant(2));
    }
    for j in 10..40 {
        world.submit_for(1, j);
    }
    assert_eq!(world.submit_for(2, 1), []);
    let mut ended = 0;
    for n in 1..=6 {
        world.pass(SECOND);
        let held = world.dispatcher.leases(&node(n)).next();
        let (job, attempt) = held.unwrap();
        ended += usize::from(world.finish(n, number(job), attempt.0).is_empty());
    }
    assert_eq!(ended, 4, "the first end was the first client's turn, as both had as much");
}
