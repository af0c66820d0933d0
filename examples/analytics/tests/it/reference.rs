use std::path::Path;

use adit_example_analytics::{
    Aggregate, Counts, Exact, Filter, Format, Query, RELATIVE_ERROR, Ranks, Request, Summary, Value, readings,
};
use serde_json::Value as Json;

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)).unwrap()
}

fn reference() -> Json {
    serde_json::from_slice(&data("reference.json")).unwrap()
}

fn value(row: &Json) -> Value {
    Value::new(row[0].as_str().unwrap(), row[1].as_u64().unwrap() as u32)
}

fn query(entry: &Json) -> Query {
    let filter = |row: &Json| Filter { value: value(row), least: row[2].as_i64().unwrap(), most: row[3].as_i64().unwrap() };
    Query {
        group_by: entry["group_by"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
        values: entry["values"].as_array().unwrap().iter().map(value).collect(),
        filter: entry["filter"].is_array().then(|| filter(&entry["filter"])),
    }
}

/// What a client does, without a network between: asks all files, merges, and asks again until the quantiles are exact.
fn ask(query: &Query, quantiles: &[Ranks], files: &[(Format, Vec<u8>)]) -> (Summary, Exact) {
    let mut summary = Summary::default();
    for (format, table) in files {
        summary.merge(Request::summarise(query.clone(), *format).run(table.clone()).unwrap().into_summary().unwrap()).unwrap();
    }
    let mut exact = Exact::new(&summary, quantiles).unwrap();
    let mut rounds = 0;
    loop {
        let ranges = exact.ranges();
        if ranges.is_empty() {
            return (summary, exact);
        }
        rounds += 1;
        assert!(rounds <= 5);
        let mut counts = Counts::zero(ranges.len());
        for (format, table) in files {
            let request = Request::count(query.clone(), ranges.clone(), *format);
            counts.merge(&request.run(table.clone()).unwrap().into_counts().unwrap()).unwrap();
        }
        exact.narrow(&ranges, &counts).unwrap();
    }
}

/// Holds all answers to the reference's, to the last digit; means to one unit in the last place, for the reference divides twice.
fn check(name: &str, files: &[(Format, Vec<u8>)]) {
    let reference = reference();
    let quantiles = reference["quantiles"].as_array().unwrap().iter();
    let quantiles: Vec<Ranks> =
        quantiles.map(|pair| Ranks::new(pair[0].as_u64().unwrap() as u32, pair[1].as_u64().unwrap() as u32)).collect();
    for entry in reference[name].as_array().unwrap() {
        let query = query(entry);
        let (summary, exact) = ask(&query, &quantiles, files);
        let groups = entry["groups"].as_array().unwrap();
        assert_eq!(summary.groups().count(), groups.len(), "{query:?}");
        for expected in groups {
            let key = expected["key"].as_array().unwrap().iter().map(|cell| cell.as_str().map(str::to_owned)).collect();
            let group = summary.group(&key).unwrap_or_else(|| panic!("no group {key:?}"));
            assert_eq!(group.rows, expected["rows"].as_u64().unwrap(), "{key:?}");
            for (column, expected) in expected["values"].as_array().unwrap().iter().enumerate() {
                let aggregate = &group.values[column];
                check_aggregate(aggregate, expected, query.values[column].scale);
                for (at, ranks) in quantiles.iter().enumerate() {
                    let wanted = expected["quantiles"][at].as_i64();
                    assert_eq!(exact.value(&key, column, at), wanted, "{key:?}, column {column}, {ranks:?}");
                    if wanted.is_none() {
                        assert_eq!((aggregate.count, aggregate.approximate(*ranks)), (0, None));
                        continue;
                    }
                    let distance = aggregate.approximate(*ranks).unwrap().abs_diff(wanted.unwrap()) as f64;
                    assert!(
                        distance <= RELATIVE_ERROR * wanted.unwrap().unsigned_abs() as f64 + 0.5,
                        "{key:?}, {ranks:?}: {distance}"
                    );
                }
            }
        }
    }
}

fn check_aggregate(aggregate: &Aggregate, expected: &Json, scale: u32) {
    assert_eq!(aggregate.count, expected["count"].as_u64().unwrap());
    if aggregate.count == 0 {
        assert!(expected["sum"].is_null() && aggregate.mean(scale).is_none());
        return;
    }
    assert_eq!(aggregate.sum.to_string(), expected["sum"].as_str().unwrap());
    assert_eq!(Some(aggregate.min), expected["min"].as_i64());
    assert_eq!(Some(aggregate.max), expected["max"].as_i64());
    let (mean, wanted) = (aggregate.mean(scale).unwrap(), expected["mean"].as_f64().unwrap());
    assert!(mean.to_bits().abs_diff(wanted.to_bits()) <= 1, "{mean} and {wanted}");
}

fn generated(make: impl Fn(u32, u32) -> (Format, Vec<u8>)) -> Vec<(Format, Vec<u8>)> {
    let reference = reference();
    let (files, rows) = (reference["files"].as_u64().unwrap() as u32, reference["rows"].as_u64().unwrap() as u32);
    assert!(rows >= 1_000_000);
    (0..files).map(|file| make(file, rows / files)).collect()
}

#[test]
fn a_million_rows_of_parquet_are_as_duckdb_has_them() {
    check("readings", &generated(|file, rows| (Format::Parquet, readings::parquet(file, rows).unwrap())));
}

#[test]
fn a_million_rows_of_csv_are_as_duckdb_has_them() {
    check("readings", &generated(|file, rows| (Format::Csv, readings::csv(file, rows))));
}

#[test]
fn files_that_duckdb_wrote_are_read_as_by_itself() {
    for (format, name) in [(Format::Parquet, "sample.parquet"), (Format::Csv, "sample.csv")] {
        check("sample", &[(format, data(name))]);
    }
}
