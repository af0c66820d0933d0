//! What a person sees on standard error: notes, a guest's log as it is written, progress, and one summary line.

use std::fmt::Display;
use std::io::{self, IsTerminal, Stderr, Write};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::SyntaxError;
use crate::visible::{VisibleWriter, visible};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Yellow.on_default();

/// Standard error of a command. What cannot be shown there is lost: nothing depends on it, and there is nowhere to say so.
#[derive(Debug)]
pub(crate) struct Screen {
    quiet: bool,
    log: LogView,
    bar: Option<ProgressBar>,
    /// A line of the log that a progress bar keeps back until it is whole.
    line: Vec<u8>,
}

/// A guest's log: as it is for a file or a program, made harmless for a terminal.
#[derive(Debug)]
enum LogView {
    Raw(Stderr),
    Visible(VisibleWriter<Stderr>),
}

impl Screen {
    /// A screen that shows no notes where `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let stderr = io::stderr();
        let log = if stderr.is_terminal() { LogView::Visible(VisibleWriter::new(stderr)) } else { LogView::Raw(stderr) };
        Self { quiet, log, bar: None, line: Vec::new() }
    }

    /// Says something about this program's own doing.
    pub(crate) fn note(&mut self, text: impl Display) {
        if !self.quiet {
            self.aside(|| show_note(&text));
        }
    }

    /// Shows more of a guest's log.
    pub(crate) fn log(&mut self, bytes: &[u8]) {
        if self.bar.is_none() {
            return self.log.write(bytes);
        }
        // What is kept back has no end of a line, so that a long one is not looked through again and again.
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        self.line.extend_from_slice(&bytes[..whole]);
        if whole > 0 {
            let lines = std::mem::take(&mut self.line);
            if let Some(bar) = &self.bar {
                bar.suspend(|| self.log.write(&lines));
            }
        }
        self.line.extend_from_slice(&bytes[whole..]);
    }

    /// Shows how far the guest is, on a terminal.
    pub(crate) fn progress(&mut self, done: u64, total: u64) {
        if self.quiet || !io::stderr().is_terminal() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| ProgressBar::new(total).with_style(progress_style(total)));
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    /// Ends log and progress.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let line = std::mem::take(&mut self.line);
        self.log.write(&line);
        self.log.finish();
    }

    /// The one line after a job.
    pub(crate) fn summary(&mut self, line: impl Display, good: bool) {
        if !self.quiet {
            let style = if good { GOOD } else { BAD };
            let _ = writeln!(anstream::stderr(), "{style}{line}{style:#}");
        }
    }

    fn aside(&self, show: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(show),
            None => show(),
        }
    }
}

impl LogView {
    fn write(&mut self, bytes: &[u8]) {
        let _ = match self {
            Self::Raw(stderr) => stderr.write_all(bytes),
            Self::Visible(writer) => writer.write_all(bytes),
        };
    }

    fn finish(&mut self) {
        if let Self::Visible(writer) = self {
            let _ = writer.finish();
        }
    }
}

/// Says something about this program's own doing.
pub(crate) fn show_note(text: impl Display) {
    // One write, so that lines of several processes do not mix.
    let line = format!("adit: {}\n", visible(&text.to_string()));
    let _ = anstream::stderr().write_all(line.as_bytes());
}

/// Says what went wrong, with its causes.
pub(crate) fn show_error(error: &anyhow::Error) {
    let told = describe(error);
    let shown = if error.is::<SyntaxError>() { visible_lines(&told) } else { visible(&told).into_owned() };
    let _ = writeln!(anstream::stderr(), "{ERROR}adit:{ERROR:#} {shown}");
}

/// As [`visible`], with the line breaks that are ours.
fn visible_lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// An error with its causes in one line. Transparent errors repeat their cause's words; a person reads them once.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn progress_style(total: u64) -> ProgressStyle {
    let template = if total > 0 { "{bar:30} {percent}% ({pos}/{len}), {eta} left" } else { "{spinner} {pos}" };
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines_and_what_a_terminal_obeys_is_spelt_out() {
        assert_eq!(visible_lines("one\n  ^\u{1b}[2J\n"), "one\n  ^\\x1b[2J");
    }

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("no such file").context("module x.wasm");
        assert_eq!(describe(&error), "module x.wasm: no such file");
        let told: anyhow::Error = adit_client::ConnectError::Dial(adit_transport::DialError::Local("no socket".into())).into();
        assert_eq!(describe(&told), "no local endpoint: no socket");
    }
}
