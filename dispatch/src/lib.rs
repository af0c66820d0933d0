//! What is *decided* in Adit: which job runs where, and when. Admission, queueing, fairness, placement, leases, retries.
//!
//! [`Dispatcher`] is a state machine without I/O, in the manner of quinn-proto: no clock, no task, no chance but a seed's. Its driver
//! hands in what happened ([`Event`]) with the time ([`Tick`]), and carries out what comes back ([`Action`]). One trace of
//! events gives one trace of actions, on every machine.
//!
//! ```
//! use adit_dispatch::{Action, Config, Dispatcher, Event, Report, Request, Tick};
//! use adit_protocol::{Attempt, BlobRef, ByteCount, JobId, JobSpec, MeterId, NodeOffer, NodeState, Price, Profile, PublicKey};
//!
//! let mut dispatcher = Dispatcher::new(Config::default());
//! let (node, client, job) = (PublicKey([1; 32]), PublicKey([2; 32]), JobId([3; 16]));
//! let offer = NodeOffer {
//!     software: "adit 0.1.0".into(),
//!     slots: 2,
//!     memory: ByteCount(1 << 30),
//!     gpu: None,
//!     profiles: vec![Profile::Deterministic],
//!     price: Price::default(),
//!     labels: vec![],
//!     meter: MeterId([0; 32]),
//!     fuel_per_second: 0,
//!     one_tenant: false,
//! };
//! let spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"));
//!
//! dispatcher.handle(Tick(0), Event::NodeJoined { node, offer, state: NodeState::Ready, cached: vec![] });
//! dispatcher.handle(Tick(5), Event::Submitted { job, request: Box::new(Request::new(&client, &spec, true)) });
//! let attempt = Attempt(1);
//! let Some(Action::Start { decision, .. }) = dispatcher.poll_action() else { panic!("there is room") };
//! assert_eq!((decision.attempt, decision.candidates[0].node), (attempt, node));
//!
//! // The node reports back. The driver first asks whether the report counts, and then hands it in.
//! assert_eq!(dispatcher.lease(job, attempt), Some(node));
//! dispatcher.handle(Tick(900), Event::AttemptFinished { node, job, attempt, report: Report::default() });
//! assert_eq!(dispatcher.lease(job, attempt), None);
//! ```
//!
//! # The life of a job here
//! ```text
//!  Submitted ──► Queued ──Start──► Leased ──AttemptFinished──► (forgotten: the driver has the receipt)
//!                 │  ▲             │ │  └─Start, a second attempt, where it is hedged
//!                 │  └─ node lost, ┘ └─Cancelled, Stop──► Stopping ──► finished, CancelledInQueue or Lost
//!                 │     failed or preempted,
//!                 ▼     lease expired
//!   Refuse, CancelledInQueue, Lost
//! ```
//! A job that ends is forgotten; what it ended with is the driver's to remember. Where another attempt of it is out then, that one is
//! stopped, and its node's report, or [`Action::Abandon`], is still to come: it is paid for what it did.
//!
//! # How a node is chosen
//! For each candidate the time until the result is predicted: round trip, the jobs ahead, what must be fetched over the bandwidth seen,
//! compilation where the module is not known there, and the fuel that jobs of the module used before (else the limit) over the speed that
//! the node showed (else claims). Time and price are weighed as the job prefers, and the lot falls among those that are about as good as
//! the best, by seed, so that not all jobs of a moment go to one node. Candidates are the first of three orders (by distance, by speed, by
//! price), until nothing that is left in them can be better, and nodes that know the module; where those orders do not come that far and hold
//! nodes whose offers do not fit, the nearest of each class that does, up to 256 classes. Every decision is kept with all its numbers.
//! A node whose jobs take less than 20 ms holds up to five leases a slot, so that none waits for a round trip; behind one that is predicted to
//! run for longer, nothing waits there. Where one runs for longer that was not predicted to, the node hands back what waits
//! ([`AttemptFailure::Busy`](adit_protocol::AttemptFailure::Busy)), and that has its turn again; it says so at once, and whoever says so late gave
//! the job up unasked. At a node clients take turns: a job of one that has
//! nothing there, and had less than all who wait, is sent to a node that is full of others' short jobs, where it comes before what waits.
//!
//! # What is promised
//! - Every submitted job ends exactly once. It has one attempt out at a time, or two where it asked for that, never two at one node.
//! - A node with room is not left idle while a job that it fits is queued, unless it failed that job, owes a report on it, declined it or its
//!   like, is too slow for its deadline or for those of sixteen like it that came before, or costs more than its client has,
//!   and unless 64 wait before it that had an attempt, fit the node and may not have it. Jobs that wait for credits are tried again within moments
//!   after some came. A job that none of them could end by its deadline is not kept. A node whose owner takes one client at a time has no room for
//!   others' jobs while it has one's; where the turn is another's, it gets empty for that, as do three more that could have the job.
//! - Among clients, by the time of slots that each had over its weight, beginning where the others are; inside a client by priority, and
//!   then first come first served. A job passes an older one of the same client only onto a node that the older one cannot use. A job
//!   whose attempt was lost goes before all others of its client, and of clients that had as much. A second attempt beside a first counts as
//!   its client's time too, as does one that an owner cut short.
//! - A node whose connection broke may have the job again where that was the first that came to nothing of it, and the job waits when the node is back:
//!   it may be the only one with room. The next time it is one that failed the job.
//! - What an owner does costs a job an attempt and a node nothing: paused, drained, preempted and declined are no faults, and nor is a GPU
//!   that another job's work has lost. A job that waited at a node in vain has had no attempt. A failure counts against a node when another one
//!   has done the job.
//! - Everything is bounded: the queue, each client's share of it (but for jobs whose attempt was lost, which count and are not refused), the attempts, every wait, what is remembered.
//!
//! # What it costs
//! With *n* nodes, *q* queued jobs: an event costs O(log n + log q) where the first candidate fits, which is the common case: a search looks
//! at some two dozen nodes at most, nodes with equal offers are of one class, and queued jobs with equal demands stand in one lane, so that a
//! misfit is looked at once and not once per job. The worst case is a look at each class (a job that hardly any node fits) or at each lane (a
//! node that hardly any job fits). A node that joins or leaves costs a look at each job whose attempt was lost, and one that stays away a look
//! at each lane.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod machine;

mod config;
mod event;
mod request;

mod class;
mod credit;
mod grace;
mod history;
mod job;
mod mean;
mod node;
mod queue;
mod reputation;
mod search;
mod summary;
mod timer;
mod verdicts;

pub use config::Config;
pub use event::{Action, Event, Report};
pub use job::{DECLINED_MAX, GIVEN_BACK_MAX, Lease, Phase};
pub use machine::Dispatcher;
pub use node::NodeView;
pub use request::Request;
pub use timer::Tick;
