//! Sigsum's logs and witnesses sign the same checkpoints and cosignatures, in a format of their own around them. The crate `sigsum`, of
//! Mullvad, is a verifier of that which has another Ed25519 and another Merkle tree than ours; and its documentation has a proof from a log
//! in operation, with the cosignatures of eight witnesses of six operators.

use adit_protocol::{PublicKey, SecretKey, Signature};
use adit_tlog::{
    Cosigner, LogKey, LogProof, Policy, PolicyError, UnixSeconds, Witness, WitnessKey, verify_cosignature, with_cosignatures,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use redb::backends::InMemoryBackend;
use sha2::{Digest, Sha256};
use tlog_tiles::{node_hash, record_hash};

/// As the documentation of `sigsum` 0.3.0 has it.
const PROOF: &str = include_str!("sigsum-test-2026.proof");

/// The policy that it holds under, as the crate has it.
const POLICY: &str = include_str!("sigsum-test-2025-3.policy");

const MESSAGE: &[u8] = b"Hello, Sigsum!\n";

/// The values of a line of Sigsum's ASCII format, for each line with this name.
fn fields<'t>(text: &'t str, name: &'t str) -> impl Iterator<Item = Vec<&'t str>> {
    let values = text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('='));
    values.map(|values| values.split(' ').collect())
}

fn field<'t>(text: &'t str, name: &'t str) -> Vec<&'t str> {
    fields(text, name).next().unwrap()
}

fn unhex<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn origin(log: &PublicKey) -> String {
    format!("sigsum.org/v1/tree/{}", hex::encode(sha256(&log.0)))
}

/// A signature's line, put together here.
fn line(name: &str, id: u32, signature: &[u8]) -> String {
    format!("\u{2014} {name} {}\n", BASE64_STANDARD.encode([&id.to_be_bytes(), signature].concat()))
}

