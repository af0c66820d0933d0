//! Which of the nodes that fit gets a job.

use std::collections::BTreeMap;

use adit_dispatch::{Action, Config, Event, Report, Request};
use adit_protocol::{
    BlobRef, ByteCount, Digest, Fuel, NodeOffer, NodeState, Preference, Price, PublicKey, Refusal, UnfitReason, Usage, Verdict,
};

use crate::world::*;

const FUEL: u64 = 1_000_000_000;

fn preferring(prefer: Preference) -> Request {
    let mut request = request(1);
    request.placement.prefer = prefer;
    request
}

fn priced(per_compute_minute: u64, fuel_per_second: u64) -> NodeOffer {
    NodeOffer { price: Price { per_compute_minute, ..Price::default() }, fuel_per_second, ..offer(1) }
}

#[test]
fn preference_decides_between_time_and_price() {
    // Node 1 is fast and dear, node 2 ten times slower and a hundred times cheaper, node 3 is a compromise between them and no good one.
    let offers = [(1, priced(100_000, 2_000_000_000)), (2, priced(1_000, 200_000_000)), (3, priced(90_000, 400_000_000))];
    for (prefer, n) in [(Preference::Fast, 1), (Preference::Cheap, 2), (Preference::Balanced, 2)] {
        let mut world = knowing();
        for (n, offer) in offers.clone() {
            world.join_with(n, offer);
        }
        assert_eq!(world.submit_with(1, preferring(prefer)), [start(1, 1, n)], "{prefer}");
    }
    // Three times as dear and ten times as fast: worth it.
    let mut world = knowing();
    world.join_with(1, priced(3_000, 2_000_000_000));
    world.join_with(2, priced(1_000, 200_000_000));
    assert_eq!(world.submit_with(1, preferring(Preference::Balanced)), [start(1, 1, 1)]);
}

#[test]
fn distance_counts_for_short_jobs_and_speed_for_long_ones() {
    let run = |fuel: u64| {
        let mut world = World::settled(&[(99, 1)]);
        world.submit(9_999);
        world.pass(SECOND);
        world.finish_after(99, 9_999, 1, fuel);
        world.leave(99);
        world.join_with(1, priced(0, 500_000_000));
        world.rtt(1, MILLISECOND);
        world.join_with(2, priced(0, 2_000_000_000));
        world.rtt(2, 100 * MILLISECOND);
        let actions = world.submit(1);
        let Some(Action::Start { node, .. }) = actions.first() else { panic!("{actions:?}") };
        *node
    };
    assert_eq!(run(1_000_000), node(1));
    assert_eq!(run(1_000_000_000), node(2));
}

/// One poor fit among those that were looked at first ended the search for the others.
#[test]
fn nearest_of_the_few_that_carry_a_label_is_found_behind_many_that_do_not() {
    for chance in 0..32 {
        let mut world = World::with(Config { spread: 1, seed: chance, ..Config::default() });
        let carrying = || NodeOffer { labels: vec![label("x")], ..offer(1) };
        for n in 1..=20 {
            let (offer, ms) = match n {
                1 => (carrying(), 200),
                16.. => (carrying(), 40),
                _ => (offer(1), 2 * u64::from(n)),
            };
            world.join_with(n, offer);
            world.rtt(n, ms * MILLISECOND);
        }
        let actions = world.submit_with(1, labelled(1, "x"));
        assert!(matches!(&actions[..], [Action::Start { node, .. }] if node.0 >= [16; 32]), "{chance}: {actions:?}");
    }
}

