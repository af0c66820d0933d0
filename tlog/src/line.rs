//! What the lines of C2SP's formats are made of. One value has one text, so that nothing can be said in two ways.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tlog_tiles::Hash;

/// Hashes of a proof: those of a tree of 2^63 leaves (<https://c2sp.org/tlog-witness>).
pub(crate) const PROOF_HASHES_MAX: usize = 63;

/// A decimal number without leading zeroes.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// A hash in base64.
pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    Some(Hash(parse_base64(text)?.try_into().ok()?))
}

/// Bytes in standard base64 with padding (RFC 4648, section 4).
pub(crate) fn parse_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_has_one_text() {
        assert_eq!(parse_decimal("0"), Some(0));
        assert_eq!(parse_decimal("18446744073709551615"), Some(u64::MAX));
        for text in ["", "00", "01", "+1", "-1", " 1", "1 ", "1\n", "18446744073709551616", "0x1", "\u{661}"] {
            assert_eq!(parse_decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn hash_has_one_text() {
        let text = to_base64(&[7; 32]);
        assert_eq!(parse_hash(&text), Some(Hash([7; 32])));
        let other_bits = text.replace("c=", "d=");
        assert_ne!(other_bits, text);
        for text in
            [&other_bits, text.trim_end_matches('='), &format!("{text}\n"), &to_base64(&[7; 31]), &to_base64(&[7; 33]), ""]
        {
            assert_eq!(parse_hash(text), None, "{text:?}");
        }
    }
}
