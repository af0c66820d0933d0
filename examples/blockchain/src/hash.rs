//! Digests: two rounds of SHA-256, which name blocks and transactions, and the others that scripts use.

use std::fmt;

use ripemd::Ripemd160;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What names a block or a transaction. Shown as everyone shows it: the last byte first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// All zeros: before the first block, and in the witness tree at the coinbase's place.
    pub const ZERO: Self = Self([0; 32]);

    /// The two rounds over `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha256(&sha256(bytes)))
    }

    /// The two rounds over one digest after another: a node of a Merkle tree.
    pub(crate) fn of_pair(left: &Self, right: &Self) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&left.0);
        bytes[32..].copy_from_slice(&right.0);
        Self::of(&bytes)
    }

    /// From the usual notation, which has the last byte first.
    pub(crate) const fn from_hex(text: &str) -> Self {
        let text = text.as_bytes();
        assert!(text.len() == 64, "a hash has 64 hex digits");
        let mut bytes = [0; 32];
        let mut at = 0;
        while at < 32 {
            bytes[31 - at] = digit(text[2 * at]) << 4 | digit(text[2 * at + 1]);
            at += 1;
        }
        Self(bytes)
    }
}

const fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => panic!("not a hex digit"),
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// SHA-256, once.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 and then RIPEMD-160: what an address is made of.
pub(crate) fn hash160(bytes: &[u8]) -> [u8; 20] {
    ripemd160(&sha256(bytes))
}

/// RIPEMD-160.
pub(crate) fn ripemd160(bytes: &[u8]) -> [u8; 20] {
    Ripemd160::digest(bytes).into()
}

/// SHA-1, which a script may use.
pub(crate) fn sha1(bytes: &[u8]) -> [u8; 20] {
    sha1::Sha1::digest(bytes).into()
}

/// The tagged hash of BIP340.
pub(crate) fn tagged(tag: &str, bytes: &[u8]) -> [u8; 32] {
    let tag = sha256(tag.as_bytes());
    Sha256::new().chain_update(tag).chain_update(tag).chain_update(bytes).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_shown_and_read_with_the_last_byte_first() {
        let text = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
        assert_eq!(Hash::from_hex(text).to_string(), text);
        assert_eq!(Hash::from_hex(text).0[31], 0);
    }
}
