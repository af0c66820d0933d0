//! Which nodes may join, as the gateway's operator has it.

mod list;
mod tokens;
mod watched;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use adit_protocol::PublicKey;

pub use self::list::NodeListError;
pub use self::tokens::{JoinToken, JoinTokens, JoinedNode, NewToken, Revoked, TokenError, TokenFile};
use self::watched::Watched;
use crate::clock::wall_time;

/// Which nodes may join a gateway.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum NodePolicy {
    /// All.
    #[default]
    Open,
    /// Those whose keys stand in this file, one a line; `#` begins a comment. It is read again when it changes.
    Listed(PathBuf),
    /// Those that bring a token of [`JoinTokens`], and those that brought one before.
    Token,
}

/// What the policy comes to, kept up with the files that it stands in.
#[derive(Debug)]
pub(crate) struct Admission(Policy);

#[derive(Debug)]
enum Policy {
    Open,
    Listed(Mutex<Watched<BTreeSet<PublicKey>, NodeListError>>),
    Token { tokens: Arc<JoinTokens>, joined: Mutex<Watched<BTreeSet<PublicKey>, TokenError>> },
}

impl Admission {
    /// Reads what the policy stands in.
    ///
    /// # Errors
    /// Where a list cannot be read or understood. Tokens that cannot be read are told to who would read them.
    pub(crate) fn open(policy: &NodePolicy, tokens: JoinTokens) -> Result<Self, NodeListError> {
        Ok(Self(match policy {
            NodePolicy::Open => Policy::Open,
            NodePolicy::Listed(path) => Policy::Listed(Mutex::new(Watched::open(path.clone(), list::read)?)),
            NodePolicy::Token => {
                let joined = Watched::new(tokens.path().to_owned(), BTreeSet::new(), tokens::read_joined);
                Policy::Token { tokens: Arc::new(tokens), joined: Mutex::new(joined) }
            }
        }))
    }

    /// Lets a node in, or says why not. A token may be used up by it.
    pub(crate) async fn admit(&self, node: PublicKey, token: Option<String>) -> Result<(), String> {
        match (&self.0, token) {
            _ if self.holds(&node) => Ok(()),
            (Policy::Token { tokens, joined }, Some(token)) => {
                let tokens = Arc::clone(tokens);
                // It waits for the disk, which no other connection shall.
                let joining = tokio::task::spawn_blocking(move || tokens.join(&token, node, wall_time()));
                match joining.await {
                    Ok(Ok(())) => {
                        // It stands there now, and is looked for in a moment.
                        joined.lock().unwrap_or_else(PoisonError::into_inner).look();
                        Ok(())
                    }
                    Ok(Err(error)) => {
                        tracing::info!(%node, %error, "a node does not join");
                        Err(error.for_node())
                    }
                    Err(error) => Err(format!("the gateway failed: {error}")),
                }
            }
            (Policy::Token { .. }, None) => {
                Err("it needs a join token, which the operator gives (adit node --join-token)".into())
            }
            (Policy::Listed(_), _) => Err("its key is not on the operator's list".into()),
            (Policy::Open, _) => Ok(()),
        }
    }

    /// Whether a node may be here, as things stand now.
    pub(crate) fn holds(&self, node: &PublicKey) -> bool {
        match &self.0 {
            Policy::Open => true,
            Policy::Listed(keys) => keys.lock().unwrap_or_else(PoisonError::into_inner).now().contains(node),
            Policy::Token { joined, .. } => joined.lock().unwrap_or_else(PoisonError::into_inner).now().contains(node),
        }
    }
}
