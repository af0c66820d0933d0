//! Jobs that need a GPU.

use adit_dispatch::{Report, Request};
use adit_protocol::{
    AttemptFailure, Comparison, Fuel, GpuNeed, GpuOffer, JobLimits, Microcredits, NodeOffer, Price, Refusal, UnfitReason, Usage,
};

use crate::world::*;

fn with_gpu(slots: u32) -> NodeOffer {
    NodeOffer { gpu: Some(gpu_offer()), ..offer(slots) }
}

/// A job with up to a second of GPU time.
fn needing(c: u8, need: GpuNeed) -> Request {
    let limits = JobLimits { gpu_ns: 1_000_000_000, ..JobLimits::default() };
    Request { gpu: Some(need), limits, ..request(c) }
}

fn no_gpu(count: u32) -> Refusal {
    Refusal::NoNodeFits { nodes: vec![(UnfitReason::Gpu, count)] }
}

#[test]
fn job_goes_to_the_node_that_has_such_a_gpu_however_far_it_is() {
    let mut world = World::settled(&[(1, 1), (2, 1), (3, 1)]);
    world.join_with(4, with_gpu(1));
    world.rtt(4, 300 * MILLISECOND);
    assert_eq!(world.submit_with(1, needing(1, GpuNeed::default())), [start(1, 1, 4)]);
    assert_eq!(world.decisions[0].unfit, [(UnfitReason::Gpu, 3)]);
}

#[test]
fn node_with_a_gpu_takes_jobs_that_need_none() {
    let mut world = World::settled(&[]);
    world.join_with(1, with_gpu(1));
    assert_eq!(world.submit(1), [start(1, 1, 1)]);
}

#[test]
fn job_that_needs_more_than_any_gpu_gives_is_refused() {
    type Change = fn(&mut GpuNeed);
    let rows: [(Option<UnfitReason>, Change); 9] = [
        (None, |_| {}),
        (Some(UnfitReason::GpuMemory), |need| need.memory.0 += 1),
        (Some(UnfitReason::GpuBuffer), |need| need.buffer.0 += 1),
        (Some(UnfitReason::GpuInvocations), |need| need.invocations += 1),
        (Some(UnfitReason::GpuWorkgroupMemory), |need| need.workgroup_memory += 1),
        // These are the job's own limits, and the same on every node.
        (None, |need| (need.buffers, need.pipelines) = (4_096, 256)),
        (None, |need| need.dispatches = 1 << 32),
        (None, |need| need.workgroups = 1 << 32),
        (None, |need| need.comparison = Comparison::Exact),
    ];
    for (row, (unfit, change)) in rows.into_iter().enumerate() {
        let mut world = World::settled(&[(1, 1)]);
        world.join_with(2, with_gpu(1));
        let mut need = GpuNeed::default();
        change(&mut need);
        let want = match unfit {
            None => start(1, 1, 2),
            Some(reason) => refuse(1, Refusal::NoNodeFits { nodes: vec![(UnfitReason::Gpu, 1), (reason, 1)] }),
        };
        assert_eq!(world.submit_with(1, needing(1, need)), [want], "row {row}");
    }
}

#[test]
fn job_waits_while_the_node_with_the_gpu_is_busy_and_others_pass_it() {
    let mut world = World::settled(&[(1, 1)]);
    world.join_with(2, with_gpu(1));
    assert_eq!(world.submit_with(1, needing(1, GpuNeed::default())), [start(1, 1, 2)]);
    assert_eq!(world.submit_with(2, needing(1, GpuNeed::default())), []);
    let wait = world.wait(2);
    assert_eq!((wait.unfit.as_slice(), wait.full), ([(UnfitReason::Gpu, 1)].as_slice(), 1));
    assert_eq!(world.submit(3), [start(3, 1, 1)]);
    world.pass(SECOND);
    assert_eq!(world.finish(1, 3, 1), [], "it has no GPU");
    assert_eq!(world.finish(2, 1, 1), [start(2, 1, 2)]);
}

#[test]
fn owner_who_switches_the_gpu_off_ends_what_waits_for_it_and_on_again_takes_it_up() {
    let mut world = World::settled(&[]);
    world.join_with(1, with_gpu(1));
    world.pass(3 * SECOND);
    world.submit(1);
    assert_eq!(world.submit_with(2, needing(1, GpuNeed::default())), []);
    // Owners change their minds: the job waits for a moment.
    assert_eq!(world.offer(1, offer(1)), []);
    world.pass(SECOND);
    assert_eq!(world.finish(1, 1, 1), [], "it lends no GPU now");
    assert_eq!(world.offer(1, with_gpu(1)), [start(2, 1, 1)]);
    assert_eq!(world.submit_with(3, needing(1, GpuNeed::default())), []);
    assert_eq!(world.offer(1, offer(1)), []);
    assert_eq!(world.pass(3 * SECOND), [refuse(3, no_gpu(1))]);
    // What runs there is not touched.
    assert_eq!(world.dispatcher.lease(job(2), adit_protocol::Attempt(1)), Some(node(1)));
    assert_eq!(world.submit_with(4, needing(1, GpuNeed::default())), [refuse(4, no_gpu(1))]);
}

