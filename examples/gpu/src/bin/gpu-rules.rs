//! The job: nothing in; how many rules of the host interface hold here out, or an error that names those that do not.
#![forbid(unsafe_code)]

use adit_example_gpu::rules;
use adit_guest::Raw;
use adit_guest::gpu::Gpu;

#[adit_guest::job]
fn check() -> Result<Raw, String> {
    let gpu = Gpu::open().map_err(|error| error.to_string())?;
    Ok(format!("{} rules hold\n", rules::check(&gpu)?).into())
}
