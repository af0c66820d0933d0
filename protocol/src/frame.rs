//! Frames on a control stream: `length: u32 LE | version: u8 | postcard payload`, where the length counts version and payload.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};

use crate::PROTOCOL_VERSION;
use crate::limits::FRAME_BYTES_MAX;

/// Bytes of the length that stands before every frame.
pub const FRAME_HEADER_BYTES: usize = 4;

/// Bytes that are no frame of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is zero or over [`FRAME_BYTES_MAX`]. Found before anything is allocated.
    #[error("a frame of {0} bytes; 1 to {FRAME_BYTES_MAX} are allowed")]
    Length(usize),
    /// The peer speaks another version.
    #[error("protocol version {0}; this side speaks {PROTOCOL_VERSION}")]
    Version(u8),
    /// The payload is no message of the expected kind.
    #[error("the payload does not decode: {0}")]
    Payload(postcard::Error),
    /// The payload goes on after its message.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// The bytes decode, but are not how the value is written.
    #[error("the encoding is not canonical")]
    NotCanonical,
}

/// Appends `message` to `out` as one frame.
///
/// # Errors
/// [`FrameError::Length`] where the message is over [`FRAME_BYTES_MAX`]; `out` is then as it was.
pub fn encode_frame<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    out.push(PROTOCOL_VERSION);
    let mut frame = postcard::to_extend(message, std::mem::take(out)).map_err(FrameError::Payload)?;
    let length = frame.len() - start - FRAME_HEADER_BYTES;
    if length + FRAME_HEADER_BYTES > FRAME_BYTES_MAX {
        frame.truncate(start);
        *out = frame;
        return Err(FrameError::Length(length));
    }
    frame[start..start + FRAME_HEADER_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    *out = frame;
    Ok(())
}

/// Reads a frame's header: how many bytes of version and payload follow.
///
/// # Errors
/// [`FrameError::Length`] where that is zero or too many.
pub fn frame_length(header: [u8; FRAME_HEADER_BYTES]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length == 0 || length + FRAME_HEADER_BYTES > FRAME_BYTES_MAX {
        return Err(FrameError::Length(length));
    }
    Ok(length)
}

/// Reads what follows a frame's header.
///
/// # Errors
/// [`FrameError`] for another version, and for anything but exactly one message in its one encoding: what a peer signed or counted by its
/// bytes is what is read here.
pub fn decode_frame<M: Serialize + DeserializeOwned>(body: &[u8]) -> Result<M, FrameError> {
    match body.split_first() {
        Some((&PROTOCOL_VERSION, payload)) => {
            let message = decode_exact(payload)?;
            if is_written_as(&message, payload) { Ok(message) } else { Err(FrameError::NotCanonical) }
        }
        Some((&version, _)) => Err(FrameError::Version(version)),
        None => Err(FrameError::Length(0)),
    }
}

/// Reads one value that fills `bytes` to the end.
///
/// # Errors
/// [`FrameError::Payload`] and [`FrameError::Trailing`].
pub fn decode_exact<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, FrameError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(FrameError::Payload)?;
    if rest.is_empty() { Ok(value) } else { Err(FrameError::Trailing(rest.len())) }
}

/// Takes one value from the front of `bytes`.
pub(crate) fn take<'b, M: Deserialize<'b>>(bytes: &mut &'b [u8]) -> Result<M, FrameError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(FrameError::Payload)?;
    *bytes = rest;
    Ok(value)
}

/// Takes as many bytes as they stand: an array of bytes, which postcard would read one by one.
pub(crate) fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (array, rest) = bytes.split_first_chunk().ok_or(ENDED)?;
    *bytes = rest;
    Ok(*array)
}

/// Takes a `Vec` of arrays of bytes.
pub(crate) fn take_arrays<const N: usize>(bytes: &mut &[u8]) -> Result<Vec<[u8; N]>, FrameError> {
    let count: usize = take(bytes)?;
    let length = count.checked_mul(N).ok_or(ENDED)?;
    let (arrays, rest) = bytes.split_at_checked(length).ok_or(ENDED)?;
    *bytes = rest;
    Ok(arrays.as_chunks().0.to_vec())
}

