//! A guest's GPU: the sandbox's side of a session. It answers the guest from its own [`Book`], and sends what the guest records to the
//! GPU worker; so only what really waits for the GPU takes a turn there and back.

mod calls;
mod link;

use std::sync::Arc;

use adit_protocol::JobSpec;
use tokio::sync::Mutex;

use super::outbox::Outbox;
use crate::gpu::book::{Book, Fault};
use crate::gpu::shader::{ENTRY_BYTES_MAX, SHADER_BYTES_MAX, SPIR_V};
use crate::gpu::wire::{Binding, Command};
use crate::ipc::{FromSandbox, Made, NotMade, Receiver, ToSandbox};

pub(super) use calls::add_to;
pub(crate) use link::Link;
pub(super) use link::SessionClosed;

/// The GPU of one run.
pub(crate) struct Gpu {
    run: u64,
    time_max_ns: u64,
    book: Book,
    link: Link,
    outbox: Arc<Outbox>,
    /// Where the supervisor says which pipelines it had made.
    supervisor: Arc<Mutex<Receiver>>,
    /// Whether all that the guest recorded is done.
    is_settled: bool,
}

/// A call that does not do what it is for.
#[derive(Debug)]
enum Trouble {
    /// The guest learns of it: a code of `guest-sdk/abi.md`, and why.
    Refused(i32, String),
    /// There is no GPU any more, so the guest does not go on.
    Closed(SessionClosed),
}

const UNAVAILABLE: i32 = adit_abi::GPU_UNAVAILABLE as i32;
const INVALID: i32 = adit_abi::GPU_INVALID as i32;
const LIMIT: i32 = adit_abi::GPU_LIMIT as i32;
const SHADER: i32 = adit_abi::GPU_SHADER as i32;

impl Trouble {
    fn unavailable() -> Self {
        Self::Refused(UNAVAILABLE, "this job has no GPU (`--gpu`)".to_owned())
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Invalid(message) => Self::Refused(INVALID, message),
            Fault::Limit(message) => Self::Refused(LIMIT, message),
        }
    }
}

impl From<NotMade> for Trouble {
    fn from(not_made: NotMade) -> Self {
        match not_made {
            NotMade::Shader(message) => Self::Refused(SHADER, message),
            NotMade::Limit(message) => Self::Refused(LIMIT, message),
        }
    }
}

impl From<SessionClosed> for Trouble {
    fn from(closed: SessionClosed) -> Self {
        Self::Closed(closed)
    }
}

impl Gpu {
    pub(super) fn new(run: u64, spec: &JobSpec, link: Link, outbox: Arc<Outbox>, supervisor: Arc<Mutex<Receiver>>) -> Self {
        let book = Book::new(spec.gpu.unwrap_or_default());
        Self { run, time_max_ns: spec.limits.gpu_ns, book, link, outbox, supervisor, is_settled: true }
    }

    /// What the job may use, as a guest reads it.
    fn limits(&self) -> [u8; LIMITS_BYTES] {
        let need = self.book.need();
        let wide = [need.memory.0, need.buffer.0, need.dispatches, need.workgroups, self.time_max_ns];
        let narrow = [need.buffers, need.pipelines, need.invocations, need.workgroup_memory];
        let mut bytes = [0; LIMITS_BYTES];
        let (first, rest) = bytes.split_at_mut(size_of_val(&wide));
        first.copy_from_slice(wide.map(u64::to_le_bytes).as_flattened());
        rest.copy_from_slice(narrow.map(u32::to_le_bytes).as_flattened());
        bytes
    }

    async fn create(&mut self, bytes: u64) -> Result<u32, Trouble> {
        let buffer = self.book.create(bytes)?;
        self.record(&Command::Create { buffer, bytes }).await?;
        Ok(buffer)
    }

    async fn destroy(&mut self, buffer: u32) -> Result<u32, Trouble> {
        self.book.destroy(buffer)?;
        self.record(&Command::Destroy { buffer }).await
    }

    async fn write(&mut self, buffer: u32, offset: u64, bytes: &[u8]) -> Result<u32, Trouble> {
        self.book.write(buffer, offset, bytes.len() as u64)?;
        self.is_settled = false;
        self.link.write(buffer, offset, bytes).await?;
        Ok(0)
    }

