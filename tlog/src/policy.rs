//! Whose signatures make a checkpoint good: which logs, and how many of which witnesses (<https://c2sp.org/tlog-policy>).

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use adit_ledger::TreeHead;
use signed_note::{NoteError, VerificationError, Verifier, Verifiers};

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::cosignature::{UnixSeconds, stated_time};
use crate::key::{KeyError, LogKey, NoteKey, WitnessKey};

/// Bytes of a policy's text.
const POLICY_BYTES_MAX: usize = 256 * 1024;

/// Logs, witnesses and groups of a policy, of each. A note has at most a hundred signatures.
const ENTRIES_MAX: usize = 64;

/// Which logs are known, which witnesses, and which of these must have cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    /// Each has only members that stand before it.
    groups: Vec<Group>,
    /// Nothing where no cosignature is asked for.
    quorum: Option<Member>,
}

/// A log that a policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its key; the name is its origin.
    pub key: LogKey,
    /// Where it is, for those who talk to it.
    pub url: Option<String>,
}

/// A witness that a policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// What it is called in this policy.
    pub name: String,
    /// Its key.
    pub key: WitnessKey,
    /// Its submission prefix, for those who talk to it (<https://c2sp.org/tlog-witness>).
    pub url: Option<String>,
}

/// A text that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFileError {
    /// It is longer than any policy.
    #[error("a policy has at most {POLICY_BYTES_MAX} bytes; this has {0}")]
    TooLarge(usize),
    /// It does not say which witnesses are enough.
    #[error("the policy has no quorum line; for none, write: quorum none")]
    NoQuorum,
    /// A line is wrong.
    #[error("line {line} of the policy: {fault}")]
    Line {
        /// Which, from 1 on.
        line: usize,
        /// What is wrong with it.
        fault: PolicyFault,
    },
}

/// What is wrong with a line of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// A byte that no policy has.
    #[error("the byte {0:#04x} is not allowed; lines end with a newline alone, and only tabs and spaces are blank")]
    Byte(u8),
    /// The first word is none that is known.
    #[error("{0:?} is none of log, witness, group and quorum")]
    Keyword(String),
    /// There are too few words, or too many.
    #[error("the form is: {0}")]
    Form(&'static str),
    /// A key is none, or one of another kind.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key is another line's, under whatever name, or could not be told from it in a signature.
    #[error("the key is that of another {0} above")]
    DuplicateKey(&'static str),
    /// A name is given twice.
    #[error("the name {0:?} is taken")]
    DuplicateName(String),
    /// A name that was not given above.
    #[error("no witness or group above is called {0:?}")]
    UnknownName(String),
    /// A member of two groups, or twice of one.
    #[error("{0:?} is a member of a group already")]
    SecondMembership(String),
    /// The threshold is not one that the group can reach.
    #[error("{text:?} is neither any, all nor a number from 1 to {members}")]
    Threshold {
        /// What it says.
        text: String,
        /// How many members there are.
        members: usize,
    },
    /// A second quorum line.
    #[error("there is a quorum line above")]
    SecondQuorum,
    /// More entries of a kind than are supported.
    #[error("a policy has at most {ENTRIES_MAX} lines of this kind")]
    TooMany,
}

/// A checkpoint that a policy accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The log that signed it.
    pub log: LogKey,
    /// The tree that it states.
    pub head: TreeHead,
    /// The policy's witnesses that cosigned it, in the policy's order, whether the quorum needed them or not.
    pub witnesses: Vec<Witnessed>,
    /// What the quorum asked for, such as `2 of (a, b, c)`, or `none`.
    pub quorum: String,
}

/// A witness that cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// What the policy calls it.
    pub name: String,
    /// Its key.
    pub key: WitnessKey,
    /// When it cosigned, as it says.
    pub time: UnixSeconds,
}

/// A checkpoint that a policy does not accept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It is no checkpoint, or a signature of a key that is known does not match.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// None of the policy's logs has this origin.
    #[error("the policy knows no log `{0}`")]
    UnknownLog(String),
    /// No key of that log signed it.
    #[error("the checkpoint is not signed by the log `{0}`")]
    Unsigned(String),
    /// Too few witnesses cosigned it.
    #[error("the policy asks for cosignatures of {quorum}; there are those of {}", list(cosigned))]
    Quorum {
        /// What it asks for.
        quorum: String,
        /// The policy's witnesses that cosigned.
        cosigned: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    threshold: usize,
    members: Vec<Member>,
}

/// By its place in the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

