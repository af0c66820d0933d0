//! Which node gets a job: candidates from several orders, each with its predicted time and price, and a lot among the best.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use adit_protocol::{
    BlobRef, ByteCount, Candidate, Fuel, JobId, Microcredits, Prediction, Preference, UnfitReason, Usage, Verdict,
    limits::CANDIDATES_MAX,
};

use crate::class::Members;
use crate::history::{Estimate, Short};
use crate::job::{DECLINED_MAX, Job};
use crate::node::{Node, Nodes, Slot};
use crate::reputation::WHOLE;
use crate::summary::{Summary, run_us};
use crate::timer::Tick;

/// Nodes that are looked at in each of the orders. With the best of each, what is not looked at is better in none of distance, speed and
/// price; the search ends before where nothing that is left can be better.
const LOOKS: usize = 5;

/// Nodes that know the module and are looked at besides.
const KNOWING_LOOKS: usize = 5;

/// Nodes that are looked at for no reason, so that one whose numbers are wrong is seen again.
const RANDOM_LOOKS: u64 = 2;

/// Nodes that are looked at where the orders brought too few candidates, in all classes that fit together.
const CLASS_LOOKS: usize = 256;

/// Costs are compared in these parts of a microcredit, as many small jobs cost less than one.
const FINE: u64 = 1_024;

/// Nodes that are passed by because they have another client's jobs and their owners take one at a time, in all classes that fit together.
const LETS_MAX: usize = 4_096;

/// Nodes without room that are looked at for the job of a client which has less than those who wait there.
const CROWDED_LOOKS: usize = 16;

/// A node is about as good as the best where it takes no more than this part longer.
const ABOUT: u128 = 16;

/// Microseconds that a byte of a module takes to compile on a machine of which nothing is known, in thousandths.
const COMPILE_MILLI_US_PER_BYTE: u64 = 400;

/// What is sought.
pub(crate) struct Search<'a> {
    pub(crate) now: Tick,
    pub(crate) nodes: &'a Nodes,
    pub(crate) id: JobId,
    pub(crate) job: &'a Job,
    /// The job's module.
    pub(crate) module: Short,
    pub(crate) estimate: Estimate,
    /// Whether any node holds an attempt of it, be it one that is owed.
    pub(crate) is_held: bool,
    /// Whether a trusted node may have it, once that was asked.
    pub(crate) trusted: OnceCell<bool>,
    /// Whether nodes that failed the job before are ruled out.
    pub(crate) skips_failed: bool,
    /// Whether nodes count that have another client's jobs and whose owner takes one at a time.
    pub(crate) with_let: bool,
    /// Decides all lots of this search.
    pub(crate) lot: u64,
    pub(crate) spread: usize,
}

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The candidates, best first, the chosen one among them.
    pub(crate) candidates: Vec<(Slot, Candidate)>,
    pub(crate) chosen: Option<usize>,
    /// Nodes that were looked at and ruled out.
    pub(crate) unfit: BTreeMap<UnfitReason, u32>,
    ruled_out: Vec<(Slot, UnfitReason)>,
    seen: Vec<Slot>,
    /// How many of those seen had no room.
    crowded: u32,
    /// How many of the candidates had room and were not looked at.
    pub(crate) unseen: u32,
    /// Nodes that have another client's jobs and whose owners take one at a time.
    lets: Vec<Slot>,
    /// Of these, the one with the fewest jobs that could do this one, with how many it has.
    pub(crate) best_let: Option<(u32, Slot)>,
    /// The least time in which a node that only its deadline rules out would have ended the job.
    pub(crate) soonest_us: Option<u64>,
    ranked: Vec<(Rank, Slot, Prediction)>,
}

/// How good a node is for the job: the least is the best. Time and price as the job weighs them, then the other of both, then leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    primary: u128,
    secondary: u64,
    leases: u32,
    key: adit_protocol::PublicKey,
}

