//! A GPU in the hands of one run: its session, and the pipeline that its guest waits for.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use adit_protocol::{GpuNeed, limits::REASON_BYTES_MAX};

use super::book::compiled;
use super::session::{GpuSession, Maker, Verdict};
use super::shaders::Shaders;
use super::wire::{GpuUsed, Shader, ShaderOrder};
use crate::account::Lied;
use crate::ipc::{Made, NotMade};
use crate::worker::clip;

/// What a guest is told of its shader, at most.
const MESSAGE_BYTES_MAX: usize = 2 * REASON_BYTES_MAX;

/// A GPU that is lent to a run.
pub(crate) struct Lent {
    session: GpuSession,
    need: GpuNeed,
    shaders: Arc<Shaders>,
    making: Option<Pin<Box<dyn Future<Output = Option<Answer>> + Send + Sync>>>,
    /// Whether the guest waits for a pipeline that nobody makes any more.
    is_stranded: bool,
    /// Whether the verdict was told.
    is_judged: bool,
    /// Whether it was told that the session is closed.
    is_closed: bool,
    /// Whether a shader that a pipeline was made of makes anything of what atomics return.
    uses_atomic_results: bool,
    /// Operations of all pipelines that were made: before the driver sees what is too much.
    compiled: u64,
}

/// A pipeline, or why the guest has none; an error where this machine could not tell.
type Answer = io::Result<Result<Made, NotMade>>;

/// What a run has to know of its GPU.
#[derive(Debug)]
pub(crate) enum News {
    /// For the guest, which waits for it.
    Made(Answer),
    /// The session ended before the guest was done with it.
    Judged(Verdict),
    /// The guest asked for a pipeline after that.
    Stranded,
    /// What was used is known in full.
    Closed,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Lent {
    pub(crate) fn new(session: GpuSession, need: GpuNeed, shaders: Arc<Shaders>) -> Self {
        Self {
            session,
            need,
            shaders,
            making: None,
            is_stranded: false,
            is_judged: false,
            is_closed: false,
            uses_atomic_results: false,
            compiled: 0,
        }
    }

    /// Begins to make a pipeline. A guest waits for one before it asks for the next.
    pub(crate) fn make(&mut self, wgsl: String, entry: String) -> Result<(), Lied> {
        if self.making.is_some() {
            return Err(Lied::Pipelines);
        }
        let order = ShaderOrder { wgsl, entry, need: self.need };
        self.making = Some(Box::pin(make(Arc::clone(&self.shaders), order, self.session.maker(), self.compiled)));
        Ok(())
    }

    /// Waits for what there is to know. Cancel-safe.
    pub(crate) async fn news(&mut self) -> News {
        loop {
            let fate = self.session.fate();
            if let Some(verdict) = fate.verdict.filter(|_| !self.is_judged) {
                self.is_judged = true;
                return News::Judged(verdict);
            }
            if fate.used.is_some() && !self.is_closed {
                self.is_closed = true;
                return News::Closed;
            }
            tokio::select! {
                answer = answered(&mut self.making) => {
                    self.making = None;
                    match answer {
                        Some(answer) => {
                            if let Ok(Ok(Made { shape, .. })) = &answer {
                                self.uses_atomic_results |= shape.uses_atomic_results;
                                self.compiled = compiled(self.compiled, shape).unwrap_or(self.compiled);
                            }
                            return News::Made(answer);
                        }
                        None => self.is_stranded = true,
                    }
                    // Where the session is over, a verdict says so, or has said so.
                    if self.is_judged {
                        return News::Stranded;
                    }
                }
                () = self.session.changed() => {}
            }
        }
    }

    /// Whether the guest waits for a pipeline.
    pub(crate) fn is_making(&self) -> bool {
        self.making.is_some() || self.is_stranded
    }

    /// Has the session close, and says whether it is.
    pub(crate) fn close(&self) -> bool {
        self.session.close();
        self.session.fate().used.is_some()
    }

    /// Why it ended before the guest was done with it.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.session.fate().verdict
    }

    /// Whether what it computes may depend on who comes first on the device.
    pub(crate) fn uses_atomic_results(&self) -> bool {
        self.uses_atomic_results
    }

    /// The adapter's class, and what was used as far as is known.
    pub(crate) fn bill(&self) -> (&str, GpuUsed) {
        (self.session.class(), self.session.used())
    }
}

async fn answered(making: &mut Option<Pin<Box<dyn Future<Output = Option<Answer>> + Send + Sync>>>) -> Option<Answer> {
    match making {
        Some(making) => making.await,
        None => std::future::pending().await,
    }
}

/// Has a shader checked, and a pipeline made of it after others of so many operations; nothing where the session is over.
async fn make(shaders: Arc<Shaders>, order: ShaderOrder, maker: Maker, before: u64) -> Option<Answer> {
    let shape = match shaders.check(&order).await {
        Ok(Ok(shape)) => shape,
        Ok(Err(message)) => return Some(Ok(Err(NotMade::Shader(clip(message, MESSAGE_BYTES_MAX))))),
        Err(error) => return Some(Err(error)),
    };
    if let Err(fault) = compiled(before, &shape) {
        return Some(Ok(Err(NotMade::Limit(fault.to_string()))));
    }
    let ShaderOrder { wgsl, entry, .. } = order;
    let serial = maker.make(Box::new(Shader { wgsl, entry, shape: shape.clone() })).await?;
    Some(Ok(Ok(Made { serial, shape })))
}
