//! The ledger beside the bare parts that it is made of: the store under it, a file that is appended to, and a check of one receipt after
//! another.

mod audit;
mod million;
mod receipts;
mod record;
mod store;

use anyhow::Result;

use crate::figure::Figure;
use crate::plan::Plan;

pub(crate) use self::million::{measure as measure_million, write_until_killed};

/// All figures that take seconds.
pub(crate) fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let mut figures = record::measure_settled(plan)?;
    figures.extend(record::measure_lone(plan)?);
    figures.extend(audit::measure(plan)?);
    Ok(figures)
}
