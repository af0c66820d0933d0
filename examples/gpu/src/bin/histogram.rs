//! The job: any file in, its bytes and how often each occurs out, as text.
#![forbid(unsafe_code)]

use adit_example_gpu::histogram;
use adit_guest::Raw;
use adit_guest::gpu::{Error, Gpu};

#[adit_guest::job]
fn histogram(Raw(bytes): Raw) -> Result<Raw, Error> {
    Ok(histogram::lines(&histogram::histogram(&Gpu::open()?, &bytes)?).into())
}
