//! How much of a processor a slot may take, and the supervisor's way to have workers keep to it: it stops one that is ahead of its
//! share, and lets it go on when time has made up for that.
//!
//! The kernel's own limits (a control group's `cpu.max`) would need a delegated group; stopping needs no right and nothing from the
//! worker, so that a guest that broke out is held all the same.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::unchecked::process_time;

/// The shortest time for which a worker is stopped. A shorter one would cost more switches, a longer one would keep a job that is
/// withdrawn waiting for longer.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// How often at least a worker that runs is looked at: compilers have many threads, which get ahead soon.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a timer can do.
const TICK: Duration = Duration::from_millis(1);

/// Processor time that each slot may take, in percent of one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuShare(u8);

impl CpuShare {
    /// All that the machine gives.
    pub const WHOLE: Self = Self(100);

    /// The least, in percent: a job under less would be looked at more often than it runs.
    pub const PERCENT_MIN: u8 = 5;

    /// A share in percent; nothing where it is not from [`Self::PERCENT_MIN`] to 100.
    pub fn of_percent(percent: u8) -> Option<Self> {
        (Self::PERCENT_MIN..=100).contains(&percent).then_some(Self(percent))
    }

    /// The percentage.
    pub fn percent(self) -> u8 {
        self.0
    }

    /// Whether it limits nothing.
    pub fn is_whole(self) -> bool {
        self == Self::WHOLE
    }

    /// The part of a core.
    pub(crate) fn part(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Processor time within `wall`.
    fn of(self, wall: Duration) -> Duration {
        wall * u32::from(self.0) / 100
    }

    /// How long it takes to get so much processor time.
    pub(crate) fn wall_for(self, cpu: Duration) -> Duration {
        cpu * 100 / u32::from(self.0)
    }
}

impl Default for CpuShare {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// What slots took ahead of their share. A slot's jobs may run in one worker after another, so what one owes the next one pays.
#[derive(Debug)]
pub(crate) struct Accounts {
    share: CpuShare,
    slots: usize,
    /// Of slots without a job; the one that was used last at the end.
    free: Mutex<Vec<Account>>,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    owed: Duration,
    at: Instant,
}

impl Account {
    /// Notes that `used` was taken up to `now`. What was not taken is not kept for later.
    fn note(&mut self, share: CpuShare, used: Duration, now: Instant) {
        self.owed = (self.owed + used).saturating_sub(share.of(now.saturating_duration_since(self.at)));
        self.at = now;
    }

    /// For how long its worker is stopped now.
    fn pause(&self, share: CpuShare) -> Option<Duration> {
        (self.owed >= share.of(PAUSE_MIN)).then(|| share.wall_for(self.owed))
    }

    /// When to look at a worker that runs: as soon as one thread of it can be so far ahead that it must be stopped, so that it is stopped
    /// for hardly longer than must be.
    fn look_after(&self, share: CpuShare) -> Duration {
        let ahead_in = share.of(PAUSE_MIN).saturating_sub(self.owed).div_f64(1.0 - share.part());
        ahead_in.clamp(TICK, LOOK_EVERY)
    }
}

impl Accounts {
    /// For `slots` workers at once.
    pub(crate) fn new(share: CpuShare, slots: usize) -> Arc<Self> {
        Arc::new(Self { share, slots, free: Mutex::default() })
    }

    pub(crate) fn share(&self) -> CpuShare {
        self.share
    }

    /// Has the worker `pid`, which the caller has not reaped, keep to the share of a slot until what is returned is dropped; nothing
    /// where that is everything.
    ///
    /// # Errors
    /// Where this machine has no more descriptors.
    pub(crate) fn hold(self: &Arc<Self>, pid: u32) -> io::Result<Option<Hold>> {
        if self.share.is_whole() {
            return Ok(None);
        }
        let worker = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
        // Names this very process, whoever gets its number later.
        let process = pidfd_open(worker, PidfdFlags::empty())?;
        let now = Instant::now();
        let mut account = lock(&self.free).pop().unwrap_or(Account { owed: Duration::ZERO, at: now });
        account.note(self.share, Duration::ZERO, now);
        let state = State { account, seen: process_time(pid).unwrap_or_default(), is_over: false };
        let held = Arc::new(Held { accounts: Arc::clone(self), pid, process, state: Mutex::new(state) });
        let keeping = tokio::spawn(keep(Arc::clone(&held)));
        Ok(Some(Hold { held, keeping }))
    }

