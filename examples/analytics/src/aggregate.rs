//! What a group of rows comes to, and how two such come to one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

use crate::exact::Ranks;
use crate::sketch::Sketch;

/// A group: what its rows have in the columns that are grouped by; none where a cell is empty.
pub type Key = Vec<Option<String>>;

/// A table's groups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    groups: BTreeMap<Key, Group>,
    /// Rows that the filter left out.
    pub filtered: u64,
}

/// One group's rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Group {
    /// How many.
    pub rows: u64,
    /// Of each column that was asked for, in that order.
    pub values: Vec<Aggregate>,
}

/// The values of one column in one group; empty cells are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// How many.
    pub count: u64,
    /// Their sum, in units of the column's last digit.
    pub sum: i128,
    /// The least.
    pub min: i64,
    /// The most.
    pub max: i64,
    /// Where the others are.
    pub sketch: Sketch,
}

/// Answers that do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Summaries of other questions.
    #[error("the summaries have {0} and {1} columns of values")]
    Columns(usize, usize),
    /// Counts for other ranges.
    #[error("there are counts for {0} and for {1} ranges")]
    Ranges(usize, usize),
    /// A node made them up.
    #[error("the answers count more than any tables hold; some node answered wrongly")]
    Overflow,
}

impl Summary {
    pub(crate) fn new(groups: impl IntoIterator<Item = (Key, Group)>, filtered: u64) -> Self {
        Self { groups: groups.into_iter().collect(), filtered }
    }

    /// The groups, by their keys.
    pub fn groups(&self) -> impl Iterator<Item = (&Key, &Group)> {
        self.groups.iter()
    }

    /// One group.
    pub fn group(&self, key: &Key) -> Option<&Group> {
        self.groups.get(key)
    }

    /// Adds what another file came to.
    ///
    /// # Errors
    /// It was asked something else, or counts more than there can be.
    pub fn merge(&mut self, other: Self) -> Result<(), MergeError> {
        self.filtered = self.filtered.checked_add(other.filtered).ok_or(MergeError::Overflow)?;
        for (key, group) in other.groups {
            match self.groups.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(group);
                }
                Entry::Occupied(mut place) => place.get_mut().merge(&group)?,
            }
        }
        Ok(())
    }
}

impl Group {
    pub(crate) fn new(values: usize) -> Self {
        Self { rows: 0, values: vec![Aggregate::default(); values] }
    }

    fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        if self.values.len() != other.values.len() {
            return Err(MergeError::Columns(self.values.len(), other.values.len()));
        }
        self.rows = self.rows.checked_add(other.rows).ok_or(MergeError::Overflow)?;
        self.values.iter_mut().zip(&other.values).try_for_each(|(mine, others)| mine.merge(others))
    }
}

impl Default for Aggregate {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: i64::MAX, max: i64::MIN, sketch: Sketch::default() }
    }
}

impl Aggregate {
    pub(crate) fn add(&mut self, value: i64) {
        self.count += 1;
        self.sum += i128::from(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sketch.add(value);
    }

    /// The mean, rounded once, in units of the column; none where there are no values.
    pub fn mean(&self, scale: u32) -> Option<f64> {
        // Below 2^53 both are exact, and a quotient of two exact numbers is rounded once.
        let divisor = 10f64.powi(scale as i32) * self.count as f64;
        (self.count > 0).then(|| self.sum as f64 / divisor)
    }

    /// The value of a rank from the sketch alone, in units of the column's last digit: at most [`crate::RELATIVE_ERROR`] of it and half
    /// a unit away. None where there are no values.
    pub fn approximate(&self, ranks: Ranks) -> Option<i64> {
        let (least, most, _) = self.sketch.find(ranks.of(self.count)?)?;
        let middle = least.midpoint(most);
        Some(middle.clamp(self.min, self.max))
    }

    fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        self.count = self.count.checked_add(other.count).ok_or(MergeError::Overflow)?;
        self.sum = self.sum.checked_add(other.sum).ok_or(MergeError::Overflow)?;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sketch.merge(&other.sketch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_that_count_more_than_there_can_be_are_refused() {
        let summary = |spoil: fn(&mut Summary)| {
            let mut group = Group::new(1);
            group.rows = 1;
            group.values[0].add(7);
            let mut summary = Summary::new([(Vec::new(), group)], 1);
            spoil(&mut summary);
            summary
        };
        fn group(summary: &mut Summary) -> &mut Group {
            summary.groups.values_mut().next().unwrap()
        }
        let spoils: [fn(&mut Summary); 4] = [
            |summary| summary.filtered = u64::MAX,
            |summary| group(summary).rows = u64::MAX,
            |summary| group(summary).values[0].count = u64::MAX,
            |summary| group(summary).values[0].sum = i128::MAX,
        ];
        for spoil in spoils {
            assert_eq!(summary(|_| {}).merge(summary(spoil)), Err(MergeError::Overflow));
        }
        assert_eq!(summary(|_| {}).merge(summary(|_| {})), Ok(()));
        assert_eq!(summary(|_| {}).merge(summary(|all| group(all).values.clear())), Err(MergeError::Columns(1, 0)));
    }
}
