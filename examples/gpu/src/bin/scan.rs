//! The job: little-endian 32-bit numbers in, their prefix sums out.
#![forbid(unsafe_code)]

use adit_example_gpu::{Error, little_endian, scan};
use adit_guest::Raw;
use adit_guest::gpu::Gpu;

#[adit_guest::job]
fn scan(Raw(bytes): Raw) -> Result<Raw, Error> {
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Error::Bytes(bytes.len()));
    }
    let numbers: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    Ok(little_endian(&scan::prefix_sums(&Gpu::open()?, &numbers)?).into())
}
