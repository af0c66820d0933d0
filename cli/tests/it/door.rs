//! More at the gateway's door than may come in: who is sent away hears so at once, with the time to come back at.

use std::time::Instant;

use adit_protocol::{
    Answer, BlobRef, ClientMessage, GatewayToClient, Greeting, IdempotencyKey, JobEvent, JobResult, JobSpec, Query, Refusal,
    SecretKey,
};
use adit_transport::{Connection, DialError, Dialer, GatewayAddr, Inbox, Outbox};
use tokio::time::timeout;

use crate::network::{Gateway, Home};
use crate::process::{LOOK_EVERY, PATIENCE};

/// A client that does as it likes.
struct Pusher {
    connection: Connection,
    outbox: Outbox,
    inbox: Inbox,
    /// Keeps the socket.
    _dialer: Dialer,
}

/// What became of a submission.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// It is in, so far that its module is wanted.
    In,
    RetryAfter(u64),
}

impl Pusher {
    async fn connect(gateway: &GatewayAddr) -> Result<Self, DialError> {
        let dialer = Dialer::new(SecretKey::generate()).unwrap();
        let connection = dialer.dial(gateway).await?;
        let (outbox, mut inbox) = connection.open_control().await.unwrap();
        outbox.send(&Greeting::Client { software: "pusher".into() }).unwrap();
        assert!(matches!(inbox.next().await, Ok(Some(GatewayToClient::Welcome { .. }))));
        Ok(Self { connection, outbox, inbox, _dialer: dialer })
    }

    fn submit(&self, number: u64) {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_le_bytes());
        let spec = Box::new(JobSpec::new(BlobRef::of(b"a module that is not there"), BlobRef::of(b"")));
        self.outbox.send(&ClientMessage::Submit { key: IdempotencyKey(key), spec, input: Some(Vec::new()) }).unwrap();
    }

    async fn word(&mut self) -> Word {
        match timeout(PATIENCE, self.inbox.next()).await.expect("an answer comes").unwrap().unwrap() {
            GatewayToClient::NeedBlobs { .. } => Word::In,
            GatewayToClient::Event { event, .. } => match *event {
                JobEvent::Ended(JobResult::Refused(Refusal::RateLimited { retry_after_ms })) => Word::RetryAfter(retry_after_ms),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Submits so many at once. How many got in, and what the others were told.
    async fn push(&mut self, count: u64) -> (u64, Vec<u64>) {
        (0..count).for_each(|n| self.submit(n));
        let mut told = Vec::new();
        for _ in 0..count {
            if let Word::RetryAfter(ms) = self.word().await {
                told.push(ms);
            }
        }
        (count - told.len() as u64, told)
    }
}

fn gateway(args: &[&str]) -> (Home, Gateway) {
    let home = Home::new();
    let gateway = Gateway::start_with(&home, "127.0.0.1:0", args);
    (home, gateway)
}

#[tokio::test]
async fn key_that_submits_too_fast_is_told_when_to_come_back_and_others_are_not() {
    let (_home, gateway) = gateway(&["--submit-rate", "5"]);
    let [mut greedy, mut modest] =
        [Pusher::connect(&gateway.address).await, Pusher::connect(&gateway.address).await].map(Result::unwrap);
    let begun = Instant::now();
    let (passed, told) = greedy.push(1_000).await;
    let most = 10 + 5 * (begun.elapsed().as_secs() + 1);
    assert!((10..=most).contains(&passed), "{passed} passed of 10 at once and 5 a second");
    // One after another, and no later than is sensible.
    assert!(told[0] <= 200 && told.iter().all(|ms| (1..=30_000).contains(ms)), "{told:?}");
    assert!(told[50] > 5_000 && told[told.len() - 1] > 29_000, "{told:?}");
    assert_eq!(modest.push(10).await.0, 10);
    // It is not locked out either.
    let begun = Instant::now();
    loop {
        greedy.submit(7);
        if greedy.word().await == Word::In {
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test]
async fn address_is_bounded_under_however_many_keys() {
    let (_home, gateway) = gateway(&["--submit-rate", "off", "--address-rate", "5"]);
    let begun = Instant::now();
    let mut passed = 0;
    for _ in 0..20 {
        passed += Pusher::connect(&gateway.address).await.unwrap().push(5).await.0;
    }
    let most = 10 + 5 * (begun.elapsed().as_secs() + 1);
    assert!((10..=most).contains(&passed), "{passed} passed of 10 at once and 5 a second");
}

#[tokio::test]
async fn connections_over_the_rate_are_refused_before_a_handshake_and_those_that_are_there_stay() {
    let (_home, gateway) = gateway(&["--connect-rate", "1"]);
    let mut first = Pusher::connect(&gateway.address).await.unwrap();
    // Two at once that have proved nothing, and two that came again from where they say they are.
    let mut held = Vec::new();
    for _ in 1..4 {
        held.push(Pusher::connect(&gateway.address).await.unwrap());
    }
    let begun = Instant::now();
    let refused = loop {
        match Pusher::connect(&gateway.address).await {
            Ok(pusher) => held.push(pusher),
            Err(error) => break error,
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert!(matches!(refused, DialError::Busy { .. }), "{refused:?}");
    assert!(refused.to_string().contains("too many connections from here"), "{refused}");
    first.outbox.send(&ClientMessage::Ask { request: 1, query: Query::Account }).unwrap();
    let answer = timeout(PATIENCE, first.inbox.next()).await.unwrap().unwrap();
    assert!(matches!(answer, Some(GatewayToClient::Answer { answer: Answer::Account(_), .. })), "{answer:?}");
    assert!(timeout(LOOK_EVERY, first.connection.closed()).await.is_err());
    // Soon there is room again.
    let begun = Instant::now();
    while Pusher::connect(&gateway.address).await.is_err() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
