//! What the gateway keeps of a paid attempt beside its leaf: `version: u8 | checksum: 8 bytes | postcard`, in the one canonical encoding.

use adit_protocol::{Digest, Receipt, Salt};
use serde::{Deserialize, Serialize};

use crate::{Corruption, Entry};

/// The version of a row's bytes. Rows are never rewritten, so a later version has to read this one too.
const ROW_VERSION: u8 = 2;
/// Enough to find a row that rotted or moved. It is no defence against a forger: that is what the leaf's place in the tree is for.
const CHECKSUM_BYTES: usize = 8;

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) queue_us: u64,
    pub(crate) rtt_us: u64,
    pub(crate) reason: String,
    /// What opens the commitments of the leaf's receipt; nothing where it came in its public form.
    opening: Option<Opening>,
}

/// What a receipt has that its public form has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Opening {
    salt: Salt,
    input: Digest,
    output: Digest,
}

impl Row {
    /// The row of `entry`.
    pub(crate) fn of(entry: &Entry) -> Self {
        let Receipt { salt, input, output, .. } = *entry.receipt.receipt();
        let opening = salt.map(|salt| Opening { salt, input, output });
        Self { queue_us: entry.queue_us, rtt_us: entry.rtt_us, reason: entry.reason.clone(), opening }
    }

    /// The receipt whose public form is `public`.
    pub(crate) fn open(&self, public: Receipt) -> Receipt {
        match self.opening {
            Some(Opening { salt, input, output }) => Receipt { salt: Some(salt), input, output, ..public },
            None => public,
        }
    }

    /// The bytes at `index`.
    pub(crate) fn encode(&self, index: u64) -> Vec<u8> {
        let body = postcard::to_allocvec(self).expect("a row always encodes");
        [&[ROW_VERSION], checksum(index, &body).as_slice(), &body].concat()
    }

    /// Reads what [`Row::encode`] wrote at `index`.
    pub(crate) fn decode(index: u64, bytes: &[u8]) -> Result<Self, Corruption> {
        let (version, rest) = bytes.split_first().ok_or(Corruption::Truncated)?;
        if *version != ROW_VERSION {
            return Err(Corruption::RowVersion(*version));
        }
        let (sum, body) = rest.split_at_checked(CHECKSUM_BYTES).ok_or(Corruption::Truncated)?;
        if sum != checksum(index, body) {
            return Err(Corruption::Checksum);
        }
        postcard::from_bytes(body).map_err(|_| Corruption::Encoding)
    }
}

/// Over the index too, so that a row in another's place is found.
fn checksum(index: u64, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = Digest::of(&[&index.to_le_bytes(), body].concat());
    *digest.0.first_chunk().expect("a digest is longer than a checksum")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_is_laid_out_as_described() {
        let row = Row { queue_us: 5, rtt_us: 128, reason: "why".into(), opening: None };
        let body = [5, 0x80, 0x01, 3, b'w', b'h', b'y', 0];
        let bytes = row.encode(1);
        assert_eq!((bytes[0], &bytes[9..]), (ROW_VERSION, body.as_slice()));
        assert_eq!(bytes[1..9], Digest::of(&[&[1, 0, 0, 0, 0, 0, 0, 0], body.as_slice()].concat()).0[..8]);
        assert_eq!(Row::decode(1, &bytes), Ok(row));
        assert_eq!(Row::decode(2, &bytes), Err(Corruption::Checksum));
    }

    #[test]
    fn row_that_does_not_decode_is_damaged_whatever_its_checksum() {
        for body in [&[5, 0x80][..], &[]] {
            let row = [&[ROW_VERSION], checksum(7, body).as_slice(), body].concat();
            assert_eq!(Row::decode(7, &row), Err(Corruption::Encoding));
        }
    }
}
