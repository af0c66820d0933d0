use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::id::{ParseIdError, hex_id};

hex_id! {
    /// An Ed25519 public key (RFC 8032): the name of a client, a node or a gateway.
    PublicKey, 32
}

/// An Ed25519 signature (RFC 8032), 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature(pub ByteArray<64>);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.0.as_ref()))
    }
}

/// The signature does not belong to these bytes and this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match")]
pub struct SignatureError;

impl PublicKey {
    /// Checks that `signature` was made over `domain` and `message` with the secret half of this key.
    ///
    /// # Errors
    /// [`SignatureError`] where it was not, or where this key is no valid curve point.
    pub fn verify(&self, domain: &str, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        self.verify_bytes(&signed_bytes(domain, message), signature)
    }

    /// Checks that `signature` was made by [`SecretKey::sign_note`] over `text` with the secret half of this key.
    ///
    /// # Errors
    /// As [`PublicKey::verify`], and where the text is none that is signed so.
    pub fn verify_note(&self, text: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        if text.contains(&0) { Err(SignatureError) } else { self.verify_bytes(text, signature) }
    }

    fn verify_bytes(&self, bytes: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(bytes, signature.0.as_ref()).map_err(|_| SignatureError)
    }
}

/// An Ed25519 key pair. Its secret half never appears in `Debug` output.
pub struct SecretKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SecretKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Panics
    /// Where the operating system has no randomness to give: there is no safe way on.
    pub fn generate() -> Self {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).expect("the operating system gives random bytes");
        Self::from_seed(seed)
    }

    /// The key pair of a 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are an Ed25519 seed");
        Self { seed, pair }
    }

    /// The seed, to be written to a key file or into a PKCS#8 document, and nowhere else.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let bytes = self.pair.public_key().as_ref();
        PublicKey(bytes.try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs `message` for the purpose that `domain` names.
    pub fn sign(&self, domain: &str, message: &[u8]) -> Signature {
        self.sign_bytes(&signed_bytes(domain, message))
    }

    /// Signs the text of a note, which says itself what it is, in the way that other tools check (<https://c2sp.org/signed-note>). It has
    /// no zero byte, and whatever [`SecretKey::sign`] signs has one, so neither can be shown for the other.
    ///
    /// # Panics
    /// Where the text has a zero byte.
    pub fn sign_note(&self, text: &[u8]) -> Signature {
        assert!(!text.contains(&0), "a note's text has no zero byte");
        self.sign_bytes(text)
    }

    fn sign_bytes(&self, bytes: &[u8]) -> Signature {
        let signature = self.pair.sign(bytes);
        Signature(ByteArray::new(signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes")))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

/// `domain`, a zero byte, `message`: a signature made for one purpose can never be shown for another, since no domain holds a
/// zero byte.
fn signed_bytes(domain: &str, message: &[u8]) -> Vec<u8> {
    debug_assert!(!domain.as_bytes().contains(&0), "a domain holds no zero byte");
    [domain.as_bytes(), &[0], message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_bound_to_key_domain_and_message() {
        let key = SecretKey::from_seed([7; 32]);
        let signature = key.sign("adit test v1", b"hello");
        assert!(key.public().verify("adit test v1", b"hello", &signature).is_ok());
        assert!(key.public().verify("adit test v2", b"hello", &signature).is_err());
        assert!(key.public().verify("adit test v1", b"hellO", &signature).is_err());
        assert!(SecretKey::from_seed([8; 32]).public().verify("adit test v1", b"hello", &signature).is_err());
    }

    #[test]
    fn note_and_message_are_never_taken_for_each_other() {
        let key = SecretKey::from_seed([7; 32]);
        let (note, message) = (key.sign_note(b"adit test v1"), key.sign("adit test v1", b""));
        key.public().verify_note(b"adit test v1", &note).unwrap();
        assert!(key.public().verify("adit test v1", b"", &note).is_err());
        assert!(key.public().verify_note(b"adit test v1\0", &message).is_err());
    }

    #[test]
    fn debug_form_hides_the_seed() {
        let key = SecretKey::from_seed([0xab; 32]);
        assert!(!format!("{key:?}").contains("abab"));
    }
}
