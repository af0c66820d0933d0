//! Asks tables on an Adit network: a file a job, and the answers merged here.
#![forbid(unsafe_code)]

mod options;
mod table;

use std::path::PathBuf;
use std::str::FromStr;

use adit_client::{Job, Source};
use adit_example_analytics::{Answer, Counts, Exact, Filter, Format, Query, Range, Request, Summary, Value, readings};
use adit_example_network::{Finished, Invoice, Network, NetworkArgs};
use adit_guest::{Decode, Encode};
use adit_protocol::{Fuel, InputName};
use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;

use crate::options::{Between, Column, Quantile};
use crate::table::Table;

/// Groups and sums up tables in Parquet and CSV on an Adit network, a file a job, and checks the bill.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// What answers, compiled to wasm.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// The tables, by their endings .parquet and .csv. Without any, readings of sensors are made, half of the files in each format.
    tables: Vec<PathBuf>,
    /// How many files of readings are made where no tables are given.
    #[arg(long, value_name = "N", default_value_t = 12)]
    files: u32,
    /// How many rows each of them has.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    rows: u32,
    /// The columns whose values make a group.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', default_value = "site")]
    group_by: Vec<String>,
    /// The columns of numbers that are summed up, each with its digits after the point.
    #[arg(long, value_name = "COLUMN[:DIGITS]", value_delimiter = ',', value_parser = Column::from_str, default_value = "temperature:3")]
    value: Vec<Column>,
    /// Which rows count: those where the column is empty or between the two, as in `temperature:3=-60..500`.
    #[arg(long, value_name = "COLUMN[:DIGITS]=LEAST..MOST", value_parser = Between::from_str)]
    between: Option<Between>,
    /// Quantiles, as SQL's PERCENTILE_DISC.
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = Quantile::from_str, default_value = "0.5,0.99")]
    quantile: Vec<Quantile>,
    /// Take quantiles from the sketches: one pass over the files, and values within 0.4 %.
    #[arg(long)]
    approximate: bool,
    /// The most fuel that one file may use.
    #[arg(long, default_value = "20G")]
    fuel: Fuel,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut asking = Asking::new(&args).await?;
    let table = asking.table(&args).await?;
    asking.network.close().await;

    let invoice = Invoice::of(&asking.finished)?;
    if args.network.json {
        println!("{}", json!({ "groups": table.to_json(), "invoice": invoice.to_json() }));
    } else {
        print!("{table}{invoice}");
        println!("{0} receipts verified, {0} settlements verified", asking.finished.len());
    }
    Ok(())
}

/// The files, and who is asked.
struct Asking {
    network: Network,
    module: Source,
    fuel: Fuel,
    query: Query,
    files: Vec<(Format, Source)>,
    /// The jobs that ended.
    finished: Vec<Finished>,
}

impl Asking {
    async fn new(args: &Args) -> Result<Self> {
        let files = if args.tables.is_empty() { args.readings()? } else { args.read()? };
        let module = Source::file(&args.module).with_context(|| format!("module {}", args.module.display()))?;
        let network = Network::connect(&args.network).await?;
        Ok(Self { network, module, fuel: args.fuel, query: args.query(), files, finished: Vec::new() })
    }

    async fn table(&mut self, args: &Args) -> Result<Table> {
        let mut summary = Summary::default();
        for answer in self.ask("files", None).await? {
            summary.merge(answer.into_summary().context("a job counted where it was to sum up")?)?;
        }
        let quantiles: Vec<_> = args.quantile.iter().map(|quantile| quantile.ranks).collect();
        let exact = if args.approximate { None } else { Some(self.narrow(Exact::new(&summary, &quantiles)?).await?) };
        Ok(Table::new(&self.query, &summary, &args.quantile, exact.as_ref()))
    }

    /// Asks the files again until all quantiles are found, which each round brings nearer, whatever nodes answer.
    async fn narrow(&mut self, mut exact: Exact) -> Result<Exact> {
        loop {
            let ranges = exact.ranges();
            if ranges.is_empty() {
                return Ok(exact);
            }
            let mut counts = Counts::zero(ranges.len());
            for answer in self.ask("files again, for exact quantiles", Some(&ranges)).await? {
                counts.merge(&answer.into_counts().context("a job summed up where it was to count")?)?;
            }
            exact.narrow(&ranges, &counts)?;
        }
    }

    /// Asks every file the same.
    async fn ask(&mut self, what: &str, ranges: Option<&[Range]>) -> Result<Vec<Answer>> {
        let table_name: InputName = "table".parse().context("`table` is a name")?;
        let jobs = self.files.iter().map(|(format, table)| {
            let query = self.query.clone();
            let request = match ranges {
                None => Request::summarise(query, *format),
                Some(ranges) => Request::count(query, ranges.to_vec(), *format),
            };
            let job = Job::new(self.module.clone(), Source::bytes(request.encode()?));
            let mut job = job.with_named(table_name.clone(), table.clone());
            job.spec.limits.fuel = self.fuel;
            Ok(job)
        });
        let finished = self.network.run_all(what, jobs.collect::<Result<Vec<_>>>()?).await?;
        let answers = finished.iter().map(|finished| Answer::decode(finished.output.clone())).collect::<Result<_, _>>();
        self.finished.extend(finished);
        answers.context("a job's output is no answer")
    }
}

impl Args {
    fn query(&self) -> Query {
        Query {
            group_by: self.group_by.clone(),
            values: self.value.iter().map(Column::to_value).collect(),
            filter: self.between.as_ref().map(Between::to_filter),
        }
    }

    fn readings(&self) -> Result<Vec<(Format, Source)>> {
        let make = |file| match file % 2 {
            0 => Ok((Format::Parquet, Source::bytes(readings::parquet(file, self.rows)?))),
            _ => Ok((Format::Csv, Source::bytes(readings::csv(file, self.rows)))),
        };
        (0..self.files).map(make).collect()
    }

    fn read(&self) -> Result<Vec<(Format, Source)>> {
        let read = |path: &PathBuf| {
            let format = match path.extension().and_then(|ending| ending.to_str()) {
                Some("parquet") => Format::Parquet,
                Some("csv") => Format::Csv,
                _ => bail!("{} ends neither in .parquet nor in .csv", path.display()),
            };
            Ok((format, Source::file(path).with_context(|| format!("cannot read {}", path.display()))?))
        };
        self.tables.iter().map(read).collect()
    }
}

impl Column {
    fn to_value(&self) -> Value {
        Value::new(&self.name, self.digits)
    }
}

impl Between {
    fn to_filter(&self) -> Filter {
        Filter { value: self.column.to_value(), least: self.least, most: self.most }
    }
}
