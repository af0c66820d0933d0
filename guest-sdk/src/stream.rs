//! Inputs and outputs that are larger than memory.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::rc::Rc;

use crate::records::{self, RecordError, Records};
use crate::{Decode, Encode, abi};

/// How much of a stream is in memory at a time: a call of the host is paid for once in so many bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// A job's input as it comes, for inputs that are larger than memory: the argument of a job in place of a value.
///
/// It holds a window of 64 KiB, so lines and small pieces may be read from it as they are. A job that reads to the end and one that
/// stops early are the same to the host; an error of a read is the job's own to handle or to return.
///
/// ```
/// # mod guest {
/// use std::io::{self, BufRead, Write};
///
/// use adit_guest::{Input, Output};
///
/// /// Numbers the lines of a text of any length.
/// #[adit_guest::job]
/// fn number(input: Input, mut output: Output) -> io::Result<()> {
///     for (n, line) in input.lines().enumerate() {
///         writeln!(output, "{n} {}", line?)?;
///     }
///     Ok(())
/// }
///
/// # pub fn check() {
/// let told = adit_guest::testing::Harness::new().input("one\ntwo").run(main);
/// assert_eq!(told.output, b"0 one\n1 two\n");
/// # }}
/// # fn main() { guest::check() }
/// ```
pub struct Input(BufReader<Standard>);

impl Input {
    pub(crate) fn of_job() -> Self {
        Self(BufReader::with_capacity(BUFFER_BYTES, Standard))
    }

    /// The input as values, each with its length before it: see [`records`](crate::records).
    pub fn records<T: Decode>(self) -> Records<Self, T> {
        records::read(self)
    }
}

impl Read for Input {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }

    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        self.0.read_to_end(bytes)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.0.consume(bytes);
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

/// A job's output as it is made, for outputs that are larger than memory: the second argument of a job, which then returns nothing, or a
/// `Result` of nothing.
///
/// It gathers 64 KiB before it writes, and writes what is left when it is dropped; a failure there ends the job with exit code 3, as
/// that of any output that cannot be written. What was written before a job fails has gone out. [`Input`] has an example.
pub struct Output {
    writer: BufWriter<Standard>,
    /// Where the job's end looks for a write that failed when nobody was there to hear of it.
    failed: Rc<RefCell<Option<io::Error>>>,
}

impl Output {
    /// An output, and where it notes that its last bytes could not be written.
    pub(crate) fn of_job() -> (Self, Rc<RefCell<Option<io::Error>>>) {
        let failed = Rc::default();
        (Self { writer: BufWriter::with_capacity(BUFFER_BYTES, Standard), failed: Rc::clone(&failed) }, failed)
    }

    /// Writes a value with its length before it: see [`records`](crate::records).
    ///
    /// # Errors
    /// [`RecordError`] where the value has no encoding, is too large for a record, or cannot be written.
    pub fn record(&mut self, value: impl Encode) -> Result<(), RecordError> {
        records::write(self, value)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Err(error) = self.writer.flush() {
            *self.failed.borrow_mut() = Some(error);
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

/// The job's standard streams.
struct Standard;

impl Read for Standard {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        abi::read(bytes).map_err(Into::into)
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        abi::write(bytes).map_err(Into::into)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
