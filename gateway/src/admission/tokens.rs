use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use adit_protocol::limits::TOKEN_BYTES_MAX;
use adit_protocol::{PublicKey, UnixMillis};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What every token begins with, so that one that leaked can be searched for.
const PREFIX: &str = "adit-join-";

/// Bytes of a token's name. Names are no secrets; 1,024 of them seldom collide, and where they do another is drawn.
const ID_BYTES: usize = 4;

/// Bytes of a token's secret: nobody guesses 128 bits.
const SECRET_BYTES: usize = 16;

/// Tokens that are kept. Those that are used up or expired make room for new ones.
const TOKENS_MAX: usize = 1_024;

/// Nodes that joined: four times as many as may be connected. The file then has some 3 MB, and is written at each join.
const JOINED_MAX: usize = 16_384;

/// Bytes of a file that is read: twice the largest that is written.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// The present form of the file.
const VERSION: u32 = 1;

/// Nodes that joined by a token, and tokens that were made, in one file of a gateway's data. Several processes may use it at once: the
/// gateway and its operator's commands.
///
/// A token itself is nowhere but with whom it was given to: the file has a hash of it, which is enough to know it again.
#[derive(Debug)]
pub struct JoinTokens {
    path: PathBuf,
}

/// A token's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewToken {
    /// How many nodes may join by it.
    pub uses: u32,
    /// For how long; nothing for ever.
    pub expires_in: Option<Duration>,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Its name, 8 hexadecimal digits.
    pub id: String,
    /// Its hash: BLAKE3 under the context `adit join token v1`.
    hash: String,
    /// How many nodes may join by it.
    pub uses: u32,
    /// How many did.
    pub used: u32,
    /// When it was made, in milliseconds after 1970.
    pub made: u64,
    /// When it ends to be good; nothing for never.
    pub expires: Option<u64>,
}

/// A node that joined, and is let in by its key from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedNode {
    /// Its key.
    #[serde(serialize_with = "to_text", deserialize_with = "from_text")]
    pub node: PublicKey,
    /// The name of the token that it brought.
    pub token: String,
    /// When, in milliseconds after 1970.
    pub joined: u64,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFile {
    version: u32,
    /// Tokens, oldest first.
    pub tokens: Vec<JoinToken>,
    /// Nodes, oldest first.
    pub nodes: Vec<JoinedNode>,
}

/// What was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// A token: nobody joins by it any more. Who did stays.
    Token,
    /// A node: it is let in no more, unless it brings another token.
    Node,
}

/// A token that is not made, or by which nobody joins.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("join tokens {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("join tokens {path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There are as many as are kept.
    #[error("{0}; revoke some first")]
    Full(&'static str),
    /// No token has this name or text.
    #[error("the join token is unknown, or was revoked")]
    Unknown,
    /// As many nodes as it allows have joined by it.
    #[error("the join token {id} is used up: {uses} of {uses}")]
    UsedUp {
        /// Its name.
        id: String,
        /// How many it allowed.
        uses: u32,
    },
    /// Its time is over.
    #[error("the join token {id} has expired")]
    Expired {
        /// Its name.
        id: String,
    },
}

impl TokenError {
    /// What a node hears: nothing of the gateway's own files.
    pub(crate) fn for_node(&self) -> String {
        match self {
            Self::Io { .. } | Self::Content { .. } => "the gateway cannot read its join tokens; ask its operator".into(),
            Self::Full(_) => "as many nodes have joined as the gateway keeps; ask its operator".into(),
            _ => self.to_string(),
        }
    }
}

