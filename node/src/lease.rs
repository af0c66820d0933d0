//! The life of one attempt: fetch, compile, run, report.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_protocol::limits::LOG_CHUNK_BYTES_MAX;
use adit_protocol::{
    Attempt, AttemptFailure, BlobRef, Digest, JobId, JobSpec, NodeMessage, NodeOffer, NodeTimes, Outcome, PublicKey, Receipt,
    StreamReply, StreamRequest,
};
use adit_runtime::{Canceller, CompileError, ENGINE, Input, Run, RunError, RunEvent, RunReport, RunRequest};
use adit_transport::{BlobPin, Transfer, TransferError, read_reply};
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::watch;

use crate::fetch::{fetch, is_busy, no_room, open};
use crate::link::Link;
use crate::room::{NoRoom, Reserved};
use crate::sign::Finished;
use crate::times::wall_time;
use crate::turns::{Busy, Turn};

/// What the gateway asks for.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
    pub(crate) client: PublicKey,
    pub(crate) spec: Arc<JobSpec>,
    pub(crate) input: Option<Vec<u8>>,
}

/// What a lease was told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing: it goes on.
    Not,
    /// Its job was withdrawn.
    Withdrawn,
    /// The owner takes the machine back, and why.
    Preempted(String),
}

/// Runs a lease to its end and reports it.
pub(crate) async fn run(link: &Link, mut lease: Lease, mut stop: watch::Receiver<Stop>) {
    let input = lease.input.take();
    if let Err(failure) = attempt(link, &lease, input, &mut stop).await {
        link.fail(&lease, failure);
        link.lease_ended((lease.job, lease.attempt));
    }
}

async fn attempt(
    link: &Link,
    lease: &Lease,
    input: Option<Vec<u8>>,
    stop: &mut watch::Receiver<Stop>,
) -> Result<(), AttemptFailure> {
    check(link, lease, input.as_deref())?;
    if let Some(why) = too_large(&lease.spec, input.is_some(), link.node.blobs.bytes_max()) {
        return Err(AttemptFailure::Declined(why));
    }
    let mut times = NodeTimes { started: wall_time(), ..NodeTimes::default() };
    let (mut run, _held) = tokio::select! {
        run = prepare(link, lease, input, &mut times) => run?,
        stopped = next_stop(stop, &Stop::Not) => return Err(match stopped {
            Stop::Preempted(why) => AttemptFailure::Preempted(why),
            Stop::Withdrawn | Stop::Not => AttemptFailure::Withdrawn,
        }),
    };
    link.lease_started(lease, run.gauge());
    link.send_soon(&NodeMessage::Started { job: lease.job, attempt: lease.attempt });
    let report = follow(link, lease, &mut run, stop).await?;
    times.run_us = report.run_us;
    finish(link, lease, times, report)
}

/// Waits until a lease is told something else than what it has `heard`. One whose gateway is gone is dropped.
async fn next_stop(stop: &mut watch::Receiver<Stop>, heard: &Stop) -> Stop {
    match stop.wait_for(|told| told != heard).await {
        Ok(told) => told.clone(),
        Err(_) => std::future::pending().await,
    }
}

/// The dispatcher matches jobs to offers; a node that is told to break its own offer does not.
fn check(link: &Link, lease: &Lease, input: Option<&[u8]>) -> Result<(), AttemptFailure> {
    match outside_offer(&lease.spec, &link.node.offer_now(), link.node.config.module_bytes_max, input) {
        None => Ok(()),
        Some(what) => Err(AttemptFailure::Node(format!("the lease is outside of what this node offers: {what}"))),
    }
}

/// The first thing that a job asks for and this node does not offer.
fn outside_offer(spec: &JobSpec, offer: &NodeOffer, module_bytes_max: u64, input: Option<&[u8]>) -> Option<String> {
    if let Err(error) = spec.check() {
        return Some(error.to_string());
    }
    if !offer.profiles.contains(&spec.profile) {
        return Some("profile".to_owned());
    }
    if spec.limits.memory > offer.memory {
        return Some("memory".to_owned());
    }
    if spec.gpu.is_some_and(|need| offer.gpu.as_ref().is_none_or(|gpu| !gpu.fits(&need))) {
        return Some("GPU".to_owned());
    }
    // Other owners may take what this one does not, so the module is not to blame.
    if spec.module.bytes > module_bytes_max {
        return Some(format!("the module has {} bytes, and its owner takes {module_bytes_max}", spec.module.bytes));
    }
    let is_another = input.is_some_and(|bytes| BlobRef::of(bytes) != spec.input);
    is_another.then(|| "the input is not the one that the job names".to_owned())
}