#[test]
fn node_that_knows_module_and_input_is_preferred() {
    let mut world = knowing();
    let module = BlobRef { digest: Digest([7; 32]), bytes: 4 << 20 };
    let input = BlobRef { digest: Digest([8; 32]), bytes: 100 << 20 };
    let request = Request { module, input, is_inline: false, ..request(1) };
    world.join(1, 1);
    world.rtt(1, MILLISECOND);
    let knows = |n, cached| Event::NodeJoined { node: node(n), offer: offer(1), state: NodeState::Ready, cached };
    world.handle(knows(2, vec![module.digest]));
    world.rtt(2, 100 * MILLISECOND);
    assert_eq!(world.submit_with(1, request.clone()), [start(1, 1, 2)], "4 MiB over 20 Mbit/s, and compiled");
    world.pass(SECOND);
    world.finish(2, 1, 1);
    // Now it has the input too, and node 3 nothing but a good place.
    world.handle(knows(3, vec![module.digest]));
    world.rtt(3, MILLISECOND);
    assert_eq!(world.submit_with(2, request), [start(2, 1, 2)]);
    let parts = world.decisions.last().unwrap().candidates.iter().find(|c| c.node == node(3)).unwrap().predicted;
    assert_eq!((parts.compile_us, parts.fetch_us), (0, 41_943_040 + MILLISECOND), "100 MiB at 20 Mbit/s");
}

#[test]
fn named_inputs_are_fetched_once_and_their_place_is_known() {
    let mut world = knowing();
    let module = BlobRef { digest: Digest([7; 32]), bytes: 4 << 20 };
    let named = [8, 9].map(|n| BlobRef { digest: Digest([n; 32]), bytes: 50 << 20 }).to_vec();
    let request = Request { module, named, ..request(1) };
    let knows = |n| Event::NodeJoined { node: node(n), offer: offer(1), state: NodeState::Ready, cached: vec![module.digest] };
    world.handle(knows(2));
    world.rtt(2, 100 * MILLISECOND);
    assert_eq!(world.submit_with(1, request.clone()), [start(1, 1, 2)]);
    world.pass(SECOND);
    world.finish(2, 1, 1);
    world.handle(knows(3));
    world.rtt(3, MILLISECOND);
    assert_eq!(world.submit_with(2, request), [start(2, 1, 2)]);
    let candidates = &world.decisions.last().unwrap().candidates;
    let fetch_us = |n: u8| candidates.iter().find(|c| c.node == node(n)).unwrap().predicted.fetch_us;
    assert_eq!((fetch_us(2), fetch_us(3)), (0, 41_943_040 + MILLISECOND), "twice 50 MiB at 20 Mbit/s");
}

#[test]
fn inline_input_is_fetched_by_nobody() {
    let mut world = knowing();
    world.join_knowing(1, 1);
    world.submit(1);
    assert_eq!(world.decisions.last().unwrap().candidates[0].predicted.fetch_us, 0);
}

#[test]
fn speed_that_was_seen_counts_and_not_the_claim() {
    let mut world = World::settled(&[]);
    world.join_with(1, priced(0, 4_000_000_000));
    world.join_with(2, priced(0, 1_000_000_000));
    world.rtt(1, MILLISECOND);
    world.rtt(2, MILLISECOND);
    for j in 0..4 {
        // Node 1 claims to be the fastest, and takes four seconds for what it said it would do in a quarter of one.
        if world.submit(j) == [start(j, 1, 1)] {
            world.pass(4 * SECOND);
            world.finish_after(1, j, 1, FUEL);
        } else {
            world.pass(SECOND);
            world.finish_after(2, j, 1, FUEL);
        }
    }
    assert_eq!((world.view(1).jobs_done, world.view(2).jobs_done), (1, 3), "it was believed once");
    let seen = world.view(1).fuel_per_second.unwrap();
    assert!((240_000_000..260_000_000).contains(&seen), "{seen}");
}

#[test]
fn claim_that_does_not_hold_costs_reputation_and_an_absurd_one_is_not_believed() {
    let mut world = World::settled(&[]);
    world.join_with(1, priced(0, u64::MAX));
    for j in 0..8 {
        world.submit(j);
        world.pass(SECOND);
        world.finish_after(1, j, 1, FUEL);
    }
    let run_us = world.decisions[0].candidates[0].predicted.run_us;
    assert_eq!(run_us, 2_500_000, "ten Gfuel, the limit, at four times the reference machine's speed");
    let reputation = world.view(1).reputation;
    assert!((850..900).contains(&reputation), "{reputation}");
}