    async fn read(&mut self, buffer: u32, offset: u64, into: &mut [u8]) -> Result<u32, Trouble> {
        self.book.read(buffer, offset, into.len() as u64)?;
        self.link.read(buffer, offset, into).await?;
        // All that came before is done; a read of nothing waits for nothing.
        self.is_settled |= !into.is_empty();
        Ok(0)
    }

    async fn copy(&mut self, from: u32, from_offset: u64, to: u32, to_offset: u64, bytes: u64) -> Result<u32, Trouble> {
        self.book.copy(from, from_offset, to, to_offset, bytes)?;
        self.record(&Command::Copy { from, from_offset, to, to_offset, bytes }).await
    }

    /// Has the supervisor check a shader and the GPU worker make a pipeline of it.
    async fn create_pipeline(&mut self, wgsl: &[u8], entry: &[u8]) -> Result<u32, Trouble> {
        if wgsl.len() > SHADER_BYTES_MAX {
            return Err(Trouble::Refused(SHADER, format!("the shader has {} bytes; it may have {SHADER_BYTES_MAX}", wgsl.len())));
        }
        if wgsl.starts_with(&SPIR_V) {
            return Err(Trouble::Refused(SHADER, "the shader is SPIR-V, and a guest's is WGSL".to_owned()));
        }
        let wgsl = std::str::from_utf8(wgsl).map_err(|error| Trouble::Refused(SHADER, format!("the shader: {error}")))?;
        let entry = std::str::from_utf8(entry).ok().filter(|entry| entry.len() <= ENTRY_BYTES_MAX);
        let Some(entry) = entry else {
            let message = format!("the entry point's name is no UTF-8, or longer than {ENTRY_BYTES_MAX} bytes");
            return Err(Trouble::Refused(INVALID, message));
        };
        self.book.has_room_for_pipeline()?;
        self.outbox.ask(&FromSandbox::Pipeline { wgsl: wgsl.to_owned(), entry: entry.to_owned() }).await;
        let made = self.made().await??;
        let pipeline = self.book.add_pipeline(made.shape)?;
        self.record(&Command::Adopt { pipeline, serial: made.serial }).await?;
        Ok(pipeline)
    }

    async fn made(&mut self) -> Result<Result<Made, NotMade>, SessionClosed> {
        let mut supervisor = self.supervisor.lock().await;
        loop {
            match supervisor.recv().await {
                Ok(Some(ToSandbox::Pipeline { run, made })) if run == self.run => return Ok(made),
                // To a guest before this one, which did not wait for it.
                Ok(Some(ToSandbox::Pipeline { .. })) => {}
                _ => return Err(SessionClosed),
            }
        }
    }

    async fn drop_pipeline(&mut self, pipeline: u32) -> Result<u32, Trouble> {
        self.book.drop_pipeline(pipeline)?;
        self.record(&Command::DropPipeline { pipeline }).await
    }

    async fn dispatch(&mut self, pipeline: u32, bindings: &[Binding], workgroups: [u32; 3]) -> Result<u32, Trouble> {
        let bindings = self.book.dispatch(pipeline, bindings, workgroups)?;
        self.record(&Command::Dispatch { pipeline, bindings, workgroups }).await
    }

    async fn submit(&mut self) -> Result<u32, Trouble> {
        self.record(&Command::Submit).await?;
        self.link.send().await?;
        Ok(0)
    }

    /// Waits until all that was recorded is done. What a guest leaves behind at its end is waited for too: so a job's end is its
    /// GPU's, and what it used is known.
    pub(super) async fn finish(&mut self) -> Result<(), SessionClosed> {
        if !self.is_settled {
            self.link.finish().await?;
            self.is_settled = true;
        }
        Ok(())
    }

    async fn record(&mut self, command: &Command) -> Result<u32, Trouble> {
        self.is_settled = false;
        self.link.record(command).await?;
        Ok(0)
    }
}

/// What `gpu_limits` writes: five numbers of 64 bits, and four of 32.
const LIMITS_BYTES: usize = adit_abi::GPU_LIMITS.bytes;