/// Why a job's module and inputs, but for one that came with the lease, do not go into a cache of so many bytes, were they alone in it.
fn too_large(spec: &JobSpec, is_input_here: bool, bytes_max: u64) -> Option<String> {
    let blobs = fetched(spec, is_input_here);
    let bytes = blobs.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
    (bytes > bytes_max).then(|| {
        format!("module and inputs have {bytes} bytes, and the cache holds {bytes_max} of such; its owner can raise cache-max")
    })
}

/// What a job needs in the cache, each blob once: its module and inputs, but for one that came with the lease.
fn fetched(spec: &JobSpec, is_input_here: bool) -> BTreeMap<Digest, u64> {
    let stdin = (!is_input_here).then_some(spec.input);
    let blobs = [spec.module].into_iter().chain(stdin).chain(spec.inputs.iter().map(|input| input.blob));
    blobs.map(|blob| (blob.digest, blob.bytes)).collect()
}

/// What a lease holds while it runs: its turn, and its inputs' places in the cache, so that what the cache takes of the disk is what its
/// owner allowed.
struct Held {
    _turn: Option<Turn>,
    _pins: Vec<BlobPin>,
    _room: Reserved,
}

/// All that a job reads.
struct Inputs {
    stdin: Input,
    /// In the order of their names.
    named: Vec<Input>,
}

impl Inputs {
    fn try_clone(&self) -> io::Result<Self> {
        let clone = |input: &Input| match input {
            Input::Inline(bytes) => Ok(Input::Inline(bytes.clone())),
            Input::File(file) => file.try_clone().map(Input::File),
        };
        Ok(Self { stdin: clone(&self.stdin)?, named: self.named.iter().map(clone).collect::<Result<_, _>>()? })
    }
}

/// Has all inputs in the cache, those that are missing fetched side by side.
async fn fetch_inputs(link: &Link, spec: &JobSpec, inline: Option<Vec<u8>>) -> Result<(Inputs, Vec<BlobPin>), AttemptFailure> {
    let stdin = inline.is_none().then_some(spec.input);
    let blobs = stdin.into_iter().chain(spec.inputs.iter().map(|input| input.blob));
    let pins = try_join_all(blobs.clone().map(|blob| fetch(link, blob))).await?;
    let files = try_join_all(blobs.map(|blob| open(link, blob))).await?;
    let mut files = files.into_iter().map(Input::File);
    let stdin = match inline {
        Some(bytes) => Input::Inline(bytes),
        None => files.next().expect("standard input was opened"),
    };
    Ok((Inputs { stdin, named: files.collect() }, pins))
}

