//! Modules that are let be for some minutes, because somebody killed their compile worker: mostly the kernel, for want of memory.
//!
//! It says nothing of the module, so that it is no strike and is forgotten at a restart. But where the machine is small for it, each try
//! has the kernel choose whom to end.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adit_protocol::Digest;
use lru::LruCache;

/// How long a module is let be.
const BACKOFF_TIME: Duration = Duration::from_secs(300);
/// Modules that are remembered; of more, the one that was killed first is forgotten.
const MODULES_MAX: NonZeroUsize = NonZeroUsize::new(512).expect("it is not zero");

/// When each module's worker was killed.
#[derive(Debug)]
pub(crate) struct Backoff(Mutex<LruCache<Digest, Instant>>);

impl Default for Backoff {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MODULES_MAX)))
    }
}

impl Backoff {
    /// Lets a module be from `now` on. Says for how long.
    pub(crate) fn add(&self, module: Digest, now: Instant) -> Duration {
        self.lock().put(module, now);
        BACKOFF_TIME
    }

    /// For how much longer it is let be, where it is.
    pub(crate) fn left(&self, module: Digest, now: Instant) -> Option<Duration> {
        let killed = *self.lock().peek(&module)?;
        BACKOFF_TIME.checked_sub(now.saturating_duration_since(killed)).filter(|left| !left.is_zero())
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Digest, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_is_let_be_for_its_time_and_others_are_not() {
        let (backoff, killed, start) = (Backoff::default(), Digest::of(b"killed"), Instant::now());
        backoff.add(killed, start);
        for (after_s, left_s) in [(0, Some(300)), (1, Some(299)), (299, Some(1)), (300, None), (900, None)] {
            let left = backoff.left(killed, start + Duration::from_secs(after_s));
            assert_eq!(left, left_s.map(Duration::from_secs), "{after_s}");
        }
        assert_eq!(backoff.left(Digest::of(b"another"), start), None);
    }

    #[test]
    fn first_of_too_many_is_forgotten() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        let modules = (0..=MODULES_MAX.get() as u64).map(|n| Digest::of(&n.to_le_bytes())).collect::<Vec<_>>();
        for module in &modules {
            backoff.add(*module, now);
        }
        let kept = |module: &Digest| backoff.left(*module, now).is_some();
        assert_eq!((kept(&modules[0]), modules[1..].iter().all(kept)), (false, true));
    }
}
