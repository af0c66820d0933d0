//! A tree in memory, for tests.

use adit_ledger::TreeHead;
use tlog_tiles::{Error, Hash, HashReader, prove_record, prove_tree, stored_hashes, tree_hash};

#[derive(Default)]
pub(crate) struct Tree {
    size: u64,
    hashes: Vec<Hash>,
}

impl Tree {
    pub(crate) fn of(leaves: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut tree = Self::default();
        for leaf in leaves {
            let hashes = stored_hashes(tree.size, &leaf, &tree).unwrap();
            tree.hashes.extend(hashes);
            tree.size += 1;
        }
        tree
    }

    pub(crate) fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: tree_hash(self.size, self).unwrap().0 }
    }

    pub(crate) fn prove_leaf(&self, index: u64) -> Vec<[u8; 32]> {
        prove_record(self.size, index, self).unwrap().into_iter().map(|hash| hash.0).collect()
    }

    /// That the first `old` leaves are those of an earlier tree; nothing of no leaves.
    pub(crate) fn prove_growth(&self, old: u64) -> Vec<[u8; 32]> {
        if old == 0 { Vec::new() } else { prove_tree(self.size, old, self).unwrap().into_iter().map(|hash| hash.0).collect() }
    }
}

impl HashReader for Tree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        indexes.iter().map(|index| self.hashes.get(*index as usize).copied().ok_or(Error::IndexesNotInTree)).collect()
    }
}
