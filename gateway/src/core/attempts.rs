//! What an attempt may cost, what its receipt must be, and what is paid for it. A job has several where nodes are lost, where owners take
//! their machines back, and where it is hedged. Each is paid out of what is held for it, and all together cost no more than the client's price
//! limit, or than three times the dearest.

use std::time::Duration;

use adit_dispatch::{Event, GIVEN_BACK_MAX, Report};
use adit_ledger::{Entry, Hold, Operation};
use adit_protocol::limits::{INLINE_BYTES_MAX, REASON_BYTES_MAX};
use adit_protocol::{
    Attempt, AttemptFailure, BlobRef, JobEvent, JobId, JobLimits, JobResult, KnownRoots, Microcredits, NodeOffer, PublicKey,
    SignedReceipt, UnixMillis, UnpaidAttempt, VerifiedReceipt,
};
use adit_transport::BlobPin;

use super::{Core, LOG_BYTES_MAX, truncate};
use crate::clock::wall_time;
use crate::job::{Contest, Job, Live, Out, Stage};
use crate::peer::LinkId;
use crate::purse::shown;
use crate::{settle, times};

/// Nodes whose refused receipts are counted.
const REFUSED_NODES_MAX: usize = 16_384;

/// How long the ledger holds credits for a job beyond all the times that it may take. A hold that nobody ended
/// is given back then.
const HOLD_MARGIN_MS: u64 = 24 * 60 * 60 * 1000;

/// What an attempt may take beyond the times that the client allowed, with room to spare: a node's grace, and the answer to a stop.
const ATTEMPT_MARGIN_MS: u64 = 60 * 60 * 1000;

/// What all attempts of a job may cost together, in times of the dearest of them, where its client set no price limit. 3: a hedge is worth
/// two at once, and who is cut short again and again must not pay for ever.
const ATTEMPTS_WORTH: u64 = 3;

/// What a client's log has of a node's words on why it declines a job. The log's limit is for what the job itself says.
const DECLINED_BYTES_MAX: usize = 200;

/// The line's end, and that of the line before it.
const LINE_ENDS_BYTES: usize = 2;

/// Why an attempt is not paid for.
#[derive(Debug, Clone, Copy)]
pub(super) struct TooDear {
    /// The most that one may cost now.
    pub(super) affordable: Microcredits,
    /// Whether the job allows no more, whatever its client has.
    pub(super) is_all_it_allows: bool,
}

/// A receipt that holds, with what came beside it.
struct Checked {
    receipt: VerifiedReceipt,
    reason: String,
    output: Option<Vec<u8>>,
    /// Keeps a large output.
    pin: Option<BlobPin>,
}

/// Before an attempt begins.
impl Core {
    /// Has the ledger hold the most that an attempt can cost on its node, beside what others that are out can.
    ///
    /// # Errors
    /// Where the client has not got that or does not allow it.
    pub(super) fn put_aside(&mut self, id: JobId, attempt: Attempt, node: PublicKey) -> Result<(), TooDear> {
        let (Some(job), Some(peer)) = (self.jobs.get_mut(&id), self.nodes.get(&node)) else { return Ok(()) };
        let Stage::Live(live) = &mut job.stage else { return Ok(()) };
        // Those whose node was lost promise nothing any more.
        live.out.retain(|out| self.dispatcher.lease(id, out.attempt) == Some(out.node));
        let (client, reserved, limits) = (job.client, live.reserved, live.spec.limits);
        let promised = peer.offer.price.cost_max(&limits, live.spec.bytes_in().0).unwrap_or(Microcredits(u64::MAX));
        let gpu_class = live.spec.gpu.and(peer.offer.gpu.as_ref()).map(|gpu| gpu.class.clone());
        let others = live.promised();
        let needed = Microcredits(others.0.saturating_add(promised.0));
        let dearest = live.dearest.max(promised);
        let most = live.spec.max_price.unwrap_or(Microcredits(dearest.0.saturating_mul(ATTEMPTS_WORTH)));
        // What costs nothing is within any limit: a gateway before may have known of a dearer attempt.
        if promised.0 > 0 && needed.0.saturating_add(live.paid.0) > most.0 {
            let left = most.0.saturating_sub(live.paid.0).saturating_sub(others.0);
            // Beside another attempt there may be more once that has ended.
            return Err(TooDear { affordable: Microcredits(left), is_all_it_allows: others.0 == 0 });
        }
        // Dearer than the cheapest that was here when the job came, or one attempt beside another.
        if let Some(more) = needed.0.checked_sub(reserved.0).filter(|more| *more > 0) {
            if self.afford(client, Microcredits(more)).is_err() {
                let payable = reserved.0.saturating_add(self.payable(&client).0);
                return Err(TooDear { affordable: Microcredits(payable.saturating_sub(others.0)), is_all_it_allows: false });
            }
            self.purses.add(&client, -i128::from(more));
        }
        let since = self.clock.now();
        let Some(Job { stage: Stage::Live(live), past, .. }) = self.jobs.get_mut(&id) else { return Ok(()) };
        live.reserved = reserved.max(needed);
        (live.dearest, past.dearest) = (dearest, dearest);
        live.out.push(Out { attempt, node, promised, gpu_class, since });
        if live.held.is_none_or(|held| held < needed) {
            live.held = Some(needed);
            let expires = UnixMillis(self.clock.undisturbed().0.saturating_add(hold_time_ms(&limits, &self.limits)));
            // Not news that anybody waits for: a short job's hold goes with its receipt, in one commit instead of two.
            self.unrecorded.push_back(Operation::Hold(Hold { job: id, customer: client, amount: needed, expires }));
        }
        Ok(())
    }

