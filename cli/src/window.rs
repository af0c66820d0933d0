//! How many jobs of a map are with the gateway at once: fewer where it has no room, one more for each round of them that it settles.

use std::cell::Cell;

use tokio::sync::Notify;

/// Lets in so many at once, first come, first served.
#[derive(Debug)]
pub(crate) struct Window {
    /// As many as the user allows.
    most: usize,
    width: Cell<usize>,
    inside: Cell<usize>,
    /// Those that ended since the window became wider or smaller.
    settled: Cell<usize>,
    changed: Notify,
}

/// A place inside, for one job.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Window);

impl Window {
    /// Begins as wide as it may be: most gateways have room, and a job may be long.
    pub(crate) fn new(most: usize) -> Self {
        let [inside, settled] = [0; 2].map(Cell::new);
        Self { most, width: Cell::new(most), inside, settled, changed: Notify::new() }
    }

    /// Waits for a place. Cancel-safe.
    pub(crate) async fn enter(&self) -> Place<'_> {
        while self.inside.get() >= self.width.get() {
            self.changed.notified().await;
        }
        self.inside.set(self.inside.get() + 1);
        Place(self)
    }
}

impl Place<'_> {
    /// Leaves because the gateway has no room for it: the window becomes as wide as the gateway showed that it takes.
    pub(crate) fn refused(self) {
        let window = self.0;
        drop(self);
        window.width.set(window.inside.get().clamp(1, window.width.get()));
        window.settled.set(0);
    }

    /// Leaves because it is settled. The window becomes wider by one for as many as it is wide.
    pub(crate) fn settled(self) {
        let window = self.0;
        window.settled.set(window.settled.get() + 1);
        if window.settled.get() >= window.width.get() {
            window.settled.set(0);
            window.width.set((window.width.get() + 1).min(window.most));
            window.changed.notify_one();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.inside.set(self.0.inside.get() - 1);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Enters as often as there is room, up to so many.
    fn fill(window: &Window, count: usize) -> Vec<Place<'_>> {
        std::iter::from_fn(|| window.enter().now_or_never()).take(count).collect()
    }

    #[test]
    fn as_many_as_allowed_are_inside_at_once() {
        let window = Window::new(3);
        let mut places = fill(&window, 9);
        assert_eq!(places.len(), 3);
        places.pop();
        places.extend(fill(&window, 9));
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn refusals_narrow_it_to_what_the_gateway_took_and_settlements_widen_it_again() {
        let window = Window::new(64);
        let mut places = fill(&window, 100);
        assert_eq!(places.len(), 64);
        places.drain(5..).for_each(Place::refused);
        assert_eq!((window.width.get(), fill(&window, 9).len()), (5, 0));
        // A round of five, one of six: two wider.
        let settle = |places: &mut Vec<Place<'_>>| places.pop().unwrap().settled();
        for _ in 0..5 + 6 {
            settle(&mut places);
            places.extend(window.enter().now_or_never());
        }
        assert_eq!((window.width.get(), places.len()), (7, 5));
        places.extend(fill(&window, 9));
        assert_eq!(places.len(), 7);
        for _ in 0..100_000 {
            settle(&mut places);
            places.extend(fill(&window, 100));
        }
        assert_eq!(places.len(), 64);
    }

    #[test]
    fn one_may_always_try() {
        let window = Window::new(4);
        fill(&window, 4).into_iter().for_each(Place::refused);
        assert_eq!((window.width.get(), window.inside.get(), fill(&window, 4).len()), (1, 0, 1));
    }

    #[test]
    fn who_waits_outside_is_let_in_by_who_leaves_and_by_a_wider_window_in_turn() {
        let window = Window::new(3);
        let mut places = fill(&window, 3);
        places.pop().unwrap().refused();
        assert_eq!(window.width.get(), 2);
        let mut outside = [(); 3].map(|()| Box::pin(window.enter()));
        for waiter in &mut outside {
            assert!(waiter.as_mut().now_or_never().is_none());
        }
        places.pop().unwrap().settled();
        let first = outside[0].as_mut().now_or_never().expect("one left");
        assert!(outside[1].as_mut().now_or_never().is_none());
        // The second to be settled widens the window: two have room for one that left.
        places.pop().unwrap().settled();
        let others = [1, 2].map(|n| outside[n].as_mut().now_or_never());
        assert!(others.iter().all(Option::is_some));
        drop(first);
    }
}
