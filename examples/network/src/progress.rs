//! How far many jobs are.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on standard error where that is a terminal, else a line for each tenth; nothing where it is quiet.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    what: String,
    total: u64,
    done: u64,
    lines: bool,
}

impl Progress {
    /// The progress of `total` times `what`.
    pub fn new(what: &str, total: u64, quiet: bool) -> Self {
        let terminal = stderr().is_terminal();
        let target = if terminal && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style()).with_message(what.to_owned());
        Self { bar, what: what.to_owned(), total, done: 0, lines: !terminal && !quiet }
    }

    /// Shows some lines of text above the bar, where there is one, in place of those before.
    pub fn show(&self, lines: String) {
        self.bar.set_prefix(lines + "\n");
    }

    /// One more is done.
    pub fn step(&mut self) {
        let before = tenths(self.done, self.total);
        self.done += 1;
        self.bar.inc(1);
        if self.lines && tenths(self.done, self.total) > before {
            eprintln!("{} of {} {}", self.done, self.total, self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn tenths(done: u64, total: u64) -> u64 {
    done * 10 / total.max(1)
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{prefix}{bar:30} {pos} of {len} {msg}, {elapsed} gone, {eta} left");
    style.expect("the template names only what there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_are_those_of_the_whole_and_nothing_of_nothing() {
        let of = |total| (0..=total).map(|done| tenths(done, total)).collect::<Vec<_>>();
        assert_eq!(of(0), [0]);
        assert_eq!(of(3), [0, 3, 6, 10]);
        assert_eq!(of(20).iter().filter(|t| **t == 5).count(), 2);
    }
}