impl Found {
    /// With room for as many as a search looks at.
    fn with_room() -> Self {
        Self {
            candidates: Vec::with_capacity(CANDIDATES_MAX),
            seen: Vec::with_capacity(3 * LOOKS + KNOWING_LOOKS + RANDOM_LOOKS as usize),
            ranked: Vec::with_capacity(3 * LOOKS + KNOWING_LOOKS + RANDOM_LOOKS as usize),
            ..Self::default()
        }
    }

    /// Whether something is known of a node by now.
    fn has(&self, slot: Slot) -> bool {
        self.seen.contains(&slot) || self.ruled_out.iter().any(|(other, _)| *other == slot)
    }

    /// How many nodes were met that have another client's jobs and whose owners take one at a time.
    pub(crate) fn let_count(&self) -> u32 {
        self.lets.len() as u32
    }

    /// How many nodes with room were looked at.
    pub(crate) fn seen_count(&self) -> u32 {
        self.seen.len() as u32 - self.crowded
    }

    /// What was found of each node that was looked at, and of some that were not.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = (Slot, Verdict)> {
        let told = self.candidates.iter().map(|(slot, candidate)| (*slot, candidate.verdict));
        let is_untold = |slot: Slot| !self.candidates.iter().any(|(told, _)| *told == slot);
        let untold = self.ruled_out.iter().filter(move |(slot, _)| is_untold(*slot));
        told.chain(untold.map(|(slot, reason)| (*slot, Verdict::Unfit(*reason))))
    }
}

