//! One signature over many statements: the Merkle tree of RFC 6962, section 2.1, over the statements that were ready at one moment.
//!
//! Signing is the dearest step of a small job. Under load a signer signs the root over up to 64 statements, and each statement
//! carries its audit path; alone, a statement is a batch of one and its path is empty.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::frame::{take, take_arrays};
use crate::limits::BATCH_LEAVES_MAX;
use crate::{FrameError, PublicKey, SecretKey, Signature};

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
    let levels = tree_levels(statements.iter().map(|s| leaf_hash(s.as_ref())).collect());
    let [.., top] = levels.as_slice() else { unreachable!("a tree has a level at least") };
    let root = BatchRoot { size: statements.len() as u32, hash: top[0] };
    let signature = key.sign(domain, &root.signed_bytes());
    let prove = |i| BatchProof { index: i as u32, size: root.size, path: audit_path(i, &levels), signature };
    (0..statements.len()).map(prove).collect()
}

impl BatchProof {
    /// Takes a proof from the front of `bytes`, as its derived decoding would.
    pub(crate) fn take(bytes: &mut &[u8]) -> Result<Self, FrameError> {
        Ok(Self { index: take(bytes)?, size: take(bytes)?, path: take_arrays(bytes)?, signature: take(bytes)? })
    }

    /// Writes the proof behind `bytes`, as its derived encoding would.
    pub(crate) fn append_to(&self, bytes: Vec<u8>) -> Vec<u8> {
        let append = "a proof always encodes";
        let mut bytes = postcard::to_extend(&(self.index, self.size, self.path.len()), bytes).expect(append);
        bytes.extend_from_slice(self.path.as_flattened());
        postcard::to_extend(&self.signature, bytes).expect(append)
    }

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

/// A root whose signature was checked, and those hashes below it that a proof has shown: where the proofs of a batch's statements come
/// one after another, each brings little that is new, and the whole batch costs as many hashes as its tree has.
#[derive(Debug)]
pub(crate) struct KnownTree {
    size: u32,
    /// Level by level from the leaves up, each half as wide as the one below. With a hash its sibling and all above are known too, and a
    /// hash above is made of those below it.
    hashes: Vec<Option<Hash>>,
}

impl KnownTree {
    /// Only the root is known.
    pub(crate) fn new(root: BatchRoot) -> Self {
        let width = (root.size as usize).next_power_of_two();
        let mut hashes = vec![None; 2 * width - 1];
        hashes[2 * width - 2] = Some(root.hash);
        Self { size: root.size, hashes }
    }

    /// Whether `proof` leads from `statement` to this root; what it shows on the way is known from then on. It is exactly where
    /// [`BatchProof::root`] gives this root.
    pub(crate) fn has(&mut self, proof: &BatchProof, statement: &[u8]) -> bool {
        if proof.size != self.size || proof.index >= self.size {
            return false;
        }
        let Some(shown) = self.shown(proof, leaf_hash(statement)) else { return false };
        for (place, hash) in shown {
            self.hashes[place] = Some(hash);
        }
        true
    }