    /// What a client can pay beside what is reserved for its jobs; a new key, what it would be welcomed with.
    fn payable(&self, client: &PublicKey) -> Microcredits {
        let Ok(available) = self.purses.available(client, &self.reader) else { return Microcredits(0) };
        let welcome = if self.is_new(client).unwrap_or(false) { self.welcome } else { Microcredits(0) };
        shown(available).max(welcome)
    }

    /// Adds to what a client can pay. Jobs of it that wait for that are tried when the dispatcher is followed next: by then what frees it has to
    /// be on its way to the ledger, before their holds.
    pub(super) fn refund(&mut self, client: PublicKey, amount: i128) {
        self.purses.add(&client, amount);
        if amount > 0 {
            self.dispatcher.handle(self.clock.now(), Event::Funded { client });
        }
    }
}

/// When an attempt ended.
impl Core {
    pub(super) fn finished(
        &mut self,
        node: PublicKey,
        known: &mut KnownRoots,
        receipt: SignedReceipt,
        reason: String,
        output: Option<Vec<u8>>,
    ) -> Result<(), String> {
        let (id, attempt) = (receipt.receipt.job, receipt.receipt.attempt);
        if !self.has_lease(node, id, attempt) {
            self.count_refused(node);
            return Err(format!("its receipt was refused: it has no lease of attempt {attempt} of job {id}"));
        }
        if !self.awaits(node, id, attempt) {
            // It ends no job, but the node's slot is free again.
            self.note_unpaid(node, id, attempt, "the job was taken back before the receipt came");
            self.dispatch(Event::AttemptFinished { node, job: id, attempt, report: Report::default() });
            return Ok(());
        }
        match self.check(node, known, receipt, reason, output) {
            Err(fault) => self.refuse_receipt(node, id, attempt, &fault),
            Ok(checked) if self.dispatcher.is_loser(&node, id, attempt) => self.pay_loser(node, id, attempt, checked),
            Ok(checked) if checked.receipt.receipt().outcome.is_interim() => self.pay_preempted(node, id, attempt, checked),
            Ok(checked) => self.pay_outcome(node, id, attempt, checked),
        }
        Ok(())
    }

    /// Takes in that a node says that an attempt came to nothing.
    pub(super) fn failed(&mut self, node: PublicKey, id: JobId, attempt: Attempt, failure: AttemptFailure) -> Result<(), String> {
        if !self.has_lease(node, id, attempt) {
            // Whose attempt it is has not said that it failed: nothing of it is given up.
            return Err(format!("it reported a failure and has no lease of attempt {attempt} of job {id}"));
        }
        let failure = self.check_failure(id, failure);
        if failure.may_have_cost() {
            self.note_unpaid(node, id, attempt, &failure.to_string());
        }
        self.attempt_failed(node, id, attempt, failure);
        Ok(())
    }

    /// Whether a node has an attempt to report. It keeps each lease until it has said how that ended, also one that was stopped, has
    /// lost or was taken back, so no honest one reports on another.
    fn has_lease(&self, node: PublicKey, id: JobId, attempt: Attempt) -> bool {
        self.dispatcher.leases(&node).any(|lease| lease == (id, attempt))
    }

