//! What ends this process when a driver does not come back: a thread that waits for nobody.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::process::{Signal, getpid, kill_process};

use adit_protocol::limits::REASON_BYTES_MAX;

use super::socket::send;
use crate::gpu::wire::{FromGpu, Session};
use crate::ipc::IpcError;
use crate::worker::clip;

/// A supervisor that does not read for so long is none.
const SEND_TIME_MAX: Duration = Duration::from_secs(1);

/// The socket to the supervisor, for many threads.
#[derive(Debug)]
pub(super) struct Supervisor(Mutex<Arc<UnixStream>>);

impl Supervisor {
    pub(super) fn new(socket: Arc<UnixStream>) -> io::Result<Self> {
        socket.set_write_timeout(Some(SEND_TIME_MAX))?;
        Ok(Self(Mutex::new(socket)))
    }

    pub(super) fn send(&self, message: &FromGpu) -> Result<(), IpcError> {
        send(&self.0.lock().unwrap_or_else(PoisonError::into_inner), message)
    }

    /// Tells that the device is lost, in the work of a session where any ran, and ends the process: whatever else it does is stuck, or will be.
    pub(super) fn lose(&self, session: Option<Session>, reason: String) -> ! {
        eprintln!("adit: the GPU is lost: {reason}");
        // Held for good: this message is the last.
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = clip(reason, REASON_BYTES_MAX);
        let _ = send(&socket, &FromGpu::Lost { session, reason });
        end()
    }
}

/// Ends this process at once. No handler runs: a driver's would wait for its own threads.
pub(super) fn end() -> ! {
    loop {
        let _ = kill_process(getpid(), Signal::KILL);
        thread::yield_now();
    }
}

/// Deadlines of what drivers and devices do.
#[derive(Debug)]
pub(super) struct Watch {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    watched: Vec<Watched>,
    serial: u64,
    /// Until when the thread sleeps; nothing where it sleeps until it is woken.
    sleeps_until: Option<Instant>,
}

#[derive(Debug)]
struct Watched {
    serial: u64,
    session: Session,
    what: &'static str,
    began: Instant,
    deadline: Instant,
}

/// Something that is watched until this is dropped.
#[derive(Debug)]
#[must_use = "what is not kept is not watched"]
pub(super) struct Guard {
    watch: Arc<Watch>,
    serial: u64,
}

impl Watch {
    /// Starts the thread.
    pub(super) fn start(supervisor: Arc<Supervisor>) -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self { state: Mutex::default(), wake: Condvar::new() });
        let watching = Arc::clone(&watch);
        thread::Builder::new().name("watch".to_owned()).spawn(move || watching.run(&supervisor))?;
        Ok(watch)
    }

    /// Watches that `what` is over within `limit` after `began`, else the device is lost in the work of `session`.
    pub(super) fn guard(self: &Arc<Self>, session: Session, what: &'static str, began: Instant, limit: Duration) -> Guard {
        let mut state = self.lock();
        state.serial += 1;
        let (serial, deadline) = (state.serial, began + limit);
        state.watched.push(Watched { serial, session, what, began, deadline });
        if state.sleeps_until.is_none_or(|until| deadline < until) {
            self.wake.notify_one();
        }
        Guard { watch: Arc::clone(self), serial }
    }

    fn run(&self, supervisor: &Supervisor) {
        let mut state = self.lock();
        loop {
            let Some(next) = state.watched.iter().min_by_key(|watched| watched.deadline) else {
                state.sleeps_until = None;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = next.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                supervisor.lose(Some(next.session), next.to_string());
            }
            state.sleeps_until = Some(next.deadline);
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.watch.lock().watched.retain(|watched| watched.serial != self.serial);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.deadline.duration_since(self.began);
        write!(f, "{} took over {} ms", self.what, limit.as_millis())
    }
}
