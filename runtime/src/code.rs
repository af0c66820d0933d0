//! The file that a compile worker writes and a sandbox worker maps: machine code, and behind it what belongs to its meter.
//!
//! ```text
//! machine code (ELF) | table of pending amounts | facts (postcard) | trailer (24 bytes) | tag of the cache (32 bytes)
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use crate::cache::TAG_BYTES;
use crate::meter::{Facts, Metered};

/// Whoever changes what stands in such a file, or what the code in it and its host expect of each other, changes this number.
pub(crate) const FILE_VERSION: u32 = 3;
const TRAILER_BYTES: u64 = 24;
/// A module's names and numbers: an export's name is bounded by the module's size.
const FACTS_BYTES_MAX: u64 = 1 << 20;

/// What a file says of its meter.
#[derive(Debug)]
pub(crate) struct CodeFile {
    pub(crate) facts: Facts,
    pub(crate) trailer: Trailer,
}

/// Where the parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Where the table of pending amounts is.
    pub(crate) pending_at: u64,
    pub(crate) pending_bytes: u64,
    facts_bytes: u64,
}

impl CodeFile {
    /// Writes machine code and meter. The cache adds its tag.
    pub(crate) fn write(mut file: impl Write, code: &[u8], metered: &Metered) -> io::Result<()> {
        Self::parts(code, metered, |part| file.write_all(part))
    }

    /// How many bytes [`Self::write`] writes.
    pub(crate) fn bytes(code: &[u8], metered: &Metered) -> io::Result<u64> {
        let mut bytes = 0;
        Self::parts(code, metered, |part| {
            bytes += part.len() as u64;
            Ok(())
        })?;
        Ok(bytes)
    }

    fn parts(code: &[u8], metered: &Metered, each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let pending = metered.pending.to_bytes();
        let facts = postcard::to_allocvec(&metered.facts).map_err(io::Error::other)?;
        let trailer = [code.len(), pending.len(), facts.len()].map(|bytes| (bytes as u64).to_le_bytes());
        [code, &pending, &facts, trailer.as_flattened()].into_iter().try_for_each(each)
    }

    /// Reads what stands behind the machine code of a file from the cache.
    pub(crate) fn read(file: &File) -> io::Result<Self> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the compiled module's file is damaged");
        let end = file.metadata()?.len().checked_sub(TAG_BYTES + TRAILER_BYTES).ok_or_else(damaged)?;
        let mut words = [[0; 8]; 3];
        file.read_exact_at(words.as_flattened_mut(), end)?;
        let [pending_at, pending_bytes, facts_bytes] = words.map(u64::from_le_bytes);
        let facts_at = pending_at.checked_add(pending_bytes).ok_or_else(damaged)?;
        if facts_at.checked_add(facts_bytes) != Some(end) || facts_bytes > FACTS_BYTES_MAX {
            return Err(damaged());
        }
        let mut facts = vec![0; facts_bytes as usize];
        file.read_exact_at(&mut facts, facts_at)?;
        let facts = postcard::from_bytes(&facts).map_err(|_| damaged())?;
        Ok(Self { facts, trailer: Trailer { pending_at, pending_bytes, facts_bytes } })
    }
}
