use adit_client::{Job, JobError, Source};
use adit_protocol::{ClientMessage, Refusal};

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
