//! Headers, and the rules that a chain of them keeps: links, work, the work's course, times and versions.

use k256::elliptic_curve::bigint::{NonZero, U256};

use crate::hash::Hash;
use crate::network::Network;
use crate::read::{ReadError, Reader};

/// The bytes of a header.
pub const HEADER_BYTES: usize = 80;
/// After so many blocks the work is set anew.
pub const PERIOD: u32 = 2016;
/// How many seconds a period should take.
const PERIOD_SECONDS: u32 = 14 * 24 * 60 * 60;
/// A block that comes so many seconds after the one before may have the least work, on networks that allow it.
const LATE_SECONDS: u32 = 2 * 600;
/// The median is taken over the times of so many blocks.
const MEDIAN_BLOCKS: u32 = 11;

/// A block's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The rules that its maker follows.
    pub version: i32,
    /// The block before.
    pub previous: Hash,
    /// What its transactions come to.
    pub merkle_root: Hash,
    /// Seconds since 1970, as its maker says.
    pub time: u32,
    /// What its hash must not be over.
    pub bits: u32,
    /// What makes its hash small.
    pub nonce: u32,
    hash: Hash,
}

/// Why a header is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not as long as a header.
    #[error("a header has {HEADER_BYTES} bytes: {0}")]
    Malformed(#[from] ReadError),
    /// The first block is another network's.
    #[error("the first block is {found}, and the network's is {wanted}")]
    Genesis {
        /// The hash of the header.
        found: Hash,
        /// The network's.
        wanted: Hash,
    },
    /// It stands on another block.
    #[error("its previous block is {found}, and the chain's last is {wanted}")]
    Link {
        /// What the header says.
        found: Hash,
        /// The hash of the header before.
        wanted: Hash,
    },
    /// The bits mean no target, or an easier one than the network allows.
    #[error("its bits {0:#010x} are no target that the network allows")]
    Bits(u32),
    /// The hash is over the target.
    #[error("its hash {hash} is over the target of its bits {bits:#010x}: proof of work is missing")]
    Work {
        /// The hash of the header.
        hash: Hash,
        /// What it says its target is.
        bits: u32,
    },
    /// The target is not the one that the chain asks for here.
    #[error("its bits are {found:#010x}, and the chain asks for {wanted:#010x}")]
    Difficulty {
        /// What the header says.
        found: u32,
        /// What follows from the headers before.
        wanted: u32,
    },
    /// The time is not after the median of the times before.
    #[error("its time {time} is not after the median {median} of the blocks before")]
    Time {
        /// What the header says.
        time: u32,
        /// The median of the eleven before, or of as many as there are.
        median: u32,
    },
    /// The version is of before a rule that holds here.
    #[error("its version {0} is of before the rules of its height")]
    Version(i32),
    /// A rule looks further back than the headers that are there.
    #[error("the header at height {0} is needed, and the batch does not have it")]
    Missing(u32),
}

impl Header {
    /// The header that `bytes` are, all of them.
    ///
    /// # Errors
    /// They are not 80.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut reader = Reader::new(bytes);
        let header = Self::read(&mut reader)?;
        reader.end()?;
        Ok(header)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let bytes: [u8; HEADER_BYTES] = reader.array()?;
        let mut fields = Reader::new(&bytes);
        Ok(Self {
            version: fields.u32()? as i32,
            previous: Hash(fields.array()?),
            merkle_root: Hash(fields.array()?),
            time: fields.u32()?,
            bits: fields.u32()?,
            nonce: fields.u32()?,
            hash: Hash::of(&bytes),
        })
    }

    /// What names the block.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Checks that the hash is at most the target that the header itself states, and that the network allows such a target.
    ///
    /// # Errors
    /// One of the two is not so.
    pub fn check_work(&self, network: Network) -> Result<(), HeaderError> {
        let target = target(self.bits).filter(|target| *target <= target_max(network)).ok_or(HeaderError::Bits(self.bits))?;
        if U256::from_le_slice(&self.hash.0) > target {
            return Err(HeaderError::Work { hash: self.hash, bits: self.bits });
        }
        Ok(())
    }

    /// The number of tries that such a header takes on average, big end first.
    pub fn work(&self) -> U256 {
        let Some(target) = target(self.bits) else { return U256::ZERO };
        let Some(divisor) = NonZero::new(target.wrapping_add(&U256::ONE)).into_option() else { return U256::ONE };
        (!target).wrapping_div(&divisor).wrapping_add(&U256::ONE)
    }
}

