//! The Merkle tree over the leaves (RFC 6962, section 2.1), kept in tiles of 256 hashes as C2SP's tlog-tiles publishes them.
//!
//! Hashes, proofs and the arithmetic of tiles are the crate `tlog_tiles`'; here is where the tiles lie.

use std::cell::RefCell;
use std::collections::HashMap;

use redb::ReadableTable;
use tlog_tiles::{Error, Hash, HashReader, Tile, record_hash, split_stored_hash_index, stored_hash_index, tree_hash};

use crate::{Corruption, StoreError};

/// The logarithm of a tile's hashes: tlog-tiles fixes it.
pub(crate) const TILE_HEIGHT: u8 = 8;
/// Hashes of a full tile.
pub(crate) const TILE_HASHES: usize = 1 << TILE_HEIGHT;
/// Bytes of a hash.
pub(crate) const HASH_BYTES: usize = 32;

/// A tile's place: its level, and its index in that.
pub(crate) type Place = (u8, u64);

/// The tiles at the right edge of the tree: all that appending needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    size: u64,
    /// The last tile of each level, which is never full, from the leaves' level up.
    tiles: Vec<Vec<u8>>,
}

/// The tree's size and its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// How many leaves.
    pub size: u64,
    /// The root over them; of no leaves, the hash of nothing.
    pub root: [u8; HASH_BYTES],
}

impl Edge {
    /// Reads the edge of a tree of `size` leaves, which has neither more nor fewer hashes than that.
    pub(crate) fn read(size: u64, tiles: &impl ReadableTable<Place, &'static [u8]>) -> Result<Self, StoreError> {
        let mut edge = Self { size, tiles: Vec::new() };
        for level in 0..levels(size) {
            let hashes = size >> (TILE_HEIGHT * level);
            let (index, width) = (hashes >> TILE_HEIGHT, hashes as usize % TILE_HASHES);
            let tile = tiles.get((level, index))?.map_or(Vec::new(), |tile| tile.value().to_vec());
            if tile.len() != width * HASH_BYTES {
                return Err(damaged((level, index)));
            }
            edge.tiles.push(tile);
        }
        Ok(edge)
    }

    /// Checks that each hash of the edge is that of what lies under it: of its leaf, or of the full tile below. The tree's root is made of the
    /// edge alone, so a root that is signed is that of these leaves. A level has 255 hashes at most.
    pub(crate) fn check(
        &self,
        leaves: &impl ReadableTable<u64, &'static [u8]>,
        tiles: &impl ReadableTable<Place, &'static [u8]>,
    ) -> Result<(), StoreError> {
        for (level, tile) in self.tiles.iter().enumerate() {
            let first = self.size >> (usize::from(TILE_HEIGHT) * (level + 1)) << TILE_HEIGHT;
            for (index, hash) in (first..).zip(tile.chunks_exact(HASH_BYTES)) {
                let corrupt = |fault| StoreError::Corrupt { index, fault };
                let (due, fault) = match (level as u8).checked_sub(1) {
                    Some(level) => {
                        (Tile::subtree_hash(&read_tile(tiles, (level, index), TILE_HASHES)?), Corruption::Hashes { level })
                    }
                    None => {
                        let leaf = leaves.get(index)?.ok_or(corrupt(Corruption::Missing))?;
                        (record_hash(leaf.value()), Corruption::Leaf)
                    }
                };
                if hash != due.0 {
                    return Err(corrupt(fault));
                }
            }
        }
        Ok(())
    }

    /// How many leaves there are.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf. Full tiles are put into `full`, and what is over them is hashed then: each hash once.
    pub(crate) fn push(&mut self, leaf: &[u8], full: &mut Vec<(Place, Vec<u8>)>) {
        let (mut pushed, mut level) = (Some(record_hash(leaf)), 0);
        while let Some(hash) = pushed.take() {
            if level == self.tiles.len() {
                self.tiles.push(Vec::new());
            }
            let tile = &mut self.tiles[level];
            tile.extend_from_slice(&hash.0);
            if tile.len() == TILE_HASHES * HASH_BYTES {
                pushed = Some(Tile::subtree_hash(tile));
                let index = self.size >> (usize::from(TILE_HEIGHT) * (level + 1));
                full.push(((level as u8, index), std::mem::take(tile)));
            }
            level += 1;
        }
        self.size += 1;
    }

    /// The last tile of each level, where it has any hashes.
    pub(crate) fn partial(&self) -> impl Iterator<Item = (Place, &[u8])> {
        let tiles = self.tiles.iter().enumerate().filter(|(_, tile)| !tile.is_empty());
        tiles.map(|(level, tile)| ((level as u8, self.size >> (usize::from(TILE_HEIGHT) * (level + 1))), tile.as_slice()))
    }

