//! At most one tenant: jobs of one client run beside each other, those of the next wait until they are over.

use std::cell::RefCell;
use std::collections::VecDeque;
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
    tenant: Option<PublicKey>,
    /// Jobs of the tenant that are in.
    inside: usize,
    /// Who waits, by a number of its own.
    waiting: VecDeque<(u64, PublicKey)>,
    next: u64,
}

/// A job's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Rc<Tenancy>);

/// A place in the line, left when dropped.
struct Place<'a> {
    tenancy: &'a Tenancy,
    number: u64,
}

impl Tenancy {
    /// Waits until a job of `client` may run. Cancel-safe.
    pub(crate) async fn turn(self: &Rc<Self>, client: PublicKey) -> Turn {
        let place = self.line_up(client);
        loop {
            let changed = self.changed.notified();
            if self.enter(place.number) {
                return Turn(Rc::clone(self));
            }
            changed.await;
        }
    }

    fn line_up(&self, client: PublicKey) -> Place<'_> {
        let mut state = self.state.borrow_mut();
        let number = state.next;
        state.next += 1;
        state.waiting.push_back((number, client));
        Place { tenancy: self, number }
    }

    /// Lets in whoever is first in line, where nobody else's job is in.
    fn enter(&self, number: u64) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(&(first, client)) = state.waiting.front() else { return false };
        let may = first == number && (state.inside == 0 || state.tenant == Some(client));
        if may {
            state.waiting.pop_front();
            state.tenant = Some(client);
            state.inside += 1;
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
        self.0.state.borrow_mut().inside -= 1;
        self.0.changed.notify_waiters();
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
        let mut first = pin!(tenancy.turn(ann));
        let mut second = pin!(tenancy.turn(ann));
        let mut other = pin!(tenancy.turn(bob));
        let mut late = pin!(tenancy.turn(ann));
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
        let first = poll(pin!(tenancy.turn(ann))).unwrap();
        {
            let mut gone = pin!(tenancy.turn(bob));
            assert!(poll(gone.as_mut()).is_none());
        }
        assert!(poll(pin!(tenancy.turn(ann))).is_some());
        drop(first);
    }
}
