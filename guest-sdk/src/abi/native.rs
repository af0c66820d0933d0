//! What stands in for a host in a native build: the job of [`crate::testing`] that this thread runs, or else this process.

use std::fmt;
use std::io::{self, Read, Write};

use crate::Level;
use crate::testing::world;

/// What went wrong with a standard stream.
#[derive(Debug)]
pub(crate) struct StreamError(io::Error);

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        error.0
    }
}

pub(crate) fn log(level: Level, message: &str) {
    world::with(|world| match &mut world.job {
        Some(job) => job.log(level, message),
        None => eprintln!("[{level}] {message}"),
    });
}

pub(crate) fn progress(done: u64, total: u64) {
    world::with(|world| {
        if let Some(job) = &mut world.job {
            job.progress(done, total);
        }
    });
}

pub(crate) fn fuel_left() -> u64 {
    world::with(|world| world.fuel_left())
}

pub(crate) fn input_count() -> u32 {
    world::with(|world| world.named.len() as u32)
}

pub(crate) fn input_name(index: u32, name: &mut [u8]) -> Option<usize> {
    world::with(|world| {
        let (whole, _) = world.named.iter().nth(index as usize)?;
        let bytes = whole.len().min(name.len());
        name[..bytes].copy_from_slice(&whole.as_bytes()[..bytes]);
        Some(whole.len())
    })
}

pub(crate) fn input_find(name: &str) -> Option<u32> {
    world::with(|world| world.named.keys().position(|known| known == name).map(|index| index as u32))
}

pub(crate) fn input_bytes(index: u32) -> Option<u64> {
    world::with(|world| world.named.values().nth(index as usize).map(|bytes| bytes.len() as u64))
}

pub(crate) fn input_read(index: u32, offset: u64, bytes: &mut [u8]) -> usize {
    world::with(|world| {
        let Some(whole) = world.named.values().nth(index as usize) else { return 0 };
        let rest = usize::try_from(offset).ok().and_then(|offset| whole.get(offset..)).unwrap_or_default();
        let read = rest.len().min(bytes.len());
        bytes[..read].copy_from_slice(&rest[..read]);
        read
    })
}

pub(crate) fn random(bytes: &mut [u8]) {
    world::with(|world| world.random(bytes));
}

pub(crate) fn wall_clock() -> u64 {
    world::with(|world| world.wall_clock())
}

/// The next bytes of standard input; none at its end.
pub(crate) fn read(bytes: &mut [u8]) -> Result<usize, StreamError> {
    // A test's reader may be anything, so the thread's world is not borrowed while it reads.
    match world::with(|world| world.job.as_mut().map(|job| job.input.take())) {
        None => Ok(io::stdin().lock().read(bytes)?),
        Some(None) => Ok(0),
        Some(Some(mut input)) => {
            let read = input.read(bytes);
            world::with(|world| world.job.as_mut().map(|job| job.input = Some(input)));
            Ok(read?)
        }
    }
}

/// Writes the beginning of `bytes` to standard output and returns how many those are.
pub(crate) fn write(bytes: &[u8]) -> Result<usize, StreamError> {
    match world::with(|world| world.job.as_mut().map(|job| job.output.take())) {
        None => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()?;
            Ok(bytes.len())
        }
        Some(None) => {
            world::with(|world| world.job.as_mut().map(|job| job.keep(bytes)));
            Ok(bytes.len())
        }
        Some(Some(mut output)) => {
            let written = output.write(bytes);
            world::with(|world| world.job.as_mut().map(|job| job.output = Some(output)));
            Ok(written?)
        }
    }
}
