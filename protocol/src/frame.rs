//! Frames on a control stream: `length: u32 LE | version: u8 | postcard payload`, where the length counts version and payload.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// Whether `bytes` are how `value` is written, and nothing else.
pub(crate) fn is_written_as(value: &impl Serialize, bytes: &[u8]) -> bool {
    postcard::serialize_with_flavor(value, Expected(bytes)).unwrap_or(false)
}

/// Takes what a value is written as off the front of the bytes that are expected.
struct Expected<'b>(&'b [u8]);

impl Flavor for Expected<'_> {
    type Output = bool;

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0 = self.0.strip_prefix(bytes).ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.0.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
