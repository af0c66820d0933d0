//! The gateway's signed word for its log: a C2SP checkpoint (<https://c2sp.org/tlog-checkpoint>) in a signed note
//! (<https://c2sp.org/signed-note>), which any tool for those formats can check.

use adit_ledger::TreeHead;
use adit_protocol::{PublicKey, SecretKey};
use signed_note::{Note, NoteError, Signature as NoteSignature, Signer, VerifierList, Verifiers};
use tlog_tiles::{Checkpoint, Hash, MalformedCheckpointError};

use crate::key::LogKey;

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

/// The gateway's key under the name of its log.
pub fn log_key(gateway: &PublicKey) -> LogKey {
    LogKey::new(&log_origin(gateway), *gateway).expect("the name of a gateway's log is one that notes allow")
}

/// The gateway's key as tools for signed notes read it: `NAME+ID+KEY`.
pub fn log_verifier_key(gateway: &PublicKey) -> String {
    log_key(gateway).to_string()
}

/// The gateway that a text names: by its key, or as [`log_verifier_key`] writes it. Nothing where it is neither.
pub fn parse_log_key(text: &str) -> Option<PublicKey> {
    match text.parse::<LogKey>() {
        Ok(log) => Some(*log.key()).filter(|key| log_key(key) == log),
        Err(_) => text.parse().ok(),
    }
}

/// Signs the head of a log: to be done only with a head that is durable, because two that do not agree are a proof of misbehaviour.
///
/// # Panics
/// Never: the name of a log is one that notes allow.
pub fn sign_checkpoint(key: &SecretKey, head: &TreeHead) -> Vec<u8> {
    let log = log_key(&key.public());
    let text =
        Checkpoint::new(log.name(), head.size, Hash(head.root), "").expect("a checkpoint without extensions is well formed");
    let mut note = Note::new(&text.to_bytes(), &[]).expect("a checkpoint is a note's text");
    note.add_sigs(&[&LogSigner { log, key }]).expect("an Ed25519 key signs whatever it is given");
    note.to_bytes()
}

/// Checks that `gateway` signed this checkpoint of its log. Signatures of others, such as witnesses, are left alone.
///
/// # Errors
/// [`CheckpointError`] says what it is instead.
pub fn verify_checkpoint(bytes: &[u8], gateway: &PublicKey) -> Result<TreeHead, CheckpointError> {
    verify_alone(bytes, gateway).map(|(head, _)| head)
}

/// As [`verify_checkpoint`], and the note with the gateway's signature alone: whatever else came with it, anybody can have put there.
pub(crate) fn verify_alone(bytes: &[u8], gateway: &PublicKey) -> Result<(TreeHead, Vec<u8>), CheckpointError> {
    let checkpoint = SignedCheckpoint::from_bytes(bytes)?;
    let signatures = checkpoint.verify(&VerifierList::new(vec![Box::new(log_key(gateway))]))?;
    if checkpoint.origin() != log_origin(gateway) {
        return Err(CheckpointError::Origin(checkpoint.origin().to_owned()));
    }
    Ok((checkpoint.head(), checkpoint.with_signatures(&signatures)))
}

/// A checkpoint in a signed note, of which no signature was checked.
pub(crate) struct SignedCheckpoint {
    note: Note,
    checkpoint: Checkpoint,
}

impl SignedCheckpoint {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = Note::from_bytes(bytes)?;
        let checkpoint = Checkpoint::from_bytes(note.text()).map_err(CheckpointError::Text)?;
        Ok(Self { note, checkpoint })
    }

    /// What is signed.
    pub(crate) fn text(&self) -> &[u8] {
        self.note.text()
    }

    pub(crate) fn origin(&self) -> &str {
        self.checkpoint.origin()
    }

    pub(crate) fn head(&self) -> TreeHead {
        TreeHead { size: self.checkpoint.size(), root: self.checkpoint.hash().0 }
    }

    /// The note with these signatures alone.
    pub(crate) fn with_signatures(&self, signatures: &[NoteSignature]) -> Vec<u8> {
        Note::new(self.text(), signatures).expect("the text is that of a note").to_bytes()
    }

    /// The signatures of known keys, each of them checked.
    pub(crate) fn verify(&self, known: &impl Verifiers) -> Result<Vec<NoteSignature>, NoteError> {
        self.note.verify(known).map(|(verified, _)| verified)
    }
}

/// The secret half.
struct LogSigner<'k> {
    log: LogKey,
    key: &'k SecretKey,
}

impl Signer for LogSigner<'_> {
    fn name(&self) -> &str {
        self.log.name()
    }

    fn key_id(&self) -> u32 {
        self.log.id()
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
        note.add_sigs(&[&LogSigner { log: log_key(&key().public()), key: &key() }]).unwrap();
        let error = verify_checkpoint(&note.to_bytes(), &key().public()).unwrap_err();
        assert!(matches!(&error, CheckpointError::Origin(origin) if origin == "elsewhere"), "{error}");
    }
}