impl Search<'_> {
    /// Looks for the best open node.
    pub(crate) fn run(&self) -> Found {
        self.run_or(|| false)
    }

    /// The same; where there is none and `is_first`, for the best of the full ones where the job would come before all that waits, as it is the
    /// only one of its client there.
    pub(crate) fn run_or(&self, is_first: impl Fn() -> bool) -> Found {
        let mut found = Found::with_room();
        let is_best = self.look_at_orders(&mut found);
        self.look_elsewhere(&mut found);
        if found.ranked.is_empty() || !is_best && self.passes_by(&found) {
            self.look_at_classes(&mut found, |members| &members.open);
        }
        if found.ranked.is_empty() {
            self.look_at_classes(&mut found, |members| &members.barred_open);
        }
        if found.ranked.is_empty() && is_first() {
            self.look_at_crowded(&mut found);
        }
        self.look_at_past(&mut found);
        self.choose(&mut found);
        found
    }

    /// Looks at one node, which has room for the job whose turn it is.
    pub(crate) fn of_one(&self, slot: Slot) -> Found {
        let mut found = Found::default();
        self.consider(slot, &mut found);
        if !found.ranked.is_empty() {
            self.look_at_past(&mut found);
        }
        self.choose(&mut found);
        found
    }

    fn look_at_crowded(&self, found: &mut Found) {
        let is_alone = |slot: &Slot| !self.nodes.at(*slot).has_of(&self.job.client);
        for slot in self.nodes.crowded().take(CROWDED_LOOKS).filter(is_alone) {
            let before = found.seen.len();
            self.consider(slot, found);
            found.crowded += (found.seen.len() - before) as u32;
        }
    }

    /// Notes the nodes that are ruled out because of what they did with this job: they are few, and somebody will ask.
    fn look_at_past(&self, found: &mut Found) {
        let job = self.job;
        for key in job.failed.iter().chain(&job.given_back).chain(job.declined.keys()) {
            let is_new = |slot: &Slot| !found.has(*slot) && self.nodes.at(*slot).is_ready();
            let Some(slot) = self.nodes.slot(key).filter(is_new) else { continue };
            if let Some(reason) = self.unfit(slot) {
                self.rule_out(slot, reason, found);
            }
        }
    }

    /// Goes down the orders side by side, until what is left in them cannot be better than what was found (R. Fagin, A. Lotem, M. Naor,
    /// "Optimal aggregation algorithms for middleware", 2003: the threshold algorithm). Says whether it came that far.
    fn look_at_orders(&self, found: &mut Found) -> bool {
        let (mut near, mut fast, mut cheap) = (self.nodes.near(), self.nodes.fast(), self.nodes.cheap());
        for _ in 0..LOOKS {
            let (Some(nearest), Some(fastest), Some(cheapest)) = (near.next(), fast.next(), cheap.next()) else { return true };
            for (_, slot) in [nearest, fastest, cheapest] {
                self.consider(slot, found);
            }
            let run_us = run_us(self.estimate.usage.fuel.0, fastest.0).saturating_add(gpu_us(&self.estimate.usage));
            let time_us = nearest.0.saturating_add(run_us);
            let price = adit_protocol::Price { per_compute_minute: cheapest.0, ..Default::default() };
            let fine = fine_cost(&price, &Usage { fuel: self.estimate.usage.fuel, ..Usage::default() });
            let bound = weigh(self.job.ask.prefer, time_us, fine).0;
            let good = found.ranked.iter().filter(|(rank, ..)| rank.primary <= bound).count();
            if good >= self.spread {
                return true;
            }
        }
        false
    }

    /// Whether going down the orders of all has met nodes whose offers do not fit or that others have, and there may be better ones behind those which are found by
    /// their classes. Where more classes may fit than would be looked at, that is left.
    fn passes_by(&self, found: &Found) -> bool {
        let has_passed = !found.lets.is_empty() || found.unfit.keys().any(is_of_offer);
        has_passed && self.nodes.classes().count_carrying(&self.job.demand) <= CLASS_LOOKS
    }

    /// Looks at the nearest nodes of each class that fits: a job that few nodes fit is not found by going down the orders of all.
    fn look_at_classes(&self, found: &mut Found, open: impl Fn(&Members) -> &BTreeSet<(u64, Slot)>) {
        let (mut left, mut lets_left) = (CLASS_LOOKS, LETS_MAX);
        for (_, members) in self.nodes.classes().fitting(&self.job.demand) {
            let before = found.ranked.len();
            for (_, slot) in open(members) {
                // An idle one is to be found behind however many others have.
                let of_these = if self.is_let(*slot) { &mut lets_left } else { &mut left };
                if *of_these == 0 {
                    break;
                }
                *of_these -= 1;
                self.consider(*slot, found);
                if found.ranked.len() > before {
                    break;
                }
            }
        }
    }

    /// Looks at nodes that stand anywhere in the orders: some that know the module, and some for no reason.
    fn look_elsewhere(&self, found: &mut Found) {
        let places = self.nodes.places();
        let knowing = self.nodes.knowing(self.module, self.lot as u32 % places.max(1)).take(KNOWING_LOOKS);
        let any = (0..RANDOM_LOOKS).filter_map(|n| self.nodes.any(mix(self.lot ^ n)));
        let slots: Vec<(Slot, bool)> = knowing.map(|slot| (slot, true)).chain(any.map(|slot| (slot, false))).collect();
        // All are asked before anything is made of an answer, so that the processor waits for their memory once and not for each.
        let are_open: Vec<bool> = slots.iter().map(|(slot, _)| self.nodes.summary(*slot).is_open()).collect();
        for ((slot, is_knowing), _) in slots.into_iter().zip(are_open).filter(|(_, is_open)| *is_open) {
            self.consider_as(slot, || is_knowing || self.nodes.knows(slot, self.module), found);
        }
    }

    fn consider(&self, slot: Slot, found: &mut Found) {
        self.consider_as(slot, || self.nodes.knows(slot, self.module), found);
    }

    fn consider_as(&self, slot: Slot, knows_module: impl FnOnce() -> bool, found: &mut Found) {
        if found.seen.contains(&slot) {
            return;
        }
        if self.is_let(slot) {
            return self.pass_let(slot, found);
        }
        found.seen.push(slot);
        if self.is_held && self.nodes.at(slot).holds(self.id) {
            return;
        }
        if let Some(reason) = self.unfit(slot) {
            return self.rule_out(slot, reason, found);
        }
        let summary = self.nodes.summary(slot);
        let predicted = self.predict(slot, knows_module());
        let total_us = predicted.total_us();
        if self.job.deadline.is_some_and(|deadline| self.now.after(total_us) > deadline) {
            found.soonest_us = Some(found.soonest_us.map_or(total_us, |soonest| soonest.min(total_us)));
            return self.rule_out(slot, UnfitReason::Deadline, found);
        }
        let fine = fine_cost(&summary.price, &self.estimate.usage);
        let reputation = if summary.has_record { self.nodes.at(slot).reputation(self.now) } else { WHOLE };
        let (primary, secondary) = weigh(self.job.ask.prefer, doubted(total_us, reputation), fine);
        found.ranked.push((Rank { primary, secondary, leases: summary.leases, key: summary.key }, slot, predicted));
    }

    /// Whether any trusted node fits, takes jobs, and neither had this one nor is out of the question for it.
    fn has_trusted(&self) -> bool {
        *self.trusted.get_or_init(|| {
            let (job, demand) = (self.job, &self.job.demand);
            let is_trusted = |node: &Node| node.is_ready() && !node.is_barred() && node.fits(demand);
            // Few enough to ask each of them about its owner, too: where none else would have the job, it would wait for nobody.
            if self.nodes.count() <= DECLINED_MAX {
                let had = |node: &Node| job.had(&node.key) || job.declined.contains_key(&node.key);
                return self.nodes.iter().any(|node| is_trusted(node) && !had(node) && !node.declines(self.now, job));
            }
            let trusted = self.nodes.classes().fitting(demand).map(|(_, members)| members.trusted()).sum::<u32>();
            let others = job.given_back.iter().chain(job.declined.keys()).filter(|key| !job.failed.contains(key));
            let had: BTreeSet<_> = job.failed.iter().chain(others).collect();
            let gone = had.into_iter().filter(|key| self.nodes.get(key).is_some_and(is_trusted)).count();
            u64::from(trusted) > gone as u64
        })
    }

    fn pass_let(&self, slot: Slot, found: &mut Found) {
        // More need not be told of.
        if found.lets.len() >= CLASS_LOOKS || found.lets.contains(&slot) {
            return;
        }
        found.lets.push(slot);
        let leases = self.nodes.summary(slot).leases;
        let is_in_time = || self.job.deadline.is_none_or(|deadline| self.now.after(self.needed_us(slot)) <= deadline);
        if found.best_let.is_none_or(|(least, _)| leases < least) && self.unfit(slot).is_none() && is_in_time() {
            found.best_let = Some((leases, slot));
        }
    }

    /// Whether a node has another client's jobs, and its owner takes one at a time.
    fn is_let(&self, slot: Slot) -> bool {
        !self.with_let && self.nodes.summary(slot).has_record && self.nodes.at(slot).is_let_to_another(&self.job.client)
    }

    fn rule_out(&self, slot: Slot, reason: UnfitReason, found: &mut Found) {
        *found.unfit.entry(reason).or_insert(0) += 1;
        found.ruled_out.push((slot, reason));
    }

    /// The first thing that rules a node out, whatever the job would take there.
    fn unfit(&self, slot: Slot) -> Option<UnfitReason> {
        let (job, Summary { key, is_barred, has_record, .. }) = (self.job, self.nodes.summary(slot));
        if let Some(reason) = job.demand.unfit(&self.nodes.summary(slot).offered(), || &self.nodes.at(slot).class) {
            return Some(reason);
        }
        if *has_record && self.nodes.at(slot).declines(self.now, job) {
            return Some(UnfitReason::Declined);
        }
        if let Some(reason) = job.declined.get(key) {
            return Some(*reason);
        }
        if self.skips_failed && job.had(key) {
            return Some(UnfitReason::FailedBefore);
        }
        // Better than nothing, and worse than waiting for a better one.
        if *is_barred && self.has_trusted() {
            return Some(UnfitReason::Reputation);
        }
        None
    }

    fn predict(&self, slot: Slot, knows_module: bool) -> Prediction {
        let (ask, summary) = (&self.job.ask, self.nodes.summary(slot));
        let module_bytes = if knows_module { 0 } else { ask.module.bytes };
        let compile_us = || {
            let guess = ask.module.bytes.saturating_mul(COMPILE_MILLI_US_PER_BYTE) / 1_000;
            self.estimate.compile_us.unwrap_or(guess)
        };
        Prediction {
            rtt_us: summary.line.rtt_us,
            queue_us: summary.queue_us,
            fetch_us: summary.line.fetch_us(module_bytes.saturating_add(fetched_bytes(&ask.fetched, slot, self.nodes))),
            compile_us: if knows_module { 0 } else { compile_us() },
            run_us: summary.run_us(self.estimate.usage.fuel.0).saturating_add(gpu_us(&self.estimate.usage)),
        }
    }

    /// What a node would take from now on for the job, if it were at nothing else.
    pub(crate) fn needed_us(&self, slot: Slot) -> u64 {
        Prediction { queue_us: 0, ..self.predict(slot, self.nodes.knows(slot, self.module)) }.total_us()
    }

    /// What the job takes at the least, whoever gets it: its run, on the fastest of all nodes.
    pub(crate) fn least_us(&self) -> Option<u64> {
        let run_us = run_us(self.estimate.usage.fuel.0, self.nodes.fastest()?);
        Some(run_us.saturating_add(gpu_us(&self.estimate.usage)))
    }

    /// Draws among the best ones that are about as good as the best, and notes what became of each.
    fn choose(&self, found: &mut Found) {
        found.ranked.sort_unstable_by_key(|(rank, ..)| *rank);
        found.ranked.truncate(CANDIDATES_MAX);
        let equals = self.about_as_good(&found.ranked);
        let drawn = equals.get((mix(self.lot) % equals.len().max(1) as u64) as usize).copied();
        for (at, (rank, slot, predicted)) in found.ranked.iter().enumerate() {
            let verdict = match at {
                at if Some(at) == drawn => Verdict::Chosen,
                at if equals.contains(&at) => Verdict::NotDrawn,
                _ => Verdict::Worse,
            };
            let Summary { key, price, .. } = *self.nodes.summary(*slot);
            let score = match self.job.ask.prefer {
                Preference::Fast => rank.primary,
                Preference::Balanced => rank.primary.isqrt(),
                Preference::Cheap => rank.primary.div_ceil(u128::from(FINE)),
            };
            let price = Microcredits(fine_cost(&price, &self.estimate.usage).div_ceil(FINE));
            let score = u64::try_from(score).unwrap_or(u64::MAX);
            found.candidates.push((*slot, Candidate { node: key, predicted: *predicted, price, score, verdict }));
        }
        found.chosen = drawn;
        self.add_ruled_out(found);
    }

    /// Nodes that were ruled out are told of too, as far as there is room; and where few are connected, those that were not looked at.
    fn add_ruled_out(&self, found: &mut Found) {
        let ruled_out = found.ruled_out.iter().map(|(slot, reason)| (*slot, Verdict::Unfit(*reason)));
        let others = self.nodes.few(CANDIDATES_MAX).filter(|slot| !found.has(*slot));
        let others = others.map(|slot| (slot, self.verdict_unseen(slot)));
        let room = CANDIDATES_MAX - found.candidates.len();
        let added: Vec<_> = ruled_out.chain(others).take(room).collect();
        for (slot, verdict) in added {
            found.unseen += u32::from(verdict == Verdict::Worse);
            let Summary { key, price, .. } = *self.nodes.summary(slot);
            let price = Microcredits(fine_cost(&price, &self.estimate.usage).div_ceil(FINE));
            let predicted = self.predict(slot, self.nodes.knows(slot, self.module));
            found.candidates.push((slot, Candidate { node: key, predicted, price, score: u64::MAX, verdict }));
        }
    }

    fn verdict_unseen(&self, slot: Slot) -> Verdict {
        let unfit = if self.nodes.at(slot).is_ready() { self.unfit(slot) } else { Some(UnfitReason::NotReady) };
        match unfit {
            Some(reason) => Verdict::Unfit(reason),
            None if self.nodes.summary(slot).is_open() && !self.is_let(slot) => Verdict::Worse,
            None => Verdict::Full,
        }
    }

    /// Which of the ranked nodes are about as good as the first. Where the fuel is not known, the time that it takes is the limit's and
    /// says little, so what counts as about the same must be about the same without it.
    fn about_as_good(&self, ranked: &[(Rank, Slot, Prediction)]) -> Vec<usize> {
        let Some((best, _, predicted)) = ranked.first() else { return Vec::new() };
        let total = u128::from(predicted.total_us().max(1));
        let certain = if self.estimate.is_known { total } else { total.saturating_sub(predicted.run_us.into()) };
        let (time, prefer) = (certain / ABOUT, self.job.ask.prefer);
        let margin = match prefer {
            Preference::Fast => time,
            // A product with time grows by the part that time grows by.
            Preference::Balanced => best.primary / total * time,
            Preference::Cheap => 0,
        };
        let close = ranked.iter().enumerate().take_while(|(_, (rank, ..))| rank.primary <= best.primary.saturating_add(margin));
        let cheapest = ranked[..close.clone().count()].iter().map(|(rank, ..)| rank.secondary).min().unwrap_or(0);
        let is_as_good = |rank: &Rank| match prefer {
            Preference::Fast => rank.secondary == cheapest,
            Preference::Balanced => true,
            Preference::Cheap => u128::from(rank.secondary) <= u128::from(best.secondary) + time,
        };
        close.filter(|(_, (rank, ..))| is_as_good(rank)).map(|(at, _)| at).take(self.spread.max(1)).collect()
    }
}

