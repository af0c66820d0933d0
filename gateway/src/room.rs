//! What a client may have a gateway keep for it, so that no one client takes what all have together.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use adit_protocol::{BlobRef, JobId, PublicKey, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::peer::LinkId;

/// Bytes of arguments, environments and inline inputs of all jobs that have not ended. The queue's bound counts jobs; this one keeps large
/// ones from taking the machine's memory.
const LIVE_BYTES_MAX: usize = 256 << 20;

/// The same, of one client: a quarter, as the queue's bound for one client is of the queue's. Others keep room.
const LIVE_BYTES_PER_CLIENT_MAX: usize = LIVE_BYTES_MAX / 4;

/// When to submit again what there is no room for: jobs end all the time.
const RETRY_AFTER_MS: u64 = 1_000;

/// Blobs that one connection was asked for and that have not come. 1,024: eight times the streams that it may have open at once, and no
/// more memory than its QUIC state takes. A client that is asked for more submits again later.
const ASKED_MAX: usize = 1_024;

/// The part of the store that one client's arriving blobs may have.
const ARRIVING_PART: u64 = 4;

/// In how many pieces that part is given out.
const ARRIVING_PIECES: u32 = 1_024;

/// What jobs that have not ended keep in memory.
#[derive(Debug, Default)]
pub(crate) struct LiveBytes {
    all: usize,
    /// Of each client that has some.
    of: HashMap<PublicKey, usize>,
}

impl LiveBytes {
    /// Whether a client's next job has room.
    ///
    /// # Errors
    /// [`Refusal::ShareFull`] where the client has its part, and [`Refusal::QueueFull`] where all together have all; `queued` jobs wait.
    pub(crate) fn admit(&self, client: &PublicKey, bytes: usize, queued: usize) -> Result<(), Refusal> {
        let own = self.of.get(client).copied().unwrap_or(0);
        if own + bytes > LIVE_BYTES_PER_CLIENT_MAX {
            let what = format!(
                "your jobs that have not ended hold {own} bytes of arguments, environments and inline inputs, this one would add {bytes}, \
                 and one key may have {LIVE_BYTES_PER_CLIENT_MAX}"
            );
            return Err(Refusal::ShareFull { what, retry_after_ms: RETRY_AFTER_MS });
        }
        if self.all + bytes > LIVE_BYTES_MAX {
            return Err(Refusal::QueueFull { queued: queued as u32, retry_after_ms: RETRY_AFTER_MS });
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, client: PublicKey, bytes: usize) {
        self.all += bytes;
        *self.of.entry(client).or_default() += bytes;
    }

    pub(crate) fn give_back(&mut self, client: &PublicKey, bytes: usize) {
        self.all -= bytes;
        let Some(own) = self.of.get_mut(client) else { return };
        *own -= bytes;
        if *own == 0 {
            self.of.remove(client);
        }
    }
}

/// The blobs that each connection was asked for, by the jobs that need them. No other is taken: a store that takes what nobody asked for
/// is anybody's to fill.
#[derive(Debug, Default)]
pub(crate) struct Asked(HashMap<LinkId, HashMap<JobId, Vec<BlobRef>>>);

impl Asked {
    /// Notes what a job needs that was just submitted.
    ///
    /// # Errors
    /// [`Refusal::ShareFull`] where too many have not come yet.
    pub(crate) fn ask(&mut self, link: LinkId, job: JobId, blobs: Vec<BlobRef>) -> Result<(), Refusal> {
        let jobs = self.0.entry(link).or_default();
        let waiting = jobs.values().map(Vec::len).sum::<usize>();
        if waiting + blobs.len() > ASKED_MAX {
            let what = format!("{waiting} blobs that you were asked for have not come, and one connection may owe {ASKED_MAX}");
            return Err(Refusal::ShareFull { what, retry_after_ms: RETRY_AFTER_MS });
        }
        jobs.insert(job, blobs);
        Ok(())
    }

    /// Whether a connection was asked for a blob.
    pub(crate) fn has(&self, link: LinkId, blob: &BlobRef) -> bool {
        self.0.get(&link).is_some_and(|jobs| jobs.values().any(|blobs| blobs.contains(blob)))
    }

    /// A job needs nothing more: it is submitted anew, or withdrawn.
    pub(crate) fn forget(&mut self, link: LinkId, job: JobId) {
        if let Some(jobs) = self.0.get_mut(&link) {
            jobs.remove(&job);
        }
    }

    /// Nothing more comes on a connection.
    pub(crate) fn forget_all(&mut self, link: LinkId) {
        self.0.remove(&link);
    }
}

/// The parts of the store that are for blobs on their way, one for each client that sends some.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(HashMap<PublicKey, Weak<Semaphore>>);

/// A client's part.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pieces: Arc<Semaphore>,
    bytes_max: u64,
}

impl Arrivals {
    /// The part of one client, on all its connections, of a store of `store_bytes_max` bytes.
    pub(crate) fn part_of(&mut self, client: PublicKey, store_bytes_max: u64) -> Part {
        let known = self.0.get(&client).and_then(Weak::upgrade);
        let pieces = known.unwrap_or_else(|| {
            let pieces = Arc::new(Semaphore::new(ARRIVING_PIECES as usize));
            self.0.insert(client, Arc::downgrade(&pieces));
            pieces
        });
        Part { pieces, bytes_max: store_bytes_max / ARRIVING_PART }
    }

