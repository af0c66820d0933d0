//! Counts the words of standard input and prints the most frequent: a plain WASI command, which knows nothing of Adit.
#![forbid(unsafe_code)]

mod count;

use std::env;
use std::io::{self, BufWriter, Read, Write};
use std::process::ExitCode;

use crate::count::WordCounter;

/// How much text is held at a time. An input of any size is read through this window.
const CHUNK_BYTES: usize = 64 << 10;

/// How many words are printed when no argument says so.
const TOP_DEFAULT: usize = 10;

fn main() -> ExitCode {
    let top = match top_argument(env::args().nth(1)) {
        Ok(top) => top,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    match run(io::stdin().lock(), io::stdout().lock(), top) {
        Ok(summary) => {
            eprintln!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("wordcount: {error}");
            ExitCode::FAILURE
        }
    }
}

fn top_argument(argument: Option<String>) -> Result<usize, String> {
    let Some(text) = argument else { return Ok(TOP_DEFAULT) };
    text.parse().map_err(|_| format!("wordcount: `{text}` is not a number of words; usage: wordcount [TOP], as in wordcount 20"))
}

/// Prints the `top` most frequent words of `input`, one `count word` a line, and returns one line about the whole.
fn run(mut input: impl Read, output: impl Write, top: usize) -> io::Result<String> {
    let mut counter = WordCounter::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut input_bytes = 0u64;
    loop {
        match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => {
                counter.feed(&chunk[..n]);
                input_bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let words = counter.finish();
    let mut output = BufWriter::new(output);
    for (word, count) in words.top(top) {
        writeln!(output, "{count} {word}")?;
    }
    output.flush()?;
    Ok(format!("{} words, {} different, in {input_bytes} bytes", words.total(), words.distinct()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_top_and_sums_up_the_whole() {
        let mut output = Vec::new();
        let summary = run(&b"to be, or not to be"[..], &mut output, 2).unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), "2 be\n2 to\n");
        assert_eq!(summary, "6 words, 4 different, in 19 bytes");
    }

    #[test]
    fn text_longer_than_the_window_is_counted_whole() {
        let text = "adit ".repeat(CHUNK_BYTES);
        let mut output = Vec::new();
        run(text.as_bytes(), &mut output, 1).unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), format!("{CHUNK_BYTES} adit\n"));
    }

    #[test]
    fn an_argument_that_is_no_number_is_refused() {
        assert_eq!(top_argument(None), Ok(TOP_DEFAULT));
        assert_eq!(top_argument(Some("3".into())), Ok(3));
        assert!(top_argument(Some("-3".into())).unwrap_err().contains("`-3`"));
    }
}