/// Whether it is what a node offers that rules it out.
fn is_of_offer(reason: &UnfitReason) -> bool {
    use UnfitReason::{Deadline, Declined, FailedBefore, NotReady, Reputation};
    !matches!(reason, Deadline | Declined | FailedBefore | NotReady | Reputation)
}

/// Bytes of some blobs that a node is thought to have to fetch.
pub(crate) fn fetched_bytes<'a>(blobs: impl IntoIterator<Item = &'a BlobRef>, slot: Slot, nodes: &Nodes) -> u64 {
    let fetched = blobs.into_iter().filter(|blob| !nodes.knows(slot, Short::of(&blob.digest)));
    fetched.map(|blob| blob.bytes).fold(0, u64::saturating_add)
}

/// Time and price as a job weighs them.
fn weigh(prefer: Preference, time_us: u64, fine: u64) -> (u128, u64) {
    match prefer {
        Preference::Fast => (time_us.into(), fine),
        // The price of nothing weighs as a part of the least that a job can cost, so that time decides between nodes that ask nothing.
        Preference::Balanced => (u128::from(time_us) * (u128::from(fine) + 1), time_us),
        Preference::Cheap => (fine.into(), time_us),
    }
}

/// A predicted time, made longer for a node whose word and work did not always hold: twice as long at no reputation.
fn doubted(time_us: u64, reputation: u16) -> u64 {
    let doubt = u64::from(WHOLE - reputation.min(WHOLE));
    time_us.saturating_add((u128::from(time_us) * u128::from(doubt) / u128::from(WHOLE)) as u64)
}

/// What a usage costs, in parts of a microcredit.
fn fine_cost(price: &adit_protocol::Price, usage: &Usage) -> u64 {
    let scaled = Usage {
        fuel: Fuel(usage.fuel.0.saturating_mul(FINE)),
        memory_fuel: usage.memory_fuel.saturating_mul(FINE.into()),
        bytes_in: ByteCount(usage.bytes_in.0.saturating_mul(FINE)),
        bytes_out: ByteCount(usage.bytes_out.0.saturating_mul(FINE)),
        gpu_ns: usage.gpu_ns.saturating_mul(FINE),
        ..Usage::default()
    };
    price.cost(&scaled).map_or(u64::MAX, |cost| cost.0)
}

/// Microseconds that a guest waits for its GPU. Which adapter it is makes a difference that nothing here knows of.
pub(crate) fn gpu_us(usage: &Usage) -> u64 {
    usage.gpu_ns / 1_000
}

/// A number that looks like chance (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014: SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
