//! One signature over many statements: the Merkle tree of RFC 6962, section 2.1, over the statements that were ready at one moment.
//!
//! Signing is the dearest step of a small job. Under load a signer signs the root over up to 64 statements, and each statement
//! carries its audit path; alone, a statement is a batch of one and its path is empty.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::limits::BATCH_LEAVES_MAX;
use crate::{PublicKey, SecretKey, Signature};

type Hash = [u8; 32];

/// Where a statement stands in its batch, and the signature over the batch's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchProof {
    /// The statement's position, from 0.
    pub index: u32,
    /// How many statements the batch holds.
    pub size: u32,
    /// The audit path (RFC 6962, section 2.1.1), from the leaf upwards.
    pub path: Vec<Hash>,
    /// Over the batch's size and root.
    pub signature: Signature,
}

/// What a batch's signature covers. A verifier that has checked it once need not check it again for the batch's other statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchRoot {
    size: u32,
    hash: Hash,
}

/// A statement that its batch does not vouch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The size is zero or over [`BATCH_LEAVES_MAX`], the index is outside, or the path has another length than the tree.
    #[error("the batch proof is malformed")]
    Malformed,
    /// The root that the path leads to was not signed by the expected key for this purpose.
    #[error("the batch root's signature does not match")]
    Signature,
}

/// Signs `statements` as one batch and returns a proof for each, in order.
///
/// # Panics
/// Where there is no statement or more than [`BATCH_LEAVES_MAX`]: the caller cuts its batches.
pub fn prove_batch<S: AsRef<[u8]>>(key: &SecretKey, domain: &str, statements: &[S]) -> Vec<BatchProof> {
    assert!((1..=BATCH_LEAVES_MAX).contains(&statements.len()), "a batch holds 1 to {BATCH_LEAVES_MAX} statements");
    let leaves: Vec<Hash> = statements.iter().map(|s| leaf_hash(s.as_ref())).collect();
    let root = BatchRoot { size: leaves.len() as u32, hash: tree_hash(&leaves) };
    let signature = key.sign(domain, &root.signed_bytes());
    (0..leaves.len()).map(|i| BatchProof { index: i as u32, size: root.size, path: audit_path(i, &leaves), signature }).collect()
}

impl BatchProof {
    /// The root that this proof claims for `statement`.
    ///
    /// # Errors
    /// [`BatchError::Malformed`] where the proof's numbers do not describe a tree.
    pub fn root(&self, statement: &[u8]) -> Result<BatchRoot, BatchError> {
        if self.size == 0 || self.size as usize > BATCH_LEAVES_MAX || self.index >= self.size {
            return Err(BatchError::Malformed);
        }
        let mut path = self.path.iter();
        let hash = climb(self.index as usize, self.size as usize, leaf_hash(statement), &mut path)?;
        if path.next().is_some() {
            return Err(BatchError::Malformed);
        }
        Ok(BatchRoot { size: self.size, hash })
    }

    /// Checks that `signer` vouched for `statement` under `domain`.
    ///
    /// # Errors
    /// [`BatchError`] says whether the shape or the signature is at fault.
    pub fn verify(&self, signer: &PublicKey, domain: &str, statement: &[u8]) -> Result<BatchRoot, BatchError> {
        let root = self.root(statement)?;
        signer.verify(domain, &root.signed_bytes(), &self.signature).map_err(|_| BatchError::Signature)?;
        Ok(root)
    }
}

impl BatchRoot {
    fn signed_bytes(&self) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..4].copy_from_slice(&self.size.to_le_bytes());
        bytes[4..].copy_from_slice(&self.hash);
        bytes
    }
}

fn leaf_hash(statement: &[u8]) -> Hash {
    sha256(&[&[0], statement].concat())
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    sha256(&bytes)
}

/// In one call: a context that takes its bytes in parts costs more than bringing so few together.
fn sha256(bytes: &[u8]) -> Hash {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

/// The largest power of two that is smaller than `n` (RFC 6962's `k`), for `n` of at least 2.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&tree_hash(left), &tree_hash(right))
        }
    }
}

fn audit_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, sibling) =
        if index < k { (audit_path(index, left), tree_hash(right)) } else { (audit_path(index - k, right), tree_hash(left)) };
    path.push(sibling);
    path
}

fn climb<'a>(index: usize, size: usize, leaf: Hash, path: &mut impl Iterator<Item = &'a Hash>) -> Result<Hash, BatchError> {
    if size == 1 {
        return Ok(leaf);
    }
    let k = split(size);
    if index < k {
        let left = climb(index, k, leaf, path)?;
        Ok(node_hash(&left, path.next().ok_or(BatchError::Malformed)?))
    } else {
        let right = climb(index - k, size - k, leaf, path)?;
        Ok(node_hash(path.next().ok_or(BatchError::Malformed)?, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "adit test v1";

    #[test]
    fn every_statement_of_every_batch_size_verifies_and_no_other_does() {
        let key = SecretKey::from_seed([1; 32]);
        for n in 1..=BATCH_LEAVES_MAX {
            let statements: Vec<Vec<u8>> = (0..n).map(|i| vec![i as u8; i]).collect();
            let proofs = prove_batch(&key, DOMAIN, &statements);
            let root = proofs[0].root(&statements[0]).unwrap();
            for (i, (proof, statement)) in proofs.iter().zip(&statements).enumerate() {
                assert_eq!(proof.root(statement), Ok(root), "{i} of {n}");
                assert_ne!(proof.root(b"another statement"), Ok(root), "{i} of {n}");
                let moved = BatchProof { index: (proof.index + 1) % proof.size, ..proof.clone() };
                assert!(n == 1 || moved.root(statement) != Ok(root), "{i} of {n}");
            }
            assert!(proofs[n - 1].verify(&key.public(), DOMAIN, &statements[n - 1]).is_ok());
        }
    }

    #[test]
    fn malformed_proofs_are_refused() {
        let key = SecretKey::from_seed([1; 32]);
        let proofs = prove_batch(&key, DOMAIN, &[b"a", b"b", b"c"]);
        let good = &proofs[1];
        let bad = [
            BatchProof { size: 0, ..good.clone() },
            BatchProof { index: 3, ..good.clone() },
            BatchProof { size: 1_000_000, ..good.clone() },
            BatchProof { path: good.path[..1].to_vec(), ..good.clone() },
            BatchProof { path: [good.path.clone(), vec![[0; 32]]].concat(), ..good.clone() },
        ];
        for proof in bad {
            assert_eq!(proof.verify(&key.public(), DOMAIN, b"b"), Err(BatchError::Malformed), "{proof:?}");
        }
        assert_eq!(good.verify(&key.public(), "adit other v1", b"b"), Err(BatchError::Signature));
        assert_eq!(good.verify(&SecretKey::from_seed([2; 32]).public(), DOMAIN, b"b"), Err(BatchError::Signature));
    }

    /// The tree of RFC 6962: the root over the leaves of the certificate-transparency test data, computed there.
    #[test]
    fn root_is_the_one_of_rfc_6962() {
        let leaves: Vec<Hash> =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
                .iter()
                .map(|h| leaf_hash(&hex::decode(h).unwrap()))
                .collect();
        assert_eq!(hex::encode(tree_hash(&leaves)), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }
}
