use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Raw;

/// A value that a job can read: what its bytes mean is decided by its type.
///
/// Every type with serde's `Deserialize` is one, as postcard that takes up all of the bytes. [`Raw`] has no serde on purpose and takes
/// the bytes as they are. Programs that submit jobs read a job's output by the same trait.
pub trait Decode: Sized {
    /// The value that `bytes` stand for.
    ///
    /// # Errors
    /// The bytes are not a whole encoding of this type.
    fn decode(bytes: Vec<u8>) -> Result<Self, DecodeError>;
}

/// A value that a job can write: the counterpart of [`Decode`].
#[diagnostic::on_unimplemented(
    message = "a job cannot return `{Self}`",
    label = "this is no output of a job",
    note = "a job returns a type with `#[derive(serde::Serialize)]`, or `adit_guest::Raw` for bytes as they are; or it takes an \
            `adit_guest::Output` and writes to it"
)]
pub trait Encode {
    /// The bytes that stand for the value.
    ///
    /// # Errors
    /// The type's own `Serialize` refused the value.
    fn encode(self) -> Result<Vec<u8>, EncodeError>;
}

/// Why bytes are not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end early, or some are out of range.
    #[error("{bytes} bytes are not a `{type_name}` in postcard: {source}")]
    Malformed {
        /// The type that was to be read.
        type_name: &'static str,
        /// How many bytes there are.
        bytes: usize,
        /// What postcard found.
        source: postcard::Error,
    },
    /// The bytes begin with a value and go on after it: most often, another type was sent.
    #[error("{bytes} bytes are a `{type_name}` in postcard and {left_over} more")]
    LeftOver {
        /// The type that was to be read.
        type_name: &'static str,
        /// How many bytes there are.
        bytes: usize,
        /// How many of them come after the value.
        left_over: usize,
    },
}

/// Why a value has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this `{type_name}` cannot be written in postcard: {source}")]
pub struct EncodeError {
    type_name: &'static str,
    source: postcard::Error,
}

impl<T: DeserializeOwned> Decode for T {
    fn decode(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        let type_name = core::any::type_name::<T>();
        match postcard::take_from_bytes(&bytes) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(DecodeError::LeftOver { type_name, bytes: bytes.len(), left_over: rest.len() }),
            Err(source) => Err(DecodeError::Malformed { type_name, bytes: bytes.len(), source }),
        }
    }
}

impl<T: Serialize> Encode for T {
    fn encode(self) -> Result<Vec<u8>, EncodeError> {
        postcard::to_allocvec(&self).map_err(|source| EncodeError { type_name: core::any::type_name::<T>(), source })
    }
}

impl Decode for Raw {
    fn decode(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        Ok(Self(bytes))
    }
}

impl Encode for Raw {
    fn encode(self) -> Result<Vec<u8>, EncodeError> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Tile {
        x: u32,
        name: String,
    }

    #[test]
    fn a_value_survives_the_round_trip() {
        let tile = Tile { x: 300, name: "north".into() };
        let bytes = tile.clone().encode().unwrap();
        assert_eq!(bytes, b"\xac\x02\x05north", "postcard: varint x, then length and text");
        assert_eq!(Tile::decode(bytes).unwrap(), tile);
    }

    #[test]
    fn raw_bytes_are_untouched_where_a_vec_has_a_length() {
        let bytes = vec![0, 255, 7];
        assert_eq!(Raw::decode(bytes.clone()).unwrap(), Raw(bytes.clone()));
        assert_eq!(Raw(bytes.clone()).encode().unwrap(), bytes);
        assert_eq!(bytes.encode().unwrap(), [3, 0, 255, 7]);
    }

    #[test]
    fn a_value_that_ends_early_is_refused() {
        let error = Tile::decode(b"\xac\x02\x05nor".to_vec()).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { bytes: 6, .. }), "{error}");
        assert!(error.to_string().contains("Tile"), "{error}");
    }

    #[test]
    fn bytes_after_a_value_are_refused() {
        let error = u8::decode(vec![1, 2, 3]).unwrap_err();
        assert_eq!(error, DecodeError::LeftOver { type_name: "u8", bytes: 3, left_over: 2 });
    }

    #[test]
    fn nothing_is_the_unit_value() {
        assert_eq!(().encode().unwrap(), b"");
        <()>::decode(vec![]).unwrap();
    }
}
