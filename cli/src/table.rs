//! Lists: aligned columns for people, one JSON object a line for programs.

use std::io::{self, Write};

use anstyle::Style;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::visible::{is_obeyed, visible};

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
    out.write_all(&json_line(value).map_err(io::Error::from)?)?;
    out.flush()?;
    Ok(())
}

/// `value` as one line of JSON, harmless on a terminal whatever strangers wrote into its texts.
pub(crate) fn json_line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut line, HarmlessFormatter))?;
    line.push(b'\n');
    Ok(line)
}

/// Escapes all that a terminal would obey. JSON itself asks that of the first 32 characters alone; to who parses it the text is the same.
struct HarmlessFormatter;

impl Formatter for HarmlessFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_obeyed) {
            let (harmless, from) = rest.split_at(at);
            let obeyed = from.chars().next().expect("one was found here");
            writer.write_all(harmless.as_bytes())?;
            obeyed.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?;
            rest = &from[obeyed.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
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

    #[test]
    fn json_has_nothing_that_a_terminal_obeys_and_means_the_same() {
        for (text, want) in [
            ("harmless ünïcode 😀", "harmless ünïcode 😀"),
            ("quoted \" \\ /", r#"quoted \" \\ /"#),
            ("\x1b[2J\n\x7f", r"\u001b[2J\n\u007f"),
            ("\u{9b}31m\u{85}\u{80}\u{9f}", r"\u009b31m\u0085\u0080\u009f"),
            ("a\u{202e}b\u{2028}\u{2066}\u{200b}\u{feff}\u{61c}", r"a\u202eb\u2028\u2066\u200b\ufeff\u061c"),
        ] {
            // As a text, in a list, and as a name of an object.
            let value = serde_json::json!({ text: [text] });
            let line = String::from_utf8(json_line(&value).unwrap()).unwrap();
            assert_eq!(line, format!("{{\"{want}\":[\"{want}\"]}}\n"));
            assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        }
    }
}
