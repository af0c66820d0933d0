//! A run's GPU session, as its supervisor holds it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::keeper::{Request, Requests};
use super::live::GpuLive;
use super::wire::{GpuReport, GpuUsed, Session, SessionEnd, Shader};

/// A session's socket and its shared file, of one side.
#[derive(Debug)]
pub(crate) struct SandboxEnds {
    pub(crate) socket: OwnedFd,
    pub(crate) shared: OwnedFd,
}

/// What became of a session so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Why it ended before its sandbox was done with it, where it did.
    pub(crate) verdict: Option<Verdict>,
    /// What it used in all; there once it is closed.
    pub(crate) used: Option<GpuUsed>,
}

/// Why a session ended before its sandbox was done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its GPU time was used up.
    OutOfTime,
    /// Its work hung the GPU, or made it lose its device.
    Lost(String),
    /// The GPU was lost in another's work, or in that of one of several, of which this may be one.
    Bystander(String),
    /// The adapter has less memory left than it offers: others' buffers fill it, as several may that are each within their limits.
    Full(String),
    /// The node failed it: nobody knows whose work lost the GPU, or its driver refuses what was checked.
    Failed(String),
    /// Its sandbox did what an honest one does not.
    Lied(String),
    /// The node's owner took the GPU back.
    Withdrawn,
}

impl From<SessionEnd> for Verdict {
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::OutOfTime => Self::OutOfTime,
            SessionEnd::NoMemory(reason) => Self::Full(reason),
            SessionEnd::Failed(reason) => Self::Failed(reason),
            SessionEnd::Lied(lie) => Self::Lied(lie),
        }
    }
}

/// A session. Dropped, it closes.
#[derive(Debug)]
pub(crate) struct GpuSession {
    pub(super) session: Session,
    pub(super) requests: Requests,
    pub(super) fate: watch::Receiver<Fate>,
    pub(super) live: Arc<GpuLive>,
    pub(super) report: Arc<GpuReport>,
}

impl GpuSession {
    /// The adapter's class.
    pub(crate) fn class(&self) -> &str {
        &self.report.offer.class
    }

    /// What has pipelines made for it.
    pub(crate) fn maker(&self) -> Maker {
        Maker { session: self.session, requests: self.requests.clone() }
    }

    /// Has it close; [`Fate::used`] follows.
    pub(crate) fn close(&self) {
        self.ask(Request::Close { session: self.session });
    }

    /// What became of it so far.
    pub(crate) fn fate(&self) -> Fate {
        self.fate.borrow().clone()
    }

    /// Waits until something new became of it. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.fate.changed().await.is_err() {
            // Its keeper is gone without a word, as a runtime's tasks are that ends.
            std::future::pending().await
        }
    }

    /// What it used as far as is known.
    pub(crate) fn used(&self) -> GpuUsed {
        let told = self.fate.borrow().used;
        told.or_else(|| self.live.note(self.session).map(|note| note.used)).unwrap_or_default()
    }

    fn ask(&self, request: Request) {
        // A keeper that is gone has closed every session.
        let _ = self.requests.send(request);
    }
}

/// Has pipelines made for a session. It keeps none open.
#[derive(Debug)]
pub(crate) struct Maker {
    session: Session,
    requests: Requests,
}

impl Maker {
    /// Has the GPU worker make a pipeline: its serial number; nothing where the session is over, as it is where the driver refuses.
    pub(crate) async fn make(self, shader: Box<Shader>) -> Option<u64> {
        let (answer, answered) = oneshot::channel();
        let _ = self.requests.send(Request::Pipeline { session: self.session, shader, answer });
        answered.await.ok()
    }
}

impl Drop for GpuSession {
    fn drop(&mut self) {
        self.close();
    }
}
