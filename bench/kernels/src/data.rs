//! Data structures.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::random::{Random, mix};

/// Sorts 64 Ki numbers; a size counts sorts.
pub(crate) fn sort(size: u32) -> u64 {
    const NUMBERS: usize = 64 << 10;
    let mut random = Random::new(5);
    let mut sum = 0;
    let mut numbers = vec![0; NUMBERS];
    for _ in 0..size {
        numbers.fill_with(|| random.next());
        numbers.sort_unstable();
        sum = numbers.iter().step_by(97).fold(sum, |sum, number| mix(sum ^ number));
    }
    sum
}

/// A hasher that is the same everywhere, where the standard one starts from what the host says.
#[derive(Debug, Default)]
pub(crate) struct FixedHasher(u64);

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word);
    }

    /// Lengths, whose width differs between guest and host.
    fn write_usize(&mut self, length: usize) {
        self.write_u64(length as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map whose order and collisions are the same everywhere.
pub(crate) type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<FixedHasher>>;

/// Counts among 8 Ki keys as they come, looks up twice as often, and forgets one in sixteen; a size counts 64 Ki keys that come.
pub(crate) fn hash_map(size: u32) -> u64 {
    const OPERATIONS: u32 = 64 << 10;
    const KEYS: u32 = 8 << 10;
    let mut random = Random::new(7);
    let mut key = || u64::from(random.below(KEYS)) * 0x9e37_79b9;
    let mut map: FixedMap<u64, u64> = FixedMap::default();
    let mut sum = 0u64;
    for n in 0..size * OPERATIONS {
        *map.entry(key()).or_insert(1) += 1;
        for _ in 0..2 {
            sum = sum.wrapping_add(map.get(&key()).copied().unwrap_or(3));
        }
        if n % 16 == 0 {
            sum = sum.wrapping_add(map.remove(&key()).unwrap_or(5));
        }
    }
    mix(sum) ^ map.len() as u64
}

/// A node with two children or none.
#[derive(Debug)]
struct Tree {
    children: Option<(Box<Self>, Box<Self>)>,
}

impl Tree {
    fn grow(depth: u32) -> Self {
        let child = || Box::new(Self::grow(depth - 1));
        Self { children: (depth > 0).then(|| (child(), child())) }
    }

    fn nodes(&self) -> u64 {
        1 + self.children.as_ref().map_or(0, |(left, right)| left.nodes() + right.nodes())
    }
}

/// Builds, counts and drops trees of 16 Ki nodes, which is what an allocator is for; a size counts trees, of which one in four lives on.
pub(crate) fn binary_tree(size: u32) -> u64 {
    const DEPTH: u32 = 13;
    let mut kept = Tree::grow(DEPTH);
    let mut sum = 0;
    for n in 0..size {
        let tree = Tree::grow(DEPTH - (n & 3));
        sum = mix(sum ^ tree.nodes());
        if n & 3 == 0 {
            sum ^= kept.nodes();
            kept = tree;
        }
    }
    sum
}

/// The edit distance of texts of 2,000 letters, a line of the table at a time; a size counts pairs of texts.
pub(crate) fn edit_distance(size: u32) -> u64 {
    const LETTERS: usize = 2_000;
    let mut random = Random::new(13);
    let mut sum = u64::from(size);
    for _ in 0..size {
        let [a, b] = [(); 2].map(|()| (0..LETTERS).map(|_| random.below(4) as u8).collect::<Vec<u8>>());
        sum = mix(sum ^ u64::from(distance(&a, &b)));
    }
    sum
}

fn distance(a: &[u8], b: &[u8]) -> u32 {
    let mut line: Vec<u32> = (0..=b.len() as u32).collect();
    for (row, x) in a.iter().enumerate() {
        let mut corner = line[0];
        line[0] = row as u32 + 1;
        let mut left = line[0];
        for (y, cell) in b.iter().zip(&mut line[1..]) {
            let best = (corner + u32::from(x != y)).min(left + 1).min(*cell + 1);
            corner = *cell;
            *cell = best;
            left = best;
        }
    }
    line.last().copied().unwrap_or(0)
}