impl JoinTokens {
    /// Those of the gateway with this data.
    pub fn of_gateway(data_dir: &Path) -> Self {
        Self { path: data_dir.join("join-tokens.json") }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a token. What is returned is the only copy of it, and is durable.
    ///
    /// # Errors
    /// [`TokenError::Io`], [`TokenError::Content`] and [`TokenError::Full`].
    pub fn make(&self, terms: &NewToken, now: UnixMillis) -> Result<String, TokenError> {
        self.change(|file| {
            if file.tokens.len() >= TOKENS_MAX {
                file.tokens.retain(|token| !token.is_over(now));
            }
            if file.tokens.len() >= TOKENS_MAX {
                return Err(TokenError::Full("there are as many join tokens as are kept"));
            }
            let (id, token) = loop {
                let (id, token) = draw();
                if file.tokens.iter().all(|other| other.id != id) {
                    break (id, token);
                }
            };
            let lasts = |time: Duration| now.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            file.tokens.push(JoinToken {
                id,
                hash: hash(&token).to_hex().to_string(),
                uses: terms.uses,
                used: 0,
                made: now.0,
                expires: terms.expires_in.map(lasts),
            });
            Ok(token)
        })
    }

    /// What there is.
    ///
    /// # Errors
    /// [`TokenError::Io`] and [`TokenError::Content`].
    pub fn list(&self) -> Result<TokenFile, TokenError> {
        read(&self.path)
    }

    /// Revokes the token of this name, or the node of this key.
    ///
    /// # Errors
    /// [`TokenError::Unknown`] where there is neither; [`TokenError::Io`] and [`TokenError::Content`].
    pub fn revoke(&self, name: &str) -> Result<Revoked, TokenError> {
        self.change(|file| {
            let (tokens, nodes) = (file.tokens.len(), file.nodes.len());
            file.tokens.retain(|token| token.id != name);
            let key = name.parse::<PublicKey>().ok();
            file.nodes.retain(|node| Some(node.node) != key);
            match (file.tokens.len() < tokens, file.nodes.len() < nodes) {
                (true, _) => Ok(Revoked::Token),
                (_, true) => Ok(Revoked::Node),
                _ => Err(TokenError::Unknown),
            }
        })
    }

    /// Lets a node join by a token. It is durable then, and uses the token up by one; a node that has joined before uses nothing.
    pub(crate) fn join(&self, token: &str, node: PublicKey, now: UnixMillis) -> Result<(), TokenError> {
        let id = id_of(token).ok_or(TokenError::Unknown)?;
        self.change(|file| {
            if file.nodes.iter().any(|joined| joined.node == node) {
                return Ok(());
            }
            let found = file.tokens.iter_mut().find(|known| known.id == id).filter(|known| known.is(token));
            let known = found.ok_or(TokenError::Unknown)?;
            if known.expires.is_some_and(|expires| now.0 >= expires) {
                return Err(TokenError::Expired { id: known.id.clone() });
            }
            if known.used >= known.uses {
                return Err(TokenError::UsedUp { id: known.id.clone(), uses: known.uses });
            }
            if file.nodes.len() >= JOINED_MAX {
                return Err(TokenError::Full("as many nodes have joined as are kept"));
            }
            known.used += 1;
            file.nodes.push(JoinedNode { node, token: known.id.clone(), joined: now.0 });
            Ok(())
        })
    }

    /// Changes the file while nobody else does; not at all where `change` fails or changes nothing.
    fn change<T>(&self, change: impl FnOnce(&mut TokenFile) -> Result<T, TokenError>) -> Result<T, TokenError> {
        let io_error = |error| TokenError::Io { path: self.path.clone(), error };
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir).map_err(io_error)?;
        // A file of its own, since the other is replaced. The lock ends with the descriptor.
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.path.with_extension("lock"));
        let lock = lock.map_err(io_error)?;
        lock.lock().map_err(io_error)?;
        let before = read(&self.path)?;
        let mut file = before.clone();
        let changed = change(&mut file)?;
        if file != before {
            self.write(dir, &file).map_err(io_error)?;
        }
        Ok(changed)
    }

    /// Puts a new file in the place of the old one: after a crash one of the two is there, whole.
    fn write(&self, dir: &Path, file: &TokenFile) -> io::Result<()> {
        let temporary = self.path.with_extension("tmp");
        let mut bytes = serde_json::to_vec_pretty(file)?;
        bytes.push(b'\n');
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        out.write_all(&bytes)?;
        out.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(dir)?.sync_all()
    }
}

impl JoinToken {
    /// Whether nobody can join by it any more.
    pub fn is_over(&self, now: UnixMillis) -> bool {
        self.used >= self.uses || self.expires.is_some_and(|expires| now.0 >= expires)
    }

    /// Whether this is the token, in a time that does not depend on where they differ.
    fn is(&self, token: &str) -> bool {
        blake3::Hash::from_hex(&self.hash).is_ok_and(|kept| kept == hash(token))
    }
}

/// The nodes that joined.
pub(crate) fn read_joined(path: &Path) -> Result<BTreeSet<PublicKey>, TokenError> {
    Ok(read(path)?.nodes.into_iter().map(|joined| joined.node).collect())
}

