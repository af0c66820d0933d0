//! The functions `adit_1.gpu_*`, as `guest-sdk/abi.md` has them.

use wasmtime::{Caller, Linker};

use super::{LIMITS_BYTES, Trouble};
use crate::gpu::book::BINDINGS_MAX;
use crate::gpu::shader::SHADER_BYTES_MAX;
use crate::gpu::wire::Binding;
use crate::worker::guest::{ADIT_MODULE, Guest, memory, span};
use crate::worker::prices::{GPU_BINDING_UNITS, GPU_BYTE_UNITS, GPU_COMMAND_UNITS, GPU_PIPELINE_UNITS, SHADER_BYTE_UNITS};

/// A record in the list of a dispatch: `binding: u32, buffer: u32, offset: u64, bytes: u64`.
const BINDING_BYTES: usize = adit_abi::GPU_BINDING.bytes;

/// Gives guests these functions.
pub(in crate::worker) fn add_to(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(ADIT_MODULE, "gpu_limits", limits)?;
    linker.func_wrap(ADIT_MODULE, "gpu_error", error)?;
    add_buffers(linker)?;
    add_pipelines(linker)
}

fn add_buffers(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(ADIT_MODULE, "gpu_buffer_create", |caller: Caller<'_, Guest>, (bytes,): (i64,)| {
        Box::new(plain(caller, Plain::Create { bytes: bytes as u64 }))
    })?;
    linker.func_wrap_async(ADIT_MODULE, "gpu_buffer_destroy", |caller: Caller<'_, Guest>, (buffer,): (i32,)| {
        Box::new(plain(caller, Plain::Destroy { buffer: buffer as u32 }))
    })?;
    linker.func_wrap_async(
        ADIT_MODULE,
        "gpu_buffer_write",
        |caller: Caller<'_, Guest>, (buffer, offset, pointer, bytes): (i32, i64, i32, i32)| {
            Box::new(write(caller, buffer, offset, pointer, bytes))
        },
    )?;
    linker.func_wrap_async(
        ADIT_MODULE,
        "gpu_buffer_read",
        |caller: Caller<'_, Guest>, (buffer, offset, pointer, bytes): (i32, i64, i32, i32)| {
            Box::new(read(caller, buffer, offset, pointer, bytes))
        },
    )?;
    linker.func_wrap_async(
        ADIT_MODULE,
        "gpu_buffer_copy",
        |caller: Caller<'_, Guest>, (from, from_offset, to, to_offset, bytes): (i32, i64, i32, i64, i64)| {
            let (from, to) = ((from as u32, from_offset as u64), (to as u32, to_offset as u64));
            Box::new(plain(caller, Plain::Copy { from, to, bytes: bytes as u64 }))
        },
    )?;
    Ok(())
}

