use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::frame::{decode_exact, is_written_as, take, written_length};
use crate::id::{ParseIdError, hex_id};
use crate::limits::LEAF_BYTES_MAX;
use crate::{FrameError, JobId, KnownRoots, Microcredits, PublicKey, SignedReceipt, UnixMillis, VerifiedReceipt, VerifyError};

/// The version of a leaf's bytes. Leaves are never rewritten, so a later version has to read this one too.
const LEAF_VERSION: u8 = 1;

/// The first byte of a [`Leaf::Settlement`] behind the version.
const SETTLEMENT: u8 = 2;
/// The first byte of a [`Leaf::Attempt`].
const ATTEMPT: u8 = 5;

/// The millionths in a whole: what [`Terms::fee_ppm`] are parts of.
const MILLION: u128 = 1_000_000;

hex_id! {
    /// Chosen by whoever orders a grant or a payout, once per order: the same id again is the same order, and has no second effect.
    TransferId, 16
}

/// A fact that moves money, as it stands in a gateway's public log. The balances of all accounts are the fold of the leaves.
///
/// Canonical bytes are the version and the postcard encoding of these fields in this order, at most [`LEAF_BYTES_MAX`] of them; other
/// encodings of the same values are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leaf {
    /// Under which key and for which fee the gateway works from here on. The first leaf of every log is one.
    Terms(Terms),
    /// Credits that were made for a customer.
    Grant(Grant),
    /// A job that was paid for.
    Settlement(Box<Settled>),
    /// A hold that was given back whole.
    Void(Voided),
    /// Credits of a node's owner that were paid out, and are no more.
    Payout(Payout),
    /// An attempt that was paid for out of its job's hold and did not end the job: its node's owner took the machine back, or another
    /// attempt came first. What is left of the hold is there for the job's next attempts and its end.
    Attempt(Box<Settled>),
}

/// A gateway's statement about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The gateway: the key that signs the log's checkpoints.
    pub gateway: PublicKey,
    /// What the gateway keeps of a job's cost, in millionths.
    pub fee_ppm: u32,
    /// When, by the gateway's wall clock.
    pub time: UnixMillis,
}

/// An order to make credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which order this is.
    pub id: TransferId,
    /// Whose they are.
    pub customer: PublicKey,
    /// How many.
    pub amount: Microcredits,
    /// When, by the gateway's wall clock.
    pub time: UnixMillis,
}

/// An order to pay out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payout {
    /// Which order this is.
    pub id: TransferId,
    /// Whose they were.
    pub owner: PublicKey,
    /// How many.
    pub amount: Microcredits,
    /// When, by the gateway's wall clock.
    pub time: UnixMillis,
}

/// A receipt that was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// What the node signed: the receipt's public form.
    pub receipt: SignedReceipt,
    /// What was held for the job until then: the most that it could have cost, less what earlier attempts of it were paid.
    pub held: Microcredits,
    /// What the gateway kept of the cost: [`Terms::fee`] of it.
    pub fee: Microcredits,
    /// When, by the gateway's wall clock.
    pub time: UnixMillis,
}

/// Which leaf a paid attempt comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaidKind {
    /// [`Leaf::Settlement`]: it ended its job.
    Settlement,
    /// [`Leaf::Attempt`]: it did not.
    Attempt,
}

/// A hold that ended without a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voided {
    /// The job that it was for.
    pub job: JobId,
    /// Whose credits they are.
    pub customer: PublicKey,
    /// How many.
    pub held: Microcredits,
    /// Why.
    pub reason: VoidReason,
    /// When, by the gateway's wall clock.
    pub time: UnixMillis,
}

/// Why a hold was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VoidReason {
    /// The job was refused after a node had it: its module is invalid, its input missing, or its time in the queue was over.
    Refused,
    /// The client withdrew the job, and no node has a receipt for it.
    Cancelled,
    /// Each node that tried it was lost, or could not do its part.
    NodesLost,
    /// Nobody ended it in its time.
    Expired,
    /// The gateway was started anew, and knows nothing of the job.
    Restarted,
}

