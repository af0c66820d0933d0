//! What a job is asked, and what it answers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Group, Key, MergeError, Summary};
use crate::table::{Names, Rows, TableError};
use crate::{delimited, parquet_file};

/// Into how many parts a range is cut.
pub(crate) const PARTS: u32 = 4096;

/// A question to a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// The columns whose values make a group, of text or of whole numbers.
    pub group_by: Vec<String>,
    /// The columns that are summed up.
    pub values: Vec<Value>,
    /// Which rows count; all without it.
    pub filter: Option<Filter>,
}

/// A column of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Its name.
    pub column: String,
    /// How many digits its numbers have after the point.
    pub scale: u32,
}

impl Value {
    /// A column by its name, and the digits of its numbers after the point.
    pub fn new(column: impl Into<String>, scale: u32) -> Self {
        Self { column: column.into(), scale }
    }
}

/// The rows in which a column is between two numbers, or empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Which column.
    pub value: Value,
    /// The least that counts, in units of the last digit.
    pub least: i64,
    /// The most.
    pub most: i64,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// Apache Parquet, not compressed or by Snappy.
    Parquet,
    /// Values that are separated by commas, under a line of names.
    Csv,
}

/// What one job does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The question.
    pub query: Query,
    /// Where it goes on from a summary: the ranges in which values are to be counted.
    pub ranges: Option<Vec<Range>>,
    /// How the table is written. The table itself is beside the request: to a job it is the named input `table`, so that nodes keep it
    /// from one question to the next.
    pub format: Format,
}

/// Values of one column in one group, from the least to the most, both counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Range {
    /// The group.
    pub key: Key,
    /// The column, by its place in the query.
    pub column: usize,
    /// The least.
    pub least: i64,
    /// The most.
    pub most: i64,
}

/// How many values are in each part of each range.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts(Vec<Vec<u64>>);

/// What a job answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What the groups come to.
    Summary(Summary),
    /// How many values are in the ranges.
    Counts(Counts),
}

impl Request {
    /// Asks for the groups of a table.
    pub fn summarise(query: Query, format: Format) -> Self {
        Self { query, ranges: None, format }
    }

    /// Asks how many values of a table are in each part of some ranges.
    pub fn count(query: Query, ranges: Vec<Range>, format: Format) -> Self {
        Self { query, ranges: Some(ranges), format }
    }

    /// Answers for a table.
    ///
    /// # Errors
    /// The table cannot be read, or lacks a column.
    pub fn run(&self, table: Vec<u8>) -> Result<Answer, TableError> {
        let Self { query, ranges, format } = self;
        let mut groups = Groups::new(query);
        let read = |rows: &mut dyn FnMut(&Rows, &Names)| match format {
            Format::Parquet => parquet_file::read(table, query, rows),
            Format::Csv => delimited::read(&table, query, rows),
        };
        match ranges {
            None => {
                let mut summary = Summarising { groups: Vec::new(), filtered: 0 };
                let names = read(&mut |rows, _| summary.add(&mut groups, rows))?;
                Ok(Answer::Summary(summary.finish(&groups, &names)))
            }
            Some(ranges) => {
                let mut counting = Counting { ranges, of_group: Vec::new(), counts: Counts::zero(ranges.len()) };
                read(&mut |rows, names| counting.add(&mut groups, rows, names))?;
                Ok(Answer::Counts(counting.counts))
            }
        }
    }
}

impl Range {
    /// The least and the most value of a part.
    pub(crate) fn part(&self, part: u32) -> (i64, i64) {
        let least = i128::from(self.least) + i128::from(part) * self.width();
        let most = (least + self.width() - 1).min(self.most.into());
        // Both lie between two numbers of 64 bits, but for parts that have no values.
        let fit = |value: i128| i64::try_from(value).unwrap_or(self.most);
        (fit(least), fit(most))
    }

    /// The part in which a value is.
    fn part_of(&self, value: i64) -> Option<usize> {
        let is_in = self.least <= value && value <= self.most;
        is_in.then(|| ((i128::from(value) - i128::from(self.least)) / self.width()) as usize)
    }

    /// How many values a part has.
    fn width(&self) -> i128 {
        (i128::from(self.most) - i128::from(self.least) + 1).div_ceil_positive(PARTS.into())
    }
}

trait DivCeilPositive {
    fn div_ceil_positive(self, divisor: Self) -> Self;
}

impl DivCeilPositive for i128 {
    fn div_ceil_positive(self, divisor: Self) -> Self {
        (self + divisor - 1) / divisor
    }
}

impl Counts {
    /// No values in so many ranges.
    pub fn zero(ranges: usize) -> Self {
        Self(vec![Vec::new(); ranges])
    }

    /// Adds what another file answered to the same ranges.
    ///
    /// # Errors
    /// It answered for other ranges, or counted more than there can be.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        if self.0.len() != other.0.len() {
            return Err(MergeError::Ranges(self.0.len(), other.0.len()));
        }
        for (mine, others) in self.0.iter_mut().zip(&other.0) {
            if mine.len() < others.len() {
                mine.resize(others.len(), 0);
            }
            for (mine, others) in mine.iter_mut().zip(others) {
                *mine = mine.checked_add(*others).ok_or(MergeError::Overflow)?;
            }
        }
        Ok(())
    }

    pub(crate) fn of(&self, range: usize) -> &[u64] {
        self.0.get(range).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, range: usize, part: usize) {
        let parts = &mut self.0[range];
        if parts.len() <= part {
            parts.resize(part + 1, 0);
        }
        parts[part] += 1;
    }
}