#[test]
fn lot_falls_among_nodes_that_are_about_as_good_by_seed() {
    let places = |seed| {
        let mut world = World::with(Config { seed, ..Config::default() });
        for n in 1..=8 {
            world.join(n, 1_000);
            // Four near ones within a sixteenth, three behind, one that nobody wants.
            world.rtt(n, if n <= 4 { 20 * MILLISECOND } else { 40 * MILLISECOND });
        }
        let mut counts = BTreeMap::new();
        let mut places = Vec::new();
        for j in 0..400 {
            let actions = world.submit(j);
            let Some(Action::Start { node, .. }) = actions.first() else { panic!("{actions:?}") };
            *counts.entry(node.0[0]).or_insert(0) += 1;
            places.push(node.0[0]);
        }
        assert!(counts.keys().all(|n| *n <= 4), "{counts:?}");
        assert!(counts.values().all(|count| *count > 60), "{counts:?}");
        places
    };
    assert_eq!(places(1), places(1), "one seed, one trace");
    assert_ne!(places(1), places(2));
}

#[test]
fn deadline_that_no_node_can_meet_is_told_at_once() {
    let mut world = knowing();
    world.join_knowing(1, 1);
    world.rtt(1, 10 * MILLISECOND);
    let within = |deadline_ms| {
        let mut request = request(1);
        request.placement.deadline_ms = Some(deadline_ms);
        request
    };
    let missed = Refusal::DeadlineMissed { left_ms: 900, needed_ms: 1_010 };
    assert_eq!(world.submit_with(1, within(900)), [refuse(1, missed)]);
    assert_eq!(world.submit_with(2, within(1_100)), [start(2, 1, 1)]);
    // It would have to wait for a second: it waits as long as it may still end in time.
    assert_eq!(world.submit_with(3, within(2_500)), []);
    assert_eq!(world.submit_with(4, within(2_500)), []);
    world.pass(SECOND);
    assert_eq!(world.finish_after(1, 2, 1, FUEL), [start(3, 1, 1)]);
    // It is dropped in the moment from which on no node could end it in time, and not at the end of that time.
    assert_eq!(world.pass(490 * MILLISECOND), []);
    let missed = Refusal::DeadlineMissed { left_ms: 999, needed_ms: 1_000 };
    assert_eq!(world.pass(11 * MILLISECOND), [refuse(4, missed)]);
}

/// One job whose deadline a slow node would miss held up all that stood behind it.
#[test]
fn job_that_waits_for_a_reason_of_its_own_does_not_hold_up_its_like() {
    let mut world = knowing();
    world.join_with(1, priced(0, 2_000_000_000));
    world.join_with(2, priced(0, 100_000_000));
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.submit(2), [start(2, 1, 2)]);
    let mut urgent = request(1);
    urgent.placement.deadline_ms = Some(5_000);
    assert_eq!(world.submit_with(3, urgent), []);
    assert_eq!(world.submit(4), []);
    world.pass(SECOND);
    assert_eq!(world.finish(2, 2, 1), [start(4, 1, 2)]);
}

/// Sixteen of a client's jobs that only a faster node would end in time, and its other jobs behind them, left a node idle.
#[test]
fn jobs_with_deadlines_do_not_hold_up_those_without() {
    let mut world = knowing();
    world.join_with(1, priced(0, 2_000_000_000));
    world.join_with(2, priced(0, 100_000_000));
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    assert_eq!(world.submit(2), [start(2, 1, 2)]);
    for j in 100..140 {
        let mut urgent = request(1);
        urgent.placement.deadline_ms = Some(5_000);
        assert_eq!(world.submit_with(j, urgent), []);
    }
    assert_eq!(world.submit(3), []);
    world.pass(SECOND);
    assert_eq!(world.finish(2, 2, 1), [start(3, 1, 2)]);
}

