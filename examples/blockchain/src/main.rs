//! The job: a batch in, a verdict out. That a batch is refused is what the job found, not a failure of the job.
#![forbid(unsafe_code)]

use adit_example_blockchain::{Batch, Verdict};

#[adit_guest::job]
fn check(batch: Batch) -> Verdict {
    match batch.check(adit_guest::progress) {
        Ok(report) => {
            adit_guest::info!("valid: {report}");
            Verdict::Valid(report)
        }
        Err(error) => {
            adit_guest::info!("refused: {error}");
            Verdict::Refused(error.to_string())
        }
    }
}
