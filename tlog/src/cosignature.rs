//! A witness' word for a checkpoint: that, at a time, it was the largest it had seen of this log, and all it had seen agree
//! (<https://c2sp.org/tlog-cosignature>).

use adit_protocol::{SecretKey, Signature, UnixMillis};
use signed_note::{Signature as NoteSignature, Verifier};
use tlog_tiles::Checkpoint;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::key::{KeyError, WitnessKey};

/// The last time that a cosignature can state.
const TIME_MAX: u64 = i64::MAX as u64;

/// Bytes before the signature proper: the time.
const TIME_BYTES: usize = 8;

/// Seconds since 1970 (POSIX), the resolution of cosignatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

impl From<UnixMillis> for UnixSeconds {
    fn from(time: UnixMillis) -> Self {
        Self(time.0 / 1000)
    }
}

/// A cosignature that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// The signature's line, with the newline that ends it.
    pub line: String,
    /// When the witness made it, as it says.
    pub time: UnixSeconds,
}

/// A cosignature that proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CosignatureError {
    /// What is cosigned is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The line is no signature's.
    #[error("it is no signature line of a note")]
    Line,
    /// The line is of another key.
    #[error("the signature is of the key {name}+{id:08x}")]
    Key {
        /// The name in the line.
        name: String,
        /// The ID in the line.
        id: u32,
    },
    /// The signature is not of this checkpoint, or states no time.
    #[error("the signature does not match")]
    Mismatch,
}

/// A witness' key pair. One key has one name: the name is not in what is signed.
#[derive(Debug)]
pub struct Cosigner {
    key: WitnessKey,
    secret: SecretKey,
}

impl Cosigner {
    /// The witness `name` with this key.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn new(name: &str, secret: SecretKey) -> Result<Self, KeyError> {
        Ok(Self { key: WitnessKey::new(name, secret.public())?, secret })
    }

    /// The public half.
    pub fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// Cosigns a checkpoint, a signed note whose own signatures are left alone. To be done only with the largest checkpoint of its log that
    /// this witness ever saw, and only once that is durable; a [`Witness`](crate::Witness) sees to both.
    ///
    /// # Errors
    /// [`CheckpointError`] where it is no checkpoint.
    pub fn cosign(&self, checkpoint: &[u8], time: UnixSeconds) -> Result<Cosignature, CheckpointError> {
        Ok(self.cosign_parsed(&SignedCheckpoint::from_bytes(checkpoint)?, time))
    }

    pub(crate) fn cosign_parsed(&self, checkpoint: &SignedCheckpoint, time: UnixSeconds) -> Cosignature {
        let time = UnixSeconds(time.0.min(TIME_MAX));
        let signature = self.secret.sign_note(&message(time, checkpoint.text()));
        let bytes = [time.0.to_be_bytes().as_slice(), signature.0.as_ref()].concat();
        let signature = NoteSignature::new(self.key.name().to_owned(), self.key.id(), bytes).expect("the key has a valid name");
        let line = String::from_utf8(signature.to_bytes()).expect("a name and base64 are text");
        Cosignature { line, time }
    }
}

/// Checks that the line, with or without the newline that ends it, is the cosignature of `witness` over `checkpoint`, a signed note whose
/// own signatures are left alone.
///
/// # Errors
/// [`CosignatureError`] says what it is instead.
pub fn verify_cosignature(checkpoint: &[u8], line: &str, witness: &WitnessKey) -> Result<Cosignature, CosignatureError> {
    let checkpoint = SignedCheckpoint::from_bytes(checkpoint)?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let signature = NoteSignature::from_bytes(line.as_bytes()).map_err(|_| CosignatureError::Line)?;
    if (signature.name(), signature.id()) != (witness.name(), witness.id()) {
        return Err(CosignatureError::Key { name: signature.name().to_owned(), id: signature.id() });
    }
    match verified_time(witness, checkpoint.text(), signature.signature()) {
        Some(time) => Ok(Cosignature { line: format!("{line}\n"), time }),
        None => Err(CosignatureError::Mismatch),
    }
}

/// The checkpoint with more signatures: each a line of its own, with the newline that ends it.
pub fn with_cosignatures<'l>(checkpoint: &[u8], lines: impl IntoIterator<Item = &'l str>) -> Vec<u8> {
    lines.into_iter().fold(checkpoint.to_vec(), |mut note, line| {
        note.extend_from_slice(line.as_bytes());
        note
    })
}

impl Verifier for WitnessKey {
    fn name(&self) -> &str {
        self.name()
    }

    fn key_id(&self) -> u32 {
        self.id()
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        verified_time(self, text, signature).is_some()
    }
}

/// The time in a signature of `witness` over a checkpoint's text; nothing where it is not that.
fn verified_time(witness: &WitnessKey, text: &[u8], signature: &[u8]) -> Option<UnixSeconds> {
    // A cosignature states something of a checkpoint; over any other note it would state nothing.
    Checkpoint::from_bytes(text).ok()?;
    let (time, signature) = signature.split_first_chunk::<TIME_BYTES>()?;
    let time = UnixSeconds(u64::from_be_bytes(*time));
    let signature: [u8; 64] = signature.try_into().ok()?;
    witness.key().verify_note(&message(time, text), &Signature(signature.into())).ok()?;
    (time.0 <= TIME_MAX).then_some(time)
}

/// The time that a cosignature states; nothing where it is too short for one. To be asked only of one that was verified.
pub(crate) fn stated_time(signature: &[u8]) -> Option<UnixSeconds> {
    signature.first_chunk::<TIME_BYTES>().map(|time| UnixSeconds(u64::from_be_bytes(*time)))
}

