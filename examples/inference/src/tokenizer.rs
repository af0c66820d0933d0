//! From a text to its word pieces, as BERT's models for English in lower case were trained.
//!
//! The crate `tokenizers` does this for every family of models, and brings some eighty crates to a guest. What BERT needs of it is this file, on
//! the same tables of Unicode that `tokenizers` stands on, and the tests compare it with `tokenizers`' own answers.

use std::collections::HashMap;
use std::ops::ControlFlow;

use unicode_categories::UnicodeCategories;
use unicode_normalization::UnicodeNormalization;

/// The longest word that is looked for in the vocabulary, in characters; one that is longer is unknown.
const WORD_CHARS_MAX: usize = 100;
/// What stands before a piece that goes on with a word.
const CONTINUES: &str = "##";

/// Cuts texts into pieces of a vocabulary.
#[derive(Debug)]
pub struct Tokenizer {
    ids: HashMap<Box<str>, u32>,
    /// How many ids there are; more than pieces where one stands there twice.
    count: usize,
    special: Special,
}

/// The pieces that are no parts of words. Where a text spells one out, it means that piece.
#[derive(Debug)]
struct Special {
    unknown: u32,
    begin: u32,
    end: u32,
    mask: u32,
    padding: u32,
}

/// Why a file is no vocabulary of a BERT model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// It is not UTF-8.
    #[error("the vocabulary is not UTF-8: {0}")]
    NoText(#[from] std::str::Utf8Error),
    /// One of the five pieces that a BERT model has beside words is not in it.
    #[error("the vocabulary has no piece {0}")]
    NoPiece(&'static str),
}

impl Tokenizer {
    /// A tokenizer of the pieces in `vocabulary`: a piece a line, whose id is its line's number, from 0.
    ///
    /// # Errors
    /// See [`VocabularyError`].
    pub fn new(vocabulary: &[u8]) -> Result<Self, VocabularyError> {
        let text = std::str::from_utf8(vocabulary)?;
        let ids: HashMap<Box<str>, u32> = text.lines().zip(0..).map(|(piece, id)| (piece.into(), id)).collect();
        let id = |piece: &'static str| ids.get(piece).copied().ok_or(VocabularyError::NoPiece(piece));
        let special =
            Special { unknown: id("[UNK]")?, begin: id("[CLS]")?, end: id("[SEP]")?, mask: id("[MASK]")?, padding: id("[PAD]")? };
        Ok(Self { count: text.lines().count(), ids, special })
    }

    /// How many pieces the vocabulary has; every id is less.
    pub fn pieces(&self) -> usize {
        self.count
    }

    /// The ids of a text's pieces, with the piece of its beginning and of its end; at most `limit` (2 or more), cut off at the end.
    pub fn ids(&self, text: &str, limit: usize) -> Vec<u32> {
        let mut pieces = Pieces { ids: vec![self.special.begin], limit: limit.max(2) - 1 };
        // Breaks where there is no room left, so that a long text costs no more than what is used of it.
        let _ = self.special.split(text, |part| match part {
            Part::Special(id) => pieces.push(id),
            Part::Text(text) => self.add_words(text, &mut pieces),
        });
        pieces.ids.push(self.special.end);
        pieces.ids
    }

    fn add_words(&self, text: &str, pieces: &mut Pieces) -> ControlFlow<()> {
        let mut word = String::new();
        for c in normalise(text) {
            let alone = is_punctuation(c);
            if alone || c.is_whitespace() {
                self.add_word(&word, pieces)?;
                word.clear();
            }
            if alone {
                self.add_word(c.encode_utf8(&mut [0; 4]), pieces)?;
            } else if !c.is_whitespace() {
                word.push(c);
            }
        }
        self.add_word(&word, pieces)
    }

    /// Adds the longest piece that the word begins with, the longest that its rest begins with, and so on; or that it is unknown.
    fn add_word(&self, word: &str, pieces: &mut Pieces) -> ControlFlow<()> {
        if word.is_empty() {
            return ControlFlow::Continue(());
        }
        match self.cut(word) {
            Some(cut) => cut.into_iter().try_for_each(|id| pieces.push(id)),
            None => pieces.push(self.special.unknown),
        }
    }

    fn cut(&self, word: &str) -> Option<Vec<u32>> {
        if word.chars().count() > WORD_CHARS_MAX {
            return None;
        }
        let mut ids = Vec::new();
        let (mut rest, mut piece) = (word, String::new());
        while !rest.is_empty() {
            piece.clear();
            if !ids.is_empty() {
                piece.push_str(CONTINUES);
            }
            let prefix = piece.len();
            piece.push_str(rest);
            let id = loop {
                if let Some(id) = self.ids.get(piece.as_str()) {
                    break *id;
                }
                piece.pop();
                if piece.len() <= prefix {
                    return None;
                }
            };
            ids.push(id);
            rest = &rest[piece.len() - prefix..];
        }
        Some(ids)
    }
}

/// Pieces, as long as there is room for them.
struct Pieces {
    ids: Vec<u32>,
    limit: usize,
}

impl Pieces {
    fn push(&mut self, id: u32) -> ControlFlow<()> {
        if self.ids.len() == self.limit {
            return ControlFlow::Break(());
        }
        self.ids.push(id);
        ControlFlow::Continue(())
    }
}

enum Part<'a> {
    Text(&'a str),
    Special(u32),
}

impl Special {
    /// Cuts a text where special pieces are spelled out in it.
    fn split<'a>(&self, text: &'a str, mut take: impl FnMut(Part<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut rest = text;
        let mut looked = 0;
        while let Some(bracket) = rest[looked..].find('[') {
            let at = looked + bracket;
            match self.at_beginning(&rest[at..]) {
                Some((id, len)) => {
                    take(Part::Text(&rest[..at]))?;
                    take(Part::Special(id))?;
                    (rest, looked) = (&rest[at + len..], 0);
                }
                None => looked = at + 1,
            }
        }
        take(Part::Text(rest))
    }

    fn at_beginning(&self, text: &str) -> Option<(u32, usize)> {
        let Self { unknown, begin, end, mask, padding } = *self;
        let all = [("[PAD]", padding), ("[UNK]", unknown), ("[CLS]", begin), ("[SEP]", end), ("[MASK]", mask)];
        all.into_iter().find(|(piece, _)| text.starts_with(piece)).map(|(piece, id)| (id, piece.len()))
    }
}

/// A text without control characters and accents, in lower case, with spaces around ideographs.
fn normalise(text: &str) -> impl Iterator<Item = char> {
    let clean = text.chars().filter(|c| is_kept(*c)).map(|c| if c.is_whitespace() { ' ' } else { c });
    let spaced = clean.flat_map(|c| {
        let space = is_ideograph(c).then_some(' ');
        space.into_iter().chain([c]).chain(space)
    });
    spaced.nfd().filter(|c| !c.is_mark_nonspacing()).flat_map(char::to_lowercase)
}

fn is_kept(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || !(c == char::REPLACEMENT_CHARACTER || c.is_other())
}

/// What stands alone, whatever is beside it. BERT counts all of ASCII that is neither letter nor digit.
fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.is_punctuation()
}

