use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use std::mem;

/// The longest word that is told apart: a longer run of letters counts under its beginning, so that no input grows one word without
/// end.
const WORD_BYTES_MAX: usize = 256;

/// Counts from word to number. The hasher has fixed keys: nothing here is random, so the work done depends on the text alone.
type Counts = HashMap<String, u64, BuildHasherDefault<DefaultHasher>>;

/// Counts words in text that comes in pieces, cut anywhere. A word is a run of alphabetic characters, in lower case; bytes that are not
/// UTF-8 stand between words. It holds the different words and one piece of text, never the text.
#[derive(Debug, Default)]
pub(crate) struct WordCounter {
    counts: Counts,
    /// The word that the text so far ends with.
    word: String,
    /// The first bytes of a character whose others have not come yet.
    cut: Vec<u8>,
}

impl WordCounter {
    /// Counts the next piece of text.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let mut bytes = mem::take(&mut self.cut);
        bytes.extend_from_slice(piece);
        for chunk in bytes.utf8_chunks() {
            self.feed_text(chunk.valid());
            match chunk.invalid() {
                [] => {}
                invalid if is_cut_character(invalid) => self.cut = invalid.to_vec(),
                _ => self.end_word(),
            }
        }
    }

    /// The counts, after the last piece.
    pub(crate) fn finish(mut self) -> WordCounts {
        self.end_word();
        WordCounts(self.counts)
    }

    fn feed_text(&mut self, text: &str) {
        for c in text.chars() {
            if !c.is_alphabetic() {
                self.end_word();
            } else if self.word.len() < WORD_BYTES_MAX {
                self.word.extend(c.to_lowercase());
            }
        }
    }

    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        // Looked up by reference first: most words are old ones, and need no string of their own.
        match self.counts.get_mut(&self.word) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(self.word.clone(), 1);
            }
        }
        self.word.clear();
    }
}

/// Whether `invalid`, a sequence that UTF-8 decoding stopped at, only lacks bytes that may come yet.
fn is_cut_character(invalid: &[u8]) -> bool {
    std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

/// How often each word was seen.
#[derive(Debug)]
pub(crate) struct WordCounts(Counts);

impl WordCounts {
    /// The `n` most frequent words, by falling count and then by rising word.
    pub(crate) fn top(&self, n: usize) -> Vec<(&str, u64)> {
        let mut words: Vec<_> = self.0.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        words.sort_unstable_by_key(|&(word, count)| (Reverse(count), word));
        words.truncate(n);
        words
    }

    /// How many words there are.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// How many different words there are.
    pub(crate) fn distinct(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> WordCounts {
        let mut counter = WordCounter::default();
        pieces.into_iter().for_each(|piece| counter.feed(piece));
        counter.finish()
    }

    fn check(text: impl AsRef<[u8]>, expected: &[(&str, u64)]) {
        assert_eq!(count([text.as_ref()]).top(usize::MAX), expected);
    }

    #[test]
    fn words_are_runs_of_letters_in_lower_case() {
        check("", &[]);
        check("12 + 3!", &[]);
        check("Adit", &[("adit", 1)]);
        check("The adit, the ADIT; an adit.", &[("adit", 3), ("the", 2), ("an", 1)]);
        check("don't", &[("don", 1), ("t", 1)]);
    }

    #[test]
    fn letters_of_every_script_count() {
        check("Straße straße ΣΊΣΥΦΟΣ штольня Штольня", &[("straße", 2), ("штольня", 2), ("σίσυφοσ", 1)]);
    }

    #[test]
    fn ties_are_ordered_by_word() {
        check("b c a", &[("a", 1), ("b", 1), ("c", 1)]);
    }

    #[test]
    fn bytes_that_are_not_utf8_stand_between_words() {
        check(b"ab\xffcd \xc3", &[("ab", 1), ("cd", 1)]);
    }

    #[test]
    fn where_the_text_is_cut_does_not_matter() {
        let text = "Ein Stollen, два 𝔰𝔱𝔬𝔩𝔩𝔢𝔫, ein\u{fffd}Ende".as_bytes();
        let whole = count([text]).top(usize::MAX).into_iter().map(|(word, n)| (word.to_owned(), n)).collect::<Vec<_>>();
        for size in 1..text.len() {
            let pieces = count(text.chunks(size));
            assert_eq!(
                pieces.top(usize::MAX),
                whole.iter().map(|(word, n)| (word.as_str(), *n)).collect::<Vec<_>>(),
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_run_of_letters_without_end_does_not_grow() {
        let words = count(std::iter::repeat_n(&[b'a'; 1000][..], 50));
        assert_eq!(words.top(1), [("a".repeat(WORD_BYTES_MAX).as_str(), 1)]);
    }

    #[test]
    fn totals_count_words_and_different_words() {
        let words = count([&b"to be or not to be"[..]]);
        assert_eq!((words.total(), words.distinct()), (6, 4));
    }
}
