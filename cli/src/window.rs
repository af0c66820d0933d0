//! How many jobs of a map are with the gateway at once: fewer while it has no room, one more for each round of them that it settles.

use std::cell::Cell;

use tokio::sync::Notify;

/// Lets in so many at once.
#[derive(Debug)]
pub(crate) struct Window {
    /// As many as the user allows.
    most: usize,
    width: Cell<usize>,
    inside: Cell<usize>,
    /// Of those inside, the ones that the gateway has no room for.
    waiting: Cell<usize>,
    /// Those that ended since the window became wider or smaller.
    settled: Cell<usize>,
    changed: Notify,
}

/// A place inside, for one job.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    window: &'a Window,
    is_waiting: Cell<bool>,
}

impl Window {
    /// Begins as wide as it may be: most gateways have room.
    pub(crate) fn new(most: usize) -> Self {
        let [inside, waiting, settled] = [0; 3].map(Cell::new);
        Self { most, width: Cell::new(most), inside, waiting, settled, changed: Notify::new() }
    }

    /// Waits for a place. Cancel-safe.
    pub(crate) async fn enter(&self) -> Place<'_> {
        while self.inside.get() >= self.width.get() {
            self.changed.notified().await;
        }
        self.inside.set(self.inside.get() + 1);
        Place { window: self, is_waiting: Cell::new(false) }
    }

    /// Jobs that wait for the gateway to have room.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Makes it as wide as the gateway showed that it takes.
    fn narrow(&self) {
        self.width.set((self.inside.get() - self.waiting.get()).clamp(1, self.width.get()));
        self.settled.set(0);
    }

    /// Makes it wider by one for each that is inside at once: what is gained in a round is lost by one refusal.
    fn note_settled(&self) {
        self.settled.set(self.settled.get() + 1);
        if self.settled.get() >= self.width.get() {
            self.settled.set(0);
            self.width.set((self.width.get() + 1).min(self.most));
            self.changed.notify_one();
        }
    }
}

impl Place<'_> {
    /// Notes that the gateway has no room for it.
    pub(crate) fn postponed(&self) {
        if !self.is_waiting.replace(true) {
            self.window.waiting.set(self.window.waiting.get() + 1);
        }
        self.window.narrow();
    }

    /// Notes that the gateway has it.
    pub(crate) fn taken(&self) {
        if self.is_waiting.replace(false) {
            self.window.waiting.set(self.window.waiting.get() - 1);
        }
    }

    /// Notes that it is settled.
    pub(crate) fn settled(&self) {
        self.taken();
        self.window.note_settled();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.taken();
        self.window.inside.set(self.window.inside.get() - 1);
        self.window.changed.notify_one();
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
        for place in &places[5..] {
            place.postponed();
            place.postponed();
        }
        assert_eq!((window.width.get(), window.waiting()), (5, 59));
        // Nobody enters before there are fewer than five inside.
        places.truncate(5);
        assert_eq!((window.waiting(), fill(&window, 9).len()), (0, 0));
        places.truncate(4);
        assert_eq!(fill(&window, 9).len(), 1);
        // A round of five, one of six: two wider.
        (0..5 + 6).for_each(|_| places[0].settled());
        assert_eq!(window.width.get(), 7);
        (0..100_000).for_each(|_| places[0].settled());
        assert_eq!(window.width.get(), 64);
    }

    #[test]
    fn one_may_always_try() {
        let window = Window::new(4);
        let places = fill(&window, 4);
        places.iter().for_each(Place::postponed);
        assert_eq!((window.width.get(), window.waiting()), (1, 4));
        places[0].taken();
        assert_eq!(window.waiting(), 3);
        drop(places);
        assert_eq!((fill(&window, 4).len(), window.waiting()), (1, 0));
    }

    #[test]
    fn who_waits_outside_is_let_in_by_who_leaves_and_by_a_wider_window() {
        let window = Window::new(2);
        let places = fill(&window, 2);
        places[0].postponed();
        let mut outside = [(); 2].map(|()| Box::pin(window.enter()));
        for waiter in &mut outside {
            assert!(waiter.as_mut().now_or_never().is_none());
        }
        places[1].settled();
        assert_eq!(window.width.get(), 2);
        drop(places);
        let inside = outside.each_mut().map(|waiter| waiter.as_mut().now_or_never());
        assert!(inside.iter().all(Option::is_some));
    }
}
