use adit_guest::gpu;

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A list is not as long as the sizes beside it say.
    #[error("{what} has {len} values; its sizes say {expected}")]
    Length {
        /// Which list.
        what: &'static str,
        /// How long it is.
        len: usize,
        /// How long it must be.
        expected: u64,
    },
    /// Heads that do not share a row evenly.
    #[error("{heads} heads do not share rows of {width} evenly")]
    Heads {
        /// How many.
        heads: u32,
        /// Values of a row.
        width: u32,
    },
    /// A list that would not fit the memory of a guest.
    #[error("{what} would have {count} values; there is room for {COUNT_MAX}")]
    Room {
        /// Which list.
        what: &'static str,
        /// How long it would be.
        count: u64,
    },
    /// Bytes that are not whole numbers.
    #[error("{0} bytes are no list of 32-bit numbers")]
    Bytes(usize),
    /// The GPU refused.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
}

/// Values of 4 bytes that a guest's memory of 4 GiB could hold, were there nothing else. Also all that a shader can number.
const COUNT_MAX: u64 = (u32::MAX / 4) as u64;

/// The product of sizes, if a guest can hold as many values.
pub(crate) fn count(what: &'static str, sizes: &[u32]) -> Result<usize, Error> {
    let count = sizes.iter().fold(1u64, |count, size| count.saturating_mul((*size).into()));
    if count <= COUNT_MAX { Ok(count as usize) } else { Err(Error::Room { what, count }) }
}

/// Whether a list has as many values as the product of its sizes says.
pub(crate) fn check_len<T>(what: &'static str, values: &[T], sizes: [u32; 2]) -> Result<(), Error> {
    let [rows, columns] = sizes.map(u64::from);
    let expected = rows * columns;
    if values.len() as u64 == expected { Ok(()) } else { Err(Error::Length { what, len: values.len(), expected }) }
}
