//! A guest's named inputs, and the functions `adit_1.input_*`, as `guest-sdk/abi.md` has them. They are read where they lie, at the
//! offsets that a guest asks for: none is ever held here.

use std::fs::File;

use adit_protocol::NamedInput;
use adit_protocol::limits::INPUT_NAME_BYTES_MAX;
use wasmtime::{Caller, Linker};

use super::guest::{ADIT_MODULE, Guest, PIECE_BYTES, memory, span};
use super::prices::INPUT_BYTE_UNITS;
use super::stdio::{Source, Unreadable};

/// What a guest is told of an input that is not there.
const NONE: i32 = -1;

/// The most that one call reads, so that its result is never negative.
const READ_BYTES_MAX: u64 = i32::MAX as u64;

/// The named inputs of one job, in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct NamedInputs(Vec<Named>);

#[derive(Debug)]
struct Named {
    name: Box<[u8]>,
    source: Source,
}

impl NamedInputs {
    /// Those of a specification, each in its file.
    pub(crate) fn files(inputs: &[NamedInput], files: impl IntoIterator<Item = File>) -> Self {
        Self::over(inputs, |bytes, file| Source::File { file, bytes }, files)
    }

    /// Those of a specification, in memory.
    pub(crate) fn memory(inputs: &[NamedInput], contents: &[&[u8]]) -> Self {
        Self::over(inputs, |_, content: &&[u8]| Source::Memory(content.to_vec().into()), contents)
    }

    fn over<T>(inputs: &[NamedInput], source: impl Fn(u64, T) -> Source, places: impl IntoIterator<Item = T>) -> Self {
        let named = |(input, place): (&NamedInput, T)| Named {
            name: input.name.as_str().as_bytes().into(),
            source: source(input.blob.bytes, place),
        };
        Self(inputs.iter().zip(places).map(named).collect())
    }

    fn get(&self, index: i32) -> Option<&Named> {
        self.0.get(index as u32 as usize)
    }
}

/// Gives guests these functions.
pub(super) fn add_to(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(ADIT_MODULE, "input_count", count)?;
    linker.func_wrap(ADIT_MODULE, "input_name", name)?;
    linker.func_wrap(ADIT_MODULE, "input_find", find)?;
    linker.func_wrap(ADIT_MODULE, "input_bytes", bytes)?;
    linker.func_wrap(ADIT_MODULE, "input_read", read)?;
    Ok(())
}

/// `input_count() -> i32`.
fn count(caller: Caller<'_, Guest>) -> wasmtime::Result<i32> {
    caller.data().enter(0)?;
    Ok(caller.data().named.0.len() as i32)
}

/// `input_name(index, pointer, bytes) -> i32`.
fn name(mut caller: Caller<'_, Guest>, index: i32, pointer: i32, bytes: i32) -> wasmtime::Result<i32> {
    let (data, guest) = open(&mut caller, "adit_1.input_name")?;
    let room = span(data, pointer, bytes as u32 as usize, "adit_1.input_name")?;
    let Some(input) = guest.named.get(index) else { return Ok(NONE) };
    let fits = input.name.len().min(room.len());
    guest.pay(INPUT_BYTE_UNITS * fits as u64)?;
    data[room][..fits].copy_from_slice(&input.name[..fits]);
    Ok(input.name.len() as i32)
}

/// `input_find(name, bytes) -> i32`.
fn find(mut caller: Caller<'_, Guest>, pointer: i32, bytes: i32) -> wasmtime::Result<i32> {
    let (data, guest) = open(&mut caller, "adit_1.input_find")?;
    let name = span(data, pointer, bytes as u32 as usize, "adit_1.input_find")?;
    // A longer one is no name, and is not looked at.
    if name.len() > INPUT_NAME_BYTES_MAX {
        return Ok(NONE);
    }
    guest.pay(INPUT_BYTE_UNITS * name.len() as u64)?;
    let index = guest.named.0.iter().position(|input| *input.name == data[name.clone()]);
    Ok(index.map_or(NONE, |index| index as i32))
}

/// `input_bytes(index) -> i64`.
fn bytes(caller: Caller<'_, Guest>, index: i32) -> wasmtime::Result<i64> {
    caller.data().enter(0)?;
    Ok(caller.data().named.get(index).map_or(NONE.into(), |input| input.source.bytes() as i64))
}

/// `input_read(index, offset, pointer, bytes) -> i32`.
fn read(mut caller: Caller<'_, Guest>, index: i32, offset: i64, pointer: i32, bytes: i32) -> wasmtime::Result<i32> {
    let (data, guest) = open(&mut caller, "adit_1.input_read")?;
    let room = span(data, pointer, bytes as u32 as usize, "adit_1.input_read")?;
    let Some(input) = guest.named.get(index) else { return Ok(NONE) };
    let mut at = offset as u64;
    let left = input.source.bytes().saturating_sub(at).min(READ_BYTES_MAX);
    let bytes = room.len().min(left as usize);
    for piece in data[room][..bytes].chunks_mut(PIECE_BYTES) {
        guest.pay(INPUT_BYTE_UNITS * piece.len() as u64)?;
        input.source.read_exact_at(piece, at).map_err(Unreadable)?;
        at += piece.len() as u64;
    }
    Ok(bytes as i32)
}

/// What a call with a pointer works on, once it is counted: the guest's memory and its state.
fn open<'a>(caller: &'a mut Caller<'_, Guest>, function: &str) -> wasmtime::Result<(&'a mut [u8], &'a Guest)> {
    let memory = memory(caller, function)?;
    let (data, guest) = memory.data_and_store_mut(caller);
    guest.enter(0)?;
    Ok((data, guest))
}
