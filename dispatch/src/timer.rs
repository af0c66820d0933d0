use std::collections::BTreeSet;

use adit_protocol::{Attempt, JobId, PublicKey};

/// A moment: microseconds on a monotonic clock, from any origin that the driver likes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// The moment `us` microseconds later.
    pub fn after(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// The moment `us` microseconds before; the first one where there is none.
    pub fn before(self, us: u64) -> Self {
        Self(self.0.saturating_sub(us))
    }

    /// Microseconds since `earlier`; none where that is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Every deadline there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// When to stop counting on nodes that were connected before this gateway started.
    Opening,
    /// When to stop counting on the return of a node that left.
    Return(PublicKey),
    /// When to try more of a client's jobs again that waited until it could pay.
    Credit(PublicKey),
    /// When to give up on finding a queued job a node.
    Queue(JobId),
    /// When to take a leased job away from a node that has not reported.
    Lease(JobId, Attempt),
    /// When to start a second attempt beside one that takes unusually long.
    Hedge(JobId),
    /// When to stop waiting for the report of an attempt whose job another one has ended.
    Loser(JobId, Attempt),
    /// When to take its leases from a node whose owner took the machine back.
    Vacate(PublicKey),
    /// When to hold it against a node that it gave work back, unless its owner has said why by then.
    Explain(PublicKey),
    /// When a node that lost its trust may have it again.
    Unbar(PublicKey),
    /// When to stop waiting for a node's word about a job that it was told to stop.
    Stop(JobId),
}

/// The armed deadlines, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(Tick, Timer)>);

/// A deadline that is armed; what it takes to disarm it.
pub(crate) type Armed = (Tick, Timer);

impl Timers {
    pub(crate) fn arm(&mut self, at: Tick, timer: Timer) -> Armed {
        self.0.insert((at, timer));
        (at, timer)
    }

    pub(crate) fn disarm(&mut self, armed: &Armed) {
        self.0.remove(armed);
    }

    pub(crate) fn next(&self) -> Option<Tick> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out the soonest deadline that `now` has reached.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}
