use adit_client::{Job, JobError, Source, Update};
use adit_protocol::{Answer, ClientMessage, GatewayToClient, JobEvent, JobId, JobResult, Query, Refusal};

use crate::connected;

#[tokio::test]
async fn second_job_under_a_key_is_refused_and_the_first_goes_on() {
    let (client, _connection, _outbox, mut inbox) = connected().await;
    let first = Job::new(Source::bytes(b"module".to_vec()), Source::bytes(b"input".to_vec()));
    let mut second = first.clone();
    second.spec.seed += 1;

    let _first = client.submit(first.clone());
    let mut refused = client.submit(second);
    assert!(matches!(refused.ended().await, Err(JobError::Refused { refusal: Refusal::KeyConflict, .. })));

    // The gateway hears of the first alone, and once more where it is submitted once more.
    let _again = client.submit(first.clone());
    for _ in 0..2 {
        let Ok(Some(ClientMessage::Submit { spec, .. })) = inbox.next().await else { panic!("a submission comes") };
        assert_eq!(*spec, first.spec);
    }
}

/// Once a gateway could fill its client's memory with the progress of a job that nobody looked at.
#[tokio::test]
async fn handle_that_is_not_read_keeps_little_and_hears_of_the_end() {
    let (client, _connection, outbox, mut inbox) = connected().await;
    let mut handle = client.submit(Job::new(Source::bytes(b"module".to_vec()), Source::bytes(b"input".to_vec())));
    let Ok(Some(ClientMessage::Submit { key, .. })) = inbox.next().await else { panic!("a submission comes") };
    let job = JobId::derive(&client.key(), &key);
    let tell = |event| outbox.send(&GatewayToClient::Event { job, event: Box::new(event) }).unwrap();
    for done in 0..10_000 {
        tell(JobEvent::Progress { done, total: 10_000 });
        outbox.room().await;
    }
    tell(JobEvent::Ended(JobResult::Refused(Refusal::UnknownJob)));
    // All of that has arrived when the answer to a question has that was asked behind it.
    let answering = async {
        let Ok(Some(ClientMessage::Ask { request, .. })) = inbox.next().await else { panic!("a question comes") };
        outbox.send(&GatewayToClient::Answer { request, answer: Answer::Jobs(Vec::new()) }).unwrap();
    };
    tokio::join!(async { client.ask(Query::Account).await.unwrap() }, answering);
    let mut told = 0;
    let end = loop {
        match handle.next().await {
            Ok(Some(Update::Progress { done, .. })) if done == told => told += 1,
            other => break other,
        }
    };
    assert!(matches!(end, Err(JobError::Refused { refusal: Refusal::UnknownJob, .. })), "{end:?}");
    assert!((1..1_024).contains(&told), "{told}");
}
