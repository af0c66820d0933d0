//! Makes NaN bits the same on every machine, at a fraction of what the engine's own canonicalisation costs.
//!
//! # What is promised
//! The *reference* is the original module under an engine that replaces every NaN that arithmetic makes, at once, by the *canonical*
//! one: positive, quiet, no payload (wasmtime's `cranelift_nan_canonicalization`). The rewritten module, on any engine that keeps to
//! the specification, gives the same bits as the reference wherever the guest or the host looks: in memory, globals, integers, in what
//! is passed to a function and what it returns. That holds under two conditions: relaxed SIMD is refused, because its results are free
//! in more than NaN bits, and host functions give the same results for the same arguments.
//!
//! # Why it is cheap
//! The specification leaves NaN bits free for arithmetic alone: `add sub mul div sqrt min max ceil floor trunc nearest promote demote`,
//! scalar and SIMD. Everything else moves or changes bits in one defined way. And arithmetic, comparisons and conversions to integers
//! do not look at the bits of a NaN. So a chain of arithmetic is left alone, and its end is canonicalised where bits are looked at. There
//! a scalar costs a comparison and a branch that is not taken ([`mend`]), and several that are stored side by side share them ([`group`]).
//!
//! # Why it is right
//! For each value of the rewritten module and the same value of the reference, relations are tracked ([`facts::Facts`]):
//!
//! - *exact*: they have the same bits;
//! - *raw* in lanes of 32 or 64 bits: canonicalising each lane of ours gives the reference's bits;
//! - *loose* in lanes of 32 or 64 bits: each lane is the same in both, or a NaN in both.
//!
//! Exact implies loose, raw implies loose in the same lanes; raw and exact do not imply each other: a NaN with a payload that was
//! loaded is exact, but canonicalising it would be wrong. A scalar is one lane. The proof is an induction over the steps of a run: if
//! all values so far are related as tracked, then so is what the next operator makes, and both runs go on at the same place.
//!
//! - *Arithmetic* needs operands that are loose in the lanes that it works on. It then makes numbers in the same lanes in both, and
//!   NaNs in the same lanes; the reference's are canonical. So its result is raw, whatever NaNs this machine prefers.
//! - *Comparisons and conversions to integers* need loose operands too, and make, or trap on, the same.
//! - *Conversions from integers, and constants* without NaNs or with the canonical one, are exact and raw at once.
//! - *Moves* (`select`, variables, labels, splat, shuffle, lanes) hold what all their parts hold: the intersection. Where pieces are
//!   moved, what is known must be known of pieces of this size; a shuffle of bytes keeps exactness alone.
//! - *`abs`* is a move: the canonical NaN is positive. *`neg`* is not: it makes the reference's NaN negative, so that rawness ends.
//!   `copysign` takes its number like `neg`, and looks at the bits of the sign's owner. `pmin` and `pmax` select, after comparing.
//! - *All other operators* look at bits: operands need to be exact, results are exact. Calls are among them, so that parameters and
//!   results are exact without a look at other functions; hosts see exact values.
//!
//! A value that is needed exact and is raw is canonicalised, after which it is exact. A value that is needed, and would be neither,
//! because its parts differ (a loaded value in one arm, a computed one in the other), is *forced*: its raw parts are canonicalised
//! where they enter. Needs are spread against the flow of values first, so that each part of a value is itself exact or raw if it may
//! have to be made exact, and loose if only numbers are looked at: see [`graph`]. A variable that is reassigned by arithmetic in a loop
//! thus costs nothing, though its first value was a parameter, as long as only arithmetic reads it.
//!
//! Values are tracked per definition, in static single assignment form: [`flow`]. Code that cannot be reached is left alone, since it
//! has no runs. Canonicalising a raw value at other places than needed does no harm, as it then is both raw and exact; this allows to
//! do it once where the value is made, or before a loop.
//!
//! Between the stores that share a test, memory has raw values where the reference has canonical ones. No step reads or overwrites these
//! bytes, traps, branches or leaves the function until they are canonicalised in place, each by the value that was stored, so that the
//! induction takes the whole line of steps as one: before and after it memory is the same as the reference's.
//!
//! Both time and memory are linear in the body. A body whose graph would be too large is canonicalised like the reference does.

mod facts;
mod flow;
mod graph;
mod group;
mod mend;
mod operators;
#[cfg(test)]
mod rewrite;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use wasmparser::Operator;

