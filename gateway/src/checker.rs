//! Looks through the whole ledger once a day: a leaf, a hash or an entry that nobody reads may have changed on the disk long before somebody
//! does, or a backup is made of it. What the database holds in memory is not read from the disk again.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use adit_ledger::{Reader, StoreError};

/// From one check to the next.
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Behind a step it rests for so many times as long as that took: what is settled meanwhile has four fifths of a core and of the disk.
const RESTS: u32 = 4;

/// The thread. Dropping it ends the thread, for which a step is waited at most.
pub(crate) struct Checker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    /// Starts the thread, which rests for `delay` first. What it finds is told as all damage is that a reader finds; then it ends.
    pub(crate) fn spawn(reader: Reader, delay: Duration) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().name("check".into()).spawn(move || check_daily(&reader, delay, &stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

fn check_daily(reader: &Reader, delay: Duration, stopped: &Receiver<()>) {
    let mut time = delay;
    while rest(stopped, time) {
        match check(reader, stopped) {
            Ok(true) => time = INTERVAL,
            Ok(false) => return,
            Err(error) if error.is_damage() => return tracing::error!(%error, "the check of the whole ledger found damage"),
            // After a read that failed redb does nothing more, so this comes before the words with which recording ends.
            Err(error) => {
                return tracing::error!(%error, "the check of the whole ledger could not read it: nothing more is recorded");
            }
        }
    }
}

/// Checks the whole ledger. Whether the gateway goes on.
fn check(reader: &Reader, stopped: &Receiver<()>) -> Result<bool, StoreError> {
    let (begun, mut scrub) = (Instant::now(), reader.scrub());
    loop {
        let step = Instant::now();
        if let Some(leaves) = scrub.step()? {
            tracing::info!(leaves, seconds = begun.elapsed().as_secs_f32(), "the whole ledger was checked and is sound");
            return Ok(true);
        }
        if !rest(stopped, RESTS * step.elapsed()) {
            return Ok(false);
        }
    }
}

/// Waits. Whether the gateway goes on.
fn rest(stopped: &Receiver<()>, time: Duration) -> bool {
    stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

#[cfg(test)]
mod tests {
    use adit_ledger::{Ledger, Operation};
    use adit_protocol::{SecretKey, Terms, UnixMillis};
    use redb::backends::InMemoryBackend;

    use super::*;

    fn ledger() -> Ledger {
        let gateway = SecretKey::from_seed([100; 32]).public();
        let mut ledger = Ledger::open_with(InMemoryBackend::new(), gateway).unwrap();
        for fee_ppm in 0..600 {
            ledger.apply(&[Operation::State(Terms { gateway, fee_ppm, time: UnixMillis(0) })]).unwrap().remove(0).unwrap();
        }
        ledger
    }

    #[test]
    fn check_ends_sound_or_where_the_gateway_ends() {
        let ledger = ledger();
        let (stop, stopped) = channel();
        assert!(check(ledger.reader(), &stopped).unwrap());
        drop(stop);
        assert!(!check(ledger.reader(), &stopped).unwrap());
    }

    /// Else this waits for a day, and nobody else opens the ledger.
    #[test]
    fn gateway_that_ends_does_not_wait_for_the_next_check() {
        let ledger = ledger();
        for delay in [Duration::ZERO, INTERVAL] {
            drop(Checker::spawn(ledger.reader().clone(), delay).unwrap());
        }
    }
}
