//! Writes files of readings, in Parquet and in CSV, and for each what a job is given.
//!
//! `cargo run --release -p adit-example-analytics --example readings -- FOLDER [FILES [ROWS]]`

use std::path::PathBuf;

use adit_example_analytics::{Format, Query, Request, Value, readings};
use adit_guest::Encode;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: readings FOLDER [FILES [ROWS]]")?);
    let files: u32 = arguments.next().map_or(Ok(12), |files| files.parse())?;
    let rows: u32 = arguments.next().map_or(Ok(100_000), |rows| rows.parse())?;
    std::fs::create_dir_all(&folder)?;
    let query = Query {
        group_by: vec!["site".to_owned()],
        values: vec![Value::new("temperature", 3), Value::new("energy", 0)],
        filter: None,
    };
    for file in 0..files {
        for (format, ending, table) in
            [(Format::Parquet, "parquet", readings::parquet(file, rows)?), (Format::Csv, "csv", readings::csv(file, rows))]
        {
            std::fs::write(folder.join(format!("readings-{file:02}.{ending}")), &table)?;
            let request = Request::summarise(query.clone(), format, table);
            std::fs::write(folder.join(format!("readings-{file:02}.{ending}.request")), request.encode()?)?;
        }
    }
    Ok(())
}