impl Policy {
    /// Reads a policy's text.
    ///
    /// # Errors
    /// [`PolicyFileError`] names the line.
    pub fn from_bytes(text: &[u8]) -> Result<Self, PolicyFileError> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(PolicyFileError::TooLarge(text.len()));
        }
        let mut parser = Parser::default();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            parser.line(line).map_err(|fault| PolicyFileError::Line { line: index + 1, fault })?;
        }
        let Parser { logs, witnesses, groups, quorum, .. } = parser;
        Ok(Self { logs, witnesses, groups, quorum: quorum.ok_or(PolicyFileError::NoQuorum)? })
    }

    /// The logs whose checkpoints it accepts.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses that it knows.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// What the quorum asks for, such as `2 of (a, b, c)`, or `none`.
    pub fn quorum(&self) -> String {
        self.quorum.map_or_else(|| "none".to_owned(), |member| self.describe(member))
    }

    /// This policy for the checkpoints of one log, which its user knows from elsewhere, and of no other.
    #[must_use]
    pub fn for_log(self, key: LogKey) -> Self {
        let url = self.logs.iter().find(|log| log.key == key).and_then(|log| log.url.clone());
        Self { logs: vec![PolicyLog { key, url }], ..self }
    }

    /// Checks that a log of this policy signed the checkpoint, a signed note, and that the quorum cosigned it.
    ///
    /// Every signature of a key that the policy knows is checked, and one that does not match makes the checkpoint bad; others are left
    /// alone.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn check(&self, checkpoint: &[u8]) -> Result<Verdict, PolicyError> {
        let checkpoint = SignedCheckpoint::from_bytes(checkpoint)?;
        let origin = checkpoint.origin();
        if !self.logs.iter().any(|log| log.key.name() == origin) {
            return Err(PolicyError::UnknownLog(origin.to_owned()));
        }
        let unsigned = || PolicyError::Unsigned(origin.to_owned());
        let signatures = match checkpoint.verify(&Known(self)) {
            Err(NoteError::UnverifiedNote) => return Err(unsigned()),
            signatures => signatures.map_err(CheckpointError::from)?,
        };
        let signature_of = |name: &str, id: u32| signatures.iter().find(|by| by.name() == name && by.id() == id);
        let log = self.logs.iter().find(|log| log.key.name() == origin && signature_of(origin, log.key.id()).is_some());
        let log = log.ok_or_else(unsigned)?.key.clone();
        let times: Vec<Option<UnixSeconds>> = (self.witnesses.iter())
            .map(|witness| stated_time(signature_of(witness.key.name(), witness.key.id())?.signature()))
            .collect();
        let witnesses = self.witnesses.iter().zip(&times).filter_map(|(witness, time)| {
            Some(Witnessed { name: witness.name.clone(), key: witness.key.clone(), time: (*time)? })
        });
        let (witnesses, quorum): (Vec<Witnessed>, _) = (witnesses.collect(), self.quorum());
        if !self.is_reached(&times) {
            return Err(PolicyError::Quorum { quorum, cosigned: witnesses.into_iter().map(|witness| witness.name).collect() });
        }
        Ok(Verdict { log, head: checkpoint.head(), witnesses, quorum })
    }

    fn is_reached(&self, times: &[Option<UnixSeconds>]) -> bool {
        let mut groups: Vec<bool> = Vec::new();
        let has = |groups: &[bool], member: &Member| match *member {
            Member::Witness(index) => times[index].is_some(),
            Member::Group(index) => groups[index],
        };
        for group in &self.groups {
            let count = group.members.iter().filter(|member| has(&groups, member)).count();
            groups.push(count >= group.threshold);
        }
        self.quorum.is_none_or(|quorum| has(&groups, &quorum))
    }

    /// Ends, since members stand before their group; and is no longer than the policy, since each is a member once.
    fn describe(&self, member: Member) -> String {
        match member {
            Member::Witness(index) => self.witnesses[index].name.clone(),
            Member::Group(index) => {
                let Group { threshold, members } = &self.groups[index];
                let members: Vec<String> = members.iter().map(|member| self.describe(*member)).collect();
                format!("{threshold} of ({})", members.join(", "))
            }
        }
    }
}

impl FromStr for Policy {
    type Err = PolicyFileError;

    fn from_str(text: &str) -> Result<Self, PolicyFileError> {
        Self::from_bytes(text.as_bytes())
    }
}

/// The keys whose signatures are checked. That of another log than the checkpoint's counts for nothing.
struct Known<'p>(&'p Policy);

