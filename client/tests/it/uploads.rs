use adit_client::{Client, Job, JobError, Source};
use adit_protocol::{
    BlobRef, ClientMessage, Digest, GatewayToClient, JobEvent, JobId, JobResult, Refusal, StreamReply, StreamRequest,
};
use adit_transport::{Connection, Inbox, read_request, write_frame};

use crate::connected;

/// Jobs that lack the same module at the same time.
const JOBS: usize = 5;

async fn submission(inbox: &mut Inbox, client: &Client) -> (JobId, Digest) {
    match inbox.next().await {
        Ok(Some(ClientMessage::Submit { key, spec, .. })) => (JobId::derive(&client.key(), &key), spec.module.digest),
        other => panic!("{other:?} is no submission"),
    }
}

/// Takes the one blob that is sent next.
async fn take_blob(connection: &Connection) -> BlobRef {
    let mut transfer = connection.accept_transfer().await.unwrap();
    let StreamRequest::Put(blob) = read_request(&mut transfer.recv).await.unwrap() else { panic!("only blobs are sent") };
    let bytes = transfer.recv.read_to_end(1 << 20).await.unwrap();
    assert_eq!(BlobRef::of(&bytes), blob);
    write_frame(&mut transfer.send, &StreamReply::Stored(blob)).await.unwrap();
    transfer.send.finish().unwrap();
    blob
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
