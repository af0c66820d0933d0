//! The life of one attempt: fetch, compile, run, report.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adit_protocol::limits::LOG_CHUNK_BYTES_MAX;
use adit_protocol::{
    Attempt, AttemptFailure, BlobRef, Digest, JobId, JobSpec, NodeMessage, NodeOffer, NodeTimes, PublicKey, Receipt, StreamReply,
    StreamRequest, UnixMillis,
};
use adit_runtime::{CompileError, ENGINE, Input, Run, RunError, RunEvent, RunReport, RunRequest};
use adit_transport::{Transfer, TransferError, read_reply};
use bytes::Bytes;
use tokio::sync::watch;

use crate::NodeEvent;
use crate::fetch::{fetch, open};
use crate::link::Link;
use crate::sign::Finished;

/// What the gateway asks for.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
    pub(crate) client: PublicKey,
    pub(crate) spec: Arc<JobSpec>,
    pub(crate) input: Option<Vec<u8>>,
}

/// Runs a lease to its end and reports it.
pub(crate) async fn run(link: &Link, mut lease: Lease, mut cancelled: watch::Receiver<bool>) {
    let input = lease.input.take();
    if let Err(failure) = attempt(link, &lease, input, &mut cancelled).await {
        let (job, attempt) = (lease.job, lease.attempt);
        tracing::info!(%job, %failure, "attempt failed");
        link.node.tell(NodeEvent::JobFailed { job, reason: failure.to_string() });
        link.lease_ended(job, attempt);
        link.send(&NodeMessage::Failed { job, attempt, failure });
    }
}

async fn attempt(
    link: &Link,
    lease: &Lease,
    input: Option<Vec<u8>>,
    cancelled: &mut watch::Receiver<bool>,
) -> Result<(), AttemptFailure> {
    check(link, lease, input.as_deref())?;
    let mut times = NodeTimes { started: wall_time(), ..NodeTimes::default() };
    let mut run = tokio::select! {
        run = prepare(link, lease, input, &mut times) => run?,
        _ = cancelled.wait_for(|cancelled| *cancelled) => return Err(AttemptFailure::Withdrawn),
    };
    link.send_soon(&NodeMessage::Started { job: lease.job, attempt: lease.attempt });
    let report = follow(link, lease, &mut run, cancelled).await?;
    times.run_us = report.run_us;
    finish(link, lease, times, report)
}

