use adit_protocol::{ClientMessage, JobId, SecretKey};
use adit_transport::{DialError, Dialer, GatewayAddr, Listener, ReceiveError, SendError, limits};

use crate::{connected, pair};

fn cancel(n: u8) -> ClientMessage {
    ClientMessage::Cancel { job: JobId([n; 16]) }
}

#[tokio::test]
async fn both_ends_learn_each_others_key() {
    let (_listener, _dialer, near, far) = connected().await;
    assert_eq!(near.peer(), SecretKey::from_seed([1; 32]).public());
    assert_eq!(far.peer(), SecretKey::from_seed([2; 32]).public());
}

#[tokio::test]
async fn wrong_gateway_key_is_named() {
    let (listener, mut addr, dialer) = pair();
    let true_key = addr.key;
    addr.key = SecretKey::from_seed([3; 32]).public();
    let accept = tokio::spawn(async move { listener.accept().await.unwrap().complete().await.map(|_| ()) });
    match dialer.dial(&addr).await {
        Err(DialError::WrongKey { expected, found, .. }) => assert_eq!((expected, found), (addr.key, true_key)),
        other => panic!("{other:?}"),
    }
    assert!(accept.await.unwrap().is_err());
}

#[tokio::test]
async fn silent_gateway_is_reported_as_such() {
    let (_, mut addr, dialer) = pair();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    addr.host = silent.local_addr().unwrap().to_string();
    assert!(matches!(dialer.dial(&addr).await, Err(DialError::NoAnswer { .. })));
}

#[tokio::test]
async fn messages_arrive_in_order_and_the_end_is_seen() {
    let (_listener, _dialer, near, far) = connected().await;
    let (outbox, _inbox) = near.open_control().await.unwrap();
    for n in 0..100 {
        outbox.send(&cancel(n)).unwrap();
    }
    let (_outbox, mut inbox) = far.accept_control().await.unwrap();
    for n in 0..100 {
        assert_eq!(inbox.next().await.unwrap(), Some(cancel(n)));
    }
    outbox.close().await;
    assert_eq!(inbox.next::<ClientMessage>().await.unwrap(), None);
    assert!(outbox.send(&cancel(0)).is_err());
}

#[tokio::test]
async fn last_words_are_heard_before_the_connection_ends() {
    let (_listener, _dialer, near, far) = connected().await;
    let (outbox, _inbox) = near.open_control().await.unwrap();
    // More than leaves at once.
    let text = vec![7u8; 200_000];
    for _ in 0..10 {
        outbox.send(&text).unwrap();
    }
    let (_outbox, mut inbox) = far.accept_control().await.unwrap();
    outbox.close().await;
    near.close("said");
    far.closed().await;
    for _ in 0..10 {
        assert_eq!(inbox.next().await.unwrap(), Some(text.clone()));
    }
}

#[tokio::test]
async fn foreign_bytes_end_the_stream_with_an_error() {
    let (_listener, _dialer, near, far) = connected().await;
    let (outbox, _inbox) = near.open_control().await.unwrap();
    // A message of another type, whose bytes are no `ClientMessage`.
    outbox.send(&[255u8; 8]).unwrap();
    let (_outbox, mut inbox) = far.accept_control().await.unwrap();
    assert!(matches!(inbox.next::<ClientMessage>().await, Err(ReceiveError::Frame(_))));
}

#[tokio::test]
async fn connection_survives_a_change_of_address() {
    let (_listener, dialer, near, far) = connected().await;
    let (outbox, _inbox) = near.open_control().await.unwrap();
    outbox.send(&cancel(1)).unwrap();
    let (_outbox, mut inbox) = far.accept_control().await.unwrap();
    assert_eq!(inbox.next().await.unwrap(), Some(cancel(1)));
    dialer.rebind().unwrap();
    outbox.send(&cancel(2)).unwrap();
    assert_eq!(inbox.next().await.unwrap(), Some(cancel(2)));
}

/// A killed gateway says nothing to its peers; the next process with its key and address does, at their next packet.
#[tokio::test]
async fn restarted_listener_tells_its_peers_long_before_the_idle_timeout() {
    let key = || SecretKey::from_seed([1; 32]);
    let (addr_sender, addr) = std::sync::mpsc::channel();
    let (kill, killed) = tokio::sync::oneshot::channel::<()>();
    let first = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ends = runtime.block_on(async {
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &key()).unwrap();
            addr_sender.send(listener.local_addr()).unwrap();
            let connection = listener.accept().await.unwrap().complete().await.unwrap();
            killed.await.unwrap();
            (listener, connection)
        });
        // The runtime goes first, so that nothing is left that could send the closing words.
        drop(runtime);
        drop(ends);
    });
    let addr = addr.recv().unwrap();
    let dialer = Dialer::new(SecretKey::from_seed([2; 32])).unwrap();
    let near = dialer.dial(&GatewayAddr { host: addr.to_string(), key: key().public() }).await.unwrap();
    let (outbox, _inbox) = near.open_control().await.unwrap();
    kill.send(()).unwrap();
    first.join().unwrap();

    let _second = Listener::bind(addr, &key()).unwrap();
    outbox.send(&cancel(1)).unwrap();
    let reason = near.closed().await;
    assert!(matches!(reason, quinn::ConnectionError::Reset), "{reason}");
}

