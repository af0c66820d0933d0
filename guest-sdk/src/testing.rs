//! Jobs in `cargo test`: the same function, with the same input and output, and no wasm.
//!
//! A [`Harness`] is a job's surroundings: what it reads, its arguments, seed, time and budget. [`Harness::run`] runs the `main` that
//! [`#[job]`](crate::job) wrote, which reads, decodes, calls, encodes and ends with an exit code as on a node; [`Harness::call`] any
//! other function, with what the SDK gives a job. What the job [`Told`] comes back.
//!
//! ```
//! # mod guest {
//! /// The mean of the numbers, weighed.
//! #[adit_guest::job]
//! fn mean(numbers: Vec<f64>) -> Result<f64, String> {
//!     let weights: Vec<f64> = adit_guest::named("weights").map_err(|e| e.to_string())?.decode().map_err(|e| e.to_string())?;
//!     if weights.len() != numbers.len() {
//!         return Err(format!("{} numbers have {} weights", numbers.len(), weights.len()));
//!     }
//!     adit_guest::info!("{} numbers", numbers.len());
//!     let sum: f64 = numbers.iter().zip(&weights).map(|(number, weight)| number * weight).sum();
//!     Ok(sum / weights.iter().sum::<f64>())
//! }
//!
//! #[cfg(test)]
//! # const IN_TESTS: () = ();
//! # pub
//! mod tests {
//!     use adit_guest::testing::Harness;
//!
//!     #[test]
//! #   fn nothing() {}
//! #   pub
//!     fn heavy_numbers_count_more() {
//!         let told = Harness::new().value(vec![1.0, 4.0]).named_value("weights", vec![2.0, 1.0]).run(super::main);
//!         assert_eq!(told.value::<f64>().unwrap(), 2.0);
//!         assert_eq!(told.log_text(), "[info] 2 numbers\n");
//!
//!         let told = Harness::new().value(vec![1.0]).named_value("weights", vec![2.0, 1.0]).run(super::main);
//!         assert_eq!(told.exit_code, 1);
//!     }
//! }
//! # }
//! # fn main() { guest::tests::heavy_numbers_count_more() }
//! ```
//!
//! Each test has its own surroundings, in its own thread, so tests run side by side. A thread that the job itself starts sees none of
//! them; a guest has one thread. Native code counts no fuel, so a budget only goes down by what each look at it costs. A panic is the
//! test's; on a node it ends the job as a trap.
#![allow(clippy::test_attr_in_doctest, reason = "the example shows where an author's tests stand")]

pub(crate) mod world;

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use crate::{Decode, DecodeError, Encode, Level};
use world::{Job, World};

/// Named inputs of one job, and bytes of a name: those of a node.
const NAMED_MAX: usize = adit_abi::INPUTS_MAX as usize;
const NAME_BYTES_MAX: usize = adit_abi::INPUT_NAME_BYTES_MAX as usize;

/// What a job finds around it. It begins as an empty input, no arguments, seed 0, the time 1970 and a budget of 10 Gfuel: what `adit run`
/// gives a job of which nothing is said.
#[derive(Debug, Default)]
pub struct Harness {
    world: World,
    job: Job,
}

impl Harness {
    /// A job of which nothing is said.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes of standard input.
    pub fn input(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input_from(io::Cursor::new(bytes.into()))
    }

    /// A value as the input, encoded as the job reads it.
    ///
    /// # Panics
    /// The value has no encoding.
    pub fn value(self, value: impl Encode) -> Self {
        self.input(encoded(value))
    }

    /// Standard input from a reader, for what is larger than memory.
    pub fn input_from(mut self, reader: impl Read + 'static) -> Self {
        self.job.input = Some(Box::new(reader));
        self
    }

    /// Standard output to a writer, for what is larger than memory; [`Told::output`] is empty then.
    pub fn output_to(mut self, writer: impl Write + 'static) -> Self {
        self.job.output = Some(Box::new(writer));
        self
    }

