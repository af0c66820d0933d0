use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{interval, sleep_until};

use crate::flows::{FLOW_IDLE, FLOWS_MAX, Flows};
use crate::line::mix;
use crate::{Counts, Leg, Line};

/// The largest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// What packets meet on a path, in each direction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// On the way from whoever dialled.
    pub to_gateway: Leg,
    /// On the way back.
    pub to_dialer: Leg,
}

impl Conditions {
    /// The same in both directions.
    pub fn both(leg: Leg) -> Self {
        Self { to_gateway: leg, to_dialer: leg }
    }
}

/// What became of a path's packets so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PathCounts {
    /// Of those from whoever dialled.
    pub to_gateway: Counts,
    /// Of those on the way back.
    pub to_dialer: Counts,
    /// Packets of dialers' ports that came when there were as many others as a path takes. They are in no other count.
    pub refused: u64,
}

/// Stands before a gateway, on a thread of its own: whoever tests may block the thread that it has. All paths end with it.
#[derive(Debug)]
pub struct Relay {
    gateway: SocketAddr,
    seed: u64,
    /// Paths that were opened.
    paths: u64,
    /// Taken only when the relay is dropped.
    runtime: Option<Runtime>,
}

/// An address to dial in the gateway's place. Dropped, it takes and gives nothing more.
#[derive(Debug)]
pub struct Path {
    addr: SocketAddr,
    seed: u64,
    shared: Arc<Shared>,
    /// Ends with the path.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    gateway: SocketAddr,
    /// Where whoever dials sends to.
    socket: UdpSocket,
    /// Held for a few instructions, never across an await.
    state: Mutex<State>,
    /// Wakes whoever delivers when a packet is under way.
    handled: Notify,
}

#[derive(Debug)]
struct State {
    to_gateway: Line<(Arc<UdpSocket>, Vec<u8>)>,
    to_dialer: Line<(SocketAddr, Vec<u8>)>,
    flows: Flows<Flow>,
    refused: u64,
}

/// One dialer's port, which has a port of its own on the gateway's side too.
#[derive(Debug)]
struct Flow {
    socket: Arc<UdpSocket>,
    /// Takes what the gateway answers.
    reader: AbortHandle,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A packet that has arrived.
enum Arrived {
    ToGateway(Arc<UdpSocket>, Vec<u8>),
    ToDialer(SocketAddr, Vec<u8>),
}

impl Relay {
    /// A relay before the gateway at this address. Losses and jitter of its paths come from `seed` and the order in which they are opened.
    ///
    /// # Errors
    /// Where it gets no thread.
    pub fn new(gateway: SocketAddr, seed: u64) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("relay").enable_all().build()?;
        Ok(Self { gateway, seed, paths: 0, runtime: Some(runtime) })
    }

    /// Opens a path, on a port of its own on this machine.
    ///
    /// # Errors
    /// Where it gets no socket.
    pub fn path(&mut self, conditions: Conditions) -> io::Result<Path> {
        let runtime = self.runtime.as_ref().expect("it is there until the relay is dropped");
        let _entered = runtime.enter();
        let socket = local_socket(self.gateway)?;
        let addr = socket.local_addr()?;
        self.paths += 1;
        let seed = mix(self.seed).wrapping_add(self.paths);
        let state = State {
            to_gateway: Line::new(conditions.to_gateway, to_gateway_seed(seed)),
            to_dialer: Line::new(conditions.to_dialer, to_dialer_seed(seed)),
            flows: Flows::new(FLOWS_MAX),
            refused: 0,
        };
        let shared = Arc::new(Shared { gateway: self.gateway, socket, state: Mutex::new(state), handled: Notify::new() });
        let mut tasks = JoinSet::new();
        tasks.spawn_on(take_from_dialers(Arc::clone(&shared)), runtime.handle());
        tasks.spawn_on(deliver(Arc::clone(&shared)), runtime.handle());
        Ok(Path { addr, seed, shared, _tasks: tasks })
    }
}

fn to_gateway_seed(seed: u64) -> u64 {
    mix(seed)
}

fn to_dialer_seed(seed: u64) -> u64 {
    mix(!seed)
}

