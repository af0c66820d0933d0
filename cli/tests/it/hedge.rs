//! A worker that stands still in the middle of a job: the job's second attempt, on another node, ends it.

use std::path::PathBuf;

use adit_client::{Client, Job, JobHandle, Source, Update};
use adit_protocol::{Attempt, Outcome, PublicKey};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use crate::guest;
use crate::hostile::account;
use crate::network::{Network, nodes_until};
use crate::process::{LOOK_EVERY, PATIENCE, Process};

/// Jobs of the module before: with so many, their times say what is unusual.
const HISTORY: usize = 10;

/// How often a job is begun that must not end before its worker is stopped.
const TRIES: usize = 10;

/// Some tenths of a second, and tells of its progress at once.
fn job(client: &Client, n: usize) -> Job {
    let mut job = Job::new(Source::bytes(guest::tick(2)), Source::bytes(n.to_le_bytes().to_vec()));
    job.spec.placement.hedge = true;
    client.salted(job)
}

/// What happened to a job on its way.
#[derive(Default)]
struct Story {
    /// Where each attempt was.
    started: Vec<(PublicKey, Attempt)>,
    /// Attempts that did not end it, with what they cost.
    interim: Vec<(Attempt, Outcome, u64)>,
    /// Who ended it, by which attempt, and what that cost.
    ended: Option<(PublicKey, Attempt, u64)>,
}

/// Follows a job to its end, and once it works does what the test likes.
async fn follow(mut handle: JobHandle, mut at_work: impl FnMut(PublicKey)) -> Story {
    let (mut story, mut was_at_work) = (Story::default(), false);
    let following = async {
        while let Some(update) = handle.next().await.unwrap() {
            match update {
                Update::Started { node, attempt } => story.started.push((node, attempt)),
                Update::Progress { .. } if !std::mem::replace(&mut was_at_work, true) => at_work(story.started[0].0),
                Update::Interim(receipt) => {
                    let receipt = receipt.receipt();
                    story.interim.push((receipt.attempt, receipt.outcome, receipt.cost.0));
                }
                Update::Settled(settled) => {
                    let receipt = settled.done.receipt.receipt();
                    assert!(receipt.outcome.is_success(), "{receipt:?}");
                    story.ended = Some((receipt.node, receipt.attempt, receipt.cost.0));
                }
                _ => {}
            }
        }
    };
    timeout(PATIENCE, following).await.expect("it ends");
    story
}

/// Stops a node's workers, so that the node is there and its job does not go on. Stopped processes can be killed.
fn stop_workers(node: &Process) {
    for worker in node.children() {
        // One that ended meanwhile was not at work.
        let _ = kill_process(Pid::from_raw(worker as i32).unwrap(), Signal::STOP);
    }
}

/// What a client has, once nothing of it is held.
async fn available(client: &Client) -> u64 {
    let looking = async {
        loop {
            let status = account(client).await;
            if status.held.0 == 0 {
                return status.available.0;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    timeout(PATIENCE, looking).await.expect("a hold is left")
}

/// The receipt of the attempt that lost was saved without a proof, and `adit verify` refused what `adit receipts --save` had written.
fn check_saved(network: &Network, story: &Story, lost: Attempt) {
    network.adit(["receipts", "--save", "saved"]).run().ok();
    let files: Vec<_> = std::fs::read_dir(network.home.path("saved")).unwrap().map(|file| file.unwrap().path()).collect();
    let is_of_loser = |file: &&PathBuf| file.to_str().unwrap().ends_with(&format!(".attempt-{lost}.receipt"));
    let loser = files.iter().find(is_of_loser).unwrap_or_else(|| panic!("{files:?}"));
    let policy = network.home.file("none.policy", "quorum none\n");
    for args in [vec![], vec!["--policy".as_ref(), policy.as_os_str()]] {
        network.home.adit(["verify"]).args(&files).args(args).run().ok();
    }
    let told = network.home.adit(["verify", "--json"]).args([loser]).run().ok().json();
    assert!(told.to_string().contains("as an attempt that did not end its job"), "{told} of {:?}", story.interim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_whose_worker_stands_still_is_ended_by_its_second_attempt() {
    let network = Network::with_slots(&[1, 1]);
    let client = network.client().await;
    let nodes = nodes_until(&client, |nodes| nodes.len() == 2).await;
    for n in 0..HISTORY {
        follow(client.submit(job(&client, n)), |_| {}).await;
    }
    let mut before = available(&client).await;
    for n in HISTORY..HISTORY + TRIES {
        let job = job(&client, n);
        // What is held, and no attempt or two may cost more.
        let most =
            nodes.iter().map(|node| node.offer.price.cost_max(&job.spec.limits, job.spec.bytes_in().0).unwrap().0).max().unwrap();
        let story = follow(client.submit(job), |node| stop_workers(network.node_of(node))).await;
        let after = available(&client).await;
        let ((node, attempt, cost), paid) = (story.ended.expect("it ends"), before - after);
        before = after;
        assert_eq!(paid, cost + story.interim.iter().map(|(.., cost)| cost).sum::<u64>(), "each attempt is paid once");
        assert!(0 < paid && paid <= most, "{paid} of {most}");
        let [first, second] = story.started[..] else {
            // The machine stood still, and the job had ended before its worker was stopped.
            continue;
        };
        assert_ne!(first.0, second.0);
        assert_eq!((node, attempt), second, "the first stands still");
        assert!(matches!(story.interim[..], [(attempt, Outcome::Cancelled, _)] if attempt == first.1), "{:?}", story.interim);
        // Its node goes on, with another worker.
        let both = [100, 101].map(|n| client.submit(self::job(&client, n)));
        for handle in both {
            follow(handle, |_| {}).await;
        }
        check_saved(&network, &story, first.1);
        return;
    }
    panic!("each of {TRIES} jobs ended before its worker was stopped");
}