    /// A named input. One of that name that was there is replaced.
    ///
    /// # Panics
    /// A node would refuse the name (1 to 64 of `A-Z a-z 0-9 . _ -`, not beginning with `.`), or a 17th input.
    pub fn named(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_allowed);
        assert!(is_name, "`{name}` is no name of an input: 1 to 64 of A-Z a-z 0-9 . _ -, not beginning with `.`");
        self.world.named.insert(name.to_owned(), bytes.into());
        assert!(self.world.named.len() <= NAMED_MAX, "a job has at most {NAMED_MAX} named inputs");
        self
    }

    /// A named input that stands for a value, as [`NamedInput::decode`](crate::NamedInput::decode) reads it.
    ///
    /// # Panics
    /// As [`named`](Self::named), or where the value has no encoding.
    pub fn named_value(self, name: &str, value: impl Encode) -> Self {
        self.named(name, encoded(value))
    }

    /// The job's arguments, as [`args`](crate::args) gives them.
    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.world.args = Some(args.into_iter().map(Into::into).collect());
        self
    }

    /// The job's seed: what [`random`](crate::random) gives.
    pub fn seed(mut self, seed: u64) -> Self {
        self.world.seed(seed);
        self
    }

    /// The time since 1970 at which the job starts: where [`now`](crate::now) begins.
    pub fn time(mut self, since_1970: Duration) -> Self {
        self.world.start_ns = u64::try_from(since_1970.as_nanos()).expect("a time before the year 2554");
        self
    }

    /// The job's limit of fuel: where [`budget`](crate::budget) begins.
    pub fn budget(mut self, fuel: u64) -> Self {
        self.world.fuel = fuel;
        self
    }

    /// How much fuel each look at budget or clock takes, in place of the 150 that the look alone costs: stands in for the work between
    /// two of them.
    pub fn budget_step(mut self, fuel: u64) -> Self {
        self.world.step = fuel;
        self
    }

    /// Runs a job's `main`, the one that [`#[job]`](crate::job) wrote.
    ///
    /// # Panics
    /// The job does, or the `main` is another.
    pub fn run(self, main: impl FnOnce() -> ExitCode) -> Told {
        let (job, _) = world::enter(self.world, self.job, main);
        let exit_code = job.exit_code.expect("a `main` that `#[adit_guest::job]` wrote");
        Told { exit_code, ..job.told }
    }

    /// Calls a function as part of a job. What it returned comes back beside what the job told, whose exit code is 0.
    ///
    /// # Panics
    /// The function does.
    pub fn call<T>(self, function: impl FnOnce() -> T) -> (T, Told) {
        let (job, value) = world::enter(self.world, self.job, function);
        (value, job.told)
    }
}

fn encoded(value: impl Encode) -> Vec<u8> {
    value.encode().unwrap_or_else(|error| panic!("{error}"))
}

/// What a job told the world.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Told {
    /// The exit code: 0 where the job returned a value; [`job`](crate::job) has the others.
    pub exit_code: u8,
    /// Standard output.
    pub output: Vec<u8>,
    /// The messages of the log, in their order.
    pub log: Vec<(Level, String)>,
    /// The reports of progress, in their order: steps done, and of how many.
    pub progress: Vec<(u64, u64)>,
}

impl Told {
    /// The output as a value, as whoever submits the job reads it.
    ///
    /// # Errors
    /// The output is not a whole encoding of the type: where the job failed, it is empty.
    pub fn value<T: Decode>(&self) -> Result<T, DecodeError> {
        T::decode(self.output.clone())
    }

    /// The log as a node keeps it: a line for each message, its level before it.
    pub fn log_text(&self) -> String {
        self.log.iter().map(|(level, message)| format!("[{level}] {message}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::{args, budget, inputs, named, now, progress, random};

    #[test]
    fn surroundings_are_of_one_thread() {
        let barrier = Barrier::new(2);
        let job = |name: &'static str| {
            Harness::new().named(name, "").args([name]).seed(name.len() as u64).call(|| {
                barrier.wait();
                crate::info!("{name}");
                let first = random().next_u64();
                barrier.wait();
                (inputs().map(|input| input.name().to_owned()).collect::<Vec<_>>(), args(), first)
            })
        };
        thread::scope(|threads| {
            let other = threads.spawn(|| job("longer"));
            let ((names, args, first), told) = job("short");
            assert_eq!(
                (names, args, told.log_text()),
                (vec!["short".to_owned()], vec!["short".to_owned()], "[info] short\n".into())
            );
            assert_ne!(other.join().unwrap().0.2, first);
        });
    }

    #[test]
    fn what_was_before_is_there_again_also_after_a_panic() {
        let (inner, outer) = Harness::new().named("outer", "").call(|| {
            let panicked = catch_unwind(AssertUnwindSafe(|| Harness::new().named("inner", "").call(|| panic!("on purpose"))));
            assert!(panicked.is_err() && named("inner").is_err() && named("outer").is_ok());
            let (_, told) = Harness::new().call(|| progress(1, 2));
            progress(3, 4);
            told
        });
        assert_eq!((inner.progress, outer.progress), (vec![(1, 2)], vec![(3, 4)]));
        assert_eq!(inputs().count(), 0);
    }

    #[test]
    fn budget_counts_down_to_nothing_and_time_goes_on_with_it() {
        let looks = || ([budget(), budget(), budget()], now());
        let ([a, b, c], at) = Harness::new().budget(400).time(Duration::from_secs(1)).call(looks).0;
        assert_eq!(([a, b, c], at), ([250, 100, 0], Duration::new(1, 600)));
        let ([a, b, _], at) = Harness::new().budget_step(1_000_000_000).call(looks).0;
        assert_eq!((a - b, at), (1_000_000_000, Duration::from_secs(4)));
    }

    #[test]
    fn named_inputs_that_a_node_refuses_are_refused() {
        let longest = "x".repeat(64);
        for good in ["a", "A-z_0.9", "-", &longest] {
            Harness::new().named(good, "");
        }
        for bad in ["", ".a", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(catch_unwind(|| Harness::new().named(bad, "")).is_err(), "{bad}");
        }
        let many =
            |n: usize| catch_unwind(|| (0..n).fold(Harness::new(), |harness, n| harness.named(&n.to_string(), ""))).is_ok();
        assert!(many(16) && !many(17));
    }

    #[test]
    #[should_panic(expected = "`#[adit_guest::job]` wrote")]
    fn another_main_is_refused() {
        Harness::new().run(|| ExitCode::SUCCESS);
    }
}
