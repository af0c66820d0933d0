//! What is *executed* in Adit: guests, in processes of their own, under limits, with a bill.
//!
//! The [`Runtime`] lives in the supervisor, the process that holds keys and network. It never runs or compiles guest code: a
//! short-lived *compile worker* turns a module into machine code, which a cache keeps on disk, and pre-started *sandbox workers*
//! run jobs, each for one tenant at a time. A worker is the same binary, started again (see [`run_if_worker`]), with an empty
//! environment and one socket; so a guest that breaks out of wasm finds no key and no network handle.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use adit_protocol::{BlobRef, JobSpec, PublicKey};
//! use adit_runtime::{Input, RunEvent, RunRequest, Runtime, RuntimeConfig};
//!
//! # async fn example(tenant: PublicKey) -> Result<(), Box<dyn std::error::Error>> {
//! adit_runtime::run_if_worker(); // first thing in main
//!
//! let module = BlobRef::of(&std::fs::read("job.wasm")?);
//! let runtime = Runtime::new(RuntimeConfig::new("cache"))?;
//! runtime.compile(module.digest, "job.wasm".as_ref()).await?;
//!
//! let spec = Arc::new(JobSpec::new(module, BlobRef::of(b"hello")));
//! let mut run = runtime.start(RunRequest { tenant, spec, input: Input::Inline(b"hello".to_vec()), named: Vec::new() }).await?;
//! loop {
//!     match run.next().await? {
//!         RunEvent::Ended(report) => break println!("{}: {}", report.outcome, report.usage.fuel),
//!         RunEvent::Log(text) => print!("{}", String::from_utf8_lossy(&text)),
//!         RunEvent::Output(_) | RunEvent::Progress { .. } => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod runtime;

mod account;
mod inputs;
mod profile;
mod run;

mod backoff;
mod cache;
mod code;
mod compiler;
mod pool;
mod process;
mod share;
mod strikes;

mod speed;

mod given;
mod ipc;
mod live;

mod admission;
#[doc(hidden)]
pub mod conformance;
mod engine;
mod gpu;
#[doc(hidden)]
pub mod lab;
mod meter;
mod unchecked;
mod walls;
mod worker;

#[doc(hidden)]
pub mod probe;

pub use admission::{Fault, Inspection, MODULE_BYTES_DEFAULT, OverLimit, inspect};
pub use compiler::{CompileError, CompileLimits, CompileReport};
pub use gpu::adapter::{AdapterName, GpuAdapter, gpu_access_problem, gpu_adapters};
pub use gpu::keeper::GpuConfig;
pub use inputs::Input;
pub use meter::{ENGINE, meter_id};
pub use process::{Priority, WorkerProgram};
pub use profile::{CallNode, CalledFunction, FuelProfile, Place};
pub use run::{Bounds, Canceller, Gauge, Run, RunError, RunEvent, RunReport, RunRequest};
pub use runtime::{Runtime, RuntimeConfig, StartError};
pub use share::CpuShare;
pub use speed::{MeasureError, Speed};
pub use unchecked::process_time;
pub use walls::SandboxReport;
pub use worker::run_if_worker;
