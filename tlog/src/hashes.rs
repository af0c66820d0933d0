//! The hashes of a log's tree (RFC 6962, section 2.1), of many leaves or nodes at a time. An auditor's time goes to them above all.
//!
//! SHA-256 waits for itself: each of its rounds needs the one before, and a processor with instructions for it could do those of two messages
//! in the time. So messages are taken in pairs, block by block in turn, which a processor that looks ahead does at once.

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;
use tlog_tiles::{HASH_SIZE, Hash};

/// Bytes that SHA-256 takes at a time.
const BLOCK_BYTES: usize = 64;

/// What a leaf's bytes stand behind, so that no leaf is taken for a node.
const LEAF_PREFIX: u8 = 0;
/// What the two hashes below a node stand behind.
const NODE_PREFIX: u8 = 1;

/// The hashes of leaves, one behind the other.
pub(crate) fn record_hashes(leaves: &[&[u8]]) -> Vec<u8> {
    hashes(LEAF_PREFIX, leaves)
}

/// The hash over those of a full tile, or of any number that is a power of two.
pub(crate) fn subtree_hash(tile: &[u8]) -> Hash {
    let mut level = tile.to_vec();
    while level.len() > HASH_SIZE {
        let (nodes, _) = level.as_chunks::<{ 2 * HASH_SIZE }>();
        level = hashes(NODE_PREFIX, nodes);
    }
    Hash(*level.first_chunk().expect("a tile has a hash at least"))
}

/// The hashes of messages, each behind a prefix.
fn hashes(prefix: u8, messages: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut hashes = Vec::with_capacity(messages.len() * HASH_SIZE);
    let (pairs, alone) = messages.as_chunks();
    for [first, second] in pairs {
        let mut both = [Sha256::default(), Sha256::default()];
        let [a, b] = &mut both;
        let (mut first, mut second) = (Blocks::new(prefix, first.as_ref()), Blocks::new(prefix, second.as_ref()));
        while a.take(&mut first) | b.take(&mut second) {}
        hashes.extend(both.into_iter().flat_map(Sha256::into_bytes));
    }
    for message in alone {
        let (mut hash, mut blocks) = (Sha256::default(), Blocks::new(prefix, message.as_ref()));
        while hash.take(&mut blocks) {}
        hashes.extend(hash.into_bytes());
    }
    hashes
}

/// SHA-256 (FIPS 180-4, section 6.2) over some blocks.
struct Sha256([u32; 8]);

impl Default for Sha256 {
    /// FIPS 180-4, section 5.3.3.
    fn default() -> Self {
        Self([0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19])
    }
}

impl Sha256 {
    /// Takes in the next block, if there is one.
    fn take(&mut self, blocks: &mut Blocks<'_>) -> bool {
        blocks.with_next(|block| compress256(&mut self.0, std::slice::from_ref(GenericArray::from_slice(block))))
    }

    fn into_bytes(self) -> [u8; HASH_SIZE] {
        let mut bytes = [0; HASH_SIZE];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.0) {
            *bytes = word.to_be_bytes();
        }
        bytes
    }
}

/// A message behind its prefix, padded (FIPS 180-4, section 5.1.1), block by block.
struct Blocks<'m> {
    /// What is left of the message.
    rest: &'m [u8],
    /// Bits of the prefix and the message.
    bits: u64,
    next: Next,
}

/// What a message's next block is.
#[derive(Clone, Copy)]
enum Next {
    /// The one with the prefix.
    First(u8),
    /// One with more of the message, and at its end a one.
    Message,
    /// One behind that one, of nothing but the length.
    Length,
    /// None.
    None,
}

impl<'m> Blocks<'m> {
    fn new(prefix: u8, message: &'m [u8]) -> Self {
        Self { rest: message, bits: 8 * (1 + message.len() as u64), next: Next::First(prefix) }
    }

    /// Has `take` take the next block, if there is one.
    fn with_next(&mut self, take: impl FnOnce(&[u8; BLOCK_BYTES])) -> bool {
        let mut block = [0; BLOCK_BYTES];
        let at = match self.next {
            Next::None => return false,
            Next::First(prefix) => {
                block[0] = prefix;
                1
            }
            Next::Message | Next::Length => 0,
        };
        if let Next::Length = self.next {
            self.end(&mut block);
        } else if let Some((message, rest)) = self.rest.split_at_checked(BLOCK_BYTES - at) {
            (self.rest, self.next) = (rest, Next::Message);
            if let Some(whole) = message.first_chunk() {
                take(whole);
                return true;
            }
            block[at..].copy_from_slice(message);
        } else {
            let end = at + self.rest.len();
            block[at..end].copy_from_slice(self.rest);
            block[end] = 0x80;
            if end < BLOCK_BYTES - size_of::<u64>() { self.end(&mut block) } else { self.next = Next::Length }
        }
        take(&block);
        true
    }

    /// Writes the length, behind which there is nothing.
    fn end(&mut self, block: &mut [u8; BLOCK_BYTES]) {
        *block.last_chunk_mut().expect("a block is longer than its length") = self.bits.to_be_bytes();
        self.next = Next::None;
    }
}

#[cfg(test)]
mod tests {
    use tlog_tiles::{Tile, record_hash};

    use super::*;

    #[test]
    fn leaves_of_all_lengths_have_the_hashes_that_they_have_alone() {
        let bytes: Vec<u8> = (0..=255).cycle().take(700).collect();
        for length in 0..300 {
            // Beside a shorter one, one as long and a longer one, first and second, and alone.
            for other in [0, length / 2, length, length + 1, length + 64, 2 * length + 100] {
                let leaves =
                    [&bytes[..length], &bytes[1..1 + other], &bytes[..other], &bytes[1..1 + length], &bytes[2..2 + length]];
                let due: Vec<u8> = leaves.iter().flat_map(|leaf| record_hash(leaf).0).collect();
                assert_eq!(record_hashes(&leaves), due, "{length} and {other}");
            }
        }
        assert!(record_hashes(&[]).is_empty());
    }

    #[test]
    fn subtree_has_the_hash_of_its_tile() {
        let tile: Vec<u8> = (0..256u32).flat_map(|n| record_hash(&n.to_le_bytes()).0).collect();
        for height in 0..=8 {
            let hashes = &tile[..HASH_SIZE << height];
            assert_eq!(subtree_hash(hashes), Tile::subtree_hash(hashes), "{height}");
        }
    }
}
