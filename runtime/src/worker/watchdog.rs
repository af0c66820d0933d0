//! The thread that looks at the clock while the guest has the other: it stops a guest whose time is up or whose job was withdrawn,
//! and notes for the supervisor what was used.

use std::io;
use std::sync::{Arc, Barrier, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::counters::Counters;
use super::outbox::Outbox;
use crate::live::Live;

/// How often it looks: what a killed worker's bill may lack, and what a stop may come late.
const TICK: Duration = Duration::from_millis(5);
/// How long it goes on looking when nothing runs. Waking it costs as much as a small job, so it stays awake between jobs that follow each
/// other closely.
const LINGER: Duration = Duration::from_millis(200);

/// Why a guest was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Its wall time was up.
    Deadline,
    /// The supervisor said so.
    Cancelled,
}

/// A handle to the thread, which ends with it.
#[derive(Debug)]
pub(crate) struct Watchdog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    outbox: Arc<Outbox>,
    live: Live,
}

#[derive(Debug, Default)]
struct State {
    job: Option<Job>,
    /// Whether the thread sleeps until it is woken.
    is_parked: bool,
    is_over: bool,
}

#[derive(Debug)]
struct Job {
    run: u64,
    deadline: Instant,
    counters: Arc<Counters>,
    stopped: Option<Stopped>,
    notify: Arc<Notify>,
}

impl Watchdog {
    /// Starts the thread, and returns when it has begun: what a thread does at its start it may not do behind the walls.
    pub(crate) fn start(live: Live, outbox: Arc<Outbox>) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), outbox, live });
        let (watching, begun) = (Arc::clone(&shared), Arc::new(Barrier::new(2)));
        let begins = Arc::clone(&begun);
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            begins.wait();
            watching.watch();
        })?;
        begun.wait();
        Ok(Self(shared))
    }

    /// Watches the job number `run` until [`Self::disarm`]. Who waits on what is returned hears of a stop.
    pub(super) fn arm(&self, run: u64, deadline: Instant, counters: Arc<Counters>) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        let mut state = self.0.lock();
        state.job = Some(Job { run, deadline, counters, stopped: None, notify: Arc::clone(&notify) });
        if state.is_parked {
            self.0.wake.notify_one();
        }
        notify
    }

    /// Watches no longer, and says why the guest was stopped, where it was.
    pub(super) fn disarm(&self) -> Option<Stopped> {
        self.0.lock().job.take().and_then(|job| job.stopped)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn watch(&self) {
        let mut state = self.lock();
        let mut idle_since = Instant::now();
        while !state.is_over {
            let now = Instant::now();
            let wait = match &mut state.job {
                Some(job) => {
                    idle_since = now;
                    job.look(now, &self.live);
                    self.outbox.tick();
                    job.deadline.saturating_duration_since(now).clamp(Duration::from_millis(1), TICK)
                }
                None if now.duration_since(idle_since) < LINGER => TICK,
                None => {
                    state.is_parked = true;
                    state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.is_parked = false;
                    continue;
                }
            };
            state = self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn look(&mut self, now: Instant, live: &Live) {
        if self.stopped.is_none() {
            self.stopped = if now >= self.deadline {
                Some(Stopped::Deadline)
            } else {
                live.is_cancelled(self.run).then_some(Stopped::Cancelled)
            };
        }
        if self.stopped.is_some() {
            // Again at each tick: the first may have come before the guest's limit was written.
            self.counters.page.stop();
            self.notify.notify_one();
        }
        // Where the note cannot be written the supervisor knows an older one.
        let _ = live.publish(self.run, self.counters.used(self.counters.page.counter()));
    }
}
