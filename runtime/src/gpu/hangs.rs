//! Whose work hung the GPU or made it lose its device: who did it again is kept away from it for a while, so that a stranger cannot take it
//! from everybody. A client, and not a module for all: two inputs of a stranger's would take a public module from those who use it well, and
//! whoever means harm brings another module by one byte that does nothing. Kept in memory: a node that starts anew forgives.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_protocol::{Digest, PublicKey};
use tokio::time::Instant;

/// How long a hang counts.
const COUNTS_FOR: Duration = Duration::from_secs(3600);
/// Hangs at which a client is kept away with the module that it had at each. One may be a slow moment of the node, two are its work.
const MODULE_HANGS_MAX: usize = 2;
/// Hangs at which a client is with any: fewer than the losses in a row after which the GPU is withdrawn from all.
const CLIENT_HANGS_MAX: usize = 3;
/// Hangs that are remembered; of more, the oldest is forgotten. At two seconds for each, that takes longer than they count.
const HANGS_MAX: usize = 2048;
const _: () = assert!(CLIENT_HANGS_MAX < super::keeper::LOSSES_MAX as usize, "nobody withdraws the GPU alone");

/// Whose work a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) client: PublicKey,
    /// Nothing where it may have been any of several of the client's.
    pub(crate) module: Option<Digest>,
}

impl Whose {
    /// Whose these are, all of them; nothing where they are several clients'.
    pub(crate) fn all(mut these: impl Iterator<Item = Self>) -> Option<Self> {
        let first = these.next()?;
        these.try_fold(first, |all, one| {
            let module = all.module.filter(|module| one.module == Some(*module));
            (one.client == all.client).then_some(Self { module, ..all })
        })
    }
}

/// The hangs of a node's GPU, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Hangs(Mutex<VecDeque<(Instant, Whose)>>);

impl Hangs {
    /// Counts a hang.
    pub(crate) fn add(&self, now: Instant, whose: Whose) {
        let mut hangs = self.counting(now);
        if hangs.len() == HANGS_MAX {
            hangs.pop_front();
        }
        hangs.push_back((now, whose));
    }

    /// Why somebody's work is kept away from the GPU, where it is.
    pub(crate) fn refusal(&self, now: Instant, whose: &Whose) -> Option<String> {
        let hangs = self.counting(now);
        let refused = |who: &str, most: usize, is_same: &dyn Fn(&Whose) -> bool| {
            let of_it: Vec<_> = hangs.iter().filter(|(_, other)| is_same(other)).map(|(at, _)| *at).collect();
            // Until one less counts than are too many.
            let until = *of_it.get(of_it.len().checked_sub(most)?)? + COUNTS_FOR;
            let minutes = until.saturating_duration_since(now).as_secs().div_ceil(60);
            let times = of_it.len();
            Some(format!("{who} hung this node's GPU {times} times within an hour, and is kept away from it for {minutes} min"))
        };
        let is_same = |other: &Whose| other.module.is_some() && other == whose;
        refused("this client's work with this module", MODULE_HANGS_MAX, &is_same)
            .or_else(|| refused("this client's work", CLIENT_HANGS_MAX, &|other| other.client == whose.client))
    }

    /// Those that still count.
    fn counting(&self, now: Instant) -> MutexGuard<'_, VecDeque<(Instant, Whose)>> {
        let mut hangs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while hangs.pop_front_if(|(at, _)| now.saturating_duration_since(*at) >= COUNTS_FOR).is_some() {}
        hangs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn whose(client: u8, module: u8) -> Whose {
        Whose { client: PublicKey([client; 32]), module: Some(Digest([module; 32])) }
    }

    /// Two hangs kept a module away for every client, so a stranger with two inputs took it from those who used it well.
    #[test]
    fn client_is_kept_away_with_a_module_from_its_second_hang_on_and_another_is_not() {
        let (hangs, start) = (Hangs::default(), Instant::now());
        hangs.add(start, whose(1, 1));
        hangs.add(start, whose(2, 1));
        for client in 1..=3 {
            assert_eq!(hangs.refusal(start, &whose(client, 1)), None);
        }
        hangs.add(start + 10 * MINUTE, whose(1, 1));
        let told = hangs.refusal(start + 10 * MINUTE, &whose(1, 1)).unwrap();
        let wanted = "this client's work with this module hung this node's GPU 2 times within an hour, and is kept away from it for 50 min";
        assert_eq!(told, wanted);
        for other in [whose(1, 2), whose(2, 1), whose(3, 1)] {
            assert_eq!(hangs.refusal(start + 10 * MINUTE, &other), None, "{other:?}");
        }
        assert_eq!(hangs.refusal(start + 60 * MINUTE, &whose(1, 1)), None);
    }

    #[test]
    fn client_is_kept_away_from_its_third_hang_on_with_any_module() {
        let (hangs, start) = (Hangs::default(), Instant::now());
        for module in 1..=2 {
            hangs.add(start, whose(1, module));
            assert_eq!(hangs.refusal(start, &whose(1, 9)), None);
        }
        hangs.add(start + MINUTE, whose(1, 3));
        let told = hangs.refusal(start + MINUTE, &whose(1, 9)).unwrap();
        assert_eq!(told, "this client's work hung this node's GPU 3 times within an hour, and is kept away from it for 59 min");
        assert_eq!(hangs.refusal(start + MINUTE, &whose(2, 9)), None, "another client is not");
        // Two of them count no longer.
        assert_eq!(hangs.refusal(start + 60 * MINUTE, &whose(1, 9)), None);
    }

    #[test]
    fn what_was_one_of_several_works_is_their_clients_where_all_are_of_one() {
        let all = |these: &[Whose]| Whose::all(these.iter().copied());
        assert_eq!(all(&[]), None);
        assert_eq!(all(&[whose(1, 1), whose(1, 1)]), Some(whose(1, 1)));
        assert_eq!(all(&[whose(1, 1), whose(1, 2)]), Some(Whose { module: None, ..whose(1, 1) }));
        assert_eq!(all(&[whose(1, 1), whose(1, 2), whose(2, 1)]), None);
        let (hangs, start) = (Hangs::default(), Instant::now());
        for _ in 0..CLIENT_HANGS_MAX {
            hangs.add(start, Whose { module: None, ..whose(1, 1) });
        }
        assert!(hangs.refusal(start, &whose(1, 1)).unwrap().starts_with("this client's work"));
        assert_eq!(hangs.refusal(start, &whose(2, 1)), None);
    }

    #[test]
    fn who_goes_on_stays_away_for_longer() {
        let (hangs, start) = (Hangs::default(), Instant::now());
        for minute in 0..4 {
            hangs.add(start + minute * 20 * MINUTE, whose(1, 1));
        }
        // The hangs at 20, 40 and 60 minutes count; the one at 40 has to go.
        let told = hangs.refusal(start + 60 * MINUTE, &whose(1, 1)).unwrap();
        assert!(told.contains("3 times") && told.ends_with("for 40 min"), "{told}");
    }

    #[test]
    fn oldest_is_forgotten_first() {
        let (hangs, start) = (Hangs::default(), Instant::now());
        hangs.add(start, whose(1, 1));
        for _ in 0..HANGS_MAX {
            hangs.add(start, whose(2, 2));
        }
        hangs.add(start, whose(1, 1));
        assert_eq!(hangs.refusal(start, &whose(1, 1)), None);
        assert_eq!(hangs.counting(start).len(), HANGS_MAX);
    }
}