    fn refuse_receipt(&mut self, node: PublicKey, id: JobId, attempt: Attempt, fault: &str) {
        let refused = self.count_refused(node);
        tracing::warn!(job = %id, %node, fault, refused, "a receipt was refused");
        let fault = format!("its receipt was refused: {fault}");
        self.note_unpaid(node, id, attempt, &fault);
        self.dispatch(Event::ReceiptRefused { node });
        self.attempt_failed(node, id, attempt, AttemptFailure::Node(fault));
    }

    /// Takes in that an attempt came to nothing, be it the only one, one of two, or one that has lost.
    fn attempt_failed(&mut self, node: PublicKey, id: JobId, attempt: Attempt, failure: AttemptFailure) {
        let has_lost = self.dispatcher.is_loser(&node, id, attempt);
        if let Some(live) = self.jobs.get_mut(&id).and_then(|job| job.stage.live_mut()) {
            live.out.retain(|out| (out.attempt, out.node) != (attempt, node));
        }
        if let AttemptFailure::Declined(why) = &failure {
            self.tell_declined(node, id, why);
        }
        self.dispatch(Event::AttemptFailed { node, job: id, attempt, failure });
        if has_lost {
            self.loser_gone(id, attempt);
            self.follow();
        }
    }

    /// Tells a client in its job's log why a node declined it. A refusal only counts those that did, and who is kept from a GPU for what its
    /// own work did is to hear of that. Like jobs do not come to the node for a while then, so only the first is told.
    fn tell_declined(&mut self, node: PublicKey, id: JobId, why: &str) {
        let Some(job) = self.jobs.get(&id) else { return };
        let Stage::Live(live) = &job.stage else { return };
        let mut why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        truncate(&mut why, DECLINED_BYTES_MAX);
        let line = format!("[adit] node {node} declined: {why}");
        if self.log_bytes + line.len() + LINE_ENDS_BYTES <= LOG_BYTES_MAX {
            self.log_bytes += job.log.append_line(&line, live.spec.limits.log.0);
        }
    }

    /// Pays for an attempt that ends its job, once others that are out have been paid or given up. Where none is, before its slot is free: the
    /// job that gets the slot may be one that waits for the credits that come back.
    fn pay_outcome(&mut self, node: PublicKey, id: JobId, attempt: Attempt, checked: Checked) {
        let Checked { receipt, reason, output, pin } = checked;
        let queue_us = self.dispatcher.waited_us(id).unwrap_or(0);
        let finished = Event::AttemptFinished { node, job: id, attempt, report: report(&receipt) };
        let rtt_us = self.rtt_us(&node);
        let signed = Box::new(receipt.signed().clone());
        let result = JobResult::Done { receipt: signed, reason: reason.clone(), output: output.clone(), queue_us, rtt_us };
        if let Some(job) = self.jobs.get_mut(&id) {
            job.tell(&JobEvent::Ended(result.clone()));
            job.log.end();
        }
        let entry = Box::new(Entry { receipt, settled: wall_time(), reason, output, queue_us, rtt_us });
        let stage = Stage::Done { result, output: pin, settlement: None, contest: None };
        if let Some(mut live) = self.end(id, stage) {
            let is_out = |out: &Out| self.dispatcher.lease(id, out.attempt) == Some(out.node);
            live.out.retain(|out| out.attempt != attempt && is_out(out));
            if live.out.is_empty() {
                self.settle(id, &live, entry);
            } else if let Some(Job { stage: Stage::Done { contest, .. }, .. }) = self.jobs.get_mut(&id) {
                *contest = Some(Box::new(Contest { live, winner: entry }));
            }
        }
        self.dispatch(finished);
    }

    /// Hands the receipt that ends a job to the ledger, and gives the client back what the job did not cost.
    fn settle(&mut self, id: JobId, live: &Live, entry: Box<Entry>) {
        if let Some(client) = self.jobs.get(&id).map(|job| job.client) {
            self.refund(client, i128::from(live.reserved.0) - i128::from(entry.receipt.receipt().cost.0));
        }
        self.record(Operation::Settle(entry));
    }

    /// Pays for an attempt that its node's owner cut short. The job goes elsewhere.
    fn pay_preempted(&mut self, node: PublicKey, id: JobId, attempt: Attempt, checked: Checked) {
        let (spent, report) = (checked.receipt.receipt().cost, report(&checked.receipt));
        self.pay_interim(node, id, attempt, checked);
        self.dispatch(Event::AttemptPreempted { node, job: id, attempt, spent, report });
    }

