//! Values one after the other, for inputs and outputs of more of them than memory holds.
//!
//! A record is the length of a value's encoding, as a postcard varint (LEB128) of at most 32 bits, and then the encoding, as
//! [`Encode`] makes it. Records follow each other with nothing between them, and end with the stream. That works over any
//! [`BufRead`] and [`Write`]: in a job over [`Input::records`](crate::Input::records) and [`Output::record`](crate::Output::record),
//! and in the program that submits it over files and buffers.
//!
//! ```
//! # mod guest {
//! use adit_guest::records::RecordError;
//! use adit_guest::{Input, Output};
//!
//! /// Keeps readings that are in range, one at a time.
//! #[adit_guest::job]
//! fn clean(input: Input, mut output: Output) -> Result<(), RecordError> {
//!     for reading in input.records::<(u64, f32)>() {
//!         let (at, value) = reading?;
//!         if value.abs() < 100.0 {
//!             output.record((at, value))?;
//!         }
//!     }
//!     Ok(())
//! }
//!
//! # pub fn check() -> Result<(), RecordError> {
//! // In the program that submits it, or in a test:
//! let mut input = Vec::new();
//! for reading in [(1_u64, 20.5_f32), (2, 1e9), (3, 21.0)] {
//!     adit_guest::records::write(&mut input, reading)?;
//! }
//! let told = adit_guest::testing::Harness::new().input(input).run(main);
//! let readings: Result<Vec<(u64, f32)>, _> = adit_guest::records::read(&told.output[..]).collect();
//! assert_eq!(readings?, [(1, 20.5), (3, 21.0)]);
//! # Ok(()) }}
//! # fn main() { guest::check().unwrap() }
//! ```

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::marker::PhantomData;

use crate::{Decode, DecodeError, Encode, EncodeError};

/// Most bytes of one record's encoding: it is in memory while it is read.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Bytes of a length at most: 32 bits in groups of seven.
const LENGTH_BYTES_MAX: u32 = 5;

/// Why a record cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The stream failed.
    #[error("record {number}: {source}")]
    Stream {
        /// The record's number, from 0 on; of a write, always 0.
        number: u64,
        /// What the stream said.
        source: io::Error,
    },
    /// The stream ends within a record.
    #[error("record {number} is cut short")]
    CutShort {
        /// The record's number, from 0 on.
        number: u64,
    },
    /// The record is larger than [`RECORD_BYTES_MAX`], or what stands in place of its length is none.
    #[error("record {number} has {bytes} bytes; a record has at most {RECORD_BYTES_MAX}")]
    TooLarge {
        /// The record's number, from 0 on; of a write, always 0.
        number: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// The bytes are not a value of the type.
    #[error("record {number}: {source}")]
    Decode {
        /// The record's number, from 0 on.
        number: u64,
        /// What is wrong with them.
        source: DecodeError,
    },
    /// The value has no encoding.
    #[error("a record cannot be encoded: {0}")]
    Encode(EncodeError),
}

/// The records of `reader`, as values of one type. After an error there is nothing more to read.
pub fn read<R: BufRead, T: Decode>(reader: R) -> Records<R, T> {
    Records { reader, number: 0, is_over: false, values: PhantomData }
}

/// Writes a record.
///
/// # Errors
/// [`RecordError`] where the value has no encoding, is too large for a record, or cannot be written.
pub fn write(writer: &mut impl Write, value: impl Encode) -> Result<(), RecordError> {
    let bytes = value.encode().map_err(RecordError::Encode)?;
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(RecordError::TooLarge { number: 0, bytes: bytes.len() as u64 });
    }
    let mut length = bytes.len();
    let mut varint = Vec::with_capacity(LENGTH_BYTES_MAX as usize);
    while length >= 0x80 {
        varint.push(length as u8 | 0x80);
        length >>= 7;
    }
    varint.push(length as u8);
    writer.write_all(&varint).and_then(|()| writer.write_all(&bytes)).map_err(|source| RecordError::Stream { number: 0, source })
}

/// The values of a stream of records: see [`read`].
pub struct Records<R, T> {
    reader: R,
    number: u64,
    is_over: bool,
    values: PhantomData<fn() -> T>,
}

