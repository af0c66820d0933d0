//! Answers one request again and again, and prints how many groups that makes: the same program as a guest and on the host, to compare what
//! both take. `analytics-bench [TIMES] < REQUEST`
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::process::ExitCode;

use adit_example_analytics::Request;
use adit_guest::Decode;

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("analytics-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Box<dyn std::error::Error>> {
    let times: u32 = std::env::args().nth(1).map_or(Ok(1), |times| times.parse())?;
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input)?;
    let request = Request::decode(input)?;
    let (mut groups, mut rows) = (0, 0);
    for _ in 0..times {
        let summary = std::hint::black_box(request.clone()).run()?.into_summary().unwrap_or_default();
        groups += summary.groups().count();
        rows += summary.groups().map(|(_, group)| group.rows).sum::<u64>();
    }
    Ok(format!("{rows} rows, {groups} groups"))
}
