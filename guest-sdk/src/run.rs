//! From standard input to standard output: what the `main` that `#[job]` writes does.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert;
use core::fmt::Display;

use crate::abi::{self, StreamError};
use crate::{Decode, DecodeError, Encode, EncodeError};
#[cfg(feature = "std")]
use crate::{Input, Output};

/// Bytes of the buffer that an input is first read into: most inputs are small, and memory is part of a bill.
const PIECE_BYTES: usize = 4 << 10;

/// What a job's argument may be.
#[diagnostic::on_unimplemented(
    message = "a job cannot read `{Self}`",
    label = "this is no input of a job",
    note = "a job reads a type with `#[derive(serde::Deserialize)]` that owns what it holds, `adit_guest::Raw` for bytes as they are, or \
            `adit_guest::Input` as they come"
)]
pub trait Argument: Sized {
    /// The argument, from this job's input.
    #[doc(hidden)]
    fn take() -> Result<Self, Failure>;
}

impl<T: Decode> Argument for T {
    fn take() -> Result<Self, Failure> {
        T::decode(read_to_end().map_err(Failure::Read)?).map_err(Failure::Decode)
    }
}

#[cfg(feature = "std")]
impl Argument for Input {
    fn take() -> Result<Self, Failure> {
        Ok(Self::of_job())
    }
}

/// What a job's second argument may be: [`Output`] alone.
#[cfg(feature = "std")]
#[diagnostic::on_unimplemented(
    message = "a job's second argument is its `adit_guest::Output`, not `{Self}`",
    label = "this is no output of a job",
    note = "put several inputs in one struct, or give the job named inputs: `adit_guest::named`"
)]
pub trait Stream: Sized {
    #[doc(hidden)]
    fn from_output(output: Output) -> Self;
}

#[cfg(feature = "std")]
impl Stream for Output {
    fn from_output(output: Output) -> Self {
        output
    }
}

/// What a job that writes to its [`Output`] may return.
#[cfg(feature = "std")]
#[diagnostic::on_unimplemented(
    message = "a job that writes to its `Output` returns nothing, or a `Result` of nothing, and not `{Self}`",
    label = "who would write this?",
    note = "write the value to the `Output`"
)]
pub trait Nothing {}

#[cfg(feature = "std")]
impl Nothing for () {}

/// Runs `job` on this process's input, and returns the exit code.
pub fn run<I: Argument>(job: impl FnOnce(I) -> Result<Vec<u8>, Failure>) -> u8 {
    exit(|| write_all(&job(I::take()?)?))
}

/// Runs `job` and leaves this process's input unread.
pub fn run_without_input(job: impl FnOnce() -> Result<Vec<u8>, Failure>) -> u8 {
    exit(|| write_all(&job()?))
}

/// Runs a `job` that writes its output itself.
#[cfg(feature = "std")]
pub fn run_streaming<I: Argument, S: Stream>(job: impl FnOnce(I, S) -> Result<(), Failure>) -> u8 {
    exit(|| {
        let input = I::take()?;
        let (output, failed) = Output::of_job();
        job(input, S::from_output(output))?;
        match failed.take() {
            None => Ok(()),
            Some(error) => Err(Failure::Write(format!("{error}"))),
        }
    })
}

/// The output of a job that returned `result`.
pub fn encoded<O: Encode, E: Display>(result: Result<O, E>) -> Result<Vec<u8>, Failure> {
    result.map_err(Failure::of_job)?.encode().map_err(Failure::Encode)
}

/// The end of a job that has written its output.
#[cfg(feature = "std")]
pub fn ended<N: Nothing, E: Display>(result: Result<N, E>) -> Result<(), Failure> {
    result.map(|_| ()).map_err(Failure::of_job)
}

/// What a job's function returned. `into_result` takes a `Result` as it is and puts any other value into `Ok`: Rust looks among a type's
/// own methods before it looks among those of traits, so [`Infallible`] is only asked where the value is no `Result`. This holds
/// through aliases such as `io::Result`, which the macro could not see through.
#[derive(Debug)]
pub struct Returned<T>(pub T);

