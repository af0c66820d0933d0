use std::collections::BTreeMap;

use adit_protocol::{JobId, PublicKey};

/// Jobs of a client that are tried again at once when it has more to pay with: each that it cannot pay all the same is a start in vain.
const TRIED_AT_ONCE: usize = 16;

/// The least time between two such tries of one client's, in microseconds.
pub(crate) const TRY_PAUSE_US: u64 = 100_000;

/// The queued jobs that are kept from nodes because their clients could not pay there. They are tried anew when their client has more to pay
/// with, who waits longest first.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    clients: BTreeMap<PublicKey, Client>,
    turns_given: u64,
}

#[derive(Debug, Default)]
struct Client {
    /// By their turns.
    jobs: BTreeMap<u64, JobId>,
    /// The last of the turns that came before the client had more to pay with.
    funded: u64,
    /// Whether a try was a moment ago.
    is_pausing: bool,
}

impl Credit {
    /// Has a job wait until its client has more to pay with. Returns its turn.
    pub(crate) fn push(&mut self, client: PublicKey, job: JobId) -> u64 {
        self.turns_given += 1;
        self.clients.entry(client).or_default().jobs.insert(self.turns_given, job);
        self.turns_given
    }

    pub(crate) fn remove(&mut self, client: &PublicKey, turn: u64) {
        if let Some(own) = self.clients.get_mut(client) {
            own.jobs.remove(&turn);
        }
        self.forget_idle(client);
    }

    /// Notes that a client has more to pay with.
    pub(crate) fn fund(&mut self, client: &PublicKey) {
        if let Some(own) = self.clients.get_mut(client) {
            own.funded = self.turns_given;
        }
    }

    /// The pause after the last try is over.
    pub(crate) fn end_pause(&mut self, client: &PublicKey) {
        if let Some(own) = self.clients.get_mut(client) {
            own.is_pausing = false;
        }
        self.forget_idle(client);
    }

    /// The jobs of a client that are to be tried now. Where there are some, a pause is to follow.
    pub(crate) fn due(&self, client: &PublicKey) -> Vec<JobId> {
        let own = self.clients.get(client).filter(|own| !own.is_pausing);
        own.into_iter().flat_map(|own| own.jobs.range(..=own.funded)).map(|(_, id)| *id).take(TRIED_AT_ONCE).collect()
    }

    pub(crate) fn begin_pause(&mut self, client: &PublicKey) {
        if let Some(own) = self.clients.get_mut(client) {
            own.is_pausing = true;
        }
    }

    fn forget_idle(&mut self, client: &PublicKey) {
        if self.clients.get(client).is_some_and(|own| own.jobs.is_empty() && !own.is_pausing) {
            self.clients.remove(client);
        }
    }
}
