//! That something is in a log, in a text that is checked offline (<https://c2sp.org/tlog-proof>).

use adit_ledger::TreeHead;
use tlog_tiles::{Hash, check_record, record_hash};

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::line::{PROOF_HASHES_MAX, parse_base64, parse_decimal, parse_hash, to_base64};

/// What every proof begins with.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Bytes of a proof's text: the extra data, and a checkpoint with many signatures.
const PROOF_BYTES_MAX: usize = 256 * 1024;

/// The proof that a leaf is in the tree that a checkpoint states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    /// Whatever its maker adds, which nothing proves; empty for nothing.
    pub extra: Vec<u8>,
    /// The leaf's index.
    pub index: u64,
    /// The hashes from the leaf's sibling up to the child of the root (RFC 6962, section 2.1.1), at most 63.
    pub hashes: Vec<[u8; 32]>,
    /// The signed note.
    pub checkpoint: Vec<u8>,
}

/// A text that is no proof, or a proof of something else.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It is longer than any proof.
    #[error("a proof has at most {PROOF_BYTES_MAX} bytes; this has {0}")]
    TooLarge(usize),
    /// It is not text, or no such text.
    #[error("it is no proof: it does not begin with the line {HEADER}")]
    Header,
    /// A line is wrong.
    #[error("line {line} of the proof: {want}")]
    Line {
        /// Which, from 1 on.
        line: usize,
        /// What should be there.
        want: &'static str,
    },
    /// What stands behind the hashes is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint is of a tree without this leaf.
    #[error("the proof is of leaf {index}, but its checkpoint is of {size} leaves")]
    Index {
        /// The leaf's index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The hashes do not lead from the leaf to the root.
    #[error("the hashes do not lead from leaf {index} to the root of the checkpoint")]
    Mismatch {
        /// The leaf's index.
        index: u64,
    },
}