    /// The hashes on the way that were not known, with their places; nothing where the way is a wrong one.
    fn shown(&self, proof: &BatchProof, leaf: Hash) -> Option<Vec<(usize, Hash)>> {
        let (mut shown, mut path) = (Vec::new(), proof.path.iter());
        // The hash that the proof makes, as far up as none is known.
        let mut made = Some(leaf);
        let (mut at, mut last) = (proof.index as usize, self.size as usize - 1);
        let (mut level, mut width) = (0, self.size.next_power_of_two() as usize);
        loop {
            if let (Some(hash), Some(known)) = (made, self.hashes[level + at]) {
                if hash != known {
                    return None;
                }
                made = None;
            }
            if last == 0 {
                return path.next().is_none().then_some(shown);
            }
            // Without a sibling a hash stands for itself one level higher.
            let is_alone = at == last && at.is_multiple_of(2);
            let sibling = if is_alone { None } else { Some(path.next()?) };
            match made {
                Some(hash) => {
                    shown.push((level + at, hash));
                    shown.extend(sibling.map(|sibling| (level + (at ^ 1), *sibling)));
                    made = Some(match sibling {
                        Some(sibling) if at.is_multiple_of(2) => node_hash(&hash, sibling),
                        Some(sibling) => node_hash(sibling, &hash),
                        None => hash,
                    });
                }
                None if sibling.is_some_and(|sibling| self.hashes[level + (at ^ 1)] != Some(*sibling)) => return None,
                None => {}
            }
            (level, width) = (level + width, width / 2);
            (at, last) = (at / 2, last / 2);
        }
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

/// All hashes of the tree over `leaves`, from their level up to the root's. One without a sibling stands for itself one level higher, which
/// makes the tree of RFC 6962.
fn tree_levels(leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves];
    while let Some(below) = levels.last().filter(|below| below.len() > 1) {
        let (pairs, alone) = below.as_chunks();
        let above = pairs.iter().map(|[left, right]| node_hash(left, right)).chain(alone.iter().copied()).collect();
        levels.push(above);
    }
    levels
}

fn audit_path(index: usize, levels: &[Vec<Hash>]) -> Vec<Hash> {
    let siblings = levels.iter().enumerate().map(|(height, level)| level.get(index >> height ^ 1));
    // The root has none either.
    siblings.flatten().copied().collect()
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

    /// Whatever was shown before, a tree has a proof where the proof's own hashes lead to its root, and nowhere else.
    #[test]
    fn known_tree_has_the_proofs_that_lead_to_its_root_and_no_others() {
        let key = SecretKey::from_seed([1; 32]);
        for n in 1..=BATCH_LEAVES_MAX {
            let statements: Vec<Vec<u8>> = (0..n).map(|i| vec![i as u8; 3]).collect();
            let proofs = prove_batch(&key, DOMAIN, &statements);
            let root = proofs[0].root(&statements[0]).unwrap();
            // In order, backwards and in strides, so that each is met with little and with much known.
            for (first, stride) in [(0, 1), (n - 1, n - 1), (n / 2, 2 * n + 7)] {
                let mut tree = KnownTree::new(root);
                for i in (0..n).map(|i| (first + i * stride) % n) {
                    let (proof, statement) = (&proofs[i], &statements[i]);
                    for wrong in wrong_proofs(proof) {
                        assert_ne!(wrong.root(statement), Ok(root));
                        assert!(!tree.has(&wrong, statement), "{i} of {n}: {wrong:?}");
                    }
                    assert!(!tree.has(proof, b"another statement"), "{i} of {n}");
                    assert!(tree.has(proof, statement), "{i} of {n}");
                    assert!(tree.has(proof, statement), "{i} of {n}, again");
                }
                let known: usize = tree.hashes.iter().flatten().count();
                assert!(stride > 1 || known >= 2 * n - 1, "{known} hashes of {n}");
            }
        }
    }

    /// Proofs of the same statement that are wrong in one place each.
    fn wrong_proofs(good: &BatchProof) -> Vec<BatchProof> {
        let mut wrong = vec![
            BatchProof { path: [good.path.clone(), vec![[0; 32]]].concat(), ..good.clone() },
            BatchProof { size: good.size + 1, ..good.clone() },
            BatchProof { size: good.size - 1, ..good.clone() },
            BatchProof { size: 0, ..good.clone() },
            BatchProof { index: good.index + good.size, ..good.clone() },
        ];
        for i in 0..good.path.len() {
            let mut path = good.path.clone();
            path[i][31] ^= 1;
            wrong.push(BatchProof { path: path.clone(), ..good.clone() });
            path.remove(i);
            wrong.push(BatchProof { path, ..good.clone() });
        }
        if good.size > 1 {
            wrong.push(BatchProof { index: (good.index + 1) % good.size, ..good.clone() });
        }
        wrong
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
        assert_eq!(
            hex::encode(tree_levels(leaves).last().unwrap()[0]),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        );
    }
}
