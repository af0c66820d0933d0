//! A ledger's file that is only read. redb writes to a file that it opens, if only to mark it as in use: what it writes is kept in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// Bytes that are kept together once one of them is written.
const BLOCK_BYTES: u64 = 4096;

/// A file as it would be with what was written since.
#[derive(Debug)]
pub(crate) struct ReadOnlyFile(Mutex<State>);

#[derive(Debug)]
struct State {
    file: File,
    /// How many bytes of the file still count: what was cut off reads as zeros where it grows again.
    file_bytes: u64,
    bytes: u64,
    /// By its number, each block that differs from the file's.
    written: BTreeMap<u64, Vec<u8>>,
}

impl ReadOnlyFile {
    /// The file behind a handle that can read.
    ///
    /// # Errors
    /// Where its length is not to be had.
    pub(crate) fn new(file: File) -> Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self(Mutex::new(State { file, file_bytes: bytes, bytes, written: BTreeMap::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for ReadOnlyFile {
    fn len(&self) -> Result<u64> {
        Ok(self.state().bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.state().read(offset, out)
    }

    fn set_len(&self, bytes: u64) -> Result<()> {
        self.state().set_len(bytes)
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.state().write(offset, data)
    }
}

impl State {
    fn read(&mut self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.check(offset, out.len())?;
        self.read_file(offset, out)?;
        let end = offset + out.len() as u64;
        for (number, block) in self.written.range(offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)) {
            let at = number * BLOCK_BYTES;
            let (from, to) = (at.max(offset), (at + BLOCK_BYTES).min(end));
            out[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&block[(from - at) as usize..(to - at) as usize]);
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, mut data: &[u8]) -> Result<()> {
        self.check(offset, data.len())?;
        let mut offset = offset;
        while !data.is_empty() {
            let (number, at) = (offset / BLOCK_BYTES, (offset % BLOCK_BYTES) as usize);
            let (now, later) = data.split_at(data.len().min(BLOCK_BYTES as usize - at));
            self.block(number)?[at..at + now.len()].copy_from_slice(now);
            (offset, data) = (offset + now.len() as u64, later);
        }
        Ok(())
    }

    fn set_len(&mut self, bytes: u64) -> Result<()> {
        if bytes < self.bytes {
            // Of a block that is cut, what is behind the end is zeros from now on.
            let cut = (bytes % BLOCK_BYTES) as usize;
            if cut > 0 {
                self.block(bytes / BLOCK_BYTES)?[cut..].fill(0);
            }
            self.written.split_off(&bytes.div_ceil(BLOCK_BYTES));
            self.file_bytes = self.file_bytes.min(bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// A block that may be changed: what it was until now.
    fn block(&mut self, number: u64) -> Result<&mut Vec<u8>> {
        if !self.written.contains_key(&number) {
            let mut block = vec![0; BLOCK_BYTES as usize];
            self.read_file(number * BLOCK_BYTES, &mut block)?;
            self.written.insert(number, block);
        }
        Ok(self.written.get_mut(&number).expect("it was put there"))
    }

    /// What the file has from `offset` on, and zeros behind its end.
    fn read_file(&mut self, offset: u64, out: &mut [u8]) -> Result<()> {
        let there = self.file_bytes.saturating_sub(offset).min(out.len() as u64) as usize;
        let (read, beyond) = out.split_at_mut(there);
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(read)?;
        beyond.fill(0);
        Ok(())
    }

    fn check(&self, offset: u64, bytes: usize) -> Result<()> {
        match offset.checked_add(bytes as u64) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(Error::new(ErrorKind::UnexpectedEof, "beyond the file's end")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use redb::backends::InMemoryBackend;

    use super::*;

    /// Whatever is done to it, it is as a file is to which the same is done; and the file is not changed.
    #[test]
    fn file_reads_as_if_it_had_been_written() {
        const BYTES: u64 = 5 * BLOCK_BYTES + 100;
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..BYTES).map(|n| (n % 251) as u8).collect();
        file.write_all(&content).unwrap();
        let (only_read, model) = (ReadOnlyFile::new(file.try_clone().unwrap()).unwrap(), InMemoryBackend::new());
        model.set_len(BYTES).unwrap();
        StorageBackend::write(&model, 0, &content).unwrap();
        // Multiplications by a prime, so that ends and lengths are all over the place.
        let mut state = 1_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for step in 0..400 {
            let len = only_read.len().unwrap();
            if step % 7 == 0 {
                let len = next(8 * BLOCK_BYTES);
                only_read.set_len(len).unwrap();
                model.set_len(len).unwrap();
            } else if len > 0 {
                let from = next(len);
                let data = vec![next(256) as u8; next(len - from + 1) as usize];
                only_read.write(from, &data).unwrap();
                StorageBackend::write(&model, from, &data).unwrap();
            }
            let len = only_read.len().unwrap();
            assert_eq!(len, model.len().unwrap());
            let from = next(len + 1);
            let [mut is, mut want] = [(); 2].map(|()| vec![1; (len - from) as usize]);
            only_read.read(from, &mut is).unwrap();
            StorageBackend::read(&model, from, &mut want).unwrap();
            assert!(is == want, "step {step}");
        }
        let end = only_read.len().unwrap();
        assert_eq!(only_read.read(end, &mut [0]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let mut after = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut after).unwrap();
        assert!(after == content);
    }
}
