//! How a log shows that it grew, and what it shows where it did not: hashes that make the root of one tree and of its beginning.

use adit_ledger::TreeHead;
use adit_protocol::PublicKey;
use serde::{Deserialize, Serialize};
use tlog_tiles::{EMPTY_HASH, HASH_SIZE, Hash, node_hash};

use crate::checkpoint::{CheckpointError, verify_checkpoint};
use crate::source::LEAVES_MAX;

/// The first field of an evidence file.
const FORMAT: &str = "adit log evidence v1";

/// Two checkpoints of one gateway and the hashes that show how they stand to each other. What they show, [`LogEvidence::check`] tells; it needs
/// nothing but this and the gateway's key.
///
/// The hashes are those of RFC 6962's consistency proof (section 2.1.2) from the smaller tree to the larger, made such that they lead to both
/// roots by themselves: from left to right, the largest perfect subtrees of which the smaller tree consists, then those that the larger one
/// has behind it. Hashes that lead to the larger tree's root are under the gateway's signature, and so is the beginning that they make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvidence {
    /// Whose log.
    pub gateway: PublicKey,
    /// The checkpoint of the smaller tree, a signed note.
    pub smaller: Vec<u8>,
    /// The checkpoint of the larger tree, or another of the same size.
    pub larger: Vec<u8>,
    /// What shows that the smaller tree is no beginning of the larger; empty for two trees of one size.
    pub hashes: Vec<[u8; HASH_SIZE]>,
}

/// What a gateway did that no honest gateway does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misbehaviour {
    /// It signed two roots for one size: it shows different logs to different people.
    Forked {
        /// Leaves.
        size: u64,
        /// One root, and the other.
        roots: [[u8; HASH_SIZE]; 2],
    },
    /// It signed a tree, and then a larger one that does not begin with it: leaves were changed or taken out.
    Rewritten {
        /// The smaller tree, as it was signed.
        smaller: TreeHead,
        /// The root of as many leaves in the larger tree.
        beginning: [u8; HASH_SIZE],
        /// The larger tree.
        larger: TreeHead,
    },
}

/// LogEvidence that shows no misbehaviour.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogEvidenceError {
    /// It is no evidence file.
    #[error("no evidence: {0}")]
    Encoding(String),
    /// One of the checkpoints is not signed by the gateway, so that the gateway need not answer for it.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The hashes do not lead to the larger tree's root: they are not under the gateway's signature.
    #[error("the hashes do not lead to the root that the gateway signed")]
    Hashes,
    /// Both checkpoints can be an honest gateway's.
    #[error("both checkpoints are the gateway's, of {smaller} and {larger} leaves, and nothing here shows that they disagree")]
    Agrees {
        /// Leaves of one.
        smaller: u64,
        /// Leaves of the other.
        larger: u64,
    },
}

/// As it stands in a file: notes are text.
#[derive(Serialize, Deserialize)]
struct EvidenceFile {
    format: String,
    gateway: String,
    smaller: String,
    larger: String,
    hashes: Vec<String>,
}

impl LogEvidence {
    /// The file: one JSON object.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = |note: &[u8]| String::from_utf8_lossy(note).into_owned();
        let file = EvidenceFile {
            format: FORMAT.into(),
            gateway: self.gateway.to_string(),
            smaller: text(&self.smaller),
            larger: text(&self.larger),
            hashes: self.hashes.iter().map(|hash| Hash(*hash).to_string()).collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("text encodes");
        bytes.push(b'\n');
        bytes
    }

    /// Reads what [`LogEvidence::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`LogEvidenceError::Encoding`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LogEvidenceError> {
        let wrong = |error: &dyn std::fmt::Display| LogEvidenceError::Encoding(error.to_string());
        let file: EvidenceFile = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
        if file.format != FORMAT {
            return Err(wrong(&format_args!("its format is `{}`", file.format)));
        }
        let hash = |text: &String| Hash::parse_hash(text).map(|hash| hash.0).map_err(|error| wrong(&error));
        Ok(Self {
            gateway: file.gateway.parse().map_err(|error| wrong(&error))?,
            smaller: file.smaller.into_bytes(),
            larger: file.larger.into_bytes(),
            hashes: file.hashes.iter().map(hash).collect::<Result<_, _>>()?,
        })
    }

    /// What the gateway did.
    ///
    /// # Errors
    /// [`LogEvidenceError`] where this does not show that it did anything.
    pub fn check(&self) -> Result<Misbehaviour, LogEvidenceError> {
        let smaller = verify_checkpoint(&self.smaller, &self.gateway)?;
        let larger = verify_checkpoint(&self.larger, &self.gateway)?;
        let agrees = LogEvidenceError::Agrees { smaller: smaller.size, larger: larger.size };
        if smaller.size == larger.size {
            let roots = [smaller.root, larger.root];
            return if roots[0] == roots[1] { Err(agrees) } else { Ok(Misbehaviour::Forked { size: smaller.size, roots }) };
        }
        if smaller.size > larger.size || self.hashes.is_empty() {
            return Err(agrees);
        }
        let beginning = beginning(&larger, smaller.size, &self.hashes).ok_or(LogEvidenceError::Hashes)?;
        if beginning == smaller.root {
            return Err(agrees);
        }
        Ok(Misbehaviour::Rewritten { smaller, beginning, larger })
    }
}

