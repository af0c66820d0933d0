use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Work done by a guest, in the unit that the meter counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fuel(pub u64);

/// A number of bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ByteCount(pub u64);

/// An amount of money in millionths of a credit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Microcredits(pub u64);

/// Wall-clock time in milliseconds since 1970-01-01T00:00:00Z. Only recorded, never used for a deadline.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnixMillis(pub u64);

impl fmt::Display for Fuel {
    /// Three significant decimals with an SI prefix: `2.000 Gfuel`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} fuel", self.0),
            1_000..1_000_000 => write!(f, "{:.3} kfuel", n / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.3} Mfuel", n / 1e6),
            1_000_000_000..1_000_000_000_000 => write!(f, "{:.3} Gfuel", n / 1e9),
            _ => write!(f, "{:.3} Tfuel", n / 1e12),
        }
    }
}

impl fmt::Display for Microcredits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} credits", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A fuel amount that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fuel amount; write a whole number with an optional k, M, G or T, as in 10G")]
pub struct ParseFuelError(String);

impl FromStr for Fuel {
    type Err = ParseFuelError;

    /// Reads `1500`, `10k`, `250M`, `10G` or `1T`.
    fn from_str(text: &str) -> Result<Self, ParseFuelError> {
        let err = || ParseFuelError(text.to_owned());
        let (digits, scale) = match text.as_bytes().last() {
            Some(b'k') => (&text[..text.len() - 1], 1_000),
            Some(b'M') => (&text[..text.len() - 1], 1_000_000),
            Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
            Some(b'T') => (&text[..text.len() - 1], 1_000_000_000_000),
            _ => (text, 1),
        };
        // `parse` alone would take a leading plus sign.
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(err());
        }
        let n: u64 = digits.parse().map_err(|_| err())?;
        n.checked_mul(scale).map(Fuel).ok_or_else(err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuel_is_read_with_its_prefix() {
        for (text, want) in
            [("0", 0), ("7", 7), ("10k", 10_000), ("250M", 250_000_000), ("10G", 10_000_000_000), ("1T", 1_000_000_000_000)]
        {
            assert_eq!(text.parse::<Fuel>(), Ok(Fuel(want)), "{text}");
        }
        for text in ["", "G", "-1", "+1", "1.5G", "10g", "99999999999G", "1 G"] {
            assert!(text.parse::<Fuel>().is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_shown_exactly() {
        assert_eq!(Microcredits(1_000_042).to_string(), "1.000042 credits");
        assert_eq!(Fuel(2_000_000_000).to_string(), "2.000 Gfuel");
        assert_eq!(Fuel(999).to_string(), "999 fuel");
    }
}
