//! The networks whose rules are known: what differs between them is at which height a rule begins, and what work is asked for.

use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::script::Flags;

/// A network with a chain of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The one with money.
    Main,
    /// The third test network.
    Test,
    /// Where blocks are signed; that signature is not checked here, only their work.
    Signet,
    /// A chain that anybody makes at home.
    Regtest,
}

/// The heights at which rules begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heights {
    /// The coinbase says the height (BIP34).
    pub(crate) coinbase_height: u32,
    /// Lock times in scripts (BIP65).
    pub(crate) lock_time: u32,
    /// Signatures are strict DER (BIP66).
    pub(crate) strict_der: u32,
    /// Relative lock times and the median time (BIP68, 112, 113).
    pub(crate) sequence: u32,
    /// Witnesses (BIP141, 143, 147).
    pub(crate) witness: u32,
}

/// Blocks of before a rule that now holds from the first block on, and that break it.
const BEFORE_SCRIPT_HASH: Hash = Hash::from_hex("00000000000002dc756eebf4f49723ed8d30cc28a5f108eb94b1ba88ac4f9c22");
const BEFORE_SCRIPT_HASH_TEST: Hash = Hash::from_hex("00000000dd30457c001f4095d208cc1296b0eed002427aa599874af7a432b105");
const BEFORE_TAPROOT: Hash = Hash::from_hex("0000000000000000000f14c35b2d841e986ab5441de8c585d5ffe55ea1e395ad");

impl Network {
    /// The first block, on which all others stand.
    pub fn genesis(self) -> Hash {
        Hash::from_hex(match self {
            Self::Main => "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
            Self::Test => "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
            Self::Signet => "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
            Self::Regtest => "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
        })
    }

    /// The least work that a block may have, in the header's notation.
    pub(crate) fn bits_max(self) -> u32 {
        match self {
            Self::Main | Self::Test => 0x1d00_ffff,
            Self::Signet => 0x1e03_77ae,
            Self::Regtest => 0x207f_ffff,
        }
    }

    /// Whether a block that comes 20 minutes late may have the least work. Regtest says so too, where no block has more.
    pub(crate) fn allows_late_blocks(self) -> bool {
        self == Self::Test
    }

    /// Whether the work follows the time that blocks take.
    pub(crate) fn retargets(self) -> bool {
        self != Self::Regtest
    }

    pub(crate) fn heights(self) -> Heights {
        let (coinbase_height, lock_time, strict_der, sequence, witness) = match self {
            Self::Main => (227_931, 388_381, 363_725, 419_328, 481_824),
            Self::Test => (21_111, 581_885, 330_776, 770_112, 834_624),
            Self::Signet => (1, 1, 1, 1, 1),
            Self::Regtest => (1, 1, 1, 1, 0),
        };
        Heights { coinbase_height, lock_time, strict_der, sequence, witness }
    }

    /// The rules that scripts of a block have to keep.
    pub(crate) fn flags(self, height: u32, block: &Hash) -> Flags {
        let heights = self.heights();
        let early = *block == BEFORE_SCRIPT_HASH || *block == BEFORE_SCRIPT_HASH_TEST;
        Flags {
            script_hash: !early,
            witness: !early,
            taproot: !early && *block != BEFORE_TAPROOT,
            strict_der: height >= heights.strict_der,
            lock_time: height >= heights.lock_time,
            sequence: height >= heights.sequence,
            null_dummy: height >= heights.witness,
        }
    }

    /// The new money that a block may make, in satoshi.
    pub(crate) fn subsidy(self, height: u32) -> u64 {
        let interval = if self == Self::Regtest { 150 } else { 210_000 };
        (50u64 * 100_000_000).checked_shr(height / interval).unwrap_or(0)
    }
}
