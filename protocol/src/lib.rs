//! What is *said* in Adit: ids, units, limits, jobs, usage, prices, receipts, messages and their bytes.
//!
//! This crate has no clock, no I/O and no async: every function is pure, so a client, a node, a gateway and an auditor that
//! hold the same bytes come to the same answer.
//!
//! ```
//! use adit_protocol::{Fuel, Price, Usage};
//!
//! // What a job costs is a pure function of what it used and what the node asked.
//! let usage = Usage { fuel: Fuel(60_000_000_000), ..Usage::default() };
//! let price = Price { per_compute_minute: 1_000, ..Price::default() };
//! assert_eq!(price.cost(&usage).unwrap().0, 1_000);
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod batch;
mod frame;
mod gpu;
mod id;
mod input;
mod job;
mod key;
mod leaf;
pub mod limits;
mod message;
mod placement;
mod price;
mod receipt;
mod stream;
mod units;
mod usage;

pub use batch::{BatchError, BatchProof, BatchRoot, prove_batch};
pub use frame::{FRAME_HEADER_BYTES, FrameError, decode_exact, decode_frame, encode_frame, frame_length};
pub use gpu::{Comparison, GpuNeed, GpuOffer, GpuRun, Tolerance};
pub use id::{Attempt, Digest, IdempotencyKey, JobId, MeterId, ParseIdError, Salt};
pub use input::{InputName, InputNameError, NamedInput};
pub use job::{BlobRef, JobLimits, JobSpec, Profile, SpecError};
pub use key::{PublicKey, SecretKey, Signature, SignatureError};
pub use leaf::{Grant, Leaf, LeafError, PaidKind, Payout, Settled, Terms, TransferId, VoidReason, Voided};
pub use message::{
    AccountStatus, Answer, AttemptFailure, ClientMessage, GatewayToClient, GatewayToNode, Greeting, HoldStatus, JobEvent,
    JobResult, JobState, JobStatus, LeafBytes, LogStatus, NodeMessage, NodeOffer, NodeState, NodeStatus, Order, Query, Refusal,
    Rejection, UnfitReason, UnpaidAttempt,
};
pub use placement::{Candidate, Decision, NodeRecord, Passed, Placement, Prediction, Preference, Step, Verdict, Wait};
pub use price::{Price, PriceError};
pub use receipt::{
    KnownRoots, NodeTimes, Receipt, ReceiptMismatch, Settlement, SignedReceipt, SignedSettlement, VerifiedReceipt, VerifyError,
    sign_receipts, sign_settlements,
};
pub use stream::{StreamReply, StreamRequest};
pub use units::{ByteCount, Fuel, Microcredits, ParseFuelError, UnixMillis};
pub use usage::{Outcome, TrapKind, Usage};

/// The version of everything on the wire; the first byte of every frame's payload.
pub const PROTOCOL_VERSION: u8 = 8;

/// The TLS application protocol (RFC 7301) that every Adit connection negotiates.
pub const ALPN: &[u8] = b"adit/8";
