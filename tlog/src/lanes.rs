//! Work that is done on several threads and taken in order.

use std::num::NonZero;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Threads at most. A log is fetched over as many connections, and a server may have few for one address.
const LANES_MAX: u64 = 8;

/// Results that a thread may be ahead of who takes them: bounds the memory, and is enough for the lanes to run on.
const AHEAD_MAX: usize = 2;

/// Does `work` for each number below `count`, and has `take` take what came of it, in order, on this thread.
///
/// # Errors
/// The first of `take`, behind which nothing is taken.
pub(crate) fn in_order<T: Send, E>(
    count: u64,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    // Twice the cores: some of them wait for bytes while others compute.
    let cores = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let lanes = (2 * cores).min(LANES_MAX).min(count);
    thread::scope(|scope| {
        let mut receivers = Vec::new();
        for lane in 0..lanes {
            let (sender, receiver) = sync_channel(AHEAD_MAX);
            let work = &work;
            scope.spawn(move || {
                // A closed channel says that no more is wanted.
                (lane..count).step_by(lanes as usize).try_for_each(|number| sender.send(work(number)))
            });
            receivers.push(receiver);
        }
        for number in 0..count {
            // Only a lane that panics closes its channel early, and the scope passes its panic on.
            let Ok(done) = receivers[(number % lanes) as usize].recv() else { break };
            take(done)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_until_one_is_refused() {
        for count in [0, 1, 7, 8, 9, 100] {
            let mut taken = Vec::new();
            let take = |number| {
                taken.push(number);
                Ok::<(), ()>(())
            };
            in_order(count, |number| 3 * number, take).unwrap();
            assert_eq!(taken, (0..count).map(|number| 3 * number).collect::<Vec<_>>());
        }
        let refuse = |number| if number == 50 { Err(number) } else { Ok(()) };
        assert_eq!(in_order(u64::MAX, |number| number, refuse), Err(50));
    }
}
