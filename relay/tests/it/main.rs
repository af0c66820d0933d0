//! A relay's sockets, before an echo on this machine. What becomes of each packet is tested beside [`adit_relay::Line`].
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and the panic says where")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use adit_relay::{Conditions, Leg, Path, Relay};

/// How long anything may take. Nothing comes near it, but for a test that has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends everything back to where it came from, until it gets an empty packet.
struct Echo {
    addr: SocketAddr,
    thread: Option<thread::JoinHandle<()>>,
}

impl Echo {
    fn start() -> Self {
        let socket = socket();
        let addr = socket.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((bytes @ 1.., source)) = socket.recv_from(&mut buffer) {
                socket.send_to(&buffer[..bytes], source).unwrap();
            }
        });
        Self { addr, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        socket().send_to(&[], self.addr).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn echo_and_path(conditions: Conditions) -> (Echo, Relay, Path) {
    let echo = Echo::start();
    let mut relay = Relay::new(echo.addr, 7).unwrap();
    let path = relay.path(conditions).unwrap();
    (echo, relay, path)
}

/// Sends a number and waits until it comes back. How long that took.
fn ask(socket: &UdpSocket, path: SocketAddr, number: u32) -> Duration {
    let begun = Instant::now();
    socket.send_to(&number.to_le_bytes(), path).unwrap();
    let mut answer = [0; 64];
    let (bytes, source) = socket.recv_from(&mut answer).unwrap();
    assert_eq!((&answer[..bytes], source), (&number.to_le_bytes()[..], path));
    begun.elapsed()
}

#[test]
fn round_trip_is_never_shorter_than_both_delays() {
    let leg = |ms| Leg { delay: Duration::from_millis(ms), ..Leg::default() };
    let (_echo, _relay, path) = echo_and_path(Conditions { to_gateway: leg(20), to_dialer: leg(5) });
    let socket = socket();
    for number in 0..20 {
        assert!(ask(&socket, path.addr(), number) >= Duration::from_millis(25));
    }
    // It can be changed under way.
    path.set(Conditions::both(leg(60)));
    for number in 20..25 {
        assert!(ask(&socket, path.addr(), number) >= Duration::from_millis(120));
    }
    let counts = path.counts();
    for counts in [counts.to_gateway, counts.to_dialer] {
        assert_eq!((counts.packets, counts.delivered, counts.bytes, counts.delivered_bytes), (25, 25, 100, 100));
    }
}

#[test]
fn each_port_gets_its_own_answers_and_each_path_has_its_own_conditions() {
    let (_echo, mut relay, path) = echo_and_path(Conditions::default());
    let deaf =
        relay.path(Conditions { to_gateway: Leg { loss_ppm: 1_000_000, ..Leg::default() }, ..Conditions::default() }).unwrap();
    let sockets: Vec<UdpSocket> = (0..32).map(|_| socket()).collect();
    for (number, socket) in sockets.iter().enumerate() {
        socket.send_to(b"lost", deaf.addr()).unwrap();
        ask(socket, path.addr(), number as u32);
    }
    // The relay has one thread: what went before on the other path was taken in before the last answer, or will be.
    let begun = Instant::now();
    while deaf.counts().to_gateway.lost < 32 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", deaf.counts());
        thread::yield_now();
    }
    assert_eq!(deaf.counts().to_gateway.delivered, 0);
    assert_eq!(path.counts().to_gateway.lost, 0);
}

#[test]
fn losses_on_a_path_are_those_that_were_foretold() {
    let leg = Leg { loss_ppm: 300_000, ..Leg::default() };
    let (_echo, _relay, path) = echo_and_path(Conditions { to_gateway: leg, to_dialer: Leg::default() });
    let socket = socket();
    let survivors: Vec<u64> = (0..500).filter(|number| !path.loses_to_gateway(&leg, *number)).collect();
    for number in 0..500u64 {
        socket.send_to(&number.to_le_bytes(), path.addr()).unwrap();
        // One at a time, so that no socket's buffer overflows.
        if survivors.contains(&number) {
            let mut answer = [0; 8];
            socket.recv_from(&mut answer).unwrap();
            assert_eq!(u64::from_le_bytes(answer), number);
        }
    }
    let counts = path.counts();
    assert_eq!(counts.to_dialer.delivered, survivors.len() as u64);
    assert!(survivors.len() < 400, "{survivors:?}");
}

#[test]
fn ports_over_the_bound_are_refused_and_the_others_go_on() {
    let (_echo, _relay, path) = echo_and_path(Conditions::default());
    let sockets: Vec<UdpSocket> = (0..256).map(|_| socket()).collect();
    for (number, socket) in sockets.iter().enumerate() {
        ask(socket, path.addr(), number as u32);
    }
    socket().send_to(b"one more", path.addr()).unwrap();
    ask(&sockets[0], path.addr(), 1);
    assert_eq!((path.counts().refused, path.counts().to_gateway.delivered), (1, 257));
}

#[tokio::test]
async fn relay_may_be_dropped_where_nothing_may_be_waited_for() {
    let (_echo, relay, path) = echo_and_path(Conditions::default());
    ask(&socket(), path.addr(), 1);
    drop(path);
    drop(relay);
}