    /// The tree as it is.
    pub(crate) fn head(&self) -> TreeHead {
        let root = tree_hash(self.size, self).expect("the edge has what the root is made of");
        TreeHead { size: self.size, root: root.0 }
    }
}

impl HashReader for Edge {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let read = |index: &u64| {
            let tile = Tile::from_index(TILE_HEIGHT, *index);
            let data = self.tiles.get(usize::from(tile.level())).ok_or(Error::IndexesNotInTree)?;
            tile.hash_at_index(data, *index)
        };
        indexes.iter().map(read).collect()
    }
}

/// Levels of tiles that a tree of so many leaves has.
fn levels(size: u64) -> u8 {
    let mut levels = 0;
    while size >> (TILE_HEIGHT * levels) > 0 {
        levels += 1;
    }
    levels
}

/// Reads a tile, of which the first `width` hashes are wanted.
pub(crate) fn read_tile(
    tiles: &impl ReadableTable<Place, &'static [u8]>,
    place: Place,
    width: usize,
) -> Result<Vec<u8>, StoreError> {
    let tile = tiles.get(place)?.ok_or_else(|| damaged(place))?;
    Ok(tile.value().get(..width * HASH_BYTES).ok_or_else(|| damaged(place))?.to_vec())
}

/// Reads a full tile, of which the level above has the hash as soon as it is full.
pub(crate) fn read_full_tile(
    tiles: &impl ReadableTable<Place, &'static [u8]>,
    place @ (level, index): Place,
) -> Result<Vec<u8>, StoreError> {
    let tile = read_tile(tiles, place, TILE_HASHES)?;
    let above = (level + 1, index >> TILE_HEIGHT);
    if read_hash(tiles, above, index as usize % TILE_HASHES)? != Tile::subtree_hash(&tile).0 {
        return Err(StoreError::Corrupt { index, fault: Corruption::Hashes { level } });
    }
    Ok(tile)
}

/// Reads one hash of a tile.
pub(crate) fn read_hash(
    tiles: &impl ReadableTable<Place, &'static [u8]>,
    place: Place,
    at: usize,
) -> Result<[u8; HASH_BYTES], StoreError> {
    let tile = tiles.get(place)?.ok_or_else(|| damaged(place))?;
    let hash = tile.value().get(at * HASH_BYTES..).and_then(<[u8]>::first_chunk);
    hash.copied().ok_or_else(|| damaged(place))
}

fn damaged((level, index): Place) -> StoreError {
    StoreError::Corrupt { index, fault: Corruption::Tile { level } }
}

/// The tree as a transaction sees it, for proofs.
pub(crate) struct Tiles<'t, T> {
    table: &'t T,
    read: RefCell<HashMap<Place, Vec<u8>>>,
    /// What kept a hash from being read: the proofs' own error cannot say.
    failure: RefCell<Option<StoreError>>,
}

impl<'t, T: ReadableTable<Place, &'static [u8]>> Tiles<'t, T> {
    pub(crate) fn new(table: &'t T) -> Self {
        Self { table, read: RefCell::default(), failure: RefCell::default() }
    }

    /// Makes a proof by `make`.
    pub(crate) fn prove(self, make: impl FnOnce(&Self) -> Result<Vec<Hash>, Error>) -> Result<Vec<[u8; HASH_BYTES]>, StoreError> {
        match make(&self) {
            Ok(hashes) => Ok(hashes.into_iter().map(|hash| hash.0).collect()),
            Err(_) => {
                Err(self.failure.into_inner().expect("only a store that fails keeps a proof within the tree from being made"))
            }
        }
    }

    fn hash(&self, index: u64) -> Result<Hash, StoreError> {
        let tile = Tile::from_index(TILE_HEIGHT, index);
        let place = (tile.level(), tile.level_index());
        let (mut read, width) = (self.read.borrow_mut(), tile.width() as usize);
        if read.get(&place).is_none_or(|data| data.len() < width * HASH_BYTES) {
            read.insert(place, read_tile(self.table, place, width)?);
        }
        tile.hash_at_index(&read[&place], index).map_err(|_| damaged(place))
    }
}

impl<T: ReadableTable<Place, &'static [u8]>> HashReader for Tiles<'_, T> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hashes = indexes.iter().map(|index| self.hash(*index)).collect::<Result<_, _>>();
        hashes.map_err(|error| {
            *self.failure.borrow_mut() = Some(error);
            Error::IndexesNotInTree
        })
    }
}

/// Where the hash of leaf `index` is: its tile, and its position in that.
pub(crate) fn leaf_place(index: u64) -> (Place, usize) {
    debug_assert_eq!(split_stored_hash_index(stored_hash_index(0, index)), (0, index));
    ((0, index >> TILE_HEIGHT), index as usize % TILE_HASHES)
}