/// Headers one after another from some height on. Those that are there from the beginning are taken as they are, but for their links
/// and their own work; each that is pushed is checked by all rules.
#[derive(Debug, Clone)]
pub struct Chain {
    network: Network,
    /// The height of the first of `headers`.
    base: u32,
    headers: Vec<Header>,
    /// The first header of the period that the first pushed header continues or ends, where it is before `base`.
    period_start: Option<Header>,
}

impl Chain {
    /// A chain that goes on at `height` after the headers `before`. Where `height` is 0 there are none.
    ///
    /// # Errors
    /// They do not stand on one another, or lack work.
    pub fn new(network: Network, height: u32, before: Vec<Header>, period_start: Option<Header>) -> Result<Self, HeaderError> {
        for pair in before.windows(2) {
            check_link(&pair[0], &pair[1])?;
        }
        before.iter().chain(&period_start).try_for_each(|header| header.check_work(network))?;
        let count = u32::try_from(before.len()).ok().filter(|count| *count <= height);
        let base = height - count.ok_or(HeaderError::Missing(0))?;
        Ok(Self { network, base, headers: before, period_start })
    }

    /// The height that the next header will have.
    pub fn height(&self) -> u32 {
        self.base + self.headers.len() as u32
    }

    /// The header at a height, where it is there.
    pub fn at(&self, height: u32) -> Option<&Header> {
        self.headers.get(height.checked_sub(self.base)? as usize)
    }

    /// Checks the next header and takes it in.
    ///
    /// # Errors
    /// The first rule that it breaks, or what is missing to tell.
    pub fn push(&mut self, header: Header) -> Result<(), HeaderError> {
        let height = self.height();
        header.check_work(self.network)?;
        if height == 0 {
            let (found, wanted) = (header.hash, self.network.genesis());
            if found != wanted {
                return Err(HeaderError::Genesis { found, wanted });
            }
        } else {
            check_link(self.needed(height - 1)?, &header)?;
            self.check_difficulty(height, &header)?;
            self.check_time(height, &header)?;
            self.check_version(height, &header)?;
        }
        self.headers.push(header);
        Ok(())
    }

    /// The median of the times of the eleven blocks before `height`.
    ///
    /// # Errors
    /// Some of them are not there.
    pub fn median_time(&self, height: u32) -> Result<u32, HeaderError> {
        let first = height.saturating_sub(MEDIAN_BLOCKS);
        let mut times = (first..height).map(|at| Ok(self.needed(at)?.time)).collect::<Result<Vec<_>, HeaderError>>()?;
        times.sort_unstable();
        times.get(times.len() / 2).copied().ok_or(HeaderError::Missing(0))
    }

    fn needed(&self, height: u32) -> Result<&Header, HeaderError> {
        self.at(height).ok_or(HeaderError::Missing(height))
    }

    fn check_difficulty(&self, height: u32, header: &Header) -> Result<(), HeaderError> {
        let wanted = self.bits_at(height, header.time)?;
        if header.bits == wanted { Ok(()) } else { Err(HeaderError::Difficulty { found: header.bits, wanted }) }
    }

    /// The bits that a header at `height` with this time must have.
    fn bits_at(&self, height: u32, time: u32) -> Result<u32, HeaderError> {
        let last = self.needed(height - 1)?;
        if height.is_multiple_of(PERIOD) {
            return if self.network.retargets() { self.retarget(height, last) } else { Ok(last.bits) };
        }
        if !self.network.allows_late_blocks() {
            return Ok(last.bits);
        }
        if time > last.time.saturating_add(LATE_SECONDS) {
            return Ok(self.network.bits_max());
        }
        self.bits_without_late_blocks(height)
    }