impl<T, E> Returned<Result<T, E>> {
    /// The job's own result.
    pub fn into_result(self) -> Result<T, E> {
        self.0
    }
}

/// The return values of jobs that cannot fail.
pub trait Infallible {
    /// What the function returned.
    type Value;

    /// The value, which is always there.
    fn into_result(self) -> Result<Self::Value, convert::Infallible>;
}

impl<T> Infallible for Returned<T> {
    type Value = T;

    fn into_result(self) -> Result<T, convert::Infallible> {
        Ok(self.0)
    }
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What the job's function returned, in its own words.
    #[error("{0}")]
    Job(String),
    /// A read failed.
    #[error("the input cannot be read: {0}")]
    Read(String),
    /// The bytes are no value of the argument's type.
    #[error("the input is not what this job reads: {0}")]
    Decode(DecodeError),
    /// The value has no bytes.
    #[error("the output cannot be encoded: {0}")]
    Encode(EncodeError),
    /// A write failed.
    #[error("the output cannot be written: {0}")]
    Write(String),
}

impl Failure {
    /// The alternate form: `anyhow` then shows the whole chain of causes.
    fn of_job(error: impl Display) -> Self {
        Self::Job(format!("{error:#}"))
    }

    /// The exit codes that `job` and `abi.md` document.
    fn code(&self) -> u8 {
        match self {
            Self::Job(_) => adit_abi::EXIT_FAILED as u8,
            Self::Read(_) | Self::Decode(_) => adit_abi::EXIT_INPUT as u8,
            Self::Encode(_) | Self::Write(_) => adit_abi::EXIT_OUTPUT as u8,
        }
    }
}

/// Runs a job to its end, and returns the exit code.
fn exit(job: impl FnOnce() -> Result<(), Failure>) -> u8 {
    #[cfg(feature = "log")]
    crate::log::install();
    let code = match job() {
        Ok(()) => adit_abi::EXIT_FINISHED as u8,
        Err(failure) => {
            crate::error!("{failure}");
            failure.code()
        }
    };
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::world::note_exit(code);
    code
}

/// All of the input. The buffer is twice as large whenever it is full.
fn read_to_end() -> Result<Vec<u8>, String> {
    let (mut bytes, mut used) = (Vec::new(), 0);
    loop {
        if used == bytes.len() {
            bytes.resize((2 * bytes.len()).max(PIECE_BYTES), 0);
        }
        match abi::read(&mut bytes[used..]).map_err(told)? {
            0 => break,
            read => used += read,
        }
    }
    bytes.truncate(used);
    Ok(bytes)
}