/// What the file says; nothing at all where there is none.
fn read(path: &Path) -> Result<TokenFile, TokenError> {
    let content = |reason: String| TokenError::Content { path: path.to_owned(), reason };
    let bytes = match fs::metadata(path) {
        Ok(file) if file.len() > FILE_BYTES_MAX => return Err(content(format!("more than {FILE_BYTES_MAX} bytes"))),
        _ => fs::read(path),
    };
    let bytes = match bytes {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(TokenFile { version: VERSION, tokens: Vec::new(), nodes: Vec::new() });
        }
        bytes => bytes.map_err(|error| TokenError::Io { path: path.to_owned(), error })?,
    };
    let file: TokenFile = serde_json::from_slice(&bytes).map_err(|error| content(error.to_string()))?;
    if file.version == VERSION { Ok(file) } else { Err(content(format!("it has version {}, not {VERSION}", file.version))) }
}

/// A fresh token and its name.
fn draw() -> (String, String) {
    let random: [u8; ID_BYTES + SECRET_BYTES] = rand::random();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (id, secret) = (hex(&random[..ID_BYTES]), hex(&random[ID_BYTES..]));
    let token = format!("{PREFIX}{id}-{secret}");
    debug_assert!(token.len() <= TOKEN_BYTES_MAX, "a token fits its message");
    (id, token)
}

/// The name of a token; nothing of what is none.
fn id_of(token: &str) -> Option<&str> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (id, _) = token.strip_prefix(PREFIX)?.split_once('-')?;
    Some(id)
}

fn hash(token: &str) -> blake3::Hash {
    blake3::Hash::from_bytes(blake3::derive_key("adit join token v1", token.as_bytes()))
}

