use crate::abi;

/// Says that `done` of `total` steps are finished; `total` 0 means that nobody knows how many there are. Each call pays fuel, so report
/// by the row and not by the pixel. On a native target it does nothing.
pub fn progress(done: u64, total: u64) {
    abi::progress(done, total);
}