    /// Pays for what an attempt did whose job another one has ended.
    fn pay_loser(&mut self, node: PublicKey, id: JobId, attempt: Attempt, checked: Checked) {
        let report = report(&checked.receipt);
        self.pay_interim(node, id, attempt, checked);
        self.dispatch(Event::AttemptFinished { node, job: id, attempt, report });
        self.loser_gone(id, attempt);
        self.follow();
    }

    /// Has the ledger pay for an attempt that does not end its job, and tells the client.
    fn pay_interim(&mut self, node: PublicKey, id: JobId, attempt: Attempt, checked: Checked) {
        let rtt_us = self.rtt_us(&node);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(live) = job.stage.live_mut() else { return };
        let Checked { receipt, reason, .. } = checked;
        let cost = receipt.receipt().cost;
        live.out.retain(|out| (out.attempt, out.node) != (attempt, node));
        live.paid.0 = live.paid.0.saturating_add(cost.0);
        let paid = live.paid;
        live.reserved.0 = live.reserved.0.saturating_sub(cost.0);
        live.held = live.held.map(|held| Microcredits(held.0.saturating_sub(cost.0)));
        job.past.paid = paid;
        job.tell(&JobEvent::Interim(Box::new(receipt.signed().clone())));
        // What it wrote is of no use to anybody.
        let entry = Entry { receipt, settled: wall_time(), reason, output: None, queue_us: 0, rtt_us };
        self.record(Operation::Attempt(Box::new(entry)));
    }

    /// Takes in that nothing more comes of an attempt that lost. The receipt that won is settled when all have come or are given up.
    pub(super) fn loser_gone(&mut self, id: JobId, attempt: Attempt) {
        let Some(Job { stage: Stage::Done { contest, .. }, .. }) = self.jobs.get_mut(&id) else { return };
        let Some(open) = contest.as_mut() else { return };
        open.live.out.retain(|out| out.attempt != attempt);
        if open.live.out.is_empty()
            && let Some(over) = contest.take()
        {
            let Contest { live, winner } = *over;
            self.settle(id, &live, winner);
        }
    }

    /// Settles what others have not been waited for: the gateway stops, and what they would say is not heard any more.
    pub(crate) fn settle_winners(&mut self) {
        let mut over = Vec::new();
        for job in self.jobs.values_mut() {
            if let Stage::Done { contest, .. } = &mut job.stage {
                over.extend(contest.take().map(|contest| (job.id, *contest)));
            }
        }
        for (id, Contest { live, winner }) in over {
            self.settle(id, &live, winner);
        }
    }

    /// Notes for a node's owner that one of its attempts is not paid; nothing where the node was not at it.
    pub(super) fn note_unpaid(&mut self, node: PublicKey, job: JobId, attempt: Attempt, reason: &str) {
        if !self.has_lease(node, job, attempt) {
            return;
        }
        let mut reason = reason.to_owned();
        truncate(&mut reason, REASON_BYTES_MAX);
        let attempt = Box::new(UnpaidAttempt { job, attempt, time: wall_time(), reason });
        // Nobody waits for it.
        self.unrecorded.push_back(Operation::Unpaid { node, attempt });
    }

    /// Counts a message that cannot be read as a receipt that is refused, where its node has something to report: what else it was about
    /// cannot be known.
    pub(crate) fn unreadable(&mut self, node: PublicKey, link: LinkId) {
        if self.is_current(node, link) && self.dispatcher.leases(&node).next().is_some() {
            self.count_refused(node);
        }
    }

    /// Counts a receipt that is refused. How many of its node's there were.
    fn count_refused(&mut self, node: PublicKey) -> u64 {
        if self.refused.len() >= REFUSED_NODES_MAX && !self.refused.contains_key(&node) {
            return 1;
        }
        let count = self.refused.entry(node).or_default();
        *count += 1;
        *count
    }

