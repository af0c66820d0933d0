/// Bytes that `gpu_limits` writes.
pub(crate) const LIMITS_BYTES: usize = adit_abi::GPU_LIMITS.bytes;

/// Bytes of a record that `gpu_dispatch` reads.
const BINDING_BYTES: usize = adit_abi::GPU_BINDING.bytes;

mod adit_1 {
    #[link(wasm_import_module = "adit_1")]
    unsafe extern "C" {
        /// Writes 56 bytes at `limits`. Traps if they do not lie in the guest's memory.
        pub(super) fn gpu_limits(limits: *mut u8) -> i32;

        /// Makes a buffer of zeros. Touches no guest memory.
        pub(crate) safe fn gpu_buffer_create(bytes: u64) -> i32;

        /// Gives a buffer back. Touches no guest memory.
        pub(crate) safe fn gpu_buffer_destroy(buffer: u32) -> i32;

        /// Reads the `len` bytes at `ptr`. Traps if they do not lie in the guest's memory.
        pub(super) fn gpu_buffer_write(buffer: u32, offset: u64, ptr: *const u8, len: usize) -> i32;

        /// Writes `len` bytes at `ptr`. Traps if they do not lie in the guest's memory.
        pub(super) fn gpu_buffer_read(buffer: u32, offset: u64, ptr: *mut u8, len: usize) -> i32;

        /// Copies between buffers. Touches no guest memory.
        pub(crate) safe fn gpu_buffer_copy(from: u32, from_offset: u64, to: u32, to_offset: u64, bytes: u64) -> i32;

        /// Reads the two texts. Traps if they do not lie in the guest's memory.
        pub(super) fn gpu_pipeline_create(wgsl: *const u8, wgsl_len: usize, entry: *const u8, entry_len: usize) -> i32;

        /// Gives a pipeline back. Touches no guest memory.
        pub(crate) safe fn gpu_pipeline_destroy(pipeline: u32) -> i32;

        /// Reads `count` records of 24 bytes at `bindings`. Traps if they do not lie in the guest's memory.
        pub(super) fn gpu_dispatch(pipeline: u32, bindings: *const u8, count: usize, x: u32, y: u32, z: u32) -> i32;

        /// Begins what was recorded. Touches no guest memory.
        pub(crate) safe fn gpu_submit() -> i32;

        /// Waits for what was recorded. Touches no guest memory.
        pub(crate) safe fn gpu_finish() -> i32;

        /// Writes at most `len` bytes at `ptr`. Traps if they do not lie in the guest's memory.
        pub(super) fn gpu_error(ptr: *mut u8, len: usize) -> i32;
    }
}

pub(crate) use adit_1::{
    gpu_buffer_copy as buffer_copy, gpu_buffer_create as buffer_create, gpu_buffer_destroy as buffer_destroy,
    gpu_finish as finish, gpu_pipeline_destroy as pipeline_destroy, gpu_submit as submit,
};

pub(crate) fn limits(limits: &mut [u8; LIMITS_BYTES]) -> i32 {
    // SAFETY: the pointer is that of 56 live bytes that nobody else sees, and the host keeps none.
    unsafe { adit_1::gpu_limits(limits.as_mut_ptr()) }
}

pub(crate) fn buffer_write(buffer: u32, offset: u64, bytes: &[u8]) -> i32 {
    // SAFETY: pointer and length are those of one live slice, which the host reads before it returns and does not keep.
    unsafe { adit_1::gpu_buffer_write(buffer, offset, bytes.as_ptr(), bytes.len()) }
}

pub(crate) fn buffer_read(buffer: u32, offset: u64, bytes: &mut [u8]) -> i32 {
    // SAFETY: pointer and length are those of one live slice that nobody else sees; the host writes before it returns and keeps no pointer.
    unsafe { adit_1::gpu_buffer_read(buffer, offset, bytes.as_mut_ptr(), bytes.len()) }
}

pub(crate) fn pipeline_create(wgsl: &str, entry: &str) -> i32 {
    // SAFETY: pointers and lengths are those of two live `str`s, which the host reads before it returns and does not keep.
    unsafe { adit_1::gpu_pipeline_create(wgsl.as_ptr(), wgsl.len(), entry.as_ptr(), entry.len()) }
}

/// The records are 24 bytes each, one after the other.
pub(crate) fn dispatch(pipeline: u32, records: &[[u8; BINDING_BYTES]], [x, y, z]: [u32; 3]) -> i32 {
    // SAFETY: the pointer is that of so many live records, which the host reads before it returns and does not keep.
    unsafe { adit_1::gpu_dispatch(pipeline, records.as_ptr().cast(), records.len(), x, y, z) }
}

/// Writes the beginning of the message into `bytes` and returns how many it has in all.
pub(crate) fn error(bytes: &mut [u8]) -> i32 {
    // SAFETY: pointer and length are those of one live slice that nobody else sees; the host writes before it returns and keeps no pointer.
    unsafe { adit_1::gpu_error(bytes.as_mut_ptr(), bytes.len()) }
}
