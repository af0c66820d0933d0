//! A gateway that has no room, for a while.

use std::time::{Duration, Instant};

use adit_client::{Client, Config, ConnectError, Job, JobError, JobHandle, Pauses, Source, Update};
use adit_protocol::{ClientMessage, GatewayToClient, JobEvent, JobId, JobResult, Query, Refusal, Rejection, SecretKey};
use adit_transport::{Connection, Inbox, Listener, Outbox};
use tokio::time::timeout;

use crate::{connected, greet, listener, take_blob, welcome};

/// How long anything may take. Nothing comes near it, but for a test that has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn job() -> Job {
    Job::new(Source::bytes(b"module".to_vec()), Source::bytes(b"input".to_vec()))
}

/// The same with a deadline.
fn urgent(deadline_ms: u64) -> Job {
    let mut job = job();
    job.spec.placement.deadline_ms = Some(deadline_ms);
    job
}

fn full(retry_after_ms: u64) -> Refusal {
    Refusal::QueueFull { queued: 7, retry_after_ms }
}

/// The next message of a client.
async fn heard(inbox: &mut Inbox) -> ClientMessage {
    timeout(PATIENCE, inbox.next()).await.expect("a message comes").unwrap().unwrap()
}

fn tell(outbox: &Outbox, job: JobId, event: JobEvent) {
    outbox.send(&GatewayToClient::Event { job, event: Box::new(event) }).unwrap();
}

fn refuse(outbox: &Outbox, job: JobId, refusal: Refusal) {
    tell(outbox, job, JobEvent::Ended(JobResult::Refused(refusal)));
}

async fn told(handle: &mut JobHandle) -> Update {
    timeout(PATIENCE, handle.next()).await.expect("an update comes").unwrap().expect("there is more to hear")
}

async fn connected_with(patience: Duration) -> (Client, Listener, Connection, Outbox, Inbox) {
    let (listener, address) = listener();
    let config = Config { patience, ..Config::default() };
    let connecting = Client::connect_with(SecretKey::from_seed([2; 32]), address, config);
    let (client, (connection, outbox, inbox)) = tokio::join!(connecting, greet(&listener, welcome()));
    (client.unwrap(), listener, connection, outbox, inbox)
}

#[tokio::test]
async fn job_without_room_is_submitted_again_under_its_key_and_never_too_early() {
    let (client, _connection, outbox, mut inbox) = connected().await;
    let mut handle = client.submit(job());
    let first = heard(&mut inbox).await;
    assert!(matches!(first, ClientMessage::Submit { .. }));
    for (times, refusal) in [(1, full(30)), (2, Refusal::RateLimited { retry_after_ms: 70 }), (3, full(1))] {
        let refused_at = Instant::now();
        refuse(&outbox, handle.id(), refusal.clone());
        let Update::Postponed { refusal: heard_refusal, wait, times: heard_times } = told(&mut handle).await else {
            panic!("it is postponed")
        };
        assert_eq!((heard_refusal, heard_times), (refusal, times));
        assert_eq!(heard(&mut inbox).await, first, "the same job under the same key");
        let after = [30, 70, 1][times as usize - 1];
        assert!(wait > Duration::from_millis(after) && refused_at.elapsed() >= wait, "{wait:?}");
    }
    tell(&outbox, handle.id(), JobEvent::Queued);
    assert!(matches!(told(&mut handle).await, Update::Queued));
    // Taken once, it begins anew.
    refuse(&outbox, handle.id(), full(1));
    assert!(matches!(told(&mut handle).await, Update::Postponed { times: 1, .. }));
}

#[tokio::test]
async fn other_refusals_end_the_job_at_once() {
    let (client, _connection, outbox, mut inbox) = connected().await;
    let mut handle = client.submit(job());
    heard(&mut inbox).await;
    refuse(&outbox, handle.id(), Refusal::QueueTimeout { waited_ms: 5 });
    let ended = timeout(PATIENCE, handle.next()).await.unwrap();
    assert!(matches!(ended, Err(JobError::Refused { refusal: Refusal::QueueTimeout { waited_ms: 5 }, .. })), "{ended:?}");
}

#[tokio::test]
async fn job_that_is_submitted_once_ends_where_there_is_no_room() {
    let (client, _connection, outbox, mut inbox) = connected().await;
    let job = job();
    let mut handle = client.submit_once(job.clone());
    let first = heard(&mut inbox).await;
    refuse(&outbox, handle.id(), full(40));
    let ended = timeout(PATIENCE, handle.next()).await.unwrap();
    let Err(JobError::Refused { refusal, .. }) = ended else { panic!("{ended:?}") };
    let mut pauses = Pauses::within(Duration::from_secs(10));
    assert!((50..=90).contains(&pauses.after(&refusal).unwrap().as_millis()));
    assert_eq!((pauses.after(&full(3_600_000)), pauses.after(&Refusal::KeyConflict)), (None, None));
    // Again, it is the same job.
    let _handle = client.submit_once(job);
    assert_eq!(heard(&mut inbox).await, first);
}