/// Fetches, compiles, waits for its turn and starts, and notes how long each took.
async fn prepare(
    link: &Link,
    lease: &Lease,
    inline: Option<Vec<u8>>,
    times: &mut NodeTimes,
) -> Result<(Run, Held), AttemptFailure> {
    let spec = &lease.spec;
    let blobs = fetched(spec, inline.is_some());
    // Waiting for room is a part of what fetching takes here.
    let started = Instant::now();
    let room = link.node.room.take(&blobs, |blob| link.node.blobs.contains(blob), || is_busy(link)).await;
    let mut room = room.map_err(|NoRoom| no_room(link, "other jobs use the blob cache"))?;
    let module = fetch(link, spec.module).await?;
    let (mut inputs, pins) = fetch_inputs(link, spec, inline).await?;
    times.fetch_us = micros(started.elapsed());
    let runtime = &link.node.runtime;
    let path = link.node.blobs.path(&spec.module.digest);
    let mut turn = None;
    loop {
        let compiled = match runtime.compile(spec.module.digest, &path).await {
            Ok(compiled) => compiled,
            Err(CompileError::Invalid(reason)) => return Err(AttemptFailure::ModuleInvalid(reason)),
            // What its owner gave room for, and no fault of the machine's.
            Err(CompileError::TooLarge(reason)) => return Err(AttemptFailure::Declined(reason)),
            Err(error) => {
                drop(module);
                // Read through the store, a module that a power cut damaged is dropped, and the next attempt fetches it anew.
                open(link, spec.module).await?;
                return Err(AttemptFailure::Node(error.to_string()));
            }
        };
        times.compile_us += compiled.compile_us;
        // Kept for the case that the code is dropped from the cache between here and the start.
        let again = inputs.try_clone().map_err(|error| AttemptFailure::Node(error.to_string()))?;
        if turn.is_none() {
            // Before it has a slot, which others can use meanwhile: its work on the GPU cannot begin again in better code. Whether there is a
            // GPU is asked when it starts.
            if spec.gpu.is_some() {
                let _ = runtime.gpu_settled().await;
                runtime.optimised(spec.module.digest).await;
            }
            let is_alone = || link.node.owner.rules().one_tenant;
            turn = Some(link.node.turns.turn(lease.client, is_alone).await.map_err(|Busy| AttemptFailure::Busy)?);
        }
        link.node.owner.rules().admit(&lease.client, spec, &link.node.offer.price).map_err(AttemptFailure::Declined)?;
        let Inputs { stdin: input, named } = inputs;
        let request = RunRequest { tenant: lease.client, spec: Arc::clone(spec), input, named };
        match runtime.start(request).await {
            Ok(run) => {
                drop(module);
                if spec.inputs.iter().all(|input| input.blob.digest != spec.module.digest)
                    && spec.input.digest != spec.module.digest
                {
                    room.leave(&spec.module.digest);
                }
                return Ok((run, Held { _turn: turn, _pins: pins, _room: room }));
            }
            Err(RunError::NotCompiled(_)) => inputs = again,
            // The offer goes first, so that the job does not come back here; that the GPU is gone is not the job's doing.
            Err(RunError::NoGpu(reason)) => {
                link.node.look_at_gpu();
                return Err(AttemptFailure::GpuAway(reason));
            }
            Err(error @ RunError::KeptFromGpu(_)) => return Err(AttemptFailure::Declined(error.to_string())),
            Err(error) => return Err(AttemptFailure::Node(error.to_string())),
        }
    }
}

/// Passes on what the guest says until it ends. The owner does not wait for a gateway that is slow to listen.
async fn follow(
    link: &Link,
    lease: &Lease,
    run: &mut Run,
    stop: &mut watch::Receiver<Stop>,
) -> Result<RunReport, AttemptFailure> {
    let canceller = run.canceller();
    let mut speech = Speech { link, lease, output: None, is_cut: false };
    let mut heard = Stop::Not;
    loop {
        let event = tokio::select! {
            event = run.next() => event.map_err(run_failure)?,
            told = next_stop(stop, &heard) => {
                pass_on(&canceller, &told);
                heard = told;
                continue;
            }
        };
        match event {
            RunEvent::Ended(report) => {
                let why = tokio::select! {
                    ended = speech.end(RunReport::clone(&report), &heard) => return ended,
                    why = waited_for(stop) => why,
                };
                speech.cut();
                return speech.end(*report, &why).await;
            }
            _ if matches!(heard, Stop::Preempted(_)) => speech.cut(),
            event => {
                let why = tokio::select! {
                    said = speech.say(event) => { said?; continue }
                    why = preempted(stop) => why,
                };
                speech.cut();
                canceller.preempt();
                heard = why;
            }
        }
    }
}

fn run_failure(error: RunError) -> AttemptFailure {
    match error {
        RunError::GpuLost { reason, .. } => AttemptFailure::GpuAway(format!("it was lost in another job's work: {reason}")),
        // Other jobs hold its memory, which is neither this one's doing nor a fault of the node.
        RunError::GpuFull { reason, .. } => AttemptFailure::GpuAway(format!("it is full: {reason}")),
        error => AttemptFailure::Node(error.to_string()),
    }
}

fn pass_on(canceller: &Canceller, told: &Stop) {
    match told {
        Stop::Not => {}
        Stop::Withdrawn => canceller.cancel(),
        Stop::Preempted(_) => canceller.preempt(),
    }
}

async fn preempted(stop: &mut watch::Receiver<Stop>) -> Stop {
    match stop.wait_for(|told| matches!(told, Stop::Preempted(_))).await {
        Ok(told) => told.clone(),
        Err(_) => std::future::pending().await,
    }
}

