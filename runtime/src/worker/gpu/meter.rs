//! What a session has used, for the bill, for the supervisor that looks on, and for the limit of its time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::gpu::book::Book;
use crate::gpu::live::{GpuLive, GpuNote, now_ns};
use crate::gpu::wire::{GpuUsed, Session};

/// The meter of a session.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) session: Session,
    time_max_ns: u64,
    live: Arc<GpuLive>,
    note: Mutex<GpuNote>,
}

impl Meter {
    pub(super) fn new(session: Session, time_max_ns: u64, live: Arc<GpuLive>) -> Arc<Self> {
        let note = Mutex::new(GpuNote { used: GpuUsed::default(), busy_since: 0 });
        let meter = Self { session, time_max_ns, live, note };
        meter.publish(&meter.lock());
        Arc::new(meter)
    }

    /// Takes over what the session's book counts.
    pub(super) fn count(&self, book: &Book) {
        let mut note = self.lock();
        let counted = GpuUsed {
            ns: note.used.ns,
            dispatches: book.dispatches(),
            bytes_moved: book.bytes_moved(),
            memory_peak: book.memory_peak(),
            has_floats: book.has_floats(),
        };
        if counted != note.used {
            note.used = counted;
            self.publish(&note);
        }
    }

    /// Something of the session's begins to run.
    pub(super) fn begin(&self) {
        let mut note = self.lock();
        note.busy_since = now_ns();
        self.publish(&note);
    }

    /// What ran is over, and is billed at `ns` until more is known.
    pub(super) fn end(&self, ns: u64) {
        let mut note = self.lock();
        note.busy_since = 0;
        note.used.ns = note.used.ns.saturating_add(ns);
        self.publish(&note);
    }

    /// Of what was billed so much was too much.
    pub(super) fn take_back(&self, ns: u64) {
        let mut note = self.lock();
        note.used.ns = note.used.ns.saturating_sub(ns);
        self.publish(&note);
    }

    /// Nanoseconds so far, those over the limit too.
    pub(super) fn ns(&self) -> u64 {
        self.lock().used.ns
    }

    /// Whether more time was used than there is.
    pub(super) fn is_over_time(&self) -> bool {
        self.ns() > self.time_max_ns
    }

    /// What is billed: never more than the limit.
    pub(super) fn used(&self) -> GpuUsed {
        self.capped(self.lock().used)
    }

    fn capped(&self, used: GpuUsed) -> GpuUsed {
        GpuUsed { ns: used.ns.min(self.time_max_ns), ..used }
    }

    /// Where the note cannot be written the supervisor knows an older one.
    fn publish(&self, note: &GpuNote) {
        let _ = self.live.publish(self.session, &GpuNote { used: self.capped(note.used), ..*note });
    }

    fn lock(&self) -> MutexGuard<'_, GpuNote> {
        self.note.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