#[cfg(test)]
impl From<Vec<Vec<u64>>> for Counts {
    fn from(parts: Vec<Vec<u64>>) -> Self {
        Self(parts)
    }
}

impl Answer {
    /// The summary, where it is one.
    pub fn into_summary(self) -> Option<Summary> {
        if let Self::Summary(summary) = self { Some(summary) } else { None }
    }

    /// The counts, where they are some.
    pub fn into_counts(self) -> Option<Counts> {
        if let Self::Counts(counts) = self { Some(counts) } else { None }
    }
}

/// Numbers groups as they come.
struct Groups {
    numbers: HashMap<Vec<u32>, usize, crate::table::FixedHasher>,
    keys: Vec<Vec<u32>>,
    filter: Option<(i64, i64)>,
    /// The group of the row before, which most often is this row's too.
    last: Option<usize>,
}

impl Groups {
    fn new(query: &Query) -> Self {
        let filter = query.filter.as_ref().map(|filter| (filter.least, filter.most));
        Self { numbers: HashMap::default(), keys: Vec::new(), filter, last: None }
    }

    /// Whether the row counts.
    fn counts(&self, rows: &Rows, row: usize) -> bool {
        let value = || rows.filter.as_ref().and_then(|column| column[row]);
        self.filter.is_none_or(|(least, most)| value().is_none_or(|value| least <= value && value <= most))
    }

    /// The number of the row's group.
    fn of(&mut self, rows: &Rows, row: usize, key: &mut Vec<u32>) -> usize {
        let is = |group: &usize| self.keys[*group].iter().zip(&rows.keys).all(|(name, column)| *name == column[row]);
        if let Some(group) = self.last.filter(is) {
            return group;
        }
        key.clear();
        key.extend(rows.keys.iter().map(|column| column[row]));
        let group = self.numbers.get(key).copied().unwrap_or_else(|| {
            self.numbers.insert(key.clone(), self.keys.len());
            self.keys.push(key.clone());
            self.keys.len() - 1
        });
        self.last = Some(group);
        group
    }
}

struct Summarising {
    groups: Vec<Group>,
    filtered: u64,
}

impl Summarising {
    fn add(&mut self, groups: &mut Groups, rows: &Rows) {
        let mut key = Vec::new();
        for row in 0..rows.len {
            if !groups.counts(rows, row) {
                self.filtered += 1;
                continue;
            }
            let group = groups.of(rows, row, &mut key);
            if group == self.groups.len() {
                self.groups.push(Group::new(rows.values.len()));
            }
            let group = &mut self.groups[group];
            group.rows += 1;
            for (aggregate, column) in group.values.iter_mut().zip(&rows.values) {
                if let Some(value) = column[row] {
                    aggregate.add(value);
                }
            }
        }
    }

    fn finish(self, groups: &Groups, names: &Names) -> Summary {
        let keys = groups.keys.iter().map(|key| names.key(key));
        Summary::new(keys.zip(self.groups), self.filtered)
    }
}

struct Counting<'a> {
    ranges: &'a [Range],
    /// The ranges of each group, by their places.
    of_group: Vec<Vec<usize>>,
    counts: Counts,
}

impl Counting<'_> {
    fn add(&mut self, groups: &mut Groups, rows: &Rows, names: &Names) {
        let mut key = Vec::new();
        for row in 0..rows.len {
            if !groups.counts(rows, row) {
                continue;
            }
            let group = groups.of(rows, row, &mut key);
            if group == self.of_group.len() {
                let key = names.key(&groups.keys[group]);
                self.of_group.push((0..self.ranges.len()).filter(|range| self.ranges[*range].key == key).collect());
            }
            for range in &self.of_group[group] {
                let column = rows.values.get(self.ranges[*range].column);
                let part = column.and_then(|column| self.ranges[*range].part_of(column[row]?));
                if let Some(part) = part {
                    self.counts.add(*range, part);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_cannot_be_added_are_refused() {
        let mut counts = Counts(vec![vec![1]]);
        assert_eq!(counts.merge(&Counts(vec![vec![2, 3]])), Ok(()));
        assert_eq!(counts, Counts(vec![vec![3, 3]]));
        assert_eq!(counts.merge(&Counts(vec![vec![u64::MAX]])), Err(MergeError::Overflow));
        assert_eq!(counts.merge(&Counts(vec![])), Err(MergeError::Ranges(1, 0)));
    }

    #[test]
    fn parts_of_a_range_hold_its_values_and_no_others() {
        for (least, most) in [(0, 0), (-5, 5), (10, 10 + 3 * i64::from(PARTS)), (i64::MIN, i64::MAX), (i64::MAX - 1, i64::MAX)] {
            let range = Range { key: Vec::new(), column: 0, least, most };
            for value in [least, most, least.midpoint(most)] {
                let part = range.part_of(value).unwrap();
                assert!(part < PARTS as usize, "{value}");
                let (from, to) = range.part(part as u32);
                assert!(from <= value && value <= to, "{value} in {from} to {to}");
            }
            assert_eq!(least.checked_sub(1).and_then(|value| range.part_of(value)), None);
        }
    }
}
