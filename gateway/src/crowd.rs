//! How many connections of one subscriber are served at once, so that no one address takes every place.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

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

#[cfg(test)]
mod tests {
    use super::*;

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
