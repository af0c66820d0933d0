//! Tables in CSV (RFC 4180): a line of names, and then the rows. An empty cell is none.

use csv::ByteRecord;

use crate::query::{Query, Value};
use crate::table::{Names, Rows, TableError};

/// So many rows are handed on at a time.
const ROWS: usize = 4096;

/// Reads the columns that the query is about and hands on the rows.
pub(crate) fn read(table: &[u8], query: &Query, rows: &mut dyn FnMut(&Rows, &Names)) -> Result<Names, TableError> {
    let mut reader = csv::Reader::from_reader(table);
    let header = reader.byte_headers()?.clone();
    let place = |name: &str| {
        header.iter().position(|column| column == name.as_bytes()).ok_or_else(|| TableError::NoColumn(name.to_owned()))
    };
    let keys = query.group_by.iter().map(|name| place(name)).collect::<Result<Vec<_>, _>>()?;
    let values = query.values.iter().map(|value| place(&value.column)).collect::<Result<Vec<_>, _>>()?;
    let filter = query.filter.as_ref().map(|filter| place(&filter.value.column).map(|place| (place, &filter.value)));
    let filter: Option<(usize, &Value)> = filter.transpose()?;

    let mut names = Names::default();
    let mut batch = Rows {
        keys: vec![Vec::new(); keys.len()],
        values: vec![Vec::new(); values.len()],
        filter: filter.is_some().then(Vec::new),
        ..Rows::default()
    };
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record)? {
        for ((column, place), name) in batch.keys.iter_mut().zip(&keys).zip(&query.group_by) {
            let text = std::str::from_utf8(cell(&record, *place)).map_err(|_| TableError::Text(name.clone()))?;
            column.push(if text.is_empty() { 0 } else { names.number(text) });
        }
        for ((column, place), value) in batch.values.iter_mut().zip(&values).zip(&query.values) {
            column.push(number(&record, *place, value)?);
        }
        if let (Some(column), Some((place, value))) = (&mut batch.filter, filter) {
            column.push(number(&record, place, value)?);
        }
        batch.len += 1;
        if batch.len == ROWS {
            rows(&batch, &names);
            batch.clear();
        }
    }
    rows(&batch, &names);
    Ok(names)
}

impl Rows {
    fn clear(&mut self) {
        self.len = 0;
        self.keys.iter_mut().for_each(Vec::clear);
        self.values.iter_mut().chain(&mut self.filter).for_each(Vec::clear);
    }
}

fn cell(record: &ByteRecord, place: usize) -> &[u8] {
    record.get(place).unwrap_or_default()
}

fn number(record: &ByteRecord, place: usize, value: &Value) -> Result<Option<i64>, TableError> {
    let cell = cell(record, place);
    if cell.is_empty() {
        return Ok(None);
    }
    parse_decimal(cell, value.scale).map(Some).ok_or_else(|| TableError::Number {
        line: record.position().map_or(0, csv::Position::line),
        column: value.column.clone(),
        cell: String::from_utf8_lossy(cell).into_owned(),
        scale: value.scale,
    })
}

/// A decimal number in units of its last digit. Fewer digits after the point than the scale are filled up; with more it is none of the
/// column's numbers, nor where it does not fit 64 bits.
pub fn parse_decimal(cell: &[u8], scale: u32) -> Option<i64> {
    let (negative, digits) = match cell {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, part) = point.map_or((digits, &[][..]), |at| (&digits[..at], &digits[at + 1..]));
    let missing = (scale as usize).checked_sub(part.len())?;
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let digits = whole.iter().chain(part).copied().chain(std::iter::repeat_n(b'0', missing));
    let number = if whole.len() + scale as usize <= SAFE_DIGITS { safe(digits)? } else { checked(digits)? };
    if negative { Some(number) } else { number.checked_neg() }
}

/// So many digits fit 64 bits whatever they are.
const SAFE_DIGITS: usize = 18;

/// The number of few digits, negated.
fn safe(mut digits: impl Iterator<Item = u8>) -> Option<i64> {
    digits.try_fold(0, |number, digit| Some(number * 10 - i64::from(value(digit)?)))
}

/// The number of many digits, negated: towards the negative, 64 bits reach one further.
fn checked(mut digits: impl Iterator<Item = u8>) -> Option<i64> {
    digits.try_fold(0i64, |number, digit| number.checked_mul(10)?.checked_sub(value(digit)?.into()))
}

fn value(digit: u8) -> Option<u8> {
    digit.is_ascii_digit().then(|| digit - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_in_units_of_their_last_digit() {
        let good = [
            ("21.375", 21_375),
            ("-0.5", -500),
            ("7", 7_000),
            ("+1.", 1_000),
            (".25", 250),
            ("-9223372036854775.808", i64::MIN),
            ("9223372036854775.807", i64::MAX),
        ];
        for (cell, number) in good {
            assert_eq!(parse_decimal(cell.as_bytes(), 3), Some(number), "{cell}");
        }
        for cell in ["21.3755", "", "-", ".", "1e3", " 1", "1,5", "9223372036854775.808", "0x1", "1.2.3", "NaN"] {
            assert_eq!(parse_decimal(cell.as_bytes(), 3), None, "{cell}");
        }
    }
}