/// The dispatcher matches jobs to offers; a node that is told to break its own offer does not.
fn check(link: &Link, lease: &Lease, input: Option<&[u8]>) -> Result<(), AttemptFailure> {
    match outside_offer(&lease.spec, &link.node.offer, link.node.config.module_bytes_max, input) {
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
    // Other owners may take what this one does not, so the module is not to blame.
    if spec.module.bytes > module_bytes_max {
        return Some(format!("the module has {} bytes, and its owner takes {module_bytes_max}", spec.module.bytes));
    }
    let is_another = input.is_some_and(|bytes| BlobRef::of(bytes) != spec.input);
    is_another.then(|| "the input is not the one that the job names".to_owned())
}

/// Fetches, compiles and starts, and notes how long each took.
async fn prepare(link: &Link, lease: &Lease, inline: Option<Vec<u8>>, times: &mut NodeTimes) -> Result<Run, AttemptFailure> {
    let spec = &lease.spec;
    let started = Instant::now();
    let module = fetch(link, spec.module).await?;
    let mut input = match inline {
        Some(bytes) => Input::Inline(bytes),
        None => {
            let _pin = fetch(link, spec.input).await?;
            // The open file stays readable where the cache drops the blob.
            Input::File(open(link, spec.input).await?)
        }
    };
    times.fetch_us = micros(started.elapsed());
    let runtime = &link.node.runtime;
    let path = link.node.blobs.path(&spec.module.digest);
    loop {
        let compiled = match runtime.compile(spec.module.digest, &path).await {
            Ok(compiled) => compiled,
            Err(CompileError::Invalid(reason)) => return Err(AttemptFailure::ModuleInvalid(reason)),
            Err(error) => {
                drop(module);
                // Read through the store, a module that a power cut damaged is dropped, and the next attempt fetches it anew.
                open(link, spec.module).await?;
                return Err(AttemptFailure::Node(error.to_string()));
            }
        };
        times.compile_us += compiled.compile_us;
        // Kept for the case that the code is dropped from the cache between here and the start.
        let again = match &input {
            Input::Inline(bytes) => Input::Inline(bytes.clone()),
            Input::File(file) => Input::File(file.try_clone().map_err(|e| AttemptFailure::Node(e.to_string()))?),
        };
        let request = RunRequest { tenant: lease.client, spec: Arc::clone(spec), input };
        match runtime.start(request).await {
            Ok(run) => {
                drop(module);
                return Ok(run);
            }
            Err(RunError::NotCompiled(_)) => input = again,
            Err(error) => return Err(AttemptFailure::Node(error.to_string())),
        }
    }
}

/// Passes on what the guest says until it ends.
async fn follow(
    link: &Link,
    lease: &Lease,
    run: &mut Run,
    cancelled: &mut watch::Receiver<bool>,
) -> Result<RunReport, AttemptFailure> {
    let (job, attempt) = (lease.job, lease.attempt);
    let canceller = run.canceller();
    let mut is_cancelled = false;
    let mut output = None;
    loop {
        let event = tokio::select! {
            event = run.next() => event.map_err(|error| AttemptFailure::Node(error.to_string()))?,
            _ = cancelled.wait_for(|cancelled| *cancelled), if !is_cancelled => {
                is_cancelled = true;
                canceller.cancel();
                continue;
            }
        };
        match event {
            RunEvent::Log(bytes) => {
                // A guest that logs faster than the gateway reads waits; it could end everybody's connection otherwise.
                link.outbox.room().await;
                for chunk in bytes.chunks(LOG_CHUNK_BYTES_MAX) {
                    link.send(&NodeMessage::Log { job, attempt, bytes: chunk.to_vec() });
                }
            }
            RunEvent::Progress { done, total } => link.send_soon(&NodeMessage::Progress { job, attempt, done, total }),
            RunEvent::Output(bytes) => write_output(link, lease, &mut output, bytes).await?,
            RunEvent::Ended(report) => {
                if let Some(transfer) = output {
                    let written = BlobRef { digest: report.output_digest, bytes: report.usage.bytes_out.0 };
                    end_output(transfer, written).await?;
                }
                return Ok(*report);
            }
        }
    }
}

/// Sends a piece of a large output on a stream that is opened for the first one. The stream's window is the backpressure: the guest
/// waits while the gateway or the network is slower.
async fn write_output(link: &Link, lease: &Lease, output: &mut Option<Transfer>, bytes: Vec<u8>) -> Result<(), AttemptFailure> {
    let transfer = match output {
        Some(transfer) => transfer,
        None => {
            let request = StreamRequest::Output { job: lease.job, attempt: lease.attempt };
            output.insert(link.connection.open_transfer(&request).await.map_err(output_failure)?)
        }
    };
    transfer.send.write_chunk(Bytes::from(bytes)).await.map_err(|error| output_failure(error.into()))
}

async fn end_output(mut transfer: Transfer, written: BlobRef) -> Result<(), AttemptFailure> {
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
        input: spec.input.digest,
        output: report.output_digest,
        outcome: report.outcome,
        profile: spec.profile,
        meter: link.node.offer.meter,
        engine: ENGINE.into(),
        usage: report.usage,
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

fn wall_time() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use adit_protocol::{ByteCount, Price, Profile};

    use super::*;

    #[test]
    fn what_this_owner_does_not_offer_is_for_another_node() {
        let offer = NodeOffer {
            software: String::new(),
            slots: 1,
            memory: ByteCount(1 << 30),
            profiles: vec![Profile::Deterministic],
            price: Price::default(),
            labels: Vec::new(),
            meter: adit_runtime::meter_id(),
            fuel_per_second: 0,
        };
        let fits = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
        let outside = |spec: &JobSpec, module_bytes_max| outside_offer(spec, &offer, module_bytes_max, Some(b"input"));
        assert_eq!(outside(&fits, 6), None);
        // The job ended as invalid, where a node of another owner would have run it.
        assert_eq!(outside(&fits, 5).as_deref(), Some("the module has 6 bytes, and its owner takes 5"));
        let open = JobSpec { profile: Profile::Open, ..fits.clone() };
        assert_eq!(outside(&open, 6).as_deref(), Some("profile"));
        let other = JobSpec { input: BlobRef::of(b"other"), ..fits };
        assert!(outside(&other, 6).is_some_and(|what| what.contains("input")));
    }
}
