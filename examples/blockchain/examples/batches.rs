//! Writes the batches of the blocks in `data/` to a folder, one file a job: what `adit map` takes.
//!
//! `cargo run -p adit-example-blockchain --example batches -- FOLDER [HEADERS]`

use std::path::{Path, PathBuf};

use adit_example_blockchain::collection;
use adit_guest::Encode;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: batches FOLDER [HEADERS]")?);
    let size: usize = arguments.next().map_or(Ok(250), |size| size.parse())?;
    std::fs::create_dir_all(&folder)?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    for (number, batch) in collection::read(&data, size)?.into_iter().enumerate() {
        let name = format!("{number:03}-{:?}.batch", batch.network).to_lowercase();
        std::fs::write(folder.join(name), batch.encode()?)?;
    }
    Ok(())
}