    /// The bits of the last block that was no late one, or that began a period.
    fn bits_without_late_blocks(&self, height: u32) -> Result<u32, HeaderError> {
        let mut at = height - 1;
        loop {
            let header = self.needed(at)?;
            if at.is_multiple_of(PERIOD) || header.bits != self.network.bits_max() {
                return Ok(header.bits);
            }
            at -= 1;
        }
    }

    /// The new bits after a period. The time is taken from the period's first block to its last, which is one block's time short of the
    /// whole: a mistake of the first program that became the rule.
    fn retarget(&self, height: u32, last: &Header) -> Result<u32, HeaderError> {
        let first_height = height - PERIOD;
        let first = self.at(first_height).or(self.period_start.as_ref()).ok_or(HeaderError::Missing(first_height))?;
        let target = target(last.bits).ok_or(HeaderError::Bits(last.bits))?;
        // A clock that went back gives less than the least.
        let seconds = i64::from(last.time) - i64::from(first.time);
        let seconds = seconds.clamp(i64::from(PERIOD_SECONDS / 4), i64::from(PERIOD_SECONDS * 4));
        let divisor = NonZero::new(U256::from(PERIOD_SECONDS)).into_option().ok_or(HeaderError::Bits(last.bits))?;
        let scaled = target.wrapping_mul(&U256::from(seconds.unsigned_abs())).wrapping_div(&divisor);
        Ok(compact(&scaled.min(target_max(self.network))))
    }

    fn check_time(&self, height: u32, header: &Header) -> Result<(), HeaderError> {
        let median = self.median_time(height)?;
        if header.time > median { Ok(()) } else { Err(HeaderError::Time { time: header.time, median }) }
    }

    fn check_version(&self, height: u32, header: &Header) -> Result<(), HeaderError> {
        let heights = self.network.heights();
        let least = [(heights.coinbase_height, 2), (heights.strict_der, 3), (heights.lock_time, 4)];
        let is_old = least.iter().any(|&(from, version)| height >= from && header.version < version);
        if is_old { Err(HeaderError::Version(header.version)) } else { Ok(()) }
    }
}

fn check_link(before: &Header, header: &Header) -> Result<(), HeaderError> {
    let (found, wanted) = (header.previous, before.hash);
    if found == wanted { Ok(()) } else { Err(HeaderError::Link { found, wanted }) }
}

fn target_max(network: Network) -> U256 {
    target(network.bits_max()).unwrap_or(U256::ZERO)
}

/// The target that bits stand for: 23 bits of mantissa, to the base 256. None where it is negative, zero, or too large.
fn target(bits: u32) -> Option<U256> {
    let (exponent, mantissa) = (bits >> 24, bits & 0x7f_ffff);
    let negative = bits & 0x80_0000 != 0;
    let significant = (32 - mantissa.leading_zeros()).div_ceil(8);
    let low = if exponent <= 3 { mantissa >> (8 * (3 - exponent)) } else { mantissa };
    if low == 0 || negative || exponent.saturating_sub(3) + significant > 32 {
        return None;
    }
    Some(U256::from(low).shl_vartime(8 * exponent.saturating_sub(3)))
}

