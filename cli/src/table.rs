//! Lists: aligned columns for people, one JSON object a line for programs.

use std::io::{self, Write};

use anstyle::Style;
use serde::Serialize;

use crate::visible::visible;

const HEAD: Style = Style::new().bold();

/// Rows under a head, each column as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(head: [&'static str; N]) -> Self {
        Self { head, rows: Vec::new() }
    }

    /// Adds a row. Cells may come from strangers; they are shown as [`visible`] text.
    pub(crate) fn push(&mut self, row: [String; N]) {
        self.rows.push(row.map(|cell| visible(&cell).into_owned()));
    }

    /// Prints the table on standard output.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        let widths = self.widths();
        writeln!(out, "{HEAD}{}{HEAD:#}", line(&self.head.map(str::to_owned), &widths))?;
        for row in &self.rows {
            writeln!(out, "{}", line(row, &widths))?;
        }
        out.flush()
    }

    fn widths(&self) -> [usize; N] {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        std::array::from_fn(|column| width(column).max(self.head[column].len()))
    }
}

/// Prints `value` as one line of JSON on standard output.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Prints one line of text on standard output.
pub(crate) fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

fn line<const N: usize>(cells: &[String; N], widths: &[usize; N]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_a_stranger_writes() {
        let mut table = Table::new(["node", "label"]);
        table.push(["ab".into(), "zone=ü".into()]);
        table.push(["abcdef".into(), "\x1b[2J".into()]);
        let widths = table.widths();
        assert_eq!(widths, [6, 7]);
        let lines: Vec<String> = table.rows.iter().map(|row| line(row, &widths)).collect();
        assert_eq!(lines, ["ab      zone=ü", "abcdef  \\x1b[2J"]);
    }
}
