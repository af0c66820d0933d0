//! Which lease gets a slot next: clients take turns, so that nobody's job waits for all that another has waiting here; and where the owner wants
//! one tenant at a time, those of the next client wait until the last one's are over.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use adit_protocol::PublicKey;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a lease waits here while all slots are taken and none gets free, before it is handed back. Behind a job of which it is known that it
/// takes more than 20 ms nothing is sent ahead; what was not known is seen by then, and another node may be free.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long it waits at the most while all slots are taken: ten times as long as what may be sent ahead takes, and more.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct Turns {
    slots: usize,
    state: RefCell<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// The clients that have jobs in a slot, or waiting, and those that had one since the last turn of a client that waits: whoever comes again and
    /// again with one job would be before it each time otherwise.
    clients: BTreeMap<PublicKey, Client>,
    /// Who waits, in the order in which they came, each with a number of its own.
    waiting: Vec<(u64, PublicKey)>,
    /// The next number of one that waits.
    next: u64,
    /// Turns that were given so far.
    given: u64,
    /// When the last one was.
    given_at: Instant,
}

#[derive(Debug, Default)]
struct Client {
    /// Its jobs that are in slots.
    inside: usize,
    waiting: usize,
    /// The number of its last turn; 0 for none since it came.
    last: u64,
}

/// A job's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Rc<Turns>,
    client: PublicKey,
}

/// No slot got free for long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// A place among those that wait, left when dropped.
struct Place<'a> {
    turns: &'a Turns,
    number: u64,
    client: PublicKey,
}

impl Turns {
    pub(crate) fn new(slots: usize) -> Self {
        let state = State { clients: BTreeMap::new(), waiting: Vec::new(), next: 0, given: 0, given_at: Instant::now() };
        Self { slots, state: RefCell::new(state), changed: Notify::new() }
    }

    /// Waits until a job of `client` may have a slot, where one tenant `is_alone` only among jobs of its own. Cancel-safe.
    ///
    /// # Errors
    /// [`Busy`], where all slots are taken, and none got free for [`PATIENCE`] or not for this one within [`PATIENCE_MAX`].
    pub(crate) async fn turn(self: &Rc<Self>, client: PublicKey, is_alone: impl Fn() -> bool) -> Result<Turn, Busy> {
        let place = self.line_up(client);
        let since = Instant::now();
        loop {
            let changed = self.changed.notified();
            if self.enter(&place, is_alone()) {
                return Ok(Turn { turns: Rc::clone(self), client });
            }
            let patient_until = (since.max(self.state.borrow().given_at) + PATIENCE).min(since + PATIENCE_MAX);
            tokio::select! {
                // A turn may have been given in the moment in which patience was over.
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(patient_until), if self.is_full() => return Err(Busy),
            }
        }
    }

    /// Has those who wait see whether the owner still wants them to.
    pub(crate) fn look_again(&self) {
        self.changed.notify_waiters();
    }

    fn is_full(&self) -> bool {
        self.state.borrow().inside() >= self.slots
    }

    fn line_up(&self, client: PublicKey) -> Place<'_> {
        let mut state = self.state.borrow_mut();
        let number = state.next;
        state.next += 1;
        state.waiting.push((number, client));
        state.clients.entry(client).or_default().waiting += 1;
        Place { turns: self, number, client }
    }

    /// Gives a slot to whoever is next, where one is free, and where nobody else's job is in another one or that does not matter.
    fn enter(&self, place: &Place<'_>, is_alone: bool) -> bool {
        let mut state = self.state.borrow_mut();
        let is_with_others = || state.clients.iter().any(|(client, of)| *client != place.client && of.inside > 0);
        if state.inside() >= self.slots || state.first() != Some(place.number) || is_alone && is_with_others() {
            return false;
        }
        state.given += 1;
        state.given_at = Instant::now();
        let last = state.given;
        state.change(place.client, |client| {
            client.inside += 1;
            client.last = last;
        });
        true
    }
}

