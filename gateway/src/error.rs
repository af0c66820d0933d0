use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use adit_ledger::{CommitError, OpenError, Refused};

use crate::{NodeListError, PublishError};

/// A gateway that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on {addr}: {error}; is another gateway running there?")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The data folder cannot be used.
    #[error("data folder {path}: {error}")]
    Data {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is no ledger, but what is left of one: to begin anew would be to forget what was signed.
    #[error(
        "there is no {ledger}, but there is {found}; restore the ledger (`adit ledger restore`), or move what is left of it away to begin anew"
    )]
    LedgerGone {
        /// Where the ledger should be.
        ledger: PathBuf,
        /// What is left.
        found: PathBuf,
    },
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// The ledger cannot be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The ledger does not allow what a gateway begins with.
    #[error("the gateway cannot begin with these terms: {0}")]
    Terms(#[from] Refused),
    /// A witness contradicts the ledger, or too few of them answer.
    #[error(transparent)]
    Witnesses(#[from] PublishError),
    /// The log's address cannot be had.
    #[error("cannot serve the log on {addr}: {error}; --log-listen takes another address, or off")]
    LogListen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The list of nodes cannot be used.
    #[error(transparent)]
    Nodes(#[from] NodeListError),
    /// The ledger's thread cannot be started.
    #[error("the ledger's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// A gateway that had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The ledger records nothing any more.
    #[error("the ledger stopped: {0}; mend the cause and start the gateway again")]
    Ledger(String),
    /// The socket was closed under it.
    #[error("the listening socket is closed")]
    Socket,
}
