use std::collections::BTreeMap;

use adit_protocol::PublicKey;

use crate::timer::Tick;

/// What a node has of which nothing bad is known, in thousandths.
pub(crate) const WHOLE: u16 = 1_000;

/// Below this a node gets only jobs that no other one fits. It comes back as time passes: what broke may be mended.
pub(crate) const BARRED_BELOW: u16 = 200;

/// How long a node takes to win back a thousandth by time alone: a barred one is tried again after some minutes.
const REGAIN_US: u64 = 2_000_000;

/// What a node keeps whose word on speed and times does not hold, and which does nothing worse.
const SLOW_LEAST: i32 = 500;

/// How often what giving back costs is doubled, at the most: then it is more than there is to lose.
const DOUBLED_MAX: u8 = 5;

/// Nodes whose past is remembered: more than are connected at once.
const REMEMBERED_MAX: usize = 16_384;

/// What changes a node's reputation, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It brought an attempt to an outcome.
    Finished,
    /// It left with work in hand.
    LeftWork,
    /// It came to nothing with a job that another node ended.
    Failed,
    /// It did not confirm a cancellation.
    Silent,
    /// It gave work back, and its owner had not said that the machine is wanted.
    GaveBack,
    /// What it says of its speed does not hold.
    SlowerThanClaimed,
    /// It says that it fetched or compiled for a time in which it had nothing to fetch or to compile, by what it said before.
    UnlikelyTimes,
    /// A receipt of its does not hold.
    BadReceipt,
    /// It broke the protocol.
    Expelled,
}

impl Deed {
    fn worth(self) -> i32 {
        match self {
            Self::GaveBack => -40,
            Self::Finished => 5,
            Self::LeftWork => -60,
            Self::Failed | Self::Silent => -100,
            Self::SlowerThanClaimed => -30,
            Self::UnlikelyTimes => -20,
            Self::BadReceipt => -250,
            Self::Expelled => -500,
        }
    }
}

/// How far a node's claims and its work have held, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reputation {
    value: u16,
    since: Tick,
    /// Times that it gave work back without a word from its owner, and did no job in between.
    gave_back: u8,
}

impl Reputation {
    pub(crate) fn new(now: Tick) -> Self {
        Self { value: WHOLE, since: now, gave_back: 0 }
    }

    /// What it is by now.
    pub(crate) fn at(self, now: Tick) -> u16 {
        let regained = u16::try_from(now.since(self.since) / REGAIN_US).unwrap_or(WHOLE);
        self.value.saturating_add(regained).min(WHOLE)
    }

    /// Whether nothing bad is known, or that was won back by work.
    pub(crate) fn is_whole(self) -> bool {
        self.value >= WHOLE
    }

    pub(crate) fn after(self, deed: Deed, now: Tick) -> Self {
        let before = i32::from(self.at(now));
        // Times are predicted from what is seen, so words on them need not cost a node all its work.
        let is_word = matches!(deed, Deed::SlowerThanClaimed | Deed::UnlikelyTimes);
        let least = if is_word { before.min(SLOW_LEAST) } else { 0 };
        let gave_back = self.gave_back_after(deed, now);
        // Once is an accident, and each time more without a job done is twice as bad: the fifth bars it.
        let times = if deed == Deed::GaveBack { 1 << (gave_back - 1).min(DOUBLED_MAX) } else { 1 };
        let value = (before + deed.worth() * times).clamp(least, i32::from(WHOLE));
        Self { value: value as u16, since: now, gave_back }
    }

    fn gave_back_after(self, deed: Deed, now: Tick) -> u8 {
        match deed {
            Deed::Finished | Deed::SlowerThanClaimed | Deed::UnlikelyTimes => 0,
            Deed::GaveBack if self.at(now) == WHOLE => 1,
            Deed::GaveBack => self.gave_back.saturating_add(1),
            _ => self.gave_back,
        }
    }

    /// When a node that is barred will not be any more.
    pub(crate) fn unbarred_at(self) -> Tick {
        let missing = u64::from(BARRED_BELOW.saturating_sub(self.value));
        self.since.after(missing.saturating_mul(REGAIN_US))
    }
}

/// The reputations of nodes that are not connected. Only those that are not whole are kept.
#[derive(Debug, Default)]
pub(crate) struct Past(BTreeMap<PublicKey, Reputation>);

impl Past {
    pub(crate) fn recall(&mut self, node: &PublicKey, now: Tick) -> Reputation {
        self.0.remove(node).unwrap_or(Reputation::new(now))
    }

    pub(crate) fn remember(&mut self, node: PublicKey, reputation: Reputation, now: Tick) {
        if reputation.at(now) == WHOLE {
            return;
        }
        if self.0.len() >= REMEMBERED_MAX {
            // A sweep costs a look at each, and makes room for as many as time has healed.
            self.0.retain(|_, reputation| reputation.at(now) < WHOLE);
        }
        if self.0.len() >= REMEMBERED_MAX {
            self.0.pop_first();
        }
        self.0.insert(node, reputation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reputation_is_lost_by_deeds_and_won_back_by_deeds_and_time() {
        let start = Reputation::new(Tick(0));
        let bad = start.after(Deed::BadReceipt, Tick(0)).after(Deed::Expelled, Tick(0)).after(Deed::Failed, Tick(0));
        assert_eq!(bad.at(Tick(0)), 150);
        assert_eq!(bad.unbarred_at(), Tick(100_000_000));
        assert_eq!(bad.at(bad.unbarred_at()), BARRED_BELOW);
        assert_eq!(bad.after(Deed::Finished, Tick(0)).at(Tick(0)), 155);
        assert_eq!(bad.at(Tick(u64::MAX)), WHOLE);
        assert_eq!(start.after(Deed::Finished, Tick(9)).at(Tick(9)), WHOLE, "more than whole there is not");
    }

    #[test]
    fn each_time_that_work_is_given_back_costs_twice_the_last_until_a_job_is_done() {
        let give_back = |reputation: Reputation| reputation.after(Deed::GaveBack, Tick(0));
        let mut reputation = Reputation::new(Tick(0));
        for left in [960, 880, 720, 400] {
            reputation = give_back(reputation);
            assert_eq!(reputation.at(Tick(0)), left);
        }
        assert_eq!(give_back(reputation).at(Tick(0)), 0, "the fifth in a row");
        let done = reputation.after(Deed::Finished, Tick(0));
        assert_eq!(give_back(done).at(Tick(0)), 365);
        let healed = Tick(1_000 * REGAIN_US);
        assert_eq!(reputation.after(Deed::GaveBack, healed).at(healed), 960, "long ago");
    }

    #[test]
    fn node_that_comes_back_is_known_again() {
        let (mut past, node) = (Past::default(), PublicKey([1; 32]));
        let bad = Reputation::new(Tick(0)).after(Deed::Expelled, Tick(0));
        past.remember(node, bad, Tick(0));
        assert_eq!(past.recall(&node, Tick(0)), bad);
        assert_eq!(past.recall(&node, Tick(0)).at(Tick(0)), WHOLE, "it is connected now, and no more past");
    }
}
