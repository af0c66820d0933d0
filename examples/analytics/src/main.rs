//! The job: a table and a question in, an answer out.
#![forbid(unsafe_code)]

use adit_example_analytics::{Answer, Request, TableError};

#[adit_guest::job]
fn answer(request: Request) -> Result<Answer, TableError> {
    request.run()
}