/// Bytes that are no leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// They are more than a leaf has.
    #[error("a leaf of {0} bytes; the limit is {LEAF_BYTES_MAX}")]
    TooLarge(usize),
    /// They are of a version that this software does not know.
    #[error("a leaf of version {0}; this software reads version {LEAF_VERSION}")]
    Version(u8),
    /// They are not what this software would write.
    #[error("not a leaf: {0}")]
    Encoding(#[from] FrameError),
    /// The receipt is not in its public form: it names what was read and written.
    #[error("the leaf's receipt is not in its public form")]
    NotPublic,
}

impl Terms {
    /// What the gateway keeps of a job that costs so much: its parts per million, rounded down. The node's owner gets the rest, so that no
    /// remainder is lost.
    ///
    /// # Panics
    /// Where the fee is over the whole, which [`Terms::is_sound`] excludes.
    pub fn fee(&self, cost: Microcredits) -> Microcredits {
        let fee = u128::from(cost.0) * u128::from(self.fee_ppm) / MILLION;
        Microcredits(u64::try_from(fee).expect("a part of a cost is no more than the cost"))
    }

    /// Whether the fee is a part of the whole.
    pub fn is_sound(&self) -> bool {
        u128::from(self.fee_ppm) <= MILLION
    }
}

impl Leaf {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A leaf grows in one piece: receipts have some 600 bytes, and all else less than 128.
        let mut bytes = Vec::with_capacity(if self.paid().is_some() { 1024 } else { 128 });
        bytes.push(LEAF_VERSION);
        postcard::to_extend(self, bytes).expect("a leaf always encodes")
    }

    /// The canonical bytes of the leaf that has a [`Settled`] of these: what the receipt's node signed stands in it as it is, and is not
    /// encoded again.
    pub fn paid_bytes(
        kind: PaidKind,
        receipt: &VerifiedReceipt,
        held: Microcredits,
        fee: Microcredits,
        time: UnixMillis,
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(&[LEAF_VERSION, if kind == PaidKind::Settlement { SETTLEMENT } else { ATTEMPT }]);
        bytes.extend_from_slice(receipt.statement());
        let bytes = receipt.signed().proof.append_to(bytes);
        postcard::to_extend(&(held, fee, time), bytes).expect("a leaf always encodes")
    }

    /// Reads what [`Leaf::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`LeafError`] for anything but the one canonical encoding of a leaf.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(LeafError::TooLarge(bytes.len()));
        }
        let (version, rest) = bytes.split_first().ok_or(FrameError::Length(0))?;
        if *version != LEAF_VERSION {
            return Err(LeafError::Version(*version));
        }
        let leaf = Self::decode(rest)?;
        if !is_written_as(&leaf, rest) {
            return Err(FrameError::NotCanonical.into());
        }
        match leaf.paid() {
            Some(settled) if settled.receipt.receipt.salt.is_some() => Err(LeafError::NotPublic),
            _ => Ok(leaf),
        }
    }

    /// Decodes a leaf behind its version. Nearly all leaves of a log have a receipt, and those are read in a quicker way to the same end.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (leaf, mut rest): (fn(Box<Settled>) -> Self, _) = match bytes {
            [SETTLEMENT, rest @ ..] => (Self::Settlement, rest),
            [ATTEMPT, rest @ ..] => (Self::Attempt, rest),
            _ => return decode_exact(bytes),
        };
        let settled = Settled::take(&mut rest)?;
        if rest.is_empty() { Ok(leaf(Box::new(settled))) } else { Err(FrameError::Trailing(rest.len())) }
    }

    /// Reads a leaf as [`Leaf::from_bytes`] does, and checks its receipt, where it has one, as [`SignedReceipt::check_with`] does.
    ///
    /// # Errors
    /// As [`Leaf::from_bytes`]; of a receipt that proves nothing the leaf is returned with the [`VerifyError`].
    pub fn from_bytes_checked(bytes: &[u8], known: &mut KnownRoots) -> Result<(Self, Result<(), VerifyError>), LeafError> {
        let leaf = Self::from_bytes(bytes)?;
        let checked = match leaf.paid() {
            Some(settled) => settled.receipt.check_statement(settled.statement_in(bytes), known),
            None => Ok(()),
        };
        Ok((leaf, checked))
    }

    /// The receipt that it pays, with what was paid: of a settlement, or of an attempt that did not end its job.
    pub fn paid(&self) -> Option<&Settled> {
        match self {
            Self::Settlement(settled) | Self::Attempt(settled) => Some(settled),
            Self::Terms(_) | Self::Grant(_) | Self::Void(_) | Self::Payout(_) => None,
        }
    }

    /// When, by the gateway's wall clock.
    pub fn time(&self) -> UnixMillis {
        match self {
            Self::Terms(terms) => terms.time,
            Self::Grant(grant) => grant.time,
            Self::Settlement(settled) | Self::Attempt(settled) => settled.time,
            Self::Void(voided) => voided.time,
            Self::Payout(payout) => payout.time,
        }
    }
}

