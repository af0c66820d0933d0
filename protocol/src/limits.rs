//! Every bound on the wire, each with its reason. What is over a limit is refused with an error that names the limit.

/// One frame on a control stream, header included. Large enough for a job with its inline input, its args and its env at
/// their own limits; small enough that a peer can make us allocate no more than this.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;

/// Inputs and outputs up to this travel inside the message itself; larger ones get a stream of their own. One QUIC stream costs
/// about as much as copying 16 KiB twice.
pub const INLINE_BYTES_MAX: usize = 16 * 1024;

/// One log message from a node: the pipe's own granularity, so that logs appear while they are written.
pub const LOG_CHUNK_BYTES_MAX: usize = 8 * 1024;

/// A module as it is uploaded. Larger applications carry their data as inputs.
pub const MODULE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An input or an output. Bounded by what a home box can be expected to have free on disk.
pub const BLOB_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Named inputs of one job: each is a transfer to its node, and a file that is open there while it runs. A job with more files has them in one.
pub const NAMED_INPUTS_MAX: usize = 16;
/// Bytes of a named input's name: short enough to stand in a command line.
pub const INPUT_NAME_BYTES_MAX: usize = 64;

/// Arguments of one job.
pub const ARGS_MAX: usize = 256;
/// Environment variables of one job.
pub const ENV_MAX: usize = 256;
/// Bytes of all arguments and environment variables together; fits a frame beside an inline input.
pub const ARGS_ENV_BYTES_MAX: usize = 128 * 1024;

/// Labels that a job may demand or a node may carry.
pub const LABELS_MAX: usize = 64;
/// Bytes of one label's key or value.
pub const LABEL_BYTES_MAX: usize = 128;

/// Digests of modules that a node names as known when it joins: more than a home box runs in a day.
pub const CACHED_MODULES_MAX: usize = 64;

/// Bytes of the token by which a node joins.
pub const TOKEN_BYTES_MAX: usize = 128;

/// Nodes whose comparison is kept of a decision: enough to see why the best was taken and what the next ones lacked.
pub const CANDIDATES_MAX: usize = 16;

/// Fuel of one job: 10,000 compute minutes. Keeps every product in the price formula inside 128 bits.
pub const FUEL_MAX: u64 = 10_000 * FUEL_PER_COMPUTE_MINUTE;
/// Fuel in one compute minute: one core of the reference machine for about one minute.
pub const FUEL_PER_COMPUTE_MINUTE: u64 = 60_000_000_000;

/// Linear memory of one job: all that a 32-bit wasm memory can address.
pub const MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Wall time of one attempt: a day.
pub const WALL_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// GPU time of one job: a day, in nanoseconds.
pub const GPU_NS_MAX: u64 = WALL_MS_MAX * 1_000_000;

/// Memory that a job may ask of a GPU: what the largest have. Buffers of one job are counted against what it asks.
pub const GPU_MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// GPU buffers of one job at one time.
pub const GPU_BUFFERS_MAX: u32 = 4_096;
/// GPU pipelines of one job at one time. Drivers keep machine code of each.
pub const GPU_PIPELINES_MAX: u32 = 256;
/// GPU dispatches of one job.
pub const GPU_DISPATCHES_MAX: u64 = 1 << 32;
/// Workgroups of one GPU dispatch. Each of the three dimensions is at most 65,535 (WebGPU, section 3.6.2), and so is every one that is
/// not over what a time slice lets end.
pub const GPU_WORKGROUPS_MAX: u64 = 1 << 32;
/// Invocations of one GPU workgroup: what the largest adapters have.
pub const GPU_INVOCATIONS_MAX: u32 = 1_024;
/// Bytes that the invocations of one GPU workgroup share: what the largest adapters have.
pub const GPU_WORKGROUP_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of an adapter's class.
pub const GPU_CLASS_BYTES_MAX: usize = 64;

/// Log bytes that a job may ask to keep.
pub const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Each component of a price, in microcredits. Keeps every product in the price formula inside 128 bits.
pub const PRICE_COMPONENT_MAX: u64 = 1 << 40;

/// Receipts signed under one root. A path is then at most 6 hashes.
pub const BATCH_LEAVES_MAX: usize = 64;

/// A human reason carried in a message (a trap's text, a validation error).
pub const REASON_BYTES_MAX: usize = 2 * 1024;

/// One leaf of the public log. A settlement is under 1 KiB; a node that fills the free text of its receipt must not fill the log, and
/// an entry bundle's lengths have 16 bits.
pub const LEAF_BYTES_MAX: usize = 4 * 1024;

/// Rows in one answer to a query.
pub const ANSWER_ROWS_MAX: usize = 200;

// The largest submission fits a frame: inline input, named inputs, args and env, labels, and 16 KiB for the fixed fields.
const _: () = assert!(
    INLINE_BYTES_MAX
        + NAMED_INPUTS_MAX * (INPUT_NAME_BYTES_MAX + 48)
        + ARGS_ENV_BYTES_MAX
        + LABELS_MAX * 2 * LABEL_BYTES_MAX
        + 16 * 1024
        < FRAME_BYTES_MAX
);
// The longest greeting fits a frame: labels, known modules, a token, and 4 KiB for the fixed fields.
const _: () = assert!(LABELS_MAX * 2 * LABEL_BYTES_MAX + CACHED_MODULES_MAX * 32 + TOKEN_BYTES_MAX + 4 * 1024 < FRAME_BYTES_MAX);
// A receipt with an inline output, its reason and its batch path fits a frame.
const _: () = assert!(INLINE_BYTES_MAX + REASON_BYTES_MAX + 4 * 1024 < FRAME_BYTES_MAX);
