//! Rows of a table on their way from a file to the groups.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;

use crate::aggregate::Key;

/// A hasher with fixed keys: nothing here is random, so the work done depends on the table alone.
pub(crate) type FixedHasher = BuildHasherDefault<DefaultHasher>;

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// There is no such column.
    #[error("the table has no column `{0}`")]
    NoColumn(String),
    /// A column of a type that is neither whole numbers nor decimals, or not of the stated scale.
    #[error("the column `{column}` is {found}, and not {wanted}")]
    Type {
        /// Which.
        column: String,
        /// What it is.
        found: String,
        /// What the query takes it for.
        wanted: String,
    },
    /// A cell that is no such number.
    #[error("line {line}: `{cell}` in the column `{column}` is no number with {scale} digits after the point")]
    Number {
        /// Which line, from 1 on, with the names.
        line: u64,
        /// The column.
        column: String,
        /// What is there.
        cell: String,
        /// How many digits after the point were stated.
        scale: u32,
    },
    /// Text that is not UTF-8.
    #[error("the column `{0}` has text that is not UTF-8")]
    Text(String),
    /// It is no CSV.
    #[error("not a table of values separated by commas: {0}")]
    Csv(#[from] csv::Error),
    /// It is no Parquet.
    #[error("not a Parquet file: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
}

/// Some rows, column by column.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) len: usize,
    /// Of the columns that are grouped by, the cells' names.
    pub(crate) keys: Vec<Vec<u32>>,
    /// Of the columns that are summed up, in units of the last digit.
    pub(crate) values: Vec<Vec<Option<i64>>>,
    pub(crate) filter: Option<Vec<Option<i64>>>,
}

/// Texts by numbers. 0 is the empty cell.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<Box<str>, u32, FixedHasher>,
    texts: Vec<Box<str>>,
}

impl Names {
    /// The number of a text.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.texts.push(text.into());
        let number = self.texts.len() as u32;
        self.numbers.insert(text.into(), number);
        number
    }

    /// The group that numbers stand for.
    pub(crate) fn key(&self, numbers: &[u32]) -> Key {
        let text = |number: &u32| Some(self.texts.get(number.checked_sub(1)? as usize)?.to_string());
        numbers.iter().map(text).collect()
    }
}
