//! A job's work on this machine, without wasm: `gradient DIGITS < task > answer`. DIGITS are the pictures in 65 bytes each. Says on standard
//! error how long it took. Without standard input to read, `gradient --task PICTURES [TIMES]` writes a task of the first so many pictures,
//! each so many times, and `gradient --digits FILE` the pictures of a `digits.csv.gz`.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::time::Instant;

use adit_example_training::{Answer, Digits, Parameters, Task};
use adit_guest::{Decode, Encode};
use flate2::read::GzDecoder;

const USAGE: &str = "usage: gradient DIGITS < task > answer, gradient --task PICTURES [TIMES], gradient --digits FILE";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = match args[..] {
        ["--task", pictures] => task(pictures.parse()?, 1).encode()?,
        ["--task", pictures, times] => task(pictures.parse()?, times.parse()?).encode()?,
        ["--digits", file] => Digits::from_csv(&io::read_to_string(GzDecoder::new(File::open(file)?))?)?.to_bytes(),
        [digits] => answer(&fs::read(digits)?)?.encode()?,
        _ => return Err(USAGE.into()),
    };
    Ok(io::stdout().write_all(&output)?)
}

/// A task whose parameters are as at the beginning of a training.
fn task(pictures: u16, times: usize) -> Task {
    let mut state = 0_u32;
    let parameters = Parameters::random(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    });
    Task { parameters: parameters.as_slice().to_vec(), pictures: std::iter::repeat_n(0..pictures, times).flatten().collect() }
}

fn answer(digits: &[u8]) -> Outcome<Answer> {
    let mut task = Vec::new();
    io::stdin().read_to_end(&mut task)?;
    let start = Instant::now();
    let gradient = Task::decode(task)?.run(&Digits::from_bytes(digits)?)?;
    eprintln!("{:.3?}", start.elapsed());
    Ok(gradient.into())
}