/// It was told "needed 0 ms", and only when its time was over.
#[test]
fn job_that_no_node_could_end_in_time_any_more_is_dropped_with_what_it_needs() {
    let within = |deadline_ms| {
        let mut request = request(1);
        request.placement.deadline_ms = Some(deadline_ms);
        request
    };
    let mut world = knowing();
    world.join_knowing(1, 1);
    world.rtt(1, 10 * MILLISECOND);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    // At once, though the node is busy: it could not do that when it is free.
    let missed = Refusal::DeadlineMissed { left_ms: 1_000, needed_ms: 1_010 };
    assert_eq!(world.submit_with(2, within(1_000)), [refuse(2, missed)]);
    // A node that came meanwhile and is busy too gives it longer: a fifth of a second of run is enough there.
    assert_eq!(world.submit_with(3, within(1_500)), []);
    world.join_with(2, priced(0, 5_000_000_000));
    world.rtt(2, 300 * MILLISECOND);
    assert_eq!(world.dispatcher.queued(), 0, "it got it");
    assert_eq!(world.submit_with(4, within(1_500)), []);
    let refused = world.pass(2 * SECOND);
    let [Action::Refuse { refusal: Refusal::DeadlineMissed { left_ms, needed_ms }, .. }] = refused[..] else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (left_ms, needed_ms),
        (850, 851),
        "three tenths of a second of way, as much to fetch the module, a quarter of run"
    );
    // One that lost its node when no other could end it any more is lost at once.
    let mut world = knowing();
    world.join_knowing(1, 1);
    assert_eq!(world.submit_with(1, within(1_500)), [start(1, 1, 1)]);
    world.pass(SECOND);
    world.fail(1, 1, 1, node_failure("disk full"));
    let reason = "node 01010101 failed: disk full; then the deadline is in 500 ms, and the job would take 1030 ms where it could start now";
    let lost = world.pass(0);
    assert!(matches!(&lost[..], [Action::Lost { reason: told, .. }] if told == reason), "{lost:?}");
}

/// Where more were connected than are looked at, a job that none of them could end in time stood in the queue until its deadline.
#[test]
fn hopeless_deadline_is_told_at_once_however_many_nodes_are_busy() {
    const NODES: u32 = 300;
    let within = |deadline_ms| {
        let mut request = request(1);
        request.placement.deadline_ms = Some(deadline_ms);
        request
    };
    let key = |n: u32| {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        PublicKey(key)
    };
    let mut world = knowing();
    let cached = vec![request(1).module.digest];
    for n in 0..NODES {
        // The fastest takes a second for a job of this module.
        let offer = priced(0, FUEL - u64::from(n));
        world.handle(Event::NodeJoined { node: key(n), offer, state: NodeState::Ready, cached: cached.clone() });
        world.submit(n);
    }
    assert_eq!(world.dispatcher.nodes().filter(|view| view.leases == 0).count(), 0, "all are busy");
    let refused = world.submit_with(NODES, within(999));
    let [Action::Refuse { refusal: Refusal::DeadlineMissed { left_ms: 999, needed_ms }, .. }] = refused[..] else {
        panic!("{refused:?}")
    };
    assert!((1_000..1_100).contains(&needed_ms), "the run, and the way to the best that was looked at: {needed_ms}");
    assert_eq!(world.submit_with(NODES + 1, within(1_500)), [], "one that gets free soon could do it");
    assert_eq!(world.pass(500 * MILLISECOND), []);
    let refused = world.pass(MILLISECOND);
    assert!(matches!(refused[..], [Action::Refuse { refusal: Refusal::DeadlineMissed { left_ms: 999, .. }, .. }]), "{refused:?}");
    // A faster one that comes gives the next one longer.
    assert_eq!(world.submit_with(NODES + 2, within(1_500)), []);
    world.handle(Event::NodeJoined { node: key(NODES), offer: priced(0, 2 * FUEL), state: NodeState::Ready, cached });
    assert_eq!(world.dispatcher.queued(), 0, "it got it");
    assert_eq!(world.submit_with(NODES + 3, within(1_500)), []);
    assert_eq!(world.pass(SECOND), []);
    assert_eq!(world.pass(MILLISECOND).len(), 1);
}

#[test]
fn fast_node_is_taken_where_only_it_meets_the_deadline() {
    let mut world = knowing();
    world.join_with(1, priced(1, 500_000_000));
    world.join_with(2, priced(1_000_000, 2_000_000_000));
    let mut request = preferring(Preference::Cheap);
    request.placement.deadline_ms = Some(1_000);
    assert_eq!(world.submit_with(1, request), [start(1, 1, 2)]);
    let decision = world.decisions.last().unwrap();
    assert_eq!(decision.unfit, [(UnfitReason::Deadline, 1)]);
    let verdicts: Vec<_> = decision.candidates.iter().map(|c| (c.node, c.verdict)).collect();
    assert_eq!(verdicts, [(node(2), Verdict::Chosen), (node(1), Verdict::Unfit(UnfitReason::Deadline))]);
}

