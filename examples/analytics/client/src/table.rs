//! The merged answer, to read.

use std::fmt;

use adit_example_analytics::{Aggregate, Exact, Key, Query, Summary};
use serde_json::{Value as Json, json};

use crate::options::Quantile;

/// A row for each group and each column of values.
#[derive(Debug)]
pub(crate) struct Table {
    group_by: Vec<String>,
    quantiles: Vec<String>,
    rows: Vec<Row>,
    filtered: u64,
}

#[derive(Debug)]
struct Row {
    key: Key,
    column: String,
    /// Digits after the point.
    digits: u32,
    rows: u64,
    count: u64,
    sum: i128,
    /// None of these where all cells are empty.
    least: Option<i64>,
    most: Option<i64>,
    mean: Option<f64>,
    quantiles: Vec<Option<i64>>,
}

impl Table {
    /// The quantiles are those of `exact`, and without it those of the sketches.
    pub(crate) fn new(query: &Query, summary: &Summary, quantiles: &[Quantile], exact: Option<&Exact>) -> Self {
        let mut rows = Vec::new();
        for (key, group) in summary.groups() {
            for (at, (value, aggregate)) in query.values.iter().zip(&group.values).enumerate() {
                let quantile = |(number, quantile): (usize, &Quantile)| match exact {
                    Some(exact) => exact.value(key, at, number),
                    None => aggregate.approximate(quantile.ranks),
                };
                let Aggregate { count, sum, min, max, .. } = aggregate;
                let any = |number: i64| (*count > 0).then_some(number);
                rows.push(Row {
                    key: key.clone(),
                    column: value.column.clone(),
                    digits: value.scale,
                    rows: group.rows,
                    count: *count,
                    sum: *sum,
                    least: any(*min),
                    most: any(*max),
                    mean: aggregate.mean(value.scale),
                    quantiles: quantiles.iter().enumerate().map(quantile).collect(),
                });
            }
        }
        let names = quantiles.iter().map(|quantile| quantile.text.clone()).collect();
        Self { group_by: query.group_by.clone(), quantiles: names, rows, filtered: summary.filtered }
    }

    pub(crate) fn to_json(&self) -> Json {
        let number = |row: &Row, number: Option<i64>| number.map(|number| decimal(number.into(), row.digits));
        let object = |row: &Row| {
            let quantiles = self.quantiles.iter().zip(&row.quantiles);
            let quantiles: serde_json::Map<String, Json> =
                quantiles.map(|(name, value)| (name.clone(), json!(number(row, *value)))).collect();
            // As texts, so that no digit is lost to a reader's floats.
            json!({
                "key": row.key, "column": row.column, "rows": row.rows, "count": row.count, "sum": decimal(row.sum, row.digits),
                "min": number(row, row.least), "max": number(row, row.most), "mean": row.mean, "quantiles": quantiles,
            })
        };
        self.rows.iter().map(object).collect()
    }

    fn head(&self) -> Vec<String> {
        let fixed = ["column", "rows", "empty", "min", "mean", "max"].map(str::to_owned);
        self.group_by.iter().cloned().chain(fixed).chain(self.quantiles.iter().map(|part| format!("q{part}"))).collect()
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| decimal(number.into(), self.digits));
        let mean = self.mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.*}", self.digits as usize + 1));
        let keys =
            self.key.iter().map(|cell| cell.as_ref().map_or_else(|| "-".to_owned(), |cell| cell.replace(char::is_control, " ")));
        let empty = (self.rows - self.count).to_string();
        let fixed = [self.column.clone(), self.rows.to_string(), empty, number(self.least), mean, number(self.most)];
        keys.chain(fixed).chain(self.quantiles.iter().map(|value| number(*value))).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<Vec<String>> = std::iter::once(self.head()).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
        for line in &lines {
            for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
                // Names to the left, numbers to the right.
                if at <= self.group_by.len() { write!(f, "{cell:<width$}  ")? } else { write!(f, "{cell:>width$}  ")? }
            }
            writeln!(f)?;
        }
        if self.filtered > 0 {
            writeln!(f, "{} rows left out", self.filtered)?;
        }
        Ok(())
    }
}

/// A number in units of its last digit, written with its point.
fn decimal(number: i128, digits: u32) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let unit = 10u128.pow(digits);
    let size = number.unsigned_abs();
    match digits {
        0 => format!("{sign}{size}"),
        _ => format!("{sign}{}.{:0width$}", size / unit, size % unit, width = digits as usize),
    }
}

#[cfg(test)]
mod tests {
    use adit_example_analytics::{Format, Request, Value};

    use super::*;

    #[test]
    fn numbers_are_written_with_their_point() {
        for (number, digits, text) in [(-500, 3, "-0.500"), (21_375, 3, "21.375"), (7, 0, "7"), (0, 2, "0.00"), (-1, 0, "-1")] {
            assert_eq!(decimal(number, digits), text);
        }
    }

    #[test]
    fn groups_stand_in_lines_with_what_they_come_to() {
        let query = Query { group_by: vec!["a".to_owned()], values: vec![Value::new("b", 1)], filter: None };
        let request = Request::summarise(query.clone(), Format::Csv);
        let summary = request.run(b"a,b\nx,1.5\nx,\nx,2.5\n,\n".to_vec()).unwrap().into_summary().unwrap();
        let quantiles = ["0.5".parse().unwrap()];
        let table = Table::new(&query, &summary, &quantiles, Some(&Exact::new(&summary, &[quantiles[0].ranks]).unwrap()));
        let text = table.to_string();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["a", "column", "rows", "empty", "min", "mean", "max", "q0.5"]);
        assert_eq!(rows[1], ["-", "b", "1", "1", "-", "-", "-", "-"]);
        assert_eq!(rows[2], ["x", "b", "3", "1", "1.5", "2.00", "2.5", "1.5"]);
        assert_eq!(table.to_json()[1]["sum"], "4.0");
        assert_eq!(table.to_json()[0]["min"], Json::Null);
    }
}