impl Settled {
    /// Takes it from the front of `bytes`, as its derived decoding would.
    fn take(bytes: &mut &[u8]) -> Result<Self, FrameError> {
        Ok(Self { receipt: SignedReceipt::take(bytes)?, held: take(bytes)?, fee: take(bytes)?, time: take(bytes)? })
    }

    /// What is left of what was held: it stays held behind an [`Leaf::Attempt`], and goes back behind a [`Leaf::Settlement`].
    pub fn left(&self) -> Microcredits {
        Microcredits(self.held.0.saturating_sub(self.receipt.receipt.cost.0))
    }

    /// The receipt's canonical bytes, which its node signed, where `leaf` are those of the leaf: behind the leaf's version and its kind, and
    /// before the receipt's proof and the rest.
    pub(crate) fn statement_in<'b>(&self, leaf: &'b [u8]) -> &'b [u8] {
        let Self { receipt, held, fee, time } = self;
        &leaf[2..leaf.len() - written_length(&(&receipt.proof, held, fee, time))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: UnixMillis = UnixMillis(1_700_000_000_000);

    fn terms(fee_ppm: u32) -> Terms {
        Terms { gateway: PublicKey([9; 32]), fee_ppm, time: TIME }
    }

    #[test]
    fn fee_is_rounded_down_once_and_never_over_the_cost() {
        let rows = [
            (0, 1_000, 0),
            (50_000, 1_000, 50),
            (50_000, 1_019, 50),
            (50_000, 19, 0),
            (1_000_000, 7, 7),
            (1, u64::MAX, 18_446_744_073_709),
        ];
        for (fee_ppm, cost, fee) in rows {
            assert_eq!(terms(fee_ppm).fee(Microcredits(cost)), Microcredits(fee), "{fee_ppm} of {cost}");
        }
        assert!(terms(1_000_000).is_sound() && !terms(1_000_001).is_sound());
    }

    #[test]
    fn leaf_survives_its_bytes_and_nothing_else_is_one() {
        let grant = Grant { id: TransferId([1; 16]), customer: PublicKey([2; 32]), amount: Microcredits(300), time: TIME };
        let leaf = Leaf::Grant(grant);
        let bytes = leaf.to_bytes();
        assert_eq!(bytes[..2], [1, 1]);
        assert_eq!(Leaf::from_bytes(&bytes), Ok(leaf));
        assert_eq!(Leaf::from_bytes(&[]), Err(FrameError::Length(0).into()));
        assert_eq!(Leaf::from_bytes(&[&[2], &bytes[1..]].concat()), Err(LeafError::Version(2)));
        assert_eq!(Leaf::from_bytes(&[&bytes[..], &[0]].concat()), Err(FrameError::Trailing(1).into()));
        assert_eq!(Leaf::from_bytes(&vec![1; LEAF_BYTES_MAX + 1]), Err(LeafError::TooLarge(LEAF_BYTES_MAX + 1)));
        for cut in 0..bytes.len() {
            assert!(Leaf::from_bytes(&bytes[..cut]).is_err(), "{cut} bytes");
        }
        // The amount, 300, in three bytes where two are enough.
        let at = bytes.len() - 8;
        assert_eq!(bytes[at..at + 2], [0xac, 0x02]);
        let padded = [&bytes[..at], &[0xac, 0x82, 0x00], &bytes[at + 2..]].concat();
        assert_eq!(Leaf::from_bytes(&padded), Err(FrameError::NotCanonical.into()));
    }
}
