//! From standard input to standard output: what the `main` that `#[job]` writes does.

use std::convert;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use crate::{Decode, DecodeError, Encode, EncodeError, Raw};

/// Runs `job` on this process's input.
pub fn run<I: Decode, O: Encode, E: Display>(job: impl FnOnce(I) -> Result<O, E>) -> ExitCode {
    exit(answer(io::stdin().lock(), io::stdout().lock(), job))
}

/// Runs `job` and leaves this process's input unread.
pub fn run_without_input<O: Encode, E: Display>(job: impl FnOnce() -> Result<O, E>) -> ExitCode {
    exit(answer(io::empty(), io::stdout().lock(), |_: Raw| job()))
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
enum Failure {
    /// What the job's function returned, in its own words.
    #[error("{0}")]
    Job(String),
    #[error("the input cannot be read: {0}")]
    Read(io::Error),
    #[error("the input is not what this job reads: {0}")]
    Decode(DecodeError),
    #[error("the output cannot be encoded: {0}")]
    Encode(EncodeError),
    #[error("the output cannot be written: {0}")]
    Write(io::Error),
}

impl Failure {
    /// The exit codes that `job` and `abi.md` document.
    fn code(&self) -> u8 {
        match self {
            Self::Job(_) => 1,
            Self::Read(_) | Self::Decode(_) => 2,
            Self::Encode(_) | Self::Write(_) => 3,
        }
    }
}

fn answer<I: Decode, O: Encode, E: Display>(
    mut input: impl Read,
    mut output: impl Write,
    job: impl FnOnce(I) -> Result<O, E>,
) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(Failure::Read)?;
    let argument = I::decode(bytes).map_err(Failure::Decode)?;
    // The alternate form: `anyhow` then shows the whole chain of causes.
    let value = job(argument).map_err(|error| Failure::Job(format!("{error:#}")))?;
    let bytes = value.encode().map_err(Failure::Encode)?;
    output.write_all(&bytes).and_then(|()| output.flush()).map_err(Failure::Write)
}

fn exit(answer: Result<(), Failure>) -> ExitCode {
    let Err(failure) = answer else { return ExitCode::SUCCESS };
    crate::error!("{failure}");
    ExitCode::from(failure.code())
}

#[cfg(test)]
mod tests {
    use std::num::ParseIntError;

    use super::*;

    /// The output, or the exit code and the message.
    fn outcome<I: Decode, O: Encode, E: Display>(
        input: &[u8],
        job: impl FnOnce(I) -> Result<O, E>,
    ) -> Result<Vec<u8>, (u8, String)> {
        let mut output = Vec::new();
        answer(input, &mut output, job).map(|()| output).map_err(|failure| (failure.code(), failure.to_string()))
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
        assert_eq!(outcome(b"\x03300", parse), Ok(vec![0xac, 0x02]));
    }

    #[test]
    fn a_raw_job_reads_and_writes_the_bytes_themselves() {
        let reverse = |Raw(mut bytes): Raw| -> Result<Raw, convert::Infallible> {
            bytes.reverse();
            Ok(Raw(bytes))
        };
        assert_eq!(outcome(b"tida", reverse), Ok(b"adit".to_vec()));
    }

    #[test]
    fn an_error_of_the_job_is_code_1_and_its_own_words() {
        assert_eq!(outcome(b"\x02xy", parse), Err((1, "invalid digit found in string".into())));
    }

    #[test]
    fn input_that_does_not_decode_is_code_2_and_the_job_is_not_called() {
        let (code, message) = outcome(b"\x09xy", |_: String| -> Result<(), String> { panic!("called") }).unwrap_err();
        assert_eq!(code, 2);
        assert!(message.contains("3 bytes are not a `alloc::string::String`"), "{message}");
    }

    #[test]
    fn a_broken_pipe_is_told_apart_by_its_end() {
        let code = |answer: Result<(), Failure>| answer.unwrap_err().code();
        assert_eq!(code(answer(Broken, io::sink(), parse)), 2);
        assert_eq!(code(answer(&b"\x03300"[..], Broken, parse)), 3);
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
