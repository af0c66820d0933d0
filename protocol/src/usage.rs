use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ByteCount, Fuel};

/// What a run used: the part of a bill that anyone can compute again. A CPU job is billed by fuel and bytes alone, never by a clock.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Work, in the meter's unit.
    pub fuel: Fuel,
    /// The most linear memory that the guest held, in bytes.
    pub memory_peak: ByteCount,
    /// Linear-memory bytes integrated over fuel: memory-time without a clock. Unit: byte x fuel.
    pub memory_fuel: u128,
    /// Bytes of the input.
    pub bytes_in: ByteCount,
    /// Bytes of the output.
    pub bytes_out: ByteCount,
    /// Calls from the guest into the host.
    pub host_calls: u64,
    /// Nanoseconds of GPU time. Measured, so only what a GPU did is billed by a clock, and never the rest.
    pub gpu_ns: u64,
}

/// How a guest's run ended. Each of these is billed: what a guest does is an outcome, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The guest ended by itself.
    Finished {
        /// 0 where the entry returned, else what it gave to `proc_exit`.
        exit_code: i32,
    },
    /// The fuel limit was reached.
    OutOfFuel,
    /// The guest was refused memory over its limit and ended because of it.
    OutOfMemory,
    /// The guest did what wasm forbids.
    Trapped(TrapKind),
    /// The wall-time limit was reached.
    TimedOut,
    /// The client withdrew the job.
    Cancelled,
    /// The guest wrote more output than its limit.
    OutputTooLarge,
    /// The node's owner took the machine back. What was done is paid for, and the job goes elsewhere.
    Preempted,
    /// The limit of GPU time was reached.
    OutOfGpuTime,
    /// The guest's work hung the GPU, or made it lose its device.
    GpuLost,
}

impl Outcome {
    /// The outcome's name as scripts read it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Finished { .. } => "finished",
            Self::OutOfFuel => "out_of_fuel",
            Self::OutOfMemory => "out_of_memory",
            Self::Trapped(_) => "trapped",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::OutputTooLarge => "output_too_large",
            Self::Preempted => "preempted",
            Self::OutOfGpuTime => "out_of_gpu_time",
            Self::GpuLost => "gpu_lost",
        }
    }

    /// Whether it says nothing of the job: another attempt follows.
    pub fn is_interim(&self) -> bool {
        matches!(self, Self::Preempted)
    }

    /// Whether the guest ended by itself with exit code 0.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Finished { exit_code: 0 })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished { exit_code } => write!(f, "finished with exit code {exit_code}"),
            Self::Trapped(kind) => write!(f, "trapped: {kind}"),
            _ => f.write_str(&self.name().replace('_', " ")),
        }
    }
}

/// Which trap ended a guest (WebAssembly core specification, section 4.4, and the limits of the sandbox).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrapKind {
    /// An `unreachable` operator: what most languages compile a panic to.
    Unreachable,
    /// A load, store or bulk operation outside of linear memory.
    MemoryOutOfBounds,
    /// An access outside of a table.
    TableOutOfBounds,
    /// An indirect call to an empty table slot.
    IndirectCallToNull,
    /// An indirect call to a function of another type.
    BadSignature,
    /// An integer division whose result does not fit.
    IntegerOverflow,
    /// An integer division by zero.
    IntegerDivisionByZero,
    /// A float that has no integer counterpart.
    BadConversionToInteger,
    /// Too many nested calls.
    StackOverflow,
    /// A host function that was called against its contract.
    HostCall,
    /// Any other trap of the engine.
    Other,
}

impl fmt::Display for TrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "unreachable code was reached",
            Self::MemoryOutOfBounds => "memory access out of bounds",
            Self::TableOutOfBounds => "table access out of bounds",
            Self::IndirectCallToNull => "indirect call to an empty table slot",
            Self::BadSignature => "indirect call to a function of another type",
            Self::IntegerOverflow => "integer overflow",
            Self::IntegerDivisionByZero => "integer division by zero",
            Self::BadConversionToInteger => "float has no integer counterpart",
            Self::StackOverflow => "call stack exhausted",
            Self::HostCall => "host function called against its contract",
            Self::Other => "engine trap",
        })
    }
}
