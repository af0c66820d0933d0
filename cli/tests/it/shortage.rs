//! Jobs that no node can have: why they wait or are refused, and who may ask. And the GPUs that nodes claim to have.

use adit_client::{Client, JobError, JobHandle, Update};
use adit_protocol::{
    Answer, ByteCount, GpuNeed, GpuOffer, JobId, NodeMessage, NodeOffer, Query, Refusal, Rejection, SecretKey, UnfitReason,
    limits, sign_receipts,
};
use serde_json::json;
use tokio::time::timeout;

use crate::attempts::{FINISHED, Hand, echo};
use crate::hostile::{INPUT, Lease, gpu_run, offer, priced, unpaid};
use crate::network::Network;
use crate::process::{LOOK_EVERY, PATIENCE};

const CLASS: &str = "software/mesa/llvmpipe";

fn with_gpu(class: &str) -> NodeOffer {
    let GpuNeed { memory, buffer, invocations, workgroup_memory, .. } = GpuNeed::default();
    let gpu = GpuOffer { class: class.to_owned(), memory, buffer, invocations, workgroup_memory };
    NodeOffer { gpu: Some(gpu), ..offer(1) }
}

/// What a node says of an attempt that used a microsecond of a GPU of this class.
fn ran_on(node: &Hand, lease: &Lease, class: &str) -> NodeMessage {
    let mut receipt = node.receipt(lease, FINISHED, 3_000_000_000).receipt;
    receipt.usage.gpu_ns = 1_000;
    receipt.gpu = Some(gpu_run(class));
    let receipt = Box::new(sign_receipts(&node.key, vec![priced(receipt)]).remove(0));
    NodeMessage::Finished { receipt, reason: String::new(), output: Some(INPUT.to_vec()) }
}

/// Waits until the gateway says that a job waits.
async fn queued(handle: &mut JobHandle) {
    let listening = async { while !matches!(handle.next().await.unwrap(), Some(Update::Queued)) {} };
    timeout(PATIENCE, listening).await.expect("the job waits");
}

