//! What a client may have a gateway keep for it, so that no one client takes what all have together.

use std::collections::HashMap;

use adit_protocol::{BlobRef, JobId, PublicKey, Refusal};

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

    /// A blob is in the store: no job waits for it any more.
    pub(crate) fn arrived(&mut self, link: LinkId, blob: &BlobRef) {
        let Some(jobs) = self.0.get_mut(&link) else { return };
        jobs.retain(|_, blobs| {
            blobs.retain(|other| other.digest != blob.digest);
            !blobs.is_empty()
        });
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

#[cfg(test)]
mod tests {
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
        // One that came is owed by none of the jobs that waited for it.
        asked.ask(LINK, two, vec![blob(1, 8)]).unwrap();
        asked.arrived(LINK, &blob(1, 8));
        assert!(!asked.has(LINK, &blob(1, 8)) && asked.0[&LINK].is_empty());
        asked.ask(LINK, one, vec![blob(1, 8)]).unwrap();
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
}
