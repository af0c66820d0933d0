//! What a job reads, on its way to its worker: small standard input as bytes, everything else as an open file.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use adit_protocol::limits::{INLINE_BYTES_MAX, NAMED_INPUTS_MAX};
use adit_protocol::{JobSpec, NamedInput};
use rustix::fs::{MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_getfl, memfd_create};

use crate::ipc::InputOrder;
use crate::run::RunError;

/// The bytes of an input: as many as the specification says.
#[derive(Debug)]
pub enum Input {
    /// The bytes.
    Inline(Vec<u8>),
    /// A file, from offset 0. The guest reads it piece by piece, so its size costs no memory.
    File(File),
}

/// All that a job reads. Sizes are those of the specification.
#[derive(Debug)]
pub(crate) struct Inputs {
    stdin: Input,
    /// In the order of the specification.
    named: Vec<File>,
}

impl Inputs {
    /// Checks that there is what the specification names: a guest must not be the one to find out what is missing.
    pub(crate) fn new(spec: &JobSpec, stdin: Input, named: Vec<Input>) -> Result<Self, RunError> {
        let (given, specified) = (named.len(), spec.inputs.len());
        if given != specified || given > NAMED_INPUTS_MAX {
            return Err(RunError::NamedInputs { given, specified });
        }
        let named = spec.inputs.iter().zip(named).map(|(input, bytes)| named_file(input, bytes)).collect::<Result<_, _>>()?;
        Ok(Self { stdin: checked_stdin(stdin, spec.input.bytes)?, named })
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let stdin = match &self.stdin {
            Input::Inline(bytes) => Input::Inline(bytes.clone()),
            // Its reader minds no position.
            Input::File(file) => Input::File(file.try_clone()?),
        };
        Ok(Self { stdin, named: self.named.iter().map(File::try_clone).collect::<Result<_, _>>()? })
    }

    /// How they travel: what an order says of standard input, and the files beside it, that of standard input first.
    pub(crate) fn into_order(self, spec: &JobSpec) -> (InputOrder, Vec<File>) {
        let (order, stdin) = match self.stdin {
            Input::Inline(bytes) => (InputOrder::Inline(bytes), None),
            Input::File(file) => (InputOrder::File { bytes: spec.input.bytes }, Some(file)),
        };
        (order, stdin.into_iter().chain(self.named).collect())
    }
}

/// Standard input, as a file where it is too large for a message.
fn checked_stdin(stdin: Input, specified: u64) -> Result<Input, RunError> {
    let actual = stdin.bytes()?;
    let is_whole = match &stdin {
        Input::Inline(_) => actual == specified,
        Input::File(_) => actual >= specified,
    };
    match stdin {
        _ if !is_whole => Err(RunError::InputSize { actual, specified }),
        Input::Inline(bytes) if bytes.len() > INLINE_BYTES_MAX => Ok(Input::File(in_memory(&bytes)?)),
        Input::Inline(bytes) => Ok(Input::Inline(bytes)),
        Input::File(file) => Ok(Input::File(read_only(file)?)),
    }
}

fn named_file(input: &NamedInput, bytes: Input) -> Result<File, RunError> {
    let (actual, specified) = (bytes.bytes()?, input.blob.bytes);
    if actual != specified {
        return Err(RunError::NamedInputSize { name: input.name.clone(), actual, specified });
    }
    match bytes {
        Input::Inline(bytes) => Ok(in_memory(&bytes)?),
        Input::File(file) => Ok(read_only(file)?),
    }
}

/// A file that is nowhere on the disk. It stays as it is, so that a worker cannot make it a hoard of memory beside its limit.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("adit-input", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

/// The same file for reading alone, whatever whoever opened it may do: a worker could write to it.
fn read_only(file: File) -> io::Result<File> {
    match fcntl_getfl(&file)? & OFlags::RWMODE {
        OFlags::RDONLY => Ok(file),
        _ => File::open(format!("/proc/self/fd/{}", file.as_raw_fd())),
    }
}

impl Input {
    fn bytes(&self) -> io::Result<u64> {
        match self {
            Self::Inline(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.metadata()?.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Workers were handed both for writing.
    #[test]
    fn nothing_that_a_job_reads_can_be_written() {
        let mut opened = tempfile::tempfile().unwrap();
        opened.write_all(b"input").unwrap();
        for (name, file) in [("in memory", in_memory(b"input").unwrap()), ("opened for writing", read_only(opened).unwrap())] {
            for at in [0, 5] {
                assert!(file.write_at(b"x", at).is_err(), "{name} at {at}");
            }
            assert!(file.set_len(1).is_err() && file.set_len(1 << 20).is_err(), "{name}");
            let mut bytes = [0; 5];
            file.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!((&bytes, file.metadata().unwrap().len()), (b"input", 5), "{name}");
        }
    }
}
