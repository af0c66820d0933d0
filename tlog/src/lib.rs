//! The public log as everybody sees it: the formats of C2SP for it, and what serves, witnesses and checks it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod checkpoint;
mod http;
mod tiles;

pub use checkpoint::{CheckpointError, log_origin, log_verifier_key, sign_checkpoint, verify_checkpoint};
pub use http::{HttpMethod, HttpRequest, HttpResponse, HttpServer};
pub use tiles::{LogService, Published, PublishedCheckpoint, TilePath};
