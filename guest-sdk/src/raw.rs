use alloc::string::String;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// A job's input or output as plain bytes: a file, a picture, text for other tools, with no encoding around it.
///
/// ```
/// use adit_guest::Raw;
///
/// fn shout(text: Raw) -> Result<Raw, std::str::Utf8Error> {
///     Ok(text.as_str()?.to_uppercase().into())
/// }
///
/// assert_eq!(shout("adit".into()).unwrap(), Raw::from("ADIT"));
/// ```
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Raw(pub Vec<u8>);

impl Raw {
    /// The bytes as text.
    ///
    /// # Errors
    /// The bytes are not UTF-8.
    pub fn as_str(&self) -> Result<&str, core::str::Utf8Error> {
        core::str::from_utf8(&self.0)
    }
}

impl Deref for Raw {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Raw {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl From<Vec<u8>> for Raw {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Raw {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<String> for Raw {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<&str> for Raw {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}
