//! Fuzz targets on stable Rust: an oracle over its seeds, and over what a seeded generator makes of them. The tests of each crate that has
//! oracles include this file.
//!
//! With `ADIT_FUZZ_SECONDS` each goes on for so long, from round `ADIT_FUZZ_FROM`. Where `ADIT_FUZZ_CORPUS` names a folder, the seeds are
//! written there too, a file each, for cargo-fuzz to begin with.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A target's seeds, by name.
pub(crate) type Seeds = Vec<(String, Vec<u8>)>;

/// How many inputs are tried beyond the seeds, where the environment does not say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: u64,
    /// A slow machine tries less.
    pub(crate) time_max: Duration,
}

/// How many inputs there were, and how many of them the oracle could say something about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tried {
    pub(crate) inputs: u64,
    pub(crate) taken: u64,
}

/// Seeds that are made here.
pub(crate) fn seeds<const N: usize>(seeds: [(&str, Vec<u8>); N]) -> Seeds {
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// Calls `check` with every seed of a target, and then with what `mutate` makes of them in each round, until there are enough or time is up.
/// `check` says whether the input was more than any bytes, which a seed must be.
#[allow(clippy::disallowed_methods, reason = "how long a test goes on is nothing that a program records")]
pub(crate) fn each_input(
    target: &str,
    seeds: &Seeds,
    effort: Effort,
    mutate: impl Fn(&Seeds, u64) -> Vec<u8>,
    mut check: impl FnMut(&[u8]) -> bool,
) -> Tried {
    let begun = Instant::now();
    for (name, bytes) in seeds {
        if let Some(corpus) = std::env::var_os("ADIT_FUZZ_CORPUS") {
            let folder = Path::new(&corpus).join(target);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), bytes).unwrap();
        }
        println!("seed {name}");
        assert!(check(bytes), "seed {name} is nothing");
    }
    let Effort { rounds, time_max } = match number("ADIT_FUZZ_SECONDS") {
        Some(seconds) => Effort { rounds: u64::MAX, time_max: Duration::from_secs(seconds) },
        None => effort,
    };
    let first = number("ADIT_FUZZ_FROM").unwrap_or(0);
    let mut tried = Tried { inputs: 0, taken: 0 };
    while tried.inputs < rounds && begun.elapsed() < time_max {
        let round = first + tried.inputs;
        let _told = TellRound(round);
        tried.taken += u64::from(check(&mutate(seeds, round)));
        tried.inputs += 1;
    }
    println!("{target}: {} of {} inputs were more than any bytes", tried.taken, tried.inputs);
    tried
}

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Says which round it was, if that ends in a panic.
struct TellRound(u64);

impl Drop for TellRound {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("that was round {}", self.0);
        }
    }
}

/// A seed with a few changes or with a part of another one, or other bytes. What is inserted is of `inserted`.
pub(crate) fn mutated(seeds: &Seeds, round: u64, inserted: &[u8]) -> Vec<u8> {
    // SplitMix64.
    let mut state = round;
    let mut next = |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % below.max(1)
    };
    if next(8) == 0 {
        return (0..next(400)).map(|_| next(256) as u8).collect();
    }
    let mut bytes = seeds[next(seeds.len())].1.clone();
    for _ in 0..next(4) {
        let at = next(bytes.len());
        match next(8) {
            _ if bytes.is_empty() => bytes.push(next(256) as u8),
            0 => bytes[at] = next(256) as u8,
            1 | 2 => bytes[at] ^= 1 << next(8),
            3 => bytes.insert(at, inserted[next(inserted.len())]),
            4 => drop(bytes.remove(at)),
            5 => bytes.truncate(at),
            6 => bytes.extend_from_within(at..),
            _ => {
                let other = &seeds[next(seeds.len())].1;
                let part = next(other.len())..other.len();
                bytes.splice(at.., other[part].iter().copied());
            }
        }
    }
    bytes
}
