//! A gateway that stands still: what it was sent meanwhile lies there until it goes on.

use std::collections::VecDeque;

use crate::env::Happening;

/// Whether the gateway stands still, and what it has not taken in yet.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    /// Since when it stands still, and until when.
    times: Option<(u64, u64)>,
    held: VecDeque<Happening>,
}

impl Stall {
    /// Has it stand still for so long from now on; where it does already, for no less than before. Returns when it goes on.
    pub(crate) fn begin(&mut self, now: u64, us: u64) -> u64 {
        let (since, until) = self.times.unwrap_or((now, now));
        let until = until.max(now + us);
        self.times = Some((since, until));
        until
    }

    /// Has it go on, where its time is over by now. Returns for how long it stood still.
    pub(crate) fn end(&mut self, now: u64) -> Option<u64> {
        let (since, _) = self.times.take_if(|(_, until)| *until <= now)?;
        Some(now - since)
    }

    /// The same, whatever its time.
    pub(crate) fn cut(&mut self, now: u64) -> Option<u64> {
        let (since, _) = self.times.take()?;
        Some(now - since)
    }

    /// Whether what comes now has to wait: also behind what lies there still when it goes on.
    pub(crate) fn is_on(&self) -> bool {
        self.times.is_some() || !self.held.is_empty()
    }

    /// Keeps what came. What is `urgent` is read before what other connections brought, and after what else was urgent.
    pub(crate) fn hold(&mut self, happening: Happening, is_urgent: impl Fn(&Happening) -> bool) {
        let at =
            if is_urgent(&happening) { self.held.iter().rposition(is_urgent).map_or(0, |at| at + 1) } else { self.held.len() };
        self.held.insert(at, happening);
    }

    /// What is taken in next, once it goes on.
    pub(crate) fn next(&mut self) -> Option<Happening> {
        if self.times.is_some() { None } else { self.held.pop_front() }
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{ClientMessage, JobId};

    use super::*;
    use crate::env::{Greeting, LinkId, Message, Side};

    fn arrives(link: usize, n: u8) -> Happening {
        Happening::Arrives { link: LinkId(link), message: Message::OfClient(ClientMessage::Cancel { job: JobId([n; 16]) }) }
    }

    fn greets(link: usize) -> Happening {
        let key = adit_protocol::PublicKey([0; 32]);
        Happening::Greets { link: LinkId(link), greeting: Greeting::Client { key } }
    }

    /// What is read, in short.
    fn read(stall: &mut Stall) -> Vec<String> {
        let tell = |happening| match happening {
            Happening::Arrives { link, message: Message::OfClient(ClientMessage::Cancel { job }) } => {
                format!("{} of {}", job.0[0], link.0)
            }
            Happening::Greets { link, .. } => format!("hello of {}", link.0),
            Happening::Ends { link, .. } => format!("end of {}", link.0),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| stall.next()).map(tell).collect()
    }

    /// Once each happening came again when the stall ended that was on as it came, so that a second stall turned them round.
    #[test]
    fn what_came_is_read_in_order_also_where_it_stood_still_twice() {
        let mut stall = Stall::default();
        assert!(!stall.is_on());
        assert_eq!(stall.begin(100, 1_000), 1_100);
        stall.hold(arrives(1, 1), |_| false);
        assert_eq!(stall.begin(200, 50), 1_100, "no stall is cut short by another one");
        stall.hold(arrives(1, 2), |_| false);
        assert_eq!(stall.begin(1_000, 500), 1_500);
        stall.hold(arrives(1, 3), |_| false);
        assert_eq!((stall.end(1_100), read(&mut stall)), (None, vec![]), "it goes on for longer");
        assert_eq!(stall.end(1_500), Some(1_400));
        // At that moment something comes that was on its way for long.
        assert!(stall.is_on());
        stall.hold(Happening::Ends { link: LinkId(1), side: Side::Gateway }, |_| false);
        assert_eq!(read(&mut stall), ["1 of 1", "2 of 1", "3 of 1", "end of 1"]);
        assert!(!stall.is_on());
    }

    #[test]
    fn connection_that_begins_may_be_heard_before_the_rest_of_those_before_it() {
        let is_greeting = |happening: &Happening| matches!(happening, Happening::Greets { .. });
        let mut stall = Stall::default();
        stall.begin(0, 10);
        for happening in [arrives(1, 1), greets(2), arrives(2, 2), arrives(1, 3), greets(3), arrives(3, 4)] {
            stall.hold(happening, is_greeting);
        }
        assert_eq!(stall.cut(5), Some(5));
        assert_eq!(read(&mut stall), ["hello of 2", "hello of 3", "1 of 1", "2 of 2", "3 of 1", "4 of 3"]);
    }
}
