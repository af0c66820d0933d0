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

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tree;

pub use checkpoint::{CheckpointError, log_key, log_origin, log_verifier_key, sign_checkpoint, verify_checkpoint};
pub use cosignature::{Cosignature, CosignatureError, Cosigner, UnixSeconds, verify_cosignature, with_cosignatures};
pub use http::{HttpMethod, HttpRequest, HttpResponse, HttpServer};
pub use key::{KeyError, LogKey, NoteKey, WitnessKey};
pub use policy::{Policy, PolicyError, PolicyFault, PolicyFileError, PolicyLog, PolicyWitness, Verdict, Witnessed};
pub use proof::{LogProof, ProofError};
pub use submit::{Cosigned, SubmitError, request_cosignature, witness_agent};
pub use tiles::{LogService, Published, PublishedCheckpoint, TilePath};
pub use witness::{Evidence, EvidenceKind, Witness, WitnessError};
