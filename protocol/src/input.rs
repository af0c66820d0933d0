use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::INPUT_NAME_BYTES_MAX;
use crate::{BlobRef, Digest};

/// What a digest of several inputs is made for, so that it is that of no blob.
const INPUTS_CONTEXT: &str = "adit job inputs v1";

/// An input that a guest asks for by its name, at any offset, beside what it reads from standard input: a model's weights, a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamedInput {
    /// What the guest knows it by.
    pub name: InputName,
    /// The bytes.
    pub blob: BlobRef,
}

/// The name of a [`NamedInput`]: 1 to [`INPUT_NAME_BYTES_MAX`] bytes, each a letter or digit of ASCII, `.`, `_` or `-`, the first of them no `.`.
/// So it can be a file's name on every system, and stand in a command line as it is. Names have the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InputName(String);

/// A text that is no name of an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a name of an input; write 1 to {INPUT_NAME_BYTES_MAX} letters, digits, `.`, `_` or `-`, and no `.` in front",
    .0.escape_debug()
)]
pub struct InputNameError(String);

impl InputName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for InputName {
    type Error = InputNameError;

    fn try_from(text: String) -> Result<Self, InputNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_name = (1..=INPUT_NAME_BYTES_MAX).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(is_allowed);
        if is_name { Ok(Self(text)) } else { Err(InputNameError(text)) }
    }
}

impl FromStr for InputName {
    type Err = InputNameError;

    fn from_str(text: &str) -> Result<Self, InputNameError> {
        text.to_owned().try_into()
    }
}

impl From<InputName> for String {
    fn from(name: InputName) -> Self {
        name.0
    }
}

impl fmt::Display for InputName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The digest of all that a job reads: that of its standard input where there is nothing else; or else
/// BLAKE3 `derive_key` of that and the named inputs, each as they are encoded in a specification.
pub(crate) fn digest_of(stdin: Digest, named: &[NamedInput]) -> Digest {
    if named.is_empty() {
        return stdin;
    }
    let bytes = postcard::to_allocvec(&(stdin, named)).expect("digests and names always encode");
    Digest(blake3::derive_key(INPUTS_CONTEXT, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_what_can_be_a_file_name_everywhere() {
        let longest = "x".repeat(INPUT_NAME_BYTES_MAX);
        for text in ["a", "weights.bin", "Model_2-final", "-", "_.", "0", &longest] {
            let name: InputName = text.parse().unwrap();
            assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
        }
        let too_long = "x".repeat(INPUT_NAME_BYTES_MAX + 1);
        for text in ["", ".", ".hidden", "a b", "a/b", "a=b", "a\n", "ä", "a\0", &too_long] {
            let told = text.parse::<InputName>().unwrap_err().to_string();
            assert!(told.contains("is not a name of an input") && !told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn encoded_text_that_is_no_name_does_not_decode() {
        let bytes = |text: &str| postcard::to_allocvec(text).unwrap();
        assert_eq!(postcard::from_bytes::<InputName>(&bytes("a.b")), Ok("a.b".parse().unwrap()));
        assert_eq!(postcard::to_allocvec(&"a.b".parse::<InputName>().unwrap()).unwrap(), bytes("a.b"));
        for text in ["", ".a", "a b"] {
            assert!(postcard::from_bytes::<InputName>(&bytes(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn digest_covers_every_part_of_every_input() {
        let named = |name: &str, bytes: &[u8]| NamedInput { name: name.parse().unwrap(), blob: BlobRef::of(bytes) };
        let stdin = Digest::of(b"input");
        assert_eq!(digest_of(stdin, &[]), stdin);
        let base = [named("a", b"1"), named("b", b"2")];
        let mut larger = base.clone();
        larger[1].blob.bytes += 1;
        let others = [
            digest_of(Digest::of(b"another"), &base),
            digest_of(stdin, &base[..1]),
            digest_of(stdin, &[named("a", b"2"), named("b", b"1")]),
            digest_of(stdin, &[named("a", b"1"), named("c", b"2")]),
            digest_of(stdin, &larger),
            stdin,
        ];
        assert!(others.iter().all(|other| *other != digest_of(stdin, &base)));
    }
}
