//! Jobs as an author writes them, natively: that each form compiles, and that the function stays a function.

#[cfg(feature = "gpu")]
mod gpu;
mod interface;

/// One argument and a `Result`, spelled out.
mod fallible {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Range {
        first: u64,
        last: u64,
    }

    #[derive(Debug, PartialEq, Serialize)]
    struct Sum(u64);

    #[derive(Debug, PartialEq)]
    struct Empty;

    impl std::fmt::Display for Empty {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an empty range has no sum")
        }
    }

    /// The error type is no `Serialize`, and the argument is taken apart in the signature.
    #[adit_guest::job]
    fn sum(Range { first, last }: Range) -> Result<Sum, Empty> {
        let steps = last.checked_sub(first).ok_or(Empty)?;
        adit_guest::info!("summing {steps} steps");
        adit_guest::progress(steps, steps);
        Ok(Sum((first..=last).sum()))
    }

    #[test]
    fn is_called_like_any_function() {
        assert_eq!(sum(Range { first: 1, last: 4 }), Ok(Sum(10)));
        assert_eq!(sum(Range { first: 4, last: 1 }), Err(Empty));
    }
}

/// A `Result` behind an alias, whose value and error are both serialisable.
mod aliased {
    type Checked<T> = Result<T, String>;

    #[adit_guest::job]
    pub(crate) fn halve(n: u64) -> Checked<u64> {
        if n.is_multiple_of(2) { Ok(n / 2) } else { Err(format!("{n} is odd")) }
    }

    #[test]
    fn is_called_like_any_function() {
        assert_eq!(halve(6), Ok(3));
        assert_eq!(halve(7), Err("7 is odd".into()));
    }
}

/// Bytes in, bytes out.
mod raw {
    use adit_guest::Raw;

    #[adit_guest::job]
    fn reverse(mut bytes: Raw) -> Raw {
        bytes.reverse();
        bytes
    }

    #[test]
    fn is_called_like_any_function() {
        assert_eq!(reverse("adit".into()), Raw::from("tida"));
    }
}

/// Named as what the macro itself has to name, which it once did where the author's names reach.
mod input {
    use adit_guest::Raw;
    use adit_guest::testing::Harness;

    #[adit_guest::job]
    fn input(output: Raw) -> Raw {
        output
    }

    #[test]
    fn is_the_job() {
        assert_eq!(Harness::new().input("adit").run(main).output, b"adit");
    }
}

/// The same of a job that streams.
mod output {
    use std::io;

    use adit_guest::testing::Harness;
    use adit_guest::{Input, Output};

    #[adit_guest::job]
    fn output(mut input: Input, mut output: Output) -> io::Result<()> {
        io::copy(&mut input, &mut output).map(|_| ())
    }

    #[test]
    fn is_the_job() {
        assert_eq!(Harness::new().input("adit").run(main).output, b"adit");
    }
}

/// No argument, and a value that is not a `Result`.
mod constant {
    use std::process::ExitCode;

    #[adit_guest::job]
    const fn newline() -> u8 {
        b'\n'
    }

    #[test]
    fn is_called_like_any_function() {
        assert_eq!(newline(), b'\n');
    }

    /// `main` does not wait for an input that nobody reads: a test's standard input may be a terminal.
    #[test]
    fn main_succeeds_without_input() {
        assert_eq!(main(), ExitCode::SUCCESS);
    }
}

/// No argument, no value, and failure.
mod failing {
    use std::process::ExitCode;

    #[adit_guest::job]
    fn fail() -> Result<(), &'static str> {
        Err("on purpose")
    }

    #[test]
    fn main_exits_with_1() {
        assert_eq!(main(), ExitCode::from(1));
    }
}

/// No argument and no value.
mod unit {
    use std::process::ExitCode;

    #[adit_guest::job]
    fn log() {
        adit_guest::error!("level {}", 1);
        adit_guest::warn!("level 2");
        let level = 3;
        adit_guest::info!("level {level}");
        adit_guest::debug!("level {level:?}", level = adit_guest::Level::Debug);
        adit_guest::trace!("level {}", 5,);
    }

    #[test]
    fn main_succeeds() {
        assert_eq!(main(), ExitCode::SUCCESS);
    }
}