/// A stranger's shader that hung a GPU three times ended the job of whoever had it with him.
#[test]
fn gpu_that_is_away_costs_a_job_none_of_its_attempts_and_a_node_little() {
    let mut world = World::settled(&[]);
    world.join_with(1, with_gpu(1));
    world.join_with(2, with_gpu(1));
    world.rtt(2, 300 * MILLISECOND);
    let away = |world: &mut World, n, attempt| world.fail(n, 1, attempt, AttemptFailure::GpuAway("it hung".into()));
    assert_eq!(world.submit_with(1, needing(1, GpuNeed::default())), [start(1, 1, 1)]);
    assert_eq!(away(&mut world, 1, 1), [start(1, 2, 2)], "elsewhere first");
    for attempt in 2..=8 {
        let node = if attempt == 2 { 2 } else { 1 };
        assert_eq!(away(&mut world, node, attempt), [start(1, attempt + 1, 1)]);
    }
    let words = "the GPU of node 01010101 was not there for the job: it hung";
    assert_eq!(away(&mut world, 1, 9), [lost(1, 9, words)], "but not for ever");
    assert_eq!((world.view(1).reputation, world.view(2).reputation), (1_000, 1_000));
    world.offer(1, offer(1));
    world.pass(SECOND);
    assert_eq!((world.view(1).reputation, world.view(2).reputation), (1_000, 960), "and nothing where it is lent no more");
}

/// Who had hung a node's GPU was kept away from the whole node for a minute.
#[test]
fn client_that_is_kept_from_a_gpu_is_welcome_without_one() {
    let mut world = World::settled(&[]);
    world.join_with(1, with_gpu(2));
    world.join_with(2, with_gpu(2));
    world.rtt(1, MILLISECOND);
    assert_eq!(world.submit_with(1, needing(1, GpuNeed::default())), [start(1, 1, 1)]);
    let kept = AttemptFailure::Declined("the client hung the GPU three times".into());
    assert_eq!(world.fail(1, 1, 1, kept.clone()), [start(1, 2, 2)]);
    assert_eq!(world.submit(2), [start(2, 1, 1)], "what needs none is run as ever");
    assert_eq!(world.submit_with(3, needing(1, GpuNeed::default())), [start(3, 1, 2)]);
    // An owner who declines a job without a GPU declines both.
    assert_eq!(world.fail(1, 2, 1, kept), []);
    assert_eq!(world.submit_with(4, needing(2, GpuNeed::default())), [start(4, 1, 1)]);
    world.finish(2, 1, 2);
    assert_eq!(world.view(1).reputation, 1_000);
}

#[test]
fn gpu_time_counts_in_the_price_and_in_the_predicted_time() {
    let price = Price { per_gpu_minute: 60, ..Price::default() };
    let limited = |max| Request { max_price: Some(Microcredits(max)), ..needing(1, GpuNeed::default()) };
    let mut world = World::settled(&[]);
    world.join_with(1, NodeOffer { price, ..with_gpu(1) });
    world.pass(3 * SECOND);
    let too_dear = Refusal::NoNodeFits { nodes: vec![(UnfitReason::Price, 1)] };
    assert_eq!(world.submit_with(1, limited(0)), [refuse(1, too_dear)]);
    // A second of GPU time is the limit: one microcredit.
    assert_eq!(world.submit_with(2, limited(1)), [start(2, 1, 1)]);
    let candidate = world.decisions[0].candidates[0];
    // 10 Gfuel at the guessed speed are ten seconds, and the GPU is waited for besides.
    assert_eq!((candidate.predicted.run_us, candidate.price), (11 * SECOND, Microcredits(1)));
    // What others of the module used is what is expected of the next.
    world.pass(SECOND);
    let usage = Usage { fuel: Fuel(1_000), gpu_ns: 300_000_000, ..Usage::default() };
    world.finish_with(1, 2, 1, Report { usage, ..Report::default() });
    world.submit_with(3, limited(1));
    assert_eq!(world.decisions[1].candidates[0].predicted.run_us, 300_001);
}

/// A guest that waits for its GPU does nothing meanwhile, which says nothing of the machine's speed.
#[test]
fn time_on_a_gpu_makes_no_node_slow() {
    let mut world = World::settled(&[]);
    world.join_with(1, with_gpu(1));
    world.submit_with(1, needing(1, GpuNeed::default()));
    world.pass(10 * SECOND);
    let usage = Usage { fuel: Fuel(100_000_000), gpu_ns: 900_000_000, ..Usage::default() };
    world.finish_with(1, 1, 1, Report { usage, ..Report::default() });
    assert_eq!(world.view(1).fuel_per_second, None);
}

#[test]
fn classes_of_adapters_are_told_apart_by_what_they_give_alone() {
    let mut world = World::settled(&[]);
    let other = GpuOffer { class: "discrete/maker/driver".into(), ..gpu_offer() };
    world.join_with(1, NodeOffer { gpu: Some(other), ..offer(1) });
    assert_eq!(world.submit_with(1, needing(1, GpuNeed::default())), [start(1, 1, 1)]);
}