    fn give_back(&self, account: Account) {
        let mut free = lock(&self.free);
        free.push(account);
        // A job that began again in another worker had two. Whoever owes least is forgotten.
        if free.len() > self.slots {
            let least = free.iter().enumerate().min_by_key(|(_, account)| account.owed).map(|(index, _)| index);
            least.map(|index| free.remove(index));
        }
    }
}

/// Keeps a worker to its share while it lives; then the worker runs as it likes.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Arc<Held>,
    keeping: JoinHandle<()>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.keeping.abort();
        self.held.release();
    }
}

#[derive(Debug)]
struct Held {
    accounts: Arc<Accounts>,
    pid: u32,
    process: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    account: Account,
    /// The worker's processor time when it was looked at last.
    seen: Duration,
    /// From then on no signal may be sent.
    is_over: bool,
}

/// What came of a look at a worker.
#[derive(Debug)]
enum Look {
    StoppedFor(Duration),
    AgainAfter(Duration),
}

impl Held {
    /// Looks at the worker, and stops it where it is ahead.
    fn look(&self) -> Look {
        let mut state = lock(&self.state);
        state.look(self);
        let (account, share) = (state.account, self.accounts.share);
        match account.pause(share) {
            Some(pause) if !state.is_over => {
                self.signal(Signal::STOP);
                Look::StoppedFor(pause)
            }
            _ => Look::AgainAfter(account.look_after(share)),
        }
    }

    fn go_on(&self) {
        let state = lock(&self.state);
        if !state.is_over {
            self.signal(Signal::CONT);
        }
    }

    fn release(&self) {
        let mut state = lock(&self.state);
        state.look(self);
        state.is_over = true;
        self.signal(Signal::CONT);
        self.accounts.give_back(state.account);
    }

    /// To a process that is gone nothing can be sent, and need not be.
    fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.process, signal);
    }
}

impl State {
    fn look(&mut self, held: &Held) {
        // A worker that is gone takes no more.
        let used = process_time(held.pid).unwrap_or(self.seen);
        self.account.note(held.accounts.share, used.saturating_sub(self.seen), Instant::now());
        self.seen = used;
    }
}

/// Stops a worker and lets it go on, until it is aborted.
async fn keep(held: Arc<Held>) {
    loop {
        match held.look() {
            Look::StoppedFor(pause) => {
                sleep(pause).await;
                held.go_on();
            }
            Look::AgainAfter(time) => sleep(time).await,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: CpuShare = CpuShare(50);

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn share_is_between_its_bounds() {
        for (percent, is_one) in [(0, false), (4, false), (5, true), (50, true), (100, true), (101, false)] {
            assert_eq!(CpuShare::of_percent(percent).is_some(), is_one, "{percent}");
        }
        assert!(CpuShare::of_percent(100).unwrap().is_whole() && !HALF.is_whole());
    }

    #[test]
    fn whoever_computes_all_the_time_is_stopped_for_the_rest_of_it() {
        for percent in [5, 20, 50, 95] {
            let share = CpuShare(percent);
            let (start, mut clock, mut ran) = (Instant::now(), millis(0), millis(0));
            let mut account = Account { owed: millis(0), at: start };
            while clock < Duration::from_secs(60) {
                match account.pause(share) {
                    // It takes nothing while it is stopped.
                    Some(pause) => {
                        assert!((PAUSE_MIN..=millis(75)).contains(&pause), "{pause:?}");
                        clock += pause;
                        account.note(share, millis(0), start + clock);
                        assert_eq!(account.pause(share), None);
                    }
                    None => {
                        // A timer that is as late as it may be.
                        let time = account.look_after(share) + TICK;
                        (clock, ran) = (clock + time, ran + time);
                        account.note(share, time, start + clock);
                    }
                }
            }
            let part = ran.as_secs_f64() / clock.as_secs_f64() * 100.0;
            assert!((part - f64::from(percent)).abs() < 1.0, "{part} of {percent}");
        }
    }

    #[test]
    fn time_that_was_not_taken_is_not_saved_up() {
        let start = Instant::now();
        let mut account = Account { owed: millis(0), at: start };
        account.note(HALF, millis(0), start + millis(10_000));
        account.note(HALF, millis(60), start + millis(10_060));
        assert_eq!(account.pause(HALF), Some(millis(60)));
    }

    #[test]
    fn what_a_job_took_ahead_the_slots_next_one_owes() {
        let accounts = Accounts::new(HALF, 1);
        let now = Instant::now();
        for owed in [5, 80, 30] {
            accounts.give_back(Account { owed: millis(owed), at: now });
        }
        assert_eq!(lock(&accounts.free).iter().map(|account| account.owed).collect::<Vec<_>>(), [millis(80)]);
    }
}