impl Drop for Relay {
    fn drop(&mut self) {
        // May be dropped inside of another runtime, where nothing may wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Path {
    /// Where to dial.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what packets meet from now on.
    pub fn set(&self, conditions: Conditions) {
        let mut state = self.shared.lock();
        state.to_gateway.set(conditions.to_gateway);
        state.to_dialer.set(conditions.to_dialer);
    }

    /// What became of its packets so far.
    pub fn counts(&self) -> PathCounts {
        let state = self.shared.lock();
        PathCounts { to_gateway: state.to_gateway.counts(), to_dialer: state.to_dialer.counts(), refused: state.refused }
    }

    /// Whether the packet of this number towards the gateway is lost on a leg.
    pub fn loses_to_gateway(&self, leg: &Leg, number: u64) -> bool {
        leg.loses(to_gateway_seed(self.seed), number)
    }

    /// Whether the packet of this number towards whoever dialled is lost on a leg.
    pub fn loses_to_dialer(&self, leg: &Leg, number: u64) -> bool {
        leg.loses(to_dialer_seed(self.seed), number)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        // Ends their readers, which hold the path.
        self.shared.lock().flows = Flows::new(0);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a dialer's packet on its way.
    fn handle_dialer(self: &Arc<Self>, source: SocketAddr, packet: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        let mut state = self.lock();
        let known = state.flows.touch(now, source).map(|flow| Arc::clone(&flow.socket));
        let socket = match known {
            Some(socket) => socket,
            None if !state.flows.has_room(now) => {
                state.refused += 1;
                return Ok(());
            }
            None => {
                let flow = self.open(source)?;
                let socket = Arc::clone(&flow.socket);
                state.flows.insert(now, source, flow);
                socket
            }
        };
        state.to_gateway.handle(now, (socket, packet.to_vec()), packet.len() as u64);
        drop(state);
        self.handled.notify_one();
        Ok(())
    }

    fn open(self: &Arc<Self>, source: SocketAddr) -> io::Result<Flow> {
        let socket = Arc::new(local_socket(self.gateway)?);
        let reader = tokio::spawn(take_from_gateway(Arc::clone(self), source, Arc::clone(&socket)));
        Ok(Flow { socket, reader: reader.abort_handle() })
    }

    /// Puts a packet of the gateway's on its way.
    fn handle_gateway(&self, to: SocketAddr, packet: &[u8]) {
        let now = Instant::now();
        let mut state = self.lock();
        state.flows.touch(now, to);
        state.to_dialer.handle(now, (to, packet.to_vec()), packet.len() as u64);
        drop(state);
        self.handled.notify_one();
    }

    fn poll(&self) -> Option<Arrived> {
        let now = Instant::now();
        let mut state = self.lock();
        let to_gateway = state.to_gateway.poll(now).map(|(socket, packet)| Arrived::ToGateway(socket, packet));
        to_gateway.or_else(|| state.to_dialer.poll(now).map(|(to, packet)| Arrived::ToDialer(to, packet)))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let state = self.lock();
        [state.to_gateway.poll_timeout(), state.to_dialer.poll_timeout()].into_iter().flatten().min()
    }
}

/// A socket that nobody reaches from another machine, of the gateway's family.
fn local_socket(gateway: SocketAddr) -> io::Result<UdpSocket> {
    let local: SocketAddr = if gateway.is_ipv4() { (Ipv4Addr::LOCALHOST, 0).into() } else { (Ipv6Addr::LOCALHOST, 0).into() };
    let socket = std::net::UdpSocket::bind(local)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn take_from_dialers(shared: Arc<Shared>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut tidying = interval(FLOW_IDLE / 2);
    loop {
        tokio::select! {
            received = shared.socket.recv_from(&mut buffer) => match received {
                Ok((bytes, source)) => {
                    if let Err(error) = shared.handle_dialer(source, &buffer[..bytes]) {
                        tracing::warn!(%error, "a relay has no socket for another dialer");
                    }
                }
                Err(error) => return tracing::warn!(%error, "a relay's path takes nothing more"),
            },
            _ = tidying.tick() => shared.lock().flows.expire(Instant::now()),
        }
    }
}

/// Reads what the gateway sends to a flow's own port. Others' packets are not for its dialer.
async fn take_from_gateway(shared: Arc<Shared>, dialer: SocketAddr, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((bytes, source)) if source == shared.gateway => shared.handle_gateway(dialer, &buffer[..bytes]),
            Ok(_) => {}
            Err(error) => return tracing::warn!(%error, "a relay's flow takes nothing more"),
        }
    }
}

async fn deliver(shared: Arc<Shared>) {
    loop {
        while let Some(arrived) = shared.poll() {
            let sent = match &arrived {
                Arrived::ToGateway(socket, packet) => socket.send_to(packet, shared.gateway).await,
                Arrived::ToDialer(to, packet) => shared.socket.send_to(packet, *to).await,
            };
            if let Err(error) = sent {
                // As on any network, whoever waits for it sends it again.
                tracing::debug!(%error, "a packet did not leave");
            }
        }
        let next = async {
            match shared.poll_timeout() {
                Some(due) => sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = next => {}
            () = shared.handled.notified() => {}
        }
    }
}
