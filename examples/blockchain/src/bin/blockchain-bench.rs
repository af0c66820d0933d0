//! Checks one batch again and again, and prints how many signatures that was and what the batch is found to be: the same program as a guest
//! and on the host, to compare what both take. `blockchain-bench [TIMES] < BATCH`
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::process::ExitCode;

use adit_example_blockchain::{Batch, Report};
use adit_guest::Decode;

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("blockchain-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Box<dyn std::error::Error>> {
    let times: u32 = std::env::args().nth(1).map_or(Ok(1), |times| times.parse())?;
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input)?;
    let batch = Batch::decode(input)?;
    let (mut signatures, mut last) = (0, Report::default());
    for _ in 0..times {
        let report = std::hint::black_box(&batch).check(|_, _| {})?;
        signatures += report.signatures;
        last = report;
    }
    Ok(format!("{signatures} signatures in {times} times {last}"))
}
