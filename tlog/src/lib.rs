//! The public log as everybody sees it: the formats of C2SP for it, and what serves, witnesses and checks it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod checkpoint;
mod http;
mod tiles;

mod source;

mod lanes;

mod fsck;

mod evidence;
mod watch;

pub use checkpoint::{CheckpointError, log_origin, log_verifier_key, parse_log_key, sign_checkpoint, verify_checkpoint};
pub use evidence::{Evidence, EvidenceError, Misbehaviour};
pub use fsck::{FAULTS_MAX, Fault, FsckError, LeafCounts, Report, fsck};
pub use http::{HttpMethod, HttpRequest, HttpResponse, HttpServer};
pub use source::{BundleError, DirSource, Exported, HttpSource, Source, SourceError, export, open_source, split_bundle};
pub use tiles::{LogService, Published, PublishedCheckpoint, TilePath};
pub use watch::{Seen, Watch, WatchError};
