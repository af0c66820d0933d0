//! What calls of the host cost, in units of the meter: by their work, bytes included.

use crate::meter::UNITS_PER_FUEL;

/// A call of any host function: the way out of the guest and back, and the little that most do.
pub(crate) const CALL_UNITS: u64 = 150 * UNITS_PER_FUEL;
/// A byte that goes through a standard stream or the log: copied twice, hashed, and sent on its way.
pub(super) const STREAM_BYTE_UNITS: u64 = UNITS_PER_FUEL;
/// A byte of randomness.
pub(super) const RANDOM_BYTE_UNITS: u64 = UNITS_PER_FUEL;
/// A byte of arguments and environment variables.
pub(super) const ARGUMENT_BYTE_UNITS: u64 = UNITS_PER_FUEL / 4;
/// Each of them, as a variable's name and its value are one each: copied into memory that is asked for and given back.
pub(super) const ARGUMENT_UNITS: u64 = 60 * UNITS_PER_FUEL;
/// A byte of a named input, or of its name: copied once, from where it lies into the guest's memory.
pub(super) const INPUT_BYTE_UNITS: u64 = UNITS_PER_FUEL / 2;
/// A buffer in the list of a `fd_read` or `fd_write`.
pub(super) const BUFFER_UNITS: u64 = 4 * UNITS_PER_FUEL;
/// A subscription of `poll_oneoff`.
pub(super) const SUBSCRIPTION_UNITS: u64 = 30 * UNITS_PER_FUEL;
/// A nanosecond of virtual sleep: what it costs to compute for so long, so that a guest's clocks are its fuel however it passes time.
pub(super) const SLEPT_NANOSECOND_UNITS: u64 = UNITS_PER_FUEL;
/// A call that concerns the GPU: encoded here, checked again by the GPU worker, and recorded by its driver.
pub(super) const GPU_COMMAND_UNITS: u64 = 2_000 * UNITS_PER_FUEL;
/// A buffer in the list of a dispatch.
pub(super) const GPU_BINDING_UNITS: u64 = 100 * UNITS_PER_FUEL;
/// A byte to or from a GPU's buffer: copied into the file that two processes share, and out of it.
pub(super) const GPU_BYTE_UNITS: u64 = UNITS_PER_FUEL / 2;
/// A pipeline: a process that checks its shader.
pub(super) const GPU_PIPELINE_UNITS: u64 = 2_000_000 * UNITS_PER_FUEL;
/// A byte of a shader: parsed and validated twice, and compiled by the driver.
pub(super) const SHADER_BYTE_UNITS: u64 = 1_000 * UNITS_PER_FUEL;

/// Every price, as part of the meter's name.
pub(crate) fn host_prices() -> String {
    format!(
        "call={CALL_UNITS} stream={STREAM_BYTE_UNITS} input={INPUT_BYTE_UNITS} random={RANDOM_BYTE_UNITS} argument={ARGUMENT_BYTE_UNITS}+{ARGUMENT_UNITS} \
         buffer={BUFFER_UNITS} subscription={SUBSCRIPTION_UNITS} sleep={SLEPT_NANOSECOND_UNITS} gpu={GPU_COMMAND_UNITS} \
         binding={GPU_BINDING_UNITS} moved={GPU_BYTE_UNITS} pipeline={GPU_PIPELINE_UNITS} shader={SHADER_BYTE_UNITS}"
    )
}
