use std::collections::VecDeque;
use std::time::Duration;

use adit_client::{Client, Job, JobError, Source, Update};
use adit_protocol::{ClientMessage, Digest, GatewayToClient, JobEvent, JobId, JobResult, Refusal, StreamReply};
use adit_transport::{Inbox, read_request, write_frame};
use tokio::time::timeout;

use crate::{connected, take, take_blob};

/// Jobs that lack the same module at the same time.
const JOBS: usize = 5;

async fn submission(inbox: &mut Inbox, client: &Client) -> (JobId, Digest) {
    match inbox.next().await {
        Ok(Some(ClientMessage::Submit { key, spec, .. })) => (JobId::derive(&client.key(), &key), spec.module.digest),
        other => panic!("{other:?} is no submission"),
    }
}

#[tokio::test]
async fn module_that_many_jobs_lack_is_sent_once() {
    let (client, connection, outbox, mut inbox) = connected().await;
    let module = Source::bytes(vec![7; 100_000]);
    let mut handles: Vec<_> = (0..JOBS).map(|n| client.submit(Job::new(module.clone(), Source::bytes(vec![n as u8])))).collect();
    for _ in 0..JOBS {
        let (job, module) = submission(&mut inbox, &client).await;
        outbox.send(&GatewayToClient::NeedBlobs { job, missing: vec![module] }).unwrap();
    }
    assert_eq!(take_blob(&connection).await, module.blob());
    for _ in 0..JOBS {
        // Each is submitted again, now that the module is there; a refusal ends the test.
        let (job, _) = submission(&mut inbox, &client).await;
        let event = Box::new(JobEvent::Ended(JobResult::Refused(Refusal::UnknownJob)));
        outbox.send(&GatewayToClient::Event { job, event }).unwrap();
    }
    for handle in &mut handles {
        assert!(matches!(handle.ended().await, Err(JobError::Refused { .. })));
    }
    client.close().await;
    // Nothing but the one blob was sent.
    assert!(connection.accept_transfer().await.is_err());
}

/// Once all that many jobs needed was sent at once, each for as long as all of it took, and over a slow line none in time.
#[tokio::test]
async fn few_blobs_are_sent_at_once_and_all_in_the_end() {
    let (client, connection, outbox, mut inbox) = connected().await;
    let modules: Vec<Source> = (0..7).map(|n| Source::bytes(vec![n; 100_000])).collect();
    let _handles: Vec<_> =
        modules.iter().map(|module| client.submit(Job::new(module.clone(), Source::bytes(Vec::new())))).collect();
    for _ in &modules {
        let (job, module) = submission(&mut inbox, &client).await;
        outbox.send(&GatewayToClient::NeedBlobs { job, missing: vec![module] }).unwrap();
    }
    let (mut open, mut taken) = (VecDeque::new(), 0);
    while taken < modules.len() {
        while let Ok(transfer) = timeout(Duration::from_millis(200), connection.accept_transfer()).await {
            open.push_back(transfer.unwrap());
        }
        assert_eq!(open.len(), 4.min(modules.len() - taken));
        take(open.pop_front().unwrap()).await;
        taken += 1;
    }
}

/// Once a gateway whose store was full of what others' jobs needed ended a job for good.
#[tokio::test]
async fn job_is_submitted_again_where_there_is_no_room_for_what_it_needs() {
    let (client, connection, outbox, mut inbox) = connected().await;
    let module = Source::bytes(vec![7; 100_000]);
    let mut handle = client.submit(Job::new(module.clone(), Source::bytes(Vec::new())));
    let (job, missing) = submission(&mut inbox, &client).await;
    outbox.send(&GatewayToClient::NeedBlobs { job, missing: vec![missing] }).unwrap();
    let mut transfer = connection.accept_transfer().await.unwrap();
    read_request(&mut transfer.recv).await.unwrap();
    write_frame(&mut transfer.send, &StreamReply::Full { retry_after_ms: 20 }).await.unwrap();
    transfer.send.finish().unwrap();
    let postponed = handle.next().await;
    let Ok(Some(Update::Postponed { refusal: Refusal::ShareFull { what, retry_after_ms: 20 }, times: 1, .. })) = postponed else {
        panic!("{postponed:?}")
    };
    assert!(what.contains("no room"), "{what}");
    // It owes nothing meanwhile.
    assert!(matches!(inbox.next().await, Ok(Some(ClientMessage::Cancel { job: cancelled })) if cancelled == job));
    let (job, missing) = submission(&mut inbox, &client).await;
    outbox.send(&GatewayToClient::NeedBlobs { job, missing: vec![missing] }).unwrap();
    assert_eq!(take_blob(&connection).await, module.blob());
    submission(&mut inbox, &client).await;
    // Who comes again by itself hears of it as of any other refusal.
    let once = client.submit_once(Job::new(Source::bytes(vec![8; 100_000]), Source::bytes(Vec::new())));
    let (job, missing) = submission(&mut inbox, &client).await;
    outbox.send(&GatewayToClient::NeedBlobs { job, missing: vec![missing] }).unwrap();
    let mut transfer = connection.accept_transfer().await.unwrap();
    write_frame(&mut transfer.send, &StreamReply::Full { retry_after_ms: 20 }).await.unwrap();
    transfer.send.finish().unwrap();
    let mut once = once;
    assert!(matches!(once.ended().await, Err(JobError::Refused { refusal: Refusal::ShareFull { .. }, .. })));
}

/// A job that came again after the gateway had no room sent what another was sending by then. A gateway takes the newer of the two, and ended that
/// other job.
#[tokio::test]
async fn blob_is_sent_by_one_job_at_a_time_also_after_another_had_no_room() {
    let (client, connection, outbox, mut inbox) = connected().await;
    let module = Source::bytes(vec![7; 100_000]);
    let job = |n: u8| Job::new(module.clone(), Source::bytes(vec![n]));
    let _handles = [client.submit(job(1)), client.submit(job(2))];
    let mut asked = Vec::new();
    for _ in 0..2 {
        let (job, missing) = submission(&mut inbox, &client).await;
        outbox.send(&GatewayToClient::NeedBlobs { job, missing: vec![missing] }).unwrap();
        asked.push(job);
    }
    let mut transfer = connection.accept_transfer().await.unwrap();
    read_request(&mut transfer.recv).await.unwrap();
    write_frame(&mut transfer.send, &StreamReply::Full { retry_after_ms: 20 }).await.unwrap();
    transfer.send.finish().unwrap();
    let second = connection.accept_transfer().await.unwrap();
    assert!(matches!(inbox.next().await, Ok(Some(ClientMessage::Cancel { job })) if asked.contains(&job)));
    let (job, missing) = submission(&mut inbox, &client).await;
    outbox.send(&GatewayToClient::NeedBlobs { job, missing: vec![missing] }).unwrap();
    assert!(timeout(Duration::from_millis(200), connection.accept_transfer()).await.is_err(), "it is on its way");
    take(second).await;
    let again = [submission(&mut inbox, &client).await.0, submission(&mut inbox, &client).await.0];
    assert!(again[0] != again[1] && again.iter().all(|job| asked.contains(job)), "{again:?}");
}
