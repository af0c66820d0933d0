//! What the processes say to each other that stand between a guest and a GPU.
//!
//! ```text
//!              checks shaders: a process for one, then gone
//!                  ^
//!                  |
//!   sandbox --- supervisor --- GPU worker          control: few messages, in frames over each one's socket
//!      |                          |
//!      +--------------------------+                a session: commands in frames over a socket of its own, bulk data in a
//!                                                  shared file of a fixed size
//! ```
//!
//! The supervisor makes a session for one run of a job that has a GPU: a socket pair and a shared file, an end of each for either side.
//! Shaders go by the supervisor, because a process that is lost with nothing else has to have read them first; all the rest goes
//! straight from sandbox to GPU worker. Neither believes the other: both keep the same [`Book`](super::book::Book).

use adit_protocol::{Digest, GpuNeed, GpuOffer};
use serde::{Deserialize, Serialize};

/// A session: one run of a job. Numbered by the supervisor, never used again.
pub(crate) type Session = u64;

/// What the supervisor says to the GPU worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToGpu {
    /// The first message: opens the adapter. A descriptor follows: the file of notes (`GpuLive`).
    Hello(Box<GpuSetup>),
    /// Begins a session. Two descriptors follow: the session's socket, and its shared file.
    Open { session: Session, need: GpuNeed, time_max_ns: u64 },
    /// Makes a pipeline of a shader that was checked. Serial numbers of a session go up; the sandbox takes it in by `Adopt`.
    Pipeline { session: Session, serial: u64, shader: Box<Shader> },
    /// Ends a session: all that is its goes back, after what runs.
    Close { session: Session },
}

/// What the GPU worker says to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromGpu {
    /// Answers `Hello`: the adapter that was opened; or why none was.
    Ready(Result<Box<GpuReport>, String>),
    /// Answers `Pipeline`: it is there, or the driver did not make it.
    Made { session: Session, serial: u64, made: Result<(), String> },
    /// The session's GPU time is used up, or its sandbox did what an honest one does not; it does nothing more.
    Ended { session: Session, why: SessionEnd },
    /// Answers `Close`: what it used in all.
    Closed { session: Session, used: GpuUsed },
    /// The device hung or was lost, in the work of a session where any ran. The last message.
    Lost { session: Option<Session>, reason: String },
}

/// Why a session ended before its sandbox was done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SessionEnd {
    /// Its GPU time is used up.
    OutOfTime,
    /// The adapter has less memory left than it offers; nobody's fault.
    NoMemory(String),
    /// The sandbox said what an honest one does not say.
    Lied(String),
    /// The node did not do its part: the adapter's driver refused what was checked.
    Failed(String),
}

impl SessionEnd {
    /// The same in few enough words for a frame.
    pub(crate) fn clipped(self) -> Self {
        let clip = |text: String| text[..text.floor_char_boundary(SESSION_END_BYTES_MAX)].to_owned();
        match self {
            Self::OutOfTime => Self::OutOfTime,
            Self::NoMemory(why) => Self::NoMemory(clip(why)),
            Self::Lied(why) => Self::Lied(clip(why)),
            Self::Failed(why) => Self::Failed(clip(why)),
        }
    }
}

/// Bytes of why a session ended.
const SESSION_END_BYTES_MAX: usize = 2 * 1024;

/// What a session has used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GpuUsed {
    /// Billed nanoseconds.
    pub(crate) ns: u64,
    /// Dispatches that were made.
    pub(crate) dispatches: u64,
    /// Bytes to buffers and back.
    pub(crate) bytes_moved: u64,
    /// The most that its buffers held.
    pub(crate) memory_peak: u64,
    /// Whether a pipeline was made of a shader that computes with floats.
    pub(crate) has_floats: bool,
}

/// Which adapter, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GpuSetup {
    /// A part of the adapter's name, where the owner chose one.
    pub(crate) adapter: Option<String>,
    /// Whether an adapter that is only software will do.
    pub(crate) software: bool,
    /// Bytes that one job may have.
    pub(crate) memory: u64,
    /// How long a dispatch may take, in milliseconds.
    pub(crate) slice_ms: u64,
    pub(crate) faults: Faults,
}

