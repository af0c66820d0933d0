use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{PublicKey, SecretKey};

/// A hexadecimal id that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {bytes} bytes in hexadecimal")]
pub struct ParseIdError {
    text: String,
    bytes: usize,
}

impl ParseIdError {
    pub(crate) fn new(text: &str, bytes: usize) -> Self {
        Self { text: text.to_owned(), bytes }
    }
}

/// A fixed-size byte id with its hexadecimal form.
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError::new(text, $bytes))?;
                Ok(Self(bytes))
            }
        }
    };
}
pub(crate) use hex_id;

hex_id! {
    /// The BLAKE3 hash of some bytes: the name of a module, an input, an output or a job's specification.
    Digest, 32
}

hex_id! {
    /// A job's name: made from the client's key and the client's idempotency key, so that the same submission, sent twice or to
    /// a restarted gateway, is the same job.
    JobId, 16
}

hex_id! {
    /// Chosen by the client, once per job that it wants run. The same key again attaches to the same job.
    IdempotencyKey, 16
}

hex_id! {
    /// What a unit of fuel means: the hash of the meter's version, its cost table, the billing formula and the profile. Two runs are
    /// compared only under one `MeterId`.
    MeterId, 32
}

hex_id! {
    /// Bytes that only the parties of a job know. Public statements name an input or an output by a commitment under it, so that nobody
    /// else can try which bytes those were. How many they were is no secret: that is billed.
    Salt, 32
}

impl Salt {
    /// The salt of a job that `key` asks for, given the digest of its specification without one. The same key asks for the same job under
    /// the same salt, so that it can be asked for again; nobody without the key can tell the salt.
    pub fn derive(key: &SecretKey, unsalted: &Digest) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("adit job salt v1");
        hasher.update(key.seed());
        hasher.update(&unsalted.0);
        Self(*hasher.finalize().as_bytes())
    }

    /// What stands for the digest of an input where everybody may read.
    pub fn commit_input(&self, digest: &Digest) -> Digest {
        self.commit(0, digest)
    }

    /// What stands for the digest of an output where everybody may read: another than for an input of the same bytes.
    pub fn commit_output(&self, digest: &Digest) -> Digest {
        self.commit(1, digest)
    }

    /// BLAKE3, keyed by the salt, of what the digest is of and the digest.
    fn commit(&self, of: u8, digest: &Digest) -> Digest {
        Digest(*blake3::keyed_hash(&self.0, &[&[of], digest.0.as_slice()].concat()).as_bytes())
    }
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl JobId {
    /// Derives the id of the job that `client` submits under `key`.
    pub fn derive(client: &PublicKey, key: &IdempotencyKey) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("adit job id v1");
        hasher.update(&client.0);
        hasher.update(&key.0);
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id)
    }
}

/// Which try of a job this is, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt(pub u32);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text_form() {
        let digest = Digest::of(b"adit");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("12".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn salt_depends_on_key_and_job_and_hides_what_it_commits_to() {
        let (key, job) = (SecretKey::from_seed([1; 32]), Digest::of(b"specification"));
        let salt = Salt::derive(&key, &job);
        assert_eq!(salt, Salt::derive(&SecretKey::from_seed([1; 32]), &job));
        assert_ne!(salt, Salt::derive(&SecretKey::from_seed([2; 32]), &job));
        assert_ne!(salt, Salt::derive(&key, &Digest::of(b"another")));
        let other = Salt::derive(&key, &Digest::of(b"another"));
        assert_ne!(salt.commit_input(&job), other.commit_input(&job));
        assert_ne!(salt.commit_input(&job), salt.commit_output(&job));
        assert_ne!(salt.commit_input(&job), job);
    }

    #[test]
    fn job_id_depends_on_client_and_key() {
        let (a, b) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let (k, l) = (IdempotencyKey([3; 16]), IdempotencyKey([4; 16]));
        let id = JobId::derive(&a, &k);
        assert_eq!(id, JobId::derive(&a, &k));
        assert_ne!(id, JobId::derive(&b, &k));
        assert_ne!(id, JobId::derive(&a, &l));
    }
}