fn add_pipelines(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        ADIT_MODULE,
        "gpu_pipeline_create",
        |caller: Caller<'_, Guest>, (wgsl, wgsl_bytes, entry, entry_bytes): (i32, i32, i32, i32)| {
            Box::new(create_pipeline(caller, (wgsl, wgsl_bytes), (entry, entry_bytes)))
        },
    )?;
    linker.func_wrap_async(ADIT_MODULE, "gpu_pipeline_destroy", |caller: Caller<'_, Guest>, (pipeline,): (i32,)| {
        Box::new(plain(caller, Plain::DropPipeline { pipeline: pipeline as u32 }))
    })?;
    linker.func_wrap_async(
        ADIT_MODULE,
        "gpu_dispatch",
        |caller: Caller<'_, Guest>, (pipeline, bindings, count, x, y, z): (i32, i32, i32, i32, i32, i32)| {
            Box::new(dispatch(caller, pipeline, (bindings, count), [x, y, z]))
        },
    )?;
    linker
        .func_wrap_async(ADIT_MODULE, "gpu_submit", |caller: Caller<'_, Guest>, (): ()| Box::new(plain(caller, Plain::Submit)))?;
    linker
        .func_wrap_async(ADIT_MODULE, "gpu_finish", |caller: Caller<'_, Guest>, (): ()| Box::new(plain(caller, Plain::Finish)))?;
    Ok(())
}

/// A call that takes no pointer.
enum Plain {
    Create { bytes: u64 },
    Destroy { buffer: u32 },
    Copy { from: (u32, u64), to: (u32, u64), bytes: u64 },
    DropPipeline { pipeline: u32 },
    Submit,
    Finish,
}

async fn plain(mut caller: Caller<'_, Guest>, call: Plain) -> wasmtime::Result<i32> {
    let guest = caller.data_mut();
    guest.enter(GPU_COMMAND_UNITS)?;
    let Some(gpu) = &mut guest.gpu else { return answer(guest, Err(Trouble::unavailable())) };
    let done = match call {
        Plain::Create { bytes } => gpu.create(bytes).await,
        Plain::Destroy { buffer } => gpu.destroy(buffer).await,
        Plain::Copy { from, to, bytes } => gpu.copy(from.0, from.1, to.0, to.1, bytes).await,
        Plain::DropPipeline { pipeline } => gpu.drop_pipeline(pipeline).await,
        Plain::Submit => gpu.submit().await,
        Plain::Finish => gpu.finish().await.map(|()| 0).map_err(Trouble::Closed),
    };
    answer(guest, done)
}

/// `gpu_limits(limits) -> i32`.
fn limits(mut caller: Caller<'_, Guest>, limits: i32) -> wasmtime::Result<i32> {
    let (data, guest) = open(&mut caller, "adit_1.gpu_limits")?;
    let limits = span(data, limits, LIMITS_BYTES, "adit_1.gpu_limits")?;
    let Some(gpu) = &guest.gpu else { return answer(guest, Err(Trouble::unavailable())) };
    data[limits].copy_from_slice(&gpu.limits());
    Ok(0)
}

/// `gpu_error(pointer, bytes) -> i32`.
fn error(mut caller: Caller<'_, Guest>, pointer: i32, bytes: i32) -> wasmtime::Result<i32> {
    let (data, guest) = open(&mut caller, "adit_1.gpu_error")?;
    let room = span(data, pointer, bytes as u32 as usize, "adit_1.gpu_error")?;
    let message = guest.gpu_error.as_bytes();
    let fits = message.len().min(room.len());
    guest.pay(GPU_BYTE_UNITS * fits as u64)?;
    data[room][..fits].copy_from_slice(&message[..fits]);
    Ok(message.len() as i32)
}

/// `gpu_buffer_write(buffer, offset, pointer, bytes) -> i32`.
async fn write(mut caller: Caller<'_, Guest>, buffer: i32, offset: i64, pointer: i32, bytes: i32) -> wasmtime::Result<i32> {
    let (data, guest) = open(&mut caller, "adit_1.gpu_buffer_write")?;
    let bytes = span(data, pointer, bytes as u32 as usize, "adit_1.gpu_buffer_write")?;
    guest.pay(GPU_BYTE_UNITS * bytes.len() as u64)?;
    let Some(gpu) = &mut guest.gpu else { return answer(guest, Err(Trouble::unavailable())) };
    let done = gpu.write(buffer as u32, offset as u64, &data[bytes]).await;
    answer(guest, done)
}

/// `gpu_buffer_read(buffer, offset, pointer, bytes) -> i32`.
async fn read(mut caller: Caller<'_, Guest>, buffer: i32, offset: i64, pointer: i32, bytes: i32) -> wasmtime::Result<i32> {
    let (data, guest) = open(&mut caller, "adit_1.gpu_buffer_read")?;
    let bytes = span(data, pointer, bytes as u32 as usize, "adit_1.gpu_buffer_read")?;
    guest.pay(GPU_BYTE_UNITS * bytes.len() as u64)?;
    let Some(gpu) = &mut guest.gpu else { return answer(guest, Err(Trouble::unavailable())) };
    let done = gpu.read(buffer as u32, offset as u64, &mut data[bytes]).await;
    answer(guest, done)
}

/// `gpu_pipeline_create(wgsl, wgsl_bytes, entry, entry_bytes) -> i32`.
async fn create_pipeline(mut caller: Caller<'_, Guest>, wgsl: (i32, i32), entry: (i32, i32)) -> wasmtime::Result<i32> {
    let (data, guest) = open(&mut caller, "adit_1.gpu_pipeline_create")?;
    let wgsl = span(data, wgsl.0, wgsl.1 as u32 as usize, "adit_1.gpu_pipeline_create")?;
    let entry = span(data, entry.0, entry.1 as u32 as usize, "adit_1.gpu_pipeline_create")?;
    // A longer one is refused unread.
    guest.pay(GPU_PIPELINE_UNITS + SHADER_BYTE_UNITS * wgsl.len().min(SHADER_BYTES_MAX) as u64)?;
    let Some(gpu) = &mut guest.gpu else { return answer(guest, Err(Trouble::unavailable())) };
    let done = gpu.create_pipeline(&data[wgsl], &data[entry]).await;
    answer(guest, done)
}

/// `gpu_dispatch(pipeline, bindings, count, x, y, z) -> i32`.
async fn dispatch(
    mut caller: Caller<'_, Guest>,
    pipeline: i32,
    (bindings, count): (i32, i32),
    workgroups: [i32; 3],
) -> wasmtime::Result<i32> {
    let (data, guest) = open(&mut caller, "adit_1.gpu_dispatch")?;
    let bytes = BINDING_BYTES.saturating_mul(count as u32 as usize);
    let records = span(data, bindings, bytes, "adit_1.gpu_dispatch")?;
    // One more than there may be are read, and refused.
    let bindings: Vec<_> = data[records].as_chunks().0.iter().take(BINDINGS_MAX + 1).map(binding).collect();
    guest.pay(GPU_BINDING_UNITS * bindings.len() as u64)?;
    let Some(gpu) = &mut guest.gpu else { return answer(guest, Err(Trouble::unavailable())) };
    let done = gpu.dispatch(pipeline as u32, &bindings, workgroups.map(|count| count as u32)).await;
    answer(guest, done)
}

fn binding(record: &[u8; BINDING_BYTES]) -> Binding {
    let narrow = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("four bytes"));
    let wide = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
    Binding { binding: narrow(0), buffer: narrow(4), offset: wide(8), bytes: wide(16) }
}

/// The guest's memory and state, for a call that is counted.
fn open<'a>(caller: &'a mut Caller<'_, Guest>, function: &str) -> wasmtime::Result<(&'a mut [u8], &'a mut Guest)> {
    let memory = memory(caller, function)?;
    let (data, guest) = memory.data_and_store_mut(caller);
    guest.enter(GPU_COMMAND_UNITS)?;
    Ok((data, guest))
}

/// What the guest is told.
fn answer(guest: &mut Guest, done: Result<u32, Trouble>) -> wasmtime::Result<i32> {
    match done {
        Ok(number) => Ok(number.cast_signed()),
        Err(Trouble::Refused(code, message)) => {
            guest.gpu_error = message;
            Ok(code)
        }
        Err(Trouble::Closed(closed)) => Err(closed.into()),
    }
}