/// That the owner takes the machine back, some time after: a result that is on its way is worth more than a part of it, and an owner does not wait
/// for a line on which it takes longer.
async fn waited_for(stop: &mut watch::Receiver<Stop>) -> Stop {
    let why = preempted(stop).await;
    tokio::time::sleep(RESULT_GRACE).await;
    why
}

/// How long a result may be on its way when the owner takes the machine back. A gateway waits for a second, and a node that ends for half of one.
const RESULT_GRACE: Duration = Duration::from_millis(250);

/// What a guest says, on its way to the gateway.
struct Speech<'a> {
    link: &'a Link,
    lease: &'a Lease,
    /// There once a large output has begun.
    output: Option<Transfer>,
    /// Whether something of it was dropped, because the owner took the machine back.
    is_cut: bool,
}

impl Speech<'_> {
    async fn say(&mut self, event: RunEvent) -> Result<(), AttemptFailure> {
        let (job, attempt) = (self.lease.job, self.lease.attempt);
        match event {
            RunEvent::Log(bytes) => {
                // A guest that logs faster than the gateway reads waits; it could end everybody's connection otherwise.
                self.link.outbox.room().await;
                for chunk in bytes.chunks(LOG_CHUNK_BYTES_MAX) {
                    self.link.send(&NodeMessage::Log { job, attempt, bytes: chunk.to_vec() });
                }
            }
            RunEvent::Progress { done, total } => self.link.send_soon(&NodeMessage::Progress { job, attempt, done, total }),
            RunEvent::Output(bytes) => self.write(bytes).await?,
            RunEvent::Ended(_) => unreachable!("the end is handled by itself"),
        }
        Ok(())
    }

    /// Sends a piece of a large output on a stream that is opened for the first one. The stream's window is the backpressure: the guest
    /// waits while the gateway or the network is slower.
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), AttemptFailure> {
        let transfer = match &mut self.output {
            Some(transfer) => transfer,
            None => {
                let request = StreamRequest::Output { job: self.lease.job, attempt: self.lease.attempt };
                self.output.insert(self.link.connection.open_transfer(&request).await.map_err(output_failure)?)
            }
        };
        transfer.send.write_chunk(Bytes::from(bytes)).await.map_err(|error| output_failure(error.into()))
    }

    /// Drops what was not said yet.
    fn cut(&mut self) {
        self.is_cut = true;
        if let Some(mut transfer) = self.output.take() {
            // Else its end would look like the output's. One that is closed is no output either.
            let _ = transfer.send.reset(CUT_SHORT.into());
        }
    }

    /// The end of the run, once the gateway has all of its output. Of a run that the owner cut short it has none, nor of one whose GPU was
    /// taken from under it; nor of one that ended by itself in the same moment, when something of what it said was dropped. A run that says
    /// itself what its output is goes with that, and not with what was sent before: it began again, and was stopped too soon.
    async fn end(&mut self, report: RunReport, heard: &Stop) -> Result<RunReport, AttemptFailure> {
        if let Stop::Preempted(why) = heard
            && (self.is_cut || report.outcome == Outcome::Preempted)
        {
            self.cut();
            let report = report.preempted();
            return Ok(RunReport { reason: format!("{}: {why}", report.reason), ..report });
        }
        if report.output.is_some() {
            self.cut();
            return Ok(report);
        }
        if let Some(transfer) = &mut self.output {
            let written = BlobRef { digest: report.output_digest, bytes: report.usage.bytes_out.0 };
            end_output(transfer, written).await?;
        }
        Ok(report)
    }
}

/// The application error code (RFC 9000, section 20.2) of an output that comes to no end.
const CUT_SHORT: u32 = 3;

async fn end_output(transfer: &mut Transfer, written: BlobRef) -> Result<(), AttemptFailure> {
    // The reply tells whether all arrived.
    let _ = transfer.send.finish();
    match read_reply(&mut transfer.recv).await.map_err(output_failure)? {
        StreamReply::Stored(stored) if stored == written => Ok(()),
        reply => Err(AttemptFailure::Node(format!("the gateway did not store the output: {reply:?}"))),
    }
}

fn output_failure(error: TransferError) -> AttemptFailure {
    AttemptFailure::Node(format!("sending the output: {error}"))
}

