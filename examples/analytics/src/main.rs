//! The job: a question as its input and a table as its named input `table`, and an answer out.
#![forbid(unsafe_code)]

use adit_example_analytics::{Answer, Request, TableError};
use adit_guest::{MissingInput, named};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Missing(#[from] MissingInput),
    #[error(transparent)]
    Table(#[from] TableError),
}

#[adit_guest::job]
fn answer(request: Request) -> Result<Answer, Error> {
    Ok(request.run(named("table")?.to_vec())?)
}

#[cfg(test)]
mod tests {
    use adit_example_analytics::{Format, Query, Value};
    use adit_guest::testing::Harness;

    use super::*;

    fn request() -> Request {
        let query = Query { group_by: vec!["a".to_owned()], values: vec![Value::new("b", 0)], filter: None };
        Request::summarise(query, Format::Csv)
    }

    #[test]
    fn question_and_table_come_apart() {
        let (answered, _) = Harness::new().named("table", "a,b\nx,1\nx,2\n").call(|| answer(request()));
        let summary = answered.unwrap().into_summary().unwrap();
        assert_eq!(summary.groups().map(|(_, group)| group.values[0].sum).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn missing_table_is_told() {
        let (answered, _) = Harness::new().call(|| answer(request()));
        assert!(answered.unwrap_err().to_string().contains("table"));
    }
}
