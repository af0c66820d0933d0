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

/// Answers that no tables give; whoever asks on would ask, and pay, without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExactError {
    /// A sketch has fewer values than were counted, or none between the least and the most.
    #[error("a summary contradicts itself: its sketch does not hold the values that it counted; some node answered wrongly")]
    Summary,
    /// A range lacks the value that the answer before put there.
    #[error("the counts do not hold a value that is in their range by the answers before; some node answered wrongly")]
    Counts,
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
    ///
    /// # Errors
    /// The summary contradicts itself.
    pub fn new(summary: &Summary, quantiles: &[Ranks]) -> Result<Self, ExactError> {
        let mut wanted = Vec::new();
        for (key, group) in summary.groups() {
            for (column, aggregate) in group.values.iter().enumerate() {
                for (quantile, ranks) in quantiles.iter().enumerate() {
                    let Some(rank) = ranks.of(aggregate.count) else { continue };
                    let (least, most, below) = aggregate.sketch.find(rank).ok_or(ExactError::Summary)?;
                    let (least, most) = (least.max(aggregate.min), most.min(aggregate.max));
                    if least > most {
                        return Err(ExactError::Summary);
                    }
                    wanted.push(Wanted { key: key.clone(), column, quantile, rank, least, most, below });
                }
            }
        }
        Ok(Self(wanted))
    }

    /// What every file has to be asked next; empty when all values are found. There are at most five rounds, and one where a sketch's
    /// buckets have no more than 4096 values, as those of numbers under a million.
    pub fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = self.0.iter().filter(|wanted| !wanted.is_found()).map(Wanted::range).collect();
        ranges.sort();
        ranges.dedup();
        ranges
    }

    /// Takes in what all files together answered to [`Exact::ranges`]. Every range is a part of what it was then, whatever they answered.
    ///
    /// # Errors
    /// A range lacks the value that is sought in it.
    pub fn narrow(&mut self, ranges: &[Range], counts: &Counts) -> Result<(), ExactError> {
        for wanted in self.0.iter_mut().filter(|wanted| !wanted.is_found()) {
            let at = ranges.binary_search(&wanted.range()).map_err(|_| ExactError::Counts)?;
            wanted.narrow(&ranges[at], counts.of(at))?;
        }
        Ok(())
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

    fn narrow(&mut self, range: &Range, counts: &[u64]) -> Result<(), ExactError> {
        for (part, count) in (0..PARTS).zip(counts) {
            let up_to = self.below.saturating_add(*count);
            if self.rank <= up_to {
                (self.least, self.most) = range.part(part);
                // A short range has fewer parts than there may be.
                return if self.least <= self.most { Ok(()) } else { Err(ExactError::Counts) };
            }
            self.below = up_to;
        }
        Err(ExactError::Counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Aggregate, Group};

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

    /// A summary of the numbers from 0 to 99,999, and how often those who answer to it have to be asked.
    fn asked(mut counts: impl FnMut(&[Range]) -> Counts) -> Result<u32, ExactError> {
        let mut group = Group::new(1);
        (0..100_000).for_each(|value| group.values[0].add(value * 1_000_000_007));
        let summary = Summary::new([(Vec::new(), group)], 0);
        let mut exact = Exact::new(&summary, &[Ranks::new(1, 2), Ranks::new(99, 100)])?;
        for round in 0.. {
            let ranges = exact.ranges();
            if ranges.is_empty() {
                return Ok(round);
            }
            assert!(round < 5, "asked without an end");
            exact.narrow(&ranges, &counts(&ranges))?;
        }
        unreachable!("rounds end")
    }

    /// A client went on to ask, and to pay, for as long as some node answered what no table gives.
    #[test]
    fn wrong_counts_end_the_asking() {
        let counts = |each: Vec<u64>| move |ranges: &[Range]| Counts::from(vec![each.clone(); ranges.len()]);
        assert_eq!(asked(counts(Vec::new())), Err(ExactError::Counts), "no values");
        assert_eq!(asked(|_| Counts::default()), Err(ExactError::Counts), "no ranges");
        assert_eq!(asked(counts(vec![0; PARTS as usize])), Err(ExactError::Counts), "too few values");
        // More than there are: the range becomes smaller all the same.
        assert!(asked(counts(vec![u64::MAX, 1])).is_ok_and(|rounds| rounds > 0));
        // In the last of the parts, which a short range does not have.
        let last: Vec<u64> = (1..PARTS).map(|_| 0).chain([u64::MAX]).collect();
        assert_eq!(asked(counts(last)), Err(ExactError::Counts), "a part that is none");
    }

    #[test]
    fn summary_that_contradicts_itself_is_refused() {
        let begin = |spoil: fn(&mut Aggregate)| {
            let mut group = Group::new(1);
            (1..10).for_each(|value| group.values[0].add(value * 1000));
            spoil(&mut group.values[0]);
            Exact::new(&Summary::new([(Vec::new(), group)], 0), &[Ranks::new(1, 1)]).map(|_| ())
        };
        assert_eq!(begin(|_| {}), Ok(()));
        assert_eq!(begin(|aggregate| aggregate.count = 10), Err(ExactError::Summary));
        assert_eq!(begin(|aggregate| aggregate.max = 5), Err(ExactError::Summary));
    }
}
