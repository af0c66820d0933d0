//! The GPU's calls, to the host.

use std::marker::PhantomData;
use std::rc::Rc;

use super::{Error, Limits, Record};
use crate::abi::gpu as abi;

/// The job's GPU. There is one, so this holds nothing; like the native one, it stays in its thread.
#[derive(Debug, Clone)]
pub(super) struct Session(PhantomData<Rc<()>>);

impl Session {
    pub(super) fn open() -> Result<Self, Error> {
        check(abi::limits(&mut [0; abi::LIMITS_BYTES])).map(|_| Self(PhantomData))
    }

    /// Whether both are one; here they always are.
    pub(super) fn is(&self, _: &Self) -> bool {
        true
    }

    pub(super) fn limits(&self) -> Limits {
        let mut bytes = [0; abi::LIMITS_BYTES];
        abi::limits(&mut bytes);
        Limits::from_bytes(&bytes)
    }

    pub(super) fn buffer_create(&self, bytes: u64) -> Result<u32, Error> {
        check(abi::buffer_create(bytes))
    }

    pub(super) fn buffer_destroy(&self, buffer: u32) -> Result<(), Error> {
        check(abi::buffer_destroy(buffer)).map(drop)
    }

    pub(super) fn buffer_write(&self, buffer: u32, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        check(abi::buffer_write(buffer, offset, bytes)).map(drop)
    }

    pub(super) fn buffer_read(&self, buffer: u32, offset: u64, bytes: &mut [u8]) -> Result<(), Error> {
        check(abi::buffer_read(buffer, offset, bytes)).map(drop)
    }

    pub(super) fn buffer_copy(
        &self,
        (from, from_offset): (u32, u64),
        (to, to_offset): (u32, u64),
        bytes: u64,
    ) -> Result<(), Error> {
        check(abi::buffer_copy(from, from_offset, to, to_offset, bytes)).map(drop)
    }

    pub(super) fn pipeline_create(&self, wgsl: &str, entry: &str) -> Result<u32, Error> {
        check(abi::pipeline_create(wgsl, entry))
    }

    pub(super) fn pipeline_destroy(&self, pipeline: u32) -> Result<(), Error> {
        check(abi::pipeline_destroy(pipeline)).map(drop)
    }

    pub(super) fn dispatch(&self, pipeline: u32, bindings: &[Record], workgroups: [u32; 3]) -> Result<(), Error> {
        let records: Vec<_> = bindings.iter().map(|record| record.to_bytes()).collect();
        check(abi::dispatch(pipeline, &records, workgroups)).map(drop)
    }

    pub(super) fn submit(&self) -> Result<(), Error> {
        check(abi::submit()).map(drop)
    }

    pub(super) fn finish(&self) -> Result<(), Error> {
        check(abi::finish()).map(drop)
    }
}

/// What a call returned, or its error with the host's message.
fn check(returned: i32) -> Result<u32, Error> {
    u32::try_from(returned).map_err(|_| Error::from_code(returned, message()))
}

fn message() -> String {
    let mut bytes = vec![0; usize::try_from(abi::error(&mut [])).unwrap_or(0)];
    abi::error(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
