//! At most one tenant: jobs of one client run beside each other, those of the next wait until they are over.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use adit_protocol::PublicKey;
use tokio::sync::Notify;

/// Whose turn it is. Turns are given in order, so that no client waits while another's newer jobs go ahead.
#[derive(Debug, Default)]
pub(crate) struct Tenancy {
    state: RefCell<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many jobs of each client are in: of one client, or of more that came in before the owner wanted that.
    inside: BTreeMap<PublicKey, usize>,
    /// Who waits, by a number of its own.
    waiting: VecDeque<(u64, PublicKey)>,
    next: u64,
}

/// A job's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    tenancy: Rc<Tenancy>,
    client: PublicKey,
}

/// A place in the line, left when dropped.
struct Place<'a> {
    tenancy: &'a Tenancy,
    number: u64,
}

impl Tenancy {
    /// Waits until a job of `client` may run: at once, unless one tenant `is_alone`. Cancel-safe.
    pub(crate) async fn turn(self: &Rc<Self>, client: PublicKey, is_alone: impl Fn() -> bool) -> Turn {
        let place = self.line_up(client);
        loop {
            let changed = self.changed.notified();
            if self.enter(place.number, client, is_alone()) {
                return Turn { tenancy: Rc::clone(self), client };
            }
            changed.await;
        }
    }

    /// Has those who wait see whether the owner still wants them to.
    pub(crate) fn look_again(&self) {
        self.changed.notify_waiters();
    }

    fn line_up(&self, client: PublicKey) -> Place<'_> {
        let mut state = self.state.borrow_mut();
        let number = state.next;
        state.next += 1;
        state.waiting.push_back((number, client));
        Place { tenancy: self, number }
    }

    /// Lets in whoever is first in line, where nobody else's job is in, or where that does not matter.
    fn enter(&self, number: u64, client: PublicKey, is_alone: bool) -> bool {
        let mut state = self.state.borrow_mut();
        let is_first = state.waiting.front().is_some_and(|(first, _)| *first == number);
        let may = !is_alone || is_first && state.inside.keys().all(|tenant| *tenant == client);
        if may {
            state.waiting.retain(|(waiting, _)| *waiting != number);
            *state.inside.entry(client).or_insert(0) += 1;
            drop(state);
            // The next in line may be of the same client.
            self.changed.notify_waiters();
        }
        may
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.tenancy.state.borrow_mut().waiting.retain(|(number, _)| *number != self.number);
        self.tenancy.changed.notify_waiters();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.tenancy.state.borrow_mut();
        let inside = state.inside.get_mut(&self.client).expect("a job with a turn is in");
        *inside -= 1;
        if *inside == 0 {
            state.inside.remove(&self.client);
        }
        drop(state);
        self.tenancy.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn clients_take_turns_in_the_order_in_which_they_came() {
        let tenancy = Rc::new(Tenancy::default());
        let [ann, bob] = [1, 2].map(|byte| PublicKey([byte; 32]));
        let mut first = pin!(tenancy.turn(ann, || true));
        let mut second = pin!(tenancy.turn(ann, || true));
        let mut other = pin!(tenancy.turn(bob, || true));
        let mut late = pin!(tenancy.turn(ann, || true));
        let (first, second) = (poll(first.as_mut()).unwrap(), poll(second.as_mut()).unwrap());
        assert!(poll(other.as_mut()).is_none() && poll(late.as_mut()).is_none());
        drop(first);
        assert!(poll(other.as_mut()).is_none(), "one of the other client's is still in");
        drop(second);
        assert!(poll(late.as_mut()).is_none(), "it came behind the other client");
        let other = poll(other.as_mut()).unwrap();
        assert!(poll(late.as_mut()).is_none());
        drop(other);
        assert!(poll(late.as_mut()).is_some());
    }

    #[test]
    fn who_gives_up_waiting_holds_up_nobody() {
        let tenancy = Rc::new(Tenancy::default());
        let [ann, bob] = [1, 2].map(|byte| PublicKey([byte; 32]));
        let first = poll(pin!(tenancy.turn(ann, || true))).unwrap();
        {
            let mut gone = pin!(tenancy.turn(bob, || true));
            assert!(poll(gone.as_mut()).is_none());
        }
        assert!(poll(pin!(tenancy.turn(ann, || true))).is_some());
        drop(first);
    }

    #[test]
    fn clients_that_came_before_the_owner_wanted_one_are_waited_for() {
        let tenancy = Rc::new(Tenancy::default());
        let [ann, bob] = [1, 2].map(|byte| PublicKey([byte; 32]));
        let is_alone = std::cell::Cell::new(false);
        let first = poll(pin!(tenancy.turn(ann, || is_alone.get()))).unwrap();
        let second = poll(pin!(tenancy.turn(bob, || is_alone.get()))).unwrap();
        is_alone.set(true);
        let mut late = pin!(tenancy.turn(ann, || is_alone.get()));
        assert!(poll(late.as_mut()).is_none());
        drop(second);
        let late = poll(late.as_mut()).unwrap();
        let mut other = pin!(tenancy.turn(bob, || is_alone.get()));
        assert!(poll(other.as_mut()).is_none());
        is_alone.set(false);
        tenancy.look_again();
        assert!(poll(other.as_mut()).is_some(), "the owner wants it no more");
        drop((first, late));
    }
}
