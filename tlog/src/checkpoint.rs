//! The gateway's signed word for its log: a C2SP checkpoint (<https://c2sp.org/tlog-checkpoint>) in a signed note
//! (<https://c2sp.org/signed-note>), which any tool for those formats can check.

use adit_ledger::TreeHead;
use adit_protocol::{PublicKey, SecretKey, Signature};
use signed_note::{Note, NoteError, Signer, Verifier, VerifierList, key_id};
use tlog_tiles::{Checkpoint, Hash, MalformedCheckpointError};

/// The signature algorithm Ed25519, as signed notes name it.
const ED25519: u8 = 1;

/// A checkpoint that proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It is no signed note, or the gateway's signature is missing or wrong.
    #[error("the checkpoint is not signed by the gateway: {0}")]
    Note(#[from] NoteError),
    /// Its text is no checkpoint.
    #[error("the note is no checkpoint: {0}")]
    Text(MalformedCheckpointError),
    /// It is another log's.
    #[error("the checkpoint is of the log `{0}`")]
    Origin(String),
}

/// The name of a gateway's log, which is also the name of the key that signs its checkpoints.
pub fn log_origin(gateway: &PublicKey) -> String {
    format!("adit/{gateway}")
}

/// The gateway's key as tools for signed notes read it: `NAME+ID+KEY`.
pub fn log_verifier_key(gateway: &PublicKey) -> String {
    let key = LogKey::of(gateway);
    format!("{}+{:08x}+{}", key.name, key.id, base64::Engine::encode(&base64::prelude::BASE64_STANDARD, key.encoded()))
}

/// The gateway that a text names: by its key, or as [`log_verifier_key`] writes it. Nothing where it is neither.
pub fn parse_log_key(text: &str) -> Option<PublicKey> {
    match text.strip_prefix("adit/") {
        Some(name) => name.split_once('+')?.0.parse().ok().filter(|key| log_verifier_key(key) == text),
        None => text.parse().ok(),
    }
}

/// Signs the head of a log: to be done only with a head that is durable, because two that do not agree are a proof of misbehaviour.
///
/// # Panics
/// Never: the name of a log is one that notes allow.
pub fn sign_checkpoint(key: &SecretKey, head: &TreeHead) -> Vec<u8> {
    let log = LogKey::of(&key.public());
    let text =
        Checkpoint::new(&log.name, head.size, Hash(head.root), "").expect("a checkpoint without extensions is well formed");
    let mut note = Note::new(&text.to_bytes(), &[]).expect("a checkpoint is a note's text");
    note.add_sigs(&[&LogSigner { log, key }]).expect("an Ed25519 key signs whatever it is given");
    note.to_bytes()
}

/// Checks that `gateway` signed this checkpoint of its log. Signatures of others, such as witnesses, are left alone.
///
/// # Errors
/// [`CheckpointError`] says what it is instead.
pub fn verify_checkpoint(bytes: &[u8], gateway: &PublicKey) -> Result<TreeHead, CheckpointError> {
    let note = Note::from_bytes(bytes)?;
    note.verify(&VerifierList::new(vec![Box::new(LogKey::of(gateway))]))?;
    let checkpoint = Checkpoint::from_bytes(note.text()).map_err(CheckpointError::Text)?;
    if checkpoint.origin() != log_origin(gateway) {
        return Err(CheckpointError::Origin(checkpoint.origin().to_owned()));
    }
    Ok(TreeHead { size: checkpoint.size(), root: checkpoint.hash().0 })
}

/// A gateway's key under the name of its log.
struct LogKey {
    name: String,
    id: u32,
    key: PublicKey,
}

impl LogKey {
    fn of(gateway: &PublicKey) -> Self {
        let mut key = Self { name: log_origin(gateway), id: 0, key: *gateway };
        key.id = key_id(&key.name, &key.encoded());
        key
    }

