//! Text, as services read and write it.

use std::fmt::Write as _;

use regex::bytes::Regex;
use serde_json::Value;

use crate::data::FixedMap;
use crate::random::{Random, mix};

/// Bytes of the text that is scanned.
const TEXT_BYTES: usize = 256 << 10;

/// Counts the words of 256 KiB; a size counts passes over the text.
pub(crate) fn words(size: u32) -> u64 {
    let text = prose();
    let mut sum = 0u64;
    for round in 0..size {
        let mut counts: FixedMap<&[u8], u32> = FixedMap::default();
        for word in text.split(|byte| !byte.is_ascii_alphabetic()).filter(|word| word.len() > 1) {
            *counts.entry(word).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        sum = mix(sum ^ (counts.len() as u64) << 32 ^ u64::from(most) ^ u64::from(round));
    }
    sum
}

/// Reads a document of 100 KiB, changes a number in it and writes it again; a size counts documents.
pub(crate) fn json(size: u32) -> u64 {
    let mut text = document(800);
    let mut sum = 0;
    for n in 0..size {
        let mut value: Value = serde_json::from_str(&text).unwrap_or_default();
        value["version"] = n.into();
        text = value.to_string();
        sum = text.bytes().step_by(101).fold(sum ^ text.len() as u64, |sum, byte| mix(sum ^ u64::from(byte)));
    }
    sum
}

/// Searches 256 KiB for dates, addresses and capitals; a size counts passes over the text.
pub(crate) fn regex(size: u32) -> u64 {
    let text = prose();
    let patterns = [r"([0-9]{4})-([0-9]{2})-([0-9]{2})", r"[a-z]+@[a-z]+\.(com|org|net)", r"\b[A-Z][a-z]*(ing|ed)\b"];
    let patterns: Vec<Regex> = patterns.iter().filter_map(|pattern| Regex::new(&format!("(?-u){pattern}")).ok()).collect();
    let mut sum = 0;
    for round in 0..size {
        for pattern in &patterns {
            let (mut matches, mut bytes) = (0u64, 0u64);
            for found in pattern.find_iter(&text) {
                matches += 1;
                bytes += found.range().len() as u64;
            }
            sum = mix(sum ^ matches << 32 ^ bytes ^ u64::from(round));
        }
    }
    sum
}

/// Words of uneven frequency, with a date or an address now and then.
fn prose() -> Vec<u8> {
    let mut random = Random::new(17);
    let mut text = String::with_capacity(TEXT_BYTES + 64);
    while text.len() < TEXT_BYTES {
        // A String takes whatever is written to it.
        let _ = match random.below(64) {
            0 => write!(text, "{}-{:02}-{:02} ", 1900 + random.below(130), 1 + random.below(12), 1 + random.below(28)),
            1 => write!(text, "{}@{}.org ", word(&mut random), word(&mut random)),
            2..=9 => write!(text, "{}{}. ", capital(&word(&mut random)), ["ing", "ed", "s", ""][random.below(4) as usize]),
            _ => write!(text, "{} ", word(&mut random)),
        };
    }
    text.into_bytes()
}

/// One of some thousand words: few of them often, most of them seldom.
fn word(random: &mut Random) -> String {
    const SYLLABLES: [&str; 16] =
        ["ka", "lo", "mi", "ter", "an", "so", "ven", "du", "ri", "pel", "ha", "no", "sti", "gra", "ub", "el"];
    let rank = random.unit();
    let mut code = (rank * rank * rank * 4096.0) as usize;
    let mut word = String::from(SYLLABLES[code % 16]);
    while code >= 16 {
        code /= 16;
        word.push_str(SYLLABLES[code % 16]);
    }
    word
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

/// A list of things with texts, numbers and lists in them.
fn document(entries: u32) -> String {
    let mut random = Random::new(19);
    let mut text = String::from("{\"version\":0,\"entries\":[");
    for n in 0..entries {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(
            text,
            "{comma}{{\"id\":{n},\"name\":\"{} \\\"{}\\\"\",\"price\":{}.{:02},\"tags\":[\"{}\",\"{}\",null],\"size\":[{},-{}],\"sold\":{}}}",
            word(&mut random),
            capital(&word(&mut random)),
            random.below(1_000),
            random.below(100),
            word(&mut random),
            word(&mut random),
            random.below(100_000),
            random.below(1_000_000),
            random.below(2) == 0,
        );
    }
    text + "]}"
}