fn message(time: UnixSeconds, text: &[u8]) -> Vec<u8> {
    [format!("cosignature/v1\ntime {}\n", time.0).as_bytes(), text].concat()
}

#[cfg(test)]
mod tests {
    use adit_ledger::TreeHead;
    use adit_protocol::PublicKey;

    use super::*;
    use crate::sign_checkpoint;

    const TIME: UnixSeconds = UnixSeconds(1_679_315_147);

    /// The example of the specification. Its keys are not published, so that only its form can be checked.
    const EXAMPLE: &str = "\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
";

    fn checkpoint() -> Vec<u8> {
        sign_checkpoint(&SecretKey::from_seed([9; 32]), &TreeHead { size: 70_000, root: [7; 32] })
    }

    fn cosigner() -> Cosigner {
        Cosigner::new("witness.example/w1", SecretKey::from_seed([5; 32])).unwrap()
    }

    fn cosign(checkpoint: &[u8], time: UnixSeconds) -> Cosignature {
        cosigner().cosign(checkpoint, time).unwrap()
    }

    #[test]
    fn cosignature_states_its_time_over_the_text_alone() {
        let made = cosign(&checkpoint(), TIME);
        assert_eq!(verify_cosignature(&checkpoint(), &made.line, cosigner().key()).unwrap(), made);
        let cosigned = with_cosignatures(&checkpoint(), [made.line.as_str()]);
        assert_eq!(verify_cosignature(&cosigned, made.line.trim_end(), cosigner().key()).unwrap().time, TIME);
        assert_eq!(cosign(&cosigned, TIME), made);
        let late = cosign(&checkpoint(), UnixSeconds(u64::MAX));
        assert_eq!(verify_cosignature(&checkpoint(), &late.line, cosigner().key()).unwrap().time, UnixSeconds(TIME_MAX));
    }

    #[test]
    fn specifications_example_has_our_form() {
        let line = EXAMPLE.lines().last().unwrap();
        let signature = NoteSignature::from_bytes(line.as_bytes()).unwrap();
        assert_eq!((signature.signature().len(), stated_time(signature.signature())), (TIME_BYTES + 64, Some(TIME)));
        let text = SignedCheckpoint::from_bytes(EXAMPLE.as_bytes()).unwrap().text().to_vec();
        let want = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(message(TIME, &text), want.as_bytes());
        let error = verify_cosignature(EXAMPLE.as_bytes(), line, cosigner().key()).unwrap_err();
        assert!(matches!(error, CosignatureError::Key { id: 0x8d66_cf3f, .. }), "{error}");
    }

    #[test]
    fn any_other_cosignature_is_refused() {
        let (note, made, key) = (checkpoint(), cosign(&checkpoint(), TIME), cosigner().key().clone());
        for at in 0..made.line.len() {
            let mut bad = made.line.clone().into_bytes();
            bad[at] ^= 1;
            let Ok(bad) = String::from_utf8(bad) else { continue };
            assert!(verify_cosignature(&note, &bad, &key).is_err(), "byte {at}");
            if made.line.is_char_boundary(at) && at + 1 < made.line.len() {
                assert!(verify_cosignature(&note, &made.line[..at], &key).is_err(), "{at} bytes");
            }
        }
        let other = sign_checkpoint(&SecretKey::from_seed([9; 32]), &TreeHead { size: 70_001, root: [7; 32] });
        assert!(matches!(verify_cosignature(&other, &made.line, &key), Err(CosignatureError::Mismatch)));
        // The key of another under the same name and ID, as far as the line says.
        let line = made.line.replace("w1 ", "w2 ");
        let stranger = WitnessKey::new("witness.example/w2", PublicKey([1; 32])).unwrap();
        assert!(matches!(verify_cosignature(&note, &line, &stranger), Err(CosignatureError::Key { .. })));
    }

    #[test]
    fn time_past_the_last_is_refused() {
        let (cosigner, note) = (cosigner(), SignedCheckpoint::from_bytes(&checkpoint()).unwrap());
        for (time, good) in [(TIME_MAX, true), (TIME_MAX + 1, false), (u64::MAX, false)] {
            let signature = cosigner.secret.sign_note(&message(UnixSeconds(time), note.text()));
            let bytes = [time.to_be_bytes().as_slice(), signature.0.as_ref()].concat();
            assert_eq!(cosigner.key().verify(note.text(), &bytes), good, "{time}");
        }
    }

    /// By the specification's words alone, over another implementation of Ed25519.
    #[test]
    fn cosignature_is_checked_by_hand() {
        use ed25519_dalek::{Signature, VerifyingKey};
        use sha2::{Digest, Sha256};

        let (note, made) = (String::from_utf8(checkpoint()).unwrap(), cosign(&checkpoint(), TIME));
        let rest = made.line.strip_prefix("\u{2014} witness.example/w1 ").unwrap().strip_suffix('\n').unwrap();
        let bytes = crate::line::parse_base64(rest).unwrap();
        assert_eq!(bytes.len(), 4 + 8 + 64);
        let public = SecretKey::from_seed([5; 32]).public().0;
        let id = Sha256::new().chain_update(b"witness.example/w1\n\x04").chain_update(public).finalize();
        assert_eq!(bytes[..4], id[..4]);
        assert_eq!(bytes[4..12], 1_679_315_147_u64.to_be_bytes());
        let (text, _) = note.split_once("\n\n").unwrap();
        let message = format!("cosignature/v1\ntime 1679315147\n{text}\n");
        let key = VerifyingKey::from_bytes(&public).unwrap();
        key.verify_strict(message.as_bytes(), &Signature::from_slice(&bytes[12..]).unwrap()).unwrap();
    }
}
