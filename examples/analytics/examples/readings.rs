//! Writes files of readings, in Parquet and in CSV.
//!
//! `cargo run --release -p adit-example-analytics --example readings -- FOLDER [FILES [ROWS]]`

use std::path::PathBuf;

use adit_example_analytics::readings;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: readings FOLDER [FILES [ROWS]]")?);
    let files: u32 = arguments.next().map_or(Ok(12), |files| files.parse())?;
    let rows: u32 = arguments.next().map_or(Ok(100_000), |rows| rows.parse())?;
    std::fs::create_dir_all(&folder)?;
    for file in 0..files {
        std::fs::write(folder.join(format!("readings-{file:02}.parquet")), readings::parquet(file, rows)?)?;
        std::fs::write(folder.join(format!("readings-{file:02}.csv")), readings::csv(file, rows))?;
    }
    Ok(())
}
