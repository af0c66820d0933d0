//! Hex dumps cut at field borders, and the check that a value is written exactly so.

use std::fmt::Debug;

use adit_protocol::{FRAME_HEADER_BYTES, FrameError, decode_exact, decode_frame, encode_frame, frame_length};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value beside the dump of its bytes.
pub(crate) type Pin<M> = (M, String);

/// The bytes of a dump. What follows `#` on a line is a comment; `ab*16` is the byte `ab` sixteen times.
pub(crate) fn bytes(dump: &str) -> Vec<u8> {
    let words = dump.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    words.flat_map(word_bytes).collect()
}

fn word_bytes(word: &str) -> Vec<u8> {
    let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
    hex::decode(digits).unwrap_or_else(|e| panic!("`{word}`: {e}")).repeat(times.parse().unwrap())
}

/// Checks that each value is written as its dump as a whole frame, that the dump is read as the value, and that the dumps name every
/// variant of `M` once.
pub(crate) fn check_frames<M: Serialize + DeserializeOwned + PartialEq + Debug>(pins: &[Pin<M>]) {
    for (message, dump) in pins {
        let mut frame = Vec::new();
        encode_frame(message, &mut frame).unwrap();
        assert_eq!(hex::encode(&frame), hex::encode(bytes(dump)), "{message:?}");
        let (header, body) = frame.split_first_chunk::<FRAME_HEADER_BYTES>().unwrap();
        assert_eq!(frame_length(*header), Ok(body.len()), "{message:?}");
        assert_eq!(decode_frame::<M>(body).as_ref(), Ok(message));
    }
    // The variant is the byte after the length and the version.
    check_variants::<M>(pins.iter().map(|(_, dump)| bytes(dump)[FRAME_HEADER_BYTES + 1]));
}

/// As [`check_frames`], for an enum that is only ever part of a message.
pub(crate) fn check_values<M: Serialize + DeserializeOwned + PartialEq + Debug>(pins: &[Pin<M>]) {
    for pin in pins {
        check_bytes(pin);
    }
    check_variants::<M>(pins.iter().map(|(_, dump)| bytes(dump)[0]));
}

/// Checks that a value is written as its dump, and the dump read as the value.
pub(crate) fn check_bytes<M: Serialize + DeserializeOwned + PartialEq + Debug>((value, dump): &Pin<M>) {
    assert_eq!(hex::encode(postcard::to_allocvec(value).unwrap()), hex::encode(bytes(dump)), "{value:?}");
    assert_eq!(decode_exact::<M>(&bytes(dump)).as_ref(), Ok(value));
}

/// Checks that `variants` counts from 0 to the last one of `M`, so that a new variant fails here until it is pinned.
fn check_variants<M: DeserializeOwned + Debug>(variants: impl Iterator<Item = u8>) {
    let variants: Vec<u8> = variants.collect();
    let count = u8::try_from(variants.len()).unwrap();
    assert_eq!(variants, Vec::from_iter(0..count), "every variant once, in order");
    let unknown = Err(FrameError::Payload(postcard::Error::SerdeDeCustom));
    assert_eq!(decode_exact::<M>(&[count]).map(drop), unknown, "variant {count} exists, but is not pinned");
}

#[test]
fn dumps_are_read() {
    assert_eq!(bytes(" 01 0203 # four\n ab*3 # and # three\n"), [1, 2, 3, 0xab, 0xab, 0xab]);
}