fn write_all(mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match abi::write(bytes).map_err(|error| Failure::Write(told(error)))? {
            0 => return Err(Failure::Write("no more is taken".into())),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

fn told(error: StreamError) -> String {
    format!("{error}")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{self, Read, Write};
    use std::num::ParseIntError;
    use std::process::ExitCode;
    use std::rc::Rc;

    use super::*;
    use crate::Raw;
    use crate::testing::{Harness, Told};

    /// The output, or the exit code and the message.
    fn outcome<I: Argument, O: Encode, E: Display>(
        harness: Harness,
        job: impl FnOnce(I) -> Result<O, E>,
    ) -> Result<Vec<u8>, (u8, String)> {
        outcome_of(harness.run(|| ExitCode::from(run(|input| encoded(job(input))))))
    }

    fn outcome_of(told: Told) -> Result<Vec<u8>, (u8, String)> {
        if told.exit_code == 0 { Ok(told.output) } else { Err((told.exit_code, told.log_text())) }
    }

    fn given(input: &[u8]) -> Harness {
        Harness::new().input(input)
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn parse(text: String) -> Result<u64, ParseIntError> {
        text.parse()
    }

    #[test]
    fn a_typed_job_reads_and_writes_postcard() {
        assert_eq!(outcome(given(b"\x03300"), parse), Ok(vec![0xac, 0x02]));
    }

    #[test]
    fn a_raw_job_reads_and_writes_the_bytes_themselves() {
        let reverse = |Raw(mut bytes): Raw| -> Result<Raw, convert::Infallible> {
            bytes.reverse();
            Ok(Raw(bytes))
        };
        assert_eq!(outcome(given(b"tida"), reverse), Ok(b"adit".to_vec()));
        // Longer than the first buffer, and in pieces of other sizes.
        let long: Vec<u8> = (0..30 * PIECE_BYTES + 1).map(|n| (n % 251) as u8).collect();
        let reversed: Vec<u8> = long.iter().rev().copied().collect();
        assert_eq!(outcome(given(&long), reverse), Ok(reversed.clone()));
        let (start, end) = long.split_at(1000);
        let pieces = io::Cursor::new(start.to_vec()).chain(io::Cursor::new(end.to_vec()));
        assert_eq!(outcome(Harness::new().input_from(pieces), reverse), Ok(reversed));
    }

    #[test]
    fn an_error_of_the_job_is_code_1_and_its_own_words() {
        assert_eq!(outcome(given(b"\x02xy"), parse), Err((1, "[error] invalid digit found in string\n".into())));
    }

    #[test]
    fn input_that_does_not_decode_is_code_2_and_the_job_is_not_called() {
        let (code, log) = outcome(given(b"\x09xy"), |_: String| -> Result<(), String> { panic!("called") }).unwrap_err();
        assert_eq!(code, 2);
        assert!(log.contains("3 bytes are not a `alloc::string::String`"), "{log}");
    }

    #[test]
    fn a_broken_pipe_is_told_apart_by_its_end() {
        let code = |told: Result<Vec<u8>, (u8, String)>| told.unwrap_err().0;
        assert_eq!(code(outcome(Harness::new().input_from(Broken), parse)), 2);
        assert_eq!(code(outcome(given(b"\x03300").output_to(Broken), parse)), 3);
    }

    fn streamed<E: Display>(harness: Harness, job: impl FnOnce(Input, Output) -> Result<(), E>) -> Result<Vec<u8>, (u8, String)> {
        outcome_of(harness.run(|| ExitCode::from(run_streaming(|input, output| ended(job(input, output))))))
    }

    #[test]
    fn a_streaming_job_copies_more_than_it_holds() {
        struct Count(Rc<Cell<u64>>);
        impl Write for Count {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                assert!(bytes.len() <= 64 << 10);
                self.0.set(self.0.get() + bytes.len() as u64);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (bytes, written) = (100 << 20, Rc::new(Cell::new(0)));
        let harness = Harness::new().input_from(io::repeat(7).take(bytes)).output_to(Count(Rc::clone(&written)));
        let copied = streamed(harness, |mut input, mut output| io::copy(&mut input, &mut output).map(|_| ()));
        assert_eq!((copied, written.get()), (Ok(vec![]), bytes));
    }

    #[test]
    fn what_a_streaming_job_wrote_before_it_failed_has_gone_out() {
        let told = given(b"abc").run(|| {
            ExitCode::from(run_streaming(|mut input: Input, mut output: Output| {
                io::copy(&mut input, &mut output).unwrap();
                ended(Err::<(), _>("on purpose"))
            }))
        });
        assert_eq!((told.exit_code, &told.output[..], &*told.log_text()), (1, &b"abc"[..], "[error] on purpose\n"));
    }

    #[test]
    fn a_streaming_job_hears_of_a_broken_pipe_or_ends_with_code_3() {
        let large = streamed(Harness::new().output_to(Broken), |_, mut output| output.write_all(&[0; 100_000]));
        assert_eq!(large, Err((1, "[error] unplugged\n".into())));
        let small = streamed(Harness::new().output_to(Broken), |_, mut output| output.write_all(b"few"));
        assert_eq!(small, Err((3, "[error] the output cannot be written: unplugged\n".into())));
    }

    #[test]
    fn a_result_stays_one_and_other_values_become_one() {
        let aliased: io::Result<u8> = Ok(7);
        assert_eq!(Returned(aliased).into_result().unwrap(), 7);
        assert_eq!(Returned(Err::<u8, _>("no")).into_result(), Err("no"));
        assert_eq!(Returned(7).into_result(), Ok(7));
        assert_eq!(Returned(()).into_result(), Ok(()));
        assert_eq!(Returned(Some("x")).into_result(), Ok(Some("x")));
    }
}