fn finish(link: &Link, lease: &Lease, times: NodeTimes, report: RunReport) -> Result<(), AttemptFailure> {
    let price = link.node.offer.price;
    let cost = price.cost(&report.usage).map_err(|error| AttemptFailure::Node(error.to_string()))?;
    let spec = &lease.spec;
    let receipt = Receipt {
        job: lease.job,
        attempt: lease.attempt,
        client: lease.client,
        node: link.node.dialer.key().public(),
        gateway: link.connection.peer(),
        spec: spec.digest(),
        module: spec.module.digest,
        input: spec.input_digest(),
        output: report.output_digest,
        outcome: report.outcome,
        profile: spec.profile,
        meter: link.node.offer.meter,
        engine: ENGINE.into(),
        usage: report.usage,
        gpu: report.gpu,
        times,
        price,
        cost,
        salt: Some(spec.salt),
    };
    debug_assert!(
        report.output.as_deref().is_none_or(|bytes| Digest::of(bytes) == receipt.output),
        "the runtime hashes the output"
    );
    link.signer.push(Finished { receipt, reason: report.reason, output: report.output });
    Ok(())
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use adit_protocol::{ByteCount, GpuNeed, NamedInput, Price, Profile};

    use super::*;

    #[test]
    fn gpu_that_others_fill_or_lose_is_away_and_one_that_fails_is_the_nodes_fault() {
        let (reason, usage) = ("why".to_owned(), Box::default());
        let full = run_failure(RunError::GpuFull { reason: reason.clone(), usage });
        assert_eq!(full, AttemptFailure::GpuAway("it is full: why".to_owned()));
        let lost = run_failure(RunError::GpuLost { reason: reason.clone(), usage: Box::default() });
        assert!(matches!(lost, AttemptFailure::GpuAway(_)), "{lost:?}");
        let failed = run_failure(RunError::GpuFailed { reason, usage: Box::default() });
        assert!(matches!(failed, AttemptFailure::Node(_)), "{failed:?}");
    }

    #[test]
    fn module_and_inputs_go_into_the_cache_together_each_blob_once() {
        let [module, input, named] = [b"module".as_slice(), b"input", b"named"].map(BlobRef::of);
        let name = |name: &str| NamedInput { name: name.parse().unwrap(), blob: named };
        let spec = JobSpec { inputs: vec![name("a"), name("b")], ..JobSpec::new(module, input) };
        assert_eq!(too_large(&spec, false, 16), None);
        let why = too_large(&spec, false, 15).unwrap();
        assert_eq!(why, "module and inputs have 16 bytes, and the cache holds 15 of such; its owner can raise cache-max");
        assert_eq!(too_large(&spec, true, 11), None, "an input that came with the lease takes no room");
        let huge = BlobRef { bytes: u64::MAX, ..input };
        assert!(too_large(&JobSpec::new(module, huge), false, u64::MAX - 1).is_some());
    }

    #[test]
    fn what_this_owner_does_not_offer_is_for_another_node() {
        let offer = NodeOffer {
            software: String::new(),
            slots: 1,
            memory: ByteCount(1 << 30),
            gpu: None,
            profiles: vec![Profile::Deterministic],
            price: Price::default(),
            labels: Vec::new(),
            meter: adit_runtime::meter_id(),
            fuel_per_second: 0,
            one_tenant: false,
        };
        let fits = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
        let outside = |spec: &JobSpec, module_bytes_max| outside_offer(spec, &offer, module_bytes_max, Some(b"input"));
        assert_eq!(outside(&fits, 6), None);
        // The job ended as invalid, where a node of another owner would have run it.
        assert_eq!(outside(&fits, 5).as_deref(), Some("the module has 6 bytes, and its owner takes 5"));
        let gpu = JobSpec { gpu: Some(GpuNeed::default()), ..fits.clone() };
        assert_eq!(outside(&gpu, 6).as_deref(), Some("GPU"));
        let open = JobSpec { profile: Profile::Open, ..fits.clone() };
        assert_eq!(outside(&open, 6).as_deref(), Some("profile"));
        let other = JobSpec { input: BlobRef::of(b"other"), ..fits };
        assert!(outside(&other, 6).is_some_and(|what| what.contains("input")));
    }
}