#[test]
fn decision_says_what_was_known_of_each_candidate() {
    let mut world = knowing();
    world.join_with(1, priced(600, 0));
    world.rtt(1, 5 * MILLISECOND);
    world.join_with(2, priced(1_200, 0));
    world.rtt(2, 80 * MILLISECOND);
    world.join_with(3, NodeOffer { memory: ByteCount(1), ..priced(0, 0) });
    world.join_with(4, NodeOffer { slots: 0, ..priced(0, 0) });
    world.submit(1);
    let decision = world.decisions.last().unwrap();
    assert_eq!((decision.is_fuel_known, decision.fuel), (true, Fuel(FUEL)));
    assert_eq!((decision.waited_us, decision.full, decision.others), (0, 0, 0));
    assert_eq!(decision.unfit, [(UnfitReason::Memory, 1)]);
    let [first, second, third, fourth] = &decision.candidates[..] else { panic!("{:?}", decision.candidates) };
    assert_eq!((first.node, first.verdict, first.price.0), (node(1), Verdict::Chosen, 10));
    assert_eq!((second.node, second.verdict, second.price.0), (node(2), Verdict::Worse, 20));
    assert_eq!((third.node, third.verdict), (node(3), Verdict::Unfit(UnfitReason::Memory)));
    assert_eq!((fourth.node, fourth.verdict), (node(4), Verdict::Unfit(UnfitReason::Slots)));
    assert_eq!(first.predicted.rtt_us, 5 * MILLISECOND);
    assert_eq!((first.predicted.run_us, second.score > first.score), (SECOND, true));
    // And each node why it got nothing.
    assert_eq!(world.view(2).verdicts, [(Verdict::Worse, 1)]);
    assert_eq!(world.view(3).verdicts, [(Verdict::Unfit(UnfitReason::Memory), 1)]);
    world.submit(2);
    let full: Vec<_> = world.decisions.last().unwrap().candidates.iter().map(|c| (c.node, c.verdict)).collect();
    assert_eq!(full[..2], [(node(2), Verdict::Chosen), (node(3), Verdict::Unfit(UnfitReason::Memory))]);
    assert_eq!(full[2], (node(1), Verdict::Full));
    let passed: Vec<_> = world.dispatcher.passed(&node(2)).map(|(_, id, own, chosen)| (id, own.node, chosen.node)).collect();
    assert_eq!(passed, [(job(1), node(2), node(1))]);
    let passed: Vec<_> = world.dispatcher.passed(&node(1)).map(|(_, id, own, _)| (id, own.verdict)).collect();
    assert_eq!(passed, [(job(2), Verdict::Full)]);
}

#[test]
fn node_whose_path_gets_worse_loses_its_work() {
    let mut world = World::settled(&[(1, 4), (2, 4)]);
    world.rtt(1, 2 * MILLISECOND);
    world.rtt(2, 20 * MILLISECOND);
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
    world.rtt(1, 200 * MILLISECOND);
    assert_eq!(world.submit(2), [start(2, 1, 2)]);
}

#[test]
fn node_that_takes_longer_than_all_explains_is_taken_for_slower_and_seen_again_later() {
    let mut world = World::settled(&[]);
    for n in [1, 2] {
        world.join_knowing(n, 1);
        world.rtt(n, MILLISECOND * u64::from(n));
    }
    for j in 0..30 {
        let actions = world.submit(j);
        let Some(Action::Start { node: chosen, attempt, .. }) = actions.first() else { panic!("{actions:?}") };
        // Node 1 adds a tenth of a second to each.
        let n = chosen.0[0];
        world.pass(if n == 1 { 100 * MILLISECOND } else { 3 * MILLISECOND });
        world.finish_after(n, j, attempt.0, 1_000);
    }
    let (slow, fast) = (world.view(1).jobs_done, world.view(2).jobs_done);
    assert!(slow <= 3, "{slow} and {fast}");
    for _ in 0..300 {
        world.pass(SECOND);
        for n in [1, 2] {
            world.rtt(n, MILLISECOND * u64::from(n));
        }
    }
    assert_eq!(world.submit(100), [start(100, 1, 1)], "what was bad is long ago");
}

