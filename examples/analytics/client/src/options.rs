//! What the command line says of columns and numbers.

use std::str::FromStr;

use adit_example_analytics::{Ranks, parse_decimal};

/// The most digits after a point that 64 bits have room for.
const DIGITS_MAX: u32 = 18;

/// `NAME` or `NAME:DIGITS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) digits: u32,
}

/// `COLUMN=LEAST..MOST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Between {
    pub(crate) column: Column,
    pub(crate) least: i64,
    pub(crate) most: i64,
}

/// A part between 0 and 1, and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quantile {
    pub(crate) text: String,
    pub(crate) ranks: Ranks,
}

impl FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, digits) = text.rsplit_once(':').unwrap_or((text, "0"));
        let digits = digits.parse().ok().filter(|digits| *digits <= DIGITS_MAX);
        let digits = digits.ok_or_else(|| format!("`{text}` has no number of digits from 0 to {DIGITS_MAX} behind its colon"))?;
        Ok(Self { name: name.to_owned(), digits })
    }
}

impl FromStr for Between {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("`{text}` is not COLUMN[:DIGITS]=LEAST..MOST, as in temperature:3=-60..500");
        let (column, range) = text.split_once('=').ok_or_else(error)?;
        let column: Column = column.parse()?;
        let (least, most) = range.split_once("..").ok_or_else(error)?;
        let number = |text: &str| parse_decimal(text.as_bytes(), column.digits).ok_or_else(error);
        Ok(Self { least: number(least)?, most: number(most)?, column })
    }
}

impl FromStr for Quantile {
    type Err = String;

    /// Written in decimals, and so a fraction of a power of ten.
    fn from_str(text: &str) -> Result<Self, String> {
        const DIGITS: u32 = 9;
        const WHOLE: u32 = 10u32.pow(DIGITS);
        let part = parse_decimal(text.as_bytes(), DIGITS).and_then(|part| u32::try_from(part).ok());
        let part = part.filter(|part| *part <= WHOLE);
        let part = part.ok_or_else(|| format!("`{text}` is not between 0 and 1, or has more than {DIGITS} digits"))?;
        Ok(Self { text: text.to_owned(), ranks: Ranks::new(part, WHOLE) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_their_digits_behind_the_last_colon() {
        let column = |name: &str, digits| Ok(Column { name: name.to_owned(), digits });
        assert_eq!("energy".parse(), column("energy", 0));
        assert_eq!("a:b:3".parse(), column("a:b", 3));
        assert!("energy:x".parse::<Column>().is_err());
        assert!("energy:19".parse::<Column>().is_err());
    }

    #[test]
    fn between_is_in_units_of_the_columns_last_digit() {
        let between: Between = "temperature:3=-60..500.5".parse().unwrap();
        assert_eq!((between.least, between.most, between.column.digits), (-60_000, 500_500, 3));
        for wrong in ["temperature:3", "temperature=1", "temperature=1..x", "temperature:1=1.25..2"] {
            assert!(wrong.parse::<Between>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn quantiles_are_fractions_and_not_floats() {
        let quantile = |text: &str| text.parse::<Quantile>().map(|quantile| quantile.ranks.of(1_000));
        assert_eq!(quantile("0.999"), Ok(Some(999)));
        assert_eq!(quantile("1"), Ok(Some(1_000)));
        for wrong in ["1.1", "-0.5", "half", "0.0000000001"] {
            assert!(quantile(wrong).is_err(), "{wrong}");
        }
    }
}
