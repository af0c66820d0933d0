//! Who may use the device now: one session at a time, in the order of asking, but for those that only settle what they have used.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The queue for the device.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<Tickets>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Tickets {
    /// The ticket that the next who asks gets.
    next: u64,
    /// Those that were asked for; the first has the turn.
    queue: VecDeque<Ticket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticket {
    number: u64,
    /// Whether it goes before those that are not.
    is_short: bool,
}

/// The right to use the device, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    ticket: Ticket,
}

impl Turns {
    /// Waits for a turn; nothing where `is_closed` says in the meantime that nobody wants it any more. Whoever makes it say so calls
    /// [`Self::look_again`].
    pub(super) fn take(self: &Arc<Self>, is_closed: impl Fn() -> bool) -> Option<Turn> {
        let mut tickets = self.lock();
        let ticket = tickets.add(false);
        // It leaves the queue when it is dropped, wherever it stands.
        let turn = Turn { turns: Arc::clone(self), ticket };
        while tickets.queue.front() != Some(&ticket) {
            if is_closed() {
                drop(tickets);
                drop(turn);
                return None;
            }
            tickets = self.wake.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        Some(turn)
    }

    /// Waits for a turn before all who asked by [`Self::take`], for work that takes next to no time. Who closes a session would otherwise wait
    /// for everybody's dispatches, and a session that does not close counts as stuck.
    pub(super) fn take_short(self: &Arc<Self>) -> Turn {
        let mut tickets = self.lock();
        let ticket = tickets.add(true);
        while tickets.queue.front() != Some(&ticket) {
            tickets = self.wake.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        Turn { turns: Arc::clone(self), ticket }
    }

    /// Has all who wait ask again whether they still want a turn.
    pub(super) fn look_again(&self) {
        // Whoever has asked and does not sleep yet holds the lock.
        drop(self.lock());
        self.wake.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Tickets> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tickets {
    fn add(&mut self, is_short: bool) -> Ticket {
        let ticket = Ticket { number: self.next, is_short };
        self.next += 1;
        // The first has the turn, whatever it is.
        let before =
            if is_short { 1 + self.queue.iter().skip(1).take_while(|ticket| ticket.is_short).count() } else { usize::MAX };
        self.queue.insert(before.min(self.queue.len()), ticket);
        ticket
    }
}

impl Turn {
    /// Whether somebody waits for this turn to end.
    pub(super) fn is_wanted(&self) -> bool {
        self.turns.lock().queue.len() > 1
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut tickets = self.turns.lock();
        tickets.queue.retain(|ticket| *ticket != self.ticket);
        // Whoever waits stands in the queue; to wake nobody is a call of the kernel too.
        if !tickets.queue.is_empty() {
            self.turns.wake.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn turns_go_by_the_order_of_asking() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(|| false).unwrap();
        assert!(!first.is_wanted());
        let (told, tell) = mpsc::channel();
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (turns, told) = (Arc::clone(&turns), told.clone());
                let asked = turns.lock().next;
                let thread = thread::spawn(move || {
                    let turn = turns.take(|| false).unwrap();
                    told.send(number).unwrap();
                    drop(turn);
                });
                while first.turns.lock().next == asked {
                    thread::yield_now();
                }
                thread
            })
            .collect();
        assert!(first.is_wanted());
        drop(first);
        assert_eq!(tell.iter().take(3).collect::<Vec<_>>(), [0, 1, 2]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn short_turns_go_before_all_that_wait_in_their_own_order() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(|| false).unwrap();
        let (told, tell) = mpsc::channel();
        let threads: Vec<_> = [(0, false), (1, true), (2, false), (3, true)]
            .map(|(number, is_short)| {
                let (turns, told) = (Arc::clone(&turns), told.clone());
                let asked = turns.lock().next;
                let thread = thread::spawn(move || {
                    let turn = if is_short { turns.take_short() } else { turns.take(|| false).unwrap() };
                    told.send(number).unwrap();
                    drop(turn);
                });
                while first.turns.lock().next == asked {
                    thread::yield_now();
                }
                thread
            })
            .into();
        drop(first);
        assert_eq!(tell.iter().take(4).collect::<Vec<_>>(), [1, 3, 0, 2]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(turns.take_short());
    }

    #[test]
    fn whoever_closes_leaves_the_queue_and_holds_nobody_up() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(|| false).unwrap();
        let closed = Arc::new(AtomicBool::new(false));
        let waits = {
            let (turns, closed) = (Arc::clone(&turns), Arc::clone(&closed));
            thread::spawn(move || turns.take(|| closed.load(Ordering::Relaxed)).is_none())
        };
        while !first.is_wanted() {
            thread::yield_now();
        }
        closed.store(true, Ordering::Relaxed);
        turns.look_again();
        assert!(waits.join().unwrap(), "it had no turn");
        assert!(!first.is_wanted());
        drop(first);
        assert!(turns.take(|| false).is_some());
    }
}