    /// Drops the parts of those who send nothing.
    pub(crate) fn tidy(&mut self) {
        self.0.retain(|_, pieces| pieces.strong_count() > 0);
    }
}

impl Part {
    /// Whether a blob is larger than the whole part. It may come all the same, alone: its job was admitted, and the store can hold it.
    pub(crate) fn is_too_small_for(&self, blob: &BlobRef) -> bool {
        blob.bytes > self.bytes_max
    }

    /// Waits until the client's other blobs leave room for one. The client waits too, by QUIC's flow control.
    pub(crate) async fn room_for(&self, blob: &BlobRef) -> OwnedSemaphorePermit {
        let pieces = u128::from(blob.bytes) * u128::from(ARRIVING_PIECES) / u128::from(self.bytes_max.max(1)) + 1;
        let pieces = pieces.min(ARRIVING_PIECES.into()) as u32;
        Arc::clone(&self.pieces).acquire_many_owned(pieces).await.expect("a client's part is never closed")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const A: PublicKey = PublicKey([1; 32]);
    const B: PublicKey = PublicKey([2; 32]);
    const LINK: LinkId = LinkId(1);

    fn blob(n: u64, bytes: u64) -> BlobRef {
        BlobRef { bytes, ..BlobRef::of(&n.to_le_bytes()) }
    }

    /// Once one client with 1,800 jobs of large arguments had everybody else's refused, where nodes had nothing to do.
    #[test]
    fn client_with_large_jobs_leaves_room_for_others() {
        let mut live = LiveBytes::default();
        let job = 140 << 10;
        let mut taken = 0;
        while live.admit(&A, job, 0).is_ok() {
            live.take(A, job);
            taken += 1;
        }
        assert!((400..500).contains(&taken));
        let refused = live.admit(&A, job, 0).unwrap_err();
        assert!(matches!(refused, Refusal::ShareFull { retry_after_ms: 1.., .. }));
        assert!(refused.to_string().starts_with("your jobs that have not ended hold "), "{refused}");
        assert_eq!(live.admit(&B, job, 0), Ok(()));
        for client in [3, 4, 5].map(|n| PublicKey([n; 32])) {
            live.take(client, LIVE_BYTES_PER_CLIENT_MAX);
        }
        assert!(matches!(live.admit(&B, job * 2, 7), Err(Refusal::QueueFull { queued: 7, .. })));
        for _ in 0..taken {
            live.give_back(&A, job);
        }
        assert_eq!(live.admit(&A, job, 0), Ok(()));
        assert_eq!((live.of.len(), live.all), (3, 3 * LIVE_BYTES_PER_CLIENT_MAX));
    }

    #[test]
    fn blob_is_asked_for_until_its_job_comes_again_or_its_connection_ends() {
        let (mut asked, [one, two]) = (Asked::default(), [1, 2].map(|n| JobId([n; 16])));
        assert!(!asked.has(LINK, &blob(1, 8)));
        asked.ask(LINK, one, vec![blob(1, 8)]).unwrap();
        asked.ask(LINK, two, vec![blob(1, 8), blob(2, 8)]).unwrap();
        assert!(asked.has(LINK, &blob(1, 8)) && asked.has(LINK, &blob(2, 8)));
        // Neither on another connection nor under another length.
        assert!(!asked.has(LinkId(2), &blob(1, 8)) && !asked.has(LINK, &blob(1, 9)));
        asked.forget(LINK, two);
        assert!(asked.has(LINK, &blob(1, 8)) && !asked.has(LINK, &blob(2, 8)));
        asked.forget_all(LINK);
        assert!(!asked.has(LINK, &blob(1, 8)) && asked.0.is_empty());
    }

    #[test]
    fn connection_that_owes_many_blobs_is_asked_for_no_more() {
        let mut asked = Asked::default();
        let job = |n: usize| JobId((n as u128).to_le_bytes());
        for n in 0..ASKED_MAX {
            asked.ask(LINK, job(n), vec![blob(n as u64, 8)]).unwrap();
        }
        let refused = asked.ask(LINK, job(ASKED_MAX), vec![blob(0, 8)]).unwrap_err();
        assert!(refused.to_string().starts_with("1024 blobs that you were asked for have not come"), "{refused}");
        asked.forget(LINK, job(0));
        assert_eq!(asked.ask(LINK, job(ASKED_MAX), vec![blob(0, 8)]), Ok(()));
    }

    #[tokio::test]
    async fn blobs_of_one_client_come_in_a_quarter_of_the_store_and_a_larger_one_alone() {
        let mut arrivals = Arrivals::default();
        let part = arrivals.part_of(A, 4_000_000);
        assert!(!part.is_too_small_for(&blob(1, 1_000_000)) && part.is_too_small_for(&blob(1, 1_000_001)));
        let has_room = async |part: &Part, bytes| timeout(Duration::ZERO, part.room_for(&blob(2, bytes))).await.is_ok();
        let large = part.room_for(&blob(1, 600_000)).await;
        // On another connection too; another client has its own part.
        let same = arrivals.part_of(A, 4_000_000);
        assert!(has_room(&same, 300_000).await && !has_room(&same, 600_000).await && !has_room(&same, 3_000_000).await);
        assert!(has_room(&arrivals.part_of(B, 4_000_000), 3_000_000).await);
        drop(large);
        assert!(has_room(&part, 3_000_000).await);
        drop((part, same));
        arrivals.tidy();
        assert!(arrivals.0.is_empty());
    }
}