async fn refused(handle: &mut JobHandle) -> Refusal {
    match timeout(PATIENCE, handle.ended()).await.expect("it ends") {
        Err(JobError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

fn why(network: &Network, job: JobId) -> Vec<serde_json::Value> {
    network.adit(["why", "--json", &job.to_string()]).run().ok().json_lines()
}

#[tokio::test(flavor = "multi_thread")]
async fn why_tells_of_jobs_that_wait_and_of_those_that_were_refused() {
    let network = Network::empty();
    let client = network.client().await;
    let mut node = Hand::join_with(&network, "first", offer(1)).await.unwrap_or_else(|no| panic!("{no}"));
    let mut running = client.submit(echo(&client, 10_000_000_000));
    let lease = node.lease().await;
    let mut waiting = client.submit(echo(&client, 9_000_000_000));
    queued(&mut waiting).await;
    let steps = why(&network, waiting.id());
    let [step] = &steps[..] else { panic!("{steps:?}") };
    let told = ["step", "unfit", "full", "queued", "ahead", "clients"].map(|name| &step[name]);
    assert_eq!(told, [&json!("waits"), &json!([]), &json!(1), &json!(0), &json!(0), &json!(0)]);
    let text = network.adit(["why", &waiting.id().to_string()]).run().ok().text().to_owned();
    assert!(text.contains("had no room") && text.contains("no other job waited"), "{text}");

    // With a node whose GPU is too small, and one that has none.
    let second = Hand::join_with(&network, "second", with_gpu(CLASS)).await.unwrap_or_else(|no| panic!("{no}"));
    let mut job = echo(&client, 8_000_000_000);
    job.spec.gpu = Some(GpuNeed { memory: ByteCount(1 << 34), ..GpuNeed::default() });
    let mut needing = client.submit(client.salted(job));
    assert_eq!(
        refused(&mut needing).await,
        Refusal::NoNodeFits { nodes: vec![(UnfitReason::Gpu, 1), (UnfitReason::GpuMemory, 1)] }
    );
    let steps = why(&network, needing.id());
    let last = steps.last().unwrap();
    assert_eq!(last["step"], json!("refused"), "a gateway that began a moment ago lets it wait for others before that");
    let reason = last["reason"].as_str().unwrap();
    assert!(reason.contains("1 without a GPU for jobs") && reason.contains("(--gpu-memory)"), "{steps:?}");
    // What never became a job is told of too.
    let mut job = echo(&client, 7_000_000_000);
    job.spec.limits.gpu_ns = 1;
    let mut too_large = client.submit(client.salted(job));
    assert!(matches!(refused(&mut too_large).await, Refusal::SpecTooLarge(_)));
    let steps = why(&network, too_large.id());
    assert!(steps[0]["reason"].as_str().unwrap().contains("the GPU time"), "{steps:?}");

    drop(second);
    node.finish(&lease, FINISHED, 3_000_000_000);
    timeout(PATIENCE, running.settled()).await.expect("it ends").unwrap();
}

/// A job's id is in the public log once it is settled, and its node's owner, other owners, and whoever reads the log know it.
#[tokio::test(flavor = "multi_thread")]
async fn id_of_a_job_is_of_no_use_to_anybody_but_its_client() {
    let network = Network::empty();
    let client = network.client().await;
    let mut node = Hand::join_with(&network, "first", offer(1)).await.unwrap_or_else(|no| panic!("{no}"));
    let mut running = client.submit(echo(&client, 10_000_000_000));
    let lease = node.lease().await;
    let stranger = Client::connect(SecretKey::from_seed([0x77; 32]), network.gateway.address.clone()).await.unwrap();
    for other in [&node.owner().await, &stranger] {
        assert_eq!(other.ask(Query::Job(lease.job)).await.unwrap(), Answer::Job(None));
        assert_eq!(other.ask(Query::Why(lease.job)).await.unwrap(), Answer::Why(vec![]));
        assert!(!matches!(other.ask(Query::Proof(lease.job)).await, Ok(Answer::Proof(Some(_)))));
        assert_eq!(refused(&mut other.attach(lease.job)).await, Refusal::UnknownJob);
        assert!(other.logs(lease.job, 0).await.is_err());
        other.cancel(lease.job).unwrap();
    }
    // It was not cancelled: it ends as its node says.
    node.finish(&lease, FINISHED, 3_000_000_000);
    timeout(PATIENCE, running.settled()).await.expect("it ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn node_is_let_in_with_a_gpu_whose_class_can_be_shown_and_with_no_other() {
    let network = Network::empty();
    let longest = "x".repeat(limits::GPU_CLASS_BYTES_MAX);
    for (class, is_let_in) in
        [(CLASS, true), (&longest, true), ("", false), (&format!("{longest}x"), false), ("a\u{1b}[2J", false)]
    {
        let node = Hand::join_with(&network, "node", with_gpu(class)).await;
        assert_eq!(node.is_ok(), is_let_in, "{class:?}");
        assert!(node.err().is_none_or(|no| matches!(no, Rejection::BadOffer(_))), "{class:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_names_the_gpu_that_was_offered_also_where_its_owner_switched_it_off_meanwhile() {
    let network = Network::empty();
    let client = network.client().await;
    let mut node = Hand::join_with(&network, "node", with_gpu(CLASS)).await.unwrap_or_else(|no| panic!("{no}"));
    let mut job = echo(&client, 10_000_000_000);
    job.spec.gpu = Some(GpuNeed::default());
    job.spec.limits.gpu_ns = 1_000;
    let mut handle = client.submit(client.salted(job));
    let lie = node.lease().await;
    node.say(&ran_on(&node, &lie, "discrete/maker/driver"));
    let truth = node.lease().await;
    assert_eq!(truth.attempt.0, 2, "the first receipt was refused");
    let looking = async {
        while unpaid(&node.owner().await).await.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    timeout(PATIENCE, looking).await.expect("its owner is told");
    assert!(unpaid(&node.owner().await).await[0].reason.contains("its GPU's class is not what was leased"));
    node.say(&NodeMessage::Offer(Box::new(offer(1))));
    node.say(&ran_on(&node, &truth, CLASS));
    let settled = timeout(PATIENCE, handle.settled()).await.expect("it ends").unwrap();
    assert_eq!(settled.done.receipt.receipt().gpu.as_ref().map(|run| run.class.as_str()), Some(CLASS));
}
