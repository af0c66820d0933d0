//! Writes the batches of the blocks in `data/` to a folder, one file a job: what `adit map` takes.
//!
//! `cargo run -p adit-example-blockchain --example batches -- FOLDER [HEADERS]`

use std::path::{Path, PathBuf};

use adit_example_blockchain::{Network, collection};
use adit_guest::Encode;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: batches FOLDER [HEADERS]")?);
    let size: usize = arguments.next().map_or(Ok(250), |size| size.parse())?;
    std::fs::create_dir_all(&folder)?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let blocks = collection::blocks(&std::fs::read_to_string(data.join("blocks.json"))?)?;
    for (network, headers) in
        [(Network::Main, "main-headers.bin"), (Network::Regtest, "regtest-headers.bin"), (Network::Test, "")]
    {
        let headers = if headers.is_empty() { Vec::new() } else { std::fs::read(data.join(headers))? };
        let blocks = blocks.iter().filter(|(of, _)| *of == network).map(|(_, entry)| entry.clone()).collect();
        for (number, batch) in collection::batches(network, &headers, blocks, size)?.into_iter().enumerate() {
            let name = format!("{network:?}-{number:03}.batch").to_lowercase();
            std::fs::write(folder.join(name), batch.encode()?)?;
        }
    }
    Ok(())
}