#[tokio::test]
async fn producer_waits_for_a_slow_reader_and_loses_nothing() {
    let (_listener, _dialer, near, far) = connected().await;
    let (outbox, _inbox) = near.open_control().await.unwrap();
    let text = vec![7u8; 100_000];
    // Several times what all buffers on the way hold together.
    let count = 40 * 1024 * 1024 / text.len();
    let producing = async {
        for _ in 0..count {
            outbox.room().await;
            outbox.send(&text).unwrap();
        }
        outbox.close().await;
    };
    let consuming = async {
        let (_outbox, mut inbox) = far.accept_control().await.unwrap();
        let mut received = 0;
        while let Some(message) = inbox.next::<Vec<u8>>().await.unwrap() {
            assert_eq!(message, text);
            received += 1;
        }
        received
    };
    let ((), received) = tokio::join!(producing, consuming);
    assert_eq!(received, count);
}

#[tokio::test]
async fn peer_that_never_reads_is_told_apart() {
    let (_listener, _dialer, near, _far) = connected().await;
    let (outbox, _inbox) = near.open_control().await.unwrap();
    let text = vec![7u8; 100_000];
    let full = (0..1_000).find_map(|_| outbox.send(&text).err());
    assert_eq!(full, Some(SendError::Full));
}

#[tokio::test]
async fn news_keeps_its_place_before_what_is_urgent_and_leaves_alone_in_time() {
    let (_listener, _dialer, near, far) = connected().await;
    let (outbox, _inbox) = near.open_control().await.unwrap();
    outbox.send_soon(&cancel(1)).unwrap();
    outbox.send(&cancel(2)).unwrap();
    outbox.send_soon(&cancel(3)).unwrap();
    let (_outbox, mut inbox) = far.accept_control().await.unwrap();
    for n in 1..=3 {
        assert_eq!(inbox.next().await.unwrap(), Some(cancel(n)));
    }
    outbox.send_soon(&cancel(4)).unwrap();
    outbox.close().await;
    assert_eq!(inbox.next().await.unwrap(), Some(cancel(4)));
    assert_eq!(inbox.next::<ClientMessage>().await.unwrap(), None);
}

/// Over so many connections a dialer is sent away once, to come back with a token that proves its address (RFC 9000, section 8.1.2).
#[tokio::test]
async fn pressed_listener_asks_for_proof_of_address_and_still_serves() {
    let (listener, addr, dialer) = pair();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(handshake) = listener.accept().await {
            held.push(handshake.complete().await);
        }
    });
    let (is_retry, first_answer) = tokio::sync::oneshot::channel();
    let mut near = Vec::new();
    for _ in 0..limits::CONNECTIONS_BEFORE_RETRY {
        near.push(dialer.dial(&addr).await.unwrap());
    }

    // A wire between a dialer and the listener, on which the first answer can be seen.
    let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let through = GatewayAddr { host: relay.local_addr().unwrap().to_string(), key: addr.key };
    let gateway: std::net::SocketAddr = addr.host.parse().unwrap();
    let wire = tokio::spawn(async move {
        let (mut packet, mut peer, mut is_retry) = ([0; 65536], None, Some(is_retry));
        loop {
            let (n, from) = relay.recv_from(&mut packet).await.unwrap();
            if from != gateway {
                peer = Some(from);
            } else if let Some(tell) = is_retry.take() {
                // The long header's packet type 3 is Retry (RFC 9000, section 17.2.5).
                tell.send(packet[0] & 0xb0 == 0xb0).unwrap();
            }
            let to = if from == gateway { peer.unwrap() } else { gateway };
            relay.send_to(&packet[..n], to).await.unwrap();
        }
    });
    let late = Dialer::new(SecretKey::from_seed([3; 32])).unwrap().dial(&through).await;
    assert!(late.is_ok(), "{late:?}");
    assert!(first_answer.await.unwrap());
    wire.abort();
    held.abort();
}

#[tokio::test]
async fn dialer_that_is_sent_away_proves_its_address_and_is_let_in() {
    let (listener, addr, dialer) = pair();
    let listening = tokio::spawn(async move {
        let unproven = listener.accept().await.unwrap();
        assert!(!unproven.is_proven() && unproven.remote_ip().is_loopback());
        unproven.send_away();
        let proven = listener.accept().await.unwrap();
        assert!(proven.is_proven());
        (proven.complete().await.unwrap(), listener)
    });
    let near = dialer.dial(&addr).await.unwrap();
    let (far, _listener) = listening.await.unwrap();
    assert!(far.remote_ip().is_loopback());
    assert_eq!(near.peer(), addr.key);
}

#[tokio::test]
async fn refused_dialer_hears_that_the_gateway_is_busy() {
    let (listener, addr, dialer) = pair();
    let listening = tokio::spawn(async move {
        listener.accept().await.unwrap().refuse();
        listener
    });
    assert!(matches!(dialer.dial(&addr).await, Err(DialError::Busy { .. })));
    drop(listening);
}
