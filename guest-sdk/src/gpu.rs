//! Compute on the GPU of the node that runs the job, in [WGSL](https://www.w3.org/TR/WGSL/).
//!
//! A job that was submitted with a GPU opens it, makes buffers and pipelines, and dispatches. Calls are recorded and take effect in
//! their order, each seeing what those before it wrote, so steps follow one another on the GPU with nothing read back between them:
//!
//! ```
//! use adit_guest::gpu::{Error, Gpu};
//!
//! const WGSL: &str = "
//!     @group(0) @binding(0) var<storage, read_write> numbers: array<u32>;
//!
//!     @compute @workgroup_size(64)
//!     fn square(@builtin(global_invocation_id) id: vec3u) {
//!         if id.x < arrayLength(&numbers) {
//!             numbers[id.x] *= numbers[id.x];
//!         }
//!     }
//! ";
//!
//! fn fourth_powers(numbers: &[u32]) -> Result<Vec<u32>, Error> {
//!     let gpu = Gpu::open()?;
//!     let buffer = gpu.buffer_from(numbers)?;
//!     let square = gpu.pipeline(WGSL, "square")?;
//!     let workgroups = [numbers.len().div_ceil(64) as u32, 1, 1];
//!     gpu.dispatch(&square, &[buffer.at(0)], workgroups)?;
//!     gpu.dispatch(&square, &[buffer.at(0)], workgroups)?;
//!     buffer.read()
//! }
//!
//! match fourth_powers(&[1, 2, 3]) {
//!     Ok(powers) => assert_eq!(powers, [1, 16, 81]),
//!     Err(Error::Unavailable(why)) => eprintln!("no GPU here: {why}"),
//!     Err(error) => panic!("{error}"),
//! }
//! ```
//!
//! What a job may use is what it asked for ([`Gpu::limits`]), and a guest learns nothing else about the adapter: no name, no clock. A GPU
//! that hangs or is lost under the job's work ends the job, and so does GPU time over its limit; neither is an error that a call returns.
//!
//! In a native build the same calls go to this machine's GPU by [wgpu](https://docs.rs/wgpu), which a software driver will do for, with
//! the same rules and the same errors; so a guest's function is tested by `cargo test`. Only time is not limited there. `WGPU_BACKEND`
//! and `WGPU_ADAPTER_NAME` choose among adapters.

mod buffer;
mod error;
mod limits;
mod pipeline;

#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(not(target_arch = "wasm32"))]
mod native;

/// For `Pod` and `Zeroable`. A type that derives them says `#[bytemuck(crate = "adit_guest::gpu::bytemuck")]`, or its package depends on
/// bytemuck itself, with the feature `derive`.
pub use bytemuck;

#[cfg(target_arch = "wasm32")]
use self::host::Session;
#[cfg(not(target_arch = "wasm32"))]
use self::native::Session;

pub use self::buffer::{Binding, Buffer};
pub use self::error::Error;
pub use self::limits::Limits;
pub use self::pipeline::Pipeline;
use bytemuck::Pod;

/// The job's GPU. Open it once: all that is opened of one job shares its limits, and in a native build each is a GPU of its own.
#[derive(Debug)]
pub struct Gpu {
    session: Session,
}

impl Gpu {
    /// The GPU that the job was given.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: it was given none. In a native build: this machine has none, or none that can do what [`Limits::default`]
    /// says.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { session: Session::open()? })
    }

    /// This machine's GPU, as if a job had asked for these limits. In native builds only, for tests.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: this machine has no GPU that can do so much.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_with(limits: Limits) -> Result<Self, Error> {
        Ok(Self { session: Session::open_with(limits)? })
    }

    /// What the job may use.
    pub fn limits(&self) -> Limits {
        self.session.limits()
    }

    /// A buffer of `len` values, all of whose bytes are zero.
    ///
    /// # Errors
    /// [`Error::Limit`]: the job may not have it.
    pub fn buffer<T: Pod>(&self, len: usize) -> Result<Buffer<T>, Error> {
        Buffer::new(&self.session, len)
    }

    /// A buffer with these values in it. For a `var<uniform>` of one struct, take a slice of one.
    ///
    /// # Errors
    /// [`Error::Limit`]: the job may not have it.
    pub fn buffer_from<T: Pod>(&self, values: &[T]) -> Result<Buffer<T>, Error> {
        let buffer = self.buffer(values.len())?;
        buffer.write(0, values)?;
        Ok(buffer)
    }

    /// Compiles the entry point `entry` of a shader of at most 64 KiB. It takes a while: make each pipeline once.
    ///
    /// # Errors
    /// [`Error::Shader`]: the WGSL is refused; the message is the compiler's, with line and column. [`Error::Limit`]: there are as many
    /// pipelines as the job may have.
    pub fn pipeline(&self, wgsl: &str, entry: &str) -> Result<Pipeline, Error> {
        Pipeline::new(&self.session, wgsl, entry)
    }

    /// Records a dispatch of `workgroups` (columns, rows, layers) with [bindings](Buffer::at) for all that the pipeline uses.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the bindings do not fit the pipeline. [`Error::Limit`]: these are more workgroups or dispatches than the job
    /// may have, or more than 65,535 workgroups in one dimension.
    pub fn dispatch(&self, pipeline: &Pipeline, bindings: &[Binding<'_>], workgroups: [u32; 3]) -> Result<(), Error> {
        self.session.dispatch(pipeline.handle(&self.session)?, &buffer::records(&self.session, bindings)?, workgroups)
    }

    /// Has the GPU begin what was recorded, and does not wait. Reading and finishing do so too; call it to let the GPU work while the job
    /// computes.
    ///
    /// # Errors
    /// None that this version knows.
    pub fn submit(&self) -> Result<(), Error> {
        self.session.submit()
    }

    /// Waits until all that was recorded is done. Reading does so for itself.
    ///
    /// # Errors
    /// None that this version knows.
    pub fn finish(&self) -> Result<(), Error> {
        self.session.finish()
    }
}

/// A part of a buffer for a binding, as the host interface has it. `bytes` 0 is the rest of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    binding: u32,
    buffer: u32,
    offset: u64,
    bytes: u64,
}

impl Record {
    /// The record as the host interface has it: little-endian, in 24 bytes.
    #[cfg(any(target_arch = "wasm32", test))]
    fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..4].copy_from_slice(&self.binding.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.buffer.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_laid_out_as_the_interface_has_it() {
        let record = Record { binding: 1, buffer: 0x0203, offset: 256, bytes: u64::MAX };
        assert_eq!(record.to_bytes(), *b"\x01\0\0\0\x03\x02\0\0\0\x01\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
    }
}
