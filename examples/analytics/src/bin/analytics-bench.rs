//! Sums up one table of readings again and again, and prints how many rows that makes and what the groups come to: the same program as a
//! guest and on the host, to compare what both take. `analytics-bench parquet|csv [TIMES] < TABLE`
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::process::ExitCode;

use adit_example_analytics::{Aggregate, Format, Group, Query, Ranks, Request, Summary, Value};

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
    let mut arguments = std::env::args().skip(1);
    let format = match arguments.next().as_deref() {
        Some("parquet") => Format::Parquet,
        Some("csv") => Format::Csv,
        _ => return Err("usage: analytics-bench parquet|csv [TIMES] < TABLE".into()),
    };
    let times: u32 = arguments.next().map_or(Ok(1), |times| times.parse())?;
    let values = vec![Value::new("temperature", 3), Value::new("energy", 0)];
    let request = Request::summarise(Query { group_by: vec!["site".to_owned()], values, filter: None }, format);
    let mut table = Vec::new();
    io::stdin().read_to_end(&mut table)?;
    let (mut rows, mut last) = (0, Summary::default());
    for _ in 0..times {
        last = request.run(table.clone())?.into_summary().unwrap_or_default();
        rows += last.groups().map(|(_, group)| group.rows).sum::<u64>();
    }
    let groups = last.groups().map(|(key, group)| format!("\n{key:?}: {}", text(group)));
    Ok(format!("{rows} rows{}", groups.collect::<String>()))
}

/// All that is exact of a group, and the medians by the sketches.
fn text(group: &Group) -> String {
    let column = |value: &Aggregate| {
        let Aggregate { count, sum, min, max, .. } = value;
        let median = value.approximate(Ranks::new(1, 2));
        format!("; {count} values from {min} to {max}, sum {sum}, median about {median:?}")
    };
    format!("{} rows{}", group.rows, group.values.iter().map(column).collect::<String>())
}