use super::body::{Body, Signatures, Step};
use facts::Lanes;
use graph::{Form, Holder, Insertion};
use group::Group;
pub(super) use mend::Mend;

/// The NaN that stands for all that arithmetic makes: positive, quiet, no payload.
const CANONICAL_32: u32 = 0x7fc0_0000;
/// The same in 64 bits.
const CANONICAL_64: u64 = 0x7ff8_0000_0000_0000;

/// Makes NaN bits the same on every machine. The module must have been validated, without relaxed SIMD.
pub(crate) fn canonicalise(body: &mut Body<'_>, signatures: &Signatures) {
    // Most functions make no float.
    if !body.steps.iter().any(|step| made_lanes(&step.op).is_some()) {
        return;
    }
    let insertions = match flow::follow(body, signatures) {
        Some(graph) => graph.solve(),
        None => after_arithmetic(body),
    };
    insert(body, &insertions);
}

/// Canonicalises whatever arithmetic makes, at once, so that all values are exact.
fn after_arithmetic(body: &Body<'_>) -> Vec<Insertion> {
    let made = body.steps.iter().enumerate().filter_map(|(step, Step { op, .. })| {
        let (lanes, vector) = made_lanes(op)?;
        Some(Insertion { step: step as u32 + 1, holder: Holder::Top, form: Form::new(lanes, vector) })
    });
    made.collect()
}

/// In which lanes an operator makes floats by arithmetic, and whether of a vector.
fn made_lanes(op: &Operator<'_>) -> Option<(Lanes, bool)> {
    match operators::effect(op)?.makes {
        operators::Makes::Arithmetic { lanes, vector } => Some((lanes, vector)),
        _ => None,
    }
}

/// Rebuilds a body with canonicalisations, which are sorted by step.
fn insert(body: &mut Body<'_>, insertions: &[Insertion]) {
    if insertions.is_empty() {
        return;
    }
    let mut mends = Mends { body, scratch: HashMap::new(), found: Vec::new() };
    let groups = group::groups(mends.body, insertions);
    groups.iter().for_each(|group| mends.add_group(group));
    let grouped: HashSet<u32> = groups.iter().flat_map(|group| &group.stores).map(|(step, _)| *step).collect();
    let alone = insertions.iter().filter(|one| one.holder != Holder::Top || !grouped.contains(&one.step));
    alone.for_each(|insertion| mends.add(*insertion));
    let mut found = mends.found;
    // A stable sort: a group is tested before the next one needs its locals.
    found.sort_by_key(|(step, _)| *step);
    let steps = std::mem::take(&mut body.steps);
    let mut rebuilt = Vec::with_capacity(steps.len() + found.len());
    let mut found = found.into_iter().peekable();
    for (at, step) in steps.into_iter().enumerate() {
        while let Some((_, mend)) = found.next_if(|(step, _)| *step as usize == at) {
            rebuilt.push(Step::mend(mend));
        }
        rebuilt.push(step);
    }
    body.steps = rebuilt;
}

/// What is to be done, each before a step.
struct Mends<'b, 'a> {
    body: &'b mut Body<'a>,
    /// Locals that were needed, by what they hold.
    scratch: HashMap<(Form, usize), u32>,
    found: Vec<(u32, Mend)>,
}

impl Mends<'_, '_> {
    fn add(&mut self, Insertion { step, holder, form }: Insertion) {
        let mend = match holder {
            Holder::Local(local) => Mend::Local { local, form },
            Holder::Top => Mend::Top { scratch: self.scratch(form, group::STORES_MAX), form },
        };
        self.found.push((step, mend));
    }

    fn add_group(&mut self, Group { form, stores, test }: &Group) {
        let mut kept = Vec::with_capacity(stores.len());
        for (n, (step, stored)) in stores.iter().enumerate() {
            let local = self.scratch(*form, n);
            self.found.push((*step, Mend::Keep(local)));
            kept.push((*stored, local));
        }
        let sum = self.scratch(*form, group::STORES_MAX);
        self.found.push((*test, Mend::Stored { form: *form, sum, stores: kept }));
    }

    fn scratch(&mut self, form: Form, n: usize) -> u32 {
        let body = &mut *self.body;
        *self.scratch.entry((form, n)).or_insert_with(|| body.add_local(form.ty()))
    }
}
