//! Text of strangers on a terminal: what could move the cursor, change colours or reorder letters is spelt out instead.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// `text` with everything that a terminal would obey written out, line breaks too.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| !is_obeyed(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    text.chars().for_each(|c| push(&mut out, c));
    Cow::Owned(out)
}

/// A writer that passes text on as [`visible`] does, line breaks and tabs as they are. It takes any bytes in any pieces.
#[derive(Debug)]
pub(crate) struct VisibleWriter<W> {
    inner: W,
    /// The start of a character whose rest has not come yet, at most 3 bytes.
    partial: Vec<u8>,
    /// Whether the last character was a carriage return, which is only shown where no line feed follows.
    after_return: bool,
}

impl<W: Write> VisibleWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, partial: Vec::new(), after_return: false }
    }

    /// Writes what is still held back, at the end of the text.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let mut out = String::new();
        self.settle_return(&mut out);
        std::mem::take(&mut self.partial).into_iter().for_each(|byte| push_byte(&mut out, byte));
        self.inner.write_all(out.as_bytes())?;
        self.inner.flush()
    }

    fn push_text(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            if c != '\n' {
                self.settle_return(out);
            }
            match c {
                '\r' => self.after_return = true,
                '\n' | '\t' => {
                    self.after_return = false;
                    out.push(c);
                }
                _ => push(out, c),
            }
        }
    }

    fn settle_return(&mut self, out: &mut String) {
        if std::mem::take(&mut self.after_return) {
            out.push_str("\\r");
        }
    }
}

impl<W: Write> Write for VisibleWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let all = [std::mem::take(&mut self.partial), bytes.to_vec()].concat();
        let mut out = String::with_capacity(all.len());
        let mut rest = &all[..];
        while !rest.is_empty() {
            let (text, invalid) = match str::from_utf8(rest) {
                Ok(text) => (text, 0),
                Err(error) => {
                    let text = str::from_utf8(&rest[..error.valid_up_to()]).expect("it is valid up to here");
                    (text, error.error_len().unwrap_or(usize::MAX))
                }
            };
            self.push_text(text, &mut out);
            rest = &rest[text.len()..];
            if invalid == usize::MAX {
                self.partial = rest.to_vec();
                break;
            }
            rest[..invalid].iter().for_each(|byte| push_byte(&mut out, *byte));
            rest = &rest[invalid..];
        }
        self.inner.write_all(out.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Control characters of ISO 6429, and the marks of Unicode (UAX 9) that reorder or hide what is around them.
pub(crate) fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn push(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ if !is_obeyed(c) => out.push(c),
        // ESC and its kin by the two digits that people know them by.
        '\0'..='\u{7f}' => push_byte(out, c as u8),
        _ => out.extend(c.escape_unicode()),
    }
}

fn push_byte(out: &mut String, byte: u8) {
    write!(out, "\\x{byte:02x}").expect("a string takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut writer = VisibleWriter::new(&mut out);
        for piece in pieces {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let rows: [(&[u8], &str); 9] = [
            (b"plain\ttext\n", "plain\ttext\n"),
            (b"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
            (b"title\x1b]0;x\x07", "title\\x1b]0;x\\x07"),
            (b"over\rwritten", "over\\rwritten"),
            (b"dos\r\n", "dos\n"),
            (b"end\r", "end\\r"),
            ("csi \u{9b}31m".as_bytes(), "csi \\u{9b}31m"),
            ("\u{202e}evil".as_bytes(), "\\u{202e}evil"),
            (b"bad \xff\xfe utf-8 \xc3", "bad \\xff\\xfe utf-8 \\xc3"),
        ];
        for (input, want) in rows {
            assert_eq!(written(&[input]), want);
        }
    }

    #[test]
    fn pieces_may_be_cut_anywhere() {
        let text = "ü€😀\r\n\x1b[1m\rx\u{202e}";
        let whole = written(&[text.as_bytes()]);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(written(&bytes), whole);
        for cut in 0..text.len() {
            let (a, b) = text.as_bytes().split_at(cut);
            assert_eq!(written(&[a, b]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn one_line_of_text_stays_one_line() {
        assert_eq!(visible("harmless ünïcode"), "harmless ünïcode");
        assert_eq!(visible("two\nlines\x1b[2J"), "two\\nlines\\x1b[2J");
    }
}