/// What postcard says of bytes that end within a value.
const ENDED: FrameError = FrameError::Payload(postcard::Error::DeserializeUnexpectedEnd);

/// Whether `value`, which was read from `bytes`, is written as just these.
///
/// Postcard reads some values from more bytes than it writes, but from no others: all is taken as it stands, except numbers, which may end
/// in zeroes that say nothing and are read from each length in one way. So what has no byte too many is what would be written. It is so for
/// all that derives its encoding and has an order: no message of ours has a map or a set.
pub(crate) fn is_written_as(value: &impl Serialize, bytes: &[u8]) -> bool {
    postcard::serialize_with_flavor(value, Length(0)).is_ok_and(|length| length == bytes.len())
}

/// How many bytes `value` is written as.
pub(crate) fn written_length(value: &impl Serialize) -> usize {
    postcard::serialize_with_flavor(value, Length(0)).expect("a value of known lengths always encodes")
}

/// Counts what a value is written as.
struct Length(usize);

impl Flavor for Length {
    type Output = usize;

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0 += bytes.len();
        Ok(())
    }

    fn try_push(&mut self, _: u8) -> postcard::Result<()> {
        self.0 += 1;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    /// Each kind of field that our messages have.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Fields {
        None,
        Numbers(u8, u16, u32, u64, u128, bool),
        Bytes { array: [u8; 16], text: String, signed: crate::Signature },
        Nested(Vec<Option<Box<Fields>>>),
    }

    fn fields() -> impl Strategy<Value = Fields> {
        let leaf = prop_oneof![
            Just(Fields::None),
            // Numbers of all lengths, also those that end at a length's border.
            (any::<[u128; 5]>(), any::<[u8; 5]>(), any::<bool>()).prop_map(|(n, shift, flag)| {
                let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|i| n[i] >> (shift[i] % 128));
                Fields::Numbers(a as u8, b as u16, c as u32, d as u64, e, flag)
            }),
            (any::<[u8; 16]>(), any::<String>()).prop_map(|(array, text)| {
                Fields::Bytes { array, text, signed: crate::SecretKey::from_seed([1; 32]).sign("test", b"") }
            }),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::vec(prop::option::of(inner.prop_map(Box::new)), 0..4).prop_map(Fields::Nested)
        })
    }

    proptest! {
        /// The length says the same of whatever is read as writing it again does, also of bytes that nobody would write.
        #[test]
        fn length_tells_canonical_bytes(value in fields(), at in any::<prop::sample::Index>(), byte: u8, kind in 0..4) {
            let mut bytes = postcard::to_allocvec(&value).unwrap();
            prop_assert!(is_written_as(&value, &bytes));
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => _ = bytes.remove(at),
                // A number's last byte is followed by one that adds nothing.
                _ => {
                    bytes[at] |= 0x80;
                    bytes.insert(at + 1, 0);
                }
            }
            if let Ok(read) = decode_exact::<Fields>(&bytes) {
                prop_assert_eq!(is_written_as(&read, &bytes), postcard::to_allocvec(&read).unwrap() == bytes, "{:?}", read);
            }
        }
    }

    #[test]
    fn number_that_is_longer_than_it_must_be_is_not_canonical() {
        for (bytes, canonical) in [(&[5][..], true), (&[0x85, 0], false), (&[0x85, 0x80, 0], false), (&[0x85, 1], true)] {
            assert_eq!(is_written_as(&decode_exact::<u64>(bytes).unwrap(), bytes), canonical, "{bytes:?}");
        }
    }

    #[test]
    fn message_has_one_encoding() {
        let frame = |payload: &[u8]| [&[PROTOCOL_VERSION], payload].concat();
        assert_eq!(decode_frame::<(u32, u32)>(&frame(&[1, 2])), Ok((1, 2)));
        // Postcard reads both as 1 too.
        for padded in [&[0x81, 0x00, 2][..], &[0x81, 0x80, 0x00, 2]] {
            assert_eq!(decode_frame::<(u32, u32)>(&frame(padded)), Err(FrameError::NotCanonical), "{padded:?}");
        }
    }
}
