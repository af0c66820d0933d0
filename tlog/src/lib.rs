//! The public log as everybody sees it: the formats of C2SP for it, and what serves, witnesses and checks it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod checkpoint;
mod cosignature;
mod http;
mod key;
mod line;
mod policy;
mod proof;
mod submit;
mod tiles;
mod witness;

mod hashes;
mod lanes;
mod source;

mod fsck;
mod mirror;

mod evidence;
mod watch;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tree;

pub use checkpoint::{CheckpointError, log_key, log_origin, log_verifier_key, parse_log_key, sign_checkpoint, verify_checkpoint};
pub use cosignature::{Cosignature, CosignatureError, Cosigner, UnixSeconds, verify_cosignature, with_cosignatures};
pub use evidence::{LogEvidence, LogEvidenceError, Misbehaviour};
pub use fsck::{FAULTS_MAX, Fault, FsckError, LeafCounts, Report, fsck};
pub use http::{HttpMethod, HttpRequest, HttpResponse, HttpServer};
pub use key::{KeyError, LogKey, NoteKey, WitnessKey};
pub use mirror::{ExportError, Exported, MirrorRules, export};
pub use policy::{Policy, PolicyError, PolicyFault, PolicyFileError, PolicyLog, PolicyWitness, Verdict, Witnessed};
pub use proof::{LogProof, ProofError};
pub use source::{BundleError, DirSource, HttpSource, Source, SourceError, open_source, split_bundle};
pub use submit::{Cosigned, SubmitError, request_cosignature, witness_agent};
pub use tiles::{LogService, Published, PublishedCheckpoint, TilePath};
pub use watch::{Seen, UnkeptEvidence, Watch, WatchError};
pub use witness::{Evidence, EvidenceKind, Witness, WitnessError};
