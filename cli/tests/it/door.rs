//! More at the gateway's door than may come in: who is sent away hears so at once, with the time to come back at.

use std::time::{Duration, Instant};

use adit_protocol::{
    Answer, BlobRef, ByteCount, ClientMessage, Fuel, GatewayToClient, Greeting, IdempotencyKey, JobEvent, JobResult, JobSpec,
    NamedInput, Query, Refusal, SecretKey, StreamReply, StreamRequest,
};
use adit_transport::{Connection, DialError, Dialer, GatewayAddr, Inbox, Outbox, Transfer, read_reply};
use tokio::time::{timeout, timeout_at};

use crate::network::{Gateway, Home, Network};
use crate::process::{LOOK_EVERY, PATIENCE, until};

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
    /// It is in, so far that there is no node for it.
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
        self.submit_spec(number, JobSpec::new(BlobRef::of(b"a module that is not there"), BlobRef::of(b"")));
    }

    fn submit_spec(&self, number: u64, spec: JobSpec) {
        self.submit_since(number, spec, 0);
    }

    fn submit_since(&self, number: u64, spec: JobSpec, since_ms: u64) {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_le_bytes());
        let spec = Box::new(spec);
        self.outbox.send(&ClientMessage::Submit { key: IdempotencyKey(key), spec, input: Some(Vec::new()), since_ms }).unwrap();
    }

    async fn next(&mut self) -> GatewayToClient {
        timeout(PATIENCE, self.inbox.next()).await.expect("an answer comes").unwrap().unwrap()
    }

    async fn word(&mut self) -> Word {
        match self.next().await {
            GatewayToClient::Event { event, .. } => match *event {
                JobEvent::Ended(JobResult::Refused(Refusal::RateLimited { retry_after_ms })) => Word::RetryAfter(retry_after_ms),
                // While the gateway is new, nodes of before may come back.
                JobEvent::Ended(JobResult::Refused(Refusal::NoNodeFits { .. } | Refusal::ShareFull { .. })) => Word::In,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Submits a job that needs these blobs, until the gateway asks for them.
    async fn is_asked_for(&mut self, number: u64, blobs: &[BlobRef]) {
        let named = |(n, blob): (usize, &BlobRef)| NamedInput { name: format!("n{n:02}").parse().unwrap(), blob: *blob };
        let mut spec = JobSpec::new(BlobRef::of(b"a module that is not there"), BlobRef::of(b""));
        spec.inputs = blobs.iter().enumerate().map(named).collect();
        self.submit_spec(number, spec);
        let GatewayToClient::NeedBlobs { missing, .. } = self.next().await else { panic!("it is asked for nothing") };
        assert!(blobs.iter().all(|blob| missing.contains(&blob.digest)));
    }

    /// Begins to send a blob.
    async fn put(&self, blob: BlobRef, bytes: &[u8]) -> Transfer {
        let mut transfer = self.connection.open_transfer(&StreamRequest::Put(blob)).await.unwrap();
        // Who is refused is stopped.
        let _ = transfer.send.write_all(bytes).await;
        transfer
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

/// Once a key without credits was asked for what a job lacks that no node fits, or that costs nothing: it could fill the store, and so drop
/// what others had there.
#[tokio::test]
async fn stranger_is_asked_for_no_blob_of_a_job_that_nobody_runs_or_pays() {
    let mut network = Network::of_the_poor(&[]);
    network.add_node(&["--slots", "1", "--price-per-minute", "1"]);
    let mut stranger = Pusher::connect(&network.gateway.address).await.unwrap();
    let spec = JobSpec::new(BlobRef::of(b"a module that is not there"), BlobRef::of(b""));
    let mut unfit = spec.clone();
    unfit.placement.labels = vec![("nobody".into(), "has".into())];
    let mut costless = spec.clone();
    (costless.limits.fuel, costless.limits.output) = (Fuel(0), ByteCount(0));
    let begun = Instant::now();
    for (n, (spec, refusals)) in
        [(unfit, "NoNodeFits"), (costless, "InsufficientCredit"), (spec, "InsufficientCredit")].iter().enumerate()
    {
        loop {
            stranger.submit_spec(n as u64, spec.clone());
            let GatewayToClient::Event { event, .. } = stranger.next().await else { panic!("{refusals}") };
            match *event {
                // While the gateway is new, nodes of before may come back.
                JobEvent::Ended(JobResult::Refused(Refusal::ShareFull { .. })) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                JobEvent::Ended(JobResult::Refused(refusal)) => {
                    break assert!(format!("{refusal:?}").starts_with(refusals), "{refusal}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Once all of its inputs were sent before it was told that there is no room.
#[tokio::test(flavor = "multi_thread")]
async fn job_for_which_no_room_is_left_is_told_before_its_inputs_are_asked_for() {
    let network = Network::of_the_poor(&["--queue-max", "1", "--welcome", "1000000"]);
    let hold = crate::guest::hold();
    let module = network.module(&hold);
    let [running, waiting] = ["1", "2"].map(|arg| {
        let submitted =
            network.adit(["submit", "--json", &module.to_string_lossy(), "--fuel", "100T", "--", arg]).run().ok().json();
        submitted["job"].as_str().unwrap().to_owned()
    });
    let mut pusher = Pusher::connect(&network.gateway.address).await.unwrap();
    let lacking = JobSpec::new(BlobRef::of(b"a module that is not there"), BlobRef::of(b""));
    pusher.submit_spec(1, lacking.clone());
    let GatewayToClient::Event { event, .. } = pusher.next().await else { panic!("it is refused") };
    assert!(matches!(*event, JobEvent::Ended(JobResult::Refused(Refusal::QueueFull { queued: 1, .. }))), "{event:?}");
    network.adit(["cancel", &waiting]).run().ok();
    pusher.submit_spec(1, lacking);
    assert!(matches!(pusher.next().await, GatewayToClient::NeedBlobs { .. }), "it may wait now");
    network.adit(["cancel", &running]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_counts_from_the_first_submission_and_is_looked_at_before_anything_is_asked_for() {
    const DEADLINE_MS: u64 = 60_000;
    let network = Network::with_slots(&[1]);
    // Its module is there then, and known to take a tenth of a second or so.
    let module = crate::guest::steady(200_000_000);
    network.run(&module).run().ok();
    let mut pusher = Pusher::connect(&network.gateway.address).await.unwrap();
    let spec = |module: &[u8], deadline_ms| {
        let mut spec = JobSpec::new(BlobRef::of(module), BlobRef::of(b""));
        spec.placement.deadline_ms = deadline_ms;
        spec
    };
    let (lacking, known) = (|deadline_ms| spec(b"a module that is not there", deadline_ms), spec(&module, Some(DEADLINE_MS)));
    for (n, deadline_ms, since_ms, is_asked_for) in [
        (0, None, u64::MAX, true),
        (1, Some(DEADLINE_MS), 0, true),
        (2, Some(DEADLINE_MS), DEADLINE_MS, false),
        (3, Some(DEADLINE_MS), u64::MAX, false),
        // The same as the second.
        (1, Some(DEADLINE_MS), DEADLINE_MS + 1, false),
    ] {
        pusher.submit_since(n, lacking(deadline_ms), since_ms);
        match pusher.next().await {
            GatewayToClient::NeedBlobs { .. } if is_asked_for => {}
            GatewayToClient::Event { event, .. } if !is_asked_for => {
                let over = JobResult::Refused(Refusal::DeadlineMissed { left_ms: 0, needed_ms: 0 });
                assert_eq!(*event, JobEvent::Ended(over), "{n}");
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    // What is left is too little for any node.
    pusher.submit_since(4, known, DEADLINE_MS - 5);
    let result = loop {
        if let GatewayToClient::Event { event, .. } = pusher.next().await
            && let JobEvent::Ended(result) = *event
        {
            break result;
        }
    };
    let JobResult::Refused(Refusal::DeadlineMissed { left_ms: 0..=5, needed_ms: 6.. }) = result else { panic!("{result:?}") };
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_asks_nothing_runs_the_jobs_of_who_has_nothing() {
    let mut network = Network::of_the_poor(&[]);
    let free = ["--price-per-minute", "0", "--price-per-gib-minute", "0", "--price-per-gib-in", "0", "--price-per-gib-out", "0"];
    network.add_node(&[["--slots", "1"].as_slice(), &free].concat());
    network.run(&crate::guest::echo()).run().ok();
}

/// Once a key without a job had the gateway's thread look through all jobs as often as it liked.
#[tokio::test]
async fn questions_over_the_rate_wait_and_submissions_of_others_do_not() {
    const FLOOD: u64 = 20_000;
    let (_home, gateway) = gateway(&[]);
    let [mut curious, mut modest] =
        [Pusher::connect(&gateway.address).await, Pusher::connect(&gateway.address).await].map(Result::unwrap);
    let begun = Instant::now();
    for request in 0..FLOOD {
        curious.outbox.send(&ClientMessage::Ask { request, query: Query::Holds }).unwrap();
    }
    let asked = Instant::now();
    assert_eq!(modest.push(10).await.0, 10);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let mut answered = 0;
    let until = tokio::time::Instant::now() + Duration::from_secs(3);
    while let Ok(answer) = timeout_at(until, curious.inbox.next()).await {
        assert!(matches!(answer, Ok(Some(GatewayToClient::Answer { request, .. })) if request == answered), "{answer:?}");
        answered += 1;
    }
    let most = 2_000 + 1_000 * (begun.elapsed().as_secs() + 1);
    assert!((2_000..=most).contains(&answered), "{answered} answers, of 2,000 at once and 1,000 a second");
}

async fn reply(transfer: &mut Transfer) -> StreamReply {
    timeout(PATIENCE, read_reply(&mut transfer.recv)).await.expect("a reply comes").unwrap()
}

fn files_arriving(network: &Network) -> usize {
    let files = std::fs::read_dir(network.home.path("gateway/blobs")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "tmp")).count()
}

/// Once a blob that was asked for could come on 127 streams of each connection, each with a file and a MiB of the gateway's memory.
#[tokio::test(flavor = "multi_thread")]
async fn blob_comes_on_one_stream_of_a_connection_and_the_newest_counts() {
    let network = Network::with_slots(&[1]);
    let [mut pusher, mut other] =
        [Pusher::connect(&network.gateway.address).await, Pusher::connect(&network.gateway.address).await].map(Result::unwrap);
    let bytes = vec![7; 1 << 20];
    let blob = BlobRef::of(&bytes);
    pusher.is_asked_for(1, &[blob]).await;
    other.is_asked_for(1, &[blob]).await;
    let mut elsewhere = other.put(blob, &bytes[..1_000]).await;
    let mut newest = pusher.put(blob, &bytes[..1_000]).await;
    for _ in 0..20 {
        let mut older = std::mem::replace(&mut newest, pusher.put(blob, &bytes[..1_000]).await);
        let reply = reply(&mut older).await;
        assert!(matches!(&reply, StreamReply::Refused(why) if why.contains("newer stream")), "{reply:?}");
    }
    until("the others are gone", || files_arriving(&network) == 2);
    // Another connection's is its own.
    for transfer in [&mut newest, &mut elsewhere] {
        transfer.send.write_all(&bytes[1_000..]).await.unwrap();
        transfer.send.finish().unwrap();
        assert_eq!(reply(transfer).await, StreamReply::Stored(blob));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_over_what_one_address_may_send_at_once_are_to_come_again() {
    let network = Network::with_slots(&[1]);
    let mut pusher = Pusher::connect(&network.gateway.address).await.unwrap();
    let blobs: Vec<BlobRef> = (0..65_u64).map(|n| BlobRef::of(&n.to_le_bytes())).collect();
    for (n, blobs) in blobs.chunks(16).enumerate() {
        pusher.is_asked_for(n as u64, blobs).await;
    }
    let mut held = Vec::new();
    for blob in &blobs[..64] {
        held.push(pusher.put(*blob, b"x").await);
    }
    until("all have begun", || files_arriving(&network) == 64);
    let last = 64_u64.to_le_bytes();
    let mut late = pusher.put(blobs[64], &last).await;
    let told = reply(&mut late).await;
    assert!(matches!(told, StreamReply::Full { retry_after_ms: 1.. }), "{told:?}");
    drop(held);
    until("all have ended", || files_arriving(&network) == 0);
    let mut late = pusher.put(blobs[64], &last).await;
    late.send.finish().unwrap();
    assert_eq!(reply(&mut late).await, StreamReply::Stored(blobs[64]));
}

/// Once inputs that came slowly filled the store to its end, and nodes lost their work because its output had no room.
#[tokio::test(flavor = "multi_thread")]
async fn inputs_on_their_way_leave_room_for_outputs() {
    let home = Home::new();
    let gateway = Gateway::start_with(&home, "127.0.0.1:0", &["--welcome", "1000000", "--store-max", "8MiB"]);
    let mut network = Network { home, gateway, nodes: Vec::new() };
    network.add_node(&["--slots", "1"]);
    let mut pusher = Pusher::connect(&network.gateway.address).await.unwrap();
    let bytes = vec![7; 3 << 20];
    // Of each one byte is kept back. Three quarters of the store are 6 MiB.
    let [large, small, over] = [(1, 3_000_000), (2, 2_900_000), (3, 2_000_000)].map(|(n, bytes): (u8, usize)| {
        let blob = BlobRef { bytes: bytes as u64 + 1, ..BlobRef::of(&[n]) };
        (n, blob, bytes)
    });
    let mut slow = Vec::new();
    for (n, blob, sent) in [large, small] {
        pusher.is_asked_for(n.into(), &[blob]).await;
        slow.push(pusher.put(blob, &bytes[..sent]).await);
    }
    until("both are on the disk", || network.home.folder_bytes("gateway/blobs") == 5_900_000);
    pusher.is_asked_for(3, &[over.1]).await;
    let mut over = pusher.put(over.1, &bytes[..over.2]).await;
    assert!(matches!(reply(&mut over).await, StreamReply::Full { .. }));
    network.run(&crate::guest::flood(1)).args(["--output", "out"]).run().ok();
    assert_eq!(std::fs::metadata(network.home.path("out")).unwrap().len(), 1 << 20);
    for transfer in &mut slow {
        assert!(timeout(LOOK_EVERY, read_reply(&mut transfer.recv)).await.is_err(), "it is still waited for");
    }
}
