use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::Write as _;

/// The last lines that are told with a failure.
const LINES_MAX: usize = 60;

/// What happened, line by line: hashed whole, and the end of it kept.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    lines: VecDeque<String>,
    /// Whether each line is printed as it comes.
    is_shown: bool,
}

impl Trace {
    /// A trace that is printed as it comes, where `is_shown`.
    pub(crate) fn new(is_shown: bool) -> Self {
        Self { is_shown, ..Self::default() }
    }

    /// Adds a line.
    pub(crate) fn note(&mut self, now: u64, what: fmt::Arguments<'_>) {
        let mut line = if self.lines.len() < LINES_MAX { String::new() } else { self.lines.pop_front().unwrap_or_default() };
        line.clear();
        let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
        write!(line, "{seconds:>4}.{micros:06} {what}").expect("a string takes what is written");
        self.hasher.update(line.as_bytes()).update(b"\n");
        if self.is_shown {
            // Who reads may have seen enough.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
        self.lines.push_back(line);
    }

    /// Stands for all lines.
    pub(crate) fn digest(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    /// The last lines.
    pub(crate) fn last(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
