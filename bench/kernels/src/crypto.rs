//! What signatures and digests are made of.

use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha256};

use crate::random::mix;

/// SHA-256 of 64 KiB, again and again with the digest in the front; a size counts such buffers.
pub(crate) fn sha256(size: u32) -> u64 {
    let mut buffer: Vec<u8> = (0..64 << 10).map(|n: u32| n as u8).collect();
    for _ in 0..size {
        let digest = Sha256::digest(&buffer);
        buffer[..digest.len()].copy_from_slice(&digest);
    }
    word(&buffer)
}

/// Key agreements by Curve25519, each from the point before: 128-bit products. A size counts agreements.
pub(crate) fn curve25519(size: u32) -> u64 {
    let mut point = MontgomeryPoint([9; 32]);
    for n in 0..size {
        point *= Scalar::from(mix(u64::from(n))) + Scalar::from_bytes_mod_order(point.0);
    }
    word(&point.0)
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