    fn encoded(&self) -> Vec<u8> {
        [&[ED25519], self.key.0.as_slice()].concat()
    }
}

impl Verifier for LogKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature: Result<[u8; 64], _> = signature.try_into();
        signature.is_ok_and(|signature| self.key.verify_note(message, &Signature(signature.into())).is_ok())
    }
}

/// The secret half.
struct LogSigner<'k> {
    log: LogKey,
    key: &'k SecretKey,
}

impl Signer for LogSigner<'_> {
    fn name(&self) -> &str {
        &self.log.name
    }

    fn key_id(&self) -> u32 {
        self.log.id
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.key.sign_note(message).0.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: TreeHead = TreeHead { size: 70_000, root: [7; 32] };

    fn key() -> SecretKey {
        SecretKey::from_seed([9; 32])
    }

    #[test]
    fn checkpoint_is_a_note_of_three_lines_and_a_signature() {
        let checkpoint = String::from_utf8(sign_checkpoint(&key(), &HEAD)).unwrap();
        let lines: Vec<&str> = checkpoint.split('\n').collect();
        let origin = format!("adit/{}", key().public());
        assert_eq!(lines[..4], [origin.as_str(), "70000", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", ""]);
        assert!(lines[4].starts_with(&format!("\u{2014} {origin} ")) && lines.len() == 6 && lines[5].is_empty());
        assert_eq!(verify_checkpoint(checkpoint.as_bytes(), &key().public()).unwrap(), HEAD);
    }

    #[test]
    fn gateway_is_named_by_its_key_or_its_verifier_key() {
        let gateway = key().public();
        let verifier_key = log_verifier_key(&gateway);
        for text in [gateway.to_string(), verifier_key.clone()] {
            assert_eq!(parse_log_key(&text), Some(gateway), "{text}");
        }
        let other = log_verifier_key(&SecretKey::from_seed([8; 32]).public());
        let mixed = format!("{}{}", &verifier_key[..verifier_key.len() - 44], &other[other.len() - 44..]);
        for text in ["", "adit/", "adit/00", &mixed, &verifier_key[..verifier_key.len() - 1], &log_origin(&gateway)] {
            assert_eq!(parse_log_key(text), None, "{text}");
        }
    }

    /// By the verifier that comes with the notes, over another implementation of Ed25519.
    #[test]
    fn standard_verifier_accepts_it() {
        let note = Note::from_bytes(&sign_checkpoint(&key(), &HEAD)).unwrap();
        let verifier = signed_note::StandardVerifier::new(&log_verifier_key(&key().public())).unwrap();
        let (verified, unknown) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
        assert_eq!((verified.len(), unknown.len()), (1, 0));
    }

    #[test]
    fn any_other_checkpoint_is_refused() {
        let (bytes, gateway) = (sign_checkpoint(&key(), &HEAD), key().public());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(verify_checkpoint(&bad, &gateway).is_err(), "byte {at} of {}", bytes.len());
        }
        for cut in 0..bytes.len() {
            assert!(verify_checkpoint(&bytes[..cut], &gateway).is_err(), "{cut} bytes");
        }
        let other = SecretKey::from_seed([8; 32]);
        assert!(verify_checkpoint(&sign_checkpoint(&other, &HEAD), &gateway).is_err());
        assert!(verify_checkpoint(&bytes, &other.public()).is_err());
    }

    #[test]
    fn another_logs_checkpoint_under_this_key_is_refused() {
        let text = Checkpoint::new("elsewhere", 1, Hash([0; 32]), "").unwrap();
        let mut note = Note::new(&text.to_bytes(), &[]).unwrap();
        note.add_sigs(&[&LogSigner { log: LogKey::of(&key().public()), key: &key() }]).unwrap();
        let error = verify_checkpoint(&note.to_bytes(), &key().public()).unwrap_err();
        assert!(matches!(&error, CheckpointError::Origin(origin) if origin == "elsewhere"), "{error}");
    }
}
