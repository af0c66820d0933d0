//! The encoding that all nodes of the network agree on, read strictly.

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is less than was announced.
    #[error("the bytes end early")]
    Ended,
    /// A length has more bytes than it needs.
    #[error("a length is written in more bytes than it needs")]
    LongLength,
    /// More comes after the end.
    #[error("{0} bytes come after the end")]
    LeftOver(usize),
    /// The flag after an empty list of inputs is none that is known.
    #[error("the transaction has the unknown flag {0}")]
    Flag(u8),
    /// A transaction that says it has witnesses has none.
    #[error("the transaction says that it has witnesses, and has none")]
    NoWitness,
}

/// Reads from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ReadError::Ended)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ReadError::Ended)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ReadError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length, in as few bytes as it can be written in.
    pub(crate) fn length(&mut self) -> Result<u64, ReadError> {
        let (length, least) = match self.u8()? {
            0xfd => (self.array().map(u16::from_le_bytes)?.into(), 0xfd),
            0xfe => (self.u32()?.into(), 0x1_0000),
            0xff => (self.u64()?, 0x1_0000_0000),
            short => (short.into(), 0),
        };
        if length < least { Err(ReadError::LongLength) } else { Ok(length) }
    }

    /// Bytes that stand behind their length.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], ReadError> {
        let length = self.length()?;
        self.take(usize::try_from(length).map_err(|_| ReadError::Ended)?)
    }

    /// As many items as the length before them says. Nothing is set aside for what is announced and may not come.
    pub(crate) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, ReadError>) -> Result<Vec<T>, ReadError> {
        let count = self.length()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// That nothing is left.
    pub(crate) fn end(self) -> Result<(), ReadError> {
        if self.0.is_empty() { Ok(()) } else { Err(ReadError::LeftOver(self.0.len())) }
    }
}

/// Writes a length as [`Reader::length`] reads it.
pub(crate) fn write_length(length: usize, to: &mut Vec<u8>) {
    match length as u64 {
        short @ 0..=0xfc => to.push(short as u8),
        middle @ 0xfd..=0xffff => {
            to.push(0xfd);
            to.extend((middle as u16).to_le_bytes());
        }
        long @ 0x1_0000..=0xffff_ffff => {
            to.push(0xfe);
            to.extend((long as u32).to_le_bytes());
        }
        huge => {
            to.push(0xff);
            to.extend(huge.to_le_bytes());
        }
    }
}

/// Writes bytes behind their length.
pub(crate) fn write_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    write_length(bytes.len(), to);
    to.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_they_are_written_and_never_longer() {
        for length in [0, 0xfc, 0xfd, 0xffff, 0x1_0000, 0xffff_ffff] {
            let mut bytes = Vec::new();
            write_length(length, &mut bytes);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.length(), Ok(length as u64));
            assert_eq!(reader.end(), Ok(()));
        }
        for long in [&[0xfd, 0xfc, 0][..], &[0xfe, 0xff, 0xff, 0, 0], &[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]] {
            assert_eq!(Reader::new(long).length(), Err(ReadError::LongLength));
        }
    }

    #[test]
    fn what_is_announced_and_does_not_come_is_found() {
        assert_eq!(Reader::new(&[0xff; 9]).bytes(), Err(ReadError::Ended));
        assert_eq!(Reader::new(&[0xff; 9]).list(Reader::u8), Err(ReadError::Ended));
        assert_eq!(Reader::new(&[2, 1]).bytes(), Err(ReadError::Ended));
    }
}