    /// Checks a receipt against the attempt that was leased.
    fn check(
        &mut self,
        node: PublicKey,
        known: &mut KnownRoots,
        receipt: SignedReceipt,
        reason: String,
        output: Option<Vec<u8>>,
    ) -> Result<Checked, String> {
        let verified = receipt.verify_with(known).map_err(|error| error.to_string())?;
        let told = verified.receipt();
        let (Some(job), Some(offer)) = (self.jobs.get_mut(&told.job), self.nodes.get(&node).map(|node| &node.offer)) else {
            return Err("its job is unknown".into());
        };
        let client = job.client;
        let Some(live) = job.stage.live_mut() else { return Err("its job has ended".into()) };
        let is_of = |out: &&Out| out.attempt == told.attempt && out.node == node;
        let out = live.out.iter().find(is_of).ok_or("its job is not leased")?;
        verified.check_spec(&live.spec).map_err(|error| error.to_string())?;
        let rows = [
            ("node", told.node == node),
            ("client", told.client == client),
            ("gateway", told.gateway == self.key.public()),
            ("price", told.price == offer.price),
            ("cost", told.cost <= out.promised),
            ("meter", told.meter == offer.meter),
            ("GPU's class", told.gpu.as_ref().is_none_or(|run| was_offered(&run.class, out, offer))),
        ];
        if let Some((field, _)) = rows.into_iter().find(|(_, holds)| !holds) {
            return Err(format!("its {field} is not what was leased"));
        }
        for (text, bytes, bytes_max) in
            [("engine's name", told.engine.len(), settle::ENGINE_BYTES_MAX), ("reason", reason.len(), REASON_BYTES_MAX)]
        {
            if bytes > bytes_max {
                return Err(format!("its {text} has {bytes} bytes, over the limit of {bytes_max}"));
            }
        }
        let leased = Duration::from_micros(self.clock.now().since(out.since));
        times::check(&told.times, leased, wall_time())?;
        let written = BlobRef { digest: told.output, bytes: told.usage.bytes_out.0 };
        let pin = match (output.as_deref(), live.take_output(told.attempt)) {
            (Some(bytes), _) if bytes.len() <= INLINE_BYTES_MAX && BlobRef::of(bytes) == written => None,
            (None, Some((blob, pin))) if blob == written => Some(pin),
            _ => return Err("its output is not the one that arrived".into()),
        };
        Ok(Checked { receipt: verified, reason, output, pin })
    }
}

/// Whether a GPU's class is what the node offered when it was given the attempt, or what it offers by now: the two may cross on their way.
fn was_offered(class: &str, out: &Out, offer: &NodeOffer) -> bool {
    let classes = [out.gpu_class.as_deref(), offer.gpu.as_ref().map(|gpu| gpu.class.as_str())];
    classes.contains(&Some(class))
}

fn report(receipt: &VerifiedReceipt) -> Report {
    let told = receipt.receipt();
    Report { usage: told.usage, fetch_us: told.times.fetch_us, compile_us: told.times.compile_us }
}

/// How long a job's credits are held at most: each of its attempts may wait and run as long as its client allowed, and may wait anew after
/// each node whose owner declines it. Those that are given back, handed back and declined are bounded apart, and each may have its whole time.
fn hold_time_ms(limits: &JobLimits, config: &adit_dispatch::Config) -> u64 {
    let waits_ms = limits.queue_ms.saturating_mul(u64::from(GIVEN_BACK_MAX) + 1);
    let attempt_ms = waits_ms.saturating_add(limits.wall_ms).saturating_add(ATTEMPT_MARGIN_MS);
    let given_back = config.preemptions_max.max(GIVEN_BACK_MAX);
    let (handed_back, declined) = (GIVEN_BACK_MAX, GIVEN_BACK_MAX);
    let attempts = [config.attempts_max, given_back, handed_back, declined, 1].map(u64::from).iter().sum::<u64>();
    attempt_ms.saturating_mul(attempts).saturating_add(HOLD_MARGIN_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::{JOB, opened, running};

    /// Its words stood behind the guest's own on one line, and took as much of the log's limit as they liked.
    #[tokio::test]
    async fn what_a_node_says_of_a_job_that_it_declines_is_a_short_line_of_its_own() {
        let node = PublicKey([9; 32]);
        let whole = format!("a{}", "é".repeat(99));
        let rows = [
            ("", "not for you".to_owned(), "not for you"),
            ("half a line", "not\nfor you".to_owned(), "not for you"),
            ("a line\n", "é".repeat(REASON_BYTES_MAX), &"é".repeat(100)),
            ("half a line", format!("{whole}éé"), &whole),
        ];
        for (before, said, told) in rows {
            let (mut core, _folder, _batches) = opened();
            let job = running();
            let log = job.log.clone();
            core.log_bytes += log.append(before.as_bytes(), u64::MAX);
            core.jobs.insert(job);
            core.tell_declined(node, JOB, &said);
            let line_end = if before.ends_with("line") { "\n" } else { "" };
            let content = log.read(0).await.unwrap();
            let expected = format!("{before}{line_end}[adit] node {node} declined: {told}\n");
            assert_eq!(str::from_utf8(&content), Ok(&*expected));
            assert_eq!(core.log_bytes, content.len());
        }
    }
}
