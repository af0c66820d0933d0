//! Who may use the device now: one session at a time, in the order of asking.

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
    /// The ticket whose turn it is, or comes when its owner asks.
    now: u64,
}

/// The right to use the device, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Turns>);

impl Turns {
    /// Waits for a turn.
    pub(super) fn take(self: &Arc<Self>) -> Turn {
        let mut tickets = self.lock();
        let mine = tickets.next;
        tickets.next += 1;
        while tickets.now != mine {
            tickets = self.wake.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, Tickets> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Whether somebody waits for this turn to end.
    pub(super) fn is_wanted(&self) -> bool {
        let tickets = self.0.lock();
        tickets.next - tickets.now > 1
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().now += 1;
        self.0.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn turns_go_by_the_order_of_asking() {
        let turns = Arc::new(Turns::default());
        let first = turns.take();
        assert!(!first.is_wanted());
        let (told, tell) = mpsc::channel();
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (turns, told) = (Arc::clone(&turns), told.clone());
                let asked = turns.lock().next;
                let thread = thread::spawn(move || {
                    let turn = turns.take();
                    told.send(number).unwrap();
                    drop(turn);
                });
                while first.0.lock().next == asked {
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
}
