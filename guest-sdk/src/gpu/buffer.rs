use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};

use bytemuck::Pod;

use super::{Error, Record, Session};

/// What sizes, offsets and lengths in bytes are multiples of.
const ALIGN: u64 = 4;

/// Values in the GPU's memory. Dropping it gives them back, after what was recorded with them.
///
/// A buffer has at least 4 bytes and a multiple of that; where `len` values have less, zeros follow them, which a shader sees. Ranges that
/// are written or copied begin and end at multiples of 4 bytes or at the buffer's end, which only matters to types of 1 and 2 bytes.
///
/// A shader's layout is WGSL's: a `vec3f` in a `struct` or an array takes 16 bytes, so pad it in Rust.
#[derive(Debug)]
pub struct Buffer<T> {
    session: Session,
    handle: u32,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    pub(super) fn new(session: &Session, len: usize) -> Result<Self, Error> {
        const { assert!(size_of::<T>() > 0, "a value has at least one byte") };
        let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
        // What no multiple holds is over every limit, and refused as it is.
        let bytes = bytes.max(ALIGN).checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX - (ALIGN - 1));
        Ok(Self { handle: session.buffer_create(bytes)?, session: session.clone(), len, values: PhantomData })
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Records that `values` go to the place `first` and those after it. They are taken before this returns.
    ///
    /// # Errors
    /// [`Error::Invalid`]: they do not fit there.
    pub fn write(&self, first: usize, values: &[T]) -> Result<(), Error> {
        let range = self.range_of(first, values.len())?;
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let wanted = self.padded_end(&range) - self.offset(range.start);
        if wanted == bytes.len() as u64 {
            return self.session.buffer_write(self.handle, self.offset(range.start), bytes);
        }
        let mut padded = bytes.to_vec();
        padded.resize(wanted as usize, 0);
        self.session.buffer_write(self.handle, self.offset(range.start), &padded)
    }

    /// Reads all values, after everything that was recorded before.
    ///
    /// # Errors
    /// None that this version knows.
    pub fn read(&self) -> Result<Vec<T>, Error> {
        self.read_range(..)
    }

    /// Reads the values of a range, after everything that was recorded before.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the range is not inside the buffer.
    pub fn read_range(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, Error> {
        let range = self.resolve(range)?;
        let (start, end) = (self.offset(range.start), self.offset(range.end));
        let mut values = vec![T::zeroed(); range.len()];
        if start.is_multiple_of(ALIGN) && end.is_multiple_of(ALIGN) {
            self.session.buffer_read(self.handle, start, bytemuck::cast_slice_mut(&mut values))?;
            return Ok(values);
        }
        // The words around it, which are all inside: a buffer's size is a multiple of a word.
        let first = start - start % ALIGN;
        let mut words = vec![0; (end.next_multiple_of(ALIGN) - first) as usize];
        self.session.buffer_read(self.handle, first, &mut words)?;
        bytemuck::cast_slice_mut(&mut values).copy_from_slice(&words[(start - first) as usize..][..(end - start) as usize]);
        Ok(values)
    }

    /// Records a copy of the values of a range to the place `first` of another buffer and those after it.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the range is not inside this buffer, or does not fit there, or both buffers are one.
    pub fn copy_to(&self, range: impl RangeBounds<usize>, to: &Self, first: usize) -> Result<(), Error> {
        let from = self.resolve(range)?;
        let target = to.range_of(first, from.len())?;
        same(&self.session, &to.session)?;
        let (start, to_start) = (self.offset(from.start), to.offset(target.start));
        // Zeros that follow the last value are copied along where they follow it in both.
        let bytes = (self.padded_end(&from) - start).min(to.padded_end(&target) - to_start);
        self.session.buffer_copy((self.handle, start), (to.handle, to_start), bytes)
    }

    /// The whole buffer, for the binding with this number in group 0.
    pub fn at(&self, binding: u32) -> Binding<'_> {
        Binding { session: &self.session, record: Record { binding, buffer: self.handle, offset: 0, bytes: 0 } }
    }

    /// A part of the buffer, for the binding with this number in group 0. It begins at a multiple of 256 bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the range is empty, or not inside the buffer.
    pub fn range_at(&self, binding: u32, range: impl RangeBounds<usize>) -> Result<Binding<'_>, Error> {
        let range = self.resolve(range)?;
        let offset = self.offset(range.start);
        let bytes = self.padded_end(&range) - offset;
        if bytes == 0 {
            return Err(Error::Invalid(format!("binding {binding} is of no values; it has at least one")));
        }
        Ok(Binding { session: &self.session, record: Record { binding, buffer: self.handle, offset, bytes } })
    }

    fn offset(&self, index: usize) -> u64 {
        index as u64 * size_of::<T>() as u64
    }

    /// Where the bytes of a range end, with what follows the buffer's last value.
    fn padded_end(&self, range: &Range<usize>) -> u64 {
        let end = self.offset(range.end);
        if range.end == self.len { end.next_multiple_of(ALIGN) } else { end }
    }

    fn range_of(&self, first: usize, count: usize) -> Result<Range<usize>, Error> {
        self.resolve(first..first.saturating_add(count))
    }

    fn resolve(&self, range: impl RangeBounds<usize>) -> Result<Range<usize>, Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.len,
        };
        if start <= end && end <= self.len {
            return Ok(start..end);
        }
        Err(Error::Invalid(format!("the values {start}..{end} of a buffer of {}", self.len)))
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        // It was made, and so it can be given back; an error would be the host's, with nobody to tell.
        let _ = self.session.buffer_destroy(self.handle);
    }
}

/// A buffer, or a part of one, for one binding of a dispatch.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    session: &'a Session,
    record: Record,
}

/// The bindings as `session` takes them.
pub(super) fn records(session: &Session, bindings: &[Binding<'_>]) -> Result<Vec<Record>, Error> {
    bindings.iter().map(|binding| same(session, binding.session).map(|()| binding.record)).collect()
}

fn same(one: &Session, other: &Session) -> Result<(), Error> {
    if one.is(other) { Ok(()) } else { Err(Error::Invalid("the buffer is of another GPU".into())) }
}