#[tokio::test]
async fn patience_ends_with_what_the_gateway_said() {
    for (patience_ms, postponed) in [(0, 0), (1_000, 1)] {
        let (client, _listener, _connection, outbox, mut inbox) = connected_with(Duration::from_millis(patience_ms)).await;
        let mut handle = client.submit(job());
        for _ in 0..postponed {
            heard(&mut inbox).await;
            refuse(&outbox, handle.id(), full(1));
            assert!(matches!(told(&mut handle).await, Update::Postponed { .. }));
        }
        heard(&mut inbox).await;
        // Longer than what is left: it is told at once, and not after that.
        refuse(&outbox, handle.id(), full(3_600_000));
        let ended = timeout(PATIENCE, handle.next()).await.unwrap();
        assert!(matches!(&ended, Err(JobError::Refused { refusal, .. }) if *refusal == full(3_600_000)), "{ended:?}");
    }
}

/// How long ago a job was submitted first, as a submission says that has nothing else new.
fn since(submission: &ClientMessage, first: &ClientMessage) -> Duration {
    let mut submission = submission.clone();
    let ClientMessage::Submit { since_ms, .. } = &mut submission else { panic!("{submission:?}") };
    let since = Duration::from_millis(std::mem::take(since_ms));
    assert_eq!(submission, *first, "the same job under the same key");
    since
}

/// Once a job had its whole deadline again with each submission.
#[tokio::test]
async fn each_submission_says_how_long_ago_the_first_one_was() {
    let (client, listener, connection, outbox, mut inbox) = connected_with(PATIENCE).await;
    let job = urgent(3_600_000);
    let before = Instant::now();
    let mut handle = client.submit(job.clone());
    let after = Instant::now();
    let mut first = heard(&mut inbox).await;
    // A slow machine takes a moment for that one, too.
    let ClientMessage::Submit { since_ms, .. } = &mut first else { panic!("{first:?}") };
    assert!(Duration::from_millis(std::mem::take(since_ms)) <= before.elapsed());
    let mut at_least = Duration::ZERO;
    let mut check = |submission: &ClientMessage| {
        let since = since(submission, &first);
        // It counts whole milliseconds.
        assert!(at_least <= since && since <= before.elapsed(), "{since:?}, and {at_least:?} before");
        at_least = after.elapsed().saturating_sub(Duration::from_millis(1));
    };
    // Because there was no room.
    refuse(&outbox, handle.id(), full(40));
    let refused_at = Instant::now();
    assert!(matches!(told(&mut handle).await, Update::Postponed { .. }));
    check(&heard(&mut inbox).await);
    assert!(refused_at.elapsed() >= Duration::from_millis(40));
    // Because its module was asked for.
    outbox.send(&GatewayToClient::NeedBlobs { job: handle.id(), missing: vec![job.spec.module.digest] }).unwrap();
    take_blob(&connection).await;
    check(&heard(&mut inbox).await);
    // Because the connection was lost.
    connection.close("lost");
    let (_connection, outbox, mut inbox) = greet(&listener, welcome()).await;
    check(&heard(&mut inbox).await);
    // Because there is a second handle.
    let _second = client.submit(job.clone());
    check(&heard(&mut inbox).await);
    // Because its caller comes again.
    tell(&outbox, handle.id(), JobEvent::Ended(JobResult::CancelledInQueue));
    while timeout(PATIENCE, handle.next()).await.unwrap().is_ok() {}
    let _again = client.submit_once(Job { since: Some(before), ..job });
    check(&heard(&mut inbox).await);
}