impl State {
    fn inside(&self) -> usize {
        self.clients.values().map(|client| client.inside).sum()
    }

    /// Who is next: of the clients the one with the fewest jobs in slots, and of those the one whose last turn is the longest ago; and of its jobs
    /// the one that came first.
    fn first(&self) -> Option<u64> {
        let order = |(number, client): &&(u64, PublicKey)| (self.clients[client].inside, self.clients[client].last, *number);
        self.waiting.iter().min_by_key(order).map(|(number, _)| *number)
    }

    fn change(&mut self, key: PublicKey, change: impl FnOnce(&mut Client)) {
        let client = self.clients.get_mut(&key).expect("a client with jobs here is known");
        change(client);
        let earliest = self.clients.values().filter(|client| client.waiting > 0).map(|client| client.last).min();
        let is_after = |last| earliest.is_some_and(|earliest| earliest < last);
        self.clients.retain(|_, client| client.inside > 0 || client.waiting > 0 || is_after(client.last));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state.borrow_mut();
        state.waiting.retain(|(number, _)| *number != self.number);
        state.change(self.client, |client| client.waiting -= 1);
        drop(state);
        // The next may have a slot, too.
        self.turns.changed.notify_waiters();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.state.borrow_mut().change(self.client, |client| client.inside -= 1);
        self.turns.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    const ANN: PublicKey = PublicKey([1; 32]);
    const BOB: PublicKey = PublicKey([2; 32]);

    /// With a clock that stands still unless something waits for it.
    fn with_clock(test: impl AsyncFnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(test());
    }

    fn poll<T>(future: Pin<&mut impl Future<Output = Result<T, Busy>>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value.expect("nobody waits long here")),
            Poll::Pending => None,
        }
    }

    fn turns(slots: usize) -> Rc<Turns> {
        Rc::new(Turns::new(slots))
    }

    #[test]
    fn tenants_that_are_alone_take_turns_in_the_order_in_which_they_came() {
        with_clock(async || {
            let turns = turns(8);
            let mut first = pin!(turns.turn(ANN, || true));
            let mut second = pin!(turns.turn(ANN, || true));
            let mut other = pin!(turns.turn(BOB, || true));
            let mut late = pin!(turns.turn(ANN, || true));
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
        });
    }

    #[test]
    fn who_gives_up_waiting_holds_up_nobody() {
        with_clock(async || {
            let turns = turns(8);
            let first = poll(pin!(turns.turn(ANN, || true))).unwrap();
            {
                let mut gone = pin!(turns.turn(BOB, || true));
                assert!(poll(gone.as_mut()).is_none());
            }
            assert!(poll(pin!(turns.turn(ANN, || true))).is_some());
            drop(first);
            assert!(turns.state.borrow().clients.is_empty(), "who has nothing here is forgotten");
        });
    }

    #[test]
    fn clients_that_came_before_the_owner_wanted_one_are_waited_for() {
        with_clock(async || {
            let turns = turns(8);
            let is_alone = Cell::new(false);
            let first = poll(pin!(turns.turn(ANN, || is_alone.get()))).unwrap();
            let second = poll(pin!(turns.turn(BOB, || is_alone.get()))).unwrap();
            is_alone.set(true);
            let mut late = pin!(turns.turn(ANN, || is_alone.get()));
            assert!(poll(late.as_mut()).is_none());
            drop(second);
            let late = poll(late.as_mut()).unwrap();
            let mut other = pin!(turns.turn(BOB, || is_alone.get()));
            assert!(poll(other.as_mut()).is_none());
            is_alone.set(false);
            turns.look_again();
            assert!(poll(other.as_mut()).is_some(), "the owner wants it no more");
            drop((first, late));
        });
    }

    /// Whoever came while another client had four leases waiting here waited for all of them.
    #[test]
    fn job_of_another_client_waits_for_one_job_and_not_for_all_that_wait() {
        with_clock(async || {
            let turns = turns(1);
            let mut running = poll(pin!(turns.turn(ANN, || false))).unwrap();
            let mut batch: Vec<_> = (0..4).map(|_| Box::pin(turns.turn(ANN, || false))).collect();
            assert!(batch.iter_mut().all(|waiting| poll(waiting.as_mut()).is_none()));
            let mut single = pin!(turns.turn(BOB, || false));
            assert!(poll(single.as_mut()).is_none(), "the slot is taken");
            drop(running);
            assert!(batch.iter_mut().all(|waiting| poll(waiting.as_mut()).is_none()), "it is the other client's turn");
            running = poll(single.as_mut()).unwrap();
            // And none that comes again and again keeps the others out.
            let mut again = pin!(turns.turn(BOB, || false));
            assert!(poll(again.as_mut()).is_none());
            drop(running);
            assert!(poll(again.as_mut()).is_none());
            let order: Vec<bool> = batch.iter_mut().map(|waiting| poll(waiting.as_mut()).is_some()).collect();
            assert_eq!(order, [true, false, false, false], "inside a client, who came first");
        });
    }

    /// Two who came again with one job each as soon as the last had ended kept a third one's waiting for ever.
    #[test]
    fn clients_that_come_again_and_again_keep_nobody_out() {
        with_clock(async || {
            let turns = turns(1);
            let mut running = poll(pin!(turns.turn(ANN, || false))).unwrap();
            let mut waiting = pin!(turns.turn(ANN, || false));
            assert!(poll(waiting.as_mut()).is_none());
            let turn = |client| Box::pin(turns.turn(client, || false));
            let [mut bob, mut carol] = [turn(BOB), turn(PublicKey([3; 32]))];
            assert!(poll(bob.as_mut()).is_none() && poll(carol.as_mut()).is_none());
            drop(running);
            running = poll(bob.as_mut()).unwrap();
            // He has nothing here between the one and the next.
            drop(running);
            running = poll(carol.as_mut()).unwrap();
            bob = turn(BOB);
            assert!(poll(bob.as_mut()).is_none());
            drop(running);
            assert!(poll(bob.as_mut()).is_none(), "it is the turn of who had none for longer");
            running = poll(waiting.as_mut()).unwrap();
            drop(running);
            drop(poll(bob.as_mut()).unwrap());
            assert!(turns.state.borrow().clients.is_empty());
        });
    }

    #[test]
    fn lease_is_handed_back_once_all_slots_were_taken_for_long_and_not_before() {
        with_clock(async || {
            let turns = turns(1);
            let first = turns.turn(ANN, || false).await.unwrap();
            let since = Instant::now();
            assert_eq!(turns.turn(ANN, || false).await.unwrap_err(), Busy);
            assert!(since.elapsed() >= PATIENCE);
            // While turns are given, nobody is handed back, however long it waits.
            let mut patient = pin!(turns.turn(ANN, || false));
            assert!(poll(patient.as_mut()).is_none());
            let mut running = first;
            for other in 3..6 {
                tokio::time::sleep(PATIENCE / 2).await;
                let mut next = pin!(turns.turn(PublicKey([other; 32]), || false));
                assert!(poll(next.as_mut()).is_none() && poll(patient.as_mut()).is_none());
                drop(running);
                running = poll(next.as_mut()).unwrap();
            }
            assert!(since.elapsed() >= PATIENCE * 2 && poll(patient.as_mut()).is_none());
            drop(running);
            assert!(poll(patient.as_mut()).is_some());
        });
    }

    /// Its owner takes one tenant at a time, and has a slot free: the gateway would only send the job here again.
    #[test]
    fn lease_that_waits_for_another_tenant_beside_a_free_slot_waits_on() {
        with_clock(async || {
            let turns = turns(2);
            let first = turns.turn(ANN, || true).await.unwrap();
            let mut other = pin!(turns.turn(BOB, || true));
            assert!(tokio::time::timeout(PATIENCE * 2, other.as_mut()).await.is_err());
            drop(first);
            assert!(poll(other.as_mut()).is_some());
        });
    }
}
