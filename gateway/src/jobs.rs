//! The jobs of this process, by id and by client.

use std::collections::{BTreeSet, HashMap};

use adit_protocol::{JobId, PublicKey, UnixMillis};

use crate::job::Job;

/// All jobs that this process has seen and still knows. What concerns one client's takes no look at others'.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    by_id: HashMap<JobId, Job>,
    /// Each client's, from the oldest.
    of: HashMap<PublicKey, BTreeSet<(UnixMillis, JobId)>>,
}

impl Jobs {
    pub(crate) fn get(&self, id: &JobId) -> Option<&Job> {
        self.by_id.get(id)
    }

    /// Whose job it is and when it was submitted stays as it is.
    pub(crate) fn get_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        self.by_id.get_mut(id)
    }

    pub(crate) fn insert(&mut self, job: Job) {
        self.remove(&job.id);
        self.of.entry(job.client).or_default().insert((job.submitted, job.id));
        self.by_id.insert(job.id, job);
    }

    pub(crate) fn remove(&mut self, id: &JobId) -> Option<Job> {
        let job = self.by_id.remove(id)?;
        if let Some(own) = self.of.get_mut(&job.client) {
            own.remove(&(job.submitted, job.id));
            if own.is_empty() {
                self.of.remove(&job.client);
            }
        }
        Some(job)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.by_id.values_mut()
    }

    /// A client's, the newest first.
    pub(crate) fn of(&self, client: &PublicKey) -> impl Iterator<Item = &Job> {
        self.of.get(client).into_iter().flatten().rev().filter_map(|(_, id)| self.by_id.get(id))
    }

    /// Does something with each of a client's.
    pub(crate) fn for_each_of(&mut self, client: &PublicKey, mut each: impl FnMut(&mut Job)) {
        for (_, id) in self.of.get(client).into_iter().flatten() {
            if let Some(job) = self.by_id.get_mut(id) {
                each(job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{Digest, JobResult};

    use super::*;
    use crate::job::{Past, Stage};
    use crate::log::Log;

    fn job(n: u8, client: u8, submitted: u64) -> Job {
        Job {
            id: JobId([n; 16]),
            client: PublicKey([client; 32]),
            module: Digest([0; 32]),
            spec_digest: Digest([0; 32]),
            submitted: UnixMillis(submitted),
            stage: Stage::Failed(JobResult::CancelledInQueue),
            past: Past::default(),
            steps: Vec::new(),
            log: Log::default(),
            followers: Vec::new(),
        }
    }

    #[test]
    fn client_finds_its_own_from_the_newest_and_nothing_is_left_of_those_that_are_gone() {
        let (mut jobs, [one, two]) = (Jobs::default(), [1, 2].map(|n| PublicKey([n; 32])));
        for job in [job(1, 1, 30), job(2, 2, 20), job(3, 1, 10), job(4, 1, 40)] {
            jobs.insert(job);
        }
        let own = |jobs: &Jobs, client| jobs.of(client).map(|job| job.id.0[0]).collect::<Vec<_>>();
        assert_eq!((own(&jobs, &one), own(&jobs, &two)), (vec![4, 1, 3], vec![2]));
        // The same again, later: it has one place.
        jobs.insert(job(3, 1, 50));
        assert_eq!(own(&jobs, &one), [3, 4, 1]);
        let mut seen = 0;
        jobs.for_each_of(&one, |_| seen += 1);
        assert_eq!(seen, 3);
        for n in 1..=4 {
            assert!(jobs.remove(&JobId([n; 16])).is_some() && jobs.remove(&JobId([n; 16])).is_none());
        }
        assert!(jobs.len() == 0 && jobs.of.is_empty());
    }
}
