//! What is known of a value, and what its users need to know.

/// A size of float lanes. A scalar is one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lanes {
    /// `f32`, or the lanes of `f32x4`.
    Of32,
    /// `f64`, or the lanes of `f64x2`.
    Of64,
}

/// How a value of the rewritten module relates to the same value under the reference: a set of relations that all hold. The module
/// documentation defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts(u8);

impl Facts {
    const EXACT_BIT: u8 = 1;
    const RAW_32_BIT: u8 = 2;
    const RAW_64_BIT: u8 = 4;
    const LOOSE_32_BIT: u8 = 8;
    const LOOSE_64_BIT: u8 = 16;

    /// The same bits, and whatever is a NaN is the canonical one, in lanes of either size.
    pub(super) const ALL: Self = Self(31);
    /// The same bits.
    pub(super) const EXACT: Self = Self(Self::EXACT_BIT | Self::LOOSE_32_BIT | Self::LOOSE_64_BIT);
    /// The same bits, and a 32-bit lane that is a NaN is the canonical one.
    pub(super) const PLAIN_32: Self = Self(Self::EXACT.0 | Self::RAW_32_BIT);
    /// The same bits, and a 64-bit lane that is a NaN is the canonical one.
    pub(super) const PLAIN_64: Self = Self(Self::EXACT.0 | Self::RAW_64_BIT);
    /// All but rawness: what is left where the canonical NaN may be changed.
    pub(super) const NOT_RAW: Self = Self::EXACT;

    /// What arithmetic makes.
    pub(super) const fn raw(lanes: Lanes) -> Self {
        match lanes {
            Lanes::Of32 => Self(Self::RAW_32_BIT | Self::LOOSE_32_BIT),
            Lanes::Of64 => Self(Self::RAW_64_BIT | Self::LOOSE_64_BIT),
        }
    }

    /// The same numbers.
    pub(super) const fn loose(lanes: Lanes) -> Self {
        match lanes {
            Lanes::Of32 => Self(Self::LOOSE_32_BIT),
            Lanes::Of64 => Self(Self::LOOSE_64_BIT),
        }
    }

    /// What holds of a value that may be either of two.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What holds of a value of which lanes of this size are taken: rawness in lanes of the other size is lost, and so are their
    /// numbers, unless the bits are the same.
    pub(super) const fn in_lanes(self, lanes: Lanes) -> Self {
        let kept = match lanes {
            Lanes::Of32 => Self::RAW_32_BIT | Self::LOOSE_32_BIT,
            Lanes::Of64 => Self::RAW_64_BIT | Self::LOOSE_64_BIT,
        };
        if self.is_exact() { Self(self.0 & (Self::EXACT.0 | kept)) } else { Self(self.0 & kept) }
    }

    /// What holds of a value of which bits are taken.
    pub(super) const fn in_bits(self) -> Self {
        if self.is_exact() { Self::EXACT } else { Self(0) }
    }

    /// Whether the bits are the same.
    pub(super) const fn is_exact(self) -> bool {
        self.0 & Self::EXACT_BIT != 0
    }

    /// The lanes in which canonicalising gives the reference's bits.
    pub(super) const fn raw_lanes(self) -> Option<Lanes> {
        if self.0 & Self::RAW_64_BIT != 0 {
            Some(Lanes::Of64)
        } else if self.0 & Self::RAW_32_BIT != 0 {
            Some(Lanes::Of32)
        } else {
            None
        }
    }

    /// Whether a user with this need can take the value as it is.
    pub(super) const fn satisfy(self, need: Need) -> bool {
        match need {
            Need::Nothing => true,
            Need::Numbers(Lanes::Of32) => self.0 & Self::LOOSE_32_BIT != 0,
            Need::Numbers(Lanes::Of64) => self.0 & Self::LOOSE_64_BIT != 0,
            Need::Bits => self.is_exact(),
        }
    }

    /// Whether a user with this need can take the value, canonicalised where it has to be.
    pub(super) const fn can_satisfy(self, need: Need) -> bool {
        self.satisfy(need) || self.raw_lanes().is_some() && matches!(need, Need::Bits)
    }
}

/// What the users of a value need to know of it: an order with [`Need::Bits`] at the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nobody looks.
    Nothing,
    /// Its lanes as numbers.
    Numbers(Lanes),
    /// Its bits.
    Bits,
}

impl Need {
    /// What serves two users.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, need) | (need, Self::Nothing) => need,
            (a, b) if a == b => a,
            _ => Self::Bits,
        }
    }

    /// What a value that was made to satisfy this is known to be.
    pub(super) fn facts(self) -> Facts {
        match self {
            Self::Nothing => Facts::ALL.and(Facts::raw(Lanes::Of32)).and(Facts::raw(Lanes::Of64)),
            Self::Numbers(lanes) => Facts::loose(lanes),
            Self::Bits => Facts::EXACT,
        }
    }
}
