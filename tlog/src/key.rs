//! The keys that sign checkpoints, under the names that notes give them: text of the form `NAME+ID+KEY`, a vkey
//! (<https://c2sp.org/signed-note>).

use std::fmt;
use std::str::FromStr;

use adit_protocol::{PublicKey, Signature};
use signed_note::{Verifier, is_key_name_valid, key_id};

use crate::line::{parse_base64, to_base64};

/// An Ed25519 signature of a note, as logs make them.
const ED25519: u8 = 0x01;

/// An Ed25519 signature of a note and the time, as witnesses make them (<https://c2sp.org/tlog-cosignature>).
const ED25519_COSIGNATURE: u8 = 0x04;

/// An Ed25519 key with a name, for signatures of the type `TYPE`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NoteKey<const TYPE: u8> {
    name: String,
    id: u32,
    key: PublicKey,
}

/// A log's key. Its name is the origin that the log's checkpoints state.
pub type LogKey = NoteKey<ED25519>;

/// A witness' key.
pub type WitnessKey = NoteKey<ED25519_COSIGNATURE>;

/// A text that is no key of the type that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The name is one that notes do not allow.
    #[error("the key name {0:?} is empty, or has a space, a plus or a control character")]
    Name(String),
    /// The text has another form.
    #[error("it is no key of the form NAME+ID+KEY, with an ID of 8 hex digits and a KEY in base64")]
    Form,
    /// The key is for signatures of another type.
    #[error("the key has signature type {found:#04x}, not {wanted:#04x} ({})", type_name(*wanted))]
    Type {
        /// The type that it has.
        found: u8,
        /// The type that is wanted here.
        wanted: u8,
    },
    /// The ID is not that of this name and key.
    #[error("the ID is {found:08x}, but that of this name and key is {due:08x}")]
    Id {
        /// The ID in the text.
        found: u32,
        /// The ID by name and key.
        due: u32,
    },
}

impl<const TYPE: u8> NoteKey<TYPE> {
    /// The key under this name.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn new(name: &str, key: PublicKey) -> Result<Self, KeyError> {
        if !is_key_name_valid(name) || name.bytes().any(|byte| byte < b' ') {
            return Err(KeyError::Name(name.to_owned()));
        }
        let id = key_id(name, &encoded(TYPE, &key));
        Ok(Self { name: name.to_owned(), id, key })
    }

    /// The name: a log's origin, or what a witness is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What signatures name the key by, beside its name: the start of the hash of name, type and key.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The key itself.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl<const TYPE: u8> fmt::Display for NoteKey<TYPE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id, to_base64(&encoded(TYPE, &self.key)))
    }
}

impl<const TYPE: u8> FromStr for NoteKey<TYPE> {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // A key in base64 may have pluses.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(KeyError::Form) };
        if id.len() != 8 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(KeyError::Form);
        }
        let found = u32::from_str_radix(id, 16).map_err(|_| KeyError::Form)?;
        let key = parse_base64(key).ok_or(KeyError::Form)?;
        let (&of_type, key) = key.split_first().ok_or(KeyError::Form)?;
        if of_type != TYPE {
            return Err(KeyError::Type { found: of_type, wanted: TYPE });
        }
        let key = Self::new(name, PublicKey(key.try_into().map_err(|_| KeyError::Form)?))?;
        if key.id != found {
            return Err(KeyError::Id { found, due: key.id });
        }
        Ok(key)
    }
}

impl Verifier for LogKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let signature: Result<[u8; 64], _> = signature.try_into();
        signature.is_ok_and(|signature| self.key.verify_note(text, &Signature(signature.into())).is_ok())
    }
}

fn encoded(of_type: u8, key: &PublicKey) -> Vec<u8> {
    [&[of_type], key.0.as_slice()].concat()
}

fn type_name(of_type: u8) -> &'static str {
    if of_type == ED25519 { "a log's, Ed25519" } else { "a witness', Ed25519 with a time" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_read_as_it_is_written() {
        let log = LogKey::new("example.com/log", PublicKey([9; 32])).unwrap();
        let witness = WitnessKey::new("example.com/log", PublicKey([9; 32])).unwrap();
        assert_eq!(log.to_string().parse(), Ok(log.clone()));
        assert_eq!(witness.to_string().parse(), Ok(witness.clone()));
        assert_ne!(log.id(), witness.id());
        assert_eq!(log.to_string().parse::<WitnessKey>(), Err(KeyError::Type { found: 1, wanted: 4 }));
        assert_eq!(witness.to_string().parse::<LogKey>(), Err(KeyError::Type { found: 4, wanted: 1 }));
    }

    /// `PeterNeumann`, the example of the Go package golang.org/x/mod/sumdb/note.
    #[test]
    fn published_key_has_its_id() {
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key: LogKey = text.parse().unwrap();
        assert_eq!((key.name(), key.id(), key.to_string()), ("PeterNeumann", 0xc74f_20a3, text.to_owned()));
    }

    #[test]
    fn any_other_text_is_refused() {
        let text = WitnessKey::new("w", PublicKey([9; 32])).unwrap().to_string();
        let short = format!("w+00000000+{}", to_base64(&[4; 32]));
        for bad in ["", "w", "w+", "w++", "w+1+AQ==", "+", "++", "w+0000000g+BA==", "w+00000000+", &short, &format!("{text} ")] {
            assert_eq!(bad.parse::<WitnessKey>(), Err(KeyError::Form), "{bad:?}");
        }
        for name in ["", "a b", "a\u{2003}b", "a\0"] {
            assert_eq!(WitnessKey::new(name, PublicKey([9; 32])), Err(KeyError::Name(name.to_owned())));
        }
        assert!(matches!(text.replacen('w', "v", 1).parse::<WitnessKey>(), Err(KeyError::Id { .. })));
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            assert!(String::from_utf8(bad).unwrap().parse::<WitnessKey>().is_err(), "byte {at}");
        }
    }
}