impl<R: BufRead, T: Decode> Records<R, T> {
    fn next_value(&mut self) -> Result<Option<T>, RecordError> {
        let number = self.number;
        let stream = |source| RecordError::Stream { number, source };
        let Some(length) = self.next_length()? else { return Ok(None) };
        // Grows with what comes, so a length that lies takes no memory.
        let mut bytes = Vec::new();
        (&mut self.reader).take(length).read_to_end(&mut bytes).map_err(stream)?;
        if (bytes.len() as u64) < length {
            return Err(RecordError::CutShort { number });
        }
        self.number += 1;
        T::decode(bytes).map(Some).map_err(|source| RecordError::Decode { number, source })
    }

    fn next_length(&mut self) -> Result<Option<u64>, RecordError> {
        let (number, mut length) = (self.number, 0_u64);
        for n in 0..LENGTH_BYTES_MAX {
            let mut byte = [0];
            match self.reader.read_exact(&mut byte) {
                Ok(()) => {}
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(RecordError::Stream { number, source: error });
                }
                Err(_) if n == 0 => return Ok(None),
                Err(_) => return Err(RecordError::CutShort { number }),
            }
            length |= u64::from(byte[0] & 0x7f) << (7 * n);
            if byte[0] < 0x80 {
                let fits = length <= RECORD_BYTES_MAX as u64;
                return if fits { Ok(Some(length)) } else { Err(RecordError::TooLarge { number, bytes: length }) };
            }
        }
        Err(RecordError::TooLarge { number, bytes: length })
    }
}

impl<R: BufRead, T: Decode> Iterator for Records<R, T> {
    type Item = Result<T, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.next_value().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R, T> fmt::Debug for Records<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Raw;

    fn written(values: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| write(&mut bytes, *value).unwrap());
        bytes
    }

    fn told(bytes: &[u8]) -> Vec<String> {
        read::<_, String>(bytes).map(|value| value.unwrap_or_else(|error| error.to_string())).collect()
    }

    #[test]
    fn values_come_back_in_their_order() {
        let long = "x".repeat(300);
        let bytes = written(&["a", "", &long]);
        assert_eq!(bytes[..7], [2, 1, b'a', 1, 0, 0xae, 0x02], "length, then the encoding");
        assert_eq!(told(&bytes), ["a", "", &long]);
        assert_eq!(told(b""), [""; 0]);
    }

    #[test]
    fn raw_records_are_bytes_as_they_are() {
        let mut bytes = Vec::new();
        write(&mut bytes, Raw::from("text")).unwrap();
        assert_eq!(bytes, b"\x04text");
        assert_eq!(read::<_, Raw>(&bytes[..]).next().unwrap().unwrap(), Raw::from("text"));
    }

    #[test]
    fn broken_stream_ends_with_the_number_of_the_record() {
        let good = written(&["a"]);
        for (bad, reason) in [
            (&[3, 1][..], "record 1 is cut short"),
            (&[0x80], "record 1 is cut short"),
            (&[2, 9, b'a', 2, 1, b'b'], "record 1: 2 bytes are not a `alloc::string::String`"),
            (&[0x81, 0x80, 0x80, 0x08], "record 1 has 16777217 bytes; a record has at most 16777216"),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "record 1 has 34359738367 bytes"),
        ] {
            let told = told(&[&good, bad].concat());
            assert_eq!((told.len(), &*told[0]), (2, "a"), "{bad:?}: {told:?}");
            assert!(told[1].starts_with(reason), "{bad:?}: {told:?}");
        }
    }

    #[test]
    fn length_that_lies_takes_no_memory() {
        let mut bytes = vec![0x80, 0x80, 0x80, 0x08];
        bytes.extend_from_slice(b"few");
        assert_eq!(told(&bytes), ["record 0 is cut short"]);
        let error = write(&mut io::sink(), Raw(vec![0; RECORD_BYTES_MAX + 1])).unwrap_err();
        assert!(matches!(error, RecordError::TooLarge { .. }), "{error}");
    }
}