/// Unicode's blocks of CJK ideographs as BERT lists them: each is a word. Kana and Hangul are written in words, and not among them.
fn is_ideograph(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\naff\n東\n.\n[\n]\nmask\n##a\na\nsep\n";

    /// The pieces of a text, without those of beginning and end.
    fn pieces(text: &str) -> Vec<&'static str> {
        let tokenizer = Tokenizer::new(VOCABULARY.as_bytes()).unwrap();
        let ids = tokenizer.ids(text, 64);
        let names: Vec<&str> = ids.iter().map(|id| VOCABULARY.lines().nth(*id as usize).unwrap()).collect();
        let [first, inner @ .., last] = &names[..] else { panic!("{names:?}") };
        assert_eq!((*first, *last), ("[CLS]", "[SEP]"));
        inner.to_vec()
    }

    #[test]
    fn texts_have_their_pieces() {
        let a100 = "a".repeat(100);
        let rows: [(&str, &[&str]); 12] = [
            ("", &[]),
            (" \t\r\n\u{3000}", &[]),
            ("unaffable", &["un", "##aff", "##able"]),
            ("UnÁffablé", &["un", "##aff", "##able"]),
            ("un\u{200b}aff\u{0}able\u{fffd}", &["un", "##aff", "##able"]),
            ("unaffx aff", &["[UNK]", "aff"]),
            ("aff.aff", &["aff", ".", "aff"]),
            ("aff東東", &["aff", "東", "東"]),
            ("aff[MASK]aff [mask]", &["aff", "[MASK]", "aff", "[", "mask", "]"]),
            ("[[SEP]", &["[", "[SEP]"]),
            (&format!("{a100}a"), &["[UNK]"]),
            ("a\u{a0}a", &["a", "a"]),
        ];
        for (text, want) in rows {
            assert_eq!(pieces(text), want, "{text:?}");
        }
        assert_eq!(pieces(&a100).len(), 62, "100 pieces, as many as there is room for");
    }

    #[test]
    fn a_text_without_room_is_cut_off_at_its_end() {
        let tokenizer = Tokenizer::new(VOCABULARY.as_bytes()).unwrap();
        assert_eq!(tokenizer.ids("un aff a", 5), [2, 5, 8, 15, 3]);
        assert_eq!(tokenizer.ids("un aff a", 4), [2, 5, 8, 3]);
        assert_eq!(tokenizer.ids("unaffable", 3), [2, 5, 3]);
        assert_eq!(tokenizer.ids("un aff a", 2), [2, 3]);
    }

    #[test]
    fn what_is_no_vocabulary_is_refused() {
        assert_eq!(Tokenizer::new(b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nun").unwrap_err(), VocabularyError::NoPiece("[MASK]"));
        assert!(matches!(Tokenizer::new(b"[PAD]\n\xff").unwrap_err(), VocabularyError::NoText(_)));
    }
}