/// What goes wrong on purpose, for tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// The adapter tells no times.
    pub(crate) no_timestamps: bool,
    /// Which of the process's submissions, of those that are billed, its device is lost in; the first is 1, and 0 is none.
    pub(crate) lost_in_submission: u32,
    /// The same of the pipelines that are made.
    pub(crate) lost_in_pipeline: u32,
    /// Which of them its driver does not come back from.
    pub(crate) stuck_in_pipeline: u32,
    /// Which of them its driver refuses, in words that name the adapter.
    pub(crate) refused_pipeline: u32,
    /// Bytes that the adapter has for all, where that is not 0.
    pub(crate) memory_max: u64,
}

/// An adapter that was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GpuReport {
    /// What is offered of it.
    pub(crate) offer: GpuOffer,
    /// Whether it tells the time of dispatches.
    pub(crate) has_timestamps: bool,
    /// What its process lacks of the walls that it should have; empty where nothing.
    pub(crate) lacks: Vec<String>,
}

/// A shader that was checked, with what the check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shader {
    pub(crate) wgsl: String,
    pub(crate) entry: String,
    pub(crate) shape: Shape,
}

/// What is known of a pipeline before it is made: all that its use is checked against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// What its entry point uses of group 0, by binding.
    pub(crate) bindings: Vec<BindingShape>,
    /// Invocations of a workgroup, per dimension.
    pub(crate) workgroup: [u32; 3],
    /// Whether the entry point, or anything that it uses, computes with floats.
    pub(crate) has_floats: bool,
    /// Whether it makes anything of what atomics return.
    pub(crate) uses_atomic_results: bool,
    /// What its driver has to compile.
    pub(crate) operations: u64,
}

/// A binding that a shader declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BindingShape {
    pub(crate) binding: u32,
    pub(crate) kind: BindingKind,
    /// The least bytes that must be bound: those of its type, with one element where an array has no length of its own.
    pub(crate) bytes_min: u64,
}

/// What a shader does with a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BindingKind {
    Uniform,
    Read,
    ReadWrite,
}

/// What is asked of the process that checks a shader. Its answer is a `Result<Shape, String>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShaderOrder {
    pub(crate) wgsl: String,
    pub(crate) entry: String,
    pub(crate) need: GpuNeed,
}

impl ShaderOrder {
    /// What an answer may be kept under.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&postcard::to_allocvec(self).expect("an order always encodes"))
    }
}

/// Bytes of a piece of bulk data: a slot of the shared file.
pub(crate) const SLOT_BYTES: usize = 1 << 20;
/// Slots for each direction: while one is filled, another is emptied.
pub(crate) const SLOTS: u8 = 4;
/// Bytes of the shared file: first the slots to the GPU, then those from it. Sealed at this size.
pub(crate) const SHARED_BYTES: u64 = 2 * SLOTS as u64 * SLOT_BYTES as u64;
/// Data up to this goes within the frame.
pub(crate) const INLINE_MAX: usize = 4 * 1024;

/// What a sandbox says to the GPU worker, in frames over the session's socket. Only `Read` and `Finish` are answered when they are done;
/// each slot of a `Write` is answered by `Free`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    Create {
        buffer: u32,
        bytes: u64,
    },
    Destroy {
        buffer: u32,
    },
    Write {
        buffer: u32,
        offset: u64,
        data: Data,
    },
    Copy {
        from: u32,
        from_offset: u64,
        to: u32,
        to_offset: u64,
        bytes: u64,
    },
    /// From here on the pipeline that the supervisor had made under this serial number has this handle.
    Adopt {
        pipeline: u32,
        serial: u64,
    },
    DropPipeline {
        pipeline: u32,
    },
    Dispatch {
        pipeline: u32,
        bindings: Vec<Binding>,
        workgroups: [u32; 3],
    },
    /// Begins what came before.
    Submit,
    /// Reads after all that came before. Answered by `Data` pieces in order, each at most a slot.
    Read {
        buffer: u32,
        offset: u64,
        bytes: u64,
    },
    /// The sandbox has taken the data out of a slot.
    Taken {
        slot: u8,
    },
    /// Answered by `Finished` after all that came before.
    Finish,
}

/// Bytes for a buffer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Data {
    /// At most [`INLINE_MAX`].
    Inline(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The first bytes of a slot.
    Slot { slot: u8, bytes: u32 },
}

/// A buffer, or a part of one, for a binding. `bytes` is never 0 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    pub(crate) binding: u32,
    pub(crate) buffer: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// What the GPU worker says to a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// A slot towards the GPU is empty again.
    Free { slot: u8 },
    /// The next piece of what was asked to be read.
    Data(Data),
    /// All that came before `Finish` is done.
    Finished,
}
