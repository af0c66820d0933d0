use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::{Decode, DecodeError, abi};

/// Most bytes of a name.
const NAME_BYTES_MAX: usize = adit_abi::INPUT_NAME_BYTES_MAX as usize;

/// The job's named inputs, in the order of their names: blobs beside standard input, such as a model's weights. Nodes keep them by their
/// digest, so what many jobs share travels once.
///
/// ```
/// # use adit_guest::testing::Harness;
/// let list = || adit_guest::inputs().map(|input| format!("{} {}", input.name(), input.len())).collect::<Vec<_>>();
/// let (listed, _) = Harness::new().named("weights", vec![0; 80]).named("vocabulary", "a b c").call(list);
/// assert_eq!(listed, ["vocabulary 5", "weights 80"]);
/// ```
pub fn inputs() -> impl Iterator<Item = NamedInput> {
    (0..abi::input_count()).filter_map(NamedInput::at)
}

/// The job's input of that name: `adit run --with weights=FILE`.
///
/// ```
/// use std::io::{BufRead, BufReader};
///
/// # use adit_guest::testing::Harness;
/// fn longest_line() -> Result<usize, Box<dyn std::error::Error>> {
///     let text = BufReader::new(adit_guest::named("text")?);
///     Ok(text.lines().map_while(Result::ok).map(|line| line.len()).max().unwrap_or(0))
/// }
///
/// let (longest, _) = Harness::new().named("text", "one\nthree").call(longest_line);
/// assert_eq!(longest.unwrap(), 5);
/// let (missing, _) = Harness::new().named("texts", "").call(longest_line);
/// assert!(missing.unwrap_err().to_string().contains("`--with text=FILE`"));
/// ```
///
/// # Errors
/// The job was submitted without one of that name; the message says which it has, and how to give it this one.
pub fn named(name: &str) -> Result<NamedInput, MissingInput> {
    let found = abi::input_find(name).and_then(NamedInput::at);
    found.ok_or_else(|| MissingInput { name: name.into(), there: inputs().map(|input| input.name).collect() })
}

/// A named input. It can be read at any place, by [`read_at`](Self::read_at) or with [`Read`](std::io::Read) and
/// [`Seek`](std::io::Seek); nothing of it is in the guest's memory but what is read. Every read is a call of the host, 150 fuel and half
/// a fuel for each byte: read small pieces through a [`BufReader`](std::io::BufReader).
#[derive(Clone)]
pub struct NamedInput {
    index: u32,
    name: String,
    bytes: u64,
    /// Where the next `Read` begins.
    #[cfg(feature = "std")]
    position: u64,
}

impl NamedInput {
    fn at(index: u32) -> Option<Self> {
        let mut name = [0; NAME_BYTES_MAX];
        let length = abi::input_name(index, &mut name)?;
        let name = String::from_utf8_lossy(&name[..length.min(NAME_BYTES_MAX)]).into_owned();
        let bytes = abi::input_bytes(index)?;
        Some(Self {
            index,
            name,
            bytes,
            #[cfg(feature = "std")]
            position: 0,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes it has. (`bytes` is a method of [`Read`](std::io::Read).)
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Reads from `offset` on into `bytes`, and returns how many bytes those are: fewer than `bytes` has only at the input's end.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> usize {
        abi::input_read(self.index, offset, bytes)
    }

    /// All of it.
    ///
    /// # Panics
    /// It has 2 GiB or more, which no `Vec` of a guest can hold.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = alloc::vec![0; usize::try_from(self.bytes).expect("an input that memory can hold")];
        let read = self.read_at(0, &mut bytes);
        bytes.truncate(read);
        bytes
    }

    /// The value that it stands for: as a job's input does.
    ///
    /// # Errors
    /// The bytes are not a whole encoding of the type.
    pub fn decode<T: Decode>(&self) -> Result<T, DecodeError> {
        T::decode(self.to_vec())
    }
}

impl fmt::Debug for NamedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedInput").field("name", &self.name).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(feature = "std")]
impl std::io::Read for NamedInput {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.read_at(self.position, bytes);
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(feature = "std")]
impl std::io::Seek for NamedInput {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        use std::io::SeekFrom;
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.bytes.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| std::io::Error::other("a seek to before the input's beginning"))?;
        Ok(self.position)
    }
}

/// A named input that the job was submitted without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingInput {
    name: String,
    there: Vec<String>,
}

impl fmt::Display for MissingInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, there } = self;
        write!(f, "this job has no input named `{name}`; submit it with `--with {name}=FILE` (it has ")?;
        if there.is_empty() { f.write_str("none)") } else { write!(f, "{})", there.join(", ")) }
    }
}

impl core::error::Error for MissingInput {}

#[cfg(feature = "std")]
impl From<MissingInput> for std::io::Error {
    fn from(missing: MissingInput) -> Self {
        Self::new(std::io::ErrorKind::NotFound, missing)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use super::*;
    use crate::testing::Harness;

    #[test]
    fn is_read_at_any_place_up_to_its_end() {
        Harness::new().named("digits", "0123456789").call(|| {
            let digits = named("digits").unwrap();
            for (offset, bytes, expected) in
                [(0, 4, "0123"), (7, 3, "789"), (7, 4, "789"), (10, 1, ""), (u64::MAX, 1, ""), (3, 0, "")]
            {
                let mut read = vec![0; bytes];
                let n = digits.read_at(offset, &mut read);
                assert_eq!(&read[..n], expected.as_bytes(), "{bytes} bytes from {offset}");
            }
            assert_eq!((digits.to_vec(), digits.len()), (b"0123456789".to_vec(), 10));
        });
    }

    #[test]
    fn reads_and_seeks_like_a_file() {
        Harness::new().named("digits", "0123456789").call(|| {
            let mut digits = named("digits").unwrap();
            let mut other = digits.clone();
            let mut two = [0; 2];
            let mut at = |digits: &mut NamedInput, to| {
                assert!(digits.seek(to).is_ok());
                digits.read_exact(&mut two).map(|()| two)
            };
            assert_eq!(at(&mut digits, SeekFrom::Start(3)).unwrap(), *b"34");
            assert_eq!(at(&mut digits, SeekFrom::Current(1)).unwrap(), *b"67");
            assert_eq!(at(&mut digits, SeekFrom::End(-2)).unwrap(), *b"89");
            assert!(at(&mut digits, SeekFrom::End(5)).is_err(), "nothing is there");
            assert!(digits.seek(SeekFrom::End(-11)).is_err());
            let mut rest = String::new();
            other.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "0123456789", "a clone has a position of its own");
        });
    }

    #[test]
    fn missing_input_says_what_there_is_and_what_to_do() {
        let (error, _) = Harness::new().named("b", "").named("a", "").call(|| named("weights").unwrap_err());
        let told = "this job has no input named `weights`; submit it with `--with weights=FILE` (it has a, b)";
        assert_eq!(error.to_string(), told);
        let (error, _) = Harness::new().call(|| named("weights").unwrap_err());
        assert!(error.to_string().ends_with("(it has none)"), "{error}");
    }

    #[test]
    fn typed_input_is_decoded() {
        let bytes = crate::Encode::encode((7_u32, "seven")).unwrap();
        Harness::new().named("pair", bytes).call(|| {
            let pair = named("pair").unwrap();
            assert_eq!(pair.decode::<(u32, String)>().unwrap(), (7, "seven".to_owned()));
            assert!(pair.decode::<u32>().is_err());
        });
    }
}
