//! The host interface `adit_1` as a table: the one definition of what guests import beside WASI.
//!
//! What each function does stands in `guest-sdk/abi.md`. Names, types, numbers and layouts stand here, and all who have them again are
//! compared with this: the runtime's linker and its admission (`runtime/src/worker/compile.rs`), the declarations of the Rust SDK,
//! `abi.md`, the C header `adit.h` and `adit.zig` (`guest-sdk/tests/it/interface.rs`).
//!
//! The module's name carries the version: what is released keeps its name, type and meaning for ever.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

/// The import module.
pub const MODULE: &str = "adit_1";

/// A function that a guest may import from [`MODULE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The names of its parameters.
    pub names: &'static [&'static str],
    /// The wasm types of its parameters: `i` for i32, `I` for i64.
    pub params: &'static str,
    /// The wasm type of its result likewise; empty where it has none.
    pub result: &'static str,
}

macro_rules! letter {
    () => {
        ""
    };
    (i32) => {
        "i"
    };
    (i64) => {
        "I"
    };
}

macro_rules! functions {
    ($($name:ident($($param:ident: $type:ident),*) $(-> $result:ident)?;)*) => {
        /// Every function of the interface.
        pub const FUNCTIONS: &[Function] = &[$(Function {
            name: stringify!($name),
            names: &[$(stringify!($param)),*],
            params: concat!($(letter!($type)),*),
            result: letter!($($result)?),
        }),*];
    };
}

functions! {
    log(level: i32, ptr: i32, len: i32);
    progress(done: i64, total: i64);
    fuel_left() -> i64;
    input_count() -> i32;
    input_name(index: i32, ptr: i32, len: i32) -> i32;
    input_find(name: i32, len: i32) -> i32;
    input_bytes(index: i32) -> i64;
    input_read(index: i32, offset: i64, ptr: i32, len: i32) -> i32;
    gpu_limits(limits: i32) -> i32;
    gpu_buffer_create(bytes: i64) -> i32;
    gpu_buffer_destroy(buffer: i32) -> i32;
    gpu_buffer_write(buffer: i32, offset: i64, ptr: i32, len: i32) -> i32;
    gpu_buffer_read(buffer: i32, offset: i64, ptr: i32, len: i32) -> i32;
    gpu_buffer_copy(from: i32, from_offset: i64, to: i32, to_offset: i64, bytes: i64) -> i32;
    gpu_pipeline_create(wgsl: i32, wgsl_len: i32, entry: i32, entry_len: i32) -> i32;
    gpu_pipeline_destroy(pipeline: i32) -> i32;
    gpu_dispatch(pipeline: i32, bindings: i32, count: i32, x: i32, y: i32, z: i32) -> i32;
    gpu_submit() -> i32;
    gpu_finish() -> i32;
    gpu_error(ptr: i32, len: i32) -> i32;
}

macro_rules! constants {
    ($($(#[doc = $doc:literal])* $name:ident = $value:literal;)*) => {
        $($(#[doc = $doc])* pub const $name: i64 = $value;)*

        /// Every number of the interface, by its name. In C it has `ADIT_` before it.
        pub const CONSTANTS: &[(&str, i64)] = &[$((stringify!($name), $name)),*];
    };
}

constants! {
    /// Level of a log message: the job cannot do what it was asked.
    LOG_ERROR = 1;
    /// Level of a log message: the job goes on, but someone should know.
    LOG_WARN = 2;
    /// Level of a log message: what a user wants to read.
    LOG_INFO = 3;
    /// Level of a log message: what the author wants to read.
    LOG_DEBUG = 4;
    /// Level of a log message: what the author wants to read once.
    LOG_TRACE = 5;

    /// Exit code: standard output holds the output.
    EXIT_FINISHED = 0;
    /// Exit code: the job returned an error.
    EXIT_FAILED = 1;
    /// Exit code: the input is not what the job reads.
    EXIT_INPUT = 2;
    /// Exit code: the output could not be encoded or written.
    EXIT_OUTPUT = 3;

    /// Named inputs of a job.
    INPUTS_MAX = 16;
    /// Bytes of a named input's name.
    INPUT_NAME_BYTES_MAX = 64;

    /// Error code: the job has no GPU.
    GPU_UNAVAILABLE = -1;
    /// Error code: an argument is not what the call takes.
    GPU_INVALID = -2;
    /// Error code: a limit of the job would be exceeded.
    GPU_LIMIT = -3;
    /// Error code: the shader is refused.
    GPU_SHADER = -4;

    /// What sizes, offsets and lengths of a GPU's buffers are multiples of.
    GPU_ALIGN = 4;
    /// What the offset of a binding is a multiple of.
    GPU_BINDING_ALIGN = 256;
    /// Bindings of a dispatch.
    GPU_BINDINGS_MAX = 32;
    /// Storage buffers of an entry point.
    GPU_STORAGE_BINDINGS_MAX = 8;
    /// Uniforms of an entry point.
    GPU_UNIFORM_BINDINGS_MAX = 12;
    /// The largest number of a binding.
    GPU_BINDING_NUMBER_MAX = 999;
    /// Bytes of a uniform.
    GPU_UNIFORM_BYTES_MAX = 65_536;
    /// Workgroups in one dimension.
    GPU_DIMENSION_MAX = 65_535;
    /// Bytes of a shader.
    GPU_SHADER_BYTES_MAX = 65_536;
    /// Bytes of an entry point's name.
    GPU_ENTRY_BYTES_MAX = 1_024;
    /// Bytes of private variables, and of a function's variables.
    GPU_VARIABLE_BYTES_MAX = 8_192;
    /// Operations of an entry point, with those of each function that it calls once per call.
    GPU_SHADER_OPERATIONS_MAX = 180_000;
    /// Operations of all pipelines that a job makes, whatever becomes of them.
    GPU_JOB_OPERATIONS_MAX = 1_800_000;
    /// What each of them counts there at the least.
    GPU_PIPELINE_OPERATIONS_MIN = 1_000;
}

/// A record in the guest's memory: little-endian, without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Its name.
    pub name: &'static str,
    /// Its fields, in their order, and their Rust types: `u32` or `u64`.
    pub fields: &'static [(&'static str, &'static str)],
    /// Its bytes.
    pub bytes: usize,
}

macro_rules! records {
    ($($(#[doc = $doc:literal])* $constant:ident, $name:ident { $($field:ident: $type:ident),* })*) => {
        $($(#[doc = $doc])* pub const $constant: Record = Record {
            name: stringify!($name),
            fields: &[$((stringify!($field), stringify!($type))),*],
            bytes: 0 $(+ size_of::<$type>())*,
        };)*

        /// Every record of the interface.
        pub const RECORDS: &[Record] = &[$($constant),*];
    };
}

records! {
    /// What `gpu_limits` writes.
    GPU_LIMITS, gpu_limits {
        memory: u64, buffer: u64, dispatches: u64, workgroups: u64, time_ns: u64,
        buffers: u32, pipelines: u32, invocations: u32, workgroup_memory: u32
    }
    /// What `gpu_dispatch` reads, one for each binding.
    GPU_BINDING, gpu_binding { binding: u32, buffer: u32, offset: u64, bytes: u64 }
}