#[test]
fn bandwidth_is_learned_from_fetches() {
    let mut world = World::settled(&[(1, 1)]);
    let with_input =
        |n: u8| Request { input: BlobRef { digest: Digest([n; 32]), bytes: 10_000_000 }, is_inline: false, ..request(1) };
    world.submit_with(1, with_input(1));
    let predicted = world.decisions[0].candidates[0].predicted.fetch_us;
    assert_eq!(predicted / MILLISECOND, 4_000 + 120, "at a home line's guess, and four round trips until its window is open");
    world.pass(SECOND);
    let report = Report { usage: Usage::default(), fetch_us: SECOND, compile_us: 0 };
    world.finish_with(1, 1, 1, report);
    world.submit_with(2, with_input(2));
    let predicted = world.decisions[1].candidates[0].predicted.fetch_us / MILLISECOND;
    assert!((1_000..1_100).contains(&predicted), "{predicted}");
}

/// Over a long path the round trips of a fetch were taken for its bytes: a fast line far away looked slow.
#[test]
fn fetch_that_is_mostly_round_trips_says_little_of_the_lines_rate() {
    let mut world = World::settled(&[(1, 1)]);
    world.rtt(1, 160 * MILLISECOND);
    let with_input = |n: u8, bytes| Request { input: BlobRef { digest: Digest([n; 32]), bytes }, is_inline: false, ..request(1) };
    world.submit_with(1, with_input(1, 200_000));
    world.pass(2 * SECOND);
    world.finish_with(1, 1, 1, Report { fetch_us: 1_230 * MILLISECOND, ..Report::default() });
    world.submit_with(2, with_input(2, 4 << 20));
    let predicted = world.decisions[1].candidates[0].predicted.fetch_us / MILLISECOND;
    assert!((1_700..3_500).contains(&predicted), "{predicted}: it takes 1.75 s");
}

/// A path that got better while its node was idle: the run was taken for no time at all, and the node for infinitely fast.
#[test]
fn round_trip_that_was_too_long_makes_no_node_fast() {
    let mut world = World::settled(&[(1, 1)]);
    world.rtt(1, 300 * MILLISECOND);
    for j in 0..5 {
        world.submit(j);
        world.pass(50 * MILLISECOND);
        world.finish_after(1, j, 1, 50_000_000);
    }
    assert_eq!(world.view(1).fuel_per_second, None, "nothing is learned where nothing fits");
    for j in 5..10 {
        world.submit(j);
        world.pass(301 * MILLISECOND);
        world.finish_after(1, j, 1, 50_000_000);
    }
    assert_eq!(world.view(1).fuel_per_second, None, "a millisecond beside three hundred says nothing");
    world.rtt(1, 10 * MILLISECOND);
    for (j, most) in (10..13).zip([4_000_000_000, 4_500_000_000, 5_100_000_000u64]) {
        world.submit(j);
        world.pass(14 * MILLISECOND);
        world.finish_after(1, j, 1, 500_000_000);
        let speed = world.view(1).fuel_per_second.unwrap();
        assert!(speed <= most, "{speed}: one sample makes a machine so much faster and no more");
    }
}

/// Where jobs are so long that owners come back before they end, nothing else shows how fast the machine is.
#[test]
fn attempt_that_was_cut_short_shows_its_nodes_speed_and_nothing_of_its_module() {
    let mut world = World::settled(&[(1, 1)]);
    world.submit(1);
    world.pass(2 * SECOND);
    world.state(1, NodeState::Paused("the owner is back".into()));
    world.preempt_after(1, 1, 1, 500_000_000);
    assert_eq!(world.view(1).fuel_per_second, Some(250_000_000));
    world.state(1, NodeState::Ready);
    let decision = world.decisions.last().unwrap();
    assert_eq!((decision.attempt.0, decision.is_fuel_known), (2, false), "how much the job needs is not known yet");
    // What was cut short at once says little.
    world.pass(400 * MILLISECOND);
    world.state(1, NodeState::Paused("the owner is back".into()));
    world.preempt_after(1, 1, 2, 390_000_000);
    assert_eq!(world.view(1).fuel_per_second, Some(250_000_000));
}