fn to_text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn from_text<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom(format!("`{text}` is no key")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_764_000_000_000);
    const ONCE: NewToken = NewToken { uses: 1, expires_in: None };

    fn tokens() -> (tempfile::TempDir, JoinTokens) {
        let dir = tempfile::tempdir().unwrap();
        let tokens = JoinTokens::of_gateway(dir.path());
        (dir, tokens)
    }

    fn node(n: u32) -> PublicKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        PublicKey(key)
    }

    fn later(ms: u64) -> UnixMillis {
        UnixMillis(NOW.0 + ms)
    }

    #[test]
    fn token_lets_in_as_many_as_it_says_and_each_of_them_again() {
        let (_dir, tokens) = tokens();
        let token = tokens.make(&NewToken { uses: 2, expires_in: None }, NOW).unwrap();
        for n in [1, 2, 1, 2, 1] {
            tokens.join(&token, node(n), NOW).unwrap();
        }
        assert!(matches!(tokens.join(&token, node(3), NOW), Err(TokenError::UsedUp { uses: 2, .. })));
        let file = tokens.list().unwrap();
        assert_eq!((file.tokens[0].used, file.nodes.len()), (2, 2));
        assert_eq!(read_joined(tokens.path()).unwrap(), BTreeSet::from([node(1), node(2)]));
    }

    #[test]
    fn token_ends_at_its_time_and_who_joined_stays() {
        let (_dir, tokens) = tokens();
        let terms = NewToken { uses: 9, expires_in: Some(Duration::from_secs(60)) };
        let token = tokens.make(&terms, NOW).unwrap();
        tokens.join(&token, node(1), later(59_999)).unwrap();
        assert!(matches!(tokens.join(&token, node(2), later(60_000)), Err(TokenError::Expired { .. })));
        tokens.join(&token, node(1), later(60_000)).unwrap();
    }

    #[test]
    fn nothing_but_the_token_itself_lets_anybody_in() {
        let (_dir, tokens) = tokens();
        let token = tokens.make(&ONCE, NOW).unwrap();
        let other = tokens.make(&ONCE, NOW).unwrap();
        let (id, secret) = token.strip_prefix(PREFIX).unwrap().split_once('-').unwrap();
        let file = tokens.list().unwrap();
        let wrong_end = format!("{}{}", &token[..token.len() - 1], if token.ends_with('0') { '1' } else { '0' });
        let crossed = format!("{PREFIX}{id}-{}", other.rsplit_once('-').unwrap().1);
        for wrong in [
            String::new(),
            PREFIX.to_owned(),
            format!("{PREFIX}{id}-"),
            format!("{PREFIX}{id}-{}", file.tokens[0].hash),
            format!("{PREFIX}-{secret}"),
            format!("{token}0"),
            format!("{token} "),
            token.to_uppercase(),
            "x".repeat(TOKEN_BYTES_MAX + 1),
            wrong_end,
            crossed,
        ] {
            assert!(matches!(tokens.join(&wrong, node(1), NOW), Err(TokenError::Unknown)), "{wrong}");
        }
        assert!(!fs::read_to_string(tokens.path()).unwrap().contains(secret), "only a hash is kept");
        tokens.join(&token, node(1), NOW).unwrap();
    }

    #[test]
    fn revoked_token_lets_nobody_in_and_revoked_node_needs_another() {
        let (_dir, tokens) = tokens();
        let token = tokens.make(&NewToken { uses: 9, expires_in: None }, NOW).unwrap();
        tokens.join(&token, node(1), NOW).unwrap();
        let id = tokens.list().unwrap().tokens[0].id.clone();
        assert_eq!(tokens.revoke(&id).unwrap(), Revoked::Token);
        assert!(matches!(tokens.join(&token, node(2), NOW), Err(TokenError::Unknown)));
        tokens.join(&token, node(1), NOW).unwrap();
        assert_eq!(tokens.revoke(&node(1).to_string()).unwrap(), Revoked::Node);
        assert!(matches!(tokens.join(&token, node(1), NOW), Err(TokenError::Unknown)));
        for name in [id, node(1).to_string(), String::new(), "x".into()] {
            assert!(matches!(tokens.revoke(&name), Err(TokenError::Unknown)), "{name}");
        }
    }

    #[test]
    fn last_use_of_a_token_is_given_once_among_many_at_once() {
        let (dir, tokens) = tokens();
        let token = tokens.make(&NewToken { uses: 3, expires_in: None }, NOW).unwrap();
        // Each with its own view of the folder, as processes have.
        let join = &|n| JoinTokens::of_gateway(dir.path()).join(&token, node(n), NOW).is_ok();
        let joined: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|n| scope.spawn(move || join(n))).collect();
            threads.into_iter().map(|thread| u32::from(thread.join().unwrap())).sum()
        });
        assert_eq!(joined, 3);
        let file = tokens.list().unwrap();
        assert_eq!((file.tokens[0].used, file.nodes.len()), (3, 3));
    }

    #[test]
    fn tokens_that_are_over_make_room_and_others_do_not() {
        let (_dir, tokens) = tokens();
        let row =
            |n: usize, used| JoinToken { id: format!("{n:08x}"), hash: String::new(), uses: 1, used, made: 0, expires: None };
        for (used, has_room) in [(0, false), (1, true)] {
            let full = (0..TOKENS_MAX).map(|n| row(n, used)).collect();
            let file = TokenFile { version: VERSION, tokens: full, nodes: Vec::new() };
            tokens.write(tokens.path().parent().unwrap(), &file).unwrap();
            assert_eq!(tokens.make(&ONCE, NOW).is_ok(), has_room);
        }
        assert_eq!(tokens.list().unwrap().tokens.len(), 1);
    }

    #[test]
    fn largest_file_that_is_written_is_read() {
        let (_dir, tokens) = tokens();
        let id = "0123abcd".to_owned();
        let most = JoinToken {
            id: id.clone(),
            hash: "f".repeat(64),
            uses: u32::MAX,
            used: u32::MAX,
            made: u64::MAX,
            expires: Some(u64::MAX),
        };
        let nodes = (0..JOINED_MAX).map(|n| JoinedNode { node: node(n as u32), token: id.clone(), joined: u64::MAX }).collect();
        let file = TokenFile { version: VERSION, tokens: vec![most; TOKENS_MAX], nodes };
        tokens.write(tokens.path().parent().unwrap(), &file).unwrap();
        assert_eq!(tokens.list().unwrap(), file);
    }

    #[test]
    fn damaged_or_foreign_file_is_an_error_and_left_as_it_is() {
        let (_dir, tokens) = tokens();
        for (text, want) in [
            ("", "EOF"),
            ("{\"version\": 1}", "missing field"),
            ("{\"version\": 2, \"tokens\": [], \"nodes\": []}", "version 2"),
            ("{\"version\": 1, \"tokens\": [], \"nodes\": [{\"node\": \"x\", \"token\": \"\", \"joined\": 0}]}", "`x` is no key"),
        ] {
            fs::write(tokens.path(), text).unwrap();
            let error = tokens.make(&ONCE, NOW).unwrap_err();
            assert!(error.to_string().contains(want), "{error}");
            assert!(!error.for_node().contains(tokens.path().to_str().unwrap()));
            assert_eq!(fs::read_to_string(tokens.path()).unwrap(), text);
        }
    }
}