/// Sigsum's policy with our keys: of the words of a line, those in hex.
fn with_vkeys(policy: &str) -> String {
    let lines = policy.lines().map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["log", key, rest @ ..] => {
            let key = PublicKey(unhex(key));
            format!("log {} {}\n", LogKey::new(&origin(&key), key).unwrap(), rest.join(" "))
        }
        ["witness", name, key] => format!("witness {name} {}\n", WitnessKey::new(name, PublicKey(unhex(key))).unwrap()),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// The checkpoint of a proof in Sigsum's format, as a note with the signatures of keys that the policy has.
fn checkpoint(proof: &str, policy: &Policy) -> Vec<u8> {
    let (log_hash, root) = (unhex(field(proof, "log")[0]), unhex::<32>(field(proof, "root_hash")[0]));
    let log = policy.logs().iter().find(|log| sha256(&log.key.key().0) == log_hash).unwrap();
    let text = format!("{}\n{}\n{}\n", log.key.name(), field(proof, "size")[0], BASE64_STANDARD.encode(root));
    let mut note = format!("{text}\n{}", line(log.key.name(), log.key.id(), &unhex::<64>(field(proof, "signature")[0])));
    for cosignature in fields(proof, "cosignature") {
        let [hash, time, signature] = cosignature.try_into().unwrap();
        let of = policy.witnesses().iter().find(|witness| sha256(&witness.key.key().0) == unhex(hash)).unwrap();
        let signature = [time.parse::<u64>().unwrap().to_be_bytes().as_slice(), &unhex::<64>(signature)].concat();
        note += &line(of.key.name(), of.key.id(), &signature);
    }
    note.into_bytes()
}

#[test]
fn log_in_operation_and_its_witnesses_are_accepted() {
    let policy: Policy = with_vkeys(POLICY).parse().unwrap();
    let note = checkpoint(PROOF, &policy);
    let verdict = policy.check(&note).unwrap();
    assert_eq!((verdict.head.size, verdict.witnesses.len()), (381_382, 8));
    assert!(verdict.witnesses.iter().all(|witness| witness.time == UnixSeconds(1_770_193_051)));
    // The leaf is what Sigsum makes of a message and its sender's signature.
    let sender = field(PROOF, "leaf");
    let leaf = [sha256(&sha256(MESSAGE)).as_slice(), &unhex::<64>(sender[1]), &unhex::<32>(sender[0])].concat();
    let proof = LogProof {
        extra: Vec::new(),
        index: field(PROOF, "leaf_index")[0].parse().unwrap(),
        hashes: fields(PROOF, "node_hash").map(|hash| unhex(hash[0])).collect(),
        checkpoint: note,
    };
    let read = LogProof::from_bytes(&proof.to_bytes()).unwrap();
    assert_eq!(read.verify(&leaf).unwrap(), verdict.head);
    assert!(read.verify(MESSAGE).is_err());
    // Theirs, of the same.
    let (signer, theirs) = (sigsum::PublicKey::from(unhex(THEIR_SENDER)), sigsum::SigsumSignature::from_ascii(PROOF).unwrap());
    sigsum::verify(&sigsum::Hash::new(MESSAGE), &theirs, &[signer], &sigsum::Policy::parse(POLICY).unwrap()).unwrap();
}

/// Who signed the message, from the same documentation.
const THEIR_SENDER: &str = "99ed58583e8750b20548e69df4a4e1a592379a9a66c51cd32e42fbe4e1bde78a";

/// Sigsum's format of a leaf of ours, the second of two, in a log under Sigsum's name for it, with what our witnesses of these numbers say.
struct Cosigned {
    log: SecretKey,
    sender: SecretKey,
    note: Vec<u8>,
    /// The number of each witness, and its line.
    lines: Vec<(u8, String)>,
    proof: String,
}

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

fn cosigner(n: u8) -> Cosigner {
    Cosigner::new(&format!("w{n}"), SecretKey::from_seed([n; 32])).unwrap()
}

impl Cosigned {
    fn by(witnesses: impl IntoIterator<Item = u8>) -> Self {
        let (log, sender) = (SecretKey::from_seed([100; 32]), SecretKey::from_seed([101; 32]));
        let (key, checksum) = (log.public(), sha256(&sha256(MESSAGE)));
        let signed = [b"sigsum.org/v1/tree-leaf\0".as_slice(), &checksum].concat();
        // What Sigsum has signed has a zero byte, which no note of ours has.
        let leaf_signature = dalek_sign(&sender, &signed);
        let leaf = [checksum.as_slice(), &leaf_signature, &sha256(&sender.public().0)].concat();
        let sibling = record_hash(b"another leaf");
        let root = node_hash(sibling, record_hash(&leaf));
        let text = format!("{}\n2\n{}\n", origin(&key), BASE64_STANDARD.encode(root.0));
        let signature: Signature = log.sign_note(text.as_bytes());
        let log_key = LogKey::new(&origin(&key), key).unwrap();
        let note = format!("{text}\n{}", line(log_key.name(), log_key.id(), signature.0.as_ref())).into_bytes();
        let lines: Vec<(u8, String)> = witnesses.into_iter().map(|n| (n, add_checkpoint(n, &log_key, &note))).collect();
        let mut proof = format!(
            "version=2\nlog={}\nleaf={} {}\n\nsize=2\nroot_hash={}\nsignature={}\n",
            hex::encode(sha256(&key.0)),
            hex::encode(sha256(&sender.public().0)),
            hex::encode(leaf_signature),
            hex::encode(root.0),
            hex::encode(*signature.0)
        );
        for (n, line) in &lines {
            let bytes = BASE64_STANDARD.decode(line.trim_end().rsplit_once(' ').unwrap().1).unwrap();
            let time = u64::from_be_bytes(bytes[4..12].try_into().unwrap());
            let key = hex::encode(sha256(&cosigner(*n).key().key().0));
            proof += &format!("cosignature={key} {time} {}\n", hex::encode(&bytes[12..]));
        }
        proof += &format!("\nleaf_index=1\nnode_hash={}\n", hex::encode(sibling.0));
        Self { log, sender, note, lines, proof }
    }

    fn is_good_to_us(&self, policy: &str) -> bool {
        let policy: Policy = with_vkeys(policy).parse().unwrap();
        match policy.check(&with_cosignatures(&self.note, self.lines.iter().map(|(_, line)| line.as_str()))) {
            Ok(verdict) => {
                assert_eq!(verdict.witnesses.len(), self.lines.len());
                true
            }
            Err(PolicyError::Quorum { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn is_good_to_them(&self, policy: &str) -> bool {
        let proof = sigsum::SigsumSignature::from_ascii(&self.proof).unwrap();
        let policy = sigsum::Policy::parse(policy).unwrap();
        sigsum::verify(&sigsum::Hash::new(MESSAGE), &proof, &[self.sender.public().0.into()], &policy).is_ok()
    }
}

fn dalek_sign(key: &SecretKey, bytes: &[u8]) -> [u8; 64] {
    use ed25519_dalek::Signer;
    ed25519_dalek::SigningKey::from_bytes(key.seed()).sign(bytes).to_bytes()
}

/// The line of witness `n`, which is new to the log.
fn add_checkpoint(n: u8, log: &LogKey, note: &[u8]) -> String {
    let witness = Witness::open_with(InMemoryBackend::new(), cosigner(n), vec![log.clone()]).unwrap();
    let response = witness.add_checkpoint(&[b"old 0\n\n", note].concat(), NOW);
    assert_eq!(response.status, 200);
    let line = String::from_utf8(response.body.to_vec()).unwrap();
    assert_eq!(verify_cosignature(note, &line, witness.key()).unwrap().time, NOW);
    line
}

/// Two levels of groups over six witnesses, in Sigsum's form.
fn policy(log: &SecretKey) -> String {
    let mut policy = format!("log {}\n", hex::encode(log.public().0));
    for n in 1..=6 {
        policy += &format!("witness w{n} {}\n", hex::encode(cosigner(n).key().key().0));
    }
    policy + "group x 2 w1 w2 w3\ngroup y any w4 w5\ngroup both all x y\ngroup any-of any both w6\nquorum any-of\n"
}

#[test]
fn they_take_our_witnesses_word_and_count_it_as_we_do() {
    let mut good = 0;
    for set in 0..64_u8 {
        let cosigned = Cosigned::by((1..=6).filter(|n| set & (1 << (n - 1)) != 0));
        let policy = policy(&cosigned.log);
        let is_good = cosigned.is_good_to_us(&policy);
        assert_eq!(is_good, cosigned.is_good_to_them(&policy), "{set:06b}");
        good += usize::from(is_good);
    }
    // With w6 all 32; without it, 4 of the 8 sets of x times 3 of the 4 of y.
    assert_eq!(good, 32 + 12);
}

#[test]
fn they_refuse_a_changed_word() {
    let cosigned = Cosigned::by([6]);
    let policy = policy(&cosigned.log);
    assert!(cosigned.is_good_to_them(&policy));
    for (from, to) in [(" 1700000000 ", " 1700000001 "), ("\nsize=2", "\nsize=3"), ("leaf_index=1", "leaf_index=0")] {
        let proof = cosigned.proof.replace(from, to);
        assert_ne!(proof, cosigned.proof);
        let changed = Cosigned { proof, ..Cosigned::by([6]) };
        assert!(!changed.is_good_to_them(&policy), "{from}");
    }
}
