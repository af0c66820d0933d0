//! What a piece of work costs this thread, by the kernel's own count.

use std::fs;
use std::time::Duration;

/// The kernel's clock ticks, the same on every Linux that this is built for.
const TICK: Duration = Duration::from_millis(10);
/// Bytes that a page fault makes usable, at least.
const PAGE_BYTES: u64 = 4096;

/// The processor time that a thread has taken and the memory that it has touched for the first time.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Effort {
    /// Processor time.
    pub(crate) time: Duration,
    /// Bytes of memory that were not there before. What is freed and touched again counts again.
    pub(crate) touched: u64,
}

/// What `work` returns, and costs. Where the kernel does not tell, nothing.
pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, Effort) {
    let before = so_far();
    let done = work();
    let after = so_far();
    let time = after.time.saturating_sub(before.time);
    (done, Effort { time, touched: after.touched.saturating_sub(before.touched) })
}

fn so_far() -> Effort {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    // The second field is a name in parentheses, which may hold anything; the third is the first after it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let ticks = number(14) + number(15);
    Effort { time: TICK * u32::try_from(ticks).unwrap_or(u32::MAX), touched: number(10) * PAGE_BYTES }
}