#[tokio::test]
async fn job_that_would_come_again_after_its_deadline_ends_at_once_as_one_that_misses_it() {
    let (client, _listener, _connection, outbox, mut inbox) = connected_with(Duration::from_secs(7_200)).await;
    let submits: [fn(&Client, Job) -> JobHandle; 2] = [Client::submit, Client::submit_once];
    for submit in submits {
        let mut handle = submit(&client, urgent(600_000));
        heard(&mut inbox).await;
        refuse(&outbox, handle.id(), full(600_000));
        let ended = timeout(PATIENCE, handle.next()).await.unwrap();
        let Err(JobError::Refused { refusal: Refusal::DeadlineMissed { left_ms, needed_ms: 0 }, .. }) = &ended else {
            panic!("{ended:?}")
        };
        assert!((500_000..=600_000).contains(left_ms), "{left_ms}");
    }
    nothing_until_another_job(&client, &outbox, &mut inbox).await;
    // What was withdrawn has not missed anything.
    let mut handle = client.submit(urgent(600_000));
    heard(&mut inbox).await;
    handle.cancel();
    heard(&mut inbox).await;
    refuse(&outbox, handle.id(), full(600_000));
    let ended = timeout(PATIENCE, handle.next()).await.unwrap();
    assert!(matches!(ended, Err(JobError::CancelledInQueue { .. })), "{ended:?}");
    // Of the rest of its time a pause takes half at the most.
    for _ in 0..20 {
        let mut handle = client.submit(urgent(600_000));
        heard(&mut inbox).await;
        refuse(&outbox, handle.id(), full(599_000));
        match timeout(PATIENCE, handle.next()).await.unwrap() {
            Ok(Some(Update::Postponed { wait, .. })) => assert!(wait <= Duration::from_millis(599_500), "{wait:?}"),
            // The machine stood still for a second.
            Err(JobError::Refused { refusal: Refusal::DeadlineMissed { .. }, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Once a second handle had the job submitted again at once, as often as somebody liked.
#[tokio::test]
async fn second_handle_of_a_waiting_job_does_not_submit_it_before_its_time() {
    let (client, _connection, outbox, mut inbox) = connected().await;
    let job = job();
    let mut first = client.submit(job.clone());
    let submitted = heard(&mut inbox).await;
    refuse(&outbox, first.id(), full(400));
    let Update::Postponed { wait, .. } = told(&mut first).await else { panic!("it is postponed") };
    let refused_at = Instant::now();
    let mut others = [client.attach(first.id()), client.submit(job)];
    // Another question comes before.
    let asking = client.clone();
    let asking = tokio::spawn(async move { asking.ask(Query::Account).await.map(drop) });
    let next = heard(&mut inbox).await;
    if refused_at.elapsed() < wait {
        assert!(matches!(next, ClientMessage::Ask { .. }), "{next:?}");
        assert_eq!(heard(&mut inbox).await, submitted);
        assert!(refused_at.elapsed() + Duration::from_millis(50) >= wait);
    }
    asking.abort();
    // All hear of it from there on.
    tell(&outbox, first.id(), JobEvent::Queued);
    for handle in others.iter_mut().chain([&mut first]) {
        assert!(matches!(told(handle).await, Update::Queued));
    }
}

#[tokio::test]
async fn job_that_is_cancelled_while_it_waits_ends_at_once_and_is_not_submitted() {
    let (client, _connection, outbox, mut inbox) = connected().await;
    let mut handle = client.submit(job());
    heard(&mut inbox).await;
    refuse(&outbox, handle.id(), full(50));
    assert!(matches!(told(&mut handle).await, Update::Postponed { .. }));
    handle.cancel();
    let ended = timeout(PATIENCE, handle.next()).await.unwrap();
    assert!(matches!(ended, Err(JobError::CancelledInQueue { .. })), "{ended:?}");
    assert_eq!(heard(&mut inbox).await, ClientMessage::Cancel { job: handle.id() });
    nothing_until_another_job(&client, &outbox, &mut inbox).await;
}

#[tokio::test]
async fn job_whose_handle_is_dropped_while_it_waits_is_not_submitted() {
    let (client, _connection, outbox, mut inbox) = connected().await;
    let mut handle = client.submit(job());
    heard(&mut inbox).await;
    refuse(&outbox, handle.id(), full(50));
    assert!(matches!(told(&mut handle).await, Update::Postponed { .. }));
    drop(handle);
    nothing_until_another_job(&client, &outbox, &mut inbox).await;
}

/// Checks that nothing is heard while another job waits that was refused later and for longer.
async fn nothing_until_another_job(client: &Client, outbox: &Outbox, inbox: &mut Inbox) {
    let mut other = client.submit(job());
    let submitted = heard(inbox).await;
    refuse(outbox, other.id(), full(400));
    assert!(matches!(told(&mut other).await, Update::Postponed { .. }));
    assert_eq!(heard(inbox).await, submitted);
}

#[tokio::test]
async fn cancelled_job_that_is_refused_at_the_same_moment_counts_as_cancelled() {
    let (client, _connection, outbox, mut inbox) = connected().await;
    let mut handle = client.submit(job());
    heard(&mut inbox).await;
    handle.cancel();
    heard(&mut inbox).await;
    refuse(&outbox, handle.id(), full(1));
    let ended = timeout(PATIENCE, handle.next()).await.unwrap();
    assert!(matches!(ended, Err(JobError::CancelledInQueue { .. })), "{ended:?}");
}

#[tokio::test]
async fn waiting_job_is_not_submitted_before_its_time_by_a_connection_that_is_made_again() {
    let (client, listener, connection, outbox, mut inbox) = connected_with(PATIENCE).await;
    let mut handle = client.submit(job());
    let submitted = heard(&mut inbox).await;
    let refused_at = Instant::now();
    refuse(&outbox, handle.id(), full(700));
    let Update::Postponed { wait, .. } = told(&mut handle).await else { panic!("it is postponed") };
    connection.close("lost");
    let (_connection, _outbox, mut inbox) = greet(&listener, welcome()).await;
    // Another question comes first, as the job has time.
    let asking = tokio::spawn(async move { client.ask(Query::Account).await.map(drop) });
    let first = heard(&mut inbox).await;
    if refused_at.elapsed() < wait {
        assert!(matches!(first, ClientMessage::Ask { .. }), "{first:?}");
        assert_eq!(heard(&mut inbox).await, submitted);
        assert!(refused_at.elapsed() >= wait);
    }
    asking.abort();
}

#[tokio::test]
async fn full_gateway_is_asked_again_and_others_are_not() {
    let (listener, address) = listener();
    let key = || SecretKey::from_seed([2; 32]);
    let gateway = async {
        let began = Instant::now();
        let _first = greet(&listener, GatewayToClient::Rejected(Rejection::Full { retry_after_ms: 40 })).await;
        let second = greet(&listener, welcome()).await;
        assert!(began.elapsed() >= Duration::from_millis(40));
        second
    };
    let (client, _second) = tokio::join!(Client::connect(key(), address.clone()), gateway);
    client.unwrap();
    let no = GatewayToClient::Rejected(Rejection::NotAdmitted("no".into()));
    let (refused, _third) = tokio::join!(Client::connect(key(), address.clone()), greet(&listener, no));
    assert!(matches!(refused, Err(ConnectError::Rejected(Rejection::NotAdmitted(_)))), "{refused:?}");
    let full = GatewayToClient::Rejected(Rejection::Full { retry_after_ms: 40 });
    let hasty = Config { patience: Duration::ZERO, ..Config::default() };
    let (refused, _fourth) = tokio::join!(Client::connect_with(key(), address, hasty), greet(&listener, full));
    assert!(matches!(refused, Err(ConnectError::Rejected(Rejection::Full { .. }))), "{refused:?}");
}

#[tokio::test]
async fn waiting_job_that_is_cancelled_while_the_gateway_is_lost_is_withdrawn_from_the_next_connection_at_once() {
    let (client, listener, connection, outbox, mut inbox) = connected_with(Duration::from_secs(7_200)).await;
    let mut handle = client.submit(job());
    heard(&mut inbox).await;
    refuse(&outbox, handle.id(), full(3_600_000));
    assert!(matches!(told(&mut handle).await, Update::Postponed { .. }));
    connection.close("lost");
    assert!(matches!(told(&mut handle).await, Update::Reconnecting { .. }));
    handle.cancel();
    let (_connection, outbox, mut inbox) = greet(&listener, welcome()).await;
    assert_eq!(heard(&mut inbox).await, ClientMessage::Attach { job: handle.id() });
    assert_eq!(heard(&mut inbox).await, ClientMessage::Cancel { job: handle.id() });
    refuse(&outbox, handle.id(), Refusal::UnknownJob);
    assert!(matches!(told(&mut handle).await, Update::Reconnected));
    let ended = timeout(PATIENCE, handle.next()).await.unwrap();
    assert!(matches!(ended, Err(JobError::CancelledInQueue { .. })), "{ended:?}");
}

/// A gateway that is asked too fast does not look which job it is. One that it runs was taken for one that misses its deadline, and its result was
/// lost.
#[tokio::test]
async fn job_over_its_deadline_that_may_be_running_is_asked_for_again() {
    let (client, _connection, outbox, mut inbox) = connected().await;
    let mut handle = client.submit(urgent(50));
    assert!(matches!(heard(&mut inbox).await, ClientMessage::Submit { .. }));
    tokio::time::sleep(Duration::from_millis(60)).await;
    refuse(&outbox, handle.id(), Refusal::RateLimited { retry_after_ms: 20 });
    assert!(matches!(told(&mut handle).await, Update::Postponed { refusal: Refusal::RateLimited { .. }, .. }));
    assert!(matches!(heard(&mut inbox).await, ClientMessage::Submit { since_ms: 50.., .. }));
    // Who comes again by itself hears just that.
    let mut once = client.submit_once(urgent(0));
    assert!(matches!(heard(&mut inbox).await, ClientMessage::Submit { .. }));
    refuse(&outbox, once.id(), Refusal::RateLimited { retry_after_ms: 20 });
    let refused = once.ended().await;
    assert!(matches!(refused, Err(JobError::Refused { refusal: Refusal::RateLimited { .. }, .. })), "{refused:?}");
}
