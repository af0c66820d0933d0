//! The host interface `adit_1` of Adit, for guests in Zig. What each function does, to the byte, is in `abi.md` beside this file; a test
//! compares the two with each other and with the host.
//!
//!     const adit = @import("adit.zig");
//!
//!     pub fn main() void {
//!         adit.log(adit.LOG_INFO, "hello", 5);
//!     }
//!
//! Build it for wasm32 with WASI: `zig build-exe job.zig -target wasm32-wasi -O ReleaseFast`.
//!
//! The number in the module's name is the interface's version. What is declared here keeps its name, type and meaning for ever; a module that
//! uses what a host does not have is refused before it runs.

// Exit codes, as guests of the Rust SDK use them.
/// Standard output holds the output.
pub const EXIT_FINISHED = 0;
/// The job returned an error.
pub const EXIT_FAILED = 1;
/// The input is not what the job reads.
pub const EXIT_INPUT = 2;
/// The output could not be encoded or written.
pub const EXIT_OUTPUT = 3;

// --- Log and progress ----------------------------------------------------------------------------------------------------------------

pub const LOG_ERROR = 1;
pub const LOG_WARN = 2;
pub const LOG_INFO = 3;
pub const LOG_DEBUG = 4;
pub const LOG_TRACE = 5;

/// One message for the job's log: `len` bytes of UTF-8 at `ptr`.
pub extern "adit_1" fn log(level: i32, ptr: [*]const u8, len: u32) void;

/// `done` of `total` steps are finished; 0 in all is an unknown number.
pub extern "adit_1" fn progress(done: u64, total: u64) void;

// --- Budget --------------------------------------------------------------------------------------------------------------------------

/// Fuel that is left of the job's limit, this call paid for. Exact: the same on every node.
pub extern "adit_1" fn fuel_left() i64;

// --- Named inputs: blobs beside standard input, numbered from 0 in the order of their names ------------------------------------------

pub const INPUTS_MAX = 16;
pub const INPUT_NAME_BYTES_MAX = 64;

/// How many there are.
pub extern "adit_1" fn input_count() i32;

/// Writes at most `len` bytes of the name of number `index`, without a zero at the end. The bytes of the whole name, or -1.
pub extern "adit_1" fn input_name(index: i32, ptr: [*]u8, len: u32) i32;

/// The number of the input of that name (`len` bytes, no zero at the end), or -1.
pub extern "adit_1" fn input_find(name: [*]const u8, len: u32) i32;

/// Its size, or -1.
pub extern "adit_1" fn input_bytes(index: i32) i64;

/// Reads from `offset` on. How many bytes, fewer than `len` only at the end; or -1.
pub extern "adit_1" fn input_read(index: i32, offset: u64, ptr: [*]u8, len: u32) i32;

// --- GPU: compute shaders in WGSL ----------------------------------------------------------------------------------------------------

// What each function below returns where it fails; else 0 or more.
/// The job has no GPU.
pub const GPU_UNAVAILABLE = -1;
/// An argument is not what the call takes.
pub const GPU_INVALID = -2;
/// A limit of the job would be exceeded.
pub const GPU_LIMIT = -3;
/// The shader is refused.
pub const GPU_SHADER = -4;

// Numbers that hold on every node.
pub const GPU_ALIGN = 4;
pub const GPU_BINDING_ALIGN = 256;
pub const GPU_BINDINGS_MAX = 32;
pub const GPU_STORAGE_BINDINGS_MAX = 8;
pub const GPU_UNIFORM_BINDINGS_MAX = 12;
pub const GPU_BINDING_NUMBER_MAX = 999;
pub const GPU_UNIFORM_BYTES_MAX = 65536;
pub const GPU_DIMENSION_MAX = 65535;
pub const GPU_SHADER_BYTES_MAX = 65536;
pub const GPU_ENTRY_BYTES_MAX = 1024;
pub const GPU_VARIABLE_BYTES_MAX = 8192;
pub const GPU_SHADER_OPERATIONS_MAX = 180000;
pub const GPU_JOB_OPERATIONS_MAX = 1800000;
pub const GPU_PIPELINE_OPERATIONS_MIN = 1000;

/// What the job may use.
pub const GpuLimits = extern struct {
    /// Bytes of all buffers together.
    memory: u64,
    /// Bytes of the largest buffer.
    buffer: u64,
    /// Over the whole job.
    dispatches: u64,
    /// Of one dispatch.
    workgroups: u64,
    /// GPU time over the whole job.
    time_ns: u64,
    /// At one time.
    buffers: u32,
    /// At one time.
    pipelines: u32,
    /// Of one workgroup.
    invocations: u32,
    /// Bytes that they share.
    workgroup_memory: u32,
};

/// A buffer, or a part of it, for a dispatch.
pub const GpuBinding = extern struct {
    /// Its number in the shader.
    binding: u32,
    buffer: u32,
    offset: u64,
    /// 0 is the rest of the buffer.
    bytes: u64,
};

pub extern "adit_1" fn gpu_limits(limits: *GpuLimits) i32;

/// A buffer of zeros, as a handle.
pub extern "adit_1" fn gpu_buffer_create(bytes: u64) i32;

pub extern "adit_1" fn gpu_buffer_destroy(buffer: i32) i32;

/// The guest's memory is read when this returns.
pub extern "adit_1" fn gpu_buffer_write(buffer: i32, offset: u64, ptr: [*]const u8, len: u32) i32;

/// Waits for all that was recorded before.
pub extern "adit_1" fn gpu_buffer_read(buffer: i32, offset: u64, ptr: [*]u8, len: u32) i32;

pub extern "adit_1" fn gpu_buffer_copy(from: i32, from_offset: u64, to: i32, to_offset: u64, bytes: u64) i32;

/// A compute pipeline of a shader and its entry point's name, as a handle.
pub extern "adit_1" fn gpu_pipeline_create(wgsl: [*]const u8, wgsl_len: u32, entry: [*]const u8, entry_len: u32) i32;

pub extern "adit_1" fn gpu_pipeline_destroy(pipeline: i32) i32;

/// Records `x * y * z` workgroups of a pipeline, over `count` bindings.
pub extern "adit_1" fn gpu_dispatch(pipeline: i32, bindings: [*]const GpuBinding, count: u32, x: u32, y: u32, z: u32) i32;

/// Has the GPU begin what was recorded, and does not wait.
pub extern "adit_1" fn gpu_submit() i32;

/// Waits until all that was recorded is done.
pub extern "adit_1" fn gpu_finish() i32;

/// Writes at most `len` bytes of why the last call that failed did. The bytes of the whole message; 0 where none has failed.
pub extern "adit_1" fn gpu_error(ptr: [*]u8, len: u32) i32;