impl LogProof {
    /// The proof's text.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n");
        if !self.extra.is_empty() {
            text += &format!("extra {}\n", to_base64(&self.extra));
        }
        text += &format!("index {}\n", self.index);
        for hash in &self.hashes {
            text += &format!("{}\n", to_base64(hash));
        }
        [text.as_bytes(), b"\n", &self.checkpoint].concat()
    }

    /// Reads a proof's text. What it says was not checked yet.
    ///
    /// # Errors
    /// [`ProofError`] where it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLarge(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProofError::Header)?;
        let text = text.strip_prefix(HEADER).and_then(|text| text.strip_prefix('\n')).ok_or(ProofError::Header)?;
        let no_end = ProofError::Line { line: text.lines().count() + 2, want: "an empty line, and the checkpoint" };
        let (head, checkpoint) = text.split_once("\n\n").ok_or(no_end)?;
        let mut lines = (2..).zip(head.split('\n')).peekable();
        let mut extra = Vec::new();
        if let Some((line, text)) = lines.next_if(|(_, text)| text.starts_with("extra ")) {
            let data = parse_base64(&text["extra ".len()..]).filter(|data| !data.is_empty());
            extra = data.ok_or(ProofError::Line { line, want: "extra data in base64" })?;
        }
        let (line, index) = lines.next().unwrap_or((2, ""));
        let index = index.strip_prefix("index ").and_then(parse_decimal);
        let index = index.ok_or(ProofError::Line { line, want: "`index`, and a decimal number without leading zeroes" })?;
        let mut hashes = Vec::new();
        for (line, text) in lines {
            let hash = parse_hash(text).filter(|_| hashes.len() < PROOF_HASHES_MAX);
            hashes.push(hash.ok_or(ProofError::Line { line, want: "a hash in base64, of which there are at most 63" })?.0);
        }
        SignedCheckpoint::from_bytes(checkpoint.as_bytes())?;
        Ok(Self { extra, index, hashes, checkpoint: checkpoint.as_bytes().to_vec() })
    }

    /// Checks that the tree that the checkpoint states has this leaf at the proof's index. Whether the checkpoint is to be believed is
    /// another question: [`Policy::check`](crate::Policy::check) and [`verify_checkpoint`](crate::verify_checkpoint) answer it.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, leaf: &[u8]) -> Result<TreeHead, ProofError> {
        let head = SignedCheckpoint::from_bytes(&self.checkpoint)?.head();
        let index = self.index;
        if index >= head.size {
            return Err(ProofError::Index { index, size: head.size });
        }
        if self.hashes.len() > PROOF_HASHES_MAX {
            return Err(ProofError::Mismatch { index });
        }
        let hashes = self.hashes.iter().copied().map(Hash).collect();
        let checked = check_record(&hashes, head.size, Hash(head.root), index, record_hash(leaf));
        checked.map(|()| head).map_err(|_| ProofError::Mismatch { index })
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::SecretKey;

    use super::*;
    use crate::sign_checkpoint;
    use crate::tree::Tree;

    fn key() -> SecretKey {
        SecretKey::from_seed([9; 32])
    }

    fn leaf(index: u64) -> Vec<u8> {
        format!("leaf {index}").into_bytes()
    }

    fn proof(index: u64, size: u64) -> LogProof {
        let tree = Tree::of((0..size).map(leaf));
        let (hashes, checkpoint) = (tree.prove_leaf(index), sign_checkpoint(&key(), &tree.head()));
        LogProof { extra: Vec::new(), index, hashes, checkpoint }
    }

    #[test]
    fn every_leaf_is_proven_by_its_text() {
        for size in [1, 2, 3, 7, 8, 100, 257] {
            for index in [0, 1, size / 2, size - 1] {
                let proof = proof(index.min(size - 1), size);
                let read = LogProof::from_bytes(&proof.to_bytes()).unwrap();
                assert_eq!(read, proof);
                assert_eq!(read.verify(&leaf(read.index)).unwrap().size, size);
                assert!(matches!(read.verify(&leaf(size)), Err(ProofError::Mismatch { .. })));
            }
        }
    }

    #[test]
    fn text_is_the_specifications() {
        let mut proof = proof(0, 2);
        let checkpoint = String::from_utf8(proof.checkpoint.clone()).unwrap();
        let sibling = to_base64(&record_hash(&leaf(1)).0);
        let want = format!("c2sp.org/tlog-proof@v1\nindex 0\n{sibling}\n\n{checkpoint}");
        assert_eq!(String::from_utf8(proof.to_bytes()).unwrap(), want);
        proof.extra = b"more".to_vec();
        let want = want.replace("index", "extra bW9yZQ==\nindex");
        assert_eq!(String::from_utf8(proof.to_bytes()).unwrap(), want);
        assert_eq!(LogProof::from_bytes(want.as_bytes()).unwrap(), proof);
    }

    #[test]
    fn proof_of_one_in_a_million_is_short() {
        let mut proof = proof(0, 1);
        (proof.index, proof.hashes) = (999_999, vec![[0xff; 32]; 20]);
        assert!(proof.to_bytes().len() < 2048, "{}", proof.to_bytes().len());
    }

    #[test]
    fn wrong_texts_are_named() {
        let text = String::from_utf8(proof(1, 3).to_bytes()).unwrap();
        let line = |line: usize| format!("line {line} of the proof");
        let rows = [
            (text.replace("@v1", "@v2"), "it is no proof".to_owned()),
            (text.replace("@v1\n", "@v1"), "it is no proof".to_owned()),
            (text.replace("@v1\n", "@v1\n\n"), line(2)),
            (text.replace("index 1", "index 01"), line(2)),
            (text.replace("index 1", "index +1"), line(2)),
            (text.replace("index 1", "index  1"), line(2)),
            (text.replace("index 1\n", ""), line(2)),
            (text.replace("index", "extra \nindex"), line(2)),
            (text.replace("index", "extra !\nindex"), line(2)),
            (text.replace("index", "extra AAAA\nextra AAAA\nindex"), line(3)),
            (text.replace("index 1\n", "index 1\nAAAA\n"), line(3)),
            (text.replace("index 1\n", &format!("index 1\n{}", format!("{}\n", to_base64(&[0; 32])).repeat(62))), line(66)),
            (text.split("\n\n").next().unwrap().to_owned(), line(5)),
            (text.replace("\n3\n", "\n03\n"), "the note is no checkpoint".to_owned()),
            (text.split_inclusive("\n\n").take(2).collect(), "the checkpoint is not signed".to_owned()),
            ("x".repeat(PROOF_BYTES_MAX + 1), "a proof has at most".to_owned()),
        ];
        for (text, want) in rows {
            let error = LogProof::from_bytes(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&want), "{error} instead of {want}: {text}");
        }
    }

    #[test]
    fn changed_proof_proves_nothing() {
        let good = proof(5, 11);
        assert!(good.verify(&leaf(5)).is_ok());
        for (index, want) in
            [(4, "the hashes"), (10, "the hashes"), (11, "the proof is of leaf 11"), (u64::MAX, "the proof is of leaf")]
        {
            let error = LogProof { index, ..good.clone() }.verify(&leaf(5)).unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
        let (mut long, mut short) = (good.clone(), good.clone());
        long.hashes.push([0; 32]);
        short.hashes.pop();
        assert!(long.verify(&leaf(5)).is_err() && short.verify(&leaf(5)).is_err());
        long.hashes = vec![[0; 32]; 1000];
        assert!(long.verify(&leaf(5)).is_err());
    }

    #[test]
    fn hostile_text_is_an_error() {
        let mut good = proof(5, 11);
        good.extra = b"extra".to_vec();
        let bytes = good.to_bytes();
        for seed in 0..4000 {
            if let Ok(read) = LogProof::from_bytes(&crate::hostile::mutate(&bytes, seed)) {
                assert_eq!(LogProof::from_bytes(&read.to_bytes()).unwrap(), read);
                let _ = read.verify(&leaf(5));
            }
        }
    }
}
