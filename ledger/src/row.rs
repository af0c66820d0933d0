//! A receipt's row: `version: u8 | checksum: 8 bytes | postcard head | signed receipt`, both in their one canonical encoding.

use adit_protocol::{Digest, SignedReceipt, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{Corruption, Entry};

/// The version of a row's bytes. Rows are never rewritten, so a later version has to read this one too.
const ROW_VERSION: u8 = 1;
/// Enough to find a row that rotted or moved. It is no defence against a forger: that is what the receipt's signature is for.
const CHECKSUM_BYTES: usize = 8;

/// What a row says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) head: Head,
    pub(crate) receipt: SignedReceipt,
}

/// What the gateway adds to the node's receipt.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) settled: UnixMillis,
    pub(crate) queue_us: u64,
    pub(crate) rtt_us: u64,
    pub(crate) reason: String,
}

impl Row {
    /// The row of `entry` at `index`, given its receipt's bytes.
    pub(crate) fn encode(index: u64, entry: &Entry, receipt: &[u8]) -> Vec<u8> {
        let head = Head { settled: entry.settled, queue_us: entry.queue_us, rtt_us: entry.rtt_us, reason: entry.reason.clone() };
        let mut body = postcard::to_allocvec(&head).expect("a head always encodes");
        body.extend_from_slice(receipt);
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
        let (head, receipt) = postcard::take_from_bytes(body).map_err(|_| Corruption::Encoding)?;
        let receipt = SignedReceipt::from_bytes(receipt).map_err(|_| Corruption::Encoding)?;
        Ok(Self { head, receipt })
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

    /// The bytes before the receipt, cut at their borders. The receipt's own are pinned where it is defined.
    #[test]
    fn row_is_laid_out_as_described() {
        let head = Head { settled: UnixMillis(300), queue_us: 5, rtt_us: 128, reason: "why".into() };
        let body = [postcard::to_allocvec(&head).unwrap(), vec![0xee]].concat();
        let borders = ["ac02", "05", "8001", "03776879", "ee"];
        let want: Vec<u8> = borders.concat().as_bytes().chunks(2).map(byte).collect();
        assert_eq!(body, want);
        assert_eq!(checksum(1, &body), Digest::of(&[&[1, 0, 0, 0, 0, 0, 0, 0], want.as_slice()].concat()).0[..8]);
        assert_ne!(checksum(1, &body), checksum(2, &body));
    }

    fn byte(pair: &[u8]) -> u8 {
        u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()
    }

    #[test]
    fn row_that_holds_no_receipt_is_damaged_whatever_its_checksum() {
        let head = Head { settled: UnixMillis(300), queue_us: 5, rtt_us: 128, reason: "why".into() };
        let head = postcard::to_allocvec(&head).unwrap();
        for body in [&head[..], &head[..3], &[]] {
            let row = [&[ROW_VERSION], checksum(7, body).as_slice(), body].concat();
            assert_eq!(Row::decode(7, &row), Err(Corruption::Encoding));
            assert_eq!(Row::decode(8, &row), Err(Corruption::Checksum));
        }
    }
}
