//! The checks of guests' shaders: each in a process of its own, few at a time, and none twice.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use adit_protocol::Digest;
use lru::LruCache;
use tokio::sync::Semaphore;

use super::check::{CheckLimits, check_in_worker};
use super::wire::{ShaderOrder, Shape};
use crate::process::WorkerSetup;

/// Checks at once, of all jobs.
const CHECKS_MAX: usize = 2;
/// Answers that are kept: some kilobytes each at most.
const ANSWERS_MAX: usize = 512;

/// What is known of shaders.
#[derive(Debug)]
pub(crate) struct Shaders {
    setup: WorkerSetup,
    permits: Semaphore,
    answers: Mutex<LruCache<Digest, Result<Shape, String>>>,
}

impl Shaders {
    pub(crate) fn new(setup: WorkerSetup) -> Self {
        let answers = LruCache::new(NonZeroUsize::new(ANSWERS_MAX).expect("some answers are kept"));
        Self { setup, permits: Semaphore::new(CHECKS_MAX), answers: Mutex::new(answers) }
    }

    /// The shape of a shader; or what is wrong with it, for its author.
    ///
    /// # Errors
    /// Where this machine could not do its part.
    pub(crate) async fn check(&self, order: &ShaderOrder) -> std::io::Result<Result<Shape, String>> {
        let digest = order.digest();
        if let Some(known) = self.known(digest) {
            return Ok(known);
        }
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        // One that was waited for may have been of the same shader.
        if let Some(known) = self.known(digest) {
            return Ok(known);
        }
        let answer = check_in_worker(&self.setup, order, CheckLimits::default()).await?;
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).put(digest, answer.clone());
        Ok(answer)
    }

    fn known(&self, digest: Digest) -> Option<Result<Shape, String>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned()
    }
}