/// The bits that stand for a target, whose lower digits are lost.
fn compact(target: &U256) -> u32 {
    let size = target.bit_width_vartime().div_ceil(8);
    let shifted = if size <= 3 { target.shl_vartime(8 * (3 - size)) } else { target.shr_vartime(8 * (size - 3)) };
    let mantissa = shifted.as_limbs()[0].0 as u32;
    // The top bit would be a sign.
    if mantissa & 0x80_0000 != 0 { (size + 1) << 24 | mantissa >> 8 } else { size << 24 | mantissa }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(time: u32, bits: u32) -> Header {
        Header { version: 4, previous: Hash::ZERO, merkle_root: Hash::ZERO, time, bits, nonce: 0, hash: Hash::ZERO }
    }

    /// The bits after a period of these times; links and work are not looked at.
    fn bits_after(network: Network, first: u32, last: u32, bits: u32) -> u32 {
        let chain = Chain { network, base: 2015, headers: vec![header(last, bits)], period_start: Some(header(first, bits)) };
        chain.bits_at(PERIOD, last + 600).unwrap()
    }

    #[test]
    fn work_is_set_anew_as_it_was_on_the_chain() {
        // Heights 32256, 2016, 68544 (the most that one period makes harder) and 46368 (the most that it makes easier), as in Bitcoin
        // Core's own tests, and heights 2016 and 4032 of signet.
        let rows = [
            (Network::Main, 1_261_130_161, 1_262_152_739, 0x1d00_ffff, 0x1d00_d86a),
            (Network::Main, 1_231_006_505, 1_233_061_996, 0x1d00_ffff, 0x1d00_ffff),
            (Network::Main, 1_279_008_237, 1_279_297_671, 0x1c05_a3f4, 0x1c01_68fd),
            (Network::Main, 1_263_163_443, 1_269_211_443, 0x1c38_7f6f, 0x1d00_e1fd),
            (Network::Signet, 1_598_918_400, 1_599_332_177, 503_543_726, 503_394_215),
            (Network::Signet, 1_599_332_844, 1_600_591_200, 503_394_215, 503_397_348),
        ];
        for (network, first, last, bits, wanted) in rows {
            assert_eq!(bits_after(network, first, last, bits), wanted, "{network:?} {first}");
        }
    }

    #[test]
    fn a_period_without_its_first_block_is_not_guessed() {
        let chain = Chain { network: Network::Main, base: 2015, headers: vec![header(1, 0x1d00_ffff)], period_start: None };
        assert_eq!(chain.bits_at(PERIOD, 2), Err(HeaderError::Missing(0)));
    }

    #[test]
    fn bits_stand_for_targets_as_everywhere() {
        // From the tests of Bitcoin Core's arith_uint256.
        let none = [
            0,
            0x0012_3456,
            0x0100_3456,
            0x0200_0056,
            0x0300_0000,
            0x0400_0000,
            0x0092_3456,
            0x01fe_dcba,
            0x0492_3456,
            0xff12_3456,
        ];
        assert!(none.into_iter().all(|bits| target(bits).is_none()));
        for (bits, low) in [
            (0x0112_3456, 0x12u64),
            (0x0212_3456, 0x1234),
            (0x0312_3456, 0x12_3456),
            (0x0412_3456, 0x1234_5600),
            (0x0500_9234, 0x9234_0000),
        ] {
            assert_eq!(target(bits), Some(U256::from(low)), "{bits:#x}");
        }
        let canonical = [0x0112_0000, 0x0200_8000, 0x0212_3400, 0x0312_3456, 0x0412_3456, 0x0500_9234, 0x2012_3456, 0x1d00_ffff];
        for bits in canonical {
            assert_eq!(compact(&target(bits).unwrap()), bits);
        }
    }

    #[test]
    fn late_blocks_are_easy_and_the_next_is_not() {
        let (hard, easy) = (0x1c00_ffff, 0x1d00_ffff);
        let headers = vec![header(0, hard), header(2000, easy), header(4000, easy)];
        let mut chain = Chain { network: Network::Test, base: 2017, headers, period_start: None };
        assert_eq!(chain.bits_at(2020, 4000 + 1201), Ok(easy));
        assert_eq!(chain.bits_at(2020, 4000 + 1200), Ok(hard));
        chain.network = Network::Main;
        assert_eq!(chain.bits_at(2020, 4000 + 1201), Ok(easy));
        chain.network = Network::Test;
        chain.headers.remove(0);
        chain.base += 1;
        assert_eq!(chain.bits_at(2020, 4000), Err(HeaderError::Missing(2017)));
    }

    #[test]
    fn a_block_of_least_work_counts_as_the_chain_counts_it() {
        assert_eq!(header(0, 0x1d00_ffff).work(), U256::from(0x1_0001_0001u64));
    }
}
