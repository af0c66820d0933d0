use adit_dispatch::{Event, Report};
use adit_protocol::{BlobRef, Digest, Fuel, UnfitReason, Usage, Verdict};

use crate::world::*;

fn cheat(world: &mut World, n: u8) {
    assert_eq!(world.handle(Event::ReceiptRefused { node: node(n) }), []);
}

#[test]
fn node_whose_receipts_do_not_hold_gets_only_what_no_other_fits() {
    let mut world = World::settled(&[(1, 2), (2, 1)]);
    world.rtt(1, MILLISECOND);
    for want in [750, 500, 250, 0] {
        cheat(&mut world, 1);
        assert_eq!(world.view(1).reputation, want);
    }
    assert_eq!(world.submit(1), [start(1, 1, 2)]);
    assert_eq!(world.submit(2), [], "it waits for a better one");
    assert_eq!(world.finish(2, 1, 1), [start(2, 1, 2)]);
    // Where it is the only one, it is better than nothing.
    assert_eq!(world.leave(2), [start(2, 2, 1)]);
    assert_eq!(world.submit(3), [start(3, 1, 1)]);
    // Also where it comes back, and a job waits for it.
    assert_eq!(world.leave(1), []);
    assert_eq!(world.join(1, 1), [start(2, 3, 1)]);
}

/// Found by simulation: what waited for a trusted node went on waiting when the last one was gone.
#[test]
fn job_that_waits_goes_to_a_barred_node_when_no_trusted_one_is_left() {
    type End = fn(&mut World) -> Vec<adit_dispatch::Action>;
    let ends: [End; 3] = [
        |world| world.leave(2),
        |world| world.state(2, adit_protocol::NodeState::Draining),
        |world| (0..4).flat_map(|_| world.handle(Event::ReceiptRefused { node: node(2) })).collect(),
    ];
    for end in ends {
        let mut world = World::settled(&[(1, 2), (2, 1)]);
        for _ in 0..4 {
            cheat(&mut world, 1);
        }
        assert_eq!(world.submit(1), [start(1, 1, 2)]);
        assert_eq!(world.submit(2), []);
        let actions = end(&mut world);
        assert!(actions.contains(&start(2, 1, 1)), "{actions:?}");
    }
}

#[test]
fn reputation_outlasts_the_connection() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    world.rtt(2, 200 * MILLISECOND);
    for _ in 0..4 {
        cheat(&mut world, 1);
    }
    world.leave(1);
    world.join(1, 1);
    assert_eq!(world.view(1).reputation, 0);
    assert_eq!(world.submit(1), [start(1, 1, 2)]);
    let listed = world.decisions[0].candidates.iter().find(|candidate| candidate.node == node(1)).unwrap();
    assert_eq!(listed.verdict, Verdict::Unfit(UnfitReason::Reputation));
}

#[test]
fn node_is_trusted_again_as_time_passes_and_gets_what_waits() {
    let mut world = World::settled(&[(1, 1), (2, 1)]);
    for _ in 0..4 {
        cheat(&mut world, 1);
    }
    let mut patient = request(1);
    patient.limits.queue_ms = 1_000_000;
    assert_eq!(world.submit_with(1, patient.clone()), [start(1, 1, 2)]);
    assert_eq!(world.submit_with(2, patient), []);
    assert_eq!(world.pass(400 * SECOND - 1), []);
    assert_eq!(world.pass(1), [start(2, 1, 1)]);
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

/// Has a node run jobs of a second whose module it knows, and say so of each that it compiled for so long.
fn claim_compilation(world: &mut World, jobs: std::ops::Range<u32>, compile_us: u64) {
    for j in jobs {
        assert_eq!(world.submit(j), [start(j, 1, 1)]);
        world.pass(SECOND);
        let usage = Usage { fuel: Fuel(500_000_000), ..Usage::default() };
        world.finish_with(1, j, 1, Report { usage, compile_us, ..Report::default() });
    }
}

/// What a node says of its own times made it as fast as it liked: all that it called compilation was no run.
#[test]
fn node_that_calls_its_run_compilation_is_taken_for_no_faster_and_loses_by_it() {
    let mut world = World::settled(&[]);
    world.join_knowing(1, 1);
    claim_compilation(&mut world, 0..40, 800 * MILLISECOND);
    let speed = world.view(1).fuel_per_second.unwrap();
    // It is half of what it is taken for at first, which is known after some dozen jobs.
    assert!((500_000_000..700_000_000).contains(&speed), "{speed}");
    assert_eq!(world.view(1).reputation, 500, "but it is not barred: its times are predicted from what is seen");
    // Of its module, nothing: another node is predicted to compile it as before.
    world.join(2, 1);
    world.submit(100);
    let decision = world.decisions.last().unwrap();
    let other = decision.candidates.iter().find(|candidate| candidate.node == node(2)).unwrap();
    assert!(other.predicted.compile_us < MILLISECOND, "{other:?}");
}

#[test]
fn node_that_must_compile_what_it_said_it_knew_loses_by_it_once() {
    let mut world = World::settled(&[]);
    world.join_knowing(1, 1);
    claim_compilation(&mut world, 0..1, 800 * MILLISECOND);
    assert_eq!(world.view(1).reputation, 980);
    claim_compilation(&mut world, 1..5, 0);
    assert_eq!(world.view(1).reputation, 1_000);
}

#[test]
fn compilation_that_was_to_be_expected_costs_nothing_and_is_no_run() {
    let mut world = World::settled(&[(1, 1)]);
    claim_compilation(&mut world, 0..1, 200 * MILLISECOND);
    assert_eq!(world.view(1).reputation, 1_000);
    let speed = world.view(1).fuel_per_second;
    assert_eq!(speed, Some(625_000_000), "half a gigafuel in all but a fifth of a second");
}

/// Each job of a new module, each with a claim that could just be: the speed grew by half with each.
#[test]
fn no_node_is_taken_for_faster_than_any_machine() {
    let mut world = World::settled(&[(1, 1)]);
    for j in 0..30u32 {
        let mut request = request(1);
        request.module = BlobRef { digest: Digest::of(&j.to_be_bytes()), bytes: 1 << 20 };
        world.submit_with(j, request);
        world.pass(2 * SECOND);
        let usage = Usage { fuel: Fuel(20_000_000_000), ..Usage::default() };
        world.finish_with(1, j, 1, Report { usage, compile_us: 1_300 * MILLISECOND, ..Report::default() });
    }
    let speed = world.view(1).fuel_per_second.unwrap();
    assert!(speed <= 16_000_000_000, "{speed}");
}

/// It may have its jobs again, and had left with them for nothing.
#[test]
fn node_that_leaves_with_jobs_answers_for_each_that_another_does() {
    let mut world = World::settled(&[(1, 8)]);
    for j in 0..8 {
        assert_eq!(world.submit(j), [start(j, 1, 1)]);
    }
    world.join(2, 8);
    assert_eq!(world.leave(1).len(), 8);
    assert_eq!(world.join(1, 8), []);
    for j in 0..8 {
        world.finish(2, j, 2);
    }
    assert!(world.view(1).reputation < 300, "{}", world.view(1).reputation);
}
