//! How many connections of one subscriber are served at once, so that no one address takes every place.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::rates::Block;

/// Those who are here, by subscriber. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    max: usize,
    here: Rc<RefCell<HashMap<Block, usize>>>,
}

/// A place among those who are here, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Crowd,
    block: Block,
}

impl Crowd {
    /// Of which one subscriber may have `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, here: Rc::default() }
    }

    /// A place for a connection from `address`; nothing where its subscriber has all that one may have.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let block = Block::of(address);
        let mut here = self.here.borrow_mut();
        let count = here.entry(block).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place { crowd: self.clone(), block })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut here = self.crowd.here.borrow_mut();
        if let Some(count) = here.get_mut(&self.block) {
            *count -= 1;
            if *count == 0 {
                here.remove(&self.block);
            }
        }
    }
}

/// Where so many of one subscriber's have their turn at once, and further ones wait in order. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    max: usize,
    open: Rc<RefCell<HashMap<Block, Arc<Semaphore>>>>,
}

/// A turn, or a wait for one; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    lines: Lines,
    block: Block,
    line: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lines {
    /// Of which one subscriber may have `max` at once.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, open: Rc::default() }
    }

    /// Waits for a turn of a subscriber's.
    pub(crate) async fn wait(&self, address: IpAddr) -> Turn {
        let mut turn = self.turn(address);
        // Nobody closes it.
        turn.permit = Arc::clone(&turn.line).acquire_owned().await.ok();
        turn
    }

    /// A turn of a subscriber's, at once or not at all.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Turn> {
        let mut turn = self.turn(address);
        turn.permit = Some(Arc::clone(&turn.line).try_acquire_owned().ok()?);
        Some(turn)
    }

    /// The wait for one. There before it begins, so that one that is given up leaves nothing behind.
    fn turn(&self, address: IpAddr) -> Turn {
        let block = Block::of(address);
        let line = Arc::clone(self.open.borrow_mut().entry(block).or_insert_with(|| Arc::new(Semaphore::new(self.max))));
        Turn { lines: self.clone(), block, line, permit: None }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None;
        // Its own and the table's: nobody else has or waits for a turn.
        if Arc::strong_count(&self.line) == 2 {
            self.lines.open.borrow_mut().remove(&self.block);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn one_subscriber_waits_for_its_own_turns_and_leaves_nothing_behind() {
        let lines = Lines::new(2);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let (first, second) = (lines.wait(one).await, lines.wait(one).await);
        let moment = Duration::from_millis(1);
        assert!(timeout(moment, lines.wait(one)).await.is_err() && lines.enter(one).is_none());
        drop(lines.wait(other).await);
        assert_eq!(lines.open.borrow().len(), 1, "the other has gone");
        drop(first);
        let third = timeout(moment, lines.wait(one)).await.unwrap();
        // A wait that is given up last.
        let given_up = timeout(moment, lines.wait(one)).await;
        assert!(given_up.is_err());
        drop(second);
        drop(lines.enter(one).unwrap());
        drop(third);
        assert!(lines.open.borrow().is_empty());
    }

    #[test]
    fn one_subscriber_has_so_many_places_and_gives_them_back() {
        let crowd = Crowd::new(2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = crowd.enter(ip("192.0.2.1")).unwrap();
        // The same address, as a socket for both families has it.
        let _second = crowd.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert!(crowd.enter(ip("192.0.2.1")).is_none() && crowd.enter(ip("192.0.2.2")).is_some());
        drop(first);
        assert!(crowd.enter(ip("192.0.2.1")).is_some());
        // Under one network of IPv6 anybody has as many addresses as there are.
        let held = [1, 2].map(|n| crowd.enter(ip(&format!("2001:db8::{n}"))).unwrap());
        assert!(crowd.enter(ip("2001:db8::3")).is_none() && crowd.enter(ip("2001:db8:0:1::1")).is_some());
        drop(held);
        drop(_second);
        assert!(crowd.here.borrow().is_empty(), "{crowd:?}");
    }
}
