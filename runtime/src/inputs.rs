//! What a job reads, on its way to its worker: small standard input as bytes, everything else as an open file.

use std::fs::File;
use std::io::{self, Write};

use adit_protocol::limits::{INLINE_BYTES_MAX, NAMED_INPUTS_MAX};
use adit_protocol::{JobSpec, NamedInput};

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
        stdin => Ok(stdin),
    }
}

fn named_file(input: &NamedInput, bytes: Input) -> Result<File, RunError> {
    let (actual, specified) = (bytes.bytes()?, input.blob.bytes);
    if actual != specified {
        return Err(RunError::NamedInputSize { name: input.name.clone(), actual, specified });
    }
    match bytes {
        Input::Inline(bytes) => Ok(in_memory(&bytes)?),
        Input::File(file) => Ok(file),
    }
}

/// A file that is nowhere on the disk.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("adit-input", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

impl Input {
    fn bytes(&self) -> io::Result<u64> {
        match self {
            Self::Inline(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.metadata()?.len()),
        }
    }
}