/// A perfect subtree: the hash over the `1 << height` leaves from `index << height` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subtree {
    pub(crate) height: u8,
    pub(crate) index: u64,
}

/// The subtrees whose hashes show what the first `size` of `of` leaves are, from left to right.
pub(crate) fn subtrees(size: u64, of: u64) -> Vec<Subtree> {
    let mut subtrees = Vec::new();
    add_subtrees(0, of, size, &mut subtrees);
    subtrees
}

fn add_subtrees(from: u64, to: u64, border: u64, subtrees: &mut Vec<Subtree>) {
    if border <= from || border >= to {
        return subtrees.extend(perfect(from, to));
    }
    let middle = middle(from, to);
    add_subtrees(from, middle, border, subtrees);
    add_subtrees(middle, to, border, subtrees);
}

/// The perfect subtrees of which a tree over these leaves consists. It begins where a tree so large may.
fn perfect(mut from: u64, to: u64) -> impl Iterator<Item = Subtree> {
    std::iter::from_fn(move || {
        let height = (to - from).checked_ilog2()? as u8;
        let subtree = Subtree { height, index: from >> height };
        from += 1 << height;
        Some(subtree)
    })
}

/// Where RFC 6962 splits a tree of two leaves or more: at the largest power of two below its size.
fn middle(from: u64, to: u64) -> u64 {
    from + (1 << (to - from - 1).ilog2())
}

/// The root of the first `size` leaves of a tree, from the hashes of its [`subtrees`]; nothing where these do not lead to its root.
pub(crate) fn beginning(tree: &TreeHead, size: u64, hashes: &[[u8; HASH_SIZE]]) -> Option<[u8; HASH_SIZE]> {
    if tree.size > LEAVES_MAX || size > tree.size {
        return None;
    }
    let mut hashes = hashes.iter().copied().map(Hash);
    let (beginning, root) = match tree.size {
        0 => (None, EMPTY_HASH),
        _ => climb(0, tree.size, size, &mut hashes)?,
    };
    (root.0 == tree.root && hashes.next().is_none()).then_some(beginning.unwrap_or(EMPTY_HASH).0)
}

/// The root over the leaves of a range before the border, where it has some, and that over all of them.
fn climb(from: u64, to: u64, border: u64, hashes: &mut impl Iterator<Item = Hash>) -> Option<(Option<Hash>, Hash)> {
    if border <= from || border >= to {
        let parts: Vec<Hash> = perfect(from, to).map(|_| hashes.next()).collect::<Option<_>>()?;
        let root = parts.into_iter().rev().reduce(|right, left| node_hash(left, right))?;
        return Some(((border >= to).then_some(root), root));
    }
    let middle = middle(from, to);
    let (left_part, left) = climb(from, middle, border, hashes)?;
    let (right_part, right) = climb(middle, to, border, hashes)?;
    let part = match right_part {
        Some(right_part) => node_hash(left_part?, right_part),
        None => left_part?,
    };
    Some((Some(part), node_hash(left, right)))
}

#[cfg(test)]
mod tests {
    use tlog_tiles::record_hash;

    use super::*;

    /// The root by its definition (RFC 6962, section 2.1).
    fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => EMPTY_HASH,
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(root(left), root(right))
            }
        }
    }

    #[test]
    fn hashes_lead_to_both_roots_and_no_others_do() {
        let leaves: Vec<Hash> = (0..70u8).map(|n| record_hash(&[n])).collect();
        for of in 0..leaves.len() {
            let tree = TreeHead { size: of as u64, root: root(&leaves[..of]).0 };
            for size in 0..=of {
                let part = |s: &Subtree| root(&leaves[(s.index << s.height) as usize..((s.index + 1) << s.height) as usize]).0;
                let hashes: Vec<_> = subtrees(size as u64, of as u64).iter().map(part).collect();
                assert_eq!(beginning(&tree, size as u64, &hashes), Some(root(&leaves[..size]).0), "{size} of {of}");
                let extra = [hashes.as_slice(), &[[0; HASH_SIZE]]].concat();
                assert_eq!(beginning(&tree, size as u64, &extra), None);
                for at in 0..hashes.len() {
                    let mut changed = hashes.clone();
                    changed[at][5] ^= 1;
                    assert_eq!(beginning(&tree, size as u64, &changed), None);
                    assert_eq!(beginning(&tree, size as u64, &hashes[..at]), None);
                }
            }
        }
        assert_eq!(beginning(&TreeHead { size: u64::MAX, root: [0; 32] }, u64::MAX - 1, &[]), None);
    }
}
