//! Group-by and quantiles over tables in Parquet and CSV. Each file is summarised by a job; summaries are merged where they are
//! wanted. Counts, sums, extremes and quantiles are exact: values are integers or decimals of a stated scale, and no float comes
//! between.
//!
//! ```
//! use adit_example_analytics::{Format, Query, Ranks, Request, Summary, Value, readings};
//!
//! let query = Query { group_by: vec!["site".into()], values: vec![Value::new("temperature", 3)], filter: None };
//! let files = [readings::csv(0, 1000), readings::csv(1, 1000)];
//! let mut all = Summary::default();
//! for file in files {
//!     all.merge(Request::summarise(query.clone(), Format::Csv).run(file)?.into_summary().unwrap())?;
//! }
//! let (key, group) = all.groups().next().unwrap();
//! let median = group.values[0].approximate(Ranks::new(1, 2)).unwrap();
//! println!("{key:?}: {} rows, median about {}", group.rows, median);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod aggregate;
mod delimited;
mod exact;
mod parquet_file;
mod query;
pub mod readings;
mod sketch;
mod table;

pub use aggregate::{Aggregate, Group, Key, MergeError, Summary};
pub use delimited::parse_decimal;
pub use exact::{Exact, ExactError, Ranks};
pub use query::{Answer, Counts, Filter, Format, Query, Range, Request, Value};
pub use sketch::{RELATIVE_ERROR, Sketch};
pub use table::TableError;
