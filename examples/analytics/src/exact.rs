//! Exact quantiles from files that are never together: a sketch says between which two values the wanted one is, and the files are asked
//! how many of their values fall into each part of that range, until a part is one value.

use serde::{Deserialize, Serialize};

use crate::aggregate::{Key, Summary};
use crate::query::{Counts, PARTS, Range};

/// A quantile as a fraction, so that a rank is never a matter of rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ranks {
    part: u32,
    of: u32,
}

impl Ranks {
    /// `part` of `of`, as 99 of 100.
    ///
    /// # Panics
    /// It is more than the whole, or of nothing.
    pub fn new(part: u32, of: u32) -> Self {
        assert!(of > 0 && part <= of, "a quantile is between 0 and 1");
        Self { part, of }
    }

    /// The rank among `count` values, from 1 on: the first at which so large a part of them is reached, as SQL's `PERCENTILE_DISC`.
    /// None among no values.
    pub fn of(self, count: u64) -> Option<u64> {
        let rank = (u128::from(count) * u128::from(self.part)).div_ceil(u128::from(self.of)) as u64;
        (count > 0).then_some(rank.max(1))
    }
}

/// The wanted quantiles on their way to exact values.
#[derive(Debug, Clone)]
pub struct Exact(Vec<Wanted>);

#[derive(Debug, Clone)]
struct Wanted {
    key: Key,
    column: usize,
    quantile: usize,
    rank: u64,
    /// Between which values it is; one where both are the same.
    least: i64,
    most: i64,
    /// How many values are less than `least`.
    below: u64,
}

impl Exact {
    /// Begins with what all files together come to, for each of its groups, columns and the quantiles.
    pub fn new(summary: &Summary, quantiles: &[Ranks]) -> Self {
        let mut wanted = Vec::new();
        for (key, group) in summary.groups() {
            for (column, aggregate) in group.values.iter().enumerate() {
                for (quantile, ranks) in quantiles.iter().enumerate() {
                    let Some(rank) = ranks.of(aggregate.count) else { continue };
                    let Some((least, most, below)) = aggregate.sketch.find(rank) else { continue };
                    let (least, most) = (least.max(aggregate.min), most.min(aggregate.max));
                    wanted.push(Wanted { key: key.clone(), column, quantile, rank, least, most, below });
                }
            }
        }
        Self(wanted)
    }

    /// What every file has to be asked next; empty when all values are found. There are at most five rounds, and one where a sketch's
    /// buckets have no more than 4096 values, as those of numbers under a million.
    pub fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = self.0.iter().filter(|wanted| !wanted.is_found()).map(Wanted::range).collect();
        ranges.sort();
        ranges.dedup();
        ranges
    }

    /// Takes in what all files together answered to [`Exact::ranges`].
    pub fn narrow(&mut self, ranges: &[Range], counts: &Counts) {
        for wanted in self.0.iter_mut().filter(|wanted| !wanted.is_found()) {
            let Ok(at) = ranges.binary_search(&wanted.range()) else { continue };
            wanted.narrow(&ranges[at], counts.of(at));
        }
    }

    /// The value of a quantile by its place among those that were wanted, in units of the column's last digit.
    pub fn value(&self, key: &Key, column: usize, quantile: usize) -> Option<i64> {
        let wanted = self.0.iter().find(|wanted| wanted.key == *key && wanted.column == column && wanted.quantile == quantile);
        wanted.filter(|wanted| wanted.is_found()).map(|wanted| wanted.least)
    }
}

impl Wanted {
    fn is_found(&self) -> bool {
        self.least == self.most
    }

    fn range(&self) -> Range {
        Range { key: self.key.clone(), column: self.column, least: self.least, most: self.most }
    }

    fn narrow(&mut self, range: &Range, counts: &[u64]) {
        for (part, count) in (0..PARTS).zip(counts) {
            if self.rank <= self.below + count {
                (self.least, self.most) = range.part(part);
                return;
            }
            self.below += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_percentile_disc() {
        for (part, of, count, rank) in
            [(1, 2, 4, 2), (1, 2, 5, 3), (0, 1, 9, 1), (1, 1, 9, 9), (999, 1000, 1000, 999), (99, 100, 1, 1)]
        {
            assert_eq!(Ranks::new(part, of).of(count), Some(rank), "{part}/{of} of {count}");
        }
        assert_eq!(Ranks::new(1, 2).of(0), None);
        // A float would round this one up.
        assert_eq!(Ranks::new(7, 10).of(10), Some(7));
        assert_eq!(Ranks::new(1, 1).of(u64::MAX), Some(u64::MAX));
    }
}