impl Verifiers for Known<'_> {
    fn verifier(&self, name: &str, id: u32) -> Result<&dyn Verifier, VerificationError> {
        let Policy { logs, witnesses, .. } = self.0;
        let log = logs.iter().map(|log| &log.key).find(|key| key.name() == name && key.id() == id);
        let witness = witnesses.iter().map(|witness| &witness.key).find(|key| key.name() == name && key.id() == id);
        match (log, witness) {
            (Some(log), _) => Ok(log),
            (None, Some(witness)) => Ok(witness),
            (None, None) => Err(VerificationError::UnknownKey { name: name.to_owned(), id }),
        }
    }
}

/// What the lines so far say. Names are bytes: the format gives no meaning to what is not ASCII.
#[derive(Default)]
struct Parser<'t> {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Option<Option<Member>>,
    names: HashMap<&'t [u8], Member>,
    members: HashSet<&'t [u8]>,
}

impl<'t> Parser<'t> {
    fn line(&mut self, line: &'t [u8]) -> Result<(), PolicyFault> {
        let is_allowed = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        if let Some(byte) = line.iter().find(|byte| !is_allowed(byte)) {
            return Err(PolicyFault::Byte(*byte));
        }
        let words: Vec<&[u8]> = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", words @ ..] => self.log(words),
            [b"witness", words @ ..] => self.witness(words),
            [b"group", words @ ..] => self.group(words),
            [b"quorum", words @ ..] => self.quorum(words),
            [other, ..] => Err(PolicyFault::Keyword(to_text(other))),
        }
    }

    fn log(&mut self, words: &[&'t [u8]]) -> Result<(), PolicyFault> {
        let (key, url) = match words {
            [key] => (key, None),
            [key, url] => (key, Some(to_text(url))),
            _ => return Err(PolicyFault::Form("log KEY [URL]")),
        };
        let key: LogKey = parse_key(key)?;
        if self.logs.iter().any(|log| log.key.key() == key.key() || is_same_signer(&log.key, &key)) {
            return Err(PolicyFault::DuplicateKey("log"));
        }
        if self.witnesses.iter().any(|witness| is_same_signer(&witness.key, &key)) {
            return Err(PolicyFault::DuplicateKey("witness"));
        }
        push(&mut self.logs, PolicyLog { key, url })
    }

    fn witness(&mut self, words: &[&'t [u8]]) -> Result<(), PolicyFault> {
        let (name, key, url) = match words {
            [name, key] => (*name, key, None),
            [name, key, url] => (*name, key, Some(to_text(url))),
            _ => return Err(PolicyFault::Form("witness NAME KEY [URL]")),
        };
        let key: WitnessKey = parse_key(key)?;
        if self.witnesses.iter().any(|witness| witness.key.key() == key.key() || is_same_signer(&witness.key, &key)) {
            return Err(PolicyFault::DuplicateKey("witness"));
        }
        if self.logs.iter().any(|log| is_same_signer(&log.key, &key)) {
            return Err(PolicyFault::DuplicateKey("log"));
        }
        self.name(name, Member::Witness(self.witnesses.len()))?;
        push(&mut self.witnesses, PolicyWitness { name: to_text(name), key, url })
    }

    fn group(&mut self, words: &[&'t [u8]]) -> Result<(), PolicyFault> {
        let [name, threshold, names @ ..] = words else { return Err(PolicyFault::Form("group NAME any|all|K NAME...")) };
        if names.is_empty() {
            return Err(PolicyFault::Form("group NAME any|all|K NAME..."));
        }
        let mut members = Vec::new();
        for name in names {
            members.push(*self.names.get(name).ok_or_else(|| PolicyFault::UnknownName(to_text(name)))?);
            if !self.members.insert(name) {
                return Err(PolicyFault::SecondMembership(to_text(name)));
            }
        }
        let threshold = match *threshold {
            b"any" => 1,
            b"all" => members.len(),
            number => parse_threshold(number, members.len())?,
        };
        self.name(name, Member::Group(self.groups.len()))?;
        push(&mut self.groups, Group { threshold, members })
    }

    fn quorum(&mut self, words: &[&'t [u8]]) -> Result<(), PolicyFault> {
        let [name] = words else { return Err(PolicyFault::Form("quorum NAME|none")) };
        if self.quorum.is_some() {
            return Err(PolicyFault::SecondQuorum);
        }
        let member = self.names.get(name).copied();
        if member.is_none() && *name != b"none" {
            return Err(PolicyFault::UnknownName(to_text(name)));
        }
        self.quorum = Some(member);
        Ok(())
    }

    fn name(&mut self, name: &'t [u8], member: Member) -> Result<(), PolicyFault> {
        if name == b"none" || self.names.insert(name, member).is_some() {
            return Err(PolicyFault::DuplicateName(to_text(name)));
        }
        Ok(())
    }
}

fn push<T>(entries: &mut Vec<T>, entry: T) -> Result<(), PolicyFault> {
    if entries.len() == ENTRIES_MAX {
        return Err(PolicyFault::TooMany);
    }
    entries.push(entry);
    Ok(())
}

fn parse_key<const TYPE: u8>(word: &[u8]) -> Result<NoteKey<TYPE>, PolicyFault> {
    let text = std::str::from_utf8(word).map_err(|_| KeyError::Form)?;
    Ok(text.parse()?)
}

fn parse_threshold(word: &[u8], members: usize) -> Result<usize, PolicyFault> {
    let number = std::str::from_utf8(word).ok().filter(|text| text.bytes().all(|digit| digit.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok()).filter(|number| (1..=members).contains(number));
    number.ok_or_else(|| PolicyFault::Threshold { text: to_text(word), members })
}

/// Whether a signature's line could be of either key.
fn is_same_signer<const A: u8, const B: u8>(one: &NoteKey<A>, other: &NoteKey<B>) -> bool {
    one.name() == other.name() && one.id() == other.id()
}

fn to_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use adit_protocol::SecretKey;

    use super::*;
    use crate::cosignature::{Cosigner, with_cosignatures};
    use crate::{log_key, sign_checkpoint};

    const HEAD: TreeHead = TreeHead { size: 7, root: [7; 32] };

    fn log() -> SecretKey {
        SecretKey::from_seed([100; 32])
    }

    fn witness(n: u8) -> Cosigner {
        Cosigner::new(&format!("w{n}.example"), SecretKey::from_seed([n; 32])).unwrap()
    }

    /// The text with `LOG` and `W1` to `W9` replaced by keys.
    fn fill(text: &str) -> String {
        let text = text.replace("LOG", &log_key(&log().public()).to_string());
        (1..=9).fold(text, |text, n| text.replace(&format!("W{n}"), &witness(n).key().to_string()))
    }

    fn parse(text: &str) -> Result<Policy, PolicyFileError> {
        fill(text).parse()
    }

    fn cosigned(by: &[u8]) -> Vec<u8> {
        let note = sign_checkpoint(&log(), &HEAD);
        let lines: Vec<String> =
            by.iter().map(|n| witness(*n).cosign(&note, UnixSeconds(1000 + u64::from(*n))).unwrap().line).collect();
        with_cosignatures(&note, lines.iter().map(String::as_str))
    }

    /// The example of the specification.
    const EXAMPLE: &str = "\
log LOG

witness X1 W1
witness X2 W2
witness X3 W3
group X-witnesses 2 X1 X2 X3

witness Y1 W4
witness Y2 W5
witness Y3 W6
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
";

    #[test]
    fn quorum_is_counted_through_groups() {
        let policy = parse(EXAMPLE).unwrap();
        let asked = "2 of (2 of (X1, X2, X3), 1 of (Y1, Y2, Y3))";
        assert_eq!(policy.quorum(), asked);
        let rows: [(&[u8], bool); 9] = [
            (&[1, 2, 4], true),
            (&[3, 1, 6, 5], true),
            (&[1, 2, 3, 4, 5, 6], true),
            (&[], false),
            (&[1, 2, 3], false),
            (&[4, 5, 6], false),
            (&[1, 4, 5, 6], false),
            (&[1, 1, 4], false),
            (&[7, 8, 9], false),
        ];
        for (by, good) in rows {
            match policy.check(&cosigned(by)) {
                Ok(verdict) => {
                    assert!(good, "{by:?}");
                    assert_eq!((verdict.head, verdict.log, verdict.quorum.as_str()), (HEAD, log_key(&log().public()), asked));
                    let mut want: Vec<u64> = by.iter().map(|n| 1000 + u64::from(*n)).collect();
                    want.sort_unstable();
                    assert_eq!(verdict.witnesses.iter().map(|witness| witness.time.0).collect::<Vec<_>>(), want);
                    assert_eq!(verdict.witnesses[0].name, "X1");
                }
                Err(PolicyError::Quorum { .. }) => assert!(!good, "{by:?}"),
                Err(error) => panic!("{by:?}: {error}"),
            }
        }
        let error = policy.check(&cosigned(&[1])).unwrap_err().to_string();
        assert_eq!(error, format!("the policy asks for cosignatures of {asked}; there are those of X1"));
    }

    #[test]
    fn witness_none_or_one_may_be_the_quorum() {
        parse("log LOG\nquorum none").unwrap().check(&cosigned(&[])).unwrap();
        let one = parse("\t log\tLOG  https://log.example/ \r\n".replace('\r', "").as_str());
        assert_eq!(one, Err(PolicyFileError::NoQuorum));
        let one = parse(" # one\nwitness a W1 https://w.example/\nquorum a\n\nlog LOG https://log.example/ \n").unwrap();
        assert_eq!(one.witnesses()[0].url.as_deref(), Some("https://w.example/"));
        assert_eq!(one.logs()[0].url.as_deref(), Some("https://log.example/"));
        assert_eq!((one.check(&cosigned(&[1, 2])).unwrap().witnesses.len(), one.quorum().as_str()), (1, "a"));
        assert!(matches!(one.check(&cosigned(&[2])), Err(PolicyError::Quorum { .. })));
    }

    #[test]
    fn only_the_policys_logs_are_accepted() {
        let other = LogKey::new("elsewhere", log().public()).unwrap();
        let policy: Policy = format!("log {other}\nquorum none\n").parse().unwrap();
        assert!(matches!(policy.check(&cosigned(&[])), Err(PolicyError::UnknownLog(_))));
        let impostor = LogKey::new(log_key(&log().public()).name(), SecretKey::from_seed([3; 32]).public()).unwrap();
        let policy: Policy = format!("log {impostor}\nwitness w {}\nquorum none\n", witness(1).key()).parse().unwrap();
        assert!(matches!(policy.check(&cosigned(&[])), Err(PolicyError::Unsigned(_))));
        assert!(matches!(policy.check(&cosigned(&[1])), Err(PolicyError::Unsigned(_))));
        policy.for_log(log_key(&log().public())).check(&cosigned(&[1])).unwrap();
        // A log of the policy signs a checkpoint of another origin that the policy has too.
        let (mine, text) = (log_key(&log().public()), format!("elsewhere\n7\n{}\n", crate::line::to_base64(&[7; 32])));
        let signature = [mine.id().to_be_bytes().as_slice(), log().sign_note(text.as_bytes()).0.as_ref()].concat();
        let note = format!("{text}\n\u{2014} {} {}\n", mine.name(), crate::line::to_base64(&signature));
        let elsewhere = LogKey::new("elsewhere", SecretKey::from_seed([3; 32]).public()).unwrap();
        let policy: Policy = format!("log {mine}\nlog {elsewhere}\nquorum none\n").parse().unwrap();
        assert!(matches!(policy.check(note.as_bytes()), Err(PolicyError::Unsigned(_))));
    }

    #[test]
    fn wrong_signature_of_a_known_key_spoils_the_checkpoint() {
        let policy = parse("log LOG\nwitness a W1\nwitness b W2\ngroup g any a b\nquorum g").unwrap();
        let good = String::from_utf8(cosigned(&[1, 2])).unwrap();
        policy.check(good.as_bytes()).unwrap();
        let other_time = String::from_utf8(with_cosignatures(&cosigned(&[1]), [good.lines().last().unwrap(), "\n"])).unwrap();
        policy.check(other_time.as_bytes()).unwrap();
        for (at, byte) in good.bytes().enumerate() {
            let mut bad = good.clone().into_bytes();
            bad[at] = byte ^ 1;
            // A name or an ID that is nobody's is left alone, and one of two witnesses is enough.
            let last_lines = good.match_indices('\u{2014}').nth(1).unwrap().0;
            assert!(policy.check(&bad).is_err() || at > last_lines, "byte {at}");
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        use PolicyFault as F;
        let name = |name: &str| name.to_owned();
        let rows: [(&str, usize, F); 22] = [
            ("log LOG\r\nquorum none\n", 1, F::Byte(b'\r')),
            ("#\0\nquorum none", 1, F::Byte(0)),
            ("#\x7f\nquorum none", 1, F::Byte(0x7f)),
            ("quorum none\nlogs LOG", 2, F::Keyword(name("logs"))),
            ("log", 1, F::Form("log KEY [URL]")),
            ("log LOG a b", 1, F::Form("log KEY [URL]")),
            ("\n\nwitness a", 3, F::Form("witness NAME KEY [URL]")),
            ("log W1", 1, F::Key(KeyError::Type { found: 4, wanted: 1 })),
            ("witness a LOG", 1, F::Key(KeyError::Type { found: 1, wanted: 4 })),
            ("witness a b", 1, F::Key(KeyError::Form)),
            ("log LOG\nlog LOG", 2, F::DuplicateKey("log")),
            ("witness a W1\nwitness b W1", 2, F::DuplicateKey("witness")),
            ("witness a W1\nwitness a W2", 2, F::DuplicateName(name("a"))),
            ("witness none W1", 1, F::DuplicateName(name("none"))),
            ("group g any g", 1, F::UnknownName(name("g"))),
            ("witness a W1\ngroup a any a", 2, F::DuplicateName(name("a"))),
            ("witness a W1\ngroup g all a a", 2, F::SecondMembership(name("a"))),
            ("witness a W1\ngroup g all a\ngroup h all a g", 3, F::SecondMembership(name("a"))),
            ("group g any none", 1, F::UnknownName(name("none"))),
            ("group g any", 1, F::Form("group NAME any|all|K NAME...")),
            ("quorum a\nwitness a W1", 1, F::UnknownName(name("a"))),
            ("quorum none\nquorum none", 2, F::SecondQuorum),
        ];
        for (text, line, fault) in rows {
            assert_eq!(parse(text), Err(PolicyFileError::Line { line, fault }), "{text}");
        }
        for threshold in ["0", "3", "+1", "-1", "one", "1.0", "99999999999999999999", "\u{661}"] {
            let fault = F::Threshold { text: threshold.to_owned(), members: 2 };
            let want = Err(PolicyFileError::Line { line: 3, fault });
            assert_eq!(parse(&format!("witness a W1\nwitness b W2\ngroup g {threshold} a b")), want);
        }
        // Another name for the same key is the same key.
        let renamed = WitnessKey::new("other", *witness(1).key().key()).unwrap();
        let want = Err(PolicyFileError::Line { line: 2, fault: F::DuplicateKey("witness") });
        assert_eq!(parse(&format!("witness a W1\nwitness b {renamed}")), want);
    }

    #[test]
    fn names_are_bytes() {
        let policy = [b"witness \xff ", fill("W1").as_bytes(), b"\nwitness \xfe ", fill("W2").as_bytes(), b"\nlog "].concat();
        let policy = [&policy, fill("LOG").as_bytes(), b"\nquorum \xfe\n"].concat();
        let policy = Policy::from_bytes(&policy).unwrap();
        assert!(policy.check(&cosigned(&[1])).is_err());
        policy.check(&cosigned(&[2])).unwrap();
    }

    #[test]
    fn limits_are_those_of_the_specification_or_more() {
        let keys: Vec<SecretKey> = (0..=ENTRIES_MAX as u8).map(|n| SecretKey::from_seed([n; 32])).collect();
        let mut text = String::new();
        for (n, key) in keys[..ENTRIES_MAX].iter().enumerate() {
            let (log, witness) = (LogKey::new("l", key.public()).unwrap(), WitnessKey::new("w", key.public()).unwrap());
            text += &format!("log {log}\nwitness w{n} {witness}\ngroup g{n} all w{n}");
            text += &if n > 0 { format!(" g{}\n", n - 1) } else { "\n".to_owned() };
        }
        let whole: Policy = format!("{text}quorum g{}", ENTRIES_MAX - 1).parse().unwrap();
        assert!(whole.witnesses().len() >= 32 && whole.quorum().len() < 2000);
        let more = LogKey::new("l", keys[ENTRIES_MAX].public()).unwrap();
        let error = format!("{text}log {more}").parse::<Policy>().unwrap_err();
        assert_eq!(error, PolicyFileError::Line { line: 3 * ENTRIES_MAX + 1, fault: PolicyFault::TooMany });
        assert_eq!("#".repeat(POLICY_BYTES_MAX + 1).parse::<Policy>(), Err(PolicyFileError::TooLarge(POLICY_BYTES_MAX + 1)));
    }

    #[test]
    fn hostile_text_is_an_error() {
        let (text, note) = (fill(EXAMPLE).into_bytes(), cosigned(&[1, 2, 4]));
        let policy = Policy::from_bytes(&text).unwrap();
        for seed in 0..2000 {
            let _ = Policy::from_bytes(&crate::hostile::mutate(&text, seed));
            let _ = policy.check(&crate::hostile::mutate(&note, seed));
        }
    }
}
